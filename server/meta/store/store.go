// SPDX-License-Identifier: Apache-2.0

// Package store keeps what the meta server must never forget: the tables, the configuration of
// every partition, and who leads.
//
// The data is a tree of small nodes, addressed by slash-separated paths, as Pegasus keeps it in
// ZooKeeper:
//
//	apps                 "unlock", or "lock" while the first tables are being written
//	apps/<app_id>        the table, JSON (EncodeApp)
//	apps/<app_id>/<pidx> the configuration of one partition, JSON (EncodePartition)
//
// Two interfaces stand for the two things the meta server asks of its coordinator. A Store reads
// nodes and commits changes; an Election says who may. They are tied together by the epoch: each
// leader gets a larger one with its Term, and every Commit names the epoch it acts under as well
// as the version of each node it read. A deposed leader, however late it learns of it, can
// therefore change nothing: its commits fail with ErrFenced.
//
// Local is the implementation for a cluster with a single meta server: both interfaces over one
// Pebble database with synchronous writes. Package zookeeper below this one is the one for all
// others. What is specific to tables and partitions (the paths
// and the JSON) is in layout.go and is shared by all implementations.
package store

import (
	"context"
	"errors"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// Errors of a Store. They come wrapped with the path they are about.
var (
	ErrNotFound = errors.New("no such node")
	ErrExists   = errors.New("node exists already")
	ErrVersion  = errors.New("node was changed since it was read")
	// ErrFenced means that the term is over, and another leader may have been elected: nothing
	// will be written any more under this epoch.
	ErrFenced = errors.New("the leadership of this meta server is over")
)

// A Node is the content of one path. A node starts at version 0; every Set adds one.
type Node struct {
	Data    []byte
	Version int64
}

// A Store is the metadata tree. It is safe for concurrent use.
type Store interface {
	// Get reads one node. ErrNotFound if there is none.
	Get(ctx context.Context, path string) (Node, error)

	// Children returns the names (not the paths) of the nodes directly below path, sorted as
	// text. A path without children, existing or not, has none.
	Children(ctx context.Context, path string) ([]string, error)

	// Commit makes all the changes or none, and returns once they would survive a crash. It
	// fails with ErrFenced unless epoch is the one of the newest Term, with ErrExists,
	// ErrNotFound or ErrVersion if a node is not as an operation expects. After any other
	// error the outcome is unknown: the caller has to read, or to commit the same again.
	//
	// A store may have to split a commit of hundreds of operations. It then makes the changes
	// in the order given, and a failure can leave the first part of them behind. ErrFenced too
	// may leave the last changes of a leader that lost its connection in the middle of them in
	// doubt; they have happened by the time another one leads, or never will.
	Commit(ctx context.Context, epoch int64, ops ...Op) error

	// Close ends the use of the store.
	Close() error
}

// OpKind tells what an Op does.
type OpKind uint8

// The kinds of operations.
const (
	OpCreate OpKind = iota + 1
	OpSet
	OpDelete
)

// An Op is one change of a Commit.
type Op struct {
	Kind    OpKind
	Path    string
	Data    []byte
	Version int64 // the version that was read; OpSet and OpDelete
}

// Create makes a node that must not exist. Its parent must exist, or be created before it.
func Create(path string, data []byte) Op { return Op{Kind: OpCreate, Path: path, Data: data} }

// Set replaces the data of a node that must be at version; it is at version+1 afterwards.
func Set(path string, data []byte, version int64) Op {
	return Op{Kind: OpSet, Path: path, Data: data, Version: version}
}

// Delete removes a node that must be at version and have none below it.
func Delete(path string, version int64) Op {
	return Op{Kind: OpDelete, Path: path, Version: version}
}

// A Term is a period of leadership.
type Term struct {
	Epoch int64
	// Lost is closed when the leadership has ended. A leader may not learn of its end before
	// another one begins; that is what the epoch is for.
	Lost <-chan struct{}
	// Holds reports whether the leader may still act as one, by the clock and without waiting:
	// it turns false before another leader can begin, even in a process that was stopped for a
	// while and has not been told of anything yet. nil means always.
	Holds func() bool
}

// An Election chooses the leader among the meta servers.
type Election interface {
	// Campaign waits until this server leads, or ctx ends.
	Campaign(ctx context.Context) (Term, error)

	// Leader is the present leader as far as known, zero when unknown. It does not block.
	Leader() idl.RPCAddress
}
