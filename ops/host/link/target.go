// SPDX-License-Identifier: Apache-2.0

package link

import (
	"net"
	"strconv"
	"strings"
	"time"
)

// Target is a machine and the way to it. A zero field means: what ~/.ssh/config
// says, and then ssh's own default; [Dialer.Resolve] fills them in.
type Target struct {
	Name       string   // for messages
	Address    string   // what one would give to ssh: a name, an address, an alias of ~/.ssh/config
	User       string   // of the other side
	Port       int      //
	Identities []string // private keys; if set, other keys of the agent are not tried
	KnownHosts []string // the first one takes new keys
	AcceptNew  bool     // record an unknown host's key instead of refusing it
	Jumps      []Jump   // from here to there
	Direct     bool     // no jump, whatever ~/.ssh/config says

	// Filled in by Resolve.
	Host       string // what is dialled: Address, or its HostName
	KeyAlias   string // the name in known_hosts, if it is not the dialled one
	Only       bool   // IdentitiesOnly
	Agent      string // socket of the agent; "" means none
	HashNames  bool   // HashKnownHosts
	connection time.Duration
}

// Jump is one machine on the way.
type Jump struct {
	User    string
	Address string
	Port    int // 0: as ~/.ssh/config says
}

// ParseJumps reads [user@]host[:port][,…], the form of ssh -J.
func ParseJumps(s string) ([]Jump, error) {
	var jumps []Jump
	for part := range strings.SplitSeq(s, ",") {
		var j Jump
		part = strings.TrimPrefix(strings.TrimSpace(part), "ssh://")
		if at := strings.LastIndexByte(part, '@'); at >= 0 {
			j.User, part = part[:at], part[at+1:]
		}
		j.Address = strings.Trim(part, "[]")
		if host, port, err := net.SplitHostPort(part); err == nil {
			n, err := strconv.Atoi(port)
			if err != nil || n < 1 || n > 65535 {
				return nil, &ConfigError{"jump host " + strconv.Quote(s) + ": " + strconv.Quote(port) + " is no port"}
			}
			j.Address, j.Port = host, n
		}
		if j.Address == "" {
			return nil, &ConfigError{"jump host " + strconv.Quote(s) + " is not of the form [user@]host[:port]"}
		}
		jumps = append(jumps, j)
	}
	return jumps, nil
}

// ConfigError is a setting that cannot be followed.
type ConfigError struct{ problem string }

func (e *ConfigError) Error() string { return e.problem }

// dial is host:port of a resolved target.
func (t Target) dial() string { return net.JoinHostPort(t.Host, strconv.Itoa(t.Port)) }

// known is the name of a resolved target in known_hosts.
func (t Target) known() string {
	if t.KeyAlias != "" {
		return net.JoinHostPort(t.KeyAlias, "22")
	}
	return t.dial()
}

// String is the target in messages.
func (t Target) String() string {
	at := t.Address
	if t.Host != "" {
		at = t.dial()
	}
	if t.User != "" {
		at = t.User + "@" + at
	}
	if t.Name == "" || t.Name == t.Address {
		return at
	}
	return t.Name + " (" + at + ")"
}
