// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/pack"
)

// Desired is the state the inventory asks for.
type Desired struct {
	Cluster *inventory.Cluster
	Package pack.Info
	Configs map[string]string // text of config.ini by Instance.ID
}

// DeployOptions change what Deploy aims at.
type DeployOptions struct {
	NoStart bool // install everything and start nothing
}

// KeptPackages is how many packages stay on a host for rolling back, besides
// those in use.
const KeptPackages = 3

// Hash is the SHA-256 of a text in hex: how configurations are compared.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Deploy plans what is missing between facts and the desired state.
func Deploy(d Desired, f Facts, o DeployOptions) (*Plan, error) {
	p := newPlan(d.Cluster, "deploy")
	refused := &Refusal{}
	refuseForeign(d.Cluster, f, refused)
	refusePorts(d.Cluster.Instances(), f, refused, o.NoStart)

	var fresh, changed []change
	for _, i := range d.Cluster.Instances() {
		c := differs(d, f, i)
		switch {
		case f.Running(i) && len(c.reasons) > 0:
			changed = append(changed, c)
		case !f.Running(i):
			fresh = append(fresh, c)
		}
	}
	tables := missingTables(d.Cluster, f, p)
	if len(changed) > 0 && o.NoStart {
		p.warn("%d servers run with another package or configuration and are left alone because of --no-start", len(changed))
		changed = nil
	}
	if err := refused.err(); err != nil {
		return nil, err
	}

	p.add("directories", dirLanes(d.Cluster, f)...)
	p.add("package", packageLanes(d, f)...)
	p.add("check configuration", checkLanes(d, slices.Concat(fresh, changed))...)
	planFresh(p, fresh, o)
	planChanged(p, changed, f)
	if !o.NoStart {
		planTables(p, d.Cluster, f, tables)
	}
	if len(p.Stages) > 0 {
		p.add("old packages", oldPackageLanes(d, f)...)
	}
	return p, nil
}

// change is one server and what about it is not as desired.
type change struct {
	on      *inventory.Instance
	install []Step // config and package
	reasons []string
}

func differs(d Desired, f Facts, i *inventory.Instance) change {
	c := change{on: i}
	have, want := f.of(i), d.Configs[i.ID()]
	running := have.Process
	if have.Config != want {
		reason := "there is none"
		if have.Config != "" {
			reason = configDiff(have.Config, want)
		}
		s := on(WriteConfig, i, reason)
		s.Config = want
		c.install = append(c.install, s)
		c.reasons = append(c.reasons, reason)
	} else if running != nil && running.Config != "" && running.Config != Hash(want) {
		c.reasons = append(c.reasons, "it runs with an older config.ini")
	}
	if have.Package != d.Package.SHA256 {
		reason := "nothing is installed"
		if have.Package != "" {
			reason = "it has package " + short(have.Package)
		}
		s := on(SwitchPackage, i, reason)
		s.Package, s.Label = d.Package.SHA256, d.Package.Label()
		c.install = append(c.install, s)
		c.reasons = append(c.reasons, reason)
	} else if running != nil && running.Package != "" && running.Package != d.Package.SHA256 {
		c.reasons = append(c.reasons, "it runs package "+short(running.Package))
	}
	return c
}

func short(sha string) string { return sha[:min(12, len(sha))] }

// checkLanes let the package's own program look at each configuration that is
// new to it, before any server is stopped for it.
func checkLanes(d Desired, changes []change) []Lane {
	var lanes []Lane
	for _, c := range changes {
		if len(c.install) == 0 {
			continue
		}
		s := on(CheckConfig, c.on, "before anything is stopped or started with it")
		s.Package, s.Label, s.Config = d.Package.SHA256, d.Package.Label(), d.Configs[c.on.ID()]
		lanes = append(lanes, Lane{s})
	}
	return lanes
}

// planFresh installs and starts the servers that do not run.
func planFresh(p *Plan, fresh []change, o DeployOptions) {
	var install []Lane
	start := map[inventory.Role][]Lane{}
	for _, c := range fresh {
		install = append(install, c.install)
		start[c.on.Role] = append(start[c.on.Role], Lane{on(StartServer, c.on, "it does not run")})
	}
	p.add("configuration", install...)
	if o.NoStart {
		return
	}
	for _, r := range inventory.Roles() {
		p.add("start "+plural(r), start[r]...)
	}
}

// restartOrder is the order in which running servers are taken.
var restartOrder = []inventory.Role{inventory.Replica, inventory.Meta, inventory.Collector}

// planChanged takes running servers one at a time: stop, install, start.
func planChanged(p *Plan, changed []change, f Facts) {
	for _, r := range restartOrder {
		for _, c := range changed {
			if c.on.Role != r {
				continue
			}
			reason := strings.Join(c.reasons, "; ")
			var lane Lane
			if gated(r) && f.Cluster != nil {
				lane = append(lane, Step{Kind: WaitHealthy, Reason: "before " + c.on.ID() + " is stopped"})
			}
			lane = append(lane, on(StopServer, c.on, reason))
			lane = append(lane, c.install...)
			lane = append(lane, on(StartServer, c.on, reason))
			if gated(r) {
				lane = append(lane, Step{Kind: WaitHealthy, Reason: "before the next server is taken"})
			}
			p.add("change "+c.on.ID(), lane)
		}
	}
}

// gated says whether clients notice when a server of the role is gone.
func gated(r inventory.Role) bool { return r != inventory.Collector }

func plural(r inventory.Role) string {
	switch r {
	case inventory.Meta:
		return "meta servers"
	case inventory.Replica:
		return "replica servers"
	default:
		return "collectors"
	}
}

func dirLanes(c *inventory.Cluster, f Facts) []Lane {
	var lanes []Lane
	for _, h := range c.Hosts {
		var lane Lane
		for _, dir := range Dirs(c, h) {
			facts := f.Hosts[h.Name].Dirs[dir]
			if facts.Owner == c.Name {
				continue
			}
			reason := "it does not exist"
			if facts.Exists {
				reason = "it does not carry our marker yet"
			}
			lane = append(lane, Step{Kind: MakeDir, Host: h.Name, Path: dir, Reason: reason})
		}
		lanes = append(lanes, lane)
	}
	return lanes
}

func packageLanes(d Desired, f Facts) []Lane {
	var lanes []Lane
	for _, h := range d.Cluster.Hosts {
		if len(d.Cluster.OnHost(h)) == 0 {
			continue
		}
		if _, there := f.Hosts[h.Name].Packages[d.Package.SHA256]; there {
			continue
		}
		lanes = append(lanes, Lane{{Kind: PushPackage, Host: h.Name, Package: d.Package.SHA256, Label: d.Package.Label(), Archive: &d.Package, Reason: "the host does not have it"}})
	}
	return lanes
}

// oldPackageLanes drops packages beyond the newest few, never one in use.
func oldPackageLanes(d Desired, f Facts) []Lane {
	var lanes []Lane
	for _, h := range d.Cluster.Hosts {
		host := f.Hosts[h.Name]
		inUse := map[string]bool{d.Package.SHA256: true}
		for _, i := range d.Cluster.OnHost(h) {
			inUse[f.of(i).Package] = true
		}
		type old struct {
			sha   string
			since time.Time
		}
		var spare []old
		for sha, since := range host.Packages {
			if !inUse[sha] {
				spare = append(spare, old{sha, since})
			}
		}
		slices.SortFunc(spare, func(a, b old) int { return cmp.Or(b.since.Compare(a.since), cmp.Compare(a.sha, b.sha)) })
		var lane Lane
		for n := KeptPackages; n < len(spare); n++ {
			lane = append(lane, Step{Kind: DropPackage, Host: h.Name, Package: spare[n].sha, Label: short(spare[n].sha),
				Reason: fmt.Sprintf("it is not in use and older than the %d that are kept", KeptPackages)})
		}
		lanes = append(lanes, lane)
	}
	return lanes
}

// missingTables are the tables to create, with warnings about those that exist
// in another shape.
func missingTables(c *inventory.Cluster, f Facts, p *Plan) []inventory.Table {
	if f.Cluster == nil {
		return c.Tables
	}
	var missing []inventory.Table
	for _, want := range c.Tables {
		n := slices.IndexFunc(f.Cluster.Tables, func(t clusterTable) bool { return t.Name == want.Name && t.Status != "DROPPED" })
		if n < 0 {
			missing = append(missing, want)
			continue
		}
		have := f.Cluster.Tables[n]
		if have.PartitionCount != want.Partitions {
			p.warn("table %s has %d partitions, the inventory says %d: partitions are only changed by a split; correct the inventory", want.Name, have.PartitionCount, want.Partitions)
		}
		if have.ReplicaCount != want.Replicas {
			p.warn("table %s keeps %d replicas, the inventory says %d: change it with `set_replica_count %s %d` in the shell, or correct the inventory", want.Name, have.ReplicaCount, want.Replicas, want.Name, want.Replicas)
		}
	}
	return missing
}

func planTables(p *Plan, c *inventory.Cluster, f Facts, tables []inventory.Table) {
	healthy := false
	if f.Cluster != nil {
		healthy, _ = f.Cluster.Healthy()
	}
	if p.Steps() == 0 && len(tables) == 0 && healthy {
		return
	}
	p.add("nodes", Lane{{Kind: WaitNodes, Reason: fmt.Sprintf("%d replica servers are in the inventory", len(c.Replicas))}})
	var lane Lane
	for _, t := range tables {
		lane = append(lane, Step{Kind: CreateTable, Table: &Table{t.Name, t.Partitions, t.Replicas}, Reason: "it is in the inventory"})
	}
	p.add("tables", lane)
	p.add("health", Lane{{Kind: WaitHealthy, Reason: "deploy ends with a cluster that serves"}})
}

// refuseForeign finds directories that belong to somebody else.
func refuseForeign(c *inventory.Cluster, f Facts, r *Refusal) {
	for _, h := range c.Hosts {
		for _, dir := range Dirs(c, h) {
			facts := f.Hosts[h.Name].Dirs[dir]
			switch {
			case facts.IsFile:
				r.add("host %s: %s is not a directory; move it away or choose another directory", h.Name, dir)
			case facts.Owner != "" && facts.Owner != c.Name:
				r.add("host %s: %s belongs to cluster %s; choose another directory, or clean that cluster first (`pegasus-ops -c %s clean`)", h.Name, dir, facts.Owner, facts.Owner)
			case facts.Owner == "" && facts.Exists && !facts.Empty && dir != c.AppDir:
				r.add("host %s: %s holds files and no %s marker: it is not ours; empty it, choose another directory, or, if the files are this cluster's, write %q into %s/%s",
					h.Name, dir, MarkerName, c.Name, dir, MarkerName)
			}
		}
	}
}

// MarkerName is the file that says which cluster a directory belongs to.
const MarkerName = ".pegasus-cluster"

func refusePorts(instances []*inventory.Instance, f Facts, r *Refusal, noStart bool) {
	if noStart {
		return
	}
	for _, i := range instances {
		if f.of(i).PortTaken {
			r.add("host %s: port %d of %s is in use by another process (find it with `ss -ltnp 'sport = :%d'`); stop that, or give the server another port", i.Host.Name, i.Port, i.ID(), i.Port)
		}
	}
}

// configDiff says in words which settings differ between two config.ini texts.
func configDiff(have, want string) string {
	a, b := settings(have), settings(want)
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	var diff []string
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		old, had := a[k]
		now, has := b[k]
		switch {
		case had && has && old != now:
			diff = append(diff, fmt.Sprintf("%s: %s -> %s", k, shown(old), shown(now)))
		case had && !has:
			diff = append(diff, fmt.Sprintf("%s is gone", k))
		case !had:
			diff = append(diff, fmt.Sprintf("%s: %s is new", k, shown(now)))
		}
	}
	const limit = 5
	switch {
	case len(diff) == 0:
		return "its comments changed"
	case len(diff) > limit:
		diff = append(diff[:limit], fmt.Sprintf("and %d more", len(diff)-limit))
	}
	return strings.Join(diff, ", ")
}

func shown(v string) string {
	if v == "" {
		return `""`
	}
	return v
}

// settings are the values of an ini text by "[section] key".
func settings(text string) map[string]string {
	all := map[string]string{}
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == ';' || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			section = line
			continue
		}
		k, v, _ := strings.Cut(line, "=")
		name := section + " " + strings.TrimSpace(k)
		if _, first := all[name]; !first {
			all[name] = strings.TrimSpace(v)
		}
	}
	return all
}
