// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/command"
	"github.com/pegasus-ops/pegasus-ops/server/config"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// flushTimeout is how long flush-log waits for the disk; a shell waits 5 s for the answer.
const flushTimeout = 4 * time.Second

// registerCommands adds what every role can be asked.
func (n *node) registerCommands() {
	r := n.commands
	r.Log = n.log
	r.Register(command.Command{
		Names: []string{"server-info"},
		Help:  "Query server information",
		Run:   func([]string) string { return n.Build.serverInfo(n.start) },
	})
	r.Register(command.Command{
		Names: []string{"flush-log"},
		Help:  "Write buffered log lines to the log file",
		Run: func([]string) string {
			if !n.process.log.Flush(flushTimeout) {
				return "ERR: the disk of the log directory does not answer"
			}
			return "Flush done."
		},
	})
	r.Register(command.Command{
		Names: []string{"reset-log-start-level"},
		Args:  "[DEBUG | INFO | WARNING | ERROR | FATAL]",
		Help:  "Change the lowest level that is logged; without a level, back to that of the configuration",
		Run:   n.resetLogLevel,
	})
	r.Register(command.Command{
		Names: []string{"config-dump"},
		Args:  "[file]",
		Help:  "Show all configuration keys with their values, or write them to a new file in the data directory",
		Run:   n.configDump,
	})
	r.Serve(n.mux, wire.NewPool(commandWorkers, commandQueue))
}

func (n *node) resetLogLevel(args []string) string {
	level := n.Config.Core.LogLevel
	if len(args) > 0 {
		l, err := config.ParseLevel(args[0])
		if err != nil {
			return "ERROR: invalid level '" + args[0] + "'"
		}
		level = l
	}
	n.process.log.SetLevel(level)
	n.log.Warn("the log level was changed by a remote command", "level", config.LevelName(level))
	return "OK, current level is " + config.LevelName(level)
}

// configDump writes only new files, and only below the data directory: anybody who reaches the
// port can ask.
func (n *node) configDump(args []string) string {
	text := n.Config.Dump()
	if len(args) == 0 {
		return text
	}
	if len(args) > 1 || !filepath.IsLocal(args[0]) || filepath.Base(args[0]) != args[0] {
		return "ERR: want one file name without a directory; the file is written to " + n.dataDir
	}
	path := filepath.Join(n.dataDir, args[0])
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if errors.Is(err, fs.ErrExist) {
		return "ERR: " + path + " exists already"
	}
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Sprintf("ERR: %v", err)
	}
	return "config dump to file " + path + " succeed"
}
