// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// levels are the meta function levels from doing nothing to balancing.
var levels = []string{"stopped", "blind", "freezed", "steady", "lively"}

func (s *shell) getLevel(ctx context.Context, f *flags) error {
	ctx, cancel := admin(ctx)
	defer cancel()
	level, err := s.c.Level(ctx)
	if err != nil {
		return s.fail("get meta level failed, error = %s\n%v", code(err), err)
	}
	fmt.Fprintf(s.out, "current meta level is %s\n", level)
	return nil
}

func (s *shell) setLevel(ctx context.Context, f *flags) error {
	if len(f.args) != 1 {
		return usageError("")
	}
	i := slices.Index(levels, f.args[0])
	if i < 0 {
		return usageError("ERROR: parse %s as meta function level failed", f.args[0])
	}
	ctx, cancel := admin(ctx)
	defer cancel()
	old, err := s.c.SetLevel(ctx, idl.MetaFunctionLevel(100*(i+1)))
	if err != nil {
		return s.fail("control meta level got error %s\n%v", code(err), err)
	}
	fmt.Fprintf(s.out, "control meta level ok, the old level is %s\n", old)
	return nil
}

// node reads an option that names a server.
func (s *shell) node(ctx context.Context, f *flags, key, what string) (idl.RPCAddress, error) {
	text := f.text(key, "")
	addrs, err := client.ResolveAll(ctx, []string{text})
	if err != nil || len(addrs) == 0 {
		return 0, usageError("parse %s as %s failed", text, what)
	}
	return addrs[0], nil
}

// balance moves a replica: a primary role to a secondary, or a copy to another node.
func (s *shell) balance(ctx context.Context, f *flags) error {
	if len(f.args) > 0 || !f.has("g") || !f.has("p") || !f.has("f") || !f.has("t") {
		return usageError("")
	}
	gpid, err := parseGPID(f.text("g", ""), false)
	if err != nil {
		return err
	}
	from, err := s.node(ctx, f, "f", "from_address")
	if err != nil {
		return err
	}
	to, err := s.node(ctx, f, "t", "to_address")
	if err != nil {
		return err
	}
	type action = idl.ConfigurationProposalAction
	var kind idl.BalancerRequestType
	var actions []action
	downgrade := action{Target: from, Node: from, Type: idl.CtDowngradeToSecondary}
	upgrade := action{Target: to, Node: to, Type: idl.CtUpgradeToPrimary}
	switch f.text("p", "") {
	case "move_pri":
		kind, actions = idl.BalancerRequestTypeMovePrimary, []action{downgrade, upgrade}
	case "copy_pri":
		kind = idl.BalancerRequestTypeCopyPrimary
		actions = []action{{Target: from, Node: to, Type: idl.CtAddSecondaryForLb}, downgrade, upgrade}
	case "copy_sec":
		kind = idl.BalancerRequestTypeCopySecondary
		actions = []action{{Node: to, Type: idl.CtAddSecondaryForLb}, {Node: from, Type: idl.CtDowngradeToInactive}}
	default:
		return usageError("parse %s as a balance type failed", f.text("p", ""))
	}
	ctx, cancel := admin(ctx)
	defer cancel()
	err = s.c.ProposeBalancer(ctx, gpid, actions, &kind, false)
	fmt.Fprintf(s.out, "send balance proposal result: %s\n", code(err))
	return shown(err)
}

// proposalTypes are what propose -p accepts, without the CT_ of the wire.
var proposalTypes = map[string]idl.ConfigType{}

func init() {
	for t := idl.CtAssignPrimary; t <= idl.CtAddSecondaryForLb; t++ {
		proposalTypes[strings.TrimPrefix(t.String(), "CT_")] = t
	}
}

func (s *shell) propose(ctx context.Context, f *flags) error {
	if len(f.args) > 0 || !f.has("g") || !f.has("p") || !f.has("t") || !f.has("n") {
		return usageError("")
	}
	gpid, err := parseGPID(f.text("g", ""), false)
	if err != nil {
		return err
	}
	typ, ok := proposalTypes[strings.TrimPrefix(strings.ToUpper(f.text("p", "")), "CT_")]
	if !ok {
		return usageError("parse %s as a proposal type failed", f.text("p", ""))
	}
	target, err := s.node(ctx, f, "t", "target")
	if err != nil {
		return err
	}
	node, err := s.node(ctx, f, "n", "node")
	if err != nil {
		return err
	}
	ctx, cancel := admin(ctx)
	defer cancel()
	err = s.c.ProposeBalancer(ctx, gpid, []idl.ConfigurationProposalAction{{Target: target, Node: node, Type: typ}}, nil, f.has("f"))
	fmt.Fprintf(s.out, "send proposal response: %s\n", code(err))
	return shown(err)
}

// shown is a failure whose code has been printed as the result.
func shown(err error) error {
	if err != nil {
		return errShown
	}
	return nil
}

// diagnose shows the partitions that have lost all their members, and what is known of the
// copies: for a human to choose the primary from, with propose.
func (s *shell) diagnose(ctx context.Context, f *flags) error {
	if len(f.args) > 0 {
		return usageError("")
	}
	var gpid idl.GPID
	if f.has("g") {
		var err error
		if gpid, err = parseGPID(f.text("g", ""), true); err != nil {
			return err
		}
	}
	ctx, cancel := admin(ctx)
	defer cancel()
	found, err := s.c.DDDDiagnose(ctx, gpid)
	if err != nil {
		return s.fail("ERROR: DDD diagnose failed with error %s\n%v", code(err), err)
	}
	return s.write(f, func(w io.Writer) { printDead(w, found) })
}

func printDead(w io.Writer, found []idl.DddPartitionInfo) {
	fmt.Fprintf(w, "Total %d ddd partitions:\n", len(found))
	for i, p := range found {
		fmt.Fprintf(w, "(%d) %s\n    config: ballot(%d), last_committed(%d)\n    ----\n", i+1, p.Config.Pid,
			p.Config.Ballot, p.Config.LastCommittedDecree)
		latest := rank(p.Dropped)
		for j, d := range p.Dropped {
			fmt.Fprintf(w, "    dropped[%d]: node(%s), drop_time(%s), alive(%v), collected(%v), ballot(%d), last_committed(%d), last_prepared(%d)%s\n",
				j, d.Node, clockMS(d.DropTimeMs), d.IsAlive, d.IsCollected, d.Ballot, d.LastCommittedDecree, d.LastPreparedDecree, latest[j])
		}
		fmt.Fprintln(w, "    ----")
		for j, n := range p.Config.LastDrops {
			fmt.Fprintf(w, "    last_drops[%d]: node(%s)\n", j, n)
		}
		fmt.Fprintf(w, "    ----\n    ddd_reason: %s\n", p.Reason)
	}
	fmt.Fprint(w, "\nDiagnose ddd done.\n")
}

// rank marks the two copies that were lost last.
func rank(dropped []idl.DddNodeInfo) []string {
	marks := make([]string, len(dropped))
	byTime := make([]int, len(dropped))
	for i := range byTime {
		byTime[i] = i
	}
	slices.SortStableFunc(byTime, func(a, b int) int { return int(min(max(dropped[b].DropTimeMs-dropped[a].DropTimeMs, -1), 1)) })
	for n, mark := range []string{"  <== the latest", "  <== the secondary latest"} {
		if n < len(byTime) && dropped[byTime[n]].DropTimeMs > 0 {
			marks[byTime[n]] = mark
		}
	}
	return marks
}

func clockMS(ms int64) string {
	if ms <= 0 {
		return "0"
	}
	return time.UnixMilli(ms).Format("2006-01-02 15:04:05.000")
}
