// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/client/clienttest"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

func TestFindsTheLeader(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(f *clienttest.Fleet)
		metas []string
		limit time.Duration
	}{
		{name: "it is the first", limit: 10 * time.Millisecond},
		{name: "a follower names it", setup: func(f *clienttest.Fleet) { f.Leader = 2 }, limit: 10 * time.Millisecond},
		{name: "nobody names it", setup: func(f *clienttest.Fleet) { f.Leader, f.HideLeader = 2, true }, limit: 100 * time.Millisecond},
		{name: "it is not in the list", setup: func(f *clienttest.Fleet) { f.Leader = 2 }, metas: metas[:1], limit: 10 * time.Millisecond},
		{name: "the first host is cut off", setup: func(f *clienttest.Fleet) { f.Leader = 1; f.Net.Isolate("10.0.0.1", true) }, limit: 1200 * time.Millisecond},
		{name: "the first process is dead", setup: func(f *clienttest.Fleet) { f.Leader = 1; go f.StopServer(metas[0]) }, limit: 100 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onFleet(t, client.Options{Metas: tt.metas}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
				if tt.setup != nil {
					fleet.Lock()
					tt.setup(fleet)
					fleet.Unlock()
					time.Sleep(time.Millisecond)
				}
				start := time.Now()
				_, err := c.ListNodes(t.Context(), idl.NsInvalid)
				require.NoError(t, err)
				cfg, err := c.QueryConfig(t.Context(), "temp")
				require.NoError(t, err)
				require.Len(t, cfg.Partitions, 4)
				require.Equal(t, 4, cfg.Ready(3))
				require.LessOrEqual(t, time.Since(start), tt.limit)
				// A change finds it as well.
				_, err = c.CreateTable(t.Context(), "new", client.CreateOptions{Partitions: 2, Replicas: 1, FailIfExist: true})
				require.NoError(t, err)
			})
		})
	}
}

func TestWaitsUntilTheLeaderServes(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		fleet.NotServing = true
		go func() {
			time.Sleep(2 * time.Second)
			fleet.Lock()
			defer fleet.Unlock()
			fleet.NotServing = false
		}()
		_, err := c.SetLevel(t.Context(), idl.FlLively)
		require.NoError(t, err)
		require.NoError(t, temp.Set(t.Context(), b("h"), b("s"), nil, 0))
	})
}

func TestNoLeaderIsSaidSo(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		fleet.Leader = -1
		_, err := c.ListNodes(t.Context(), idl.NsInvalid)
		require.ErrorIs(t, err, idl.ErrForwardToOthers)
		require.ErrorContains(t, err, "none of the meta servers")
	})
}

func TestChangeOfUnknownOutcomeIsNotRepeated(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		silent(fleet, idl.RPCCreateApp, 1)
		_, err := c.CreateTable(t.Context(), "new", client.CreateOptions{Partitions: 2, Replicas: 1, FailIfExist: true})
		var e *client.Error
		require.ErrorAs(t, err, &e)
		require.True(t, e.Ambiguous)
		require.Equal(t, 1, fleet.Calls(idl.RPCCreateApp))

		silent(fleet, idl.RPCCreateApp, 1)
		_, err = c.CreateTable(t.Context(), "new", client.CreateOptions{Partitions: 2, Replicas: 1})
		require.NoError(t, err, "creating unless it exists is repeated")
	})
}

func TestLeaderChangesUnderWay(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		_, err := c.SetLevel(t.Context(), idl.FlLively)
		require.NoError(t, err)
		fleet.Lock()
		fleet.Leader = 1
		fleet.Unlock()
		old, err := c.SetLevel(t.Context(), idl.FlSteady)
		require.NoError(t, err)
		require.Equal(t, idl.FlLively, old)
		level, err := c.Level(t.Context())
		require.NoError(t, err)
		require.Equal(t, idl.FlSteady, level)
	})
}

func TestAdministration(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		ctx := t.Context()
		id, err := c.CreateTable(ctx, "t2", client.CreateOptions{Partitions: 8, Replicas: 2, Envs: map[string]string{"business.info": "x"}})
		require.NoError(t, err)
		require.EqualValues(t, 2, id)
		_, err = c.CreateTable(ctx, "t2", client.CreateOptions{Partitions: 8, Replicas: 2, FailIfExist: true})
		require.ErrorIs(t, err, idl.ErrAppExist)
		require.NoError(t, c.RenameTable(ctx, "t2", "t3"))
		require.ErrorIs(t, c.RenameTable(ctx, "t2", "t4"), idl.ErrAppNotExist)
		tables, err := c.ListTables(ctx, idl.AsAvailable)
		require.NoError(t, err)
		require.Len(t, tables, 2)
		require.Equal(t, "t3", tables[1].AppName)

		_, err = c.SetEnvs(ctx, "t3", map[string]string{"default_ttl": "5"})
		require.NoError(t, err)
		_, err = c.SetEnvs(ctx, "t3", map[string]string{"bogus": "5"})
		require.ErrorIs(t, err, client.ErrInvalidArgument)
		require.ErrorContains(t, err, "app_env 'bogus' is not supported")
		hint, err := c.DelEnvs(ctx, "t3", []string{"default_ttl"})
		require.NoError(t, err)
		require.Contains(t, hint, "default_ttl")
		hint, err = c.ClearEnvs(ctx, "t3", "")
		require.NoError(t, err)
		require.Contains(t, hint, "business.info")

		n, err := c.ReplicaCount(ctx, "t3")
		require.NoError(t, err)
		require.Equal(t, 2, n)
		n, err = c.SetReplicaCount(ctx, "t3", 3)
		require.NoError(t, err)
		require.Equal(t, 2, n)

		require.NoError(t, c.DropTable(ctx, "t3", time.Minute))
		require.NoError(t, c.DropTable(ctx, "t3", 0), "dropping what is gone succeeds")
		info, err := c.RecallTable(ctx, 2, "back")
		require.NoError(t, err)
		require.Equal(t, "back", info.AppName)
		_, err = c.RecallTable(ctx, 99, "")
		require.ErrorIs(t, err, idl.ErrAppNotExist)

		all, err := c.ListNodes(ctx, idl.NsInvalid)
		require.NoError(t, err)
		require.Len(t, all, 3)
		require.NoError(t, c.ProposeBalancer(ctx, idl.GPID{AppID: 1, PartitionIndex: 1}, []idl.ConfigurationProposalAction{
			{Target: all[0].Node, Node: all[0].Node, Type: idl.CtUpgradeToPrimary}}, nil, false))
		require.ErrorIs(t, c.ProposeBalancer(ctx, idl.GPID{AppID: 9}, nil, nil, false), idl.ErrAppNotExist)
		ddd, err := c.DDDDiagnose(ctx, idl.GPID{})
		require.NoError(t, err)
		require.Empty(t, ddd)

		fleet.Lock()
		fleet.Info = []client.NameValue{{Name: client.InfoPrimaryMeta, Value: metas[0]}}
		fleet.Command = func(server, cmd string, args []string) string { return server + " " + cmd }
		fleet.Unlock()
		kvs, err := c.ClusterInfo(ctx)
		require.NoError(t, err)
		require.Equal(t, fleet.Info, kvs)
		text, err := c.RemoteCommand(ctx, clienttest.Addr(nodes[1]), "flush-log")
		require.NoError(t, err)
		require.Equal(t, nodes[1]+" flush-log", text)
		_, err = c.DiskInfo(ctx, clienttest.Addr(nodes[1]))
		require.ErrorIs(t, err, idl.ErrHandlerNotFound)
		_, err = c.RemoteCommand(ctx, clienttest.Addr("10.9.9.9:1"), "help")
		require.ErrorIs(t, err, idl.ErrNetworkFailure)
	})
}

func TestMetaAnswersOfLastResort(t *testing.T) {
	onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
		var calls atomic.Int32
		fleet.Lock()
		fleet.Intercept = func(_ string, r *wire.Request) bool {
			if r.Name != idl.RPCQueryConfig {
				return false
			}
			calls.Add(1)
			r.Reply(&idl.QueryCfgResponse{Err: idl.ErrOK, AppID: 1, PartitionCount: 0, IsStateful: true})
			return true
		}
		fleet.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := temp.Get(ctx, b("h"), b("s"))
		require.ErrorIs(t, err, idl.ErrInvalidData)
		require.EqualValues(t, 1, calls.Load())
	})
}

func TestTimeoutsNameTheMetaServersTrouble(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(t *testing.T, fleet *clienttest.Fleet)
		want  string
	}{
		{"down", func(_ *testing.T, f *clienttest.Fleet) { stopMetas(f) }, `meta server 10\.0\.0\.\d:34601: .*connection refused$`},
		{"silent", func(_ *testing.T, f *clienttest.Fleet) { silent(f, idl.RPCQueryConfig, 1000) }, `meta server 10\.0\.0\.\d:34601: no answer$`},
		{"not serving", func(_ *testing.T, f *clienttest.Fleet) { f.NotServing = true }, `meta server 10\.0\.0\.\d:34601: it does not serve yet$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onFleet(t, client.Options{}, func(t *testing.T, fleet *clienttest.Fleet, c *client.Cluster, temp *client.Table) {
				tt.setup(t, fleet)
				ctx, cancel := context.WithTimeout(t.Context(), client.DefaultTimeout)
				defer cancel()
				_, err := temp.Get(ctx, b("h"), b("s"))
				require.ErrorIs(t, err, idl.ErrTimeout)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Regexp(t, "^get on table temp: ERR_TIMEOUT: "+tt.want, err.Error())
			})
		})
	}
}

func stopMetas(f *clienttest.Fleet) {
	for _, m := range f.Metas {
		f.StopServer(m)
	}
}
