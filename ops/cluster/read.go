// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

const (
	readTimeout  = 15 * time.Second // of a Read whose context has no deadline
	askTimeout   = 3 * time.Second  // for one server to answer
	asksAtOnce   = 32
	levelOnWire  = "fl_"
	statusOnWire = "AS_"
)

// Read asks the cluster for its facts. It fails only if no meta leader answers; whatever else is
// not answered stands in Facts.Missing. Without a deadline in ctx it takes at most 15 seconds.
func Read(ctx context.Context, c *client.Cluster) (Facts, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, readTimeout)
		defer cancel()
	}
	info, err := c.ClusterInfo(ctx)
	if err != nil {
		return Facts{}, fmt.Errorf("read the state of the cluster: %w", err)
	}
	r := &reader{ctx: ctx, c: c, facts: &Facts{ReadAt: time.Now(), Missing: []string{}}}
	r.clusterInfo(info)
	r.parallel(r.level, r.nodes, r.tables)
	r.eachServer()
	r.facts.countReplicas()
	slices.Sort(r.facts.Missing)
	return *r.facts, nil
}

// A reader fills Facts from several goroutines.
type reader struct {
	ctx   context.Context
	c     *client.Cluster
	mu    sync.Mutex
	facts *Facts
}

func (r *reader) parallel(questions ...func()) {
	var g errgroup.Group
	g.SetLimit(asksAtOnce)
	for _, q := range questions {
		g.Go(func() error { q(); return nil })
	}
	g.Wait()
}

func (r *reader) update(f func(f *Facts)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r.facts)
}

func (r *reader) clusterInfo(info []client.NameValue) {
	f := r.facts
	var metas string
	for _, kv := range info {
		switch kv.Name {
		case client.InfoClusterName:
			f.Name = kv.Value
		case client.InfoPrimaryMeta:
			f.Leader = kv.Value
		case client.InfoMetaServers:
			metas = kv.Value
		case client.InfoLevel:
			f.EffectiveLevel = strings.TrimPrefix(kv.Value, levelOnWire)
		case client.InfoZooKeeper:
			f.ZooKeeper = kv.Value
		case client.InfoZooKeeperRoot:
			f.ZooKeeperRoot = kv.Value
		case client.InfoBalance:
			f.Balance = kv.Value
		}
	}
	for _, m := range strings.Split(metas, ",") {
		if m = strings.TrimSpace(m); m != "" {
			f.Metas = append(f.Metas, Meta{Address: m, Leader: m == f.Leader})
		}
	}
	if len(f.Metas) == 0 {
		f.missing("the list of meta servers: the leader does not name it")
	}
}

func (r *reader) level() {
	level, err := r.c.Level(r.ctx)
	r.update(func(f *Facts) {
		if err != nil {
			f.missing("the meta function level: %v", err)
			return
		}
		f.Level = strings.TrimPrefix(level.String(), levelOnWire)
	})
}

func (r *reader) nodes() {
	nodes, err := r.c.ListNodes(r.ctx, idl.NsInvalid)
	r.update(func(f *Facts) {
		if err != nil {
			f.missing("the replica servers: %v", err)
			return
		}
		for _, n := range nodes {
			f.Nodes = append(f.Nodes, Node{Address: n.Node.String(), Alive: n.Status == idl.NsAlive})
		}
	})
}

func (r *reader) tables() {
	apps, err := r.c.ListTables(r.ctx, idl.AsInvalid)
	if err != nil {
		r.update(func(f *Facts) { f.missing("the tables: %v", err) })
		return
	}
	tables := make([]Table, len(apps))
	var questions []func()
	for i := range apps {
		tables[i] = newTable(&apps[i])
		if t := &tables[i]; t.Available() {
			questions = append(questions, func() {
				cfg, err := r.c.QueryConfig(r.ctx, t.Name)
				if err != nil {
					r.update(func(f *Facts) { f.missing("the partitions of table %s: %v", t.Name, err) })
					return
				}
				t.Configure(cfg)
			})
		}
	}
	r.parallel(questions...)
	r.update(func(f *Facts) { f.Tables = tables })
}

func newTable(a *idl.AppInfo) Table {
	return Table{
		ID: a.AppID, Name: a.AppName, Status: StatusName(a.Status), PartitionCount: int(a.PartitionCount),
		ReplicaCount: int(a.MaxReplicaCount), Envs: a.Envs,
		CreateTime: unixTime(a.CreateSecond), DropTime: unixTime(a.DropSecond), ExpireTime: unixTime(a.ExpireSecond),
	}
}

// StatusName is the status of a table as people read it: AVAILABLE for AS_AVAILABLE.
func StatusName(s idl.AppStatus) string { return strings.TrimPrefix(s.String(), statusOnWire) }

func unixTime(seconds int64) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// Configure takes over the configuration of the table's partitions and classifies them.
func (t *Table) Configure(cfg *client.TableConfig) {
	t.Known, t.Health, t.Partitions = true, Health{}, nil
	for i := range cfg.Partitions {
		pc := &cfg.Partitions[i]
		p := Partition{Index: int(pc.Pid.PartitionIndex), Ballot: pc.Ballot, Secondaries: []string{}}
		if !pc.Primary.IsZero() {
			p.Primary = pc.Primary.String()
		}
		for _, s := range pc.Secondaries {
			p.Secondaries = append(p.Secondaries, s.String())
		}
		p.Class = ClassOf(p.Primary != "", len(p.Secondaries), int(pc.MaxReplicaCount))
		t.Health.Add(p.Class)
		t.Partitions = append(t.Partitions, p)
	}
}

// countReplicas fills in the replica counts of the nodes.
func (f *Facts) countReplicas() {
	byAddress := map[string]*Node{}
	for i := range f.Nodes {
		byAddress[f.Nodes[i].Address] = &f.Nodes[i]
	}
	strangers := map[string]int{}
	for i := range f.Tables {
		for _, p := range f.Tables[i].Partitions {
			if n := byAddress[p.Primary]; n != nil {
				n.Primaries++
			} else if p.Primary != "" {
				strangers[p.Primary]++
			}
			for _, s := range p.Secondaries {
				if n := byAddress[s]; n != nil {
					n.Secondaries++
				} else {
					strangers[s]++
				}
			}
		}
	}
	if len(f.Nodes) == 0 {
		return // then that is what is missing
	}
	for _, s := range sortedKeys(strangers) {
		f.missing("the node %s, which has %d replicas and is not in the list of nodes", s, strangers[s])
	}
}

// eachServer asks every meta server and every node that should be alive about itself.
func (r *reader) eachServer() {
	var questions []func()
	for i := range r.facts.Metas {
		m := &r.facts.Metas[i]
		questions = append(questions, func() { m.Server, m.Answers = r.server("meta server", m.Address) })
	}
	for i := range r.facts.Nodes {
		if n := &r.facts.Nodes[i]; n.Alive {
			questions = append(questions, func() {
				n.Server, n.Answers = r.server("replica server", n.Address)
				if n.Answers {
					n.Disks = r.disks(n.Address)
				}
			})
		}
	}
	r.parallel(questions...)
}

func (r *reader) server(role, address string) (s Server, answers bool) {
	ctx, cancel := context.WithTimeout(r.ctx, askTimeout)
	defer cancel()
	addr, err := resolve(ctx, address)
	var text string
	if err == nil {
		text, err = r.c.RemoteCommand(ctx, addr, "server-info")
	}
	if err == nil {
		answers = true
		s, err = ParseServerInfo(text)
	}
	if err != nil {
		r.update(func(f *Facts) { f.missing("the version of %s %s: %v", role, address, err) })
	}
	return s, answers
}

// disks returns nil when the server does not offer the question; Pegasus does, others need not.
func (r *reader) disks(address string) []Disk {
	ctx, cancel := context.WithTimeout(r.ctx, askTimeout)
	defer cancel()
	addr, err := resolve(ctx, address)
	if err != nil {
		return nil
	}
	resp, err := r.c.DiskInfo(ctx, addr)
	if err != nil {
		if !errors.Is(err, idl.ErrHandlerNotFound) {
			r.update(func(f *Facts) { f.missing("the disks of replica server %s: %v", address, err) })
		}
		return nil
	}
	disks := make([]Disk, 0, len(resp.DiskInfos))
	for _, d := range resp.DiskInfos {
		disks = append(disks, Disk{Tag: d.Tag, Dir: d.FullDir, CapacityMB: d.DiskCapacityMb, AvailableMB: d.DiskAvailableMb})
	}
	return disks
}

// resolve turns an address as servers print it, possibly with a host name, into one to call.
func resolve(ctx context.Context, address string) (idl.RPCAddress, error) {
	addrs, err := client.ResolveAll(ctx, []string{address})
	if err != nil {
		return 0, err
	}
	if len(addrs) == 0 {
		return 0, &net.AddrError{Err: "no address", Addr: address}
	}
	return addrs[0], nil
}

func sortedKeys(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) }
