// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

type randReader struct{}

func (randReader) Read(p []byte) (int, error) { return rand.Read(p) }

// hostKeys are an ed25519, an ecdsa and an rsa key.
func hostKeys(t *testing.T) []ssh.Signer {
	t.Helper()
	var keys []ssh.Signer
	add := func(key any, err error) {
		require.NoError(t, err)
		s, err := ssh.NewSignerFromKey(key)
		require.NoError(t, err)
		keys = append(keys, s)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	add(ed, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	add(ec, err)
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	add(r, err)
	return keys
}

func rawKey(t *testing.T) any {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048) // needs the sha2 signatures negotiated
	require.NoError(t, err)
	return r
}
