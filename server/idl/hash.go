// SPDX-License-Identifier: Apache-2.0

package idl

import (
	"encoding/binary"
	"hash/crc64"
)

// hashPoly is the reflected polynomial of CRC-64/NVME, with which all Pegasus clients spread
// keys over partitions. The ISO and ECMA tables of the standard library are others.
const hashPoly = 0x9a6c9329ac4bc9b5

// hashTables serve slicing-by-8: hashTables[i][v] is the effect of byte v followed by i zero
// bytes. crc64.Checksum would do, but slices only for its own two polynomials.
var hashTables = func() (t [8][256]uint64) {
	t[0] = *crc64.MakeTable(hashPoly)
	for v := range 256 {
		for i := 1; i < 8; i++ {
			prev := t[i-1][v]
			t[i][v] = t[0][byte(prev)] ^ prev>>8
		}
	}
	return t
}()

func crc(p []byte) uint64 {
	sum := ^uint64(0)
	for ; len(p) >= 8; p = p[8:] {
		sum ^= binary.LittleEndian.Uint64(p)
		sum = hashTables[7][byte(sum)] ^ hashTables[6][byte(sum>>8)] ^
			hashTables[5][byte(sum>>16)] ^ hashTables[4][byte(sum>>24)] ^
			hashTables[3][byte(sum>>32)] ^ hashTables[2][byte(sum>>40)] ^
			hashTables[1][byte(sum>>48)] ^ hashTables[0][sum>>56]
	}
	for _, v := range p {
		sum = hashTables[0][byte(sum)^v] ^ sum>>8
	}
	return ^sum
}

// KeyHash returns the partition hash of a record: that of the hash key, or of the sort key when
// the hash key is empty.
func KeyHash(hashKey, sortKey []byte) uint64 {
	if len(hashKey) == 0 {
		return crc(sortKey)
	}
	return crc(hashKey)
}

// RawKeyHash is KeyHash for a raw key; ok is false when raw is no raw key.
func RawKeyHash(raw []byte) (hash uint64, ok bool) {
	hashKey, sortKey, ok := SplitRawKey(raw)
	return KeyHash(hashKey, sortKey), ok
}

// PartitionIndex returns the partition among count that holds keys of the given hash. While a
// split is under way and the partition there has a negative ballot, its keys are still in the
// partition count/2 below. A count that is not positive gives 0.
func PartitionIndex(hash uint64, count int32) int32 {
	if count <= 0 {
		return 0
	}
	return int32(hash % uint64(count))
}
