// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/command"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// registerCommands adds the remote commands of the role.
func (s *Server) registerCommands() {
	if s.opts.Commands == nil {
		return
	}
	for _, c := range []command.Command{
		{
			Names: []string{"replica.kill_partition", "kill_partition"},
			Args:  "[app_id [partition_index]]",
			Help:  "Close the replicas of all tables, a table or a partition; they are opened again and learn what they miss",
			Run:   s.killPartition,
		},
		{
			Names: []string{"replica.trigger-checkpoint", "trigger-checkpoint"},
			Args:  "[id1,id2,...] (where id is 'app_id' or 'app_id.partition_index')",
			Help:  "Flush replicas and make a checkpoint of each",
			Run:   func(args []string) string { return s.eachReplica(args, s.triggerCheckpoint) },
		},
		{
			Names: []string{"replica.query-app-envs", "query-app-envs"},
			Args:  "[id1,id2,...] (where id is 'app_id' or 'app_id.partition_index')",
			Help:  "Show the table environments that replicas have taken note of",
			Run:   func(args []string) string { return s.eachReplica(args, queryEnvs) },
		},
		{
			Names: []string{"replica.allow-empty"},
			Args:  "<app_id.partition_index>",
			Help:  "Allow a partition whose data is lost for good to begin empty on this server",
			Run:   s.allowEmpty,
		},
	} {
		s.opts.Commands.Register(c)
	}
}

// errKilled closes a replica by an operator's order.
var errKilled = errors.New("killed by remote command")

func (s *Server) killPartition(args []string) string {
	var want [2]int32
	for i, a := range args {
		n, err := strconv.ParseInt(a, 10, 32)
		if err != nil || n < 0 || i >= len(want) {
			return string(idl.ErrInvalidParameters)
		}
		want[i] = int32(n)
	}
	n := 0
	for g, r := range s.replicas() {
		if len(args) > 0 && g.AppID != want[0] || len(args) > 1 && g.PartitionIndex != want[1] {
			continue
		}
		n++
		r.post(func(now time.Time) { r.kill(now) })
	}
	if n == 0 && len(args) == 2 {
		return string(idl.ErrObjectNotFound)
	}
	return string(idl.ErrOK)
}

// kill closes a sound replica: unlike fail, it is flushed.
func (r *replica) kill(now time.Time) {
	r.log.Warn("replica killed by remote command")
	r.core.Fail(now)
	r.server.closeLater(r, errKilled)
}

// eachReplica runs f on the replicas that are named, all if none are, and lists the results.
func (s *Server) eachReplica(args []string, f func(*replica) string) string {
	var names []string
	for _, a := range args {
		for id := range strings.SplitSeq(a, ",") {
			if id = strings.TrimSpace(id); id != "" {
				names = append(names, id)
			}
		}
	}
	texts := map[idl.GPID]string{}
	missing := 0
	for g, r := range s.replicas() {
		if len(names) == 0 || slices.Contains(names, g.String()) || slices.Contains(names, strconv.Itoa(int(g.AppID))) {
			role := ""
			switch r.gate.Load().status {
			case idl.PsPrimary:
				role = "P"
			case idl.PsSecondary:
				role = "S"
			default:
				continue
			}
			texts[g] = fmt.Sprintf("%s@%s@%s : %s", g, s.opts.Self, role, f(r))
		}
	}
	var lines []string
	for _, id := range names {
		g, err := idl.ParseGPID(id)
		if err != nil {
			if _, err := strconv.ParseUint(id, 10, 31); err != nil {
				return "invalid arguments"
			}
			continue
		}
		if _, ok := texts[g]; !ok {
			missing++
			lines = append(lines, fmt.Sprintf("%s@%s : not found", g, s.opts.Self))
		}
	}
	gpids := make([]idl.GPID, 0, len(texts))
	for g := range texts {
		gpids = append(gpids, g)
	}
	slices.SortFunc(gpids, idl.GPID.Compare)
	var b strings.Builder
	fmt.Fprintf(&b, "%d processed, %d not found", len(gpids), missing)
	for _, g := range gpids {
		b.WriteString("\n    " + texts[g])
	}
	for _, l := range lines {
		b.WriteString("\n    " + l)
	}
	return b.String()
}

func (s *Server) triggerCheckpoint(r *replica) string {
	s.background(s.chores, func() {
		if !r.inbox.enter(&r.tasks) {
			return
		}
		defer r.tasks.Done()
		if err := r.maintain(s.ctx, true); err != nil {
			r.log.Warn("checkpoint by remote command failed", "dir", r.dir, "err", err)
		}
	})
	return "triggered"
}

func queryEnvs(r *replica) string {
	envs := r.table.Load().info.Envs
	if envs == nil {
		envs = map[string]string{}
	}
	b, err := json.Marshal(envs)
	if err != nil {
		return "ERR: " + err.Error()
	}
	return string(b)
}

func (s *Server) allowEmpty(args []string) string {
	if len(args) != 1 {
		return string(idl.ErrInvalidParameters)
	}
	g, err := idl.ParseGPID(args[0])
	if err != nil || g.AppID <= 0 {
		return string(idl.ErrInvalidParameters)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mayEmpty[g] = true
	s.log.Warn("by remote command the partition may begin empty on this server", "gpid", g)
	return string(idl.ErrOK)
}
