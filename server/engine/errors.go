// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"regexp"

	"github.com/cockroachdb/pebble/v2"
)

var (
	// ErrClosed is returned by everything that comes after Close.
	ErrClosed = errors.New("storage engine is closed")

	// errOutOfOrder reports a caller that skips or repeats a decree.
	errOutOfOrder = errors.New("mutation out of order")
)

// A CorruptError reports damaged files of one replica. Nothing else in the process is affected:
// the other members of the partition hold the same data.
type CorruptError struct {
	Dir  string // the directory of the Pebble instance
	File string // the damaged file in Dir, empty when it is not known
	Err  error
}

// Error says what is damaged and what to do about it.
func (e *CorruptError) Error() string {
	where := e.Dir
	if e.File != "" {
		where += " (file " + e.File + ")"
	}
	return fmt.Sprintf("replica data in %s is damaged: %v; move the replica's directory aside "+
		"and let the node learn the partition again from another member", where, e.Err)
}

// Unwrap returns the error of Pebble.
func (e *CorruptError) Unwrap() error { return e.Err }

// fileName finds the name of a Pebble file in an error text.
var fileName = regexp.MustCompile(`\b(?:\d{6,}\.(?:sst|blob|log)|MANIFEST-\d+|OPTIONS-\d+|marker\.[\w.-]+)`)

// tableNumber finds how Pebble names a table file it could not open.
var tableNumber = regexp.MustCompile(`backing file (\d{6,}) error|file "?(\d{6,})"?`)

// classify turns errors that mean damaged or missing files into a CorruptError.
func classify(dir string, err error) error {
	var c *CorruptError
	if err == nil || errors.As(err, &c) {
		return err
	}
	damaged := pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if !damaged {
		return err
	}
	file := fileName.FindString(err.Error())
	if file == "" {
		if m := tableNumber.FindStringSubmatch(err.Error()); m != nil {
			file = m[1] + m[2] + ".sst"
		}
	}
	return &CorruptError{Dir: dir, File: file, Err: err}
}

// logger lets Pebble speak through slog. Pebble's idea of a fatal error must not end the
// process, so it becomes the failure of this one replica.
type logger struct {
	log  *slog.Logger
	fail func(error)
}

func (l *logger) Infof(format string, args ...any) {
	l.log.Debug("storage engine: " + fmt.Sprintf(format, args...))
}

func (l *logger) Errorf(format string, args ...any) {
	l.log.Warn("storage engine: " + fmt.Sprintf(format, args...))
}

func (l *logger) Fatalf(format string, args ...any) {
	e := &fatalError{text: fmt.Sprintf(format, args...)}
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			e.causes = append(e.causes, err)
		}
	}
	l.fail(e)
}

// fatalError keeps the errors in a message of Pebble, which formats them without wrapping.
type fatalError struct {
	text   string
	causes []error
}

func (e *fatalError) Error() string   { return e.text }
func (e *fatalError) Unwrap() []error { return e.causes }
