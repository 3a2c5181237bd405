// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// Table environments about checkpoints.
const (
	envReserveCount   = "rocksdb.checkpoint.reserve_min_count"
	envReserveSeconds = "rocksdb.checkpoint.reserve_time_seconds"
)

const (
	checkpointPrefix = "checkpoint."
	checkpointTmp    = "checkpoint.tmp."

	// pinFor is how long a checkpoint is kept after a learner has read from it.
	pinFor = 5 * time.Minute
)

// checkpointState is what a replica remembers about its checkpoints.
type checkpointState struct {
	making   chan struct{} // capacity 1: one at a time
	next     atomic.Int64  // detector clock: when the next look is due
	lastMade atomic.Int64  // decree of the newest one
	flushed  atomic.Int64  // detector clock: when the durable decree last moved
	durable  atomic.Int64  // the durable decree then
}

// checkpointDir is the directory of a checkpoint relative to the replica's.
func checkpointDir(decree int64) string {
	return dataName + "/" + checkpointPrefix + strconv.FormatInt(decree, 10)
}

// checkpointEnvs reads the reserve limits of a table; 0 and -1 stand for the server's.
func checkpointEnvs(envs map[string]string) (count int, seconds int64) {
	seconds = -1
	if n, err := strconv.Atoi(envs[envReserveCount]); err == nil && n > 0 {
		count = n
	}
	if n, err := strconv.ParseInt(envs[envReserveSeconds], 10, 32); err == nil && n >= 0 {
		seconds = n
	}
	return count, seconds
}

// checkpoints returns the decrees of the complete checkpoints, oldest first.
func (r *replica) checkpoints() []int64 {
	names, err := r.server.opts.FS.List(r.server.opts.FS.PathJoin(r.dir, dataName))
	if err != nil {
		return nil
	}
	var all []int64
	for _, name := range names {
		s, ok := strings.CutPrefix(name, checkpointPrefix)
		if !ok {
			continue
		}
		if d, err := strconv.ParseInt(s, 10, 64); err == nil && d >= 0 {
			all = append(all, d)
		}
	}
	slices.Sort(all)
	return all
}

// checkpointFiles lists the files of a checkpoint for a learner. The mark tells two checkpoints
// of the same decree apart.
func (r *replica) checkpointFiles(decree int64) ([]idl.FileMeta, error) {
	fs := r.server.opts.FS
	dir := fs.PathJoin(r.dir, checkpointDir(decree))
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	slices.Sort(names)
	var files []idl.FileMeta
	for _, name := range names {
		info, err := fs.Stat(fs.PathJoin(dir, name))
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", dir, err)
		}
		if info.IsDir() {
			continue
		}
		files = append(files, idl.FileMeta{Name: name, Size: info.Size(), Md5: strconv.FormatInt(info.ModTime().UnixNano(), 36)})
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s is empty", dir)
	}
	return files, nil
}

// makeCheckpoint makes a checkpoint of the present state and returns its decree. One that exists
// already is as good.
func (r *replica) makeCheckpoint(ctx context.Context) (int64, error) {
	select {
	case r.checkpoint.making <- struct{}{}:
		defer func() { <-r.checkpoint.making }()
	case <-ctx.Done():
		return 0, fmt.Errorf("checkpoint of replica %s: another one is being made: %w", r.gpid, idl.ErrTryAgain)
	}
	db := r.db.Load()
	if db == nil {
		return 0, fmt.Errorf("checkpoint of replica %s: the data is being replaced: %w", r.gpid, idl.ErrTryAgain)
	}
	fs := r.server.opts.FS
	data := fs.PathJoin(r.dir, dataName)
	tmp := fs.PathJoin(data, checkpointTmp+strconv.FormatInt(time.Now().UnixMicro(), 10))
	decree, err := db.Checkpoint(tmp)
	if err != nil {
		return 0, err
	}
	to := fs.PathJoin(r.dir, checkpointDir(decree))
	if exists(fs, to) {
		if err := fs.RemoveAll(tmp); err != nil {
			r.log.Warn("cannot remove a superfluous checkpoint", "dir", tmp, "err", err)
		}
	} else {
		if err := fs.Rename(tmp, to); err != nil {
			return 0, errors.Join(fmt.Errorf("rename checkpoint %s: %w", tmp, err), fs.RemoveAll(tmp))
		}
		if err := syncDir(fs, data); err != nil {
			return 0, fmt.Errorf("sync %s: %w", data, err)
		}
	}
	r.checkpoint.lastMade.Store(max(decree, r.checkpoint.lastMade.Load()))
	r.log.Debug("checkpoint made", "decree", decree)
	return decree, nil
}

// maintain is the periodic work on a replica's files, done by the janitor: a checkpoint when new
// data has reached the disk, a flush when that has not happened for long or the log has become
// large, removal of old checkpoints and of log that is not needed any more.
func (r *replica) maintain(ctx context.Context, force bool) error {
	db := r.db.Load()
	if db == nil {
		return nil
	}
	o, st := &r.server.opts, &r.checkpoint
	now := r.server.detector.now()
	durable := db.Durable()
	if durable > st.durable.Load() || st.flushed.Load() == 0 {
		st.durable.Store(durable)
		st.flushed.Store(now)
	}
	old := db.Applied() > durable && time.Duration(now-st.flushed.Load()) > o.CheckpointMaxAge
	if force || old || db.Applied() > durable && r.plog.Size() > o.plogLimit() {
		if err := db.Flush(); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
		durable = db.Durable()
	}
	if durable > 0 && (force || durable > st.lastMade.Load() && durable == db.Applied()) {
		if _, err := r.makeCheckpoint(ctx); err != nil {
			return err
		}
	}
	r.pruneCheckpoints()
	if err := r.plog.Truncate(durable); err != nil {
		return err
	}
	return nil
}

// pruneCheckpoints deletes the oldest checkpoints beyond what is to be kept, except those that a
// learner reads from.
func (r *replica) pruneCheckpoints() {
	o, t := &r.server.opts, r.table.Load()
	keep, age := o.CheckpointReserveCount, o.CheckpointReserveAge
	if t.checkpointEnvCount > 0 {
		keep = t.checkpointEnvCount
	}
	if t.checkpointEnvSecond >= 0 {
		age = time.Duration(t.checkpointEnvSecond) * time.Second
	}
	fs := o.FS
	all := r.checkpoints()
	for _, c := range all[:max(len(all)-keep, 0)] {
		dir := checkpointDir(c)
		path := fs.PathJoin(r.dir, dir)
		info, err := fs.Stat(path)
		if err != nil || time.Since(info.ModTime()) < age {
			continue
		}
		if !r.pins.drop(dir, func() { err = fs.RemoveAll(path) }) {
			continue
		}
		if err != nil {
			r.log.Warn("cannot remove an old checkpoint", "dir", path, "err", err)
		}
	}
}

// pins keep the checkpoints that learners read from.
type pins struct {
	mu      sync.Mutex
	touched map[string]time.Time
	held    int
}

// hold keeps every checkpoint until unhold.
func (p *pins) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held++
}

func (p *pins) unhold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held--
}

// touch keeps a checkpoint for another while.
func (p *pins) touch(dir string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.touched == nil {
		p.touched = map[string]time.Time{}
	}
	p.touched[dir] = time.Now()
}

// drop runs remove unless the checkpoint is kept.
func (p *pins) drop(dir string, remove func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held > 0 || time.Since(p.touched[dir]) < pinFor {
		return false
	}
	delete(p.touched, dir)
	remove()
	return true
}
