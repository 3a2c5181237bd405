// SPDX-License-Identifier: Apache-2.0

package client

// Names of the RPCs this client sends.
const (
	rpcPut            = "RPC_RRDB_RRDB_PUT"
	rpcRemove         = "RPC_RRDB_RRDB_REMOVE"
	rpcMultiPut       = "RPC_RRDB_RRDB_MULTI_PUT"
	rpcMultiRemove    = "RPC_RRDB_RRDB_MULTI_REMOVE"
	rpcIncr           = "RPC_RRDB_RRDB_INCR"
	rpcCheckAndSet    = "RPC_RRDB_RRDB_CHECK_AND_SET"
	rpcCheckAndMutate = "RPC_RRDB_RRDB_CHECK_AND_MUTATE"
	rpcGet            = "RPC_RRDB_RRDB_GET"
	rpcMultiGet       = "RPC_RRDB_RRDB_MULTI_GET"
	rpcBatchGet       = "RPC_RRDB_RRDB_BATCH_GET"
	rpcSortKeyCount   = "RPC_RRDB_RRDB_SORTKEY_COUNT"
	rpcTTL            = "RPC_RRDB_RRDB_TTL"
	rpcGetScanner     = "RPC_RRDB_RRDB_GET_SCANNER"
	rpcScan           = "RPC_RRDB_RRDB_SCAN"
	rpcClearScanner   = "RPC_RRDB_RRDB_CLEAR_SCANNER"

	rpcQueryConfig     = "RPC_CM_QUERY_PARTITION_CONFIG_BY_INDEX"
	rpcCreateApp       = "RPC_CM_CREATE_APP"
	rpcDropApp         = "RPC_CM_DROP_APP"
	rpcRecallApp       = "RPC_CM_RECALL_APP"
	rpcRenameApp       = "RPC_CM_RENAME_APP"
	rpcListApps        = "RPC_CM_LIST_APPS"
	rpcListNodes       = "RPC_CM_LIST_NODES"
	rpcClusterInfo     = "RPC_CM_CLUSTER_INFO"
	rpcControlMeta     = "RPC_CM_CONTROL_META"
	rpcUpdateAppEnv    = "RPC_CM_UPDATE_APP_ENV"
	rpcProposeBalancer = "RPC_CM_PROPOSE_BALANCER"
	rpcDDDDiagnose     = "RPC_CM_DDD_DIAGNOSE"
	rpcGetReplicaCount = "RPC_CM_GET_MAX_REPLICA_COUNT"
	rpcSetReplicaCount = "RPC_CM_SET_MAX_REPLICA_COUNT"
	rpcRemoteCommand   = "RPC_CLI_CLI_CALL"
	rpcQueryDiskInfo   = "RPC_QUERY_DISK_INFO"
)
