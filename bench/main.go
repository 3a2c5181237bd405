// SPDX-License-Identifier: Apache-2.0

// Command bench measures set and get against a cluster of real processes on this machine, and
// in the same run the two things that bound them: writes into a bare Pebble, and a bare echo
// through our framing. It prints one JSON document to -out and a table to the terminal.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/test/onebox"
)

// Report is the whole document.
type Report struct {
	Time     time.Time  `json:"time"`
	Go       string     `json:"go"`
	CPUs     int        `json:"cpus"`
	Seconds  float64    `json:"seconds_per_case"`
	Keys     int        `json:"keys"`
	Start    StartUp    `json:"start"`
	Cases    []Case     `json:"cases"`
	Ratios   []Ratio    `json:"ratios"`
	Failover []Failover `json:"failover,omitempty"`
	After    []Process  `json:"processes_after_load"`
}

// StartUp is how long `pegasus-ops deploy` took with everything built, and what an idle
// process weighs then.
type StartUp struct {
	DeploySeconds float64   `json:"deploy_to_healthy_seconds"`
	Idle          []Process `json:"processes_at_start"`
}

// Process is the memory of one server.
type Process struct {
	Role   string  `json:"role"`
	Port   int     `json:"port"`
	RSSMiB float64 `json:"rss_mib"`
}

// Case is one load for a fixed time.
type Case struct {
	Target    string  `json:"target"` // pegasus, pebble (bare, WAL on, not synced), pebble-sync (each write synced) or echo (bare RPC)
	Op        string  `json:"op"`
	Threads   int     `json:"threads"`
	ValueSize int     `json:"value_bytes"`
	Ops       int64   `json:"ops"`
	Errors    int64   `json:"errors"`
	OpsPerSec float64 `json:"ops_per_second"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	P999      float64 `json:"p999_us"`
	// CPUPerMillion is the CPU time of all server processes for a million operations; for
	// pebble that of the one process, for echo that of the answering one.
	CPUPerMillion float64 `json:"server_cpu_seconds_per_million_ops"`
}

// Ratio sets a case of ours against its peer.
type Ratio struct {
	Op        string  `json:"op"`
	Threads   int     `json:"threads"`
	ValueSize int     `json:"value_bytes"`
	Peer      string  `json:"peer"`
	Ratio     float64 `json:"ops_ratio"`
}

// Failover is the time from kill -9 of a replica server until every partition accepts writes.
type Failover struct {
	Port    int     `json:"port"`
	Seconds float64 `json:"seconds"`
}

type settings struct {
	duration time.Duration
	threads  []int
	values   []int
	keys     int
	failover bool
	out      string
	profile  string
}

func main() {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "peer-") {
		runPeer(os.Args[1], os.Args[2:])
		return
	}
	var s settings
	threads := flag.String("threads", "1,16,64", "numbers of client threads")
	values := flag.String("values", "100,1024", "sizes of values in bytes")
	flag.DurationVar(&s.duration, "duration", 5*time.Second, "length of each case")
	flag.IntVar(&s.keys, "keys", 100000, "number of different keys")
	flag.BoolVar(&s.failover, "failover", true, "also measure the time to recover from kill -9 of a replica server")
	flag.StringVar(&s.out, "out", "bench/out", "folder for the JSON document")
	flag.StringVar(&s.profile, "profile", "", "save a CPU profile of the first replica server during the widest set and get to this folder")
	flag.Parse()
	var err error
	if s.threads, err = ints(*threads); err == nil {
		s.values, err = ints(*values)
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		err = run(ctx, s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func ints(s string) ([]int, error) {
	var out []int
	for _, f := range strings.Split(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(f))
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("%q is not a list of positive numbers", s)
		}
		out = append(out, n)
	}
	return out, nil
}

func run(ctx context.Context, s settings) (err error) {
	dir, err := os.MkdirTemp("", "pegasus-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	defer onebox.RemoveBuild()
	fmt.Fprintln(os.Stderr, "building and packing")
	if _, _, err := onebox.Build(ctx); err != nil {
		return err
	}
	r := Report{Time: time.Now().UTC(), Go: runtime.Version(), CPUs: runtime.NumCPU(), Seconds: s.duration.Seconds(), Keys: s.keys}
	fmt.Fprintln(os.Stderr, "deploying a onebox")
	start := time.Now()
	c, err := onebox.Deploy(ctx, onebox.Options{Dir: dir, Name: "bench", Tables: []onebox.Table{{Name: "temp", Partitions: 8}}})
	if c != nil {
		defer func() {
			cerr := c.Clean(context.WithoutCancel(ctx))
			if err == nil {
				err = cerr
			}
		}()
	}
	if err != nil {
		return err
	}
	r.Start.DeploySeconds = time.Since(start).Seconds()
	if r.Start.Idle, err = processes(c); err != nil {
		return err
	}
	cl, err := client.Open(ctx, client.Options{Metas: c.Metas()})
	if err != nil {
		return err
	}
	defer cl.Close()
	t := cl.Table("temp")
	for _, size := range s.values {
		for _, threads := range s.threads {
			for _, target := range []string{"pebble", "pebble-sync", "echo"} {
				cs, err := peerCase(ctx, target, threads, size, s)
				if err != nil {
					return fmt.Errorf("%s: %w", target, err)
				}
				r.Cases = append(r.Cases, show(cs))
			}
			stop := profile(ctx, s, c, "set", threads, size)
			set, err := clusterCase(ctx, c, t, "set", threads, size, s)
			stop()
			if err != nil {
				return err
			}
			r.Cases = append(r.Cases, show(set))
			if err := fill(ctx, t, size, s.keys); err != nil {
				return err
			}
			stop = profile(ctx, s, c, "get", threads, size)
			get, err := clusterCase(ctx, c, t, "get", threads, size, s)
			stop()
			if err != nil {
				return err
			}
			r.Cases = append(r.Cases, show(get))
		}
	}
	if r.After, err = processes(c); err != nil {
		return err
	}
	r.Ratios = ratios(r.Cases)
	if s.failover {
		for _, i := range c.Role(onebox.Replica)[:1] {
			f, err := failover(ctx, c, t, i)
			if err != nil {
				return err
			}
			r.Failover = append(r.Failover, f)
		}
	}
	return write(r, s.out)
}

func write(r Report, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	name := filepath.Join(dir, "bench-"+r.Time.Format("20060102-150405")+".json")
	if err := os.WriteFile(name, append(b, '\n'), 0o644); err != nil {
		return err
	}
	printRatios(r)
	fmt.Fprintln(os.Stderr, "written to", name)
	_, err = os.Stdout.Write(append(b, '\n'))
	return err
}

func processes(c *onebox.Cluster) ([]Process, error) {
	var out []Process
	for _, i := range c.Instances {
		u, err := c.Usage(i)
		if err != nil {
			return nil, err
		}
		out = append(out, Process{i.Role, i.Port, float64(u.RSS) / (1 << 20)})
	}
	return out, nil
}

func show(c Case) Case {
	fmt.Fprintf(os.Stderr, "%-8s %-4s %3d threads %5d B: %9.0f ops/s  p50 %7.0f  p99 %7.0f  p999 %7.0f us  cpu %6.1f s/M  errors %d\n",
		c.Target, c.Op, c.Threads, c.ValueSize, c.OpsPerSec, c.P50, c.P99, c.P999, c.CPUPerMillion, c.Errors)
	return c
}

func ratios(cases []Case) []Ratio {
	var out []Ratio
	for _, c := range cases {
		if c.Target != "pegasus" {
			continue
		}
		for _, p := range cases {
			if p.Target != "pegasus" && p.Op == c.Op && p.Threads == c.Threads && p.ValueSize == c.ValueSize && p.OpsPerSec > 0 {
				out = append(out, Ratio{c.Op, c.Threads, c.ValueSize, p.Target, c.OpsPerSec / p.OpsPerSec})
			}
		}
	}
	return out
}

func printRatios(r Report) {
	for _, x := range r.Ratios {
		fmt.Fprintf(os.Stderr, "%-4s %3d threads %5d B: %.2fx of %s\n", x.Op, x.Threads, x.ValueSize, x.Ratio, x.Peer)
	}
	fmt.Fprintf(os.Stderr, "deploy to healthy: %.1f s\n", r.Start.DeploySeconds)
	for _, f := range r.Failover {
		fmt.Fprintf(os.Stderr, "kill -9 of replica server %d: all partitions writable after %.1f s\n", f.Port, f.Seconds)
	}
	for _, p := range r.After {
		fmt.Fprintf(os.Stderr, "%s-%d: %.0f MiB resident after the load\n", p.Role, p.Port, p.RSSMiB)
	}
}
