// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/command"
	"github.com/pegasus-ops/pegasus-ops/server/config"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/metrics"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// Remote commands run on a pool of their own.
const (
	commandWorkers = 8
	commandQueue   = 64
)

// A node is one running role instance: a port and everything behind it.
type node struct {
	*process
	app  config.App
	dir  string // <data_dir>/<name>
	addr idl.RPCAddress
	log  *slog.Logger

	ln       net.Listener
	wire     *wire.Server
	mux      *wire.Mux
	pages    *http.ServeMux
	peers    *wire.Peers
	commands *command.Registry
	metrics  *metrics.Registry

	role    role
	client  *client.Cluster // of the collector
	serving sync.WaitGroup
}

// A role is what the three kinds of servers have in common once started.
type role interface {
	Stop(ctx context.Context) error
}

// bind takes the port of an instance. Nothing is accepted yet.
func (p *process) bind(app config.App) (net.Listener, error) {
	address := listenAddress(p.self, app.Port)
	ln, err := net.Listen("tcp4", address)
	if err != nil {
		return nil, explainListen(app, address, err)
	}
	return ln, nil
}

// newNode prepares everything the role of an instance needs to start.
func (p *process) newNode(app config.App, ln net.Listener) *node {
	c := p.Config
	n := &node{
		process:  p,
		app:      app,
		dir:      filepath.Join(p.dataDir, app.Name),
		addr:     idl.MakeAddress(p.self.As4(), uint16(app.Port)),
		log:      p.logger,
		ln:       ln,
		mux:      wire.NewMux(),
		pages:    http.NewServeMux(),
		peers:    wire.NewPeers(wire.TCP),
		commands: command.New(),
	}
	if len(p.Apps) > 1 {
		n.log = p.logger.With("app", app.Name)
	}
	host, _ := os.Hostname() // a label of metrics, no more
	n.metrics = metrics.New(metrics.Identity{Cluster: c.Repl.ClusterName, Role: app.Role, Host: host, Port: app.Port})
	n.wire = &wire.Server{
		Mux:           n.mux,
		Self:          n.addr,
		HostPortsTHFT: c.Network.HostPortsTHFT,
		HostPortsRDSN: c.Network.HostPortsRDSN,
		ConnsPerIP:    c.Network.ConnsPerIP,
		Log:           n.log,
	}
	if c.HTTP.Enabled {
		n.wire.HTTP = n.handler()
	}
	n.registerMetrics()
	n.registerCommands()
	n.registerPages()
	return n
}

func explainListen(app config.App, address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("app %s cannot listen on %s, port %d is in use: see who holds it with\n  ss -ltnp 'sport = :%d'\nand stop that process, or set another port in [apps.%s] ports: %w",
			app.Name, address, app.Port, app.Port, app.Section, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("app %s cannot listen on %s: this machine does not have the address; correct [network] explicit_host_address: %w", app.Name, address, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("app %s cannot listen on %s: ports below 1024 need privileges; set another one in [apps.%s] ports: %w", app.Name, address, app.Section, err)
	}
	return fmt.Errorf("app %s cannot listen on %s: %w", app.Name, address, err)
}

// run starts the role after its delay and then accepts connections: until the role knows what it
// holds, its answers would send clients away for good, while a connection that waits does no
// harm. What ends the accepting, other than stop, is sent to failed, which must not block.
func (n *node) run(ctx context.Context, failed chan<- error) error {
	if n.app.Delay > 0 {
		n.log.Info("the role waits for its delay_seconds", "delay", n.app.Delay)
		select {
		case <-time.After(n.app.Delay):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	begin := time.Now()
	role, err := n.startRole(ctx)
	if err != nil {
		return err
	}
	n.role = role
	n.serving.Go(func() {
		if err := n.wire.Serve(n.ln); !errors.Is(err, wire.ErrClosed) {
			failed <- fmt.Errorf("app %s stopped listening: %w", n.app.Name, err)
		}
	})
	n.log.Info("the role has started", "role", n.app.Role, "node", n.addr, "took", time.Since(begin).Round(time.Millisecond))
	return nil
}

// stop ends the role, then the connections.
func (n *node) stop(ctx context.Context) error {
	var err error
	n.commands.Close()
	if n.client != nil {
		defer n.client.Close()
	}
	if n.role != nil {
		if err = n.role.Stop(ctx); err != nil {
			err = fmt.Errorf("stop app %s: %w", n.app.Name, err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.wire.Close()
		n.peers.Close()
		n.serving.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		err = errors.Join(err, fmt.Errorf("close the connections of app %s: %w", n.app.Name, context.Cause(ctx)))
	}
	n.log.Info("the role has stopped", "role", n.app.Role)
	return err
}

// waitOutGrace waits until the meta server has surely expelled the process before this one.
func (n *node) waitOutGrace(ctx context.Context) error {
	wait := n.Config.Repl.FDGrace + 3*time.Second
	n.log.Info("waiting for the meta server to expel the process before this one (delay_for_fd_timeout_on_start)", "wait", wait)
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
