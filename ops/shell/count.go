// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pegasus-ops/pegasus-ops/server/client"
)

// splitsAtOnce is how many partitions count_data reads at the same time.
const splitsAtOnce = 16

// A tallySheet is one partition's part of count_data.
type tallySheet struct {
	rows, hashKeys                  atomic.Int64
	hashSize, sortSize, value, size *histogram
}

// A counting is one run of count_data.
type counting struct {
	scan
	table     string
	partition int64
	batch     int
	diff      bool // count hash keys too
	sizes     bool // make histograms of sizes
	limit     time.Duration
}

func (c *counting) countOnly() bool {
	return !c.diff && !c.sizes && !c.values.set() && !c.hashKeys.exact && !c.sortKeys.exact
}

func (s *shell) countData(ctx context.Context, f *flags) error {
	if len(f.args) > 0 {
		return usageError("")
	}
	name, err := s.inUse()
	if err != nil {
		return err
	}
	if !f.has("c") {
		return s.estimate(ctx, name)
	}
	c := &counting{table: name, diff: f.has("d"), sizes: f.has("a")}
	sc, err := s.parseScan(f)
	if err != nil {
		return err
	}
	c.scan = *sc
	if c.hashKeys, err = parseFilter(f, "h", "x", "hash_key"); err != nil {
		return err
	}
	batch, err1 := f.integer("b", "max_batch_count", 1, 500)
	partition, err2 := f.integer("p", "partition", 0, -1)
	seconds, err3 := f.integer("r", "run_seconds", 0, 0)
	if err := errors.Join(err1, err2, err3); err != nil {
		return usageError("%v", err)
	}
	c.batch, c.partition, c.limit = int(batch), partition, time.Duration(seconds)*time.Second
	s.printCounting(c)
	return s.runCounting(ctx, c)
}

func (s *shell) progress(format string, args ...any) {
	fmt.Fprintf(s.err, "INFO: "+format+"\n", args...)
}

func (s *shell) printCounting(c *counting) {
	s.progress("cluster_name = %s", s.name)
	s.progress("app_name = %s", c.table)
	s.progress("partition = %s", partitionName(c.partition))
	s.progress("max_batch_count = %d", c.batch)
	s.progress("timeout_ms = %d", c.timeout.Milliseconds())
	for _, x := range []struct {
		what string
		*filter
	}{{"hash_key", &c.hashKeys}, {"sort_key", &c.sortKeys}, {"value", &c.values}} {
		s.progress("%s_filter_type = %s", x.what, x.name)
		if x.set() {
			s.progress("%s_filter_pattern = %s", x.what, s.quoted(x.pattern))
		}
	}
	s.progress("diff_hash_key = %v", c.diff)
	s.progress("stat_size = %v", c.sizes)
	s.progress("run_seconds = %d", int64(c.limit.Seconds()))
	if c.countOnly() {
		s.progress("scanner only return kv count, not return value")
	}
}

func (s *shell) runCounting(ctx context.Context, c *counting) error {
	octx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	scanners, err := s.scanners(octx, c.table, c.partition, 0, client.ScanOptions{
		HashKeys: c.hashKeys.onServer(), SortKeys: c.sortKeys.onServer(), BatchSize: c.batch,
		NoValue: !c.sizes && !c.values.set(), CountOnly: c.countOnly(),
	})
	if err != nil {
		return s.complain(err)
	}
	_, partitions, err := s.c.Table(c.table).Shape(octx)
	if err != nil {
		return s.complain(err)
	}
	s.progress("open app scanner succeed, partition_count = %d", partitions)
	s.progress("prepare scanners succeed, split_count = %d", len(scanners))

	rctx, stop := context.WithCancel(ctx)
	defer stop()
	if c.limit > 0 {
		time.AfterFunc(c.limit, stop)
	}
	sheets := make([]tallySheet, len(scanners))
	var finished atomic.Int32
	var g errgroup.Group
	g.SetLimit(splitsAtOnce)
	results := make(chan error, 1)
	go func() {
		for i, scanner := range scanners {
			g.Go(func() error {
				defer finished.Add(1)
				defer scanner.Close()
				return c.count(rctx, scanner, &sheets[i])
			})
		}
		results <- g.Wait()
	}()
	err = s.watchCounting(c, sheets, &finished, results)
	timeUp := rctx.Err() != nil && ctx.Err() == nil
	if err != nil && !timeUp {
		s.complain(err)
		return s.fail("Count aborted: the sums above are incomplete.")
	}
	s.printCounts(c, sheets, timeUp)
	return nil
}

// watchCounting reports every second until the counting ends.
func (s *shell) watchCounting(c *counting, sheets []tallySheet, finished *atomic.Int32, results <-chan error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := int64(0)
	report := func(second int) {
		rows, hashKeys := sums(sheets)
		s.progress("processed for %d seconds, (%d/%d) splits, total %d rows%s, last second %d rows", second,
			finished.Load(), len(sheets), rows, c.hashKeyText(hashKeys), rows-last)
		last = rows
	}
	for second := 1; ; second++ {
		select {
		case <-tick.C:
			report(second)
		case err := <-results:
			report(second)
			for i := range sheets {
				s.progress("split[%d]: %d rows%s", i, sheets[i].rows.Load(), c.hashKeyText(sheets[i].hashKeys.Load()))
			}
			return err
		}
	}
}

func sums(sheets []tallySheet) (rows, hashKeys int64) {
	for i := range sheets {
		rows += sheets[i].rows.Load()
		hashKeys += sheets[i].hashKeys.Load()
	}
	return rows, hashKeys
}

func (c *counting) hashKeyText(n int64) string {
	if !c.diff {
		return ""
	}
	return fmt.Sprintf(" (%d hash keys)", n)
}

// count reads one partition.
func (c *counting) count(ctx context.Context, scanner *client.Scanner, sheet *tallySheet) error {
	if c.countOnly() {
		_, err := scanner.Count(ctx, func(change int) { sheet.rows.Add(int64(change)) })
		return err
	}
	if c.sizes {
		sheet.hashSize, sheet.sortSize, sheet.value, sheet.size = newHistogram(), newHistogram(), newHistogram(), newHistogram()
	}
	var lastHashKey []byte
	for first := true; ; {
		r, err := next(ctx, scanner, c.timeout)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !c.accept(&r) {
			continue
		}
		sheet.rows.Add(1)
		// The records of a hash key stand together.
		if first || string(r.HashKey) != string(lastHashKey) {
			sheet.hashKeys.Add(1)
			first, lastHashKey = false, r.HashKey
		}
		if c.sizes {
			sheet.hashSize.add(uint64(len(r.HashKey)))
			sheet.sortSize.add(uint64(len(r.SortKey)))
			sheet.value.add(uint64(len(r.Value)))
			sheet.size.add(uint64(len(r.HashKey) + len(r.SortKey) + len(r.Value)))
		}
	}
}

func (s *shell) printCounts(c *counting, sheets []tallySheet, timeUp bool) {
	rows, hashKeys := sums(sheets)
	done := "done"
	if timeUp {
		done = "stopped by run_seconds"
	}
	fmt.Fprintf(s.out, "Count %s, total %d rows.%s\n", done, rows, c.hashKeyText(hashKeys))
	if !c.sizes {
		return
	}
	fmt.Fprintln(s.out)
	for _, h := range []struct {
		name string
		of   func(*tallySheet) *histogram
	}{
		{"hash_key_size", func(t *tallySheet) *histogram { return t.hashSize }},
		{"sort_key_size", func(t *tallySheet) *histogram { return t.sortSize }},
		{"value_size", func(t *tallySheet) *histogram { return t.value }},
		{"row_size", func(t *tallySheet) *histogram { return t.size }},
	} {
		sum := newHistogram()
		for i := range sheets {
			if part := h.of(&sheets[i]); part != nil {
				sum.merge(part)
			}
		}
		sum.print(s.out, h.name)
	}
	fmt.Fprintln(s.out)
}
