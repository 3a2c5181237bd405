// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/client/clienttest"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// echo is a server over loopback that knows one table and answers every get and set at once.
func echo(b *testing.B) *client.Table {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	self := clienttest.Addr(ln.Addr().String())
	s := &wire.Server{Mux: wire.NewMux(), Self: self}
	s.Mux.Handle(idl.RPCQueryConfig, func(r *wire.Request) {
		resp := idl.QueryCfgResponse{Err: idl.ErrOK, AppID: 1, PartitionCount: 8, IsStateful: true}
		for i := range int32(8) {
			resp.Partitions = append(resp.Partitions, idl.PartitionConfiguration{Pid: idl.GPID{AppID: 1, PartitionIndex: i}, Ballot: 3, Primary: self})
		}
		r.Reply(&resp)
	})
	read := &idl.ReadResponse{AppID: 1, Value: make([]byte, 100), Server: "127.0.0.1:34801"}
	s.Mux.Handle(idl.RPCGet, func(r *wire.Request) { r.Reply(read) })
	update := &idl.UpdateResponse{AppID: 1, Server: "127.0.0.1:34801"}
	s.Mux.Handle(idl.RPCPut, func(r *wire.Request) { r.Reply(update) })
	go s.Serve(ln)
	c, err := client.Open(b.Context(), client.Options{Metas: []string{ln.Addr().String()}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c.Table("temp")
}

func run(b *testing.B, threads int, f func(key []byte) error) {
	var n atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	for range threads {
		wg.Go(func() {
			key := []byte{byte(n.Load()), 0, 0}
			for n.Add(1) <= int64(b.N) {
				key[1]++
				if err := f(key); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkGet(b *testing.B) {
	for _, threads := range []int{1, 64} {
		b.Run(fmt.Sprintf("goroutines=%d", threads), func(b *testing.B) {
			t := echo(b)
			run(b, threads, func(key []byte) error {
				_, err := t.Get(b.Context(), key, key)
				return err
			})
		})
	}
}

func BenchmarkSet(b *testing.B) {
	t := echo(b)
	value := make([]byte, 100)
	run(b, 64, func(key []byte) error { return t.Set(b.Context(), key, key, value, 0) })
}
