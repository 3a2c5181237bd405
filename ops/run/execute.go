// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pegasus-ops/pegasus-ops/ops/plan"
	"github.com/pegasus-ops/pegasus-ops/ops/step"
)

// Observer is told how a run goes on. Its methods are called from several
// goroutines.
type Observer interface {
	StepBegins(s plan.Step)
	StepSays(s plan.Step, text string)
	StepEnds(s plan.Step, note string, took time.Duration, err error)
}

// StepError is a step that failed.
type StepError struct {
	Step plan.Step
	Err  error
}

func (e *StepError) Error() string { return fmt.Sprintf("%s: %v", e.Step, e.Err) }
func (e *StepError) Unwrap() error { return e.Err }

// InterruptedError is a run that was told to stop.
type InterruptedError struct {
	Done, Of int
	Cause    error
}

func (e *InterruptedError) Error() string {
	return fmt.Sprintf("interrupted after %d of %d steps (%v); run the same command again to go on", e.Done, e.Of, e.Cause)
}
func (e *InterruptedError) Unwrap() error { return e.Cause }

// Options of a run.
type Options struct {
	Parallel int      // lanes at once
	Journal  *Journal // nil keeps none
	Observer Observer // nil: nobody watches
}

// Execute does what the plan says. All failures of a stage are reported
// together, as [*StepError]s; a cancelled context as an [*InterruptedError].
func Execute(ctx context.Context, e *step.Env, p *plan.Plan, o Options) error {
	r := &execution{env: e, options: o}
	for _, stage := range p.Stages {
		err := r.stage(ctx, stage)
		if ctx.Err() != nil {
			return &InterruptedError{Done: r.done, Of: p.Steps(), Cause: context.Cause(ctx)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type execution struct {
	env     *step.Env
	options Options
	mu      sync.Mutex
	done    int
}

func (r *execution) stage(ctx context.Context, s plan.Stage) error {
	var g errgroup.Group
	g.SetLimit(max(1, r.options.Parallel))
	failed := make([]error, len(s.Lanes))
	for n, lane := range s.Lanes {
		g.Go(func() error {
			failed[n] = r.lane(ctx, lane)
			return nil
		})
	}
	_ = g.Wait() // errors are in failed
	return errors.Join(failed...)
}

func (r *execution) lane(ctx context.Context, lane plan.Lane) error {
	for n, s := range lane {
		ctx := ctx
		if owed(lane, n) {
			// A server that was stopped in order to be started again is started
			// again, Ctrl-C or not. The deadlines of the steps still hold.
			ctx = context.WithoutCancel(ctx)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := r.step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// owed says whether step n stands between the stop of a server and its start,
// these two included.
func owed(lane plan.Lane, n int) bool {
	for _, start := range lane[n:] {
		if start.Kind != plan.StartServer {
			continue
		}
		for _, stop := range lane[:n+1] {
			if stop.Kind == plan.StopServer && stop.Instance == start.Instance {
				return true
			}
		}
	}
	return false
}

func (r *execution) step(ctx context.Context, s plan.Step) error {
	if err := r.options.Journal.write(Entry{Event: "intent", Step: &s}); err != nil {
		return err
	}
	watch := r.options.Observer
	if watch != nil {
		watch.StepBegins(s)
	}
	began := time.Now()
	note, err := step.Do(ctx, r.env, s, func(format string, args ...any) {
		if watch != nil {
			watch.StepSays(s, fmt.Sprintf(format, args...))
		}
	})
	if watch != nil {
		watch.StepEnds(s, note, time.Since(began), err)
	}
	if err != nil {
		return errors.Join(&StepError{s, err}, r.options.Journal.write(Entry{Event: "failed", Step: &s, Error: err.Error()}))
	}
	r.mu.Lock()
	r.done++
	r.mu.Unlock()
	return r.options.Journal.write(Entry{Event: "done", Step: &s, Note: note})
}
