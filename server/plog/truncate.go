// SPDX-License-Identifier: Apache-2.0

package plog

import (
	"errors"
	"fmt"
	"os"
)

// Truncate removes the segments that hold no decree above durable, the one that is written to
// excepted. The newest of them are kept within Options.ReserveBytes and ReserveAge, for learners.
func (l *Log) Truncate(durable int64) error {
	l.gc.Lock()
	defer l.gc.Unlock()
	for {
		name, err := l.dropOldest(durable)
		if err != nil || name == "" {
			return err
		}
		// The file outlives the entry in l.segments; a crash in between leaves it to the next
		// Truncate. Removal is made durable one by one so that the log never has a gap.
		if err := l.remove(name); err != nil {
			return fmt.Errorf("truncate private log up to decree %d: %w", durable, err)
		}
	}
}

// dropOldest takes the oldest segment out of the log if it may go, and returns its name.
func (l *Log) dropOldest(durable int64) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == errClosed {
		return "", errClosed
	}
	if len(l.segments) < 2 || l.segments[0].max > durable {
		return "", nil
	}
	s := l.segments[0]
	if l.size <= l.o.ReserveBytes {
		info, err := l.o.FS.Stat(l.path(s.name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("stat private log segment: %w", err)
		}
		if err == nil && l.o.Now().Sub(info.ModTime()) <= l.o.ReserveAge {
			return "", nil
		}
	}
	l.segments = l.segments[1:]
	l.size -= s.size
	return s.name, nil
}

func (l *Log) remove(name string) error {
	if err := l.o.FS.Remove(l.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", l.path(name), err)
	}
	return syncDir(l.o.FS, l.o.Dir)
}

// Reset voids everything in the log, after the engine got a checkpoint with everything up to the
// decree durable: the next entry is expected to be durable+1. It is atomic: after a crash the log
// is either as before or empty.
func (l *Log) Reset(durable int64) error {
	l.gc.Lock()
	defer l.gc.Unlock()
	old, err := l.startAfresh(durable)
	if err != nil {
		return fmt.Errorf("reset private log in %s to decree %d: %w", l.o.Dir, durable, err)
	}
	for _, s := range old {
		if err := l.remove(s.name); err != nil {
			return fmt.Errorf("reset private log in %s to decree %d: %w", l.o.Dir, durable, err)
		}
	}
	return nil
}

// startAfresh begins a segment that voids those before it, and returns these.
func (l *Log) startAfresh(durable int64) (old []*segment, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	defer func() {
		if err != nil {
			l.err = err
		}
	}()
	old = l.segments
	if err := l.closeFile(); err != nil {
		return nil, err
	}
	l.segments = nil
	l.cov = coverage{first: durable + 1, last: durable, max: durable}
	if err := l.rotate(true); err != nil {
		return nil, err
	}
	s := l.active()
	header := s.appendHeader(nil)
	if n, err := l.file.Write(header); err != nil {
		return nil, fmt.Errorf("write %s: %w", s.name, err)
	} else if n < len(header) {
		return nil, fmt.Errorf("write %s: wrote %d of %d bytes", s.name, n, len(header))
	}
	if err := l.file.SyncData(); err != nil {
		return nil, fmt.Errorf("sync %s: %w", s.name, err)
	}
	l.synced = segmentHeaderSize
	s.size = segmentHeaderSize
	l.size = s.size
	l.nextOff += s.size
	return old, nil
}
