// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

type counters struct {
	reads, writes, flushes, compactions, stalls atomic.Int64
}

// Metrics are the numbers of one DB. Counters count from Open.
type Metrics struct {
	Applied, Durable int64 // decrees

	Reads  int64 // requests answered
	Writes int64 // client writes applied

	DiskBytes     int64 // files, without checkpoints
	MemTableBytes int64 // allocated, also behind running reads
	TableBytes    int64 // live tables
	Tables        int64
	L0Tables      int64
	ReadAmp       int   // places a read may have to look in
	CompactDebt   int64 // bytes that compactions are behind
	Flushes       int64
	Compactions   int64
	WriteStalls   int64
	Scanners      int // open scans
}

// Metrics returns the present numbers. It costs some microseconds.
func (d *DB) Metrics() Metrics {
	m := Metrics{Applied: d.Applied(), Durable: d.Durable()}
	m.Reads, m.Writes = d.stats.reads.Load(), d.stats.writes.Load()
	m.Flushes, m.Compactions = d.stats.flushes.Load(), d.stats.compactions.Load()
	m.WriteStalls, m.Scanners = d.stats.stalls.Load(), d.scans.len()
	if !d.enter() {
		return m
	}
	defer d.leave()
	p := d.pdb.Metrics()
	total := p.Total()
	m.DiskBytes = int64(p.DiskSpaceUsage())
	m.MemTableBytes = int64(p.MemTable.Size + p.MemTable.ZombieSize)
	m.TableBytes, m.Tables = total.TablesSize, total.TablesCount
	m.L0Tables, m.ReadAmp = p.Levels[0].TablesCount, p.ReadAmp()
	m.CompactDebt = int64(p.Compact.EstimatedDebt)
	return m
}

// DiskBytes is the size of the files of the DB, without checkpoints.
func (d *DB) DiskBytes() int64 {
	if !d.enter() {
		return 0
	}
	defer d.leave()
	return int64(d.pdb.Metrics().DiskSpaceUsage())
}

// entryEstimate counts records without reading them.
type entryEstimate struct {
	unflushed, flushing atomic.Int64 // in memtables, puts less deletes

	mu      sync.Mutex
	version int64 // of tables, 0 = never counted
	tables  int64 // records in tables
}

// EstimateKeys returns about how many records the DB holds: entries less what deletions
// presumably cancel, as RocksDB counts. Overwritten and expired records count until they are
// compacted away.
func (d *DB) EstimateKeys() (int64, error) {
	if !d.enter() {
		return 0, ErrClosed
	}
	defer d.leave()
	e := &d.entries
	e.mu.Lock()
	defer e.mu.Unlock()
	if version := d.stats.flushes.Load() + d.stats.compactions.Load() + 1; version != e.version {
		levels, err := d.pdb.SSTables(pebble.WithProperties())
		if err != nil {
			return 0, fmt.Errorf("estimate keys of replica %s: %w", d.opts.GPID, classify(d.dir, err))
		}
		e.version, e.tables = version, 0
		haveTables := false
		for _, tables := range levels {
			for i := range tables {
				p := tables[i].Properties
				e.tables += int64(p.NumEntries) - 2*int64(p.NumDeletions)
				// The meta keys come first: the decree in every table that reaches down
				// to them, the version in one.
				if bytes.Equal(tables[i].Smallest.UserKey, metaDecree) {
					e.tables--
				}
			}
			haveTables = haveTables || len(tables) > 0
		}
		if haveTables {
			e.tables--
		}
	}
	return max(e.tables+e.flushing.Load()+e.unflushed.Load(), 0), nil
}
