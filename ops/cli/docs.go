// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newDocs writes the reference of all commands; `make docs` calls it.
func (a *App) newDocs() *cobra.Command {
	out := "docs/reference"
	c := &cobra.Command{
		Use:    "docs",
		Short:  "Write the reference of all commands as Markdown",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := os.MkdirAll(out, 0o755); err != nil {
				return fmt.Errorf("write the reference: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			// Defaults that depend on who generates it would make the text unstable.
			for _, flag := range []string{"cluster"} {
				root.PersistentFlags().Lookup(flag).DefValue = ""
			}
			err := doc.GenMarkdownTreeCustom(root, out, func(string) string { return "" }, func(link string) string { return strings.ToLower(link) })
			if err != nil {
				return fmt.Errorf("write the reference to %s: %w", out, err)
			}
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", out, "folder to write to")
	return c
}
