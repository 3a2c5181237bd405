// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/kevinburke/ssh_config"
)

// settings are the files ssh takes its settings from, the user's before the
// machine's. Of Match only `all` and `host` are understood; a block behind another
// Match is passed over, for running commands to find out whether it applies is
// more than an inventory asks for.
type settings struct {
	files []string
	load  func() ([]*ssh_config.Config, error)
}

func newSettings(files []string) *settings {
	s := &settings{files: files}
	s.load = sync.OnceValues(s.read)
	return s
}

func (s *settings) read() ([]*ssh_config.Config, error) {
	var all []*ssh_config.Config
	for _, f := range s.files {
		text, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ssh settings: %w", err)
		}
		c, err := ssh_config.DecodeBytes(withoutUnknownMatch(text))
		if err != nil {
			return nil, &ConfigError{fmt.Sprintf("ssh settings %s: %v; mend the file, or write what the hosts need into the inventory's ssh section and set HOME elsewhere", f, err)}
		}
		all = append(all, c)
	}
	return all, nil
}

// withoutUnknownMatch blanks the blocks the parser would fail on; line numbers stay.
func withoutUnknownMatch(text []byte) []byte {
	var out bytes.Buffer
	skip := false
	for line := range bytes.Lines(text) {
		f := bytes.Fields(bytes.ReplaceAll(line, []byte("="), []byte(" ")))
		if len(f) > 0 {
			switch strings.ToLower(string(f[0])) {
			case "host":
				skip = false
			case "match":
				criterion := ""
				if len(f) > 1 {
					criterion = strings.ToLower(string(f[1]))
				}
				skip = !(criterion == "all" && len(f) == 2) && !(criterion == "host" && len(f) == 3)
			}
		}
		if skip {
			out.WriteByte('\n')
			continue
		}
		out.Write(line)
	}
	return out.Bytes()
}

func (s *settings) all(alias, key string) ([]string, error) {
	files, err := s.load()
	if err != nil {
		return nil, err
	}
	var values []string
	for _, c := range files {
		v, err := c.GetAll(alias, key)
		if err != nil {
			return nil, &ConfigError{fmt.Sprintf("ssh settings for %s: %v", alias, err)}
		}
		for _, one := range v {
			values = append(values, strings.Trim(one, `"`))
		}
	}
	return values, nil
}

func (s *settings) first(alias, key string) (string, error) {
	v, err := s.all(alias, key)
	if err != nil || len(v) == 0 {
		return "", err
	}
	return v[0], nil
}

// defaultIdentities are tried when nothing names a key, newest kind first.
var defaultIdentities = []string{"id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"}

// Resolve fills in what the target leaves open, as `ssh ADDRESS` would.
func (d *Dialer) Resolve(t Target) (Target, error) {
	var failed error
	get := func(key string) string {
		v, err := d.settings.first(t.Address, key)
		failed = errors.Join(failed, err)
		return v
	}
	yes := func(key string) bool { return strings.EqualFold(get(key), "yes") }

	if t.Host = get("HostName"); t.Host == "" {
		t.Host = t.Address
	}
	t.Host = strings.NewReplacer("%h", t.Address, "%%", "%").Replace(t.Host)
	if t.User == "" {
		t.User = get("User")
	}
	if t.User == "" {
		me, err := user.Current()
		if err != nil {
			return t, fmt.Errorf("who am I: %w; write ssh.user into the inventory", err)
		}
		t.User = me.Username
	}
	if t.Port == 0 {
		t.Port = 22
		if p := get("Port"); p != "" {
			n, err := strconv.Atoi(p)
			if err != nil || n < 1 || n > 65535 {
				return t, &ConfigError{fmt.Sprintf("ssh settings for %s: Port %q is no port", t.Address, p)}
			}
			t.Port = n
		}
	}
	t.KeyAlias, t.HashNames = get("HostKeyAlias"), yes("HashKnownHosts")
	if command := get("ProxyCommand"); command != "" && !strings.EqualFold(command, "none") && len(t.Jumps) == 0 && !t.Direct {
		return t, &ConfigError{fmt.Sprintf("ssh settings for %s: ProxyCommand is not supported; use ProxyJump there, or ssh.jump in the inventory", t.Address)}
	}
	if jump := get("ProxyJump"); jump != "" && !strings.EqualFold(jump, "none") && len(t.Jumps) == 0 && !t.Direct {
		jumps, err := ParseJumps(jump)
		if err != nil {
			return t, err
		}
		t.Jumps = jumps
	}
	d.resolveKnownHosts(&t, get)
	if err := d.resolveIdentities(&t, get); err != nil {
		return t, err
	}
	return t, failed
}

func (d *Dialer) resolveKnownHosts(t *Target, get func(string) string) {
	if len(t.KnownHosts) > 0 {
		return
	}
	users := get("UserKnownHostsFile")
	if users == "" {
		users = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
	}
	machines := get("GlobalKnownHostsFile")
	if machines == "" {
		machines = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
	}
	for _, f := range strings.Fields(users + " " + machines) {
		if !strings.EqualFold(f, "none") {
			t.KnownHosts = append(t.KnownHosts, d.expand(f, *t))
		}
	}
}

func (d *Dialer) resolveIdentities(t *Target, get func(string) string) error {
	t.Agent = d.options.Agent
	switch agent := get("IdentityAgent"); {
	case agent == "", agent == "SSH_AUTH_SOCK":
	case strings.EqualFold(agent, "none"):
		t.Agent = ""
	case strings.HasPrefix(agent, "$"):
		t.Agent = os.Getenv(strings.Trim(agent[1:], "{}"))
	default:
		t.Agent = d.expand(agent, *t)
	}
	t.Only = strings.EqualFold(get("IdentitiesOnly"), "yes")
	if len(t.Identities) > 0 {
		t.Only = true // the inventory names the key: no other is offered
		return nil
	}
	files, err := d.settings.all(t.Address, "IdentityFile")
	if err != nil {
		return err
	}
	for _, f := range files {
		if !strings.EqualFold(f, "none") {
			t.Identities = append(t.Identities, d.expand(f, *t))
		}
	}
	if len(files) == 0 {
		for _, f := range defaultIdentities {
			if p := filepath.Join(d.options.Home, ".ssh", f); readable(p) {
				t.Identities = append(t.Identities, p)
			}
		}
	}
	return nil
}

func readable(p string) bool {
	f, err := os.Open(p)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// expand replaces ~ and the tokens of ssh_config(5) that make sense in file names.
func (d *Dialer) expand(p string, t Target) string {
	if rest, ok := strings.CutPrefix(p, "~/"); ok {
		p = filepath.Join(d.options.Home, rest)
	}
	me := os.Getenv("USER")
	return strings.NewReplacer("%%", "%", "%d", d.options.Home, "%h", t.Host, "%n", t.Address, "%p", strconv.Itoa(t.Port), "%r", t.User, "%u", me).Replace(p)
}
