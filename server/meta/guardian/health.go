// SPDX-License-Identifier: Apache-2.0

package guardian

import "github.com/pegasus-ops/pegasus-ops/server/idl"

// Health classes a partition by what clients can do with it.
type Health uint8

// The classes, worst first.
const (
	Dead        Health = iota // neither primary nor secondaries
	Unreadable                // secondaries, but no primary
	Unwritable                // a primary, but too few replicas to accept writes
	WritableIll               // writable with fewer replicas than wanted
	Healthy
)

func (h Health) String() string {
	return [...]string{"dead", "unreadable", "unwritable", "writable_ill", "healthy"}[h]
}

// HealthOf classes a configuration. minReplicas is how many replicas a write needs (MinReplicas);
// a partition that has all it is meant to have is healthy whatever it is.
func HealthOf(pc *idl.PartitionConfiguration, minReplicas int32) Health {
	replicas := int32(1 + len(pc.Secondaries))
	switch {
	case pc.Primary.IsZero() && len(pc.Secondaries) == 0:
		return Dead
	case pc.Primary.IsZero():
		return Unreadable
	case replicas >= pc.MaxReplicaCount:
		return Healthy
	case replicas < minReplicas:
		return Unwritable
	default:
		return WritableIll
	}
}
