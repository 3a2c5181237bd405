// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/inventory"
)

// CleanOptions narrow what Clean removes.
type CleanOptions struct {
	Role     inventory.Role // only servers of this role; "" means all, with the packages
	KeepLogs bool
}

// Clean plans to stop servers and to remove their directories. Whatever lacks
// our marker and is not empty refuses the whole plan: it is better to remove
// nothing than half.
func Clean(c *inventory.Cluster, f Facts, o CleanOptions) (*Plan, error) {
	p := newPlan(c, "clean")
	refused := &Refusal{}
	chosen := c.Instances()
	if o.Role != "" {
		chosen = c.OfRole(o.Role)
	}
	var lanes, parents []Lane
	for _, h := range c.Hosts {
		host := f.Hosts[h.Name]
		var lane Lane
		var empty []string
		remove := func(dir string, keep ...string) {
			facts := host.Dirs[dir]
			switch {
			case !facts.Exists:
				return
			case facts.IsFile:
				refused.add("host %s: %s is not a directory, so it is not what deploy made; move it away", h.Name, dir)
				return
			case facts.Owner == "" && facts.Empty:
				return
			case facts.Owner == "" && dir == c.AppDir:
				return // nothing below it is ours either, or that was refused
			case facts.Owner == "":
				refused.add("host %s: %s has no %s marker: deploy did not make it, and clean removes nothing it did not make; look at it and remove it by hand, or write %q into %s/%s",
					h.Name, dir, MarkerName, c.Name, dir, MarkerName)
				return
			case facts.Owner != c.Name:
				refused.add("host %s: %s belongs to cluster %s, not to %s", h.Name, dir, facts.Owner, c.Name)
				return
			}
			kind := RemoveDir
			if dir == c.AppDir {
				kind = ReleaseDir // other things may live in it
			}
			lane = append(lane, Step{Kind: kind, Host: h.Name, Path: dir, Keep: keep, Reason: "it carries the marker of " + c.Name})
			empty = append(empty, upTo(dir, facts.Created)...)
		}
		for _, i := range chosen {
			if i.Host != h {
				continue
			}
			for _, dir := range InstanceDirs(i) {
				if dir == i.Dir && o.KeepLogs {
					remove(dir, "log")
				} else {
					remove(dir)
				}
			}
		}
		if o.Role == "" && len(c.OnHost(h)) > 0 {
			remove(c.PackagesDir())
			remove(c.AppDir)
		}
		lanes = append(lanes, lane)
		if len(empty) > 0 {
			parents = append(parents, Lane{{Kind: RemoveEmpty, Host: h.Name, Paths: deepestFirst(empty), Reason: "deploy made them"}})
		}
	}
	if err := refused.err(); err != nil {
		return nil, err
	}
	stopLanes(p, chosen, f, "it runs")
	p.add("remove directories", lanes...)
	p.add("remove empty folders", parents...)
	if c.ZooKeeper != nil && o.Role == "" {
		p.warn("the cluster's node %s stays in ZooKeeper (%s); remove it before deploying a cluster of that name anew", c.ZooKeeper.Root, strings.Join(c.ZooKeeper.Servers, ","))
	}
	return p, nil
}

// upTo are the parents of dir up to and with the topmost one that deploy made.
func upTo(dir, created string) []string {
	var parents []string
	if created == "" {
		return nil
	}
	for d := path.Dir(dir); d == created || strings.HasPrefix(d, created+"/"); d = path.Dir(d) {
		parents = append(parents, d)
	}
	return parents
}

func deepestFirst(dirs []string) []string {
	slices.SortFunc(dirs, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(b, "/"), strings.Count(a, "/")), cmp.Compare(a, b))
	})
	return slices.Compact(dirs)
}
