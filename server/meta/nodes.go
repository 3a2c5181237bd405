// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"slices"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/guardian"
)

// beacon handles RPC_FD_FAILURE_DETECTOR_PING. A nil answer is none at all.
func (s *Server) beacon(q *idl.BeaconMsg) *idl.BeaconAck {
	ack := &idl.BeaconAck{TimeMs: q.TimeMs, ThisNode: s.o.Self, Allowed: true}
	l := s.leader
	if l == nil {
		// A leader that has not read its state yet is not named either: it cannot say who
		// lives, so nobody should count on it.
		if a := s.election.Leader(); a != s.o.Self {
			ack.PrimaryNode = a
		}
		return ack
	}
	ack.PrimaryNode, ack.IsMaster = s.o.Self, true
	v, restarted := l.fd.beacon(q.FromNode, q.StartTimeMs, time.Now())
	switch v {
	case beatRefused:
		l.log.Warn("node is not on the allow list", "node", q.FromNode)
		ack.Allowed, ack.IsMaster = false, false
		return ack
	case beatIgnored:
		l.log.Warn("node restarts too often, its beacons are not answered until it stays up", "node", q.FromNode)
		return nil
	}
	if restarted {
		l.nodeRestarted(q.FromNode)
	}
	if v == beatJoined {
		l.nodeAlive(q.FromNode)
	}
	return ack
}

// checkNodes looks for nodes that have fallen silent.
func (l *leader) checkNodes(now time.Time) {
	for _, a := range l.fd.check(now) {
		l.nodeDead(a)
	}
}

func (l *leader) nodeAlive(a idl.RPCAddress) {
	n := l.node(a)
	if n.lost {
		l.lost--
	}
	n.alive, n.lost = true, false
	l.up++
	l.showNode(n)
	now := time.Now()
	if l.joinedOne.IsZero() {
		l.joinedOne = now
	}
	l.joinedLast = now
	l.log.Info("node is alive", "node", a, "alive", l.up, "dead", l.lost)
	l.cureSoon(joinDebounce)
	l.cureAt(l.gatherUntil().Add(time.Millisecond))
}

func (l *leader) nodeDead(a idl.RPCAddress) {
	n := l.node(a)
	n.alive, n.lost, n.collected = false, true, false
	l.up--
	l.lost++
	l.showNode(n)
	l.log.Warn("node is dead: no beacon within the grace period", "node", a, "grace", l.fd.grace, "alive", l.up, "dead", l.lost)
	l.cureSoon(0)
}

// nodeRestarted is for a node whose process was replaced, dead or not in between: the new one
// has none of the roles of the old one.
func (l *leader) nodeRestarted(a idl.RPCAddress) {
	n := l.node(a)
	n.collected = false
	l.showNode(n)
	l.log.Warn("node has restarted, its roles are given to others", "node", a, "partitions", len(n.roles))
	for p := range n.roles {
		if !slices.Contains(p.gone, a) {
			p.gone = append(p.gone, a)
		}
		l.markDirty(p)
	}
}

// showNode makes the state of a node known to guardian and to the next snapshot.
func (l *leader) showNode(n *node) {
	l.round.View.Nodes[n.addr] = guardian.Node{Alive: n.alive, Collected: n.collected}
	l.changed = true
}
