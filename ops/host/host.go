// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

// Host is one machine. Its methods are safe for concurrent use. Paths are
// absolute; a missing file is an error that is fs.ErrNotExist.
type Host interface {
	// Name is the host's name in the inventory.
	Name() string

	// Run runs a command to its end. A command that exits with another status
	// than 0 is a [*CommandError].
	Run(ctx context.Context, c Command) (Result, error)

	// Put writes a file atomically and durably, replacing what is there.
	Put(ctx context.Context, path string, mode fs.FileMode, content io.Reader) error
	// Get opens a file for reading.
	Get(ctx context.Context, path string) (io.ReadCloser, error)
	// Lstat describes a file without following a link.
	Lstat(ctx context.Context, path string) (fs.FileInfo, error)
	// List is the names in a folder, sorted.
	List(ctx context.Context, dir string) ([]string, error)
	// Mkdir makes a folder and its missing parents. created is the topmost
	// folder that was not there before, "" if none was missing.
	Mkdir(ctx context.Context, dir string, mode fs.FileMode) (created string, err error)
	// Link makes path a symbolic link to target, replacing a link that is there
	// in one step.
	Link(ctx context.Context, target, path string) error
	// ReadLink is the target of a link.
	ReadLink(ctx context.Context, path string) (string, error)
	// Rename moves a file or folder within one file system.
	Rename(ctx context.Context, from, to string) error
	// Remove removes a file, a link or an empty folder; what is not there is no error.
	Remove(ctx context.Context, path string) error
	// RemoveTree removes a folder and all in it. See [Sweep].
	RemoveTree(ctx context.Context, dir string, s Sweep) error
	// Unpack installs the files of a server package on the host. What a broken
	// attempt has left there is made use of.
	Unpack(ctx context.Context, p Package) error
	// Disk is the room on the file system that holds path.
	Disk(ctx context.Context, path string) (Disk, error)

	// Start starts a server process that outlives pegasus-ops and records it in
	// the pid file.
	Start(ctx context.Context, d Daemon) (Process, error)
	// Find looks for the running process of d: by its pid file, and when that is
	// missing or stale by its command line. nil means that none runs.
	Find(ctx context.Context, d Daemon) (*Process, error)
	// Stop ends the process of d: SIGTERM, and SIGKILL if it is still there after
	// grace. It returns when the process is gone; none running is no error.
	Stop(ctx context.Context, d Daemon, grace time.Duration) (Stopped, error)

	// Close frees the connection. Server processes go on.
	Close() error
}

// Command is a program with its arguments.
type Command struct {
	Args           []string
	Dir            string
	Env            []string // NAME=value, added to the host's own
	Stdin          io.Reader
	Stdout, Stderr io.Writer     // take what it writes; nil: it goes into the Result
	Limit          time.Duration // it is ended after this long; 0 means CommandLimit
	Sudo           bool          // as root; on this machine only if we are root
	Title          string        // what it does, for messages; "" means its arguments
}

// CommandLimit ends commands that name no limit of their own.
const CommandLimit = 2 * time.Minute

func (c Command) String() string {
	if c.Title != "" {
		return c.Title
	}
	return strings.Join(c.Args, " ")
}

// Result is what a command wrote.
type Result struct {
	Stdout, Stderr []byte
}

// CommandError is a command that ran and failed.
type CommandError struct {
	Host    string
	Command string
	Status  int // exit status; 128 + its number when a signal ended it
	Stderr  string
}

func (e *CommandError) Error() string {
	msg := fmt.Sprintf("host %s: `%s` ended with status %d", e.Host, e.Command, e.Status)
	if s := strings.TrimSpace(e.Stderr); s != "" {
		msg += ": " + s
	}
	return msg
}

// Disk is the room on a file system, in bytes.
type Disk struct {
	Total, Free int64
}

// Package is a server package of this machine and where it goes on a host.
type Package struct {
	Archive  string                  // a .tar.gz
	Root     string                  // its top folder, which is left out
	Dir      string                  // on the host; must not exist, its parent must
	Progress func(sent, total int64) // of bytes on the wire; may be nil
}

// Sweep says how a tree is removed.
type Sweep struct {
	Last string   // name in the folder that is removed after everything else: the marker
	Keep []string // names in the folder that stay, and with them the folder
	Self bool     // also remove the folder itself
}

// Daemon is a server process to be: what is needed to start it and to know it again.
type Daemon struct {
	Name    string // for messages
	Dir     string // working directory
	Args    []string
	Env     []string
	Output  string            // file that takes stdout and stderr; an earlier one is kept as .old
	PidFile string            // see Process
	Labels  map[string]string // remembered in the pid file: what it was started from
}

// Process is a running server process.
type Process struct {
	PID    int
	Since  time.Time
	Labels map[string]string // of the Daemon it was started as; nil if the pid file was lost
}

// Stopped says how a process ended.
type Stopped struct {
	Was    *Process // nil: none was running
	Killed bool     // it did not end on SIGTERM in time
}

// Tail is the end of a text file, at most n lines; "" if it cannot be read.
func Tail(ctx context.Context, h Host, path string, n int) string {
	res, err := h.Run(ctx, Command{Args: []string{"tail", "-n", fmt.Sprint(n), "--", path}})
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(res.Stdout), "\n")
}

// ReadFile is the whole of a small file.
func ReadFile(ctx context.Context, h Host, path string) ([]byte, error) {
	r, err := h.Get(ctx, path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("host %s: read %s: %w", h.Name(), path, err)
	}
	return b, nil
}
