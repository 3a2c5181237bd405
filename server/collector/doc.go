// SPDX-License-Identifier: Apache-2.0

// Package collector is the collector role: one process beside a cluster that looks at it the way
// a client does and keeps the record.
//
// Its job at present is availability detection. For every partition of one table (temp, by
// default) it writes a record and reads it back, every few seconds, through the client library
// like any other client: what it cannot do, users cannot do. It counts, logs every partition
// that becomes unavailable or available again, sums up each minute, raises an alert when a
// partition stays unavailable, and writes a row for every minute, hour and day into the same
// table, where Pegasus's own tools look for them:
//
//	hash key detect_available_minute   sort key 2026-11-22 03:15   value <times>,<successes>,<availability*1e6>
//	hash key detect_available_hour     sort key 2026-11-22 03
//	hash key detect_available_day      sort key 2026-11-22
//
// The collector holds no state that matters: it can be killed and started at any time, at the
// price of the minute, hour and day that were being counted.
//
// Further jobs (table statistics, hotspots) become files beside detector.go, started and
// stopped by [Server] in the same way.
package collector
