// SPDX-License-Identifier: Apache-2.0

package pacifica

import "time"

// Tick lets time pass. Call it about every 50 to 100 ms.
func (r *Replica) Tick(now time.Time) {
	r.now = now
	if !r.leased() && !r.leaseUntil.IsZero() {
		r.LoseLease(now)
	}
	switch r.role {
	case RolePrimary:
		r.tickPrimary()
	case RoleLearner:
		if now.Sub(r.heard) >= r.p.LearnerSilence {
			r.leave(RoleInactive)
		}
	case RoleError:
		r.retryChange()
	}
}

func (r *Replica) retryChange() {
	if r.change != nil && r.now.Sub(r.change.sent) >= r.p.ChangeRetry {
		r.resendChange()
	}
}

func (r *Replica) tickPrimary() {
	r.retryChange()
	r.upgradeLearners()
	if r.now.Sub(r.checked) >= r.p.GroupCheckInterval {
		r.groupCheck()
	}
	for _, p := range r.peers {
		timeout := r.p.PrepareTimeout
		if p.role == RoleLearner {
			timeout = r.p.LearnerPrepareTimeout
		}
		silent := r.now.Sub(p.sent)
		switch {
		case p.role == RoleSecondary && !p.live:
			r.giveUp(p, lagging)
		case p.outstanding() && r.now.Sub(p.since) >= timeout:
			r.giveUp(p, "it did not acknowledge a prepare in time")
		case p.role == RoleLearner && r.now.Sub(p.contact) >= r.p.LearnerSilence:
			r.giveUp(p, "it is silent")
		case p.outstanding() && silent >= r.p.Retry && r.now.Sub(p.rewound) >= r.p.Retry:
			p.next, p.rewound = p.acked+1, r.now
		case p.told < r.committed && silent >= r.p.CommitNotice,
			p.role == RoleLearner && !p.greeted && silent >= r.p.ChangeRetry:
			r.check(p)
		}
	}
}
