// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/test/semantics"
)

// model is a table as one would write it on a blackboard: a map, and no thought for speed.
type model map[string]modelRecord

type modelRecord struct {
	value  string
	expire uint32
}

func (m model) live(key []byte, now uint32) (modelRecord, bool) {
	r, ok := m[string(key)]
	return r, ok && (r.expire == 0 || r.expire > now)
}

func (m model) put(key []byte, value []byte, expire int32, now, ttl uint32) {
	e := uint32(expire)
	if e == 0 && ttl > 0 {
		e = now + ttl
	}
	m[string(key)] = modelRecord{string(value), e}
}

// apply executes one write and returns the status and the number of the answer.
func (m model) apply(w write, now, ttl uint32) (status int32, n int64) {
	switch q := w.arg.(type) {
	case *idl.UpdateRequest:
		m.put(q.Key, q.Value, q.ExpireTsSeconds, now, ttl)
	case idl.Blob:
		delete(m, string(q))
	case *idl.MultiPutRequest:
		for _, kv := range q.Kvs {
			m.put(rawKey(string(q.HashKey), string(kv.Key)), kv.Value, q.ExpireTsSeconds, now, ttl)
		}
	case *idl.MultiRemoveRequest:
		for _, s := range q.SortKeys {
			delete(m, string(rawKey(string(q.HashKey), string(s))))
		}
		return 0, int64(len(q.SortKeys))
	case *idl.IncrRequest:
		r, ok := m.live(q.Key, now)
		expire := int32(r.expire)
		if !ok {
			r.value, expire = "", 0
		}
		old := int64(0)
		if r.value != "" {
			var err error
			if old, err = strconv.ParseInt(r.value, 10, 64); err != nil {
				return idl.StatusInvalidArgument, 0
			}
		}
		if q.ExpireTsSeconds > 0 {
			expire = q.ExpireTsSeconds
		} else if q.ExpireTsSeconds < 0 {
			expire = 0
		}
		m.put(q.Key, strconv.AppendInt(nil, old+q.Increment, 10), expire, now, ttl)
		return 0, old + q.Increment
	case *idl.CheckAndSetRequest:
		if !m.check(q.HashKey, q.CheckSortKey, q.CheckType, q.CheckOperand, now) {
			return idl.StatusTryAgain, 0
		}
		key := q.CheckSortKey
		if q.SetDiffSortKey {
			key = q.SetSortKey
		}
		m.put(rawKey(string(q.HashKey), string(key)), q.SetValue, q.SetExpireTsSeconds, now, ttl)
	case *idl.CheckAndMutateRequest:
		if !m.check(q.HashKey, q.CheckSortKey, q.CheckType, q.CheckOperand, now) {
			return idl.StatusTryAgain, 0
		}
		for _, x := range q.MutateList {
			key := rawKey(string(q.HashKey), string(x.SortKey))
			if x.Operation == idl.MoPut {
				m.put(key, x.Value, x.SetExpireTsSeconds, now, ttl)
			} else {
				delete(m, string(key))
			}
		}
	}
	return 0, 0
}

func (m model) check(h, s []byte, t idl.CasCheckType, operand []byte, now uint32) bool {
	r, ok := m.live(rawKey(string(h), string(s)), now)
	switch t {
	case idl.CtNoCheck:
		return true
	case idl.CtValueNotExist:
		return !ok
	case idl.CtValueExist:
		return ok
	case idl.CtValueBytesEqual:
		return ok && r.value == string(operand)
	case idl.CtValueBytesLess:
		return ok && r.value < string(operand)
	}
	panic("not drawn")
}

// between returns the live keys of [from, to), ascending.
func (m model) between(from, to []byte, now uint32) (keys []string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if _, ok := m.live([]byte(k), now); ok && k >= string(from) && k < string(to) {
			keys = append(keys, k)
		}
	}
	return keys
}

func drawPart(t *rapid.T, name string) []byte {
	return rapid.SampledFrom([][]byte{nil, {'a'}, {'b'}, {'a', 0xff}, {0xff}, {0xff, 0xff}, []byte("ab"), {0}}).Draw(t, name)
}

func drawValue(t *rapid.T) []byte {
	return rapid.SampledFrom([][]byte{nil, []byte("1"), []byte("-7"), []byte("text"), bytes.Repeat([]byte("v"), 300)}).Draw(t, "value")
}

// drawExpire draws none, past and near future.
func drawExpire(t *rapid.T) int32 {
	return rapid.SampledFrom([]int32{0, 0, 0, startTS - 5, startTS + 5, startTS + 20}).Draw(t, "expire")
}

func drawWrite(t *rapid.T) write {
	h, s := drawPart(t, "hash key"), drawPart(t, "sort key")
	raw := rawKey(string(h), string(s))
	check := rapid.SampledFrom([]idl.CasCheckType{idl.CtNoCheck, idl.CtValueNotExist, idl.CtValueExist, idl.CtValueBytesEqual, idl.CtValueBytesLess})
	switch rapid.IntRange(0, 8).Draw(t, "kind") {
	default:
		return write{CodePut, &idl.UpdateRequest{Key: raw, Value: drawValue(t), ExpireTsSeconds: drawExpire(t)}}
	case 1:
		return write{CodeRemove, idl.Blob(raw)}
	case 2:
		q := &idl.MultiPutRequest{HashKey: h, ExpireTsSeconds: drawExpire(t)}
		for range rapid.IntRange(1, 4).Draw(t, "pairs") {
			q.Kvs = append(q.Kvs, idl.KeyValue{Key: drawPart(t, "sort key"), Value: drawValue(t)})
		}
		return write{CodeMultiPut, q}
	case 3:
		q := &idl.MultiRemoveRequest{HashKey: h}
		for range rapid.IntRange(1, 4).Draw(t, "keys") {
			q.SortKeys = append(q.SortKeys, drawPart(t, "sort key"))
		}
		return write{CodeMultiRemove, q}
	case 4, 5:
		return write{CodeIncr, &idl.IncrRequest{Key: raw, Increment: rapid.Int64Range(-9, 9).Draw(t, "by"),
			ExpireTsSeconds: rapid.SampledFrom([]int32{0, -1, startTS + 9}).Draw(t, "expire")}}
	case 6:
		return write{CodeCheckAndSet, &idl.CheckAndSetRequest{HashKey: h, CheckSortKey: s, CheckType: check.Draw(t, "check"),
			CheckOperand: drawValue(t), SetDiffSortKey: rapid.Bool().Draw(t, "diff"), SetSortKey: drawPart(t, "set"),
			SetValue: drawValue(t), SetExpireTsSeconds: drawExpire(t)}}
	case 7:
		q := &idl.CheckAndMutateRequest{HashKey: h, CheckSortKey: s, CheckType: check.Draw(t, "check"), CheckOperand: drawValue(t)}
		for range rapid.IntRange(1, 3).Draw(t, "mutations") {
			q.MutateList = append(q.MutateList, idl.Mutate{Operation: idl.MutateOperation(rapid.IntRange(0, 1).Draw(t, "op")),
				SortKey: drawPart(t, "sort key"), Value: drawValue(t), SetExpireTsSeconds: drawExpire(t)})
		}
		return write{CodeCheckAndMutate, q}
	}
}

// TestModel runs random mutations on two replicas and on the model. The answers, everything
// that can be read and the stored bytes must agree, whatever is flushed or reopened in between.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newClock()
		var replicas [2]rig
		for i := range replicas {
			o := testOptions(t)
			o.Now = c.Now
			o.Shared = NewShared(SharedOptions{CacheBytes: 1 << 20})
			defer o.Shared.Close()
			replicas[i] = rig{t, openDB(t, o)}
			defer func() { require.NoError(t, replicas[i].Close()) }()
		}
		want := model{}
		var ttl uint32
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0:
				c.advance(time.Duration(rapid.IntRange(1, 6).Draw(rt, "seconds")) * time.Second)
			case 1:
				require.NoError(rt, replicas[1].Flush())
			case 2:
				o := replicas[1].opts
				require.NoError(rt, replicas[1].Close())
				replicas[1] = rig{t, openDB(t, o)}
			case 3:
				ttl = uint32(rapid.SampledFrom([]int{0, 3}).Draw(rt, "default ttl"))
				replicas[0].SetEnvs(map[string]string{EnvDefaultTTL: strconv.Itoa(int(ttl))})
			case 4, 5:
				compareReads(rt, replicas[rapid.IntRange(0, 1).Draw(rt, "replica")], want, seconds(c.Now()))
			default:
				var ws []write
				for range rapid.IntRange(0, 5).Draw(rt, "writes") {
					ws = append(ws, drawWrite(rt))
				}
				payload := append(replicas[0].StartPayload(nil), payloadOf(ws...)...)
				decree := replicas[0].Applied() + 1
				now := c.Now()
				answered := 0
				require.NoError(rt, replicas[0].Apply(decree, now.UnixMicro(), payload, func(i int, v idl.Value) {
					status, n := want.apply(ws[i], seconds(now), ttl)
					got := semantics.AnswerOf(v)
					require.Equal(rt, status, got.Error)
					require.Equal(rt, n, got.Count+got.NewValue)
					answered++
				}))
				require.Equal(rt, len(ws), answered)
				require.NoError(rt, replicas[1].Apply(decree, now.UnixMicro(), payload, nil))
			}
		}
		for _, r := range replicas {
			compareReads(rt, r, want, seconds(c.Now()))
		}
		require.Equal(rt, dump(t, replicas[0].DB), dump(t, replicas[1].DB))
		require.Equal(rt, replicas[0].Applied(), replicas[1].Applied())
	})
}

// compareReads checks every way to read against the model.
func compareReads(t *rapid.T, r rig, want model, now uint32) {
	h, s := drawPart(t, "read hash key"), drawPart(t, "read sort key")
	raw := rawKey(string(h), string(s))
	rec, ok := want.live(raw, now)
	value, found := r.getValue(string(h), string(s))
	require.Equal(t, ok, found)
	if ok {
		require.Equal(t, rec.value, value)
	}
	left := ask[*idl.TtlResponse](r, idl.RPCTtl, idl.Blob(raw))
	require.Equal(t, ok, left.Error == idl.StatusOK)
	if ok && rec.expire > 0 {
		require.EqualValues(t, rec.expire-now, left.TtlSeconds)
	}

	all := want.between(rawKey(string(h), ""), next(rawKey(string(h), "")), now)
	require.EqualValues(t, len(all), ask[*idl.CountResponse](r, idl.RPCSortkeyCount, idl.Blob(h)).Count)
	limit, reverse := rapid.IntRange(1, 9).Draw(t, "limit"), rapid.Bool().Draw(t, "reverse")
	mg := ask[*idl.MultiGetResponse](r, idl.RPCMultiGet, &idl.MultiGetRequest{HashKey: h, StartInclusive: true,
		MaxKvCount: int32(limit), Reverse: reverse})
	part := all[:min(limit, len(all))]
	if reverse {
		part = all[len(all)-len(part):]
	}
	var got []string
	for _, kv := range mg.Kvs {
		key := rawKey(string(h), string(kv.Key))
		got = append(got, string(key))
		require.Equal(t, want[string(key)].value, string(kv.Value))
	}
	require.True(t, slices.Equal(part, got), "%q %q", part, got)

	got = nil
	var stop []byte
	stop = append(stop, 0xff, 0xff)
	for a := ask[*idl.ScanResponse](r, idl.RPCGetScanner, fullScan(int32(limit))); ; {
		require.Zero(t, a.Error)
		require.LessOrEqual(t, len(a.Kvs), limit)
		for _, kv := range a.Kvs {
			got = append(got, string(kv.Key))
			require.Equal(t, want[string(kv.Key)].value, string(kv.Value))
		}
		if a.ContextID == scanDone {
			break
		}
		a = r.nextPage(a.ContextID)
	}
	require.True(t, slices.Equal(want.between([]byte{0, 0}, stop, now), got))
}
