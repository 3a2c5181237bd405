// SPDX-License-Identifier: Apache-2.0

package idl

import (
	"bytes"
	"hash/crc64"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestKeyHash(t *testing.T) {
	for _, tc := range []struct {
		name, hash, sort string
		want             uint64
		index            int32 // of 8
	}{
		{"both", "a", "b", 0x8c2f8445b4cbfc3c, 4},
		{"as in the golden frames", "h1", "s1", 0xaae1fd17e635e4da, 2},
		{"sort key only", "", "b", 0x0d9c951de49567b7, 7},
		{"nothing", "", "", 0, 0},
		{"check value of the CRC", "123456789", "any", 0xae8b14860a799888, 0},
		{"hello", "hello", "any", 0x3377857006524257, 7},
		{"ab", "ab", "any", 0xeb4fb212c8b65432, 2},
		{"long", string(bytes.Repeat([]byte("x"), 1000)), "any", 0x447f4a8f48606696, 6},
		{"not text", "\x00\xff\x80", "any", 0x8b09837e9f7e9d09, 1},
		{"longest", string(bytes.Repeat([]byte("k"), MaxHashKey)), "any", 0xfd58bd4a607de9ce, 6},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := KeyHash([]byte(tc.hash), []byte(tc.sort))
			require.Equal(t, tc.want, got)
			require.Equal(t, tc.index, PartitionIndex(got, 8))
			raw, ok := RawKeyHash(RawKey([]byte(tc.hash), []byte(tc.sort)))
			require.True(t, ok)
			require.Equal(t, tc.want, raw)
		})
	}
	require.Zero(t, PartitionIndex(7, 0), "a count off the wire may be anything")
}

func TestHashEqualsStandardLibrary(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	table := crc64.MakeTable(hashPoly)
	for n := range 100 {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		require.Equal(t, crc64.Checksum(p, table), crc(p), "length %d", n)
	}
}

func TestRawKey(t *testing.T) {
	for _, tc := range []struct{ hash, sort, raw, next string }{
		{"a", "b", "\x00\x01ab", "\x00\x01ac"},
		{"h1", "s1", "\x00\x02h1s1", "\x00\x02h1s2"},
		{"h1", "s\xff", "\x00\x02h1s\xff", "\x00\x02h1t"},
		{"h1", "", "\x00\x02h1", "\x00\x02h2"},
		{"", "b", "\x00\x00b", "\x00\x00c"},
		{"", "", "\x00\x00", "\x00\x01"},
		{"\xff", "\xff", "\x00\x01\xff\xff", "\x00\x02"},
	} {
		raw := RawKey([]byte(tc.hash), []byte(tc.sort))
		require.Equal(t, tc.raw, string(raw))
		require.Equal(t, tc.next, string(NextKey(raw)))
		hash, sort, ok := SplitRawKey(raw)
		require.True(t, ok)
		require.Equal(t, tc.hash, string(hash))
		require.Equal(t, tc.sort, string(sort))
	}
	require.Nil(t, NextKey([]byte("\xff\xff")), "nothing is above all")
	require.Nil(t, RawKey(make([]byte, MaxHashKey+1), nil))
	require.Empty(t, AppendRawKey(nil, make([]byte, MaxHashKey+1), nil))
	for _, bad := range []string{"", "\x00", "\x00\x01", "\xff\xff"} {
		_, _, ok := SplitRawKey([]byte(bad))
		require.False(t, ok, "%q", bad)
	}
}

func TestTTL(t *testing.T) {
	now := EpochSeconds(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	require.Equal(t, uint32(315619200), now)
	require.Zero(t, EpochSeconds(time.Unix(0, 0)))
	require.Zero(t, ExpireAt(now, 0))
	require.Zero(t, ExpireAt(now, -5))
	require.Equal(t, int32(now)+100, ExpireAt(now, 100))
	require.Equal(t, int32(math.MaxInt32), ExpireAt(now, math.MaxInt32))
	require.False(t, Expired(0, now))
	require.False(t, Expired(now+1, now))
	require.True(t, Expired(now, now))
	require.Equal(t, int32(-1), TTLSeconds(0, now))
	require.Equal(t, int32(10), TTLSeconds(now+10, now))
}

func BenchmarkKeyHash(b *testing.B) {
	key := []byte("a hash key of thirty-two letters")
	b.SetBytes(int64(len(key)))
	for b.Loop() {
		KeyHash(key, nil)
	}
}
