// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Replication is section [replication].
type Replication struct {
	DataDirs                  []DataDir // empty: one directory below the role's data directory
	DataDirsBlackList         string    // file with paths of disks not to use, read at start
	SlogDir                   string    // obsolete; must be empty or hold no files
	ClusterName               string
	DenyClient                bool
	VerboseClientLog          bool
	VerboseCommitLog          bool
	DelayForFDTimeout         bool // wait out the grace period before joining
	EmptyWriteDisabled        bool
	PrepareTimeoutSecondary   time.Duration
	PrepareTimeoutLearner     time.Duration
	BatchWriteDisabled        bool
	Staleness                 int // mutations in flight
	MaxPrepareList            int // mutations prepared and not committed
	MinReplicas2PC            int // > 0 absolute; else derived from the replica count
	MaxWriteSize              int64
	GroupCheckDisabled        bool
	GroupCheckInterval        time.Duration
	CheckpointDisabled        bool
	CheckpointInterval        time.Duration
	CheckpointMaxInterval     time.Duration
	GCInterval                time.Duration
	GCMemoryReplica           time.Duration // delay before an inactive replica is closed
	GCErrorReplica            time.Duration // how long .err directories are kept
	GCGarbageReplica          time.Duration // .gar
	GCMigrationTmp            time.Duration // .tmp
	GCMigrationOrigin         time.Duration // .ori
	DiskStatDisabled          bool
	DiskStatInterval          time.Duration
	DiskMinAvailable          int // percent
	RejectWriteWhenDiskFull   bool
	IgnoreBrokenDisk          bool
	FDDisabled                bool
	FDCheckInterval           time.Duration
	FDBeaconInterval          time.Duration
	FDLease                   time.Duration
	FDGrace                   time.Duration
	ConfigSyncDisabled        bool
	ConfigSyncInterval        time.Duration
	LBInterval                time.Duration // period of cure and balance on the meta server
	LearnAppMaxConcurrent     int
	PlogSegmentBytes          int64
	PlogReserveBytes          int64
	PlogReserveTime           time.Duration
	PlogForceFlush            bool
	PlogGCEnabled             bool
	MaxReplicasLoadPerDisk    int
	LoadReplicaMaxWait        time.Duration
	MaxEmergencyCheckpoints   int
	ReplicasStatDisabled      bool
	ReplicasStatInterval      time.Duration
	ColdBackupRoot            string
	DuplicationEnabled        bool
	DuplicationSyncPeriod     time.Duration
	MaxUploadingFiles         int
	MaxBulkLoadDownloads      int
	LatencyTraceWriteAbnormal time.Duration
}

// A DataDir is one disk: replicas live below Path, and commands name it by Tag.
type DataDir struct {
	Tag, Path string
}

// NFS is section [nfs], the copying of files between replica servers.
type NFS struct {
	BlockBytes          int   // bytes asked for at a time
	MaxRemoteCopies     int   // requests in flight
	MaxRetries          int   // of one request
	MaxCopyRate         int64 // MB/s and disk written, 0 = no limit
	MaxSendRate         int64 // MB/s and disk read, 0 = no limit
	RPCTimeout          time.Duration
	MaxRequestsPerFile  int
	MaxConcurrentWrites int
}

func parseDataDirs(s string) ([]DataDir, error) {
	var dirs []DataDir
	for _, item := range splitList(s) {
		tag, path, ok := strings.Cut(item, ":")
		tag, path = strings.Trim(tag, blanks), strings.Trim(path, blanks)
		if !ok || tag == "" || path == "" {
			return nil, fmt.Errorf("%q is not TAG:PATH, as in ssd1:/data/ssd1/pegasus", item)
		}
		path = filepath.Clean(path)
		if slices.ContainsFunc(dirs, func(d DataDir) bool { return d.Tag == tag }) {
			return nil, fmt.Errorf("tag %q is used twice", tag)
		}
		for _, d := range dirs {
			if d.Path == path || strings.HasPrefix(path, d.Path+"/") || strings.HasPrefix(d.Path, path+"/") {
				return nil, fmt.Errorf("%s and %s are or contain the same directory", d.Path, path)
			}
		}
		dirs = append(dirs, DataDir{tag, path})
	}
	return dirs, nil
}

func (c *Config) declareReplication() {
	r := &c.Repl
	s := section{c, "replication"}
	declareCustom(s, &r.DataDirs, "data_dirs", "", "Disks for replicas, tag1:path1,tag2:path2; empty means one below core.data_dir", parseDataDirs)
	s.String(&r.DataDirsBlackList, "data_dirs_black_list_file", "/home/work/.pegasus_data_dirs_black_list", "File with one path a line: disks not to use")
	s.String(&r.SlogDir, "slog_dir", "", "Directory of the shared log of Pegasus 2.5 and older; this server has none and refuses to start when files are in it")
	s.String(&r.ClusterName, "cluster_name", "", "Name of the cluster, a label of metrics")
	s.Bool(&r.DenyClient, "deny_client_on_start", false, "Refuse requests of clients from the start")
	s.Bool(&r.VerboseClientLog, "verbose_client_log_on_start", false, "Log every error answered to a client")
	s.Bool(&r.VerboseCommitLog, "verbose_commit_log_on_start", false, "Log every committed mutation")
	s.Bool(&r.DelayForFDTimeout, "delay_for_fd_timeout_on_start", false, "Wait fd_grace_seconds before joining, so that the previous process is surely expelled")
	s.Bool(&r.EmptyWriteDisabled, "empty_write_disabled", false, "Do not commit empty writes while there are no others").CanChange()
	s.Duration(&r.PrepareTimeoutSecondary, Int32, "prepare_timeout_ms_for_secondaries", time.Millisecond, 3000, "Milliseconds a secondary has to acknowledge a mutation").Range(1, 3600000)
	s.Duration(&r.PrepareTimeoutLearner, Int32, "prepare_timeout_ms_for_potential_secondaries", time.Millisecond, 5000, "Milliseconds a learner has to acknowledge a mutation").Range(1, 3600000)
	s.Bool(&r.BatchWriteDisabled, "batch_write_disabled", false, "Put every client write into a mutation of its own")
	s.Int(&r.Staleness, Int32, "staleness_for_commit", 20, "Mutations of a partition in flight").Range(1, 100000)
	s.Int(&r.MaxPrepareList, Int32, "max_mutation_count_in_prepare_list", 110, "Mutations a replica holds uncommitted, at least staleness_for_commit").Range(1, 1000000)
	s.Int(&r.MinReplicas2PC, Int32, "mutation_2pc_min_replica_count", 2, "Replicas a partition needs to accept writes; 0 or less derives it from the table's replica count").Range(-1, 64)
	s.Int64(&r.MaxWriteSize, Uint64, "max_allowed_write_size", 1<<20, "Largest write in bytes, 0 means unchecked")
	s.Bool(&r.GroupCheckDisabled, "group_check_disabled", false, "Do not check the members of a partition periodically")
	s.Duration(&r.GroupCheckInterval, Int32, "group_check_interval_ms", time.Millisecond, 100000, "Milliseconds between checks of the members of a partition").Range(100, 86400000)
	s.Bool(&r.CheckpointDisabled, "checkpoint_disabled", false, "Make no checkpoints periodically")
	s.Duration(&r.CheckpointInterval, Int32, "checkpoint_interval_seconds", time.Second, 300, "Seconds between looks at whether a replica needs a checkpoint").Range(1, 86400)
	s.Duration(&r.CheckpointMaxInterval, Int32, "checkpoint_max_interval_hours", time.Hour, 2, "Hours after which a replica with new data gets a checkpoint").Range(1, 8760)
	s.Duration(&r.GCInterval, Int32, "gc_interval_ms", time.Millisecond, 30000, "Milliseconds between collections of garbage").Range(100, 86400000)
	s.Duration(&r.GCMemoryReplica, Int32, "gc_memory_replica_interval_ms", time.Millisecond, 600000, "Milliseconds an inactive replica stays open").AtLeast(0)
	s.Duration(&r.GCErrorReplica, Uint64, "gc_disk_error_replica_interval_seconds", time.Second, 86400, "Seconds a directory .err is kept").CanChange()
	s.Duration(&r.GCGarbageReplica, Uint64, "gc_disk_garbage_replica_interval_seconds", time.Second, 86400, "Seconds a directory .gar is kept").CanChange()
	s.Duration(&r.GCMigrationTmp, Uint64, "gc_disk_migration_tmp_replica_interval_seconds", time.Second, 86400, "Seconds a directory .disk.migrate.tmp is kept").CanChange()
	s.Duration(&r.GCMigrationOrigin, Uint64, "gc_disk_migration_origin_replica_interval_seconds", time.Second, 604800, "Seconds a directory .disk.migrate.ori is kept").CanChange()
	s.Bool(&r.DiskStatDisabled, "disk_stat_disabled", false, "Do not look at disk space and garbage periodically")
	s.Duration(&r.DiskStatInterval, Int32, "disk_stat_interval_seconds", time.Second, 600, "Seconds between looks at disk space and garbage").Range(1, 86400)
	s.Int(&r.DiskMinAvailable, Int32, "disk_min_available_space_ratio", 10, "Percentage of free space below which a disk takes no new replicas").Range(0, 100).CanChange()
	s.Bool(&r.RejectWriteWhenDiskFull, "reject_write_when_disk_insufficient", true, "Refuse writes to replicas on a disk short of space").CanChange()
	s.Bool(&r.IgnoreBrokenDisk, "ignore_broken_disk", true, "Start without the disks that cannot be used")
	s.Bool(&r.FDDisabled, "fd_disabled", false, "Send no beacons")
	s.Duration(&r.FDCheckInterval, Int32, "fd_check_interval_seconds", time.Second, 2, "Seconds between looks at leases").Range(1, 3600)
	s.Duration(&r.FDBeaconInterval, Int32, "fd_beacon_interval_seconds", time.Second, 3, "Seconds between beacons to the meta server").Range(1, 3600)
	s.Duration(&r.FDLease, Int32, "fd_lease_seconds", time.Second, 20, "Seconds a replica server serves without an acknowledged beacon").Range(1, 3600)
	s.Duration(&r.FDGrace, Int32, "fd_grace_seconds", time.Second, 22, "Seconds without a beacon after which the meta server declares a node dead, more than fd_lease_seconds").Range(1, 3600)
	s.Bool(&r.ConfigSyncDisabled, "config_sync_disabled", false, "Do not report replicas to the meta server periodically")
	s.Duration(&r.ConfigSyncInterval, Uint32, "config_sync_interval_ms", time.Millisecond, 30000, "Milliseconds between reports of replicas to the meta server").Range(1, 86400000).CanChange()
	s.Duration(&r.LBInterval, Int32, "lb_interval_ms", time.Millisecond, 10000, "Milliseconds between rounds of cure and balance on the meta server").Range(1, 86400000)
	s.Int(&r.LearnAppMaxConcurrent, Int32, "learn_app_max_concurrent_count", 5, "Replicas copying a checkpoint at a time").Range(1, 10000)
	megabytes(s, &r.PlogSegmentBytes, "log_private_file_size_mb", 32, "Size of a private log file in MB").Range(1, 1024)
	megabytes(s, &r.PlogReserveBytes, "log_private_reserve_max_size_mb", 1000, "Private log kept beyond need, in MB; 0 keeps none").Range(0, 1<<20)
	s.Duration(&r.PlogReserveTime, Int32, "log_private_reserve_max_time_seconds", time.Second, 36000, "Seconds private log is kept beyond need; 0 keeps none").AtLeast(0)
	s.Bool(&r.PlogForceFlush, "plog_force_flush", false, "Sync the private log to disk before a write is acknowledged")
	s.Bool(&r.PlogGCEnabled, "plog_gc_enabled", true, "Remove private log that is no longer needed")
	s.Int(&r.MaxReplicasLoadPerDisk, Uint64, "max_replicas_on_load_for_each_disk", 256, "Replicas opened at a time on one disk at start").Range(1, 1<<20).CanChange()
	s.Duration(&r.LoadReplicaMaxWait, Uint64, "load_replica_max_wait_time_ms", time.Millisecond, 10, "Milliseconds to wait for a replica that is being opened before the next is looked at").AtLeast(1).CanChange()
	s.Int(&r.MaxEmergencyCheckpoints, Uint32, "max_concurrent_manual_emergency_checkpointing_count", 10, "Emergency checkpoints at a time").CanChange()
	s.Bool(&r.ReplicasStatDisabled, "replicas_stat_disabled", false, "Keep no statistics of replicas")
	s.Duration(&r.ReplicasStatInterval, Uint32, "replicas_stat_interval_ms", time.Millisecond, 30000, "Milliseconds between statistics of replicas").Range(100, 86400000).CanChange()
	s.String(&r.ColdBackupRoot, "cold_backup_root", "", "Directory prefix of backups")
	s.Bool(&r.DuplicationEnabled, "duplication_enabled", true, "Allow duplication to other clusters")
	s.Duration(&r.DuplicationSyncPeriod, Uint64, "duplication_sync_period_second", time.Second, 10, "Seconds between reports of duplication progress").Range(1, 86400)
	s.Int(&r.MaxUploadingFiles, Uint64, "max_concurrent_uploading_file_count", 10, "Files of a backup uploaded at a time").Range(1, 10000)
	s.Int(&r.MaxBulkLoadDownloads, Int32, "max_concurrent_bulk_load_downloading_count", 5, "Replicas downloading for a bulk load at a time").Range(1, 10000)
	s.Duration(&r.LatencyTraceWriteAbnormal, Uint64, "abnormal_write_trace_latency_threshold", 1, 1000000000, "Nanoseconds after which a write is logged with its stages").CanChange()

	n := &c.NFS
	s = section{c, "nfs"}
	s.Int(&n.BlockBytes, Uint32, "nfs_copy_block_bytes", 4<<20, "Bytes of a file asked for at a time").Range(4096, 32<<20)
	s.Int(&n.MaxRemoteCopies, Int32, "max_concurrent_remote_copy_requests", 50, "Requests for blocks in flight").Range(1, 100000)
	s.Int(&n.MaxConcurrentWrites, Int32, "max_concurrent_local_writes", 5, "Blocks written to disk at a time").Range(1, 100000)
	s.Int(&n.MaxRequestsPerFile, Int32, "max_file_copy_request_count_per_file", 10, "Requests for blocks of one file in flight").Range(1, 100000)
	s.Int(&n.MaxRetries, Int32, "max_retry_count_per_copy_request", 2, "Times a failed request for a block is repeated").Range(0, 1000)
	s.Duration(&n.RPCTimeout, Int32, "rpc_timeout_ms", time.Millisecond, 100000, "Milliseconds a request for a block may take").Range(100, 3600000)
	s.Int64(&n.MaxCopyRate, Int64, "max_copy_rate_megabytes_per_disk", 0, "MB/s written to one disk while copying, 0 means no limit").Range(0, 1<<20).CanChange()
	s.Int64(&n.MaxSendRate, Int64, "max_send_rate_megabytes_per_disk", 0, "MB/s read from one disk while copying, 0 means no limit").Range(0, 1<<20).CanChange()
	s.Ignore(Int32, "max_buffered_local_writes", "500", "Blocks waiting to be written")
	s.Ignore(Int32, "high_priority_speed_rate", "2", "Share of high-priority copies")
	s.Ignore(Int32, "file_close_expire_time_ms", "60000", "Milliseconds an idle file stays open")
	s.Ignore(Int32, "file_close_timer_interval_ms_on_server", "30000", "Milliseconds between looks for idle files")
	s.Ignore(Int32, "max_send_rate_megabytes", "500", "Obsolete, nothing has ever read it: see max_send_rate_megabytes_per_disk")
}

// megabytes declares a key that counts MB into a field that counts bytes.
func megabytes(s section, p *int64, name string, def int64, doc string) *Key {
	k := declareInt(s, p, Int32, name, def, doc)
	k.parse = func(t string) (any, error) { n, err := k.integer(t); return n << 20, err }
	return k
}
