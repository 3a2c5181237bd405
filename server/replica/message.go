// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/pacifica"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// send puts a message of the state machine on the wire: requests through the outbox of the peer,
// which all partitions share, answers as the answer of the RPC they belong to.
func (r *replica) send(m *pacifica.Message) {
	switch m.Type {
	case pacifica.MsgPrepare:
		r.request(m, idl.RPCPrepare, r.prepareRequest(m), pacifica.MsgPrepareAck, decodePrepareAck)
	case pacifica.MsgGroupCheck:
		r.request(m, idl.RPCGroupCheck, r.groupCheckRequest(m), pacifica.MsgGroupCheckReply, decodeGroupCheckReply)
	case pacifica.MsgAddLearner:
		r.request(m, idl.RPCLearnAddLearner, r.addLearnerRequest(m), pacifica.MsgAddLearnerAck, decodeAddLearnerAck)
	default:
		if req, ok := m.Reply.(*wire.Request); ok {
			req.Reply(r.answer(m))
		}
	}
}

// request sends an RPC whose answer becomes a message of the given type.
func (r *replica) request(m *pacifica.Message, name string, arg idl.Value, answer pacifica.MsgType,
	decode func(b []byte, a *pacifica.Message) error) {
	reply := pacifica.Message{Type: answer, From: m.To, To: m.From, Ballot: m.Ballot, Signature: m.Signature}
	r.server.opts.Peers.Go(m.To, wire.Call{Name: name, GPID: r.gpid, Arg: arg}, r.server.opts.PrepareTimeout,
		func(result []byte, err error) {
			if err == nil {
				err = decode(result, &reply)
			}
			if err != nil {
				var code idl.ErrorCode
				if !errors.As(err, &code) {
					code = idl.ErrNetworkFailure
				}
				reply.Err = code
			}
			r.post(func(now time.Time) { r.core.Step(now, reply) })
		})
}

func (r *replica) prepareRequest(m *pacifica.Message) *idl.PrepareRequest {
	q := &idl.PrepareRequest{
		Pid: r.gpid, Ballot: m.Ballot, Primary: m.From, Status: idl.PartitionStatus(m.Role),
		LearnerSignature: m.Signature, Committed: m.Committed,
		Mutations: make([][]byte, len(m.Mutations)),
	}
	for i, mu := range m.Mutations {
		q.Mutations[i] = mu.Encoded
	}
	return q
}

func decodePrepareAck(b []byte, a *pacifica.Message) error {
	var v idl.PrepareAck
	if _, err := v.Decode(b); err != nil {
		return err
	}
	a.Err, a.Ballot, a.Decree, a.Committed, a.Prepared = v.Err, v.Ballot, v.Decree, v.Committed, v.Prepared
	return nil
}

func (r *replica) groupCheckRequest(m *pacifica.Message) *idl.GroupCheckRequest {
	return &idl.GroupCheckRequest{
		Pid: r.gpid, App: r.table.Load().info, Config: r.replicaConfig(m), Committed: m.Committed,
		LearnerSignature: m.Signature, Members: slices.Clone(m.Config.Secondaries),
	}
}

func (r *replica) replicaConfig(m *pacifica.Message) idl.ReplicaConfiguration {
	return idl.ReplicaConfiguration{
		Pid: r.gpid, Ballot: m.Ballot, Primary: m.Config.Primary, Status: idl.PartitionStatus(m.Role),
		LearnerSignature: m.Signature,
	}
}

func decodeGroupCheckReply(b []byte, a *pacifica.Message) error {
	var v idl.GroupCheckResponse
	if _, err := v.Decode(b); err != nil {
		return err
	}
	a.Err, a.Ballot, a.Role, a.Committed, a.Prepared = v.Err, v.Ballot, pacifica.Role(v.Status), v.Committed, v.Prepared
	a.LearnDone, a.Signature, a.Decree = v.LearnDone, v.LearnerSignature, v.Decree
	return nil
}

// addLearnerRequest has no place for the secondaries, which a learner does not need to know.
func (r *replica) addLearnerRequest(m *pacifica.Message) *idl.AddLearnerRequest {
	return &idl.AddLearnerRequest{App: r.table.Load().info, Config: r.replicaConfig(m), Committed: m.Committed}
}

func decodeAddLearnerAck(b []byte, a *pacifica.Message) error {
	var v idl.ConfigProposalAck
	if _, err := v.Decode(b); err != nil {
		return err
	}
	a.Err = v.Err
	return nil
}

// answer is the RPC result that carries an answering message.
func (r *replica) answer(m *pacifica.Message) idl.Value {
	switch m.Type {
	case pacifica.MsgPrepareAck:
		return &idl.PrepareAck{
			Err: m.Err, Pid: r.gpid, Ballot: m.Ballot, Decree: m.Decree, Committed: m.Committed, Prepared: m.Prepared,
		}
	case pacifica.MsgGroupCheckReply:
		return &idl.GroupCheckResponse{
			Err: m.Err, Pid: r.gpid, Ballot: m.Ballot, Status: idl.PartitionStatus(m.Role),
			Committed: m.Committed, Prepared: m.Prepared, LearnDone: m.LearnDone, LearnerSignature: m.Signature, Decree: m.Decree,
		}
	default:
		return &idl.ConfigProposalAck{Err: m.Err}
	}
}

// handleMessages registers what replicas send each other.
func (s *Server) handleMessages() {
	s.opts.Mux.Handle(idl.RPCPrepare, s.onPrepare)
	s.opts.Mux.Handle(idl.RPCGroupCheck, s.onGroupCheck)
	s.opts.Mux.Handle(idl.RPCLearnAddLearner, s.onAddLearner)
	s.opts.Mux.Handle(idl.RPCLearn, s.onLearn)
	s.opts.Mux.Handle(idl.RPCLearnCompletionNotify, s.onLearnDone)
	s.opts.Mux.HandlePooled(idl.RPCNfsCopy, s.copies, s.onCopy)
}

// onPrepare hands mutations to the loop of the partition. They are copied out of the buffer they
// arrived in, because they stay in memory for a while and would keep all of it alive.
func (s *Server) onPrepare(req *wire.Request) {
	var q idl.PrepareRequest
	if err := req.Decode(&q); err != nil {
		req.ReplyError(idl.ErrInvalidData)
		return
	}
	r := s.replica(q.Pid)
	if r == nil {
		req.Reply(&idl.PrepareAck{Err: idl.ErrObjectNotFound, Pid: q.Pid, Ballot: q.Ballot})
		return
	}
	m := pacifica.Message{
		Type: pacifica.MsgPrepare, From: q.Primary, To: s.opts.Self, Ballot: q.Ballot,
		Role: pacifica.Role(q.Status), Signature: q.LearnerSignature, Committed: q.Committed,
		Mutations: make([]*pacifica.Mutation, len(q.Mutations)),
	}
	for i, b := range q.Mutations {
		mu, err := pacifica.DecodeMutation(bytes.Clone(b))
		if err != nil {
			s.log.Warn("refused a damaged mutation", "gpid", q.Pid, "node", q.Primary, "err", err)
			req.ReplyError(idl.ErrInvalidData)
			return
		}
		m.Mutations[i] = mu
	}
	s.step(r, req, m)
}

func (s *Server) onGroupCheck(req *wire.Request) {
	var q idl.GroupCheckRequest
	if err := req.Decode(&q); err != nil {
		req.ReplyError(idl.ErrInvalidData)
		return
	}
	r := s.replica(q.Pid)
	if r == nil {
		req.Reply(&idl.GroupCheckResponse{Err: idl.ErrObjectNotFound, Pid: q.Pid, Ballot: q.Config.Ballot})
		return
	}
	s.step(r, req, pacifica.Message{
		Type: pacifica.MsgGroupCheck, From: q.Config.Primary, To: s.opts.Self, Ballot: q.Config.Ballot,
		Role: pacifica.Role(q.Config.Status), Signature: q.LearnerSignature, Committed: q.Committed,
		Config: pacifica.Config{Ballot: q.Config.Ballot, Primary: q.Config.Primary, Secondaries: q.Members},
	})
}

// onAddLearner opens the replica, or makes a new one, and tells it to learn.
func (s *Server) onAddLearner(req *wire.Request) {
	var q idl.AddLearnerRequest
	if err := req.Decode(&q); err != nil {
		req.ReplyError(idl.ErrInvalidData)
		return
	}
	g := q.Config.Pid
	m := pacifica.Message{
		Type: pacifica.MsgAddLearner, From: q.Config.Primary, To: s.opts.Self, Ballot: q.Config.Ballot,
		Role: pacifica.RoleLearner, Signature: q.Config.LearnerSignature, Committed: q.Committed,
		Config: pacifica.Config{Ballot: q.Config.Ballot, Primary: q.Config.Primary},
	}
	if r := s.replica(g); r != nil {
		s.step(r, req, m)
		return
	}
	kept := req.Retain()
	ok := s.openers.Submit(func() {
		r, err := s.open(g, q.App, true)
		if err != nil {
			s.log.Error("cannot make a replica that is to learn", "gpid", g, "err", err)
			kept.Reply(&idl.ConfigProposalAck{Err: openError(err)})
			return
		}
		s.stepKept(r, kept, m)
	})
	if !ok {
		kept.Reply(&idl.ConfigProposalAck{Err: idl.ErrBusy})
	}
}

// step hands a message to a replica, whose answer will be that of req.
func (s *Server) step(r *replica, req *wire.Request, m pacifica.Message) {
	s.stepKept(r, req.Retain(), m)
}

func (s *Server) stepKept(r *replica, kept *wire.Request, m pacifica.Message) {
	kept.Arg = nil
	m.Reply = kept
	if !r.post(func(now time.Time) { r.core.Step(now, m) }) {
		kept.ReplyError(idl.ErrObjectNotFound)
	}
}
