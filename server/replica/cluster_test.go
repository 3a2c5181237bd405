// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/command"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
	"github.com/pegasus-ops/pegasus-ops/server/wire/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var metaAddr = idl.MakeAddress([4]byte{10, 0, 0, 100}, 34601)

func nodeHost(i int) string { return fmt.Sprintf("10.0.0.%d", i) }

func nodeAddr(i int) idl.RPCAddress { return idl.MakeAddress([4]byte{10, 0, 0, byte(i)}, 34801) }

// A cluster is a meta server and replica servers on a network and disks in memory.
type cluster struct {
	t     testing.TB
	net   *memnet.Network
	log   *slog.Logger
	tune  func(*Options)
	nodes map[int]*node

	metaFS    *vfs.MemFS
	meta      *meta.Server
	metaWire  *wire.Server
	metaPeers *wire.Peers

	client *client.Cluster
	serve  sync.WaitGroup
}

// A node is a replica server: its disk outlives its process.
type node struct {
	c     *cluster
	index int
	fs    *vfs.MemFS

	server   *Server
	wire     *wire.Server
	peers    *wire.Peers
	commands *command.Registry
}

// inCluster runs a test in a bubble with a meta server and n replica servers.
func inCluster(t *testing.T, n int, tune func(*Options), test func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, n, tune)
		defer c.close()
		test(t, c)
	})
}

func newCluster(t testing.TB, n int, tune func(*Options)) *cluster {
	c := &cluster{
		t: t, net: memnet.New(), log: slog.New(slog.DiscardHandler), tune: tune,
		nodes: map[int]*node{}, metaFS: vfs.NewCrashableMem(),
	}
	if os.Getenv("REPLICA_LOG") != "" {
		c.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	c.startMeta()
	for i := 1; i <= n; i++ {
		c.nodes[i] = &node{c: c, index: i, fs: vfs.NewCrashableMem()}
		c.nodes[i].start()
	}
	var err error
	c.client, err = client.Open(context.Background(), client.Options{
		Metas: []string{metaAddr.String()}, Dial: c.net.Dialer("10.0.0.200"),
	})
	require.NoError(t, err)
	return c
}

func (c *cluster) close() {
	c.client.Close()
	for _, n := range c.nodes {
		if n.server != nil {
			n.stop()
		}
	}
	c.stopMeta()
	c.serve.Wait()
}

func (c *cluster) startMeta() {
	o := meta.DefaultOptions()
	o.Self, o.Dir, o.FS = metaAddr, "meta", c.metaFS
	o.StartTime = time.Now()
	o.MetaServers, o.ClusterName, o.ClusterRoot = []idl.RPCAddress{metaAddr}, "test", "/pegasus/test"
	o.MinLiveNodes, o.LivePercentage, o.StableRunning, o.DefaultTables = 1, 0, 0, nil
	o.AssignDelay = 10 * time.Second
	o.Log = c.log.With("role", "meta")
	c.metaPeers = wire.NewPeers(c.net.Dialer("10.0.0.100"))
	o.Mux, o.Peers = wire.NewMux(), c.metaPeers
	var err error
	c.meta, err = meta.Start(context.Background(), o)
	require.NoError(c.t, err)
	c.metaWire = c.listen(metaAddr, o.Mux)
}

func (c *cluster) stopMeta() {
	require.NoError(c.t, c.meta.Stop(context.Background()))
	c.metaWire.Close()
	c.metaPeers.Close()
}

func (c *cluster) listen(addr idl.RPCAddress, mux *wire.Mux) *wire.Server {
	ln, err := c.net.Listen(addr.String())
	require.NoError(c.t, err)
	s := &wire.Server{Mux: mux, Self: addr}
	c.serve.Go(func() { s.Serve(ln) })
	return s
}

func (n *node) options() Options {
	o := DefaultOptions()
	o.Self, o.FS, o.StartTime = nodeAddr(n.index), n.fs, time.Now()
	o.Metas = []idl.RPCAddress{metaAddr}
	o.DataDirs = []DataDir{{"ssd1", "/ssd1"}, {"ssd2", "/ssd2"}}
	o.Log = n.c.log.With("self", o.Self.String())
	if n.c.tune != nil {
		n.c.tune(&o)
	}
	return o
}

func (n *node) start() {
	o := n.options()
	n.peers = wire.NewPeers(n.c.net.Dialer(nodeHost(n.index)))
	n.commands = command.New()
	o.Mux, o.Peers, o.Commands = wire.NewMux(), n.peers, n.commands
	var err error
	n.server, err = Start(context.Background(), o)
	require.NoError(n.c.t, err)
	n.wire = n.c.listen(o.Self, o.Mux)
}

// stop ends the process in good order.
func (n *node) stop() {
	require.NoError(n.c.t, n.server.Stop(context.Background()))
	n.wire.Close()
	n.peers.Close()
	n.commands.Close()
	n.server = nil
}

// kill ends the process at once; what it has written so far is on its disk.
func (n *node) kill() { n.crash(100) }

// crash ends the process at once and keeps a part of what was not synced.
func (n *node) crash(keepPercent int) {
	fs := n.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keepPercent, RNG: rng(int64(n.index))})
	n.wire.Close()
	n.peers.Close()
	n.c.net.DropHost(nodeHost(n.index))
	_ = n.server.Stop(context.Background()) // on the disk that nobody will see
	n.commands.Close()
	n.server, n.fs = nil, fs
}

// ctx ends after a time that is long for everything a cluster does.
func (c *cluster) ctx() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 2*time.Minute)
}

// wait polls until cond returns nil.
func (c *cluster) wait(limit time.Duration, cond func() error) time.Duration {
	c.t.Helper()
	start := time.Now()
	for {
		err := cond()
		if err == nil {
			return time.Since(start)
		}
		if time.Since(start) > limit {
			require.NoError(c.t, err, "not within %s", limit)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (c *cluster) create(table string, partitions, replicas int) {
	c.t.Helper()
	ctx, cancel := c.ctx()
	defer cancel()
	c.wait(time.Minute, func() error {
		_, err := c.client.CreateTable(ctx, table, client.CreateOptions{Partitions: partitions, Replicas: replicas})
		return err
	})
	c.healthy(table, partitions, replicas, time.Minute)
}

// healthy waits until every partition has a primary and so many members.
func (c *cluster) healthy(table string, partitions, members int, limit time.Duration) time.Duration {
	c.t.Helper()
	return c.wait(limit, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		cfg, err := c.client.QueryConfig(ctx, table)
		if err != nil {
			return err
		}
		if n := cfg.Ready(members); n < partitions {
			return fmt.Errorf("%d of %d partitions are healthy: %+v", n, partitions, cfg.Partitions)
		}
		return nil
	})
}

// primary returns the node that is primary of a partition.
func (c *cluster) primary(table string, partition int) int {
	c.t.Helper()
	ctx, cancel := c.ctx()
	defer cancel()
	cfg, err := c.client.QueryConfig(ctx, table)
	require.NoError(c.t, err)
	for i := range c.nodes {
		if nodeAddr(i) == cfg.Partitions[partition].Primary {
			return i
		}
	}
	require.Fail(c.t, "no primary", "%+v", cfg.Partitions[partition])
	return 0
}

// A ledger remembers what was acknowledged.
type ledger struct {
	c     *cluster
	table *client.Table
	next  int
	acked map[string]string
}

func (c *cluster) ledger(table string) *ledger {
	return &ledger{c: c, table: c.client.Table(table), acked: map[string]string{}}
}

// write sets so many records, each of which has to be acknowledged in the end.
func (l *ledger) write(n int) {
	l.c.t.Helper()
	for range n {
		k, v := fmt.Sprintf("key%d", l.next), fmt.Sprintf("value%d", l.next)
		l.next++
		l.c.wait(time.Minute, func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			return l.table.Set(ctx, []byte(k), []byte("s"), []byte(v), 0)
		})
		l.acked[k] = v
	}
}

// check reads everything back.
func (l *ledger) check() {
	l.c.t.Helper()
	for k, want := range l.acked {
		var got []byte
		l.c.wait(time.Minute, func() (err error) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			got, err = l.table.Get(ctx, []byte(k), []byte("s"))
			if errors.Is(err, client.ErrNotFound) {
				require.NoError(l.c.t, err, "acknowledged write of %s is lost", k)
			}
			return err
		})
		require.Equal(l.c.t, want, string(got), k)
	}
}
