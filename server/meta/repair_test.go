// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
)

var quiet = slog.New(slog.DiscardHandler)

// writeTree puts a tree into the local store of a meta server that does not run.
func writeTree(t *testing.T, fs vfs.FS, ops ...store.Op) {
	t.Helper()
	l, err := store.OpenLocal(store.LocalOptions{FS: fs, Dir: "meta/store", Self: metaAddr, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	term, err := l.Campaign(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(t.Context(), term.Epoch, ops...); err != nil {
		t.Fatal(err)
	}
}

// TestOperationsThatWereCutOffAreFinished starts on trees that a leader leaves behind which dies
// between the table and the last of its partitions.
func TestOperationsThatWereCutOffAreFinished(t *testing.T) {
	in := &idl.PartitionConfiguration{Ballot: 5, MaxReplicaCount: 3, Primary: addr(1, 34801), Secondaries: []idl.RPCAddress{addr(2, 34801), addr(3, 34801)}}
	out := dropConfig(in)
	for _, x := range []struct {
		name     string
		status   idl.AppStatus
		replicas int32
		from     *idl.PartitionConfiguration // nil: missing
		want     func(pc *idl.PartitionConfiguration) bool
	}{
		{"create", idl.AsAvailable, 3, nil, func(pc *idl.PartitionConfiguration) bool { return pc.Ballot == 0 && pc.MaxReplicaCount == 3 }},
		{"drop", idl.AsDropped, 3, in, func(pc *idl.PartitionConfiguration) bool {
			return pc.Ballot == 6 && pc.Primary.IsZero() && pc.PartitionFlags == flagDropped && len(pc.LastDrops) == 3
		}},
		{"recall", idl.AsAvailable, 3, out, func(pc *idl.PartitionConfiguration) bool {
			return pc.Ballot == 7 && pc.PartitionFlags == 0 && len(pc.LastDrops) == 3
		}},
		{"resize", idl.AsAvailable, 2, in, func(pc *idl.PartitionConfiguration) bool {
			return pc.Ballot == 6 && pc.MaxReplicaCount == 2 && pc.Primary == addr(1, 34801)
		}},
		{"nothing", idl.AsAvailable, 3, in, func(pc *idl.PartitionConfiguration) bool { return pc.Ballot == 5 }},
		{"nothing on a dropped table", idl.AsDropped, 2, out, func(pc *idl.PartitionConfiguration) bool { return pc.Ballot == 6 }},
	} {
		t.Run(x.name, func(t *testing.T) {
			fs := vfs.NewMem()
			info := newTable(1, "t", 3, x.replicas, nil)
			info.Status, info.ExpireSecond = x.status, time.Now().Unix()+1e6
			ops := []store.Op{store.Create(store.AppsPath, []byte(store.AppsUnlocked)), store.Create(store.AppPath(1), store.EncodeApp(&info))}
			if x.from != nil {
				for i := range int32(3) {
					pc := *x.from
					pc.Pid = idl.GPID{AppID: 1, PartitionIndex: i}
					ops = append(ops, store.Create(store.PartitionPath(pc.Pid), store.EncodePartition(&pc)))
				}
			}
			writeTree(t, fs, ops...)
			for range 2 { // the second start finds nothing to do
				l, err := store.OpenLocal(store.LocalOptions{FS: fs, Dir: "meta/store", Self: metaAddr, Log: quiet})
				if err != nil {
					t.Fatal(err)
				}
				term, err := l.Campaign(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				s := &Server{o: DefaultOptions(), store: l, log: quiet, ctx: t.Context()}
				ld, err := load(t.Context(), s, term)
				if err != nil {
					t.Fatal(err)
				}
				for i, p := range ld.tables[1].parts {
					n, err := l.Get(t.Context(), store.PartitionPath(p.cfg.Pid))
					if err != nil || n.Version != p.version || string(n.Data) != string(store.EncodePartition(p.cfg)) {
						t.Errorf("partition %d is stored as %+v at %d, %v", i, n, p.version, err)
					}
					if !x.want(p.cfg) {
						t.Errorf("partition %d is %+v", i, p.cfg)
					}
				}
				l.Close()
			}
		})
	}
}

func TestFirstStartThatWasCutOff(t *testing.T) {
	tables := []TableSpec{{Name: "temp", Partitions: 4, Replicas: 1}, {Name: "stat", Partitions: 2, Replicas: 1}}
	temp, stat := newTable(1, "temp", 4, 1, nil), newTable(2, "stat", 2, 1, nil)
	other := newTable(2, "mine", 2, 1, nil)
	all := append(createOps(&temp), createOps(&stat)...)
	used := slices.Clone(createOps(&temp))
	pc := newPartition(&temp, 0)
	pc.Ballot = 3
	used[1] = store.Create(store.PartitionPath(pc.Pid), store.EncodePartition(pc))
	for _, x := range []struct {
		name  string
		mark  string
		ops   []store.Op
		serve bool
	}{
		{"before the first table", "lock", nil, true},
		{"within a table", "lock", all[:3], true},
		{"between tables", "lock", all[:5], true},
		{"at the end", "lock", all, true},
		{"an empty tree", "unlock", nil, true},
		{"an empty mark", "", nil, true},
		{"a table in use", "lock", used, false},
		{"a table of somebody", "lock", append(slices.Clone(all[:5]), createOps(&other)...), false},
		{"another mark", "what", nil, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := vfs.NewMem()
				writeTree(t, fs, append([]store.Op{store.Create(store.AppsPath, []byte(x.mark))}, x.ops...)...)
				c := &cluster{t: t, fs: fs}
				o := c.options()
				o.DefaultTables = tables
				l, err := store.OpenLocal(store.LocalOptions{FS: fs, Dir: "meta/store", Self: metaAddr, Log: o.Log})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				term, err := l.Campaign(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				s := &Server{o: o, store: l, log: o.Log, ctx: t.Context()}
				ld, err := load(t.Context(), s, term)
				root, _ := l.Get(t.Context(), store.AppsPath)
				if !x.serve {
					if err == nil || !strings.Contains(err.Error(), `"`+x.mark+`"`) || string(root.Data) != x.mark {
						t.Errorf("%v; the mark is %q", err, root.Data)
					}
					return
				}
				if err != nil || string(root.Data) != store.AppsUnlocked || len(ld.tables) != 2 || len(ld.names["temp"].parts) != 4 || len(ld.names["stat"].parts) != 2 {
					t.Errorf("%v; the mark is %q; %+v", err, root.Data, ld)
				}
			})
		})
	}
}

// TestLeaseEndsBeforeItIsTold has requests waiting for a leader that was stopped for so long that
// its lease is over, although nothing has told it.
func TestLeaseEndsBeforeItIsTold(t *testing.T) {
	var over atomic.Bool
	withElection(t, 1, func(t *testing.T, c *cluster, f *fakeElection, ready chan struct{}) {
		f.holds = func() bool { return !over.Load() }
		f.name(metaAddr)
		close(f.elect)
		close(ready)
		time.Sleep(5 * time.Second)
		var ack idl.BeaconAck
		beacon := &idl.BeaconMsg{FromNode: addr(1, 1), StartTimeMs: 1}
		if c.call(idl.RPCFdFailureDetectorPing, beacon, &ack); !ack.IsMaster {
			t.Fatalf("leading: %+v", ack)
		}
		over.Store(true)
		ack = idl.BeaconAck{}
		if c.call(idl.RPCFdFailureDetectorPing, beacon, &ack); ack.IsMaster || !ack.PrimaryNode.IsZero() {
			t.Errorf("the lease is over: %+v", ack)
		}
		if r := c.query("temp"); r.Err != idl.ErrServiceNotActive {
			t.Errorf("the lease is over: %+v", r)
		}
	})
}
