// SPDX-License-Identifier: Apache-2.0

// Package zookeeper keeps the metadata tree and the leader lock in ZooKeeper, laid out as Apache
// Pegasus lays them out, so that its meta servers and ours can read each other's tree and stand
// in the same election.
//
// # The lock
//
// Every meta server creates an ephemeral, sequential node LOCKNODE<number> that holds its
// address, below <lock parameters>/dsn.meta.server.leader. Whoever has the smallest number
// leads; the others watch its node and know from it whom to send clients to. A smaller node with
// a server's own address is left from an earlier life and is deleted by it. (election.go)
//
// # The fence
//
// A term belongs to one lock node, and its epoch is the transaction that created it. Every
// change is a ZooKeeper transaction whose first operation checks that this node is still there,
// and whose others check the version of each node they replace. Without the lock node - the
// session expired, another server leads - nothing of it happens, however late it arrives. That
// holds for a server that was stopped for an hour and wakes up in the middle of a write.
// (commit.go)
//
// # The lease
//
// The fence protects the store, not those who listen to a leader. So a leader confirms its lock
// with a transaction several times per session timeout, and counts two thirds of the timeout
// from the moment it sent the last one that was confirmed. When they are over it stops to lead,
// which is before the servers can have expired its session and elected another one. Such an end
// is final: the session is closed, and the server runs again with a new one. (term.go)
//
// # Connection and session
//
// A session is one zk.Conn and never outlives its expiry, although the library would begin
// another one. Every call waits for the connection under a context. What a broken connection
// leaves in doubt is resolved by trying again: a change that had happened fails on the versions,
// and then a look at the node shows whether it was this one. (session.go)
package zookeeper
