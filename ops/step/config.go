// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/ops/host"
	"github.com/pegasus-ops/pegasus-ops/ops/pack"
	"github.com/pegasus-ops/pegasus-ops/ops/plan"
)

func writeConfig(ctx context.Context, _ *Env, h host.Host, s plan.Step, _ Say) (string, error) {
	if _, err := h.Mkdir(ctx, s.On.LogDir(), 0o755); err != nil {
		return "", err
	}
	return "", h.Put(ctx, s.On.ConfigFile(), 0o640, strings.NewReader(s.Config))
}

const (
	checkLimit = 20 * time.Second
	// checkInvalid is the exit status of `pegasus_server --check` for a
	// configuration it cannot use.
	checkInvalid = 255
)

// checkConfig has the program that is about to run with a configuration look at
// it. Programs that have no such check, those of Apache Pegasus, end with
// another status; then the start will tell.
func checkConfig(ctx context.Context, e *Env, h host.Host, s plan.Step, say Say) (note string, err error) {
	say("check config.ini of %s", s.On.ID())
	draft := s.On.ConfigFile() + ".new"
	if err := h.Put(ctx, draft, 0o640, strings.NewReader(s.Config)); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, h.Remove(context.WithoutCancel(ctx), draft)) }()
	limited, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	program := path.Join(packageDir(e, s.Package), pack.Server)
	_, failed := h.Run(limited, host.Command{
		Args: []string{program, "--check", draft},
		Dir:  path.Dir(program),
		Env:  []string{"LD_LIBRARY_PATH=" + path.Dir(program)},
	})
	var exit *host.CommandError
	switch {
	case failed == nil:
		return "", nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.As(failed, &exit) && exit.Status == checkInvalid:
		said := strings.ReplaceAll(strings.TrimSpace(exit.Stderr), draft, s.On.ConfigFile())
		return "", &plan.Refusal{Reasons: []string{fmt.Sprintf("its program calls the new configuration invalid:\n  %s\ncorrect the inventory and deploy again", strings.ReplaceAll(said, "\n", "\n  "))}}
	}
	return "skipped, this program cannot check one", nil
}
