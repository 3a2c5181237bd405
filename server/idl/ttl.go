// SPDX-License-Identifier: Apache-2.0

package idl

import (
	"math"
	"time"
)

// Epoch is the Unix time, in seconds, from which Pegasus counts expiry: 2016-01-01 00:00:00 UTC.
const Epoch = 1451606400

// EpochSeconds returns t in seconds since Epoch, 0 for times before it.
func EpochSeconds(t time.Time) uint32 {
	s := t.Unix() - Epoch
	return uint32(min(max(s, 0), math.MaxUint32))
}

// ExpireAt returns the expire_ts_seconds of a record that shall live ttl seconds from now, both
// in seconds. A ttl that is not positive means for ever and gives 0.
func ExpireAt(now uint32, ttl int32) int32 {
	if ttl <= 0 {
		return 0
	}
	return int32(min(int64(now)+int64(ttl), math.MaxInt32))
}

// Expired reports whether a record with the given expiry is invisible at now, both in seconds
// since Epoch. Expiry 0 means never.
func Expired(expire, now uint32) bool { return expire > 0 && expire <= now }

// TTLSeconds returns the seconds a record that has not expired is left to live, -1 when it
// lives for ever: the ttl_seconds of ttl_response.
func TTLSeconds(expire, now uint32) int32 {
	if expire == 0 {
		return -1
	}
	return int32(min(int64(expire)-int64(now), math.MaxInt32))
}
