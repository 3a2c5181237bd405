// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/command"
	"github.com/pegasus-ops/pegasus-ops/server/engine"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta"
	"github.com/pegasus-ops/pegasus-ops/server/replica"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
	"github.com/pegasus-ops/pegasus-ops/server/wire/memnet"
)

const (
	servers    = 4 // replica servers
	partitions = 4
	table      = "sim"
)

var metaAddr = idl.MakeAddress([4]byte{10, 0, 0, 100}, 34601)

// A cluster is a meta server and some replica servers on one simulated network.
type cluster struct {
	t       *testing.T
	rng     *rand.Rand
	net     *memnet.Network
	log     io.Writer
	meta    *process
	replica []*process
	synced  bool // the private logs are synced: power may fail
}

// A process is one server with the disk of its host. It is killed and started again.
type process struct {
	c       *cluster
	addr    idl.RPCAddress
	disk    *vfs.MemFS
	running func() // ends the running server; nil when it is dead
}

func newCluster(t *testing.T, seed uint64, synced bool) *cluster {
	c := &cluster{t: t, rng: rand.New(rand.NewPCG(seed, 7)), net: memnet.New(), synced: synced, log: io.Discard}
	if testing.Verbose() && os.Getenv("SIM_LOG") != "" {
		c.log = os.Stderr
	}
	c.meta = &process{c: c, addr: metaAddr, disk: vfs.NewCrashableMem()}
	for i := range servers {
		addr := idl.MakeAddress([4]byte{10, 0, 0, byte(i + 1)}, 34801)
		c.replica = append(c.replica, &process{c: c, addr: addr, disk: vfs.NewCrashableMem()})
	}
	for _, p := range c.processes() {
		p.start()
	}
	return c
}

func (c *cluster) processes() []*process { return append([]*process{c.meta}, c.replica...) }

func (p *process) host() string { return p.addr.IP().String() }

// start runs the server on what the disk holds.
func (p *process) start() {
	t := p.c.t
	t.Helper()
	ln, err := p.c.net.Listen(p.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	mux, peers := wire.NewMux(), wire.NewPeers(p.c.net.Dialer(p.host()))
	logger := slog.New(slog.NewTextHandler(p.c.log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", p.addr.String())
	srv := &wire.Server{Mux: mux, Self: p.addr, Log: logger}
	served := make(chan struct{})
	var stop func(context.Context) error
	if p == p.c.meta {
		stop, err = p.startMeta(mux, peers, logger)
	} else {
		stop, err = p.startReplica(mux, peers, logger)
	}
	if err != nil {
		t.Fatalf("start %s: %v", p.addr, err)
	}
	go func() {
		defer close(served)
		srv.Serve(ln)
	}()
	p.running = func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := stop(ctx); err != nil && ctx.Err() != nil {
			t.Errorf("%s did not stop: %v", p.addr, err)
		}
		srv.Close()
		peers.Close()
		<-served
	}
}

func (p *process) startMeta(mux *wire.Mux, peers *wire.Peers, log *slog.Logger) (func(context.Context) error, error) {
	o := meta.DefaultOptions()
	o.Self, o.StartTime, o.Dir, o.FS = p.addr, time.Now(), "/meta", p.disk
	o.Mux, o.Peers, o.Commands, o.Log = mux, peers, command.New(), log
	o.MetaServers, o.ClusterName = []idl.RPCAddress{metaAddr}, "sim"
	o.DefaultTables = []meta.TableSpec{{Name: table, Partitions: partitions, Replicas: 3}}
	o.MinLiveNodes, o.LivePercentage = 1, 0
	o.StableRunning = 0
	o.AssignDelay = 30 * time.Second
	s, err := meta.Start(context.Background(), o)
	if err != nil {
		return nil, err
	}
	return s.Stop, nil
}

func (p *process) startReplica(mux *wire.Mux, peers *wire.Peers, log *slog.Logger) (func(context.Context) error, error) {
	o := replica.DefaultOptions()
	o.Self, o.StartTime, o.FS = p.addr, time.Now(), p.disk
	o.Mux, o.Peers, o.Commands, o.Log = mux, peers, command.New(), log
	o.DataDirs = []replica.DataDir{{Tag: "a", Path: "/a"}, {Tag: "b", Path: "/b"}}
	o.Metas = []idl.RPCAddress{metaAddr}
	o.PlogSync = p.c.synced
	o.PlogSegmentBytes = 64 << 10
	o.PlogMaxBytes = 256 << 10
	o.CheckpointEvery = 20 * time.Second
	o.DiskMinAvailable = 0
	o.Engine = engine.SharedOptions{CacheBytes: 1 << 20, MemTableBytes: 64 << 20}
	s, err := replica.Start(context.Background(), o)
	if err != nil {
		return nil, err
	}
	return s.Stop, nil
}

// kill ends a process as kill -9 does. With power set the machine goes with it, and what was not
// synced is lost in part.
func (p *process) kill(power bool) {
	if p.running == nil {
		return
	}
	keep := 100
	if power {
		keep = p.c.rng.IntN(101)
	}
	p.c.net.Isolate(p.host(), true)
	after := p.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: p.c.rng})
	p.c.net.DropHost(p.host())
	p.running() // goes on writing to a disk that nobody will look at again
	p.running = nil
	p.disk = after
	p.c.net.Isolate(p.host(), false)
}

// restart starts a process that was killed.
func (p *process) restart() {
	if p.running == nil {
		p.start()
	}
}

func (c *cluster) stop() {
	for _, p := range c.processes() {
		if p.running != nil {
			p.running()
			p.running = nil
		}
	}
}

// client returns a client on a host of its own.
func (c *cluster) client(i int) *client.Cluster {
	cl, err := client.Open(c.t.Context(), client.Options{
		Metas: []string{metaAddr.String()},
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return c.net.Dialer(fmt.Sprintf("10.0.1.%d", i+1))(ctx, addr)
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return cl
}

// awaitHealthy waits until every partition has three replicas.
func (c *cluster) awaitHealthy(cl *client.Cluster, limit time.Duration) {
	c.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		tc, err := cl.QueryConfig(ctx, table)
		cancel()
		if err == nil && tc.Ready(3) == partitions && len(tc.Partitions) == partitions {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("not healthy after %v: %+v, %v", limit, tc, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}
