// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/gzip"
)

// epoch is the time of every entry: the earliest that all tools print without surprise.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// Write packs the folder dir into file, deterministically: entries in order of
// their names, with fixed times, owners and modes. file appears whole or not at all.
func Write(dir, file string) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".pack-*")
	if err != nil {
		return fmt.Errorf("write package: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write package %s: %w", file, errors.Join(err, os.Remove(tmp.Name())))
		}
	}()
	zip := gzip.NewWriter(tmp)
	archive := tar.NewWriter(zip)
	err = writeTree(archive, dir)
	if err = errors.Join(err, archive.Close(), zip.Close(), tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}

func writeTree(archive *tar.Writer, dir string) error {
	top := filepath.Base(dir)
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		h := &tar.Header{Name: filepath.ToSlash(filepath.Join(top, rel)), ModTime: epoch, Mode: 0o644, Format: tar.FormatPAX}
		switch {
		case d.IsDir():
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
			h.Name += "/"
			return archive.WriteHeader(h)
		case d.Type() == fs.ModeSymlink:
			h.Typeflag = tar.TypeSymlink
			if h.Linkname, err = os.Readlink(p); err != nil {
				return err
			}
			return archive.WriteHeader(h)
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is neither a file, a folder nor a link", p)
		}
		return writeFile(archive, h, p)
	})
}

func writeFile(archive *tar.Writer, h *tar.Header, p string) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, st.Size()
	if st.Mode()&0o111 != 0 {
		h.Mode = 0o755
	}
	if err := archive.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(archive, f)
	return err
}
