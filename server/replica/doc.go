// SPDX-License-Identifier: Apache-2.0

// Package replica is the replica role: it keeps replicas of partitions on the disks of a server
// and serves their data. It is the shell of I/O around three rooms: pacifica decides, plog
// remembers, engine stores.
//
// A [Server] holds the replicas of a process. Each replica has one loop (replica.go): requests,
// messages of other replicas and answers of the meta server gather in its inbox (inbox.go); the
// loop takes all that has gathered, steps the state machine and does what comes out of it
// (output.go). While a mutation is on its way to the other members, client writes gather, and
// the next mutation carries all of them (write.go). No lock is held while anything is waited
// for, a slow partition holds up no other, and what waits is bounded: beyond that clients are
// told ERR_BUSY.
//
// Reads (read.go) do not pass the loop. They look at the replica's gate, which the loop
// publishes (gate.go), and at the lease (detector.go), and go to the storage engine on the
// goroutine that read the request.
//
// # Who decides what
//
// The meta server decides who is a member and who is primary. A server learns of it by config
// sync (configsync.go), by proposals and by the answers to changes it asks for (config.go). The
// right to serve hangs on the lease: detector.go sends beacons and ends the lease before the
// meta server may give the partition to another one.
//
// # Files
//
// disks.go finds and checks the data dirs and chooses one for a new replica, names.go knows the
// names in them, files.go the two small files of a replica that are not data. load.go loads
// what is there at start, open.go opens, makes and closes replicas later. What cannot be loaded
// is renamed, never deleted. checkpoint.go makes checkpoints and lets go of log that is no longer needed;
// janitor.go removes what was set aside long ago. clock.go is the one timer for all of that: an
// idle replica costs nothing but a tick each second.
//
// # Learning
//
// A new member catches up with the primary in rounds (learn.go asks, teach.go answers): with a
// checkpoint whose files it copies (copyclient.go, copyserver.go), with mutations from the
// primary's log, and at last with those the primary has in memory.
//
// query.go and commands.go answer tools.
package replica
