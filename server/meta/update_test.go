// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

func TestTransition(t *testing.T) {
	a, b, c, d := addr(1, 1), addr(2, 1), addr(3, 1), addr(4, 1)
	type pc = idl.PartitionConfiguration
	list := func(x ...idl.RPCAddress) []idl.RPCAddress { return x }
	for _, tt := range []struct {
		name string
		from pc
		typ  idl.ConfigType
		node idl.RPCAddress
		want *pc // nil: refused
	}{
		{"assign", pc{LastDrops: list(a, b)}, idl.CtAssignPrimary, b, &pc{Ballot: 1, Primary: b, LastDrops: list(a)}},
		{"assign over a primary", pc{Primary: a}, idl.CtAssignPrimary, b, nil},
		{"assign past secondaries", pc{Secondaries: list(b)}, idl.CtAssignPrimary, a, nil},
		{"upgrade", pc{Secondaries: list(b, c), LastDrops: list(a)}, idl.CtUpgradeToPrimary, b, &pc{Ballot: 1, Primary: b, Secondaries: list(c), LastDrops: list(a)}},
		{"upgrade of a stranger", pc{Secondaries: list(b)}, idl.CtUpgradeToPrimary, c, nil},
		{"upgrade over a primary", pc{Primary: a, Secondaries: list(b)}, idl.CtUpgradeToPrimary, b, nil},
		{"learner becomes secondary", pc{Primary: a, Secondaries: list(b), LastDrops: list(c)}, idl.CtUpgradeToSecondary, c, &pc{Ballot: 1, Primary: a, Secondaries: list(b, c)}},
		{"member becomes secondary", pc{Primary: a, Secondaries: list(b)}, idl.CtUpgradeToSecondary, b, nil},
		{"secondary without primary", pc{Secondaries: list(b)}, idl.CtUpgradeToSecondary, c, nil},
		{"primary steps back", pc{Primary: a, Secondaries: list(b)}, idl.CtDowngradeToSecondary, a, &pc{Ballot: 1, Secondaries: list(b, a)}},
		{"secondary steps back", pc{Primary: a, Secondaries: list(b)}, idl.CtDowngradeToSecondary, b, nil},
		{"secondary leaves", pc{Primary: a, Secondaries: list(b, c), LastDrops: list(d)}, idl.CtDowngradeToInactive, b, &pc{Ballot: 1, Primary: a, Secondaries: list(c), LastDrops: list(d, b)}},
		{"primary leaves", pc{Primary: a, Secondaries: list(b)}, idl.CtRemove, a, &pc{Ballot: 1, Secondaries: list(b), LastDrops: list(a)}},
		{"only three drops are kept", pc{Primary: d, LastDrops: list(a, b, c)}, idl.CtDowngradeToInactive, d, &pc{Ballot: 1, LastDrops: list(b, c, d)}},
		{"stranger leaves", pc{Primary: a}, idl.CtDowngradeToInactive, b, nil},
		{"same members, new ballot", pc{Primary: a, Secondaries: list(b)}, idl.CtPrimaryForceUpdateBallot, 0, &pc{Ballot: 1, Primary: a, Secondaries: list(b)}},
		{"nobody", pc{Primary: a}, idl.CtRemove, 0, nil},
		{"not for replicas", pc{Primary: a}, idl.CtDropPartition, a, nil},
		{"unknown type", pc{Primary: a}, 99, a, nil},
	} {
		before := tt.from
		before.Secondaries, before.LastDrops = slices.Clone(before.Secondaries), slices.Clone(before.LastDrops)
		got, err := transition(&tt.from, tt.typ, tt.node)
		if (err != nil) != (tt.want == nil) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if tt.want != nil {
			if !sameMembers(got, tt.want) || got.Ballot != tt.want.Ballot || !slices.Equal(got.LastDrops, tt.want.LastDrops) {
				t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
			}
		}
		if d := cmp.Diff(before, tt.from); d != "" {
			t.Errorf("%s changed its argument: %s", tt.name, d)
		}
	}
}

func TestDropConfig(t *testing.T) {
	a, b, c := addr(1, 1), addr(2, 1), addr(3, 1)
	got := dropConfig(&idl.PartitionConfiguration{Ballot: 4, Primary: a, Secondaries: []idl.RPCAddress{b, c}, LastDrops: []idl.RPCAddress{addr(9, 1)}})
	if got.Ballot != 5 || got.PartitionFlags != 1 || !got.Primary.IsZero() || len(got.Secondaries) != 0 ||
		!slices.Equal(got.LastDrops, []idl.RPCAddress{b, c, a}) {
		t.Errorf("%+v", got)
	}
}

func TestUpdateFencing(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		time.Sleep(5 * time.Second)
		c.create("t", 1, 3)
		c.awaitHealthy("t", 3, time.Second)
		now := c.query("t").Partitions[0]
		update := func(typ idl.ConfigType, node idl.RPCAddress, change func(*idl.PartitionConfiguration)) *idl.ConfigurationUpdateResponse {
			pc := now
			pc.Ballot++
			pc.Secondaries = slices.Clone(pc.Secondaries)
			change(&pc)
			r := &idl.ConfigurationUpdateResponse{}
			c.call(idl.RPCUpdatePartitionConfiguration, &idl.ConfigurationUpdateRequest{Config: pc, Type: typ, Node: node, HostNode: now.Primary}, r)
			return r
		}
		s0 := now.Secondaries[0]
		leave := func(pc *idl.PartitionConfiguration) { pc.Secondaries = without(pc.Secondaries, s0) }
		for _, tt := range []struct {
			name   string
			typ    idl.ConfigType
			node   idl.RPCAddress
			change func(*idl.PartitionConfiguration)
			want   idl.ErrorCode
		}{
			{"an old ballot", idl.CtRemove, s0, func(pc *idl.PartitionConfiguration) { leave(pc); pc.Ballot-- }, idl.ErrInvalidVersion},
			{"a ballot too far", idl.CtRemove, s0, func(pc *idl.PartitionConfiguration) { leave(pc); pc.Ballot++ }, idl.ErrInvalidVersion},
			{"another result in mind", idl.CtRemove, s0, func(pc *idl.PartitionConfiguration) {}, idl.ErrInvalidParameters},
			{"a type replicas may not use", idl.CtDropPartition, s0, leave, idl.ErrInvalidParameters},
			{"a node that is not alive", idl.CtUpgradeToSecondary, addr(9, 9), func(pc *idl.PartitionConfiguration) { pc.Secondaries = append(pc.Secondaries, addr(9, 9)) }, idl.ErrInvalidState},
			{"no such partition", idl.CtRemove, s0, func(pc *idl.PartitionConfiguration) { pc.Pid.PartitionIndex = 9 }, idl.ErrObjectNotFound},
			{"a negative partition", idl.CtRemove, s0, func(pc *idl.PartitionConfiguration) { pc.Pid.PartitionIndex = -1 }, idl.ErrObjectNotFound},
			{"the present configuration", idl.CtRemove, s0, func(pc *idl.PartitionConfiguration) { pc.Ballot-- }, idl.ErrOK},
		} {
			r := update(tt.typ, tt.node, tt.change)
			if r.Err != tt.want {
				t.Errorf("%s: %v, want %v", tt.name, r.Err, tt.want)
			}
			if tt.want != idl.ErrObjectNotFound && (r.Config.Ballot != now.Ballot || !sameMembers(&r.Config, &now)) {
				t.Errorf("%s: the answer does not say what is: %+v", tt.name, r.Config)
			}
		}
		r := update(idl.CtRemove, s0, leave)
		if r.Err != idl.ErrOK || r.Config.Ballot != now.Ballot+1 || !slices.Contains(r.Config.LastDrops, s0) {
			t.Errorf("%+v", r)
		}
		if again := update(idl.CtRemove, s0, leave); again.Err != idl.ErrOK {
			t.Errorf("the same update again, its answer being lost: %v", again.Err)
		}
	})
}

func TestDropAndRecall(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		time.Sleep(5 * time.Second)
		c.create("t", 3, 3)
		c.awaitHealthy("t", 3, time.Second)
		drop := func(name string, ifExists bool) idl.ErrorCode {
			var r idl.ConfigurationDropAppResponse
			reserve := int64(3600)
			c.call(idl.RPCDropApp, &idl.ConfigurationDropAppRequest{AppName: name, Options: idl.DropAppOptions{SuccessIfNotExist: ifExists, ReserveSeconds: &reserve}}, &r)
			return r.Err
		}
		recall := func(id int32, name string) *idl.ConfigurationRecallAppResponse {
			r := &idl.ConfigurationRecallAppResponse{}
			c.call(idl.RPCRecallApp, &idl.ConfigurationRecallAppRequest{AppID: id, NewAppName: name}, r)
			return r
		}
		if got := []idl.ErrorCode{drop("x", false), drop("x", true), drop("t", false), drop("t", false)}; !slices.Equal(got,
			[]idl.ErrorCode{idl.ErrAppNotExist, idl.ErrOK, idl.ErrOK, idl.ErrAppNotExist}) {
			t.Errorf("drops: %v", got)
		}
		if r := c.query("t"); r.Err != idl.ErrObjectNotFound {
			t.Errorf("a dropped table: %v", r.Err)
		}
		time.Sleep(time.Second)
		for _, s := range c.stubs {
			s.mu.Lock()
			for g, r := range s.replicas {
				if r.status != idl.PsInactive {
					t.Errorf("%s still serves %s", s.self, g)
				}
			}
			s.mu.Unlock()
		}
		var list idl.ConfigurationListAppsResponse
		c.call(idl.RPCListApps, &idl.ConfigurationListAppsRequest{Status: idl.AsDropped}, &list)
		if len(list.Infos) != 1 || list.Infos[0].ExpireSecond != list.Infos[0].DropSecond+3600 {
			t.Errorf("dropped tables: %+v", list.Infos)
		}
		c.create("other", 1, 3)
		for _, x := range []struct {
			id   int32
			name string
			want idl.ErrorCode
		}{{99, "", idl.ErrAppNotExist}, {2, "", idl.ErrAppExist}, {1, "other", idl.ErrInvalidParameters}} {
			if r := recall(x.id, x.name); r.Err != x.want {
				t.Errorf("recall %d as %q: %v, want %v", x.id, x.name, r.Err, x.want)
			}
		}
		time.Sleep(40 * time.Second) // a config sync of every node
		if r := recall(1, "t2"); r.Err != idl.ErrOK || r.Info.AppName != "t2" || r.Info.Status != idl.AsAvailable {
			t.Fatalf("%+v", r)
		}
		c.awaitHealthy("t2", 3, 3*time.Second)

		drop("t2", false)
		time.Sleep(2 * time.Hour)
		if r := recall(1, ""); r.Err != idl.ErrAppNotExist {
			t.Errorf("recall of an expired table: %v", r.Err)
		}
	})
}

func TestTableOperations(t *testing.T) {
	inCluster(t, 4, nil, func(t *testing.T, c *cluster) {
		time.Sleep(5 * time.Second)
		createWith := func(name string, o idl.CreateAppOptions) idl.ConfigurationCreateAppResponse {
			var r idl.ConfigurationCreateAppResponse
			c.call(idl.RPCCreateApp, &idl.ConfigurationCreateAppRequest{AppName: name, Options: o}, &r)
			return r
		}
		good := idl.CreateAppOptions{PartitionCount: 4, ReplicaCount: 3, AppType: "pegasus", IsStateful: true, Envs: map[string]string{"default_ttl": "5"}}
		with := func(f func(*idl.CreateAppOptions)) idl.CreateAppOptions {
			o := good
			f(&o)
			return o
		}
		exist := func(o *idl.CreateAppOptions) { o.SuccessIfExist = true }
		for _, x := range []struct {
			what, name string
			o          idl.CreateAppOptions
			want       idl.ErrorCode
		}{
			{"good", "t", good, idl.ErrOK},
			{"exists", "t", good, idl.ErrAppExist},
			{"exists and may", "t", with(exist), idl.ErrOK},
			{"exists in another shape", "t", with(func(o *idl.CreateAppOptions) { exist(o); o.PartitionCount = 8 }), idl.ErrInvalidParameters},
			{"exists with other envs", "t", with(func(o *idl.CreateAppOptions) { exist(o); o.Envs = nil }), idl.ErrInvalidParameters},
			{"no partitions", "u", with(func(o *idl.CreateAppOptions) { o.PartitionCount = 0 }), idl.ErrInvalidParameters},
			{"too many partitions", "u", with(func(o *idl.CreateAppOptions) { o.PartitionCount = 1 << 30 }), idl.ErrInvalidParameters},
			{"default replicas", "u", with(func(o *idl.CreateAppOptions) { o.ReplicaCount = -1 }), idl.ErrInvalidParameters},
			{"more replicas than nodes", "u", with(func(o *idl.CreateAppOptions) { o.ReplicaCount = 5 }), idl.ErrInvalidParameters},
			{"unknown env", "u", with(func(o *idl.CreateAppOptions) { o.Envs = map[string]string{"x": "y"} }), idl.ErrInvalidParameters},
			{"no name", "", good, idl.ErrInvalidParameters},
			{"a name no shell accepts", "a b", good, idl.ErrInvalidParameters},
		} {
			if r := createWith(x.name, x.o); r.Err != x.want || r.Err == idl.ErrOK && r.Appid != 1 {
				t.Errorf("create, %s: %+v, want %v", x.what, r, x.want)
			}
		}
		c.create("b.2", 2, 3)
		c.create("b:3", 2, 3)

		rename := func(from, to string) idl.ErrorCode {
			var r idl.ConfigurationRenameAppResponse
			c.call(idl.RPCRenameApp, &idl.ConfigurationRenameAppRequest{OldAppName: from, NewAppName: to}, &r)
			if (r.Err == idl.ErrOK) != (r.HintMessage == "") {
				t.Errorf("rename %s to %s: %v with hint %q", from, to, r.Err, r.HintMessage)
			}
			return r.Err
		}
		for _, x := range []struct {
			from, to string
			want     idl.ErrorCode
		}{{"none", "x", idl.ErrAppNotExist}, {"t", "t", idl.ErrInvalidParameters}, {"t", "b.2", idl.ErrInvalidParameters},
			{"t", "", idl.ErrInvalidParameters}, {"t", "tt", idl.ErrOK}, {"t", "x", idl.ErrAppNotExist}, {"tt", "t", idl.ErrOK}} {
			if err := rename(x.from, x.to); err != x.want {
				t.Errorf("rename %s to %s: %v, want %v", x.from, x.to, err, x.want)
			}
		}

		list := func(pattern string, m idl.PatternMatchType) (names []string) {
			var r idl.ConfigurationListAppsResponse
			c.call(idl.RPCListApps, &idl.ConfigurationListAppsRequest{Status: idl.AsAvailable, AppNamePattern: &pattern, MatchType: &m}, &r)
			if r.Err != idl.ErrOK {
				return []string{string(r.Err)}
			}
			for _, i := range r.Infos {
				names = append(names, i.AppName)
			}
			return names
		}
		for _, x := range []struct {
			pattern string
			m       idl.PatternMatchType
			want    []string
		}{{"", idl.PmtMatchExact, []string{"t", "b.2", "b:3"}}, {"b", idl.PmtMatchPrefix, []string{"b.2", "b:3"}}, {"2", idl.PmtMatchPostfix, []string{"b.2"}},
			{".", idl.PmtMatchAnywhere, []string{"b.2"}}, {"t", idl.PmtMatchExact, []string{"t"}}, {"^b.[0-9]$", idl.PmtMatchRegex, []string{"b.2", "b:3"}},
			{"(", idl.PmtMatchRegex, []string{"ERR_INVALID_PARAMETERS"}}, {"x", idl.PmtInvalid, []string{"ERR_INVALID_PARAMETERS"}}} {
			if got := list(x.pattern, x.m); !slices.Equal(got, x.want) {
				t.Errorf("list %q %v: %v, want %v", x.pattern, x.m, got, x.want)
			}
		}

		count := func(name string, n int32) *idl.ConfigurationSetMaxReplicaCountResponse {
			r := &idl.ConfigurationSetMaxReplicaCountResponse{}
			c.call(idl.RPCSetMaxReplicaCount, &idl.ConfigurationSetMaxReplicaCountRequest{AppName: name, MaxReplicaCount: n}, r)
			return r
		}
		c.awaitHealthy("t", 3, time.Second)
		if r := count("none", 2); r.Err != idl.ErrAppNotExist {
			t.Error(r)
		}
		if r := count("t", 5); r.Err != idl.ErrInvalidParameters || r.OldMaxReplicaCount != 3 {
			t.Error(r)
		}
		if r := count("t", 4); r.Err != idl.ErrOK || r.OldMaxReplicaCount != 3 {
			t.Error(r)
		}
		c.awaitHealthy("t", 4, 3*time.Second)
		count("t", 2)
		c.awaitHealthy("t", 2, 10*time.Second)
		var get idl.ConfigurationGetMaxReplicaCountResponse
		if c.call(idl.RPCGetMaxReplicaCount, &idl.ConfigurationGetMaxReplicaCountRequest{AppName: "t"}, &get); get.MaxReplicaCount != 2 {
			t.Error(get)
		}

		var some idl.QueryCfgResponse
		c.call(idl.RPCQueryConfig, &idl.QueryCfgRequest{AppName: "t", PartitionIndices: []int32{7, 2, -1}}, &some)
		if len(some.Partitions) != 1 || some.Partitions[0].Pid.PartitionIndex != 2 {
			t.Errorf("query for one partition: %+v", some)
		}
		c.call(idl.RPCQueryConfig, &idl.QueryCfgRequest{AppName: "t", PartitionIndices: []int32{7}}, &some)
		if len(some.Partitions) != 4 {
			t.Errorf("query for none that exists: %d partitions", len(some.Partitions))
		}
	})
}
