// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pegasus-ops/pegasus-ops/server/command"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/guardian"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
)

// dumpTimeout bounds meta.dump; shells wait 5 seconds.
const dumpTimeout = 5 * time.Second

// knobs are the settings that remote commands turn while the server runs. Those of the cure
// begin with the configured values when a server becomes leader.
type knobs struct {
	livePercentage atomic.Int64
	assignDelayMS  atomic.Int64
	flowControl    atomic.Bool
	maxAdds        atomic.Int64
	blackList      atomic.Pointer[[]idl.RPCAddress]
}

func (k *knobs) reset(o *Options) {
	k.livePercentage.Store(int64(o.LivePercentage))
	k.resetCure(o)
}

func (k *knobs) resetCure(o *Options) {
	k.assignDelayMS.Store(o.AssignDelay.Milliseconds())
	k.flowControl.Store(o.FlowControl)
	k.maxAdds.Store(int64(o.MaxAddsPerNode))
	k.blackList.Store(&[]idl.RPCAddress{})
}

// settings is what guardian goes by.
func (k *knobs) settings() guardian.Settings {
	s := guardian.Settings{AssignDelay: time.Duration(k.assignDelayMS.Load()) * time.Millisecond, MaxAdds: -1}
	if k.flowControl.Load() {
		s.MaxAdds = int(k.maxAdds.Load())
	}
	if list := *k.blackList.Load(); len(list) > 0 {
		s.BlackList = make(map[idl.RPCAddress]bool, len(list))
		for _, a := range list {
			s.BlackList[a] = true
		}
	}
	return s
}

// handleCommands registers what every meta server can be asked.
func (s *Server) handleCommands() {
	if s.o.Commands == nil {
		return
	}
	s.o.Commands.Register(command.Command{
		Names: []string{"meta.live_percentage"}, Args: "[num | DEFAULT]",
		Help: "node live percentage threshold for update",
		Run:  s.number("live_percentage", &s.knobs.livePercentage, int64(s.o.LivePercentage), 0, 100),
	})
	s.o.Commands.Register(command.Command{
		Names: []string{"fd.allow_list"}, Help: "Show the allow list of failure detector", Run: s.showAllowList,
	})
}

// leaderCommands are there only while this server leads: elsewhere they would change nothing,
// and an operator should see that.
func (s *Server) leaderCommands() []command.Command {
	k := &s.knobs
	return []command.Command{
		{Names: []string{"meta.lb.assign_delay_ms"}, Args: "[num | DEFAULT]",
			Help: "control the replica_assign_delay_ms_for_dropouts config",
			Run:  s.number("assign_delay_ms", &k.assignDelayMS, s.o.AssignDelay.Milliseconds(), 1, 1<<53)},
		{Names: []string{"meta.lb.assign_secondary_black_list"}, Args: "[<ip:port,ip:port,ip:port>|clear]",
			Help: "control the assign secondary black list", Run: s.turnBlackList},
		{Names: []string{"meta.lb.add_secondary_enable_flow_control"}, Args: "<true|false>",
			Help: "control whether enable add secondary flow control", Run: s.boolean("add_secondary_enable_flow_control", &k.flowControl)},
		{Names: []string{"meta.lb.add_secondary_max_count_for_one_node"}, Args: "[num | DEFAULT]",
			Help: "control the max count to add secondary for one node",
			Run:  s.number("add_secondary_max_count_for_one_node", &k.maxAdds, int64(s.o.MaxAddsPerNode), 0, 1<<31-1)},
		{Names: []string{"meta.lb.get_balance_operation_count"}, Args: "[total | move_pri | copy_pri | copy_sec | detail]",
			Help: "get how many balance operations have been decided and have not ended", Run: s.showOperations},
		{Names: []string{"meta.dump"}, Args: "<file>", Help: "dump the metadata of the meta server to a new local file, by default in its data directory", Run: s.dump},
	}
}

func (s *Server) registerLeaderCommands(leads bool) {
	if s.o.Commands == nil {
		return
	}
	for _, c := range s.leaderCommands() {
		if leads {
			s.o.Commands.Register(c)
		} else {
			s.o.Commands.Unregister(c.Names...)
		}
	}
}

const (
	textOK  = "OK"
	textBad = "ERR: invalid arguments"
)

// turned makes a new setting felt at once.
func (s *Server) turned(name string, value any) {
	s.log.Info("setting is changed", "setting", name, "value", value)
	s.mail.tell(func() {
		if s.leader != nil {
			s.leader.changed = true
			s.leader.cureSoon(0)
		}
	})
}

// number asks for or sets an integer.
func (s *Server) number(name string, v *atomic.Int64, def, low, high int64) func([]string) string {
	return func(args []string) string {
		switch {
		case len(args) == 0:
			return strconv.FormatInt(v.Load(), 10)
		case len(args) > 1:
			return textBad
		case args[0] == "DEFAULT":
			v.Store(def)
		default:
			n, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || n < low || n > high {
				return textBad
			}
			v.Store(n)
		}
		s.turned(name, v.Load())
		return textOK
	}
}

func (s *Server) boolean(name string, v *atomic.Bool) func([]string) string {
	return func(args []string) string {
		if len(args) == 0 {
			return strconv.FormatBool(v.Load())
		}
		on := strings.ToLower(args[0])
		if len(args) > 1 || on != "true" && on != "false" {
			return textBad
		}
		v.Store(on == "true")
		s.turned(name, on)
		return textOK
	}
}

func (s *Server) turnBlackList(args []string) string {
	const bad = "invalid arguments"
	switch {
	case len(args) == 0:
		return "get ok: " + joinAddresses(*s.knobs.blackList.Load())
	case len(args) > 1:
		return bad
	case args[0] == "clear":
		s.knobs.blackList.Store(&[]idl.RPCAddress{})
		s.turned("assign_secondary_black_list", "")
		return "clear ok"
	}
	var list []idl.RPCAddress
	for _, x := range strings.Split(args[0], ",") {
		a, err := idl.ParseAddress(strings.TrimSpace(x))
		if err != nil {
			return bad
		}
		list = append(list, a)
	}
	s.knobs.blackList.Store(&list)
	s.turned("assign_secondary_black_list", args[0])
	return "set ok"
}

func joinAddresses(list []idl.RPCAddress) string {
	names := make([]string, len(list))
	for i, a := range list {
		names[i] = a.String()
	}
	return strings.Join(names, ",")
}

func (s *Server) showAllowList([]string) string {
	if s.o.AllowList == nil {
		return "get ok: allow list disabled."
	}
	return "get ok: allow list enabled. list: " + joinAddresses(s.o.AllowList)
}

func (s *Server) showOperations(args []string) string {
	c := s.snap.Load().ops
	if len(args) > 1 {
		return textBad
	}
	what := "total"
	if len(args) == 1 {
		what = args[0]
	}
	switch what {
	case "total":
		return fmt.Sprintf("total=%d", c.total())
	case "move_pri":
		return fmt.Sprintf("move_pri=%d", c.movePri)
	case "copy_pri":
		return fmt.Sprintf("copy_pri=%d", c.copyPri)
	case "copy_sec":
		return fmt.Sprintf("copy_sec=%d", c.copySec)
	case "detail":
		return c.String()
	}
	return textBad
}

// dump writes the metadata tree to a new file on this host, one JSON object a line. A relative
// name is one in the meta server's own directory: whoever asks from afar does not know where the
// process was started.
func (s *Server) dump(args []string) string {
	if len(args) == 2 && args[0] == "-t" { // the form of old scripts
		args = args[1:]
	}
	if len(args) != 1 || args[0] == "" {
		return string(idl.ErrInvalidParameters)
	}
	file := args[0]
	if !filepath.IsAbs(file) {
		// One name without a directory: what lies below is the store's.
		if !filepath.IsLocal(file) || filepath.Base(file) != file {
			return string(idl.ErrInvalidParameters) + " want an absolute path, or a name without a directory for a file in " + s.o.Dir
		}
		file = s.o.FS.PathJoin(s.o.Dir, file)
	}
	ctx, cancel := context.WithTimeout(s.ctx, dumpTimeout)
	defer cancel()
	if err := s.dumpTo(ctx, file); err != nil {
		s.log.Error("the metadata cannot be dumped", "file", file, "err", err)
		return fmt.Sprintf("%s %v", idl.ErrFileOperationFailed, err)
	}
	s.log.Info("the metadata is dumped", "file", file)
	return string(idl.ErrOK) + " " + file
}

func (s *Server) dumpTo(ctx context.Context, file string) (err error) {
	if _, err := s.o.FS.Stat(file); err == nil {
		return fmt.Errorf("%s exists already and is not overwritten: choose another name", file)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := s.o.FS.Create(file, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			s.o.FS.Remove(file) // half a dump is none
		}
	}()
	if err := s.dumpNode(ctx, json.NewEncoder(f), store.AppsPath); err != nil {
		return err
	}
	return f.Sync()
}

func (s *Server) dumpNode(ctx context.Context, e *json.Encoder, at string) error {
	n, err := s.store.Get(ctx, at)
	if err != nil {
		return err
	}
	line := struct {
		Path    string `json:"path"`
		Version int64  `json:"version"`
		Data    string `json:"data"`
	}{at, n.Version, string(n.Data)}
	if err := e.Encode(line); err != nil {
		return err
	}
	children, err := s.store.Children(ctx, at)
	if err != nil {
		return err
	}
	slices.SortFunc(children, func(a, b string) int { // 2 before 10
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	for _, c := range children {
		if err := s.dumpNode(ctx, e, path.Join(at, c)); err != nil {
			return err
		}
	}
	return nil
}
