// SPDX-License-Identifier: Apache-2.0

package templates

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"gopkg.in/ini.v1"

	"github.com/pegasus-ops/pegasus-ops/inventory"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestRender(t *testing.T) {
	values := map[string]string{"a": "1", "b.c": "two", "empty": "", "evil": "%{a}", "open": "%{"}
	tests := []struct {
		name, text, want string
		left             []Leftover
	}{
		{"both forms, everywhere", "; %{a}\n[%<b.c>]\nk%{a} = %{b.c},%<a>%{empty}\n", "; 1\n[two]\nk1 = two,1\n", nil},
		{"no placeholder", "100% {sure} <ok> %d %%\n", "100% {sure} <ok> %d %%\n", nil},
		{"every leftover with its line", "%{x}\nok\n; %<y> %{a} %{z z}\n", "", []Leftover{
			{"f:1", "%{x}", "x"}, {"f:3", "%<y>", "y"}, {"f:3", "%{z z}", "z z"}}},
		{"not closed", "k = %{a\nl = %<", "", []Leftover{{"f:1", "%{a", ""}, {"f:2", "%<", ""}}},
		{"empty name", "k = %{}", "", []Leftover{{"f:1", "%{}", ""}}},
		{"a value brings one in", "k = %{evil}", "", []Leftover{{"f:1", "%{a} (in the value of %{evil})", "a"}}},
		{"names are exact", "k = %{A} %{ a}", "", []Leftover{{"f:1", "%{A}", "A"}, {"f:1", "%{ a}", " a"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Render("f", tt.text, values)
			if tt.left == nil {
				require.NoError(t, err)
				require.Equal(t, tt.want, got)
				return
			}
			var left *LeftoverError
			require.True(t, errors.As(err, &left))
			require.Equal(t, tt.left, left.List)
			require.Len(t, strings.Split(err.Error(), "\n"), len(tt.left))
		})
	}
}

func TestOverlay(t *testing.T) {
	const text = "; head\n[a]\n; about k\nk = 1 ; why\n  m = 2\n\n; about b\n[b]\n\n[c] # c\nx\ny = 1^;2\ny = 3\n"
	tests := []struct {
		name string
		set  Settings
		want string
	}{
		{"nothing", nil, text},
		{"in place, comment kept", Settings{"a": {"k": "9", "m": "8"}},
			"; head\n[a]\n; about k\nk = 9  ; why\n  m = 8\n\n; about b\n[b]\n\n[c] # c\nx\ny = 1^;2\ny = 3\n"},
		{"new keys behind the last, sorted", Settings{"a": {"z": "1", "n": "2"}, "b": {"q": ""}},
			"; head\n[a]\n; about k\nk = 1 ; why\n  m = 2\nn = 2\nz = 1\n\n; about b\n[b]\nq =\n\n[c] # c\nx\ny = 1^;2\ny = 3\n"},
		{"first of two, key without value, escaping", Settings{"c": {"y": "a;b#c", "x": "1"}},
			"; head\n[a]\n; about k\nk = 1 ; why\n  m = 2\n\n; about b\n[b]\n\n[c] # c\nx = 1\ny = a^;b^#c\ny = 3\n"},
		{"new section", Settings{"new": {"b": "2", "a": "1"}, "none": {}}, text + "\n[new]\na = 1\nb = 2\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Overlay(text, tt.set)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			require.Equal(t, got, Overlay(got, tt.set), "applying it again changes nothing")
		})
	}
}

func cluster(t *testing.T, name string) *inventory.Cluster {
	t.Helper()
	text, err := inventory.Example(name)
	require.NoError(t, err)
	c, _, err := inventory.Parse(name, text, inventory.Options{Home: "/home/ops", Dir: "/x"})
	require.NoError(t, err)
	return c
}

// The golden files are the whole config.ini of one instance of each kind.
func TestForInstance(t *testing.T) {
	for _, tt := range []struct {
		golden, inventory string
		role              inventory.Role
		index             int
	}{
		{"onebox-meta.ini", "onebox", inventory.Meta, 0},
		{"onebox-replica2.ini", "onebox", inventory.Replica, 1},
		{"production-replica4.ini", "production", inventory.Replica, 3},
	} {
		t.Run(tt.golden, func(t *testing.T) {
			c := cluster(t, tt.inventory)
			got, err := Bundled().ForInstance(c, c.OfRole(tt.role)[tt.index])
			require.NoError(t, err)
			require.NotContains(t, got, "%{")
			golden := filepath.Join("testdata", tt.golden)
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func parse(t *testing.T, text string) *ini.File {
	t.Helper()
	f, err := ini.LoadSources(ini.LoadOptions{AllowBooleanKeys: true}, []byte(text))
	require.NoError(t, err)
	return f
}

func TestLayers(t *testing.T) {
	c := cluster(t, "onebox")
	c.Config = inventory.Config{"replication": {"gc_interval_ms": "1", "fd_lease_seconds": "9"}, "own": {"log": "%{app.dir}/x"}}
	i := c.Replicas[2]
	i.Config = inventory.Config{"replication": {"gc_interval_ms": "2"}}
	text, err := Bundled().ForInstance(c, i)
	require.NoError(t, err)
	f := parse(t, text)
	get := func(section, key string) string { return f.Section(section).Key(key).String() }
	require.Equal(t, "34803", get("apps.replica", "ports"))
	require.Equal(t, "34601", get("apps.meta", "ports"))
	require.Equal(t, "127.0.0.1", get("network", "explicit_host_address"))
	require.Equal(t, "meta_state_service_simple", get("meta_server", "meta_state_service_type"))
	require.Equal(t, "distributed_lock_service_simple", get("meta_server", "distributed_lock_service_type"))
	require.Equal(t, "", get("meta_server", "distributed_lock_service_parameters"))
	require.Equal(t, "2", get("replication", "gc_interval_ms"))
	require.Equal(t, "9", get("replication", "fd_lease_seconds"))
	require.Equal(t, "/home/ops/pegasus-onebox/app/replica-34803/x", get("own", "log"))
	require.Equal(t, "ssd1:/home/ops/pegasus-onebox/disks/replica3/ssd1,ssd2:/home/ops/pegasus-onebox/disks/replica3/ssd2", get("replication", "data_dirs"))
	require.Equal(t, "127.0.0.1:34601", get("pegasus.clusters", "onebox"))
}

func TestTableSizesFollowTheInventory(t *testing.T) {
	c := cluster(t, "onebox")
	c.Tables = []inventory.Table{{Name: "temp", Partitions: 16, Replicas: 2}, {Name: "users", Partitions: 64, Replicas: 3}}
	text, err := Bundled().ForInstance(c, c.Metas[0])
	require.NoError(t, err)
	f := parse(t, text)
	require.Equal(t, "16", f.Section("meta_server.apps.temp").Key("partition_count").String())
	require.Equal(t, "2", f.Section("meta_server.apps.temp").Key("max_replica_count").String())
	require.Equal(t, "4", f.Section("meta_server.apps.stat").Key("partition_count").String())
	require.False(t, f.HasSection("meta_server.apps.users"), "deploy creates it")
}

func TestOwnTemplate(t *testing.T) {
	c := cluster(t, "production")
	c.Template = filepath.Join(t.TempDir(), "own.ini")
	_, err := For(c)
	require.ErrorContains(t, err, "own.ini")
	require.NoError(t, os.WriteFile(c.Template, []byte("[a]\nx = %{hdfs_service_args}\ny = %{jvm}\n; %<cluster.name>\n"), 0o644))
	c.Config = inventory.Config{"a": {"z": "%{nope}"}}
	tpl, err := For(c)
	require.NoError(t, err)
	_, err = tpl.ForInstance(c, c.Metas[0])
	require.EqualError(t, err, "own.ini:3: placeholder %{jvm} has no value; add it to the inventory as `variables: {jvm: …}`\n"+
		"config.a.z: placeholder %{nope} has no value; add it to the inventory as `variables: {nope: …}`")
	require.Equal(t, []string{"cluster.name", "hdfs_service_args", "jvm"}, Placeholders(tpl.Text))
	c.Variables["jvm"], c.Variables["nope"] = "v", "n"
	text, err := tpl.ForInstance(c, c.Metas[1])
	require.NoError(t, err)
	require.Equal(t, "[a]\nx = \ny = v\nz = n\n; my_cluster\n\n[apps.meta]\nports = 34601\n\n[network]\nexplicit_host_address = 10.0.0.2\n", text)
}

// A cluster of few replica servers gets default tables it can hold; sizes the
// inventory gives stand.
func TestDefaultTablesFitTheServers(t *testing.T) {
	for name, tt := range map[string]struct {
		servers    int
		tables     string
		temp, stat string
	}{
		"one":            {1, "", "1", "1"},
		"two":            {2, "", "2", "2"},
		"three":          {3, "", "3", "3"},
		"four":           {4, "", "3", "3"},
		"one, one given": {2, "tables: [{name: stat, partitions: 16, replicas: 1}]\n", "2", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			text := "cluster: c\nhome_dir: /h\nhosts: {n: {address: 127.0.0.1, connection: local}}\nmeta_servers: [{host: n}]\n" + tt.tables + "replica_servers:\n"
			for n := range tt.servers {
				text += fmt.Sprintf("  - {host: n, port: %d, data_dirs: {a: /h/d%d}}\n", 34801+n, n)
			}
			c, _, err := inventory.Parse("c.yaml", []byte(text), inventory.Options{Home: "/h", Dir: "/h"})
			require.NoError(t, err)
			rendered, err := Bundled().ForInstance(c, c.Metas[0])
			require.NoError(t, err)
			f, err := ini.Load([]byte(rendered))
			require.NoError(t, err)
			require.Equal(t, tt.temp, f.Section("meta_server.apps.temp").Key("max_replica_count").String())
			require.Equal(t, tt.stat, f.Section("meta_server.apps.stat").Key("max_replica_count").String())
			require.Equal(t, min(tt.servers, 3), f.Section("meta_server").Key("min_live_node_count_for_unfreeze").MustInt())
			rendered, err = Bundled().ForInstance(c, c.Replicas[0])
			require.NoError(t, err)
			require.NotContains(t, rendered, "max_replica_count = 1\n", "only meta servers read it")
		})
	}
}
