// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/config"
	"github.com/pegasus-ops/pegasus-ops/server/logfile"
)

// stopTimeout is how long the roles have, together, to stop in good order.
const stopTimeout = 20 * time.Second

// Options say what Run starts.
type Options struct {
	Config *config.Config
	Apps   []config.App // the instances to start, in this order
	Build  Build
	Stderr io.Writer // for warnings and errors beside the log; nil means os.Stderr
}

// A process is what the nodes of one process share.
type process struct {
	Options
	start   time.Time
	machine int64      // memory in bytes, 0 = unknown
	self    netip.Addr // the address announced to others
	dataDir string
	log     *logfile.Log
	logger  *slog.Logger
}

// Run starts the instances and serves until ctx ends; then it stops them, the last started
// first. The error says what could not be started or stopped, and what to do.
func Run(ctx context.Context, o Options) (err error) {
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	o.Build = o.Build.complete()
	if err := checkRoles(o.Config, o.Apps); err != nil {
		return err
	}
	p := &process{Options: o, start: time.Now(), machine: machineMemory()}
	ifaces, err := interfaces()
	if err != nil {
		return err
	}
	how := ""
	if p.self, how, err = chooseAddress(ctx, o.Config.Network, ifaces, resolveIPv4); err != nil {
		return err
	}
	// All ports before anything else: who starts a server a second time should be told so before
	// the logs and data of the first are touched.
	listeners := make([]net.Listener, 0, len(o.Apps))
	defer func() {
		for _, ln := range listeners {
			ln.Close() // a second time for those that served
		}
	}()
	for _, app := range o.Apps {
		ln, err := p.bind(app)
		if err != nil {
			return err
		}
		listeners = append(listeners, ln)
	}
	if err := p.openDirs(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.logger.Error("the server ends", "err", err)
		} else {
			p.logger.Info("the server ends")
		}
		p.log.ReleaseCrash()
		err = errors.Join(err, p.log.Close())
	}()
	p.greet()
	limitMemory(o.Config, o.Apps, p.logger)
	p.logger.Info("address of this server", "address", p.self, "from", how)

	var nodes []*node
	defer func() {
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		for i := len(nodes) - 1; i >= 0; i-- {
			err = errors.Join(err, nodes[i].stop(sctx))
		}
	}()
	failed := make(chan error, len(listeners))
	for i, ln := range listeners {
		n := p.newNode(o.Apps[i], ln)
		nodes = append(nodes, n)
		if err := n.run(ctx, failed); err != nil {
			if ctx.Err() != nil {
				break // told to stop while starting
			}
			return fmt.Errorf("start app %s failed: %w", n.app.Name, err)
		}
	}
	select {
	case <-ctx.Done():
		p.logger.Info("stopping", "cause", context.Cause(ctx))
		return nil
	case err := <-failed:
		return err
	}
}

// openDirs creates the data and log directories and opens the log.
func (p *process) openDirs() error {
	c := p.Config
	dir, err := filepath.Abs(c.Core.DataDir)
	if err != nil {
		return fmt.Errorf("[core] data_dir = %s: %w", c.Core.DataDir, err)
	}
	p.dataDir = dir
	if err := makeDir(dir, "[core] data_dir"); err != nil {
		return err
	}
	logDir := c.Core.LogDir
	if logDir == "" {
		logDir = filepath.Join(dir, "log")
	}
	if err := makeDir(logDir, "[core] log_dir"); err != nil {
		return err
	}
	p.log, err = logfile.Open(logfile.Options{
		Dir:        logDir,
		Role:       p.role(),
		Level:      c.Core.LogLevel,
		Stderr:     c.Logger.StderrLevel,
		StderrOut:  p.Stderr,
		MaxBytes:   c.Logger.MaxFileBytes,
		MaxFiles:   c.Logger.MaxFiles,
		ShortLines: c.Logger.ShortHeader,
		FastFlush:  c.Logger.FastFlush,
	})
	if err != nil {
		return fmt.Errorf("%w: is the disk full, or who may write to %s?", err, logDir)
	}
	p.logger = slog.New(p.log)
	slog.SetDefault(p.logger)
	return nil
}

// role is the name of the log files: those of the apps, joined.
func (p *process) role() string {
	names := make([]string, len(p.Apps))
	for i, app := range p.Apps {
		names[i] = app.Name
	}
	if len(names) == 0 {
		return p.Config.Logger.BaseName
	}
	return strings.Join(names, ".")
}

// makeDir creates a directory and proves that a file can be written to it.
func makeDir(dir, key string) error {
	explain := func(err error) error {
		switch {
		case errors.Is(err, syscall.ENOSPC):
			return fmt.Errorf("%s = %s: the disk is full; free some space or use another disk: %w", key, dir, err)
		case errors.Is(err, syscall.EROFS):
			return fmt.Errorf("%s = %s: the file system is read-only; look for disk errors in dmesg: %w", key, dir, err)
		case errors.Is(err, fs.ErrPermission):
			return fmt.Errorf("%s = %s: user %d may not write there; change the owner or the path: %w", key, dir, os.Getuid(), err)
		case errors.Is(err, syscall.ENOTDIR):
			return fmt.Errorf("%s = %s is, or lies below, a regular file; remove it or use another path: %w", key, dir, err)
		}
		return fmt.Errorf("%s = %s cannot be used: %w", key, dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return explain(err)
	}
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return explain(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, 4096)); err != nil {
		return explain(err)
	}
	if err := f.Sync(); err != nil {
		return explain(err)
	}
	return nil
}

// unusedKeys is the warning about keys that were set for nothing, or empty.
func unusedKeys(c *config.Config) string {
	if len(c.UnusedSet) == 0 {
		return ""
	}
	return "this server does not use these keys: " + strings.Join(c.UnusedSet, ", ")
}

// greet writes what one wants to know first when reading a log.
func (p *process) greet() {
	crash, err := p.log.CaptureCrash()
	p.logger.Info("the server begins", "version", p.Build.Version, "git", p.Build.GitSHA, "build", p.Build.Type,
		"config", p.Config.File().Name, "apps", p.role(), "pid", os.Getpid(), "data_dir", p.dataDir)
	if err != nil {
		p.logger.Warn("crash reports go to stderr only", "err", err)
	}
	if crash != "" {
		p.logger.Error("the process before this one crashed, its last words are in a file", "file", crash)
	}
	for _, w := range p.Config.Warnings {
		p.logger.Warn("configuration: " + w)
	}
	if w := unusedKeys(p.Config); w != "" {
		p.logger.Warn("configuration: " + w)
	}
	if set := p.Config.IgnoredSet; len(set) > 0 {
		p.logger.Info("configuration: these keys mean something to the C++ server only", "keys", strings.Join(set, ", "))
	}
}
