// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/pegasus-ops/pegasus-ops/server/config"
	"github.com/pegasus-ops/pegasus-ops/server/meta"
)

// checkRoles tells all that keeps the apps from starting and that the configuration alone shows:
// a key may be fine in itself and not do for a role.
func checkRoles(c *config.Config, apps []config.App) error {
	var errs []error
	fail := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if dir := c.Core.LogDir; dir != "" && !filepath.IsAbs(dir) {
		fail("[core] log_dir = %s must be an absolute path, or empty for %s", dir, filepath.Join(c.Core.DataDir, "log"))
	}
	if len(c.Meta.ServerList) == 0 {
		fail("[meta_server] server_list is empty: name the meta servers, as in server_list = 10.0.0.1:34601")
	}
	users := map[int]string{}
	for _, app := range apps {
		if other := users[app.Port]; other != "" {
			fail("[apps.%s] ports: app %s listens on %d, too: give each its own", app.Section, other, app.Port)
		}
		users[app.Port] = app.Name
	}
	if slices.ContainsFunc(apps, func(a config.App) bool { return a.Role == "meta" }) {
		if c.Meta.StateType == zookeeperState {
			if err := checkZooKeeper(c); err != nil {
				errs = append(errs, err)
			}
		}
		for _, t := range defaultTables(c) {
			if err := t.Check(); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// defaultTables are the [meta_server.apps.*] of the file, nil when it has none.
func defaultTables(c *config.Config) []meta.TableSpec {
	var tables []meta.TableSpec
	for _, t := range c.Tables {
		tables = append(tables, meta.TableSpec{Name: t.Name, Partitions: int32(t.Partitions), Replicas: int32(t.Replicas), Envs: t.Envs})
	}
	return tables
}
