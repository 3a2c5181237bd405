// SPDX-License-Identifier: Apache-2.0

package guardian

import (
	"slices"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// IsAdd reports whether the action makes a learner, which is what flow control is about.
func (a Action) IsAdd() bool {
	return a.Type == idl.CtAddSecondary || a.Type == idl.CtAddSecondaryForLb
}

// Done reports whether pc shows the effect of the action.
func (a Action) Done(pc *idl.PartitionConfiguration) bool {
	switch a.Type {
	case idl.CtAssignPrimary, idl.CtUpgradeToPrimary:
		return pc.Primary == a.Node
	case idl.CtAddSecondary, idl.CtAddSecondaryForLb, idl.CtDowngradeToSecondary:
		return slices.Contains(pc.Secondaries, a.Node)
	case idl.CtDowngradeToInactive, idl.CtRemove:
		return !isMember(pc, a.Node)
	}
	return false
}

// valid reports whether an action decided earlier can still be carried out: the nodes live and
// have the roles it starts from.
func (v *View) valid(p *Partition, a Action) bool {
	pc := p.Config
	if !v.Nodes[a.Target].Alive || a.Node.IsZero() || a.Done(pc) {
		return false
	}
	switch a.Type {
	case idl.CtAssignPrimary:
		return a.Target == a.Node && pc.Primary.IsZero() && !isMember(pc, a.Node)
	case idl.CtUpgradeToPrimary:
		return a.Target == a.Node && pc.Primary.IsZero() && slices.Contains(pc.Secondaries, a.Node) && v.serves(p, a.Node)
	case idl.CtAddSecondary, idl.CtAddSecondaryForLb:
		return a.Target == pc.Primary && v.Nodes[a.Node].Alive && !isMember(pc, a.Node)
	case idl.CtDowngradeToSecondary:
		return a.Target == pc.Primary && a.Node == pc.Primary
	case idl.CtDowngradeToInactive, idl.CtRemove:
		return a.Target == pc.Primary && isMember(pc, a.Node)
	}
	return false
}

// Load counts partitions.
type Load struct{ Primaries, Partitions int }

// Loads counts the partitions of every node, in all and by table.
type Loads struct {
	total  map[idl.RPCAddress]Load
	tables map[int32]map[idl.RPCAddress]Load
}

// NewLoads counts nothing yet.
func NewLoads() *Loads {
	return &Loads{total: map[idl.RPCAddress]Load{}, tables: map[int32]map[idl.RPCAddress]Load{}}
}

// Total is the load of a node.
func (l *Loads) Total(n idl.RPCAddress) Load { return l.total[n] }

// Table is the load that one table puts on a node.
func (l *Loads) Table(appID int32, n idl.RPCAddress) Load { return l.tables[appID][n] }

// Add counts the members of pc.
func (l *Loads) Add(pc *idl.PartitionConfiguration) { l.members(pc, 1) }

// Remove takes back Add.
func (l *Loads) Remove(pc *idl.PartitionConfiguration) { l.members(pc, -1) }

func (l *Loads) members(pc *idl.PartitionConfiguration, sign int) {
	if !pc.Primary.IsZero() {
		l.count(pc.Pid.AppID, pc.Primary, sign, sign)
	}
	for _, s := range pc.Secondaries {
		l.count(pc.Pid.AppID, s, 0, sign)
	}
}

// Expect counts what an action will change once it has taken effect.
func (l *Loads) Expect(appID int32, a Action) { l.action(appID, a, 1) }

// Forget takes back Expect.
func (l *Loads) Forget(appID int32, a Action) { l.action(appID, a, -1) }

func (l *Loads) action(appID int32, a Action, sign int) {
	switch a.Type {
	case idl.CtAssignPrimary:
		l.count(appID, a.Node, sign, sign)
	case idl.CtUpgradeToPrimary:
		l.count(appID, a.Node, sign, 0)
	case idl.CtDowngradeToSecondary:
		l.count(appID, a.Node, -sign, 0)
	case idl.CtAddSecondary, idl.CtAddSecondaryForLb:
		l.count(appID, a.Node, 0, sign)
	case idl.CtRemove, idl.CtDowngradeToInactive:
		l.count(appID, a.Node, 0, -sign)
	}
}

func (l *Loads) count(appID int32, n idl.RPCAddress, primaries, partitions int) {
	t := l.tables[appID]
	if t == nil {
		t = map[idl.RPCAddress]Load{}
		l.tables[appID] = t
	}
	for _, m := range []map[idl.RPCAddress]Load{l.total, t} {
		x := m[n]
		x.Primaries += primaries
		x.Partitions += partitions
		if x == (Load{}) {
			delete(m, n)
		} else {
			m[n] = x
		}
	}
	if len(t) == 0 {
		delete(l.tables, appID)
	}
}
