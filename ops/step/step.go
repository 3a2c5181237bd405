// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/cluster"
	"github.com/pegasus-ops/pegasus-ops/ops/host"
	"github.com/pegasus-ops/pegasus-ops/ops/plan"
	"github.com/pegasus-ops/pegasus-ops/ops/supervise"
)

// Admin is what steps need of the running cluster.
type Admin interface {
	// Facts reads the state of the cluster; it fails while no meta server leads.
	Facts(ctx context.Context) (cluster.Facts, error)
	// CreateTable creates a table; one that exists in this shape is no error.
	CreateTable(ctx context.Context, name string, partitions, replicas int) error
	// Serves reads from every partition of the tables in the facts and says which
	// do not answer; nil means that all do.
	Serves(ctx context.Context, f cluster.Facts) error
}

// Times are the deadlines of steps.
type Times struct {
	Listen  time.Duration // for a started server until it listens
	Stop    time.Duration // between SIGTERM and SIGKILL
	Nodes   time.Duration // until all replica servers are alive
	Create  time.Duration // of a table
	Healthy time.Duration // without any progress
	Settle  time.Duration // until the meta server has noticed that a replica server was restarted
	Poll    time.Duration // between two looks at the cluster
}

// DefaultTimes fit clusters from one machine to a hundred.
func DefaultTimes() Times {
	return Times{Listen: 30 * time.Second, Stop: 30 * time.Second, Nodes: 90 * time.Second,
		Create: 30 * time.Second, Healthy: 2 * time.Minute, Settle: 40 * time.Second, Poll: 250 * time.Millisecond}
}

// Env is what steps work with.
type Env struct {
	Cluster *inventory.Cluster
	Hosts   map[string]host.Host // by name
	Admin   Admin
	Times   Times

	settling settling
	started  started
	drivers  drivers
}

// drivers are what keeps the servers of each host, by its name.
type drivers struct {
	mu sync.Mutex
	of map[string]supervise.Driver
}

// Say takes what a step is at, for the operator to read; it replaces what was
// said before.
type Say func(format string, args ...any)

// Do executes one step. note says what was found or done when that is not
// obvious from the step: "was there already".
func Do(ctx context.Context, e *Env, s plan.Step, say Say) (note string, err error) {
	do, known := kinds[s.Kind]
	if !known {
		return "", fmt.Errorf("step %q is not known", s.Kind)
	}
	var h host.Host
	if s.Host != "" {
		if h = e.Hosts[s.Host]; h == nil {
			return "", fmt.Errorf("step %s: no connection to host %s", s.Kind, s.Host)
		}
	}
	return do(ctx, e, h, s, say)
}

// kinds is filled in once, here, so that the list of steps is in one place.
var kinds = map[plan.Kind]func(ctx context.Context, e *Env, h host.Host, s plan.Step, say Say) (string, error){
	plan.MakeDir:       makeDir,
	plan.PushPackage:   pushPackage,
	plan.CheckConfig:   checkConfig,
	plan.WriteConfig:   writeConfig,
	plan.SwitchPackage: switchPackage,
	plan.DropPackage:   dropPackage,
	plan.StartServer:   startServer,
	plan.StopServer:    stopServer,
	plan.WaitNodes:     waitNodes,
	plan.CreateTable:   createTable,
	plan.WaitHealthy:   waitHealthy,
	plan.RemoveDir:     removeDir,
	plan.ReleaseDir:    releaseDir,
	plan.RemoveEmpty:   removeEmpty,
}
