// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pegasus-ops/pegasus-ops/server/engine"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/pacifica"
	"github.com/pegasus-ops/pegasus-ops/server/plog"
)

// A found directory is a replica on disk at start.
type found struct {
	gpid idl.GPID
	disk *disk
	dir  string
	name string

	replica *replica
	err     error
}

// loadAll opens every replica on every disk, the disks side by side. What cannot be loaded is
// set aside with a suffix that says so, because the data may be had from another server; but
// when most of the replicas of this server fail, the cause is likely the same on all servers,
// and setting everything aside would lose data that could be rescued. Then the server refuses
// to start.
func (s *Server) loadAll(ctx context.Context) error {
	start := time.Now()
	var all []*found
	for _, d := range s.disks.all {
		names, err := s.opts.FS.List(d.reps)
		if err != nil {
			return fmt.Errorf("list %s: %w", d.reps, err)
		}
		slices.Sort(names)
		for _, name := range names {
			g, ok := parseDirName(name)
			if !ok {
				s.skip(d, name)
				continue
			}
			all = append(all, &found{gpid: g, disk: d, dir: s.opts.FS.PathJoin(d.reps, name), name: name})
		}
	}
	all, err := s.dropTwins(all)
	if err != nil {
		return err
	}
	if err := s.loadParallel(ctx, all); err != nil {
		return err
	}
	var failed []*found
	for _, f := range all {
		switch {
		case noSpace(f.err):
			s.log.Error("a replica cannot be opened because its disk is full; free space, the server tries again when it is wanted",
				"gpid", f.gpid, "dir", f.dir, "err", f.err)
			s.disks.hold(f.disk, f.gpid)
			s.closed[f.gpid] = &closedReplica{disk: f.disk, dir: f.dir, unread: true}
		case f.err != nil:
			failed = append(failed, f)
		}
	}
	if len(failed) > 1 && 2*len(failed) > len(all) {
		var texts []string
		for _, f := range failed[:min(len(failed), 5)] {
			texts = append(texts, f.err.Error())
		}
		s.adopt(all)
		return fmt.Errorf("%d of the %d replicas of this server cannot be loaded, which is too many to go on: %s. "+
			"Look for the common cause (disk, file permissions, an older program). To start without them, "+
			"move their directories out of reps by hand and let the node learn them again, one node at a time",
			len(failed), len(all), strings.Join(texts, "; "))
	}
	for _, f := range failed {
		s.log.Error("a replica cannot be loaded and is set aside; the node learns it again from another server",
			"gpid", f.gpid, "dir", f.dir, "err", f.err)
		if err := s.setAside(f.disk, f.name, errSuffix); err != nil {
			s.log.Error("cannot set a replica aside; move the directory away by hand", "dir", f.dir, "err", err)
			s.disks.fail(f.disk, err)
		}
	}
	n := s.adopt(all)
	s.log.Info("replicas loaded", "replicas", n, "failed", len(failed), "took", time.Since(start))
	return nil
}

// skip passes over a name that is no replica, and removes what an interrupted creation left.
func (s *Server) skip(d *disk, name string) {
	if head, ok := strings.CutSuffix(name, tmpSuffix); ok {
		if _, ok := parseDirName(head); ok {
			if err := s.opts.FS.RemoveAll(s.opts.FS.PathJoin(d.reps, name)); err != nil {
				s.log.Warn("cannot remove an unfinished replica", "dir", name, "err", err)
			}
			return
		}
	}
	s.log.Info("not a replica, passed over", "dir", s.opts.FS.PathJoin(d.reps, name))
}

// dropTwins keeps the newer of two directories of one partition and sets the other aside.
func (s *Server) dropTwins(all []*found) ([]*found, error) {
	best := map[idl.GPID]*found{}
	for _, f := range all {
		other := best[f.gpid]
		if other == nil {
			best[f.gpid] = f
			continue
		}
		keep, drop := other, f
		if s.newer(f, other) {
			keep, drop = f, other
		}
		best[f.gpid] = keep
		s.log.Error("a replica is there twice; the older one is set aside",
			"gpid", f.gpid, "dir", drop.dir, "kept", keep.dir)
		if err := s.setAside(drop.disk, drop.name, errSuffix); err != nil {
			return nil, fmt.Errorf("replica %s is in %s and in %s; the older one, %s, cannot be set aside: %w; move it away by hand",
				f.gpid, keep.dir, drop.dir, drop.dir, err)
		}
	}
	return slices.DeleteFunc(all, func(f *found) bool { return best[f.gpid] != f }), nil
}

// newer compares two directories by what they say of themselves, then by when they changed.
func (s *Server) newer(a, b *found) bool {
	var ia, ib initInfo
	_ = readInfo(s.opts.FS, a.dir, initInfoFile, &ia)
	_ = readInfo(s.opts.FS, b.dir, initInfoFile, &ib)
	when := func(f *found) int64 {
		info, err := s.opts.FS.Stat(s.opts.FS.PathJoin(f.dir, plogName))
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	return cmp.Or(cmp.Compare(ia.Ballot, ib.Ballot), cmp.Compare(ia.Durable, ib.Durable),
		cmp.Compare(when(a), when(b))) > 0
}

func (s *Server) loadParallel(ctx context.Context, all []*found) error {
	var g errgroup.Group
	for _, d := range s.disks.all {
		g.Go(func() error {
			var g errgroup.Group
			g.SetLimit(s.opts.LoadsPerDisk)
			for _, f := range all {
				if f.disk != d {
					continue
				}
				g.Go(func() error {
					if ctx.Err() == nil {
						f.replica, f.err = s.load(f.gpid, f.disk, f.dir)
					}
					return ctx.Err()
				})
			}
			return g.Wait()
		})
	}
	return g.Wait()
}

// adopt starts the loops of what was loaded and returns how many that are.
func (s *Server) adopt(all []*found) int {
	var rs []*replica
	for _, f := range all {
		if f.replica != nil {
			s.disks.hold(f.disk, f.gpid)
			rs = append(rs, f.replica)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.host(rs...)
	for _, r := range rs {
		go r.run()
	}
	return len(rs)
}

// setAside renames the directory of a replica that is not open.
func (s *Server) setAside(d *disk, name, suffix string) error {
	fs := s.opts.FS
	to := setAsideName(name, suffix, time.Now())
	if err := fs.Rename(fs.PathJoin(d.reps, name), fs.PathJoin(d.reps, to)); err != nil {
		return err
	}
	if suffix == errSuffix {
		s.metrics.setAside.Inc()
	}
	return syncDir(fs, d.reps)
}

// load opens a replica from its directory. Its loop does not run yet.
func (s *Server) load(g idl.GPID, d *disk, dir string) (_ *replica, err error) {
	fs := s.opts.FS
	app, err := readAppInfo(fs, dir)
	if err != nil {
		return nil, fmt.Errorf("replica %s in %s: %w", g, dir, err)
	}
	if app.AppID != g.AppID {
		return nil, fmt.Errorf("replica %s in %s: %s belongs to table %d", g, dir, appInfoFile, app.AppID)
	}
	var init initInfo
	if err := readInfo(fs, dir, initInfoFile, &init); err != nil {
		return nil, fmt.Errorf("replica %s in %s: %w", g, dir, err)
	}
	r := s.newReplica(g, d, dir, app)
	db, err := s.openEngine(g, dir, d, r.onEngineError)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.cancel()
			err = errors.Join(err, db.CloseWithoutFlush())
		}
	}()
	replay := pacifica.NewReplay(db.Applied())
	log, err := plog.Open(plog.Options{
		FS: fs, Dir: fs.PathJoin(dir, plogName), SegmentBytes: s.opts.PlogSegmentBytes, Sync: s.opts.PlogSync,
		ReserveBytes: s.opts.PlogReserveBytes, ReserveAge: s.opts.PlogReserveAge, Log: r.log,
	}, db.Applied(), func(e plog.Entry) error {
		ms, err := replay.Add(e.Data)
		if err != nil {
			return err
		}
		for _, m := range ms {
			if err := db.Apply(m.Decree, m.Timestamp, m.Payload, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("replica %s: replay the private log in %s: %w", g, fs.PathJoin(dir, plogName), err)
	}
	r.plog = log
	r.setEnvs(db)
	r.db.Store(db)
	r.core = pacifica.New(s.params(app), replay.Restored(init.Ballot))
	st := r.core.Status()
	r.status = st
	if all := r.checkpoints(); len(all) > 0 {
		r.checkpoint.lastMade.Store(all[len(all)-1])
	}
	if err := r.clearUnfinished(); err != nil {
		r.log.Warn("cannot remove what an interrupted task left", "dir", dir, "err", err)
	}
	r.measure()
	r.log.Debug("replica loaded", "ballot", st.Ballot, "committed", st.Committed, "prepared", st.Prepared)
	return r, nil
}

// clearUnfinished removes unfinished checkpoints and copies.
func (r *replica) clearUnfinished() error {
	fs := r.server.opts.FS
	err := fs.RemoveAll(fs.PathJoin(r.dir, learnName))
	data := fs.PathJoin(r.dir, dataName)
	names, lerr := fs.List(data)
	if lerr != nil {
		return errors.Join(err, lerr)
	}
	for _, name := range names {
		if strings.HasPrefix(name, checkpointTmp) {
			err = errors.Join(err, fs.RemoveAll(fs.PathJoin(data, name)))
		}
	}
	return err
}

func (s *Server) openEngine(g idl.GPID, dir string, d *disk, onError func(error)) (*engine.DB, error) {
	o := &s.opts
	return engine.Open(engine.Options{
		FS: o.FS, Dir: o.FS.PathJoin(dir, dataName), GPID: g, Server: o.Self.String(), Shared: s.shared,
		Log: s.log, OnError: onError,
		IterationThreshold: o.IterationThreshold, MultiGetMaxIteration: o.MultiGetMaxIteration,
		MultiGetMaxBytes: o.MultiGetMaxBytes, ScanMaxIteration: o.ScanMaxIteration,
	})
}

func (s *Server) params(app idl.AppInfo) pacifica.Params {
	o := &s.opts
	p := pacifica.DefaultParams()
	p.Self = o.Self
	p.MinReplicas = newTable(app, o.MinReplicas).minReplicas
	p.Window = o.Staleness
	p.PrepareTimeout = o.PrepareTimeout
	p.LearnerPrepareTimeout = o.PrepareTimeout * 5 / 3
	p.GroupCheckInterval = o.GroupCheckInterval
	p.LearnerSilence = max(p.LearnerSilence, 3*o.GroupCheckInterval)
	p.CacheMutations = o.PrepareListSize
	return p
}

// newReplica makes a replica without engine, log and state machine.
func (s *Server) newReplica(g idl.GPID, d *disk, dir string, app idl.AppInfo) *replica {
	r := &replica{
		server: s, gpid: g, dir: dir, disk: d, log: s.log.With("gpid", g.String()),
		ended: make(chan struct{}),
	}
	r.checkpoint.making = make(chan struct{}, 1)
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(s.ctx))
	r.inbox.init()
	r.table.Store(newTable(app, s.opts.MinReplicas))
	r.gate.Store(&gate{status: idl.PsInactive})
	return r
}

// onEngineError is called from inside the storage engine and must not wait.
func (r *replica) onEngineError(err error) {
	r.post(func(now time.Time) { r.fail(now, err) })
}

// setEnvs makes the table's environment effective in the engine.
func (r *replica) setEnvs(db *engine.DB) {
	t := r.table.Load()
	db.SetEnvs(t.info.Envs)
	db.SetPartitionCount(t.info.PartitionCount)
}
