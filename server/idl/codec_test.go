// SPDX-License-Identifier: Apache-2.0

package idl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime/metrics"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// A message can be written and read.
type message interface {
	Value
	Decoder
}

// like returns an empty value of the type of d.
func like(d message) message {
	return reflect.New(reflect.TypeOf(d).Elem()).Interface().(message)
}

// Every struct must survive encoding with all fields set, and with none.
func TestEveryStructRoundTrips(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, s := range allStructs {
		t.Run(s.name, func(t *testing.T) {
			for range 5 {
				x := s.make()
				fill(rng, reflect.ValueOf(x).Elem())
				b := x.Append([]byte("before"))
				y := s.make()
				rest, err := y.Decode(append(b, "after"...)[len("before"):])
				require.NoError(t, err)
				require.Equal(t, "after", string(rest))
				require.Empty(t, cmp.Diff(x, y))
			}
			x := s.make()
			b := x.Append(nil)
			y := s.make()
			rest, err := y.Decode(b)
			require.NoError(t, err)
			require.Empty(t, rest)
			require.Equal(t, b, y.Append(nil))
		})
	}
}

// fill sets v to something that is not zero and not empty.
func fill(rng *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int8, reflect.Int32, reflect.Int64:
		v.SetInt(1 + int64(int8(rng.Uint32()))<<(v.Type().Bits()-8))
	case reflect.Uint8, reflect.Uint16, reflect.Uint64:
		v.SetUint(1 + rng.Uint64()>>(65-v.Type().Bits()))
	case reflect.String:
		v.SetString(string(rune('a'+rng.IntN(26))) + "\xff\x00")
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(rng, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+rng.IntN(3), 3))
		for i := range v.Len() {
			fill(rng, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 1 + rng.IntN(3) {
			key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(rng, key)
			fill(rng, elem)
			v.SetMapIndex(key, elem)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(rng, v.Field(i))
		}
	default:
		panic("fill: " + v.Type().String())
	}
}

func TestFieldsInAnyOrder(t *testing.T) {
	b := []byte{TypeI32, 0, 3, 0, 0, 0, 9, TypeStruct, 0, 2, 0, 0, 0, 1, 'v', TypeStruct, 0, 1, 0, 0, 0, 1, 'k', TypeStop}
	var x UpdateRequest
	rest, err := x.Decode(b)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.Equal(t, UpdateRequest{Key: []byte("k"), Value: []byte("v"), ExpireTsSeconds: 9}, x)
}

func TestDecodeForgetsWhatWasThere(t *testing.T) {
	x := UpdateRequest{Key: []byte("k"), Type: new(UtIncr)}
	_, err := x.Decode([]byte{TypeStop})
	require.NoError(t, err)
	require.Equal(t, UpdateRequest{}, x)
}

func TestDefaults(t *testing.T) {
	var info AppInfo
	_, err := info.Decode([]byte{TypeStop})
	require.NoError(t, err)
	require.Equal(t, int32(-1), info.InitPartitionCount)
	require.Nil(t, info.Duplicating)

	var scan GetScannerRequest
	require.True(t, scan.GetValidatePartitionHash(), "absent means true")
	scan.ValidatePartitionHash = new(false)
	require.False(t, scan.GetValidatePartitionHash())
	require.False(t, scan.GetOnlyReturnCount())
}

func TestOptionalEmptyIsSet(t *testing.T) {
	unset := (&PartitionConfiguration{}).Append(nil)
	x := PartitionConfiguration{HpSecondaries: []HostPort{}}
	b := x.Append(nil)
	require.Greater(t, len(b), len(unset))
	var y PartitionConfiguration
	_, err := y.Decode(b)
	require.NoError(t, err)
	require.NotNil(t, y.HpSecondaries)
	require.Nil(t, y.HpLastDrops)
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	unknown := []byte{
		TypeBool, 1, 0, 1,
		TypeByte, 1, 1, 1,
		TypeI16, 1, 2, 0, 1,
		TypeI32, 1, 3, 0, 0, 0, 1,
		TypeDouble, 1, 4, 0, 0, 0, 0, 0, 0, 0, 1,
		TypeString, 1, 5, 0, 0, 0, 1, 'x',
		TypeStruct, 1, 6, TypeI32, 0, 1, 0, 0, 0, 1, TypeStruct, 0, 2, TypeStop, TypeStop,
		TypeList, 1, 7, TypeI64, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1,
		TypeSet, 1, 8, TypeStruct, 0, 0, 0, 2, TypeStop, TypeStop,
		TypeMap, 1, 9, TypeString, TypeList, 0, 0, 0, 1, 0, 0, 0, 0, TypeBool, 0, 0, 0, 2, 1, 0,
		TypeMap, 1, 10, 0, 0, 0, 0, 0, 0, // empty maps need no types
	}
	want := ScanRequest{ContextID: 7}
	var got ScanRequest
	rest, err := got.Decode(append(slices.Clone(unknown), want.Append(nil)...))
	require.NoError(t, err)
	require.Empty(t, rest)
	require.Equal(t, want, got)
}

func TestDecodeErrors(t *testing.T) {
	deep := bytes.Repeat([]byte{TypeStruct, 1, 1}, maxSkipDepth+2)
	for _, tc := range []struct {
		name string
		into message
		in   []byte
		want string
	}{
		{"nothing", &ScanRequest{}, nil, "scan_request: idl: truncated value"},
		{"half a field header", &ScanRequest{}, []byte{TypeI64, 0}, "scan_request: idl: truncated value"},
		{"no STOP", &ScanRequest{}, (&ScanRequest{}).Append(nil)[:11], "scan_request: idl: truncated value"},
		{"wrong type of a known field", &ScanRequest{}, []byte{TypeI32, 0, 1, 0, 0, 0, 1, 0},
			"scan_request.context_id: idl: wire type 8 where 10 is expected"},
		{"short integer", &ScanRequest{}, []byte{TypeI64, 0, 1, 0}, "scan_request.context_id: idl: truncated value"},
		{"blob longer than the message", &UpdateRequest{}, []byte{TypeStruct, 0, 1, 0xff, 0xff, 0xff, 0xff, 0},
			"update_request.key: idl: truncated value"},
		{"wrong element type", &Command{}, []byte{TypeList, 0, 2, TypeI64, 0, 0, 0, 1, 0},
			"command.arguments: idl: wire type 10 where 11 is expected"},
		{"negative count", &Command{}, []byte{TypeList, 0, 2, TypeString, 0xff, 0xff, 0xff, 0xff, 0},
			"command.arguments: idl: truncated value"},
		{"nested struct", &QueryCfgResponse{}, []byte{TypeList, 0, 5, TypeStruct, 0, 0, 0, 1, TypeI32, 0, 1, 0},
			"query_cfg_response.partitions: partition_configuration.pid: idl: wire type 8 where 12 is expected"},
		{"unknown wire type", &ScanRequest{}, []byte{99, 0, 5, 0}, "scan_request: unknown field 5: idl: unknown wire type 99"},
		{"unknown field nested too deep", &ScanRequest{}, deep, "scan_request: unknown field 257: idl: nested deeper than 32 levels"},
		{"unknown list of nothing", &ScanRequest{}, []byte{TypeList, 0, 5, TypeStop, 0x7f, 0xff, 0xff, 0xff, 0},
			"scan_request: unknown field 5: idl: unknown wire type 0"},
		{"wrong map value type", &AppInfo{}, []byte{TypeMap, 0, 6, TypeString, TypeI32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0},
			"app_info.envs: idl: wire type 8 where 11 is expected"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := tc.into.Decode(tc.in)
			require.EqualError(t, err, tc.want)
			var where *DecodeError
			require.True(t, errors.As(err, &where))
		})
	}
}

// A prefix of a message is never a message.
func TestTruncatedFrames(t *testing.T) {
	frames := append(readFrames(t, "testdata/golden.tsv", 0, 3), readFrames(t, "testdata/rdsn.tsv", 2, 5)...)
	for _, f := range frames {
		if f.value == nil {
			continue
		}
		d := f.decoder(t)
		for n := range f.value {
			_, err := d.Decode(f.value[:n])
			require.ErrorIs(t, err, ErrTruncated, "%s cut to %d bytes", f.name, n)
		}
	}
}

func TestHostileCountsAllocateLittle(t *testing.T) {
	for _, tc := range []struct {
		name string
		into message
		in   []byte
	}{
		{"list longer than the message", &MultiGetResponse{}, listOf(2, TypeStruct, math.MaxInt32, make([]byte, 100))},
		{"list of structs without fields", &QueryCfgResponse{}, listOf(5, TypeStruct, 1<<20, make([]byte, 1<<20))},
		{"map longer than the message", &AppInfo{}, slices.Concat([]byte{TypeMap, 0, 6, TypeString, TypeString, 0x7f, 0xff, 0xff, 0xff}, make([]byte, 100))},
		{"list of lists", &ConfigurationQueryBackupPolicyResponse{}, listOf(3, TypeList, 1<<26, make([]byte, 1<<20))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := allocated()
			_, err := tc.into.Decode(tc.in)
			require.Error(t, err)
			require.Less(t, allocated()-before, uint64(len(tc.in))+1<<20)
		})
	}
}

// listOf encodes a field that claims to be a list of n elements.
func listOf(id, elem byte, n uint32, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{TypeList, 0, id, elem}, n), body...)
}

// allocated returns the bytes this process has allocated since its start.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// FuzzDecode feeds any bytes to any struct: the first byte chooses it.
func FuzzDecode(f *testing.F) {
	index := map[reflect.Type]byte{}
	for i, s := range allStructs {
		index[reflect.TypeOf(s.make())] = byte(i)
	}
	for _, fr := range append(readFrames(f, "testdata/golden.tsv", 0, 3), readFrames(f, "testdata/rdsn.tsv", 2, 5)...) {
		if fr.value == nil || mislabelled[fr.id] != nil {
			continue
		}
		c := calls[InternRPC(bytes.TrimSuffix([]byte(fr.name), []byte(AckSuffix)))]
		mk := c.arg
		if fr.response {
			mk = c.result
		}
		if i, ok := index[reflect.TypeOf(mk())]; ok {
			f.Add(append([]byte{i}, fr.value...))
		}
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for i, s := range allStructs {
		x := s.make()
		fill(rng, reflect.ValueOf(x).Elem())
		f.Add(x.Append([]byte{byte(i)}))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		s := allStructs[int(in[0])%len(allStructs)]
		in = in[1:]
		x := s.make()
		before := allocated()
		rest, err := x.Decode(in)
		if got, limit := allocated()-before, uint64(1<<20+1024*len(in)); got > limit {
			t.Fatalf("%s: %d bytes allocated for %d", s.name, got, len(in))
		}
		if err != nil {
			return
		}
		if !bytes.HasSuffix(in, rest) {
			t.Fatalf("%s: the rest is not the end of the input", s.name)
		}
		once := x.Append(nil)
		y := s.make()
		if rest, err = y.Decode(once); err != nil || len(rest) > 0 {
			t.Fatalf("%s: decode what was encoded: %v, %d bytes left", s.name, err, len(rest))
		}
		if twice := y.Append(nil); !bytes.Equal(once, twice) {
			t.Fatalf("%s: encoding is not stable:\n%x\n%x", s.name, once, twice)
		}
	})
}

func TestDataPathDoesNotAllocate(t *testing.T) {
	value := bytes.Repeat([]byte("v"), 128)
	put := (&UpdateRequest{Key: RawKey([]byte("h1"), []byte("s1")), Value: value}).Append(nil)
	buf := make([]byte, 0, 1024)
	var req UpdateRequest
	require.Zero(t, testing.AllocsPerRun(100, func() { req.Decode(put) }))
	var key Blob
	require.Zero(t, testing.AllocsPerRun(100, func() { key.Decode(put[3:]) }))
	resp := ReadResponse{Value: value, AppID: 2, PartitionIndex: 3, Server: "127.0.0.1:34801"}
	require.Zero(t, testing.AllocsPerRun(100, func() { buf = resp.Append(buf[:0]) }))
	ack := (&PrepareAck{Err: ErrOK, Decree: 9}).Append(nil)
	var prepared PrepareAck
	require.Zero(t, testing.AllocsPerRun(100, func() { prepared.Decode(ack) }))
}

func BenchmarkDecodePut(b *testing.B) {
	in := (&UpdateRequest{Key: RawKey([]byte("h1"), []byte("s1")), Value: make([]byte, 128)}).Append(nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	var x UpdateRequest
	for b.Loop() {
		if _, err := x.Decode(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendGetResponse(b *testing.B) {
	x := ReadResponse{Value: make([]byte, 128), AppID: 2, PartitionIndex: 3, Server: "127.0.0.1:34801"}
	buf := x.Append(nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		buf = x.Append(buf[:0])
	}
}

func BenchmarkDecodeMultiPut(b *testing.B) {
	x := MultiPutRequest{HashKey: []byte("h1"), Kvs: make([]KeyValue, 100)}
	for i := range x.Kvs {
		x.Kvs[i] = KeyValue{Key: []byte{byte(i)}, Value: make([]byte, 128)}
	}
	in := x.Append(nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := x.Decode(in); err != nil {
			b.Fatal(err)
		}
	}
}
