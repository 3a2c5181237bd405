// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// TestTreeOfRealCluster reads every table and partition record of trees dumped from C++ meta
// servers and writes the same bytes again, host names apart.
func TestTreeOfRealCluster(t *testing.T) {
	hostName := regexp.MustCompile(`localhost:`)
	for _, file := range []string{"testdata/zk-tree.txt", "testdata/zk-tree-worked.txt"} {
		apps, partitions := 0, 0
		for path, value := range readTree(t, file) {
			rest, ok := strings.CutPrefix(path, "/pegasus/onebox/apps/")
			if !ok {
				continue
			}
			want := hostName.ReplaceAllString(value, "127.0.0.1:")
			switch strings.Count(rest, "/") {
			case 0:
				apps++
				info, err := DecodeApp([]byte(value))
				if err != nil {
					t.Fatal(err)
				}
				if got := string(EncodeApp(info)); got != want {
					t.Errorf("%s\n got %s\nwant %s", path, got, want)
				}
				if AppPath(info.AppID) != "apps/"+rest {
					t.Errorf("path of table %d is %s", info.AppID, AppPath(info.AppID))
				}
			case 1:
				if strings.Contains(rest, "duplication") {
					continue
				}
				partitions++
				pc, err := DecodePartition([]byte(value))
				if err != nil {
					t.Fatal(err)
				}
				if got := string(EncodePartition(pc)); got != want {
					t.Errorf("%s\n got %s\nwant %s", path, got, want)
				}
				if PartitionPath(pc.Pid) != "apps/"+rest {
					t.Errorf("path of partition %s is %s", pc.Pid, PartitionPath(pc.Pid))
				}
			}
		}
		if apps < 2 || partitions < 12 {
			t.Errorf("%s: read %d tables and %d partitions", file, apps, partitions)
		}
	}
}

func readTree(t *testing.T, file string) map[string]string {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tree, path := map[string]string{}, ""
	s := bufio.NewScanner(f)
	for s.Scan() {
		line := s.Text()
		if strings.HasPrefix(line, "/") {
			path = line
		} else if v, ok := strings.CutPrefix(line, "    value='"); ok {
			tree[path] = strings.TrimSuffix(v, "'")
		}
	}
	return tree
}

func TestDecodeIsLenientAndEncodeIsNot(t *testing.T) {
	info, err := DecodeApp([]byte(`{"status":"AS_DROPPED","app_name":"t","app_id":7,"partition_count":4,"is_bulk_loading":true,"new_key":[1]}`))
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	want := &idl.AppInfo{Status: idl.AsDropped, AppType: "pegasus", AppName: "t", AppID: 7, PartitionCount: 4,
		Envs: map[string]string{}, IsStateful: true, InitPartitionCount: -1, IsBulkLoading: &yes}
	if d := cmp.Diff(want, info); d != "" {
		t.Error(d)
	}
	info.Envs = map[string]string{"business.info": "<a&b>", "a": ""}
	if got := string(EncodeApp(info)); !strings.Contains(got, `"envs":{"a":"","business.info":"<a&b>"}`) {
		t.Errorf("envs are not written plainly and in order: %s", got)
	}
	pc, err := DecodePartition([]byte(`{"pid":"2.1","ballot":3,"primary":"invalid address","hp_primary":"n1.example:34801"}`))
	if err != nil || !pc.Primary.IsZero() || pc.Ballot != 3 {
		t.Errorf("got %+v, %v", pc, err)
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	for _, s := range []string{"", "{", "[]", `{"status":"app_status::AS_CREATING","app_id":1,"partition_count":1}`,
		`{"status":"AS_AVAILABLE","app_id":0,"partition_count":1}`, `{"status":"AS_AVAILABLE","app_id":1,"partition_count":1,"is_stateful":7}`} {
		if _, err := DecodeApp([]byte(s)); err == nil {
			t.Errorf("table %q was accepted", s)
		}
	}
	for _, s := range []string{"", "{", `{"pid":"x"}`, `{"pid":"1.0","primary":"nohost"}`} {
		if _, err := DecodePartition([]byte(s)); err == nil {
			t.Errorf("partition %q was accepted", s)
		}
	}
}
