// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/semaphore"
)

// Options are what connections of a run share. Zero values mean the defaults.
type Options struct {
	Home     string   // of the operator; default: the user's
	Settings []string // ssh_config files, first value wins; default ~/.ssh/config and /etc/ssh/ssh_config
	Agent    string   // socket; default $SSH_AUTH_SOCK

	// Ask asks for passphrases on the terminal; nil: there is none.
	Ask Ask
	// Password and SudoPassword are asked for when they are needed, each once for
	// all hosts; nil: passwords are not tried.
	Password     func() (string, error)
	SudoPassword func() (string, error)

	AtOnce     int           // connections being made at a time, default 64
	BehindJump int           // of these through one jump host, default 8: sshd drops more at random
	Handshake  time.Duration // from dialling to being let in, default 20 s
	Keepalive  time.Duration // between two questions whether the other side lives, default 5 s
	Silence    time.Duration // after which it is dead, default SilenceLimit

	// Dial makes TCP connections; default net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// SilenceLimit is how long a machine may not send a byte although it was asked.
const SilenceLimit = 20 * time.Second

// Dialer makes connections. Close it after the last of them.
type Dialer struct {
	options  Options
	settings *settings
	keys     *keys
	global   *semaphore.Weighted
	password func() (string, error)
	sudo     func() (string, error)

	mu    sync.Mutex
	known map[string]*knownHosts // by their files
	jumps map[string]*jump       // by the way there
}

// jump is a connection to a jump host, which several dials share.
type jump struct {
	mu    sync.Mutex // held while it is made
	conn  *Conn
	gate  *semaphore.Weighted
	fault error // why the present attempt failed, kept while others wait for it
	until time.Time
}

// NewDialer makes a dialer. It does not touch the network or any file yet.
func NewDialer(o Options) *Dialer {
	if o.Home == "" {
		o.Home, _ = os.UserHomeDir() // without one ~ stays as it is and names no file
	}
	if o.Settings == nil {
		o.Settings = []string{filepath.Join(o.Home, ".ssh", "config"), "/etc/ssh/ssh_config"}
	}
	if o.Agent == "" {
		o.Agent = os.Getenv("SSH_AUTH_SOCK")
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	setDefault(&o.AtOnce, 64)
	setDefault(&o.BehindJump, 8)
	setDefault(&o.Handshake, 20*time.Second)
	setDefault(&o.Keepalive, 5*time.Second)
	setDefault(&o.Silence, SilenceLimit)
	d := &Dialer{options: o, settings: newSettings(o.Settings), keys: &keys{ask: oneAtATime(o.Ask)},
		global: semaphore.NewWeighted(int64(o.AtOnce)), known: map[string]*knownHosts{}, jumps: map[string]*jump{}}
	if o.Password != nil {
		d.password = sync.OnceValues(o.Password)
	}
	if o.SudoPassword != nil {
		d.sudo = sync.OnceValues(o.SudoPassword)
	}
	return d
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// oneAtATime keeps two questions from standing on the terminal together.
func oneAtATime(ask Ask) Ask {
	if ask == nil {
		return nil
	}
	var mu sync.Mutex
	return func(prompt string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		return ask(prompt)
	}
}

// Close closes the connections to jump hosts and the agent.
func (d *Dialer) Close() error {
	d.mu.Lock()
	jumps := d.jumps
	d.jumps = map[string]*jump{}
	d.mu.Unlock()
	for _, j := range jumps {
		j.mu.Lock()
		if j.conn != nil {
			_ = j.conn.Close()
		}
		j.mu.Unlock()
	}
	d.keys.close()
	return nil
}

// Dial connects to a target: resolved, through its jump hosts, host key checked,
// logged in. What may pass by itself - sshd drops connections when many come at
// once - is tried again until the time for a handshake is over.
func (d *Dialer) Dial(ctx context.Context, t Target) (*Conn, error) {
	t, err := d.Resolve(t)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", t, err)
	}
	return d.dial(ctx, t)
}

func (d *Dialer) dial(ctx context.Context, t Target) (*Conn, error) {
	way := d.options.Dial
	gates := []*semaphore.Weighted{d.global}
	if len(t.Jumps) > 0 {
		j, err := d.jump(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", t, err)
		}
		way = j.conn.dialThrough
		gates = append([]*semaphore.Weighted{j.gate}, gates...)
	}
	for n, g := range gates {
		if err := g.Acquire(ctx, 1); err != nil {
			for _, held := range gates[:n] {
				held.Release(1)
			}
			return nil, fmt.Errorf("connect to %s: %w", t, context.Cause(ctx))
		}
	}
	defer func() {
		for _, g := range gates {
			g.Release(1)
		}
	}()
	const attempts = 5
	wait := 100 * time.Millisecond
	for n := 1; ; n++ {
		c, err := d.attempt(ctx, t, way)
		if err == nil {
			return c, nil
		}
		if n == attempts || ctx.Err() != nil || !passing(err) {
			return nil, err
		}
		// Jitter, so that those who were dropped together do not come back together.
		pause := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
		wait *= 2
	}
}

// jump is the connection to the last jump host before t, made when it is first
// needed and shared.
func (d *Dialer) jump(ctx context.Context, t Target) (*jump, error) {
	last := t.Jumps[len(t.Jumps)-1]
	via := Target{Name: last.Address, Address: last.Address, User: last.User, Port: last.Port,
		Jumps: t.Jumps[:len(t.Jumps)-1], Direct: len(t.Jumps) > 1, AcceptNew: t.AcceptNew, KnownHosts: t.KnownHosts, Identities: t.Identities}
	if !t.Only {
		via.Identities = nil
	}
	via, err := d.Resolve(via)
	if err != nil {
		return nil, err
	}
	if len(via.Jumps) > maxJumps {
		return nil, &ConfigError{fmt.Sprintf("the way to %s goes over more than %d jump hosts; does ProxyJump lead in a circle?", t.Address, maxJumps)}
	}
	for _, j := range via.Jumps {
		if j.Address == last.Address && j.Port == last.Port && j.User == last.User {
			return nil, &ConfigError{fmt.Sprintf("ssh settings: the way to jump host %s leads over itself; write `ProxyJump none` for it", last.Address)}
		}
	}
	// Who trusts other files has to look at its key again.
	key := fmt.Sprint(via.User, "@", via.dial(), " via ", via.Jumps, via.KnownHosts)
	d.mu.Lock()
	j := d.jumps[key]
	if j == nil {
		j = &jump{gate: semaphore.NewWeighted(int64(d.options.BehindJump))}
		d.jumps[key] = j
	}
	d.mu.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.conn != nil && j.conn.Err() == nil {
		return j, nil
	}
	if j.fault != nil && time.Now().Before(j.until) {
		return nil, j.fault // those who waited need not find out one after the other
	}
	if j.conn, err = d.dial(ctx, via); err != nil {
		j.conn, j.fault, j.until = nil, fmt.Errorf("jump host: %w", err), time.Now().Add(d.options.Keepalive)
		return nil, j.fault
	}
	j.fault = nil
	return j, nil
}

// maxJumps is beyond any sane network.
const maxJumps = 8

// UnreachableError is a machine that cannot be connected to.
type UnreachableError struct {
	Target string
	Err    error
}

func (e *UnreachableError) Error() string {
	advice := "is it up, is the address right, does a firewall stand between?"
	if errors.Is(e.Err, syscall.ECONNREFUSED) {
		advice = "does sshd run there, on this port?"
	}
	return fmt.Sprintf("cannot connect to %s: %v; %s", e.Target, e.Err, advice)
}
func (e *UnreachableError) Unwrap() error { return e.Err }

// errNoAnswer is a machine that takes connections and says nothing: it is frozen,
// or overloaded.
var errNoAnswer = errors.New("it accepts the connection and does not answer")

// passing says whether the next attempt may go better.
func passing(err error) bool {
	var auth *AuthError
	var config *ConfigError
	if isHostKey(err) || errors.As(err, &auth) || errors.As(err, &config) || errors.Is(err, errNoAnswer) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.Contains(err.Error(), "connection reset") || strings.Contains(err.Error(), "EOF")
}

func (d *Dialer) attempt(ctx context.Context, t Target, way func(ctx context.Context, network, address string) (net.Conn, error)) (*Conn, error) {
	known := d.hosts(t)
	algorithms, err := known.algorithms(t.known())
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", t, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patron := newPatience(d.options.Handshake, func() { cancel(context.DeadlineExceeded) })
	defer patron.end()

	raw, err := way(ctx, "tcp", t.dial())
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("no answer within %s: %w", d.options.Handshake, err)
			}
		}
		return nil, &UnreachableError{t.String(), err}
	}
	watched := watch(raw)
	// The handshake itself knows no deadline; closing the connection ends it.
	stop := context.AfterFunc(ctx, func() { _ = watched.Close() })
	in := &login{target: t, keys: d.keys, patron: patron, pass: d.password}
	conn, channels, requests, err := ssh.NewClientConn(watched, t.dial(), &ssh.ClientConfig{
		User: t.User, Auth: in.methods(), HostKeyCallback: known.check(t), HostKeyAlgorithms: algorithms, ClientVersion: "SSH-2.0-pegasus-ops",
	})
	if !stop() || err != nil {
		if err == nil {
			_ = conn.Close()
			err = context.Cause(ctx)
		}
		_ = watched.Close()
		return nil, d.explain(ctx, t, in, algorithms, err)
	}
	return newConn(t, ssh.NewClient(conn, channels, requests), watched, d), nil
}

// explain says what a failed handshake means.
func (d *Dialer) explain(ctx context.Context, t Target, in *login, algorithms []string, err error) error {
	var key *HostKeyError
	var config *ConfigError
	switch {
	case errors.As(err, &key):
		return key
	case errors.As(err, &config):
		return config
	case ctx.Err() != nil:
		cause := context.Cause(ctx)
		if errors.Is(cause, context.DeadlineExceeded) {
			cause = fmt.Errorf("%w within %s: %w", errNoAnswer, d.options.Handshake, cause)
		}
		return &UnreachableError{t.String(), cause}
	case strings.Contains(err.Error(), "unable to authenticate"), in.ours():
		return in.refused(err)
	case strings.Contains(err.Error(), "no common algorithm for host key"):
		return &HostKeyError{Target: t.String(), Shown: "of another kind than " + strings.Join(algorithms, ", "),
			advice: fmt.Sprintf("known_hosts (%s) has only keys of these kinds for it; if the host was installed anew, remove its lines there", strings.Join(t.KnownHosts, ", "))}
	}
	return &UnreachableError{t.String(), err}
}

// hosts are the known_hosts files of a target, shared by all who use the same.
func (d *Dialer) hosts(t Target) *knownHosts {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := strings.Join(t.KnownHosts, "\x00")
	k := d.known[id]
	if k == nil {
		k = &knownHosts{files: t.KnownHosts}
		d.known[id] = k
	}
	return k
}
