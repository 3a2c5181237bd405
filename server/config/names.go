// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strings"
)

// checkNames warns of sections and keys that nobody knows, once each, with the name that was
// probably meant.
func (l *loader) checkNames() {
	known := map[string][]string{}
	for _, k := range l.keys {
		known[k.Section] = append(known[k.Section], k.Name)
	}
	var sections []string
	for s := range known {
		sections = append(sections, s)
	}
	slices.Sort(sections)
	for _, s := range l.file.Sections {
		keys, open := known[s.Name], false
		declared := keys != nil
		for _, f := range families {
			if !f.match(s.Name) {
				continue
			}
			declared, open = true, open || f.open && keys == nil
			for _, k := range f.keys {
				keys = append(keys, k.name)
			}
		}
		if !declared {
			l.warn(s.Line, s.Name, "", "unknown section, its keys are ignored%s", hint(suggest(s.Name, sections)))
			continue
		}
		if open {
			continue
		}
		for _, e := range s.Keys {
			if slices.Contains(keys, e.Key) {
				continue
			}
			h := hint(suggest(e.Key, keys))
			if h == "" {
				h = l.elsewhere(e.Key)
			}
			l.warn(e.Line, s.Name, e.Key, "unknown key, it is ignored%s", h)
		}
	}
}

func hint(name string) string {
	if name == "" {
		return ""
	}
	return "; did you mean " + name + "?"
}

// elsewhere tells where a key belongs that stands in the wrong section.
func (l *loader) elsewhere(key string) string {
	var in []string
	for _, k := range l.keys {
		if k.Name == key {
			in = append(in, "["+k.Section+"]")
		}
	}
	if in == nil {
		return ""
	}
	return "; it belongs into " + strings.Join(in, " or ")
}
