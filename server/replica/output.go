// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/pacifica"
	"github.com/pegasus-ops/pegasus-ops/server/plog"
)

// handle does what the state machine wants done, in the order its Ready prescribes.
func (r *replica) handle(now time.Time, rd *pacifica.Ready) {
	if rd.Ballot != 0 {
		if err := r.storeBallot(rd.Ballot); err != nil {
			r.fail(now, err)
			return
		}
	}
	for i := range rd.Messages {
		r.send(&rd.Messages[i])
	}
	if len(rd.Append) > 0 && r.failure == nil {
		if err := r.append(rd.Append); err != nil {
			r.fail(now, err)
		} else {
			r.core.LogWritten(now, rd.Seq)
		}
	}
	for _, m := range rd.Apply {
		r.apply(now, m)
	}
	for _, f := range rd.Failed {
		r.answerFailed(f)
	}
	for _, c := range rd.Changes {
		r.server.requestChange(r, c)
	}
	for _, e := range rd.Events {
		r.event(now, e)
	}
}

func (r *replica) storeBallot(ballot int64) error {
	info := initInfo{Ballot: ballot}
	if db := r.db.Load(); db != nil {
		info.Durable = db.Durable()
	}
	return writeInfo(r.server.opts.FS, r.dir, initInfoFile, info)
}

func (r *replica) append(ms []*pacifica.Mutation) error {
	if len(ms) == 1 {
		m := ms[0]
		return r.plog.Append(plog.Entry{Ballot: m.Ballot, Decree: m.Decree, Data: m.Encoded})
	}
	entries := make([]plog.Entry, len(ms))
	for i, m := range ms {
		entries[i] = plog.Entry{Ballot: m.Ballot, Decree: m.Decree, Data: m.Encoded}
	}
	return r.plog.Append(entries...)
}

// apply executes a committed mutation and answers the clients whose writes it carries.
func (r *replica) apply(now time.Time, m *pacifica.Mutation) {
	batch, _ := m.Tag.(*writeBatch)
	err := r.failure
	if err == nil {
		if batch != nil {
			err = r.db.Load().Apply(m.Decree, m.Timestamp, m.Payload, batch.respond)
		} else {
			err = r.db.Load().Apply(m.Decree, m.Timestamp, m.Payload, nil)
		}
		if err != nil {
			r.fail(now, err)
		}
		r.metrics.committed.Inc()
	}
	if batch != nil {
		r.inflight--
		if err != nil { // committed, but not here: the outcome is open to the client
			batch.fail(idl.ErrTimeout)
		}
	}
}

func (r *replica) answerFailed(f pacifica.Failure) {
	if batch, ok := f.Tag.(*writeBatch); ok {
		r.inflight--
		batch.fail(f.Err)
	}
}

func (r *replica) event(now time.Time, e pacifica.Event) {
	switch e.Type {
	case pacifica.EventRole:
		r.roleChanged()
	case pacifica.EventLearnStart:
		r.startLearning(e.Node, e.Signature)
	case pacifica.EventLearnStop:
		r.stopLearning()
	case pacifica.EventNeedConfig:
		r.server.syncSoon()
	case pacifica.EventRemoved:
		r.log.Info("no member any more; the replica closes unless it is wanted again",
			"delay", r.server.opts.CloseDelay)
		r.removedAt.Store(max(r.server.detector.now(), 1))
	case pacifica.EventPeerFailed:
		r.log.Warn("giving up a replica", "node", e.Node, "reason", e.Reason)
	}
}

func (r *replica) roleChanged() {
	st := r.core.Status()
	old := r.snapshot()
	if st.Role != pacifica.RoleInactive {
		r.removedAt.Store(0)
	}
	if st.Role == old.Role && st.Ballot == old.Ballot && st.Transient == old.Transient && st.Config.Equal(old.Config) {
		return
	}
	r.log.Info("role", "role", st.Role, "was", old.Role, "ballot", st.Ballot, "primary", st.Config.Primary,
		"secondaries", st.Config.Secondaries, "committed", st.Committed, "prepared", st.Prepared)
}
