// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// flat shows a file as "section.key=value@line" in order.
func flat(f *File) []string {
	var out []string
	for _, s := range f.Sections {
		if len(s.Keys) == 0 {
			out = append(out, "["+s.Name+"]")
		}
		for _, e := range s.Keys {
			out = append(out, fmt.Sprintf("%s.%s=%s@%d", s.Name, e.Key, e.Value, e.Line))
		}
	}
	return out
}

func messages(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

func TestGrammar(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		args       map[string]string
		want       []string
		warn       string // part of the only warning
		err        []string
	}{
		{name: "keys and sections are trimmed", text: "[ a ]\r\n \t k = v \t\r\n[b]\nx=1", want: []string{"a.k=v@2", "b.x=1@4"}},
		{name: "a hash starts a comment", text: "[a]\n# all\nk = v # rest", want: []string{"a.k=v@3"}},
		{name: "a semicolon starts a comment inside a value", text: "[a]\nk = v;w", want: []string{"a.k=v@2"}},
		{name: "a comment may hide the equals sign", text: "[a]\nk # = v", want: []string{"a.k=@2"}},
		{name: "a comment may follow a section", text: "[a] ; main\nk=1", want: []string{"a.k=1@2"}},
		{name: "a caret makes a semicolon literal", text: "[a]\nk = a^;b", want: []string{"a.k=a;b@2"}},
		{name: "a caret makes a hash literal", text: "[a]\nk = ^#1 # one", want: []string{"a.k=#1@2"}},
		{name: "a caret alone is a caret", text: "[a]\nk = a^b", want: []string{"a.k=a^b@2"}},
		{name: "of two carets one is left", text: "[a]\nk = a^^;b", want: []string{"a.k=a^;b@2"}},
		{name: "a literal comment sign in a key", text: "[a]\nk^#1 = v", want: []string{"a.k#1=v@2"}},
		{name: "a caret at the start of a line makes a key", text: "[a]\n^#k = v", want: []string{"a.#k=v@2"}},
		{name: "no quoting", text: "[a]\nk = \"v w\"", want: []string{`a.k="v w"@2`}},
		{name: "no continuation", text: "[a]\nk = v \\\nw", want: []string{`a.k=v \@2`, "a.w=@3"}},
		{name: "a value may hold an equals sign and brackets", text: "[a]\nk = x=y[1]", want: []string{"a.k=x=y[1]@2"}},
		{name: "a key without equals sign is empty", text: "[a]\nk", want: []string{"a.k=@2"}},
		{name: "an unset variable is empty", text: "[a]\nk = %port%\nl = %%\nm = %x\nn=%x%y", want: []string{"a.k=@2", "a.l=%%@3", "a.m=%x@4", "a.n=%x%y@5"}},
		{name: "three characters are enough for a variable", text: "[a]\nk = %a%", want: []string{"a.k=@2"}},
		{name: "cargs replace in the whole file", text: "[%s%]\n%k% = %p%,%q% # %p%", args: map[string]string{"s": "sec", "k": "key", "p": "1"}, want: []string{"sec.key=1,%q%@2"}},
		{name: "cargs come before comments", text: "[a]\nk = %v%", args: map[string]string{"v": "1;2"}, want: []string{"a.k=1@2"}},
		{name: "the first of two keys counts", text: "[a]\nk = 1\nk = 2", want: []string{"a.k=1@2"}, warn: `f:3: [a] k: "2" is skipped: the key is already set on line 2 to "1"`},
		{name: "the same key in two sections", text: "[a]\nk=1\n[b]\nk=2", want: []string{"a.k=1@2", "b.k=2@4"}},
		{name: "text after a section is ignored", text: "[a] b\nk=1", want: []string{"a.k=1@2"}, warn: `"b" after the section name is ignored`},
		{name: "an empty section", text: "[a]\n[b]", want: []string{"[a]", "[b]"}},
		{name: "a byte order mark", text: "\ufeff[a]\nk=1", want: []string{"a.k=1@2"}},

		{name: "an empty file", text: " \n", err: []string{"f: the file is empty"}},
		{name: "a key before the first section", text: "k = v\n[a]", want: []string{"[a]"}, err: []string{"f:1: k: the key stands before the first [section]"}},
		{name: "an empty key", text: "[a]\n = v", want: []string{"[a]"}, err: []string{`f:2: [a] "= v": the key before '=' is missing`}},
		{name: "an empty section name", text: "[ ]\nk=1", err: []string{`f:1: "[ ]": the section name is empty`}},
		{name: "a section without its end", text: "[a\nk=1", err: []string{`f:1: "[a": the ']' of the section name is missing`}},
		{name: "an equals sign on a section line", text: "[a=b]\nk=1", err: []string{`f:1: "[a=b]": a section line cannot hold '='`}},
		{name: "a section twice", text: "[a]\nk=1\n[a]\nl=2", want: []string{"a.k=1@2"}, err: []string{"f:3: section [a] is defined a second time, first on line 1: merge the two"}},
		{name: "a NUL byte", text: "[a]\nk=\x001", want: []string{"[a]"}, err: []string{"f:2: [a] the line holds a NUL byte: the file is damaged or no text file"}},
		{name: "placeholders, each with its line", text: "[a]\nk = %{x}/%{y.z}\nl = %<home.dir>\n# %{c}\nm = %{open", want: []string{"a.k=%{x}/%{y.z}@2", "a.l=%<home.dir>@3", "a.m=%{open@5"},
			err: []string{
				"f:2: [a] placeholder %{x} was not replaced: render the file from its template (pegasus-ops render) or write the value",
				"f:2: [a] placeholder %{y.z} was not replaced: render the file from its template (pegasus-ops render) or write the value",
				"f:3: [a] placeholder %<home.dir> was not replaced: render the file from its template (pegasus-ops render) or write the value",
				"f:4: [a] placeholder %{c} was not replaced: render the file from its template (pegasus-ops render) or write the value",
				"f:5: [a] placeholder %{open was not replaced: render the file from its template (pegasus-ops render) or write the value",
			}},
		{name: "all mistakes at once", text: "k=1\n[a]\n=2\n[a]\n[", want: []string{"[a]"}, err: []string{
			"f:1: k: the key stands before the first [section]",
			`f:3: [a] "=2": the key before '=' is missing`,
			"f:4: section [a] is defined a second time, first on line 2: merge the two",
			`f:5: "[": the ']' of the section name is missing`,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := Parse("f", []byte(tc.text), tc.args)
			if diff := cmp.Diff(tc.want, flat(f)); diff != "" {
				t.Errorf("content (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.err, messages(err)); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
			switch {
			case tc.warn == "" && len(f.Warnings) > 0:
				t.Errorf("unexpected warnings: %v", f.Warnings)
			case tc.warn != "" && (len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0].Error(), tc.warn)):
				t.Errorf("warnings %v, want one with %q", f.Warnings, tc.warn)
			}
		})
	}
}

func TestInheritance(t *testing.T) {
	f, err := Parse("f", []byte(`
[apps..default]
run = true
count = 2
[apps.meta]
count = 1
[threadpool..default]
worker_count = 4
[threadpool.P]
[task..default]
is_trace = false
[task.RPC_X]
[other..default]
k = 1
[other.x]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ section, key, want string }{
		{"apps.meta", "count", "1"},
		{"apps.meta", "run", "true"},
		{"apps.not.in.the.file", "run", "true"},
		{"threadpool.P", "worker_count", "4"},
		{"task.RPC_X", "is_trace", "false"},
		{"apps.meta", "none", "<none>"},
		{"other.x", "k", "<none>"},
		{"apps", "run", "<none>"},
	} {
		got := "<none>"
		if e := f.Lookup(tc.section, tc.key); e != nil {
			got = e.Value
		}
		if got != tc.want {
			t.Errorf("[%s] %s is %q, want %q", tc.section, tc.key, got, tc.want)
		}
	}
}

func TestParseArgs(t *testing.T) {
	got, err := ParseArgs("a=1; b = 2 ,c=,d=x=y")
	if want := map[string]string{"a": "1", "b": "2", "c": "", "d": "x=y"}; err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"a", "a=1;b", "=1"} {
		if _, err := ParseArgs(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// FuzzParse checks that no text makes the parser panic, that mistakes carry possible lines, and
// that what was read survives being written and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte("[a]\nk = v # c\n[b]\nx=^#1\n"), "k=v")
	f.Add([]byte("k=1\n[a\n[a=b]\n=\n%{x}\n"), "")
	f.Add([]byte("[apps.meta]\ntype=meta\nports=1\n[meta_server]\nserver_list = a:1,b:2"), "a=1,b=2")
	f.Fuzz(func(t *testing.T, text []byte, cargs string) {
		args, err := ParseArgs(cargs)
		if err != nil {
			return
		}
		file, err := Parse("f", text, args)
		var errs Errors
		if err != nil && !errors.As(err, &errs) {
			t.Fatalf("mistakes of type %T", err)
		}
		for _, e := range errs {
			if e.Line < 0 || e.Line > strings.Count(string(text), "\n")+1+strings.Count(cargs, "\n")*len(text) {
				t.Fatalf("mistake on line %d: %v", e.Line, e)
			}
		}
		if err == nil {
			again, err := Parse("f", []byte(rewrite(file)), nil)
			if err != nil {
				t.Fatalf("read again: %v", err)
			}
			if diff := cmp.Diff(values(file), values(again)); diff != "" {
				t.Fatalf("changed by writing and reading (-first +second):\n%s", diff)
			}
		}
		if c, err := Load("f", text, args); err == nil {
			if _, err := Parse("dump", []byte(c.Dump()), nil); err != nil {
				t.Fatalf("the dump cannot be read: %v", err)
			}
		}
	})
}

func values(f *File) []string {
	var out []string
	for _, s := range f.Sections {
		out = append(out, "["+s.Name+"]")
		for _, e := range s.Keys {
			v := e.Value
			if len(v) > 2 && v[0] == '%' && v[len(v)-1] == '%' {
				v = ""
			}
			out = append(out, e.Key+"="+v)
		}
	}
	return out
}

func rewrite(f *File) string {
	var b strings.Builder
	for _, s := range f.Sections {
		fmt.Fprintf(&b, "[%s]\n", escapeComment(s.Name))
		for _, e := range s.Keys {
			fmt.Fprintf(&b, "%s = %s\n", escapeComment(e.Key), escapeComment(e.Value))
		}
	}
	return b.String()
}

func TestSuggest(t *testing.T) {
	names := []string{"fd_lease_seconds", "fd_grace_seconds", "data_dirs", "run"}
	for in, want := range map[string]string{"fd_lease_second": "fd_lease_seconds", "data_dir": "data_dirs", "rn": "run", "something_else": ""} {
		if got := suggest(in, names); got != want {
			t.Errorf("for %q: %q, want %q", in, got, want)
		}
	}
}
