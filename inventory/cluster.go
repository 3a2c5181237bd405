// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"fmt"
	"net"
	"path"
	"strconv"
	"strings"
)

// Role is what a server process does; its value is what -app_list takes.
type Role string

// The three roles, in the order they are started.
const (
	Meta      Role = "meta"
	Replica   Role = "replica"
	Collector Role = "collector"
)

// Roles are all roles in start order.
func Roles() []Role { return []Role{Meta, Replica, Collector} }

// ParseRole understands a role as an operator types it: singular or plural,
// with or without -server.
func ParseRole(s string) (Role, error) {
	t := strings.ToLower(strings.TrimSpace(s))
	t = strings.TrimSuffix(t, "s")
	t = strings.TrimSuffix(strings.TrimSuffix(t, "-server"), "_server")
	for _, r := range Roles() {
		if t == string(r) {
			return r, nil
		}
	}
	return "", fmt.Errorf("role %q is none of meta, replica, collector", s)
}

// DefaultPort is the port the role listens on when the inventory names none.
func (r Role) DefaultPort() int {
	switch r {
	case Meta:
		return 34601
	case Replica:
		return 34801
	default:
		return 34101
	}
}

// Connection says how a host is reached.
type Connection string

// Hosts are reached over ssh unless they are this very machine.
const (
	ConnectionSSH   Connection = "ssh"
	ConnectionLocal Connection = "local"
)

// Supervisor says what keeps the server processes.
type Supervisor string

// What may stand behind the key supervisor. Auto takes systemd on ssh hosts where it
// runs; a local connection is always a plain daemon, for trying out Pegasus
// should not install units on somebody's machine.
const (
	SupervisorAuto        Supervisor = "auto"
	SupervisorSystemd     Supervisor = "systemd"
	SupervisorSupervisord Supervisor = "supervisord"
	SupervisorDaemon      Supervisor = "daemon"
)

// HostKeyPolicy says what to do with a host key that known_hosts does not list.
// A key that contradicts known_hosts is always refused.
type HostKeyPolicy string

// The host key policies.
const (
	HostKeyStrict    HostKeyPolicy = "strict"
	HostKeyAcceptNew HostKeyPolicy = "accept-new"
)

// Cluster is a whole inventory: valid, with defaults filled in.
type Cluster struct {
	Name       string
	File       string // where it was read from; "" when parsed from memory
	Package    string // a .tar.gz, a folder of them, or "": pack from this tree
	HomeDir    string
	AppDir     string
	Supervisor Supervisor
	ZooKeeper  *ZooKeeper // nil: the meta server keeps metadata itself

	Hosts    []*Host
	Metas    []*Instance
	Replicas []*Instance
	// Collectors may be empty.
	Collectors []*Instance

	Tables    []Table
	Config    Config            // cluster-wide settings over the template
	Variables map[string]string // further %{name}
	Template  string            // path of the operator's own template, or ""
}

// Config holds settings by section and key of config.ini.
type Config map[string]map[string]string

// SSH is how a host is logged in to. What is left open is as `ssh ADDRESS` has it:
// from ~/.ssh/config, else the defaults of ssh.
type SSH struct {
	User          string
	Port          int    // 0: left open
	IdentityFile  string // "": left open; the agent and the usual files are tried
	KnownHosts    string // "": left open
	HostKeyPolicy HostKeyPolicy
	Jump          string // [user@]host[:port], several with commas; "": left open
	Sudo          bool   // may become root, for folders outside of the user's and for units
}

// ZooKeeper is where a production cluster keeps metadata and its leader lock.
type ZooKeeper struct {
	Servers []string // host:port
	Root    string   // the cluster's node
}

// Host is a machine of the inventory.
type Host struct {
	Name       string
	Address    string // as written: an IPv4 address or a name
	IP         string // IPv4; filled by Resolve, equal to Address when that is one
	Connection Connection
	SSH        SSH
	Line       int
}

// machine identifies what shares a file system: all local hosts are one.
func (h *Host) machine() string {
	if h.Connection == ConnectionLocal {
		return "this machine"
	}
	return h.Address + ":" + strconv.Itoa(h.SSH.Port)
}

// DataDir is one disk of a replica server: its tag and its directory.
type DataDir struct {
	Tag  string
	Path string
	Line int
}

// Instance is one server process.
type Instance struct {
	Role     Role
	Index    int // position in its list of the inventory: Minos's task id
	Host     *Host
	Port     int
	DataDirs []DataDir // replica servers only; empty: everything below Dir
	SlogDir  string
	Config   Config // over the cluster's
	Dir      string // %{app.dir} of this instance
	Line     int
}

// Label is the instance's short name, unique on its machine: its folder.
func (i *Instance) Label() string { return path.Base(i.Dir) }

// ID names the instance in the whole cluster: role@host:port.
func (i *Instance) ID() string { return fmt.Sprintf("%s@%s:%d", i.Role, i.Host.Name, i.Port) }

// Address is ip:port, or name:port while the host is not resolved.
func (i *Instance) Address() string {
	ip := i.Host.IP
	if ip == "" {
		ip = i.Host.Address
	}
	return net.JoinHostPort(ip, strconv.Itoa(i.Port))
}

// ConfigFile is the rendered configuration of the instance.
func (i *Instance) ConfigFile() string { return path.Join(i.Dir, "config.ini") }

// LogDir is where the server writes its logs.
func (i *Instance) LogDir() string { return path.Join(i.Dir, "log") }

// PidFile says which process runs, since when and from what.
func (i *Instance) PidFile() string { return path.Join(i.Dir, "pid") }

// Current is the link to the package the instance runs.
func (i *Instance) Current() string { return path.Join(i.Dir, "current") }

// OutputFile captures what the server prints before and beside its log.
func (i *Instance) OutputFile() string { return path.Join(i.Dir, "log", string(i.Role)+".out") }

// Table is created at the first deploy if it is missing.
type Table struct {
	Name       string
	Partitions int
	Replicas   int
	Line       int
}

// Instances are all servers of the cluster in start order: metas, replica
// servers, collectors.
func (c *Cluster) Instances() []*Instance {
	all := make([]*Instance, 0, len(c.Metas)+len(c.Replicas)+len(c.Collectors))
	all = append(all, c.Metas...)
	all = append(all, c.Replicas...)
	return append(all, c.Collectors...)
}

// OfRole are the instances of one role.
func (c *Cluster) OfRole(r Role) []*Instance {
	switch r {
	case Meta:
		return c.Metas
	case Replica:
		return c.Replicas
	case Collector:
		return c.Collectors
	}
	return nil
}

// MetaAddresses is the list every client and server starts from.
func (c *Cluster) MetaAddresses() []string {
	list := make([]string, len(c.Metas))
	for i, m := range c.Metas {
		list[i] = m.Address()
	}
	return list
}

// PackagesDir is where unpacked server packages are kept on every host.
func (c *Cluster) PackagesDir() string { return path.Join(c.AppDir, "packages") }

// OnHost are the instances of one host, in start order.
func (c *Cluster) OnHost(h *Host) []*Instance {
	var list []*Instance
	for _, i := range c.Instances() {
		if i.Host == h {
			list = append(list, i)
		}
	}
	return list
}

// instanceDir applies the naming rule of the package comment.
func instanceDir(appDir string, r Role, port int) string {
	if port == r.DefaultPort() {
		return path.Join(appDir, string(r))
	}
	return path.Join(appDir, string(r)+"-"+strconv.Itoa(port))
}
