// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pegasus-ops/pegasus-ops/inventory"
)

type initOptions struct {
	template string
}

func (o *initOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.template, "template", "onebox", strings.Join(inventory.Examples(), ", ")+": what to start from")
}

func (a *App) newInit() *cobra.Command {
	var o initOptions
	c := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a commented inventory to start from",
		Long: `Write a commented inventory to FILE, pegasus.yaml if none is named. "-" writes to
stdout. A file that exists is never overwritten.

  onebox       a whole cluster on this machine, without ssh and ZooKeeper
  minimal      three hosts with every role
  production   every key the inventory knows

Exit status: 0 done; 1 the file cannot be written; 2 it exists.`,
		Example: `  pegasus-ops init
  pegasus-ops init --template production clusters/beijing.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			file := "pegasus.yaml"
			if len(args) > 0 {
				file = args[0]
			}
			return a.runInit(o, file)
		},
	}
	o.AddFlags(c.Flags())
	_ = c.RegisterFlagCompletionFunc("template", cobra.FixedCompletions(inventory.Examples(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *App) runInit(o initOptions, file string) error {
	text, err := inventory.Example(o.template)
	if err != nil {
		return usage("%w", err)
	}
	if file == "-" {
		a.ui.Raw(string(text))
		return nil
	}
	if a.global.dryRun {
		a.ui.Print("Would write %s from template %s.", file, o.template)
		return nil
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return usage("%s exists and is not overwritten; name another file", file)
	}
	if err != nil {
		return fmt.Errorf("write the inventory: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the inventory %s: %w", file, err)
	}
	if a.ui.WantsJSON() {
		return a.ui.JSON(map[string]string{"file": file, "template": o.template})
	}
	a.ui.Print("Wrote %s. Edit it, then:\n  pegasus-ops validate %s\n  pegasus-ops deploy %s", file, file, file)
	return nil
}
