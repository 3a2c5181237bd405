// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/config"
)

// resolveTimeout bounds the name lookups of the start.
const resolveTimeout = 10 * time.Second

// An iface is a network interface with its IPv4 addresses.
type iface struct {
	name  string
	addrs []netip.Addr
}

// interfaces lists what the system has.
func interfaces() ([]iface, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the network interfaces: %w", err)
	}
	var out []iface
	for _, i := range list {
		f := iface{name: i.Name}
		addrs, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 {
			continue
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap().Is4() {
					f.addrs = append(f.addrs, ip.Unmap())
				}
			}
		}
		out = append(out, f)
	}
	return out, nil
}

// dockerBridge is docker's default bridge of old, which no other machine can reach.
var dockerBridge = netip.MustParseAddr("172.17.42.1")

// chooseAddress finds the IPv4 address this server announces to the others: the explicit one;
// else that of the named interface; else the first site-local one; else what the host's name
// stands for. The second result says how it was found.
func chooseAddress(ctx context.Context, n config.Network, ifaces []iface, resolve func(context.Context, string) (netip.Addr, error)) (netip.Addr, string, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	if n.ExplicitHost != "" {
		ip, err := resolve(ctx, n.ExplicitHost)
		if err != nil {
			return ip, "", fmt.Errorf("[network] explicit_host_address = %s cannot be resolved to an IPv4 address: %w", n.ExplicitHost, err)
		}
		return ip, "explicit_host_address", nil
	}
	if n.PrimaryInterface != "" {
		var names []string
		for _, f := range ifaces {
			names = append(names, f.name)
			if f.name == n.PrimaryInterface && len(f.addrs) > 0 {
				return f.addrs[0], "primary_interface", nil
			}
		}
		return netip.Addr{}, "", fmt.Errorf("[network] primary_interface = %s is not there, is down or has no IPv4 address; this machine has %s", n.PrimaryInterface, strings.Join(names, ", "))
	}
	for _, f := range ifaces {
		if strings.Contains(f.name, "docker") {
			continue
		}
		for _, ip := range f.addrs {
			if ip.IsPrivate() && ip != dockerBridge {
				return ip, "first site-local address, of " + f.name, nil
			}
		}
	}
	host, err := os.Hostname()
	if err == nil {
		var ip netip.Addr
		if ip, err = resolve(ctx, host); err == nil {
			return ip, "host name " + host, nil
		}
	}
	return netip.Addr{}, "", fmt.Errorf("no address for this server: no interface has a site-local IPv4 address and the host name gives none (%w); set [network] explicit_host_address or primary_interface", err)
}

// resolveIPv4 resolves a host name or a literal address.
func resolveIPv4(ctx context.Context, host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip = ip.Unmap(); !ip.Is4() || ip.IsUnspecified() {
			return ip, fmt.Errorf("%s is no usable IPv4 address", host)
		}
		return ip, nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return netip.Addr{}, err
	}
	if len(ips) == 0 {
		return netip.Addr{}, fmt.Errorf("%s has no IPv4 address", host)
	}
	return ips[0].Unmap(), nil
}

// listenAddress is where a node listens: everywhere, so that it is reached under any of the
// machine's addresses; but a server that announces a loopback address stays on it.
func listenAddress(self netip.Addr, port int) string {
	if self.IsLoopback() {
		return netip.AddrPortFrom(self, uint16(port)).String()
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)).String()
}
