// SPDX-License-Identifier: Apache-2.0
//
// Messages between our own servers: failure detector, replication, learning, file copy.

// Argument of RPC_FD_FAILURE_DETECTOR_PING: a replica server tells the meta server it believes
// to be master that it lives.
struct beacon_msg {
    1: i64 time_ms,             // sender's clock; the lease counts from here
    2: rpc_address from_node,
    3: rpc_address to_node,
    4: i64 start_time_ms,       // when the sender's process started: a change means a new process
}

// Result of RPC_FD_FAILURE_DETECTOR_PING.
struct beacon_ack {
    1: i64 time_ms,             // repeats beacon_msg.time_ms
    2: rpc_address this_node,
    3: rpc_address primary_node, // the master, zero = unknown
    4: bool is_master,          // only then the lease is renewed
    5: bool allowed,            // false: this node may not join
}

// Result of RPC_CONFIG_PROPOSAL, RPC_LEARN_ADD_LEARNER and RPC_LEARN_COMPLETION_NOTIFY.
struct config_proposal_ack {
    1: error_code err,
}

// Argument of RPC_PREPARE: the primary replicates mutations to one member or learner.
struct prepare_request {
    1: gpid pid,
    2: i64 ballot,
    3: rpc_address primary,
    4: partition_status status, // what the receiver should be: PS_SECONDARY or PS_POTENTIAL_SECONDARY
    5: i64 learner_signature,
    6: i64 committed,           // the primary's last committed decree
    7: list<blob> mutations,    // encoded mutations, ascending decree
}

// Result of RPC_PREPARE.
struct prepare_ack {
    1: error_code err,
    2: gpid pid,
    3: i64 ballot,
    4: i64 decree,              // everything of the request up to here is logged
    5: i64 committed,
    6: i64 prepared,
}

// Argument of RPC_GROUP_CHECK: the primary's periodic view of its group, sent to each member.
struct group_check_request {
    1: gpid pid,
    2: app_info app,
    3: replica_configuration config,
    4: i64 committed,
    5: i64 learner_signature,
    6: list<rpc_address> members,
}

// Result of RPC_GROUP_CHECK.
struct group_check_response {
    1: error_code err,
    2: gpid pid,
    3: i64 ballot,
    4: partition_status status,
    5: i64 committed,
    6: i64 prepared,
    7: bool learn_done,         // the learner has all it needs to be a secondary
    8: i64 learner_signature,
    9: i64 decree,              // everything up to here is logged
}

// Argument of RPC_LEARN_ADD_LEARNER: the primary asks a node to learn the partition.
struct add_learner_request {
    1: app_info app,
    2: replica_configuration config, // status PS_POTENTIAL_SECONDARY and the learner_signature
    3: i64 committed,
}

// Argument of RPC_LEARN: a learner asks the primary for what it lacks.
struct learn_request {
    1: gpid pid,
    2: rpc_address learner,
    3: i64 signature,
    4: i64 committed,           // the learner's
    5: i64 prepared,            // the learner's
    6: i64 ballot,
}

// How a learner is to catch up.
enum learn_type {
    LT_INVALID = 0,
    LT_CACHE = 1,
    LT_LOG = 2,
    LT_APP = 3,
}

// Result of RPC_LEARN.
struct learn_response {
    1: error_code err,
    2: learn_type type,
    3: i64 ballot,
    4: i64 committed,           // the primary's
    5: i64 prepare_start,       // first decree the learner receives by prepares
    6: list<blob> mutations,    // LT_CACHE and LT_LOG
    7: string dir,              // LT_APP: directory of the checkpoint on the primary
    8: list<file_meta> files,   // LT_APP: files in dir
    9: i64 checkpoint_decree,   // LT_APP: decree of the checkpoint
}

// Argument of RPC_LEARN_COMPLETION_NOTIFY: a learner has caught up, or failed.
struct learn_done_request {
    1: gpid pid,
    2: rpc_address learner,
    3: i64 signature,
    4: i64 committed,
    5: i64 prepared,
    6: error_code err,
}

// Argument of RPC_NFS_COPY: one piece of one file.
struct file_copy_request {
    1: gpid pid,
    2: string dir,
    3: string name,             // relative to dir
    4: i64 offset,              // bytes
    5: i32 size,                // bytes wanted at most
}

// Result of RPC_NFS_COPY.
struct file_copy_response {
    1: error_code err,
    2: blob data,               // short only at the end of the file
    3: i64 file_size,           // bytes
    4: i32 crc32c,              // of data
}
