// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"time"
)

// Facts is a cluster at one moment. Addresses are "ip:port" texts.
type Facts struct {
	ReadAt time.Time `json:"read_at"`
	Name   string    `json:"cluster_name"` // "" when the server does not tell (Pegasus up to 2.5)
	Leader string    `json:"leader"`       // the primary meta server, "" when there is none
	// Level is what the operator has set, EffectiveLevel what the leader acts by: freezed while
	// too few nodes are alive. Both without the "fl_" of the wire.
	Level          string `json:"level"`
	EffectiveLevel string `json:"effective_level"`
	ZooKeeper      string `json:"zookeeper_hosts,omitempty"`
	ZooKeeperRoot  string `json:"zookeeper_root,omitempty"`
	// Balance is the leader's count of pending balance operations, in its own words.
	Balance string  `json:"balance_operation_count,omitempty"`
	Metas   []Meta  `json:"metas"`
	Nodes   []Node  `json:"nodes"`  // replica servers, by address
	Tables  []Table `json:"tables"` // dropped ones too, by id
	// Missing lists what could not be learned, one sentence each. Empty means complete.
	Missing []string `json:"missing"`
}

// A Server is what any server says about its process.
type Server struct {
	Version   string `json:"version,omitempty"`
	GitSHA    string `json:"git_sha,omitempty"`
	BuildType string `json:"build_type,omitempty"`
	// StartTime is when the process started; zero when not known. Servers write it without a
	// zone: it is read as local time.
	StartTime time.Time `json:"start_time,omitzero"`
}

// A Meta is one meta server.
type Meta struct {
	Address string `json:"address"`
	Leader  bool   `json:"leader"`
	Answers bool   `json:"answers"` // it answered a remote command
	Server
}

// A Node is one replica server.
type Node struct {
	Address string `json:"address"`
	Alive   bool   `json:"alive"`   // in the eyes of the meta leader
	Answers bool   `json:"answers"` // it answered a remote command
	Server
	// Replicas by role, counted from the configurations of the available tables.
	Primaries   int    `json:"primary_count"`
	Secondaries int    `json:"secondary_count"`
	Disks       []Disk `json:"disks,omitempty"` // nil: the server does not tell
}

// A Disk is one data directory of a node.
type Disk struct {
	Tag         string `json:"tag"`
	Dir         string `json:"dir"`
	CapacityMB  int64  `json:"capacity_mb"`
	AvailableMB int64  `json:"available_mb"`
}

// A Table is one table.
type Table struct {
	ID             int32             `json:"app_id"`
	Name           string            `json:"app_name"`
	Status         string            `json:"status"` // AVAILABLE, CREATING, DROPPING, DROPPED ...
	PartitionCount int               `json:"partition_count"`
	ReplicaCount   int               `json:"replica_count"` // wanted copies of each partition
	Envs           map[string]string `json:"envs,omitempty"`
	CreateTime     time.Time         `json:"create_time,omitzero"`
	DropTime       time.Time         `json:"drop_time,omitzero"`
	ExpireTime     time.Time         `json:"expire_time,omitzero"` // of a dropped table
	// Health and Partitions are known for available tables, if Known.
	Known      bool        `json:"known"`
	Health     Health      `json:"health"`
	Partitions []Partition `json:"partitions,omitempty"` // by index
}

// Available reports whether the table serves clients.
func (t *Table) Available() bool { return t.Status == "AVAILABLE" }

// A Partition is the configuration of one partition and what it means.
type Partition struct {
	Index       int      `json:"pidx"`
	Ballot      int64    `json:"ballot"`
	Primary     string   `json:"primary"` // "" if none
	Secondaries []string `json:"secondaries"`
	Class       Class    `json:"class"`
}

// Replicas is the number of members of the configuration.
func (p *Partition) Replicas() int {
	n := len(p.Secondaries)
	if p.Primary != "" {
		n++
	}
	return n
}

func (f *Facts) missing(format string, args ...any) {
	f.Missing = append(f.Missing, fmt.Sprintf(format, args...))
}
