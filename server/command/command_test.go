// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
	"github.com/pegasus-ops/pegasus-ops/server/wire/memnet"
)

func say(text string) func([]string) string {
	return func(args []string) string { return strings.Join(append([]string{text}, args...), " ") }
}

func TestExecute(t *testing.T) {
	r := New()
	r.Register(Command{Names: []string{"flush-log"}, Help: "Flush", Run: say("Flush done.")})
	r.Register(Command{Names: []string{"meta.lb.assign_delay_ms"}, Args: "[num | DEFAULT]", Help: "control the delay", Run: say("OK")})
	r.Register(Command{Names: []string{"boom"}, Help: "fail", Run: func(args []string) string { return args[7] }})
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"flush-log", nil, "Flush done."},
		{"meta.lb.assign_delay_ms", []string{"10", "x"}, "OK 10 x"},
		{"nosuch", nil, "unknown command 'nosuch'"},
		{"", nil, "unknown command ''"},
		{"help", []string{"nosuch"}, "cannot find command 'nosuch'"},
		{"h", []string{"meta.lb.assign_delay_ms"}, "meta.lb.assign_delay_ms [num | DEFAULT]\ncontrol the delay"},
		{"help", nil, "help|h|H|Help [command]\n" +
			"repeat|r|R|Repeat interval_seconds max_count command [args]\n" +
			"boom\nflush-log\nmeta.lb.assign_delay_ms [num | DEFAULT]\n"},
		{"boom", nil, "ERR: command boom failed: runtime error: index out of range [7] with length 0; this is a defect, the server's log says more"},
		{"repeat", []string{"1", "1"}, "insufficient arguments"},
		{"repeat", []string{"x", "1", "help"}, "invalid interval argument"},
		{"repeat", []string{"0", "1", "help"}, "invalid interval argument"},
		{"repeat", []string{"1", "-1", "help"}, "invalid max count"},
		{"repeat", []string{"1", "1", "nosuch"}, "unknown command 'nosuch'"},
		{"repeat", []string{"1", "1", "R", "1", "1", "help"}, "ERR: repeat cannot be repeated"},
		{"repeat", []string{"1", "1", "help"}, "repeat command completed"},
	} {
		if diff := cmp.Diff(tc.want, r.Execute(tc.name, tc.args)); diff != "" {
			t.Errorf("%s %v (-want +got):\n%s", tc.name, tc.args, diff)
		}
	}
}

func TestCommandsComeAndGo(t *testing.T) {
	r := New()
	r.Register(Command{Names: []string{"a", "b"}, Help: "x", Run: say("1")})
	r.Register(Command{Names: []string{"b", "c"}, Help: "x", Run: say("2")})
	if got := r.Execute("a", nil) + r.Execute("b", nil) + r.Execute("c", nil); got != "unknown command 'a'22" {
		t.Errorf("after replacing: %s", got)
	}
	r.Unregister("c", "nosuch")
	if got := r.Execute("b", nil) + r.Execute("c", nil); got != "unknown command 'b'unknown command 'c'" {
		t.Errorf("after taking away: %s", got)
	}
	if strings.Contains(r.Execute("help", nil), "c\n") {
		t.Error("help shows a command that is gone")
	}
}

func TestRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		var runs atomic.Int32
		r.Register(Command{Names: []string{"count"}, Help: "x", Run: func([]string) string { runs.Add(1); return "" }})
		begin := time.Now()
		if got := r.Execute("repeat", []string{"10", "3", "count"}); got != "repeat command completed" || runs.Load() != 3 || time.Since(begin) != 20*time.Second {
			t.Errorf("%q, %d runs in %s", got, runs.Load(), time.Since(begin))
		}
		var wg sync.WaitGroup
		for range maxRepeats {
			wg.Go(func() {
				if got := r.Execute("repeat", []string{"10", "0", "count"}); !strings.HasPrefix(got, "repeat command stopped") {
					t.Errorf("endless repeat: %s", got)
				}
			})
		}
		synctest.Wait()
		if got := r.Execute("repeat", []string{"1", "1", "count"}); !strings.HasPrefix(got, "ERR: 2 repeats are running") {
			t.Errorf("one repeat too many: %s", got)
		}
		time.Sleep(time.Minute)
		r.Close()
		wg.Wait()
	})
}

// A slow command must not hold up the connection it came on.
func TestCallsOverTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := memnet.New()
		ln, err := net.Listen("10.0.0.1:34601")
		if err != nil {
			t.Fatal(err)
		}
		r := New()
		hold := make(chan struct{})
		r.Register(Command{Names: []string{"slow"}, Help: "x", Run: func([]string) string { <-hold; return "done" }})
		r.Register(Command{Names: []string{"quick"}, Help: "x", Run: say("quick")})
		mux := wire.NewMux()
		r.Serve(mux, wire.NewPool(2, 8))
		server := &wire.Server{Mux: mux}
		go server.Serve(ln)
		peers := wire.NewPeers(net.Dialer("10.0.0.2"))
		defer server.Close()
		defer peers.Close()
		addr, _ := idl.ParseAddress("10.0.0.1:34601")
		call := func(cmd string, args ...string) string {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			var text idl.String
			if err := peers.Call(ctx, addr, wire.Call{Name: idl.RPCCliCliCall, Arg: &idl.Command{Cmd: cmd, Arguments: args}, Result: &text}); err != nil {
				t.Errorf("%s: %v", cmd, err)
			}
			return string(text)
		}
		slow := make(chan string)
		go func() { slow <- call("slow") }()
		synctest.Wait()
		if got := call("quick", "a", "b c"); got != "quick a b c" {
			t.Errorf("got %q", got)
		}
		if got := call("none"); got != "unknown command 'none'" {
			t.Errorf("got %q", got)
		}
		close(hold)
		if got := <-slow; got != "done" {
			t.Errorf("got %q", got)
		}
	})
}
