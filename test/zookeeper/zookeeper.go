// SPDX-License-Identifier: Apache-2.0

// Package zookeeper runs real ZooKeeper servers for tests: one or an ensemble, as processes on
// this machine, on free ports and in a temporary directory. They can be killed, paused and
// started again, and a Link to them can be cut.
//
// It takes Java and the jars of Debian's package zookeeper; without them the test is skipped.
package zookeeper

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	jar = "/usr/share/java/zookeeper.jar" // names its dependencies itself

	// Tick is ZooKeeper's unit of time. Sessions last between 2 and 20 ticks, whatever a client
	// asks for.
	Tick = 200 * time.Millisecond

	// MinSession is the shortest session timeout that is granted.
	MinSession = 2 * Tick

	startTimeout = 60 * time.Second // of a busy machine
	attempts     = 3                // a free port may be taken by somebody else before it is used
)

// An Ensemble is a number of ZooKeeper servers that form one service.
type Ensemble struct {
	t       testing.TB
	dir     string
	servers []*server
}

type server struct {
	id     int
	dir    string
	client int // port
	ports  [2]int
	cmd    *exec.Cmd
	exited chan struct{}
	paused bool
}

// Start runs n servers and waits until they serve. The end of the test ends them.
func Start(t testing.TB, n int) *Ensemble {
	t.Helper()
	for _, need := range []struct{ what, pkg string }{{jar, "zookeeper"}, {"java", "default-jre-headless"}} {
		var err error
		if filepath.IsAbs(need.what) {
			_, err = os.Stat(need.what)
		} else {
			_, err = exec.LookPath(need.what)
		}
		if err != nil {
			t.Skipf("%s is missing: install Debian's package %s (apt-get install --no-install-recommends zookeeper default-jre-headless)", need.what, need.pkg)
		}
	}
	var err error
	for range attempts {
		e := &Ensemble{t: t, dir: t.TempDir()}
		if err = e.start(n); err == nil {
			t.Cleanup(e.stop)
			return e
		}
		e.stop()
	}
	t.Fatal(err)
	return nil
}

func (e *Ensemble) start(n int) error {
	ports, err := freePorts(3 * n)
	if err != nil {
		return err
	}
	for i := range n {
		e.servers = append(e.servers, &server{id: i + 1, dir: filepath.Join(e.dir, fmt.Sprint(i+1)),
			client: ports[3*i], ports: [2]int{ports[3*i+1], ports[3*i+2]}})
	}
	for _, s := range e.servers {
		if err := e.configure(s); err != nil {
			return err
		}
		if err := s.run(); err != nil {
			return err
		}
	}
	return e.AwaitServing(startTimeout)
}

func (e *Ensemble) configure(s *server) error {
	var b strings.Builder
	fmt.Fprintf(&b, "tickTime=%d\ninitLimit=25\nsyncLimit=15\ndataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\n",
		Tick.Milliseconds(), s.dir, s.client)
	fmt.Fprintf(&b, "admin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=srvr\n")
	if len(e.servers) > 1 {
		for _, o := range e.servers {
			fmt.Fprintf(&b, "server.%d=127.0.0.1:%d:%d\n", o.id, o.ports[0], o.ports[1])
		}
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"zoo.cfg": b.String(), "myid": fmt.Sprint(s.id)} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// run starts the process of a server. It ends with this one, even if that is killed.
func (s *server) run() error {
	out, err := os.OpenFile(filepath.Join(s.dir, "out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	s.cmd = exec.Command("java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-Dzookeeper.forceSync=no", "-cp", jar+":/usr/share/java/slf4j-nop.jar",
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(s.dir, "zoo.cfg"))
	s.cmd.Stdout, s.cmd.Stderr = out, out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start ZooKeeper: %w", err)
	}
	exited := make(chan struct{})
	s.exited = exited
	cmd := s.cmd
	go func() {
		cmd.Wait()
		close(exited)
	}()
	return nil
}

func (s *server) addr() string { return fmt.Sprintf("127.0.0.1:%d", s.client) }

// kill ends the process at once.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.exited
	s.cmd, s.paused = nil, false
}

func (e *Ensemble) stop() {
	for _, s := range e.servers {
		s.kill()
	}
}

// Addrs are the client addresses of the servers.
func (e *Ensemble) Addrs() []string {
	var addrs []string
	for _, s := range e.servers {
		addrs = append(addrs, s.addr())
	}
	return addrs
}

// Kill ends server i (from 0) as kill -9 does.
func (e *Ensemble) Kill(i int) { e.servers[i].kill() }

// Restart starts server i again after Kill, without waiting for it to serve.
func (e *Ensemble) Restart(i int) {
	e.t.Helper()
	if err := e.servers[i].run(); err != nil {
		e.t.Fatal(err)
	}
}

// Pause stops server i in its tracks: connections stay, nothing is answered.
func (e *Ensemble) Pause(i int) { e.servers[i].signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (e *Ensemble) Resume(i int) { e.servers[i].signal(syscall.SIGCONT) }

func (s *server) signal(sig syscall.Signal) {
	if s.cmd != nil {
		s.cmd.Process.Signal(sig)
		s.paused = sig == syscall.SIGSTOP
	}
}

// AwaitServing waits until all servers that run and are not paused are ready for clients.
func (e *Ensemble) AwaitServing(limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for _, s := range e.servers {
		for s.cmd != nil && !s.paused {
			mode := s.mode()
			if mode != "" {
				break
			}
			select {
			case <-s.exited:
				out, _ := os.ReadFile(filepath.Join(s.dir, "out"))
				return fmt.Errorf("ZooKeeper server %d has ended: %s", s.id, out)
			case <-time.After(20 * time.Millisecond):
			}
			if time.Now().After(deadline) {
				out, _ := os.ReadFile(filepath.Join(s.dir, "out"))
				return fmt.Errorf("ZooKeeper server %d does not serve after %v: %s", s.id, limit, out)
			}
		}
	}
	return nil
}

// Leader is the index of the server that leads the ensemble, or stands alone; -1 if none does.
func (e *Ensemble) Leader() int {
	for i, s := range e.servers {
		if m := s.mode(); m == "leader" || m == "standalone" {
			return i
		}
	}
	return -1
}

// mode is the role of a server that serves, empty if it does not.
func (s *server) mode() string {
	c, err := net.DialTimeout("tcp", s.addr(), time.Second)
	if err != nil {
		return ""
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	io.WriteString(c, "srvr")
	out, _ := io.ReadAll(c)
	if _, after, ok := bytes.Cut(out, []byte("Mode: ")); ok {
		mode, _, _ := bytes.Cut(after, []byte("\n"))
		return string(mode)
	}
	return ""
}

// freePorts finds ports nobody listens on at the moment.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// A Link is a way to one server that can be cut.
type Link struct {
	to string
	ln net.Listener
	wg sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

// NewLink returns a way to a server.
func NewLink(t testing.TB, to string) *Link {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Link{to: to, ln: ln, conns: map[net.Conn]bool{}}
	l.wg.Go(l.accept)
	t.Cleanup(func() {
		ln.Close()
		l.mu.Lock()
		l.cut = true
		for c := range l.conns {
			c.Close()
		}
		l.mu.Unlock()
		l.wg.Wait()
	})
	return l
}

// Addr is where the link begins.
func (l *Link) Addr() string { return l.ln.Addr().String() }

// Cut loses everything that is sent from now on, in both directions, while connections stay as
// they are: what a broken switch looks like to both ends.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
}

// Heal breaks the connections that have lost something, and lets new ones through.
func (l *Link) Heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = false
	for c := range l.conns {
		c.Close()
	}
}

// Break closes the present connections.
func (l *Link) Break() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.Close()
	}
}

func (l *Link) accept() {
	for {
		near, err := l.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.DialTimeout("tcp", l.to, time.Second)
		if err != nil {
			near.Close()
			continue
		}
		l.mu.Lock()
		l.conns[near], l.conns[far] = true, true
		l.mu.Unlock()
		l.wg.Go(func() { l.copy(near, far) })
		l.wg.Go(func() { l.copy(far, near) })
	}
}

func (l *Link) copy(from, to net.Conn) {
	defer func() {
		from.Close()
		to.Close()
		l.mu.Lock()
		delete(l.conns, from)
		delete(l.conns, to)
		l.mu.Unlock()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		l.mu.Lock()
		cut := l.cut
		l.mu.Unlock()
		if n > 0 && !cut {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
