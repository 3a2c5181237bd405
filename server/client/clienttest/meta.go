// SPDX-License-Identifier: Apache-2.0

package clienttest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

type register func(name string, h func(r *wire.Request))

// answer decodes the request and, on a leader that serves, lets f fill in the response.
func answer[Q any, QP interface {
	*Q
	idl.Decoder
}, R any, RP interface {
	*R
	idl.Value
}](fleet *Fleet, server string, r *wire.Request, err func(*R, idl.ErrorCode), f func(q *Q, resp *R)) {
	var q Q
	var resp R
	if e := r.Decode(QP(&q)); e != nil {
		r.ReplyError(idl.ErrInvalidData)
		return
	}
	switch {
	case fleet.Leader < 0 || fleet.Metas[fleet.Leader] != server:
		err(&resp, idl.ErrForwardToOthers)
		if cfg, ok := any(&resp).(*idl.QueryCfgResponse); ok && fleet.Leader >= 0 && !fleet.HideLeader {
			cfg.Partitions = []idl.PartitionConfiguration{{Primary: Addr(fleet.Metas[fleet.Leader])}}
		}
	case fleet.NotServing:
		err(&resp, idl.ErrServiceNotActive)
	default:
		err(&resp, idl.ErrOK)
		f(&q, &resp)
	}
	r.Reply(RP(&resp))
}

func (f *Fleet) app(name string) *idl.AppInfo {
	for i := range f.Apps {
		if f.Apps[i].AppName == name && f.Apps[i].Status == idl.AsAvailable {
			return &f.Apps[i]
		}
	}
	return nil
}

func (f *Fleet) metaHandlers(server string, handle register) {
	handle(idl.RPCQueryConfig, func(r *wire.Request) {
		answer(f, server, r, func(x *idl.QueryCfgResponse, e idl.ErrorCode) { x.Err = e },
			func(q *idl.QueryCfgRequest, resp *idl.QueryCfgResponse) {
				a := f.app(q.AppName)
				if a == nil {
					resp.Err = idl.ErrObjectNotFound
					return
				}
				resp.AppID, resp.PartitionCount, resp.IsStateful = a.AppID, a.PartitionCount, true
				resp.Partitions = f.Configs[a.AppID]
			})
	})
	handle(idl.RPCListApps, func(r *wire.Request) {
		answer(f, server, r, func(x *idl.ConfigurationListAppsResponse, e idl.ErrorCode) { x.Err = e },
			func(q *idl.ConfigurationListAppsRequest, resp *idl.ConfigurationListAppsResponse) {
				for _, a := range f.Apps {
					if q.Status == idl.AsInvalid || a.Status == q.Status {
						resp.Infos = append(resp.Infos, a)
					}
				}
			})
	})
	handle(idl.RPCListNodes, func(r *wire.Request) {
		answer(f, server, r, func(x *idl.ConfigurationListNodesResponse, e idl.ErrorCode) { x.Err = e },
			func(q *idl.ConfigurationListNodesRequest, resp *idl.ConfigurationListNodesResponse) {
				for _, n := range f.Nodes {
					s := idl.NsAlive
					if f.Dead[n] {
						s = idl.NsUnalive
					}
					if q.Status == idl.NsInvalid || q.Status == s {
						resp.Infos = append(resp.Infos, idl.NodeInfo{Status: s, Node: Addr(n)})
					}
				}
			})
	})
	handle(idl.RPCClusterInfo, func(r *wire.Request) {
		answer(f, server, r, func(x *idl.ConfigurationClusterInfoResponse, e idl.ErrorCode) { x.Err = e },
			func(q *idl.ConfigurationClusterInfoRequest, resp *idl.ConfigurationClusterInfoResponse) {
				for _, kv := range f.Info {
					resp.Keys, resp.Values = append(resp.Keys, kv.Name), append(resp.Values, kv.Value)
				}
			})
	})
	handle(idl.RPCControlMeta, func(r *wire.Request) {
		answer(f, server, r, func(x *idl.ConfigurationMetaControlResponse, e idl.ErrorCode) { x.Err = e },
			func(q *idl.ConfigurationMetaControlRequest, resp *idl.ConfigurationMetaControlResponse) {
				resp.OldLevel = f.Level
				if q.Level != idl.FlInvalid {
					f.Level = q.Level
				}
			})
	})
	handle(idl.RPCProposeBalancer, func(r *wire.Request) {
		answer(f, server, r, func(x *idl.ConfigurationBalancerResponse, e idl.ErrorCode) { x.Err = e },
			func(q *idl.ConfigurationBalancerRequest, resp *idl.ConfigurationBalancerResponse) {
				if int(q.Gpid.PartitionIndex) >= len(f.Configs[q.Gpid.AppID]) {
					resp.Err = idl.ErrAppNotExist
					return
				}
				f.Proposals = append(f.Proposals, *q)
			})
	})
	handle(idl.RPCDddDiagnose, func(r *wire.Request) {
		answer(f, server, r, func(x *idl.DddDiagnoseResponse, e idl.ErrorCode) { x.Err = e },
			func(q *idl.DddDiagnoseRequest, resp *idl.DddDiagnoseResponse) { resp.Partitions = f.DDD })
	})
	f.tableHandlers(server, handle)
	f.envHandlers(server, handle)
}

func (f *Fleet) tableHandlers(server string, handle register) {
	handle(idl.RPCCreateApp, func(r *wire.Request) {
		answer(f, server, r, func(x *idl.ConfigurationCreateAppResponse, e idl.ErrorCode) { x.Err = e },
			func(q *idl.ConfigurationCreateAppRequest, resp *idl.ConfigurationCreateAppResponse) {
				o := q.Options
				if a := f.app(q.AppName); a != nil {
					switch {
					case !o.SuccessIfExist:
						resp.Err = idl.ErrAppExist
					case a.PartitionCount != o.PartitionCount || a.MaxReplicaCount != o.ReplicaCount:
						resp.Err = idl.ErrInvalidParameters
					default:
						resp.Appid = a.AppID
					}
					return
				}
				if o.PartitionCount <= 0 || o.ReplicaCount <= 0 || int(o.ReplicaCount) > len(f.Nodes) {
					resp.Err = idl.ErrInvalidParameters
					return
				}
				for _, a := range f.Apps {
					resp.Appid = max(resp.Appid, a.AppID)
				}
				resp.Appid++
				f.addTable(idl.AppInfo{
					Status: idl.AsAvailable, AppType: o.AppType, AppName: q.AppName, AppID: resp.Appid,
					PartitionCount: o.PartitionCount, IsStateful: true, MaxReplicaCount: o.ReplicaCount,
					Envs: o.Envs, InitPartitionCount: -1, CreateSecond: 1795317590,
				})
			})
	})
	handle(idl.RPCDropApp, func(r *wire.Request) {
		answer(f, server, r, func(x *idl.ConfigurationDropAppResponse, e idl.ErrorCode) { x.Err = e },
			func(q *idl.ConfigurationDropAppRequest, resp *idl.ConfigurationDropAppResponse) {
				a := f.app(q.AppName)
				if a == nil {
					if !q.Options.SuccessIfNotExist {
						resp.Err = idl.ErrAppNotExist
					}
					return
				}
				a.Status, a.DropSecond = idl.AsDropped, 1795317630
				a.ExpireSecond = a.DropSecond + 7*86400
			})
	})
	handle(idl.RPCRecallApp, func(r *wire.Request) {
		answer(f, server, r, func(x *idl.ConfigurationRecallAppResponse, e idl.ErrorCode) { x.Err = e },
			func(q *idl.ConfigurationRecallAppRequest, resp *idl.ConfigurationRecallAppResponse) {
				for i := range f.Apps {
					if a := &f.Apps[i]; a.AppID == q.AppID {
						if a.Status != idl.AsDropped {
							resp.Err = idl.ErrAppExist
							return
						}
						if q.NewAppName != "" {
							a.AppName = q.NewAppName
						}
						a.Status, a.DropSecond, a.ExpireSecond = idl.AsAvailable, 0, 0
						resp.Info = *a
						return
					}
				}
				resp.Err = idl.ErrAppNotExist
			})
	})
	handle(idl.RPCRenameApp, func(r *wire.Request) {
		answer(f, server, r, func(x *idl.ConfigurationRenameAppResponse, e idl.ErrorCode) { x.Err = e },
			func(q *idl.ConfigurationRenameAppRequest, resp *idl.ConfigurationRenameAppResponse) {
				a := f.app(q.OldAppName)
				switch {
				case a == nil:
					resp.Err, resp.HintMessage = idl.ErrAppNotExist, "no such app"
				case f.app(q.NewAppName) != nil:
					resp.Err, resp.HintMessage = idl.ErrInvalidParameters, "name is taken"
				default:
					a.AppName = q.NewAppName
				}
			})
	})
	handle(idl.RPCGetMaxReplicaCount, func(r *wire.Request) {
		answer(f, server, r, func(x *idl.ConfigurationGetMaxReplicaCountResponse, e idl.ErrorCode) { x.Err = e },
			func(q *idl.ConfigurationGetMaxReplicaCountRequest, resp *idl.ConfigurationGetMaxReplicaCountResponse) {
				a := f.app(q.AppName)
				if a == nil {
					resp.Err, resp.HintMessage = idl.ErrAppNotExist, "no such app"
					return
				}
				resp.MaxReplicaCount = a.MaxReplicaCount
			})
	})
	handle(idl.RPCSetMaxReplicaCount, func(r *wire.Request) {
		answer(f, server, r, func(x *idl.ConfigurationSetMaxReplicaCountResponse, e idl.ErrorCode) { x.Err = e },
			func(q *idl.ConfigurationSetMaxReplicaCountRequest, resp *idl.ConfigurationSetMaxReplicaCountResponse) {
				a := f.app(q.AppName)
				if a == nil || q.MaxReplicaCount <= 0 || int(q.MaxReplicaCount) > len(f.Nodes) {
					resp.Err = idl.ErrInvalidParameters
					return
				}
				resp.OldMaxReplicaCount, a.MaxReplicaCount = a.MaxReplicaCount, q.MaxReplicaCount
			})
	})
}

func (f *Fleet) envHandlers(server string, handle register) {
	known := []string{"default_ttl", "replica.slow_query_threshold", "manual_compact.disabled", "business.info"}
	handle(idl.RPCUpdateAppEnv, func(r *wire.Request) {
		answer(f, server, r, func(x *idl.ConfigurationUpdateAppEnvResponse, e idl.ErrorCode) { x.Err = e },
			func(q *idl.ConfigurationUpdateAppEnvRequest, resp *idl.ConfigurationUpdateAppEnvResponse) {
				a := f.app(q.AppName)
				if a == nil {
					resp.Err = idl.ErrAppNotExist
					return
				}
				if a.Envs == nil {
					a.Envs = map[string]string{}
				}
				var deleted []string
				switch q.Op {
				case idl.AppEnvOpSet:
					for i, k := range q.Keys {
						if !slices.Contains(known, k) {
							resp.Err, resp.HintMessage = idl.ErrInvalidParameters, fmt.Sprintf("app_env '%s' is not supported", k)
							return
						}
						if k == "default_ttl" && strings.Trim(q.Values[i], "0123456789") != "" {
							resp.Err = idl.ErrInvalidParameters
							resp.HintMessage = fmt.Sprintf("invalid value '%s', should be an 32 bits integer", q.Values[i])
							return
						}
					}
					for i, k := range q.Keys {
						a.Envs[k] = q.Values[i]
					}
					return
				case idl.AppEnvOpDel:
					for _, k := range q.Keys {
						if _, ok := a.Envs[k]; ok {
							deleted = append(deleted, k)
						}
					}
				case idl.AppEnvOpClear:
					for k := range a.Envs {
						if p := q.ClearPrefix; p == nil || *p == "" || strings.HasPrefix(k, *p+".") {
							deleted = append(deleted, k)
						}
					}
				}
				slices.Sort(deleted)
				resp.HintMessage = "no key needs to be deleted"
				if len(deleted) > 0 {
					resp.HintMessage = "deleted keys:"
				}
				for _, k := range deleted {
					delete(a.Envs, k)
					resp.HintMessage += "\n    " + k
				}
			})
	})
}
