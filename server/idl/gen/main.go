// SPDX-License-Identifier: Apache-2.0

// Gen writes the Go code for the .thrift files of package idl: for rrdb.thrift the file
// rrdb_gen.go, and structs_gen_test.go, which lists all structs for the tests. It is run by
// `go generate ./server/idl` in the directory of the files.
//
// It reads a subset of thrift: struct and enum declarations, // comments, fields with ids,
// optional, defaults, and the types bool, i32, i64, string, list, set and map. Added to it are
// the Pegasus base types blob, gpid, rpc_address, host_port, error_code and task_code, which
// stand as type struct in field headers but have encodings of their own. All files share one
// namespace. Every field and value ends with a comma.
//
// parse.go reads a file, model.go connects names and checks them, names.go makes Go names,
// emit.go writes the code. What the generated code calls stands in server/idl/codec.go.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	out, err := generate(os.DirFS(dir))
	if err != nil {
		return err
	}
	for name, src := range out {
		if err := os.WriteFile(dir+"/"+name, src, 0o644); err != nil {
			return fmt.Errorf("write generated code: %w", err)
		}
	}
	return nil
}

// generate returns the generated files by name for all .thrift files in fsys.
func generate(fsys fs.FS) (map[string][]byte, error) {
	names, err := fs.Glob(fsys, "*.thrift")
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no .thrift files here: run it in server/idl")
	}
	var files []*File
	for _, name := range names {
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		f, err := parse(name, string(src))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	if err := resolve(files); err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, f := range files {
		src, err := emit(f)
		if err != nil {
			return nil, err
		}
		out[strings.TrimSuffix(f.Name, ".thrift")+"_gen.go"] = src
	}
	table, err := emitTable(files)
	if err != nil {
		return nil, err
	}
	out["structs_gen_test.go"] = table
	return out, nil
}
