// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// window is how much time the shown percentiles cover at least.
const window = 10 * time.Second

// Values are sorted into buckets whose width is 1/16 of their magnitude, so a percentile is off
// by at most 6 %. Values above 2^40 (18 minutes in nanoseconds) share the last bucket.
const (
	subBits   = 4
	subCount  = 1 << subBits
	maxExp    = 40
	nBuckets  = (maxExp - subBits + 1) * subCount
	maxRecord = 1<<maxExp - 1
)

type histogram [nBuckets]atomic.Uint32

func bucketOf(n int64) int {
	if n < subCount {
		return int(max(n, 0))
	}
	if n > maxRecord {
		n = maxRecord
	}
	exp := bits.Len64(uint64(n)) - 1 // >= subBits
	return (exp-subBits+1)*subCount + int(n>>(exp-subBits))&(subCount-1)
}

// bucketValue is the middle of a bucket.
func bucketValue(i int) int64 {
	if i < subCount {
		return int64(i)
	}
	exp := i/subCount + subBits - 1
	low := int64(subCount+i%subCount) << (exp - subBits)
	return low + int64(1)<<(exp-subBits)/2
}

// A Percentile tells how large most of the recent values are: latencies and sizes. It costs no
// memory worth speaking of until the first value.
type Percentile struct {
	meta
	active atomic.Pointer[histogram]

	mu    sync.Mutex // guards what follows
	spare *histogram
	since time.Time // when active was begun
	shown [len(percentiles)]int64
}

var percentiles = [...]struct {
	field string
	share float64
}{{"p50", 0.50}, {"p90", 0.90}, {"p95", 0.95}, {"p99", 0.99}, {"p999", 0.999}}

// Percentile returns the percentiles of that name.
func (e *Entity) Percentile(name, unit, desc string) *Percentile {
	return get(e, name, func() *Percentile { return &Percentile{meta: meta{"Percentile", name, unit, desc}} })
}

// Observe adds a value; negative ones count as zero.
func (p *Percentile) Observe(n int64) {
	h := p.active.Load()
	if h == nil {
		h = p.begin()
	}
	h[bucketOf(n)].Add(1)
}

func (p *Percentile) begin() *histogram {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.active.Load(); h != nil {
		return h
	}
	h := new(histogram)
	p.since = time.Now()
	p.active.Store(h)
	return h
}

// values shows the values since the last look that is at least a window ago, so that two
// readers do not take each other's values away.
func (p *Percentile) values() []value {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.active.Load(); h != nil {
		p.compute(h)
		if now := time.Now(); now.Sub(p.since) >= window {
			next := p.spare
			if next == nil {
				next = new(histogram)
			}
			p.active.Store(next)
			p.since = now
			// A value that is being added to the old histogram right now is lost.
			for i := range h {
				h[i].Store(0)
			}
			p.spare = h
		}
	}
	out := make([]value, len(percentiles))
	for i, q := range percentiles {
		out[i] = value{q.field, p.shown[i]}
	}
	return out
}

func (p *Percentile) compute(h *histogram) {
	var counts [nBuckets]uint32
	var total uint64
	for i := range h {
		counts[i] = h[i].Load()
		total += uint64(counts[i])
	}
	if total == 0 && time.Since(p.since) < window {
		return // nothing new since the window before: that is still shown
	}
	i, seen := 0, uint64(0)
	for k, q := range percentiles {
		p.shown[k] = 0
		if total == 0 {
			continue
		}
		rank := max(uint64(q.share*float64(total)+0.5), 1)
		for ; i < nBuckets; i++ {
			if seen+uint64(counts[i]) >= rank {
				break
			}
			seen += uint64(counts[i])
		}
		p.shown[k] = bucketValue(min(i, nBuckets-1))
	}
}
