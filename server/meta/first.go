// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
)

// firstStart makes the default tables when there is no table at all. Until they are complete the
// node above them says "lock". A store that takes everything in one commit never shows that; in
// another one a first start that was cut off is taken up again, and only what else may have left
// the mark is an error.
func (s *Server) firstStart(ctx context.Context, epoch int64) error {
	root, err := s.store.Get(ctx, store.AppsPath)
	missing := errors.Is(err, store.ErrNotFound)
	if err != nil && !missing {
		return err
	}
	ids, err := s.store.Children(ctx, store.AppsPath)
	if err != nil {
		return err
	}
	locked := string(root.Data) == store.AppsLocked
	var ops []store.Op
	version := root.Version
	switch {
	case missing:
		for _, p := range []string{store.BackupPath, store.BulkLoadPath} {
			if _, err := s.store.Get(ctx, p); errors.Is(err, store.ErrNotFound) {
				ops = append(ops, store.Create(p, nil))
			} else if err != nil {
				return err
			}
		}
		ops = append(ops, store.Create(store.AppsPath, []byte(store.AppsLocked)))
	case locked:
		if err := s.onlyDefaultTables(ctx, ids); err != nil {
			return fmt.Errorf("node %s says %q: tables were being written when that was cut off, and it was not a first start (%w); "+
				"restore the metadata from a copy, or write %q there if it is complete", store.AppsPath, root.Data, err, store.AppsUnlocked)
		}
	case len(root.Data) > 0 && string(root.Data) != store.AppsUnlocked:
		return fmt.Errorf("node %s says %q, which is neither %q nor %q: is it the metadata of a cluster?", store.AppsPath, root.Data, store.AppsUnlocked, store.AppsLocked)
	case len(ids) > 0 || len(s.o.DefaultTables) == 0:
		return nil
	default:
		ops = append(ops, store.Set(store.AppsPath, []byte(store.AppsLocked), version))
		version++
	}
	for i, spec := range s.o.DefaultTables {
		info := newTable(int32(i)+1, spec.Name, spec.Partitions, spec.Replicas, spec.Envs)
		s.log.Info("first start, making a default table", "table", spec.Name, "app_id", info.AppID, "partitions", spec.Partitions)
		for _, op := range createOps(&info) {
			if locked {
				if _, err := s.store.Get(ctx, op.Path); err == nil {
					continue
				} else if !errors.Is(err, store.ErrNotFound) {
					return err
				}
			}
			ops = append(ops, op)
		}
	}
	ops = append(ops, store.Set(store.AppsPath, []byte(store.AppsUnlocked), version))
	if err := s.commit(epoch, "default tables", ops); err != nil {
		return err
	}
	return ctx.Err()
}

// onlyDefaultTables checks that what was written under the lock is what a first start writes, and
// that nobody has used it.
func (s *Server) onlyDefaultTables(ctx context.Context, ids []string) error {
	for _, name := range ids {
		id, err := strconv.Atoi(name)
		if err != nil || id < 1 || id > len(s.o.DefaultTables) {
			return fmt.Errorf("%s/%s is no default table", store.AppsPath, name)
		}
		t, err := s.readTable(ctx, name)
		if err != nil {
			return err
		}
		spec := s.o.DefaultTables[id-1]
		if t.info.AppName != spec.Name || t.info.PartitionCount != spec.Partitions || t.info.MaxReplicaCount != spec.Replicas || t.info.Status != idl.AsAvailable {
			return fmt.Errorf("%s/%s, table %s, is not the default table %s", store.AppsPath, name, t.info.AppName, spec.Name)
		}
		for i := range t.parts {
			pc, _, err := s.readPartition(ctx, idl.GPID{AppID: t.info.AppID, PartitionIndex: int32(i)})
			if err != nil {
				return err
			}
			if pc != nil && pc.Ballot != 0 {
				return fmt.Errorf("partition %s has been in use", pc.Pid)
			}
		}
	}
	return nil
}
