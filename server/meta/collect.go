// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"cmp"
	"slices"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/guardian"
)

// A report is what a node said of a replica in its config sync number sync. It holds as long as
// that is the node's last one.
type report struct {
	sync int64
	info idl.ReplicaInfo
}

// A drop is a node that is no member (any more) and has, or had, a replica. It has figures
// once the node has reported after leaving.
type drop struct {
	node  idl.RPCAddress
	at    time.Time // when it left; zero for a replica found in a report
	after int64     // reports up to this config sync of the node came before it left
	rep   report
}

// known says whether the node has reported since it left, and held whether it has the replica.
func (l *leader) known(d drop) (known, held bool) {
	n := l.nodes[d.node]
	if n == nil || !n.collected {
		return false, false
	}
	return n.syncs > d.after, d.rep.sync == n.syncs && d.rep.sync > d.after
}

// recordDrop notes that a member left. Figures it reported before count only if the replica was
// not in service then, as after a restart: otherwise they may have grown since.
func (l *leader) recordDrop(p *partition, a idl.RPCAddress, now time.Time) {
	n := l.node(a)
	d := drop{node: a, at: now, after: n.syncs}
	if r, ok := p.reports[a]; ok && n.collected && r.sync == n.syncs && idle(r.info.Status) {
		d.after, d.rep = n.syncs-1, r
	}
	delete(p.reports, a)
	p.dropped = slices.DeleteFunc(p.dropped, func(x drop) bool { return x.node == a })
	p.dropped = append(p.dropped, d)
	p.prefer = len(p.dropped) - 1
}

func idle(s idl.PartitionStatus) bool { return s == idl.PsInactive || s == idl.PsError }

// collect notes what a node says of a replica, and returns false if it is one too many.
func (l *leader) collect(p *partition, n *node, info idl.ReplicaInfo) (wanted bool) {
	r := report{sync: n.syncs, info: info}
	if isMember(p.cfg, n.addr) {
		if p.reports == nil {
			p.reports = map[idl.RPCAddress]report{}
		}
		p.reports[n.addr] = r
		if info.LastCommittedDecree > p.cfg.LastCommittedDecree {
			next := *p.cfg
			next.LastCommittedDecree = info.LastCommittedDecree
			p.cfg = &next // stored with the next change; until then it only helps to judge
			l.touch(p.t)
		}
		return true
	}
	if a := p.pending(); a != nil && a.IsAdd() && a.Node == n.addr {
		if info.Status == idl.PsPotentialSecondary {
			p.learnerSeen = true
		} else if p.learnerSeen {
			p.logger(l.log).Info("learner has given up, choosing again", "node", n.addr)
			l.clearActions(p)
			l.markDirty(p)
		}
		return true
	}
	if info.Status == idl.PsPotentialSecondary {
		return true // learning by an order that was forgotten; it will be told how that ends
	}
	i := slices.IndexFunc(p.dropped, func(d drop) bool { return d.node == n.addr })
	if i >= 0 {
		p.dropped[i].rep = r
	} else {
		p.dropped = append(p.dropped, drop{node: n.addr, after: n.syncs - 1, rep: r})
	}
	slices.SortStableFunc(p.dropped, compareDrops)
	p.trimDropped(l.s.o.MaxReservedDropped)
	return slices.ContainsFunc(p.dropped, func(d drop) bool { return d.node == n.addr })
}

func compareDrops(a, b drop) int {
	return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.rep.info.Ballot, b.rep.info.Ballot),
		cmp.Compare(a.rep.info.LastCommittedDecree, b.rep.info.LastCommittedDecree),
		cmp.Compare(a.rep.info.LastPreparedDecree, b.rep.info.LastPreparedDecree))
}

// trimDropped forgets the oldest former members beyond what is kept in reserve. While there is
// no member the nodes in last_drops stay: one of them has to become primary.
func (p *partition) trimDropped(reserved int) {
	present := len(members(p.cfg))
	excess := present + len(p.dropped) - int(p.cfg.MaxReplicaCount) - reserved
	kept := p.dropped[:0]
	for _, d := range p.dropped {
		if excess > 0 && (present > 0 || !slices.Contains(p.cfg.LastDrops, d.node)) {
			excess--
			continue
		}
		kept = append(kept, d)
	}
	p.dropped = kept
	if p.prefer >= len(p.dropped) {
		p.prefer = len(p.dropped) - 1
	}
}

// judged is what guardian is told about the former members.
func (l *leader) judged(p *partition) []guardian.Dropped {
	out := make([]guardian.Dropped, len(p.dropped))
	for i, d := range p.dropped {
		known, held := l.known(d)
		out[i] = guardian.Dropped{Node: d.node, Time: d.at, Known: known, Held: held}
		if held {
			r := d.rep.info
			out[i].Ballot, out[i].Committed, out[i].Prepared = r.Ballot, r.LastCommittedDecree, r.LastPreparedDecree
		}
	}
	return out
}
