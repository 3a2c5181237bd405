// SPDX-License-Identifier: Apache-2.0

package idl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Thrift type bytes as they stand in field headers. The Pegasus base types (blob, gpid,
// rpc_address, error_code, task_code, host_port) are announced as TypeStruct although their
// content has no field headers and no STOP byte.
const (
	TypeStop   = 0
	TypeBool   = 2
	TypeByte   = 3
	TypeDouble = 4
	TypeI16    = 6
	TypeI32    = 8
	TypeI64    = 10
	TypeString = 11
	TypeStruct = 12
	TypeMap    = 13
	TypeSet    = 14
	TypeList   = 15
)

// A Value is anything that can be the argument or the result of an RPC: a generated struct or
// one of the bare types Blob, I64 and String.
type Value interface {
	// WireType is the thrift type byte announced before the value.
	WireType() byte
	// Append appends the encoded value to b and returns the extended slice.
	Append(b []byte) []byte
}

// A Decoder is a Value that can be read back. Blobs and byte slices in the result alias b;
// strings are copied. On an error the value is in an unspecified state.
type Decoder interface {
	WireType() byte
	// Decode reads the value from the front of b and returns what follows it.
	Decode(b []byte) (rest []byte, err error)
}

// ErrTruncated reports that a value ends before it should.
var ErrTruncated = errors.New("idl: truncated value")

// A GPID names one partition of one table ("global partition id").
type GPID struct {
	AppID          int32
	PartitionIndex int32
}

// String returns the form used on screens and in directory names, "app_id.partition_index".
func (g GPID) String() string {
	return strconv.Itoa(int(g.AppID)) + "." + strconv.Itoa(int(g.PartitionIndex))
}

// ParseGPID is the inverse of GPID.String.
func ParseGPID(s string) (GPID, error) {
	a, p, ok := strings.Cut(s, ".")
	if ok {
		app, err1 := strconv.ParseInt(a, 10, 32)
		idx, err2 := strconv.ParseInt(p, 10, 32)
		if err1 == nil && err2 == nil && app >= 0 && idx >= 0 {
			return GPID{int32(app), int32(idx)}, nil
		}
	}
	return GPID{}, fmt.Errorf("invalid partition id %q: want APP_ID.PARTITION_INDEX, as in 2.7", s)
}

// ThreadHash is the client_thread_hash that existing clients send for a partition.
func (g GPID) ThreadHash() int32 { return g.AppID*7919 + g.PartitionIndex }

// An RPCAddress is an IPv4 address and port, packed as ip<<32 | port<<16 | 1. Zero means none.
type RPCAddress uint64

// MakeAddress packs an IPv4 address and a port.
func MakeAddress(ip [4]byte, port uint16) RPCAddress {
	return RPCAddress(uint64(binary.BigEndian.Uint32(ip[:]))<<32 | uint64(port)<<16 | 1)
}

// ParseAddress reads "a.b.c.d:port". Host names are not accepted: the wire carries IPv4 only.
func ParseAddress(s string) (RPCAddress, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil || !ap.Addr().Is4() {
		return 0, fmt.Errorf("invalid address %q: want IPv4:PORT, as in 10.0.0.1:34801", s)
	}
	return MakeAddress(ap.Addr().As4(), ap.Port()), nil
}

// IsZero reports whether no address is set.
func (a RPCAddress) IsZero() bool { return a&3 != 1 }

// IP returns the IPv4 address.
func (a RPCAddress) IP() netip.Addr {
	var ip [4]byte
	binary.BigEndian.PutUint32(ip[:], uint32(a>>32))
	return netip.AddrFrom4(ip)
}

// Port returns the port.
func (a RPCAddress) Port() uint16 { return uint16(a >> 16) }

// String returns "a.b.c.d:port", or "invalid address" as Pegasus spells none.
func (a RPCAddress) String() string {
	if a.IsZero() {
		return "invalid address"
	}
	return netip.AddrPortFrom(a.IP(), a.Port()).String()
}

// HostPort returns the address as the host_port twin that 2.6 clients want to see.
func (a RPCAddress) HostPort() HostPort {
	if a.IsZero() {
		return HostPort{}
	}
	return HostPort{Host: a.IP().String(), Port: a.Port(), Type: HostPortNormal}
}

// HostPort types.
const (
	HostPortInvalid = 0
	HostPortNormal  = 1
)

// A HostPort is a host name (or numeric address) and port, new on the wire in Pegasus 2.6.
type HostPort struct {
	Host string
	Port uint16
	Type int8
}

// IsZero reports whether no host is set.
func (h HostPort) IsZero() bool { return h.Type != HostPortNormal }

// String returns "host:port", or "invalid host_port" as Pegasus spells none.
func (h HostPort) String() string {
	if h.IsZero() {
		return "invalid host_port"
	}
	return h.Host + ":" + strconv.Itoa(int(h.Port))
}

// An ErrorCode is the name of an error as it travels on the wire. It implements error; the
// empty name, which some clients send for "not set", counts as ErrOK.
type ErrorCode string

// Error returns the name.
func (e ErrorCode) Error() string { return string(e) }

// OK reports whether the code means success.
func (e ErrorCode) OK() bool { return e == ErrOK || e == "" }

// A TaskCode is the name of an RPC.
type TaskCode string

// Blob is the bare bytes argument of GET, TTL, REMOVE and SORTKEY_COUNT.
type Blob []byte

// WireType implements Value.
func (Blob) WireType() byte { return TypeStruct }

// Append implements Value.
func (x Blob) Append(b []byte) []byte { return AppendBlob(b, x) }

// Decode implements Decoder.
func (x *Blob) Decode(b []byte) ([]byte, error) {
	v, rest, err := DecodeBlob(b)
	*x = v
	return rest, err
}

// I64 is the bare integer argument of CLEAR_SCANNER.
type I64 int64

// WireType implements Value.
func (I64) WireType() byte { return TypeI64 }

// Append implements Value.
func (x I64) Append(b []byte) []byte { return binary.BigEndian.AppendUint64(b, uint64(x)) }

// Decode implements Decoder.
func (x *I64) Decode(b []byte) ([]byte, error) {
	if len(b) < 8 {
		return nil, ErrTruncated
	}
	*x = I64(binary.BigEndian.Uint64(b))
	return b[8:], nil
}

// String is the bare text result of a remote command.
type String string

// WireType implements Value.
func (String) WireType() byte { return TypeString }

// Append implements Value.
func (x String) Append(b []byte) []byte { return AppendString(b, string(x)) }

// Decode implements Decoder.
func (x *String) Decode(b []byte) ([]byte, error) {
	v, rest, err := DecodeBlob(b)
	*x = String(v)
	return rest, err
}

// AppendBlob appends an i32 length and the bytes: the form of blob and string alike.
func AppendBlob(b, v []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
	return append(b, v...)
}

// AppendString is AppendBlob for a string.
func AppendString(b []byte, v string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
	return append(b, v...)
}

// DecodeBlob reads an i32 length and that many bytes, which alias b.
func DecodeBlob(b []byte) (v, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, ErrTruncated
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, ErrTruncated
	}
	end := 4 + int(n)
	return b[4:end:end], b[end:], nil
}
