// SPDX-License-Identifier: Apache-2.0

package templates

import (
	"maps"
	"slices"
	"strings"
)

// Settings are values by section and key of an ini file.
type Settings = map[string]map[string]string

// Overlay writes settings over an ini text. A key that stands there keeps its
// place and the comment behind it; a new key goes behind the last key of its
// section, a new section to the end. Everything else stays byte for byte.
//
// Where a key stands twice in a section the first one counts, as it does for
// the server, and only that one is changed.
func Overlay(text string, settings Settings) string {
	lines := strings.Split(text, "\n")
	trailing := strings.HasSuffix(text, "\n")
	if trailing {
		lines = lines[:len(lines)-1]
	}
	done := map[string]map[string]bool{}
	insert := map[int][]string{} // new lines by the index of the line they follow
	sections := sectionsOf(lines)
	for _, s := range sections {
		wanted := settings[s.name]
		if len(wanted) == 0 || done[s.name] != nil {
			continue
		}
		done[s.name] = map[string]bool{}
		for n := s.first; n < s.end; n++ {
			key, ok := keyOf(lines[n])
			if !ok {
				continue
			}
			if value, set := wanted[key]; set && !done[s.name][key] {
				done[s.name][key] = true
				lines[n] = setValue(lines[n], value)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(wanted)) {
			if !done[s.name][key] {
				insert[s.lastKey] = append(insert[s.lastKey], assignment(key, wanted[key]))
			}
		}
	}
	out := make([]string, 0, len(lines)+len(settings))
	for n, line := range lines {
		out = append(out, line)
		out = append(out, insert[n]...)
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if done[name] != nil || len(settings[name]) == 0 {
			continue
		}
		out = append(out, "", "["+name+"]")
		for _, key := range slices.Sorted(maps.Keys(settings[name])) {
			out = append(out, assignment(key, settings[name][key]))
		}
		trailing = true
	}
	result := strings.Join(out, "\n")
	if trailing {
		result += "\n"
	}
	return result
}

type section struct {
	name    string
	first   int // index of the line behind the header
	end     int // index behind the section's last line
	lastKey int // index of its last key, or of the header when it has none
}

func sectionsOf(lines []string) []section {
	var all []section
	for n, line := range lines {
		code, _ := splitComment(line)
		code = strings.TrimSpace(code)
		if strings.HasPrefix(code, "[") && strings.HasSuffix(code, "]") {
			if len(all) > 0 {
				all[len(all)-1].end = n
			}
			all = append(all, section{name: strings.TrimSpace(code[1 : len(code)-1]), first: n + 1, end: len(lines), lastKey: n})
			continue
		}
		if code != "" && len(all) > 0 {
			all[len(all)-1].lastKey = n
		}
	}
	return all
}

// keyOf is the key a line sets.
func keyOf(line string) (string, bool) {
	code, _ := splitComment(line)
	key, _, _ := strings.Cut(code, "=")
	key = strings.TrimSpace(key)
	return key, key != ""
}

// splitComment cuts a line before the first # or ; that no caret makes literal.
func splitComment(line string) (code, comment string) {
	for i := 0; i < len(line); i++ {
		if (line[i] == '#' || line[i] == ';') && (i == 0 || line[i-1] != '^') {
			return line[:i], line[i:]
		}
	}
	return line, ""
}

func setValue(line, value string) string {
	code, comment := splitComment(line)
	key, _, _ := strings.Cut(code, "=")
	indent := key[:len(key)-len(strings.TrimLeft(key, " \t"))]
	out := indent + assignment(strings.TrimSpace(key), value)
	if comment != "" {
		out += "  " + comment
	}
	return out
}

func assignment(key, value string) string {
	return strings.TrimRight(key+" = "+escape(value), " ")
}

// escape makes comment characters of a value literal.
var escape = strings.NewReplacer("#", "^#", ";", "^;").Replace
