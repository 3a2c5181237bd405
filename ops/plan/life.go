// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/cluster"
)

type clusterTable = cluster.Table

// Start plans to start those of the chosen servers that do not run. With
// whole, the choice is the whole cluster and the plan ends with its health.
func Start(c *inventory.Cluster, chosen []*inventory.Instance, whole bool, f Facts) (*Plan, error) {
	p := newPlan(c, "start")
	refused := &Refusal{}
	var down []*inventory.Instance
	for _, i := range chosen {
		if f.Running(i) {
			continue
		}
		refuseBare(c, i, f, refused)
		down = append(down, i)
	}
	refusePorts(down, f, refused, false)
	if err := refused.err(); err != nil {
		return nil, err
	}
	startLanes(p, down, "it does not run")
	if whole && len(down) > 0 {
		p.add("nodes", Lane{{Kind: WaitNodes, Reason: fmt.Sprintf("%d replica servers are in the inventory", len(c.Replicas))}})
		p.add("health", Lane{{Kind: WaitHealthy, Reason: "start ends with a cluster that serves"}})
	}
	return p, nil
}

// refuseBare keeps a server from being started where it would find nothing. A
// server that was deployed and whose directory lost our marker is one whose disk
// is not mounted: started there, it would begin empty on the disk below.
func refuseBare(c *inventory.Cluster, i *inventory.Instance, f Facts, r *Refusal) {
	have := f.of(i)
	dirs := f.Hosts[i.Host.Name].Dirs
	deployed := have.Config != "" || have.Process != nil
	for _, dir := range InstanceDirs(i) {
		deployed = deployed || dirs[dir].Owner == c.Name
	}
	bare := false
	if deployed {
		for _, dir := range InstanceDirs(i) {
			if facts := dirs[dir]; facts.Owner != c.Name {
				bare = true
				r.add("host %s: %s of %s %s, so %s would begin empty there: is the disk mounted? If it is and the directory is to be used as it is, run `pegasus-ops deploy`",
					i.Host.Name, dir, i.ID(), lacks(facts), i.ID())
			}
		}
	}
	if !bare && (have.Config == "" || have.Package == "") {
		r.add("host %s: %s is not installed; run `pegasus-ops deploy` with the inventory", i.Host.Name, i.ID())
	}
}

// lacks says what is wrong with a directory that does not carry our marker.
func lacks(d DirFacts) string {
	switch {
	case !d.Exists:
		return "does not exist"
	case d.IsFile:
		return "is not a directory"
	case d.Owner != "":
		return "belongs to cluster " + d.Owner
	}
	return "has no " + MarkerName + " marker"
}

func startLanes(p *Plan, down []*inventory.Instance, reason string) {
	for _, r := range inventory.Roles() {
		var lanes []Lane
		for _, i := range down {
			if i.Role == r {
				lanes = append(lanes, Lane{on(StartServer, i, reason)})
			}
		}
		p.add("start "+plural(r), lanes...)
	}
}

// stopOrder is the order of stopping a whole cluster; the package comment says why.
var stopOrder = []inventory.Role{inventory.Collector, inventory.Meta, inventory.Replica}

// Stop plans to stop those of the chosen servers that run.
func Stop(c *inventory.Cluster, chosen []*inventory.Instance, f Facts) (*Plan, error) {
	p := newPlan(c, "stop")
	stopLanes(p, chosen, f, "it runs")
	return p, nil
}

func stopLanes(p *Plan, chosen []*inventory.Instance, f Facts, reason string) {
	for _, r := range stopOrder {
		var lanes []Lane
		for _, i := range chosen {
			if i.Role == r && f.Running(i) {
				lanes = append(lanes, Lane{on(StopServer, i, reason)})
			}
		}
		p.add("stop "+plural(r), lanes...)
	}
}

// Restart plans to restart the chosen servers one at a time behind health
// gates, and to start those that do not run. A server that runs is only touched
// in a healthy cluster.
func Restart(c *inventory.Cluster, chosen []*inventory.Instance, f Facts) (*Plan, error) {
	p := newPlan(c, "restart")
	refused := &Refusal{}
	var down, up []*inventory.Instance
	for _, i := range chosen {
		refuseBare(c, i, f, refused)
		if f.Running(i) {
			up = append(up, i)
		} else {
			down = append(down, i)
		}
	}
	refusePorts(down, f, refused, false)
	if len(up) > 0 && len(down) == 0 {
		refuseUnhealthy(up, f, refused)
	}
	if err := refused.err(); err != nil {
		return nil, err
	}
	startLanes(p, down, "it does not run")
	for _, r := range restartOrder {
		for _, i := range up {
			if i.Role == r {
				p.add("restart "+i.ID(), restartLane(i))
			}
		}
	}
	if len(up) == 0 && len(down) > 0 {
		p.add("health", Lane{{Kind: WaitHealthy, Reason: "restart ends with a cluster that serves"}})
	}
	return p, nil
}

func restartLane(i *inventory.Instance) Lane {
	stop, start := on(StopServer, i, "restart"), on(StartServer, i, "restart")
	if !gated(i.Role) {
		return Lane{stop, start}
	}
	return Lane{
		{Kind: WaitHealthy, Reason: "before " + i.ID() + " is stopped"},
		stop, start,
		{Kind: WaitHealthy, Reason: "before the next server is taken"},
	}
}

// refuseUnhealthy keeps running servers from being stopped in a cluster that
// already misses something: the next server down could take the last copy.
func refuseUnhealthy(up []*inventory.Instance, f Facts, r *Refusal) {
	needed := false
	for _, i := range up {
		needed = needed || gated(i.Role)
	}
	if !needed {
		return
	}
	if f.Cluster == nil {
		r.add("no meta leader answers, so nobody can say what a restart would cost; `pegasus-ops status` shows more, `stop` and then `start` restart without asking")
		return
	}
	if ok, reasons := f.Cluster.Healthy(); !ok {
		r.add("the cluster is not healthy, and a restart would take one more server away; wait or repair first, or use `stop` and then `start`")
		r.Reasons = append(r.Reasons, indent(reasons)...)
	}
}

func indent(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = "  " + l
	}
	return out
}
