// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"strconv"
	"time"
)

// Table environment keys that the engine obeys.
const (
	EnvDefaultTTL            = "default_ttl"                                 // seconds, 0 = none
	EnvIterationThreshold    = "replica.rocksdb_iteration_threshold_time_ms" // of one range read, 0 = no limit
	EnvValidatePartitionHash = "replica.split.validate_partition_hash"       // true or false
)

// defaultIterationThreshold bounds the time of one range read of a table without
// EnvIterationThreshold (rocksdb_iteration_threshold_time_ms).
const defaultIterationThreshold = 30 * time.Second

// settings is what a table's environment says. Values are never changed once published.
type settings struct {
	defaultTTL         uint32        // seconds, 0 = none
	iterationThreshold time.Duration // 0 = no limit
	validateHash       bool
	partitions         uint32 // of the table, 0 = not known: hashes are not validated
}

// SetEnvs makes the environment of the table effective: all of it, so what is absent returns to
// its default. Values that do not parse are ignored, because the meta server has refused them
// before they got here.
func (d *DB) SetEnvs(envs map[string]string) {
	d.updateSettings(func(s *settings) {
		s.defaultTTL = 0
		if n, err := strconv.ParseInt(envs[EnvDefaultTTL], 10, 32); err == nil && n > 0 {
			s.defaultTTL = uint32(n)
		}
		s.iterationThreshold = d.opts.IterationThreshold
		if n, err := strconv.ParseInt(envs[EnvIterationThreshold], 10, 64); err == nil && n >= 0 {
			s.iterationThreshold = time.Duration(n) * time.Millisecond
		}
		s.validateHash = envs[EnvValidatePartitionHash] == "true"
	})
}

// SetPartitionCount tells how many partitions the table has, which scans need when the table
// wants partition hashes validated. 0 means not known.
func (d *DB) SetPartitionCount(n int32) {
	d.updateSettings(func(s *settings) { s.partitions = uint32(max(n, 0)) })
}

func (d *DB) updateSettings(change func(*settings)) {
	d.settingsMu.Lock()
	defer d.settingsMu.Unlock()
	s := *d.settings.Load()
	change(&s)
	d.settings.Store(&s)
}

// StartPayload begins a payload on the primary: it records, for this mutation, the settings of
// the table that all replicas must follow alike, because they learn of a change at different
// times. A payload begun without it makes each replica use its own default_ttl.
func (d *DB) StartPayload(b []byte) []byte {
	return appendSettings(b, d.settings.Load().defaultTTL)
}
