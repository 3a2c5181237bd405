// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/config"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

var discard = slog.New(slog.DiscardHandler)

// cluster is a meta server, a replica server and a collector in one process of their own ports.
type cluster struct {
	t                        *testing.T
	dir                      string
	meta, replica, collector int // ports
	cancel                   context.CancelCauseFunc
	done                     chan error
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), meta: freePort(t), replica: freePort(t), collector: freePort(t)}
	c.start()
	return c
}

func (c *cluster) start() {
	c.t.Helper()
	path := writeConfig(c.t, c.dir, c.meta, map[string]string{
		"apps.replica/ports":                           fmt.Sprint(c.replica),
		"apps.collector/ports":                         fmt.Sprint(c.collector),
		"meta_server/min_live_node_count_for_unfreeze": "1",
		"meta_server/stable_rs_min_running_seconds":    "0",
		"meta_server.apps.temp/app_name":               "temp",
		"meta_server.apps.temp/partition_count":        "2",
		"meta_server.apps.temp/max_replica_count":      "1",
		"replication/mutation_2pc_min_replica_count":   "1",
		"replication/cluster_name":                     "c1",
		"replication/plog_gc_enabled":                  "true",
		"replication/no_such_key":                      "1",
	})
	conf, err := config.Read(path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	apps, err := chooseApps(conf, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	c.cancel, c.done = cancel, make(chan error, 1)
	go func() {
		c.done <- Run(ctx, Options{Config: conf, Apps: apps, Build: Build{Version: "1.2.3", GitSHA: "abc", Type: "release"}, Stderr: io.Discard})
	}()
}

func (c *cluster) stop() {
	c.t.Helper()
	c.cancel(fmt.Errorf("test"))
	select {
	case err := <-c.done:
		if err != nil {
			c.t.Errorf("the servers stop with %v", err)
		}
	case <-time.After(stopTimeout + 5*time.Second):
		c.t.Fatal("the servers do not stop")
	}
}

func (c *cluster) get(port int, path string) (int, string) {
	c.t.Helper()
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// until tries f until it succeeds.
func until(t *testing.T, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		once, stop := context.WithTimeout(ctx, 2*time.Second)
		err := f(once)
		stop()
		if err == nil {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// One process with all three roles serves data, pages and commands, stops in good order, and has
// everything after the next start.
func TestThreeRolesInOneProcess(t *testing.T) {
	c := startCluster(t)
	cl, err := client.Open(t.Context(), client.Options{Metas: []string{fmt.Sprintf("127.0.0.1:%d", c.meta)}})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	temp := cl.Table("temp")
	until(t, "write", func(ctx context.Context) error {
		return temp.Set(ctx, []byte("user1"), []byte("name"), []byte("Ada"), 0)
	})
	t.Run("pages", func(t *testing.T) { testPages(t, c) })
	t.Run("commands", func(t *testing.T) { testCommands(t, c, cl) })
	c.stop()

	for _, name := range []string{"meta.replica.collector.log"} {
		b, err := os.ReadFile(filepath.Join(c.dir, "data", "log", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"the server begins version=1.2.3", "no_such_key: unknown key, it is ignored", "the role has started app=replica role=replica",
			"stopping cause=test", "the role has stopped app=meta", "the server ends"} {
			if !strings.Contains(string(b), want) {
				t.Errorf("the log lacks %q", want)
			}
		}
		if strings.Contains(string(b), "\nE") || strings.Contains(string(b), "\nF") {
			t.Errorf("errors are logged:\n%s", b)
		}
	}

	c.start()
	until(t, "read after a restart", func(ctx context.Context) error {
		v, err := temp.Get(ctx, []byte("user1"), []byte("name"))
		if err == nil && string(v) != "Ada" {
			err = fmt.Errorf("got %q", v)
		}
		return err
	})
	c.stop()
}

func testPages(t *testing.T, c *cluster) {
	for _, tc := range []struct {
		port   int
		path   string
		status int
		want   string // the body, or its beginning when it ends with ...
	}{
		{c.replica, "/version", 200, `{"Version":"1.2.3","GitCommit":"abc"}` + "\n"},
		{c.replica, "/nosuch", 404, `service not found for "nosuch"`},
		{c.replica, "/nosuch/deep", 404, `service not found for "nosuch/deep"`},
		{c.meta, "/config", 400, "name shouldn't be empty"},
		{c.meta, "/config?name=fd_lease_seconds", 200, `{"name":"fd_lease_seconds","section":"replication","type":"FV_INT32","tags":"",...`},
		{c.replica, "/updateConfig?plog_force_flush=false", 200, `{"update_status":"ERR_INVALID_PARAMETERS: plog_force_flush is not mutable"}` + "\n"},
		{c.meta, "/recentStartTime", 200, `{"RecentStartTime":"20...`},
		{c.collector, "/pprof/goroutine?debug=1", 200, "goroutine profile..."},
		{c.meta, "/meta/cluster", 200, "{..."},
	} {
		status, body := c.get(tc.port, tc.path)
		want, begins := strings.CutSuffix(tc.want, "...")
		if status != tc.status || body != want && !(begins && strings.HasPrefix(body, want)) {
			t.Errorf("%s: %d %.200q, want %d %q", tc.path, status, body, tc.status, tc.want)
		}
	}
	for port, want := range map[int]string{c.meta: "/meta/cluster", c.replica: "/metrics", c.collector: "/configs"} {
		_, body := c.get(port, "/")
		var help map[string]string
		if err := json.Unmarshal([]byte(body), &help); err != nil || help[want] == "" || help["/"] != "List all supported calls." {
			t.Errorf("/ of port %d: %v %s", port, err, body)
		}
		if port != c.meta && help["/meta/cluster"] != "" {
			t.Error("a page of the meta server is announced elsewhere")
		}
	}
	_, body := c.get(c.replica, "/metrics?types=server")
	for _, want := range []string{`"cluster": "c1"`, `"role": "replica"`, `"resident_mem_usage_mb"`, `"virtual_mem_usage_mb"`, `"network_server_sessions"`} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s:\n%s", want, body)
		}
	}
}

func testCommands(t *testing.T, c *cluster, cl *client.Cluster) {
	ask := func(port int, cmd string, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		text, err := cl.RemoteCommand(ctx, idl.MakeAddress([4]byte{127, 0, 0, 1}, uint16(port)), cmd, args...)
		if err != nil {
			t.Error(err)
		}
		return text
	}
	for _, port := range []int{c.meta, c.replica, c.collector} {
		if got := ask(port, "server-info"); !strings.HasPrefix(got, "Pegasus Server 1.2.3 (abc) release, Started at 20") {
			t.Errorf("server-info: %s", got)
		}
		if got := ask(port, "flush-log"); got != "Flush done." {
			t.Errorf("flush-log: %s", got)
		}
		if got := ask(port, "config-dump"); !strings.Contains(got, "[replication]\n") || !strings.Contains(got, "\ncluster_name = c1\n") {
			t.Errorf("config-dump: %.300s", got)
		}
		help := ask(port, "help")
		for _, want := range []string{"help|h|H|Help [command]\nrepeat|r|R|Repeat ", "\nconfig-dump [file]\n", "\nflush-log\n", "\nserver-info\n", "\nreset-log-start-level "} {
			if !strings.Contains(help, want) {
				t.Errorf("help lacks %q: %s", want, help)
			}
		}
	}
	for _, tc := range []struct{ arg, want string }{
		{"DEBUG", "OK, current level is LOG_LEVEL_DEBUG"},
		{"LOUD", "ERROR: invalid level 'LOUD'"},
		{"", "OK, current level is LOG_LEVEL_INFO"},
	} {
		if got := ask(c.meta, "reset-log-start-level", strings.Fields(tc.arg)...); got != tc.want {
			t.Errorf("reset-log-start-level %s: %s", tc.arg, got)
		}
	}
	for _, tc := range []struct{ file, want string }{
		{"/etc/passwd", "ERR: want one file name without a directory"},
		{"../x", "ERR: want one file name without a directory"},
		{"dump.ini", "config dump to file " + filepath.Join(c.dir, "data", "dump.ini")},
		{"dump.ini", "ERR: " + filepath.Join(c.dir, "data", "dump.ini") + " exists already"},
	} {
		if got := ask(c.meta, "config-dump", tc.file); !strings.HasPrefix(got, tc.want) {
			t.Errorf("config-dump %s: %s", tc.file, got)
		}
	}
	if got := ask(c.collector, "collector.availability"); !strings.HasPrefix(got, "table temp: ") {
		t.Errorf("collector.availability: %s", got)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	c := config.New()
	app := func(role string) []config.App { return []config.App{{Role: role}} }
	const gb = 1 << 30
	if got := memoryLimit(c, app("meta"), 8*gb); got != 256<<20 {
		t.Errorf("meta: %d MB", got>>20)
	}
	if got := memoryLimit(c, app("replica"), 8*gb); got > 4*gb || got < 2*gb {
		t.Errorf("replica with the shipped cache on 8 GB: %d MB", got>>20)
	}
	if got := cacheBytes(10*gb, 8*gb); got != 2*gb {
		t.Errorf("cache on 8 GB: %d MB", got>>20)
	}
	if got := cacheBytes(10*gb, 0); got != 10*gb {
		t.Errorf("cache on an unknown machine: %d MB", got>>20)
	}
	c.Core.MemoryLimit = 77
	if got := memoryLimit(c, app("replica"), 8*gb); got != 77 {
		t.Errorf("configured: %d", got)
	}
}

func TestBlackListedDisksAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "black")
	if err := os.WriteFile(file, []byte(" /disk/2 \n\n/disk/33/\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load("f", []byte("[replication]\ndata_dirs = a:/disk/1,b:/disk/2,c:/disk/22,d:/disk/33\ndata_dirs_black_list_file = "+file), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{process: &process{Options: Options{Config: c}, dataDir: dir}, log: discard}
	dirs, err := n.dataDirs()
	if err != nil || len(dirs) != 2 || dirs[0].Tag != "a" || dirs[1].Tag != "c" {
		t.Errorf("disks %v, %v", dirs, err)
	}
	if err := os.WriteFile(file, []byte("/disk\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := n.dataDirs(); err == nil || !strings.Contains(err.Error(), "all 4 disks are on the black list") {
		t.Errorf("got %v", err)
	}
	c.Repl.DataDirs = nil
	if dirs, err := n.dataDirs(); err != nil || len(dirs) != 1 || dirs[0].Tag != "default" || dirs[0].Path != dir {
		t.Errorf("without data_dirs: %v, %v", dirs, err)
	}
}
