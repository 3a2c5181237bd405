// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/pegasus-ops/pegasus-ops/ops/host/link"
	"github.com/pegasus-ops/pegasus-ops/ops/host/link/linktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dialer has no agent, no settings and no home unless a test gives it some.
func dialer(t *testing.T, o link.Options) *link.Dialer {
	t.Helper()
	if o.Home == "" {
		o.Home = t.TempDir()
	}
	if o.Settings == nil {
		o.Settings = []string{filepath.Join(o.Home, ".ssh", "config")}
	}
	if o.Agent == "" {
		o.Agent = filepath.Join(o.Home, "no-agent")
	}
	d := link.NewDialer(o)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func target(t *testing.T, s *linktest.Server, known string) link.Target {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Addr)
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	target := link.Target{Name: "node1", Address: host, Port: n, User: "me", KnownHosts: []string{known}}
	if s.KeyFile != "" {
		target.Identities = []string{s.KeyFile}
	}
	return target
}

func connect(t *testing.T, d *link.Dialer, to link.Target) *link.Conn {
	t.Helper()
	c, err := d.Dial(context.Background(), to)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func dial(t *testing.T, c linktest.Config, o link.Options) (*linktest.Server, *link.Conn) {
	t.Helper()
	s := linktest.Serve(t, c)
	return s, connect(t, dialer(t, o), target(t, s, linktest.KnownHosts(t, s)))
}

func run(t *testing.T, c *link.Conn, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	exit, err := c.Run(context.Background(), link.Command{Args: args, Stdout: &out, Stderr: &errs})
	require.NoError(t, err)
	require.Zero(t, exit.Status, "%s", errs.String())
	return out.String()
}

func TestRun(t *testing.T) {
	_, c := dial(t, linktest.Config{Greeting: "Welcome!\nunterminated"}, link.Options{})
	ctx := context.Background()
	require.Equal(t, "a b|$HOME|'|\n", run(t, c, "printf", "%s|%s|%s|\\n", "a b", "$HOME", "'"))
	require.Equal(t, "", run(t, c, "cat"), "no input")

	var out, errs bytes.Buffer
	exit, err := c.Run(ctx, link.Command{Args: []string{"sh", "-c", `pwd; echo "$A"; echo x >&2; cat; exit 7`}, Dir: "/usr", Env: []string{"A=1 '2"}, Stdin: strings.NewReader("in\n"), Stdout: &out, Stderr: &errs})
	require.NoError(t, err)
	require.Equal(t, 7, exit.Status)
	require.Equal(t, "/usr\n1 '2\nin\n", out.String())
	require.Equal(t, "x\n", errs.String())

	exit, err = c.Run(ctx, link.Command{Args: []string{"true"}, Dir: "/does/not/exist"})
	require.NoError(t, err)
	require.Equal(t, 126, exit.Status)
	exit, err = c.Run(ctx, link.Command{Args: []string{"no-such-program"}})
	require.NoError(t, err)
	require.Equal(t, 127, exit.Status)
	exit, err = c.Run(ctx, link.Command{Args: []string{"sh", "-c", "kill -9 $$"}})
	require.NoError(t, err)
	require.Equal(t, 137, exit.Status)
	_, err = c.Run(ctx, link.Command{})
	require.Error(t, err)
	_, err = c.Run(ctx, link.Command{Args: []string{"true"}, Env: []string{"a b=c"}})
	require.ErrorContains(t, err, "NAME=value")
}

// pidIn waits for a process that writes its number into a file.
func pidIn(t *testing.T, file string) int {
	t.Helper()
	var pid int
	require.Eventually(t, func() bool {
		b, _ := os.ReadFile(file)
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		pid = n
		return err == nil && strings.HasSuffix(string(b), "\n")
	}, 10*time.Second, 5*time.Millisecond)
	return pid
}

func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

// cancelReaches checks that a program ends with the context of its caller, and
// with the connection.
func cancelReaches(t *testing.T, c *link.Conn) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pid")
	script := []string{"sh", "-c", `echo $$ > "$1.tmp"; mv "$1.tmp" "$1"; sleep 100; sleep 100`, "sh", file}
	for _, stdin := range []bool{false, true} {
		_ = os.Remove(file)
		ctx, cancel := context.WithCancel(context.Background())
		cmd := link.Command{Args: script}
		if stdin {
			cmd.Stdin = strings.NewReader("x")
		}
		done := make(chan error, 1)
		go func() {
			_, err := c.Run(ctx, cmd)
			done <- err
		}()
		pid := pidIn(t, file)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Eventually(t, func() bool { return gone(pid) }, 5*time.Second, 5*time.Millisecond, "stdin %v", stdin)
	}
	require.NoError(t, c.Err(), "the connection goes on")

	_ = os.Remove(file)
	done := make(chan error, 1)
	go func() {
		_, err := c.Run(context.Background(), link.Command{Args: script})
		done <- err
	}()
	pid := pidIn(t, file)
	require.NoError(t, c.Close())
	var lost *link.LostError
	require.ErrorAs(t, <-done, &lost)
	require.Eventually(t, func() bool { return gone(pid) }, 10*time.Second, 10*time.Millisecond, "a crash of ours ends it too")
}

func TestCancelReachesTheProgram(t *testing.T) {
	_, c := dial(t, linktest.Config{}, link.Options{})
	cancelReaches(t, c)
}

func TestStubbornProgramIsKilled(t *testing.T) {
	_, c := dial(t, linktest.Config{}, link.Options{})
	file := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, link.Command{Args: []string{"sh", "-c", `trap '' TERM; echo $$ > "$1"; while :; do sleep 1; done`, "sh", file}})
		done <- err
	}()
	pid := pidIn(t, file)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Eventually(t, func() bool { return gone(pid) }, 5*time.Second, 20*time.Millisecond)
}

func TestSessionsAreLimited(t *testing.T) {
	s, c := dial(t, linktest.Config{}, link.Options{})
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			_, err := c.Run(context.Background(), link.Command{Args: []string{"true"}})
			require.NoError(t, err)
		})
	}
	wg.Wait()
	require.LessOrEqual(t, s.Sessions.Load(), int64(link.MaxSessions+2), "sessions that end count on the other side for a moment")
	require.EqualValues(t, 1, s.Dials.Load())
}

// A server that allows fewer sessions than we would open serves all commands in
// turn, and the long one among them is not disturbed.
func TestRefusedSessionsWaitTheirTurn(t *testing.T) {
	s, c := dial(t, linktest.Config{MaxSessions: 2}, link.Options{})
	long := make(chan string, 1)
	ctx := context.Background()
	go func() {
		var out bytes.Buffer
		_, err := c.Run(ctx, link.Command{Args: []string{"sh", "-c", "sleep 0.4; echo done"}, Stdout: &out})
		long <- fmt.Sprint(out.String(), err)
	}()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := c.Run(ctx, link.Command{Args: []string{"true"}})
			require.NoError(t, err)
		})
	}
	wg.Wait()
	require.Equal(t, "done\n<nil>", <-long)
	require.EqualValues(t, 1, s.Dials.Load(), "nobody dialled again")
}

func TestDroppedConnectionsAreDialledAgain(t *testing.T) {
	s, c := dial(t, linktest.Config{DropFirst: 2}, link.Options{})
	require.Equal(t, "x\n", run(t, c, "echo", "x"))
	require.EqualValues(t, 3, s.Dials.Load())
}

func TestDeadPeerIsNoticed(t *testing.T) {
	s, c := dial(t, linktest.Config{}, link.Options{Keepalive: 20 * time.Millisecond, Silence: 100 * time.Millisecond})
	_, err := link.Files(context.Background(), c, func(f *sftp.Client) (string, error) { return f.Getwd() })
	require.NoError(t, err)
	failed := make(chan error, 2)
	go func() {
		_, err := c.Run(context.Background(), link.Command{Args: []string{"sleep", "30"}})
		failed <- err
	}()
	s.Freeze(true)
	go func() {
		_, err := link.Files(context.Background(), c, func(f *sftp.Client) (string, error) { return f.Getwd() })
		failed <- err
	}()
	for range 2 {
		select {
		case err := <-failed:
			var lost *link.LostError
			require.ErrorAs(t, err, &lost)
			require.ErrorContains(t, err, "silent")
		case <-time.After(5 * time.Second):
			t.Fatal("a call to a dead host hangs")
		}
	}
	_, err = c.Run(context.Background(), link.Command{Args: []string{"true"}})
	require.ErrorContains(t, err, "lost")
}

func TestFrozenServerDuringHandshake(t *testing.T) {
	s := linktest.Serve(t, linktest.Config{})
	s.Freeze(true)
	d := dialer(t, link.Options{Handshake: 100 * time.Millisecond})
	began := time.Now()
	_, err := d.Dial(context.Background(), target(t, s, linktest.KnownHosts(t, s)))
	require.ErrorContains(t, err, "does not answer")
	require.Less(t, time.Since(began), 5*time.Second)
	var unreachable *link.UnreachableError
	require.ErrorAs(t, err, &unreachable)
}

func TestBrokenConnection(t *testing.T) {
	s, c := dial(t, linktest.Config{}, link.Options{})
	done := make(chan error, 1)
	go func() {
		_, err := c.Run(context.Background(), link.Command{Args: []string{"sleep", "30"}})
		done <- err
	}()
	require.Equal(t, "", run(t, c, "true"))
	s.Cut()
	var lost *link.LostError
	require.ErrorAs(t, <-done, &lost)
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	_ = l.Close()
	d := dialer(t, link.Options{})
	_, err = d.Dial(context.Background(), link.Target{Address: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, User: "me"})
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.ErrorContains(t, err, "does sshd run there")
}

func TestFiles(t *testing.T) {
	_, c := dial(t, linktest.Config{}, link.Options{})
	ctx := context.Background()
	wd, err := link.Files(ctx, c, func(f *sftp.Client) (string, error) { return f.Getwd() })
	require.NoError(t, err)
	require.NotEmpty(t, wd)
	_, err = link.Files(ctx, c, func(f *sftp.Client) (os.FileInfo, error) { return f.Lstat("/does/not/exist") })
	require.ErrorIs(t, err, os.ErrNotExist)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = link.Files(cancelled, c, func(f *sftp.Client) (string, error) { return f.Getwd() })
	require.ErrorIs(t, err, context.Canceled)

	_, c = dial(t, linktest.Config{NoSftp: true}, link.Options{})
	_, err = link.Files(ctx, c, func(f *sftp.Client) (string, error) { return f.Getwd() })
	require.ErrorContains(t, err, "Subsystem sftp")
	require.Equal(t, "x\n", run(t, c, "echo", "x"), "the connection goes on")

	_, c = dial(t, linktest.Config{Greeting: "Welcome to this host\n"}, link.Options{})
	_, err = link.Files(ctx, c, func(f *sftp.Client) (string, error) { return f.Getwd() })
	require.ErrorContains(t, err, "Welcome")
}

func TestHostKeys(t *testing.T) {
	s := linktest.Serve(t, linktest.Config{})
	other := linktest.Serve(t, linktest.Config{})
	name := knownhosts.Normalize(s.Addr)
	line := knownhosts.Line([]string{name}, s.HostKey)
	wrong := knownhosts.Line([]string{name}, other.HostKey)
	hashed := knownhosts.Line([]string{knownhosts.HashHostname(name)}, s.HostKey)
	for what, c := range map[string]struct {
		file   string
		accept bool
		want   string // part of the error
		added  bool
	}{
		"known":                       {file: "# comment\n" + line + "\n"},
		"known, hashed":               {file: hashed + "\n"},
		"two keys, the second right":  {file: wrong + "\n" + line + "\n"},
		"unknown, strict":             {file: "", want: "is not known"},
		"unknown, accepted":           {file: "other ssh-ed25519 " + strings.Fields(wrong)[2], accept: true, added: true},
		"changed, strict":             {file: "# one\n" + wrong + "\n", want: "known_hosts:2 says"},
		"changed, accept-new":         {file: wrong + "\n", accept: true, want: "HAS CHANGED"},
		"changed, hashed, accept-new": {file: knownhosts.Line([]string{knownhosts.HashHostname(name)}, other.HostKey) + "\n", accept: true, want: "HAS CHANGED"},
		"revoked":                     {file: line + "\n@revoked * " + strings.Join(strings.Fields(line)[1:], " ") + "\n", accept: true, want: "revoked by"},
		"damaged file":                {file: "rubbish\n", want: "mend or remove"},
	} {
		t.Run(what, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), ".ssh", "known_hosts")
			require.NoError(t, os.Mkdir(filepath.Dir(file), 0o700))
			require.NoError(t, os.WriteFile(file, []byte(c.file), 0o600))
			to := target(t, s, file)
			to.AcceptNew = c.accept
			conn, err := dialer(t, link.Options{}).Dial(context.Background(), to)
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				if strings.Contains(c.want, "known_hosts:2") {
					require.ErrorContains(t, err, ssh.FingerprintSHA256(s.HostKey))
					require.ErrorContains(t, err, ssh.FingerprintSHA256(other.HostKey))
					require.ErrorContains(t, err, "ssh-keygen -f")
				}
			} else {
				require.NoError(t, err)
				require.NoError(t, conn.Close())
			}
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			if !c.added {
				require.Equal(t, c.file, string(text))
				return
			}
			require.Equal(t, c.file+"\n"+line+"\n", string(text), "on a line of its own")
			to.AcceptNew = false
			conn, err = dialer(t, link.Options{}).Dial(context.Background(), to)
			require.NoError(t, err)
			require.NoError(t, conn.Close())
		})
	}
}

// A server with several keys is asked for the kind that is on record.
func TestHostKeyAlgorithmsFollowKnownHosts(t *testing.T) {
	keys := hostKeys(t)
	s := linktest.Serve(t, linktest.Config{HostKeys: keys})
	for _, k := range keys {
		file := filepath.Join(t.TempDir(), "known_hosts")
		require.NoError(t, os.WriteFile(file, []byte(knownhosts.Line([]string{knownhosts.Normalize(s.Addr)}, k.PublicKey())+"\n"), 0o600))
		connect(t, dialer(t, link.Options{}), target(t, s, file))
	}
	only := linktest.Serve(t, linktest.Config{HostKeys: keys[:1]})
	file := filepath.Join(t.TempDir(), "known_hosts")
	require.NoError(t, os.WriteFile(file, []byte(knownhosts.Line([]string{knownhosts.Normalize(only.Addr)}, keys[1].PublicKey())+"\n"), 0o600))
	_, err := dialer(t, link.Options{}).Dial(context.Background(), target(t, only, file))
	require.ErrorContains(t, err, "of another kind")
}

func TestHostCertificates(t *testing.T) {
	ca, rogue := linktest.Signer(t), linktest.Signer(t)
	for what, by := range map[string]ssh.Signer{"": ca, "authorit": rogue} {
		key := hostKeys(t)[1] // ecdsa, signed by an ed25519 authority
		cert := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.1"}, ValidBefore: ssh.CertTimeInfinity}
		require.NoError(t, cert.SignCert(randReader{}, by))
		signer, err := ssh.NewCertSigner(cert, key)
		require.NoError(t, err)
		s := linktest.Serve(t, linktest.Config{HostKeys: []ssh.Signer{signer}})
		file := filepath.Join(t.TempDir(), "known_hosts")
		pattern := "*"
		require.NoError(t, os.WriteFile(file, []byte("@cert-authority "+pattern+" "+string(ssh.MarshalAuthorizedKey(ca.PublicKey()))), 0o600))
		c, err := dialer(t, link.Options{}).Dial(context.Background(), target(t, s, file))
		if what != "" {
			require.ErrorContains(t, err, what)
			continue
		}
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
}

// Many runs that meet a new host at once leave one line each, none torn.
func TestAcceptNewConcurrently(t *testing.T) {
	var servers []*linktest.Server
	key := linktest.Signer(t)
	for range 5 {
		servers = append(servers, linktest.Serve(t, linktest.Config{Key: key}))
	}
	id := filepath.Join(t.TempDir(), "id")
	signer := linktest.WriteKey(t, id, "")
	for n := range servers {
		servers[n] = linktest.Serve(t, linktest.Config{Key: signer})
	}
	file := filepath.Join(t.TempDir(), "new", "known_hosts")
	var wg sync.WaitGroup
	for range 3 { // as if three operators worked at once
		d := dialer(t, link.Options{})
		for _, s := range servers {
			wg.Go(func() {
				to := target(t, s, file)
				to.AcceptNew, to.Identities = true, []string{id}
				c, err := d.Dial(context.Background(), to)
				require.NoError(t, err)
				require.NoError(t, c.Close())
			})
		}
	}
	wg.Wait()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Len(t, strings.Split(strings.TrimSpace(string(text)), "\n"), len(servers))
	st, err := os.Stat(file)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, st.Mode().Perm())
}

func TestAuthentication(t *testing.T) {
	dir := t.TempDir()
	plain, locked := filepath.Join(dir, "plain"), filepath.Join(dir, "locked")
	plainKey, lockedKey := linktest.WriteKey(t, plain, ""), linktest.WriteKey(t, locked, "sesame")
	_ = plainKey
	secret := func(s string) func() (string, error) { return func() (string, error) { return s, nil } }
	for what, c := range map[string]struct {
		server     linktest.Config
		identities []string
		password   func() (string, error)
		phrases    []string // given one after the other
		want       string
	}{
		"identity file":              {server: linktest.Config{Key: plainKey}, identities: []string{plain}},
		"passphrase":                 {server: linktest.Config{Key: lockedKey}, identities: []string{locked}, phrases: []string{"sesame"}},
		"passphrase, second try":     {server: linktest.Config{Key: lockedKey}, identities: []string{locked}, phrases: []string{"simsala", "sesame"}},
		"passphrase never right":     {server: linktest.Config{Key: lockedKey}, identities: []string{locked}, phrases: []string{"1", "2", "3"}, want: "locked"},
		"no terminal for it":         {server: linktest.Config{Key: lockedKey}, identities: []string{locked}, want: "ssh-add"},
		"locked key is not wanted":   {server: linktest.Config{Key: plainKey}, identities: []string{locked, plain}},
		"wrong key":                  {server: linktest.Config{Key: lockedKey}, identities: []string{plain}, want: "authorized_keys"},
		"no such identity file":      {identities: []string{filepath.Join(dir, "none")}, want: "does not exist"},
		"password":                   {server: linktest.Config{Key: lockedKey, Password: "pw"}, identities: []string{plain}, password: secret("pw")},
		"keyboard-interactive":       {server: linktest.Config{Key: lockedKey, Password: "pw", Interactive: true}, password: secret("pw")},
		"wrong password":             {server: linktest.Config{Key: lockedKey, Password: "pw"}, password: secret("no"), want: "Check user and password"},
		"wrong keyboard-interactive": {server: linktest.Config{Key: lockedKey, Password: "pw", Interactive: true}, password: secret("no"), want: "does not let us in"},
		"nothing at all":             {server: linktest.Config{Key: lockedKey}, want: "no agent and no identity file"},
	} {
		t.Run(what, func(t *testing.T) {
			s := linktest.Serve(t, c.server)
			asked := 0
			o := link.Options{Password: c.password}
			if c.phrases != nil {
				o.Ask = func(prompt string) (string, error) {
					require.Contains(t, prompt, locked)
					asked++
					return c.phrases[asked-1], nil
				}
			}
			to := target(t, s, linktest.KnownHosts(t, s))
			to.Identities = c.identities
			conn, err := dialer(t, o).Dial(context.Background(), to)
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				var auth *link.AuthError
				require.ErrorAs(t, err, &auth)
				return
			}
			require.NoError(t, err)
			require.NoError(t, conn.Close())
			require.Len(t, c.phrases, asked)
		})
	}
}

// The passphrase of a key is asked for once, however many hosts want it, and the
// time for a handshake does not run meanwhile.
func TestPassphraseIsAskedOnce(t *testing.T) {
	id := filepath.Join(t.TempDir(), "id")
	key := linktest.WriteKey(t, id, "sesame")
	asked := 0
	d := dialer(t, link.Options{Handshake: 300 * time.Millisecond, Ask: func(string) (string, error) {
		asked++
		<-time.After(400 * time.Millisecond)
		return "sesame", nil
	}})
	var wg sync.WaitGroup
	for range 4 {
		s := linktest.Serve(t, linktest.Config{Key: key})
		wg.Go(func() {
			to := target(t, s, linktest.KnownHosts(t, s))
			to.Identities = []string{id}
			c, err := d.Dial(context.Background(), to)
			require.NoError(t, err)
			require.NoError(t, c.Close())
		})
	}
	wg.Wait()
	require.Equal(t, 1, asked)
}

func TestAgent(t *testing.T) {
	ring := agent.NewKeyring()
	key := hostKeys(t)
	raw := rawKey(t)
	require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: raw, Comment: "laptop"}))
	signer, err := ssh.NewSignerFromKey(raw)
	require.NoError(t, err)
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { _ = agent.ServeAgent(ring, c); _ = c.Close() })
		}
	})
	d := link.NewDialer(link.Options{Home: t.TempDir(), Settings: []string{}, Agent: socket})
	t.Cleanup(func() {
		_ = l.Close()
		_ = d.Close()
		wg.Wait()
	})
	s := linktest.Serve(t, linktest.Config{Key: signer})
	to := target(t, s, linktest.KnownHosts(t, s))
	to.Identities = nil
	connect(t, d, to)
	// A public key names the agent's key; with a file named, others stay unused.
	pub := filepath.Join(t.TempDir(), "laptop.pub")
	require.NoError(t, os.WriteFile(pub, ssh.MarshalAuthorizedKey(signer.PublicKey()), 0o600))
	to.Identities = []string{pub}
	connect(t, d, to)
	unrelated := filepath.Join(t.TempDir(), "unrelated")
	linktest.WriteKey(t, unrelated, "")
	to.Identities = []string{unrelated}
	_, err = d.Dial(context.Background(), to)
	require.ErrorContains(t, err, "does not let us in")
	_ = key
}

func TestJumpHosts(t *testing.T) {
	id := filepath.Join(t.TempDir(), "id")
	key := linktest.WriteKey(t, id, "")
	outer, inner := linktest.Serve(t, linktest.Config{Key: key}), linktest.Serve(t, linktest.Config{Key: key})
	known := []*linktest.Server{outer, inner}
	var hosts []*linktest.Server
	for range 20 {
		s := linktest.Serve(t, linktest.Config{Key: key})
		hosts, known = append(hosts, s), append(known, s)
	}
	file := linktest.KnownHosts(t, known...)
	d := dialer(t, link.Options{BehindJump: 4})
	jumps, err := link.ParseJumps("me@" + outer.Addr + ",me@" + inner.Addr)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for _, s := range hosts {
		wg.Go(func() {
			to := target(t, s, file)
			to.Identities, to.Jumps = []string{id}, jumps
			c, err := d.Dial(context.Background(), to)
			require.NoError(t, err)
			require.Equal(t, "x\n", run(t, c, "echo", "x"))
			require.NoError(t, c.Close())
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, outer.Dials.Load(), "one connection to a jump host for all")
	require.EqualValues(t, 1, inner.Dials.Load())

	// A jump host whose key changed lets nobody through.
	to := target(t, hosts[0], linktest.KnownHosts(t, hosts[0], outer))
	to.Identities, to.Jumps = []string{id}, jumps
	_, err = d.Dial(context.Background(), to)
	require.ErrorContains(t, err, "jump host")
	require.ErrorContains(t, err, "is not known")
}

func TestParseJumps(t *testing.T) {
	jumps, err := link.ParseJumps("ops@bastion:2222, inner,ssh://x@10.0.0.1")
	require.NoError(t, err)
	require.Equal(t, []link.Jump{{User: "ops", Address: "bastion", Port: 2222}, {Address: "inner"}, {User: "x", Address: "10.0.0.1"}}, jumps)
	for _, bad := range []string{"", "a,", "a:b", "a:99999", "@"} {
		_, err := link.ParseJumps(bad)
		require.Error(t, err, bad)
	}
}

func TestSettings(t *testing.T) {
	home := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(home, ".ssh"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, ".ssh", "config"), []byte(`
Match exec "rm -rf /"
    User nobody
Host node1
    HostName 10.1.2.3
    User work
    Port 2200
    IdentityFile ~/.ssh/special
    IdentityFile %d/%h.key
    UserKnownHostsFile ~/.ssh/fleet /dev/null
    ProxyJump ops@bastion:2022,inner
    IdentitiesOnly yes
    HashKnownHosts yes
Host bastion
    User gate
Host loop
    ProxyJump loop
Host command
    ProxyCommand nc %h %p
Host *
    User everybody
    GlobalKnownHostsFile none
`), 0o600))
	d := dialer(t, link.Options{Home: home})
	got, err := d.Resolve(link.Target{Address: "node1"})
	require.NoError(t, err)
	require.Equal(t, "10.1.2.3", got.Host)
	require.Equal(t, "work", got.User)
	require.Equal(t, 2200, got.Port)
	require.Equal(t, []string{filepath.Join(home, ".ssh/special"), filepath.Join(home, "10.1.2.3.key")}, got.Identities)
	require.Equal(t, []string{filepath.Join(home, ".ssh/fleet"), "/dev/null"}, got.KnownHosts)
	require.Equal(t, []link.Jump{{User: "ops", Address: "bastion", Port: 2022}, {Address: "inner"}}, got.Jumps)
	require.True(t, got.Only)
	require.True(t, got.HashNames)

	got, err = d.Resolve(link.Target{Address: "node1", User: "root", Port: 22, Identities: []string{"/k"}, KnownHosts: []string{"/h"}, Jumps: []link.Jump{{Address: "b"}}})
	require.NoError(t, err)
	require.Equal(t, "root", got.User, "what the inventory says binds")
	require.Equal(t, 22, got.Port)
	require.Equal(t, []string{"/k"}, got.Identities)
	require.Equal(t, []string{"/h"}, got.KnownHosts)
	require.Equal(t, []link.Jump{{Address: "b"}}, got.Jumps)

	got, err = d.Resolve(link.Target{Address: "10.9.9.9"})
	require.NoError(t, err)
	require.Equal(t, "everybody", got.User)
	require.Equal(t, 22, got.Port)
	require.Equal(t, []string{filepath.Join(home, ".ssh/known_hosts"), filepath.Join(home, ".ssh/known_hosts2")}, got.KnownHosts)
	_, err = d.Resolve(link.Target{Address: "command"})
	require.ErrorContains(t, err, "ProxyCommand")
	_, err = d.Dial(context.Background(), link.Target{Address: "loop"})
	require.ErrorContains(t, err, "over itself")
}

// fakeSudo is a sudo that asks for a password, as far as callers can tell.
const fakeSudo = `#!/bin/sh
[ -z "$SUDO_NEEDS_TTY" ] || [ -n "$TTY" ] || { echo "sudo: sorry, you must have a tty to run sudo" >&2; exit 1; }
nopass=$SUDO_NOPASSWD prompt= n=
while [ $# -gt 0 ]; do case $1 in -n) n=1;; -k) ;; -S) s=1;; -p) prompt=$2; shift;; --) shift; break;; *) break;; esac; shift; done
if [ -z "$nopass" ]; then
  [ -z "$n" ] || { echo "sudo: a password is required" >&2; exit 1; }
  t=0
  while [ $t -lt 3 ]; do
    printf '%s' "$prompt" >&2; read -r p
    [ "$p" = sesame ] && break
    echo "Sorry, try again." >&2; t=$((t+1))
  done
  [ "$p" = sesame ] || exit 1
fi
ROOT=yes exec "$@"
`

func TestSudo(t *testing.T) {
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "sudo"), []byte(fakeSudo), 0o755))
	secret := func(s string) func() (string, error) { return func() (string, error) { return s, nil } }
	for what, c := range map[string]struct {
		env  []string
		pass func() (string, error)
		want string
	}{
		"no password needed":           {env: []string{"SUDO_NOPASSWD=1"}},
		"none needed, one at hand":     {env: []string{"SUDO_NOPASSWD=1"}, pass: secret("sesame")},
		"right password":               {pass: secret("sesame")},
		"wrong password":               {pass: secret("simsala"), want: "refuses the password"},
		"no password":                  {want: "--ask-sudo-pass"},
		"operator gives up":            {pass: func() (string, error) { return "", errors.New("interrupted") }, want: "interrupted"},
		"a terminal and no password":   {env: []string{"SUDO_NOPASSWD=1", "SUDO_NEEDS_TTY=1"}},
		"a terminal and a password":    {env: []string{"SUDO_NEEDS_TTY=1"}, pass: secret("sesame")},
		"a terminal, a wrong password": {env: []string{"SUDO_NEEDS_TTY=1"}, pass: secret("no"), want: "refuses the password"},
	} {
		t.Run(what, func(t *testing.T) {
			for _, e := range c.env {
				k, v, _ := strings.Cut(e, "=")
				t.Setenv(k, v)
			}
			_, conn := dial(t, linktest.Config{Path: bin}, link.Options{SudoPassword: c.pass})
			for range 2 {
				var out bytes.Buffer
				cmd := link.Command{Args: []string{"sh", "-c", `echo "$ROOT $1"; read x; echo "[$x]"`, "sh", "a  b"}, Sudo: true, Stdout: &out}
				_, err := conn.Run(context.Background(), cmd)
				if c.want != "" {
					require.ErrorContains(t, err, c.want)
					var sudo *link.SudoError
					require.ErrorAs(t, err, &sudo)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, "yes a  b\n[]\n", strings.ReplaceAll(out.String(), "\r", ""), "the password is not seen by the command")
			}
			if c.want == "" && len(c.env) < 2 && !strings.Contains(strings.Join(c.env, ""), "TTY") {
				var out bytes.Buffer
				_, err := conn.Run(context.Background(), link.Command{Args: []string{"cat"}, Sudo: true, Stdin: strings.NewReader("input"), Stdout: &out})
				require.NoError(t, err)
				require.Equal(t, "input", out.String())
			}
		})
	}
}

func Test200Hosts(t *testing.T) {
	id := filepath.Join(t.TempDir(), "id")
	key := linktest.WriteKey(t, id, "")
	var servers []*linktest.Server
	for range 200 {
		servers = append(servers, linktest.Serve(t, linktest.Config{Key: key}))
	}
	file := linktest.KnownHosts(t, servers...)
	d := dialer(t, link.Options{AtOnce: 16})
	began := time.Now()
	var wg sync.WaitGroup
	conns := make([]*link.Conn, len(servers))
	for n, s := range servers {
		wg.Go(func() {
			to := target(t, s, file)
			to.Identities = []string{id}
			c, err := d.Dial(context.Background(), to)
			require.NoError(t, err)
			conns[n] = c
			_, err = c.Run(context.Background(), link.Command{Args: []string{"true"}})
			require.NoError(t, err)
		})
	}
	wg.Wait()
	t.Logf("200 hosts connected, one command each: %s", time.Since(began).Round(time.Millisecond))
	for _, c := range conns {
		require.NoError(t, c.Close())
	}
}
