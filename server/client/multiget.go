// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"sync"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// A Filter selects keys by a byte pattern. The zero Filter and an empty pattern select all.
type Filter struct {
	Type    idl.FilterType
	Pattern []byte
}

// GetOptions limits a MultiGet.
type GetOptions struct {
	MaxCount int  // records; 0 means as many as the server allows in one answer (3000)
	MaxBytes int  // sort keys and values; 0 means no limit. The last record may overshoot it
	NoValue  bool // return sort keys only
}

// MultiGet reads the given sort keys of a hash key, in their order; those that do not exist are
// left out. With no sort keys it reads the whole hash key. complete is false when a limit, also
// one of the server's own, was reached before the end.
func (t *Table) MultiGet(ctx context.Context, hashKey []byte, sortKeys [][]byte, o GetOptions) (kvs []KeyValue, complete bool, err error) {
	return t.multiGet(ctx, "multi_get", hashKey, &idl.MultiGetRequest{
		SortKeys: sortKeys, MaxKvCount: int32(o.MaxCount), MaxKvSize: int32(o.MaxBytes), NoValue: o.NoValue,
		StartInclusive: true,
	})
}

// RangeOptions says what a range contains and limits what is read of it.
type RangeOptions struct {
	GetOptions
	StartExclusive bool   // leave out the start sort key itself
	StopInclusive  bool   // include the stop sort key itself
	SortKeys       Filter // only sort keys that match
	Reverse        bool   // fill the limits from the end; the order stays ascending
}

// MultiGetRange reads the records of a hash key from sort key start to stop, in ascending
// order. An empty stop means to the end of the hash key. complete is false when a limit, also
// one of the server's own, was reached before the end: go on from the last sort key returned.
func (t *Table) MultiGetRange(ctx context.Context, hashKey, start, stop []byte, o RangeOptions) (kvs []KeyValue, complete bool, err error) {
	return t.multiGet(ctx, "multi_get_range", hashKey, &idl.MultiGetRequest{
		MaxKvCount: int32(o.MaxCount), MaxKvSize: int32(o.MaxBytes), NoValue: o.NoValue,
		StartSortkey: start, StopSortkey: stop, StartInclusive: !o.StartExclusive, StopInclusive: o.StopInclusive,
		SortKeyFilterType: o.SortKeys.Type, SortKeyFilterPattern: o.SortKeys.Pattern, Reverse: o.Reverse,
	})
}

// MultiGetSortKeys returns the sort keys of a hash key, at most max (0 means as many as the
// server allows). complete is as for MultiGet.
func (t *Table) MultiGetSortKeys(ctx context.Context, hashKey []byte, max int) (sortKeys [][]byte, complete bool, err error) {
	kvs, complete, err := t.MultiGet(ctx, hashKey, nil, GetOptions{MaxCount: max, NoValue: true})
	if err != nil {
		return nil, false, err
	}
	for _, kv := range kvs {
		sortKeys = append(sortKeys, kv.SortKey)
	}
	return sortKeys, complete, nil
}

func (t *Table) multiGet(ctx context.Context, name string, hashKey []byte, req *idl.MultiGetRequest) ([]KeyValue, bool, error) {
	if err := checkHashKey(hashKey); err != nil {
		return nil, false, t.badArgument(name, err)
	}
	req.HashKey = hashKey
	var resp idl.MultiGetResponse
	if _, err := t.do(ctx, op{name: name, rpc: idl.RPCMultiGet, hash: multiHash(hashKey), read: true}, req, &resp); err != nil {
		return nil, false, err
	}
	err := t.settle(ctx, name, resp.Error, resp.AppID, resp.PartitionIndex, -1, resp.Server)
	complete := err == nil
	if err != nil && Status(resp.Error) != StatusIncomplete {
		return nil, false, err
	}
	kvs := make([]KeyValue, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		kvs[i] = KeyValue{SortKey: kv.Key, Value: kv.Value}
	}
	return kvs, complete, nil
}

// A Key names one record.
type Key struct {
	HashKey, SortKey []byte
}

// BatchGet reads records of any hash keys and returns their values in the order of keys; the
// value of a record that does not exist is nil, an empty value is not. One request is sent for
// each partition concerned, all at once; if any of them fails, so does BatchGet.
func (t *Table) BatchGet(ctx context.Context, keys []Key) ([][]byte, error) {
	const name = "batch_get"
	if len(keys) == 0 {
		return nil, nil
	}
	cfg, err := t.routing(ctx, t.c.deadline(ctx))
	if err != nil {
		return nil, t.configError(name, err)
	}
	groups := map[int][]int{} // partition -> indexes into keys
	for i, k := range keys {
		if err := checkHashKey(k.HashKey); err != nil {
			return nil, t.badArgument(name, err)
		}
		p := cfg.locate(idl.KeyHash(k.HashKey, k.SortKey))
		groups[p] = append(groups[p], i)
	}
	var (
		values = make([][]byte, len(keys))
		wg     sync.WaitGroup
		mu     sync.Mutex
		failed error
	)
	for _, group := range groups {
		wg.Go(func() {
			if err := t.batchGet(ctx, name, keys, group, values); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if failed == nil {
					failed = err
				}
			}
		})
	}
	wg.Wait()
	if failed != nil {
		return nil, failed
	}
	return values, nil
}

// batchGet reads one partition's share. Groups write to different elements of values.
func (t *Table) batchGet(ctx context.Context, name string, keys []Key, group []int, values [][]byte) error {
	req := idl.BatchGetRequest{Keys: make([]idl.FullKey, len(group))}
	for i, k := range group {
		req.Keys[i] = idl.FullKey{HashKey: keys[k].HashKey, SortKey: keys[k].SortKey}
	}
	first := keys[group[0]]
	var resp idl.BatchGetResponse
	o := op{name: name, rpc: idl.RPCBatchGet, hash: idl.KeyHash(first.HashKey, first.SortKey), read: true}
	if _, err := t.do(ctx, o, &req, &resp); err != nil {
		return err
	}
	if resp.Error != 0 {
		return t.settle(context.Background(), name, resp.Error, resp.AppID, resp.PartitionIndex, -1, resp.Server)
	}
	found := make(map[string][]byte, len(resp.Data))
	for _, d := range resp.Data {
		v := d.Value
		if v == nil {
			v = []byte{}
		}
		found[string(idl.RawKey(d.HashKey, d.SortKey))] = v
	}
	for _, k := range group {
		values[k] = found[string(idl.RawKey(keys[k].HashKey, keys[k].SortKey))]
	}
	return nil
}
