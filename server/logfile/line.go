// SPDX-License-Identifier: Apache-2.0

package logfile

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// A handler formats records for one Log. Attributes added with With are formatted once.
type handler struct {
	*core
	group string // prefix of keys, with its dot
	attrs string // " key=value" of With
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b []byte
	for _, a := range attrs {
		b = appendAttr(b, h.group, a)
	}
	n := *h
	n.attrs += string(b)
	return &n
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	n := *h
	n.group += name + "."
	return &n
}

var linePool = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// Handle implements slog.Handler. It never fails: see the package comment.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	buf := linePool.Get().(*[]byte)
	b := h.format((*buf)[:0], r)
	h.put(b, r.Level >= h.opts.Stderr, r.Level >= slog.LevelError)
	if cap(b) <= 16<<10 {
		*buf = b
		linePool.Put(buf)
	}
	return nil
}

// format appends the line of a record:
//
//	I2026-11-22 03:15:59.123 (1795317359123456789 4711) replica.go0.00000000000000a7: file.go:12:func(): text key=value
//
// In the place of C++'s thread id stands the process id, in that of pool and task id "go0" and
// the running number of the line, by which lost lines can be seen.
func (h *handler) format(b []byte, r slog.Record) []byte {
	t := r.Time
	if t.IsZero() {
		t = time.Now()
	}
	b = append(b, levelLetter(r.Level))
	b = t.AppendFormat(b, "2006-01-02 15:04:05.000")
	b = append(b, " ("...)
	b = strconv.AppendInt(b, t.UnixNano(), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(h.pid), 10)
	b = append(b, ") "...)
	b = append(b, h.opts.Role...)
	b = fmt.Appendf(b, ".go0.%016x: ", h.seq.Add(1))
	if !h.opts.ShortLines && r.PC != 0 {
		f, _ := runtime.CallersFrames([]uintptr{r.PC}).Next()
		b = append(b, path.Base(f.File)...)
		b = append(b, ':')
		b = strconv.AppendInt(b, int64(f.Line), 10)
		b = append(b, ':')
		b = append(b, f.Function[strings.LastIndexByte(f.Function, '.')+1:]...)
		b = append(b, "(): "...)
	}
	b = appendText(b, r.Message)
	b = append(b, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, h.group, a)
		return true
	})
	return append(b, '\n')
}

func levelLetter(l slog.Level) byte {
	switch {
	case l < slog.LevelInfo:
		return 'D'
	case l < slog.LevelWarn:
		return 'I'
	case l < slog.LevelError:
		return 'W'
	case l < slog.LevelError+4:
		return 'E'
	}
	return 'F'
}

func appendAttr(b []byte, group string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, sub := range v.Group() {
			b = appendAttr(b, group, sub)
		}
		return b
	}
	if a.Key == "" {
		return b
	}
	b = append(b, ' ')
	b = append(b, group...)
	b = append(b, a.Key...)
	b = append(b, '=')
	switch v.Kind() {
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	case slog.KindTime:
		return v.Time().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	}
	return appendValue(b, v.String())
}

// appendValue quotes what would not be one word.
func appendValue(b []byte, s string) []byte {
	if s == "" || strings.ContainsAny(s, " \"=") || !printable(s) {
		return strconv.AppendQuote(b, s)
	}
	return append(b, s...)
}

// appendText keeps a message on its line.
func appendText(b []byte, s string) []byte {
	if printable(s) {
		return append(b, s...)
	}
	q := strconv.AppendQuote(nil, s)
	return append(b, strings.ReplaceAll(string(q[1:len(q)-1]), `\"`, `"`)...)
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}

func (c *core) lostLine(n int64) []byte {
	t := time.Now()
	return fmt.Appendf(nil, "E%s (%d %d) %s.go0.0000000000000000: %d log lines before this one are lost: the log could not be written\n",
		t.Format("2006-01-02 15:04:05.000"), t.UnixNano(), c.pid, c.opts.Role, n)
}
