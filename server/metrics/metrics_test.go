// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"encoding/json"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func page1(t *testing.T, r *Registry, query string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest("GET", "/metrics"+query, nil))
	return w.Code, regexp.MustCompile(`"timestamp_ns": \d+`).ReplaceAllString(w.Body.String(), `"timestamp_ns": 0`)
}

func sample() *Registry {
	r := New(Identity{Cluster: "onebox", Role: "replica", Host: "vm", Port: 24801})
	r.Server().Gauge("total_replicas", Replicas, "The total number of replicas").Set(3)
	r.Server().Counter("beacon_failed_count", Beacons, "The number of failed beacons").Add(2)
	e := r.Replica(2, 7)
	e.Counter("get_requests", Requests, "The number of GET requests").Inc()
	p := e.Percentile("get_latency_ns", NanoSeconds, "The latency of GET requests")
	for range 100 {
		p.Observe(10)
	}
	r.Disk("ssd1", "/d").GaugeFunc("disk_capacity_total_mb", MegaBytes, "The total capacity", func() int64 { return 77 })
	r.Table(2).Gauge("healthy_partitions", Partitions, "x").Set(8)
	return r
}

func TestPage(t *testing.T) {
	got := func(q string) string { _, s := page1(t, sample(), q); return s }
	const want = `{
    "cluster": "onebox",
    "role": "replica",
    "host": "vm",
    "port": 24801,
    "timestamp_ns": 0,
    "entities": [
        {
            "type": "replica",
            "id": "replica@2.7",
            "attributes": {
                "partition_id": "7",
                "table_id": "2"
            },
            "metrics": [
                {
                    "name": "get_latency_ns",
                    "p50": 10,
                    "p90": 10,
                    "p95": 10,
                    "p99": 10,
                    "p999": 10
                },
                {
                    "name": "get_requests",
                    "value": 1
                }
            ]
        }
    ]
}`
	if diff := cmp.Diff(want, got("?types=replica")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	const detail = `                {
                    "type": "Counter",
                    "name": "beacon_failed_count",
                    "unit": "Beacons",
                    "desc": "The number of failed beacons",
                    "value": 2
                },
                {
                    "type": "Gauge",
                    "name": "total_replicas",`
	if s := got("?types=server&detail=true"); !strings.Contains(s, detail) || !strings.Contains(s, `"attributes": {},`) {
		t.Errorf("detail: %s", s)
	}
}

func TestFilters(t *testing.T) {
	for _, tc := range []struct {
		query string
		want  []string // entity/metric
	}{
		{"", []string{"disk@ssd1/disk_capacity_total_mb", "replica@2.7/get_latency_ns", "replica@2.7/get_requests", "server/beacon_failed_count", "server/total_replicas", "table@2/healthy_partitions"}},
		{"?types=disk,table", []string{"disk@ssd1/disk_capacity_total_mb", "table@2/healthy_partitions"}},
		{"?ids=server", []string{"server/beacon_failed_count", "server/total_replicas"}},
		{"?metrics=total_replicas,get_requests", []string{"replica@2.7/get_requests", "server/total_replicas"}},
		{"?attributes=table_id,2", []string{"replica@2.7/get_latency_ns", "replica@2.7/get_requests", "table@2/healthy_partitions"}},
		{"?attributes=table_id,3,tag,ssd1", []string{"disk@ssd1/disk_capacity_total_mb"}},
		{"?types=nosuch", nil},
		{"?detail=false&types=disk", []string{"disk@ssd1/disk_capacity_total_mb"}},
	} {
		status, body := page1(t, sample(), tc.query)
		var p struct {
			Entities []struct {
				ID      string
				Metrics []struct{ Name string }
			}
		}
		if err := json.Unmarshal([]byte(body), &p); err != nil || status != 200 {
			t.Errorf("%s: %d, %v", tc.query, status, err)
		}
		var got []string
		for _, e := range p.Entities {
			for _, m := range e.Metrics {
				got = append(got, e.ID+"/"+m.Name)
			}
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.query, diff)
		}
	}
	if _, body := page1(t, sample(), "?with_metric_fields=name,single_value,p99&types=replica"); !strings.Contains(body, `{
                    "name": "get_latency_ns",
                    "p99": 10
                },
                {
                    "name": "get_requests"
                }`) {
		t.Errorf("fields: %s", body)
	}
}

func TestBadQueries(t *testing.T) {
	for query, want := range map[string]string{
		"?types=a&types=b": `{"error_message":"duplicate parameter: types"}`,
		"?color=red":       `{"error_message":"unknown parameter: color"}`,
		"?types=":          `{"error_message":"types: want a list of values separated by commas"}`,
		"?attributes=a":    `{"error_message":"attributes: want pairs name,value,name,value, not 1 items"}`,
		"?detail=maybe":    `{"error_message":"detail: \"maybe\" is neither true nor false"}`,
	} {
		if status, body := page1(t, sample(), query); status != 400 || strings.TrimSpace(body) != want {
			t.Errorf("%s: %d %s, want %s", query, status, body, want)
		}
	}
}

// The shape is that of the real server: every metric of its pages has the same fields as ours.
func TestShapeIsThatOfPegasus(t *testing.T) {
	text, err := os.ReadFile("testdata/replica1-metrics-filter.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, golden, _ := strings.Cut(strings.ReplaceAll(string(text), "\r", ""), "\n\n")
	r := New(Identity{Cluster: "onebox", Role: "replica", Host: "vm", Port: 24801})
	var p struct {
		Entities []struct {
			Metrics []map[string]any
		}
	}
	if err := json.Unmarshal([]byte(golden), &p); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range p.Entities[0].Metrics {
		name := m["name"].(string)
		names = append(names, name)
		if v, ok := m["p99"].(float64); ok {
			r.Server().Percentile(name, NanoSeconds, "x").shown[3] = int64(v)
		} else {
			r.Server().Gauge(name, Requests, "x")
		}
	}
	_, got := page1(t, r, "?with_metric_fields=name,single_value,p99&types=server")
	// Ours are sorted by name.
	slices.Sort(names)
	at := -1
	for _, name := range names {
		i := strings.Index(got, `"name": "`+name+`"`)
		if i < at {
			t.Errorf("%s is out of order", name)
		}
		at = i
	}
	norm := func(s string) []string {
		lines := strings.Split(regexp.MustCompile(`"timestamp_ns": \d+`).ReplaceAllString(s, `"timestamp_ns": 0`), "\n")
		for i := range lines {
			lines[i] = strings.TrimSuffix(lines[i], ",")
		}
		slices.Sort(lines)
		return lines
	}
	if diff := cmp.Diff(norm(strings.TrimSpace(golden)), norm(got)); diff != "" {
		t.Errorf("(-golden +got):\n%s", diff)
	}
}

func TestEntitiesAreSharedAndForgotten(t *testing.T) {
	r := New(Identity{})
	a := r.Replica(1, 0)
	a.Counter("n", Requests, "x").Add(5)
	if got := r.Replica(1, 0).Counter("n", Requests, "x").Value(); got != 5 {
		t.Errorf("the same counter shows %d", got)
	}
	r.Remove(a)
	if got := r.Replica(1, 0).Counter("n", Requests, "x").Value(); got != 0 {
		t.Errorf("a forgotten entity shows %d", got)
	}
	r.Remove(a) // of an older life: the present one stays
	if len(r.all()) != 1 {
		t.Error("the wrong entity was removed")
	}
	defer func() {
		if recover() == nil {
			t.Error("a counter became a gauge")
		}
	}()
	r.Replica(1, 0).Gauge("n", Requests, "x")
}

func TestBucketsAreNarrow(t *testing.T) {
	for i := range int64(20) {
		if got := bucketValue(bucketOf(i)); got != i && i < 16 {
			t.Errorf("%d became %d", i, got)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	last := -1
	for _, n := range []int64{15, 16, 17, 31, 32, 33, 63, 64, 1000, 1 << 20, 1 << 39, maxRecord} {
		if b := bucketOf(n); b < last {
			t.Errorf("bucket of %d is %d, less than before", n, b)
		} else {
			last = b
		}
	}
	for range 100_000 {
		n := rng.Int64N(maxRecord) >> rng.IntN(40)
		b := bucketOf(n)
		if b < 0 || b >= nBuckets {
			t.Fatalf("bucket of %d is %d", n, b)
		}
		if got := bucketValue(b); float64(got) < float64(n)*0.93-1 || float64(got) > float64(n)*1.07+1 {
			t.Fatalf("%d became %d", n, got)
		}
	}
	if bucketOf(-5) != 0 || bucketOf(1<<62) != nBuckets-1 {
		t.Errorf("ends: %d and %d of %d", bucketOf(-5), bucketOf(1<<62), nBuckets)
	}
}

func TestPercentilesForgetOldValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Identity{})
		p := r.Server().Percentile("x", NanoSeconds, "x")
		show := func() []int64 {
			var out []int64
			for _, v := range p.values() {
				out = append(out, v.n)
			}
			return out
		}
		if diff := cmp.Diff([]int64{0, 0, 0, 0, 0}, show()); diff != "" {
			t.Errorf("without values: %s", diff)
		}
		for i := range int64(1000) {
			p.Observe(i % 10)
		}
		if diff := cmp.Diff([]int64{4, 8, 9, 9, 9}, show()); diff != "" {
			t.Errorf("first window: %s", diff)
		}
		time.Sleep(window)
		show()
		p.Observe(3)
		if diff := cmp.Diff([]int64{3, 3, 3, 3, 3}, show()); diff != "" {
			t.Errorf("second window: %s", diff)
		}
		time.Sleep(window)
		show()
		time.Sleep(window)
		if diff := cmp.Diff([]int64{0, 0, 0, 0, 0}, show()); diff != "" {
			t.Errorf("after a quiet window: %s", diff)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	r := sample()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 200 {
				r.Replica(2, int32(i)).Percentile("get_latency_ns", NanoSeconds, "x").Observe(5)
				page1(t, r, "")
			}
		})
	}
	wg.Wait()
}

func TestProcessMemory(t *testing.T) {
	r := New(Identity{})
	r.Process()
	_, body := page1(t, r, "")
	if !regexp.MustCompile(`"resident_mem_usage_mb",\s+"value": [1-9]`).MatchString(body) {
		t.Errorf("no memory in %s", body)
	}
}

func BenchmarkObserve(b *testing.B) {
	p := New(Identity{}).Server().Percentile("x", NanoSeconds, "x")
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		p.Observe(i)
	}
}
