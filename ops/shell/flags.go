// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"fmt"
	"strconv"
	"strings"
)

// An option is one of a command's: a letter, a long name, and whether an argument follows.
type option struct {
	letter byte
	name   string
	arg    bool
}

// options reads the options off a usage text such as
//
//	<app_name> [-d|--detailed] [-o|--output file_name]
//
// so that what is offered and what is understood cannot differ.
func options(usage string) []option {
	var all []option
	for _, word := range usageWords(usage) {
		for _, part := range strings.Split(word, "][") {
			part = strings.Trim(part, "[]<>")
			spec, arg, hasArg := strings.Cut(part, " ")
			if !strings.HasPrefix(spec, "-") {
				continue
			}
			o := option{arg: hasArg && arg != ""}
			for _, s := range strings.Split(spec, "|") {
				if name, long := strings.CutPrefix(s, "--"); long {
					o.name = name
				} else if len(s) == 2 {
					o.letter = s[1]
				}
			}
			all = append(all, o)
		}
	}
	return all
}

// usageWords splits a usage text at the spaces outside brackets.
func usageWords(usage string) []string {
	var words []string
	depth, start := 0, 0
	for i := 0; i <= len(usage); i++ {
		if i == len(usage) || usage[i] == ' ' && depth == 0 {
			if i > start {
				words = append(words, usage[start:i])
			}
			start = i + 1
			continue
		}
		switch usage[i] {
		case '[', '<':
			depth++
		case ']', '>':
			depth--
		}
	}
	return words
}

// flags are the options given to a command, by letter or, where there is none, by name, and what
// else was given.
type flags struct {
	set  map[string]string
	args []string
}

// parseFlags splits the words after a command's name. Options may stand anywhere, "--" ends
// them, letters may be joined. With stopAtWord the first other word ends them too, so that what
// follows may begin with a dash. A negative number is no option.
func parseFlags(name string, known []option, words []string, stopAtWord bool) (*flags, error) {
	f := &flags{set: map[string]string{}}
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "--":
			f.args = append(f.args, words[i+1:]...)
			return f, nil
		case len(w) < 2 || w[0] != '-' || w[1] >= '0' && w[1] <= '9':
			if stopAtWord {
				f.args = append(f.args, words[i:]...)
				return f, nil
			}
			f.args = append(f.args, w)
		case strings.HasPrefix(w, "--"):
			long, value, hasValue := strings.Cut(w[2:], "=")
			o, err := findLong(name, known, long)
			if err != nil {
				return nil, err
			}
			switch {
			case !o.arg && hasValue:
				return nil, usageError("%s: option '--%s' doesn't allow an argument", name, o.name)
			case o.arg && !hasValue:
				if i++; i == len(words) {
					return nil, usageError("%s: option '--%s' requires an argument", name, o.name)
				}
				value = words[i]
			}
			f.set[o.key()] = value
		default:
			for j := 1; j < len(w); j++ {
				o := findLetter(known, w[j])
				if o == nil {
					return nil, usageError("%s: invalid option -- '%c'", name, w[j])
				}
				if !o.arg {
					f.set[o.key()] = ""
					continue
				}
				value := w[j+1:]
				if value == "" {
					if i++; i == len(words) {
						return nil, usageError("%s: option requires an argument -- '%c'", name, w[j])
					}
					value = words[i]
				}
				f.set[o.key()] = value
				break
			}
		}
	}
	return f, nil
}

func (o *option) key() string {
	if o.letter != 0 {
		return string(o.letter)
	}
	return o.name
}

func findLetter(known []option, letter byte) *option {
	for i := range known {
		if known[i].letter == letter {
			return &known[i]
		}
	}
	return nil
}

// findLong accepts an unambiguous beginning of the name, as getopt does.
func findLong(name string, known []option, long string) (*option, error) {
	var found *option
	for i := range known {
		switch {
		case known[i].name == "":
		case known[i].name == long:
			return &known[i], nil
		case strings.HasPrefix(known[i].name, long) && long != "":
			if found != nil {
				return nil, usageError("%s: option '--%s' is ambiguous", name, long)
			}
			found = &known[i]
		}
	}
	if found == nil {
		return nil, usageError("%s: unrecognized option '--%s'", name, long)
	}
	return found, nil
}

func (f *flags) has(key string) bool { _, ok := f.set[key]; return ok }

func (f *flags) text(key, otherwise string) string {
	if v, ok := f.set[key]; ok {
		return v
	}
	return otherwise
}

// integer reads a number of at least low.
func (f *flags) integer(key, what string, low, otherwise int64) (int64, error) {
	v, ok := f.set[key]
	if !ok {
		return otherwise, nil
	}
	return parseInteger(v, what, low)
}

func parseInteger(v, what string, low int64) (int64, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < low {
		return 0, usageError("ERROR: parse %s as %s failed", v, what)
	}
	return n, nil
}

func (f *flags) boolean(key, what string, otherwise bool) (bool, error) {
	v, ok := f.set[key]
	if !ok {
		return otherwise, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, usageError("ERROR: parse %s as %s failed", v, what)
	}
	return b, nil
}

// A wrongUsage is an error after which the command's usage is shown.
type wrongUsage struct{ text string }

func (e *wrongUsage) Error() string { return e.text }

func usageError(format string, args ...any) error { return &wrongUsage{fmt.Sprintf(format, args...)} }
