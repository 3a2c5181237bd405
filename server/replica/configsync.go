// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/pacifica"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

const (
	// syncRetry is how soon a config sync that failed is repeated; syncBusy when the meta server
	// asked for patience.
	syncRetry = time.Second
	syncBusy  = 500 * time.Millisecond
	// syncGap is the shortest time between two config syncs that succeed.
	syncGap = 50 * time.Millisecond
	// syncTimeout bounds one.
	syncTimeout = 5 * time.Second
)

// syncSoon asks for a config sync: the meta server may know better.
func (s *Server) syncSoon() {
	select {
	case s.sync <- struct{}{}:
	default:
	}
}

// syncLoop asks the meta server regularly which replicas this node should have in which roles.
// It does so only under a lease: a node that the meta server does not know has no roles.
func (s *Server) syncLoop(ctx context.Context) {
	timer := time.NewTimer(s.opts.ConfigSyncInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.sync:
		case <-timer.C:
		}
		wait := syncGap
		if s.detector.alive() {
			if w := s.configSync(ctx); w > 0 {
				wait = w
				s.syncSoon()
			}
		}
		timer.Reset(wait)
		select { // what asks meanwhile is served together
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(s.opts.ConfigSyncInterval)
	}
}

// configSync does it once; the result is in how long it has to be repeated, 0 if it worked.
func (s *Server) configSync(ctx context.Context) (again time.Duration) {
	meta := s.detector.meta()
	asOf := time.Now()
	req := &idl.ConfigurationQueryByNodeRequest{
		Node: s.opts.Self, StoredReplicas: s.stored(),
		Info:        &idl.ReplicaServerInfo{TotalCapacityMb: s.capacityMB()},
		StartTimeMs: new(s.opts.StartTime.UnixMilli()),
	}
	asked := make(map[idl.GPID]int64, len(req.StoredReplicas))
	for g, r := range s.replicas() {
		asked[g] = r.snapshot().Ballot
	}
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	var resp idl.ConfigurationQueryByNodeResponse
	err := s.opts.Peers.Call(ctx, meta, wire.Call{Name: idl.RPCConfigSync, Arg: req, Result: &resp})
	if err == nil && !resp.Err.OK() {
		err = resp.Err
	}
	switch {
	case errors.Is(err, context.Canceled):
		return 0
	case errors.Is(err, idl.ErrBusy):
		return syncBusy
	case err != nil:
		s.log.Info("config sync failed, trying again", "node", meta, "err", err)
		if errors.Is(err, idl.ErrForwardToOthers) || errors.Is(err, idl.ErrNetworkFailure) {
			s.detector.distrust(meta)
		}
		return syncRetry
	}
	listed := make(map[idl.GPID]bool, len(resp.Partitions))
	for i := range resp.Partitions {
		q := &resp.Partitions[i]
		g := q.Config.Pid
		listed[g] = true
		if r := s.replica(g); r != nil {
			r.setTable(q.Info)
			cfg := configFrom(&q.Config)
			r.post(func(now time.Time) { r.core.Configure(now, cfg, asOf) })
			continue
		}
		s.leave(q)
	}
	for g, ballot := range asked {
		if r := s.replica(g); r != nil && !listed[g] {
			r.post(func(now time.Time) { r.core.NotListed(now, ballot) })
		}
	}
	for _, info := range resp.GcReplicas {
		s.discard(info.Pid)
	}
	return 0
}

// stored is what this node holds, open or not.
func (s *Server) stored() []idl.ReplicaInfo {
	var all []idl.ReplicaInfo
	for _, r := range s.replicas() {
		all = append(all, r.info())
	}
	s.mu.Lock()
	for g, c := range s.closed {
		if s.replica(g) == nil && !c.unread {
			all = append(all, c.info)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b idl.ReplicaInfo) int { return a.Pid.Compare(b.Pid) })
	return slices.CompactFunc(all, func(a, b idl.ReplicaInfo) bool { return a.Pid == b.Pid })
}

func configFrom(c *idl.PartitionConfiguration) pacifica.Config {
	return pacifica.Config{Ballot: c.Ballot, Primary: c.Primary, Secondaries: slices.Clone(c.Secondaries)}
}

// setTable takes note of the table's properties if they have changed.
func (r *replica) setTable(app idl.AppInfo) {
	old := r.table.Load()
	if app.AppID != r.gpid.AppID || sameApp(&old.info, &app) {
		return
	}
	t := newTable(app, r.server.opts.MinReplicas)
	r.post(func(time.Time) {
		r.table.Store(t)
		r.core.SetMinReplicas(t.minReplicas)
		if db := r.db.Load(); db != nil {
			r.setEnvs(db)
		}
		if err := writeInfo(r.server.opts.FS, r.dir, appInfoFile, &app); err != nil {
			r.log.Warn("cannot store the properties of the table", "err", err)
		}
	})
}

func sameApp(a, b *idl.AppInfo) bool {
	x, y := a.Append(nil), b.Append(nil)
	return cmp.Compare(string(x), string(y)) == 0
}

// leaveTries is how often this node asks to be taken out of a configuration that changes under
// its hands.
const leaveTries = 5

// leave takes this node out of a configuration that names it although it has no such replica
// open: the process was restarted without the data, or the replica was closed after a failure.
// It is never made anew here, because it would be empty where there should be data.
func (s *Server) leave(q *idl.ConfigurationUpdateRequest) {
	g := q.Config.Pid
	s.mu.Lock()
	busy := s.opening[g] != nil
	s.mu.Unlock()
	if busy {
		return
	}
	s.log.Warn("the meta server takes this node for a member, but the replica is not open here; leaving the configuration",
		"gpid", g, "ballot", q.Config.Ballot)
	s.askToLeave(q.Info, q.Config, leaveTries)
}

// askToLeave asks the meta server to take this node out of a configuration, and again if there
// is a newer one by now.
func (s *Server) askToLeave(app idl.AppInfo, c idl.PartitionConfiguration, tries int) {
	next := c
	next.Ballot++
	next.Secondaries = slices.DeleteFunc(slices.Clone(c.Secondaries), func(a idl.RPCAddress) bool { return a == s.opts.Self })
	if next.Primary == s.opts.Self {
		next.Primary = 0
	}
	s.leaves.Add(1)
	s.opts.Peers.Go(s.detector.meta(), wire.Call{
		Name: idl.RPCUpdatePartitionConfiguration, GPID: c.Pid,
		Arg: &idl.ConfigurationUpdateRequest{
			Info: app, Config: next, Type: idl.CtDowngradeToInactive, Node: s.opts.Self, HostNode: s.opts.Self,
		},
	}, syncTimeout, func(result []byte, err error) {
		defer s.leaves.Add(-1)
		var resp idl.ConfigurationUpdateResponse
		if err == nil {
			_, err = resp.Decode(result)
		}
		if err == nil && !resp.Err.OK() {
			err = resp.Err
		}
		switch {
		case err == nil:
		case err == idl.ErrInvalidVersion && tries > 1 && resp.Config.Ballot > c.Ballot:
			if resp.Config.Primary == s.opts.Self || slices.Contains(resp.Config.Secondaries, s.opts.Self) {
				s.askToLeave(app, resp.Config, tries-1)
			}
		default:
			s.log.Info("leaving a configuration failed; the next config sync tries again", "gpid", c.Pid, "err", err)
		}
	})
}

// discard gives up a replica that the meta server has no use for: its directory is renamed and
// removed later.
func (s *Server) discard(g idl.GPID) {
	s.background(s.closers, func() {
		if r := s.replica(g); r != nil {
			if st := r.snapshot(); st.Role != pacifica.RoleInactive || st.Transient {
				r.log.Warn("the meta server wants a replica removed that is in use; it stays", "role", st.Role)
				return
			}
			s.close(r, nil)
		}
		s.mu.Lock()
		c := s.closed[g]
		if s.opening[g] != nil || s.replica(g) != nil {
			c = nil
		}
		if c != nil {
			delete(s.closed, g)
		}
		s.mu.Unlock()
		if c == nil {
			return
		}
		if err := s.setAside(c.disk, s.opts.FS.PathBase(c.dir), garSuffix); err != nil {
			s.log.Warn("cannot set a superfluous replica aside", "gpid", g, "dir", c.dir, "err", err)
			return
		}
		s.disks.release(c.disk, g)
		s.log.Info("superfluous replica set aside", "gpid", g, "dir", c.dir, "kept", s.opts.GarbageDirKeep)
	})
}

// closeUnused closes replicas that have not been members for a while. Their data stays.
func (s *Server) closeUnused() {
	now := s.detector.now()
	for _, r := range s.replicas() {
		since := r.removedAt.Load()
		if since == 0 || time.Duration(now-since) < s.opts.CloseDelay {
			continue
		}
		st := r.snapshot()
		if st.Role != pacifica.RoleInactive || !r.removedAt.CompareAndSwap(since, 0) {
			continue
		}
		r.log.Info("closing a replica that is no member")
		s.closeLater(r, nil)
	}
}
