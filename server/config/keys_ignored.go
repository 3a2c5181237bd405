// SPDX-License-Identifier: Apache-2.0

package config

// declareIgnored declares the keys that configuration files of Pegasus, old and new, may hold
// and that mean nothing to this server: it has another engine, runtime or allocator. They are
// accepted so that a file can be taken over as it is.
func (c *Config) declareIgnored() {
	for _, g := range ignored {
		s := section{c, g.section}
		for _, k := range g.keys {
			s.Ignore(k.typ, k.name, k.def, k.doc)
		}
	}
}

type ignoredKey struct {
	typ            Type
	name, def, doc string
}

const obsolete = "Obsolete in Pegasus itself"

var ignored = []struct {
	section string
	keys    []ignoredKey
}{
	{"core", []ignoredKey{
		{String, "tool", "nativerun", "Runtime environment"},
		{String, "toollets", "profiler", "Instruments of the runtime"},
		{Bool, "pause_on_start", "false", "Wait for a key at start"},
		{Bool, "enable_default_app_mimic", "true", "Start a helper application"},
		{String, "logging_factory_name", "dsn::tools::simple_logger", "Logger implementation"},
		{Double, "tcmalloc_release_rate", "1.00", "Rate at which the allocator returns memory"},
		{Uint32, "timer_service_worker_count", "3", "Threads for timers"},
		{Uint32, "local_hash", "0", "Hash of the registered RPCs"},
		{Uint32, "tls_trans_memory_KB", "1024", "Memory for messages per thread"},
		{Bool, "cli_local", "false", obsolete},
		{Bool, "cli_remote", "true", obsolete},
		{Bool, "start_nfs", "true", obsolete},
		{String, "env_factory_name", "", "Environment implementation"},
		{String, "lock_factory_name", "", "Lock implementation"},
		{String, "lock_nr_factory_name", "", "Lock implementation"},
		{String, "rwlock_nr_factory_name", "", "Lock implementation"},
		{String, "semaphore_factory_name", "", "Semaphore implementation"},
		{String, "timer_factory_name", "", "Timer implementation"},
	}},
	{"metrics", []ignoredKey{
		{Uint64, "builtin_metrics_update_interval_ms", "10000", "Milliseconds between updates of built-in metrics; they are read when asked for"},
		{Uint64, "entity_retirement_delay_ms", "600000", "Milliseconds the metrics of something gone are kept"},
	}},
	{"replication", []ignoredKey{
		{Bool, "allow_non_idempotent_write", "false", obsolete},
		{Int32, "prepare_decree_gap_for_debug_logging", "10000", "Decrees between two debug log lines about prepares"},
		{Int32, "checkpoint_min_decree_gap", "10000", obsolete},
		{Bool, "gc_disabled", "false", obsolete},
		{Int32, "cold_backup_checkpoint_reserve_minutes", "10", "Minutes the checkpoint of a backup is kept"},
		{Int32, "log_private_batch_buffer_kb", "512", obsolete},
		{Int32, "log_private_batch_buffer_count", "512", obsolete},
		{Int32, "log_private_batch_buffer_flush_interval_ms", "10000", obsolete},
		{Bool, "log_private_force_flush", "false", obsolete},
		{Int32, "log_shared_file_size_mb", "128", "The shared log is gone"},
		{Int32, "log_shared_file_count_limit", "100", "The shared log is gone"},
		{Int32, "log_shared_batch_buffer_kb", "0", "The shared log is gone"},
		{Bool, "log_shared_force_flush", "false", "The shared log is gone"},
		{Int32, "log_shared_pending_size_throttling_threshold_kb", "0", "The shared log is gone"},
		{Int32, "log_shared_pending_size_throttling_delay_ms", "0", "The shared log is gone"},
		{Int32, "log_shared_gc_flush_replicas_limit", "64", "The shared log is gone"},
		{Bool, "mem_release_enabled", "false", "Return memory to the system periodically; the Go runtime does"},
		{Int32, "mem_release_check_interval_ms", "3600000", "Milliseconds between returns of memory"},
		{Int32, "mem_release_interval_ms", "600000", obsolete},
		{Int32, "mem_release_max_reserved_mem_percentage", "10", "Percentage of memory kept in reserve"},
		{Uint32, "trigger_checkpoint_retry_interval_ms", "100", "Milliseconds between tries to trigger a checkpoint"},
		{Uint64, "row_lock_map_capacity", "1024", "Locks kept for rows"},
		{Bool, "enable_latency_tracer", "false", "Trace requests"},
		{Bool, "enable_latency_tracer_report", "false", "Report traces as metrics"},
		{Bool, "enable_direct_io", "false", "Download files past the page cache"},
		{String, "dup_cluster_name", "", "Name of this cluster in duplications"},
		{Bool, "dup_ignore_other_cluster_ids", "false", "Accept duplications of clusters that are not configured"},
		{String, "dup_load_plog_task", "LPC_REPLICATION_LONG_LOW", "Task that reads the log for duplication"},
		{Uint64, "dup_max_allowed_write_size", "1048576", "Largest write of a duplication batch"},
		{Uint64, "dup_no_mutation_load_delay_ms", "100", "Milliseconds to wait when there is nothing to duplicate"},
		{Uint64, "dup_progress_min_report_period_ms", "300000", "Milliseconds between reports of duplication progress"},
		{Uint64, "dup_progress_min_update_period_ms", "5000", "Milliseconds between updates of duplication progress"},
		{Uint32, "duplicate_log_batch_bytes", "4096", "Bytes of a duplication batch"},
		{Uint64, "hdfs_read_batch_size_bytes", "67108864", "Bytes read from HDFS at a time"},
		{Uint64, "hdfs_write_batch_size_bytes", "67108864", "Bytes written to HDFS at a time"},
		{Uint32, "hdfs_read_limit_rate_mb_per_sec", "200", "MB/s read from HDFS"},
		{Uint32, "hdfs_write_limit_rate_mb_per_sec", "200", "MB/s written to HDFS"},
	}},
	{"pegasus.server", []ignoredKey{
		{String, "perf_counter_sink", "", "Where perf counters are sent"},
		{String, "perf_counter_cluster_name", "", obsolete},
		{Uint32, "perf_counter_update_interval_seconds", "10", "Seconds between snapshots of perf counters"},
		{Bool, "perf_counter_enable_stat", "true", obsolete},
		{Bool, "perf_counter_enable_logging", "true", "Log perf counters"},
		{Bool, "perf_counter_enable_falcon", "false", obsolete},
		{Uint32, "prometheus_port", "9091", "Port of the Prometheus exporter of 2.5"},
		{String, "falcon_host", "127.0.0.1", "Falcon agent"},
		{Uint32, "falcon_port", "1988", "Falcon agent"},
		{String, "falcon_path", "/v1/push", "Falcon agent"},
		{Int64, "dup_lagging_write_threshold_ms", "10000", "Milliseconds after which a duplicated write counts as lagging"},
		{String, "encryption_method", "AES256CTR", "Encryption of files"},
		{Int32, "inject_read_error_for_test", "0", "For tests of the C++ server"},
		{Int32, "inject_write_error_for_test", "0", "For tests of the C++ server"},
		{Int32, "read_amp_bytes_per_bit", "0", "Granularity of read amplification statistics"},
		{Bool, "rocksdb_verbose_log", "false", "Log every operation of the engine"},
		{Uint64, "rocksdb_abnormal_get_time_threshold_ns", "0", obsolete},
		{Uint64, "rocksdb_abnormal_multi_get_time_threshold_ns", "0", obsolete},
		{Uint64, "updating_rocksdb_sstsize_interval_seconds", "600", obsolete},
		{Int32, "rocksdb_block_cache_num_shard_bits", "-1", "Shards of the block cache"},
		{Bool, "rocksdb_cache_index_and_filter_blocks", "false", "Keep index and filter blocks in the block cache; this engine always does"},
		{Bool, "rocksdb_cache_index_and_filter_blocks_with_high_priority", "true", "Priority of index and filter blocks"},
		{Uint64, "rocksdb_compaction_readahead_size", "2097152", "Read-ahead of compactions in bytes"},
		{Bool, "rocksdb_disable_table_block_cache", "false", "Use no block cache"},
		{Bool, "rocksdb_enable_write_buffer_manager", "false", "Limit memtables and cache together"},
		{Int32, "rocksdb_format_version", "2", "Format of table files"},
		{String, "rocksdb_index_type", "binary_search", "Index of table files"},
		{Uint64, "rocksdb_keep_log_file_num", "32", "Log files of the C++ engine"},
		{Uint64, "rocksdb_log_file_time_to_roll", "86400", "Log files of the C++ engine"},
		{Uint64, "rocksdb_max_log_file_size", "8388608", "Log files of the C++ engine"},
		{Bool, "rocksdb_limiter_enable_auto_tune", "false", "Tune the write limit by itself"},
		{Double, "rocksdb_max_bytes_for_level_multiplier", "10.00", "Growth from level to level; this engine has 10"},
		{Int32, "rocksdb_target_file_size_multiplier", "1", "Growth of table files from level to level"},
		{Uint64, "rocksdb_metadata_block_size", "4096", "Bytes of a metadata block"},
		{Bool, "rocksdb_partition_filters", "false", "Partition filters"},
		{Uint64, "rocksdb_periodic_compaction_seconds", "0", "Seconds after which files are compacted again"},
		{Bool, "rocksdb_pin_l0_filter_and_index_blocks_in_cache", "false", "Pin blocks of L0"},
		{Bool, "rocksdb_pin_top_level_index_and_filter", "true", "Pin top-level blocks"},
		{Bool, "rocksdb_use_direct_io_for_flush_and_compaction", "false", "Write past the page cache"},
		{Bool, "rocksdb_use_direct_reads", "false", "Read past the page cache"},
		{Uint64, "rocksdb_writable_file_max_buffer_size", "1048576", "Bytes of the write buffer of a file"},
		{Bool, "rocksdb_write_global_seqno", "false", "Mark ingested files in place"},
		{Uint64, "stats_dump_period_sec", "600", "Seconds between dumps of engine statistics"},
		{Uint64, "stats_persist_period_sec", "600", "Seconds between saves of engine statistics"},
	}},
	{"pegasus.collector", []ignoredKey{
		{String, "cluster", "", obsolete},
	}},
	{"ddl_client", []ignoredKey{
		{Uint32, "ddl_client_max_attempt_count", "3", "Tries of an admin request"},
		{Uint32, "ddl_client_retry_interval_ms", "10000", "Milliseconds between tries of an admin request"},
	}},
	{"ranger", []ignoredKey{
		{String, "legacy_table_database_mapping_policy_name", "__default__", "Policy of tables without a database"},
		{String, "ranger_service_name", "", "Ranger service"},
		{String, "ranger_service_url", "", "Ranger service"},
	}},
	{"tools.screen_logger", []ignoredKey{
		{String, "stderr_start_level_on_stdout", "LOG_LEVEL_WARNING", "Lowest level also written to stderr"},
	}},
}
