// SPDX-License-Identifier: Apache-2.0

// Package clienttest is a Pegasus cluster for tests of clients and tools: it speaks the real
// protocol over an in-memory network and keeps its data in maps. It follows the semantics of the
// data operations as far as clients can tell the difference, and does whatever the test wants
// where a real cluster would replicate, fail over or balance. It is no server: nothing is
// replicated, stored or balanced.
package clienttest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
	"github.com/pegasus-ops/pegasus-ops/server/wire/memnet"
)

// A Fleet is one cluster. Its exported fields are read and written under Lock.
type Fleet struct {
	sync.Mutex
	Net   *memnet.Network
	Metas []string // addresses of the meta servers
	Nodes []string // addresses of the replica servers

	Leader int // index into Metas, -1: none leads
	// HideLeader makes followers answer without naming the leader.
	HideLeader bool
	// NotServing makes the leader answer ERR_SERVICE_NOT_ACTIVE.
	NotServing bool
	Level      idl.MetaFunctionLevel
	Info       []client.NameValue // the answer to cluster_info
	Dead       map[string]bool    // nodes reported as unalive
	Apps       []idl.AppInfo
	Configs    map[int32][]idl.PartitionConfiguration // by app id
	DDD        []idl.DddPartitionInfo
	Proposals  []idl.ConfigurationBalancerRequest // received so far
	// Command answers remote commands; nil: every command is unknown.
	Command func(server, cmd string, args []string) string
	// Disks answers the question for disks by server; nil: servers do not know the question.
	Disks map[string][]idl.DiskInfo
	// HTTP answers HTTP requests on every server's port, with the server's address in r.Host.
	HTTP http.Handler
	// Intercept sees each request first and answers it itself when it returns true. It is called
	// without the lock.
	Intercept func(server string, r *wire.Request) bool

	calls    map[string]int // requests by RPC name
	data     map[idl.GPID]*partition
	scanners map[int64]*scanner
	nextScan int64
	servers  map[string]running
	wg       sync.WaitGroup
}

type running struct {
	server *wire.Server
	ln     net.Listener
}

// New starts a fleet whose servers listen on the given addresses. It is stopped when the test
// ends or by Stop.
func New(t testing.TB, metas, nodes []string) *Fleet {
	f := &Fleet{
		Net: memnet.New(), Metas: metas, Nodes: nodes, Level: idl.FlSteady,
		Dead: map[string]bool{}, Configs: map[int32][]idl.PartitionConfiguration{},
		calls: map[string]int{}, data: map[idl.GPID]*partition{}, scanners: map[int64]*scanner{},
		nextScan: 1, servers: map[string]running{},
	}
	for _, addr := range metas {
		f.StartServer(t, addr)
	}
	for _, addr := range nodes {
		f.StartServer(t, addr)
	}
	t.Cleanup(f.Stop)
	return f
}

// StartServer starts, or starts again, the server of that address.
func (f *Fleet) StartServer(t testing.TB, addr string) {
	t.Helper()
	ln, err := f.Net.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &wire.Server{Mux: wire.NewMux(), Self: Addr(addr), HTTP: f.pages(addr), Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	handle := func(name string, h func(r *wire.Request)) {
		s.Mux.Handle(name, func(r *wire.Request) {
			f.Lock()
			f.calls[r.Name]++
			intercept := f.Intercept
			f.Unlock()
			if intercept != nil && intercept(addr, r) {
				return
			}
			f.Lock()
			defer f.Unlock()
			h(r)
		})
	}
	isMeta := false
	for _, m := range f.Metas {
		isMeta = isMeta || m == addr
	}
	if isMeta {
		f.metaHandlers(addr, handle)
	} else {
		f.dataHandlers(addr, handle)
	}
	handle(idl.RPCQueryDiskInfo, func(r *wire.Request) {
		if f.Disks == nil {
			r.ReplyError(idl.ErrHandlerNotFound)
			return
		}
		r.Reply(&idl.QueryDiskInfoResponse{Err: idl.ErrOK, DiskInfos: f.Disks[addr]})
	})
	handle(idl.RPCCliCliCall, func(r *wire.Request) {
		var c idl.Command
		if err := r.Decode(&c); err != nil {
			r.ReplyError(idl.ErrInvalidData)
			return
		}
		text := fmt.Sprintf("unknown command '%s'", c.Cmd)
		if f.Command != nil {
			text = f.Command(addr, c.Cmd, c.Arguments)
		}
		r.Reply(idl.String(text))
	})
	f.Lock()
	f.servers[addr] = running{s, ln}
	f.Unlock()
	f.wg.Go(func() { s.Serve(ln) })
}

// pages forwards to f.HTTP with the server's address as the host.
func (f *Fleet) pages(addr string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.Lock()
		h := f.HTTP
		f.Unlock()
		if h == nil {
			http.NotFound(w, r)
			return
		}
		r.Host = addr
		h.ServeHTTP(w, r)
	})
}

// StopServer closes the server of that address and its connections.
func (f *Fleet) StopServer(addr string) {
	f.Lock()
	s, ok := f.servers[addr]
	delete(f.servers, addr)
	f.Unlock()
	if ok {
		s.ln.Close() // which Serve may not have taken over yet
		s.server.Close()
	}
}

// Stop closes all servers and waits for them.
func (f *Fleet) Stop() {
	f.Lock()
	var all []string
	for addr := range f.servers {
		all = append(all, addr)
	}
	f.Unlock()
	for _, addr := range all {
		f.StopServer(addr)
	}
	f.wg.Wait()
}

// Client opens a client of the fleet that is closed when the test ends. Unset options get the
// fleet's.
func (f *Fleet) Client(t testing.TB, o client.Options) *client.Cluster {
	t.Helper()
	if o.Metas == nil {
		o.Metas = f.Metas
	}
	if o.Dial == nil {
		o.Dial = f.Net.Dialer("127.0.0.99")
	}
	c, err := client.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Calls returns how many requests of that RPC have arrived.
func (f *Fleet) Calls(rpc string) int {
	f.Lock()
	defer f.Unlock()
	return f.calls[rpc]
}

// AddTable adds an available table with replicas spread over the nodes in turn.
func (f *Fleet) AddTable(name string, partitions, replicas int) int32 {
	f.Lock()
	defer f.Unlock()
	id := int32(1)
	for _, a := range f.Apps {
		id = max(id, a.AppID+1)
	}
	f.addTable(idl.AppInfo{
		Status: idl.AsAvailable, AppType: "pegasus", AppName: name, AppID: id, PartitionCount: int32(partitions),
		IsStateful: true, MaxReplicaCount: int32(replicas), InitPartitionCount: -1, CreateSecond: 1795317359,
	})
	return id
}

func (f *Fleet) addTable(a idl.AppInfo) {
	f.Apps = append(f.Apps, a)
	cfg := make([]idl.PartitionConfiguration, a.PartitionCount)
	for i := range cfg {
		gpid := idl.GPID{AppID: a.AppID, PartitionIndex: int32(i)}
		cfg[i] = idl.PartitionConfiguration{Pid: gpid, Ballot: 3, MaxReplicaCount: a.MaxReplicaCount}
		for r := range int(a.MaxReplicaCount) {
			addr := Addr(f.Nodes[(i+r)%len(f.Nodes)])
			if r == 0 {
				cfg[i].Primary = addr
			} else {
				cfg[i].Secondaries = append(cfg[i].Secondaries, addr)
			}
		}
		f.data[gpid] = &partition{records: map[string]record{}, decree: 1}
	}
	f.Configs[a.AppID] = cfg
}

// SetPrimary moves the primary of a partition, with a higher ballot; "" leaves it without.
func (f *Fleet) SetPrimary(gpid idl.GPID, addr string) {
	f.Lock()
	defer f.Unlock()
	p := &f.Configs[gpid.AppID][gpid.PartitionIndex]
	p.Ballot++
	p.Primary = Addr(addr)
}

// Addr parses an address, "" as the zero one; it panics on anything else, for tests.
func Addr(s string) idl.RPCAddress {
	if s == "" {
		return 0
	}
	a, err := idl.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}
