// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"strings"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// effective is the function level in force. It is freezed, whatever the operator has set above,
// while too few nodes live: what is wrong then is not cured by moving data around. It leaves
// that state by itself when nodes return.
func (l *leader) effective() idl.MetaFunctionLevel {
	if l.level > idl.FlFreezed &&
		(l.up < l.s.o.MinLiveNodes || l.up*100 < int(l.s.knobs.livePercentage.Load())*(l.up+l.lost)) {
		return idl.FlFreezed
	}
	return l.level
}

// writable reports whether tables may be changed: not at blind or stopped, where the metadata
// must stay as it is (it may be being copied).
func (l *leader) writable() bool { return l.effective() >= idl.FlFreezed }

// control handles RPC_CM_CONTROL_META.
func (l *leader) control(q *idl.ConfigurationMetaControlRequest) *idl.ConfigurationMetaControlResponse {
	r := &idl.ConfigurationMetaControlResponse{Err: idl.ErrOK, OldLevel: l.level}
	switch q.Level {
	case idl.FlInvalid: // only asks
	case idl.FlStopped, idl.FlBlind, idl.FlFreezed, idl.FlSteady, idl.FlLively:
		l.log.Info("function level is set", "old", l.level.String(), "new", q.Level.String())
		l.level = q.Level
		l.changed = true
		if q.Level <= idl.FlSteady {
			for p := range l.pending {
				l.clearActions(p)
			}
		}
		l.cureSoon(0)
	default:
		r.Err = idl.ErrInvalidParameters
	}
	return r
}

// levelName is a level as operators write it, without its prefix.
func levelName(level idl.MetaFunctionLevel) string { return strings.TrimPrefix(level.String(), "fl_") }
