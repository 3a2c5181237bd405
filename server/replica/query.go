// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// handleQueries registers what tools and the recovering meta server ask.
func (s *Server) handleQueries() {
	s.opts.Mux.Handle(idl.RPCQueryReplicaInfo, s.onQueryReplicaInfo)
	s.opts.Mux.Handle(idl.RPCQueryAppInfo, s.onQueryAppInfo)
	s.opts.Mux.Handle(idl.RPCQueryDiskInfo, s.onQueryDiskInfo)
}

func (s *Server) onQueryReplicaInfo(req *wire.Request) {
	req.Reply(&idl.QueryReplicaInfoResponse{Err: idl.ErrOK, Replicas: s.stored()})
}

// onQueryAppInfo lists the tables that have a replica here.
func (s *Server) onQueryAppInfo(req *wire.Request) {
	seen := map[int32]bool{}
	resp := &idl.QueryAppInfoResponse{Err: idl.ErrOK}
	add := func(app idl.AppInfo) {
		if !seen[app.AppID] {
			seen[app.AppID] = true
			resp.Apps = append(resp.Apps, app)
		}
	}
	for _, r := range s.replicas() {
		add(r.table.Load().info)
	}
	s.mu.Lock()
	for _, c := range s.closed {
		if c.app.AppID != 0 {
			add(c.app)
		}
	}
	s.mu.Unlock()
	req.Reply(resp)
}

func (s *Server) onQueryDiskInfo(req *wire.Request) {
	var q idl.QueryDiskInfoRequest
	if err := req.Decode(&q); err != nil {
		req.ReplyError(idl.ErrInvalidData)
		return
	}
	resp := &idl.QueryDiskInfoResponse{Err: idl.ErrOK}
	found := q.AppName == ""
	for _, d := range s.disks.all {
		info := idl.DiskInfo{
			Tag: d.tag, FullDir: d.path,
			DiskCapacityMb: d.capacity.Load() >> 20, DiskAvailableMb: d.avail.Load() >> 20,
			HoldingPrimaryReplicas:   map[int32][]idl.GPID{},
			HoldingSecondaryReplicas: map[int32][]idl.GPID{},
		}
		resp.TotalCapacityMb += info.DiskCapacityMb
		resp.TotalAvailableMb += info.DiskAvailableMb
		for _, g := range s.disks.onDisk(d) {
			r := s.replica(g)
			if r == nil || q.AppName != "" && r.table.Load().info.AppName != q.AppName {
				continue
			}
			found = true
			switch r.gate.Load().status {
			case idl.PsPrimary:
				info.HoldingPrimaryReplicas[g.AppID] = append(info.HoldingPrimaryReplicas[g.AppID], g)
			case idl.PsSecondary:
				info.HoldingSecondaryReplicas[g.AppID] = append(info.HoldingSecondaryReplicas[g.AppID], g)
			}
		}
		resp.DiskInfos = append(resp.DiskInfos, info)
	}
	if !found {
		resp.Err = idl.ErrObjectNotFound
		resp.DiskInfos = nil
	}
	req.Reply(resp)
}
