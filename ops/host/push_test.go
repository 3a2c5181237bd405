// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pegasus-ops/pegasus-ops/ops/host/link"
	"github.com/pegasus-ops/pegasus-ops/ops/host/link/linktest"
	"github.com/pegasus-ops/pegasus-ops/ops/pack"
)

// makePackage packs some files, one of them random bytes of the given size.
func makePackage(t testing.TB, size int) (file, root string) {
	t.Helper()
	root = "pegasus-server-1.2.3"
	dir := filepath.Join(t.TempDir(), root)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	data := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(data)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bin", "pegasus_server"), data, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bin", "config.ini"), []byte("[core]\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bin", "empty"), nil, 0o644))
	require.NoError(t, os.Symlink("pegasus_server", filepath.Join(dir, "bin", "alias")))
	file = filepath.Join(t.TempDir(), root+".tar.gz")
	require.NoError(t, pack.Write(dir, file))
	return file, root
}

// tree is the content of a folder, to compare.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		require.NoError(t, err)
		rel, _ := filepath.Rel(dir, p)
		st, err := os.Lstat(p)
		require.NoError(t, err)
		switch {
		case st.Mode()&os.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			files[rel] = "-> " + target
		case st.IsDir():
			files[rel] = st.Mode().String()
		default:
			b, err := os.ReadFile(p)
			require.NoError(t, err)
			files[rel] = st.Mode().String() + " " + sumOf(b)
		}
		return nil
	}))
	return files
}

func sumOf(b []byte) string { sum := sha256.Sum256(b); return hex.EncodeToString(sum[:]) }

func TestUnpackIsTheSameEverywhere(t *testing.T) {
	file, root := makePackage(t, 9<<20)
	want := filepath.Join(t.TempDir(), "want")
	require.NoError(t, pack.Extract(context.Background(), file, root, want))
	eachHost(t, func(t *testing.T, h Host) {
		dir := filepath.Join(t.TempDir(), "sha")
		var last int64
		p := Package{Archive: file, Root: root, Dir: dir, Progress: func(sent, total int64) {
			if sent == total {
				last = sent
			}
		}}
		require.NoError(t, h.Unpack(context.Background(), p))
		require.Equal(t, tree(t, want), tree(t, dir))
		if _, remote := h.(*SSH); remote {
			require.Greater(t, last, int64(9<<20))
		}
		left, err := os.ReadDir(filepath.Dir(dir))
		require.NoError(t, err)
		require.Len(t, left, 1, "nothing else is left")
		require.Error(t, h.Unpack(context.Background(), p), "it is there already")
	})
}

// Without zstd on the host the package travels as gzip.
func TestPushWithoutZstd(t *testing.T) {
	bin := t.TempDir()
	for _, tool := range []string{"sh", "tar", "gzip", "sha256sum", "dd", "sync", "mkdir", "rm", "id", "cat", "sleep"} {
		p, err := exec.LookPath(tool)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(p, filepath.Join(bin, tool)))
	}
	s := linktest.Serve(t, linktest.Config{Path: bin, OnlyPath: true})
	h := openSSH(t, s.Addr, s.KeyFile, linktest.KnownHosts(t, s))
	file, root := makePackage(t, 1<<20)
	dir := filepath.Join(t.TempDir(), "sha")
	require.NoError(t, h.Unpack(context.Background(), Package{Archive: file, Root: root, Dir: dir}))
	require.FileExists(t, filepath.Join(dir, "bin", "pegasus_server"))
	require.Contains(t, h.wires.made, wireKey{file, root, "gzip"})
}

// A push that broke off goes on where it was: what is right is not sent again,
// what is damaged is.
func TestPushResumes(t *testing.T) {
	ctx := context.Background()
	file, root := makePackage(t, 5*pieceSize)
	s := linktest.Serve(t, linktest.Config{})
	known := linktest.KnownHosts(t, s)
	dir := filepath.Join(t.TempDir(), "sha")
	part := filepath.Join(filepath.Dir(dir), ".sha.zstd.part")

	h := openSSH(t, s.Addr, s.KeyFile, known)
	var once sync.Once
	err := h.Unpack(ctx, Package{Archive: file, Root: root, Dir: dir, Progress: func(sent, _ int64) {
		if sent > 3*pieceSize {
			once.Do(s.Cut)
		}
	}})
	var lost *link.LostError
	require.ErrorAs(t, err, &lost)
	require.NoDirExists(t, dir)
	require.FileExists(t, part)

	// Damage the second piece and add garbage behind the end.
	f, err := os.OpenFile(part, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("damage"), pieceSize+7)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("x"), 30*pieceSize)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	h = openSSH(t, s.Addr, s.KeyFile, known)
	first := int64(-1)
	require.NoError(t, h.Unpack(ctx, Package{Archive: file, Root: root, Dir: dir, Progress: func(sent, _ int64) {
		if first < 0 {
			first = sent
		}
	}}))
	require.GreaterOrEqual(t, first, int64(pieceSize), "a good piece is kept")
	require.NoFileExists(t, part)
	want := filepath.Join(t.TempDir(), "want")
	require.NoError(t, pack.Extract(ctx, file, root, want))
	require.Equal(t, tree(t, want), tree(t, dir))
}

func TestPushIsCancelled(t *testing.T) {
	file, root := makePackage(t, 4*pieceSize)
	s := linktest.Serve(t, linktest.Config{})
	h := openSSH(t, s.Addr, s.KeyFile, linktest.KnownHosts(t, s))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := h.Unpack(ctx, Package{Archive: file, Root: root, Dir: filepath.Join(t.TempDir(), "sha"), Progress: func(sent, _ int64) {
		if sent > pieceSize {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	_, err = h.Run(context.Background(), Command{Args: []string{"true"}})
	require.NoError(t, err, "the connection goes on")
}

func TestShare(t *testing.T) {
	spans := []span{{0, 10}, {20, 25}, {30, 70}}
	for n := 1; n < 9; n++ {
		dealt := share(spans, n)
		require.LessOrEqual(t, len(dealt), n)
		var all []span
		for _, d := range dealt {
			require.LessOrEqual(t, bytesOf(d), int64(55/n+1))
			for _, s := range d {
				if last := len(all) - 1; last >= 0 && all[last].to == s.from {
					all[last].to = s.to
				} else {
					all = append(all, s)
				}
			}
		}
		require.Equal(t, spans, all)
	}
	require.Empty(t, share(nil, 3))
}

// delayed is a connection with a long way in between: every byte arrives later.
func delayed(oneWay time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		far, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		near, inner := net.Pipe()
		pump := func(from, to net.Conn) {
			type packet struct {
				data []byte
				due  time.Time
			}
			queue := make(chan packet, 4096)
			go func() {
				defer close(queue)
				for {
					b := make([]byte, 64<<10)
					n, err := from.Read(b)
					if n > 0 {
						queue <- packet{b[:n], time.Now().Add(oneWay)}
					}
					if err != nil {
						return
					}
				}
			}()
			for p := range queue {
				time.Sleep(time.Until(p.due))
				if _, err := to.Write(p.data); err != nil {
					break
				}
			}
			_ = to.Close()
			_ = from.Close()
			for range queue {
			}
		}
		go pump(inner, far)
		go pump(far, inner)
		return near, nil
	}
}

// Over a long way several channels carry a push; one would be held up by its window.
func TestPushOverALongWay(t *testing.T) {
	file, root := makePackage(t, 24<<20)
	s := linktest.Serve(t, linktest.Config{})
	o := quiet(t)
	o.Dial = delayed(20 * time.Millisecond)
	opener := NewOpener(o)
	t.Cleanup(func() { _ = opener.Close() })
	h := openWith(t, opener, s.Addr, s.KeyFile, linktest.KnownHosts(t, s), false)
	_, err := h.Lstat(context.Background(), "/")
	require.NoError(t, err)
	w, err := h.wires.get(context.Background(), file, root, "zstd")
	require.NoError(t, err)
	part := filepath.Join(t.TempDir(), "part")
	began := time.Now()
	require.NoError(t, h.send(context.Background(), w, part, []span{{0, w.size}}, nil))
	took := time.Since(began)
	b, err := os.ReadFile(part)
	require.NoError(t, err)
	require.Equal(t, w.sum, sumOf(b))
	t.Logf("%d MB at 40 ms in %s: %.0f MB/s", w.size/1e6, took.Round(time.Millisecond), float64(w.size)/1e6/took.Seconds())
	// One write after the other, 32 KiB each, would take 30 s.
	require.Less(t, took, 5*time.Second)
	require.GreaterOrEqual(t, s.Sessions.Load(), int64(3), "several channels")
}

// What a push takes of memory does not depend on the size of the package.
func TestPushMemory(t *testing.T) {
	s := linktest.Serve(t, linktest.Config{})
	h := openSSH(t, s.Addr, s.KeyFile, linktest.KnownHosts(t, s))
	file, root := makePackage(t, 64<<20)
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	peak := uint64(0)
	var told time.Time
	require.NoError(t, h.Unpack(context.Background(), Package{Archive: file, Root: root, Dir: filepath.Join(t.TempDir(), "sha"), Progress: func(int64, int64) {
		if time.Since(told) > 20*time.Millisecond {
			told = time.Now()
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapInuse)
		}
	}}))
	t.Logf("64 MB package: heap %d MB before, %d MB at most, server of the test included", before.HeapInuse>>20, peak>>20)
	require.Less(t, peak, before.HeapInuse+100<<20)
}

func TestDamagedArchiveIsNotSent(t *testing.T) {
	file, root := makePackage(t, 1<<20)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, b[:len(b)/2], 0o644))
	s := linktest.Serve(t, linktest.Config{})
	h := openSSH(t, s.Addr, s.KeyFile, linktest.KnownHosts(t, s))
	dir := filepath.Join(t.TempDir(), "sha")
	require.ErrorContains(t, h.Unpack(context.Background(), Package{Archive: file, Root: root, Dir: dir}), "repack")
	require.NoDirExists(t, dir)
}

// BenchmarkPush compares with scp. Run it alone.
func BenchmarkPush(b *testing.B) {
	d := linktest.Sshd(b)
	scp, err := exec.LookPath("scp")
	if err != nil {
		b.Skip("scp is not installed: apt-get install openssh-client")
	}
	const size = 64 << 20
	file, root := makePackage(b, size)
	o := NewOpener(link.Options{Home: b.TempDir(), Settings: []string{}, Agent: "/no/agent"})
	defer o.Close()
	_, port, _ := net.SplitHostPort(d.Addr)
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(size)
		h := benchHost(b, o, d)
		defer h.Close()
		w, err := h.wires.get(context.Background(), file, root, "zstd")
		require.NoError(b, err)
		for b.Loop() {
			part := filepath.Join(b.TempDir(), "part")
			require.NoError(b, h.send(context.Background(), w, part, []span{{0, w.size}}, nil))
		}
	})
	for name, extra := range map[string][]string{"scp": nil, "scp-aes128-gcm": {"-c", "aes128-gcm@openssh.com"}} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				args := append([]string{"-q", "-P", port, "-i", d.KeyFile, "-o", "UserKnownHostsFile=" + d.KnownHosts, "-o", "IdentitiesOnly=yes", "-F", "none"}, extra...)
				out, err := exec.Command(scp, append(args, file, d.User+"@127.0.0.1:"+filepath.Join(b.TempDir(), "f"))...).CombinedOutput()
				require.NoError(b, err, "%s", bytes.TrimSpace(out))
			}
		})
	}
}

func benchHost(b *testing.B, o *Opener, d *linktest.Daemon) *SSH {
	b.Helper()
	c, err := o.dialer.Dial(context.Background(), link.Target{Address: "127.0.0.1", Port: d.Port, User: d.User, Identities: []string{d.KeyFile}, KnownHosts: []string{d.KnownHosts}})
	require.NoError(b, err)
	return &SSH{name: "bench", conn: c, wires: o.wires}
}
