// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
)

// lease is how long a leader may act on a confirmation of its lock, counted from when it asked
// for it. The rest of the session timeout is for servers that are slower to note a sign of life
// (up to half a tick, and then only in memory of one of them) and for clocks of different speed.
func lease(timeout time.Duration) time.Duration { return timeout * 2 / 3 }

// renewPace is the pause between two confirmations.
func renewPace(timeout time.Duration) time.Duration { return timeout / 6 }

// patience is how long a confirmation may take before another server is tried.
func patience(timeout time.Duration) time.Duration { return timeout / 3 }

// A term is the time for which one lock node is the first.
type term struct {
	s     *Store
	sess  *session
	lock  string // full path of the lock node
	epoch int64  // transaction that created it

	until atomic.Int64 // end of the lease, in nanoseconds since s.birth
	lost  chan struct{}

	ctx    context.Context // ends, with the reason, when the term is given up
	cancel context.CancelCauseFunc
}

// errGivenUp is the reason for the end of a term that was not lost.
var errGivenUp = errors.New("this server has given up the leadership")

// begin starts the term of a lock node that has become the first.
func (s *Store) begin(ctx context.Context, sess *session, lock string) (*term, error) {
	t := &term{s: s, sess: sess, lock: lock, lost: make(chan struct{})}
	asked := time.Now()
	// This first confirmation is also what makes the reads to come see everything that was
	// written before it, on whichever server.
	if err := t.check(ctx); err != nil {
		return nil, fmt.Errorf("confirm the lock %s: %w", lock, err)
	}
	stat, err := repeat(ctx, sess, func(c *zk.Conn) (*zk.Stat, error) {
		_, stat, err := c.Get(lock)
		return stat, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the lock %s: %w", lock, err)
	}
	t.epoch = stat.Czxid
	t.extend(asked)
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		t.cancel(errClosed)
		return nil, errClosed
	}
	s.term = t
	s.setLeader(s.o.Self)
	s.wg.Go(t.keep)
	return t, nil
}

// endTerm gives up the present term, if there is one, and waits until that is known to all.
func (s *Store) endTerm() {
	s.mu.Lock()
	t := s.term
	s.term = nil
	s.mu.Unlock()
	if t != nil {
		t.cancel(errGivenUp)
		<-t.lost
	}
}

// current returns the term of an epoch, nil when it is over.
func (s *Store) current(epoch int64) *term {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.term == nil || s.term.epoch != epoch || !s.term.holds() {
		return nil
	}
	return s.term
}

// holds reports whether the lease has not run out.
func (t *term) holds() bool {
	select {
	case <-t.lost:
		return false
	default:
		return t.left() > 0
	}
}

func (t *term) left() time.Duration {
	return time.Duration(t.until.Load()) - time.Since(t.s.birth)
}

func (t *term) extend(asked time.Time) {
	t.until.Store(int64(asked.Add(lease(t.sess.timeout())).Sub(t.s.birth)))
}

// keep confirms the lock until that fails, then ends the term and the session with it.
func (t *term) keep() {
	err := t.renewals()
	t.s.setLeader(0)
	close(t.lost)
	t.cancel(err)
	if errors.Is(err, errGivenUp) {
		t.s.log.Info("giving up the lock", "lock", t.lock, "epoch", t.epoch)
	} else {
		t.s.log.Warn("the lock is lost, stepping down", "lock", t.lock, "epoch", t.epoch, "err", err)
	}
	t.sess.close() // takes the lock node away, if it is still there and a server is reached
}

func (t *term) renewals() error {
	for {
		select {
		case <-t.ctx.Done():
			return context.Cause(t.ctx)
		case <-t.sess.dead:
			return t.sess.why()
		case <-time.After(renewPace(t.sess.timeout())):
		}
		if err := t.renew(); err != nil {
			return err
		}
	}
}

// renew extends the lease. A lease that has run out is not renewed: others may have noticed.
func (t *term) renew() error {
	for try := 0; ; try++ {
		left := t.left()
		if left <= 0 {
			return fmt.Errorf("ZooKeeper has not confirmed the lock in time (%s)", t.sess.lastTrouble())
		}
		limit := left
		if try == 0 {
			limit = min(left, patience(t.sess.timeout()))
		}
		ctx, cancel := context.WithTimeout(t.ctx, limit)
		asked := time.Now()
		err := t.check(ctx)
		slow := ctx.Err() != nil
		cancel()
		switch {
		case err == nil && t.left() > 0:
			t.extend(asked)
			return nil
		case t.ctx.Err() != nil:
			return context.Cause(t.ctx)
		case errors.Is(err, zk.ErrNoNode), errors.Is(err, zk.ErrBadVersion), t.sess.isDead():
			return err
		case slow && try == 0:
			t.s.log.Warn("a ZooKeeper server is slow to confirm the lock, trying another", "server", t.sess.conn.Server(), "lease_left", t.left())
			t.sess.dial.kick()
		case err != nil && !slow && !broken(err):
			t.s.log.Warn("ZooKeeper does not confirm the lock", "lock", t.lock, "err", err, "lease_left", t.left())
			fallthrough
		default:
			if err := pause(t.ctx, t.sess, min(troublePause, renewPace(t.sess.timeout()))); err != nil {
				return err
			}
		}
	}
}

// check asks for a transaction that succeeds only while the lock node is there.
func (t *term) check(ctx context.Context) error {
	_, err := call(ctx, t.sess, func(c *zk.Conn) ([]zk.MultiResponse, error) { return c.Multi(t.fence()) })
	return err
}

// fence is the operation that every transaction of the term begins with.
func (t *term) fence() *zk.CheckVersionRequest {
	return &zk.CheckVersionRequest{Path: t.lock, Version: 0}
}
