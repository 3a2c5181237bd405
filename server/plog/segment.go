// SPDX-License-Identifier: Apache-2.0

package plog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

const (
	segmentHeaderSize = 64
	recordHeaderSize  = 32

	segmentMagic = "pegplog\x01"

	// flagFresh: the segments before this one are void. Reset writes it.
	flagFresh = 1
)

// maxData is the largest Entry.Data that can be written.
const maxData = 1 << 30

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A coverage says which decrees the log has: first..last without a hole. It follows the records
// in the order they were written.
type coverage struct {
	first, last int64
	max         int64 // highest decree ever written, voided ones included
}

func (c *coverage) add(decree int64) {
	if decree > c.last+1 || decree < c.first {
		c.first = decree
	}
	c.last = decree
	c.max = max(c.max, decree)
}

// A segment is one file of the log.
type segment struct {
	name  string // within the directory
	index int64
	start int64 // offset of the file's first byte in the log
	size  int64 // valid bytes, header included
	salt  uint32
	fresh bool

	before coverage // of the segments before this one
	first  int64    // decree of the first record; 0 = no record
	max    int64    // no record up to the end of this segment has a higher decree

	// indexed says that the following is known: steps back and marks, by offset in the file.
	indexed bool
	backs   []position
	marks   []position
}

// A position is where a record stands. In marks, decree is the highest one in front of it.
type position struct {
	offset int64
	decree int64
}

// markEvery is the distance of marks in bytes.
const markEvery = 256 << 10

func segmentName(index, start int64) string { return fmt.Sprintf("log.%d.%d", index, start) }

// parseSegmentName returns false for files that are none of ours.
func parseSegmentName(name string) (index, start int64, ok bool) {
	rest, ok := strings.CutPrefix(name, "log.")
	if !ok {
		return 0, 0, false
	}
	a, b, ok := strings.Cut(rest, ".")
	if !ok {
		return 0, 0, false
	}
	index, err1 := strconv.ParseInt(a, 10, 64)
	start, err2 := strconv.ParseInt(b, 10, 64)
	return index, start, err1 == nil && err2 == nil && name == segmentName(index, start) && index > 0 && start >= 0
}

func (s *segment) appendHeader(b []byte) []byte {
	n := len(b)
	b = append(b, segmentMagic...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.index))
	b = binary.BigEndian.AppendUint64(b, uint64(s.start))
	var flags uint32
	if s.fresh {
		flags |= flagFresh
	}
	b = binary.BigEndian.AppendUint32(b, flags)
	b = binary.BigEndian.AppendUint32(b, s.salt)
	b = binary.BigEndian.AppendUint64(b, uint64(s.before.first))
	b = binary.BigEndian.AppendUint64(b, uint64(s.before.last))
	b = binary.BigEndian.AppendUint64(b, uint64(s.before.max))
	b = binary.BigEndian.AppendUint32(b, 0)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[n:], castagnoli))
}

// decodeHeader fills in what the header says and returns what is wrong with it, or "".
func (s *segment) decodeHeader(b []byte) (problem string) {
	switch {
	case len(b) < segmentHeaderSize:
		return "the segment header is incomplete"
	case !bytes.Equal(b[:8], []byte(segmentMagic)):
		return "the segment header does not start with its magic"
	case binary.BigEndian.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli):
		return "the checksum of the segment header is wrong"
	case int64(binary.BigEndian.Uint64(b[8:])) != s.index || int64(binary.BigEndian.Uint64(b[16:])) != s.start:
		return "the segment header belongs to another file name"
	}
	s.fresh = binary.BigEndian.Uint32(b[24:])&flagFresh != 0
	s.salt = binary.BigEndian.Uint32(b[28:])
	s.before.first = int64(binary.BigEndian.Uint64(b[32:]))
	s.before.last = int64(binary.BigEndian.Uint64(b[40:]))
	s.before.max = int64(binary.BigEndian.Uint64(b[48:]))
	s.max = s.before.max
	return ""
}

// note records that a record stands at an offset. cov is the coverage in front of it.
func (s *segment) note(offset, decree int64, cov *coverage) {
	if s.first == 0 {
		s.first = decree
	}
	if decree <= cov.last {
		s.backs = append(s.backs, position{offset, decree})
	}
	last := int64(segmentHeaderSize)
	if n := len(s.marks); n > 0 {
		last = s.marks[n-1].offset
	}
	if offset-last >= markEvery {
		s.marks = append(s.marks, position{offset, cov.max})
	}
	cov.add(decree)
	s.max = cov.max
}

// A recordHeader is the decoded header of a record.
type recordHeader struct {
	length  int64
	dataCRC uint32
	ballot  int64
	decree  int64
	synced  int64
}

func appendRecord(b []byte, salt uint32, synced int64, e Entry) []byte {
	n := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Data)))
	b = binary.BigEndian.AppendUint32(b, crc32.Update(salt, castagnoli, e.Data))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Ballot))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Decree))
	b = binary.BigEndian.AppendUint32(b, uint32(synced))
	b = binary.BigEndian.AppendUint32(b, crc32.Update(salt, castagnoli, b[n:]))
	return append(b, e.Data...)
}

// decodeRecordHeader returns false if b does not start with a record header of the segment.
func decodeRecordHeader(b []byte, salt uint32) (h recordHeader, ok bool) {
	if binary.BigEndian.Uint32(b[28:]) != crc32.Update(salt, castagnoli, b[:28]) {
		return h, false
	}
	h = recordHeader{
		length:  int64(binary.BigEndian.Uint32(b)),
		dataCRC: binary.BigEndian.Uint32(b[4:]),
		ballot:  int64(binary.BigEndian.Uint64(b[8:])),
		decree:  int64(binary.BigEndian.Uint64(b[16:])),
		synced:  int64(binary.BigEndian.Uint32(b[24:])),
	}
	return h, h.length <= maxData && h.decree > 0
}

func (h recordHeader) intact(data []byte, salt uint32) bool {
	return h.dataCRC == crc32.Update(salt, castagnoli, data)
}
