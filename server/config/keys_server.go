// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
	"time"
)

// Server is section [pegasus.server]: the storage engine and limits of operations.
type Server struct {
	CheckpointReserveCount    int
	CheckpointReserveTime     time.Duration
	StatInterval              time.Duration
	ManualCompactMinInterval  time.Duration
	ReadCUSize                int64 // bytes of one read capacity unit
	WriteCUSize               int64
	SlowQuery                 time.Duration
	AbnormalGetSize           int64
	AbnormalMultiGetSize      int64
	AbnormalMultiGetCount     int64
	AbnormalBatchGetBytes     int64
	AbnormalBatchGetCount     int64
	MaxIterationCount         int
	MultiGetMaxIterationCount int
	MultiGetMaxIterationSize  int64
	IterationTime             time.Duration
	WriteBufferSize           int64 // bytes of one memtable
	WriteBufferCount          int
	TotalWriteBuffers         int64 // bytes of all memtables of the process, 0 = no limit
	NumLevels                 int
	TargetFileSize            int64
	LevelBaseBytes            int64
	L0CompactionTrigger       int
	L0SlowdownTrigger         int
	L0StopTrigger             int
	Compression               string
	BlockCacheBytes           int64 // shared by all replicas of the process
	BloomDisabled             bool
	BloomBitsPerKey           float64
	FilterType                string
	WriteLimitMB              int64 // MB/s of flushes and compactions, 0 = no limit
	MaxFlushes                int
	MaxCompactions            int
	MaxOpenFiles              int
	HotkeyMaxDetect           time.Duration
	HotkeyBuckets             int
	HotkeyCoarseVariance      int
	HotkeyFineVariance        int
	HotkeyAnalyseInterval     time.Duration
}

// Collector is section [pegasus.collector].
type Collector struct {
	DetectApp            string
	DetectInterval       time.Duration
	DetectTimeout        time.Duration
	AlertFailCount       int
	AlertScriptDir       string
	AlertEmail           string
	AppStatInterval      time.Duration
	UsageStatApp         string
	CUFetchInterval      time.Duration
	SavingTTL            time.Duration
	StorageFetchInterval time.Duration
	HotPartitionMin      int
	DetectHotkey         bool
	HotOccurrences       int
	MaxHotspotHistory    int64
}

func parseCompression(s string) (string, error) {
	list := s
	if rest, ok := strings.CutPrefix(s, "per_level:"); ok {
		list = rest
	} else if strings.Contains(s, ",") {
		return "", fmt.Errorf("a list needs per_level: before it")
	}
	items := splitList(list)
	if len(items) == 0 {
		return "", fmt.Errorf("no algorithm")
	}
	for _, a := range items {
		switch a {
		case "none", "snappy", "zstd", "lz4":
		default:
			return "", fmt.Errorf("%q is none of none, snappy, zstd, lz4", a)
		}
	}
	return s, nil
}

func (c *Config) declareServer() {
	v := &c.Server
	s := section{c, "pegasus.server"}
	s.Int(&v.CheckpointReserveCount, Uint32, "checkpoint_reserve_min_count", 2, "Checkpoints of a replica that are always kept").AtLeast(1).CanChange()
	s.Duration(&v.CheckpointReserveTime, Uint32, "checkpoint_reserve_time_seconds", time.Second, 1800, "Seconds a checkpoint is kept at least").CanChange()
	s.Duration(&v.StatInterval, Int32, "update_rdb_stat_interval", time.Second, 600, "Seconds between statistics of the storage engine").Range(1, 86400)
	s.Duration(&v.ManualCompactMinInterval, Int32, "manual_compact_min_interval_seconds", time.Second, 600, "Seconds between two manual compactions of a replica").AtLeast(0)
	s.Int64(&v.ReadCUSize, Uint64, "perf_counter_read_capacity_unit_size", 4096, "Bytes of a read capacity unit, a power of two").AtLeast(1)
	s.Int64(&v.WriteCUSize, Uint64, "perf_counter_write_capacity_unit_size", 4096, "Bytes of a write capacity unit, a power of two").AtLeast(1)
	s.Duration(&v.SlowQuery, Uint64, "rocksdb_slow_query_threshold_ns", 1, 100000000, "Nanoseconds from which a read is logged as slow").AtLeast(1)
	s.Int64(&v.AbnormalGetSize, Uint64, "rocksdb_abnormal_get_size_threshold", 1000000, "Bytes from which the answer of a get is logged, 0 means never")
	s.Int64(&v.AbnormalMultiGetSize, Uint64, "rocksdb_abnormal_multi_get_size_threshold", 10000000, "Bytes from which the answer of a multi_get is logged, 0 means never")
	s.Int64(&v.AbnormalMultiGetCount, Uint64, "rocksdb_abnormal_multi_get_iterate_count_threshold", 1000, "Records from which a multi_get is logged, 0 means never")
	s.Int64(&v.AbnormalBatchGetBytes, Uint64, "rocksdb_abnormal_batch_get_bytes_threshold", 10000000, "Bytes from which the answer of a batch_get is logged, 0 means never").CanChange()
	s.Int64(&v.AbnormalBatchGetCount, Uint64, "rocksdb_abnormal_batch_get_count_threshold", 2000, "Keys from which a batch_get is logged, 0 means never").CanChange()
	s.Int(&v.MaxIterationCount, Uint32, "rocksdb_max_iteration_count", 1000, "Records one scan request looks at").AtLeast(1)
	s.Int(&v.MultiGetMaxIterationCount, Uint32, "rocksdb_multi_get_max_iteration_count", 3000, "Records one multi_get looks at").AtLeast(1)
	s.Int64(&v.MultiGetMaxIterationSize, Uint64, "rocksdb_multi_get_max_iteration_size", 30<<20, "Bytes one multi_get returns").AtLeast(1)
	s.Duration(&v.IterationTime, Uint64, "rocksdb_iteration_threshold_time_ms", time.Millisecond, 30000, "Milliseconds one scan request may take").AtLeast(1)
	s.Int64(&v.WriteBufferSize, Uint64, "rocksdb_write_buffer_size", 64<<20, "Bytes of a memtable").Range(64<<10, 4<<30)
	s.Int(&v.WriteBufferCount, Int32, "rocksdb_max_write_buffer_number", 3, "Memtables of a replica before writes wait").Range(2, 1000)
	s.Int64(&v.TotalWriteBuffers, Uint64, "rocksdb_total_size_across_write_buffer", 0, "Bytes of all memtables of the process, 0 means no limit")
	s.Int(&v.NumLevels, Int32, "rocksdb_num_levels", 6, "Levels of the LSM tree; the engine of this server has seven").Range(1, 100)
	s.Int64(&v.TargetFileSize, Uint64, "rocksdb_target_file_size_base", 64<<20, "Bytes of a table file in the first levels").AtLeast(1 << 10)
	s.Int64(&v.LevelBaseBytes, Uint64, "rocksdb_max_bytes_for_level_base", 640<<20, "Bytes of the first level below L0").AtLeast(1 << 10)
	s.Int(&v.L0CompactionTrigger, Int32, "rocksdb_level0_file_num_compaction_trigger", 4, "Files of L0 that start a compaction").Range(1, 10000)
	s.Int(&v.L0SlowdownTrigger, Int32, "rocksdb_level0_slowdown_writes_trigger", 30, "Files of L0 that slow writes down").Range(1, 10000)
	s.Int(&v.L0StopTrigger, Int32, "rocksdb_level0_stop_writes_trigger", 60, "Files of L0 that stop writes").Range(1, 10000)
	declareCustom(s, &v.Compression, "rocksdb_compression_type", "lz4", "none, snappy, zstd or lz4, or per_level: and a list of them", parseCompression).Needed()
	s.Int64(&v.BlockCacheBytes, Uint64, "rocksdb_block_cache_capacity", 10<<30, "Bytes of the block cache all replicas share; at most a quarter of the machine's memory is used")
	s.Bool(&v.BloomDisabled, "rocksdb_disable_bloom_filter", false, "Write no bloom filters")
	s.Float(&v.BloomBitsPerKey, "rocksdb_bloom_filter_bits_per_key", 10, "Bits a key takes in a bloom filter")
	s.String(&v.FilterType, "rocksdb_filter_type", "prefix", "What filters are over: hash keys (prefix) or whole keys (common)").OneOf("prefix", "common")
	s.Int64(&v.WriteLimitMB, Int64, "rocksdb_limiter_max_write_megabytes_per_sec", 500, "MB/s of flushes and compactions of the process, 0 or less means no limit")
	s.Int(&v.MaxFlushes, Int32, "rocksdb_max_background_flushes", 4, "Flushes of the process at a time").Range(1, 1000)
	s.Int(&v.MaxCompactions, Int32, "rocksdb_max_background_compactions", 12, "Compactions of the process at a time").Range(1, 1000)
	s.Int(&v.MaxOpenFiles, Int32, "rocksdb_max_open_files", -1, "Table files a replica keeps open, -1 leaves it to the engine").AtLeast(-1)
	s.Duration(&v.HotkeyMaxDetect, Uint32, "max_seconds_to_detect_hotkey", time.Second, 150, "Seconds a hotkey detection runs at most").CanChange()
	s.Int(&v.HotkeyBuckets, Uint32, "hotkey_buckets_num", 37, "Buckets of hotkey detection, a prime").Range(2, 100000)
	s.Int(&v.HotkeyCoarseVariance, Uint32, "hot_bucket_variance_threshold", 7, "Deviation that makes a bucket hot").CanChange()
	s.Int(&v.HotkeyFineVariance, Uint32, "hot_key_variance_threshold", 5, "Deviation that makes a key hot").CanChange()
	s.Duration(&v.HotkeyAnalyseInterval, Int32, "hotkey_analyse_time_interval_s", time.Second, 10, "Seconds between analyses of hotkeys").Range(1, 3600)
	s.Bool(&c.Security.EncryptDataRest, "encrypt_data_at_rest", false, "Encrypt files; this server refuses to start with true")
	s.Ignore(String, "server_key", "", "Encryption key of the C++ server").Hide()
	s.String(&c.Security.KMSURL, "hadoop_kms_url", "", "Key server for encryption")

	o := &c.Collector
	s = section{c, "pegasus.collector"}
	s.String(&o.DetectApp, "available_detect_app", "temp", "Table that availability is measured on").Needed()
	s.Duration(&o.DetectInterval, Uint32, "available_detect_interval_seconds", time.Second, 3, "Seconds between detections of a partition").Range(1, 3600)
	s.Duration(&o.DetectTimeout, Uint32, "available_detect_timeout", time.Millisecond, 1000, "Milliseconds a detection's set and get may each take").Range(1, 600000)
	s.Int(&o.AlertFailCount, Int32, "available_detect_alert_fail_count", 30, "Failures of a partition in a row that raise an alert").Range(1, 1000000)
	s.String(&o.AlertScriptDir, "available_detect_alert_script_dir", "./package/bin", "Directory of sendmail.sh")
	s.String(&o.AlertEmail, "available_detect_alert_email_address", "", "Where alerts are mailed; empty means nowhere")
	s.Duration(&o.AppStatInterval, Uint32, "app_stat_interval_seconds", time.Second, 10, "Seconds between statistics of tables").Range(1, 86400)
	s.String(&o.UsageStatApp, "usage_stat_app", "stat", "Table that usage is saved in").Needed()
	s.Duration(&o.CUFetchInterval, Uint32, "capacity_unit_fetch_interval_seconds", time.Second, 8, "Seconds between reads of capacity units").Range(1, 86400)
	s.Duration(&o.SavingTTL, Int32, "capacity_unit_saving_ttl_days", 24*time.Hour, 90, "Days that saved statistics are kept").Range(1, 36500)
	s.Duration(&o.StorageFetchInterval, Uint32, "storage_size_fetch_interval_seconds", time.Second, 3600, "Seconds between reads of storage sizes").Range(1, 604800)
	s.Int(&o.HotPartitionMin, Uint32, "hot_partition_threshold", 3, "Deviation that makes a partition hot").CanChange()
	s.Bool(&o.DetectHotkey, "enable_detect_hotkey", false, "Start hotkey detection on hot partitions").CanChange()
	s.Int(&o.HotOccurrences, Uint32, "occurrence_threshold", 3, "Times a partition must be hot before hotkey detection starts").CanChange()
	s.Int64(&o.MaxHotspotHistory, Int64, "max_hotspot_store_size", 100, "Samples kept for hotspot detection").Range(1, 100000)
}
