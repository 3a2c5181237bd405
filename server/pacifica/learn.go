// SPDX-License-Identifier: Apache-2.0

package pacifica

import (
	"fmt"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// addLearner begins to help a node on the primary.
func (r *Replica) addLearner(node NodeID, signature int64) error {
	if node.IsZero() || r.config.RoleOf(node) != RoleInactive {
		return idl.ErrInvalidState
	}
	if r.peer(node) != nil {
		return nil
	}
	p := &peer{node: node, role: RoleLearner, signature: signature, contact: r.now}
	r.peers = append(r.peers, p)
	r.check(p)
	return nil
}

// Learn answers a learner on the primary. Errors (idl.ErrorCode): ErrInvalidState not primary,
// ErrObjectNotFound unknown learner, ErrWrongChecksum other signature, ErrInconsistentState the
// learner knows more to be committed than the primary does yet (ask again).
func (r *Replica) Learn(now time.Time, q LearnRequest) (LearnPlan, error) {
	r.now = now
	if r.role != RolePrimary {
		return LearnPlan{}, idl.ErrInvalidState
	}
	p := r.peer(q.Node)
	switch {
	case p == nil || p.role != RoleLearner:
		return LearnPlan{}, idl.ErrObjectNotFound
	case p.signature != q.Signature:
		return LearnPlan{}, idl.ErrWrongChecksum
	}
	p.greeted, p.contact = true, now
	plan := LearnPlan{Ballot: r.ballot, Committed: r.committed, Start: q.Committed + 1}
	switch {
	case q.Committed > r.list.last():
		plan.Start, plan.Discard = 1, true
		p.pin = r.committed + 1
	case q.Committed > r.committed:
		return LearnPlan{}, idl.ErrInconsistentState
	case plan.Start > r.committed:
		plan.Cached = true
		p.pin = plan.Start
	case r.list.at(plan.Start) != nil:
		plan.Cached = true
		plan.Mutations = append(plan.Mutations, r.list.from(plan.Start, r.committed)...)
		p.pin = plan.Start
	default:
		p.pin = r.committed + 1
	}
	return plan, nil
}

// LearnerDone reports on the primary that a learner has all it was shipped up to prepared and
// takes prepares, or with err that it failed (RPC_LEARN_COMPLETION_NOTIFY).
func (r *Replica) LearnerDone(now time.Time, node NodeID, signature, prepared int64, err idl.ErrorCode) error {
	r.now = now
	if r.role != RolePrimary {
		return idl.ErrInvalidState
	}
	p := r.peer(node)
	switch {
	case p == nil || p.role != RoleLearner:
		return idl.ErrObjectNotFound
	case p.signature != signature:
		return idl.ErrWrongChecksum
	}
	p.contact = now
	if !err.OK() {
		r.giveUp(p, "learning failed: "+err.Error())
		return nil
	}
	p.greeted = true
	r.goLive(p, prepared)
	r.check(p) // the answer says what is in its log
	return nil
}

// goLive begins to send prepares to a learner that has everything up to a decree.
func (r *Replica) goLive(p *peer, prepared int64) {
	if !p.live {
		p.live, p.next, p.since = true, max(prepared, p.acked)+1, r.now
	}
}

// upgradeLearners lets learners that have caught up count, and asks for their upgrade. Before the
// take-over is committed, what earlier primaries committed may not be known to be so: a learner
// that has everything known could then become primary without the rest.
func (r *Replica) upgradeLearners() {
	for _, p := range r.peers {
		if p.role != RoleLearner || !p.live || p.acked < r.committed || r.committed < r.takeover {
			continue
		}
		if p.start == 0 {
			p.start = r.committed + 1
		}
		if r.change == nil {
			next := Config{Ballot: r.ballot + 1, Primary: r.p.Self}
			next.Secondaries = append(append(next.Secondaries, r.config.Secondaries...), p.node)
			r.upgrading = p.node
			r.request(ChangeUpgradeToSecondary, p.node, next)
		}
	}
}

// pinned returns the first decree that learners need in the cache.
func (r *Replica) pinned() int64 {
	first := r.list.next
	for _, p := range r.peers {
		if p.role == RoleLearner && p.live {
			first = min(first, p.acked+1)
		} else if p.pin > 0 {
			first = min(first, p.pin)
		}
	}
	return first
}

// stepAddLearner makes this replica a learner of the sender.
func (r *Replica) stepAddLearner(m Message) {
	ack := Message{Type: MsgAddLearnerAck, To: m.From, Signature: m.Signature, Reply: m.Reply}
	ack.Err = r.acceptLearning(&m)
	ack.Role, ack.Committed, ack.Prepared = r.role, r.committed, r.matched
	r.send(ack)
}

func (r *Replica) acceptLearning(m *Message) idl.ErrorCode {
	switch {
	case m.Ballot < r.ballot:
		return idl.ErrVersionOutdated
	case m.From.IsZero() || m.From == r.p.Self:
		return idl.ErrInvalidParameters
	case r.role == RoleError:
		return idl.ErrInvalidState
	case !r.leased():
		return idl.ErrInactiveState
	case r.role == RoleLearner && r.signature == m.Signature && r.primary == m.From:
		r.ballot, r.heard = m.Ballot, r.now
		return idl.ErrOK
	case m.Ballot == r.ballot && (r.transient || r.role == RolePrimary || r.role == RoleSecondary):
		return idl.ErrInvalidState // a member of this very ballot is no learner
	}
	r.leave(RoleLearner)
	r.know(m.Config)
	r.ballot, r.primary = m.Ballot, m.From
	r.signature, r.heard = m.Signature, r.now
	// What is beyond the commit point may differ from what the group has agreed on since.
	r.list.cut(r.committed)
	r.matched = r.committed
	r.event(EventLearnStart, m.From, "")
	return idl.ErrOK
}

// learning checks that a result of learning belongs to the learner this replica is now.
func (r *Replica) learning(signature int64) error {
	if r.role != RoleLearner || r.signature != signature {
		return fmt.Errorf("learner %d is obsolete: %w", signature, idl.ErrWrongChecksum)
	}
	return nil
}

// Learned installs committed mutations on the learner; those it has already are skipped. last is
// set for those from the cache of the primary (LearnPlan.Cached): the learner takes prepares from
// now on. An error means that learning has to start again or is obsolete.
func (r *Replica) Learned(now time.Time, signature int64, ms []*Mutation, last bool) error {
	r.now = now
	if err := r.learning(signature); err != nil {
		return err
	}
	for _, m := range ms {
		if m.Decree <= r.committed {
			continue
		}
		if m.Decree != r.committed+1 || r.learnDone {
			return fmt.Errorf("learn decree %d behind %d: %w", m.Decree, r.committed, idl.ErrInconsistentState)
		}
		r.append(m)
		r.learnSeq = r.filling
		r.commit(m.Decree)
	}
	if last {
		r.learnDone = true
	}
	return nil
}

// CheckpointInstalled reports on the learner that the engine was replaced by a checkpoint. The
// shell resets the private log afterwards (before, if LearnPlan.Discard); log writes still under
// way must have ended.
func (r *Replica) CheckpointInstalled(now time.Time, signature, decree int64) error {
	r.now = now
	if err := r.learning(signature); err != nil {
		return err
	}
	if r.learnDone {
		return fmt.Errorf("install checkpoint at decree %d in a learner that takes prepares: %w", decree, idl.ErrInvalidState)
	}
	r.list.reset(decree + 1)
	r.committed, r.matched = decree, decree
	return nil
}

// LearnFailed ends learning; the replica becomes inactive and waits to be added again.
func (r *Replica) LearnFailed(now time.Time, signature int64) {
	r.now = now
	if r.learning(signature) == nil {
		r.leave(RoleInactive)
	}
}
