// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/cluster"
	"github.com/pegasus-ops/pegasus-ops/ops/pack"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func onebox(t *testing.T) *inventory.Cluster {
	t.Helper()
	text, err := inventory.Example("onebox")
	require.NoError(t, err)
	c, _, err := inventory.Parse("onebox.yaml", text, inventory.Options{Home: "/h", Dir: "/d"})
	require.NoError(t, err)
	return c
}

const (
	oldSHA = "1111111111111111"
	newSHA = "2222222222222222"
)

func desired(c *inventory.Cluster) Desired {
	d := Desired{Cluster: c, Package: pack.Info{Path: "/d/pegasus-server-1.tar.gz", SHA256: newSHA}, Configs: map[string]string{}}
	for _, i := range c.Instances() {
		d.Configs[i.ID()] = "[a]\nk = " + i.ID() + "\n"
	}
	return d
}

// nothing is a host on which nothing was deployed yet.
func nothing(*inventory.Cluster) Facts { return Facts{Hosts: map[string]HostFacts{"local": {}}} }

// deployed is a cluster that is as desired and healthy.
func deployed(c *inventory.Cluster) Facts {
	d := desired(c)
	h := HostFacts{Packages: map[string]time.Time{newSHA: time.Unix(1000, 0)}, Dirs: map[string]DirFacts{}, Instances: map[string]InstanceFacts{}}
	for _, dir := range Dirs(c, c.Hosts[0]) {
		h.Dirs[dir] = DirFacts{Exists: true, Owner: c.Name, Created: "/h/pegasus-onebox"}
	}
	for n, i := range c.Instances() {
		h.Instances[i.ID()] = InstanceFacts{Config: d.Configs[i.ID()], Package: newSHA,
			Process: &ProcessFacts{PID: 100 + n, Config: Hash(d.Configs[i.ID()]), Package: newSHA}}
	}
	f := &cluster.Facts{Leader: "127.0.0.1:34601", Level: "steady", EffectiveLevel: "steady",
		Metas: []cluster.Meta{{Address: "127.0.0.1:34601", Leader: true, Answers: true}}}
	for _, r := range c.Replicas {
		f.Nodes = append(f.Nodes, cluster.Node{Address: r.Address(), Alive: true, Answers: true})
	}
	for n, want := range c.Tables {
		table := cluster.Table{ID: int32(n + 1), Name: want.Name, Status: "AVAILABLE", PartitionCount: want.Partitions, ReplicaCount: want.Replicas, Known: true}
		for p := range want.Partitions {
			table.Partitions = append(table.Partitions, cluster.Partition{Index: p, Primary: f.Nodes[0].Address, Secondaries: []string{f.Nodes[1].Address, f.Nodes[2].Address}})
			table.Health.Add(cluster.Healthy)
		}
		f.Tables = append(f.Tables, table)
	}
	return Facts{Hosts: map[string]HostFacts{"local": h}, Cluster: f}
}

func (f Facts) change(id string, do func(i *InstanceFacts)) Facts {
	i := f.Hosts["local"].Instances[id]
	do(&i)
	f.Hosts["local"].Instances[id] = i
	return f
}

func stopAll(f Facts) Facts {
	for id := range f.Hosts["local"].Instances {
		f.change(id, func(i *InstanceFacts) { i.Process = nil })
	}
	f.Cluster = nil
	return f
}

func text(p *Plan) string {
	var b strings.Builder
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	for _, s := range p.Stages {
		fmt.Fprintf(&b, "%s\n", s.Title)
		for n, l := range s.Lanes {
			for _, step := range l {
				fmt.Fprintf(&b, "  %d %s  (%s)\n", n+1, step, step.Reason)
			}
		}
	}
	if p.Steps() == 0 {
		b.WriteString("nothing\n")
	}
	fmt.Fprintf(&b, "changes: %v\n", p.Changes())
	return b.String()
}

// Each case is a golden file testdata/<name>.txt: the plan, or the refusal.
func TestPlans(t *testing.T) {
	const r2 = "replica@local:34802"
	all := func(c *inventory.Cluster) []*inventory.Instance { return c.Instances() }
	deploy := func(f func(c *inventory.Cluster) Facts, o DeployOptions) func(c *inventory.Cluster) (*Plan, error) {
		return func(c *inventory.Cluster) (*Plan, error) { return Deploy(desired(c), f(c), o) }
	}
	tests := []struct {
		name string
		plan func(c *inventory.Cluster) (*Plan, error)
	}{
		{"deploy-first", deploy(nothing, DeployOptions{})},
		{"deploy-first-no-start", deploy(nothing, DeployOptions{NoStart: true})},
		{"deploy-again", deploy(deployed, DeployOptions{})},
		{"deploy-one-died", deploy(func(c *inventory.Cluster) Facts {
			return deployed(c).change(r2, func(i *InstanceFacts) { i.Process = nil })
		}, DeployOptions{})},
		{"deploy-config-changed", deploy(func(c *inventory.Cluster) Facts {
			return deployed(c).change(r2, func(i *InstanceFacts) { i.Config = "[a]\nk = old\nj = 1\n" })
		}, DeployOptions{})},
		{"deploy-config-written-not-restarted", deploy(func(c *inventory.Cluster) Facts {
			return deployed(c).change(r2, func(i *InstanceFacts) { i.Process.Config = Hash("old") })
		}, DeployOptions{})},
		{"deploy-pid-file-lost", deploy(func(c *inventory.Cluster) Facts {
			return deployed(c).change(r2, func(i *InstanceFacts) { i.Process.Config, i.Process.Package = "", "" })
		}, DeployOptions{})},
		{"deploy-new-package", deploy(func(c *inventory.Cluster) Facts {
			f := deployed(c)
			f.Hosts["local"] = HostFacts{Dirs: f.Hosts["local"].Dirs, Instances: f.Hosts["local"].Instances, Packages: map[string]time.Time{
				oldSHA: time.Unix(9, 0), "a": time.Unix(8, 0), "b": time.Unix(7, 0), "c": time.Unix(6, 0), "d": time.Unix(5, 0)}}
			for _, i := range c.Instances() {
				f.change(i.ID(), func(i *InstanceFacts) { i.Package, i.Process.Package = oldSHA, oldSHA })
			}
			return f
		}, DeployOptions{})},
		{"deploy-tables-differ", deploy(func(c *inventory.Cluster) Facts {
			f := deployed(c)
			f.Cluster.Tables[0].PartitionCount, f.Cluster.Tables[0].ReplicaCount = 4, 2
			f.Cluster.Tables = f.Cluster.Tables[:1]
			return f
		}, DeployOptions{})},
		{"deploy-not-healthy", deploy(func(c *inventory.Cluster) Facts {
			f := deployed(c)
			f.Cluster.Nodes[1].Alive = false
			return f
		}, DeployOptions{})},
		{"deploy-refused", deploy(func(c *inventory.Cluster) Facts {
			f := deployed(c)
			dirs := f.Hosts["local"].Dirs
			dirs["/h/pegasus-onebox/app"] = DirFacts{Exists: true, Owner: "other"}
			dirs["/h/pegasus-onebox/disks/replica1/ssd1"] = DirFacts{Exists: true}
			dirs["/h/pegasus-onebox/disks/replica1/ssd2"] = DirFacts{Exists: true, IsFile: true}
			return f.change(r2, func(i *InstanceFacts) { i.Process, i.PortTaken = nil, true })
		}, DeployOptions{})},
		{"start-all", func(c *inventory.Cluster) (*Plan, error) { return Start(c, all(c), true, stopAll(deployed(c))) }},
		{"start-nothing-installed", func(c *inventory.Cluster) (*Plan, error) { return Start(c, c.Replicas, false, nothing(c)) }},
		{"start-disk-not-mounted", func(c *inventory.Cluster) (*Plan, error) {
			f := stopAll(deployed(c))
			f.Hosts["local"].Dirs["/h/pegasus-onebox/disks/replica1/ssd1"] = DirFacts{Exists: true, Empty: true}
			delete(f.Hosts["local"].Dirs, "/h/pegasus-onebox/disks/replica1/ssd2")
			return Start(c, all(c), true, f)
		}},
		{"start-app-disk-not-mounted", func(c *inventory.Cluster) (*Plan, error) {
			f := stopAll(deployed(c))
			delete(f.Hosts["local"].Dirs, c.Replicas[0].Dir)
			return Start(c, c.Replicas[:1], false, f.change(c.Replicas[0].ID(), func(i *InstanceFacts) { *i = InstanceFacts{} }))
		}},
		{"restart-disk-not-mounted", func(c *inventory.Cluster) (*Plan, error) {
			f := deployed(c)
			f.Hosts["local"].Dirs["/h/pegasus-onebox/disks/replica1/ssd1"] = DirFacts{Exists: true, Empty: true}
			return Restart(c, all(c), f)
		}},
		{"stop-all", func(c *inventory.Cluster) (*Plan, error) { return Stop(c, all(c), deployed(c)) }},
		{"restart-all", func(c *inventory.Cluster) (*Plan, error) { return Restart(c, all(c), deployed(c)) }},
		{"restart-unhealthy", func(c *inventory.Cluster) (*Plan, error) {
			f := deployed(c)
			f.Cluster.Nodes[1].Alive = false
			return Restart(c, c.Replicas[:1], f)
		}},
		{"restart-no-leader", func(c *inventory.Cluster) (*Plan, error) {
			f := deployed(c)
			f.Cluster = nil
			return Restart(c, c.Replicas[:1], f)
		}},
		{"restart-collector-of-unhealthy", func(c *inventory.Cluster) (*Plan, error) {
			f := deployed(c)
			f.Cluster = nil
			return Restart(c, c.Collectors, f)
		}},
		{"clean-all", func(c *inventory.Cluster) (*Plan, error) { return Clean(c, deployed(c), CleanOptions{}) }},
		{"clean-role-keep-logs", func(c *inventory.Cluster) (*Plan, error) {
			return Clean(c, deployed(c), CleanOptions{Role: inventory.Collector, KeepLogs: true})
		}},
		{"clean-nothing", func(c *inventory.Cluster) (*Plan, error) { return Clean(c, nothing(c), CleanOptions{}) }},
		{"clean-refused", func(c *inventory.Cluster) (*Plan, error) {
			f := deployed(c)
			f.Hosts["local"].Dirs["/h/pegasus-onebox/disks/replica1/ssd1"] = DirFacts{Exists: true}
			f.Hosts["local"].Dirs["/h/pegasus-onebox/app/meta"] = DirFacts{Exists: true, Owner: "other"}
			return Clean(c, f, CleanOptions{})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := tt.plan(onebox(t))
			var got string
			if err != nil {
				var refused *Refusal
				require.ErrorAs(t, err, &refused)
				got = "refused:\n" + err.Error() + "\n"
			} else {
				got = text(p)
				_, err := json.Marshal(p)
				require.NoError(t, err)
			}
			golden := filepath.Join("testdata", tt.name+".txt")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConfigDiff(t *testing.T) {
	tests := []struct{ have, want, diff string }{
		{"[a]\nk = 1\n", "[a]\nk = 2\n", "[a] k: 1 -> 2"},
		{"[a]\nk = 1\n", "[a]\nk =\nl = 3\n", `[a] k: 1 -> "", [a] l: 3 is new`},
		{"[a]\nk = 1\n", "[a]\n", "[a] k is gone"},
		{"; x\n[a]\nk = 1\n", "; y\n[a]\nk = 1\n", "its comments changed"},
		{"[a]\n", "[a]\na=1\nb=2\nc=3\nd=4\ne=5\nf=6\ng=7\n", "[a] a: 1 is new, [a] b: 2 is new, [a] c: 3 is new, [a] d: 4 is new, [a] e: 5 is new, and 2 more"},
	}
	for _, tt := range tests {
		require.Equal(t, tt.diff, configDiff(tt.have, tt.want))
	}
}

// A plan's JSON is an interface: names of steps and fields stay.
func TestJSON(t *testing.T) {
	c := onebox(t)
	p, err := Stop(c, c.Metas, deployed(c))
	require.NoError(t, err)
	b, err := json.Marshal(p)
	require.NoError(t, err)
	require.JSONEq(t, `{"cluster":"onebox","command":"stop","warnings":[],"stages":[{"title":"stop meta servers","lanes":[[
		{"step":"stop","host":"local","instance":"meta@local:34601","reason":"it runs"}]]}]}`, string(b))
}
