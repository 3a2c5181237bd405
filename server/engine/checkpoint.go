// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Checkpoint makes dir, which must not exist, an immutable copy of the data through the decree
// that it returns, which is at least what was applied when it was called. Tables are hard
// links; the copy is durable when Checkpoint returns. On an error nothing is left in dir.
func (d *DB) Checkpoint(dir string) (decree int64, err error) {
	if !d.enter() {
		return 0, ErrClosed
	}
	defer d.leave()
	if err := d.Err(); err != nil {
		return 0, err
	}
	if d.lookDurable() < d.Applied() || d.Applied() == 0 {
		if err := d.flushAndWait(); err != nil {
			return 0, err
		}
	}
	before := d.lookDurable()
	if err := d.pdb.Checkpoint(dir); err != nil {
		return 0, fmt.Errorf("checkpoint of replica %s in %s: %w", d.opts.GPID, dir, err)
	}
	if d.lookDurable() == before {
		return before, nil
	}
	// A flush came in between: only the copy knows on which side of it it stands.
	decree, err = Inspect(d.opts.FS, dir)
	if err != nil {
		return 0, errors.Join(err, d.opts.FS.RemoveAll(dir))
	}
	return decree, nil
}

// Inspect returns the decree that a checkpoint holds. It opens the checkpoint without changing
// it, so damaged or missing files show as a *CorruptError.
func Inspect(fs vfs.FS, dir string) (decree int64, err error) {
	cache := pebble.NewCache(1 << 20)
	defer cache.Unref()
	o := &pebble.Options{
		FS:       readOnlyFS{fs},
		ReadOnly: true,
		Cache:    cache,
		Logger:   &logger{slog.New(slog.DiscardHandler), func(error) {}},
		EventListener: &pebble.EventListener{
			DataCorruption: func(pebble.DataCorruptionInfo) {},
		},
	}
	desc, err := pebble.Peek(dir, fs)
	if err == nil && !desc.Exists {
		err = &CorruptError{Dir: dir, Err: errors.New("no checkpoint there")}
	}
	if err != nil {
		return 0, fmt.Errorf("inspect checkpoint %s: %w", dir, classify(dir, err))
	}
	p, err := pebble.Open(dir, o)
	if err != nil {
		return 0, fmt.Errorf("inspect checkpoint %s: %w", dir, classify(dir, err))
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := checkVersion(dir, p); err != nil {
		return 0, fmt.Errorf("inspect checkpoint %s: %w", dir, err)
	}
	decree, found, err := readDecree(p, nil)
	if err == nil && !found {
		err = &CorruptError{Dir: dir, Err: errors.New("no decree in it")}
	}
	if err != nil {
		return 0, fmt.Errorf("inspect checkpoint %s: %w", dir, classify(dir, err))
	}
	return decree, nil
}

// readOnlyFS keeps Pebble from leaving a LOCK file in a checkpoint, which is immutable and may
// be read by several learners at a time.
type readOnlyFS struct{ vfs.FS }

func (readOnlyFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }
