// SPDX-License-Identifier: Apache-2.0

package plog

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// text is how tests look at entries: "decree@ballot:data".
func text(e Entry) string { return fmt.Sprintf("%d@%d:%s", e.Decree, e.Ballot, e.Data) }

func entry(decree int64) Entry {
	return Entry{Ballot: 3, Decree: decree, Data: fmt.Appendf(nil, "v%d", decree)}
}

func open(t *testing.T, fs vfs.FS, from int64, o Options) (*Log, []string) {
	t.Helper()
	l, got, err := tryOpen(fs, from, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, got
}

func tryOpen(fs vfs.FS, from int64, o Options) (*Log, []string, error) {
	o.FS, o.Dir = fs, "/plog"
	var got []string
	l, err := Open(o, from, func(e Entry) error {
		got = append(got, text(e))
		return nil
	})
	return l, got, err
}

func mustAppend(t *testing.T, l *Log, entries ...Entry) {
	t.Helper()
	if err := l.Append(entries...); err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, got []string, want string) {
	t.Helper()
	if g := strings.Join(got, " "); g != want {
		t.Errorf("got  %s\nwant %s", g, want)
	}
}

func TestReplayGivesEntriesAsWritten(t *testing.T) {
	fs := vfs.NewMem()
	l, got := open(t, fs, 0, Options{})
	equal(t, got, "")
	mustAppend(t, l, entry(1), entry(2))
	mustAppend(t, l, entry(3))
	mustAppend(t, l, Entry{4, 2, []byte("other")})
	if l.LastDecree() != 2 {
		t.Errorf("last decree %d", l.LastDecree())
	}
	l.Close()
	_, got = open(t, fs, 0, Options{})
	equal(t, got, "1@3:v1 2@3:v2 3@3:v3 2@4:other")
	_, got = open(t, fs, 2, Options{})
	equal(t, got, "3@3:v3")
}

func TestSegmentsRotateAndAreTruncated(t *testing.T) {
	fs := vfs.NewMem()
	o := Options{SegmentBytes: 200}
	l, _ := open(t, fs, 0, o)
	for d := int64(1); d <= 40; d++ {
		mustAppend(t, l, entry(d))
	}
	before := len(l.segments)
	if before < 5 {
		t.Fatalf("%d segments", before)
	}
	size := l.Size()
	if err := l.Truncate(20); err != nil {
		t.Fatal(err)
	}
	if l.Size() >= size || len(l.segments) >= before {
		t.Errorf("nothing was removed: %d of %d segments", len(l.segments), before)
	}
	if err := l.Truncate(1000); err != nil || len(l.segments) != 1 {
		t.Errorf("%d segments left, %v; want the one being written", len(l.segments), err)
	}
	mustAppend(t, l, entry(41))
	l.Close()
	l, got := open(t, fs, 20, o)
	if got[len(got)-1] != "41@3:v41" {
		t.Errorf("got %v", got)
	}
	if err := l.ReadFrom(5, -1, func(Entry) error { return nil }); err != ErrGone {
		t.Errorf("reading truncated entries: %v", err)
	}
}

func TestReadFromResolvesReplacedEntries(t *testing.T) {
	l, _ := open(t, vfs.NewMem(), 0, Options{SegmentBytes: 150})
	for d := int64(1); d <= 9; d++ {
		mustAppend(t, l, entry(d))
	}
	mustAppend(t, l, Entry{4, 8, []byte("new")}, Entry{4, 9, []byte("new")})
	read := func(from int64, max int) (got []string) {
		if err := l.ReadFrom(from, max, func(e Entry) error { got = append(got, text(e)); return nil }); err != nil {
			t.Fatal(err)
		}
		return got
	}
	equal(t, read(6, -1), "6@3:v6 7@3:v7 8@4:new 9@4:new")
	equal(t, read(6, 3), "6@3:v6 7@3:v7")
	equal(t, read(6, 0), "6@3:v6")
	equal(t, read(10, -1), "")
}

func TestResetForgetsEverything(t *testing.T) {
	fs := vfs.NewMem()
	l, _ := open(t, fs, 0, Options{SegmentBytes: 150})
	for d := int64(1); d <= 9; d++ {
		mustAppend(t, l, entry(d))
	}
	if err := l.Reset(5); err != nil {
		t.Fatal(err)
	}
	if l.LastDecree() != 5 {
		t.Errorf("last decree %d", l.LastDecree())
	}
	mustAppend(t, l, entry(6))
	l.Close()
	_, got := open(t, fs, 5, Options{})
	equal(t, got, "6@3:v6")
}

// TestCrashKeepsEverySyncedEntry crashes at a random moment of a random history, with a random
// part of what was not synced, and checks what comes back.
func TestCrashKeepsEverySyncedEntry(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		fs := vfs.NewCrashableMem()
		o := Options{SegmentBytes: 300, Sync: rng.IntN(4) > 0}
		l, _, err := tryOpen(fs, 0, o)
		if err != nil {
			t.Fatal(err)
		}
		synced, next, reset := int64(0), int64(1), int64(0)
		for range rng.IntN(60) {
			var batch []Entry
			for range 1 + rng.IntN(3) {
				batch = append(batch, Entry{1, next, []byte(strings.Repeat("x", rng.IntN(40)))})
				next++
			}
			mustAppend(t, l, batch...)
			if o.Sync {
				synced = next - 1
			}
			switch rng.IntN(20) {
			case 0:
				if err := l.Truncate(next / 2); err != nil {
					t.Fatal(err)
				}
			case 1:
				reset = next - 1 - rng.Int64N(3)
				reset = max(reset, 0)
				if err := l.Reset(reset); err != nil {
					t.Fatal(err)
				}
				next, synced = reset+1, reset
			}
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		l.Close()
		from := max(reset, next/2)
		again, got, err := tryOpen(crashed, from, o)
		var c *CorruptError
		if errors.As(err, &c) && !o.Sync {
			continue // without fsync a power failure may leave holes; they must be noticed, and are
		}
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		last := from
		for i, g := range got {
			if want := from + 1 + int64(i); !strings.HasPrefix(g, fmt.Sprintf("%d@1:", want)) {
				t.Fatalf("seed %d: entry %d is %s, want decree %d", seed, i, g, want)
			}
			last++
		}
		if last < synced {
			t.Fatalf("seed %d: replayed up to %d, synced up to %d", seed, last, synced)
		}
		mustAppend(t, again, entry(last+1))
		again.Close()
	}
}

// TestDamageIsNeverReplayed flips every byte of a log in turn.
func TestDamageIsNeverReplayed(t *testing.T) {
	fs := vfs.NewMem()
	o := Options{SegmentBytes: 130}
	l, _ := open(t, fs, 0, o)
	for d := int64(1); d <= 6; d++ {
		mustAppend(t, l, entry(d))
	}
	l.Close()
	_, whole := open(t, fs, 0, o)
	segs, err := listSegments(fs, "/plog")
	if err != nil || len(segs) < 2 {
		t.Fatalf("%d segments, %v", len(segs), err)
	}
	lastEntry := whole[len(whole)-1]
	for i, s := range segs {
		path := "/plog/" + s.name()
		good := readAll(t, fs, path)
		for at := range good {
			bad := append([]byte(nil), good...)
			bad[at] ^= 0x10
			writeAll(t, fs, path, bad)
			l, got, err := tryOpen(fs, 0, o)
			var c *CorruptError
			switch {
			case errors.As(err, &c):
				if !strings.Contains(c.File, s.name()) && i == len(segs)-1 {
					t.Errorf("flip in %s reported for %s", path, c.File)
				}
			case err != nil:
				t.Errorf("%s byte %d: %v", path, at, err)
			case i < len(segs)-1:
				t.Errorf("%s byte %d: damage in the middle was not noticed: %v", path, at, got)
			default: // a broken last record is taken for a torn one
				if len(got) >= len(whole) || len(got) > 0 && got[len(got)-1] == lastEntry {
					t.Errorf("%s byte %d: replayed %v", path, at, got)
				}
			}
			if l != nil {
				l.Close()
			}
			writeAll(t, fs, path, good)
		}
	}
}

func TestTornTailIsCutOffAndAppendsGoOn(t *testing.T) {
	fs := vfs.NewMem()
	l, _ := open(t, fs, 0, Options{})
	mustAppend(t, l, entry(1), entry(2), entry(3))
	l.Close()
	path := "/plog/log.1.0"
	good := readAll(t, fs, path)
	for size := range good {
		writeAll(t, fs, path, good[:size])
		l, got, err := tryOpen(fs, 0, Options{})
		if err != nil {
			t.Fatalf("cut at %d: %v", size, err)
		}
		next := int64(len(got)) + 1
		mustAppend(t, l, entry(next))
		l.Close()
		l, again, err := tryOpen(fs, 0, Options{})
		if err != nil || len(again) != len(got)+1 {
			t.Fatalf("cut at %d: first %v, then %v, %v", size, got, again, err)
		}
		l.Close()
		names, _ := fs.List("/plog")
		for _, n := range names {
			fs.Remove("/plog/" + n)
		}
	}
}

func TestFailedAppendPoisonsTheLog(t *testing.T) {
	var full bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full && op.Kind == errorfs.OpFileWrite {
			return syscall.ENOSPC
		}
		return nil
	}))
	l, _ := open(t, fs, 0, Options{})
	mustAppend(t, l, entry(1))
	full = true
	if err := l.Append(entry(2)); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "/plog") {
		t.Errorf("got %v", err)
	}
	full = false
	if err := l.Append(entry(2)); err == nil {
		t.Error("a log that failed took another append")
	}
	l.Close()
	_, got := open(t, fs, 0, Options{})
	equal(t, got, "1@3:v1")
}

func TestMissingSegmentIsDamage(t *testing.T) {
	fs := vfs.NewMem()
	l, _ := open(t, fs, 0, Options{SegmentBytes: 80})
	for d := int64(1); d <= 5; d++ {
		mustAppend(t, l, entry(d))
	}
	name := l.segments[1].name()
	l.Close()
	fs.Remove("/plog/" + name)
	var c *CorruptError
	if _, _, err := tryOpen(fs, 0, Options{}); !errors.As(err, &c) || !strings.Contains(err.Error(), "*.err") {
		t.Errorf("got %v", err)
	}
}

func readAll(t testing.TB, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeAll(t testing.TB, fs vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
}

// FuzzOpen opens a segment of arbitrary bytes: it never panics, and what it accepts it accepts
// again.
func FuzzOpen(f *testing.F) {
	b := appendSegmentHeader(nil, 1, 0)
	b = appendRecord(b, kindEntry, 1, 1, []byte("one"))
	f.Add(b)
	f.Add(appendRecord(appendRecord(b, kindReset, 0, 1, nil), kindEntry, 2, 2, []byte("two")))
	f.Fuzz(func(t *testing.T, b []byte) {
		fs := vfs.NewMem()
		fs.MkdirAll("/plog", 0o755)
		writeAll(t, fs, "/plog/log.1.0", b)
		l, got, err := tryOpen(fs, 0, Options{})
		if err != nil {
			return
		}
		l.Close()
		l, again, err := tryOpen(fs, 0, Options{})
		if err != nil || strings.Join(got, " ") != strings.Join(again, " ") {
			t.Errorf("first %v, then %v, %v", got, again, err)
		}
		l.Close()
	})
}
