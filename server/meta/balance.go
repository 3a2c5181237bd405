// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"fmt"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/guardian"
)

// opKind is what the pending actions of a partition amount to.
type opKind uint8

const (
	opCure opKind = iota // decided by guardian
	opMovePrimary
	opCopyPrimary
	opCopySecondary
)

// opCounts are the balance operations that have been decided and have not ended.
type opCounts struct{ movePri, copyPri, copySec int }

func (c opCounts) total() int { return c.movePri + c.copyPri + c.copySec }

func (c opCounts) String() string {
	return fmt.Sprintf("move_pri=%d,copy_pri=%d,copy_sec=%d,total=%d", c.movePri, c.copyPri, c.copySec, c.total())
}

func (l *leader) opCounts() (c opCounts) {
	for p := range l.pending {
		if len(p.actions) == 0 {
			continue
		}
		switch p.kind {
		case opMovePrimary:
			c.movePri++
		case opCopyPrimary:
			c.copyPri++
		case opCopySecondary:
			c.copySec++
		}
	}
	return c
}

// proposeBalancer handles RPC_CM_PROPOSE_BALANCER: an operator's list of actions for one
// partition, which are carried out one after the other in place of what guardian would do. An
// action that cannot be carried out when its turn comes ends the list.
func (l *leader) proposeBalancer(q *idl.ConfigurationBalancerRequest) *idl.ConfigurationBalancerResponse {
	answer := func(code idl.ErrorCode) *idl.ConfigurationBalancerResponse {
		return &idl.ConfigurationBalancerResponse{Err: code}
	}
	p := l.partition(q.Gpid)
	if l.effective() <= idl.FlFreezed {
		return answer(idl.ErrStateFreezed)
	}
	if p == nil || p.t.info.Status != idl.AsAvailable || len(q.ActionList) == 0 {
		return answer(idl.ErrInvalidParameters)
	}
	var actions []guardian.Action
	for i := range q.ActionList {
		x := &q.ActionList[i]
		a := guardian.Action{Type: x.Type, Target: either(x.Target, x.HpTarget), Node: either(x.Node, x.HpNode)}
		if a.Target.IsZero() {
			if p.cfg.Primary.IsZero() {
				return answer(idl.ErrInvalidParameters)
			}
			a.Target = p.cfg.Primary
		}
		if a.Node.IsZero() {
			return answer(idl.ErrInvalidParameters)
		}
		actions = append(actions, a)
	}
	log := p.logger(l.log).With("actions", len(actions))
	if q.Force != nil && *q.Force {
		log.Info("sending an operator's actions at once")
		for _, a := range actions {
			l.propose(p, a, func(err error) {
				if err != nil {
					log.Warn("an operator's action was not taken", "type", a.Type.String(), "target", a.Target, "node", a.Node, "err", err)
				}
			})
		}
		return answer(idl.ErrOK)
	}
	if len(p.actions) > 0 {
		return answer(idl.ErrInvalidParameters)
	}
	log.Info("taking over an operator's actions")
	l.round.Count(p.cfg.Pid.AppID, actions[0])
	l.setActions(p, operation(q), actions...)
	l.markDirty(p)
	l.changed = true
	return answer(idl.ErrOK)
}

// operation classes a request for the statistics.
func operation(q *idl.ConfigurationBalancerRequest) opKind {
	if q.BalanceType != nil {
		switch *q.BalanceType {
		case idl.BalancerRequestTypeMovePrimary:
			return opMovePrimary
		case idl.BalancerRequestTypeCopyPrimary:
			return opCopyPrimary
		case idl.BalancerRequestTypeCopySecondary:
			return opCopySecondary
		}
	}
	switch q.ActionList[0].Type {
	case idl.CtDowngradeToSecondary:
		return opMovePrimary
	case idl.CtAddSecondaryForLb:
		if len(q.ActionList) > 2 {
			return opCopyPrimary
		}
		return opCopySecondary
	}
	return opCure
}

// diagnose handles RPC_CM_DDD_DIAGNOSE: the dead partitions and why they stay dead.
func (l *leader) diagnose(q *idl.DddDiagnoseRequest, hp bool) *idl.DddDiagnoseResponse {
	r := &idl.DddDiagnoseResponse{Err: idl.ErrOK}
	for _, t := range l.sortedTables() {
		if t.info.Status != idl.AsAvailable || q.Pid.AppID > 0 && q.Pid.AppID != t.info.AppID {
			continue
		}
		for i, p := range t.parts {
			if q.Pid.AppID > 0 && q.Pid.PartitionIndex >= 0 && int(q.Pid.PartitionIndex) != i {
				continue
			}
			if guardian.HealthOf(p.cfg, 2) == guardian.Dead {
				r.Partitions = append(r.Partitions, l.diagnosis(p, hp))
			}
		}
	}
	return r
}

func (l *leader) diagnosis(p *partition, hp bool) idl.DddPartitionInfo {
	d := idl.DddPartitionInfo{Config: *p.cfg, Reason: p.reason}
	if d.Reason == "" && len(p.actions) > 0 {
		d.Reason = fmt.Sprintf("%s is proposed to %s", p.actions[0].Type, p.actions[0].Target)
	}
	if level := l.effective(); d.Reason == "" && level < idl.FlSteady {
		d.Reason = "nothing is cured while the function level is " + levelName(level)
	}
	if hp {
		addHostPorts(&d.Config)
	}
	for i, x := range l.judged(p) {
		n := l.nodes[x.Node]
		info := idl.DddNodeInfo{Node: x.Node, IsAlive: n != nil && n.alive, IsCollected: x.Known,
			Ballot: -1, LastCommittedDecree: -1, LastPreparedDecree: -1}
		if at := p.dropped[i].at; at.After(time.Time{}) {
			info.DropTimeMs = at.UnixMilli()
		}
		if x.Held {
			info.Ballot, info.LastCommittedDecree, info.LastPreparedDecree = x.Ballot, x.Committed, x.Prepared
		}
		if hp {
			twin := x.Node.HostPort()
			info.HpNode = &twin
		}
		d.Dropped = append(d.Dropped, info)
	}
	return d
}
