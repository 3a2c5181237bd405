// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

func TestClassOf(t *testing.T) {
	for _, tt := range []struct {
		primary           bool
		secondaries, want int
		class             Class
		counts            Health
	}{
		{true, 2, 3, Healthy, Health{Fully: 1}},
		{true, 3, 3, Healthy, Health{Fully: 1}},
		{true, 0, 1, Healthy, Health{Fully: 1}},
		{true, 1, 3, Ill, Health{Unhealthy: 1}},
		{true, 0, 3, Unwritable, Health{Unhealthy: 1, WriteUnhealthy: 1}},
		{true, 0, 2, Unwritable, Health{Unhealthy: 1, WriteUnhealthy: 1}},
		{false, 2, 3, Unreadable, Health{Unhealthy: 1, WriteUnhealthy: 1, ReadUnhealthy: 1}},
		{false, 0, 3, Dead, Health{Unhealthy: 1, WriteUnhealthy: 1, ReadUnhealthy: 1}},
		{false, 0, 1, Dead, Health{Unhealthy: 1, WriteUnhealthy: 1, ReadUnhealthy: 1}},
	} {
		c := ClassOf(tt.primary, tt.secondaries, tt.want)
		require.Equal(t, tt.class, c, "%+v", tt)
		var h Health
		h.Add(c)
		require.Equal(t, tt.counts, h, "%+v", tt)
		var back Class
		text, err := c.MarshalText()
		require.NoError(t, err)
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, c, back)
	}
	require.Error(t, new(Class).UnmarshalText([]byte("fine")))
}

func TestParseServerInfo(t *testing.T) {
	start := time.Date(2026, 11, 22, 3, 15, 59, 0, time.Local)
	for _, tt := range []struct {
		text string
		want Server
		bad  bool
	}{
		{text: "Pegasus Server 2.5.0 (abc123) Release, Started at 2026-11-22 03:15:59", want: Server{"2.5.0", "abc123", "Release", start}},
		{text: "Pegasus Server 1.11.6 (abc), Started at 2026-11-22 03:15:59\n", want: Server{"1.11.6", "abc", "", start}},
		{text: `{"build_type":"Release","git_SHA":"db756d","start_time":"2026-11-22 03:15:59","version":"2.6.0-SNAPSHOT"}`,
			want: Server{"2.6.0-SNAPSHOT", "db756d", "Release", start}},
		{text: "unknown command 'server-info'", bad: true},
		{text: "", bad: true},
		{text: "{", bad: true},
		{text: "{}", bad: true},
		{text: `{"version":"1","start_time":"yesterday"}`, bad: true},
	} {
		got, err := ParseServerInfo(tt.text)
		require.Equal(t, tt.bad, err != nil, "%q: %v", tt.text, err)
		require.Equal(t, tt.want, got, tt.text)
	}
}

// well returns facts with nothing wrong.
func well() *Facts {
	f := &Facts{
		Leader: "m1", Level: "steady", EffectiveLevel: "steady",
		Metas: []Meta{{Address: "m1", Leader: true, Answers: true}, {Address: "m2", Answers: true}},
		Nodes: []Node{{Address: "n1", Alive: true, Answers: true}, {Address: "n2", Alive: true, Answers: true}, {Address: "n3", Alive: true, Answers: true}},
		Tables: []Table{
			{ID: 1, Name: "old", Status: "DROPPED", PartitionCount: 4},
			{ID: 2, Name: "temp", Status: "AVAILABLE", PartitionCount: 2, ReplicaCount: 3, Known: true},
		},
	}
	for i := range 2 {
		f.Tables[1].Partitions = append(f.Tables[1].Partitions, Partition{Index: i, Ballot: 3, Primary: "n1", Secondaries: []string{"n2", "n3"}})
	}
	return f
}

func TestHealthyNeedsCompleteEvidence(t *testing.T) {
	ok, reasons := well().Healthy()
	require.True(t, ok, "%v", reasons)
	for _, tt := range []struct {
		name   string
		break_ func(f *Facts)
		says   string
	}{
		{"no leader", func(f *Facts) { f.Leader = "" }, "no meta server leads"},
		{"silent follower", func(f *Facts) { f.Metas[1].Answers = false }, "meta server m2 does not answer"},
		{"level unknown", func(f *Facts) { f.EffectiveLevel = "" }, "level is not known"},
		{"frozen by itself", func(f *Facts) { f.EffectiveLevel = "freezed" }, "set to steady and is freezed in effect"},
		{"blind", func(f *Facts) { f.Level, f.EffectiveLevel = "blind", "blind" }, "level is blind"},
		{"no nodes", func(f *Facts) { f.Nodes = nil }, "no replica server is known"},
		{"dead node", func(f *Facts) { f.Nodes[2].Alive = false }, "replica server n3 is not alive"},
		{"members on a dead node", func(f *Facts) { f.Nodes[2].Alive = false }, "2 partitions have a replica on n3"},
		{"mute node", func(f *Facts) { f.Nodes[0].Answers = false }, "n1 counts as alive and does not answer"},
		{"table being created", func(f *Facts) { f.Tables[1].Status = "CREATING" }, "table temp is CREATING"},
		{"partitions unknown", func(f *Facts) { f.Tables[1].Known = false }, "partitions of table temp are not known"},
		{"partitions incomplete", func(f *Facts) { f.Tables[1].Partitions = f.Tables[1].Partitions[:1] }, "shows 1 of its 2 partitions"},
		{"ill partition", func(f *Facts) { f.Tables[1].Partitions[1].Class = Ill }, "1 of 2 partitions ill: 2.1"},
		{"dead partition", func(f *Facts) { f.Tables[1].Partitions[0].Class = Dead }, "1 of 2 partitions dead: 2.0"},
		{"something missing", func(f *Facts) { f.missing("the weather") }, "not known: the weather"},
	} {
		f := well()
		tt.break_(f)
		ok, reasons := f.Healthy()
		require.False(t, ok, tt.name)
		require.Contains(t, strings.Join(reasons, "\n"), tt.says, tt.name)
	}
}

func TestManyIllPartitionsAreAbbreviated(t *testing.T) {
	require.Equal(t, "1 2", abbreviate([]string{"1", "2"}))
	require.Equal(t, "1 2 3 4 5 6 7 8 and 2 more", abbreviate(strings.Fields("1 2 3 4 5 6 7 8 9 10")))
}

func TestConfigureAndCount(t *testing.T) {
	addr := func(s string) idl.RPCAddress {
		a, err := idl.ParseAddress(s)
		require.NoError(t, err)
		return a
	}
	n1, n2, n3 := addr("10.0.0.1:1"), addr("10.0.0.2:1"), addr("10.0.0.3:1")
	table := newTable(&idl.AppInfo{AppID: 2, AppName: "temp", Status: idl.AsAvailable, PartitionCount: 3, MaxReplicaCount: 3, CreateSecond: 1})
	table.Configure(&client.TableConfig{AppID: 2, PartitionCount: 3, Partitions: []idl.PartitionConfiguration{
		{Pid: idl.GPID{AppID: 2, PartitionIndex: 0}, MaxReplicaCount: 3, Primary: n1, Secondaries: []idl.RPCAddress{n2, n3}},
		{Pid: idl.GPID{AppID: 2, PartitionIndex: 1}, MaxReplicaCount: 3, Primary: n2, Secondaries: []idl.RPCAddress{n1}},
		{Pid: idl.GPID{AppID: 2, PartitionIndex: 2}, MaxReplicaCount: 3, Secondaries: []idl.RPCAddress{n2}},
	}})
	require.Equal(t, Health{Fully: 1, Unhealthy: 2, WriteUnhealthy: 1, ReadUnhealthy: 1}, table.Health)
	require.Equal(t, 2, table.Partitions[1].Replicas())
	f := &Facts{Nodes: []Node{{Address: n1.String()}, {Address: n2.String()}}, Tables: []Table{table}}
	f.countReplicas()
	require.Equal(t, []int{1, 1, 1, 2}, []int{f.Nodes[0].Primaries, f.Nodes[0].Secondaries, f.Nodes[1].Primaries, f.Nodes[1].Secondaries})
	require.Equal(t, []string{"the node 10.0.0.3:1, which has 1 replicas and is not in the list of nodes"}, f.Missing)
	b, err := json.Marshal(f.Tables[0].Partitions[2])
	require.NoError(t, err)
	require.JSONEq(t, `{"pidx":2,"ballot":0,"primary":"","secondaries":["10.0.0.2:1"],"class":"unreadable"}`, string(b))
}
