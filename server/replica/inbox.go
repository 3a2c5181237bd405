// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"sync"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/engine"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// A clientWrite waits to become part of a mutation.
type clientWrite struct {
	req  *wire.Request // retained
	code engine.WriteCode
}

// An inbox collects what a replica's loop is to do. Whoever puts something in waits for nothing
// but the moment another one needs to do the same.
type inbox struct {
	wake chan struct{} // capacity 1

	mu     sync.Mutex
	writes []clientWrite
	bytes  int // of the arguments of writes and of those the loop holds back
	count  int // of writes, likewise
	events []func(now time.Time)
	tick   bool
	closed bool
}

// inboxLimits are the bounds of an inbox.
type inboxLimits struct{ writes, bytes int }

func (in *inbox) init() { in.wake = make(chan struct{}, 1) }

func (in *inbox) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// write puts in a client write. req is retained by the caller. The result is ErrOK, ErrBusy when
// too much waits already, or ErrInvalidState when the loop has ended.
func (in *inbox) write(req *wire.Request, code engine.WriteCode, limit inboxLimits) idl.ErrorCode {
	in.mu.Lock()
	if in.closed || in.count >= limit.writes || in.bytes+len(req.Arg) > limit.bytes {
		closed := in.closed
		in.mu.Unlock()
		if closed {
			return idl.ErrInvalidState
		}
		return idl.ErrBusy
	}
	in.writes = append(in.writes, clientWrite{req, code})
	in.count++
	in.bytes += len(req.Arg)
	in.mu.Unlock()
	in.signal()
	return idl.ErrOK
}

// post puts in a function for the loop to run; false when the loop has ended.
func (in *inbox) post(f func(now time.Time)) bool {
	in.mu.Lock()
	if in.closed {
		in.mu.Unlock()
		return false
	}
	in.events = append(in.events, f)
	in.mu.Unlock()
	in.signal()
	return true
}

// postTick asks for a tick. Ticks that the loop has not got to yet count as one.
func (in *inbox) postTick() {
	in.mu.Lock()
	in.tick = !in.closed
	in.mu.Unlock()
	in.signal()
}

// took tells that writes have left the hands of the loop.
func (in *inbox) took(count, bytes int) {
	in.mu.Lock()
	in.count -= count
	in.bytes -= bytes
	in.mu.Unlock()
}

// take empties the inbox into the given slices.
func (in *inbox) take(writes []clientWrite, events []func(time.Time)) ([]clientWrite, []func(time.Time), bool) {
	in.mu.Lock()
	writes = append(writes, in.writes...)
	clear(in.writes)
	in.writes = in.writes[:0]
	in.events, events = events[:0], in.events
	tick := in.tick
	in.tick = false
	in.mu.Unlock()
	return writes, events, tick
}

// close makes everything that comes later fail and returns what was still waiting.
func (in *inbox) close() ([]clientWrite, []func(time.Time)) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	w, e := in.writes, in.events
	in.writes, in.events = nil, nil
	return w, e
}

// enter lets work outside the loop begin unless the loop is ending, which waits for it.
func (in *inbox) enter(tasks *sync.WaitGroup) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return false
	}
	tasks.Add(1)
	return true
}
