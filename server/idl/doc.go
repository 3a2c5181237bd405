// SPDX-License-Identifier: Apache-2.0

// Package idl is the vocabulary of the wire: every message of the Pegasus protocol and of the
// traffic between our own servers as a Go type that appends its encoding to a byte slice and
// reads it back.
//
// It knows nothing of frames, connections or dispatch (server/wire), of what a request means
// (server/engine, server/meta, server/replica), or of how records lie on disk (server/engine).
//
// # Values
//
// A [Value] is what an RPC takes or returns: nearly always a generated struct, sometimes a bare
// [Blob], [I64], [String] or [RPCAddress]. Append writes it in the thrift binary protocol,
// Decode reads it:
//
//	req := idl.UpdateRequest{Key: idl.RawKey(hash, sort), Value: value}
//	b = req.Append(b)
//
//	var req idl.UpdateRequest
//	rest, err := req.Decode(b)
//
// Decode resets the struct first, so one can be used again and again. It trusts nothing: every
// length is checked against the bytes in hand before anything is allocated, lists are bounded in
// memory, errors are a [DecodeError] that names struct and field. Fields may come in any order
// and any may be missing; a missing one is zero, or the default the IDL declares. Byte slices
// alias the input, strings are copied, error and RPC names are interned. So requests for points
// decode without allocation, and answers append without, given room.
//
// # Fields
//
// Go names follow from wire names: expire_ts_seconds is ExpireTsSeconds, app_id is AppID.
// A field that is not optional is always written, empty or not: clients dereference them.
// An optional one is a pointer, nil when not set, and has a getter that returns its default
// then; blobs, lists and maps need no pointer, their nil says "not set". new(true) makes a
// pointer. The C++ server always sets an optional field that declares a default, as the duplicating
// of an app_info; peers take it as absent all the same. Maps are written in the order of their
// keys, sets are slices.
//
// The hp_* fields are the trap of the protocol: peers older than Pegasus 2.6 cannot read past
// them, peers of 2.6 partly need them. Whether they are filled is decided where a request is
// answered, not here.
//
// # Base types
//
// blob, gpid, rpc_address, host_port, error_code and task_code announce themselves as structs in
// field headers, but have neither field headers nor a STOP byte inside. No thrift library can
// read them, hence the generator. It also follows that a decoder cannot skip a base-type field it
// does not know: the IDL must declare every one that a peer may send, whether anybody reads it or
// not. Unknown fields of other types, regular structs among them, are skipped.
//
// # Where things are
//
//   - *.thrift declare the structs and enums, internal.thrift those between our own servers. A new
//     message or field starts there, followed by `go generate ./server/idl`.
//   - gen is the generator, *_gen.go are its output, codec.go is what the output calls.
//   - base.go and basetypes.go are the types the IDL takes for granted.
//   - errors.go and status.go hold the two kinds of errors: names for a whole response, numbers
//     for the outcome of a data operation. rpc.go holds the names of the calls.
//   - key.go, hash.go and ttl.go hold what servers and clients must agree on beyond messages:
//     raw keys, partition hashes and expiry times.
package idl

//go:generate go run ./gen
