// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"errors"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/pacifica"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// changeTimeout bounds one request to change a configuration; the state machine repeats it.
const changeTimeout = 5 * time.Second

// A proposal that cannot be followed while a change is under way is tried again so often, with
// this pause.
const (
	proposalTries = 20
	proposalPause = 25 * time.Millisecond
)

// changeRetry is how soon after a failed change the present configuration is asked for.
const changeRetry = time.Second

func (s *Server) handleConfig() {
	s.opts.Mux.Handle(idl.RPCConfigProposal, s.onProposal)
}

// requestChange asks the meta server to store a changed configuration. It runs on the loop of r.
func (s *Server) requestChange(r *replica, c pacifica.Change) {
	st := r.core.Status()
	t := r.table.Load()
	meta, asOf := s.detector.meta(), time.Now()
	req := &idl.ConfigurationUpdateRequest{
		Info: t.info,
		Config: idl.PartitionConfiguration{
			Pid: r.gpid, Ballot: c.Config.Ballot, MaxReplicaCount: t.info.MaxReplicaCount,
			Primary: c.Config.Primary, Secondaries: c.Config.Secondaries, LastCommittedDecree: st.Committed,
		},
		Type: idl.ConfigType(c.Type), Node: c.Node, HostNode: s.opts.Self,
	}
	leaving := c.Type == pacifica.ChangeDowngradeToInactive && c.Node == s.opts.Self
	if leaving {
		s.leaves.Add(1)
	}
	r.log.Info("asking for a change of configuration", "type", req.Type, "node", c.Node, "ballot", c.Config.Ballot)
	s.opts.Peers.Go(meta, wire.Call{Name: idl.RPCUpdatePartitionConfiguration, GPID: r.gpid, Arg: req}, changeTimeout,
		func(result []byte, err error) {
			if leaving {
				defer s.leaves.Add(-1)
			}
			var resp idl.ConfigurationUpdateResponse
			if err == nil {
				_, err = resp.Decode(result)
			}
			code := resp.Err
			var current *pacifica.Config
			switch {
			case err == nil:
				if resp.Config.Pid == r.gpid && resp.Config.Ballot > 0 {
					cfg := configFrom(&resp.Config)
					current = &cfg
				}
			case !errors.As(err, &code):
				code = idl.ErrNetworkFailure
			}
			if !code.OK() {
				r.log.Info("change of configuration did not succeed", "type", req.Type, "node", meta, "err", code)
			}
			if code == idl.ErrForwardToOthers {
				s.detector.distrust(meta)
			}
			if leaving && code == idl.ErrInvalidVersion && st.Role == pacifica.RoleError &&
				current != nil && current.RoleOf(s.opts.Self) != pacifica.RoleInactive {
				s.askToLeave(t.info, resp.Config, leaveTries)
			}
			if !code.OK() && s.ctx.Err() == nil {
				time.AfterFunc(changeRetry, s.syncSoon) // what is still wrong then shows in the config sync
			}
			r.post(func(now time.Time) { r.core.ChangeReply(now, c, code, current, asOf) })
		})
}

// onProposal takes what the meta server wants done.
func (s *Server) onProposal(req *wire.Request) {
	q := new(idl.ConfigurationUpdateRequest)
	if err := req.Decode(q); err != nil {
		req.ReplyError(idl.ErrInvalidData)
		return
	}
	kept := req.Retain()
	kept.Arg = nil
	if !s.detector.alive() {
		kept.Reply(&idl.ConfigProposalAck{Err: idl.ErrInvalidState})
		return
	}
	if r := s.replica(q.Config.Pid); r != nil {
		s.propose(r, q, kept)
		return
	}
	if (q.Type != idl.CtAssignPrimary && q.Type != idl.CtUpgradeToPrimary) || q.Node != s.opts.Self {
		s.syncSoon() // the meta server believes in a replica that is not here
		kept.Reply(&idl.ConfigProposalAck{Err: idl.ErrObjectNotFound})
		return
	}
	ok := s.openers.Submit(func() {
		r, err := s.open(q.Config.Pid, q.Info, s.mayBegin(q))
		if err != nil {
			if errors.Is(err, errNoReplica) {
				s.log.Error("refused to become primary of a partition that has a history but no replica on this server: "+
					"it would begin empty. If its data is lost for good, allow that with the remote command "+
					"replica.allow-empty and propose the primary again", "gpid", q.Config.Pid, "ballot", q.Config.Ballot, "committed", q.Config.LastCommittedDecree)
			} else {
				s.log.Error("cannot open a replica that is to be primary", "gpid", q.Config.Pid, "err", err)
			}
			kept.Reply(&idl.ConfigProposalAck{Err: openError(err)})
			return
		}
		s.propose(r, q, kept)
	})
	if !ok {
		kept.Reply(&idl.ConfigProposalAck{Err: idl.ErrBusy})
	}
}

// mayBegin reports whether a partition may begin with an empty replica: only one that never had
// a configuration, unless an operator has said so.
func (s *Server) mayBegin(q *idl.ConfigurationUpdateRequest) bool {
	c := &q.Config
	if c.Ballot <= 0 && c.LastCommittedDecree == 0 && len(c.LastDrops) == 0 && len(c.Secondaries) == 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mayEmpty[c.Pid]
}

// propose hands a proposal to the state machine of an open replica.
func (s *Server) propose(r *replica, q *idl.ConfigurationUpdateRequest, kept *wire.Request) {
	r.setTable(q.Info)
	p := pacifica.Proposal{
		Type: pacifica.ChangeType(q.Type), Node: q.Node, Config: configFrom(&q.Config),
		Signature: s.newSignature(),
	}
	if q.Type == idl.CtDropPartition {
		s.syncSoon()
		kept.Reply(&idl.ConfigProposalAck{Err: idl.ErrOK})
		return
	}
	s.follow(r, q, p, kept, proposalTries)
}

// follow steps the state machine with a proposal. The meta server's answer to a change and the
// proposal that builds on it come over different connections: a proposal that overtakes the
// answer is tried again until that is there.
func (s *Server) follow(r *replica, q *idl.ConfigurationUpdateRequest, p pacifica.Proposal, kept *wire.Request, tries int) {
	known, empty := q.Config.LastCommittedDecree, !s.mayBegin(q)
	ok := r.post(func(now time.Time) {
		st := r.core.Status()
		if p.Type == pacifica.ChangeAssignPrimary && p.Node == s.opts.Self && empty && known > 0 && st.Committed == 0 && st.Prepared == 0 {
			r.log.Error("refused to become primary: this replica is empty and the partition is not. "+
				"If its data is lost for good, allow that with the remote command replica.allow-empty and propose the primary again", "committed", known)
			kept.Reply(&idl.ConfigProposalAck{Err: idl.ErrInvalidState})
			return
		}
		err := r.core.HandleProposal(now, p)
		if err != nil && tries > 0 && r.core.Status().Changing != pacifica.ChangeNone {
			time.AfterFunc(proposalPause, func() { s.follow(r, q, p, kept, tries-1) })
			return
		}
		if err != nil {
			r.log.Info("proposal not followed", "type", q.Type, "node", q.Node, "ballot", q.Config.Ballot, "err", err)
			kept.Reply(&idl.ConfigProposalAck{Err: errorCode(err)})
			return
		}
		kept.Reply(&idl.ConfigProposalAck{Err: idl.ErrOK})
	})
	if !ok {
		kept.Reply(&idl.ConfigProposalAck{Err: idl.ErrObjectNotFound})
	}
}

// newSignature names a learner: fresh in this process and, with the time in it, after a restart.
func (s *Server) newSignature() int64 {
	for {
		last := s.signature.Load()
		next := max(time.Now().UnixNano(), last+1)
		if s.signature.CompareAndSwap(last, next) {
			return next
		}
	}
}
