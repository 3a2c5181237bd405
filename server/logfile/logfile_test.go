// SPDX-License-Identifier: Apache-2.0

package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("LOGFILE_TEST_CRASH") != "" {
		crash()
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, o Options) *Log {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Role == "" {
		o.Role = "meta"
	}
	if o.StderrOut == nil {
		o.StderrOut = &syncBuffer{}
		o.Stderr = 100
	}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func files(t *testing.T, dir, base string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, base+".log.*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func read(t *testing.T, l *Log) string {
	t.Helper()
	if !l.Flush(5 * time.Second) {
		t.Fatal("the log cannot be flushed")
	}
	b, err := os.ReadFile(filepath.Join(l.Dir(), "meta.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLinesLookLikePegasus(t *testing.T) {
	l := open(t, Options{Level: slog.LevelDebug})
	log := slog.New(l)
	log.Info("plain")
	log.With("gpid", "2.7", "n", 3).WithGroup("g").Warn("with attributes", "empty", "", "text", "two words", "q", `a"b`, "err", errors.New("x=y"), slog.Group("h", "k", 1.5, "d", 1500*time.Millisecond, "b", true))
	log.Debug("a\nb", "v", "c\nd")
	log.Error("bad")
	got := strings.Split(strings.TrimSuffix(read(t, l), "\n"), "\n")
	head := `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \(\d{19} ` + fmt.Sprint(os.Getpid()) + `\) meta\.go0\.000000000000000%d: logfile_test\.go:\d+:TestLinesLookLikePegasus\(\): `
	want := []string{
		"I" + fmt.Sprintf(head, 1) + `plain`,
		"W" + fmt.Sprintf(head, 2) + `with attributes gpid=2\.7 n=3 g\.empty="" g\.text="two words" g\.q="a\\"b" g\.err="x=y" g\.h\.k=1\.5 g\.h\.d=1\.5s g\.h\.b=true`,
		"D" + fmt.Sprintf(head, 3) + `a\\nb v="c\\nd"`,
		"E" + fmt.Sprintf(head, 4) + `bad`,
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines: %q", len(got), got)
	}
	for i := range want {
		if !regexp.MustCompile("^" + want[i] + "$").MatchString(got[i]) {
			t.Errorf("line %d is\n%s, want\n%s", i+1, got[i], want[i])
		}
	}
}

func TestShortLinesAndLevel(t *testing.T) {
	l := open(t, Options{ShortLines: true, Level: slog.LevelWarn})
	log := slog.New(l)
	log.Info("hidden")
	l.SetLevel(slog.LevelInfo)
	log.Info("shown")
	if got := read(t, l); !strings.HasSuffix(got, ".go0.0000000000000001: shown\n") || strings.Contains(got, "hidden") {
		t.Errorf("log: %s", got)
	}
	if l.Level() != slog.LevelInfo {
		t.Errorf("level is %v", l.Level())
	}
}

func TestStderrGetsACopy(t *testing.T) {
	var stderr syncBuffer
	l := open(t, Options{StderrOut: &stderr, Stderr: slog.LevelWarn})
	log := slog.New(l)
	log.Info("quiet")
	log.Warn("loud")
	read(t, l)
	if got := stderr.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "loud") {
		t.Errorf("stderr: %s", got)
	}
}

func TestErrorsAreWrittenAtOnce(t *testing.T) {
	l := open(t, Options{})
	slog.New(l).Info("before")
	slog.New(l).Error("now")
	b, err := os.ReadFile(filepath.Join(l.Dir(), "meta.log"))
	if err != nil || !strings.Contains(string(b), "before") || !strings.Contains(string(b), "now") {
		t.Errorf("right after the call the file holds %q, %v", b, err)
	}
}

func TestQuietLogIsWrittenWithinASecond(t *testing.T) {
	l := open(t, Options{})
	slog.New(l).Info("soon")
	deadline := time.Now().Add(5 * time.Second)
	for {
		b, _ := os.ReadFile(filepath.Join(l.Dir(), "meta.log"))
		if strings.Contains(string(b), "soon") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the line is not written after 5 s")
		}
		<-time.After(20 * time.Millisecond)
	}
}

func TestRotationBySizeAndCount(t *testing.T) {
	l := open(t, Options{MaxBytes: 10_000, MaxFiles: 3, ShortLines: true})
	log := slog.New(l)
	other := filepath.Join(l.Dir(), "meta.log.keep")
	if err := os.WriteFile(other, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	total := 0
	for i := range 1000 {
		log.Info("line", "i", i, "pad", strings.Repeat("x", 100))
		total++
		if i%100 == 99 {
			l.Flush(time.Second)
		}
	}
	read(t, l)
	names := files(t, l.Dir(), "meta")
	if len(names) != 4 { // three and the one that is no log file
		t.Errorf("%d files: %v", len(names), names)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil || info.Size() > 10_000+300 {
			t.Errorf("%s has %d bytes, %v", name, info.Size(), err)
		}
		b, _ := os.ReadFile(name)
		if len(b) > 0 && (b[0] != 'I' || b[len(b)-1] != '\n') {
			t.Errorf("%s begins or ends within a line", name)
		}
	}
	target, err := os.Readlink(filepath.Join(l.Dir(), "meta.log"))
	if err != nil || !regexp.MustCompile(`^meta\.log\.\d{8}_\d{6}_\d{3}$`).MatchString(target) {
		t.Errorf("the symlink points at %q, %v", target, err)
	}
	if got := read(t, l); !strings.Contains(got, "i=999 ") {
		t.Error("the newest line is not in the newest file")
	}
}

func TestRolesDoNotShareFiles(t *testing.T) {
	dir := t.TempDir()
	a := open(t, Options{Dir: dir, Role: "meta", MaxFiles: 1})
	b := open(t, Options{Dir: dir, Role: "meta.replica", MaxFiles: 1})
	for _, l := range []*Log{a, b} {
		slog.New(l).Info("x")
		l.Close()
	}
	c := open(t, Options{Dir: dir, Role: "meta", MaxFiles: 1})
	c.Close()
	if n := len(files(t, dir, "meta")); n != 1 {
		t.Errorf("%d files of meta", n)
	}
	if n := len(files(t, dir, "meta.replica")); n != 1 {
		t.Errorf("%d files of meta.replica", n)
	}
}

func TestRemovedFileIsBegunAgain(t *testing.T) {
	l := open(t, Options{})
	if err := os.RemoveAll(l.Dir()); err != nil {
		t.Fatal(err)
	}
	l.core.kick()
	deadline := time.Now().Add(5 * time.Second)
	for len(files(t, l.Dir(), "meta")) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("no new file after 5 s")
		}
		<-time.After(20 * time.Millisecond)
	}
	slog.New(l).Info("again")
	if got := read(t, l); !strings.Contains(got, "again") {
		t.Errorf("log: %s", got)
	}
}

// A file that cannot be written, as on a full disk, costs lines and is reported once it can.
func TestFullDiskCostsLinesOnly(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	dir := t.TempDir()
	var stderr bytes.Buffer
	r := rotator{dir: dir, base: "meta.log", maxBytes: 1 << 20, maxFiles: 3, f: full}
	lostLine := func(n int64) []byte { return fmt.Appendf(nil, "%d lost\n", n) }
	r.write([]byte("one\ntwo\n"), lostLine, &stderr)
	r.write([]byte("three\n"), lostLine, &stderr)
	if r.lost != 3 || strings.Count(stderr.String(), "cannot write the log") != 1 {
		t.Errorf("%d lines lost, stderr %q", r.lost, stderr.String())
	}
	r.f = nil
	r.write([]byte("four\n"), lostLine, &stderr)
	name := r.f.Name()
	r.close()
	if b, err := os.ReadFile(name); err != nil || string(b) != "3 lost\nfour\n" {
		t.Errorf("the log holds %q, %v", b, err)
	}
}

func TestStuckDiskBlocksNobodyForLong(t *testing.T) {
	release := make(chan struct{})
	l := open(t, Options{Stderr: slog.LevelWarn, StderrOut: writerFunc(func(p []byte) (int, error) {
		<-release
		return len(p), nil
	})})
	log := slog.New(l)
	begin := time.Now()
	for range 50 {
		log.Error("stuck")
	}
	for range 100_000 {
		log.Info("much", "pad", "0123456789012345678901234567890123456789")
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("logging took %s", took)
	}
	l.core.mu.Lock()
	pending, lost := len(l.core.pending), l.core.lost
	l.core.mu.Unlock()
	if pending > maxPending || lost == 0 {
		t.Errorf("%d bytes wait, %d lines are lost", pending, lost)
	}
	if l.Flush(10 * time.Millisecond) {
		t.Error("a stuck log was flushed")
	}
	close(release)
	if got := read(t, l); !strings.Contains(got, "log lines before this one are lost") {
		t.Error("the log does not tell of lost lines")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestCloseIsFinal(t *testing.T) {
	l := open(t, Options{})
	slog.New(l).Info("last")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	slog.New(l).Error("too late")
	if err := l.Close(); err != nil {
		t.Errorf("a second close: %v", err)
	}
	b, _ := os.ReadFile(filepath.Join(l.Dir(), "meta.log"))
	if !strings.Contains(string(b), "last") || strings.Contains(string(b), "too late") {
		t.Errorf("log: %s", b)
	}
}

func TestUnusableDirectoryIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: filepath.Join(file, "log"), Role: "meta"}); err == nil {
		t.Error("a directory below a file is accepted")
	}
}

// crash is what the child process of TestCrashReport does.
func crash() {
	l, err := Open(Options{Dir: os.Getenv("LOGFILE_TEST_CRASH"), Role: "meta"})
	if err != nil {
		panic(err)
	}
	if _, err := l.CaptureCrash(); err != nil {
		panic(err)
	}
	done := make(chan int)
	go func() { panic("the end") }()
	<-done
}

func TestCrashReportIsKept(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "LOGFILE_TEST_CRASH="+dir)
		if err := cmd.Run(); err == nil {
			t.Fatal("the child did not crash")
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "meta.crash")); err != nil || !strings.Contains(string(b), "panic: the end") {
		t.Errorf("the crash file holds %q, %v", b, err)
	}
	l := open(t, Options{Dir: dir})
	earlier, err := l.CaptureCrash()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(earlier); err != nil || !strings.Contains(string(b), "panic: the end") {
		t.Errorf("the kept crash file %s holds %q, %v", earlier, b, err)
	}
	l.ReleaseCrash()
	if _, err := os.Stat(filepath.Join(dir, "meta.crash")); err == nil {
		t.Error("an empty crash file stays")
	}
	if kept, _ := filepath.Glob(filepath.Join(dir, "meta.crash.*")); len(kept) != 2 {
		t.Errorf("%d crash reports are kept: %v", len(kept), kept)
	}
}

func BenchmarkInfo(b *testing.B) {
	l, err := Open(Options{Dir: b.TempDir(), Role: "meta", StderrOut: &syncBuffer{}, Stderr: 100})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	log := slog.New(l)
	b.ReportAllocs()
	for b.Loop() {
		log.Info("role", "gpid", "2.7", "ballot", int64(5), "decree", int64(123456))
	}
}
