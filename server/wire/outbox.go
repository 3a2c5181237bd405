// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"net"
	"runtime"
	"sync"
)

const (
	// outboxIdle is the largest buffer an outbox keeps while it has nothing to send.
	outboxIdle = 64 << 10
	// outboxHigh is how much may wait before a reader stops taking further requests.
	outboxHigh = 4 << 20
	// outboxLimit is how much may wait before the peer is given up as too slow.
	outboxLimit = 256 << 20
)

var errSlowPeer = errors.New("wire: the peer does not read its answers")

// An outbox collects frames for one connection and writes what has gathered with one call. It
// has no goroutine of its own while there is nothing to send.
type outbox struct {
	mu       sync.Mutex
	room     sync.Cond // signalled when a flush has made room or has ended
	conn     net.Conn  // nil until connected
	buf      []byte    // waiting
	spare    []byte    // the buffer that is not buf
	flushing bool      // somebody is in flush
	held     bool      // the reader is still draining; it will flush
	err      error     // sticky; frames are dropped from then on
}

func (o *outbox) init(c net.Conn) {
	o.conn = c
	o.room.L = &o.mu
}

// begin locks the outbox and returns the buffer to append one frame to; end must follow.
func (o *outbox) begin() []byte {
	o.mu.Lock()
	if o.buf == nil {
		o.buf, o.spare = o.spare, nil
	}
	return o.buf
}

// end takes back the extended buffer and sees to it that it is sent.
func (o *outbox) end(b []byte) {
	if o.err != nil {
		o.buf = nil
		o.mu.Unlock()
		return
	}
	o.buf = b
	if len(b) > outboxLimit {
		o.fail(errSlowPeer)
		o.mu.Unlock()
		return
	}
	start := !o.flushing && !o.held && o.conn != nil && len(b) > 0
	if start {
		o.flushing = true
	}
	o.mu.Unlock()
	if start {
		go o.flushSoon()
	}
}

// flushSoon lets those go first that are about to add frames: one write then carries them all.
func (o *outbox) flushSoon() {
	runtime.Gosched()
	o.flush()
}

// hold keeps frames back until release: the reader has more requests at hand.
func (o *outbox) hold() {
	o.mu.Lock()
	o.held = true
	o.mu.Unlock()
}

// release sends what gathered since hold on the caller's goroutine, and waits while the peer is
// far behind, so that it is not sent faster than it reads.
func (o *outbox) release() {
	o.mu.Lock()
	o.held = false
	start := !o.flushing && len(o.buf) > 0 && o.err == nil
	if start {
		o.flushing = true
		o.mu.Unlock()
		o.flush()
		o.mu.Lock()
	}
	for len(o.buf) > outboxHigh && o.err == nil {
		o.room.Wait()
	}
	o.mu.Unlock()
}

// connected gives an outbox that was filled before its dial ended the connection.
func (o *outbox) connected(c net.Conn) {
	o.mu.Lock()
	o.conn = c
	start := !o.flushing && len(o.buf) > 0 && o.err == nil
	if start {
		o.flushing = true
	}
	o.mu.Unlock()
	if start {
		o.flush()
	}
}

// flush writes until nothing is left. The caller has set flushing.
func (o *outbox) flush() {
	o.mu.Lock()
	for len(o.buf) > 0 && o.err == nil {
		b := o.buf
		o.buf, o.spare = o.spare, nil
		o.mu.Unlock()
		_, err := o.conn.Write(b)
		o.mu.Lock()
		if err != nil {
			o.fail(err)
		}
		if cap(b) <= outboxIdle && o.err == nil {
			if o.buf == nil {
				o.buf = b[:0]
			} else {
				o.spare = b[:0]
			}
		}
		o.room.Broadcast()
	}
	o.flushing = false
	o.room.Broadcast()
	o.mu.Unlock()
}

// fail drops everything that waits and closes the connection; the reader ends by itself.
func (o *outbox) fail(err error) {
	if o.err != nil {
		return
	}
	o.err = err
	o.buf, o.spare = nil, nil
	if o.conn != nil {
		o.conn.Close()
	}
	o.room.Broadcast()
}

func (o *outbox) close(err error) {
	o.mu.Lock()
	o.fail(err)
	o.mu.Unlock()
}
