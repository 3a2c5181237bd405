// SPDX-License-Identifier: Apache-2.0

// Package semantics holds 4,000 data operations that were played one after the other on an empty
// table of four partitions of a real Apache Pegasus server, each with its answer. They are played
// against the storage engine alone and against whole clusters.
package semantics

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// Partitions is the number of partitions of the table.
const Partitions = 4

//go:embed testdata/semantics.jsonl
var recorded []byte

// Text is a byte string that stands in the file as Latin-1.
type Text []byte

// UnmarshalJSON implements json.Unmarshaler.
func (x *Text) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*x = Text{}
	for _, r := range s {
		*x = append(*x, byte(r))
	}
	return nil
}

// A Question is one operation, all kinds in one.
type Question struct {
	Op        string `json:"op"`
	H, S, V   Text
	By        int64
	SortKeys  []Text    `json:"sort_keys"`
	Kvs       [][2]Text `json:"kvs"`
	CheckS    Text      `json:"check_s"`
	Type      int32     `json:"type"`
	Operand   Text      `json:"operand"`
	Diff      bool      `json:"diff"`
	SetS      Text      `json:"set_s"`
	SetV      Text      `json:"set_v"`
	Ret       bool      `json:"ret"`
	Mutates   []mutate  `json:"mutates"`
	MaxCount  int32     `json:"max_count"`
	MaxSize   int32     `json:"max_size"`
	NoValue   bool      `json:"no_value"`
	Start     Text      `json:"start"`
	Stop      Text      `json:"stop"`
	StartIncl bool      `json:"start_incl"`
	StopIncl  bool      `json:"stop_incl"`
	Filter    int32     `json:"filter"`
	Pattern   Text      `json:"pattern"`
	Reverse   bool      `json:"reverse"`
	Batch     int32     `json:"batch"`
	HFilter   int32     `json:"hfilter"`
	HPattern  Text      `json:"hpattern"`
	CountOnly bool      `json:"count_only"`
}

type mutate struct {
	Op   int32
	S, V Text
}

func (m *mutate) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&m.Op, &m.S, &m.V})
}

// An Answer is what the real server said, all kinds in one.
type Answer struct {
	Error      int32
	Value      Text
	Count      int64
	NewValue   int64 `json:"new_value"`
	TTL        int32 `json:"ttl_seconds"`
	Returned   bool
	Exist      bool
	CheckValue Text `json:"check_value"`
	Kvs        []KV
	KvCount    int32 `json:"kv_count"`
	Data       []Data
}

// A KV is a record of a multi_get or scan.
type KV struct{ Key, Value Text }

// Data is a record of a batch_get.
type Data struct {
	HashKey Text `json:"hash_key"`
	SortKey Text `json:"sort_key"`
	Value   Text `json:"value"`
}

// A Line is one operation with its answer.
type Line struct {
	Q Question
	A Answer
}

// Load returns the operations in the order they were played.
func Load() ([]Line, error) {
	sc := bufio.NewScanner(bytes.NewReader(recorded))
	sc.Buffer(nil, 1<<20)
	var lines []Line
	for n := 0; sc.Scan(); n++ {
		if n == 0 {
			continue // how many partitions, which encoding
		}
		var l Line
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		lines = append(lines, l)
	}
	return lines, sc.Err()
}

// A Caller executes one RPC on the partition the question is about.
type Caller func(rpc string, arg idl.Value, result idl.Decoder) error

// Hash is the partition hash of the question's hash key.
func (q *Question) Hash() uint64 { return idl.KeyHash(q.H, q.S) }

// Partition is the one that answers the question.
func (q *Question) Partition() int32 { return idl.PartitionIndex(q.Hash(), Partitions) }

func (q *Question) raw() []byte { return idl.RawKey(q.H, q.S) }

// Write returns the write that a question asks for; ok is false when it asks for a read.
func (q *Question) Write() (rpc string, arg idl.Value, ok bool) {
	switch q.Op {
	case "put":
		return idl.RPCPut, &idl.UpdateRequest{Key: q.raw(), Value: q.V}, true
	case "remove":
		return idl.RPCRemove, idl.Blob(q.raw()), true
	case "multi_put":
		r := &idl.MultiPutRequest{HashKey: q.H}
		for _, kv := range q.Kvs {
			r.Kvs = append(r.Kvs, idl.KeyValue{Key: kv[0], Value: kv[1]})
		}
		return idl.RPCMultiPut, r, true
	case "multi_remove":
		return idl.RPCMultiRemove, &idl.MultiRemoveRequest{HashKey: q.H, SortKeys: blobs(q.SortKeys)}, true
	case "incr":
		return idl.RPCIncr, &idl.IncrRequest{Key: q.raw(), Increment: q.By}, true
	case "check_and_set":
		return idl.RPCCheckAndSet, &idl.CheckAndSetRequest{HashKey: q.H, CheckSortKey: q.CheckS,
			CheckType: idl.CasCheckType(q.Type), CheckOperand: q.Operand, SetDiffSortKey: q.Diff,
			SetSortKey: q.SetS, SetValue: q.SetV, ReturnCheckValue: q.Ret}, true
	case "check_and_mutate":
		r := &idl.CheckAndMutateRequest{HashKey: q.H, CheckSortKey: q.CheckS,
			CheckType: idl.CasCheckType(q.Type), CheckOperand: q.Operand, ReturnCheckValue: q.Ret}
		for _, m := range q.Mutates {
			r.MutateList = append(r.MutateList, idl.Mutate{Operation: idl.MutateOperation(m.Op), SortKey: m.S, Value: m.V})
		}
		return idl.RPCCheckAndMutate, r, true
	}
	return "", nil, false
}

func blobs(x []Text) (b [][]byte) {
	for _, t := range x {
		b = append(b, t)
	}
	return b
}

// result returns an empty answer of a write's type.
func result(rpc string) idl.Decoder {
	switch rpc {
	case idl.RPCMultiRemove:
		return &idl.MultiRemoveResponse{}
	case idl.RPCIncr:
		return &idl.IncrResponse{}
	case idl.RPCCheckAndSet:
		return &idl.CheckAndSetResponse{}
	case idl.RPCCheckAndMutate:
		return &idl.CheckAndMutateResponse{}
	}
	return &idl.UpdateResponse{}
}

// AnswerOf brings the answer of a write into the form of the file.
func AnswerOf(v any) Answer {
	switch a := v.(type) {
	case *idl.UpdateResponse:
		return Answer{Error: a.Error}
	case *idl.MultiRemoveResponse:
		return Answer{Error: a.Error, Count: a.Count}
	case *idl.IncrResponse:
		return Answer{Error: a.Error, NewValue: a.NewValue}
	case *idl.CheckAndSetResponse:
		return Answer{Error: a.Error, Returned: a.CheckValueReturned, Exist: a.CheckValueExist, CheckValue: a.CheckValue}
	case *idl.CheckAndMutateResponse:
		return Answer{Error: a.Error, Returned: a.CheckValueReturned, Exist: a.CheckValueExist, CheckValue: a.CheckValue}
	}
	panic(fmt.Sprintf("%T is not the answer of a write", v))
}

// Play executes the question and returns the answer in the form of the file.
func (q *Question) Play(call Caller) (Answer, error) {
	if rpc, arg, ok := q.Write(); ok {
		r := result(rpc)
		if err := call(rpc, arg, r); err != nil {
			return Answer{}, err
		}
		return AnswerOf(r), nil
	}
	switch q.Op {
	case "get":
		var a idl.ReadResponse
		err := call(idl.RPCGet, idl.Blob(q.raw()), &a)
		return Answer{Error: a.Error, Value: a.Value}, err
	case "ttl":
		var a idl.TtlResponse
		err := call(idl.RPCTtl, idl.Blob(q.raw()), &a)
		return Answer{Error: a.Error, TTL: a.TtlSeconds}, err
	case "sortkey_count":
		var a idl.CountResponse
		err := call(idl.RPCSortkeyCount, idl.Blob(q.H), &a)
		return Answer{Error: a.Error, Count: a.Count}, err
	case "batch_get":
		return q.batchGet(call)
	case "multi_get":
		var a idl.MultiGetResponse
		err := call(idl.RPCMultiGet, &idl.MultiGetRequest{HashKey: q.H,
			SortKeys: blobs(q.SortKeys), MaxKvCount: q.MaxCount, MaxKvSize: q.MaxSize, NoValue: q.NoValue,
			StartSortkey: q.Start, StopSortkey: q.Stop, StartInclusive: q.StartIncl, StopInclusive: q.StopIncl,
			SortKeyFilterType: idl.FilterType(q.Filter), SortKeyFilterPattern: q.Pattern, Reverse: q.Reverse}, &a)
		return Answer{Error: a.Error, Kvs: pairs(a.Kvs)}, err
	case "get_scanner":
		return q.scanAll(call)
	}
	return Answer{}, fmt.Errorf("unknown operation %q", q.Op)
}

func (q *Question) batchGet(call Caller) (Answer, error) {
	req := &idl.BatchGetRequest{}
	for _, s := range q.SortKeys {
		req.Keys = append(req.Keys, idl.FullKey{HashKey: q.H, SortKey: s})
	}
	var a idl.BatchGetResponse
	err := call(idl.RPCBatchGet, req, &a)
	x := Answer{Error: a.Error}
	for _, d := range a.Data {
		x.Data = append(x.Data, Data{d.HashKey, d.SortKey, d.Value})
	}
	return x, err
}

// scanAll puts all pages of a scan together, as the file does.
func (q *Question) scanAll(call Caller) (Answer, error) {
	req := &idl.GetScannerRequest{
		StartKey: idl.RawKey(q.H, q.Start), StopKey: idl.RawKey(q.H, q.Stop),
		StartInclusive: q.StartIncl, StopInclusive: q.StopIncl, BatchSize: q.Batch, NoValue: q.NoValue,
		HashKeyFilterType: idl.FilterType(q.HFilter), HashKeyFilterPattern: q.HPattern,
		SortKeyFilterType: idl.FilterType(q.Filter), SortKeyFilterPattern: q.Pattern,
	}
	if q.CountOnly {
		req.OnlyReturnCount = &q.CountOnly
	}
	var a idl.ScanResponse
	if err := call(idl.RPCGetScanner, req, &a); err != nil {
		return Answer{}, err
	}
	x := Answer{Error: a.Error}
	for {
		x.Kvs = append(x.Kvs, pairs(a.Kvs)...)
		if q.CountOnly != (a.KvCount != nil) {
			return x, fmt.Errorf("count only is %v, kv_count is there: %v", q.CountOnly, a.KvCount != nil)
		}
		if q.CountOnly {
			x.KvCount += *a.KvCount
		}
		if a.ContextID == -1 {
			return x, nil
		}
		if a.Error != 0 || a.ContextID < 0 {
			return x, fmt.Errorf("page with status %d and context %d", a.Error, a.ContextID)
		}
		id := a.ContextID
		a = idl.ScanResponse{}
		if err := call(idl.RPCScan, &idl.ScanRequest{ContextID: id}, &a); err != nil {
			return x, err
		}
	}
}

func pairs(kvs []idl.KeyValue) (x []KV) {
	for _, kv := range kvs {
		x = append(x, KV{kv.Key, kv.Value})
	}
	return x
}
