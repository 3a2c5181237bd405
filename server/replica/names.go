// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// appType is the only type of table there is; it ends the name of every replica directory.
const appType = "pegasus"

// Suffixes of directories under reps that hold no replica in use. errSuffix and garSuffix stand
// after the time of the renaming in microseconds.
const (
	errSuffix = ".err" // failed to load
	garSuffix = ".gar" // no longer wanted
	tmpSuffix = ".tmp" // unfinished copy
	oriSuffix = ".ori" // replaced by a copy on another disk
)

// dirName is the name of the directory of a replica.
func dirName(g idl.GPID) string { return g.String() + "." + appType }

// parseDirName is the inverse of dirName. Names of anything else are not ok: an operator's own
// files, backups, directories set aside.
func parseDirName(name string) (idl.GPID, bool) {
	head, ok := strings.CutSuffix(name, "."+appType)
	if !ok {
		return idl.GPID{}, false
	}
	g, err := idl.ParseGPID(head)
	if err != nil || g.AppID <= 0 || dirName(g) != name {
		return idl.GPID{}, false
	}
	return g, true
}

// setAsideName is the name under which a directory is kept for a while.
func setAsideName(name, suffix string, now time.Time) string {
	return fmt.Sprintf("%s.%d%s", name, now.UnixMicro(), suffix)
}

// setAsideTime returns when a directory was set aside, by its name.
func setAsideTime(name string) (suffix string, at time.Time, ok bool) {
	for _, suffix := range []string{errSuffix, garSuffix} {
		head, found := strings.CutSuffix(name, suffix)
		if !found {
			continue
		}
		i := strings.LastIndexByte(head, '.')
		us, err := strconv.ParseInt(head[i+1:], 10, 64)
		if i < 0 || err != nil || us <= 0 {
			return suffix, time.Time{}, false
		}
		return suffix, time.UnixMicro(us), true
	}
	return "", time.Time{}, false
}
