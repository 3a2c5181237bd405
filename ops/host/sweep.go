// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ProtectedError says that a folder is never removed, whoever asks.
type ProtectedError struct{ Dir, Why string }

func (e *ProtectedError) Error() string { return fmt.Sprintf("%s is not removed: it %s", e.Dir, e.Why) }

// RemoveTree implements Host. It refuses with a [*ProtectedError] the root,
// home directories, folders above the user's home or the working directory,
// symbolic links, the roots of mounts (their content may be swept), and trees
// in which something is mounted. lost+found of a mount stays.
func (l *Local) RemoveTree(ctx context.Context, dir string, s Sweep) error {
	return l.wrap("remove", l.removeTree(ctx, dir, s))
}

func (l *Local) removeTree(ctx context.Context, dir string, s Sweep) error {
	st, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return &ProtectedError{dir, "is not a folder"}
	}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	mounts := mountPoints(info)
	mounted := slices.Contains(mounts, dir)
	home, _ := os.UserHomeDir() // "" protects nothing more
	cwd, _ := os.Getwd()
	if err := protected(dir, mounts, mounted && s.Self, home, cwd); err != nil {
		return err
	}
	names, err := l.List(ctx, dir)
	if err != nil {
		return err
	}
	remove, kept := s.split(names, mounted)
	for _, name := range remove {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if kept {
		return nil
	}
	if s.Last != "" {
		if err := os.Remove(filepath.Join(dir, s.Last)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if !s.Self {
		return nil
	}
	return os.Remove(dir)
}

// split is which names of a folder are removed first, and whether others stay.
func (s Sweep) split(names []string, mounted bool) (remove []string, kept bool) {
	for _, name := range names {
		switch {
		case slices.Contains(s.Keep, name), mounted && name == "lost+found":
			kept = true
		case name == s.Last:
		default:
			remove = append(remove, name)
		}
	}
	return remove, kept
}

// systemFolders never hold anything of ours, mounted or not.
var systemFolders = []string{"/proc", "/sys", "/dev", "/boot", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/usr/bin", "/usr/sbin", "/usr/lib"}

// protected is why a folder must stay, nil if it may go. home and cwd may be "".
func protected(dir string, mounts []string, mountRoot bool, home, cwd string) error {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
		return &ProtectedError{dir, "is not a clean absolute path"}
	}
	for _, system := range systemFolders {
		if holds(system, dir) {
			return &ProtectedError{dir, "belongs to the system (" + system + ")"}
		}
	}
	if strings.Count(dir, "/") < 2 && !slices.Contains(mounts, dir) {
		return &ProtectedError{dir, "lies directly below the root"}
	}
	if dir == "/" || filepath.Dir(dir) == "/home" {
		return &ProtectedError{dir, "is a home directory or the root"}
	}
	if mountRoot {
		return &ProtectedError{dir, "is the root of a mount"}
	}
	if home != "" && holds(dir, filepath.Clean(home)) {
		return &ProtectedError{dir, "holds the home directory " + home}
	}
	if cwd != "" && holds(dir, cwd) {
		return &ProtectedError{dir, "holds the working directory; go elsewhere first"}
	}
	for _, m := range mounts {
		if m != dir && holds(dir, m) {
			return &ProtectedError{dir, "has a file system mounted in it, on " + m + "; unmount that first"}
		}
	}
	return nil
}

// holds says whether p is dir or below it.
func holds(dir, p string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// mountPoints are the folders something is mounted on, from /proc/self/mountinfo.
// Device numbers would not show bind mounts.
func mountPoints(info []byte) []string {
	var points []string
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) > 4 {
			points = append(points, unescapeMount(f[4]))
		}
	}
	return points
}

// unescapeMount turns the octal escapes of mountinfo back into characters.
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace
