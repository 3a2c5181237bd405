// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// split is what /bin/sh makes of a line.
func split(t require.TestingT, line string) []string {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	out, err := exec.Command("/bin/sh", "-c", `printf '%s\000' `+line).Output()
	require.NoError(t, err, "%q", line)
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

func TestQuoteIsUndoneByTheShell(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir) // a slip would leave files here
	for _, args := range [][]string{
		{""}, {"", ""}, {"a"}, {"'"}, {"''"}, {`\`}, {`\'`}, {"a b"}, {"\n"}, {"\n\n"}, {"$HOME"}, {"$(touch x)"}, {"`touch x`"},
		{"; touch x"}, {"&& touch x"}, {"| touch x"}, {"> x"}, {"*"}, {"~"}, {"!!"}, {"#"}, {"-rf"}, {"--"}, {"A=b", "c"}, {"{a,b}"},
		{"'; touch x; '"}, {"\xff\xfe"}, {"ä€😀"}, {"\x01\x7f\t\r"}, {"%s%n"}, {"a'b\"c`d$e\\f"},
	} {
		line, err := Quote(args)
		require.NoError(t, err)
		require.Equal(t, args, split(t, line), "%s", line)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "nothing was executed")
}

func TestQuoteProperty(t *testing.T) {
	nasty := rapid.StringOf(rapid.RuneFrom([]rune("'\"\\$`;&|<>(){}[]*?!#~=%^ \t\n\rab-")))
	any := rapid.Custom(func(t *rapid.T) string {
		return strings.ReplaceAll(string(rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes")), "\x00", "")
	})
	rapid.Check(t, func(t *rapid.T) {
		args := rapid.SliceOfN(rapid.OneOf(nasty, any, rapid.String().Filter(func(s string) bool { return !strings.Contains(s, "\x00") })), 1, 6).Draw(t, "args")
		line, err := Quote(args)
		require.NoError(t, err)
		require.Equal(t, args, split(t, line))
		// A login shell that is handed the line and hands it on, as sudo -i does.
		twice, err := Quote([]string{"sh", "-c", `printf '%s\000' "$@"`, "sh", args[0]})
		require.NoError(t, err)
		out, err := exec.Command("/bin/sh", "-c", twice).Output()
		require.NoError(t, err)
		require.True(t, bytes.Equal([]byte(args[0]+"\x00"), out))
	})
}

func TestQuoteRefusesNUL(t *testing.T) {
	_, err := Quote([]string{"a", "b\x00c"})
	require.ErrorContains(t, err, "NUL")
}

func FuzzQuote(f *testing.F) {
	f.Add("a'b", "$(x)")
	f.Fuzz(func(t *testing.T, a, b string) {
		line, err := Quote([]string{a, b})
		if strings.Contains(a+b, "\x00") {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, []string{a, b}, split(t, line))
	})
}
