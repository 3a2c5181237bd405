// SPDX-License-Identifier: Apache-2.0

// Package engine stores the data of one replica and gives every data operation its meaning.
//
// A [DB] is one Pebble instance in <replica>/data/rdb. It is driven from two sides. The
// replication layer calls [DB.Apply] with committed mutations in decree order, one goroutine at
// a time; readers call [DB.Read] from as many goroutines as they like. Neither waits for the
// other: a read sees the last mutation whose Apply has returned, or a later one.
//
// # Durability
//
// Pebble's own log is off, because the private log of the replica (package plog) is the log. A
// mutation becomes one Pebble batch that carries the client's writes and the decree under one
// meta key; memtables are flushed whole and in order. After a crash the data is therefore
// exactly the state after the decree that is read back: [DB.Durable] while running,
// [DB.Applied] right after [Open]. The private log replays what follows.
//
// # Determinism
//
// Every replica of a partition applies the same payloads and must end in the same state. So
// Apply knows no clock: expiry is judged by the timestamp of the mutation, the default time to
// live comes with the payload ([DB.StartPayload]), a request that cannot be decoded writes
// nothing everywhere, and answers are only computed, never decided, on the primary.
//
// # Layout
//
// schema.go says how records lie in Pebble, payload.go how client writes lie in a mutation.
// apply.go and atomic.go execute writes, read.go, multiget.go and scan.go execute reads.
// shared.go holds what all replicas of a process share: block cache, open files, the memory of
// memtables, compaction slots. checkpoint.go makes checkpoints, install.go puts a learned one in
// place. A new data operation gets a code in payload.go or a case in [DB.Read].
//
// # Failure
//
// Damaged files are reported as a [CorruptError] that says where and what to do; a full or
// failing disk makes the first error sticky ([DB.Err]) and calls Options.OnError once. After
// that the DB refuses writes, nothing it does reaches the disk (fence.go), and it wants to be
// closed. The process never exits from here.
package engine
