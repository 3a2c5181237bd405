// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Help is what the page "/" says about /metrics.
const Help = "[with_metric_fields=field1,field2,...][&types=type1,type2,...][&ids=id1,id2,...][&attributes=attr1,value1,attr2,value2,...][&metrics=metric1,metric2,...][&detail=true|false]Query the node metrics."

type page struct {
	Cluster   string       `json:"cluster"`
	Role      string       `json:"role"`
	Host      string       `json:"host"`
	Port      int          `json:"port"`
	Timestamp int64        `json:"timestamp_ns"`
	Entities  []entityJSON `json:"entities"`
}

type entityJSON struct {
	Type       string            `json:"type"`
	ID         string            `json:"id"`
	Attributes map[string]string `json:"attributes"`
	Metrics    []metricJSON      `json:"metrics"`
}

// metricJSON is an object whose fields keep their order.
type metricJSON []field

type field struct {
	name string
	text string
	n    int64
	num  bool
}

// MarshalJSON implements json.Marshaler.
func (m metricJSON) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, f := range m {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, f.name)
		b = append(b, ':')
		if f.num {
			b = strconv.AppendInt(b, f.n, 10)
			continue
		}
		text, err := json.Marshal(f.text)
		if err != nil {
			return nil, err
		}
		b = append(b, text...)
	}
	return append(b, '}'), nil
}

// A filter says what of all metrics is asked for; nil sets mean everything.
type filter struct {
	fields  map[string]bool // nil: name and values
	types   map[string]bool
	ids     map[string]bool
	metrics map[string]bool
	attrs   [][2]string
	detail  bool
}

// parseFilter reads the parameters of /metrics.
func parseFilter(q url.Values) (*filter, error) {
	f := &filter{}
	for _, name := range slices.Sorted(maps.Keys(q)) {
		values := q[name]
		if len(values) > 1 {
			return nil, fmt.Errorf("duplicate parameter: %s", name)
		}
		list := strings.Split(values[0], ",")
		set := map[string]bool{}
		for _, v := range list {
			if v != "" {
				set[v] = true
			}
		}
		switch name {
		case "with_metric_fields", "types", "ids", "metrics", "attributes":
			if len(set) == 0 {
				return nil, fmt.Errorf("%s: want a list of values separated by commas", name)
			}
		}
		switch name {
		case "with_metric_fields":
			f.fields = set
		case "types":
			f.types = set
		case "ids":
			f.ids = set
		case "metrics":
			f.metrics = set
		case "attributes":
			if len(list)%2 != 0 {
				return nil, fmt.Errorf("attributes: want pairs name,value,name,value, not %d items", len(list))
			}
			for i := 0; i < len(list); i += 2 {
				f.attrs = append(f.attrs, [2]string{list[i], list[i+1]})
			}
		case "detail":
			switch values[0] {
			case "true":
				f.detail = true
			case "false", "":
			default:
				return nil, fmt.Errorf("detail: %q is neither true nor false", values[0])
			}
		default:
			return nil, fmt.Errorf("unknown parameter: %s", name)
		}
	}
	return f, nil
}

// matches reports whether the entity is asked for. One matching attribute is enough.
func (f *filter) matches(e *Entity) bool {
	if f.types != nil && !f.types[e.key.typ] || f.ids != nil && !f.ids[e.key.id] {
		return false
	}
	return f.attrs == nil || slices.ContainsFunc(f.attrs, func(a [2]string) bool {
		v, ok := e.attrs[a[0]]
		return ok && v == a[1]
	})
}

// shows reports whether a field is asked for.
func (f *filter) shows(name string, describing bool) bool {
	switch {
	case f.detail:
		return true
	case f.fields != nil:
		return f.fields[name]
	}
	return !describing
}

func (f *filter) render(m metric) metricJSON {
	a := m.about()
	var out metricJSON
	for _, d := range []struct {
		name, text string
		describing bool
	}{{"type", a.typ, true}, {"name", a.name, false}, {"unit", a.unit, true}, {"desc", a.desc, true}} {
		if f.shows(d.name, d.describing) {
			out = append(out, field{name: d.name, text: d.text})
		}
	}
	for _, v := range m.values() {
		if f.shows(v.field, false) {
			out = append(out, field{name: v.field, n: v.n, num: true})
		}
	}
	return out
}

func (e *Entity) render(f *filter) []metricJSON {
	e.mu.Lock()
	metrics := make([]metric, 0, len(e.byName))
	for _, name := range slices.Sorted(maps.Keys(e.byName)) {
		if f.metrics == nil || f.metrics[name] {
			metrics = append(metrics, e.byName[name])
		}
	}
	e.mu.Unlock()
	out := make([]metricJSON, 0, len(metrics))
	for _, m := range metrics {
		out = append(out, f.render(m))
	}
	return out
}

// ServeHTTP answers /metrics.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	q, err := url.ParseQuery(req.URL.RawQuery)
	var f *filter
	if err == nil {
		f, err = parseFilter(q)
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]string{"error_message": err.Error()})
		return
	}
	p := page{
		Cluster: r.id.Cluster, Role: r.id.Role, Host: r.id.Host, Port: r.id.Port,
		Timestamp: time.Now().UnixNano(),
		Entities:  []entityJSON{},
	}
	for _, e := range r.all() {
		if !f.matches(e) {
			continue
		}
		if ms := e.render(f); len(ms) > 0 {
			p.Entities = append(p.Entities, entityJSON{e.key.typ, e.key.id, e.attrs, ms})
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "    ")
	if err := enc.Encode(p); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	body := bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}
