// SPDX-License-Identifier: Apache-2.0

package idl

// The error names of Pegasus, in the order in which the C++ server registers them. The wire
// carries names; the numbers a process gives them mean nothing to others.
const (
	ErrOK                         ErrorCode = "ERR_OK"
	ErrUnknown                    ErrorCode = "ERR_UNKNOWN"
	ErrServiceNotFound            ErrorCode = "ERR_SERVICE_NOT_FOUND"
	ErrServiceAlreadyRunning      ErrorCode = "ERR_SERVICE_ALREADY_RUNNING"
	ErrIOPending                  ErrorCode = "ERR_IO_PENDING"
	ErrTimeout                    ErrorCode = "ERR_TIMEOUT"
	ErrServiceNotActive           ErrorCode = "ERR_SERVICE_NOT_ACTIVE"
	ErrBusy                       ErrorCode = "ERR_BUSY"
	ErrNetworkInitFailed          ErrorCode = "ERR_NETWORK_INIT_FAILED"
	ErrForwardToOthers            ErrorCode = "ERR_FORWARD_TO_OTHERS"
	ErrObjectNotFound             ErrorCode = "ERR_OBJECT_NOT_FOUND"
	ErrHandlerNotFound            ErrorCode = "ERR_HANDLER_NOT_FOUND"
	ErrLearnFileFailed            ErrorCode = "ERR_LEARN_FILE_FAILED"
	ErrGetLearnStateFailed        ErrorCode = "ERR_GET_LEARN_STATE_FAILED"
	ErrInvalidVersion             ErrorCode = "ERR_INVALID_VERSION"
	ErrInvalidParameters          ErrorCode = "ERR_INVALID_PARAMETERS"
	ErrCapacityExceeded           ErrorCode = "ERR_CAPACITY_EXCEEDED"
	ErrInvalidState               ErrorCode = "ERR_INVALID_STATE"
	ErrInactiveState              ErrorCode = "ERR_INACTIVE_STATE"
	ErrNotEnoughMember            ErrorCode = "ERR_NOT_ENOUGH_MEMBER"
	ErrFileOperationFailed        ErrorCode = "ERR_FILE_OPERATION_FAILED"
	ErrHandleEOF                  ErrorCode = "ERR_HANDLE_EOF"
	ErrWrongChecksum              ErrorCode = "ERR_WRONG_CHECKSUM"
	ErrInvalidData                ErrorCode = "ERR_INVALID_DATA"
	ErrInvalidHandle              ErrorCode = "ERR_INVALID_HANDLE"
	ErrIncompleteData             ErrorCode = "ERR_INCOMPLETE_DATA"
	ErrVersionOutdated            ErrorCode = "ERR_VERSION_OUTDATED"
	ErrPathNotFound               ErrorCode = "ERR_PATH_NOT_FOUND"
	ErrPathAlreadyExist           ErrorCode = "ERR_PATH_ALREADY_EXIST"
	ErrAddressAlreadyUsed         ErrorCode = "ERR_ADDRESS_ALREADY_USED"
	ErrStateFreezed               ErrorCode = "ERR_STATE_FREEZED"
	ErrLocalAppFailure            ErrorCode = "ERR_LOCAL_APP_FAILURE"
	ErrBindIOCPFailed             ErrorCode = "ERR_BIND_IOCP_FAILED"
	ErrNetworkStartFailed         ErrorCode = "ERR_NETWORK_START_FAILED"
	ErrNotImplemented             ErrorCode = "ERR_NOT_IMPLEMENTED"
	ErrCheckpointFailed           ErrorCode = "ERR_CHECKPOINT_FAILED"
	ErrWrongTiming                ErrorCode = "ERR_WRONG_TIMING"
	ErrNoNeedOperate              ErrorCode = "ERR_NO_NEED_OPERATE"
	ErrCorruption                 ErrorCode = "ERR_CORRUPTION"
	ErrTryAgain                   ErrorCode = "ERR_TRY_AGAIN"
	ErrClusterNotFound            ErrorCode = "ERR_CLUSTER_NOT_FOUND"
	ErrClusterAlreadyExist        ErrorCode = "ERR_CLUSTER_ALREADY_EXIST"
	ErrServiceAlreadyExist        ErrorCode = "ERR_SERVICE_ALREADY_EXIST"
	ErrInjected                   ErrorCode = "ERR_INJECTED"
	ErrReplicationFailure         ErrorCode = "ERR_REPLICATION_FAILURE"
	ErrAppExist                   ErrorCode = "ERR_APP_EXIST"
	ErrAppNotExist                ErrorCode = "ERR_APP_NOT_EXIST"
	ErrBusyCreating               ErrorCode = "ERR_BUSY_CREATING"
	ErrBusyDropping               ErrorCode = "ERR_BUSY_DROPPING"
	ErrNetworkFailure             ErrorCode = "ERR_NETWORK_FAILURE"
	ErrUnderRecovery              ErrorCode = "ERR_UNDER_RECOVERY"
	ErrLearnerNotFound            ErrorCode = "ERR_LEARNER_NOT_FOUND"
	ErrOperationDisabled          ErrorCode = "ERR_OPERATION_DISABLED"
	ErrExpired                    ErrorCode = "ERR_EXPIRED"
	ErrLockAlreadyExist           ErrorCode = "ERR_LOCK_ALREADY_EXIST"
	ErrHoldByOthers               ErrorCode = "ERR_HOLD_BY_OTHERS"
	ErrRecursiveLock              ErrorCode = "ERR_RECURSIVE_LOCK"
	ErrNoOwner                    ErrorCode = "ERR_NO_OWNER"
	ErrNodeAlreadyExist           ErrorCode = "ERR_NODE_ALREADY_EXIST"
	ErrInconsistentState          ErrorCode = "ERR_INCONSISTENT_STATE"
	ErrArrayIndexOutOfRange       ErrorCode = "ERR_ARRAY_INDEX_OUT_OF_RANGE"
	ErrDirNotEmpty                ErrorCode = "ERR_DIR_NOT_EMPTY"
	ErrFSInternal                 ErrorCode = "ERR_FS_INTERNAL"
	ErrIgnoreBadData              ErrorCode = "ERR_IGNORE_BAD_DATA"
	ErrAppDropped                 ErrorCode = "ERR_APP_DROPPED"
	ErrMockInternal               ErrorCode = "ERR_MOCK_INTERNAL"
	ErrZookeeperOperation         ErrorCode = "ERR_ZOOKEEPER_OPERATION"
	ErrChildRegistered            ErrorCode = "ERR_CHILD_REGISTERED"
	ErrIngestionFailed            ErrorCode = "ERR_INGESTION_FAILED"
	ErrUnauthenticated            ErrorCode = "ERR_UNAUTHENTICATED"
	ErrKRB5Internal               ErrorCode = "ERR_KRB5_INTERNAL"
	ErrSASLInternal               ErrorCode = "ERR_SASL_INTERNAL"
	ErrSASLIncomplete             ErrorCode = "ERR_SASL_INCOMPLETE"
	ErrACLDeny                    ErrorCode = "ERR_ACL_DENY"
	ErrSplitting                  ErrorCode = "ERR_SPLITTING"
	ErrParentPartitionMisused     ErrorCode = "ERR_PARENT_PARTITION_MISUSED"
	ErrChildNotReady              ErrorCode = "ERR_CHILD_NOT_READY"
	ErrDiskInsufficient           ErrorCode = "ERR_DISK_INSUFFICIENT"
	ErrRetryExhausted             ErrorCode = "ERR_RETRY_EXHAUSTED"
	ErrSyncRangerPoliciesFailed   ErrorCode = "ERR_SYNC_RANGER_POLICIES_FAILED"
	ErrRangerParseACL             ErrorCode = "ERR_RANGER_PARSE_ACL"
	ErrRangerPoliciesNoNeedUpdate ErrorCode = "ERR_RANGER_POLICIES_NO_NEED_UPDATE"
	ErrRDBCorruption              ErrorCode = "ERR_RDB_CORRUPTION"
	ErrDiskIOError                ErrorCode = "ERR_DISK_IO_ERROR"
	ErrCurlFailed                 ErrorCode = "ERR_CURL_FAILED"
	ErrDupExist                   ErrorCode = "ERR_DUP_EXIST"
	ErrHTTPError                  ErrorCode = "ERR_HTTP_ERROR"
	ErrNotMatched                 ErrorCode = "ERR_NOT_MATCHED"
)

// errorCodes holds every name above, so that decoding a known one allocates nothing.
var errorCodes = func() map[string]ErrorCode {
	m := make(map[string]ErrorCode, len(errorNames))
	for _, e := range errorNames {
		m[string(e)] = e
	}
	return m
}()

var errorNames = [...]ErrorCode{
	ErrOK,
	ErrUnknown,
	ErrServiceNotFound,
	ErrServiceAlreadyRunning,
	ErrIOPending,
	ErrTimeout,
	ErrServiceNotActive,
	ErrBusy,
	ErrNetworkInitFailed,
	ErrForwardToOthers,
	ErrObjectNotFound,
	ErrHandlerNotFound,
	ErrLearnFileFailed,
	ErrGetLearnStateFailed,
	ErrInvalidVersion,
	ErrInvalidParameters,
	ErrCapacityExceeded,
	ErrInvalidState,
	ErrInactiveState,
	ErrNotEnoughMember,
	ErrFileOperationFailed,
	ErrHandleEOF,
	ErrWrongChecksum,
	ErrInvalidData,
	ErrInvalidHandle,
	ErrIncompleteData,
	ErrVersionOutdated,
	ErrPathNotFound,
	ErrPathAlreadyExist,
	ErrAddressAlreadyUsed,
	ErrStateFreezed,
	ErrLocalAppFailure,
	ErrBindIOCPFailed,
	ErrNetworkStartFailed,
	ErrNotImplemented,
	ErrCheckpointFailed,
	ErrWrongTiming,
	ErrNoNeedOperate,
	ErrCorruption,
	ErrTryAgain,
	ErrClusterNotFound,
	ErrClusterAlreadyExist,
	ErrServiceAlreadyExist,
	ErrInjected,
	ErrReplicationFailure,
	ErrAppExist,
	ErrAppNotExist,
	ErrBusyCreating,
	ErrBusyDropping,
	ErrNetworkFailure,
	ErrUnderRecovery,
	ErrLearnerNotFound,
	ErrOperationDisabled,
	ErrExpired,
	ErrLockAlreadyExist,
	ErrHoldByOthers,
	ErrRecursiveLock,
	ErrNoOwner,
	ErrNodeAlreadyExist,
	ErrInconsistentState,
	ErrArrayIndexOutOfRange,
	ErrDirNotEmpty,
	ErrFSInternal,
	ErrIgnoreBadData,
	ErrAppDropped,
	ErrMockInternal,
	ErrZookeeperOperation,
	ErrChildRegistered,
	ErrIngestionFailed,
	ErrUnauthenticated,
	ErrKRB5Internal,
	ErrSASLInternal,
	ErrSASLIncomplete,
	ErrACLDeny,
	ErrSplitting,
	ErrParentPartitionMisused,
	ErrChildNotReady,
	ErrDiskInsufficient,
	ErrRetryExhausted,
	ErrSyncRangerPoliciesFailed,
	ErrRangerParseACL,
	ErrRangerPoliciesNoNeedUpdate,
	ErrRDBCorruption,
	ErrDiskIOError,
	ErrCurlFailed,
	ErrDupExist,
	ErrHTTPError,
	ErrNotMatched,
}

// InternErrorCode returns the code named by b without allocating when the name is known.
func InternErrorCode(b []byte) ErrorCode {
	if e, ok := errorCodes[string(b)]; ok {
		return e
	}
	return ErrorCode(b)
}

// ParseErrorCode returns the code with the given name; ok is false for names Pegasus does not
// have.
func ParseErrorCode(name string) (code ErrorCode, ok bool) {
	code, ok = errorCodes[name]
	return code, ok
}

// SafeTransport returns e if every known client can parse it as the error of a whole response,
// and the nearest name they all know otherwise. A name outside a client's table ends the session
// in Go, closes the connection in Java and raises KeyError in Python, so responses carry nothing
// else. The empty code is ErrOK.
func SafeTransport(e ErrorCode) ErrorCode {
	switch e {
	case "":
		return ErrOK
	case ErrDiskIOError, ErrRDBCorruption, ErrLearnerNotFound:
		// The replica is going away: clients refresh their routes and try again.
		return ErrInvalidState
	case ErrRetryExhausted:
		return ErrTimeout
	case ErrDirNotEmpty, ErrFSInternal, ErrIgnoreBadData, ErrMockInternal, ErrSyncRangerPoliciesFailed,
		ErrRangerParseACL, ErrRangerPoliciesNoNeedUpdate, ErrCurlFailed, ErrDupExist, ErrHTTPError, ErrNotMatched:
		return ErrUnknown
	}
	if _, ok := errorCodes[string(e)]; !ok {
		return ErrUnknown
	}
	return e
}
