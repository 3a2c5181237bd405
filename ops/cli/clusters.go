// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pegasus-ops/pegasus-ops/ops/plan"
	"github.com/pegasus-ops/pegasus-ops/ops/run"
	"github.com/pegasus-ops/pegasus-ops/ops/step"
	"github.com/pegasus-ops/pegasus-ops/ops/ui"
)

func (a *App) newClusters() *cobra.Command {
	return &cobra.Command{
		Use:   "clusters",
		Short: "List the recorded clusters",
		Long: `List the clusters that deploy has recorded in $PEGASUS_OPS_HOME (default
~/.pegasus-ops). With exactly one, commands take it without -c.

Exit status: 0 done, also with none; 1 the records cannot be read.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.runClusters() },
	}
}

func (a *App) runClusters() error {
	records, err := a.home.Clusters()
	if err != nil {
		return err
	}
	if a.ui.WantsJSON() {
		return a.ui.JSON(map[string]any{"clusters": append([]run.Record{}, records...)})
	}
	if len(records) == 0 {
		a.ui.Info("No cluster is recorded; `pegasus-ops deploy FILE` records one.")
		return nil
	}
	rows := make([][]string, len(records))
	for i, r := range records {
		rows[i] = []string{r.Name, r.Deployed.Local().Format(time.DateTime), r.Inventory}
	}
	a.ui.Table([]ui.Column{{Title: "cluster"}, {Title: "deployed"}, {Title: "inventory"}}, rows)
	return nil
}

func (a *App) newForget() *cobra.Command {
	return &cobra.Command{
		Use:   "forget NAME",
		Short: "Remove the record of a cluster",
		Long: `Remove what is recorded about a cluster on this machine: the copy of its
inventory and the journals of its runs. Hosts and servers are not touched. While
servers of it run, it is refused unless --yes is given.

Exit status: 0 done; 2 no such cluster is recorded; 3 refused, its servers run; 4
another operation holds it.`,
		Example:           "  pegasus-ops forget onebox",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeCluster,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runForget(cmd.Context(), args[0]) },
	}
}

func (a *App) runForget(ctx context.Context, name string) error {
	if _, err := a.home.Find(name); err != nil {
		if errors.Is(err, run.ErrUnknownCluster) {
			return usage("%w; `pegasus-ops clusters` lists the recorded ones", err)
		}
		return err
	}
	if running := a.runningOf(ctx, name); len(running) > 0 && !a.global.yes {
		return &plan.Refusal{Reasons: []string{fmt.Sprintf("servers of cluster %s still run, and without the record only its inventory finds them: %s; stop them first (`pegasus-ops -c %s stop`, or `clean`), or give --yes",
			name, strings.Join(running, ", "), name)}}
	} else if len(running) > 0 {
		a.ui.Warn("servers of cluster %s go on running: %s", name, strings.Join(running, ", "))
	}
	if a.global.dryRun {
		a.ui.Print("Would forget cluster %s.", name)
		return nil
	}
	lock, err := a.home.Lock(name, "forget")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := a.home.Forget(name); err != nil {
		return err
	}
	if a.ui.WantsJSON() {
		return a.ui.JSON(map[string]string{"forgotten": name})
	}
	a.ui.Print("Cluster %s is forgotten.", name)
	return nil
}

// runningOf are the servers of a recorded cluster that run, with their
// processes. What cannot be learned is a warning: a damaged record or a host
// that is gone for good must not keep a cluster from being forgotten.
func (a *App) runningOf(ctx context.Context, name string) []string {
	c, err := a.home.Load(name)
	if err != nil {
		a.ui.Warn("whether its servers run is not known: %v", err)
		return nil
	}
	hosts, err := a.connect(ctx, c.Hosts)
	if err != nil {
		a.ui.Warn("whether servers run everywhere is not known: %v", err)
	}
	env := &step.Env{Cluster: c, Hosts: hosts}
	var running []string
	for _, i := range c.Instances() {
		if hosts[i.Host.Name] == nil {
			continue
		}
		p, err := env.Find(ctx, i)
		if err != nil {
			a.ui.Warn("whether %s runs is not known: %v", i.ID(), err)
		} else if p != nil {
			running = append(running, fmt.Sprintf("%s (process %d)", i.ID(), p.PID))
		}
	}
	return running
}
