// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pegasus-ops/pegasus-ops/ops/shell"
	"github.com/pegasus-ops/pegasus-ops/ops/ui"
)

type shellOptions struct {
	exec string
	meta []string
}

func (o *shellOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVarP(&o.exec, "exec", "e", "", "run these commands, separated by semicolons, and end")
	f.StringSliceVar(&o.meta, "meta", nil, "meta servers as host:port,host:port; works without an inventory")
}

func (a *App) newShell() *cobra.Command {
	var o shellOptions
	c := &cobra.Command{
		Use:   "shell",
		Short: "The Pegasus shell against this cluster",
		Long: `Open the Pegasus shell: look at the cluster, manage tables, read and write data.
"help" in the shell lists its commands. Without a terminal commands are read
from stdin; -e runs some and ends at the first that fails.

Exit status: 0 done; 1 a command failed; 2 wrong usage.`,
		Example: `  pegasus-ops shell
  pegasus-ops shell -e 'ls -d; use temp; set k s v; get k s'
  pegasus-ops shell --meta 10.0.0.1:34601,10.0.0.2:34601`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runShell(cmd.Context(), o) },
	}
	o.AddFlags(c.Flags())
	return c
}

func (a *App) runShell(ctx context.Context, o shellOptions) error {
	options := shell.Options{
		Metas: o.meta, Exec: o.exec, In: a.In, Out: a.Out, Err: a.Err,
		Interactive: o.exec == "" && ui.IsTerminal(a.In) && ui.IsTerminal(a.Out),
		HistoryFile: filepath.Join(a.home.Dir, "shell_history"),
		AssumeYes:   a.global.yes,
		Lookup:      a.metasOf,
		Version:     a.Build.Version, GitSHA: a.Build.GitSHA, BuildType: a.Build.Type,
	}
	if len(o.meta) == 0 {
		c, err := a.load("")
		if err != nil {
			return err
		}
		options.ClusterName = c.Name
		for _, m := range c.Metas {
			options.Metas = append(options.Metas, m.Address())
		}
	}
	if options.Interactive {
		// Ctrl-C ends what the shell is doing, not the shell; it sees to that itself.
		ctx = context.WithoutCancel(ctx)
	}
	return shell.Run(ctx, options)
}

// metasOf finds the meta servers of another recorded cluster.
func (a *App) metasOf(name string) ([]string, error) {
	c, err := a.home.Load(name)
	if err != nil {
		return nil, err
	}
	return c.MetaAddresses(), nil
}
