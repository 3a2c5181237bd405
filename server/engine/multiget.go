// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"errors"
	"math"
	"slices"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// multiGet answers MULTI_GET: given records of one hash key, or a range of them.
func (d *DB) multiGet(s *scratch, arg []byte, out Replier) {
	r, q := &s.multi, &s.multiReq
	*r = idl.MultiGetResponse{AppID: d.opts.GPID.AppID, PartitionIndex: d.opts.GPID.PartitionIndex, Server: d.opts.Server}
	_, err := q.Decode(arg)
	switch {
	case err != nil || !validFilter(q.SortKeyFilterType) || len(q.HashKey) > maxHashKey:
		r.Error = idl.StatusInvalidArgument
	case len(q.SortKeys) > 0:
		r.Error = d.multiGetKeys(s, q)
	default:
		r.Error = d.multiGetRange(s, q)
	}
	r.Kvs = s.kvs
	out.Reply(r)
}

// multiGetKeys looks up the sort keys of the request, in their order. A limit counts only when
// one more record exists.
func (d *DB) multiGetKeys(s *scratch, q *idl.MultiGetRequest) int32 {
	maxCount := d.opts.MultiGetMaxIteration
	if q.MaxKvCount > 0 {
		maxCount = min(maxCount, int(q.MaxKvCount))
	}
	maxSize := math.MaxInt
	if q.MaxKvSize > 0 {
		maxSize = int(q.MaxKvSize)
	}
	size, now := 0, d.now()
	for _, sortKey := range q.SortKeys {
		value, exist, err := d.lookup(s, q.HashKey, sortKey, now, q.NoValue)
		if err != nil {
			return d.readStatus(err)
		}
		if !exist {
			continue
		}
		if len(s.kvs) >= maxCount || size >= maxSize {
			return idl.StatusIncomplete
		}
		size += len(sortKey) + len(value)
		s.kvs = append(s.kvs, idl.KeyValue{Key: sortKey, Value: value})
	}
	return idl.StatusOK
}

// sortRange is the part of a hash key that a MULTI_GET wants, as data keys.
type sortRange struct {
	start, stop         []byte
	startIncl, stopIncl bool
}

// rangeOf computes the range of a request: from start_sortkey to stop_sortkey or the end of the
// hash key, narrowed by a prefix filter.
func rangeOf(s *scratch, q *idl.MultiGetRequest) sortRange {
	r := sortRange{startIncl: q.StartInclusive, stopIncl: q.StopInclusive}
	r.start = appendKey(s.key[:0], q.HashKey, q.StartSortkey)
	if len(q.StopSortkey) == 0 {
		r.stop, r.stopIncl = next(appendKey(s.end[:0], q.HashKey, nil)), false
	} else {
		r.stop = appendKey(s.end[:0], q.HashKey, q.StopSortkey)
	}
	if q.SortKeyFilterType == idl.FtMatchPrefix && len(q.SortKeyFilterPattern) > 0 {
		s.aux = appendKey(s.aux[:0], q.HashKey, q.SortKeyFilterPattern)
		first := s.aux
		if bytes.Compare(first, r.start) > 0 {
			r.start, r.startIncl = append(r.start[:0], first...), true
		}
		if last := next(first); bytes.Compare(last, r.stop) <= 0 {
			r.stop, r.stopIncl = append(r.stop[:0], last...), false
		}
	}
	s.key, s.end = r.start, r.stop
	return r
}

func (r *sortRange) empty() bool {
	c := bytes.Compare(r.start, r.stop)
	return c > 0 || (c == 0 && !(r.startIncl && r.stopIncl))
}

// multiGetRange collects a range of sort keys, from its end when q.Reverse is set.
//
// The answer is incomplete when a limit ended the reading while a record was left. Clients see
// which record counts: any that follows inside the hash key, also beyond the range asked for,
// unless the far end of the range was itself a record that has been read.
func (d *DB) multiGetRange(s *scratch, q *idl.MultiGetRequest) int32 {
	rng := rangeOf(s, q)
	if rng.empty() {
		return idl.StatusOK
	}
	maxCount, maxSize := math.MaxInt, d.opts.MultiGetMaxBytes
	if q.MaxKvCount > 0 {
		maxCount = int(q.MaxKvCount)
	}
	if q.MaxKvSize > 0 {
		maxSize = min(maxSize, int64(q.MaxKvSize))
	}

	s.aux = appendKey(s.aux[:0], q.HashKey, nil)
	var lower, upper []byte
	if q.Reverse {
		lower, upper = s.aux, rng.stop
		if rng.stopIncl {
			upper = successor(upper)
		}
	} else {
		lower, upper = rng.start, next(s.aux)
		if !rng.startIncl {
			lower = successor(lower)
		}
	}
	it, err := d.newIter(s, lower, upper)
	if err != nil {
		return d.readStatus(err)
	}
	step, valid := it.Next, false
	if q.Reverse {
		step, valid = it.Prev, it.Last()
	} else {
		valid = it.First()
	}

	status := int32(idl.StatusOK)
	prefix, now, size := 3+len(q.HashKey), d.now(), int64(0)
	for l := d.newLimiter(d.opts.MultiGetMaxIteration, d.opts.MultiGetMaxIteration/10); valid; valid = step() {
		if len(s.kvs) >= maxCount || size >= maxSize || !l.more() {
			status = idl.StatusIncomplete
			break
		}
		left := rng.left(it.Key(), q.Reverse)
		if left < 0 || (left == 0 && !rng.endIncl(q.Reverse)) {
			break
		}
		l.iterations++
		v, err := it.ValueAndErr()
		if err != nil {
			return d.readStatus(errors.Join(err, it.Close()))
		}
		sortKey := it.Key()[prefix:]
		expireTS, data, ok := splitValue(v)
		if ok && !expired(expireTS, now) && matches(q.SortKeyFilterType, q.SortKeyFilterPattern, sortKey) {
			kv := idl.KeyValue{Key: s.keep(sortKey)}
			if !q.NoValue {
				kv.Value = s.keep(data)
			}
			size += int64(len(kv.Key) + len(kv.Value))
			s.kvs = append(s.kvs, kv)
		}
		if left == 0 {
			break
		}
	}
	if err := it.Close(); err != nil {
		return d.readStatus(err)
	}
	if q.Reverse {
		slices.Reverse(s.kvs)
	}
	return status
}

// left says whether key, met while reading forward or in reverse, lies before (1), at (0) or
// beyond (-1) the far end of the range.
func (r *sortRange) left(key []byte, reverse bool) int {
	if reverse {
		return bytes.Compare(key, r.start)
	}
	return bytes.Compare(r.stop, key)
}

// endIncl reports whether the far end belongs to the range.
func (r *sortRange) endIncl(reverse bool) bool {
	if reverse {
		return r.startIncl
	}
	return r.stopIncl
}
