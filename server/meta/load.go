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

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/guardian"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
)

// load reads the whole tree. On the very first start it makes the default tables.
func load(ctx context.Context, s *Server, epoch int64) (*leader, error) {
	l := &leader{
		s: s, log: s.log, epoch: epoch, quit: make(chan struct{}),
		tables: map[int32]*table{}, names: map[string]*table{}, nextID: 1,
		nodes: map[idl.RPCAddress]*node{}, fd: newDetector(&s.o),
		pending: map[*partition]struct{}{}, dirty: map[*partition]struct{}{},
		level: s.o.StartLevel,
		round: &guardian.Round{
			View: &guardian.View{Nodes: map[idl.RPCAddress]guardian.Node{}, Loads: guardian.NewLoads()},
			Adds: map[idl.RPCAddress]int{},
		},
	}
	root, err := s.store.Get(ctx, store.AppsPath)
	switch {
	case errors.Is(err, store.ErrNotFound):
		if err := s.firstStart(ctx, epoch); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case len(root.Data) > 0 && string(root.Data) != store.AppsUnlocked:
		return nil, fmt.Errorf("node %s says %q: tables were being written in bulk when that was cut off; "+
			"restore the metadata from a copy, or write %q there if it is complete", store.AppsPath, root.Data, store.AppsUnlocked)
	}
	ids, err := s.store.Children(ctx, store.AppsPath)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if err := l.loadTable(ctx, id); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// firstStart writes the default tables, in one step with the node that says there are tables.
func (s *Server) firstStart(ctx context.Context, epoch int64) error {
	ops := []store.Op{store.Create(store.AppsPath, []byte(store.AppsUnlocked))}
	for i, spec := range s.o.DefaultTables {
		info := newTable(int32(i)+1, spec.Name, spec.Partitions, spec.Replicas, spec.Envs)
		ops = append(ops, createOps(&info)...)
		s.log.Info("first start, making a default table", "table", spec.Name, "app_id", info.AppID, "partitions", spec.Partitions)
	}
	err := s.commit(epoch, "default tables", ops)
	if err == nil {
		err = ctx.Err()
	}
	return err
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

func (l *leader) loadTable(ctx context.Context, name string) error {
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil || id <= 0 {
		return fmt.Errorf("node %s/%s is not named like a table", store.AppsPath, name)
	}
	n, err := l.s.store.Get(ctx, store.AppPath(int32(id)))
	if err != nil {
		return err
	}
	info, err := store.DecodeApp(n.Data)
	if err != nil {
		return fmt.Errorf("node %s: %w", store.AppPath(int32(id)), err)
	}
	if info.AppID != int32(id) || info.PartitionCount > maxPartitions {
		return fmt.Errorf("node %s holds table %d of %d partitions", store.AppPath(int32(id)), info.AppID, info.PartitionCount)
	}
	t := &table{info: *info, version: n.Version}
	var missing []store.Op
	for i := range info.PartitionCount {
		path := store.PartitionPath(idl.GPID{AppID: info.AppID, PartitionIndex: i})
		n, err := l.s.store.Get(ctx, path)
		pc := newPartition(info, i)
		switch {
		case errors.Is(err, store.ErrNotFound):
			// The table was being created when the leader died. Its client never heard of a
			// success, but as long as the record is there the table is to be had.
			missing = append(missing, store.Create(path, store.EncodePartition(pc)))
		case err != nil:
			return err
		default:
			if pc, err = store.DecodePartition(n.Data); err != nil {
				return fmt.Errorf("node %s: %w", path, err)
			}
			if pc.Pid != (idl.GPID{AppID: info.AppID, PartitionIndex: i}) {
				return fmt.Errorf("node %s holds partition %s", path, pc.Pid)
			}
		}
		t.parts = append(t.parts, &partition{t: t, cfg: pc, version: n.Version, prefer: -1})
	}
	if len(missing) > 0 {
		if err := l.s.commit(l.epoch, "missing partitions of table "+info.AppName, missing); err != nil {
			return err
		}
	}
	return l.addTable(t)
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
			if !first && !errors.Is(err, store.ErrFenced) && s.written(ops[0]) {
				return nil // an earlier try had succeeded after all
			}
			return fmt.Errorf("store %s: %w", what, err)
		}
		s.log.Error("the metadata store does not take a write, trying again", "step", what, "err", err, "retry_in", storeRetry)
		s.pause(storeRetry)
	}
}

// written reports whether the store is as op leaves it. Commits are atomic, so one of its
// operations stands for all.
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
