// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// AppsPath is the node above all tables. Its data is AppsUnlocked, except while the first tables,
// or many recovered ones, are being written.
const (
	AppsPath     = "apps"
	AppsUnlocked = "unlock"
	AppsLocked   = "lock"
)

// BackupPath and BulkLoadPath are the nodes above what backups and bulk loads note. Every tree has
// them.
const (
	BackupPath   = "backup"
	BulkLoadPath = "bulk_load"
)

// FlagDropped is the bit of PartitionConfiguration.PartitionFlags that a dropped table sets.
const FlagDropped = 1

// AppPath is the node of a table.
func AppPath(appID int32) string { return AppsPath + "/" + strconv.Itoa(int(appID)) }

// PartitionPath is the node of a partition.
func PartitionPath(g idl.GPID) string {
	return AppPath(g.AppID) + "/" + strconv.Itoa(int(g.PartitionIndex))
}

// appJSON is a table as C++ meta servers write it: same keys, same order, nothing more.
type appJSON struct {
	Status             string            `json:"status"`
	AppType            string            `json:"app_type"`
	AppName            string            `json:"app_name"`
	AppID              int32             `json:"app_id"`
	PartitionCount     int32             `json:"partition_count"`
	Envs               map[string]string `json:"envs"`
	IsStateful         bit               `json:"is_stateful"`
	MaxReplicaCount    int32             `json:"max_replica_count"`
	ExpireSecond       int64             `json:"expire_second"`
	CreateSecond       int64             `json:"create_second"`
	DropSecond         int64             `json:"drop_second"`
	Duplicating        bit               `json:"duplicating"`
	InitPartitionCount int32             `json:"init_partition_count"`
	IsBulkLoading      bit               `json:"is_bulk_loading"`
	AtomicIdempotent   bit               `json:"atomic_idempotent"`
}

type partitionJSON struct {
	Pid                 gpid       `json:"pid"`
	Ballot              int64      `json:"ballot"`
	MaxReplicaCount     int32      `json:"max_replica_count"`
	Primary             address    `json:"primary"`
	Secondaries         []address  `json:"secondaries"`
	LastDrops           []address  `json:"last_drops"`
	LastCommittedDecree int64      `json:"last_committed_decree"`
	PartitionFlags      int32      `json:"partition_flags"`
	HpPrimary           hostPort   `json:"hp_primary"`
	HpSecondaries       []hostPort `json:"hp_secondaries"`
	HpLastDrops         []hostPort `json:"hp_last_drops"`
}

// EncodeApp writes a table. Only the lasting states AS_AVAILABLE and AS_DROPPED are ever stored;
// the others live in the memory of the leader.
func EncodeApp(info *idl.AppInfo) []byte {
	envs := info.Envs
	if envs == nil {
		envs = map[string]string{}
	}
	return encode(appJSON{
		Status: "app_status::" + info.Status.String(), AppType: info.AppType, AppName: info.AppName,
		AppID: info.AppID, PartitionCount: info.PartitionCount, Envs: envs,
		IsStateful: bit(info.IsStateful), MaxReplicaCount: info.MaxReplicaCount,
		ExpireSecond: info.ExpireSecond, CreateSecond: info.CreateSecond, DropSecond: info.DropSecond,
		Duplicating: isSet(info.Duplicating), InitPartitionCount: info.InitPartitionCount,
		IsBulkLoading: isSet(info.IsBulkLoading), AtomicIdempotent: isSet(info.AtomicIdempotent),
	})
}

// DecodeApp reads a table. Unknown keys are ignored, missing ones get their defaults.
func DecodeApp(data []byte) (*idl.AppInfo, error) {
	j := appJSON{AppType: "pegasus", IsStateful: true, InitPartitionCount: -1}
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, fmt.Errorf("table record %.80q: %w", data, err)
	}
	info := &idl.AppInfo{
		AppType: j.AppType, AppName: j.AppName, AppID: j.AppID, PartitionCount: j.PartitionCount,
		Envs: j.Envs, IsStateful: bool(j.IsStateful), MaxReplicaCount: j.MaxReplicaCount,
		ExpireSecond: j.ExpireSecond, CreateSecond: j.CreateSecond, DropSecond: j.DropSecond,
		Duplicating: flag(j.Duplicating), InitPartitionCount: j.InitPartitionCount,
		IsBulkLoading: flag(j.IsBulkLoading), AtomicIdempotent: flag(j.AtomicIdempotent),
	}
	if info.Envs == nil {
		info.Envs = map[string]string{}
	}
	switch name := j.Status[strings.LastIndexByte(j.Status, ':')+1:]; name {
	case idl.AsAvailable.String():
		info.Status = idl.AsAvailable
	case idl.AsDropped.String():
		info.Status = idl.AsDropped
	default:
		return nil, fmt.Errorf("table record %.80q: status %q is neither AS_AVAILABLE nor AS_DROPPED", data, j.Status)
	}
	if info.AppID <= 0 || info.PartitionCount <= 0 {
		return nil, fmt.Errorf("table record %.80q: app_id and partition_count must be positive", data)
	}
	return info, nil
}

// EncodePartition writes a partition's configuration. The host_port twins are written as
// numeric addresses.
func EncodePartition(pc *idl.PartitionConfiguration) []byte {
	secondaries, hpSecondaries := addresses(pc.Secondaries)
	drops, hpDrops := addresses(pc.LastDrops)
	return encode(partitionJSON{
		Pid: gpid(pc.Pid), Ballot: pc.Ballot, MaxReplicaCount: pc.MaxReplicaCount,
		Primary: address(pc.Primary), Secondaries: secondaries, LastDrops: drops,
		LastCommittedDecree: pc.LastCommittedDecree, PartitionFlags: pc.PartitionFlags,
		HpPrimary: hostPort(pc.Primary.HostPort()), HpSecondaries: hpSecondaries, HpLastDrops: hpDrops,
	})
}

// DecodePartition reads a partition's configuration; the host_port twins are ignored.
func DecodePartition(data []byte) (*idl.PartitionConfiguration, error) {
	var j partitionJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, fmt.Errorf("partition record %.80q: %w", data, err)
	}
	pc := &idl.PartitionConfiguration{
		Pid: idl.GPID(j.Pid), Ballot: j.Ballot, MaxReplicaCount: j.MaxReplicaCount,
		Primary: idl.RPCAddress(j.Primary), LastCommittedDecree: j.LastCommittedDecree,
		PartitionFlags: j.PartitionFlags,
	}
	for _, a := range j.Secondaries {
		pc.Secondaries = append(pc.Secondaries, idl.RPCAddress(a))
	}
	for _, a := range j.LastDrops {
		pc.LastDrops = append(pc.LastDrops, idl.RPCAddress(a))
	}
	return pc, nil
}

func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // C++ writes < and > as they are
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("store: %T cannot be written as JSON: %v", v, err)) // only strings and numbers
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func addresses(in []idl.RPCAddress) ([]address, []hostPort) {
	as, hps := make([]address, len(in)), make([]hostPort, len(in))
	for i, a := range in {
		as[i], hps[i] = address(a), hostPort(a.HostPort())
	}
	return as, hps
}

func isSet(p *bool) bit { return bit(p != nil && *p) }

// flag keeps an unset optional field unset: false is its default.
func flag(b bit) *bool {
	if !b {
		return nil
	}
	v := true
	return &v
}

// A bit is a bool written as 1 or 0; true and false are read as well.
type bit bool

func (b bit) MarshalJSON() ([]byte, error) {
	if b {
		return []byte("1"), nil
	}
	return []byte("0"), nil
}

func (b *bit) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "1", "true":
		*b = true
	case "0", "false", "null":
		*b = false
	default:
		return fmt.Errorf("%s is not a boolean", data)
	}
	return nil
}

type gpid idl.GPID

func (g gpid) MarshalText() ([]byte, error) { return []byte(idl.GPID(g).String()), nil }

func (g *gpid) UnmarshalText(text []byte) error {
	v, err := idl.ParseGPID(string(text))
	*g = gpid(v)
	return err
}

type address idl.RPCAddress

func (a address) MarshalText() ([]byte, error) { return []byte(idl.RPCAddress(a).String()), nil }

func (a *address) UnmarshalText(text []byte) error {
	if string(text) == idl.RPCAddress(0).String() {
		*a = 0
		return nil
	}
	v, err := idl.ParseAddress(string(text))
	*a = address(v)
	return err
}

type hostPort idl.HostPort

func (h hostPort) MarshalText() ([]byte, error) { return []byte(idl.HostPort(h).String()), nil }

// UnmarshalText accepts anything: the twin says nothing that the address does not.
func (h *hostPort) UnmarshalText([]byte) error { return nil }
