// SPDX-License-Identifier: Apache-2.0

// Package pacifica is the replication state machine of one replica of one partition.
//
// A Replica is pure: it starts no goroutine, reads no clock, opens no file and no socket. Its
// owner, the shell, feeds it one input at a time (a client write, a message, a configuration, a
// log write that finished, a tick) and after any number of inputs drains what is to be done with
// Ready. A Replica is not safe for concurrent use; the shell gives each partition one loop.
//
// # The protocol
//
// PacificA (Lin et al., MSR-TR-2008-25) as Apache Pegasus runs it. The meta server stores for
// every partition a configuration: a ballot, a primary and the secondaries. Every change of it
// costs one ballot and takes effect when the meta server has stored it, so at most one primary
// exists for a ballot. The primary gives each mutation the next decree, writes it to its private
// log and sends it to the members (prepare). It is committed when the log of every member has
// it: not a majority, all of them. A member that does not answer is therefore taken out of the
// configuration by a change the primary asks the meta server for; afterwards the remaining
// members decide. Any member may become primary because every member has every committed
// mutation.
//
// A mutation is identified by its decree and the ballot it was proposed in; its bytes never
// change afterwards. A message carries the ballot of its sender: lower ones are refused, a higher
// one stops a primary and is adopted by a secondary.
//
// # Taking over
//
// A new primary keeps all it has prepared, sends again what it does not know to be committed,
// and proposes one empty mutation behind it. A secondary takes mutations of the present ballot
// only without a hole, starting at what is known to be committed: a mutation it already has
// (same decree, same ballot) counts at once, a different one replaces it and voids everything
// behind it. The empty mutation thus cuts off tails the new primary never saw, in memory and,
// because Replay follows the same rule, in the log as well. Nothing special is written for it:
// a replica that restarts before the cut has reached its log comes back with a longer tail, but
// that tail was never committed, was never refused to a client, and is cut when the replica
// learns. Voiding is safe: had anything behind the difference been committed, every member,
// the new primary included, would have had it.
//
// Reads are served only after everything that was prepared at the take-over is committed, and
// only under the lease (RenewLease); learners are upgraded only after that too.
//
// # Learning
//
// A learner catches up by checkpoint, log or cache (Learn, Learned, CheckpointInstalled), then
// receives prepares like a secondary. Its acknowledgements count for commits from the moment it
// has everything committed, so a slow learner never delays a client. From then on the primary
// asks the meta server for its upgrade. While any change is on its way to the meta server its
// outcome is unknown, so commits need the members of the old and of the new configuration, and
// the request is repeated until the ballot moves.
//
// # Restarting
//
// A restarted replica is inactive and never resumes a role, because the tail of its log may be
// lost (it need not be on disk when it is acknowledged). Told that it is a member, it asks the
// meta server to take it out, and learns again. Losing the lease is milder: the same process may
// resume its role at the same ballot.
//
// # What the shell does
//
// See Ready for the order the outputs are handled in. Files: types.go the vocabulary,
// mutation.go the codec, replay.go what a log means after a restart, replica.go the struct and
// its outputs, config.go roles and configurations, primary.go, secondary.go, learn.go, tick.go.
package pacifica
