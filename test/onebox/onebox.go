// SPDX-License-Identifier: Apache-2.0

// Package onebox runs a whole cluster of real processes on this machine for tests and
// benchmarks: it writes an inventory, lets pegasus-ops deploy it, and can kill what it likes.
package onebox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"text/template"
	"time"
)

// Options describes a cluster of one meta server, some replica servers and a collector.
type Options struct {
	Dir      string   // everything the cluster writes lies below; must be absolute
	Name     string   // of the cluster; default "test"
	Tables   []Table  // default temp and stat
	Replicas int      // replica servers; default 3
	Ports    int      // first of the ports used; 0 finds free ones
	Config   string   // YAML below the inventory's config key, indented by two spaces; not meta_server or pegasus.server
	SSH      string   // the ssh section of the inventory; the machine is then reached over ssh
	Extra    []string // more arguments for deploy
}

// A Table is created by the deployment.
type Table struct {
	Name       string
	Partitions int
}

// Roles of an Instance, as -app_list takes them.
const (
	Meta      = "meta"
	Replica   = "replica"
	Collector = "collector"
)

// An Instance is one pegasus_server process.
type Instance struct {
	Role string
	Port int
}

// Addr returns "127.0.0.1:port".
func (i Instance) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(i.Port)) }

// A Cluster has been deployed.
type Cluster struct {
	opts      Options
	inventory string
	Instances []Instance
}

// root is the top of the source tree, wherever the test runs.
func root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = up
	}
	return "", err
}

var built struct {
	once sync.Once
	dir  string // holds bin/ and the package
	pkg  string
	err  error
}

// Build makes the binaries and the server package once a process, in a directory of its own.
func Build(ctx context.Context) (opsBinary, pkg string, err error) {
	built.once.Do(func() {
		top, err := root()
		if err != nil {
			built.err = err
			return
		}
		dir, err := os.MkdirTemp("", "pegasus-build-")
		if err != nil {
			built.err = err
			return
		}
		built.dir = dir
		if out, err := command(ctx, top, "go", "build", "-o", filepath.Join(dir, "bin")+"/", "./cmd/pegasus-ops").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
			return
		}
		out, err := command(ctx, top, filepath.Join(dir, "bin", "pegasus-ops"), "pack", "--out", filepath.Join(dir, "dist")).CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("pegasus-ops pack: %w\n%s", err, out)
			return
		}
		found, _ := filepath.Glob(filepath.Join(dir, "dist", "*.tar.gz"))
		if len(found) != 1 {
			built.err = fmt.Errorf("pegasus-ops pack left %d packages", len(found))
			return
		}
		built.pkg = found[0]
	})
	return filepath.Join(built.dir, "bin", "pegasus-ops"), built.pkg, built.err
}

// RemoveBuild deletes what Build made.
func RemoveBuild() {
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
}

func command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	return c
}

var inventoryText = template.Must(template.New("").Parse(`cluster: {{.Name}}
home_dir: {{.Dir}}/home
app_dir: {{.Dir}}/app
supervisor: daemon
{{- with .SSH}}
ssh: {{.}}
{{- end}}
hosts:
  local: { {{- if not .SSH}}connection: local, {{end}}address: 127.0.0.1}
meta_servers:
  - {host: local, port: {{.Port 0}}}
replica_servers:
{{- range .ReplicaPorts}}
  - {host: local, port: {{.}}, data_dirs: {d1: {{$.Dir}}/data/{{.}}-1, d2: {{$.Dir}}/data/{{.}}-2}}
{{- end}}
collectors:
  - {host: local, port: {{.Port 1}}}
tables:
{{- range .Tables}}
  - {name: {{.Name}}, partitions: {{.Partitions}}, replicas: 3}
{{- end}}
config:
  meta_server:
    min_live_node_count_for_unfreeze: 1  # three servers, and one is going to be killed
    stable_rs_min_running_seconds: 0     # and started again, often
  pegasus.server: {rocksdb_block_cache_capacity: 268435456} # as in the example inventory
{{.Config}}
`))

type inventoryData struct {
	Options
	ports []int
}

func (d inventoryData) Port(i int) int      { return d.ports[i] }
func (d inventoryData) ReplicaPorts() []int { return d.ports[2:] }

// Deploy builds what is needed, writes the inventory and runs pegasus-ops deploy, which returns
// when every table is healthy.
func Deploy(ctx context.Context, o Options) (*Cluster, error) {
	if o.Name == "" {
		o.Name = "test"
	}
	if o.Replicas == 0 {
		o.Replicas = 3
	}
	if o.Tables == nil {
		o.Tables = []Table{{"temp", 8}, {"stat", 4}}
	}
	_, pkg, err := Build(ctx)
	if err != nil {
		return nil, err
	}
	ports, err := pickPorts(o.Ports, 2+o.Replicas)
	if err != nil {
		return nil, err
	}
	c := &Cluster{opts: o, inventory: filepath.Join(o.Dir, "inventory.yaml")}
	c.Instances = append(c.Instances, Instance{Meta, ports[0]}, Instance{Collector, ports[1]})
	for _, p := range ports[2:] {
		c.Instances = append(c.Instances, Instance{Replica, p})
	}
	var b bytes.Buffer
	if err := inventoryText.Execute(&b, inventoryData{o, ports}); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(c.inventory, b.Bytes(), 0o644); err != nil {
		return nil, err
	}
	if _, err := c.Ops(ctx, append([]string{"deploy", c.inventory, "--package", pkg}, o.Extra...)...); err != nil {
		return c, err
	}
	return c, nil
}

// pickPorts returns n ports: from first on, or free ones. They lie below those the kernel gives to
// outgoing connections, so that none of these takes the port of a server that is down.
func pickPorts(first, n int) ([]int, error) {
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		if first > 0 {
			ports = append(ports, first+len(ports))
			continue
		}
		if tries > 1000 {
			return nil, fmt.Errorf("found no %d free ports", n)
		}
		port := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		l.Close()
		if !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports, nil
}

// Metas returns the addresses of the meta servers.
func (c *Cluster) Metas() []string {
	var out []string
	for _, i := range c.Role(Meta) {
		out = append(out, i.Addr())
	}
	return out
}

// Role returns the instances of one role.
func (c *Cluster) Role(role string) []Instance {
	var out []Instance
	for _, i := range c.Instances {
		if i.Role == role {
			out = append(out, i)
		}
	}
	return out
}

// Inventory is the path of the inventory file.
func (c *Cluster) Inventory() string { return c.inventory }

// Ops runs pegasus-ops with a state directory of its own and returns what it wrote to stdout.
func (c *Cluster) Ops(ctx context.Context, args ...string) (string, error) {
	bin, _, err := Build(ctx)
	if err != nil {
		return "", err
	}
	top, err := root()
	if err != nil {
		return "", err
	}
	cmd := command(ctx, top, bin, args...)
	cmd.Env = append(os.Environ(), "PEGASUS_OPS_HOME="+filepath.Join(c.opts.Dir, "state"), "NO_COLOR=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("pegasus-ops %s: %w\n%s%s", strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String(), nil
}

// Dir is where the instance was deployed.
func (c *Cluster) Dir(i Instance) string {
	dir := filepath.Join(c.opts.Dir, "app", fmt.Sprintf("%s-%d", i.Role, i.Port))
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Join(c.opts.Dir, "app", i.Role)
	}
	return dir
}

// DataDirs is a pattern that matches the data directories of a replica server.
func (c *Cluster) DataDirs(i Instance) string {
	return filepath.Join(c.opts.Dir, "data", fmt.Sprintf("%d-*", i.Port))
}

// Pid returns the process of an instance.
func (c *Cluster) Pid(i Instance) (int, error) {
	b, err := os.ReadFile(filepath.Join(c.Dir(i), "pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	first, _, _ = strings.Cut(first, " ")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return 0, fmt.Errorf("pid file of %s-%d: %w", i.Role, i.Port, err)
	}
	return pid, nil
}

// Kill ends a process as the kernel's OOM killer would, and waits until it is gone.
func (c *Cluster) Kill(i Instance) error {
	pid, err := c.Pid(i)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s-%d (pid %d): %w", i.Role, i.Port, pid, err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if !alive(pid) {
			return nil
		}
	}
	return fmt.Errorf("%s-%d (pid %d) is still there after SIGKILL", i.Role, i.Port, pid)
}

// alive counts a zombie as gone, once all its threads are: until then it holds its ports.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	if !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X") {
		return true
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return err == nil && len(threads) > 1
}

// Start starts whatever does not run.
func (c *Cluster) Start(ctx context.Context) error {
	_, err := c.Ops(ctx, "-i", c.inventory, "start")
	return err
}

// Clean removes the cluster and checks that nothing of it is left.
func (c *Cluster) Clean(ctx context.Context) error {
	var pids []int
	for _, i := range c.Instances {
		if pid, err := c.Pid(i); err == nil {
			pids = append(pids, pid)
		}
	}
	if _, err := c.Ops(ctx, "-y", "-i", c.inventory, "clean"); err != nil {
		return err
	}
	for _, pid := range pids {
		if alive(pid) {
			return fmt.Errorf("process %d is still there after clean", pid)
		}
	}
	for _, d := range []string{"app", "data"} {
		dir := filepath.Join(c.opts.Dir, d)
		if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
			return fmt.Errorf("clean left %s behind", filepath.Join(dir, left[0].Name()))
		}
	}
	return nil
}

// Usage is what a process has used so far.
type Usage struct {
	CPU time.Duration // user and system
	RSS int64         // bytes
}

// Usage reads the figures of an instance from /proc.
func (c *Cluster) Usage(i Instance) (Usage, error) {
	pid, err := c.Pid(i)
	if err != nil {
		return Usage{}, err
	}
	return ProcessUsage(pid)
}

// ProcessUsage reads the figures of any process.
func ProcessUsage(pid int) (Usage, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, err
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 22 {
		return Usage{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	ticks := func(s string) time.Duration {
		n, _ := strconv.ParseInt(s, 10, 64)
		return time.Duration(n) * time.Second / 100 // USER_HZ is 100 on every Linux we run on
	}
	pages, _ := strconv.ParseInt(f[21], 10, 64)
	return Usage{CPU: ticks(f[11]) + ticks(f[12]), RSS: pages * int64(os.Getpagesize())}, nil
}
