// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pegasus-ops/pegasus-ops/server/config"
)

func TestCommandLine(t *testing.T) {
	for _, tc := range []struct {
		line string
		want args
		err  string
	}{
		{line: "config.ini -app_list meta", want: args{config: "config.ini", apps: []string{"meta"}}},
		{line: "-app_list meta;replica@2 config.ini", want: args{config: "config.ini", apps: []string{"meta", "replica@2"}}},
		{line: "config.ini -cargs a=1;b=2,c= -app_list collector", want: args{config: "config.ini", apps: []string{"collector"}, cargs: map[string]string{"a": "1", "b": "2", "c": ""}}},
		{line: "config.ini", want: args{config: "config.ini"}},
		{line: "-v", want: args{version: true}},
		{line: "-version", want: args{version: true}},
		{line: "config.ini --version", want: args{config: "config.ini", version: true}},
		{line: "-h", want: args{help: true}},
		{line: "", err: "the configuration file is missing"},
		{line: "config.ini -app_list", err: "-app_list needs NAME"},
		{line: "config.ini -app_list ;", err: `-app_list ";" names no app`},
		{line: "config.ini -cargs", err: "-cargs needs K=V"},
		{line: "config.ini -cargs a", err: `"a" in "a" is not KEY=VALUE`},
		{line: "config.ini -applist meta", err: "unknown argument -applist"},
		{line: "config.ini other.ini", err: `unknown argument "other.ini", the configuration file is "config.ini" already`},
	} {
		got, err := parseArgs(strings.Fields(tc.line))
		if tc.err != "" {
			if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: %v, want %q", tc.line, err, tc.err)
			}
			continue
		}
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(args{})); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", tc.line, err, diff)
		}
	}
}

func TestAppsAreChosen(t *testing.T) {
	c, err := config.Load("f", []byte("[apps.collector]\nports = 3\n[apps.replica]\nports = 20\ncount = 3\n[apps.meta]\nports = 1\nrun = false\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		names string
		want  string
		err   string
	}{
		{names: "", want: "replica1 replica2 replica3 collector"},
		{names: "collector meta", want: "meta collector"},
		{names: "replica", want: "replica1 replica2 replica3"},
		{names: "replica@2", want: "replica2"},
		{names: "replica3 replica@3", want: "replica3"},
		{names: "metas", err: "no app was created: the file has no section [apps.metas], only collector, replica1, replica2, replica3, meta"},
		{names: "replica@4", err: `no app was created: replica has the instances 1 to 3, there is no "replica@4"`},
		{names: "replica@0", err: `there is no "replica@0"`},
	} {
		apps, err := chooseApps(c, strings.Fields(tc.names))
		var names []string
		for _, a := range apps {
			names = append(names, a.Name)
		}
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: %v, want %q", tc.names, err, tc.err)
			}
		} else if got := strings.Join(names, " "); err != nil || got != tc.want {
			t.Errorf("%q: %q, %v, want %q", tc.names, got, err, tc.want)
		}
	}
}
