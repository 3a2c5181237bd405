// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"

	"github.com/pegasus-ops/pegasus-ops/ops/host/link"
)

// SSH is a machine reached over ssh. Files are read and written over sftp as the
// user who logs in; where that user may not make or remove a folder and the
// inventory allows sudo, root does it and gives the folder to the user.
type SSH struct {
	name  string
	conn  *link.Conn
	wires *wires
	sudo  bool

	mu    sync.Mutex
	known *identity
}

// identity is what a machine says about the user and itself, asked once.
type identity struct {
	home  string // where logins begin
	uid   string
	tools map[string]bool // of those in wantedTools
}

// wantedTools are looked for once. tar and a checksum are needed to install
// packages; what else there is makes that faster.
var wantedTools = []string{"zstd", "gzip", "tar", "sha256sum", "openssl", "systemctl", "supervisorctl"}

const identityScript = `pwd; id -u
for t; do if command -v "$t" >/dev/null 2>&1; then echo "$t"; fi; done`

func (h *SSH) identity(ctx context.Context) (identity, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known != nil {
		return *h.known, nil
	}
	res, err := h.Run(ctx, script("look for tools", identityScript, wantedTools...))
	if err != nil {
		return identity{}, err // asked again by the next who needs it
	}
	lines := strings.Split(strings.TrimSpace(string(res.Stdout)), "\n")
	if len(lines) < 2 {
		return identity{}, h.wrap("look for tools", fmt.Errorf("it says %q", res.Stdout))
	}
	h.known = &identity{home: lines[0], uid: lines[1], tools: map[string]bool{}}
	for _, t := range lines[2:] {
		h.known.tools[t] = true
	}
	return *h.known, nil
}

// script is a POSIX shell script with its arguments. No value is ever put into
// the text of a script.
func script(title, text string, args ...string) Command {
	return Command{Title: title, Args: append([]string{"sh", "-c", text, "pegasus-ops"}, args...)}
}

// Name implements Host.
func (h *SSH) Name() string { return h.name }

// Close implements Host.
func (h *SSH) Close() error { return h.conn.Close() }

func (h *SSH) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("host %s: %s: %w", h.name, doing, err)
}

// Run implements Host.
func (h *SSH) Run(ctx context.Context, c Command) (Result, error) {
	root := false
	if c.Sudo {
		id, err := h.identity(ctx)
		if err != nil {
			return Result{}, err
		}
		root = id.uid == "0"
	}
	return runLimited(ctx, h.name, c, func(ctx context.Context, stdout, stderr io.Writer) (int, error) {
		exit, err := h.conn.Run(ctx, link.Command{Args: c.Args, Dir: c.Dir, Env: c.Env, Stdin: c.Stdin, Stdout: stdout, Stderr: stderr, Sudo: c.Sudo && !root})
		return exit.Status, err
	})
}

// RemoveTree implements Host, with the same refusals as on this machine.
func (h *SSH) RemoveTree(ctx context.Context, dir string, s Sweep) error {
	return h.wrap("remove", h.removeTree(ctx, dir, s))
}

// sweepLimit bounds the removal of a big tree.
const sweepLimit = time.Hour

func (h *SSH) removeTree(ctx context.Context, dir string, s Sweep) error {
	st, err := h.Lstat(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return &ProtectedError{dir, "is not a folder"}
	}
	info, err := ReadFile(ctx, h, "/proc/self/mountinfo")
	if err != nil {
		return err
	}
	id, err := h.identity(ctx)
	if err != nil {
		return err
	}
	mounts := mountPoints(info)
	mounted := slices.Contains(mounts, dir)
	if err := protected(dir, mounts, mounted && s.Self, id.home, ""); err != nil {
		return err
	}
	names, err := h.List(ctx, dir)
	if err != nil {
		return err
	}
	remove, kept := s.split(names, mounted)
	for batch := range slices.Chunk(remove, 500) {
		args := []string{"rm", "-rf", "--"}
		for _, n := range batch {
			args = append(args, path.Join(dir, n))
		}
		if _, err := h.Run(ctx, Command{Title: "rm -rf " + dir, Args: args, Limit: sweepLimit}); err != nil {
			return err
		}
	}
	if kept {
		return nil
	}
	if s.Last != "" {
		if err := h.Remove(ctx, path.Join(dir, s.Last)); err != nil {
			return err
		}
	}
	if !s.Self {
		return nil
	}
	return h.Remove(ctx, dir)
}

// files does something on the file system of the host. use must touch nothing
// the caller goes on with: it may run on when ctx has ended.
func files[T any](ctx context.Context, h *SSH, doing string, use func(*sftp.Client) (T, error)) (T, error) {
	v, err := link.Files(ctx, h.conn, use)
	return v, h.wrap(doing, plainer(err))
}

type nothing struct{}

func (h *SSH) files(ctx context.Context, doing string, use func(*sftp.Client) error) error {
	_, err := files(ctx, h, doing, func(c *sftp.Client) (nothing, error) { return nothing{}, use(c) })
	return err
}

// plainer says what sftp means by its one word for all other errors.
func plainer(err error) error {
	var status *sftp.StatusError
	if errors.As(err, &status) && status.FxCode() == sftp.ErrSSHFxFailure {
		return fmt.Errorf("the host refuses it (%w)", err)
	}
	return err
}
