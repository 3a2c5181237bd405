// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// removeOne deletes the first file of dir whose name ends so.
func removeOne(t *testing.T, fs vfs.FS, dir, suffix string) string {
	names, err := fs.List(dir)
	require.NoError(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, suffix) || strings.HasPrefix(name, suffix) {
			require.NoError(t, fs.Remove(fs.PathJoin(dir, name)))
			return name
		}
	}
	t.Fatalf("no %s in %s", suffix, dir)
	return ""
}

// overwrite puts junk in the place of the content of a file.
func overwrite(t *testing.T, fs vfs.FS, path string, junk func([]byte)) {
	f, err := fs.Open(path)
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	require.Equal(t, len(b), n, "%v", err)
	require.NoError(t, f.Close())
	junk(b)
	w, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = w.Write(b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
}

// written returns the options of a closed DB with some tables.
func written(t *testing.T) Options {
	o := testOptions(t)
	d := openDB(t, o)
	for i := range int64(6) {
		rig{t, d}.step(i + 1)
		require.NoError(t, d.Flush())
	}
	require.NoError(t, d.Close())
	return o
}

func TestOpenDamagedFiles(t *testing.T) {
	manifest := func(o Options) string {
		found, err := pebble.Peek("replica/data/rdb", o.FS)
		require.NoError(t, err)
		return found.ManifestFilename
	}
	for _, c := range []struct {
		name   string
		damage func(o Options)
	}{
		{"table missing", func(o Options) { removeOne(t, o.FS, "replica/data/rdb", ".sst") }},
		{"manifest missing", func(o Options) { require.NoError(t, o.FS.Remove(manifest(o))) }},
		{"manifest junk", func(o Options) {
			overwrite(t, o.FS, manifest(o), func(b []byte) {
				for i := range b[:len(b)/2] {
					b[i] ^= 0x5a
				}
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := written(t)
			c.damage(o)
			_, err := Open(o)
			var corrupt *CorruptError
			require.ErrorAs(t, err, &corrupt)
			require.Equal(t, "replica/data/rdb", corrupt.Dir)
			require.NotEmpty(t, corrupt.File, "%v", err)
			require.ErrorContains(t, err, "move the replica's directory aside")
		})
	}
}

func TestOpenNewerLayout(t *testing.T) {
	o := testOptions(t)
	d := openDB(t, o)
	require.NoError(t, d.pdb.Set(metaVersion, []byte{schemaVersion + 1}, pebble.NoSync))
	require.NoError(t, d.Close())
	_, err := Open(o)
	require.ErrorContains(t, err, "layout version 2")
	var corrupt *CorruptError
	require.False(t, errors.As(err, &corrupt))
}

// TestDamagedTableOnRead: damage that only a read finds is answered, reported once and ends the
// use of the DB, not of the process.
func TestDamagedTableOnRead(t *testing.T) {
	o := written(t)
	names, err := o.FS.List("replica/data/rdb")
	require.NoError(t, err)
	for _, n := range names {
		if strings.HasSuffix(n, ".sst") {
			overwrite(t, o.FS, "replica/data/rdb/"+n, func(b []byte) {
				for i := range b[:len(b)/3] {
					b[i] ^= 0x5a
				}
			})
		}
	}
	var reported atomic.Pointer[error]
	o.OnError = func(err error) {
		if !reported.CompareAndSwap(nil, &err) {
			t.Error("reported twice")
		}
	}
	d, err := Open(o)
	if err == nil {
		r := rig{t, d}
		a := ask[*idl.MultiGetResponse](r, idl.RPCMultiGet, &idl.MultiGetRequest{HashKey: []byte("h")})
		require.EqualValues(t, idl.StatusCorruption, a.Error)
		err = d.Err()
		require.ErrorIs(t, d.Apply(d.Applied()+1, 0, nil, nil), err)
		require.ErrorIs(t, d.Flush(), err)
		_ = d.Close()
		require.NotNil(t, reported.Load())
	}
	var corrupt *CorruptError
	require.ErrorAs(t, err, &corrupt)
}

// fullFS is a disk that can be full.
type fullFS struct {
	vfs.FS
	full *atomic.Bool
}

func (f fullFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.full.Load() {
		return nil, &syscallError{name}
	}
	return f.FS.Create(name, c)
}

type syscallError struct{ name string }

func (e *syscallError) Error() string { return "create " + e.name + ": no space left on device" }
func (e *syscallError) Unwrap() error { return syscall.ENOSPC }

// TestDiskFull: the writer, who may already be waiting, gets the error; the DB can be closed;
// with room on the disk it opens again with what had been durable.
func TestDiskFull(t *testing.T) {
	var full atomic.Bool
	o := testOptions(t)
	o.FS = fullFS{o.FS, &full}
	o.Shared = NewShared(SharedOptions{MemTableSize: 1 << 20})
	defer o.Shared.Close()
	reported := make(chan error, 1)
	o.OnError = func(err error) { reported <- err }
	d := openDB(t, o)
	r := rig{t, d}
	r.step(1)
	require.NoError(t, d.Flush())
	full.Store(true)

	payload := payloadOf(write{CodePut, &idl.UpdateRequest{Key: rawKey("h", "big"), Value: make([]byte, 100<<10)}})
	var err error
	for i := range int64(1000) {
		if err = d.Apply(i+2, 0, payload, nil); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	select {
	case err := <-reported:
		require.ErrorIs(t, err, syscall.ENOSPC)
	case <-time.After(10 * time.Second):
		t.Fatal("not reported")
	}
	require.ErrorIs(t, d.Flush(), syscall.ENOSPC)
	_, err = d.Checkpoint("replica/data/checkpoint.1")
	require.ErrorIs(t, err, syscall.ENOSPC)
	_, ok := r.getValue("h", "1")
	require.True(t, ok, "reads go on")
	require.NoError(t, d.Close())

	full.Store(false)
	d = openDB(t, o)
	require.EqualValues(t, 1, d.Applied())
	require.NoError(t, d.Close())
}

// TestCloseUnderLoad: Close waits for what is under way, and what comes later is refused.
func TestCloseUnderLoad(t *testing.T) {
	r := newRig(t)
	r.fill("h", 2000, 100)
	var wg sync.WaitGroup
	for _, name := range []string{idl.RPCGet, idl.RPCMultiGet, idl.RPCGetScanner, idl.RPCSortkeyCount} {
		arg := map[string]idl.Value{
			idl.RPCGet:          idl.Blob(rawKey("h", "s0001")),
			idl.RPCMultiGet:     &idl.MultiGetRequest{HashKey: []byte("h")},
			idl.RPCGetScanner:   fullScan(100),
			idl.RPCSortkeyCount: idl.Blob("h"),
		}[name].Append(nil)
		wg.Go(func() {
			for {
				var c capture
				r.Read(name, arg, &c)
				if c.code != "" {
					require.Equal(t, idl.ErrInvalidState, c.code)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for {
			err := r.Apply(r.Applied()+1, start.UnixMicro(), payloadOf(write{CodePut, &idl.UpdateRequest{Key: rawKey("h", "s0001"), Value: make([]byte, 1000)}}), nil)
			if err != nil {
				require.ErrorIs(t, err, ErrClosed)
				return
			}
		}
	})
	wg.Go(func() {
		for r.Flush() == nil {
			r.Durable()
			r.Metrics()
			_, _ = r.EstimateKeys()
		}
	})
	for r.Applied() < 200 {
		r.SetEnvs(map[string]string{EnvDefaultTTL: "100"})
	}
	require.NoError(t, r.Close())
	wg.Wait()
	_, err := r.Checkpoint("x")
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, r.Flush(), ErrClosed)
	require.Zero(t, r.DiskBytes())
}

// manifestFS is a disk that fails to sync manifests once it is told to.
type manifestFS struct {
	vfs.FS
	broken *atomic.Bool
}

type manifestFile struct {
	vfs.File
	broken *atomic.Bool
}

func (f manifestFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	if err == nil && strings.Contains(name, "MANIFEST") {
		return manifestFile{file, f.broken}, nil
	}
	return file, err
}

func (f manifestFile) Sync() error {
	if f.broken.Load() {
		return syscall.EIO
	}
	return f.File.Sync()
}

// TestManifestFailure: what Pebble calls fatal costs one replica, not the process.
func TestManifestFailure(t *testing.T) {
	var broken atomic.Bool
	o := testOptions(t)
	o.FS = manifestFS{o.FS, &broken}
	d := openDB(t, o)
	r := rig{t, d}
	r.step(1)
	require.NoError(t, d.Flush())
	broken.Store(true)
	r.step(2)
	require.ErrorIs(t, d.Flush(), syscall.EIO)
	require.ErrorIs(t, d.Err(), syscall.EIO)
	require.ErrorIs(t, d.Apply(3, 0, nil, nil), syscall.EIO)
	_, ok := r.getValue("h", "2")
	require.True(t, ok)
	_ = d.Close()

	broken.Store(false)
	d = openDB(t, o)
	require.Contains(t, []int64{1, 2}, d.Applied())
	require.NoError(t, d.Close())
}

// TestInBubble: a DB runs inside a synctest bubble, beside others outside, as simulations of
// whole clusters need it.
func TestInBubble(t *testing.T) {
	run := func(t *testing.T) {
		o := testOptions(t)
		o.Shared = NewShared(SharedOptions{MemTableSize: 256 << 10})
		defer o.Shared.Close()
		o.Now = nil
		d := openDB(t, o)
		r := rig{t, d}
		for i := range 20 {
			r.fill("h", 50, 1000)
			if i%3 == 0 {
				require.NoError(t, d.Flush())
			}
		}
		_, err := d.Checkpoint("replica/data/checkpoint.20")
		require.NoError(t, err)
		require.NoError(t, d.Close())
	}
	run(t)
	synctest.Test(t, run)
	run(t)
	synctest.Test(t, run)
}
