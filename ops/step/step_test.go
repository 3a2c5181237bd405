// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/cluster"
	"github.com/pegasus-ops/pegasus-ops/ops/host"
	"github.com/pegasus-ops/pegasus-ops/ops/plan"
)

func env(t *testing.T, root string) *Env {
	t.Helper()
	text, err := inventory.Example("onebox")
	require.NoError(t, err)
	c, _, err := inventory.Parse("onebox.yaml", text, inventory.Options{Home: root, Dir: root})
	require.NoError(t, err)
	h, err := host.NewLocal("local")
	require.NoError(t, err)
	return &Env{Cluster: c, Hosts: map[string]host.Host{"local": h}, Times: DefaultTimes(), Admin: &fakeAdmin{}}
}

// fakeAdmin answers with one state after the other and then with the last.
type fakeAdmin struct {
	mu      sync.Mutex
	answers []func() (cluster.Facts, error)
	created []string
	serves  error
}

func (a *fakeAdmin) Facts(context.Context) (cluster.Facts, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.answers) == 0 {
		return cluster.Facts{}, errors.New("no leader")
	}
	next := a.answers[0]
	if len(a.answers) > 1 {
		a.answers = a.answers[1:]
	}
	return next()
}

func (a *fakeAdmin) CreateTable(_ context.Context, name string, partitions, replicas int) error {
	a.created = append(a.created, fmt.Sprint(name, partitions, replicas))
	return nil
}

func (a *fakeAdmin) Serves(context.Context, cluster.Facts) error { return a.serves }

func do(t *testing.T, e *Env, s plan.Step) (string, error) {
	t.Helper()
	return Do(t.Context(), e, s, func(string, ...any) {})
}

func TestDirectoriesComeAndGo(t *testing.T) {
	root := t.TempDir()
	e := env(t, root)
	h := e.Hosts["local"]
	deep := filepath.Join(root, "a", "b", "data")
	found := filepath.Join(root, "found")
	require.NoError(t, os.Mkdir(found, 0o755))
	for _, dir := range []string{deep, found} {
		_, err := do(t, e, plan.Step{Kind: plan.MakeDir, Host: "local", Path: dir})
		require.NoError(t, err)
		note, err := do(t, e, plan.Step{Kind: plan.MakeDir, Host: "local", Path: dir})
		require.NoError(t, err)
		require.Equal(t, "was there already", note)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o644))
	}
	facts, err := lookAtDir(t.Context(), h, deep)
	require.NoError(t, err)
	require.Equal(t, plan.DirFacts{Exists: true, Owner: "onebox", Created: filepath.Join(root, "a")}, facts)

	for _, dir := range []string{deep, found} {
		_, err := do(t, e, plan.Step{Kind: plan.RemoveDir, Host: "local", Path: dir})
		require.NoError(t, err)
	}
	_, err = do(t, e, plan.Step{Kind: plan.RemoveEmpty, Host: "local", Paths: []string{filepath.Join(root, "a", "b"), filepath.Join(root, "a"), filepath.Join(root, "none")}})
	require.NoError(t, err)
	require.NoDirExists(t, filepath.Join(root, "a"))
	facts, err = lookAtDir(t.Context(), h, found)
	require.NoError(t, err)
	require.Equal(t, plan.DirFacts{Exists: true, Empty: true}, facts, "what deploy found stays, empty")
	note, err := do(t, e, plan.Step{Kind: plan.RemoveDir, Host: "local", Path: deep})
	require.NoError(t, err)
	require.Equal(t, "was gone already", note)
}

// The marker is looked at again at the very moment of removing.
func TestNothingOfOthersIsRemoved(t *testing.T) {
	root := t.TempDir()
	e := env(t, root)
	for name, content := range map[string]string{"other": "c9\n", "none": ""} {
		dir := filepath.Join(root, name)
		require.NoError(t, os.Mkdir(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "precious"), nil, 0o644))
		if content != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, plan.MarkerName), []byte(content), 0o644))
			_, err := do(t, e, plan.Step{Kind: plan.MakeDir, Host: "local", Path: dir})
			require.ErrorContains(t, err, "belongs to cluster c9")
		}
		for _, kind := range []plan.Kind{plan.RemoveDir, plan.ReleaseDir} {
			_, err := do(t, e, plan.Step{Kind: kind, Host: "local", Path: dir})
			require.ErrorContains(t, err, "is left alone")
		}
		require.FileExists(t, filepath.Join(dir, "precious"))
	}
}

func TestReleaseDir(t *testing.T) {
	root := t.TempDir()
	e := env(t, root)
	app := filepath.Join(root, "app")
	for _, dir := range []string{app, filepath.Join(app, "meta")} {
		_, err := do(t, e, plan.Step{Kind: plan.MakeDir, Host: "local", Path: dir})
		require.NoError(t, err)
	}
	note, err := do(t, e, plan.Step{Kind: plan.ReleaseDir, Host: "local", Path: app})
	require.NoError(t, err)
	require.Equal(t, "stays, it holds meta", note)
	_, err = do(t, e, plan.Step{Kind: plan.RemoveDir, Host: "local", Path: filepath.Join(app, "meta")})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(app, "mine"), nil, 0o644))
	_, err = do(t, e, plan.Step{Kind: plan.ReleaseDir, Host: "local", Path: app})
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(app, "mine"))
	require.NoFileExists(t, filepath.Join(app, plan.MarkerName))
}

func TestDaemonIsStartedAsTheManualSays(t *testing.T) {
	t.Setenv("LD_LIBRARY_PATH", "/usr/own")
	e := env(t, "/h")
	d := Daemon(e.Cluster.Replicas[1])
	require.Equal(t, "/h/pegasus-onebox/app/replica-34802/current/bin", d.Dir)
	require.Equal(t, []string{"./pegasus_server", "/h/pegasus-onebox/app/replica-34802/config.ini", "-app_list", "replica"}, d.Args)
	require.Contains(t, d.Env, "LD_LIBRARY_PATH=/h/pegasus-onebox/app/replica-34802/current/bin:/usr/own")
}

// state is a cluster whose only partition has the given ballot and members.
func state(ballot int64, primary string, secondaries ...string) func() (cluster.Facts, error) {
	return func() (cluster.Facts, error) {
		f := cluster.Facts{Leader: "127.0.0.1:34601", Level: "steady", EffectiveLevel: "steady"}
		for _, port := range []string{"34801", "34802", "34803"} {
			f.Nodes = append(f.Nodes, cluster.Node{Address: "127.0.0.1:" + port, Alive: true, Answers: true})
		}
		p := cluster.Partition{Ballot: ballot, Primary: primary, Secondaries: secondaries, Class: cluster.ClassOf(primary != "", len(secondaries), 3)}
		table := cluster.Table{ID: 1, Name: "temp", Status: "AVAILABLE", PartitionCount: 1, ReplicaCount: 3, Known: true, Partitions: []cluster.Partition{p}}
		table.Health.Add(p.Class)
		f.Tables = []cluster.Table{table}
		return f, nil
	}
}

const a, b, c = "127.0.0.1:34801", "127.0.0.1:34802", "127.0.0.1:34803"

func silent() (cluster.Facts, error) { return cluster.Facts{}, errors.New("no leader") }

func TestWaitHealthy(t *testing.T) {
	t.Run("until it is", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := env(t, "/h")
			e.Admin = &fakeAdmin{answers: []func() (cluster.Facts, error){silent, state(1, a), state(2, a, b), state(3, a, b, c)}}
			_, err := do(t, e, plan.Step{Kind: plan.WaitHealthy})
			require.NoError(t, err)
		})
	})
	t.Run("gives up when nothing moves, with the reasons", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := env(t, "/h")
			e.Admin = &fakeAdmin{answers: []func() (cluster.Facts, error){state(2, a, b)}}
			began := time.Now()
			_, err := do(t, e, plan.Step{Kind: plan.WaitHealthy})
			require.ErrorContains(t, err, "1 of 1 partitions ill")
			require.InDelta(t, e.Times.Healthy.Seconds(), time.Since(began).Seconds(), 5)
		})
	})
	t.Run("is patient while something moves", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := env(t, "/h")
			slow := []func() (cluster.Facts, error){}
			for _, s := range []func() (cluster.Facts, error){state(1, ""), state(1, a), state(2, a, b)} {
				for range int(e.Times.Healthy/e.Times.Poll) - 10 {
					slow = append(slow, s)
				}
			}
			e.Admin = &fakeAdmin{answers: append(slow, state(3, a, b, c))}
			_, err := do(t, e, plan.Step{Kind: plan.WaitHealthy})
			require.NoError(t, err)
		})
	})
	t.Run("not before partitions answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := env(t, "/h")
			e.Admin = &fakeAdmin{answers: []func() (cluster.Facts, error){state(3, a, b, c)}, serves: errors.New("partition 1.0 does not answer")}
			_, err := do(t, e, plan.Step{Kind: plan.WaitHealthy})
			require.ErrorContains(t, err, "partition 1.0 does not answer")
		})
	})
	t.Run("ends with its context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := env(t, "/h")
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := Do(ctx, e, plan.Step{Kind: plan.WaitHealthy}, func(string, ...any) {})
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	})
}

// A restart is over when the ballots of the server's partitions have grown: the
// picture before, full health included, is an old one.
func TestWaitHealthySeesThroughOldNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := env(t, "/h")
		admin := &fakeAdmin{answers: []func() (cluster.Facts, error){state(3, a, b, c)}}
		e.Admin = admin
		e.settling.begin(t.Context(), e, b)
		e.settling.begin(t.Context(), e, "127.0.0.1:1") // a server without replicas has nothing to wait for
		admin.answers = []func() (cluster.Facts, error){state(3, a, b, c), state(3, a, b, c), state(4, a, c), state(5, a, c, b)}
		_, err := do(t, e, plan.Step{Kind: plan.WaitHealthy})
		require.NoError(t, err)
		require.Len(t, admin.answers, 1, "it waited for the last picture")

		// A server that keeps its ballots is not waited for without end.
		e.settling.begin(t.Context(), e, b)
		began := time.Now()
		_, err = do(t, e, plan.Step{Kind: plan.WaitHealthy})
		require.NoError(t, err)
		require.InDelta(t, e.Times.Settle.Seconds(), time.Since(began).Seconds(), 2)
	})
}

func TestWaitNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := env(t, "/h")
		down := func() (cluster.Facts, error) {
			f, err := state(1, a)()
			f.Nodes = f.Nodes[:2]
			return f, err
		}
		e.Admin = &fakeAdmin{answers: []func() (cluster.Facts, error){silent, down, state(1, a)}}
		_, err := do(t, e, plan.Step{Kind: plan.WaitNodes})
		require.NoError(t, err)
		e.Admin = &fakeAdmin{answers: []func() (cluster.Facts, error){down}}
		_, err = do(t, e, plan.Step{Kind: plan.WaitNodes})
		require.ErrorContains(t, err, "2 of 3 replica servers are alive, missing 127.0.0.1:34803")
	})
}

// mortal is a host whose servers run until they are told to have ended.
type mortal struct {
	host.Host
	find func() *host.Process
}

func (m mortal) Find(context.Context, host.Daemon) (*host.Process, error) { return m.find(), nil }

// A server that ends while the cluster is waited for is told of at once, with
// what it printed and logged.
func TestWaitsNoticeAServerThatEnds(t *testing.T) {
	since := time.Unix(1000, 0)
	for name, after := range map[string]*host.Process{
		"it is gone":          nil,
		"the number is anew":  {PID: 7, Since: since.Add(time.Minute)},
		"another runs for it": {PID: 8, Since: since},
	} {
		for _, kind := range []plan.Kind{plan.WaitNodes, plan.WaitHealthy} {
			t.Run(name+" "+string(kind), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := env(t, t.TempDir())
					on := e.Cluster.Replicas[1]
					require.NoError(t, os.MkdirAll(on.LogDir(), 0o755))
					require.NoError(t, os.WriteFile(on.OutputFile(), []byte("panic: printed\n"), 0o644))
					require.NoError(t, os.WriteFile(filepath.Join(on.LogDir(), "replica.log"), []byte("E logged\n"), 0o644))
					began := time.Now()
					e.Hosts["local"] = mortal{e.Hosts["local"], func() *host.Process {
						if time.Since(began) < 3*time.Second {
							return &host.Process{PID: 7, Since: since}
						}
						return after
					}}
					e.started.note(on, host.Process{PID: 7, Since: since})
					_, err := do(t, e, plan.Step{Kind: kind})
					require.ErrorContains(t, err, on.ID()+" ended soon after its start (process 7)")
					require.ErrorContains(t, err, "panic: printed")
					require.ErrorContains(t, err, "E logged")
					require.InDelta(t, 3, time.Since(began).Seconds(), 1)

					// One that was stopped on purpose is not missed.
					e.started.forget(on)
					_, err = do(t, e, plan.Step{Kind: kind})
					require.NotContains(t, err.Error(), "ended")
				})
			})
		}
	}
}

func TestCreateTable(t *testing.T) {
	e := env(t, "/h")
	admin := &fakeAdmin{answers: []func() (cluster.Facts, error){state(1, a)}}
	e.Admin = admin
	note, err := do(t, e, plan.Step{Kind: plan.CreateTable, Table: &plan.Table{Name: "temp", Partitions: 8, Replicas: 3}})
	require.NoError(t, err)
	require.Equal(t, "was there already", note)
	_, err = do(t, e, plan.Step{Kind: plan.CreateTable, Table: &plan.Table{Name: "stat", Partitions: 4, Replicas: 3}})
	require.NoError(t, err)
	require.Equal(t, []string{"stat4 3"}, admin.created)
}

func TestUnknown(t *testing.T) {
	e := env(t, "/h")
	_, err := do(t, e, plan.Step{Kind: "dance"})
	require.Error(t, err)
	_, err = do(t, e, plan.Step{Kind: plan.MakeDir, Host: "nowhere"})
	require.ErrorContains(t, err, "nowhere")
}

// A host on which nothing was deployed has nothing to tell, and that is no error.
func TestGatherOfNothing(t *testing.T) {
	root := t.TempDir()
	e := env(t, root)
	f, err := Gather(t.Context(), e, 4)
	require.NoError(t, err)
	require.Nil(t, f.Cluster)
	require.Len(t, f.Hosts["local"].Instances, 5)
	for dir, facts := range f.Hosts["local"].Dirs {
		require.Equal(t, plan.DirFacts{}, facts, dir)
	}
	delete(e.Hosts, "local")
	_, err = Gather(t.Context(), e, 4)
	require.ErrorContains(t, err, "no connection to host local")
}
