// SPDX-License-Identifier: Apache-2.0

// Package command is the registry of remote commands: what an operator can ask a running server
// by name, through the RPC RPC_CLI_CLI_CALL, from the Pegasus shell (remote_command), pegasus-ops
// or a script. Every role has one [Registry]; each room registers the commands that are about it
// where it has what they need.
//
// A command takes words and returns text. That is all the protocol has: an unknown command or a
// bad argument is a text as well, and the call itself succeeds. The texts are those scripts
// grep for, in the style Pegasus had up to 2.5: "OK", "true", "ERR: invalid arguments",
// "unknown command 'x'".
package command

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// A Command is one thing a server can be asked.
type Command struct {
	Names []string // the first is the name, the others are aliases
	Args  string   // shown after the name by help, as in "[num | DEFAULT]"
	Help  string   // one sentence: what it does
	// Run answers. It may be called from many goroutines at a time, and should be done within
	// the 5 seconds a shell waits.
	Run func(args []string) string
}

// A Registry holds commands by name. The zero value is not usable, see New.
type Registry struct {
	// Log, if set, gets a line for every command that is executed on behalf of a peer.
	Log *slog.Logger

	mu     sync.RWMutex
	byName map[string]*Command
	cmds   []*Command // in order of registration

	ctx     context.Context // done when the server stops
	cancel  context.CancelFunc
	repeats chan struct{} // a slot for each repeat that runs
}

// New returns a registry with the commands help and repeat.
func New() *Registry {
	r := &Registry{byName: map[string]*Command{}, repeats: make(chan struct{}, maxRepeats)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.Register(Command{
		Names: []string{"help", "h", "H", "Help"},
		Args:  "[command]",
		Help:  "Display help information",
		Run:   r.help,
	})
	r.Register(Command{
		Names: []string{"repeat", "r", "R", "Repeat"},
		Args:  "interval_seconds max_count command [args]",
		Help:  "Execute a command every interval seconds, max_count times (0 for ever)",
		Run:   r.repeat,
	})
	return r
}

// Register adds a command. One that has a name in common with it is replaced as a whole.
func (r *Registry) Register(c Command) {
	if len(c.Names) == 0 || c.Run == nil {
		panic("command: a command needs a name and a function")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range c.Names {
		r.remove(n)
	}
	r.cmds = append(r.cmds, &c)
	for _, n := range c.Names {
		r.byName[n] = &c
	}
}

// Unregister takes commands away, each with all its names. Names nobody has are passed over.
func (r *Registry) Unregister(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range names {
		r.remove(n)
	}
}

func (r *Registry) remove(name string) {
	c := r.byName[name]
	if c == nil {
		return
	}
	for _, n := range c.Names {
		delete(r.byName, n)
	}
	r.cmds = slices.DeleteFunc(r.cmds, func(x *Command) bool { return x == c })
}

// Execute runs a command and returns its text. A command that panics is answered for.
func (r *Registry) Execute(name string, args []string) (text string) {
	r.mu.RLock()
	c := r.byName[name]
	r.mu.RUnlock()
	if c == nil {
		return "unknown command '" + name + "'"
	}
	defer func() {
		if p := recover(); p != nil {
			r.log().Error("remote command panicked", "command", name, "args", args, "panic", p, "stack", string(debug.Stack()))
			text = fmt.Sprintf("ERR: command %s failed: %v; this is a defect, the server's log says more", name, p)
		}
	}()
	return c.Run(args)
}

// Serve answers RPC_CLI_CLI_CALL from the registry. Commands run on the pool, so that a slow one
// holds up neither its connection nor, as long as the pool has workers left, the others.
func (r *Registry) Serve(mux *wire.Mux, pool *wire.Pool) {
	mux.HandlePooled(idl.RPCCliCliCall, pool, r.handle)
}

func (r *Registry) handle(req *wire.Request) {
	var c idl.Command
	if err := req.Decode(&c); err != nil {
		r.log().Warn("remote command cannot be decoded", "remote", req.RemoteAddr(), "err", err)
		req.ReplyError(idl.ErrInvalidData)
		return
	}
	r.log().Info("remote command", "command", c.Cmd, "args", c.Arguments, "remote", req.RemoteAddr())
	req.Reply(idl.String(r.Execute(c.Cmd, c.Arguments)))
}

// Close ends the repeats that run. Other commands still work.
func (r *Registry) Close() { r.cancel() }

func (r *Registry) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}

// help lists "name|alias [args]" of all commands, the ones for handling commands first, or
// explains one.
func (r *Registry) help(args []string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(args) > 0 {
		c := r.byName[args[0]]
		if c == nil {
			return "cannot find command '" + args[0] + "'"
		}
		return usage(c) + "\n" + c.Help
	}
	lines := make([]string, 0, len(r.cmds))
	for _, c := range r.cmds {
		lines = append(lines, usage(c)+"\n")
	}
	own := min(2, len(lines)) // help and repeat
	slices.Sort(lines[own:])
	return strings.Join(lines, "")
}

func usage(c *Command) string {
	s := strings.Join(c.Names, "|")
	if c.Args != "" {
		s += " " + c.Args
	}
	return s
}
