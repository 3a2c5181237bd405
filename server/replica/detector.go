// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

const (
	// switchPause is how long after a failed beacon the next meta server is tried.
	switchPause = time.Second
	// refusedPause is how long a node that the meta server does not want waits before it asks
	// again; it may have been put on the list meanwhile.
	refusedPause = 30 * time.Second
)

// A detector is the client of the failure detector: it tells the meta server that this process
// lives and keeps the lease. The lease counts from the moment a beacon was sent that the master
// has acknowledged. So it always ends before the meta server, which counts from the reception,
// declares this node dead.
type detector struct {
	self  idl.RPCAddress
	start time.Time // of the process
	every time.Duration
	lease time.Duration
	peers *wire.Peers
	log   *slog.Logger

	// connected is called when a lease begins, lost when it has ended; both on the detector's
	// goroutine, alternating.
	connected func(master idl.RPCAddress)
	lost      func()

	base     time.Time    // what deadline counts from; monotonic
	deadline atomic.Int64 // end of the lease in nanoseconds after base; 0 = none
	epoch    atomic.Int64 // grows whenever a lease is lost: what was decided under it is void

	mu     sync.Mutex
	metas  []idl.RPCAddress
	master idl.RPCAddress // believed

	acks chan beaconResult
}

type beaconResult struct {
	sent time.Time
	to   idl.RPCAddress
	ack  idl.BeaconAck
	err  error
}

func newDetector(o *Options) *detector {
	return &detector{
		self: o.Self, start: o.StartTime, every: o.BeaconInterval, lease: o.Lease,
		peers: o.Peers, log: o.Log, base: time.Now(),
		metas: slices.Clone(o.Metas), master: o.Metas[0],
		acks: make(chan beaconResult, 16),
	}
}

// now is the monotonic clock that deadlines are read on.
func (d *detector) now() int64 { return int64(time.Since(d.base)) }

// alive reports whether the lease holds at this moment.
func (d *detector) alive() bool { return d.now() < d.deadline.Load() }

// until returns when the lease ends; false when there is none.
func (d *detector) until() (time.Time, bool) {
	end := d.deadline.Load()
	if end <= d.now() {
		return time.Time{}, false
	}
	return d.base.Add(time.Duration(end)), true
}

// meta returns the meta server that is believed to be the master.
func (d *detector) meta() idl.RPCAddress {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.master
}

// distrust moves on to the next meta server if addr is still the one believed in; another part
// of the server got no sensible answer from it.
func (d *detector) distrust(addr idl.RPCAddress) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.master != addr {
		return
	}
	i := slices.Index(d.metas, addr)
	d.master = d.metas[(i+1)%len(d.metas)]
}

// believe makes addr the master; it reports whether that is news.
func (d *detector) believe(addr idl.RPCAddress) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if addr.IsZero() || d.master == addr {
		return false
	}
	d.master = addr
	return true
}

// run sends beacons until ctx ends.
func (d *detector) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	next := time.Now() // next beacon
	held := false      // between connected and lost
	for {
		wait := time.Until(next)
		if held {
			wait = min(wait, time.Duration(d.deadline.Load()-d.now()))
		}
		timer.Reset(max(wait, 0))
		var got *beaconResult
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case r := <-d.acks:
			got = &r
		}
		// First of all, even if the acknowledgement that just came begins a new lease: in between
		// this node may have been declared dead.
		if held && !d.alive() {
			held = false
			d.epoch.Add(1)
			d.log.Error("lease lost: no meta server acknowledged a beacon in time; "+
				"replicas stop serving until one does", "lease", d.lease, "node", d.meta())
			d.lost()
		}
		if got == nil {
			if now := time.Now(); !now.Before(next) {
				d.beacon(now)
				next = now.Add(d.every)
			}
			continue
		}
		renewed, again := d.take(*got)
		if renewed && !held {
			held = true
			d.log.Info("lease acquired", "node", got.to, "lease", d.lease)
			d.connected(got.to)
		}
		if again >= 0 {
			next = time.Now().Add(again)
		}
	}
}

// beacon sends one to the believed master.
func (d *detector) beacon(now time.Time) {
	to := d.meta()
	msg := &idl.BeaconMsg{TimeMs: now.UnixMilli(), FromNode: d.self, ToNode: to, StartTimeMs: d.start.UnixMilli()}
	d.peers.Go(to, wire.Call{Name: idl.RPCFdFailureDetectorPing, Arg: msg}, d.every*2/3,
		func(result []byte, err error) {
			r := beaconResult{sent: now, to: to, err: err}
			if err == nil {
				_, r.err = r.ack.Decode(result)
			}
			select {
			case d.acks <- r:
			default: // the loop is stuck far behind; the next beacon will tell
			}
		})
}

// take handles the outcome of a beacon. again says in how long the next one shall be sent, -1
// that the rhythm stays.
func (d *detector) take(r beaconResult) (renewed bool, again time.Duration) {
	switch {
	case r.err != nil:
		d.log.Debug("beacon failed", "node", r.to, "err", r.err)
		d.distrust(r.to)
		return false, switchPause
	case !r.ack.Allowed:
		d.log.Error("the meta server does not admit this node; put it on replica_white_list or stop it",
			"node", r.to, "self", d.self)
		return false, refusedPause
	case !r.ack.IsMaster:
		if d.believe(r.ack.PrimaryNode) {
			return false, 0
		}
		if r.to == d.meta() {
			d.distrust(r.to)
		}
		return false, switchPause
	}
	d.believe(r.to)
	end := int64(r.sent.Sub(d.base) + d.lease)
	if end <= d.deadline.Load() {
		return false, -1
	}
	d.deadline.Store(end)
	return d.alive(), -1
}
