// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

func rng(seed int64) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 1)) }

func TestClusterServes(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		c.create("temp", 4, 3)
		l := c.ledger("temp")
		l.write(50)
		l.check()
		time.Sleep(time.Minute)
		l.write(10)
		l.check()
	})
}

func TestKilledServersLoseNothing(t *testing.T) {
	for name, role := range map[string]func(c *cluster) int{
		"primary":   func(c *cluster) int { return c.primary("temp", 0) },
		"secondary": func(c *cluster) int { return c.primary("temp", 0)%3 + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
				c.create("temp", 4, 3)
				l := c.ledger("temp")
				l.write(30)
				victim := c.nodes[role(c)]
				victim.kill()
				start := time.Now()
				l.write(20)
				require.Less(t, time.Since(start), 30*time.Second, "writable within lease and grace")
				l.check()
				victim.start()
				c.healthy("temp", 4, 3, 30*time.Second)
				l.write(20)
				l.check()
			})
		})
	}
}

func TestEverythingKilledComesBack(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		c.create("temp", 4, 3)
		l := c.ledger("temp")
		l.write(40)
		c.stopMeta()
		for _, n := range c.nodes {
			n.kill()
		}
		c.startMeta()
		for _, n := range c.nodes {
			n.start()
		}
		l.check()
		c.healthy("temp", 4, 3, time.Minute)
		l.write(10)
		l.check()
	})
}

func TestStoppedServersLeaveAtOnce(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		c.create("temp", 4, 3)
		l := c.ledger("temp")
		l.write(20)
		for i := 1; i <= 3; i++ {
			c.nodes[i].stop()
			start := time.Now()
			l.write(5)
			require.Less(t, time.Since(start), 5*time.Second, "no need to wait for the failure detector")
			c.nodes[i].start()
			c.healthy("temp", 4, 3, 30*time.Second)
		}
		l.check()
	})
}

func TestPowerLossOfOneServer(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		c.create("temp", 4, 3)
		l := c.ledger("temp")
		for _, keep := range []int{0, 50} {
			l.write(30)
			n := c.nodes[c.primary("temp", 1)]
			n.crash(keep)
			l.write(10)
			n.start()
			c.healthy("temp", 4, 3, time.Minute)
		}
		l.check()
	})
}

func TestIsolatedPrimaryStopsServingBeforeItIsReplaced(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		c.create("temp", 1, 3)
		l := c.ledger("temp")
		l.write(10)
		old := c.primary("temp", 0)
		g := idl.GPID{AppID: 1}
		reader := wire.NewPeers(c.net.Dialer(nodeHost(old)))
		defer reader.Close()
		read := func() error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			var resp idl.ReadResponse
			arg := idl.Blob(idl.RawKey([]byte("key0"), []byte("s")))
			return reader.Call(ctx, nodeAddr(old), wire.Call{Name: idl.RPCGet, GPID: g, Arg: arg, Result: &resp})
		}
		require.NoError(t, read())
		c.net.Isolate(nodeHost(old), true)
		// On its own machine the old primary answers as long as its lease holds, and not when
		// another one may have been appointed.
		served := time.Duration(0)
		start := time.Now()
		replaced := c.wait(time.Minute, func() error {
			if err := read(); err == nil {
				served = time.Since(start)
			} else {
				require.ErrorIs(t, err, idl.ErrInvalidState)
			}
			if c.primary("temp", 0) == old {
				return errors.New("not replaced yet")
			}
			return nil
		})
		require.Greater(t, served, 10*time.Second)
		require.Less(t, served, replaced)
		l.write(10)
		c.net.Isolate(nodeHost(old), false)
		c.healthy("temp", 1, 3, time.Minute)
		l.write(10)
		l.check()
	})
}

func TestLeaseLostAndRegainedKeepsRoles(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		c.create("temp", 2, 3)
		l := c.ledger("temp")
		l.write(10)
		c.stopMeta()
		time.Sleep(40 * time.Second)
		for _, n := range c.nodes {
			counts := n.server.Counts()
			require.Zero(t, counts.Primaries+counts.Secondaries, "no lease, no role")
		}
		ballots := c.ballots()
		c.startMeta()
		l.check()
		require.Equal(t, ballots, c.ballots(), "the same process resumes at the same ballot")
		l.write(10)
		c.healthy("temp", 2, 3, time.Minute)
		l.check()
	})
}

// ballots returns the ballots of all replicas.
func (c *cluster) ballots() map[string]int64 {
	m := map[string]int64{}
	for i, n := range c.nodes {
		for g, r := range n.server.replicas() {
			m[nodeHost(i)+"/"+g.String()] = r.snapshot().Ballot
		}
	}
	return m
}

func TestDeletedReplicaIsNotMadeAnewEmpty(t *testing.T) {
	inCluster(t, 1, nil, func(t *testing.T, c *cluster) {
		c.create("temp", 1, 1)
		l := c.ledger("temp")
		l.write(5)
		n := c.nodes[1]
		n.stop()
		require.NoError(t, n.fs.RemoveAll("/ssd1/replica/reps/1.0.pegasus"))
		require.NoError(t, n.fs.RemoveAll("/ssd2/replica/reps/1.0.pegasus"))
		n.start()
		time.Sleep(2 * time.Minute)
		require.Zero(t, n.server.Counts().Primaries)
		require.Nil(t, n.server.replica(idl.GPID{AppID: 1}))

		require.Equal(t, "ERR_INVALID_PARAMETERS", n.commands.Execute("replica.allow-empty", []string{"x"}))
		require.Equal(t, "ERR_OK", n.commands.Execute("replica.allow-empty", []string{"1.0"}))
		ctx, cancel := c.ctx()
		defer cancel()
		require.NoError(t, c.client.ProposeBalancer(ctx, idl.GPID{AppID: 1}, []idl.ConfigurationProposalAction{
			{Target: nodeAddr(1), Node: nodeAddr(1), Type: idl.CtAssignPrimary},
		}, nil, true))
		c.healthy("temp", 1, 1, time.Minute)
		_, err := c.client.Table("temp").Get(ctx, []byte("key0"), []byte("s"))
		require.ErrorIs(t, err, client.ErrNotFound)
	})
}

func TestKillPartitionIsLearnedAgain(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		c.create("temp", 4, 3)
		l := c.ledger("temp")
		l.write(20)
		require.Equal(t, "ERR_OK", c.nodes[1].commands.Execute("replica.kill_partition", nil))
		require.Equal(t, "ERR_OBJECT_NOT_FOUND", c.nodes[1].commands.Execute("replica.kill_partition", []string{"7", "1"}))
		require.Equal(t, "ERR_INVALID_PARAMETERS", c.nodes[1].commands.Execute("replica.kill_partition", []string{"7", "x"}))
		time.Sleep(time.Second)
		c.healthy("temp", 4, 3, time.Minute)
		l.write(10)
		l.check()
		require.Equal(t, 4, c.nodes[1].server.Counts().Primaries+c.nodes[1].server.Counts().Secondaries)
	})
}
