// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pegasus-ops/pegasus-ops/ops/cluster"
	"github.com/pegasus-ops/pegasus-ops/ops/host/link/linktest"
	"github.com/pegasus-ops/pegasus-ops/ops/pack"
	"github.com/pegasus-ops/pegasus-ops/ops/step"
	"github.com/pegasus-ops/pegasus-ops/templates"
)

// The test program plays pegasus-ops, with a cluster that is healthy when all
// replica servers listen, and pegasus_server, which does nothing but listen.
func TestMain(m *testing.M) {
	testscript.Main(cleaned{m}, map[string]func(){
		"pegasus-ops":    func() { os.Exit(fakeOps()) },
		"pegasus_server": func() { os.Exit(fakeServer()) },
	})
}

// cleaned removes the package of the tests after the last of them.
type cleaned struct{ m *testing.M }

func (c cleaned) Run() int {
	code := c.m.Run()
	if packed != "" {
		_ = os.RemoveAll(packed)
	}
	return code
}

// packed is the folder of fakePackage, once it is made.
var packed string

func fakeOps() int {
	app := NewApp(Build{Version: "9.9.9", GitSHA: "abcdef0", Type: "test"})
	app.OpenCluster = func(context.Context, []string) (Cluster, error) { return fakeCluster{}, nil }
	app.Times.Poll, app.Times.Listen, app.Times.Healthy, app.Times.Nodes = 10*time.Millisecond, 10*time.Second, 500*time.Millisecond, 10*time.Second
	app.Times.Settle = 50 * time.Millisecond // the fake cluster has no ballots
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return app.Main(ctx, os.Args[1:])
}

// fakeCluster reads what it is from the environment: META and REPLICAS are
// addresses, TABLES is a file with the tables that were created.
type fakeCluster struct{}

func (fakeCluster) Facts(ctx context.Context) (cluster.Facts, error) {
	meta := "127.0.0.1:" + os.Getenv("META")
	if !step.Listens(ctx, meta) {
		return cluster.Facts{}, errors.New("no meta server answers")
	}
	f := cluster.Facts{Leader: meta, Level: "steady", EffectiveLevel: "steady",
		Metas: []cluster.Meta{{Address: meta, Leader: true, Answers: true, Server: cluster.Server{Version: "1.2.3"}}}}
	for _, p := range []string{"R0", "R1", "R2"} {
		address := "127.0.0.1:" + os.Getenv(p)
		alive := step.Listens(ctx, address)
		f.Nodes = append(f.Nodes, cluster.Node{Address: address, Alive: alive, Answers: alive, Server: cluster.Server{Version: "1.2.3"}})
	}
	text, _ := os.ReadFile(os.Getenv("TABLES"))
	for n, line := range strings.Fields(string(text)) {
		t := cluster.Table{ID: int32(n + 1), Name: line, Status: "AVAILABLE", PartitionCount: 1, ReplicaCount: 3, Known: true}
		p := cluster.Partition{Primary: f.Nodes[0].Address, Secondaries: []string{f.Nodes[1].Address, f.Nodes[2].Address}}
		t.Partitions = append(t.Partitions, p)
		t.Health.Add(p.Class)
		f.Tables = append(f.Tables, t)
	}
	return f, nil
}

func (fakeCluster) CreateTable(_ context.Context, name string, _, _ int) error {
	f, err := os.OpenFile(os.Getenv("TABLES"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, name)
	return errors.Join(err, f.Close())
}

func (fakeCluster) Serves(context.Context, cluster.Facts) error { return nil }
func (fakeCluster) ServerInfo(context.Context, string) (cluster.Server, error) {
	return cluster.Server{Version: "1.2.4"}, nil
}
func (fakeCluster) Close() {}

var ports = regexp.MustCompile(`(?m)^\[apps\.(\w+)\]\n(?:[^\[]*\n)?ports = (\d+)`)

// fakeServer listens on the port of its role until it is told to end.
func fakeServer() int {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("Pegasus server 1.2.3 (abcdef0) release")
		return 0
	}
	if len(os.Args) == 3 && os.Args[1] == "--check" {
		config, _ := os.ReadFile(os.Args[2])
		switch {
		case strings.Contains(string(config), "bad_value"):
			fmt.Fprintf(os.Stderr, "%s:7: [own] bad_value is not valid\n", os.Args[2])
			return 255
		case strings.Contains(string(config), "no_check"):
			fmt.Fprintln(os.Stderr, "usage: pegasus_server config.ini")
			return 1
		}
		return 0
	}
	config, err := os.ReadFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if strings.Contains(string(config), "die_at_start") {
		fmt.Fprintln(os.Stderr, "F I was told to die")
		return 1
	}
	port := 0
	for _, m := range ports.FindAllStringSubmatch(string(config), -1) {
		if m[1] == os.Args[3] {
			port, _ = strconv.Atoi(m[2])
		}
	}
	listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer listener.Close()
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	select {
	case <-term:
	case <-time.After(2 * time.Minute): // a test that was killed leaves nothing for ever
	}
	return 0
}

// fakePackage is packed once, from this test program.
var fakePackage = sync.OnceValues(func() (pack.Info, error) {
	self, err := os.Executable()
	if err != nil {
		return pack.Info{}, err
	}
	dir, err := os.MkdirTemp("", "pegasus-ops-test-*")
	if err != nil {
		return pack.Info{}, err
	}
	packed = dir
	program := filepath.Join(dir, "pegasus_server")
	if err := os.Symlink(self, program); err != nil {
		return pack.Info{}, err
	}
	return pack.Build(context.Background(), pack.BuildOptions{Out: filepath.Join(dir, "dist"), Program: program, Config: templates.Bundled().Text})
})

func TestScripts(t *testing.T) { runScripts(t, "testdata/script", nil) }

// The scripts of testdata/ssh find a real sshd.
func TestSSHScripts(t *testing.T) {
	d := linktest.Sshd(t)
	wrong := filepath.Join(t.TempDir(), "wrongkey")
	linktest.WriteKey(t, wrong, "")
	runScripts(t, "testdata/ssh", map[string]string{"SSHPORT": strconv.Itoa(d.Port), "SSHUSER": d.User, "SSHKEY": d.KeyFile, "SSHKNOWN": d.KnownHosts,
		"WRONGKEY": wrong, "SSH_AUTH_SOCK": ""})
}

func runScripts(t *testing.T, dir string, env map[string]string) {
	info, err := fakePackage()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                dir,
		RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			for k, v := range env {
				e.Setenv(k, v)
			}
			e.Setenv("PEGASUS_OPS_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("PACKAGE", info.Path)
			e.Setenv("SHA", info.SHA256)
			e.Setenv("TABLES", filepath.Join(e.WorkDir, "tables"))
			if err := os.Mkdir(filepath.Join(e.WorkDir, "home"), 0o755); err != nil {
				return err
			}
			e.Defer(func() { killServers(e.WorkDir) })
			return freePorts(e, "META", "R0", "R1", "R2", "COL")
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":     exits,
			"expand":    expand,
			"noservers": noServers,
			"kill9":     killNine,
		},
	})
}

func freePorts(e *testscript.Env, names ...string) error {
	for _, name := range names {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		e.Setenv(name, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return nil
}

// exits N CMD... runs a command that must end with status N.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s ended with status %d, not %d", strings.Join(args[1:], " "), got, want)
	}
}

// expand FILE... replaces ${NAME} by the environment in files.
func expand(ts *testscript.TestScript, _ bool, args []string) {
	for _, file := range args {
		p := ts.MkAbs(file)
		text, err := os.ReadFile(p)
		ts.Check(err)
		ts.Check(os.WriteFile(p, []byte(os.Expand(string(text), ts.Getenv)), 0o644))
	}
}

// servers are the processes of the test, by command line.
func servers(workDir string) (pids []int) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range lines {
		line, err := os.ReadFile(p)
		if err == nil && strings.HasPrefix(string(line), "./pegasus_server\x00"+workDir) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func killServers(workDir string) {
	for _, pid := range servers(workDir) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func noServers(ts *testscript.TestScript, _ bool, _ []string) {
	if pids := servers(ts.Getenv("WORK")); len(pids) > 0 {
		ts.Fatalf("servers still run: %v", pids)
	}
}

// kill9 FILE kills the process whose pid file it is.
func killNine(ts *testscript.TestScript, _ bool, args []string) {
	first, _, _ := strings.Cut(ts.ReadFile(args[0]), "\n")
	pid, err := strconv.Atoi(first)
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Second); len(servers(ts.MkAbs("."))) > 4 && time.Now().Before(deadline); {
		<-tick.C
	}
}

func TestProbeKeys(t *testing.T) {
	for _, n := range []int{0, 1, 4, 128} {
		keys := probeKeys(n)
		if len(keys) != n {
			t.Fatal(n, len(keys))
		}
		for i, k := range keys {
			if k == nil {
				t.Fatalf("partition %d of %d has no key", i, n)
			}
		}
	}
}

// Every command has help with its exit statuses, and examples where they help.
func TestHelp(t *testing.T) {
	root := NewApp(Build{}).Root()
	for _, c := range root.Commands() {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		if c.Long == "" || c.Short == "" || c.GroupID == "" {
			t.Errorf("%s: help is missing", c.Name())
		}
		if c.Name() != "version" && !strings.Contains(c.Long, "Exit status:") {
			t.Errorf("%s: its help does not tell the exit statuses", c.Name())
		}
	}
}
