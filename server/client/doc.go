// SPDX-License-Identifier: Apache-2.0

// Package client is the Go client of a Pegasus cluster: it reads and writes data, manages
// tables and sends remote commands to servers. The collector, the Pegasus shell and
// pegasus-ops are built on it, and programs may use it as a library.
//
// # Opening
//
// A [Cluster] stands for one cluster. It is opened with the addresses of its meta servers,
// holds one multiplexed connection to each server it talks to, and is safe for any number of
// goroutines; a process wants one per cluster, not one per request.
//
//	c, err := client.Open(ctx, client.Options{Metas: []string{"10.0.0.1:34601", "10.0.0.2:34601"}})
//	...
//	defer c.Close()
//	t := c.Table("temp")
//	err = t.Set(ctx, []byte("user1"), []byte("name"), []byte("Ada"), 0)
//
// Open resolves names but connects to nothing: the first call does.
//
// # Data
//
// A record is found by two keys. The hash key alone decides which partition a record lives in,
// so that all records of one hash key can be read, written and scanned together and atomically;
// the sort key orders them within it. [Table] has one method per operation. Keys and values are
// bytes; a nil value is an empty value; what a method returns belongs to the caller.
//
// The partition is crc64(hash key) modulo the number of partitions, and a [Table] keeps the
// address of every partition's primary, as the meta server told it. The cache is refreshed when
// an answer shows it to be stale - the server says it is not the primary, does not hold the
// partition, or that the table was split - and after a network failure or a timeout. Concurrent
// operations share one refresh, and refreshes are at least [Options.RefreshInterval] apart.
//
// # Deadlines and retries
//
// An operation ends with its context; one without a deadline gets [Options.Timeout]. Until then
// the client retries, with growing pauses, what is safe to retry:
//
//   - Reads, after any transient failure. One attempt gets at most half of the time that is
//     left, so that a dead server costs half of the deadline and not all of it.
//   - Writes that were surely not executed. The server refuses a write before it enters a
//     mutation with ERR_INVALID_STATE (not the primary, or not ready), ERR_OBJECT_NOT_FOUND,
//     ERR_PARENT_PARTITION_MISUSED, ERR_SPLITTING, ERR_BUSY, ERR_CAPACITY_EXCEEDED,
//     ERR_NOT_ENOUGH_MEMBER or ERR_SERVICE_NOT_ACTIVE; and a write whose connection could not
//     be opened was never sent.
//
// A write that timed out or whose connection broke may or may not have been executed, now or a
// little later. It is not repeated, because a repeated write could overtake one of another
// client; its [Error] has Ambiguous set and the caller decides. With
// [Options.RetryAmbiguousWrites] Set, Del, MultiSet and MultiDel are repeated nevertheless,
// which is right for callers that only want the value to be there in the end. Incr,
// CheckAndSet and CheckAndMutate never are.
//
// # Errors
//
// Every method that reaches for a server returns an [*Error], which says what was attempted on
// which table, partition and server, with the code the server answered. Decide with errors.Is:
// on [ErrNotFound], [ErrTableNotFound], [ErrInvalidArgument], [ErrNoPrimary], on a code as in
// errors.Is(err, idl.ErrBusy), or on context.DeadlineExceeded.
//
// # Administration
//
// Table and cluster management are methods of [Cluster] and go to the meta leader, which is
// found again when it changed: an answer that names another leader is followed, a meta server
// that does not answer is passed over. Calls that change something are sent only to a server
// known to lead and are repeated only when that cannot do harm.
//
// The package does no load balancing, caching of values or compression, and no replica other
// than the primary is ever read.
package client
