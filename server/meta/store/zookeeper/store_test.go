// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
)

func testCommit(t *testing.T, hosts []string) {
	s := open(t, options(t, hosts, 1))
	ctx := t.Context()
	e := campaign(t, s, 10*time.Second).Epoch
	for _, step := range []struct {
		name string
		ops  []store.Op
		want error
	}{
		{"create two", []store.Op{store.Create("apps", []byte("unlock")), store.Create("apps/1", []byte("a"))}, nil},
		{"create again", []store.Op{store.Create("apps/2", nil), store.Create("apps/1", nil)}, store.ErrExists},
		{"create below nothing", []store.Op{store.Create("none/1", nil)}, store.ErrNotFound},
		{"change at the version read", []store.Op{store.Set("apps/1", []byte("b"), 0)}, nil},
		{"change at an old version", []store.Op{store.Create("apps/2", nil), store.Set("apps/1", []byte("c"), 0)}, store.ErrVersion},
		{"change nothing there", []store.Op{store.Set("apps/9", []byte("c"), 0)}, store.ErrNotFound},
		{"delete at an old version", []store.Op{store.Delete("apps/1", 0)}, store.ErrVersion},
		{"change what was just created", []store.Op{store.Create("marker", []byte("lock")), store.Set("marker", []byte("unlock"), 0)}, nil},
		{"unknown operation", []store.Op{{Kind: 9, Path: "apps/1", Version: 1}}, errors.ErrUnsupported},
		{"too much for a node", []store.Op{store.Create("apps/3", make([]byte, 1<<20))}, errors.ErrUnsupported},
	} {
		err := s.Commit(ctx, e, step.ops...)
		if step.want == errors.ErrUnsupported && err != nil {
			continue
		}
		if !errors.Is(err, step.want) {
			t.Errorf("%s: got %v, want %v", step.name, err, step.want)
		}
	}
	if n, err := s.Get(ctx, "apps/1"); err != nil || string(n.Data) != "b" || n.Version != 1 {
		t.Errorf("apps/1 is %+v, %v", n, err)
	}
	if n, err := s.Get(ctx, "marker"); err != nil || string(n.Data) != "unlock" || n.Version != 1 {
		t.Errorf("marker is %+v, %v", n, err)
	}
	if _, err := s.Get(ctx, "apps/2"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a failed commit left apps/2 behind: %v", err)
	}
	if err := s.Commit(ctx, e, store.Delete("apps/1", 1)); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(ctx, "apps/1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("apps/1 is still there: %v", err)
	}
	for _, wrong := range []int64{0, e - 1, e + 1} {
		if err := s.Commit(ctx, wrong, store.Create("apps/5", nil)); !errors.Is(err, store.ErrFenced) {
			t.Errorf("epoch %d instead of %d: %v", wrong, e, err)
		}
	}
	// A second term of the same server is another epoch.
	again := campaign(t, s, 10*time.Second)
	if again.Epoch <= e {
		t.Errorf("epoch %d after %d", again.Epoch, e)
	}
	if err := s.Commit(ctx, e, store.Create("apps/5", nil)); !errors.Is(err, store.ErrFenced) {
		t.Errorf("commit under the epoch before: %v", err)
	}
}

func testChildren(t *testing.T, hosts []string) {
	s := open(t, options(t, hosts, 1))
	e := campaign(t, s, 10*time.Second).Epoch
	var ops []store.Op
	for _, p := range []string{"apps", "apps/1", "apps/1/0", "apps/1/1", "apps/10", "apps/2", "apps0"} {
		ops = append(ops, store.Create(p, nil))
	}
	if err := s.Commit(t.Context(), e, ops...); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{"apps": {"1", "10", "2"}, "apps/1": {"0", "1"}, "apps/1/0": nil, "none": nil} {
		got, err := s.Children(t.Context(), path)
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(want, got); d != "" && len(want)+len(got) > 0 {
			t.Errorf("children of %s: %s", path, d)
		}
	}
}

// testGoldenTree writes trees dumped from C++ meta servers through the store and reads them back
// as a loading meta server does.
func testGoldenTree(t *testing.T, hosts []string) {
	for i, file := range []string{"../testdata/zk-tree.txt", "../testdata/zk-tree-worked.txt"} {
		o := options(t, hosts, 1)
		o.Root += fmt.Sprint(i)
		o.Lock = o.Root // as the onebox has it
		s := open(t, o)
		e := campaign(t, s, 10*time.Second).Epoch
		golden := readTree(t, file, "/pegasus/onebox/")
		var ops []store.Op
		for _, n := range golden {
			ops = append(ops, store.Create(n.path, []byte(n.data)))
			for v := range n.version {
				ops = append(ops, store.Set(n.path, []byte(n.data), v))
			}
		}
		if err := s.Commit(t.Context(), e, ops...); err != nil {
			t.Fatal(err)
		}
		tables := 0
		for _, want := range golden {
			n, err := s.Get(t.Context(), want.path)
			if err != nil || string(n.Data) != want.data || n.Version != want.version {
				t.Errorf("%s: %s at version %d, %v, want %s at %d", want.path, n.Data, n.Version, err, want.data, want.version)
			}
		}
		ids, err := s.Children(t.Context(), store.AppsPath)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			n, err := s.Get(t.Context(), store.AppsPath+"/"+id)
			if err != nil {
				t.Fatal(err)
			}
			info, err := store.DecodeApp(n.Data)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(store.EncodeApp(info)); got != string(n.Data) {
				t.Errorf("table %s is written as %s", id, got)
			}
			tables++
		}
		if top, _ := s.Children(t.Context(), "dsn.meta.server.leader"); len(top) != 1 || top[0] != "LOCKNODE0000000000" {
			t.Errorf("lock nodes: %v", top)
		}
		if tables < 2 {
			t.Errorf("%s: %d tables", file, tables)
		}
	}
}

type goldenNode struct {
	path, data string
	version    int64
}

// readTree reads the nodes of a dump below a prefix, without the lock.
func readTree(t *testing.T, file, prefix string) []goldenNode {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var nodes []goldenNode
	var n goldenNode
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		if strings.HasPrefix(line, "/") {
			n = goldenNode{path: strings.TrimPrefix(line, prefix)}
		} else if _, err := fmt.Sscanf(line, "    version=%d", &n.version); err == nil {
			continue
		} else if v, ok := strings.CutPrefix(line, "    value='"); ok && !strings.HasPrefix(n.path, "/") && !strings.Contains(n.path, "LOCKNODE") && n.path != lockDirName {
			n.data = strings.TrimSuffix(v, "'")
			nodes = append(nodes, n)
		}
	}
	return nodes
}

func testChroot(t *testing.T, hosts []string) {
	o := options(t, hosts, 1)
	o.Chroot = "/team/clusters"
	s := open(t, o)
	e := campaign(t, s, 10*time.Second).Epoch
	if err := s.Commit(t.Context(), e, store.Create("apps", []byte("unlock"))); err != nil {
		t.Fatal(err)
	}
	c := raw(t, hosts)
	mustExist(t, c, "/team/clusters"+o.Root+"/apps", "unlock")
	mustExist(t, c, "/team/clusters"+o.Lock+"/dsn.meta.server.leader/LOCKNODE0000000000", self(1).String())
}

func testRootOfZooKeeper(t *testing.T, hosts []string) {
	o := options(t, hosts, 1)
	o.Root, o.Lock = "/", ""
	s := open(t, o)
	e := campaign(t, s, 10*time.Second).Epoch
	if err := s.Commit(t.Context(), e, store.Create("apps", []byte("unlock"))); err != nil {
		t.Fatal(err)
	}
	c := raw(t, hosts)
	mustExist(t, c, "/apps", "unlock")
	mustExist(t, c, "/dsn.meta.server.leader/LOCKNODE0000000000", self(1).String())
}

// testLargeCommit writes more than a ZooKeeper server takes in one request.
func testLargeCommit(t *testing.T, hosts []string) {
	s := open(t, options(t, hosts, 1))
	e := campaign(t, s, 10*time.Second).Epoch
	const nodes = 4096
	data := []byte(strings.Repeat("x", 300))
	ops := []store.Op{store.Create("apps", nil), store.Create("apps/1", nil)}
	for i := range nodes {
		ops = append(ops, store.Create(fmt.Sprintf("apps/1/%d", i), data))
	}
	start := time.Now()
	if err := s.Commit(t.Context(), e, ops...); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d nodes in %v", nodes, time.Since(start).Round(time.Millisecond))
	names, err := s.Children(t.Context(), "apps/1")
	if err != nil || len(names) != nodes {
		t.Errorf("%d of %d nodes are there, %v", len(names), nodes, err)
	}
	// One that fails in the middle leaves what comes before, in order.
	ops = []store.Op{store.Create("apps/2", nil)}
	for i := range 2 * maxTxnOps {
		ops = append(ops, store.Create(fmt.Sprintf("apps/2/%d", i), nil))
	}
	ops = append(ops, store.Create("apps/1", nil))
	if err := s.Commit(t.Context(), e, ops...); !errors.Is(err, store.ErrExists) {
		t.Errorf("got %v", err)
	}
	names, err = s.Children(t.Context(), "apps/2")
	if err != nil || len(names)%maxTxnOps != maxTxnOps-1 {
		t.Errorf("%d nodes are left, %v: not whole transactions", len(names), err)
	}
	slices.Sort(names)
	for i := range names {
		if !slices.Contains(names, fmt.Sprint(i)) {
			t.Fatalf("%d is missing of %d", i, len(names))
		}
	}
}

// testLostAnswer breaks the connection in the middle of commits, before and after the server got
// them: each must be made exactly once and be known to be.
func testLostAnswer(t *testing.T, hosts []string) {
	u := &unreliable{}
	o := options(t, hosts, 1)
	o.Dial = u.dial
	s := open(t, o)
	term := campaign(t, s, 10*time.Second)
	if err := s.Commit(t.Context(), term.Epoch, store.Create("a", []byte("0"))); err != nil {
		t.Fatal(err)
	}
	for i, delivers := range []bool{false, true, true, false} {
		v := int64(i)
		mark := fmt.Sprintf("value %d", i+1)
		u.arm(mark, delivers)
		err := s.Commit(t.Context(), term.Epoch, store.Set("a", []byte(mark), v), store.Create(fmt.Sprintf("n%d", i), []byte(mark)))
		if err != nil {
			t.Errorf("delivers %v: %v", delivers, err)
		}
		if n, err := s.Get(t.Context(), "a"); err != nil || n.Version != v+1 || string(n.Data) != mark {
			t.Errorf("delivers %v: %s at version %d, %v", delivers, n.Data, n.Version, err)
		}
	}
	// A commit that is refused stays refused although an earlier try was lost.
	u.arm("refused", true)
	if err := s.Commit(t.Context(), term.Epoch, store.Set("a", []byte("refused"), 2)); !errors.Is(err, store.ErrVersion) {
		t.Errorf("got %v", err)
	}
	u.arm("deleted", false)
	if err := s.Commit(t.Context(), term.Epoch, store.Create("deleted", nil)); err != nil {
		t.Error(err)
	}
	u.arm("deleted", true)
	if err := s.Commit(t.Context(), term.Epoch, store.Delete("deleted", 0)); err != nil {
		t.Error(err)
	}
	if u.count() != 7 {
		t.Errorf("broken %d times", u.count())
	}
	if !term.Holds() {
		t.Error("broken connections have cost the leadership")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := options(t, []string{"10.0.0.1:2181"}, 1)
	for what, spoil := range map[string]func(*Options){
		"hosts_list":                          func(o *Options) { o.Hosts = nil },
		"HOST:PORT":                           func(o *Options) { o.Hosts = []string{"zk1"} },
		"timeout_ms":                          func(o *Options) { o.Timeout = 0 },
		"cluster_root":                        func(o *Options) { o.Root = "pegasus" },
		"write /pegasus/a":                    func(o *Options) { o.Root = "/pegasus//a/" },
		"distributed_lock_service_parameters": func(o *Options) { o.Lock = "lock" },
		"a root":                              func(o *Options) { o.Root = "" },
	} {
		o := good
		spoil(&o)
		if s, err := Open(o); err == nil {
			s.Close()
			t.Errorf("%s: accepted", what)
		} else if !strings.Contains(err.Error(), what) {
			t.Errorf("%q does not mention %s", err, what)
		}
	}
}
