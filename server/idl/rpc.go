// SPDX-License-Identifier: Apache-2.0

package idl

// Names of the RPCs as they travel. The answer to a call bears the name with AckSuffix.
const (
	// Asked of the meta server by clients and tools.
	RPCQueryConfig              = "RPC_CM_QUERY_PARTITION_CONFIG_BY_INDEX"
	RPCCreateApp                = "RPC_CM_CREATE_APP"
	RPCDropApp                  = "RPC_CM_DROP_APP"
	RPCListApps                 = "RPC_CM_LIST_APPS"
	RPCRecallApp                = "RPC_CM_RECALL_APP"
	RPCRenameApp                = "RPC_CM_RENAME_APP"
	RPCListNodes                = "RPC_CM_LIST_NODES"
	RPCClusterInfo              = "RPC_CM_CLUSTER_INFO"
	RPCControlMeta              = "RPC_CM_CONTROL_META"
	RPCUpdateAppEnv             = "RPC_CM_UPDATE_APP_ENV"
	RPCProposeBalancer          = "RPC_CM_PROPOSE_BALANCER"
	RPCStartRecovery            = "RPC_CM_START_RECOVERY"
	RPCDddDiagnose              = "RPC_CM_DDD_DIAGNOSE"
	RPCGetMaxReplicaCount       = "RPC_CM_GET_MAX_REPLICA_COUNT"
	RPCSetMaxReplicaCount       = "RPC_CM_SET_MAX_REPLICA_COUNT"
	RPCGetAtomicIdempotent      = "RPC_CM_GET_ATOMIC_IDEMPOTENT"
	RPCSetAtomicIdempotent      = "RPC_CM_SET_ATOMIC_IDEMPOTENT"
	RPCStartPartitionSplit      = "RPC_CM_START_PARTITION_SPLIT"
	RPCQueryPartitionSplit      = "RPC_CM_QUERY_PARTITION_SPLIT"
	RPCControlPartitionSplit    = "RPC_CM_CONTROL_PARTITION_SPLIT"
	RPCStartManualCompact       = "RPC_CM_START_MANUAL_COMPACT"
	RPCQueryManualCompactStatus = "RPC_CM_QUERY_MANUAL_COMPACT_STATUS"
	RPCStartBulkLoad            = "RPC_CM_START_BULK_LOAD"
	RPCControlBulkLoad          = "RPC_CM_CONTROL_BULK_LOAD"
	RPCQueryBulkLoadStatus      = "RPC_CM_QUERY_BULK_LOAD_STATUS"
	RPCClearBulkLoad            = "RPC_CM_CLEAR_BULK_LOAD"
	RPCStartBackupApp           = "RPC_CM_START_BACKUP_APP"
	RPCQueryBackupStatus        = "RPC_CM_QUERY_BACKUP_STATUS"
	RPCStartRestore             = "RPC_CM_START_RESTORE"
	RPCQueryRestoreStatus       = "RPC_CM_QUERY_RESTORE_STATUS"
	RPCAddBackupPolicy          = "RPC_CM_ADD_BACKUP_POLICY"
	RPCModifyBackupPolicy       = "RPC_CM_MODIFY_BACKUP_POLICY"
	RPCQueryBackupPolicy        = "RPC_CM_QUERY_BACKUP_POLICY"
	RPCAddDuplication           = "RPC_CM_ADD_DUPLICATION"
	RPCModifyDuplication        = "RPC_CM_MODIFY_DUPLICATION"
	RPCQueryDuplication         = "RPC_CM_QUERY_DUPLICATION"
	RPCListDuplication          = "RPC_CM_LIST_DUPLICATION"

	// Data operations. PUT to CHECK_AND_MUTATE, DUPLICATE and BULK_LOAD write.
	RPCPut            = "RPC_RRDB_RRDB_PUT"
	RPCRemove         = "RPC_RRDB_RRDB_REMOVE"
	RPCMultiPut       = "RPC_RRDB_RRDB_MULTI_PUT"
	RPCMultiRemove    = "RPC_RRDB_RRDB_MULTI_REMOVE"
	RPCIncr           = "RPC_RRDB_RRDB_INCR"
	RPCCheckAndSet    = "RPC_RRDB_RRDB_CHECK_AND_SET"
	RPCCheckAndMutate = "RPC_RRDB_RRDB_CHECK_AND_MUTATE"
	RPCDuplicate      = "RPC_RRDB_RRDB_DUPLICATE"
	RPCRrdbBulkLoad   = "RPC_RRDB_RRDB_BULK_LOAD"
	RPCGet            = "RPC_RRDB_RRDB_GET"
	RPCMultiGet       = "RPC_RRDB_RRDB_MULTI_GET"
	RPCBatchGet       = "RPC_RRDB_RRDB_BATCH_GET"
	RPCSortkeyCount   = "RPC_RRDB_RRDB_SORTKEY_COUNT"
	RPCTtl            = "RPC_RRDB_RRDB_TTL"
	RPCGetScanner     = "RPC_RRDB_RRDB_GET_SCANNER"
	RPCScan           = "RPC_RRDB_RRDB_SCAN"
	RPCClearScanner   = "RPC_RRDB_RRDB_CLEAR_SCANNER"

	// Asked of a replica server by tools.
	RPCQueryDiskInfo      = "RPC_QUERY_DISK_INFO"
	RPCReplicaDiskMigrate = "RPC_REPLICA_DISK_MIGRATE"
	RPCAddNewDisk         = "RPC_ADD_NEW_DISK"
	RPCDetectHotkey       = "RPC_DETECT_HOTKEY"
	RPCQueryAppInfo       = "RPC_QUERY_APP_INFO"
	RPCQueryReplicaInfo   = "RPC_QUERY_REPLICA_INFO"

	// Asked of any server.
	RPCCliCliCall  = "RPC_CLI_CLI_CALL"
	RPCNegotiation = "RPC_NEGOTIATION"

	// Between servers.
	RPCConfigSync                     = "RPC_CM_CONFIG_SYNC"
	RPCUpdatePartitionConfiguration   = "RPC_CM_UPDATE_PARTITION_CONFIGURATION"
	RPCDuplicationSync                = "RPC_CM_DUPLICATION_SYNC"
	RPCRegisterChildReplica           = "RPC_CM_REGISTER_CHILD_REPLICA"
	RPCQueryChildState                = "RPC_CM_QUERY_CHILD_STATE"
	RPCReportRestoreStatus            = "RPC_CM_REPORT_RESTORE_STATUS"
	RPCFdFailureDetectorPing          = "RPC_FD_FAILURE_DETECTOR_PING"
	RPCConfigProposal                 = "RPC_CONFIG_PROPOSAL"
	RPCQueryPnDecree                  = "RPC_QUERY_PN_DECREE"
	RPCNotifyStopSplit                = "RPC_CM_NOTIFY_STOP_SPLIT"
	RPCColdBackup                     = "RPC_COLD_BACKUP"
	RPCClearColdBackup                = "RPC_CLEAR_COLD_BACKUP"
	RPCBulkLoad                       = "RPC_BULK_LOAD"
	RPCPrepare                        = "RPC_PREPARE"
	RPCGroupCheck                     = "RPC_GROUP_CHECK"
	RPCLearn                          = "RPC_LEARN"
	RPCLearnCompletionNotify          = "RPC_LEARN_COMPLETION_NOTIFY"
	RPCLearnAddLearner                = "RPC_LEARN_ADD_LEARNER"
	RPCRemoveReplica                  = "RPC_REMOVE_REPLICA"
	RPCQueryLastCheckpointInfo        = "RPC_QUERY_LAST_CHECKPOINT_INFO"
	RPCSplitNotifyCatchUp             = "RPC_SPLIT_NOTIFY_CATCH_UP"
	RPCSplitUpdateChildPartitionCount = "RPC_SPLIT_UPDATE_CHILD_PARTITION_COUNT"
	RPCGroupBulkLoad                  = "RPC_GROUP_BULK_LOAD"
	RPCNfsCopy                        = "RPC_NFS_COPY"
	RPCNfsGetFileSize                 = "RPC_NFS_GET_FILE_SIZE"
)

// AckSuffix is what the name of an answer has more than the name of its call.
const AckSuffix = "_ACK"

var rpcNames = [...]string{
	RPCQueryConfig,
	RPCCreateApp,
	RPCDropApp,
	RPCListApps,
	RPCRecallApp,
	RPCRenameApp,
	RPCListNodes,
	RPCClusterInfo,
	RPCControlMeta,
	RPCUpdateAppEnv,
	RPCProposeBalancer,
	RPCStartRecovery,
	RPCDddDiagnose,
	RPCGetMaxReplicaCount,
	RPCSetMaxReplicaCount,
	RPCGetAtomicIdempotent,
	RPCSetAtomicIdempotent,
	RPCStartPartitionSplit,
	RPCQueryPartitionSplit,
	RPCControlPartitionSplit,
	RPCStartManualCompact,
	RPCQueryManualCompactStatus,
	RPCStartBulkLoad,
	RPCControlBulkLoad,
	RPCQueryBulkLoadStatus,
	RPCClearBulkLoad,
	RPCStartBackupApp,
	RPCQueryBackupStatus,
	RPCStartRestore,
	RPCQueryRestoreStatus,
	RPCAddBackupPolicy,
	RPCModifyBackupPolicy,
	RPCQueryBackupPolicy,
	RPCAddDuplication,
	RPCModifyDuplication,
	RPCQueryDuplication,
	RPCListDuplication,
	RPCPut,
	RPCRemove,
	RPCMultiPut,
	RPCMultiRemove,
	RPCIncr,
	RPCCheckAndSet,
	RPCCheckAndMutate,
	RPCDuplicate,
	RPCRrdbBulkLoad,
	RPCGet,
	RPCMultiGet,
	RPCBatchGet,
	RPCSortkeyCount,
	RPCTtl,
	RPCGetScanner,
	RPCScan,
	RPCClearScanner,
	RPCQueryDiskInfo,
	RPCReplicaDiskMigrate,
	RPCAddNewDisk,
	RPCDetectHotkey,
	RPCQueryAppInfo,
	RPCQueryReplicaInfo,
	RPCCliCliCall,
	RPCNegotiation,
	RPCConfigSync,
	RPCUpdatePartitionConfiguration,
	RPCDuplicationSync,
	RPCRegisterChildReplica,
	RPCQueryChildState,
	RPCReportRestoreStatus,
	RPCFdFailureDetectorPing,
	RPCConfigProposal,
	RPCQueryPnDecree,
	RPCNotifyStopSplit,
	RPCColdBackup,
	RPCClearColdBackup,
	RPCBulkLoad,
	RPCPrepare,
	RPCGroupCheck,
	RPCLearn,
	RPCLearnCompletionNotify,
	RPCLearnAddLearner,
	RPCRemoveReplica,
	RPCQueryLastCheckpointInfo,
	RPCSplitNotifyCatchUp,
	RPCSplitUpdateChildPartitionCount,
	RPCGroupBulkLoad,
	RPCNfsCopy,
	RPCNfsGetFileSize,
}

// rpcs holds every name and every name with AckSuffix.
var rpcs = func() map[string]string {
	m := make(map[string]string, 2*len(rpcNames))
	for _, n := range rpcNames {
		m[n] = n
		m[n+AckSuffix] = n + AckSuffix
	}
	return m
}()

// InternRPC returns the RPC name in b without allocating when the name, or the name of its
// answer, is known.
func InternRPC(b []byte) string {
	if n, ok := rpcs[string(b)]; ok {
		return n
	}
	return string(b)
}
