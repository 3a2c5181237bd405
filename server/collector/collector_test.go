// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/command"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/metrics"
)

// fakeTable is a table whose partitions can be taken down.
type fakeTable struct {
	mu         sync.Mutex
	appID      int32
	partitions int
	missing    error        // what Refresh says, if anything
	down       map[int]bool // partitions that do not answer
	hang       bool         // they answer never instead of with an error
	data       map[string]string
	ttl        map[string]time.Duration
	sets       int
	forget     bool // acknowledge writes and drop them
}

func newTable(partitions int) *fakeTable {
	return &fakeTable{appID: 2, partitions: partitions, down: map[int]bool{}, data: map[string]string{}, ttl: map[string]time.Duration{}}
}

func (f *fakeTable) with(change func(*fakeTable)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeTable) Refresh(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.missing
}

func (f *fakeTable) Shape(context.Context) (int32, int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.appID, f.partitions, f.missing
}

func (f *fakeTable) reach(ctx context.Context, hashKey []byte) error {
	f.mu.Lock()
	broken := f.down[int(idl.KeyHash(hashKey, nil)%uint64(f.partitions))]
	hang := f.hang
	f.mu.Unlock()
	if _, ok := ctx.Deadline(); !ok {
		panic("a call without a deadline")
	}
	if broken && hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if broken {
		return idl.ErrNotEnoughMember
	}
	return nil
}

func (f *fakeTable) Set(ctx context.Context, hashKey, sortKey, value []byte, ttl time.Duration) error {
	if err := f.reach(ctx, hashKey); err != nil {
		return err
	}
	f.with(func(f *fakeTable) {
		f.sets++
		if !f.forget {
			f.data[string(hashKey)+"/"+string(sortKey)] = string(value)
			f.ttl[string(hashKey)+"/"+string(sortKey)] = ttl
		}
	})
	return nil
}

func (f *fakeTable) Get(ctx context.Context, hashKey, sortKey []byte) ([]byte, error) {
	if err := f.reach(ctx, hashKey); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return []byte(f.data[string(hashKey)+"/"+string(sortKey)]), nil
}

// rows returns what was written under a hash key, by sort key.
func (f *fakeTable) rows(hashKey string) map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]string{}
	for k, v := range f.data {
		if rest, ok := strings.CutPrefix(k, hashKey+"/"); ok {
			out[rest] = v
		}
	}
	return out
}

// run starts a collector on the table, and stops it after f. It returns the log.
func run(t *testing.T, table *fakeTable, change func(*Options), f func(o *Options)) string {
	t.Helper()
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		o := DefaultOptions()
		o.ClusterName = "c1"
		o.OpenTable = func(string) Table { return table }
		o.Metrics = metrics.New(metrics.Identity{})
		o.Commands = command.New()
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		if change != nil {
			change(&o)
		}
		s, err := Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		f(&o)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
		if got := o.Commands.Execute(availabilityCommand, nil); !strings.Contains(got, "unknown command") {
			t.Errorf("the command outlives the collector: %s", got)
		}
	})
	return log.String()
}

// Fake time begins at midnight UTC, 2000-01-01; rows carry local time.
func init() { time.Local = time.UTC }

func TestEveryPartitionIsDetectedAndCounted(t *testing.T) {
	table := newTable(4)
	log := run(t, table, nil, func(o *Options) {
		time.Sleep(time.Hour + 29500*time.Millisecond) // not on a tick
		if n := o.Metrics.Server().Counter("available_detect_count", "", "").Value(); n != 4*(3600+30)/3 {
			t.Errorf("%d detections in an hour and 30 s on 4 partitions, want %d", n, 4*(3600+30)/3)
		}
		if n := o.Metrics.Server().Gauge("cluster_available_hour", "", "").Value(); n != 1_000_000 {
			t.Errorf("availability of the hour is %d", n)
		}
		if got := o.Commands.Execute(availabilityCommand, nil); !strings.HasPrefix(got, "table temp: 4 partitions, 0 unavailable, 4840 detections, 0 failed since start\nlast minute 2000-01-01 00:59: 80 of 80") {
			t.Errorf("report: %s", got)
		}
	})
	if got := table.rows("detect_available_minute"); len(got) != 60 || got["2000-01-01 00:07"] != "80,80,1000000" {
		t.Errorf("%d rows of minutes, one is %q", len(got), got["2000-01-01 00:07"])
	}
	if diff := cmp.Diff(map[string]string{"2000-01-01 00": "4800,4800,1000000"}, table.rows("detect_available_hour")); diff != "" {
		t.Error(diff)
	}
	if ttl := table.ttl["detect_available_hour/2000-01-01 00"]; ttl != 90*24*time.Hour {
		t.Errorf("a row lives for %s", ttl)
	}
	for i := range 4 {
		if v := table.data[string(detectKey(i, 4))+"/"]; !strings.HasPrefix(v, "detect_value_") {
			t.Errorf("partition %d was not written: %q", i, v)
		}
	}
	if strings.Contains(log, "WARN") || strings.Count(log, "msg=availability ") != 60 {
		t.Errorf("log:\n%s", log)
	}
}

func TestOutageIsLoggedAndAlertedOnce(t *testing.T) {
	for _, hang := range []bool{false, true} {
		table := newTable(2)
		table.hang = hang
		log := run(t, table, nil, func(o *Options) {
			time.Sleep(10 * time.Second)
			table.with(func(f *fakeTable) { f.down[1] = true })
			time.Sleep(100 * time.Second)
			if n := o.Metrics.Server().Gauge("available_detect_unavailable_partitions", "", "").Value(); n != 1 {
				t.Errorf("%d partitions are unavailable", n)
			}
			if got := o.Commands.Execute(availabilityCommand, nil); !strings.Contains(got, "2 partitions, 1 unavailable") || !strings.Contains(got, "\npartition 1: ") {
				t.Errorf("report: %s", got)
			}
			table.with(func(f *fakeTable) { f.down[1] = false })
			time.Sleep(10 * time.Second)
		})
		for _, want := range []string{
			"level=WARN msg=\"partition is unavailable\" table=temp gpid=2.1",
			"level=ERROR msg=\"ALERT: partition stays unavailable",
			"level=INFO msg=\"partition is available again\" table=temp gpid=2.1 failures=3",
			"level=WARN msg=availability table=temp minute=\"2000-01-01 00:00\"",
		} {
			if strings.Count(log, want) != 1 {
				t.Errorf("hang=%v: %d times %q in\n%s", hang, strings.Count(log, want), want, log)
			}
		}
	}
}

func TestLostWriteIsAFailure(t *testing.T) {
	table := newTable(1)
	log := run(t, table, nil, func(o *Options) {
		time.Sleep(5 * time.Second)
		table.with(func(f *fakeTable) { f.forget = true })
		time.Sleep(10 * time.Second)
	})
	if !strings.Contains(log, "an acknowledged write is lost") {
		t.Errorf("log:\n%s", log)
	}
}

func TestNewerValueOfAnotherCollectorIsNoFailure(t *testing.T) {
	table := newTable(1)
	log := run(t, table, nil, func(o *Options) {
		table.with(func(f *fakeTable) {
			f.data[string(detectKey(0, 1))+"/"] = fmt.Sprintf("detect_value_%d", time.Now().Unix()+1000)
			f.forget = true
		})
		time.Sleep(10 * time.Second)
	})
	if strings.Contains(log, "lost") {
		t.Errorf("log:\n%s", log)
	}
}

func TestTableIsAwaited(t *testing.T) {
	table := newTable(2)
	table.missing = client.ErrTableNotFound
	log := run(t, table, nil, func(o *Options) {
		time.Sleep(65 * time.Second)
		if got := o.Commands.Execute(availabilityCommand, nil); !strings.Contains(got, "waiting, table not found") {
			t.Errorf("report: %s", got)
		}
		table.with(func(f *fakeTable) { f.missing = nil })
		time.Sleep(5 * time.Second)
		if n := o.Metrics.Server().Counter("available_detect_count", "", "").Value(); n == 0 {
			t.Error("no detection within 5 s of the table's appearance")
		}
	})
	if n := strings.Count(log, "waits for the table"); n != 3 {
		t.Errorf("the wait is logged %d times in 65 s:\n%s", n, log)
	}
}

func TestFormingClusterIsNoOutage(t *testing.T) {
	table := newTable(2)
	table.down[0], table.down[1] = true, true
	log := run(t, table, nil, func(o *Options) {
		time.Sleep(5 * time.Second)
		table.with(func(f *fakeTable) { f.down[0] = false })
		time.Sleep(40 * time.Second)
		if n := o.Metrics.Server().Counter("available_detect_failed_count", "", "").Value(); n != 0 {
			t.Errorf("%d failures are counted while the table forms", n)
		}
		time.Sleep(60 * time.Second)
		if n := o.Metrics.Server().Counter("available_detect_failed_count", "", "").Value(); n == 0 {
			t.Error("a partition that never forms is not counted")
		}
	})
	if strings.Count(log, "not available yet") != 2 || strings.Count(log, "partition is unavailable") != 1 {
		t.Errorf("log:\n%s", log)
	}
}

func TestChangedTableIsFollowed(t *testing.T) {
	table := newTable(2)
	log := run(t, table, nil, func(o *Options) {
		time.Sleep(10 * time.Second)
		table.with(func(f *fakeTable) { f.partitions = 4 })
		time.Sleep(2 * time.Minute)
		if got := o.Commands.Execute(availabilityCommand, nil); !strings.Contains(got, "4 partitions, 0 unavailable") {
			t.Errorf("report: %s", got)
		}
		table.with(func(f *fakeTable) { f.missing = fmt.Errorf("refresh: %w", client.ErrTableNotFound) })
		time.Sleep(2 * time.Minute)
		if got := o.Commands.Execute(availabilityCommand, nil); !strings.Contains(got, "waiting") {
			t.Errorf("report: %s", got)
		}
	})
	for _, want := range []string{"the table has changed", "the table is gone"} {
		if strings.Count(log, want) != 1 {
			t.Errorf("%q is not in the log once:\n%s", want, log)
		}
	}
}

// An unreachable meta server is no reason to stop detecting: clients go on as well.
func TestDetectionGoesOnWithoutMeta(t *testing.T) {
	table := newTable(1)
	run(t, table, nil, func(o *Options) {
		time.Sleep(10 * time.Second)
		table.with(func(f *fakeTable) { f.missing = errors.New("no meta server answers") })
		time.Sleep(5 * time.Minute)
		if n := o.Metrics.Server().Counter("available_detect_count", "", "").Value(); n < 100 {
			t.Errorf("%d detections", n)
		}
	})
}

func TestRowsWaitForTheTable(t *testing.T) {
	table := newTable(1)
	run(t, table, nil, func(o *Options) {
		time.Sleep(30 * time.Second)
		table.with(func(f *fakeTable) { f.down[0] = true })
		time.Sleep(3 * time.Minute)
		if n := len(table.rows("detect_available_minute")); n != 0 {
			t.Errorf("%d rows were written to a table that is down", n)
		}
		table.with(func(f *fakeTable) { f.down[0] = false })
		time.Sleep(time.Minute)
	})
	var keys []string
	for k := range table.rows("detect_available_minute") {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if diff := cmp.Diff([]string{"2000-01-01 00:00", "2000-01-01 00:01", "2000-01-01 00:02", "2000-01-01 00:03"}, keys); diff != "" {
		t.Error(diff)
	}
}

func TestAlertRunsTheScript(t *testing.T) {
	dir := t.TempDir()
	script := "echo \"$@\" > mailed\n"
	if err := os.WriteFile(filepath.Join(dir, "sendmail.sh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	o.ClusterName, o.AlertScriptDir, o.AlertEmail = "c1", dir, "ops@example.com"
	a := &alerter{opts: &o, log: slog.New(slog.DiscardHandler)}
	a.send(context.Background(), 7)
	a.wg.Wait()
	got, err := os.ReadFile(filepath.Join(dir, "mailed"))
	if want := "alert ops@example.com c1 temp 7\n"; err != nil || string(got) != want {
		t.Errorf("the script got %q, %v, want %q", got, err, want)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, change := range []func(*Options){
		func(o *Options) { o.OpenTable = nil },
		func(o *Options) { o.DetectTable = "" },
		func(o *Options) { o.DetectInterval = 0 },
	} {
		o := DefaultOptions()
		o.OpenTable = func(string) Table { return newTable(1) }
		o.Metrics = metrics.New(metrics.Identity{})
		change(&o)
		if _, err := Start(t.Context(), o); err == nil {
			t.Error("accepted")
		}
	}
}

func TestDetectKeyLiesInItsPartition(t *testing.T) {
	for _, n := range []int{1, 4, 8, 64} {
		for i := range n {
			if got := idl.KeyHash(detectKey(i, n), nil) % uint64(n); got != uint64(i) {
				t.Fatalf("key %s lies in %d of %d", detectKey(i, n), got, n)
			}
		}
	}
}
