// SPDX-License-Identifier: Apache-2.0

package metas

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
	"github.com/pegasus-ops/pegasus-ops/server/replica"
)

// TestLeaderIsKilled has a cluster get over the death of its leader while a client is at work.
func TestLeaderIsKilled(t *testing.T) {
	c := newCluster(t, 2, 3, nil, nil)
	old := c.leader(20 * time.Second)
	next := c.others(old)[0]
	cl := c.client(c.metas...)
	c.awaitHealthy(cl, "temp", 3, 30*time.Second)
	c.awaitHealthy(cl, "stat", 3, 30*time.Second)
	c.compareTree("../../server/meta/store/testdata/zk-tree.txt")
	c.follower(next, old)
	if _, err := cl.SetEnvs(t.Context(), "temp", map[string]string{"business.info": "before"}); err != nil {
		t.Fatal(err)
	}

	w := c.startWorkload(cl, "temp")
	killed := time.Now()
	old.kill()
	c.eventually(failover-time.Since(killed), "the other one serves", func() bool {
		var r idl.QueryCfgResponse
		return c.ask(next, idl.RPCQueryConfig, &idl.QueryCfgRequest{AppName: "temp"}, &r) == nil && r.Err.OK() && r.PartitionCount == 8
	})
	t.Logf("the new leader served %v after the old one was killed", time.Since(killed).Round(time.Millisecond))

	// A client that knew only the old one follows, and so do the replica servers.
	if _, err := cl.SetEnvs(t.Context(), "temp", map[string]string{"default_ttl": "1000"}); err != nil {
		t.Error(err)
	}
	if _, err := cl.CreateTable(t.Context(), "after", client.CreateOptions{Partitions: 4, Replicas: 3}); err != nil {
		t.Error(err)
	}
	c.awaitHealthy(cl, "after", 3, 20*time.Second)
	t.Logf("a new table was healthy %v after the kill", time.Since(killed).Round(time.Millisecond))
	infos, err := cl.ListTables(t.Context(), idl.AsAvailable)
	if err != nil || len(infos) != 3 || infos[1].Envs["business.info"] != "before" || infos[1].Envs["default_ttl"] != "1000" {
		t.Errorf("%+v, %v", infos, err)
	}

	// The old one comes back as a follower. Its table of the past does not come with it.
	old.start(nil)
	c.eventually(10*time.Second, "the old leader follows", func() bool { return old.store.Leader() == next.addr })
	c.follower(old, next)
	w.end(t)

	// Told to stop, a leader hands over at once.
	w = c.startWorkload(cl, "temp")
	stopped := time.Now()
	next.stop()
	next.stop = nil
	c.eventually(2*time.Second, "the first one serves again", func() bool {
		var r idl.QueryCfgResponse
		return c.ask(old, idl.RPCQueryConfig, &idl.QueryCfgRequest{AppName: "after"}, &r) == nil && r.Err.OK()
	})
	t.Logf("handed over in %v", time.Since(stopped).Round(time.Millisecond))
	c.awaitHealthy(cl, "after", 3, 20*time.Second)
	w.end(t)
}

// follower checks the answers of a meta server that follows.
func (c *cluster) follower(m, leader *metaServer) {
	c.t.Helper()
	var cfg idl.QueryCfgResponse
	if err := c.ask(m, idl.RPCQueryConfig, &idl.QueryCfgRequest{AppName: "temp"}, &cfg); err != nil ||
		cfg.Err != idl.ErrForwardToOthers || len(cfg.Partitions) != 1 || cfg.Partitions[0].Primary != leader.addr {
		c.t.Errorf("follower: %+v, %v", cfg, err)
	}
	var create idl.ConfigurationCreateAppResponse
	if err := c.ask(m, idl.RPCCreateApp, &idl.ConfigurationCreateAppRequest{AppName: "x"}, &create); err != nil || create.Err != idl.ErrForwardToOthers {
		c.t.Errorf("follower: %+v, %v", create, err)
	}
	var ack idl.BeaconAck
	if err := c.ask(m, idl.RPCFdFailureDetectorPing, &idl.BeaconMsg{FromNode: idl.MakeAddress([4]byte{10, 0, 9, 9}, 1), StartTimeMs: 1}, &ack); err != nil ||
		ack.IsMaster || ack.PrimaryNode != leader.addr {
		c.t.Errorf("follower: %+v, %v", ack, err)
	}
	// A client that knows the follower only finds the leader by it.
	info, err := c.client(m).ClusterInfo(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	var metas []string
	for _, a := range c.addrs() {
		metas = append(metas, a.String())
	}
	for _, kv := range info {
		switch kv.Name {
		case client.InfoMetaServers:
			if kv.Value != strings.Join(metas, ",") {
				c.t.Errorf("%+v", kv)
			}
		case client.InfoPrimaryMeta:
			if kv.Value != leader.addr.String() {
				c.t.Errorf("%+v", kv)
			}
		case client.InfoZooKeeper:
			if kv.Value != c.zk.Addrs()[0] {
				c.t.Errorf("%+v", kv)
			}
		}
	}
}

var varying = []struct {
	what *regexp.Regexp
	same string
}{
	{regexp.MustCompile(`(localhost|[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+):[0-9]+`), "ADDRESS"},
	{regexp.MustCompile(`"create_second":[0-9]+`), `"create_second":S`},
	{regexp.MustCompile(`"ballot":[0-9]+`), `"ballot":B`},
	{regexp.MustCompile(`"last_committed_decree":[0-9]+`), `"last_committed_decree":D`},
}

// compareTree compares what is in ZooKeeper with what C++ meta servers leave there.
func (c *cluster) compareTree(file string) {
	c.t.Helper()
	f, err := os.Open(file)
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	same := func(s string) string {
		for _, v := range varying {
			s = v.what.ReplaceAllString(s, v.same)
		}
		return s
	}
	want, at := map[string]string{}, ""
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := s.Text(); strings.HasPrefix(line, root+"/") {
			at = strings.TrimPrefix(line, root+"/")
		} else if v, ok := strings.CutPrefix(line, "    value='"); ok && at != "" {
			want[at] = same(strings.TrimSuffix(v, "'"))
		}
	}
	got := map[string]string{}
	st := c.metas[0].store
	var walk func(dir string)
	walk = func(dir string) {
		names, err := st.Children(c.t.Context(), dir)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, name := range names {
			p := strings.TrimPrefix(dir+"/"+name, "/")
			n, err := st.Get(c.t.Context(), p)
			if err != nil {
				c.t.Fatal(err)
			}
			got[p] = same(string(n.Data))
			if p == store.AppsPath && n.Version != 1 {
				c.t.Errorf("%s has version %d", p, n.Version)
			}
			if _, b, ok := strings.Cut(string(n.Data), `"ballot":`); ok && !strings.HasPrefix(b, fmt.Sprintf("%d,", n.Version)) {
				c.t.Errorf("%s: version %d, ballot %.4s", p, n.Version, b)
			}
			walk(p)
		}
	}
	for _, top := range []string{store.AppsPath, store.BackupPath, store.BulkLoadPath, "dsn.meta.server.leader"} {
		n, err := st.Get(c.t.Context(), top)
		if err != nil {
			c.t.Fatal(err)
		}
		got[top] = same(string(n.Data))
		walk(top)
	}
	if d := cmp.Diff(want, got); d != "" {
		c.t.Errorf("the tree differs from that of C++ meta servers (-want +got):\n%s", d)
	}
}

// TestZooKeeperIsDown takes ZooKeeper away for several session timeouts, but for less than the
// leases of the replica servers: no operation on data may fail.
func TestZooKeeperIsDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, 3, nil, nil)
	c.leader(20 * time.Second)
	cl := c.client(c.metas...)
	c.awaitHealthy(cl, "temp", 3, 30*time.Second)
	w := c.startWorkload(cl, "temp")
	c.zk.Kill(0)
	down := time.Now()
	c.eventually(sessionTime, "nobody claims to lead", func() bool {
		for _, m := range c.metas {
			var r idl.ConfigurationListNodesResponse
			if c.ask(m, idl.RPCListNodes, &idl.ConfigurationListNodesRequest{}, &r) == nil && r.Err.OK() {
				return false
			}
		}
		return true
	})
	time.Sleep(time.Until(down.Add(3 * sessionTime)))
	c.zk.Restart(0)
	back := time.Now()
	c.leader(20 * time.Second)
	t.Logf("a leader served %v after ZooKeeper was started again", time.Since(back).Round(time.Millisecond))
	c.awaitHealthy(cl, "temp", 3, 20*time.Second)
	if _, err := cl.CreateTable(t.Context(), "after", client.CreateOptions{Partitions: 2, Replicas: 3}); err != nil {
		t.Error(err)
	}
	c.awaitHealthy(cl, "after", 3, 20*time.Second)
	w.end(t)
}

// TestZooKeeperIsDownForLong takes ZooKeeper away until the leases of the replica servers are
// over. They stop to serve then; when ZooKeeper is back everything goes on, and what was
// acknowledged is there.
func TestZooKeeperIsDownForLong(t *testing.T) {
	t.Parallel()
	const lease = 3 * time.Second
	c := newCluster(t, 2, 3, func(o *meta.Options) {
		o.Grace, o.FDCheckInterval = lease+time.Second, 300*time.Millisecond
	}, func(o *replica.Options) {
		o.Lease, o.BeaconInterval = lease, 500*time.Millisecond
	})
	c.leader(20 * time.Second)
	cl := c.client(c.metas...)
	c.awaitHealthy(cl, "temp", 3, 30*time.Second)
	w := c.startWorkload(cl, "temp")
	c.zk.Kill(0)
	down := time.Now()
	time.Sleep(sessionTime*2/3 + lease + 2*time.Second)
	if quiet := time.Since(time.Unix(0, w.last.Load())); quiet < time.Second {
		t.Errorf("served %v ago, without a lease", quiet)
	}
	t.Logf("served for %v without ZooKeeper", time.Unix(0, w.last.Load()).Sub(down).Round(time.Millisecond))
	c.zk.Restart(0)
	back := time.Now()
	c.eventually(20*time.Second, "operations succeed again", func() bool { return time.Unix(0, w.last.Load()).After(back) })
	t.Logf("served again %v after ZooKeeper was started again", time.Since(back).Round(time.Millisecond))
	c.awaitHealthy(cl, "temp", 3, 20*time.Second)
	w.finish(t, cl.Table("temp"))
}

// TestManyTables measures how long a new leader needs for a tree of 1,000 tables.
func TestManyTables(t *testing.T) {
	const tables, partitions = 1000, 8
	c := newCluster(t, 1, 0, func(o *meta.Options) { o.DefaultTables = nil }, nil)
	m := c.leader(20 * time.Second)
	var ops []store.Op
	members := []idl.RPCAddress{idl.MakeAddress([4]byte{10, 0, 0, 1}, 34801), idl.MakeAddress([4]byte{10, 0, 0, 2}, 34801), idl.MakeAddress([4]byte{10, 0, 0, 3}, 34801)}
	for id := int32(1); id <= tables; id++ {
		info := &idl.AppInfo{Status: idl.AsAvailable, AppType: "pegasus", AppName: fmt.Sprintf("table_%d", id), AppID: id,
			PartitionCount: partitions, IsStateful: true, MaxReplicaCount: 3, InitPartitionCount: -1}
		ops = append(ops, store.Create(store.AppPath(id), store.EncodeApp(info)))
		for i := range int32(partitions) {
			pc := &idl.PartitionConfiguration{Pid: idl.GPID{AppID: id, PartitionIndex: i}, Ballot: 3, MaxReplicaCount: 3,
				Primary: members[i%3], Secondaries: slices.Delete(slices.Clone(members), int(i%3), int(i%3)+1)}
			ops = append(ops, store.Create(store.PartitionPath(pc.Pid), store.EncodePartition(pc)))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	term := c.takeLock(ctx, m)
	start := time.Now()
	if err := m.store.Commit(ctx, term.Epoch, ops...); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d nodes were written in %v", len(ops), time.Since(start).Round(time.Millisecond))
	m.store.Close()

	start = time.Now()
	m.start(nil)
	c.eventually(10*time.Second, "the tables are served", func() bool {
		var r idl.QueryCfgResponse
		return c.ask(m, idl.RPCQueryConfig, &idl.QueryCfgRequest{AppName: "table_1000"}, &r) == nil && r.Err.OK() && len(r.Partitions) == partitions
	})
	took := time.Since(start)
	t.Logf("%d tables of %d partitions were served %v after the start", tables, partitions, took.Round(time.Millisecond))
	if took > failover {
		t.Errorf("that is too long")
	}
}

// takeLock stops a meta server and leads with a store in its place.
func (c *cluster) takeLock(ctx context.Context, m *metaServer) store.Term {
	c.t.Helper()
	m.stop()
	m.stop = nil
	m.store = c.openStore(m)
	term, err := m.store.Campaign(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	return term
}
