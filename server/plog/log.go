// SPDX-License-Identifier: Apache-2.0

package plog

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// An Entry is one record of the log.
type Entry struct {
	Ballot, Decree int64
	Data           []byte
}

// Options say where a log is and how it is kept.
type Options struct {
	FS  vfs.FS
	Dir string // is created if it does not exist; belongs to the log alone

	// SegmentBytes is the size at which a segment is closed; 0 = 32 MiB
	// (log_private_file_size_mb).
	SegmentBytes int64

	// Sync makes every Append wait for the disk (plog_force_flush). Without it, entries survive
	// the end of the process but the last ones not a power failure.
	Sync bool

	// Segments that Truncate may remove are kept while the log is no larger than ReserveBytes
	// and they are no older than ReserveAge (log_private_reserve_max_size_mb,
	// log_private_reserve_max_time_seconds). ReserveBytes 0 = keep none.
	ReserveBytes int64
	ReserveAge   time.Duration

	// Now is the clock ReserveAge is measured by; nil = time.Now.
	Now func() time.Time

	Log *slog.Logger // nil = slog.Default()
}

// ErrTruncated reports that the log does not reach back to the wanted decree.
var ErrTruncated = errors.New("the private log does not reach back that far")

// errClosed is what a closed log answers.
var errClosed = errors.New("private log is closed")

// A Log is an open private log. Its methods may be called concurrently; entries appended by
// concurrent calls are in the order the calls got their turn.
type Log struct {
	o Options

	gc sync.Mutex // serializes removal of files; taken before mu

	mu       sync.Mutex
	err      error      // of the first failed write, for ever
	segments []*segment // ascending; the last one is active if file is open
	file     vfs.File   // open segment, nil before the first Append after Open
	synced   int64      // bytes of the open segment that are known to be on disk
	cov      coverage
	size     int64 // valid bytes of all segments
	nextIdx  int64
	nextOff  int64 // offset in the log of the next byte
	passed   int64 // while opening: highest decree passed to replay and not voided
	buf      []byte
}

// Append writes entries in one write, and with Options.Sync makes them durable, before it
// returns. Data may be reused afterwards. An error is final: this and all later appends have
// failed, and the entries of this one may or may not be found by the next Open.
func (l *Log) Append(entries ...Entry) error {
	if len(entries) == 0 {
		return nil
	}
	for i := range entries {
		if e := &entries[i]; e.Decree < 1 || len(e.Data) > maxData {
			return fmt.Errorf("append to private log in %s: impossible entry with decree %d and %d bytes", l.o.Dir, e.Decree, len(e.Data))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if err := l.append(entries); err != nil {
		l.err = fmt.Errorf("append to private log in %s (it takes no more writes until the replica is opened again): %w", l.o.Dir, err)
		return l.err
	}
	return nil
}

// append does the work of Append. mu is held.
func (l *Log) append(entries []Entry) error {
	buf := l.buf[:0]
	if l.file == nil || l.active().size >= l.o.SegmentBytes {
		if err := l.rotate(false); err != nil {
			return err
		}
		buf = l.active().appendHeader(buf)
	}
	s := l.active()
	offset := s.size
	for i := range entries {
		s.note(offset+int64(len(buf)), entries[i].Decree, &l.cov)
		buf = appendRecord(buf, s.salt, l.synced, entries[i])
	}
	if cap(buf) <= 4<<20 {
		l.buf = buf[:0]
	}
	if n, err := l.file.Write(buf); err != nil {
		return fmt.Errorf("write %s: %w", s.name, err)
	} else if n < len(buf) {
		return fmt.Errorf("write %s: wrote %d of %d bytes", s.name, n, len(buf))
	}
	if l.o.Sync {
		if err := l.file.SyncData(); err != nil {
			return fmt.Errorf("sync %s: %w", s.name, err)
		}
		l.synced = offset + int64(len(buf))
	}
	s.size = offset + int64(len(buf))
	l.size += int64(len(buf))
	l.nextOff += int64(len(buf))
	return nil
}

func (l *Log) active() *segment { return l.segments[len(l.segments)-1] }

// rotate finishes the open segment and creates the next one, whose header the caller writes.
// mu is held.
func (l *Log) rotate(fresh bool) error {
	if err := l.closeFile(); err != nil {
		return err
	}
	s := &segment{
		index: l.nextIdx, start: l.nextOff, salt: rand.Uint32(), fresh: fresh,
		before: l.cov, max: l.cov.max, indexed: true,
	}
	s.name = segmentName(s.index, s.start)
	f, err := l.o.FS.Create(l.path(s.name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("create %s: %w", s.name, err)
	}
	l.file = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: l.bytesPerSync(f), NoSyncOnClose: true})
	l.synced = 0
	l.nextIdx++
	l.segments = append(l.segments, s)
	return syncDir(l.o.FS, l.o.Dir)
}

// bytesPerSync spreads the write-back of a segment over time, so that the sync at its end is
// short. Files that cannot do so without blocking are left alone.
func (l *Log) bytesPerSync(f vfs.File) int {
	if l.o.Sync || f.Fd() == vfs.InvalidFd {
		return 0
	}
	return 1 << 20
}

// closeFile makes the open segment durable and closes it. mu is held.
func (l *Log) closeFile() error {
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("finish %s: %w", l.active().name, err)
	}
	return nil
}

// Close makes what was appended durable and closes the log.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == errClosed {
		return nil
	}
	err := l.closeFile()
	l.err = errClosed
	if err != nil {
		return fmt.Errorf("close private log in %s: %w", l.o.Dir, err)
	}
	return nil
}

// Sync makes everything appended so far durable, whatever Options.Sync says.
func (l *Log) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if l.file == nil {
		return nil
	}
	if err := l.file.SyncData(); err != nil {
		l.err = fmt.Errorf("sync private log in %s (it takes no more writes until the replica is opened again): %w", l.o.Dir, err)
		return l.err
	}
	l.synced = l.active().size
	return nil
}

// FirstDecree returns the decree from which on the log has every decree up to LastDecree. It is
// one more than LastDecree if there is nothing in the log.
func (l *Log) FirstDecree() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.firstDecree()
}

func (l *Log) firstDecree() int64 {
	first := l.cov.first
	for _, s := range l.segments {
		if s.first != 0 {
			return max(first, min(s.first, l.cov.last+1))
		}
	}
	return l.cov.last + 1
}

// LastDecree returns the decree of the last entry, 0 if there never was one.
func (l *Log) LastDecree() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cov.last
}

// Size returns the bytes the log takes up.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

func (l *Log) path(name string) string { return l.o.FS.PathJoin(l.o.Dir, name) }

func (o *Options) setDefaults() {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 32 << 20
	}
	o.SegmentBytes = min(o.SegmentBytes, math.MaxUint32-2*maxData)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open directory %s to sync it: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
