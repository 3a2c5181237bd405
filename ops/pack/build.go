// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Module is the Go module whose tree holds the bundled server.
const Module = "github.com/pegasus-ops/pegasus-ops"

// BuildOptions say what to make a package of.
type BuildOptions struct {
	Out     string // folder for the package; created
	Program string // a built pegasus_server; "" builds one from Source
	Source  string // the source tree; "" is the one around the working directory
	Config  string // text of bin/config.ini
	Debug   bool   // keep debug information, build type debug
	Folder  bool   // leave the unpacked folder beside the .tar.gz
}

// Build makes the package of the bundled server and inspects it.
func Build(ctx context.Context, o BuildOptions) (Info, error) {
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return Info{}, fmt.Errorf("pack: %w", err)
	}
	work, err := os.MkdirTemp(o.Out, ".pack-*")
	if err != nil {
		return Info{}, fmt.Errorf("pack into %s: %w", o.Out, err)
	}
	defer os.RemoveAll(work)
	program := o.Program
	if program == "" {
		program = filepath.Join(work, "pegasus_server")
		if err := compile(ctx, o, program); err != nil {
			return Info{}, err
		}
	}
	name, err := ask(ctx, program)
	if err != nil {
		return Info{}, err
	}
	dir := filepath.Join(work, name.String())
	if err := fill(dir, program, name, o.Config); err != nil {
		return Info{}, fmt.Errorf("pack: %w", err)
	}
	file := filepath.Join(o.Out, name.String()+Suffix)
	if err := Write(dir, file); err != nil {
		return Info{}, err
	}
	if o.Folder {
		if err := replaceFolder(dir, filepath.Join(o.Out, name.String())); err != nil {
			return Info{}, err
		}
	}
	return Inspect(file)
}

func fill(dir, program string, name Name, config string) error {
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	about := fmt.Sprintf("version: %s\ngit: %s\nplatform: %s\nbuild: %s\n", name.Version, name.GitSHA, name.Platform, name.BuildType)
	return errors.Join(
		os.WriteFile(filepath.Join(bin, "pegasus_server"), content, 0o755),
		os.WriteFile(filepath.Join(bin, "config.ini"), []byte(config), 0o644),
		os.WriteFile(filepath.Join(dir, "VERSION"), []byte(about), 0o644),
	)
}

// replaceFolder moves dir to target, removing an earlier package there and
// nothing else.
func replaceFolder(dir, target string) error {
	if _, err := os.Lstat(target); err == nil {
		if _, err := os.Stat(filepath.Join(target, Server)); err != nil {
			return fmt.Errorf("pack: %s exists and is no server package; move it away or choose another --out", target)
		}
		if err := os.RemoveAll(target); err != nil {
			return fmt.Errorf("pack: remove the package packed before: %w", err)
		}
	}
	if err := os.Rename(dir, target); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	return nil
}

// compile builds the server statically, without paths of this machine in it.
func compile(ctx context.Context, o BuildOptions, program string) error {
	source := o.Source
	if source == "" {
		var err error
		if source, err = FindSource("."); err != nil {
			return err
		}
	}
	version, sha := stamp(ctx, source)
	buildType, flags := "release", "-s -w "
	if o.Debug {
		buildType, flags = "debug", ""
	}
	flags += fmt.Sprintf("-X main.version=%s -X main.gitSHA=%s -X main.buildType=%s", version, sha, buildType)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", program, "./cmd/pegasus_server")
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return errors.New("build the server: there is no go command; install Go, or name a built package with --package")
		}
		return fmt.Errorf("build the server in %s: %w\n%s", source, err, bytes.TrimSpace(out))
	}
	return nil
}

// stamp is the version and the commit the tree stands at.
func stamp(ctx context.Context, source string) (version, sha string) {
	version, sha = "0.0.0", "0000000"
	if b, err := os.ReadFile(filepath.Join(source, "VERSION")); err == nil {
		version = strings.TrimSpace(string(b))
	}
	cmd := exec.CommandContext(ctx, "git", "rev-parse", "--short=7", "HEAD")
	cmd.Dir = source
	if out, err := cmd.Output(); err == nil {
		sha = strings.TrimSpace(string(out))
	}
	return version, sha
}

// FindSource is the folder at or above dir that holds the source tree.
func FindSource(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the source tree: %w", err)
	}
	for d := abs; ; d = filepath.Dir(d) {
		text, err := os.ReadFile(filepath.Join(d, "go.mod"))
		if err == nil && bytes.HasPrefix(text, []byte("module "+Module+"\n")) {
			return d, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find the source tree: %w", err)
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("%s is not inside the source tree of pegasus-ops; name a package with --package, or build in the tree", abs)
		}
	}
}

var versionLine = regexp.MustCompile(`(?i)^pegasus server (\S+) \(([^)]*)\) (\S+)`)

// ask runs the program with --version and makes the package's name of its
// answer, so that name and content cannot disagree.
func ask(ctx context.Context, program string) (Name, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return Name{}, fmt.Errorf("pack: %w", err)
	}
	out, err := exec.CommandContext(ctx, program, "--version").CombinedOutput()
	if err != nil {
		return Name{}, fmt.Errorf("pack: ask %s for its version: %w\n%s", program, err, bytes.TrimSpace(out))
	}
	m := versionLine.FindSubmatch(bytes.TrimSpace(out))
	if m == nil {
		return Name{}, fmt.Errorf("pack: %s answered --version with %q, which is not `Pegasus server VERSION (SHA) TYPE`", program, bytes.TrimSpace(out))
	}
	sha := string(m[2])
	if len(sha) > 7 {
		sha = sha[:7]
	}
	return Name{Version: string(m[1]), GitSHA: sha, Platform: Platform(), BuildType: strings.ToLower(string(m[3]))}, nil
}
