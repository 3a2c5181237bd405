// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"go.uber.org/goleak"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
	zkservers "github.com/pegasus-ops/pegasus-ops/test/zookeeper"
)

// sessionTime is the usual timeout of the tests: long enough for a busy machine to keep it.
const sessionTime = 2 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(pausedEnv) != "" {
		pausedLeader()
		return
	}
	goleak.VerifyTestMain(m)
}

func self(i byte) idl.RPCAddress { return idl.MakeAddress([4]byte{127, 0, 0, i}, 34601) }

// options of candidate i in a cluster of the test's own.
func options(t *testing.T, hosts []string, i byte) Options {
	root := "/pegasus/" + strings.NewReplacer("/", "_", " ", "_").Replace(t.Name())
	o := Options{Hosts: hosts, Timeout: sessionTime, Root: root, Lock: root + "/lock", Self: self(i)}
	o.Log = slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("self", i)
	}
	return o
}

func open(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func campaign(t *testing.T, s *Store, limit time.Duration) store.Term {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	term, err := s.Campaign(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !term.Holds() || s.Leader() != s.o.Self {
		t.Fatalf("elected, but holds %v, leader %s", term.Holds(), s.Leader())
	}
	return term
}

// candidate campaigns in the background.
func candidate(t *testing.T, s *Store) <-chan store.Term {
	elected := make(chan store.Term, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if term, err := s.Campaign(ctx); err == nil {
			elected <- term
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return elected
}

func await[T any](t *testing.T, c <-chan T, limit time.Duration, what string) (v T, took time.Duration) {
	t.Helper()
	start := time.Now()
	select {
	case v = <-c:
		return v, time.Since(start)
	case <-time.After(limit):
		t.Fatalf("not within %v: %s", limit, what)
	}
	return v, 0
}

func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// raw is a plain client, for what others do to the tree.
func raw(t *testing.T, hosts []string) *zk.Conn {
	t.Helper()
	c, events, err := zk.Connect(hosts, 20*time.Second, zk.WithLogInfo(false), zk.WithLogger(discard{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		for range events {
		}
	})
	return c
}

type discard struct{}

func (discard) Printf(string, ...any) {}

func mustExist(t *testing.T, c *zk.Conn, path, value string) {
	t.Helper()
	data, _, err := c.Get(path)
	if err != nil || string(data) != value {
		t.Errorf("%s holds %q, %v, want %q", path, data, err, value)
	}
}

// unreliable breaks a connection at a chosen request.
type unreliable struct {
	mu       sync.Mutex
	pattern  string // bytes of the request to break at; empty: none
	delivers bool   // the request reaches the server, only its answer is lost
	broke    int
}

func (u *unreliable) arm(pattern string, delivers bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pattern, u.delivers = pattern, delivers
}

func (u *unreliable) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.broke
}

func (u *unreliable) dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &brittle{Conn: c, u: u}, nil
}

type brittle struct {
	net.Conn
	u      *unreliable
	broken bool // guarded by u.mu
}

func (b *brittle) Write(p []byte) (int, error) {
	b.u.mu.Lock()
	hit := b.u.pattern != "" && bytes.Contains(p, []byte(b.u.pattern))
	delivers := b.u.delivers
	if hit {
		b.u.pattern, b.broken = "", true
		b.u.broke++
	}
	b.u.mu.Unlock()
	if hit && !delivers {
		b.Conn.Close()
		return 0, &net.OpError{Op: "test", Err: net.ErrClosed}
	}
	return b.Conn.Write(p)
}

func (b *brittle) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	b.u.mu.Lock()
	defer b.u.mu.Unlock()
	if b.broken {
		b.Conn.Close()
		return 0, &net.OpError{Op: "test", Err: net.ErrClosed}
	}
	return n, err
}

// TestOneServer has all that a single server is enough for.
func TestOneServer(t *testing.T) {
	t.Parallel()
	hosts := zkservers.Start(t, 1).Addrs()
	for _, c := range []struct {
		name string
		test func(*testing.T, []string)
	}{
		{"commit", testCommit},
		{"children", testChildren},
		{"golden tree", testGoldenTree},
		{"chroot", testChroot},
		{"root of ZooKeeper", testRootOfZooKeeper},
		{"large commit", testLargeCommit},
		{"lost answer", testLostAnswer},
		{"hand over", testHandOver},
		{"remainder", testRemainder},
		{"foreign candidates", testForeignCandidates},
		{"lock deleted", testLockDeleted},
		{"cut off leader", testCutOffLeader},
		{"expired follower", testExpiredFollower},
		{"late write", testLateWrite},
		{"stopped process", testStoppedProcess},
		{"broken connection", testBrokenConnection},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			c.test(t, hosts)
			t.Logf("took %v", time.Since(start).Round(time.Millisecond))
		})
	}
}
