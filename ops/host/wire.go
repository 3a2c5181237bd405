// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/pegasus-ops/pegasus-ops/ops/pack"
)

// A wire is a package as it travels: a tar stream compressed with zstd where the
// host can undo that, for it costs the host a tenth of gunzip's time, else with
// gzip. It is made once for all hosts, in a temporary file.
type wire struct {
	path   string
	size   int64
	sum    string   // SHA-256
	pieces []string // SHA-256 of each pieceSize bytes
	bytes  int64    // of the files when unpacked
}

// pieceSize is the unit in which a transfer that broke off is looked at again.
const pieceSize = 4 << 20

// wires are the wires of a run.
type wires struct {
	mu   sync.Mutex
	made map[wireKey]*wireFuture
}

type wireKey struct{ archive, root, codec string }

type wireFuture struct {
	done chan struct{}
	wire *wire
	err  error
}

// get is the wire of a package; the first who needs it makes it, the others wait.
func (w *wires) get(ctx context.Context, archive, root, codec string) (*wire, error) {
	key := wireKey{archive, root, codec}
	for {
		w.mu.Lock()
		f := w.made[key]
		mine := f == nil
		if mine {
			f = &wireFuture{done: make(chan struct{})}
			if w.made == nil {
				w.made = map[wireKey]*wireFuture{}
			}
			w.made[key] = f
		}
		w.mu.Unlock()
		if mine {
			f.wire, f.err = makeWire(ctx, archive, root, codec)
			if f.err != nil {
				w.mu.Lock()
				delete(w.made, key)
				w.mu.Unlock()
			}
			close(f.done)
			return f.wire, f.err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-f.done:
		}
		// Its maker may have been told to stop while we were not.
		if !errors.Is(f.err, context.Canceled) {
			return f.wire, f.err
		}
	}
}

// close removes the temporary files. Nobody may be using them any more.
func (w *wires) close() {
	w.mu.Lock()
	made := w.made
	w.made = nil
	w.mu.Unlock()
	for _, f := range made {
		<-f.done
		if f.wire != nil {
			_ = os.Remove(f.wire.path)
		}
	}
}

func makeWire(ctx context.Context, archive, root, codec string) (made *wire, err error) {
	f, err := os.CreateTemp("", "pegasus-ops-push-*")
	if err != nil {
		return nil, fmt.Errorf("prepare %s for its way: %w", archive, err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(f.Name())
			made, err = nil, fmt.Errorf("prepare %s for its way: %w", archive, err)
		}
	}()
	sums := &pieceSums{whole: sha256.New(), piece: sha256.New()}
	out := bufio.NewWriterSize(io.MultiWriter(f, sums), 256<<10)
	var packed io.WriteCloser
	if codec == "zstd" {
		packed, err = zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(2))
	} else {
		packed, err = gzip.NewWriterLevel(out, gzip.BestSpeed)
	}
	if err != nil {
		return nil, err
	}
	w := &wire{path: f.Name()}
	w.bytes, err = pack.Repack(ctx, archive, root, packed)
	if err = errors.Join(err, packed.Close(), out.Flush()); err != nil {
		return nil, err
	}
	w.size, w.sum, w.pieces = sums.end()
	return w, nil
}

// pieceSums are the checksums of a stream and of each of its pieces.
type pieceSums struct {
	whole, piece hash.Hash
	n            int64
	pieces       []string
}

// Write implements io.Writer.
func (s *pieceSums) Write(p []byte) (int, error) {
	_, _ = s.whole.Write(p) // a hash never fails
	for rest := p; len(rest) > 0; {
		part := rest[:min(pieceSize-int(s.n%pieceSize), len(rest))]
		_, _ = s.piece.Write(part)
		if s.n += int64(len(part)); s.n%pieceSize == 0 {
			s.cut()
		}
		rest = rest[len(part):]
	}
	return len(p), nil
}

func (s *pieceSums) cut() {
	s.pieces = append(s.pieces, hex.EncodeToString(s.piece.Sum(nil)))
	s.piece.Reset()
}

func (s *pieceSums) end() (size int64, whole string, pieces []string) {
	if s.n%pieceSize != 0 {
		s.cut()
	}
	return s.n, hex.EncodeToString(s.whole.Sum(nil)), s.pieces
}
