// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"regexp"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// maxCopyBlock bounds one answer of the file server.
const maxCopyBlock = 4 << 20

// copyDirs are the directories, relative to a replica's, that other servers may read.
var copyDirs = regexp.MustCompile(`^data/checkpoint\.[0-9]{1,19}$`)

// copyPath checks what a file copy names and returns the path relative to the replica's
// directory. Only plain files of checkpoints are handed out.
func copyPath(dir, name string) (string, error) {
	if !copyDirs.MatchString(dir) {
		return "", fmt.Errorf("directory %q is not open to other servers", dir)
	}
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\\\x00") {
		return "", fmt.Errorf("%q is not a plain file name", name)
	}
	return dir + "/" + name, nil
}

// onCopy answers RPC_NFS_COPY: one piece of one file of a checkpoint.
func (s *Server) onCopy(r *wire.Request) {
	var req idl.FileCopyRequest
	if err := r.Decode(&req); err != nil {
		r.ReplyError(idl.ErrInvalidData)
		return
	}
	resp := s.copyBlock(&req)
	if resp.Err.OK() {
		s.metrics.served.Add(int64(len(resp.Data)))
	} else {
		s.metrics.serveFailed.Inc()
	}
	r.Reply(resp)
}

func (s *Server) copyBlock(req *idl.FileCopyRequest) *idl.FileCopyResponse {
	rel, err := copyPath(req.Dir, req.Name)
	if err != nil || req.Offset < 0 || req.Size <= 0 {
		s.log.Warn("refused a file copy", "gpid", req.Pid, "dir", req.Dir, "file", req.Name, "err", err)
		return &idl.FileCopyResponse{Err: idl.ErrInvalidParameters}
	}
	rep := s.replica(req.Pid)
	if rep == nil {
		return &idl.FileCopyResponse{Err: idl.ErrObjectNotFound}
	}
	rep.pins.touch(req.Dir)
	fs := s.opts.FS
	path := fs.PathJoin(rep.dir, rel)
	f, err := fs.Open(path)
	if err != nil {
		s.log.Warn("cannot open a file to be copied", "gpid", req.Pid, "file", path, "err", err)
		return &idl.FileCopyResponse{Err: idl.ErrPathNotFound}
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		return &idl.FileCopyResponse{Err: idl.ErrPathNotFound}
	}
	size := info.Size()
	n := min(int64(req.Size), maxCopyBlock, max(size-req.Offset, 0))
	b := make([]byte, n)
	if _, err := f.ReadAt(b, req.Offset); err != nil && !errors.Is(err, io.EOF) {
		s.log.Error("cannot read a file to be copied; check the disk", "gpid", req.Pid, "file", path, "err", err)
		return &idl.FileCopyResponse{Err: idl.ErrFileOperationFailed}
	}
	return &idl.FileCopyResponse{
		Err: idl.ErrOK, Data: b, FileSize: size, Crc32c: int32(crc32.Checksum(b, castagnoli)),
	}
}
