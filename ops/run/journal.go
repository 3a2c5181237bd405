// SPDX-License-Identifier: Apache-2.0

package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"sync"
	"time"

	"github.com/pegasus-ops/pegasus-ops/ops/plan"
)

// Journal is the record of one run, one JSON object a line, each synced before
// what it announces is done.
type Journal struct {
	ID string

	mu   sync.Mutex
	file *os.File
}

// Entry is a line of a journal. Event is begin, intent, done, failed or end.
type Entry struct {
	Time    time.Time  `json:"time"`
	Event   string     `json:"event"`
	Command string     `json:"command,omitempty"` // begin
	User    string     `json:"user,omitempty"`    // begin
	Plan    *plan.Plan `json:"plan,omitempty"`    // begin
	Step    *plan.Step `json:"step,omitempty"`    // intent, done, failed
	Note    string     `json:"note,omitempty"`
	Error   string     `json:"error,omitempty"`
}

// OpenJournal begins the journal of a run.
func (h Home) OpenJournal(p *plan.Plan, now time.Time) (*Journal, error) {
	dir := filepath.Join(h.cluster(p.Cluster), "runs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	// Nanoseconds keep two runs apart; the lock keeps them one after the other.
	id := now.UTC().Format("20060102-150405.000") + "-" + p.Command
	f, err := os.OpenFile(filepath.Join(dir, id+".jsonl"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	j := &Journal{ID: id, file: f}
	who := ""
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	if err := j.write(Entry{Event: "begin", Command: p.Command, User: who, Plan: p}); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

func (j *Journal) write(e Entry) error {
	if j == nil {
		return nil
	}
	e.Time = time.Now().UTC()
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// End closes the journal with the outcome of the run.
func (j *Journal) End(outcome error) error {
	e := Entry{Event: "end"}
	if outcome != nil {
		e.Error = outcome.Error()
	}
	return errors.Join(j.write(e), j.file.Close())
}
