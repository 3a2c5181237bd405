// SPDX-License-Identifier: Apache-2.0

package pacifica

import (
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// RenewLease extends the lease: the meta server does not take this node for dead before until.
func (r *Replica) RenewLease(now, until time.Time) {
	r.now = now
	if !r.leased() {
		r.LoseLease(now)
		r.leaseSince = now
		if r.transient {
			r.event(EventNeedConfig, 0, "lease regained")
		}
	}
	if until.After(r.leaseUntil) {
		r.leaseUntil = until
	}
}

// LoseLease ends the lease at once. Tick does so by itself when the lease runs out.
func (r *Replica) LoseLease(now time.Time) {
	r.now = now
	r.leaseUntil = time.Time{}
	switch r.role {
	case RolePrimary, RoleSecondary:
		r.suspend("lease lost")
	case RoleLearner:
		r.leave(RoleInactive)
	}
	if r.transient {
		r.failTags()
	}
}

func (r *Replica) leased() bool { return r.now.Before(r.leaseUntil) }

// suspend makes a member inactive until a configuration says how to go on. A primary keeps its
// group and its unresolved change: the outcome of that still binds it.
func (r *Replica) suspend(why string) {
	r.resume, r.role, r.transient = r.role, RoleInactive, true
	r.refuseWaits(idl.ErrInactiveState)
	r.event(EventRole, 0, "")
	r.event(EventNeedConfig, 0, why)
}

// wasPrimary reports whether the replica is primary or a suspended one.
func (r *Replica) wasPrimary() bool {
	return r.role == RolePrimary || r.transient && r.resume == RolePrimary
}

// leave gives up the present role for one that needs nothing of it.
func (r *Replica) leave(to Role) {
	if r.wasPrimary() {
		r.failTags()
	}
	if r.role == RoleLearner {
		r.event(EventLearnStop, r.primary, "")
	}
	r.refuseWaits(idl.ErrTryAgain)
	r.leader = leader{}
	r.role, r.transient, r.resume = to, false, 0
	r.signature, r.learnDone = 0, false
	r.event(EventRole, 0, "")
}

// refuseWaits answers the prepares whose acknowledgement was still waiting for the log.
func (r *Replica) refuseWaits(err idl.ErrorCode) {
	for _, w := range r.waits {
		w.ack.Err = err
		r.send(w.ack)
	}
	r.waits = r.waits[:0]
}

// adopt makes ballot the present one, in which this replica is a member.
func (r *Replica) adopt(ballot int64, primary NodeID) {
	r.ballot, r.primary = ballot, primary
	if r.member < ballot {
		r.member = ballot
		r.out().Ballot = ballot
	}
}

// Configure takes a configuration from the meta server. asOf is when the question it answers was
// sent (zero = it came unasked): only an answer to a question asked under the present lease lets
// a replica become or resume a role, since an older one may be obsolete by now.
func (r *Replica) Configure(now time.Time, c Config, asOf time.Time) {
	r.now = now
	if r.role == RoleError || c.Ballot < r.ballot {
		return
	}
	role := c.RoleOf(r.p.Self)
	fresh := r.leased() && !asOf.IsZero() && !asOf.Before(r.leaseSince)
	granted := r.change != nil && r.change.Config.Equal(c)
	higher := c.Ballot > r.ballot

	if r.role == RoleInactive && !r.transient && role != RoleInactive && !granted {
		// A process that restarted, or was removed, may lack what it once acknowledged. Under the
		// lease the meta server knows that this is a new process and does not go by what the old
		// one reported.
		if !r.leased() {
			r.event(EventNeedConfig, 0, "configuration came without a lease")
			return
		}
		r.know(c)
		r.request(ChangeDowngradeToInactive, r.p.Self, c.without(r.p.Self))
		return
	}
	switch {
	case !higher && r.transient && role == r.resume:
		if !fresh {
			r.event(EventNeedConfig, 0, "configuration is not fresh")
			return
		}
		r.know(c)
		r.takeUp()
	case !higher && role == RoleInactive && (r.transient || r.role == RolePrimary || r.role == RoleSecondary):
		r.know(c)
		r.leave(RoleInactive)
		r.event(EventRemoved, 0, "")
	case !higher:
		if role == r.role {
			r.config = c
		}

	case role == RolePrimary && r.role == RoleLearner:
		// Only members become primary; whatever this is, the data here has holes.
		r.leave(RoleInactive)
		r.Configure(now, c, asOf)
	case role == RolePrimary:
		// An active primary has held its lease all the time, so nobody can have replaced it.
		if !fresh && r.role != RolePrimary {
			r.event(EventNeedConfig, 0, "configuration is not fresh")
			return
		}
		r.becomePrimary(c)

	case role == RoleSecondary && r.role == RoleLearner && (!r.learnDone || c.Primary != r.primary):
		r.leave(RoleInactive)
		r.Configure(now, c, asOf)
	case role == RoleSecondary:
		if r.transient && !fresh {
			r.event(EventNeedConfig, 0, "configuration is not fresh")
			return
		}
		r.becomeSecondary(c.Ballot, c.Primary)
		r.config = c

	case r.role == RoleLearner && c.Primary == r.primary:
		// Learners are not in the configuration; their primary tells them its ballot.
	default:
		r.know(c)
		r.leave(RoleInactive)
		r.event(EventRemoved, 0, "")
	}
}

// know notes a configuration without taking a role in it.
func (r *Replica) know(c Config) {
	r.config = c
	r.ballot = max(r.ballot, c.Ballot)
	r.primary = c.Primary
}

// NotListed reports that the meta server, asked when this replica had the given ballot, does not
// list it as a member.
func (r *Replica) NotListed(now time.Time, ballot int64) {
	r.now = now
	asked := r.change != nil && r.change.Config.Primary == r.p.Self && !r.wasPrimary()
	if r.ballot != ballot || r.role == RoleError || r.role == RoleLearner || asked {
		return
	}
	r.leave(RoleInactive)
	r.event(EventRemoved, 0, "")
}

// takeUp resumes the role that was suspended, at the same ballot.
func (r *Replica) takeUp() {
	r.role, r.transient, r.resume = r.resume, false, 0
	r.event(EventRole, 0, "")
	if r.role != RolePrimary {
		return
	}
	for _, p := range r.peers {
		p.since, p.contact = r.now, r.now
		p.next = min(p.next, p.acked+1)
	}
	r.groupCheck()
	r.advance()
}

func (r *Replica) becomeSecondary(ballot int64, primary NodeID) {
	// The same primary one ballot later is the same process with the same list.
	same := (r.role == RoleSecondary || r.role == RoleLearner) && primary == r.primary && ballot == r.ballot+1
	matched := r.matched
	r.leave(RoleSecondary)
	r.adopt(ballot, primary)
	r.matched = r.committed
	if same {
		r.matched = matched
	}
}

// HandleProposal takes a proposal of the meta server; without a lease it takes none. The error, an
// idl.ErrorCode, says why it is not followed.
func (r *Replica) HandleProposal(now time.Time, p Proposal) error {
	r.now = now
	if r.role == RoleError {
		return idl.ErrInvalidState
	}
	if !r.leased() {
		return idl.ErrInactiveState
	}
	if p.Config.Ballot < r.ballot {
		return idl.ErrInvalidVersion
	}
	r.Configure(now, p.Config, time.Time{})
	if p.Config.Ballot != r.ballot && r.role != RoleInactive {
		return idl.ErrTryAgain
	}
	switch p.Type {
	case ChangeNone:
		return nil
	case ChangeAssignPrimary, ChangeUpgradeToPrimary:
		return r.proposedPrimary(p)
	}
	if r.role != RolePrimary {
		return idl.ErrInvalidState
	}
	switch p.Type {
	case ChangeAddSecondary, ChangeAddSecondaryForLB:
		return r.addLearner(p.Node, p.Signature)
	case ChangeDowngradeToInactive, ChangeRemove:
		if l := r.peer(p.Node); l != nil && l.role == RoleLearner {
			r.giveUp(l, "the meta server wants it removed")
			return nil
		}
		if r.config.RoleOf(p.Node) == RoleInactive {
			return idl.ErrInvalidState
		}
		return r.request(p.Type, p.Node, r.config.without(p.Node))
	case ChangeDowngradeToSecond:
		if p.Node != r.p.Self {
			return idl.ErrInvalidState
		}
		next := r.config.without(r.p.Self)
		next.Secondaries = append(next.Secondaries, r.p.Self)
		return r.request(p.Type, p.Node, next)
	}
	return idl.ErrInvalidParameters
}

// proposedPrimary asks for the configuration in which this replica is primary.
func (r *Replica) proposedPrimary(p Proposal) error {
	c := p.Config
	switch {
	case p.Node != r.p.Self:
		return idl.ErrInvalidParameters
	case r.role == RolePrimary:
		return nil
	case !c.Primary.IsZero():
		return idl.ErrInvalidState
	case r.role == RoleSecondary && c.RoleOf(r.p.Self) == RoleSecondary:
	case r.role == RoleInactive && !r.transient && c.Members() == 0:
		r.know(c)
	default:
		return idl.ErrInvalidState
	}
	next := c.without(r.p.Self)
	next.Primary = r.p.Self
	return r.request(p.Type, r.p.Self, next)
}

// A pending is a change on its way to the meta server.
type pending struct {
	Change
	sent time.Time
}

// request asks the meta server for a change. The request of a primary stays in force until the
// ballot moves: its outcome is unknown until then. ErrBusy reports that another one is pending.
func (r *Replica) request(t ChangeType, node NodeID, c Config) error {
	if r.change != nil && r.role == RolePrimary {
		if r.change.Type != t || r.change.Node != node {
			return idl.ErrBusy
		}
	} else {
		r.change = &pending{Change: Change{t, node, c}}
	}
	if r.change.sent.IsZero() || r.now.Sub(r.change.sent) >= r.p.ChangeRetry || r.role != RolePrimary {
		r.resendChange()
	}
	return nil
}

func (r *Replica) resendChange() {
	r.change.sent = r.now
	out := r.out()
	out.Changes = append(out.Changes, r.change.Change)
}

// ChangeReply takes the answer to a Change sent at the time asOf. current is the configuration in
// the answer, nil if there is none.
func (r *Replica) ChangeReply(now time.Time, c Change, err idl.ErrorCode, current *Config, asOf time.Time) {
	r.now = now
	if r.role == RoleError {
		r.removeFailed(err, current)
		return
	}
	if err.OK() {
		next := c.Config
		if current != nil && current.Ballot >= next.Ballot {
			next = *current
		}
		r.Configure(now, next, asOf)
		return
	}
	if err == idl.ErrInvalidVersion && current != nil {
		r.Configure(now, *current, asOf)
		return
	}
	switch err {
	case idl.ErrTimeout, idl.ErrNetworkFailure, idl.ErrBusy, idl.ErrTryAgain, idl.ErrForwardToOthers,
		idl.ErrServiceNotActive, idl.ErrInvalidVersion:
		return
	}
	// The meta server does not want this learner. An earlier copy of the request may still reach
	// it in another mood, so only a higher ballot settles the matter.
	if r.role == RolePrimary && r.change != nil && r.change.Config.Equal(c.Config) && c.Type == ChangeUpgradeToSecondary {
		next := r.config
		next.Ballot++
		r.change = &pending{Change: Change{ChangeForceUpdateBallot, r.p.Self, next}, sent: now}
	}
}

// removeFailed sees to it that a failed replica leaves its configuration, given the answer to the
// last request.
func (r *Replica) removeFailed(err idl.ErrorCode, current *Config) {
	if err == idl.ErrInvalidVersion && current != nil && current.RoleOf(r.p.Self) != RoleInactive {
		r.request(ChangeDowngradeToInactive, r.p.Self, current.without(r.p.Self))
	} else if err.OK() || err == idl.ErrInvalidVersion && current != nil {
		r.change = nil
	}
}
