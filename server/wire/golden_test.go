// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// rawValue is an encoded value that is passed through.
type rawValue struct {
	typ byte
	b   []byte
}

func (v rawValue) WireType() byte         { return v.typ }
func (v rawValue) Append(b []byte) []byte { return append(b, v.b...) }

type goldenFrame struct {
	id    string
	bytes []byte
}

func readTSV(t testing.TB, file string, idCol, hexCol int) []goldenFrame {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var frames []goldenFrame
	for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if i == 0 {
			continue
		}
		cols := strings.Split(line, "\t")
		b, err := hex.DecodeString(cols[hexCol])
		if err != nil {
			t.Fatalf("%s line %d: %v", file, i+1, err)
		}
		frames = append(frames, goldenFrame{cols[idCol] + " " + cols[idCol+1], b})
	}
	return frames
}

func TestGoldenTHFTRequestsAreUnderstoodAndRebuilt(t *testing.T) {
	requests, answers := 0, 0
	for _, f := range readTSV(t, "golden.tsv", 0, 3) {
		if !bytes.HasPrefix(f.bytes, []byte(magicTHFT)) {
			continue
		}
		n, err := frameSize(f.bytes, DefaultMaxFrame)
		if err != nil || n != len(f.bytes) {
			t.Errorf("%s: size %d of %d, %v", f.id, n, len(f.bytes), err)
			continue
		}
		for cut := range f.bytes {
			if _, err := frameSize(f.bytes[:cut], DefaultMaxFrame); err != nil && err != errShort {
				t.Errorf("%s: a prefix of %d bytes is refused: %v", f.id, cut, err)
			}
		}
		var h frameHeader
		if err := parseFrame(f.bytes, &h); err != nil {
			t.Errorf("%s: %v", f.id, err)
			continue
		}
		requests++
		if !strings.HasPrefix(string(h.name), "RPC_") {
			t.Errorf("%s: name %q", f.id, h.name)
		}
		if h.framing == FramingTHFT0 {
			// Our encoder writes what the Go client writes; the thread hash of a full scan
			// and the field id are all that other clients choose differently.
			again := appendRequest(nil, string(h.name), h.gpid, h.hash, time.Duration(h.timeout)*time.Millisecond, h.seq, rawValue{h.argType, h.arg})
			copy(again[36:40], f.bytes[36:40])
			if !bytes.Equal(again, f.bytes) {
				t.Errorf("%s: rebuilt as\n%x, want\n%x", f.id, again, f.bytes)
			}
		}
	}
	for _, f := range readTSV(t, "golden.tsv", 0, 3) {
		if bytes.HasPrefix(f.bytes, []byte(magicTHFT)) || bytes.HasPrefix(f.bytes, []byte(magicRDSN)) {
			continue
		}
		n, err := replySize(f.bytes, DefaultMaxFrame)
		if err != nil || n != len(f.bytes) {
			t.Errorf("%s: size %d of %d, %v", f.id, n, len(f.bytes), err)
			continue
		}
		var r reply
		if err := parseReply(f.bytes, &r); err != nil {
			t.Errorf("%s: %v", f.id, err)
			continue
		}
		answers++
		var v idl.Value
		if r.val != nil {
			v = rawValue{r.typ, r.val}
		}
		if again := appendTHFTReply(nil, r.code, string(r.name), r.seq, v); !bytes.Equal(again, f.bytes) {
			t.Errorf("%s: rebuilt as\n%x, want\n%x", f.id, again, f.bytes)
		}
	}
	if requests+answers+10 != 70 { // ten of them are RDSN frames
		t.Errorf("%d requests and %d answers were looked at", requests, answers)
	}
}

// normalRDSN blanks what is local to the process that wrote the header.
func normalRDSN(b []byte) []byte {
	b = bytes.Clone(b)
	clear(b[12:16])
	clear(b[20:24])
	clear(b[88:96])
	clear(b[184:192])
	return b
}

func TestGoldenRDSNAnswersAreRebuiltFromTheirRequests(t *testing.T) {
	type key struct {
		name string
		id   uint64
		tr   uint64
	}
	asked := map[key][]byte{}
	requests, answers, unmatched := 0, 0, 0
	frames := append(readTSV(t, "rdsn.tsv", 1, 5), readTSV(t, "golden.tsv", 0, 3)...)
	for _, f := range frames {
		if !bytes.HasPrefix(f.bytes, []byte(magicRDSN)) {
			continue
		}
		if n, err := frameSize(f.bytes, DefaultMaxFrame); err != nil || n != len(f.bytes) {
			t.Errorf("%s: size %d of %d, %v", f.id, n, len(f.bytes), err)
			continue
		}
		var h frameHeader
		if err := parseFrame(f.bytes, &h); err != nil {
			t.Errorf("%s: %v", f.id, err)
			continue
		}
		k := key{strings.TrimSuffix(string(h.name), "_ACK"), binary.LittleEndian.Uint64(f.bytes[24:]), binary.LittleEndian.Uint64(f.bytes[32:])}
		if !h.response {
			requests++
			asked[k] = f.bytes
			continue
		}
		answers++
		req := asked[k]
		if req == nil {
			unmatched++
			continue
		}
		code, _ := cString(f.bytes[136:184])
		self := idl.RPCAddress(binary.LittleEndian.Uint64(f.bytes[112:]))
		var v idl.Value
		if len(f.bytes) > rdsnHeaderLen {
			v = rawValue{h.argType, h.arg}
		}
		again := appendRDSNReply(nil, req[:rdsnHeaderLen], idl.ErrorCode(code), string(h.name), self, v)
		if got, want := normalRDSN(again), normalRDSN(f.bytes); !bytes.Equal(got, want) {
			t.Errorf("%s: rebuilt as\n%x, want\n%x", f.id, got, want)
		}
	}
	if requests < 90 || answers < 80 || unmatched > 3 {
		t.Errorf("%d requests, %d answers, %d of them without their request", requests, answers, unmatched)
	}
}

func TestChecksumsOfNativeFramesAreVerified(t *testing.T) {
	for _, f := range readTSV(t, "golden.tsv", 0, 3) {
		if !strings.HasPrefix(f.id, "R2 ") {
			continue
		}
		var h frameHeader
		for _, i := range []int{13, 40, 100, 200} {
			b := bytes.Clone(f.bytes)
			b[i] ^= 1
			if err := parseFrame(b, &h); err == nil {
				t.Errorf("a flipped bit in byte %d is not noticed", i)
			}
		}
		return
	}
	t.Fatal("frame R2 is missing")
}
