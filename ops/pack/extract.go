// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Extract unpacks a package into dir, which must not exist, leaving out the top
// folder root of the archive. Every file is synced before Extract returns;
// owners, set-id bits and times of the archive are not kept. Nothing is ever
// written outside of dir. On error dir may be left incomplete.
func Extract(ctx context.Context, file, root, dir string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer f.Close()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("unpack %s: %w", file, err)
	}
	// os.Root makes the kernel refuse what the checks of walk might have missed.
	out, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", file, err)
	}
	defer out.Close()
	err = walk(bufio.NewReaderSize(f, 1<<20), func(h *tar.Header, content io.Reader) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		name, ok := strip(h.Name, root)
		if !ok {
			return nil
		}
		if err := out.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if h.FileInfo().Mode()&0o111 != 0 {
			mode = 0o755
		}
		switch h.Typeflag {
		case tar.TypeDir:
			return out.MkdirAll(name, 0o755)
		case tar.TypeSymlink:
			if !inside(filepath.Join(filepath.Dir(name), h.Linkname)) {
				return &entryError{h.Name, "is a link that leads out of " + root + ": " + h.Linkname}
			}
			return out.Symlink(h.Linkname, name)
		case tar.TypeLink:
			target, ok := strip(h.Linkname, root)
			if !ok {
				return &entryError{h.Name, "links to a file outside of " + root}
			}
			return out.Link(target, name)
		default:
			return extractFile(out, name, mode, content)
		}
	})
	if err != nil {
		return fmt.Errorf("unpack %s into %s: %w", file, dir, err)
	}
	return syncTree(dir)
}

// strip removes the top folder from a name; false for what is not below it.
func strip(name, root string) (string, bool) {
	if root == "" {
		return name, name != "."
	}
	return strings.CutPrefix(name, root+"/")
}

func extractFile(out *os.Root, name string, mode fs.FileMode, content io.Reader) error {
	f, err := out.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	return err
}

// syncTree makes the folders' entries durable; their files are already.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
