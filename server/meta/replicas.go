// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"fmt"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// setMaxReplicaCount handles RPC_CM_SET_MAX_REPLICA_COUNT. The table and all its partitions
// change in one commit; guardian does the rest.
func (l *leader) setMaxReplicaCount(q *idl.ConfigurationSetMaxReplicaCountRequest, reply func(*idl.ConfigurationSetMaxReplicaCountResponse)) {
	answer := func(code idl.ErrorCode, old int32, hint string) {
		reply(&idl.ConfigurationSetMaxReplicaCountResponse{Err: code, OldMaxReplicaCount: old, HintMessage: hint})
	}
	t := l.names[q.AppName]
	switch {
	case l.effective() <= idl.FlFreezed:
		answer(idl.ErrStateFreezed, 0, "the meta function level is freezed or below, replica counts cannot change")
		return
	case t == nil:
		answer(idl.ErrAppNotExist, 0, "app("+q.AppName+") does not exist")
		return
	case t.transient() != idl.ErrOK:
		answer(t.transient(), 0, "app("+q.AppName+") is not available")
		return
	case t.busy || len(t.waiting) > 0:
		answer(idl.ErrOperationDisabled, t.info.MaxReplicaCount, "another operation on app("+q.AppName+") is under way, try again")
		return
	case !l.possibleReplicaCount(q.MaxReplicaCount):
		answer(idl.ErrInvalidParameters, t.info.MaxReplicaCount, fmt.Sprintf(
			"requested replica count(%d) is invalid: it must be in [%d, %d] and not above the number of alive nodes(%d)",
			q.MaxReplicaCount, l.s.o.MinAllowedReplicas, l.s.o.MaxAllowedReplicas, l.up))
		return
	case t.info.MaxReplicaCount == q.MaxReplicaCount:
		answer(idl.ErrOK, q.MaxReplicaCount, "no need to update max_replica_count since it's not changed")
		return
	}
	l.exclusive(t, func() {
		if t.info.Status != idl.AsAvailable {
			answer(idl.ErrAppDropped, t.info.MaxReplicaCount, "app("+q.AppName+") has been dropped meanwhile")
			return
		}
		info, old := t.info, t.info.MaxReplicaCount
		info.MaxReplicaCount = q.MaxReplicaCount
		parts := make([]*idl.PartitionConfiguration, len(t.parts))
		for i, p := range t.parts {
			l.clearActions(p)
			parts[i] = resizeConfig(p.cfg, q.MaxReplicaCount)
		}
		l.log.Info("changing the replica count", "table", info.AppName, "app_id", info.AppID, "old", old, "new", q.MaxReplicaCount)
		l.storeTable(t, info, parts, func() {
			for _, p := range t.parts {
				l.push(p)
			}
			answer(idl.ErrOK, old, "")
		})
	})
}
