// SPDX-License-Identifier: Apache-2.0

package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Lock is the right to change a cluster from this machine. The kernel gives it
// back when the process ends, however it ends.
type Lock struct {
	file *os.File
	dir  string   // of the cluster
	made []string // folders made for the lock, deepest first
}

// HeldError says that another operation is at work on the cluster.
type HeldError struct {
	Cluster string
	Holder  string // who, what, since when; "" if it has not said so yet
}

func (e *HeldError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "another pegasus-ops"
	}
	return fmt.Sprintf("cluster %s is held by %s; wait until that is done and try again", e.Cluster, holder)
}

// Lock takes the cluster for a command, or fails at once with a [*HeldError].
func (h Home) Lock(name, command string) (*Lock, error) {
	l := &Lock{dir: h.cluster(name)}
	for try := 1; ; try++ {
		// What is there may be removed under us by its last holder, see Unlock.
		l.made = append(l.made, missing(l.dir)...)
		err := os.MkdirAll(l.dir, 0o755)
		if err != nil && (try >= lockTries || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist)) {
			return nil, fmt.Errorf("lock cluster %s: %w; set PEGASUS_OPS_HOME to a directory you may write to", name, err)
		}
		if err == nil {
			err = l.take(name)
		}
		if err == nil {
			break
		}
		if try >= lockTries || !errors.Is(err, errMoved) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	who := "somebody"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	text := fmt.Sprintf("`pegasus-ops %s` of %s, process %d, since %s\n", command, who, os.Getpid(), time.Now().Format(time.DateTime))
	// Written before it is cut: whoever reads meanwhile finds a holder.
	if err := errors.Join(writeAt(l.file, text), l.file.Truncate(int64(len(text)))); err != nil {
		_ = l.file.Close()
		return nil, fmt.Errorf("lock cluster %s: %w", name, err)
	}
	return l, nil
}

// lockTries bounds how often a lock may be removed while it is taken.
const lockTries = 100

// errMoved says that the lock file was removed between opening and locking it.
var errMoved = errors.New("the lock was removed meanwhile")

func (l *Lock) path() string { return filepath.Join(l.dir, "lock") }

func (l *Lock) take(name string) error {
	f, err := os.OpenFile(l.path(), os.O_CREATE|os.O_RDWR, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("lock cluster %s: %w", name, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("lock cluster %s: %w", name, err)
		}
		return &HeldError{Cluster: name, Holder: holder(f)}
	}
	mine, err := f.Stat()
	if err == nil {
		var there fs.FileInfo
		if there, err = os.Lstat(l.path()); err == nil && os.SameFile(mine, there) {
			l.file = f
			return nil
		}
	}
	_ = f.Close()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("lock cluster %s: %w", name, err)
	}
	return errMoved
}

// holder is what the holder of a lock wrote into it, or, from one that has not
// written yet or is no pegasus-ops, the process the kernel knows.
func holder(f *os.File) string {
	text := make([]byte, 500)
	n, _ := f.ReadAt(text, 0)
	if said := strings.TrimSpace(string(text[:n])); said != "" {
		return said
	}
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	inode, ok := st.Sys().(*syscall.Stat_t)
	locks, err := os.ReadFile("/proc/locks")
	if !ok || err != nil {
		return ""
	}
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF
		part := strings.Fields(line)
		if len(part) < 6 || part[1] != "FLOCK" || !strings.HasSuffix(part[5], fmt.Sprintf(":%d", inode.Ino)) {
			continue
		}
		what := "process " + part[4]
		if command, err := os.ReadFile(filepath.Join("/proc", part[4], "cmdline")); err == nil {
			what += fmt.Sprintf(" (`%s`)", strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " ")))
		}
		return what
	}
	return ""
}

// missing are the folders that do not exist on the way to dir, deepest first.
func missing(dir string) []string {
	var list []string
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); err == nil || dir == filepath.Dir(dir) {
			return list
		}
		list = append(list, dir)
	}
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// Unlock gives the cluster back. A command that left nothing, because it was
// refused, leaves no lock and no folder either.
func (l *Lock) Unlock() {
	_ = l.file.Truncate(0)
	if names, err := os.ReadDir(l.dir); err == nil && len(names) == 1 && names[0].Name() == "lock" {
		_ = os.Remove(l.path())
		_ = os.Remove(l.dir)
		for _, dir := range l.made {
			_ = os.Remove(dir) // unless it is used by now
		}
	}
	_ = l.file.Close()
}
