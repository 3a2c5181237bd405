// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// SharedOptions size what all replicas of a process use together. Zero values mean the default.
type SharedOptions struct {
	// CacheBytes is the size of the block cache. Default 24 MiB.
	CacheBytes int64
	// MemTableBytes is the memory for memtables. A busy replica has two of MemTableSize, of
	// which one is filled while the other is flushed or waits to be filled again. When half of
	// MemTableBytes is filled, the fullest replica is flushed. Memtables beyond it are taken out
	// of CacheBytes. Default 48 MiB.
	MemTableBytes int64
	// MemTableSize is the largest memtable of one replica. An idle replica has one of 256 KiB.
	// Default 2 MiB.
	MemTableSize int64
	// OpenFiles bounds the table files kept open. Default 4096.
	OpenFiles int
	// Compactions bounds the compactions that run at the same time. Default: half of the CPUs,
	// at least 2.
	Compactions int
}

func (o *SharedOptions) setDefaults() {
	if o.CacheBytes <= 0 {
		o.CacheBytes = 24 << 20
	}
	if o.MemTableBytes <= 0 {
		o.MemTableBytes = 48 << 20
	}
	if o.MemTableSize <= 0 {
		o.MemTableSize = 2 << 20
	}
	if o.OpenFiles <= 0 {
		o.OpenFiles = 4096
	}
	if o.Compactions <= 0 {
		o.Compactions = max(2, runtime.GOMAXPROCS(0)/2)
	}
}

// Shared is what the replicas of a process share: block cache, open files, memtable memory and
// compaction slots. It owns one goroutine, which flushes the fullest replica when memory runs
// short and hands free compaction slots to those that wait for one.
type Shared struct {
	opts  SharedOptions
	cache *pebble.Cache
	files *pebble.FileCache

	// dirty estimates the bytes in the mutable memtables of all DBs; above maxDirty one is
	// flushed.
	dirty    atomic.Int64
	maxDirty int64

	mu         sync.Mutex
	dbs        map[*DB]struct{}
	gates      []*compactionGate // registered, in the order in which they are served
	compacting int               // slots taken
	refused    bool              // some DB was refused a slot since grantSlots started
	visiting   *compactionGate   // whose DB the goroutine is calling
	visited    *sync.Cond        // visiting changed

	wake chan struct{} // capacity 1
	quit chan struct{}
	done chan struct{}
}

// NewShared makes the shared resources. They must be closed after the last DB that uses them.
func NewShared(o SharedOptions) *Shared {
	o.setDefaults()
	s := &Shared{
		opts: o,
		// Pebble books memtables against the cache, so their share comes on top.
		cache: pebble.NewCache(o.CacheBytes + o.MemTableBytes),
		dbs:   make(map[*DB]struct{}),

		maxDirty: o.MemTableBytes / 2,

		wake: make(chan struct{}, 1),
		quit: make(chan struct{}),
		done: make(chan struct{}),
	}
	s.files = pebble.NewFileCache(min(4, runtime.GOMAXPROCS(0)), o.OpenFiles)
	s.visited = sync.NewCond(&s.mu)
	go s.run()
	return s
}

// Close releases the resources. All DBs must have been closed.
func (s *Shared) Close() {
	close(s.quit)
	<-s.done
	s.files.Unref()
	s.cache.Unref()
}

// SharedMetrics are the numbers of a process.
type SharedMetrics struct {
	CacheBytes    int64 // in use, without what is booked for memtables
	CacheHits     int64
	CacheMisses   int64
	UnflushedData int64 // bytes, estimated
	Compacting    int   // compactions that run
}

// Metrics returns the present numbers.
func (s *Shared) Metrics() SharedMetrics {
	c := s.cache.Metrics()
	s.mu.Lock()
	defer s.mu.Unlock()
	return SharedMetrics{
		CacheBytes:    c.Size,
		CacheHits:     c.Hits,
		CacheMisses:   c.Misses,
		UnflushedData: s.dirty.Load(),
		Compacting:    s.compacting,
	}
}

func (s *Shared) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Shared) run() {
	defer close(s.done)
	for {
		select {
		case <-s.quit:
			return
		case <-s.wake:
			s.flushFullest()
			s.grantSlots()
		}
	}
}

func (s *Shared) register(d *DB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dbs[d] = struct{}{}
}

func (s *Shared) unregister(d *DB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.dbs, d)
	s.dirty.Add(-d.dirty.Swap(0))
}

// flushFullest starts flushes, fullest DB first, until what has not been asked to flush fits the
// budget.
func (s *Shared) flushFullest() {
	for s.dirty.Load() > s.maxDirty {
		var fullest *DB
		var most, rest int64
		s.mu.Lock()
		for d := range s.dbs {
			if d.flushAsked.Load() {
				continue
			}
			n := d.dirty.Load()
			rest += n
			if n > most {
				fullest, most = d, n
			}
		}
		s.mu.Unlock()
		if fullest == nil || rest <= s.maxDirty || !fullest.startFlush() {
			return
		}
	}
}
