// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// A disk is one data dir in use.
type disk struct {
	fs   vfs.FS
	tag  string
	path string // as configured
	reps string // where replicas live
	lock io.Closer

	status   atomic.Int32 // idl.DiskStatus
	capacity atomic.Int64 // bytes, 0 = not known
	avail    atomic.Int64 // bytes

	// Guarded by disks.mu: the replicas that live here or are being made here.
	held map[idl.GPID]struct{}
}

// disks are the data dirs of a server.
type disks struct {
	log          *slog.Logger
	minAvailable int // percent

	mu  sync.Mutex
	all []*disk
}

// openDisks takes the data dirs that can be used. Those that cannot are logged with what to do
// about it; without any, or when broken ones are not to be ignored, it fails.
func openDisks(fs vfs.FS, dirs []DataDir, ignoreBroken bool, minAvailable int, log *slog.Logger) (*disks, error) {
	ds := &disks{log: log, minAvailable: minAvailable}
	var broken []error
	for _, dir := range dirs {
		d, err := openDisk(fs, dir)
		if err != nil {
			err = fmt.Errorf("data dir %s (tag %s) cannot be used: %w", dir.Path, dir.Tag, err)
			log.Error("data dir cannot be used; repair it or take it out of data_dirs, then restart",
				"tag", dir.Tag, "path", dir.Path, "err", err)
			broken = append(broken, err)
			continue
		}
		ds.measure(d)
		ds.all = append(ds.all, d)
	}
	if len(ds.all) == 0 || len(broken) > 0 && !ignoreBroken {
		ds.close()
		return nil, fmt.Errorf("%w; repair the directory (does it exist, may this user write to it, is there space?) "+
			"or change data_dirs in [replication]", errors.Join(broken...))
	}
	return ds, nil
}

// openDisk makes sure that the data dir can be written and read, and that no other process uses it.
func openDisk(fs vfs.FS, dir DataDir) (*disk, error) {
	base := fs.PathJoin(dir.Path, "replica")
	d := &disk{fs: fs, tag: dir.Tag, path: dir.Path, reps: fs.PathJoin(base, "reps"), held: map[idl.GPID]struct{}{}}
	if err := fs.MkdirAll(d.reps, 0o755); err != nil {
		return nil, fmt.Errorf("create %s: %w", d.reps, err)
	}
	for _, dir := range []string{base, dir.Path} {
		if err := syncDir(fs, dir); err != nil {
			return nil, fmt.Errorf("sync %s: %w", dir, err)
		}
	}
	_ = syncDir(fs, fs.PathDir(dir.Path)) // may belong to somebody else; then it is not new either
	if err := probe(fs, fs.PathJoin(base, ".probe")); err != nil {
		return nil, err
	}
	lock, err := fs.Lock(fs.PathJoin(base, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w; is another server running on it?", fs.PathJoin(base, "LOCK"), err)
	}
	d.lock = lock
	return d, nil
}

// probe writes a file and reads it back.
func probe(fs vfs.FS, path string) error {
	want := bytes.Repeat([]byte("pegasus "), 512)
	if err := writeFile(fs, path, bytes.Clone(want)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := fs.Open(path)
	if err != nil {
		return fmt.Errorf("read back %s: %w", path, err)
	}
	got, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read back %s: %w", path, err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s does not read back what was written", path)
	}
	return fs.Remove(path)
}

func (ds *disks) close() {
	for _, d := range ds.all {
		_ = d.lock.Close()
	}
}

// measure updates the free space of a disk and whether it counts as full.
func (ds *disks) measure(d *disk) {
	usage, err := d.fs.GetDiskUsage(d.path)
	if err != nil || usage.TotalBytes == 0 {
		if err != nil && !errors.Is(err, vfs.ErrUnsupported) {
			ds.log.Warn("cannot tell the free space of a data dir", "tag", d.tag, "path", d.path, "err", err)
		}
		return
	}
	d.capacity.Store(int64(usage.TotalBytes))
	d.avail.Store(int64(usage.AvailBytes))
	was := idl.DiskStatus(d.status.Load())
	if was == idl.DiskStatusIoError {
		return // until the restart
	}
	now := idl.DiskStatusNormal
	if usage.AvailBytes*100 < usage.TotalBytes*uint64(max(ds.minAvailable, 0)) {
		now = idl.DiskStatusSpaceInsufficient
	}
	if was == now || !d.status.CompareAndSwap(int32(was), int32(now)) {
		return
	}
	if now == idl.DiskStatusNormal {
		ds.log.Info("data dir has space again", "tag", d.tag, "path", d.path, "available_bytes", usage.AvailBytes)
	} else {
		ds.log.Warn("data dir is nearly full: it takes no new replicas; free space or move replicas away",
			"tag", d.tag, "path", d.path, "available_bytes", usage.AvailBytes, "total_bytes", usage.TotalBytes)
	}
}

// fail marks a disk as broken for as long as the process runs.
func (ds *disks) fail(d *disk, err error) {
	if idl.DiskStatus(d.status.Swap(int32(idl.DiskStatusIoError))) != idl.DiskStatusIoError {
		ds.log.Error("data dir fails: it takes no new replicas; repair the disk, then restart the server",
			"tag", d.tag, "path", d.path, "err", err)
	}
}

func (d *disk) normal() bool { return idl.DiskStatus(d.status.Load()) == idl.DiskStatusNormal }

// hold books a replica that is on d already.
func (ds *disks) hold(d *disk, g idl.GPID) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d.held[g] = struct{}{}
}

// release takes back what hold or choose booked.
func (ds *disks) release(d *disk, g idl.GPID) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	delete(d.held, g)
}

// choose books a new replica on the disk with the fewest replicas of the table, among equal
// ones with the fewest replicas in all.
func (ds *disks) choose(g idl.GPID) (*disk, error) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	var best *disk
	var bestTable, bestAll int
	for _, d := range ds.all {
		if !d.normal() {
			continue
		}
		table := 0
		for h := range d.held {
			if h.AppID == g.AppID {
				table++
			}
		}
		if best == nil || table < bestTable || table == bestTable && len(d.held) < bestAll {
			best, bestTable, bestAll = d, table, len(d.held)
		}
	}
	if best == nil {
		return nil, fmt.Errorf("no data dir can take replica %s: all are full or broken; free space or add a disk", g)
	}
	best.held[g] = struct{}{}
	return best, nil
}

// onDisk returns the gpids booked on d.
func (ds *disks) onDisk(d *disk) []idl.GPID {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	out := make([]idl.GPID, 0, len(d.held))
	for g := range d.held {
		out = append(out, g)
	}
	return out
}

// noSpace reports whether an error means a full disk.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC)
}
