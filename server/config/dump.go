// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Dump returns the whole configuration as the command config-dump shows it: the sections in
// alphabetical order, each key with its description above it, keys at their default before
// those the file sets. The text can be read back with Parse; secrets are masked.
func (c *Config) Dump() string {
	type line struct {
		name, value, doc string
		pos              int // line in the file, 0 = default
	}
	sections := map[string][]line{}
	c.mu.Lock()
	for _, k := range c.keys {
		sections[k.Section] = append(sections[k.Section], line{k.Name, k.Text(), k.Doc, k.line})
	}
	c.mu.Unlock()
	add := func(sectionName, name, value, doc string, pos int) {
		if !slices.ContainsFunc(sections[sectionName], func(l line) bool { return l.name == name }) {
			sections[sectionName] = append(sections[sectionName], line{name, value, doc, pos})
		}
	}
	for _, s := range c.file.Sections {
		for _, e := range s.Keys {
			doc := ""
			for _, f := range families {
				if i := slices.IndexFunc(f.keys, func(k familyKey) bool { return f.match(s.Name) && k.name == e.Key }); i >= 0 {
					doc = f.keys[i].doc
				}
			}
			add(s.Name, e.Key, e.Value, doc, e.Line)
		}
		for _, f := range families {
			if !f.match(s.Name) {
				continue
			}
			for _, k := range f.keys {
				value := k.def
				if e := c.file.Lookup(s.Name, k.name); e != nil {
					value = e.Value
				}
				if value != "" {
					add(s.Name, k.name, value, k.doc, 0)
				}
			}
		}
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sections)) {
		fmt.Fprintf(&b, "[%s]\n", name)
		lines := sections[name]
		slices.SortStableFunc(lines, func(a, b line) int {
			if a.pos != b.pos {
				return a.pos - b.pos
			}
			return strings.Compare(a.name, b.name)
		})
		for _, l := range lines {
			fmt.Fprintf(&b, "; %s\n%s = %s\n\n", l.doc, escapeComment(l.name), escapeComment(l.value))
		}
		b.WriteString("\n")
	}
	return b.String()
}
