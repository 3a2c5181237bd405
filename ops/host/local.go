// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pegasus-ops/pegasus-ops/ops/pack"
)

// Local is this machine.
type Local struct {
	name string
	boot string // id of the running boot
}

// NewLocal is this machine under the given name.
func NewLocal(name string) (*Local, error) {
	boot, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	return &Local{name: name, boot: boot}, nil
}

// Name implements Host.
func (l *Local) Name() string { return l.name }

// Close implements Host.
func (l *Local) Close() error { return nil }

func (l *Local) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("host %s: %s: %w", l.name, doing, err)
}

// Run implements Host.
func (l *Local) Run(ctx context.Context, c Command) (Result, error) {
	if c.Sudo && os.Geteuid() != 0 {
		return Result{}, l.wrap("run `"+c.String()+"`", errors.New("it needs root; run pegasus-ops as root for that"))
	}
	return runLimited(ctx, l.name, c, func(ctx context.Context, stdout, stderr io.Writer) (int, error) {
		cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
		cmd.Dir, cmd.Stdin = c.Dir, c.Stdin
		cmd.Env = append(os.Environ(), c.Env...)
		cmd.Stdout, cmd.Stderr = stdout, stderr
		cmd.WaitDelay = time.Second // for grandchildren that keep the pipes open
		err := cmd.Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return 0, err
		}
		if st, ok := exit.Sys().(syscall.WaitStatus); ok && st.Signaled() {
			return 128 + int(st.Signal()), nil
		}
		return exit.ExitCode(), nil
	})
}

// Put implements Host.
func (l *Local) Put(ctx context.Context, path string, mode fs.FileMode, content io.Reader) error {
	return l.wrap("write "+path, l.put(ctx, path, mode, content))
}

func (l *Local) put(ctx context.Context, path string, mode fs.FileMode, content io.Reader) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	_, err = io.Copy(tmp, reader{ctx, content})
	if err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// reader stops a copy when its context ends.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get implements Host.
func (l *Local) Get(_ context.Context, path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, l.wrap("read", err)
	}
	return f, nil
}

// Lstat implements Host.
func (l *Local) Lstat(_ context.Context, path string) (fs.FileInfo, error) {
	st, err := os.Lstat(path)
	return st, l.wrap("look at", err)
}

// List implements Host.
func (l *Local) List(_ context.Context, dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, l.wrap("list", err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Mkdir implements Host.
func (l *Local) Mkdir(_ context.Context, dir string, mode fs.FileMode) (string, error) {
	created := ""
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Lstat(d); err == nil || d == filepath.Dir(d) {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", l.wrap("make "+dir, err)
		}
		created = d
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return "", l.wrap("make", err)
	}
	if created != "" {
		return created, l.wrap("make "+dir, syncDir(filepath.Dir(created)))
	}
	return "", nil
}

// Link implements Host.
func (l *Local) Link(_ context.Context, target, path string) error {
	if st, err := os.Lstat(path); err == nil && st.Mode().Type() != fs.ModeSymlink {
		return l.wrap("link "+path, errors.New("it exists and is no link; move it away"))
	}
	tmp := path + ".tmp-" + fmt.Sprint(os.Getpid())
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return l.wrap("link "+path, err)
	}
	if err := os.Symlink(target, tmp); err != nil {
		return l.wrap("link "+path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return l.wrap("link "+path, errors.Join(err, os.Remove(tmp)))
	}
	return l.wrap("link "+path, syncDir(filepath.Dir(path)))
}

// ReadLink implements Host.
func (l *Local) ReadLink(_ context.Context, path string) (string, error) {
	target, err := os.Readlink(path)
	return target, l.wrap("look at", err)
}

// Rename implements Host.
func (l *Local) Rename(_ context.Context, from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return l.wrap("move", err)
	}
	return l.wrap("move "+from, syncDir(filepath.Dir(to)))
}

// Remove implements Host.
func (l *Local) Remove(_ context.Context, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return l.wrap("remove", err)
	}
	return nil
}

// Unpack implements Host.
func (l *Local) Unpack(ctx context.Context, p Package) error {
	return l.wrap("install package", pack.Extract(ctx, p.Archive, p.Root, p.Dir))
}

// Disk implements Host. For a path that does not exist yet it looks at the
// nearest folder above.
func (l *Local) Disk(_ context.Context, path string) (Disk, error) {
	var st syscall.Statfs_t
	for p := filepath.Clean(path); ; p = filepath.Dir(p) {
		err := syscall.Statfs(p, &st)
		if err == nil {
			return Disk{Total: int64(st.Blocks) * st.Bsize, Free: int64(st.Bavail) * st.Bsize}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || p == filepath.Dir(p) {
			return Disk{}, l.wrap("size of the disk of "+path, err)
		}
	}
}
