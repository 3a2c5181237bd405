// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"slices"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// configSync handles RPC_CM_CONFIG_SYNC: a node says which replicas it stores and learns which
// roles it has.
func (l *leader) configSync(q *idl.ConfigurationQueryByNodeRequest) *idl.ConfigurationQueryByNodeResponse {
	n := l.nodes[q.Node]
	if n == nil || !n.alive {
		// It has to send a beacon first; until then it has no roles to be told of.
		return &idl.ConfigurationQueryByNodeResponse{Err: idl.ErrObjectNotFound}
	}
	if w := l.fd.workers[q.Node]; q.StartTimeMs != nil && w != nil && w.started != 0 && w.started != *q.StartTimeMs {
		// The report of a process that is gone came late, or that of a new one early. What the
		// present process holds must not be judged by it.
		return &idl.ConfigurationQueryByNodeResponse{Err: idl.ErrObjectNotFound}
	}
	for p := range n.roles {
		if p.writing || p.t.busy {
			return &idl.ConfigurationQueryByNodeResponse{Err: idl.ErrBusy}
		}
	}
	r := &idl.ConfigurationQueryByNodeResponse{Err: idl.ErrOK}
	if q.Info != nil {
		n.geo = q.Info
	}
	r.GcReplicas = l.collectAll(n, q.StoredReplicas)
	for p := range n.roles {
		r.Partitions = append(r.Partitions, idl.ConfigurationUpdateRequest{
			Info: p.t.info, Config: *p.cfg, Node: n.addr, HostNode: n.addr})
	}
	slices.SortFunc(r.Partitions, func(a, b idl.ConfigurationUpdateRequest) int { return a.Config.Pid.Compare(b.Config.Pid) })
	return r
}

// collectAll takes note of the replicas a node stores and returns those it may delete, which is
// none unless the operator has set the level to lively.
func (l *leader) collectAll(n *node, stored []idl.ReplicaInfo) (useless []idl.ReplicaInfo) {
	n.syncs++
	if !n.collected {
		n.collected = true
		l.showNode(n)
		l.cureSoon(joinDebounce) // it may be what a partition without members waits for
	}
	lively := l.effective() >= idl.FlLively
	now := time.Now().Unix()
	for _, info := range stored {
		t := l.tables[info.Pid.AppID]
		p := l.partition(info.Pid)
		switch {
		case p == nil:
			// The data directory of another cluster, or metadata that was lost: nothing that
			// could be decided here.
			l.log.Error("node stores a replica of a partition that does not exist; it is left alone",
				"node", n.addr, "gpid", info.Pid.String(), "ballot", info.Ballot)
		case t.info.Status == idl.AsDropped && t.info.ExpireSecond <= now:
			if lively {
				useless = append(useless, info)
			}
		case !l.collect(p, n, info) && lively && t.info.Status == idl.AsAvailable && p.free():
			useless = append(useless, info)
		case len(members(p.cfg)) == 0:
			l.markDirty(p)
		}
	}
	for _, info := range useless {
		l.log.Info("telling a node to delete a replica", "node", n.addr, "gpid", info.Pid.String(), "ballot", info.Ballot)
	}
	return useless
}
