// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"encoding/binary"

	"github.com/pegasus-ops/pegasus-ops/server/engine"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// inlineSortKeys is the largest number of sort keys for which a MULTI_GET is answered on the
// connection's own goroutine.
const inlineSortKeys = 16

// handleReads registers the data operations that change nothing. Those that touch few records
// are answered on the goroutine that read them from the connection: no queue, no lock that a
// writer holds, no allocation of ours. The others go to a bounded pool.
func (s *Server) handleReads() {
	for _, name := range engine.Reads() {
		op := opOf[name]
		read := func(req *wire.Request) { s.read(req, op) }
		switch {
		case name == idl.RPCClearScanner:
			s.opts.Mux.Handle(name, s.onClearScanner)
		case engine.PointRead(name):
			s.opts.Mux.Handle(name, read)
		case name == idl.RPCMultiGet:
			s.opts.Mux.Handle(name, func(req *wire.Request) {
				if n := sortKeyCount(req.Arg); n > 0 && n <= inlineSortKeys {
					read(req)
				} else {
					s.readLater(req, read)
				}
			})
		default:
			s.opts.Mux.Handle(name, func(req *wire.Request) { s.readLater(req, read) })
		}
	}
}

func (s *Server) readLater(req *wire.Request, read wire.Handler) {
	kept := req.Retain()
	if !s.reads.Submit(func() { read(kept) }) {
		s.metrics.readBusy.Inc()
		kept.ReplyError(idl.ErrBusy)
	}
}

func (s *Server) read(req *wire.Request, op op) {
	r := s.replica(req.GPID)
	if r == nil {
		s.metrics.readFailed.Inc()
		req.ReplyError(s.absent(req.GPID))
		return
	}
	code, silent := r.refuseRead(req)
	if silent {
		return
	}
	db := r.db.Load()
	if code == idl.ErrOK && db == nil {
		code = idl.ErrInvalidState
	}
	if code != idl.ErrOK {
		s.metrics.readFailed.Inc()
		req.ReplyError(code)
		return
	}
	r.metrics.requests[op].Inc()
	db.Read(req.Name, req.Arg, req)
}

// sortKeyCount returns how many sort keys a multi_get_request names, without decoding it; 0 when
// that cannot be told.
func sortKeyCount(arg []byte) int {
	const header = 3 // type and id of a field
	if len(arg) < header || arg[0] != idl.TypeStruct || binary.BigEndian.Uint16(arg[1:]) != 1 {
		return 0
	}
	_, arg, err := idl.DecodeBlob(arg[header:])
	if err != nil || len(arg) < header+5 || arg[0] != idl.TypeList || binary.BigEndian.Uint16(arg[1:]) != 2 {
		return 0
	}
	return int(int32(binary.BigEndian.Uint32(arg[header+1:])))
}

// onClearScanner forgets a scan. There is no answer, whatever happens.
func (s *Server) onClearScanner(req *wire.Request) {
	r := s.replica(req.GPID)
	var id idl.I64
	if r == nil || req.Decode(&id) != nil {
		return
	}
	if db := r.db.Load(); db != nil {
		db.ClearScanner(int64(id))
	}
}
