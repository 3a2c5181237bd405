// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"
	"text/scanner"
)

// A File is one parsed .thrift file.
type File struct {
	Name  string // "rrdb.thrift"
	Decls []any  // *Struct and *Enum, as written
}

// A Struct is a declaration such as struct update_request { ... }.
type Struct struct {
	Name   string
	Doc    []string
	Fields []*Field // ascending ids
}

// A Field is one line of a Struct.
type Field struct {
	ID       int
	Name     string
	Type     *Type
	Optional bool
	Default  string // as written, empty = none
	Comment  string
}

// An Enum is a declaration such as enum app_status { ... }.
type Enum struct {
	Name   string
	Doc    []string
	Values []EnumValue
}

// An EnumValue is one name of an Enum.
type EnumValue struct {
	Name    string
	Number  int
	Comment string
}

// A Type is a type as written. Key and Elem are set for containers; Struct and Enum are filled
// in by resolve when Name is declared in one of the files.
type Type struct {
	Name      string // "i32", "list", "app_info", ...
	Key, Elem *Type
	Struct    *Struct
	Enum      *Enum
}

// parser reads one file. text/scanner knows identifiers, integers and comments, which is all
// the subset needs; comments are set aside by line and attached to declarations afterwards.
type parser struct {
	s        scanner.Scanner
	tok      rune
	text     string
	line     int
	lastLine int
	comments map[int]string // line -> text
	err      error
}

// parse reads one .thrift file.
func parse(name, src string) (*File, error) {
	p := &parser{comments: map[int]string{}}
	p.s.Init(strings.NewReader(src))
	p.s.Filename = name
	p.s.Mode = scanner.ScanIdents | scanner.ScanInts | scanner.ScanComments
	p.s.Error = func(s *scanner.Scanner, msg string) { p.fail("%s", msg) }
	p.next()
	f := &File{Name: name}
	for p.err == nil && p.tok != scanner.EOF {
		line := p.line
		switch word := p.ident(); word {
		case "struct":
			f.Decls = append(f.Decls, p.parseStruct(p.doc(line)))
		case "enum":
			f.Decls = append(f.Decls, p.parseEnum(p.doc(line)))
		default:
			p.fail("found %q where struct or enum is expected", word)
		}
	}
	return f, p.err
}

func (p *parser) parseStruct(doc []string) *Struct {
	st := &Struct{Name: p.ident(), Doc: doc}
	p.want("{")
	last := 0
	for p.err == nil && p.text != "}" {
		f := &Field{ID: p.number()}
		if f.ID <= last {
			p.fail("id %d of %s does not ascend", f.ID, st.Name)
		}
		last = f.ID
		p.want(":")
		if p.text == "optional" {
			f.Optional = true
			p.next()
		}
		f.Type = p.parseType()
		f.Name = p.ident()
		if p.text == "=" {
			p.next()
			if p.text == "-" {
				f.Default = "-"
				p.next()
			}
			f.Default += p.text
			p.next()
		}
		p.want(",")
		f.Comment = p.comments[p.lastLine]
		st.Fields = append(st.Fields, f)
	}
	p.want("}")
	return st
}

func (p *parser) parseEnum(doc []string) *Enum {
	e := &Enum{Name: p.ident(), Doc: doc}
	p.want("{")
	for p.err == nil && p.text != "}" {
		v := EnumValue{Name: p.ident()}
		p.want("=")
		v.Number = p.number()
		p.want(",")
		v.Comment = p.comments[p.lastLine]
		e.Values = append(e.Values, v)
	}
	p.want("}")
	return e
}

func (p *parser) parseType() *Type {
	t := &Type{Name: p.ident()}
	switch t.Name {
	case "list", "set":
		p.want("<")
		t.Elem = p.parseType()
		p.want(">")
	case "map":
		p.want("<")
		t.Key = p.parseType()
		p.want(",")
		t.Elem = p.parseType()
		p.want(">")
	}
	return t
}

// next advances to the next token that is not a comment.
func (p *parser) next() {
	p.lastLine = p.line
	for {
		p.tok = p.s.Scan()
		if p.tok != scanner.Comment {
			break
		}
		text := strings.TrimPrefix(p.s.TokenText(), "//")
		p.comments[p.s.Position.Line] = strings.TrimSpace(text)
	}
	p.text = p.s.TokenText()
	p.line = p.s.Position.Line
}

// doc collects the comment lines that stand directly above line.
func (p *parser) doc(line int) []string {
	var doc []string
	for line--; ; line-- {
		text, ok := p.comments[line]
		if !ok {
			return doc
		}
		doc = append([]string{text}, doc...)
	}
}

func (p *parser) ident() string {
	if p.tok != scanner.Ident {
		p.fail("found %q where a name is expected", p.text)
		return ""
	}
	s := p.text
	p.next()
	return s
}

func (p *parser) number() int {
	n, err := strconv.Atoi(p.text)
	if err != nil || p.tok != scanner.Int {
		p.fail("found %q where a number is expected", p.text)
	}
	p.next()
	return n
}

func (p *parser) want(s string) {
	if p.text != s {
		p.fail("found %q where %q is expected", p.text, s)
		return
	}
	p.next()
}

// fail records the first error and makes the parser see the end of the file, so that every
// loop ends.
func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%s:%d: %s", p.s.Filename, p.line, fmt.Sprintf(format, args...))
	}
	p.tok, p.text = scanner.EOF, ""
}
