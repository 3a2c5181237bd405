// SPDX-License-Identifier: Apache-2.0

package pacifica

import (
	"encoding/binary"
	"fmt"
)

// HeaderSize is the number of bytes in front of the payload of an encoded mutation.
const HeaderSize = 1 + 4*8

// mutationVersion is the first byte of an encoded mutation.
const mutationVersion = 1

// A Mutation is one entry of the replicated log: the writes of any number of clients, committed
// or lost together. Decree and Ballot identify it. It is immutable.
type Mutation struct {
	Ballot    int64 // of the primary that proposed it
	Decree    int64 // its place in the log, from 1
	Committed int64 // last decree that was committed when it was proposed
	Timestamp int64 // microseconds; grows with the decree
	Payload   []byte

	// Encoded is the form in which the mutation is logged and sent. Payload is its end.
	Encoded []byte

	// Tag is what Propose was given, on the proposing primary only.
	Tag any

	// seq is the log write that carries the mutation; 0 = it is in the log already.
	seq uint64
}

// AppendMutation appends the encoded form of m to b.
func AppendMutation(b []byte, m *Mutation) []byte {
	n := len(b)
	b = append(b, make([]byte, HeaderSize)...)
	m.putHeader(b[n:])
	return append(b, m.Payload...)
}

// putHeader writes the header of the encoded form.
func (m *Mutation) putHeader(b []byte) {
	b[0] = mutationVersion
	binary.BigEndian.PutUint64(b[1:], uint64(m.Ballot))
	binary.BigEndian.PutUint64(b[9:], uint64(m.Decree))
	binary.BigEndian.PutUint64(b[17:], uint64(m.Committed))
	binary.BigEndian.PutUint64(b[25:], uint64(m.Timestamp))
}

// DecodeMutation reads an encoded mutation that takes up all of b. The result aliases b, which
// must not be changed or reused afterwards.
func DecodeMutation(b []byte) (*Mutation, error) {
	if len(b) < HeaderSize {
		return nil, fmt.Errorf("decode mutation: %d bytes are less than its header", len(b))
	}
	if b[0] != mutationVersion {
		return nil, fmt.Errorf("decode mutation: unknown version %d", b[0])
	}
	m := &Mutation{
		Ballot:    int64(binary.BigEndian.Uint64(b[1:])),
		Decree:    int64(binary.BigEndian.Uint64(b[9:])),
		Committed: int64(binary.BigEndian.Uint64(b[17:])),
		Timestamp: int64(binary.BigEndian.Uint64(b[25:])),
		Payload:   b[HeaderSize:],
		Encoded:   b,
	}
	if m.Ballot < 0 || m.Decree < 1 || m.Committed < 0 || m.Committed >= m.Decree {
		return nil, fmt.Errorf("decode mutation: impossible ballot %d, decree %d, committed %d",
			m.Ballot, m.Decree, m.Committed)
	}
	return m, nil
}
