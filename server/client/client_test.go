// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/client/clienttest"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

var (
	metas = []string{"10.0.0.1:34601", "10.0.0.2:34601", "10.0.0.3:34601"}
	nodes = []string{"10.0.1.1:34801", "10.0.1.2:34801", "10.0.1.3:34801"}
)

// onFleet runs a test with a fleet that has the table temp of 4 partitions, in a bubble where
// time costs nothing.
func onFleet(t *testing.T, o client.Options, f func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))) // bubbles begin before Pegasus' epoch
		fleet := clienttest.New(t, metas, nodes)
		fleet.AddTable("temp", 4, 3)
		c := fleet.Client(t, o)
		f(t, fleet, c, c.Table("temp"))
	})
}

func b(s string) []byte { return []byte(s) }

func TestDataOperations(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		ctx := t.Context()
		require.NoError(t, temp.Set(ctx, b("h"), b("s"), b("v"), 0))
		v, err := temp.Get(ctx, b("h"), b("s"))
		require.NoError(t, err)
		require.Equal(t, "v", string(v))
		_, err = temp.Get(ctx, b("h"), b("none"))
		require.ErrorIs(t, err, client.ErrNotFound)

		require.NoError(t, temp.Set(ctx, b("h"), b("short"), b("v"), 1500*time.Millisecond))
		ttl, err := temp.TTL(ctx, b("h"), b("short"))
		require.NoError(t, err)
		require.Equal(t, 2*time.Second, ttl, "a time to live is rounded up")
		ttl, err = temp.TTL(ctx, b("h"), b("s"))
		require.NoError(t, err)
		require.Equal(t, client.NoExpiry, ttl)
		time.Sleep(2 * time.Second)
		ok, err := temp.Exist(ctx, b("h"), b("short"))
		require.NoError(t, err)
		require.False(t, ok)

		require.NoError(t, temp.Del(ctx, b("h"), b("s")))
		ok, err = temp.Exist(ctx, b("h"), b("s"))
		require.NoError(t, err)
		require.False(t, ok)

		n, err := temp.Incr(ctx, b("n"), b("c"), 5, client.KeepTTL)
		require.NoError(t, err)
		require.EqualValues(t, 5, n)
		_, err = temp.Incr(ctx, b("n"), b("c"), math.MaxInt64, client.KeepTTL)
		require.ErrorIs(t, err, client.ErrInvalidArgument)

		r, err := temp.CheckAndSet(ctx, b("n"), client.Check{SortKey: b("c"), Type: idl.CtValueIntGreater, Operand: b("4"), Return: true}, b("c"), b("7"), 0)
		require.NoError(t, err)
		require.Equal(t, client.CheckResult{Written: true, Exist: true, Value: b("5")}, r)
		r, err = temp.CheckAndSet(ctx, b("n"), client.Check{SortKey: b("c"), Type: idl.CtValueNotExist}, b("c"), b("8"), 0)
		require.NoError(t, err)
		require.False(t, r.Written)
		r, err = temp.CheckAndMutate(ctx, b("n"), client.Check{SortKey: b("c"), Type: idl.CtValueExist}, []client.Mutation{
			{SortKey: b("d"), Value: b("1")}, {SortKey: b("c"), Delete: true}})
		require.NoError(t, err)
		require.True(t, r.Written)
		count, err := temp.SortKeyCount(ctx, b("n"))
		require.NoError(t, err)
		require.EqualValues(t, 1, count)
	})
}

func TestMultiOperations(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		ctx := t.Context()
		kvs := []client.KeyValue{{SortKey: b("a"), Value: b("1")}, {SortKey: b("b"), Value: b("2")}, {SortKey: b("c"), Value: b("3")}}
		require.NoError(t, temp.MultiSet(ctx, b("h"), kvs, 0))
		got, complete, err := temp.MultiGet(ctx, b("h"), [][]byte{b("c"), b("x"), b("a")}, client.GetOptions{})
		require.NoError(t, err)
		require.True(t, complete)
		require.Equal(t, []client.KeyValue{kvs[2], kvs[0]}, got)
		got, complete, err = temp.MultiGetRange(ctx, b("h"), nil, nil, client.RangeOptions{GetOptions: client.GetOptions{MaxCount: 2}, Reverse: true})
		require.NoError(t, err)
		require.False(t, complete)
		require.Equal(t, kvs[1:], got)
		keys, complete, err := temp.MultiGetSortKeys(ctx, b("h"), 0)
		require.NoError(t, err)
		require.True(t, complete)
		require.Equal(t, [][]byte{b("a"), b("b"), b("c")}, keys)
		n, err := temp.MultiDel(ctx, b("h"), [][]byte{b("a"), b("b")})
		require.NoError(t, err)
		require.EqualValues(t, 2, n)
		require.ErrorIs(t, temp.MultiSet(ctx, b("h"), nil, 0), client.ErrInvalidArgument)

		for i := range 10 {
			require.NoError(t, temp.Set(ctx, fmt.Appendf(nil, "k%d", i), b("s"), fmt.Appendf(nil, "%d", i), 0))
		}
		values, err := temp.BatchGet(ctx, []client.Key{{b("k7"), b("s")}, {b("none"), b("s")}, {b("k0"), b("s")}, {b("h"), b("c")}})
		require.NoError(t, err)
		require.Equal(t, [][]byte{b("7"), nil, b("0"), b("3")}, values)
	})
}

func TestKeysGoToTheirPartition(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		var info client.Info
		ctx := client.WithInfo(t.Context(), &info)
		for hash, want := range map[string]int32{"a": 0, "h1": 2, "hello": 3, "ab": 2, "": 3} {
			require.NoError(t, temp.Set(ctx, b(hash), b("b"), nil, 0))
			require.Equal(t, idl.GPID{AppID: 1, PartitionIndex: want}, info.GPID, hash)
			require.Equal(t, nodes[int(want)%3], info.Server)
			require.Positive(t, info.Decree)
			route, err := temp.Route(ctx, b(hash), b("b"))
			require.NoError(t, err)
			require.Equal(t, info.GPID, route.GPID)
		}
		require.Equal(t, 1, fleet.Calls(idl.RPCQueryConfig), "one configuration query serves all operations")
	})
}

func TestBadArgumentsAreNotSent(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		require.ErrorIs(t, temp.Set(t.Context(), make([]byte, 65535), nil, nil, 0), client.ErrInvalidArgument)
		require.ErrorIs(t, temp.Set(t.Context(), b("h"), nil, nil, 100*365*24*time.Hour), client.ErrInvalidArgument)
		require.Zero(t, fleet.Calls(idl.RPCPut))
	})
}

func TestFollowsAMovedPrimary(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		ctx := t.Context()
		require.NoError(t, temp.Set(ctx, b("h1"), b("s"), b("1"), 0))
		fleet.SetPrimary(idl.GPID{AppID: 1, PartitionIndex: 2}, nodes[0])
		require.NoError(t, temp.Set(ctx, b("h1"), b("s"), b("2"), 0))
		_, err := temp.Incr(ctx, b("h1"), b("s"), 1, client.KeepTTL)
		require.NoError(t, err)
		require.Equal(t, 2, fleet.Calls(idl.RPCQueryConfig))
	})
}

func TestSurvivesADeadServer(t *testing.T) {
	for _, how := range []string{"process killed", "host cut off"} {
		t.Run(how, func(t *testing.T) {
			onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
				ctx := t.Context()
				require.NoError(t, temp.Set(ctx, b("h1"), b("s"), b("1"), 0)) // on nodes[2]
				if how == "process killed" {
					fleet.StopServer(nodes[2])
				} else {
					fleet.Net.Isolate("10.0.1.3", true)
				}
				go func() {
					time.Sleep(3 * time.Second)
					fleet.SetPrimary(idl.GPID{AppID: 1, PartitionIndex: 2}, nodes[0])
				}()
				ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
				defer cancel()
				start := time.Now()
				_, err := temp.Get(ctx, b("h1"), b("s"))
				require.NoError(t, err)
				require.Less(t, time.Since(start), 7*time.Second, "half of the deadline at most is lost on a silent server")
			})
		})
	}
}

func TestWaitsForAPrimary(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		gpid := idl.GPID{AppID: 1, PartitionIndex: 2}
		fleet.SetPrimary(gpid, "")
		err := temp.Set(t.Context(), b("h1"), b("s"), b("1"), 0)
		require.ErrorIs(t, err, client.ErrNoPrimary)
		require.NotContains(t, err.Error(), "may have been executed")
		go func() {
			time.Sleep(time.Second)
			fleet.SetPrimary(gpid, nodes[1])
		}()
		require.NoError(t, temp.Set(t.Context(), b("h1"), b("s"), b("1"), 0))
	})
}

// silent makes servers swallow a given number of requests of one kind.
func silent(fleet *clienttest.Fleet, rpc string, times int) *int {
	left := times
	fleet.Lock()
	defer fleet.Unlock()
	var mu sync.Mutex
	fleet.Intercept = func(_ string, r *wire.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.Name != rpc || left == 0 {
			return false
		}
		left--
		return true
	}
	return &left
}

func TestUnansweredWritesAreNotRepeated(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		silent(fleet, idl.RPCPut, 1)
		err := temp.Set(t.Context(), b("h"), b("s"), b("v"), 0)
		require.ErrorIs(t, err, idl.ErrTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var e *client.Error
		require.ErrorAs(t, err, &e)
		require.True(t, e.Ambiguous)
		require.Equal(t, 1, fleet.Calls(idl.RPCPut))
	})
}

func TestUnansweredWritesAreRepeatedOnRequest(t *testing.T) {
	onFleet(t, client.Options{RetryAmbiguousWrites: true}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		silent(fleet, idl.RPCPut, 1)
		require.NoError(t, temp.Set(t.Context(), b("h"), b("s"), b("v"), 0))
		silent(fleet, idl.RPCIncr, 1)
		_, err := temp.Incr(t.Context(), b("h"), b("n"), 1, 0)
		require.ErrorIs(t, err, idl.ErrTimeout)
		require.Equal(t, 1, fleet.Calls(idl.RPCIncr), "what is not idempotent is never repeated")
	})
}

func TestBrokenConnectionIsAmbiguousOnlyForWritesUnderWay(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		require.NoError(t, temp.Set(t.Context(), b("h1"), b("s"), b("v"), 0))
		silent(fleet, idl.RPCPut, 1)
		go func() {
			time.Sleep(time.Second)
			fleet.Net.DropHost("10.0.1.3")
		}()
		err := temp.Set(t.Context(), b("h1"), b("s"), b("v"), 0)
		var e *client.Error
		require.ErrorAs(t, err, &e)
		require.True(t, e.Ambiguous)
		require.Equal(t, idl.ErrNetworkFailure, e.Code)
		require.NoError(t, temp.Set(t.Context(), b("h1"), b("s"), b("v"), 0), "the next one redials")
	})
}

func TestErrorsAndWhatFollowsFromThem(t *testing.T) {
	for _, tt := range []struct {
		code    idl.ErrorCode
		retried bool // a write meeting it
		refresh bool
	}{
		{idl.ErrInvalidState, true, true},
		{idl.ErrObjectNotFound, true, true},
		{idl.ErrParentPartitionMisused, true, true},
		{idl.ErrSplitting, true, false},
		{idl.ErrBusy, true, false},
		{idl.ErrCapacityExceeded, true, false},
		{idl.ErrNotEnoughMember, true, true},
		{idl.ErrServiceNotActive, true, false},
		{idl.ErrInvalidData, false, false},
		{idl.ErrOperationDisabled, false, false},
		{idl.ErrHandlerNotFound, false, false},
		{idl.ErrACLDeny, false, false},
		{idl.ErrDiskInsufficient, false, false},
	} {
		t.Run(string(tt.code), func(t *testing.T) {
			onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
				var once sync.Once
				fleet.Lock()
				fleet.Intercept = func(_ string, r *wire.Request) bool {
					hit := false
					if r.Name == idl.RPCIncr {
						once.Do(func() {
							r.ReplyError(tt.code)
							hit = true
						})
					}
					return hit
				}
				fleet.Unlock()
				n, err := temp.Incr(t.Context(), b("h"), b("c"), 1, 0)
				if tt.retried {
					require.NoError(t, err)
					require.EqualValues(t, 1, n)
				} else {
					require.ErrorIs(t, err, tt.code)
					var e *client.Error
					require.ErrorAs(t, err, &e)
					require.False(t, e.Ambiguous)
					require.Equal(t, "incr", e.Op)
				}
				want := 1
				if tt.refresh {
					want++
				}
				require.Equal(t, want, fleet.Calls(idl.RPCQueryConfig))
			})
		})
	}
}

func TestUnknownErrorOfAWriteIsAmbiguous(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		fleet.Lock()
		fleet.Intercept = func(_ string, r *wire.Request) bool {
			if r.Name == idl.RPCPut {
				r.ReplyError(idl.ErrReplicationFailure)
				return true
			}
			return false
		}
		fleet.Unlock()
		var e *client.Error
		require.ErrorAs(t, temp.Set(t.Context(), b("h"), b("s"), nil, 0), &e)
		require.True(t, e.Ambiguous)
	})
}

func TestRefreshIsSharedAndPaced(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		require.NoError(t, temp.Set(t.Context(), b("h1"), b("s"), nil, 0))
		fleet.SetPrimary(idl.GPID{AppID: 1, PartitionIndex: 2}, "")
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				err := temp.Set(t.Context(), b("h1"), b("s"), nil, 0)
				if !errors.Is(err, client.ErrNoPrimary) {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		// 5 s of operations, at least 0.2 s between two refreshes.
		require.LessOrEqual(t, fleet.Calls(idl.RPCQueryConfig), 27)
	})
}

func TestDroppedAndUnknownTables(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		start := time.Now()
		_, err := c.Table("nosuch").Get(t.Context(), b("h"), b("s"))
		require.ErrorIs(t, err, client.ErrTableNotFound)
		require.Contains(t, err.Error(), "get on table nosuch")
		require.Less(t, time.Since(start), time.Second)

		require.NoError(t, temp.Set(t.Context(), b("h"), b("s"), nil, 0))
		require.NoError(t, c.DropTable(t.Context(), "temp", 0))
		fleet.Lock()
		for i := range fleet.Configs[1] {
			fleet.Configs[1][i].Primary = 0
		}
		fleet.Unlock()
		require.ErrorIs(t, temp.Set(t.Context(), b("h"), b("s"), nil, 0), client.ErrTableNotFound)
		_, err = c.RecallTable(t.Context(), 1, "")
		require.NoError(t, err)
	})
}

func TestSplitChildrenAreServedByTheirParents(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		fleet.Lock()
		for i := 2; i < 4; i++ { // as after doubling 2 to 4
			fleet.Configs[1][i].Ballot = -1
			fleet.Configs[1][i].Primary = 0
		}
		fleet.Unlock()
		var info client.Info
		require.NoError(t, temp.Set(client.WithInfo(t.Context(), &info), b("h1"), b("s"), nil, 0)) // hash mod 4 = 2
		require.EqualValues(t, 0, info.GPID.PartitionIndex)
	})
}

func TestCanceledContext(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		require.NoError(t, temp.Set(t.Context(), b("h"), b("s"), nil, 0))
		silent(fleet, idl.RPCGet, -1)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		start := time.Now()
		_, err := temp.Get(ctx, b("h"), b("s"))
		require.Error(t, err)
		require.Less(t, time.Since(start), 100*time.Millisecond)
		_, err = temp.Get(ctx, b("h"), b("s"))
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestClosedClient(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		c.Close()
		_, err := temp.Get(t.Context(), b("h"), b("s"))
		require.ErrorIs(t, err, client.ErrClosed)
		c.Close()
	})
}

func TestManyGoroutines(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		var wg sync.WaitGroup
		for g := range 64 {
			wg.Go(func() {
				for i := range 20 {
					key := fmt.Appendf(nil, "k%d-%d", g, i)
					if err := temp.Set(t.Context(), key, b("s"), key, 0); err != nil {
						t.Error(err)
					}
					if v, err := temp.Get(t.Context(), key, b("s")); err != nil || string(v) != string(key) {
						t.Errorf("%s: %q, %v", key, v, err)
					}
				}
			})
		}
		wg.Wait()
		require.Equal(t, 1, fleet.Calls(idl.RPCQueryConfig))
	})
}

func TestErrorText(t *testing.T) {
	err := &client.Error{Op: "set", Table: "temp", GPID: idl.GPID{AppID: 2, PartitionIndex: 3}, Server: "10.0.0.5:34801",
		Code: idl.ErrTimeout, Ambiguous: true, Attempts: 3}
	require.Equal(t, "set on table temp, partition 2.3 at 10.0.0.5:34801: ERR_TIMEOUT; gave up after 3 attempts; it may have been executed", err.Error())
	require.Equal(t, idl.ErrTimeout, client.CodeOf(fmt.Errorf("wrapped: %w", err)))
	require.Equal(t, idl.ErrOK, client.CodeOf(nil))
}

func TestOpenRefusesBadAddresses(t *testing.T) {
	for _, bad := range [][]string{nil, {""}, {"nohost"}, {"10.0.0.1:0"}, {"10.0.0.1:x"}, {":34601"}, {"10.0.0.1:99999"}} {
		_, err := client.Open(t.Context(), client.Options{Metas: bad})
		require.Error(t, err, "%v", bad)
	}
	addrs, err := client.ResolveAll(t.Context(), []string{"10.0.0.1:1", " 10.0.0.1:1 ", "localhost:2"})
	require.NoError(t, err)
	require.Len(t, addrs, 2)
	require.True(t, strings.HasPrefix(addrs[1].String(), "127.0.0.1:"))
}
