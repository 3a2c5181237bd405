// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"strings"
)

// A Class is the health of one partition, from the best to the worst.
type Class int

// The classes. Writable and readable are what clients notice.
const (
	Healthy    Class = iota // primary, and all copies that are wanted
	Ill                     // primary and at least two copies, but fewer than wanted
	Unwritable              // primary and fewer than two copies
	Unreadable              // secondaries, but no primary
	Dead                    // no member at all ("DDD"): needs ddd_diagnose
)

var classNames = [...]string{"healthy", "ill", "unwritable", "unreadable", "dead"}

// String returns the name as it stands in JSON.
func (c Class) String() string {
	if c < 0 || int(c) >= len(classNames) {
		return fmt.Sprintf("class %d", int(c))
	}
	return classNames[c]
}

// MarshalText implements encoding.TextMarshaler.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Class) UnmarshalText(b []byte) error {
	for i, name := range classNames {
		if name == string(b) {
			*c = Class(i)
			return nil
		}
	}
	return fmt.Errorf("unknown health class %q", b)
}

// ClassOf is the health of a partition with these members that should have want copies. The
// limit of two copies for writing is the one the Pegasus shell and its HTTP pages use whatever
// the server's mutation_2pc_min_replica_count; a table that wants one copy is healthy with one.
func ClassOf(hasPrimary bool, secondaries, want int) Class {
	switch {
	case !hasPrimary && secondaries == 0:
		return Dead
	case !hasPrimary:
		return Unreadable
	case secondaries+1 >= want:
		return Healthy
	case secondaries+1 < 2:
		return Unwritable
	}
	return Ill
}

// Health counts the partitions of a table in the columns of "ls -d". Unhealthy includes
// WriteUnhealthy, which includes ReadUnhealthy.
type Health struct {
	Fully          int `json:"fully_healthy"`
	Unhealthy      int `json:"unhealthy"`
	WriteUnhealthy int `json:"write_unhealthy"`
	ReadUnhealthy  int `json:"read_unhealthy"`
}

// Add counts one partition.
func (h *Health) Add(c Class) {
	if c == Healthy {
		h.Fully++
		return
	}
	h.Unhealthy++
	if c >= Unwritable {
		h.WriteUnhealthy++
	}
	if c >= Unreadable {
		h.ReadUnhealthy++
	}
}

// Healthy reports whether nothing is wrong with the cluster, or why that cannot be said: a
// sentence for each trouble and for each fact that is missing. It is true only if the leader, its
// level, every meta server, every node, and every partition of every table are known to be well.
func (f *Facts) Healthy() (ok bool, reasons []string) {
	say := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	if f.Leader == "" {
		say("no meta server leads")
	}
	for _, m := range f.Metas {
		if !m.Answers {
			say("meta server %s does not answer", m.Address)
		}
	}
	switch {
	case f.EffectiveLevel == "":
		say("the meta function level is not known")
	case f.EffectiveLevel != "steady" && f.EffectiveLevel != "lively":
		say("the meta function level is %s: configurations are not changed and replicas are not restored", f.EffectiveLevel)
	}
	if f.Level != "" && f.EffectiveLevel != "" && f.Level != f.EffectiveLevel {
		say("the meta function level is set to %s and is %s in effect: too few nodes are alive", f.Level, f.EffectiveLevel)
	}
	if len(f.Nodes) == 0 {
		say("no replica server is known")
	}
	alive := map[string]bool{}
	for _, n := range f.Nodes {
		alive[n.Address] = n.Alive
		if !n.Alive {
			say("replica server %s is not alive", n.Address)
		} else if !n.Answers {
			say("replica server %s counts as alive and does not answer", n.Address)
		}
	}
	for i := range f.Tables {
		f.Tables[i].troubles(alive, say)
	}
	for _, m := range f.Missing {
		say("not known: %s", m)
	}
	return len(reasons) == 0, reasons
}

func (t *Table) troubles(alive map[string]bool, say func(string, ...any)) {
	switch {
	case t.Status == "DROPPED":
		return
	case !t.Available():
		say("table %s is %s", t.Name, t.Status)
		return
	case !t.Known:
		say("the partitions of table %s are not known", t.Name)
		return
	case len(t.Partitions) != t.PartitionCount:
		say("table %s shows %d of its %d partitions", t.Name, len(t.Partitions), t.PartitionCount)
	}
	var ill [len(classNames)][]string
	onDead := map[string]int{}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		id := fmt.Sprintf("%d.%d", t.ID, p.Index)
		ill[p.Class] = append(ill[p.Class], id)
		for _, m := range append([]string{p.Primary}, p.Secondaries...) {
			if m != "" && !alive[m] {
				onDead[m]++
			}
		}
	}
	for c := Dead; c > Healthy; c-- {
		if n := len(ill[c]); n > 0 {
			say("table %s: %d of %d partitions %s: %s", t.Name, n, t.PartitionCount, c, abbreviate(ill[c]))
		}
	}
	for _, m := range sortedKeys(onDead) {
		say("table %s: %d partitions have a replica on %s, which is not alive", t.Name, onDead[m], m)
	}
}

// abbreviate lists at most eight names.
func abbreviate(names []string) string {
	const limit = 8
	if len(names) <= limit {
		return strings.Join(names, " ")
	}
	return strings.Join(names[:limit], " ") + fmt.Sprintf(" and %d more", len(names)-limit)
}
