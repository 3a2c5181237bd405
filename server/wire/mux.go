// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// A Handler answers a request. It runs on the goroutine that reads the connection, so it must
// not wait for anything: what may take long is registered with HandlePooled or keeps the
// request with Retain and answers later.
type Handler func(r *Request)

type route struct {
	name, ack string
	handler   Handler
}

// A Mux finds the handler of an RPC by its name. Routes may be added while it serves.
type Mux struct {
	mu     sync.Mutex
	routes atomic.Pointer[map[string]*route]
}

// NewMux returns an empty Mux.
func NewMux() *Mux {
	m := &Mux{}
	m.routes.Store(&map[string]*route{})
	return m
}

// Handle registers the handler of an RPC. It panics when the name is taken or unusable, which is
// a mistake of the program.
func (m *Mux) Handle(name string, h Handler) {
	if name == "" || len(name)+len("_ACK") > maxNameLen || h == nil {
		panic(fmt.Sprintf("wire: cannot register %q", name))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.routes.Load()
	if old[name] != nil {
		panic("wire: " + name + " is registered twice")
	}
	next := make(map[string]*route, len(old)+1)
	for k, v := range old {
		next[k] = v
	}
	next[name] = &route{name: name, ack: name + "_ACK", handler: h}
	m.routes.Store(&next)
}

// HandlePooled registers a handler that runs on the pool and may wait. When the pool's queue is
// full the client is told ERR_BUSY.
func (m *Mux) HandlePooled(name string, p *Pool, h Handler) {
	m.Handle(name, func(r *Request) {
		kept := r.Retain()
		if !p.Submit(func() { h(kept) }) {
			kept.ReplyError(idl.ErrBusy)
		}
	})
}

func (m *Mux) lookup(name []byte) *route { return (*m.routes.Load())[string(name)] }

// A Pool runs functions on at most a fixed number of goroutines, which exist only while there
// is work.
type Pool struct {
	mu      sync.Mutex
	queue   []func()
	running int
	workers int
	limit   int
}

// NewPool returns a pool of that many workers with room for that many waiting functions.
func NewPool(workers, queue int) *Pool {
	return &Pool{workers: max(workers, 1), limit: queue}
}

// Submit runs f as soon as a worker is free; it reports false when too many wait already.
func (p *Pool) Submit(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running < p.workers {
		p.running++
		go p.work(f)
		return true
	}
	if len(p.queue) >= p.limit {
		return false
	}
	p.queue = append(p.queue, f)
	return true
}

func (p *Pool) work(f func()) {
	for {
		f()
		p.mu.Lock()
		if len(p.queue) == 0 {
			p.running--
			p.mu.Unlock()
			return
		}
		f = p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		p.mu.Unlock()
	}
}
