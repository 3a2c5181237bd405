// SPDX-License-Identifier: Apache-2.0

package idl

import "strconv"

// Storage statuses: the error field of every answer to a data operation. They are the status
// codes of RocksDB; the operations of this system produce StatusOK, StatusNotFound,
// StatusInvalidArgument, StatusIncomplete and StatusTryAgain.
const (
	StatusOK                 = 0
	StatusNotFound           = 1 // no such record, or no such scanner
	StatusCorruption         = 2
	StatusNotSupported       = 3
	StatusInvalidArgument    = 4 // request that cannot be served, or not a number
	StatusIOError            = 5
	StatusMergeInProgress    = 6
	StatusIncomplete         = 7 // a limit was reached before the end of the range
	StatusShutdownInProgress = 8
	StatusTimedOut           = 9
	StatusAborted            = 10
	StatusBusy               = 11
	StatusExpired            = 12
	StatusTryAgain           = 13 // the check of check_and_set or check_and_mutate failed
)

var statusNames = [...]string{"ok", "not found", "corruption", "not supported", "invalid argument",
	"i/o error", "merge in progress", "incomplete", "shutdown in progress", "timed out", "aborted",
	"busy", "expired", "try again"}

// StatusText names a storage status for messages.
func StatusText(status int32) string {
	if status >= 0 && int(status) < len(statusNames) {
		return statusNames[status]
	}
	return "status " + strconv.Itoa(int(status))
}
