// SPDX-License-Identifier: Apache-2.0

package pacifica

import (
	"fmt"
	"slices"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// A NodeID names a replica server. Zero means none.
type NodeID = idl.RPCAddress

// A Role is what a replica is in its group. The numbers are those of partition_status.
type Role int32

// The roles. Inactive and Error replicas serve nothing; Error is final.
const (
	RoleInactive  Role = 1
	RoleError     Role = 2
	RolePrimary   Role = 3
	RoleSecondary Role = 4
	RoleLearner   Role = 5
)

// String returns the name of the role as people say it.
func (r Role) String() string {
	switch r {
	case RoleInactive:
		return "inactive"
	case RoleError:
		return "error"
	case RolePrimary:
		return "primary"
	case RoleSecondary:
		return "secondary"
	case RoleLearner:
		return "learner"
	}
	return fmt.Sprintf("role(%d)", int32(r))
}

// A Config is the configuration of a partition as the meta server stores it. It is a value: the
// slice is never changed after it was handed in or out.
type Config struct {
	Ballot      int64
	Primary     NodeID
	Secondaries []NodeID
}

// RoleOf returns the role the configuration gives to a node: RolePrimary, RoleSecondary, or
// RoleInactive for a node that is no member.
func (c Config) RoleOf(n NodeID) Role {
	switch {
	case n.IsZero():
		return RoleInactive
	case c.Primary == n:
		return RolePrimary
	case slices.Contains(c.Secondaries, n):
		return RoleSecondary
	}
	return RoleInactive
}

// Members returns the number of replicas in the configuration.
func (c Config) Members() int {
	n := len(c.Secondaries)
	if !c.Primary.IsZero() {
		n++
	}
	return n
}

// Equal reports whether both have the same ballot and members, in whatever order.
func (c Config) Equal(o Config) bool {
	if c.Ballot != o.Ballot || c.Primary != o.Primary || len(c.Secondaries) != len(o.Secondaries) {
		return false
	}
	for _, n := range c.Secondaries {
		if !slices.Contains(o.Secondaries, n) {
			return false
		}
	}
	return true
}

// without returns the configuration one ballot later with node taken out.
func (c Config) without(n NodeID) Config {
	next := Config{Ballot: c.Ballot + 1, Primary: c.Primary}
	if next.Primary == n {
		next.Primary = 0
	}
	for _, s := range c.Secondaries {
		if s != n {
			next.Secondaries = append(next.Secondaries, s)
		}
	}
	return next
}

// A ChangeType says what a change of configuration is about. The numbers are those of
// config_type.
type ChangeType int32

// The changes a replica asks for, and those the meta server proposes.
const (
	ChangeNone                ChangeType = 0 // in a Proposal: "this is the present configuration"
	ChangeAssignPrimary       ChangeType = 1
	ChangeUpgradeToPrimary    ChangeType = 2
	ChangeAddSecondary        ChangeType = 3
	ChangeUpgradeToSecondary  ChangeType = 4
	ChangeDowngradeToSecond   ChangeType = 5
	ChangeDowngradeToInactive ChangeType = 6
	ChangeRemove              ChangeType = 7
	ChangeAddSecondaryForLB   ChangeType = 8
	ChangeForceUpdateBallot   ChangeType = 9
)

// A Change is a request to the meta server to store Config, which is one ballot ahead
// (RPC_CM_UPDATE_PARTITION_CONFIGURATION). Its answer goes to ChangeReply.
type Change struct {
	Type   ChangeType
	Node   NodeID // whom the change is about
	Config Config
}

// A Proposal is what the meta server wants a replica to do (RPC_CONFIG_PROPOSAL).
type Proposal struct {
	Type      ChangeType
	Node      NodeID // whom the proposal is about
	Config    Config // the present configuration
	Signature int64  // for ChangeAddSecondary*: a fresh number that names the new learner
}

// A MsgType names a message between replicas.
type MsgType uint8

// The messages. Each request is answered by exactly one message of the following type, which
// carries the request's Reply value.
const (
	MsgPrepare         MsgType = iota + 1 // RPC_PREPARE
	MsgPrepareAck                         //
	MsgGroupCheck                         // RPC_GROUP_CHECK
	MsgGroupCheckReply                    //
	MsgAddLearner                         // RPC_LEARN_ADD_LEARNER
	MsgAddLearnerAck                      //
)

// String returns the name of the message.
func (t MsgType) String() string {
	switch t {
	case MsgPrepare:
		return "prepare"
	case MsgPrepareAck:
		return "prepare-ack"
	case MsgGroupCheck:
		return "group-check"
	case MsgGroupCheckReply:
		return "group-check-reply"
	case MsgAddLearner:
		return "add-learner"
	case MsgAddLearnerAck:
		return "add-learner-ack"
	}
	return fmt.Sprintf("message(%d)", uint8(t))
}

// A Message is one message between two replicas of a partition. Which fields count depends on
// the type; the others are zero.
type Message struct {
	Type     MsgType
	From, To NodeID

	// Ballot is the sender's ballot. In an answer that refuses a request it may be higher than
	// that of the request, which is why it was refused.
	Ballot int64

	// Role is, in a request, the role the receiver has in the sender's eyes (secondary or
	// learner); in MsgGroupCheckReply the role the sender has.
	Role Role

	// Signature names the learner a request is meant for, or the learner that answers.
	Signature int64

	// Committed is the sender's last committed decree.
	Committed int64

	// Prepared is, in answers, the last decree up to which the sender's list agrees with the
	// primary's: what follows it is missing.
	Prepared int64

	// Decree is, in answers, the last decree up to which that list is also in the sender's log.
	Decree int64

	// Err is ErrOK or why the request was refused. The shell answers for a peer that could not
	// be reached with ErrNetworkFailure or ErrTimeout, or not at all: retries are timed by Tick.
	Err idl.ErrorCode

	// Config is the configuration of the primary, in MsgGroupCheck and MsgAddLearner.
	Config Config

	// LearnDone says in MsgGroupCheckReply that the learner takes prepares.
	LearnDone bool

	// Mutations of MsgPrepare, ascending without a hole. Mutation.Encoded is what travels; those
	// of a received message must be decoded from it, for the replica keeps them.
	Mutations []*Mutation

	// Reply belongs to the shell of the receiver: set on a request, it comes back on the answer,
	// so that the answer finds its RPC.
	Reply any
}

// A Ready holds what is to be done after the inputs so far. It is valid until the next call of
// Replica.Ready, and so are its slices; the mutations stay valid and must not be modified.
//
// The shell handles the fields in this order:
//
//  1. Ballot, if not zero, is stored (.init-info) before anything below leaves the process.
//  2. Messages are sent. They need not wait for the log: prepares go out while the log is being
//     written, and acknowledgements come out only after LogWritten.
//  3. Append is written to the private log, in order; then LogWritten(now, Seq) is called.
//     Writing asynchronously is allowed as long as the order is kept. When writing fails, Fail.
//  4. Apply is applied to the engine, in order, and the Tags are answered. It may be done before
//     or after 3. Reads go on to see a state at least as new as ReadBarrier only after that.
//  5. Failed tags are answered with their error.
//  6. Changes are sent to the meta server, Events are acted upon.
type Ready struct {
	Ballot   int64
	Messages []Message
	Append   []*Mutation
	Seq      uint64 // for LogWritten; zero when Append is empty
	Apply    []*Mutation
	Failed   []Failure
	Changes  []Change
	Events   []Event

	arena []*Mutation // backs Messages[i].Mutations
}

func (rd *Ready) reset() {
	clear(rd.Messages)
	clear(rd.Append)
	clear(rd.Apply)
	clear(rd.Failed)
	clear(rd.arena)
	*rd = Ready{
		Messages: rd.Messages[:0], Append: rd.Append[:0], Apply: rd.Apply[:0], Failed: rd.Failed[:0],
		Changes: rd.Changes[:0], Events: rd.Events[:0], arena: rd.arena[:0],
	}
}

func (rd *Ready) empty() bool {
	return rd.Ballot == 0 && len(rd.Messages) == 0 && len(rd.Append) == 0 && len(rd.Apply) == 0 &&
		len(rd.Failed) == 0 && len(rd.Changes) == 0 && len(rd.Events) == 0
}

// A Failure is a proposed mutation that this replica will not answer for. Its outcome is
// unknown: a later primary may commit it. Err is therefore ErrTimeout, never a code that
// clients take for "nothing happened".
type Failure struct {
	Tag any
	Err idl.ErrorCode
}

// An EventType says what the shell should know or do.
type EventType uint8

// The events.
const (
	// EventRole: role, ballot or configuration changed; see Status.
	EventRole EventType = iota + 1
	// EventLearnStart: begin to learn from Node with Signature. An older learn is obsolete.
	EventLearnStart
	// EventLearnStop: stop learning; the replica is no learner any more, or complete.
	EventLearnStop
	// EventNeedConfig: ask the meta server for the present configuration (config sync) soon.
	EventNeedConfig
	// EventRemoved: the replica is no member any more and may be closed after the usual delay.
	EventRemoved
	// EventPeerFailed: the primary gives up the member or learner Node because of Reason.
	EventPeerFailed
)

// An Event tells the shell what happened.
type Event struct {
	Type      EventType
	Node      NodeID
	Signature int64
	Reason    string
}

// Params are the constants of a replica. Zero durations and counts take the defaults of
// DefaultParams.
type Params struct {
	Self NodeID

	// MinReplicas is the number of members below which no client write is accepted
	// (mutation_2pc_min_replica_count). See SetMinReplicas.
	MinReplicas int

	// Window is how many mutations may be prepared and not committed (staleness_for_commit).
	Window int

	PrepareTimeout        time.Duration // prepare_timeout_ms_for_secondaries
	LearnerPrepareTimeout time.Duration // prepare_timeout_ms_for_potential_secondaries
	GroupCheckInterval    time.Duration // group_check_interval_ms
	CommitNotice          time.Duration // idle time after which members are told the commit point
	Retry                 time.Duration // unanswered prepares are sent again after this
	ChangeRetry           time.Duration // unanswered changes are sent again after this
	LearnerSilence        time.Duration // a learner and its primary give each other up after this

	// CacheMutations and CacheBytes bound the committed mutations kept in memory for learners
	// (max_mutation_count_in_prepare_list). While a learner is close behind, up to PinMutations
	// and PinBytes are kept for it.
	CacheMutations, CacheBytes int
	PinMutations, PinBytes     int

	// MessageBytes splits prepares that would be larger.
	MessageBytes int
}

// DefaultParams returns the values that are shipped, for two of three replicas.
func DefaultParams() Params {
	return Params{
		MinReplicas:           2,
		Window:                20,
		PrepareTimeout:        3 * time.Second,
		LearnerPrepareTimeout: 5 * time.Second,
		GroupCheckInterval:    10 * time.Second,
		CommitNotice:          100 * time.Millisecond,
		Retry:                 500 * time.Millisecond,
		ChangeRetry:           time.Second,
		LearnerSilence:        60 * time.Second,
		CacheMutations:        110,
		CacheBytes:            4 << 20,
		PinMutations:          2048,
		PinBytes:              64 << 20,
		MessageBytes:          8 << 20,
	}
}

// Restored is the state found on disk; Replay makes it.
type Restored struct {
	Ballot    int64       // stored by request of Ready.Ballot
	Committed int64       // applied in the engine
	Log       []*Mutation // prepared beyond Committed, without a hole
}

// A LearnRequest is what a learner tells the primary it has (RPC_LEARN).
type LearnRequest struct {
	Node      NodeID
	Signature int64
	Ballot    int64
	Committed int64
}

// A LearnPlan is how the primary helps a learner.
type LearnPlan struct {
	Ballot    int64
	Committed int64 // the primary's
	Start     int64 // first decree the learner lacks

	// Cached: Mutations are Start..Committed and complete the learner (LT_CACHE). Otherwise the
	// shell ships its private log from Start to Committed if it reaches back that far (LT_LOG),
	// else a checkpoint (LT_APP).
	Cached    bool
	Mutations []*Mutation

	// Discard: the learner claims more than the primary ever had; only a checkpoint helps. The
	// learner resets its private log before it installs it.
	Discard bool
}

// A LearnerStatus describes a learner of a primary.
type LearnerStatus struct {
	Node         NodeID
	Signature    int64
	PrepareStart int64 // first decree whose commit needs the learner; 0 = none yet
	Acked        int64
}

// A Status is a snapshot for reports.
type Status struct {
	Role      Role
	Transient bool // inactive, but may resume its role at the same ballot

	Ballot int64
	// MemberBallot is the last ballot in which this replica was a member: what is stored, and
	// reported to the meta server as the replica's ballot. It lags Ballot on learners, whose data
	// may have holes that members' data has not.
	MemberBallot int64

	Committed, Prepared int64
	ReadBarrier         int64
	Config              Config
	Changing            ChangeType // the change on its way to the meta server
	Signature           int64      // of this learner
	LearnDone           bool
	Learners            []LearnerStatus
}
