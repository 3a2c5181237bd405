// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// memTableOverhead is about what a record costs in a memtable beyond its bytes in a batch.
const memTableOverhead = 48

// Apply executes one committed mutation: all its writes and the decree, atomically. decree must
// be Applied()+1. timestampUS is the time of the mutation in microseconds since 1970, the same
// on every replica; it alone decides what has expired. An empty payload only advances the
// decree.
//
// After the mutation is visible to readers respond is called once for every write, in order,
// with the answer for the client, which is valid only during the call. On secondaries respond
// is nil.
//
// A write whose argument cannot be decoded or makes no sense is answered with invalid argument
// and changes nothing. An error means that nothing was applied: ErrBadPayload, ErrClosed, or
// what Err returns.
func (d *DB) Apply(decree, timestampUS int64, payload []byte, respond func(i int, v idl.Value)) error {
	if !d.enter() {
		return d.applyError(decree, ErrClosed)
	}
	defer d.leave()
	if err := d.Err(); err != nil {
		return d.applyError(decree, err)
	}
	if at := d.applied.Load(); decree != at+1 {
		return d.applyError(decree, fmt.Errorf("%w: the last one applied is %d", errOutOfOrder, at))
	}
	s, err := inspect(payload)
	if err != nil {
		return d.applyError(decree, err)
	}
	if err := d.waitForRoom(); err != nil {
		return d.applyError(decree, err)
	}

	a := &d.apply
	a.begin(d, s, timestampUS)
	defer a.end()
	for len(payload) > 0 {
		w, rest, err := nextWrite(payload)
		if err != nil {
			return d.applyError(decree, err)
		}
		payload = rest
		if w.Code == codeSettings {
			continue
		}
		r, err := a.execute(w)
		if err != nil {
			return d.applyError(decree, err)
		}
		if respond != nil {
			a.results = append(a.results, r)
		}
	}
	if err := setDecree(a.batch, decree); err != nil {
		return d.applyError(decree, err)
	}
	d.noteWritten(int64(a.batch.Len()) + memTableOverhead*int64(a.batch.Count()))
	d.entries.unflushed.Add(a.records)
	if err := a.batch.Commit(pebble.NoSync); err != nil {
		d.fail(err)
		return d.applyError(decree, err)
	}
	// Pebble reports a failed commit to its logger only.
	if err := d.Err(); err != nil {
		return d.applyError(decree, err)
	}
	d.applied.Store(decree)
	d.stats.writes.Add(int64(s.writes))
	if respond != nil {
		a.respond(d, decree, respond)
	}
	return nil
}

func (d *DB) applyError(decree int64, err error) error {
	return fmt.Errorf("apply mutation %d of replica %s: %w", decree, d.opts.GPID, err)
}

// applier executes the writes of one mutation after the other. It belongs to the goroutine that
// calls Apply and is reused, so that a mutation of puts allocates nothing here.
type applier struct {
	pdb        *pebble.DB
	dir        string
	batch      *pebble.Batch
	indexed    bool   // reads must see the batch
	now        uint32 // seconds of the mutation
	defaultTTL uint32
	records    int64 // puts less deletes

	results []result
	values  []byte // check values of results
	keyBuf  []byte

	// Requests, decoded in place.
	put      idl.UpdateRequest
	remove   idl.Blob
	multiPut idl.MultiPutRequest
	multiRem idl.MultiRemoveRequest
	incr     idl.IncrRequest
	cas      idl.CheckAndSetRequest
	mutate   idl.CheckAndMutateRequest
	answers  answers
}

// A result is what an answer needs besides the names of the replica.
type result struct {
	code     WriteCode
	status   int32
	n        int64 // count of MULTI_REMOVE, new value of INCR
	returned bool  // check value wanted
	exist    bool
	check    [2]int // bounds of the check value in applier.values
}

// answers are the response structs, reused for every answer.
type answers struct {
	update   idl.UpdateResponse
	multiRem idl.MultiRemoveResponse
	incr     idl.IncrResponse
	cas      idl.CheckAndSetResponse
	mutate   idl.CheckAndMutateResponse
}

// begin prepares for a mutation. The batch is indexed, which costs as much again, only when a
// write may have to see an earlier one of the same mutation.
func (a *applier) begin(d *DB, s shape, timestampUS int64) {
	a.pdb, a.dir = d.pdb, d.dir
	a.indexed = s.readsFirst && s.writes > 1
	if a.indexed {
		a.batch = d.pdb.NewIndexedBatch()
	} else {
		a.batch = d.pdb.NewBatch()
	}
	a.now = clampSeconds(timestampUS/1e6 - epoch)
	a.defaultTTL = d.settings.Load().defaultTTL
	if s.settings {
		a.defaultTTL = s.defaultTTL
	}
	a.records = 0
	a.results = a.results[:0]
	a.values = a.values[:0]
}

// maxKept bounds the buffers that are kept between mutations.
const maxKept = 1 << 20

func (a *applier) end() {
	_ = a.batch.Close()
	a.batch = nil
	if cap(a.values) > maxKept {
		a.values = nil
	}
}

// invalid is the result of a write that cannot be executed.
func invalid(code WriteCode) result { return result{code: code, status: idl.StatusInvalidArgument} }

// execute adds one write to the batch. Errors are those of the storage, never of the request.
func (a *applier) execute(w Write) (result, error) {
	switch w.Code {
	case CodePut:
		if _, err := a.put.Decode(w.Arg); err != nil || !validRawKey(a.put.Key) {
			return invalid(w.Code), nil
		}
		return result{code: w.Code}, a.setRaw(a.put.Key, a.put.Value, a.expiry(a.put.ExpireTsSeconds))
	case CodeRemove:
		if _, err := a.remove.Decode(w.Arg); err != nil || !validRawKey(a.remove) {
			return invalid(w.Code), nil
		}
		return result{code: w.Code}, a.deleteRaw(a.remove)
	case CodeMultiPut:
		return a.executeMultiPut(w)
	case CodeMultiRemove:
		return a.executeMultiRemove(w)
	case CodeIncr:
		return a.executeIncr(w)
	case CodeCheckAndSet:
		return a.executeCheckAndSet(w)
	case CodeCheckAndMutate:
		return a.executeCheckAndMutate(w)
	}
	return result{}, fmt.Errorf("%w: unknown %s", ErrBadPayload, w.Code)
}

func (a *applier) executeMultiPut(w Write) (result, error) {
	q := &a.multiPut
	if _, err := q.Decode(w.Arg); err != nil || len(q.Kvs) == 0 || len(q.HashKey) > maxHashKey {
		return invalid(w.Code), nil
	}
	expireTS := a.expiry(q.ExpireTsSeconds)
	for i := range q.Kvs {
		if err := a.set(q.HashKey, q.Kvs[i].Key, q.Kvs[i].Value, expireTS); err != nil {
			return result{}, err
		}
	}
	return result{code: w.Code}, nil
}

func (a *applier) executeMultiRemove(w Write) (result, error) {
	q := &a.multiRem
	if _, err := q.Decode(w.Arg); err != nil || len(q.SortKeys) == 0 || len(q.HashKey) > maxHashKey {
		return invalid(w.Code), nil
	}
	for _, sortKey := range q.SortKeys {
		if err := a.delete(q.HashKey, sortKey); err != nil {
			return result{}, err
		}
	}
	return result{code: w.Code, n: int64(len(q.SortKeys))}, nil
}

// expiry returns the expire_ts to store: the one asked for, else the default of the table.
func (a *applier) expiry(asked int32) uint32 {
	if asked != 0 || a.defaultTTL == 0 {
		return uint32(asked)
	}
	return clampSeconds(int64(a.now) + int64(a.defaultTTL))
}

// set puts a record into the batch, building it in place.
func (a *applier) set(hashKey, sortKey, value []byte, expireTS uint32) error {
	a.records++
	op := a.batch.SetDeferred(3+len(hashKey)+len(sortKey), expireLen+len(value))
	appendKey(op.Key[:0], hashKey, sortKey)
	putValue(op.Value, value, expireTS)
	return op.Finish()
}

// setRaw is set for a raw key.
func (a *applier) setRaw(raw, value []byte, expireTS uint32) error {
	a.records++
	op := a.batch.SetDeferred(1+len(raw), expireLen+len(value))
	appendRawKey(op.Key[:0], raw)
	putValue(op.Value, value, expireTS)
	return op.Finish()
}

func putValue(dst, value []byte, expireTS uint32) {
	binary.BigEndian.PutUint32(dst, expireTS)
	copy(dst[expireLen:], value)
}

// delete removes a record.
func (a *applier) delete(hashKey, sortKey []byte) error {
	a.records--
	op := a.batch.DeleteDeferred(3 + len(hashKey) + len(sortKey))
	appendKey(op.Key[:0], hashKey, sortKey)
	return op.Finish()
}

// deleteRaw is delete for a raw key.
func (a *applier) deleteRaw(raw []byte) error {
	a.records--
	op := a.batch.DeleteDeferred(1 + len(raw))
	appendRawKey(op.Key[:0], raw)
	return op.Finish()
}

// respond gives the answers of the mutation.
func (a *applier) respond(d *DB, decree int64, respond func(int, idl.Value)) {
	app, part, server := d.opts.GPID.AppID, d.opts.GPID.PartitionIndex, d.opts.Server
	x := &a.answers
	for i := range a.results {
		r := &a.results[i]
		switch r.code {
		case CodeMultiRemove:
			x.multiRem = idl.MultiRemoveResponse{Error: r.status, Count: r.n, AppID: app, PartitionIndex: part, Decree: decree, Server: server}
			respond(i, &x.multiRem)
		case CodeIncr:
			x.incr = idl.IncrResponse{Error: r.status, NewValue: r.n, AppID: app, PartitionIndex: part, Decree: decree, Server: server}
			respond(i, &x.incr)
		case CodeCheckAndSet:
			x.cas = idl.CheckAndSetResponse{Error: r.status, CheckValueReturned: r.returned, CheckValueExist: r.exist,
				CheckValue: a.checkValue(r), AppID: app, PartitionIndex: part, Decree: decree, Server: server}
			respond(i, &x.cas)
		case CodeCheckAndMutate:
			x.mutate = idl.CheckAndMutateResponse{Error: r.status, CheckValueReturned: r.returned, CheckValueExist: r.exist,
				CheckValue: a.checkValue(r), AppID: app, PartitionIndex: part, Decree: decree, Server: server}
			respond(i, &x.mutate)
		default:
			x.update = idl.UpdateResponse{Error: r.status, AppID: app, PartitionIndex: part, Decree: decree, Server: server}
			respond(i, &x.update)
		}
	}
}

func (a *applier) checkValue(r *result) []byte { return a.values[r.check[0]:r.check[1]] }
