// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// A Replier takes the answer of a read. *wire.Request is one.
type Replier interface {
	Reply(v idl.Value)
	ReplyError(code idl.ErrorCode)
}

// Reads are the names of the RPCs that Read answers. CLEAR_SCANNER is among them although it has
// no answer.
func Reads() []string {
	return []string{
		idl.RPCGet, idl.RPCTtl, idl.RPCMultiGet, idl.RPCBatchGet, idl.RPCSortkeyCount,
		idl.RPCGetScanner, idl.RPCScan, idl.RPCClearScanner,
	}
}

// PointRead reports whether a read touches few records, so that it may be answered on the
// goroutine that read the request from its connection.
func PointRead(name string) bool { return name == idl.RPCGet || name == idl.RPCTtl }

// Read answers a read. arg is the encoded request. out gets exactly one call before Read
// returns, except for CLEAR_SCANNER, which must not be answered; the answer is valid only
// during the call. A request that cannot be decoded is answered with invalid argument, damaged
// or unreadable files with the storage status for it (and see Options.OnError).
func (d *DB) Read(name string, arg []byte, out Replier) {
	if !d.enter() {
		if name != idl.RPCClearScanner {
			out.ReplyError(idl.ErrInvalidState)
		}
		return
	}
	defer d.leave()
	s := scratches.Get().(*scratch)
	defer s.put()
	switch name {
	case idl.RPCGet:
		d.get(s, arg, out)
	case idl.RPCTtl:
		d.ttl(s, arg, out)
	case idl.RPCMultiGet:
		d.multiGet(s, arg, out)
	case idl.RPCBatchGet:
		d.batchGet(s, arg, out)
	case idl.RPCSortkeyCount:
		d.sortkeyCount(s, arg, out)
	case idl.RPCGetScanner:
		d.getScanner(s, arg, out)
	case idl.RPCScan:
		d.scan(s, arg, out)
	case idl.RPCClearScanner:
		var id idl.I64
		if _, err := id.Decode(arg); err == nil {
			d.ClearScanner(int64(id))
		}
	default:
		out.ReplyError(idl.ErrHandlerNotFound)
		return
	}
	d.stats.reads.Add(1)
}

// scratch is what a read needs for a moment: buffers and response structs.
type scratch struct {
	key, end []byte
	aux      []byte
	arena    []byte // copies of keys and values of the answer
	kvs      []idl.KeyValue
	data     []idl.FullData
	expire   []int32
	opts     pebble.IterOptions

	blob     idl.Blob
	multiReq idl.MultiGetRequest
	batchReq idl.BatchGetRequest
	scanReq  idl.GetScannerRequest

	read  idl.ReadResponse
	left  idl.TtlResponse
	count idl.CountResponse
	multi idl.MultiGetResponse
	batch idl.BatchGetResponse
	page  idl.ScanResponse
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// put returns the scratch, without what would keep much memory alive.
func (s *scratch) put() {
	if cap(s.arena) > maxKept {
		s.arena = nil
	}
	s.arena = s.arena[:0]
	clear(s.kvs)
	clear(s.data)
	s.kvs, s.data, s.expire = s.kvs[:0], s.data[:0], s.expire[:0]
	s.opts = pebble.IterOptions{}
	s.multiReq, s.batchReq, s.scanReq = idl.MultiGetRequest{}, idl.BatchGetRequest{}, idl.GetScannerRequest{}
	s.blob, s.read.Value = nil, nil
	s.multi.Kvs, s.batch.Data, s.page.Kvs = nil, nil, nil
	scratches.Put(s)
}

// keep copies b into the arena. Slices handed out before stay valid when the arena moves.
func (s *scratch) keep(b []byte) []byte {
	if cap(s.arena)-len(s.arena) < len(b) {
		s.arena = make([]byte, 0, max(4<<10, 2*cap(s.arena), len(b)))
	}
	start := len(s.arena)
	s.arena = append(s.arena, b...)
	return s.arena[start:len(s.arena):len(s.arena)]
}

// now is the time at which a read judges expiry.
func (d *DB) now() uint32 { return seconds(d.opts.Now()) }

// readStatus turns an error of a read into the status for the client, and makes the DB unusable:
// a read fails only when files are damaged or the disk does not work.
func (d *DB) readStatus(err error) int32 {
	err = classify(d.dir, err)
	d.fail(fmt.Errorf("read: %w", err))
	var c *CorruptError
	if errors.As(err, &c) {
		return idl.StatusCorruption
	}
	return idl.StatusIOError
}

// get answers GET. The value is given out as it lies in Pebble, without a copy.
func (d *DB) get(s *scratch, arg []byte, out Replier) {
	r := &s.read
	*r = idl.ReadResponse{AppID: d.opts.GPID.AppID, PartitionIndex: d.opts.GPID.PartitionIndex, Server: d.opts.Server}
	if _, err := s.blob.Decode(arg); err != nil {
		r.Error = idl.StatusInvalidArgument
		out.Reply(r)
		return
	}
	s.key = appendRawKey(s.key[:0], s.blob)
	v, closer, err := d.pdb.Get(s.key)
	if err != nil {
		r.Error = idl.StatusNotFound
		if !errors.Is(err, pebble.ErrNotFound) {
			r.Error = d.readStatus(err)
		}
		out.Reply(r)
		return
	}
	if expireTS, data, ok := splitValue(v); ok && !expired(expireTS, d.now()) {
		r.Value = data
	} else {
		r.Error = idl.StatusNotFound
	}
	out.Reply(r)
	if err := closer.Close(); err != nil {
		d.readStatus(err)
	}
}

// ttl answers TTL.
func (d *DB) ttl(s *scratch, arg []byte, out Replier) {
	r := &s.left
	*r = idl.TtlResponse{AppID: d.opts.GPID.AppID, PartitionIndex: d.opts.GPID.PartitionIndex, Server: d.opts.Server}
	if _, err := s.blob.Decode(arg); err != nil {
		r.Error = idl.StatusInvalidArgument
		out.Reply(r)
		return
	}
	s.key = appendRawKey(s.key[:0], s.blob)
	v, closer, err := d.pdb.Get(s.key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		r.Error = idl.StatusNotFound
	case err != nil:
		r.Error = d.readStatus(err)
	default:
		now := d.now()
		switch expireTS, _, ok := splitValue(v); {
		case !ok || expired(expireTS, now):
			r.Error = idl.StatusNotFound
		case expireTS == 0:
			r.TtlSeconds = -1
		default:
			r.TtlSeconds = int32(min(expireTS-now, 1<<31-1))
		}
		if err := closer.Close(); err != nil {
			r.Error = d.readStatus(err)
		}
	}
	out.Reply(r)
}

// batchGet answers BATCH_GET: records of any hash keys of the partition.
func (d *DB) batchGet(s *scratch, arg []byte, out Replier) {
	r, q := &s.batch, &s.batchReq
	*r = idl.BatchGetResponse{AppID: d.opts.GPID.AppID, PartitionIndex: d.opts.GPID.PartitionIndex, Server: d.opts.Server}
	if _, err := q.Decode(arg); err != nil || len(q.Keys) == 0 {
		r.Error = idl.StatusInvalidArgument
		out.Reply(r)
		return
	}
	now := d.now()
	for i := range q.Keys {
		k := &q.Keys[i]
		value, exist, err := d.lookup(s, k.HashKey, k.SortKey, now, false)
		if err != nil {
			r.Error = d.readStatus(err)
			break
		}
		if exist {
			s.data = append(s.data, idl.FullData{HashKey: k.HashKey, SortKey: k.SortKey, Value: value})
		}
	}
	r.Data = s.data
	out.Reply(r)
}

// lookup finds one record and copies its value, unless only its existence matters.
func (d *DB) lookup(s *scratch, hashKey, sortKey []byte, now uint32, noValue bool) (value []byte, exist bool, err error) {
	if len(hashKey) > maxHashKey {
		return nil, false, nil
	}
	s.key = appendKey(s.key[:0], hashKey, sortKey)
	v, closer, err := d.pdb.Get(s.key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if expireTS, data, ok := splitValue(v); ok && !expired(expireTS, now) {
		exist = true
		if !noValue {
			value = s.keep(data)
		}
	}
	return value, exist, closer.Close()
}

// sortkeyCount answers SORTKEY_COUNT: how many records a hash key has. The request is the bare
// hash key.
func (d *DB) sortkeyCount(s *scratch, arg []byte, out Replier) {
	r := &s.count
	*r = idl.CountResponse{AppID: d.opts.GPID.AppID, PartitionIndex: d.opts.GPID.PartitionIndex, Server: d.opts.Server}
	if _, err := s.blob.Decode(arg); err != nil || len(s.blob) > maxHashKey {
		r.Error = idl.StatusInvalidArgument
		out.Reply(r)
		return
	}
	s.key = appendKey(s.key[:0], s.blob, nil)
	s.end = next(append(s.end[:0], s.key...))
	it, err := d.newIter(s, s.key, s.end)
	if err != nil {
		r.Error = d.readStatus(err)
		out.Reply(r)
		return
	}
	now, l := d.now(), d.newLimiter(1<<62, d.opts.MultiGetMaxIteration/10)
	for valid := it.First(); valid; valid = it.Next() {
		if !l.more() {
			r.Count = -1
			break
		}
		l.iterations++
		v, err := it.ValueAndErr()
		if err != nil {
			r.Error, r.Count = d.readStatus(errors.Join(err, it.Close())), 0
			out.Reply(r)
			return
		}
		if expireTS, _, ok := splitValue(v); ok && !expired(expireTS, now) {
			r.Count++
		}
	}
	if err := it.Close(); err != nil {
		r.Error, r.Count = d.readStatus(err), 0
	}
	out.Reply(r)
}

// newIter iterates over the data keys from lower, inclusive, to upper, exclusive. Both must stay
// as they are until the iterator is closed.
func (d *DB) newIter(s *scratch, lower, upper []byte) (*pebble.Iterator, error) {
	s.opts = pebble.IterOptions{LowerBound: lower, UpperBound: upper}
	return d.pdb.NewIter(&s.opts)
}

// limiter bounds the work of a range read.
type limiter struct {
	d             *DB
	iterations    int
	maxIterations int
	checkEvery    int       // iterations between two looks at the clock
	deadline      time.Time // zero = none
	late          bool      // stopped by the deadline or by Close
}

func (d *DB) newLimiter(maxIterations, checkEvery int) limiter {
	l := limiter{d: d, maxIterations: maxIterations, checkEvery: max(checkEvery, 1)}
	if t := d.settings.Load().iterationThreshold; t > 0 {
		l.deadline = d.opts.Now().Add(t)
	}
	return l
}

// more reports whether one more record may be looked at.
func (l *limiter) more() bool {
	if l.iterations >= l.maxIterations {
		return false
	}
	if l.iterations > 0 && l.iterations%l.checkEvery == 0 {
		l.late = l.d.isClosing() || (!l.deadline.IsZero() && l.d.opts.Now().After(l.deadline))
	}
	return !l.late
}
