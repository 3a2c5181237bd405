// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// A Request is one call that has arrived. It and its Arg are valid until the handler returns;
// a handler that answers later calls Retain first. At most one of Reply, ReplyError and
// ReplyForward is called, once; none at all is a legal answer to a one-way call.
type Request struct {
	Name          string // the RPC, as in idl's RPC constants
	GPID          idl.GPID
	PartitionHash uint64        // hash of the key; see protocol of each operation
	ClientTimeout time.Duration // as the client wrote it; some write garbage, some zero
	Backup        bool          // a hedged read that a secondary may answer
	Framing       Framing
	// ForwardSupported says that the sender understands ReplyForward; Forwarded that another
	// server has passed the request on already. RDSN only.
	ForwardSupported, Forwarded bool
	From                        idl.RPCAddress // RDSN only: port <= 1023 means a client
	Arg                         []byte         // the encoded argument

	argType byte
	oneWay  bool
	seq     int32
	ack     string
	rdsn    []byte
	conn    *serverConn
}

// Retain returns a copy that stays valid, with its Arg, after the handler has returned.
func (r *Request) Retain() *Request {
	r.conn.reader.retain()
	kept := *r
	return &kept
}

// Decode reads the whole argument into v, whose blobs then alias Arg.
func (r *Request) Decode(v idl.Decoder) error {
	if r.argType != v.WireType() {
		return fmt.Errorf("%s: argument has thrift type %d, want %d", r.Name, r.argType, v.WireType())
	}
	rest, err := v.Decode(r.Arg)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	if len(rest) != 0 {
		return fmt.Errorf("%s: %d bytes after the argument", r.Name, len(rest))
	}
	return nil
}

// HostPorts reports whether the hp_* fields, new in Pegasus 2.6, belong into the answer: older
// clients cannot skip them, newer C++ ones need them.
func (r *Request) HostPorts() bool {
	if r.Framing == FramingRDSN {
		return r.conn.server.HostPortsRDSN
	}
	return r.conn.server.HostPortsTHFT
}

// RemoteAddr is the address the connection comes from, for logs.
func (r *Request) RemoteAddr() string { return r.conn.remote }

// Reply answers with ERR_OK and v. v is encoded before Reply returns.
func (r *Request) Reply(v idl.Value) { r.answer(idl.ErrOK, v) }

// ReplyError answers with a transport error. Names that would break existing clients are sent
// as a related name they know.
func (r *Request) ReplyError(code idl.ErrorCode) {
	if r.Framing != FramingRDSN {
		code = idl.SafeTransport(code)
	}
	r.answer(code, nil)
}

// ReplyForward tells an RDSN client which server leads. A THFT client cannot be told this way;
// it gets the plain error.
func (r *Request) ReplyForward(leader idl.RPCAddress) {
	if r.Framing == FramingRDSN && r.ForwardSupported {
		r.answer(idl.ErrForwardToOthers, addressValue(leader))
		return
	}
	r.answer(idl.ErrForwardToOthers, nil)
}

func (r *Request) answer(code idl.ErrorCode, v idl.Value) {
	if r.oneWay {
		return
	}
	o := &r.conn.out
	b := o.begin()
	if r.Framing == FramingRDSN {
		b = appendRDSNReply(b, r.rdsn, code, r.ack, r.conn.server.Self, v)
	} else {
		b = appendTHFTReply(b, code, r.ack, r.seq, v)
	}
	o.end(b)
}

// addressValue is a bare rpc_address, announced as a struct like all base types.
type addressValue idl.RPCAddress

func (addressValue) WireType() byte { return idl.TypeStruct }

func (a addressValue) Append(b []byte) []byte { return idl.I64(a).Append(b) }
