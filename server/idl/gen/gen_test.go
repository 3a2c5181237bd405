// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// The committed code must be what the generator writes today.
func TestGeneratedCodeIsUpToDate(t *testing.T) {
	out, err := generate(os.DirFS(".."))
	require.NoError(t, err)
	for name, want := range out {
		got, err := os.ReadFile(filepath.Join("..", name))
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), "%s is stale: run `go generate ./server/idl`", name)
	}
	files, err := filepath.Glob("../*_gen.go")
	require.NoError(t, err)
	for _, f := range files {
		require.Contains(t, out, filepath.Base(f), "no .thrift file stands behind it")
	}
}

func TestParse(t *testing.T) {
	f, err := parse("x.thrift", `// about the file

// What it is,
// in two lines.
struct a_b {
    1: optional map<i32,list<blob>> m,  // a comment
    // another one
    300: i64 n = -1,
}
enum e { X_A = 0, X_B = 7, }
`)
	require.NoError(t, err)
	require.Len(t, f.Decls, 2)
	st := f.Decls[0].(*Struct)
	require.Equal(t, []string{"What it is,", "in two lines."}, st.Doc)
	require.Len(t, st.Fields, 2)
	m := st.Fields[0]
	require.True(t, m.Optional)
	require.Equal(t, "a comment", m.Comment)
	require.Equal(t, "map", m.Type.Name)
	require.Equal(t, "i32", m.Type.Key.Name)
	require.Equal(t, "blob", m.Type.Elem.Elem.Name)
	n := st.Fields[1]
	require.Equal(t, 300, n.ID)
	require.Equal(t, "-1", n.Default)
	require.Empty(t, n.Comment)
	require.Equal(t, 7, f.Decls[1].(*Enum).Values[1].Number)
}

func TestMistakesAreReported(t *testing.T) {
	for _, tc := range []struct{ name, src, want string }{
		{"unknown declaration", "service s {}", `x.thrift:1: found "service" where struct or enum is expected`},
		{"missing comma", "struct s {\n 1: i32 a\n}", `x.thrift:3: found "}" where "," is expected`},
		{"missing id", "struct s {\n i32 a,\n}", `x.thrift:2: found "i32" where a number is expected`},
		{"ids out of order", "struct s { 2: i32 a, 1: i32 b, }", "x.thrift:1: id 1 of s does not ascend"},
		{"end in the middle", "struct s { 1: i32", `found "" where a name is expected`},
		{"unknown type", "struct s { 1: list<double> a, }", "s.a: unknown type double"},
		{"two of a name", "struct s { } enum s { A = 0, }", "s is declared twice"},
		{"name of a base type", "struct blob { }", "blob is declared twice"},
		{"map key", "struct s { 1: map<blob,i32> a, }", "blob cannot be a map key"},
		{"default", "struct s { 1: string a = b, }", "b is no possible default of a string"},
		{"enum default", "enum e { A = 0, } struct s { 1: e a = B, }", "B is no possible default of a e"},
		{"recursion", "struct s { 1: list<t> a, } struct t { 1: map<i32,s> b, }", "contains itself"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := generate(fstest.MapFS{"x.thrift": {Data: []byte(tc.src)}})
			require.ErrorContains(t, err, tc.want)
		})
	}
	_, err := generate(fstest.MapFS{})
	require.ErrorContains(t, err, "no .thrift files")
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"update_request": "UpdateRequest", "app_id": "AppID", "context_id": "ContextID", "gpid": "Gpid",
		"appid": "Appid", "app_ids": "AppIds", "hp_primary": "HpPrimary", "ttl_seconds": "TtlSeconds",
		"AS_AVAILABLE": "AsAvailable", "fl_lively": "FlLively", "node1": "Node1", "id": "ID",
	} {
		require.Equal(t, want, camel(in))
	}
	enum := func(values string) *Enum {
		e := &Enum{Name: "some_enum"}
		for v := range strings.FieldsSeq(values) {
			e.Values = append(e.Values, EnumValue{Name: v})
		}
		return e
	}
	require.Equal(t, "AsDropped", enum("AS_INVALID AS_DROPPED").constName("AS_DROPPED"))
	require.Equal(t, "SomeEnumFailFast", enum("FAIL_SLOW FAIL_FAST").constName("FAIL_FAST"), "a word, not a prefix")
	require.Equal(t, "SomeEnumRead", enum("READ WRITE").constName("READ"))
	require.Equal(t, "SomeEnumIoError", enum("NORMAL IO_ERROR").constName("IO_ERROR"))
}
