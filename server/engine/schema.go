// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"time"
)

// The keys of a DB start with one byte that keeps the replica's own records apart from the
// client's: metaPrefix sorts before dataPrefix, so a range of client keys never meets a meta key.
//
//	meta key  = 0x00 | name
//	data key  = 0x01 | raw key          raw key = u16 len(hash key) | hash key | sort key
//	data value = u32 expire_ts | user data
//
// All integers are big-endian. expire_ts counts seconds since 2016, 0 means never. The number
// of this layout stands under metaVersion; a DB of a newer layout is not opened.
const (
	metaPrefix = 0x00
	dataPrefix = 0x01

	schemaVersion = 1

	expireLen = 4
)

var (
	// metaDecree holds the decree (u64) of the last mutation of the DB.
	metaDecree = []byte{metaPrefix, 'd', 'e', 'c', 'r', 'e', 'e'}
	// metaVersion holds the layout (u8). It is part of the first batch of a new DB, so
	// anything that is ever flushed comes with it.
	metaVersion = []byte{metaPrefix, 'v', 'e', 'r', 's', 'i', 'o', 'n'}

	// dataStart and dataEnd bound the client's records.
	dataStart = []byte{dataPrefix}
	dataEnd   = []byte{dataPrefix + 1}
)

// maxHashKey is the longest hash key whose length fits the raw key; 0xFFFF is reserved, as the
// exclusive end of a full scan.
const maxHashKey = 0xFFFE

// epoch is 2016-01-01 00:00:00 UTC in Unix seconds, where expire_ts starts to count.
const epoch = 1451606400

// seconds is the clock of expire_ts.
func seconds(t time.Time) uint32 { return clampSeconds(t.Unix() - epoch) }

// clampSeconds maps times before 2016 to 0 and times after 2152 to the largest expire_ts.
func clampSeconds(s int64) uint32 {
	return uint32(min(max(s, 0), 1<<32-1))
}

// expired reports whether a record with this expire_ts is invisible at now.
func expired(expireTS, now uint32) bool { return expireTS > 0 && expireTS <= now }

// splitValue takes a stored value apart. A value too short to be one of ours reads as not ok.
func splitValue(v []byte) (expireTS uint32, data []byte, ok bool) {
	if len(v) < expireLen {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(v), v[expireLen:], true
}

// appendRawKey appends the data key of a raw key.
func appendRawKey(b, raw []byte) []byte {
	b = append(b, dataPrefix)
	return append(b, raw...)
}

// appendKey appends the data key of a record. The hash key must not exceed maxHashKey.
func appendKey(b, hashKey, sortKey []byte) []byte {
	b = append(b, dataPrefix, byte(len(hashKey)>>8), byte(len(hashKey)))
	b = append(b, hashKey...)
	return append(b, sortKey...)
}

// validRawKey reports whether raw is something appendKey could have made.
func validRawKey(raw []byte) bool {
	if len(raw) < 2 {
		return false
	}
	n := int(binary.BigEndian.Uint16(raw))
	return n <= maxHashKey && n <= len(raw)-2
}

// splitRawKey takes a raw key apart. Only keys that pass validRawKey are ever stored; for
// others, as they may stand in the bounds of a scan, everything counts as sort key.
func splitRawKey(raw []byte) (hashKey, sortKey []byte) {
	if !validRawKey(raw) {
		return nil, raw
	}
	n := int(binary.BigEndian.Uint16(raw))
	return raw[2 : 2+n], raw[2+n:]
}

// next turns key, in place, into the smallest key greater than all keys that start with it:
// trailing 0xFF bytes go, the last remaining byte grows by one. Because every data key starts
// with dataPrefix there is always a byte to grow.
func next(key []byte) []byte {
	for len(key) > 0 && key[len(key)-1] == 0xFF {
		key = key[:len(key)-1]
	}
	if len(key) > 0 {
		key[len(key)-1]++
	}
	return key
}

// successor turns key into the smallest key greater than key.
func successor(key []byte) []byte { return append(key, 0) }
