// SPDX-License-Identifier: Apache-2.0

package plog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

const dir = "/r/plog"

func options(fs vfs.FS) Options {
	return Options{FS: fs, Dir: dir, SegmentBytes: 1 << 10, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

// entry makes an entry whose data can be recognized.
func entry(ballot, decree int64, size int) Entry {
	data := bytes.Repeat([]byte{byte(ballot*31 + decree)}, size)
	return Entry{ballot, decree, append(data, fmt.Sprintf("%d@%d", decree, ballot)...)}
}

func entries(ballot, first, last int64) []Entry {
	var es []Entry
	for d := first; d <= last; d++ {
		es = append(es, entry(ballot, d, 100))
	}
	return es
}

// resolve applies the rule that a record voids what it goes back behind.
func resolve(written []Entry) []Entry {
	var out []Entry
	for _, e := range written {
		for len(out) > 0 && out[len(out)-1].Decree >= e.Decree {
			out = out[:len(out)-1]
		}
		out = append(out, e)
	}
	return out
}

func names(es []Entry) string {
	var s []string
	for _, e := range es {
		s = append(s, string(e.Data[strings.LastIndexByte(string(e.Data[:len(e.Data)-3]), e.Data[0])+1:]))
	}
	return strings.Join(s, " ")
}

func replayAll(t testing.TB, o Options, from int64) (*Log, []Entry) {
	t.Helper()
	var got []Entry
	l, err := Open(o, from, func(e Entry) error {
		got = append(got, e)
		return nil
	})
	require.NoError(t, err)
	return l, got
}

func readAll(t testing.TB, l *Log, decree int64) []Entry {
	t.Helper()
	var got []Entry
	require.NoError(t, l.ReadFrom(decree, 0, func(e Entry) error {
		got = append(got, e)
		return nil
	}))
	return got
}

func TestReopenReplaysWhatWasAppended(t *testing.T) {
	o := options(vfs.NewMem())
	l, got := replayAll(t, o, 0)
	require.Empty(t, got)
	require.Equal(t, int64(1), l.FirstDecree())
	require.Equal(t, int64(0), l.LastDecree())

	written := entries(1, 1, 40)
	for batch := range slices.Chunk(written, 7) {
		require.NoError(t, l.Append(batch...))
	}
	require.Equal(t, int64(40), l.LastDecree())
	files, _ := o.FS.List(dir)
	require.Greater(t, len(files), 2, "segments rotate")
	require.NoError(t, l.Close())
	require.Error(t, l.Append(entry(1, 41, 1)))

	for from := int64(0); from <= 41; from++ {
		l, got = replayAll(t, o, from)
		require.Equal(t, written[min(int(from), 40):], slices.Clip(append([]Entry{}, got...)), "from %d", from)
		require.Equal(t, int64(1), l.FirstDecree())
		require.Equal(t, int64(40), l.LastDecree())
		require.Equal(t, written[4:], readAll(t, l, 5), "reading needs segments that replay skipped")
		require.NoError(t, l.Close())
	}

	l, _ = replayAll(t, o, 40)
	more := entries(2, 41, 60)
	require.NoError(t, l.Append(more...))
	require.NoError(t, l.Close())
	l, got = replayAll(t, o, 0)
	require.Equal(t, append(written, more...), got)
	require.NoError(t, l.Close())
}

func TestLaterRecordsVoidEarlierOnes(t *testing.T) {
	o := options(vfs.NewMem())
	l, _ := replayAll(t, o, 0)
	var written []Entry
	add := func(es ...Entry) {
		written = append(written, es...)
		require.NoError(t, l.Append(es...))
	}
	add(entries(1, 1, 30)...)
	add(entries(2, 25, 26)...)
	add(entries(3, 20, 22)...)
	add(entries(3, 23, 50)...)
	add(entries(4, 50, 50)...)
	want := resolve(written)
	require.Len(t, want, 50)
	check := func() {
		for d := int64(1); d <= 51; d++ {
			require.Equal(t, names(want[d-1:]), names(readAll(t, l, d)), "from decree %d", d)
		}
	}
	check()
	require.NoError(t, l.Close())
	for _, from := range []int64{0, 10, 19, 24, 27, 35, 50} {
		var got []Entry
		l, got = replayAll(t, o, from)
		got = slices.DeleteFunc(resolve(got), func(e Entry) bool { return e.Decree <= from })
		require.Equal(t, names(want[from:]), names(got), "replay from %d", from)
		check()
		require.NoError(t, l.Close())
	}
}

func TestReplayHearsOfVoidedEntries(t *testing.T) {
	o := options(vfs.NewMem())
	o.SegmentBytes = 1 << 20
	l, _ := replayAll(t, o, 0)
	require.NoError(t, l.Append(entries(1, 1, 12)...))
	require.NoError(t, l.Append(entries(2, 9, 10)...))
	require.NoError(t, l.Close())
	_, got := replayAll(t, o, 10)
	require.Equal(t, "11@1 12@1 9@2", names(got), "decree 9 is below from, but voids 11 and 12")
}

func TestReadFromHonoursLimitAndErrors(t *testing.T) {
	l, _ := replayAll(t, options(vfs.NewMem()), 0)
	require.NoError(t, l.Append(entries(1, 1, 30)...))
	n := 0
	require.NoError(t, l.ReadFrom(3, 250, func(Entry) error { n++; return nil }))
	require.Equal(t, 3, n)
	boom := errors.New("boom")
	require.ErrorIs(t, l.ReadFrom(3, 0, func(Entry) error { return boom }), boom)
	require.NoError(t, l.ReadFrom(31, 0, func(Entry) error { return boom }))
}

func TestTruncateRemovesWholeSegments(t *testing.T) {
	o := options(vfs.NewMem())
	l, _ := replayAll(t, o, 0)
	for d := int64(1); d <= 60; d++ {
		require.NoError(t, l.Append(entry(1, d, 100)))
	}
	before := l.Size()
	require.NoError(t, l.Truncate(33))
	first := l.FirstDecree()
	require.Greater(t, first, int64(20))
	require.LessOrEqual(t, first, int64(34))
	require.Less(t, l.Size(), before)
	require.Len(t, readAll(t, l, first), int(60-first+1))
	require.ErrorIs(t, l.ReadFrom(first-1, 0, func(Entry) error { return nil }), ErrTruncated)

	require.NoError(t, l.Truncate(60), "the segment that is written to stays")
	require.NoError(t, l.Append(entry(1, 61, 100)))
	require.NoError(t, l.Close())
	l, got := replayAll(t, o, 60)
	require.Equal(t, "61@1", names(got))
	require.Equal(t, int64(61), l.LastDecree())
	require.LessOrEqual(t, l.FirstDecree(), int64(61))
}

func TestTruncateKeepsTheReserve(t *testing.T) {
	o := options(vfs.NewMem())
	now := time.Now()
	o.Now = func() time.Time { return now }
	o.ReserveBytes, o.ReserveAge = 4<<10, time.Hour
	l, _ := replayAll(t, o, 0)
	for d := int64(1); d <= 100; d++ {
		require.NoError(t, l.Append(entry(1, d, 100)))
	}
	require.NoError(t, l.Truncate(100))
	require.LessOrEqual(t, l.Size(), int64(4<<10))
	require.Greater(t, l.Size(), int64(2<<10))
	require.Less(t, l.FirstDecree(), int64(90))
	now = now.Add(2 * time.Hour)
	require.NoError(t, l.Truncate(100))
	require.Less(t, l.Size(), int64(2<<10))
}

func TestResetVoidsEverything(t *testing.T) {
	o := options(vfs.NewMem())
	l, _ := replayAll(t, o, 0)
	require.NoError(t, l.Append(entries(1, 1, 30)...))
	require.NoError(t, l.Reset(20))
	require.Equal(t, int64(21), l.FirstDecree())
	require.Equal(t, int64(20), l.LastDecree())
	files, _ := o.FS.List(dir)
	require.Len(t, files, 1)
	require.NoError(t, l.Close())

	l, got := replayAll(t, o, 0)
	require.Empty(t, got)
	require.Equal(t, int64(21), l.FirstDecree())
	require.NoError(t, l.Append(entries(2, 21, 40)...))
	require.NoError(t, l.Close())
	l, got = replayAll(t, o, 20)
	require.Equal(t, entries(2, 21, 40), got)
	require.Equal(t, entries(2, 30, 40), readAll(t, l, 30))
}

func TestHolesAreNotReadOver(t *testing.T) {
	o := options(vfs.NewMem())
	l, _ := replayAll(t, o, 0)
	require.NoError(t, l.Append(entries(1, 1, 5)...))
	require.NoError(t, l.Append(entries(1, 9, 12)...))
	require.Equal(t, int64(9), l.FirstDecree())
	require.ErrorIs(t, l.ReadFrom(3, 0, func(Entry) error { return nil }), ErrTruncated)
	require.NoError(t, l.Close())
	l, _ = replayAll(t, o, 0)
	require.Equal(t, int64(9), l.FirstDecree())
	require.Equal(t, entries(1, 10, 12), readAll(t, l, 10))
}

func TestReadingAppendingAndTruncatingTogether(t *testing.T) {
	o := options(vfs.NewMem())
	o.SegmentBytes = 8 << 10
	l, _ := replayAll(t, o, 0)
	require.NoError(t, l.Append(entry(1, 1, 100)))
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				from := max(l.FirstDecree(), l.LastDecree()-50)
				next := from
				err := l.ReadFrom(from, 5000, func(e Entry) error {
					if e.Decree != next {
						return fmt.Errorf("got %d, want %d", e.Decree, next)
					}
					next++
					return nil
				})
				if err != nil && !errors.Is(err, ErrTruncated) {
					t.Error(err)
					return
				}
			}
		})
	}
	for d := int64(2); d < 2000; d++ {
		require.NoError(t, l.Append(entry(1, d, 50)))
		if d%100 == 0 {
			require.NoError(t, l.Truncate(d-80))
		}
	}
	close(done)
	wg.Wait()
}

func TestFailedWritePoisonsTheLog(t *testing.T) {
	for _, tt := range []struct {
		name string
		op   errorfs.OpKind
		sync bool
	}{
		{"write", errorfs.OpFileWrite, false},
		{"sync", errorfs.OpFileSyncData, true},
		{"create", errorfs.OpCreate, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mem := vfs.NewMem()
			fail := false
			fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if fail && op.Kind == tt.op {
					return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
				}
				return nil
			}))
			o := options(fs)
			o.Sync = tt.sync
			l, _ := replayAll(t, o, 0)
			require.NoError(t, l.Append(entries(1, 1, 9)...), "fills a segment")
			fail = true
			err := l.Append(entry(1, 10, 10))
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.ErrorContains(t, err, dir)
			fail = false
			require.ErrorIs(t, l.Append(entry(1, 10, 10)), syscall.ENOSPC, "poisoned")
			require.ErrorIs(t, l.Reset(9), syscall.ENOSPC)
			l.Close()

			o.FS = mem
			l, got := replayAll(t, o, 0)
			require.GreaterOrEqual(t, len(got), 9)
			require.Equal(t, entries(1, 1, 9), got[:9])
			require.NoError(t, l.Append(entry(1, l.LastDecree()+1, 1)))
		})
	}
}

// shortFS writes only a part of the writes that cross a limit, and says so by n alone.
type shortFS struct {
	vfs.FS
	left int
}

type shortFile struct {
	vfs.File
	fs *shortFS
}

func (fs *shortFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, c)
	return &shortFile{f, fs}, err
}

func (f *shortFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p[:min(len(p), f.fs.left)])
	f.fs.left -= n
	return n, err
}

func TestShortWritesAreErrorsAndCutOff(t *testing.T) {
	for limit := 0; limit < 3000; limit += 37 {
		mem := vfs.NewMem()
		l, _ := replayAll(t, options(&shortFS{mem, limit}), 0)
		var acked []Entry
		for d := int64(1); ; d++ {
			if err := l.Append(entry(1, d, 100)); err != nil {
				require.ErrorContains(t, err, "wrote")
				break
			}
			acked = append(acked, entry(1, d, 100))
		}
		require.Error(t, l.Append(entry(1, 99, 1)))
		l.Close()
		l, got := replayAll(t, options(mem), 0)
		require.Equal(t, names(acked), names(got), "limit %d", limit)
		require.NoError(t, l.Append(entry(2, l.LastDecree()+1, 100)))
		l.Close()
		_, got = replayAll(t, options(mem), 0)
		require.Len(t, got, len(acked)+1)
	}
}

func TestImpossibleEntriesAreRefusedWithoutHarm(t *testing.T) {
	l, _ := replayAll(t, options(vfs.NewMem()), 0)
	require.Error(t, l.Append(Entry{Ballot: 1, Decree: 0}))
	require.NoError(t, l.Append(Entry{Ballot: 1, Decree: 1}))
	require.Len(t, readAll(t, l, 1), 1)
}

func TestUnwritableDirectoryIsNamed(t *testing.T) {
	file := t.TempDir() + "/file"
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	o := options(vfs.Default)
	o.Dir = file + "/plog"
	_, err := Open(o, 0, nil)
	require.ErrorContains(t, err, file)
}

func TestOnRealFiles(t *testing.T) {
	o := options(vfs.Default)
	o.Dir = t.TempDir() + "/a/plog"
	o.SegmentBytes = 3 << 20
	o.Sync = true
	l, _ := replayAll(t, o, 0)
	var want []Entry
	for d := int64(1); d < 10; d++ {
		e := entry(1, d, 1<<20)
		want = append(want, e)
		require.NoError(t, l.Append(e))
	}
	require.NoError(t, l.Sync())
	require.NoError(t, l.Truncate(4))
	require.NoError(t, l.Close())
	l, got := replayAll(t, o, 4)
	require.Equal(t, len(want)-4, len(got))
	require.Equal(t, want[4:], got)
	require.NoError(t, l.Close())
}

func BenchmarkAppend(b *testing.B) {
	o := options(vfs.Default)
	o.Dir = b.TempDir() + "/plog"
	o.SegmentBytes = 0
	l, err := Open(o, 0, nil)
	require.NoError(b, err)
	data := make([]byte, 200)
	b.ReportAllocs()
	d := int64(0)
	for b.Loop() {
		d++
		if err := l.Append(Entry{1, d, data}); err != nil {
			b.Fatal(err)
		}
	}
	l.Close()
}
