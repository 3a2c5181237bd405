// SPDX-License-Identifier: Apache-2.0

package idl

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
)

// call makes empty values of what an RPC takes and returns.
type call struct{ arg, result func() message }

func blob() message { return new(Blob) }

// of makes a constructor of a type.
func of[T any, P interface {
	*T
	message
}]() func() message {
	return func() message { return P(new(T)) }
}

var calls = map[string]call{
	RPCQueryConfig:        {of[QueryCfgRequest](), of[QueryCfgResponse]()},
	RPCCreateApp:          {of[ConfigurationCreateAppRequest](), of[ConfigurationCreateAppResponse]()},
	RPCDropApp:            {of[ConfigurationDropAppRequest](), of[ConfigurationDropAppResponse]()},
	RPCListApps:           {of[ConfigurationListAppsRequest](), of[ConfigurationListAppsResponse]()},
	RPCListNodes:          {of[ConfigurationListNodesRequest](), of[ConfigurationListNodesResponse]()},
	RPCClusterInfo:        {of[ConfigurationClusterInfoRequest](), of[ConfigurationClusterInfoResponse]()},
	RPCControlMeta:        {of[ConfigurationMetaControlRequest](), of[ConfigurationMetaControlResponse]()},
	RPCUpdateAppEnv:       {of[ConfigurationUpdateAppEnvRequest](), of[ConfigurationUpdateAppEnvResponse]()},
	RPCDddDiagnose:        {of[DddDiagnoseRequest](), of[DddDiagnoseResponse]()},
	RPCGetMaxReplicaCount: {of[ConfigurationGetMaxReplicaCountRequest](), of[ConfigurationGetMaxReplicaCountResponse]()},
	RPCQueryDiskInfo:      {of[QueryDiskInfoRequest](), of[QueryDiskInfoResponse]()},
	RPCCliCliCall:         {of[Command](), of[String]()},
	RPCPut:                {of[UpdateRequest](), of[UpdateResponse]()},
	RPCRemove:             {blob, of[UpdateResponse]()},
	RPCMultiPut:           {of[MultiPutRequest](), of[UpdateResponse]()},
	RPCMultiRemove:        {of[MultiRemoveRequest](), of[MultiRemoveResponse]()},
	RPCIncr:               {of[IncrRequest](), of[IncrResponse]()},
	RPCCheckAndSet:        {of[CheckAndSetRequest](), of[CheckAndSetResponse]()},
	RPCCheckAndMutate:     {of[CheckAndMutateRequest](), of[CheckAndMutateResponse]()},
	RPCGet:                {blob, of[ReadResponse]()},
	RPCMultiGet:           {of[MultiGetRequest](), of[MultiGetResponse]()},
	RPCSortkeyCount:       {blob, of[CountResponse]()},
	RPCTtl:                {blob, of[TtlResponse]()},
	RPCGetScanner:         {of[GetScannerRequest](), of[ScanResponse]()},
	RPCScan:               {of[ScanRequest](), of[ScanResponse]()},
	RPCClearScanner:       {of[I64](), nil},
}

// mislabelled frames carry another struct than their name says: they were made to test framing.
var mislabelled = map[string]func() message{
	"T3": of[QueryCfgResponse](),
	"T4": of[QueryCfgResponse](),
	"T5": of[ScanResponse](),
}

// noPayload lists the frames that carry no value: transport errors, and the answer to
// CLEAR_SCANNER that must never be sent.
var noPayload = []string{"G25", "G26", "G27", "G28", "R5", "T2", "T6"}

// inexact lists the frames that leave out fields which are always written by us.
var inexact = []string{"N1", "N4", "J1", "J4", "J6", "P2", "P3"}

// A frame is what the test needs of a framed message.
type frame struct {
	id       string
	response bool
	name     string
	err      string
	meta     []byte // request_meta of THFT v1
	value    []byte // nil = none
	typ      byte   // announced before value
}

func TestGoldenFrames(t *testing.T) {
	var empty, padded []string
	frames := readFrames(t, "testdata/golden.tsv", 0, 3)
	require.Len(t, frames, 70)
	for _, f := range frames {
		t.Run(f.id, func(t *testing.T) {
			if f.meta != nil {
				require.True(t, checkValue(t, &RequestMeta{}, f.meta), "request_meta is sent whole")
			}
			if f.value == nil {
				empty = append(empty, f.id)
				return
			}
			if !checkValue(t, f.decoder(t), f.value) {
				padded = append(padded, f.id)
			}
		})
	}
	require.Equal(t, noPayload, empty)
	require.Equal(t, inexact, padded)
}

func TestCapturedFrames(t *testing.T) {
	frames := readFrames(t, "testdata/rdsn.tsv", 2, 5)
	require.Len(t, frames, 192)
	for _, f := range frames {
		require.NotNil(t, f.value, "%s: every captured frame carries a value", f.name)
		require.True(t, checkValue(t, f.decoder(t), f.value), "%s: the C++ side writes whole structs", f.name)
	}
}

// checkValue decodes value into d, which must take all of it, and encodes it again. It reports
// whether the bytes are the same; if not, only default fields may have come in.
func checkValue(t *testing.T, d message, value []byte) bool {
	t.Helper()
	rest, err := d.Decode(value)
	require.NoError(t, err)
	require.Empty(t, rest)
	again := d.Append(nil)
	if string(again) == string(value) {
		return true
	}
	require.Greater(t, len(again), len(value), "fields went missing")
	d2 := like(d)
	rest, err = d2.Decode(again)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.Empty(t, cmp.Diff(d, d2, cmpopts.EquateEmpty()))
	return false
}

// decoder returns an empty value of what the frame carries.
func (f frame) decoder(t *testing.T) message {
	t.Helper()
	if mk := mislabelled[f.id]; mk != nil {
		return mk()
	}
	c, ok := calls[strings.TrimSuffix(f.name, AckSuffix)]
	require.True(t, ok, "no entry for %s", f.name)
	var d message
	switch {
	case f.response && f.err == string(ErrForwardToOthers):
		d = new(RPCAddress)
	case f.response:
		d = c.result()
	default:
		d = c.arg()
	}
	require.Equal(t, f.typ, d.WireType())
	return d
}

// readFrames reads all frames of a table whose columns id and data hold a name and hex digits.
func readFrames(t testing.TB, file string, id, data int) []frame {
	t.Helper()
	src, err := os.ReadFile(file)
	require.NoError(t, err)
	var frames []frame
	lines := strings.Split(strings.TrimSpace(string(src)), "\n")
	for _, line := range lines[1:] {
		cols := strings.Split(line, "\t")
		b, err := hex.DecodeString(cols[data])
		require.NoError(t, err)
		f := parseFrame(t, b)
		f.id = cols[id]
		frames = append(frames, f)
	}
	return frames
}

// parseFrame takes the framing off. It knows just enough of it for frames that are well formed.
func parseFrame(t testing.TB, b []byte) (f frame) {
	t.Helper()
	u32 := func(off int) int { return int(binary.BigEndian.Uint32(b[off:])) }
	switch {
	case string(b[:4]) == "RDSN":
		cstr := func(off int) string { s, _, _ := strings.Cut(string(b[off:off+48]), "\x00"); return s }
		f.name, f.err = cstr(40), cstr(136)
		f.response = b[104]&1 == 0
		f.takeValue(t, b[192:], false)
	case string(b[:4]) == "THFT" && u32(4) == 0:
		require.Len(t, b[48:], u32(16))
		b = b[48:]
		f.takeMessage(t, b)
	case string(b[:4]) == "THFT":
		f.meta = b[16 : 16+u32(8)]
		require.Len(t, b[16+len(f.meta):], u32(12))
		b = b[16+len(f.meta):]
		f.takeMessage(t, b)
	default:
		require.Len(t, b, u32(0))
		name, rest, err := DecodeBlob(b[4:])
		require.NoError(t, err)
		f.response, f.err = true, string(name)
		f.takeMessage(t, rest)
	}
	return f
}

// takeMessage takes a thrift message envelope off.
func (f *frame) takeMessage(t testing.TB, b []byte) {
	t.Helper()
	require.Equal(t, []byte{0x80, 0x01, 0x00}, b[:3])
	name, rest, err := DecodeBlob(b[4:])
	require.NoError(t, err)
	f.name = string(name)
	f.takeValue(t, rest[4:], true)
}

// takeValue takes the struct off that holds the value as its only field.
func (f *frame) takeValue(t testing.TB, b []byte, thft bool) {
	t.Helper()
	if len(b) == 0 || slices.Equal(b, []byte{TypeStop}) {
		return
	}
	wantID := byte(0)
	if thft && !f.response {
		wantID = 1
	}
	require.Equal(t, []byte{0, wantID}, b[1:3])
	require.Equal(t, byte(TypeStop), b[len(b)-1])
	f.typ, f.value = b[0], b[3:len(b)-1]
}
