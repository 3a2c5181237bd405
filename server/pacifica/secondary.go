// SPDX-License-Identifier: Apache-2.0

package pacifica

import "github.com/pegasus-ops/pegasus-ops/server/idl"

// accept decides whether a request from a primary counts here, and adopts its ballot if it is
// newer. Afterwards this replica is a secondary or learner of m.From at m.Ballot, or it returns
// why not. Only a replica that the meta server made primary sends requests, so a higher ballot
// needs no further proof.
func (r *Replica) accept(m *Message) idl.ErrorCode {
	switch {
	case m.Ballot < r.ballot:
		return idl.ErrVersionOutdated
	case m.From.IsZero() || m.From == r.p.Self:
		return idl.ErrInvalidParameters
	case r.transient && (m.Ballot == r.ballot || !r.leased()):
		r.event(EventNeedConfig, 0, "asked to act while inactive")
		return idl.ErrInactiveState
	case r.role == RoleInactive && !r.transient, r.role == RoleError:
		return idl.ErrInvalidState
	}
	if m.Role == RoleLearner {
		if r.role != RoleLearner || m.From != r.primary {
			return idl.ErrInvalidState
		}
		if m.Signature != r.signature {
			return idl.ErrWrongChecksum
		}
		r.ballot, r.heard = m.Ballot, r.now
		return idl.ErrOK
	}
	switch {
	case m.Role != RoleSecondary:
		return idl.ErrInvalidParameters
	case m.Ballot == r.ballot:
		if r.role != RoleSecondary || m.From != r.primary {
			return idl.ErrInvalidState
		}
	case r.role == RoleLearner && (!r.learnDone || m.From != r.primary):
		return idl.ErrInvalidState
	default:
		r.becomeSecondary(m.Ballot, m.From)
	}
	return idl.ErrOK
}

// learnCommitPoint takes the primary's commit point. A member has everything committed, so its
// list agrees with the primary's up to there; the list of a learner agrees in any case, since it
// threw away what it had beyond its own commit point.
func (r *Replica) learnCommitPoint(committed int64) {
	known := min(committed, r.list.last())
	r.matched = max(r.matched, known)
	r.commit(known)
}

func (r *Replica) stepPrepare(m Message) {
	ack := Message{Type: MsgPrepareAck, To: m.From, Signature: m.Signature, Reply: m.Reply}
	ack.Err = r.accept(&m)
	if ack.Err == idl.ErrOK && r.role == RoleLearner && !r.learnDone {
		ack.Err = idl.ErrTryAgain
	}
	if ack.Err != idl.ErrOK {
		ack.Committed, ack.Prepared = r.committed, r.matched
		r.send(ack)
		return
	}
	r.learnCommitPoint(m.Committed)
	for _, mut := range m.Mutations {
		if mut.Decree <= r.matched {
			continue
		}
		if mut.Decree != r.matched+1 {
			ack.Err = idl.ErrTryAgain // something in front of it was lost
			break
		}
		if mut.Ballot > m.Ballot {
			ack.Err = idl.ErrInvalidData
			break
		}
		if have := r.list.at(mut.Decree); have == nil || have.Ballot != mut.Ballot {
			r.list.cut(mut.Decree - 1)
			r.append(mut)
		}
		r.matched = mut.Decree
	}
	r.learnCommitPoint(m.Committed)
	ack.Committed, ack.Prepared = r.committed, r.matched
	if ack.Err != idl.ErrOK {
		ack.Decree = r.logged()
		r.send(ack)
		return
	}
	// It waits for every log write begun so far: a mutation that was here before may still be on
	// its way to the log.
	seq := r.filling
	if len(r.out().Append) == 0 {
		seq--
	}
	if seq <= r.written {
		ack.Decree = r.logged()
		r.send(ack)
		return
	}
	r.waits = append(r.waits, wait{seq, ack})
}

func (r *Replica) stepGroupCheck(m Message) {
	answer := Message{Type: MsgGroupCheckReply, To: m.From, Signature: m.Signature, Reply: m.Reply}
	answer.Err = r.accept(&m)
	if answer.Err == idl.ErrOK {
		if m.Config.Ballot == r.ballot {
			r.config = m.Config
		}
		r.learnCommitPoint(m.Committed)
		answer.Decree = r.logged()
		answer.LearnDone = r.role == RoleLearner && r.learnDone
	}
	answer.Role = r.role
	answer.Committed, answer.Prepared = r.committed, r.matched
	r.send(answer)
}
