// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"strings"

	"github.com/pegasus-ops/pegasus-ops/server/engine"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// A gate says what a replica may do for clients at this moment. The replica's loop publishes a
// new one whenever something in it changes; requests read the present one without any lock. A
// gate is never changed once published.
type gate struct {
	status idl.PartitionStatus
	// readable: the primary has committed everything that earlier primaries may have
	// acknowledged.
	readable bool
	// members is the number of members of the configuration that take part in writes, the
	// primary included; writable whether they are enough.
	members  int
	writable bool
	// epoch is that of the lease under which the gate was made. A gate from before a lease was
	// lost counts for nothing, even when the lease is back before the loop has had its turn.
	epoch int64
}

// open reports whether the gate lets requests of this moment through.
func (g *gate) open(d *detector) bool { return g.epoch == d.epoch.Load() && d.alive() }

// A table is what a replica knows of its table. It is never changed once published.
type table struct {
	info                idl.AppInfo
	validateHash        bool
	denyReads           deny
	denyWrites          deny
	minReplicas         int
	mask                uint64 // partition count - 1
	checkpointEnvCount  int    // 0 = the server's
	checkpointEnvSecond int64  // -1 = the server's
}

// deny is the effect of the environment replica.deny_client_request.
type deny uint8

const (
	denyNone     deny = iota
	denyTimeout       // no answer
	denyReconfig      // an error that makes clients ask for the configuration again
)

const envDenyClient = "replica.deny_client_request"

func newTable(app idl.AppInfo, minReplicas int) *table {
	t := &table{
		info:         app,
		validateHash: app.Envs[engine.EnvValidatePartitionHash] == "true",
		minReplicas:  minReplicas,
		mask:         uint64(max(app.PartitionCount, 1) - 1),
	}
	if minReplicas <= 0 {
		t.minReplicas = 1
		if app.MaxReplicaCount > 2 {
			t.minReplicas = int(app.MaxReplicaCount)/2 + 1
		}
	}
	// A table of one replica could never be written to otherwise.
	t.minReplicas = max(1, min(t.minReplicas, int(max(app.MaxReplicaCount, 1))))
	how, what, _ := strings.Cut(app.Envs[envDenyClient], "*")
	var d deny
	switch how {
	case "timeout":
		d = denyTimeout
	case "reconfig":
		d = denyReconfig
	}
	if what == "all" || what == "read" {
		t.denyReads = d
	}
	if what == "all" || what == "write" {
		t.denyWrites = d
	}
	t.checkpointEnvCount, t.checkpointEnvSecond = checkpointEnvs(app.Envs)
	return t
}

// misrouted reports whether the key of a request belongs to another partition, which happens
// after a split to clients that have not noticed.
func (t *table) misrouted(r *wire.Request) bool {
	return t.validateHash && r.PartitionHash&t.mask != uint64(uint32(r.GPID.PartitionIndex))
}

// refuseRead returns the error for a read that may not be served, ErrOK for one that may.
// silent means that no answer is given at all.
func (r *replica) refuseRead(req *wire.Request) (code idl.ErrorCode, silent bool) {
	t := r.table.Load()
	switch t.denyReads {
	case denyTimeout:
		return "", true
	case denyReconfig:
		return idl.ErrInvalidState, false
	}
	if t.misrouted(req) {
		return idl.ErrParentPartitionMisused, false
	}
	g := r.gate.Load()
	if req.Backup {
		if g.status == idl.PsSecondary && g.open(r.server.detector) {
			return idl.ErrOK, false
		}
		return idl.ErrInvalidState, false
	}
	if g.status != idl.PsPrimary || !g.readable || !g.open(r.server.detector) {
		return idl.ErrInvalidState, false
	}
	return idl.ErrOK, false
}

// refuseWrite is refuseRead for a write, in the order of checks that clients can observe.
func (r *replica) refuseWrite(req *wire.Request) (code idl.ErrorCode, silent bool) {
	t := r.table.Load()
	switch t.denyWrites {
	case denyTimeout:
		return "", true
	case denyReconfig:
		return idl.ErrInvalidState, false
	}
	o := &r.server.opts
	if o.MaxWriteSize > 0 && len(req.Arg) > o.MaxWriteSize {
		return idl.ErrInvalidData, false
	}
	if t.misrouted(req) {
		return idl.ErrParentPartitionMisused, false
	}
	g := r.gate.Load()
	if g.status != idl.PsPrimary || !g.open(r.server.detector) {
		return idl.ErrInvalidState, false
	}
	if o.RejectWritesOnFullDisk {
		switch idl.DiskStatus(r.disk.status.Load()) {
		case idl.DiskStatusSpaceInsufficient:
			return idl.ErrDiskInsufficient, false
		case idl.DiskStatusIoError:
			return idl.ErrDiskIOError, false
		}
	}
	if !g.writable {
		return idl.ErrNotEnoughMember, false
	}
	return idl.ErrOK, false
}
