// SPDX-License-Identifier: Apache-2.0

package run

import (
	"errors"
	"fmt"
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
	dir := h.cluster(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("lock cluster %s: %w; set PEGASUS_OPS_HOME to a directory you may write to", name, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock cluster %s: %w", name, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock cluster %s: %w", name, err)
		}
		holder := make([]byte, 500)
		n, _ := f.ReadAt(holder, 0)
		return nil, &HeldError{Cluster: name, Holder: strings.TrimSpace(string(holder[:n]))}
	}
	who := "somebody"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	text := fmt.Sprintf("`pegasus-ops %s` of %s, process %d, since %s\n", command, who, os.Getpid(), time.Now().Format(time.DateTime))
	if err := errors.Join(f.Truncate(0), writeAt(f, text)); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock cluster %s: %w", name, err)
	}
	return &Lock{f}, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// Unlock gives the cluster back.
func (l *Lock) Unlock() {
	_ = l.file.Truncate(0)
	_ = l.file.Close()
}
