// SPDX-License-Identifier: Apache-2.0

package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func pair(t *testing.T, n *Network) (client, server net.Conn) {
	t.Helper()
	l, err := n.Listen("10.0.0.2:1")
	if err != nil {
		t.Fatal(err)
	}
	client, err = n.Dialer("10.0.0.1")(t.Context(), "10.0.0.2:1")
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return client, server
}

func TestDataCrossesAndEOF(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := pair(t, New())
		go func() {
			c.Write([]byte("hello "))
			c.Write([]byte("world"))
			c.Close()
		}()
		got, err := io.ReadAll(s)
		if err != nil || string(got) != "hello world" {
			t.Fatalf("got %q, %v", got, err)
		}
		if _, err := s.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Fatalf("write to a closed peer: %v", err)
		}
	})
}

func TestCutHoldsDataUntilHealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		c, s := pair(t, n)
		n.Cut("10.0.0.1", "10.0.0.2")
		c.Write([]byte("late"))
		c.Close()
		s.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := s.Read(make([]byte, 8)); err == nil {
			t.Fatal("data crossed a cut line")
		}
		s.SetReadDeadline(time.Time{})
		go func() {
			time.Sleep(time.Minute)
			n.HealAll()
		}()
		got, err := io.ReadAll(s)
		if err != nil || string(got) != "late" {
			t.Fatalf("got %q, %v", got, err)
		}
	})
}

func TestDialAcrossCutTimesOutAndRefusesWithoutListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		n.Isolate("10.0.0.2", true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Dialer("10.0.0.1")(ctx, "10.0.0.2:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("dial over a cut line: %v", err)
		}
		n.HealAll()
		if _, err := n.Dialer("10.0.0.1")(t.Context(), "10.0.0.2:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("dial without a listener: %v", err)
		}
	})
}

func TestDropConnResetsBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		c, s := pair(t, n)
		go n.DropConn("10.0.0.2", "10.0.0.1")
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("server: %v", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("client: %v", err)
		}
	})
}

func TestDelayKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		c, s := pair(t, n)
		n.SetDelay(10*time.Millisecond, 10*time.Millisecond, nil)
		start := time.Now()
		c.Write([]byte("a"))
		n.SetDelay(0, 0, nil)
		c.Write([]byte("b"))
		c.Close()
		got, _ := io.ReadAll(s)
		if string(got) != "ab" || time.Since(start) != 10*time.Millisecond {
			t.Fatalf("got %q after %v", got, time.Since(start))
		}
	})
}
