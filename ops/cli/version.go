// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"runtime"

	"github.com/spf13/cobra"
)

func (a *App) newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of pegasus-ops",
		Long:  "Print the version of pegasus-ops and what it was built from.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.ui.WantsJSON() {
				return a.ui.JSON(map[string]string{"version": a.Build.Version, "git_sha": a.Build.GitSHA, "build_type": a.Build.Type,
					"go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			a.ui.Print("%s", a.Build)
			return nil
		},
	}
}
