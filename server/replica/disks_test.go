// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

var quiet = slog.New(slog.DiscardHandler)

func TestNewReplicasSpreadOverDisks(t *testing.T) {
	fs := vfs.NewMem()
	ds, err := openDisks(fs, []DataDir{{"a", "/a"}, {"b", "/b"}, {"c", "/c"}}, true, 10, quiet)
	require.NoError(t, err)
	defer ds.close()
	a, b := ds.all[0], ds.all[1]
	ds.hold(a, idl.GPID{AppID: 1, PartitionIndex: 0})
	ds.hold(a, idl.GPID{AppID: 1, PartitionIndex: 1})
	ds.hold(b, idl.GPID{AppID: 2, PartitionIndex: 0})

	choose := func(app, index int32) string {
		d, err := ds.choose(idl.GPID{AppID: app, PartitionIndex: index})
		require.NoError(t, err)
		return d.tag
	}
	require.Equal(t, "c", choose(2, 1), "fewest of the table, then fewest in all")
	require.Equal(t, "a", choose(2, 2), "fewest of the table comes first")
	ds.fail(b, errors.New("broken"))
	require.Equal(t, "c", choose(1, 2), "a broken disk takes nothing")
	ds.fail(a, errors.New("broken"))
	ds.fail(ds.all[2], errors.New("broken"))
	_, err = ds.choose(idl.GPID{AppID: 9})
	require.ErrorContains(t, err, "no data dir can take replica 9.0")
}

func TestFullDiskTakesNoReplicas(t *testing.T) {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{TotalBytes: 100, AvailBytes: 50})
	ds, err := openDisks(fs, []DataDir{{"a", "/a"}}, true, 10, quiet)
	require.NoError(t, err)
	defer ds.close()
	d := ds.all[0]
	require.True(t, d.normal())
	fs.TestingSetDiskUsage(vfs.DiskUsage{TotalBytes: 100, AvailBytes: 9})
	ds.measure(d)
	require.False(t, d.normal())
	fs.TestingSetDiskUsage(vfs.DiskUsage{TotalBytes: 100, AvailBytes: 10})
	ds.measure(d)
	require.True(t, d.normal())
}

func TestUnusableDataDirs(t *testing.T) {
	mem := vfs.NewMem()
	// Everything below /bad fails as on a read-only file system.
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if strings.HasPrefix(op.Path, "/bad") && op.Kind != errorfs.OpStat {
			return syscall.EROFS
		}
		return nil
	}))
	dirs := []DataDir{{"good", "/good"}, {"bad", "/bad"}}

	ds, err := openDisks(fs, dirs, true, 10, quiet)
	require.NoError(t, err)
	require.Len(t, ds.all, 1)
	require.Equal(t, "good", ds.all[0].tag)

	_, err = openDisks(mem, dirs[:1], true, 10, quiet)
	require.ErrorContains(t, err, "is another server running on it?", "a data dir is used once")
	ds.close()

	_, err = openDisks(fs, dirs, false, 10, quiet)
	require.ErrorContains(t, err, "data dir /bad (tag bad) cannot be used")
	_, err = openDisks(fs, dirs[1:], true, 10, quiet)
	require.ErrorContains(t, err, "read-only file system")
	require.ErrorContains(t, err, "change data_dirs")

	ds, err = openDisks(mem, dirs[:1], true, 10, quiet)
	require.NoError(t, err, "the lock is released")
	ds.close()
}

func TestNoSpace(t *testing.T) {
	require.True(t, noSpace(errors.Join(errors.New("x"), syscall.ENOSPC)))
	require.False(t, noSpace(nil))
	require.False(t, noSpace(errors.New("x")))
}
