// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/host"
)

// Service is a server to keep running.
type Service struct {
	host.Daemon
	Unit  string // its name in the supervisor, unique on the host
	Title string // for people
}

// RunFile is where the script is kept that becomes the server.
func (s Service) RunFile() string { return path.Join(path.Dir(s.PidFile), "run") }

// Driver keeps servers running in one way. Its methods may be called again after
// any failure.
type Driver interface {
	Name() inventory.Supervisor
	// Start starts a service that does not run. grace is for later stops, by
	// whomever.
	Start(ctx context.Context, h host.Host, s Service, grace time.Duration) (host.Process, error)
	// Find looks for its process; nil means that none runs.
	Find(ctx context.Context, h host.Host, s Service) (*host.Process, error)
	// Stop ends it, with SIGKILL after the grace time, and sees to it that it is
	// not started again.
	Stop(ctx context.Context, h host.Host, s Service, grace time.Duration) (host.Stopped, error)
	// Remove makes the supervisor forget a stopped service.
	Remove(ctx context.Context, h host.Host, s Service) error
}

// Unit is the name of an instance's service on its host.
func Unit(cluster string, i *inventory.Instance) string {
	return strings.Join([]string{"pegasus", cluster, string(i.Role), fmt.Sprint(i.Port)}, "-")
}

// Choose is the driver the inventory asks for. auto takes systemd where it runs
// and may be used, on hosts reached over ssh; a machine of one's own gets daemons.
func Choose(ctx context.Context, want inventory.Supervisor, of *inventory.Host, h host.Host) (Driver, error) {
	switch want {
	case inventory.SupervisorDaemon:
		return Daemon{}, nil
	case inventory.SupervisorSystemd:
		return Systemd{}, nil
	case inventory.SupervisorSupervisord:
		return Supervisord{}, nil
	}
	if of.Connection == inventory.ConnectionLocal || !of.SSH.Sudo {
		return Daemon{}, nil
	}
	_, err := h.Run(ctx, host.Command{Args: []string{"test", "-d", "/run/systemd/system"}})
	var no *host.CommandError
	switch {
	case err == nil:
		return Systemd{}, nil
	case errors.As(err, &no):
		return Daemon{}, nil
	}
	return nil, err
}

// Daemon starts processes that run by themselves.
type Daemon struct{}

// Name implements Driver.
func (Daemon) Name() inventory.Supervisor { return inventory.SupervisorDaemon }

// Start implements Driver.
func (Daemon) Start(ctx context.Context, h host.Host, s Service, _ time.Duration) (host.Process, error) {
	return h.Start(ctx, s.Daemon)
}

// Find implements Driver.
func (Daemon) Find(ctx context.Context, h host.Host, s Service) (*host.Process, error) {
	return h.Find(ctx, s.Daemon)
}

// Stop implements Driver.
func (Daemon) Stop(ctx context.Context, h host.Host, s Service, grace time.Duration) (host.Stopped, error) {
	return h.Stop(ctx, s.Daemon, grace)
}

// Remove implements Driver.
func (Daemon) Remove(context.Context, host.Host, Service) error { return nil }
