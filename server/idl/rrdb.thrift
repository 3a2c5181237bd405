// SPDX-License-Identifier: Apache-2.0
//
// The data operations of a table.

enum filter_type {
    FT_NO_FILTER = 0,
    FT_MATCH_ANYWHERE = 1,
    FT_MATCH_PREFIX = 2,
    FT_MATCH_POSTFIX = 3,
}

enum cas_check_type {
    CT_NO_CHECK = 0,
    CT_VALUE_NOT_EXIST = 1,
    CT_VALUE_NOT_EXIST_OR_EMPTY = 2,
    CT_VALUE_EXIST = 3,
    CT_VALUE_NOT_EMPTY = 4,
    CT_VALUE_MATCH_ANYWHERE = 5,
    CT_VALUE_MATCH_PREFIX = 6,
    CT_VALUE_MATCH_POSTFIX = 7,
    CT_VALUE_BYTES_LESS = 8,
    CT_VALUE_BYTES_LESS_OR_EQUAL = 9,
    CT_VALUE_BYTES_EQUAL = 10,
    CT_VALUE_BYTES_GREATER_OR_EQUAL = 11,
    CT_VALUE_BYTES_GREATER = 12,
    CT_VALUE_INT_LESS = 13,
    CT_VALUE_INT_LESS_OR_EQUAL = 14,
    CT_VALUE_INT_EQUAL = 15,
    CT_VALUE_INT_GREATER_OR_EQUAL = 16,
    CT_VALUE_INT_GREATER = 17,
}

enum mutate_operation {
    MO_PUT = 0,
    MO_DELETE = 1,
}

enum update_type {
    UT_PUT = 0,
    UT_INCR = 1,
    UT_CHECK_AND_SET = 2,
    UT_CHECK_AND_MUTATE_PUT = 3,
    UT_CHECK_AND_MUTATE_REMOVE = 4,
}

// Argument of RPC_RRDB_RRDB_PUT.
struct update_request {
    1: blob key,                            // raw key, see RawKey
    2: blob value,
    3: i32 expire_ts_seconds,               // absolute, see ExpireAt; 0 = never
    4: optional update_type type,           // never sent by clients
    5: optional bool check_value_returned,  // never sent by clients
    6: optional bool check_value_exist,     // never sent by clients
    7: optional blob check_value,           // never sent by clients
}

// Result of RPC_RRDB_RRDB_PUT, RPC_RRDB_RRDB_REMOVE, RPC_RRDB_RRDB_MULTI_PUT.
struct update_response {
    1: i32 error,      // storage status, see StatusOK
    2: i32 app_id,
    3: i32 partition_index,
    4: i64 decree,     // of the mutation
    5: string server,  // who answered, "host:port"; informational
}

// Result of RPC_RRDB_RRDB_GET.
struct read_response {
    1: i32 error,      // storage status, see StatusOK
    2: blob value,     // empty when not found
    3: i32 app_id,
    4: i32 partition_index,
    6: string server,  // who answered, "host:port"; informational
}

// Result of RPC_RRDB_RRDB_TTL.
struct ttl_response {
    1: i32 error,        // storage status, see StatusOK
    2: i32 ttl_seconds,  // left to live; -1 = lives for ever
    3: i32 app_id,
    4: i32 partition_index,
    6: string server,    // who answered, "host:port"; informational
}

// Result of RPC_RRDB_RRDB_SORTKEY_COUNT.
struct count_response {
    1: i32 error,      // storage status, see StatusOK
    2: i64 count,      // -1 = gave up on the time limit
    3: i32 app_id,
    4: i32 partition_index,
    6: string server,  // who answered, "host:port"; informational
}

struct key_value {
    1: blob key,                        // sort key in multi_put and multi_get, raw key in scans
    2: blob value,                      // empty with no_value
    3: optional i32 expire_ts_seconds,  // set by scans with return_expire_ts
}

// Argument of RPC_RRDB_RRDB_MULTI_PUT.
struct multi_put_request {
    1: blob hash_key,
    2: list<key_value> kvs,    // key is the sort key
    3: i32 expire_ts_seconds,  // absolute, see ExpireAt; 0 = never
}

// Argument of RPC_RRDB_RRDB_MULTI_REMOVE.
struct multi_remove_request {
    1: blob hash_key,
    2: list<blob> sort_keys,
    3: i64 max_count,  // without effect
}

// Result of RPC_RRDB_RRDB_MULTI_REMOVE.
struct multi_remove_response {
    1: i32 error,      // storage status, see StatusOK
    2: i64 count,      // sort keys asked for, existing or not
    3: i32 app_id,
    4: i32 partition_index,
    5: i64 decree,     // of the mutation
    6: string server,  // who answered, "host:port"; informational
}

// Argument of RPC_RRDB_RRDB_MULTI_GET.
struct multi_get_request {
    1: blob hash_key,
    2: list<blob> sort_keys,  // if any, exactly these keys; else the range
    3: i32 max_kv_count,      // <= 0 = the server's cap
    4: i32 max_kv_size,       // bytes of keys and values; <= 0 = no limit
    5: bool no_value,         // leave the values empty
    6: blob start_sortkey,    // lower end of the range
    7: blob stop_sortkey,     // upper end, empty = end of the hash key
    8: bool start_inclusive,
    9: bool stop_inclusive,   // without effect when stop_sortkey is empty
    10: filter_type sort_key_filter_type,
    11: blob sort_key_filter_pattern,
    12: bool reverse,         // take the largest keys; the answer stays ascending
}

// Result of RPC_RRDB_RRDB_MULTI_GET.
struct multi_get_response {
    1: i32 error,            // storage status, see StatusOK
    2: list<key_value> kvs,  // ascending; key is the sort key
    3: i32 app_id,
    4: i32 partition_index,
    6: string server,        // who answered, "host:port"; informational
}

struct full_key {
    1: blob hash_key,
    2: blob sort_key,
}

// Argument of RPC_RRDB_RRDB_BATCH_GET.
struct batch_get_request {
    1: list<full_key> keys,  // all of the addressed partition
}

struct full_data {
    1: blob hash_key,
    2: blob sort_key,
    3: blob value,
}

// Result of RPC_RRDB_RRDB_BATCH_GET.
struct batch_get_response {
    1: i32 error,             // storage status, see StatusOK
    2: list<full_data> data,  // only those that exist
    3: i32 app_id,
    4: i32 partition_index,
    6: string server,         // who answered, "host:port"; informational
}

// Argument of RPC_RRDB_RRDB_INCR.
struct incr_request {
    1: blob key,               // raw key, see RawKey
    2: i64 increment,          // may be negative
    3: i32 expire_ts_seconds,  // 0 keep, > 0 set, < 0 clear
}

// Result of RPC_RRDB_RRDB_INCR.
struct incr_response {
    1: i32 error,      // storage status, see StatusOK
    2: i64 new_value,  // the old one on overflow
    3: i32 app_id,
    4: i32 partition_index,
    5: i64 decree,     // of the mutation
    6: string server,  // who answered, "host:port"; informational
}

// Argument of RPC_RRDB_RRDB_CHECK_AND_SET.
struct check_and_set_request {
    1: blob hash_key,
    2: blob check_sort_key,        // record whose value is tested
    3: cas_check_type check_type,
    4: blob check_operand,         // what the value is compared with
    5: bool set_diff_sort_key,     // write set_sort_key instead of check_sort_key
    6: blob set_sort_key,          // with set_diff_sort_key
    7: blob set_value,
    8: i32 set_expire_ts_seconds,  // absolute, see ExpireAt; 0 = never
    9: bool return_check_value,    // the answer should carry the value that was tested
}

// Result of RPC_RRDB_RRDB_CHECK_AND_SET.
struct check_and_set_response {
    1: i32 error,                  // storage status, see StatusOK
    2: bool check_value_returned,  // repeats return_check_value
    3: bool check_value_exist,     // whether the tested record exists
    4: blob check_value,           // the tested value
    5: i32 app_id,
    6: i32 partition_index,
    7: i64 decree,                 // of the mutation
    8: string server,              // who answered, "host:port"; informational
}

struct mutate {
    1: mutate_operation operation,
    2: blob sort_key,
    3: blob value,                 // for MO_PUT
    4: i32 set_expire_ts_seconds,  // absolute, for MO_PUT
}

// Argument of RPC_RRDB_RRDB_CHECK_AND_MUTATE.
struct check_and_mutate_request {
    1: blob hash_key,
    2: blob check_sort_key,       // record whose value is tested
    3: cas_check_type check_type,
    4: blob check_operand,        // what the value is compared with
    5: list<mutate> mutate_list,  // applied in this order
    6: bool return_check_value,   // the answer should carry the value that was tested
}

// Result of RPC_RRDB_RRDB_CHECK_AND_MUTATE.
struct check_and_mutate_response {
    1: i32 error,                  // storage status, see StatusOK
    2: bool check_value_returned,  // repeats return_check_value
    3: bool check_value_exist,     // whether the tested record exists
    4: blob check_value,           // the tested value
    5: i32 app_id,
    6: i32 partition_index,
    7: i64 decree,                 // of the mutation
    8: string server,              // who answered, "host:port"; informational
}

// Argument of RPC_RRDB_RRDB_GET_SCANNER.
struct get_scanner_request {
    1: blob start_key,                                 // raw key, see RawKey
    2: blob stop_key,                                  // raw key, see RawKey
    3: bool start_inclusive,
    4: bool stop_inclusive,
    5: i32 batch_size,                                 // records; <= 0 = the server's cap
    6: bool no_value,                                  // leave the values empty
    7: filter_type hash_key_filter_type,
    8: blob hash_key_filter_pattern,
    9: filter_type sort_key_filter_type,
    10: blob sort_key_filter_pattern,
    11: optional bool validate_partition_hash = true,  // absent means true
    12: optional bool return_expire_ts,                // fill expire_ts_seconds of kvs
    13: optional bool full_scan,                       // a hint, changes no answer
    14: optional bool only_return_count = false,       // answer kv_count instead of kvs
}

// Argument of RPC_RRDB_RRDB_SCAN.
struct scan_request {
    1: i64 context_id,  // from the answer before
}

// Result of RPC_RRDB_RRDB_GET_SCANNER, RPC_RRDB_RRDB_SCAN.
struct scan_response {
    1: i32 error,              // storage status, see StatusOK
    2: list<key_value> kvs,    // key is the raw key
    3: i64 context_id,         // >= 0 there is more, -1 the scan is complete
    4: i32 app_id,
    5: i32 partition_index,
    6: string server,          // who answered, "host:port"; informational
    7: optional i32 kv_count,  // records in this batch, when only_return_count
}
