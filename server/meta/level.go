// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"strings"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// effective is the function level in force. It is freezed, whatever the operator has set above,
// while too few nodes live: what is wrong then is not cured by moving data around. It leaves
// that state by itself when nodes return.
func (l *leader) effective() idl.MetaFunctionLevel {
	if l.level > idl.FlFreezed && l.tooFewNodes() {
		return idl.FlFreezed
	}
	return l.level
}

func (l *leader) tooFewNodes() bool {
	return l.up < l.s.o.MinLiveNodes || l.up*100 < l.livePercentage()*(l.up+l.lost)
}

func (l *leader) livePercentage() int { return int(l.s.knobs.livePercentage.Load()) }

// noteFreeze logs that the automatic freeze begins or ends. Nodes need a moment to find a new
// leader: for a grace period it waits for them without complaint.
func (l *leader) noteFreeze(now time.Time) {
	if l.level <= idl.FlFreezed {
		return // the operator's own level is the lower one
	}
	few := l.tooFewNodes()
	l.settled = l.settled || !few || now.Sub(l.since) > l.fd.grace
	if few == l.freezed || !l.settled {
		return
	}
	l.freezed = few
	a := []any{"alive", l.up, "dead", l.lost, "min_live_node_count_for_unfreeze", l.s.o.MinLiveNodes,
		"live_percentage", l.livePercentage(), "level", levelName(l.effective())}
	if few {
		l.log.Warn("too few nodes are alive, the cluster goes freezed: nothing is reassigned or created until nodes return", a...)
	} else {
		l.log.Info("enough nodes are alive, the cluster is no longer freezed", a...)
	}
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
