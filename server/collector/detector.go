// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/metrics"
)

const (
	// waitPause is the pause between tries to find the table.
	waitPause = 2 * time.Second
	// waitComplain is how often the log says that the table is still not found.
	waitComplain = 30 * time.Second
	// shapeEvery is how often the detector looks whether the table still is what it was.
	shapeEvery = time.Minute
	// shapeTimeout bounds a question about the table.
	shapeTimeout = 5 * time.Second
	// formingGrace is how long a partition that has never been available yet may take: a cluster
	// that is being started is no outage.
	formingGrace = time.Minute
)

// A detector measures the availability of one table.
type detector struct {
	opts  Options
	log   *slog.Logger
	table Table
	tally *tally
	alert *alerter

	detects, failures *metrics.Counter
	unavailable       *metrics.Gauge
	setTime, getTime  *metrics.Percentile
	available         map[string]*metrics.Gauge // by window
	mu                sync.Mutex
	partitions        []partition // guarded by mu
	begun             time.Time   // when the partitions began to be watched; guarded by mu
	waiting           string      // why there is nothing to detect; guarded by mu
	lastMinute        row         // guarded by mu
}

// A partition is what is known about one partition.
type partition struct {
	formed   bool // was available once, or had time enough to become so
	failures int  // in a row
	since    time.Time
	lastErr  error
}

func newDetector(o Options) *detector {
	s := o.Metrics.Server()
	d := &detector{
		opts:        o,
		log:         o.Log.With("table", o.DetectTable),
		table:       o.OpenTable(o.DetectTable),
		tally:       newTally(),
		waiting:     "not started",
		detects:     s.Counter("available_detect_count", metrics.Operations, "Availability detections, each a set and a get"),
		failures:    s.Counter("available_detect_failed_count", metrics.Operations, "Availability detections that failed"),
		unavailable: s.Gauge("available_detect_unavailable_partitions", metrics.Partitions, "Partitions whose last detection failed"),
		setTime:     s.Percentile("available_detect_set_latency_ns", metrics.NanoSeconds, "Latency of the set of a detection"),
		getTime:     s.Percentile("available_detect_get_latency_ns", metrics.NanoSeconds, "Latency of the get of a detection"),
		available:   map[string]*metrics.Gauge{},
	}
	for _, w := range windows {
		d.available[w.name] = s.Gauge("cluster_available_"+w.name, "PartsPerMillion", "Share of successful detections in the last whole "+w.name+", in millionths")
	}
	d.alert = &alerter{opts: &d.opts, log: d.log}
	return d
}

// run detects until ctx ends. It starts over whenever the table has changed its shape.
func (d *detector) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer d.alert.wg.Wait()
	wg.Go(func() { d.keepRows(ctx) })
	for ctx.Err() == nil {
		appID, n, ok := d.await(ctx)
		if !ok {
			return
		}
		d.watchAll(ctx, appID, n)
	}
}

// await returns the shape of the table once it has one.
func (d *detector) await(ctx context.Context) (appID int32, partitions int, ok bool) {
	begin := time.Now()
	var said time.Time
	for {
		appID, n, err := d.shape(ctx)
		if err == nil && n > 0 {
			d.log.Info("availability detection begins", "app_id", appID, "partitions", n, "interval", d.opts.DetectInterval, "waited", time.Since(begin).Round(time.Millisecond))
			return appID, n, true
		}
		if ctx.Err() != nil {
			return 0, 0, false
		}
		d.mu.Lock()
		d.partitions, d.waiting = nil, fmt.Sprint(err)
		d.mu.Unlock()
		d.unavailable.Set(0)
		if now := time.Now(); said.IsZero() || now.Sub(said) >= waitComplain {
			said = now
			d.log.Warn("availability detection waits for the table: create it, or name another with available_detect_app in [pegasus.collector]",
				"waited", time.Since(begin).Round(time.Second), "err", err)
		}
		if !pause(ctx, waitPause) {
			return 0, 0, false
		}
	}
}

// shape asks afresh for the table's id and number of partitions.
func (d *detector) shape(ctx context.Context) (appID int32, partitions int, err error) {
	ctx, cancel := context.WithTimeout(ctx, shapeTimeout)
	defer cancel()
	if err := d.table.Refresh(ctx); err != nil {
		return 0, 0, err
	}
	return d.table.Shape(ctx)
}

// watchAll runs one watcher per partition until the table is gone or has another shape.
func (d *detector) watchAll(ctx context.Context, appID int32, n int) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	d.mu.Lock()
	d.partitions, d.waiting, d.begun = make([]partition, n), "", time.Now()
	d.mu.Unlock()
	for i := range n {
		// Spread over the interval, so that the detection is no burst.
		offset := d.opts.DetectInterval * time.Duration(i) / time.Duration(n)
		wg.Go(func() { d.watch(ctx, idl.GPID{AppID: appID, PartitionIndex: int32(i)}, n, offset) })
	}
	for pause(ctx, shapeEvery) {
		// An unreachable meta server says nothing about the table.
		id, count, err := d.shape(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && (id != appID || count != n):
			d.log.Warn("the table has changed, availability detection starts over", "app_id", id, "partitions", count, "was_app_id", appID, "was_partitions", n)
			return
		case errors.Is(err, client.ErrTableNotFound):
			d.log.Warn("the table is gone, availability detection stops", "err", err)
			return
		}
	}
}

// watch detects one partition again and again.
func (d *detector) watch(ctx context.Context, gpid idl.GPID, n int, offset time.Duration) {
	key := detectKey(int(gpid.PartitionIndex), n)
	if !pause(ctx, offset) {
		return
	}
	tick := time.NewTicker(d.opts.DetectInterval)
	defer tick.Stop()
	for {
		err := d.detect(ctx, key)
		if ctx.Err() != nil {
			return // the failure may be ours
		}
		d.record(ctx, gpid, err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// detectKey returns a hash key that lies in partition i of n.
func detectKey(i, n int) []byte {
	for try := 0; ; try++ {
		key := fmt.Appendf(nil, "detect_available_p%d_%d", i, try)
		if idl.KeyHash(key, nil)%uint64(n) == uint64(i) {
			return key
		}
	}
}

const valuePrefix = "detect_value_"

// detect writes a record and reads it back.
func (d *detector) detect(ctx context.Context, key []byte) error {
	now := time.Now()
	value := strconv.AppendInt([]byte(valuePrefix), now.Unix(), 10)
	if err := d.timed(ctx, d.setTime, func(ctx context.Context) error {
		return d.table.Set(ctx, key, nil, value, 0)
	}); err != nil {
		return err
	}
	var got []byte
	if err := d.timed(ctx, d.getTime, func(ctx context.Context) (err error) {
		got, err = d.table.Get(ctx, key, nil)
		return err
	}); err != nil {
		return err
	}
	// A second collector may have written a newer value in between; an older one is a lost write.
	at, err := strconv.ParseInt(strings.TrimPrefix(string(got), valuePrefix), 10, 64)
	if err != nil || at < now.Unix() {
		return fmt.Errorf("read back %q after writing %q to %s: an acknowledged write is lost", got, value, key)
	}
	return nil
}

func (d *detector) timed(ctx context.Context, p *metrics.Percentile, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d.opts.DetectTimeout)
	defer cancel()
	begin := time.Now()
	err := f(ctx)
	p.Observe(int64(time.Since(begin)))
	return err
}

// record counts a detection and says when the partition's state changes.
func (d *detector) record(ctx context.Context, gpid idl.GPID, err error) {
	now := time.Now()
	d.mu.Lock()
	p := &d.partitions[gpid.PartitionIndex]
	if err == nil || now.Sub(d.begun) >= formingGrace {
		p.formed = true
	}
	if !p.formed {
		first := p.lastErr == nil
		p.lastErr = err
		d.mu.Unlock()
		if first {
			d.log.Info("partition is not available yet, it is counted from now on when it is", "gpid", gpid, "within", formingGrace, "err", err)
		}
		return
	}
	before := *p
	if err == nil {
		*p = partition{formed: true}
	} else {
		if p.failures == 0 {
			p.since = now
		}
		p.failures++
		p.lastErr = err
	}
	failures, since := p.failures, p.since
	down := int64(0)
	for i := range d.partitions {
		if d.partitions[i].failures > 0 {
			down++
		}
	}
	d.mu.Unlock()
	d.tally.add(now, err == nil)
	d.detects.Inc()
	if err != nil {
		d.failures.Inc()
	}
	d.unavailable.Set(down)
	switch {
	case err == nil && before.failures > 0:
		d.log.Info("partition is available again", "gpid", gpid, "failures", before.failures, "unavailable_for", now.Sub(before.since).Round(time.Millisecond))
	case failures == 1:
		d.log.Warn("partition is unavailable", "gpid", gpid, "err", err)
	}
	if failures > 0 && failures%d.opts.AlertFailCount == 0 {
		d.log.Error("ALERT: partition stays unavailable; look at it with 'app "+d.opts.DetectTable+" -d' in the shell",
			"gpid", gpid, "failures", failures, "since", since, "err", err)
		d.alert.send(ctx, int(gpid.PartitionIndex))
	}
}

// down returns the indexes of the partitions whose last detection failed.
func (d *detector) down() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	var down []int
	for i := range d.partitions {
		if d.partitions[i].failures > 0 {
			down = append(down, i)
		}
	}
	return down
}

// report is the text of the command collector.availability.
func (d *detector) report() string {
	down := d.down()
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "table %s: ", d.opts.DetectTable)
	if d.waiting != "" {
		fmt.Fprintf(&b, "waiting, %s", d.waiting)
	} else {
		fmt.Fprintf(&b, "%d partitions, %d unavailable", len(d.partitions), len(down))
	}
	fmt.Fprintf(&b, ", %d detections, %d failed since start", d.detects.Value(), d.failures.Value())
	if d.lastMinute.times > 0 {
		fmt.Fprintf(&b, "\nlast minute %s: %s", d.lastMinute.sortKey, d.lastMinute)
	}
	for _, i := range slices.Sorted(slices.Values(down)) {
		p := d.partitions[i]
		fmt.Fprintf(&b, "\npartition %d: %d failures since %s, %v", i, p.failures, p.since.Format(time.DateTime), p.lastErr)
	}
	return b.String()
}

// pause waits, and reports whether ctx still goes on.
func pause(ctx context.Context, t time.Duration) bool {
	if t <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
