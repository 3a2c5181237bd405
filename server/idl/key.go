// SPDX-License-Identifier: Apache-2.0

package idl

import "encoding/binary"

// MaxHashKey is the length in bytes of the longest hash key: the length 0xffff is left to range
// ends above all keys.
const MaxHashKey = 0xfffe

// RawKey returns the key under which a record is stored and scanned: the length of the hash key
// in two bytes, the hash key, the sort key. Raw keys are ordered bytewise, so hash keys are
// ordered by length first. It returns nil, which is no raw key, when the hash key is longer than
// MaxHashKey.
func RawKey(hashKey, sortKey []byte) []byte {
	if len(hashKey) > MaxHashKey {
		return nil
	}
	return AppendRawKey(make([]byte, 0, 2+len(hashKey)+len(sortKey)), hashKey, sortKey)
}

// AppendRawKey appends RawKey(hashKey, sortKey) to b, nothing when the hash key is too long.
func AppendRawKey(b, hashKey, sortKey []byte) []byte {
	if len(hashKey) > MaxHashKey {
		return b
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(hashKey)))
	return append(append(b, hashKey...), sortKey...)
}

// SplitRawKey is the inverse of RawKey. The results alias raw; ok is false when raw is shorter
// than it says.
func SplitRawKey(raw []byte) (hashKey, sortKey []byte, ok bool) {
	if len(raw) < 2 {
		return nil, nil, false
	}
	end := 2 + int(binary.BigEndian.Uint16(raw))
	if end > len(raw) {
		return nil, nil, false
	}
	return raw[2:end:end], raw[end:], true
}

// NextKey returns the smallest key that is larger than every key starting with prefix: the
// exclusive end of a range over that prefix. It returns nil when there is none, that is when
// prefix consists of 0xff only.
func NextKey(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			next := append([]byte(nil), prefix[:i+1]...)
			next[i]++
			return next
		}
	}
	return nil
}
