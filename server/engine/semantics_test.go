// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/test/semantics"
)

func TestParseInt(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
		ok   bool
	}{
		{"0", 0, true}, {"42", 42, true}, {"-42", -42, true}, {"+7", 7, true},
		{" \t\n\v\f\r7", 7, true}, {"010", 8, true}, {"-010", -8, true}, {"0x1F", 31, true}, {"0X1f", 31, true}, {"-0x10", -16, true},
		{"00", 0, true}, {"-0", 0, true},
		{"9223372036854775807", math.MaxInt64, true}, {"-9223372036854775808", math.MinInt64, true},
		{"0x7fffffffffffffff", math.MaxInt64, true}, {"-0x8000000000000000", math.MinInt64, true},
		{"9223372036854775808", 0, false}, {"-9223372036854775809", 0, false}, {"0x8000000000000000", 0, false},
		{"", 0, false}, {" ", 0, false}, {"-", 0, false}, {"+-1", 0, false}, {"- 1", 0, false}, {"1 ", 0, false}, {"1a", 0, false},
		{"08", 0, false}, {"0x", 0, false}, {"0xg", 0, false}, {"1\x00", 0, false}, {"\x001", 0, false}, {"1.0", 0, false},
	} {
		got, ok := parseInt([]byte(c.in))
		require.Equal(t, c.ok, ok, "%q", c.in)
		if ok {
			require.Equal(t, c.want, got, "%q", c.in)
		}
	}
}

func TestAddIntOverflow(t *testing.T) {
	for _, c := range []struct {
		a, b int64
		ok   bool
	}{
		{1, 2, true}, {0, 0, true}, {math.MaxInt64, 0, true}, {math.MaxInt64, 1, false}, {math.MaxInt64, math.MinInt64, true},
		{math.MinInt64, -1, false}, {math.MinInt64, 0, true}, {math.MinInt64, math.MinInt64, false}, {-1, 1, true},
	} {
		sum, ok := addInt(c.a, c.b)
		require.Equal(t, c.ok, ok, "%d + %d", c.a, c.b)
		if ok {
			require.Equal(t, c.a+c.b, sum)
		}
	}
}

func TestExpiry(t *testing.T) {
	c := newClock()
	r := newRig(t, func(o *Options) { o.Now = c.Now })
	r.put("h", "forever", "v", 0)
	r.put("h", "soon", "v", startTS+10)
	r.put("h", "past", "v", startTS-1)
	r.put("h", "now", "v", startTS)

	ttl := func(s string) (int32, int32) {
		a := ask[*idl.TtlResponse](r, idl.RPCTtl, idl.Blob(rawKey("h", s)))
		require.Equal(t, "127.0.0.1:34801", a.Server)
		return a.Error, a.TtlSeconds
	}
	visible := func() (keys []string) {
		for _, kv := range ask[*idl.MultiGetResponse](r, idl.RPCMultiGet, &idl.MultiGetRequest{HashKey: []byte("h")}).Kvs {
			keys = append(keys, string(kv.Key))
		}
		n := ask[*idl.CountResponse](r, idl.RPCSortkeyCount, idl.Blob("h")).Count
		require.EqualValues(t, len(keys), n)
		points := ask[*idl.MultiGetResponse](r, idl.RPCMultiGet, &idl.MultiGetRequest{HashKey: []byte("h"),
			SortKeys: [][]byte{[]byte("forever"), []byte("now"), []byte("past"), []byte("soon")}}).Kvs
		require.Len(t, points, len(keys))
		batch := ask[*idl.BatchGetResponse](r, idl.RPCBatchGet, &idl.BatchGetRequest{Keys: []idl.FullKey{
			{HashKey: []byte("h"), SortKey: []byte("forever")}, {HashKey: []byte("h"), SortKey: []byte("now")},
			{HashKey: []byte("h"), SortKey: []byte("past")}, {HashKey: []byte("h"), SortKey: []byte("soon")}}}).Data
		require.Len(t, batch, len(keys))
		page := ask[*idl.ScanResponse](r, idl.RPCGetScanner, &idl.GetScannerRequest{
			StartKey: []byte{0, 0}, StopKey: []byte{0xff, 0xff}, StartInclusive: true})
		require.Len(t, page.Kvs, len(keys))
		return keys
	}

	require.Equal(t, []string{"forever", "soon"}, visible())
	status, left := ttl("forever")
	require.Equal(t, [2]int32{0, -1}, [2]int32{status, left})
	status, left = ttl("soon")
	require.Equal(t, [2]int32{0, 10}, [2]int32{status, left})
	for _, s := range []string{"past", "now", "never written"} {
		status, left = ttl(s)
		require.Equal(t, [2]int32{idl.StatusNotFound, 0}, [2]int32{status, left}, s)
		_, ok := r.getValue("h", s)
		require.False(t, ok)
	}

	c.advance(9 * time.Second)
	_, left = ttl("soon")
	require.EqualValues(t, 1, left)
	c.advance(time.Second)
	require.Equal(t, []string{"forever"}, visible())
	_, ok := r.getValue("h", "soon")
	require.False(t, ok)
}

// TestExpiryOfWritesFollowsMutationTime: what a write reads is judged by the time of its
// mutation, never by the clock of the replica.
func TestExpiryOfWritesFollowsMutationTime(t *testing.T) {
	c := newClock()
	r := newRig(t, func(o *Options) { o.Now = c.Now })
	r.put("h", "n", "5", startTS+10)
	incr := func(at time.Duration, expire int32) int64 {
		a := r.mutateAt(start.Add(at), write{CodeIncr, &idl.IncrRequest{Key: rawKey("h", "n"), Increment: 1, ExpireTsSeconds: expire}})
		return a[0].(*idl.IncrResponse).NewValue
	}
	c.advance(time.Hour)
	require.EqualValues(t, 6, incr(9*time.Second, 0), "still there at the time of the mutation")
	require.EqualValues(t, 1, incr(10*time.Second, 0), "expired, so it starts anew, without a time to live")
	v, ok := r.getValue("h", "n")
	require.True(t, ok)
	require.Equal(t, "1", v)

	cas := r.mutateAt(start, write{CodeCheckAndSet, &idl.CheckAndSetRequest{HashKey: []byte("h"), CheckSortKey: []byte("gone"),
		CheckType: idl.CtValueNotExist, SetValue: []byte("x"), SetExpireTsSeconds: startTS + 1}})
	require.Zero(t, cas[0].(*idl.CheckAndSetResponse).Error)
	cas = r.mutateAt(start.Add(time.Second), write{CodeCheckAndSet, &idl.CheckAndSetRequest{HashKey: []byte("h"),
		CheckSortKey: []byte("gone"), CheckType: idl.CtValueExist, ReturnCheckValue: true}})
	a := cas[0].(*idl.CheckAndSetResponse)
	require.EqualValues(t, idl.StatusTryAgain, a.Error)
	require.True(t, a.CheckValueReturned)
	require.False(t, a.CheckValueExist)
}

func TestIncrTimeToLive(t *testing.T) {
	r := newRig(t)
	ttl := func(s string) int32 {
		return ask[*idl.TtlResponse](r, idl.RPCTtl, idl.Blob(rawKey("h", s))).TtlSeconds
	}
	incr := func(s string, expire int32) {
		a := r.do(CodeIncr, &idl.IncrRequest{Key: rawKey("h", s), Increment: 1, ExpireTsSeconds: expire}).(*idl.IncrResponse)
		require.Zero(t, a.Error)
		require.Equal(t, r.Applied(), a.Decree)
	}
	incr("a", 0)
	require.EqualValues(t, -1, ttl("a"))
	incr("a", startTS+100)
	require.EqualValues(t, 100, ttl("a"))
	incr("a", 0)
	require.EqualValues(t, 100, ttl("a"), "kept")
	incr("a", -1)
	require.EqualValues(t, -1, ttl("a"), "cleared")
	incr("b", startTS+50)
	require.EqualValues(t, 50, ttl("b"))
}

func TestDefaultTTL(t *testing.T) {
	primary, secondary := newRig(t), newRig(t)
	primary.SetEnvs(map[string]string{EnvDefaultTTL: "86400"})
	ws := []write{
		{CodePut, &idl.UpdateRequest{Key: rawKey("h", "put"), Value: []byte("v")}},
		{CodePut, &idl.UpdateRequest{Key: rawKey("h", "own"), Value: []byte("v"), ExpireTsSeconds: startTS + 7}},
		{CodeMultiPut, &idl.MultiPutRequest{HashKey: []byte("h"), Kvs: []idl.KeyValue{{Key: []byte("multi")}}}},
		{CodeIncr, &idl.IncrRequest{Key: rawKey("h", "incr")}},
		{CodeCheckAndSet, &idl.CheckAndSetRequest{HashKey: []byte("h"), CheckSortKey: []byte("cas")}},
		{CodeCheckAndMutate, &idl.CheckAndMutateRequest{HashKey: []byte("h"), MutateList: []idl.Mutate{{SortKey: []byte("cam")}}}},
	}
	// The primary decides; the secondary does not know of the setting yet, or still has another.
	payload := append(primary.StartPayload(nil), payloadOf(ws...)...)
	secondary.SetEnvs(map[string]string{EnvDefaultTTL: "5"})
	for _, r := range []rig{primary, secondary} {
		require.NoError(t, r.Apply(1, start.UnixMicro(), payload, nil))
		for _, s := range []string{"put", "multi", "incr", "cas", "cam"} {
			a := ask[*idl.TtlResponse](r, idl.RPCTtl, idl.Blob(rawKey("h", s)))
			require.EqualValues(t, 86400, a.TtlSeconds, s)
		}
		require.EqualValues(t, 7, ask[*idl.TtlResponse](r, idl.RPCTtl, idl.Blob(rawKey("h", "own"))).TtlSeconds)
	}
	primary.SetEnvs(nil)
	primary.put("h", "later", "v", 0)
	require.EqualValues(t, -1, ask[*idl.TtlResponse](primary, idl.RPCTtl, idl.Blob(rawKey("h", "later"))).TtlSeconds)
	n, err := CountWrites(payload)
	require.NoError(t, err)
	require.Equal(t, len(ws), n)
	i := 0
	for w := range Writes(payload) {
		require.Equal(t, ws[i].code, w.Code)
		i++
	}
	require.Equal(t, len(ws), i)
}

// TestInvalidWrites: requests that make no sense are answered, change nothing and do not
// disturb what else is in the mutation.
func TestInvalidWrites(t *testing.T) {
	long := []byte(strings.Repeat("x", maxHashKey+1))
	bad := []write{
		{CodePut, &idl.UpdateRequest{Value: []byte("no key")}},
		{CodePut, &idl.UpdateRequest{Key: []byte{0}}},
		{CodePut, &idl.UpdateRequest{Key: []byte{0, 5, 'a'}}},
		{CodePut, &idl.UpdateRequest{Key: append([]byte{0xff, 0xff}, append(long, 'y')...)}},
		{CodeRemove, idl.Blob{}},
		{CodeRemove, idl.Blob{0, 5, 'a'}},
		{CodeMultiPut, &idl.MultiPutRequest{HashKey: []byte("h")}},
		{CodeMultiPut, &idl.MultiPutRequest{HashKey: long, Kvs: []idl.KeyValue{{Key: []byte("s")}}}},
		{CodeMultiRemove, &idl.MultiRemoveRequest{HashKey: []byte("h")}},
		{CodeMultiRemove, &idl.MultiRemoveRequest{HashKey: long, SortKeys: [][]byte{nil}}},
		{CodeIncr, &idl.IncrRequest{}},
		{CodeCheckAndSet, &idl.CheckAndSetRequest{HashKey: []byte("h"), CheckType: 18}},
		{CodeCheckAndSet, &idl.CheckAndSetRequest{HashKey: []byte("h"), CheckType: -1}},
		{CodeCheckAndSet, &idl.CheckAndSetRequest{HashKey: long}},
		{CodeCheckAndMutate, &idl.CheckAndMutateRequest{HashKey: []byte("h")}},
		{CodeCheckAndMutate, &idl.CheckAndMutateRequest{HashKey: []byte("h"), MutateList: []idl.Mutate{{}, {Operation: 2}}}},
	}
	r := newRig(t)
	ws := append([]write{{CodePut, &idl.UpdateRequest{Key: rawKey("h", "before"), Value: []byte("1")}}}, bad...)
	ws = append(ws, write{CodePut, &idl.UpdateRequest{Key: rawKey("h", "after"), Value: []byte("2")}})
	answers := r.mutateAt(start, ws...)
	for i := range bad {
		require.EqualValues(t, idl.StatusInvalidArgument, semantics.AnswerOf(answers[i+1]).Error, "write %d", i)
	}
	require.Len(t, dump(t, r.DB), 2)

	// Arguments cut short at every length.
	for _, code := range []WriteCode{CodePut, CodeRemove, CodeMultiPut, CodeMultiRemove, CodeIncr, CodeCheckAndSet, CodeCheckAndMutate} {
		for _, arg := range [][]byte{nil, {0xff}, {12, 0, 1}, {12, 0, 1, 0, 0, 0, 200, 'x'}, {15, 0, 2, 12, 0x7f, 0xff, 0xff, 0xff}} {
			err := r.Apply(r.Applied()+1, start.UnixMicro(), AppendWrite(nil, code, arg), func(_ int, v idl.Value) {
				require.EqualValues(t, idl.StatusInvalidArgument, semantics.AnswerOf(v).Error, "%s %v", code, arg)
			})
			require.NoError(t, err)
		}
	}
	require.Len(t, dump(t, r.DB), 2)
}

func TestDamagedPayloadIsRefused(t *testing.T) {
	r := newRig(t)
	good := payloadOf(write{CodePut, &idl.UpdateRequest{Key: rawKey("h", "s")}})
	for name, payload := range map[string][]byte{
		"code only":    {1},
		"cut short":    good[:len(good)-1],
		"unknown code": append(append([]byte{}, good...), 99, 0),
		"zero":         {0, 0},
		"huge length":  {1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	} {
		err := r.Apply(1, start.UnixMicro(), payload, func(int, idl.Value) { t.Error("answered") })
		require.ErrorIs(t, err, ErrBadPayload, name)
		_, err = CountWrites(payload)
		require.ErrorIs(t, err, ErrBadPayload, name)
	}
	require.Zero(t, r.Applied())
	require.Empty(t, dump(t, r.DB))
	require.ErrorIs(t, r.Apply(2, 0, nil, nil), errOutOfOrder)
	require.NoError(t, r.Apply(1, 0, nil, nil), "an empty mutation")
	require.EqualValues(t, 1, r.Applied())
}

func TestInvalidReads(t *testing.T) {
	r := newRig(t)
	for _, name := range Reads() {
		for _, arg := range [][]byte{nil, {0}, {0xff}, {12, 0, 1, 0, 0, 0, 200, 'x'}} {
			var c capture
			r.Read(name, arg, &c)
			if name == idl.RPCClearScanner {
				require.Zero(t, c.n)
				continue
			}
			require.Equal(t, 1, c.n, "%s", name)
			require.Empty(t, c.code)
		}
	}
	var c capture
	r.Read("RPC_RRDB_RRDB_PUT", nil, &c)
	require.Equal(t, idl.ErrHandlerNotFound, c.code)
	_, ok := r.getValue("h", "s")
	require.False(t, ok)
	a := ask[*idl.ReadResponse](r, idl.RPCGet, idl.Blob{})
	require.EqualValues(t, idl.StatusNotFound, a.Error)
}

// fill writes n records under one hash key, s0000 and on, each with a value of size bytes.
func (r rig) fill(h string, n, size int) {
	r.t.Helper()
	req := &idl.MultiPutRequest{HashKey: []byte(h)}
	for i := range n {
		req.Kvs = append(req.Kvs, idl.KeyValue{Key: fmt.Appendf(nil, "s%04d", i), Value: make([]byte, size)})
	}
	r.do(CodeMultiPut, req)
}

func TestMultiGetLimits(t *testing.T) {
	r := newRig(t)
	r.fill("h", 3500, 10)
	r.fill("i", 5, 10)
	for _, c := range []struct {
		name   string
		req    idl.MultiGetRequest
		status int32
		n      int
		first  string
	}{
		{"all is too much", idl.MultiGetRequest{HashKey: []byte("h"), StartInclusive: true}, 7, 3000, "s0000"},
		{"cap of iterations from the end", idl.MultiGetRequest{HashKey: []byte("h"), Reverse: true}, 7, 3000, "s0500"},
		{"count", idl.MultiGetRequest{HashKey: []byte("h"), MaxKvCount: 2}, 7, 2, "s0000"},
		{"count in reverse", idl.MultiGetRequest{HashKey: []byte("h"), MaxKvCount: 2, Reverse: true}, 7, 2, "s3498"},
		{"size may be overshot by one", idl.MultiGetRequest{HashKey: []byte("h"), MaxKvSize: 16}, 7, 2, "s0000"},
		{"size without values", idl.MultiGetRequest{HashKey: []byte("h"), MaxKvSize: 15, NoValue: true}, 7, 3, "s0000"},
		{"exactly the limit, nothing left", idl.MultiGetRequest{HashKey: []byte("i"), MaxKvCount: 5}, 0, 5, "s0000"},
		{"exactly the limit in reverse, nothing left", idl.MultiGetRequest{HashKey: []byte("i"), MaxKvCount: 5, Reverse: true}, 0, 5, "s0000"},
		{"exactly the limit, more behind the range", idl.MultiGetRequest{HashKey: []byte("i"), MaxKvCount: 3, StopSortkey: []byte("s0003")}, 7, 3, "s0000"},
		{"exactly the limit, the stop key was read", idl.MultiGetRequest{HashKey: []byte("i"), MaxKvCount: 3, StopSortkey: []byte("s0002"), StopInclusive: true}, 0, 3, "s0000"},
		{"below the limit", idl.MultiGetRequest{HashKey: []byte("i"), MaxKvCount: 6}, 0, 5, "s0000"},
		{"filtered records count as iterations", idl.MultiGetRequest{HashKey: []byte("h"), StartInclusive: true,
			SortKeyFilterType: idl.FtMatchPostfix, SortKeyFilterPattern: []byte("3400")}, 7, 0, ""},
		{"prefix filter narrows the range", idl.MultiGetRequest{HashKey: []byte("h"), StartInclusive: true,
			SortKeyFilterType: idl.FtMatchPrefix, SortKeyFilterPattern: []byte("s340")}, 0, 10, "s3400"},
		{"start behind stop", idl.MultiGetRequest{HashKey: []byte("h"), StartSortkey: []byte("t"), StopSortkey: []byte("s")}, 0, 0, ""},
		{"one key", idl.MultiGetRequest{HashKey: []byte("h"), StartSortkey: []byte("s0007"), StopSortkey: []byte("s0007"),
			StartInclusive: true, StopInclusive: true}, 0, 1, "s0007"},
		{"one key, half open", idl.MultiGetRequest{HashKey: []byte("h"), StartSortkey: []byte("s0007"), StopSortkey: []byte("s0007"),
			StartInclusive: true}, 0, 0, ""},
		{"unknown filter", idl.MultiGetRequest{HashKey: []byte("h"), SortKeyFilterType: 4}, 4, 0, ""},
		{"unknown filter with keys", idl.MultiGetRequest{HashKey: []byte("h"), SortKeys: [][]byte{[]byte("s0000")}, SortKeyFilterType: 4}, 4, 0, ""},
		{"keys", idl.MultiGetRequest{HashKey: []byte("h"), SortKeys: [][]byte{[]byte("s0002"), []byte("no"), []byte("s0002"), []byte("s0001")}}, 0, 3, "s0002"},
		{"keys, count", idl.MultiGetRequest{HashKey: []byte("h"), SortKeys: [][]byte{[]byte("s0002"), []byte("s0001")}, MaxKvCount: 1}, 7, 1, "s0002"},
		{"keys, count, only missing ones left", idl.MultiGetRequest{HashKey: []byte("h"), SortKeys: [][]byte{[]byte("s0002"), []byte("no")}, MaxKvCount: 1}, 0, 1, "s0002"},
		{"keys, size", idl.MultiGetRequest{HashKey: []byte("h"), SortKeys: [][]byte{[]byte("s0002"), []byte("s0001")}, MaxKvSize: 15}, 7, 1, "s0002"},
		{"empty hash key", idl.MultiGetRequest{StartInclusive: true}, 0, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := ask[*idl.MultiGetResponse](r, idl.RPCMultiGet, &c.req)
			require.Equal(t, c.status, a.Error)
			require.Len(t, a.Kvs, c.n)
			if c.n > 0 {
				require.Equal(t, c.first, string(a.Kvs[0].Key))
				require.Equal(t, c.req.NoValue, len(a.Kvs[0].Value) == 0)
			}
		})
	}
	require.EqualValues(t, 3500, ask[*idl.CountResponse](r, idl.RPCSortkeyCount, idl.Blob("h")).Count)
	require.Zero(t, ask[*idl.CountResponse](r, idl.RPCSortkeyCount, idl.Blob("")).Count)
}

// TestTimeLimit lets the clock run with every look at it.
func TestTimeLimit(t *testing.T) {
	now := start
	r := newRig(t, func(o *Options) {
		o.Now = func() time.Time { now = now.Add(100 * time.Millisecond); return now }
	})
	r.fill("h", 2000, 1)
	r.SetEnvs(map[string]string{EnvIterationThreshold: "250"})

	mg := ask[*idl.MultiGetResponse](r, idl.RPCMultiGet, &idl.MultiGetRequest{HashKey: []byte("h")})
	require.EqualValues(t, idl.StatusIncomplete, mg.Error)
	require.NotEmpty(t, mg.Kvs)
	require.EqualValues(t, -1, ask[*idl.CountResponse](r, idl.RPCSortkeyCount, idl.Blob("h")).Count)
	full := &idl.GetScannerRequest{StartKey: []byte{0, 0}, StopKey: []byte{0xff, 0xff}, StartInclusive: true}
	page := ask[*idl.ScanResponse](r, idl.RPCGetScanner, full)
	require.EqualValues(t, idl.StatusIncomplete, page.Error)
	require.Zero(t, page.ContextID)
	require.NotEmpty(t, page.Kvs)
	require.Zero(t, r.Metrics().Scanners)

	r.SetEnvs(map[string]string{EnvIterationThreshold: "0"})
	require.EqualValues(t, 2000, ask[*idl.CountResponse](r, idl.RPCSortkeyCount, idl.Blob("h")).Count)
	page = ask[*idl.ScanResponse](r, idl.RPCGetScanner, full)
	require.Zero(t, page.Error)
	require.Len(t, page.Kvs, 1000)
}
