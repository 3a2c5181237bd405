// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Options are what a parse needs to know about the operator's machine.
type Options struct {
	Home string // of the user; for ~ and $HOME
	Dir  string // what relative paths on the operator's machine start from
}

// Load reads and checks the inventory in file. Warnings are returned with a
// valid cluster; an invalid inventory is a [*Problems] error.
func Load(file string) (*Cluster, []Problem, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, nil, fmt.Errorf("inventory %s: %w", file, err)
	}
	data, err := os.ReadFile(abs)
	if err != nil {
		return nil, nil, &Problems{File: file, List: []Problem{{
			Message: "cannot read the inventory: " + errors.Unwrap(err).Error(),
			Fix:     "name an existing file, or write one with `pegasus-ops init`",
		}}}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	c, warnings, err := Parse(file, data, Options{Home: home, Dir: filepath.Dir(abs)})
	if c != nil {
		c.File = abs
	}
	return c, warnings, err
}

// Parse checks an inventory in memory. The name is used in messages only.
func Parse(name string, data []byte, o Options) (*Cluster, []Problem, error) {
	root, problem := document(data)
	if problem != nil {
		return nil, nil, &Problems{File: name, List: []Problem{*problem}}
	}
	d := &draft{
		reader:  reader{excused: map[string]bool{}},
		options: o,
		cluster: &Cluster{Supervisor: SupervisorAuto, Config: Config{}, Variables: map[string]string{}},
		ssh:     SSH{HostKeyPolicy: HostKeyStrict},
		hosts:   map[string]*Host{},
	}
	d.read(root)
	d.check()
	sortProblems(d.problems)
	sortProblems(d.warnings)
	if len(d.problems) > 0 {
		return nil, d.warnings, &Problems{File: name, List: d.problems}
	}
	return d.cluster, d.warnings, nil
}

var yamlLine = regexp.MustCompile(`line (\d+): (.*)`)

// document is the single mapping of the file, or what is wrong with its YAML.
func document(data []byte) (*yaml.Node, *Problem) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	err := decoder.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, &Problem{Message: "the inventory is empty", Fix: "start from `pegasus-ops init`"}
	}
	if err != nil {
		p := &Problem{Message: "is not YAML: " + strings.TrimPrefix(err.Error(), "yaml: "), Fix: "check indentation, colons and brackets around that line"}
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			p.Line, _ = strconv.Atoi(m[1])
			p.Message = "is not YAML: " + m[2]
		}
		return nil, p
	}
	var second yaml.Node
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, &Problem{Line: max(second.Line, 1), Message: "the file holds more than one YAML document", Fix: "keep one cluster a file"}
	}
	root := deref(doc.Content[0])
	if isNull(root) {
		return nil, &Problem{Message: "the inventory is empty", Fix: "start from `pegasus-ops init`"}
	}
	if root.Kind != yaml.MappingNode {
		return nil, &Problem{Line: root.Line, Message: "the inventory is not a mapping", Fix: "start from `pegasus-ops init`"}
	}
	return root, nil
}

// draft is an inventory while it is read: values as written, with the lines
// that checks across fields need for their messages.
type draft struct {
	reader
	options Options
	cluster *Cluster

	ssh      SSH
	hosts    map[string]*Host
	homeDir  written
	appDir   written
	slogDir  written
	dataDirs []DataDir
	name     written
	zkRoot   written
	servers  []written // zookeeper.servers
	template written
	pkg      written
	raw      []rawInstance
	hasHosts bool
}

// written is a text with the line it stands on; 0 means it does not.
type written struct {
	value string
	line  int
}

type rawInstance struct {
	*Instance
	host     written
	slogDir  written
	dataDirs []DataDir
	ownDirs  bool // data_dirs stands in the instance
	field    string
}

func (d *draft) setWritten(dst *written) func(n *yaml.Node, field string) {
	return func(n *yaml.Node, field string) {
		if s, ok := d.text(n, field); ok {
			*dst = written{s, n.Line}
		}
	}
}

func (d *draft) read(root *yaml.Node) {
	c := d.cluster
	servers := func(role Role, dst *[]*Instance) func(n *yaml.Node, field string) {
		return func(n *yaml.Node, field string) {
			d.list(n, field, func(item *yaml.Node, field string) {
				if i := d.readInstance(item, field, role); i != nil {
					i.Index = len(*dst)
					*dst = append(*dst, i)
				}
			})
		}
	}
	var hostsNode *yaml.Node
	d.mapping(root, "",
		key{"cluster", d.setWritten(&d.name)},
		key{"package", d.setWritten(&d.pkg)},
		key{"ssh", func(n *yaml.Node, field string) { d.readSSH(n, field, &d.ssh) }},
		key{"home_dir", func(n *yaml.Node, field string) {
			d.setWritten(&d.homeDir)(n, field)
			if n = deref(n); isNull(n) && n.Value == "~" {
				d.homeDir.value = "~" // YAML reads a lone ~ as nothing; nobody means that here
			}
		}},
		key{"app_dir", d.setWritten(&d.appDir)},
		key{"slog_dir", d.setWritten(&d.slogDir)},
		key{"data_dirs", func(n *yaml.Node, field string) { d.dataDirs = d.readDataDirs(n, field) }},
		key{"supervisor", setChoice(&d.reader, &c.Supervisor, SupervisorAuto, SupervisorSystemd, SupervisorSupervisord, SupervisorDaemon)},
		key{"zookeeper", d.readZooKeeper},
		// Hosts are read last: their ssh settings default to the cluster's, which
		// may stand further down.
		key{"hosts", func(n *yaml.Node, _ string) { hostsNode = n }},
		key{"meta_servers", servers(Meta, &c.Metas)},
		key{"replica_servers", servers(Replica, &c.Replicas)},
		key{"collectors", servers(Collector, &c.Collectors)},
		key{"tables", d.readTables},
		key{"config", func(n *yaml.Node, field string) { c.Config = d.readConfig(n, field) }},
		key{"variables", d.readVariables},
		key{"template", d.setWritten(&d.template)},
	)
	if hostsNode != nil {
		d.readHosts(hostsNode, "hosts")
	}
}

func (d *draft) readSSH(n *yaml.Node, field string, s *SSH) {
	d.mapping(n, field,
		key{"user", d.setText(&s.User)},
		key{"port", d.setInt(&s.Port, 1, 65535, "port")},
		key{"identity_file", d.setText(&s.IdentityFile)},
		key{"known_hosts", d.setText(&s.KnownHosts)},
		key{"host_key_policy", setChoice(&d.reader, &s.HostKeyPolicy, HostKeyStrict, HostKeyAcceptNew)},
		key{"jump", func(n *yaml.Node, field string) {
			if v, ok := d.text(n, field); ok {
				if v != "" && !jumpHost.MatchString(v) {
					d.fail(n.Line, field, strconv.Quote(v), "write it as [user@]host[:port]", "is no jump host")
				}
				s.Jump = v
			}
		}},
		key{"sudo", d.setBool(&s.Sudo)},
	)
}

func (d *draft) readDataDirs(n *yaml.Node, field string) []DataDir {
	var dirs []DataDir
	d.entries(n, field, func(k, v *yaml.Node) {
		at := join(field, k.Value)
		if !tagName.MatchString(k.Value) {
			d.fail(k.Line, at, "", "use letters, digits, _ and - only", "is no tag of a data directory")
		}
		if s, ok := d.text(v, at); ok {
			dirs = append(dirs, DataDir{Tag: k.Value, Path: s, Line: k.Line})
		}
	})
	return dirs
}

func (d *draft) readZooKeeper(n *yaml.Node, field string) {
	zk := &ZooKeeper{}
	var line int
	d.mapping(n, field,
		key{"servers", func(n *yaml.Node, field string) {
			line = n.Line
			d.list(n, field, func(item *yaml.Node, field string) {
				if s, ok := d.text(item, field); ok {
					d.servers = append(d.servers, written{s, item.Line})
					zk.Servers = append(zk.Servers, s)
				}
			})
		}},
		key{"root", d.setWritten(&d.zkRoot)},
	)
	if isNull(deref(n)) {
		return
	}
	if len(zk.Servers) == 0 {
		d.missing(max(line, n.Line), join(field, "servers"), "list them as host:port, or remove the whole zookeeper section for a single meta server")
	}
	d.cluster.ZooKeeper = zk
}

func (d *draft) readHosts(n *yaml.Node, field string) {
	d.entries(n, field, func(k, v *yaml.Node) {
		at := join(field, k.Value)
		if !hostName.MatchString(k.Value) {
			d.fail(k.Line, at, "", "use letters, digits, '.', '_' and '-', beginning with a letter or digit", "is no host name")
		}
		if _, err := strconv.Atoi(k.Value); err == nil {
			d.fail(k.Line, at, "", "give it a letter: plain numbers mean the index of a replica server on the command line", "is a number")
		}
		h := &Host{Name: k.Value, Address: k.Value, Connection: ConnectionSSH, SSH: d.ssh, Line: k.Line}
		d.mapping(v, at,
			key{"address", d.setText(&h.Address)},
			key{"connection", setChoice(&d.reader, &h.Connection, ConnectionSSH, ConnectionLocal)},
			key{"ssh", func(n *yaml.Node, field string) { d.readSSH(n, field, &h.SSH) }},
		)
		d.hosts[h.Name] = h
		d.cluster.Hosts = append(d.cluster.Hosts, h)
	})
	d.hasHosts = len(d.cluster.Hosts) > 0
}

func (d *draft) readInstance(n *yaml.Node, field string, role Role) *Instance {
	i := rawInstance{Instance: &Instance{Role: role, Port: role.DefaultPort(), Line: n.Line, Config: Config{}}, field: field}
	keys := []key{
		{"host", d.setWritten(&i.host)},
		{"port", d.setInt(&i.Port, 1, 65535, "port")},
		{"config", func(n *yaml.Node, field string) { i.Config = d.readConfig(n, field) }},
	}
	if role == Replica {
		keys = append(keys,
			key{"data_dirs", func(n *yaml.Node, field string) { i.dataDirs, i.ownDirs = d.readDataDirs(n, field), true }},
			key{"slog_dir", d.setWritten(&i.slogDir)},
		)
	}
	if isNull(n) {
		d.fail(n.Line, field, "", "write it as {host: …, port: …} or remove it", "is empty")
		return nil
	}
	d.mapping(n, field, keys...)
	if n.Kind != yaml.MappingNode {
		return nil
	}
	d.raw = append(d.raw, i)
	return i.Instance
}

func (d *draft) readTables(n *yaml.Node, field string) {
	d.list(n, field, func(item *yaml.Node, field string) {
		t := Table{Partitions: 8, Replicas: 3, Line: item.Line}
		if isNull(item) {
			d.fail(item.Line, field, "", "write it as {name: …, partitions: …, replicas: …} or remove it", "is empty")
			return
		}
		d.mapping(item, field,
			key{"name", d.setText(&t.Name)},
			key{"partitions", d.setInt(&t.Partitions, 1, 65536, "number of partitions")},
			key{"replicas", d.setInt(&t.Replicas, 1, 64, "number of replicas")},
		)
		if item.Kind == yaml.MappingNode {
			d.cluster.Tables = append(d.cluster.Tables, t)
		}
	})
}

func (d *draft) readConfig(n *yaml.Node, field string) Config {
	config := Config{}
	d.entries(n, field, func(k, v *yaml.Node) {
		section, at := k.Value, join(field, k.Value)
		if section == "" || strings.ContainsAny(section, "[]=#;\n%") || strings.TrimSpace(section) != section {
			d.fail(k.Line, at, "", "write it as it stands between the brackets in config.ini", "is no section name")
			return
		}
		config[section] = map[string]string{}
		d.entries(v, at, func(k, v *yaml.Node) {
			at := join(at, k.Value)
			if k.Value == "" || strings.ContainsAny(k.Value, "=[]#;\n%") || strings.TrimSpace(k.Value) != k.Value {
				d.fail(k.Line, at, "", "write it as it stands before the = in config.ini", "is no key name")
				return
			}
			if from := managed(section, k.Value); from != "" {
				d.fail(k.Line, at, shown(deref(v)), "change "+from+" instead", "is written by pegasus-ops itself")
				return
			}
			if s, ok := d.text(v, at); ok {
				config[section][k.Value] = s
			}
		})
	})
	return config
}

// managed names the inventory field a setting follows from, "" if it is free.
// Two sources for one setting would sooner or later disagree.
func managed(section, name string) string {
	switch section + "." + name {
	case "meta_server.server_list":
		return "meta_servers"
	case "zookeeper.hosts_list":
		return "zookeeper.servers"
	case "meta_server.cluster_root", "meta_server.distributed_lock_service_parameters":
		return "zookeeper.root"
	case "replication.data_dirs":
		return "data_dirs"
	case "replication.slog_dir":
		return "slog_dir"
	case "core.data_dir", "core.log_dir":
		return "app_dir"
	case "network.explicit_host_address":
		return "the address of the host"
	case "apps.meta.ports", "apps.replica.ports", "apps.collector.ports":
		return "the port of the server"
	}
	return ""
}

func (d *draft) readVariables(n *yaml.Node, field string) {
	d.entries(n, field, func(k, v *yaml.Node) {
		at := join(field, k.Value)
		if !variableName.MatchString(k.Value) {
			d.fail(k.Line, at, "", "use letters, digits, '.', '_' and '-'", "is no name of a placeholder")
			return
		}
		if slices.Contains(BuiltinVariables(), k.Value) {
			d.fail(k.Line, at, "", "remove it; its value comes from the other keys of the inventory", "is one of the built-in placeholders")
			return
		}
		if s, ok := d.text(v, at); ok {
			d.cluster.Variables[k.Value] = s
		}
	})
}

// BuiltinVariables are the placeholders whose values follow from the inventory.
func BuiltinVariables() []string {
	return []string{"cluster.name", "home.dir", "app.dir", "slog.dir", "data.dirs", "meta.server.list", "zk.server.list"}
}

var (
	clusterName  = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	hostName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	tagName      = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	tableName    = regexp.MustCompile(`^[A-Za-z0-9_.:-]+$`)
	variableName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	dnsName      = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.?$`)
	jumpHost     = regexp.MustCompile(`^([^@\s]+@)?[A-Za-z0-9][A-Za-z0-9_.-]*(:[0-9]{1,5})?(,([^@\s]+@)?[A-Za-z0-9][A-Za-z0-9_.-]*(:[0-9]{1,5})?)*$`)
	zkPath       = regexp.MustCompile(`^(/[A-Za-z0-9_.-]+)+$`)
)
