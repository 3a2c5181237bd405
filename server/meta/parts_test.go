// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

func TestCheckEnv(t *testing.T) {
	for _, x := range []struct{ key, value, hint string }{
		{"nosuchenv", "1", "app_env 'nosuchenv' is not supported"},
		{"max_replica_count.update", "updating;3", "app_env 'max_replica_count.update' is not supported"},
		{"default_ttl", "abc", "invalid value 'abc', should be an 32 bits integer"},
		{"default_ttl", "-1", "invalid value '-1', should be '>= 0'"},
		{"default_ttl", "4294967296", "invalid value '4294967296', should be an 32 bits integer"},
		{"default_ttl", "0", ""},
		{"replica.slow_query_threshold", "19", "invalid value '19', should be '>= 20'"},
		{"replica.slow_query_threshold", "20", ""},
		{"replica.slow_query_threshold", "x", "invalid value 'x', should be an 64 bits integer"},
		{"rocksdb.write_buffer_size", "16777215", "invalid value '16777215', should be 'In range [16777216, 536870912]'"},
		{"rocksdb.write_buffer_size", "536870912", ""},
		{"rocksdb.num_levels", "11", "invalid value '11', should be 'In range [1, 10]'"},
		{"manual_compact.disabled", "yes", "invalid value 'yes', should be a boolean"},
		{"manual_compact.disabled", "TRUE", ""},
		{"manual_compact.once.target_level", "-1", ""},
		{"manual_compact.once.target_level", "0", "invalid value '0', should be '-1 or >= 1'"},
		{"manual_compact.once.bottommost_level_compaction", "sometimes", "invalid value 'sometimes', should be 'force | skip'"},
		{"manual_compact.periodic.trigger_time", "3:00,21:00", ""},
		{"manual_compact.periodic.trigger_time", "24:00", "invalid value '24:00', should be times of the day as in 3:00,21:00"},
		{"rocksdb.usage_scenario", "prefer_write", ""},
		{"rocksdb.usage_scenario", "fast", "invalid value 'fast', should be 'bulk_load | normal | prefer_write'"},
		{"replica.deny_client_request", "timeout*all", ""},
		{"replica.deny_client_request", "timeout*some", "Invalid deny client args, valid include: timeout*all, timeout*write, timeout*read; reconfig*all, reconfig*write, reconfig*read"},
		{"replica.write_throttling", "10000*delay*100,20000*reject*100", ""},
		{"replica.write_throttling", "10K*delay*100, 2M*reject*0", ""},
		{"replica.write_throttling", "10*delay*1,20*delay*2", "invalid value '10*delay*1,20*delay*2': duplicate delay config"},
		{"replica.write_throttling", "10*delay", "invalid value '10*delay': invalid field count, should be 3 in each of <size[K|M]>*<delay|reject>*<milliseconds>"},
		{"replica.write_throttling", "10G*delay*1", "invalid value '10G*delay*1': invalid units '10G'"},
		{"replica.write_throttling", "10MK*delay*1", "invalid value '10MK*delay*1': invalid units '10MK'"},
		{"replica.write_throttling", "10*drop*1", "invalid value '10*drop*1': 'drop' is neither delay nor reject"},
		{"replica.write_throttling", "10*delay*-1", "invalid value '10*delay*-1': invalid milliseconds '-1'"},
		{"replica.write_throttling", "", "invalid value '': invalid field count, should be 3 in each of <size[K|M]>*<delay|reject>*<milliseconds>"},
		{"user_specified_compaction", `{"ops":[]}`, ""},
		{"user_specified_compaction", `{`, "invalid value '{', should be JSON"},
		{"business.info", "anything \n at all", ""},
	} {
		if got := checkEnv(x.key, x.value); got != x.hint {
			t.Errorf("%s=%s\n got %q\nwant %q", x.key, x.value, got, x.hint)
		}
	}
	for k, r := range envRules {
		if r.Sample != "" {
			if hint := checkEnv(k, r.Sample); hint != "" {
				t.Errorf("the sample of %s is refused: %s", k, hint)
			}
		}
	}
}

func TestChangeEnvs(t *testing.T) {
	old := map[string]string{"a.x": "1", "a.y": "2", "ab": "3"}
	empty, prefix, none := "", "a", "z"
	for _, x := range []struct {
		name string
		q    idl.ConfigurationUpdateAppEnvRequest
		want map[string]string
		hint string
	}{
		{"set", idl.ConfigurationUpdateAppEnvRequest{Op: idl.AppEnvOpSet, Keys: []string{"ab", "c"}, Values: []string{"4", "5"}},
			map[string]string{"a.x": "1", "a.y": "2", "ab": "4", "c": "5"}, ""},
		{"delete", idl.ConfigurationUpdateAppEnvRequest{Op: idl.AppEnvOpDel, Keys: []string{"ab", "none"}},
			map[string]string{"a.x": "1", "a.y": "2"}, "deleted keys:\n    ab"},
		{"delete nothing", idl.ConfigurationUpdateAppEnvRequest{Op: idl.AppEnvOpDel, Keys: []string{"none"}}, old, "no key needs to be deleted"},
		{"clear all", idl.ConfigurationUpdateAppEnvRequest{Op: idl.AppEnvOpClear, ClearPrefix: &empty},
			map[string]string{}, "deleted keys:\n    a.x\n    a.y\n    ab"},
		{"clear a prefix", idl.ConfigurationUpdateAppEnvRequest{Op: idl.AppEnvOpClear, ClearPrefix: &prefix},
			map[string]string{"ab": "3"}, "deleted keys:\n    a.x\n    a.y"},
		{"clear another prefix", idl.ConfigurationUpdateAppEnvRequest{Op: idl.AppEnvOpClear, ClearPrefix: &none}, old, "no key needs to be deleted"},
	} {
		got, hint := changeEnvs(old, &x.q)
		if d := cmp.Diff(x.want, got); d != "" || hint != x.hint {
			t.Errorf("%s: hint %q, %s", x.name, hint, d)
		}
	}
	for _, q := range []idl.ConfigurationUpdateAppEnvRequest{
		{Op: idl.AppEnvOpSet}, {Op: idl.AppEnvOpSet, Keys: []string{"default_ttl"}}, {Op: idl.AppEnvOpSet, Keys: []string{"x"}, Values: []string{"1"}},
		{Op: idl.AppEnvOpDel}, {Op: idl.AppEnvOpClear}, {Op: 9}} {
		if invalidEnvUpdate(&q) == "" {
			t.Errorf("%+v was accepted", q)
		}
	}
}

func TestDetector(t *testing.T) {
	const minute = time.Minute
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a, b := addr(1, 1), addr(2, 1)
	o := DefaultOptions()
	at := func(d time.Duration) time.Time { return t0.Add(d) }
	started := func(d time.Duration) int64 { return t0.Add(d).UnixMilli() }

	t.Run("life and death", func(t *testing.T) {
		d := newDetector(&o)
		d.presume(b, t0)
		if v, r := d.beacon(a, started(0), t0); v != beatJoined || r {
			t.Error(v, r)
		}
		if v, r := d.beacon(a, started(0), at(3*time.Second)); v != beatAlive || r {
			t.Error(v, r)
		}
		if dead := d.check(at(22 * time.Second)); dead != nil {
			t.Errorf("%v died within the grace period", dead)
		}
		if dead := d.check(at(24 * time.Second)); len(dead) != 1 || dead[0] != b {
			t.Errorf("dead: %v, want the one that was never heard", dead)
		}
		if dead := d.check(at(26 * time.Second)); len(dead) != 1 || dead[0] != a {
			t.Errorf("dead: %v", dead)
		}
		if dead := d.check(at(60 * time.Second)); dead != nil {
			t.Errorf("%v died twice", dead)
		}
		if v, r := d.beacon(a, started(0), at(minute)); v != beatJoined || r {
			t.Errorf("the same process is back: %v %v", v, r)
		}
		d.check(at(2 * minute))
		if v, r := d.beacon(a, started(2*minute), at(2*minute)); v != beatJoined || !r {
			t.Errorf("another process is back: %v %v", v, r)
		}
		if v, r := d.beacon(b, started(minute), at(2*minute)); v != beatJoined || r {
			t.Errorf("first beacon of one that was presumed alive: %v %v", v, r)
		}
	})
	t.Run("restart within the grace period", func(t *testing.T) {
		d := newDetector(&o)
		d.beacon(a, started(0), t0)
		if v, r := d.beacon(a, started(time.Second), at(2*time.Second)); v != beatAlive || !r {
			t.Error(v, r)
		}
	})
	t.Run("flapping", func(t *testing.T) {
		d := newDetector(&o)
		now := time.Duration(0)
		for i := range 5 {
			now += 10 * time.Second
			if v, _ := d.beacon(a, started(now), at(now)); v == beatIgnored {
				t.Errorf("start %d is ignored", i+1)
			}
		}
		now += 10 * time.Second
		start := started(now)
		for ; now < 11*minute; now += minute {
			v, _ := d.beacon(a, start, at(now))
			if up := at(now).Sub(time.UnixMilli(start)); (v == beatIgnored) != (up < o.StableRunning) {
				t.Errorf("up for %v: %v", up, v)
			}
		}
		o := o
		o.StableRunning = 0
		d = newDetector(&o)
		for i := range int64(20) {
			if v, _ := d.beacon(a, t0.UnixMilli()+i, t0); v == beatIgnored {
				t.Error("ignored although stability is not asked for")
			}
		}
	})
	t.Run("allow list", func(t *testing.T) {
		o := o
		o.AllowList = []idl.RPCAddress{a}
		d := newDetector(&o)
		if v, _ := d.beacon(b, 1, t0); v != beatRefused {
			t.Error(v)
		}
		if v, _ := d.beacon(a, 1, t0); v != beatJoined {
			t.Error(v)
		}
	})
}

func TestTableNames(t *testing.T) {
	for name, want := range map[string]bool{"temp": true, "a.b_c:d-9": true, "": false, "a b": false, "a/b": false, "ü": false,
		strings.Repeat("x", 128): true, strings.Repeat("x", 129): false} {
		if validTableName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for what, spoil := range map[string]func(*Options){
		"no address":     func(o *Options) { o.Self = 0 },
		"no mux":         func(o *Options) { o.Mux = nil },
		"no interval":    func(o *Options) { o.CureInterval = 0 },
		"percentage":     func(o *Options) { o.LivePercentage = 101 },
		"replica limits": func(o *Options) { o.MaxAllowedReplicas = 0 },
		"default table":  func(o *Options) { o.DefaultTables = []TableSpec{{Name: "a b", Partitions: 1, Replicas: 1}} },
		"default env": func(o *Options) {
			o.DefaultTables = []TableSpec{{Name: "a", Partitions: 1, Replicas: 1, Envs: map[string]string{"x": ""}}}
		},
	} {
		o := DefaultOptions()
		o.Self = addr(1, 1)
		spoil(&o)
		if _, err := Start(t.Context(), o); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}
