// SPDX-License-Identifier: Apache-2.0

package clienttest

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

type record struct {
	value  []byte
	expire int32
}

type partition struct {
	records map[string]record // by raw key
	decree  int64
}

func (p *partition) get(raw []byte) (record, bool) {
	r, ok := p.records[string(raw)]
	if ok && idl.Expired(uint32(r.expire), idl.EpochSeconds(time.Now())) {
		ok = false
	}
	return r, ok
}

func (p *partition) keys() []string {
	var keys []string
	for k := range p.records {
		if _, ok := p.get([]byte(k)); ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// Records returns the raw keys and values of a partition.
func (f *Fleet) Records(gpid idl.GPID) map[string]string {
	f.Lock()
	defer f.Unlock()
	all := map[string]string{}
	for _, k := range f.data[gpid].keys() {
		all[k] = string(f.data[gpid].records[k].value)
	}
	return all
}

// SetDecree makes the next write of a partition get that decree.
func (f *Fleet) SetDecree(gpid idl.GPID, next int64) {
	f.Lock()
	defer f.Unlock()
	f.data[gpid].decree = next
}

// LoseScanners makes every server forget the positions of scans.
func (f *Fleet) LoseScanners() {
	f.Lock()
	defer f.Unlock()
	clear(f.scanners)
}

// Scanners returns how many positions of scans are kept.
func (f *Fleet) Scanners() int {
	f.Lock()
	defer f.Unlock()
	return len(f.scanners)
}

type scanner struct {
	req  idl.GetScannerRequest
	gpid idl.GPID
}

func (f *Fleet) dataHandlers(server string, handle register) {
	on := func(name string, h func(r *wire.Request, p *partition, now int64)) {
		handle(name, func(r *wire.Request) {
			p := f.data[r.GPID]
			switch {
			case p == nil:
				r.ReplyError(idl.ErrObjectNotFound)
			case f.Configs[r.GPID.AppID][r.GPID.PartitionIndex].Primary != Addr(server):
				r.ReplyError(idl.ErrInvalidState)
			default:
				h(r, p, time.Now().Unix())
			}
		})
	}
	write := func(p *partition) int64 { p.decree++; return p.decree - 1 }
	update := func(r *wire.Request, status int32, decree int64) {
		r.Reply(&idl.UpdateResponse{Error: status, AppID: r.GPID.AppID, PartitionIndex: r.GPID.PartitionIndex, Decree: decree, Server: server})
	}
	on(idl.RPCPut, func(r *wire.Request, p *partition, _ int64) {
		var q idl.UpdateRequest
		if r.Decode(&q) != nil {
			r.ReplyError(idl.ErrInvalidData)
			return
		}
		p.records[string(q.Key)] = record{bytes.Clone(q.Value), q.ExpireTsSeconds}
		update(r, 0, write(p))
	})
	on(idl.RPCRemove, func(r *wire.Request, p *partition, _ int64) {
		var q idl.Blob
		if r.Decode(&q) != nil {
			r.ReplyError(idl.ErrInvalidData)
			return
		}
		delete(p.records, string(q))
		update(r, 0, write(p))
	})
	on(idl.RPCMultiPut, func(r *wire.Request, p *partition, _ int64) {
		var q idl.MultiPutRequest
		if r.Decode(&q) != nil {
			r.ReplyError(idl.ErrInvalidData)
			return
		}
		if len(q.Kvs) == 0 {
			update(r, idl.StatusInvalidArgument, write(p))
			return
		}
		for _, kv := range q.Kvs {
			p.records[string(idl.RawKey(q.HashKey, kv.Key))] = record{bytes.Clone(kv.Value), q.ExpireTsSeconds}
		}
		update(r, 0, write(p))
	})
	on(idl.RPCMultiRemove, func(r *wire.Request, p *partition, _ int64) {
		var q idl.MultiRemoveRequest
		if r.Decode(&q) != nil {
			r.ReplyError(idl.ErrInvalidData)
			return
		}
		for _, sk := range q.SortKeys {
			delete(p.records, string(idl.RawKey(q.HashKey, sk)))
		}
		r.Reply(&idl.MultiRemoveResponse{Count: int64(len(q.SortKeys)), AppID: r.GPID.AppID,
			PartitionIndex: r.GPID.PartitionIndex, Decree: write(p), Server: server})
	})
	on(idl.RPCIncr, func(r *wire.Request, p *partition, _ int64) {
		var q idl.IncrRequest
		if r.Decode(&q) != nil {
			r.ReplyError(idl.ErrInvalidData)
			return
		}
		resp := idl.IncrResponse{AppID: r.GPID.AppID, PartitionIndex: r.GPID.PartitionIndex, Decree: write(p), Server: server}
		old, _ := p.get(q.Key)
		n, err := int64(0), error(nil)
		if len(old.value) > 0 {
			n, err = strconv.ParseInt(string(old.value), 0, 64)
		}
		sum := n + q.Increment
		switch {
		case err != nil:
			resp.Error = idl.StatusInvalidArgument
		case q.Increment > 0 && sum < n || q.Increment < 0 && sum > n:
			resp.Error, resp.NewValue = idl.StatusInvalidArgument, n
		default:
			resp.NewValue = sum
			p.records[string(q.Key)] = record{[]byte(strconv.FormatInt(sum, 10)), max(old.expire, q.ExpireTsSeconds)}
		}
		r.Reply(&resp)
	})
	f.checkHandlers(server, on, write)
	f.readHandlers(server, on)
	f.scanHandlers(server, on)
}

type onData func(name string, h func(r *wire.Request, p *partition, now int64))

func (f *Fleet) checkHandlers(server string, on onData, write func(*partition) int64) {
	on(idl.RPCCheckAndSet, func(r *wire.Request, p *partition, _ int64) {
		var q idl.CheckAndSetRequest
		if r.Decode(&q) != nil {
			r.ReplyError(idl.ErrInvalidData)
			return
		}
		old, ok := p.get(idl.RawKey(q.HashKey, q.CheckSortKey))
		resp := idl.CheckAndSetResponse{AppID: r.GPID.AppID, PartitionIndex: r.GPID.PartitionIndex, Decree: write(p), Server: server,
			Error: check(q.CheckType, q.CheckOperand, old.value, ok)}
		if q.ReturnCheckValue {
			resp.CheckValueReturned, resp.CheckValueExist, resp.CheckValue = true, ok, old.value
		}
		if resp.Error == 0 {
			sk := q.CheckSortKey
			if q.SetDiffSortKey {
				sk = q.SetSortKey
			}
			p.records[string(idl.RawKey(q.HashKey, sk))] = record{bytes.Clone(q.SetValue), q.SetExpireTsSeconds}
		}
		r.Reply(&resp)
	})
	on(idl.RPCCheckAndMutate, func(r *wire.Request, p *partition, _ int64) {
		var q idl.CheckAndMutateRequest
		if r.Decode(&q) != nil {
			r.ReplyError(idl.ErrInvalidData)
			return
		}
		old, ok := p.get(idl.RawKey(q.HashKey, q.CheckSortKey))
		resp := idl.CheckAndMutateResponse{AppID: r.GPID.AppID, PartitionIndex: r.GPID.PartitionIndex, Decree: write(p), Server: server,
			Error: check(q.CheckType, q.CheckOperand, old.value, ok)}
		if len(q.MutateList) == 0 {
			resp.Error = idl.StatusInvalidArgument
		}
		if q.ReturnCheckValue {
			resp.CheckValueReturned, resp.CheckValueExist, resp.CheckValue = true, ok, old.value
		}
		for _, m := range q.MutateList {
			if resp.Error != 0 {
				break
			}
			raw := string(idl.RawKey(q.HashKey, m.SortKey))
			if m.Operation == idl.MoDelete {
				delete(p.records, raw)
			} else {
				p.records[raw] = record{bytes.Clone(m.Value), m.SetExpireTsSeconds}
			}
		}
		r.Reply(&resp)
	})
}

// check knows the conditions that tests use.
func check(typ idl.CasCheckType, operand, value []byte, exist bool) int32 {
	pass := false
	switch typ {
	case idl.CtNoCheck:
		pass = true
	case idl.CtValueNotExist:
		pass = !exist
	case idl.CtValueExist:
		pass = exist
	case idl.CtValueBytesEqual:
		pass = exist && bytes.Equal(value, operand)
	case idl.CtValueIntGreater:
		a, err1 := strconv.ParseInt(string(value), 0, 64)
		b, err2 := strconv.ParseInt(string(operand), 0, 64)
		if exist && (err1 != nil || err2 != nil) {
			return idl.StatusInvalidArgument
		}
		pass = exist && a > b
	}
	if pass {
		return 0
	}
	return idl.StatusTryAgain
}

func (f *Fleet) readHandlers(server string, on onData) {
	on(idl.RPCGet, func(r *wire.Request, p *partition, _ int64) {
		var q idl.Blob
		if r.Decode(&q) != nil {
			r.ReplyError(idl.ErrInvalidData)
			return
		}
		resp := idl.ReadResponse{AppID: r.GPID.AppID, PartitionIndex: r.GPID.PartitionIndex, Server: server, Error: 1}
		if v, ok := p.get(q); ok {
			resp.Error, resp.Value = 0, v.value
		}
		r.Reply(&resp)
	})
	on(idl.RPCTtl, func(r *wire.Request, p *partition, _ int64) {
		var q idl.Blob
		if r.Decode(&q) != nil {
			r.ReplyError(idl.ErrInvalidData)
			return
		}
		resp := idl.TtlResponse{AppID: r.GPID.AppID, PartitionIndex: r.GPID.PartitionIndex, Server: server, Error: 1}
		if v, ok := p.get(q); ok {
			resp.Error, resp.TtlSeconds = 0, idl.TTLSeconds(uint32(v.expire), idl.EpochSeconds(time.Now()))
		}
		r.Reply(&resp)
	})
	on(idl.RPCSortkeyCount, func(r *wire.Request, p *partition, _ int64) {
		var q idl.Blob
		if r.Decode(&q) != nil {
			r.ReplyError(idl.ErrInvalidData)
			return
		}
		resp := idl.CountResponse{AppID: r.GPID.AppID, PartitionIndex: r.GPID.PartitionIndex, Server: server}
		for _, k := range p.keys() {
			if hk, _, _ := idl.SplitRawKey([]byte(k)); bytes.Equal(hk, q) {
				resp.Count++
			}
		}
		r.Reply(&resp)
	})
	on(idl.RPCBatchGet, func(r *wire.Request, p *partition, _ int64) {
		var q idl.BatchGetRequest
		if r.Decode(&q) != nil {
			r.ReplyError(idl.ErrInvalidData)
			return
		}
		resp := idl.BatchGetResponse{AppID: r.GPID.AppID, PartitionIndex: r.GPID.PartitionIndex, Server: server}
		for _, k := range q.Keys {
			if v, ok := p.get(idl.RawKey(k.HashKey, k.SortKey)); ok {
				resp.Data = append(resp.Data, idl.FullData{HashKey: k.HashKey, SortKey: k.SortKey, Value: v.value})
			}
		}
		r.Reply(&resp)
	})
	on(idl.RPCMultiGet, func(r *wire.Request, p *partition, _ int64) {
		var q idl.MultiGetRequest
		if r.Decode(&q) != nil {
			r.ReplyError(idl.ErrInvalidData)
			return
		}
		resp := idl.MultiGetResponse{AppID: r.GPID.AppID, PartitionIndex: r.GPID.PartitionIndex, Server: server}
		f.multiGet(p, &q, &resp)
		r.Reply(&resp)
	})
}

func (f *Fleet) multiGet(p *partition, q *idl.MultiGetRequest, resp *idl.MultiGetResponse) {
	var found []idl.KeyValue
	if len(q.SortKeys) > 0 {
		for _, sk := range q.SortKeys {
			if v, ok := p.get(idl.RawKey(q.HashKey, sk)); ok {
				found = append(found, idl.KeyValue{Key: sk, Value: v.value})
			}
		}
	} else {
		for _, k := range p.keys() {
			hk, sk, _ := idl.SplitRawKey([]byte(k))
			from, to := bytes.Compare(sk, q.StartSortkey), bytes.Compare(sk, q.StopSortkey)
			in := bytes.Equal(hk, q.HashKey) && (from > 0 || from == 0 && q.StartInclusive) &&
				(len(q.StopSortkey) == 0 || to < 0 || to == 0 && q.StopInclusive)
			if in && match(q.SortKeyFilterType, q.SortKeyFilterPattern, sk) {
				found = append(found, idl.KeyValue{Key: sk, Value: p.records[k].value})
			}
		}
	}
	if n := int(q.MaxKvCount); n > 0 && len(found) > n {
		resp.Error = idl.StatusIncomplete
		if q.Reverse {
			found = found[len(found)-n:]
		} else {
			found = found[:n]
		}
	}
	for i := range found {
		if q.NoValue {
			found[i].Value = nil
		}
	}
	resp.Kvs = found
}

func match(typ idl.FilterType, pattern, key []byte) bool {
	switch typ {
	case idl.FtMatchAnywhere:
		return bytes.Contains(key, pattern)
	case idl.FtMatchPrefix:
		return bytes.HasPrefix(key, pattern)
	case idl.FtMatchPostfix:
		return bytes.HasSuffix(key, pattern)
	}
	return true
}

func (f *Fleet) scanHandlers(server string, on onData) {
	on(idl.RPCGetScanner, func(r *wire.Request, p *partition, _ int64) {
		var q idl.GetScannerRequest
		if r.Decode(&q) != nil {
			r.ReplyError(idl.ErrInvalidData)
			return
		}
		q.StartKey, q.StopKey = bytes.Clone(q.StartKey), bytes.Clone(q.StopKey)
		q.HashKeyFilterPattern, q.SortKeyFilterPattern = bytes.Clone(q.HashKeyFilterPattern), bytes.Clone(q.SortKeyFilterPattern)
		r.Reply(f.scan(server, &scanner{q, r.GPID}, p))
	})
	on(idl.RPCScan, func(r *wire.Request, p *partition, _ int64) {
		var q idl.ScanRequest
		if r.Decode(&q) != nil {
			r.ReplyError(idl.ErrInvalidData)
			return
		}
		s := f.scanners[q.ContextID]
		delete(f.scanners, q.ContextID)
		if s == nil || s.gpid != r.GPID {
			r.Reply(&idl.ScanResponse{Error: idl.StatusNotFound, AppID: r.GPID.AppID, PartitionIndex: r.GPID.PartitionIndex, Server: server})
			return
		}
		r.Reply(f.scan(server, s, p))
	})
	on(idl.RPCClearScanner, func(r *wire.Request, p *partition, _ int64) {
		var id idl.I64
		if r.Decode(&id) == nil {
			delete(f.scanners, int64(id))
		}
	})
}

// scan returns the next batch and leaves s behind it.
func (f *Fleet) scan(server string, s *scanner, p *partition) *idl.ScanResponse {
	q := &s.req
	resp := &idl.ScanResponse{ContextID: -1, AppID: s.gpid.AppID, PartitionIndex: s.gpid.PartitionIndex, Server: server}
	seen, counted := 0, int32(0)
	for _, k := range p.keys() {
		from, to := bytes.Compare([]byte(k), q.StartKey), bytes.Compare([]byte(k), q.StopKey)
		if from < 0 || from == 0 && !q.StartInclusive || to > 0 || to == 0 && !q.StopInclusive {
			continue
		}
		if seen == int(q.BatchSize) {
			f.nextScan++
			resp.ContextID = f.nextScan
			f.scanners[f.nextScan] = s
			break
		}
		seen++
		q.StartKey, q.StartInclusive = []byte(k), false
		hk, sk, _ := idl.SplitRawKey([]byte(k))
		if !match(q.HashKeyFilterType, q.HashKeyFilterPattern, hk) || !match(q.SortKeyFilterType, q.SortKeyFilterPattern, sk) {
			continue
		}
		counted++
		if q.OnlyReturnCount != nil && *q.OnlyReturnCount {
			continue
		}
		v := p.records[k]
		kv := idl.KeyValue{Key: []byte(k), Value: v.value}
		if q.NoValue {
			kv.Value = nil
		}
		if q.ReturnExpireTs != nil && *q.ReturnExpireTs {
			kv.ExpireTsSeconds = &v.expire
		}
		resp.Kvs = append(resp.Kvs, kv)
	}
	if q.OnlyReturnCount != nil && *q.OnlyReturnCount {
		resp.KvCount = &counted
	}
	return resp
}
