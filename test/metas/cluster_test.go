// SPDX-License-Identifier: Apache-2.0

package metas

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/command"
	"github.com/pegasus-ops/pegasus-ops/server/engine"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store/zookeeper"
	"github.com/pegasus-ops/pegasus-ops/server/replica"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
	"github.com/pegasus-ops/pegasus-ops/server/wire/memnet"
	zkservers "github.com/pegasus-ops/pegasus-ops/test/zookeeper"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// sessionTime is the session timeout of the meta servers.
	sessionTime = 2 * time.Second
	// failover is what is promised after the death of a leader.
	failover = sessionTime + 2*time.Second

	root = "/pegasus/onebox"
)

// A cluster is some meta servers and replica servers on one network.
type cluster struct {
	t        *testing.T
	net      *memnet.Network
	log      *slog.Logger
	zk       *zkservers.Ensemble
	metas    []*metaServer
	replicas []func()
	tune     func(*replica.Options) // nil: as they are
}

// A metaServer is one meta server with its own way to ZooKeeper.
type metaServer struct {
	c      *cluster
	addr   idl.RPCAddress
	link   *zkservers.Link
	store  *zookeeper.Store
	server *meta.Server
	stop   func()
}

// newCluster starts a cluster. tune may change the options of the meta and of the replica
// servers.
func newCluster(t *testing.T, metas, replicas int, tune func(*meta.Options), tuneReplica func(*replica.Options)) *cluster {
	t.Helper()
	c := &cluster{t: t, tune: tuneReplica, net: memnet.New(), zk: zkservers.Start(t, 1), log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if testing.Verbose() && os.Getenv("METAS_LOG") != "" {
		c.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	for i := range metas {
		m := &metaServer{c: c, addr: idl.MakeAddress([4]byte{10, 0, 0, byte(101 + i)}, 34601), link: zkservers.NewLink(t, c.zk.Addrs()[0])}
		c.metas = append(c.metas, m)
	}
	for _, m := range c.metas {
		m.start(tune)
	}
	for i := range replicas {
		c.startReplica(idl.MakeAddress([4]byte{10, 0, 0, byte(1 + i)}, 34801))
	}
	t.Cleanup(func() {
		for _, stop := range c.replicas {
			stop()
		}
		for _, m := range c.metas {
			if m.stop != nil {
				m.stop()
			}
		}
	})
	return c
}

func (c *cluster) addrs() (addrs []idl.RPCAddress) {
	for _, m := range c.metas {
		addrs = append(addrs, m.addr)
	}
	return addrs
}

func (m *metaServer) host() string { return m.addr.IP().String() }

func (m *metaServer) start(tune func(*meta.Options)) {
	c := m.c
	c.t.Helper()
	log := c.log.With("node", m.addr.String())
	st := c.openStore(m)
	o := meta.DefaultOptions()
	o.Store, o.Election = st, st
	o.MetaServers, o.ClusterName, o.ClusterRoot, o.ZookeeperHosts = c.addrs(), "onebox", root, c.zk.Addrs()[0]
	o.MinLiveNodes, o.LivePercentage, o.StableRunning = 1, 0, 0
	o.DefaultTables = []meta.TableSpec{{Name: "stat", Partitions: 4, Replicas: 3}, {Name: "temp", Partitions: 8, Replicas: 3}}
	if tune != nil {
		tune(&o)
	}
	m.store = st
	m.stop = c.serve(m.addr, log, func(mux *wire.Mux, peers *wire.Peers) (func(context.Context) error, error) {
		o.Self, o.StartTime, o.Dir, o.FS = m.addr, time.Now(), "/meta", vfs.NewMem()
		o.Mux, o.Peers, o.Commands, o.Log = mux, peers, command.New(), log
		var err error
		m.server, err = meta.Start(context.Background(), o)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			err := m.server.Stop(ctx)
			st.Close()
			return err
		}, nil
	})
}

func (c *cluster) openStore(m *metaServer) *zookeeper.Store {
	c.t.Helper()
	st, err := zookeeper.Open(zookeeper.Options{Hosts: []string{m.link.Addr()}, Timeout: sessionTime,
		Root: root, Lock: root, Self: m.addr, Log: c.log.With("node", m.addr.String())})
	if err != nil {
		c.t.Fatal(err)
	}
	return st
}

// kill ends a meta server as kill -9 does: from one moment to the next nobody hears of it,
// ZooKeeper included, whose session goes on.
func (m *metaServer) kill() {
	m.link.Cut()
	m.c.net.Isolate(m.host(), true)
	m.c.net.DropHost(m.host())
	m.stop()
	m.stop = nil
	m.c.net.Isolate(m.host(), false)
	m.link.Heal()
}

func (c *cluster) startReplica(addr idl.RPCAddress) {
	c.t.Helper()
	log := c.log.With("node", addr.String())
	c.replicas = append(c.replicas, c.serve(addr, log, func(mux *wire.Mux, peers *wire.Peers) (func(context.Context) error, error) {
		o := replica.DefaultOptions()
		o.Self, o.StartTime, o.FS = addr, time.Now(), vfs.NewMem()
		o.Mux, o.Peers, o.Commands, o.Log = mux, peers, command.New(), log
		o.DataDirs = []replica.DataDir{{Tag: "a", Path: "/a"}}
		o.Metas = c.addrs()
		o.DiskMinAvailable = 0
		o.Engine = engine.SharedOptions{CacheBytes: 1 << 20, MemTableBytes: 64 << 20}
		if c.tune != nil {
			c.tune(&o)
		}
		s, err := replica.Start(context.Background(), o)
		if err != nil {
			return nil, err
		}
		return s.Stop, nil
	}))
}

// serve runs a server at an address and returns what ends it.
func (c *cluster) serve(addr idl.RPCAddress, log *slog.Logger, start func(*wire.Mux, *wire.Peers) (func(context.Context) error, error)) func() {
	c.t.Helper()
	ln, err := c.net.Listen(addr.String())
	if err != nil {
		c.t.Fatal(err)
	}
	mux, peers := wire.NewMux(), wire.NewPeers(c.net.Dialer(addr.IP().String()))
	stop, err := start(mux, peers)
	if err != nil {
		c.t.Fatalf("start %s: %v", addr, err)
	}
	srv := &wire.Server{Mux: mux, Self: addr, Log: log}
	served := make(chan struct{})
	go func() {
		defer close(served)
		srv.Serve(ln)
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := stop(ctx); err != nil && ctx.Err() != nil {
			c.t.Errorf("%s did not stop: %v", addr, err)
		}
		srv.Close()
		peers.Close()
		<-served
	}
}

// client returns a client on a host of its own that knows some of the meta servers.
func (c *cluster) client(metas ...*metaServer) *client.Cluster {
	c.t.Helper()
	var list []string
	for _, m := range metas {
		list = append(list, m.addr.String())
	}
	cl, err := client.Open(c.t.Context(), client.Options{Metas: list, Dial: func(ctx context.Context, addr string) (net.Conn, error) {
		return c.net.Dialer("10.0.1.1")(ctx, addr)
	}})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cl.Close)
	return cl
}

// ask sends one request to one meta server.
func (c *cluster) ask(m *metaServer, name string, q idl.Value, r idl.Decoder) error {
	peers := wire.NewPeers(c.net.Dialer("10.0.1.2"))
	defer peers.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return peers.Call(ctx, m.addr, wire.Call{Name: name, Arg: q, Result: r})
}

// leader waits for the meta server that serves as leader.
func (c *cluster) leader(limit time.Duration) *metaServer {
	c.t.Helper()
	var leader *metaServer
	c.eventually(limit, "a meta server serves", func() bool {
		for _, m := range c.metas {
			var r idl.ConfigurationListNodesResponse
			if m.stop != nil && c.ask(m, idl.RPCListNodes, &idl.ConfigurationListNodesRequest{}, &r) == nil && r.Err.OK() {
				leader = m
				return true
			}
		}
		return false
	})
	return leader
}

func (c *cluster) others(m *metaServer) (list []*metaServer) {
	for _, x := range c.metas {
		if x != m {
			list = append(list, x)
		}
	}
	return list
}

func (c *cluster) awaitHealthy(cl *client.Cluster, table string, replicas int, limit time.Duration) {
	c.t.Helper()
	c.eventually(limit, table+" is healthy", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		tc, err := cl.QueryConfig(ctx, table)
		return err == nil && len(tc.Partitions) > 0 && tc.Ready(replicas) == len(tc.Partitions)
	})
}

func (c *cluster) eventually(limit time.Duration, what string, ok func() bool) time.Duration {
	c.t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > limit {
			c.t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(start)
}

// A workload writes and reads one key after the other.
type workload struct {
	stop   context.CancelFunc
	done   chan struct{}
	ops    atomic.Int64
	last   atomic.Int64 // when the last one succeeded, in Unix nanoseconds
	failed []error
	stored []int // keys whose write was acknowledged
	worst  time.Duration
}

// startWorkload returns once the client knows its way.
func (c *cluster) startWorkload(cl *client.Cluster, table string) *workload {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &workload{stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		tb := cl.Table(table)
		for i := 0; ctx.Err() == nil; i++ {
			key, value := pair(i)
			start := time.Now()
			err := tb.Set(context.Background(), key, nil, value, 0)
			if err == nil {
				w.stored = append(w.stored, i)
				var got []byte
				if got, err = tb.Get(context.Background(), key, nil); err == nil && string(got) != string(value) {
					err = fmt.Errorf("read %q for %q", got, key)
				}
			}
			w.ops.Add(2)
			w.worst = max(w.worst, time.Since(start))
			if err != nil {
				w.failed = append(w.failed, err)
			} else {
				w.last.Store(time.Now().UnixNano())
			}
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	c.eventually(10*time.Second, "the client is at work", func() bool { return w.ops.Load() > 10 })
	return w
}

func pair(i int) (key, value []byte) {
	return fmt.Appendf(nil, "key %d", i), fmt.Appendf(nil, "value %d", i)
}

// finish ends the workload and reads again all it has stored.
func (w *workload) finish(t *testing.T, tb *client.Table) {
	t.Helper()
	w.stop()
	<-w.done
	for _, i := range w.stored {
		key, value := pair(i)
		if got, err := tb.Get(context.Background(), key, nil); err != nil || string(got) != string(value) {
			t.Fatalf("%s is %q, %v", key, got, err)
		}
	}
	t.Logf("%d acknowledged writes are there; %d operations had failed", len(w.stored), len(w.failed))
}

// end ends the workload, of which nothing may have failed.
func (w *workload) end(t *testing.T) {
	t.Helper()
	w.stop()
	<-w.done
	t.Logf("%d operations, the slowest pair took %v", w.ops.Load(), w.worst.Round(time.Millisecond))
	for i, err := range w.failed {
		if i == 5 {
			t.Errorf("and %d more", len(w.failed)-i)
			break
		}
		t.Errorf("an operation failed: %v", err)
	}
}
