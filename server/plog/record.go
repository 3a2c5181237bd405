// SPDX-License-Identifier: Apache-2.0

package plog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	segmentMagic = 0x50_4c_4f_47 // "PLOG"
	recordMagic  = 0x7d_a1_c3_3e
	version      = 1

	segmentHeaderLen = 4 + 4 + 8 + 8 + 4
	recordHeaderLen  = 4 + 4 + 4 + 1 + 8 + 8
	crcFrom          = 12 // the checksum covers the record from here on

	// maxData bounds a record, so that a damaged length cannot ask for all memory.
	maxData = 1 << 30
)

const (
	kindEntry = 1
	kindReset = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// An Entry is one mutation as pacifica encoded it.
type Entry struct {
	Ballot, Decree int64
	Data           []byte
}

// A CorruptError is damage that a crash cannot explain.
type CorruptError struct {
	File   string
	Offset int64
	What   string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("private log %s is damaged at byte %d: %s; set the replica's directory aside (rename it to *.err) and let it learn from its peers", e.File, e.Offset, e.What)
}

type header struct {
	kind           byte
	ballot, decree int64
	length         int
	crc            uint32
}

// errTorn means that the bytes end, or stop being records, where a record should begin.
var errTorn = errors.New("plog: record is cut short")

func appendSegmentHeader(b []byte, index, start int64) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, segmentMagic)
	b = binary.BigEndian.AppendUint32(b, version)
	b = binary.BigEndian.AppendUint64(b, uint64(index))
	b = binary.BigEndian.AppendUint64(b, uint64(start))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

func checkSegmentHeader(b []byte, index, start int64) error {
	switch {
	case len(b) < segmentHeaderLen:
		return errTorn
	case binary.BigEndian.Uint32(b) != segmentMagic,
		crc32.Checksum(b[:segmentHeaderLen-4], castagnoli) != binary.BigEndian.Uint32(b[segmentHeaderLen-4:]):
		return errors.New("the header is not that of a log segment")
	case binary.BigEndian.Uint32(b[4:]) != version:
		return fmt.Errorf("format version %d, this server reads version %d", binary.BigEndian.Uint32(b[4:]), version)
	case int64(binary.BigEndian.Uint64(b[8:])) != index || int64(binary.BigEndian.Uint64(b[16:])) != start:
		return errors.New("the header belongs to another segment")
	}
	return nil
}

func appendRecord(b []byte, kind byte, ballot, decree int64, data []byte) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, recordMagic)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	b = append(b, 0, 0, 0, 0)
	b = append(b, kind)
	b = binary.BigEndian.AppendUint64(b, uint64(ballot))
	b = binary.BigEndian.AppendUint64(b, uint64(decree))
	b = append(b, data...)
	binary.BigEndian.PutUint32(b[at+8:], crc32.Checksum(b[at+crcFrom:], castagnoli))
	return b
}

// parseHeader reads a record header without its checksum.
func parseHeader(b []byte) (h header, err error) {
	if len(b) < recordHeaderLen || binary.BigEndian.Uint32(b) != recordMagic {
		return h, errTorn
	}
	h.length = int(binary.BigEndian.Uint32(b[4:]))
	h.crc = binary.BigEndian.Uint32(b[8:])
	h.kind = b[12]
	h.ballot = int64(binary.BigEndian.Uint64(b[13:]))
	h.decree = int64(binary.BigEndian.Uint64(b[21:]))
	if h.length > maxData || h.kind != kindEntry && h.kind != kindReset {
		return h, errTorn
	}
	return h, nil
}

// checkRecord verifies a whole record, header included.
func checkRecord(b []byte, h header) error {
	if crc32.Checksum(b[crcFrom:recordHeaderLen+h.length], castagnoli) != h.crc {
		return errTorn
	}
	return nil
}
