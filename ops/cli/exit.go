// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/host/link"
	"github.com/pegasus-ops/pegasus-ops/ops/pack"
	"github.com/pegasus-ops/pegasus-ops/ops/plan"
	"github.com/pegasus-ops/pegasus-ops/ops/run"
	"github.com/pegasus-ops/pegasus-ops/ops/shell"
	"github.com/pegasus-ops/pegasus-ops/ops/ui"
	"github.com/pegasus-ops/pegasus-ops/templates"
)

// Exit statuses. Scripts rely on them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitHeld        = 4
	exitInterrupted = 5
)

const exitHelp = `Exit status: 0 done; 1 failed, or the cluster is not healthy; 2 wrong usage or
an invalid inventory; 3 refused by a safety check, nothing was changed; 4 another
operation holds the cluster; 5 interrupted part-way, run the command again.`

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usage(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// errTold ends a command with status 1 after its result said everything.
var errTold = errors.New("said already")

// status maps an error to the exit status of the process.
func status(err error) int {
	if err == nil {
		return exitDone
	}
	if asAny[*usageError](err) || asAny[*inventory.Problems](err) || asAny[*inventory.NodeError](err) ||
		asAny[*templates.LeftoverError](err) || asAny[*pack.InvalidError](err) || asAny[*link.ConfigError](err) ||
		asAny[*ui.NeedYesError](err) {
		return exitUsage
	}
	if asAny[*plan.Refusal](err) || asAny[*link.HostKeyError](err) {
		return exitRefused
	}
	if asAny[*run.HeldError](err) {
		return exitHeld
	}
	if asAny[*run.InterruptedError](err) || errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	// cobra's own complaints have no type.
	if s := err.Error(); strings.HasPrefix(s, "unknown command") || strings.HasPrefix(s, "required flag") || strings.HasPrefix(s, "if any flags in the group") {
		return exitUsage
	}
	return exitFailed
}

func asAny[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// failure is the document of a failed command under -o json.
type failure struct {
	Error    string              `json:"error"`
	Status   int                 `json:"exit_status"`
	Problems []inventory.Problem `json:"problems,omitempty"`
	Refused  []string            `json:"refused,omitempty"`
}

// report tells the operator what went wrong and returns the exit status.
func (a *App) report(err error) int {
	code := status(err)
	if a.ui == nil { // not even the flags could be read
		if err != nil {
			fmt.Fprintf(a.Err, "error: %v\n", err)
		}
		return code
	}
	if err == nil {
		return code
	}
	if a.ui.WantsJSON() && !a.ui.PrintedJSON() {
		doc := failure{Error: err.Error(), Status: code}
		var problems *inventory.Problems
		if errors.As(err, &problems) {
			doc.Problems = problems.List
		}
		var refused *plan.Refusal
		if errors.As(err, &refused) {
			doc.Refused = refused.Reasons
		}
		_ = a.ui.JSON(doc)
	}
	switch {
	case errors.Is(err, errTold), errors.Is(err, shell.ErrCommandFailed):
	case asAny[*inventory.Problems](err), asAny[*templates.LeftoverError](err):
		// As compilers write them, so that editors jump to the line.
		a.ui.Info("%s", err)
		a.advise()
		a.ui.Error("%s; nothing was touched", ui.Count(strings.Count(err.Error(), "\n")+1, "problem"))
	case asAny[*plan.Refusal](err) && asAny[*run.StepError](err):
		a.ui.Error("refused, no server was touched:\n%s", err)
	case asAny[*plan.Refusal](err):
		a.ui.Error("refused, nothing was changed:\n%s", err)
	default:
		a.ui.Error("%v", err)
	}
	a.advise()
	return code
}

// advise prints the warnings that were held back for the errors to come first.
func (a *App) advise() {
	for _, w := range a.advice {
		a.ui.Warn("%s", w)
	}
	a.advice = nil
}
