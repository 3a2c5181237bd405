// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// handleRPCs registers what this server answers. Each RPC has a way to say no in the form its
// callers expect: an answer of its own type that carries nothing but the error.
func (s *Server) handleRPCs() {
	query(s, idl.RPCQueryConfig, func(c idl.ErrorCode) idl.Value { return &idl.QueryCfgResponse{Err: c} }, (*snapshot).queryConfig)
	query(s, idl.RPCListApps, func(c idl.ErrorCode) idl.Value { return &idl.ConfigurationListAppsResponse{Err: c} }, (*snapshot).listApps)
	query(s, idl.RPCListNodes, func(c idl.ErrorCode) idl.Value { return &idl.ConfigurationListNodesResponse{Err: c} }, (*snapshot).listNodes)
	query(s, idl.RPCClusterInfo, func(c idl.ErrorCode) idl.Value { return &idl.ConfigurationClusterInfoResponse{Err: c} },
		func(snap *snapshot, _ *idl.ConfigurationClusterInfoRequest, _ bool) idl.Value {
			return s.clusterInfo(snap)
		})
	query(s, idl.RPCGetMaxReplicaCount, func(c idl.ErrorCode) idl.Value { return &idl.ConfigurationGetMaxReplicaCountResponse{Err: c} }, (*snapshot).getMaxReplicaCount)

	change(s, idl.RPCCreateApp, func(c idl.ErrorCode) idl.Value { return &idl.ConfigurationCreateAppResponse{Err: c} },
		func(l *leader, q *idl.ConfigurationCreateAppRequest, r *wire.Request) {
			l.createApp(q, func(a *idl.ConfigurationCreateAppResponse) { s.answer(r, a) })
		})
	change(s, idl.RPCDropApp, func(c idl.ErrorCode) idl.Value { return &idl.ConfigurationDropAppResponse{Err: c} },
		func(l *leader, q *idl.ConfigurationDropAppRequest, r *wire.Request) {
			l.dropApp(q, func(a *idl.ConfigurationDropAppResponse) { s.answer(r, a) })
		})
	change(s, idl.RPCRecallApp, func(c idl.ErrorCode) idl.Value { return &idl.ConfigurationRecallAppResponse{Err: c} },
		func(l *leader, q *idl.ConfigurationRecallAppRequest, r *wire.Request) {
			l.recallApp(q, func(a *idl.ConfigurationRecallAppResponse) { s.answer(r, a) })
		})
	change(s, idl.RPCRenameApp, func(c idl.ErrorCode) idl.Value { return &idl.ConfigurationRenameAppResponse{Err: c} },
		func(l *leader, q *idl.ConfigurationRenameAppRequest, r *wire.Request) {
			l.renameApp(q, func(a *idl.ConfigurationRenameAppResponse) { s.answer(r, a) })
		})
	change(s, idl.RPCUpdateAppEnv, func(c idl.ErrorCode) idl.Value { return &idl.ConfigurationUpdateAppEnvResponse{Err: c} },
		func(l *leader, q *idl.ConfigurationUpdateAppEnvRequest, r *wire.Request) {
			l.updateEnv(q, func(a *idl.ConfigurationUpdateAppEnvResponse) { s.answer(r, a) })
		})
	change(s, idl.RPCSetMaxReplicaCount, func(c idl.ErrorCode) idl.Value { return &idl.ConfigurationSetMaxReplicaCountResponse{Err: c} },
		func(l *leader, q *idl.ConfigurationSetMaxReplicaCountRequest, r *wire.Request) {
			l.setMaxReplicaCount(q, func(a *idl.ConfigurationSetMaxReplicaCountResponse) { s.answer(r, a) })
		})
	change(s, idl.RPCControlMeta, func(c idl.ErrorCode) idl.Value { return &idl.ConfigurationMetaControlResponse{Err: c} },
		func(l *leader, q *idl.ConfigurationMetaControlRequest, r *wire.Request) { s.answer(r, l.control(q)) })
	change(s, idl.RPCProposeBalancer, func(c idl.ErrorCode) idl.Value { return &idl.ConfigurationBalancerResponse{Err: c} },
		func(l *leader, q *idl.ConfigurationBalancerRequest, r *wire.Request) {
			s.answer(r, l.proposeBalancer(q))
		})
	change(s, idl.RPCDddDiagnose, func(c idl.ErrorCode) idl.Value { return &idl.DddDiagnoseResponse{Err: c} },
		func(l *leader, q *idl.DddDiagnoseRequest, r *wire.Request) { s.answer(r, l.diagnose(q, r.HostPorts())) })

	change(s, idl.RPCConfigSync, func(c idl.ErrorCode) idl.Value { return &idl.ConfigurationQueryByNodeResponse{Err: c} },
		func(l *leader, q *idl.ConfigurationQueryByNodeRequest, r *wire.Request) { s.answer(r, l.configSync(q)) })
	change(s, idl.RPCUpdatePartitionConfiguration, func(c idl.ErrorCode) idl.Value { return &idl.ConfigurationUpdateResponse{Err: c} },
		func(l *leader, q *idl.ConfigurationUpdateRequest, r *wire.Request) {
			l.update(q, func(a *idl.ConfigurationUpdateResponse) { s.answer(r, a) })
		})

	s.o.Mux.Handle(idl.RPCFdFailureDetectorPing, func(r *wire.Request) {
		q := new(idl.BeaconMsg)
		if err := r.Decode(q); err != nil || q.FromNode.IsZero() {
			r.ReplyError(idl.ErrInvalidParameters)
			return
		}
		r = r.Retain()
		s.mail.ask(func() { // with a full mailbox the beacon is lost like on a bad network
			if ack := s.beacon(q); ack != nil {
				s.answer(r, ack)
			}
		})
	})
}

// decoder is a pointer to a request struct.
type decoder[Q any] interface {
	*Q
	idl.Decoder
}

// query registers an RPC that is answered from the snapshot, at once.
func query[Q any, D decoder[Q]](s *Server, name string, fail func(idl.ErrorCode) idl.Value, answer func(*snapshot, *Q, bool) idl.Value) {
	s.o.Mux.Handle(name, func(r *wire.Request) {
		snap := s.snap.Load()
		if snap.role != idl.ErrOK {
			s.refuse(r, snap.role, fail)
			return
		}
		q := new(Q)
		if err := r.Decode(D(q)); err != nil {
			s.undecodable(r, err)
			return
		}
		r.Reply(answer(snap, q, r.HostPorts()))
	})
}

// change registers an RPC that is answered by the loop.
func change[Q any, D decoder[Q]](s *Server, name string, fail func(idl.ErrorCode) idl.Value, act func(*leader, *Q, *wire.Request)) {
	s.o.Mux.Handle(name, func(r *wire.Request) {
		if role := s.snap.Load().role; role != idl.ErrOK {
			s.refuse(r, role, fail)
			return
		}
		q := new(Q)
		if err := r.Decode(D(q)); err != nil {
			s.undecodable(r, err)
			return
		}
		r = r.Retain()
		asked := s.mail.ask(func() {
			if s.leader == nil {
				s.refuse(r, s.snap.Load().role, fail)
				return
			}
			act(s.leader, q, r)
		})
		if !asked {
			r.Reply(fail(idl.ErrBusy))
		}
	})
}

func (s *Server) undecodable(r *wire.Request, err error) {
	s.log.Warn("request cannot be decoded", "err", err, "host", r.RemoteAddr())
	r.ReplyError(idl.ErrInvalidData)
}

// refuse answers while this server does not lead, or not yet. Callers that cannot be sent
// elsewhere by the framing find the leader, if there is one, in the answer to a query for a
// table's configuration.
func (s *Server) refuse(r *wire.Request, role idl.ErrorCode, fail func(idl.ErrorCode) idl.Value) {
	leader := s.election.Leader()
	if role == idl.ErrForwardToOthers && leader == s.o.Self {
		role = idl.ErrServiceNotActive // elected this moment, or no more
	}
	if role != idl.ErrForwardToOthers {
		r.Reply(fail(role))
		return
	}
	if !leader.IsZero() && r.Framing == wire.FramingRDSN && r.ForwardSupported && !r.Forwarded {
		r.ReplyForward(leader)
		return
	}
	v := fail(role)
	if a, ok := v.(*idl.QueryCfgResponse); ok && !leader.IsZero() {
		a.Partitions = []idl.PartitionConfiguration{{Primary: leader}}
		if r.HostPorts() {
			addHostPorts(&a.Partitions[0])
		}
	}
	r.Reply(v)
}

// addHostPorts sets the twins that 2.6 clients look at.
func addHostPorts(pc *idl.PartitionConfiguration) {
	primary := pc.Primary.HostPort()
	pc.HpPrimary = &primary
	pc.HpSecondaries = hostPorts(pc.Secondaries)
	pc.HpLastDrops = hostPorts(pc.LastDrops)
}

func hostPorts(addrs []idl.RPCAddress) []idl.HostPort {
	hps := make([]idl.HostPort, len(addrs)) // not nil: set, though empty
	for i, a := range addrs {
		hps[i] = a.HostPort()
	}
	return hps
}

// either is the address a 2.6 client means that may have set only the twin.
func either(a idl.RPCAddress, hp *idl.HostPort) idl.RPCAddress {
	if a.IsZero() && hp != nil {
		if b, err := idl.ParseAddress(hp.String()); err == nil {
			return b
		}
	}
	return a
}
