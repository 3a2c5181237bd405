// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// fullScan is how clients ask for everything in a partition.
func fullScan(batch int32) *idl.GetScannerRequest {
	return &idl.GetScannerRequest{StartKey: []byte{0, 0}, StopKey: []byte{0xff, 0xff}, StartInclusive: true, BatchSize: batch}
}

func (r rig) nextPage(id int64) *idl.ScanResponse {
	return ask[*idl.ScanResponse](r, idl.RPCScan, &idl.ScanRequest{ContextID: id})
}

func TestScanPages(t *testing.T) {
	r := newRig(t)
	r.fill("h", 25, 3)
	yes := true
	req := fullScan(10)
	req.ReturnExpireTs = &yes
	a := ask[*idl.ScanResponse](r, idl.RPCGetScanner, req)
	require.Len(t, a.Kvs, 10)
	require.Equal(t, rawKey("h", "s0000"), a.Kvs[0].Key)
	require.NotNil(t, a.Kvs[9].ExpireTsSeconds)
	require.Zero(t, *a.Kvs[9].ExpireTsSeconds)
	require.Positive(t, a.ContextID)
	require.Nil(t, a.KvCount)

	b := r.nextPage(a.ContextID)
	require.Len(t, b.Kvs, 10)
	require.NotEqual(t, a.ContextID, b.ContextID)
	require.EqualValues(t, idl.StatusNotFound, r.nextPage(a.ContextID).Error, "a context serves once")

	// Records that arrive and go between two pages.
	r.put("h", "s0020x", "new", 0)
	r.do(CodeRemove, idl.Blob(rawKey("h", "s0021")))
	c := r.nextPage(b.ContextID)
	require.Len(t, c.Kvs, 5)
	require.EqualValues(t, scanDone, c.ContextID)
	require.Zero(t, r.Metrics().Scanners)

	// A page that ends with the last record ends the scan.
	a = ask[*idl.ScanResponse](r, idl.RPCGetScanner, fullScan(25))
	require.Len(t, a.Kvs, 25)
	require.EqualValues(t, scanDone, a.ContextID)

	// The server's cap.
	r.fill("i", 1500, 1)
	for _, batch := range []int32{0, -1, 5000, 1000} {
		a = ask[*idl.ScanResponse](r, idl.RPCGetScanner, fullScan(batch))
		require.Len(t, a.Kvs, 1000)
		require.Positive(t, a.ContextID)
	}
}

func TestScanRanges(t *testing.T) {
	r := newRig(t)
	r.fill("ab", 3, 1)
	r.fill("abc", 3, 1)
	r.fill("b", 3, 1)
	scan := func(change func(q *idl.GetScannerRequest)) *idl.ScanResponse {
		q := fullScan(0)
		change(q)
		return ask[*idl.ScanResponse](r, idl.RPCGetScanner, q)
	}
	for _, c := range []struct {
		name   string
		change func(q *idl.GetScannerRequest)
		status int32
		n      int
	}{
		{"everything", func(*idl.GetScannerRequest) {}, 0, 9},
		{"empty stop key", func(q *idl.GetScannerRequest) { q.StopKey = nil }, 0, 0},
		{"both empty and inclusive", func(q *idl.GetScannerRequest) { q.StartKey, q.StopKey, q.StopInclusive = nil, nil, true }, 0, 0},
		{"start behind stop", func(q *idl.GetScannerRequest) { q.StartKey = rawKey("b", "x"); q.StopKey = rawKey("b", "a") }, 0, 0},
		{"exclusive start", func(q *idl.GetScannerRequest) { q.StartKey, q.StartInclusive = rawKey("b", "s0000"), false }, 0, 8},
		{"inclusive stop", func(q *idl.GetScannerRequest) { q.StopKey, q.StopInclusive = rawKey("b", "s0001"), true }, 0, 2},
		{"exclusive stop", func(q *idl.GetScannerRequest) { q.StopKey = rawKey("b", "s0001") }, 0, 1},
		{"hash key prefix", func(q *idl.GetScannerRequest) {
			q.HashKeyFilterType, q.HashKeyFilterPattern = idl.FtMatchPrefix, []byte("ab")
		}, 0, 6},
		{"hash key postfix", func(q *idl.GetScannerRequest) {
			q.HashKeyFilterType, q.HashKeyFilterPattern = idl.FtMatchPostfix, []byte("b")
		}, 0, 6},
		{"sort key anywhere", func(q *idl.GetScannerRequest) {
			q.SortKeyFilterType, q.SortKeyFilterPattern = idl.FtMatchAnywhere, []byte("002")
		}, 0, 3},
		{"unknown hash filter", func(q *idl.GetScannerRequest) { q.HashKeyFilterType = 4 }, 4, 0},
		{"unknown sort filter", func(q *idl.GetScannerRequest) { q.SortKeyFilterType = -1 }, 4, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := scan(c.change)
			require.Equal(t, c.status, a.Error)
			require.Len(t, a.Kvs, c.n)
			require.EqualValues(t, scanDone, a.ContextID)
		})
	}

	yes := true
	a := scan(func(q *idl.GetScannerRequest) { q.OnlyReturnCount, q.BatchSize = &yes, 4 })
	require.Empty(t, a.Kvs)
	require.EqualValues(t, 4, *a.KvCount)
	a = r.nextPage(a.ContextID)
	require.EqualValues(t, 4, *a.KvCount)
	a = scan(func(q *idl.GetScannerRequest) { q.OnlyReturnCount, q.StopKey = &yes, nil })
	require.Zero(t, *a.KvCount)
	a = scan(func(q *idl.GetScannerRequest) { q.NoValue = true })
	require.Empty(t, a.Kvs[0].Value)
}

// TestScanFilteredPages: a page whose records were all filtered is empty and goes on.
func TestScanFilteredPages(t *testing.T) {
	r := newRig(t)
	r.fill("h", 2500, 1)
	q := fullScan(0)
	q.SortKeyFilterType, q.SortKeyFilterPattern = idl.FtMatchPostfix, []byte("2400")
	a := ask[*idl.ScanResponse](r, idl.RPCGetScanner, q)
	require.Empty(t, a.Kvs)
	a = r.nextPage(a.ContextID)
	require.Empty(t, a.Kvs)
	require.Zero(t, a.Error)
	a = r.nextPage(a.ContextID)
	require.Len(t, a.Kvs, 1)
	require.EqualValues(t, scanDone, a.ContextID)
}

func TestScanValidatesHash(t *testing.T) {
	r := newRig(t, func(o *Options) { o.GPID.PartitionIndex = 2 }) // "h1" hashes to 2 of 8
	r.fill("h1", 2, 1)
	r.fill("a", 3, 1) // 4 of 8
	count := func(change func(*idl.GetScannerRequest)) int {
		q := fullScan(0)
		change(q)
		return len(ask[*idl.ScanResponse](r, idl.RPCGetScanner, q).Kvs)
	}
	no, yes := false, true
	asIs := func(*idl.GetScannerRequest) {}
	require.Equal(t, 5, count(asIs))
	r.SetEnvs(map[string]string{EnvValidatePartitionHash: "true"})
	require.Equal(t, 5, count(asIs), "partition count not known")
	r.SetPartitionCount(8)
	require.Equal(t, 2, count(asIs), "absent means true")
	require.Equal(t, 2, count(func(q *idl.GetScannerRequest) { q.ValidatePartitionHash = &yes }))
	require.Equal(t, 5, count(func(q *idl.GetScannerRequest) { q.ValidatePartitionHash = &no }))
	r.SetEnvs(nil)
	require.Equal(t, 5, count(asIs))
}

func TestScanContextsDie(t *testing.T) {
	c := newClock()
	r := newRig(t, func(o *Options) { o.Now, o.MaxScanners = c.Now, 3 })
	r.fill("h", 10, 1)
	open := func() int64 { return ask[*idl.ScanResponse](r, idl.RPCGetScanner, fullScan(2)).ContextID }

	id := open()
	c.advance(scanLife - time.Second)
	a := r.nextPage(id)
	require.Zero(t, a.Error)
	c.advance(scanLife)
	require.EqualValues(t, idl.StatusNotFound, r.nextPage(a.ContextID).Error, "too old")

	id = open()
	r.ClearScanner(id)
	require.EqualValues(t, idl.StatusNotFound, r.nextPage(id).Error, "cleared")
	r.ClearScanner(id)
	r.ClearScanner(-1)
	id = open()
	r.Read(idl.RPCClearScanner, idl.I64(id).Append(nil), nil)
	require.EqualValues(t, idl.StatusNotFound, r.nextPage(id).Error, "cleared by RPC, without an answer")

	ids := []int64{open(), open(), open(), open()}
	require.Equal(t, 3, r.Metrics().Scanners)
	require.EqualValues(t, idl.StatusNotFound, r.nextPage(ids[0]).Error, "the oldest makes room")
	require.Zero(t, r.nextPage(ids[1]).Error)

	c.advance(scanLife)
	open()
	require.Equal(t, 1, r.Metrics().Scanners, "the dead are removed when one comes")
}

func TestScanIdsAreNewAfterReopen(t *testing.T) {
	o := testOptions(t)
	seen := map[int64]bool{}
	for range 4 {
		d := openDB(t, o)
		r := rig{t, d}
		r.fill("h", 10, 1)
		id := ask[*idl.ScanResponse](r, idl.RPCGetScanner, fullScan(2)).ContextID
		require.Positive(t, id)
		require.False(t, seen[id])
		for old := range seen {
			require.EqualValues(t, idl.StatusNotFound, r.nextPage(old).Error)
		}
		seen[id] = true
		require.NoError(t, d.Close())
	}
}
