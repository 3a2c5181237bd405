// SPDX-License-Identifier: Apache-2.0

package pacifica

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

var (
	simSeeds = flag.Int("sim.seeds", 800, "seeds to simulate")
	simSeed  = flag.Int64("sim.seed", -1, "simulate only this seed and print what happens")
)

// The simulation runs real Replicas on simulated nodes (log, engine, lease) against a model of
// the meta server (meta_test.go) over a network that loses, delays, reorders and repeats
// messages. Nodes crash and come back with their log. All times are some 100 times shorter than
// in production, in the same proportions.
const (
	simLease  = 100 * time.Millisecond
	simGrace  = 120 * time.Millisecond
	simBeacon = 15 * time.Millisecond
	simTick   = 5 * time.Millisecond
)

func simParams(self NodeID, min int) Params {
	return Params{
		Self: self, MinReplicas: min, Window: 6,
		PrepareTimeout: 30 * time.Millisecond, LearnerPrepareTimeout: 50 * time.Millisecond,
		GroupCheckInterval: 40 * time.Millisecond, CommitNotice: 5 * time.Millisecond,
		Retry: 10 * time.Millisecond, ChangeRetry: 15 * time.Millisecond, LearnerSilence: 200 * time.Millisecond,
		CacheMutations: 8, PinMutations: 40, MessageBytes: 200,
	}
}

var epoch = time.Unix(1000, 0)

type event struct {
	at  time.Time
	seq int
	run func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	e := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return e
}

const metaID NodeID = 1 // not a possible node address

type sim struct {
	rng   *rand.Rand
	now   time.Time
	queue eventQueue
	seq   int
	trace func(format string, args ...any)

	nodes []*node
	meta  *meta
	min   int

	lossy   float64 // probability of losing a message
	cut     map[[2]NodeID]bool
	healing bool

	nextID    uint64
	decided   []uint64 // by decree-1, what is committed there
	decidedBy []int64  // ballots
	acked     map[uint64]int64
	lastAcked int64
	failed    string
	stats     struct{ acks, learnCache, learnLog, learnApp, takeovers, crashes int }
}

// A node is a replica server with one replica.
type node struct {
	s     *sim
	id    NodeID
	up    bool
	life  int // counts processes
	start time.Time

	// On disk.
	ballot  int64
	log     []Entry
	durable int // decrees of engine that survive a crash

	// In memory.
	r        *Replica
	engine   []uint64 // by decree-1, what was applied
	writing  []logWrite
	learn    int64 // signature, 0 = not learning
	from     NodeID
	learnAt  time.Time
	syncAt   time.Time
	lastRole Role
	paused   time.Time // nothing runs before, as if the machine were stuck
}

// An Entry is a record of a node's log.
type Entry struct {
	decree int64
	data   []byte
}

type logWrite struct {
	seq     uint64
	entries []Entry
}

func (s *sim) failf(format string, args ...any) {
	if s.failed == "" {
		s.failed = fmt.Sprintf(format, args...)
		s.trace("FAILED: %s", s.failed)
	}
}

func (s *sim) after(d time.Duration, run func()) {
	s.seq++
	heap.Push(&s.queue, event{s.now.Add(max(d, 0)), s.seq, run})
}

// deliver runs f at the receiver, later, perhaps twice, perhaps never.
func (s *sim) deliver(from, to NodeID, f func()) {
	n := 1
	if s.rng.IntN(40) == 0 {
		n = 2
	}
	for range n {
		if s.rng.Float64() < s.lossy {
			continue
		}
		delay := time.Duration(s.rng.IntN(3000)) * time.Microsecond
		if s.rng.IntN(50) == 0 && !s.healing {
			delay += time.Duration(s.rng.IntN(150)) * time.Millisecond
		}
		s.after(delay, func() {
			if !s.cut[[2]NodeID{from, to}] {
				f()
			}
		})
	}
}

func (s *sim) node(id NodeID) *node {
	for _, n := range s.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

// to delivers to a node's present process, whatever that is by then.
func (s *sim) to(from, id NodeID, f func(*node)) {
	n := s.node(id)
	if n == nil {
		return
	}
	s.deliver(from, id, func() {
		s.after(n.paused.Sub(s.now), func() {
			if n.up {
				f(n)
				n.drain()
			}
		})
	})
}

func (n *node) boot() {
	s := n.s
	n.up, n.life, n.start = true, n.life+1, s.now
	n.engine = slices.Clone(n.engine[:n.durable])
	n.writing, n.learn = nil, 0
	p := NewReplay(int64(n.durable))
	for _, e := range n.log {
		apply, err := p.Add(slices.Clone(e.data))
		if err != nil {
			s.failf("replay: %v", err)
			return
		}
		for _, m := range apply {
			n.apply(m)
		}
	}
	n.r = New(simParams(n.id, s.min), p.Restored(n.ballot))
	st := n.r.Status()
	s.trace("%v boots: ballot %d, committed %d, prepared %d", n.id, st.Ballot, st.Committed, st.Prepared)
	life := n.life
	var tick, beacon func()
	tick = func() {
		if n.up && n.life == life {
			n.tick()
			s.after(simTick, tick)
		}
	}
	beacon = func() {
		if n.up && n.life == life {
			if !s.now.Before(n.paused) {
				n.beacon()
			}
			s.after(simBeacon, beacon)
		}
	}
	s.after(time.Duration(s.rng.IntN(5000))*time.Microsecond, tick)
	s.after(time.Duration(s.rng.IntN(5000))*time.Microsecond, beacon)
}

// crash ends the process. Log writes that were under way reached the disk in part.
func (n *node) crash() {
	for _, w := range n.writing {
		k := n.s.rng.IntN(len(w.entries) + 1)
		n.log = append(n.log, w.entries[:k]...)
		if k < len(w.entries) {
			break
		}
	}
	n.up, n.r = false, nil
	n.s.stats.crashes++
	n.s.trace("%v crashes, engine keeps %d of %d", n.id, n.durable, len(n.engine))
}

func (n *node) beacon() {
	s, sent, start, life := n.s, n.s.now, n.start, n.life
	s.deliver(n.id, metaID, func() {
		s.meta.beacon(n.id, start)
		s.deliver(metaID, n.id, func() {
			if n.up && n.life == life {
				if until := sent.Add(simLease); until.After(s.now) {
					n.r.RenewLease(s.now, until)
					n.drain()
				}
			}
		})
	})
}

func (n *node) tick() {
	s := n.s
	if s.now.Before(n.paused) {
		return
	}
	if n.r.CanRead(s.now) && int64(len(n.engine)) < s.lastAcked {
		s.failf("%v may read with %d applied, but %d is acknowledged", n.id, len(n.engine), s.lastAcked)
	}
	n.r.Tick(s.now)
	n.drain()
	if n.learn != 0 && !s.now.Before(n.learnAt) {
		n.askToLearn()
	}
	if s.now.Sub(n.syncAt) > 60*time.Millisecond {
		n.sync()
	}
	if s.rng.IntN(30) == 0 {
		n.durable = len(n.engine)
		if s.rng.IntN(2) == 0 && len(n.writing) == 0 {
			for len(n.log) > 3 && n.log[0].decree <= int64(n.durable) {
				n.log = n.log[1:]
			}
		}
	}
}

// sync asks the meta server for the configuration.
func (n *node) sync() {
	s, st, life := n.s, n.r.Status(), n.life
	asked := s.now
	n.syncAt = asked
	s.deliver(n.id, metaID, func() {
		c, ok := s.meta.sync(n, life, asked, st)
		if !ok {
			return
		}
		s.deliver(metaID, n.id, func() {
			if !n.up || n.life != life {
				return
			}
			if c.RoleOf(n.id) == RoleInactive {
				n.r.NotListed(s.now, st.Ballot)
			} else {
				n.r.Configure(s.now, c, asked)
			}
			n.drain()
		})
	})
}

func (n *node) apply(m *Mutation) {
	s := n.s
	if m.Decree != int64(len(n.engine))+1 {
		s.failf("%v applies decree %d behind %d", n.id, m.Decree, len(n.engine))
		return
	}
	var id uint64
	if len(m.Payload) > 0 {
		id = binary.BigEndian.Uint64(m.Payload)
	}
	n.engine = append(n.engine, id)
	if m.Decree <= int64(len(s.decided)) {
		if s.decided[m.Decree-1] != id || s.decidedBy[m.Decree-1] != m.Ballot {
			s.failf("%v applies %d@%d id %d, but id %d of ballot %d was committed there", n.id, m.Decree, m.Ballot,
				id, s.decided[m.Decree-1], s.decidedBy[m.Decree-1])
		}
		return
	}
	s.decided = append(s.decided, id)
	s.decidedBy = append(s.decidedBy, m.Ballot)
	s.trace("%v commits %d@%d id %d", n.id, m.Decree, m.Ballot, id)
}

// drain does what the shell does with a Ready.
func (n *node) drain() {
	s := n.s
	for n.up && n.r.HasReady() {
		rd := n.r.Ready()
		if rd.Ballot != 0 {
			if rd.Ballot <= n.ballot {
				s.failf("%v stores ballot %d after %d", n.id, rd.Ballot, n.ballot)
			}
			n.ballot = rd.Ballot
		}
		for _, m := range rd.Messages {
			n.sendMessage(m)
		}
		if len(rd.Append) > 0 {
			n.write(rd)
		}
		for _, m := range rd.Apply {
			n.apply(m)
			if m.Tag != nil {
				id := m.Tag.(uint64)
				s.acked[id] = m.Decree
				s.lastAcked = max(s.lastAcked, m.Decree)
				s.stats.acks++
			}
		}
		for _, f := range rd.Failed {
			if _, ok := s.acked[f.Tag.(uint64)]; ok {
				s.failf("write %v both failed and acknowledged", f.Tag)
			}
		}
		for _, c := range rd.Changes {
			n.sendChange(c)
		}
		for _, e := range rd.Events {
			n.event(e)
		}
	}
	for _, o := range s.nodes {
		if o != n && o.up && n.up && o.r.role == RolePrimary && n.r.role == RolePrimary && o.r.ballot == n.r.ballot {
			s.failf("two primaries of ballot %d", n.r.ballot)
		}
	}
}

func (n *node) event(e Event) {
	s := n.s
	switch e.Type {
	case EventRole:
		st := n.r.Status()
		s.trace("%v is %v (transient %v) at ballot %d, committed %d prepared %d", n.id, st.Role, st.Transient, st.Ballot, st.Committed, st.Prepared)
		if st.Role == RolePrimary && n.lastRole != RolePrimary {
			s.stats.takeovers++
		}
		n.lastRole = st.Role
	case EventLearnStart:
		n.learn, n.from, n.learnAt = e.Signature, e.Node, s.now
	case EventLearnStop:
		n.learn = 0
	case EventNeedConfig:
		if s.now.Sub(n.syncAt) > 10*time.Millisecond {
			n.sync()
		}
	case EventPeerFailed:
		s.trace("%v gives up %v: %s", n.id, e.Node, e.Reason)
	}
}

func (n *node) write(rd *Ready) {
	s := n.s
	w := logWrite{seq: rd.Seq}
	for _, m := range rd.Append {
		w.entries = append(w.entries, Entry{m.Decree, slices.Clone(m.Encoded)})
	}
	n.writing = append(n.writing, w)
	life := n.life
	s.after(time.Duration(s.rng.IntN(1500))*time.Microsecond, func() {
		// Writes end in order: this one takes those before it along.
		if !n.up || n.life != life || len(n.writing) == 0 || n.writing[0].seq > w.seq {
			return
		}
		for len(n.writing) > 0 && n.writing[0].seq <= w.seq {
			n.log = append(n.log, n.writing[0].entries...)
			n.writing = n.writing[1:]
		}
		n.r.LogWritten(s.now, w.seq)
		n.drain()
	})
}

func (n *node) sendMessage(m Message) {
	encoded := make([][]byte, len(m.Mutations))
	for i, mut := range m.Mutations {
		encoded[i] = slices.Clone(mut.Encoded)
	}
	n.s.to(n.id, m.To, func(to *node) {
		m := m
		m.Mutations = nil
		for _, b := range encoded {
			mut, err := DecodeMutation(slices.Clone(b))
			if err != nil {
				n.s.failf("decode: %v", err)
			}
			m.Mutations = append(m.Mutations, mut)
		}
		to.r.Step(n.s.now, m)
	})
}

func (n *node) sendChange(c Change) {
	s, asked, life := n.s, n.s.now, n.life
	s.deliver(n.id, metaID, func() {
		err, current, ok := s.meta.update(n.id, c)
		if !ok {
			return
		}
		s.deliver(metaID, n.id, func() {
			if n.up && n.life == life {
				n.r.ChangeReply(s.now, c, err, &current, asked)
				n.drain()
			}
		})
	})
}

// askToLearn sends RPC_LEARN and installs the answer, then reports or asks again.
func (n *node) askToLearn() {
	s, sig, life := n.s, n.learn, n.life
	n.learnAt = s.now.Add(20 * time.Millisecond)
	st := n.r.Status()
	if st.LearnDone {
		return
	}
	q := LearnRequest{Node: n.id, Signature: sig, Ballot: st.Ballot, Committed: st.Committed}
	s.to(n.id, n.from, func(p *node) {
		plan, err := p.r.Learn(s.now, q)
		if err != nil {
			return
		}
		var shipped [][]byte
		var checkpoint []uint64
		switch entries, ok := p.logFrom(plan.Start, plan.Committed); {
		case plan.Cached:
			for _, m := range plan.Mutations {
				shipped = append(shipped, slices.Clone(m.Encoded))
			}
		case ok && !plan.Discard:
			shipped = entries[:min(len(entries), 10)]
		default:
			checkpoint = slices.Clone(p.engine[:min(int64(len(p.engine)), plan.Committed)])
		}
		s.deliver(p.id, n.id, func() {
			if n.up && n.life == life && n.learn == sig {
				n.install(plan, shipped, checkpoint)
				if n.up {
					n.drain()
				}
			}
		})
	})
}

func (n *node) install(plan LearnPlan, shipped [][]byte, checkpoint []uint64) {
	s, sig := n.s, n.learn
	if checkpoint != nil {
		if len(n.writing) > 0 || n.r.Status().LearnDone || !plan.Discard && len(checkpoint) < len(n.engine) {
			return
		}
		s.stats.learnApp++
		n.engine = checkpoint
		n.durable = len(checkpoint)
		if s.rng.IntN(4) == 0 && !s.healing {
			n.crash() // before the log is reset
			s.after(20*time.Millisecond, n.boot)
			return
		}
		n.log = nil
		if err := n.r.CheckpointInstalled(s.now, sig, int64(len(checkpoint))); err != nil {
			s.failf("checkpoint: %v", err)
		}
		n.learnAt = s.now
		return
	}
	var ms []*Mutation
	for _, b := range shipped {
		m, err := DecodeMutation(b)
		if err != nil {
			s.failf("decode: %v", err)
		}
		ms = append(ms, m)
	}
	if err := n.r.Learned(s.now, sig, ms, plan.Cached); err != nil {
		return // an answer that was overtaken
	}
	n.learnAt = s.now
	if !plan.Cached {
		s.stats.learnLog++
		return
	}
	s.stats.learnCache++
	st := n.r.Status()
	s.to(n.id, n.from, func(p *node) { p.r.LearnerDone(s.now, n.id, sig, st.Committed, idl.ErrOK) })
}

// logFrom returns first..last from the node's log.
func (n *node) logFrom(first, last int64) ([][]byte, bool) {
	var out []Entry
	for _, e := range n.log {
		for len(out) > 0 && out[len(out)-1].decree >= e.decree {
			out = out[:len(out)-1]
		}
		out = append(out, e)
	}
	var data [][]byte
	for _, e := range out {
		if e.decree == first+int64(len(data)) && e.decree <= last {
			data = append(data, slices.Clone(e.data))
		}
	}
	return data, len(data) > 0
}

// client tries to write somewhere.
func (s *sim) client() {
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	if n.up && !s.now.Before(n.paused) {
		for range 1 + s.rng.IntN(3) {
			s.nextID++
			buf := binary.BigEndian.AppendUint64(make([]byte, HeaderSize), s.nextID)
			n.r.Propose(s.now, append(buf, make([]byte, s.rng.IntN(60))...), s.nextID)
		}
		n.drain()
	}
	s.after(time.Duration(s.rng.IntN(3000))*time.Microsecond, s.client)
}

// trouble does one bad thing, now and then.
func (s *sim) trouble() {
	if s.healing {
		return
	}
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	switch k := s.rng.IntN(20); {
	case k < 6:
		if n.up {
			n.crash()
			s.after(time.Duration(s.rng.IntN(200))*time.Millisecond, func() {
				if !n.up {
					n.boot()
				}
			})
		}
	case k < 7:
		s.trace("all crash")
		for _, n := range s.nodes {
			if n.up {
				n.crash()
				s.after(time.Duration(s.rng.IntN(100))*time.Millisecond, func() {
					if !n.up {
						n.boot()
					}
				})
			}
		}
	case k < 13:
		other := metaID
		if s.rng.IntN(2) == 0 {
			other = s.nodes[s.rng.IntN(len(s.nodes))].id
		}
		s.trace("cut %v - %v", n.id, other)
		s.cut[[2]NodeID{n.id, other}] = true
		if s.rng.IntN(3) > 0 {
			s.cut[[2]NodeID{other, n.id}] = true
		}
	case k < 17:
		s.trace("network healed")
		clear(s.cut)
	case k < 18:
		s.lossy = s.rng.Float64() * 0.3
	case k < 19:
		s.meta.swap()
		if s.rng.IntN(3) == 0 { // and let the old primary hear nothing but its lease
			for _, o := range s.nodes {
				s.cut[[2]NodeID{o.id, s.meta.config.Primary}] = true
			}
		}
	case k < 20 && s.rng.IntN(2) == 0:
		s.trace("%v is stuck", n.id)
		n.paused = s.now.Add(time.Duration(s.rng.IntN(250)) * time.Millisecond)
	default:
		if n.up {
			n.r.LoseLease(s.now)
			n.drain()
		}
	}
	s.after(time.Duration(s.rng.IntN(80))*time.Millisecond, s.trouble)
}

func newSim(seed int64, trace func(string, ...any)) *sim {
	s := &sim{
		rng: rand.New(rand.NewPCG(uint64(seed), 99)), now: epoch, trace: trace,
		cut: map[[2]NodeID]bool{}, acked: map[uint64]int64{},
	}
	s.min = 1 + s.rng.IntN(2)
	s.lossy = []float64{0, 0, 0.02, 0.1}[s.rng.IntN(4)]
	for i := range 3 + s.rng.IntN(3) {
		n := &node{s: s, id: idl.MakeAddress([4]byte{10, 0, 0, byte(i + 1)}, 34801)}
		s.nodes = append(s.nodes, n)
	}
	s.meta = &meta{s: s, states: map[NodeID]*metaNode{}}
	return s
}

func (s *sim) runUntil(end time.Time, done func() bool) bool {
	for s.failed == "" && len(s.queue) > 0 && s.queue[0].at.Before(end) {
		e := heap.Pop(&s.queue).(event)
		s.now = e.at
		e.run()
		if done != nil && done() {
			return true
		}
	}
	s.now = end
	return false
}

func (s *sim) run() {
	for _, n := range s.nodes {
		n.boot()
	}
	s.meta.run()
	s.after(0, s.client)
	s.after(100*time.Millisecond, s.trouble)
	s.runUntil(epoch.Add(700*time.Millisecond), nil)

	s.trace("healing")
	s.healing, s.lossy = true, 0
	clear(s.cut)
	for _, n := range s.nodes {
		if !n.up {
			n.boot()
		}
	}
	acks := s.stats.acks
	check := 0
	ok := s.runUntil(epoch.Add(4*time.Second), func() bool {
		check++
		return check%16 == 0 && s.stats.acks > acks+10 && s.converged()
	})
	if s.failed == "" && !ok && s.meta.refused == "" {
		s.failf("no convergence: %s", s.describe())
	}
	s.verify()
}

// converged reports whether the group is whole.
func (s *sim) converged() bool {
	c := s.meta.config
	if c.Members() < min(3, len(s.nodes)) {
		return false
	}
	for _, n := range s.nodes {
		if role := c.RoleOf(n.id); role != RoleInactive && (!n.up || n.r.role != role || n.r.ballot != c.Ballot) {
			return false
		}
	}
	p := s.node(c.Primary)
	return p != nil && p.r.CanRead(s.now)
}

func (s *sim) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "meta %+v drops %v\n", s.meta.config, s.meta.drops)
	for _, n := range s.nodes {
		if n.up {
			fmt.Fprintf(&b, "%v %+v change %+v\n", n.id, n.r.Status(), n.r.change)
		}
	}
	return b.String()
}

// verify checks that no acknowledged write is missing from the committed sequence and that every
// engine is a prefix of it.
func (s *sim) verify() {
	for id, d := range s.acked {
		if d > int64(len(s.decided)) || s.decided[d-1] != id {
			s.failf("write %d was acknowledged at decree %d and is lost", id, d)
		}
	}
	for _, n := range s.nodes {
		if !slices.Equal(n.engine, s.decided[:min(len(n.engine), len(s.decided))]) {
			s.failf("%v holds something that was not committed", n.id)
		}
	}
	if p := s.node(s.meta.config.Primary); p != nil && s.failed == "" && s.meta.refused == "" && int64(len(p.engine)) < s.lastAcked {
		s.failf("the primary holds %d of %d acknowledged decrees", len(p.engine), s.lastAcked)
	}
}

func TestSimulation(t *testing.T) {
	if *simSeed >= 0 {
		s := newSim(*simSeed, nil)
		s.trace = func(format string, args ...any) {
			fmt.Fprintf(os.Stderr, "%7.2f ", float64(s.now.Sub(epoch).Microseconds())/1000)
			fmt.Fprintf(os.Stderr, format+"\n", args...)
		}
		s.run()
		if s.failed != "" {
			t.Fatal(s.failed)
		}
		return
	}
	var sum sim
	refused := 0
	for seed := range int64(*simSeeds) {
		s := newSim(seed, func(string, ...any) {})
		s.run()
		if s.failed != "" {
			t.Fatalf("seed %d (run with -sim.seed=%d to see it): %s", seed, seed, s.failed)
		}
		if s.meta.refused != "" {
			refused++
		}
		sum.stats.acks += s.stats.acks
		sum.stats.learnCache += s.stats.learnCache
		sum.stats.learnLog += s.stats.learnLog
		sum.stats.learnApp += s.stats.learnApp
		sum.stats.takeovers += s.stats.takeovers
		sum.stats.crashes += s.stats.crashes
	}
	t.Logf("%d seeds: %+v, %d ended refused by the rule of the last two drops", *simSeeds, sum.stats, refused)
	for _, v := range []int{sum.stats.acks, sum.stats.learnCache, sum.stats.learnLog, sum.stats.learnApp} {
		if *simSeeds >= 100 && v < *simSeeds/10 {
			t.Error("the simulation hardly exercises one of these paths")
		}
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	var ks []K
	for k := range m {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}
