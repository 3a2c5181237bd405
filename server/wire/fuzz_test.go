// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"testing"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// FuzzFrame feeds arbitrary bytes to the request decoders: they never panic, never claim more
// than there is, and what they accept can be answered.
func FuzzFrame(f *testing.F) {
	for _, file := range []struct {
		name    string
		id, hex int
	}{{"golden.tsv", 0, 3}, {"rdsn.tsv", 1, 5}} {
		for _, g := range readTSV(f, file.name, file.id, file.hex) {
			f.Add(g.bytes)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := frameSize(b, DefaultMaxFrame)
		if err != nil || n > len(b) {
			return
		}
		var h frameHeader
		if parseFrame(b[:n:n], &h) != nil {
			return
		}
		if len(h.name) == 0 || len(h.name) > maxNameLen {
			t.Errorf("accepted a name of %d bytes", len(h.name))
		}
		if h.framing == FramingRDSN {
			a := appendRDSNReply(nil, h.rdsn, idl.ErrOK, string(h.name)+"_ACK", 1, idl.I64(1))
			var back frameHeader
			if size, err := frameSize(a, DefaultMaxFrame); err != nil || size != len(a) {
				t.Errorf("answer has size %d of %d, %v", size, len(a), err)
			} else if err := parseFrame(a, &back); err != nil || !back.response {
				t.Errorf("answer is not understood: %v", err)
			}
			return
		}
		a := appendTHFTReply(nil, idl.ErrOK, string(h.name)+"_ACK", h.seq, idl.I64(1))
		var r reply
		if err := parseReply(a, &r); err != nil || r.seq != h.seq {
			t.Errorf("answer is not understood: %v", err)
		}
	})
}

// FuzzReply does the same for the decoder of answers.
func FuzzReply(f *testing.F) {
	for _, g := range readTSV(f, "golden.tsv", 0, 3) {
		f.Add(g.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := replySize(b, DefaultMaxFrame)
		if err != nil || n > len(b) {
			return
		}
		var r reply
		parseReply(b[:n:n], &r)
	})
}
