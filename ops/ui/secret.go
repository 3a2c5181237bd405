// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"
)

// ErrNoTerminal says that a secret could not be asked for.
var ErrNoTerminal = errors.New("there is no terminal to ask on")

// CanAsk says whether there is a terminal to ask on.
func (u *UI) CanAsk() bool { return IsTerminal(u.o.In) && IsTerminal(u.o.Err) }

// Secret asks for a secret, which is not shown while it is typed. When ctx ends
// meanwhile the terminal shows again what is typed.
func (u *UI) Secret(ctx context.Context, prompt string) (string, error) {
	if !u.CanAsk() {
		return "", fmt.Errorf("%s%w", prompt, ErrNoTerminal)
	}
	fd := int(u.o.In.(*os.File).Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("%s%w", prompt, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.bar != nil {
		u.bar.clear()
	}
	fmt.Fprint(u.o.Err, prompt)
	type answer struct {
		text []byte
		err  error
	}
	// A terminal cannot be told to stop reading: the reader stays behind if the
	// command is interrupted, and ends with the process.
	typed := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		typed <- answer{text, err}
	}()
	defer fmt.Fprintln(u.o.Err)
	select {
	case <-ctx.Done():
		_ = term.Restore(fd, before)
		return "", context.Cause(ctx)
	case a := <-typed:
		if a.err != nil {
			return "", fmt.Errorf("%s%w", prompt, a.err)
		}
		return string(a.text), nil
	}
}
