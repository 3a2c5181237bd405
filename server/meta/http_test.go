// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// golden returns status and body of a page captured from a C++ meta server.
func golden(t *testing.T, file string) (status int, body string) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	head, body, ok := strings.Cut(string(data), "\r\n\r\n")
	if !ok {
		head, body, _ = strings.Cut(string(data), "\n\n")
	}
	var length int
	for _, line := range strings.Split(head, "\n") {
		fmt.Sscanf(line, "HTTP/1.1 %d", &status)
		fmt.Sscanf(line, "Content-Length: %d", &length)
	}
	if length > len(body) {
		t.Fatalf("%s: body of %d bytes, %d expected", file, len(body), length)
	}
	return status, body[:length]
}

// shape replaces what differs from cluster to cluster and leaves names, order and types.
func shape(t *testing.T, body string) string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(body))
	var b strings.Builder
	var depth []byte
	key, skip := false, -1
	for {
		tok, err := d.Token()
		if err != nil {
			return b.String()
		}
		switch v := tok.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				depth = append(depth, byte(v))
			} else {
				depth = depth[:len(depth)-1]
			}
			if skip >= 0 && len(depth) <= skip {
				skip = -1
			}
			fmt.Fprint(&b, v)
			key = len(depth) > 0 && depth[len(depth)-1] == '{'
		case string:
			if key {
				fmt.Fprintf(&b, "%s:", v)
				key = false
			} else {
				b.WriteString("TEXT ")
				key = depth[len(depth)-1] == '{'
			}
		default:
			t.Fatalf("%v (%T) is not text, in %s", v, v, body)
		}
	}
}

func TestPagesLookLikeTheOriginal(t *testing.T) {
	inCluster(t, 3, func(o *Options) {
		o.DefaultTables = []TableSpec{{Name: "stat", Partitions: 4, Replicas: 3}, {Name: "temp", Partitions: 8, Replicas: 3}}
	}, func(t *testing.T, c *cluster) {
		c.awaitHealthy("temp", 3, 5*time.Second)
		c.awaitHealthy("stat", 3, 5*time.Second)
		c.create("t1new", 4, 3)
		c.create("t2", 3, 3)
		c.awaitHealthy("t1new", 3, 5*time.Second)
		c.awaitHealthy("t2", 3, 5*time.Second)
		get := func(url string) (int, string) {
			w := httptest.NewRecorder()
			c.http.ServeHTTP(w, httptest.NewRequest("GET", url, nil))
			if got := w.Header().Get("Content-Length"); got != fmt.Sprint(w.Body.Len()) {
				t.Errorf("%s: Content-Length %s, body of %d", url, got, w.Body.Len())
			}
			return w.Code, w.Body.String()
		}
		for _, x := range []struct {
			url, file string
			exact     bool
		}{
			{"/envs/list", "envs-list", true},
			{"/meta/app", "meta-app", true},
			{"/meta/app?name=nosuch", "meta-app_name_nosuch", true},
			{"/meta/app?name=temp", "meta-app_name_temp", true},
			{"/meta/app_envs?name=temp", "meta-app_envs_name_temp", true},
			{"/meta/app?name=temp&detail", "meta-app_name_temp_detail", false},
			{"/meta/apps", "meta-apps", false},
			{"/meta/apps?detail", "meta-apps_detail", false},
			{"/meta/nodes", "meta-nodes", false},
			{"/meta/nodes?detail", "meta-nodes_detail", false},
		} {
			status, want := golden(t, x.file)
			code, got := get(x.url)
			if code != status {
				t.Errorf("%s: status %d, want %d", x.url, code, status)
			}
			if !x.exact {
				for i, host := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
					got = strings.ReplaceAll(got, host+":34801", fmt.Sprintf("localhost:2480%d", i+1))
				}
				got, want = shape(t, got), shape(t, want)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: %s", x.url, d)
			}
		}

		code, cluster := get("/meta/cluster")
		want := `{"meta_servers":"10.0.0.100:34601","primary_meta_server":"10.0.0.100:34601","zookeeper_hosts":"","zookeeper_root":"/pegasus/onebox",` +
			`"meta_function_level":"steady","balance_operation_count":"move_pri=0,copy_pri=0,copy_sec=0,total=0",` +
			`"primary_replica_count_stddev":"0.47","total_replica_count_stddev":"0.00","cluster_name":"onebox"}` + "\n"
		if code != 200 || cluster != want {
			t.Errorf("/meta/cluster: %d\n got %s\nwant %s", code, cluster, want)
		}
		if code, _ := get("/meta/app?name=temp&name=stat"); code != 400 {
			t.Errorf("a repeated argument: %d", code)
		}
		if code, _ := get("/meta/app?name=%zz"); code != 400 {
			t.Errorf("a broken query: %d", code)
		}
		var env idl.ConfigurationUpdateAppEnvResponse
		c.call(idl.RPCUpdateAppEnv, &idl.ConfigurationUpdateAppEnvRequest{AppName: "temp", Op: idl.AppEnvOpSet,
			Keys: []string{"default_ttl", "business.info"}, Values: []string{"5", `<"x">`}}, &env)
		if _, body := get("/meta/app_envs?name=temp"); body != `{"business.info":"<\"x\">","default_ttl":"5"}`+"\n" {
			t.Errorf("envs: %s", body)
		}
	})
}

func TestCommands(t *testing.T) {
	inCluster(t, 1, nil, func(t *testing.T, c *cluster) {
		time.Sleep(time.Second)
		c.create("t", 11, 1)
		for _, x := range []struct{ line, want string }{
			{"meta.live_percentage", "0"},
			{"meta.live_percentage 101", "ERR: invalid arguments"},
			{"meta.live_percentage 65", "OK"},
			{"meta.live_percentage", "65"},
			{"meta.live_percentage DEFAULT", "OK"},
			{"meta.live_percentage", "0"},
			{"meta.lb.assign_delay_ms", "600000"},
			{"meta.lb.assign_delay_ms 10", "OK"},
			{"meta.lb.assign_delay_ms", "10"},
			{"meta.lb.assign_delay_ms 180000000", "OK"},
			{"meta.lb.assign_delay_ms 0", "ERR: invalid arguments"},
			{"meta.lb.assign_delay_ms ten", "ERR: invalid arguments"},
			{"meta.lb.assign_delay_ms 1 2", "ERR: invalid arguments"},
			{"meta.lb.assign_delay_ms DEFAULT", "OK"},
			{"meta.lb.assign_secondary_black_list", "get ok: "},
			{"meta.lb.assign_secondary_black_list 10.0.0.1:34801,10.0.0.2:34801", "set ok"},
			{"meta.lb.assign_secondary_black_list", "get ok: 10.0.0.1:34801,10.0.0.2:34801"},
			{"meta.lb.assign_secondary_black_list nohost:1", "invalid arguments"},
			{"meta.lb.assign_secondary_black_list clear", "clear ok"},
			{"meta.lb.add_secondary_enable_flow_control", "true"},
			{"meta.lb.add_secondary_enable_flow_control false", "OK"},
			{"meta.lb.add_secondary_enable_flow_control", "false"},
			{"meta.lb.add_secondary_enable_flow_control 2", "ERR: invalid arguments"},
			{"meta.lb.add_secondary_max_count_for_one_node", "20"},
			{"meta.lb.add_secondary_max_count_for_one_node -1", "ERR: invalid arguments"},
			{"meta.lb.add_secondary_max_count_for_one_node 0", "OK"},
			{"meta.lb.get_balance_operation_count", "total=0"},
			{"meta.lb.get_balance_operation_count total", "total=0"},
			{"meta.lb.get_balance_operation_count move_pri", "move_pri=0"},
			{"meta.lb.get_balance_operation_count detail", "move_pri=0,copy_pri=0,copy_sec=0,total=0"},
			{"meta.lb.get_balance_operation_count x", "ERR: invalid arguments"},
			{"fd.allow_list", "get ok: allow list disabled."},
			{"meta.dump", "ERR_INVALID_PARAMETERS"},
			{"meta.dump -t dump.txt", "ERR_OK meta/dump.txt"},
			{"meta.dump dump.txt", "ERR_FILE_OPERATION_FAILED meta/dump.txt exists already and is not overwritten: choose another name"},
			{"meta.dump /dump2.txt", "ERR_OK /dump2.txt"},
			{"meta.dump ../dump.txt", "ERR_INVALID_PARAMETERS want an absolute path, or a name without a directory for a file in meta"},
			{"meta.dump store/dump.txt", "ERR_INVALID_PARAMETERS want an absolute path, or a name without a directory for a file in meta"},
			{"meta.dump /no/such/dir/dump.txt", "ERR_FILE_OPERATION_FAILED open no/such/dir/dump.txt: file does not exist"},
		} {
			words := strings.Fields(x.line)
			if got := c.cmds.Execute(words[0], words[1:]); got != x.want {
				t.Errorf("%s: %q, want %q", x.line, got, x.want)
			}
		}
		f, err := c.fs.Open("meta/dump.txt")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var b bytes.Buffer
		b.ReadFrom(f)
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		if len(lines) != 13 || !strings.HasPrefix(lines[0], `{"path":"apps","version":1,"data":"unlock"}`) ||
			!strings.HasPrefix(lines[12], `{"path":"apps/1/10",`) {
			t.Errorf("dump: %s", b.String())
		}
	})
}
