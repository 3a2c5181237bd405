// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// Local keeps the tree in a directory of this machine. It serves a cluster with exactly one meta
// server: the lock that Pebble holds on the directory is the leader lock, so whoever has opened
// a Local wins its elections at once.
//
// A commit is one Pebble batch, written to the log and synced before Commit returns; concurrent
// commits share a sync.
type Local struct {
	dir  string
	self idl.RPCAddress
	db   *pebble.DB

	mu    sync.Mutex // orders the checks and the application of commits
	epoch int64
	lost  chan struct{} // of the newest term
}

// LocalOptions say where a Local lives.
type LocalOptions struct {
	FS   vfs.FS
	Dir  string // created when missing
	Self idl.RPCAddress
	Log  *slog.Logger
}

const (
	// nodePrefix keeps the tree apart from what the store notes for itself.
	nodePrefix = "n/"
	epochKey   = "epoch"

	// The tree is small (300 bytes a partition) and is read once at start.
	cacheBytes    = 1 << 20
	memTableBytes = 1 << 20
)

// OpenLocal opens or creates the store in o.Dir. It fails while another process has it open.
func OpenLocal(o LocalOptions) (*Local, error) {
	if err := makeDir(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("make the directory of the metadata store %s: %w", o.Dir, err)
	}
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	opts := &pebble.Options{
		FS: o.FS, Cache: cache, MemTableSize: memTableBytes, MaxOpenFiles: 64,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             pebbleLog{o.Log.With("dir", o.Dir)},
	}
	db, err := pebble.Open(o.Dir, opts)
	if err != nil {
		return nil, fmt.Errorf("open the metadata store in %s: %w; if another meta server runs on this "+
			"directory stop it, if the disk is full make room, if files are damaged restore the directory "+
			"from a copy", o.Dir, err)
	}
	l := &Local{dir: o.Dir, self: o.Self, db: db}
	if err := l.readEpoch(); err != nil {
		db.Close()
		return nil, err
	}
	return l, nil
}

// makeDir creates a directory so that it survives a crash: Pebble syncs what is in it, not the
// directories above.
func makeDir(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	parent := fs.PathDir(dir)
	if parent != dir {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	d, err := fs.OpenDir(parent)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		d.Close()
		return err
	}
	return d.Close()
}

func (l *Local) readEpoch() error {
	v, closer, err := l.db.Get([]byte(epochKey))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the epoch of the metadata store in %s: %w", l.dir, err)
	}
	defer closer.Close()
	if l.epoch, err = strconv.ParseInt(string(v), 10, 64); err != nil {
		return fmt.Errorf("the epoch of the metadata store in %s is damaged: %w", l.dir, err)
	}
	return nil
}

// Campaign implements Election: it begins a new term at once and ends the previous one.
func (l *Local) Campaign(ctx context.Context) (Term, error) {
	if err := ctx.Err(); err != nil {
		return Term{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.db.Set([]byte(epochKey), strconv.AppendInt(nil, l.epoch+1, 10), pebble.Sync); err != nil {
		return Term{}, fmt.Errorf("begin a new epoch in %s: %w", l.dir, err)
	}
	l.epoch++
	if l.lost != nil {
		close(l.lost)
	}
	l.lost = make(chan struct{})
	return Term{Epoch: l.epoch, Lost: l.lost}, nil
}

// Leader implements Election: the one that has the directory open.
func (l *Local) Leader() idl.RPCAddress { return l.self }

// Get implements Store.
func (l *Local) Get(ctx context.Context, path string) (Node, error) {
	if err := ctx.Err(); err != nil {
		return Node{}, err
	}
	n, err := l.get(l.db, path)
	if err != nil {
		return Node{}, fmt.Errorf("read %s: %w", path, err)
	}
	return n, nil
}

func (l *Local) get(r pebble.Reader, path string) (Node, error) {
	v, closer, err := r.Get(nodeKey(path))
	if errors.Is(err, pebble.ErrNotFound) {
		return Node{}, ErrNotFound
	}
	if err != nil {
		return Node{}, err
	}
	defer closer.Close()
	if len(v) < 8 {
		return Node{}, fmt.Errorf("record of %d bytes in %s is damaged", len(v), l.dir)
	}
	return Node{Data: append([]byte(nil), v[8:]...), Version: int64(binary.BigEndian.Uint64(v))}, nil
}

// Children implements Store. It skips over what lies below each child.
func (l *Local) Children(ctx context.Context, path string) ([]string, error) {
	prefix := append(nodeKey(path), '/')
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	defer it.Close()
	var names []string
	for ok := it.First(); ok; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name := it.Key()[len(prefix):]
		for i, c := range name {
			if c == '/' {
				name = name[:i]
				break
			}
		}
		child := string(name)
		if len(names) == 0 || names[len(names)-1] != child {
			names = append(names, child)
		}
		if len(it.Key()) > len(prefix)+len(child) {
			ok = it.SeekGE(after([]byte(string(prefix) + child + "/")))
		} else {
			ok = it.Next()
		}
	}
	if err := it.Error(); err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	return names, nil
}

// Commit implements Store. The context is not consulted once the changes are under way.
func (l *Local) Commit(ctx context.Context, epoch int64, ops ...Op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b := l.db.NewIndexedBatch() // an operation sees those before it
	defer b.Close()
	if err := l.apply(b, epoch, ops); err != nil {
		return err
	}
	// Outside of the lock, so that other commits join the same sync.
	if err := b.SyncWait(); err != nil {
		return fmt.Errorf("sync the metadata store in %s: %w", l.dir, err)
	}
	return nil
}

// apply checks and applies the operations. What it applied is visible to the next commit before
// it is durable, which is harmless: the log keeps their order, so the second never survives
// without the first.
func (l *Local) apply(b *pebble.Batch, epoch int64, ops []Op) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch != l.epoch {
		return fmt.Errorf("commit under epoch %d, the present one is %d: %w", epoch, l.epoch, ErrFenced)
	}
	for _, op := range ops {
		old, err := l.get(b, op.Path)
		exists := err == nil
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("read %s: %w", op.Path, err)
		}
		switch {
		case op.Kind == OpCreate && exists:
			return fmt.Errorf("create %s: %w", op.Path, ErrExists)
		case op.Kind == OpCreate:
			err = b.Set(nodeKey(op.Path), record(op.Data, 0), nil)
		case !exists:
			return fmt.Errorf("change %s: %w", op.Path, ErrNotFound)
		case old.Version != op.Version:
			return fmt.Errorf("change %s of version %d, expected %d: %w", op.Path, old.Version, op.Version, ErrVersion)
		case op.Kind == OpSet:
			err = b.Set(nodeKey(op.Path), record(op.Data, op.Version+1), nil)
		case op.Kind == OpDelete:
			err = b.Delete(nodeKey(op.Path), nil)
		default:
			err = fmt.Errorf("operation %d is unknown", op.Kind)
		}
		if err != nil {
			return fmt.Errorf("change %s: %w", op.Path, err)
		}
	}
	if err := l.db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		return fmt.Errorf("write the metadata store in %s: %w", l.dir, err)
	}
	return nil
}

// Close implements Store and ends the term.
func (l *Local) Close() error {
	l.mu.Lock()
	if l.lost != nil {
		close(l.lost)
		l.lost = nil
	}
	l.epoch++ // nobody may commit any more
	l.mu.Unlock()
	if err := l.db.Close(); err != nil {
		return fmt.Errorf("close the metadata store in %s: %w", l.dir, err)
	}
	return nil
}

func nodeKey(path string) []byte { return append([]byte(nodePrefix), path...) }

// after returns the first key behind all that start with prefix, whose last byte is '/'.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	end[len(end)-1]++
	return end
}

func record(data []byte, version int64) []byte {
	b := make([]byte, 8, 8+len(data))
	binary.BigEndian.PutUint64(b, uint64(version))
	return append(b, data...)
}

// pebbleLog passes on what an operator should know. Pebble expects Fatalf not to return: it is
// called when the log can no longer be written, after which nothing the store says is true.
type pebbleLog struct{ log *slog.Logger }

func (pebbleLog) Infof(string, ...any) {}

func (p pebbleLog) Errorf(format string, args ...any) {
	p.log.Error("metadata store: " + fmt.Sprintf(format, args...))
}

func (p pebbleLog) Fatalf(format string, args ...any) {
	p.log.Error("metadata store cannot go on, check the disk and start again: " + fmt.Sprintf(format, args...))
	os.Exit(1)
}
