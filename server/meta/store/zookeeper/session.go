// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
)

var (
	errClosed  = errors.New("this server has closed the ZooKeeper session")
	errExpired = errors.New("the ZooKeeper session has expired")
)

// troublePause is the pause after a failure that a connected server did not cause by being away.
const troublePause = 100 * time.Millisecond

// A session is one ZooKeeper session: connections come and go, but when it has expired, or was
// given up, it is dead for good.
type session struct {
	conn *zk.Conn
	dial *dialer
	log  *slog.Logger

	events <-chan zk.Event // closed when the library is done
	calls  sync.WaitGroup  // requests under way

	dead   chan struct{} // closed with the end of the session
	mu     sync.Mutex
	cause  error         // of the end
	up     bool          // connected with a session
	change chan struct{} // closed, and replaced, when up changes

	trouble atomic.Pointer[string] // what the library complained of last
}

// openSession begins a session. It returns before there is a connection.
func openSession(o *Options) (*session, error) {
	s := &session{log: o.Log, dead: make(chan struct{}), change: make(chan struct{})}
	s.dial = newDialer(o)
	hosts := &hosts{}
	conn, events, err := zk.Connect(slices.Clone(o.Hosts), o.Timeout,
		zk.WithDialer(s.dial.dial), zk.WithHostProvider(hosts), zk.WithLogger(s), zk.WithEventCallback(s.event))
	if err != nil {
		s.dial.close()
		return nil, err
	}
	s.conn, s.events = conn, events
	return s, nil
}

// Printf takes what the library logs. Its lines come by the second while no server is reached;
// what an operator should know of it is said elsewhere.
func (s *session) Printf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.trouble.Store(&text)
	s.log.Debug("zookeeper client: " + text)
}

// lastTrouble is the reason for being without a connection, as far as it is known.
func (s *session) lastTrouble() string {
	if p := s.trouble.Load(); p != nil {
		return *p
	}
	return "no answer yet"
}

// event is called by the library, which waits for it.
func (s *session) event(e zk.Event) {
	if e.Type != zk.EventSession {
		return
	}
	switch e.State {
	case zk.StateHasSession:
		s.setUp(true)
	case zk.StateDisconnected, zk.StateConnecting:
		s.setUp(false)
	case zk.StateExpired:
		// The library goes on to begin another session, which must not be used: all that
		// was ours is gone with this one.
		s.die(errExpired)
	case zk.StateAuthFailed:
		s.die(zk.ErrAuthFailed)
	}
}

func (s *session) setUp(up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up != up && s.cause == nil {
		s.up = up
		close(s.change)
		s.change = make(chan struct{})
	}
}

// die ends the session for all who use it.
func (s *session) die(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		s.cause, s.up = cause, false
		close(s.dead)
	}
}

func (s *session) isDead() bool {
	select {
	case <-s.dead:
		return true
	default:
		return false
	}
}

// why is the cause of the end.
func (s *session) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// close tells the servers, if one is reached, that the session ends, which deletes its lock node,
// and waits until nothing of it runs any more.
func (s *session) close() {
	s.die(errClosed)
	s.conn.Close()
	s.dial.close()
	for range s.events {
	}
	s.calls.Wait()
}

// timeout is what the servers grant, zero before they have.
func (s *session) timeout() time.Duration { return time.Duration(s.dial.granted.Load()) }

// await waits for a connection.
func (s *session) await(ctx context.Context) error {
	for {
		s.mu.Lock()
		up, cause, change := s.up, s.cause, s.change
		s.mu.Unlock()
		switch {
		case cause != nil:
			return cause
		case up:
			return nil
		}
		select {
		case <-change:
		case <-s.dead:
		case <-ctx.Done():
			return fmt.Errorf("no connection to ZooKeeper (%s): %w", s.lastTrouble(), context.Cause(ctx))
		}
	}
}

// call makes one request. The library knows no contexts: when ctx ends first the request goes on
// without anybody waiting, and its outcome is not known.
func call[T any](ctx context.Context, s *session, ask func(*zk.Conn) (T, error)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	var none T
	if err := s.await(ctx); err != nil {
		return none, err
	}
	done := make(chan answer, 1)
	s.mu.Lock()
	if s.cause != nil { // calls.Wait may have begun
		s.mu.Unlock()
		return none, s.cause
	}
	s.calls.Go(func() {
		v, err := ask(s.conn)
		done <- answer{v, err}
	})
	s.mu.Unlock()
	select {
	case a := <-done:
		return a.v, a.err
	case <-s.dead:
		return none, s.why()
	case <-ctx.Done():
		return none, fmt.Errorf("no answer from ZooKeeper: %w", context.Cause(ctx))
	}
}

// repeat makes a request that can be repeated until a server has answered it.
func repeat[T any](ctx context.Context, s *session, ask func(*zk.Conn) (T, error)) (T, error) {
	for {
		v, err := call(ctx, s, ask)
		if !broken(err) {
			return v, err
		}
		if err := pause(ctx, s, troublePause); err != nil {
			return v, err
		}
	}
}

// broken tells whether a request failed with the connection: it may or may not have had an
// effect. A request that could not be written whole comes with the error of the socket.
func broken(err error) bool {
	var socket net.Error
	if errors.Is(err, context.DeadlineExceeded) {
		return false // not of the socket, although it looks like it
	}
	return errors.As(err, &socket) || errors.Is(err, zk.ErrConnectionClosed) || errors.Is(err, zk.ErrNoServer) ||
		errors.Is(err, zk.ErrClosing) || errors.Is(err, zk.ErrSessionMoved)
}

// pause waits a little, unless the session or ctx ends.
func pause(ctx context.Context, s *session, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-s.dead:
		return s.why()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
