// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// An envRule is what is allowed for one table env. The texts are shown by /envs/list.
type envRule struct {
	Type   string
	Limit  string
	Sample string
	// check returns a hint for the operator, empty if the value is fine. Values of the integer
	// and boolean types have been parsed before.
	check func(value string, n int64) (hint string)
}

const (
	envBool   = "bool"
	envInt32  = "unsigned int32" // the names are historic: -1 is fine where the limit says so
	envInt64  = "unsigned int64"
	envString = "string"
)

var (
	anyText    = envRule{Type: envString}
	boolean    = envRule{Type: envBool, Limit: "true | false", Sample: "true"}
	throttling = envRule{Type: envString, Limit: "<size[K|M]>*<delay|reject>*<milliseconds>",
		Sample: "10000*delay*100,20000*reject*100", check: checkThrottling}
	targetLevel = ranged(envInt64, "-1 or >= 1", "6", func(n int64) bool { return n == -1 || n >= 1 })
	bottommost  = oneOf("skip", "force", "skip")
)

// envRules is the white list: other envs are refused.
var envRules = map[string]envRule{
	"business.info":                                   anyText,
	"default_ttl":                                     ranged(envInt32, ">= 0", "86400", atLeast(0)),
	"duplication.follower_app_status":                 anyText,
	"duplication.master_app_name":                     anyText,
	"duplication.master_cluster":                      anyText,
	"duplication.master_metas":                        anyText,
	"manual_compact.disabled":                         boolean,
	"manual_compact.max_concurrent_running_count":     ranged(envInt32, ">= 0", "8", atLeast(0)),
	"manual_compact.once.bottommost_level_compaction": bottommost,
	"manual_compact.once.target_level":                targetLevel,
	"manual_compact.once.trigger_time": ranged(envInt64, "> 0, timestamp (in seconds) to trigger the once manual compaction",
		"1700000000", atLeast(1)),
	"manual_compact.periodic.bottommost_level_compaction": bottommost,
	"manual_compact.periodic.target_level":                targetLevel,
	"manual_compact.periodic.trigger_time":                {Type: envString, check: checkTimesOfDay},
	"replica.backup_request_throttling":                   throttling,
	"replica.deny_client_request": {Type: envString,
		Limit:  "timeout*all | timeout*write | timeout*read | reconfig*all | reconfig*write | reconfig*read",
		Sample: "timeout*all", check: checkDeny},
	"replica.read_throttling":                     throttling,
	"replica.read_throttling_by_size":             {Type: envString, Sample: "20000*delay*100,20000*reject*100", check: checkThrottling},
	"replica.rocksdb_block_cache_enabled":         boolean,
	"replica.rocksdb_iteration_threshold_time_ms": ranged(envInt64, ">= 0", "1000", atLeast(0)),
	"replica.slow_query_threshold":                ranged(envInt64, ">= 20", "1000", atLeast(20)),
	"replica.split.validate_partition_hash":       boolean,
	"replica.write_throttling":                    throttling,
	"replica.write_throttling_by_size":            throttling,
	"replica_access_controller.allowed_users":     anyText,
	"replica_access_controller.ranger_policies":   anyText,
	"rocksdb.allow_ingest_behind":                 boolean,
	"rocksdb.checkpoint.reserve_min_count":        ranged(envInt32, "> 0", "2", atLeast(1)),
	"rocksdb.checkpoint.reserve_time_seconds":     ranged(envInt32, ">= 0", "3600", atLeast(0)),
	"rocksdb.num_levels":                          ranged(envInt64, "In range [1, 10]", "6", between(1, 10)),
	"rocksdb.usage_scenario":                      oneOf("normal", "bulk_load", "normal", "prefer_write"),
	"rocksdb.write_buffer_size":                   ranged(envInt64, "In range [16777216, 536870912]", "16777216", between(16<<20, 512<<20)),
	"user_specified_compaction":                   {Type: envString, check: checkJSON},
}

func atLeast(low int64) func(int64) bool { return func(n int64) bool { return n >= low } }

func between(low, high int64) func(int64) bool {
	return func(n int64) bool { return n >= low && n <= high }
}

func ranged(typ, limit, sample string, ok func(int64) bool) envRule {
	return envRule{Type: typ, Limit: limit, Sample: sample, check: func(value string, n int64) string {
		if !ok(n) {
			return fmt.Sprintf("invalid value '%s', should be '%s'", value, limit)
		}
		return ""
	}}
}

func oneOf(sample string, values ...string) envRule {
	limit := strings.Join(values, " | ")
	return envRule{Type: envString, Limit: limit, Sample: sample, check: func(value string, _ int64) string {
		if !slices.Contains(values, value) {
			return fmt.Sprintf("invalid value '%s', should be '%s'", value, limit)
		}
		return ""
	}}
}

// checkEnv judges one env. The hint is empty if it is allowed.
func checkEnv(key, value string) (hint string) {
	rule, ok := envRules[key]
	if !ok {
		return fmt.Sprintf("app_env '%s' is not supported", key)
	}
	var n int64
	var err error
	switch rule.Type {
	case envBool:
		if v := strings.ToLower(value); v != "true" && v != "false" {
			return fmt.Sprintf("invalid value '%s', should be a boolean", value)
		}
	case envInt32:
		if n, err = strconv.ParseInt(value, 10, 32); err != nil {
			return fmt.Sprintf("invalid value '%s', should be an 32 bits integer", value)
		}
	case envInt64:
		if n, err = strconv.ParseInt(value, 10, 64); err != nil {
			return fmt.Sprintf("invalid value '%s', should be an 64 bits integer", value)
		}
	}
	if rule.check == nil {
		return ""
	}
	return rule.check(value, n)
}

// invalidEnvs is the hint for the first env that is not allowed, in order of keys.
func invalidEnvs(envs map[string]string) (hint string) {
	for _, k := range slices.Sorted(maps.Keys(envs)) {
		if hint := checkEnv(k, envs[k]); hint != "" {
			return hint
		}
	}
	return ""
}

// checkThrottling accepts up to one delay and one reject rule: units, what to do, milliseconds.
func checkThrottling(value string, _ int64) string {
	seen := map[string]bool{}
	for _, rule := range strings.Split(value, ",") {
		f := strings.Split(strings.TrimSpace(rule), "*")
		if len(f) != 3 {
			return fmt.Sprintf("invalid value '%s': invalid field count, should be 3 in each of <size[K|M]>*<delay|reject>*<milliseconds>", value)
		}
		units := strings.TrimSuffix(strings.TrimSuffix(f[0], "K"), "M")
		if _, err := strconv.ParseUint(units, 10, 32); err != nil || len(f[0])-len(units) > 1 {
			return fmt.Sprintf("invalid value '%s': invalid units '%s'", value, f[0])
		}
		if f[1] != "delay" && f[1] != "reject" {
			return fmt.Sprintf("invalid value '%s': '%s' is neither delay nor reject", value, f[1])
		}
		if seen[f[1]] {
			return fmt.Sprintf("invalid value '%s': duplicate %s config", value, f[1])
		}
		seen[f[1]] = true
		if _, err := strconv.ParseUint(f[2], 10, 31); err != nil {
			return fmt.Sprintf("invalid value '%s': invalid milliseconds '%s'", value, f[2])
		}
	}
	return ""
}

func checkDeny(value string, _ int64) string {
	how, what, _ := strings.Cut(value, "*")
	if how != "timeout" && how != "reconfig" || what != "all" && what != "write" && what != "read" {
		return "Invalid deny client args, valid include: timeout*all, timeout*write, timeout*read; " +
			"reconfig*all, reconfig*write, reconfig*read"
	}
	return ""
}

var timeOfDay = regexp.MustCompile(`^([01]?[0-9]|2[0-3]):[0-5][0-9]$`)

func checkTimesOfDay(value string, _ int64) string {
	for _, t := range strings.Split(value, ",") {
		if !timeOfDay.MatchString(strings.TrimSpace(t)) {
			return fmt.Sprintf("invalid value '%s', should be times of the day as in 3:00,21:00", value)
		}
	}
	return ""
}

func checkJSON(value string, _ int64) string {
	if value != "" && !json.Valid([]byte(value)) {
		return fmt.Sprintf("invalid value '%s', should be JSON", value)
	}
	return ""
}

// updateEnv handles RPC_CM_UPDATE_APP_ENV. Replica servers get the new envs with their next
// config sync.
func (l *leader) updateEnv(q *idl.ConfigurationUpdateAppEnvRequest, reply func(*idl.ConfigurationUpdateAppEnvResponse)) {
	answer := func(code idl.ErrorCode, hint string) {
		reply(&idl.ConfigurationUpdateAppEnvResponse{Err: code, HintMessage: hint})
	}
	if hint := invalidEnvUpdate(q); hint != "" {
		answer(idl.ErrInvalidParameters, hint)
		return
	}
	t := l.names[q.AppName]
	switch {
	case !l.writable():
		answer(idl.ErrStateFreezed, "the meta function level does not allow changes of tables")
		return
	case t == nil:
		answer(idl.ErrAppNotExist, "app("+q.AppName+") does not exist")
		return
	case t.transient() != idl.ErrOK:
		answer(t.transient(), "app("+q.AppName+") is not available")
		return
	}
	l.exclusive(t, func() {
		if t.info.Status != idl.AsAvailable {
			answer(idl.ErrAppDropped, "app("+q.AppName+") has been dropped meanwhile")
			return
		}
		envs, hint := changeEnvs(t.info.Envs, q)
		if maps.Equal(envs, t.info.Envs) {
			answer(idl.ErrOK, hint)
			return
		}
		info := t.info
		info.Envs = envs
		l.log.Info("changing envs", "table", info.AppName, "app_id", info.AppID, "op", q.Op.String(), "envs", len(envs))
		l.storeTable(t, info, nil, func() { answer(idl.ErrOK, hint) })
	})
}

func invalidEnvUpdate(q *idl.ConfigurationUpdateAppEnvRequest) (hint string) {
	switch q.Op {
	case idl.AppEnvOpSet:
		if len(q.Keys) == 0 || len(q.Keys) != len(q.Values) {
			return "keys and values must be given in equal, non-zero number"
		}
		for i, k := range q.Keys {
			if hint := checkEnv(k, q.Values[i]); hint != "" {
				return hint
			}
		}
		return ""
	case idl.AppEnvOpDel:
		if len(q.Keys) == 0 {
			return "no key is given"
		}
		return ""
	case idl.AppEnvOpClear:
		if q.ClearPrefix == nil {
			return "no prefix is given; an empty one clears all envs"
		}
		return ""
	}
	return "the operation is not known"
}

// changeEnvs returns what the envs will be, and what to tell the operator.
func changeEnvs(old map[string]string, q *idl.ConfigurationUpdateAppEnvRequest) (envs map[string]string, hint string) {
	envs = maps.Clone(old)
	if envs == nil {
		envs = map[string]string{}
	}
	if q.Op == idl.AppEnvOpSet {
		for i, k := range q.Keys {
			envs[k] = q.Values[i]
		}
		return envs, ""
	}
	deleted := func(k string) bool { return slices.Contains(q.Keys, k) }
	if q.Op == idl.AppEnvOpClear {
		prefix := *q.ClearPrefix
		deleted = func(k string) bool { return prefix == "" || strings.HasPrefix(k, prefix+".") }
	}
	for _, k := range slices.Sorted(maps.Keys(old)) {
		if deleted(k) {
			delete(envs, k)
			hint += "\n    " + k
		}
	}
	if hint == "" {
		return envs, "no key needs to be deleted"
	}
	return envs, "deleted keys:" + hint
}
