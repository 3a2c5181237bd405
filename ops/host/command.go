// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sync"
)

// outputLimit bounds what a command may write into a Result.
const outputLimit = 64 << 20

// runLimited is what running a command has in common on all kinds of hosts. run
// returns the exit status of a command that ran.
func runLimited(ctx context.Context, host string, c Command, run func(ctx context.Context, stdout, stderr io.Writer) (int, error)) (Result, error) {
	if len(c.Args) == 0 {
		return Result{}, fmt.Errorf("host %s: run a command: it is empty", host)
	}
	fail := func(err error) error { return fmt.Errorf("host %s: run `%s`: %w", host, c, err) }
	limit := cmp.Or(c.Limit, CommandLimit)
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it did not end within %s: %w", limit, context.DeadlineExceeded))
	defer cancel()
	var stdout, stderr capture
	outTo, errTo := io.Writer(&stdout), io.Writer(&stderr)
	if c.Stdout != nil {
		outTo = c.Stdout
	}
	if c.Stderr != nil {
		errTo = c.Stderr
	}
	status, err := run(limited, outTo, errTo)
	out, over1 := stdout.take()
	errs, over2 := stderr.take()
	res := Result{out, errs}
	switch {
	case limited.Err() != nil:
		return res, fail(context.Cause(limited)) // of ctx, if that ended
	case errors.Is(err, exec.ErrNotFound):
		return res, &CommandError{Host: host, Command: c.String(), Status: 127, Stderr: err.Error()}
	case err != nil:
		return res, fail(err)
	case over1 || over2:
		return res, fail(fmt.Errorf("it wrote more than %d MiB", outputLimit>>20))
	case status != 0:
		return res, &CommandError{Host: host, Command: c.String(), Status: status, Stderr: string(errs)}
	}
	return res, nil
}

// capture keeps what is written, up to outputLimit.
type capture struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	over bool
}

func (t *capture) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over = t.over || t.buf.Len()+len(p) > outputLimit; t.over {
		return len(p), nil
	}
	return t.buf.Write(p)
}

// take is what was written so far; who writes may not have noticed yet that the
// wait is over.
func (t *capture) take() ([]byte, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.buf.Bytes()), t.over
}
