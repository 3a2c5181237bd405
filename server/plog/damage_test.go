// SPDX-License-Identifier: Apache-2.0

package plog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// A script is a run against a log of which every prefix of file operations is checked.
type script struct {
	written []Entry // handed to Append, in order
	acked   int     // of written, by an Append that returned nil
	reset   int     // entries of written that a Reset which returned nil voided
	trying  int     // entries of written that a Reset in progress may void
	closed  bool
}

func (s *script) run(o Options, rng *rand.Rand) error {
	l, err := Open(o, 0, nil)
	if err != nil {
		return err
	}
	next, ballot := int64(1), int64(1)
	for i := range 14 {
		if i == 9 {
			s.trying = len(s.written)
			if err := l.Reset(next - 1); err != nil {
				return err
			}
			s.reset = s.trying
		}
		if rng.IntN(4) == 0 && next > 4 && i != 9 {
			ballot++
			next -= rng.Int64N(3)
		}
		var batch []Entry
		for range 1 + rng.IntN(4) {
			batch = append(batch, entry(ballot, next, 20+rng.IntN(3000)))
			next++
		}
		s.written = append(s.written, batch...)
		if err := l.Append(batch...); err != nil {
			return err
		}
		s.acked = len(s.written)
	}
	err = l.Close()
	s.closed = err == nil
	return err
}

// check opens what is left on disk and compares it with what was promised.
func (s *script) check(t *testing.T, fs vfs.FS, durable bool, what string) {
	t.Helper()
	for round := range 2 { // opening twice gives the same
		var got []Entry
		l, err := Open(options(fs), 0, func(e Entry) error {
			got = append(got, e)
			return nil
		})
		require.NoError(t, err, what)
		fits := func(from int) bool {
			w := s.written[from:]
			need := 0
			if durable {
				need = max(0, s.acked-from)
			}
			return len(got) >= need && len(got) <= len(w) &&
				slices.EqualFunc(got, w[:len(got)], func(a, b Entry) bool {
					return a.Ballot == b.Ballot && a.Decree == b.Decree && bytes.Equal(a.Data, b.Data)
				})
		}
		if !fits(s.reset) && !(s.trying != s.reset && fits(s.trying)) {
			t.Fatalf("%s: replayed %s\nof %s\nacknowledged %d, reset %d", what, names(got), names(s.written), s.acked, s.reset)
		}
		if round == 1 {
			require.NoError(t, l.Append(entry(9, l.LastDecree()+1, 10)), what)
		}
		require.NoError(t, l.Close(), what)
		if round == 1 {
			_, again := replayAll(t, options(fs), 0)
			require.Len(t, again, len(got)+1, what)
		}
	}
}

// TestCrashAtEveryOperation cuts the power before every file operation of a script, with none,
// some or all of the unsynced pages and names reaching the disk.
func TestCrashAtEveryOperation(t *testing.T) {
	for _, sync := range []bool{true, false} {
		for seed := range uint64(4) {
			for _, percent := range []int{0, 50, 100} {
				t.Run(fmt.Sprintf("sync=%v/seed=%d/percent=%d", sync, seed, percent), func(t *testing.T) {
					mem := vfs.NewCrashableMem()
					require.NoError(t, mem.MkdirAll("/r", 0o755))
					require.NoError(t, syncDir(mem, "/"))
					s := &script{}
					rng := rand.New(rand.NewPCG(seed, 7))
					n := 0
					fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
						if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose {
							n++
							crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
							s.check(t, crashed, sync, fmt.Sprintf("crash before operation %d, %v of %s", n, op.Kind, op.Path))
						}
						return nil
					}))
					o := options(fs)
					o.SegmentBytes = 12 << 10
					o.Sync = sync
					require.NoError(t, s.run(o, rand.New(rand.NewPCG(seed, 1))))
					require.Greater(t, n, 20)
					s.check(t, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}), true, "after Close")
				})
			}
		}
	}
}

// TestErrorAtEveryOperation lets every file operation fail once; the process then ends, and the
// next one must find what was acknowledged.
func TestErrorAtEveryOperation(t *testing.T) {
	for seed := range uint64(3) {
		for fail := 0; ; fail++ {
			mem := vfs.NewCrashableMem()
			s := &script{}
			n := 0
			fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if n++; n == fail+1 {
					return errorfs.ErrInjected
				}
				return nil
			}))
			o := options(fs)
			o.SegmentBytes = 8 << 10
			err := s.run(o, rand.New(rand.NewPCG(seed, 1)))
			if n <= fail {
				require.NoError(t, err)
				break
			}
			require.NoError(t, mem.MkdirAll("/r", 0o755))
			s.check(t, mem, true, fmt.Sprintf("seed %d, error in operation %d (%v)", seed, fail, err))
		}
	}
}

// buildLog returns a file system with a log of several segments, and what it holds.
func buildLog(t testing.TB) (*vfs.MemFS, []Entry) {
	fs := vfs.NewMem()
	o := options(fs)
	o.SegmentBytes = 300
	o.Sync = true
	l, _ := replayAll(t, o, 0)
	var written []Entry
	for d := int64(1); d <= 12; d++ {
		e := entry(1, d, 60)
		written = append(written, e)
		require.NoError(t, l.Append(e))
	}
	require.NoError(t, l.Close())
	return fs, written
}

func readFile(t testing.TB, fs vfs.FS, path string) []byte {
	info, err := fs.Stat(path)
	require.NoError(t, err)
	f, err := fs.Open(path)
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, info.Size())
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	return b
}

func writeFile(t testing.TB, fs vfs.FS, path string, b []byte) {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(slices.Clone(b))
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func segmentFiles(t testing.TB, fs vfs.FS) []string {
	l := &Log{o: options(fs)}
	all, err := l.list()
	require.NoError(t, err)
	var paths []string
	for _, s := range all {
		paths = append(paths, l.path(s.name))
	}
	return paths
}

// TestEveryFlippedBitIsFound flips one bit of every byte of every segment. The log refuses to
// open, or loses exactly the last record if that is the one that was hit.
func TestEveryFlippedBitIsFound(t *testing.T) {
	fs, written := buildLog(t)
	files := segmentFiles(t, fs)
	require.Greater(t, len(files), 2)
	for n, path := range files {
		good := readFile(t, fs, path)
		lastRecord := len(good) - recordHeaderSize - len(written[len(written)-1].Data)
		for i := range good {
			bad := slices.Clone(good)
			bad[i] ^= 1 << (i % 8)
			writeFile(t, fs, path, bad)
			var got []Entry
			l, err := Open(options(fs), 0, func(e Entry) error { got = append(got, e); return nil })
			if n == len(files)-1 && i >= lastRecord {
				require.NoError(t, err)
				require.Equal(t, names(written[:len(written)-1]), names(got))
				l.Close()
				continue
			}
			var corrupt *CorruptError
			require.ErrorAs(t, err, &corrupt, "%s byte %d", path, i)
			require.Equal(t, path, corrupt.File)
			require.LessOrEqual(t, corrupt.Offset, int64(i))
			require.ErrorContains(t, err, "move the replica's directory aside")
		}
		writeFile(t, fs, path, good)
	}
	_, got := replayAll(t, options(fs), 0)
	require.Equal(t, written, got)
}

func TestMissingAndShortenedSegments(t *testing.T) {
	fs, _ := buildLog(t)
	files := segmentFiles(t, fs)
	middle := readFile(t, fs, files[1])
	var corrupt *CorruptError

	require.NoError(t, fs.Remove(files[1]))
	_, err := Open(options(fs), 0, nil)
	require.ErrorAs(t, err, &corrupt)
	require.ErrorContains(t, err, "is missing")

	for n := range middle {
		writeFile(t, fs, files[1], middle[:n])
		_, err := Open(options(fs), 0, nil)
		require.ErrorAs(t, err, &corrupt, "cut to %d bytes", n)
	}
	writeFile(t, fs, files[1], append(middle, "left by a crash"...))
	l, got := replayAll(t, options(fs), 0)
	require.Len(t, got, 12)
	l.Close()
}

// TestTornTails cuts the last segment at every length: only whole records are lost, from the end.
func TestTornTails(t *testing.T) {
	fs, written := buildLog(t)
	files := segmentFiles(t, fs)
	path := files[len(files)-1]
	good := readFile(t, fs, path)
	for n := range good {
		writeFile(t, fs, path, good[:n])
		l, got := replayAll(t, options(fs), 0)
		require.Equal(t, written[:len(got)], got)
		l.Close()
		if 0 < n && n < segmentHeaderSize {
			continue // no disk writes less than a sector
		}
		writeFile(t, fs, path, append(slices.Clone(good[:n]), make([]byte, 5000)...))
		l, got2 := replayAll(t, options(fs), 0)
		require.Equal(t, len(got), len(got2), "zeros behind the cut")
		l.Close()
	}
}

func TestDamageInSkippedSegmentsIsFoundWhenRead(t *testing.T) {
	fs, _ := buildLog(t)
	files := segmentFiles(t, fs)
	b := readFile(t, fs, files[0])
	b[len(b)-1] ^= 1
	writeFile(t, fs, files[0], b)
	l, _ := replayAll(t, options(fs), 11)
	var corrupt *CorruptError
	require.ErrorAs(t, l.ReadFrom(1, 0, func(Entry) error { return nil }), &corrupt)
	require.NoError(t, l.Append(entry(1, 13, 1)), "writing goes on")
}

// FuzzOpen feeds arbitrary bytes behind a valid segment header, and as a whole file.
func FuzzOpen(f *testing.F) {
	fs, _ := buildLog(f)
	for _, path := range segmentFiles(f, fs) {
		f.Add(readFile(f, fs, path))
	}
	f.Add([]byte{})
	f.Add(make([]byte, 200))
	s := segment{index: 1, salt: 42}
	header := s.appendHeader(nil)
	f.Add(appendRecord(appendRecord(nil, 42, 0, entry(1, 1, 10)), 42, 64, entry(2, 1, 10)))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, content := range [][]byte{data, append(slices.Clone(header), data...)} {
			fs := vfs.NewMem()
			require.NoError(t, fs.MkdirAll(dir, 0o755))
			writeFile(t, fs, dir+"/log.1.0", content)
			var got []Entry
			l, err := Open(options(fs), 0, func(e Entry) error { got = append(got, e); return nil })
			var corrupt *CorruptError
			if err != nil {
				if !errors.As(err, &corrupt) {
					t.Fatal(err)
				}
				continue
			}
			if len(got) > 0 {
				if err := l.ReadFrom(l.FirstDecree(), 0, func(Entry) error { return nil }); err != nil && !errors.Is(err, ErrTruncated) {
					t.Fatal(err)
				}
			}
			require.NoError(t, l.Append(entry(9, l.LastDecree()+1, 5)))
			require.NoError(t, l.Close())
			n := 0
			l, err = Open(options(fs), 0, func(Entry) error { n++; return nil })
			require.NoError(t, err)
			require.Equal(t, len(got)+1, n)
			require.NoError(t, l.Close())
		}
	})
}
