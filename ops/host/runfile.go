// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/ops/host/link"
)

// recordScript makes a shell write the pid file of the program it is about to
// become. It holds no single quote, for it stands within some.
const recordScript = `out=$1 pidfile=$2 labels=$3; shift 3
set -f; pid=$$; st=$(cat /proc/$pid/stat) || exit 1
boot=$(cat /proc/sys/kernel/random/boot_id) || exit 1
start=$(set -- ${st##*) }; echo "${20}")
tmp=$pidfile.tmp-$pid
printf "%s\nstart=%s\nboot=%s\n%s" "$pid" "$start" "$boot" "$labels" >"$tmp" && chmod 644 "$tmp" &&
  { sync "$tmp" 2>/dev/null || sync; } && mv -f -- "$tmp" "$pidfile" || { rm -f -- "$tmp"; exit 1; }
`

func (d Daemon) labelLines() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(d.Labels)) {
		fmt.Fprintf(&b, "%s=%s\n", k, d.Labels[k])
	}
	return b.String()
}

// RunFile is a shell script that becomes the program of d, for supervisors that
// start it themselves: it records itself in the pid file just as Start does, so
// that Find and Stop know the process. Where its output goes is the supervisor's
// business.
func (d Daemon) RunFile() (string, error) {
	dir, err := link.Quote([]string{d.Dir})
	if err != nil {
		return "", fmt.Errorf("start script of %s: %w", d.Name, err)
	}
	var b strings.Builder
	b.WriteString("#!/bin/sh\n# Written by pegasus-ops at every start of " + strings.Join(strings.Fields(d.Name), " ") + "; changes are lost.\n")
	b.WriteString("cd -- " + dir + " || exit 1\n")
	for _, e := range d.Env {
		q, err := link.Quote([]string{e})
		if err != nil {
			return "", fmt.Errorf("start script of %s: %w", d.Name, err)
		}
		b.WriteString("export " + q + "\n")
	}
	args, err := link.Quote(append([]string{d.Output, d.PidFile, d.labelLines()}, d.Args...))
	if err != nil {
		return "", fmt.Errorf("start script of %s: %w", d.Name, err)
	}
	b.WriteString("set -- " + args + "\n" + recordScript + "umask 022\nulimit -S -n \"$(ulimit -H -n)\" 2>/dev/null\nexec \"$@\"\n")
	return b.String(), nil
}
