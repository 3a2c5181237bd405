// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/ops/host"
	"github.com/pegasus-ops/pegasus-ops/ops/plan"
)

// marker is the content of .pegasus-cluster: whose the directory is, and what
// was made for it, so that clean can take that away again.
type marker struct {
	cluster string
	created string // topmost directory that did not exist before, "" if the directory did
}

func (m marker) encode() string {
	return m.cluster + "\ncreated=" + m.created + "\n" +
		"# Written by pegasus-ops. `pegasus-ops clean` removes only directories that carry this\n" +
		"# file with its cluster's name on the first line.\n"
}

func decodeMarker(b []byte) marker {
	var m marker
	for n, line := range strings.Split(string(b), "\n") {
		line = strings.TrimSpace(line)
		if n == 0 {
			m.cluster = line
		}
		if v, ok := strings.CutPrefix(line, "created="); ok {
			m.created = v
		}
	}
	return m
}

// readMarker is the marker of a directory; the zero marker if it has none.
func readMarker(ctx context.Context, h host.Host, dir string) (marker, error) {
	b, err := host.ReadFile(ctx, h, path.Join(dir, plan.MarkerName))
	if errors.Is(err, fs.ErrNotExist) {
		return marker{}, nil
	}
	if err != nil {
		return marker{}, err
	}
	return decodeMarker(b), nil
}

// lookAtDir reads the facts about a directory. A link to a directory counts as
// the directory it leads to when looking for the marker, but is never removed.
func lookAtDir(ctx context.Context, h host.Host, dir string) (plan.DirFacts, error) {
	st, err := h.Lstat(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return plan.DirFacts{}, nil
	}
	if err != nil {
		return plan.DirFacts{}, err
	}
	f := plan.DirFacts{Exists: true, IsFile: !st.IsDir() && st.Mode()&fs.ModeSymlink == 0}
	if f.IsFile {
		return f, nil
	}
	names, err := h.List(ctx, dir)
	if err != nil {
		return f, fmt.Errorf("%w; is it readable for the user who deploys?", err)
	}
	f.Empty = !slices.ContainsFunc(names, func(n string) bool { return n != plan.MarkerName && n != "lost+found" })
	m, err := readMarker(ctx, h, dir)
	f.Owner, f.Created = m.cluster, m.created
	return f, err
}

func makeDir(ctx context.Context, e *Env, h host.Host, s plan.Step, _ Say) (string, error) {
	m, err := readMarker(ctx, h, s.Path)
	if err != nil {
		return "", err
	}
	switch m.cluster {
	case e.Cluster.Name:
		return "was there already", nil
	case "":
	default:
		return "", fmt.Errorf("host %s: %s belongs to cluster %s by now", h.Name(), s.Path, m.cluster)
	}
	created, err := h.Mkdir(ctx, s.Path, 0o755)
	if err != nil {
		return "", fmt.Errorf("%w; choose a directory below one that the user who deploys may write to", err)
	}
	m = marker{cluster: e.Cluster.Name, created: created}
	return "", h.Put(ctx, path.Join(s.Path, plan.MarkerName), 0o644, strings.NewReader(m.encode()))
}

// ours makes sure, at the last moment, that a directory is still the cluster's.
func ours(ctx context.Context, e *Env, h host.Host, dir string) (m marker, exists bool, err error) {
	if _, err := h.Lstat(ctx, dir); errors.Is(err, fs.ErrNotExist) {
		return marker{}, false, nil
	} else if err != nil {
		return marker{}, false, err
	}
	if m, err = readMarker(ctx, h, dir); err != nil {
		return m, true, err
	}
	if m.cluster != e.Cluster.Name {
		return m, true, fmt.Errorf("host %s: %s does not carry the marker of cluster %s any more; it is left alone", h.Name(), dir, e.Cluster.Name)
	}
	return m, true, nil
}

func removeDir(ctx context.Context, e *Env, h host.Host, s plan.Step, _ Say) (string, error) {
	m, exists, err := ours(ctx, e, h, s.Path)
	if err != nil || !exists {
		return "was gone already", err
	}
	for _, i := range e.Cluster.Instances() {
		if i.Host.Name != s.Host || i.Dir != s.Path {
			continue
		}
		// Or the supervisor would start again and again what is not there any more.
		driver, service, err := e.service(ctx, h, i)
		if err == nil {
			err = driver.Remove(ctx, h, service)
		}
		if err != nil {
			return "", err
		}
	}
	return "", h.RemoveTree(ctx, s.Path, host.Sweep{Last: plan.MarkerName, Keep: s.Keep, Self: m.created != ""})
}

// releaseDir gives up the directory that holds those of the servers: it may hold
// things of others, so nothing in it is removed but the marker.
func releaseDir(ctx context.Context, e *Env, h host.Host, s plan.Step, _ Say) (string, error) {
	m, exists, err := ours(ctx, e, h, s.Path)
	if err != nil || !exists {
		return "was gone already", err
	}
	names, err := h.List(ctx, s.Path)
	if err != nil {
		return "", err
	}
	for _, n := range names {
		if child, err := readMarker(ctx, h, path.Join(s.Path, n)); err == nil && child.cluster == e.Cluster.Name {
			return "stays, it holds " + n, nil
		}
	}
	if err := h.Remove(ctx, path.Join(s.Path, plan.MarkerName)); err != nil {
		return "", err
	}
	if m.created == "" || len(names) > 1 {
		return "", nil
	}
	return "", h.Remove(ctx, s.Path)
}

func removeEmpty(ctx context.Context, _ *Env, h host.Host, s plan.Step, _ Say) (string, error) {
	for _, dir := range s.Paths {
		names, err := h.List(ctx, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if len(names) > 0 {
			continue
		}
		if err := h.Remove(ctx, dir); err != nil {
			return "", err
		}
	}
	return "", nil
}
