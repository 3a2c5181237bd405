// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// ScanOptions says what a scan returns. The zero value returns everything.
type ScanOptions struct {
	// StartExclusive and StopInclusive concern the ends of a hash scan.
	StartExclusive, StopInclusive bool
	// BatchSize is the number of records fetched at once; 0 means 500, the server allows 1000.
	BatchSize int
	// NoValue leaves the values out.
	NoValue bool
	// CountOnly leaves out the records altogether; use [Scanner.Count].
	CountOnly bool
	// HashKeys and SortKeys select records by their keys, on the server.
	HashKeys, SortKeys Filter
	// ExpireTS asks for the expiry of each record.
	ExpireTS bool
}

// A Record is what a scan returns.
type Record struct {
	HashKey, SortKey, Value []byte
	// ExpireTS is when the record expires, see [ExpiresAt]; only with ScanOptions.ExpireTS.
	ExpireTS int32
	GPID     idl.GPID
	Server   string // who sent it, as the server calls itself
}

// Context ids of the wire.
const scanCompleted = -1

// A Scanner reads many records in batches. The server keeps the position between two batches
// for some minutes; if it has forgotten it, or the primary has moved, the scan is reopened behind
// the last record. What is written during a scan may or may not be seen by it. A Scanner is used
// by one goroutine at a time.
type Scanner struct {
	t     *Table
	o     ScanOptions
	ids   []int  // full scan: partitions still to be read, the current one first
	hash  uint64 // hash scan
	full  bool
	count int // partitions of the table when the scan began; full scans only

	start, stop []byte // raw keys of the range in the current partition
	startOpen   bool   // start itself is excluded
	stopClosed  bool   // stop itself is included

	contextID int64
	server    idl.RPCAddress // knows contextID; zero: to be opened
	page      []Record
	pos       int
	counted   int // records counted in the current partition
	done      bool
	err       error
}

// HashScan returns a scanner over the records of a hash key from sort key start to stop, in
// ascending order; an empty stop means to the end of the hash key.
func (t *Table) HashScan(hashKey, start, stop []byte, o ScanOptions) *Scanner {
	s := &Scanner{t: t, o: o, hash: multiHash(hashKey), startOpen: o.StartExclusive, stopClosed: o.StopInclusive}
	if err := checkHashKey(hashKey); err != nil {
		s.err = t.badArgument("hash_scan", err)
		return s
	}
	s.start = idl.RawKey(hashKey, start)
	if len(stop) > 0 {
		s.stop = idl.RawKey(hashKey, stop)
	} else {
		s.stop, s.stopClosed = idl.NextKey(idl.RawKey(hashKey, nil)), false
	}
	if p := o.SortKeys.Pattern; o.SortKeys.Type == idl.FtMatchPrefix && len(p) > 0 {
		s.narrow(idl.RawKey(hashKey, p))
	}
	if c := bytes.Compare(s.start, s.stop); c > 0 || c == 0 && (s.startOpen || !s.stopClosed) {
		s.done = true // the server need not be asked for an empty range
	}
	return s
}

// narrow cuts the range to keys that begin with prefix.
func (s *Scanner) narrow(prefix []byte) {
	if bytes.Compare(prefix, s.start) > 0 {
		s.start, s.startOpen = prefix, false
	}
	if next := idl.NextKey(prefix); next != nil && bytes.Compare(next, s.stop) <= 0 {
		s.stop, s.stopClosed = next, false
	}
}

// FullScan returns scanners that together read the whole table, at most max of them (0 means one
// for each partition) so that they can work in parallel. Records come in no particular order.
func (t *Table) FullScan(ctx context.Context, max int, o ScanOptions) ([]*Scanner, error) {
	r, err := t.routing(ctx, t.c.deadline(ctx))
	if err != nil {
		return nil, t.configError("full_scan", err)
	}
	n := len(r.parts)
	if max <= 0 || max > n {
		max = n
	}
	all := make([]*Scanner, max)
	for i := range n {
		if i < max {
			all[i] = t.partitionScanner(n, o)
		}
		all[i%max].ids = append(all[i%max].ids, i)
	}
	return all, nil
}

// PartitionScan returns a scanner over one partition of the table.
func (t *Table) PartitionScan(ctx context.Context, partition int, o ScanOptions) (*Scanner, error) {
	r, err := t.routing(ctx, t.c.deadline(ctx))
	if err != nil {
		return nil, t.configError("full_scan", err)
	}
	if partition < 0 || partition >= len(r.parts) {
		return nil, &Error{Op: "full_scan", Table: t.name, Code: idl.ErrInvalidParameters,
			Err: errors.New("there is no such partition")}
	}
	s := t.partitionScanner(len(r.parts), o)
	s.ids = []int{partition}
	return s, nil
}

func (t *Table) partitionScanner(count int, o ScanOptions) *Scanner {
	s := &Scanner{t: t, o: o, full: true, count: count}
	s.wholePartition()
	return s
}

func (s *Scanner) wholePartition() {
	s.start, s.stop, s.startOpen, s.stopClosed = []byte{0, 0}, []byte{0xff, 0xff}, false, false
}

// Next returns the next record, io.EOF after the last. Its bytes stay valid. The deadline of ctx
// is one for this record; fetching a batch is repeated like any read. After an error other than
// the end of ctx the scanner stays failed.
func (s *Scanner) Next(ctx context.Context) (Record, error) {
	for s.pos >= len(s.page) {
		if _, err := s.fetch(ctx); err != nil {
			return Record{}, err
		}
	}
	r := s.page[s.pos]
	s.pos++
	return r, nil
}

// All returns the remaining records. Each batch has ctx's deadline or Options.Timeout; an error
// ends the iteration.
func (s *Scanner) All(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			r, err := s.Next(ctx)
			if err == io.EOF || !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Count reads on to the end and returns the number of records, without transporting them if
// ScanOptions.CountOnly is set. step, if not nil, is told of each change of the count as it
// goes; a step is negative when a partition has to be counted again.
func (s *Scanner) Count(ctx context.Context, step func(change int)) (int64, error) {
	total := int64(0)
	for {
		n, err := s.fetch(ctx)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		s.pos = len(s.page)
		total += int64(n)
		if step != nil && n != 0 {
			step(n)
		}
	}
}

// Close frees the position the server keeps, without waiting for it. The scanner cannot be used
// any more.
func (s *Scanner) Close() {
	if !s.server.IsZero() && s.contextID != scanCompleted {
		if r := s.t.cached.Load(); r != nil {
			s.t.c.peers.Go(s.server, wire.Call{
				Name: idl.RPCClearScanner, GPID: idl.GPID{AppID: r.appID, PartitionIndex: int32(s.index(r))},
				PartitionHash: s.partitionHash(), Arg: idl.I64(s.contextID),
			}, time.Second, nil)
		}
	}
	s.server, s.done, s.page, s.pos = 0, true, nil, 0
}

func (s *Scanner) partitionHash() uint64 {
	if s.full && len(s.ids) > 0 {
		return uint64(s.ids[0])
	}
	return s.hash
}

func (s *Scanner) index(r *routing) int {
	if s.full {
		return int(s.partitionHash())
	}
	return r.locate(s.hash)
}

// fetch gets the next batch, which may be empty, and returns the number of records in it; with
// CountOnly they are only counted. io.EOF means that there is nothing more.
func (s *Scanner) fetch(ctx context.Context) (int, error) {
	s.page, s.pos = nil, 0
	switch {
	case s.err != nil:
		return 0, s.err
	case s.done || s.full && len(s.ids) == 0:
		return 0, io.EOF
	}
	if s.full {
		if _, n, err := s.t.Shape(ctx); err == nil && n != s.count {
			s.err = &Error{Op: s.name(), Table: s.t.name, Err: ErrTableSplit}
			return 0, s.err
		}
	}
	var resp idl.ScanResponse
	if !s.server.IsZero() {
		lost, err := s.resume(ctx, &resp)
		if err != nil {
			return 0, err
		}
		if lost {
			s.server = 0
		}
	}
	if s.server.IsZero() {
		if s.o.CountOnly && s.counted > 0 {
			// There is no last key to go on from: this partition is counted again.
			n := s.counted
			s.counted = 0
			return -n, nil
		}
		if err := s.open(ctx, &resp); err != nil {
			return 0, err
		}
	}
	return s.take(ctx, &resp)
}

func (s *Scanner) name() string {
	if s.full {
		return "full_scan"
	}
	return "hash_scan"
}

func (s *Scanner) op(rpc string) op {
	return op{name: s.name(), rpc: rpc, hash: s.partitionHash(), fixed: s.full, read: true}
}

// resume asks for the next batch of an open scan. lost means that the position is gone.
func (s *Scanner) resume(ctx context.Context, resp *idl.ScanResponse) (lost bool, err error) {
	o := s.op(idl.RPCScan)
	o.only, o.single = s.server, true
	_, err = s.t.do(ctx, o, &idl.ScanRequest{ContextID: s.contextID}, resp)
	if err == nil {
		return Status(resp.Error) == StatusNotFound, nil
	}
	// Whatever went wrong, the server may have moved the position on; only reopening behind the
	// last record received is safe.
	s.server = 0
	if ctx.Err() != nil {
		return false, err
	}
	_, f := fateOf(err)
	if f.transient || errors.Is(err, errMoved) {
		return true, nil
	}
	return false, s.failed(err)
}

// open starts the scan of what is left of the current partition.
func (s *Scanner) open(ctx context.Context, resp *idl.ScanResponse) error {
	size := s.o.BatchSize
	if size <= 0 {
		size = 500
	}
	yes := true
	req := idl.GetScannerRequest{
		StartKey: s.start, StopKey: s.stop, StartInclusive: !s.startOpen, StopInclusive: s.stopClosed,
		BatchSize: int32(size), NoValue: s.o.NoValue,
		HashKeyFilterType: s.o.HashKeys.Type, HashKeyFilterPattern: s.o.HashKeys.Pattern,
		SortKeyFilterType: s.o.SortKeys.Type, SortKeyFilterPattern: s.o.SortKeys.Pattern,
		ValidatePartitionHash: &s.full, FullScan: &s.full,
	}
	if s.o.ExpireTS {
		req.ReturnExpireTs = &yes
	}
	if s.o.CountOnly {
		req.OnlyReturnCount = &yes
	}
	addr, err := s.t.do(ctx, s.op(idl.RPCGetScanner), &req, resp)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return s.failed(err)
	}
	s.server = addr
	return nil
}

// failed remembers an error that no retry of the caller can mend. Timeouts are the caller's
// business: the scan may go on with a new deadline.
func (s *Scanner) failed(err error) error {
	if code := CodeOf(err); code != idl.ErrTimeout && code != idl.ErrNetworkFailure {
		s.err = err
	}
	return err
}

// take accepts a batch.
func (s *Scanner) take(ctx context.Context, resp *idl.ScanResponse) (int, error) {
	status := Status(resp.Error)
	err := s.t.settle(ctx, s.name(), resp.Error, resp.AppID, resp.PartitionIndex, -1, resp.Server)
	if status == StatusIncomplete && len(resp.Kvs) > 0 {
		// The server ran out of time and keeps no position, but what it found counts.
		err, resp.ContextID = nil, scanCompleted-1
	}
	if err != nil {
		s.server = 0
		return 0, s.failed(err)
	}
	gpid := idl.GPID{AppID: resp.AppID, PartitionIndex: resp.PartitionIndex}
	s.page = make([]Record, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		hk, sk, ok := idl.SplitRawKey(kv.Key)
		if !ok {
			return 0, s.failed(&Error{Op: s.name(), Table: s.t.name, GPID: gpid, Server: resp.Server, Code: idl.ErrInvalidData,
				Err: fmt.Errorf("record with the malformed key %q", kv.Key)})
		}
		r := Record{HashKey: hk, SortKey: sk, Value: kv.Value, GPID: gpid, Server: resp.Server}
		if kv.ExpireTsSeconds != nil {
			r.ExpireTS = *kv.ExpireTsSeconds
		}
		s.page = append(s.page, r)
	}
	n := len(s.page)
	if n > 0 {
		s.start, s.startOpen = resp.Kvs[n-1].Key, true
	}
	if s.o.CountOnly && resp.KvCount != nil {
		n = int(*resp.KvCount)
	}
	s.counted += n
	s.contextID = resp.ContextID
	switch {
	case s.contextID == scanCompleted-1:
		s.server = 0
	case s.contextID != scanCompleted:
	case s.full:
		s.ids = s.ids[1:]
		s.server, s.counted = 0, 0
		s.wholePartition()
	default:
		s.server, s.done = 0, true
	}
	return n, nil
}
