// SPDX-License-Identifier: Apache-2.0

package logfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// stampFormat is the end of a log file's name.
const stampFormat = "20060102_150405.000"

func stamp(t time.Time) string { return strings.Replace(t.Format(stampFormat), ".", "_", 1) }

// A rotator owns the present log file. Only the writer goroutine uses it.
type rotator struct {
	dir, base string
	maxBytes  int64
	maxFiles  int

	f     *os.File
	size  int64
	torn  bool   // the file ends within a line
	spare []byte // buffer to hand back to the callers

	lost       int64 // lines not written since the last success
	complained time.Time
}

// rotate begins a new file, points the symlink at it and deletes the oldest beyond maxFiles.
// On an error the present file, if any, stays.
func (r *rotator) rotate(now time.Time) error {
	var f *os.File
	for {
		name := filepath.Join(r.dir, r.base+"."+stamp(now))
		var err error
		f, err = os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644)
		if errors.Is(err, fs.ErrExist) {
			now = now.Add(time.Millisecond)
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	if r.f != nil {
		r.f.Close()
	}
	r.f, r.size, r.torn = f, 0, false
	r.link(filepath.Base(f.Name()))
	r.prune()
	return nil
}

// link makes the symlink point at the named file. A log without it is still a log, so errors
// are not reported.
func (r *rotator) link(target string) {
	tmp := filepath.Join(r.dir, "."+r.base+".tmp")
	os.Remove(tmp)
	if os.Symlink(target, tmp) == nil {
		os.Rename(tmp, filepath.Join(r.dir, r.base))
	}
}

// prune deletes the oldest files beyond maxFiles.
func (r *rotator) prune() {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return
	}
	type old struct {
		name string
		mod  time.Time
	}
	var files []old
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), r.base+".")
		if !ok || !e.Type().IsRegular() || !isStamp(rest) {
			continue
		}
		if info, err := e.Info(); err == nil {
			files = append(files, old{e.Name(), info.ModTime()})
		}
	}
	// Files of the same age are told apart by their name, which is a time as well.
	slices.SortFunc(files, func(a, b old) int {
		return cmp.Or(a.mod.Compare(b.mod), strings.Compare(a.name, b.name))
	})
	present := filepath.Base(r.f.Name())
	for i := 0; i < len(files)-r.maxFiles; i++ {
		if files[i].name != present {
			os.Remove(filepath.Join(r.dir, files[i].name))
		}
	}
}

func isStamp(s string) bool {
	if len(s) != len(stampFormat) || s[15] != '_' {
		return false
	}
	_, err := time.Parse(stampFormat, s[:15]+"."+s[16:])
	return err == nil
}

// check begins a new file when somebody has removed or renamed the present one.
func (r *rotator) check() {
	if r.f == nil {
		return
	}
	open, err := r.f.Stat()
	if err != nil {
		return
	}
	onDisk, err := os.Stat(r.f.Name())
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(open, onDisk) {
		os.MkdirAll(r.dir, 0o755)
		if err := r.rotate(time.Now()); err != nil {
			r.f.Close()
			r.f = nil
		}
	}
}

// write appends whole lines. When that fails they are counted as lost, and stderr hears of it
// now and then.
func (r *rotator) write(lines []byte, lostLine func(int64) []byte, stderr io.Writer) {
	rest, err := r.tryWrite(lines, lostLine)
	if err == nil {
		return
	}
	r.lost += int64(bytes.Count(rest, []byte{'\n'}))
	if now := time.Now(); now.Sub(r.complained) >= complainEvery {
		r.complained = now
		fmt.Fprintf(stderr, "cannot write the log in %s, %d lines lost so far (the server goes on): %v\n", r.dir, r.lost, err)
	}
}

// tryWrite returns what is left of lines after the first error.
func (r *rotator) tryWrite(lines []byte, lostLine func(int64) []byte) (rest []byte, err error) {
	if err := r.makeRoom(); err != nil {
		return lines, err
	}
	if r.lost > 0 {
		report := lostLine(r.lost)
		if r.torn {
			report = append([]byte{'\n'}, report...)
		}
		if _, err := r.append(report); err != nil {
			return lines, err
		}
		r.lost = 0
	}
	for len(lines) > 0 {
		if err := r.makeRoom(); err != nil {
			return lines, err
		}
		part := lines
		if room := r.maxBytes - r.size; int64(len(part)) > room && room > 0 {
			// Cut after the line that reaches the limit.
			if i := bytes.IndexByte(part[room-1:], '\n'); i >= 0 {
				part = part[:int(room)+i]
			}
		}
		n, err := r.append(part)
		lines = lines[n:]
		if err != nil {
			return lines, err
		}
	}
	return nil, nil
}

// makeRoom sees to it that there is a file, and a new one when the present one is full. A full
// file is better than none when a new one cannot be had.
func (r *rotator) makeRoom() error {
	if r.f != nil && r.size < r.maxBytes {
		return nil
	}
	if err := r.rotate(time.Now()); err != nil && r.f == nil {
		return err
	}
	return nil
}

func (r *rotator) append(b []byte) (int, error) {
	n, err := r.f.Write(b)
	r.size += int64(n)
	if n > 0 {
		r.torn = b[n-1] != '\n'
	}
	return n, err
}

func (r *rotator) close() {
	if r.f != nil {
		r.f.Close()
		r.f = nil
	}
}
