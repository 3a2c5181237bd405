// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/collector"
	"github.com/pegasus-ops/pegasus-ops/server/engine"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta"
	"github.com/pegasus-ops/pegasus-ops/server/metrics"
	"github.com/pegasus-ops/pegasus-ops/server/replica"
)

// startRole starts what the node's app asks for.
func (n *node) startRole(ctx context.Context) (role, error) {
	switch n.app.Role {
	case "meta":
		return started(n.startMeta(ctx))
	case "replica":
		return started(n.startReplica(ctx))
	case "collector":
		return started(n.startCollector(ctx))
	}
	return nil, fmt.Errorf("there is no role %q", n.app.Role)
}

// started keeps a nil pointer from becoming a role that is not nil.
func started[R role](r R, err error) (role, error) {
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (n *node) registerMetrics() {
	n.metrics.Process()
	n.metrics.Server().GaugeFunc("network_server_sessions", metrics.Sessions, "The number of sessions from server side", func() int64 {
		return int64(n.wire.Sessions())
	})
}

// metaServers resolves [meta_server] server_list.
func (n *node) metaServers(ctx context.Context) ([]idl.RPCAddress, error) {
	list := n.Config.Meta.ServerList
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addrs, err := client.ResolveAll(ctx, list)
	if err != nil {
		return nil, fmt.Errorf("[meta_server] server_list = %s: %w", strings.Join(list, ","), err)
	}
	return addrs, nil
}

func (n *node) startMeta(ctx context.Context) (*metaRole, error) {
	c := n.Config
	m := &c.Meta
	metas, err := n.metaServers(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(metas, n.addr) {
		n.log.Warn("this meta server is not in [meta_server] server_list under its own address: replica servers will not find it; correct the list or [network] explicit_host_address",
			"node", n.addr, "server_list", strings.Join(m.ServerList, ","))
	}
	o := meta.DefaultOptions()
	o.Self, o.StartTime, o.Dir, o.FS = n.addr, n.start, n.dir, vfs.Default
	o.Mux, o.Peers, o.Commands, o.Log = n.mux, n.peers, n.commands, n.log
	o.HTTP = n.pages
	o.MetaServers = metas
	o.ClusterName = c.Repl.ClusterName
	o.ClusterRoot = m.ClusterRoot
	if tables := defaultTables(c); tables != nil {
		o.DefaultTables = tables
	}
	o.StartLevel = functionLevels[m.FunctionLevel]
	o.LivePercentage = m.LivePercentage
	o.MinLiveNodes = m.MinLiveNodes
	o.HoldDropped = m.HoldDroppedApp
	o.MinAllowedReplicas = int32(m.MinReplicaCount)
	o.MaxAllowedReplicas = int32(m.MaxReplicaCount)
	o.MaxReservedDropped = m.MaxReservedDropped
	o.MinWriteReplicas = int32(c.Repl.MinReplicas2PC)
	o.AssignDelay = m.AssignDelay
	o.FlowControl = m.AddSecondaryFlowControl
	o.MaxAddsPerNode = m.AddSecondaryMaxPerNode
	o.CureInterval = c.Repl.LBInterval
	o.Grace = c.Repl.FDGrace
	o.FDCheckInterval = c.Repl.FDCheckInterval
	o.StableRunning = m.StableRunning
	o.MaxUnstableStarts = m.MaxUnstableRestarts
	if m.WhiteListEnabled {
		if o.AllowList, err = client.ResolveAll(ctx, m.WhiteList); err != nil {
			return nil, fmt.Errorf("[meta_server] replica_white_list: %w", err)
		}
	}
	role := &metaRole{}
	if m.StateType == zookeeperState {
		if role.store, err = n.openZooKeeper(); err != nil {
			return nil, err
		}
		o.Store, o.Election = role.store, role.store
		o.ZookeeperHosts = strings.Join(c.ZooKeeper.Hosts, ",")
	}
	if role.Server, err = meta.Start(ctx, o); err != nil {
		role.close()
		return nil, err
	}
	return role, nil
}

var functionLevels = map[string]idl.MetaFunctionLevel{
	"stopped": idl.FlStopped,
	"blind":   idl.FlBlind,
	"freezed": idl.FlFreezed,
	"steady":  idl.FlSteady,
	"lively":  idl.FlLively,
}

func (n *node) startReplica(ctx context.Context) (*replica.Server, error) {
	c := n.Config
	r, v := &c.Repl, &c.Server
	metas, err := n.metaServers(ctx)
	if err != nil {
		return nil, err
	}
	if err := n.refuseSharedLog(); err != nil {
		return nil, err
	}
	dirs, err := n.dataDirs()
	if err != nil {
		return nil, err
	}
	o := replica.DefaultOptions()
	o.Self, o.StartTime, o.FS = n.addr, n.start, vfs.Default
	o.Mux, o.Peers, o.Commands, o.Log = n.mux, n.peers, n.commands, n.log
	o.HTTP, o.Metrics = n.pages, n.metrics
	o.DataDirs = dirs
	o.IgnoreBrokenDisk = r.IgnoreBrokenDisk
	o.Metas = metas
	o.BeaconInterval = r.FDBeaconInterval
	o.Lease = r.FDLease
	o.ConfigSyncInterval = r.ConfigSyncInterval
	o.GroupCheckInterval = r.GroupCheckInterval
	o.CloseDelay = r.GCMemoryReplica
	o.PrepareTimeout = r.PrepareTimeoutSecondary
	o.MinReplicas = r.MinReplicas2PC
	o.Staleness = r.Staleness
	o.PrepareListSize = r.MaxPrepareList
	o.MaxWriteSize = int(r.MaxWriteSize)
	if r.BatchWriteDisabled {
		o.MutationWrites = 1
	}
	o.PlogSync = r.PlogForceFlush
	o.PlogSegmentBytes = r.PlogSegmentBytes
	o.PlogReserveBytes = r.PlogReserveBytes
	o.PlogReserveAge = r.PlogReserveTime
	o.CheckpointEvery = r.CheckpointInterval
	o.CheckpointMaxAge = r.CheckpointMaxInterval
	o.CheckpointReserveCount = v.CheckpointReserveCount
	o.CheckpointReserveAge = v.CheckpointReserveTime
	o.LearnMax = r.LearnAppMaxConcurrent
	o.CopyBlockBytes = c.NFS.BlockBytes
	o.CopyTimeout = c.NFS.RPCTimeout
	o.DiskStatInterval = r.DiskStatInterval
	o.DiskMinAvailable = r.DiskMinAvailable
	o.RejectWritesOnFullDisk = r.RejectWriteWhenDiskFull
	o.ErrDirKeep = r.GCErrorReplica
	o.GarbageDirKeep = r.GCGarbageReplica
	memtables := memtableBytes(v, n.machine)
	o.Engine = engine.SharedOptions{
		CacheBytes:    cacheBytes(v.BlockCacheBytes, n.machine),
		MemTableBytes: memtables,
		MemTableSize:  max(1<<20, min(v.WriteBufferSize, memtables/8)),
		OpenFiles:     max(v.MaxOpenFiles, 0),
	}
	o.IterationThreshold = v.IterationTime
	o.MultiGetMaxIteration = v.MultiGetMaxIterationCount
	o.MultiGetMaxBytes = v.MultiGetMaxIterationSize
	o.ScanMaxIteration = v.MaxIterationCount
	if n.Config.Repl.DelayForFDTimeout {
		if err := n.waitOutGrace(ctx); err != nil {
			return nil, err
		}
	}
	n.log.Info("storage engine", "cache_mb", o.Engine.CacheBytes>>20, "memtables_mb", o.Engine.MemTableBytes>>20, "memtable_mb", o.Engine.MemTableSize>>20)
	return replica.Start(ctx, o)
}

// dataDirs are the disks of the configuration without those on the black list.
func (n *node) dataDirs() ([]replica.DataDir, error) {
	r := &n.Config.Repl
	if len(r.DataDirs) == 0 {
		return []replica.DataDir{{Tag: "default", Path: n.dataDir}}, nil
	}
	black, err := readBlackList(r.DataDirsBlackList)
	if err != nil {
		return nil, err
	}
	for i, path := range black {
		n.log.Warn("disk black list", "file", r.DataDirsBlackList, "index", i, "path", path)
	}
	var dirs []replica.DataDir
	for _, d := range r.DataDirs {
		path, err := filepath.Abs(d.Path)
		if err != nil {
			return nil, fmt.Errorf("[replication] data_dirs: %s: %w", d.Path, err)
		}
		// The original compares with the directory of the role, and both with a slash at the end.
		role := filepath.Join(path, "replica") + "/"
		if i := slices.IndexFunc(black, func(b string) bool { return strings.HasPrefix(role, strings.TrimSuffix(b, "/")+"/") }); i >= 0 {
			n.log.Warn("a disk is not used: it is on the black list", "tag", d.Tag, "path", path, "entry", black[i])
			continue
		}
		dirs = append(dirs, replica.DataDir{Tag: d.Tag, Path: path})
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("[replication] data_dirs: all %d disks are on the black list %s: take one off it", len(r.DataDirs), r.DataDirsBlackList)
	}
	return dirs, nil
}

// readBlackList reads one path a line. A file that is not there lists nothing.
func readBlackList(file string) ([]string, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("[replication] data_dirs_black_list_file: %w", err)
	}
	var paths []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			paths = append(paths, line)
		}
	}
	return paths, nil
}

// refuseSharedLog looks for the shared log of Pegasus 2.5 and older: it may hold writes that are
// in no other place, and this server cannot read it.
func (n *node) refuseSharedLog() error {
	base := n.Config.Repl.SlogDir
	if base == "" {
		base = n.dataDir
	}
	dir := filepath.Join(base, "replica", "slog")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // not there, or not ours to read: nothing was written by such a server
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "log.") {
			return fmt.Errorf("[replication] slog_dir: %s holds the shared log of an older Pegasus server, whose last writes may stand only there: start that server once more and stop it after a flush, then remove the directory",
				dir)
		}
	}
	return nil
}

func (n *node) startCollector(ctx context.Context) (*collector.Server, error) {
	c := n.Config
	if _, err := n.metaServers(ctx); err != nil {
		return nil, err
	}
	cluster, err := client.Open(ctx, client.Options{Metas: c.Meta.ServerList})
	if err != nil {
		return nil, fmt.Errorf("[meta_server] server_list: %w", err)
	}
	n.client = cluster
	o := collector.DefaultOptions()
	o.ClusterName = c.Repl.ClusterName
	o.OpenTable = func(name string) collector.Table { return cluster.Table(name) }
	o.Metrics, o.Commands, o.Log = n.metrics, n.commands, n.log
	o.DetectTable = c.Collector.DetectApp
	o.DetectInterval = c.Collector.DetectInterval
	o.DetectTimeout = c.Collector.DetectTimeout
	o.AlertFailCount = c.Collector.AlertFailCount
	o.AlertScriptDir = c.Collector.AlertScriptDir
	o.AlertEmail = c.Collector.AlertEmail
	o.RowTTL = c.Collector.SavingTTL
	return collector.Start(context.WithoutCancel(ctx), o)
}
