// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"math"
	"slices"
	"sync"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/guardian"
)

// A snapshot is what questions are answered from. It never changes.
type snapshot struct {
	role   idl.ErrorCode // ERR_OK: leads and serves; otherwise why not
	tables []*tableView  // by id, dropped ones included
	names  map[string]*tableView
	nodes  []nodeView // by address

	effective idl.MetaFunctionLevel
	up        int // nodes that are alive
	ops       opCounts
}

// A nodeView is a replica server and how many partitions it serves.
type nodeView struct {
	addr                idl.RPCAddress
	alive               bool
	primaries, replicas int
}

// A tableView is a table at one moment.
type tableView struct {
	info  idl.AppInfo
	parts []idl.PartitionConfiguration

	// The answers to a query for all partitions, encoded once, without and with host_ports.
	once    [2]sync.Once
	encoded [2]encoded
}

// encoded is a struct that is ready to be sent.
type encoded []byte

func (encoded) WireType() byte           { return idl.TypeStruct }
func (e encoded) Append(b []byte) []byte { return append(b, e...) }

// publish makes a snapshot if something has changed.
func (l *leader) publish() {
	if !l.changed || l.s.leader != l {
		return
	}
	l.changed = false
	s := &snapshot{role: idl.ErrOK, names: make(map[string]*tableView, len(l.names)),
		effective: l.effective(), up: l.up, ops: l.opCounts()}
	for _, t := range l.tables {
		s.tables = append(s.tables, t.show())
	}
	for name, t := range l.names {
		v := t.show()
		if t.info.Status == idl.AsCreating {
			s.tables = append(s.tables, v)
		}
		s.names[name] = v
	}
	slices.SortFunc(s.tables, func(a, b *tableView) int { return int(a.info.AppID) - int(b.info.AppID) })
	for a, n := range l.nodes {
		if n.alive || n.lost {
			s.nodes = append(s.nodes, nodeView{a, n.alive, n.primaries, len(n.roles)})
		}
	}
	slices.SortFunc(s.nodes, func(a, b nodeView) int {
		switch {
		case a.addr < b.addr:
			return -1
		case a.addr > b.addr:
			return 1
		}
		return 0
	})
	l.s.snap.Store(s)
}

func (t *table) show() *tableView {
	if t.view == nil {
		v := &tableView{info: t.info, parts: make([]idl.PartitionConfiguration, len(t.parts))}
		for i, p := range t.parts {
			v.parts[i] = *p.cfg
		}
		t.view = v
	}
	return t.view
}

// available returns the table of that name if clients may use it.
func (s *snapshot) available(name string) *tableView {
	if v := s.names[name]; v != nil && v.info.Status == idl.AsAvailable {
		return v
	}
	return nil
}

// spread is the standard deviation of primaries and of replicas over the living nodes.
func (s *snapshot) spread() (primaries, replicas float64) {
	var n, p, p2, r, r2 float64
	for _, x := range s.nodes {
		if !x.alive {
			continue
		}
		n++
		p += float64(x.primaries)
		p2 += float64(x.primaries * x.primaries)
		r += float64(x.replicas)
		r2 += float64(x.replicas * x.replicas)
	}
	if n == 0 {
		return 0, 0
	}
	dev := func(sum, squares float64) float64 { return math.Sqrt(max(squares/n-(sum/n)*(sum/n), 0)) }
	return dev(p, p2), dev(r, r2)
}

// healthCounts are the columns of "ls -d": they count with a constant of two replicas, as the
// shell does, not with the table's own limit for writes.
type healthCounts struct{ healthy, unhealthy, writeUnhealthy, readUnhealthy int }

func (v *tableView) health() (c healthCounts) {
	for i := range v.parts {
		switch h := guardian.HealthOf(&v.parts[i], 2); h {
		case guardian.Healthy:
			c.healthy++
		default:
			c.unhealthy++
			if h <= guardian.Unwritable {
				c.writeUnhealthy++
			}
			if h <= guardian.Unreadable {
				c.readUnhealthy++
			}
		}
	}
	return c
}
