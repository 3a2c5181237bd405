// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// windows are the spans of time that rows are kept of. key is the layout of the sort key, whose
// change is the end of a span.
var windows = []struct{ name, key string }{
	{"minute", "2006-01-02 15:04"},
	{"hour", "2006-01-02 15"},
	{"day", "2006-01-02"},
}

// A row is what was counted in one span of time.
type row struct {
	window    string
	sortKey   string
	times     int64
	successes int64
}

func (r row) hashKey() string { return "detect_available_" + r.window }

// ppm is the availability in millionths.
func (r row) ppm() int64 {
	if r.times == 0 {
		return 0
	}
	return r.successes * 1_000_000 / r.times
}

func (r row) value() string { return fmt.Sprintf("%d,%d,%d", r.times, r.successes, r.ppm()) }

func (r row) String() string {
	return fmt.Sprintf("%d of %d detections succeeded, %.4f%%", r.successes, r.times, float64(r.ppm())/10000)
}

// A tally counts detections by minute, hour and day.
type tally struct {
	mu   sync.Mutex
	open []row // one per window
	done []row // ended, oldest first
}

func newTally() *tally {
	t := &tally{open: make([]row, len(windows))}
	for i, w := range windows {
		t.open[i].window = w.name
	}
	return t
}

func (t *tally) add(now time.Time, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn(now)
	for i := range t.open {
		t.open[i].times++
		if ok {
			t.open[i].successes++
		}
	}
}

// turn ends the spans that now does not belong to.
func (t *tally) turn(now time.Time) {
	for i, w := range windows {
		r := &t.open[i]
		key := now.Format(w.key)
		if r.sortKey == key {
			continue
		}
		if r.times > 0 {
			t.done = append(t.done, *r)
		}
		*r = row{window: w.name, sortKey: key}
	}
}

// ended takes the rows of the spans that are over.
func (t *tally) ended(now time.Time) []row {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn(now)
	rows := t.done
	t.done = nil
	return rows
}

const (
	rowTimeout = 5 * time.Second
	// maxRows bounds the rows that wait for a table that cannot be written: a day's worth.
	maxRows = 24*60 + 24 + 1
)

// keepRows writes rows as their spans end, and says each minute what was counted. Rows that
// cannot be written are tried again a minute later.
func (d *detector) keepRows(ctx context.Context) {
	var waiting []row
	for {
		now := time.Now()
		next := now.Truncate(time.Minute).Add(time.Minute)
		if !pause(ctx, next.Sub(now)) {
			return
		}
		for _, r := range d.tally.ended(time.Now()) {
			d.available[r.window].Set(r.ppm())
			if r.window == "minute" {
				d.summary(r)
			}
			waiting = append(waiting, r)
		}
		if n := len(waiting) - maxRows; n > 0 {
			d.log.Error("rows of availability are given up: the table could not be written for too long", "rows", n, "oldest", waiting[0].sortKey)
			waiting = waiting[n:]
		}
		waiting = d.writeRows(ctx, waiting)
	}
}

func (d *detector) summary(r row) {
	d.mu.Lock()
	d.lastMinute = r
	n := len(d.partitions)
	d.mu.Unlock()
	args := []any{"minute", r.sortKey, "detections", r.times, "failed", r.times - r.successes,
		"availability", fmt.Sprintf("%.4f%%", float64(r.ppm())/10000), "partitions", n}
	if down := d.down(); len(down) > 0 {
		d.log.Warn("availability", append(args, "unavailable", fmt.Sprint(down[:min(len(down), 20)]))...)
		return
	}
	d.log.Info("availability", args...)
}

// writeRows returns the rows that are still to be written.
func (d *detector) writeRows(ctx context.Context, rows []row) []row {
	for i, r := range rows {
		rctx, cancel := context.WithTimeout(ctx, rowTimeout)
		err := d.table.Set(rctx, []byte(r.hashKey()), []byte(r.sortKey), []byte(r.value()), d.opts.RowTTL)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				d.log.Warn("a row of availability cannot be written, it is tried again in a minute", "row", r.hashKey()+" "+r.sortKey, "waiting", len(rows)-i, "err", err)
			}
			return rows[i:]
		}
	}
	return nil
}
