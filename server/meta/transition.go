// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"fmt"
	"slices"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// maxLastDrops is how many lost members a configuration remembers, oldest first.
const maxLastDrops = 3

// transition is the effect of one change on a configuration: the ballot grows by one, the
// members change as the type says. It fails when node does not have the role the change starts
// from.
func transition(pc *idl.PartitionConfiguration, typ idl.ConfigType, node idl.RPCAddress) (*idl.PartitionConfiguration, error) {
	next := *pc
	next.Ballot++
	next.Secondaries = slices.Clone(pc.Secondaries)
	next.LastDrops = slices.Clone(pc.LastDrops)
	bad := func(why string) (*idl.PartitionConfiguration, error) {
		return nil, fmt.Errorf("%s of %s for %s: it %s", typ, pc.Pid, node, why)
	}
	if node.IsZero() && typ != idl.CtPrimaryForceUpdateBallot {
		return bad("names no node")
	}
	switch typ {
	case idl.CtAssignPrimary, idl.CtUpgradeToPrimary:
		if !pc.Primary.IsZero() {
			return bad("has a primary, " + pc.Primary.String())
		}
		if typ == idl.CtUpgradeToPrimary && !slices.Contains(pc.Secondaries, node) {
			return bad("is no secondary")
		}
		if typ == idl.CtAssignPrimary && len(pc.Secondaries) > 0 {
			return bad("has secondaries that would be passed over")
		}
		next.Primary = node
		next.Secondaries = without(next.Secondaries, node)
		next.LastDrops = without(next.LastDrops, node)
	case idl.CtUpgradeToSecondary:
		if pc.Primary.IsZero() {
			return bad("has no primary that could have taught it")
		}
		if isMember(pc, node) {
			return bad("is a member already")
		}
		next.Secondaries = append(next.Secondaries, node)
		next.LastDrops = without(next.LastDrops, node)
	case idl.CtDowngradeToSecondary:
		if pc.Primary != node {
			return bad("is not the primary")
		}
		next.Primary = 0
		next.Secondaries = append(next.Secondaries, node)
	case idl.CtDowngradeToInactive, idl.CtRemove:
		switch {
		case pc.Primary == node:
			next.Primary = 0
		case slices.Contains(pc.Secondaries, node):
			next.Secondaries = without(next.Secondaries, node)
		default:
			return bad("is no member")
		}
		next.LastDrops = remember(next.LastDrops, node)
	case idl.CtPrimaryForceUpdateBallot:
		if pc.Primary.IsZero() {
			return bad("has no primary")
		}
	default:
		return bad("is not a change a replica server may ask for")
	}
	return &next, nil
}

// dropConfig is a partition's configuration once its table is dropped: nobody serves it, and
// those who did are remembered, the primary as the last.
func dropConfig(pc *idl.PartitionConfiguration) *idl.PartitionConfiguration {
	next := *pc
	next.Ballot++
	next.PartitionFlags |= flagDropped
	next.LastDrops = slices.Clone(pc.LastDrops)
	for _, s := range pc.Secondaries {
		next.LastDrops = remember(next.LastDrops, s)
	}
	if !pc.Primary.IsZero() {
		next.LastDrops = remember(next.LastDrops, pc.Primary)
	}
	next.Primary, next.Secondaries = 0, nil
	return &next
}

// recallConfig is a partition's configuration once its table is back: its primary is still to be
// found.
func recallConfig(pc *idl.PartitionConfiguration) *idl.PartitionConfiguration {
	next := *pc
	next.Ballot++
	next.PartitionFlags &^= flagDropped
	return &next
}

// resizeConfig is a partition's configuration with another number of replicas to have.
func resizeConfig(pc *idl.PartitionConfiguration, replicas int32) *idl.PartitionConfiguration {
	next := *pc
	next.Ballot++
	next.MaxReplicaCount = replicas
	return &next
}

func remember(drops []idl.RPCAddress, node idl.RPCAddress) []idl.RPCAddress {
	drops = append(without(drops, node), node)
	if n := len(drops) - maxLastDrops; n > 0 {
		drops = drops[n:]
	}
	return drops
}

func without(list []idl.RPCAddress, node idl.RPCAddress) []idl.RPCAddress {
	return slices.DeleteFunc(list, func(a idl.RPCAddress) bool { return a == node })
}

// sameMembers compares the roles of two configurations; the order of secondaries has no meaning.
func sameMembers(a, b *idl.PartitionConfiguration) bool {
	if a.Primary != b.Primary || len(a.Secondaries) != len(b.Secondaries) {
		return false
	}
	for _, s := range a.Secondaries {
		if !slices.Contains(b.Secondaries, s) {
			return false
		}
	}
	return true
}
