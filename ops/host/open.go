// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/host/link"
)

// Opener connects to hosts of an inventory and holds what these connections
// share. Close it after the last host.
type Opener struct {
	dialer *link.Dialer
	wires  *wires
}

// NewOpener makes an opener. It touches neither network nor files yet.
func NewOpener(o link.Options) *Opener {
	return &Opener{dialer: link.NewDialer(o), wires: &wires{}}
}

// Open connects to a host of the inventory. Its errors are those of package link.
func (o *Opener) Open(ctx context.Context, h *inventory.Host) (Host, error) {
	if h.Connection == inventory.ConnectionLocal {
		return NewLocal(h.Name)
	}
	t, err := Target(h)
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", h.Name, err)
	}
	conn, err := o.dialer.Dial(ctx, t)
	if err != nil {
		return nil, err
	}
	return &SSH{name: h.Name, conn: conn, wires: o.wires, sudo: h.SSH.Sudo}, nil
}

// Close ends what the connections shared.
func (o *Opener) Close() error {
	o.wires.close()
	return o.dialer.Close()
}

// Target is how the inventory wants a host to be reached.
func Target(h *inventory.Host) (link.Target, error) {
	s := h.SSH
	t := link.Target{Name: h.Name, Address: h.Address, User: s.User, Port: s.Port, AcceptNew: s.HostKeyPolicy == inventory.HostKeyAcceptNew}
	if s.IdentityFile != "" {
		t.Identities = []string{s.IdentityFile}
	}
	if s.KnownHosts != "" {
		t.KnownHosts = []string{s.KnownHosts}
	}
	if s.Jump != "" {
		var err error
		if t.Jumps, err = link.ParseJumps(s.Jump); err != nil {
			return t, err
		}
	}
	return t, nil
}

// HostName is what the host's address means to ssh: another name or an address if
// ~/.ssh/config has it as an alias, else the address itself.
func (o *Opener) HostName(h *inventory.Host) (string, error) {
	t, err := Target(h)
	if err == nil {
		t, err = o.dialer.Resolve(t)
	}
	if err != nil {
		return "", fmt.Errorf("host %s: %w", h.Name, err)
	}
	return t.Host, nil
}
