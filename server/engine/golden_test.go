// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/test/semantics"
)

func readGolden(t *testing.T) []semantics.Line {
	lines, err := semantics.Load()
	require.NoError(t, err)
	require.Len(t, lines, 4000)
	return lines
}

// call executes RPCs on the engine alone.
func (r rig) call(rpc string, arg idl.Value, result idl.Decoder) error {
	var v idl.Value
	if code, ok := WriteCodeOf(rpc); ok {
		v = r.do(code, arg)
	} else {
		v = ask[idl.Value](r, rpc, arg)
	}
	_, err := result.Decode(v.Append(nil))
	return err
}

// writeOf returns the write that a question asks for, or nil when it asks for a read.
func writeOf(q *semantics.Question) *write {
	rpc, arg, ok := q.Write()
	if !ok {
		return nil
	}
	code, _ := WriteCodeOf(rpc)
	return &write{code, arg}
}

// goldenRigs opens the partitions of the golden table.
func goldenRigs(t *testing.T) (rigs [semantics.Partitions]rig) {
	for i := range rigs {
		rigs[i] = newRig(t, func(o *Options) { o.GPID.PartitionIndex = int32(i) })
	}
	return rigs
}

// TestGolden plays what was played to a real Pegasus server and wants the same answers.
func TestGolden(t *testing.T) {
	rigs := goldenRigs(t)
	bad := 0
	for i, l := range readGolden(t) {
		got, err := l.Q.Play(rigs[l.Q.Partition()].call)
		require.NoError(t, err)
		if diff := cmp.Diff(l.A, got, cmpopts.EquateEmpty()); diff != "" {
			q, _ := json.Marshal(l.Q)
			t.Errorf("line %d: %s (-golden +got)\n%s", i+2, q, diff)
			if bad++; bad > 20 {
				t.FailNow()
			}
		}
		// Some answers must not depend on whether the data is in memory or on disk.
		if i%1000 == 999 {
			for _, r := range rigs {
				require.NoError(t, r.Flush())
			}
		}
	}
}

// TestGoldenMerged plays the writes of the golden file merged into mutations of several writes.
// Every answer and the final state must be as if each had come alone.
func TestGoldenMerged(t *testing.T) {
	alone, merged := goldenRigs(t), goldenRigs(t)
	lines := readGolden(t)
	rng := rand.New(rand.NewPCG(1, 2))
	var waiting [semantics.Partitions][]int
	flush := func(p int32) {
		if len(waiting[p]) == 0 {
			return
		}
		var ws []write
		for _, i := range waiting[p] {
			ws = append(ws, *writeOf(&lines[i].Q))
		}
		for k, v := range merged[p].mutateAt(start, ws...) {
			i := waiting[p][k]
			if diff := cmp.Diff(lines[i].A, semantics.AnswerOf(v), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("line %d: (-golden +got)\n%s", i+2, diff)
			}
		}
		waiting[p] = nil
	}
	for i, l := range lines {
		w, p := writeOf(&l.Q), l.Q.Partition()
		if w == nil {
			continue
		}
		alone[p].do(w.code, w.arg)
		waiting[p] = append(waiting[p], i)
		if rng.IntN(6) == 0 {
			flush(p)
		}
	}
	for p := range merged {
		flush(int32(p))
		require.Equal(t, dump(t, alone[p].DB), dump(t, merged[p].DB))
	}
}
