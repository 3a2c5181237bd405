// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// loner returns options for a server without a meta server and without traffic.
func loner(t *testing.T, fs vfs.FS) Options {
	o := DefaultOptions()
	o.Self, o.FS, o.Log = nodeAddr(1), fs, quiet
	o.Metas = []idl.RPCAddress{metaAddr}
	o.DataDirs = []DataDir{{"ssd1", "/ssd1"}, {"ssd2", "/ssd2"}}
	o.Mux = wire.NewMux()
	o.Peers = wire.NewPeers(func(context.Context, string) (net.Conn, error) { return nil, errors.New("no network") })
	t.Cleanup(o.Peers.Close)
	return o
}

func startLoner(t *testing.T, fs vfs.FS) (*Server, error) {
	return Start(context.Background(), loner(t, fs))
}

// populate makes so many replicas of table 1.
func populate(t *testing.T, fs vfs.FS, n int32) {
	s, err := startLoner(t, fs)
	require.NoError(t, err)
	for i := range n {
		_, err := s.open(idl.GPID{AppID: 1, PartitionIndex: i}, idl.AppInfo{AppID: 1, AppName: "temp", PartitionCount: n}, true)
		require.NoError(t, err)
	}
	require.NoError(t, s.Stop(context.Background()))
}

// find returns the directories under both reps whose name contains part.
func find(t *testing.T, fs vfs.FS, part string) (dirs []string) {
	for _, reps := range []string{"/ssd1/replica/reps", "/ssd2/replica/reps"} {
		names, err := fs.List(reps)
		require.NoError(t, err)
		for _, name := range names {
			if strings.Contains(name, part) {
				dirs = append(dirs, reps+"/"+name)
			}
		}
	}
	return dirs
}

func damage(t *testing.T, fs vfs.FS, path string) {
	require.NoError(t, writeFile(fs, path, []byte("garbage")))
}

func TestDamagedReplicaIsSetAside(t *testing.T) {
	fs := vfs.NewMem()
	populate(t, fs, 4)
	require.Len(t, find(t, fs, "1."), 4)
	damage(t, fs, find(t, fs, "1.2.pegasus")[0]+"/.app-info")

	s, err := startLoner(t, fs)
	require.NoError(t, err)
	defer s.Stop(context.Background())
	require.Len(t, s.replicas(), 3)
	require.Nil(t, s.replica(idl.GPID{AppID: 1, PartitionIndex: 2}))
	aside := find(t, fs, "1.2.pegasus")
	require.Len(t, aside, 1)
	require.True(t, strings.HasSuffix(aside[0], ".err"))
	require.Equal(t, 3, s.Counts().Inactive)
}

func TestDamagedEngineNamesTheFile(t *testing.T) {
	fs := vfs.NewMem()
	populate(t, fs, 3)
	dir := find(t, fs, "1.0.pegasus")[0]
	names, err := fs.List(dir + "/data/rdb")
	require.NoError(t, err)
	for _, name := range names {
		if strings.HasPrefix(name, "MANIFEST") {
			damage(t, fs, dir+"/data/rdb/"+name)
		}
	}
	s, err := startLoner(t, fs)
	require.NoError(t, err)
	defer s.Stop(context.Background())
	require.Len(t, s.replicas(), 2)
	_, err = s.load(idl.GPID{AppID: 1}, s.disks.all[0], find(t, fs, "1.0.pegasus")[0])
	require.ErrorContains(t, err, "MANIFEST")
}

func TestTooManyDamagedReplicasStopTheStart(t *testing.T) {
	fs := vfs.NewMem()
	populate(t, fs, 4)
	for _, dir := range find(t, fs, "pegasus")[:3] {
		damage(t, fs, dir+"/.init-info")
	}
	_, err := startLoner(t, fs)
	require.ErrorContains(t, err, "3 of the 4 replicas of this server cannot be loaded")
	require.ErrorContains(t, err, ".init-info is damaged")
	require.Empty(t, find(t, fs, ".err"), "nothing is set aside")
}

func TestTwinsKeepTheNewer(t *testing.T) {
	fs := vfs.NewMem()
	populate(t, fs, 1)
	dir := find(t, fs, "1.0.pegasus")[0]
	other := "/ssd1/replica/reps/1.0.pegasus"
	if dir == other {
		other = "/ssd2/replica/reps/1.0.pegasus"
	}
	_, err := vfs.Clone(fs, fs, dir, other)
	require.NoError(t, err)
	require.NoError(t, writeInfo(fs, other, initInfoFile, initInfo{Ballot: 7}))
	s, err := startLoner(t, fs)
	require.NoError(t, err)
	defer s.Stop(context.Background())
	require.Equal(t, other, s.replica(idl.GPID{AppID: 1}).dir)
	require.EqualValues(t, 7, s.replica(idl.GPID{AppID: 1}).info().Ballot)
	require.Len(t, find(t, fs, ".err"), 1)
}

func TestForeignNamesAreLeftAlone(t *testing.T) {
	fs := vfs.NewMem()
	populate(t, fs, 1)
	foreign := []string{"lost+found", "1.0.pegasus.bak", "7.x.pegasus", "2.0.pegasus.1600000000000000.err"}
	for _, name := range foreign {
		require.NoError(t, fs.MkdirAll("/ssd1/replica/reps/"+name, 0o755))
	}
	require.NoError(t, fs.MkdirAll("/ssd1/replica/reps/1.9.pegasus.tmp/data", 0o755))
	s, err := startLoner(t, fs)
	require.NoError(t, err)
	defer s.Stop(context.Background())
	require.Len(t, s.replicas(), 1)
	for _, name := range foreign {
		require.NotEmpty(t, find(t, fs, name), name)
	}
	require.Empty(t, find(t, fs, ".tmp"), "an unfinished replica is removed")

	s.lookAtDisks()
	require.Empty(t, find(t, fs, ".err"), "what was set aside long ago is removed")
	require.NotEmpty(t, find(t, fs, ".bak"))
}

func TestSuperfluousReplicaBecomesGarbage(t *testing.T) {
	fs := vfs.NewMem()
	populate(t, fs, 2)
	s, err := startLoner(t, fs)
	require.NoError(t, err)
	defer s.Stop(context.Background())
	g := idl.GPID{AppID: 1}
	s.discard(g)
	require.Eventually(t, func() bool { return len(find(t, fs, ".gar")) == 1 }, 5*time.Second, time.Millisecond)
	require.Nil(t, s.replica(g))
	require.Len(t, s.stored(), 1)
	s.lookAtDisks()
	require.Len(t, find(t, fs, ".gar"), 1, "kept for a day")
}

func TestFullDiskRefusesNewReplicas(t *testing.T) {
	mem := vfs.NewMem()
	var full atomic.Bool
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpMkdirAll) {
			return syscall.ENOSPC
		}
		return nil
	}))
	s, err := startLoner(t, fs)
	require.NoError(t, err)
	defer s.Stop(context.Background())
	full.Store(true)
	g := idl.GPID{AppID: 1}
	_, err = s.open(g, idl.AppInfo{AppID: 1}, true)
	require.Equal(t, idl.ErrDiskInsufficient, openError(err))
	full.Store(false)
	_, err = s.open(g, idl.AppInfo{AppID: 1}, true)
	require.NoError(t, err)
}

func TestReplicaFailsAlone(t *testing.T) {
	mem := vfs.NewMem()
	var broken atomic.Value
	broken.Store("")
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if b := broken.Load().(string); b != "" && strings.HasPrefix(op.Path, b) && op.Kind == errorfs.OpFileWrite {
			return io.ErrShortWrite
		}
		return nil
	}))
	populate(t, fs, 2)
	s, err := startLoner(t, fs)
	require.NoError(t, err)
	defer s.Stop(context.Background())
	r := s.replica(idl.GPID{AppID: 1})
	require.NoError(t, r.call(context.Background(), func(now time.Time) error {
		broken.Store(r.dir + "/.init-info")
		err := r.storeBallot(3)
		r.fail(now, err)
		return nil
	}))
	require.Eventually(t, func() bool { return s.replica(r.gpid) == nil }, 5*time.Second, time.Millisecond)
	require.Len(t, s.replicas(), 1)
	require.Equal(t, 1, s.Counts().Closed)
	require.NotEmpty(t, find(t, fs, "1.0.pegasus"), "what is not damaged stays under its name")
}

func TestOptionsAreChecked(t *testing.T) {
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Self = 0 }, "no address of its own"},
		{func(o *Options) { o.FS = nil }, "required"},
		{func(o *Options) { o.Metas = nil }, "server_list"},
		{func(o *Options) { o.DataDirs = nil }, "data_dirs"},
		{func(o *Options) { o.DataDirs[1].Tag = "ssd1" }, "given twice"},
		{func(o *Options) { o.DataDirs[1].Path = "" }, "needs a tag and a path"},
		{func(o *Options) { o.Lease = 5 * time.Second }, "fd_lease_seconds"},
	} {
		o := loner(t, vfs.NewMem())
		c.change(&o)
		_, err := Start(context.Background(), o)
		require.ErrorContains(t, err, c.want)
	}
}
