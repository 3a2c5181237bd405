// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"errors"
	"fmt"

	"github.com/pegasus-ops/pegasus-ops/server/engine"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/plog"
)

// An opening is a replica being opened; others who want it wait.
type opening struct {
	done    chan struct{}
	replica *replica
	err     error
}

// errNoReplica: there is no directory to open and none may be made.
var errNoReplica = errors.New("no replica is stored here")

// openError is the wire form of an error of open.
func openError(err error) idl.ErrorCode {
	var code idl.ErrorCode
	switch {
	case errors.As(err, &code):
		return code
	case errors.Is(err, errNoReplica):
		return idl.ErrObjectNotFound
	case noSpace(err):
		return idl.ErrDiskInsufficient
	}
	return idl.ErrFileOperationFailed
}

// open returns the replica of a partition: the one that is open, or from its directory, or, if
// create is set, a new and empty one.
func (s *Server) open(g idl.GPID, app idl.AppInfo, create bool) (*replica, error) {
	s.mu.Lock()
	if s.ending {
		s.mu.Unlock()
		return nil, idl.ErrServiceNotActive
	}
	if r := s.replica(g); r != nil {
		s.mu.Unlock()
		return r, nil
	}
	if o := s.opening[g]; o != nil {
		s.mu.Unlock()
		<-o.done
		return o.replica, o.err
	}
	o := &opening{done: make(chan struct{})}
	s.opening[g] = o
	old := s.closed[g]
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()

	if old != nil {
		o.replica, o.err = s.reopen(g, old)
	} else if !create {
		o.err = errNoReplica
	}
	if o.replica == nil && create && (o.err == nil || !exists(s.opts.FS, old.dir)) {
		o.replica, o.err = s.create(g, app)
	}

	s.mu.Lock()
	delete(s.opening, g)
	if o.replica != nil {
		delete(s.closed, g)
		s.host(o.replica)
		go o.replica.run()
	}
	s.mu.Unlock()
	close(o.done)
	return o.replica, o.err
}

// reopen loads a directory that was closed. One that cannot be loaded is set aside.
func (s *Server) reopen(g idl.GPID, c *closedReplica) (*replica, error) {
	r, err := s.load(g, c.disk, c.dir)
	if err == nil {
		return r, nil
	}
	if noSpace(err) {
		s.disks.measure(c.disk)
		return nil, err
	}
	s.log.Error("a replica cannot be opened and is set aside", "gpid", g, "dir", c.dir, "err", err)
	if aerr := s.setAside(c.disk, s.opts.FS.PathBase(c.dir), errSuffix); aerr != nil {
		return nil, errors.Join(err, aerr)
	}
	s.mu.Lock()
	delete(s.closed, g)
	s.mu.Unlock()
	s.disks.release(c.disk, g)
	return nil, err
}

// create makes an empty replica on the disk that has the fewest. Its directory gets its name
// when it is complete.
func (s *Server) create(g idl.GPID, app idl.AppInfo) (_ *replica, err error) {
	if app.AppID != g.AppID {
		return nil, fmt.Errorf("make replica %s: the table given is %d: %w", g, app.AppID, idl.ErrInvalidParameters)
	}
	d, err := s.disks.choose(g)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, idl.ErrDiskInsufficient)
	}
	defer func() {
		if err != nil {
			s.disks.release(d, g)
			if noSpace(err) {
				s.disks.measure(d)
			}
		}
	}()
	fs := s.opts.FS
	dir := fs.PathJoin(d.reps, dirName(g))
	tmp := dir + tmpSuffix
	err = fs.RemoveAll(tmp)
	if err == nil {
		err = fs.MkdirAll(tmp, 0o755)
	}
	if err == nil {
		err = writeInfo(fs, tmp, appInfoFile, &app)
	}
	if err == nil {
		err = writeInfo(fs, tmp, initInfoFile, initInfo{})
	}
	if err == nil {
		err = fs.Rename(tmp, dir)
	}
	if err == nil {
		err = syncDir(fs, d.reps)
	}
	if err != nil {
		return nil, fmt.Errorf("make replica %s in %s: %w", g, dir, err)
	}
	r, err := s.load(g, d, dir)
	if err != nil {
		return nil, errors.Join(err, fs.RemoveAll(dir))
	}
	// Engine and log see to what is in their directories, not to those themselves.
	if err := errors.Join(syncDir(fs, fs.PathJoin(dir, dataName)), syncDir(fs, dir)); err != nil {
		return nil, errors.Join(fmt.Errorf("sync %s: %w", dir, err), r.db.Load().CloseWithoutFlush(), r.plog.Close())
	}
	r.log.Info("replica made", "dir", dir, "table", app.AppName)
	return r, nil
}

// closeLater closes a replica in the background. failure says why, nil that it is not needed
// any more; a replica with damaged data is set aside.
func (s *Server) closeLater(r *replica, failure error) {
	s.background(s.closers, func() { s.close(r, failure) })
}

func (s *Server) close(r *replica, failure error) {
	s.closing.Add(1)
	defer s.closing.Add(-1)
	if err := r.stop(s.ctx); err != nil {
		r.log.Warn("closing a replica was given up", "err", err)
		return
	}
	s.opts.Metrics.Remove(r.metrics.entity)
	info := r.info()
	info.Status = idl.PsInactive
	var bad *engine.CorruptError
	var badLog *plog.CorruptError
	aside := false
	switch {
	case errors.As(failure, &bad) || errors.As(failure, &badLog):
		if err := s.setAside(r.disk, s.opts.FS.PathBase(r.dir), errSuffix); err != nil {
			r.log.Error("cannot set a damaged replica aside; move the directory away by hand", "dir", r.dir, "err", err)
		} else {
			aside = true
		}
	case noSpace(failure):
		s.disks.measure(r.disk)
	}
	if aside {
		s.disks.release(r.disk, r.gpid)
	}
	s.mu.Lock()
	s.unhost(r)
	if !aside {
		s.closed[r.gpid] = &closedReplica{disk: r.disk, dir: r.dir, app: r.table.Load().info, info: info}
	}
	s.mu.Unlock()
	s.syncSoon()
}
