// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// tcpCluster starts a meta server and three replica servers on loopback and real files, all in
// this process, and makes a table of 8 partitions.
func tcpCluster(b *testing.B) *client.Table {
	log := slog.New(slog.DiscardHandler)
	var serve sync.WaitGroup
	b.Cleanup(serve.Wait)
	listen := func() (net.Listener, idl.RPCAddress) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		addr, err := idl.ParseAddress(ln.Addr().String())
		require.NoError(b, err)
		return ln, addr
	}
	run := func(ln net.Listener, addr idl.RPCAddress, mux *wire.Mux, peers *wire.Peers, stop func(context.Context) error) {
		s := &wire.Server{Mux: mux, Self: addr}
		serve.Go(func() { s.Serve(ln) })
		b.Cleanup(func() {
			require.NoError(b, stop(context.Background()))
			s.Close()
			peers.Close()
		})
	}
	metaLn, metaAddr := listen()
	mo := meta.DefaultOptions()
	mo.Self, mo.Dir, mo.FS, mo.StartTime = metaAddr, b.TempDir(), vfs.Default, time.Now()
	mo.MetaServers, mo.ClusterName, mo.ClusterRoot = []idl.RPCAddress{metaAddr}, "bench", "/pegasus/bench"
	mo.MinLiveNodes, mo.LivePercentage, mo.StableRunning, mo.DefaultTables = 1, 0, 0, nil
	mo.Log, mo.Mux, mo.Peers = log, wire.NewMux(), wire.NewPeers(wire.TCP)
	m, err := meta.Start(context.Background(), mo)
	require.NoError(b, err)
	run(metaLn, metaAddr, mo.Mux, mo.Peers, m.Stop)
	for range 3 {
		ln, addr := listen()
		o := DefaultOptions()
		o.Self, o.FS, o.StartTime, o.Metas = addr, vfs.Default, time.Now(), []idl.RPCAddress{metaAddr}
		o.DataDirs = []DataDir{{"a", b.TempDir()}, {"b", b.TempDir()}}
		o.Log, o.Mux, o.Peers = log, wire.NewMux(), wire.NewPeers(wire.TCP)
		s, err := Start(context.Background(), o)
		require.NoError(b, err)
		run(ln, addr, o.Mux, o.Peers, s.Stop)
	}
	c, err := client.Open(context.Background(), client.Options{Metas: []string{metaAddr.String()}})
	require.NoError(b, err)
	b.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		if _, err = c.CreateTable(ctx, "bench", client.CreateOptions{Partitions: 8, Replicas: 3}); err == nil {
			if cfg, qerr := c.QueryConfig(ctx, "bench"); qerr == nil && cfg.Ready(3) == 8 {
				return c.Table("bench")
			}
		}
		require.NoError(b, ctx.Err())
		time.Sleep(20 * time.Millisecond)
	}
}

func cpu() time.Duration {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func benchmark(b *testing.B, threads int, op func(ctx context.Context, t *client.Table, i int64, value []byte) error) {
	t := tcpCluster(b)
	ctx := context.Background()
	value := make([]byte, 100)
	for i := range value {
		value[i] = byte(rand.Uint32())
	}
	for i := range 2000 {
		require.NoError(b, t.Set(ctx, fmt.Appendf(nil, "user%d", i), []byte("s"), value, 0))
	}
	var next atomic.Int64
	start := cpu()
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := op(ctx, t, i, value); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64(cpu()-start)/float64(b.N)/1e3, "cpu-µs/op")
}

func BenchmarkSet(b *testing.B) {
	for _, threads := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(threads), func(b *testing.B) {
			benchmark(b, threads, func(ctx context.Context, t *client.Table, i int64, value []byte) error {
				return t.Set(ctx, fmt.Appendf(nil, "user%d", i%100000), []byte("s"), value, 0)
			})
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, threads := range []int{1, 64} {
		b.Run(fmt.Sprint(threads), func(b *testing.B) {
			benchmark(b, threads, func(ctx context.Context, t *client.Table, i int64, _ []byte) error {
				_, err := t.Get(ctx, fmt.Appendf(nil, "user%d", i%2000), []byte("s"))
				return err
			})
		})
	}
}
