// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"
	"net"
	"os"
	"path"
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/host"
	"github.com/pegasus-ops/pegasus-ops/ops/plan"
	"github.com/pegasus-ops/pegasus-ops/ops/supervise"
)

// Labels of the pid file: what the process was started from.
const (
	labelConfig  = "config"
	labelPackage = "package"
)

// service is a server as its supervisor knows it, and the supervisor.
func (e *Env) service(ctx context.Context, h host.Host, i *inventory.Instance) (supervise.Driver, supervise.Service, error) {
	s := supervise.Service{Daemon: Daemon(i), Unit: supervise.Unit(e.Cluster.Name, i),
		Title: fmt.Sprintf("%s server %s of cluster %s", i.Role, i.Address(), e.Cluster.Name)}
	e.drivers.mu.Lock()
	defer e.drivers.mu.Unlock()
	d := e.drivers.of[i.Host.Name]
	if d == nil {
		var err error
		if d, err = supervise.Choose(ctx, e.Cluster.Supervisor, i.Host, h); err != nil {
			return nil, s, err
		}
		if e.drivers.of == nil {
			e.drivers.of = map[string]supervise.Driver{}
		}
		e.drivers.of[i.Host.Name] = d
	}
	return d, s, nil
}

// Find looks for the process of a server on its host, which must be open; nil means that none
// runs.
func (e *Env) Find(ctx context.Context, i *inventory.Instance) (*host.Process, error) {
	h := e.Hosts[i.Host.Name]
	if h == nil {
		return nil, fmt.Errorf("no connection to host %s", i.Host.Name)
	}
	driver, d, err := e.service(ctx, h, i)
	if err != nil {
		return nil, err
	}
	return driver.Find(ctx, h, d)
}

// Daemon is how a server is started: in the folder bin of its package, with its
// rendered configuration, as the manual says -
//
//	cd <app dir>/current/bin
//	export LD_LIBRARY_PATH=$PWD:$LD_LIBRARY_PATH
//	./pegasus_server <app dir>/config.ini -app_list <role>
//
// The configuration stays outside of bin/, which servers of one package share.
func Daemon(i *inventory.Instance) host.Daemon {
	bin := path.Join(i.Current(), "bin")
	libraries := bin
	if more := os.Getenv("LD_LIBRARY_PATH"); more != "" && i.Host.Connection == inventory.ConnectionLocal {
		libraries += ":" + more
	}
	return host.Daemon{
		Name:    i.ID(),
		Dir:     bin,
		Args:    []string{"./pegasus_server", i.ConfigFile(), "-app_list", string(i.Role)},
		Env:     []string{"LD_LIBRARY_PATH=" + libraries, "PWD=" + bin},
		Output:  i.OutputFile(),
		PidFile: i.PidFile(),
	}
}

func startServer(ctx context.Context, e *Env, h host.Host, s plan.Step, say Say) (string, error) {
	driver, d, err := e.service(ctx, h, s.On)
	if err != nil {
		return "", err
	}
	if p, err := driver.Find(ctx, h, d); err != nil {
		return "", err
	} else if p != nil {
		return fmt.Sprintf("runs already, as process %d", p.PID), nil
	}
	config, err := host.ReadFile(ctx, h, s.On.ConfigFile())
	if err != nil {
		return "", err
	}
	target, err := h.ReadLink(ctx, s.On.Current())
	if err != nil {
		return "", err
	}
	d.Labels = map[string]string{labelConfig: plan.Hash(string(config)), labelPackage: path.Base(target)}
	if _, err := h.Mkdir(ctx, s.On.LogDir(), 0o755); err != nil {
		return "", err
	}
	say("start %s", s.On.ID())
	if s.On.Role == inventory.Replica {
		e.settling.begin(ctx, e, s.On.Address())
	}
	p, err := driver.Start(ctx, h, d, e.Times.Stop)
	if err != nil {
		return "", err
	}
	if err := waitListening(ctx, e, h, s.On, d.Daemon, say); err != nil {
		return "", err
	}
	e.started.note(s.On, p)
	return fmt.Sprintf("process %d", p.PID), nil
}

// waitListening waits until a server accepts connections, and fails at once
// with its last words when it dies instead.
func waitListening(ctx context.Context, e *Env, h host.Host, i *inventory.Instance, d host.Daemon, say Say) error {
	say("wait for %s to listen on %s", i.ID(), i.Address())
	dead := false
	err := poll(ctx, e.Times.Listen, 20*time.Millisecond, func(ctx context.Context) (bool, error) {
		// The process first: another one may listen on the port it could not get.
		p, err := h.Find(ctx, d)
		dead = err == nil && p == nil
		if dead || err != nil {
			return dead, err
		}
		return Listens(ctx, i.Address()), nil
	})
	if dead {
		return fmt.Errorf("%s ended right after its start%s", i.ID(), lastWords(ctx, h, i))
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s runs but does not listen on %s after %s%s", i.ID(), i.Address(), e.Times.Listen, lastWords(ctx, h, i))
	}
	return err
}

// lastWords is the end of what a server printed and where to read on.
func lastWords(ctx context.Context, h host.Host, i *inventory.Instance) string {
	var b strings.Builder
	files := []string{i.OutputFile(), path.Join(i.LogDir(), string(i.Role)+".log")}
	for _, f := range files {
		if text := host.Tail(ctx, h, f, 15); text != "" {
			lead := "The"
			if b.Len() == 0 {
				lead = ". The"
			}
			fmt.Fprintf(&b, "%s end of %s:\n  %s\n", lead, f, strings.ReplaceAll(text, "\n", "\n  "))
		}
	}
	if b.Len() == 0 {
		return fmt.Sprintf(" and printed nothing; look into %s on host %s", i.LogDir(), h.Name())
	}
	fmt.Fprintf(&b, "More is in %s on host %s; when it is mended, run the same command again", i.LogDir(), h.Name())
	return b.String()
}

// Listens says whether something accepts connections at an address.
func Listens(ctx context.Context, address string) bool {
	dialer := net.Dialer{Timeout: time.Second}
	c, err := dialer.DialContext(ctx, "tcp4", address)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func stopServer(ctx context.Context, e *Env, h host.Host, s plan.Step, say Say) (string, error) {
	say("stop %s", s.On.ID())
	e.started.forget(s.On)
	driver, d, err := e.service(ctx, h, s.On)
	if err != nil {
		return "", err
	}
	stopped, err := driver.Stop(ctx, h, d, e.Times.Stop)
	switch {
	case err != nil:
		return "", err
	case stopped.Was == nil:
		return "did not run", nil
	case stopped.Killed:
		return fmt.Sprintf("did not end within %s and was killed", e.Times.Stop), nil
	}
	return "", nil
}
