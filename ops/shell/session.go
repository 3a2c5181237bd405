// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

func (s *shell) help(_ context.Context, _ *flags) error {
	printHelp(s.out)
	return nil
}

func (s *shell) printVersion(_ context.Context, _ *flags) error {
	text := "Pegasus Shell " + s.version()
	if s.o.GitSHA != "" {
		text += " (" + s.o.GitSHA + ")"
	}
	if s.o.BuildType != "" {
		text += " " + s.o.BuildType
	}
	fmt.Fprintln(s.out, text)
	return nil
}

// use names the table that data operations concern. It does not look whether there is such a
// table, as the original does not: the first operation will.
func (s *shell) use(_ context.Context, f *flags) error {
	switch {
	case len(f.args) == 1:
		s.table = f.args[0]
		fmt.Fprintln(s.out, "OK")
	case len(f.args) > 1:
		return usageError("")
	case s.table == "":
		return usageError("Current app not specified.")
	default:
		fmt.Fprintf(s.out, "Current app: %s\n", s.table)
	}
	return nil
}

// changeCluster goes over to another cluster, by name or by the addresses of its meta servers.
func (s *shell) changeCluster(ctx context.Context, f *flags) error {
	if len(f.args) != 1 {
		return usageError("")
	}
	name := f.args[0]
	var metas []string
	switch {
	case name == s.name:
		metas = s.metas
	case strings.Contains(name, ":"):
		metas = strings.Split(name, ",")
	case s.o.Lookup == nil:
		return s.fail("ERROR: cluster %s is not known here: give the addresses of its meta servers, host:port,host:port", name)
	default:
		var err error
		if metas, err = s.o.Lookup(name); err != nil {
			return err
		}
	}
	if err := s.connect(ctx, name, metas); err != nil {
		return err
	}
	s.printCluster()
	return nil
}

func (s *shell) setEscape(_ context.Context, f *flags) error {
	switch len(f.args) {
	case 0:
		fmt.Fprintf(s.out, "Current escape_all: %v.\n", s.escapeAll)
	case 1:
		on, err := strconv.ParseBool(f.args[0])
		if err != nil {
			return usageError("ERROR: invalid escape_all %s, should be true or false", f.args[0])
		}
		s.escapeAll = on
		fmt.Fprintln(s.out, "OK")
	default:
		return usageError("")
	}
	return nil
}

func (s *shell) setTimeout(_ context.Context, f *flags) error {
	switch len(f.args) {
	case 0:
		fmt.Fprintf(s.out, "Current timeout: %d ms.\n", s.timeout.Milliseconds())
	case 1:
		ms, err := parseInteger(f.args[0], "timeout in milliseconds", 1)
		if err != nil {
			return err
		}
		s.timeout = time.Duration(ms) * time.Millisecond
		fmt.Fprintln(s.out, "OK")
	default:
		return usageError("")
	}
	return nil
}
