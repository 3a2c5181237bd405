// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// text is a byte string that stands in the golden file as Latin-1.
type text []byte

func (x *text) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*x = text{}
	for _, r := range s {
		*x = append(*x, byte(r))
	}
	return nil
}

// question is one operation of the golden file, all kinds in one.
type question struct {
	Op        string `json:"op"`
	H, S, V   text
	By        int64
	SortKeys  []text         `json:"sort_keys"`
	Kvs       [][2]text      `json:"kvs"`
	CheckS    text           `json:"check_s"`
	Type      int32          `json:"type"`
	Operand   text           `json:"operand"`
	Diff      bool           `json:"diff"`
	SetS      text           `json:"set_s"`
	SetV      text           `json:"set_v"`
	Ret       bool           `json:"ret"`
	Mutates   []goldenMutate `json:"mutates"`
	MaxCount  int32          `json:"max_count"`
	MaxSize   int32          `json:"max_size"`
	NoValue   bool           `json:"no_value"`
	Start     text           `json:"start"`
	Stop      text           `json:"stop"`
	StartIncl bool           `json:"start_incl"`
	StopIncl  bool           `json:"stop_incl"`
	Filter    int32          `json:"filter"`
	Pattern   text           `json:"pattern"`
	Reverse   bool           `json:"reverse"`
	Batch     int32          `json:"batch"`
	HFilter   int32          `json:"hfilter"`
	HPattern  text           `json:"hpattern"`
	CountOnly bool           `json:"count_only"`
}

type goldenMutate struct {
	Op   int32
	S, V text
}

func (m *goldenMutate) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&m.Op, &m.S, &m.V})
}

// reply is one answer of the golden file, all kinds in one.
type reply struct {
	Error      int32
	Value      text
	Count      int64
	NewValue   int64 `json:"new_value"`
	TTL        int32 `json:"ttl_seconds"`
	Returned   bool
	Exist      bool
	CheckValue text `json:"check_value"`
	Kvs        []goldenKV
	KvCount    int32 `json:"kv_count"`
	Data       []goldenData
}

type goldenKV struct{ Key, Value text }

type goldenData struct {
	HashKey text `json:"hash_key"`
	SortKey text `json:"sort_key"`
	Value   text `json:"value"`
}

func readGolden(t *testing.T) (lines []struct {
	Q question
	A reply
}) {
	f, err := os.Open("testdata/semantics.jsonl")
	require.NoError(t, err)
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	require.True(t, sc.Scan())
	require.JSONEq(t, `{"partition_count": 4, "encoding": "latin1"}`, sc.Text())
	for sc.Scan() {
		var l struct {
			Q question
			A reply
		}
		require.NoError(t, json.Unmarshal(sc.Bytes(), &l))
		lines = append(lines, l)
	}
	require.Len(t, lines, 4000)
	return lines
}

func (q *question) raw() []byte { return appendKey(nil, q.H, q.S)[1:] }

// write returns the write that a question asks for, or nil when it asks for a read.
func (q *question) write() *write {
	switch q.Op {
	case "put":
		return &write{CodePut, &idl.UpdateRequest{Key: q.raw(), Value: q.V}}
	case "remove":
		return &write{CodeRemove, idl.Blob(q.raw())}
	case "multi_put":
		r := &idl.MultiPutRequest{HashKey: q.H}
		for _, kv := range q.Kvs {
			r.Kvs = append(r.Kvs, idl.KeyValue{Key: kv[0], Value: kv[1]})
		}
		return &write{CodeMultiPut, r}
	case "multi_remove":
		return &write{CodeMultiRemove, &idl.MultiRemoveRequest{HashKey: q.H, SortKeys: blobs(q.SortKeys)}}
	case "incr":
		return &write{CodeIncr, &idl.IncrRequest{Key: q.raw(), Increment: q.By}}
	case "check_and_set":
		return &write{CodeCheckAndSet, &idl.CheckAndSetRequest{HashKey: q.H, CheckSortKey: q.CheckS,
			CheckType: idl.CasCheckType(q.Type), CheckOperand: q.Operand, SetDiffSortKey: q.Diff,
			SetSortKey: q.SetS, SetValue: q.SetV, ReturnCheckValue: q.Ret}}
	case "check_and_mutate":
		r := &idl.CheckAndMutateRequest{HashKey: q.H, CheckSortKey: q.CheckS,
			CheckType: idl.CasCheckType(q.Type), CheckOperand: q.Operand, ReturnCheckValue: q.Ret}
		for _, m := range q.Mutates {
			r.MutateList = append(r.MutateList, idl.Mutate{Operation: idl.MutateOperation(m.Op), SortKey: m.S, Value: m.V})
		}
		return &write{CodeCheckAndMutate, r}
	}
	return nil
}

func blobs(x []text) (b [][]byte) {
	for _, t := range x {
		b = append(b, t)
	}
	return b
}

// read performs a read on d.
func (q *question) read(r rig) reply {
	switch q.Op {
	case "get":
		a := ask[*idl.ReadResponse](r, idl.RPCGet, idl.Blob(q.raw()))
		return reply{Error: a.Error, Value: a.Value}
	case "ttl":
		a := ask[*idl.TtlResponse](r, idl.RPCTtl, idl.Blob(q.raw()))
		return reply{Error: a.Error, TTL: a.TtlSeconds}
	case "sortkey_count":
		a := ask[*idl.CountResponse](r, idl.RPCSortkeyCount, idl.Blob(q.H))
		return reply{Error: a.Error, Count: a.Count}
	case "batch_get":
		req := &idl.BatchGetRequest{}
		for _, s := range q.SortKeys {
			req.Keys = append(req.Keys, idl.FullKey{HashKey: q.H, SortKey: s})
		}
		a := ask[*idl.BatchGetResponse](r, idl.RPCBatchGet, req)
		x := reply{Error: a.Error}
		for _, d := range a.Data {
			x.Data = append(x.Data, goldenData{d.HashKey, d.SortKey, d.Value})
		}
		return x
	case "multi_get":
		a := ask[*idl.MultiGetResponse](r, idl.RPCMultiGet, &idl.MultiGetRequest{HashKey: q.H,
			SortKeys: blobs(q.SortKeys), MaxKvCount: q.MaxCount, MaxKvSize: q.MaxSize, NoValue: q.NoValue,
			StartSortkey: q.Start, StopSortkey: q.Stop, StartInclusive: q.StartIncl, StopInclusive: q.StopIncl,
			SortKeyFilterType: idl.FilterType(q.Filter), SortKeyFilterPattern: q.Pattern, Reverse: q.Reverse})
		return reply{Error: a.Error, Kvs: pairs(a.Kvs)}
	case "get_scanner":
		return q.scanAll(r)
	}
	r.t.Fatalf("unknown operation %q", q.Op)
	return reply{}
}

// scanAll puts all pages of a scan together, as the golden file does.
func (q *question) scanAll(r rig) reply {
	req := &idl.GetScannerRequest{
		StartKey: appendKey(nil, q.H, q.Start)[1:], StopKey: appendKey(nil, q.H, q.Stop)[1:],
		StartInclusive: q.StartIncl, StopInclusive: q.StopIncl, BatchSize: q.Batch, NoValue: q.NoValue,
		HashKeyFilterType: idl.FilterType(q.HFilter), HashKeyFilterPattern: q.HPattern,
		SortKeyFilterType: idl.FilterType(q.Filter), SortKeyFilterPattern: q.Pattern,
	}
	if q.CountOnly {
		req.OnlyReturnCount = &q.CountOnly
	}
	a := ask[*idl.ScanResponse](r, idl.RPCGetScanner, req)
	x := reply{Error: a.Error}
	for {
		x.Kvs = append(x.Kvs, pairs(a.Kvs)...)
		require.Equal(r.t, q.CountOnly, a.KvCount != nil)
		if q.CountOnly {
			x.KvCount += *a.KvCount
		}
		if a.ContextID == scanDone {
			return x
		}
		require.Zero(r.t, a.Error)
		require.GreaterOrEqual(r.t, a.ContextID, int64(0))
		a = ask[*idl.ScanResponse](r, idl.RPCScan, &idl.ScanRequest{ContextID: a.ContextID})
	}
}

func pairs(kvs []idl.KeyValue) (x []goldenKV) {
	for _, kv := range kvs {
		x = append(x, goldenKV{kv.Key, kv.Value})
	}
	return x
}

// replyOf brings the answer of a write into the form of the golden file.
func replyOf(v idl.Value) reply {
	switch a := v.(type) {
	case *idl.UpdateResponse:
		return reply{Error: a.Error}
	case *idl.MultiRemoveResponse:
		return reply{Error: a.Error, Count: a.Count}
	case *idl.IncrResponse:
		return reply{Error: a.Error, NewValue: a.NewValue}
	case *idl.CheckAndSetResponse:
		return reply{Error: a.Error, Returned: a.CheckValueReturned, Exist: a.CheckValueExist, CheckValue: a.CheckValue}
	case *idl.CheckAndMutateResponse:
		return reply{Error: a.Error, Returned: a.CheckValueReturned, Exist: a.CheckValueExist, CheckValue: a.CheckValue}
	}
	panic("unknown answer")
}

// goldenRigs opens the four partitions of the golden table.
func goldenRigs(t *testing.T) (rigs [4]rig) {
	for i := range rigs {
		rigs[i] = newRig(t, func(o *Options) { o.GPID.PartitionIndex = int32(i) })
	}
	return rigs
}

func (q *question) partition() int { return int(idl.KeyHash(q.H, q.S) % 4) }

// TestGolden plays what was played to a real Pegasus server and wants the same answers.
func TestGolden(t *testing.T) {
	rigs := goldenRigs(t)
	bad := 0
	for i, l := range readGolden(t) {
		r := rigs[l.Q.partition()]
		var got reply
		if w := l.Q.write(); w != nil {
			got = replyOf(r.do(w.code, w.arg))
		} else {
			got = l.Q.read(r)
		}
		if diff := cmp.Diff(l.A, got, cmpopts.EquateEmpty()); diff != "" {
			q, _ := json.Marshal(l.Q)
			t.Errorf("line %d: %s (-golden +got)\n%s", i+2, q, diff)
			if bad++; bad > 20 {
				t.FailNow()
			}
		}
		// Some answers must not depend on whether the data is in memory or on disk.
		if i%1000 == 999 {
			for _, r := range rigs {
				require.NoError(t, r.Flush())
			}
		}
	}
}

// TestGoldenMerged plays the writes of the golden file merged into mutations of several writes.
// Every answer and the final state must be as if each had come alone.
func TestGoldenMerged(t *testing.T) {
	alone, merged := goldenRigs(t), goldenRigs(t)
	lines := readGolden(t)
	rng := rand.New(rand.NewPCG(1, 2))
	var waiting [4][]int
	flush := func(p int) {
		if len(waiting[p]) == 0 {
			return
		}
		var ws []write
		for _, i := range waiting[p] {
			ws = append(ws, *lines[i].Q.write())
		}
		for k, v := range merged[p].mutateAt(start, ws...) {
			i := waiting[p][k]
			if diff := cmp.Diff(lines[i].A, replyOf(v), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("line %d: (-golden +got)\n%s", i+2, diff)
			}
		}
		waiting[p] = nil
	}
	for i, l := range lines {
		w, p := l.Q.write(), l.Q.partition()
		if w == nil {
			continue
		}
		alone[p].do(w.code, w.arg)
		waiting[p] = append(waiting[p], i)
		if rng.IntN(6) == 0 {
			flush(p)
		}
	}
	for p := range merged {
		flush(p)
		require.Equal(t, dump(t, alone[p].DB), dump(t, merged[p].DB))
	}
}
