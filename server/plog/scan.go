// SPDX-License-Identifier: Apache-2.0

package plog

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A CorruptError reports that the log is damaged where no crash can have damaged it. Nothing was
// changed on disk.
type CorruptError struct {
	File   string // full path
	Offset int64  // in the file, of the first thing that is wrong
	Reason string
}

// Error says what is wrong and what to do.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("private log %s is damaged at offset %d: %s; mutations behind it cannot be trusted: "+
		"check the disk, then move the replica's directory aside so that the replica is learned again from its group",
		e.File, e.Offset, e.Reason)
}

// scanRecords reads the records of a segment from offset on and calls fn for each. Data is read
// into memory of its own if want says so, otherwise it is checked only and nil. The scan stops at
// the segment's size, or where a record is bad: then problem says why and end is its offset.
func scanRecords(f io.ReaderAt, s *segment, offset int64, want func(recordHeader) bool,
	fn func(offset int64, h recordHeader, data []byte) error) (end int64, problem string, err error) {

	r := bufio.NewReaderSize(io.NewSectionReader(f, offset, s.size-offset), 64<<10)
	var header [recordHeaderSize]byte
	var scratch []byte
	for offset < s.size {
		if s.size-offset < recordHeaderSize {
			return offset, "a record header is incomplete", nil
		}
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return offset, "", scanErr(s, offset, err)
		}
		h, ok := decodeRecordHeader(header[:], s.salt)
		if !ok {
			return offset, "the checksum of a record header is wrong", nil
		}
		if h.length > s.size-offset-recordHeaderSize {
			return offset, "a record is incomplete", nil
		}
		var data []byte
		if keep := want(h); keep {
			data = make([]byte, h.length)
		} else {
			if int64(cap(scratch)) < h.length {
				scratch = make([]byte, h.length)
			}
			data = scratch[:h.length]
		}
		if _, err := io.ReadFull(r, data); err != nil {
			return offset, "", scanErr(s, offset, err)
		}
		if !h.intact(data, s.salt) {
			return offset, "the checksum of a record is wrong", nil
		}
		if err := fn(offset, h, data); err != nil {
			return offset, "", err
		}
		offset += recordHeaderSize + h.length
	}
	return offset, "", nil
}

func scanErr(s *segment, offset int64, err error) error {
	return fmt.Errorf("read private log segment %s at offset %d: %w", s.name, offset, err)
}

// errPagesLost and errTorn say how a last segment ends when it does not end cleanly.
var (
	errTorn      = errors.New("incomplete last record")
	errPagesLost = errors.New("pages that were not synced are lost")
)

// judgeTail decides what a bad record at an offset of the last segment is: errTorn if nothing
// intact follows, errPagesLost if what follows was never known to be on disk and the bad region
// has a page of zeros, and nil for damage. size is that of the file.
func judgeTail(f vfs.File, s *segment, bad, size int64) (verdict error, err error) {
	rest := make([]byte, size-bad)
	if _, err := f.ReadAt(rest, bad); err != nil && !errors.Is(err, io.EOF) {
		return nil, scanErr(s, bad, err)
	}
	intact := int64(-1) // offset in rest of the first intact record
	for i := int64(1); i+recordHeaderSize <= int64(len(rest)); {
		h, ok := decodeRecordHeader(rest[i:], s.salt)
		end := i + recordHeaderSize + h.length
		if !ok || end > int64(len(rest)) || !h.intact(rest[i+recordHeaderSize:end], s.salt) {
			i++
			continue
		}
		if h.synced > bad {
			return nil, nil
		}
		if intact < 0 {
			intact = i
		}
		i = end
	}
	switch {
	case intact < 0:
		return errTorn, nil
	case hasLostPage(rest[:intact], bad):
		return errPagesLost, nil
	}
	return nil, nil
}

// hasLostPage reports whether b, which stands at an offset of a file, is zero up to the end of
// some page that ends in it.
func hasLostPage(b []byte, offset int64) bool {
	const page = 4096
	for len(b) > 0 {
		n := page - offset%page
		if n > int64(len(b)) {
			return false
		}
		if allZero(b[:n]) {
			return true
		}
		b, offset = b[n:], offset+n
	}
	return false
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
