// SPDX-License-Identifier: Apache-2.0

package config

import (
	"flag"
	"io"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files")

func load(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Load("f", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDeclarationsFit(t *testing.T) {
	c := New()
	seen := map[string]string{}
	for _, k := range c.keys {
		if k.Doc == "" {
			t.Errorf("[%s] %s has no description", k.Section, k.Name)
		}
		if s, ok := seen[k.Name]; ok {
			t.Errorf("%s is declared in [%s] and [%s]: HTTP cannot tell them apart", k.Name, s, k.Section)
		}
		seen[k.Name] = k.Section
		if k.Mutable && k.Type == String {
			t.Errorf("[%s] %s: texts cannot be changed at run time", k.Section, k.Name)
		}
	}
	// Every field is filled by some key.
	filled := map[any]bool{}
	for _, k := range c.keys {
		filled[k.field] = true
	}
	for _, s := range []any{&c.Core, &c.Logger, &c.Network, &c.HTTP, &c.Meta, &c.Repl, &c.NFS, &c.ZooKeeper, &c.Server, &c.Collector, &c.Security} {
		v := reflect.ValueOf(s).Elem()
		for i := range v.NumField() {
			if !filled[v.Field(i).Addr().Interface()] {
				t.Errorf("no key fills %s.%s", v.Type().Name(), v.Type().Field(i).Name)
			}
		}
	}
}

func TestValuesAreTyped(t *testing.T) {
	c := load(t, `
[core]
data_dir = /data/x
logging_start_level = LOG_LEVEL_DEBUG
[meta_server]
server_list = 10.0.0.1:34601 , meta2:34602
min_live_node_count_for_unfreeze = 1
hold_seconds_for_dropped_app = 60
[replication]
data_dirs = ssd1:/a/b, ssd2:/a/c/
config_sync_interval_ms = 1500
empty_write_disabled = TRUE
batch_write_disabled = 1
log_private_file_size_mb = 8
gc_interval_ms =
[pegasus.server]
rocksdb_bloom_filter_bits_per_key = 12.5
[pegasus.clusters]
c1 = 10.0.0.1:34601
`)
	type got struct {
		Dir   string
		Level slog.Level
		Metas []string
		Live  int
		Hold  time.Duration
		Dirs  []DataDir
		Sync  time.Duration
		Empty bool
		Batch bool
		Plog  int64
		GC    time.Duration
		Bloom float64
		C1    string
	}
	want := got{"/data/x", slog.LevelDebug, []string{"10.0.0.1:34601", "meta2:34602"}, 1, time.Minute,
		[]DataDir{{"ssd1", "/a/b"}, {"ssd2", "/a/c"}}, 1500 * time.Millisecond, true, true, 8 << 20, 30 * time.Second, 12.5, "10.0.0.1:34601"}
	have := got{c.Core.DataDir, c.Core.LogLevel, c.Meta.ServerList, c.Meta.MinLiveNodes, c.Meta.HoldDroppedApp,
		c.Repl.DataDirs, c.Repl.ConfigSyncInterval, c.Repl.EmptyWriteDisabled, c.Repl.BatchWriteDisabled,
		c.Repl.PlogSegmentBytes, c.Repl.GCInterval, c.Server.BloomBitsPerKey, c.Clusters["c1"]}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}
}

func TestShippedDefaults(t *testing.T) {
	c := New()
	if c.Repl.FDLease != 20*time.Second || c.Repl.FDGrace != 22*time.Second || c.Repl.FDBeaconInterval != 3*time.Second ||
		c.Meta.AssignDelay != 10*time.Minute || c.Meta.LivePercentage != 50 || c.Meta.MinLiveNodes != 3 ||
		c.Repl.MinReplicas2PC != 2 || c.Repl.CheckpointInterval != 300*time.Second || c.Repl.GCErrorReplica != 24*time.Hour ||
		c.Collector.DetectApp != "temp" || c.NFS.MaxSendRate != 0 || c.Meta.StateType != "meta_state_service_zookeeper" {
		t.Errorf("defaults differ from the shipped ones: %+v", c)
	}
}

func TestMistakesAreExplainedAllAtOnce(t *testing.T) {
	_, err := Load("/etc/config.ini", []byte(`[replication]
fd_lease_seconds = soon
fd_grace_seconds = 99999
data_dirs = a:/x,b:/x/y
empty_write_disabled = maybe
max_allowed_write_size = -1
[meta_server]
server_list = 10.0.0.1
meta_function_level_on_start = happy
replica_assign_delay_ms_for_dropouts = 0
[core]
logging_start_level = LOUD
[pegasus.server]
rocksdb_compression_type = lz4,zstd
rocksdb_bloom_filter_bits_per_key = many
[apps.meta]
type = mate
ports = 34601
[apps.replica]
type = replica
[apps.collector]
type = collector
ports = 99999
count = 3
[meta_server.apps.t]
app_name = t
partition_count = 0
[meta_server.apps.u]
app_name = t
`), nil)
	want := `/etc/config.ini:2: [replication] fd_lease_seconds: "soon" is not valid (no decimal integer): want an integer from 1 to 3600; the default is "20"
/etc/config.ini:3: [replication] fd_grace_seconds: "99999" is not valid (out of range): want an integer from 1 to 3600; the default is "22"
/etc/config.ini:4: [replication] data_dirs: "a:/x,b:/x/y" is not valid: /x and /x/y are or contain the same directory
/etc/config.ini:5: [replication] empty_write_disabled: "maybe" is not valid (no truth value): want true or false; the default is "false"
/etc/config.ini:6: [replication] max_allowed_write_size: "-1" is not valid (out of range): want an integer of at least 0; the default is "1048576"
/etc/config.ini:8: [meta_server] server_list: "10.0.0.1" is not valid: "10.0.0.1" is not HOST:PORT, as in 10.0.0.1:34601
/etc/config.ini:9: [meta_server] meta_function_level_on_start: "happy" is not valid (unknown): want one of stopped, blind, freezed, steady, lively; the default is "steady"
/etc/config.ini:10: [meta_server] replica_assign_delay_ms_for_dropouts: "0" is not valid (out of range): want an integer from 1 to 9223372036854; the default is "600000"
/etc/config.ini:12: [core] logging_start_level: "LOUD" is not valid: want LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR or LOG_LEVEL_FATAL
/etc/config.ini:14: [pegasus.server] rocksdb_compression_type: "lz4,zstd" is not valid: a list needs per_level: before it
/etc/config.ini:15: [pegasus.server] rocksdb_bloom_filter_bits_per_key: "many" is not valid (no number): want a number; the default is "10.00"
/etc/config.ini:17: [apps.meta] type: "mate" is no role: want one of meta, replica, collector
/etc/config.ini:19: [apps.replica] ports: no port to listen on: set ports, usually 34801
/etc/config.ini:23: [apps.collector] ports: "99999" is not valid: want port numbers from 1 to 65535, separated by commas
/etc/config.ini:27: [meta_server.apps.t] partition_count: "0" is not valid: want an integer from 1 to 65536
/etc/config.ini:29: [meta_server.apps.u] app_name: table "t" is already listed on line 25`
	if diff := cmp.Diff(strings.Split(want, "\n"), messages(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGroupsOfKeysMustFit(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"[replication]\nstaleness_for_commit = 200", "[replication] max_mutation_count_in_prepare_list: 110 is less than staleness_for_commit = 200: raise it"},
		{"[meta_server]\nmin_allowed_replica_count = 6", "f:2: [meta_server] min_allowed_replica_count: 6 is more than max_allowed_replica_count = 5: lower it"},
		{"[nfs]\nmax_copy_rate_megabytes_per_disk = 4", "f:2: [nfs] max_copy_rate_megabytes_per_disk: 4 MB/s is not more than one block, nfs_copy_block_bytes = 4194304: raise it, or 0 for no limit"},
		{"[replication]\nfd_grace_seconds = 20", "f:2: [replication] fd_grace_seconds: 20s is not more than fd_lease_seconds = 20s: a server would be declared dead while it still serves"},
		{"[replication]\nfd_lease_seconds = 4", "the lease would run out between two beacons"},
		{"[meta_server]\nmeta_state_service_type = meta_state_service_simple", "choose both zookeeper or both simple"},
		{"[meta_server]\nserver_list = a:1,b:1\nmeta_state_service_type = meta_state_service_simple\ndistributed_lock_service_type = distributed_lock_service_simple",
			"f:2: [meta_server] server_list: 2 meta servers cannot share the local store"},
		{"[pegasus.server]\nencrypt_data_at_rest = true", "f:2: [pegasus.server] encrypt_data_at_rest: true is not possible, this server has no encryption: set the key to false or leave it out, and put its data on"},
		{"[security]\nenable_auth = true", "f:2: [security] enable_auth: true is not possible, this server has no authentication: set the key to false or leave it out, and keep the ports inside"},
		{"[security]\nmandatory_auth = true", "[security] mandatory_auth: true is not possible, this server has no authentication"},
		{"[security]\nenable_acl = true", "[security] enable_acl: true is not possible, this server has no access control"},
		{"[meta_server]\nrecover_from_replica_server = true", "[meta_server] recover_from_replica_server: true is not possible, this server has no recovery of metadata"},
		{"[security]\nenable_zookeeper_kerberos = true", "needs [zookeeper] sasl_mechanisms_type = GSSAPI"},
		{"[pegasus.server]\nperf_counter_read_capacity_unit_size = 4095", "4095 is no power of two"},
	} {
		_, err := Load("f", []byte(tc.text), nil)
		if err == nil || !strings.Contains(err.Error(), tc.want) || len(messages(err)) != 1 {
			t.Errorf("%q: %v, want %q", tc.text, err, tc.want)
		}
	}
}

func TestApps(t *testing.T) {
	c := load(t, `
[apps..default]
run = false
delay_seconds = 2
[apps.meta]
type = meta
name = meta
run = true
ports = 34601
[apps.replica]
ports = 34801
count = 3
arguments = x y
[apps.mimic]
type = dsn.app.mimic
ports =
`)
	want := []App{
		{Name: "meta", Section: "meta", Role: "meta", Port: 34601, Delay: 2 * time.Second, Run: true},
		{Name: "replica1", Section: "replica", Role: "replica", Arguments: "x y", Port: 34801, Delay: 2 * time.Second},
		{Name: "replica2", Section: "replica", Role: "replica", Arguments: "x y", Port: 34802, Delay: 2 * time.Second},
		{Name: "replica3", Section: "replica", Role: "replica", Arguments: "x y", Port: 34803, Delay: 2 * time.Second},
	}
	if diff := cmp.Diff(want, c.Apps); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTables(t *testing.T) {
	c := load(t, `
[meta_server.apps.stat]
app_name = stat
partition_count = 4
envs = a.b=1, c=2
[replication.app]
app_name = temp
partition_count = 8
max_replica_count = 2
`)
	want := []Table{
		{Name: "stat", Type: "pegasus", Partitions: 4, Replicas: 3, Stateful: true, Envs: map[string]string{"a.b": "1", "c": "2"}},
		{Name: "temp", Type: "pegasus", Partitions: 8, Replicas: 2, Stateful: true, Envs: map[string]string{}},
	}
	if diff := cmp.Diff(want, c.Tables); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPools(t *testing.T) {
	c := load(t, "[threadpool..default]\nworker_count = 4\n[threadpool.A]\nworker_count = 9\n[threadpool.B]\nqueue_length_throttling_threshold = 10\n[threadpool.C]\nworker_count = x")
	for name, want := range map[string]Pool{"A": {9, 7}, "B": {4, 10}, "none": {4, 7}} {
		if got, err := c.Pool(name, Pool{Workers: 1, Queue: 7}); err != nil || got != want {
			t.Errorf("pool %s is %v, %v, want %v", name, got, err, want)
		}
	}
	if _, err := c.Pool("C", Pool{}); err == nil {
		t.Error("a bad worker count is accepted")
	}
}

func TestUnknownNamesAreWarnedOfOnce(t *testing.T) {
	c := load(t, `
[replication]
fd_lease_second = 20
server_list = a:1
zzz = 1
[replicaton]
a = 1
b = 2
[tools.other_logger]
x = 1
[task.RPC_X]
anything = 1
[apps.meta]
type = meta
ports = 1
prots = 2
`)
	want := []string{
		"f:3: [replication] fd_lease_second: unknown key, it is ignored; did you mean fd_lease_seconds?",
		"f:4: [replication] server_list: unknown key, it is ignored; it belongs into [meta_server]",
		"f:5: [replication] zzz: unknown key, it is ignored",
		"f:6: [replicaton] unknown section, its keys are ignored; did you mean replication?",
		"f:16: [apps.meta] prots: unknown key, it is ignored; did you mean ports?",
	}
	if diff := cmp.Diff(want, c.Warnings); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Files of other servers can be taken over as they are.
func TestForeignFilesAreUnderstood(t *testing.T) {
	dump, err := os.ReadFile("testdata/cpp-config-dump.ini")
	if err != nil {
		t.Fatal(err)
	}
	c := load(t, string(dump))
	if len(c.Warnings) > 0 {
		t.Errorf("the configuration of the C++ server is warned of:\n%s", strings.Join(c.Warnings, "\n"))
	}
	if len(c.Apps) != 3 || len(c.Tables) != 2 || c.Meta.ClusterRoot != "/pegasus/onebox" {
		t.Errorf("apps %v, tables %v, root %q", c.Apps, c.Tables, c.Meta.ClusterRoot)
	}
	want := []string{"[nfs] max_concurrent_local_writes", "[nfs] max_file_copy_request_count_per_file",
		"[pegasus.server] update_rdb_stat_interval", "[pegasus.server] manual_compact_min_interval_seconds"}
	if diff := cmp.Diff(want, c.UnusedSet); diff != "" {
		t.Errorf("keys it sets without effect (-want +got):\n%s", diff)
	}
	if !slices.Contains(c.IgnoredSet, "[metrics] entity_retirement_delay_ms") && len(c.IgnoredSet) == 0 {
		t.Error("nothing is reported as ignored")
	}
}

func TestOurTemplateIsUnderstood(t *testing.T) {
	text, err := os.ReadFile("../../templates/config.ini")
	if err != nil {
		t.Skip("the template is not there")
	}
	rendered := regexp.MustCompile(`%\{([^}]+)\}`).ReplaceAllStringFunc(string(text), func(p string) string {
		return map[string]string{
			"%{meta.server.list}": "127.0.0.1:34601", "%{zk.server.list}": "127.0.0.1:2181",
			"%{data.dirs}": "ssd1:/d/1,ssd2:/d/2", "%{cluster.name}": "onebox", "%{app.dir}": "/app", "%{home.dir}": "/home", "%{slog.dir}": "",
		}[p]
	})
	c := load(t, rendered)
	if len(c.Warnings) > 0 {
		t.Errorf("warnings:\n%s", strings.Join(c.Warnings, "\n"))
	}
	if len(c.UnusedSet) > 0 {
		t.Errorf("our own template sets keys without effect: %v", c.UnusedSet)
	}
	if len(c.Apps) != 3 || c.Meta.ServerList[0] != "127.0.0.1:34601" || len(c.Repl.DataDirs) != 2 {
		t.Errorf("apps %v, metas %v, disks %v", c.Apps, c.Meta.ServerList, c.Repl.DataDirs)
	}
}

func TestUnusedKeysAreNamedWhenTheyAreSet(t *testing.T) {
	c := load(t, `
[replication]
deny_client_on_start = true
plog_gc_enabled = true
cold_backup_root = onebox
[nfs]
max_copy_rate_megabytes_per_disk = 100
[security]
super_users = a,b
[pegasus.server]
rocksdb_num_levels = 4
rocksdb_max_open_files = 100
`)
	want := []string{"[nfs] max_copy_rate_megabytes_per_disk", "[pegasus.server] rocksdb_num_levels", "[replication] deny_client_on_start", "[security] super_users"}
	slices.Sort(c.UnusedSet)
	if diff := cmp.Diff(want, c.UnusedSet); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"[replication] cold_backup_root"}, c.IgnoredSet); diff != "" {
		t.Errorf("ignored (-want +got):\n%s", diff)
	}
	// They are still checked.
	if _, err := Load("f", []byte("[nfs]\nmax_copy_rate_megabytes_per_disk = fast"), nil); err == nil {
		t.Error("a value that is no number is taken")
	}
}

// Whoever begins to use a key takes it off the list, and whoever stops using one puts it there.
func TestUnusedKeysAreThoseNobodyReads(t *testing.T) {
	var source strings.Builder
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "config" {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		source.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Judged within config, or sharing its name with a field of something else.
	apart := []string{"LockType", "EnableAuth", "MandatoryAuth", "EnableACL", "EncryptDataRest", "RecoverFromReplicas", "FilterType", "Timeout"}
	c := New()
	for _, s := range []any{&c.Core, &c.Logger, &c.Network, &c.HTTP, &c.Meta, &c.Repl, &c.NFS, &c.ZooKeeper, &c.Server, &c.Collector, &c.Security} {
		v := reflect.ValueOf(s).Elem()
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			key := c.keys[slices.IndexFunc(c.keys, func(k *Key) bool { return k.field == v.Field(i).Addr().Interface() })]
			read := regexp.MustCompile(`\.` + name + `\b`).MatchString(source.String())
			if read == key.Unused && !slices.Contains(apart, name) {
				t.Errorf("[%s] %s: read by the server %v, marked unused %v", key.Section, key.Name, read, key.Unused)
			}
		}
	}
}

func TestDump(t *testing.T) {
	c := load(t, "[apps..default]\nrun = true\n[apps.meta]\ntype = meta\nports = 34601\n[replication]\ncluster_name = a^;b\nfd_grace_seconds = 30\n[pegasus.server]\nserver_key = secret\n[odd]\nx = ^#1\n[pegasus.clusters]\na = 1.2.3.4:1\n")
	got := c.Dump()
	if strings.Contains(got, "secret") {
		t.Error("the dump shows a secret")
	}
	const golden = "testdata/dump.ini"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s\nrun with -update if the change is meant", diff)
	}
	again := load(t, got)
	for _, k := range c.keys {
		if r := again.Key(k.Section, k.Name); r.Text() != k.Text() {
			t.Errorf("[%s] %s is %q after reading the dump, was %q", k.Section, k.Name, r.Text(), k.Text())
		}
	}
}

func TestUpdate(t *testing.T) {
	c := New()
	var ratio []int
	var gc []time.Duration
	Watch(c, &c.Repl.DiskMinAvailable, func(v int) { ratio = append(ratio, v) })
	Watch(c, &c.Repl.GCGarbageReplica, func(v time.Duration) { gc = append(gc, v) })
	Watch(c, &c.Meta.MinReplicaCount, func(int) { t.Error("called for a refused value") })
	for _, tc := range []struct{ key, value, want string }{
		{"disk_min_available_space_ratio", "20", ""},
		{"disk_min_available_space_ratio", "101", `ERR_INVALID_PARAMETERS: 101 is invalid: "101" is not valid (out of range): want an integer from 0 to 100; the default is "10"`},
		{"gc_disk_garbage_replica_interval_seconds", "0", ""},
		{"plog_force_flush", "true", "ERR_INVALID_PARAMETERS: plog_force_flush is not mutable"},
		{"fd_lease_secs", "1", "ERR_OBJECT_NOT_FOUND: fd_lease_secs is not found; did you mean fd_lease_seconds?"},
		{"min_allowed_replica_count", "9", "ERR_INVALID_PARAMETERS: [meta_server] min_allowed_replica_count: 9 is more than max_allowed_replica_count = 5: lower it"},
		{"empty_write_disabled", "true", "ERR_INVALID_PARAMETERS: empty_write_disabled is not used by this process, or at its start only; nothing is changed"},
	} {
		err := c.Update(tc.key, tc.value)
		if got := strings.Join(messages(err), "|"); got != tc.want {
			t.Errorf("%s=%s: %q, want %q", tc.key, tc.value, got, tc.want)
		}
	}
	if !slices.Equal(ratio, []int{20}) || !slices.Equal(gc, []time.Duration{0}) {
		t.Errorf("watchers saw %v and %v", ratio, gc)
	}
	if c.Repl.DiskMinAvailable != 10 || c.Key("replication", "disk_min_available_space_ratio").Text() != "20" {
		t.Error("the start value and the present value are mixed up")
	}
}

func TestPages(t *testing.T) {
	c := load(t, "[replication]\nfd_lease_seconds = 20")
	Watch(c, &c.Repl.DiskMinAvailable, func(int) {})
	get := func(h func(*httptest.ResponseRecorder), want string, status int) {
		t.Helper()
		w := httptest.NewRecorder()
		h(w)
		body, _ := io.ReadAll(w.Result().Body)
		if string(body) != want || w.Code != status || w.Header().Get("Content-Type") != "text/plain" {
			t.Errorf("%d %q %q, want %d %q", w.Code, w.Header().Get("Content-Type"), body, status, want)
		}
	}
	config := func(query string) func(*httptest.ResponseRecorder) {
		return func(w *httptest.ResponseRecorder) { c.ServeConfig(w, httptest.NewRequest("GET", "/config"+query, nil)) }
	}
	get(config("?name=fd_lease_seconds"), `{"name":"fd_lease_seconds","section":"replication","type":"FV_INT32","tags":"","description":"Seconds a replica server serves without an acknowledged beacon","value":"20"}`+"\n", 200)
	get(config(""), "name shouldn't be empty", 400)
	get(config("?name=nosuch"), `{"error":"ERR_OBJECT_NOT_FOUND: nosuch is not found"}`+"\n", 200)
	updateConfig := func(query string) func(*httptest.ResponseRecorder) {
		return func(w *httptest.ResponseRecorder) {
			c.ServeUpdate(slog.New(slog.DiscardHandler))(w, httptest.NewRequest("GET", "/updateConfig"+query, nil))
		}
	}
	get(updateConfig("?plog_force_flush=false"), `{"update_status":"ERR_INVALID_PARAMETERS: plog_force_flush is not mutable"}`+"\n", 200)
	get(updateConfig("?disk_min_available_space_ratio=5"), `{"update_status":"ERR_OK"}`+"\n", 200)
	get(config("?name=disk_min_available_space_ratio"), `{"name":"disk_min_available_space_ratio","section":"replication","type":"FV_INT32","tags":"flag_tag::FT_MUTABLE","description":"Percentage of free space below which a disk takes no new replicas","value":"5"}`+"\n", 200)
	get(updateConfig("?a=1&b=2"), `{"update_status":"ERR_INVALID_PARAMETERS: there should be exactly one config to be updated once"}`+"\n", 200)

	w := httptest.NewRecorder()
	c.ServeConfigs(w, httptest.NewRequest("GET", "/configs", nil))
	if body := w.Body.String(); !strings.HasPrefix(body, `{"abnormal_write_trace_latency_threshold":{"name":"abnormal_write_trace_latency_threshold","section":"replication","type":"FV_UINT64","tags":"flag_tag::FT_MUTABLE",`) {
		t.Errorf("/configs begins with %.200s", body)
	}
}
