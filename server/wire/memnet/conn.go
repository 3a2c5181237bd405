// SPDX-License-Identifier: Apache-2.0

package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// window is how much may be under way in one direction before a writer has to wait.
const window = 1 << 20

// A pipe is one direction of a connection.
type pipe struct {
	network  *Network
	from, to string

	mu       sync.Mutex
	queue    []segment
	size     int
	last     time.Time // arrival of the newest segment; order is kept
	closed   bool      // by the writer: EOF after the queue
	err      error     // reset
	rdl, wdl time.Time
	signal   chan struct{} // closed and replaced on every change
}

type segment struct {
	data []byte
	at   time.Time
}

func newPipe(n *Network, from, to string) *pipe {
	return &pipe{network: n, from: from, to: to, signal: make(chan struct{})}
}

// changed is called with mu held.
func (p *pipe) changed() {
	close(p.signal)
	p.signal = make(chan struct{})
}

func (p *pipe) wake() {
	p.mu.Lock()
	p.changed()
	p.mu.Unlock()
}

func (p *pipe) fail(err error) {
	p.mu.Lock()
	if p.err == nil {
		p.err = err
		p.queue, p.size = nil, 0
	}
	p.changed()
	p.mu.Unlock()
}

// wait blocks until something changes, until t (zero: no limit) or until the deadline passes.
// It is called with mu held and returns with it held.
func (p *pipe) wait(t, deadline time.Time) error {
	now := time.Now()
	if !deadline.IsZero() && !deadline.After(now) {
		return os.ErrDeadlineExceeded
	}
	if t.IsZero() || !deadline.IsZero() && deadline.Before(t) {
		t = deadline
	}
	sig := p.signal
	p.mu.Unlock()
	defer p.mu.Lock()
	if t.IsZero() {
		<-sig
		return nil
	}
	timer := time.NewTimer(t.Sub(now))
	defer timer.Stop()
	select {
	case <-sig:
	case <-timer.C:
	}
	return nil
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.err != nil {
			return 0, p.err
		}
		var next time.Time
		if len(p.queue) > 0 {
			if s := &p.queue[0]; !s.at.After(time.Now()) {
				if !p.network.blocked(p.from, p.to) {
					n := copy(b, s.data)
					s.data = s.data[n:]
					if len(s.data) == 0 {
						p.queue = p.queue[1:]
					}
					p.size -= n
					p.changed()
					return n, nil
				}
			} else {
				next = s.at
			}
		} else if p.closed && !p.network.blocked(p.from, p.to) {
			return 0, io.EOF
		}
		if err := p.wait(next, p.rdl); err != nil {
			return 0, err
		}
	}
}

func (p *pipe) write(b []byte) (int, error) {
	delay := p.network.delay()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.err != nil {
			return 0, p.err
		}
		if p.closed {
			return 0, net.ErrClosed
		}
		if p.size < window {
			break
		}
		if err := p.wait(time.Time{}, p.wdl); err != nil {
			return 0, err
		}
	}
	at := time.Now().Add(delay)
	if at.Before(p.last) {
		at = p.last
	}
	p.last = at
	p.queue = append(p.queue, segment{append([]byte(nil), b...), at})
	p.size += len(b)
	p.changed()
	return len(b), nil
}

type conn struct {
	network       *Network
	from, to      string
	in, out       *pipe
	local, remote net.Addr
	peer          *conn
	once          sync.Once
	closed        bool // guarded by network.mu
}

func (c *conn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }

// Close ends both directions: the peer reads what was sent and then EOF, and is reset when it
// goes on writing.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.out.mu.Lock()
		c.out.closed = true
		c.out.changed()
		c.out.mu.Unlock()
		c.in.mu.Lock()
		if c.in.err == nil {
			c.in.err = net.ErrClosed
			if !c.in.closed {
				c.in.err = closedByReader{}
			}
		}
		c.in.queue, c.in.size = nil, 0
		c.in.changed()
		c.in.mu.Unlock()
		c.network.mu.Lock()
		c.closed = true
		if c.peer.closed { // until then a healed line has to wake the other end
			delete(c.network.conns, c)
			delete(c.network.conns, c.peer)
		}
		c.network.mu.Unlock()
	})
	return nil
}

// closedByReader is what the other side's writes meet.
type closedByReader struct{}

func (closedByReader) Error() string { return "connection closed" }

func (closedByReader) Is(target error) bool {
	return target == net.ErrClosed || target == error(syscall.EPIPE)
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.mu.Lock()
	c.in.rdl = t
	c.in.changed()
	c.in.mu.Unlock()
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.mu.Lock()
	c.out.wdl = t
	c.out.changed()
	c.out.mu.Unlock()
	return nil
}
