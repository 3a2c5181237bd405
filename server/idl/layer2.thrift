// SPDX-License-Identifier: Apache-2.0
//
// Tables, partitions and routing.

struct partition_configuration {
    1: gpid pid,
    2: i64 ballot,                                // configuration version; -1 = split child not registered yet
    3: i32 max_replica_count,
    4: rpc_address primary,                       // zero = none
    5: list<rpc_address> secondaries,
    6: list<rpc_address> last_drops,              // members lost last, newest at the end
    7: i64 last_committed_decree,                 // informational
    8: i32 partition_flags,                       // bit 0 = dropped
    9: optional host_port hp_primary,             // since Pegasus 2.6
    10: optional list<host_port> hp_secondaries,  // since Pegasus 2.6
    11: optional list<host_port> hp_last_drops,   // since Pegasus 2.6
}

// Argument of RPC_CM_QUERY_PARTITION_CONFIG_BY_INDEX.
struct query_cfg_request {
    1: string app_name,
    2: list<i32> partition_indices,  // empty = all
}

// Result of RPC_CM_QUERY_PARTITION_CONFIG_BY_INDEX.
struct query_cfg_response {
    1: error_code err,
    2: i32 app_id,
    3: i32 partition_count,
    4: bool is_stateful,  // true on every success: clients insist
    5: list<partition_configuration> partitions,
}

struct request_meta {
    1: i32 app_id,              // <= 0 = not for a replica
    2: i32 partition_index,
    3: i32 client_timeout,      // milliseconds
    4: i64 partition_hash,      // hash of the key
    5: bool is_backup_request,  // a secondary may answer
}

enum app_status {
    AS_INVALID = 0,
    AS_AVAILABLE = 1,
    AS_CREATING = 2,
    AS_CREATE_FAILED = 3,
    AS_DROPPING = 4,
    AS_DROP_FAILED = 5,
    AS_DROPPED = 6,
    AS_RECALLING = 7,
}

struct app_info {
    1: app_status status = AS_INVALID,
    2: string app_type,                 // "pegasus"
    3: string app_name,
    4: i32 app_id,
    5: i32 partition_count,
    6: map<string,string> envs,
    7: bool is_stateful,                // true for every Pegasus table
    8: i32 max_replica_count,
    9: i64 expire_second,               // Unix seconds at which a dropped table is purged
    10: i64 create_second,              // Unix seconds
    11: i64 drop_second,                // Unix seconds
    12: optional bool duplicating = false,
    13: i32 init_partition_count = -1,  // partition count before a split, -1 = never split
    14: optional bool is_bulk_loading = false,
    15: optional bool atomic_idempotent = false,
}
