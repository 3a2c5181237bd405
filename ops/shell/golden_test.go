// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/client/clienttest"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // the recorded sessions were
	os.Exit(m.Run())
}

// A session is a recorded run of the original shell: what was typed and what it printed, with
// standard output and error merged. Its servers were called localhost; here they are addresses,
// which happen to be as long.
type session struct{ input, output string }

var ansi = regexp.MustCompile("\x1b\\[[0-9;]*m")

func readSession(t *testing.T, name string) session {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "golden", name+".txt"))
	require.NoError(t, err)
	text := ansi.ReplaceAllString(strings.ReplaceAll(string(b), "localhost", "127.0.0.1"), "")
	text = strings.TrimSuffix(text, "dsn exit with code 0\n")
	var s session
	for strings.HasPrefix(text, "$ ") {
		line, rest, _ := strings.Cut(text, "\n")
		s.input += strings.TrimPrefix(line, "$ ") + "\n"
		text = rest
	}
	s.output = text
	return s
}

var (
	testMetas = []string{"127.0.0.1:24601", "127.0.0.1:24602"}
	testNodes = []string{"127.0.0.1:24801", "127.0.0.1:24802", "127.0.0.1:24803"}
)

// newFleet is the cluster of the recorded sessions: tables stat (1, 4 partitions) and temp (2,
// 8 partitions).
func newFleet(t *testing.T) *clienttest.Fleet {
	time.Sleep(time.Until(time.Unix(1795317460, 0)))
	f := clienttest.New(t, testMetas, testNodes)
	f.AddTable("stat", 4, 3)
	f.AddTable("temp", 8, 3)
	f.Lock()
	defer f.Unlock()
	f.Info = []client.NameValue{
		{Name: client.InfoMetaServers, Value: strings.Join(testMetas, ",")},
		{Name: client.InfoPrimaryMeta, Value: testMetas[0]},
		{Name: client.InfoZooKeeper, Value: "127.0.0.1:22181"},
		{Name: client.InfoZooKeeperRoot, Value: "/pegasus/onebox"},
		{Name: client.InfoLevel, Value: "steady"},
		{Name: client.InfoBalance, Value: "{\n  \"copy_pri\": 0,\n  \"copy_sec\": 0,\n  \"move_pri\": 0,\n  \"total\": 0\n}"},
		{Name: client.InfoPrimaryStddev, Value: "0.00"},
		{Name: client.InfoTotalStddev, Value: "0.00"},
		{Name: client.InfoClusterName, Value: "onebox"},
	}
	place(f, 1, 3, testNodes[2], testNodes[:2]...) // which makes 4 primaries a node
	return f
}

// place sets the members of a partition; the fleet is locked.
func place(f *clienttest.Fleet, app int32, index int, primary string, secondaries ...string) *idl.PartitionConfiguration {
	p := &f.Configs[app][index]
	p.Primary, p.Secondaries = clienttest.Addr(primary), nil
	for _, s := range secondaries {
		p.Secondaries = append(p.Secondaries, clienttest.Addr(s))
	}
	return p
}

var (
	replicaRow = regexp.MustCompile(`(?m)^(\d+) +(\d+) +\d/3 +(\S+) +\[(\S+),(\S+)\] +$`)
	writeInfo  = regexp.MustCompile(`partition_index : (\d+)\ndecree          : (\d+)\n`)
	serverInfo = regexp.MustCompile(`partition_index : (\d+)\n(?:decree .*\n)?server          : (\S+)\n`)
)

// recreate brings the fleet into the state in which a session was recorded, as far as its output
// tells: members and ballots of temp, next decrees, answers to remote commands.
func recreate(t *testing.T, f *clienttest.Fleet, s session) {
	atoi := func(s string) int {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		return n
	}
	f.Lock()
	layout := replicaRow.FindAllStringSubmatch(s.output, -1)
	if layout == nil {
		layout = replicaRow.FindAllStringSubmatch(readSession(t, "app-temp-d").output, -1)
	}
	for _, m := range layout {
		place(f, 2, atoi(m[1]), m[3], m[4], m[5]).Ballot = int64(atoi(m[2]))
	}
	for _, m := range serverInfo.FindAllStringSubmatch(s.output, -1) {
		place(f, 2, atoi(m[1]), m[2], testNodes[0], testNodes[1])
	}
	f.Unlock()
	seen := map[string]bool{}
	for _, m := range writeInfo.FindAllStringSubmatch(s.output, -1) {
		if !seen[m[1]] {
			seen[m[1]] = true
			f.SetDecree(idl.GPID{AppID: 2, PartitionIndex: int32(atoi(m[1]))}, int64(atoi(m[2])))
		}
	}
	replies := map[string]string{}
	for d := json.NewDecoder(strings.NewReader(s.output)); strings.HasPrefix(s.output, "{\n  \"command\""); {
		var r struct {
			Command string
			Details map[string]struct{ Message json.RawMessage }
		}
		if d.Decode(&r) != nil {
			break
		}
		for addr, reply := range r.Details {
			text := string(reply.Message)
			var plain string
			if json.Unmarshal(reply.Message, &plain) == nil {
				text = plain
			}
			replies[addr+" "+r.Command] = text
		}
	}
	f.Lock()
	defer f.Unlock()
	f.Command = func(server, cmd string, args []string) string {
		return replies[server+" "+cmd+" "+strings.Join(args, " ")]
	}
}

// run feeds input to a shell and returns everything it prints.
func run(t *testing.T, f *clienttest.Fleet, input string) (string, error) {
	var b bytes.Buffer
	err := Run(t.Context(), Options{
		Metas: testMetas, ClusterName: "onebox", In: strings.NewReader(input), Out: &b, Err: &b,
		Dial: f.Net.Dialer("127.0.0.9"), Version: "2.6.0-SNAPSHOT", GitSHA: "db756dcdf24e2af6169659a67548501ed61f106c", BuildType: "Release",
	})
	return b.String(), err
}

func TestPrintsWhatTheOriginalPrints(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(t *testing.T, f *clienttest.Fleet)
		// cut is removed from the recorded output, skip from the input: what concerns commands
		// and facts that are not here.
		cut, skip string
		primary   map[int]string // of partitions of temp that no operation's answer names
		fails     bool           // Run reports a failed command
		more      string         // what we say and the original does not
	}{
		{name: "app-noexist", fails: true},
		{name: "app-temp"}, {name: "app-temp-j"}, {name: "app-temp-d"}, {name: "app-temp-d-j"}, {name: "app-temp-r"},
		{name: "app-temp-d-after-balance"},
		{name: "balance-move_pri", fails: true}, {name: "balance-usage", fails: true},
		{name: "cc", fails: true},
		{name: "cluster_info"}, {name: "cluster_info-j"}, {name: "cluster_info-r"},
		{name: "data-cas"},
		{name: "data-cam", setup: func(t *testing.T, f *clienttest.Fleet) { put(t, f, "h4", "k", "20") }},
		{name: "data-del"}, {name: "data-incr", fails: true}, {name: "data-multi"},
		{name: "data-nouse", fails: true}, {name: "data-set-get", fails: true},
		{name: "data-scan", setup: loadScan, primary: map[int]string{0: testNodes[0]}},
		{name: "ddd_diagnose"},
		{name: "flush_log"}, {name: "server_info"}, {name: "server_info-meta"},
		{name: "get_app_envs"}, {name: "get_app_envs-nouse", fails: true}, {name: "set_app_envs"}, {name: "set_app_envs-bad", fails: true},
		{name: "get_meta_level"}, {name: "set_meta_level-lively"}, {name: "set_meta_level-bad", fails: true},
		{name: "set_meta_level-steady", setup: func(t *testing.T, f *clienttest.Fleet) { f.Level = idl.FlLively }},
		{name: "hash-escape", primary: map[int]string{2: testNodes[0]}, skip: "rdb_key_str2hex h1 s1\nrdb_key_hex2str 0x000268317331\n",
			cut: "\"000268317331\"\n\nhash key: \"h1\"\n\nsort key: \"s1\"\n"},
		{name: "ls"}, {name: "ls-a"}, {name: "ls-d"}, {name: "ls-d-j"}, {name: "ls-j"}, {name: "ls-s-dropped"},
		{name: "nodes"}, {name: "nodes-j"}, {name: "nodes-d"}, {name: "nodes-d-j"}, {name: "nodes-r"}, {name: "nodes-s-alive"}, {name: "nodes-s-unalive"},
		{name: "propose-usage", fails: true},
		{name: "propose-downgrade", setup: refuseProposals, fails: true},
		{name: "remote_command-engine"}, {name: "remote_command-meta-help"}, {name: "remote_command-meta-server-info"},
		{name: "remote_command-meta-lb.assign_delay_ms"}, {name: "remote_command-meta-lb.assign_delay_ms-set"},
		{name: "remote_command-replica.kill_partition-usage"},
		{name: "use", fails: true, more: "table nosuch: no such table; see ls\n"}, {name: "version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := readSession(t, tt.name)
				f := newFleet(t)
				recreate(t, f, s)
				if tt.setup != nil {
					tt.setup(t, f)
					recreate(t, f, s)
				}
				f.Lock()
				for index, addr := range tt.primary {
					place(f, 2, index, addr)
				}
				f.Unlock()
				if tt.skip != "" {
					require.Contains(t, s.input, tt.skip)
					require.Contains(t, s.output, tt.cut)
				}
				got, err := run(t, f, strings.Replace(s.input, tt.skip, "", 1))
				require.Equal(t, tt.fails, errors.Is(err, ErrCommandFailed), "%v", err)
				require.Contains(t, got, tt.more)
				got = strings.Replace(got, tt.more, "", 1)
				if d := cmp.Diff(strings.Replace(s.output, tt.cut, "", 1), got); d != "" {
					t.Errorf("recorded (-) and printed (+):\n%s", d)
				}
			})
		})
	}
}

func put(t *testing.T, f *clienttest.Fleet, hashKey, sortKey, value string) {
	c := f.Client(t, client.Options{})
	require.NoError(t, c.Table("temp").Set(t.Context(), []byte(hashKey), []byte(sortKey), []byte(value), 0))
}

// loadScan writes the records that the recorded full scan shows, but those the session writes.
func loadScan(t *testing.T, f *clienttest.Fleet) {
	rows := regexp.MustCompile(`(?m)^"(\S+)" : "(\S+)" => "(\S+)"$`).FindAllStringSubmatch(readSession(t, "data-scan").output, -1)
	require.Greater(t, len(rows), 2000)
	temp := f.Client(t, client.Options{}).Table("temp")
	for _, r := range rows {
		if r[1] != "h5" {
			require.NoError(t, temp.Set(t.Context(), []byte(r[1]), []byte(r[2]), []byte(r[3]), 0))
		}
	}
}

func refuseProposals(t *testing.T, f *clienttest.Fleet) {
	f.Lock()
	defer f.Unlock()
	f.Intercept = func(_ string, r *wire.Request) bool {
		if r.Name != idl.RPCProposeBalancer {
			return false
		}
		r.Reply(&idl.ConfigurationBalancerResponse{Err: idl.ErrAppNotExist})
		return true
	}
}

// TestHelpIsTheOriginalsWhereOptionsAreTheSame compares the usage of each command with the
// recorded help text.
func TestHelpIsTheOriginalsWhereOptionsAreTheSame(t *testing.T) {
	recorded := readSession(t, "help").output
	ours := map[string]string{ // what differs, and why
		"nodes": "no -u -q", "count_data": "no -n", "remote_command": "no -i", "ddd_diagnose": "no -d -a -s", "batch_get": "new",
	}
	for i := range commands {
		c := &commands[i]
		if ours[c.name] == "" {
			require.Contains(t, recorded, "\t"+c.help(), c.name)
		}
	}
	var all bytes.Buffer
	printHelp(&all)
	require.True(t, strings.HasPrefix(all.String(), "Usage:\n\thelp                       \n\tversion "))
}

func TestUnknownCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, err := run(t, newFleet(t), "foo_bar\n")
		require.ErrorIs(t, err, ErrCommandFailed)
		require.True(t, strings.HasPrefix(out, "ERROR: invalid subcommand 'foo_bar'\nUsage:\n\thelp"), out)
	})
}
