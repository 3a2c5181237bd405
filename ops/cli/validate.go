// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/pack"
	"github.com/pegasus-ops/pegasus-ops/ops/ui"
	"github.com/pegasus-ops/pegasus-ops/templates"
)

func (a *App) newValidate() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE",
		Short: "Check everything that can be known without a host",
		Long: `Check an inventory without touching a host: every key and value, contradictions
between servers, the package it names, and that config.ini can be rendered
for every server. All errors are reported at once, each with its line, the
field, the value and what to do. Warnings do not make it invalid.

Exit status: 0 valid; 2 invalid.`,
		Example: `  pegasus-ops validate pegasus.yaml
  pegasus-ops validate -o json pegasus.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			file := a.global.inventory
			if len(args) > 0 {
				file = args[0]
			}
			if file == "" {
				return usage("name the inventory file to validate")
			}
			return a.runValidate(file)
		},
	}
}

type validateDoc struct {
	File     string              `json:"file"`
	Valid    bool                `json:"valid"`
	Cluster  string              `json:"cluster,omitempty"`
	Problems []inventory.Problem `json:"problems"`
	Warnings []inventory.Problem `json:"warnings"`
	Error    string              `json:"error,omitempty"`
}

func (a *App) runValidate(file string) error {
	c, warnings, err := inventory.Load(file)
	doc := validateDoc{File: file, Problems: []inventory.Problem{}, Warnings: append([]inventory.Problem{}, warnings...)}
	if err == nil {
		doc.Cluster = c.Name
		if _, err = renderAll(c, c.Instances()); err == nil && c.Package != "" {
			err = checkPackage(c.Package)
		}
	}
	var problems *inventory.Problems
	if errors.As(err, &problems) {
		doc.Problems = problems.List
	} else if err != nil {
		doc.Error = err.Error()
	}
	doc.Valid = err == nil
	for _, w := range warnings {
		a.advice = append(a.advice, inventory.At(file, w))
	}
	if err == nil {
		a.advise()
	}
	if a.ui.WantsJSON() {
		return errors.Join(err, a.ui.JSON(doc))
	}
	if err != nil {
		return err
	}
	a.ui.Print("%s is valid: cluster %s, %s on %s", file, c.Name, ui.Count(len(c.Instances()), "server"), ui.Count(len(c.Hosts), "host"))
	return nil
}

// checkPackage looks at the package an inventory names. Whether a folder holds
// one yet is only known at deploy.
func checkPackage(path string) error {
	file, err := pack.Newest(path)
	if err != nil {
		return usage("%w", err)
	}
	_, err = pack.Inspect(file)
	return err
}

// renderAll is the config.ini of each server by its ID, or what is left over in
// any of them, each complaint once.
func renderAll(c *inventory.Cluster, instances []*inventory.Instance) (map[string]string, error) {
	t, err := templates.For(c)
	if err != nil {
		return nil, usage("%w", err)
	}
	texts := map[string]string{}
	all := &templates.LeftoverError{}
	seen := map[templates.Leftover]bool{}
	for _, i := range instances {
		text, err := t.ForInstance(c, i)
		var left *templates.LeftoverError
		switch {
		case errors.As(err, &left):
			for _, l := range left.List {
				if !seen[l] {
					seen[l] = true
					all.List = append(all.List, l)
				}
			}
		case err != nil:
			return nil, err
		default:
			texts[i.ID()] = text
		}
	}
	if len(all.List) > 0 {
		return nil, all
	}
	return texts, nil
}
