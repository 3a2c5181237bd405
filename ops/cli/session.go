// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/plan"
	"github.com/pegasus-ops/pegasus-ops/ops/run"
	"github.com/pegasus-ops/pegasus-ops/ops/step"
	"github.com/pegasus-ops/pegasus-ops/ops/ui"
)

// session is a cluster at hand: its hosts are connected, its names resolved.
type session struct {
	*step.Env
	cluster Cluster
}

// open connects to everything of a cluster.
func (a *App) open(ctx context.Context, c *inventory.Cluster) (*session, error) {
	if err := a.resolve(ctx, c); err != nil {
		return nil, err
	}
	s := &session{Env: &step.Env{Cluster: c, Times: a.Times}}
	var err error
	if s.Hosts, err = a.connect(ctx, c.Hosts); err != nil {
		return nil, err
	}
	admin, err := a.OpenCluster(ctx, c.MetaAddresses())
	if err != nil {
		return nil, err
	}
	s.cluster, s.Admin = admin, admin
	return s, nil
}

// close lets go of the cluster. The connections to hosts are kept until the end
// of the command.
func (s *session) close() {
	if s.cluster != nil {
		s.cluster.Close()
	}
}

// change is what commands that change a cluster have in common: take the
// cluster, read the facts, plan, and then print the plan or execute it.
type change struct {
	command string
	cluster *inventory.Cluster
	plan    func(f plan.Facts) (*plan.Plan, error)
	// question is asked before a plan that changes something; "" asks nothing.
	question func(p *plan.Plan) string
	// begin is called before the first step is done.
	begin func() error
	// idle is what to say when there is nothing to change.
	idle string
}

// outcome is what became of a change.
type outcome struct {
	plan    *plan.Plan
	steps   []stepReport
	dryRun  bool
	seconds float64
	session *session
}

// stepReport is a finished step in JSON results.
type stepReport struct {
	plan.Step
	Note    string  `json:"note,omitempty"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// document is the JSON result of a change.
type document struct {
	Cluster string       `json:"cluster"`
	Command string       `json:"command"`
	DryRun  bool         `json:"dry_run"`
	Changed bool         `json:"changed"`
	Plan    *plan.Plan   `json:"plan,omitempty"` // of a dry run
	Steps   []stepReport `json:"steps"`
	Seconds float64      `json:"seconds"`
	Status  *statusDoc   `json:"status,omitempty"`
	Error   string       `json:"error,omitempty"`
}

func (o *outcome) document(err error) document {
	d := document{Cluster: o.plan.Cluster, Command: o.plan.Command, DryRun: o.dryRun, Steps: o.steps, Seconds: o.seconds,
		Changed: o.plan.Changes() && !o.dryRun}
	if o.dryRun {
		d.Plan = o.plan
	}
	if d.Steps == nil {
		d.Steps = []stepReport{}
	}
	if err != nil {
		d.Error = err.Error()
	}
	return d
}

// apply carries out a change. The outcome is nil if it did not come to a plan;
// its session is open and to be closed by the caller.
func (a *App) apply(ctx context.Context, c change) (*outcome, error) {
	s, err := a.open(ctx, c.cluster)
	if err != nil {
		return nil, err
	}
	o := &outcome{dryRun: a.global.dryRun, session: s}
	if !a.global.dryRun {
		lock, err := a.home.Lock(c.cluster.Name, c.command)
		if err != nil {
			s.close()
			return nil, err
		}
		defer lock.Unlock()
	}
	if err := a.planChange(ctx, c, o); err != nil {
		s.close()
		return nil, err
	}
	if a.global.dryRun {
		return o, nil
	}
	if !o.plan.Changes() {
		a.ui.Info("%s", c.idle)
	} else if c.question != nil && !a.global.yes {
		if err := a.confirm(c.question(o.plan), c.cluster.Name); err != nil {
			s.close()
			return nil, err
		}
	}
	if c.begin != nil {
		if err := c.begin(); err != nil {
			s.close()
			return nil, err
		}
	}
	if o.plan.Steps() == 0 {
		return o, nil
	}
	return o, a.execute(ctx, o)
}

func (a *App) planChange(ctx context.Context, c change, o *outcome) error {
	facts, err := step.Gather(ctx, o.session.Env, a.global.parallel)
	if err != nil {
		return err
	}
	if o.plan, err = c.plan(facts); err != nil {
		return err
	}
	for _, w := range o.plan.Warnings {
		a.ui.Warn("%s", w)
	}
	return nil
}

// confirm asks before harm can be done.
func (a *App) confirm(question, word string) error {
	yes, err := a.ui.Confirm(question, word)
	if err != nil {
		return err
	}
	if !yes {
		return &plan.Refusal{Reasons: []string{"you did not say yes"}}
	}
	return nil
}

func (a *App) execute(ctx context.Context, o *outcome) (err error) {
	journal, err := a.home.OpenJournal(o.plan, time.Now())
	if err != nil {
		return err
	}
	began := time.Now()
	watch := newWatcher(a.ui.Progress(o.plan.Steps()))
	err = run.Execute(ctx, o.session.Env, o.plan, run.Options{Parallel: a.global.parallel, Journal: journal, Observer: watch})
	watch.progress.End()
	o.steps, o.seconds = watch.reports, time.Since(began).Seconds()
	a.ui.Detail("journal %s", journal.ID)
	return errors.Join(err, journal.End(err))
}

// finish prints the result of a change that has no other.
func (a *App) finish(o *outcome, err error, said string) error {
	if o == nil {
		return err
	}
	defer o.session.close()
	switch {
	case a.ui.WantsJSON():
		return errors.Join(err, a.ui.JSON(o.document(err)))
	case err != nil:
		return err
	case o.dryRun:
		a.printPlan(o.plan)
	case o.plan.Changes():
		a.ui.Print("%s", said)
	}
	return nil
}

// printPlan shows what would be done.
func (a *App) printPlan(p *plan.Plan) {
	if p.Steps() == 0 {
		a.ui.Print("Nothing to change: cluster %s is as it should be.", p.Cluster)
		return
	}
	a.ui.Print("Plan of `%s` for cluster %s, %s:", p.Command, p.Cluster, ui.Count(p.Steps(), "step"))
	for n, stage := range p.Stages {
		a.ui.Print("%2d. %s", n+1, a.ui.Paint(ui.Bold, stage.Title))
		for _, lane := range stage.Lanes {
			for _, s := range lane {
				a.ui.Print("    - %s%s", s, a.ui.Paint(ui.Faint, fmt.Sprintf("  (%s)", s.Reason)))
			}
		}
	}
	a.ui.Print("Nothing was changed (--dry-run).")
}
