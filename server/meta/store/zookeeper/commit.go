// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-zookeeper/zk"

	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
)

// A ZooKeeper server takes no request above jute.maxbuffer, 1 MB unless configured otherwise,
// and is held up by long ones. Commits beyond these limits become several transactions.
const (
	maxTxnBytes = 256 << 10
	maxTxnOps   = 512

	opOverhead = 64 // bytes an operation has besides path and data, generously
)

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, epoch int64, ops ...store.Op) error {
	for len(ops) > 0 {
		n, err := s.fitting(ops)
		if err != nil {
			return err
		}
		if err := s.transact(ctx, epoch, ops[:n]); err != nil {
			return err
		}
		ops = ops[n:]
	}
	return nil
}

// fitting is how many of the operations go into one transaction.
func (s *Store) fitting(ops []store.Op) (int, error) {
	bytes := 0
	for i, op := range ops {
		size := len(s.root) + len(op.Path) + len(op.Data) + opOverhead
		if size > 3*maxTxnBytes {
			return 0, fmt.Errorf("change %s in ZooKeeper: %d bytes are more than a node may have", s.at(op.Path), len(op.Data))
		}
		if bytes += size; i > 0 && (bytes > maxTxnBytes || i >= maxTxnOps) {
			return i, nil
		}
	}
	return len(ops), nil
}

// transact makes all of the changes or none, if the term of epoch is not over. While it lasts it
// does not give up on a broken connection: trying again is harmless, since whichever attempt
// comes first makes the versions wrong for the others.
func (s *Store) transact(ctx context.Context, epoch int64, ops []store.Op) error {
	doubtful := false // an earlier attempt may have succeeded
	for {
		t := s.current(epoch)
		if t == nil {
			return fmt.Errorf("change %s in ZooKeeper under epoch %d: %w", s.at(ops[0].Path), epoch, store.ErrFenced)
		}
		txn, err := t.transaction(ops)
		if err != nil {
			return err
		}
		results, err := call(ctx, t.sess, func(c *zk.Conn) ([]zk.MultiResponse, error) { return c.Multi(txn...) })
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("change %s in ZooKeeper: %w", s.at(ops[0].Path), err)
		case t.sess.isDead():
			return fmt.Errorf("change %s in ZooKeeper: %w (%w)", s.at(ops[0].Path), store.ErrFenced, err)
		case broken(err):
			doubtful = true
			pause(ctx, t.sess, troublePause)
			continue
		}
		fenced, op, verdict := judge(ops, results, err)
		if fenced {
			gone := fmt.Errorf("the lock %s is gone: %w", t.lock, store.ErrFenced)
			t.cancel(gone)
			return fmt.Errorf("change %s in ZooKeeper: %w", s.at(ops[0].Path), gone)
		}
		if doubtful && verdict != nil {
			if done, err := s.done(ctx, ops[len(ops)-1]); err != nil {
				return err
			} else if done {
				return nil
			}
		}
		if verdict == nil {
			return fmt.Errorf("change %s in ZooKeeper: %w", s.at(op.Path), err)
		}
		return fmt.Errorf("change %s in ZooKeeper: %w", s.at(op.Path), verdict)
	}
}

// transaction puts the fence before the operations.
func (t *term) transaction(ops []store.Op) ([]any, error) {
	txn := make([]any, 0, len(ops)+1)
	txn = append(txn, t.fence())
	for _, op := range ops {
		p := t.s.at(op.Path)
		switch op.Kind {
		case store.OpCreate:
			txn = append(txn, &zk.CreateRequest{Path: p, Data: op.Data, Acl: zk.WorldACL(zk.PermAll)})
		case store.OpSet:
			txn = append(txn, &zk.SetDataRequest{Path: p, Data: op.Data, Version: int32(op.Version)})
		case store.OpDelete:
			txn = append(txn, &zk.DeleteRequest{Path: p, Version: int32(op.Version)})
		default:
			return nil, fmt.Errorf("change %s in ZooKeeper: operation %d is unknown", p, op.Kind)
		}
	}
	return txn, nil
}

// judge finds the operation that a transaction has failed on: the first that has an error of its
// own. The verdict is nil when that error is none a caller decides on.
func judge(ops []store.Op, results []zk.MultiResponse, err error) (fenced bool, op store.Op, verdict error) {
	op = ops[0]
	for i, r := range results {
		switch {
		case r.Error == nil:
			continue
		case i == 0:
			return errors.Is(r.Error, zk.ErrNoNode) || errors.Is(r.Error, zk.ErrBadVersion), op, nil
		case i <= len(ops):
			op, err = ops[i-1], r.Error
		}
		break
	}
	switch {
	case errors.Is(err, zk.ErrNodeExists):
		verdict = store.ErrExists
	case errors.Is(err, zk.ErrNoNode):
		verdict = store.ErrNotFound
	case errors.Is(err, zk.ErrBadVersion):
		verdict = store.ErrVersion
	}
	return false, op, verdict
}

// done reports whether the tree is as op leaves it.
func (s *Store) done(ctx context.Context, op store.Op) (bool, error) {
	n, err := s.Get(ctx, op.Path)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return op.Kind == store.OpDelete, nil
	case err != nil:
		return false, err
	case op.Kind == store.OpDelete:
		return false, nil
	}
	version := int64(0)
	if op.Kind == store.OpSet {
		version = op.Version + 1
	}
	return n.Version == version && string(n.Data) == string(op.Data), nil
}
