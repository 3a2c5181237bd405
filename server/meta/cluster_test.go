// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/pegasus-ops/pegasus-ops/server/command"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
	"github.com/pegasus-ops/pegasus-ops/server/wire/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func addr(i byte, port uint16) idl.RPCAddress { return idl.MakeAddress([4]byte{10, 0, 0, i}, port) }

var metaAddr = addr(100, 34601)

// A cluster is a meta server with stubs for replica servers, on a network in memory. All of it
// runs in one synctest bubble, so its time costs nothing.
type cluster struct {
	t    *testing.T
	net  *memnet.Network
	fs   *vfs.MemFS
	tune func(*Options)

	meta   *Server
	wire   *wire.Server
	peers  *wire.Peers
	http   *http.ServeMux
	cmds   *command.Registry
	client *wire.Peers
	stubs  map[byte]*stub
	serve  sync.WaitGroup
}

// inCluster runs a test in a bubble with a meta server and n replica servers.
func inCluster(t *testing.T, n int, tune func(*Options), test func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, net: memnet.New(), fs: vfs.NewCrashableMem(), tune: tune, stubs: map[byte]*stub{}}
		c.client = wire.NewPeers(c.net.Dialer("10.0.0.200"))
		c.startMeta()
		for i := range n {
			c.startStub(byte(i+1), nil)
		}
		defer func() {
			for _, s := range c.stubs {
				s.kill()
			}
			c.stopMeta()
			c.client.Close()
			c.serve.Wait()
		}()
		test(t, c)
	})
}

func (c *cluster) options() Options {
	o := DefaultOptions()
	o.Self, o.Dir, o.FS = metaAddr, "meta", c.fs
	o.StartTime = time.Now()
	o.MetaServers, o.ClusterName, o.ClusterRoot = []idl.RPCAddress{metaAddr}, "onebox", "/pegasus/onebox"
	o.MinLiveNodes, o.LivePercentage = 1, 0
	o.DefaultTables = nil
	o.StableRunning = 0
	o.Log = slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if c.tune != nil {
		c.tune(&o)
	}
	return o
}

func (c *cluster) startMeta() {
	c.t.Helper()
	o := c.options()
	c.peers = wire.NewPeers(c.net.Dialer("10.0.0.100"))
	c.http = http.NewServeMux()
	c.cmds = command.New()
	o.Peers, o.Mux, o.HTTP, o.Commands = c.peers, wire.NewMux(), c.http, c.cmds
	meta, err := Start(c.t.Context(), o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.meta = meta
	c.wire = &wire.Server{Mux: o.Mux, Self: o.Self, HostPortsRDSN: true, Log: o.Log}
	c.listen(c.wire, o.Self)
	synctest.Wait()
}

func (c *cluster) listen(s *wire.Server, a idl.RPCAddress) {
	c.t.Helper()
	ln, err := c.net.Listen(a.String())
	if err != nil {
		c.t.Fatal(err)
	}
	c.serve.Go(func() { s.Serve(ln) })
}

func (c *cluster) stopMeta() {
	c.t.Helper()
	c.wire.Close()
	if err := c.meta.Stop(context.Background()); err != nil {
		c.t.Error(err)
	}
	c.peers.Close()
	c.cmds.Close()
}

// restartMeta stops the meta server and starts it on what survives a power cut at this moment.
func (c *cluster) restartMeta() {
	c.t.Helper()
	crashed := c.fs.CrashClone(vfs.CrashCloneCfg{})
	c.stopMeta()
	c.fs = crashed
	c.startMeta()
}

// call asks the meta server.
func (c *cluster) call(name string, q idl.Value, r idl.Decoder) {
	c.t.Helper()
	if err := c.try(name, q, r); err != nil {
		c.t.Fatalf("%s: %v", name, err)
	}
}

func (c *cluster) try(name string, q idl.Value, r idl.Decoder) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return c.client.Call(ctx, metaAddr, wire.Call{Name: name, Arg: q, Result: r})
}

func (c *cluster) create(name string, partitions, replicas int32) idl.ErrorCode {
	c.t.Helper()
	var r idl.ConfigurationCreateAppResponse
	c.call(idl.RPCCreateApp, &idl.ConfigurationCreateAppRequest{AppName: name, Options: idl.CreateAppOptions{
		PartitionCount: partitions, ReplicaCount: replicas, AppType: "pegasus", IsStateful: true}}, &r)
	return r.Err
}

func (c *cluster) query(name string) *idl.QueryCfgResponse {
	c.t.Helper()
	var r idl.QueryCfgResponse
	c.call(idl.RPCQueryConfig, &idl.QueryCfgRequest{AppName: name}, &r)
	return &r
}

// eventually waits for a condition.
func (c *cluster) eventually(within time.Duration, what string, ok func() bool) time.Duration {
	c.t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > within {
			c.t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(start)
}

// healthy reports whether all partitions have a primary and exactly n replicas on live stubs.
func (c *cluster) healthy(name string, n int) bool {
	c.t.Helper()
	r := c.query(name)
	if r.Err != idl.ErrOK || len(r.Partitions) == 0 {
		return false
	}
	for i := range r.Partitions {
		pc := &r.Partitions[i]
		if pc.Primary.IsZero() || len(members(pc)) != n {
			return false
		}
		for _, a := range members(pc) {
			if s := c.stubAt(a); s == nil || !s.has(pc) {
				return false
			}
		}
	}
	return true
}

func (c *cluster) awaitHealthy(name string, n int, within time.Duration) time.Duration {
	c.t.Helper()
	return c.eventually(within, name+" is healthy", func() bool { return c.healthy(name, n) })
}

func (c *cluster) stubAt(a idl.RPCAddress) *stub {
	for _, s := range c.stubs {
		if s.self == a {
			return s
		}
	}
	return nil
}

// A stub is a replica server without data: it follows the flow of beacons, proposals and
// configuration updates, and its replicas are a few numbers.
type stub struct {
	c     *cluster
	id    byte
	self  idl.RPCAddress
	start int64
	wire  *wire.Server
	peers *wire.Peers
	stop  context.CancelFunc
	ctx   context.Context
	wg    sync.WaitGroup

	mu       sync.Mutex
	replicas map[idl.GPID]*stubReplica
	gc       []idl.GPID // what the meta server told to delete
	acks     int
	refuse   bool // does not take proposals
}

type stubReplica struct {
	pc                  idl.PartitionConfiguration
	status              idl.PartitionStatus
	restarted           bool // loaded from disk, may not resume a role
	committed, prepared int64
}

func (c *cluster) startStub(id byte, disk map[idl.GPID]*stubReplica) *stub {
	c.t.Helper()
	s := &stub{c: c, id: id, self: addr(id, 34801), start: time.Now().UnixMilli(), replicas: disk}
	if s.replicas == nil {
		s.replicas = map[idl.GPID]*stubReplica{}
	}
	for _, r := range s.replicas {
		r.status, r.restarted = idl.PsInactive, true
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.peers = wire.NewPeers(c.net.Dialer(s.self.IP().String()))
	mux := wire.NewMux()
	mux.Handle(idl.RPCConfigProposal, s.proposal)
	s.wire = &wire.Server{Mux: mux, Self: s.self, Log: slog.New(slog.DiscardHandler)}
	c.listen(s.wire, s.self)
	c.stubs[id] = s
	s.wg.Go(s.live)
	return s
}

// kill ends the process; what it stored is returned.
func (s *stub) kill() map[idl.GPID]*stubReplica {
	s.stop()
	s.wire.Close()
	s.peers.Close()
	s.wg.Wait()
	delete(s.c.stubs, s.id)
	return s.replicas
}

func (s *stub) has(pc *idl.PartitionConfiguration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.replicas[pc.Pid]
	want := idl.PsSecondary
	if pc.Primary == s.self {
		want = idl.PsPrimary
	}
	return r != nil && r.status == want
}

func (s *stub) setRefuse(v bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = v
}

// live sends beacons, and config syncs when connected and every 30 s.
func (s *stub) live() {
	var synced time.Time
	for {
		var ack idl.BeaconAck
		err := s.ask(idl.RPCFdFailureDetectorPing, &idl.BeaconMsg{TimeMs: time.Now().UnixMilli(), FromNode: s.self, ToNode: metaAddr, StartTimeMs: s.start}, &ack)
		pause := 3 * time.Second
		if err == nil && ack.IsMaster {
			s.mu.Lock()
			s.acks++
			s.mu.Unlock()
			if time.Since(synced) > 30*time.Second {
				if s.sync() {
					synced = time.Now()
				} else {
					pause = 500 * time.Millisecond
				}
			}
		} else {
			synced = time.Time{}
			pause = time.Second
		}
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (s *stub) ask(name string, q idl.Value, r idl.Decoder) error {
	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
	defer cancel()
	return s.peers.Call(ctx, metaAddr, wire.Call{Name: name, Arg: q, Result: r})
}

func (s *stub) sync() bool {
	q := &idl.ConfigurationQueryByNodeRequest{Node: s.self, StoredReplicas: []idl.ReplicaInfo{}}
	s.mu.Lock()
	for g, r := range s.replicas {
		q.StoredReplicas = append(q.StoredReplicas, idl.ReplicaInfo{Pid: g, Ballot: r.pc.Ballot, Status: r.status,
			LastCommittedDecree: r.committed, LastPreparedDecree: r.prepared, AppType: "pegasus"})
	}
	s.mu.Unlock()
	var a idl.ConfigurationQueryByNodeResponse
	if err := s.ask(idl.RPCConfigSync, q, &a); err != nil || a.Err != idl.ErrOK {
		return false
	}
	s.mu.Lock()
	for _, g := range a.GcReplicas {
		s.gc = append(s.gc, g.Pid)
	}
	s.mu.Unlock()
	for i := range a.Partitions {
		pc := &a.Partitions[i].Config
		s.mu.Lock()
		r := s.replicas[pc.Pid]
		leave := r == nil || r.restarted
		if !leave {
			s.adopt(r, pc)
		}
		s.mu.Unlock()
		if leave && !s.leave(pc) {
			return false
		}
	}
	return true
}

// leave takes this node out of a configuration in which it has no replica in service.
func (s *stub) leave(pc *idl.PartitionConfiguration) bool {
	next := *pc
	next.Ballot++
	if next.Primary == s.self {
		next.Primary = 0
	}
	next.Secondaries = without(slices.Clone(next.Secondaries), s.self)
	a, err := s.update(idl.CtDowngradeToInactive, s.self, &next)
	return err == nil && (a.Err == idl.ErrOK || a.Err == idl.ErrInvalidVersion)
}

func (s *stub) update(typ idl.ConfigType, about idl.RPCAddress, next *idl.PartitionConfiguration) (*idl.ConfigurationUpdateResponse, error) {
	a := &idl.ConfigurationUpdateResponse{}
	err := s.ask(idl.RPCUpdatePartitionConfiguration, &idl.ConfigurationUpdateRequest{Config: *next, Type: typ, Node: about, HostNode: s.self}, a)
	return a, err
}

// adopt makes a configuration the replica's; mu must be held.
func (s *stub) adopt(r *stubReplica, pc *idl.PartitionConfiguration) {
	if pc.Ballot < r.pc.Ballot {
		return
	}
	r.pc = *pc
	switch {
	case pc.Primary == s.self:
		r.status, r.restarted = idl.PsPrimary, false
	case slices.Contains(pc.Secondaries, s.self):
		r.status, r.restarted = idl.PsSecondary, false
	default:
		r.status = idl.PsInactive
	}
}

// tell adopts a configuration at all its members, as the primary does by group check.
func (s *stub) tell(pc *idl.PartitionConfiguration) {
	for _, a := range members(pc) {
		if o := s.c.stubAt(a); o != nil {
			o.mu.Lock()
			r := o.replicas[pc.Pid]
			if r != nil && !(r.restarted && a != s.self) {
				o.adopt(r, pc)
			}
			o.mu.Unlock()
		}
	}
}

func (s *stub) proposal(w *wire.Request) {
	q := new(idl.ConfigurationUpdateRequest)
	if err := w.Decode(q); err != nil {
		w.ReplyError(idl.ErrInvalidData)
		return
	}
	w = w.Retain()
	s.wg.Go(func() {
		err := s.act(q)
		code := idl.ErrOK
		if err != nil && !errors.As(err, &code) {
			code = idl.ErrUnknown
		}
		w.Reply(&idl.ConfigProposalAck{Err: code})
	})
}

func (s *stub) act(q *idl.ConfigurationUpdateRequest) error {
	s.mu.Lock()
	if s.refuse {
		s.mu.Unlock()
		return idl.ErrInvalidState
	}
	g := q.Config.Pid
	r := s.replicas[g]
	if r == nil && q.Type == idl.CtAssignPrimary {
		r = &stubReplica{status: idl.PsInactive}
		s.replicas[g] = r
	}
	if r == nil || q.Type != idl.CtAssignPrimary && r.restarted || q.Config.Ballot < r.pc.Ballot {
		s.mu.Unlock()
		return idl.ErrInvalidState
	}
	if q.Type == idl.CtInvalid {
		s.adopt(r, &q.Config)
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	if q.Type == idl.CtDropPartition {
		s.mu.Lock()
		r.status = idl.PsInactive
		s.mu.Unlock()
		return nil
	}

	next := q.Config
	next.Ballot++
	next.Secondaries = slices.Clone(next.Secondaries)
	typ := q.Type
	switch typ {
	case idl.CtAssignPrimary, idl.CtUpgradeToPrimary:
		next.Primary = s.self
		next.Secondaries = without(next.Secondaries, s.self)
	case idl.CtAddSecondary, idl.CtAddSecondaryForLb:
		if !s.teach(q.Node, g) {
			return idl.ErrTimeout
		}
		typ = idl.CtUpgradeToSecondary
		next.Secondaries = append(next.Secondaries, q.Node)
	case idl.CtDowngradeToSecondary:
		next.Primary = 0
		next.Secondaries = append(next.Secondaries, s.self)
	case idl.CtDowngradeToInactive, idl.CtRemove:
		if next.Primary == q.Node {
			next.Primary = 0
		}
		next.Secondaries = without(next.Secondaries, q.Node)
	default:
		return idl.ErrInvalidParameters
	}
	a, err := s.update(typ, q.Node, &next)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.adopt(r, &a.Config)
	s.mu.Unlock()
	if a.Err != idl.ErrOK {
		return a.Err
	}
	s.tell(&a.Config)
	return nil
}

// teach lets another stub learn the replica.
func (s *stub) teach(learner idl.RPCAddress, g idl.GPID) bool {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-s.ctx.Done():
		return false
	}
	o := s.c.stubAt(learner)
	if o == nil {
		return false
	}
	s.mu.Lock()
	mine := *s.replicas[g]
	s.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if r := o.replicas[g]; r != nil && r.status == idl.PsSecondary && r.pc.Primary == s.self {
		return true
	}
	o.replicas[g] = &stubReplica{status: idl.PsPotentialSecondary, committed: mine.committed, prepared: mine.prepared, pc: mine.pc}
	return true
}
