// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// BenchmarkEcho is the bare cost of a call over loopback: 64 callers, one connection.
func BenchmarkEcho(b *testing.B) {
	mux := NewMux()
	resp := &idl.ReadResponse{Value: make([]byte, 100), AppID: 2, PartitionIndex: 3, Server: "127.0.0.1:34801"}
	mux.Handle(rpcEcho, func(r *Request) { r.Reply(resp) })
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ap := netip.MustParseAddrPort(ln.Addr().String())
	addr := idl.MakeAddress(ap.Addr().As4(), ap.Port())
	s := &Server{Mux: mux}
	go s.Serve(ln)
	defer s.Close()
	p := NewPeers(TCP)
	defer p.Close()
	b.ReportAllocs()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			key := idl.Blob("0123456789abcdef")
			var out idl.ReadResponse
			for range b.N / 64 {
				if err := p.Call(b.Context(), addr, Call{Name: rpcEcho, Arg: key, Result: &out}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
