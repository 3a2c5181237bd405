// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

const (
	// dialTimeout bounds one attempt to connect (the Go client of Pegasus uses the same).
	dialTimeout = 3 * time.Second
	// redialPause is how long calls fail at once after a failed attempt.
	redialPause = 200 * time.Millisecond
	// sweepEvery is the resolution of the timeouts of calls.
	sweepEvery = 20 * time.Millisecond
	// defaultCallTimeout is what the C++ framework uses.
	defaultCallTimeout = 5 * time.Second
)

// A Dialer opens a connection to "ip:port".
type Dialer func(ctx context.Context, addr string) (net.Conn, error)

// TCP is the Dialer of real networks.
func TCP(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// A Call is one RPC to be sent.
type Call struct {
	Name          string
	GPID          idl.GPID
	PartitionHash uint64
	Arg           idl.Value
	Result        idl.Decoder // nil: no answer is awaited
}

// Peers holds the outgoing connections of a process, one for each server address. A connection
// is dialled by the first call that needs it and again after it broke. Calls are multiplexed;
// what is sent within a short time leaves in one write.
type Peers struct {
	dial Dialer
	ctx  context.Context // ends with Close
	stop context.CancelFunc

	waiters sync.Pool // of *waiter

	mu     sync.Mutex
	conns  map[idl.RPCAddress]*peerConn
	failed map[idl.RPCAddress]dialFailure
	closed bool
	wg     sync.WaitGroup
}

type dialFailure struct {
	at  time.Time
	err error
}

// NewPeers returns Peers that connect with dial.
func NewPeers(dial Dialer) *Peers {
	ctx, stop := context.WithCancel(context.Background())
	return &Peers{
		dial: dial, ctx: ctx, stop: stop,
		waiters: sync.Pool{New: func() any { return &waiter{ch: make(chan error, 1)} }},
		conns:   map[idl.RPCAddress]*peerConn{},
		failed:  map[idl.RPCAddress]dialFailure{},
	}
}

// Close breaks every connection and waits for their goroutines; calls in flight fail.
func (p *Peers) Close() {
	p.mu.Lock()
	p.closed = true
	var all []*peerConn
	for _, c := range p.conns {
		all = append(all, c)
	}
	p.mu.Unlock()
	p.stop()
	for _, c := range all {
		c.fail(net.ErrClosed)
	}
	p.wg.Wait()
}

// Call sends c and waits for its answer, at most until the deadline of ctx or, without one, five
// seconds. It returns an idl.ErrorCode when the server answered with a transport error,
// idl.ErrTimeout when no answer came in time (the server may have executed the call), and an
// error wrapping idl.ErrNetworkFailure when the connection could not be made or broke; see
// NotSent. Blobs in Result stay valid.
func (p *Peers) Call(ctx context.Context, addr idl.RPCAddress, c Call) error {
	timeout := defaultCallTimeout
	if d, ok := ctx.Deadline(); ok {
		timeout = time.Until(d)
	}
	if err := ctx.Err(); err != nil || timeout <= 0 {
		return fmt.Errorf("%s to %s: %w", c.Name, addr, idl.ErrTimeout)
	}
	conn, err := p.conn(addr)
	if err != nil {
		return notSent(c.Name, addr, err)
	}
	if c.Result == nil {
		conn.send(c, timeout, nil)
		return nil
	}
	w := p.waiters.Get().(*waiter)
	w.result = c.Result
	seq := conn.send(c, timeout, w)
	select {
	case err = <-w.ch:
	case <-ctx.Done():
		if conn.forget(seq) {
			err = fmt.Errorf("%s to %s: %w", c.Name, addr, idl.ErrTimeout)
		} else {
			// The end is being delivered right now. It wins, so that Result is not written
			// to after Call has returned.
			err = <-w.ch
		}
	}
	w.result = nil
	p.waiters.Put(w)
	return err
}

// Go sends c and returns at once. done is called exactly once with the encoded result or an
// error as described at Call; it runs on the goroutine that reads the connection (or on the
// caller's, when nothing could be sent), so it must not wait. result is valid only inside done.
// Without a done no answer is awaited.
func (p *Peers) Go(addr idl.RPCAddress, c Call, timeout time.Duration, done func(result []byte, err error)) {
	conn, err := p.conn(addr)
	switch {
	case err != nil && done != nil:
		done(nil, notSent(c.Name, addr, err))
	case err != nil:
	case done != nil:
		conn.send(c, timeout, doneFunc(done))
	default:
		conn.send(c, timeout, nil)
	}
}

// conn returns the connection to addr, which may still be dialling.
func (p *Peers) conn(addr idl.RPCAddress) (*peerConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, net.ErrClosed
	}
	if c := p.conns[addr]; c != nil {
		return c, nil
	}
	if addr.IsZero() {
		return nil, errors.New("no address")
	}
	if f, ok := p.failed[addr]; ok {
		if time.Since(f.at) < redialPause {
			return nil, f.err
		}
		delete(p.failed, addr)
	}
	c := &peerConn{peers: p, addr: addr, pending: map[int32]pendingCall{}}
	c.out.init(nil)
	p.conns[addr] = c
	p.wg.Go(c.run)
	return c, nil
}

func (p *Peers) drop(c *peerConn, dialErr error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns[c.addr] == c {
		delete(p.conns, c.addr)
	}
	if dialErr != nil && !p.closed {
		p.failed[c.addr] = dialFailure{time.Now(), dialErr}
	}
}

// A networkError is a broken or impossible connection.
type networkError struct {
	name string
	addr idl.RPCAddress
	sent bool
	err  error
}

func (e *networkError) Error() string {
	return fmt.Sprintf("%s to %s: %v", e.name, e.addr, e.err)
}

func (e *networkError) Unwrap() []error { return []error{idl.ErrNetworkFailure, e.err} }

func notSent(name string, addr idl.RPCAddress, err error) error {
	return &networkError{name: name, addr: addr, err: err}
}

// NotSent reports whether err means that the request surely never reached the server.
func NotSent(err error) bool {
	var e *networkError
	return errors.As(err, &e) && !e.sent
}

// A sink takes the end of a call.
type sink interface {
	// deliver returns true when the bytes of val stay in use.
	deliver(r *reply, val []byte, err error) (keep bool)
}

type doneFunc func(result []byte, err error)

func (f doneFunc) deliver(_ *reply, val []byte, err error) bool {
	f(val, err)
	return false
}

// A waiter hands the result to a goroutine blocked in Call.
type waiter struct {
	ch     chan error
	result idl.Decoder
}

func (w *waiter) deliver(r *reply, val []byte, err error) bool {
	keep := false
	if err == nil {
		if r.typ != w.result.WireType() {
			err = fmt.Errorf("answer %s has thrift type %d, want %d: %w", r.name, r.typ, w.result.WireType(), idl.ErrInvalidData)
		} else if rest, derr := w.result.Decode(val); derr != nil {
			err = fmt.Errorf("answer %s: %w", r.name, derr)
		} else if len(rest) != 0 {
			err = fmt.Errorf("answer %s: %d bytes left over: %w", r.name, len(rest), idl.ErrInvalidData)
		} else {
			keep = true
		}
	}
	w.ch <- err
	return keep
}

type pendingCall struct {
	name     string
	deadline time.Time
	sink     sink
}

// A peerConn is one outgoing connection.
type peerConn struct {
	peers *Peers
	addr  idl.RPCAddress
	out   outbox

	mu      sync.Mutex
	seq     int32
	pending map[int32]pendingCall
	sweep   *time.Timer
	up      bool  // connected: what was queued counts as sent
	err     error // why it ended
}

func (c *peerConn) send(call Call, timeout time.Duration, s sink) int32 {
	c.mu.Lock()
	if c.err != nil {
		err := c.err
		c.mu.Unlock()
		if s != nil {
			s.deliver(nil, nil, notSent(call.Name, c.addr, err))
		}
		return 0
	}
	c.seq++
	seq := c.seq
	if s != nil {
		c.pending[seq] = pendingCall{call.Name, time.Now().Add(timeout), s}
		if c.sweep == nil {
			c.sweep = time.AfterFunc(sweepEvery, c.expire)
		}
	}
	c.mu.Unlock()
	b := c.out.begin()
	c.out.end(appendRequest(b, call.Name, call.GPID, call.PartitionHash, timeout, seq, call.Arg))
	return seq
}

// forget gives up a call; it reports false when its end is being delivered already.
func (c *peerConn) forget(seq int32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.pending[seq]
	delete(c.pending, seq)
	return ok
}

// expire ends the calls whose time is up and runs again while any are pending.
func (c *peerConn) expire() {
	now := time.Now()
	var late []pendingCall
	c.mu.Lock()
	for seq, p := range c.pending {
		if now.After(p.deadline) {
			late = append(late, p)
			delete(c.pending, seq)
		}
	}
	if len(c.pending) > 0 && c.sweep != nil {
		c.sweep.Reset(sweepEvery)
	} else {
		c.sweep = nil
	}
	c.mu.Unlock()
	for _, p := range late {
		p.sink.deliver(nil, nil, fmt.Errorf("%s to %s: %w", p.name, c.addr, idl.ErrTimeout))
	}
}

func (c *peerConn) run() {
	ctx, cancel := context.WithTimeout(c.peers.ctx, dialTimeout)
	nc, err := c.peers.dial(ctx, c.addr.String())
	cancel()
	if err != nil {
		c.peers.drop(c, err)
		c.fail(err)
		return
	}
	if tc, ok := nc.(*net.TCPConn); ok {
		tc.SetNoDelay(true)
	}
	c.mu.Lock()
	c.up = true
	ended := c.err
	c.mu.Unlock()
	if ended != nil {
		nc.Close()
		return
	}
	c.out.connected(nc)
	err = c.read(nc)
	c.peers.drop(c, nil)
	c.fail(err)
	nc.Close()
}

func (c *peerConn) read(nc net.Conn) error {
	fr := frameReader{src: nc, size: replySize, max: DefaultMaxFrame, buf: make([]byte, minChunk)}
	var r reply
	for {
		b, err := fr.next()
		if err != nil {
			return err
		}
		if err := parseReply(b, &r); err != nil {
			return err
		}
		c.mu.Lock()
		p, ok := c.pending[r.seq]
		delete(c.pending, r.seq)
		c.mu.Unlock()
		if !ok {
			continue // came after its timeout
		}
		err = nil
		if r.code != idl.ErrOK {
			err = r.code
		}
		if p.sink.deliver(&r, r.val, err) {
			fr.retain()
		}
	}
}

// fail ends the connection and every call that waits on it.
func (c *peerConn) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	pending, up := c.pending, c.up
	c.pending = map[int32]pendingCall{}
	if c.sweep != nil {
		c.sweep.Stop()
		c.sweep = nil
	}
	c.mu.Unlock()
	c.out.close(err)
	for _, p := range pending {
		p.sink.deliver(nil, nil, &networkError{name: p.name, addr: c.addr, sent: up, err: err})
	}
}
