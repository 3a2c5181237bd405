// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// serversAtOnce is how many servers a remote command is sent to at the same time.
const serversAtOnce = 32

// Roles as the original prints them.
const (
	roleMeta    = "meta-server"
	roleReplica = "replica-server"
	roleListed  = "user-specified"
)

// remoteReply is one server's part of the printed result.
type remoteReply struct {
	Acked   bool   `json:"acked"` // an answer came; what it says is another matter
	Message any    `json:"message"`
	Role    string `json:"role"`
}

// remoteResult is what remote commands print.
type remoteResult struct {
	Command string                  `json:"command"`
	Details map[string]*remoteReply `json:"details"` // by address
	Failed  int                     `json:"failed_count"`
	Succeed int                     `json:"succeed_count"`
}

type target struct {
	name string // as printed
	addr idl.RPCAddress
	role string
}

func (s *shell) remoteCommand(ctx context.Context, f *flags) error {
	if len(f.args) == 0 {
		return usageError("")
	}
	return s.runRemote(ctx, f, f.args[0], f.args[1:])
}

// remote makes a shell command of a remote command without arguments.
func remote(cmd string) func(*shell, context.Context, *flags) error {
	return func(s *shell, ctx context.Context, f *flags) error {
		if len(f.args) > 0 {
			return usageError("")
		}
		return s.runRemote(ctx, f, cmd, nil)
	}
}

func (s *shell) runRemote(ctx context.Context, f *flags, cmd string, args []string) error {
	targets, err := s.targets(ctx, f)
	if err != nil {
		return err
	}
	result := remoteResult{Command: cmd + " " + strings.Join(args, " "), Details: map[string]*remoteReply{}}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(serversAtOnce)
	for _, t := range targets {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, commandTimeout)
			defer cancel()
			text, err := s.c.RemoteCommand(ctx, t.addr, cmd, args...)
			reply := &remoteReply{Acked: err == nil, Role: t.role, Message: message(text)}
			if err != nil {
				reply.Message = string(code(err))
			}
			mu.Lock()
			defer mu.Unlock()
			result.Details[t.name] = reply
			if err != nil {
				result.Failed++
			} else {
				result.Succeed++
			}
			return nil
		})
	}
	g.Wait()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(&result); err != nil {
		return fmt.Errorf("print the answers: %w", err)
	}
	s.out.Write(b.Bytes())
	if result.Failed > 0 {
		return errShown
	}
	return nil
}

// message is a server's text, or the JSON in it.
func message(text string) any {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err == nil && !d.More() {
		switch v.(type) {
		case map[string]any, []any:
			return v
		}
	}
	return text
}

// targets are the servers that -t or -l name: by default the meta servers and all replica
// servers that are alive.
func (s *shell) targets(ctx context.Context, f *flags) ([]target, error) {
	if f.has("t") && f.has("l") {
		return nil, usageError("can not specify both node_type and nodes_list")
	}
	if f.has("l") {
		return s.listed(ctx, strings.Split(f.text("l", ""), ","), roleListed, f.has("r"))
	}
	typ := f.text("t", "all")
	if typ != "all" && typ != roleMeta && typ != roleReplica {
		return nil, usageError("parse %s as a node_type failed", typ)
	}
	var all []target
	if typ != roleReplica {
		metas, err := s.listed(ctx, s.metas, roleMeta, f.has("r"))
		if err != nil {
			return nil, err
		}
		all = append(all, metas...)
	}
	if typ != roleMeta {
		actx, cancel := admin(ctx)
		defer cancel()
		nodes, err := s.c.ListNodes(actx, idl.NsAlive)
		if err != nil {
			return nil, s.fail("list nodes failed, error=%s\n%v", code(err), err)
		}
		for _, n := range nodes {
			all = append(all, target{n.Node.String(), n.Node, roleReplica})
		}
	}
	return all, nil
}

func (s *shell) listed(ctx context.Context, names []string, role string, resolved bool) ([]target, error) {
	var all []target
	for _, name := range names {
		addrs, err := client.ResolveAll(ctx, []string{name})
		if err != nil || len(addrs) == 0 {
			return nil, usageError("parse %s as a ip:port node failed", name)
		}
		for _, a := range addrs {
			t := target{strings.TrimSpace(name), a, role}
			if resolved || len(addrs) > 1 {
				t.name = a.String()
			}
			all = append(all, t)
		}
	}
	return all, nil
}
