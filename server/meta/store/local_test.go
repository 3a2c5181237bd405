// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, fs vfs.FS) *Local {
	t.Helper()
	l, err := OpenLocal(LocalOptions{FS: fs, Dir: "meta/store", Self: idl.MakeAddress([4]byte{127, 0, 0, 1}, 34601), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func campaign(t *testing.T, l *Local) Term {
	t.Helper()
	term, err := l.Campaign(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return term
}

func TestCommit(t *testing.T) {
	l := open(t, vfs.NewMem())
	defer l.Close()
	ctx := t.Context()
	e := campaign(t, l).Epoch
	steps := []struct {
		name string
		ops  []Op
		want error
	}{
		{"create two", []Op{Create("apps", []byte("unlock")), Create("apps/1", []byte("a"))}, nil},
		{"create again", []Op{Create("apps/2", nil), Create("apps/1", nil)}, ErrExists},
		{"change at the version read", []Op{Set("apps/1", []byte("b"), 0)}, nil},
		{"change at an old version", []Op{Create("apps/2", nil), Set("apps/1", []byte("c"), 0)}, ErrVersion},
		{"change nothing there", []Op{Set("apps/9", []byte("c"), 0)}, ErrNotFound},
		{"delete at an old version", []Op{Delete("apps/1", 0)}, ErrVersion},
		{"change what was just created", []Op{Create("marker", []byte("lock")), Set("marker", []byte("unlock"), 0)}, nil},
		{"unknown operation", []Op{{Kind: 9, Path: "apps/1", Version: 1}}, errors.ErrUnsupported},
	}
	for _, s := range steps {
		err := l.Commit(ctx, e, s.ops...)
		if s.want == errors.ErrUnsupported && err != nil {
			continue
		}
		if !errors.Is(err, s.want) {
			t.Errorf("%s: got %v, want %v", s.name, err, s.want)
		}
	}
	if n, err := l.Get(ctx, "apps/1"); err != nil || string(n.Data) != "b" || n.Version != 1 {
		t.Errorf("apps/1 is %+v, %v", n, err)
	}
	if _, err := l.Get(ctx, "apps/2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a failed commit left apps/2 behind: %v", err)
	}
	if err := l.Commit(ctx, e, Delete("apps/1", 1)); err != nil {
		t.Error(err)
	}
	if _, err := l.Get(ctx, "apps/1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("apps/1 is still there: %v", err)
	}
}

func TestChildren(t *testing.T) {
	l := open(t, vfs.NewMem())
	defer l.Close()
	e := campaign(t, l).Epoch
	var ops []Op
	for _, p := range []string{"apps", "apps/1", "apps/1/0", "apps/1/1", "apps/10", "apps/10/0/deep", "apps/2/0", "apps0", "applied"} {
		ops = append(ops, Create(p, nil))
	}
	if err := l.Commit(t.Context(), e, ops...); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"apps": {"1", "10", "2"}, "apps/1": {"0", "1"}, "apps/10": {"0"}, "apps/1/0": nil, "none": nil,
	} {
		got, err := l.Children(t.Context(), path)
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("children of %s: %s", path, d)
		}
	}
}

func TestDeposedLeaderCannotWrite(t *testing.T) {
	l := open(t, vfs.NewMem())
	defer l.Close()
	old := campaign(t, l)
	select {
	case <-old.Lost:
		t.Fatal("lost at once")
	default:
	}
	now := campaign(t, l)
	<-old.Lost
	if err := l.Commit(t.Context(), old.Epoch, Create("a", nil)); !errors.Is(err, ErrFenced) {
		t.Errorf("got %v, want %v", err, ErrFenced)
	}
	if err := l.Commit(t.Context(), now.Epoch, Create("a", nil)); err != nil {
		t.Error(err)
	}
}

func TestDirectoryIsTheLock(t *testing.T) {
	dir := t.TempDir()
	o := LocalOptions{FS: vfs.Default, Dir: dir, Log: slog.New(slog.DiscardHandler)}
	l, err := OpenLocal(o)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := OpenLocal(o); err == nil {
		second.Close()
		t.Error("a second meta server opened the same directory")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = OpenLocal(o); err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestCrashKeepsWhatWasCommitted cuts the power at many moments of a running load: each commit
// that had returned must be there, whole, and the epoch must never go back.
func TestCrashKeepsWhatWasCommitted(t *testing.T) {
	for seed := range uint64(20) {
		fs := vfs.NewCrashableMem()
		l := open(t, fs)
		e := campaign(t, l).Epoch
		rng := rand.New(rand.NewPCG(seed, 1))

		const writers, rounds = 3, 8
		var mu sync.Mutex
		done := map[int]int{} // writer -> version that was acknowledged
		var crashed *vfs.MemFS
		var acked map[int]int
		crashAt := 1 + rng.IntN(writers*rounds)
		total := 0
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				a, b := fmt.Sprintf("apps/%d", w), fmt.Sprintf("apps/%d/0", w)
				for v := range rounds {
					data := []byte(fmt.Sprint(v))
					ops := []Op{Set(a, data, int64(v-1)), Set(b, data, int64(v-1))}
					if v == 0 {
						ops = []Op{Create(a, data), Create(b, data)}
					}
					if err := l.Commit(context.Background(), e, ops...); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					done[w] = v
					if total++; total == crashAt {
						acked = map[int]int{}
						for k, v := range done {
							acked[k] = v
						}
						crashed = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(rng.IntN(101)), RNG: rng})
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		l.Close()

		after := open(t, crashed)
		for w, v := range acked {
			a, err := after.Get(t.Context(), fmt.Sprintf("apps/%d", w))
			if err != nil || a.Version < int64(v) {
				t.Errorf("seed %d: writer %d is at version %d after the crash, %d was acknowledged: %v", seed, w, a.Version, v, err)
			}
			b, err := after.Get(t.Context(), fmt.Sprintf("apps/%d/0", w))
			if err != nil || b.Version != a.Version || string(b.Data) != string(a.Data) {
				t.Errorf("seed %d: half of a commit survived: %+v and %+v, %v", seed, a, b, err)
			}
		}
		if term := campaign(t, after); term.Epoch <= e {
			t.Errorf("seed %d: epoch %d after the crash, was %d", seed, term.Epoch, e)
		}
		after.Close()
	}
}

func TestDamagedStoreIsAnErrorThatHelps(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, fs)
	campaign(t, l)
	l.Close()
	names, err := fs.List("meta/store")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if f, err := fs.OpenReadWrite("meta/store/"+name, vfs.WriteCategoryUnspecified); err == nil {
			f.WriteAt([]byte("garbage garbage garbage"), 0)
			f.Close()
		}
	}
	_, err = OpenLocal(LocalOptions{FS: fs, Dir: "meta/store", Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Fatal("a damaged store was opened")
	}
	if s := err.Error(); !strings.Contains(s, "meta/store") || !strings.Contains(s, "restore") {
		t.Errorf("the error names neither the directory nor what to do: %v", s)
	}
}
