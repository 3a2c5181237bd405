// SPDX-License-Identifier: Apache-2.0

package plog

import (
	"errors"
	"fmt"
	"math"
	"os"
)

// ReadFrom calls fn for the entries from decree on, ascending without a hole, voided ones left
// out, until about maxBytes of data were passed on (at least one entry; 0 = no limit) or the end
// that the log had at the call is reached. The data belongs to fn, whose error ends the reading.
// Appends may go on meanwhile.
//
// ErrTruncated means that the log does not reach back to decree, or that Truncate or Reset
// overtook the reading.
func (l *Log) ReadFrom(decree int64, maxBytes int, fn func(Entry) error) error {
	segments, err := l.snapshot(decree)
	if err != nil {
		return fmt.Errorf("read private log in %s from decree %d: %w", l.o.Dir, decree, err)
	}
	if maxBytes <= 0 {
		maxBytes = math.MaxInt
	}
	v := newVoids(segments)
	next := decree
	for i := range segments {
		s := &segments[i]
		offset := int64(segmentHeaderSize)
		if i == 0 {
			for _, m := range s.marks {
				if m.decree >= decree {
					break
				}
				offset = m.offset
			}
		}
		err := l.scanFile(s, offset,
			func(h recordHeader) bool { return h.decree >= next },
			func(offset int64, h recordHeader, data []byte) error {
				if h.decree < next || v.void(s.start+offset, h.decree) {
					return nil
				}
				if h.decree != next {
					return fmt.Errorf("decree %d is followed by %d: %w", next-1, h.decree, ErrTruncated)
				}
				if err := fn(Entry{Ballot: h.ballot, Decree: h.decree, Data: data}); err != nil {
					return err
				}
				next++
				if maxBytes -= len(data); maxBytes <= 0 {
					return errEnough
				}
				return nil
			})
		if err == errEnough {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read private log in %s from decree %d: %w", l.o.Dir, decree, err)
		}
	}
	return nil
}

var errEnough = errors.New("enough read")

// snapshot returns copies of the segments that have decree and what follows, all indexed.
func (l *Log) snapshot(decree int64) ([]segment, error) {
	for {
		l.mu.Lock()
		if l.err == errClosed {
			l.mu.Unlock()
			return nil, errClosed
		}
		if first := l.firstDecree(); decree < first {
			l.mu.Unlock()
			return nil, fmt.Errorf("it begins with decree %d: %w", first, ErrTruncated)
		}
		var out []segment
		var missing *segment
		for _, s := range l.segments {
			if s.max < decree || s.size <= segmentHeaderSize {
				continue
			}
			if !s.indexed {
				missing = s
				break
			}
			out = append(out, *s)
		}
		l.mu.Unlock()
		if missing == nil {
			return out, nil
		}
		if err := l.index(missing); err != nil {
			return nil, err
		}
	}
}

// index reads a closed segment that Open skipped.
func (l *Log) index(s *segment) error {
	l.mu.Lock()
	t := segment{name: s.name, start: s.start, size: s.size, salt: s.salt, max: s.max}
	cov := s.before
	l.mu.Unlock()
	err := l.scanFile(&t, segmentHeaderSize,
		func(recordHeader) bool { return false },
		func(offset int64, h recordHeader, _ []byte) error {
			t.note(offset, h.decree, &cov)
			return nil
		})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.backs, s.marks, s.indexed = t.backs, t.marks, true
	return nil
}

// scanFile is scanRecords over a file in which nothing may be wrong.
func (l *Log) scanFile(s *segment, offset int64, want func(recordHeader) bool,
	fn func(offset int64, h recordHeader, data []byte) error) error {

	f, err := l.o.FS.Open(l.path(s.name))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("segment %s was removed meanwhile: %w", s.name, ErrTruncated)
		}
		return err
	}
	defer f.Close()
	end, problem, err := scanRecords(f, s, offset, want, fn)
	if err != nil {
		return err
	}
	if problem != "" {
		return l.corrupt(s, end, problem)
	}
	return nil
}

// A voids answers whether a record is voided by a later one. Questions come in file order.
type voids struct {
	backs  []position // by offset in the log; decree is the lowest of this one and all later ones
	passed int
}

func newVoids(segments []segment) *voids {
	v := &voids{}
	for i := range segments {
		for _, b := range segments[i].backs {
			v.backs = append(v.backs, position{segments[i].start + b.offset, b.decree})
		}
	}
	for i := len(v.backs) - 2; i >= 0; i-- {
		v.backs[i].decree = min(v.backs[i].decree, v.backs[i+1].decree)
	}
	return v
}

func (v *voids) void(offset, decree int64) bool {
	for v.passed < len(v.backs) && v.backs[v.passed].offset <= offset {
		v.passed++
	}
	return v.passed < len(v.backs) && v.backs[v.passed].decree <= decree
}
