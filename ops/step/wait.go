// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/ops/cluster"
	"github.com/pegasus-ops/pegasus-ops/ops/host"
	"github.com/pegasus-ops/pegasus-ops/ops/plan"
)

var errDeadline = errors.New("not in time")

// poll asks until the answer is yes, an error comes, or limit has passed
// (errDeadline). The first question is asked at once.
func poll(ctx context.Context, limit, every time.Duration, ask func(ctx context.Context) (bool, error)) error {
	deadline, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if done, err := ask(deadline); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.Done():
			return errDeadline
		case <-tick.C:
		}
	}
}

// askLimit bounds one look at the cluster, so that a meta server that accepts
// connections and says nothing does not use up the whole wait.
const askLimit = 5 * time.Second

func (e *Env) facts(ctx context.Context) (cluster.Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return e.Admin.Facts(ctx)
}

func waitNodes(ctx context.Context, e *Env, _ host.Host, _ plan.Step, say Say) (string, error) {
	state := "no meta leader answers"
	err := poll(ctx, e.Times.Nodes, e.Times.Poll, func(ctx context.Context) (bool, error) {
		if err := e.allAlive(ctx); err != nil {
			return false, err
		}
		f, err := e.facts(ctx)
		if err != nil {
			say("wait for the meta leader: %v", err)
			return false, nil
		}
		var missing []string
		for _, i := range e.Cluster.Replicas {
			alive := slices.ContainsFunc(f.Nodes, func(n cluster.Node) bool { return n.Address == i.Address() && n.Alive })
			if !alive {
				missing = append(missing, i.Address())
			}
		}
		state = fmt.Sprintf("%d of %d replica servers are alive, missing %s", len(e.Cluster.Replicas)-len(missing), len(e.Cluster.Replicas), strings.Join(missing, ", "))
		say("%s", state)
		return len(missing) == 0, nil
	})
	if errors.Is(err, errDeadline) {
		return "", fmt.Errorf("after %s %s; look into the logs of these servers and of the meta servers (%s)", e.Times.Nodes, state, e.Cluster.Metas[0].LogDir())
	}
	return "", err
}

func createTable(ctx context.Context, e *Env, _ host.Host, s plan.Step, say Say) (string, error) {
	say("create table %s", s.Table.Name)
	f, err := e.facts(ctx)
	if err == nil && slices.ContainsFunc(f.Tables, func(t cluster.Table) bool { return t.Name == s.Table.Name && t.Status != "DROPPED" }) {
		return "was there already", nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.Times.Create)
	defer cancel()
	return "", e.Admin.CreateTable(ctx, s.Table.Name, s.Table.Partitions, s.Table.Replicas)
}

// waitHealthy waits until the cluster is well. Its deadline counts from the
// last progress: a big cluster that restores one partition after the other is
// not given up on.
func waitHealthy(ctx context.Context, e *Env, _ host.Host, _ plan.Step, say Say) (string, error) {
	var reasons []string
	best, moved := -1, time.Now()
	for {
		stalled := false
		err := poll(ctx, e.Times.Healthy, e.Times.Poll, func(ctx context.Context) (bool, error) {
			if err := e.allAlive(ctx); err != nil {
				return false, err
			}
			f, err := e.facts(ctx)
			if err != nil {
				reasons = []string{err.Error()}
				say("wait for the meta leader: %v", err)
			} else {
				if reasons = e.troubles(ctx, f); len(reasons) == 0 {
					return true, nil
				}
				good, all := progress(f)
				if good > best {
					best, moved = good, time.Now()
				}
				say("%d of %d replicas in place: %s", good, all, reasons[0])
			}
			stalled = time.Since(moved) > e.Times.Healthy
			return stalled, nil
		})
		switch {
		case err == nil && !stalled:
			return "", nil
		case err != nil && !errors.Is(err, errDeadline):
			return "", err
		case stalled:
			return "", fmt.Errorf("the cluster is not healthy and nothing has changed for %s:\n  %s\nlook at `pegasus-ops status` and at the logs of these servers", e.Times.Healthy, strings.Join(reasons, "\n  "))
		}
	}
}

// troubles is what speaks against calling the cluster well, cheap questions first.
func (e *Env) troubles(ctx context.Context, f cluster.Facts) []string {
	if ok, reasons := f.Healthy(); !ok {
		return reasons
	}
	if reasons := e.settling.open(f); len(reasons) > 0 {
		return reasons
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if err := e.Admin.Serves(ctx, f); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// progress counts the replicas that are in place.
func progress(f cluster.Facts) (good, all int) {
	for i := range f.Tables {
		t := &f.Tables[i]
		if !t.Available() {
			continue
		}
		all += t.PartitionCount * t.ReplicaCount
		for p := range t.Partitions {
			good += min(t.Partitions[p].Replicas(), t.ReplicaCount)
		}
	}
	return good, all
}
