// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// NodeError says that a NODE on the command line names no server, or several.
type NodeError struct {
	Node       string
	Candidates []*Instance
	Ambiguous  bool
}

func (e *NodeError) Error() string {
	names := make([]string, len(e.Candidates))
	for i, c := range e.Candidates {
		names[i] = fmt.Sprintf("  %s  (%s on host %s)", c.Address(), c.Role, c.Host.Name)
		if c.Role == Replica {
			names[i] = fmt.Sprintf("  %s  (replica %d on host %s)", c.Address(), c.Index, c.Host.Name)
		}
	}
	what := "matches no server"
	if e.Ambiguous {
		what = "matches more than one server"
	}
	return fmt.Sprintf("node %q %s; name one of these by address:port or index, or narrow it with --role:\n%s", e.Node, what, strings.Join(names, "\n"))
}

// Select picks the instances that commands with --role and --node work on, in
// start order. An empty role means every role, no nodes means all of them. A node
// is a host name, an address, address:port (the host's name serves as address
// too) or the index of a replica server; it must match exactly one server of
// the role, else the error is a [*NodeError].
func (c *Cluster) Select(role Role, nodes []string) ([]*Instance, error) {
	pool := c.Instances()
	if role != "" {
		pool = c.OfRole(role)
	}
	if len(nodes) == 0 {
		return pool, nil
	}
	chosen := map[*Instance]bool{}
	for _, node := range nodes {
		var hits []*Instance
		for _, i := range pool {
			if i.answersTo(node) {
				hits = append(hits, i)
			}
		}
		switch len(hits) {
		case 0:
			return nil, &NodeError{Node: node, Candidates: pool}
		case 1:
			chosen[hits[0]] = true
		default:
			return nil, &NodeError{Node: node, Candidates: hits, Ambiguous: true}
		}
	}
	var list []*Instance
	for _, i := range pool {
		if chosen[i] {
			list = append(list, i)
		}
	}
	return list, nil
}

func (i *Instance) answersTo(node string) bool {
	if index, err := strconv.Atoi(node); err == nil {
		return i.Role == Replica && i.Index == index
	}
	if host, port, err := net.SplitHostPort(node); err == nil {
		return port == strconv.Itoa(i.Port) && i.onHost(host)
	}
	return i.onHost(node)
}

func (i *Instance) onHost(name string) bool {
	return name == i.Host.Name || name == i.Host.Address || (i.Host.IP != "" && name == i.Host.IP)
}

// Resolve looks up the IPv4 address of every host, for the server lists in
// config.ini take addresses. All failures are reported at once.
func (c *Cluster) Resolve(ctx context.Context) error {
	var failed []error
	for _, h := range c.Hosts {
		if h.IP != "" {
			continue
		}
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", h.Address)
		if err != nil {
			failed = append(failed, fmt.Errorf("host %s: resolve %s: %w; write its IPv4 address as hosts.%s.address", h.Name, h.Address, err, h.Name))
			continue
		}
		h.IP = pick(ips)
		if h.IP == "" {
			failed = append(failed, fmt.Errorf("host %s: %s has no IPv4 address; write one as hosts.%s.address", h.Name, h.Address, h.Name))
		}
	}
	return errors.Join(failed...)
}

// pick takes the lowest address, so that two runs agree when a name has several.
func pick(ips []netip.Addr) string {
	var best netip.Addr
	for _, ip := range ips {
		ip = ip.Unmap()
		if ip.Is4() && (!best.IsValid() || ip.Less(best)) {
			best = ip
		}
	}
	if !best.IsValid() {
		return ""
	}
	return best.String()
}
