// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"bytes"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

func TestNewTableGetsItsReplicasQuickly(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		time.Sleep(5 * time.Second)
		if err := c.create("t", 8, 3); err != idl.ErrOK {
			t.Fatal(err)
		}
		c.awaitHealthy("t", 3, 200*time.Millisecond)
		primaries := map[idl.RPCAddress]int{}
		for _, pc := range c.query("t").Partitions {
			primaries[pc.Primary]++
		}
		if len(primaries) != 3 || slices.Max(slices.Collect(maps.Values(primaries))) > 3 {
			t.Errorf("primaries are not spread: %v", primaries)
		}
	})
}

func TestFlowControlStillFillsALargeTable(t *testing.T) {
	inCluster(t, 4, func(o *Options) { o.MaxAddsPerNode = 2 }, func(t *testing.T, c *cluster) {
		time.Sleep(5 * time.Second)
		c.create("t", 64, 3)
		c.awaitHealthy("t", 3, 8*time.Second)
	})
}

func TestDefaultTablesWaitForNodes(t *testing.T) {
	defaults := func(o *Options) { o.DefaultTables = DefaultOptions().DefaultTables }
	inCluster(t, 1, defaults, func(t *testing.T, c *cluster) {
		if r := c.query("temp"); r.Err != idl.ErrOK || r.AppID != 1 || r.PartitionCount != 8 || !r.IsStateful {
			t.Errorf("temp is not there at once: %+v", r)
		}
		if r := c.query("stat"); r.Err != idl.ErrOK || r.AppID != 2 || r.PartitionCount != 4 {
			t.Errorf("stat is not there at once: %+v", r)
		}
		time.Sleep(time.Second)
		c.startStub(2, nil)
		time.Sleep(500 * time.Millisecond)
		for _, pc := range c.query("temp").Partitions {
			if !pc.Primary.IsZero() {
				t.Fatalf("%s went to %s before there were enough nodes", pc.Pid, pc.Primary)
			}
		}
		c.startStub(3, nil)
		c.awaitHealthy("temp", 3, time.Second)
		c.awaitHealthy("stat", 3, time.Second)
		primaries := map[idl.RPCAddress]int{}
		for _, pc := range c.query("temp").Partitions {
			primaries[pc.Primary]++
		}
		if len(primaries) != 3 {
			t.Errorf("primaries of temp: %v", primaries)
		}
	})
	inCluster(t, 1, defaults, func(t *testing.T, c *cluster) {
		c.awaitHealthy("temp", 1, 4*time.Second) // nobody else comes
	})
}

func TestDeadPrimaryIsReplacedWithinGrace(t *testing.T) {
	inCluster(t, 4, nil, func(t *testing.T, c *cluster) {
		time.Sleep(time.Second)
		c.create("t", 6, 3)
		c.awaitHealthy("t", 3, 5*time.Second)
		before := c.query("t")
		killed := c.stubs[1]
		killed.kill()
		took := c.eventually(30*time.Second, "every partition has a living primary", func() bool {
			for _, pc := range c.query("t").Partitions {
				if pc.Primary.IsZero() || pc.Primary == killed.self {
					return false
				}
			}
			return true
		})
		if took < 19*time.Second || took > 25*time.Second {
			t.Errorf("primaries were replaced after %v, the grace period is 22 s", took)
		}
		c.eventually(5*time.Second, "the dead node is in no configuration", func() bool {
			return !slices.ContainsFunc(c.query("t").Partitions, func(pc idl.PartitionConfiguration) bool { return isMember(&pc, killed.self) })
		})
		// The lost secondary is waited for, then replaced.
		time.Sleep(5 * time.Minute)
		for i, pc := range c.query("t").Partitions {
			if old := &before.Partitions[i]; isMember(old, killed.self) && len(pc.Secondaries) != 1 {
				t.Errorf("%s: a lost secondary was replaced before the delay: %+v", pc.Pid, pc)
			}
		}
		c.awaitHealthy("t", 3, 6*time.Minute)
	})
}

func TestRestartedNodeIsBackAtOnce(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		time.Sleep(time.Second)
		c.create("t", 6, 3)
		c.awaitHealthy("t", 3, 5*time.Second)
		before := c.query("t")
		disk := c.stubs[1].kill()
		time.Sleep(2 * time.Second)
		c.startStub(1, disk)
		took := c.awaitHealthy("t", 3, 10*time.Second)
		t.Logf("healthy %v after the restart", took)
		for i, pc := range c.query("t").Partitions {
			if pc.Ballot <= before.Partitions[i].Ballot {
				t.Errorf("%s kept ballot %d although a member restarted", pc.Pid, pc.Ballot)
			}
			if before.Partitions[i].Primary == addr(1, 34801) && pc.Primary == addr(1, 34801) {
				t.Errorf("%s: a restarted process is primary again without having learned", pc.Pid)
			}
		}
	})
}

func TestPartitionedNodeComesBack(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		time.Sleep(time.Second)
		c.create("t", 6, 3)
		c.awaitHealthy("t", 3, 5*time.Second)
		c.net.Cut("10.0.0.1", "10.0.0.100")
		c.eventually(30*time.Second, "the node is unalive", func() bool {
			var r idl.ConfigurationListNodesResponse
			c.call(idl.RPCListNodes, &idl.ConfigurationListNodesRequest{Status: idl.NsUnalive}, &r)
			return len(r.Infos) == 1 && r.Infos[0].Node == addr(1, 34801)
		})
		c.eventually(time.Minute, "it is out of all configurations", func() bool {
			return !slices.ContainsFunc(c.query("t").Partitions, func(pc idl.PartitionConfiguration) bool { return isMember(&pc, addr(1, 34801)) })
		})
		c.net.Heal("10.0.0.1", "10.0.0.100")
		c.awaitHealthy("t", 3, 20*time.Second)
	})
}

func TestEverythingDiesAndComesBack(t *testing.T) {
	for _, meta := range []bool{false, true} {
		inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
			time.Sleep(time.Second)
			c.create("t", 6, 3)
			c.awaitHealthy("t", 3, 5*time.Second)
			disks := map[byte]map[idl.GPID]*stubReplica{}
			for i := range byte(3) {
				disks[i+1] = c.stubs[i+1].kill()
			}
			// Number 2 knows most. What it has committed every member has prepared.
			for i, disk := range disks {
				for _, r := range disk {
					r.committed, r.prepared = 90, 100
					if i == 2 {
						r.committed, r.prepared = 100, 110
					}
				}
			}
			if meta {
				c.restartMeta()
			}
			for i := range byte(3) {
				c.startStub(i+1, disks[i+1])
				time.Sleep(300 * time.Millisecond)
			}
			took := c.awaitHealthy("t", 3, 60*time.Second)
			t.Logf("meta restarted %v: healthy after %v", meta, took)
			for _, pc := range c.query("t").Partitions {
				if r := c.stubAt(pc.Primary).replicas[pc.Pid]; r == nil {
					t.Errorf("%s: primary without a replica", pc.Pid)
				}
			}
		})
	}
}

func TestOneReplicaTableSurvivesRestart(t *testing.T) {
	inCluster(t, 1, nil, func(t *testing.T, c *cluster) {
		time.Sleep(5 * time.Second)
		if err := c.create("t", 2, 1); err != idl.ErrOK {
			t.Fatal(err)
		}
		c.awaitHealthy("t", 1, time.Second)
		disk := c.stubs[1].kill()
		c.startStub(1, disk)
		c.awaitHealthy("t", 1, 5*time.Second)

		c.stubs[1].kill()
		c.startStub(1, nil) // the disk is lost
		time.Sleep(time.Minute)
		var r idl.DddDiagnoseResponse
		c.call(idl.RPCDddDiagnose, &idl.DddDiagnoseRequest{Pid: idl.GPID{AppID: -1, PartitionIndex: -1}}, &r)
		if len(r.Partitions) != 2 || r.Partitions[0].Reason != "the last dropped node(10.0.0.1:34801) is back without a replica of this partition" {
			t.Errorf("a table whose only replica is lost: %+v", r)
		}
	})
}

func TestMetaRestartKeepsEverything(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		time.Sleep(5 * time.Second)
		c.create("keep", 4, 3)
		c.create("gone", 2, 3)
		c.create("old", 1, 2)
		c.awaitHealthy("keep", 3, time.Second)
		c.awaitHealthy("gone", 3, time.Second)
		var env idl.ConfigurationUpdateAppEnvResponse
		c.call(idl.RPCUpdateAppEnv, &idl.ConfigurationUpdateAppEnvRequest{AppName: "keep", Op: idl.AppEnvOpSet,
			Keys: []string{"default_ttl", "business.info"}, Values: []string{"86400", "<x>"}}, &env)
		var drop idl.ConfigurationDropAppResponse
		c.call(idl.RPCDropApp, &idl.ConfigurationDropAppRequest{AppName: "gone"}, &drop)
		var rename idl.ConfigurationRenameAppResponse
		c.call(idl.RPCRenameApp, &idl.ConfigurationRenameAppRequest{OldAppName: "old", NewAppName: "new"}, &rename)
		if env.Err != idl.ErrOK || drop.Err != idl.ErrOK || rename.Err != idl.ErrOK {
			t.Fatal(env, drop, rename)
		}
		list := func() (r idl.ConfigurationListAppsResponse) {
			c.call(idl.RPCListApps, &idl.ConfigurationListAppsRequest{}, &r)
			return r
		}
		c.awaitHealthy("new", 2, time.Second)
		apps, parts := list(), c.query("keep")
		c.restartMeta()
		if d := cmp.Diff(apps, list()); d != "" {
			t.Errorf("tables after the restart: %s", d)
		}
		if d := cmp.Diff(parts, c.query("keep")); d != "" {
			t.Errorf("partitions after the restart: %s", d)
		}
		time.Sleep(2 * time.Minute) // the nodes find the new leader in time
		if d := cmp.Diff(parts, c.query("keep")); d != "" {
			t.Errorf("a restart of the meta server alone changed partitions: %s", d)
		}
		if c.create("another", 1, 1); c.query("another").AppID != 4 {
			t.Errorf("id of a new table is %d, want 4", c.query("another").AppID)
		}
	})
}

func TestManualBalance(t *testing.T) {
	inCluster(t, 4, nil, func(t *testing.T, c *cluster) {
		time.Sleep(5 * time.Second)
		c.create("t", 1, 3)
		c.awaitHealthy("t", 3, time.Second)
		pc := c.query("t").Partitions[0]
		from, to := pc.Primary, pc.Secondaries[0]
		var free idl.RPCAddress
		for _, s := range c.stubs {
			if !isMember(&pc, s.self) {
				free = s.self
			}
		}
		propose := func(force bool, actions ...idl.ConfigurationProposalAction) idl.ErrorCode {
			var r idl.ConfigurationBalancerResponse
			c.call(idl.RPCProposeBalancer, &idl.ConfigurationBalancerRequest{Gpid: pc.Pid, Force: &force, ActionList: actions}, &r)
			return r.Err
		}
		move := []idl.ConfigurationProposalAction{
			{Target: from, Node: from, Type: idl.CtDowngradeToSecondary},
			{Target: to, Node: to, Type: idl.CtUpgradeToPrimary}}
		c.stubAt(from).setRefuse(true)
		if err := propose(false, move...); err != idl.ErrOK {
			t.Fatal(err)
		}
		if err := propose(false, move...); err != idl.ErrInvalidParameters {
			t.Errorf("a second proposal while one is pending: %v", err)
		}
		if got := c.cmds.Execute("meta.lb.get_balance_operation_count", nil); got != "total=1" {
			t.Error(got)
		}
		c.stubAt(from).setRefuse(false)
		c.eventually(3*time.Second, "the primary has moved", func() bool { return c.query("t").Partitions[0].Primary == to })
		if got := c.query("t").Partitions[0]; got.Ballot != pc.Ballot+2 || len(got.Secondaries) != 2 {
			t.Errorf("after move_primary: %+v, before %+v", got, pc)
		}
		// Copy a secondary to the node that has none; no target means the primary.
		if err := propose(false, idl.ConfigurationProposalAction{Node: free, Type: idl.CtAddSecondaryForLb},
			idl.ConfigurationProposalAction{Node: from, Type: idl.CtRemove}); err != idl.ErrOK {
			t.Fatal(err)
		}
		c.eventually(time.Second, "the secondary has moved", func() bool {
			got := c.query("t").Partitions[0]
			return len(got.Secondaries) == 2 && isMember(&got, free) && !isMember(&got, from)
		})
		for _, bad := range []idl.ErrorCode{propose(false), propose(false, idl.ConfigurationProposalAction{Type: idl.CtRemove})} {
			if bad != idl.ErrInvalidParameters {
				t.Errorf("a proposal that says nothing: %v", bad)
			}
		}
		// What cannot be carried out is dropped, and the cure goes on.
		if err := propose(false, idl.ConfigurationProposalAction{Target: free, Node: free, Type: idl.CtUpgradeToPrimary}); err != idl.ErrOK {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if got := c.cmds.Execute("meta.lb.get_balance_operation_count", []string{"detail"}); got != "move_pri=0,copy_pri=0,copy_sec=0,total=0" {
			t.Error(got)
		}
		c.awaitHealthy("t", 3, time.Second)
	})
}

func TestAddSecondaryKnobStopsLearning(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		time.Sleep(5 * time.Second)
		if got := c.cmds.Execute("meta.lb.add_secondary_max_count_for_one_node", []string{"0"}); got != "OK" {
			t.Fatal(got)
		}
		c.create("t", 4, 3)
		time.Sleep(time.Minute)
		if !c.healthy("t", 1) {
			t.Errorf("with 0 nobody should get secondaries: %+v", c.query("t"))
		}
		c.cmds.Execute("meta.lb.add_secondary_max_count_for_one_node", []string{"DEFAULT"})
		c.awaitHealthy("t", 3, 500*time.Millisecond)
	})
}

func TestProposalIsRepeated(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		time.Sleep(5 * time.Second)
		for _, s := range c.stubs {
			s.setRefuse(true)
		}
		c.create("t", 4, 3)
		time.Sleep(20 * time.Second)
		for _, s := range c.stubs {
			s.setRefuse(false)
		}
		c.awaitHealthy("t", 3, 3*time.Second)
	})
}

func TestLevels(t *testing.T) {
	inCluster(t, 3, func(o *Options) { o.MinLiveNodes = 3 }, func(t *testing.T, c *cluster) {
		time.Sleep(5 * time.Second)
		control := func(l idl.MetaFunctionLevel) (idl.MetaFunctionLevel, idl.ErrorCode) {
			var r idl.ConfigurationMetaControlResponse
			c.call(idl.RPCControlMeta, &idl.ConfigurationMetaControlRequest{Level: l}, &r)
			return r.OldLevel, r.Err
		}
		effective := func() string {
			var r idl.ConfigurationClusterInfoResponse
			c.call(idl.RPCClusterInfo, &idl.ConfigurationClusterInfoRequest{}, &r)
			return r.Values[slices.Index(r.Keys, "meta_function_level")]
		}
		c.create("t", 2, 3)
		c.awaitHealthy("t", 3, time.Second)
		if l, err := control(idl.FlBlind); l != idl.FlSteady || err != idl.ErrOK {
			t.Error(l, err)
		}
		if l, _ := control(idl.FlInvalid); l != idl.FlBlind {
			t.Errorf("level is %v", l)
		}
		if _, err := control(7); err != idl.ErrInvalidParameters {
			t.Errorf("level 7: %v", err)
		}
		var drop idl.ConfigurationDropAppResponse
		var env idl.ConfigurationUpdateAppEnvResponse
		var rename idl.ConfigurationRenameAppResponse
		var recall idl.ConfigurationRecallAppResponse
		var count idl.ConfigurationSetMaxReplicaCountResponse
		c.call(idl.RPCDropApp, &idl.ConfigurationDropAppRequest{AppName: "t"}, &drop)
		c.call(idl.RPCUpdateAppEnv, &idl.ConfigurationUpdateAppEnvRequest{AppName: "t", Op: idl.AppEnvOpSet, Keys: []string{"default_ttl"}, Values: []string{"1"}}, &env)
		c.call(idl.RPCRenameApp, &idl.ConfigurationRenameAppRequest{OldAppName: "t", NewAppName: "u"}, &rename)
		c.call(idl.RPCRecallApp, &idl.ConfigurationRecallAppRequest{AppID: 1}, &recall)
		c.call(idl.RPCSetMaxReplicaCount, &idl.ConfigurationSetMaxReplicaCountRequest{AppName: "t", MaxReplicaCount: 2}, &count)
		for what, err := range map[string]idl.ErrorCode{"drop": drop.Err, "env": env.Err, "rename": rename.Err,
			"recall": recall.Err, "replica count": count.Err, "create": c.create("x", 1, 1)} {
			if err != idl.ErrStateFreezed {
				t.Errorf("%s at blind: %v", what, err)
			}
		}
		control(idl.FlSteady)

		// Too few nodes: freezed by itself. The dead primary leaves, nothing else happens.
		disk := c.stubs[1].kill()
		time.Sleep(30 * time.Second)
		if got := effective(); got != "freezed" {
			t.Errorf("effective level with 2 of 3 nodes is %s", got)
		}
		if l, _ := control(idl.FlInvalid); l != idl.FlSteady {
			t.Errorf("the operator's level is %v", l)
		}
		for _, pc := range c.query("t").Partitions {
			if pc.Primary == addr(1, 34801) {
				t.Errorf("%s still names the dead node as primary", pc.Pid)
			}
		}
		if err := c.create("x", 1, 1); err != idl.ErrStateFreezed {
			t.Errorf("create while freezed: %v", err)
		}
		c.startStub(1, disk)
		c.awaitHealthy("t", 3, 20*time.Second)
		if got := effective(); got != "steady" {
			t.Errorf("effective level with all nodes is %s", got)
		}
	})
}

func TestAutomaticFreezeIsLoggedOnce(t *testing.T) {
	var text bytes.Buffer
	var mu sync.Mutex
	lines := func() (found []string) {
		mu.Lock()
		defer mu.Unlock()
		for line := range strings.Lines(text.String()) {
			if strings.Contains(line, "freezed") {
				_, line, _ = strings.Cut(strings.TrimSpace(line), "level=")
				found = append(found, line)
			}
		}
		return found
	}
	tune := func(o *Options) {
		o.MinLiveNodes, o.LivePercentage = 3, 50
		o.Log = slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return text.Write(p)
		}), nil))
	}
	const freeze, thaw = `WARN msg="too few nodes are alive`, `INFO msg="enough nodes are alive`
	inCluster(t, 3, tune, func(t *testing.T, c *cluster) {
		time.Sleep(time.Minute)
		if got := lines(); len(got) != 0 {
			t.Errorf("a start with all nodes says %q", got)
		}
		for _, want := range []string{freeze, thaw} {
			if want == freeze {
				c.stubs[1].kill()
			} else {
				c.startStub(1, nil)
			}
			time.Sleep(time.Minute)
			got := lines()
			if len(got) == 0 || !strings.HasPrefix(got[len(got)-1], want) || !strings.Contains(got[len(got)-1], "min_live_node_count_for_unfreeze=3 live_percentage=50") {
				t.Errorf("%q, want %s last", got, want)
			}
		}
		if got := lines(); len(got) != 2 || !strings.Contains(got[0], "alive=2 dead=1") || !strings.Contains(got[1], "alive=3 dead=0") {
			t.Errorf("%q", got)
		}
	})
	// A cluster that never has enough says so when its nodes have had their time.
	text.Reset()
	inCluster(t, 2, tune, func(t *testing.T, c *cluster) {
		time.Sleep(5 * time.Minute)
		if got := lines(); len(got) != 1 || !strings.HasPrefix(got[0], freeze) || !strings.Contains(got[0], "alive=2 dead=0") {
			t.Errorf("%q", got)
		}
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestUselessReplicasAreDeletedOnlyWhenLively(t *testing.T) {
	inCluster(t, 3, func(o *Options) { o.MaxReservedDropped = 0 }, func(t *testing.T, c *cluster) {
		time.Sleep(5 * time.Second)
		c.create("t", 2, 3)
		c.awaitHealthy("t", 3, time.Second)
		// A fourth node holds a replica of the table and one that nobody knows.
		known, unknown := idl.GPID{AppID: 1}, idl.GPID{AppID: 77}
		s := c.startStub(4, map[idl.GPID]*stubReplica{known: {}, unknown: {}})
		time.Sleep(time.Minute)
		s.mu.Lock()
		if len(s.gc) != 0 {
			t.Errorf("at steady %v were to be deleted", s.gc)
		}
		s.mu.Unlock()
		var r idl.ConfigurationMetaControlResponse
		c.call(idl.RPCControlMeta, &idl.ConfigurationMetaControlRequest{Level: idl.FlLively}, &r)
		time.Sleep(time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.gc) == 0 || slices.ContainsFunc(s.gc, func(g idl.GPID) bool { return g != known }) {
			t.Errorf("at lively %v are to be deleted, want %v", s.gc, known)
		}
	})
}
