// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/guardian"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
)

// loadWorkers is how many reads of the store are under way at a time.
const loadWorkers = 64

// load reads the whole tree. On the very first start it makes the default tables.
func load(ctx context.Context, s *Server, term store.Term) (*leader, error) {
	l := &leader{
		s: s, log: s.log, epoch: term.Epoch, holds: term.Holds, quit: make(chan struct{}),
		tables: map[int32]*table{}, names: map[string]*table{}, nextID: 1,
		nodes: map[idl.RPCAddress]*node{}, fd: newDetector(&s.o),
		pending: map[*partition]struct{}{}, dirty: map[*partition]struct{}{},
		level: s.o.StartLevel,
		round: &guardian.Round{
			View: &guardian.View{Nodes: map[idl.RPCAddress]guardian.Node{}, Loads: guardian.NewLoads()},
			Adds: map[idl.RPCAddress]int{},
		},
	}
	if l.holds == nil {
		l.holds = func() bool { return true }
	}
	start := time.Now()
	if err := s.firstStart(ctx, term.Epoch); err != nil {
		return nil, err
	}
	ids, err := s.store.Children(ctx, store.AppsPath)
	if err != nil {
		return nil, err
	}
	tables, err := s.readTables(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		if err := l.repair(t); err != nil {
			return nil, err
		}
		if err := l.addTable(t); err != nil {
			return nil, err
		}
	}
	s.log.Info("the metadata was read", "tables", len(tables), "took", time.Since(start).Round(time.Millisecond))
	return l, nil
}

func newTable(id int32, name string, partitions, replicas int32, envs map[string]string) idl.AppInfo {
	if envs = maps.Clone(envs); envs == nil {
		envs = map[string]string{}
	}
	return idl.AppInfo{
		Status: idl.AsAvailable, AppType: appType, AppName: name, AppID: id, PartitionCount: partitions,
		Envs: envs, IsStateful: true, MaxReplicaCount: replicas, CreateSecond: time.Now().Unix(), InitPartitionCount: -1,
	}
}

func newPartition(info *idl.AppInfo, index int32) *idl.PartitionConfiguration {
	return &idl.PartitionConfiguration{
		Pid: idl.GPID{AppID: info.AppID, PartitionIndex: index}, MaxReplicaCount: info.MaxReplicaCount,
	}
}

func createOps(info *idl.AppInfo) []store.Op {
	ops := []store.Op{store.Create(store.AppPath(info.AppID), store.EncodeApp(info))}
	for i := range info.PartitionCount {
		pc := newPartition(info, i)
		ops = append(ops, store.Create(store.PartitionPath(pc.Pid), store.EncodePartition(pc)))
	}
	return ops
}

// readTables reads tables and then their partitions, many at a time. A partition whose record is
// missing has no configuration yet.
func (s *Server) readTables(ctx context.Context, names []string) ([]*table, error) {
	tables := make([]*table, len(names))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(loadWorkers)
	for i, name := range names {
		g.Go(func() (err error) {
			tables[i], err = s.readTable(gctx, name)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(loadWorkers)
	for _, t := range tables {
		for i, p := range t.parts {
			g.Go(func() (err error) {
				p.cfg, p.version, err = s.readPartition(gctx, idl.GPID{AppID: t.info.AppID, PartitionIndex: int32(i)})
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return tables, nil
}

func (s *Server) readTable(ctx context.Context, name string) (*table, error) {
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil || id <= 0 {
		return nil, fmt.Errorf("node %s/%s is not named like a table", store.AppsPath, name)
	}
	n, err := s.store.Get(ctx, store.AppPath(int32(id)))
	if err != nil {
		return nil, err
	}
	info, err := store.DecodeApp(n.Data)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", store.AppPath(int32(id)), err)
	}
	if info.AppID != int32(id) || info.PartitionCount > maxPartitions {
		return nil, fmt.Errorf("node %s holds table %d of %d partitions", store.AppPath(int32(id)), info.AppID, info.PartitionCount)
	}
	t := &table{info: *info, version: n.Version, parts: make([]*partition, info.PartitionCount)}
	for i := range t.parts {
		t.parts[i] = &partition{t: t, prefer: -1}
	}
	return t, nil
}

// readPartition returns nil without an error if there is no record.
func (s *Server) readPartition(ctx context.Context, id idl.GPID) (*idl.PartitionConfiguration, int64, error) {
	path := store.PartitionPath(id)
	n, err := s.store.Get(ctx, path)
	if errors.Is(err, store.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	pc, err := store.DecodePartition(n.Data)
	if err != nil {
		return nil, 0, fmt.Errorf("node %s: %w", path, err)
	}
	if pc.Pid != id {
		return nil, 0, fmt.Errorf("node %s holds partition %s", path, pc.Pid)
	}
	return pc, n.Version, nil
}

// repair finishes what an earlier leader has not: the record of a table is written before those
// of its partitions, so it says what they were about to become.
func (l *leader) repair(t *table) error {
	var ops []store.Op
	for i, p := range t.parts {
		path := store.PartitionPath(idl.GPID{AppID: t.info.AppID, PartitionIndex: int32(i)})
		if p.cfg == nil {
			// The table was being created. Its client never heard of a success, but as long as
			// the record is there the table is to be had.
			p.cfg = newPartition(&t.info, int32(i))
			ops = append(ops, store.Create(path, store.EncodePartition(p.cfg)))
			continue
		}
		if next := overdue(&t.info, p.cfg); next != nil {
			ops = append(ops, store.Set(path, store.EncodePartition(next), p.version))
			p.cfg, p.version = next, p.version+1
		}
	}
	if len(ops) == 0 {
		return nil
	}
	l.log.Warn("an operation on a table was cut off, finishing it", "table", t.info.AppName, "app_id", t.info.AppID,
		"status", t.info.Status.String(), "partitions", len(ops))
	return l.s.commit(l.epoch, "partitions of table "+t.info.AppName, ops)
}

// overdue is the change of a configuration that its table demands and that was not made, nil if
// they agree.
func overdue(info *idl.AppInfo, pc *idl.PartitionConfiguration) *idl.PartitionConfiguration {
	dropped := pc.PartitionFlags&flagDropped != 0
	switch {
	case info.Status == idl.AsDropped && !dropped:
		return dropConfig(pc)
	case info.Status == idl.AsAvailable && dropped:
		return recallConfig(pc)
	case info.Status == idl.AsAvailable && pc.MaxReplicaCount != info.MaxReplicaCount:
		return resizeConfig(pc, info.MaxReplicaCount)
	}
	return nil
}

// addTable makes a stored table known.
func (l *leader) addTable(t *table) error {
	id, name := t.info.AppID, t.info.AppName
	if t.info.Status != idl.AsDropped {
		if other := l.names[name]; other != nil {
			return fmt.Errorf("tables %d and %d are both called %q", other.info.AppID, id, name)
		}
		l.names[name] = t
	}
	l.tables[id] = t
	l.nextID = max(l.nextID, id+1)
	return nil
}

// begin starts the term on the loop: the members of all partitions are presumed alive, with a
// full grace period to find this leader.
func (l *leader) begin() {
	now := time.Now()
	for _, t := range l.tables {
		for _, p := range t.parts {
			l.count(p, p.cfg, +1)
			for _, a := range p.cfg.LastDrops {
				p.dropped = append(p.dropped, drop{node: a, at: now})
			}
			p.prefer = len(p.dropped) - 1
		}
	}
	for a, n := range l.nodes {
		n.alive = true
		l.up++
		l.fd.presume(a, now)
		l.showNode(n)
	}
	l.nextCure, l.since = now, now
	l.changed = true
	l.log.Info("the metadata is loaded", "tables", len(l.tables), "nodes_presumed_alive", l.up, "epoch", l.epoch)
}

func (l *leader) sortedTables() []*table {
	return slices.SortedFunc(maps.Values(l.tables), func(a, b *table) int { return int(a.info.AppID) - int(b.info.AppID) })
}

// commit writes until the outcome is known: an error means that the store is not as this leader
// believes, or that the server stops.
func (s *Server) commit(epoch int64, what string, ops []store.Op) error {
	for first := true; ; first = false {
		err := s.store.Commit(s.ctx, epoch, ops...)
		if err == nil || s.ctx.Err() != nil {
			return err
		}
		definite := errors.Is(err, store.ErrFenced) || errors.Is(err, store.ErrVersion) ||
			errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrNotFound)
		if definite {
			if !first && !errors.Is(err, store.ErrFenced) && s.written(ops[len(ops)-1]) {
				return nil // an earlier try had succeeded after all
			}
			return fmt.Errorf("store %s: %w", what, err)
		}
		s.log.Error("the metadata store does not take a write, trying again", "step", what, "err", err, "retry_in", storeRetry)
		s.pause(storeRetry)
	}
}

// written reports whether the store is as op leaves it. The last operation of a commit stands for
// all of them.
func (s *Server) written(op store.Op) bool {
	n, err := s.store.Get(s.ctx, op.Path)
	switch op.Kind {
	case store.OpCreate:
		return err == nil && n.Version == 0 && string(n.Data) == string(op.Data)
	case store.OpSet:
		return err == nil && n.Version == op.Version+1 && string(n.Data) == string(op.Data)
	}
	return errors.Is(err, store.ErrNotFound)
}
