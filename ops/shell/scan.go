// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// match applies a filter to a key or value on this side.
func (f *filter) match(b []byte) bool {
	switch {
	case f.exact:
		return bytes.Equal(b, f.pattern)
	case f.typ == idl.FtMatchAnywhere:
		return bytes.Contains(b, f.pattern)
	case f.typ == idl.FtMatchPrefix:
		return bytes.HasPrefix(b, f.pattern)
	case f.typ == idl.FtMatchPostfix:
		return bytes.HasSuffix(b, f.pattern)
	}
	return true
}

// A scan is what the options common to hash_scan and full_scan say.
type scan struct {
	hashKeys, sortKeys, values filter
	maxCount                   int64 // -1: no limit
	timeout                    time.Duration
	detailed, noValue          bool
}

func (s *shell) parseScan(f *flags) (*scan, error) {
	sc := &scan{detailed: f.has("d"), noValue: f.has("i")}
	var err error
	if sc.sortKeys, err = parseFilter(f, "s", "y", "sort_key"); err != nil {
		return nil, err
	}
	if sc.values, err = parseFilter(f, "v", "z", "value"); err != nil {
		return nil, err
	}
	if sc.values.set() && sc.noValue {
		return nil, usageError("ERROR: no_value should not be set when value_filter_type is set")
	}
	if sc.maxCount, err = f.integer("n", "max_count", 1, -1); err != nil {
		return nil, err
	}
	ms, err := f.integer("t", "timeout_ms", 1, s.timeout.Milliseconds())
	if err != nil {
		return nil, err
	}
	sc.timeout = time.Duration(ms) * time.Millisecond
	return sc, nil
}

// printScan echoes the options. The misspelt word is what scripts expect.
func (s *shell) printScan(sc *scan, f *flags) {
	s.printFilter(s.out, "value", &sc.values)
	if f.has("o") {
		fmt.Fprintf(s.out, "output_file: %s\n", f.text("o", ""))
	}
	fmt.Fprintf(s.out, "max_count: %d\ntimout_ms: %d\ndetailed: %v\nno_value: %v\n\n",
		sc.maxCount, sc.timeout.Milliseconds(), sc.detailed, sc.noValue)
}

func (s *shell) hashScan(ctx context.Context, f *flags) error {
	r, err := parseRange(f)
	if err != nil {
		return err
	}
	sc, err := s.parseScan(f)
	if err != nil {
		return err
	}
	name, err := s.inUse()
	if err != nil {
		return err
	}
	s.printRange(s.out, r)
	s.printScan(sc, f)
	scanner := s.c.Table(name).HashScan(r.hashKey, r.start, r.stop, client.ScanOptions{
		StartExclusive: !r.startInclusive, StopInclusive: r.stopInclusive,
		SortKeys: r.sortKeys.onServer(), NoValue: sc.noValue, BatchSize: sc.batch(),
	})
	return s.runScan(ctx, f, sc, scanner)
}

func (s *shell) fullScan(ctx context.Context, f *flags) error {
	if len(f.args) > 0 {
		return usageError("")
	}
	sc, err := s.parseScan(f)
	if err != nil {
		return err
	}
	if sc.hashKeys, err = parseFilter(f, "h", "x", "hash_key"); err != nil {
		return err
	}
	partition, err := f.integer("p", "partition", 0, -1)
	if err != nil {
		return err
	}
	name, err := s.inUse()
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "partition: %s\n", partitionName(partition))
	s.printFilter(s.out, "hash_key", &sc.hashKeys)
	s.printFilter(s.out, "sort_key", &sc.sortKeys)
	s.printScan(sc, f)
	sctx, cancel := context.WithTimeout(ctx, sc.timeout)
	defer cancel()
	scanners, err := s.scanners(sctx, name, partition, 1, client.ScanOptions{
		HashKeys: sc.hashKeys.onServer(), SortKeys: sc.sortKeys.onServer(), NoValue: sc.noValue, BatchSize: sc.batch(),
	})
	if err != nil {
		return s.complain(err)
	}
	return s.runScan(ctx, f, sc, scanners[0])
}

func partitionName(p int64) string {
	if p < 0 {
		return "all"
	}
	return fmt.Sprint(p)
}

// scanners opens one partition, or all of them with at most limit scanners.
func (s *shell) scanners(ctx context.Context, table string, partition int64, limit int, o client.ScanOptions) ([]*client.Scanner, error) {
	t := s.c.Table(table)
	if partition < 0 {
		return t.FullScan(ctx, limit, o)
	}
	scanner, err := t.PartitionScan(ctx, int(partition), o)
	return []*client.Scanner{scanner}, err
}

// batch avoids reading much more than is wanted.
func (sc *scan) batch() int {
	if sc.maxCount > 0 && sc.maxCount < 100 && !sc.values.set() {
		return int(sc.maxCount) + 1
	}
	return 100
}

// accept applies what servers cannot: equality and filters of values.
func (sc *scan) accept(r *client.Record) bool {
	return (!sc.hashKeys.exact || sc.hashKeys.match(r.HashKey)) && (!sc.sortKeys.exact || sc.sortKeys.match(r.SortKey)) &&
		sc.values.match(r.Value)
}

func (s *shell) runScan(ctx context.Context, f *flags, sc *scan, scanner *client.Scanner) error {
	defer scanner.Close()
	w, done, err := s.output(f)
	if err != nil {
		return err
	}
	n, err := s.printScanned(ctx, w, sc, scanner)
	if err = done(err); err != nil {
		err = s.complain(err)
	}
	blank := "\n"
	if f.has("o") {
		blank = ""
	}
	fmt.Fprintf(s.out, "%s%d key-value pairs got.\n", blank, n)
	return err
}

func (s *shell) printScanned(ctx context.Context, w io.Writer, sc *scan, scanner *client.Scanner) (n int64, err error) {
	for sc.maxCount < 0 || n < sc.maxCount {
		r, err := next(ctx, scanner, sc.timeout)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return n, err
		}
		if !sc.accept(&r) {
			continue
		}
		line := s.record(r.HashKey, r.SortKey, r.Value, sc.noValue)
		if sc.detailed {
			line += fmt.Sprintf(" {app_id=%d, partition_index=%d, server=%s}", r.GPID.AppID, r.GPID.PartitionIndex, r.Server)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// next gives each record its own deadline.
func next(ctx context.Context, scanner *client.Scanner, timeout time.Duration) (client.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return scanner.Next(ctx)
}
