// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
)

// basic describes the types that are not declared in a .thrift file.
type basic struct {
	goType  string
	wire    string // name of the constant of package idl
	minSize int    // bytes the smallest value takes on the wire
	method  bool   // a hand-written type of package idl with Append and Decode
	nilable bool   // nil already says "not set"
}

var basics = map[string]basic{
	"bool":        {goType: "bool", wire: "TypeBool", minSize: 1},
	"i32":         {goType: "int32", wire: "TypeI32", minSize: 4},
	"i64":         {goType: "int64", wire: "TypeI64", minSize: 8},
	"string":      {goType: "string", wire: "TypeString", minSize: 4},
	"blob":        {goType: "[]byte", wire: "TypeStruct", minSize: 4, nilable: true},
	"gpid":        {goType: "GPID", wire: "TypeStruct", minSize: 8, method: true},
	"rpc_address": {goType: "RPCAddress", wire: "TypeStruct", minSize: 8, method: true},
	"host_port":   {goType: "HostPort", wire: "TypeStruct", minSize: 7, method: true},
	"error_code":  {goType: "ErrorCode", wire: "TypeStruct", minSize: 4, method: true},
	"task_code":   {goType: "TaskCode", wire: "TypeStruct", minSize: 4, method: true},
}

// resolve connects type names with their declarations over all files and reports what the
// emitter could not handle: unknown or duplicate names, recursive structs (their decoders would
// have no bound on depth), impossible map keys and defaults.
func resolve(files []*File) error {
	structs, enums := map[string]*Struct{}, map[string]*Enum{}
	for _, f := range files {
		for _, d := range f.Decls {
			name := declName(d)
			if structs[name] != nil || enums[name] != nil || basics[name].goType != "" {
				return fmt.Errorf("%s: %s is declared twice", f.Name, name)
			}
			switch d := d.(type) {
			case *Struct:
				structs[name] = d
			case *Enum:
				enums[name] = d
			}
		}
	}
	var bind func(t *Type) error
	bind = func(t *Type) error {
		if t == nil {
			return nil
		}
		t.Struct, t.Enum = structs[t.Name], enums[t.Name]
		if _, ok := basics[t.Name]; !ok && t.Struct == nil && t.Enum == nil && t.Elem == nil {
			return fmt.Errorf("unknown type %s", t.Name)
		}
		if t.Key != nil && !slices.Contains([]string{"i32", "i64", "string", "gpid", "rpc_address", "host_port"}, t.Key.Name) {
			return fmt.Errorf("%s cannot be a map key", t.Key.Name)
		}
		if err := bind(t.Key); err != nil {
			return err
		}
		return bind(t.Elem)
	}
	for _, f := range files {
		for _, d := range f.Decls {
			st, ok := d.(*Struct)
			if !ok {
				continue
			}
			for _, fd := range st.Fields {
				if err := bind(fd.Type); err != nil {
					return fmt.Errorf("%s: %s.%s: %w", f.Name, st.Name, fd.Name, err)
				}
				if err := checkDefault(fd); err != nil {
					return fmt.Errorf("%s: %s.%s: %w", f.Name, st.Name, fd.Name, err)
				}
			}
		}
	}
	for _, st := range structs {
		if path := cycle(st, nil); path != nil {
			return fmt.Errorf("struct %s contains itself: %s", st.Name, strings.Join(path, " -> "))
		}
	}
	return nil
}

func declName(d any) string {
	if e, ok := d.(*Enum); ok {
		return e.Name
	}
	return d.(*Struct).Name
}

func checkDefault(f *Field) error {
	if f.Default == "" {
		return nil
	}
	switch {
	case f.Type.Enum != nil:
		for _, v := range f.Type.Enum.Values {
			if v.Name == f.Default {
				return nil
			}
		}
	case f.Type.Name == "bool":
		if f.Default == "true" || f.Default == "false" {
			return nil
		}
	case f.Type.Name == "i32", f.Type.Name == "i64":
		return nil
	}
	return fmt.Errorf("%s is no possible default of a %s", f.Default, f.Type.Name)
}

// cycle returns the names on the way from st back to itself, nil if there is no way.
func cycle(st *Struct, path []string) []string {
	if slices.Contains(path, st.Name) {
		return append(path, st.Name)
	}
	path = append(path, st.Name)
	for _, f := range st.Fields {
		for _, t := range []*Type{f.Type, f.Type.Elem} {
			for t != nil && t.Elem != nil {
				t = t.Elem
			}
			if t != nil && t.Struct != nil {
				if found := cycle(t.Struct, slices.Clone(path)); found != nil {
					return found
				}
			}
		}
	}
	return nil
}

// wire names the constant of the type byte.
func (t *Type) wire() string {
	switch {
	case t.Enum != nil:
		return "TypeI32"
	case t.Struct != nil:
		return "TypeStruct"
	case t.Key != nil:
		return "TypeMap"
	case t.Name == "set":
		return "TypeSet"
	case t.Elem != nil:
		return "TypeList"
	}
	return basics[t.Name].wire
}

// minSize is the number of bytes the smallest value of the type takes on the wire; it bounds
// how many elements a list can have in the bytes that are left.
func (t *Type) minSize() int {
	switch {
	case t.Enum != nil:
		return 4
	case t.Struct != nil:
		return 1 // STOP
	case t.Key != nil:
		return 6
	case t.Elem != nil:
		return 5
	}
	return basics[t.Name].minSize
}

// goType is the type of a field that is always set.
func (t *Type) goType() string {
	switch {
	case t.Enum != nil, t.Struct != nil:
		return camel(t.Name)
	case t.Key != nil:
		return "map[" + t.Key.goType() + "]" + t.Elem.goType()
	case t.Elem != nil:
		return "[]" + t.Elem.goType()
	}
	return basics[t.Name].goType
}

// nilable reports whether nil can say "not set" without a pointer.
func (t *Type) nilable() bool { return t.Elem != nil || basics[t.Name].nilable }

// pointer reports whether the field is a pointer in Go.
func (f *Field) pointer() bool { return f.Optional && !f.Type.nilable() }

func (f *Field) goType() string {
	if f.pointer() {
		return "*" + f.Type.goType()
	}
	return f.Type.goType()
}
