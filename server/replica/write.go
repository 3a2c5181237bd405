// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/engine"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/pacifica"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

const (
	// heldMax is how long a write may wait for its turn; clients have given up by then.
	heldMax = 10 * time.Second
	// eagerWrites and eagerBytes: while a mutation is under way writes gather, so that the next
	// one carries many of them. With that much gathered it does not wait any longer.
	eagerWrites = 64
	eagerBytes  = 64 << 10
)

// A writeBatch is the client side of one mutation.
type writeBatch struct {
	reqs []*wire.Request
}

// respond answers the i-th write.
func (b *writeBatch) respond(i int, v idl.Value) {
	if i < len(b.reqs) && b.reqs[i] != nil {
		b.reqs[i].Reply(v)
		b.reqs[i] = nil
	}
}

// fail answers the writes that have got no answer yet.
func (b *writeBatch) fail(code idl.ErrorCode) {
	for i, req := range b.reqs {
		if req != nil {
			req.ReplyError(code)
			b.reqs[i] = nil
		}
	}
}

// handleWrites registers the data operations that change something.
func (s *Server) handleWrites() {
	for _, name := range []string{
		idl.RPCPut, idl.RPCRemove, idl.RPCMultiPut, idl.RPCMultiRemove,
		idl.RPCIncr, idl.RPCCheckAndSet, idl.RPCCheckAndMutate,
	} {
		code, ok := engine.WriteCodeOf(name)
		if !ok {
			continue
		}
		op := opOf[name]
		s.opts.Mux.Handle(name, func(req *wire.Request) { s.write(req, code, op) })
	}
}

func (s *Server) write(req *wire.Request, code engine.WriteCode, op op) {
	r := s.replica(req.GPID)
	if r == nil {
		s.metrics.writeFailed.Inc()
		req.ReplyError(s.absent(req.GPID))
		return
	}
	if err, silent := r.refuseWrite(req); silent {
		return
	} else if err != idl.ErrOK {
		s.metrics.writeFailed.Inc()
		req.ReplyError(err)
		return
	}
	r.metrics.requests[op].Inc()
	kept := req.Retain()
	if err := r.inbox.write(kept, code, s.inboxLimits); err != idl.ErrOK {
		s.metrics.writeBusy.Inc()
		kept.ReplyError(err)
	}
}

// propose turns the writes that have gathered into mutations.
func (r *replica) propose(now time.Time) {
	for len(r.held) > 0 {
		if r.heldFrom.IsZero() {
			r.heldFrom = now
		}
		switch err := r.core.CanPropose(now); err {
		case nil:
		case idl.ErrCapacityExceeded, idl.ErrTryAgain:
			if now.Sub(r.heldFrom) > heldMax {
				r.refuseHeld(idl.ErrTimeout)
			}
			return
		default:
			code, ok := err.(idl.ErrorCode)
			if !ok {
				code = idl.ErrInvalidState
			}
			r.refuseHeld(code)
			return
		}
		n, bytes := r.gathered()
		if r.inflight > 0 && n < eagerWrites && bytes < eagerBytes {
			return // the answer to what is under way wakes the loop
		}
		if !r.proposeBatch(now, n, bytes) {
			return
		}
	}
}

// gathered returns how many of the held writes make up the next mutation, and their size.
func (r *replica) gathered() (n, bytes int) {
	o := &r.server.opts
	for n < len(r.held) && n < o.MutationWrites {
		size := len(r.held[n].req.Arg)
		if n > 0 && bytes+size > o.MutationBytes {
			break
		}
		bytes += size
		n++
	}
	return n, bytes
}

// writeOverhead is more than AppendWrite and StartPayload add to an argument.
const writeOverhead = 16

func (r *replica) proposeBatch(now time.Time, n, bytes int) bool {
	batch := &writeBatch{reqs: make([]*wire.Request, n)}
	buf := make([]byte, pacifica.HeaderSize, pacifica.HeaderSize+bytes+(n+1)*writeOverhead)
	buf = r.db.Load().StartPayload(buf)
	for i, w := range r.held[:n] {
		buf = engine.AppendWrite(buf, w.code, w.req.Arg)
		w.req.Arg = nil // lets go of the buffer the request was read into
		batch.reqs[i] = w.req
	}
	rest := copy(r.held, r.held[n:])
	clear(r.held[rest:])
	r.held = r.held[:rest]
	r.heldFrom = time.Time{}
	r.inbox.took(n, bytes)
	if err := r.core.Propose(now, buf, batch); err != nil {
		code, ok := err.(idl.ErrorCode)
		if !ok || code == idl.ErrTryAgain || code == idl.ErrCapacityExceeded {
			code = idl.ErrBusy
		}
		batch.fail(code)
		return false
	}
	r.inflight++
	return true
}

func (r *replica) refuseHeld(code idl.ErrorCode) {
	bytes := 0
	for i, w := range r.held {
		bytes += len(w.req.Arg)
		w.req.ReplyError(code)
		r.held[i] = clientWrite{}
	}
	r.inbox.took(len(r.held), bytes)
	r.held, r.heldFrom = r.held[:0], time.Time{}
}
