// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func buffers(o Options) (*UI, *bytes.Buffer, *bytes.Buffer) {
	var out, err bytes.Buffer
	o.In, o.Out, o.Err = strings.NewReader("y\n"), &out, &err
	return New(o), &out, &err
}

func TestResultsAndTalkAreApart(t *testing.T) {
	u, out, err := buffers(Options{})
	u.Print("result %d", 1)
	u.Info("info")
	u.Detail("hidden")
	u.Warn("careful")
	u.Error("bad")
	require.Equal(t, "result 1\n", out.String())
	require.Equal(t, "info\nwarning: careful\nerror: bad\n", err.String())
}

func TestTable(t *testing.T) {
	u, out, _ := buffers(Options{})
	u.Table([]Column{{Title: "node"}, {Title: "primaries", Right: true}}, [][]string{{"127.0.0.1:34801", "4"}, {"b", "12"}})
	require.Equal(t, "node             primaries\n127.0.0.1:34801          4\nb                       12\n", out.String())
}

func TestColors(t *testing.T) {
	u, _, err := buffers(Options{Color: "always"})
	require.Equal(t, "\x1b[32mok\x1b[0m", u.Paint(Green, "ok"))
	u.Warn("x")
	require.Contains(t, err.String(), "\x1b[33m")
	u, _, _ = buffers(Options{Color: "auto"})
	require.Equal(t, "ok", u.Paint(Green, "ok"), "no terminal, no colour")
}

func TestConfirmNeedsATerminal(t *testing.T) {
	u, _, _ := buffers(Options{})
	ok, err := u.Confirm("Remove everything?", "onebox")
	require.False(t, ok)
	var need *NeedYesError
	require.ErrorAs(t, err, &need)
	require.ErrorContains(t, err, "--yes")
}

func TestProgressWithoutATerminal(t *testing.T) {
	u, out, stderr := buffers(Options{})
	p := u.Progress(2)
	a, b := p.Begin("start meta"), p.Begin("start replica")
	a.Say("wait for the port")
	a.End("", time.Millisecond, nil)
	u.Warn("in between")
	b.End("port in use", 1500*time.Millisecond, errors.New("x"))
	p.End()
	require.Equal(t, "  ok    start meta\nwarning: in between\n  FAIL  start replica: port in use (1.5s)\n", stderr.String())
	require.Empty(t, out.String())
}

func TestJSON(t *testing.T) {
	u, out, _ := buffers(Options{JSON: true})
	require.False(t, u.PrintedJSON())
	require.NoError(t, u.JSON(map[string]int{"a": 1}))
	require.True(t, u.PrintedJSON())
	require.Equal(t, "{\n  \"a\": 1\n}\n", out.String())
	require.Error(t, u.JSON(func() {}))
}

func TestWords(t *testing.T) {
	require.Equal(t, "512 B", Bytes(512))
	require.Equal(t, "1.5 GiB", Bytes(3<<29))
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m01s", 2*time.Hour + 3*time.Minute: "2h03m", 49 * time.Hour: "2d1h",
	} {
		require.Equal(t, want, Age(d))
	}
	require.Equal(t, "1 server", Count(1, "server"))
	require.Equal(t, "0 servers", Count(0, "server"))
}
