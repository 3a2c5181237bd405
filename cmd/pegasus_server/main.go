// SPDX-License-Identifier: Apache-2.0

// Command pegasus_server is a Pegasus server: meta, replica or collector, as its configuration
// file and -app_list say.
//
//	pegasus_server CONFIG.INI [-app_list ROLE] [-cargs K=V]
//	pegasus_server --check CONFIG.INI [-app_list ROLE] [-cargs K=V]
//
// With --check it only says on stderr what keeps the file from being used, and ends with status 0
// when nothing does, 255 otherwise. It opens no port and writes no file then.
package main

import (
	"os"

	"github.com/pegasus-ops/pegasus-ops/server"
)

// Set by the build with -ldflags "-X main.version=... -X main.gitSHA=... -X main.buildType=...".
var version, gitSHA, buildType string

func main() {
	build := server.Build{Version: version, GitSHA: gitSHA, Type: buildType}
	os.Exit(server.Main(build, os.Args[1:], os.Stdout, os.Stderr))
}
