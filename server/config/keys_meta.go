// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Meta is section [meta_server].
type Meta struct {
	ServerList                []string // host:port of all meta servers
	ClusterRoot               string   // path of the metadata in the store
	LockType                  string   // distributed_lock_service_zookeeper or _simple
	LockParameters            string
	StateType                 string // meta_state_service_zookeeper or _simple
	StateParameters           string
	LivePercentage            int // of nodes; below it the effective level is freezed
	MinLiveNodes              int // below it the effective level is freezed
	FunctionLevel             string
	RecoverFromReplicas       bool
	HoldDroppedApp            time.Duration
	AddSecondaryFlowControl   bool
	AddSecondaryMaxPerNode    int
	StableRunning             time.Duration // a restart sooner than this counts as unstable
	MaxUnstableRestarts       int
	AssignDelay               time.Duration // wait for a lost secondary before it is replaced
	MaxReservedDropped        int           // inactive copies kept beyond the replica count
	MaxReplicaCount           int
	MinReplicaCount           int
	BalancerInTurn            bool
	OnlyPrimaryBalancer       bool
	OnlyMovePrimary           bool
	BalanceCluster            bool
	BalanceOpsPerRound        int
	WhiteListEnabled          bool
	WhiteList                 []string
	ColdBackupDisabled        bool
	BulkLoadConcurrent        bool
	BulkLoadMaxRollbacks      int
	BulkLoadNodeMaxIngesting  int
	BulkLoadNodeMinDisks      int
	BulkLoadVerifyBeforeStart bool
}

// ZooKeeper is section [zookeeper].
type ZooKeeper struct {
	Hosts   []string      // host:port; a path below which everything is may follow the last one
	Timeout time.Duration // session timeout
}

// Servers are the addresses in Hosts and the path behind them, empty if there is none.
func (z *ZooKeeper) Servers() (addrs []string, chroot string) {
	return splitChroot(z.Hosts)
}

func splitChroot(hosts []string) (addrs []string, chroot string) {
	addrs = slices.Clone(hosts)
	if n := len(addrs) - 1; n >= 0 {
		if i := strings.IndexByte(addrs[n], '/'); i >= 0 {
			addrs[n], chroot = addrs[n][:i], addrs[n][i:]
		}
	}
	if chroot == "/" {
		chroot = ""
	}
	return addrs, chroot
}

// parseZooKeeper reads what ZooKeeper calls a connect string.
func parseZooKeeper(s string) ([]string, error) {
	list := splitList(s)
	addrs, chroot := splitChroot(list)
	if _, err := parseHostPorts(strings.Join(addrs, ",")); err != nil {
		return nil, err
	}
	if slices.Contains(addrs, "") {
		return nil, fmt.Errorf("%q has no server before the path", s)
	}
	if path.Clean(chroot) != chroot && chroot != "" {
		return nil, fmt.Errorf("%q behind the last server is not a clean path", chroot)
	}
	return list, nil
}

// Security is section [security].
type Security struct {
	EnableAuth      bool
	MandatoryAuth   bool
	EnableACL       bool
	SuperUsers      []string
	EnableZKAuth    bool
	ACLAllowList    []string
	ServiceFQDN     string
	ServiceName     string
	Krb5Config      string
	Krb5Keytab      string
	Krb5Principal   string
	EncryptDataRest bool // [pegasus.server] encrypt_data_at_rest
	KMSURL          string
	ZKMechanism     string // [zookeeper] sasl_mechanisms_type
}

func checkHostPort(a string) error {
	host, port, err := net.SplitHostPort(a)
	if err == nil {
		n, perr := strconv.Atoi(port)
		if host != "" && perr == nil && n >= 1 && n <= 65535 {
			return nil
		}
	}
	return fmt.Errorf("%q is not HOST:PORT, as in 10.0.0.1:34601", a)
}

func (c *Config) declareMeta() {
	m := &c.Meta
	s := section{c, "meta_server"}
	declareCustom(s, &m.ServerList, "server_list", "", "host:port of all meta servers, separated by commas", parseHostPorts)
	s.String(&m.ClusterRoot, "cluster_root", "/", "Path of this cluster's metadata in the metadata store").Needed()
	s.String(&m.LockType, "distributed_lock_service_type", "distributed_lock_service_zookeeper",
		"How meta servers elect their leader; distributed_lock_service_simple is for exactly one meta server").
		OneOf("distributed_lock_service_zookeeper", "distributed_lock_service_simple")
	s.String(&m.LockParameters, "distributed_lock_service_parameters", "", "Path of the leader lock in ZooKeeper")
	s.String(&m.StateType, "meta_state_service_type", "meta_state_service_zookeeper",
		"Where metadata is kept; meta_state_service_simple is a local store for exactly one meta server").
		OneOf("meta_state_service_zookeeper", "meta_state_service_simple")
	s.String(&m.StateParameters, "meta_state_service_parameters", "", "Parameters of the metadata store")
	s.Int(&m.LivePercentage, Int32, "node_live_percentage_threshold_for_update", 50,
		"Percentage of nodes alive below which the cluster is freezed").Range(0, 100)
	s.Int(&m.MinLiveNodes, Uint64, "min_live_node_count_for_unfreeze", 3, "Nodes alive below which the cluster is freezed").AtLeast(1).CanChange()
	s.String(&m.FunctionLevel, "meta_function_level_on_start", "steady", "Meta function level after a start").
		OneOf("stopped", "blind", "freezed", "steady", "lively")
	s.Bool(&m.RecoverFromReplicas, "recover_from_replica_server", false,
		"Wait for the recover command, which rebuilds metadata from the replica servers, instead of creating the default tables; this server refuses to start with true")
	s.Duration(&m.HoldDroppedApp, Int32, "hold_seconds_for_dropped_app", time.Second, 604800, "Seconds a dropped table can be recalled, by default").AtLeast(0)
	s.Bool(&m.AddSecondaryFlowControl, "add_secondary_enable_flow_control", true, "Limit how many secondaries are added to a node at a time")
	s.Int(&m.AddSecondaryMaxPerNode, Int32, "add_secondary_max_count_for_one_node", 20, "Secondaries added to one node at a time under flow control").AtLeast(0)
	s.Duration(&m.StableRunning, Uint64, "stable_rs_min_running_seconds", time.Second, 600, "Seconds a replica server must run for its start to count as stable")
	s.Int(&m.MaxUnstableRestarts, Int32, "max_succssive_unstable_restart", 5, "Unstable starts in a row after which a node is kept out").AtLeast(0)
	s.Duration(&m.AssignDelay, Int64, "replica_assign_delay_ms_for_dropouts", time.Millisecond, 600000,
		"Milliseconds to wait for a lost secondary before another node takes its place").AtLeast(1)
	s.Ignore(Int32, "max_replicas_in_group", "3", "Obsolete since 2.4, see max_reserved_dropped_replicas")
	s.Int(&m.MaxReservedDropped, Uint32, "max_reserved_dropped_replicas", 0, "Inactive copies of a partition kept beyond its replica count").CanChange()
	s.Int(&m.MaxReplicaCount, Int32, "max_allowed_replica_count", 5, "Largest replica count a table may have").AtLeast(1).CanChange()
	s.Int(&m.MinReplicaCount, Int32, "min_allowed_replica_count", 1, "Smallest replica count a table may have").AtLeast(1).CanChange()
	s.Bool(&m.BalancerInTurn, "balancer_in_turn", false, "Balance one table after the other")
	s.Bool(&m.OnlyPrimaryBalancer, "only_primary_balancer", false, "Balance primaries only")
	s.Bool(&m.OnlyMovePrimary, "only_move_primary", false, "Balance primaries by moving roles only, without copying")
	s.Bool(&m.BalanceCluster, "balance_cluster", false, "Balance over all tables of the cluster instead of table by table").CanChange()
	s.Int(&m.BalanceOpsPerRound, Uint32, "balance_op_count_per_round", 10, "Balance operations per round when balancing the cluster").CanChange()
	s.Ignore(String, "server_load_balancer_type", "greedy_load_balancer", "Balancer implementation; this server has one")
	s.Ignore(String, "partition_guardian_type", "partition_guardian", "Guardian implementation; this server has one")
	s.Bool(&m.ColdBackupDisabled, "cold_backup_disabled", false, "Refuse backups")
	s.Bool(&m.WhiteListEnabled, "enable_white_list", false, "Accept only replica servers of replica_white_list")
	declareCustom(s, &m.WhiteList, "replica_white_list", "", "host:port of the replica servers that may join", parseHostPorts)
	s.Bool(&m.BulkLoadConcurrent, "enable_concurrent_bulk_load", false, "Allow bulk load of several tables at a time").CanChange()
	s.Int(&m.BulkLoadMaxRollbacks, Uint32, "bulk_load_max_rollback_times", 10, "Times a bulk load may go back to an earlier state").CanChange()
	s.Int(&m.BulkLoadNodeMaxIngesting, Uint32, "bulk_load_node_max_ingesting_count", 4, "Partitions ingesting at a time on one node").CanChange()
	s.Int(&m.BulkLoadNodeMinDisks, Uint32, "bulk_load_node_min_disk_count", 1, "Disks a node must have to ingest").CanChange()
	s.Bool(&m.BulkLoadVerifyBeforeStart, "bulk_load_verify_before_ingest", false, "Verify files again before ingestion").CanChange()

	z := section{c, "zookeeper"}
	declareCustom(z, &c.ZooKeeper.Hosts, "hosts_list", "", "host:port of the ZooKeeper servers, separated by commas; a path may follow the last one", parseZooKeeper)
	z.Duration(&c.ZooKeeper.Timeout, Int32, "timeout_ms", time.Millisecond, 10000, "ZooKeeper session timeout in milliseconds").Range(100, 3600000)
	z.Ignore(String, "logfile", "zoo.log", "Log file of the ZooKeeper C client")
	z.Ignore(String, "zoo_log_level", "ZOO_LOG_LEVEL_INFO", "Log level of the ZooKeeper C client")
	z.String(&c.Security.ZKMechanism, "sasl_mechanisms_type", "", "SASL mechanism, GSSAPI or DIGEST-MD5").OneOf("", "GSSAPI", "DIGEST-MD5")
	z.Ignore(String, "sasl_user_name", "", "SASL user")
	z.Ignore(String, "sasl_realm", "", "SASL realm")
	z.Ignore(String, "sasl_password_file", "", "File with the SASL password")
	z.Ignore(String, "sasl_password_encryption_scheme", "", "How the SASL password is encrypted")
	z.Ignore(String, "sasl_service_name", "zookeeper", "SASL service name")
	z.Ignore(String, "sasl_service_fqdn", "", "SASL service host")

	a := &c.Security
	s = section{c, "security"}
	s.Bool(&a.EnableAuth, "enable_auth", false, "Require Kerberos authentication; this server has none and refuses to start with true")
	s.Bool(&a.MandatoryAuth, "mandatory_auth", false, "Refuse peers that do not authenticate; this server refuses to start with true").CanChange()
	s.Bool(&a.EnableACL, "enable_acl", false, "Check who may do what; this server refuses to start with true")
	s.List(&a.SuperUsers, "super_users", "", "Users who may do everything")
	s.List(&a.ACLAllowList, "meta_acl_rpc_allow_list", "", "RPCs of the meta server anybody may call")
	s.Bool(&a.EnableZKAuth, "enable_zookeeper_kerberos", false, "Authenticate to ZooKeeper with Kerberos")
	s.String(&a.Krb5Config, "krb5_config", "", "Kerberos configuration file")
	s.String(&a.Krb5Keytab, "krb5_keytab", "", "Kerberos keytab file")
	s.String(&a.Krb5Principal, "krb5_principal", "", "Kerberos principal")
	s.String(&a.ServiceFQDN, "service_fqdn", "", "Service host of the Kerberos principal")
	s.String(&a.ServiceName, "service_name", "", "Service name of the Kerberos principal")
	s.Ignore(String, "sasl_plugin_path", "/usr/lib/sasl2", "Directory of SASL plugins")
	s.Ignore(String, "zookeeper_kerberos_service_name", "", "Service name of ZooKeeper")
	s.Ignore(String, "zookeeper_sasl_service_fqdn", "", "Service host of ZooKeeper")
	s.Ignore(Bool, "enable_ranger_acl", "false", "Check access with Apache Ranger")
	s.Ignore(Uint32, "update_ranger_policy_interval_sec", "5", "Seconds between reads of Ranger policies")
	s.Ignore(String, "encryption_cluster_key_name", "pegasus_cluster_key", "Key for encryption at rest")
}

// checkGroups runs the checks that concern more than one key.
func (l *loader) checkGroups() {
	l.errs = append(l.errs, l.groupErrors()...)
}

// groupErrors returns what does not fit together among the fields of c.
func (c *Config) groupErrors() Errors {
	var errs Errors
	fail := func(sectionName, key, format string, a ...any) {
		e := &Error{File: c.file.Name, Section: sectionName, Key: key, Msg: fmt.Sprintf(format, a...)}
		if k := c.Key(sectionName, key); k != nil {
			e.Line = k.line
		}
		errs = append(errs, e)
	}
	r, m := &c.Repl, &c.Meta
	if r.MaxPrepareList < r.Staleness {
		fail("replication", "max_mutation_count_in_prepare_list", "%d is less than staleness_for_commit = %d: raise it", r.MaxPrepareList, r.Staleness)
	}
	if m.MinReplicaCount > m.MaxReplicaCount {
		fail("meta_server", "min_allowed_replica_count", "%d is more than max_allowed_replica_count = %d: lower it", m.MinReplicaCount, m.MaxReplicaCount)
	}
	if n := &c.NFS; n.MaxCopyRate != 0 && n.MaxCopyRate<<20 <= int64(n.BlockBytes) {
		fail("nfs", "max_copy_rate_megabytes_per_disk", "%d MB/s is not more than one block, nfs_copy_block_bytes = %d: raise it, or 0 for no limit", n.MaxCopyRate, n.BlockBytes)
	}
	if r.FDGrace <= r.FDLease {
		fail("replication", "fd_grace_seconds", "%s is not more than fd_lease_seconds = %s: a server would be declared dead while it still serves", r.FDGrace, r.FDLease)
	}
	if r.FDLease < r.FDBeaconInterval+r.FDCheckInterval {
		fail("replication", "fd_lease_seconds", "%s is less than fd_beacon_interval_seconds + fd_check_interval_seconds = %s: the lease would run out between two beacons",
			r.FDLease, r.FDBeaconInterval+r.FDCheckInterval)
	}
	simpleState, simpleLock := m.StateType == "meta_state_service_simple", m.LockType == "distributed_lock_service_simple"
	if simpleState != simpleLock {
		fail("meta_server", "meta_state_service_type", "%s does not go with distributed_lock_service_type = %s: choose both zookeeper or both simple", m.StateType, m.LockType)
	}
	if simpleState && len(m.ServerList) > 1 {
		fail("meta_server", "server_list", "%d meta servers cannot share the local store of meta_state_service_simple: name one, or use ZooKeeper", len(m.ServerList))
	}
	c.refusePromises(fail)
	if a := &c.Security; a.EnableZKAuth && a.ZKMechanism != "GSSAPI" {
		fail("security", "enable_zookeeper_kerberos", "needs [zookeeper] sasl_mechanisms_type = GSSAPI, not %q", a.ZKMechanism)
	}
	for _, k := range []string{"perf_counter_read_capacity_unit_size", "perf_counter_write_capacity_unit_size"} {
		if n, _ := strconv.ParseInt(c.Key("pegasus.server", k).text, 10, 64); n&(n-1) != 0 {
			fail("pegasus.server", k, "%d is no power of two", n)
		}
	}
	return errs
}

// refusePromises fails on the keys that ask for a protection this server does not have: to go on
// without would be worse than not to start.
func (c *Config) refusePromises(fail func(sectionName, key, format string, a ...any)) {
	a := &c.Security
	for _, p := range []struct {
		on           bool
		section, key string
		lacks, todo  string
	}{
		{a.EnableAuth, "security", "enable_auth", "authentication", trusted},
		{a.MandatoryAuth, "security", "mandatory_auth", "authentication", trusted},
		{a.EnableACL, "security", "enable_acl", "access control", trusted},
		{a.EncryptDataRest, "pegasus.server", "encrypt_data_at_rest", "encryption", "put its data on an encrypted file system"},
		{c.Meta.RecoverFromReplicas, "meta_server", "recover_from_replica_server", "recovery of metadata from replica servers, and would start without any table",
			"restore the meta server's data directory from a copy"},
	} {
		if p.on {
			fail(p.section, p.key, "true is not possible, this server has no %s: set the key to false or leave it out, and %s", p.lacks, p.todo)
		}
	}
}

const trusted = "keep the ports inside a trusted network"
