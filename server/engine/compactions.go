// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// compactionGate is the pebble.CompactionScheduler of one DB. It lets a compaction start when
// the process has a free slot and Pebble sees work for one more in this DB; otherwise the DB is
// served, in turn with the others, when a slot becomes free. Pebble's default scheduler knows one
// DB only and keeps a ticking goroutine for each.
//
// Locks: Pebble may hold DB.mu when it calls TrySchedule, so Shared.mu comes after DB.mu and is
// never held when a DB is called (GetAllowedWithoutPermission, which takes no lock, excepted).
type compactionGate struct {
	shared *Shared

	// The rest is guarded by shared.mu.
	db      pebble.DBForCompaction // nil before Register and after Unregister
	running int
}

var (
	_ pebble.CompactionScheduler   = (*compactionGate)(nil)
	_ pebble.CompactionGrantHandle = (*compactionGate)(nil)
)

// Register implements pebble.CompactionScheduler.
func (g *compactionGate) Register(_ int, db pebble.DBForCompaction) {
	g.shared.mu.Lock()
	defer g.shared.mu.Unlock()
	g.db = db
	g.shared.gates = append(g.shared.gates, g)
}

// Unregister implements pebble.CompactionScheduler: it waits for a call of the DB to return.
func (g *compactionGate) Unregister() {
	s := g.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	g.db = nil
	s.gates = slices.DeleteFunc(s.gates, func(x *compactionGate) bool { return x == g })
	for s.visiting == g {
		s.visited.Wait()
	}
}

// TrySchedule implements pebble.CompactionScheduler. When it refuses, Pebble marks the DB as
// waiting under the same DB.mu that grantSlots takes through GetWaitingCompaction, so the slot
// that was taken now will find the DB when it is given back.
func (g *compactionGate) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	g.shared.mu.Lock()
	defer g.shared.mu.Unlock()
	if !g.mayRun() {
		g.shared.refused = true
		return false, nil
	}
	g.running++
	g.shared.compacting++
	return true, g
}

// mayRun reports whether one more compaction may start. shared.mu must be held.
func (g *compactionGate) mayRun() bool {
	return g.db != nil && g.shared.compacting < g.shared.opts.Compactions &&
		g.running < g.db.GetAllowedWithoutPermission()
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler.
func (g *compactionGate) UpdateGetAllowedWithoutPermission() { g.shared.poke() }

// Started implements pebble.CompactionGrantHandle.
func (g *compactionGate) Started() {}

// MeasureCPU implements pebble.CompactionGrantHandle.
func (g *compactionGate) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (g *compactionGate) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done implements pebble.CompactionGrantHandle.
func (g *compactionGate) Done() {
	g.shared.release(g)
	g.shared.poke()
}

func (s *Shared) release(g *compactionGate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.running--
	s.compacting--
}

// grantSlots offers free slots to every DB once. It runs on the goroutine of Shared only.
func (s *Shared) grantSlots() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = false
	// A DB may have been refused the very slot that another was offered and did not want.
	defer func() {
		if s.refused && s.compacting < s.opts.Compactions {
			s.poke()
		}
	}()
	for range len(s.gates) {
		if len(s.gates) == 0 || s.compacting >= s.opts.Compactions {
			return
		}
		// The first in line goes to the end, whether it wants a slot or not.
		g := s.gates[0]
		s.gates = append(s.gates[1:], g)
		for g.mayRun() {
			g.running++
			s.compacting++
			db := g.db
			s.visiting = g
			s.mu.Unlock()
			waiting, _ := db.GetWaitingCompaction()
			accepted := waiting && db.Schedule(g)
			s.mu.Lock()
			s.visiting = nil
			s.visited.Broadcast()
			if !accepted {
				g.running--
				s.compacting--
				break
			}
		}
	}
}
