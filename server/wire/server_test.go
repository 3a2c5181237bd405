// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire/memnet"
)

const (
	rpcEcho  = "RPC_TEST_ECHO"
	rpcLater = "RPC_TEST_LATER"
	rpcMute  = "RPC_TEST_MUTE"
	rpcPanic = "RPC_TEST_PANIC"
	rpcSlow  = "RPC_TEST_SLOW"
)

var serverAddr = idl.MakeAddress([4]byte{10, 0, 0, 2}, 34801)

// A bench is a server with a few test RPCs on a network in memory.
type testServer struct {
	*Server
	net  *memnet.Network
	held chan struct{} // rpcSlow waits for it
	done chan error
}

func startServer(t *testing.T) *testServer {
	t.Helper()
	s := &testServer{net: memnet.New(), held: make(chan struct{}), done: make(chan error, 1)}
	mux := NewMux()
	mux.Handle(rpcEcho, func(r *Request) { r.Reply(idl.Blob(r.Arg[4:])) })
	mux.Handle(rpcLater, func(r *Request) {
		kept := r.Retain()
		go kept.Reply(idl.Blob(kept.Arg[4:]))
	})
	mux.Handle(rpcMute, func(r *Request) {})
	mux.Handle(rpcPanic, func(r *Request) { panic("defect") })
	mux.HandlePooled(rpcSlow, NewPool(1, 1), func(r *Request) {
		<-s.held
		r.Reply(idl.Blob(r.Arg[4:]))
	})
	s.Server = &Server{
		Mux: mux, Self: serverAddr, MaxFrame: 1 << 20,
		HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "you asked for %s", r.URL.Path) }),
	}
	ln, err := s.net.Listen(serverAddr.String())
	if err != nil {
		t.Fatal(err)
	}
	go func() { s.done <- s.Serve(ln) }()
	return s
}

func (s *testServer) stop(t *testing.T) {
	t.Helper()
	s.Close()
	if err := <-s.done; err != ErrClosed {
		t.Errorf("Serve: %v", err)
	}
}

func (s *testServer) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := s.net.Dialer("10.0.0.1")(t.Context(), serverAddr.String())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *testServer) peers() *Peers { return NewPeers(s.net.Dialer("10.0.0.1")) }

func request(name string, seq int32, arg string) []byte {
	return appendRequest(nil, name, idl.GPID{AppID: 2, PartitionIndex: 3}, 7, time.Second, seq, idl.Blob(arg))
}

func readReply(t *testing.T, c io.Reader) reply {
	t.Helper()
	head := make([]byte, 4)
	if _, err := io.ReadFull(c, head); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint32(head))
	copy(b, head)
	if _, err := io.ReadFull(c, b[4:]); err != nil {
		t.Fatal(err)
	}
	var r reply
	if err := parseReply(b, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPipelinedRequestsAreAllAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t)
		defer s.stop(t)
		c := s.dial(t)
		defer c.Close()
		var out []byte
		const n = 3000
		for i := range n {
			name := rpcEcho
			if i%3 == 0 {
				name = rpcLater
			}
			out = append(out, request(name, int32(i), fmt.Sprint("value ", i))...)
		}
		go func() { // in pieces that respect no frame
			for b := out; len(b) > 0; {
				k := min(len(b), 1000)
				c.Write(b[:k])
				b = b[k:]
			}
		}()
		seen := map[int32]bool{}
		for range n {
			r := readReply(t, c)
			if want := fmt.Sprint("value ", r.seq); string(r.val[4:]) != want || seen[r.seq] {
				t.Fatalf("answer %d: %q, want %q once", r.seq, r.val, want)
			}
			seen[r.seq] = true
		}
	})
}

func TestHoldCollectsAnswersIntoOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t)
		defer s.stop(t)
		c := s.dial(t)
		defer c.Close()
		var out []byte
		for i := range 10 {
			out = append(out, request(rpcEcho, int32(i), "x")...)
		}
		c.Write(out)
		synctest.Wait()
		b := make([]byte, 1<<16)
		n, err := c.Read(b) // memnet keeps write boundaries
		if err != nil {
			t.Fatal(err)
		}
		one := len(appendTHFTReply(nil, idl.ErrOK, rpcEcho+"_ACK", 0, idl.Blob("x")))
		if n != 10*one {
			t.Errorf("first read has %d bytes, want all %d", n, 10*one)
		}
	})
}

func TestUnknownRPCAndOneWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t)
		defer s.stop(t)
		c := s.dial(t)
		defer c.Close()
		c.Write(request(rpcMute, 1, "x"))
		c.Write(request("RPC_NO_SUCH_RPC", 2, "x"))
		r := readReply(t, c)
		if r.seq != 2 || r.code != idl.ErrHandlerNotFound || string(r.name) != "RPC_NO_SUCH_RPC_ACK" {
			t.Errorf("got %+v", r)
		}
		oneWay := request(rpcEcho, 3, "x")
		oneWay[thft0HeaderLen+3] = 4
		c.Write(oneWay)
		c.Write(request(rpcEcho, 4, "x"))
		if r := readReply(t, c); r.seq != 4 {
			t.Errorf("a one-way call was answered: %+v", r)
		}
	})
}

func TestDamageClosesOnlyTheConnectionItIsOn(t *testing.T) {
	good := request(rpcEcho, 1, "x")
	change := func(at int, b ...byte) []byte {
		out := bytes.Clone(good)
		copy(out[at:], b)
		return out
	}
	cases := map[string][]byte{
		"garbage":             []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		"other HTTP verb":     []byte("PUT / HTTP/1.1\r\n\r\n"),
		"unknown version":     change(4, 0, 0, 0, 9),
		"header length":       change(8, 0, 0, 0, 47),
		"oversized":           change(16, 0x7f, 0xff, 0xff, 0xff),
		"name too long":       change(thft0HeaderLen+4, 0x7f, 0xff, 0xff, 0xff),
		"type EXCEPTION":      change(thft0HeaderLen+3, 3),
		"body cut in itself":  append(change(16, 0, 0, 0, 5), 0, 0, 0, 0, 0),
		"RDSN header length":  append([]byte("RDSN\x00\x00\x00\x00\x01\x00\x00\x00"), make([]byte, 180)...),
		"RDSN without a name": append([]byte("RDSN\x00\x00\x00\x00\xc0\x00\x00\x00"), make([]byte, 180)...),
		"panicking handler":   request(rpcPanic, 1, "x"),
		"second frame":        append(bytes.Clone(good), "RDSN0123456789012345"...),
	}
	for name, b := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := startServer(t)
				defer s.stop(t)
				other, c := s.dial(t), s.dial(t)
				defer other.Close()
				defer c.Close()
				c.Write(b)
				got, err := io.ReadAll(c)
				if err != nil {
					t.Fatalf("connection not closed: %v", err)
				}
				if name != "second frame" && len(got) > 0 {
					t.Errorf("was answered %q", got)
				}
				other.Write(good)
				if r := readReply(t, other); r.code != idl.ErrOK {
					t.Errorf("the other connection got %+v", r)
				}
			})
		})
	}
}

func TestTornFrameAndSilentPeersHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t)
		defer s.stop(t)
		for i := range 60 {
			c := s.dial(t)
			if i > 0 {
				c.Write(request(rpcEcho, 1, "some longer value, so that it can be cut")[:i])
			}
			if i%2 == 0 {
				c.Close()
			}
		}
		c := s.dial(t)
		c.Write(request(rpcEcho, 1, "x"))
		if r := readReply(t, c); r.code != idl.ErrOK {
			t.Errorf("got %+v", r)
		}
	})
}

func TestPoolIsBoundedAndBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t)
		defer s.stop(t)
		c := s.dial(t)
		defer c.Close()
		for i := range 3 { // one runs, one waits, one is too many
			c.Write(request(rpcSlow, int32(i), "x"))
		}
		if r := readReply(t, c); r.seq != 2 || r.code != idl.ErrBusy {
			t.Errorf("got %+v", r)
		}
		c.Write(request(rpcEcho, 9, "x"))
		if r := readReply(t, c); r.seq != 9 {
			t.Errorf("got %+v", r)
		}
		close(s.held)
		for range 2 {
			if r := readReply(t, c); r.code != idl.ErrOK {
				t.Errorf("got %+v", r)
			}
		}
	})
}

func TestHTTPSharesThePort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t)
		defer s.stop(t)
		tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return s.net.Dialer("10.0.0.1")(ctx, serverAddr.String())
		}}
		defer tr.CloseIdleConnections()
		for _, path := range []string{"/version", "/configs"} {
			resp, err := (&http.Client{Transport: tr}).Get("http://x" + path)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(b) != "you asked for "+path {
				t.Errorf("got %q", b)
			}
		}
		if n := s.Sessions(); n != 1 {
			t.Errorf("%d sessions, want the one kept alive", n)
		}
	})
}

func TestConnsPerIP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t)
		s.ConnsPerIP = 2
		defer s.stop(t)
		a, b := s.dial(t), s.dial(t)
		synctest.Wait()
		c := s.dial(t)
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("third connection: %v", err)
		}
		a.Close()
		synctest.Wait()
		c = s.dial(t)
		c.Write(request(rpcEcho, 1, "x"))
		readReply(t, c)
		b.Close()
	})
}

func TestPeersCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t)
		defer s.stop(t)
		p := s.peers()
		defer p.Close()
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				name, want := rpcEcho, fmt.Sprint("value ", i)
				if i%2 == 0 {
					name = rpcLater
				}
				var got idl.Blob
				if err := p.Call(t.Context(), serverAddr, Call{Name: name, Arg: idl.Blob(want), Result: &got}); err != nil || string(got) != want {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
		wg.Wait()
		if n := s.Sessions(); n != 1 {
			t.Errorf("%d connections, want one", n)
		}
		var got idl.Blob
		err := p.Call(t.Context(), serverAddr, Call{Name: "RPC_NO_SUCH_RPC", Arg: idl.Blob(nil), Result: &got})
		if !errors.Is(err, idl.ErrHandlerNotFound) {
			t.Errorf("unknown RPC: %v", err)
		}
		var wrong idl.I64
		if err := p.Call(t.Context(), serverAddr, Call{Name: rpcEcho, Arg: idl.Blob("x"), Result: &wrong}); !errors.Is(err, idl.ErrInvalidData) {
			t.Errorf("wrong result type: %v", err)
		}
	})
}

func TestPeersTimeoutsAndBrokenConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t)
		defer s.stop(t)
		p := s.peers()
		defer p.Close()
		var got idl.Blob
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := p.Call(ctx, serverAddr, Call{Name: rpcMute, Arg: idl.Blob("x"), Result: &got})
		if took := time.Since(start); !errors.Is(err, idl.ErrTimeout) || took > 1100*time.Millisecond {
			t.Errorf("%v after %v", err, took)
		}
		errs := make(chan error, 1)
		p.Go(serverAddr, Call{Name: rpcMute, Arg: idl.Blob("x")}, 300*time.Millisecond, func(_ []byte, err error) { errs <- err })
		if err := <-errs; !errors.Is(err, idl.ErrTimeout) {
			t.Errorf("asynchronous call: %v", err)
		}
		p.Go(serverAddr, Call{Name: rpcMute, Arg: idl.Blob("x")}, time.Minute, func(_ []byte, err error) { errs <- err })
		synctest.Wait()
		s.net.DropHost("10.0.0.2")
		if err := <-errs; !errors.Is(err, idl.ErrNetworkFailure) || NotSent(err) {
			t.Errorf("broken connection: %v", err)
		}
		if err := p.Call(t.Context(), serverAddr, Call{Name: rpcEcho, Arg: idl.Blob("again"), Result: &got}); err != nil || string(got) != "again" {
			t.Errorf("after the connection broke: %q, %v", got, err)
		}
		nobody := idl.MakeAddress([4]byte{10, 0, 0, 9}, 1)
		for range 2 { // the dial itself, then the pause after it
			if err := p.Call(t.Context(), nobody, Call{Name: rpcEcho, Arg: idl.Blob("x"), Result: &got}); !errors.Is(err, idl.ErrNetworkFailure) || !NotSent(err) {
				t.Errorf("no listener: %v", err)
			}
		}
	})
}

func TestPeersCloseFailsWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t)
		defer s.stop(t)
		p := s.peers()
		s.net.Isolate("10.0.0.2", true)
		errs := make(chan error, 1)
		p.Go(serverAddr, Call{Name: rpcEcho, Arg: idl.Blob("x")}, time.Minute, func(_ []byte, err error) { errs <- err })
		synctest.Wait()
		p.Close()
		if err := <-errs; !errors.Is(err, idl.ErrNetworkFailure) {
			t.Errorf("got %v", err)
		}
	})
}

func TestLargeFramesAndRetainedArguments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer(t)
		defer s.stop(t)
		p := s.peers()
		defer p.Close()
		var results []idl.Blob
		for i := range 50 {
			want := strings.Repeat(string(rune('a'+i%26)), 1+i*i*150)
			var got idl.Blob
			if err := p.Call(t.Context(), serverAddr, Call{Name: rpcLater, Arg: idl.Blob(want), Result: &got}); err != nil || string(got) != want {
				t.Fatalf("%d bytes: got %d, %v", len(want), len(got), err)
			}
			results = append(results, got)
		}
		for i, r := range results { // earlier results were not overwritten
			if len(r) != 1+i*i*150 || r[len(r)-1] != byte('a'+i%26) {
				t.Errorf("result %d changed", i)
			}
		}
	})
}
