// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/pegasus-ops/pegasus-ops/server/client"
)

var (
	firstSeed = flag.Uint64("seed", 1, "first seed")
	seeds     = flag.Int("seeds", 12, "how many seeds each scenario runs with")
)

// A scenario is a way to make life hard for a cluster. trouble runs until ctx ends.
type scenario struct {
	name    string
	synced  bool
	trouble func(ctx context.Context, c *cluster)
}

var scenarios = []scenario{
	{"calm", false, func(ctx context.Context, c *cluster) { <-ctx.Done() }},
	{"delay", false, func(ctx context.Context, c *cluster) {
		c.net.SetDelay(0, 200*time.Millisecond, rand.New(rand.NewPCG(c.rng.Uint64(), 1)))
		<-ctx.Done()
	}},
	{"resets", false, func(ctx context.Context, c *cluster) {
		c.net.SetDelay(0, 5*time.Millisecond, rand.New(rand.NewPCG(c.rng.Uint64(), 1)))
		for sleep(ctx, c.between(100*time.Millisecond, 3*time.Second)) {
			c.net.DropHost(c.any().host())
		}
	}},
	{"partitions", false, func(ctx context.Context, c *cluster) {
		for sleep(ctx, c.between(time.Second, 10*time.Second)) {
			a, b := c.any().host(), c.any().host()
			if c.rng.IntN(3) == 0 {
				c.net.Isolate(a, true)
			} else if a != b {
				c.net.Cut(a, b)
			}
			if !sleep(ctx, c.between(time.Second, 40*time.Second)) {
				break
			}
			c.net.HealAll()
		}
	}},
	{"kill", false, func(ctx context.Context, c *cluster) { c.killer(ctx, false) }},
	{"power", true, func(ctx context.Context, c *cluster) { c.killer(ctx, true) }},
	{"everything", false, func(ctx context.Context, c *cluster) {
		c.net.SetDelay(0, 20*time.Millisecond, rand.New(rand.NewPCG(c.rng.Uint64(), 1)))
		for sleep(ctx, c.between(time.Second, 12*time.Second)) {
			switch c.rng.IntN(5) {
			case 0:
				c.net.Isolate(c.any().host(), true)
			case 1:
				c.net.Cut(c.any().host(), c.replica[0].host())
			case 2:
				c.net.DropHost(c.any().host())
			case 3:
				c.any().kill(false)
			case 4:
				c.net.HealAll()
				for _, p := range c.processes() {
					p.restart()
				}
			}
		}
	}},
}

// killer kills one or two processes, now and then all, and starts them again after a while.
func (c *cluster) killer(ctx context.Context, power bool) {
	for sleep(ctx, c.between(time.Second, 15*time.Second)) {
		n := 1 + c.rng.IntN(2)
		if c.rng.IntN(6) == 0 {
			n = len(c.processes())
		}
		for _, i := range c.rng.Perm(len(c.processes()))[:n] {
			c.processes()[i].kill(power)
		}
		sleep(ctx, c.between(0, 40*time.Second))
		for _, p := range c.processes() {
			p.restart()
		}
	}
}

func (c *cluster) any() *process { return c.processes()[c.rng.IntN(len(c.processes()))] }

func (c *cluster) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(c.rng.Int64N(int64(hi-lo)))
}

// sleep waits in simulated time; false means that ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func TestHistoriesAreLinearizable(t *testing.T) {
	if testing.Short() {
		*seeds = 1
	}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			for seed := *firstSeed; seed < *firstSeed+uint64(*seeds); seed++ {
				ok := t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { run(t, s, seed) })
				})
				if !ok {
					return
				}
			}
		})
	}
}

const (
	clients  = 5
	duration = 2 * time.Minute // simulated
)

func run(t *testing.T, s scenario, seed uint64) {
	c := newCluster(t, seed, s.synced)
	defer c.stop()
	rec := &recorder{start: time.Now()}
	var open []*client.Cluster
	for i := range clients {
		cl := c.client(i)
		defer cl.Close()
		open = append(open, cl)
	}
	c.awaitHealthy(open[0], time.Minute)
	t.Logf("healthy after %v", time.Since(rec.start))

	ctx, cancel := context.WithTimeout(context.Background(), duration)
	defer cancel()
	var wg sync.WaitGroup
	for i, cl := range open {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() { rec.workload(ctx, i, cl.Table(table), rng) })
	}
	s.trouble(ctx, c)
	wg.Wait()

	// Whatever was done to it, a cluster that is left alone becomes whole again.
	c.net.HealAll()
	c.net.SetDelay(0, 0, nil)
	for _, p := range c.processes() {
		p.restart()
	}
	c.awaitHealthy(open[0], 5*time.Minute)
	rec.readAll(t, open[0].Table(table))

	t.Logf("%d operations, %d with a known outcome", len(rec.ops), rec.known)
	if rec.known < 200 {
		t.Errorf("only %d operations had a known outcome", rec.known)
	}
	check(t, rec.ops, s.name, seed)
}

// readAll reads every record once more, so that a lost write cannot hide.
func (r *recorder) readAll(t *testing.T, table *client.Table) {
	for k := range keys {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		call := time.Now()
		v, err := get(ctx, table, fmt.Appendf(nil, "key-%d", k), []byte("s"))
		cancel()
		if err != nil {
			t.Errorf("read key %d at the end: %v", k, err)
			continue
		}
		r.add(clients, input{key: k, op: opGet}, output{value: v}, call)
	}
}

func check(t *testing.T, ops []porcupine.Operation, name string, seed uint64) {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(model, ops, 0)
	if result == porcupine.Ok {
		return
	}
	path := filepath.Join(os.TempDir(), fmt.Sprintf("pegasus-history-%s-%d.html", name, seed))
	if err := porcupine.VisualizePath(model, info, path); err != nil {
		path = err.Error()
	}
	t.Errorf("the history is not linearizable (%s); see %s; repeat with -run 'TestHistoriesAreLinearizable/%s' -seed %d -seeds 1", result, path, name, seed)
}
