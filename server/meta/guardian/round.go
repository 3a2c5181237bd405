// SPDX-License-Identifier: Apache-2.0

package guardian

import "github.com/pegasus-ops/pegasus-ops/server/idl"

// A Round decides for many partitions one after the other. It holds what one decision must know
// of the others: the loads, and how many additions run on each node.
type Round struct {
	View *View
	// Adds counts the pending additions by the node they are about. Pending actions that were
	// decided before the round must be in it, as they must be in View.Loads.
	Adds map[idl.RPCAddress]int
	// Held is set when flow control held an addition back: it is worth deciding again as soon
	// as another one has ended.
	Held bool
}

// Decide decides for p and counts the decision. The caller makes the action of a Propose the
// partition's pending one. A pending action that does not come back as Keep or KeepQuiet is over
// and has been uncounted.
func (r *Round) Decide(p *Partition) Decision {
	v := r.View
	d := Decide(v, p)
	if d.Do == Keep {
		if d.Action.IsAdd() && v.MaxAdds == 0 {
			d.Do = KeepQuiet
		}
		return d
	}
	if p.Pending != nil {
		r.Uncount(p.Config.Pid.AppID, *p.Pending)
		if d.Do != DropNode {
			d = Decide(v, &Partition{Config: p.Config, Gone: p.Gone, Dropped: p.Dropped, Prefer: p.Prefer})
		}
	}
	if d.Do != Propose {
		return d
	}
	if d.Action.IsAdd() && v.MaxAdds >= 0 && r.Adds[d.Action.Node] >= v.MaxAdds {
		r.Held = true
		return Decision{Reason: "flow control: node " + d.Action.Node.String() + " takes no more secondaries now", Urgent: d.Urgent, Prefer: p.Prefer}
	}
	r.Count(p.Config.Pid.AppID, d.Action)
	return d
}

// Count notes that an action is pending.
func (r *Round) Count(appID int32, a Action) {
	r.View.Loads.Expect(appID, a)
	if a.IsAdd() {
		r.Adds[a.Node]++
	}
}

// Uncount takes back Count.
func (r *Round) Uncount(appID int32, a Action) {
	r.View.Loads.Forget(appID, a)
	if a.IsAdd() {
		if r.Adds[a.Node]--; r.Adds[a.Node] <= 0 {
			delete(r.Adds, a.Node)
		}
	}
}

// All decides for every partition. Partitions that have no secondary at all are served before
// others that want one, so that flow control delays those that can bear it. The decisions stand
// in the order of the partitions.
func (r *Round) All(partitions []*Partition) []Decision {
	out := make([]Decision, len(partitions))
	var later []int
	for i, p := range partitions {
		if p.Pending == nil && !p.Config.Primary.IsZero() && len(p.Config.Secondaries) > 0 {
			later = append(later, i)
			continue
		}
		out[i] = r.Decide(p)
	}
	for _, i := range later {
		out[i] = r.Decide(partitions[i])
	}
	return out
}
