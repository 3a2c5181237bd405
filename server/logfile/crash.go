// SPDX-License-Identifier: Apache-2.0

package logfile

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// keptCrashes is how many crash reports of earlier processes stay.
const keptCrashes = 5

// CaptureCrash makes the Go runtime write its last words, when the process ends by a panic or a
// fatal error, to the file <role>.crash in the log directory as well as to stderr. A report that
// an earlier process left there is kept as <role>.crash.<time>; its path is returned, or "".
//
// It concerns the whole process: the last call counts.
func (l *Log) CaptureCrash() (earlier string, err error) {
	name := filepath.Join(l.core.opts.Dir, l.core.opts.Role+".crash")
	if info, err := os.Stat(name); err == nil && info.Size() > 0 {
		kept := name + "." + stamp(info.ModTime())
		if os.Rename(name, kept) == nil {
			earlier = kept
		}
	}
	pruneCrashes(name)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return earlier, fmt.Errorf("open the crash file: %w", err)
	}
	defer f.Close() // the runtime keeps a duplicate
	if err := debug.SetCrashOutput(f, debug.CrashOptions{}); err != nil {
		return earlier, fmt.Errorf("send crash reports to %s: %w", name, err)
	}
	return earlier, nil
}

func pruneCrashes(name string) {
	old, err := filepath.Glob(name + ".*")
	if err != nil {
		return
	}
	old = slices.DeleteFunc(old, func(p string) bool { return !isStamp(strings.TrimPrefix(p, name+".")) })
	slices.Sort(old)
	for i := 0; i < len(old)-keptCrashes; i++ {
		os.Remove(old[i])
	}
}

// ReleaseCrash sends crash reports to stderr only again, and removes the file if it is empty.
// It is called when the process ends in good order.
func (l *Log) ReleaseCrash() {
	debug.SetCrashOutput(nil, debug.CrashOptions{})
	name := filepath.Join(l.core.opts.Dir, l.core.opts.Role+".crash")
	if info, err := os.Stat(name); err == nil && info.Size() == 0 {
		os.Remove(name)
	}
}
