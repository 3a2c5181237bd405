// SPDX-License-Identifier: Apache-2.0

package linktest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// Daemon is a real sshd on a port of this machine.
type Daemon struct {
	Addr       string
	Port       int
	User       string
	KeyFile    string // lets in
	KnownHosts string // has its host keys
	Dir        string // its files
}

// Sshd starts OpenSSH's sshd for the user who runs the tests; it ends with the
// test. More lines of sshd_config may be given. The test is skipped where sshd
// is not installed.
func Sshd(t testing.TB, settings ...string) *Daemon {
	t.Helper()
	program := ""
	for _, p := range []string{"/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"} {
		if _, err := os.Stat(p); err == nil {
			program = p
			break
		}
	}
	if program == "" {
		t.Skip("sshd is not installed: apt-get install openssh-server")
	}
	me, err := user.Current()
	must(t, err)
	// Not t.TempDir: sshd refuses authorized_keys below a folder others may write to,
	// and the home of its sessions should not have a test's long name.
	dir, err := os.MkdirTemp("", "sshd-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	if me.Uid == "0" {
		must(t, os.MkdirAll("/run/sshd", 0o755)) // Debian's sshd does not start without
	}
	d := &Daemon{User: me.Username, Dir: dir, KeyFile: filepath.Join(dir, "id"), KnownHosts: filepath.Join(dir, "known_hosts")}
	key := WriteKey(t, d.KeyFile, "")
	must(t, os.WriteFile(filepath.Join(dir, "authorized_keys"), ssh.MarshalAuthorizedKey(key.PublicKey()), 0o600))
	host := WriteKey(t, filepath.Join(dir, "host_key"), "")
	must(t, os.Mkdir(filepath.Join(dir, "home"), 0o755))

	// The port is free now and most likely still is in a moment.
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	d.Port = l.Addr().(*net.TCPAddr).Port
	d.Addr = l.Addr().String()
	_ = l.Close()
	must(t, os.WriteFile(d.KnownHosts, []byte(xknownhosts.Line([]string{xknownhosts.Normalize(d.Addr)}, host.PublicKey())+"\n"), 0o600))

	lines := append([]string{
		"ListenAddress " + d.Addr, "HostKey " + filepath.Join(dir, "host_key"), "AuthorizedKeysFile " + filepath.Join(dir, "authorized_keys"),
		"PidFile none", "StrictModes no", "UsePAM no", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password",
		// A home of its own: the tests must not depend on the user's login scripts.
		"SetEnv HOME=" + filepath.Join(dir, "home"),
		"LogLevel ERROR"}, settings...)
	if !strings.Contains(strings.Join(settings, "\n"), "Subsystem") {
		lines = append(lines, "Subsystem sftp internal-sftp")
	}
	config := filepath.Join(dir, "sshd_config")
	must(t, os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	cmd := exec.Command(program, "-D", "-e", "-f", config)
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	_ = log.Close()
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.Tick(20 * time.Millisecond); ; <-tick {
		c, err := net.DialTimeout("tcp4", d.Addr, time.Second)
		if err == nil {
			_ = c.Close()
			return d
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("sshd ended: %s", text)
		default:
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatal(fmt.Errorf("sshd does not listen on %s: %s", d.Addr, text))
		}
	}
}
