// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// dialPace is the least time between two attempts to connect.
	dialPace = 50 * time.Millisecond
	// minHandshake is what a server is given to answer the connect request when the session
	// timeout is very short.
	minHandshake = 2 * time.Second
)

// hosts hands out the servers in turn, in random order. It does not resolve names: the dialer
// does, each time, so that a server may change its address. After a round without success the
// library pauses for a second.
type hosts struct {
	mu    sync.Mutex
	list  []string
	next  int
	tries int // left in this round
}

// Init implements zk.HostProvider.
func (h *hosts) Init(servers []string) error {
	h.list = servers
	rand.Shuffle(len(h.list), func(i, j int) { h.list[i], h.list[j] = h.list[j], h.list[i] })
	h.tries = len(h.list)
	return nil
}

// Len implements zk.HostProvider.
func (h *hosts) Len() int { return len(h.list) }

// Next implements zk.HostProvider.
func (h *hosts) Next() (server string, retryStart bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tries == 0 {
		h.tries, retryStart = len(h.list), true
	}
	h.tries--
	server = h.list[h.next]
	h.next = (h.next + 1) % len(h.list)
	return server, retryStart
}

// Connected implements zk.HostProvider.
func (h *hosts) Connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tries = len(h.list)
}

// A dialer makes the connections of one session and keeps hold of the present one.
type dialer struct {
	ctx       context.Context
	cancel    context.CancelFunc
	open      func(ctx context.Context, addr string) (net.Conn, error)
	handshake time.Duration
	granted   atomic.Int64 // session timeout in nanoseconds, as the servers have it

	mu   sync.Mutex
	last time.Time
	cur  net.Conn
}

func newDialer(o *Options) *dialer {
	d := &dialer{open: o.Dial, handshake: max(lease(o.Timeout), minHandshake)}
	if d.open == nil {
		d.open = func(ctx context.Context, addr string) (net.Conn, error) {
			var nd net.Dialer
			return nd.DialContext(ctx, "tcp", addr)
		}
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// dial is the library's zk.Dialer; it is not called concurrently.
func (d *dialer) dial(_, addr string, timeout time.Duration) (net.Conn, error) {
	d.mu.Lock()
	wait := time.Until(d.last.Add(dialPace))
	d.mu.Unlock()
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-d.ctx.Done():
			return nil, errClosed
		}
	}
	ctx, cancel := context.WithTimeout(d.ctx, timeout)
	defer cancel()
	nc, err := d.open(ctx, addr)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = time.Now()
	if err != nil {
		return nil, err
	}
	if d.ctx.Err() != nil {
		nc.Close()
		return nil, errClosed
	}
	d.cur = nc
	return &conn{Conn: nc, d: d}, nil
}

// kick breaks the present connection, so that the library tries another server.
func (d *dialer) kick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cur != nil {
		d.cur.Close()
	}
}

// close breaks the present connection and refuses to make others.
func (d *dialer) close() {
	d.cancel()
	d.kick()
}

// A conn looks at the answer to the connect request, because the library keeps the granted
// session timeout to itself, and bounds the wait for it, because the library would wait for ten
// times as long as it should.
//
// The answer begins with its length, the protocol version and the timeout in milliseconds.
type conn struct {
	net.Conn
	d    *dialer
	head [12]byte
	n    int
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.n < len(c.head) {
		c.n += copy(c.head[c.n:], p[:n])
		if ms := int32(binary.BigEndian.Uint32(c.head[8:])); c.n == len(c.head) && ms > 0 {
			c.d.granted.Store(int64(time.Duration(ms) * time.Millisecond))
		}
	}
	return n, err
}

func (c *conn) SetReadDeadline(t time.Time) error {
	if limit := time.Now().Add(c.d.handshake); c.n < len(c.head) && t.After(limit) {
		t = limit
	}
	return c.Conn.SetReadDeadline(t)
}
