// SPDX-License-Identifier: Apache-2.0

// Package logfile writes what slog is told into log files the way Pegasus does: in one directory
// the files <role>.log.<yyyyMMdd_hhmmss_SSS>, of bounded size and number, with the symlink
// <role>.log at the newest, and in each line level, time, process, role, source and text.
//
// A [Log] is a [slog.Handler]. Lines go into a buffer in memory and one goroutine writes the
// buffer to the file, at once for lines of level Error and above, else when it has grown or a
// second has passed. Callers never wait for the disk, with one exception: a line of level Error
// waits a moment, because the process may be about to end.
//
// A disk that is full, gone or stuck costs log lines and nothing else. Lines that could not be
// written are counted, and the count is the first thing in the log once it can be written again.
//
// What the Go runtime prints when the process crashes goes to the file <role>.crash, see
// [Log.CaptureCrash].
package logfile

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Options say where and what to log. Zero values mean the defaults of config.ini.
type Options struct {
	Dir        string
	Role       string     // base name of the files, and the node in every line
	Level      slog.Level // lowest level that is logged
	Stderr     slog.Level // lowest level that is also written to StderrOut
	StderrOut  io.Writer  // nil means os.Stderr
	MaxBytes   int64      // a new file is begun at this size; default 64 MiB
	MaxFiles   int        // older files are deleted; default 20
	ShortLines bool       // leave out file, line and function
	FastFlush  bool       // write every line at once
}

const (
	// wakeBytes is how much gathers before the writer is woken early.
	wakeBytes = 64 << 10
	// maxPending bounds the memory lines take while the disk is stuck; beyond it they are lost.
	maxPending = 4 << 20
	// flushEvery is how old a line gets before it is written.
	flushEvery = time.Second
	// errorWait is how long a line of level Error waits to be written.
	errorWait = 200 * time.Millisecond
	// complainEvery is how often stderr is told that the log cannot be written.
	complainEvery = time.Minute
)

// A Log is an open set of log files. It is a slog.Handler.
type Log struct {
	*handler
}

// core is what all handlers derived from one Log share.
type core struct {
	opts  Options
	level slog.LevelVar
	pid   int
	seq   atomic.Uint64 // lines so far

	mu      sync.Mutex
	pending []byte // whole lines not yet taken by the writer
	stderr  []byte // the same for stderr
	lost    int64  // lines dropped since the last report
	taken   uint64 // generation: how often the writer took pending
	written uint64 // generation whose lines are in the file, or lost for good
	done    *sync.Cond
	stuck   bool // somebody waited in vain, and the writer has not come back since
	closed  bool

	wake    chan struct{}
	stop    chan struct{}
	stopped chan struct{}

	out rotator
}

// Open creates the directory if needed and begins a log file in it.
func Open(o Options) (*Log, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = 64 << 20
	}
	if o.MaxFiles <= 0 {
		o.MaxFiles = 20
	}
	if o.StderrOut == nil {
		o.StderrOut = os.Stderr
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("create the log directory: %w", err)
	}
	c := &core{
		opts:    o,
		pid:     os.Getpid(),
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
		out:     rotator{dir: o.Dir, base: o.Role + ".log", maxBytes: o.MaxBytes, maxFiles: o.MaxFiles},
	}
	c.done = sync.NewCond(&c.mu)
	c.level.Set(o.Level)
	if err := c.out.rotate(time.Now()); err != nil {
		return nil, fmt.Errorf("begin a log file in %s: %w", o.Dir, err)
	}
	go c.run()
	return &Log{&handler{core: c}}, nil
}

// Level returns the lowest level that is logged.
func (l *Log) Level() slog.Level { return l.core.level.Level() }

// SetLevel changes the lowest level that is logged.
func (l *Log) SetLevel(v slog.Level) { l.core.level.Set(v) }

// Dir is the directory of the log files.
func (l *Log) Dir() string { return l.core.opts.Dir }

// Flush waits until what was logged before is written, for at most the given time. It reports
// whether that was so.
func (l *Log) Flush(wait time.Duration) bool { return l.core.flush(wait) }

// Close writes what is left and closes the file. Lines logged later go nowhere.
func (l *Log) Close() error {
	c := l.core
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.mu.Unlock()
	if !was {
		close(c.stop)
	}
	select {
	case <-c.stopped:
	case <-time.After(3 * time.Second):
		return fmt.Errorf("close the log in %s: the disk does not answer", c.opts.Dir)
	}
	return nil
}

// put hands a line to the writer. urgent lines are written at once and waited for.
func (c *core) put(line []byte, toStderr, urgent bool) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	if len(c.pending)+len(line) > maxPending {
		c.lost++
	} else {
		c.pending = append(c.pending, line...)
	}
	if toStderr && len(c.stderr) < maxPending {
		c.stderr = append(c.stderr, line...)
	}
	wait := urgent && !c.stuck
	wake := urgent || toStderr || c.opts.FastFlush || len(c.pending) >= wakeBytes
	c.mu.Unlock()
	if wake {
		c.kick()
	}
	if wait && !c.flush(errorWait) {
		c.mu.Lock()
		c.stuck = true
		c.mu.Unlock()
	}
}

func (c *core) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *core) flush(wait time.Duration) bool {
	expired := false // guarded by mu: told apart from a time, it cannot be missed
	deadline := time.AfterFunc(wait, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		expired = true
		c.done.Broadcast()
	})
	defer deadline.Stop()
	c.kick()
	c.mu.Lock()
	defer c.mu.Unlock()
	// What is pending now becomes generation taken+1.
	want := c.taken
	if len(c.pending) > 0 || len(c.stderr) > 0 {
		want++
	}
	for c.written < want {
		if expired {
			return false
		}
		c.done.Wait()
	}
	return true
}

// run is the writer: the only goroutine that touches the file and stderr.
func (c *core) run() {
	defer close(c.stopped)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-c.wake:
		case <-tick.C:
			c.out.check()
		case <-c.stop:
			c.drain()
			c.out.close()
			return
		}
		c.drain()
	}
}

// drain writes what is pending.
func (c *core) drain() {
	c.mu.Lock()
	lines, errLines, lost := c.pending, c.stderr, c.lost
	c.pending, c.stderr, c.lost = c.out.spare[:0], nil, 0
	c.taken++
	c.mu.Unlock()

	if len(errLines) > 0 {
		c.opts.StderrOut.Write(errLines)
	}
	c.out.lost += lost
	if len(lines) > 0 || c.out.lost > 0 {
		c.out.write(lines, c.lostLine, c.opts.StderrOut)
	}
	if cap(lines) <= 2*wakeBytes {
		c.out.spare = lines
	} else {
		c.out.spare = nil
	}

	c.mu.Lock()
	c.written, c.stuck = c.taken, false
	c.done.Broadcast()
	c.mu.Unlock()
}
