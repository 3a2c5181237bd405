// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// keysMetric is the engine's estimate of the number of records of a replica.
const keysMetric = "rdb_estimated_keys"

// maxMetrics bounds what is read of one server's answer.
const maxMetrics = 64 << 20

// An entity is one object of a server's /metrics page.
type entity struct {
	Type       string            `json:"type"`
	Attributes map[string]string `json:"attributes"`
	Metrics    []struct {
		Name  string   `json:"name"`
		Value *float64 `json:"value"`
	} `json:"metrics"`
}

// metricsOf asks a server for metrics of its replicas.
func (s *shell) metricsOf(ctx context.Context, addr idl.RPCAddress, metric string) ([]entity, error) {
	dial := s.o.Dial
	if dial == nil {
		dial = wire.TCP
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, addr string) (net.Conn, error) { return dial(ctx, addr) },
	}
	defer transport.CloseIdleConnections()
	query := url.Values{"with_metric_fields": {"name,value"}, "types": {"replica"}, "metrics": {metric}}
	page := fmt.Sprintf("http://%s/metrics?%s", addr, query.Encode())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", page, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxMetrics))
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read %s: status %s, %w", page, resp.Status, err)
	}
	var answer struct {
		Entities []entity `json:"entities"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("read %s: %w", page, err)
	}
	return answer.Entities, nil
}

// estimate prints the engine's guess at the number of records, partition by partition, as the
// primaries give it.
func (s *shell) estimate(ctx context.Context, name string) error {
	ctx, cancel := admin(ctx)
	defer cancel()
	cfg, err := s.c.QueryConfig(ctx, name)
	if err != nil {
		return s.complain(err)
	}
	primaries := map[idl.RPCAddress]bool{}
	for _, p := range cfg.Partitions {
		if !p.Primary.IsZero() {
			primaries[p.Primary] = true
		}
	}
	var (
		mu      sync.Mutex
		keys    = map[idl.RPCAddress]map[int32]float64{}
		failure error
		g       errgroup.Group
	)
	g.SetLimit(serversAtOnce)
	for addr := range primaries {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, commandTimeout)
			defer cancel()
			entities, err := s.metricsOf(ctx, addr, keysMetric)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failure = err
				return nil
			}
			keys[addr] = keysOf(entities, cfg.AppID)
			return nil
		})
	}
	g.Wait()
	t := newGrid("count_data", "pidx", "estimate_count")
	total, missing := 0.0, 0
	for _, p := range cfg.Partitions {
		n, ok := keys[p.Primary][p.Pid.PartitionIndex]
		if !ok {
			missing++
			continue
		}
		t.add(p.Pid.PartitionIndex, n)
		total += n
	}
	if missing > 0 {
		if failure != nil {
			fmt.Fprintln(s.err, failure)
		}
		return s.fail("ERROR: the servers give no estimate of the number of keys for %d of %d partitions; "+
			"use count_data -c, which reads the whole table and counts exactly", missing, len(cfg.Partitions))
	}
	// The original takes one off the number of partitions here, by mistake.
	t.add(fmt.Sprintf("(total:%d)", len(cfg.Partitions)), total)
	printTable(s.out, false, t)
	return nil
}

// keysOf picks a table's estimates out of the replicas of a server, by partition.
func keysOf(entities []entity, appID int32) map[int32]float64 {
	found := map[int32]float64{}
	for _, e := range entities {
		if e.Type != "replica" || e.Attributes["table_id"] != strconv.Itoa(int(appID)) {
			continue
		}
		index, err := strconv.ParseInt(e.Attributes["partition_id"], 10, 32)
		if err != nil {
			continue
		}
		for _, m := range e.Metrics {
			if m.Name == keysMetric && m.Value != nil {
				found[int32(index)] = *m.Value
			}
		}
	}
	return found
}
