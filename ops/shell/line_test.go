// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSplitLine(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
		bad  bool
	}{
		{"", nil, false},
		{"  \t ", nil, false},
		{"get h s", []string{"get", "h", "s"}, false},
		{"  get\th   s ", []string{"get", "h", "s"}, false},
		{`set "a b" 'c d' e`, []string{"set", "a b", "c d", "e"}, false},
		{`"" ''`, []string{"", ""}, false},
		{`"\x00\xff" "\n\r\t\b\a" "\"\\\q"`, []string{"\x00\xff", "\n\r\t\b\a", `"\q`}, false},
		{`"\xg1" "\x1"`, []string{"xg1", "x1"}, false},
		{`'\n \x41 it\'s'`, []string{`\n \x41 it's`}, false},
		{`a\n`, []string{`a\n`}, false},
		{`ab"c d"`, []string{"abc d"}, false},
		{`"a"b`, nil, true},
		{`"a`, nil, true},
		{`'a`, nil, true},
		{`"a\`, nil, true},
		{"\"\xe4\xb8\xad\"", []string{"中"}, false},
	} {
		got, err := splitLine(tt.line)
		require.Equal(t, tt.bad, err != nil, "%q", tt.line)
		require.Equal(t, tt.want, got, "%q", tt.line)
	}
}

func TestSplitScript(t *testing.T) {
	for script, want := range map[string][]string{
		"":                          nil,
		" ; ;\n":                    nil,
		"use temp; get h s":         {"use temp", "get h s"},
		"use temp\nget h s;":        {"use temp", "get h s"},
		`set "a;b" 'c;"d' e; get f`: {`set "a;b" 'c;"d' e`, "get f"},
		`set "a\";b" c; get d`:      {`set "a\";b" c`, "get d"},
		`set "open; get d`:          {`set "open; get d`},
	} {
		require.Equal(t, want, splitScript(script), "%q", script)
	}
}

func TestEscape(t *testing.T) {
	require.Equal(t, `a b\x00\xFF\n\"\\'`, escape([]byte("a b\x00\xff\n\"\\'"), false))
	require.Equal(t, `\x61\x0A`, escape([]byte("a\n"), true))
}

// What escape prints between double quotes, splitLine reads back.
func FuzzEscapeIsReadBack(f *testing.F) {
	f.Add([]byte("a b\x00\xff\n\r\t\"\\';"), false)
	f.Add([]byte(nil), true)
	f.Fuzz(func(t *testing.T, b []byte, all bool) {
		line := `set "` + escape(b, all) + `" x`
		words, err := splitLine(line)
		if err != nil || len(words) != 3 || words[1] != string(b) {
			t.Fatalf("%q read back as %q, %v", line, words, err)
		}
		if commands := splitScript(line + "; get h s"); len(commands) != 2 {
			t.Fatalf("%q splits into %q", line, commands)
		}
	})
}

// Lines of any kind are split or refused, and unquoted words hold no white space.
func FuzzSplitLine(f *testing.F) {
	for _, s := range []string{"get h s", `"a" 'b'`, `"\x0`, "'", "a\"b c\"", "\x00\n;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := splitLine(line)
		if err == nil && !strings.ContainsAny(line, `"'`) {
			if got, want := strings.Join(words, " "), strings.Join(strings.FieldsFunc(line, func(r rune) bool { return r < 128 && isSpace(byte(r)) }), " "); got != want {
				t.Fatalf("%q split into %q", line, words)
			}
		}
		splitScript(line)
		for i := range commands {
			if known := options(commands[i].usage); len(known) > 0 {
				parseFlags(commands[i].name, known, words, commands[i].stopAtWord)
			}
		}
	})
}

func TestParseFlags(t *testing.T) {
	known := options("<app_name> [-d|--detailed] [-o|--output file_name] [-c|--precise][-p|--partition num] [-t all|meta-server] <-g|--gpid appid|appid.pidx>")
	require.Equal(t, []option{{'d', "detailed", false}, {'o', "output", true}, {'c', "precise", false}, {'p', "partition", true},
		{'t', "", true}, {'g', "gpid", true}}, known)
	for _, tt := range []struct {
		words string
		set   map[string]string
		args  []string
		bad   string
	}{
		{"temp -d", map[string]string{"d": ""}, []string{"temp"}, ""},
		{"-d temp -o f x", map[string]string{"d": "", "o": "f"}, []string{"temp", "x"}, ""},
		{"-dof", map[string]string{"d": "", "o": "f"}, nil, ""},
		{"--detailed --output=f --part 3", map[string]string{"d": "", "o": "f", "p": "3"}, nil, ""},
		{"a -- -d", map[string]string{}, []string{"a", "-d"}, ""},
		{"-7 -", map[string]string{}, []string{"-7", "-"}, ""},
		{"-x", nil, nil, "app: invalid option -- 'x'"},
		{"-o", nil, nil, "app: option requires an argument -- 'o'"},
		{"--output", nil, nil, "app: option '--output' requires an argument"},
		{"--detailed=1", nil, nil, "app: option '--detailed' doesn't allow an argument"},
		{"--p", nil, nil, "app: option '--p' is ambiguous"},
		{"--nosuch", nil, nil, "app: unrecognized option '--nosuch'"},
	} {
		f, err := parseFlags("app", known, strings.Fields(tt.words), false)
		if tt.bad != "" {
			require.EqualError(t, err, tt.bad)
			continue
		}
		require.NoError(t, err, tt.words)
		require.Equal(t, tt.set, f.set, tt.words)
		require.Equal(t, tt.args, f.args, tt.words)
	}
	f, err := parseFlags("remote_command", known, []string{"-t", "all", "cmd", "-d", "x"}, true)
	require.NoError(t, err)
	require.Equal(t, []string{"cmd", "-d", "x"}, f.args)
}

func TestTables(t *testing.T) {
	grid := newGrid("g", "name")
	grid.addRight("n")
	grid.add("a", 1)
	grid.add("long name", 22.5)
	list := newList("l")
	list.add("k", "v")
	list.add("key", true)
	var b bytes.Buffer
	printTables(&b, false, grid, list)
	require.Equal(t, "[g]\nname             n\na                1\nlong name    22.50\n\n[l]\nk    : v   \nkey  : true\n\n", b.String())
	b.Reset()
	printTables(&b, true, grid, list)
	require.Equal(t, `{
    "g": {
        "a": {
            "name": "a",
            "n": "1"
        },
        "long name": {
            "name": "long name",
            "n": "22.50"
        }
    },
    "l": {
        "k": "v",
        "key": "true"
    }
}
`, b.String())
	b.Reset()
	printTable(&b, true, newList("empty"))
	require.Equal(t, "{\n    \"empty\": {}\n}\n", b.String())
}
