// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/metrics"
)

// An op is a data operation in the metrics.
type op int

const (
	opGet op = iota
	opTTL
	opMultiGet
	opBatchGet
	opSortkeyCount
	opScan
	opPut
	opMultiPut
	opRemove
	opMultiRemove
	opIncr
	opCheckAndSet
	opCheckAndMutate
	opCount
)

var opNames = [opCount]string{
	"get", "ttl", "multi_get", "batch_get", "sortkey_count", "scan", "put", "multi_put", "remove", "multi_remove",
	"incr", "check_and_set", "check_and_mutate",
}

var opOf = map[string]op{
	idl.RPCGet: opGet, idl.RPCTtl: opTTL, idl.RPCMultiGet: opMultiGet, idl.RPCBatchGet: opBatchGet,
	idl.RPCSortkeyCount: opSortkeyCount, idl.RPCGetScanner: opScan, idl.RPCScan: opScan,
	idl.RPCPut: opPut, idl.RPCMultiPut: opMultiPut, idl.RPCRemove: opRemove, idl.RPCMultiRemove: opMultiRemove,
	idl.RPCIncr: opIncr, idl.RPCCheckAndSet: opCheckAndSet, idl.RPCCheckAndMutate: opCheckAndMutate,
}

// replicaMetrics are the numbers of one replica.
type replicaMetrics struct {
	entity    *metrics.Entity
	requests  [opCount]*metrics.Counter
	committed *metrics.Counter // mutations applied
	taught    [idl.LtApp + 1]*metrics.Counter
	learned   *metrics.Counter
	failed    *metrics.Counter // learns that ended in failure
	copied    *metrics.Counter // bytes
}

// measure makes the metrics of a replica that has been opened.
func (r *replica) measure() {
	e := r.server.opts.Metrics.Replica(r.gpid.AppID, r.gpid.PartitionIndex)
	m := &r.metrics
	m.entity = e
	for i, name := range opNames {
		m.requests[i] = e.Counter(name+"_requests", metrics.Requests, "The number of "+name+" requests")
	}
	m.committed = e.Counter("committed_requests", metrics.Requests, "The number of committed mutations")
	for t, name := range []string{"failed", "cache", "log", "app"} {
		m.taught[t] = e.Counter("learn_lt_"+name+"_responses", metrics.Requests,
			"The number of answers to learners of this type ("+name+")")
	}
	m.learned = e.Counter("learn_successful_count", "Learns", "The number of times this replica has caught up as a learner")
	m.failed = e.Counter("learn_failed_count", "Learns", "The number of times this replica has failed to catch up as a learner")
	m.copied = e.Counter("learn_copy_file_bytes", metrics.Bytes, "The bytes copied from other servers by this replica as a learner")
	e.GaugeFunc("private_log_size_mb", metrics.MegaBytes, "The size of the private log", func() int64 { return r.plog.Size() >> 20 })
	e.GaugeFunc("rdb_estimated_keys", "Keys", "The estimated number of records", func() int64 {
		if db := r.db.Load(); db != nil {
			if n, err := db.EstimateKeys(); err == nil {
				return n
			}
		}
		return 0
	})
	e.GaugeFunc("rdb_total_sst_size_mb", metrics.MegaBytes, "The size of the data files", func() int64 {
		if db := r.db.Load(); db != nil {
			return db.Metrics().TableBytes >> 20
		}
		return 0
	})
	e.GaugeFunc("rdb_total_sst_files", "Files", "The number of data files", func() int64 {
		if db := r.db.Load(); db != nil {
			return db.Metrics().Tables
		}
		return 0
	})
	e.GaugeFunc("rdb_memtable_mem_usage_bytes", metrics.Bytes, "The memory of data not flushed yet", func() int64 {
		if db := r.db.Load(); db != nil {
			return db.Metrics().MemTableBytes
		}
		return 0
	})
}

// serverMetrics are the numbers of the whole role.
type serverMetrics struct {
	readFailed, readBusy, writeFailed, writeBusy *metrics.Counter
	served, serveFailed                          *metrics.Counter // bytes and failures of the file server
	setAside                                     *metrics.Counter
}

func (s *Server) measure() {
	e := s.opts.Metrics.Server()
	m := &s.metrics
	m.readFailed = e.Counter("read_failed_requests", metrics.Requests, "The number of reads that were refused")
	m.readBusy = e.Counter("read_busy_requests", metrics.Requests, "The number of reads refused because too many wait")
	m.writeFailed = e.Counter("write_failed_requests", metrics.Requests, "The number of writes that were refused")
	m.writeBusy = e.Counter("write_busy_requests", metrics.Requests, "The number of writes refused because too many wait")
	m.served = e.Counter("nfs_server_copy_bytes", metrics.Bytes, "The bytes that other servers have copied from here")
	m.serveFailed = e.Counter("nfs_server_copy_failed_requests", metrics.Requests, "The number of file copies that failed here")
	m.setAside = e.Counter("moved_error_replicas", metrics.Replicas, "The number of damaged replicas that were set aside")
	count := func(name, desc string, get func(Counts) int) {
		e.GaugeFunc(name, metrics.Replicas, desc, func() int64 { return int64(get(s.Counts())) })
	}
	count("total_replicas", "The number of open replicas", func(c Counts) int {
		return c.Primaries + c.Secondaries + c.Learners + c.Inactive
	})
	count("primary_replicas", "The number of primaries", func(c Counts) int { return c.Primaries })
	count("secondary_replicas", "The number of secondaries", func(c Counts) int { return c.Secondaries })
	count("learning_replicas", "The number of learners", func(c Counts) int { return c.Learners })
	count("inactive_replicas", "The number of open replicas without a role", func(c Counts) int { return c.Inactive })
	e.GaugeFunc("opening_replicas", metrics.Replicas, "The number of replicas being opened", func() int64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return int64(len(s.opening))
	})
	e.GaugeFunc("closing_replicas", metrics.Replicas, "The number of replicas being closed", s.closing.Load)
	e.GaugeFunc("rdb_block_cache_mem_usage_bytes", metrics.Bytes, "The memory of the block cache", func() int64 {
		return s.shared.Metrics().CacheBytes
	})
	for _, d := range s.disks.all {
		e := s.opts.Metrics.Disk(d.tag, d.path)
		e.GaugeFunc("disk_capacity_total_mb", metrics.MegaBytes, "The size of the disk", func() int64 { return d.capacity.Load() >> 20 })
		e.GaugeFunc("disk_capacity_avail_mb", metrics.MegaBytes, "The free space of the disk", func() int64 { return d.avail.Load() >> 20 })
	}
}
