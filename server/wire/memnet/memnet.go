// SPDX-License-Identifier: Apache-2.0

// Package memnet is a network in memory for tests: hosts with addresses, connections between
// them, and faults - delay, partitions, resets. It behaves like TCP: what is sent over a cut
// line is neither lost nor delivered until the line is healed or the connection is reset. All
// waiting is done on channels and timers, so it works inside testing/synctest bubbles.
package memnet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A Network connects hosts that are named by IPv4 address.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	conns     map[*conn]struct{} // dialling ends
	cut       map[[2]string]bool
	isolated  map[string]bool
	healed    chan struct{} // closed and replaced when a line heals
	min, max  time.Duration
	rng       *rand.Rand
	ports     uint16
}

// New returns a network without faults or delay.
func New() *Network {
	return &Network{
		listeners: map[string]*listener{},
		conns:     map[*conn]struct{}{},
		cut:       map[[2]string]bool{},
		isolated:  map[string]bool{},
		healed:    make(chan struct{}),
		ports:     1024,
	}
}

// Listen accepts connections to "ip:port".
func (n *Network) Listen(addr string) (net.Listener, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: "mem", Addr: net.TCPAddrFromAddrPort(ap), Err: syscall.EADDRINUSE}
	}
	l := &listener{network: n, addr: net.TCPAddrFromAddrPort(ap), ch: make(chan net.Conn, 1024), done: make(chan struct{})}
	n.listeners[addr] = l
	return l, nil
}

// Dialer returns a dial function for a process on the host with that address.
func (n *Network) Dialer(host string) func(ctx context.Context, addr string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) { return n.dial(ctx, host, addr) }
}

func (n *Network) dial(ctx context.Context, from, addr string) (net.Conn, error) {
	to, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	for {
		n.mu.Lock()
		if !n.reachable(from, to) {
			healed := n.healed
			n.mu.Unlock()
			select {
			case <-healed:
				continue
			case <-ctx.Done():
				return nil, &net.OpError{Op: "dial", Net: "mem", Err: ctx.Err()}
			}
		}
		l := n.listeners[addr]
		if l == nil {
			n.mu.Unlock()
			return nil, &net.OpError{Op: "dial", Net: "mem", Err: fmt.Errorf("%s: %w", addr, syscall.ECONNREFUSED)}
		}
		n.ports++
		if n.ports < 1024 {
			n.ports = 1024
		}
		local := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(net.JoinHostPort(from, strconv.Itoa(int(n.ports)))))
		there, back := newPipe(n, from, to), newPipe(n, to, from)
		client := &conn{network: n, from: from, to: to, in: back, out: there, local: local, remote: l.addr}
		server := &conn{network: n, from: to, to: from, in: there, out: back, local: l.addr, remote: local}
		client.peer, server.peer = server, client
		n.conns[client] = struct{}{}
		n.mu.Unlock()
		select {
		case l.ch <- server:
			return client, nil
		case <-l.done:
			client.Close()
			return nil, &net.OpError{Op: "dial", Net: "mem", Err: syscall.ECONNREFUSED}
		case <-ctx.Done():
			client.Close()
			return nil, &net.OpError{Op: "dial", Net: "mem", Err: ctx.Err()}
		}
	}
}

// reachable is called with mu held.
func (n *Network) reachable(a, b string) bool {
	return a == b || !n.cut[line(a, b)] && !n.isolated[a] && !n.isolated[b]
}

func line(a, b string) [2]string {
	if a > b {
		a, b = b, a
	}
	return [2]string{a, b}
}

// Cut stops all traffic between two hosts; connections stay open and silent.
func (n *Network) Cut(a, b string) { n.change(func() { n.cut[line(a, b)] = true }) }

// Heal ends Cut; what was sent meanwhile arrives.
func (n *Network) Heal(a, b string) { n.change(func() { delete(n.cut, line(a, b)) }) }

// Isolate cuts a host off from all others, or ends that.
func (n *Network) Isolate(host string, on bool) {
	n.change(func() {
		if on {
			n.isolated[host] = true
		} else {
			delete(n.isolated, host)
		}
	})
}

// HealAll ends every Cut and Isolate.
func (n *Network) HealAll() { n.change(func() { clear(n.cut); clear(n.isolated) }) }

// SetDelay makes every write arrive after a random time between min and max.
func (n *Network) SetDelay(min, max time.Duration, rng *rand.Rand) {
	n.change(func() { n.min, n.max, n.rng = min, max, rng })
}

func (n *Network) change(f func()) {
	n.mu.Lock()
	f()
	close(n.healed)
	n.healed = make(chan struct{})
	var pipes []*pipe
	for c := range n.conns {
		pipes = append(pipes, c.in, c.out)
	}
	n.mu.Unlock()
	for _, p := range pipes {
		p.wake()
	}
}

// DropConn resets the connections between two hosts.
func (n *Network) DropConn(a, b string) {
	n.reset(func(c *conn) bool { return line(c.from, c.to) == line(a, b) })
}

// DropHost resets the connections of a host, as the death of its processes does.
func (n *Network) DropHost(host string) {
	n.reset(func(c *conn) bool { return c.from == host || c.to == host })
}

func (n *Network) reset(match func(*conn) bool) {
	n.mu.Lock()
	var hit []*conn
	for c := range n.conns {
		if match(c) {
			hit = append(hit, c)
		}
	}
	n.mu.Unlock()
	for _, c := range hit {
		c.in.fail(syscall.ECONNRESET)
		c.out.fail(syscall.ECONNRESET)
	}
}

func (n *Network) blocked(from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.reachable(from, to)
}

func (n *Network) delay() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.max <= n.min || n.rng == nil {
		return n.min
	}
	return n.min + time.Duration(n.rng.Int64N(int64(n.max-n.min)))
}

type listener struct {
	network *Network
	addr    *net.TCPAddr
	ch      chan net.Conn
	once    sync.Once
	done    chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ch:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.network.mu.Lock()
		delete(l.network.listeners, l.addr.String())
		l.network.mu.Unlock()
		for {
			select {
			case c := <-l.ch:
				c.Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }
