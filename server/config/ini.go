// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"regexp"
	"strings"
)

// A File is a parsed configuration file: text by section and key, nothing typed.
type File struct {
	Name     string
	Sections []*Section // in file order
	Warnings []*Error   // lines that were skipped, such as a key set for a second time

	byName map[string]*Section
}

// A Section is what stands below one [name] line.
type Section struct {
	Name string
	Line int
	Keys []*Entry // in file order, without repeated keys

	byName map[string]*Entry
}

// An Entry is one key = value line.
type Entry struct {
	Key   string
	Value string // "" for a key without '=' and for an unreplaced %name%
	Line  int
}

// Section returns the section of that name, or nil.
func (f *File) Section(name string) *Section { return f.byName[name] }

// Entry returns the entry of a key, or nil.
func (s *Section) Entry(key string) *Entry {
	if s == nil {
		return nil
	}
	return s.byName[key]
}

// inheriting names the section families whose members take the keys they do not set from the
// family's ..default section. No other section inherits.
var inheriting = []string{"apps", "threadpool", "task"}

// family returns "apps" for "apps.meta" and for "apps..default"; "" for a section that belongs
// to no inheriting family.
func family(section string) string {
	for _, f := range inheriting {
		if strings.HasPrefix(section, f+".") {
			return f
		}
	}
	return ""
}

// Lookup returns the entry of a key in a section or, if the section does not set it, in the
// section it inherits from. It returns nil when neither does.
func (f *File) Lookup(section, key string) *Entry {
	if e := f.byName[section].Entry(key); e != nil {
		return e
	}
	if fam := family(section); fam != "" {
		return f.byName[fam+"..default"].Entry(key)
	}
	return nil
}

// placeholder matches what the deploy tool should have replaced: %{name} and %<name>, also
// when the closing brace was lost.
var placeholder = regexp.MustCompile(`%\{[^}\n]*\}?|%<[A-Za-z0-9_.\-]+>`)

// Parse reads the text of a configuration file. args, as given with -cargs, replaces each %k%
// in the whole text by its value before anything else happens.
//
// The grammar, which is that of Pegasus:
//
//   - '#' or ';' starts a comment anywhere in a line, also inside a value; '^#' and '^;' stand
//     for the character itself.
//   - Sections are "[name]", keys "key = value" or just "key"; names and values are trimmed.
//     There is no quoting and no continuation of lines.
//   - The same section twice is an error; of the same key twice the first counts.
//   - A value of at least three characters that begins and ends with '%' is a -cargs variable
//     nobody has set, and reads as the empty string.
//
// A deploy-time placeholder %{name} that is still there is an error, wherever it stands. The
// returned error is an Errors with all mistakes; the File then holds what could be read.
func Parse(name string, text []byte, args map[string]string) (*File, error) {
	p := &parser{file: &File{Name: name, byName: map[string]*Section{}}}
	s := strings.TrimPrefix(string(text), "\ufeff")
	if strings.TrimSpace(s) == "" {
		p.fail(0, "", "the file is empty")
		return p.file, p.errs.orNil()
	}
	if len(args) > 0 {
		pairs := make([]string, 0, 2*len(args))
		for k, v := range args {
			pairs = append(pairs, "%"+k+"%", v)
		}
		s = strings.NewReplacer(pairs...).Replace(s)
	}
	for line := range strings.SplitSeq(s, "\n") {
		p.line++
		p.parseLine(line)
	}
	return p.file, p.errs.orNil()
}

type parser struct {
	file    *File
	section *Section
	// skipping is set below a section line that could not be used, so that its keys neither
	// land in the section before nor cause an error each.
	skipping bool
	line     int
	errs     Errors
}

func (p *parser) fail(line int, key, format string, a ...any) {
	section := ""
	if p.section != nil {
		section = p.section.Name
	}
	p.errs = append(p.errs, &Error{File: p.file.Name, Line: line, Section: section, Key: key, Msg: fmt.Sprintf(format, a...)})
}

func (p *parser) warn(key, format string, a ...any) {
	p.file.Warnings = append(p.file.Warnings, &Error{
		File: p.file.Name, Line: p.line, Section: p.section.Name, Key: key, Msg: fmt.Sprintf(format, a...)})
}

func (p *parser) parseLine(line string) {
	for _, ph := range placeholder.FindAllString(line, -1) {
		p.fail(p.line, "", "placeholder %s was not replaced: render the file from its template (pegasus-ops render) or write the value", ph)
	}
	if strings.IndexByte(line, 0) >= 0 {
		p.fail(p.line, "", "the line holds a NUL byte: the file is damaged or no text file")
		return
	}
	line = strings.TrimRight(stripComment(strings.TrimLeft(line, blanks)), blanks)
	switch {
	case line == "":
	case line[0] == '[':
		p.parseSection(line)
	default:
		p.parseKey(line)
	}
}

// blanks is what counts as white space; the line feed never gets this far.
const blanks = " \t\r"

// stripComment cuts a line at the first '#' or ';' that has no caret before it, and takes the
// caret away from the others.
func stripComment(line string) string {
	if !strings.ContainsAny(line, "#;") {
		return line
	}
	out := make([]byte, 0, len(line))
	for i := range len(line) {
		if c := line[i]; c == '#' || c == ';' {
			if i == 0 || line[i-1] != '^' {
				break
			}
			out = out[:len(out)-1]
		}
		out = append(out, line[i])
	}
	return string(out)
}

// escapeComment is the inverse of stripComment.
func escapeComment(value string) string {
	return strings.NewReplacer("#", "^#", ";", "^;").Replace(value)
}

func (p *parser) parseSection(line string) {
	p.section, p.skipping = nil, true
	if strings.Contains(line, "=") {
		p.fail(p.line, "", "%q: a section line cannot hold '='", line)
		return
	}
	end := strings.IndexByte(line, ']')
	if end < 0 {
		p.fail(p.line, "", "%q: the ']' of the section name is missing", line)
		return
	}
	name := strings.Trim(line[1:end], blanks)
	if name == "" {
		p.fail(p.line, "", "%q: the section name is empty", line)
		return
	}
	if first := p.file.byName[name]; first != nil {
		p.fail(p.line, "", "section [%s] is defined a second time, first on line %d: merge the two", name, first.Line)
		return
	}
	p.skipping = false
	p.section = &Section{Name: name, Line: p.line, byName: map[string]*Entry{}}
	p.file.Sections = append(p.file.Sections, p.section)
	p.file.byName[name] = p.section
	if rest := strings.Trim(line[end+1:], blanks); rest != "" {
		p.warn("", "%q after the section name is ignored", rest)
	}
}

func (p *parser) parseKey(line string) {
	key, value, _ := strings.Cut(line, "=")
	key, value = strings.Trim(key, blanks), strings.Trim(value, blanks)
	if p.skipping {
		return
	}
	if p.section == nil {
		p.fail(p.line, key, "the key stands before the first [section]")
		return
	}
	if key == "" {
		p.fail(p.line, "", "%q: the key before '=' is missing", line)
		return
	}
	if first := p.section.byName[key]; first != nil {
		p.warn(key, "%q is skipped: the key is already set on line %d to %q, and the first one counts", value, first.Line, first.Value)
		return
	}
	if len(value) > 2 && value[0] == '%' && value[len(value)-1] == '%' {
		value = ""
	}
	e := &Entry{Key: key, Value: value, Line: p.line}
	p.section.Keys = append(p.section.Keys, e)
	p.section.byName[key] = e
}

// ParseArgs reads the argument of -cargs, "k1=v1;k2=v2", where ',' separates as well.
func ParseArgs(s string) (map[string]string, error) {
	args := map[string]string{}
	for _, kv := range strings.FieldsFunc(s, func(r rune) bool { return r == ';' || r == ',' }) {
		k, v, ok := strings.Cut(kv, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if !ok || k == "" {
			return nil, fmt.Errorf("-cargs: %q in %q is not KEY=VALUE; want -cargs 'k1=v1;k2=v2'", kv, s)
		}
		args[k] = v
	}
	return args, nil
}

// splitList splits a list value at commas and drops empty items.
func splitList(value string) []string {
	var items []string
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.Trim(item, blanks); item != "" {
			items = append(items, item)
		}
	}
	return items
}
