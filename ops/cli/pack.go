// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pegasus-ops/pegasus-ops/ops/pack"
	"github.com/pegasus-ops/pegasus-ops/ops/ui"
	"github.com/pegasus-ops/pegasus-ops/templates"
)

type packOptions struct {
	out     string
	program string
	debug   bool
}

func (o *packOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.out, "out", "dist", "folder the package is written to")
	f.StringVar(&o.program, "program", "", "pack this built pegasus_server instead of building one")
	f.BoolVar(&o.debug, "debug", false, "build with debug information, build type debug")
}

func (a *App) newPack() *cobra.Command {
	var o packOptions
	c := &cobra.Command{
		Use:   "pack",
		Short: "Build the server package",
		Long: `Build pegasus_server from this source tree and pack it as
pegasus-server-{version}-{gitSHA}-{platform}-{buildType}, a folder and a .tar.gz, with
bin/pegasus_server, bin/config.ini (the template) and VERSION. The server is
static and needs no library of the host. Packing the same program again gives
the same bytes. Packages of Apache Pegasus need no packing: deploy takes them as
they are.

Exit status: 0 done; 1 the build failed.`,
		Example: `  pegasus-ops pack
  pegasus-ops pack --out /srv/packages --program bin/pegasus_server`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runPack(cmd.Context(), o) },
	}
	o.AddFlags(c.Flags())
	return c
}

func (a *App) runPack(ctx context.Context, o packOptions) error {
	if a.global.dryRun {
		a.ui.Print("Would pack pegasus_server into %s.", o.out)
		return nil
	}
	if o.program == "" {
		a.ui.Info("building pegasus_server ...")
	}
	info, err := pack.Build(ctx, pack.BuildOptions{Out: o.out, Program: o.program, Config: templates.Bundled().Text, Debug: o.debug, Folder: true})
	if err != nil {
		return err
	}
	if a.ui.WantsJSON() {
		return a.ui.JSON(info)
	}
	a.ui.Print("%s  %s\nsha256 %s", info.Path, ui.Bytes(info.Size), info.SHA256)
	return nil
}

// besideUs is the pegasus_server that was built together with this program, ""
// if there is none.
func besideUs() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return ""
	}
	program := filepath.Join(filepath.Dir(self), "pegasus_server")
	if st, err := os.Stat(program); err != nil || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return ""
	}
	return program
}

// packageFor finds the package to deploy: the one named, or one packed of the
// server beside this program or of the source tree. remove deletes what a dry
// run packed.
func (a *App) packageFor(ctx context.Context, named string) (info pack.Info, remove func(), err error) {
	remove = func() {}
	if named != "" {
		file, err := pack.Newest(named)
		if err != nil {
			return info, remove, usage("%w", err)
		}
		info, err = pack.Inspect(file)
		return info, remove, err
	}
	out := a.home.PackagesDir()
	if a.global.dryRun {
		if out, err = os.MkdirTemp("", "pegasus-ops-pack-*"); err != nil {
			return info, remove, err
		}
		remove = func() { _ = os.RemoveAll(out) }
	}
	program := besideUs()
	if program == "" {
		a.ui.Info("no package is named: building pegasus_server from this tree ...")
	}
	info, err = pack.Build(ctx, pack.BuildOptions{Out: out, Program: program, Config: templates.Bundled().Text})
	return info, remove, err
}
