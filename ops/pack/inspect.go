// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// Info is what is known about a package file.
type Info struct {
	Path   string `json:"path"`
	Name   Name   `json:"name"`
	SHA256 string `json:"sha256"` // of the file; the name of its folder on hosts
	Size   int64  `json:"size"`   // of the file, bytes
	Root   string `json:"root"`   // folder in the archive that holds bin/; "" for its top
	Files  int    `json:"files"`
	Bytes  int64  `json:"bytes"` // unpacked
}

// Label is how the package is called in plans and messages.
func (i Info) Label() string { return strings.TrimSuffix(filepath.Base(i.Path), Suffix) }

// InvalidError says why a file cannot be deployed as a server package.
type InvalidError struct {
	Path    string
	Problem string
	Fix     string
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("server package %s %s; %s", e.Path, e.Problem, e.Fix)
}

const buildFix = "build one with `pegasus-ops pack`, or give a package made by Apache Pegasus's pack_server"

// Server is the program every package must hold, below its root.
const Server = "bin/pegasus_server"

// Inspect reads a whole package, checks it, and reports what it is. The error
// is an [*InvalidError] when the file is readable and is no package to deploy.
func Inspect(file string) (Info, error) {
	f, err := os.Open(file)
	if err != nil {
		return Info{}, fmt.Errorf("server package: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Info{}, fmt.Errorf("server package %s: %w", file, err)
	}
	invalid := func(problem, fix string) (Info, error) {
		return Info{}, &InvalidError{Path: file, Problem: problem, Fix: fix}
	}
	if st.IsDir() {
		return invalid("is a folder", "name a .tar.gz, or put the folder of packages into the inventory's key `package`")
	}
	sum := sha256.New()
	hashed := bufio.NewReaderSize(io.TeeReader(f, sum), 1<<20)
	info := Info{Path: file, Name: ParseName(file), Size: st.Size()}
	found := false
	var servers []string
	err = walk(hashed, func(h *tar.Header, _ io.Reader) error {
		info.Files++
		info.Bytes += h.Size
		if path.Base(h.Name) == path.Base(Server) && path.Base(path.Dir(h.Name)) == "bin" && h.Typeflag == tar.TypeReg {
			servers = append(servers, h.Name)
			root := strings.TrimSuffix(strings.TrimSuffix(h.Name, Server), "/")
			if !strings.Contains(root, "/") && !found {
				found, info.Root = true, root
				if h.FileInfo().Mode()&0o111 == 0 {
					return &entryError{h.Name, "is not executable"}
				}
			}
		}
		return nil
	})
	var entry *entryError
	switch {
	case errors.As(err, &entry):
		return invalid(fmt.Sprintf("is refused: its entry %s %s", entry.name, entry.problem), buildFix)
	case err != nil:
		return invalid("is no readable .tar.gz ("+err.Error()+")", "copy or download it again, or "+buildFix)
	case !found && len(servers) > 0:
		return invalid("holds "+Server+" too deep, as "+servers[0], "pack it with at most one folder around bin/, as `pegasus-ops pack` does")
	case !found:
		return invalid("holds no "+Server, buildFix)
	}
	if _, err := io.Copy(io.Discard, hashed); err != nil {
		return Info{}, fmt.Errorf("read server package %s: %w", file, err)
	}
	info.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return info, nil
}

// entryError says what is wrong with one entry of an archive.
type entryError struct{ name, problem string }

func (e *entryError) Error() string { return e.name + " " + e.problem }

// maxEntries and maxBytes are far above any real package; beyond them a file is
// taken for damaged or hostile.
const (
	maxEntries = 100_000
	maxBytes   = 16 << 30
)

// walk calls visit for every file, folder and link of an archive whose names
// and targets stay inside of it; any other entry is an error.
func walk(r io.Reader, visit func(h *tar.Header, content io.Reader) error) error {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	defer zip.Close()
	archive := tar.NewReader(zip)
	var entries int
	var bytes int64
	links := map[string]bool{}
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			// Read to the end of the stream, so that its checksum is verified.
			_, err := io.Copy(io.Discard, zip)
			return err
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if entries, bytes = entries+1, bytes+h.Size; entries > maxEntries || bytes > maxBytes {
			return &entryError{h.Name, "makes the package larger than any server package"}
		}
		if strings.ContainsRune(h.Name, 0) || strings.HasPrefix(h.Name, "/") || !inside(h.Name) {
			return &entryError{fmt.Sprintf("%q", h.Name), "would be written outside of the package's folder"}
		}
		h.Name = path.Clean(h.Name)
		// A later entry may not go through an earlier link, wherever that points.
		for dir := path.Dir(h.Name); dir != "."; dir = path.Dir(dir) {
			if links[dir] {
				return &entryError{fmt.Sprintf("%q", h.Name), "lies behind a symbolic link of the package"}
			}
		}
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeDir:
		case tar.TypeSymlink:
			if path.IsAbs(h.Linkname) || !inside(path.Join(path.Dir(h.Name), h.Linkname)) {
				return &entryError{fmt.Sprintf("%q", h.Name), "is a link that leads out of the package: " + h.Linkname}
			}
			links[h.Name] = true
		case tar.TypeLink:
			if path.IsAbs(h.Linkname) || !inside(h.Linkname) {
				return &entryError{fmt.Sprintf("%q", h.Name), "is a link that leads out of the package: " + h.Linkname}
			}
			h.Linkname = path.Clean(h.Linkname)
		default:
			return &entryError{fmt.Sprintf("%q", h.Name), fmt.Sprintf("is neither a file, a folder nor a link (type %q)", h.Typeflag)}
		}
		if err := visit(h, archive); err != nil {
			return err
		}
	}
}

// inside says whether a relative name stays below the folder it starts in.
func inside(name string) bool {
	c := path.Clean(name)
	return c != ".." && !strings.HasPrefix(c, "../") && !strings.HasPrefix(c, "/")
}
