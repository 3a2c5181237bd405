// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/guardian"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
)

// A leader is what this server knows while it leads. It is owned by the loop from the moment
// Server.lead is called.
type leader struct {
	s     *Server
	log   *slog.Logger
	epoch int64
	holds func() bool   // store.Term.Holds
	quit  chan struct{} // closed by stepDown

	tables map[int32]*table
	names  map[string]*table // every table that is not dropped
	nextID int32             // larger than any id ever used

	nodes map[idl.RPCAddress]*node
	fd    *detector
	up    int // nodes that are alive
	lost  int // nodes that were alive under this leader and are not

	level idl.MetaFunctionLevel // as the operator set it

	since   time.Time // when it began to lead
	settled bool      // nodes have had the time to find it
	freezed bool      // the automatic freeze that was logged last

	round   *guardian.Round
	pending map[*partition]struct{} // those with actions that have not taken effect, or with a config to push
	dirty   map[*partition]struct{} // to be cured before the loop waits again

	nextCure              time.Time
	joinedOne, joinedLast time.Time // when the first and the last node connected, zero before

	changed bool // something in the next snapshot differs
}

// A table is one app with its partitions.
type table struct {
	info    idl.AppInfo // envs are replaced, never changed: snapshots share the map
	version int64
	parts   []*partition
	view    *tableView // published last; nil when it is out of date

	// A table operation and writes of single partitions exclude each other.
	busy    bool
	writes  int
	waiting []func()
}

// A partition is one partition and what the leader remembers about it.
type partition struct {
	t       *table
	cfg     *idl.PartitionConfiguration // replaced, never changed: snapshots and messages share it
	version int64

	writing bool
	waiting []func() // requests that came during a write

	gone    []idl.RPCAddress // members whose process has ended
	dropped []drop           // former members, most recent last
	reports map[idl.RPCAddress]report
	prefer  int // guardian.Partition.Prefer

	actions     []guardian.Action // the first one is pending, the others follow it
	kind        opKind            // what the actions are, for the operator
	sentAt      time.Time
	sends       int   // of the pending action
	refused     bool  // the last one failed or was not taken
	learnerSeen bool  // the node of a pending addition has reported that it learns
	pushTo      int64 // ballot that the primary has to be told of, 0 if none
	pushedAt    time.Time
	reason      string // why nothing is done although something is wrong
}

// A node is a replica server.
type node struct {
	addr      idl.RPCAddress
	alive     bool
	lost      bool  // it was alive and is not any more
	collected bool  // it has reported its replicas since it came alive
	syncs     int64 // config syncs with replicas received from it
	roles     map[*partition]struct{}
	primaries int
	geo       *idl.ReplicaServerInfo
}

// pending is the action under way, nil if there is none.
func (p *partition) pending() *guardian.Action {
	if len(p.actions) == 0 {
		return nil
	}
	return &p.actions[0]
}

func (l *leader) partition(g idl.GPID) *partition {
	t := l.tables[g.AppID]
	if t == nil || g.PartitionIndex < 0 || int(g.PartitionIndex) >= len(t.parts) {
		return nil
	}
	return t.parts[g.PartitionIndex]
}

// node returns what is known of a server, and begins to know it.
func (l *leader) node(a idl.RPCAddress) *node {
	n := l.nodes[a]
	if n == nil {
		n = &node{addr: a, roles: map[*partition]struct{}{}}
		l.nodes[a] = n
	}
	return n
}

// isMember reports whether a is primary or secondary.
func isMember(pc *idl.PartitionConfiguration, a idl.RPCAddress) bool {
	return pc.Primary == a || slices.Contains(pc.Secondaries, a)
}

func members(pc *idl.PartitionConfiguration) []idl.RPCAddress {
	if pc.Primary.IsZero() {
		return pc.Secondaries
	}
	return append([]idl.RPCAddress{pc.Primary}, pc.Secondaries...)
}

// count adds or takes back the roles of a configuration in the indexes.
func (l *leader) count(p *partition, pc *idl.PartitionConfiguration, sign int) {
	if sign > 0 {
		l.round.View.Loads.Add(pc)
	} else {
		l.round.View.Loads.Remove(pc)
	}
	for _, a := range members(pc) {
		n := l.node(a)
		if sign > 0 {
			n.roles[p] = struct{}{}
		} else {
			delete(n.roles, p)
		}
	}
	if !pc.Primary.IsZero() {
		l.node(pc.Primary).primaries += sign
	}
}

// setConfig makes a stored configuration the present one.
func (l *leader) setConfig(p *partition, next *idl.PartitionConfiguration) {
	old := p.cfg
	l.count(p, old, -1)
	p.cfg = next
	l.count(p, next, +1)
	l.touch(p.t)

	now := time.Now()
	for _, a := range members(old) {
		if !isMember(next, a) {
			l.recordDrop(p, a, now)
		}
	}
	for _, a := range members(next) {
		p.dropped = slices.DeleteFunc(p.dropped, func(d drop) bool { return d.node == a })
	}
	p.trimDropped(l.s.o.MaxReservedDropped)
	p.gone = slices.DeleteFunc(p.gone, func(a idl.RPCAddress) bool { return !isMember(next, a) })
	if a := p.pending(); a != nil && a.Done(next) {
		l.actionDone(p)
	}
	l.markDirty(p)
}

// actionDone moves on to the next action of the list.
func (l *leader) actionDone(p *partition) {
	l.round.Uncount(p.cfg.Pid.AppID, p.actions[0])
	if l.round.Held && p.actions[0].IsAdd() {
		l.cureSoon(flowDebounce) // somebody waits for the place
	}
	p.actions = p.actions[1:]
	p.sentAt, p.sends, p.refused, p.learnerSeen = time.Time{}, 0, false, false
	if a := p.pending(); a != nil {
		l.round.Count(p.cfg.Pid.AppID, *a)
	} else {
		l.setActions(p, opCure)
	}
}

// setActions replaces the list of actions, which the caller has uncounted, without counting.
func (l *leader) setActions(p *partition, kind opKind, actions ...guardian.Action) {
	if p.kind != opCure || kind != opCure {
		l.changed = true // operations are counted in snapshots
	}
	p.actions, p.kind = actions, kind
	p.sentAt, p.sends, p.refused, p.learnerSeen = time.Time{}, 0, false, false
	if len(actions) > 0 || p.pushTo != 0 {
		l.pending[p] = struct{}{}
	} else {
		delete(l.pending, p)
	}
}

// clearActions gives up what is pending.
func (l *leader) clearActions(p *partition) {
	if a := p.pending(); a != nil {
		l.round.Uncount(p.cfg.Pid.AppID, *a)
	}
	l.setActions(p, opCure)
}

// touch notes that a table has to be published anew.
func (l *leader) touch(t *table) {
	t.view = nil
	l.changed = true
}

func (l *leader) markDirty(p *partition) { l.dirty[p] = struct{}{} }

// commit writes in the background, again and again until the outcome is known, and then runs
// done on the loop. A failure that means another leader ends this one's term, and done is not
// run.
func (l *leader) commit(what string, done func(), ops ...store.Op) {
	s := l.s
	s.wg.Go(func() {
		err := s.commit(l.epoch, what, ops)
		if s.ctx.Err() != nil {
			return
		}
		s.mail.tell(func() {
			if s.leader != l {
				return
			}
			if err != nil {
				l.stepDown(what, err)
				return
			}
			done()
		})
	})
}

// stepDown ends the leadership: what is in memory may not be what is in the store.
func (l *leader) stepDown(what string, err error) {
	if errors.Is(err, store.ErrFenced) {
		l.log.Warn("the leadership ended before a change was stored; whether it was is seen by the next leader", "step", what, "err", err)
	} else {
		l.log.Error("the metadata was changed by somebody else; giving up the leadership to read it again", "step", what, "err", err)
	}
	l.s.follow()
	close(l.quit)
}

// storeConfig stores a configuration, makes it the present one and then runs done.
func (l *leader) storeConfig(p *partition, next *idl.PartitionConfiguration, done func()) {
	p.writing = true
	p.t.writes++
	l.commit("configuration of "+next.Pid.String(), func() {
		p.writing = false
		p.version++
		p.t.writes--
		l.setConfig(p, next)
		if done != nil {
			done()
		}
		l.serveWaiting(p)
		l.unblock(p.t)
	}, store.Set(store.PartitionPath(next.Pid), store.EncodePartition(next), p.version))
}

// exclusive runs op when nothing of the table is being written. op sets t.busy if it writes.
func (l *leader) exclusive(t *table, op func()) {
	if t.busy || t.writes > 0 || len(t.waiting) > 0 {
		t.waiting = append(t.waiting, op)
		return
	}
	op()
}

// unblock lets the next operation on the table begin, and after the last one what had to wait
// for them.
func (l *leader) unblock(t *table) {
	if len(t.waiting) == 0 {
		return
	}
	for !t.busy && t.writes == 0 && len(t.waiting) > 0 {
		op := t.waiting[0]
		t.waiting = t.waiting[1:]
		op()
	}
	l.release(t)
}

// free reports whether a configuration of the partition may be written now.
func (p *partition) free() bool { return !p.writing && !p.t.busy && len(p.t.waiting) == 0 }

// release goes on with the partitions of a table that an operation has held up.
func (l *leader) release(t *table) {
	for _, p := range t.parts {
		l.serveWaiting(p)
		l.markDirty(p)
	}
}

// serveWaiting takes up the requests that came during a write. The first that writes makes the
// others wait again.
func (l *leader) serveWaiting(p *partition) {
	if !p.free() {
		return
	}
	waiting := p.waiting
	p.waiting = nil
	for _, f := range waiting {
		f()
	}
}

// storeTable stores a table and some of its partitions, and then runs done. The table comes
// first: should the store have to split the commit and this server die in the middle of it, the
// next leader brings the partitions in line with their table (repair). The table must be free
// (exclusive).
func (l *leader) storeTable(t *table, info idl.AppInfo, parts []*idl.PartitionConfiguration, done func()) {
	t.busy = true
	ops := []store.Op{store.Set(store.AppPath(info.AppID), store.EncodeApp(&info), t.version)}
	for i, pc := range parts {
		ops = append(ops, store.Set(store.PartitionPath(pc.Pid), store.EncodePartition(pc), t.parts[i].version))
	}
	l.commit("table "+info.AppName, func() {
		t.busy = false
		t.version++
		t.info = info
		l.touch(t)
		for i, pc := range parts {
			t.parts[i].version++
			l.setConfig(t.parts[i], pc)
		}
		done()
		l.unblock(t)
		l.release(t)
	}, ops...)
}
