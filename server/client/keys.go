// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/binary"
	"fmt"
	"hash/crc64"
	"math"
	"time"
)

// MaxHashKeyLen is the longest hash key, in bytes: its length travels in 16 bits, of which the
// largest value is reserved.
const MaxHashKeyLen = math.MaxUint16 - 1

// Pegasus counts expiry in seconds since 2016-01-01 00:00:00 UTC.
const pegasusEpoch = 1451606400

// CRC-64/NVME ("Rocksoft"), the polynomial every Pegasus client places keys with.
var crcTable = crc64.MakeTable(0x9a6c9329ac4bc9b5)

// Hash is the partition hash of a record: crc64 of the hash key, or of the sort key when the
// hash key is empty. The partition is the hash modulo the table's number of partitions.
func Hash(hashKey, sortKey []byte) uint64 {
	if len(hashKey) == 0 {
		return crc64.Checksum(sortKey, crcTable)
	}
	return crc64.Checksum(hashKey, crcTable)
}

// RawKey returns the key as stored: the hash key's length in two bytes, the hash key, the sort
// key. The hash key must not be longer than MaxHashKeyLen.
func RawKey(hashKey, sortKey []byte) []byte {
	b := make([]byte, 2, 2+len(hashKey)+len(sortKey))
	binary.BigEndian.PutUint16(b, uint16(len(hashKey)))
	b = append(b, hashKey...)
	return append(b, sortKey...)
}

// SplitKey is the inverse of RawKey. The results alias raw.
func SplitKey(raw []byte) (hashKey, sortKey []byte, err error) {
	if len(raw) < 2 {
		return nil, nil, fmt.Errorf("raw key of %d bytes: want at least 2", len(raw))
	}
	n := int(binary.BigEndian.Uint16(raw))
	if len(raw) < 2+n {
		return nil, nil, fmt.Errorf("raw key of %d bytes announces a hash key of %d", len(raw), n)
	}
	return raw[2 : 2+n : 2+n], raw[2+n:], nil
}

// nextKey returns the smallest key greater than every key that begins with prefix, or nil when
// there is none.
func nextKey(prefix []byte) []byte {
	n := len(prefix)
	for n > 0 && prefix[n-1] == 0xff {
		n--
	}
	if n == 0 {
		return nil
	}
	next := append([]byte(nil), prefix[:n]...)
	next[n-1]++
	return next
}

func checkHashKey(hashKey []byte) error {
	if len(hashKey) > MaxHashKeyLen {
		return fmt.Errorf("hash key of %d bytes: the limit is %d: %w", len(hashKey), MaxHashKeyLen, ErrInvalidArgument)
	}
	return nil
}

// expiry turns a time to live into the absolute second that travels. Fractions of a second
// count as a whole one, so that a record never expires early.
func expiry(ttl time.Duration) (int32, error) {
	if ttl <= 0 {
		return 0, nil
	}
	seconds := int64((ttl + time.Second - 1) / time.Second)
	at := time.Now().Unix() - pegasusEpoch + seconds
	if at <= 0 || at > math.MaxInt32 {
		return 0, fmt.Errorf("time to live %s does not fit the wire: the last representable second is in 2084: %w", ttl, ErrInvalidArgument)
	}
	return int32(at), nil
}

// ExpiresAt turns an expiry as scans return it (seconds since 2016, 0 = never) into a time; the
// zero Time means never.
func ExpiresAt(expireTS int32) time.Time {
	if expireTS == 0 {
		return time.Time{}
	}
	return time.Unix(int64(uint32(expireTS))+pegasusEpoch, 0)
}
