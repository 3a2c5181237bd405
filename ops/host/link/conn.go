// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/semaphore"
)

// MaxSessions is how many sessions are open on one connection at a time. sshd
// allows 10 by default and takes a while to notice that one has ended.
const MaxSessions = 6

// LostError is a connection that ended while it was in use.
type LostError struct {
	Target string
	Err    error
}

func (e *LostError) Error() string {
	return fmt.Sprintf("the connection to %s is lost: %v; when the host is back, run the same command again", e.Target, e.Err)
}
func (e *LostError) Unwrap() error { return e.Err }

// Conn is a connection. Its methods are safe for concurrent use.
type Conn struct {
	target Target
	client *ssh.Client
	raw    *watchedConn
	slots  *semaphore.Weighted
	mark   string // unguessable; tells our output from that of login scripts
	sudo   func() (string, error)
	tty    atomic.Bool // sudo wants a terminal here

	dead  chan struct{} // closed when the connection has ended
	cause error         // why; set before dead is closed
	fail  sync.Once
	work  sync.WaitGroup // everything that waits for the other side

	ended chan struct{} // a session ended; kept at one token
	files filesHolder
}

func newConn(t Target, client *ssh.Client, raw *watchedConn, d *Dialer) *Conn {
	c := &Conn{target: t, client: client, raw: raw, slots: semaphore.NewWeighted(MaxSessions), mark: rand.Text(), sudo: d.sudo,
		dead: make(chan struct{}), ended: make(chan struct{}, 1)}
	c.work.Go(func() { c.lost(client.Wait()) })
	c.work.Go(func() { c.keepAlive(d.options.Keepalive, d.options.Silence) })
	return c
}

// Target is where the connection leads.
func (c *Conn) Target() Target { return c.target }

// ServerVersion is what the other side calls itself: SSH-2.0-OpenSSH_9.2p1.
func (c *Conn) ServerVersion() string { return string(c.client.ServerVersion()) }

func (c *Conn) openSSH() bool { return strings.Contains(c.ServerVersion(), "OpenSSH") }

// Err is why the connection has ended, nil while it lives.
func (c *Conn) Err() error {
	select {
	case <-c.dead:
		return &LostError{c.target.String(), c.cause}
	default:
		return nil
	}
}

var errClosed = errors.New("we closed it")

func (c *Conn) lost(err error) {
	c.fail.Do(func() {
		if err == nil {
			err = errors.New("the other side closed it")
		}
		c.cause = err
		close(c.dead)
	})
	_ = c.client.Close()
	_ = c.raw.Close()
}

// Close ends the connection and waits for everything that used it. Programs
// still running on the other side are ended.
func (c *Conn) Close() error {
	c.lost(errClosed)
	c.work.Wait()
	return nil
}

// keepAlive finds out about a machine that is gone without saying so.
func (c *Conn) keepAlive(every, silence time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	asking := make(chan struct{}, 1) // at most one question at a time
	asked := time.Now()
	for {
		select {
		case <-c.dead:
			return
		case <-tick.C:
		}
		select {
		case asking <- struct{}{}:
			asked = time.Now()
			c.work.Go(func() {
				_, _, _ = c.client.SendRequest("keepalive@openssh.com", true, nil) // even a no is a sign of life
				<-asking
			})
		default:
			// Whatever comes counts: behind a long transfer the answer may be late.
			heard := c.raw.heard()
			if heard.Before(asked) {
				heard = asked
			}
			if quiet := time.Since(heard); quiet >= silence {
				c.lost(fmt.Errorf("it has been silent for %s", quiet.Round(time.Second)))
				return
			}
		}
	}
}

// Ping is the time to the other side and back.
func (c *Conn) Ping(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	_, err := Await(ctx, c, func() (bool, error) {
		ok, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
		return ok, err
	}, nil)
	return time.Since(began), err
}

// Await does what cannot be cancelled, and stops waiting for it when the context
// or the connection ends. do goes on until the other side answers or the
// connection ends; what it brings then goes to late.
func Await[T any](ctx context.Context, c *Conn, do func() (T, error), late func(T)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var none T
	if err := c.over(ctx); err != nil {
		return none, err
	}
	done := make(chan result)
	left := make(chan struct{})
	c.work.Go(func() {
		v, err := do()
		select {
		case done <- result{v, err}:
		case <-left:
			if err == nil && late != nil {
				late(v)
			}
		}
	})
	select {
	case r := <-done:
		if r.err != nil && c.isDead() {
			return r.v, c.Err()
		}
		return r.v, r.err
	case <-ctx.Done():
	case <-c.dead:
	}
	close(left)
	return none, c.over(ctx)
}

// isDead gives the end of the connection a moment to be noticed: an operation
// on it fails first.
func (c *Conn) isDead() bool { return c.Failed() != nil }

// Failed is why an operation on the connection may have failed: Err, after a
// moment for the end to be noticed.
func (c *Conn) Failed() error {
	moment := time.NewTimer(20 * time.Millisecond)
	defer moment.Stop()
	select {
	case <-c.dead:
	case <-moment.C:
	}
	return c.Err()
}

// RefusedSessionError is a machine that opens no session for us.
type RefusedSessionError struct {
	Target string
	Err    error
}

func (e *RefusedSessionError) Error() string {
	return fmt.Sprintf("%s opens no session: %v; look at MaxSessions and PermitTTY in its sshd_config, and at its limit of processes for the user", e.Target, e.Err)
}
func (e *RefusedSessionError) Unwrap() error { return e.Err }

// sessionLimit bounds how long opening a session may take when the context has no
// deadline of its own.
const sessionLimit = 30 * time.Second

// open opens a session within the limit. release must be called when it has
// ended. A refusal is tried again on this connection: sessions that ended count
// on the other side for a while, and its limit may be lower than ours.
func (c *Conn) open(ctx context.Context) (s *ssh.Session, release func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, sessionLimit, fmt.Errorf("%s opened no session within %s", c.target, sessionLimit))
	defer cancel()
	if err := c.slots.Acquire(ctx, 1); err != nil {
		return nil, nil, c.over(ctx)
	}
	release = sync.OnceFunc(func() {
		c.slots.Release(1)
		select {
		case c.ended <- struct{}{}:
		default:
		}
	})
	wait := 10 * time.Millisecond
	for {
		s, err = c.session(ctx)
		var refused *ssh.OpenChannelError
		if !errors.As(err, &refused) {
			break
		}
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			pause.Stop()
			release()
			return nil, nil, &RefusedSessionError{c.target.String(), refused}
		case <-c.dead:
		case <-c.ended:
		case <-pause.C:
		}
		pause.Stop()
		wait = min(2*wait, 500*time.Millisecond)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return s, release, nil
}

// session opens one session; one that comes too late is closed again.
func (c *Conn) session(ctx context.Context) (*ssh.Session, error) {
	return Await(ctx, c, c.client.NewSession, func(s *ssh.Session) { _ = s.Close() })
}

// over is why waiting ended: the connection or the context.
func (c *Conn) over(ctx context.Context) error {
	if err := c.Err(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// dialThrough reaches further from here: this is a jump host.
func (c *Conn) dialThrough(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.client.DialContext(ctx, network, address)
	if err != nil {
		if dead := c.Err(); dead != nil {
			return nil, dead
		}
		return nil, fmt.Errorf("from jump host %s: %w", c.target, err)
	}
	return conn, nil
}

// watchedConn remembers when something was last heard from the other side.
type watchedConn struct {
	net.Conn
	last atomic.Int64
}

func watch(c net.Conn) *watchedConn {
	w := &watchedConn{Conn: c}
	w.last.Store(time.Now().UnixNano())
	return w
}

func (w *watchedConn) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.last.Store(time.Now().UnixNano())
	}
	return n, err
}

func (w *watchedConn) heard() time.Time { return time.Unix(0, w.last.Load()) }

// filesHolder is the file system session all of Files share.
type filesHolder struct {
	mu     sync.Mutex
	client *sftp.Client
}
