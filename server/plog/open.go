// SPDX-License-Identifier: Apache-2.0

package plog

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Open opens the log and passes its entries to replay, in the order they were written, without
// those whose decree is at most from (they are in the engine) - except that one of these comes
// through if it voids entries that were passed on. The data belongs to replay. An error of
// replay ends Open. A nil replay only checks.
//
// A torn end is cut off and logged; other damage is a *CorruptError.
func Open(o Options, from int64, replay func(Entry) error) (*Log, error) {
	o.setDefaults()
	l := &Log{o: o, nextIdx: 1}
	if err := l.open(from, replay); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Log) open(from int64, replay func(Entry) error) error {
	if _, err := l.o.FS.Stat(l.o.Dir); err != nil {
		if err := l.o.FS.MkdirAll(l.o.Dir, 0o755); err != nil {
			return fmt.Errorf("create directory of the private log: %w", err)
		}
		if err := syncDir(l.o.FS, l.o.FS.PathDir(l.o.Dir)); err != nil {
			return err
		}
	}
	all, err := l.list()
	if err != nil {
		return err
	}
	if all, err = l.loadHeaders(all); err != nil {
		return err
	}
	if len(all) == 0 {
		return nil
	}
	l.cov = all[0].before
	if !all[0].fresh {
		l.cov.first = all[0].first
	}

	// Segments with nothing beyond from are not read now. The maxima never fall, so those that
	// are read are the last ones.
	skip := 0
	for skip < len(all)-1 && all[skip].max <= from {
		skip++
	}
	if skip > 0 {
		first := l.cov.first
		l.cov = all[skip].before
		l.cov.first = max(l.cov.first, first)
	}
	for i := skip; i < len(all); i++ {
		if err := l.replaySegment(all[i], i == len(all)-1, from, replay); err != nil {
			return err
		}
	}

	last := all[len(all)-1]
	l.segments = all
	l.nextIdx = last.index + 1
	l.nextOff = last.start + last.size
	for _, s := range all {
		l.size += s.size
	}
	return nil
}

// list returns the segments found in the directory, by index.
func (l *Log) list() ([]*segment, error) {
	names, err := l.o.FS.List(l.o.Dir)
	if err != nil {
		return nil, fmt.Errorf("list private log: %w", err)
	}
	var all []*segment
	for _, name := range names {
		if index, start, ok := parseSegmentName(name); ok {
			all = append(all, &segment{name: name, index: index, start: start})
		}
	}
	slices.SortFunc(all, func(a, b *segment) int {
		if a.index != b.index {
			return int(a.index - b.index)
		}
		return int(a.start - b.start)
	})
	return all, nil
}

// loadHeaders reads the headers of the segments, drops those that are not part of the log, and
// checks that the others follow one another.
func (l *Log) loadHeaders(all []*segment) ([]*segment, error) {
	for i := 0; i < len(all); i++ {
		s := all[i]
		void, err := l.loadHeader(s)
		if err != nil {
			var corrupt *CorruptError
			if i < len(all)-1 && errors.As(err, &corrupt) && slices.ContainsFunc(all[i+1:], l.isFresh) {
				continue // a later segment voids it
			}
			return nil, err
		}
		if void {
			if i != len(all)-1 {
				if slices.ContainsFunc(all[i+1:], l.isFresh) {
					continue
				}
				return nil, l.corrupt(s, 0, "the segment is empty but has a successor")
			}
			l.o.Log.Warn("the last segment of the private log was never completed; it is removed",
				"step", "plog open", "file", l.path(s.name))
			if err := l.o.FS.Remove(l.path(s.name)); err != nil {
				return nil, fmt.Errorf("remove empty private log segment %s: %w", l.path(s.name), err)
			}
			all = all[:i]
		}
	}
	for i := len(all) - 1; i > 0; i-- {
		if all[i].fresh {
			for _, s := range all[:i] {
				if err := l.o.FS.Remove(l.path(s.name)); err != nil {
					return nil, fmt.Errorf("remove void private log segment %s: %w", l.path(s.name), err)
				}
			}
			all = all[i:]
			break
		}
	}
	for i, s := range all {
		if i == len(all)-1 {
			break
		}
		next := all[i+1]
		if next.index != s.index+1 {
			return nil, l.corrupt(s, s.size, fmt.Sprintf("segment %d, which follows it, is missing", s.index+1))
		}
		length := next.start - s.start
		if length < segmentHeaderSize || length > s.size {
			return nil, l.corrupt(s, s.size, fmt.Sprintf("it has %d bytes, but its successor %s says it must have %d", s.size, next.name, length))
		}
		s.size = length
		s.max = next.before.max
	}
	return all, nil
}

func (l *Log) isFresh(s *segment) bool {
	t := *s
	void, err := l.loadHeader(&t)
	return err == nil && !void && t.fresh
}

// loadHeader reads the header of a segment, the decree of its first record, and its file size.
// void means that the file holds nothing: its creation was interrupted.
func (l *Log) loadHeader(s *segment) (void bool, err error) {
	f, err := l.o.FS.Open(l.path(s.name))
	if err != nil {
		return false, fmt.Errorf("open private log segment: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("stat private log segment %s: %w", l.path(s.name), err)
	}
	s.size = info.Size()
	var b [segmentHeaderSize + recordHeaderSize]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, scanErr(s, 0, err)
	}
	if problem := s.decodeHeader(b[:min(n, segmentHeaderSize)]); problem != "" {
		if n < segmentHeaderSize || allZero(b[:segmentHeaderSize]) {
			return true, nil
		}
		return false, l.corrupt(s, 0, problem)
	}
	if n == len(b) {
		if h, ok := decodeRecordHeader(b[segmentHeaderSize:], s.salt); ok {
			s.first = h.decree
		}
	}
	return false, nil
}

// replaySegment reads one segment, passes its entries on and indexes it.
func (l *Log) replaySegment(s *segment, last bool, from int64, replay func(Entry) error) error {
	f, err := l.o.FS.Open(l.path(s.name))
	if err != nil {
		return fmt.Errorf("open private log segment: %w", err)
	}
	defer f.Close()

	passed := l.passed
	s.first, s.backs, s.marks = 0, nil, nil
	pass := func(h recordHeader) bool { return replay != nil && (h.decree > from || h.decree <= passed) }
	end, problem, err := scanRecords(f, s, segmentHeaderSize, pass,
		func(offset int64, h recordHeader, data []byte) error {
			s.note(offset, h.decree, &l.cov)
			if !pass(h) {
				return nil
			}
			if h.decree > from {
				passed = max(passed, h.decree)
			} else {
				passed = 0
			}
			if err := replay(Entry{Ballot: h.ballot, Decree: h.decree, Data: data}); err != nil {
				return fmt.Errorf("replay private log %s at offset %d, decree %d: %w", l.path(s.name), offset, h.decree, err)
			}
			return nil
		})
	if err != nil {
		return err
	}
	l.passed = passed
	s.indexed = true
	if problem != "" {
		if !last {
			return l.corrupt(s, end, problem)
		}
		verdict, err := judgeTail(f, s, end, s.size)
		if err != nil {
			return err
		}
		if verdict == nil {
			return l.corrupt(s, end, problem+" and intact records follow it")
		}
		l.o.Log.Warn("the end of the private log is cut off", "step", "plog open",
			"file", l.path(s.name), "offset", end, "bytes", s.size-end, "reason", problem, "cause", verdict.Error())
		s.size = end
	}
	if last {
		// Its successor will rely on what was found here.
		return syncSegment(l.o.FS, l.path(s.name))
	}
	return nil
}

func syncSegment(fs vfs.FS, path string) error {
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("open private log segment to sync it: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync private log segment %s: %w", path, err)
	}
	return nil
}

func (l *Log) corrupt(s *segment, offset int64, reason string) error {
	return &CorruptError{File: l.path(s.name), Offset: offset, Reason: reason}
}
