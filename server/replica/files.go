// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// Names inside the directory of a replica.
const (
	appInfoFile  = ".app-info"
	initInfoFile = ".init-info"
	dataName     = "data"
	plogName     = "plog"
	learnName    = "learn"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// initInfo is what a replica must not forget besides its data.
type initInfo struct {
	// Ballot is the highest the replica has seen.
	Ballot int64 `json:"ballot"`
	// Durable is what the storage engine had on disk when the file was written; informational.
	Durable int64 `json:"durable_decree"`
}

// An envelope guards a stored JSON document.
type envelope struct {
	CRC32C uint32          `json:"crc32c"`
	Body   json.RawMessage `json:"body"`
}

// writeInfo replaces dir/name as a whole: after a crash either the old or the new one is there.
func writeInfo(fs vfs.FS, dir, name string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	doc, err := json.Marshal(envelope{crc32.Checksum(body, castagnoli), body})
	if err != nil {
		return err
	}
	path := fs.PathJoin(dir, name)
	tmp := path + ".tmp"
	if err := writeFile(fs, tmp, append(doc, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", tmp, err)
	}
	if err := fs.Rename(tmp, path); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return syncDir(fs, dir)
}

func writeFile(fs vfs.FS, path string, b []byte) error {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// readInfo reads what writeInfo has written.
func readInfo(fs vfs.FS, dir, name string, v any) error {
	path := fs.PathJoin(dir, name)
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	doc, err := io.ReadAll(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	var e envelope
	if err := json.Unmarshal(doc, &e); err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	if crc32.Checksum(e.Body, castagnoli) != e.CRC32C {
		return fmt.Errorf("%s is damaged: wrong checksum", path)
	}
	if err := json.Unmarshal(e.Body, v); err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	return nil
}

func readAppInfo(fs vfs.FS, dir string) (idl.AppInfo, error) {
	var app idl.AppInfo
	err := readInfo(fs, dir, appInfoFile, &app)
	return app, err
}

// syncDir makes the entries of a directory durable.
func syncDir(fs vfs.FS, dir string) error {
	f, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// exists reports whether path is there.
func exists(fs vfs.FS, path string) bool {
	_, err := fs.Stat(path)
	return err == nil
}
