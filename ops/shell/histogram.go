// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// bucketLimits are the upper ends of a histogram's buckets: growing by half, rounded down to two
// digits. They and the layout are those of RocksDB's statistics, which the original prints.
var bucketLimits = func() []uint64 {
	limits := []uint64{1, 2}
	for v := 2.0 * 1.5; v <= math.MaxUint64/2; v *= 1.5 {
		n, scale := uint64(v), uint64(1)
		for n/10 > 10 {
			n /= 10
			scale *= 10
		}
		limits = append(limits, n*scale)
	}
	return limits
}()

// A histogram counts sizes.
type histogram struct {
	buckets         []uint64
	count, min, max uint64
	sum, squares    float64
}

func newHistogram() *histogram { return &histogram{buckets: make([]uint64, len(bucketLimits))} }

func (h *histogram) add(v uint64) {
	i, _ := slices.BinarySearch(bucketLimits, v)
	h.buckets[min(i, len(bucketLimits)-1)]++
	if h.count == 0 || v < h.min {
		h.min = v
	}
	h.max = max(h.max, v)
	h.count++
	h.sum += float64(v)
	h.squares += float64(v) * float64(v)
}

// merge adds the counts of another histogram.
func (h *histogram) merge(o *histogram) {
	if o.count == 0 {
		return
	}
	if h.count == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.count += o.count
	h.sum += o.sum
	h.squares += o.squares
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
}

// lower is the lower end of a bucket.
func lower(i int) uint64 {
	if i == 0 {
		return 0
	}
	return bucketLimits[i-1]
}

// percentile is interpolated within its bucket.
func (h *histogram) percentile(p float64) float64 {
	threshold := float64(h.count) * p / 100
	below := 0.0
	for i, n := range h.buckets {
		if n > 0 && below+float64(n) >= threshold {
			lo, hi := float64(lower(i)), float64(bucketLimits[i])
			v := lo + (hi-lo)*(threshold-below)/float64(n)
			return min(max(v, float64(h.min)), float64(h.max))
		}
		below += float64(n)
	}
	return float64(h.max)
}

// histogramWidth is the length of the lines around a histogram.
const histogramWidth = 71

func (h *histogram) print(w io.Writer, name string) {
	name = "[" + name + "]"
	right := (histogramWidth - len(name)) / 2
	fmt.Fprintf(w, "%s%s%s\n", strings.Repeat("=", histogramWidth-len(name)-right), name, strings.Repeat("=", right))
	average, deviation := 0.0, 0.0
	if n := float64(h.count); n > 0 {
		average = h.sum / n
		deviation = math.Sqrt(max(0, (h.squares*n-h.sum*h.sum)/(n*n)))
	}
	fmt.Fprintf(w, "Count: %d Average: %.4f  StdDev: %.2f\n", h.count, average, deviation)
	fmt.Fprintf(w, "Min: %d  Median: %.4f  Max: %d\n", h.min, h.percentile(50), h.max)
	fmt.Fprintf(w, "Percentiles: P50: %.2f P75: %.2f P99: %.2f P99.9: %.2f P99.99: %.2f\n",
		h.percentile(50), h.percentile(75), h.percentile(99), h.percentile(99.9), h.percentile(99.99))
	fmt.Fprintln(w, strings.Repeat("-", 54))
	sum := uint64(0)
	for i, n := range h.buckets {
		if n == 0 {
			continue
		}
		sum += n
		open := '('
		if i == 0 {
			open = '['
		}
		share := 100 * float64(n) / float64(h.count)
		fmt.Fprintf(w, "%c %7d, %7d ] %8d %7.3f%% %7.3f%% %s\n", open, lower(i), bucketLimits[i], n, share,
			100*float64(sum)/float64(h.count), strings.Repeat("#", int(share/5+0.5)))
	}
	fmt.Fprintln(w, strings.Repeat("=", histogramWidth))
}
