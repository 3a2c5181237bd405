// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pegasus-ops/pegasus-ops/server/command"
	"github.com/pegasus-ops/pegasus-ops/server/engine"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/metrics"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// A DataDir is one place for replicas, usually one disk.
type DataDir struct {
	Tag  string // the name operators use, as in "ssd1"
	Path string // replicas live under Path/replica/reps
}

// Options say how a replica server runs. Self, FS, Mux, Peers, Metas and DataDirs have no
// default; a zero value elsewhere means the one of DefaultOptions where a zero makes no sense.
type Options struct {
	Self      idl.RPCAddress
	StartTime time.Time // of the process; beacons carry it, a change tells the meta server of a restart
	FS        vfs.FS
	Mux       *wire.Mux
	HTTP      *http.ServeMux // nil: no pages
	Peers     *wire.Peers
	Commands  *command.Registry // nil: no remote commands
	Metrics   *metrics.Registry // nil: nobody looks
	Log       *slog.Logger

	DataDirs []DataDir
	// IgnoreBrokenDisk lets the server start without data dirs that cannot be used, as long as
	// one can (ignore_broken_disk).
	IgnoreBrokenDisk bool
	// LoadsPerDisk is how many replicas of one disk are opened at the same time
	// (max_replicas_on_load_for_each_disk).
	LoadsPerDisk int

	Metas []idl.RPCAddress // all meta servers

	BeaconInterval time.Duration // fd_beacon_interval_seconds
	Lease          time.Duration // fd_lease_seconds; less than the meta server's grace

	ConfigSyncInterval time.Duration // config_sync_interval_ms
	GroupCheckInterval time.Duration // group_check_interval_ms
	// CloseDelay is how long a replica that is no longer a member stays open, in case it is
	// wanted again (gc_memory_replica_interval_ms).
	CloseDelay time.Duration

	// PrepareTimeout is how long a secondary may take to log a mutation before it is dropped
	// from the configuration (prepare_timeout_ms_for_secondaries).
	PrepareTimeout time.Duration
	// MinReplicas is the smallest number of members with which writes are accepted; <= 0 means
	// 1 for tables of up to two replicas, else the majority (mutation_2pc_min_replica_count).
	MinReplicas int
	// Staleness is how many mutations may be under way (staleness_for_commit).
	Staleness int
	// PrepareListSize is how many mutations are kept in memory for secondaries that lag
	// (max_mutation_count_in_prepare_list).
	PrepareListSize int
	// MaxWriteSize bounds the request of one write in bytes; 0 means no limit
	// (max_allowed_write_size).
	MaxWriteSize int
	// MutationBytes and MutationWrites bound what one mutation carries.
	MutationBytes  int
	MutationWrites int
	// InboxWrites bounds the client writes that wait for one partition, InboxBytes their size.
	InboxWrites int
	InboxBytes  int

	ReadWorkers int // goroutines for scans and other long reads
	ReadQueue   int // long reads that may wait for one

	PlogSync         bool  // fsync each write of the private log (plog_force_flush)
	PlogSegmentBytes int64 // log_private_file_size_mb
	// PlogReserveBytes and PlogReserveAge: log that is not needed any more is kept for learners
	// within both (log_private_reserve_max_size_mb, log_private_reserve_max_time_seconds).
	PlogReserveBytes int64
	PlogReserveAge   time.Duration
	// PlogMaxBytes: when the private log has grown to this, beyond what is reserved, its replica
	// is flushed so that it can be cut.
	PlogMaxBytes    int64
	CheckpointEvery time.Duration // checkpoint_interval_seconds
	// CheckpointMaxAge is after how long a replica with little traffic is flushed so that its
	// log can be cut (checkpoint_max_interval_hours).
	CheckpointMaxAge time.Duration
	// CheckpointReserveCount and CheckpointReserveAge: a checkpoint is deleted when there are
	// more than that many and it is older than that.
	CheckpointReserveCount int
	CheckpointReserveAge   time.Duration

	// LearnMax bounds the checkpoints copied to this server at the same time
	// (learn_app_max_concurrent_count).
	LearnMax       int
	CopyBlockBytes int           // nfs_copy_block_bytes
	CopyParallel   int           // blocks of one learner under way at the same time
	CopyTimeout    time.Duration // of one block

	DiskStatInterval time.Duration // disk_stat_interval_seconds
	// DiskMinAvailable in percent: below it a disk takes no new replicas and, with
	// RejectWritesOnFullDisk, no writes (disk_min_available_space_ratio).
	DiskMinAvailable       int
	RejectWritesOnFullDisk bool
	ErrDirKeep             time.Duration // gc_disk_error_replica_interval_seconds
	GarbageDirKeep         time.Duration // gc_disk_garbage_replica_interval_seconds

	Engine engine.SharedOptions

	IterationThreshold   time.Duration // rocksdb_iteration_threshold_time_ms
	MultiGetMaxIteration int           // rocksdb_multi_get_max_iteration_count
	MultiGetMaxBytes     int64         // rocksdb_multi_get_max_iteration_size
	ScanMaxIteration     int           // rocksdb_max_iteration_count
}

// DefaultOptions returns what the shipped configuration says.
func DefaultOptions() Options {
	return Options{
		IgnoreBrokenDisk: true,
		LoadsPerDisk:     16,

		BeaconInterval: 3 * time.Second,
		Lease:          20 * time.Second,

		ConfigSyncInterval: 30 * time.Second,
		GroupCheckInterval: 100 * time.Second,
		CloseDelay:         10 * time.Minute,

		PrepareTimeout:  3 * time.Second,
		MinReplicas:     2,
		Staleness:       20,
		PrepareListSize: 110,
		MaxWriteSize:    1 << 20,
		MutationBytes:   1 << 20,
		MutationWrites:  1000,
		InboxWrites:     10000,
		InboxBytes:      64 << 20,

		ReadWorkers: 16,
		ReadQueue:   4096,

		PlogSegmentBytes:       32 << 20,
		PlogReserveBytes:       128 << 20,
		PlogReserveAge:         10 * time.Hour,
		PlogMaxBytes:           256 << 20,
		CheckpointEvery:        100 * time.Second,
		CheckpointMaxAge:       2 * time.Hour,
		CheckpointReserveCount: 2,
		CheckpointReserveAge:   30 * time.Minute,

		LearnMax:       5,
		CopyBlockBytes: 1 << 20,
		CopyParallel:   4,
		CopyTimeout:    20 * time.Second,

		DiskStatInterval:       10 * time.Minute,
		DiskMinAvailable:       10,
		RejectWritesOnFullDisk: true,
		ErrDirKeep:             7 * 24 * time.Hour,
		GarbageDirKeep:         24 * time.Hour,
	}
}

// complete checks what has no default and fills in the rest.
func (o *Options) complete() error {
	switch {
	case o.Self.IsZero():
		return errors.New("replica server: no address of its own")
	case o.FS == nil || o.Mux == nil || o.Peers == nil:
		return errors.New("replica server: FS, Mux and Peers are required")
	case len(o.Metas) == 0:
		return errors.New("replica server: no meta server is known; set server_list in [meta_server]")
	case len(o.DataDirs) == 0:
		return errors.New("replica server: no data dir; set data_dirs in [replication]")
	}
	tags, paths := map[string]bool{}, map[string]bool{}
	for _, d := range o.DataDirs {
		if d.Tag == "" || d.Path == "" {
			return fmt.Errorf("replica server: data dir %q:%q needs a tag and a path", d.Tag, d.Path)
		}
		if tags[d.Tag] || paths[d.Path] {
			return fmt.Errorf("replica server: data dir %s:%s is given twice", d.Tag, d.Path)
		}
		tags[d.Tag], paths[d.Path] = true, true
	}
	d := DefaultOptions()
	orDefault(&o.LoadsPerDisk, d.LoadsPerDisk)
	orDefault(&o.BeaconInterval, d.BeaconInterval)
	orDefault(&o.Lease, d.Lease)
	orDefault(&o.ConfigSyncInterval, d.ConfigSyncInterval)
	orDefault(&o.GroupCheckInterval, d.GroupCheckInterval)
	orDefault(&o.CloseDelay, d.CloseDelay)
	orDefault(&o.PrepareTimeout, d.PrepareTimeout)
	orDefault(&o.Staleness, d.Staleness)
	orDefault(&o.PrepareListSize, max(d.PrepareListSize, o.Staleness))
	orDefault(&o.MutationBytes, d.MutationBytes)
	orDefault(&o.MutationWrites, d.MutationWrites)
	orDefault(&o.InboxWrites, d.InboxWrites)
	orDefault(&o.InboxBytes, d.InboxBytes)
	orDefault(&o.ReadWorkers, d.ReadWorkers)
	orDefault(&o.ReadQueue, d.ReadQueue)
	orDefault(&o.PlogSegmentBytes, d.PlogSegmentBytes)
	orDefault(&o.PlogMaxBytes, d.PlogMaxBytes)
	orDefault(&o.CheckpointEvery, d.CheckpointEvery)
	orDefault(&o.CheckpointMaxAge, d.CheckpointMaxAge)
	orDefault(&o.CheckpointReserveCount, d.CheckpointReserveCount)
	orDefault(&o.LearnMax, d.LearnMax)
	orDefault(&o.CopyBlockBytes, d.CopyBlockBytes)
	orDefault(&o.CopyParallel, d.CopyParallel)
	orDefault(&o.CopyTimeout, d.CopyTimeout)
	orDefault(&o.DiskStatInterval, d.DiskStatInterval)
	orDefault(&o.ErrDirKeep, d.ErrDirKeep)
	orDefault(&o.GarbageDirKeep, d.GarbageDirKeep)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New(metrics.Identity{})
	}
	if o.StartTime.IsZero() {
		o.StartTime = time.Now()
	}
	if o.Lease <= 2*o.BeaconInterval {
		return fmt.Errorf("replica server: lease %s must exceed two beacon intervals of %s; see fd_lease_seconds",
			o.Lease, o.BeaconInterval)
	}
	return nil
}

// plogLimit is the size of a private log that calls for a flush.
func (o *Options) plogLimit() int64 { return o.PlogReserveBytes + o.PlogMaxBytes }

func orDefault[T ~int | ~int64](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
