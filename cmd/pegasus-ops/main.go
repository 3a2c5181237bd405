// SPDX-License-Identifier: Apache-2.0

// Command pegasus-ops runs Pegasus clusters; see `pegasus-ops --help`.
package main

import (
	"os"

	"github.com/pegasus-ops/pegasus-ops/ops/cli"
)

// Set by the build with -ldflags "-X main.version=... -X main.gitSHA=... -X main.buildType=...".
var version, gitSHA, buildType string

func main() {
	os.Exit(cli.Main(cli.Build{Version: version, GitSHA: gitSHA, Type: buildType}, os.Args[1:]))
}
