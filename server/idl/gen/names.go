// SPDX-License-Identifier: Apache-2.0

package main

import "strings"

// camel turns a wire name into a Go name: words are separated by underscores, each starts with
// a capital letter, and the word "id" becomes ID. Names in capitals keep only their first
// letters: AS_AVAILABLE is AsAvailable.
func camel(name string) string {
	if name == strings.ToUpper(name) {
		name = strings.ToLower(name)
	}
	var b strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		switch {
		case word == "id":
			b.WriteString("ID")
		case word != "":
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

// shared reports whether all values of e start with one short word, as AS_AVAILABLE and
// AS_DROPPED do. Such names are unmistakable without the name of the enum before them; READ and
// WRITE are not.
func (e *Enum) shared() bool {
	first, _, _ := strings.Cut(e.Values[0].Name, "_")
	for _, v := range e.Values {
		word, _, more := strings.Cut(v.Name, "_")
		if !more || word != first || len(word) > 3 {
			return false
		}
	}
	return true
}

// constName is the Go constant of a value of e.
func (e *Enum) constName(value string) string {
	if e.shared() {
		return camel(value)
	}
	return camel(e.Name) + camel(value)
}
