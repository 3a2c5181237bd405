// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// step applies mutation number n of a fixed history: some puts, a removal, a counter.
func (r rig) step(n int64) {
	r.t.Helper()
	ws := []write{
		{CodePut, &idl.UpdateRequest{Key: rawKey("h", fmt.Sprint(n%17)), Value: fmt.Append(nil, n)}},
		{CodePut, &idl.UpdateRequest{Key: rawKey("i", fmt.Sprint(n)), Value: make([]byte, n%300)}},
		{CodeRemove, idl.Blob(rawKey("i", fmt.Sprint(n-5)))},
		{CodeIncr, &idl.IncrRequest{Key: rawKey("n", ""), Increment: n}},
	}
	require.NoError(r.t, r.Apply(n, start.UnixMicro(), payloadOf(ws...), nil))
}

// history returns what is stored after each step up to n.
func history(t *testing.T, n int64) []map[string]string {
	r := newRig(t)
	states := []map[string]string{dump(t, r.DB)}
	for i := int64(1); i <= n; i++ {
		r.step(i)
		states = append(states, dump(t, r.DB))
	}
	return states
}

// TestCrash: after a crash at any moment the DB holds exactly the state after the decree that it
// reports, and nothing that was durable is lost.
func TestCrash(t *testing.T) {
	const steps = 60
	states := history(t, steps)
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 0))
		fs := vfs.NewCrashableMem()
		o := testOptions(t)
		o.FS = fs
		d := openDB(t, o)
		for d.Applied() < steps {
			rig{t, d}.step(d.Applied() + 1)
			if rng.IntN(8) == 0 {
				require.NoError(t, d.Flush())
				require.Equal(t, d.Applied(), d.Durable())
			}
			if rng.IntN(20) == 0 {
				_, err := d.Checkpoint(fmt.Sprintf("replica/data/checkpoint.%d", d.Applied()))
				require.NoError(t, err)
			}
			if rng.IntN(15) > 0 {
				continue
			}
			// Between durable and applied the disk may have kept anything.
			durable := d.Durable()
			cfg := vfs.CrashCloneCfg{}
			if rng.IntN(2) == 0 {
				cfg = vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}
			}
			after := fs.CrashClone(cfg)
			require.NoError(t, d.Close())
			fs, o.FS = after, after
			applied := d.Applied()
			d = openDB(t, o)
			require.Equal(t, d.Applied(), d.Durable())
			require.GreaterOrEqual(t, d.Applied(), durable)
			require.LessOrEqual(t, d.Applied(), applied)
			require.Equal(t, states[d.Applied()], dump(t, d))
		}
		require.NoError(t, d.Close())
	}
}

func TestCloseFlushes(t *testing.T) {
	o := testOptions(t)
	d := openDB(t, o)
	for i := range int64(5) {
		rig{t, d}.step(i + 1)
	}
	require.Zero(t, d.Durable())
	require.NoError(t, d.Close())
	require.ErrorIs(t, d.Close(), ErrClosed)
	d = openDB(t, o)
	require.EqualValues(t, 5, d.Applied())
	require.EqualValues(t, 5, d.Durable())
	rig{t, d}.step(6)
	require.NoError(t, d.CloseWithoutFlush())
	d = openDB(t, o)
	require.EqualValues(t, 5, d.Applied())
	require.NoError(t, d.Close())
}

func TestEmptyMutationsBecomeDurable(t *testing.T) {
	o := testOptions(t)
	d := openDB(t, o)
	for i := range int64(3) {
		require.NoError(t, d.Apply(i+1, 0, nil, nil))
	}
	require.NoError(t, d.Flush())
	require.EqualValues(t, 3, d.Durable())
	require.NoError(t, d.Close())
}

func TestCheckpoint(t *testing.T) {
	states := history(t, 20)
	r := newRig(t)
	decree, err := r.Checkpoint("replica/data/checkpoint.new")
	require.NoError(t, err)
	require.Zero(t, decree)
	decree, err = Inspect(r.opts.FS, "replica/data/checkpoint.new")
	require.NoError(t, err)
	require.Zero(t, decree)
	for i := range int64(10) {
		r.step(i + 1)
	}
	const dir = "replica/data/checkpoint.10"
	decree, err = r.Checkpoint(dir)
	require.NoError(t, err)
	require.EqualValues(t, 10, decree)
	_, err = r.Checkpoint(dir)
	require.Error(t, err, "exists")
	for i := range int64(10) {
		r.step(i + 11)
	}
	require.NoError(t, r.Flush())

	before, err := r.opts.FS.List(dir)
	require.NoError(t, err)
	decree, err = Inspect(r.opts.FS, dir)
	require.NoError(t, err)
	require.EqualValues(t, 10, decree)
	after, err := r.opts.FS.List(dir)
	require.NoError(t, err)
	require.ElementsMatch(t, before, after, "looking at a checkpoint leaves no trace")

	o := r.opts
	o.Dir = "other/data"
	require.NoError(t, Install(o.FS, dir, o.Dir))
	d := openDB(t, o)
	require.EqualValues(t, 10, d.Applied())
	require.EqualValues(t, 10, d.Durable())
	require.Equal(t, states[10], dump(t, d))
	rig{t, d}.step(11)
	require.Equal(t, states[11], dump(t, d))
	require.NoError(t, d.Close())
	require.Equal(t, states[20], dump(t, r.DB))
}

// TestCheckpointWhileWriting: the decree that Checkpoint returns is the one in the copy, though
// memtables of a few records are flushed all the time.
func TestCheckpointWhileWriting(t *testing.T) {
	states := history(t, 400)
	o := testOptions(t)
	o.Shared = NewShared(SharedOptions{MemTableBytes: 1 << 10})
	defer o.Shared.Close()
	d := openDB(t, o)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range int64(400) {
			rig{t, d}.step(i + 1)
		}
	}()
	for n := 0; n < 8; n++ {
		applied := d.Applied()
		dir := fmt.Sprintf("replica/data/checkpoint.tmp.%d", n)
		decree, err := d.Checkpoint(dir)
		require.NoError(t, err)
		require.GreaterOrEqual(t, decree, applied)
		copied := o
		copied.Dir = fmt.Sprintf("copy%d", n)
		require.NoError(t, Install(o.FS, dir, copied.Dir))
		c := openDB(t, copied)
		require.Equal(t, decree, c.Applied())
		require.Equal(t, states[decree], dump(t, c))
		require.NoError(t, c.Close())
	}
	<-done
	require.NoError(t, d.Close())
}

// opFS calls before ahead of every operation that changes the disk.
type opFS struct {
	vfs.FS
	before func()
}

func (f opFS) Rename(a, b string) error           { f.before(); return f.FS.Rename(a, b) }
func (f opFS) Remove(a string) error              { f.before(); return f.FS.Remove(a) }
func (f opFS) RemoveAll(a string) error           { f.before(); return f.FS.RemoveAll(a) }
func (f opFS) OpenDir(a string) (vfs.File, error) { f.before(); return f.FS.OpenDir(a) }
func (f opFS) Open(a string, o ...vfs.OpenOption) (vfs.File, error) {
	f.before()
	return f.FS.Open(a, o...)
}

// makeInstall prepares a replica at decree 4 and a learned checkpoint at decree 9.
func makeInstall(t *testing.T, fs *vfs.MemFS) Options {
	o := testOptions(t)
	o.FS = fs
	source := o
	source.Dir = "source"
	d := openDB(t, source)
	for i := range int64(9) {
		rig{t, d}.step(i + 1)
	}
	_, err := d.Checkpoint("replica/learn/checkpoint")
	require.NoError(t, err)
	require.NoError(t, d.Close())
	d = openDB(t, o)
	for i := range int64(4) {
		rig{t, d}.step(i + 1)
	}
	require.NoError(t, d.Close())
	return o
}

// TestInstallCrash crashes before every operation of Install and of the recovery after it.
func TestInstallCrash(t *testing.T) {
	states := history(t, 9)
	for _, percent := range []int{0, 50, 100} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(9, 9))}
			fs := vfs.NewCrashableMem()
			o := makeInstall(t, fs)
			var crashes []*vfs.MemFS
			snap := func(of *vfs.MemFS) func() {
				return func() { crashes = append(crashes, of.CrashClone(cfg)) }
			}
			require.NoError(t, Install(opFS{fs, snap(fs)}, "replica/learn/checkpoint", o.Dir))
			crashes = append(crashes, fs.CrashClone(vfs.CrashCloneCfg{}))
			last := len(crashes) - 1
			require.Greater(t, last, 10)
			seen := map[int64]int{}
			check := func(i int, crashed *vfs.MemFS) {
				o.FS = crashed
				d, err := Open(o)
				require.NoError(t, err, "crash %d", i)
				defer func() { require.NoError(t, d.Close()) }()
				require.Contains(t, []int64{4, 9}, d.Applied(), "crash %d", i)
				require.Equal(t, states[d.Applied()], dump(t, d))
				seen[d.Applied()]++
				if i == last {
					require.EqualValues(t, 9, d.Applied(), "done means durable")
				}
				names, err := crashed.List(o.Dir)
				require.NoError(t, err)
				require.Equal(t, []string{rdbName}, names)
			}
			for i, crashed := range crashes {
				// A second crash, within the recovery.
				first := len(crashes)
				require.NoError(t, recoverInstall(opFS{crashed, snap(crashed)}, o.Dir))
				again := crashes[first:]
				crashes = crashes[:first]
				for _, c := range again {
					check(-1, c)
				}
				check(i, crashed)
			}
			require.Len(t, seen, 2)
		})
	}
}

func TestInstallRefusesDamage(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := makeInstall(t, fs)
	require.NoError(t, fs.MkdirAll("empty", 0o755))
	for _, dir := range []string{"nowhere", "empty"} {
		var corrupt *CorruptError
		require.ErrorAs(t, Install(fs, dir, o.Dir), &corrupt)
	}
	removeOne(t, fs, "replica/learn/checkpoint", ".sst")
	var corrupt *CorruptError
	require.ErrorAs(t, Install(fs, "replica/learn/checkpoint", o.Dir), &corrupt)
	d := openDB(t, o)
	require.EqualValues(t, 4, d.Applied(), "untouched")
	require.NoError(t, d.Close())
}

func TestDestroyData(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := makeInstall(t, fs)
	var crashes []*vfs.MemFS
	require.NoError(t, DestroyData(opFS{fs, func() { crashes = append(crashes, fs.CrashClone(vfs.CrashCloneCfg{})) }}, o.Dir))
	crashes = append(crashes, fs)
	seen := map[int64]bool{}
	for _, crashed := range crashes {
		o.FS = crashed
		d := openDB(t, o)
		seen[d.Applied()] = true
		require.NoError(t, d.Close())
	}
	require.Equal(t, map[int64]bool{0: true, 4: true}, seen)
	require.NoError(t, DestroyData(fs, o.Dir))
	require.NoError(t, DestroyData(fs, "never/was"))
}

func TestEstimateKeys(t *testing.T) {
	r := newRig(t)
	estimate := func() int64 {
		n, err := r.EstimateKeys()
		require.NoError(t, err)
		return n
	}
	require.Zero(t, estimate())
	r.fill("h", 100, 10)
	require.EqualValues(t, 100, estimate())
	require.NoError(t, r.Flush())
	require.EqualValues(t, 100, estimate())
	for i := range 10 {
		r.do(CodeRemove, idl.Blob(rawKey("h", fmt.Sprintf("s%04d", i))))
	}
	require.EqualValues(t, 90, estimate())
	require.Positive(t, r.DiskBytes())
	m := r.Metrics()
	require.EqualValues(t, 11, m.Applied)
	require.EqualValues(t, 1, m.Durable)
	require.EqualValues(t, 1, m.Flushes)
	require.EqualValues(t, 11, m.Writes)
	require.Len(t, maps.Collect(maps.All(dump(t, r.DB))), 90)
}
