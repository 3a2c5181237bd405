// SPDX-License-Identifier: Apache-2.0

package pacifica

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

var (
	n1 = nodeID("n1")
	n2 = nodeID("n2")
	n3 = nodeID("n3")
)

// A pair is a primary and a secondary whose logs are written at once.
type pair struct {
	now  time.Time
	p, s *Replica

	messages int
	applied  int
	failed   []Failure
	changes  []Change
}

func newPair(t testing.TB, params Params) *pair {
	x := &pair{now: epoch}
	params.Self = n1
	x.p = New(params, Restored{})
	x.p.RenewLease(x.now, x.now.Add(time.Hour))
	require.NoError(t, x.p.HandleProposal(x.now, Proposal{Type: ChangeAssignPrimary, Node: n1}))
	x.p.Configure(x.now, Config{Ballot: 1, Primary: n1}, x.now)
	params.Self = n2
	x.s = New(params, Restored{})
	x.s.RenewLease(x.now, x.now.Add(time.Hour))
	require.NoError(t, x.p.HandleProposal(x.now, Proposal{Type: ChangeAddSecondary, Node: n2, Signature: 5, Config: Config{Ballot: 1, Primary: n1}}))
	x.settle()
	plan, err := x.p.Learn(x.now, LearnRequest{Node: n2, Signature: 5})
	require.NoError(t, err)
	require.True(t, plan.Cached)
	require.NoError(t, x.s.Learned(x.now, 5, cloneAll(plan.Mutations), true))
	require.NoError(t, x.p.LearnerDone(x.now, n2, 5, 1, idl.ErrOK))
	x.settle()
	x.p.Configure(x.now, Config{Ballot: 2, Primary: n1, Secondaries: []NodeID{n2}}, x.now)
	x.settle()
	require.Equal(t, RoleSecondary, x.s.Status().Role)
	return x
}

func cloneAll(ms []*Mutation) (out []*Mutation) {
	for _, m := range ms {
		c, err := DecodeMutation(bytes.Clone(m.Encoded))
		if err != nil {
			panic(err)
		}
		out = append(out, c)
	}
	return out
}

// settle exchanges messages until both are quiet.
func (x *pair) settle() {
	for x.p.HasReady() || x.s.HasReady() {
		x.drain(x.p, x.s)
		x.drain(x.s, x.p)
	}
}

func (x *pair) drain(r, other *Replica) {
	rd := r.Ready()
	for _, m := range rd.Messages {
		x.messages++
		m.Mutations = cloneAll(m.Mutations)
		if m.To == other.p.Self {
			other.Step(x.now, m)
		}
	}
	x.failed = append(x.failed, rd.Failed...)
	x.changes = append(x.changes, rd.Changes...)
	if r == x.p {
		x.applied += len(rd.Apply)
	}
	if rd.Seq != 0 {
		r.LogWritten(x.now, rd.Seq)
	}
}

func payload(n int) []byte { return make([]byte, HeaderSize+n) }

func TestMutationCodec(t *testing.T) {
	m := &Mutation{Ballot: 3, Decree: 9, Committed: 7, Timestamp: 1234567, Payload: []byte("writes")}
	b := AppendMutation([]byte("front"), m)[5:]
	got, err := DecodeMutation(b)
	require.NoError(t, err)
	require.Equal(t, b, got.Encoded)
	got.Encoded = nil
	require.Equal(t, m, got)
	for i := range HeaderSize {
		_, err := DecodeMutation(b[:i])
		require.Error(t, err)
	}
	b[0] = 9
	_, err = DecodeMutation(b)
	require.ErrorContains(t, err, "version 9")
}

func FuzzDecodeMutation(f *testing.F) {
	f.Add(AppendMutation(nil, &Mutation{Ballot: 3, Decree: 9, Committed: 7, Payload: []byte("x")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMutation(b)
		if err == nil && !bytes.Equal(AppendMutation(nil, m), b) {
			t.Fatal("does not encode to what it was decoded from")
		}
	})
}

func TestWindowIsBounded(t *testing.T) {
	x := newPair(t, Params{MinReplicas: 2, Window: 4})
	for i := range 4 {
		require.NoError(t, x.p.Propose(x.now, payload(1), i))
	}
	require.Equal(t, idl.ErrCapacityExceeded, x.p.Propose(x.now, payload(1), 9))
	x.settle()
	require.NoError(t, x.p.CanPropose(x.now))
	require.Equal(t, idl.ErrInvalidParameters, x.p.Propose(x.now, []byte{1}, 9))
	require.Equal(t, idl.ErrInvalidState, x.p.CanPropose(x.now.Add(2*time.Hour)), "no lease")
	require.False(t, x.p.CanRead(x.now.Add(2*time.Hour)))
	require.Equal(t, idl.ErrInvalidState, x.s.CanPropose(x.now))
	x.p.SetMinReplicas(3)
	require.Equal(t, idl.ErrNotEnoughMember, x.p.CanPropose(x.now))
}

func TestManyWritesTravelTogetherAndLargeOnesApart(t *testing.T) {
	x := newPair(t, Params{MinReplicas: 2, MessageBytes: 1000})
	x.messages = 0
	for range 10 {
		require.NoError(t, x.p.Propose(x.now, payload(10), nil))
	}
	x.settle()
	require.Equal(t, 2, x.messages, "one prepare, one acknowledgement")
	x.messages = 0
	for range 4 {
		require.NoError(t, x.p.Propose(x.now, payload(900), nil))
	}
	x.settle()
	require.Equal(t, 8, x.messages)
	require.Equal(t, int64(15), x.p.Status().Committed)
}

func TestTimestampsGrow(t *testing.T) {
	x := newPair(t, Params{})
	var last int64
	for i := range 5 {
		require.NoError(t, x.p.Propose(x.now.Add(-time.Duration(i)*time.Second), payload(1), nil))
		m := x.p.list.at(x.p.list.last())
		require.Greater(t, m.Timestamp, last)
		last = m.Timestamp
		x.settle()
	}
}

func TestCacheIsBounded(t *testing.T) {
	x := newPair(t, Params{CacheMutations: 10, CacheBytes: 1 << 20, PinMutations: 30, PinBytes: 1 << 20})
	write := func(n, size int) {
		for range n {
			require.NoError(t, x.p.Propose(x.now, payload(size), nil))
			x.settle()
		}
	}
	cached := func() int64 { return x.p.committed - x.p.list.first() + 1 }
	write(50, 10)
	require.EqualValues(t, 10, cached())
	require.EqualValues(t, 10, x.s.committed-x.s.list.first()+1)

	c := x.p.Status().Config
	require.NoError(t, x.p.HandleProposal(x.now, Proposal{Type: ChangeAddSecondary, Node: n3, Signature: 6, Config: c}))
	plan, err := x.p.Learn(x.now, LearnRequest{Node: n3, Signature: 6})
	require.NoError(t, err)
	require.False(t, plan.Cached)
	write(20, 10)
	require.EqualValues(t, 20, cached(), "kept for the learner")
	plan, err = x.p.Learn(x.now, LearnRequest{Node: n3, Signature: 6, Committed: plan.Committed})
	require.NoError(t, err)
	require.True(t, plan.Cached)
	require.Len(t, plan.Mutations, 20)
	write(50, 10)
	require.LessOrEqual(t, cached(), int64(31), "but not for ever")
	write(5, 400<<10)
	require.LessOrEqual(t, cached(), int64(5), "nor without regard to bytes")
}

func TestFailedMemberLeaves(t *testing.T) {
	x := newPair(t, Params{})
	require.NoError(t, x.p.Propose(x.now, payload(1), "w"))
	x.changes = nil
	x.p.Fail(x.now)
	x.drain(x.p, x.s)
	require.Equal(t, []Failure{{"w", idl.ErrTimeout}}, x.failed)
	want := Change{ChangeDowngradeToInactive, n1, Config{Ballot: 3, Secondaries: []NodeID{n2}}}
	require.Equal(t, []Change{want}, x.changes)

	x.now = x.now.Add(2 * time.Second)
	x.p.Tick(x.now)
	x.drain(x.p, x.s)
	require.Len(t, x.changes, 2, "it insists")
	other := Config{Ballot: 3, Primary: n1}
	x.p.ChangeReply(x.now, want, idl.ErrInvalidVersion, &other, x.now)
	x.drain(x.p, x.s)
	require.Equal(t, Config{Ballot: 4}, x.changes[2].Config)
	x.p.ChangeReply(x.now, x.changes[2], idl.ErrOK, nil, x.now)
	x.now = x.now.Add(2 * time.Second)
	x.p.Tick(x.now)
	x.drain(x.p, x.s)
	require.Len(t, x.changes, 3)
	require.Equal(t, RoleError, x.p.Status().Role)
	x.p.Configure(x.now, Config{Ballot: 9, Primary: n1}, x.now)
	require.Equal(t, RoleError, x.p.Status().Role, "for good")
}

func TestNotListedMeansRemoved(t *testing.T) {
	x := newPair(t, Params{})
	x.s.NotListed(x.now, 1)
	require.Equal(t, RoleSecondary, x.s.Status().Role, "the answer is about an older ballot")
	x.s.NotListed(x.now, 2)
	require.Equal(t, RoleInactive, x.s.Status().Role)
	require.False(t, x.s.Status().Transient)
}

func TestOddMessagesDoNoHarm(t *testing.T) {
	x := newPair(t, Params{})
	bad := &Mutation{Ballot: 99, Decree: 2, Committed: 1}
	bad.Encoded = AppendMutation(nil, bad)
	for _, r := range []*Replica{x.p, x.s} {
		before := r.Status()
		for typ := MsgType(0); typ < 9; typ++ {
			for role := Role(-1); role < 8; role++ {
				for _, ballot := range []int64{-1, 0, 1, 2} {
					for _, from := range []NodeID{0, n1, n2, n3} {
						r.Step(x.now, Message{Type: typ, Role: role, Ballot: ballot, From: from, Err: idl.ErrTryAgain,
							Mutations: []*Mutation{bad, bad}, Decree: 1 << 40, Prepared: 1 << 40, Committed: -5})
					}
				}
			}
		}
		r.Ready()
		after := r.Status()
		require.Equal(t, before.Role, after.Role)
		require.Equal(t, before.Committed, after.Committed)
		require.Equal(t, before.Prepared, after.Prepared)
	}
}

func TestReplay(t *testing.T) {
	record := func(decree, ballot, committed int64) []byte {
		return AppendMutation(nil, &Mutation{Decree: decree, Ballot: ballot, Committed: committed})
	}
	for _, tt := range []struct {
		name          string
		applied       int64
		log           [][]byte
		apply, remain string
	}{
		{"empty", 5, nil, "", ""},
		{"plain", 0, [][]byte{record(1, 1, 0), record(2, 1, 1), record(3, 1, 1)}, "1@1 ", "2@1 3@1 "},
		{"voided tail", 0, [][]byte{record(1, 1, 0), record(2, 1, 0), record(3, 1, 0), record(2, 2, 0)}, "", "1@1 2@2 "},
		{"hole", 3, [][]byte{record(9, 1, 8), record(4, 1, 3)}, "", "4@1 "},
		{"applied already", 2, [][]byte{record(1, 1, 0), record(3, 1, 2), record(4, 1, 3)}, "3@1 ", "4@1 "},
		{"voided through the applied part", 2, [][]byte{record(3, 1, 2), record(4, 1, 2), record(2, 2, 1), record(3, 2, 2)}, "", "3@2 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := NewReplay(tt.applied)
			var apply, remain string
			for _, b := range tt.log {
				ms, err := p.Add(b)
				require.NoError(t, err)
				for _, m := range ms {
					apply += fmt.Sprintf("%d@%d ", m.Decree, m.Ballot)
				}
			}
			s := p.Restored(7)
			for _, m := range s.Log {
				remain += fmt.Sprintf("%d@%d ", m.Decree, m.Ballot)
			}
			require.Equal(t, tt.apply, apply)
			require.Equal(t, tt.remain, remain)
			require.Equal(t, s.Committed+int64(len(s.Log)), New(Params{Self: n1}, s).Status().Prepared)
		})
	}
	_, err := NewReplay(0).Add([]byte("garbage"))
	require.Error(t, err)
}

// BenchmarkWrite is one mutation from proposal to commit on a primary with two secondaries, with
// the acknowledgements made up.
func BenchmarkWrite(b *testing.B) {
	x := newPair(b, Params{})
	c := Config{Ballot: 3, Primary: n1, Secondaries: []NodeID{n2, n3}}
	x.p.Configure(x.now, c, x.now)
	x.p.Ready()
	b.ReportAllocs()
	for b.Loop() {
		if err := x.p.Propose(x.now, payload(100), nil); err != nil {
			b.Fatal(err)
		}
		rd := x.p.Ready()
		seq, decree := rd.Seq, rd.Append[0].Decree
		for _, m := range rd.Messages {
			x.p.Step(x.now, Message{Type: MsgPrepareAck, From: m.To, Ballot: 3, Signature: m.Signature, Decree: decree})
		}
		x.p.LogWritten(x.now, seq)
		x.p.Ready()
	}
	if x.p.committed < int64(b.N) {
		b.Fatal("not committed")
	}
}
