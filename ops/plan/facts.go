// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"time"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/cluster"
)

// Facts is what was found before planning.
type Facts struct {
	Hosts map[string]HostFacts // by the host's name
	// Cluster is nil when no meta leader answered; a cluster that does not run yet
	// has nothing to say.
	Cluster *cluster.Facts
}

// HostFacts is what was found on one host.
type HostFacts struct {
	Packages  map[string]time.Time     // complete packages by SHA-256, and since when they are there
	Dirs      map[string]DirFacts      // by path: every directory the inventory names
	Instances map[string]InstanceFacts // by Instance.ID
}

// DirFacts is what was found where a directory of the cluster is or should be.
type DirFacts struct {
	Exists  bool
	Empty   bool   // nothing in it but the marker
	IsFile  bool   // something else than a directory is there
	Owner   string // the cluster its marker names; "" without a marker
	Created string // topmost directory that was made for it; from the marker
}

// InstanceFacts is what was found of one server.
type InstanceFacts struct {
	Config  string // text of its config.ini, "" if there is none
	Package string // SHA-256 its link `current` points to, "" if there is none
	Process *ProcessFacts
	// PortTaken says that something listens on the server's port although the
	// server does not run.
	PortTaken bool
}

// ProcessFacts is a running server.
type ProcessFacts struct {
	PID   int
	Since time.Time
	// What it was started with, SHA-256; "" when that is not known because the
	// pid file was lost.
	Config, Package string
}

func (f Facts) of(i *inventory.Instance) InstanceFacts {
	return f.Hosts[i.Host.Name].Instances[i.ID()]
}

// Running says whether the server runs.
func (f Facts) Running(i *inventory.Instance) bool { return f.of(i).Process != nil }

// Dirs are all directories the cluster needs on a host, parents before their
// content.
func Dirs(c *inventory.Cluster, h *inventory.Host) []string {
	instances := c.OnHost(h)
	if len(instances) == 0 {
		return nil
	}
	dirs := []string{c.AppDir, c.PackagesDir()}
	for _, i := range instances {
		dirs = append(dirs, InstanceDirs(i)...)
	}
	return dirs
}

// InstanceDirs are the directories that belong to one server alone.
func InstanceDirs(i *inventory.Instance) []string {
	dirs := []string{i.Dir}
	for _, d := range i.DataDirs {
		dirs = append(dirs, d.Path)
	}
	if i.SlogDir != "" {
		dirs = append(dirs, i.SlogDir)
	}
	return dirs
}
