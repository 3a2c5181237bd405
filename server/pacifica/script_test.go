// SPDX-License-Identifier: Apache-2.0

package pacifica

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

var update = flag.Bool("update", false, "rewrite the conversations in testdata")

// TestConversations runs the scripts in testdata. A line that starts with "> " is a command; the
// lines after it are what the nodes say and do. Commands:
//
//	group PRIMARY SECONDARIES        new nodes with a lease, one empty mutation committed
//	new NODES [ballot=B] [committed=C] [log=DECREE@BALLOT,...]   processes start
//	lease NODES                      their lease is valid for 30 s from now
//	lose-lease NODES
//	config NODES: B PRIMARY | SECONDARIES    the meta server answers a config sync
//	push NODES: B PRIMARY | SECONDARIES      it sends the configuration unasked
//	proposal NODE TYPE ABOUT: B PRIMARY | SECONDARIES
//	reply NODE ERR [B PRIMARY | SECONDARIES]  answer to the node's last change (none = it was stored)
//	propose NODE PAYLOADS
//	deliver [FROM->TO]               all messages under way, or those of one link, until quiet
//	lose [FROM->TO]                  they are lost
//	tick DURATION                    time passes on all nodes, in steps of 100 ms
//	hold-log NODE, write-log NODE    log writes do not end until told
//	learn NODE [checkpoint|log]      one round of learning
//	restart NODE                     the process is killed and starts with its log
//	status NODES
func TestConversations(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no conversations", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			in, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := newTheatre().play(string(in))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(in), got); diff != "" {
				t.Errorf("%s (-want +got; -update rewrites it)\n%s", path, diff)
			}
		})
	}
}

type theatre struct {
	now   time.Time
	out   strings.Builder
	nodes map[string]*actor
	wire  []Message
}

type actor struct {
	name    string
	r       *Replica
	ballot  int64
	log     [][]byte
	applied int64
	hold    bool
	held    uint64
	change  *Change
	asked   time.Time
}

func newTheatre() *theatre { return &theatre{now: epoch, nodes: map[string]*actor{}} }

func (th *theatre) play(script string) string {
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "> "):
			fmt.Fprintln(&th.out, line)
			th.command(line[2:])
		case line == "" || strings.HasPrefix(line, "#"):
			fmt.Fprintln(&th.out, line)
		}
	}
	return th.out.String()
}

func (th *theatre) say(format string, args ...any) { fmt.Fprintf(&th.out, format+"\n", args...) }

func nodeID(name string) NodeID {
	n, _ := strconv.Atoi(strings.TrimPrefix(name, "n"))
	if n == 0 {
		return 0
	}
	return idl.MakeAddress([4]byte{10, 0, 0, byte(n)}, 34801)
}

func nodeName(id NodeID) string {
	if id.IsZero() {
		return "none"
	}
	return "n" + strconv.Itoa(int(id.IP().As4()[3]))
}

func parseConfig(s string) Config {
	members, secondaries, _ := strings.Cut(s, "|")
	f := strings.Fields(members)
	c := Config{}
	c.Ballot, _ = strconv.ParseInt(f[0], 10, 64)
	c.Primary = nodeID(f[1])
	for _, n := range strings.Fields(secondaries) {
		c.Secondaries = append(c.Secondaries, nodeID(n))
	}
	return c
}

func configString(c Config) string {
	s := fmt.Sprintf("%d %s |", c.Ballot, nodeName(c.Primary))
	for _, n := range c.Secondaries {
		s += " " + nodeName(n)
	}
	return s
}

var changeNames = map[ChangeType]string{
	ChangeNone: "none", ChangeAssignPrimary: "assign-primary", ChangeUpgradeToPrimary: "upgrade-to-primary",
	ChangeAddSecondary: "add-secondary", ChangeUpgradeToSecondary: "upgrade-to-secondary",
	ChangeDowngradeToSecond: "downgrade-to-secondary", ChangeDowngradeToInactive: "downgrade-to-inactive",
	ChangeRemove: "remove", ChangeForceUpdateBallot: "force-update-ballot",
}

func (th *theatre) command(line string) {
	head, cfg, _ := strings.Cut(line, ":")
	args := strings.Fields(head)
	verb, args := args[0], args[1:]
	switch verb {
	case "deliver", "lose":
		link := ""
		if len(args) > 0 {
			link = args[0]
		}
		th.transmit(link, verb == "deliver")
		return
	case "tick":
		d, _ := time.ParseDuration(args[0])
		for end := th.now.Add(d); th.now.Before(end); {
			th.now = th.now.Add(min(100*time.Millisecond, end.Sub(th.now)))
			for i := 1; i < 10; i++ {
				if a := th.nodes["n"+strconv.Itoa(i)]; a != nil {
					a.r.Tick(th.now)
					th.drain(a)
				}
			}
		}
		return
	case "new":
		th.start(args)
		return
	case "group":
		th.group(args)
		return
	}
	many := args
	if len(args) > 1 && !strings.HasPrefix(args[1], "n") {
		many = args[:1]
	}
	if verb == "propose" || verb == "proposal" {
		many = args[:1]
	}
	for _, name := range many {
		a := th.nodes[name]
		th.act(a, verb, args[1:], cfg)
		th.drain(a)
	}
}

// group brings a group up behind the curtain.
func (th *theatre) group(names []string) {
	out := th.out.String()
	p := names[0]
	th.play("> new " + strings.Join(names, " ") + "\n> lease " + strings.Join(names, " ") + "\n" +
		"> proposal " + p + " assign-primary " + p + ": 0 none |\n> reply " + p + " ERR_OK\n")
	for _, n := range names[1:] {
		th.play("> proposal " + p + " add-secondary " + n + ": " + configString(th.nodes[p].r.config) + "\n" +
			"> deliver\n> learn " + n + "\n> deliver\n> reply " + p + " ERR_OK\n> deliver\n")
	}
	th.play("> tick 200ms\n> deliver\n")
	th.out.Reset()
	th.out.WriteString(out)
	th.command("status " + strings.Join(names, " "))
}

func (th *theatre) start(args []string) {
	for _, name := range args {
		if !strings.HasPrefix(name, "n") {
			continue
		}
		a := &actor{name: name}
		for _, opt := range args {
			key, value, _ := strings.Cut(opt, "=")
			switch key {
			case "ballot":
				a.ballot, _ = strconv.ParseInt(value, 10, 64)
			case "committed":
				a.applied, _ = strconv.ParseInt(value, 10, 64)
			case "log":
				for _, e := range strings.Split(value, ",") {
					m := &Mutation{Payload: []byte(e)}
					fmt.Sscanf(e, "%d@%d", &m.Decree, &m.Ballot)
					a.log = append(a.log, AppendMutation(nil, m))
				}
			}
		}
		th.nodes[name] = a
		th.boot(a)
	}
}

func (th *theatre) boot(a *actor) {
	p := NewReplay(a.applied)
	for _, b := range a.log {
		ms, err := p.Add(b)
		if err != nil {
			panic(err)
		}
		for _, m := range ms {
			a.applied++
			th.say("%s replays %d@%d %q", a.name, m.Decree, m.Ballot, m.Payload)
		}
	}
	params := DefaultParams()
	params.Self, params.CacheMutations = nodeID(a.name), 5
	a.r = New(params, p.Restored(a.ballot))
	a.hold, a.held, a.change = false, 0, nil
}

func (th *theatre) act(a *actor, verb string, args []string, cfg string) {
	switch verb {
	case "lease":
		a.r.RenewLease(th.now, th.now.Add(30*time.Second))
	case "lose-lease":
		a.r.LoseLease(th.now)
	case "config":
		a.r.Configure(th.now, parseConfig(cfg), th.now)
	case "push":
		a.r.Configure(th.now, parseConfig(cfg), time.Time{})
	case "proposal":
		p := Proposal{Node: nodeID(args[1]), Config: parseConfig(cfg), Signature: 77}
		for t, name := range changeNames {
			if name == args[0] {
				p.Type = t
			}
		}
		if err := a.r.HandleProposal(th.now, p); err != nil {
			th.say("%s refuses: %v", a.name, err)
		}
	case "reply":
		var current *Config
		if cfg != "" {
			c := parseConfig(cfg)
			current = &c
		}
		a.r.ChangeReply(th.now, *a.change, idl.ErrorCode(args[0]), current, a.asked)
	case "propose":
		for _, payload := range args {
			buf := append(make([]byte, HeaderSize), payload...)
			if err := a.r.Propose(th.now, buf, payload); err != nil {
				th.say("%s cannot take %s: %v", a.name, payload, err)
			}
		}
	case "hold-log":
		a.hold = true
	case "write-log":
		a.hold = false
		a.r.LogWritten(th.now, a.held)
	case "learn":
		th.learn(a, args)
	case "restart":
		th.boot(a)
	case "status":
		s := a.r.Status()
		what := s.Role.String()
		if s.Transient {
			what += " (transient)"
		}
		th.say("%s: %s at ballot %d (member %d), committed %d, prepared %d, config %s, reads %v",
			a.name, what, s.Ballot, s.MemberBallot, s.Committed, s.Prepared, configString(s.Config), a.r.CanRead(th.now))
		for _, l := range s.Learners {
			th.say("  learner %s: prepare start %d, acked %d", nodeName(l.Node), l.PrepareStart, l.Acked)
		}
	default:
		th.say("unknown command %s", verb)
	}
}

func (th *theatre) learn(a *actor, args []string) {
	st := a.r.Status()
	p := th.nodes[nodeName(a.r.primary)]
	plan, err := p.r.Learn(th.now, LearnRequest{Node: nodeID(a.name), Signature: st.Signature, Ballot: st.Ballot, Committed: st.Committed})
	if err != nil {
		th.say("%s cannot learn: %v", a.name, err)
		return
	}
	var decrees []string
	var ms []*Mutation
	how := "cache"
	take := func(b []byte) {
		m, _ := DecodeMutation(slices.Clone(b))
		ms = append(ms, m)
		decrees = append(decrees, fmt.Sprintf("%d@%d", m.Decree, m.Ballot))
	}
	switch {
	case plan.Cached:
		for _, m := range plan.Mutations {
			take(m.Encoded)
		}
	case len(args) > 0 && args[0] == "checkpoint":
		th.say("%s installs a checkpoint of decree %d, discard %v", a.name, plan.Committed, plan.Discard)
		a.applied = plan.Committed
		a.r.CheckpointInstalled(th.now, st.Signature, plan.Committed)
		a.log = nil
		return
	default:
		how = "log"
		for _, b := range p.log {
			if m, _ := DecodeMutation(b); m.Decree >= plan.Start && m.Decree <= plan.Committed {
				take(b)
			}
		}
	}
	th.say("%s learns from %s: %s", a.name, how, strings.Join(decrees, " "))
	if err := a.r.Learned(th.now, st.Signature, ms, plan.Cached); err != nil {
		th.say("%s: %v", a.name, err)
	}
	if plan.Cached {
		p.r.LearnerDone(th.now, nodeID(a.name), st.Signature, a.r.Status().Committed, idl.ErrOK)
		th.drain(p)
	}
}

// transmit delivers or loses messages in the order they were sent, and what they cause.
func (th *theatre) transmit(link string, deliver bool) {
	for i := 0; i < len(th.wire); {
		m := th.wire[i]
		if link != "" && link != nodeName(m.From)+"->"+nodeName(m.To) {
			i++
			continue
		}
		th.wire = slices.Delete(th.wire, i, i+1)
		to := th.nodes[nodeName(m.To)]
		if to == nil || !deliver {
			th.say("lost: %s", describe(m))
			continue
		}
		th.say("%s", describe(m))
		for i, mut := range m.Mutations {
			m.Mutations[i], _ = DecodeMutation(slices.Clone(mut.Encoded))
		}
		to.r.Step(th.now, m)
		th.drain(to)
	}
}

func describe(m Message) string {
	s := fmt.Sprintf("%s -> %s %v@%d", nodeName(m.From), nodeName(m.To), m.Type, m.Ballot)
	switch m.Type {
	case MsgPrepare:
		for _, mut := range m.Mutations {
			s += fmt.Sprintf(" %d@%d", mut.Decree, mut.Ballot)
		}
		s += fmt.Sprintf(" (%v, committed %d)", m.Role, m.Committed)
	case MsgGroupCheck, MsgAddLearner:
		s += fmt.Sprintf(" (%v, committed %d, config %s)", m.Role, m.Committed, configString(m.Config))
	default:
		s += fmt.Sprintf(" %s prepared %d, logged %d", m.Err, m.Prepared, m.Decree)
		if m.LearnDone {
			s += ", learned"
		}
	}
	return s
}

func (th *theatre) drain(a *actor) {
	for a.r.HasReady() {
		rd := a.r.Ready()
		if rd.Ballot != 0 {
			th.say("%s stores ballot %d", a.name, rd.Ballot)
			a.ballot = rd.Ballot
		}
		for _, m := range rd.Messages {
			m.Mutations = slices.Clone(m.Mutations)
			th.wire = append(th.wire, m)
		}
		for _, m := range rd.Append {
			a.log = append(a.log, slices.Clone(m.Encoded))
			th.say("%s logs %d@%d %q", a.name, m.Decree, m.Ballot, m.Payload)
		}
		for _, m := range rd.Apply {
			a.applied++
			s := ""
			if m.Tag != nil {
				s = ", answers its client"
			}
			th.say("%s commits %d@%d %q%s", a.name, m.Decree, m.Ballot, m.Payload, s)
		}
		for _, f := range rd.Failed {
			th.say("%s answers %v for %q", a.name, f.Err, f.Tag)
		}
		for _, c := range rd.Changes {
			a.change, a.asked = &c, th.now
			th.say("%s asks the meta server: %s %s, config %s", a.name, changeNames[c.Type], nodeName(c.Node), configString(c.Config))
		}
		for _, e := range rd.Events {
			switch e.Type {
			case EventRole:
				s := a.r.Status()
				th.say("%s is %v at ballot %d", a.name, s.Role, s.Ballot)
			case EventLearnStart:
				th.say("%s begins to learn from %s", a.name, nodeName(e.Node))
			case EventLearnStop:
				th.say("%s ends learning", a.name)
			case EventNeedConfig:
				th.say("%s needs the configuration: %s", a.name, e.Reason)
			case EventRemoved:
				th.say("%s is removed", a.name)
			case EventPeerFailed:
				th.say("%s gives up %s: %s", a.name, nodeName(e.Node), e.Reason)
			}
		}
		if rd.Seq != 0 {
			a.held = rd.Seq
			if !a.hold {
				a.r.LogWritten(th.now, rd.Seq)
			}
		}
	}
}
