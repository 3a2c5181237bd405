// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// queryConfig handles RPC_CM_QUERY_PARTITION_CONFIG_BY_INDEX, which every client asks before
// anything else.
func (s *snapshot) queryConfig(q *idl.QueryCfgRequest, hp bool) idl.Value {
	t := s.names[q.AppName]
	if t == nil {
		return &idl.QueryCfgResponse{Err: idl.ErrObjectNotFound}
	}
	switch t.info.Status {
	case idl.AsCreating, idl.AsRecalling:
		return &idl.QueryCfgResponse{Err: idl.ErrBusyCreating}
	case idl.AsDropping:
		return &idl.QueryCfgResponse{Err: idl.ErrBusyDropping}
	}
	var some []int32 // valid indices; none means all
	for _, i := range q.PartitionIndices {
		if i >= 0 && int(i) < len(t.parts) && len(some) < len(t.parts) {
			some = append(some, i)
		}
	}
	if len(some) > 0 {
		return t.config(some, hp)
	}
	form := 0
	if hp {
		form = 1
	}
	t.once[form].Do(func() { t.encoded[form] = t.config(nil, hp).Append(nil) })
	return t.encoded[form]
}

// config is the answer about some partitions; nil means all.
func (t *tableView) config(some []int32, hp bool) *idl.QueryCfgResponse {
	r := &idl.QueryCfgResponse{Err: idl.ErrOK, AppID: t.info.AppID, PartitionCount: t.info.PartitionCount, IsStateful: true}
	if some == nil {
		r.Partitions = append(r.Partitions, t.parts...)
	}
	for _, i := range some {
		r.Partitions = append(r.Partitions, t.parts[i])
	}
	if hp {
		for i := range r.Partitions {
			addHostPorts(&r.Partitions[i])
		}
	}
	return r
}

// listApps handles RPC_CM_LIST_APPS.
func (s *snapshot) listApps(q *idl.ConfigurationListAppsRequest, _ bool) idl.Value {
	match, err := nameMatcher(q)
	if err != nil {
		hint := err.Error()
		return &idl.ConfigurationListAppsResponse{Err: idl.ErrInvalidParameters, HintMessage: &hint}
	}
	r := &idl.ConfigurationListAppsResponse{Err: idl.ErrOK}
	for _, t := range s.tables {
		if (q.Status == idl.AsInvalid || q.Status == t.info.Status) && match(t.info.AppName) {
			r.Infos = append(r.Infos, t.info)
		}
	}
	return r
}

// nameMatcher is what the optional pattern of a listing asks for.
func nameMatcher(q *idl.ConfigurationListAppsRequest) (func(string) bool, error) {
	all := func(string) bool { return true }
	if q.AppNamePattern == nil || *q.AppNamePattern == "" || q.MatchType == nil {
		return all, nil
	}
	pattern := *q.AppNamePattern
	switch *q.MatchType {
	case idl.PmtMatchAll:
		return all, nil
	case idl.PmtMatchExact:
		return func(n string) bool { return n == pattern }, nil
	case idl.PmtMatchAnywhere:
		return func(n string) bool { return strings.Contains(n, pattern) }, nil
	case idl.PmtMatchPrefix:
		return func(n string) bool { return strings.HasPrefix(n, pattern) }, nil
	case idl.PmtMatchPostfix:
		return func(n string) bool { return strings.HasSuffix(n, pattern) }, nil
	case idl.PmtMatchRegex:
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", pattern, err)
		}
		return re.MatchString, nil
	}
	return nil, fmt.Errorf("match type %s is not known", q.MatchType)
}

// listNodes handles RPC_CM_LIST_NODES.
func (s *snapshot) listNodes(q *idl.ConfigurationListNodesRequest, hp bool) idl.Value {
	r := &idl.ConfigurationListNodesResponse{Err: idl.ErrOK}
	for _, n := range s.nodes {
		status := idl.NsUnalive
		if n.alive {
			status = idl.NsAlive
		}
		if q.Status != idl.NsInvalid && q.Status != status {
			continue
		}
		info := idl.NodeInfo{Status: status, Node: n.addr}
		if hp {
			twin := n.addr.HostPort()
			info.HpNode = &twin
		}
		r.Infos = append(r.Infos, info)
	}
	return r
}

func (s *snapshot) getMaxReplicaCount(q *idl.ConfigurationGetMaxReplicaCountRequest, _ bool) idl.Value {
	t := s.names[q.AppName]
	if t == nil {
		return &idl.ConfigurationGetMaxReplicaCountResponse{Err: idl.ErrAppNotExist, HintMessage: "app(" + q.AppName + ") does not exist"}
	}
	return &idl.ConfigurationGetMaxReplicaCountResponse{Err: idl.ErrOK, MaxReplicaCount: t.info.MaxReplicaCount}
}

// clusterInfo handles RPC_CM_CLUSTER_INFO.
func (s *Server) clusterInfo(snap *snapshot) *idl.ConfigurationClusterInfoResponse {
	r := &idl.ConfigurationClusterInfoResponse{Err: idl.ErrOK}
	for _, kv := range s.clusterTable(snap) {
		r.Keys, r.Values = append(r.Keys, kv[0]), append(r.Values, kv[1])
	}
	return r
}

// clusterTable is cluster_info in the order operators know.
func (s *Server) clusterTable(snap *snapshot) [][2]string {
	metas := make([]string, len(s.o.MetaServers))
	for i, a := range s.o.MetaServers {
		metas[i] = a.String()
	}
	primaries, replicas := snap.spread()
	return [][2]string{
		{"meta_servers", strings.Join(metas, ",")},
		{"primary_meta_server", s.o.Self.String()},
		{"zookeeper_hosts", s.o.ZookeeperHosts},
		{"zookeeper_root", s.o.ClusterRoot},
		{"meta_function_level", levelName(snap.effective)},
		{"balance_operation_count", snap.ops.String()},
		{"primary_replica_count_stddev", fmt.Sprintf("%.2f", primaries)},
		{"total_replica_count_stddev", fmt.Sprintf("%.2f", replicas)},
		{"cluster_name", s.o.ClusterName},
	}
}
