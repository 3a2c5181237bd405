// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/host"
	"github.com/pegasus-ops/pegasus-ops/templates"
)

// root runs a script as root, with its arguments.
func root(ctx context.Context, h host.Host, title, text string, limit time.Duration, args ...string) (string, error) {
	res, err := h.Run(ctx, host.Command{Title: title, Args: append([]string{"sh", "-c", text, "pegasus-ops"}, args...), Sudo: true, Limit: limit})
	return strings.TrimSpace(string(res.Stdout)), err
}

// prepare writes what a supervisor needs on the host: the start script, and in a
// folder root may read from, the text for the supervisor.
func prepare(ctx context.Context, h host.Host, s Service, grace time.Duration, render func(templates.Unit) (string, error)) (text string, err error) {
	if running, err := h.Find(ctx, s.Daemon); err != nil {
		return "", err
	} else if running != nil {
		return "", fmt.Errorf("host %s: start %s: it runs already, as process %d", h.Name(), s.Name, running.PID)
	}
	run, err := s.Daemon.RunFile()
	if err != nil {
		return "", err
	}
	if err := h.Put(ctx, s.RunFile(), 0o755, strings.NewReader(run)); err != nil {
		return "", err
	}
	if err := h.Rename(ctx, s.Output, s.Output+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	// Made here, so that it belongs to the user and not to root.
	if err := h.Put(ctx, s.Output, 0o640, strings.NewReader("")); err != nil {
		return "", err
	}
	res, err := h.Run(ctx, host.Command{Args: []string{"id", "-un"}})
	if err != nil {
		return "", err
	}
	return render(templates.Unit{Unit: s.Unit, Name: s.Title, User: strings.TrimSpace(string(res.Stdout)), Run: s.RunFile(), Output: s.Output, Grace: grace})
}

// recorded waits until the service has recorded itself: it does so before it
// becomes the server, but a supervisor may return before that.
func recorded(ctx context.Context, h host.Host, s Service, why func() string) (host.Process, error) {
	const limit, every = 10 * time.Second, 50 * time.Millisecond
	deadline, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		p, err := h.Find(ctx, s.Daemon)
		if err != nil {
			return host.Process{}, err
		}
		if p != nil && p.Labels != nil {
			return *p, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return host.Process{}, context.Cause(ctx)
		case <-deadline.Done():
			return host.Process{}, fmt.Errorf("host %s: start %s: it does not run %s after its start: %s", h.Name(), s.Name, limit, why())
		}
	}
}

// stopped ends what is left of a service whose supervisor has stopped it: a
// process that was started otherwise, and the pid file.
func stopped(ctx context.Context, h host.Host, s Service, was *host.Process, killed bool, grace time.Duration) (host.Stopped, error) {
	rest, err := h.Stop(ctx, s.Daemon, grace)
	if rest.Was == nil {
		rest.Was, rest.Killed = was, killed && was != nil
	}
	return rest, err
}

// Systemd keeps services as units of the machine.
type Systemd struct{}

// Name implements Driver.
func (Systemd) Name() inventory.Supervisor { return inventory.SupervisorSystemd }

func unitFile(s Service) string { return "/etc/systemd/system/" + s.Unit + ".service" }

// writeUnit replaces a file of root's by the standard text, whole or not at all,
// and says whether it was another one.
const writeUnit = `file=$1 text=$2; umask 022
if [ "$(cat "$file" 2>/dev/null; echo .)" = "$text
." ]; then exit 0; fi
printf "%s\n" "$text" >"$file.tmp" && { sync "$file.tmp" 2>/dev/null || sync; } && mv -f "$file.tmp" "$file" || exit 1
echo changed`

// Start implements Driver.
func (Systemd) Start(ctx context.Context, h host.Host, s Service, grace time.Duration) (host.Process, error) {
	text, err := prepare(ctx, h, s, grace, templates.Unit.Systemd)
	if err != nil {
		return host.Process{}, err
	}
	const start = `u=$3; [ -d /run/systemd/system ] || { echo "systemd does not run here; write supervisor: daemon" >&2; exit 1; }
changed=$(` + writeUnit + `) || exit 1
[ -z "$changed" ] || systemctl daemon-reload || exit 1
systemctl enable -q "$u" 2>/dev/null
systemctl reset-failed "$u" 2>/dev/null
systemctl start "$u"`
	if _, err := root(ctx, h, "systemctl start "+s.Unit, start, 0, unitFile(s), strings.TrimSuffix(text, "\n"), s.Unit+".service"); err != nil {
		return host.Process{}, err
	}
	return recorded(ctx, h, s, func() string {
		out, _ := root(ctx, h, "systemctl status", `systemctl status --no-pager -n 5 "$1"; :`, 0, s.Unit+".service")
		return out
	})
}

// Find implements Driver.
func (Systemd) Find(ctx context.Context, h host.Host, s Service) (*host.Process, error) {
	return h.Find(ctx, s.Daemon)
}

// Stop implements Driver.
func (Systemd) Stop(ctx context.Context, h host.Host, s Service, grace time.Duration) (host.Stopped, error) {
	was, err := h.Find(ctx, s.Daemon)
	if err != nil {
		return host.Stopped{}, err
	}
	// Also when it does not run: systemd may be about to start it again. The grace
	// time of this stop may differ from the unit's.
	const stop = `u=$1 grace=$2; [ -e "$3" ] && [ -d /run/systemd/system ] || exit 0
systemctl disable -q "$u" 2>/dev/null
pid=$(systemctl show -p MainPID --value "$u")
systemctl stop --no-block "$u" || exit 1
n=$((grace*10+1))
while systemctl is-active -q "$u" || [ "$(systemctl show -p ActiveState --value "$u")" = deactivating ]; do
  sleep 0.1; n=$((n-1))
  if [ "$n" = 0 ]; then echo killed; systemctl kill -s KILL "$u"; fi
  [ "$n" -gt -100 ] || { echo "process $pid does not end" >&2; exit 1; }
done
[ "$(systemctl show -p Result --value "$u")" = timeout ] && echo killed
systemctl reset-failed "$u" 2>/dev/null; exit 0`
	out, err := root(ctx, h, "systemctl stop "+s.Unit, stop, grace+host.CommandLimit, s.Unit+".service", fmt.Sprint(int(grace.Seconds())), unitFile(s))
	if err != nil {
		return host.Stopped{Was: was}, err
	}
	return stopped(ctx, h, s, was, strings.HasPrefix(out, "killed"), grace)
}

// Remove implements Driver.
func (Systemd) Remove(ctx context.Context, h host.Host, s Service) error {
	if _, err := h.Lstat(ctx, unitFile(s)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, err := root(ctx, h, "remove "+unitFile(s), `systemctl disable -q --now "$2" 2>/dev/null; rm -f "$1" && systemctl daemon-reload`, 0, unitFile(s), s.Unit+".service")
	return err
}

// Supervisord keeps services as programs of a supervisord that runs already.
type Supervisord struct{}

// Name implements Driver.
func (Supervisord) Name() inventory.Supervisor { return inventory.SupervisorSupervisord }

func programFile(s Service) string { return "/etc/supervisor/conf.d/" + s.Unit + ".conf" }

// Start implements Driver.
func (Supervisord) Start(ctx context.Context, h host.Host, s Service, grace time.Duration) (host.Process, error) {
	text, err := prepare(ctx, h, s, grace, templates.Unit.Supervisord)
	if err != nil {
		return host.Process{}, err
	}
	const start = `u=$3; [ -d "${1%/*}" ] || { echo "there is no ${1%/*}: is supervisor installed?" >&2; exit 1; }
changed=$(` + writeUnit + `) || exit 1
out=$(supervisorctl update "$u" 2>&1) || { echo "$out" >&2; exit 1; }
supervisorctl status "$u" | grep -qE "RUNNING|STARTING" && exit 0
out=$(supervisorctl start "$u" 2>&1) && case $out in *ERROR*) echo "$out" >&2; exit 1;; esac`
	if _, err := root(ctx, h, "supervisorctl start "+s.Unit, start, 0, programFile(s), strings.TrimSuffix(text, "\n"), s.Unit); err != nil {
		return host.Process{}, err
	}
	return recorded(ctx, h, s, func() string {
		out, _ := root(ctx, h, "supervisorctl status", `supervisorctl status "$1"; :`, 0, s.Unit)
		return out
	})
}

// Find implements Driver.
func (Supervisord) Find(ctx context.Context, h host.Host, s Service) (*host.Process, error) {
	return h.Find(ctx, s.Daemon)
}

// Stop implements Driver. A stopped program is taken out of supervisord's
// configuration, or it would start with the machine.
func (d Supervisord) Stop(ctx context.Context, h host.Host, s Service, grace time.Duration) (host.Stopped, error) {
	was, err := h.Find(ctx, s.Daemon)
	if err != nil {
		return host.Stopped{}, err
	}
	const stop = `[ -e "$2" ] || exit 0
supervisorctl pid >/dev/null 2>&1 || { rm -f "$2"; exit 0; }
supervisorctl stop "$1" >/dev/null; rm -f "$2"; out=$(supervisorctl update "$1" 2>&1) || { echo "$out" >&2; exit 1; }`
	if _, err := root(ctx, h, "supervisorctl stop "+s.Unit, stop, grace+host.CommandLimit, s.Unit, programFile(s)); err != nil {
		return host.Stopped{Was: was}, err
	}
	return stopped(ctx, h, s, was, false, grace)
}

// Remove implements Driver.
func (d Supervisord) Remove(ctx context.Context, h host.Host, s Service) error {
	if _, err := h.Lstat(ctx, programFile(s)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, err := d.Stop(ctx, h, s, 10*time.Second)
	return err
}
