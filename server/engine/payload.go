// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// A payload is what a mutation carries: the client writes it executes, one behind the other.
//
//	payload = { code u8 | length uvarint | argument }
//
// The argument is the encoded request as it came from the wire. A record with codeSettings is
// not a write: it fixes, for this mutation, what replicas must agree on (see DB.StartPayload).

// A WriteCode says which operation an entry of a payload is. The numbers are stored in private
// logs and travel between servers: they never change.
type WriteCode uint8

// The writes of a payload.
const (
	CodePut            WriteCode = 1 // update_request
	CodeRemove         WriteCode = 2 // blob
	CodeMultiPut       WriteCode = 3 // multi_put_request
	CodeMultiRemove    WriteCode = 4 // multi_remove_request
	CodeIncr           WriteCode = 5 // incr_request
	CodeCheckAndSet    WriteCode = 6 // check_and_set_request
	CodeCheckAndMutate WriteCode = 7 // check_and_mutate_request

	codeLast = CodeCheckAndMutate

	// codeSettings carries the default time to live, u32 seconds.
	codeSettings WriteCode = 0x40
)

// WriteCodeOf returns the code of a write RPC, and whether the name is one.
func WriteCodeOf(name string) (WriteCode, bool) {
	switch name {
	case idl.RPCPut:
		return CodePut, true
	case idl.RPCRemove:
		return CodeRemove, true
	case idl.RPCMultiPut:
		return CodeMultiPut, true
	case idl.RPCMultiRemove:
		return CodeMultiRemove, true
	case idl.RPCIncr:
		return CodeIncr, true
	case idl.RPCCheckAndSet:
		return CodeCheckAndSet, true
	case idl.RPCCheckAndMutate:
		return CodeCheckAndMutate, true
	}
	return 0, false
}

// String returns the name of the RPC.
func (c WriteCode) String() string {
	switch c {
	case CodePut:
		return idl.RPCPut
	case CodeRemove:
		return idl.RPCRemove
	case CodeMultiPut:
		return idl.RPCMultiPut
	case CodeMultiRemove:
		return idl.RPCMultiRemove
	case CodeIncr:
		return idl.RPCIncr
	case CodeCheckAndSet:
		return idl.RPCCheckAndSet
	case CodeCheckAndMutate:
		return idl.RPCCheckAndMutate
	}
	return fmt.Sprintf("write code %d", uint8(c))
}

// Batchable reports whether a client may find the write merged with others of the same
// mutation: puts and removes, which read nothing.
func (c WriteCode) Batchable() bool { return c == CodePut || c == CodeRemove }

// readsFirst reports whether the result of the write depends on what is stored.
func (c WriteCode) readsFirst() bool { return c >= CodeIncr && c <= codeLast }

// AppendWrite appends one client write to a payload. arg is the encoded request; it is copied.
func AppendWrite(b []byte, code WriteCode, arg []byte) []byte {
	b = append(b, byte(code))
	b = binary.AppendUvarint(b, uint64(len(arg)))
	return append(b, arg...)
}

// appendSettings appends what the primary decides for all replicas.
func appendSettings(b []byte, defaultTTL uint32) []byte {
	b = append(b, byte(codeSettings), expireLen)
	return binary.BigEndian.AppendUint32(b, defaultTTL)
}

// A Write is one entry of a payload. Arg aliases the payload.
type Write struct {
	Code WriteCode
	Arg  []byte
}

// ErrBadPayload reports a payload that AppendWrite did not make: the mutation was damaged on
// its way or comes from a server with operations unknown here. It is never a client's doing.
var ErrBadPayload = errors.New("damaged mutation payload")

// Writes yields the client writes of a payload in order. It ends early at damage; CountWrites
// tells.
func Writes(payload []byte) iter.Seq[Write] {
	return func(yield func(Write) bool) {
		for len(payload) > 0 {
			w, rest, err := nextWrite(payload)
			if err != nil || (w.Code != codeSettings && !yield(w)) {
				return
			}
			payload = rest
		}
	}
}

// CountWrites returns how many client writes a payload holds, which is how many answers Apply
// gives, or ErrBadPayload.
func CountWrites(payload []byte) (int, error) {
	s, err := inspect(payload)
	return s.writes, err
}

// nextWrite reads the first entry of a payload that is not empty.
func nextWrite(b []byte) (w Write, rest []byte, err error) {
	code := WriteCode(b[0])
	n, k := binary.Uvarint(b[1:])
	if k <= 0 || n > uint64(len(b)-1-k) {
		return Write{}, nil, fmt.Errorf("%w: entry of %s is cut short", ErrBadPayload, code)
	}
	start, end := 1+k, 1+k+int(n)
	return Write{code, b[start:end:end]}, b[end:], nil
}

// shape is what Apply must know before it starts.
type shape struct {
	writes     int
	readsFirst bool   // some write depends on what is stored
	settings   bool   // defaultTTL is fixed by the payload
	defaultTTL uint32 // seconds
}

// inspect walks a payload once and checks all but the arguments.
func inspect(payload []byte) (s shape, err error) {
	for n := 0; len(payload) > 0; n++ {
		w, rest, err := nextWrite(payload)
		if err != nil {
			return s, fmt.Errorf("entry %d: %w", n, err)
		}
		switch {
		case w.Code >= CodePut && w.Code <= codeLast:
			s.writes++
			s.readsFirst = s.readsFirst || w.Code.readsFirst()
		case w.Code == codeSettings && len(w.Arg) >= expireLen:
			s.settings, s.defaultTTL = true, binary.BigEndian.Uint32(w.Arg)
		default:
			return s, fmt.Errorf("entry %d: %w: unknown %s", n, ErrBadPayload, w.Code)
		}
		payload = rest
	}
	return s, nil
}
