// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"io"
)

const (
	minChunk = 4 << 10
	maxChunk = 64 << 10
)

// A frameReader hands out complete frames that lie in the buffer they were read into. A frame
// that somebody retained keeps its chunk alive: the reader then goes on in a fresh one.
type frameReader struct {
	src      io.Reader
	size     func(b []byte, max int) (int, error)
	max      int
	buf      []byte
	r, w     int
	retained bool // a frame of buf is still in use elsewhere
	full     bool // the last read filled the chunk: the next may be larger
}

// buffered reports whether another complete frame is at hand without reading.
func (f *frameReader) buffered() bool {
	n, err := f.size(f.buf[f.r:f.w], f.max)
	return err != nil && err != errShort || err == nil && n <= f.w-f.r
}

// next returns the next frame, which stays valid until the following call, or for good after
// retain.
func (f *frameReader) next() ([]byte, error) {
	for {
		want := minChunk
		n, err := f.size(f.buf[f.r:f.w], f.max)
		switch {
		case err == nil && n <= f.w-f.r:
			b := f.buf[f.r : f.r+n : f.r+n]
			f.r += n
			return b, nil
		case err == nil:
			want = n
		case err != errShort:
			return nil, err
		}
		if err := f.fill(want); err != nil {
			return nil, err
		}
	}
}

func (f *frameReader) retain() { f.retained = true }

// fill reads once, after making room for a frame of want bytes in all.
func (f *frameReader) fill(want int) error {
	have := f.w - f.r
	if have == 0 && !f.retained {
		f.r, f.w = 0, 0
	}
	if f.w == len(f.buf) || len(f.buf)-f.r < want && have > 0 {
		f.grow(want, have)
	}
	n, err := f.src.Read(f.buf[f.w:])
	f.w += n
	f.full = f.w == len(f.buf)
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	if err == io.EOF && have > 0 {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// grow moves the unread tail to the front of a chunk with more room. A frame larger than a
// chunk is believed step by step: memory follows the bytes that really arrive.
func (f *frameReader) grow(want, have int) {
	size := len(f.buf)
	if f.full && size < maxChunk {
		size = min(max(2*size, minChunk), maxChunk)
	}
	size = max(size, minChunk)
	if want > size {
		size = max(size, min(want, max(2*have, maxChunk)))
	}
	if size == len(f.buf) && !f.retained && f.r > 0 {
		copy(f.buf, f.buf[f.r:f.w])
	} else {
		b := make([]byte, size)
		copy(b, f.buf[f.r:f.w])
		f.buf = b
		f.retained = false
	}
	f.r, f.w = 0, have
}
