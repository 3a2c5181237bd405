// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/engine"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// A Server is the replica role of a process.
type Server struct {
	opts        Options
	log         *slog.Logger
	disks       *disks
	shared      *engine.Shared
	detector    *detector
	inboxLimits inboxLimits

	reads   *wire.Pool // scans and other long reads
	openers *wire.Pool // opening and making replicas
	copies  *wire.Pool // reading files for learners
	chores  *wire.Pool // checkpoints, removal
	closers *wire.Pool // closing replicas, which must not wait for long chores

	learnSlots chan struct{} // one for each checkpoint being copied
	learning   atomic.Int64  // learns under way
	closing    atomic.Int64  // replicas being closed
	leaves     atomic.Int64  // requests to leave a configuration under way
	signature  atomic.Int64  // the last one given to a learner

	metrics serverMetrics

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // the server's own goroutines and tasks
	stop   sync.Once

	// hosted is replaced as a whole under mu; requests read it without a lock.
	hosted atomic.Pointer[map[idl.GPID]*replica]

	mu       sync.Mutex
	opening  map[idl.GPID]*opening
	closed   map[idl.GPID]*closedReplica // directories here that nothing has open
	mayEmpty map[idl.GPID]bool           // told to begin empty although there is a history
	ending   bool

	activeMu sync.Mutex
	active   []*replica
	activity chan struct{} // capacity 1: active is no longer empty

	sync chan struct{} // capacity 1: ask the meta server soon
}

// A closedReplica is a directory with a replica that is not open.
type closedReplica struct {
	disk *disk
	dir  string
	app  idl.AppInfo
	info idl.ReplicaInfo
	// unread: it could not be opened and says nothing about its content, but may later.
	unread bool
}

// Start opens the data dirs, loads every replica in them, and then begins to serve and to send
// beacons: the meta server sees the node only after everything is loaded.
func Start(ctx context.Context, o Options) (*Server, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	ds, err := openDisks(o.FS, o.DataDirs, o.IgnoreBrokenDisk, o.DiskMinAvailable, o.Log)
	if err != nil {
		return nil, fmt.Errorf("replica server: %w", err)
	}
	s := &Server{
		opts: o, log: o.Log, disks: ds,
		shared:      engine.NewShared(o.Engine),
		detector:    newDetector(&o),
		inboxLimits: inboxLimits{o.InboxWrites, o.InboxBytes},
		reads:       wire.NewPool(o.ReadWorkers, o.ReadQueue),
		openers:     wire.NewPool(4, 10000),
		copies:      wire.NewPool(4, 1000),
		chores:      wire.NewPool(2, 100000),
		closers:     wire.NewPool(8, 100000),
		learnSlots:  make(chan struct{}, o.LearnMax),
		opening:     map[idl.GPID]*opening{},
		closed:      map[idl.GPID]*closedReplica{},
		mayEmpty:    map[idl.GPID]bool{},
		activity:    make(chan struct{}, 1),
		sync:        make(chan struct{}, 1),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.hosted.Store(&map[idl.GPID]*replica{})
	s.detector.connected = func(idl.RPCAddress) { s.tickAll(); s.syncSoon() }
	s.detector.lost = s.loseLease

	s.measure()
	if err := s.loadAll(ctx); err != nil {
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	s.handleReads()
	s.handleWrites()
	s.handleMessages()
	s.handleConfig()
	s.handleQueries()
	s.registerCommands()

	s.wg.Go(func() { s.detector.run(s.ctx) })
	s.wg.Go(func() { s.syncLoop(s.ctx) })
	s.wg.Go(func() { s.clock(s.ctx) })
	return s, nil
}

// Stop closes every replica, with a flush, and everything else. The answers of requests that
// come later make clients look for another server. Replicas that cannot be closed before ctx
// ends are left as a crash would leave them.
func (s *Server) Stop(ctx context.Context) (err error) {
	s.stop.Do(func() {
		s.mu.Lock()
		s.ending = true
		s.mu.Unlock()
		s.cancel()
		s.wg.Wait()
		s.mu.Lock()
		all := *s.hosted.Load()
		s.hosted.Store(&map[idl.GPID]*replica{})
		s.mu.Unlock()
		s.leaveAll(ctx, all)
		errs := make(chan error, len(all))
		for _, r := range all {
			go func() { errs <- r.stop(ctx) }()
		}
		for range all {
			err = errors.Join(err, <-errs)
		}
		if err == nil {
			s.shared.Close()
		}
		s.disks.close()
		s.log.Info("replica server stopped", "replicas", len(all))
	})
	return err
}

// leaveTimeout bounds the farewell of a server that is being stopped.
const leaveTimeout = 2 * time.Second

// leaveAll takes this node out of all configurations, so that other servers take over at once
// and need not wait until this one is found dead.
func (s *Server) leaveAll(ctx context.Context, all map[idl.GPID]*replica) {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, r := range all {
		wg.Go(func() {
			_ = r.call(ctx, func(now time.Time) error { r.core.Fail(now); return nil })
			_ = r.call(ctx, func(time.Time) error { return nil }) // what came out of it has been sent
		})
	}
	wg.Wait()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for s.leaves.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// replica returns the open replica of a partition, nil if there is none.
func (s *Server) replica(g idl.GPID) *replica { return (*s.hosted.Load())[g] }

// absent is the error for a request to a partition that has no open replica here: clients look
// for another server either way, but a directory means that it is only not in service now.
func (s *Server) absent(g idl.GPID) idl.ErrorCode {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed[g] != nil || s.opening[g] != nil {
		return idl.ErrInvalidState
	}
	return idl.ErrObjectNotFound
}

// replicas returns the open replicas; the map must not be changed.
func (s *Server) replicas() map[idl.GPID]*replica { return *s.hosted.Load() }

// host makes replicas reachable. s.mu is held.
func (s *Server) host(rs ...*replica) {
	next := maps.Clone(*s.hosted.Load())
	for _, r := range rs {
		next[r.gpid] = r
	}
	s.hosted.Store(&next)
}

// unhost is the opposite of host. s.mu is held.
func (s *Server) unhost(r *replica) {
	if (*s.hosted.Load())[r.gpid] != r {
		return
	}
	next := maps.Clone(*s.hosted.Load())
	delete(next, r.gpid)
	s.hosted.Store(&next)
}

// background runs f on a pool unless the server is stopping. Stop waits for it.
func (s *Server) background(pool *wire.Pool, f func()) {
	s.mu.Lock()
	if s.ending {
		s.mu.Unlock()
		return
	}
	s.wg.Add(1)
	s.mu.Unlock()
	if !pool.Submit(func() { defer s.wg.Done(); f() }) {
		s.wg.Done()
		s.log.Error("too much waits to be done in the background; a task was dropped")
	}
}

func (s *Server) loseLease() {
	for _, r := range s.replicas() {
		r.post(func(now time.Time) { r.core.LoseLease(now) })
	}
}

// Counts are the replicas of a server by role.
type Counts struct {
	Primaries, Secondaries, Learners, Inactive, Closed int
}

// Counts returns how many replicas there are.
func (s *Server) Counts() Counts {
	var c Counts
	for _, r := range s.replicas() {
		switch r.gate.Load().status {
		case idl.PsPrimary:
			c.Primaries++
		case idl.PsSecondary:
			c.Secondaries++
		case idl.PsPotentialSecondary:
			c.Learners++
		default:
			c.Inactive++
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Closed = len(s.closed)
	return c
}
