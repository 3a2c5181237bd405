// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A pid file is text: the number on the first line, as everybody expects, then
// key=value lines: start and boot tell the process from a later one with the
// same number, the rest are the labels.
type pidFile struct {
	pid    int
	start  uint64 // in clock ticks since boot, field 22 of /proc/<pid>/stat
	boot   string
	labels map[string]string
}

func (p pidFile) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d\nstart=%d\nboot=%s\n", p.pid, p.start, p.boot)
	for _, k := range slices.Sorted(maps.Keys(p.labels)) {
		fmt.Fprintf(&b, "%s=%s\n", k, p.labels[k])
	}
	return b.Bytes()
}

func decodePidFile(b []byte) (pidFile, bool) {
	first, rest, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		return pidFile{}, false
	}
	p := pidFile{pid: pid, labels: map[string]string{}}
	for line := range strings.Lines(rest) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		switch k {
		case "start":
			p.start, _ = strconv.ParseUint(v, 10, 64)
		case "boot":
			p.boot = v
		default:
			p.labels[k] = v
		}
	}
	return p, true
}

// Start implements Host.
func (l *Local) Start(ctx context.Context, d Daemon) (Process, error) {
	p, err := l.start(ctx, d)
	return p, l.wrap("start "+d.Name, err)
}

func (l *Local) start(ctx context.Context, d Daemon) (Process, error) {
	if running, err := l.find(d); err != nil {
		return Process{}, err
	} else if running != nil {
		return Process{}, fmt.Errorf("it runs already, as process %d", running.PID)
	}
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
	_ = cmd.Process.Release() // from here on it is known by its pid file; see gone
	return Process{PID: pid, Since: st.since(), Labels: d.Labels}, nil
}

// Find implements Host.
func (l *Local) Find(_ context.Context, d Daemon) (*Process, error) {
	p, err := l.find(d)
	return p, l.wrap("look for "+d.Name, err)
}

func (l *Local) find(d Daemon) (*Process, error) {
	b, err := os.ReadFile(d.PidFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return nil, err
	}
	if p, ok := decodePidFile(b); ok && p.boot == l.boot {
		if st, err := readStat(p.pid); err == nil && st.start == p.start && !gone(st) {
			return &Process{PID: p.pid, Since: st.since(), Labels: p.labels}, nil
		}
	}
	return findByArgs(d.Args)
}

// findByArgs finds a process by its command line. A script's interpreter may
// stand before the arguments.
func findByArgs(args []string) (*Process, error) {
	want := strings.Join(args, "\x00") + "\x00"
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !(string(line) == want || strings.HasSuffix(string(line), "\x00"+want)) {
			continue // gone meanwhile, or another's
		}
		if st, err := readStat(pid); err == nil && !gone(st) {
			return &Process{PID: pid, Since: st.since()}, nil
		}
	}
	return nil, nil
}

// Stop implements Host.
func (l *Local) Stop(ctx context.Context, d Daemon, grace time.Duration) (Stopped, error) {
	s, err := l.stop(ctx, d, grace)
	return s, l.wrap("stop "+d.Name, err)
}

// killWait is how long the kernel may take to end a killed process: it waits for
// a disk write in progress.
const killWait = 10 * time.Second

func (l *Local) stop(ctx context.Context, d Daemon, grace time.Duration) (Stopped, error) {
	p, err := l.find(d)
	if err != nil {
		return Stopped{}, err
	}
	if p == nil {
		return Stopped{}, removeIfThere(d.PidFile)
	}
	stopped := Stopped{Was: p}
	st, err := readStat(p.PID)
	if err == nil {
		// On Linux this holds a pidfd, so that the number cannot be reused between
		// looking at the process and signalling it.
		handle, err := os.FindProcess(p.PID)
		if err != nil {
			return stopped, err
		}
		defer handle.Release()
		if now, err := readStat(p.PID); err == nil && now.start == st.start {
			if stopped.Killed, err = end(ctx, handle, st, grace); err != nil {
				return stopped, err
			}
		}
	}
	return stopped, removeIfThere(d.PidFile)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	return nil
}

// end signals a process and waits until it is gone.
func end(ctx context.Context, handle *os.Process, st stat, grace time.Duration) (killed bool, err error) {
	if err := handle.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return false, err
	}
	if waitGone(ctx, st, grace) {
		return false, nil
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := handle.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return false, err
	}
	if waitGone(ctx, st, killWait) {
		return true, nil
	}
	return true, fmt.Errorf("process %d is still there %s after SIGKILL; it hangs in the kernel, look at its disk", st.pid, killWait)
}

func waitGone(ctx context.Context, was stat, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := readStat(was.pid)
		if err != nil || now.start != was.start || gone(now) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// stat is what matters of /proc/<pid>/stat.
type stat struct {
	pid, parent int
	state       byte
	start       uint64 // clock ticks since boot
}

// clockTick is the unit of stat.start: USER_HZ, 100 on every Linux port Go has.
const clockTick = 100

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	// The name, in parentheses, may hold anything; the numbers follow the last one.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return stat{}, fmt.Errorf("/proc/%d/stat is cut short", pid)
	}
	parent, err1 := strconv.Atoi(f[1])
	start, err2 := strconv.ParseUint(f[19], 10, 64)
	return stat{pid: pid, parent: parent, state: f[0][0], start: start}, errors.Join(err1, err2)
}

// gone says whether the process has ended. Our own children are buried here,
// for nobody waits for them.
func gone(s stat) bool {
	if s.state != 'Z' && s.state != 'X' {
		return false
	}
	if s.parent == os.Getpid() {
		var status syscall.WaitStatus
		_, _ = syscall.Wait4(s.pid, &status, syscall.WNOHANG, nil)
	}
	return true
}

func (s stat) since() time.Time {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "btime "); ok {
			boot, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			if err != nil {
				return time.Time{}
			}
			return time.Unix(boot, 0).Add(time.Duration(s.start) * time.Second / clockTick)
		}
	}
	return time.Time{}
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the id of the running boot: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
