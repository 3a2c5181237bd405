// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"slices"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
)

const flagDropped = store.FlagDropped

// maxWaiting bounds the requests that wait for one partition's write.
const maxWaiting = 16

// update handles RPC_CM_UPDATE_PARTITION_CONFIGURATION: a replica server asks to change the
// configuration of a partition. It gets its way if it knows the present one (its ballot is the
// next) and the result it has in mind is the one the change has. Otherwise the answer tells it
// the present configuration.
func (l *leader) update(q *idl.ConfigurationUpdateRequest, reply func(*idl.ConfigurationUpdateResponse)) {
	p := l.partition(q.Config.Pid)
	if p == nil {
		l.log.Warn("configuration update for a partition that does not exist", "gpid", q.Config.Pid.String(), "node", q.Node)
		reply(&idl.ConfigurationUpdateResponse{Err: idl.ErrObjectNotFound, Config: idl.PartitionConfiguration{Pid: q.Config.Pid}})
		return
	}
	answer := func(code idl.ErrorCode) {
		reply(&idl.ConfigurationUpdateResponse{Err: code, Config: *p.cfg})
	}
	if !p.free() {
		if len(p.waiting) >= maxWaiting {
			answer(idl.ErrBusy)
			return
		}
		p.waiting = append(p.waiting, func() { l.update(q, reply) })
		return
	}
	log := p.logger(l.log).With("type", q.Type.String(), "node", q.Node)
	switch {
	case q.Config.Ballot == p.cfg.Ballot && sameMembers(&q.Config, p.cfg):
		answer(idl.ErrOK) // the answer to the first try was lost
		return
	case q.Config.Ballot != p.cfg.Ballot+1:
		log.Info("configuration update is out of date", "asked_ballot", q.Config.Ballot)
		answer(idl.ErrInvalidVersion)
		return
	case p.t.info.Status == idl.AsDropped || p.t.info.Status == idl.AsDropping:
		answer(idl.ErrAppDropped)
		return
	case l.effective() <= idl.FlFreezed:
		answer(idl.ErrStateFreezed)
		return
	}
	next, err := transition(p.cfg, q.Type, q.Node)
	if err != nil {
		log.Warn("configuration update refused", "err", err)
		answer(idl.ErrInvalidParameters)
		return
	}
	if !sameMembers(&q.Config, next) {
		log.Warn("configuration update refused: the sender has another result in mind",
			"asked_primary", q.Config.Primary, "asked_secondaries", q.Config.Secondaries,
			"primary", next.Primary, "secondaries", next.Secondaries)
		answer(idl.ErrInvalidParameters)
		return
	}
	if isMember(next, q.Node) && (!l.round.View.Nodes[q.Node].Alive || slices.Contains(p.gone, q.Node)) {
		log.Warn("configuration update refused: the node is not alive")
		answer(idl.ErrInvalidState)
		return
	}
	if q.Config.LastCommittedDecree > next.LastCommittedDecree {
		next.LastCommittedDecree = q.Config.LastCommittedDecree
	}
	log.Info("configuration changes", "primary", next.Primary, "secondaries", next.Secondaries)
	l.storeConfig(p, next, func() {
		answer(idl.ErrOK)
		if senderMayNotBePrimary(q, next) {
			l.push(p)
		}
	})
}

// senderMayNotBePrimary tells whether the present primary may have to be told of a change
// because the node concerned has asked for it.
func senderMayNotBePrimary(q *idl.ConfigurationUpdateRequest, next *idl.PartitionConfiguration) bool {
	return !next.Primary.IsZero() && next.Primary != q.Node && q.HostNode != next.Primary &&
		(q.Type == idl.CtDowngradeToInactive || q.Type == idl.CtRemove)
}

// dropMember takes a member out on the meta server's own account.
func (l *leader) dropMember(p *partition, node idl.RPCAddress) {
	next, err := transition(p.cfg, idl.CtDowngradeToInactive, node)
	if err != nil {
		p.logger(l.log).Error("cannot take a node out of the configuration", "node", node, "err", err)
		return
	}
	p.logger(l.log).Info("node is gone, taking it out of the configuration", "node", node,
		"primary", next.Primary, "secondaries", next.Secondaries)
	l.storeConfig(p, next, func() { l.push(p) })
}
