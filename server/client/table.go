// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// A Table reads and writes the data of one table. It is safe for concurrent use.
type Table struct {
	c    *Cluster
	name string

	cached  atomic.Pointer[routing]     // nil until first needed
	trouble atomic.Pointer[metaTrouble] // the last since the leader answered

	mu        sync.Mutex
	inflight  *flight
	refreshed time.Time // end of the last refresh
}

// A routing is what a meta server said about a table. It is never changed.
type routing struct {
	appID int32
	parts []part
}

type part struct {
	primary idl.RPCAddress
	ballot  int64
}

// locate returns the partition responsible for a hash. While a table is being split, the new
// half of the partitions has no ballot until registered; the old half still serves their keys.
func (r *routing) locate(hash uint64) int {
	n := len(r.parts)
	i := int(hash % uint64(n))
	if r.parts[i].ballot < 0 && i >= n/2 {
		i -= n / 2
	}
	return i
}

// A flight is a refresh that goroutines wait for together.
type flight struct {
	done chan struct{}
	cfg  *routing
	err  error
}

// Name returns the table's name.
func (t *Table) Name() string { return t.name }

// A Route says where a record lives.
type Route struct {
	Hash           uint64
	GPID           idl.GPID
	PartitionCount int
	Primary        idl.RPCAddress // zero: the partition has none at present
}

// Route returns where the record with these keys lives, as far as this client knows.
func (t *Table) Route(ctx context.Context, hashKey, sortKey []byte) (Route, error) {
	r, err := t.routing(ctx, t.c.deadline(ctx))
	if err != nil {
		return Route{}, t.configError("locate", err)
	}
	h := idl.KeyHash(hashKey, sortKey)
	i := r.locate(h)
	return Route{h, idl.GPID{AppID: r.appID, PartitionIndex: int32(i)}, len(r.parts), r.parts[i].primary}, nil
}

// Shape returns the table's id and number of partitions, as far as this client knows.
func (t *Table) Shape(ctx context.Context) (appID int32, partitions int, err error) {
	r, err := t.routing(ctx, t.c.deadline(ctx))
	if err != nil {
		return 0, 0, t.configError("query configuration", err)
	}
	return r.appID, len(r.parts), nil
}

// Refresh asks a meta server for the present configuration, whatever is cached.
func (t *Table) Refresh(ctx context.Context) error {
	if _, err := t.await(ctx, t.c.deadline(ctx), t.refresh(t.cached.Load())); err != nil {
		return t.configError("query configuration", err)
	}
	return nil
}

func (t *Table) configError(op string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		copied := *e
		copied.Op = op
		return &copied
	}
	return &Error{Op: op, Table: t.name, Code: CodeOf(err), Err: err}
}

// routing returns the cached configuration or waits for the first one.
func (t *Table) routing(ctx context.Context, deadline time.Time) (*routing, error) {
	if r := t.cached.Load(); r != nil {
		return r, nil
	}
	return t.await(ctx, deadline, t.refresh(nil))
}

func (t *Table) await(ctx context.Context, deadline time.Time, f *flight) (*routing, error) {
	select { // without a timer when it is there already
	case <-f.done:
		return f.cfg, f.err
	default:
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-f.done:
		return f.cfg, f.err
	case <-ctx.Done():
		return nil, &Error{Op: "query configuration", Table: t.name, Code: causeCode(ctx), Err: t.why(context.Cause(ctx))}
	case <-timer.C:
		return nil, &Error{Op: "query configuration", Table: t.name, Code: idl.ErrTimeout, Err: t.why(context.DeadlineExceeded)}
	}
}

// why is what kept a refresh from ending in time. That the time is up says the error's code.
func (t *Table) why(end error) error {
	if trouble := t.trouble.Load(); trouble != nil && end == context.DeadlineExceeded {
		return trouble
	}
	return end
}

func causeCode(ctx context.Context) idl.ErrorCode {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return idl.ErrTimeout
	}
	return ""
}

// refresh replaces a configuration that was found stale. If somebody else has replaced it since,
// nothing needs to be asked; a refresh that is under way is joined.
func (t *Table) refresh(stale *routing) *flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cur := t.cached.Load(); cur != nil && cur != stale {
		return landed(cur, nil)
	}
	if t.inflight != nil {
		return t.inflight
	}
	f := &flight{done: make(chan struct{})}
	rest := t.c.opts.RefreshInterval - time.Since(t.refreshed)
	if t.refreshed.IsZero() {
		rest = 0
	}
	started := t.c.spawn(func() {
		f.cfg, f.err = t.load(rest)
		t.mu.Lock()
		if f.err == nil {
			t.cached.Store(f.cfg)
		} else if errors.Is(f.err, ErrTableNotFound) {
			t.cached.Store(nil)
		}
		t.inflight, t.refreshed = nil, time.Now()
		t.mu.Unlock()
		close(f.done)
	})
	if !started {
		return landed(nil, ErrClosed)
	}
	t.inflight = f
	return f
}

func landed(cfg *routing, err error) *flight {
	f := &flight{done: make(chan struct{}), cfg: cfg, err: err}
	close(f.done)
	return f
}

func (t *Table) load(pause time.Duration) (*routing, error) {
	if pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-t.c.ctx.Done():
			return nil, ErrClosed
		}
	}
	ctx, cancel := context.WithTimeout(t.c.ctx, t.c.opts.Timeout)
	defer cancel()
	cfg, err := t.c.queryConfig(ctx, t.name, t.trouble.Store)
	if err != nil {
		return nil, err
	}
	return cfg.routing()
}

// routing checks that the answer can be routed by.
func (tc *TableConfig) routing() (*routing, error) {
	n := int(tc.PartitionCount)
	if n <= 0 || tc.AppID <= 0 || len(tc.Partitions) > n {
		return nil, fmt.Errorf("configuration of table %s makes no sense: id %d, %d partitions, %d listed: %w",
			tc.Name, tc.AppID, n, len(tc.Partitions), idl.ErrInvalidData)
	}
	r := &routing{appID: tc.AppID, parts: make([]part, n)}
	for _, p := range tc.Partitions {
		i := int(p.Pid.PartitionIndex)
		if i < 0 || i >= n {
			return nil, fmt.Errorf("configuration of table %s lists partition %d of %d: %w", tc.Name, i, n, idl.ErrInvalidData)
		}
		r.parts[i] = part{p.Primary, p.Ballot}
	}
	return r, nil
}

// An op is one request to a partition's primary.
type op struct {
	name string // in words, for errors
	rpc  string
	hash uint64 // selects the partition, unless fixed
	// fixed addresses partition hash itself, as full scans do.
	fixed bool
	read  bool
	// repeatable marks a write that may be repeated after an ambiguous failure if the options
	// say so.
	repeatable bool
	// only, when set, is the one server this request makes sense at; single asks for one
	// attempt only.
	only   idl.RPCAddress
	single bool
}

// do sends a request to the primary of its partition until it is answered, is known to be
// futile, or the time is up. It returns the server that answered.
func (t *Table) do(ctx context.Context, o op, arg idl.Value, result idl.Decoder) (idl.RPCAddress, error) {
	deadline := t.c.deadline(ctx)
	var pace backoff
	var last *Error
	var unrouted error // the last reason why there is no configuration
	for attempt := 1; ; attempt++ {
		if err := context.Cause(ctx); err != nil || !time.Now().Before(deadline) {
			if last == nil && unrouted != nil {
				return 0, t.notRouted(ctx, o, unrouted)
			}
			return 0, t.gaveUp(ctx, o, last, attempt-1)
		}
		cfg, err := t.routing(ctx, deadline)
		if err != nil {
			if last != nil && errors.Is(err, context.DeadlineExceeded) {
				return 0, t.gaveUp(ctx, o, last, attempt-1)
			}
			if last == nil && transientConfig(err) && !o.single {
				if unrouted == nil || !errors.Is(err, context.DeadlineExceeded) {
					unrouted = err
				}
				if pace.wait(ctx, deadline) {
					continue
				}
				return 0, t.notRouted(ctx, o, unrouted)
			}
			return 0, t.configError(o.name, err)
		}
		index := int(o.hash)
		if !o.fixed {
			index = cfg.locate(o.hash)
		} else if o.hash >= uint64(len(cfg.parts)) {
			return 0, &Error{Op: o.name, Table: t.name, Code: idl.ErrInvalidParameters,
				Err: fmt.Errorf("partition %d of %d", o.hash, len(cfg.parts))}
		}
		gpid := idl.GPID{AppID: cfg.appID, PartitionIndex: int32(index)}
		addr := cfg.parts[index].primary
		if addr.IsZero() {
			last = &Error{Op: o.name, Table: t.name, GPID: gpid, Code: idl.ErrInvalidState, Err: ErrNoPrimary}
		} else if !o.only.IsZero() && o.only != addr {
			return 0, &Error{Op: o.name, Table: t.name, GPID: gpid, Server: o.only.String(), Code: idl.ErrInvalidState, Err: errMoved}
		} else {
			limit := deadline
			repeatable := o.read || o.repeatable && t.c.opts.RetryAmbiguousWrites
			if repeatable {
				limit = halfway(deadline)
			}
			err = t.c.peers.Call(&until{ctx, limit}, addr, wire.Call{
				Name: o.rpc, GPID: gpid, PartitionHash: o.hash, Arg: arg, Result: result,
			})
			if err == nil {
				return addr, nil
			}
			code, f := fateOf(err)
			last = &Error{Op: o.name, Table: t.name, GPID: gpid, Server: addr.String(), Code: code,
				Ambiguous: !o.read && !f.notExecuted, Err: err}
			if f.refresh {
				t.refresh(cfg)
			}
			again := f.transient && !o.single && (repeatable || f.notExecuted)
			if !again {
				last.Attempts = attempt
				return 0, last
			}
			if !f.refresh {
				cfg = nil
			}
		}
		if o.single {
			return 0, last
		}
		if !pace.wait(ctx, deadline) {
			return 0, t.gaveUp(ctx, o, last, attempt)
		}
		if cfg == nil {
			continue
		}
		// A configuration that could not be refreshed is still the best there is.
		if _, err := t.await(ctx, deadline, t.refresh(cfg)); errors.Is(err, ErrTableNotFound) || errors.Is(err, ErrClosed) {
			return 0, t.configError(o.name, err)
		}
	}
}

// errMoved: the primary is another server than the one that knows the scan.
var errMoved = errors.New("the primary has moved")

func (t *Table) gaveUp(ctx context.Context, o op, last *Error, attempts int) error {
	if last == nil {
		last = &Error{Op: o.name, Table: t.name, Code: causeCode(ctx), Err: context.Cause(ctx)}
		if last.Err == nil {
			last.Code, last.Err = idl.ErrTimeout, context.DeadlineExceeded
		}
		return last
	}
	last.Attempts = attempts
	return last
}

// notRouted is the error of an operation whose time went by without a configuration to go by.
func (t *Table) notRouted(ctx context.Context, o op, reason error) error {
	switch trouble := t.trouble.Load(); {
	case errors.Is(ctx.Err(), context.Canceled):
		return t.gaveUp(ctx, o, nil, 0)
	case trouble != nil:
		return &Error{Op: o.name, Table: t.name, Code: idl.ErrTimeout, Err: trouble}
	}
	return t.configError(o.name, reason)
}

// transientConfig reports whether asking for the configuration again may help.
func transientConfig(err error) bool {
	switch CodeOf(err) {
	case idl.ErrBusyCreating, idl.ErrBusyDropping, idl.ErrServiceNotActive, idl.ErrForwardToOthers,
		idl.ErrTimeout, idl.ErrNetworkFailure:
		return true
	}
	return false
}

// halfway gives one attempt of what may be repeated half of the time left, but at least a fifth of a second.
func halfway(deadline time.Time) time.Time {
	left := time.Until(deadline)
	return earlier(deadline, time.Now().Add(max(left/2, 200*time.Millisecond)))
}
