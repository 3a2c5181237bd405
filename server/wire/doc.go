// SPDX-License-Identifier: Apache-2.0

// Package wire carries RPCs between Pegasus processes: the frames, the connections and the
// dispatch by RPC name. What an RPC means is the business of the rooms above; what its argument
// looks like is server/idl's.
//
// A server listens on one port. The first four bytes of a connection choose its protocol for
// good: "THFT" is the thrift framing of the Go, Java, Node.js and Python clients (in two header
// versions), "RDSN" the native framing of the C++ client and shell, "GET " and "POST" are HTTP.
// Anything else is closed without an answer, as is a connection with a damaged frame.
//
// One goroutine per connection reads and decodes frames in place and runs the handler found in
// the Mux. Handlers that can answer from memory do so right there; handlers that may wait keep
// the Request with Retain and answer later, from any goroutine, or are registered with
// HandlePooled. Answers are appended to the connection's outbox and leave together: while the
// reader still has requests in its buffer nothing is written, so pipelined requests share
// system calls.
//
// Peers is the outgoing side: one multiplexed connection per server, dialled when needed, with
// an outbox of the same kind, so that messages of all partitions to one server coalesce.
package wire
