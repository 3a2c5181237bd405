// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// scanDone is the context id of an answer after which nothing follows.
const scanDone = -1

// A scanContext is a scan between two pages: where it goes on, and its options. It holds no
// iterator, so a scan that its client has forgotten pins neither memtables nor files, and a
// page sees what has been written since the page before.
type scanContext struct {
	lower, upper []byte // what remains, as data keys: inclusive, exclusive

	batch        int // records in a page
	noValue      bool
	returnExpire bool
	countOnly    bool
	validateHash bool
	hashFilter   idl.FilterType
	hashPattern  []byte
	sortFilter   idl.FilterType
	sortPattern  []byte
}

// getScanner answers GET_SCANNER: it opens a scan and gives its first page.
func (d *DB) getScanner(s *scratch, arg []byte, out Replier) {
	r, q := &s.page, &s.scanReq
	d.resetPage(r)
	_, err := q.Decode(arg)
	if err != nil || !validFilter(q.HashKeyFilterType) || !validFilter(q.SortKeyFilterType) {
		r.Error = idl.StatusInvalidArgument
		out.Reply(r)
		return
	}
	c := &scanContext{
		batch:        d.opts.ScanMaxIteration,
		noValue:      q.NoValue,
		returnExpire: q.ReturnExpireTs != nil && *q.ReturnExpireTs,
		countOnly:    q.OnlyReturnCount != nil && *q.OnlyReturnCount,
		validateHash: q.ValidatePartitionHash == nil || *q.ValidatePartitionHash,
		hashFilter:   q.HashKeyFilterType,
		hashPattern:  q.HashKeyFilterPattern,
		sortFilter:   q.SortKeyFilterType,
		sortPattern:  q.SortKeyFilterPattern,
	}
	if n := int(q.BatchSize); n > 0 {
		c.batch = min(c.batch, n)
	}
	start, startIncl := q.StartKey, q.StartInclusive
	if q.HashKeyFilterType == idl.FtMatchPrefix && len(q.HashKeyFilterPattern) > 0 && len(q.HashKeyFilterPattern) <= maxHashKey {
		// Hash keys sort by length first: none with this prefix is before the prefix itself.
		if first := appendKey(nil, q.HashKeyFilterPattern, nil)[1:]; bytes.Compare(first, start) > 0 {
			start, startIncl = first, true
		}
	}
	if n := bytes.Compare(start, q.StopKey); n > 0 || (n == 0 && !(startIncl && q.StopInclusive)) {
		if c.countOnly {
			r.KvCount = new(int32)
		}
		out.Reply(r)
		return
	}
	c.lower, c.upper = appendRawKey(nil, start), appendRawKey(nil, q.StopKey)
	if !startIncl {
		c.lower = successor(c.lower)
	}
	if q.StopInclusive {
		c.upper = successor(c.upper)
	}
	d.scanPage(s, c, out)
}

// scan answers SCAN: the next page of an open scan. Its context is used up, whatever happens.
func (d *DB) scan(s *scratch, arg []byte, out Replier) {
	r := &s.page
	d.resetPage(r)
	var q idl.ScanRequest
	if _, err := q.Decode(arg); err != nil {
		r.Error = idl.StatusInvalidArgument
		out.Reply(r)
		return
	}
	c := d.scans.take(q.ContextID, d.opts.Now())
	if c == nil {
		r.Error = idl.StatusNotFound
		out.Reply(r)
		return
	}
	d.scanPage(s, c, out)
}

// ClearScanner forgets an open scan. Unknown ids are ignored.
func (d *DB) ClearScanner(id int64) { d.scans.take(id, d.opts.Now()) }

func (d *DB) resetPage(r *idl.ScanResponse) {
	*r = idl.ScanResponse{ContextID: scanDone, AppID: d.opts.GPID.AppID, PartitionIndex: d.opts.GPID.PartitionIndex, Server: d.opts.Server}
}

// scanPage reads one page and remembers the scan if something remains. c and what it refers to
// may alias the request: whatever is remembered is copied or was allocated for it.
func (d *DB) scanPage(s *scratch, c *scanContext, out Replier) {
	r := &s.page
	it, err := d.newIter(s, c.lower, c.upper)
	if err != nil {
		r.Error = d.readStatus(err)
		out.Reply(r)
		return
	}
	now, set, count, more := d.now(), d.settings.Load(), 0, false
	validate := c.validateHash && set.validateHash && set.partitions > 0
	// kvs point into s.expire, which therefore must not move.
	if c.returnExpire && cap(s.expire) < c.batch {
		s.expire = make([]int32, 0, c.batch)
	}
	l := d.newLimiter(d.opts.ScanMaxIteration, d.opts.ScanMaxIteration/10)
	for valid := it.First(); valid; valid = it.Next() {
		if count >= c.batch || !l.more() {
			more = true
			break
		}
		l.iterations++
		v, err := it.ValueAndErr()
		if err != nil {
			r.Error = d.readStatus(errors.Join(err, it.Close()))
			out.Reply(r)
			return
		}
		raw := it.Key()[1:]
		expireTS, data, ok := splitValue(v)
		if !ok || expired(expireTS, now) || !c.wants(raw) || (validate && !d.owns(raw, set.partitions)) {
			continue
		}
		count++
		if c.countOnly {
			continue
		}
		kv := idl.KeyValue{Key: s.keep(raw)}
		if !c.noValue {
			kv.Value = s.keep(data)
		}
		if c.returnExpire {
			s.expire = append(s.expire, int32(expireTS))
			kv.ExpireTsSeconds = &s.expire[len(s.expire)-1]
		}
		s.kvs = append(s.kvs, kv)
	}
	if err := d.finishPage(it, c, &l, more, r); err != nil {
		r.Error = d.readStatus(err)
	}
	r.Kvs = s.kvs
	if c.countOnly {
		n := int32(count)
		r.KvCount = &n
	}
	out.Reply(r)
}

// finishPage closes the iterator and decides what follows the page.
func (d *DB) finishPage(it *pebble.Iterator, c *scanContext, l *limiter, more bool, r *idl.ScanResponse) error {
	if !more {
		return it.Close()
	}
	rest := *c
	rest.lower = bytes.Clone(it.Key())
	rest.hashPattern, rest.sortPattern = bytes.Clone(c.hashPattern), bytes.Clone(c.sortPattern)
	if err := it.Close(); err != nil {
		return err
	}
	if l.late {
		// The client must not go on by itself: it is told that the scan took too long.
		r.Error, r.ContextID = idl.StatusIncomplete, 0
		return nil
	}
	r.ContextID = d.scans.add(&rest, d.opts.Now())
	return nil
}

// wants reports whether a raw key passes the filters.
func (c *scanContext) wants(raw []byte) bool {
	if len(c.hashPattern) == 0 && len(c.sortPattern) == 0 {
		return true
	}
	hashKey, sortKey := splitRawKey(raw)
	return matches(c.hashFilter, c.hashPattern, hashKey) && matches(c.sortFilter, c.sortPattern, sortKey)
}

// owns reports whether a raw key hashes to this partition.
func (d *DB) owns(raw []byte, partitions uint32) bool {
	hashKey, sortKey := splitRawKey(raw)
	return idl.KeyHash(hashKey, sortKey)%uint64(partitions) == uint64(d.opts.GPID.PartitionIndex)
}
