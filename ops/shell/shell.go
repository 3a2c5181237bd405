// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// ErrCommandFailed is what Run returns when a command failed, after it has told why on
// Options.Err.
var ErrCommandFailed = errors.New("a shell command failed")

// adminTimeout bounds one request to the meta server or to a node's remote commands.
const (
	adminTimeout   = 15 * time.Second
	commandTimeout = 5 * time.Second
)

// Options says which cluster a shell works on and where its commands come from.
type Options struct {
	// Metas are the addresses of the meta servers, "host:port".
	Metas []string
	// ClusterName is shown to the user and need not be known to the cluster.
	ClusterName string
	// Exec is a script, commands separated by semicolons or line ends. If it is set nothing is
	// read from In, and the first command that fails ends it.
	Exec string
	// In is where commands are read from, a line each, when Exec is empty.
	In io.Reader
	// Out takes results, Err complaints and progress.
	Out, Err io.Writer
	// Interactive makes it a session on the process's terminal, with a prompt, editing and
	// completion; In is not used then.
	Interactive bool
	// AssumeYes answers every question with yes and does not ask it.
	AssumeYes bool
	// HistoryFile keeps the lines of interactive sessions; "" keeps none.
	HistoryFile string
	// Timeout bounds one data operation. Default 5 s; the command "timeout" changes it.
	Timeout time.Duration
	// Dial opens connections; nil means TCP.
	Dial wire.Dialer
	// Lookup finds the meta servers of another cluster, for the command "cc"; nil: only lists of
	// addresses can be given there.
	Lookup func(clusterName string) (metas []string, err error)
	// What the command "version" says.
	Version, GitSHA, BuildType string
}

// shell is the state of one session.
type shell struct {
	o       Options
	c       *client.Cluster
	name    string   // of the cluster
	metas   []string // as given
	table   string   // in use, "" for none
	timeout time.Duration
	// escapeAll shows every byte of keys and values as \xHH.
	escapeAll bool
	lines     lineSource
	out, err  io.Writer
	poll      time.Duration // between two looks at a table that is being created
}

// A lineSource is where commands come from. next returns io.EOF after the last.
type lineSource interface {
	next(prompt string) (string, error)
	close()
}

// Run executes commands until they end, or "exit". It returns ErrCommandFailed if one failed -
// except in an interactive session, where the user has seen it - and another error if the
// session could not begin or was interrupted.
func Run(ctx context.Context, o Options) error {
	if o.Timeout <= 0 {
		o.Timeout = client.DefaultTimeout
	}
	s := &shell{o: o, timeout: o.Timeout, out: o.Out, err: o.Err, poll: time.Second}
	if err := s.connect(ctx, o.ClusterName, o.Metas); err != nil {
		return err
	}
	defer func() { s.c.Close() }()
	switch {
	case o.Exec != "":
		s.lines = &scriptLines{splitScript(o.Exec)}
	case o.Interactive:
		lines, err := newTerminal(s)
		if err != nil {
			return fmt.Errorf("open the terminal: %w", err)
		}
		s.lines = lines
		s.banner()
	default:
		s.lines = newPipe(o.In)
	}
	defer s.lines.close()
	return s.loop(ctx)
}

func (s *shell) loop(ctx context.Context) error {
	failed := false
	for {
		line, err := s.lines.next(">>> ")
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read a command: %w", err)
		}
		err = s.interruptible(ctx, line)
		if errors.Is(err, errExit) {
			break
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && s.o.Exec != "" {
			return ErrCommandFailed
		}
		failed = failed || err != nil
	}
	if failed && !s.o.Interactive {
		return ErrCommandFailed
	}
	return nil
}

// interruptible executes a line so that on a terminal Ctrl-C ends the command and not the shell.
func (s *shell) interruptible(ctx context.Context, line string) error {
	if s.o.Interactive {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt)
		defer stop()
	}
	return s.execute(ctx, line)
}

// connect opens the cluster with these meta servers and leaves the one before.
func (s *shell) connect(ctx context.Context, name string, metas []string) error {
	c, err := client.Open(ctx, client.Options{Metas: metas, Dial: s.o.Dial, Timeout: s.o.Timeout})
	if err != nil {
		return err
	}
	if s.c != nil {
		s.c.Close()
	}
	s.c, s.name, s.metas, s.table = c, name, metas, ""
	return nil
}

func (s *shell) banner() {
	fmt.Fprintf(s.out, "Pegasus Shell %s\nType \"help\" for more information.\nType \"Ctrl-D\" to exit the shell.\n\n", s.version())
	s.printCluster()
}

func (s *shell) printCluster() {
	fmt.Fprintf(s.out, "The cluster name is: %s\nThe cluster meta list is: %s\n", s.name, strings.Join(s.metas, ","))
}

func (s *shell) version() string {
	if s.o.Version == "" {
		return "unknown"
	}
	return s.o.Version
}

// errExit ends the session; errShown is a failure whose reason has been printed.
var (
	errExit  = errors.New("exit")
	errShown = errors.New("failed")
)

// fail prints a complaint and returns the error for it.
func (s *shell) fail(format string, args ...any) error {
	fmt.Fprintf(s.err, format+"\n", args...)
	return errShown
}

// execute runs one line and prints whatever went wrong.
func (s *shell) execute(ctx context.Context, line string) error {
	words, err := splitLine(line)
	if err != nil {
		return s.fail("%v", err)
	}
	if len(words) == 0 {
		return nil
	}
	cmd := findCommand(words[0])
	if cmd == nil {
		fmt.Fprintf(s.err, "ERROR: invalid subcommand '%s'\n", words[0])
		printHelp(s.err)
		return errShown
	}
	err = s.call(ctx, cmd, words[1:])
	var usage *wrongUsage
	switch {
	case err == nil, errors.Is(err, errExit), errors.Is(err, errShown):
		return err
	case errors.As(err, &usage):
		if usage.text != "" {
			fmt.Fprintln(s.err, usage.text)
		}
		fmt.Fprintf(s.err, "USAGE: \t%s", cmd.help())
	case ctx.Err() != nil:
		fmt.Fprintln(s.err, "interrupted")
	default:
		fmt.Fprintf(s.err, "ERROR: %v\n", err)
	}
	return errShown
}

func (s *shell) call(ctx context.Context, cmd *command, words []string) error {
	known := options(cmd.usage)
	if len(known) == 0 { // so that keys and values may begin with a dash
		return cmd.run(s, ctx, &flags{args: words})
	}
	f, err := parseFlags(cmd.name, known, words, cmd.stopAtWord)
	if err != nil {
		return err
	}
	return cmd.run(s, ctx, f)
}

// admin returns a context for one request that is no data operation.
func admin(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, adminTimeout)
}

// output returns where a command's -o sends its result: the file, or Out. done closes the file
// and must be called with what has failed so far, which it passes on.
func (s *shell) output(f *flags) (w io.Writer, done func(error) error, err error) {
	name := f.text("o", "")
	if name == "" {
		return s.out, func(err error) error { return err }, nil
	}
	file, err := os.Create(name)
	if err != nil {
		return nil, nil, fmt.Errorf("open output file: %w", err)
	}
	buffered := bufio.NewWriter(file)
	return buffered, func(err error) error {
		return errors.Join(err, buffered.Flush(), file.Close())
	}, nil
}

// code names an error as the protocol does, for the complaints whose wording has it.
func code(err error) idl.ErrorCode { return client.CodeOf(err) }

// scriptLines are the commands of Options.Exec.
type scriptLines struct{ left []string }

func (l *scriptLines) next(string) (string, error) {
	if len(l.left) == 0 {
		return "", io.EOF
	}
	line := l.left[0]
	l.left = l.left[1:]
	return line, nil
}

func (l *scriptLines) close() {}

// pipe reads lines from a file or another process.
type pipe struct{ r *bufio.Reader }

func newPipe(in io.Reader) *pipe {
	if in == nil {
		in = strings.NewReader("")
	}
	return &pipe{bufio.NewReader(in)}
}

func (p *pipe) next(string) (string, error) {
	line, err := p.r.ReadString('\n')
	if err == io.EOF && line != "" {
		err = nil
	}
	return strings.TrimRight(line, "\r\n"), err
}

func (p *pipe) close() {}
