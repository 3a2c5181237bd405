// SPDX-License-Identifier: Apache-2.0

package guardian

import (
	"fmt"
	"slices"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// choosePrimary is for a partition without a primary.
func (v *View) choosePrimary(p *Partition, d Decision) Decision {
	pc := p.Config
	switch {
	case len(pc.Secondaries) > 0:
		node := v.leastPrimary(pc.Pid.AppID, func(n idl.RPCAddress) bool {
			return slices.Contains(pc.Secondaries, n) && v.serves(p, n)
		})
		if node.IsZero() {
			return d.refuse(fmt.Sprintf("none of the secondaries %v is alive", pc.Secondaries))
		}
		return d.propose(idl.CtUpgradeToPrimary, node, node)
	case len(pc.LastDrops) == 0:
		return v.assignNew(p, d)
	case len(pc.LastDrops) == 1:
		return v.assignOnly(p, d)
	default:
		return v.assignBetter(p, d)
	}
}

// leastPrimary is the node best suited to carry one more primary: the criteria are, in this
// order, primaries of the table, partitions of the table, all primaries, all partitions.
func (v *View) leastPrimary(appID int32, suits func(idl.RPCAddress) bool) idl.RPCAddress {
	return v.least(suits, func(n idl.RPCAddress) [4]int { return v.primaryLoad(appID, n) })
}

func (v *View) primaryLoad(appID int32, n idl.RPCAddress) [4]int {
	table, total := v.Loads.Table(appID, n), v.Loads.Total(n)
	return [4]int{table.Primaries, table.Partitions, total.Primaries, total.Partitions}
}

// assignNew places a partition that never had a member.
func (v *View) assignNew(p *Partition, d Decision) Decision {
	if v.Now.Before(v.GatherUntil) {
		d.Again = v.GatherUntil
		return d.refuse("new partition, waiting a moment for more nodes to connect")
	}
	node := v.leastPrimary(p.Config.Pid.AppID, func(idl.RPCAddress) bool { return true })
	if node.IsZero() {
		return d.refuse("new partition, no node is alive")
	}
	return d.propose(idl.CtAssignPrimary, node, node)
}

// assignOnly waits for the single node that ever left this partition.
func (v *View) assignOnly(p *Partition, d Decision) Decision {
	node := p.Config.LastDrops[0]
	if reason := v.unavailable(p, node); reason != "" {
		return d.refuse(reason)
	}
	if !p.dropped(node).Held {
		return d.refuse(fmt.Sprintf("the last dropped node(%s) is back without a replica of this partition", node))
	}
	return d.propose(idl.CtAssignPrimary, node, node)
}

// assignBetter chooses between the two nodes that left last.
func (v *View) assignBetter(p *Partition, d Decision) Decision {
	pc := p.Config
	drops := pc.LastDrops[len(pc.LastDrops)-2:]
	for _, n := range []idl.RPCAddress{drops[1], drops[0]} {
		if reason := v.unavailable(p, n); reason != "" {
			return d.refuse(reason)
		}
	}
	a, b := p.dropped(drops[0]), p.dropped(drops[1])
	if !a.Held && !b.Held {
		return d.refuse("no replica info collected from the last two drops")
	}
	best, other := b, a
	switch c := compare(a, b); {
	case c > 0:
		best, other = a, b
	case c == 0 && a.Held:
		// They hold the same, so the load may decide; else after a restart of everything all
		// primaries would gather on the node that was last to restart.
		x, y := v.primaryLoad(pc.Pid.AppID, a.Node), v.primaryLoad(pc.Pid.AppID, b.Node)
		if slices.Compare(x[:], y[:]) < 0 {
			best, other = a, b
		}
	}
	// A member of the later ballot has everything committed in its log, even where it has not
	// been told so yet: its commit point may lag behind that of the other, its log may not.
	if best.Prepared < other.Committed {
		return d.refuse(fmt.Sprintf("for the last two drops, the log of the better one misses committed mutations: "+
			"%s has ballot %d, committed %d and prepared %d, %s has ballot %d and committed %d",
			best.Node, best.Ballot, best.Committed, best.Prepared, other.Node, other.Ballot, other.Committed))
	}
	if best.Prepared < pc.LastCommittedDecree {
		return d.refuse(fmt.Sprintf("for the last two drops, max prepared decree(%d) is less than the last committed decree on meta(%d)",
			best.Prepared, pc.LastCommittedDecree))
	}
	return d.propose(idl.CtAssignPrimary, best.Node, best.Node)
}

func compare(a, b Dropped) int {
	x, y := [...]int64{a.Ballot, a.Committed, a.Prepared}, [...]int64{b.Ballot, b.Committed, b.Prepared}
	return slices.Compare(x[:], y[:])
}

// unavailable says why a former member cannot be judged yet, or nothing.
func (v *View) unavailable(p *Partition, node idl.RPCAddress) string {
	switch n := v.Nodes[node]; {
	case !n.Alive:
		return fmt.Sprintf("the last dropped node(%s) hasn't come back yet", node)
	case !n.Collected:
		return fmt.Sprintf("the last dropped node(%s) is unavailable because it has not reported its replicas yet", node)
	case !p.dropped(node).Known:
		return fmt.Sprintf("the last dropped node(%s) is unavailable because it has not reported its replicas since it was dropped", node)
	}
	return ""
}

// dropped is what is known of the replica on a former member. Without a replica the figures are
// -1, below those of any replica.
func (p *Partition) dropped(node idl.RPCAddress) Dropped {
	for _, x := range p.Dropped {
		if x.Node == node {
			if x.Known && x.Held {
				return x
			}
			return Dropped{Node: node, Time: x.Time, Known: x.Known, Ballot: -1, Committed: -1, Prepared: -1}
		}
	}
	// Not listed: it has reported, and the list was trimmed or the replica was not there.
	return Dropped{Node: node, Known: true, Ballot: -1, Committed: -1, Prepared: -1}
}
