// SPDX-License-Identifier: Apache-2.0

package templates

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/config"
)

// The server reads what we write for it without a word: no key it does not
// know, no value it does not take.
func TestTheServerUnderstandsTheTemplate(t *testing.T) {
	for _, name := range []string{"onebox", "minimal", "production"} {
		c := cluster(t, name)
		for _, i := range c.Instances() {
			text, err := Bundled().ForInstance(c, i)
			require.NoError(t, err)
			got, err := config.Load(i.ID(), []byte(text), nil)
			require.NoError(t, err)
			require.Empty(t, got.Warnings, i.ID())
		}
	}
}
