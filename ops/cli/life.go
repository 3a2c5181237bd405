// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/plan"
	"github.com/pegasus-ops/pegasus-ops/ops/ui"
)

// selectOptions narrow a command to some servers.
type selectOptions struct {
	role string
	node []string
}

func (o *selectOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.role, "role", "", "only servers of this role: meta, replica or collector")
	f.StringSliceVar(&o.node, "node", nil, "only these servers: address:port, host, or index of a replica server")
}

func (o selectOptions) all() bool { return o.role == "" && len(o.node) == 0 }

func (a *App) complete(c *cobra.Command) {
	_ = c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"meta", "replica", "collector"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("node", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		if a.prepare() != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		cluster, err := a.load("")
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, i := range cluster.Instances() {
			names = append(names, i.Address())
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

const selectHelp = `
Without --role and --node all servers are meant. A node is a host of the
inventory, an address, address:port, or the index of a replica server in the
inventory, and must name exactly one server.
`

func (a *App) newStart() *cobra.Command {
	var o selectOptions
	c := &cobra.Command{
		Use:   "start",
		Short: "Start the servers that do not run",
		Long: `Start the servers that do not run: meta servers first, then replica servers, then
collectors. Starting the whole cluster ends when all tables are healthy.
` + selectHelp + `
` + exitHelp,
		Example: `  pegasus-ops start
  pegasus-ops start --node 127.0.0.1:34802`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runStart(cmd.Context(), o) },
	}
	o.AddFlags(c.Flags())
	a.complete(c)
	return c
}

func (a *App) runStart(ctx context.Context, o selectOptions) error {
	c, chosen, err := a.chosen(ctx, o)
	if err != nil {
		return err
	}
	out, err := a.apply(ctx, change{
		command: "start", cluster: c,
		plan: func(f plan.Facts) (*plan.Plan, error) { return plan.Start(c, chosen, o.all(), f) },
		idle: fmt.Sprintf("Nothing to start: %s of cluster %s run.", ui.Count(len(chosen), "server"), c.Name),
	})
	return a.finish(out, err, fmt.Sprintf("Cluster %s: started.", c.Name))
}

func (a *App) newStop() *cobra.Command {
	var o selectOptions
	c := &cobra.Command{
		Use:   "stop",
		Short: "Stop servers",
		Long: `Stop the servers that run. They get SIGTERM, and SIGKILL if they do not end within
30 seconds. The whole cluster is stopped in the order collectors, meta servers,
replica servers: while no meta server runs, nobody can take the stopping of
replica servers for a failure, and the next start finds everything in place.

Stopping some replica servers of a running cluster does not drain them first.
` + selectHelp + `
` + exitHelp,
		Example: `  pegasus-ops stop
  pegasus-ops stop --role collector --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runStop(cmd.Context(), o) },
	}
	o.AddFlags(c.Flags())
	a.complete(c)
	return c
}

func (a *App) runStop(ctx context.Context, o selectOptions) error {
	c, chosen, err := a.chosen(ctx, o)
	if err != nil {
		return err
	}
	out, err := a.apply(ctx, change{
		command: "stop", cluster: c,
		plan: func(f plan.Facts) (*plan.Plan, error) { return plan.Stop(c, chosen, f) },
		question: func(p *plan.Plan) string {
			return fmt.Sprintf("Stopping %s of cluster %s.", ui.Count(p.Steps(), "server"), c.Name)
		},
		idle: fmt.Sprintf("Nothing to stop: no such server of cluster %s runs.", c.Name),
	})
	return a.finish(out, err, fmt.Sprintf("Cluster %s: stopped.", c.Name))
}

func (a *App) newRestart() *cobra.Command {
	var o selectOptions
	c := &cobra.Command{
		Use:   "restart",
		Short: "Restart servers one at a time, behind health gates",
		Long: `Restart servers one at a time: replica servers, then meta servers, then
collectors. The cluster must be healthy before each server is stopped and
becomes healthy again before the next is taken. Servers that do not run are
started. In a cluster that is not healthy nothing that runs is touched.
` + selectHelp + `
` + exitHelp,
		Example: `  pegasus-ops restart
  pegasus-ops restart --role meta`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runRestart(cmd.Context(), o) },
	}
	o.AddFlags(c.Flags())
	a.complete(c)
	return c
}

func (a *App) runRestart(ctx context.Context, o selectOptions) error {
	c, chosen, err := a.chosen(ctx, o)
	if err != nil {
		return err
	}
	out, err := a.apply(ctx, change{
		command: "restart", cluster: c,
		plan: func(f plan.Facts) (*plan.Plan, error) { return plan.Restart(c, chosen, f) },
		question: func(*plan.Plan) string {
			return fmt.Sprintf("Restarting %s of cluster %s, one at a time.", ui.Count(len(chosen), "server"), c.Name)
		},
		idle: fmt.Sprintf("Nothing to restart in cluster %s.", c.Name),
	})
	return a.finish(out, err, fmt.Sprintf("Cluster %s: restarted.", c.Name))
}

// chosen is the cluster and the servers that --role and --node pick.
func (a *App) chosen(ctx context.Context, o selectOptions) (*inventory.Cluster, []*inventory.Instance, error) {
	c, err := a.load("")
	if err != nil {
		return nil, nil, err
	}
	if err := a.resolve(ctx, c); err != nil {
		return nil, nil, err
	}
	chosen, err := choose(c, o.role, o.node)
	return c, chosen, err
}
