// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"maps"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

const (
	appType = "pegasus"
	// maxPartitions bounds what a single request can make this server hold.
	maxPartitions = 1 << 16
	maxNameBytes  = 128
)

// validTableName accepts what the shell does, and the dash.
func validTableName(name string) bool {
	if name == "" || len(name) > maxNameBytes {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '.', c == '_', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}

// transient is the error of a table that is between two states, ERR_OK if it is not.
func (t *table) transient() idl.ErrorCode {
	switch t.info.Status {
	case idl.AsCreating, idl.AsRecalling:
		return idl.ErrBusyCreating
	case idl.AsDropping:
		return idl.ErrBusyDropping
	}
	return idl.ErrOK
}

// createApp handles RPC_CM_CREATE_APP. It answers once the table is stored; its partitions get
// their replicas afterwards.
func (l *leader) createApp(q *idl.ConfigurationCreateAppRequest, reply func(*idl.ConfigurationCreateAppResponse)) {
	answer := func(code idl.ErrorCode, id int32) { reply(&idl.ConfigurationCreateAppResponse{Err: code, Appid: id}) }
	o := &q.Options
	if l.effective() <= idl.FlFreezed {
		answer(idl.ErrStateFreezed, 0)
		return
	}
	if o.AppType == "" {
		o.AppType = appType
	}
	if !validTableName(q.AppName) || o.PartitionCount <= 0 || o.PartitionCount > maxPartitions || !o.IsStateful ||
		!l.possibleReplicaCount(o.ReplicaCount) || invalidEnvs(o.Envs) != "" {
		l.log.Warn("table cannot be created as asked for", "table", q.AppName, "partitions", o.PartitionCount,
			"replicas", o.ReplicaCount, "alive", l.up, "envs", invalidEnvs(o.Envs))
		answer(idl.ErrInvalidParameters, 0)
		return
	}
	if t := l.names[q.AppName]; t != nil {
		switch code := t.transient(); {
		case code != idl.ErrOK:
			answer(code, 0)
		case !o.SuccessIfExist:
			answer(idl.ErrAppExist, 0)
		case t.info.PartitionCount == o.PartitionCount && t.info.MaxReplicaCount == o.ReplicaCount &&
			t.info.AppType == o.AppType && t.info.IsStateful == o.IsStateful && maps.Equal(t.info.Envs, o.Envs):
			answer(idl.ErrOK, t.info.AppID)
		default:
			answer(idl.ErrInvalidParameters, 0)
		}
		return
	}
	info := newTable(l.nextID, q.AppName, o.PartitionCount, o.ReplicaCount, o.Envs)
	info.AppType = o.AppType
	info.AtomicIdempotent = o.AtomicIdempotent
	l.nextID++
	ops := createOps(&info)
	t := &table{info: info, busy: true}
	t.info.Status = idl.AsCreating
	l.names[q.AppName] = t // reserved, not yet in l.tables
	l.log.Info("creating table", "table", q.AppName, "app_id", info.AppID, "partitions", o.PartitionCount, "replicas", o.ReplicaCount)
	l.commit("table "+q.AppName, func() {
		t.info, t.busy = info, false
		for i := range info.PartitionCount {
			p := &partition{t: t, cfg: newPartition(&info, i), prefer: -1}
			t.parts = append(t.parts, p)
			l.markDirty(p)
		}
		l.tables[info.AppID] = t
		l.touch(t)
		answer(idl.ErrOK, info.AppID)
	}, ops...)
}

// possibleReplicaCount reports whether so many replicas may be asked for now.
func (l *leader) possibleReplicaCount(n int32) bool {
	return n >= l.s.o.MinAllowedReplicas && n <= l.s.o.MaxAllowedReplicas && int(n) <= l.up
}

// dropApp handles RPC_CM_DROP_APP. The table can be recalled until it expires; its data is
// deleted after that.
func (l *leader) dropApp(q *idl.ConfigurationDropAppRequest, reply func(*idl.ConfigurationDropAppResponse)) {
	answer := func(code idl.ErrorCode) { reply(&idl.ConfigurationDropAppResponse{Err: code}) }
	t := l.names[q.AppName]
	switch {
	case !l.writable():
		answer(idl.ErrStateFreezed)
		return
	case t == nil && q.Options.SuccessIfNotExist:
		answer(idl.ErrOK)
		return
	case t == nil:
		answer(idl.ErrAppNotExist)
		return
	case t.transient() != idl.ErrOK:
		answer(t.transient())
		return
	}
	hold := int64(l.s.o.HoldDropped / time.Second)
	if r := q.Options.ReserveSeconds; r != nil && *r > 0 {
		hold = *r
	}
	l.setStatus(t, idl.AsDropping)
	l.exclusive(t, func() {
		info := t.info
		info.Status = idl.AsDropped
		info.DropSecond = time.Now().Unix()
		info.ExpireSecond = info.DropSecond + hold
		parts := make([]*idl.PartitionConfiguration, len(t.parts))
		former := make([][]idl.RPCAddress, len(t.parts))
		for i, p := range t.parts {
			l.clearActions(p)
			former[i] = members(p.cfg)
			parts[i] = dropConfig(p.cfg)
		}
		l.log.Info("dropping table", "table", info.AppName, "app_id", info.AppID, "hold_seconds", hold)
		l.storeTable(t, info, parts, func() {
			delete(l.names, info.AppName)
			answer(idl.ErrOK)
			for i, p := range t.parts {
				l.notifyDropped(p, former[i])
			}
		})
	})
}

// setStatus changes the state of a table in memory only.
func (l *leader) setStatus(t *table, status idl.AppStatus) {
	t.info.Status = status
	l.touch(t)
}

// recallApp handles RPC_CM_RECALL_APP: a dropped table that has not expired comes back. Its
// partitions find their primaries among the nodes that held them.
func (l *leader) recallApp(q *idl.ConfigurationRecallAppRequest, reply func(*idl.ConfigurationRecallAppResponse)) {
	answer := func(code idl.ErrorCode) { reply(&idl.ConfigurationRecallAppResponse{Err: code}) }
	t := l.tables[q.AppID]
	if !l.writable() {
		answer(idl.ErrStateFreezed)
		return
	}
	if t == nil {
		answer(idl.ErrAppNotExist)
		return
	}
	if code := t.transient(); code != idl.ErrOK {
		answer(code)
		return
	}
	name := q.NewAppName
	if name == "" {
		name = t.info.AppName
	}
	switch {
	case t.info.Status != idl.AsDropped:
		answer(idl.ErrAppExist)
		return
	case t.info.ExpireSecond <= time.Now().Unix():
		answer(idl.ErrAppNotExist)
		return
	case !validTableName(name) || l.names[name] != nil:
		answer(idl.ErrInvalidParameters)
		return
	}
	l.names[name] = t
	l.setStatus(t, idl.AsRecalling)
	l.exclusive(t, func() {
		info := t.info
		info.Status, info.AppName = idl.AsAvailable, name
		info.DropSecond, info.ExpireSecond = 0, 0
		parts := make([]*idl.PartitionConfiguration, len(t.parts))
		for i, p := range t.parts {
			parts[i] = recallConfig(p.cfg)
		}
		l.log.Info("recalling table", "table", name, "app_id", info.AppID)
		l.storeTable(t, info, parts, func() {
			reply(&idl.ConfigurationRecallAppResponse{Err: idl.ErrOK, Info: info})
		})
	})
}

// renameApp handles RPC_CM_RENAME_APP.
func (l *leader) renameApp(q *idl.ConfigurationRenameAppRequest, reply func(*idl.ConfigurationRenameAppResponse)) {
	answer := func(code idl.ErrorCode, hint string) {
		reply(&idl.ConfigurationRenameAppResponse{Err: code, HintMessage: hint})
	}
	t := l.names[q.OldAppName]
	switch {
	case !l.writable():
		answer(idl.ErrStateFreezed, "the meta function level does not allow changes of tables")
		return
	case t == nil:
		answer(idl.ErrAppNotExist, "app("+q.OldAppName+") is not exist. check your app name.")
		return
	case t.transient() != idl.ErrOK:
		answer(t.transient(), "app("+q.OldAppName+") is not available.")
		return
	case !validTableName(q.NewAppName):
		answer(idl.ErrInvalidParameters, "new app name("+q.NewAppName+") is invalid, use letters, digits, '_', '.', ':' and '-'.")
		return
	case l.names[q.NewAppName] != nil:
		answer(idl.ErrInvalidParameters, "new app name("+q.NewAppName+") already exist! check it.")
		return
	}
	l.names[q.NewAppName] = t
	l.exclusive(t, func() {
		if t.info.Status != idl.AsAvailable || t.info.AppName != q.OldAppName {
			delete(l.names, q.NewAppName)
			answer(idl.ErrAppDropped, "app("+q.OldAppName+") has been changed meanwhile.")
			return
		}
		info := t.info
		info.AppName = q.NewAppName
		l.storeTable(t, info, nil, func() {
			delete(l.names, q.OldAppName)
			l.log.Info("table is renamed", "app_id", info.AppID, "old", q.OldAppName, "new", q.NewAppName)
			answer(idl.ErrOK, "")
		})
	})
}
