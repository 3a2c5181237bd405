// SPDX-License-Identifier: Apache-2.0

// Package meta is the meta server: it knows the tables, where their partitions live and which
// replica servers are alive, and it sees to it that every partition has its replicas.
//
// # One loop
//
// Everything the meta server knows is owned by one goroutine, the loop (loop.go). Requests that
// change something, beacons, config syncs, ends of store writes and answers of replica servers
// are functions in its mailbox. What it knows as leader is a leader value (state.go); a server
// that does not lead has none. Nothing is locked, and nothing else may touch that state.
//
// Questions do not go through the loop. After each batch of work it publishes a snapshot
// (snapshot.go), immutable and swapped in one step, from which routing, listings and HTTP are
// answered on the goroutine that read the request.
//
// # Store first, then memory, then messages
//
// No configuration takes effect before it is in the metadata store (server/meta/store). The loop
// hands a write to a goroutine, marks the partition as being written, and goes on; requests about
// the partition wait. When the write has ended it changes its memory, answers, and tells whom it
// concerns (state.go, update.go). A write that finds a newer epoch in the store means that
// another meta server leads: this one forgets everything and runs for election again.
//
// # Where things are
//
//	server.go, loop.go    start and stop, elections, the mailbox
//	load.go, first.go     reading the tree and finishing what was cut off; default tables
//	fd.go, nodes.go       failure detector (pure), what follows from its verdicts
//	sync.go, collect.go   config sync; what replica servers report, for choosing a primary
//	update.go             changes of configurations; transition.go has their effect
//	cure.go, propose.go   guardian's decisions put into practice; proposals and their repetition
//	tables.go, replicas.go, envs.go   operations on tables
//	balance.go            operator's proposals, ddd_diagnose
//	level.go              function levels and the automatic freeze
//	rpc.go, query.go      the RPCs; answers of a server that does not lead
//	http.go, table_json.go, commands.go   what operators look at
//
// Who becomes primary or secondary is not decided here but in server/meta/guardian.
package meta
