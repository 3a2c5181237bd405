// SPDX-License-Identifier: Apache-2.0

// Package layout checks what docs/architecture.md promises about the source tree: which rooms
// import which, and that every file says under which licence it is.
package layout

import (
	"bufio"
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/pegasus-ops/pegasus-ops/"

const top = "../.."

// rules: a room (and what is below it) may import of this module only what one of its prefixes
// names. The first rule that fits a room counts; rooms without a rule may import anything.
var rules = []struct {
	room string
	may  []string
}{
	{"server/idl", []string{"server/idl"}},
	{"server/pacifica", []string{"server/idl"}},
	{"server/meta/guardian", []string{"server/idl"}},
	{"server/plog", nil},
	{"server/config", []string{"server/config"}},
	{"server/command", []string{"server/idl", "server/wire"}},
	{"server/wire", []string{"server/idl", "server/wire"}},
	{"server/engine", []string{"server/idl"}},
	{"server/client", []string{"server/idl", "server/wire", "server/client"}},
	{"server", []string{"server"}},
	{"inventory", []string{"inventory"}},
	{"templates", []string{"templates", "inventory"}},
	{"playbooks", []string{"playbooks"}},
	{"ops", []string{"ops", "inventory", "templates", "playbooks", "server/client", "server/idl", "server/wire"}},
	{"cmd/pegasus_server", []string{"server"}},
	{"cmd/pegasus-ops", []string{"ops"}},
}

func below(path, room string) bool { return path == room || strings.HasPrefix(path, room+"/") }

// goFiles calls f for every Go file of the module with its path below the top.
func goFiles(t *testing.T, f func(path string)) {
	t.Helper()
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != top {
			return fs.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(path, ".go") {
			rel, err := filepath.Rel(top, path)
			if err != nil {
				return err
			}
			f(filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImportsRunDownwards(t *testing.T) {
	goFiles(t, func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			return // a test may look anywhere
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(top, path), nil, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			return
		}
		for _, rule := range rules {
			if !below(dir, rule.room) {
				continue
			}
			for _, imp := range file.Imports {
				room, ours := strings.CutPrefix(strings.Trim(imp.Path.Value, `"`), module)
				if !ours || below(room, rule.room) {
					continue
				}
				ok := false
				for _, may := range rule.may {
					ok = ok || below(room, may)
				}
				if !ok {
					t.Errorf("%s imports %s, which %s must not", path, room, rule.room)
				}
			}
			return
		}
	})
}

func TestEveryFileNamesItsLicence(t *testing.T) {
	goFiles(t, func(path string) {
		b, err := os.ReadFile(filepath.Join(top, path))
		if err != nil {
			t.Error(err)
			return
		}
		s := bufio.NewScanner(bytes.NewReader(b))
		for line := 0; line < 5 && s.Scan(); line++ {
			if strings.Contains(s.Text(), "SPDX-License-Identifier: Apache-2.0") {
				return
			}
		}
		t.Errorf("%s has no SPDX line", path)
	})
}
