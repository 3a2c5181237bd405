// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/ops/host"
	"github.com/pegasus-ops/pegasus-ops/ops/plan"
)

func writeConfig(ctx context.Context, _ *Env, h host.Host, s plan.Step, _ Say) (string, error) {
	if _, err := h.Mkdir(ctx, s.On.LogDir(), 0o755); err != nil {
		return "", err
	}
	return "", h.Put(ctx, s.On.ConfigFile(), 0o640, strings.NewReader(s.Config))
}
