// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/host"
	"github.com/pegasus-ops/pegasus-ops/ops/host/link"
)

// secrets say where passwords come from. They are never part of an inventory or a
// command line.
type secrets struct {
	askPass, askSudoPass bool
	passFD, sudoPassFD   int
}

// AddFlags declares the flags.
func (s *secrets) AddFlags(f *pflag.FlagSet) {
	f.BoolVar(&s.askPass, "ask-pass", false, "ask for the ssh password, one for all hosts")
	f.BoolVar(&s.askSudoPass, "ask-sudo-pass", false, "ask for the password of sudo, one for all hosts")
	f.IntVar(&s.passFD, "pass-fd", -1, "read the ssh password from this file descriptor, one line")
	f.IntVar(&s.sudoPassFD, "sudo-pass-fd", -1, "read the password of sudo from this file descriptor, one line")
}

func (s *secrets) problem() string {
	switch {
	case s.askPass && s.passFD >= 0:
		return "--ask-pass and --pass-fd exclude each other"
	case s.askSudoPass && s.sudoPassFD >= 0:
		return "--ask-sudo-pass and --sudo-pass-fd exclude each other"
	case s.passFD >= 0 && s.passFD == s.sudoPassFD:
		return "--pass-fd and --sudo-pass-fd name the same file descriptor; give each its own"
	}
	return ""
}

// source is how a password is come by when it is needed; nil: not at all.
func (a *App) source(ctx context.Context, ask bool, fd int, prompt string) func() (string, error) {
	switch {
	case ask:
		return func() (string, error) { return a.ui.Secret(ctx, prompt) }
	case fd >= 0:
		return func() (string, error) { return readSecret(fd) }
	}
	return nil
}

// secretLimit is more than any password.
const secretLimit = 4096

func readSecret(fd int) (string, error) {
	f := os.NewFile(uintptr(fd), fmt.Sprintf("file descriptor %d", fd))
	if f == nil {
		return "", fmt.Errorf("read a password: %d is no file descriptor", fd)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, secretLimit))
	if err != nil {
		return "", fmt.Errorf("read a password: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

// connections are those of one command: each host is connected to once.
type connections struct {
	mu     sync.Mutex
	opener *host.Opener
	open   map[string]host.Host // by name
}

func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.open {
		_ = h.Close()
	}
	c.open = nil
	if c.opener != nil {
		_ = c.opener.Close()
		c.opener = nil
	}
}

func (a *App) opener(ctx context.Context) *host.Opener {
	a.hosts.mu.Lock()
	defer a.hosts.mu.Unlock()
	if a.hosts.opener == nil {
		g := a.global.secrets
		o := link.Options{
			Password:     a.source(ctx, g.askPass, g.passFD, "ssh password: "),
			SudoPassword: a.source(ctx, g.askSudoPass, g.sudoPassFD, "sudo password: "),
		}
		if a.ui.CanAsk() {
			o.Ask = func(prompt string) (string, error) { return a.ui.Secret(ctx, prompt) }
		}
		a.hosts.opener = host.NewOpener(o)
	}
	return a.hosts.opener
}

// connect opens the hosts, --parallel of them at once. All failures are reported
// together.
func (a *App) connect(ctx context.Context, hosts []*inventory.Host) (map[string]host.Host, error) {
	opener := a.opener(ctx)
	result := map[string]host.Host{}
	failed := make([]error, len(hosts))
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(a.global.parallel)
	for n, h := range hosts {
		a.hosts.mu.Lock()
		have := a.hosts.open[h.Name]
		a.hosts.mu.Unlock()
		if have != nil {
			mu.Lock()
			result[h.Name] = have
			mu.Unlock()
			continue
		}
		g.Go(func() error {
			open, err := opener.Open(ctx, h)
			if err != nil {
				failed[n] = err
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			result[h.Name] = open
			return nil
		})
	}
	_ = g.Wait() // errors are in failed
	a.hosts.mu.Lock()
	defer a.hosts.mu.Unlock()
	if a.hosts.open == nil {
		a.hosts.open = map[string]host.Host{}
	}
	for name, h := range result {
		a.hosts.open[name] = h
	}
	return result, errors.Join(failed...)
}

// resolve finds the IPv4 addresses of hosts, by DNS or by what ~/.ssh/config
// has as the address of an alias.
func (a *App) resolve(ctx context.Context, c *inventory.Cluster) error {
	for _, h := range c.Hosts {
		if h.IP != "" || h.Connection == inventory.ConnectionLocal {
			continue
		}
		name, err := a.opener(ctx).HostName(h)
		if err != nil {
			return err
		}
		if ip, err := netip.ParseAddr(name); err == nil && ip.Is4() {
			h.IP = name
		}
	}
	return c.Resolve(ctx)
}
