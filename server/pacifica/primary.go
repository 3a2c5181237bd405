// SPDX-License-Identifier: Apache-2.0

package pacifica

import (
	"slices"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// A leader is what a replica knows as primary. A suspended primary keeps it.
type leader struct {
	peers []*peer

	barrier  int64 // reads need everything up to here committed
	takeover int64 // decree of the empty mutation proposed at the take-over

	// change is what the meta server was asked for, nil = nothing. A secondary or inactive
	// replica has one too, when it wants to become primary or to be taken out.
	change *pending
	// upgrading is the learner that any pending or abandoned change of this ballot may make a
	// secondary: nothing is committed without it.
	upgrading NodeID

	checked time.Time // last group check
}

// A peer is a secondary or a learner in the eyes of its primary.
type peer struct {
	node      NodeID
	role      Role
	signature int64 // of a learner

	acked int64 // the peer's log has everything up to here
	next  int64 // first decree to be sent
	high  int64 // last decree that was ever sent
	told  int64 // commit point it was last told

	live    bool  // receives prepares; learners only after they said so
	start   int64 // of a learner: commits from here on need its acknowledgement; 0 = none yet
	pin     int64 // of a learner: first decree to keep in the cache for it; 0 = none
	greeted bool  // the learner has answered

	sent    time.Time // last message
	since   time.Time // last progress while something was outstanding
	rewound time.Time // last time prepares were sent again
	contact time.Time // last answer
}

func (p *peer) outstanding() bool { return p.live && p.acked < p.high }

func (r *Replica) peer(n NodeID) *peer {
	for _, p := range r.peers {
		if p.node == n {
			return p
		}
	}
	return nil
}

// becomePrimary adopts a configuration in which this replica is the primary.
func (r *Replica) becomePrimary(c Config) {
	// Nobody else was primary between one of our ballots and the next: the members are in step,
	// and what they acknowledged counts on.
	goesOn := r.wasPrimary() && c.Ballot == r.ballot+1
	old := r.leader
	if r.role == RoleLearner {
		r.event(EventLearnStop, r.primary, "")
	}
	r.refuseWaits(idl.ErrTryAgain)
	r.role, r.transient, r.resume = RolePrimary, false, 0
	r.adopt(c.Ballot, r.p.Self)
	r.config = c
	r.event(EventRole, 0, "")

	r.leader = leader{}
	if goesOn {
		r.barrier, r.takeover = old.barrier, old.takeover
	} else {
		r.barrier = r.list.last()
	}
	for _, n := range c.Secondaries {
		p := &peer{node: n, acked: r.committed, next: r.committed + 1, since: r.now, contact: r.now}
		if i := slices.IndexFunc(old.peers, func(p *peer) bool { return p.node == n }); goesOn && i >= 0 {
			p = old.peers[i]
			p.next = p.acked + 1
			if p.role == RoleLearner {
				p.since = r.now
			}
		}
		p.role, p.live, p.start, p.pin = RoleSecondary, true, 0, 0
		r.peers = append(r.peers, p)
	}
	if goesOn {
		for _, p := range old.peers {
			unwanted := p.node == old.upgrading && old.change != nil && old.change.Type == ChangeForceUpdateBallot
			if p.role == RoleLearner && c.RoleOf(p.node) == RoleInactive && !unwanted {
				r.peers = append(r.peers, p)
			}
		}
	} else {
		r.takeover = r.list.next
		r.propose(make([]byte, HeaderSize), nil)
	}
	r.groupCheck()
	r.advance()
}

// Propose gives the next decree to a mutation. buf starts with HeaderSize bytes of room for the
// header and goes on with the payload (nothing = an empty mutation); the replica owns it from now
// on. tag comes back on the committed mutation or in a Failure. Errors are those of CanPropose.
func (r *Replica) Propose(now time.Time, buf []byte, tag any) error {
	if err := r.CanPropose(now); err != nil {
		return err
	}
	if len(buf) < HeaderSize {
		return idl.ErrInvalidParameters
	}
	r.now = now
	r.propose(buf, tag)
	return nil
}

func (r *Replica) propose(buf []byte, tag any) {
	r.timestamp = max(r.now.UnixMicro(), r.timestamp+1)
	m := &Mutation{
		Ballot: r.ballot, Decree: r.list.next, Committed: r.committed, Timestamp: r.timestamp,
		Payload: buf[HeaderSize:], Encoded: buf, Tag: tag,
	}
	m.putHeader(buf)
	r.append(m)
}

// CanPropose returns nil if a mutation can be proposed now. ErrCapacityExceeded (the window is
// full) and ErrTryAgain (a reconfiguration is under way) mean: hold the write back and ask again
// after the next input. ErrInvalidState (not primary, no lease) and ErrNotEnoughMember are for
// the client.
func (r *Replica) CanPropose(now time.Time) error {
	switch {
	case r.role != RolePrimary || !now.Before(r.leaseUntil):
		if r.wasPrimary() && now.Before(r.leaseUntil) {
			return idl.ErrTryAgain // suspended until the configuration is known
		}
		return idl.ErrInvalidState
	case r.handingOver():
		return idl.ErrTryAgain
	case r.config.Members() < r.p.MinReplicas:
		return idl.ErrNotEnoughMember
	case r.change != nil && r.change.Type != ChangeUpgradeToSecondary:
		return idl.ErrTryAgain
	case r.list.last() >= r.committed+int64(r.p.Window):
		return idl.ErrCapacityExceeded
	}
	return nil
}

// handingOver reports whether this primary has asked to be primary no longer.
func (r *Replica) handingOver() bool {
	return r.change != nil && r.change.Config.Primary != r.p.Self
}

func (r *Replica) hasPrepares() bool {
	return slices.ContainsFunc(r.peers, func(p *peer) bool { return p.live && p.next < r.list.next })
}

// sendPrepares sends every live peer what it was not sent yet.
func (r *Replica) sendPrepares() {
	var sharedFrom, sharedTo int64
	var shared []*Mutation
	for _, p := range slices.Clip(r.peers) {
		for p.live && p.next < r.list.next {
			if p.next < r.list.first() {
				p.live = false
				r.giveUp(p, lagging)
				break
			}
			to, bytes := p.next, len(r.list.at(p.next).Encoded)
			for to < r.list.last() {
				if bytes += len(r.list.at(to + 1).Encoded); bytes > r.p.MessageBytes {
					break
				}
				to++
			}
			if sharedFrom != p.next || sharedTo != to {
				out := r.out()
				n := len(out.arena)
				out.arena = append(out.arena, r.list.from(p.next, to)...)
				shared, sharedFrom, sharedTo = out.arena[n:len(out.arena):len(out.arena)], p.next, to
			}
			if !p.outstanding() {
				p.since = r.now
			}
			p.next = to + 1
			p.high = max(p.high, to)
			p.sent, p.told = r.now, r.committed
			r.send(Message{
				Type: MsgPrepare, To: p.node, Role: p.role, Signature: p.signature,
				Committed: r.committed, Mutations: shared,
			})
		}
	}
}

// groupCheck tells every peer configuration and commit point, and learners to begin.
func (r *Replica) groupCheck() {
	r.checked = r.now
	for _, p := range r.peers {
		r.check(p)
	}
}

func (r *Replica) check(p *peer) {
	p.sent, p.told = r.now, r.committed
	t := MsgGroupCheck
	if p.role == RoleLearner && !p.greeted {
		t = MsgAddLearner
	}
	r.send(Message{Type: t, To: p.node, Role: p.role, Signature: p.signature, Committed: r.committed, Config: r.config})
}

// stepAnswer takes an answer of a peer.
func (r *Replica) stepAnswer(m Message) {
	if r.role != RolePrimary {
		return
	}
	if m.Ballot > r.ballot {
		r.suspend("a member has a higher ballot")
		return
	}
	p := r.peer(m.From)
	if p == nil || m.Ballot != r.ballot || m.Signature != p.signature {
		return
	}
	p.contact = r.now
	switch m.Err {
	case idl.ErrOK, "":
		switch {
		case m.Type == MsgAddLearnerAck:
			p.greeted = true
		case m.Type == MsgPrepareAck, m.Role == RoleSecondary && p.role == RoleSecondary:
			r.acknowledge(p, m.Decree)
		case m.Role == RoleLearner && p.role == RoleLearner && m.LearnDone:
			r.goLive(p, m.Prepared)
			r.acknowledge(p, m.Decree)
		}
	case idl.ErrTryAgain:
		r.acknowledge(p, m.Decree)
		// Our commit point comes with the next message, and members take it; an answer that was
		// under way for long may be behind it.
		known := max(m.Prepared, p.acked)
		if p.role == RoleSecondary {
			known = max(m.Prepared, r.committed)
		}
		if m.Type == MsgPrepareAck && known+1 < p.next && r.now.Sub(p.rewound) >= r.p.Retry/10 {
			p.next, p.rewound = known+1, r.now
		}
	case idl.ErrInactiveState, idl.ErrTimeout, idl.ErrNetworkFailure, idl.ErrBusy, idl.ErrVersionOutdated:
		// Tick sends again, until the peer has been silent for too long.
	default:
		r.giveUp(p, m.Err.Error())
	}
}

// acknowledge notes that a peer's log has everything up to a decree.
func (r *Replica) acknowledge(p *peer, decree int64) {
	if decree = min(decree, r.list.last()); decree <= p.acked {
		return
	}
	p.acked, p.since = decree, r.now
	p.next = max(p.next, decree+1)
	r.advance()
}

// advance commits what every member and every learner that counts has in its log.
func (r *Replica) advance() {
	limit := r.list.last()
	for _, p := range r.peers {
		if p.role == RoleSecondary {
			limit = min(limit, p.acked)
		} else if p.start > 0 {
			limit = min(limit, max(p.acked, p.start-1))
		}
	}
	for d := r.committed + 1; d <= limit; d++ {
		if r.list.at(d).seq > r.written {
			limit = d - 1
		}
	}
	r.commit(limit)
	r.upgradeLearners()
}

const lagging = "it needs mutations that are no longer in memory"

// giveUp takes a peer out: a learner at once, a secondary through the meta server.
func (r *Replica) giveUp(p *peer, why string) {
	if p.role == RoleLearner {
		if p.node != r.upgrading {
			r.peers = slices.DeleteFunc(slices.Clone(r.peers), func(q *peer) bool { return q == p })
			r.event(EventPeerFailed, p.node, why)
			r.advance()
		}
		return
	}
	if r.change == nil {
		r.event(EventPeerFailed, p.node, why)
		r.request(ChangeDowngradeToInactive, p.node, r.config.without(p.node))
	}
}
