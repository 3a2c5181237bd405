// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/cluster"
	"github.com/pegasus-ops/pegasus-ops/ops/plan"
	"github.com/pegasus-ops/pegasus-ops/ops/step"
	"github.com/pegasus-ops/pegasus-ops/ops/ui"
)

func (a *App) newStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "One screen: servers, tables, and what is wrong",
		Long: `Show the cluster on one screen: the leader and its level, every server with its
version, up-time, replicas and disk, the tables with their health, and what is
wrong. It reads the hosts and the cluster and changes nothing.

Healthy means: a leader at level steady or lively, every server running and
alive, every partition with all its replicas. What could not be learned counts
as not healthy.

Exit status: 0 healthy; 1 not healthy, or the hosts cannot be read; 2 wrong usage.`,
		Example: `  pegasus-ops status
  pegasus-ops status -o json | jq .tables`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runStatus(cmd.Context()) },
	}
}

func (a *App) runStatus(ctx context.Context) error {
	c, err := a.load("")
	if err != nil {
		return err
	}
	s, err := a.open(ctx, c)
	if err != nil {
		return err
	}
	defer s.close()
	doc, err := a.readStatus(ctx, s)
	if err != nil {
		return err
	}
	if a.ui.WantsJSON() {
		if err := a.ui.JSON(doc); err != nil {
			return err
		}
	} else {
		a.printStatus(doc)
	}
	if !doc.Healthy {
		return errTold
	}
	return nil
}

// statusDoc is the status of a cluster; its JSON is an interface for scripts.
type statusDoc struct {
	Cluster        string         `json:"cluster"`
	Healthy        bool           `json:"healthy"`
	Leader         string         `json:"leader"`
	Level          string         `json:"level"`
	EffectiveLevel string         `json:"effective_level"`
	Servers        []serverStatus `json:"servers"`
	Tables         []tableStatus  `json:"tables"`
	Problems       []string       `json:"problems"` // why it is not healthy
	Warnings       []string       `json:"warnings"`
}

type serverStatus struct {
	Role    inventory.Role `json:"role"`
	Index   int            `json:"index"`
	Host    string         `json:"host"`
	Address string         `json:"address"`
	// State is leader or standby of meta servers, alive or dead of replica
	// servers, running of collectors; starting when the process runs and the
	// cluster does not know it yet, stopped when there is no process.
	State         string     `json:"state"`
	PID           int        `json:"pid,omitempty"`
	Version       string     `json:"version,omitempty"`
	GitSHA        string     `json:"git_sha,omitempty"`
	Started       *time.Time `json:"started,omitempty"`
	UptimeSeconds int64      `json:"uptime_seconds,omitempty"`
	Primaries     *int       `json:"primaries,omitempty"`
	Secondaries   *int       `json:"secondaries,omitempty"`
	DiskTotal     int64      `json:"disk_total_bytes,omitempty"`
	DiskFree      int64      `json:"disk_free_bytes,omitempty"`
}

type tableStatus struct {
	ID         int32          `json:"app_id"`
	Name       string         `json:"app_name"`
	Status     string         `json:"status"`
	Partitions int            `json:"partition_count"`
	Replicas   int            `json:"replica_count"`
	Health     cluster.Health `json:"health"`
	Known      bool           `json:"known"`
}

// readStatus reads everything the status shows.
func (a *App) readStatus(ctx context.Context, s *session) (statusDoc, error) {
	facts, err := step.Gather(ctx, s.Env, a.global.parallel)
	if err != nil {
		return statusDoc{}, err
	}
	doc := newStatus(s.Cluster, facts, time.Now())
	for n := range doc.Servers {
		a.readDisk(ctx, s, &doc, n)
	}
	askCollectors(ctx, s.cluster, &doc)
	return doc, nil
}

// askLimit bounds the question to a collector, which may be hanging.
const askLimit = 3 * time.Second

// askCollectors asks the collectors for their versions: the cluster's facts do
// not know them, as meta servers do not.
func askCollectors(ctx context.Context, c Cluster, doc *statusDoc) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	failed := make([]error, len(doc.Servers))
	var wg sync.WaitGroup
	for n := range doc.Servers {
		server := &doc.Servers[n]
		if server.Role != inventory.Collector || server.State != "running" {
			continue
		}
		wg.Go(func() {
			info, err := c.ServerInfo(ctx, server.Address)
			if err != nil {
				failed[n] = fmt.Errorf("collector %s does not tell its version: %w", server.Address, err)
				return
			}
			server.Version, server.GitSHA = info.Version, info.GitSHA
		})
	}
	wg.Wait()
	for _, err := range failed {
		if err != nil {
			doc.Warnings = append(doc.Warnings, err.Error())
		}
	}
}

// lowDisk is the free share of a disk below which servers reject writes, with
// room to act before.
const lowDisk = 0.15

func (a *App) readDisk(ctx context.Context, s *session, doc *statusDoc, n int) {
	i := s.Cluster.Instances()[n]
	dirs := plan.InstanceDirs(i)
	if len(i.DataDirs) > 0 {
		dirs = dirs[1 : 1+len(i.DataDirs)]
	}
	server := &doc.Servers[n]
	for k, dir := range dirs {
		disk, err := s.Hosts[i.Host.Name].Disk(ctx, dir)
		if err != nil {
			doc.Warnings = append(doc.Warnings, err.Error())
			continue
		}
		// Directories on one disk must not be added up; the fullest one decides.
		if k == 0 || freeShare(disk.Free, disk.Total) < freeShare(server.DiskFree, server.DiskTotal) {
			server.DiskTotal, server.DiskFree = disk.Total, disk.Free
		}
	}
	if server.DiskTotal > 0 && freeShare(server.DiskFree, server.DiskTotal) < lowDisk {
		doc.Warnings = append(doc.Warnings, fmt.Sprintf("%s: only %s of %s are free on its fullest disk", i.ID(), ui.Bytes(server.DiskFree), ui.Bytes(server.DiskTotal)))
	}
}

func freeShare(free, total int64) float64 { return float64(free) / float64(max(1, total)) }

// newStatus joins what hosts and cluster say. It is pure.
func newStatus(c *inventory.Cluster, f plan.Facts, now time.Time) statusDoc {
	doc := statusDoc{Cluster: c.Name, Servers: []serverStatus{}, Tables: []tableStatus{}, Problems: []string{}, Warnings: []string{}}
	if f.Cluster != nil {
		doc.Leader, doc.Level, doc.EffectiveLevel = f.Cluster.Leader, f.Cluster.Level, f.Cluster.EffectiveLevel
		_, reasons := f.Cluster.Healthy()
		doc.Problems = append(doc.Problems, reasons...)
		doc.Tables = tablesOf(f.Cluster)
	} else {
		doc.Problems = append(doc.Problems, "no meta server answers as the leader")
	}
	for _, i := range c.Instances() {
		server := serverOf(i, f, now)
		if server.State == "stopped" {
			doc.Problems = append(doc.Problems, i.ID()+" does not run; start it with `pegasus-ops start`")
		}
		have := f.Hosts[i.Host.Name].Instances[i.ID()]
		if p := have.Process; p != nil && p.Config != "" && (p.Config != plan.Hash(have.Config) || p.Package != have.Package) {
			doc.Warnings = append(doc.Warnings, i.ID()+" runs with another package or config.ini than is installed; `pegasus-ops deploy` or `restart` brings it up to date")
		}
		doc.Servers = append(doc.Servers, server)
	}
	doc.Warnings = append(doc.Warnings, strangers(c, f)...)
	doc.Healthy = len(doc.Problems) == 0
	return doc
}

// strangers are nodes the cluster knows and the inventory does not.
func strangers(c *inventory.Cluster, f plan.Facts) []string {
	if f.Cluster == nil {
		return nil
	}
	known := map[string]bool{}
	for _, i := range c.Replicas {
		known[i.Address()] = true
	}
	var list []string
	for _, n := range f.Cluster.Nodes {
		if !known[n.Address] {
			list = append(list, fmt.Sprintf("replica server %s belongs to the cluster and is not in the inventory", n.Address))
		}
	}
	return list
}

func tablesOf(f *cluster.Facts) []tableStatus {
	list := []tableStatus{}
	for _, t := range f.Tables {
		if t.Status == "DROPPED" {
			continue
		}
		list = append(list, tableStatus{ID: t.ID, Name: t.Name, Status: t.Status, Partitions: t.PartitionCount, Replicas: t.ReplicaCount, Health: t.Health, Known: t.Known})
	}
	return list
}

func serverOf(i *inventory.Instance, f plan.Facts, now time.Time) serverStatus {
	s := serverStatus{Role: i.Role, Index: i.Index, Host: i.Host.Name, Address: i.Address(), State: "stopped"}
	have := f.Hosts[i.Host.Name].Instances[i.ID()]
	if p := have.Process; p != nil {
		s.State, s.PID = "starting", p.PID
		if i.Role == inventory.Collector {
			s.State = "running"
		}
		if !p.Since.IsZero() {
			s.Started, s.UptimeSeconds = &p.Since, int64(now.Sub(p.Since).Seconds())
		}
	}
	if f.Cluster == nil {
		return s
	}
	for _, m := range f.Cluster.Metas {
		if i.Role == inventory.Meta && m.Address == s.Address && m.Answers {
			s.State, s.Version, s.GitSHA = "standby", m.Version, m.GitSHA
			if m.Leader {
				s.State = "leader"
			}
		}
	}
	for n := range f.Cluster.Nodes {
		node := &f.Cluster.Nodes[n]
		if i.Role != inventory.Replica || node.Address != s.Address {
			continue
		}
		s.Version, s.GitSHA, s.Primaries, s.Secondaries = node.Version, node.GitSHA, &node.Primaries, &node.Secondaries
		switch {
		case node.Alive && have.Process != nil:
			s.State = "alive"
		case have.Process != nil:
			s.State = "dead" // it runs and the meta server does not hear it
		}
	}
	return s
}

// printStatus shows it on one screen.
func (a *App) printStatus(d statusDoc) {
	health := a.ui.Paint(ui.Green, "healthy")
	if !d.Healthy {
		health = a.ui.Paint(ui.Red, "NOT HEALTHY")
	}
	level := orDash(d.Level)
	if d.EffectiveLevel != "" && d.EffectiveLevel != d.Level {
		level += " (in effect: " + d.EffectiveLevel + ")"
	}
	a.ui.Print("cluster %s  %s  leader %s  level %s\n", a.ui.Paint(ui.Bold, d.Cluster), health, orDash(d.Leader), level)

	rows := make([][]string, len(d.Servers))
	for n, s := range d.Servers {
		rows[n] = []string{string(s.Role), s.Address, s.Host, a.paintState(s.State), version(s), uptime(s), count(s.Primaries), count(s.Secondaries), disk(s)}
	}
	a.ui.Table([]ui.Column{{Title: "role"}, {Title: "address"}, {Title: "host"}, {Title: "state"}, {Title: "version"},
		{Title: "up", Right: true}, {Title: "primary", Right: true}, {Title: "secondary", Right: true}, {Title: "disk free", Right: true}}, rows)

	if len(d.Tables) > 0 {
		a.ui.Print("")
		rows = rows[:0]
		for _, t := range d.Tables {
			rows = append(rows, []string{strconv.Itoa(int(t.ID)), t.Name, strconv.Itoa(t.Partitions), strconv.Itoa(t.Replicas), a.tableHealth(t)})
		}
		a.ui.Table([]ui.Column{{Title: "id", Right: true}, {Title: "table"}, {Title: "partitions", Right: true}, {Title: "replicas", Right: true}, {Title: "health"}}, rows)
	}
	if len(d.Problems)+len(d.Warnings) > 0 {
		a.ui.Print("")
	}
	for _, p := range d.Problems {
		a.ui.Print("%s %s", a.ui.Paint(ui.Red, "problem:"), p)
	}
	for _, w := range d.Warnings {
		a.ui.Print("%s %s", a.ui.Paint(ui.Yellow, "warning:"), w)
	}
}

func (a *App) paintState(state string) string {
	switch state {
	case "stopped", "dead":
		return a.ui.Paint(ui.Red, state)
	case "starting":
		return a.ui.Paint(ui.Yellow, state)
	}
	return a.ui.Paint(ui.Green, state)
}

func (a *App) tableHealth(t tableStatus) string {
	switch h := t.Health; {
	case t.Status != "AVAILABLE":
		return a.ui.Paint(ui.Yellow, t.Status)
	case !t.Known:
		return a.ui.Paint(ui.Red, "not known")
	case h.Unhealthy == 0:
		return a.ui.Paint(ui.Green, "healthy")
	case h.ReadUnhealthy > 0:
		return a.ui.Paint(ui.Red, fmt.Sprintf("%d unhealthy, of which %d not writable and %d not readable", h.Unhealthy, h.WriteUnhealthy, h.ReadUnhealthy))
	case h.WriteUnhealthy > 0:
		return a.ui.Paint(ui.Red, fmt.Sprintf("%d unhealthy, of which %d not writable", h.Unhealthy, h.WriteUnhealthy))
	default:
		return a.ui.Paint(ui.Yellow, fmt.Sprintf("%d without all replicas", h.Unhealthy))
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func version(s serverStatus) string {
	if s.Version == "" {
		return "-"
	}
	if s.GitSHA == "" {
		return s.Version
	}
	return fmt.Sprintf("%s (%s)", s.Version, s.GitSHA[:min(7, len(s.GitSHA))])
}

func uptime(s serverStatus) string {
	if s.Started == nil {
		return "-"
	}
	return ui.Age(time.Duration(s.UptimeSeconds) * time.Second)
}

func count(n *int) string {
	if n == nil {
		return "-"
	}
	return strconv.Itoa(*n)
}

func disk(s serverStatus) string {
	if s.DiskTotal == 0 {
		return "-"
	}
	return fmt.Sprintf("%s (%d%%)", ui.Bytes(s.DiskFree), s.DiskFree*100/s.DiskTotal)
}
