// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
	"github.com/pegasus-ops/pegasus-ops/test/onebox"
	"github.com/pegasus-ops/pegasus-ops/test/semantics"
)

// TestAnswersAreThoseOfTheRealServer plays 4,000 operations on an empty table, over the wire and
// through three replicas.
func TestAnswersAreThoseOfTheRealServer(t *testing.T) {
	_, cl := deploy(t, onebox.Options{})
	ctx := t.Context()
	if _, err := cl.CreateTable(ctx, "golden", client.CreateOptions{Partitions: semantics.Partitions, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	took := healthy(t, cl, "golden", 30*time.Second)
	t.Logf("the new table was healthy after %.1f s", took.Seconds())
	config, err := cl.QueryConfig(ctx, "golden")
	if err != nil {
		t.Fatal(err)
	}
	primary := map[int32]idl.RPCAddress{}
	for _, p := range config.Partitions {
		primary[p.Pid.PartitionIndex] = p.Primary
	}
	peers := wire.NewPeers(wire.TCP)
	defer peers.Close()
	lines, err := semantics.Load()
	if err != nil || len(lines) != 4000 {
		t.Fatalf("%d operations, %v", len(lines), err)
	}
	bad := 0
	for i, l := range lines {
		q := &l.Q
		got, err := q.Play(func(rpc string, arg idl.Value, result idl.Decoder) error {
			one, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			return peers.Call(one, primary[q.Partition()], wire.Call{
				Name: rpc, GPID: idl.GPID{AppID: config.AppID, PartitionIndex: q.Partition()},
				PartitionHash: q.Hash(), Arg: arg, Result: result,
			})
		})
		if err != nil {
			t.Fatalf("line %d: %s: %v", i+2, q.Op, err)
		}
		if diff := cmp.Diff(l.A, got, cmpopts.EquateEmpty()); diff != "" {
			text, _ := json.Marshal(q)
			t.Errorf("line %d: %s (-real +ours)\n%s", i+2, text, diff)
			if bad++; bad > 10 {
				t.FailNow()
			}
		}
	}
}
