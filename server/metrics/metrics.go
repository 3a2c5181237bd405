// SPDX-License-Identifier: Apache-2.0

// Package metrics is what a server counts about itself, in the shape Pegasus shows it: entities
// (the server, a replica, a table, a disk, ...) that have metrics (gauges, counters,
// percentiles), rendered as JSON by [Registry.ServeHTTP].
//
// A room asks the [Registry] for an [Entity] and the entity for its metrics, keeps the pointers,
// and updates them on its hot paths: an update is one or two atomic operations and allocates
// nothing. What can be computed when somebody asks is a [Entity.GaugeFunc].
//
// Names, units and entity types are Pegasus's, so that its dashboards and scripts find them.
package metrics

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// Units, as far as more than one room needs them.
const (
	Bytes        = "Bytes"
	MegaBytes    = "MegaBytes"
	NanoSeconds  = "NanoSeconds"
	MilliSeconds = "MilliSeconds"
	Requests     = "Requests"
	Replicas     = "Replicas"
	Partitions   = "Partitions"
	Servers      = "Servers"
	Sessions     = "Sessions"
	Beacons      = "Beacons"
	Dirs         = "Dirs"
	Operations   = "Operations"
)

// A Registry holds the entities of one server.
type Registry struct {
	id Identity

	mu       sync.Mutex
	entities map[entityKey]*Entity
}

// Identity is what a page of metrics says about the server it comes from.
type Identity struct {
	Cluster, Role, Host string
	Port                int
}

type entityKey struct{ typ, id string }

// New returns an empty registry.
func New(id Identity) *Registry {
	return &Registry{id: id, entities: map[entityKey]*Entity{}}
}

// Entity returns the entity of that type and id, making it if needed. attrs, as in
// {"table_id": "2"}, count only then.
func (r *Registry) Entity(typ, id string, attrs map[string]string) *Entity {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := entityKey{typ, id}
	e := r.entities[k]
	if e == nil {
		e = &Entity{key: k, attrs: maps.Clone(attrs), byName: map[string]metric{}}
		if e.attrs == nil {
			e.attrs = map[string]string{}
		}
		r.entities[k] = e
	}
	return e
}

// Server is the entity for what concerns the process as a whole.
func (r *Registry) Server() *Entity { return r.Entity("server", "server", nil) }

// Replica is the entity of a replica on this server.
func (r *Registry) Replica(appID, partition int32) *Entity {
	return r.partitionEntity("replica", appID, partition)
}

// Partition is the entity of a partition as the meta server sees it.
func (r *Registry) Partition(appID, partition int32) *Entity {
	return r.partitionEntity("partition", appID, partition)
}

func (r *Registry) partitionEntity(typ string, appID, partition int32) *Entity {
	a, p := strconv.Itoa(int(appID)), strconv.Itoa(int(partition))
	return r.Entity(typ, typ+"@"+a+"."+p, map[string]string{"table_id": a, "partition_id": p})
}

// Table is the entity of a table. Tables can be renamed, so it goes by the id.
func (r *Registry) Table(appID int32) *Entity {
	a := strconv.Itoa(int(appID))
	return r.Entity("table", "table@"+a, map[string]string{"table_id": a})
}

// Disk is the entity of a data directory.
func (r *Registry) Disk(tag, dir string) *Entity {
	return r.Entity("disk", "disk@"+tag, map[string]string{"tag": tag, "data_dir": dir})
}

// Remove forgets an entity. Its metrics may still be updated, to no effect.
func (r *Registry) Remove(e *Entity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.entities[e.key] == e {
		delete(r.entities, e.key)
	}
}

// all returns the entities in a stable order.
func (r *Registry) all() []*Entity {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.entities), func(a, b *Entity) int {
		return cmp.Or(cmp.Compare(a.key.typ, b.key.typ), cmp.Compare(a.key.id, b.key.id))
	})
}

// An Entity is something that has metrics.
type Entity struct {
	key   entityKey
	attrs map[string]string

	mu     sync.Mutex
	byName map[string]metric
}

// metric is a Gauge, Counter, GaugeFunc or Percentile.
type metric interface {
	about() *meta
	values() []value
}

type meta struct{ typ, name, unit, desc string }

func (m *meta) about() *meta { return m }

// A value is one number of a metric and the field it stands in.
type value struct {
	field string
	n     int64
}

// get returns the metric of that name, made by create if it is new. A name used for another
// kind of metric before is a mistake of the program.
func get[M metric](e *Entity, name string, create func() M) M {
	e.mu.Lock()
	defer e.mu.Unlock()
	if old, ok := e.byName[name]; ok {
		m, ok := old.(M)
		if !ok {
			panic("metrics: " + name + " of " + e.key.id + " is a " + old.about().typ + " already")
		}
		return m
	}
	m := create()
	e.byName[name] = m
	return m
}

// A Gauge is a number that goes up and down.
type Gauge struct {
	meta
	n atomic.Int64
}

// Gauge returns the gauge of that name.
func (e *Entity) Gauge(name, unit, desc string) *Gauge {
	return get(e, name, func() *Gauge { return &Gauge{meta: meta{"Gauge", name, unit, desc}} })
}

// Set sets the gauge.
func (g *Gauge) Set(n int64) { g.n.Store(n) }

// Add changes the gauge by n, which may be negative.
func (g *Gauge) Add(n int64) { g.n.Add(n) }

// Value returns the present number.
func (g *Gauge) Value() int64 { return g.n.Load() }

func (g *Gauge) values() []value { return []value{{"value", g.n.Load()}} }

type gaugeFunc struct {
	meta
	fn atomic.Pointer[func() int64]
}

// GaugeFunc makes a gauge that is computed when somebody asks. fn must be quick and safe for
// concurrent use. A later call replaces the function.
func (e *Entity) GaugeFunc(name, unit, desc string, fn func() int64) {
	get(e, name, func() *gaugeFunc { return &gaugeFunc{meta: meta{"Gauge", name, unit, desc}} }).fn.Store(&fn)
}

func (g *gaugeFunc) values() []value {
	if fn := g.fn.Load(); fn != nil {
		return []value{{"value", (*fn)()}}
	}
	return []value{{"value", 0}}
}

// A Counter is a number that only grows.
type Counter struct {
	meta
	n atomic.Int64
}

// Counter returns the counter of that name.
func (e *Entity) Counter(name, unit, desc string) *Counter {
	return get(e, name, func() *Counter { return &Counter{meta: meta{"Counter", name, unit, desc}} })
}

// Add adds n, which must not be negative.
func (c *Counter) Add(n int64) { c.n.Add(n) }

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Value returns the sum so far.
func (c *Counter) Value() int64 { return c.n.Load() }

func (c *Counter) values() []value { return []value{{"value", c.n.Load()}} }
