// SPDX-License-Identifier: Apache-2.0

package pacifica

import (
	"slices"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// A Replica is the state machine of one replica. See the package comment.
type Replica struct {
	p   Params
	now time.Time // of the last input

	role      Role
	transient bool // role is RoleInactive, and resume may be taken up again at the same ballot
	resume    Role
	ballot    int64
	member    int64  // see Status.MemberBallot
	primary   NodeID // whose messages count at ballot
	config    Config // the last one seen whole; may be older than ballot

	// list holds what is prepared. committed <= matched <= list.last() on secondaries and
	// learners, where matched is how far the list is known to agree with the primary's.
	list      list
	committed int64
	matched   int64
	timestamp int64 // of the last mutation

	leaseSince, leaseUntil time.Time

	// Log writes are numbered. filling is the one the next Ready hands out, written the last one
	// that is done. learnSeq carries the last mutation that was committed as it was appended.
	filling, written, learnSeq uint64
	waits                      []wait

	leader

	signature int64 // of this learner
	learnDone bool
	heard     time.Time // last word of the learner's primary

	ready [2]Ready
	turn  int
}

// A wait is an acknowledgement that goes out when log write seq is done.
type wait struct {
	seq uint64
	ack Message
}

// New returns an inactive replica with the state found on disk (the zero Restored for a new one).
func New(p Params, s Restored) *Replica {
	p.setDefaults()
	r := &Replica{p: p, role: RoleInactive, ballot: s.Ballot, member: s.Ballot, committed: s.Committed, filling: 1}
	r.list.reset(s.Committed + 1)
	for _, m := range s.Log {
		if m.Decree != r.list.next {
			break
		}
		m.seq = 0
		r.push(m)
		r.ballot = max(r.ballot, m.Ballot)
	}
	r.matched = r.committed
	return r
}

func (p *Params) setDefaults() {
	d := DefaultParams()
	setDefault(&p.MinReplicas, 1)
	setDefault(&p.Window, d.Window)
	setDefault(&p.PrepareTimeout, d.PrepareTimeout)
	setDefault(&p.LearnerPrepareTimeout, d.LearnerPrepareTimeout)
	setDefault(&p.GroupCheckInterval, d.GroupCheckInterval)
	setDefault(&p.CommitNotice, d.CommitNotice)
	setDefault(&p.Retry, d.Retry)
	setDefault(&p.ChangeRetry, d.ChangeRetry)
	setDefault(&p.LearnerSilence, d.LearnerSilence)
	setDefault(&p.CacheMutations, d.CacheMutations)
	setDefault(&p.CacheBytes, d.CacheBytes)
	setDefault(&p.PinMutations, d.PinMutations)
	setDefault(&p.PinBytes, d.PinBytes)
	setDefault(&p.MessageBytes, d.MessageBytes)
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// SetMinReplicas changes Params.MinReplicas.
func (r *Replica) SetMinReplicas(n int) { r.p.MinReplicas = max(n, 1) }

// Step takes a message from another replica.
func (r *Replica) Step(now time.Time, m Message) {
	r.now = now
	switch m.Type {
	case MsgPrepare:
		r.stepPrepare(m)
	case MsgGroupCheck:
		r.stepGroupCheck(m)
	case MsgAddLearner:
		r.stepAddLearner(m)
	case MsgPrepareAck, MsgGroupCheckReply, MsgAddLearnerAck:
		r.stepAnswer(m)
	}
}

// LogWritten reports that the Append of all Readys up to the one with this Seq are in the log.
func (r *Replica) LogWritten(now time.Time, seq uint64) {
	r.now = now
	r.written = max(r.written, seq)
	n := 0
	for _, w := range r.waits {
		if w.seq > r.written {
			break
		}
		w.ack.Decree = r.logged()
		w.ack.Prepared = r.matched
		w.ack.Committed = r.committed
		r.send(w.ack)
		n++
	}
	r.waits = slices.Delete(r.waits, 0, n)
	if r.role == RolePrimary {
		r.advance()
	}
}

// logged returns up to which decree the list agrees with the primary's and is in the log.
func (r *Replica) logged() int64 {
	if r.written < r.learnSeq {
		return 0
	}
	d := r.committed
	for d < r.matched && r.list.at(d+1).seq <= r.written {
		d++
	}
	return d
}

// Ready returns what is to be done after the inputs so far.
func (r *Replica) Ready() *Ready {
	if r.role == RolePrimary {
		r.sendPrepares()
	}
	r.trim()
	rd := &r.ready[r.turn]
	if len(rd.Append) > 0 {
		rd.Seq = r.filling
		r.filling++
	}
	r.turn ^= 1
	r.ready[r.turn].reset()
	return rd
}

// HasReady reports whether Ready would return anything to do.
func (r *Replica) HasReady() bool {
	return !r.out().empty() || r.role == RolePrimary && r.hasPrepares()
}

func (r *Replica) out() *Ready { return &r.ready[r.turn] }

// send fills in what every message says about the sender.
func (r *Replica) send(m Message) {
	m.From = r.p.Self
	m.Ballot = r.ballot
	out := r.out()
	out.Messages = append(out.Messages, m)
}

func (r *Replica) event(t EventType, node NodeID, reason string) {
	out := r.out()
	e := Event{Type: t, Node: node, Signature: r.signature, Reason: reason}
	if t == EventRole || t == EventNeedConfig {
		if slices.Contains(out.Events, e) {
			return
		}
	}
	out.Events = append(out.Events, e)
}

// push puts a mutation that is in the log already at the end of the list.
func (r *Replica) push(m *Mutation) {
	r.list.push(m)
	r.timestamp = max(r.timestamp, m.Timestamp)
}

// append puts a mutation at the end of the list and into the log.
func (r *Replica) append(m *Mutation) {
	m.seq = r.filling
	r.push(m)
	out := r.out()
	out.Append = append(out.Append, m)
}

// commit advances the commit point to a decree the list holds.
func (r *Replica) commit(decree int64) {
	out := r.out()
	for r.committed < decree {
		r.committed++
		out.Apply = append(out.Apply, r.list.at(r.committed))
	}
	r.matched = max(r.matched, r.committed)
}

// fail gives up answering for everything that is prepared and not committed.
func (r *Replica) failTags() {
	out := r.out()
	for d := r.committed + 1; d < r.list.next; d++ {
		if m := r.list.at(d); m.Tag != nil {
			out.Failed = append(out.Failed, Failure{m.Tag, idl.ErrTimeout})
			m.Tag = nil
		}
	}
}

// trim drops committed mutations that are no longer cached.
func (r *Replica) trim() {
	pinned := r.pinned()
	for first := r.list.first(); first <= r.committed; first++ {
		count, bytes := r.p.CacheMutations, r.p.CacheBytes
		if first >= pinned {
			count, bytes = max(count, r.p.PinMutations), max(bytes, r.p.PinBytes)
		}
		if r.committed-first+1 <= int64(count) && r.list.bytes <= bytes {
			return
		}
		r.list.drop()
	}
}

// CanRead reports whether this replica may serve reads as primary at this moment: lease held, no
// hand-over under way, everything prepared at the take-over committed. The shell must have
// applied everything up to the last Ready.
func (r *Replica) CanRead(now time.Time) bool {
	return r.role == RolePrimary && now.Before(r.leaseUntil) && r.committed >= r.barrier && !r.handingOver()
}

// Status returns a snapshot for reports.
func (r *Replica) Status() Status {
	s := Status{
		Role: r.role, Transient: r.transient, Ballot: r.ballot, MemberBallot: r.member,
		Committed: r.committed, Prepared: r.list.last(), ReadBarrier: r.barrier, Config: r.config,
		LearnDone: r.role == RoleLearner && r.learnDone,
	}
	if r.role == RoleLearner {
		s.Signature = r.signature
	}
	if r.change != nil {
		s.Changing = r.change.Type
	}
	for _, p := range r.peers {
		if p.role == RoleLearner {
			s.Learners = append(s.Learners, LearnerStatus{p.node, p.signature, p.start, p.acked})
		}
	}
	return s
}

// Fail puts the replica into RoleError for good, after an I/O error of its log or engine. A
// member asks the meta server to take it out of the configuration.
func (r *Replica) Fail(now time.Time) {
	r.now = now
	if r.role == RoleError {
		return
	}
	member := r.config.Ballot == r.ballot && r.config.RoleOf(r.p.Self) != RoleInactive
	r.leave(RoleError)
	if member {
		r.request(ChangeDowngradeToInactive, r.p.Self, r.config.without(r.p.Self))
	}
}
