// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/engine"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/pacifica"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

const (
	// learnTimeout bounds one RPC_LEARN; the primary may have to make a checkpoint first.
	learnTimeout = 20 * time.Second
	// learnPause is how long a learner waits before it repeats a round that did not help.
	learnPause = time.Second
	// learnStall is how long a copy may go without a byte before it is begun again.
	learnStall = time.Minute
	// learnTries is how many rounds in a row may fail before the learner gives up.
	learnTries = 10
)

// A learn is one attempt to catch up with a primary, in rounds: each asks the primary what to do
// next, does it and asks again, until the primary ships what it has in memory, which is the rest.
type learn struct {
	r         *replica
	primary   idl.RPCAddress
	signature int64
	ctx       context.Context
	cancel    context.CancelFunc
	before    *learn        // the one that this one replaces
	ended     chan struct{} // closed when its goroutine has ended
	moved     atomic.Int64  // bytes copied
}

// A copied says what of a checkpoint is in the learn directory already; it outlives the learn.
type copied struct {
	from  idl.RPCAddress
	dir   string
	files string // what was announced
	done  map[string]bool
}

// startLearning runs on the loop.
func (r *replica) startLearning(primary idl.RPCAddress, signature int64) {
	r.stopLearning()
	l := &learn{r: r, primary: primary, signature: signature, before: r.learning, ended: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(r.ctx)
	r.learning = l
	r.server.learning.Add(1)
	r.tasks.Go(func() {
		defer r.server.learning.Add(-1)
		defer close(l.ended)
		defer l.cancel()
		if l.before != nil {
			<-l.before.ended // it may still hold the learn directory
			l.before = nil
		}
		l.run()
	})
}

// stopLearning runs on the loop.
func (r *replica) stopLearning() {
	if r.learning != nil {
		r.learning.cancel()
	}
}

func (l *learn) run() {
	log := l.r.log.With("node", l.primary, "signature", l.signature)
	log.Info("learning")
	start := time.Now()
	for failures := 0; l.ctx.Err() == nil; {
		done, err := l.round()
		switch {
		case done && err == nil:
			log.Info("learned all there is", "took", time.Since(start), "bytes", l.moved.Load())
			l.r.metrics.learned.Inc()
			l.notify(idl.ErrOK)
			return
		case l.ctx.Err() != nil:
			return
		case err == nil:
			failures = 0
			continue
		case errors.Is(err, errLocal):
			_ = l.r.call(l.ctx, func(now time.Time) error { l.r.fail(now, err); return nil })
			l.notify(idl.ErrLearnFileFailed)
			return
		case hopeless(err) || failures >= learnTries:
			log.Warn("learning failed", "err", err)
			l.r.metrics.failed.Inc()
			l.notify(idl.ErrLearnFileFailed)
			_ = l.r.call(l.ctx, func(now time.Time) error {
				l.r.core.LearnFailed(now, l.signature)
				return nil
			})
			return
		}
		failures++
		log.Info("learning again after a failed round", "err", err, "step", failures)
		l.pause(learnPause)
	}
}

func (l *learn) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.r.ctx.Done():
	}
}

// errLocal marks errors of this server's own disk.
var errLocal = errors.New("local disk or data")

// hopeless reports whether the primary wants nothing to do with this learner.
func hopeless(err error) bool {
	return errors.Is(err, idl.ErrObjectNotFound) || errors.Is(err, idl.ErrWrongChecksum) || errors.Is(err, idl.ErrInvalidState)
}

// round asks the primary once and does what it says; done means that nothing is missing any more.
func (l *learn) round() (done bool, err error) {
	st, err := l.status(l.ctx)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(l.ctx, learnTimeout)
	defer cancel()
	var resp idl.LearnResponse
	err = l.r.server.opts.Peers.Call(ctx, l.primary, wire.Call{
		Name: idl.RPCLearn, GPID: l.r.gpid,
		Arg: &idl.LearnRequest{
			Pid: l.r.gpid, Learner: l.r.server.opts.Self, Signature: l.signature,
			Committed: st.Committed, Prepared: st.Prepared, Ballot: st.Ballot,
		},
		Result: &resp,
	})
	if err == nil && !resp.Err.OK() {
		err = resp.Err
	}
	if err != nil {
		return false, fmt.Errorf("ask %s what to learn: %w", l.primary, err)
	}
	switch resp.Type {
	case idl.LtCache, idl.LtLog:
		last := resp.Type == idl.LtCache
		return last, l.mutations(resp.Mutations, last)
	case idl.LtApp:
		return false, l.fromCheckpoint(&resp)
	}
	return false, fmt.Errorf("%s answered with learn type %s", l.primary, resp.Type)
}

// status asks the loop, so that the outcome of the round before is in it.
func (l *learn) status(ctx context.Context) (st pacifica.Status, err error) {
	err = l.r.call(ctx, func(time.Time) error {
		st = l.r.core.Status()
		return nil
	})
	return st, err
}

// mutations installs committed mutations that the primary shipped.
func (l *learn) mutations(encoded [][]byte, last bool) error {
	ms := make([]*pacifica.Mutation, len(encoded))
	for i, b := range encoded {
		m, err := pacifica.DecodeMutation(bytes.Clone(b))
		if err != nil {
			return fmt.Errorf("learn from %s: %w", l.primary, err)
		}
		ms[i] = m
		l.moved.Add(int64(len(b)))
	}
	return l.r.call(l.ctx, func(now time.Time) error {
		if l.r.learning != l || l.ctx.Err() != nil {
			return errClosed
		}
		return l.r.core.Learned(now, l.signature, ms, last)
	})
}

// fromCheckpoint copies a checkpoint of the primary and puts it in place of the data.
func (l *learn) fromCheckpoint(resp *idl.LearnResponse) error {
	s := l.r.server
	select {
	case s.learnSlots <- struct{}{}:
		defer func() { <-s.learnSlots }()
	case <-l.ctx.Done():
		return l.ctx.Err()
	}
	if err := l.copy(resp); err != nil {
		return err
	}
	return l.r.call(l.ctx, func(now time.Time) error {
		if l.r.learning != l || l.ctx.Err() != nil {
			return errClosed
		}
		return l.r.install(now, l.signature, resp)
	})
}

func (l *learn) copy(resp *idl.LearnResponse) error {
	r, o := l.r, &l.r.server.opts
	names := bytes.Buffer{}
	var total int64
	for _, f := range resp.Files {
		fmt.Fprintf(&names, "%s %d %s\n", f.Name, f.Size, f.Md5)
		total += f.Size
	}
	to := o.FS.PathJoin(r.dir, learnName)
	c := r.copied
	if c == nil || c.from != l.primary || c.dir != resp.Dir || c.files != names.String() {
		if err := o.FS.RemoveAll(to); err != nil {
			return fmt.Errorf("clear %s: %w: %w", to, errLocal, err)
		}
		c = &copied{from: l.primary, dir: resp.Dir, files: names.String(), done: map[string]bool{}}
		r.copied = c
	}
	r.log.Info("copying a checkpoint", "node", l.primary, "decree", resp.CheckpointDecree,
		"files", len(resp.Files), "bytes", total)
	ctx, cancel := context.WithCancelCause(l.ctx)
	defer cancel(nil)
	stall := time.AfterFunc(learnStall, func() {
		cancel(fmt.Errorf("no byte arrived in %s: %w", learnStall, idl.ErrTimeout))
	})
	defer stall.Stop()
	fc := fileCopy{
		peers: o.Peers, from: l.primary, gpid: r.gpid, dir: resp.Dir, files: resp.Files,
		fs: o.FS, to: to, block: o.CopyBlockBytes, parallel: o.CopyParallel, timeout: o.CopyTimeout, done: c.done,
		progress: func(n int) {
			l.moved.Add(int64(n))
			r.metrics.copied.Add(int64(n))
			stall.Reset(learnStall)
		},
	}
	if err := fc.run(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil && l.ctx.Err() == nil {
			err = errors.Join(err, cause)
		}
		return err
	}
	return nil
}

// install runs on the loop: the copied checkpoint becomes the data of the replica.
func (r *replica) install(now time.Time, signature int64, resp *idl.LearnResponse) error {
	if st := r.core.Status(); st.Role != pacifica.RoleLearner || st.Signature != signature || st.LearnDone {
		return errClosed // it ended a moment ago; the data must stay what the state machine knows
	}
	fs := r.server.opts.FS
	from, data := fs.PathJoin(r.dir, learnName), fs.PathJoin(r.dir, dataName)
	decree, err := engine.Inspect(fs, from)
	if err == nil && decree != resp.CheckpointDecree {
		err = fmt.Errorf("holds decree %d where %d was announced", decree, resp.CheckpointDecree)
	}
	if err != nil {
		r.copied = nil // copy all of it again
		return fmt.Errorf("checkpoint copied from another server: %w", err)
	}
	discard := decree < r.core.Status().Committed
	old := r.db.Swap(nil)
	local := func(what string, err error) error {
		return fmt.Errorf("%s: %w: %w", what, errLocal, err)
	}
	if err := old.CloseWithoutFlush(); err != nil {
		r.log.Warn("closing data that is being replaced failed", "err", err)
	}
	if discard {
		// What this replica has beyond the primary was never committed. It is kept aside all the
		// same: it is evidence of something that should not happen.
		if err := r.plog.Reset(decree); err != nil {
			return local("reset the private log", err)
		}
		aside := fs.PathJoin(r.dir, fmt.Sprintf("data.%d.discarded", now.UnixMicro()))
		if err := fs.Rename(data, aside); err != nil {
			return local("set data aside", err)
		}
		r.log.Warn("data newer than the primary's was set aside", "dir", aside, "decree", decree)
	}
	if err := engine.Install(fs, from, data); err != nil {
		return local("install the checkpoint", err)
	}
	r.copied = nil
	db, err := r.server.openEngine(r.gpid, r.dir, r.disk, r.onEngineError)
	if err != nil {
		return local("open the installed checkpoint", err)
	}
	r.setEnvs(db)
	r.db.Store(db)
	if err := r.core.CheckpointInstalled(now, signature, db.Applied()); err != nil {
		return fmt.Errorf("checkpoint of decree %d: %w", db.Applied(), err)
	}
	if !discard {
		if err := r.plog.Reset(decree); err != nil {
			return local("reset the private log", err)
		}
	}
	r.log.Info("checkpoint installed", "decree", decree)
	return nil
}

// notify tells the primary how learning ended. If it cannot be told, its group check finds out.
// The learn itself may be over by then.
func (l *learn) notify(code idl.ErrorCode) {
	st, err := l.status(l.r.ctx)
	for try := 0; try < 3 && err == nil && l.r.ctx.Err() == nil; try++ {
		ctx, cancel := context.WithTimeout(l.r.ctx, l.r.server.opts.PrepareTimeout)
		var ack idl.ConfigProposalAck
		err := l.r.server.opts.Peers.Call(ctx, l.primary, wire.Call{
			Name: idl.RPCLearnCompletionNotify, GPID: l.r.gpid,
			Arg: &idl.LearnDoneRequest{
				Pid: l.r.gpid, Learner: l.r.server.opts.Self, Signature: l.signature,
				Committed: st.Committed, Prepared: st.Prepared, Err: code,
			},
			Result: &ack,
		})
		cancel()
		if err == nil {
			return
		}
		l.r.log.Debug("cannot tell the primary how learning ended", "node", l.primary, "err", err)
		l.pause(learnPause)
	}
}
