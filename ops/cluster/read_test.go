// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/ops/cluster"
	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/client/clienttest"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

var (
	metas = []string{"10.0.0.1:34601", "10.0.0.2:34601"}
	nodes = []string{"10.0.1.1:34801", "10.0.1.2:34801", "10.0.1.3:34801"}
)

func onFleet(t *testing.T, f func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster)) {
	synctest.Test(t, func(t *testing.T) {
		fleet := clienttest.New(t, metas, nodes)
		fleet.AddTable("stat", 4, 3)
		fleet.AddTable("temp", 8, 3)
		fleet.Lock()
		fleet.Info = []client.NameValue{
			{Name: client.InfoMetaServers, Value: strings.Join(metas, ",")},
			{Name: client.InfoPrimaryMeta, Value: metas[0]},
			{Name: client.InfoZooKeeper, Value: "10.0.0.9:2181"},
			{Name: client.InfoZooKeeperRoot, Value: "/pegasus/onebox"},
			{Name: client.InfoLevel, Value: "steady"},
			{Name: client.InfoBalance, Value: "total=0"},
			{Name: client.InfoClusterName, Value: "onebox"},
		}
		fleet.Command = func(server, cmd string, args []string) string {
			if cmd == "server-info" && server == metas[0] { // one of each style
				return `{"build_type":"Release","git_SHA":"abc","start_time":"2026-11-22 03:15:59","version":"2.6.0"}`
			}
			if cmd == "server-info" {
				return "Pegasus Server 2.5.0 (abc) Release, Started at 2026-11-22 03:15:59"
			}
			return fmt.Sprintf("unknown command '%s'", cmd)
		}
		fleet.Unlock()
		f(t, fleet, fleet.Client(t, client.Options{}))
	})
}

func TestReadsAWholeCluster(t *testing.T) {
	onFleet(t, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster) {
		f, err := cluster.Read(t.Context(), c)
		require.NoError(t, err)
		require.Empty(t, f.Missing)
		ok, reasons := f.Healthy()
		require.True(t, ok, "%v", reasons)
		require.Equal(t, "onebox", f.Name)
		require.Equal(t, metas[0], f.Leader)
		require.Equal(t, []string{"steady", "steady"}, []string{f.Level, f.EffectiveLevel})
		require.Equal(t, "2.6.0", f.Metas[0].Version)
		require.True(t, f.Metas[0].Leader)
		require.Equal(t, "2.5.0", f.Metas[1].Version)
		require.False(t, f.Metas[1].Leader)
		require.Len(t, f.Nodes, 3)
		primaries, secondaries := 0, 0
		for _, n := range f.Nodes {
			require.True(t, n.Answers)
			require.Equal(t, "Release", n.BuildType)
			require.Nil(t, n.Disks)
			primaries += n.Primaries
			secondaries += n.Secondaries
		}
		require.Equal(t, []int{12, 24}, []int{primaries, secondaries})
		require.Equal(t, cluster.Health{Fully: 8}, f.Tables[1].Health)
	})
}

func TestReadsDisksWhereOffered(t *testing.T) {
	onFleet(t, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster) {
		fleet.Lock()
		fleet.Disks = map[string][]idl.DiskInfo{nodes[0]: {{Tag: "d1", FullDir: "/d1", DiskCapacityMb: 10, DiskAvailableMb: 5}}}
		fleet.Unlock()
		f, err := cluster.Read(t.Context(), c)
		require.NoError(t, err)
		require.Empty(t, f.Missing)
		require.Equal(t, []cluster.Disk{{Tag: "d1", Dir: "/d1", CapacityMB: 10, AvailableMB: 5}}, f.Nodes[0].Disks)
	})
}

func TestPartialAnswersAreMarked(t *testing.T) {
	for _, tt := range []struct {
		name    string
		setup   func(f *clienttest.Fleet)
		missing string
	}{
		{"a follower is dead", func(f *clienttest.Fleet) { f.StopServer(metas[1]) }, "the version of meta server 10.0.0.2:34601"},
		{"a node is cut off", func(f *clienttest.Fleet) { f.Net.Isolate("10.0.1.2", true) }, "the version of replica server 10.0.1.2:34801"},
		{"a node talks nonsense", func(f *clienttest.Fleet) {
			f.Lock()
			defer f.Unlock()
			f.Command = func(server, cmd string, args []string) string { return "?" }
		}, "cannot make sense"},
		{"the tables are not told", func(f *clienttest.Fleet) { refuse(f, idl.RPCListApps) }, "the tables: list tables"},
		{"the nodes are not told", func(f *clienttest.Fleet) { refuse(f, idl.RPCListNodes) }, "the replica servers: list nodes"},
		{"the level is not told", func(f *clienttest.Fleet) { refuse(f, idl.RPCControlMeta) }, "the meta function level: query meta level"},
		{"a table is not told", func(f *clienttest.Fleet) { refuse(f, idl.RPCQueryConfig) }, "the partitions of table temp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onFleet(t, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster) {
				tt.setup(fleet)
				start := time.Now()
				f, err := cluster.Read(t.Context(), c)
				require.NoError(t, err)
				require.Less(t, time.Since(start), 20*time.Second)
				require.Contains(t, strings.Join(f.Missing, "\n"), tt.missing)
				ok, _ := f.Healthy()
				require.False(t, ok)
			})
		})
	}
}

func refuse(f *clienttest.Fleet, rpc string) {
	f.Lock()
	defer f.Unlock()
	f.Intercept = func(_ string, r *wire.Request) bool {
		if r.Name == rpc {
			r.ReplyError(idl.ErrHandlerNotFound)
			return true
		}
		return false
	}
}

func TestReadWithoutALeaderFails(t *testing.T) {
	onFleet(t, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster) {
		fleet.Lock()
		fleet.Leader = -1
		fleet.Unlock()
		_, err := cluster.Read(t.Context(), c)
		require.ErrorContains(t, err, "read the state of the cluster")
	})
}
