// SPDX-License-Identifier: Apache-2.0

package idl

import (
	"cmp"
	"encoding/binary"
	"strings"
)

// The encodings of the base types. Each can stand alone as argument or result of an RPC, for
// instance the address in the answer of a meta server that is not the leader.

// WireType implements Value.
func (GPID) WireType() byte { return TypeStruct }

// Append implements Value: the partition index, then the table id.
func (g GPID) Append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(uint32(g.PartitionIndex))<<32|uint64(uint32(g.AppID)))
}

// Decode implements Decoder.
func (g *GPID) Decode(b []byte) ([]byte, error) {
	if len(b) < 8 {
		return nil, ErrTruncated
	}
	g.PartitionIndex = int32(binary.BigEndian.Uint32(b))
	g.AppID = int32(binary.BigEndian.Uint32(b[4:]))
	return b[8:], nil
}

// Compare orders partitions by table, then by index.
func (g GPID) Compare(h GPID) int {
	return cmp.Or(cmp.Compare(g.AppID, h.AppID), cmp.Compare(g.PartitionIndex, h.PartitionIndex))
}

// WireType implements Value.
func (RPCAddress) WireType() byte { return TypeStruct }

// Append implements Value.
func (a RPCAddress) Append(b []byte) []byte { return binary.BigEndian.AppendUint64(b, uint64(a)) }

// Decode implements Decoder.
func (a *RPCAddress) Decode(b []byte) ([]byte, error) {
	if len(b) < 8 {
		return nil, ErrTruncated
	}
	*a = RPCAddress(binary.BigEndian.Uint64(b))
	return b[8:], nil
}

// WireType implements Value.
func (HostPort) WireType() byte { return TypeStruct }

// Append implements Value.
func (h HostPort) Append(b []byte) []byte {
	b = AppendString(b, h.Host)
	return append(b, byte(h.Port>>8), byte(h.Port), byte(h.Type))
}

// Decode implements Decoder.
func (h *HostPort) Decode(b []byte) ([]byte, error) {
	host, b, err := DecodeBlob(b)
	if err != nil {
		return nil, err
	}
	if len(b) < 3 {
		return nil, ErrTruncated
	}
	*h = HostPort{Host: string(host), Port: binary.BigEndian.Uint16(b), Type: int8(b[2])}
	return b[3:], nil
}

// Compare orders by host, then by port.
func (h HostPort) Compare(o HostPort) int {
	return cmp.Or(strings.Compare(h.Host, o.Host), cmp.Compare(h.Port, o.Port), cmp.Compare(h.Type, o.Type))
}

// WireType implements Value.
func (ErrorCode) WireType() byte { return TypeStruct }

// Append implements Value. The empty name is sent as ERR_OK, which is what it means.
func (e ErrorCode) Append(b []byte) []byte {
	if e == "" {
		e = ErrOK
	}
	return AppendString(b, string(e))
}

// Decode implements Decoder. Known names are not allocated.
func (e *ErrorCode) Decode(b []byte) ([]byte, error) {
	name, rest, err := DecodeBlob(b)
	if err != nil {
		return nil, err
	}
	*e = InternErrorCode(name)
	return rest, nil
}

// WireType implements Value.
func (TaskCode) WireType() byte { return TypeStruct }

// Append implements Value.
func (t TaskCode) Append(b []byte) []byte { return AppendString(b, string(t)) }

// Decode implements Decoder.
func (t *TaskCode) Decode(b []byte) ([]byte, error) {
	name, rest, err := DecodeBlob(b)
	if err != nil {
		return nil, err
	}
	*t = TaskCode(InternRPC(name))
	return rest, nil
}
