// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

const (
	// blockTries is how often a block is asked for before the copy fails.
	blockTries = 3
	// blockPause is the first pause between two tries.
	blockPause = 200 * time.Millisecond
)

// A fileCopy brings the files of a directory of another server's replica here. It may be run
// again after a failure: what is complete is not copied again.
type fileCopy struct {
	peers    *wire.Peers
	from     idl.RPCAddress
	gpid     idl.GPID
	dir      string // there
	files    []idl.FileMeta
	fs       vfs.FS
	to       string // directory here
	block    int
	parallel int
	timeout  time.Duration   // of one block
	done     map[string]bool // names already complete in to

	progress func(bytes int)
}

// run copies and makes everything durable. It ends at the first file that cannot be had.
func (c *fileCopy) run(ctx context.Context) error {
	if err := c.fs.MkdirAll(c.to, 0o755); err != nil {
		return fmt.Errorf("create %s: %w", c.to, err)
	}
	for _, m := range c.files {
		if _, err := copyPath(c.dir, m.Name); err != nil {
			return fmt.Errorf("copy from %s: %w", c.from, err)
		}
		if c.done[m.Name] {
			continue
		}
		if err := c.file(ctx, m); err != nil {
			return err
		}
		c.done[m.Name] = true
	}
	return syncDir(c.fs, c.to)
}

// file copies one file, several blocks at a time.
func (c *fileCopy) file(ctx context.Context, m idl.FileMeta) (err error) {
	path := c.fs.PathJoin(c.to, m.Name)
	_ = c.fs.Remove(path) // of an earlier try; OpenReadWrite would keep its tail
	f, err := c.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()

	blocks := make(chan struct{}, 1) // File allows one WriteAt at a time
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(c.parallel, 1))
	for off := int64(0); off < m.Size && ctx.Err() == nil; off += int64(c.block) {
		g.Go(func() error {
			want := int32(min(int64(c.block), m.Size-off))
			b, err := c.fetch(ctx, m, off, want)
			if err != nil {
				return err
			}
			blocks <- struct{}{}
			defer func() { <-blocks }()
			if _, err := f.WriteAt(b, off); err != nil {
				return fmt.Errorf("write %s: %w", path, err)
			}
			c.progress(len(b))
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// fetch gets one block, trying again after passing trouble.
func (c *fileCopy) fetch(ctx context.Context, m idl.FileMeta, off int64, size int32) ([]byte, error) {
	pause := blockPause
	for try := 1; ; try++ {
		b, again, err := c.fetchOnce(ctx, m, off, size)
		if err == nil {
			return b, nil
		}
		if !again || try == blockTries {
			return nil, fmt.Errorf("copy %s/%s of replica %s at %d from %s: %w", c.dir, m.Name, c.gpid, off, c.from, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
		pause *= 2
	}
}

func (c *fileCopy) fetchOnce(ctx context.Context, m idl.FileMeta, off int64, size int32) (b []byte, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var resp idl.FileCopyResponse
	err = c.peers.Call(ctx, c.from, wire.Call{
		Name:   idl.RPCNfsCopy,
		GPID:   c.gpid,
		Arg:    &idl.FileCopyRequest{Pid: c.gpid, Dir: c.dir, Name: m.Name, Offset: off, Size: size},
		Result: &resp,
	})
	switch {
	case err != nil:
		return nil, true, err
	case !resp.Err.OK():
		return nil, resp.Err == idl.ErrBusy, resp.Err
	case resp.FileSize != m.Size || len(resp.Data) != int(size):
		return nil, false, fmt.Errorf("the file has %d bytes where %d were announced: %w", resp.FileSize, m.Size, idl.ErrInvalidData)
	case crc32.Checksum(resp.Data, castagnoli) != uint32(resp.Crc32c):
		return nil, true, fmt.Errorf("the block arrived damaged: %w", idl.ErrWrongChecksum)
	}
	return resp.Data, false, nil
}
