// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/plan"
)

type deployOptions struct {
	pkg     string
	noStart bool
}

func (o *deployOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.pkg, "package", "", "server package to deploy, or a folder of them (the newest is taken), instead of the inventory's")
	f.BoolVar(&o.noStart, "no-start", false, "install everything and start nothing")
}

func (a *App) newDeploy() *cobra.Command {
	var o deployOptions
	c := &cobra.Command{
		Use:   "deploy FILE",
		Short: "Make the cluster what the inventory says",
		Long: `Bring a cluster to the state its inventory describes: install the package, write
every server's config.ini, start the servers, create missing tables, and wait
until all tables are healthy. Then show the status.

deploy compares with what is there and changes only what differs, so running it
again changes nothing, and running it after a failure goes on. Servers that run
and need a new package or configuration are restarted one at a time, in a
healthy cluster only. Directories that hold files of others are refused.

The cluster is recorded under its name, and later commands find it by that.
Without FILE the recorded cluster is deployed again.

Exit status: 0 done, also when nothing was to be changed; 1 a step failed, or
the cluster does not become healthy; 2 the inventory or the package is invalid;
3 refused, nothing was changed; 4 another operation holds the cluster; 5 interrupted,
run it again to go on.`,
		Example: `  pegasus-ops deploy inventory/examples/onebox.yaml
  pegasus-ops deploy pegasus.yaml --dry-run
  pegasus-ops deploy pegasus.yaml --package dist/`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runDeploy(cmd.Context(), o, first(args)) },
	}
	o.AddFlags(c.Flags())
	return c
}

func (a *App) runDeploy(ctx context.Context, o deployOptions, file string) error {
	c, err := a.load(file)
	if err != nil {
		return err
	}
	if err := a.resolve(ctx, c); err != nil {
		return err
	}
	configs, err := renderAll(c, c.Instances())
	if err != nil {
		return err
	}
	if err := a.reachable(ctx, c); err != nil {
		return err
	}
	if o.pkg == "" {
		o.pkg = c.Package
	}
	pkg, remove, err := a.packageFor(ctx, o.pkg)
	defer remove()
	if err != nil {
		return err
	}
	began := time.Now()
	out, err := a.apply(ctx, change{
		command: "deploy",
		cluster: c,
		plan: func(f plan.Facts) (*plan.Plan, error) {
			return plan.Deploy(plan.Desired{Cluster: c, Package: pkg, Configs: configs}, f, plan.DeployOptions{NoStart: o.noStart})
		},
		begin: func() error { return a.home.Record(c, time.Now()) },
		idle:  fmt.Sprintf("Nothing to change: cluster %s is as the inventory says.", c.Name),
	})
	if err != nil || out.dryRun || o.noStart {
		return a.finish(out, err, fmt.Sprintf("Cluster %s is installed. Start it with `pegasus-ops start`.", c.Name))
	}
	defer out.session.close()
	return a.deployed(ctx, c, out, time.Since(began))
}

// reachable finds out before anything is packed whether all hosts can be logged
// in to. The connections stay for the rest of the run.
func (a *App) reachable(ctx context.Context, c *inventory.Cluster) error {
	s, err := a.open(ctx, c)
	if err != nil {
		return err
	}
	s.close()
	return nil
}

// deployed ends a deploy: the status, and what to do next.
func (a *App) deployed(ctx context.Context, c *inventory.Cluster, out *outcome, took time.Duration) error {
	doc, err := a.readStatus(ctx, out.session)
	if err != nil {
		return err
	}
	if a.ui.WantsJSON() {
		result := out.document(nil)
		result.Status = &doc
		if err := a.ui.JSON(result); err != nil {
			return err
		}
	} else {
		a.printStatus(doc)
	}
	if !doc.Healthy {
		return errors.New("the cluster is deployed and not healthy; the reasons stand above")
	}
	if out.plan.Changes() {
		a.ui.Info("Cluster %s is up after %.1f s.", c.Name, took.Seconds())
	}
	pick := a.pick(c.Name)
	a.ui.Info("Try it:    pegasus-ops%s shell\nRemove it: pegasus-ops%s clean", pick, pick)
	return nil
}

// pick is the flag that later commands need to find the cluster: none when it is
// the only one.
func (a *App) pick(name string) string {
	if records, err := a.home.Clusters(); err == nil && len(records) == 1 {
		return ""
	}
	return " -c " + name
}
