// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
)

// fake is a pegasus_server that knows its version.
const fake = "#!/bin/sh\necho 'Pegasus server 1.2.3 (abcdef0123) Release'\n"

func writeFake(t *testing.T) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "pegasus_server")
	require.NoError(t, os.WriteFile(p, []byte(fake), 0o755))
	return p
}

func TestBuildInspectExtract(t *testing.T) {
	ctx := context.Background()
	program := writeFake(t)
	out := filepath.Join(t.TempDir(), "dist")
	o := BuildOptions{Out: out, Program: program, Config: "[core]\n", Folder: true}
	info, err := Build(ctx, o)
	require.NoError(t, err)
	name := "pegasus-server-1.2.3-abcdef0-" + Platform() + "-release"
	require.Equal(t, filepath.Join(out, name+Suffix), info.Path)
	require.Equal(t, name, info.Root)
	require.Equal(t, Name{"1.2.3", "abcdef0", Platform(), "release"}, info.Name)
	require.FileExists(t, filepath.Join(out, name, "bin", "config.ini"))
	first, err := os.ReadFile(info.Path)
	require.NoError(t, err)

	// Packing again, later, gives the same bytes and replaces the folder.
	require.NoError(t, os.Chtimes(program, time.Now(), time.Now().Add(time.Hour)))
	again, err := Build(ctx, o)
	require.NoError(t, err)
	second, err := os.ReadFile(again.Path)
	require.NoError(t, err)
	require.Equal(t, info.SHA256, again.SHA256)
	require.True(t, bytes.Equal(first, second))
	entries, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Len(t, entries, 2, "no temporary files are left")

	dir := filepath.Join(t.TempDir(), "unpacked")
	require.NoError(t, Extract(ctx, info.Path, info.Root, dir))
	got, err := os.ReadFile(filepath.Join(dir, "bin", "pegasus_server"))
	require.NoError(t, err)
	require.Equal(t, fake, string(got))
	st, err := os.Stat(filepath.Join(dir, "bin", "pegasus_server"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o755), st.Mode())
	about, err := os.ReadFile(filepath.Join(dir, "VERSION"))
	require.NoError(t, err)
	require.Equal(t, "version: 1.2.3\ngit: abcdef0\nplatform: "+Platform()+"\nbuild: release\n", string(about))
	require.ErrorIs(t, Extract(ctx, info.Path, info.Root, dir), fs.ErrExist)
}

func TestFolderOfSomethingElseIsKept(t *testing.T) {
	out := t.TempDir()
	precious := filepath.Join(out, "pegasus-server-1.2.3-abcdef0-"+Platform()+"-release")
	require.NoError(t, os.Mkdir(precious, 0o755))
	_, err := Build(context.Background(), BuildOptions{Out: out, Program: writeFake(t), Folder: true})
	require.ErrorContains(t, err, "no server package")
	require.DirExists(t, precious)
}

type entry struct {
	name, body, link string
	kind             byte
	mode             int64
}

func archive(t *testing.T, entries ...entry) string {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		if e.mode == 0 {
			e.mode = 0o755
		}
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Size: int64(len(e.body))}
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write([]byte(e.body))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, zip.Close())
	p := filepath.Join(t.TempDir(), "pegasus-server-2.5.0-db756dc-glibc2.31-release.tar.gz")
	require.NoError(t, os.WriteFile(p, b.Bytes(), 0o644))
	return p
}

// The shape of a package of Apache Pegasus: a top folder, libraries, links, jars.
func TestForeignPackage(t *testing.T) {
	const top = "pegasus-server-2.5.0-db756dc-glibc2.31-release"
	p := archive(t,
		entry{name: "./" + top + "/", kind: tar.TypeDir},
		entry{name: "./" + top + "/bin/", kind: tar.TypeDir},
		entry{name: "./" + top + "/bin/pegasus_server", body: "ELF", mode: 0o6755},
		entry{name: "./" + top + "/bin/librocksdb.so.8.5", body: "lib"},
		entry{name: "./" + top + "/bin/librocksdb.so.8", kind: tar.TypeSymlink, link: "librocksdb.so.8.5"},
		entry{name: "./" + top + "/bin/librocksdb.so", kind: tar.TypeLink, link: "./" + top + "/bin/librocksdb.so.8.5"},
		entry{name: "./" + top + "/bin/config.ini", body: "%{cluster.name}", mode: 0o644},
		entry{name: "./" + top + "/hadoop/a.jar", body: "jar", mode: 0o644},
	)
	info, err := Inspect(p)
	require.NoError(t, err)
	require.Equal(t, top, info.Root)
	require.Equal(t, Name{"2.5.0", "db756dc", "glibc2.31", "release"}, info.Name)
	require.Equal(t, top, info.Label())
	require.Len(t, info.SHA256, 64)
	dir := filepath.Join(t.TempDir(), "d")
	require.NoError(t, Extract(context.Background(), p, info.Root, dir))
	lib, err := os.ReadFile(filepath.Join(dir, "bin", "librocksdb.so.8"))
	require.NoError(t, err)
	require.Equal(t, "lib", string(lib))
	st, err := os.Stat(filepath.Join(dir, "bin", "pegasus_server"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o755), st.Mode(), "set-id bits are dropped")
}

func TestNoTopFolder(t *testing.T) {
	p := archive(t, entry{name: "bin/pegasus_server", body: "x"}, entry{name: "VERSION", body: "v"})
	info, err := Inspect(p)
	require.NoError(t, err)
	require.Equal(t, "", info.Root)
	dir := filepath.Join(t.TempDir(), "d")
	require.NoError(t, Extract(context.Background(), p, info.Root, dir))
	require.FileExists(t, filepath.Join(dir, "VERSION"))
}

func TestRefused(t *testing.T) {
	server := entry{name: "p/bin/pegasus_server", body: "x"}
	tests := []struct {
		name    string
		entries []entry
		want    string
	}{
		{"empty", nil, "holds no bin/pegasus_server"},
		{"no server", []entry{{name: "p/bin/pegasus_shell"}}, "holds no bin/pegasus_server"},
		{"server is a folder", []entry{{name: "p/bin/pegasus_server/", kind: tar.TypeDir}}, "holds no bin/pegasus_server"},
		{"too deep", []entry{{name: "a/b/bin/pegasus_server"}}, "too deep"},
		{"not executable", []entry{{name: "p/bin/pegasus_server", mode: 0o644}}, "not executable"},
		{"climbs out", []entry{server, {name: "../../etc/cron.d/x"}}, "outside of the package"},
		{"climbs inside", []entry{server, {name: "p/../../x"}}, "outside of the package"},
		{"absolute", []entry{server, {name: "/etc/passwd"}}, "outside of the package"},
		{"link out", []entry{server, {name: "p/l", kind: tar.TypeSymlink, link: "../../etc"}}, "leads out"},
		{"link absolute", []entry{server, {name: "p/l", kind: tar.TypeSymlink, link: "/etc"}}, "leads out"},
		{"hard link out", []entry{server, {name: "p/l", kind: tar.TypeLink, link: "../x"}}, "leads out"},
		{"through a link", []entry{server, {name: "p/l", kind: tar.TypeSymlink, link: "bin"}, {name: "p/l/x"}}, "behind a symbolic link"},
		{"device", []entry{server, {name: "p/null", kind: tar.TypeChar}}, "neither a file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Inspect(archive(t, tt.entries...))
			var invalid *InvalidError
			require.True(t, errors.As(err, &invalid), "%v", err)
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, "pegasus-ops pack")
		})
	}
}

func TestDamaged(t *testing.T) {
	p := archive(t, entry{name: "bin/pegasus_server", body: "some content that is long enough to be cut"})
	whole, err := os.ReadFile(p)
	require.NoError(t, err)
	for _, n := range []int{0, 5, len(whole) / 2, len(whole) - 4} {
		require.NoError(t, os.WriteFile(p, whole[:n], 0o644))
		_, err := Inspect(p)
		require.ErrorContains(t, err, "no readable .tar.gz", "cut to %d bytes", n)
	}
	_, err = Inspect(filepath.Dir(p))
	require.ErrorContains(t, err, "is a folder")
	_, err = Inspect(p + "x")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestParseName(t *testing.T) {
	for file, want := range map[string]Name{
		"dist/pegasus-server-0.1.0-1234567-linux-amd64-release.tar.gz": {"0.1.0", "1234567", "linux-amd64", "release"},
		"pegasus-server-2.5.0-ac2ffe2-glibc2.17-release.tar.gz":        {"2.5.0", "ac2ffe2", "glibc2.17", "release"},
		"pegasus-server-1.12.3-glibc2.12-debug.tar.gz":                 {"1.12.3", "", "glibc2.12", "debug"},
		"pegasus-server-2.6.0-SNAPSHOT-db756dc-glibc2.31-release":      {"2.6.0-SNAPSHOT", "db756dc", "glibc2.31", "release"},
		"pegasus.tar.gz": {Version: "pegasus"},
	} {
		require.Equal(t, want, ParseName(file), file)
	}
	require.Equal(t, "pegasus-server-1.12.3-glibc2.12-debug", ParseName("pegasus-server-1.12.3-glibc2.12-debug.tar.gz").String())
}

func TestNewest(t *testing.T) {
	dir := t.TempDir()
	_, err := Newest(dir)
	require.ErrorContains(t, err, "pegasus-ops pack --out")
	_, err = Newest(filepath.Join(dir, "nothing"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	now := time.Now()
	for i, name := range []string{Prefix + "b.tar.gz", Prefix + "a.tar.gz", Prefix + "c.zip", "backup.tar.gz"} {
		p := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(p, nil, 0o644))
		at := now.Add(time.Duration(i) * time.Hour)
		require.NoError(t, os.Chtimes(p, at, at))
	}
	got, err := Newest(dir)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, Prefix+"a.tar.gz"), got)
	got, err = Newest(filepath.Join(dir, "backup.tar.gz"))
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "backup.tar.gz"), got, "a file that is named may be called as it likes")
}

func TestFindSource(t *testing.T) {
	here, err := FindSource(".")
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(here, "go.mod"))
	_, err = FindSource(t.TempDir())
	require.ErrorContains(t, err, "--package")
}

func TestProgramThatDoesNotKnowItsVersion(t *testing.T) {
	p := filepath.Join(t.TempDir(), "pegasus_server")
	require.NoError(t, os.WriteFile(p, []byte("#!/bin/sh\necho hello\n"), 0o755))
	_, err := Build(context.Background(), BuildOptions{Out: t.TempDir(), Program: p})
	require.ErrorContains(t, err, `"hello"`)
}
