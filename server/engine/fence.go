// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fencedFS is the disk of one DB. When the DB has failed nothing more reaches the disk.
//
// Pebble expects the process to end when it cannot tell whether a change of its MANIFEST was
// written: going on, it would write the tables of a failed flush a second time and refer to
// both. The process lives on, for the sake of its other replicas, so Pebble's hands are tied
// instead; the next Open finds the disk as a crash at the moment of the failure would have left
// it.
type fencedFS struct {
	vfs.FS
	err func() error // why nothing may be written, or nil
}

func (f fencedFS) Unwrap() vfs.FS { return f.FS }

func (f fencedFS) file(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return fencedFile{file, f.err}, nil
}

func (f fencedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.file(f.FS.Create(name, c))
}

func (f fencedFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.file(f.FS.OpenReadWrite(name, c, o...))
}

func (f fencedFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.file(f.FS.ReuseForWrite(from, to, c))
}

func (f fencedFS) Link(from, to string) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.FS.Link(from, to)
}

func (f fencedFS) Remove(name string) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

func (f fencedFS) RemoveAll(name string) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.FS.RemoveAll(name)
}

func (f fencedFS) Rename(from, to string) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

func (f fencedFS) MkdirAll(dir string, perm os.FileMode) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.FS.MkdirAll(dir, perm)
}

// fencedFile is a file open for writing.
type fencedFile struct {
	vfs.File
	err func() error
}

func (f fencedFile) Write(b []byte) (int, error) {
	if err := f.err(); err != nil {
		return 0, err
	}
	return f.File.Write(b)
}

func (f fencedFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.err(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, off)
}
