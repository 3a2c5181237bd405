// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"runtime/debug"
	"time"
)

// A Build says what a binary was built from. The build sets it through variables of package
// main, because that is what packers of servers know to look for.
type Build struct {
	Version string // as in 1.2.3
	GitSHA  string // empty: what the go command has recorded
	Type    string // release or debug
}

// complete fills in what the build did not say.
func (b Build) complete() Build {
	if b.Version == "" {
		b.Version = "0.0.0"
	}
	if b.Type == "" {
		b.Type = "debug"
	}
	if b.GitSHA == "" {
		b.GitSHA = "unknown"
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					b.GitSHA = s.Value
				}
			}
		}
	}
	return b
}

// String is what -version prints.
func (b Build) String() string {
	return fmt.Sprintf("Pegasus server %s (%s) %s", b.Version, b.GitSHA, b.Type)
}

// serverInfo is the answer to the remote command server-info.
func (b Build) serverInfo(start time.Time) string {
	return fmt.Sprintf("Pegasus Server %s (%s) %s, Started at %s", b.Version, b.GitSHA, b.Type, start.Format(time.DateTime))
}
