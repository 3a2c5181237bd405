// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Start implements Host.
func (h *SSH) Start(ctx context.Context, d Daemon) (Process, error) {
	p, err := startDaemon(ctx, h, d)
	return p, h.wrap("start "+d.Name, err)
}

// Find implements Host.
func (h *SSH) Find(ctx context.Context, d Daemon) (*Process, error) {
	p, _, err := findDaemon(ctx, h, d)
	return p, h.wrap("look for "+d.Name, err)
}

// Stop implements Host.
func (h *SSH) Stop(ctx context.Context, d Daemon, grace time.Duration) (Stopped, error) {
	s, err := stopDaemon(ctx, h, d, grace)
	return s, h.wrap("stop "+d.Name, err)
}

// lookScript prints its findings as sections, each behind a line with an
// unguessable word: command lines may hold anything.
const lookScript = `mark=$1 pidfile=$2 key=$3
say() { printf '\n%s %s\n' "$mark" "$*"; }
process() { if st=$(cat "/proc/$1/stat" 2>/dev/null); then say process; printf '%s\n' "$st"; cat "/proc/$1/cmdline" 2>/dev/null; fi; }
say boot; cat /proc/sys/kernel/random/boot_id
say stat; grep '^btime ' /proc/stat
if [ -e "$pidfile" ]; then
  say pidfile; cat "$pidfile" || exit 1
  IFS= read -r pid <"$pidfile"
  case $pid in ''|*[!0-9]*) ;; *) process "$pid";; esac
fi
for f in $(grep -lsF -e "$key" /proc/[0-9]*/cmdline 2>/dev/null); do
  pid=${f#/proc/}; process "${pid%/cmdline}"
done
say end`

func (h *SSH) look(ctx context.Context, d Daemon) (sighting, error) {
	mark := rand.Text()
	res, err := h.Run(ctx, script("list processes", lookScript, mark, d.PidFile, searchKey(d.Args)))
	if err != nil {
		return sighting{}, err
	}
	return parseSighting(res.Stdout, mark)
}

// searchKey is what grep looks for: the longest line of an argument. What it
// finds is compared argument by argument afterwards.
func searchKey(args []string) string {
	key := ""
	for _, a := range args {
		for part := range strings.SplitSeq(a, "\n") {
			if len(part) > len(key) {
				key = part
			}
		}
	}
	return key
}

func parseSighting(out []byte, mark string) (sighting, error) {
	var s sighting
	ended := false
	for section := range bytes.SplitSeq(out, []byte("\n"+mark+" ")) {
		title, content, _ := bytes.Cut(section, []byte("\n"))
		switch string(title) {
		case "boot":
			s.boot = strings.TrimSpace(string(content))
		case "stat":
			s.booted = bootTime(content)
		case "pidfile":
			s.pidFile = content
		case "process":
			text, args, _ := bytes.Cut(content, []byte("\n"))
			if st, err := parseStat(text); err == nil {
				s.seen = append(s.seen, seenProcess{st, string(args)})
			}
		case "end":
			ended = true
		}
	}
	if s.boot == "" || !ended {
		return s, fmt.Errorf("list processes: the answer is cut short: %q", out[:min(len(out), 200)])
	}
	return s, nil
}

// spawnScript starts a program in a session of its own. The new process records
// itself before it becomes the program: what cannot be recorded never runs, and
// what runs is on record even if the connection breaks at this moment. Its
// standard output ends when it becomes the program; until then the script waits.
const spawnScript = `dir=$1 out=$2 pidfile=$3 labels=$4 n=$5; shift 5
while [ "$n" -gt 0 ]; do export "$1"; shift; n=$((n-1)); done
cd -- "$dir" || exit 1
case $1 in
*/*) [ -x "$1" ] || { echo "$dir: $1 does not exist or is not executable" >&2; exit 1; };;
*) command -v "$1" >/dev/null || { echo "$1 is not found" >&2; exit 1; };;
esac
command -v setsid >/dev/null || { echo "setsid is not installed (package util-linux)" >&2; exit 1; }
[ -d "${pidfile%/*}" ] || { echo "record the process: ${pidfile%/*} does not exist" >&2; exit 67; }
umask 027
if [ -e "$out" ]; then mv -f -- "$out" "$out.old" || exit 1; fi
: >>"$out" || exit 1
self='` + recordScript + `printf "%s %s\n" "$pid" "$start"
umask 022
ulimit -S -n "$(ulimit -H -n)" 2>/dev/null
exec "$@" >>"$out" 2>&1'
started=$(setsid sh -c "$self" pegasus-ops "$out" "$pidfile" "$labels" "$@" </dev/null &)
[ -n "$started" ] || { echo "it cannot be recorded in $pidfile and was not started" >&2; exit 1; }
printf '%s\n' "$started"; grep '^btime ' /proc/stat`

// noFolderStatus is how spawnScript says that the pid file's folder is missing.
const noFolderStatus = 67

func (h *SSH) spawn(ctx context.Context, d Daemon) (Process, error) {
	args := append([]string{d.Dir, d.Output, d.PidFile, d.labelLines(), strconv.Itoa(len(d.Env))}, d.Env...)
	res, err := h.Run(ctx, script(strings.Join(d.Args, " "), spawnScript, append(args, d.Args...)...))
	if status(err) == noFolderStatus {
		return Process{}, fmt.Errorf("%w (%w)", err, fs.ErrNotExist)
	}
	if err != nil {
		return Process{}, err
	}
	var pid int
	var start uint64
	if _, err := fmt.Sscan(string(res.Stdout), &pid, &start); err != nil {
		return Process{}, fmt.Errorf("it may run; the host says %q", res.Stdout)
	}
	return Process{PID: pid, Since: sighting{booted: bootTime(res.Stdout)}.since(start), Labels: d.Labels}, nil
}

// isScript ends with goneStatus unless the process is still that one.
const isScript = `set -f; pid=$1 start=$2 what=$3
is() { st=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1; set -- ${st##*) }; [ "${20}" = "$start" ] && [ "$1" != Z ] && [ "$1" != X ]; }
is || exit 64
`

const (
	goneStatus  = 64
	thereStatus = 66
)

func (h *SSH) signal(ctx context.Context, p processID, sig syscall.Signal) error {
	name := map[syscall.Signal]string{syscall.SIGTERM: "TERM", syscall.SIGKILL: "KILL"}[sig]
	_, err := h.Run(ctx, script(fmt.Sprintf("kill -%s %d", name, p.pid), isScript+`kill -s "$what" "$pid"`, strconv.Itoa(p.pid), fmt.Sprint(p.start), name))
	if status(err) == goneStatus {
		return nil
	}
	return err
}

// waitStep is how often a host looks whether a process has ended.
const waitStep = 50 * time.Millisecond

const waitScript = isScript + `while [ "$what" -gt 0 ]; do
  sleep 0.05 2>/dev/null || { sleep 1; what=$((what-19)); }
  what=$((what-1)); is || exit 64
done; exit 66`

func (h *SSH) waitGone(ctx context.Context, p processID, limit time.Duration) (bool, error) {
	steps := int((limit + waitStep - 1) / waitStep)
	c := script(fmt.Sprintf("wait for the end of process %d", p.pid), waitScript, strconv.Itoa(p.pid), fmt.Sprint(p.start), strconv.Itoa(steps))
	c.Limit = 3*limit + CommandLimit // a host under load counts slowly
	_, err := h.Run(ctx, c)
	switch status(err) {
	case goneStatus:
		return true, nil
	case thereStatus:
		return false, nil
	}
	return false, err
}

func (h *SSH) forget(ctx context.Context, pidFile string) error { return h.Remove(ctx, pidFile) }

// status is the exit status of a command, -1 if it did not get that far.
func status(err error) int {
	var failed *CommandError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &failed):
		return failed.Status
	}
	return -1
}
