// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Progress shows how far a run is: on a terminal a bar below the lines of
// finished steps, otherwise the lines alone and now and then what is waited for.
type Progress struct {
	ui   *UI
	bar  *progressbar.ProgressBar // nil without a terminal
	task []*Task                  // at work, oldest first
	tick *time.Ticker
	stop chan struct{}
	done chan struct{}
}

// Task is one step at work.
type Task struct {
	p     *Progress
	label string
	said  string
	told  time.Time // when a line was last written about it
}

// patience is how long a silent step may take before a line says what it is at.
const patience = 3 * time.Second

// Progress begins to show a run of so many steps. End it.
func (u *UI) Progress(steps int) *Progress {
	p := &Progress{ui: u, stop: make(chan struct{}), done: make(chan struct{})}
	if !u.o.NoProgress && IsTerminal(u.o.Err) {
		p.bar = progressbar.NewOptions(steps,
			progressbar.OptionSetWriter(u.o.Err), progressbar.OptionSetWidth(24), progressbar.OptionShowCount(),
			progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(50*time.Millisecond),
			progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false))
	}
	u.mu.Lock()
	u.bar = p
	u.mu.Unlock()
	p.tick = time.NewTicker(time.Second)
	go p.watch()
	return p
}

// watch tells of steps that take long, where no bar does.
func (p *Progress) watch() {
	defer close(p.done)
	for {
		select {
		case <-p.stop:
			return
		case now := <-p.tick.C:
			p.ui.mu.Lock()
			if p.bar == nil {
				for _, t := range p.task {
					if t.said != "" && now.Sub(t.told) >= patience {
						t.told = now
						fmt.Fprintf(p.ui.o.Err, "  ...   %s\n", t.said)
					}
				}
			}
			p.ui.mu.Unlock()
		}
	}
}

// Begin announces a step.
func (p *Progress) Begin(label string) *Task {
	p.ui.mu.Lock()
	defer p.ui.mu.Unlock()
	t := &Task{p: p, label: label, told: time.Now()}
	p.task = append(p.task, t)
	p.draw()
	return t
}

// Say tells what the step is at.
func (t *Task) Say(text string) {
	t.p.ui.mu.Lock()
	defer t.p.ui.mu.Unlock()
	t.said = text
	t.p.draw()
}

// End tells how the step went. note may be empty.
func (t *Task) End(note string, took time.Duration, err error) {
	p := t.p
	p.ui.mu.Lock()
	defer p.ui.mu.Unlock()
	p.task = slices.DeleteFunc(p.task, func(o *Task) bool { return o == t })
	p.clear()
	mark := p.ui.paintErr(Green, "  ok    ")
	if err != nil {
		mark = p.ui.paintErr(Red, "  FAIL  ")
	}
	line := mark + t.label
	if note != "" {
		line += ": " + note
	}
	if took >= 100*time.Millisecond {
		line += p.ui.paintErr(Faint, fmt.Sprintf(" (%.1fs)", took.Seconds()))
	}
	fmt.Fprintln(p.ui.o.Err, line)
	if p.bar != nil && err == nil {
		_ = p.bar.Add(1)
	}
	p.draw()
}

// End removes the bar.
func (p *Progress) End() {
	close(p.stop)
	<-p.done
	p.tick.Stop()
	p.ui.mu.Lock()
	defer p.ui.mu.Unlock()
	p.clear()
	if p.bar != nil {
		_ = p.bar.Exit()
	}
	p.bar = nil
	p.ui.bar = nil
}

// clear and draw need ui.mu held.
func (p *Progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

func (p *Progress) draw() {
	if p.bar == nil || len(p.task) == 0 {
		return
	}
	t := p.task[0]
	text := t.said
	if text == "" {
		text = t.label
	}
	if more := len(p.task) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	p.bar.Describe(cut(text, width(p.ui)-45))
}

func width(u *UI) int {
	if f, ok := u.o.Err.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

func cut(s string, n int) string {
	s, _, _ = strings.Cut(s, "\n")
	r := []rune(s)
	if n = max(n, 10); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
