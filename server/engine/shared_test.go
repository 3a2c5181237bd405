// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// TestManyReplicas writes to many DBs at once: unflushed data stays within the budget of the
// process, compactions within their slots, and all of them get their turn.
func TestManyReplicas(t *testing.T) {
	const replicas, rounds = 8, 120
	s := NewShared(SharedOptions{CacheBytes: 4 << 20, MemTableBytes: 2 << 20, MemTableSize: 1 << 20, Compactions: 1})
	defer s.Close()
	fs := vfs.NewMem()
	var wg sync.WaitGroup
	dbs := make([]*DB, replicas)
	for i := range dbs {
		dbs[i] = openDB(t, Options{FS: fs, Dir: fmt.Sprintf("reps/2.%d.pegasus/data", i), GPID: idl.GPID{AppID: 2, PartitionIndex: int32(i)},
			Shared: s, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	}
	value := make([]byte, 2000)
	for i, d := range dbs {
		wg.Go(func() {
			for n := range int64(rounds) {
				var ws []write
				for k := range 10 {
					ws = append(ws, write{CodePut, &idl.UpdateRequest{Key: rawKey(fmt.Sprint(i), fmt.Sprint((n*7+int64(k))%500)), Value: value}})
				}
				require.NoError(t, d.Apply(n+1, start.UnixMicro(), payloadOf(ws...), nil))
				require.Less(t, s.Metrics().UnflushedData, int64(10<<20))
				require.LessOrEqual(t, s.Metrics().Compacting, 1)
			}
		})
	}
	wg.Wait()
	var flushes, compactions int64
	for _, d := range dbs {
		m := d.Metrics()
		flushes += m.Flushes
		compactions += m.Compactions
		require.Positive(t, m.Flushes)
		require.NoError(t, d.Close())
	}
	require.Greater(t, flushes, int64(replicas))
	require.Positive(t, compactions)
	require.Zero(t, s.Metrics().UnflushedData)
	require.Zero(t, s.Metrics().Compacting)
}
