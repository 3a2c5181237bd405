// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// HostKeyError is a host whose key cannot be trusted. Nothing was sent to it.
type HostKeyError struct {
	Target  string
	Changed bool // known_hosts has another key; false: it has none
	Revoked bool
	File    string // of the entry that speaks against it
	Line    int
	Known   string // fingerprint of that entry
	Shown   string // type and fingerprint of what the host showed
	advice  string
}

func (e *HostKeyError) Error() string {
	switch {
	case e.Revoked:
		return fmt.Sprintf("%s: its host key %s is revoked by %s:%d; %s", e.Target, e.Shown, e.File, e.Line, e.advice)
	case e.Changed:
		return fmt.Sprintf("%s: its host key HAS CHANGED: it shows %s, %s:%d says %s. Somebody may be listening in between. %s",
			e.Target, e.Shown, e.File, e.Line, e.Known, e.advice)
	}
	return fmt.Sprintf("%s: its host key %s is not known; %s", e.Target, e.Shown, e.advice)
}

// knownHosts are known_hosts files, read once and again whenever a key is added.
type knownHosts struct {
	files []string

	mu sync.Mutex
	db *knownhosts.HostKeyDB
}

func (k *knownHosts) load() (*knownhosts.HostKeyDB, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.db != nil {
		return k.db, nil
	}
	return k.reload()
}

// reload needs mu held.
func (k *knownHosts) reload() (*knownhosts.HostKeyDB, error) {
	var there []string
	for _, f := range k.files {
		if _, err := os.Stat(f); err == nil {
			there = append(there, f)
		} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return nil, fmt.Errorf("known hosts: %w", err)
		}
	}
	db, err := knownhosts.NewDB(there...)
	if err != nil {
		return nil, &ConfigError{fmt.Sprintf("known hosts: %v; mend or remove that line", err)}
	}
	k.db = db
	return db, nil
}

// certAlgorithms is what a host may prove itself with where a certificate
// authority is known: the authority's own key type says nothing about the host's.
var certAlgorithms = []string{ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01}

// plainAlgorithms is what an unknown host may show. No certificates: nobody is
// known who could have signed them.
var plainAlgorithms = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}

// algorithms are the kinds of host key to ask for: those of the known entries, in
// their order, so that a host with several keys shows the one that is on record.
func (k *knownHosts) algorithms(name string) ([]string, error) {
	db, err := k.load()
	if err != nil {
		return nil, err
	}
	var list []string
	seen := map[string]bool{}
	add := func(names ...string) {
		for _, n := range names {
			if !seen[n] {
				seen[n] = true
				list = append(list, n)
			}
		}
	}
	for _, key := range db.HostKeys(name) {
		switch t := key.Type(); {
		case key.Cert:
			add(certAlgorithms...)
		case t == ssh.KeyAlgoRSA:
			add(ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			add(t)
		}
	}
	if len(list) == 0 {
		return plainAlgorithms, nil
	}
	return list, nil
}

// check is the ssh.HostKeyCallback for a target.
func (k *knownHosts) check(t Target) ssh.HostKeyCallback {
	return func(_ string, remote net.Addr, key ssh.PublicKey) error {
		if _, _, err := net.SplitHostPort(remote.String()); err != nil {
			remote = &net.TCPAddr{} // what counts is the name; the library wants an address too
		}
		db, err := k.load()
		if err != nil {
			return err
		}
		err = judge(t, key, db.HostKeyCallback()(t.known(), remote, key))
		var unknown *HostKeyError
		if !t.AcceptNew || !errors.As(err, &unknown) || unknown.Changed || unknown.Revoked {
			return err
		}
		return k.add(t, remote, key)
	}
}

// judge turns what the library says into what the operator reads.
func judge(t Target, key ssh.PublicKey, err error) error {
	if err == nil {
		return nil
	}
	shown := key.Type() + " " + ssh.FingerprintSHA256(key)
	var revoked *xknownhosts.RevokedError
	if errors.As(err, &revoked) {
		return &HostKeyError{Target: t.String(), Revoked: true, File: revoked.Revoked.Filename, Line: revoked.Revoked.Line, Shown: shown,
			advice: "give the host a new key (ssh-keygen -A) and record that"}
	}
	var mismatch *xknownhosts.KeyError
	if !errors.As(err, &mismatch) {
		return fmt.Errorf("%s: host key %s: %w", t, shown, err)
	}
	if len(mismatch.Want) == 0 {
		file := "known_hosts"
		if len(t.KnownHosts) > 0 {
			file = t.KnownHosts[0]
		}
		return &HostKeyError{Target: t.String(), Shown: shown,
			advice: fmt.Sprintf("compare it with `ssh-keygen -lf` on the host itself and add it to %s (ssh-keyscan -p %d %s), or write `host_key_policy: accept-new` into the inventory's ssh section", file, t.Port, t.Host)}
	}
	want := mismatch.Want[0]
	for _, w := range mismatch.Want {
		if w.Key.Type() == key.Type() {
			want = w
			break
		}
	}
	return &HostKeyError{Target: t.String(), Changed: true, File: want.Filename, Line: want.Line,
		Known: want.Key.Type() + " " + ssh.FingerprintSHA256(want.Key), Shown: shown,
		advice: fmt.Sprintf("If the host was installed anew, remove that line (ssh-keygen -f %s -R '%s') and connect again", want.Filename, xknownhosts.Normalize(t.known()))}
}

// add records a new host's key. Other runs may do the same at this moment: the
// file is locked, and what they wrote meanwhile binds.
func (k *knownHosts) add(t Target, remote net.Addr, key ssh.PublicKey) (err error) {
	if len(k.files) == 0 {
		return &ConfigError{fmt.Sprintf("%s: there is no known_hosts file to record its key in", t)}
	}
	file := k.files[0]
	k.mu.Lock()
	defer k.mu.Unlock()
	defer func() {
		if err != nil && !isHostKey(err) {
			err = fmt.Errorf("record the host key of %s in %s: %w", t, file, err)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }() // which also unlocks
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	db, err := k.reload()
	if err != nil {
		return err
	}
	err = judge(t, key, db.HostKeyCallback()(t.known(), remote, key))
	var unknown *HostKeyError
	if !errors.As(err, &unknown) || unknown.Changed || unknown.Revoked {
		return err // known by now, or a contradiction
	}
	var line bytes.Buffer
	if st, err := f.Stat(); err != nil {
		return err
	} else if st.Size() > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], st.Size()-1); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if last[0] != '\n' {
			line.WriteByte('\n')
		}
	}
	name := xknownhosts.Normalize(t.known())
	if t.HashNames {
		name = xknownhosts.HashHostname(name)
	}
	line.WriteString(name + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + "\n")
	if _, err := f.Write(line.Bytes()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	_, err = k.reload()
	return err
}

func isHostKey(err error) bool {
	var h *HostKeyError
	return errors.As(err, &h)
}
