// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/test/onebox"
)

var rounds = flag.Int("rounds", 1, "how often each survival test kills; more makes a soak of it")

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	onebox.RemoveBuild()
	os.Exit(code)
}

// quickFD shortens the failure detector, so that tests which kill often stay short. The order
// of the intervals is that of the shipped values.
const quickFD = `  replication: {fd_beacon_interval_seconds: 1, fd_check_interval_seconds: 1, fd_lease_seconds: 5, fd_grace_seconds: 6}`

// deploy brings up a cluster that is removed at the end of the test.
func deploy(t *testing.T, o onebox.Options) (*onebox.Cluster, *client.Cluster) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real processes")
	}
	o.Dir = t.TempDir()
	c, err := onebox.Deploy(t.Context(), o)
	if c != nil {
		t.Cleanup(func() {
			if t.Failed() {
				dumpLogs(t, c)
			}
			if err := c.Clean(context.Background()); err != nil {
				t.Errorf("clean: %v", err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	cl, err := client.Open(t.Context(), client.Options{Metas: c.Metas()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return c, cl
}

// healthy waits until every partition of the table has all its replicas.
func healthy(t *testing.T, cl *client.Cluster, table string, limit time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		tc, err := cl.QueryConfig(ctx, table)
		cancel()
		if err == nil && tc.Ready(3) == len(tc.Partitions) {
			return time.Since(start)
		}
		if time.Since(start) > limit {
			t.Fatalf("table %s is not healthy after %v: %+v, %v", table, limit, tc, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// grow waits until the ledger has acknowledged n more writes.
func grow(t *testing.T, l *ledger, n int64) {
	t.Helper()
	want := l.acks.Load() + n
	for deadline := time.Now().Add(time.Minute); l.acks.Load() < want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("only %d of %d writes were acknowledged within a minute", l.acks.Load(), want)
		}
	}
}

func TestKillingAReplicaServerLosesNothing(t *testing.T) {
	c, cl := deploy(t, onebox.Options{})
	table := cl.Table("temp")
	l := startLedger(t, table)
	for range *rounds {
		for i, victim := range c.Role(onebox.Replica)[:2] {
			grow(t, l, 2000+rand.Int64N(2000))
			if err := c.Kill(victim); err != nil {
				t.Fatal(err)
			}
			took := writable(t, table, 42*time.Second) // lease 20 s + grace 22 s
			t.Logf("victim %d: all partitions writable %.1f s after kill -9", i, took.Seconds())
			grow(t, l, 1000)
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Logf("victim %d: caught up and secondary again after %.1f s", i, healthy(t, cl, "temp", time.Minute).Seconds())
		}
	}
	l.halt()
	l.verify(t)
}

func TestKillingEverythingLosesNothing(t *testing.T) {
	c, cl := deploy(t, onebox.Options{Config: quickFD})
	table := cl.Table("temp")
	l := startLedger(t, table)
	for range *rounds {
		grow(t, l, 5000)
		for _, i := range c.Instances {
			if err := c.Kill(i); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("writable again after %.1f s", writable(t, table, time.Minute).Seconds())
		healthy(t, cl, "temp", time.Minute)
	}
	l.halt()
	l.verify(t)
}

func TestKillingTheMetaServerLosesNothing(t *testing.T) {
	c, cl := deploy(t, onebox.Options{Config: quickFD})
	table := cl.Table("temp")
	ctx := t.Context()
	if _, err := cl.CreateTable(ctx, "kept", client.CreateOptions{Partitions: 4, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.SetEnvs(ctx, "kept", map[string]string{"default_ttl": "86400"}); err != nil {
		t.Fatal(err)
	}
	l := startLedger(t, table)
	for range *rounds {
		grow(t, l, 2000)
		if err := c.Kill(c.Role(onebox.Meta)[0]); err != nil {
			t.Fatal(err)
		}
		grow(t, l, 2000) // the replicas' leases last, and the client knows the way
		if err := c.Start(ctx); err != nil {
			t.Fatal(err)
		}
		healthy(t, cl, "temp", time.Minute)
		grow(t, l, 2000)
	}
	l.halt()
	l.verify(t)
	healthy(t, cl, "kept", time.Minute)
	tables, err := cl.ListTables(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range tables {
		if info.AppName == "kept" && info.Envs["default_ttl"] == "86400" {
			return
		}
	}
	t.Errorf("table kept and its env did not survive: %+v", tables)
}

// TestRandomKills takes any process at any moment, two at a time at most, under load.
func TestRandomKills(t *testing.T) {
	c, cl := deploy(t, onebox.Options{Config: quickFD})
	table := cl.Table("temp")
	l := startLedger(t, table)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 4 * *rounds {
		grow(t, l, 200+rng.Int64N(3000))
		for _, k := range rng.Perm(len(c.Instances))[:1+rng.IntN(2)] {
			if err := c.Kill(c.Instances[k]); err != nil {
				t.Fatal(err)
			}
		}
		if rng.IntN(2) == 0 {
			time.Sleep(time.Duration(rng.IntN(8000)) * time.Millisecond) // fault timing, no condition is awaited
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		writable(t, table, time.Minute)
		healthy(t, cl, "temp", time.Minute)
	}
	l.halt()
	l.verify(t)
}
