// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Suffix is what package files end with.
const Suffix = ".tar.gz"

// Prefix is what package files begin with.
const Prefix = "pegasus-server-"

// Name is what a package's file name says about it.
type Name struct {
	Version   string // 2.5.0
	GitSHA    string // 7 hex digits, "" in names that leave it out
	Platform  string // linux-amd64; glibc2.31 in packages of Apache Pegasus
	BuildType string // release or debug
}

// String is the name without [Suffix]; it is also the top folder of the package.
func (n Name) String() string {
	parts := []string{n.Version, n.GitSHA, n.Platform, n.BuildType}
	return Prefix + strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "-")
}

// Platform is the platform part for programs built here.
func Platform() string { return runtime.GOOS + "-" + runtime.GOARCH }

var shaPart = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

// ParseName reads a package name as well as it can: names of other tools need
// not follow the pattern, so parts may stay empty.
func ParseName(file string) Name {
	base := strings.TrimSuffix(filepath.Base(file), Suffix)
	rest, ok := strings.CutPrefix(base, Prefix)
	if !ok {
		return Name{Version: base}
	}
	parts := strings.Split(rest, "-")
	var n Name
	if last := parts[len(parts)-1]; len(parts) > 1 && (last == "release" || last == "debug") {
		n.BuildType, parts = last, parts[:len(parts)-1]
	}
	for i := 1; i < len(parts); i++ {
		if shaPart.MatchString(parts[i]) {
			n.Version = strings.Join(parts[:i], "-")
			n.GitSHA = parts[i]
			n.Platform = strings.Join(parts[i+1:], "-")
			return n
		}
	}
	n.Version = parts[0]
	n.Platform = strings.Join(parts[1:], "-")
	return n
}

// Newest is the package to deploy when path is what the inventory says: path
// itself if it is a file, else the most recently written pegasus-server-*.tar.gz of the folder.
func Newest(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("server package %s: %w; build one with `pegasus-ops pack --out DIR`", path, err)
	}
	if !st.IsDir() {
		return path, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return "", fmt.Errorf("look for server packages in %s: %w", path, err)
	}
	var best string
	var bestTime time.Time
	for _, e := range entries {
		if e.IsDir() || !strings.HasPrefix(e.Name(), Prefix) || !strings.HasSuffix(e.Name(), Suffix) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // removed since it was listed
		}
		if best == "" || info.ModTime().After(bestTime) || (info.ModTime().Equal(bestTime) && e.Name() > best) {
			best, bestTime = e.Name(), info.ModTime()
		}
	}
	if best == "" {
		return "", fmt.Errorf("the folder %s holds no %s*%s; build a package with `pegasus-ops pack --out %s`, or name the file itself", path, Prefix, Suffix, path)
	}
	return filepath.Join(path, best), nil
}
