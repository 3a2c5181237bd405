// SPDX-License-Identifier: Apache-2.0

package guardian

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// Nodes of the tests. Each test says which of them live.
var (
	a = node(1)
	b = node(2)
	c = node(3)
	d = node(4)
	e = node(5)
)

func node(i byte) idl.RPCAddress { return idl.MakeAddress([4]byte{10, 0, 0, i}, 34801) }

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type nodes []idl.RPCAddress

func view(alive ...idl.RPCAddress) *View {
	v := &View{Now: t0, Nodes: map[idl.RPCAddress]Node{}, Loads: NewLoads(),
		Settings: Settings{MinReplicas: 2, AssignDelay: 10 * time.Minute, MaxAdds: -1}}
	for _, n := range []idl.RPCAddress{a, b, c, d, e} {
		v.Nodes[n] = Node{}
	}
	for _, n := range alive {
		v.Nodes[n] = Node{Alive: true, Collected: true}
	}
	return v
}

func config(primary idl.RPCAddress, secondaries nodes, drops ...idl.RPCAddress) *idl.PartitionConfiguration {
	return &idl.PartitionConfiguration{Pid: idl.GPID{AppID: 1, PartitionIndex: 0}, Ballot: 3, MaxReplicaCount: 3,
		Primary: primary, Secondaries: secondaries, LastDrops: drops}
}

func gone(n idl.RPCAddress, ago time.Duration) Dropped {
	return Dropped{Node: n, Time: t0.Add(-ago), Known: true, Held: true, Ballot: 3, Committed: 10, Prepared: 12}
}

func with(x Dropped, ballot, committed, prepared int64) Dropped {
	x.Ballot, x.Committed, x.Prepared = ballot, committed, prepared
	return x
}

// do writes a decision as the tests spell it.
func do(x Decision) string {
	name := func(n idl.RPCAddress) string {
		for i, m := range []idl.RPCAddress{a, b, c, d, e} {
			if n == m {
				return string("abcde"[i])
			}
		}
		return "-"
	}
	switch x.Do {
	case Propose, Keep, KeepQuiet:
		return fmt.Sprintf("%s%s %s@%s", map[Verb]string{Keep: "again ", KeepQuiet: "later "}[x.Do],
			strings.TrimPrefix(x.Action.Type.String(), "CT_"), name(x.Action.Node), name(x.Action.Target))
	case DropNode:
		return "drop " + name(x.Action.Node)
	}
	return "wait: " + x.Reason
}

func TestDecide(t *testing.T) {
	const notBack = "hasn't come back yet"
	minutes := func(n int) time.Duration { return time.Duration(n) * time.Minute }
	tests := []struct {
		name  string
		alive nodes
		p     Partition
		tune  func(*View, *Partition)
		want  string
	}{
		{"healthy", nodes{a, b, c}, Partition{Config: config(a, nodes{b, c})}, nil, "wait: "},
		{"dead primary leaves", nodes{b, c}, Partition{Config: config(a, nodes{b, c})}, nil, "drop a"},
		{"restarted primary leaves", nodes{a, b, c}, Partition{Config: config(a, nodes{b, c}), Gone: nodes{a}}, nil, "drop a"},
		{"dead primary goes before the pending action", nodes{b, c},
			Partition{Config: config(a, nodes{b}), Pending: &Action{idl.CtAddSecondary, a, c}}, nil, "drop a"},
		{"unknown primary leaves", nodes{b, c}, Partition{Config: config(node(9), nodes{b, c})}, nil, "drop -"},

		{"secondary is upgraded", nodes{b, c}, Partition{Config: config(0, nodes{b, c}, a)}, nil, "UPGRADE_TO_PRIMARY b@b"},
		{"least loaded secondary is upgraded", nodes{b, c}, Partition{Config: config(0, nodes{b, c}, a)},
			func(v *View, _ *Partition) {
				v.Loads.Add(&idl.PartitionConfiguration{Pid: idl.GPID{AppID: 1, PartitionIndex: 1}, Primary: b})
			}, "UPGRADE_TO_PRIMARY c@c"},
		{"primaries of the table count before all primaries", nodes{b, c}, Partition{Config: config(0, nodes{b, c}, a)},
			func(v *View, _ *Partition) {
				v.Loads.Add(&idl.PartitionConfiguration{Pid: idl.GPID{AppID: 1, PartitionIndex: 1}, Primary: b})
				for i := range int32(3) {
					v.Loads.Add(&idl.PartitionConfiguration{Pid: idl.GPID{AppID: 2, PartitionIndex: i}, Primary: c})
				}
			}, "UPGRADE_TO_PRIMARY c@c"},
		{"only living secondaries are upgraded", nodes{c}, Partition{Config: config(0, nodes{b, c}, a)}, nil, "UPGRADE_TO_PRIMARY c@c"},
		{"no secondary lives", nodes{a, d}, Partition{Config: config(0, nodes{b, c}, a)}, nil,
			"wait: none of the secondaries [10.0.0.2:34801 10.0.0.3:34801] is alive"},
		{"restarted secondary without a primary is taken out", nodes{a, b, c},
			Partition{Config: config(0, nodes{b, c}, a), Gone: nodes{c}}, nil, "drop c"},

		{"new partition", nodes{b, c}, Partition{Config: config(0, nil)}, nil, "ASSIGN_PRIMARY b@b"},
		{"new partition ignores the black list", nodes{b}, Partition{Config: config(0, nil)},
			func(v *View, _ *Partition) { v.BlackList = map[idl.RPCAddress]bool{b: true} }, "ASSIGN_PRIMARY b@b"},
		{"new partition goes to the least loaded", nodes{b, c}, Partition{Config: config(0, nil)},
			func(v *View, _ *Partition) {
				v.Loads.Expect(1, Action{idl.CtAssignPrimary, b, b})
			}, "ASSIGN_PRIMARY c@c"},
		{"new partition, nobody there", nil, Partition{Config: config(0, nil)}, nil, "wait: new partition, no node is alive"},
		{"new partition while nodes gather", nodes{b}, Partition{Config: config(0, nil)},
			func(v *View, _ *Partition) { v.GatherUntil = t0.Add(time.Second) },
			"wait: new partition, waiting a moment for more nodes to connect"},

		{"single drop is back", nodes{a, b}, Partition{Config: config(0, nil, a), Dropped: []Dropped{gone(a, 0)}}, nil, "ASSIGN_PRIMARY a@a"},
		{"single drop is away", nodes{b}, Partition{Config: config(0, nil, a), Dropped: []Dropped{gone(a, 0)}}, nil,
			"wait: the last dropped node(10.0.0.1:34801) " + notBack},
		{"single drop is back empty", nodes{a}, Partition{Config: config(0, nil, a), Dropped: []Dropped{{Node: a, Known: true}}}, nil,
			"wait: the last dropped node(10.0.0.1:34801) is back without a replica of this partition"},
		{"single drop has not reported", nodes{a}, Partition{Config: config(0, nil, a), Dropped: []Dropped{{Node: a}}}, nil,
			"wait: the last dropped node(10.0.0.1:34801) is unavailable because it has not reported its replicas since it was dropped"},

		{"two drops, equal: the latest", nodes{a, b}, Partition{Config: config(0, nil, a, b),
			Dropped: []Dropped{gone(a, 2), gone(b, 1)}}, nil, "ASSIGN_PRIMARY b@b"},
		{"two drops, equal: the less loaded", nodes{a, b}, Partition{Config: config(0, nil, a, b),
			Dropped: []Dropped{gone(a, 2), gone(b, 1)}}, func(v *View, _ *Partition) { v.Loads.Expect(1, Action{idl.CtAssignPrimary, b, b}) },
			"ASSIGN_PRIMARY a@a"},
		{"two drops, larger ballot", nodes{a, b}, Partition{Config: config(0, nil, a, b),
			Dropped: []Dropped{with(gone(a, 2), 4, 10, 12), with(gone(b, 1), 3, 10, 12)}}, nil, "ASSIGN_PRIMARY a@a"},
		{"two drops, larger committed", nodes{a, b}, Partition{Config: config(0, nil, a, b),
			Dropped: []Dropped{with(gone(a, 2), 3, 11, 12), with(gone(b, 1), 3, 10, 12)}}, nil, "ASSIGN_PRIMARY a@a"},
		{"two drops, larger prepared", nodes{a, b}, Partition{Config: config(0, nil, a, b),
			Dropped: []Dropped{with(gone(a, 2), 3, 10, 13), with(gone(b, 1), 3, 10, 12)}}, nil, "ASSIGN_PRIMARY a@a"},
		{"two drops, one is empty", nodes{a, b}, Partition{Config: config(0, nil, a, b),
			Dropped: []Dropped{gone(a, 2), {Node: b, Known: true}}}, nil, "ASSIGN_PRIMARY a@a"},
		{"two drops, one is not listed", nodes{a, b}, Partition{Config: config(0, nil, a, b),
			Dropped: []Dropped{gone(a, 2)}}, nil, "ASSIGN_PRIMARY a@a"},
		{"two drops, both empty", nodes{a, b}, Partition{Config: config(0, nil, a, b)}, nil,
			"wait: no replica info collected from the last two drops"},
		{"two drops, the older is away", nodes{b}, Partition{Config: config(0, nil, a, b),
			Dropped: []Dropped{gone(a, 2), gone(b, 1)}}, nil, "wait: the last dropped node(10.0.0.1:34801) " + notBack},
		{"two drops, the latest is away", nodes{a}, Partition{Config: config(0, nil, a, b),
			Dropped: []Dropped{gone(a, 2), gone(b, 1)}}, nil, "wait: the last dropped node(10.0.0.2:34801) " + notBack},
		{"two drops, not collected", nodes{a, b}, Partition{Config: config(0, nil, a, b), Dropped: []Dropped{gone(a, 2), gone(b, 1)}},
			func(v *View, _ *Partition) { v.Nodes[b] = Node{Alive: true} },
			"wait: the last dropped node(10.0.0.2:34801) is unavailable because it has not reported its replicas yet"},
		{"two drops, larger ballot whose commit point lags", nodes{a, b}, Partition{Config: config(0, nil, a, b),
			Dropped: []Dropped{with(gone(a, 2), 4, 9, 12), with(gone(b, 1), 3, 10, 12)}}, nil, "ASSIGN_PRIMARY a@a"},
		{"two drops, larger ballot without the committed log", nodes{a, b}, Partition{Config: config(0, nil, a, b),
			Dropped: []Dropped{with(gone(a, 2), 4, 9, 9), with(gone(b, 1), 3, 10, 12)}}, nil,
			"wait: for the last two drops, the log of the better one misses committed mutations: " +
				"10.0.0.1:34801 has ballot 4, committed 9 and prepared 9, 10.0.0.2:34801 has ballot 3 and committed 10"},
		{"two drops, meta knows of more", nodes{a, b}, Partition{Config: config(0, nil, a, b), Dropped: []Dropped{gone(a, 2), gone(b, 1)}},
			func(_ *View, p *Partition) { p.Config.LastCommittedDecree = 13 },
			"wait: for the last two drops, max prepared decree(12) is less than the last committed decree on meta(13)"},
		{"two drops, prepared too small", nodes{a, b}, Partition{Config: config(0, nil, a, b),
			Dropped: []Dropped{with(gone(a, 2), 3, 10, 9), with(gone(b, 1), 3, 10, 9)}}, nil,
			"wait: for the last two drops, the log of the better one misses committed mutations: " +
				"10.0.0.2:34801 has ballot 3, committed 10 and prepared 9, 10.0.0.1:34801 has ballot 3 and committed 10"},
		{"three drops, the last two count", nodes{b, c}, Partition{Config: config(0, nil, a, b, c),
			Dropped: []Dropped{with(gone(a, 3), 9, 99, 99), gone(b, 2), gone(c, 1)}}, nil, "ASSIGN_PRIMARY c@c"},

		{"dead secondary is taken out by the primary", nodes{a, b}, Partition{Config: config(a, nodes{b, c})}, nil, "DOWNGRADE_TO_INACTIVE c@a"},
		{"restarted secondary is taken out by the primary", nodes{a, b, c}, Partition{Config: config(a, nodes{b, c}), Gone: nodes{b}}, nil,
			"DOWNGRADE_TO_INACTIVE b@a"},

		{"lost secondary is waited for", nodes{a, b, d}, Partition{Config: config(a, nodes{b}, c), Dropped: []Dropped{gone(c, minutes(9))}}, nil,
			"wait: waiting for the last dropped node(10.0.0.3:34801) to come back"},
		{"lost secondary is back", nodes{a, b, c, d}, Partition{Config: config(a, nodes{b}, c), Dropped: []Dropped{gone(c, minutes(9))}}, nil,
			"ADD_SECONDARY c@a"},
		{"lost secondary is replaced after the delay", nodes{a, b, d}, Partition{Config: config(a, nodes{b}, c), Dropped: []Dropped{gone(c, minutes(11))}}, nil,
			"ADD_SECONDARY d@a"},
		{"lost secondary is black-listed", nodes{a, b, c, d}, Partition{Config: config(a, nodes{b}, c), Dropped: []Dropped{gone(c, 0)}},
			func(v *View, _ *Partition) { v.BlackList = map[idl.RPCAddress]bool{c: true} }, "ADD_SECONDARY d@a"},
		{"too few to write: no waiting", nodes{a, d}, Partition{Config: config(a, nil, b, c), Dropped: []Dropped{gone(b, 2), gone(c, 1)}}, nil,
			"ADD_SECONDARY d@a"},
		{"too few to write: a living former member first", nodes{a, b, d}, Partition{Config: config(a, nil, b, c), Dropped: []Dropped{gone(b, 2), gone(c, 1)}, Prefer: 9}, nil,
			"ADD_SECONDARY b@a"},
		{"former members are tried in turn", nodes{a, b, c}, Partition{Config: config(a, nil, b, c), Dropped: []Dropped{gone(b, 2), gone(c, 1)}, Prefer: 0}, nil,
			"ADD_SECONDARY b@a"},
		{"never had another member", nodes{a, b}, Partition{Config: config(a, nil)}, nil, "ADD_SECONDARY b@a"},
		{"two replicas always wait", nodes{a, c}, Partition{Config: config(a, nil, b), Dropped: []Dropped{gone(b, 1)}},
			func(_ *View, p *Partition) { p.Config.MaxReplicaCount = 2 },
			"wait: waiting for the last dropped node(10.0.0.2:34801) to come back"},
		{"nobody to add", nodes{a, b}, Partition{Config: config(a, nodes{b})}, nil, "wait: no living node is free to hold another replica"},
		{"only the black-listed to add", nodes{a, b, c}, Partition{Config: config(a, nodes{b})},
			func(v *View, _ *Partition) { v.BlackList = map[idl.RPCAddress]bool{c: true} },
			"wait: no living node is free to hold another replica"},
		{"least partitions of the table first", nodes{a, b, c, d}, Partition{Config: config(a, nodes{b})},
			func(v *View, _ *Partition) {
				v.Loads.Add(&idl.PartitionConfiguration{Pid: idl.GPID{AppID: 1, PartitionIndex: 7}, Primary: c})
				for i := range int32(4) {
					v.Loads.Add(&idl.PartitionConfiguration{Pid: idl.GPID{AppID: 2, PartitionIndex: i}, Primary: d})
				}
			}, "ADD_SECONDARY d@a"},

		{"too many secondaries", nodes{a, b, c, d}, Partition{Config: config(a, nodes{b, c, d})},
			func(v *View, _ *Partition) {
				v.Loads.Add(&idl.PartitionConfiguration{Pid: idl.GPID{AppID: 1, PartitionIndex: 1}, Primary: c})
			}, "REMOVE c@a"},
		{"replica count 1 with a secondary", nodes{a, b}, Partition{Config: config(a, nodes{b})},
			func(_ *View, p *Partition) { p.Config.MaxReplicaCount = 1 }, "REMOVE b@a"},

		{"pending action is repeated", nodes{a, b, c, d}, Partition{Config: config(a, nodes{b}, c),
			Pending: &Action{idl.CtAddSecondary, a, d}, Dropped: []Dropped{gone(c, 0)}}, nil, "again ADD_SECONDARY d@a"},
		{"pending action whose node died", nodes{a, b, c}, Partition{Config: config(a, nodes{b}, c),
			Pending: &Action{idl.CtAddSecondary, a, d}, Dropped: []Dropped{gone(c, 0)}}, nil, "ADD_SECONDARY c@a"},
		{"pending action whose target is primary no more", nodes{a, b, c, d}, Partition{Config: config(b, nodes{a, c}),
			Pending: &Action{idl.CtAddSecondary, a, d}}, nil, "wait: "},
		{"pending action that has come true", nodes{a, b, c}, Partition{Config: config(a, nodes{b, c}),
			Pending: &Action{idl.CtAddSecondary, a, c}}, nil, "wait: "},
		{"manual move goes before the cure", nodes{a, b, c}, Partition{Config: config(0, nodes{a, b, c}),
			Pending: &Action{idl.CtUpgradeToPrimary, c, c}}, nil, "again UPGRADE_TO_PRIMARY c@c"},
		{"manual removal", nodes{a, b, c}, Partition{Config: config(a, nodes{b, c}),
			Pending: &Action{idl.CtRemove, a, c}}, nil, "again REMOVE c@a"},
		{"nonsense type", nodes{a, b, c}, Partition{Config: config(a, nodes{b, c}), Pending: &Action{idl.CtRegisterChild, a, d}}, nil, "wait: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := view(tt.alive...)
			p := tt.p
			if tt.tune != nil {
				tt.tune(v, &p)
			}
			if got := do(Decide(v, &p)); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestWaitSaysWhenToAskAgain(t *testing.T) {
	x := Decide(view(a, b), &Partition{Config: config(a, nodes{b}, c), Dropped: []Dropped{gone(c, time.Minute)}})
	if want := t0.Add(9 * time.Minute); !x.Again.Equal(want) {
		t.Errorf("ask again at %v, want %v", x.Again, want)
	}
}

func TestFormerMembersAreTriedInTurn(t *testing.T) {
	v := view(a, b, c, d)
	p := &Partition{Config: config(a, nil, b, c), Dropped: []Dropped{gone(b, 2), gone(c, 1)}, Prefer: 1}
	var got []string
	for range 4 {
		x := Decide(v, p)
		p.Prefer = x.Prefer
		got = append(got, do(x))
	}
	want := []string{"ADD_SECONDARY c@a", "ADD_SECONDARY b@a", "ADD_SECONDARY c@a", "ADD_SECONDARY b@a"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNewTableSpreadsEvenly(t *testing.T) {
	v := view(a, b, c)
	r := &Round{View: v, Adds: map[idl.RPCAddress]int{}}
	var parts []*Partition
	for i := range int32(8) {
		pc := config(0, nil)
		pc.Pid.PartitionIndex = i
		parts = append(parts, &Partition{Config: pc})
	}
	settle(r, parts)
	for _, n := range []idl.RPCAddress{a, b, c} {
		l := v.Loads.Table(1, n)
		if l.Primaries < 2 || l.Primaries > 3 || l.Partitions != 8 {
			t.Errorf("%s has %+v, want 2 or 3 primaries and 8 partitions", n, l)
		}
		if len(r.Adds) != 0 {
			t.Errorf("additions are still counted: %v", r.Adds)
		}
	}
}

// settle plays the replica servers: what is proposed comes true, until nothing is proposed.
func settle(r *Round, parts []*Partition) {
	for range 10 {
		for i, x := range r.All(parts) {
			pc := parts[i].Config
			if x.Do != Propose {
				continue
			}
			r.Uncount(pc.Pid.AppID, x.Action)
			r.View.Loads.Remove(pc)
			switch x.Action.Type {
			case idl.CtAssignPrimary:
				pc.Primary = x.Action.Node
			case idl.CtAddSecondary:
				pc.Secondaries = append(pc.Secondaries, x.Action.Node)
			}
			r.View.Loads.Add(pc)
		}
	}
}

func TestFlowControl(t *testing.T) {
	part := func(i int32, primary idl.RPCAddress, secondaries nodes) *Partition {
		pc := config(primary, secondaries)
		pc.Pid.PartitionIndex = i
		return &Partition{Config: pc}
	}
	for _, tt := range []struct {
		name string
		max  int
		want []string
		held bool
	}{
		{"off", -1, []string{"ADD_SECONDARY c@a", "ADD_SECONDARY b@a", "ADD_SECONDARY c@a"}, false},
		{"one a node, the naked one first", 1, []string{"ADD_SECONDARY c@a", "ADD_SECONDARY b@a", "wait: flow control: node 10.0.0.3:34801 takes no more secondaries now"}, true},
		{"zero lets nobody in", 0, []string{
			"wait: flow control: node 10.0.0.3:34801 takes no more secondaries now",
			"wait: flow control: node 10.0.0.2:34801 takes no more secondaries now",
			"wait: flow control: node 10.0.0.3:34801 takes no more secondaries now"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := view(a, b, c)
			v.MaxAdds = tt.max
			r := &Round{View: v, Adds: map[idl.RPCAddress]int{}}
			var got []string
			for _, x := range r.All([]*Partition{part(0, a, nodes{b}), part(1, a, nil), part(2, a, nodes{b})}) {
				got = append(got, do(x))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || r.Held != tt.held {
				t.Errorf("held %v: %s", r.Held, diff)
			}
		})
	}
	t.Run("zero silences what is pending", func(t *testing.T) {
		v := view(a, b, c)
		v.MaxAdds = 0
		r := &Round{View: v, Adds: map[idl.RPCAddress]int{c: 1}}
		p := part(0, a, nodes{b})
		p.Pending = &Action{idl.CtAddSecondary, a, c}
		if got := do(r.Decide(p)); got != "later ADD_SECONDARY c@a" {
			t.Error(got)
		}
	})
	t.Run("a pending action that ends is uncounted", func(t *testing.T) {
		v := view(a, b, c)
		r := &Round{View: v, Adds: map[idl.RPCAddress]int{}}
		pending := Action{idl.CtAddSecondary, a, c}
		r.Count(1, pending)
		p := part(0, a, nodes{b, c})
		p.Pending = &pending
		if got := do(r.Decide(p)); got != "wait: " || len(r.Adds) != 0 || v.Loads.Total(c) != (Load{}) {
			t.Errorf("%s, adds %v, load %+v", got, r.Adds, v.Loads.Total(c))
		}
	})
}

func TestMinReplicas(t *testing.T) {
	for _, x := range []struct{ setting, rc, want int32 }{{2, 3, 2}, {1, 5, 1}, {0, 1, 1}, {0, 2, 1}, {0, 3, 2}, {-1, 5, 3}} {
		if got := MinReplicas(x.setting, x.rc); got != x.want {
			t.Errorf("MinReplicas(%d, %d) = %d, want %d", x.setting, x.rc, got, x.want)
		}
	}
}

func TestHealth(t *testing.T) {
	for _, x := range []struct {
		name string
		pc   *idl.PartitionConfiguration
		want Health
	}{
		{"dead", config(0, nil, a), Dead},
		{"unreadable", config(0, nodes{b}), Unreadable},
		{"unwritable", config(a, nil), Unwritable},
		{"ill", config(a, nodes{b}), WritableIll},
		{"healthy", config(a, nodes{b, c}), Healthy},
		{"more than healthy", config(a, nodes{b, c, d}), Healthy},
	} {
		if got := HealthOf(x.pc, 2); got != x.want {
			t.Errorf("%s: %v", x.name, got)
		}
	}
	one := config(a, nil)
	one.MaxReplicaCount = 1
	if got := HealthOf(one, 2); got != Healthy {
		t.Errorf("a table of one replica that has it is %v", got)
	}
}
