// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"context"
	"fmt"
	"io"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

func (s *shell) multiSet(ctx context.Context, f *flags) error {
	if len(f.args) < 3 || len(f.args)%2 != 1 {
		return usageError("")
	}
	var kvs []client.KeyValue
	seen := map[string]bool{}
	for i := 1; i < len(f.args); i += 2 {
		if seen[f.args[i]] {
			return usageError("ERROR: duplicate sort key %s", f.args[i])
		}
		seen[f.args[i]] = true
		kvs = append(kvs, client.KeyValue{SortKey: []byte(f.args[i]), Value: []byte(f.args[i+1])})
	}
	return s.operate(ctx, true, func(o *operation) error {
		if err := o.t.MultiSet(o.ctx, []byte(f.args[0]), kvs, 0); err != nil {
			return err
		}
		fmt.Fprintln(s.out, "OK")
		return nil
	})
}

func (s *shell) multiGet(ctx context.Context, f *flags) error {
	if len(f.args) < 1 {
		return usageError("")
	}
	hk := []byte(f.args[0])
	return s.operate(ctx, false, func(o *operation) error {
		kvs, complete, err := o.t.MultiGet(o.ctx, hk, asBytes(f.args[1:]), client.GetOptions{})
		if err != nil {
			return err
		}
		s.printRecords(hk, kvs, false)
		s.printGot(len(kvs), "key-value pairs", complete)
		return nil
	})
}

func asBytes(texts []string) [][]byte {
	var all [][]byte
	for _, t := range texts {
		all = append(all, []byte(t))
	}
	return all
}

func (s *shell) printRecords(hashKey []byte, kvs []client.KeyValue, noValue bool) {
	for _, kv := range kvs {
		fmt.Fprint(s.out, s.record(hashKey, kv.SortKey, kv.Value, noValue)+"\n")
	}
}

// record is a line of multi_get and the scans.
func (s *shell) record(hashKey, sortKey, value []byte, noValue bool) string {
	line := s.quoted(hashKey) + " : " + s.quoted(sortKey)
	if !noValue {
		line += " => " + s.quoted(value)
	}
	return line
}

func (s *shell) printGot(n int, what string, complete bool) {
	not := ""
	if !complete {
		not = "not "
	}
	fmt.Fprintf(s.out, "\n%d %s got, fetch %scompleted.\n", n, what, not)
}

// batchGet reads records of several hash keys at once.
func (s *shell) batchGet(ctx context.Context, f *flags) error {
	if len(f.args) < 2 || len(f.args)%2 != 0 {
		return usageError("")
	}
	var keys []client.Key
	for i := 0; i < len(f.args); i += 2 {
		keys = append(keys, client.Key{HashKey: []byte(f.args[i]), SortKey: []byte(f.args[i+1])})
	}
	name, err := s.inUse()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	values, err := s.c.Table(name).BatchGet(ctx, keys)
	if err != nil {
		return s.complain(err)
	}
	found := 0
	for i, v := range values {
		if v != nil {
			found++
			fmt.Fprintln(s.out, s.record(keys[i].HashKey, keys[i].SortKey, v, false))
		}
	}
	s.printGot(found, "key-value pairs", true)
	return nil
}

// A keyRange is what the options of multi_get_range, multi_del_range and hash_scan say.
type keyRange struct {
	hashKey, start, stop          []byte
	startInclusive, stopInclusive bool
	sortKeys                      filter
}

// A filter is a client.Filter, or the test for equality that servers do not know.
type filter struct {
	name    string // as given
	typ     idl.FilterType
	exact   bool
	pattern []byte
}

func (f *filter) set() bool { return f.typ != idl.FtNoFilter || f.exact }

// onServer is the part of the filter a server understands; it lets pass what match must check.
func (f *filter) onServer() client.Filter {
	if f.exact {
		return client.Filter{Type: idl.FtMatchPrefix, Pattern: f.pattern}
	}
	return client.Filter{Type: f.typ, Pattern: f.pattern}
}

// parseFilter reads a filter's type and pattern, the options typeKey and patternKey.
func parseFilter(f *flags, typeKey, patternKey, what string) (filter, error) {
	r := filter{name: f.text(typeKey, "no_filter"), pattern: []byte(f.text(patternKey, ""))}
	switch r.name {
	case "no_filter":
	case "anywhere":
		r.typ = idl.FtMatchAnywhere
	case "prefix":
		r.typ = idl.FtMatchPrefix
	case "postfix":
		r.typ = idl.FtMatchPostfix
	case "exact":
		r.exact = true
	default:
		return r, usageError("ERROR: invalid %s_filter_type param: %s", what, r.name)
	}
	if f.has(patternKey) && !r.set() {
		return r, usageError("ERROR: %s_filter_pattern is given without %s_filter_type", what, what)
	}
	return r, nil
}

func (s *shell) printFilter(w io.Writer, what string, r *filter) {
	fmt.Fprintf(w, "%s_filter_type: %s\n", what, r.name)
	if r.set() {
		fmt.Fprintf(w, "%s_filter_pattern: %s\n", what, s.quoted(r.pattern))
	}
}

func parseRange(f *flags) (*keyRange, error) {
	if len(f.args) != 3 {
		return nil, usageError("")
	}
	r := &keyRange{hashKey: []byte(f.args[0]), start: []byte(f.args[1]), stop: []byte(f.args[2])}
	var err error
	if r.startInclusive, err = f.boolean("a", "start_inclusive", true); err != nil {
		return nil, err
	}
	if r.stopInclusive, err = f.boolean("b", "stop_inclusive", false); err != nil {
		return nil, err
	}
	if r.sortKeys, err = parseFilter(f, "s", "y", "sort_key"); err != nil {
		return nil, err
	}
	return r, nil
}

func (s *shell) printRange(w io.Writer, r *keyRange) {
	fmt.Fprintf(w, "hash_key: %s\nstart_sort_key: %s\nstart_inclusive: %v\nstop_sort_key: %s\nstop_inclusive: %v\n",
		s.quoted(r.hashKey), s.quoted(r.start), r.startInclusive, s.quoted(r.stop), r.stopInclusive)
	s.printFilter(w, "sort_key", &r.sortKeys)
}

// options translates the range for the client.
func (r *keyRange) options(g client.GetOptions) client.RangeOptions {
	return client.RangeOptions{GetOptions: g, StartExclusive: !r.startInclusive, StopInclusive: r.stopInclusive, SortKeys: r.sortKeys.onServer()}
}

func (s *shell) multiGetRange(ctx context.Context, f *flags) error {
	r, err := parseRange(f)
	if err != nil {
		return err
	}
	maxCount, err := f.integer("n", "max_count", 1, -1)
	if err != nil {
		return err
	}
	return s.operate(ctx, false, func(o *operation) error {
		s.printRange(s.out, r)
		fmt.Fprintf(s.out, "max_count: %d\nno_value: %v\nreverse: %v\n\n", maxCount, f.has("i"), f.has("r"))
		opts := r.options(client.GetOptions{MaxCount: int(max(maxCount, 0)), NoValue: f.has("i")})
		opts.Reverse = f.has("r")
		kvs, complete, err := o.t.MultiGetRange(o.ctx, r.hashKey, r.start, r.stop, opts)
		if err != nil {
			return err
		}
		s.printRecords(r.hashKey, kvs, f.has("i"))
		s.printGot(len(kvs), "key-value pairs", complete)
		return nil
	})
}

func (s *shell) multiGetSortKeys(ctx context.Context, f *flags) error {
	if len(f.args) != 1 {
		return usageError("")
	}
	return s.operate(ctx, false, func(o *operation) error {
		keys, complete, err := o.t.MultiGetSortKeys(o.ctx, []byte(f.args[0]), 0)
		if err != nil {
			return err
		}
		for _, k := range keys {
			fmt.Fprintln(s.out, s.quoted(k))
		}
		s.printGot(len(keys), "sort keys", complete)
		return nil
	})
}

func (s *shell) multiDel(ctx context.Context, f *flags) error {
	if len(f.args) < 2 {
		return usageError("")
	}
	return s.operate(ctx, true, func(o *operation) error {
		n, err := o.t.MultiDel(o.ctx, []byte(f.args[0]), asBytes(f.args[1:]))
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "%d key-value pairs deleted.\n", n)
		return nil
	})
}

// delPage is how many sort keys multi_del_range removes at once.
const delPage = 100

// multiDelRange reads a page of sort keys, removes them and goes on behind them; -o and, without
// -i, the screen say which.
func (s *shell) multiDelRange(ctx context.Context, f *flags) error {
	r, err := parseRange(f)
	if err != nil {
		return err
	}
	name, err := s.inUse()
	if err != nil {
		return err
	}
	s.printRange(s.out, r)
	if f.has("o") {
		fmt.Fprintf(s.out, "output: %s\n", f.text("o", ""))
	}
	fmt.Fprintf(s.out, "silent: %v\n\n", f.has("i"))
	w, done, err := s.output(f)
	if err != nil {
		return err
	}
	if f.has("i") && !f.has("o") {
		w = io.Discard
	}
	n, err := s.delRange(ctx, s.c.Table(name), r, w)
	if err = done(err); err != nil {
		fmt.Fprintf(s.err, "%d sort keys deleted before the failure.\n", n)
		return s.complain(err)
	}
	fmt.Fprintf(s.out, "OK, %d sort keys deleted.\n", n)
	return nil
}

func (s *shell) delRange(ctx context.Context, t *client.Table, r *keyRange, w io.Writer) (int, error) {
	deleted := 0
	for {
		keys, complete, err := s.delOnePage(ctx, t, r)
		if err != nil {
			return deleted, err
		}
		for _, k := range keys {
			fmt.Fprintln(w, s.quoted(k))
		}
		deleted += len(keys)
		if complete || len(keys) == 0 {
			return deleted, nil
		}
		r.start, r.startInclusive = keys[len(keys)-1], false
	}
}

func (s *shell) delOnePage(ctx context.Context, t *client.Table, r *keyRange) (keys [][]byte, complete bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	kvs, complete, err := t.MultiGetRange(ctx, r.hashKey, r.start, r.stop, r.options(client.GetOptions{MaxCount: delPage, NoValue: true}))
	if err != nil || len(kvs) == 0 {
		return nil, complete, err
	}
	for _, kv := range kvs {
		keys = append(keys, kv.SortKey)
	}
	_, err = t.MultiDel(ctx, r.hashKey, keys)
	return keys, complete, err
}
