// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pegasus-ops/pegasus-ops/server/command"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// Options are what a meta server needs to run. The names in parentheses are the keys of
// config.ini that they come from.
type Options struct {
	Self      idl.RPCAddress // the address others reach this server at
	StartTime time.Time
	Dir       string // <data_dir>/meta; holds the local store
	FS        vfs.FS
	Mux       *wire.Mux
	HTTP      *http.ServeMux // nil: no HTTP
	Peers     *wire.Peers
	Commands  *command.Registry // nil: no remote commands
	Log       *slog.Logger

	// Store and Election are where the metadata and the leader lock live. With both nil the
	// local store in Dir is used, and closed by Stop.
	Store    store.Store
	Election store.Election

	MetaServers    []idl.RPCAddress // all meta servers ([meta_server] server_list)
	ClusterName    string           // ([replication] cluster_name)
	ClusterRoot    string           // ([meta_server] cluster_root)
	ZookeeperHosts string           // ([zookeeper] hosts_list); empty with the local store
	DefaultTables  []TableSpec      // created when the store holds no table

	StartLevel         idl.MetaFunctionLevel // (meta_function_level_on_start)
	LivePercentage     int                   // (node_live_percentage_threshold_for_update), 0 to 100
	MinLiveNodes       int                   // (min_live_node_count_for_unfreeze)
	HoldDropped        time.Duration         // (hold_seconds_for_dropped_app)
	MinAllowedReplicas int32                 // (min_allowed_replica_count)
	MaxAllowedReplicas int32                 // (max_allowed_replica_count)
	MaxReservedDropped int                   // (max_reserved_dropped_replicas)

	MinWriteReplicas int32         // (mutation_2pc_min_replica_count), see guardian.Settings
	AssignDelay      time.Duration // (replica_assign_delay_ms_for_dropouts)
	FlowControl      bool          // (add_secondary_enable_flow_control)
	MaxAddsPerNode   int           // (add_secondary_max_count_for_one_node)
	CureInterval     time.Duration // (lb_interval_ms) between rounds over all partitions

	Grace             time.Duration    // (fd_grace_seconds) a node is dead when silent for longer
	FDCheckInterval   time.Duration    // (fd_check_interval_seconds)
	StableRunning     time.Duration    // (stable_rs_min_running_seconds) a start sooner than this after the last is unstable
	MaxUnstableStarts int              // (max_succssive_unstable_restart) beacons are not answered from here on
	AllowList         []idl.RPCAddress // (replica_white_list); nil: every node may join (enable_white_list)

	// ProposalRetry is when a proposal without effect is sent again; ProposalTimeout bounds the
	// wait for its answer; GatherDelay is how long new partitions wait at most for more nodes
	// after the first one has connected.
	ProposalRetry   time.Duration
	ProposalTimeout time.Duration
	GatherDelay     time.Duration
}

// A TableSpec is a table to be made on the first start of a cluster.
type TableSpec struct {
	Name       string
	Partitions int32
	Replicas   int32
	Envs       map[string]string
}

// DefaultOptions has the shipped value of everything that has one.
func DefaultOptions() Options {
	return Options{
		FS:  vfs.Default,
		Log: slog.Default(),

		ClusterRoot: "/",
		DefaultTables: []TableSpec{
			{Name: "temp", Partitions: 8, Replicas: 3}, // availability detection
			{Name: "stat", Partitions: 4, Replicas: 3}, // statistics of the collector
		},
		StartLevel:         idl.FlSteady,
		LivePercentage:     50,
		MinLiveNodes:       3,
		HoldDropped:        7 * 24 * time.Hour,
		MinAllowedReplicas: 1,
		MaxAllowedReplicas: 5,
		MaxReservedDropped: 1,

		MinWriteReplicas: 2,
		AssignDelay:      10 * time.Minute,
		FlowControl:      true,
		MaxAddsPerNode:   20,
		CureInterval:     10 * time.Second,

		Grace:             22 * time.Second,
		FDCheckInterval:   2 * time.Second,
		StableRunning:     10 * time.Minute,
		MaxUnstableStarts: 5,

		ProposalRetry:   2 * time.Second,
		ProposalTimeout: 2 * time.Second,
		GatherDelay:     3 * time.Second,
	}
}

// check refuses what would make the server wait for ever or divide by zero.
func (o *Options) check() error {
	switch {
	case o.Self.IsZero():
		return fmt.Errorf("meta server: no address of its own")
	case o.Mux == nil || o.Peers == nil || o.FS == nil || o.Log == nil:
		return fmt.Errorf("meta server: Mux, Peers, FS and Log must be set")
	case (o.Store == nil) != (o.Election == nil):
		return fmt.Errorf("meta server: a store and an election belong together, only one is set")
	case o.CureInterval <= 0 || o.FDCheckInterval <= 0 || o.Grace <= 0 || o.ProposalRetry <= 0 || o.ProposalTimeout <= 0:
		return fmt.Errorf("meta server: intervals and timeouts must be positive")
	case o.LivePercentage < 0 || o.LivePercentage > 100:
		return fmt.Errorf("meta server: node_live_percentage_threshold_for_update is %d, must be 0 to 100", o.LivePercentage)
	case o.MinAllowedReplicas < 1 || o.MaxAllowedReplicas < o.MinAllowedReplicas:
		return fmt.Errorf("meta server: min_allowed_replica_count %d and max_allowed_replica_count %d do not fit", o.MinAllowedReplicas, o.MaxAllowedReplicas)
	}
	for _, t := range o.DefaultTables {
		if err := t.Check(); err != nil {
			return fmt.Errorf("meta server: %w", err)
		}
	}
	return nil
}

// Check tells why the table cannot be made.
func (t TableSpec) Check() error {
	if !validTableName(t.Name) || t.Partitions < 1 || t.Partitions > maxPartitions || t.Replicas < 1 {
		return fmt.Errorf("default table %q with %d partitions and %d replicas is not possible", t.Name, t.Partitions, t.Replicas)
	}
	for k, v := range t.Envs {
		if hint := checkEnv(k, v); hint != "" {
			return fmt.Errorf("default table %q: %s", t.Name, hint)
		}
	}
	return nil
}
