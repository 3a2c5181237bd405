// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// mailTimeout is how long the alert script may run.
const mailTimeout = 30 * time.Second

// An alerter runs the operator's sendmail.sh when a partition stays unavailable.
type alerter struct {
	opts *Options
	log  *slog.Logger
	wg   sync.WaitGroup

	mu      sync.Mutex
	running bool
}

// send runs the script in the background, one at a time: when the whole cluster is down one mail
// is as good as a hundred.
func (a *alerter) send(ctx context.Context, partition int) {
	if a.opts.AlertEmail == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running {
		return
	}
	a.running = true
	a.wg.Go(func() {
		defer func() {
			a.mu.Lock()
			a.running = false
			a.mu.Unlock()
		}()
		ctx, cancel := context.WithTimeout(ctx, mailTimeout)
		defer cancel()
		cmd := exec.CommandContext(ctx, "bash", "sendmail.sh", "alert", a.opts.AlertEmail, a.opts.ClusterName, a.opts.DetectTable, strconv.Itoa(partition))
		cmd.Dir = a.opts.AlertScriptDir
		cmd.WaitDelay = time.Second
		if out, err := cmd.CombinedOutput(); err != nil {
			a.log.Error("the alert could not be mailed", "script", filepath.Join(a.opts.AlertScriptDir, "sendmail.sh"), "email", a.opts.AlertEmail, "err", err, "output", string(out))
			return
		}
		a.log.Info("the alert was mailed", "email", a.opts.AlertEmail)
	})
}
