// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/host"
)

type renderOptions struct {
	host string
	role string
	node []string
	diff bool
}

func (o *renderOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.host, "host", "", "only servers on this host of the inventory")
	f.StringVar(&o.role, "role", "", "only servers of this role: meta, replica or collector")
	f.StringSliceVar(&o.node, "node", nil, "only these servers: address:port, host or replica index")
	f.BoolVar(&o.diff, "diff", false, "show what differs from the files on the hosts")
}

func (a *App) newRender() *cobra.Command {
	var o renderOptions
	c := &cobra.Command{
		Use:   "render [FILE]",
		Short: "Print the config.ini each server gets",
		Long: `Print the config.ini each server gets: the template with its placeholders replaced,
what follows from the inventory, and the inventory's config sections over it.
With --diff, what would change on the hosts; nothing is printed for servers
whose file is the same.

Exit status: 0 done; 1 a host cannot be read; 2 the inventory is invalid or a
placeholder has no value.`,
		Example: `  pegasus-ops render pegasus.yaml --role meta
  pegasus-ops render --node 10.0.0.2:34801
  pegasus-ops render pegasus.yaml --diff`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runRender(cmd.Context(), o, first(args))
		},
	}
	o.AddFlags(c.Flags())
	return c
}

// first is the optional argument of a command.
func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

type renderedFile struct {
	Instance string `json:"instance"`
	Host     string `json:"host"`
	Path     string `json:"path"`
	Text     string `json:"text,omitempty"`
	Diff     string `json:"diff,omitempty"`
	Changed  *bool  `json:"changed,omitempty"`
}

func (a *App) runRender(ctx context.Context, o renderOptions, file string) error {
	c, err := a.load(file)
	if err != nil {
		return err
	}
	if err := a.resolve(ctx, c); err != nil {
		return err
	}
	chosen, err := choose(c, o.role, o.node)
	if err != nil {
		return err
	}
	if o.host != "" {
		if chosen, err = onHost(c, chosen, o.host); err != nil {
			return err
		}
	}
	texts, err := renderAll(c, chosen)
	if err != nil {
		return err
	}
	files := make([]renderedFile, len(chosen))
	for n, i := range chosen {
		files[n] = renderedFile{Instance: i.ID(), Host: i.Host.Name, Path: i.ConfigFile(), Text: texts[i.ID()]}
	}
	if o.diff {
		if err := a.diffFiles(ctx, c, chosen, files); err != nil {
			return err
		}
	}
	if a.ui.WantsJSON() {
		return a.ui.JSON(map[string]any{"cluster": c.Name, "files": files})
	}
	for _, f := range files {
		switch {
		case o.diff:
			a.ui.Raw(f.Diff)
		case len(files) == 1:
			a.ui.Raw(f.Text)
		default:
			a.ui.Print("; ======== %s, %s on host %s", f.Instance, f.Path, f.Host)
			a.ui.Raw(f.Text)
		}
	}
	return nil
}

// choose applies --role and --node.
func choose(c *inventory.Cluster, role string, nodes []string) ([]*inventory.Instance, error) {
	var r inventory.Role
	if role != "" {
		var err error
		if r, err = inventory.ParseRole(role); err != nil {
			return nil, usage("--%w", err)
		}
	}
	return c.Select(r, nodes)
}

func onHost(c *inventory.Cluster, instances []*inventory.Instance, name string) ([]*inventory.Instance, error) {
	names := make([]string, len(c.Hosts))
	known := false
	for i, h := range c.Hosts {
		names[i] = h.Name
		known = known || h.Name == name
	}
	if !known {
		return nil, usage("--host %q is not in the inventory; its hosts are %v", name, names)
	}
	var list []*inventory.Instance
	for _, i := range instances {
		if i.Host.Name == name {
			list = append(list, i)
		}
	}
	return list, nil
}

// diffFiles compares with what lies on the hosts.
func (a *App) diffFiles(ctx context.Context, c *inventory.Cluster, chosen []*inventory.Instance, files []renderedFile) error {
	s, err := a.open(ctx, c)
	if err != nil {
		return err
	}
	defer s.close()
	for n, i := range chosen {
		have, err := host.ReadFile(ctx, s.Hosts[i.Host.Name], i.ConfigFile())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		f := &files[n]
		where := fmt.Sprintf("%s:%s", f.Host, f.Path)
		f.Diff = string(diff.Diff(where, have, where+" (rendered)", []byte(f.Text)))
		changed := f.Diff != ""
		f.Changed = &changed
		f.Text = ""
	}
	return nil
}
