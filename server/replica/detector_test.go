// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
	"github.com/pegasus-ops/pegasus-ops/server/wire/memnet"
)

// A fakeMeta answers beacons.
type fakeMeta struct {
	mu      sync.Mutex
	ack     idl.BeaconAck
	mute    bool
	beacons []time.Time
}

func (m *fakeMeta) set(f func(*fakeMeta)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

func (m *fakeMeta) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.beacons)
}

func (m *fakeMeta) on(r *wire.Request) {
	var q idl.BeaconMsg
	if r.Decode(&q) != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.beacons = append(m.beacons, time.Now())
	if !m.mute {
		ack := m.ack
		ack.TimeMs = q.TimeMs
		r.Reply(&ack)
	}
}

type detectorTest struct {
	net   *memnet.Network
	metas map[idl.RPCAddress]*fakeMeta
	d     *detector

	mu        sync.Mutex
	connected []time.Duration
	lost      []time.Duration
}

const beaconEvery, leaseFor = 3 * time.Second, 20 * time.Second

// runDetector runs f with a detector and meta servers 10.0.0.1 and 10.0.0.2, in a bubble.
func runDetector(t *testing.T, f func(t *testing.T, x *detectorTest, a, b *fakeMeta)) {
	synctest.Test(t, func(t *testing.T) {
		x := &detectorTest{net: memnet.New(), metas: map[idl.RPCAddress]*fakeMeta{}}
		var list []idl.RPCAddress
		var servers []*wire.Server
		for i := range byte(2) {
			addr := idl.MakeAddress([4]byte{10, 0, 0, i + 1}, 34601)
			m := &fakeMeta{ack: idl.BeaconAck{Allowed: true, ThisNode: addr}}
			mux := wire.NewMux()
			mux.Handle(idl.RPCFdFailureDetectorPing, m.on)
			ln, err := x.net.Listen(addr.String())
			require.NoError(t, err)
			s := &wire.Server{Mux: mux}
			servers = append(servers, s)
			go s.Serve(ln)
			x.metas[addr] = m
			list = append(list, addr)
		}
		peers := wire.NewPeers(x.net.Dialer("10.0.0.9"))
		x.d = newDetector(&Options{
			Self: idl.MakeAddress([4]byte{10, 0, 0, 9}, 34801), StartTime: time.Now(), Peers: peers, Log: quiet,
			BeaconInterval: beaconEvery, Lease: leaseFor, Metas: list,
		})
		start := time.Now()
		x.d.connected = func(idl.RPCAddress) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.connected = append(x.connected, time.Since(start))
		}
		x.d.lost = func() {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.lost = append(x.lost, time.Since(start))
		}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { x.d.run(ctx) })
		f(t, x, x.metas[list[0]], x.metas[list[1]])
		cancel()
		wg.Wait()
		peers.Close()
		for _, s := range servers {
			s.Close()
		}
		synctest.Wait()
	})
}

func (x *detectorTest) history() (connected, lost []time.Duration) {
	synctest.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]time.Duration(nil), x.connected...), append([]time.Duration(nil), x.lost...)
}

func TestLeaseCountsFromTheSending(t *testing.T) {
	runDetector(t, func(t *testing.T, x *detectorTest, a, b *fakeMeta) {
		a.set(func(m *fakeMeta) { m.ack.IsMaster = true })
		delay := 500 * time.Millisecond
		x.net.SetDelay(delay, delay, nil)
		time.Sleep(10 * time.Second)
		require.True(t, x.d.alive())
		a.set(func(m *fakeMeta) { m.mute = true })
		b.set(func(m *fakeMeta) { m.mute = true })
		time.Sleep(time.Minute)
		require.False(t, x.d.alive())
		_, lost := x.history()
		// The beacon of 9 s has arrived but its answer has not been sent before 10 s.
		require.Equal(t, []time.Duration{9*time.Second + leaseFor}, lost)
	})
}

func TestLeaseIsLostAndRegained(t *testing.T) {
	runDetector(t, func(t *testing.T, x *detectorTest, a, b *fakeMeta) {
		a.set(func(m *fakeMeta) { m.ack.IsMaster = true })
		time.Sleep(7 * time.Second)
		x.net.Isolate("10.0.0.9", true)
		time.Sleep(leaseFor)
		require.False(t, x.d.alive())
		x.net.Isolate("10.0.0.9", false)
		time.Sleep(leaseFor)
		connected, lost := x.history()
		require.Len(t, connected, 2)
		require.Len(t, lost, 1)
		require.Equal(t, 6*time.Second+leaseFor, lost[0])
		require.True(t, x.d.alive())
	})
}

func TestMasterIsFoundAndFollowed(t *testing.T) {
	runDetector(t, func(t *testing.T, x *detectorTest, a, b *fakeMeta) {
		addrA, addrB := a.ack.ThisNode, b.ack.ThisNode
		// a is no master and knows of none: the other one is asked after a pause.
		b.set(func(m *fakeMeta) { m.ack.IsMaster = true })
		time.Sleep(2 * time.Second)
		require.Equal(t, addrB, x.d.meta())
		connected, _ := x.history()
		require.Equal(t, []time.Duration{switchPause}, connected)
		// The leadership moves: the old master says so, the new one is asked at once.
		b.set(func(m *fakeMeta) { m.ack.IsMaster, m.ack.PrimaryNode = false, addrA })
		a.set(func(m *fakeMeta) { m.ack.IsMaster = true })
		time.Sleep(3 * time.Second)
		require.Equal(t, addrA, x.d.meta())
		require.True(t, x.d.alive())
		// The master dies: the other one gets its turn, and the lease was never lost.
		a.set(func(m *fakeMeta) { m.mute = true })
		b.set(func(m *fakeMeta) { m.ack.IsMaster = true })
		time.Sleep(10 * time.Second)
		require.Equal(t, addrB, x.d.meta())
		_, lost := x.history()
		require.Empty(t, lost)
	})
}

func TestRefusedNodeAsksRarely(t *testing.T) {
	runDetector(t, func(t *testing.T, x *detectorTest, a, b *fakeMeta) {
		a.set(func(m *fakeMeta) { m.ack.IsMaster, m.ack.Allowed = true, false })
		time.Sleep(time.Minute + time.Second)
		require.False(t, x.d.alive())
		require.Equal(t, 3, a.count())
		a.set(func(m *fakeMeta) { m.ack.Allowed = true })
		time.Sleep(refusedPause)
		require.True(t, x.d.alive())
	})
}
