// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/test/onebox"
)

// key i of n: an 8-byte hash key, no sort key.
func key(i int) []byte {
	b := make([]byte, 8, 16)
	binary.BigEndian.PutUint64(b, uint64(i)*0x9e3779b97f4a7c15)
	return append(b, "-key-xyz"...)
}

// value is incompressible enough that no layer can cheat.
func value(rng *rand.Rand, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// drive runs op on that many goroutines for d and collects latencies in microseconds.
func drive(ctx context.Context, threads int, d time.Duration, keys int, op func(rng *rand.Rand, k int) error) (Case, error) {
	hist := make([]*hdrhistogram.Histogram, threads)
	errs := make([]int64, threads)
	var last error
	var mu sync.Mutex
	end := time.Now().Add(d)
	start := time.Now()
	var wg sync.WaitGroup
	for i := range threads {
		hist[i] = hdrhistogram.New(1, 60_000_000, 3)
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for {
				t0 := time.Now()
				if t0.After(end) || ctx.Err() != nil {
					return
				}
				if err := op(rng, rng.IntN(keys)); err != nil {
					errs[i]++
					mu.Lock()
					last = err
					mu.Unlock()
					continue
				}
				hist[i].RecordValue(max(time.Since(t0).Microseconds(), 1))
			}
		})
	}
	wg.Wait()
	took := time.Since(start).Seconds()
	all := hist[0]
	c := Case{Errors: errs[0]}
	for i := 1; i < threads; i++ {
		all.Merge(hist[i])
		c.Errors += errs[i]
	}
	c.Threads = threads
	c.Ops = all.TotalCount()
	c.OpsPerSec = float64(c.Ops) / took
	c.P50 = float64(all.ValueAtQuantile(50))
	c.P99 = float64(all.ValueAtQuantile(99))
	c.P999 = float64(all.ValueAtQuantile(99.9))
	if c.Ops == 0 {
		return c, fmt.Errorf("not one operation succeeded: %w", last)
	}
	return c, ctx.Err()
}

func clusterCase(ctx context.Context, c *onebox.Cluster, t *client.Table, op string, threads, size int, s settings) (Case, error) {
	val := value(rand.New(rand.NewPCG(1, 2)), size)
	do := func(_ *rand.Rand, k int) error { return t.Set(ctx, key(k), nil, val, 0) }
	if op == "get" {
		do = func(_ *rand.Rand, k int) error {
			v, err := t.Get(ctx, key(k), nil)
			if err == nil && len(v) != size {
				err = fmt.Errorf("got %d bytes, want %d", len(v), size)
			}
			return err
		}
	}
	if _, err := drive(ctx, threads, s.duration/5, s.keys, do); err != nil && op == "set" { // warm up
		return Case{}, err
	}
	before, err := serverCPU(c)
	if err != nil {
		return Case{}, err
	}
	out, err := drive(ctx, threads, s.duration, s.keys, do)
	if err != nil {
		return out, fmt.Errorf("%s with %d threads: %w", op, threads, err)
	}
	after, err := serverCPU(c)
	if err != nil {
		return Case{}, err
	}
	out.Target, out.Op, out.ValueSize = "pegasus", op, size
	out.CPUPerMillion = (after - before).Seconds() / float64(out.Ops) * 1e6
	return out, nil
}

// fill writes every key, so that each get finds one.
func fill(ctx context.Context, t *client.Table, size, keys int) error {
	val := value(rand.New(rand.NewPCG(1, 2)), size)
	next := make(chan int)
	errs := make(chan error, 64)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for k := range next {
				if err := t.Set(ctx, key(k), nil, val, 0); err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			}
		})
	}
	for k := range keys {
		next <- k
	}
	close(next)
	wg.Wait()
	select {
	case err := <-errs:
		return fmt.Errorf("fill: %w", err)
	default:
		return nil
	}
}

func serverCPU(c *onebox.Cluster) (time.Duration, error) {
	var sum time.Duration
	for _, i := range c.Instances {
		u, err := c.Usage(i)
		if err != nil {
			return 0, err
		}
		sum += u.CPU
	}
	return sum, nil
}

// failover kills a replica server and waits until a key of every partition was written again.
func failover(ctx context.Context, c *onebox.Cluster, t *client.Table, i onebox.Instance) (Failover, error) {
	if err := c.Kill(i); err != nil {
		return Failover{}, err
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, 64)
	for k := range errs { // 64 keys reach all of 8 partitions
		wg.Go(func() {
			for {
				one, stop := context.WithTimeout(ctx, time.Second)
				errs[k] = t.Set(one, key(k), nil, []byte("again"), 0)
				stop()
				if errs[k] == nil || ctx.Err() != nil {
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return Failover{}, fmt.Errorf("after kill -9 of replica server %d: %w", i.Port, err)
		}
	}
	f := Failover{Port: i.Port, Seconds: time.Since(start).Seconds()}
	return f, c.Start(context.WithoutCancel(ctx))
}

// profile saves what the first replica server does meanwhile, when asked for.
func profile(ctx context.Context, s settings, c *onebox.Cluster, op string, threads, size int) (stop func()) {
	if s.profile == "" || threads != s.threads[len(s.threads)-1] {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		secs := max(int(s.duration.Seconds()), 1)
		url := fmt.Sprintf("http://%s/pprof/profile?seconds=%d", c.Role(onebox.Replica)[0].Addr(), secs)
		req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Fprintln(os.Stderr, "profile:", err)
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		os.MkdirAll(s.profile, 0o755)
		os.WriteFile(filepath.Join(s.profile, fmt.Sprintf("%s-%d-%d.pprof", op, threads, size)), b, 0o644)
	}()
	return func() { <-done }
}
