// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pegasus-ops/pegasus-ops/test/onebox"
)

// dumpLogs shows the end of every server's log when a test has failed.
func dumpLogs(t *testing.T, c *onebox.Cluster) {
	for _, i := range c.Instances {
		files, _ := filepath.Glob(filepath.Join(c.Dir(i), "log", "*"))
		nested, _ := filepath.Glob(filepath.Join(c.Dir(i), "*", "log", "*"))
		for _, f := range append(files, nested...) {
			if info, err := os.Lstat(f); err != nil || !info.Mode().IsRegular() {
				continue
			}
			b, err := os.ReadFile(f)
			if err != nil {
				continue
			}
			lines := strings.Split(strings.TrimSpace(string(b)), "\n")
			t.Logf("%s-%d %s:\n%s", i.Role, i.Port, filepath.Base(f), strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	}
}
