// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// expandHome replaces a leading ~ or $HOME. The second result says whether
// there was one.
func expandHome(p, home string) (string, bool) {
	for _, prefix := range []string{"~", "$HOME", "${HOME}"} {
		if rest, ok := strings.CutPrefix(p, prefix); ok && (rest == "" || rest[0] == '/') {
			return home + rest, true
		}
	}
	return p, false
}

// localPath expands a path on the operator's machine.
func (d *draft) localPath(p string) string {
	if p == "" {
		return ""
	}
	if full, ok := expandHome(p, d.options.Home); ok {
		return filepath.Clean(full)
	}
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(d.options.Dir, p)
}

// hostPath expands and checks a directory on hosts; "" when it is not usable.
func (d *draft) hostPath(w written, field string) string {
	if w.value == "" {
		return ""
	}
	p, relative := expandHome(w.value, d.options.Home)
	quoted := strconv.Quote(w.value)
	switch {
	case relative && d.hasHosts && !d.allLocal():
		d.fail(w.line, field, quoted, "write the whole path: ~ would depend on who logs in", "begins with the home directory and not all hosts are local")
		return ""
	case relative && d.options.Home == "":
		d.fail(w.line, field, quoted, "set $HOME or write the whole path", "begins with the home directory, which is not known")
		return ""
	case !path.IsAbs(p):
		d.fail(w.line, field, quoted, "write the whole path, beginning with /", "is not absolute")
		return ""
	case strings.ContainsAny(p, " \t\r\n,:;#^%[]=\"'\\`$*?<>|&"):
		d.fail(w.line, field, quoted, "use a path without blanks and without any of , : ; # ^ % = [ ] quotes $ * ?", "holds a character that config.ini cannot carry in a path")
		return ""
	}
	return path.Clean(p)
}

func (d *draft) hostDataDirs(raw []DataDir, field string) []DataDir {
	var dirs []DataDir
	for _, dd := range raw {
		at := join(field, dd.Tag)
		if dd.Path == "" {
			d.missing(dd.Line, at, "write the directory of this disk, for example /home/work/"+dd.Tag+"/pegasus")
			continue
		}
		p := d.hostPath(written{dd.Path, dd.Line}, at)
		if p == "" || !d.checkWipeable(p, dd.Line, at) {
			continue
		}
		dirs = append(dirs, DataDir{Tag: dd.Tag, Path: p, Line: dd.Line})
	}
	return dirs
}

// systemDirs hold what is not Pegasus's; a directory of the cluster may lie
// below most of them, but none is one.
var systemDirs = []string{"/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/proc",
	"/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/usr/local", "/var", "/var/lib", "/var/log", "/var/tmp"}

// checkWipeable refuses directories that `clean` must never remove: the root,
// homes, and directories of the system.
func (d *draft) checkWipeable(p string, line int, field string) bool {
	if p == "" {
		return true
	}
	quoted := strconv.Quote(p)
	fix := "use a directory of its own, for example " + path.Join(p, "pegasus")
	switch {
	case p == "/":
		d.fail(line, field, quoted, fix, "is the root of the file system")
	case p == d.options.Home || p == d.cluster.HomeDir || (path.Dir(p) == "/home"):
		d.fail(line, field, quoted, fix, "is a home directory")
	default:
		for _, s := range systemDirs {
			if p == s {
				d.fail(line, field, quoted, fix, "is a directory of the system")
				return false
			}
		}
		for _, s := range []string{"/proc", "/sys", "/dev", "/boot", "/etc"} {
			if within(p, s) {
				d.fail(line, field, quoted, "use a directory on a data disk", "lies in %s", s)
				return false
			}
		}
		return true
	}
	return false
}
