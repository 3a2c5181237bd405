// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"hash/fnv"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

const (
	// fastTick is the rhythm of replicas that wait for something, slowTick that of the others.
	fastTick = 100 * time.Millisecond
	slowTick = time.Second
	// activeFor is how long a replica stays active after the last sign of work.
	activeFor = time.Second
)

// activate gives a replica fast ticks until nothing happens any more.
func (s *Server) activate(r *replica) {
	s.activeMu.Lock()
	if r.active.Swap(true) {
		s.activeMu.Unlock()
		return
	}
	s.active = append(s.active, r)
	s.activeMu.Unlock()
	select {
	case s.activity <- struct{}{}:
	default:
	}
}

// tickActive ticks those that are active and forgets those that no longer are; it reports
// whether any are left.
func (s *Server) tickActive() bool {
	now := s.detector.now()
	s.activeMu.Lock()
	defer s.activeMu.Unlock()
	kept := s.active[:0]
	for _, r := range s.active {
		if r.busyUntil.Load() < now {
			r.active.Store(false)
			if r.busyUntil.Load() < now { // else it did not see that it has to come back
				continue
			}
			r.active.Store(true)
		}
		kept = append(kept, r)
		r.inbox.postTick()
	}
	clear(s.active[len(kept):])
	s.active = kept
	return len(kept) > 0
}

func (s *Server) tickAll() {
	for _, r := range s.replicas() {
		r.inbox.postTick()
	}
}

// clock is the only timer of all replicas together.
func (s *Server) clock(ctx context.Context) {
	timer := time.NewTimer(slowTick)
	defer timer.Stop()
	slow := time.Now().Add(slowTick)
	disks := time.Now().Add(s.opts.DiskStatInterval)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.activity:
			if time.Until(slow) > fastTick {
				timer.Reset(fastTick)
			}
			continue
		case <-timer.C:
		}
		busy := s.tickActive()
		now := time.Now()
		if !now.Before(slow) {
			slow = now.Add(slowTick)
			s.tickAll()
			s.closeUnused()
			s.scheduleMaintenance()
		}
		if !now.Before(disks) {
			disks = now.Add(s.opts.DiskStatInterval)
			s.background(s.chores, s.lookAtDisks)
		}
		next := time.Until(slow)
		if busy {
			next = min(next, fastTick)
		}
		timer.Reset(max(next, 0))
	}
}

// scheduleMaintenance starts the periodic work of replicas whose time has come. The first time
// of each is spread over the whole interval.
func (s *Server) scheduleMaintenance() {
	now := s.detector.now()
	every := int64(s.opts.CheckpointEvery)
	for g, r := range s.replicas() {
		due := r.checkpoint.next.Load()
		if due == 0 {
			r.checkpoint.next.Store(now + 1 + spread(g)%every)
			continue
		}
		if now < due {
			// A log that grows quickly does not wait.
			if r.plog.Size() < s.opts.plogLimit() || now < due-every+int64(10*time.Second) {
				continue
			}
		}
		r.checkpoint.next.Store(now + every)
		s.background(s.chores, func() {
			if !r.inbox.enter(&r.tasks) {
				return
			}
			defer r.tasks.Done()
			if err := r.maintain(s.ctx, false); err != nil && s.ctx.Err() == nil {
				r.log.Warn("maintenance of a replica's files failed", "dir", r.dir, "err", err)
			}
		})
	}
}

func spread(g idl.GPID) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(g.String()))
	return int64(h.Sum64() >> 1)
}
