// SPDX-License-Identifier: Apache-2.0

package linktest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// Config is how a server behaves. The zero value lets in the key of [Server.Key].
type Config struct {
	HostKeys    []ssh.Signer // default one ed25519 key
	Key         ssh.Signer   // lets in; default a new one
	Password    string       // lets in too, if not empty
	Interactive bool         // ask for the password by keyboard-interactive only
	MaxSessions int          // of one connection; 0: no limit
	DropFirst   int          // connections that are closed before they say a word
	NoSftp      bool
	Greeting    string // a login script that prints
	Path        string // put before PATH of commands
	OnlyPath    bool   // and nothing after it
}

// Server is an ssh server in this process.
type Server struct {
	Addr    string
	Key     ssh.Signer // of the client
	KeyFile string     // the same as an identity file
	HostKey ssh.PublicKey

	config   Config
	listener net.Listener
	drop     atomic.Int64
	frozen   atomic.Bool
	Dials    atomic.Int64 // connections accepted
	Peak     atomic.Int64 // most connections in their handshake at once
	Sessions atomic.Int64 // most sessions open at once
	shaking  atomic.Int64
	open     atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]bool
	work  sync.WaitGroup
}

// Signer is a new private key.
func Signer(t testing.TB) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	s, err := ssh.NewSignerFromKey(key)
	must(t, err)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// WriteKey writes a new private key, encrypted if there is a passphrase, and its
// public half.
func WriteKey(t testing.TB, file, passphrase string) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "test")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "test", []byte(passphrase))
	}
	must(t, err)
	must(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	s, err := ssh.NewSignerFromKey(key)
	must(t, err)
	must(t, os.WriteFile(file+".pub", ssh.MarshalAuthorizedKey(s.PublicKey()), 0o644))
	return s
}

// Serve starts a server that ends with the test.
func Serve(t testing.TB, c Config) *Server {
	t.Helper()
	s := &Server{config: c, conns: map[net.Conn]bool{}}
	if s.Key = c.Key; s.Key == nil {
		s.KeyFile = filepath.Join(t.TempDir(), "id")
		s.Key = WriteKey(t, s.KeyFile, "")
	}
	if len(c.HostKeys) == 0 {
		s.config.HostKeys = []ssh.Signer{Signer(t)}
	}
	s.HostKey = s.config.HostKeys[0].PublicKey()
	s.drop.Store(int64(c.DropFirst))
	var err error
	s.listener, err = net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	s.Addr = s.listener.Addr().String()
	s.work.Go(s.accept)
	t.Cleanup(func() {
		_ = s.listener.Close()
		s.Cut()
		s.work.Wait()
	})
	return s
}

// KnownHosts writes a known_hosts file with the host keys of servers.
func KnownHosts(t testing.TB, servers ...*Server) string {
	t.Helper()
	var b bytes.Buffer
	for _, s := range servers {
		b.WriteString(s.Line() + "\n")
	}
	file := filepath.Join(t.TempDir(), "known_hosts")
	must(t, os.WriteFile(file, b.Bytes(), 0o600))
	return file
}

// Line is the server's line of known_hosts.
func (s *Server) Line() string {
	return xknownhosts.Line([]string{xknownhosts.Normalize(s.Addr)}, s.HostKey)
}

// Cut breaks all connections.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// Freeze makes the server silent: it takes connections and bytes and answers
// nothing. The kernel still acknowledges.
func (s *Server) Freeze(yes bool) { s.frozen.Store(yes) }

// thawing holds back everything a frozen server would send.
type thawing struct {
	net.Conn
	s    *Server
	gone chan struct{}
	once sync.Once
}

func (f *thawing) Write(p []byte) (int, error) {
	if f.s.frozen.Load() {
		<-f.gone
		return 0, net.ErrClosed
	}
	return f.Conn.Write(p)
}

func (f *thawing) Close() error {
	f.once.Do(func() { close(f.gone) })
	return f.Conn.Close()
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.Dials.Add(1)
		if s.drop.Add(-1) >= 0 {
			_ = c.Close()
			continue
		}
		conn := &thawing{Conn: c, s: s, gone: make(chan struct{})}
		s.mu.Lock()
		s.conns[conn] = true
		s.mu.Unlock()
		s.work.Go(func() {
			defer func() {
				_ = conn.Close()
				s.mu.Lock()
				delete(s.conns, conn)
				s.mu.Unlock()
			}()
			s.serve(conn)
		})
	}
}

func (s *Server) rules() *ssh.ServerConfig {
	allowed := string(s.Key.PublicKey().Marshal())
	c := &ssh.ServerConfig{
		MaxAuthTries: 6,
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if string(key.Marshal()) == allowed {
				return nil, nil
			}
			return nil, errors.New("not this key")
		},
	}
	right := func(p string) (*ssh.Permissions, error) {
		if p != s.config.Password {
			return nil, errors.New("not this password")
		}
		return nil, nil
	}
	if s.config.Password != "" && !s.config.Interactive {
		c.PasswordCallback = func(_ ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) { return right(string(p)) }
	}
	if s.config.Interactive {
		c.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			a, err := ask("", "", []string{"Password: "}, []bool{false})
			if err != nil || len(a) != 1 {
				return nil, errors.New("no answer")
			}
			return right(a[0])
		}
	}
	for _, k := range s.config.HostKeys {
		c.AddHostKey(k)
	}
	return c
}

func raise(peak *atomic.Int64, now int64) {
	for {
		old := peak.Load()
		if now <= old || peak.CompareAndSwap(old, now) {
			return
		}
	}
}

func (s *Server) serve(c net.Conn) {
	raise(&s.Peak, s.shaking.Add(1))
	conn, channels, requests, err := ssh.NewServerConn(c, s.rules())
	s.shaking.Add(-1)
	if err != nil {
		return
	}
	defer conn.Close()
	s.work.Go(func() {
		for r := range requests {
			if r.WantReply {
				_ = r.Reply(false, nil)
			}
		}
	})
	var sessions atomic.Int64
	var mine sync.WaitGroup
	for ch := range channels {
		switch ch.ChannelType() {
		case "session":
			if n := sessions.Add(1); s.config.MaxSessions > 0 && n > int64(s.config.MaxSessions) {
				sessions.Add(-1)
				_ = ch.Reject(ssh.ConnectionFailed, "open failed")
				continue
			}
			channel, reqs, err := ch.Accept()
			if err != nil {
				sessions.Add(-1)
				continue
			}
			raise(&s.Sessions, s.open.Add(1))
			mine.Go(func() {
				s.session(channel, reqs)
				s.open.Add(-1)
				sessions.Add(-1)
			})
		case "direct-tcpip":
			mine.Go(func() { forward(ch) })
		default:
			_ = ch.Reject(ssh.UnknownChannelType, "no")
		}
	}
	mine.Wait()
}

func forward(ch ssh.NewChannel) {
	var to struct {
		Host string
		Port uint32
		From string
		At   uint32
	}
	if err := ssh.Unmarshal(ch.ExtraData(), &to); err != nil {
		_ = ch.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	c, err := net.Dial("tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
	if err != nil {
		_ = ch.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	channel, reqs, err := ch.Accept()
	if err != nil {
		_ = c.Close()
		return
	}
	go ssh.DiscardRequests(reqs)
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(c, channel); _ = c.Close() })
	both.Go(func() { _, _ = io.Copy(channel, c); _ = channel.Close() })
	both.Wait()
}

// session runs what one session asks for.
func (s *Server) session(ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer ch.Close()
	var cmd *exec.Cmd
	env := os.Environ()
	var done chan struct{}
	for {
		select {
		case <-done:
			return
		case r, ok := <-reqs:
			if !ok {
				if done != nil {
					<-done // as sshd does, let it run on
				}
				return
			}
			yes := false
			switch r.Type {
			case "pty-req":
				yes, env = true, append(env, "TTY=yes")
			case "subsystem":
				yes = !s.config.NoSftp && done == nil
				if yes {
					_ = r.Reply(true, nil)
					done = make(chan struct{})
					s.work.Go(func() {
						defer close(done)
						_, _ = io.WriteString(ch, s.config.Greeting)
						if server, err := sftp.NewServer(ch); err == nil {
							_ = server.Serve()
						}
					})
					continue
				}
			case "exec":
				var p struct{ Line string }
				if ssh.Unmarshal(r.Payload, &p) == nil && done == nil {
					_ = r.Reply(true, nil)
					done = make(chan struct{})
					cmd = s.command(p.Line, env)
					s.execute(ch, cmd, done)
					continue
				}
			case "signal":
				var p struct{ Name string }
				if ssh.Unmarshal(r.Payload, &p) == nil && cmd != nil && cmd.Process != nil {
					n := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}[p.Name]
					_ = syscall.Kill(-cmd.Process.Pid, n)
					yes = true
				}
			}
			if r.WantReply {
				_ = r.Reply(yes, nil)
			}
		}
	}
}

func (s *Server) command(line string, env []string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Dir, _ = os.UserHomeDir()
	cmd.Env = env
	if s.config.Path != "" {
		path := s.config.Path
		if !s.config.OnlyPath {
			path += ":" + os.Getenv("PATH")
		}
		cmd.Env = append(cmd.Env, "PATH="+path)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

func (s *Server) execute(ch ssh.Channel, cmd *exec.Cmd, done chan struct{}) {
	stdin, err := cmd.StdinPipe()
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	if slices.Contains(cmd.Env, "TTY=yes") {
		cmd.Stderr = cmd.Stdout // a terminal has one output
	}
	_, _ = io.WriteString(ch, s.config.Greeting)
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		_, _ = io.WriteString(ch.Stderr(), err.Error())
		close(done)
		return
	}
	s.work.Go(func() {
		_, _ = io.Copy(stdin, ch)
		_ = stdin.Close()
	})
	s.work.Go(func() {
		defer close(done)
		_ = cmd.Wait()
		st, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if st.Signaled() {
			name := strings.TrimPrefix(map[syscall.Signal]string{syscall.SIGTERM: "TERM", syscall.SIGKILL: "KILL"}[st.Signal()], "SIG")
			_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
				Name string
				Core bool
				Msg  string
				Lang string
			}{Name: name}))
		} else {
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ N uint32 }{uint32(st.ExitStatus())}))
		}
	})
}
