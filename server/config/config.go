// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Config is a whole configuration file, checked. Its fields hold the values the process
// started with.
type Config struct {
	Core       Core
	Logger     Logger
	Network    Network
	HTTP       HTTP
	Meta       Meta
	Repl       Replication
	NFS        NFS
	ZooKeeper  ZooKeeper
	Server     Server
	Collector  Collector
	Security   Security
	Apps       []App             // [apps.*] in file order, without ..default and mimic
	Tables     []Table           // [meta_server.apps.*] in file order, then [replication.app]
	Clusters   map[string]string // [pegasus.clusters]: cluster name to meta list
	Warnings   []string          // oddities that do not keep the server from starting
	IgnoredSet []string          // "[section] key" of ignored keys the file sets to something of its own
	UnusedSet  []string          // the same for unused keys, whose author expects an effect

	file   *File
	keys   []*Key
	byName map[string]*Key // for HTTP, which knows no sections

	mu       sync.Mutex // guards Key.text after Load, and watchers
	watchers map[*Key][]func(any)
}

// An App is one role instance the file asks for, an [apps.*] section.
type App struct {
	Name      string // that of the section; with count > 1 "replica1", "replica2", ...
	Section   string // the section without "apps."
	Role      string // the type: "meta", "replica" or "collector"
	Arguments string
	Port      int
	Delay     time.Duration // wait before the role starts
	Run       bool          // start it when -app_list is not given
}

// A Table is created when the metadata store holds no table yet.
type Table struct {
	Name       string
	Type       string // "pegasus"
	Partitions int
	Replicas   int
	Stateful   bool
	Envs       map[string]string
}

// New returns the configuration of an empty file: every key at its default. No role is set up.
func New() *Config {
	c := &Config{
		Clusters: map[string]string{},
		file:     &File{byName: map[string]*Section{}},
		byName:   map[string]*Key{},
		watchers: map[*Key][]func(any){},
	}
	c.declareCore()
	c.declareMeta()
	c.declareReplication()
	c.declareServer()
	c.declareIgnored()
	c.markUnused()
	for _, k := range c.keys {
		if v, err := k.check(k.text); err != nil {
			panic(fmt.Sprintf("config: default of [%s] %s: %v", k.Section, k.Name, err))
		} else {
			k.store(v)
		}
		if c.byName[k.Name] == nil {
			c.byName[k.Name] = k
		}
	}
	return c
}

// Read loads the file at path; args are those of -cargs. When the error is an Errors, the
// operator can mend the file with it.
func Read(path string, args map[string]string) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration file: %w", err)
	}
	return Load(path, text, args)
}

// Load reads the text of a configuration file named name. On an error, an Errors, there is no
// Config.
func Load(name string, text []byte, args map[string]string) (*Config, error) {
	file, err := Parse(name, text, args)
	var errs Errors
	if err != nil {
		errs = err.(Errors)
	}
	c := New()
	c.file = file
	l := &loader{Config: c, errs: errs}
	l.loadKeys()
	l.loadApps()
	l.loadTables()
	l.loadClusters()
	l.checkNames()
	if len(l.errs) == 0 {
		l.checkGroups()
	}
	if err := l.errs.orNil(); err != nil {
		return nil, err
	}
	for _, w := range file.Warnings {
		c.Warnings = append(c.Warnings, w.Error())
	}
	return c, nil
}

// Key returns the declaration of a key, or nil. With an empty section the key is looked for in
// all of them, as HTTP does.
func (c *Config) Key(sectionName, name string) *Key {
	if sectionName == "" {
		return c.byName[name]
	}
	if i := slices.IndexFunc(c.keys, func(k *Key) bool { return k.Section == sectionName && k.Name == name }); i >= 0 {
		return c.keys[i]
	}
	return nil
}

// File returns the parsed file, for what has no field here.
func (c *Config) File() *File { return c.file }

// A loader fills a Config from its File and collects the mistakes.
type loader struct {
	*Config
	errs Errors
}

func (l *loader) fail(e *Entry, sectionName, key, format string, a ...any) {
	line := 0
	if e != nil {
		line = e.Line
	} else if s := l.file.Section(sectionName); s != nil {
		line = s.Line
	}
	l.errs = append(l.errs, &Error{File: l.file.Name, Line: line, Section: sectionName, Key: key, Msg: fmt.Sprintf(format, a...)})
}

func (l *loader) warn(line int, sectionName, key, format string, a ...any) {
	w := &Error{File: l.file.Name, Line: line, Section: sectionName, Key: key, Msg: fmt.Sprintf(format, a...)}
	l.Warnings = append(l.Warnings, w.Error())
}

func (l *loader) loadKeys() {
	for _, k := range l.keys {
		e := l.file.Section(k.Section).Entry(k.Name)
		if e == nil {
			continue
		}
		// An empty value where the key needs one means "not set": the templates write it so.
		if e.Value == "" && (k.needed || k.Type != String || k.choices != nil) {
			continue
		}
		v, err := k.check(e.Value)
		if err != nil {
			if k.Ignored {
				l.warn(e.Line, k.Section, k.Name, "%v; this server does not use the key", err)
				continue
			}
			l.fail(e, k.Section, k.Name, "%v", err)
			continue
		}
		k.text, k.line = e.Value, e.Line
		k.store(v)
		if !k.Ignored && !k.Unused {
			continue
		}
		if def, err := k.check(k.Default); err == nil && reflect.DeepEqual(v, def) {
			continue
		}
		if name := "[" + k.Section + "] " + k.Name; k.Unused && !routine[k.Name] {
			l.UnusedSet = append(l.UnusedSet, name)
		} else {
			l.IgnoredSet = append(l.IgnoredSet, name)
		}
	}
}

// value reads a key of a section that has no fixed name.
func value[T any](l *loader, sectionName, key string, def T, parse func(string) (T, error)) T {
	e := l.file.Lookup(sectionName, key)
	if e == nil || e.Value == "" {
		return def
	}
	v, err := parse(e.Value)
	if err != nil {
		l.fail(e, sectionName, key, "%q is not valid: want %v", e.Value, err)
		return def
	}
	return v
}

func intIn(lo, hi int) func(string) (int, error) {
	return func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < lo || n > hi {
			return 0, fmt.Errorf("an integer from %d to %d", lo, hi)
		}
		return n, nil
	}
}

func boolean(s string) (bool, error) {
	v, err := parseBool(s)
	if err != nil {
		return false, fmt.Errorf("true or false")
	}
	return v, nil
}

func text(s string) (string, error) { return s, nil }

// Roles are the values that type may have in an [apps.*] section.
var Roles = []string{"meta", "replica", "collector"}

func (l *loader) loadApps() {
	for _, s := range l.file.Sections {
		name, ok := strings.CutPrefix(s.Name, "apps.")
		if !ok || name == ".default" {
			continue
		}
		role := value(l, s.Name, "type", "", text)
		if role == "dsn.app.mimic" || name == "mimic" && role == "" {
			continue
		}
		if role == "" && slices.Contains(Roles, name) {
			role = name
		}
		if !slices.Contains(Roles, role) {
			l.fail(l.file.Lookup(s.Name, "type"), s.Name, "type", "%q is no role: want one of %s", role, strings.Join(Roles, ", "))
			continue
		}
		app := App{
			Name:      name,
			Section:   name,
			Role:      role,
			Arguments: value(l, s.Name, "arguments", "", text),
			Delay:     time.Duration(value(l, s.Name, "delay_seconds", 0, intIn(0, 86400))) * time.Second,
			Run:       value(l, s.Name, "run", true, boolean),
		}
		ports := value(l, s.Name, "ports", nil, parsePorts)
		count := value(l, s.Name, "count", 1, intIn(1, 64))
		if len(ports) == 0 {
			if l.file.Lookup(s.Name, "ports") == nil || value(l, s.Name, "ports", "", text) == "" {
				l.fail(l.file.Lookup(s.Name, "ports"), s.Name, "ports", "no port to listen on: set ports, usually %d", defaultPorts[role])
			}
			continue
		}
		if len(ports) > 1 {
			l.warn(l.file.Lookup(s.Name, "ports").Line, s.Name, "ports", "only the first port is used, RPC and HTTP share it")
		}
		for i := range count {
			a := app
			a.Port = ports[0] + i*len(ports)
			if count > 1 {
				a.Name = name + strconv.Itoa(i+1)
			}
			if a.Port > 65535 {
				l.fail(l.file.Lookup(s.Name, "count"), s.Name, "count", "instance %d would listen on port %d, beyond 65535", i+1, a.Port)
				break
			}
			l.Apps = append(l.Apps, a)
		}
	}
}

var defaultPorts = map[string]int{"meta": 34601, "replica": 34801, "collector": 34101}

func parsePorts(s string) ([]int, error) {
	var ports []int
	for _, item := range splitList(s) {
		n, err := strconv.Atoi(item)
		if err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("port numbers from 1 to 65535, separated by commas")
		}
		ports = append(ports, n)
	}
	return ports, nil
}

func (l *loader) loadTables() {
	seen := map[string]int{}
	for _, s := range l.file.Sections {
		if !strings.HasPrefix(s.Name, "meta_server.apps.") && s.Name != "replication.app" {
			continue
		}
		t := Table{
			Name:       value(l, s.Name, "app_name", "", text),
			Type:       value(l, s.Name, "app_type", "pegasus", text),
			Partitions: value(l, s.Name, "partition_count", 1, intIn(1, 1<<16)),
			Replicas:   value(l, s.Name, "max_replica_count", 3, intIn(1, 64)),
			Stateful:   value(l, s.Name, "stateful", true, boolean),
			Envs:       value(l, s.Name, "envs", map[string]string{}, parseEnvs),
		}
		if t.Name == "" {
			l.fail(s.Entry("app_name"), s.Name, "app_name", "the table needs a name")
			continue
		}
		if line := seen[t.Name]; line != 0 {
			l.fail(s.Entry("app_name"), s.Name, "app_name", "table %q is already listed on line %d", t.Name, line)
			continue
		}
		seen[t.Name] = s.Line
		l.Tables = append(l.Tables, t)
	}
}

func parseEnvs(s string) (map[string]string, error) {
	envs := map[string]string{}
	for _, item := range splitList(s) {
		k, v, ok := strings.Cut(item, "=")
		if k = strings.TrimSpace(k); !ok || k == "" {
			return nil, fmt.Errorf("k1=v1,k2=v2")
		}
		envs[k] = strings.TrimSpace(v)
	}
	return envs, nil
}

func (l *loader) loadClusters() {
	s := l.file.Section("pegasus.clusters")
	if s == nil {
		return
	}
	for _, e := range s.Keys {
		l.Clusters[e.Key] = e.Value
	}
}
