// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/pegasus-ops/pegasus-ops/server/config"
)

// Exit statuses of the program, those of the original.
const (
	exitOK     = 0
	exitUsage  = 1   // wrong command line, or a role the file does not have
	exitFailed = 255 // the configuration is not valid, or a role could not be started or stopped
	exitKilled = 130 // a second signal while stopping
)

// check is -check: Read has found no mistake in the file as such, what is left is what each of the
// roles wants of it. Nothing outside the process is looked at or touched.
func check(c *config.Config, apps []config.App, stderr io.Writer) int {
	for _, w := range c.Warnings {
		fmt.Fprintf(stderr, "WARNING: %s\n", w)
	}
	if w := unusedKeys(c); w != "" {
		fmt.Fprintf(stderr, "WARNING: %s\n", w)
	}
	if err := checkRoles(c, apps); err != nil {
		fmt.Fprintf(stderr, "%v\nthe configuration %s cannot be used\n", err, c.File().Name)
		return exitFailed
	}
	return exitOK
}

// Main is the program pegasus_server: it runs until SIGTERM or SIGINT and returns the exit
// status. A second signal ends the process at once.
func Main(build Build, argv []string, stdout, stderr io.Writer) int {
	build = build.complete()
	a, err := parseArgs(argv)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "pegasus_server: %v\n%s", err, usage)
		return exitUsage
	case a.version:
		fmt.Fprintln(stdout, build)
		return exitOK
	case a.help:
		fmt.Fprint(stdout, usage)
		return exitOK
	}
	c, err := config.Read(a.config, a.cargs)
	if err != nil {
		fmt.Fprintf(stderr, "%v\nrun the system failed: the configuration cannot be used%s\n", err, count(err))
		return exitFailed
	}
	apps, err := chooseApps(c, a.apps)
	if err != nil {
		fmt.Fprintf(stderr, "pegasus_server: %v\n", err)
		if a.check {
			return exitFailed // of a file that was to be checked for a role it does not have
		}
		return exitUsage
	}
	if a.check {
		return check(c, apps, stderr)
	}
	// The original says so on stdout, too.
	for _, w := range c.File().Warnings {
		fmt.Fprintf(stdout, "WARNING: %v\n", w)
	}

	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	go func() {
		s := <-signals
		fmt.Fprintf(stderr, "got signal %s, stopping; a second one ends the process at once\n", s)
		cancel(fmt.Errorf("signal %s", s))
		s = <-signals
		fmt.Fprintf(stderr, "got signal %s while stopping, exit\n", s)
		os.Exit(exitKilled)
	}()

	if err := Run(ctx, Options{Config: c, Apps: apps, Build: build, Stderr: stderr}); err != nil {
		fmt.Fprintf(stderr, "run the system failed: %v\n", err)
		return exitFailed
	}
	return exitOK
}

func count(err error) string {
	var list config.Errors
	if errors.As(err, &list) && len(list) > 1 {
		return fmt.Sprintf(", %d mistakes", len(list))
	}
	return ""
}
