// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pegasus-ops/pegasus-ops/test/onebox"
)

func TestLifeOfAOnebox(t *testing.T) {
	start := time.Now()
	c, _ := deploy(t, onebox.Options{})
	t.Logf("building, packing and deploying took %.1f s", time.Since(start).Seconds())
	ctx := t.Context()

	before := pids(t, c)
	out, err := c.Ops(ctx, "deploy", c.Inventory(), "--package", pkg(t))
	if err != nil || !strings.Contains(out, "healthy") {
		t.Errorf("second deploy: %v\n%s", err, out)
	}
	if out, err = c.Ops(ctx, "deploy", c.Inventory(), "--package", pkg(t), "--dry-run"); err != nil {
		t.Errorf("dry run: %v\n%s", err, out)
	} else if !strings.Contains(out, "Nothing to change") {
		t.Errorf("a third deploy would change something:\n%s", out)
	}
	if after := pids(t, c); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("processes %v became %v although nothing was to be changed", before, after)
	}

	out, err = c.Ops(ctx, "-i", c.Inventory(), "-o", "json", "status")
	var status map[string]any
	if err != nil || json.Unmarshal([]byte(out), &status) != nil {
		t.Errorf("status: %v\n%s", err, out)
	}

	out, err = c.Ops(ctx, "-i", c.Inventory(), "shell", "-e",
		"use temp; set h s 'a value'; get h s; multi_set h a 1 b 2; multi_get h a b; incr h n 5; ttl h s; exist h s; del h s; get h s; count_data -c; nodes -d; ls -d; app temp -d; cluster_info; get_meta_level")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"a value"`, `"h" : "a" => "1"`, "Infinite", "True", "Not found", "fully_healthy", "3/3", "primary_meta_server", "fl_steady"} {
		if !strings.Contains(out, want) {
			t.Errorf("the shell does not print %q:\n%s", want, out)
		}
	}
	if _, err := c.Ops(ctx, "-i", c.Inventory(), "shell", "-e", "use nosuch; get a b"); err == nil {
		t.Error("a failing shell command ends with status 0")
	}

	if _, err := c.Ops(ctx, "-y", "-i", c.Inventory(), "stop"); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if out, err = c.Ops(ctx, "-i", c.Inventory(), "shell", "-e", "use temp; get h a"); err != nil || !strings.Contains(out, `"1"`) {
		t.Errorf("after stop and start: %v\n%s", err, out)
	}
}

func pkg(t *testing.T) string {
	t.Helper()
	_, p, err := onebox.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pids(t *testing.T, c *onebox.Cluster) []int {
	t.Helper()
	var out []int
	for _, i := range c.Instances {
		pid, err := c.Pid(i)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pid)
	}
	return out
}

// TestDamagedFilesCostOnlyTheirReplicas breaks the private log of one replica and the storage of
// another while their server is down.
func TestDamagedFilesCostOnlyTheirReplicas(t *testing.T) {
	c, cl := deploy(t, onebox.Options{Config: quickFD})
	table := cl.Table("temp")
	l := startLedger(t, table)
	grow(t, l, 5000)
	victim := c.Role(onebox.Replica)[1]
	if err := c.Kill(victim); err != nil {
		t.Fatal(err)
	}
	dirs := replicaDirs(t, c, victim, "*.pegasus")
	if len(dirs) < 8 {
		t.Fatalf("found %d replicas: %v", len(dirs), dirs)
	}
	var broken []string
	for _, d := range dirs {
		logs, _ := filepath.Glob(filepath.Join(d, "plog", "log.*"))
		if len(broken) == 0 && len(logs) > 0 && size(t, logs[0]) > 4096 {
			flip(t, logs[0], size(t, logs[0])/3)
			broken = append(broken, d)
		} else if len(broken) == 1 {
			manifests, _ := filepath.Glob(filepath.Join(d, "data", "rdb", "MANIFEST-*"))
			if len(manifests) > 0 {
				flip(t, manifests[0], size(t, manifests[0])/2)
				broken = append(broken, d)
			}
		}
	}
	if len(broken) != 2 {
		t.Fatalf("could not damage two replicas, only %v", broken)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	healthy(t, cl, "temp", time.Minute)
	healthy(t, cl, "stat", time.Minute)
	l.halt()
	l.verify(t)
	if got := replicaDirs(t, c, victim, "*.err"); len(got) != 2 {
		t.Errorf("damaged %v, set aside %v", broken, got)
	}
	log, err := os.ReadFile(filepath.Join(c.Dir(victim), "log", "replica.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range broken {
		if !strings.Contains(string(log), filepath.Base(d)) {
			t.Errorf("the server's log does not name %s", d)
		}
	}
}

func replicaDirs(t *testing.T, c *onebox.Cluster, i onebox.Instance, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(c.DataDirs(i), "replica", "reps", pattern))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// flip damages 16 bytes of a file.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 16)
	if _, err := f.ReadAt(b, at); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	for i := range b {
		b[i] ^= 0xff
	}
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// TestNoiseOnThePortsHarmsNobody sends what port scanners, broken clients and browsers send.
func TestNoiseOnThePortsHarmsNobody(t *testing.T) {
	c, cl := deploy(t, onebox.Options{})
	l := startLedger(t, cl.Table("temp"))
	grow(t, l, 500)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		for _, i := range c.Instances {
			conn, err := net.DialTimeout("tcp", i.Addr(), 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 1+rng.IntN(300))
			for k := range b {
				b[k] = byte(rng.Uint32())
			}
			switch rng.IntN(4) {
			case 0: // connects and leaves
				b = nil
			case 1: // looks like a frame
				copy(b, "THFT")
			case 2:
				copy(b, "RDSN\x00\x00\x00\x00\xc0\x00\x00\x00")
			}
			conn.Write(b)
			conn.Close()
		}
	}
	for _, i := range c.Instances {
		resp, err := http.Get("http://" + i.Addr() + "/version")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s-%d answers %s", i.Role, i.Port, resp.Status)
		}
	}
	grow(t, l, 500)
	l.halt()
	l.verify(t)
}

func TestPortInUseIsNamed(t *testing.T) {
	c, _ := deploy(t, onebox.Options{})
	victim := c.Role(onebox.Replica)[0]
	if err := c.Kill(victim); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", victim.Addr())
	if err != nil {
		t.Fatal(err)
	}
	err = c.Start(t.Context())
	ln.Close()
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint(victim.Port)) {
		t.Errorf("starting on a port in use: %v", err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Errorf("after the port was freed: %v", err)
	}
}
