// SPDX-License-Identifier: Apache-2.0
//
// What tools ask the meta server and what meta and replica servers tell each other.

enum config_type {
    CT_INVALID = 0,
    CT_ASSIGN_PRIMARY = 1,
    CT_UPGRADE_TO_PRIMARY = 2,
    CT_ADD_SECONDARY = 3,
    CT_UPGRADE_TO_SECONDARY = 4,
    CT_DOWNGRADE_TO_SECONDARY = 5,
    CT_DOWNGRADE_TO_INACTIVE = 6,
    CT_REMOVE = 7,
    CT_ADD_SECONDARY_FOR_LB = 8,
    CT_PRIMARY_FORCE_UPDATE_BALLOT = 9,
    CT_DROP_PARTITION = 10,
    CT_REGISTER_CHILD = 11,
}

enum node_status {
    NS_INVALID = 0,
    NS_ALIVE = 1,
    NS_UNALIVE = 2,
}

struct configuration_update_request {
    1: app_info info,
    2: partition_configuration config,
    3: config_type type = CT_INVALID,
    4: rpc_address node,
    5: rpc_address host_node,
    6: optional split_status meta_split_status,
    7: optional host_port hp_node,  // since Pegasus 2.6
}

struct configuration_update_response {
    1: error_code err,
    2: partition_configuration config,
}

struct replica_server_info {
    1: map<string,string> geo_tags,
    2: i64 total_capacity_mb,
}

struct configuration_query_by_node_request {
    1: rpc_address node,
    2: optional list<replica_info> stored_replicas,
    3: optional replica_server_info info,
    4: optional host_port hp_node,  // since Pegasus 2.6
    5: optional i64 start_time_ms,  // of the process, as in its beacons; ours
}

struct configuration_query_by_node_response {
    1: error_code err,
    2: list<configuration_update_request> partitions,
    3: optional list<replica_info> gc_replicas,
}

// Argument of RPC_CM_START_RECOVERY.
struct configuration_recovery_request {
    1: list<rpc_address> recovery_nodes,
    2: bool skip_bad_nodes,
    3: bool skip_lost_partitions,
    4: optional list<host_port> hp_recovery_nodes,  // since Pegasus 2.6
}

// Result of RPC_CM_START_RECOVERY.
struct configuration_recovery_response {
    1: error_code err,
    2: string hint_message,  // shown to the operator
}

struct create_app_options {
    1: i32 partition_count,
    2: i32 replica_count,
    3: bool success_if_exist,  // an equal existing table is a success
    4: string app_type,        // "pegasus"
    5: bool is_stateful,       // true for every Pegasus table
    6: map<string,string> envs,
    7: optional bool atomic_idempotent = false,
}

// Argument of RPC_CM_CREATE_APP.
struct configuration_create_app_request {
    1: string app_name,
    2: create_app_options options,
}

// Result of RPC_CM_CREATE_APP, RPC_CM_START_RESTORE.
struct configuration_create_app_response {
    1: error_code err,
    2: i32 appid,
}

struct drop_app_options {
    1: bool success_if_not_exist,
    2: optional i64 reserve_seconds,  // how long the data is kept; 0 = the server's default
}

// Argument of RPC_CM_DROP_APP.
struct configuration_drop_app_request {
    1: string app_name,
    2: drop_app_options options,
}

// Result of RPC_CM_DROP_APP.
struct configuration_drop_app_response {
    1: error_code err,
}

// Argument of RPC_CM_RENAME_APP.
struct configuration_rename_app_request {
    1: string old_app_name,
    2: string new_app_name,
}

// Result of RPC_CM_RENAME_APP.
struct configuration_rename_app_response {
    1: error_code err,
    2: string hint_message,  // shown to the operator
}

// Argument of RPC_CM_RECALL_APP.
struct configuration_recall_app_request {
    1: i32 app_id,
    2: string new_app_name,  // empty = the old name
}

// Result of RPC_CM_RECALL_APP.
struct configuration_recall_app_response {
    1: error_code err,
    2: app_info info,
}

// Argument of RPC_CM_LIST_APPS.
struct configuration_list_apps_request {
    1: app_status status = AS_INVALID,          // AS_INVALID = all
    2: optional string app_name_pattern,        // since Pegasus 2.6
    3: optional pattern_match_type match_type,  // since Pegasus 2.6
}

// Result of RPC_CM_LIST_APPS.
struct configuration_list_apps_response {
    1: error_code err,
    2: list<app_info> infos,
    3: optional string hint_message,  // since Pegasus 2.6
}

// Argument of RPC_QUERY_APP_INFO.
struct query_app_info_request {
    1: rpc_address meta_server,
    2: optional host_port hp_meta_server,  // since Pegasus 2.6
}

// Result of RPC_QUERY_APP_INFO.
struct query_app_info_response {
    1: error_code err,
    2: list<app_info> apps,
}

enum app_env_operation {
    APP_ENV_OP_INVALID = 0,
    APP_ENV_OP_SET = 1,
    APP_ENV_OP_DEL = 2,
    APP_ENV_OP_CLEAR = 3,
}

// Argument of RPC_CM_UPDATE_APP_ENV.
struct configuration_update_app_env_request {
    1: string app_name,
    2: app_env_operation op = APP_ENV_OP_INVALID,
    3: optional list<string> keys,    // for APP_ENV_OP_SET and _DEL
    4: optional list<string> values,  // for APP_ENV_OP_SET, in the order of keys
    5: optional string clear_prefix,  // for APP_ENV_OP_CLEAR; empty = every env
}

// Result of RPC_CM_UPDATE_APP_ENV.
struct configuration_update_app_env_response {
    1: error_code err,
    2: string hint_message,  // shown to the operator
}

struct start_app_manual_compact_request {
    1: string app_name,
    2: optional i64 trigger_time,
    3: optional i32 target_level,
    4: optional bool bottommost,
    5: optional i32 max_running_count,
}

struct start_app_manual_compact_response {
    1: error_code err,
    2: string hint_msg,  // shown to the operator
}

struct query_app_manual_compact_request {
    1: string app_name,
}

struct query_app_manual_compact_response {
    1: error_code err,
    2: string hint_msg,  // shown to the operator
    3: optional i32 progress,
}

struct node_info {
    1: node_status status = NS_INVALID,
    2: rpc_address node,
    3: optional host_port hp_node,  // since Pegasus 2.6
}

// Argument of RPC_CM_LIST_NODES.
struct configuration_list_nodes_request {
    1: node_status status = NS_INVALID,  // NS_INVALID = all
}

// Result of RPC_CM_LIST_NODES.
struct configuration_list_nodes_response {
    1: error_code err,
    2: list<node_info> infos,
}

// Argument of RPC_CM_CLUSTER_INFO.
struct configuration_cluster_info_request {
}

// Result of RPC_CM_CLUSTER_INFO.
struct configuration_cluster_info_response {
    1: error_code err,
    2: list<string> keys,
    3: list<string> values,  // in the order of keys
}

enum meta_function_level {
    fl_stopped = 100,
    fl_blind = 200,
    fl_freezed = 300,
    fl_steady = 400,
    fl_lively = 500,
    fl_invalid = 10000,
}

// Argument of RPC_CM_CONTROL_META.
struct configuration_meta_control_request {
    1: meta_function_level level,  // fl_invalid only asks
}

// Result of RPC_CM_CONTROL_META.
struct configuration_meta_control_response {
    1: error_code err,
    2: meta_function_level old_level,
}

enum balancer_request_type {
    move_primary = 0,
    copy_primary = 1,
    copy_secondary = 2,
}

struct configuration_proposal_action {
    1: rpc_address target,            // who executes it; zero = the primary
    2: rpc_address node,              // whom the action is about
    3: config_type type,
    5: optional host_port hp_target,  // since Pegasus 2.6
    6: optional host_port hp_node,    // since Pegasus 2.6
}

// Argument of RPC_CM_PROPOSE_BALANCER.
struct configuration_balancer_request {
    1: gpid gpid,
    2: list<configuration_proposal_action> action_list,
    3: optional bool force = false,                  // send the actions without waiting for the balancer
    4: optional balancer_request_type balance_type,  // counted in statistics
}

// Result of RPC_CM_PROPOSE_BALANCER.
struct configuration_balancer_response {
    1: error_code err,
}

// Argument of RPC_CM_DDD_DIAGNOSE.
struct ddd_diagnose_request {
    1: gpid pid,
}

struct ddd_node_info {
    1: rpc_address node,
    2: i64 drop_time_ms,
    3: bool is_alive,
    4: bool is_collected,
    5: i64 ballot,
    6: i64 last_committed_decree,
    7: i64 last_prepared_decree,
    8: optional host_port hp_node,  // since Pegasus 2.6
}

struct ddd_partition_info {
    1: partition_configuration config,
    2: list<ddd_node_info> dropped,
    3: string reason,
}

// Result of RPC_CM_DDD_DIAGNOSE.
struct ddd_diagnose_response {
    1: error_code err,
    2: list<ddd_partition_info> partitions,
}

struct configuration_get_max_replica_count_request {
    1: string app_name,
}

struct configuration_get_max_replica_count_response {
    1: error_code err,
    2: i32 max_replica_count,
    3: string hint_message,  // shown to the operator
}

struct configuration_set_max_replica_count_request {
    1: string app_name,
    2: i32 max_replica_count,
}

struct configuration_set_max_replica_count_response {
    1: error_code err,
    2: i32 old_max_replica_count,
    3: string hint_message,  // shown to the operator
}

struct configuration_get_atomic_idempotent_request {
    1: string app_name,
}

struct configuration_get_atomic_idempotent_response {
    1: error_code err,
    2: bool atomic_idempotent,
    3: string hint_message,  // shown to the operator
}

struct configuration_set_atomic_idempotent_request {
    1: string app_name,
    2: bool atomic_idempotent,
}

struct configuration_set_atomic_idempotent_response {
    1: error_code err,
    2: bool old_atomic_idempotent,
    3: string hint_message,  // shown to the operator
}
