// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/sync/errgroup"
)

// longWay is the round trip from which more channels pay: the window of one is
// 2 MiB, so at 15 ms it carries some 130 MB/s.
const (
	longWay    = 15 * time.Millisecond
	maxStreams = 4
)

// transferLimit bounds one push when nothing else does.
const transferLimit = 2 * time.Hour

// Unpack implements Host. The package is sent once, into a file beside the folder
// it goes to, checked there by its SHA-256, unpacked and synced. What a transfer
// that broke off has left is checked piece by piece and not sent again.
func (h *SSH) Unpack(ctx context.Context, p Package) error {
	ctx, cancel := context.WithTimeoutCause(ctx, transferLimit, fmt.Errorf("it did not end within %s", transferLimit))
	defer cancel()
	return h.wrap("install package", h.unpack(ctx, p))
}

func (h *SSH) unpack(ctx context.Context, p Package) error {
	if _, err := h.Lstat(ctx, p.Dir); err == nil {
		return fmt.Errorf("%s is there already", p.Dir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	id, err := h.identity(ctx)
	if err != nil {
		return err
	}
	codec := "gzip"
	if id.tools["zstd"] {
		codec = "zstd"
	}
	if !id.tools["tar"] || !id.tools[codec] || !id.tools["sha256sum"] && !id.tools["openssl"] {
		return errors.New("the host needs tar, gzip or zstd, and sha256sum; install them")
	}
	w, err := h.wires.get(ctx, p.Archive, p.Root, codec)
	if err != nil {
		return err
	}
	part := path.Join(path.Dir(p.Dir), "."+path.Base(p.Dir)+"."+codec+".part")
	// A second look mends what arrived damaged; a third would find the same.
	for attempt := 0; ; attempt++ {
		err := h.transfer(ctx, w, part, p)
		if err == nil {
			err = h.install(ctx, w, codec, part, p.Dir)
		}
		if !errors.Is(err, errDamaged) || attempt > 0 {
			return err
		}
	}
}

func (h *SSH) transfer(ctx context.Context, w *wire, part string, p Package) error {
	missing, err := h.missing(ctx, w, part)
	if err != nil {
		return err
	}
	left := bytesOf(missing)
	d, err := h.Disk(ctx, p.Dir)
	if err != nil {
		return err
	}
	if d.Free < left+w.bytes {
		return &FullError{Host: h.name, Dir: p.Dir, Disk: d, Needed: left + w.bytes}
	}
	return h.full(ctx, path.Dir(part), 0, h.send(ctx, w, part, missing, p.Progress))
}

// span is a part of a file: from its first byte to the one after its last.
type span struct{ from, to int64 }

func (s span) size() int64 { return s.to - s.from }

func bytesOf(spans []span) (n int64) {
	for _, s := range spans {
		n += s.size()
	}
	return n
}

const pieceScript = `n=0; while [ "$n" -lt "$3" ]; do
  if command -v sha256sum >/dev/null; then dd if="$1" bs="$2" skip="$n" count=1 2>/dev/null | sha256sum
  else dd if="$1" bs="$2" skip="$n" count=1 2>/dev/null | openssl dgst -sha256 -r; fi
n=$((n+1)); done`

// missing is what of a transfer the host does not have yet. A transfer writes at
// several places at once, so after a break there are holes: only checksums tell.
func (h *SSH) missing(ctx context.Context, w *wire, part string) ([]span, error) {
	whole := []span{{0, w.size}}
	st, err := h.Lstat(ctx, part)
	if errors.Is(err, fs.ErrNotExist) {
		return whole, nil
	}
	if err != nil {
		return nil, err
	}
	pieces := (min(st.Size(), w.size) + pieceSize - 1) / pieceSize
	if pieces == 0 {
		return whole, nil
	}
	c := script("check "+part, pieceScript, part, fmt.Sprint(pieceSize), fmt.Sprint(pieces))
	c.Limit = transferLimit
	res, err := h.Run(ctx, c)
	if err != nil {
		return nil, err
	}
	sums := strings.Split(strings.TrimSpace(string(res.Stdout)), "\n")
	var missing []span
	for n, want := range w.pieces {
		if n < len(sums) && strings.HasPrefix(sums[n], want) {
			continue
		}
		s := span{int64(n) * pieceSize, min(int64(n+1)*pieceSize, w.size)}
		if last := len(missing) - 1; last >= 0 && missing[last].to == s.from {
			missing[last].to = s.to
		} else {
			missing = append(missing, s)
		}
	}
	return missing, nil
}

// send writes the missing spans, over a long way on several channels at once.
func (h *SSH) send(ctx context.Context, w *wire, part string, missing []span, progress func(sent, total int64)) error {
	local, err := os.Open(w.path)
	if err != nil {
		return err
	}
	defer local.Close()
	size := w.size
	err = h.files(ctx, "write "+part, func(c *sftp.Client) error {
		f, err := c.OpenFile(part, os.O_WRONLY|os.O_CREATE)
		if err != nil {
			return err
		}
		st, err := f.Stat()
		if err == nil && st.Size() > size { // left of another attempt, made otherwise
			err = f.Truncate(size)
		}
		return errors.Join(err, f.Close())
	})
	if err != nil {
		return err
	}
	left := bytesOf(missing)
	var sent atomic.Int64
	report := func(n int64) {
		if now := sent.Add(n); progress != nil {
			progress(now, size)
		}
	}
	report(size - left)
	if left == 0 {
		return nil
	}
	streams := 1
	if rtt, err := h.conn.Ping(ctx); err != nil {
		return err
	} else if rtt >= longWay {
		streams = max(1, min(maxStreams, h.conn.Spare()-1, int(left/pieceSize)))
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, work := range share(missing, streams) {
		g.Go(func() error { return h.stream(ctx, local, part, work, report) })
	}
	return g.Wait()
}

// share deals spans out to at most n streams, about the same number of bytes to
// each, each in order.
func share(spans []span, n int) [][]span {
	each := (bytesOf(spans) + int64(n) - 1) / int64(n)
	var dealt [][]span
	var now []span
	room := each
	for _, s := range spans {
		for s.size() > 0 {
			take := span{s.from, min(s.to, s.from+room)}
			now, s.from, room = append(now, take), take.to, room-take.size()
			if room == 0 {
				dealt, now, room = append(dealt, now), nil, each
			}
		}
	}
	if len(now) > 0 {
		dealt = append(dealt, now)
	}
	return dealt
}

// stream writes spans on a channel of its own, many requests under way.
func (h *SSH) stream(ctx context.Context, local *os.File, part string, work []span, report func(int64)) error {
	c, done, err := h.conn.Channel(ctx)
	if err != nil {
		return err
	}
	end := sync.OnceFunc(done) // ends whatever is under way on the channel
	defer end()
	defer context.AfterFunc(ctx, end)()
	write := func() error {
		f, err := c.OpenFile(part, os.O_WRONLY)
		if err != nil {
			return err
		}
		for _, s := range work {
			if _, err = f.Seek(s.from, io.SeekStart); err == nil {
				_, err = f.ReadFromWithConcurrency(&counted{ctx, io.NewSectionReader(local, s.from, s.size()), report}, 0)
			}
			if err != nil {
				return errors.Join(err, f.Close())
			}
		}
		return errors.Join(syncFile(c, f), f.Close())
	}
	err = write()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if lost := h.conn.Failed(); lost != nil {
		return lost
	}
	return h.wrap("write "+part, plainer(err))
}

// counted reports what is read through it and stops with its context.
type counted struct {
	ctx    context.Context
	r      io.Reader
	report func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	if n > 0 {
		c.report(int64(n))
	}
	return n, err
}

// errDamaged is a transfer whose checksum on the host is wrong.
var errDamaged = errors.New("the package arrived damaged")

// damagedStatus is how installScript says so.
const damagedStatus = 65

// installScript checks the transfer and unpacks it.
const installScript = `part=$1 want=$2 codec=$3 dir=$4
if command -v sha256sum >/dev/null; then have=$(sha256sum <"$part"); else have=$(openssl dgst -sha256 -r <"$part"); fi || exit 1
[ "${have%% *}" = "$want" ] || { echo "its checksum is ${have%% *}, not $want" >&2; exit 65; }
umask 022
mkdir -- "$dir" || exit 1
"$codec" -dc <"$part" | tar -xf - -C "$dir" || exit 1
sync -f "$dir" 2>/dev/null || sync
rm -f -- "$part"`

func (h *SSH) install(ctx context.Context, w *wire, codec, part, dir string) error {
	c := script("check and unpack "+part, installScript, part, w.sum, codec, dir)
	c.Limit = transferLimit
	_, err := h.Run(ctx, c)
	if status(err) == damagedStatus {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return h.full(ctx, path.Dir(dir), 0, err)
}
