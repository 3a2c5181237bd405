// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start is the moment at which test clocks begin, and startTS the same as an expire_ts.
var (
	start   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	startTS = int32(start.Unix() - epoch)
)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: start} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newShared(t testing.TB) *Shared {
	s := NewShared(SharedOptions{CacheBytes: 8 << 20})
	t.Cleanup(s.Close)
	return s
}

// testOptions opens on a fresh in-memory disk with a clock that stands still.
func testOptions(t testing.TB) Options {
	return Options{
		FS:     vfs.NewMem(),
		Dir:    "replica/data",
		GPID:   idl.GPID{AppID: 2, PartitionIndex: 3},
		Server: "127.0.0.1:34801",
		Shared: newShared(t),
		Now:    newClock().Now,
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func openDB(t testing.TB, o Options) *DB {
	t.Helper()
	d, err := Open(o)
	require.NoError(t, err)
	return d
}

// rig is a DB with shorthands.
type rig struct {
	t testing.TB
	*DB
}

func newRig(t testing.TB, change ...func(*Options)) rig {
	o := testOptions(t)
	for _, f := range change {
		f(&o)
	}
	d := openDB(t, o)
	t.Cleanup(func() {
		if !d.isClosing() {
			require.NoError(t, d.Close())
		}
	})
	return rig{t, d}
}

// write is a client write before it is encoded.
type write struct {
	code WriteCode
	arg  idl.Value
}

func payloadOf(writes ...write) []byte {
	var b []byte
	for _, w := range writes {
		b = AppendWrite(b, w.code, w.arg.Append(nil))
	}
	return b
}

// clone makes an answer outlive the call that gave it.
func clone[T any, P interface {
	*T
	idl.Value
	idl.Decoder
}](v P) P {
	c := P(new(T))
	if _, err := c.Decode(v.Append(nil)); err != nil {
		panic(err)
	}
	return c
}

func cloneValue(v idl.Value) idl.Value {
	switch v := v.(type) {
	case *idl.UpdateResponse:
		return clone(v)
	case *idl.MultiRemoveResponse:
		return clone(v)
	case *idl.IncrResponse:
		return clone(v)
	case *idl.CheckAndSetResponse:
		return clone(v)
	case *idl.CheckAndMutateResponse:
		return clone(v)
	case *idl.ReadResponse:
		return clone(v)
	case *idl.TtlResponse:
		return clone(v)
	case *idl.CountResponse:
		return clone(v)
	case *idl.MultiGetResponse:
		return clone(v)
	case *idl.BatchGetResponse:
		return clone(v)
	case *idl.ScanResponse:
		return clone(v)
	}
	panic("unknown answer")
}

// mutateAt applies one mutation and returns the answers.
func (r rig) mutateAt(now time.Time, writes ...write) []idl.Value {
	r.t.Helper()
	var answers []idl.Value
	err := r.Apply(r.Applied()+1, now.UnixMicro(), payloadOf(writes...), func(i int, v idl.Value) {
		require.Equal(r.t, len(answers), i)
		answers = append(answers, cloneValue(v))
	})
	require.NoError(r.t, err)
	require.Len(r.t, answers, len(writes))
	return answers
}

func (r rig) do(code WriteCode, arg idl.Value) idl.Value {
	r.t.Helper()
	return r.mutateAt(r.opts.Now(), write{code, arg})[0]
}

// put writes a record with an expire_ts.
func (r rig) put(h, s, v string, expireTS int32) {
	r.t.Helper()
	a := r.do(CodePut, &idl.UpdateRequest{Key: rawKey(h, s), Value: []byte(v), ExpireTsSeconds: expireTS}).(*idl.UpdateResponse)
	require.Zero(r.t, a.Error)
}

// capture is a Replier that keeps the answer.
type capture struct {
	v    idl.Value
	code idl.ErrorCode
	n    int
}

func (c *capture) Reply(v idl.Value)             { c.v, c.n = cloneValue(v), c.n+1 }
func (c *capture) ReplyError(code idl.ErrorCode) { c.code, c.n = code, c.n+1 }

// ask sends a read and returns its answer.
func ask[T any](r rig, name string, arg idl.Value) T {
	r.t.Helper()
	var c capture
	r.Read(name, arg.Append(nil), &c)
	require.Equal(r.t, 1, c.n, "one answer")
	require.Empty(r.t, c.code)
	return c.v.(T)
}

func (r rig) getValue(h, s string) (string, bool) {
	r.t.Helper()
	a := ask[*idl.ReadResponse](r, idl.RPCGet, idl.Blob(rawKey(h, s)))
	require.Contains(r.t, []int32{idl.StatusOK, idl.StatusNotFound}, a.Error)
	return string(a.Value), a.Error == idl.StatusOK
}

func rawKey(h, s string) []byte { return appendKey(nil, []byte(h), []byte(s))[1:] }

// dump returns all records of the client as they are stored.
func dump(t testing.TB, d *DB) map[string]string {
	it, err := d.pdb.NewIter(&pebble.IterOptions{LowerBound: dataStart, UpperBound: dataEnd})
	require.NoError(t, err)
	m := map[string]string{}
	for it.First(); it.Valid(); it.Next() {
		m[string(it.Key()[1:])] = string(it.Value())
	}
	require.NoError(t, it.Close())
	return m
}
