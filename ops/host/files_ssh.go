// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"

	"github.com/pkg/sftp"

	"github.com/pegasus-ops/pegasus-ops/ops/host/link"
)

// putLimit bounds Put, which is for configuration and other small files.
const putLimit = 64 << 20

// Put implements Host.
func (h *SSH) Put(ctx context.Context, name string, mode fs.FileMode, content io.Reader) error {
	// Read here: the transfer may go on after ctx has ended.
	b, err := io.ReadAll(io.LimitReader(reader{ctx, content}, putLimit+1))
	if err == nil && len(b) > putLimit {
		err = fmt.Errorf("it is larger than %d MiB", putLimit>>20)
	}
	if err != nil {
		return h.wrap("write "+name, err)
	}
	tmp := temporary(name)
	err = h.files(ctx, "write "+name, func(c *sftp.Client) error {
		err := putFile(c, tmp, name, mode, b)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			_ = c.Remove(tmp) // if it stays, it is in nobody's way
		}
		return err
	})
	return h.full(ctx, path.Dir(name), int64(len(b)), err)
}

// temporary is a name beside name that nobody else uses.
func temporary(name string) string {
	return path.Join(path.Dir(name), "."+path.Base(name)+".tmp-"+rand.Text()[:12])
}

func putFile(c *sftp.Client, tmp, name string, mode fs.FileMode, content []byte) error {
	f, err := c.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = f.ReadFrom(bytes.NewReader(content))
	if err = errors.Join(err, f.Chmod(mode.Perm()), syncFile(c, f), f.Close()); err != nil {
		return err
	}
	if err := c.PosixRename(tmp, name); err != nil {
		return err
	}
	return syncFolder(c, path.Dir(name))
}

// syncFile makes a file durable, where the server knows how; OpenSSH's does.
func syncFile(c *sftp.Client, f *sftp.File) error {
	if _, can := c.HasExtension("fsync@openssh.com"); !can {
		return nil
	}
	return f.Sync()
}

// syncFolder makes the names in a folder durable. OpenSSH opens folders as it
// opens files.
func syncFolder(c *sftp.Client, dir string) error {
	if _, can := c.HasExtension("fsync@openssh.com"); !can {
		return nil
	}
	f, err := c.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// FullError is a disk without room.
type FullError struct {
	Host, Dir string
	Disk      Disk
	Needed    int64 // 0: not known
	Err       error // what failed for want of it; nil: nothing was tried
}

func (e *FullError) Error() string {
	need := ""
	if e.Needed > 0 {
		need = fmt.Sprintf(" of the %d MiB that are needed", (e.Needed+1<<20-1)>>20)
	}
	msg := fmt.Sprintf("host %s: the disk of %s is full: %d MiB are free%s; make room there and run the command again", e.Host, e.Dir, e.Disk.Free>>20, need)
	if e.Err != nil {
		msg += " (" + e.Err.Error() + ")"
	}
	return msg
}
func (e *FullError) Unwrap() error { return e.Err }

// full finds out whether a full disk is behind an error that does not say so.
func (h *SSH) full(ctx context.Context, dir string, needed int64, err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || ctx.Err() != nil || h.conn.Err() != nil {
		return err
	}
	if d, failed := h.Disk(ctx, dir); failed == nil && d.Free < needed+4096 {
		return &FullError{Host: h.name, Dir: dir, Disk: d, Err: err}
	}
	return err
}

// Get implements Host.
func (h *SSH) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	f, err := files(ctx, h, "read "+name, func(c *sftp.Client) (*sftp.File, error) { return c.Open(name) })
	if err != nil {
		return nil, err
	}
	return &remoteFile{ctx, h, f}, nil
}

type remoteFile struct {
	ctx  context.Context
	host *SSH
	f    *sftp.File
}

// Read implements io.Reader.
func (r *remoteFile) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(r.ctx, link.FilesLimit)
	defer cancel()
	b, err := link.Await(ctx, r.host.conn, func() ([]byte, error) {
		b := make([]byte, min(len(p), 256<<10)) // not p: the caller may have left
		n, err := r.f.Read(b)
		if n > 0 {
			err = nil
		}
		return b[:n], err
	}, nil)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, r.host.wrap("read "+r.f.Name(), plainer(err))
	}
	return copy(p, b), err
}

// Close implements io.Closer.
func (r *remoteFile) Close() error {
	ctx, cancel := context.WithTimeout(r.ctx, link.FilesLimit)
	defer cancel()
	_, err := link.Await(ctx, r.host.conn, func() (nothing, error) { return nothing{}, r.f.Close() }, nil)
	return r.host.wrap("close "+r.f.Name(), err)
}

// Lstat implements Host.
func (h *SSH) Lstat(ctx context.Context, name string) (fs.FileInfo, error) {
	return files(ctx, h, "look at "+name, func(c *sftp.Client) (fs.FileInfo, error) { return c.Lstat(name) })
}

// List implements Host.
func (h *SSH) List(ctx context.Context, dir string) ([]string, error) {
	return files(ctx, h, "list "+dir, func(c *sftp.Client) ([]string, error) {
		entries, err := c.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		names := make([]string, len(entries))
		for n, e := range entries {
			names[n] = e.Name()
		}
		slices.Sort(names)
		return names, nil
	})
}

// Mkdir implements Host.
func (h *SSH) Mkdir(ctx context.Context, dir string, mode fs.FileMode) (string, error) {
	dir = path.Clean(dir)
	created, err := files(ctx, h, "make "+dir, func(c *sftp.Client) (string, error) { return makeFolders(c, dir, mode) })
	if err == nil || created == "" || !h.sudo || !errors.Is(err, fs.ErrPermission) {
		if err != nil {
			created = ""
		}
		return created, err
	}
	// Root makes it and gives what is new to the user.
	const asRoot = `umask 022; mode=$1 owner=$2 top=$3 dir=$4
mkdir -p -- "$dir" && chmod "$mode" "$dir" && chown -R "$owner" "$top" && sync`
	id, err := h.identity(ctx)
	if err != nil {
		return "", err
	}
	s := script("make "+dir+" as root", asRoot, strconv.FormatUint(uint64(mode.Perm()), 8), id.uid, created, dir)
	s.Sudo = true
	_, err = h.Run(ctx, s)
	return created, err
}

// makeFolders makes what is missing of a folder and its parents. created is the
// topmost missing one, also on error.
func makeFolders(c *sftp.Client, dir string, mode fs.FileMode) (created string, err error) {
	var missing []string // topmost last
	for d := dir; d != path.Dir(d); d = path.Dir(d) {
		st, err := c.Stat(d)
		if err == nil {
			if !st.IsDir() {
				return "", fmt.Errorf("%s is not a folder", d)
			}
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		missing, created = append(missing, d), d
	}
	for _, d := range slices.Backward(missing) {
		if err := c.Mkdir(d); err != nil {
			if st, again := c.Stat(d); again == nil && st.IsDir() {
				continue // somebody else was faster
			}
			return created, err
		}
		if err := c.Chmod(d, mode.Perm()); err != nil {
			return created, err
		}
	}
	if created == "" {
		return "", nil
	}
	return created, syncFolder(c, path.Dir(created))
}

// Link implements Host.
func (h *SSH) Link(ctx context.Context, target, name string) error {
	return h.files(ctx, "link "+name, func(c *sftp.Client) error {
		if st, err := c.Lstat(name); err == nil && st.Mode().Type() != fs.ModeSymlink {
			return errors.New("it exists and is no link; move it away")
		}
		tmp := temporary(name)
		if err := c.Symlink(target, tmp); err != nil {
			return err
		}
		if err := c.PosixRename(tmp, name); err != nil {
			return errors.Join(err, c.Remove(tmp))
		}
		return syncFolder(c, path.Dir(name))
	})
}

// ReadLink implements Host.
func (h *SSH) ReadLink(ctx context.Context, name string) (string, error) {
	return files(ctx, h, "look at "+name, func(c *sftp.Client) (string, error) { return c.ReadLink(name) })
}

// Rename implements Host.
func (h *SSH) Rename(ctx context.Context, from, to string) error {
	return h.files(ctx, "move "+from, func(c *sftp.Client) error {
		if err := c.PosixRename(from, to); err != nil {
			return err
		}
		return syncFolder(c, path.Dir(to))
	})
}

// Remove implements Host.
func (h *SSH) Remove(ctx context.Context, name string) error {
	err := h.files(ctx, "remove "+name, func(c *sftp.Client) error {
		st, err := c.Lstat(name)
		switch {
		case err != nil:
		case !st.IsDir():
			err = c.Remove(name)
		default:
			if err = c.RemoveDirectory(name); err == nil {
				break
			}
			if left, again := c.ReadDir(name); again == nil && len(left) > 0 {
				err = errors.New("the folder is not empty")
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err == nil || !h.sudo || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	// An empty folder of ours in one that is root's; rmdir takes nothing else.
	_, err = h.Run(ctx, Command{Args: []string{"rmdir", "--", name}, Sudo: true})
	return err
}

// Disk implements Host. For a path that does not exist yet it looks at the
// nearest folder above.
func (h *SSH) Disk(ctx context.Context, name string) (Disk, error) {
	return files(ctx, h, "size of the disk of "+name, func(c *sftp.Client) (Disk, error) {
		for p := path.Clean(name); ; p = path.Dir(p) {
			st, err := c.StatVFS(p)
			if err == nil {
				return Disk{Total: int64(st.Blocks * st.Frsize), Free: int64(st.Bavail * st.Frsize)}, nil
			}
			if !errors.Is(err, fs.ErrNotExist) || p == path.Dir(p) {
				return Disk{}, err
			}
		}
	})
}
