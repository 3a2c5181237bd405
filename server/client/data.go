// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// NoExpiry is the time to live of a record that does not expire.
const NoExpiry = time.Duration(-1)

// A KeyValue is a sort key and its value.
type KeyValue struct {
	SortKey, Value []byte
}

// An Info says who answered an operation. See [WithInfo].
type Info struct {
	GPID   idl.GPID
	Decree int64  // of the mutation that carried a write; -1 for reads
	Server string // as the server calls itself, "host:port"
}

type infoKey struct{}

// WithInfo returns a context under which every answered operation fills in info. It is for
// tools that show where an operation went; one info serves one operation at a time.
func WithInfo(ctx context.Context, info *Info) context.Context {
	return context.WithValue(ctx, infoKey{}, info)
}

// settle turns the body of an answer into an error and hands out the Info.
func (t *Table) settle(ctx context.Context, op string, status, appID, partition int32, decree int64, server string) error {
	gpid := idl.GPID{AppID: appID, PartitionIndex: partition}
	if info, ok := ctx.Value(infoKey{}).(*Info); ok {
		*info = Info{gpid, decree, server}
	}
	if status == 0 {
		return nil
	}
	return &Error{Op: op, Table: t.name, GPID: gpid, Server: server, Status: Status(status)}
}

func (t *Table) badArgument(op string, err error) error {
	return &Error{Op: op, Table: t.name, Err: err}
}

// Set stores a value. It expires after ttl, rounded up to whole seconds; 0 means never, or the
// table's default_ttl.
func (t *Table) Set(ctx context.Context, hashKey, sortKey, value []byte, ttl time.Duration) error {
	const name = "set"
	at, err := expiry(ttl)
	if err == nil {
		err = checkHashKey(hashKey)
	}
	if err != nil {
		return t.badArgument(name, err)
	}
	req := idl.UpdateRequest{Key: idl.RawKey(hashKey, sortKey), Value: value, ExpireTsSeconds: at}
	var resp idl.UpdateResponse
	o := op{name: name, rpc: idl.RPCPut, hash: idl.KeyHash(hashKey, sortKey), repeatable: true}
	if _, err := t.do(ctx, o, &req, &resp); err != nil {
		return err
	}
	return t.settle(ctx, name, resp.Error, resp.AppID, resp.PartitionIndex, resp.Decree, resp.Server)
}

// Get returns the value of a record, or ErrNotFound.
func (t *Table) Get(ctx context.Context, hashKey, sortKey []byte) ([]byte, error) {
	const name = "get"
	if err := checkHashKey(hashKey); err != nil {
		return nil, t.badArgument(name, err)
	}
	var resp idl.ReadResponse
	o := op{name: name, rpc: idl.RPCGet, hash: idl.KeyHash(hashKey, sortKey), read: true}
	key := idl.Blob(idl.RawKey(hashKey, sortKey))
	if _, err := t.do(ctx, o, &key, &resp); err != nil {
		return nil, err
	}
	if err := t.settle(ctx, name, resp.Error, resp.AppID, resp.PartitionIndex, -1, resp.Server); err != nil {
		return nil, err
	}
	return resp.Value, nil
}

// Del removes a record. It is no error if there is none.
func (t *Table) Del(ctx context.Context, hashKey, sortKey []byte) error {
	const name = "del"
	if err := checkHashKey(hashKey); err != nil {
		return t.badArgument(name, err)
	}
	var resp idl.UpdateResponse
	o := op{name: name, rpc: idl.RPCRemove, hash: idl.KeyHash(hashKey, sortKey), repeatable: true}
	key := idl.Blob(idl.RawKey(hashKey, sortKey))
	if _, err := t.do(ctx, o, &key, &resp); err != nil {
		return err
	}
	return t.settle(ctx, name, resp.Error, resp.AppID, resp.PartitionIndex, resp.Decree, resp.Server)
}

// TTL returns how long a record still lives, in whole seconds: NoExpiry if for ever, ErrNotFound
// if there is no such record.
func (t *Table) TTL(ctx context.Context, hashKey, sortKey []byte) (time.Duration, error) {
	const name = "ttl"
	if err := checkHashKey(hashKey); err != nil {
		return 0, t.badArgument(name, err)
	}
	var resp idl.TtlResponse
	o := op{name: name, rpc: idl.RPCTtl, hash: idl.KeyHash(hashKey, sortKey), read: true}
	key := idl.Blob(idl.RawKey(hashKey, sortKey))
	if _, err := t.do(ctx, o, &key, &resp); err != nil {
		return 0, err
	}
	if err := t.settle(ctx, name, resp.Error, resp.AppID, resp.PartitionIndex, -1, resp.Server); err != nil {
		return 0, err
	}
	if resp.TtlSeconds < 0 {
		return NoExpiry, nil
	}
	return time.Duration(resp.TtlSeconds) * time.Second, nil
}

// Exist reports whether there is such a record.
func (t *Table) Exist(ctx context.Context, hashKey, sortKey []byte) (bool, error) {
	_, err := t.TTL(ctx, hashKey, sortKey)
	if e, ok := err.(*Error); ok {
		if e.Status == StatusNotFound {
			return false, nil
		}
		e.Op = "exist"
	}
	return err == nil, err
}

// MultiSet stores several values under one hash key, atomically. Of equal sort keys the later
// one wins. ttl is as for Set. Without pairs it fails with ErrInvalidArgument.
func (t *Table) MultiSet(ctx context.Context, hashKey []byte, kvs []KeyValue, ttl time.Duration) error {
	const name = "multi_set"
	at, err := expiry(ttl)
	if err == nil {
		err = checkHashKey(hashKey)
	}
	if err != nil {
		return t.badArgument(name, err)
	}
	req := idl.MultiPutRequest{HashKey: hashKey, Kvs: make([]idl.KeyValue, len(kvs)), ExpireTsSeconds: at}
	for i, kv := range kvs {
		req.Kvs[i] = idl.KeyValue{Key: kv.SortKey, Value: kv.Value}
	}
	var resp idl.UpdateResponse
	o := op{name: name, rpc: idl.RPCMultiPut, hash: multiHash(hashKey), repeatable: true}
	if _, err := t.do(ctx, o, &req, &resp); err != nil {
		return err
	}
	return t.settle(ctx, name, resp.Error, resp.AppID, resp.PartitionIndex, resp.Decree, resp.Server)
}

// multiHash is the hash of operations on a whole hash key.
func multiHash(hashKey []byte) uint64 { return idl.KeyHash(hashKey, nil) }

// MultiDel removes several records of one hash key, atomically, and returns how many sort keys
// were given, whether or not they existed.
func (t *Table) MultiDel(ctx context.Context, hashKey []byte, sortKeys [][]byte) (int64, error) {
	const name = "multi_del"
	if err := checkHashKey(hashKey); err != nil {
		return 0, t.badArgument(name, err)
	}
	req := idl.MultiRemoveRequest{HashKey: hashKey, SortKeys: sortKeys}
	var resp idl.MultiRemoveResponse
	o := op{name: name, rpc: idl.RPCMultiRemove, hash: multiHash(hashKey), repeatable: true}
	if _, err := t.do(ctx, o, &req, &resp); err != nil {
		return 0, err
	}
	return resp.Count, t.settle(ctx, name, resp.Error, resp.AppID, resp.PartitionIndex, resp.Decree, resp.Server)
}

// SortKeyCount returns the number of records of a hash key, -1 when counting took the server
// too long.
func (t *Table) SortKeyCount(ctx context.Context, hashKey []byte) (int64, error) {
	const name = "count"
	if err := checkHashKey(hashKey); err != nil {
		return 0, t.badArgument(name, err)
	}
	var resp idl.CountResponse
	o := op{name: name, rpc: idl.RPCSortkeyCount, hash: multiHash(hashKey), read: true}
	key := idl.Blob(hashKey)
	if _, err := t.do(ctx, o, &key, &resp); err != nil {
		return 0, err
	}
	return resp.Count, t.settle(ctx, name, resp.Error, resp.AppID, resp.PartitionIndex, -1, resp.Server)
}

// What Incr does to the expiry of a record that exists.
const (
	KeepTTL  = time.Duration(0)
	ClearTTL = time.Duration(-1)
)

// Incr adds by to the number stored in a record, decimal text, and returns the sum. A missing or
// empty record counts as 0. ttl > 0 sets a new time to live; KeepTTL and ClearTTL do as they
// say. A value that is no number and a sum that overflows fail with ErrInvalidArgument and
// change nothing; in the latter case the old value is returned beside the error.
func (t *Table) Incr(ctx context.Context, hashKey, sortKey []byte, by int64, ttl time.Duration) (int64, error) {
	const name = "incr"
	at, err := expiry(ttl)
	if err == nil {
		err = checkHashKey(hashKey)
	}
	if err != nil {
		return 0, t.badArgument(name, err)
	}
	if ttl < 0 {
		at = -1
	}
	req := idl.IncrRequest{Key: idl.RawKey(hashKey, sortKey), Increment: by, ExpireTsSeconds: at}
	var resp idl.IncrResponse
	if _, err := t.do(ctx, op{name: name, rpc: idl.RPCIncr, hash: idl.KeyHash(hashKey, sortKey)}, &req, &resp); err != nil {
		return 0, err
	}
	return resp.NewValue, t.settle(ctx, name, resp.Error, resp.AppID, resp.PartitionIndex, resp.Decree, resp.Server)
}
