// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
)

const (
	lockDirName = "dsn.meta.server.leader"
	lockPrefix  = "LOCKNODE"

	// A server that cannot reach ZooKeeper says so after firstReport, then in steps twice as
	// long each, up to lastReport.
	firstReport = 2 * time.Second
	lastReport  = time.Minute

	campaignRetry  = time.Second
	resolveTimeout = 2 * time.Second
)

// A lockNode is one candidate.
type lockNode struct {
	name string
	seq  int64
}

// Campaign implements store.Election: it begins a session, puts its node in the queue and waits
// until that is the first. It tries again for as long as ctx allows, whatever goes wrong.
func (s *Store) Campaign(ctx context.Context) (store.Term, error) {
	s.endTerm()
	for {
		sess, err := s.session(true)
		if err == nil {
			var t *term
			if t, err = s.run(ctx, sess); err == nil {
				return store.Term{Epoch: t.epoch, Lost: t.lost, Holds: t.holds}, nil
			}
		}
		s.setLeader(0)
		if ctx.Err() != nil {
			return store.Term{}, fmt.Errorf("run for leader: %w", context.Cause(ctx))
		}
		if errors.Is(err, errClosed) {
			return store.Term{}, fmt.Errorf("run for leader: %w", err)
		}
		s.log.Warn("running for leader was interrupted, beginning again with a new session", "err", err)
		select {
		case <-ctx.Done():
		case <-s.ctx.Done():
		case <-time.After(campaignRetry):
		}
	}
}

// run takes part in the election with one session.
func (s *Store) run(ctx context.Context, sess *session) (*term, error) {
	if err := s.awaitServers(ctx, sess); err != nil {
		return nil, err
	}
	for _, dir := range []string{s.root, s.lockDir} {
		if err := makePath(ctx, sess, dir); err != nil {
			return nil, err
		}
	}
	value := []byte(s.o.Self.String())
	// If the connection breaks in this moment there may be two nodes; the smaller one is then
	// taken for a remainder of an earlier life and deleted.
	mine, err := repeat(ctx, sess, func(c *zk.Conn) (string, error) {
		return c.Create(s.lockDir+"/"+lockPrefix, value, zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
	})
	if err != nil {
		return nil, fmt.Errorf("create a lock node in %s: %w", s.lockDir, err)
	}
	s.log.Info("running for leader", "lock", mine)
	if err := s.queue(ctx, sess, path.Base(mine)); err != nil {
		return nil, err
	}
	return s.begin(ctx, sess, mine)
}

// awaitServers waits for the first connection and says so from time to time.
func (s *Store) awaitServers(ctx context.Context, sess *session) error {
	start, report := time.Now(), firstReport
	for {
		wctx, cancel := context.WithTimeout(ctx, report)
		err := sess.await(wctx)
		cancel()
		if err == nil || ctx.Err() != nil || sess.isDead() {
			if err == nil {
				s.log.Info("connected to ZooKeeper", "session", fmt.Sprintf("%#x", uint64(sess.conn.SessionID())),
					"server", sess.conn.Server(), "timeout", sess.timeout(), "waited", time.Since(start).Round(time.Millisecond))
			}
			return err
		}
		report = min(2*report, lastReport)
		s.log.Warn("waiting for ZooKeeper; until it answers this meta server can neither lead nor say who does",
			"waited", time.Since(start).Round(time.Second), "err", sess.lastTrouble())
	}
}

// makePath creates what is missing of an absolute path, level by level.
func makePath(ctx context.Context, sess *session, p string) error {
	for at := 0; at < len(p); {
		end := strings.IndexByte(p[at+1:], '/')
		if end < 0 {
			end = len(p)
		} else {
			end += at + 1
		}
		level := p[:end]
		_, err := repeat(ctx, sess, func(c *zk.Conn) (struct{}, error) {
			there, _, err := c.Exists(level)
			if err == nil && !there {
				_, err = c.Create(level, nil, 0, zk.WorldACL(zk.PermAll))
			}
			return struct{}{}, err
		})
		if err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return fmt.Errorf("create %s in ZooKeeper: %w", level, err)
		}
		at = end
	}
	return nil
}

// queue waits until no candidate is before mine.
func (s *Store) queue(ctx context.Context, sess *session, mine string) error {
	watched := ""
	var changed <-chan zk.Event
	for {
		nodes, err := s.candidates(ctx, sess)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(nodes, func(n lockNode) bool { return n.name == mine })
		switch {
		case i < 0:
			return fmt.Errorf("the lock node %s/%s was deleted by somebody", s.lockDir, mine)
		case i == 0:
			return nil
		}
		if deleted, err := s.deleteRemainders(ctx, sess, nodes[:i]); err != nil {
			return err
		} else if deleted {
			continue
		}
		if nodes[0].name != watched || changed == nil {
			if changed, err = s.watchLeader(ctx, sess, nodes[0].name); err != nil {
				return err
			}
			watched = nodes[0].name
			if changed == nil {
				continue // gone already
			}
		}
		select {
		case <-changed:
			changed = nil
		case <-time.After(max(sess.timeout(), campaignRetry)): // should an event ever be lost
		case <-sess.dead:
			return sess.why()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// candidates lists the lock nodes, the leader's first.
func (s *Store) candidates(ctx context.Context, sess *session) ([]lockNode, error) {
	names, err := repeat(ctx, sess, func(c *zk.Conn) ([]string, error) {
		names, _, err := c.Children(s.lockDir)
		return names, err
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", s.lockDir, err)
	}
	var nodes []lockNode
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, lockPrefix)
		seq, err := strconv.ParseInt(digits, 10, 64)
		if ok && err == nil {
			nodes = append(nodes, lockNode{name, seq})
		}
	}
	slices.SortFunc(nodes, func(a, b lockNode) int { return cmp.Compare(a.seq, b.seq) })
	return nodes, nil
}

// deleteRemainders removes nodes before ours that carry our address: this process has one node
// only, so they are of an earlier one, or of a session that was given up.
func (s *Store) deleteRemainders(ctx context.Context, sess *session, before []lockNode) (deleted bool, err error) {
	for _, n := range before {
		p := s.lockDir + "/" + n.name
		data, err := repeat(ctx, sess, func(c *zk.Conn) ([]byte, error) {
			data, _, err := c.Get(p)
			return data, err
		})
		if errors.Is(err, zk.ErrNoNode) {
			return true, nil
		}
		if err != nil {
			return deleted, fmt.Errorf("read %s: %w", p, err)
		}
		if string(data) != s.o.Self.String() {
			continue
		}
		s.log.Info("deleting a lock node that is left from an earlier session of this server", "lock", p)
		_, err = repeat(ctx, sess, func(c *zk.Conn) (struct{}, error) { return struct{}{}, c.Delete(p, -1) })
		if err != nil && !errors.Is(err, zk.ErrNoNode) {
			return deleted, fmt.Errorf("delete %s: %w", p, err)
		}
		deleted = true
	}
	return deleted, nil
}

// watchLeader reads who leads and returns what tells of the end of that, nil if it has ended.
func (s *Store) watchLeader(ctx context.Context, sess *session, name string) (<-chan zk.Event, error) {
	p := s.lockDir + "/" + name
	type watch struct {
		data    []byte
		changed <-chan zk.Event
	}
	w, err := repeat(ctx, sess, func(c *zk.Conn) (watch, error) {
		data, _, changed, err := c.GetW(p)
		return watch{data, changed}, err
	})
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p, err)
	}
	s.setLeader(s.parseLeader(ctx, string(w.data)))
	return w.changed, nil
}

// parseLeader reads the address in a lock node. Other versions may write a host name.
func (s *Store) parseLeader(ctx context.Context, text string) idl.RPCAddress {
	if a, err := idl.ParseAddress(text); err == nil {
		return a
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addrs, err := client.ResolveAll(ctx, []string{text})
	if err != nil || len(addrs) == 0 {
		s.log.Warn("the leader's address in ZooKeeper cannot be understood; clients are not sent to it", "value", text, "err", err)
		return 0
	}
	return addrs[0]
}
