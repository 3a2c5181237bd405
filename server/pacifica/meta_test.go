// SPDX-License-Identifier: Apache-2.0

package pacifica

import (
	"slices"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// meta is a model of the meta server: one partition, fenced ballots, a failure detector, enough
// cure to bring three replicas back.
type meta struct {
	s       *sim
	config  Config
	drops   []NodeID // oldest first
	states  map[NodeID]*metaNode
	refused string // why no primary can be chosen
	primary NodeID // wanted after a hand-over
}

type metaNode struct {
	start, heard time.Time
	asked        time.Time // when the info was sent
	alive        bool
	info         Status
	collected    bool
}

func (m *meta) run() {
	m.check()
	m.cure()
}

func (m *meta) alive(n NodeID) bool {
	st := m.states[n]
	return st != nil && st.alive
}

func (m *meta) beacon(id NodeID, start time.Time) {
	st := m.states[id]
	if st == nil {
		st = &metaNode{start: start}
		m.states[id] = st
	}
	if start.Before(st.start) {
		return // of a process that is gone
	}
	if start.After(st.start) {
		m.dead(id)
		st.start = start
	}
	st.heard, st.alive = m.s.now, true
}

func (m *meta) check() {
	for _, id := range sortedKeys(m.states) {
		if st := m.states[id]; st.alive && m.s.now.Sub(st.heard) > simGrace {
			m.dead(id)
		}
	}
	m.s.after(8*time.Millisecond, m.check)
}

func (m *meta) dead(id NodeID) {
	m.s.trace("meta: %v is dead", id)
	st := m.states[id]
	st.alive, st.collected = false, false
	switch m.config.RoleOf(id) {
	case RolePrimary:
		m.store(m.config.without(id))
	case RoleSecondary:
		m.propose(ChangeDowngradeToInactive, m.config.Primary, id)
	}
}

// store makes a configuration effective.
func (m *meta) store(c Config) {
	m.s.trace("meta: stores %+v", c)
	for _, n := range append([]NodeID{m.config.Primary}, m.config.Secondaries...) {
		if !n.IsZero() && c.RoleOf(n) == RoleInactive {
			m.drops = append(m.drops, n)
		}
	}
	m.config = c
	m.drops = slices.DeleteFunc(m.drops, func(n NodeID) bool { return c.RoleOf(n) != RoleInactive })
}

func (m *meta) update(from NodeID, c Change) (err idl.ErrorCode, current Config, ok bool) {
	switch {
	case m.s.rng.IntN(20) == 0:
		return "", Config{}, false
	case m.s.rng.IntN(20) == 0:
		return idl.ErrBusy, m.config, true
	case c.Config.Equal(m.config):
		return idl.ErrOK, m.config, true
	case c.Config.Ballot != m.config.Ballot+1:
		return idl.ErrInvalidVersion, m.config, true
	case c.Type == ChangeUpgradeToSecondary && m.s.rng.IntN(10) == 0:
		return idl.ErrInvalidState, m.config, true
	}
	m.s.trace("meta: update %+v from %v", c, from)
	m.store(c.Config)
	if p := m.config.Primary; p != from && !p.IsZero() {
		m.propose(ChangeNone, p, p)
	}
	return idl.ErrOK, m.config, true
}

// sync takes what a node reports and returns the configuration. What a former process of the node
// reported may only arrive now; it must not count for the present one.
func (m *meta) sync(n *node, life int, asked time.Time, info Status) (Config, bool) {
	st := m.states[n.id]
	if st == nil || !st.alive || life != n.life || !n.start.Equal(st.start) || asked.Before(st.asked) {
		return Config{}, false
	}
	st.info, st.asked, st.collected = info, asked, true
	return m.config, true
}

func (m *meta) propose(t ChangeType, to, about NodeID) {
	p := Proposal{Type: t, Node: about, Config: m.config, Signature: m.s.rng.Int64()}
	if m.s.node(to) == nil {
		return
	}
	m.s.to(metaID, to, func(n *node) { n.r.HandleProposal(m.s.now, p) })
}

// swap asks for another primary, or for the removal of a secondary.
func (m *meta) swap() {
	c := m.config
	if c.Primary.IsZero() || len(c.Secondaries) == 0 {
		return
	}
	if m.s.rng.IntN(2) == 0 {
		m.primary = c.Secondaries[m.s.rng.IntN(len(c.Secondaries))]
		m.propose(ChangeDowngradeToSecond, c.Primary, c.Primary)
	} else {
		m.propose(ChangeRemove, c.Primary, c.Secondaries[0])
	}
}

// cure is the partition guardian for this partition.
func (m *meta) cure() {
	m.refused = ""
	c := m.config
	switch {
	case c.Primary.IsZero() && len(c.Secondaries) > 0:
		var alive []NodeID
		for _, n := range c.Secondaries {
			if m.alive(n) {
				alive = append(alive, n)
			}
		}
		if slices.Contains(alive, m.primary) {
			m.propose(ChangeUpgradeToPrimary, m.primary, m.primary)
		} else if len(alive) > 0 {
			n := alive[m.s.rng.IntN(len(alive))]
			m.propose(ChangeUpgradeToPrimary, n, n)
		}
	case c.Primary.IsZero():
		if n := m.choose(); n != 0 {
			m.propose(ChangeAssignPrimary, n, n)
		}
	case c.Members() < 3:
		for _, i := range m.s.rng.Perm(len(m.s.nodes)) {
			if n := m.s.nodes[i].id; m.alive(n) && c.RoleOf(n) == RoleInactive {
				m.propose(ChangeAddSecondary, c.Primary, n)
				break
			}
		}
	}
	for _, n := range c.Secondaries {
		if !m.alive(n) && !c.Primary.IsZero() {
			m.propose(ChangeDowngradeToInactive, c.Primary, n)
		}
	}
	m.s.after(15*time.Millisecond, m.cure)
}

// choose picks the first primary of a partition that has no member.
func (m *meta) choose() NodeID {
	switch len(m.drops) {
	case 0:
		for _, n := range m.s.nodes {
			if m.alive(n.id) {
				return n.id
			}
		}
		return 0
	case 1:
		if m.alive(m.drops[0]) {
			return m.drops[0]
		}
		return 0
	}
	a, b := m.drops[len(m.drops)-2], m.drops[len(m.drops)-1]
	sa, sb := m.states[a], m.states[b]
	if !m.alive(a) || !m.alive(b) || !sa.collected || !sb.collected {
		return 0
	}
	ia, ib := sa.info, sb.info
	// The one with the larger ballot need not know as much to be committed (commit points are
	// logged one mutation late), but must have it.
	if ia.MemberBallot > ib.MemberBallot && ia.Prepared < ib.Committed ||
		ib.MemberBallot > ia.MemberBallot && ib.Prepared < ia.Committed {
		m.refused = "larger ballot with less data"
		return 0
	}
	switch {
	case ia.MemberBallot != ib.MemberBallot:
		if ia.MemberBallot > ib.MemberBallot {
			return a
		}
	case ia.Committed != ib.Committed:
		if ia.Committed > ib.Committed {
			return a
		}
	case ia.Prepared > ib.Prepared:
		return a
	}
	return b
}
