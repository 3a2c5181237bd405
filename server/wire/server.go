// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// ErrClosed is what Serve returns after Close.
var ErrClosed = errors.New("wire: server closed")

// A Server accepts connections and runs the handlers of its Mux. Its fields are set before
// Serve and not changed afterwards.
type Server struct {
	Mux  *Mux
	HTTP http.Handler // nil: HTTP connections are closed
	Self idl.RPCAddress
	// HostPortsTHFT and HostPortsRDSN say whether answers on that framing carry hp_* fields.
	HostPortsTHFT, HostPortsRDSN bool
	MaxFrame                     int // bytes; 0 means DefaultMaxFrame
	ConnsPerIP                   int // connections accepted from one address; 0 means no limit
	Log                          *slog.Logger

	mu     sync.Mutex
	closed bool
	ln     map[net.Listener]struct{}
	conns  map[*serverConn]struct{}
	perIP  map[string]int
	httpLn *httpListener
	httpd  *http.Server
	wg     sync.WaitGroup
}

// Serve accepts connections until Close or until the listener fails for good.
func (s *Server) Serve(ln net.Listener) error {
	if err := s.start(ln); err != nil {
		return err
	}
	var pause time.Duration
	for {
		c, err := ln.Accept()
		if err != nil {
			s.mu.Lock()
			closed := s.closed
			s.mu.Unlock()
			if closed {
				return ErrClosed
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
			}
			// Out of file descriptors or the like: it passes, and the others must go on.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log().Warn("accept failed, trying again", "addr", ln.Addr().String(), "err", err, "pause", pause)
			<-time.After(pause)
			continue
		}
		pause = 0
		s.accept(c)
	}
}

func (s *Server) start(ln net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		ln.Close()
		return ErrClosed
	}
	if s.ln == nil {
		s.ln = map[net.Listener]struct{}{}
		s.conns = map[*serverConn]struct{}{}
		s.perIP = map[string]int{}
		if s.HTTP != nil {
			s.httpLn = newHTTPListener(ln.Addr())
			s.httpd = &http.Server{
				Handler:           s.HTTP,
				ReadHeaderTimeout: 30 * time.Second,
				ErrorLog:          slog.NewLogLogger(s.log().Handler(), slog.LevelDebug),
			}
			s.wg.Go(func() { s.httpd.Serve(s.httpLn) })
		}
	}
	s.ln[ln] = struct{}{}
	return nil
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

func (s *Server) accept(nc net.Conn) {
	remote := nc.RemoteAddr().String()
	ip, _, err := net.SplitHostPort(remote)
	if err != nil {
		ip = remote
	}
	if tc, ok := nc.(*net.TCPConn); ok {
		tc.SetNoDelay(true)
	}
	c := &serverConn{server: s, nc: nc, remote: remote, ip: ip}
	c.out.init(nc)
	s.mu.Lock()
	refuse := s.closed || s.ConnsPerIP > 0 && s.perIP[ip] >= s.ConnsPerIP
	if !refuse {
		s.perIP[ip]++
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if refuse {
		s.log().Debug("connection refused", "remote", remote)
		nc.Close()
		return
	}
	s.wg.Go(c.serve)
}

// forget takes a connection off the books. For HTTP the books are kept until it closes.
func (s *Server) forget(c *serverConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.conns[c]; !ok {
		return
	}
	delete(s.conns, c)
	if s.perIP[c.ip]--; s.perIP[c.ip] == 0 {
		delete(s.perIP, c.ip)
	}
}

// Sessions returns the number of open connections.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Close stops accepting, closes every connection and waits until their goroutines have ended.
// Answers given after Close are dropped.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for ln := range s.ln {
		ln.Close()
	}
	for c := range s.conns {
		c.nc.Close()
	}
	httpd := s.httpd
	s.mu.Unlock()
	if httpd != nil {
		httpd.Close()
	}
	s.wg.Wait()
	return nil
}

// A serverConn is one accepted connection.
type serverConn struct {
	server *Server
	nc     net.Conn
	remote string
	ip     string
	reader frameReader
	out    outbox
}

func (c *serverConn) serve() {
	handed := false
	defer func() {
		if !handed {
			c.out.close(net.ErrClosed)
			c.server.forget(c)
		}
	}()
	limit := c.server.MaxFrame
	if limit <= 0 {
		limit = DefaultMaxFrame
	}
	c.reader = frameReader{src: c.nc, size: frameSize, max: limit, buf: make([]byte, minChunk)}
	for c.reader.w < 4 {
		if err := c.reader.fill(4); err != nil {
			return
		}
	}
	switch string(c.reader.buf[:4]) {
	case magicTHFT, magicRDSN:
	case "GET ", "POST":
		if c.server.httpLn != nil {
			handed = true
			c.server.httpLn.hand(&httpConn{Conn: c.nc, head: c.reader.buf[:c.reader.w], done: func() { c.server.forget(c) }})
		}
		return
	default:
		c.server.log().Debug("connection closed: no known protocol", "remote", c.remote)
		return
	}
	if err := c.loop(); err != io.EOF && !errors.Is(err, net.ErrClosed) {
		c.server.log().Info("connection closed", "remote", c.remote, "err", err)
	}
}

// loop decodes and dispatches until the connection ends. While complete frames are at hand the
// outbox is held, so that what they are answered leaves in one write.
func (c *serverConn) loop() error {
	var h frameHeader
	req := &Request{conn: c}
	magic := c.reader.buf[0]
	for {
		b, err := c.reader.next()
		if err != nil {
			return err
		}
		if b[0] != magic {
			return badFrame("the connection changed its framing")
		}
		c.out.hold()
		for {
			if err := parseFrame(b, &h); err != nil {
				c.out.release()
				return err
			}
			c.dispatch(&h, req)
			if !c.reader.buffered() {
				break
			}
			if b, err = c.reader.next(); err != nil {
				c.out.release()
				return err
			}
			if b[0] != magic {
				c.out.release()
				return badFrame("the connection changed its framing")
			}
		}
		c.out.release()
	}
}

func (c *serverConn) dispatch(h *frameHeader, r *Request) {
	if h.response {
		return // nobody here has asked anything
	}
	*r = Request{
		GPID:             h.gpid,
		PartitionHash:    h.hash,
		ClientTimeout:    time.Duration(h.timeout) * time.Millisecond,
		Backup:           h.backup,
		Framing:          h.framing,
		ForwardSupported: h.forward,
		Forwarded:        h.relayed,
		From:             idl.RPCAddress(h.from),
		Arg:              h.arg,
		argType:          h.argType,
		oneWay:           h.oneWay,
		seq:              h.seq,
		rdsn:             h.rdsn,
		conn:             c,
	}
	rt := c.server.Mux.lookup(h.name)
	if rt == nil {
		r.Name = string(h.name)
		r.ack = r.Name + "_ACK"
		r.ReplyError(idl.ErrHandlerNotFound)
		return
	}
	r.Name, r.ack = rt.name, rt.ack
	defer func() {
		// A defect in one handler must not take down the other connections.
		if p := recover(); p != nil {
			c.server.log().Error("handler panicked", "rpc", r.Name, "remote", c.remote, "panic", p, "stack", string(debug.Stack()))
			c.nc.Close()
		}
	}()
	rt.handler(r)
}

// An httpListener feeds connections that turned out to speak HTTP to net/http.
type httpListener struct {
	addr net.Addr
	ch   chan net.Conn
	once sync.Once
	done chan struct{}
}

func newHTTPListener(addr net.Addr) *httpListener {
	return &httpListener{addr: addr, ch: make(chan net.Conn), done: make(chan struct{})}
}

func (l *httpListener) hand(c net.Conn) {
	select {
	case l.ch <- c:
	case <-l.done:
		c.Close()
	}
}

func (l *httpListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ch:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *httpListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *httpListener) Addr() net.Addr { return l.addr }

// An httpConn gives back the bytes that were read to recognise the protocol.
type httpConn struct {
	net.Conn
	head []byte
	once sync.Once
	done func()
}

func (c *httpConn) Read(b []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(b, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

func (c *httpConn) Close() error {
	c.once.Do(c.done)
	return c.Conn.Close()
}
