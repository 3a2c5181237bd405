// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var testOptions = Options{Home: "/home/ops", Dir: "/etc/clusters"}

// Each testdata/bad/*.yaml must yield exactly the problems and warnings of its
// .txt file.
func TestProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			name := filepath.Base(file)
			_, warnings, err := Parse(name, data, testOptions)
			var b strings.Builder
			if err != nil {
				var p *Problems
				require.True(t, errors.As(err, &p))
				b.WriteString(err.Error() + "\n")
			}
			for _, w := range warnings {
				b.WriteString("warning: " + At(name, w) + "\n")
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(b.String()), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(file, "/bad/") {
				require.NotEmpty(t, b.String())
			}
		})
	}
}

func TestExamplesAreValid(t *testing.T) {
	require.Equal(t, []string{"minimal", "onebox", "production"}, Examples())
	for _, name := range Examples() {
		text, err := Example(name)
		require.NoError(t, err)
		c, warnings, err := Parse(name, text, testOptions)
		require.NoError(t, err)
		require.Empty(t, warnings, name)
		require.NotEmpty(t, c.Replicas)
	}
	_, err := Example("twobox")
	require.ErrorContains(t, err, "onebox")
}

func TestOnebox(t *testing.T) {
	text, err := Example("onebox")
	require.NoError(t, err)
	c, _, err := Parse("onebox.yaml", text, testOptions)
	require.NoError(t, err)
	require.Equal(t, "onebox", c.Name)
	require.Nil(t, c.ZooKeeper)
	require.Equal(t, []string{"127.0.0.1:34601"}, c.MetaAddresses())
	var dirs, ids []string
	for _, i := range c.Instances() {
		dirs = append(dirs, i.Dir)
		ids = append(ids, i.ID())
	}
	require.Equal(t, []string{
		"/home/ops/pegasus-onebox/app/meta", "/home/ops/pegasus-onebox/app/replica",
		"/home/ops/pegasus-onebox/app/replica-34802", "/home/ops/pegasus-onebox/app/replica-34803",
		"/home/ops/pegasus-onebox/app/collector",
	}, dirs)
	require.Equal(t, []string{"meta@local:34601", "replica@local:34801", "replica@local:34802", "replica@local:34803", "collector@local:34101"}, ids)
	require.Len(t, c.Replicas[1].DataDirs, 2)
	require.Equal(t, "/home/ops/pegasus-onebox/disks/replica2/ssd1", c.Replicas[1].DataDirs[0].Path)
	require.Equal(t, "temp", c.Tables[0].Name)
}

func TestProductionKnowsEveryKey(t *testing.T) {
	text, err := Example("production")
	require.NoError(t, err)
	c, _, err := Parse("production.yaml", text, testOptions)
	require.NoError(t, err)
	require.Equal(t, "/etc/clusters/dist", c.Package)
	require.Equal(t, "/pegasus/my_cluster", c.ZooKeeper.Root)
	h := c.Hosts[5]
	require.Equal(t, SSH{User: "work", Port: 2222, IdentityFile: "/home/ops/.ssh/id_ed25519", KnownHosts: "/home/ops/.ssh/known_hosts",
		HostKeyPolicy: HostKeyStrict, Jump: "ops@bastion:22"}, h.SSH)
	require.Equal(t, "/mnt/ssd2/pegasus", c.Replicas[3].DataDirs[0].Path)
	require.Equal(t, "/home/work/ssd2/pegasus", c.Replicas[0].DataDirs[0].Path)
	require.Equal(t, Config{"replication": {"gc_interval_ms": "60000"}}, c.Replicas[3].Config)
	require.Equal(t, map[string]string{"hdfs_service_args": ""}, c.Variables)
}

func TestSelect(t *testing.T) {
	text, err := Example("minimal")
	require.NoError(t, err)
	c, _, err := Parse("minimal.yaml", text, testOptions)
	require.NoError(t, err)
	tests := []struct {
		role  Role
		nodes []string
		want  []string
		err   string
	}{
		{"", nil, []string{"meta@node1:34601", "meta@node2:34601", "replica@node1:34801", "replica@node2:34801", "replica@node3:34801", "collector@node1:34101"}, ""},
		{Replica, nil, []string{"replica@node1:34801", "replica@node2:34801", "replica@node3:34801"}, ""},
		{"", []string{"node3"}, []string{"replica@node3:34801"}, ""},
		{"", []string{"10.0.0.3"}, []string{"replica@node3:34801"}, ""},
		{"", []string{"10.0.0.1:34801"}, []string{"replica@node1:34801"}, ""},
		{"", []string{"node1:34101"}, []string{"collector@node1:34101"}, ""},
		{"", []string{"2", "0"}, []string{"replica@node1:34801", "replica@node3:34801"}, ""},
		{Meta, []string{"node1"}, []string{"meta@node1:34601"}, ""},
		{"", []string{"node1"}, nil, "matches more than one"},
		{"", []string{"3"}, nil, "matches no server"},
		{Meta, []string{"0"}, nil, "matches no server"},
		{"", []string{"10.0.0.1:1"}, nil, "matches no server"},
	}
	for _, tt := range tests {
		got, err := c.Select(tt.role, tt.nodes)
		if tt.err != "" {
			require.ErrorContains(t, err, tt.err)
			var n *NodeError
			require.ErrorAs(t, err, &n)
			require.NotEmpty(t, n.Candidates)
			continue
		}
		require.NoError(t, err)
		var ids []string
		for _, i := range got {
			ids = append(ids, i.ID())
		}
		require.Equal(t, tt.want, ids, "%v %v", tt.role, tt.nodes)
	}
}

func TestParseRole(t *testing.T) {
	for in, want := range map[string]Role{"meta": Meta, "metas": Meta, "meta-server": Meta, "Replica": Replica, "replica_servers": Replica, "collectors": Collector} {
		got, err := ParseRole(in)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := ParseRole("leader")
	require.Error(t, err)
}

func FuzzParse(f *testing.F) {
	for _, name := range Examples() {
		text, _ := Example(name)
		f.Add(text)
	}
	f.Add([]byte("a: &a {<<: *a}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, err := Parse("f.yaml", data, testOptions)
		if (c == nil) == (err == nil) {
			t.Fatal("neither a cluster nor an error, or both")
		}
	})
}
