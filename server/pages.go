// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/metrics"
)

// pageHelp is what "/" says about each path. Paths that the role does not have are left out.
var pageHelp = map[string]string{
	"/":                          "List all supported calls.",
	"/config":                    "name=<config_name>. Gets the details of a specified config. Only the configs which are registered by DSN_DEFINE_xxx macro can be queried.",
	"/configs":                   "List all configs. Only the configs which are registered by DSN_DEFINE_xxx macro can be queried.",
	"/updateConfig":              "<key>=<new_value>. Update the config to the new value.",
	"/version":                   "Get the server version.",
	"/recentStartTime":           "Get the server start time.",
	"/metrics":                   metrics.Help,
	"/pprof/cmdline":             "Query the process' cmdline.",
	"/pprof/symbol":              "[symbol_address]. Query the process' symbols.",
	"/pprof/heap":                "Query a sample of live objects and the stack traces that allocated these objects, for 'go tool pprof'.",
	"/pprof/profile":             "[seconds=<cpu_profile_seconds>]. Query the CPU profile, for 'go tool pprof'. 'seconds' is 30 if not specified.",
	"/pprof/growth":              "Query a sample of all past allocations, for 'go tool pprof'.",
	"/pprof/goroutine":           "[debug=2]. Query the stack traces of all goroutines.",
	"/pprof/mutex":               "Query the stack traces of holders of contended mutexes.",
	"/pprof/block":               "Query the stack traces that led to blocking.",
	"/pprof/trace":               "[seconds=<trace_seconds>]. Query an execution trace, for 'go tool trace'.",
	"/envs/list":                 "List all available table environments.",
	"/meta/app":                  "name=<app_name>[&detail]. Query app info.",
	"/meta/apps":                 "[detail]. List all apps in the cluster.",
	"/meta/nodes":                "[detail]. Query the replica servers info.",
	"/meta/cluster":              "Query the cluster info.",
	"/meta/app_envs":             "name=<app_name>. Query app environments.",
	"/meta/app/duplication":      "name=<app_name>. Query app duplication info.",
	"/meta/app/query_bulk_load":  "name=<app_name>. Query app bulk load info.",
	"/meta/app/start_bulk_load":  "A JSON format of start_bulk_load_request structure. Start bulk load on an app.",
	"/meta/app/start_compaction": "A JSON format of manual_compaction_info structure. Start compaction for an app.",
	"/meta/app/usage_scenario":   "A JSON format of usage_scenario_info structure. Update usage scenario of an app.",
	"/meta/backup_policy":        "name=<app_name1>&name=<app_name2>. Query backup policy by policy names.",
	"/replica/data_version":      "app_id=<app_id>. Query the data version of an app.",
	"/replica/duplication":       "appid=<appid>. Query the duplication status of an app.",
	"/replica/manual_compaction": "app_id=<app_id>. Query the manual compaction status of an app.",
}

// registerPages adds the HTTP paths of every role.
func (n *node) registerPages() {
	m := n.pages
	m.HandleFunc("/version", n.versionPage)
	m.HandleFunc("/recentStartTime", n.startTimePage)
	m.HandleFunc("/configs", n.Config.ServeConfigs)
	m.HandleFunc("/config", n.Config.ServeConfig)
	m.HandleFunc("/updateConfig", n.Config.ServeUpdate(n.log))
	m.Handle("/metrics", n.metrics)
	m.HandleFunc("/pprof/cmdline", cmdlinePage)
	m.HandleFunc("/pprof/profile", pprof.Profile)
	m.HandleFunc("/pprof/symbol", pprof.Symbol)
	m.HandleFunc("/pprof/trace", pprof.Trace)
	m.Handle("/pprof/growth", pprof.Handler("allocs"))
	for _, name := range []string{"heap", "goroutine", "mutex", "block"} {
		m.Handle("/pprof/"+name, pprof.Handler(name))
	}
	m.HandleFunc("/{$}", n.rootPage)
	m.HandleFunc("/", notFoundPage)
}

// handler guards the pages: a panic in one costs one connection and a log line.
func (n *node) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				if p != http.ErrAbortHandler {
					n.log.Error("HTTP page panicked", "path", r.URL.Path, "remote", r.RemoteAddr, "panic", p)
				}
				panic(http.ErrAbortHandler)
			}
		}()
		n.pages.ServeHTTP(w, r)
	})
}

func (n *node) rootPage(w http.ResponseWriter, r *http.Request) {
	have := map[string]string{}
	for path, help := range pageHelp {
		_, pattern := n.pages.Handler(&http.Request{Method: http.MethodGet, Host: r.Host, URL: &url.URL{Path: path}})
		if pattern != "" && pattern != "/" {
			have[path] = help
		}
	}
	jsonPage(w, have)
}

func (n *node) versionPage(w http.ResponseWriter, _ *http.Request) {
	jsonPage(w, struct {
		Version   string
		GitCommit string
	}{n.Build.Version, n.Build.GitSHA})
}

func (n *node) startTimePage(w http.ResponseWriter, _ *http.Request) {
	jsonPage(w, struct{ RecentStartTime string }{n.start.Format(time.DateTime)})
}

func notFoundPage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusNotFound)
	fmt.Fprintf(w, "service not found for %q", strings.TrimPrefix(r.URL.Path, "/"))
}

func cmdlinePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintln(w, strings.Join(os.Args, "\n"))
}

// jsonPage answers with v as Pegasus's HTTP service does: plain text, one line.
func jsonPage(w http.ResponseWriter, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.Write(b.Bytes())
}
