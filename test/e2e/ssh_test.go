// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pegasus-ops/pegasus-ops/ops/host/link/linktest"
	"github.com/pegasus-ops/pegasus-ops/test/onebox"
)

// The real package on a machine that is reached over a real sshd: deployed, found
// unchanged, restarted, removed, and it serves in between.
func TestDeployOverSSH(t *testing.T) {
	d := linktest.Sshd(t)
	t.Setenv("SSH_AUTH_SOCK", "")
	c, cl := deploy(t, onebox.Options{Name: "over-ssh", Tables: []onebox.Table{{Name: "t", Partitions: 4}}, Config: quickFD,
		SSH: fmt.Sprintf("{user: %s, port: %d, identity_file: %s, known_hosts: %s}", d.User, d.Port, d.KeyFile, d.KnownHosts)})
	healthy(t, cl, "t", time.Minute)
	_, pkg, err := onebox.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	out, err := c.Ops(t.Context(), "-i", c.Inventory(), "deploy", "--package", pkg, "-o", "json")
	if err != nil {
		t.Fatal(err, out)
	}
	t.Logf("a deploy that changes nothing: %s", time.Since(began).Round(time.Millisecond))
	if !strings.Contains(out, `"changed": false`) {
		t.Fatal(out)
	}
	if out, err = c.Ops(t.Context(), "-i", c.Inventory(), "restart", "--role", "collector", "-y"); err != nil {
		t.Fatal(err, out)
	}
	healthy(t, cl, "t", time.Minute)
}
