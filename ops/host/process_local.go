// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Start implements Host.
func (l *Local) Start(ctx context.Context, d Daemon) (Process, error) {
	p, err := startDaemon(ctx, l, d)
	return p, l.wrap("start "+d.Name, err)
}

// Find implements Host.
func (l *Local) Find(ctx context.Context, d Daemon) (*Process, error) {
	p, _, err := findDaemon(ctx, l, d)
	return p, l.wrap("look for "+d.Name, err)
}

// Stop implements Host.
func (l *Local) Stop(ctx context.Context, d Daemon, grace time.Duration) (Stopped, error) {
	s, err := stopDaemon(ctx, l, d, grace)
	return s, l.wrap("stop "+d.Name, err)
}

func (l *Local) look(_ context.Context, d Daemon) (sighting, error) {
	s := sighting{boot: l.boot}
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return s, err
	}
	s.booted = bootTime(b)
	s.pidFile, err = os.ReadFile(d.PidFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return s, err
	}
	if p, ok := decodePidFile(s.pidFile); ok {
		if st, err := readStat(p.pid); err == nil {
			bury(st)
			s.seen = append(s.seen, seenProcess{stat: st})
		}
	}
	if _, p := s.recorded(); p != nil {
		return s, nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return s, err
	}
	want := strings.Join(d.Args, "\x00") + "\x00"
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !strings.HasSuffix(string(line), want) {
			continue // gone meanwhile, or another's
		}
		if st, err := readStat(pid); err == nil {
			bury(st)
			s.seen = append(s.seen, seenProcess{st, string(line)})
		}
	}
	return s, nil
}

func (l *Local) spawn(ctx context.Context, d Daemon) (Process, error) {
	if err := os.Rename(d.Output, d.Output+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Process{}, err
	}
	out, err := os.OpenFile(d.Output, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return Process{}, err
	}
	defer out.Close()
	cmd := exec.Command(d.Args[0], d.Args[1:]...) // not CommandContext: it outlives us
	cmd.Dir = d.Dir
	cmd.Env = append(os.Environ(), d.Env...)
	cmd.Stdout, cmd.Stderr = out, out
	// A session of its own: no terminal, no Ctrl-C of ours.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return Process{}, err
	}
	pid := cmd.Process.Pid
	st, err := readStat(pid)
	if err == nil {
		record := pidFile{pid: pid, start: st.start, boot: l.boot, labels: d.Labels}
		err = l.put(context.WithoutCancel(ctx), d.PidFile, 0o644, bytes.NewReader(record.encode()))
	}
	if err != nil {
		// A process we could not find again must not stay.
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
		return Process{}, fmt.Errorf("record the process in %s: %w", d.PidFile, err)
	}
	_ = cmd.Process.Release() // from here on it is known by its pid file; see bury
	b, err := os.ReadFile("/proc/stat")
	return Process{PID: pid, Since: sighting{booted: bootTime(b)}.since(st.start), Labels: d.Labels}, err
}

func (l *Local) signal(_ context.Context, p processID, sig syscall.Signal) error {
	// On Linux this holds a pidfd, so that the number cannot be reused between
	// looking at the process and signalling it.
	handle, err := os.FindProcess(p.pid)
	if err != nil {
		return err
	}
	defer handle.Release()
	if now, err := readStat(p.pid); err != nil || now.start != p.start {
		return nil
	}
	if err := handle.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (l *Local) waitGone(ctx context.Context, p processID, limit time.Duration) (bool, error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := readStat(p.pid)
		if err != nil || now.start != p.start {
			return true, nil
		}
		if now.ended() && bury(now) {
			return true, nil
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-deadline.C:
			return false, nil
		case <-tick.C:
		}
	}
}

func (l *Local) forget(_ context.Context, pidFile string) error {
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	return nil
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

// bury takes our own ended children off the process table, for nobody waits for
// them. false means that the child has threads that have not ended yet.
func bury(s stat) bool {
	if !s.ended() || s.parent != os.Getpid() {
		return true
	}
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(s.pid, &status, syscall.WNOHANG, nil)
	return err != nil || pid == s.pid
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the id of the running boot: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
