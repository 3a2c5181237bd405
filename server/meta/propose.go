// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/guardian"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// retryAfter is when a proposal without effect is sent again: soon at first, in longer steps the
// longer it has none. A learner that is known to be at work is asked after least often.
func (l *leader) retryAfter(p *partition) time.Duration {
	longest := max(l.s.o.CureInterval, l.s.o.ProposalRetry)
	if p.learnerSeen {
		return longest
	}
	wait := l.s.o.ProposalRetry
	if p.refused {
		wait /= 4
	}
	for range min(p.sends/4, 8) {
		wait *= 2
	}
	return min(wait, longest)
}

// send proposes the pending action of p to its target.
func (l *leader) send(p *partition) {
	a := p.actions[0]
	p.sentAt = time.Now()
	p.sends++
	p.refused = false
	log := p.logger(l.log).With("type", a.Type.String(), "target", a.Target, "node", a.Node)
	if p.sends == 1 {
		log.Info("proposing")
	} else {
		log.Debug("proposing again", "times", p.sends)
	}
	l.propose(p, a, func(err error) {
		if cur := p.pending(); err == nil || cur == nil || *cur != a {
			return
		}
		p.refused = true
		if p.sends == 1 || p.sends%10 == 0 {
			log.Warn("proposal was not taken, it is sent again", "times", p.sends, "err", err)
		}
	})
}

// push tells the primary of a configuration that it did not ask for itself.
func (l *leader) push(p *partition) {
	if p.cfg.Primary.IsZero() {
		return
	}
	p.pushTo, p.pushedAt = p.cfg.Ballot, time.Now()
	l.pending[p] = struct{}{}
	ballot := p.pushTo
	l.propose(p, guardian.Action{Type: idl.CtInvalid, Target: p.cfg.Primary, Node: p.cfg.Primary}, func(err error) {
		if err == nil && p.pushTo == ballot {
			l.pushed(p)
		}
	})
}

func (l *leader) pushed(p *partition) {
	p.pushTo = 0
	if len(p.actions) == 0 {
		delete(l.pending, p)
	}
}

// resend looks after what was sent and had no effect yet.
func (l *leader) resend(now time.Time) {
	for p := range l.pending {
		if len(p.actions) > 0 && now.Sub(p.sentAt) >= l.retryAfter(p) {
			l.markDirty(p)
		}
		if p.pushTo == 0 {
			continue
		}
		if p.cfg.Ballot != p.pushTo || p.cfg.Primary.IsZero() {
			l.pushed(p)
		} else if now.Sub(p.pushedAt) >= l.s.o.ProposalRetry {
			l.push(p)
		}
	}
}

// propose sends RPC_CONFIG_PROPOSAL and runs done on the loop with what came of it.
func (l *leader) propose(p *partition, a guardian.Action, done func(error)) {
	s := l.s
	q := &idl.ConfigurationUpdateRequest{Info: p.t.info, Config: *p.cfg, Type: a.Type, Node: a.Node, HostNode: a.Target}
	call := wire.Call{Name: idl.RPCConfigProposal, GPID: p.cfg.Pid, Arg: q}
	s.o.Peers.Go(a.Target, call, s.o.ProposalTimeout, func(result []byte, err error) {
		if err == nil {
			var ack idl.ConfigProposalAck
			if _, err = ack.Decode(result); err == nil && !ack.Err.OK() {
				err = ack.Err
			}
		}
		s.mail.tell(func() {
			if s.leader == l {
				done(err)
			}
		})
	})
}

// notifyDropped tells former members, as a courtesy, that their partition is dropped: they
// learn it by config sync at the latest.
func (l *leader) notifyDropped(p *partition, former []idl.RPCAddress) {
	for _, a := range former {
		l.propose(p, guardian.Action{Type: idl.CtDropPartition, Target: a, Node: a}, func(error) {})
	}
}
