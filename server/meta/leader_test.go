// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
)

// fakeElection elects when told to, and names whom it is told to.
type fakeElection struct {
	local  *store.Local
	leader atomic.Value  // idl.RPCAddress; zero names nobody
	elect  chan struct{} // closed: whoever runs is elected
}

func (f *fakeElection) Campaign(ctx context.Context) (store.Term, error) {
	select {
	case <-ctx.Done():
		return store.Term{}, ctx.Err()
	case <-f.elect:
	}
	term, err := f.local.Campaign(ctx)
	return store.Term{Epoch: term.Epoch, Lost: make(chan struct{})}, err // it never learns of its end
}

func (f *fakeElection) Leader() idl.RPCAddress {
	a, _ := f.leader.Load().(idl.RPCAddress)
	return a
}

// slowStore does not answer reads until it is let.
type slowStore struct {
	store.Store
	ready chan struct{}
}

func (s slowStore) Get(ctx context.Context, path string) (store.Node, error) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return store.Node{}, ctx.Err()
	}
	return s.Store.Get(ctx, path)
}

// withElection lets a cluster use a fake election. The local store is closed by the test.
func withElection(t *testing.T, n int, test func(*testing.T, *cluster, *fakeElection, chan struct{})) {
	e := &fakeElection{}
	var ready chan struct{}
	inCluster(t, n, func(o *Options) {
		if e.local == nil {
			// Channels and the like belong to the bubble that uses them.
			e.elect, ready = make(chan struct{}), make(chan struct{})
			local, err := store.OpenLocal(store.LocalOptions{FS: o.FS, Dir: "shared", Self: o.Self, Log: o.Log})
			if err != nil {
				t.Fatal(err)
			}
			e.local = local
		}
		o.Store, o.Election = slowStore{e.local, ready}, e
	}, func(t *testing.T, c *cluster) {
		defer func() {
			synctest.Wait()
			go func() { // after the server, which inCluster stops
				<-c.meta.ctx.Done()
				c.meta.wg.Wait()
				e.local.Close()
			}()
		}()
		test(t, c, e, ready)
	})
}

func TestAnswersOfAServerThatDoesNotLead(t *testing.T) {
	withElection(t, 0, func(t *testing.T, c *cluster, e *fakeElection, ready chan struct{}) {
		other := addr(101, 34601)
		create := func() (r idl.ConfigurationCreateAppResponse) {
			c.call(idl.RPCCreateApp, &idl.ConfigurationCreateAppRequest{}, &r)
			return r
		}
		if r := c.query("temp"); r.Err != idl.ErrForwardToOthers || r.IsStateful || len(r.Partitions) != 0 {
			t.Errorf("leader unknown: %+v", r)
		}
		if w := get(c, "/meta/apps"); w.Code != 503 {
			t.Errorf("leader unknown: %d", w.Code)
		}
		e.leader.Store(other)
		if r := c.query("temp"); r.Err != idl.ErrForwardToOthers || r.IsStateful || r.PartitionCount != 0 ||
			len(r.Partitions) != 1 || r.Partitions[0].Primary != other || r.Partitions[0].HpPrimary != nil {
			t.Errorf("leader known: %+v", r)
		}
		if r := create(); r.Err != idl.ErrForwardToOthers {
			t.Errorf("create: %+v", r)
		}
		if w := get(c, "/meta/app?name=temp&detail"); w.Code != 307 || w.Header().Get("Location") != "http://10.0.0.101:34601/meta/app?name=temp&detail" {
			t.Errorf("redirect: %d %v", w.Code, w.Header())
		}
		if w := get(c, "/envs/list"); w.Code != 200 {
			t.Errorf("/envs/list of a follower: %d", w.Code)
		}
		var ack idl.BeaconAck
		c.call(idl.RPCFdFailureDetectorPing, &idl.BeaconMsg{TimeMs: 7, FromNode: addr(1, 1), StartTimeMs: 1}, &ack)
		if ack.IsMaster || ack.PrimaryNode != other || ack.TimeMs != 7 || !ack.Allowed {
			t.Errorf("beacon: %+v", ack)
		}
		if got := c.cmds.Execute("meta.lb.assign_delay_ms", nil); got != "unknown command 'meta.lb.assign_delay_ms'" {
			t.Errorf("a follower must not pretend: %s", got)
		}
		if got := c.cmds.Execute("meta.live_percentage", nil); got != "0" {
			t.Error(got)
		}

		// The native framing sends clients on, unless they cannot be or the leader is unknown.
		for _, x := range []struct {
			context uint64
			leader  idl.RPCAddress
			code    string
			body    []byte
		}{
			{0x441, other, "ERR_FORWARD_TO_OTHERS", append([]byte{12, 0, 0}, append(other.Append(nil), 0)...)},
			{0x041, other, "ERR_OK", nil},
			{0x443, other, "ERR_OK", nil},
			{0x441, 0, "ERR_OK", nil},
		} {
			e.leader.Store(x.leader)
			code, body := rdsn(t, c, x.context, idl.RPCListNodes, []byte{12, 0, 0, 0, 0})
			if code != x.code || x.body != nil && !bytes.Equal(body, x.body) {
				t.Errorf("context %#x, leader %s: %s % x", x.context, x.leader, code, body)
			}
			if x.body == nil {
				var r idl.ConfigurationListNodesResponse
				if _, err := r.Decode(body[3:]); err != nil || r.Err != idl.ErrForwardToOthers {
					t.Errorf("context %#x: %+v, %v", x.context, r, err)
				}
			}
		}
		e.leader.Store(other)
		if _, body := rdsn(t, c, 0x041, idl.RPCQueryConfig, []byte{12, 0, 0, 0, 0}); true {
			var r idl.QueryCfgResponse
			if _, err := r.Decode(body[3:]); err != nil || len(r.Partitions) != 1 || r.Partitions[0].HpPrimary == nil ||
				r.Partitions[0].HpPrimary.String() != "10.0.0.101:34601" {
				t.Errorf("the native framing wants host_ports: %+v, %v", r, err)
			}
		}

		// Elected, the state not read yet.
		e.leader.Store(metaAddr)
		close(e.elect)
		synctest.Wait()
		if r := c.query("temp"); r.Err != idl.ErrServiceNotActive {
			t.Errorf("state not loaded: %+v", r)
		}
		if r := create(); r.Err != idl.ErrServiceNotActive {
			t.Errorf("state not loaded: %+v", r)
		}
		if code, _ := rdsn(t, c, 0x441, idl.RPCListNodes, []byte{12, 0, 0, 0, 0}); code != "ERR_OK" {
			t.Errorf("state not loaded: %s", code)
		}
		c.call(idl.RPCFdFailureDetectorPing, &idl.BeaconMsg{FromNode: addr(1, 1), StartTimeMs: 1}, &ack)
		if ack.IsMaster || !ack.PrimaryNode.IsZero() {
			t.Errorf("beacon while the state is not loaded: %+v", ack)
		}
		close(ready)
		synctest.Wait()
		if r := c.query("temp"); r.Err != idl.ErrObjectNotFound {
			t.Errorf("leading: %+v", r)
		}
		if got := c.cmds.Execute("meta.lb.assign_delay_ms", nil); got != "600000" {
			t.Error(got)
		}
	})
}

func get(c *cluster, url string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	c.http.ServeHTTP(w, httptest.NewRequest("GET", url, nil))
	return w
}

// rdsn sends one request in the native framing and returns the error name and body of the answer.
func rdsn(t *testing.T, c *cluster, context uint64, name string, body []byte) (string, []byte) {
	t.Helper()
	conn, err := c.net.Dialer("10.0.0.201")(t.Context(), metaAddr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	h := make([]byte, 192, 192+len(body))
	copy(h, "RDSN")
	binary.LittleEndian.PutUint32(h[8:], 192)
	binary.LittleEndian.PutUint32(h[16:], uint32(len(body)))
	binary.LittleEndian.PutUint64(h[24:], 5)
	copy(h[40:], name)
	binary.LittleEndian.PutUint64(h[104:], context)
	binary.LittleEndian.PutUint64(h[112:], uint64(idl.MakeAddress([4]byte{10, 0, 0, 201}, 1)))
	if _, err := conn.Write(append(h, body...)); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(conn, h); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, binary.LittleEndian.Uint32(h[16:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Fatal(err)
	}
	code, _, _ := bytes.Cut(h[136:184], []byte{0})
	return string(code), answer
}

func TestDeposedLeaderStartsOver(t *testing.T) {
	withElection(t, 3, func(t *testing.T, c *cluster, e *fakeElection, ready chan struct{}) {
		e.leader.Store(metaAddr)
		close(e.elect)
		close(ready)
		time.Sleep(5 * time.Second)
		c.create("before", 2, 3)
		c.awaitHealthy("before", 3, 2*time.Second)
		// Another server takes over and writes; this one does not hear of it.
		term, err := e.local.Campaign(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		info := newTable(2, "foreign", 1, 3, nil)
		if err := e.local.Commit(t.Context(), term.Epoch, createOps(&info)...); err != nil {
			t.Fatal(err)
		}
		var r idl.ConfigurationCreateAppResponse
		if err := c.try(idl.RPCCreateApp, &idl.ConfigurationCreateAppRequest{AppName: "mine", Options: idl.CreateAppOptions{
			PartitionCount: 1, ReplicaCount: 3, IsStateful: true}}, &r); err == nil {
			t.Errorf("a deposed leader has acknowledged a table: %+v", r)
		}
		// It has run again and read what the other wrote.
		c.awaitHealthy("foreign", 3, 5*time.Second)
		if r := c.query("mine"); r.Err != idl.ErrObjectNotFound {
			t.Errorf("the refused table exists: %+v", r)
		}
		c.awaitHealthy("before", 3, 5*time.Second)
		if err := c.create("mine", 1, 3); err != idl.ErrOK {
			t.Errorf("create: %v", err)
		}
		if c.query("mine").AppID != 3 {
			t.Errorf("next table has id %d, want 3", c.query("mine").AppID)
		}
	})
}

// crashStore is a local store that cuts the power at its n-th commit, before or after it took
// effect, and from then on is silent.
type crashStore struct {
	*store.Local
	fs    *vfs.MemFS
	after bool

	running sync.WaitGroup
	mu      sync.Mutex
	left    int
	crashed *vfs.MemFS
}

func (s *crashStore) Commit(ctx context.Context, epoch int64, ops ...store.Op) error {
	s.mu.Lock()
	s.left--
	last := s.left == 0
	if s.left > 0 {
		s.running.Add(1)
	}
	alive := s.left > 0
	s.mu.Unlock()
	if alive {
		defer s.running.Done()
		return s.Local.Commit(ctx, epoch, ops...)
	}
	if last {
		s.running.Wait() // who is acknowledged after the crash was written before it
		if s.after {
			if err := s.Local.Commit(ctx, epoch, ops...); err != nil {
				return err
			}
		}
		crashed := s.fs.CrashClone(vfs.CrashCloneCfg{})
		s.mu.Lock()
		s.crashed = crashed
		s.mu.Unlock()
	}
	<-ctx.Done()
	return ctx.Err()
}

// TestCrashAtEveryStoreWrite runs a history of tables again and again, the meta server dying one
// write later each time. What was acknowledged must be there, and the cluster must get well.
func TestCrashAtEveryStoreWrite(t *testing.T) {
	for n, reached := 1, true; reached; n++ {
		for _, after := range []bool{false, true} {
			if !t.Run(fmt.Sprintf("%d/%v", n, after), func(t *testing.T) {
				reached = crashAtWrite(t, n, after)
			}) {
				return
			}
		}
	}
}

func crashAtWrite(t *testing.T, n int, after bool) (reached bool) {
	var cs *crashStore
	inCluster(t, 3, func(o *Options) {
		o.DefaultTables = []TableSpec{{Name: "temp", Partitions: 2, Replicas: 3}}
		if cs != nil {
			return // after the crash: the plain local store
		}
		local, err := store.OpenLocal(store.LocalOptions{FS: o.FS, Dir: "meta/store", Self: o.Self, Log: o.Log})
		if err != nil {
			t.Fatal(err)
		}
		cs = &crashStore{Local: local, fs: o.FS.(*vfs.MemFS), after: after, left: n}
		o.Store, o.Election = cs, local
	}, func(t *testing.T, c *cluster) {
		acked := map[string]bool{} // table -> exists
		step := func(name string, q idl.Value, r idl.Decoder, code *idl.ErrorCode, ok func()) {
			if err := c.try(name, q, r); err == nil && *code == idl.ErrOK {
				ok()
			}
		}
		var create, create2 idl.ConfigurationCreateAppResponse
		var drop idl.ConfigurationDropAppResponse
		var rename idl.ConfigurationRenameAppResponse
		time.Sleep(4 * time.Second)
		o := idl.CreateAppOptions{PartitionCount: 2, ReplicaCount: 3, IsStateful: true}
		step(idl.RPCCreateApp, &idl.ConfigurationCreateAppRequest{AppName: "a", Options: o}, &create, &create.Err, func() { acked["a"] = true })
		step(idl.RPCCreateApp, &idl.ConfigurationCreateAppRequest{AppName: "b", Options: o}, &create2, &create2.Err, func() { acked["b"] = true })
		time.Sleep(time.Second)
		step(idl.RPCDropApp, &idl.ConfigurationDropAppRequest{AppName: "a"}, &drop, &drop.Err, func() { acked["a"] = false })
		dropTried := acked["a"] && drop.Err != idl.ErrOK
		step(idl.RPCRenameApp, &idl.ConfigurationRenameAppRequest{OldAppName: "b", NewAppName: "c"}, &rename, &rename.Err, func() {
			delete(acked, "b")
			acked["c"] = true
		})
		renameTried := acked["b"] && rename.Err != idl.ErrOK

		cs.mu.Lock()
		crashed := cs.crashed
		cs.mu.Unlock()
		reached = crashed != nil
		if !reached { // the history had fewer writes
			crashed = cs.fs.CrashClone(vfs.CrashCloneCfg{})
		}
		c.stopMeta()
		cs.Local.Close()
		c.fs = crashed
		c.startMeta()

		time.Sleep(30 * time.Second)
		var list idl.ConfigurationListAppsResponse
		c.call(idl.RPCListApps, &idl.ConfigurationListAppsRequest{}, &list)
		exists, ids := map[string]bool{}, map[int32]bool{}
		for _, i := range list.Infos {
			exists[i.AppName] = i.Status == idl.AsAvailable
			if ids[i.AppID] {
				t.Errorf("id %d is used twice", i.AppID)
			}
			ids[i.AppID] = true
			if i.Status == idl.AsAvailable {
				c.awaitHealthy(i.AppName, 3, 30*time.Second)
			}
		}
		if !exists["temp"] {
			t.Error("the default table is missing")
		}
		for name, want := range acked {
			switch {
			case name == "a" && dropTried, name == "b" && renameTried:
				// Nobody knows how the last operation on it ended.
			case exists[name] != want:
				t.Errorf("table %s: exists %v, acknowledged was %v", name, exists[name], want)
			}
		}
		if renameTried && exists["b"] == exists["c"] {
			t.Errorf("a table that was being renamed: b %v, c %v", exists["b"], exists["c"])
		}
	})
	return reached
}
