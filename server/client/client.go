// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// Defaults of [Options].
const (
	DefaultTimeout         = 5 * time.Second
	DefaultMetaTimeout     = time.Second
	DefaultRefreshInterval = 200 * time.Millisecond
)

// Pauses between attempts grow from the first to the second value.
const (
	minPause = 20 * time.Millisecond
	maxPause = time.Second
)

// Options says which cluster to open and how to behave. Only Metas is required.
type Options struct {
	// Metas are the addresses of the meta servers, each "ip:port" or "host:port"; a host name
	// may stand for several addresses, all of which are used.
	Metas []string
	// Dial opens connections; nil means TCP.
	Dial wire.Dialer
	// Timeout bounds an operation whose context has no deadline. Default 5 s.
	Timeout time.Duration
	// MetaTimeout is how long a meta server may take to answer a query before the next one is
	// asked. It doubles each time all of them were asked in vain. Default 1 s.
	MetaTimeout time.Duration
	// RefreshInterval is the shortest time between two queries of one table's configuration.
	// Default 200 ms.
	RefreshInterval time.Duration
	// RetryAmbiguousWrites makes Set, Del, MultiSet and MultiDel try again after a timeout or a
	// broken connection, at the price described in the package comment. Default false.
	RetryAmbiguousWrites bool
}

// A Cluster is a connection to one Pegasus cluster. It is safe for concurrent use.
type Cluster struct {
	opts  Options
	peers *wire.Peers
	metas metaList

	ctx    context.Context // ends with Close; background refreshes run under it
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	tables map[string]*Table
}

// Open returns the cluster whose meta servers are given. It resolves their names, which is what
// ctx bounds, and does not connect: whether the cluster answers shows at the first call.
func Open(ctx context.Context, o Options) (*Cluster, error) {
	if o.Dial == nil {
		o.Dial = wire.TCP
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MetaTimeout <= 0 {
		o.MetaTimeout = DefaultMetaTimeout
	}
	if o.RefreshInterval <= 0 {
		o.RefreshInterval = DefaultRefreshInterval
	}
	addrs, err := ResolveAll(ctx, o.Metas)
	if err != nil {
		return nil, fmt.Errorf("open cluster: %w", err)
	}
	if len(addrs) == 0 {
		return nil, errors.New("open cluster: no meta server is given: want at least one host:port")
	}
	c := &Cluster{opts: o, peers: wire.NewPeers(o.Dial), tables: map[string]*Table{}}
	c.metas.addrs = addrs
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Close breaks the connections and waits for the goroutines of the cluster. Operations in flight
// fail; a write among them may still be executed.
func (c *Cluster) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.peers.Close()
	c.wg.Wait()
}

// Table returns the table of that name. It does not look whether the table exists; the first
// operation does. Calls with the same name return the same Table.
func (c *Cluster) Table(name string) *Table {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tables[name]
	if t == nil {
		t = &Table{c: c, name: name}
		c.tables[name] = t
	}
	return t
}

// Metas returns the addresses of the meta servers this client knows: those it was opened with
// and leaders it was forwarded to.
func (c *Cluster) Metas() []idl.RPCAddress { return c.metas.all() }

// Timeout is what bounds an operation whose context has no deadline.
func (c *Cluster) Timeout() time.Duration { return c.opts.Timeout }

// spawn runs f as a goroutine that Close waits for; it reports false after Close.
func (c *Cluster) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

// deadline is when an operation under ctx has to end.
func (c *Cluster) deadline(ctx context.Context) time.Time {
	if d, ok := ctx.Deadline(); ok {
		return d
	}
	return time.Now().Add(c.opts.Timeout)
}

// An until is a context with an earlier deadline that needs no timer of its own: [wire.Peers]
// ends calls by their deadline.
type until struct {
	context.Context
	at time.Time
}

func (u *until) Deadline() (time.Time, bool) { return u.at, true }

// A backoff paces the attempts of one operation.
type backoff struct{ next time.Duration }

// wait pauses before the next attempt. It returns false when there is no time for one.
func (b *backoff) wait(ctx context.Context, deadline time.Time) bool {
	b.next = min(max(2*b.next, minPause), maxPause)
	pause := b.next/2 + rand.N(b.next) // 0.5 to 1.5 times, so that clients do not march in step
	if !time.Now().Add(pause).Before(deadline) {
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ResolveAll turns "host:port" texts into addresses, each host name into all of its IPv4
// addresses. Duplicates are dropped, the order is kept.
func ResolveAll(ctx context.Context, hosts []string) ([]idl.RPCAddress, error) {
	var addrs []idl.RPCAddress
	seen := map[idl.RPCAddress]bool{}
	for _, h := range hosts {
		h = strings.TrimSpace(h)
		if h == "" {
			continue
		}
		all, err := resolve(ctx, h)
		if err != nil {
			return nil, err
		}
		for _, a := range all {
			if !seen[a] {
				seen[a] = true
				addrs = append(addrs, a)
			}
		}
	}
	return addrs, nil
}

func resolve(ctx context.Context, hostPort string) ([]idl.RPCAddress, error) {
	if a, err := idl.ParseAddress(hostPort); err == nil && a.Port() != 0 {
		return []idl.RPCAddress{a}, nil
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, fmt.Errorf("address %q: want host:port, as in 10.0.0.1:34601", hostPort)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" {
		return nil, fmt.Errorf("address %q: want host:port with a port of 1 to 65535", hostPort)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", host, err)
	}
	var addrs []idl.RPCAddress
	for _, ip := range ips {
		if ip = ip.Unmap(); ip.Is4() {
			addrs = append(addrs, idl.MakeAddress(ip.As4(), uint16(n)))
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("resolve %s: it has no IPv4 address, and the Pegasus protocol carries no others", host)
	}
	return addrs, nil
}
