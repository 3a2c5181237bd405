// SPDX-License-Identifier: Apache-2.0

package templates

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// placeholder matches %{name} and %<name>, and in its last branch what is
// opened and not closed.
var placeholder = regexp.MustCompile(`%\{([^{}<>\n]*)\}|%<([^{}<>\n]*)>|%[{<][^\s]*`)

// Leftover is a placeholder nobody gave a value for.
type Leftover struct {
	Where string // file:line, or the inventory field
	Text  string // as it stands there
	Name  string // "" when it is not even closed
}

// LeftoverError says that a rendered text would still hold placeholders.
type LeftoverError struct {
	List []Leftover
}

func (e *LeftoverError) Error() string {
	lines := make([]string, len(e.List))
	for i, l := range e.List {
		fix := "close it or remove it"
		if l.Name != "" {
			fix = fmt.Sprintf("add it to the inventory as `variables: {%s: …}`", l.Name)
		}
		lines[i] = fmt.Sprintf("%s: placeholder %s has no value; %s", l.Where, l.Text, fix)
	}
	return strings.Join(lines, "\n")
}

// Render replaces every placeholder of text by its value. The name stands for
// the text in errors. The error, a [*LeftoverError], lists each placeholder
// without a value and each that a value itself brought in.
func Render(name, text string, values map[string]string) (string, error) {
	var left []Leftover
	lines := strings.Split(text, "\n")
	for n, line := range lines {
		where := fmt.Sprintf("%s:%d", name, n+1)
		lines[n] = renderLine(where, line, values, &left)
	}
	if len(left) > 0 {
		return "", &LeftoverError{List: left}
	}
	return strings.Join(lines, "\n"), nil
}

func renderLine(where, line string, values map[string]string, left *[]Leftover) string {
	replaced := placeholder.ReplaceAllStringFunc(line, func(found string) string {
		m := placeholder.FindStringSubmatch(found)
		name := m[1] + m[2]
		if value, ok := values[name]; ok && name != "" {
			if again := placeholder.FindString(value); again != "" {
				*left = append(*left, Leftover{Where: where, Text: again + " (in the value of " + found + ")", Name: inner(again)})
			}
			return value
		}
		*left = append(*left, Leftover{Where: where, Text: found, Name: name})
		return found
	})
	// Two halves may have met to form a new one; a second look costs nothing.
	if again := placeholder.FindString(replaced); again != "" && !slices.ContainsFunc(*left, func(l Leftover) bool { return l.Where == where }) {
		*left = append(*left, Leftover{Where: where, Text: again, Name: inner(again)})
	}
	return replaced
}

func inner(found string) string {
	m := placeholder.FindStringSubmatch(found)
	return m[1] + m[2]
}

// Placeholders lists the names a text asks for, sorted, each once.
func Placeholders(text string) []string {
	var names []string
	for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
		if name := m[1] + m[2]; name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
