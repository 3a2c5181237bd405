// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Command is a program to run on the other side.
type Command struct {
	Args           []string
	Dir            string    // "" means the login directory
	Env            []string  // NAME=value, added to what sshd sets
	Stdin          io.Reader // nil: nothing
	Stdout, Stderr io.Writer // nil: thrown away
	Sudo           bool      // run it as root
}

// wrapper is what the login shell of the other side is given to run, with the
// command as its arguments. It says the mark first, on both outputs: what comes
// before it was said by login scripts or by sudo. Without input of its own the
// command gets none, and the wrapper watches ours: its end, whether we end it or
// the connection breaks, ends the command and all its children that stayed in
// its process group.
const wrapper = `m=$1 d=$2 i=$3 n=$4; shift 4
echo "$m"; [ "$i" = tty ] || echo "$m" >&2
while [ "$n" -gt 0 ]; do export "$1"; shift; n=$((n-1)); done
if [ -n "$d" ]; then cd -- "$d" || exit 126; fi
if [ "$i" = stdin ]; then exec "$@"; fi
exec 3<&0 </dev/null
( trap '' TERM HUP INT; while read -r x <&3; do :; done; kill -TERM 0; sleep 2; kill -KILL 0 ) >/dev/null 2>&1 &
w=$!
"$@" 3<&-
s=$?
kill -KILL "$w"
exit "$s"`

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

// Exit is how a program ended.
type Exit struct {
	Status int // 128 + its number for a signal, as shells have it
}

// StartError is a program that was not even started: the login shell, sudo, or a
// forced command stood in between.
type StartError struct {
	Target, Said string
	Err          error
}

func (e *StartError) Error() string {
	return fmt.Sprintf("%s does not run our commands: it says %q (%v)", e.Target, e.Said, e.Err)
}
func (e *StartError) Unwrap() error { return e.Err }

// SudoError is a sudo that does not let us become root.
type SudoError struct{ Target, Problem string }

func (e *SudoError) Error() string { return fmt.Sprintf("sudo on %s: %s", e.Target, e.Problem) }

// Run runs a program to its end. A program that ran has no error, whatever its
// status. When ctx ends the program is ended too: it is asked to with SIGTERM and
// killed two seconds later.
func (c *Conn) Run(ctx context.Context, cmd Command) (Exit, error) {
	if cmd.Sudo && c.tty.Load() {
		return c.run(ctx, cmd, true)
	}
	exit, err := c.run(ctx, cmd, false)
	var start *StartError
	if cmd.Sudo && errors.As(err, &start) && wantsTTY(start.Said) {
		if cmd.Stdin != nil {
			return exit, &SudoError{c.target.String(), "it wants a terminal and the command reads input; write `Defaults:" + c.target.User + " !requiretty` into sudoers"}
		}
		c.tty.Store(true)
		return c.run(ctx, cmd, true)
	}
	return exit, err
}

func wantsTTY(said string) bool {
	return strings.Contains(said, "must have a tty") || strings.Contains(said, "a terminal is required to run")
}

func (c *Conn) line(cmd Command, tty bool) (string, error) {
	if len(cmd.Args) == 0 || cmd.Args[0] == "" {
		return "", errors.New("the command is empty")
	}
	mode := "watch"
	switch {
	case cmd.Stdin != nil:
		mode = "stdin"
	case tty:
		mode = "tty"
	}
	args := []string{"sh", "-c", wrapper, "pegasus-ops", c.mark, cmd.Dir, mode, strconv.Itoa(len(cmd.Env))}
	for _, e := range cmd.Env {
		if !envName.MatchString(e) {
			return "", fmt.Errorf("%q is no NAME=value", e)
		}
		args = append(args, e)
	}
	args = append(args, cmd.Args...)
	if cmd.Sudo {
		how := []string{"sudo", "-n", "--"}
		if c.sudo != nil {
			// -k: never from its cache, so that whether it asks does not depend on what
			// was run before.
			how = []string{"sudo", "-k", "-S", "-p", c.prompt(), "--"}
		}
		args = append(how, args...)
	}
	return Quote(args)
}

// prompt is what sudo asks with; nobody else can write it by chance.
func (c *Conn) prompt() string { return "[pegasus-ops " + c.mark + "] password:" }

func (c *Conn) run(ctx context.Context, cmd Command, tty bool) (Exit, error) {
	line, err := c.line(cmd, tty)
	if err != nil {
		return Exit{}, err
	}
	s, release, err := c.open(ctx)
	if err != nil {
		return Exit{}, err
	}
	in, err := s.StdinPipe()
	if err != nil {
		release()
		return Exit{}, err
	}
	p := &program{conn: c, session: s, watched: cmd.Stdin == nil, stdin: in, done: make(chan error, 1)}
	began := make(chan struct{})
	p.stdout = &marked{mark: c.mark, to: cmd.Stdout, early: p.early, begin: func() { close(began) }}
	p.stderr = &marked{mark: c.mark, to: cmd.Stderr, early: p.early, begin: func() {}}
	s.Stdout, s.Stderr = p.stdout, p.stderr
	if tty {
		if err := s.RequestPty("dumb", 24, 200, ssh.TerminalModes{ssh.ECHO: 0, ssh.ECHONL: 0, ssh.OPOST: 0, ssh.ICANON: 1}); err != nil {
			_ = s.Close()
			release()
			return Exit{}, &RefusedSessionError{c.target.String(), err}
		}
		p.stderr.started() // there is only one output
	}
	c.work.Go(func() {
		defer release()
		err := s.Start(line)
		ended := make(chan struct{})
		if err == nil {
			if cmd.Stdin != nil {
				c.work.Go(func() {
					select { // not before sudo has had its password
					case <-began:
						_, _ = io.Copy(in, cmd.Stdin) // the program may well end before its input
						_ = in.Close()
					case <-ended:
					}
				})
			}
			err = s.Wait()
		}
		close(ended)
		_ = s.Close()
		p.done <- err
	})
	return p.wait(ctx, cmd.Sudo)
}

// program is a command under way.
type program struct {
	conn           *Conn
	session        *ssh.Session
	watched        bool       // it has no input of its own: the end of ours ends it
	input          sync.Mutex // a write and the end of the input must not meet
	stdin          io.WriteCloser
	stdout, stderr *marked
	done           chan error

	mu      sync.Mutex
	answers int // passwords given
	refused error
}

// early looks at what comes before the mark: sudo may ask for the password.
func (p *program) early(said []byte) {
	if p.conn.sudo == nil {
		return
	}
	asked := bytes.Count(said, []byte(p.conn.prompt()))
	p.mu.Lock()
	defer p.mu.Unlock()
	if asked <= p.answers || p.refused != nil {
		return
	}
	p.answers = asked
	if asked > 1 {
		// Not again: some systems lock the account.
		p.refused = &SudoError{p.conn.target.String(), "it refuses the password"}
		p.conn.work.Go(func() { _ = p.session.Close() })
		return
	}
	p.conn.work.Go(func() { // not here: who reads the output must not wait
		password, err := p.conn.sudo()
		if err == nil {
			p.input.Lock()
			_, err = io.WriteString(p.stdin, password+"\n")
			p.input.Unlock()
		}
		if err != nil {
			p.mu.Lock()
			p.refused = &SudoError{p.conn.target.String(), "ask for the password: " + err.Error()}
			p.mu.Unlock()
			_ = p.session.Close()
		}
	})
}

// Grace after SIGTERM, and how long the end may take to be reported.
const (
	endGrace  = 3 * time.Second
	lastGrace = time.Second
)

func (p *program) wait(ctx context.Context, sudo bool) (Exit, error) {
	select {
	case err := <-p.done:
		return p.exit(err, sudo)
	case <-p.conn.dead:
		return Exit{}, p.conn.Err()
	case <-ctx.Done():
	}
	// The end of input tells the wrapper, and reaches what runs under sudo; the
	// signal reaches a program that reads its input.
	p.conn.work.Go(func() {
		if p.watched {
			p.input.Lock()
			_ = p.stdin.Close()
			p.input.Unlock()
		}
		_ = p.session.Signal(ssh.SIGTERM)
	})
	if !p.ended(endGrace) {
		p.conn.work.Go(func() {
			_ = p.session.Signal(ssh.SIGKILL)
			_ = p.session.Close()
		})
		p.ended(lastGrace)
	}
	return Exit{}, p.conn.over(ctx)
}

func (p *program) ended(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-p.conn.dead:
		return true
	case <-timer.C:
		return false
	}
}

func (p *program) exit(err error, sudo bool) (Exit, error) {
	p.mu.Lock()
	refused := p.refused
	p.mu.Unlock()
	if refused != nil {
		return Exit{}, refused
	}
	var status *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case err == nil:
		return Exit{}, p.start(nil, sudo)
	case errors.As(err, &status):
		n := status.ExitStatus()
		if s := status.Signal(); s != "" {
			n = 128 + signalNumber[s]
		}
		return Exit{n}, p.start(status, sudo)
	case p.conn.isDead():
		return Exit{}, p.conn.Err()
	case errors.As(err, &missing):
		return Exit{}, fmt.Errorf("%s ended the session without saying how the command went: %w", p.conn.target, err)
	}
	return Exit{}, err
}

var signalNumber = map[string]int{"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15}

// start is the error of a command whose mark never came.
func (p *program) start(err error, sudo bool) error {
	if p.stdout.isStarted() {
		return nil
	}
	said := strings.TrimSpace(strings.ReplaceAll(p.stdout.noise()+"\n"+p.stderr.noise(), p.conn.prompt(), ""))
	t := p.conn.target.String()
	switch {
	case !sudo || wantsTTY(said):
	case strings.Contains(said, "password is required"), strings.Contains(said, "no password was provided"):
		return &SudoError{t, "it asks for a password; give --ask-sudo-pass, or allow the user to use sudo without (NOPASSWD)"}
	case strings.Contains(said, "not in the sudoers"), strings.Contains(said, "not allowed"), strings.Contains(said, "may not run"):
		return &SudoError{t, "user " + p.conn.target.User + " may not use it: " + said}
	case strings.Contains(said, "not found"):
		return &SudoError{t, "there is none (" + said + "); install it, or log in as root"}
	}
	if err == nil {
		err = errors.New("status 0")
	}
	return &StartError{t, said, err}
}

// marked passes on what comes after the line with the mark.
type marked struct {
	mark  string
	to    io.Writer
	early func(said []byte)
	begin func()

	mu     sync.Mutex
	before []byte
	begun  bool
}

// earlyLimit is how much a login script may say.
const earlyLimit = 64 << 10

// Write implements io.Writer.
func (m *marked) Write(p []byte) (int, error) {
	m.mu.Lock()
	if m.begun {
		m.mu.Unlock()
		return m.pass(p)
	}
	m.before = append(m.before, p...)
	before, rest, found := bytes.Cut(m.before, []byte(m.mark+"\n"))
	if !found { // a terminal may end its lines otherwise
		before, rest, found = bytes.Cut(m.before, []byte(m.mark+"\r\n"))
	}
	if !found {
		said := m.before
		if len(m.before) > earlyLimit {
			m.before = m.before[len(m.before)-earlyLimit/2:]
		}
		m.mu.Unlock()
		m.early(said)
		return len(p), nil
	}
	m.begun, m.before = true, before
	m.mu.Unlock()
	m.begin()
	if len(rest) > 0 {
		if _, err := m.pass(rest); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (m *marked) pass(p []byte) (int, error) {
	if m.to == nil {
		return len(p), nil
	}
	return m.to.Write(p)
}

func (m *marked) started() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begun = true
}

func (m *marked) isStarted() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.begun
}

func (m *marked) noise() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return string(m.before)
}
