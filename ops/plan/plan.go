// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/pack"
)

// Kind says what a step does; package step has one file for each group of them.
type Kind string

// The kinds of steps.
const (
	MakeDir       Kind = "make_dir"       // Path, with our marker
	PushPackage   Kind = "push_package"   // Package to Host
	CheckConfig   Kind = "check_config"   // Config of Instance, by the program of Package
	WriteConfig   Kind = "write_config"   // of Instance
	SwitchPackage Kind = "switch_package" // current of Instance to Package
	DropPackage   Kind = "drop_package"   // Package from Host
	StartServer   Kind = "start"          // Instance; done when it listens
	StopServer    Kind = "stop"           // Instance; done when it is gone
	WaitNodes     Kind = "wait_nodes"     // all replica servers alive for the meta leader
	CreateTable   Kind = "create_table"   // Table, if it is missing
	WaitHealthy   Kind = "wait_healthy"   // every partition has all its replicas
	RemoveDir     Kind = "remove_dir"     // Path, if it carries our marker
	ReleaseDir    Kind = "release_dir"    // marker of Path, unless something of ours is left below, and Path if empty
	RemoveEmpty   Kind = "remove_empty"   // Paths, if nothing is in them
)

// Step is one thing to do. Which fields are set depends on its kind.
type Step struct {
	Kind     Kind     `json:"step"`
	Host     string   `json:"host,omitempty"`
	Instance string   `json:"instance,omitempty"`
	Path     string   `json:"path,omitempty"`
	Paths    []string `json:"paths,omitempty"`
	Keep     []string `json:"keep,omitempty"`    // names in Path that stay
	Package  string   `json:"package,omitempty"` // SHA-256
	Label    string   `json:"package_name,omitempty"`
	Table    *Table   `json:"table,omitempty"`
	Reason   string   `json:"reason"`

	On      *inventory.Instance `json:"-"`
	Config  string              `json:"-"` // text for CheckConfig and WriteConfig
	Archive *pack.Info          `json:"-"` // for PushPackage
}

// Table is a table to create.
type Table struct {
	Name       string `json:"name"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"`
}

// String is the step as a line of a plan, without its reason.
func (s Step) String() string {
	where := s.Instance
	if where == "" {
		where = s.Host
	}
	switch s.Kind {
	case MakeDir, RemoveDir, ReleaseDir:
		what := fmt.Sprintf("%s %s on %s", verb[s.Kind], s.Path, s.Host)
		if len(s.Keep) > 0 {
			what += ", but keep " + strings.Join(s.Keep, ", ")
		}
		return what
	case RemoveEmpty:
		return fmt.Sprintf("%s %s on %s", verb[s.Kind], strings.Join(s.Paths, " "), s.Host)
	case PushPackage, SwitchPackage, DropPackage:
		return fmt.Sprintf("%s %s on %s", verb[s.Kind], s.Label, where)
	case CreateTable:
		return fmt.Sprintf("create table %s with %d partitions of %d replicas, unless it is there", s.Table.Name, s.Table.Partitions, s.Table.Replicas)
	case WaitNodes, WaitHealthy:
		return verb[s.Kind]
	}
	return fmt.Sprintf("%s %s", verb[s.Kind], where)
}

var verb = map[Kind]string{
	MakeDir: "make", PushPackage: "install", CheckConfig: "check config.ini of", WriteConfig: "write config.ini of", SwitchPackage: "switch to",
	DropPackage: "remove package", StartServer: "start", StopServer: "stop",
	WaitNodes: "wait until all replica servers are alive", WaitHealthy: "wait until all tables are healthy",
	RemoveDir: "remove", ReleaseDir: "give up", RemoveEmpty: "remove if empty",
}

// Lane is steps that run one after the other.
type Lane []Step

// Stage is lanes that run side by side. A stage begins when the one before it is done.
type Stage struct {
	Title string `json:"title"`
	Lanes []Lane `json:"lanes"`
}

// Plan is everything to do, in order.
type Plan struct {
	Cluster  string   `json:"cluster"`
	Command  string   `json:"command"`
	Stages   []Stage  `json:"stages"`
	Warnings []string `json:"warnings"`
}

// Steps counts the steps.
func (p *Plan) Steps() int {
	n := 0
	for _, s := range p.Stages {
		for _, l := range s.Lanes {
			n += len(l)
		}
	}
	return n
}

// Changes says whether the plan does more than look and wait.
func (p *Plan) Changes() bool {
	for _, s := range p.Stages {
		for _, l := range s.Lanes {
			for _, step := range l {
				switch step.Kind {
				case WaitNodes, WaitHealthy, CheckConfig:
				default:
					return true
				}
			}
		}
	}
	return false
}

// add appends a stage unless it is empty.
func (p *Plan) add(title string, lanes ...Lane) {
	var full []Lane
	for _, l := range lanes {
		if len(l) > 0 {
			full = append(full, l)
		}
	}
	if len(full) > 0 {
		p.Stages = append(p.Stages, Stage{title, full})
	}
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// Refusal is the error of a plan that must not be made: following it would harm,
// or could not work. Nothing was changed.
type Refusal struct {
	Reasons []string
}

func (r *Refusal) Error() string { return strings.Join(r.Reasons, "\n") }

func (r *Refusal) add(format string, args ...any) {
	r.Reasons = append(r.Reasons, fmt.Sprintf(format, args...))
}

func (r *Refusal) err() error {
	if len(r.Reasons) == 0 {
		return nil
	}
	return r
}

func newPlan(c *inventory.Cluster, command string) *Plan {
	return &Plan{Cluster: c.Name, Command: command, Stages: []Stage{}, Warnings: []string{}}
}

func on(k Kind, i *inventory.Instance, reason string) Step {
	return Step{Kind: k, Host: i.Host.Name, Instance: i.ID(), On: i, Reason: reason}
}
