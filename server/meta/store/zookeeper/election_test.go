// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
	zkservers "github.com/pegasus-ops/pegasus-ops/test/zookeeper"
)

// testHandOver lets three servers lead one after the other.
func testHandOver(t *testing.T, hosts []string) {
	a, b, c := open(t, options(t, hosts, 1)), open(t, options(t, hosts, 2)), open(t, options(t, hosts, 3))
	term := campaign(t, a, 10*time.Second)
	if err := a.Commit(t.Context(), term.Epoch, store.Create("a", []byte("of a"))); err != nil {
		t.Fatal(err)
	}
	bElected := candidate(t, b)
	eventually(t, 5*time.Second, "b knows the leader", func() bool { return b.Leader() == self(1) })
	cElected := candidate(t, c)
	eventually(t, 5*time.Second, "c knows the leader", func() bool { return c.Leader() == self(1) })

	a.Close()
	next, took := await(t, bElected, time.Second, "b leads after a has closed")
	t.Logf("handed over in %v", took.Round(time.Millisecond))
	<-term.Lost
	if term.Holds() || next.Epoch <= term.Epoch {
		t.Errorf("old term holds: %v; epochs %d, %d", term.Holds(), term.Epoch, next.Epoch)
	}
	eventually(t, 5*time.Second, "c knows b", func() bool { return c.Leader() == self(2) })
	if n, err := b.Get(t.Context(), "a"); err != nil || string(n.Data) != "of a" {
		t.Errorf("b reads %+v, %v", n, err)
	}
	if err := a.Commit(t.Context(), term.Epoch, store.Create("x", nil)); !errors.Is(err, store.ErrFenced) {
		t.Errorf("commit after Close: %v", err)
	}
	// Running again gives up the term: c is before b then.
	bAgain := candidate(t, b)
	await(t, cElected, time.Second, "c leads after b has given up")
	eventually(t, 5*time.Second, "b knows c", func() bool { return b.Leader() == self(3) })
	select {
	case <-bAgain:
		t.Error("two leaders")
	default:
	}
}

// testRemainder starts a server again that was killed: its old node must not be waited for.
func testRemainder(t *testing.T, hosts []string) {
	o := options(t, hosts, 1)
	c := raw(t, hosts)
	dir := o.Lock + "/dsn.meta.server.leader"
	makeDirs(t, c, dir)
	for range 2 {
		if _, err := c.Create(dir+"/LOCKNODE", []byte(self(1).String()), zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll)); err != nil {
			t.Fatal(err)
		}
	}
	campaign(t, open(t, o), 5*time.Second)
	if names, _, err := c.Children(dir); err != nil || len(names) != 1 || names[0] != "LOCKNODE0000000002" {
		t.Errorf("%v, %v", names, err)
	}
}

func makeDirs(t *testing.T, c *zk.Conn, dir string) {
	t.Helper()
	at := ""
	for _, name := range strings.Split(dir, "/")[1:] {
		at += "/" + name
		if _, err := c.Create(at, nil, 0, zk.WorldACL(zk.PermAll)); err != nil && err != zk.ErrNodeExists {
			t.Fatal(err)
		}
	}
}

// testForeignCandidates stands in an election with C++ meta servers, which write host names.
func testForeignCandidates(t *testing.T, hosts []string) {
	o := options(t, hosts, 1)
	c := raw(t, hosts)
	dir := o.Lock + "/dsn.meta.server.leader"
	makeDirs(t, c, dir)
	s := open(t, o)
	for _, n := range []struct {
		value string
		want  idl.RPCAddress
	}{
		{"localhost:24602", idl.MakeAddress([4]byte{127, 0, 0, 1}, 24602)},
		{"10.0.0.2:34601", idl.MakeAddress([4]byte{10, 0, 0, 2}, 34601)},
		{"what is this", 0},
	} {
		node, err := c.Create(dir+"/LOCKNODE", []byte(n.value), zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		elected := make(chan error, 1)
		go func() {
			_, err := s.Campaign(ctx)
			elected <- err
		}()
		eventually(t, 5*time.Second, n.value+" is known", func() bool {
			names, _, err := c.Children(dir)
			return err == nil && len(names) == 2 && s.Leader() == n.want
		})
		select {
		case <-elected:
			t.Fatalf("elected although %s leads", n.value)
		case <-time.After(50 * time.Millisecond):
		}
		if err := c.Delete(node, -1); err != nil {
			t.Fatal(err)
		}
		if err, _ := await(t, elected, 5*time.Second, "elected after the other has gone"); err != nil {
			t.Error(err)
		}
		cancel()
		s.endTerm()
		eventually(t, 5*time.Second, "the lock is free", func() bool {
			names, _, err := c.Children(dir)
			return err == nil && len(names) == 0
		})
	}
}

func testLockDeleted(t *testing.T, hosts []string) {
	s := open(t, options(t, hosts, 1))
	c := raw(t, hosts)
	for _, how := range []string{"idle", "writing"} {
		term := campaign(t, s, 10*time.Second)
		if err := c.Delete(s.term.lock, -1); err != nil {
			t.Fatal(err)
		}
		if how == "writing" {
			if err := s.Commit(t.Context(), term.Epoch, store.Create("late", nil)); !errors.Is(err, store.ErrFenced) {
				t.Errorf("got %v", err)
			}
		}
		await(t, term.Lost, sessionTime, "the leader steps down")
		if _, err := s.Get(t.Context(), "late"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("something was written: %v", err)
		}
	}
	campaign(t, s, 10*time.Second)
}

// testCutOffLeader cuts the leader's network off. It must step down before the other begins, its
// writes must fail, and when the network is back it must not disturb its successor.
func testCutOffLeader(t *testing.T, hosts []string) {
	link := zkservers.NewLink(t, hosts[0])
	o := options(t, []string{link.Addr()}, 1)
	a, b := open(t, o), open(t, options(t, hosts, 2))
	term := campaign(t, a, 10*time.Second)
	if err := a.Commit(t.Context(), term.Epoch, store.Create("n", []byte("0"))); err != nil {
		t.Fatal(err)
	}
	bElected := candidate(t, b)
	eventually(t, 5*time.Second, "b waits", func() bool { return b.Leader() == self(1) })

	link.Cut()
	cut := time.Now()
	write := make(chan error, 1)
	go func() { write <- a.Commit(t.Context(), term.Epoch, store.Set("n", []byte("of a"), 0)) }()
	_, lost := await(t, term.Lost, sessionTime, "a steps down")
	select {
	case <-bElected:
		t.Fatal("b was elected before a has stepped down")
	default:
	}
	if err, _ := await(t, write, time.Second, "the write under way ends"); !errors.Is(err, store.ErrFenced) {
		t.Errorf("write under way: %v", err)
	}
	next, _ := await(t, bElected, sessionTime+2*time.Second, "b leads")
	t.Logf("a stepped down %v after the cut, b led after %v", lost.Round(time.Millisecond), time.Since(cut).Round(time.Millisecond))
	aAgain := candidate(t, a)
	if err := b.Commit(t.Context(), next.Epoch, store.Set("n", []byte("of b"), 0)); err != nil {
		t.Error(err)
	}
	link.Heal()
	eventually(t, 10*time.Second, "a follows", func() bool { return a.Leader() == self(2) })
	if err := a.Commit(t.Context(), term.Epoch, store.Set("n", []byte("of a"), 1)); !errors.Is(err, store.ErrFenced) {
		t.Errorf("write of the old term: %v", err)
	}
	if n, err := a.Get(t.Context(), "n"); err != nil || string(n.Data) != "of b" || n.Version != 1 {
		t.Errorf("%+v, %v", n, err)
	}
	if !next.Holds() {
		t.Error("b has lost the lock")
	}
	b.Close()
	await(t, aAgain, time.Second, "a leads again")
}

// testExpiredFollower lets the session of a follower expire: it must be in the queue again when
// its turn comes.
func testExpiredFollower(t *testing.T, hosts []string) {
	link := zkservers.NewLink(t, hosts[0])
	a := open(t, options(t, hosts, 1))
	o := options(t, []string{link.Addr()}, 2)
	o.Timeout = 2 * zkservers.MinSession
	b := open(t, o)
	term := campaign(t, a, 10*time.Second)
	elected := candidate(t, b)
	eventually(t, 5*time.Second, "b waits", func() bool { return b.Leader() == self(1) })
	c, dir := raw(t, hosts), o.Lock+"/dsn.meta.server.leader"
	queue := func() int {
		names, _, err := c.Children(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	link.Cut()
	eventually(t, 10*time.Second, "the session of b expires", func() bool { return queue() == 1 })
	link.Heal()
	eventually(t, 10*time.Second, "b waits again", func() bool { return queue() == 2 && b.Leader() == self(1) })
	if !term.Holds() {
		t.Error("a has lost the lock")
	}
	a.Close()
	await(t, elected, time.Second, "b leads")
}

// testLateWrite is what the fence is for: transactions that were made while the lock was held
// and arrive when it is not, with nothing in the way but ZooKeeper itself.
func testLateWrite(t *testing.T, hosts []string) {
	a, b := open(t, options(t, hosts, 1)), open(t, options(t, hosts, 2))
	term := campaign(t, a, 10*time.Second)
	if err := a.Commit(t.Context(), term.Epoch, store.Create("n", []byte("0"))); err != nil {
		t.Fatal(err)
	}
	var late [][]any
	for _, ops := range [][]store.Op{
		{store.Set("n", []byte("late"), 0)}, {store.Create("m", nil)}, {store.Delete("n", 0)},
		{store.Create("m", nil), store.Set("n", []byte("late"), 0)},
	} {
		txn, err := a.term.transaction(ops)
		if err != nil {
			t.Fatal(err)
		}
		late = append(late, txn)
	}
	a.endTerm()
	next := campaign(t, b, 10*time.Second)
	c := raw(t, hosts)
	for _, txn := range late {
		results, err := c.Multi(txn...)
		if fenced, _, _ := judge([]store.Op{{}}, results, err); !fenced {
			t.Errorf("a late transaction: %v, %v", results, err)
		}
	}
	if n, err := b.Get(t.Context(), "n"); err != nil || n.Version != 0 {
		t.Errorf("%+v, %v", n, err)
	}
	if err := b.Commit(t.Context(), next.Epoch, store.Set("n", []byte("of b"), 0), store.Create("m", nil)); err != nil {
		t.Error(err)
	}
}

const pausedEnv = "ZOOKEEPER_TEST_PAUSED_LEADER"

// pausedLeader is the main program of a process that leads and counts, as fast as it can, and
// says what becomes of each write.
func pausedLeader() {
	hosts, root, _ := strings.Cut(os.Getenv(pausedEnv), " ")
	s, err := Open(Options{Hosts: []string{hosts}, Timeout: sessionTime, Root: root, Lock: root + "/lock", Self: self(1), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	term, err := s.Campaign(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := s.Commit(context.Background(), term.Epoch, store.Create("n", nil)); err != nil {
		fmt.Println(err)
		return
	}
	for v := int64(0); ; v++ {
		heldBefore := term.Holds()
		if err := s.Commit(context.Background(), term.Epoch, store.Set("n", fmt.Append(nil, "of a ", v), v)); err != nil {
			fmt.Println("refused", errors.Is(err, store.ErrFenced), "held", heldBefore && term.Holds())
			os.Stdin.Read(make([]byte, 1)) // until the test has seen it
			return
		}
		fmt.Println("wrote", v)
		time.Sleep(time.Millisecond)
	}
}

// testStoppedProcess stops a leading process in the middle of its writes, lets another one lead,
// and wakes it up.
func testStoppedProcess(t *testing.T, hosts []string) {
	o := options(t, hosts, 2)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), pausedEnv+"="+hosts[0]+" "+o.Root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	defer stdin.Close()
	lines := make(chan string, 1<<16)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			lines <- s.Text()
		}
	}()
	for range 20 {
		if line, _ := await(t, lines, 20*time.Second, "the process writes"); !strings.HasPrefix(line, "wrote") {
			t.Fatal(line)
		}
	}
	b := open(t, o)
	elected := candidate(t, b)
	eventually(t, 5*time.Second, "b waits", func() bool { return b.Leader() == self(1) })

	cmd.Process.Signal(syscall.SIGSTOP)
	next, took := await(t, elected, sessionTime+2*time.Second, "b leads")
	t.Logf("b led %v after the leader was stopped", took.Round(time.Millisecond))
	n, err := b.Get(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(t.Context(), next.Epoch, store.Set("n", []byte("of b"), n.Version)); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Signal(syscall.SIGCONT)
	last := ""
	for !strings.HasPrefix(last, "refused") {
		last, _ = await(t, lines, 10*time.Second, "the write is refused")
	}
	if last != "refused true held false" {
		t.Errorf("the process that woke up says %q", last)
	}
	if after, err := b.Get(t.Context(), "n"); err != nil || string(after.Data) != "of b" || after.Version != n.Version+1 {
		t.Errorf("written by the process that woke up: %s at %d, %v", after.Data, after.Version, err)
	}
	if !next.Holds() {
		t.Error("b has lost the lock")
	}
}

// testBrokenConnection loses connections, not the session: the leader stays.
func testBrokenConnection(t *testing.T, hosts []string) {
	link := zkservers.NewLink(t, hosts[0])
	s := open(t, options(t, []string{link.Addr()}, 1))
	term := campaign(t, s, 10*time.Second)
	if err := s.Commit(t.Context(), term.Epoch, store.Create("n", nil)); err != nil {
		t.Fatal(err)
	}
	for v := range int64(5) {
		link.Break()
		if err := s.Commit(t.Context(), term.Epoch, store.Set("n", nil, v)); err != nil {
			t.Error(err)
		}
	}
	if !term.Holds() {
		t.Error("the leadership was lost")
	}
}

// TestServersDown has no ZooKeeper at the start, then has it, then loses it for several session
// timeouts.
func TestServersDown(t *testing.T) {
	t.Parallel()
	e := zkservers.Start(t, 1)
	e.Kill(0)
	var logged lockedBuffer
	o := options(t, e.Addrs(), 1)
	o.Log = slog.New(slog.NewTextHandler(&logged, nil))
	a := open(t, o)
	o2 := options(t, e.Addrs(), 2)
	b := open(t, o2)
	aElected := candidate(t, a)
	eventually(t, 10*time.Second, "it is said what is waited for", func() bool {
		return strings.Contains(logged.String(), "waiting for ZooKeeper")
	})
	if s := logged.String(); !strings.Contains(s, e.Addrs()[0]) || !strings.Contains(s, "connection refused") {
		t.Errorf("the log names neither the server nor the reason: %s", s)
	}
	if n := strings.Count(logged.String(), "\n"); n > 3 {
		t.Errorf("%d lines in a few seconds", n)
	}
	e.Restart(0)
	term, took := await(t, aElected, 20*time.Second, "elected once ZooKeeper serves")
	t.Logf("elected %v after ZooKeeper was started", took.Round(time.Millisecond))
	bElected := candidate(t, b)
	eventually(t, 10*time.Second, "b waits", func() bool { return b.Leader() == self(1) })
	if err := a.Commit(t.Context(), term.Epoch, store.Create("n", []byte("kept"))); err != nil {
		t.Fatal(err)
	}

	e.Kill(0)
	down := time.Now()
	_, took = await(t, term.Lost, sessionTime, "the leader steps down")
	t.Logf("stepped down %v after ZooKeeper was gone", took.Round(time.Millisecond))
	if err := a.Commit(t.Context(), term.Epoch, store.Set("n", nil, 0)); !errors.Is(err, store.ErrFenced) {
		t.Errorf("write without ZooKeeper: %v", err)
	}
	aElected = candidate(t, a)
	time.Sleep(time.Until(down.Add(4 * sessionTime)))
	e.Restart(0)
	var s *Store
	start := time.Now()
	select {
	case term = <-aElected:
		s = a
	case term = <-bElected:
		s = b
	case <-time.After(20 * time.Second):
		t.Fatal("nobody leads after ZooKeeper is back")
	}
	t.Logf("%s leads %v after ZooKeeper was started", s.o.Self, time.Since(start).Round(time.Millisecond))
	if n, err := s.Get(t.Context(), "n"); err != nil || string(n.Data) != "kept" || n.Version != 0 {
		t.Errorf("%+v, %v", n, err)
	}
	if err := s.Commit(t.Context(), term.Epoch, store.Set("n", nil, 0)); err != nil {
		t.Error(err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestEnsemble takes the server away that the leader is connected to: another one takes its
// place and the term goes on, whether it was killed or hangs.
func TestEnsemble(t *testing.T) {
	t.Parallel()
	e := zkservers.Start(t, 3)
	o := options(t, e.Addrs(), 1)
	o.Timeout = 20 * zkservers.Tick
	s := open(t, o)
	term := campaign(t, s, 20*time.Second)
	if err := s.Commit(t.Context(), term.Epoch, store.Create("n", nil)); err != nil {
		t.Fatal(err)
	}
	connected := func() int {
		at := s.term.sess.conn.Server()
		for i, a := range e.Addrs() {
			if a == at && i != e.Leader() {
				return i
			}
		}
		return -1
	}
	// Away from the ensemble's own leader, whose loss takes the ensemble a while.
	for range 20 {
		if connected() >= 0 {
			break
		}
		s.term.sess.dial.kick()
		time.Sleep(200 * time.Millisecond)
	}
	i := connected()
	if i < 0 {
		t.Skip("the client insists on the leader of the ensemble")
	}
	for v, take := range []func(int){e.Kill, e.Pause} {
		take(i)
		start := time.Now()
		err := s.Commit(t.Context(), term.Epoch, store.Set("n", nil, int64(v)))
		if err != nil || !term.Holds() {
			t.Errorf("write with a server gone: %v, holds %v", err, term.Holds())
		}
		t.Logf("a write took %v", time.Since(start).Round(time.Millisecond))
		if v == 0 {
			e.Restart(i)
			if err := e.AwaitServing(30 * time.Second); err != nil {
				t.Fatal(err)
			}
			for range 40 {
				if i = connected(); i >= 0 {
					break
				}
				s.term.sess.dial.kick()
				time.Sleep(200 * time.Millisecond)
			}
			if i < 0 {
				t.Skip("the client insists on the leader of the ensemble")
			}
		}
	}
	e.Resume(i)
}
