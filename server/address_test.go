// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/pegasus-ops/pegasus-ops/server/config"
)

func TestAddressIsChosen(t *testing.T) {
	ip := netip.MustParseAddr
	lo := iface{"lo", []netip.Addr{ip("127.0.0.1")}}
	public := iface{"eth0", []netip.Addr{ip("8.8.8.8")}}
	docker := iface{"docker0", []netip.Addr{ip("172.17.0.1")}}
	bridge := iface{"br0", []netip.Addr{ip("172.17.42.1")}}
	ten := iface{"eth1", []netip.Addr{ip("9.9.9.9"), ip("10.1.2.3")}}
	home := iface{"eth2", []netip.Addr{ip("192.168.0.7")}}
	mid := iface{"eth3", []netip.Addr{ip("172.31.0.1")}}
	resolve := func(_ context.Context, host string) (netip.Addr, error) {
		if host == "node1" {
			return ip("10.0.0.1"), nil
		}
		return netip.Addr{}, errors.New("no such host")
	}
	for _, tc := range []struct {
		name   string
		conf   config.Network
		ifaces []iface
		want   string
		err    string
	}{
		{name: "explicit name", conf: config.Network{ExplicitHost: "node1", PrimaryInterface: "eth2"}, ifaces: []iface{home}, want: "10.0.0.1"},
		{name: "explicit name that is unknown", conf: config.Network{ExplicitHost: "node2"}, ifaces: []iface{home}, err: "[network] explicit_host_address = node2 cannot be resolved"},
		{name: "interface", conf: config.Network{PrimaryInterface: "lo"}, ifaces: []iface{ten, lo}, want: "127.0.0.1"},
		{name: "interface that is not there", conf: config.Network{PrimaryInterface: "eth9"}, ifaces: []iface{lo, ten}, err: "[network] primary_interface = eth9 is not there, is down or has no IPv4 address; this machine has lo, eth1"},
		{name: "first site-local", ifaces: []iface{lo, public, docker, bridge, ten, home}, want: "10.1.2.3"},
		{name: "192.168", ifaces: []iface{home, ten}, want: "192.168.0.7"},
		{name: "172.16/12", ifaces: []iface{mid}, want: "172.31.0.1"},
		{name: "none", ifaces: []iface{lo, public, docker, bridge}, err: "set [network] explicit_host_address or primary_interface"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, _, err := chooseAddress(t.Context(), tc.conf, tc.ifaces, resolve)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("got %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil || got.String() != tc.want {
				t.Errorf("got %s, %v, want %s", got, err, tc.want)
			}
		})
	}
}

func TestLiteralsAreAddresses(t *testing.T) {
	for host, want := range map[string]string{"10.0.0.1": "10.0.0.1", "127.0.0.1": "127.0.0.1", "0.0.0.0": "", "::1": "", "::ffff:10.0.0.2": "10.0.0.2"} {
		got, err := resolveIPv4(t.Context(), host)
		if want == "" {
			if err == nil {
				t.Errorf("%s is accepted as %s", host, got)
			}
		} else if err != nil || got.String() != want {
			t.Errorf("%s: %s, %v", host, got, err)
		}
	}
}

func TestLoopbackStaysLocal(t *testing.T) {
	if got := listenAddress(netip.MustParseAddr("127.0.0.1"), 34601); got != "127.0.0.1:34601" {
		t.Error(got)
	}
	if got := listenAddress(netip.MustParseAddr("10.0.0.1"), 34601); got != "0.0.0.0:34601" {
		t.Error(got)
	}
}
