// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
)

// Options say where the tree is. The names in parentheses are the keys of config.ini.
type Options struct {
	Hosts   []string      // host:port of the ZooKeeper servers ([zookeeper] hosts_list)
	Chroot  string        // put before all paths; empty for none (behind the last of hosts_list)
	Timeout time.Duration // of the session; the servers may grant another one ([zookeeper] timeout_ms)

	Root string // where the tree begins ([meta_server] cluster_root)
	Lock string // where the lock's directory is; empty means / ([meta_server] distributed_lock_service_parameters)

	Self idl.RPCAddress // written into the lock node
	Log  *slog.Logger

	// Dial connects to a ZooKeeper server; nil means TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
}

// A Store is the metadata tree of a cluster in ZooKeeper together with the election of its
// leader. It is safe for concurrent use, but only one goroutine may campaign.
type Store struct {
	o       Options
	log     *slog.Logger
	root    string // of the tree, chroot included; "" for /
	lockDir string
	birth   time.Time

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // sessions being closed, keepers of terms

	mu     sync.Mutex
	sess   *session // nil before the first use
	term   *term    // the newest one, nil while there is none
	leader atomic.Uint64
}

var (
	_ store.Store    = (*Store)(nil)
	_ store.Election = (*Store)(nil)
)

// Open checks the options. The connection is made, and waited for, when it is first needed.
func Open(o Options) (*Store, error) {
	if len(o.Hosts) == 0 {
		return nil, errors.New("no ZooKeeper server is given: name them in [zookeeper] hosts_list, as in 10.0.0.1:2181,10.0.0.2:2181")
	}
	for _, h := range o.Hosts {
		if _, _, err := net.SplitHostPort(h); err != nil {
			return nil, fmt.Errorf("[zookeeper] hosts_list: %q is not HOST:PORT: %w", h, err)
		}
	}
	if o.Timeout <= 0 {
		return nil, fmt.Errorf("[zookeeper] timeout_ms: %v is no session timeout", o.Timeout)
	}
	if o.Lock == "" {
		o.Lock = "/"
	}
	for _, p := range []struct{ key, path string }{
		{"[zookeeper] hosts_list", o.Chroot}, {"[meta_server] cluster_root", o.Root},
		{"[meta_server] distributed_lock_service_parameters", o.Lock},
	} {
		if err := checkPath(p.path); err != nil && p.path != "" {
			return nil, fmt.Errorf("%s: %q %w", p.key, p.path, err)
		}
	}
	if o.Root == "" || o.Self.IsZero() || o.Log == nil {
		return nil, errors.New("the metadata store in ZooKeeper needs a root, an address of its own and a log")
	}
	s := &Store{o: o, birth: time.Now(), root: join(o.Chroot, o.Root), lockDir: join(o.Chroot, o.Lock) + "/" + lockDirName}
	s.log = o.Log.With("zookeeper", strings.Join(o.Hosts, ",")+o.Chroot)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// checkPath accepts what ZooKeeper does, in its clean form.
func checkPath(p string) error {
	switch {
	case !strings.HasPrefix(p, "/"):
		return errors.New("must begin with a slash")
	case path.Clean(p) != p:
		return fmt.Errorf("is not a clean path, write %s", path.Clean(p))
	case strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("has a control character")
	}
	return nil
}

// join puts two absolute paths together; / is nothing.
func join(a, b string) string { return strings.TrimSuffix(a, "/") + strings.TrimSuffix(b, "/") }

// at is the full path of a node of the tree.
func (s *Store) at(p string) string { return s.root + "/" + p }

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, p string) (store.Node, error) {
	n, err := read(ctx, s, func(c *zk.Conn) (store.Node, error) {
		data, stat, err := c.Get(s.at(p))
		if err != nil {
			return store.Node{}, err
		}
		return store.Node{Data: data, Version: int64(stat.Version)}, nil
	})
	if errors.Is(err, zk.ErrNoNode) {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Node{}, fmt.Errorf("read %s in ZooKeeper: %w", s.at(p), err)
	}
	return n, nil
}

// Children implements store.Store.
func (s *Store) Children(ctx context.Context, p string) ([]string, error) {
	names, err := read(ctx, s, func(c *zk.Conn) ([]string, error) {
		names, _, err := c.Children(s.at(p))
		return names, err
	})
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s in ZooKeeper: %w", s.at(p), err)
	}
	slices.Sort(names)
	return names, nil
}

// read asks in the present session until there is an answer.
func read[T any](ctx context.Context, s *Store, ask func(*zk.Conn) (T, error)) (T, error) {
	sess, err := s.session(false)
	if err != nil {
		var none T
		return none, err
	}
	return repeat(ctx, sess, ask)
}

// Leader implements store.Election: the holder of the smallest lock node that was seen.
func (s *Store) Leader() idl.RPCAddress { return idl.RPCAddress(s.leader.Load()) }

func (s *Store) setLeader(a idl.RPCAddress) {
	if old := idl.RPCAddress(s.leader.Swap(uint64(a))); old != a {
		s.log.Info("the leader according to ZooKeeper has changed", "leader", a, "before", old)
	}
}

// session returns the present session. With fresh set, or if there is none that lives, it begins
// one; the one before is closed.
func (s *Store) session(fresh bool) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, errClosed
	}
	if s.sess != nil && !fresh && !s.sess.isDead() {
		return s.sess, nil
	}
	if s.sess != nil {
		s.retire(s.sess)
	}
	sess, err := openSession(&s.o)
	if err != nil {
		return nil, fmt.Errorf("begin a ZooKeeper session: %w", err)
	}
	s.sess = sess
	return sess, nil
}

// retire closes a session in the background: that takes a while when no server is reached.
func (s *Store) retire(sess *session) {
	sess.die(errClosed)
	s.wg.Go(sess.close)
}

// Close ends the term, if there is one, and the session, so that another meta server can lead at
// once.
func (s *Store) Close() error {
	s.cancel()
	s.endTerm()
	s.mu.Lock()
	if s.sess != nil {
		s.retire(s.sess)
	}
	s.mu.Unlock()
	s.wg.Wait()
	s.leader.Store(0)
	return nil
}
