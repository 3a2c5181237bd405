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
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// AuthError is a machine that does not let us in.
type AuthError struct {
	Target string
	Tried  []string // keys, by file or comment, and "password"
	Err    error
	advice string
}

func (e *AuthError) Error() string {
	tried := "nothing: there is no agent and no identity file"
	if len(e.Tried) > 0 {
		tried = strings.Join(e.Tried, ", ")
	}
	return fmt.Sprintf("%s does not let us in; tried %s. %s (%v)", e.Target, tried, e.advice, e.Err)
}
func (e *AuthError) Unwrap() error { return e.Err }

// Ask asks the operator for a secret on the terminal.
type Ask func(prompt string) (string, error)

// keys are the private keys of a run. They are read once, and a passphrase is
// asked for once, however many hosts need the key.
type keys struct {
	ask Ask

	mu     sync.Mutex
	files  map[string]*fileKey
	agents map[string]*agentKeys
}

// fileKey is an identity file. It signs; when it is encrypted it asks for its
// passphrase only then, which is after the other side has said that the key
// would let us in.
type fileKey struct {
	path string
	pub  ssh.PublicKey
	ask  Ask

	mu     sync.Mutex
	signer ssh.Signer
	err    error // the passphrase was refused; it is not asked for again
}

// errNoKey says that there is no such identity file.
var errNoKey = errors.New("no key")

// file reads an identity file.
func (k *keys) file(path string) (*fileKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.files[path]; f != nil {
		return f, nil
	}
	f := &fileKey{path: path, ask: k.ask}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoKey
	}
	if err != nil {
		return nil, fmt.Errorf("identity file: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	var encrypted *ssh.PassphraseMissingError
	switch {
	case err == nil:
		f.signer, f.pub = signer, signer.PublicKey()
	case errors.As(err, &encrypted):
		if f.pub = encrypted.PublicKey; f.pub == nil {
			f.pub = publicHalf(path)
		}
		if f.pub == nil { // an old format that hides it
			if err := f.decrypt(); err != nil {
				return nil, err
			}
			f.pub = f.signer.PublicKey()
		}
	default:
		if pub, _, _, _, e := ssh.ParseAuthorizedKey(text); e == nil {
			// The public half of a key the agent holds.
			f.pub, f.err = pub, fmt.Errorf("identity file %s is a public key and the agent does not hold its private half", path)
			break
		}
		return nil, fmt.Errorf("identity file %s: %w", path, err)
	}
	if cert := certificate(path, f.pub); cert != nil {
		f.pub = cert
	}
	if k.files == nil {
		k.files = map[string]*fileKey{}
	}
	k.files[path] = f
	return f, nil
}

func publicHalf(path string) ssh.PublicKey {
	text, err := os.ReadFile(path + ".pub")
	if err != nil {
		return nil
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return pub
}

// certificate is the user certificate beside an identity file, if there is one.
func certificate(path string, of ssh.PublicKey) ssh.PublicKey {
	text, err := os.ReadFile(strings.TrimSuffix(path, ".pub") + "-cert.pub")
	if err != nil {
		return nil
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(text)
	cert, ok := pub.(*ssh.Certificate)
	if err != nil || !ok || !bytes.Equal(cert.Key.Marshal(), of.Marshal()) {
		return nil
	}
	return cert
}

// decrypt asks for the passphrase, three times at most. mu must be held once the
// key is shared.
func (f *fileKey) decrypt() error {
	if f.signer != nil || f.err != nil {
		return f.err
	}
	if f.ask == nil {
		f.err = fmt.Errorf("identity file %s has a passphrase and there is no terminal to ask for it; add the key to the agent (ssh-add %s)", f.path, f.path)
		return f.err
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("identity file: %w", err)
	}
	for range 3 {
		var phrase string
		if phrase, err = f.ask(fmt.Sprintf("Passphrase for %s: ", f.path)); err != nil {
			break
		}
		if f.signer, err = ssh.ParsePrivateKeyWithPassphrase(text, []byte(phrase)); err == nil {
			return nil
		}
	}
	f.err = fmt.Errorf("identity file %s: %w", f.path, err)
	return f.err
}

// PublicKey implements ssh.Signer.
func (f *fileKey) PublicKey() ssh.PublicKey { return f.pub }

// Sign implements ssh.Signer.
func (f *fileKey) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return f.SignWithAlgorithm(rand, data, "")
}

// SignWithAlgorithm implements ssh.AlgorithmSigner.
func (f *fileKey) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	f.mu.Lock()
	err := f.decrypt()
	signer := f.signer
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if s, ok := signer.(ssh.AlgorithmSigner); ok {
		return s.SignWithAlgorithm(rand, data, algorithm)
	}
	return signer.Sign(rand, data)
}

// agentKeys is a connection to an agent, shared by all hosts.
type agentKeys struct {
	conn    net.Conn
	signers []ssh.Signer
	names   map[string]string // comment by marshalled key
}

// agentLimit bounds what an agent may take to list its keys. Signing is not
// bounded so: a hardware key waits for a finger.
const agentLimit = 5 * time.Second

// agent asks an agent for its keys. An agent that cannot be reached has none.
func (k *keys) agent(socket string) *agentKeys {
	if socket == "" {
		return &agentKeys{}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if a := k.agents[socket]; a != nil {
		return a
	}
	a := &agentKeys{names: map[string]string{}}
	if k.agents == nil {
		k.agents = map[string]*agentKeys{}
	}
	k.agents[socket] = a
	conn, err := net.DialTimeout("unix", socket, agentLimit)
	if err != nil {
		return a
	}
	_ = conn.SetDeadline(time.Now().Add(agentLimit))
	client := agent.NewClient(conn)
	list, err := client.List()
	if err == nil {
		a.signers, err = client.Signers()
	}
	if err != nil {
		_ = conn.Close()
		a.signers = nil
		return a
	}
	for _, l := range list {
		a.names[string(l.Marshal())] = l.Comment
	}
	_ = conn.SetDeadline(time.Time{})
	a.conn = conn
	return a
}

func (k *keys) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.agents {
		if a.conn != nil {
			_ = a.conn.Close()
		}
	}
	k.agents = nil
}

// login is the authentication of one connection.
type login struct {
	target Target
	keys   *keys
	patron *patience // stretched while the operator types
	pass   func() (string, error)

	mu       sync.Mutex
	tried    []string
	failed   []error // identity files that could not be used
	unsigned error   // the other side would have taken a key, and it could not sign
}

func (l *login) try(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried = append(l.tried, name)
}

// signer is a key in use by a login.
type signer struct {
	ssh.AlgorithmSigner
	login *login
}

// SignWithAlgorithm stops the clock: a passphrase or a hardware key may be asked for.
func (s signer) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	s.login.patron.pause()
	defer s.login.patron.resume()
	signature, err := s.AlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
	if err != nil {
		s.login.mu.Lock()
		s.login.unsigned = err
		s.login.mu.Unlock()
	}
	return signature, err
}

// signers are the keys to offer: those of the agent that an identity file names,
// the identity files, and unless only these are wanted the rest of the agent.
// Most servers hang up after six.
func (l *login) signers() ([]ssh.Signer, error) {
	held := l.keys.agent(l.target.Agent)
	used := map[string]bool{}
	var list []ssh.Signer
	add := func(s ssh.Signer, name string) {
		id := string(s.PublicKey().Marshal())
		if used[id] {
			return
		}
		used[id] = true
		l.try(name)
		if as, ok := s.(ssh.AlgorithmSigner); ok {
			s = signer{as, l}
		}
		list = append(list, s)
	}
	var files []*fileKey
	for _, path := range l.target.Identities {
		l.patron.pause() // an old key file asks for its passphrase at once
		f, err := l.keys.file(path)
		l.patron.resume()
		if err != nil {
			if !errors.Is(err, errNoKey) {
				l.failed = append(l.failed, err)
			} else if l.target.Only {
				l.failed = append(l.failed, fmt.Errorf("identity file %s does not exist", path))
			}
			continue
		}
		files = append(files, f)
		for _, s := range held.signers {
			if bytes.Equal(s.PublicKey().Marshal(), f.pub.Marshal()) {
				add(s, path+" (agent)")
			}
		}
	}
	for _, f := range files {
		if f.err == nil {
			add(f, f.path)
		} else if !used[string(f.pub.Marshal())] {
			l.failed = append(l.failed, f.err)
		}
	}
	if !l.target.Only {
		for _, s := range held.signers {
			name := held.names[string(s.PublicKey().Marshal())]
			add(s, "the agent's "+name)
		}
	}
	return list, nil
}

// methods are the ways to prove who we are, in the order they are tried.
func (l *login) methods() []ssh.AuthMethod {
	methods := []ssh.AuthMethod{ssh.PublicKeysCallback(l.signers)}
	if l.pass == nil {
		return methods
	}
	ask := func() (string, error) {
		l.patron.pause()
		defer l.patron.resume()
		l.try("password")
		return l.pass()
	}
	asked := false
	return append(methods,
		ssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
			answers := make([]string, len(questions))
			for n := range questions {
				// One secret question is the password; anything else, and the password a
				// second time, we cannot answer.
				if asked || echos[n] {
					return nil, errors.New("the server asks more than the password")
				}
				asked = true
				p, err := ask()
				if err != nil {
					return nil, err
				}
				answers[n] = p
			}
			return answers, nil
		}),
		ssh.PasswordCallback(func() (string, error) {
			if asked {
				return "", errors.New("the password was refused")
			}
			return ask()
		}))
}

// ours says whether the login failed for want of a secret.
func (l *login) ours() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unsigned != nil
}

// refused explains a failed authentication.
func (l *login) refused(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	advice := "Put your public key into its authorized_keys (ssh-copy-id), name the key as ssh.identity_file, or give --ask-pass"
	if l.pass != nil {
		advice = "Check user and password"
	}
	return &AuthError{Target: l.target.String(), Tried: l.tried, Err: errors.Join(append(l.failed, err)...), advice: advice}
}
