// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// handleHTTP registers the pages for operators and dashboards.
func (s *Server) handleHTTP() {
	mux := s.o.HTTP
	if mux == nil {
		return
	}
	mux.HandleFunc("/envs/list", func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, envsPage()) })
	for path, f := range map[string]func(*snapshot, url.Values) (int, []byte){
		"/meta/app":      appPage,
		"/meta/apps":     appsPage,
		"/meta/app_envs": appEnvsPage,
		"/meta/nodes":    nodesPage,
		"/meta/cluster":  s.clusterPage,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			snap := s.snap.Load()
			if snap.role != idl.ErrOK {
				s.redirect(w, r, snap.role)
				return
			}
			args, err := url.ParseQuery(r.URL.RawQuery)
			if err != nil {
				respond(w, http.StatusBadRequest, []byte("the query cannot be decoded"))
				return
			}
			for k, v := range args {
				if len(v) > 1 {
					respond(w, http.StatusBadRequest, fmt.Appendf(nil, "argument %s is given twice", k))
					return
				}
			}
			status, body := f(snap, args)
			respond(w, status, body)
		})
	}
}

func respond(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

// redirect sends the caller to the leader, if it is known.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request, role idl.ErrorCode) {
	leader := s.election.Leader()
	if role != idl.ErrForwardToOthers || leader.IsZero() || leader == s.o.Self {
		respond(w, http.StatusServiceUnavailable, []byte("no meta server is serving at the moment, try again"))
		return
	}
	w.Header().Set("Location", "http://"+leader.String()+r.URL.RequestURI())
	respond(w, http.StatusTemporaryRedirect, nil)
}

func appPage(s *snapshot, args url.Values) (int, []byte) {
	name := args.Get("name")
	if name == "" {
		return http.StatusBadRequest, []byte("app name shouldn't be empty")
	}
	t := s.available(name)
	if t == nil {
		return http.StatusNotFound, fmt.Appendf(nil, "table not found: %q", name)
	}
	var page object
	page.add("general", row("app_name", name, "app_id", text(t.info.AppID),
		"partition_count", text(t.info.PartitionCount), "max_replica_count", text(t.info.MaxReplicaCount)))
	if args.Has("detail") {
		replicas, nodes := t.detail()
		page.add("replicas", replicas)
		page.add("nodes", nodes)
		h := t.health()
		page.add("healthy", row("fully_healthy_partition_count", text(h.healthy), "unhealthy_partition_count", text(h.unhealthy),
			"write_unhealthy_partition_count", text(h.writeUnhealthy), "read_unhealthy_partition_count", text(h.readUnhealthy)))
	}
	return http.StatusOK, page.page()
}

// detail lists the partitions of a table and the nodes that serve it.
func (t *tableView) detail() (replicas, nodes object) {
	type count struct{ primary, secondary int }
	counts := map[idl.RPCAddress]count{}
	var total count
	for i := range t.parts {
		pc := &t.parts[i]
		primary := "-"
		if !pc.Primary.IsZero() {
			primary = pc.Primary.String()
			c := counts[pc.Primary]
			c.primary++
			total.primary++
			counts[pc.Primary] = c
		}
		secondaries := make([]string, len(pc.Secondaries))
		for j, a := range pc.Secondaries {
			secondaries[j] = a.String()
			c := counts[a]
			c.secondary++
			total.secondary++
			counts[a] = c
		}
		replicas.add(text(i), row("pidx", text(i), "ballot", text(pc.Ballot),
			"replica_count", fmt.Sprintf("%d/%d", len(members(pc)), pc.MaxReplicaCount),
			"primary", primary, "secondaries", "["+strings.Join(secondaries, ",")+"]"))
	}
	add := func(name string, c count) {
		nodes.add(name, row("node", name, "primary", text(c.primary), "secondary", text(c.secondary), "total", text(c.primary+c.secondary)))
	}
	for _, a := range slices.Sorted(maps.Keys(counts)) {
		add(a.String(), counts[a])
	}
	add("total", total)
	return replicas, nodes
}

func appsPage(s *snapshot, args url.Values) (int, []byte) {
	var general, healthy object
	var total, fully, unhealthy, noWrite, noRead int
	for _, t := range s.tables {
		if t.info.Status != idl.AsAvailable {
			continue
		}
		total++
		i := &t.info
		general.add(text(i.AppID), row("app_id", text(i.AppID), "status", strings.TrimPrefix(i.Status.String(), "AS_"),
			"app_name", i.AppName, "app_type", i.AppType, "partition_count", text(i.PartitionCount),
			"replica_count", text(i.MaxReplicaCount), "is_stateful", strconv.FormatBool(i.IsStateful),
			"create_time", timeText(i.CreateSecond), "drop_time", timeText(i.DropSecond), "drop_expire", timeText(i.ExpireSecond),
			"envs_count", text(len(i.Envs))))
		h := t.health()
		healthy.add(text(i.AppID), row("app_id", text(i.AppID), "app_name", i.AppName, "partition_count", text(i.PartitionCount),
			"fully_healthy", text(h.healthy), "unhealthy", text(h.unhealthy),
			"write_unhealthy", text(h.writeUnhealthy), "read_unhealthy", text(h.readUnhealthy)))
		if h.unhealthy == 0 {
			fully++
		} else {
			unhealthy++
		}
		if h.writeUnhealthy > 0 {
			noWrite++
		}
		if h.readUnhealthy > 0 {
			noRead++
		}
	}
	var page object
	page.add("general_info", general)
	summary := row("total_app_count", text(total))
	if args.Has("detail") {
		page.add("healthy_info", healthy)
		summary = append(summary, row("fully_healthy_app_count", text(fully), "unhealthy_app_count", text(unhealthy),
			"write_unhealthy_app_count", text(noWrite), "read_unhealthy_app_count", text(noRead))...)
	}
	page.add("summary", summary)
	return http.StatusOK, page.page()
}

func appEnvsPage(s *snapshot, args url.Values) (int, []byte) {
	name := args.Get("name")
	if name == "" {
		return http.StatusBadRequest, []byte("app name shouldn't be empty")
	}
	t := s.available(name)
	if t == nil {
		return http.StatusNotFound, fmt.Appendf(nil, "table not found: %q", name)
	}
	var page object
	for _, k := range slices.Sorted(maps.Keys(t.info.Envs)) {
		page.add(k, t.info.Envs[k])
	}
	return http.StatusOK, page.page()
}

func nodesPage(s *snapshot, args url.Values) (int, []byte) {
	var details object
	alive := 0
	for _, n := range s.nodes {
		status := "UNALIVE"
		if n.alive {
			status = "ALIVE"
			alive++
		}
		r := row("address", n.addr.String(), "status", status)
		if args.Has("detail") {
			r = append(r, row("replica_count", text(n.replicas), "primary_count", text(n.primaries),
				"secondary_count", text(n.replicas-n.primaries))...)
		}
		details.add(n.addr.String(), r)
	}
	var page object
	page.add("details", details)
	page.add("summary", row("total_node_count", text(len(s.nodes)), "alive_node_count", text(alive),
		"unalive_node_count", text(len(s.nodes)-alive)))
	return http.StatusOK, page.page()
}

func (s *Server) clusterPage(snap *snapshot, _ url.Values) (int, []byte) {
	var page object
	for _, kv := range s.clusterTable(snap) {
		page.add(kv[0], kv[1])
	}
	return http.StatusOK, page.page()
}

// envsPage describes every env; the original indents it.
func envsPage() []byte {
	type rule struct {
		Limitation string `json:"limitation"`
		Sample     string `json:"sample"`
		Type       string `json:"type"`
	}
	all := map[string]rule{}
	for k, r := range envRules {
		all[k] = rule{r.Limit, r.Sample, r.Type}
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(all); err != nil {
		panic("meta: env rules cannot be encoded: " + err.Error())
	}
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}

func text[N int | int32 | int64](n N) string { return strconv.FormatInt(int64(n), 10) }

// timeText is a unix time as operators read it, a dash if there is none.
func timeText(sec int64) string {
	if sec <= 0 {
		return "-"
	}
	return time.Unix(sec, 0).Format("2006-01-02 15:04:05.000")
}
