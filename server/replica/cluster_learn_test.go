// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/engine"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// taught sums up how learners were helped.
func (c *cluster) taught(t idl.LearnType) (n int64) {
	for _, node := range c.nodes {
		if node.server != nil {
			for _, r := range node.server.replicas() {
				n += r.metrics.taught[t].Value()
			}
		}
	}
	return n
}

// maintain runs the periodic work of all replicas now.
func (n *node) maintain() {
	for _, r := range n.server.replicas() {
		require.NoError(n.c.t, r.maintain(n.server.ctx, true))
	}
}

// smallLogs makes replicas keep little in memory and little log.
func smallLogs(o *Options) {
	o.PrepareListSize, o.Staleness = 5, 5
	o.PlogSegmentBytes, o.PlogReserveBytes = 1<<10, 0
	o.CopyBlockBytes = 700
	o.CheckpointReserveCount, o.CheckpointReserveAge = 1, 0
}

func TestLearnerCatchesUp(t *testing.T) {
	for _, c := range []struct {
		name   string
		missed int // writes
		cut    bool
		want   idl.LearnType
	}{
		{"from memory", 3, false, idl.LtCache},
		{"from the log", 60, false, idl.LtLog},
		{"from a checkpoint", 60, true, idl.LtApp},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, missed, cut := c.want, c.missed, c.cut
			inCluster(t, 3, smallLogs, func(t *testing.T, c *cluster) {
				c.create("temp", 1, 3)
				l := c.ledger("temp")
				l.write(40)
				away := c.nodes[c.primary("temp", 0)%3+1]
				away.kill()
				l.write(1)
				l.write(missed)
				if cut {
					for _, n := range c.nodes {
						if n.server != nil {
							n.maintain()
						}
					}
				}
				before := c.taught(want)
				away.start()
				c.healthy("temp", 1, 3, time.Minute)
				require.Greater(t, c.taught(want), before)
				if want != idl.LtApp {
					require.Zero(t, c.taught(idl.LtApp))
				}
				l.write(10)
				// What the learner has now is what counts: make it the primary.
				for c.primary("temp", 0) != away.index {
					n := c.nodes[c.primary("temp", 0)]
					n.stop()
					n.start()
					c.healthy("temp", 1, 3, time.Minute)
				}
				l.check()
			})
		})
	}
}

func TestLearningGoesOnUnderWrites(t *testing.T) {
	inCluster(t, 3, smallLogs, func(t *testing.T, c *cluster) {
		c.create("temp", 2, 3)
		l := c.ledger("temp")
		l.write(30)
		for round := range 4 {
			away := c.nodes[round%3+1]
			away.kill()
			l.write(40)
			for _, n := range c.nodes {
				if n.server != nil && round%2 == 0 {
					n.maintain()
				}
			}
			away.start()
			for range 60 {
				l.write(5)
				time.Sleep(20 * time.Millisecond)
			}
			c.healthy("temp", 2, 3, time.Minute)
		}
		l.check()
	})
}

func TestCopyIsInterrupted(t *testing.T) {
	inCluster(t, 3, smallLogs, func(t *testing.T, c *cluster) {
		c.create("temp", 1, 3)
		l := c.ledger("temp")
		l.write(40)
		primary := c.primary("temp", 0)
		away := c.nodes[primary%3+1]
		away.kill()
		l.write(60)
		for _, n := range c.nodes {
			if n.server != nil {
				n.maintain()
			}
		}
		c.net.SetDelay(20*time.Millisecond, 40*time.Millisecond, rng(1))
		away.start()
		for range 20 {
			time.Sleep(200 * time.Millisecond)
			c.net.DropConn(nodeHost(away.index), nodeHost(primary))
		}
		c.healthy("temp", 1, 3, 2*time.Minute)
		l.write(5)
		l.check()
	})
}

func TestDataBeyondThePrimaryIsSetAside(t *testing.T) {
	inCluster(t, 3, smallLogs, func(t *testing.T, c *cluster) {
		c.create("temp", 1, 3)
		l := c.ledger("temp")
		l.write(10)
		n := c.nodes[c.primary("temp", 0)%3+1]
		g := idl.GPID{AppID: 1}
		dir := n.server.replica(g).dir
		n.stop()
		shared := engine.NewShared(engine.SharedOptions{})
		db, err := engine.Open(engine.Options{FS: n.fs, Dir: n.fs.PathJoin(dir, dataName), GPID: g, Shared: shared, Log: quiet})
		require.NoError(t, err)
		for d := db.Applied() + 1; d < 1000; d++ {
			require.NoError(t, db.Apply(d, d, nil, nil))
		}
		require.NoError(t, db.Close())
		shared.Close()
		n.start()
		c.healthy("temp", 1, 3, time.Minute)
		names, err := n.fs.List(dir)
		require.NoError(t, err)
		require.Contains(t, strings.Join(names, " "), ".discarded")
		l.write(5)
		l.check()
		require.Less(t, n.server.replica(g).snapshot().Committed, int64(100))
	})
}

func TestMaintenanceCutsLogAndCheckpoints(t *testing.T) {
	inCluster(t, 3, smallLogs, func(t *testing.T, c *cluster) {
		c.create("temp", 1, 3)
		l := c.ledger("temp")
		for range 4 {
			l.write(30)
			for _, n := range c.nodes {
				n.maintain()
			}
			time.Sleep(2 * pinFor)
		}
		for _, n := range c.nodes {
			r := n.server.replica(idl.GPID{AppID: 1})
			require.LessOrEqual(t, len(r.checkpoints()), 1)
			require.Less(t, r.plog.Size(), int64(8<<10))
		}
		l.check()
	})
}

func TestFileServerRefuses(t *testing.T) {
	inCluster(t, 1, nil, func(t *testing.T, c *cluster) {
		c.create("temp", 1, 1)
		c.ledger("temp").write(3)
		n := c.nodes[1]
		n.maintain()
		g := idl.GPID{AppID: 1}
		r := n.server.replica(g)
		all := r.checkpoints()
		require.NotEmpty(t, all)
		dir := checkpointDir(all[0])
		files, err := r.checkpointFiles(all[0])
		require.NoError(t, err)
		for _, x := range []struct {
			req  idl.FileCopyRequest
			want idl.ErrorCode
		}{
			{idl.FileCopyRequest{Pid: g, Dir: dir, Name: files[0].Name, Size: 100}, idl.ErrOK},
			{idl.FileCopyRequest{Pid: g, Dir: dir, Name: files[0].Name, Offset: 1 << 40, Size: 100}, idl.ErrOK},
			{idl.FileCopyRequest{Pid: g, Dir: dir, Name: files[0].Name, Offset: -1, Size: 100}, idl.ErrInvalidParameters},
			{idl.FileCopyRequest{Pid: g, Dir: dir, Name: files[0].Name, Size: 0}, idl.ErrInvalidParameters},
			{idl.FileCopyRequest{Pid: g, Dir: dir, Name: "none", Size: 1}, idl.ErrPathNotFound},
			{idl.FileCopyRequest{Pid: g, Dir: "plog", Name: "log.1.0", Size: 1}, idl.ErrInvalidParameters},
			{idl.FileCopyRequest{Pid: g, Dir: dir, Name: "../../.app-info", Size: 1}, idl.ErrInvalidParameters},
			{idl.FileCopyRequest{Pid: idl.GPID{AppID: 9}, Dir: dir, Name: files[0].Name, Size: 1}, idl.ErrObjectNotFound},
		} {
			resp := n.server.copyBlock(&x.req)
			require.Equal(t, x.want, resp.Err, fmt.Sprint(x.req))
			require.LessOrEqual(t, len(resp.Data), 100)
		}
	})
}
