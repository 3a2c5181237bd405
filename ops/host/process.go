// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
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

// machine is what supervising daemons needs of a kind of host. The rules stand
// here once, for all kinds.
type machine interface {
	// look brings the pid file of d, and processes: the one the pid file names,
	// and, unless that is surely it, all that may be d by their command line.
	look(ctx context.Context, d Daemon) (sighting, error)
	// spawn starts d in a session of its own and records it in its pid file; what
	// cannot be recorded does not run.
	spawn(ctx context.Context, d Daemon) (Process, error)
	// signal signals a process, if it is still that one.
	signal(ctx context.Context, p processID, sig syscall.Signal) error
	// waitGone says whether the process has ended before the limit.
	waitGone(ctx context.Context, p processID, limit time.Duration) (bool, error)
	// forget removes a pid file.
	forget(ctx context.Context, pidFile string) error
}

// processID is a process, not just a number that may be used again.
type processID struct {
	pid   int
	start uint64
}

// sighting is what was seen of processes.
type sighting struct {
	boot    string // id of the running boot
	booted  time.Time
	pidFile []byte
	seen    []seenProcess
}

type seenProcess struct {
	stat
	args string // as in /proc/<pid>/cmdline: each with a NUL behind it
}

func (s sighting) since(start uint64) time.Time {
	if s.booted.IsZero() {
		return time.Time{}
	}
	return s.booted.Add(time.Duration(start) * time.Second / clockTick)
}

// recorded is the process the pid file names, if it is still that one.
func (s sighting) recorded() (pidFile, *seenProcess) {
	p, ok := decodePidFile(s.pidFile)
	if !ok || p.boot != s.boot {
		return p, nil
	}
	for n, c := range s.seen {
		if c.pid == p.pid && c.start == p.start && !c.ended() {
			return p, &s.seen[n]
		}
	}
	return p, nil
}

// find is the running process of d among what was seen.
func (s sighting) find(d Daemon) (*Process, processID) {
	if record, p := s.recorded(); p != nil {
		return &Process{PID: p.pid, Since: s.since(p.start), Labels: record.labels}, processID{p.pid, p.start}
	}
	// A script's interpreter may stand before the arguments.
	want := strings.Join(d.Args, "\x00") + "\x00"
	for _, c := range s.seen {
		if (c.args == want || strings.HasSuffix(c.args, "\x00"+want)) && !c.ended() {
			return &Process{PID: c.pid, Since: s.since(c.start)}, processID{c.pid, c.start}
		}
	}
	return nil, processID{}
}

func findDaemon(ctx context.Context, m machine, d Daemon) (*Process, processID, error) {
	s, err := m.look(ctx, d)
	if err != nil {
		return nil, processID{}, err
	}
	p, id := s.find(d)
	return p, id, nil
}

func startDaemon(ctx context.Context, m machine, d Daemon) (Process, error) {
	if running, _, err := findDaemon(ctx, m, d); err != nil {
		return Process{}, err
	} else if running != nil {
		return Process{}, fmt.Errorf("it runs already, as process %d", running.PID)
	}
	return m.spawn(ctx, d)
}

// killWait is how long the kernel may take to end a killed process: it waits for
// a disk write in progress.
const killWait = 10 * time.Second

func stopDaemon(ctx context.Context, m machine, d Daemon, grace time.Duration) (Stopped, error) {
	p, id, err := findDaemon(ctx, m, d)
	if err != nil {
		return Stopped{}, err
	}
	stopped := Stopped{Was: p}
	if p == nil {
		return stopped, m.forget(ctx, d.PidFile)
	}
	if err := m.signal(ctx, id, syscall.SIGTERM); err != nil {
		return stopped, err
	}
	gone, err := m.waitGone(ctx, id, grace)
	if err == nil && !gone {
		stopped.Killed = true
		if err = m.signal(ctx, id, syscall.SIGKILL); err == nil {
			gone, err = m.waitGone(ctx, id, killWait)
		}
	}
	switch {
	case err != nil:
		return stopped, err
	case !gone:
		return stopped, fmt.Errorf("process %d is still there %s after SIGKILL; it hangs in the kernel, look at its disk", id.pid, killWait)
	}
	return stopped, m.forget(ctx, d.PidFile)
}

// stat is what matters of /proc/<pid>/stat.
type stat struct {
	pid, parent int
	state       byte
	start       uint64 // clock ticks since boot
}

// clockTick is the unit of stat.start: USER_HZ, 100 on every Linux port Go has.
const clockTick = 100

// parseStat reads the text of /proc/<pid>/stat.
func parseStat(b []byte) (stat, error) {
	// The name, in parentheses, may hold anything; the numbers follow the last one.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return stat{}, fmt.Errorf("/proc/<pid>/stat is cut short: %q", b)
	}
	number, _, _ := strings.Cut(string(b), " ")
	pid, err0 := strconv.Atoi(number)
	parent, err1 := strconv.Atoi(f[1])
	start, err2 := strconv.ParseUint(f[19], 10, 64)
	return stat{pid: pid, parent: parent, state: f[0][0], start: start}, errors.Join(err0, err1, err2)
}

// ended says whether only the entry in the process table is left.
func (s stat) ended() bool { return s.state == 'Z' || s.state == 'X' }

// bootTime reads the text of /proc/stat.
func bootTime(b []byte) time.Time {
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "btime "); ok {
			if boot, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
				return time.Unix(boot, 0)
			}
		}
	}
	return time.Time{}
}
