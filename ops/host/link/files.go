// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pkg/sftp"
)

// Requests under way on one channel, and bytes in each. OpenSSH takes packets of
// 256 KiB; others promise no more than 32 KiB. A channel's window, 2 MiB with
// OpenSSH, ends what more of them could gain.
const (
	requestsAtOnce = 64
	openSSHPacket  = 255 << 10
	anyonesPacket  = 32 << 10
)

// NoFilesError is a machine without sftp.
type NoFilesError struct {
	Target string
	Err    error
}

func (e *NoFilesError) Error() string {
	return fmt.Sprintf("%s has no sftp: %v; put `Subsystem sftp internal-sftp` into its sshd_config, and let no login script of the user print anything", e.Target, e.Err)
}
func (e *NoFilesError) Unwrap() error { return e.Err }

// Files calls use with the file system of the other side. All calls share one
// channel, on which their requests overlap. When ctx ends, Files returns and use
// goes on by itself until the other side answers: use hands over what it found as
// its result, and in no other way.
func Files[T any](ctx context.Context, c *Conn, use func(*sftp.Client) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, FilesLimit, fmt.Errorf("%s did not answer within %s", c.target, FilesLimit))
	defer cancel()
	for again := false; ; again = true {
		client, err := c.shared(ctx)
		if err != nil {
			var none T
			return none, err
		}
		v, err := Await(ctx, c, func() (T, error) { return use(client) }, nil)
		if err == nil || !errors.Is(err, sftp.ErrSSHFxConnectionLost) || c.Err() != nil {
			return v, err
		}
		// The channel ended and the connection did not: sftp-server was killed.
		c.files.mu.Lock()
		if c.files.client == client {
			c.files.client = nil
		}
		c.files.mu.Unlock()
		if again {
			return v, fmt.Errorf("the sftp server on %s ends: %w", c.target, err)
		}
	}
}

func (c *Conn) shared(ctx context.Context) (*sftp.Client, error) {
	c.files.mu.Lock()
	defer c.files.mu.Unlock()
	if c.files.client != nil {
		return c.files.client, nil
	}
	client, _, err := c.channel(ctx)
	if err != nil {
		return nil, err
	}
	c.files.client = client
	return client, nil
}

// Channel opens a further channel to the file system, for bulk transfers.
func (c *Conn) Channel(ctx context.Context) (client *sftp.Client, done func(), err error) {
	return c.channel(ctx)
}

// Spare is how many sessions could be opened now without waiting.
func (c *Conn) Spare() int {
	n := 0
	for n < MaxSessions && c.slots.TryAcquire(1) {
		n++
	}
	c.slots.Release(int64(n))
	return n
}

func (c *Conn) channel(ctx context.Context) (*sftp.Client, func(), error) {
	s, release, err := c.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	in, err1 := s.StdinPipe()
	out, err2 := s.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		release()
		return nil, nil, err
	}
	packet := anyonesPacket
	if c.openSSH() {
		packet = openSSHPacket
	}
	ctx, cancel := context.WithTimeoutCause(ctx, sessionLimit, errors.New("it does not answer"))
	defer cancel()
	client, err := Await(ctx, c, func() (*sftp.Client, error) {
		if err := s.RequestSubsystem("sftp"); err != nil {
			return nil, err
		}
		return sftp.NewClientPipe(&firstWords{r: out}, in, sftp.UseConcurrentWrites(true), sftp.UseConcurrentReads(false),
			sftp.MaxConcurrentRequestsPerFile(requestsAtOnce), sftp.MaxPacketUnchecked(packet))
	}, nil)
	if err != nil {
		_ = s.Close()
		release()
		if c.Err() != nil || ctx.Err() != nil {
			return nil, nil, err
		}
		return nil, nil, &NoFilesError{c.target.String(), err}
	}
	c.work.Go(func() {
		_ = client.Wait()
		_ = s.Close()
		release()
	})
	// Not in.Close: that must not meet a write, and closing the channel ends one.
	return client, func() { _ = s.Close() }, nil
}

// firstWords refuses a login script's greeting before it is taken for the length
// of a packet of some gigabytes.
type firstWords struct {
	r    io.Reader
	seen bool
}

func (f *firstWords) Read(p []byte) (int, error) {
	if f.seen {
		return f.r.Read(p)
	}
	// The first packet is a version of a few hundred bytes: its length begins with
	// two zeros.
	f.seen = true
	said := make([]byte, max(len(p), 80))
	n, err := f.r.Read(said[:len(p)])
	if n > 0 && said[0] != 0 {
		more, _ := f.r.Read(said[n:])
		return 0, fmt.Errorf("instead of sftp it says %q", strings.TrimSpace(string(said[:n+more])))
	}
	return copy(p, said[:n]), err
}

// FilesLimit bounds one operation on the file system of the other side.
const FilesLimit = 30 * time.Second
