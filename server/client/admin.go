// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// TableConfig is a table's id, size and the configuration of each partition.
type TableConfig struct {
	Name           string
	AppID          int32
	PartitionCount int32
	Partitions     []idl.PartitionConfiguration // by partition index
}

// QueryConfig returns the present configuration of a table. An unknown or dropped table is
// ErrTableNotFound; one that is being created or dropped is idl.ErrBusyCreating or
// idl.ErrBusyDropping.
func (c *Cluster) QueryConfig(ctx context.Context, table string) (*TableConfig, error) {
	return c.queryConfig(ctx, table, nil)
}

func (c *Cluster) queryConfig(ctx context.Context, table string, trouble func(*metaTrouble)) (*TableConfig, error) {
	var resp idl.QueryCfgResponse
	err := c.meta(ctx, &metaCall{
		op: "query configuration", table: table, rpc: idl.RPCQueryConfig, repeatable: true,
		arg: &idl.QueryCfgRequest{AppName: table}, result: &resp, trouble: trouble,
		verdict: func() (idl.ErrorCode, string) { return resp.Err, "" },
	})
	if e, ok := err.(*Error); ok && e.Code == idl.ErrObjectNotFound {
		e.Err = ErrTableNotFound
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(resp.Partitions, func(a, b idl.PartitionConfiguration) int {
		return int(a.Pid.PartitionIndex) - int(b.Pid.PartitionIndex)
	})
	return &TableConfig{Name: table, AppID: resp.AppID, PartitionCount: resp.PartitionCount, Partitions: resp.Partitions}, nil
}

// CreateOptions is the shape of a new table.
type CreateOptions struct {
	Partitions int               // a power of two, so that every client can use the table
	Replicas   int               // copies of each partition; at most the number of nodes alive
	Envs       map[string]string // table environments, may be nil
	// FailIfExist makes an existing table an error; without it creating a table that exists in
	// the same shape succeeds.
	FailIfExist bool
	// AtomicIdempotent asks for incr and the check operations to be replicated as plain writes.
	AtomicIdempotent bool
}

// CreateTable creates a table and returns its id. It does not wait until the partitions have
// their replicas; see [Ready].
func (c *Cluster) CreateTable(ctx context.Context, name string, o CreateOptions) (appID int32, err error) {
	req := idl.ConfigurationCreateAppRequest{AppName: name, Options: idl.CreateAppOptions{
		PartitionCount: int32(o.Partitions), ReplicaCount: int32(o.Replicas), SuccessIfExist: !o.FailIfExist,
		AppType: "pegasus", IsStateful: true, Envs: o.Envs,
	}}
	if o.AtomicIdempotent {
		req.Options.AtomicIdempotent = &o.AtomicIdempotent
	}
	var resp idl.ConfigurationCreateAppResponse
	err = c.meta(ctx, &metaCall{
		op: "create table " + name, rpc: idl.RPCCreateApp, arg: &req, result: &resp, repeatable: !o.FailIfExist,
		verdict: func() (idl.ErrorCode, string) { return resp.Err, "" },
	})
	return resp.Appid, err
}

// Ready counts the partitions that have a primary and at least replicas copies in all.
func (tc *TableConfig) Ready(replicas int) int {
	n := 0
	for _, p := range tc.Partitions {
		if !p.Primary.IsZero() && len(p.Secondaries)+1 >= replicas {
			n++
		}
	}
	return n
}

// DropTable drops a table. Its data can be recalled until reserve has passed; 0 means the
// server's default of usually a week. Dropping a table that does not exist succeeds.
func (c *Cluster) DropTable(ctx context.Context, name string, reserve time.Duration) error {
	opts := idl.DropAppOptions{SuccessIfNotExist: true}
	if reserve > 0 {
		seconds := int64((reserve + time.Second - 1) / time.Second)
		opts.ReserveSeconds = &seconds
	}
	var resp idl.ConfigurationDropAppResponse
	return c.meta(ctx, &metaCall{
		op: "drop table " + name, rpc: idl.RPCDropApp, repeatable: true,
		arg: &idl.ConfigurationDropAppRequest{AppName: name, Options: opts}, result: &resp,
		verdict: func() (idl.ErrorCode, string) { return resp.Err, "" },
	})
}

// RecallTable brings a dropped table back, under newName if that is not empty.
func (c *Cluster) RecallTable(ctx context.Context, appID int32, newName string) (idl.AppInfo, error) {
	var resp idl.ConfigurationRecallAppResponse
	err := c.meta(ctx, &metaCall{
		op: fmt.Sprintf("recall table %d", appID), rpc: idl.RPCRecallApp,
		arg: &idl.ConfigurationRecallAppRequest{AppID: appID, NewAppName: newName}, result: &resp,
		verdict: func() (idl.ErrorCode, string) { return resp.Err, "" },
	})
	return resp.Info, err
}

// RenameTable gives a table another name.
func (c *Cluster) RenameTable(ctx context.Context, oldName, newName string) error {
	var resp idl.ConfigurationRenameAppResponse
	return c.meta(ctx, &metaCall{
		op: fmt.Sprintf("rename table %s to %s", oldName, newName), rpc: idl.RPCRenameApp,
		arg: &idl.ConfigurationRenameAppRequest{OldAppName: oldName, NewAppName: newName}, result: &resp,
		verdict: func() (idl.ErrorCode, string) { return resp.Err, resp.HintMessage },
	})
}

// ListTables returns the tables with the given status, all including dropped ones for
// idl.AsInvalid, by id.
func (c *Cluster) ListTables(ctx context.Context, status idl.AppStatus) ([]idl.AppInfo, error) {
	var resp idl.ConfigurationListAppsResponse
	err := c.meta(ctx, &metaCall{
		op: "list tables", rpc: idl.RPCListApps, repeatable: true,
		arg: &idl.ConfigurationListAppsRequest{Status: status}, result: &resp,
		verdict: func() (idl.ErrorCode, string) { return resp.Err, deref(resp.HintMessage) },
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(resp.Infos, func(a, b idl.AppInfo) int { return int(a.AppID) - int(b.AppID) })
	return resp.Infos, nil
}

// ListNodes returns the replica servers with the given status, all for idl.NsInvalid, by
// address.
func (c *Cluster) ListNodes(ctx context.Context, status idl.NodeStatus) ([]idl.NodeInfo, error) {
	var resp idl.ConfigurationListNodesResponse
	err := c.meta(ctx, &metaCall{
		op: "list nodes", rpc: idl.RPCListNodes, repeatable: true,
		arg: &idl.ConfigurationListNodesRequest{Status: status}, result: &resp,
		verdict: func() (idl.ErrorCode, string) { return resp.Err, "" },
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(resp.Infos, func(a, b idl.NodeInfo) int {
		if a.Node < b.Node {
			return -1
		}
		return 1
	})
	return resp.Infos, nil
}

// A NameValue is one line of what a server says about itself.
type NameValue struct{ Name, Value string }

// Names of ClusterInfo.
const (
	InfoMetaServers   = "meta_servers"
	InfoPrimaryMeta   = "primary_meta_server"
	InfoZooKeeper     = "zookeeper_hosts"
	InfoZooKeeperRoot = "zookeeper_root"
	InfoLevel         = "meta_function_level" // the effective one, without "fl_"
	InfoBalance       = "balance_operation_count"
	InfoPrimaryStddev = "primary_replica_count_stddev"
	InfoTotalStddev   = "total_replica_count_stddev"
	InfoClusterName   = "cluster_name" // since Pegasus 2.6
)

// ClusterInfo returns what the leader says about the cluster, in its order.
func (c *Cluster) ClusterInfo(ctx context.Context) ([]NameValue, error) {
	var resp idl.ConfigurationClusterInfoResponse
	err := c.meta(ctx, &metaCall{
		op: "query cluster info", rpc: idl.RPCClusterInfo, repeatable: true,
		arg: &idl.ConfigurationClusterInfoRequest{}, result: &resp,
		verdict: func() (idl.ErrorCode, string) { return resp.Err, "" },
	})
	if err != nil {
		return nil, err
	}
	info := make([]NameValue, min(len(resp.Keys), len(resp.Values)))
	for i := range info {
		info[i] = NameValue{resp.Keys[i], resp.Values[i]}
	}
	return info, nil
}

// Level returns the function level the operator has set. The effective one, which is freezed
// while too few nodes are alive, stands in ClusterInfo.
func (c *Cluster) Level(ctx context.Context) (idl.MetaFunctionLevel, error) {
	return c.controlMeta(ctx, "query meta level", idl.FlInvalid)
}

// SetLevel sets the function level and returns the one before.
func (c *Cluster) SetLevel(ctx context.Context, level idl.MetaFunctionLevel) (old idl.MetaFunctionLevel, err error) {
	return c.controlMeta(ctx, "set meta level "+level.String(), level)
}

func (c *Cluster) controlMeta(ctx context.Context, op string, level idl.MetaFunctionLevel) (idl.MetaFunctionLevel, error) {
	var resp idl.ConfigurationMetaControlResponse
	err := c.meta(ctx, &metaCall{
		op: op, rpc: idl.RPCControlMeta, repeatable: level == idl.FlInvalid,
		arg: &idl.ConfigurationMetaControlRequest{Level: level}, result: &resp,
		verdict: func() (idl.ErrorCode, string) { return resp.Err, "" },
	})
	return resp.OldLevel, err
}

// SetEnvs sets environments of a table; others stay. It returns the server's remark, often "".
func (c *Cluster) SetEnvs(ctx context.Context, table string, envs map[string]string) (hint string, err error) {
	req := idl.ConfigurationUpdateAppEnvRequest{AppName: table, Op: idl.AppEnvOpSet}
	for _, k := range slices.Sorted(maps.Keys(envs)) {
		req.Keys, req.Values = append(req.Keys, k), append(req.Values, envs[k])
	}
	return c.updateEnv(ctx, "set environments", &req)
}

// DelEnvs removes environments of a table and returns the server's list of those removed.
func (c *Cluster) DelEnvs(ctx context.Context, table string, keys []string) (hint string, err error) {
	return c.updateEnv(ctx, "remove environments", &idl.ConfigurationUpdateAppEnvRequest{
		AppName: table, Op: idl.AppEnvOpDel, Keys: keys})
}

// ClearEnvs removes the environments of a table that begin with prefix and a dot, all when the
// prefix is empty, and returns the server's list of those removed.
func (c *Cluster) ClearEnvs(ctx context.Context, table, prefix string) (hint string, err error) {
	return c.updateEnv(ctx, "clear environments", &idl.ConfigurationUpdateAppEnvRequest{
		AppName: table, Op: idl.AppEnvOpClear, ClearPrefix: &prefix})
}

func (c *Cluster) updateEnv(ctx context.Context, op string, req *idl.ConfigurationUpdateAppEnvRequest) (string, error) {
	var resp idl.ConfigurationUpdateAppEnvResponse
	err := c.meta(ctx, &metaCall{
		op: op, table: req.AppName, rpc: idl.RPCUpdateAppEnv, arg: req, result: &resp,
		repeatable: req.Op == idl.AppEnvOpSet,
		verdict:    func() (idl.ErrorCode, string) { return resp.Err, resp.HintMessage },
	})
	return resp.HintMessage, err
}

// ProposeBalancer asks the leader to carry out actions on a partition. An action without a
// target is executed by the primary. force sends them at once, past the balancer.
func (c *Cluster) ProposeBalancer(ctx context.Context, gpid idl.GPID, actions []idl.ConfigurationProposalAction, kind *idl.BalancerRequestType, force bool) error {
	var resp idl.ConfigurationBalancerResponse
	return c.meta(ctx, &metaCall{
		op: "propose for partition " + gpid.String(), rpc: idl.RPCProposeBalancer,
		arg:    &idl.ConfigurationBalancerRequest{Gpid: gpid, ActionList: actions, Force: &force, BalanceType: kind},
		result: &resp, verdict: func() (idl.ErrorCode, string) { return resp.Err, "" },
	})
}

// DDDDiagnose returns the partitions that have lost all their replicas ("double dead"), with
// what is known of each copy. A zero AppID asks for all tables, a negative PartitionIndex for
// all partitions of a table.
func (c *Cluster) DDDDiagnose(ctx context.Context, gpid idl.GPID) ([]idl.DddPartitionInfo, error) {
	if gpid.AppID <= 0 {
		gpid = idl.GPID{AppID: -1, PartitionIndex: -1}
	}
	var resp idl.DddDiagnoseResponse
	err := c.meta(ctx, &metaCall{
		op: "diagnose dead partitions", rpc: idl.RPCDddDiagnose, repeatable: true,
		arg: &idl.DddDiagnoseRequest{Pid: gpid}, result: &resp,
		verdict: func() (idl.ErrorCode, string) { return resp.Err, "" },
	})
	return resp.Partitions, err
}

// ReplicaCount returns how many copies each partition of a table should have.
func (c *Cluster) ReplicaCount(ctx context.Context, table string) (int, error) {
	var resp idl.ConfigurationGetMaxReplicaCountResponse
	err := c.meta(ctx, &metaCall{
		op: "query replica count", table: table, rpc: idl.RPCGetMaxReplicaCount, repeatable: true,
		arg: &idl.ConfigurationGetMaxReplicaCountRequest{AppName: table}, result: &resp,
		verdict: func() (idl.ErrorCode, string) { return resp.Err, resp.HintMessage },
	})
	return int(resp.MaxReplicaCount), err
}

// SetReplicaCount changes how many copies each partition of a table should have and returns the
// number before.
func (c *Cluster) SetReplicaCount(ctx context.Context, table string, n int) (old int, err error) {
	var resp idl.ConfigurationSetMaxReplicaCountResponse
	err = c.meta(ctx, &metaCall{
		op: "set replica count", table: table, rpc: idl.RPCSetMaxReplicaCount,
		arg: &idl.ConfigurationSetMaxReplicaCountRequest{AppName: table, MaxReplicaCount: int32(n)}, result: &resp,
		verdict: func() (idl.ErrorCode, string) { return resp.Err, resp.HintMessage },
	})
	return int(resp.OldMaxReplicaCount), err
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
