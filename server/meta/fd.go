// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"slices"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// detector is the master's side of the failure detector, without clock or I/O. A worker that is
// silent for longer than grace is dead. The grace period is longer than the lease after which
// the worker stops serving on its own, so whoever is declared dead serves nobody any more.
type detector struct {
	grace       time.Duration
	stable      time.Duration // a start sooner than this after the one before is unstable
	maxUnstable int           // with so many in a row beacons are ignored; 0: never
	allowed     []idl.RPCAddress
	workers     map[idl.RPCAddress]*worker
}

type worker struct {
	alive    bool
	lastRecv time.Time
	started  int64 // start_time_ms of its process, 0 while unknown
	unstable int
}

// verdict is what a beacon means.
type verdict uint8

const (
	beatAlive   verdict = iota // still alive
	beatJoined                 // was unknown or dead before
	beatRefused                // not on the allow list
	beatIgnored                // restarts too often, gets no answer for now
)

func newDetector(o *Options) *detector {
	return &detector{grace: o.Grace, stable: o.StableRunning, maxUnstable: o.MaxUnstableStarts,
		allowed: o.AllowList, workers: map[idl.RPCAddress]*worker{}}
}

// presume takes a worker for alive that has not been heard yet, with a full grace period: a new
// leader must not declare anybody dead whom it has not given the time to find it.
func (d *detector) presume(node idl.RPCAddress, now time.Time) {
	if d.workers[node] == nil {
		d.workers[node] = &worker{alive: true, lastRecv: now}
	}
}

// beacon takes note of a sign of life. restarted says that it comes from another process than
// the last one: whatever roles the old one had are gone, whether it was missed or not.
func (d *detector) beacon(node idl.RPCAddress, started int64, now time.Time) (v verdict, restarted bool) {
	if d.allowed != nil && !slices.Contains(d.allowed, node) {
		return beatRefused, false
	}
	w := d.workers[node]
	if w == nil {
		d.workers[node] = &worker{alive: true, lastRecv: now, started: started}
		return beatJoined, false
	}
	restarted = w.started != 0 && started != w.started
	switch {
	case restarted && time.Duration(started-w.started)*time.Millisecond < d.stable:
		w.unstable++
	case restarted, now.Sub(time.UnixMilli(started)) >= d.stable:
		w.unstable = 0
	}
	w.started = started
	if d.maxUnstable > 0 && d.stable > 0 && w.unstable >= d.maxUnstable {
		return beatIgnored, restarted
	}
	w.lastRecv = now
	if !w.alive {
		w.alive = true
		return beatJoined, restarted
	}
	return beatAlive, restarted
}

// check returns the workers that have died since the last check.
func (d *detector) check(now time.Time) []idl.RPCAddress {
	var dead []idl.RPCAddress
	for node, w := range d.workers {
		if w.alive && now.Sub(w.lastRecv) > d.grace {
			w.alive = false
			dead = append(dead, node)
		}
	}
	slices.Sort(dead)
	return dead
}
