// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path"
)

// Repack writes the files of a package as a plain tar stream, without the top
// folder root: what [Extract] would create, for a tar program to create elsewhere.
// Nothing is in it that [Inspect] would refuse, owners are root, modes are 0644
// and 0755. It returns the size of the files when unpacked. The stream is the
// same for the same package.
func Repack(ctx context.Context, file, root string, w io.Writer) (size int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, fmt.Errorf("repack: %w", err)
	}
	defer f.Close()
	archive := tar.NewWriter(w)
	err = walk(bufio.NewReaderSize(f, 1<<20), func(h *tar.Header, content io.Reader) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		name, ok := strip(h.Name, root)
		if !ok {
			return nil
		}
		out := &tar.Header{Typeflag: h.Typeflag, Name: name, Mode: 0o644, ModTime: epoch, Linkname: h.Linkname, Uname: "root", Gname: "root", Format: tar.FormatGNU}
		switch h.Typeflag {
		case tar.TypeDir:
			out.Mode, out.Name = 0o755, name+"/"
		case tar.TypeLink:
			if out.Linkname, ok = strip(h.Linkname, root); !ok {
				return &entryError{h.Name, "links to a file outside of " + root}
			}
		case tar.TypeSymlink:
			if !inside(path.Join(path.Dir(name), h.Linkname)) {
				return &entryError{h.Name, "is a link that leads out of " + root + ": " + h.Linkname}
			}
			out.Mode = 0o777
		default:
			out.Typeflag, out.Size = tar.TypeReg, h.Size
			if h.FileInfo().Mode()&0o111 != 0 {
				out.Mode = 0o755
			}
		}
		if err := archive.WriteHeader(out); err != nil {
			return err
		}
		if out.Size > 0 {
			size += out.Size
			if _, err := io.Copy(archive, content); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = archive.Close()
	}
	if err != nil {
		return 0, fmt.Errorf("repack %s: %w", file, err)
	}
	return size, nil
}
