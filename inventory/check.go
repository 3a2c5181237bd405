// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// check fills in what depends on several fields and finds contradictions
// between them.
func (d *draft) check() {
	d.checkName()
	d.checkHosts()
	d.linkInstances()
	d.checkZooKeeper()
	d.checkDirs()
	d.checkPorts()
	d.checkTables()
	d.localPaths()
	d.advise()
}

func (d *draft) checkName() {
	d.cluster.Name = d.name.value
	switch {
	case d.name.value == "":
		d.missing(d.name.line, "cluster", "give the cluster a name, for example `cluster: my_cluster`")
	case !clusterName.MatchString(d.name.value) || strings.Trim(d.name.value, ".-") == "" || d.name.value[0] == '-':
		d.fail(d.name.line, "cluster", strconv.Quote(d.name.value), "use letters, digits, '_', '.' and '-'", "is no cluster name")
	case len(d.name.value) > 100:
		d.fail(d.name.line, "cluster", strconv.Quote(d.name.value), "use at most 100 characters", "is too long")
	}
}

func (d *draft) checkHosts() {
	if !d.hasHosts {
		d.missing(0, "hosts", "list at least one, for example `hosts: {node1: {address: 10.0.0.1}}`")
	}
	byAddress := map[string]*Host{}
	for _, h := range d.cluster.Hosts {
		field := "hosts." + h.Name + ".address"
		ip, err := netip.ParseAddr(h.Address)
		switch {
		case err == nil && !ip.Is4():
			d.fail(h.Line, field, strconv.Quote(h.Address), "use its IPv4 address; the servers speak IPv4 only", "is no IPv4 address")
		case err == nil && (ip.IsUnspecified() || ip.IsMulticast() || h.Address == "255.255.255.255"):
			d.fail(h.Line, field, strconv.Quote(h.Address), "use the address other hosts reach it by", "is no address of a host")
		case err != nil && looksNumeric(h.Address):
			d.fail(h.Line, field, strconv.Quote(h.Address), "write it as 10.0.0.1", "is no IPv4 address")
		case err != nil && !dnsName.MatchString(h.Address):
			d.fail(h.Line, field, strconv.Quote(h.Address), "write an IPv4 address or a host name without a port", "is neither an address nor a host name")
		case err == nil:
			h.IP = h.Address
		}
		if ip.IsLoopback() && slices.ContainsFunc(d.cluster.Hosts, func(o *Host) bool { return o.Connection != ConnectionLocal && !isLoopback(o.Address) }) {
			d.fail(h.Line, field, strconv.Quote(h.Address), "use an address the other hosts reach it by", "is a loopback address in a cluster of several hosts")
		}
		if other := byAddress[h.Address]; other != nil && h.machine() == other.machine() {
			d.fail(h.Line, field, strconv.Quote(h.Address), "use one host entry for one machine", "is also the address of host %s (line %d)", other.Name, other.Line)
		} else {
			byAddress[h.Address] = h
		}
		h.SSH.IdentityFile = d.localPath(h.SSH.IdentityFile)
		h.SSH.KnownHosts = d.localPath(h.SSH.KnownHosts)
	}
}

func isLoopback(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && ip.IsLoopback()
}

func looksNumeric(s string) bool { return strings.Trim(s, "0123456789.") == "" && s != "" }

// linkInstances finds each server's host.
func (d *draft) linkInstances() {
	names := make([]string, len(d.cluster.Hosts))
	for i, h := range d.cluster.Hosts {
		names[i] = h.Name
	}
	for _, i := range d.raw {
		field := i.field + ".host"
		if i.host.value == "" {
			d.missing(i.Line, field, "name one of the hosts")
			continue
		}
		i.Host = d.hosts[i.host.value]
		if i.Host != nil {
			continue
		}
		fix := "add it to hosts"
		if s := closest(i.host.value, names); s != "" {
			fix = "did you mean " + s + "? Otherwise " + fix
		}
		d.fail(i.host.line, field, strconv.Quote(i.host.value), fix, "is not among the hosts")
	}
	for _, list := range []struct {
		field string
		n     int
	}{{"meta_servers", len(d.cluster.Metas)}, {"replica_servers", len(d.cluster.Replicas)}} {
		if list.n == 0 {
			d.missing(0, list.field, "list at least one as {host: …, port: …}")
		}
	}
}

func (d *draft) checkZooKeeper() {
	zk := d.cluster.ZooKeeper
	if zk == nil {
		if n := len(d.cluster.Metas); n > 1 {
			d.fail(d.cluster.Metas[1].Line, "meta_servers", strconv.Itoa(n)+" servers", "add `zookeeper: {servers: [host:port, …]}` or keep one meta server, which then stores the metadata itself",
				"more than one meta server needs ZooKeeper to elect a leader and to share metadata")
		}
		return
	}
	for i, s := range d.servers {
		host, port, err := net.SplitHostPort(s.value)
		p, perr := strconv.Atoi(port)
		if err != nil || perr != nil || p < 1 || p > 65535 || !dnsName.MatchString(host) {
			d.fail(s.line, fmt.Sprintf("zookeeper.servers[%d]", i), strconv.Quote(s.value), "write it as 10.0.0.1:2181", "is no host:port")
		}
		if slices.ContainsFunc(d.servers[:i], func(o written) bool { return o.value == s.value }) {
			d.fail(s.line, fmt.Sprintf("zookeeper.servers[%d]", i), strconv.Quote(s.value), "remove one of them", "stands twice")
		}
	}
	zk.Root = d.zkRoot.value
	if zk.Root == "" {
		zk.Root = "/pegasus/" + d.cluster.Name
	} else if !zkPath.MatchString(zk.Root) {
		d.fail(d.zkRoot.line, "zookeeper.root", strconv.Quote(zk.Root), "write it as /pegasus/"+d.cluster.Name, "is no path of a ZooKeeper node below /")
	}
}

func (d *draft) checkPorts() {
	type place struct {
		address string
		port    int
	}
	taken := map[place]rawInstance{}
	for _, i := range d.raw {
		if i.Host == nil {
			continue
		}
		at := place{i.Host.Address, i.Port}
		if other, ok := taken[at]; ok {
			d.fail(i.Line, i.field+".port", strconv.Itoa(i.Port), "give one of them another port", "is also the port of %s on host %s (line %d)", other.field, i.Host.Name, other.Line)
			continue
		}
		taken[at] = i
	}
}

func (d *draft) checkTables() {
	seen := map[string]Table{}
	for i, t := range d.cluster.Tables {
		field := fmt.Sprintf("tables[%d]", i)
		if t.Name == "" {
			d.missing(t.Line, field+".name", "give the table a name")
			continue
		}
		if !tableName.MatchString(t.Name) {
			d.fail(t.Line, field+".name", strconv.Quote(t.Name), "use letters, digits, '_', '.', ':' and '-'", "is no table name")
		}
		if other, ok := seen[t.Name]; ok {
			d.fail(t.Line, field+".name", strconv.Quote(t.Name), "remove one of them", "stands twice, first on line %d", other.Line)
		}
		seen[t.Name] = t
		if n := len(d.cluster.Replicas); n > 0 && t.Replicas > n {
			d.fail(t.Line, field+".replicas", strconv.Itoa(t.Replicas), fmt.Sprintf("use at most %d or add replica servers", n), "is more than there are replica servers")
		}
		if t.Partitions&(t.Partitions-1) != 0 {
			d.warn(t.Line, field+".partitions", strconv.Itoa(t.Partitions), "prefer one", "is not a power of two")
		}
	}
}

// localPaths expands the paths on the operator's machine.
func (d *draft) localPaths() {
	d.cluster.Package = d.localPath(d.pkg.value)
	d.cluster.Template = d.localPath(d.template.value)
}

// advise warns of what is legal and unwise in production.
func (d *draft) advise() {
	c := d.cluster
	allLocal := d.allLocal()
	if n := len(c.Metas); n == 1 && !allLocal {
		d.warn(c.Metas[0].Line, "meta_servers", "1 server", "use 2 or 3 on different hosts, with ZooKeeper", "nobody takes over when the only meta server fails")
	} else if n > 3 {
		d.warn(c.Metas[3].Line, "meta_servers", strconv.Itoa(n)+" servers", "use 2 or 3", "more than 3 meta servers add nothing: one leads, the others wait")
	}
	if n := len(c.Replicas); n > 0 && n < 3 {
		d.warn(c.Replicas[0].Line, "replica_servers", fmt.Sprintf("%d of 3", n), "use at least 3", "three copies of the data need three replica servers")
	}
	d.adviseFreeze()
	d.adviseDisks()
	used := map[*Host]bool{}
	for _, i := range d.raw {
		used[i.Host] = true
	}
	for _, h := range c.Hosts {
		if !used[h] {
			d.warn(h.Line, "hosts."+h.Name, "", "remove it or put a server on it", "no server runs on this host")
		}
	}
}

// adviseFreeze warns of a cluster that stops curing itself as soon as one replica
// server is lost, which is what the shipped value of 3 does to three servers.
func (d *draft) adviseFreeze() {
	const usual = 3
	c := d.cluster
	n := len(c.Replicas)
	least := min(usual, n) // what is rendered, see templates
	if set, err := strconv.Atoi(c.Config["meta_server"]["min_live_node_count_for_unfreeze"]); err == nil {
		least = set
	}
	if n > 1 && n <= least && c.Template == "" {
		d.warn(c.Replicas[0].Line, "replica_servers", fmt.Sprintf("%d servers", n),
			fmt.Sprintf("set config.meta_server.min_live_node_count_for_unfreeze to %d", n-1),
			"the meta server freezes the cluster with fewer than %d alive, so losing one server stops fail-over", least)
	}
}

func (d *draft) adviseDisks() {
	var first *Instance
	for _, i := range d.cluster.Replicas {
		if first == nil {
			first = i
			continue
		}
		if len(i.DataDirs) != len(first.DataDirs) {
			d.warn(i.Line, fmt.Sprintf("replica_servers[%d].data_dirs", i.Index), fmt.Sprintf("%d directories", len(i.DataDirs)),
				"give all replica servers the same number of disks", "replica_servers[0] has %d: load is balanced by replicas, not by disks", len(first.DataDirs))
		}
	}
}

func (d *draft) allLocal() bool {
	return !slices.ContainsFunc(d.cluster.Hosts, func(h *Host) bool { return h.Connection != ConnectionLocal })
}

// checkDirs expands the directories on hosts and refuses what would put two
// servers, or a server and the rest of the system, into one directory.
func (d *draft) checkDirs() {
	c := d.cluster
	c.HomeDir = d.hostPath(d.homeDir, "home_dir")
	if d.homeDir.value == "" {
		d.missing(d.homeDir.line, "home_dir", "name the home of the user that runs the servers, for example /home/work")
	}
	c.AppDir = path.Join(c.HomeDir, "app/pegasus")
	if d.appDir.value != "" {
		c.AppDir = d.hostPath(d.appDir, "app_dir")
	}
	d.checkWipeable(c.AppDir, d.appDir.line, "app_dir")
	shared := d.hostDataDirs(d.dataDirs, "data_dirs")
	slog := d.hostPath(d.slogDir, "slog_dir")
	d.checkWipeable(slog, d.slogDir.line, "slog_dir")

	for _, i := range d.raw {
		i.Dir = instanceDir(c.AppDir, i.Role, i.Port)
		if i.Role != Replica {
			continue
		}
		i.DataDirs, i.SlogDir = shared, slog
		if i.ownDirs {
			i.DataDirs = d.hostDataDirs(i.dataDirs, i.field+".data_dirs")
		}
		if i.slogDir.value != "" {
			i.SlogDir = d.hostPath(i.slogDir, i.field+".slog_dir")
			d.checkWipeable(i.SlogDir, i.slogDir.line, i.field+".slog_dir")
		}
	}
	d.checkSharing()
}

// claim is a directory something needs for itself.
type claim struct {
	dir, field string
	line       int
	owner      int // index into raw; -1 for the packages of the host
}

// checkSharing finds directories of one machine that are equal or nested.
func (d *draft) checkSharing() {
	claims := map[string][]claim{}
	for n, i := range d.raw {
		if i.Host == nil {
			continue
		}
		m := i.Host.machine()
		if _, ok := claims[m]; !ok && d.cluster.AppDir != "" {
			claims[m] = append(claims[m], claim{path.Join(d.cluster.AppDir, "packages"), "the packages folder of app_dir", d.appDir.line, -1})
		}
		own := []claim{{i.Dir, i.field + " (its folder in app_dir)", i.Line, n}}
		for _, dd := range i.DataDirs {
			line, field := dd.Line, "data_dirs."+dd.Tag
			if i.ownDirs {
				field = i.field + "." + field
			} else {
				line = i.Line
				field = i.field + " through " + field
			}
			own = append(own, claim{dd.Path, field, line, n})
		}
		if i.SlogDir != "" {
			own = append(own, claim{i.SlogDir, i.field + " slog_dir", i.Line, n})
		}
		for _, mine := range own {
			if mine.dir == "" {
				continue
			}
			if mine.dir == d.cluster.AppDir || within(d.cluster.AppDir, mine.dir) {
				d.fail(mine.line, mine.field, strconv.Quote(mine.dir), "use a folder beside or below app_dir", "contains app_dir")
				continue
			}
			for _, theirs := range claims[m] {
				// What is wrong between two servers' own folders is their port.
				if mine.dir == theirs.dir && strings.Contains(mine.field, "its folder") && strings.Contains(theirs.field, "its folder") &&
					d.raw[theirs.owner].Host.Address == i.Host.Address {
					continue
				}
				if mine.dir == theirs.dir {
					d.fail(mine.line, mine.field, strconv.Quote(mine.dir), "give each its own directory", "is also used by %s%s on host %s", theirs.field, onLine(theirs.line), i.Host.Name)
					break
				}
				if within(mine.dir, theirs.dir) || within(theirs.dir, mine.dir) {
					d.fail(mine.line, mine.field, strconv.Quote(mine.dir), "put them beside each other", "and %s (%s)%s lie inside each other on host %s", theirs.dir, theirs.field, onLine(theirs.line), i.Host.Name)
					break
				}
			}
		}
		claims[m] = append(claims[m], own...)
	}
}

func onLine(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (line %d)", n)
}

// within says whether p lies strictly inside dir.
func within(p, dir string) bool {
	return p != dir && strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
