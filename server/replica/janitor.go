// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"time"
)

// lookAtDisks measures free space and removes directories that were set aside long ago. Their
// age is that of their name: the time of the file system says when something in them changed
// last, which may be long before they were set aside.
func (s *Server) lookAtDisks() {
	for _, d := range s.disks.all {
		s.disks.measure(d)
		names, err := s.opts.FS.List(d.reps)
		if err != nil {
			s.disks.fail(d, err)
			continue
		}
		for _, name := range names {
			suffix, at, ok := setAsideTime(name)
			if !ok {
				continue
			}
			keep := s.opts.ErrDirKeep
			if suffix == garSuffix {
				keep = s.opts.GarbageDirKeep
			}
			if time.Since(at) < keep || s.ctx.Err() != nil {
				continue
			}
			path := s.opts.FS.PathJoin(d.reps, name)
			if err := s.opts.FS.RemoveAll(path); err != nil {
				s.log.Warn("cannot remove a directory that was set aside", "dir", path, "err", err)
				continue
			}
			s.log.Info("removed a directory that was set aside", "dir", path, "since", at)
		}
	}
}

// capacityMB is the size of all data dirs, 0 when it is not known.
func (s *Server) capacityMB() int64 {
	var n int64
	for _, d := range s.disks.all {
		n += d.capacity.Load() >> 20
	}
	return n
}
