// SPDX-License-Identifier: Apache-2.0
//
// Partition split.

// Argument of RPC_CM_START_PARTITION_SPLIT.
struct start_partition_split_request {
    1: string app_name,
    2: i32 new_partition_count,
}

// Result of RPC_CM_START_PARTITION_SPLIT.
struct start_partition_split_response {
    1: error_code err,
    2: string hint_msg,  // shown to the operator
}

enum split_control_type {
    PAUSE = 0,
    RESTART = 1,
    CANCEL = 2,
}

// Argument of RPC_CM_CONTROL_PARTITION_SPLIT.
struct control_split_request {
    1: string app_name,
    2: split_control_type control_type,
    3: i32 parent_pidx,
    4: optional i32 old_partition_count,
}

// Result of RPC_CM_CONTROL_PARTITION_SPLIT.
struct control_split_response {
    1: error_code err,
    2: optional string hint_msg,  // shown to the operator
}

// Argument of RPC_CM_QUERY_PARTITION_SPLIT.
struct query_split_request {
    1: string app_name,
}

// Result of RPC_CM_QUERY_PARTITION_SPLIT.
struct query_split_response {
    1: error_code err,
    2: i32 new_partition_count,
    3: map<i32,split_status> status,
    4: optional string hint_msg,  // shown to the operator
}

struct notify_catch_up_request {
    1: gpid parent_gpid,
    2: gpid child_gpid,
    3: i64 child_ballot,
    4: rpc_address child,
    5: optional host_port hp_child,  // since Pegasus 2.6
}

struct notify_cacth_up_response {
    1: error_code err,
}

struct update_child_group_partition_count_request {
    1: rpc_address target,
    2: i32 new_partition_count,
    3: gpid child_pid,
    4: i64 ballot,
    5: optional host_port hp_target,  // since Pegasus 2.6
}

struct update_child_group_partition_count_response {
    1: error_code err,
}

struct register_child_request {
    1: app_info app,
    2: partition_configuration parent_config,
    3: partition_configuration child_config,
    4: rpc_address primary,
    5: optional host_port hp_primary,  // since Pegasus 2.6
}

struct register_child_response {
    1: error_code err,
    2: app_info app,
    3: partition_configuration parent_config,
    4: partition_configuration child_config,
}

struct notify_stop_split_request {
    1: string app_name,
    2: gpid parent_gpid,
    3: split_status meta_split_status,
    4: i32 partition_count,
}

struct notify_stop_split_response {
    1: error_code err,
}

struct query_child_state_request {
    1: string app_name,
    2: gpid pid,
    3: i32 partition_count,
}

struct query_child_state_response {
    1: error_code err,
    2: optional i32 partition_count,
    3: optional partition_configuration child_config,
}
