// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// Options say what to open. Fields without a remark are required.
type Options struct {
	FS     vfs.FS
	Dir    string // the data directory of the replica; the Pebble instance is Dir/rdb
	GPID   idl.GPID
	Server string // "host:port" for answers to clients
	Shared *Shared

	// Now is the clock of reads and scanners; nil means time.Now.
	Now func() time.Time
	// Log gets what Pebble has to say; nil means slog.Default.
	Log *slog.Logger
	// OnError is called once, with the first error that makes the DB unusable: damaged files (a
	// *CorruptError), a full or failing disk. It may be called from inside Pebble and must not
	// block or call the DB, except for Err. May be nil.
	OnError func(error)

	// IterationThreshold bounds the time of a range read of a table without an own limit; 0
	// means 30 s.
	IterationThreshold time.Duration
	// MultiGetMaxIteration bounds the records a MULTI_GET looks at; 0 means 3000.
	MultiGetMaxIteration int
	// MultiGetMaxBytes bounds the answer of a MULTI_GET; 0 means 30 MiB.
	MultiGetMaxBytes int64
	// ScanMaxIteration bounds the records one page of a scan looks at; 0 means 1000.
	ScanMaxIteration int
	// MaxScanners bounds the scans a replica remembers between two pages; the oldest goes first
	// and its client opens a new one. 0 means 1000.
	MaxScanners int
}

func (o *Options) setDefaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.OnError == nil {
		o.OnError = func(error) {}
	}
	if o.IterationThreshold <= 0 {
		o.IterationThreshold = defaultIterationThreshold
	}
	if o.MultiGetMaxIteration <= 0 {
		o.MultiGetMaxIteration = 3000
	}
	if o.MultiGetMaxBytes <= 0 {
		o.MultiGetMaxBytes = 30 << 20
	}
	if o.ScanMaxIteration <= 0 {
		o.ScanMaxIteration = 1000
	}
	if o.MaxScanners <= 0 {
		o.MaxScanners = 1000
	}
}

// filterBits is what a Bloom filter costs a key: 10 bits make about 1 % false positives.
const filterBits = 10

// indexBlockSize lets all but the largest tables do with one level of index, which saves a
// point read a block.
const indexBlockSize = 256 << 10

// pebbleOptions are made for many small instances in one process: everything that costs memory
// or threads is shared or bounded by Shared, and what remains of an idle instance is a memtable
// of 256 KiB that grows only under load.
func (s *Shared) pebbleOptions(fs vfs.FS, log pebble.Logger) *pebble.Options {
	o := &pebble.Options{
		FS:                 fs,
		Logger:             log,
		Cache:              s.cache,
		FileCache:          s.files,
		DisableWAL:         true,
		FormatMajorVersion: pebble.FormatTableFormatV6,

		MemTableSize: uint64(s.opts.MemTableSize),
		// DB.waitForRoom holds writers back long before this many, where they can be woken.
		MemTableStopWritesThreshold: 2 * maxUnflushedMemTables,

		// Small memtables make small L0 files. Compacting from four of them keeps reads and
		// write amplification low; writes are never stopped for L0, because the replication
		// layer has no other answer to a stopped replica than to drop it.
		L0CompactionThreshold: 4,
		L0StopWritesThreshold: 1000,
		LBaseMaxBytes:         64 << 20,
		FlushSplitBytes:       2 << 20,
		MaxManifestFileSize:   4 << 20,
		CompactionConcurrencyRange: func() (int, int) {
			return 1, s.opts.Compactions
		},
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(filterBits)
		o.Levels[i].IndexBlockSize = indexBlockSize
	}
	o.Experimental.CompactionScheduler = &compactionGate{shared: s}
	return o
}
