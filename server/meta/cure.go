// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"slices"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/guardian"
)

// Pauses before a round over all partitions that an event asks for, so that events which come
// together share it.
const (
	flowDebounce = 100 * time.Millisecond
	joinDebounce = 50 * time.Millisecond
	// joinSettle is how long no node must have joined before new partitions are placed,
	// although there are enough nodes for their replicas.
	joinSettle = 300 * time.Millisecond
)

// cureSoon asks for a round over all partitions after a pause.
func (l *leader) cureSoon(pause time.Duration) { l.cureAt(time.Now().Add(pause)) }

func (l *leader) cureAt(t time.Time) {
	if t.Before(l.nextCure) {
		l.nextCure = t
	}
}

// cureAll decides for every partition, those in danger first.
func (l *leader) cureAll() {
	now := time.Now()
	l.nextCure = now.Add(l.s.o.CureInterval)
	l.round.Held = false
	l.refreshView(now)
	clear(l.dirty)
	var later []*partition
	for _, t := range l.sortedTables() {
		for _, p := range t.parts {
			if !p.cfg.Primary.IsZero() && len(p.cfg.Secondaries) > 0 && len(p.actions) == 0 {
				later = append(later, p)
			} else {
				l.cure(p)
			}
		}
	}
	for _, p := range later {
		l.cure(p)
	}
}

// cureDirty decides for the partitions that something has happened to.
func (l *leader) cureDirty() {
	if len(l.dirty) == 0 {
		return
	}
	l.refreshView(time.Now())
	parts := make([]*partition, 0, len(l.dirty))
	for p := range l.dirty {
		parts = append(parts, p)
	}
	clear(l.dirty)
	slices.SortFunc(parts, func(a, b *partition) int { return a.cfg.Pid.Compare(b.cfg.Pid) })
	for _, p := range parts {
		l.cure(p)
	}
}

// refreshView takes over the time and the operator's settings.
func (l *leader) refreshView(now time.Time) {
	v := l.round.View
	v.Now = now
	v.Settings = l.s.knobs.settings()
	v.Settings.MinReplicas = l.s.o.MinWriteReplicas
	v.Settings.GatherUntil = l.gatherUntil()
}

// gatherUntil is when new partitions may be placed: not before a few nodes have had the time to
// connect to a cluster that starts.
func (l *leader) gatherUntil() time.Time {
	if l.joinedOne.IsZero() {
		return time.Time{}
	}
	limit := l.joinedOne.Add(l.s.o.GatherDelay)
	if enough := l.joinedLast.Add(joinSettle); l.up >= l.widestReplicaCount() && enough.Before(limit) {
		return enough
	}
	return limit
}

func (l *leader) widestReplicaCount() int {
	n := 0
	for _, t := range l.tables {
		if t.info.Status == idl.AsAvailable {
			n = max(n, int(t.info.MaxReplicaCount))
		}
	}
	return n
}

// cure takes the next step for one partition.
func (l *leader) cure(p *partition) {
	if !p.free() || p.t.info.Status != idl.AsAvailable {
		return
	}
	level := l.effective()
	if level < idl.FlFreezed {
		return
	}
	gp := &guardian.Partition{Config: p.cfg, Gone: p.gone, Dropped: l.judged(p), Prefer: p.prefer, Pending: p.pending()}
	if level < idl.FlSteady {
		// Who is gone must leave even now: it is what keeps clients from asking them.
		if d := guardian.Decide(l.round.View, gp); d.Do == guardian.DropNode {
			l.clearActions(p)
			l.dropMember(p, d.Action.Node)
		}
		return
	}
	d := l.round.Decide(gp)
	p.prefer = d.Prefer
	if d.Reason != p.reason {
		p.reason = d.Reason
		if d.Reason != "" {
			p.logger(l.log).Info("partition is not cured yet", "reason", d.Reason)
		}
	}
	if d.Do != guardian.Keep && d.Do != guardian.KeepQuiet && len(p.actions) > 0 {
		l.setActions(p, opCure) // over; the round has uncounted it
	}
	switch d.Do {
	case guardian.Keep:
		if time.Since(p.sentAt) >= l.retryAfter(p) {
			l.send(p)
		}
	case guardian.Propose:
		l.setActions(p, opCure, d.Action)
		l.send(p)
	case guardian.DropNode:
		l.dropMember(p, d.Action.Node)
	case guardian.Nothing:
		if !d.Again.IsZero() {
			l.cureAt(d.Again.Add(time.Millisecond))
		}
	}
}
