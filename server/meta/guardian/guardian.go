// SPDX-License-Identifier: Apache-2.0

// Package guardian decides how partitions are cured: who becomes primary, who is added as
// secondary, who leaves. Decide is a function of a View and one Partition; Round applies it to
// many partitions and keeps the flow control. Neither has a goroutine, a clock or I/O, so the
// same code runs in the meta server, in simulations and in tools that only want to know.
//
// A decision is about what is wrong now, not about what happened: a primary on a dead node is
// removed because it is there, not because somebody saw the node die. Whatever was missed, lost
// or done twice is therefore made good by asking again.
//
// The rules are those of the Pegasus partition guardian. In short:
//
//   - A partition with a primary on a dead node loses it (DropPrimary); a secondary that is gone
//     is taken out by the primary, or by the meta server when there is no primary to do it and
//     the process that held the replica is known to have ended.
//   - Without a primary, the least loaded living secondary is upgraded. With no secondary either,
//     a new partition goes to the least loaded node, and one that has had members goes to the
//     last of them, or to the better of the last two: private logs sit in the page cache, so the
//     very last survivor alone may have lost its tail.
//   - With a primary and too few secondaries, the node lost last is waited for, since copying a
//     partition costs more than the wait, unless the partition is in danger.
//   - With too many, the secondary on the fullest node is removed.
package guardian

import (
	"slices"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// A View is what there is to know about the cluster. Decide reads it and changes nothing in it.
type View struct {
	Now   time.Time
	Nodes map[idl.RPCAddress]Node
	// Loads counts what is and what has been decided and has not taken effect yet, so that many
	// partitions decided together do not all go to the same node.
	Loads *Loads
	Settings
}

// Node is what matters about a replica server.
type Node struct {
	Alive     bool
	Collected bool // it has reported the replicas it stores since it came alive
}

// Settings are the operator's wishes.
type Settings struct {
	// MinReplicas is mutation_2pc_min_replica_count: how many replicas a write needs. Zero or
	// less means all of up to two replicas, more than half of more.
	MinReplicas int32
	// AssignDelay is how long a lost secondary is waited for before it is replaced
	// (replica_assign_delay_ms_for_dropouts).
	AssignDelay time.Duration
	// BlackList names nodes that get no new secondaries.
	BlackList map[idl.RPCAddress]bool
	// MaxAdds bounds how many partitions may be adding a secondary on one node at a time
	// (add_secondary_max_count_for_one_node). Negative means no bound; zero lets nobody in.
	MaxAdds int
	// GatherUntil holds back the first assignment of new partitions, so that the first node to
	// connect to a starting cluster does not get every primary.
	GatherUntil time.Time
}

// A Partition is what the decision is about.
type Partition struct {
	Config *idl.PartitionConfiguration
	// Gone names members whose process has ended although the node may be alive again: a
	// restarted process does not resume the role of its predecessor.
	Gone []idl.RPCAddress
	// Dropped lists nodes that are no members and have, or had, a replica; most recent last.
	Dropped []Dropped
	// Prefer is the index in Dropped to try next when a secondary is replaced in an emergency;
	// a value out of range means the most recent one. See Decision.Prefer.
	Prefer int
	// Pending is the action decided earlier that is still to take effect, nil if there is none.
	Pending *Action
}

// Dropped is a former member.
type Dropped struct {
	Node idl.RPCAddress
	Time time.Time // when it left; zero if that was before anybody watched
	// Known says that the node has reported its replicas since it left (and since it last
	// started), Held that this one was among them. The figures count only if both are true.
	Known, Held                 bool
	Ballot, Committed, Prepared int64
}

// An Action is one step of a cure or of a balance operation, to be carried out by Target.
type Action struct {
	Type   idl.ConfigType
	Target idl.RPCAddress // who executes it
	Node   idl.RPCAddress // whom it is about
}

// Verb says who has to act on a Decision.
type Verb uint8

// The verbs.
const (
	Nothing   Verb = iota // all is well, or Reason says why nothing can be done
	Propose               // send Action to its Target
	DropNode              // the meta server itself takes Action.Node out of the configuration
	Keep                  // the pending action is still right; Action repeats it
	KeepQuiet             // the pending action is right but must not be sent now (flow control)
)

// A Decision is the next step for one partition.
type Decision struct {
	Do     Verb
	Action Action
	// Urgent marks the addition of a first secondary, which goes before others.
	Urgent bool
	// Reason is why a partition that needs something gets nothing.
	Reason string
	// Again is when time alone changes the answer; zero if it does not.
	Again time.Time
	// Prefer is to be handed back as Partition.Prefer next time.
	Prefer int
}

// MinReplicas is how many replicas a write to a table with rc replicas needs, given the setting
// mutation_2pc_min_replica_count.
func MinReplicas(setting, rc int32) int32 {
	switch {
	case setting > 0:
		return setting
	case rc <= 2:
		return 1
	default:
		return rc/2 + 1
	}
}

// Decide says what p needs next.
func Decide(v *View, p *Partition) Decision {
	pc := p.Config
	d := Decision{Prefer: p.Prefer}
	if !pc.Primary.IsZero() && !v.serves(p, pc.Primary) {
		return d.drop(pc.Primary)
	}
	if pc.Primary.IsZero() {
		// Nobody else could remove them. A secondary whose node is merely dead stays: it may
		// be the only one that has the data, and comes back as it was.
		for _, s := range pc.Secondaries {
			if slices.Contains(p.Gone, s) {
				return d.drop(s)
			}
		}
	}
	if p.Pending != nil && v.valid(p, *p.Pending) {
		d.Do, d.Action = Keep, *p.Pending
		return d
	}
	if pc.Primary.IsZero() {
		return v.choosePrimary(p, d)
	}
	for _, s := range pc.Secondaries {
		if !v.serves(p, s) {
			return d.propose(idl.CtDowngradeToInactive, pc.Primary, s)
		}
	}
	switch replicas := int32(1 + len(pc.Secondaries)); {
	case replicas < pc.MaxReplicaCount:
		return v.addSecondary(p, d)
	case replicas > pc.MaxReplicaCount:
		return v.removeSecondary(p, d)
	}
	return d
}

func (d Decision) propose(t idl.ConfigType, target, node idl.RPCAddress) Decision {
	d.Do, d.Action = Propose, Action{Type: t, Target: target, Node: node}
	return d
}

func (d Decision) drop(node idl.RPCAddress) Decision {
	d.Do, d.Action = DropNode, Action{Type: idl.CtDowngradeToInactive, Node: node}
	return d
}

func (d Decision) refuse(reason string) Decision {
	d.Reason = reason
	return d
}

// serves reports whether a member is there to act in its role.
func (v *View) serves(p *Partition, node idl.RPCAddress) bool {
	return v.Nodes[node].Alive && !slices.Contains(p.Gone, node)
}

func isMember(pc *idl.PartitionConfiguration, node idl.RPCAddress) bool {
	return pc.Primary == node || slices.Contains(pc.Secondaries, node)
}

// addSecondary chooses who becomes a learner of a partition with a living primary.
func (v *View) addSecondary(p *Partition, d Decision) Decision {
	pc := p.Config
	d.Urgent = len(pc.Secondaries) == 0
	emergency, wait := v.emergency(p)
	if !emergency {
		last := p.Dropped[len(p.Dropped)-1]
		if v.Nodes[last.Node].Alive {
			return d.propose(idl.CtAddSecondary, pc.Primary, last.Node)
		}
		d.Again = wait
		return d.refuse("waiting for the last dropped node(" + last.Node.String() + ") to come back")
	}
	at := p.Prefer
	if at < 0 || at >= len(p.Dropped) {
		at = len(p.Dropped) - 1
	}
	for at >= 0 && (!v.Nodes[p.Dropped[at].Node].Alive || isMember(pc, p.Dropped[at].Node)) {
		at--
	}
	if at >= 0 && !v.BlackList[p.Dropped[at].Node] {
		d.Prefer = at - 1
		return d.propose(idl.CtAddSecondary, pc.Primary, p.Dropped[at].Node)
	}
	d.Prefer = at
	node := v.least(func(n idl.RPCAddress) bool { return !isMember(pc, n) && !v.BlackList[n] },
		func(n idl.RPCAddress) [4]int {
			table, total := v.Loads.Table(pc.Pid.AppID, n), v.Loads.Total(n)
			return [4]int{table.Partitions, total.Partitions}
		})
	if node.IsZero() {
		return d.refuse("no living node is free to hold another replica")
	}
	return d.propose(idl.CtAddSecondary, pc.Primary, node)
}

// emergency tells whether a missing secondary is replaced now, or else until when it is waited
// for at most.
func (v *View) emergency(p *Partition) (now bool, until time.Time) {
	pc := p.Config
	need := MinReplicas(v.MinReplicas, pc.MaxReplicaCount)
	if pc.MaxReplicaCount > need && int32(1+len(pc.Secondaries)) < need {
		return true, time.Time{}
	}
	if len(p.Dropped) == 0 {
		return true, time.Time{}
	}
	last := p.Dropped[len(p.Dropped)-1]
	until = last.Time.Add(v.AssignDelay)
	return v.Now.After(until) || v.BlackList[last.Node], until
}

func (v *View) removeSecondary(p *Partition, d Decision) Decision {
	pc := p.Config
	var fullest idl.RPCAddress
	var most [2]int
	for _, s := range pc.Secondaries {
		load := [2]int{v.Loads.Table(pc.Pid.AppID, s).Partitions, v.Loads.Total(s).Partitions}
		if fullest.IsZero() || slices.Compare(load[:], most[:]) > 0 {
			fullest, most = s, load
		}
	}
	if fullest.IsZero() {
		return d // a table of no replicas cannot be; nothing to remove
	}
	return d.propose(idl.CtRemove, pc.Primary, fullest)
}

// least returns the living node that suits and carries the least load, the lowest address among
// equals, zero if none suits.
func (v *View) least(suits func(idl.RPCAddress) bool, load func(idl.RPCAddress) [4]int) idl.RPCAddress {
	var best idl.RPCAddress
	var low [4]int
	for n, s := range v.Nodes {
		if !s.Alive || !suits(n) {
			continue
		}
		l := load(n)
		if c := slices.Compare(l[:], low[:]); best.IsZero() || c < 0 || c == 0 && n < best {
			best, low = n, l
		}
	}
	return best
}
