// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// maxUnflushedMemTables is how many memtables of unflushed data a replica may pile up before
// its writer waits for a flush.
const maxUnflushedMemTables = 4

// failedFlushPause slows Pebble down, which repeats a failed flush or compaction at once and
// for ever until the DB is closed.
const failedFlushPause = 50 * time.Millisecond

// listener makes the callbacks of Pebble. Most are called with DB.mu held.
func (d *DB) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			if errors.Is(err, pebble.ErrClosed) || errors.Is(err, context.Canceled) {
				return
			}
			d.fail(err)
			d.pause(failedFlushPause)
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			d.fail(&CorruptError{Dir: d.dir, File: d.opts.FS.PathBase(info.Path), Err: info.Details})
		},
		FlushBegin: func(pebble.FlushInfo) {
			n := d.dirty.Swap(0)
			d.shared.dirty.Add(-n)
			d.flushing.Add(n)
			d.entries.flushing.Add(d.entries.unflushed.Swap(0))
			d.flushAsked.Store(false)
		},
		FlushEnd: func(pebble.FlushInfo) {
			d.flushing.Store(0)
			d.entries.flushing.Store(0)
			d.stats.flushes.Add(1)
			select {
			case d.flushed <- struct{}{}:
			default:
			}
		},
		CompactionEnd: func(info pebble.CompactionInfo) {
			if info.Err == nil {
				d.stats.compactions.Add(1)
			}
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			d.stats.stalls.Add(1)
			d.opts.Log.Warn("storage engine holds writes back", "reason", info.Reason)
		},
	}
}

// pause waits a moment, less when the DB is being closed.
func (d *DB) pause(t time.Duration) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-d.closing:
	}
}

// waitForRoom keeps the writer back while too much is unflushed. Pebble would do so too, but
// inside a commit that nothing can wake when the disk has failed.
func (d *DB) waitForRoom() error {
	limit := maxUnflushedMemTables * d.shared.opts.MemTableSize
	if d.dirty.Load()+d.flushing.Load() <= limit {
		return nil
	}
	// The books are estimates: make sure that there is a flush to wait for.
	if _, err := d.pdb.AsyncFlush(); err != nil {
		return fmt.Errorf("flush %s: %w", d.dir, err)
	}
	for d.dirty.Load()+d.flushing.Load() > limit {
		select {
		case <-d.flushed:
		case <-d.failed:
			return d.Err()
		case <-d.closing:
			return ErrClosed
		}
	}
	return nil
}

// noteWritten books n bytes that are about to be committed. Booked before the commit they
// cannot miss the flush that the commit may set off.
func (d *DB) noteWritten(n int64) {
	d.dirty.Add(n)
	if d.shared.dirty.Add(n) > d.shared.maxDirty {
		d.shared.poke()
	}
}

// startFlush begins a flush on behalf of Shared and reports whether it did.
func (d *DB) startFlush() bool {
	if !d.enter() {
		return false
	}
	defer d.leave()
	d.flushAsked.Store(true)
	if _, err := d.pdb.AsyncFlush(); err != nil {
		d.fail(fmt.Errorf("flush: %w", err))
		return false
	}
	return true
}

// Flush writes everything applied so far to disk and waits until it is durable.
func (d *DB) Flush() error {
	if !d.enter() {
		return ErrClosed
	}
	defer d.leave()
	if err := d.Err(); err != nil {
		return err
	}
	if d.lookDurable() >= d.Applied() && d.Applied() > 0 {
		return nil
	}
	return d.flushAndWait()
}

// flushAndWait flushes without looking whether the DB is closed.
func (d *DB) flushAndWait() error {
	ch, err := d.pdb.AsyncFlush()
	if err != nil {
		return fmt.Errorf("flush %s: %w", d.dir, err)
	}
	select {
	case <-ch:
		return nil
	case <-d.failed:
		return fmt.Errorf("flush %s: %w", d.dir, d.Err())
	}
}
