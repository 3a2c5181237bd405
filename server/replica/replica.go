// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/engine"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/pacifica"
	"github.com/pegasus-ops/pegasus-ops/server/plog"
)

// A replica is the shell of one replica: its state machine, its private log, its storage engine
// and the loop that drives them. Fields are set before the loop starts, or are safe to use from
// anywhere, or belong to the loop.
type replica struct {
	server *Server
	gpid   idl.GPID
	dir    string
	disk   *disk
	log    *slog.Logger
	plog   *plog.Log
	pins   pins

	metrics replicaMetrics

	table atomic.Pointer[table]
	gate  atomic.Pointer[gate]
	db    atomic.Pointer[engine.DB] // nil while a checkpoint is being installed
	inbox inbox

	ctx    context.Context // ends when the replica closes
	cancel context.CancelFunc
	tasks  sync.WaitGroup // learning, checkpoints, log shipping
	ended  chan struct{}  // closed when the loop has ended and everything is closed

	statusMu sync.Mutex
	status   pacifica.Status

	busyUntil  atomic.Int64 // detector clock: until then the replica gets frequent ticks
	active     atomic.Bool  // in Server.active
	removedAt  atomic.Int64 // detector clock: since when it is no member; 0 = it may be one
	checkpoint checkpointState

	// Owned by the loop.
	core     *pacifica.Replica
	held     []clientWrite // taken from the inbox, not proposed yet
	heldFrom time.Time     // since when the first of held waits
	inflight int           // own mutations proposed and not answered
	learning *learn        // the last one
	failure  error         // why the replica is broken
	stopping bool

	copied *copied // what learn has copied; owned by the learn that runs, and the loop in install
}

// post runs f on the loop, at the latest when the replica closes.
func (r *replica) post(f func(now time.Time)) bool { return r.inbox.post(f) }

// errClosed is what waits for a replica get when it closes.
var errClosed = errors.New("the replica is being closed")

// call runs f on the loop and waits for its result.
func (r *replica) call(ctx context.Context, f func(now time.Time) error) error {
	done := make(chan error, 1)
	if !r.post(func(now time.Time) { done <- f(now) }) {
		return errClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-r.ended:
		select {
		case err := <-done:
			return err
		default:
			return errClosed
		}
	}
}

// snapshot returns the state as of the last batch of the loop.
func (r *replica) snapshot() pacifica.Status {
	r.statusMu.Lock()
	defer r.statusMu.Unlock()
	return r.status
}

// info is what the meta server is told about the replica.
func (r *replica) info() idl.ReplicaInfo {
	st := r.snapshot()
	i := idl.ReplicaInfo{
		Pid: r.gpid, Ballot: st.MemberBallot, Status: idl.PartitionStatus(st.Role),
		LastCommittedDecree: st.Committed, LastPreparedDecree: st.Prepared,
		AppType: appType, DiskTag: r.disk.tag,
	}
	if db := r.db.Load(); db != nil {
		i.LastDurableDecree = db.Durable()
	}
	return i
}

// run is the loop. Each turn takes everything that has gathered, steps the state machine with it
// and then does what the state machine wants done.
func (r *replica) run() {
	var events []func(time.Time)
	for !r.stopping {
		<-r.inbox.wake
		var tick bool
		r.held, events, tick = r.inbox.take(r.held, events)
		epoch := r.server.detector.epoch.Load()
		now := time.Now()
		if until, ok := r.server.detector.until(); ok {
			r.core.RenewLease(now, until)
		}
		for i, f := range events {
			f(now)
			events[i] = nil
		}
		if tick {
			r.core.Tick(now)
		}
		r.turn(now)
		r.publish(now, epoch)
	}
	r.shut()
}

// turn proposes what can be proposed and handles outputs until there are none.
func (r *replica) turn(now time.Time) {
	for {
		r.propose(now)
		if !r.core.HasReady() {
			break
		}
		r.handle(now, r.core.Ready())
	}
}

// publish makes the outcome of a turn visible to the rest of the server.
func (r *replica) publish(now time.Time, epoch int64) {
	st := r.core.Status()
	r.statusMu.Lock()
	r.status = st
	r.statusMu.Unlock()

	g := gate{
		status:   idl.PartitionStatus(st.Role),
		readable: r.core.CanRead(now),
		members:  st.Config.Members(),
		writable: true,
		epoch:    epoch,
	}
	if err := r.core.CanPropose(now); err == idl.ErrNotEnoughMember {
		g.writable = false
	}
	if r.failure != nil {
		g.status = idl.PsError
	}
	if old := r.gate.Load(); *old != g {
		r.gate.Store(&g)
	}
	if st.Committed < st.Prepared || st.Changing != pacifica.ChangeNone || len(st.Learners) > 0 ||
		st.Role == pacifica.RoleLearner || len(r.held) > 0 {
		r.stayActive()
	}
}

// stayActive asks for frequent ticks for a while: something waits for time to pass.
func (r *replica) stayActive() {
	r.busyUntil.Store(r.server.detector.now() + int64(activeFor))
	if !r.active.Load() {
		r.server.activate(r)
	}
}

// fail stops a replica whose disk or data cannot be relied upon. The rest of the server goes on.
func (r *replica) fail(now time.Time, err error) {
	if r.failure != nil {
		return
	}
	r.failure = err
	r.log.Error("replica fails and is closed; another server takes over", "dir", r.dir, "err", err)
	r.core.Fail(now)
	r.server.closeLater(r, err)
}

// shut ends what the loop owns: it answers whoever waits, closes the engine with a flush and the
// log.
func (r *replica) shut() {
	r.cancel()
	if r.learning != nil {
		r.learning.cancel()
	}
	closed := r.gate.Load().status
	r.gate.Store(&gate{status: idl.PsInactive})
	writes, events := r.inbox.close()
	now := time.Now()
	for _, f := range events {
		f(now)
	}
	for r.core.HasReady() { // tags of mutations under way are answered as failed
		rd := r.core.Ready()
		for _, f := range rd.Failed {
			r.answerFailed(f)
		}
	}
	for _, w := range append(r.held, writes...) {
		w.req.ReplyError(idl.ErrInvalidState)
	}
	r.held = nil
	r.tasks.Wait()
	if db := r.db.Swap(nil); db != nil {
		var err error
		if r.failure != nil {
			err = db.CloseWithoutFlush()
		} else {
			err = db.Close()
		}
		if err != nil {
			r.log.Error("closing the storage engine failed", "dir", r.dir, "err", err)
		}
	}
	if err := r.plog.Close(); err != nil {
		r.log.Error("closing the private log failed", "dir", r.dir, "err", err)
	}
	r.log.Debug("replica closed", "was", closed)
	close(r.ended)
}

// stop ends the loop and waits until everything is closed.
func (r *replica) stop(ctx context.Context) error {
	r.cancel()
	r.post(func(now time.Time) {
		r.core.Fail(now) // answers what is under way
		r.stopping = true
	})
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close replica %s: %w", r.gpid, ctx.Err())
	}
}
