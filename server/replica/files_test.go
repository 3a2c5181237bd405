// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

func TestInfoSurvivesACrashWhole(t *testing.T) {
	fs := vfs.NewCrashableMem()
	require.NoError(t, fs.MkdirAll("/d", 0o755))
	for _, dir := range []string{"/", "/d"} {
		require.NoError(t, syncDir(fs, dir))
	}
	for ballot := range int64(5) {
		require.NoError(t, writeInfo(fs, "/d", initInfoFile, initInfo{Ballot: ballot}))
		var got initInfo
		require.NoError(t, readInfo(fs.CrashClone(vfs.CrashCloneCfg{}), "/d", initInfoFile, &got))
		require.Equal(t, ballot, got.Ballot)
	}
}

func TestInfoTellsDamage(t *testing.T) {
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll("/d", 0o755))
	app := idl.AppInfo{AppID: 3, AppName: "temp", PartitionCount: 8, Envs: map[string]string{"default_ttl": "1"}}
	require.NoError(t, writeInfo(fs, "/d", appInfoFile, &app))
	got, err := readAppInfo(fs, "/d")
	require.NoError(t, err)
	require.Equal(t, app, got)

	for name, content := range map[string]string{
		"no JSON":        "\x00\x00\x00",
		"wrong checksum": `{"crc32c":1,"body":{"AppID":4}}`,
		"empty":          "",
	} {
		require.NoError(t, writeFile(fs, "/d/"+appInfoFile, []byte(content)))
		_, err = readAppInfo(fs, "/d")
		require.ErrorContains(t, err, "/d/.app-info is damaged", name)
	}
}

func TestDirNames(t *testing.T) {
	for name, want := range map[string]idl.GPID{
		"2.7.pegasus":       {AppID: 2, PartitionIndex: 7},
		"12.0.pegasus":      {AppID: 12},
		"2.7.pegasus.1.err": {},
		"2.7.pegasus.bak":   {},
		"02.7.pegasus":      {},
		"0.7.pegasus":       {},
		"2.-7.pegasus":      {},
		"2.7.rrdb":          {},
		"lost+found":        {},
		"pegasus":           {},
	} {
		g, ok := parseDirName(name)
		require.Equal(t, want, g, name)
		require.Equal(t, want != idl.GPID{}, ok, name)
	}
	at := time.UnixMicro(1700000000000001)
	name := setAsideName("2.7.pegasus", errSuffix, at)
	require.Equal(t, "2.7.pegasus.1700000000000001.err", name)
	suffix, when, ok := setAsideTime(name)
	require.True(t, ok)
	require.Equal(t, errSuffix, suffix)
	require.True(t, when.Equal(at))
	for _, name := range []string{"2.7.pegasus.err", "x.gar", ".gar", "2.7.pegasus", "a.-1.gar"} {
		_, _, ok := setAsideTime(name)
		require.False(t, ok, name)
	}
}

func TestCopyPathStaysInCheckpoints(t *testing.T) {
	for _, c := range []struct {
		dir, name string
		ok        bool
	}{
		{"data/checkpoint.12", "000004.sst", true},
		{"data/checkpoint.12", "MANIFEST-000001", true},
		{"data/checkpoint.12", "..", false},
		{"data/checkpoint.12", "../../.app-info", false},
		{"data/checkpoint.12", "a/b", false},
		{"data/checkpoint.12", "a\\b", false},
		{"data/checkpoint.12", "a\x00b", false},
		{"data/checkpoint.12", "", false},
		{"data/checkpoint.12/..", "x", false},
		{"data/checkpoint.", "x", false},
		{"data/checkpoint.tmp.3", "x", false},
		{"data/rdb", "000004.sst", false},
		{"/etc", "passwd", false},
		{"", "x", false},
		{"plog", "log.1.0", false},
		{"data/checkpoint.1\n", "x", false},
	} {
		path, err := copyPath(c.dir, c.name)
		require.Equal(t, c.ok, err == nil, "%q %q", c.dir, c.name)
		if c.ok {
			require.Equal(t, c.dir+"/"+c.name, path)
		}
	}
}

func TestSortKeyCount(t *testing.T) {
	q := &idl.MultiGetRequest{HashKey: []byte("h"), SortKeys: [][]byte{[]byte("a"), []byte("b")}}
	require.Equal(t, 2, sortKeyCount(q.Append(nil)))
	q.SortKeys = nil
	b := q.Append(nil)
	require.Equal(t, 0, sortKeyCount(b))
	for n := range b {
		require.LessOrEqual(t, sortKeyCount(b[:n]), 0)
	}
}
