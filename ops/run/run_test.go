// SPDX-License-Identifier: Apache-2.0

package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/host"
	"github.com/pegasus-ops/pegasus-ops/ops/plan"
	"github.com/pegasus-ops/pegasus-ops/ops/step"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func written(t *testing.T, dir string) *inventory.Cluster {
	t.Helper()
	text, err := inventory.Example("onebox")
	require.NoError(t, err)
	file := filepath.Join(dir, "onebox.yaml")
	require.NoError(t, os.WriteFile(file, text, 0o644))
	c, _, err := inventory.Load(file)
	require.NoError(t, err)
	return c
}

func TestRecords(t *testing.T) {
	h, dir := Home{filepath.Join(t.TempDir(), "state")}, t.TempDir()
	list, err := h.Clusters()
	require.NoError(t, err)
	require.Empty(t, list)
	_, err = h.Load("onebox")
	require.ErrorIs(t, err, ErrUnknownCluster)

	c := written(t, dir)
	require.NoError(t, h.Record(c, time.Unix(1000, 0)))
	list, err = h.Clusters()
	require.NoError(t, err)
	require.Equal(t, []Record{{Name: "onebox", Inventory: c.File, Dir: dir, Deployed: time.Unix(1000, 0).UTC()}}, list)

	// The record works without the file, and deploying from it keeps where it came from.
	require.NoError(t, os.Remove(c.File))
	again, err := h.Load("onebox")
	require.NoError(t, err)
	require.Len(t, again.Replicas, 3)
	require.NoError(t, h.Record(again, time.Unix(2000, 0)))
	r, err := h.Find("onebox")
	require.NoError(t, err)
	require.Equal(t, c.File, r.Inventory)

	require.NoError(t, h.Forget("onebox"))
	require.ErrorIs(t, h.Forget("onebox"), ErrUnknownCluster)
}

func TestFindHome(t *testing.T) {
	t.Setenv("PEGASUS_OPS_HOME", "/x/y")
	h, err := FindHome()
	require.NoError(t, err)
	require.Equal(t, "/x/y", h.Dir)
	t.Setenv("PEGASUS_OPS_HOME", "")
	t.Setenv("HOME", "/home/me")
	h, err = FindHome()
	require.NoError(t, err)
	require.Equal(t, "/home/me/.pegasus-ops", h.Dir)
}

func TestLock(t *testing.T) {
	h := Home{t.TempDir()}
	lock, err := h.Lock("c1", "deploy")
	require.NoError(t, err)
	_, err = h.Lock("c1", "clean")
	var held *HeldError
	require.ErrorAs(t, err, &held)
	require.ErrorContains(t, err, "held by `pegasus-ops deploy` of ")
	other, err := h.Lock("c2", "deploy")
	require.NoError(t, err)
	other.Unlock()
	lock.Unlock()
	lock, err = h.Lock("c1", "clean")
	require.NoError(t, err)
	lock.Unlock()
	list, err := h.Clusters()
	require.NoError(t, err)
	require.Empty(t, list, "a lock alone is no record")
}

// A lock that nothing was done under leaves nothing, and that never lets two in.
func TestLockLeavesNothing(t *testing.T) {
	h := Home{filepath.Join(t.TempDir(), "state")}
	lock, err := h.Lock("c1", "deploy")
	require.NoError(t, err)
	lock.Unlock()
	require.NoDirExists(t, h.Dir)

	var inside atomic.Int32
	var g sync.WaitGroup
	for range 4 {
		g.Go(func() {
			for range 200 {
				lock, err := h.Lock("c1", "deploy")
				if err != nil {
					var held *HeldError
					assert.ErrorAs(t, err, &held)
					continue
				}
				assert.EqualValues(t, 1, inside.Add(1))
				inside.Add(-1)
				lock.Unlock()
			}
		})
	}
	g.Wait()
	require.NoDirExists(t, h.cluster("c1"))

	lock, err = h.Lock("c1", "deploy")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(h.cluster("c1"), recordFile), nil, 0o644))
	lock.Unlock()
	require.FileExists(t, filepath.Join(h.cluster("c1"), recordFile))
}

// One who holds the lock and has not said who it is yet is named by its process.
func TestLockNamesASilentHolder(t *testing.T) {
	h := Home{t.TempDir()}
	lock, err := h.Lock("c1", "deploy")
	require.NoError(t, err)
	defer lock.Unlock()
	require.NoError(t, lock.file.Truncate(0))
	_, err = h.Lock("c1", "clean")
	require.ErrorContains(t, err, fmt.Sprintf("held by process %d (", os.Getpid()))
}

type watch struct {
	mu    sync.Mutex
	ended []string
}

func (w *watch) StepBegins(plan.Step)       {}
func (w *watch) StepSays(plan.Step, string) {}
func (w *watch) StepEnds(s plan.Step, _ string, _ time.Duration, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.ended = append(w.ended, filepath.Base(s.Path))
	}
}

func execution1(t *testing.T) (*step.Env, func(names ...string) plan.Lane) {
	t.Helper()
	root := t.TempDir()
	l, err := host.NewLocal("local")
	require.NoError(t, err)
	e := &step.Env{Cluster: &inventory.Cluster{Name: "c1"}, Hosts: map[string]host.Host{"local": l}}
	return e, func(names ...string) plan.Lane {
		var lane plan.Lane
		for _, n := range names {
			s := plan.Step{Kind: plan.MakeDir, Host: "local", Path: filepath.Join(root, n)}
			if n == "bad" {
				s.Path = "/proc/none/" + n
			}
			lane = append(lane, s)
		}
		return lane
	}
}

func TestExecuteStopsAfterTheStageThatFailed(t *testing.T) {
	e, lane := execution1(t)
	h := Home{t.TempDir()}
	p := &plan.Plan{Cluster: "c1", Command: "deploy", Stages: []plan.Stage{
		{Title: "one", Lanes: []plan.Lane{lane("a")}},
		{Title: "two", Lanes: []plan.Lane{lane("bad", "never"), lane("b", "c"), lane("bad")}},
		{Title: "three", Lanes: []plan.Lane{lane("never")}},
	}}
	j, err := h.OpenJournal(p, time.Unix(0, 0))
	require.NoError(t, err)
	w := &watch{}
	err = Execute(t.Context(), e, p, Options{Parallel: 1, Journal: j, Observer: w})
	var failed *StepError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "bad", filepath.Base(failed.Step.Path))
	require.Equal(t, []string{"a", "b", "c"}, w.ended)
	require.NoError(t, j.End(err))

	// The journal has the plan, an intent before each step, and the outcomes.
	text, err := os.ReadFile(filepath.Join(h.Dir, "clusters", "c1", "runs", j.ID+".jsonl"))
	require.NoError(t, err)
	var events []string
	for line := range bytes.Lines(text) {
		var entry Entry
		require.NoError(t, json.Unmarshal(line, &entry))
		name := entry.Event
		if entry.Step != nil {
			name += " " + filepath.Base(entry.Step.Path)
		}
		events = append(events, name)
	}
	require.Equal(t, []string{"begin", "intent a", "done a", "intent bad", "failed bad", "intent b", "done b", "intent c", "done c", "intent bad", "failed bad", "end"}, events)
}

func TestExecuteInterrupted(t *testing.T) {
	e, lane := execution1(t)
	cause := errors.New("Ctrl-C")
	ctx, cancel := context.WithCancelCause(t.Context())
	p := &plan.Plan{Cluster: "c1", Command: "deploy", Stages: []plan.Stage{{Lanes: []plan.Lane{lane("a")}}, {Lanes: []plan.Lane{lane("b")}}}}
	stop := &stopAfter{cancel: func() { cancel(cause) }}
	err := Execute(ctx, e, p, Options{Parallel: 4, Observer: stop})
	var interrupted *InterruptedError
	require.ErrorAs(t, err, &interrupted)
	require.Equal(t, 1, interrupted.Done)
	require.ErrorIs(t, err, cause)
	require.ErrorContains(t, err, "run the same command again")
}

type stopAfter struct {
	watch
	cancel func()
}

func (s *stopAfter) StepEnds(plan.Step, string, time.Duration, error) { s.cancel() }

// An interrupted run leaves no server down that it only meant to restart.
func TestOwed(t *testing.T) {
	lane := plan.Lane{{Kind: plan.WaitHealthy}, {Kind: plan.StopServer, Instance: "a"}, {Kind: plan.WriteConfig, Instance: "a"},
		{Kind: plan.StartServer, Instance: "a"}, {Kind: plan.WaitHealthy}}
	for n, want := range []bool{false, true, true, true, false} {
		require.Equal(t, want, owed(lane, n), "step %d", n)
	}
	require.False(t, owed(plan.Lane{{Kind: plan.StopServer, Instance: "a"}}, 0))
	require.False(t, owed(plan.Lane{{Kind: plan.StopServer, Instance: "a"}, {Kind: plan.StartServer, Instance: "b"}}, 0))
}
