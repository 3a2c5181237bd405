// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"context"
	"strings"
	"time"

	"github.com/chzyer/readline"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

const (
	historyLines  = 2000
	completeWait  = 500 * time.Millisecond // for the meta server, while the user waits for Tab
	completeFresh = 5 * time.Second        // how long table names are remembered
)

// terminal reads lines with editing, history and completion.
type terminal struct{ r *readline.Instance }

func newTerminal(s *shell) (*terminal, error) {
	r, err := readline.NewEx(&readline.Config{
		HistoryFile: s.o.HistoryFile, HistoryLimit: historyLines, HistorySearchFold: true,
		AutoComplete:    &completer{tables: s.tableNames},
		InterruptPrompt: "^C", EOFPrompt: "exit",
	})
	if err != nil {
		return nil, err
	}
	return &terminal{r}, nil
}

func (t *terminal) next(prompt string) (string, error) {
	t.r.SetPrompt(prompt)
	for {
		line, err := t.r.Readline()
		if err == readline.ErrInterrupt { // Ctrl-C drops the line
			continue
		}
		return line, err // io.EOF for Ctrl-D
	}
}

func (t *terminal) close() { t.r.Close() }

// completer completes commands, their options and the names of tables.
type completer struct {
	tables func() []string
	cached []string
	asked  time.Time
}

// Do implements readline.AutoCompleter: it returns what may follow and how much of it is there.
func (c *completer) Do(line []rune, pos int) ([][]rune, int) {
	before := string(line[:pos])
	start := strings.LastIndexAny(before, " \t") + 1
	word := before[start:]
	var endings [][]rune
	for _, candidate := range c.candidates(strings.Fields(before[:start])) {
		if rest, ok := strings.CutPrefix(candidate, word); ok {
			endings = append(endings, []rune(rest+" "))
		}
	}
	return endings, len([]rune(word))
}

// candidates are the words that make sense after the given ones.
func (c *completer) candidates(words []string) []string {
	var all []string
	if len(words) == 0 {
		for i := range commands {
			all = append(all, commands[i].name)
		}
		return all
	}
	cmd := findCommand(words[0])
	if cmd == nil {
		return nil
	}
	for _, o := range options(cmd.usage) {
		if o.name != "" {
			all = append(all, "--"+o.name)
		}
	}
	if len(words) == 1 && strings.Contains(strings.SplitN(cmd.usage, " ", 2)[0], "app_name") {
		if time.Since(c.asked) > completeFresh {
			c.cached, c.asked = c.tables(), time.Now()
		}
		all = append(all, c.cached...)
	}
	if words[0] == "set_meta_level" {
		all = append(all, levels...)
	}
	return all
}

func (s *shell) tableNames() []string {
	ctx, cancel := context.WithTimeout(context.Background(), completeWait)
	defer cancel()
	apps, err := s.c.ListTables(ctx, idl.AsAvailable)
	if err != nil {
		return nil // completion has no way to complain
	}
	var names []string
	for _, a := range apps {
		names = append(names, a.AppName)
	}
	return names
}
