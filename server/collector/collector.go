// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/command"
	"github.com/pegasus-ops/pegasus-ops/server/metrics"
)

// A Table is what the collector needs of a table; *client.Table is one. Every call ends with
// its context.
type Table interface {
	// Shape returns the id and the number of partitions as last seen; Refresh looks again.
	Shape(ctx context.Context) (appID int32, partitions int, err error)
	Refresh(ctx context.Context) error
	Set(ctx context.Context, hashKey, sortKey, value []byte, ttl time.Duration) error
	Get(ctx context.Context, hashKey, sortKey []byte) ([]byte, error)
}

// Options say what the collector does. The names in parentheses are keys of
// [pegasus.collector].
type Options struct {
	ClusterName string
	OpenTable   func(name string) Table
	Metrics     *metrics.Registry
	Commands    *command.Registry // nil: no remote commands
	Log         *slog.Logger

	DetectTable    string        // (available_detect_app)
	DetectInterval time.Duration // (available_detect_interval_seconds) per partition
	DetectTimeout  time.Duration // (available_detect_timeout) of each set and get
	AlertFailCount int           // (available_detect_alert_fail_count) failures in a row that raise an alert
	AlertScriptDir string        // (available_detect_alert_script_dir) where sendmail.sh is
	AlertEmail     string        // (available_detect_alert_email_address) empty: alerts are only logged
	RowTTL         time.Duration // (capacity_unit_saving_ttl_days) how long rows are kept
}

// DefaultOptions has the shipped value of everything that has one.
func DefaultOptions() Options {
	return Options{
		Log:            slog.Default(),
		DetectTable:    "temp",
		DetectInterval: 3 * time.Second,
		DetectTimeout:  time.Second,
		AlertFailCount: 30,
		AlertScriptDir: "./package/bin",
		RowTTL:         90 * 24 * time.Hour,
	}
}

func (o *Options) check() error {
	switch {
	case o.OpenTable == nil || o.Metrics == nil || o.Log == nil:
		return errors.New("collector: OpenTable, Metrics and Log must be set")
	case o.DetectTable == "":
		return errors.New("collector: no table to detect availability on; set available_detect_app in [pegasus.collector]")
	case o.DetectInterval <= 0 || o.DetectTimeout <= 0 || o.AlertFailCount <= 0:
		return errors.New("collector: interval, timeout and fail count of the availability detection must be positive")
	}
	return nil
}

// A Server is a running collector.
type Server struct {
	cancel   context.CancelFunc
	commands *command.Registry
	wg       sync.WaitGroup
}

// Start begins to collect. It does not wait for the cluster: until the table can be reached the
// collector says so in its log and tries again. The collector runs until Stop or the end of ctx.
func Start(ctx context.Context, o Options) (*Server, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &Server{cancel: cancel, commands: o.Commands}
	d := newDetector(o)
	if o.Commands != nil {
		o.Commands.Register(command.Command{
			Names: []string{availabilityCommand},
			Help:  "Show what availability detection has counted and which partitions are unavailable",
			Run:   func([]string) string { return d.report() },
		})
	}
	s.wg.Go(func() { d.run(ctx) })
	return s, nil
}

const availabilityCommand = "collector.availability"

// Stop ends the collection and waits until it has ended, or for ctx.
func (s *Server) Stop(ctx context.Context) error {
	s.cancel()
	if s.commands != nil {
		s.commands.Unregister(availabilityCommand)
	}
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop the collector: %w", context.Cause(ctx))
	}
}
