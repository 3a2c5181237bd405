// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Names in the data directory of a replica. At every moment at most one of rdb and old is the
// data; recoverInstall says which.
const (
	rdbName  = "rdb"      // the Pebble instance
	oldName  = "rdb.old"  // what Install is replacing
	dropName = "rdb.drop" // what is being deleted
)

func dataPath(f vfs.FS, dataDir string) string { return f.PathJoin(dataDir, rdbName) }

// Install moves a checkpoint into the place of the replica's data. The DB of dataDir must be
// closed and checkpointDir on the same file system; it is gone afterwards. A crash at any moment
// leaves either all of the old data or all of the new to the next Open. The checkpoint is
// opened first: when it is damaged nothing is touched.
func Install(f vfs.FS, checkpointDir, dataDir string) error {
	wrap := func(err error) error {
		return fmt.Errorf("install checkpoint %s in %s: %w", checkpointDir, dataDir, err)
	}
	if _, err := Inspect(f, checkpointDir); err != nil {
		return wrap(err)
	}
	// The files of a learned checkpoint came over the network; nobody may have synced them.
	if err := syncTree(f, checkpointDir); err != nil {
		return wrap(err)
	}
	if err := f.MkdirAll(dataDir, 0o755); err != nil {
		return wrap(err)
	}
	if err := recoverInstall(f, dataDir); err != nil {
		return wrap(err)
	}
	rdb, old := f.PathJoin(dataDir, rdbName), f.PathJoin(dataDir, oldName)
	if err := moveIfExists(f, rdb, old, dataDir); err != nil {
		return wrap(err)
	}
	// From here to the next sync a crash brings the old data back.
	if err := f.Rename(checkpointDir, rdb); err != nil {
		return wrap(err)
	}
	if err := syncDir(f, dataDir); err != nil {
		return wrap(err)
	}
	if err := syncDir(f, f.PathDir(checkpointDir)); err != nil {
		return wrap(err)
	}
	if err := removeTree(f, dataDir, oldName); err != nil {
		return wrap(err)
	}
	return nil
}

// DestroyData deletes the data of a replica whose DB is closed. A crash leaves all of it or
// nothing to the next Open, which then makes a new, empty DB. No data is not an error.
func DestroyData(f vfs.FS, dataDir string) error {
	if _, err := f.Stat(dataDir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err := recoverInstall(f, dataDir)
	if err == nil {
		err = removeTree(f, dataDir, rdbName)
	}
	if err != nil {
		return fmt.Errorf("destroy data in %s: %w", dataDir, err)
	}
	return nil
}

// recoverInstall completes or takes back what a crash interrupted.
//
//	rdb  old
//	 +    +    the new data was in place: the old goes
//	 -    +    it was not: the old comes back
func recoverInstall(f vfs.FS, dataDir string) error {
	if err := removeTree(f, dataDir, dropName); err != nil {
		return err
	}
	rdb, old := f.PathJoin(dataDir, rdbName), f.PathJoin(dataDir, oldName)
	haveOld, err := exists(f, old)
	if err != nil || !haveOld {
		return err
	}
	haveNew, err := exists(f, rdb)
	switch {
	case err != nil:
		return err
	case haveNew:
		return removeTree(f, dataDir, oldName)
	default:
		return moveIfExists(f, old, rdb, dataDir)
	}
}

// removeTree deletes a directory of dataDir such that a crash does not leave a part of it under
// its name.
func removeTree(f vfs.FS, dataDir, name string) error {
	drop := f.PathJoin(dataDir, dropName)
	if name != dropName {
		if err := removeTree(f, dataDir, dropName); err != nil {
			return err
		}
		if err := moveIfExists(f, f.PathJoin(dataDir, name), drop, dataDir); err != nil {
			return err
		}
	}
	if have, err := exists(f, drop); err != nil || !have {
		return err
	}
	if err := f.RemoveAll(drop); err != nil {
		return err
	}
	return syncDir(f, dataDir)
}

// moveIfExists renames a directory and makes that durable.
func moveIfExists(f vfs.FS, from, to, dir string) error {
	if have, err := exists(f, from); err != nil || !have {
		return err
	}
	if err := f.Rename(from, to); err != nil {
		return err
	}
	return syncDir(f, dir)
}

func exists(f vfs.FS, path string) (bool, error) {
	_, err := f.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// syncTree makes the files of a directory durable.
func syncTree(f vfs.FS, dir string) error {
	names, err := f.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		file, err := f.Open(f.PathJoin(dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(file.Sync(), file.Close()); err != nil {
			return err
		}
	}
	return syncDir(f, dir)
}
