// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/client"
)

// A ledger writes ever larger numbers under its own keys and remembers, for each key, the last
// number that was acknowledged and the last that was tried. Whatever happened, a read must
// later find a number between the two.
type ledger struct {
	table *client.Table
	stop  context.CancelFunc
	wg    sync.WaitGroup
	keys  []*entry
	acks  atomic.Int64
	fails atomic.Int64
}

type entry struct {
	hash, sort []byte
	mu         sync.Mutex
	acked      int64
	tried      int64
}

const (
	ledgerWriters = 16
	keysPerWriter = 25
)

// startLedger writes with several goroutines until halt.
func startLedger(t *testing.T, table *client.Table) *ledger {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &ledger{table: table, stop: cancel}
	for w := range ledgerWriters {
		mine := make([]*entry, keysPerWriter)
		for i := range mine {
			mine[i] = &entry{hash: fmt.Appendf(nil, "ledger-%d-%d", w, i), sort: []byte("n")}
		}
		l.keys = append(l.keys, mine...)
		l.wg.Go(func() { l.write(ctx, mine) })
	}
	t.Cleanup(l.halt)
	return l
}

func (l *ledger) write(ctx context.Context, mine []*entry) {
	for n := int64(1); ctx.Err() == nil; n++ {
		for _, e := range mine {
			if ctx.Err() != nil {
				return
			}
			e.mu.Lock()
			e.tried++
			v := e.tried
			e.mu.Unlock()
			one, cancel := context.WithTimeout(ctx, 2*time.Second)
			err := l.table.Set(one, e.hash, e.sort, strconv.AppendInt(nil, v, 10), 0)
			cancel()
			if err != nil {
				l.fails.Add(1)
				continue
			}
			l.acks.Add(1)
			e.mu.Lock()
			e.acked = v
			e.mu.Unlock()
		}
	}
}

func (l *ledger) halt() {
	l.stop()
	l.wg.Wait()
}

// verify reads every key back.
func (l *ledger) verify(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lost := 0
	for _, e := range l.keys {
		e.mu.Lock()
		acked, tried := e.acked, e.tried
		e.mu.Unlock()
		b, err := l.table.Get(ctx, e.hash, e.sort)
		if errors.Is(err, client.ErrNotFound) {
			b, err = []byte("0"), nil
		}
		if err != nil {
			t.Fatalf("read %s back: %v", e.hash, err)
		}
		n, err := strconv.ParseInt(string(b), 10, 64)
		if err != nil || n < acked || n > tried {
			lost++
			t.Errorf("%s holds %q: %d was acknowledged, %d tried", e.hash, b, acked, tried)
		}
	}
	t.Logf("%d acknowledged and %d failed writes under %d keys, %d keys wrong", l.acks.Load(), l.fails.Load(), len(l.keys), lost)
	if l.acks.Load() == 0 {
		t.Error("nothing was written")
	}
}

// writable waits until a key of each partition can be written and returns how long that took.
func writable(t *testing.T, table *client.Table, limit time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 64 { // enough keys to meet every one of eight partitions
		wg.Go(func() {
			var err error
			for ctx.Err() == nil {
				one, stop := context.WithTimeout(ctx, time.Second)
				err = table.Set(one, fmt.Appendf(nil, "probe-%d", i), nil, []byte("x"), 0)
				stop()
				if err == nil {
					return
				}
				select {
				case <-time.After(50 * time.Millisecond):
				case <-ctx.Done():
				}
			}
			t.Errorf("key probe-%d cannot be written after %v: %v", i, limit, err)
		})
	}
	wg.Wait()
	return time.Since(start)
}
