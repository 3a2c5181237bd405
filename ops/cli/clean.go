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

type cleanOptions struct {
	role     string
	keepLogs bool
}

func (o *cleanOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.role, "role", "", "only servers of this role: meta, replica or collector")
	f.BoolVar(&o.keepLogs, "keep-logs", false, "keep the log folders of the servers")
}

func (a *App) newClean() *cobra.Command {
	var o cleanOptions
	c := &cobra.Command{
		Use:   "clean",
		Short: "Stop everything and remove it, with all data",
		Long: `Stop the servers and remove their app, data and slog directories and the installed
packages: ALL DATA OF THE CLUSTER IS GONE. Only directories with the marker file
.pegasus-cluster and this cluster's name in it are removed, which deploy wrote when
it made them; one without refuses the whole command. A file system's root, a
home directory and folders deploy found there stay. The record of the cluster
stays too, until "pegasus-ops forget".

` + exitHelp,
		Example: `  pegasus-ops clean --dry-run
  pegasus-ops -c onebox clean --yes
  pegasus-ops clean --role collector --keep-logs`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runClean(cmd.Context(), o) },
	}
	o.AddFlags(c.Flags())
	a.complete(c)
	return c
}

func (a *App) runClean(ctx context.Context, o cleanOptions) error {
	c, err := a.load("")
	if err != nil {
		return err
	}
	options := plan.CleanOptions{KeepLogs: o.keepLogs}
	what := "ALL DATA of cluster " + c.Name
	if o.role != "" {
		if options.Role, err = inventory.ParseRole(o.role); err != nil {
			return usage("--%w", err)
		}
		what = fmt.Sprintf("everything of the %s role of cluster %s", options.Role, c.Name)
	}
	out, err := a.apply(ctx, change{
		command: "clean", cluster: c,
		plan: func(f plan.Facts) (*plan.Plan, error) { return plan.Clean(c, f, options) },
		question: func(*plan.Plan) string {
			return fmt.Sprintf("This removes %s. It cannot be undone.", what)
		},
		idle: fmt.Sprintf("Nothing to remove: cluster %s has no process and no directory.", c.Name),
	})
	return a.finish(out, err, a.cleaned(c, options))
}

// cleaned says what was removed and what is still there.
func (a *App) cleaned(c *inventory.Cluster, o plan.CleanOptions) string {
	kept := ""
	if o.KeepLogs {
		kept = " Their logs are kept."
	}
	if o.Role != "" {
		return fmt.Sprintf("Cluster %s: %s removed; the other servers were not touched.%s", c.Name, ui.Count(len(c.OfRole(o.Role)), serverOfRole(o.Role)), kept)
	}
	said := fmt.Sprintf("Cluster %s: all %s removed.%s", c.Name, ui.Count(len(c.Instances()), "server"), kept)
	if _, recorded := a.home.Find(c.Name); recorded == nil {
		said += fmt.Sprintf(" `pegasus-ops forget %s` removes its record too.", c.Name)
	}
	return said
}

func serverOfRole(r inventory.Role) string {
	if r == inventory.Collector {
		return string(r)
	}
	return string(r) + " server"
}
