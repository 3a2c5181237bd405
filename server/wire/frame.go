// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// Framing is the protocol a connection speaks.
type Framing uint8

// The framings, chosen by the first bytes of a connection.
const (
	FramingTHFT0 Framing = iota + 1 // 48-byte binary header: Go, Node.js, Python
	FramingTHFT1                    // thrift request_meta header: Java
	FramingRDSN                     // 192-byte little-endian header: C++
)

func (f Framing) String() string {
	switch f {
	case FramingTHFT0:
		return "THFT v0"
	case FramingTHFT1:
		return "THFT v1"
	case FramingRDSN:
		return "RDSN"
	}
	return fmt.Sprintf("Framing(%d)", uint8(f))
}

const (
	magicTHFT = "THFT"
	magicRDSN = "RDSN"

	thft0HeaderLen = 48
	thft1HeaderLen = 16
	rdsnHeaderLen  = 192
	rdsnNameLen    = 48

	// maxNameLen is the longest RPC name that fits a native header, with its NUL.
	maxNameLen = rdsnNameLen - 1

	rdsnIsRequest        = 0x001
	rdsnIsForwarded      = 0x002
	rdsnFormatMask       = 0x3c0
	rdsnFormatBinary     = 0x040
	rdsnForwardSupported = 0x400
	rdsnIsBackup         = 0x800
)

// DefaultMaxFrame bounds a frame, header included, unless Server.MaxFrame says otherwise. It
// leaves room for the largest write and the largest batch of mutations between replicas.
const DefaultMaxFrame = 64 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errShort means that more bytes have to arrive before the frame can be judged.
var errShort = errors.New("wire: incomplete frame")

// A frameError is a violation of the framing; it ends the connection.
type frameError struct{ what string }

func (e *frameError) Error() string { return "wire: " + e.what }

func badFrame(format string, a ...any) error { return &frameError{fmt.Sprintf(format, a...)} }

// frameHeader is what every framing says about a request, before its argument is looked at.
type frameHeader struct {
	framing  Framing
	name     []byte
	gpid     idl.GPID
	timeout  int32 // ms
	hash     uint64
	backup   bool
	forward  bool   // the sender understands being sent elsewhere
	relayed  bool   // a server has forwarded the request already
	from     uint64 // RDSN from_address
	seq      int32  // THFT sequence number
	rdsn     []byte // the whole native header, to be echoed
	arg      []byte // the value of the first field
	argType  byte
	oneWay   bool
	response bool // RDSN frame that answers something
}

// frameSize returns how many bytes the frame at the front of b has in all. It returns errShort
// while b is too short to tell, and an error when the connection cannot be understood.
func frameSize(b []byte, max int) (int, error) {
	if len(b) < 4 {
		return 0, errShort
	}
	var size uint64
	switch string(b[:4]) {
	case magicTHFT:
		if len(b) < 8 {
			return 0, errShort
		}
		switch v := binary.BigEndian.Uint32(b[4:]); v {
		case 0:
			if len(b) < 20 {
				return 0, errShort
			}
			if n := binary.BigEndian.Uint32(b[8:]); n != thft0HeaderLen {
				return 0, badFrame("header length %d, want %d", n, thft0HeaderLen)
			}
			size = thft0HeaderLen + uint64(binary.BigEndian.Uint32(b[16:]))
		case 1:
			if len(b) < thft1HeaderLen {
				return 0, errShort
			}
			size = thft1HeaderLen + uint64(binary.BigEndian.Uint32(b[8:])) + uint64(binary.BigEndian.Uint32(b[12:]))
		default:
			return 0, badFrame("unknown THFT version %d", v)
		}
	case magicRDSN:
		if len(b) < 20 {
			return 0, errShort
		}
		if v := binary.LittleEndian.Uint32(b[4:]); v != 0 {
			return 0, badFrame("unknown RDSN version %d", v)
		}
		if n := binary.LittleEndian.Uint32(b[8:]); n != rdsnHeaderLen {
			return 0, badFrame("header length %d, want %d", n, rdsnHeaderLen)
		}
		size = rdsnHeaderLen + uint64(binary.LittleEndian.Uint32(b[16:]))
	default:
		return 0, badFrame("unknown magic % x", b[:4])
	}
	if size > uint64(max) {
		return 0, badFrame("frame of %d bytes, at most %d are accepted", size, max)
	}
	return int(size), nil
}

// parseFrame decodes the header and finds the argument of a complete request frame. Everything
// in h aliases b.
func parseFrame(b []byte, h *frameHeader) error {
	*h = frameHeader{}
	if string(b[:4]) == magicRDSN {
		return parseRDSN(b, h)
	}
	if binary.BigEndian.Uint32(b[4:]) == 0 {
		h.framing = FramingTHFT0
		h.gpid.AppID = int32(binary.BigEndian.Uint32(b[24:]))
		h.gpid.PartitionIndex = int32(binary.BigEndian.Uint32(b[28:]))
		h.timeout = int32(binary.BigEndian.Uint32(b[32:]))
		h.hash = binary.BigEndian.Uint64(b[40:])
		return parseEnvelope(b[thft0HeaderLen:], h)
	}
	h.framing = FramingTHFT1
	metaLen := int(binary.BigEndian.Uint32(b[8:]))
	var meta idl.RequestMeta
	rest, err := meta.Decode(b[thft1HeaderLen : thft1HeaderLen+metaLen])
	if err != nil {
		return badFrame("request_meta: %v", err)
	}
	if len(rest) != 0 {
		return badFrame("request_meta: %d bytes left over", len(rest))
	}
	h.gpid = idl.GPID{AppID: meta.AppID, PartitionIndex: meta.PartitionIndex}
	h.timeout = meta.ClientTimeout
	h.hash = uint64(meta.PartitionHash)
	h.backup = meta.IsBackupRequest
	return parseEnvelope(b[thft1HeaderLen+metaLen:], h)
}

// parseEnvelope reads a thrift binary message: name, type, sequence number, argument.
func parseEnvelope(b []byte, h *frameHeader) error {
	if len(b) < 8 {
		return badFrame("message of %d bytes has no envelope", len(b))
	}
	var typ byte
	var err error
	if b[0] == 0x80 && b[1] == 0x01 && b[2] == 0 { // strict: version word, then the name
		typ = b[3]
		h.name, b, err = idl.DecodeBlob(b[4:])
	} else { // the old form: name, then the type
		h.name, b, err = idl.DecodeBlob(b)
		if err == nil && len(b) > 0 {
			typ, b = b[0], b[1:]
		}
	}
	if err != nil || len(b) < 4 {
		return badFrame("message envelope is cut short")
	}
	if len(h.name) == 0 || len(h.name) > maxNameLen {
		return badFrame("RPC name of %d bytes, want 1 to %d", len(h.name), maxNameLen)
	}
	switch typ {
	case 1:
	case 4:
		h.oneWay = true
	default:
		return badFrame("message type %d is neither CALL nor ONEWAY", typ)
	}
	h.seq = int32(binary.BigEndian.Uint32(b))
	h.argType, h.arg, err = parseField(b[4:])
	return err
}

// parseField takes the first field of an args struct whatever its id, as the original does.
// The value is everything up to the closing STOP.
func parseField(b []byte) (typ byte, val []byte, err error) {
	if len(b) == 0 || b[0] == idl.TypeStop {
		return idl.TypeStop, nil, nil
	}
	if len(b) < 4 || b[len(b)-1] != idl.TypeStop {
		return 0, nil, badFrame("argument is cut short")
	}
	return b[0], b[3 : len(b)-1], nil
}

func parseRDSN(b []byte, h *frameHeader) error {
	hdr, body := b[:rdsnHeaderLen:rdsnHeaderLen], b[rdsnHeaderLen:]
	if want := binary.LittleEndian.Uint32(hdr[12:]); want != 0 {
		var zeroed [rdsnHeaderLen]byte
		copy(zeroed[:], hdr)
		clear(zeroed[12:16])
		if got := crc32.Checksum(zeroed[:], castagnoli); got != want {
			return badFrame("header checksum %08x, want %08x", got, want)
		}
	}
	if want := binary.LittleEndian.Uint32(hdr[20:]); want != 0 {
		if got := crc32.Checksum(body, castagnoli); got != want {
			return badFrame("body checksum %08x, want %08x", got, want)
		}
	}
	ctx := binary.LittleEndian.Uint64(hdr[104:])
	if f := ctx & rdsnFormatMask; f != rdsnFormatBinary && len(body) > 0 {
		return badFrame("serialize format %d, only thrift binary (1) is spoken", f>>6)
	}
	name, ok := cString(hdr[40 : 40+rdsnNameLen])
	if !ok || len(name) == 0 {
		return badFrame("RPC name is empty or not terminated")
	}
	h.framing = FramingRDSN
	h.name = name
	h.gpid.AppID = int32(binary.LittleEndian.Uint32(hdr[96:]))
	h.gpid.PartitionIndex = int32(binary.LittleEndian.Uint32(hdr[100:]))
	h.timeout = int32(binary.LittleEndian.Uint32(hdr[120:]))
	h.hash = binary.LittleEndian.Uint64(hdr[128:])
	h.backup = ctx&rdsnIsBackup != 0
	h.forward = ctx&rdsnForwardSupported != 0
	h.relayed = ctx&rdsnIsForwarded != 0
	h.response = ctx&rdsnIsRequest == 0
	h.from = binary.LittleEndian.Uint64(hdr[112:])
	h.rdsn = hdr
	var err error
	h.argType, h.arg, err = parseField(body)
	return err
}

func cString(b []byte) ([]byte, bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return nil, false
	}
	return b[:i], true
}

// appendRequest appends a THFT v0 request frame.
func appendRequest(b []byte, name string, gpid idl.GPID, hash uint64, timeout time.Duration, seq int32, arg idl.Value) []byte {
	start := len(b)
	b = append(b, magicTHFT...)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, thft0HeaderLen)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, 0) // body length, set below
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(gpid.AppID))
	b = binary.BigEndian.AppendUint32(b, uint32(gpid.PartitionIndex))
	b = binary.BigEndian.AppendUint32(b, uint32(timeout.Milliseconds()))
	b = binary.BigEndian.AppendUint32(b, uint32(gpid.ThreadHash()))
	b = binary.BigEndian.AppendUint64(b, hash)
	b = append(b, 0x80, 0x01, 0x00, 0x01)
	b = idl.AppendString(b, name)
	b = binary.BigEndian.AppendUint32(b, uint32(seq))
	b = append(b, arg.WireType(), 0, 1)
	b = arg.Append(b)
	b = append(b, idl.TypeStop)
	binary.BigEndian.PutUint32(b[start+16:], uint32(len(b)-start-thft0HeaderLen))
	return b
}

// appendTHFTReply appends an answer on a THFT connection; v is nil for a transport error.
func appendTHFTReply(b []byte, code idl.ErrorCode, ackName string, seq int32, v idl.Value) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = idl.AppendString(b, string(code))
	b = append(b, 0x80, 0x01, 0x00, 0x02)
	b = idl.AppendString(b, ackName)
	b = binary.BigEndian.AppendUint32(b, uint32(seq))
	if v != nil {
		b = append(b, v.WireType(), 0, 0)
		b = v.Append(b)
		b = append(b, idl.TypeStop)
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

// appendRDSNReply appends an answer on a native connection: the request's header, turned round.
func appendRDSNReply(b, reqHeader []byte, code idl.ErrorCode, ackName string, self idl.RPCAddress, v idl.Value) []byte {
	start := len(b)
	b = append(b, reqHeader...)
	h := b[start:]
	clear(h[12:24]) // checksums and body length
	clear(h[40:96]) // name and its process-local code
	copy(h[40:40+maxNameLen], ackName)
	ctx := binary.LittleEndian.Uint64(h[104:])
	binary.LittleEndian.PutUint64(h[104:], ctx&rdsnForwardSupported|rdsnFormatBinary)
	binary.LittleEndian.PutUint64(h[112:], uint64(self))
	clear(h[136:192])
	copy(h[136:136+maxNameLen], string(code))
	if v != nil {
		b = append(b, v.WireType(), 0, 0)
		b = v.Append(b)
		b = append(b, idl.TypeStop)
		binary.LittleEndian.PutUint32(b[start+16:], uint32(len(b)-start-rdsnHeaderLen))
	}
	return b
}

// reply is a decoded answer frame on a THFT connection.
type reply struct {
	code idl.ErrorCode
	name []byte
	seq  int32
	typ  byte
	val  []byte
}

// replySize is frameSize for answers.
func replySize(b []byte, max int) (int, error) {
	if len(b) < 4 {
		return 0, errShort
	}
	n := uint64(binary.BigEndian.Uint32(b))
	if n < 4 || n > uint64(max) {
		return 0, badFrame("answer of %d bytes, at most %d are accepted", n, max)
	}
	return int(n), nil
}

func parseReply(b []byte, r *reply) error {
	code, rest, err := idl.DecodeBlob(b[4:])
	if err != nil || len(rest) < 4 {
		return badFrame("answer is cut short")
	}
	if rest[0] != 0x80 || rest[1] != 0x01 || rest[3] != 2 {
		return badFrame("answer has message word % x", rest[:4])
	}
	name, rest, err := idl.DecodeBlob(rest[4:])
	if err != nil || len(rest) < 4 {
		return badFrame("answer is cut short")
	}
	*r = reply{name: name, seq: int32(binary.BigEndian.Uint32(rest))}
	if string(code) == string(idl.ErrOK) {
		r.code = idl.ErrOK
	} else {
		r.code = idl.ErrorCode(code)
		return nil
	}
	r.typ, r.val, err = parseField(rest[4:])
	return err
}
