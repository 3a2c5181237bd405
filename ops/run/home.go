// SPDX-License-Identifier: Apache-2.0

package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pegasus-ops/pegasus-ops/inventory"
)

// Home is the state directory.
type Home struct {
	Dir string
}

// FindHome is the state directory of this user; it need not exist yet.
func FindHome() (Home, error) {
	if dir := os.Getenv("PEGASUS_OPS_HOME"); dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return Home{}, fmt.Errorf("PEGASUS_OPS_HOME: %w", err)
		}
		return Home{abs}, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return Home{}, fmt.Errorf("find the state directory: %w; set PEGASUS_OPS_HOME", err)
	}
	return Home{filepath.Join(home, ".pegasus-ops")}, nil
}

// PackagesDir is where deploy puts packages it packed itself.
func (h Home) PackagesDir() string { return filepath.Join(h.Dir, "packages") }

func (h Home) cluster(name string) string { return filepath.Join(h.Dir, "clusters", name) }

// Record is what is remembered of a cluster.
type Record struct {
	Name      string    `json:"name"`
	Inventory string    `json:"inventory"` // the file it was deployed from
	Dir       string    `json:"dir"`       // what relative paths in it start from
	Deployed  time.Time `json:"deployed"`
}

const (
	recordFile    = "record.json"
	inventoryFile = "inventory.yaml"
)

// Record remembers a cluster with a copy of its inventory, so that later
// commands need no file.
func (h Home) Record(c *inventory.Cluster, now time.Time) error {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return fmt.Errorf("record cluster %s: %w", c.Name, err)
	}
	r := Record{Name: c.Name, Inventory: c.File, Dir: filepath.Dir(c.File), Deployed: now.UTC().Truncate(time.Second)}
	if old, err := h.Find(c.Name); err == nil && c.File == h.copyOf(c.Name) {
		// Deployed from our own copy: it still belongs to the operator's file.
		r.Inventory, r.Dir = old.Inventory, old.Dir
	}
	about, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("record cluster %s: %w", c.Name, err)
	}
	dir := h.cluster(c.Name)
	err = os.MkdirAll(dir, 0o755)
	if err == nil {
		err = errors.Join(writeFile(filepath.Join(dir, inventoryFile), text), writeFile(filepath.Join(dir, recordFile), append(about, '\n')))
	}
	if err != nil {
		return fmt.Errorf("record cluster %s: %w; set PEGASUS_OPS_HOME to a directory you may write to", c.Name, err)
	}
	return nil
}

func (h Home) copyOf(name string) string { return filepath.Join(h.cluster(name), inventoryFile) }

// writeFile replaces a file in one step.
func writeFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// ErrUnknownCluster says that no cluster of that name is recorded.
var ErrUnknownCluster = errors.New("no such cluster is recorded")

// Find is the record of a cluster.
func (h Home) Find(name string) (Record, error) {
	b, err := os.ReadFile(filepath.Join(h.cluster(name), recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, fmt.Errorf("cluster %s: %w", name, ErrUnknownCluster)
	}
	if err != nil {
		return Record{}, fmt.Errorf("cluster %s: %w", name, err)
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return Record{}, fmt.Errorf("cluster %s: its record %s is damaged: %w; deploy it again or remove the folder", name, h.cluster(name), err)
	}
	return r, nil
}

// Clusters are all records by name.
func (h Home) Clusters() ([]Record, error) {
	entries, err := os.ReadDir(filepath.Join(h.Dir, "clusters"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list clusters: %w", err)
	}
	var list []Record
	for _, e := range entries {
		r, err := h.Find(e.Name())
		if errors.Is(err, ErrUnknownCluster) {
			continue // only its lock and journals are left
		}
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b Record) int { return compareStrings(a.Name, b.Name) })
	return list, nil
}

func compareStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Load is the inventory of a recorded cluster, as it was deployed.
func (h Home) Load(name string) (*inventory.Cluster, error) {
	r, err := h.Find(name)
	if err != nil {
		return nil, err
	}
	file := h.copyOf(name)
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w; deploy it again from its inventory", name, err)
	}
	home, _ := os.UserHomeDir() // without one, paths with ~ are reported
	c, _, err := inventory.Parse(file, text, inventory.Options{Home: home, Dir: r.Dir})
	if err != nil {
		return nil, err
	}
	c.File = file
	return c, nil
}

// Forget removes what is remembered of a cluster. Its hosts are not touched.
func (h Home) Forget(name string) error {
	if _, err := h.Find(name); err != nil {
		return err
	}
	if err := os.RemoveAll(h.cluster(name)); err != nil {
		return fmt.Errorf("forget cluster %s: %w", name, err)
	}
	return nil
}
