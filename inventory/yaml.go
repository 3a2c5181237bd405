// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// reader walks YAML nodes and gathers problems instead of stopping at the
// first. Every method that takes a path uses it only to name the field.
type reader struct {
	problems []Problem
	warnings []Problem
	depth    int             // of mappings, to stop at an anchor that merges itself
	excused  map[string]bool // fields somebody misspelt: no use in calling them missing too
}

// maxDepth is far beyond what an inventory nests.
const maxDepth = 32

func (r *reader) fail(line int, field, value, fix, format string, args ...any) {
	r.problems = append(r.problems, Problem{Line: line, Field: field, Value: value, Fix: fix, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) warn(line int, field, value, fix, format string, args ...any) {
	r.warnings = append(r.warnings, Problem{Line: line, Field: field, Value: value, Fix: fix, Message: fmt.Sprintf(format, args...)})
}

// key is one key of a mapping and what reads its value.
type key struct {
	name string
	read func(n *yaml.Node, field string)
}

// elsewhere are words operators try that belong to other tools, with what they mean here.
var elsewhere = map[string]string{
	"name": "cluster", "cluster_name": "cluster", "metas": "meta_servers", "meta": "meta_servers",
	"replicas": "replica_servers", "replica": "replica_servers", "collector": "collectors", "zk": "zookeeper",
	"deploy_dir": "app_dir", "data_dir": "data_dirs", "user": "ssh.user", "partition_count": "partitions",
	"replica_count": "replicas", "max_replica_count": "replicas", "ip": "address", "app_name": "name",
}

// mapping reads the keys of a mapping node. Keys it does not know and keys that
// stand twice are problems.
func (r *reader) mapping(n *yaml.Node, field string, keys ...key) {
	known := make([]string, len(keys))
	for i, k := range keys {
		known[i] = k.name
	}
	r.entries(n, field, func(k *yaml.Node, v *yaml.Node) {
		at := slices.Index(known, k.Value)
		if at < 0 {
			fix, meant := unknownFix(k.Value, known)
			r.fail(k.Line, join(field, k.Value), "", fix, "unknown key")
			if meant != "" {
				r.excused[join(field, meant)] = true
			}
			return
		}
		keys[at].read(v, join(field, k.Value))
	})
}

// unknownFix says what to do about an unknown key and which known one was
// probably meant.
func unknownFix(word string, known []string) (fix, meant string) {
	switch strings.ToLower(word) {
	case "password", "passphrase", "pass", "sudo_password":
		return "secrets never stand in the inventory, pegasus-ops asks for them on the terminal; remove it", ""
	}
	meant = elsewhere[strings.ToLower(word)]
	if !slices.Contains(known, meant) && !strings.Contains(meant, ".") {
		meant = closest(word, known)
	}
	if meant == "" {
		return "the keys here are " + strings.Join(known, ", "), ""
	}
	return "did you mean " + meant + "?", meant
}

// missing reports a field that must stand in the inventory, unless it does and
// something else about it was reported already.
func (r *reader) missing(line int, field, fix string) {
	if r.excused[field] {
		return
	}
	for _, p := range r.problems {
		if p.Field == field || strings.HasPrefix(p.Field, field+"[") || strings.HasPrefix(p.Field, field+".") {
			return
		}
	}
	r.fail(line, field, "", fix, "is missing")
}

// entries calls visit for each key of a mapping in file order, merge keys last.
func (r *reader) entries(n *yaml.Node, field string, visit func(k, v *yaml.Node)) {
	n = deref(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n.Line, field, shown(n), "write it as key: value pairs", "is not a mapping")
		return
	}
	if r.depth++; r.depth > maxDepth {
		r.depth--
		r.fail(n.Line, field, "", "write it flat", "is nested too deeply, or an anchor contains itself")
		return
	}
	defer func() { r.depth-- }()
	seen := map[string]int{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Tag == "!!merge" {
			merged = append(merged, v)
			continue
		}
		if first, twice := seen[k.Value]; twice {
			r.fail(k.Line, join(field, k.Value), "", "remove one of them", "stands twice, first on line %d", first)
			continue
		}
		seen[k.Value] = k.Line
		visit(k, v)
	}
	for _, m := range merged {
		m = deref(m)
		list := []*yaml.Node{m}
		if m.Kind == yaml.SequenceNode {
			list = m.Content
		}
		for _, source := range list {
			r.entries(source, field, func(k, v *yaml.Node) {
				if _, own := seen[k.Value]; !own {
					seen[k.Value] = k.Line
					visit(k, v)
				}
			})
		}
	}
}

// list calls visit for each item of a sequence.
func (r *reader) list(n *yaml.Node, field string, visit func(item *yaml.Node, field string)) {
	n = deref(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.fail(n.Line, field, shown(n), "write it as a list: one line `- …` per item", "is not a list")
		return
	}
	for i, item := range n.Content {
		visit(deref(item), fmt.Sprintf("%s[%d]", field, i))
	}
}

// text reads a scalar as it is written. A null is the empty text.
func (r *reader) text(n *yaml.Node, field string) (string, bool) {
	n = deref(n)
	if isNull(n) {
		return "", true
	}
	if n.Kind != yaml.ScalarNode {
		r.fail(n.Line, field, shown(n), "write a single value", "is not a single value")
		return "", false
	}
	if strings.ContainsAny(n.Value, "\n\r\x00") {
		r.fail(n.Line, field, strconv.Quote(n.Value), "write it on one line", "holds a line break")
		return "", false
	}
	return n.Value, true
}

func (r *reader) setText(dst *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, field string) {
		if s, ok := r.text(n, field); ok {
			*dst = s
		}
	}
}

// setInt reads a whole number within [low, high].
func (r *reader) setInt(dst *int, low, high int, what string) func(*yaml.Node, string) {
	return func(n *yaml.Node, field string) {
		s, ok := r.text(n, field)
		if !ok {
			return
		}
		v, err := strconv.Atoi(s)
		if err != nil || v < low || v > high {
			r.fail(n.Line, field, strconv.Quote(s), fmt.Sprintf("use a number from %d to %d", low, high), "is no %s", what)
			return
		}
		*dst = v
	}
}

func (r *reader) setBool(dst *bool) func(*yaml.Node, string) {
	return func(n *yaml.Node, field string) {
		if n = deref(n); n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
			r.fail(n.Line, field, shown(n), "use true or false", "is neither true nor false")
			return
		}
		*dst = n.Value == "true" || n.Value == "True" || n.Value == "TRUE"
	}
}

func setChoice[T ~string](r *reader, dst *T, choices ...T) func(*yaml.Node, string) {
	return func(n *yaml.Node, field string) {
		s, ok := r.text(n, field)
		if !ok {
			return
		}
		if !slices.Contains(choices, T(s)) {
			names := make([]string, len(choices))
			for i, c := range choices {
				names[i] = string(c)
			}
			r.fail(n.Line, field, strconv.Quote(s), "use one of "+strings.Join(names, ", "), "is not known")
			return
		}
		*dst = T(s)
	}
}

func deref(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// shown is a short form of a node's value for messages.
func shown(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "{…}"
	case yaml.SequenceNode:
		return "[…]"
	}
	return strconv.Quote(n.Value)
}

func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}
