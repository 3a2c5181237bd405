// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/engine"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

func TestMinReplicas(t *testing.T) {
	for _, c := range []struct{ configured, max, want int }{
		{2, 3, 2}, {2, 1, 1}, {3, 2, 2}, {0, 1, 1}, {0, 2, 1}, {0, 3, 2}, {-1, 5, 3}, {1, 3, 1},
	} {
		got := newTable(idl.AppInfo{MaxReplicaCount: int32(c.max)}, c.configured).minReplicas
		require.Equal(t, c.want, got, "%+v", c)
	}
}

// gated makes a replica with a given gate and no loop, with a lease of one minute.
func gated(g gate, app idl.AppInfo) *replica {
	o := DefaultOptions()
	o.Metas = []idl.RPCAddress{metaAddr}
	o.MaxWriteSize = 1000
	s := &Server{opts: o, detector: newDetector(&o)}
	s.detector.deadline.Store(int64(time.Minute))
	r := &replica{server: s, disk: &disk{}}
	r.table.Store(newTable(app, 2))
	r.gate.Store(&g)
	return r
}

func TestRefusals(t *testing.T) {
	primary := gate{status: idl.PsPrimary, readable: true, members: 3, writable: true}
	envs := func(kv ...string) idl.AppInfo {
		a := idl.AppInfo{PartitionCount: 8, MaxReplicaCount: 3, Envs: map[string]string{}}
		for i := 0; i < len(kv); i += 2 {
			a.Envs[kv[i]] = kv[i+1]
		}
		return a
	}
	type want struct {
		read, write idl.ErrorCode
	}
	const none = idl.ErrorCode("no answer")
	ok, inv := idl.ErrOK, idl.ErrInvalidState
	for _, c := range []struct {
		name string
		gate gate
		app  idl.AppInfo
		req  wire.Request
		prep func(*replica)
		want want
	}{
		{name: "primary", gate: primary, want: want{ok, ok}},
		{name: "not reconciled", gate: gate{status: idl.PsPrimary, members: 3, writable: true}, want: want{inv, ok}},
		{name: "too few members", gate: gate{status: idl.PsPrimary, readable: true, members: 1}, want: want{ok, idl.ErrNotEnoughMember}},
		{name: "secondary", gate: gate{status: idl.PsSecondary}, want: want{inv, inv}},
		{name: "backup read", gate: gate{status: idl.PsSecondary}, req: wire.Request{Backup: true}, want: want{ok, inv}},
		{name: "backup read on the primary", gate: primary, req: wire.Request{Backup: true}, want: want{inv, ok}},
		{name: "learner", gate: gate{status: idl.PsPotentialSecondary}, want: want{inv, inv}},
		{name: "no lease", gate: primary, prep: func(r *replica) { r.server.detector.deadline.Store(0) }, want: want{inv, inv}},
		{name: "lease was lost in between", gate: primary, prep: func(r *replica) { r.server.detector.epoch.Add(1) }, want: want{inv, inv}},
		{name: "large write", gate: primary, req: wire.Request{Arg: make([]byte, 1001)}, want: want{ok, idl.ErrInvalidData}},
		{name: "large write to a secondary", gate: gate{status: idl.PsSecondary}, req: wire.Request{Arg: make([]byte, 1001)}, want: want{inv, idl.ErrInvalidData}},
		{name: "deny all silently", gate: primary, app: envs(envDenyClient, "timeout*all"), want: want{none, none}},
		{name: "deny writes", gate: primary, app: envs(envDenyClient, "reconfig*write"), want: want{ok, inv}},
		{name: "deny reads", gate: primary, app: envs(envDenyClient, "timeout*read"), want: want{none, ok}},
		{name: "hash of another partition", gate: primary, app: envs(engine.EnvValidatePartitionHash, "true"),
			req: wire.Request{GPID: idl.GPID{AppID: 1, PartitionIndex: 3}, PartitionHash: 0xf4}, want: want{idl.ErrParentPartitionMisused, idl.ErrParentPartitionMisused}},
		{name: "hash of this partition", gate: primary, app: envs(engine.EnvValidatePartitionHash, "true"),
			req: wire.Request{GPID: idl.GPID{AppID: 1, PartitionIndex: 3}, PartitionHash: 0xf3}, want: want{ok, ok}},
		{name: "hash is not looked at", gate: primary, req: wire.Request{PartitionHash: 7}, want: want{ok, ok}},
		{name: "full disk", gate: primary, prep: func(r *replica) { r.disk.status.Store(int32(idl.DiskStatusSpaceInsufficient)) }, want: want{ok, idl.ErrDiskInsufficient}},
		{name: "broken disk", gate: primary, prep: func(r *replica) { r.disk.status.Store(int32(idl.DiskStatusIoError)) }, want: want{ok, idl.ErrDiskIOError}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.app.Envs == nil {
				c.app = envs()
			}
			r := gated(c.gate, c.app)
			if c.prep != nil {
				c.prep(r)
			}
			code, silent := r.refuseRead(&c.req)
			if silent {
				code = none
			}
			require.Equal(t, c.want.read, code, "read")
			code, silent = r.refuseWrite(&c.req)
			if silent {
				code = none
			}
			require.Equal(t, c.want.write, code, "write")
		})
	}
}

func TestRefusalsAllocateNothing(t *testing.T) {
	r := gated(gate{status: idl.PsPrimary, readable: true, members: 3, writable: true}, idl.AppInfo{PartitionCount: 8, MaxReplicaCount: 3})
	req := &wire.Request{}
	require.Zero(t, testing.AllocsPerRun(100, func() { r.refuseRead(req) }))
}

func TestInboxIsBounded(t *testing.T) {
	var in inbox
	in.init()
	limit := inboxLimits{writes: 3, bytes: 100}
	small := &wire.Request{Arg: make([]byte, 10)}
	for range 3 {
		require.Equal(t, idl.ErrOK, in.write(small, engine.CodePut, limit))
	}
	require.Equal(t, idl.ErrBusy, in.write(small, engine.CodePut, limit), "too many")
	writes, _, _ := in.take(nil, nil)
	require.Len(t, writes, 3)
	require.Equal(t, idl.ErrBusy, in.write(small, engine.CodePut, limit), "those that are held back count")
	in.took(3, 30)
	require.Equal(t, idl.ErrBusy, in.write(&wire.Request{Arg: make([]byte, 101)}, engine.CodePut, limit), "too large")
	require.Equal(t, idl.ErrOK, in.write(small, engine.CodePut, limit))

	in.postTick()
	in.postTick()
	ran := 0
	require.True(t, in.post(func(time.Time) { ran++ }))
	_, events, tick := in.take(nil, nil)
	require.True(t, tick)
	for _, f := range events {
		f(time.Time{})
	}
	require.Equal(t, 1, ran)
	_, events, tick = in.take(nil, events)
	require.False(t, tick, "ticks do not pile up")
	require.Empty(t, events)

	in.close()
	require.Equal(t, idl.ErrInvalidState, in.write(small, engine.CodePut, limit))
	require.False(t, in.post(func(time.Time) {}))
}

func TestToolsAreAnswered(t *testing.T) {
	inCluster(t, 1, nil, func(t *testing.T, c *cluster) {
		c.create("temp", 2, 1)
		c.ledger("temp").write(4)
		n := c.nodes[1]
		ask := func(name string, arg idl.Value, result idl.Decoder) {
			t.Helper()
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			peers := wire.NewPeers(c.net.Dialer("10.0.0.201"))
			defer peers.Close()
			require.NoError(t, peers.Call(ctx, nodeAddr(1), wire.Call{Name: name, Arg: arg, Result: result}))
		}
		var replicas idl.QueryReplicaInfoResponse
		ask(idl.RPCQueryReplicaInfo, &idl.QueryReplicaInfoRequest{}, &replicas)
		require.Len(t, replicas.Replicas, 2)
		require.Equal(t, idl.PsPrimary, replicas.Replicas[0].Status)
		require.Equal(t, "pegasus", replicas.Replicas[0].AppType)

		var apps idl.QueryAppInfoResponse
		ask(idl.RPCQueryAppInfo, &idl.QueryAppInfoRequest{}, &apps)
		require.Len(t, apps.Apps, 1)
		require.Equal(t, "temp", apps.Apps[0].AppName)

		var disks idl.QueryDiskInfoResponse
		ask(idl.RPCQueryDiskInfo, &idl.QueryDiskInfoRequest{}, &disks)
		require.Equal(t, idl.ErrOK, disks.Err)
		require.Len(t, disks.DiskInfos, 2)
		require.Len(t, disks.DiskInfos[0].HoldingPrimaryReplicas[1], 1)
		ask(idl.RPCQueryDiskInfo, &idl.QueryDiskInfoRequest{AppName: "none"}, &disks)
		require.Equal(t, idl.ErrObjectNotFound, disks.Err)

		require.Equal(t, "2 processed, 1 not found\n    1.0@10.0.0.1:34801@P : triggered\n    1.1@10.0.0.1:34801@P : triggered\n"+
			"    9.9@10.0.0.1:34801 : not found", n.commands.Execute("replica.trigger-checkpoint", []string{"1,9.9"}))
		require.Equal(t, "invalid arguments", n.commands.Execute("replica.query-app-envs", []string{"x"}))
		ctx, cancel := c.ctx()
		defer cancel()
		_, err := c.client.SetEnvs(ctx, "temp", map[string]string{"default_ttl": "7"})
		require.NoError(t, err)
		time.Sleep(31 * time.Second)
		require.Equal(t, "1 processed, 0 not found\n    1.1@10.0.0.1:34801@P : {\"default_ttl\":\"7\"}",
			n.commands.Execute("replica.query-app-envs", []string{"1.1"}))
	})
}

func TestManyWritersShareMutations(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		c.create("temp", 1, 3)
		c.net.SetDelay(time.Millisecond, time.Millisecond, nil)
		table := c.client.Table("temp")
		const writers, each = 50, 10
		errs := make(chan error, writers)
		for w := range writers {
			go func() {
				for i := range each {
					if err := table.Set(context.Background(), fmt.Appendf(nil, "%d", w), fmt.Appendf(nil, "%d", i), bytes.Repeat([]byte("v"), 100), 0); err != nil {
						errs <- err
						return
					}
				}
				errs <- nil
			}()
		}
		for range writers {
			require.NoError(t, <-errs)
		}
		r := c.nodes[c.primary("temp", 0)].server.replica(idl.GPID{AppID: 1})
		require.Less(t, r.snapshot().Committed, int64(writers*each/5), "writes that gather become one mutation")
		require.EqualValues(t, writers*each, r.metrics.requests[opPut].Value())
	})
}

func TestStopTwiceAndStartAgain(t *testing.T) {
	fs := vfs.NewMem()
	s, err := startLoner(t, fs)
	require.NoError(t, err)
	require.NoError(t, s.Stop(context.Background()))
	require.NoError(t, s.Stop(context.Background()))
	s, err = startLoner(t, fs)
	require.NoError(t, err)
	require.NoError(t, s.Stop(context.Background()))
}
