// SPDX-License-Identifier: Apache-2.0

package config

// unused are the keys that are read and checked like any other, so that a mistake in them is
// found before the file moves on to a server that heeds them, and on which nothing in this server
// depends. A file that sets one to something of its own is warned of: its author expects an
// effect. Keys that do not even concern this engine and runtime are in ignored.
var unused = map[string][]string{
	"core": {
		"logging_flush_on_exit",
	},
	"meta_server": {
		"meta_state_service_parameters", "balancer_in_turn",
		"only_primary_balancer", "only_move_primary", "balance_cluster", "balance_op_count_per_round",
		"cold_backup_disabled", "enable_concurrent_bulk_load", "bulk_load_max_rollback_times",
		"bulk_load_node_max_ingesting_count", "bulk_load_node_min_disk_count",
		"bulk_load_verify_before_ingest",
	},
	"security": {
		"super_users", "meta_acl_rpc_allow_list", "krb5_config",
		"krb5_keytab", "krb5_principal", "service_fqdn", "service_name",
	},
	"replication": {
		"deny_client_on_start", "verbose_client_log_on_start", "verbose_commit_log_on_start",
		"empty_write_disabled", "prepare_timeout_ms_for_potential_secondaries", "group_check_disabled",
		"checkpoint_disabled", "gc_interval_ms", "gc_disk_migration_tmp_replica_interval_seconds",
		"gc_disk_migration_origin_replica_interval_seconds", "disk_stat_disabled", "fd_disabled",
		"config_sync_disabled", "plog_gc_enabled", "max_replicas_on_load_for_each_disk",
		"load_replica_max_wait_time_ms", "max_concurrent_manual_emergency_checkpointing_count",
		"replicas_stat_disabled", "replicas_stat_interval_ms", "cold_backup_root",
		"duplication_enabled", "duplication_sync_period_second", "max_concurrent_uploading_file_count",
		"max_concurrent_bulk_load_downloading_count", "abnormal_write_trace_latency_threshold",
	},
	"nfs": {
		"max_concurrent_remote_copy_requests", "max_concurrent_local_writes",
		"max_file_copy_request_count_per_file", "max_retry_count_per_copy_request",
		"max_copy_rate_megabytes_per_disk", "max_send_rate_megabytes_per_disk",
	},
	"pegasus.server": {
		"update_rdb_stat_interval", "manual_compact_min_interval_seconds",
		"perf_counter_read_capacity_unit_size", "perf_counter_write_capacity_unit_size",
		"rocksdb_slow_query_threshold_ns", "rocksdb_abnormal_get_size_threshold",
		"rocksdb_abnormal_multi_get_size_threshold",
		"rocksdb_abnormal_multi_get_iterate_count_threshold",
		"rocksdb_abnormal_batch_get_bytes_threshold", "rocksdb_abnormal_batch_get_count_threshold",
		"rocksdb_max_write_buffer_number", "rocksdb_num_levels", "rocksdb_target_file_size_base",
		"rocksdb_max_bytes_for_level_base", "rocksdb_level0_file_num_compaction_trigger",
		"rocksdb_level0_slowdown_writes_trigger", "rocksdb_level0_stop_writes_trigger",
		"rocksdb_compression_type", "rocksdb_disable_bloom_filter",
		"rocksdb_bloom_filter_bits_per_key", "rocksdb_filter_type",
		"rocksdb_limiter_max_write_megabytes_per_sec", "rocksdb_max_background_flushes",
		"rocksdb_max_background_compactions", "max_seconds_to_detect_hotkey", "hotkey_buckets_num",
		"hot_bucket_variance_threshold", "hot_key_variance_threshold",
		"hotkey_analyse_time_interval_s", "hadoop_kms_url",
	},
	"pegasus.collector": {
		"app_stat_interval_seconds", "usage_stat_app", "capacity_unit_fetch_interval_seconds",
		"storage_size_fetch_interval_seconds", "hot_partition_threshold", "enable_detect_hotkey",
		"occurrence_threshold", "max_hotspot_store_size",
	},
}

// routine are the unused keys that the template fills in for every cluster. Nobody asked for
// something by them, so they are reported with the ignored keys and not warned of.
var routine = map[string]bool{
	"cold_backup_root": true,
}

// markUnused sets Key.Unused. It panics on a name that is not declared, a mistake of the program.
func (c *Config) markUnused() {
	for sectionName, names := range unused {
		for _, name := range names {
			k := c.Key(sectionName, name)
			if k == nil || k.Ignored {
				panic("config: [" + sectionName + "] " + name + " is no key that could be unused")
			}
			k.Unused = true
		}
	}
}
