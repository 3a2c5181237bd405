// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A DB is the data of one replica. All methods may be called from any goroutine, with one
// exception: Apply is called by one at a time.
type DB struct {
	opts   Options
	dir    string // of the Pebble instance
	pdb    *pebble.DB
	shared *Shared

	// life is read-locked by every use of pdb and locked, for a moment, by Close: Pebble panics
	// when used after its Close.
	life   sync.RWMutex
	closed bool

	closing  chan struct{} // closed when Close begins
	failed   chan struct{} // closed when failure is set
	failOnce sync.Once
	failure  atomic.Pointer[error]
	applied  atomic.Int64
	durable  atomic.Int64 // as of the last look

	settingsMu sync.Mutex // serializes changes of settings
	settings   atomic.Pointer[settings]

	// Bytes of batches not yet flushed, estimated: in the mutable memtable and in those behind
	// it. dirty is part of shared.dirty.
	dirty      atomic.Int64
	flushing   atomic.Int64
	flushAsked atomic.Bool
	flushed    chan struct{} // capacity 1; a flush ended

	scans   scanTable
	apply   applier
	stats   counters
	entries entryEstimate
}

// Open opens the data of a replica, or makes it when Dir holds none. What an interrupted
// Install or DestroyData left behind is tidied up first. A *CorruptError is returned when files
// are damaged or missing.
func Open(o Options) (*DB, error) {
	o.setDefaults()
	o.Log = o.Log.With("gpid", o.GPID.String())
	if err := recoverInstall(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("open replica %s: %w", o.GPID, err)
	}
	d := &DB{
		opts:    o,
		dir:     dataPath(o.FS, o.Dir),
		shared:  o.Shared,
		closing: make(chan struct{}),
		failed:  make(chan struct{}),
		flushed: make(chan struct{}, 1),
	}
	d.settings.Store(&settings{iterationThreshold: o.IterationThreshold})
	d.scans.init(o.MaxScanners)

	po := o.Shared.pebbleOptions(fencedFS{o.FS, d.Err}, &logger{o.Log, d.fail})
	po.EventListener = d.listener()
	pdb, err := pebble.Open(d.dir, po)
	if err != nil {
		return nil, fmt.Errorf("open replica %s in %s: %w", o.GPID, d.dir, classify(d.dir, err))
	}
	d.pdb = pdb
	if err := d.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("open replica %s in %s: %w", o.GPID, d.dir, err), pdb.Close())
	}
	o.Shared.register(d)
	return d, nil
}

// start reads where the DB stands, or writes where a new one begins.
func (d *DB) start() error {
	if err := checkVersion(d.dir, d.pdb); err != nil {
		return err
	}
	decree, found, err := readDecree(d.pdb, nil)
	if err != nil {
		return classify(d.dir, err)
	}
	if !found {
		b := d.pdb.NewBatch()
		defer func() { _ = b.Close() }()
		if err := errors.Join(b.Set(metaVersion, []byte{schemaVersion}, nil), setDecree(b, 0)); err != nil {
			return err
		}
		if err := b.Commit(pebble.NoSync); err != nil {
			return err
		}
	}
	d.applied.Store(decree)
	d.durable.Store(decree)
	return d.Err()
}

// checkVersion refuses data of a layout that this program does not know.
func checkVersion(dir string, r pebble.Reader) error {
	v, closer, err := r.Get(metaVersion)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return classify(dir, err)
	}
	defer func() { _ = closer.Close() }()
	if len(v) != 1 {
		return &CorruptError{Dir: dir, Err: fmt.Errorf("layout version of %d bytes", len(v))}
	}
	if v[0] != schemaVersion {
		return fmt.Errorf("layout version %d, but this server knows %d only: run the newer server that wrote it",
			v[0], schemaVersion)
	}
	return nil
}

// setDecree makes the decree part of a batch.
func setDecree(b *pebble.Batch, decree int64) error {
	op := b.SetDeferred(len(metaDecree), 8)
	copy(op.Key, metaDecree)
	binary.BigEndian.PutUint64(op.Value, uint64(decree))
	return op.Finish()
}

// readDecree returns the decree that a DB holds, seen through an iterator with these options.
func readDecree(p *pebble.DB, o *pebble.IterOptions) (decree int64, found bool, err error) {
	it, err := p.NewIter(o)
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.SeekGE(metaDecree) || string(it.Key()) != string(metaDecree) {
		return 0, false, it.Error()
	}
	v := it.Value()
	if len(v) != 8 {
		return 0, false, pebble.ErrCorruption
	}
	return int64(binary.BigEndian.Uint64(v)), true, nil
}

// Applied is the decree of the last mutation applied; right after Open, the one found on disk.
func (d *DB) Applied() int64 { return d.applied.Load() }

// Durable is the decree that will be found again after a crash at this moment: everything up to
// it has been flushed. It costs a read.
func (d *DB) Durable() int64 {
	if !d.enter() {
		return d.durable.Load()
	}
	defer d.leave()
	return d.lookDurable()
}

// lookDurable is Durable for callers that have entered.
func (d *DB) lookDurable() int64 {
	decree, found, err := readDecree(d.pdb, &pebble.IterOptions{OnlyReadGuaranteedDurable: true})
	if err != nil {
		d.fail(fmt.Errorf("read the durable decree: %w", err))
	}
	if found {
		raise(&d.durable, decree)
	}
	return d.durable.Load()
}

// raise sets v to n unless it is larger already.
func raise(v *atomic.Int64, n int64) {
	for old := v.Load(); n > old && !v.CompareAndSwap(old, n); old = v.Load() {
	}
}

// Err returns the error that made the DB unusable, or nil.
func (d *DB) Err() error {
	if p := d.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// fail records the first error that makes the DB unusable. Pebble calls it with locks held.
func (d *DB) fail(err error) {
	d.failOnce.Do(func() {
		err = fmt.Errorf("replica %s: storage engine in %s: %w", d.opts.GPID, d.dir, classify(d.dir, err))
		d.failure.Store(&err)
		close(d.failed)
		d.opts.Log.Error("storage engine failed", "err", err)
		d.opts.OnError(err)
	})
}

// enter keeps Close away until leave. False means that the DB is closed.
func (d *DB) enter() bool {
	d.life.RLock()
	if d.closed {
		d.life.RUnlock()
		return false
	}
	return true
}

func (d *DB) leave() { d.life.RUnlock() }

// isClosing reports whether long reads should stop.
func (d *DB) isClosing() bool {
	select {
	case <-d.closing:
		return true
	default:
		return false
	}
}

// Close flushes what is in memory, so that the next Open has little to replay, and releases the
// files. It waits for Apply and reads that are under way; later ones fail with ErrClosed. A DB
// that has failed is closed without a flush and without an error. Open scans die.
func (d *DB) Close() error { return d.close(true) }

// CloseWithoutFlush is Close for data that is about to be destroyed or replaced.
func (d *DB) CloseWithoutFlush() error { return d.close(false) }

func (d *DB) close(flush bool) error {
	d.settingsMu.Lock()
	if d.isClosing() {
		d.settingsMu.Unlock()
		return ErrClosed
	}
	close(d.closing) // wakes a writer that waits for room
	d.settingsMu.Unlock()

	d.life.Lock()
	d.closed = true
	d.life.Unlock()

	d.shared.unregister(d)
	d.scans.clear()
	var err error
	if flush && d.Err() == nil {
		err = d.flushAndWait()
	}
	cerr := d.pdb.Close()
	if d.Err() != nil {
		// The failure has been reported. That nothing could be written after it is no news.
		return err
	}
	if cerr != nil {
		err = errors.Join(err, fmt.Errorf("close %s: %w", d.dir, cerr))
	}
	return err
}

// syncDir makes the entries of a directory durable.
func syncDir(fs vfs.FS, dir string) error {
	f, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
