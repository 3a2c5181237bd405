// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/client/clienttest"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// with runs a test on the cluster of the recorded sessions.
func with(t *testing.T, f func(t *testing.T, fleet *clienttest.Fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newFleet(t)) })
}

func TestScriptStopsAtTheFirstFailure(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		var out, complaints bytes.Buffer
		o := Options{Metas: testMetas, Exec: `use temp; set h s "a;b"; get h s; nosuch; set h s c`, Out: &out, Err: &complaints,
			Dial: fleet.Net.Dialer("127.0.0.9")}
		require.ErrorIs(t, Run(t.Context(), o), ErrCommandFailed)
		require.Contains(t, out.String(), `"a;b"`)
		require.Contains(t, complaints.String(), "invalid subcommand 'nosuch'")
		require.Equal(t, 1, fleet.Calls(idl.RPCPut), "what follows the failure is not executed")

		complaints.Reset()
		o.Exec = "use temp; get h nothing; exit; nosuch"
		require.NoError(t, Run(t.Context(), o), "that there is no record is an answer")
		require.Empty(t, complaints.String())
		o.Exec = `get "h`
		require.ErrorIs(t, Run(t.Context(), o), ErrCommandFailed)
		require.Contains(t, complaints.String(), "Invalid argument(s)")
	})
}

func TestPipedInputGoesOnAfterAFailure(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		out, err := run(t, fleet, "use temp\nnosuch\n\nset h s v\nget h s")
		require.ErrorIs(t, err, ErrCommandFailed)
		require.Contains(t, out, `"v"`)
		_, err = run(t, fleet, "")
		require.NoError(t, err)
	})
}

func TestCreateWaitsUntilReady(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		out, err := run(t, fleet, "create t3 -p 4\ncreate t3 -p 4 -f\ncreate t3 -p 8\ncreate t4 -p 3 -r 1 -e default_ttl=100\nrename t3 t3new\n"+
			"drop t3new -r 60\nls\nls -a\nls -s dropped\nrecall 3 back\nrecall 99\ndrop nosuch\nls -p ba -m prefix -j\n")
		require.ErrorIs(t, err, ErrCommandFailed)
		for _, want := range []string{
			"create app t3 succeed, waiting for app ready\nt3 is ready now: (4/4)\nt3 is ready now!\ncreate app \"t3\" succeed\n",
			"ERR_APP_EXIST: create app t3 failed: [create] received server error\ncreate app \"t3\" failed, error = ERR_APP_EXIST\n",
			"ERR_INVALID_PARAMETERS: create app t3 failed: [create] received server error\ncreate app \"t3\" failed, error = ERR_INVALID_PARAMETERS\n",
			"WARNING: 3 partitions is no power of two: the Go client of Apache Pegasus cannot use such a table\ncreate app t4 succeed", "create app \"t4\" succeed\n",
			"rename app ok, old_app_name(t3), new_app_name(t3new)\n",
			"reserve_seconds = 60\ndrop app t3new succeed\n",
			"3       DROPPED    t3new     pegasus   4                3              true         2026-11-22_03:19:50  2026-11-22_03:20:30  2026-11-29_03:20:30  0           false              \n",
			"total_app_count  : 0\n",
			"recall app ok, id(3), name(back), partition_count(4), wait it ready\nback is ready now: (4/4)\nback is ready now!\nrecall app 3 succeed\n",
			"recall app 99 failed, error = ERR_APP_NOT_EXIST\n",
			"reserve_seconds = 0\ndrop app nosuch succeed\n",
			"    \"summary\": {\n        \"total_app_count\": \"1\"\n    }\n",
		} {
			require.Contains(t, out, want)
		}
		fleet.Lock()
		place(fleet, 2, 5, testNodes[0])
		fleet.Unlock()
		go func() {
			time.Sleep(1500 * time.Millisecond)
			fleet.Lock()
			defer fleet.Unlock()
			place(fleet, 2, 5, testNodes[0], testNodes[1:]...)
		}()
		out, err = run(t, fleet, "create temp -p 8\n")
		require.NoError(t, err)
		require.Equal(t, "create app temp succeed, waiting for app ready\ntemp not ready yet, still waiting... (7/8)\n"+
			"temp not ready yet, still waiting... (7/8)\ntemp is ready now: (8/8)\ntemp is ready now!\ncreate app \"temp\" succeed\n", out)
	})
}

func TestSetReplicaCountAsks(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		question := "PLEASE be CAUTIOUS with this operation ! Are you sure to set the replica count of app(temp) to 2 ? [y/n]: "
		out, err := run(t, fleet, "get_replica_count temp\nget_replica_count temp -j\nset_replica_count temp 2\ny\nset_replica_count temp 1\nn\n")
		require.NoError(t, err)
		require.Contains(t, out, "[max_replica_count]\nmax_replica_count  : 3\n{\n    \"max_replica_count\": {\n        \"max_replica_count\": \"3\"\n    }\n}\n")
		require.Contains(t, out, question+"set replica count of app(temp) from 3 to 2 succeed\n")
		require.Contains(t, out, "nothing is changed")
		for _, answer := range []string{"", "what\ny\n"} { // not y, and not asked again
			out, err = run(t, fleet, "set_replica_count temp 3\n"+answer)
			require.ErrorIs(t, err, ErrCommandFailed)
			require.Equal(t, 1, strings.Count(out, "[y/n]"), out)
			require.Contains(t, out, "nothing is changed; without a terminal use --yes")
		}
		require.Equal(t, 1, fleet.Calls(idl.RPCSetMaxReplicaCount))
	})
}

// answers is a terminal on which somebody types these lines.
type answers struct{ scriptLines }

func TestSetReplicaCountAsksFiveTimesOnATerminal(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		for _, tt := range []struct {
			typed []string
			left  int
			says  string
		}{
			{[]string{"1", "2", "3", "4", "5", "y"}, 1, "too many failed attempts, we will stop !\n"},
			{[]string{"what", "y"}, 0, "set replica count of app(temp) from 3 to 2 succeed\n"},
			{[]string{"what"}, 0, "no answer: nothing is changed\n"},
		} {
			var b bytes.Buffer
			lines := &answers{scriptLines{tt.typed}}
			s := &shell{c: fleet.Client(t, client.Options{}), o: Options{Interactive: true}, out: &b, err: &b, lines: lines}
			s.execute(t.Context(), "set_replica_count temp 2")
			require.Equal(t, tt.says, strings.TrimLeft(b.String(), "\n"))
			require.Len(t, lines.left, tt.left)
		}
	})
}

func TestYesAsksNoQuestions(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		var b bytes.Buffer
		o := Options{Metas: testMetas, Exec: "set_replica_count temp 2", AssumeYes: true, Out: &b, Err: &b, Dial: fleet.Net.Dialer("127.0.0.9")}
		require.NoError(t, Run(t.Context(), o))
		require.Equal(t, "set replica count of app(temp) from 3 to 2 succeed\n", b.String())
	})
}

func TestBalanceBuildsTheOriginalsActions(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		_, err := run(t, fleet, "balance -g 2.0 -p move_pri -f 127.0.0.1:24801 -t 127.0.0.1:24803\n"+
			"balance -g 2.0 -p copy_pri -f 127.0.0.1:24801 -t 127.0.0.1:24803\n"+
			"balance -g 2.0 -p copy_sec -f 127.0.0.1:24801 -t 127.0.0.1:24803\n"+
			"propose -f -g 2.1 -p assign_primary -t 127.0.0.1:24801 -n 127.0.0.1:24801\n")
		require.NoError(t, err)
		var got []string
		for _, p := range fleet.Proposals {
			line := fmt.Sprintf("%s force=%v", p.Gpid, p.Force != nil && *p.Force)
			for _, a := range p.ActionList {
				line += fmt.Sprintf(" %s(%s@%s)", a.Type, a.Node, a.Target)
			}
			got = append(got, strings.ReplaceAll(line, "127.0.0.1:2480", "n"))
		}
		require.Equal(t, []string{
			"2.0 force=false CT_DOWNGRADE_TO_SECONDARY(n1@n1) CT_UPGRADE_TO_PRIMARY(n3@n3)",
			"2.0 force=false CT_ADD_SECONDARY_FOR_LB(n3@n1) CT_DOWNGRADE_TO_SECONDARY(n1@n1) CT_UPGRADE_TO_PRIMARY(n3@n3)",
			"2.0 force=false CT_ADD_SECONDARY_FOR_LB(n3@invalid address) CT_DOWNGRADE_TO_INACTIVE(n1@invalid address)",
			"2.1 force=true CT_ASSIGN_PRIMARY(n1@n1)",
		}, got)
	})
}

func TestRemoteCommandCountsFailures(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		fleet.StopServer(testNodes[1])
		fleet.Command = func(server, cmd string, args []string) string { return strings.Join(append(args, cmd), " ") }
		out, err := run(t, fleet, "remote_command -t replica-server some.command -x 1\nremote_command -l 127.0.0.1:24801 -t all x\nremote_command\n")
		require.ErrorIs(t, err, ErrCommandFailed)
		var r remoteResult
		require.NoError(t, json.NewDecoder(strings.NewReader(out)).Decode(&r))
		require.Equal(t, []int{1, 2}, []int{r.Failed, r.Succeed})
		require.Equal(t, &remoteReply{Message: "ERR_NETWORK_FAILURE", Role: roleReplica}, r.Details[testNodes[1]])
		require.Equal(t, "-x 1 some.command", r.Details[testNodes[0]].Message)
		require.Equal(t, "some.command -x 1", r.Command)
		require.Contains(t, out, "can not specify both node_type and nodes_list\nUSAGE: \tremote_command")
	})
}

func TestCountData(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		loadScan(t, fleet)
		put(t, fleet, "h5", "a", "1")
		put(t, fleet, "h5", "b", "2")
		put(t, fleet, "h5", "c", "3")
		put(t, fleet, "h5", "d", "4")
		out, err := run(t, fleet, "use temp\ncount_data -c\ncount_data -c -a\ncount_data -c -d\n")
		require.NoError(t, err)
		recorded := strings.ReplaceAll(readSession(t, "count_data").output, "INFO: top_count = 0\n", "")
		_, recorded, _ = strings.Cut(recorded, "(total:7)  2005.00         \n")
		require.Equal(t, "OK\n"+recorded, out)

		out, err = run(t, fleet, "use temp\ncount_data -c -h prefix -x k1- -p 3\ncount_data -c -v exact -z 3509\n")
		require.NoError(t, err)
		require.Contains(t, out, "INFO: partition = 3\n")
		require.Contains(t, out, "Count done, total 58 rows.\n")
		require.Contains(t, out, "Count done, total 4 rows.\n")
	})
}

func TestCountDataStopsInTime(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		put(t, fleet, "h5", "a", "1")
		fleet.Lock()
		fleet.Intercept = func(_ string, r *wire.Request) bool { return r.Name == idl.RPCGetScanner } // silence
		fleet.Unlock()
		start := time.Now()
		out, err := run(t, fleet, "use temp\ncount_data -c -r 3 -t 60000\n")
		require.NoError(t, err)
		require.Contains(t, out, "INFO: processed for 2 seconds, (0/8) splits, total 0 rows, last second 0 rows\n")
		require.Contains(t, out, "Count stopped by run_seconds, total 0 rows.\n")
		require.Less(t, time.Since(start), 5*time.Second)
	})
}

// The recorded sizes are known well enough to make the same histogram of hash keys.
func TestHistogramIsTheOriginals(t *testing.T) {
	h, part := newHistogram(), newHistogram()
	for size, n := range map[uint64]int{2: 9, 4: 40, 5: 360, 6: 1600} {
		for i := range n {
			if i%2 == 0 {
				h.add(size)
			} else {
				part.add(size)
			}
		}
	}
	h.merge(part)
	var b bytes.Buffer
	h.print(&b, "hash_key_size")
	recorded := readSession(t, "count_data").output
	for _, line := range strings.SplitAfter(b.String(), "\n") {
		if !strings.HasPrefix(line, "Count:") { // average and deviation need each size
			require.Contains(t, recorded, line)
		}
	}
	var empty bytes.Buffer
	newHistogram().print(&empty, "x")
	require.Contains(t, empty.String(), "Count: 0 Average: 0.0000  StdDev: 0.00\nMin: 0  Median: 0.0000  Max: 0\n")
}

func TestCountDataEstimates(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		out, err := run(t, fleet, "use temp\ncount_data\n")
		require.ErrorIs(t, err, ErrCommandFailed)
		require.Contains(t, out, "use count_data -c")
		counts := []int{250, 248, 254, 252, 252, 252, 249, 248}
		fleet.Lock()
		fleet.HTTP = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			require.Equal(t, "replica", r.URL.Query().Get("types"))
			var entities []string
			for i, n := range counts { // every replica answers, only the primary's word counts
				if fleet.Configs[2][i].Primary != clienttest.Addr(r.Host) {
					n = 1
				}
				entities = append(entities, fmt.Sprintf(`{"type":"replica","id":"2.%d","attributes":{"table_id":"2","partition_id":"%d"},"metrics":[{"name":"rdb_estimated_keys","value":%d}]}`, i, i, n))
			}
			fmt.Fprintf(w, `{"cluster":"onebox","role":"replica","entities":[%s]}`, strings.Join(entities, ","))
		})
		fleet.Unlock()
		out, err = run(t, fleet, "use temp\ncount_data\n")
		require.NoError(t, err)
		require.Contains(t, out, "(total:8)  2005.00         \n")
		// The original takes one off the number of partitions; all else is as it prints it.
		recorded := strings.Replace(readSession(t, "count_data").output, "(total:7)", "(total:8)", 1)
		require.Contains(t, recorded, strings.TrimPrefix(out, "OK\n"))
	})
}

func TestOutputFiles(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		dir := t.TempDir()
		out, err := run(t, fleet, fmt.Sprintf("nodes -o %[1]s/nodes\nuse temp\nmulti_set h a 1 b 2\nhash_scan h \"\" \"\" -o %[1]s/scan\nls -o %[1]s/none/x\n", dir))
		require.ErrorIs(t, err, ErrCommandFailed)
		require.Contains(t, out, "ERROR: open output file")
		require.NotContains(t, out, "[details]")
		b, err := os.ReadFile(filepath.Join(dir, "nodes"))
		require.NoError(t, err)
		require.Contains(t, string(b), "out_file  : "+dir+"/nodes")
		b, err = os.ReadFile(filepath.Join(dir, "scan"))
		require.NoError(t, err)
		require.Equal(t, "\"h\" : \"a\" => \"1\"\n\"h\" : \"b\" => \"2\"\n", string(b))
		require.Contains(t, out, "\n2 key-value pairs got.\n")
	})
}

func TestBatchGetAndDelRange(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		var set strings.Builder
		for i := range 250 {
			fmt.Fprintf(&set, " s%03d v", i)
		}
		out, err := run(t, fleet, "use temp\nset h1 a 1\nset h2 a 2\nbatch_get h1 a nosuch x h2 a\nmulti_set big"+set.String()+
			"\nmulti_del_range big s010 s230\ncount big\n")
		require.NoError(t, err)
		require.Contains(t, out, "\"h1\" : \"a\" => \"1\"\n\"h2\" : \"a\" => \"2\"\n\n2 key-value pairs got, fetch completed.\n")
		require.Contains(t, out, "\"s010\"\n\"s011\"\n")
		require.Contains(t, out, "OK, 220 sort keys deleted.\n30\n")
	})
}

func TestCheckAndMutateCanBeAborted(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		out, err := run(t, fleet, "use temp\ncheck_and_mutate h -c k -t not_exist\nset\nfoo bar\nset a 1 x\nabort\n"+
			"check_and_mutate h -c k -t not_exist\nok\ncheck_and_mutate h -c k -t not_exist\nset a 1\n")
		require.ErrorIs(t, err, ErrCommandFailed)
		require.Contains(t, out, "INFO: load mutations aborted.\n")
		require.Contains(t, out, "ERROR: no mutation is loaded: nothing is changed\n")
		require.Contains(t, out, "ERROR: the mutations end without \"ok\": nothing is changed\n")
		require.Zero(t, fleet.Calls(idl.RPCCheckAndMutate))
		_, err = run(t, fleet, "use temp\ncheck_and_mutate h -c k -t not_exist\nset a 1 5\nok\n")
		require.NoError(t, err)
		require.Equal(t, 1, fleet.Calls(idl.RPCCheckAndMutate))
	})
}

func TestDiagnoseShowsTheCopies(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		fleet.DDD = []idl.DddPartitionInfo{{
			Config: idl.PartitionConfiguration{Pid: idl.GPID{AppID: 2, PartitionIndex: 3}, Ballot: 7, LastCommittedDecree: 90,
				LastDrops: []idl.RPCAddress{clienttest.Addr(testNodes[0]), clienttest.Addr(testNodes[1])}},
			Dropped: []idl.DddNodeInfo{
				{Node: clienttest.Addr(testNodes[0]), DropTimeMs: 1795317460000, IsAlive: true, IsCollected: true, Ballot: 7, LastCommittedDecree: 90, LastPreparedDecree: 91},
				{Node: clienttest.Addr(testNodes[1]), DropTimeMs: 1795317461000, Ballot: 6, LastCommittedDecree: 80, LastPreparedDecree: 80},
			},
			Reason: "ddd reason",
		}}
		out, err := run(t, fleet, "ddd_diagnose -g 2.3\nddd_diagnose -g 2\nddd_diagnose -g x\n")
		require.ErrorIs(t, err, ErrCommandFailed)
		require.Contains(t, out, `Total 1 ddd partitions:
(1) 2.3
    config: ballot(7), last_committed(90)
    ----
    dropped[0]: node(127.0.0.1:24801), drop_time(2026-11-22 03:17:40.000), alive(true), collected(true), ballot(7), last_committed(90), last_prepared(91)  <== the secondary latest
    dropped[1]: node(127.0.0.1:24802), drop_time(2026-11-22 03:17:41.000), alive(false), collected(false), ballot(6), last_committed(80), last_prepared(80)  <== the latest
    ----
    last_drops[0]: node(127.0.0.1:24801)
    last_drops[1]: node(127.0.0.1:24802)
    ----
    ddd_reason: ddd reason

Diagnose ddd done.
`)
	})
}

func TestChangeCluster(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		out, err := run(t, fleet, "use temp\ncc other\ncc 127.0.0.1:24602\nuse\nnodes\n")
		require.ErrorIs(t, err, ErrCommandFailed)
		require.Contains(t, out, "ERROR: cluster other is not known here")
		require.Contains(t, out, "The cluster meta list is: 127.0.0.1:24602\nCurrent app not specified.\n")
		require.Contains(t, out, "total_node_count    : 3")
	})
}

func TestFailuresSayWhatHappened(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		fleet.SetPrimary(idl.GPID{AppID: 2, PartitionIndex: 2}, "")
		out, err := run(t, fleet, "use temp\ntimeout 1000\nset h1 s v\n")
		require.ErrorIs(t, err, ErrCommandFailed)
		require.Regexp(t, regexp.MustCompile(`ERROR: server changed\nset on table temp, partition 2\.2: ERR_INVALID_STATE: the partition has no primary; gave up after \d+ attempts\n\napp_id          : -1\n`), out)
		for _, m := range testMetas {
			fleet.StopServer(m)
		}
		out, err = run(t, fleet, "ls\nnodes\ncluster_info\nget_meta_level\n")
		require.ErrorIs(t, err, ErrCommandFailed)
		require.Contains(t, out, "list apps failed, error=ERR_NETWORK_FAILURE\nlist tables at 127.0.0.1:2460")
		out, err = run(t, fleet, "use temp\nget h s\ncount_data -c\n")
		require.ErrorIs(t, err, ErrCommandFailed)
		require.Regexp(t, `ERROR: timeout\nget on table temp: ERR_TIMEOUT: meta server 127\.0\.0\.1:2460\d: connection refused\n`, out)
		require.Regexp(t, `\n(full_scan|query configuration) on table temp.*127\.0\.0\.1:2460\d: connection refused`, out)
	})
}

func TestErrorsAreWordedAsTheCppClientDoes(t *testing.T) {
	for code, want := range map[idl.ErrorCode]string{
		idl.ErrTimeout: "timeout", idl.ErrObjectNotFound: "object not found", idl.ErrNetworkFailure: "network failure",
		idl.ErrHandlerNotFound: "handler not found", idl.ErrOperationDisabled: "operation disabled",
		idl.ErrNotEnoughMember: "no enough member", idl.ErrAppNotExist: "app not exist", idl.ErrAppExist: "app already exist",
		idl.ErrFileOperationFailed: "server internal error", idl.ErrInvalidState: "server changed", idl.ErrBusy: "app busy",
		idl.ErrSplitting: "app splitting", idl.ErrDiskInsufficient: "disk insufficient", idl.ErrACLDeny: "unknown error",
	} {
		text, enough := clientText(&client.Error{Op: "set", Code: code})
		require.Equal(t, want, text)
		require.False(t, enough, code)
	}
	for status, want := range map[client.Status]string{
		1: "not found", 2: "corruption", 3: "not supported", 4: "invalid argument", 5: "io error", 6: "merge in progress",
		7: "incomplete", 8: "shutdown in progress", 9: "rocksdb time out", 10: "aborted", 11: "busy", 12: "expired", 13: "unknown error",
	} {
		text, _ := clientText(&client.Error{Op: "set", Status: status})
		require.Equal(t, want, text)
	}
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		fleet.Intercept = func(_ string, r *wire.Request) bool {
			if r.Name == idl.RPCPut {
				r.ReplyError(idl.ErrDiskInsufficient)
			}
			return r.Name == idl.RPCPut
		}
		out, err := run(t, fleet, "use temp\nset h s v\n")
		require.ErrorIs(t, err, ErrCommandFailed)
		require.Regexp(t, `ERROR: disk insufficient\nset on table temp, partition 2\.\d at 127.0.0.1:\d+: ERR_DISK_INSUFFICIENT\n`, out)
	})
}

func TestTheTableInUseThatIsNotThereIsNamed(t *testing.T) {
	for _, command := range []string{"get h s", "hash h s", "full_scan", "count_data", "count_data -c", "get_app_envs",
		"set_app_envs default_ttl 100", "del_app_envs default_ttl", "clear_app_envs -a"} {
		with(t, func(t *testing.T, fleet *clienttest.Fleet) {
			out, err := run(t, fleet, "use nosuch\n"+command+"\n")
			require.ErrorIs(t, err, ErrCommandFailed)
			require.True(t, strings.HasPrefix(out, "OK\n"), command)
			require.Equal(t, 1, strings.Count(out, "table nosuch: no such table; see ls\n"), "%s: %s", command, out)
		})
	}
}

func TestCompletion(t *testing.T) {
	asked := 0
	c := &completer{tables: func() []string { asked++; return []string{"stat", "temp"} }}
	complete := func(line string) []string {
		endings, n := c.Do([]rune(line), len([]rune(line)))
		var words []string
		for _, e := range endings {
			words = append(words, line[len(line)-n:]+string(e))
		}
		slices.Sort(words)
		return words
	}
	require.Equal(t, []string{"use "}, complete("us"))
	require.Equal(t, []string{"stat ", "temp "}, complete("use "))
	require.Equal(t, []string{"temp "}, complete("use t"))
	require.Equal(t, []string{"--detailed ", "--json ", "--output ", "--resolve_ip ", "stat ", "temp "}, complete("app "))
	require.Equal(t, []string{"--detailed "}, complete("app temp --d"))
	require.Equal(t, []string{"steady ", "stopped "}, complete("set_meta_level st"))
	require.Empty(t, complete("nosuch x"))
	require.Empty(t, complete("get h"))
	require.Equal(t, 1, asked, "names are remembered for a while")
}

func TestEveryCommandRefusesNonsense(t *testing.T) {
	with(t, func(t *testing.T, fleet *clienttest.Fleet) {
		c := fleet.Client(t, client.Options{})
		for i := range commands {
			cmd := &commands[i]
			if len(cmd.usage) == 0 || cmd.name == "remote_command" || cmd.name == "multi_get" {
				continue
			}
			var b bytes.Buffer
			s := &shell{c: c, metas: testMetas, table: "temp", timeout: time.Second, out: &b, err: &b, lines: newPipe(nil), poll: time.Second}
			words := strings.Repeat(" x", 9)
			if len(options(cmd.usage)) > 0 {
				words = " -Q"
			} else if strings.HasSuffix(cmd.usage, "...]") {
				words = ""
			}
			require.Error(t, s.execute(t.Context(), cmd.name+words), cmd.name)
			require.Contains(t, b.String(), "USAGE: \t"+cmd.name, cmd.name)
		}
	})
}
