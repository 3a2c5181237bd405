// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// program runs Main to its end and returns what it says.
func program(t *testing.T, argv ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = Main(Build{Version: "1.2.3", GitSHA: "abc", Type: "release"}, argv, &out, &errs)
	return status, out.String(), errs.String()
}

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// writeConfig writes a config.ini for one meta server, with the lines of change put before.
func writeConfig(t *testing.T, dir string, port int, change map[string]string) string {
	t.Helper()
	keys := map[string]map[string]string{
		"core":        {"data_dir": filepath.Join(dir, "data")},
		"network":     {"explicit_host_address": "127.0.0.1"},
		"apps.meta":   {"type": "meta", "ports": fmt.Sprint(port)},
		"meta_server": {"server_list": fmt.Sprintf("127.0.0.1:%d", port), "meta_state_service_type": "meta_state_service_simple", "distributed_lock_service_type": "distributed_lock_service_simple"},
	}
	for k, v := range change {
		section, key, _ := strings.Cut(k, "/")
		if keys[section] == nil {
			keys[section] = map[string]string{}
		}
		keys[section][key] = v
	}
	var b strings.Builder
	for section, kv := range keys {
		fmt.Fprintf(&b, "[%s]\n", section)
		for k, v := range kv {
			fmt.Fprintf(&b, "%s = %s\n", k, v)
		}
	}
	path := filepath.Join(dir, "config.ini")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVersionAndUsage(t *testing.T) {
	for _, flag := range []string{"-v", "-version", "--version"} {
		if status, out, _ := program(t, flag); status != 0 || out != "Pegasus server 1.2.3 (abc) release\n" {
			t.Errorf("%s: %d %q", flag, status, out)
		}
	}
	if status, _, errs := program(t, "-x"); status != 1 || !strings.Contains(errs, "unknown argument -x") || !strings.Contains(errs, "usage:") {
		t.Errorf("%d %q", status, errs)
	}
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	busyPort := busy.Addr().(*net.TCPAddr).Port
	for _, tc := range []struct {
		name   string
		port   int // 0 = a free one
		change map[string]string
		app    string
		status int
		want   []string
		before func(t *testing.T, dir string)
	}{
		{name: "unknown role", app: "mate", status: 1, want: []string{"no app was created: the file has no section [apps.mate], only meta"}},
		{name: "mistakes in the file", change: map[string]string{"replication/fd_lease_seconds": "x", "core/logging_start_level": "y"}, app: "meta", status: 255,
			want: []string{"fd_lease_seconds: \"x\" is not valid", "logging_start_level: \"y\" is not valid", "run the system failed: the configuration cannot be used, 2 mistakes"}},
		{name: "a placeholder", change: map[string]string{"replication/cluster_name": "%{cluster.name}"}, app: "meta", status: 255, want: []string{"placeholder %{cluster.name} was not replaced"}},
		{name: "port in use", port: busyPort, app: "meta", status: 255,
			want: []string{fmt.Sprintf("port %d is in use", busyPort), fmt.Sprintf("ss -ltnp 'sport = :%d'", busyPort), "[apps.meta] ports"}},
		{name: "zookeeper", change: map[string]string{"meta_server/meta_state_service_type": "meta_state_service_zookeeper", "meta_server/distributed_lock_service_type": "distributed_lock_service_zookeeper"}, app: "meta", status: 255,
			want: []string{"hosts_list is empty", "meta_state_service_type = meta_state_service_simple"}},
		{name: "no meta server listed", change: map[string]string{"meta_server/server_list": ""}, app: "meta", status: 255, want: []string{"[meta_server] server_list is empty"}},
		{name: "data dir is a file", app: "meta", status: 255, want: []string{"[core] data_dir = ", "a regular file"},
			before: func(t *testing.T, dir string) {
				if err := os.WriteFile(filepath.Join(dir, "data"), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}},
		{name: "relative log dir", change: map[string]string{"core/log_dir": "log"}, app: "meta", status: 255, want: []string{"[core] log_dir = log must be an absolute path"}},
		{name: "address of another machine", change: map[string]string{"network/explicit_host_address": "127.0.0.x"}, app: "meta", status: 255, want: []string{"explicit_host_address = 127.0.0.x cannot be resolved"}},
		{name: "shared log of an old server", change: map[string]string{"apps.replica/ports": "1", "apps.replica/type": "replica"}, app: "replica", status: 255, want: []string{"holds the shared log of an older Pegasus server"},
			before: func(t *testing.T, dir string) {
				slog := filepath.Join(dir, "data", "replica", "slog")
				if err := os.MkdirAll(slog, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(slog, "log.1.0"), []byte("x"), 0o644); err != nil {
					t.Fatal(err)
				}
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if tc.before != nil {
				tc.before(t, dir)
			}
			port := tc.port
			if port == 0 {
				port = freePort(t)
			}
			change := tc.change
			if change["apps.replica/ports"] != "" {
				change["apps.replica/ports"] = fmt.Sprint(freePort(t))
			}
			status, _, errs := program(t, writeConfig(t, dir, port, change), "-app_list", tc.app)
			if status != tc.status {
				t.Errorf("status %d, want %d", status, tc.status)
			}
			for _, want := range tc.want {
				if !strings.Contains(errs, want) {
					t.Errorf("stderr lacks %q:\n%s", want, errs)
				}
			}
		})
	}
	if status, _, errs := program(t, filepath.Join(t.TempDir(), "none.ini"), "-app_list", "meta"); status != 255 || !strings.Contains(errs, "read the configuration file") {
		t.Errorf("%d %q", status, errs)
	}
}

func TestCheckTouchesNothing(t *testing.T) {
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.Addr().(*net.TCPAddr).Port // check does not mind
	for _, tc := range []struct {
		name   string
		change map[string]string
		app    string
		status int
		want   []string // on stderr; nil = nothing at all
	}{
		{name: "fine", app: "meta"},
		{name: "no app list", app: ""},
		{name: "warnings", app: "meta", change: map[string]string{"replication/deny_client_on_start": "true", "core/data_dri": "/x"},
			want: []string{"WARNING: this server does not use these keys: [replication] deny_client_on_start", "data_dri"}},
		{name: "unknown role", app: "replica", status: 255, want: []string{"the file has no section [apps.replica]"}},
		{name: "a mistake", app: "meta", status: 255, change: map[string]string{"replication/fd_lease_seconds": "x"}, want: []string{"fd_lease_seconds: \"x\" is not valid"}},
		{name: "security", app: "meta", status: 255, change: map[string]string{"security/enable_auth": "true"}, want: []string{"[security] enable_auth: true is not possible"}},
		{name: "what the role wants", app: "meta", status: 255,
			change: map[string]string{"core/log_dir": "log", "meta_server/server_list": "", "meta_server.apps.t/app_name": "t", "meta_server.apps.t/envs": "nosuch=1",
				"meta_server/meta_state_service_type": "meta_state_service_zookeeper", "meta_server/distributed_lock_service_type": "distributed_lock_service_zookeeper"},
			want: []string{"log_dir = log must be", "server_list is empty", "default table \"t\"", "hosts_list is empty", "cannot be used"}},
	} {
		for _, flag := range []string{"-check", "--check"} {
			t.Run(tc.name+flag, func(t *testing.T) {
				dir := t.TempDir()
				argv := []string{flag, writeConfig(t, dir, port, tc.change)}
				if tc.app != "" {
					argv = append(argv, "-app_list", tc.app)
				}
				status, out, errs := program(t, argv...)
				if status != tc.status || out != "" || tc.want == nil && errs != "" {
					t.Errorf("status %d, want %d; stdout %q, stderr %q", status, tc.status, out, errs)
				}
				for _, want := range tc.want {
					if !strings.Contains(errs, want) {
						t.Errorf("stderr lacks %q:\n%s", want, errs)
					}
				}
				if files, _ := os.ReadDir(dir); len(files) != 1 {
					t.Errorf("there are files now: %v", files)
				}
			})
		}
	}
}
