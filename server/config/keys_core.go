// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"log/slog"
)

// Core is section [core].
type Core struct {
	DataDir     string
	LogDir      string // empty: <DataDir>/log
	LogLevel    slog.Level
	FlushOnExit bool
	// MemoryLimit is the soft limit of the Go runtime in bytes; 0 chooses one from the role
	// and the machine, a negative number sets none.
	MemoryLimit int64
}

// Logger is section [tools.simple_logger].
type Logger struct {
	ShortHeader  bool // leave file, line and function out of log lines
	FastFlush    bool // write every line at once
	StderrLevel  slog.Level
	MaxFiles     int
	MaxFileBytes int64
	BaseName     string
}

// Network is section [network].
type Network struct {
	PrimaryInterface string // name of the interface whose address is used
	ExplicitHost     string // host name or IPv4 address that is used; beats PrimaryInterface
	ConnsPerIP       int    // inbound connections per client address, 0 = no limit
	// HostPortsTHFT and HostPortsRDSN say whether answers on that framing carry the host_port
	// fields that Pegasus 2.6 added. Older thrift clients hang on them; the C++ client of 2.6
	// needs them.
	HostPortsTHFT bool
	HostPortsRDSN bool
}

// HTTP is section [http].
type HTTP struct {
	Enabled bool
}

func (c *Config) declareCore() {
	core := section{c, "core"}
	core.String(&c.Core.DataDir, "data_dir", "./data", "Directory of this process's data and, by default, logs").Needed()
	core.String(&c.Core.LogDir, "log_dir", "", "Directory of the log files, an absolute path; empty means data_dir/log")
	declareCustom(core, &c.Core.LogLevel, "logging_start_level", "LOG_LEVEL_INFO", "Lowest level that is logged", ParseLevel).Needed()
	core.Bool(&c.Core.FlushOnExit, "logging_flush_on_exit", true, "Write buffered log lines when the process ends")
	core.Int64(&c.Core.MemoryLimit, Int64, "memory_limit_bytes", 0,
		"Soft memory limit of the process in bytes (GOMEMLIMIT); 0 chooses one from role, caches and machine, a negative number sets none. Of this server only")

	l := section{c, "tools.simple_logger"}
	l.Bool(&c.Logger.ShortHeader, "short_header", false, "Leave file, line and function out of log lines")
	l.Bool(&c.Logger.FastFlush, "fast_flush", false, "Write every log line at once instead of in batches")
	declareCustom(l, &c.Logger.StderrLevel, "stderr_start_level", "LOG_LEVEL_WARNING", "Lowest level that is also written to stderr", ParseLevel).Needed()
	l.Int(&c.Logger.MaxFiles, Uint64, "max_number_of_log_files_on_disk", 20, "Log files kept; the oldest are deleted").Range(1, 100000)
	l.Int64(&c.Logger.MaxFileBytes, Uint64, "max_log_file_bytes", 64<<20, "Size in bytes at which a new log file is begun").AtLeast(4096)
	l.String(&c.Logger.BaseName, "base_name", "pegasus", "Base name of log files when no role is known").Needed()

	n := section{c, "network"}
	n.String(&c.Network.PrimaryInterface, "primary_interface", "", "Network interface whose IPv4 address is used; empty means the first site-local address")
	n.String(&c.Network.ExplicitHost, "explicit_host_address", "", "Host name or IPv4 address of this server; beats primary_interface")
	n.Int(&c.Network.ConnsPerIP, Uint32, "conn_threshold_per_ip", 0, "Inbound connections accepted from one address, 0 means no limit")
	n.Bool(&c.Network.HostPortsTHFT, "thrift_host_port_fields", false,
		"Send host_port fields to thrift clients (Go, Java, Python, Node.js); those built on 2.5 or older hang on them. Of this server only")
	n.Bool(&c.Network.HostPortsRDSN, "native_host_port_fields", true,
		"Send host_port fields to C++ clients; those of 2.6 need them, older ones fail on them. Of this server only")
	n.Ignore(Uint32, "io_service_worker_count", "4", "Threads of the network engine")
	n.Ignore(Int32, "socket_send_buffer_bytes", "16777216", "Send buffer of a socket; this server leaves it to the system")
	n.Ignore(Int32, "socket_recv_buffer_bytes", "16777216", "Receive buffer of a socket; this server leaves it to the system")
	n.Ignore(Uint32, "conn_pool_max_size", "4", "Connections to one peer")
	n.Ignore(Bool, "enable_udp", "true", "Send beacons over UDP; this server sends them over TCP")
	n.Ignore(String, "unknown_message_header_format", "", "Format assumed of unknown message headers")

	section{c, "http"}.Bool(&c.HTTP.Enabled, "enable_http_server", true, "Serve HTTP on the RPC port")
	section{c, "http"}.Ignore(Uint32, "curl_timeout_ms", "10000", "Timeout of outgoing HTTP requests in milliseconds")
}

// App keys and the other families of sections whose names are not fixed. They are declared by
// name and documented here; config.go and pools.go read them.
var families = []struct {
	match func(section string) bool
	keys  []familyKey
	open  bool // keys beside the listed ones are fine
}{
	{inFamily("apps"), []familyKey{
		{"type", "", "Role: meta, replica or collector"},
		{"name", "", "Obsolete; the name is that of the section"},
		{"arguments", "", "Arguments of the role"},
		{"ports", "", "Port for RPC and HTTP"},
		{"pools", "", "Thread pools of the role; not used by this server"},
		{"delay_seconds", "0", "Seconds to wait before the role starts"},
		{"count", "1", "Instances of the role in one process, on consecutive ports"},
		{"run", "true", "Start the role when -app_list is not given"},
	}, false},
	{inFamily("threadpool"), []familyKey{
		{"name", "", "Name of the pool"},
		{"worker_count", "4", "Threads of the pool"},
		{"queue_length_throttling_threshold", "1000000", "Waiting requests beyond which clients are told ERR_BUSY"},
		{"worker_priority", "", "Scheduling priority of the threads; not used by this server"},
		{"worker_share_core", "true", "Whether threads share the assigned cores; not used by this server"},
		{"worker_affinity_mask", "0", "Cores the pool may use; not used by this server"},
		{"partitioned", "false", "Whether each thread has its own queue; not used by this server"},
		{"dequeue_batch_size", "5", "Tasks taken from the queue at once; not used by this server"},
		{"enable_virtual_queue_throttling", "false", "Throttle with virtual queues; not used by this server"},
		{"max_input_queue_length", "", "Obsolete; not used by this server"},
		{"queue_aspects", "", "Not used by this server"},
		{"queue_factory_name", "", "Not used by this server"},
		{"worker_aspects", "", "Not used by this server"},
		{"worker_factory_name", "", "Not used by this server"},
		{"admission_controller_factory_name", "", "Obsolete; not used by this server"},
		{"admission_controller_arguments", "", "Obsolete; not used by this server"},
	}, false},
	{inFamily("task"), nil, true},
	{func(s string) bool { return hasPrefix(s, "meta_server.apps.") || s == "replication.app" }, []familyKey{
		{"app_name", "", "Name of the table"},
		{"app_type", "pegasus", "Storage type of the table"},
		{"partition_count", "1", "Partitions of the table"},
		{"max_replica_count", "3", "Replicas of a partition"},
		{"stateful", "true", "Whether the table has state"},
		{"envs", "", "Table environment, k1=v1,k2=v2"},
		{"package_id", "", "Obsolete"},
	}, false},
	{func(s string) bool {
		return s == "pegasus.clusters" || s == "duplication-group" || s == "uri-resolver.dsn" ||
			hasPrefix(s, "block_service.") || hasPrefix(s, "components.") || hasPrefix(s, "tools.") || hasPrefix(s, "modules.") ||
			hasPrefix(s, "uri-resolver.")
	}, nil, true},
}

type familyKey struct{ name, def, doc string }

func inFamily(name string) func(string) bool {
	return func(s string) bool { return hasPrefix(s, name+".") }
}

func hasPrefix(s, prefix string) bool { return len(s) > len(prefix) && s[:len(prefix)] == prefix }

// A Pool is what [threadpool.X] says about a thread pool of Pegasus. Here it bounds how many
// requests of that kind run and wait at a time.
type Pool struct {
	Workers int
	Queue   int // requests that may wait before clients are told ERR_BUSY
}

// Pool returns the settings of [threadpool.name], or def where neither it nor
// [threadpool..default] says anything.
func (c *Config) Pool(name string, def Pool) (Pool, error) {
	l := &loader{Config: c}
	s := "threadpool." + name
	p := Pool{
		Workers: value(l, s, "worker_count", def.Workers, intIn(1, 4096)),
		Queue:   value(l, s, "queue_length_throttling_threshold", def.Queue, intIn(1, 1<<31-1)),
	}
	return p, l.errs.orNil()
}

func parseHostPorts(s string) ([]string, error) {
	list := splitList(s)
	seen := map[string]bool{}
	for _, a := range list {
		if err := checkHostPort(a); err != nil {
			return nil, err
		}
		if seen[a] {
			return nil, fmt.Errorf("%s is listed twice", a)
		}
		seen[a] = true
	}
	return list, nil
}
