// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/pacifica"
	"github.com/pegasus-ops/pegasus-ops/server/plog"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

const (
	// shipBytes bounds the mutations of one answer to a learner.
	shipBytes = 4 << 20
	// shipRounds: a learner that would need more log than so many answers carry gets a
	// checkpoint instead, if the data is smaller than the log.
	shipRounds = 64
	// checkpointWait is how long an answer to a learner waits for a checkpoint to be made.
	checkpointWait = 10 * time.Second
)

// onLearn tells a learner how it can catch up.
func (s *Server) onLearn(req *wire.Request) {
	var q idl.LearnRequest
	if err := req.Decode(&q); err != nil {
		req.ReplyError(idl.ErrInvalidData)
		return
	}
	r := s.replica(q.Pid)
	if r == nil {
		req.Reply(&idl.LearnResponse{Err: idl.ErrObjectNotFound})
		return
	}
	kept := req.Retain()
	kept.Arg = nil
	if !r.post(func(now time.Time) { r.teach(now, kept, &q) }) {
		kept.Reply(&idl.LearnResponse{Err: idl.ErrObjectNotFound})
	}
}

// teach runs on the loop. What is in memory is shipped at once, and before any prepare that
// follows; reading the log or making a checkpoint happens elsewhere.
func (r *replica) teach(now time.Time, req *wire.Request, q *idl.LearnRequest) {
	plan, err := r.core.Learn(now, pacifica.LearnRequest{
		Node: q.Learner, Signature: q.Signature, Ballot: q.Ballot, Committed: q.Committed,
	})
	if err != nil {
		req.Reply(&idl.LearnResponse{Err: errorCode(err)})
		return
	}
	resp := &idl.LearnResponse{Err: idl.ErrOK, Ballot: plan.Ballot, Committed: plan.Committed}
	if plan.Cached {
		resp.Type = idl.LtCache
		resp.PrepareStart = plan.Committed + 1
		resp.Mutations = make([][]byte, len(plan.Mutations))
		for i, m := range plan.Mutations {
			resp.Mutations[i] = m.Encoded
		}
		r.log.Info("teaching from memory", "node", q.Learner, "decree", plan.Start, "committed", plan.Committed)
		r.metrics.taught[idl.LtCache].Inc()
		req.Reply(resp)
		return
	}
	r.tasks.Go(func() {
		if err := r.ship(resp, plan, q.Learner); err != nil {
			r.log.Warn("cannot help a learner", "node", q.Learner, "err", err)
			resp = &idl.LearnResponse{Err: errorCode(err)}
		}
		r.metrics.taught[resp.Type].Inc()
		req.Reply(resp)
	})
}

// errorCode is the wire form of an error, ERR_GET_LEARN_STATE_FAILED for those that have none.
func errorCode(err error) idl.ErrorCode {
	var code idl.ErrorCode
	if errors.As(err, &code) {
		return code
	}
	return idl.ErrGetLearnStateFailed
}

// ship completes an answer from the private log, or with a checkpoint if the log does not reach
// back far enough.
func (r *replica) ship(resp *idl.LearnResponse, plan pacifica.LearnPlan, to idl.RPCAddress) error {
	if !plan.Discard && r.plog.Size() < shipBytes*shipRounds {
		ok, err := r.shipLog(resp, plan)
		if err != nil {
			return err
		}
		if ok {
			r.log.Info("teaching from the log", "node", to, "decree", plan.Start, "mutations", len(resp.Mutations))
			return nil
		}
	}
	c, err := r.checkpointFor(plan)
	if err != nil {
		return err
	}
	files, err := r.checkpointFiles(c)
	if err != nil {
		return err
	}
	resp.Type, resp.Dir, resp.Files, resp.CheckpointDecree = idl.LtApp, checkpointDir(c), files, c
	r.log.Info("teaching from a checkpoint", "node", to, "decree", c, "files", len(files))
	return nil
}

var errEnough = errors.New("enough")

// shipLog ships committed mutations; ok is false when the log does not hold all of them.
func (r *replica) shipLog(resp *idl.LearnResponse, plan pacifica.LearnPlan) (ok bool, err error) {
	next, size := plan.Start, 0
	var ms [][]byte
	err = r.plog.ReadFrom(plan.Start, shipBytes, func(e plog.Entry) error {
		if e.Decree > plan.Committed || size > shipBytes {
			return errEnough
		}
		if e.Decree != next {
			return plog.ErrTruncated
		}
		ms = append(ms, e.Data)
		size += len(e.Data)
		next++
		return nil
	})
	switch {
	case errors.Is(err, plog.ErrTruncated):
		return false, nil
	case err != nil && !errors.Is(err, errEnough):
		return false, fmt.Errorf("ship the log from decree %d: %w", plan.Start, err)
	}
	resp.Type, resp.Mutations = idl.LtLog, ms
	return len(ms) > 0, nil
}

// checkpointFor returns the decree of a checkpoint that helps: newer than what the learner has,
// and with the log reaching back to it. If there is none, one is made.
func (r *replica) checkpointFor(plan pacifica.LearnPlan) (int64, error) {
	r.pins.hold()
	defer r.pins.unhold()
	all := r.checkpoints()
	for i := len(all) - 1; i >= 0; i-- {
		if c := all[i]; c >= plan.Start && c <= plan.Committed && r.logCovers(c+1, plan.Committed) {
			r.pins.touch(checkpointDir(c))
			return c, nil
		}
	}
	ctx, cancel := context.WithTimeout(r.ctx, checkpointWait)
	defer cancel()
	c, err := r.makeCheckpoint(ctx)
	if err != nil {
		return 0, err
	}
	r.pins.touch(checkpointDir(c))
	return c, nil
}

// logCovers reports whether the private log holds the mutation that follows a checkpoint.
func (r *replica) logCovers(from, committed int64) bool {
	if from > committed {
		return true
	}
	first := r.plog.FirstDecree()
	return first <= from && r.plog.LastDecree() >= committed
}

// onLearnDone takes note of a learner that has caught up or failed.
func (s *Server) onLearnDone(req *wire.Request) {
	var q idl.LearnDoneRequest
	if err := req.Decode(&q); err != nil {
		req.ReplyError(idl.ErrInvalidData)
		return
	}
	r := s.replica(q.Pid)
	if r == nil {
		req.Reply(&idl.ConfigProposalAck{Err: idl.ErrObjectNotFound})
		return
	}
	kept := req.Retain()
	kept.Arg = nil
	posted := r.post(func(now time.Time) {
		ack := &idl.ConfigProposalAck{Err: idl.ErrOK}
		if err := r.core.LearnerDone(now, q.Learner, q.Signature, q.Prepared, q.Err); err != nil {
			ack.Err = errorCode(err)
		}
		kept.Reply(ack)
	})
	if !posted {
		kept.Reply(&idl.ConfigProposalAck{Err: idl.ErrObjectNotFound})
	}
}
