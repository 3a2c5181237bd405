// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/server/config"
)

// args is the command line, which is that of the original server so that its start scripts
// work.
type args struct {
	config  string
	cargs   map[string]string
	apps    []string // names of -app_list; nil = every app with run = true
	check   bool
	version bool
	help    bool
}

const usage = `usage: pegasus_server CONFIG.INI [-app_list NAME[@INDEX][;NAME...]] [-cargs K=V[;K=V...]]
       pegasus_server --check CONFIG.INI [-app_list ...] [-cargs ...]
       pegasus_server -v | -version | --version

  -app_list  which [apps.*] sections of the file to start: meta, replica, collector;
             without it all with run = true start in this one process. With count = N in
             the section, @INDEX (from 1) picks one of its instances.
  -cargs     replaces %K% by V in the whole file before it is read
  -check     only looks whether the file can be used; opens no port and writes nothing
`

var errUsage = errors.New("wrong usage")

func parseArgs(argv []string) (args, error) {
	var a args
	next := func(i int, flag, want string) (string, error) {
		if i+1 >= len(argv) {
			return "", fmt.Errorf("%s needs %s: %w", flag, want, errUsage)
		}
		return argv[i+1], nil
	}
	for i := 0; i < len(argv); i++ {
		switch arg := argv[i]; arg {
		case "-v", "-version", "--version":
			a.version = true
			return a, nil
		case "-h", "-help", "--help":
			a.help = true
			return a, nil
		case "-check", "--check":
			a.check = true
		case "-cargs":
			v, err := next(i, arg, "K=V[;K=V...]")
			if err != nil {
				return a, err
			}
			m, err := config.ParseArgs(v)
			if err != nil {
				return a, fmt.Errorf("%w: %w", err, errUsage)
			}
			a.cargs = m
			i++
		case "-app_list":
			v, err := next(i, arg, "NAME[@INDEX][;NAME...]")
			if err != nil {
				return a, err
			}
			for name := range strings.SplitSeq(v, ";") {
				if name = strings.TrimSpace(name); name != "" {
					a.apps = append(a.apps, name)
				}
			}
			if a.apps == nil {
				return a, fmt.Errorf("-app_list %q names no app: %w", v, errUsage)
			}
			i++
		default:
			if strings.HasPrefix(arg, "-") {
				return a, fmt.Errorf("unknown argument %s: %w", arg, errUsage)
			}
			if a.config != "" {
				return a, fmt.Errorf("unknown argument %q, the configuration file is %q already: %w", arg, a.config, errUsage)
			}
			a.config = arg
		}
	}
	if a.config == "" {
		return a, fmt.Errorf("the configuration file is missing: %w", errUsage)
	}
	return a, nil
}

// chooseApps returns the instances to start, in the order in which they should.
func chooseApps(c *config.Config, names []string) ([]config.App, error) {
	var chosen []config.App
	if len(names) == 0 {
		for _, app := range c.Apps {
			if app.Run {
				chosen = append(chosen, app)
			}
		}
		if chosen == nil {
			return nil, fmt.Errorf("no app was created: the file has no [apps.*] section with run = true")
		}
	}
	for _, name := range names {
		base, index, indexed := strings.Cut(name, "@")
		var found []config.App
		for _, app := range c.Apps {
			if app.Name == base || app.Section == base {
				found = append(found, app)
			}
		}
		if found == nil {
			var have []string
			for _, app := range c.Apps {
				have = append(have, app.Name)
			}
			return nil, fmt.Errorf("no app was created: the file has no section [apps.%s], only %s", base, strings.Join(have, ", "))
		}
		if indexed {
			n, err := strconv.Atoi(index)
			if err != nil || n < 1 || n > len(found) {
				return nil, fmt.Errorf("no app was created: %s has the instances 1 to %d, there is no %q", base, len(found), name)
			}
			found = found[n-1 : n]
		}
		for _, app := range found {
			if !slices.ContainsFunc(chosen, func(a config.App) bool { return a.Name == app.Name }) {
				chosen = append(chosen, app)
			}
		}
	}
	// The others need a meta server to talk to.
	slices.SortStableFunc(chosen, func(a, b config.App) int {
		return slices.Index(config.Roles, a.Role) - slices.Index(config.Roles, b.Role)
	})
	return chosen, nil
}
