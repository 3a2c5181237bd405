// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"sync"
	"time"

	"github.com/pegasus-ops/pegasus-ops/ops/plan"
	"github.com/pegasus-ops/pegasus-ops/ops/ui"
)

// watcher shows a run on the terminal and keeps the reports of its steps.
type watcher struct {
	progress *ui.Progress

	mu      sync.Mutex
	tasks   map[string]*ui.Task
	reports []stepReport
}

func newWatcher(p *ui.Progress) *watcher {
	return &watcher{progress: p, tasks: map[string]*ui.Task{}}
}

// name tells steps apart that run at the same time.
func name(s plan.Step) string { return fmt.Sprint(s.String(), "|", s.Host, "|", s.Instance) }

func (w *watcher) StepBegins(s plan.Step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tasks[name(s)] = w.progress.Begin(s.String())
}

func (w *watcher) task(s plan.Step) *ui.Task {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tasks[name(s)]
}

func (w *watcher) StepSays(s plan.Step, text string) {
	if t := w.task(s); t != nil {
		t.Say(text)
	}
}

func (w *watcher) StepEnds(s plan.Step, note string, took time.Duration, err error) {
	if t := w.task(s); t != nil {
		t.End(note, took, err)
	}
	report := stepReport{Step: s, Note: note, Seconds: took.Seconds()}
	if err != nil {
		report.Error = err.Error()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.tasks, name(s))
	w.reports = append(w.reports, report)
}
