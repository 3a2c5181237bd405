// SPDX-License-Identifier: Apache-2.0

package templates

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/inventory"
)

//go:embed config.ini
var bundled string

// Template is a config.ini with placeholders.
type Template struct {
	Name string // for messages: the file's name
	Text string
}

// Bundled is the template compiled into pegasus-ops.
func Bundled() Template { return Template{Name: "templates/config.ini", Text: bundled} }

// For is the template the cluster uses: the inventory's own, or the bundled one.
func For(c *inventory.Cluster) (Template, error) {
	if c.Template == "" {
		return Bundled(), nil
	}
	text, err := os.ReadFile(c.Template)
	if err != nil {
		return Template{}, fmt.Errorf("read the template of the inventory: %w; name an existing file or remove the key `template`", err)
	}
	return Template{Name: filepath.Base(c.Template), Text: string(text)}, nil
}

// Variables are the values of all placeholders for one instance.
func Variables(c *inventory.Cluster, i *inventory.Instance) map[string]string {
	v := maps.Clone(c.Variables)
	if v == nil {
		v = map[string]string{}
	}
	dirs := make([]string, len(i.DataDirs))
	for n, d := range i.DataDirs {
		dirs[n] = d.Tag + ":" + d.Path
	}
	v["cluster.name"] = c.Name
	v["home.dir"] = c.HomeDir
	v["app.dir"] = i.Dir
	v["slog.dir"] = i.SlogDir
	v["data.dirs"] = strings.Join(dirs, ",")
	v["meta.server.list"] = strings.Join(c.MetaAddresses(), ",")
	v["zk.server.list"] = ""
	if c.ZooKeeper != nil {
		v["zk.server.list"] = strings.Join(c.ZooKeeper.Servers, ",")
	}
	return v
}

// ForInstance is the config.ini of one server. All placeholders without a value
// are reported in one [*LeftoverError].
func (t Template) ForInstance(c *inventory.Cluster, i *inventory.Instance) (string, error) {
	values := Variables(c, i)
	text, err := Render(t.Name, t.Text, values)
	var left *LeftoverError
	if err != nil && !errors.As(err, &left) {
		return "", err
	}
	if left == nil {
		left = &LeftoverError{}
	}
	common := renderSettings("config", c.Config, values, left)
	own := renderSettings(i.ID()+" config", i.Config, values, left)
	if len(left.List) > 0 {
		return "", left
	}
	text = Overlay(text, derived(c, i, text))
	text = Overlay(text, common)
	return Overlay(text, own), nil
}

func renderSettings(field string, s inventory.Config, values map[string]string, left *LeftoverError) Settings {
	out := Settings{}
	for _, section := range slices.Sorted(maps.Keys(s)) {
		out[section] = map[string]string{}
		for _, key := range slices.Sorted(maps.Keys(s[section])) {
			out[section][key] = renderLine(field+"."+section+"."+key, s[section][key], values, &left.List)
		}
	}
	return out
}

// derived is what follows from the inventory and has no placeholder.
func derived(c *inventory.Cluster, i *inventory.Instance, text string) Settings {
	s := Settings{
		"apps." + string(i.Role): {"ports": strconv.Itoa(i.Port)},
		"network":                {"explicit_host_address": i.Host.IP},
	}
	if i.Host.IP == "" {
		s["network"]["explicit_host_address"] = i.Host.Address
	}
	if zk := c.ZooKeeper; zk == nil {
		// A path left as a parameter would be taken for a directory by the simple services.
		s["meta_server"] = map[string]string{
			"meta_state_service_type":             "meta_state_service_simple",
			"meta_state_service_parameters":       "",
			"distributed_lock_service_type":       "distributed_lock_service_simple",
			"distributed_lock_service_parameters": "",
		}
	} else if zk.Root != "/pegasus/"+c.Name {
		s["meta_server"] = map[string]string{
			"cluster_root":                        zk.Root,
			"distributed_lock_service_parameters": zk.Root + "/lock",
		}
	}
	if i.Role == inventory.Meta {
		unfreezable(c, text, s)
		defaultTables(c, text, s)
	}
	return s
}

// defaultTables gives the tables that a first start creates the sizes the
// inventory wants for them, so that deploy need not find them created wrong. One
// the inventory does not list gets no more replicas than there are servers: with
// more it would never become healthy.
func defaultTables(c *inventory.Cluster, text string, s Settings) {
	lines := strings.Split(text, "\n")
	for _, section := range sectionsOf(lines) {
		name, ok := strings.CutPrefix(section.name, "meta_server.apps.")
		if !ok || s[section.name] != nil {
			continue // of a section that stands twice the first one counts
		}
		if n := slices.IndexFunc(c.Tables, func(t inventory.Table) bool { return t.Name == name }); n >= 0 {
			s[section.name] = map[string]string{
				"partition_count":   strconv.Itoa(c.Tables[n].Partitions),
				"max_replica_count": strconv.Itoa(c.Tables[n].Replicas),
			}
		} else if servers := len(c.Replicas); servers > 0 && servers < numberOf(lines[section.first:section.end], "max_replica_count", 3) {
			s[section.name] = map[string]string{"max_replica_count": strconv.Itoa(servers)}
		}
	}
}

// unfreezable lets a cluster of few replica servers work when all are alive: the
// meta server would otherwise wait for more than there are.
func unfreezable(c *inventory.Cluster, text string, s Settings) {
	const name, key, unset = "meta_server", "min_live_node_count_for_unfreeze", 3
	lines := strings.Split(text, "\n")
	least := unset
	if n := slices.IndexFunc(sectionsOf(lines), func(s section) bool { return s.name == name }); n >= 0 {
		found := sectionsOf(lines)[n]
		least = numberOf(lines[found.first:found.end], key, unset)
	}
	if servers := len(c.Replicas); servers > 0 && servers < least {
		if s[name] == nil {
			s[name] = map[string]string{}
		}
		s[name][key] = strconv.Itoa(servers)
	}
}

// numberOf is the value of a key among the lines of a section.
func numberOf(lines []string, name string, unset int) int {
	for _, line := range lines {
		if key, ok := keyOf(line); ok && key == name {
			code, _ := splitComment(line)
			_, value, _ := strings.Cut(code, "=")
			if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
				return n
			}
			break
		}
	}
	return unset
}
