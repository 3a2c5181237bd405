// SPDX-License-Identifier: Apache-2.0

package pacifica

import (
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// A Replica is the state machine of one replica.
type Replica struct{}

// New returns an inactive replica with the state found on disk (the zero Restored for a new one).
func New(p Params, s Restored) *Replica { return &Replica{} }

// Propose gives the next decree to a mutation. buf starts with HeaderSize bytes of room for the
// header and goes on with the payload (nothing = an empty mutation); the replica owns it from now
// on. tag comes back on the committed mutation or in a Failure. Errors are those of CanPropose.
func (r *Replica) Propose(now time.Time, buf []byte, tag any) error { return nil }

// CanPropose returns nil if a mutation can be proposed now. ErrCapacityExceeded (the window is
// full) and ErrTryAgain (a reconfiguration is under way) mean: hold the write back and ask again
// after the next input. ErrInvalidState (not primary, no lease) and ErrNotEnoughMember are for
// the client.
func (r *Replica) CanPropose(now time.Time) error { return nil }

// Step takes a message from another replica.
func (r *Replica) Step(now time.Time, m Message) {}

// LogWritten reports that the Append of all Readys up to the one with this Seq are in the log.
func (r *Replica) LogWritten(now time.Time, seq uint64) {}

// Configure takes a configuration from the meta server. asOf is when the question it answers was
// sent (zero = it came unasked): only an answer to a question asked under the present lease lets
// a replica become or resume primary.
func (r *Replica) Configure(now time.Time, cfg Config, asOf time.Time) {}

// NotListed reports that the meta server, asked when this replica had the given ballot, does not
// list it as a member.
func (r *Replica) NotListed(now time.Time, ballot int64) {}

// HandleProposal takes a proposal of the meta server. The error, an idl.ErrorCode, says why it
// is not followed.
func (r *Replica) HandleProposal(now time.Time, p Proposal) error { return nil }

// ChangeReply takes the answer to a Change sent at the time asOf. current is the configuration in
// the answer, nil if there is none.
func (r *Replica) ChangeReply(now time.Time, c Change, err idl.ErrorCode, current *Config, asOf time.Time) {
}

// RenewLease extends the lease: the meta server does not take this node for dead before until.
func (r *Replica) RenewLease(now, until time.Time) {}

// LoseLease ends the lease at once. Tick does so by itself when the lease runs out.
func (r *Replica) LoseLease(now time.Time) {}

// Learn answers a learner on the primary. Errors (idl.ErrorCode): ErrInvalidState not primary,
// ErrObjectNotFound unknown learner, ErrWrongChecksum other signature, ErrTryAgain not reconciled
// yet, ErrInconsistentState the learner is ahead of the primary.
func (r *Replica) Learn(now time.Time, q LearnRequest) (LearnPlan, error) { return LearnPlan{}, nil }

// LearnerDone reports on the primary that a learner has all it was shipped up to prepared and
// takes prepares, or with err that it failed (RPC_LEARN_COMPLETION_NOTIFY).
func (r *Replica) LearnerDone(now time.Time, node NodeID, signature, prepared int64, err idl.ErrorCode) error {
	return nil
}

// Learned installs committed mutations on the learner. last is set for those from the cache of
// the primary (LearnPlan.Cached): the learner takes prepares from now on.
func (r *Replica) Learned(now time.Time, signature int64, ms []*Mutation, last bool) error {
	return nil
}

// CheckpointInstalled reports on the learner that the engine was replaced by a checkpoint. The
// shell resets the private log afterwards (before, if LearnPlan.Discard).
func (r *Replica) CheckpointInstalled(now time.Time, signature, decree int64) error { return nil }

// LearnFailed ends learning; the replica becomes inactive and waits to be added again.
func (r *Replica) LearnFailed(now time.Time, signature int64) {}

// Fail puts the replica into RoleError for good, after an I/O error of its log or engine.
func (r *Replica) Fail(now time.Time) {}

// Tick lets time pass. Call it about every 50 to 100 ms.
func (r *Replica) Tick(now time.Time) {}

// Ready returns what is to be done after the inputs so far.
func (r *Replica) Ready() *Ready { return &Ready{} }

// HasReady reports whether Ready would return anything to do.
func (r *Replica) HasReady() bool { return false }

// CanRead reports whether this replica may serve reads as primary at this moment: lease held,
// no hand-over under way, everything prepared at the take-over committed. The shell has to have
// applied everything up to the last Ready.
func (r *Replica) CanRead(now time.Time) bool { return false }

// SetMinReplicas changes Params.MinReplicas.
func (r *Replica) SetMinReplicas(n int) {}

// Status returns a snapshot for reports.
func (r *Replica) Status() Status { return Status{} }

// A Replay turns the records of a private log into the state of a replica.
type Replay struct{}

// NewReplay starts with an engine that has applied everything up to the decree applied.
func NewReplay(applied int64) *Replay { return &Replay{} }

// Add takes the next record of the log, in the order written. It returns the mutations that are
// now known to be committed, to be applied in order; apply them at once to bound memory. data is
// kept: it must not be reused.
func (p *Replay) Add(data []byte) (apply []*Mutation, err error) { return nil, nil }

// Restored returns the state for New. ballot is the stored one (Ready.Ballot).
func (p *Replay) Restored(ballot int64) Restored { return Restored{} }
