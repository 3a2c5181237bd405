// SPDX-License-Identifier: Apache-2.0

// Package ui is the terminal, and the only package that writes to it.
//
// Results go to stdout: text ([UI.Print], [UI.Table]) or, with -o json, exactly
// one document ([UI.JSON]). Everything that is told on the way - progress, warnings,
// questions - goes to stderr ([UI.Info], [UI.Warn], [UI.Confirm], [Progress]), so
// that a pipe sees results only. Colours and moving bars appear only where there
// is a terminal to show them.
package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// Options say where the terminal is and how to use it.
type Options struct {
	In         io.Reader
	Out, Err   io.Writer
	JSON       bool   // -o json
	Color      string // auto, always or never
	NoProgress bool
	Verbose    bool
}

// UI is the terminal. It is safe for concurrent use.
type UI struct {
	o        Options
	outColor bool
	errColor bool

	mu   sync.Mutex // guards Err: lines and the bar take turns
	bar  *Progress  // drawn at the moment, nil if none
	said bool       // a JSON document was printed
}

// New is the terminal behind the given streams.
func New(o Options) *UI {
	return &UI{o: o, outColor: colored(o.Color, o.Out), errColor: colored(o.Color, o.Err)}
}

func colored(choice string, w io.Writer) bool {
	switch choice {
	case "always":
		return true
	case "never":
		return false
	}
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && IsTerminal(w)
}

// IsTerminal says whether a stream is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// WantsJSON says whether results are one JSON document.
func (u *UI) WantsJSON() bool { return u.o.JSON }

// PrintedJSON says whether that document was printed already.
func (u *UI) PrintedJSON() bool { return u.said }

// Print writes a line of the result.
func (u *UI) Print(format string, args ...any) {
	fmt.Fprintf(u.o.Out, format+"\n", args...)
}

// Raw writes text of the result as it is.
func (u *UI) Raw(text string) { _, _ = io.WriteString(u.o.Out, text) }

// JSON writes the result as a document.
func (u *UI) JSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	u.said = true
	if _, err := u.o.Out.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// Info tells what goes on.
func (u *UI) Info(format string, args ...any) { u.tell(fmt.Sprintf(format, args...)) }

// Detail tells what only matters when something is looked into (-v).
func (u *UI) Detail(format string, args ...any) {
	if u.o.Verbose {
		u.tell(u.paintErr(Faint, fmt.Sprintf(format, args...)))
	}
}

// Warn tells what the operator should look at; the command goes on.
func (u *UI) Warn(format string, args ...any) {
	u.tell(u.paintErr(Yellow, "warning: ") + fmt.Sprintf(format, args...))
}

// Error tells why the command failed.
func (u *UI) Error(format string, args ...any) {
	u.tell(u.paintErr(Red, "error: ") + fmt.Sprintf(format, args...))
}

// tell writes a line to stderr, above the bar if one is drawn.
func (u *UI) tell(line string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.bar != nil {
		u.bar.clear()
	}
	fmt.Fprintln(u.o.Err, line)
	if u.bar != nil {
		u.bar.draw()
	}
}

// Color is a colour of text.
type Color string

// The colours, by what they are used for: good, look here, bad, less important.
const (
	Green  Color = "\x1b[32m"
	Yellow Color = "\x1b[33m"
	Red    Color = "\x1b[31m"
	Faint  Color = "\x1b[2m"
	Bold   Color = "\x1b[1m"
)

const plain = "\x1b[0m"

// Paint colours a part of the result, if stdout shows colours.
func (u *UI) Paint(c Color, text string) string {
	if !u.outColor || text == "" {
		return text
	}
	return string(c) + text + plain
}

func (u *UI) paintErr(c Color, text string) string {
	if !u.errColor {
		return text
	}
	return string(c) + text + plain
}

// NeedYesError says that a question could not be asked.
type NeedYesError struct{ Question string }

func (e *NeedYesError) Error() string {
	return fmt.Sprintf("%s There is no terminal to ask on; give --yes to go ahead", e.Question)
}

// Confirm asks a question whose answer must be the given word. It is a
// [*NeedYesError] if nobody can be asked.
func (u *UI) Confirm(question, word string) (bool, error) {
	if !IsTerminal(u.o.In) || !IsTerminal(u.o.Err) {
		return false, &NeedYesError{question}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	fmt.Fprintf(u.o.Err, "%s Type %s to go ahead: ", question, u.paintErr(Bold, word))
	answer, err := readLine(u.o.In)
	if err != nil {
		return false, nil // end of input is no
	}
	return strings.TrimSpace(answer) == word, nil
}

// readLine reads up to a line end and not a byte further: what follows is not ours.
func readLine(r io.Reader) (string, error) {
	var line []byte
	var b [1]byte
	for {
		n, err := r.Read(b[:])
		if n > 0 {
			if b[0] == '\n' {
				return string(line), nil
			}
			line = append(line, b[0])
		}
		if err != nil {
			return string(line), err
		}
	}
}
