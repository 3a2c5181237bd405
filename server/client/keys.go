// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"
	"math"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

func checkHashKey(hashKey []byte) error {
	if len(hashKey) > idl.MaxHashKey {
		return fmt.Errorf("hash key of %d bytes: the limit is %d: %w", len(hashKey), idl.MaxHashKey, ErrInvalidArgument)
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
	at := time.Now().Unix() - idl.Epoch + seconds
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
	return time.Unix(int64(uint32(expireTS))+idl.Epoch, 0)
}
