// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/pegasus-ops/pegasus-ops/ops/host"
	"github.com/pegasus-ops/pegasus-ops/ops/pack"
	"github.com/pegasus-ops/pegasus-ops/ops/plan"
)

// completeName is written into a package's folder last; without it the folder
// is what a broken-off installation left.
const completeName = ".complete"

func packageDir(e *Env, sha string) string { return path.Join(e.Cluster.PackagesDir(), sha) }

// lookAtPackages lists the complete packages of a host.
func lookAtPackages(ctx context.Context, h host.Host, dir string) (map[string]time.Time, error) {
	packages := map[string]time.Time{}
	names, err := h.List(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return packages, nil
	}
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		st, err := h.Lstat(ctx, path.Join(dir, n, completeName))
		if err == nil {
			packages[n] = st.ModTime()
		}
	}
	return packages, nil
}

func pushPackage(ctx context.Context, e *Env, h host.Host, s plan.Step, say Say) (string, error) {
	dir := packageDir(e, s.Package)
	if _, err := h.Lstat(ctx, path.Join(dir, completeName)); err == nil {
		return "was there already", nil
	}
	// What an earlier attempt left is in the way of this one.
	if err := h.RemoveTree(ctx, dir, host.Sweep{Self: true}); err != nil {
		return "", err
	}
	say("install %s on %s", s.Label, h.Name())
	p := host.Package{Archive: s.Archive.Path, Root: s.Archive.Root, Dir: dir, Progress: (&transfer{began: time.Now(), say: func(text string) {
		say("install %s on %s: %s", s.Label, h.Name(), text)
	}}).progress}
	if err := h.Unpack(ctx, p); err != nil {
		return "", err
	}
	if _, err := h.Lstat(ctx, path.Join(dir, pack.Server)); err != nil {
		return "", fmt.Errorf("the package %s changed while it was installed: %w", s.Archive.Path, err)
	}
	return "", h.Put(ctx, path.Join(dir, completeName), 0o644, strings.NewReader(s.Label+"\n"))
}

// transfer tells how far a package is on its way.
type transfer struct {
	began time.Time
	say   func(text string)

	mu    sync.Mutex
	first int64 // bytes that were there before
	seen  bool
	told  time.Time
}

// tellEvery keeps a fast transfer from telling of every packet.
const tellEvery = 200 * time.Millisecond

func (t *transfer) progress(sent, total int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.seen {
		t.seen, t.first, t.began = true, sent, time.Now()
	}
	now := time.Now()
	if sent < total && now.Sub(t.told) < tellEvery {
		return
	}
	t.told = now
	if sent >= total {
		t.say("unpack")
		return
	}
	text := fmt.Sprintf("%.1f of %.1f MB", float64(sent)/1e6, float64(total)/1e6)
	if took := now.Sub(t.began); sent > t.first && took > tellEvery {
		left := time.Duration(float64(took) * float64(total-sent) / float64(sent-t.first))
		text += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	t.say(text)
}

func switchPackage(ctx context.Context, e *Env, h host.Host, s plan.Step, _ Say) (string, error) {
	dir := packageDir(e, s.Package)
	if _, err := h.Lstat(ctx, path.Join(dir, completeName)); err != nil {
		return "", fmt.Errorf("package %s is not installed completely: %w; run the deploy again", s.Label, err)
	}
	return "", h.Link(ctx, dir, s.On.Current())
}

func dropPackage(ctx context.Context, e *Env, h host.Host, s plan.Step, _ Say) (string, error) {
	return "", h.RemoveTree(ctx, packageDir(e, s.Package), host.Sweep{Self: true})
}
