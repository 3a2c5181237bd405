// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/host"
	"github.com/pegasus-ops/pegasus-ops/ops/plan"
)

// Gather reads the facts about hosts and cluster, hosts in parallel. Nothing is
// changed. A host that cannot be read is an error, for a plan without its facts
// could do anything to it; all such errors are reported together.
func Gather(ctx context.Context, e *Env, parallel int) (plan.Facts, error) {
	facts := plan.Facts{Hosts: map[string]plan.HostFacts{}}
	var mu sync.Mutex
	var failed []error
	var g errgroup.Group
	g.SetLimit(max(1, parallel))
	for _, h := range e.Cluster.Hosts {
		g.Go(func() error {
			f, err := gatherHost(ctx, e, h)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, err)
			}
			facts.Hosts[h.Name] = f
			return nil
		})
	}
	_ = g.Wait() // errors are in failed
	if err := errors.Join(failed...); err != nil {
		return plan.Facts{}, fmt.Errorf("read the state of the hosts: %w", err)
	}
	if anyMeta(e.Cluster, facts) {
		if f, err := e.facts(ctx); err == nil {
			facts.Cluster = &f
		}
	}
	return facts, ctx.Err()
}

// anyMeta says whether there is anybody to ask about the cluster.
func anyMeta(c *inventory.Cluster, f plan.Facts) bool {
	for _, m := range c.Metas {
		if f.Running(m) {
			return true
		}
	}
	return false
}

func gatherHost(ctx context.Context, e *Env, of *inventory.Host) (plan.HostFacts, error) {
	h := e.Hosts[of.Name]
	f := plan.HostFacts{Dirs: map[string]plan.DirFacts{}, Instances: map[string]plan.InstanceFacts{}}
	if h == nil {
		return f, fmt.Errorf("no connection to host %s", of.Name)
	}
	// All at once: over ssh it is round trips that take the time, and they overlap.
	g, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	for _, dir := range plan.Dirs(e.Cluster, of) {
		g.Go(func() error {
			d, err := lookAtDir(ctx, h, dir)
			mu.Lock()
			defer mu.Unlock()
			f.Dirs[dir] = d
			return err
		})
	}
	g.Go(func() (err error) {
		f.Packages, err = lookAtPackages(ctx, h, e.Cluster.PackagesDir())
		return err
	})
	for _, i := range e.Cluster.OnHost(of) {
		g.Go(func() error {
			found, err := lookAtInstance(ctx, h, i)
			mu.Lock()
			defer mu.Unlock()
			f.Instances[i.ID()] = found
			return err
		})
	}
	return f, g.Wait()
}

func lookAtInstance(ctx context.Context, h host.Host, i *inventory.Instance) (plan.InstanceFacts, error) {
	var f plan.InstanceFacts
	config, err := host.ReadFile(ctx, h, i.ConfigFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	f.Config = string(config)
	target, err := h.ReadLink(ctx, i.Current())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if target != "" {
		f.Package = path.Base(target)
	}
	p, err := h.Find(ctx, Daemon(i))
	if err != nil {
		return f, err
	}
	if p != nil {
		f.Process = &plan.ProcessFacts{PID: p.PID, Since: p.Since, Config: p.Labels[labelConfig], Package: p.Labels[labelPackage]}
	} else {
		f.PortTaken = taken(ctx, i.Address())
	}
	return f, nil
}

// lingering is how long a process that was killed may hold its port after it is gone by all other
// signs: its threads end one after the other.
const lingering = 2 * time.Second

// taken says whether something listens at an address, and goes on doing so.
func taken(ctx context.Context, address string) bool {
	err := poll(ctx, lingering, 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		return !Listens(ctx, address), nil
	})
	return err != nil
}
