// SPDX-License-Identifier: Apache-2.0
//
// What tools ask a replica server.

struct query_replica_decree_request {
    1: gpid pid,
    2: rpc_address node1,
    3: optional host_port hp_node1,  // since Pegasus 2.6
}

struct query_replica_decree_response {
    1: error_code err,
    2: i64 last_decree,
}

// Argument of RPC_QUERY_REPLICA_INFO.
struct query_replica_info_request {
    1: rpc_address node1,
    2: optional host_port hp_node1,  // since Pegasus 2.6
}

// Result of RPC_QUERY_REPLICA_INFO.
struct query_replica_info_response {
    1: error_code err,
    2: list<replica_info> replicas,
}

struct disk_info {
    1: string tag,
    2: string full_dir,
    3: i64 disk_capacity_mb,
    4: i64 disk_available_mb,
    5: map<i32,set<gpid>> holding_primary_replicas,    // by app_id
    6: map<i32,set<gpid>> holding_secondary_replicas,  // by app_id
}

// Argument of RPC_QUERY_DISK_INFO.
struct query_disk_info_request {
    1: rpc_address node1,            // the node asked
    2: string app_name,              // empty = all tables
    3: optional host_port hp_node1,  // since Pegasus 2.6
}

// Result of RPC_QUERY_DISK_INFO.
struct query_disk_info_response {
    1: error_code err,
    2: i64 total_capacity_mb,
    3: i64 total_available_mb,
    4: list<disk_info> disk_infos,
}

// Argument of RPC_REPLICA_DISK_MIGRATE.
struct replica_disk_migrate_request {
    1: gpid pid,
    2: string origin_disk,
    3: string target_disk,
}

// Result of RPC_REPLICA_DISK_MIGRATE.
struct replica_disk_migrate_response {
    1: error_code err,
    2: optional string hint,  // shown to the operator
}

enum disk_migration_status {
    IDLE = 0,
    MOVING = 1,
    MOVED = 2,
    CLOSED = 3,
}

enum hotkey_type {
    READ = 0,
    WRITE = 1,
}

enum detect_action {
    START = 0,
    STOP = 1,
    QUERY = 2,
}

// Argument of RPC_DETECT_HOTKEY.
struct detect_hotkey_request {
    1: hotkey_type type,
    2: detect_action action,
    3: gpid pid,
}

// Result of RPC_DETECT_HOTKEY.
struct detect_hotkey_response {
    1: error_code err,
    2: optional string err_hint,       // shown to the operator
    3: optional string hotkey_result,  // the hot hash key
}

// Argument of RPC_ADD_NEW_DISK.
struct add_new_disk_request {
    1: string disk_str,
}

// Result of RPC_ADD_NEW_DISK.
struct add_new_disk_response {
    1: error_code err,
    2: optional string err_hint,  // shown to the operator
}
