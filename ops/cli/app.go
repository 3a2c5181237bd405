// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/cluster"
	"github.com/pegasus-ops/pegasus-ops/ops/run"
	"github.com/pegasus-ops/pegasus-ops/ops/step"
	"github.com/pegasus-ops/pegasus-ops/ops/ui"
)

// Build says what this program was built from.
type Build struct {
	Version, GitSHA, Type string
}

// Cluster is a connection to a running cluster.
type Cluster interface {
	step.Admin
	// ServerInfo asks one server about itself.
	ServerInfo(ctx context.Context, address string) (cluster.Server, error)
	Close()
}

// App is one invocation: where it reads and writes, and how it reaches hosts
// and clusters. Tests replace the latter.
type App struct {
	Build       Build
	In          io.Reader
	Out, Err    io.Writer
	OpenCluster func(ctx context.Context, metas []string) (Cluster, error)
	Times       step.Times

	global globals
	ui     *ui.UI
	home   run.Home
	// advice is what to print behind the problems of an invalid inventory.
	advice []string
	hosts  connections
}

// globals are the flags every command has.
type globals struct {
	cluster    string
	inventory  string
	yes        bool
	dryRun     bool
	output     string
	parallel   int
	timeout    time.Duration
	noProgress bool
	verbose    bool
	color      string
	secrets    secrets
}

// AddFlags declares the global flags.
func (g *globals) AddFlags(f *pflag.FlagSet) {
	f.StringVarP(&g.cluster, "cluster", "c", os.Getenv("PEGASUS_OPS_CLUSTER"), "a recorded cluster; default $PEGASUS_OPS_CLUSTER, or the only one recorded")
	f.StringVarP(&g.inventory, "inventory", "i", "", "work from this inventory file instead of a recorded cluster")
	f.BoolVarP(&g.yes, "yes", "y", false, "ask no questions")
	f.BoolVarP(&g.dryRun, "dry-run", "n", false, "print the plan and change nothing")
	f.StringVarP(&g.output, "output", "o", "text", "text or json; json prints exactly one document on stdout")
	f.IntVarP(&g.parallel, "parallel", "j", 32, "hosts or servers at work at once")
	f.DurationVar(&g.timeout, "timeout", 0, "give up after this long; default: every wait has its own limit")
	f.BoolVar(&g.noProgress, "no-progress", false, "no progress bar; also when stderr is no terminal")
	f.BoolVarP(&g.verbose, "verbose", "v", false, "tell more on stderr")
	g.secrets.AddFlags(f)
	f.StringVar(&g.color, "color", "auto", "auto, always or never; NO_COLOR means never")
}

// NewApp is an invocation in the real world.
func NewApp(b Build) *App {
	return &App{Build: b.complete(), In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		OpenCluster: openCluster, Times: step.DefaultTimes()}
}

// Main runs a command line and returns the exit status of the process.
func Main(b Build, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	return NewApp(b).Main(ctx, args)
}

// Main runs a command line and returns its exit status.
func (a *App) Main(ctx context.Context, args []string) int {
	root := a.Root()
	root.SetArgs(args)
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	var cancel context.CancelFunc
	prepare := root.PersistentPreRunE
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		if err := prepare(cmd, args); err != nil {
			return err
		}
		if a.global.timeout > 0 {
			ctx, cancel = context.WithTimeoutCause(cmd.Context(), a.global.timeout, fmt.Errorf("--timeout %s has passed", a.global.timeout))
			cmd.SetContext(ctx)
		}
		return nil
	}
	err := root.ExecuteContext(ctx)
	if cancel != nil {
		cancel()
	}
	a.hosts.close()
	return a.report(err)
}

// Root is the tree of all commands.
func (a *App) Root() *cobra.Command {
	root := &cobra.Command{
		Use:   "pegasus-ops",
		Short: "Run Pegasus clusters: deploy, look, change, clean",
		Long: `pegasus-ops takes an inventory, one YAML file, and runs the life of the Pegasus
cluster it describes. "pegasus-ops init" writes a first inventory.

deploy records the cluster under its name, so that later commands need no
file: -c NAME picks one of several, -i FILE works straight from a file.

` + exitHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.prepare()
		},
	}
	a.global = globals{}
	a.global.AddFlags(root.PersistentFlags())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w; see `%s --help`", err, cmd.CommandPath())
	})
	root.AddGroup(&cobra.Group{ID: "begin", Title: "Describing a cluster:"}, &cobra.Group{ID: "run", Title: "Running it:"},
		&cobra.Group{ID: "look", Title: "Looking at it:"}, &cobra.Group{ID: "own", Title: "pegasus-ops itself:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("begin", a.newInit(), a.newValidate(), a.newRender(), a.newPack())
	add("run", a.newDeploy(), a.newStart(), a.newStop(), a.newRestart(), a.newClean())
	add("look", a.newStatus(), a.newShell(), a.newClusters(), a.newForget())
	add("own", a.newVersion())
	root.AddCommand(a.newDocs())
	root.SetHelpCommandGroupID("own")
	root.SetCompletionCommandGroupID("own")
	_ = root.RegisterFlagCompletionFunc("cluster", a.completeCluster)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	_ = root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
	for _, c := range root.Commands() {
		strictArgs(c)
	}
	return root
}

// strictArgs makes a wrong number of arguments a usage error with a hint.
func strictArgs(c *cobra.Command) {
	check := c.Args
	if check == nil {
		return
	}
	c.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage("%w; see `%s --help`", err, cmd.CommandPath())
		}
		return nil
	}
}

// prepare checks the global flags and sets up terminal and state directory.
func (a *App) prepare() error {
	g := &a.global
	a.ui = ui.New(ui.Options{In: a.In, Out: a.Out, Err: a.Err, JSON: g.output == "json", Color: g.color, NoProgress: g.noProgress, Verbose: g.verbose})
	var err error
	if a.home, err = run.FindHome(); err != nil {
		return usage("%w", err)
	}
	switch {
	case g.output != "text" && g.output != "json":
		return usage("--output %q is neither text nor json", g.output)
	case g.color != "auto" && g.color != "always" && g.color != "never":
		return usage("--color %q is none of auto, always, never", g.color)
	case g.parallel < 1:
		return usage("--parallel %d is less than 1", g.parallel)
	case g.secrets.problem() != "":
		return usage("%s", g.secrets.problem())
	case g.timeout < 0:
		return usage("--timeout %s is negative", g.timeout)
	}
	return nil
}

// load finds the cluster a command works on: the file given as an argument or
// with -i, else the recorded one.
func (a *App) load(file string) (*inventory.Cluster, error) {
	if file == "" {
		file = a.global.inventory
	} else if a.global.inventory != "" {
		return nil, usage("the inventory is given twice: as %s and with -i %s", file, a.global.inventory)
	}
	if file != "" {
		c, warnings, err := inventory.Load(file)
		if err != nil {
			return nil, err
		}
		// The environment's default binds less than a file that is named.
		if want := a.global.cluster; want != "" && want != c.Name && want != os.Getenv("PEGASUS_OPS_CLUSTER") {
			return nil, usage("%s describes cluster %s, not %s", file, c.Name, want)
		}
		for _, w := range warnings {
			a.ui.Warn("%s", inventory.At(file, w))
		}
		return c, nil
	}
	name := a.global.cluster
	if name == "" {
		records, err := a.home.Clusters()
		if err != nil {
			return nil, err
		}
		switch len(records) {
		case 0:
			return nil, usage("no cluster is recorded; name an inventory with -i FILE, or deploy one first: `pegasus-ops deploy FILE`")
		case 1:
			name = records[0].Name
		default:
			names := make([]string, len(records))
			for i, r := range records {
				names[i] = r.Name
			}
			return nil, usage("several clusters are recorded, pick one with -c: %s", strings.Join(names, ", "))
		}
	}
	c, err := a.home.Load(name)
	if errors.Is(err, run.ErrUnknownCluster) {
		return nil, usage("%w; `pegasus-ops clusters` lists the recorded ones, -i FILE works without a record", err)
	}
	return c, err
}

func (a *App) completeCluster(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	if a.prepare() != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	records, err := a.home.Clusters()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, len(records))
	for i, r := range records {
		names[i] = r.Name
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (b Build) complete() Build {
	if b.Version == "" {
		b.Version = "0.0.0"
	}
	if b.GitSHA == "" {
		b.GitSHA = "unknown"
	}
	if b.Type == "" {
		b.Type = "debug"
	}
	return b
}

func (b Build) String() string {
	return fmt.Sprintf("pegasus-ops %s (%s) %s, %s %s/%s", b.Version, b.GitSHA, b.Type, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
