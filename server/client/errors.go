// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// Conditions a caller decides on. An [*Error] matches them with errors.Is.
var (
	// ErrNotFound: there is no such record, or it has expired.
	ErrNotFound = errors.New("not found")
	// ErrTableNotFound: the cluster has no table of that name, or it was dropped.
	ErrTableNotFound = errors.New("table not found")
	// ErrInvalidArgument: the server refused the operation as meaningless, for example Incr on
	// a value that is no number or a MultiSet without pairs. Nothing was changed.
	ErrInvalidArgument = errors.New("invalid argument")
	// ErrNoPrimary: the partition has no primary at present. It usually gets one within the
	// failure detector's grace period.
	ErrNoPrimary = errors.New("the partition has no primary")
	// ErrTableSplit: the number of partitions changed under a running scan; start it again.
	ErrTableSplit = errors.New("the table was split during the scan")
	// ErrClosed: the Cluster was closed.
	ErrClosed = errors.New("client is closed")
)

// A Status is the result a replica reports in the body of a data operation. The numbers are
// those of RocksDB, because they stand on the wire.
type Status int32

// The statuses there are. In normal operation only OK, NotFound, InvalidArgument, Incomplete and
// TryAgain occur.
const (
	StatusOK                 Status = 0
	StatusNotFound           Status = 1
	StatusCorruption         Status = 2
	StatusNotSupported       Status = 3
	StatusInvalidArgument    Status = 4
	StatusIOError            Status = 5
	StatusMergeInProgress    Status = 6
	StatusIncomplete         Status = 7 // limits were reached before the end of the range
	StatusShutdownInProgress Status = 8
	StatusTimedOut           Status = 9
	StatusAborted            Status = 10
	StatusBusy               Status = 11
	StatusExpired            Status = 12
	StatusTryAgain           Status = 13 // the check of a check-and-write did not pass
)

// String names the status in words.
func (s Status) String() string {
	switch s {
	case StatusOK:
		return "ok"
	case StatusNotFound:
		return "not found"
	case StatusCorruption:
		return "corruption"
	case StatusNotSupported:
		return "not supported"
	case StatusInvalidArgument:
		return "invalid argument"
	case StatusIOError:
		return "io error"
	case StatusMergeInProgress:
		return "merge in progress"
	case StatusIncomplete:
		return "incomplete"
	case StatusShutdownInProgress:
		return "shutdown in progress"
	case StatusTimedOut:
		return "rocksdb time out"
	case StatusAborted:
		return "aborted"
	case StatusBusy:
		return "busy"
	case StatusExpired:
		return "expired"
	case StatusTryAgain:
		return "check not passed"
	}
	return fmt.Sprintf("rocksdb status %d", int32(s))
}

// An Error tells which operation failed, on what, and how.
type Error struct {
	Op     string   // what was attempted, in words: "set", "create table"
	Table  string   // "" when no table is concerned
	GPID   idl.GPID // the partition, when known (AppID > 0)
	Server string   // "ip:port" of the server that failed or refused, when one was asked
	// Code is the error name from the wire, of the transport or of a meta server's answer;
	// ERR_TIMEOUT and ERR_NETWORK_FAILURE also arise in the client. "" when Status tells.
	Code   idl.ErrorCode
	Status Status // a replica's verdict on a data operation; StatusOK when Code tells
	Hint   string // the server's own explanation, when it gave one
	// Ambiguous says that the operation may have been executed, or may still be: it was sent
	// and no answer came.
	Ambiguous bool
	Attempts  int   // how often it was sent before giving up
	Err       error // the cause below, or one of the conditions of this package
}

// Error reads like "set on table temp, partition 2.3 at 10.0.0.5:34801: ERR_BUSY".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Table != "" {
		b.WriteString(" on table " + e.Table)
	}
	if e.GPID.AppID > 0 {
		b.WriteString(", partition " + e.GPID.String())
	}
	if e.Server != "" {
		b.WriteString(" at " + e.Server)
	}
	b.WriteString(": ")
	switch {
	case e.Status != StatusOK:
		b.WriteString(e.Status.String())
	case e.Code != "":
		b.WriteString(string(e.Code))
		if e.Err != nil && e.Err != error(e.Code) {
			b.WriteString(": " + e.Err.Error())
		}
	case e.Err != nil:
		b.WriteString(e.Err.Error())
	default:
		b.WriteString("failed")
	}
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&b, "; gave up after %d attempts", e.Attempts)
	}
	if e.Ambiguous {
		b.WriteString("; it may have been executed")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is matches the error's code and the conditions of this package.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.Status == StatusNotFound
	case ErrInvalidArgument:
		return e.Status == StatusInvalidArgument || e.Code == idl.ErrInvalidParameters
	case context.DeadlineExceeded:
		return e.Code == idl.ErrTimeout
	}
	code, ok := target.(idl.ErrorCode)
	return ok && e.Code == code
}

// CodeOf returns the error name in err: ERR_OK for nil, the code of an [*Error] or of a bare
// error name, and ERR_UNKNOWN when there is none.
func CodeOf(err error) idl.ErrorCode {
	if err == nil {
		return idl.ErrOK
	}
	var e *Error
	if errors.As(err, &e) && e.Code != "" {
		return e.Code
	}
	var code idl.ErrorCode
	if errors.As(err, &code) {
		return code
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return idl.ErrTimeout
	}
	return idl.ErrUnknown
}

// fate says what an error name means for the attempt that met it.
type fate struct {
	refresh     bool // the cached configuration is suspect
	notExecuted bool // the server surely did not execute the request
	transient   bool // another attempt may succeed
}

// fates lists the error names whose meaning is known. For every other name the outcome of a
// write is unknown and another attempt is pointless.
var fates = map[idl.ErrorCode]fate{
	idl.ErrObjectNotFound:         {refresh: true, notExecuted: true, transient: true},
	idl.ErrInvalidState:           {refresh: true, notExecuted: true, transient: true},
	idl.ErrInactiveState:          {refresh: true, notExecuted: true, transient: true},
	idl.ErrParentPartitionMisused: {refresh: true, notExecuted: true, transient: true},
	idl.ErrServiceNotActive:       {notExecuted: true, transient: true},
	idl.ErrSplitting:              {notExecuted: true, transient: true},
	idl.ErrBusy:                   {notExecuted: true, transient: true},
	idl.ErrCapacityExceeded:       {notExecuted: true, transient: true},
	idl.ErrNotEnoughMember:        {refresh: true, notExecuted: true, transient: true},
	idl.ErrTimeout:                {refresh: true, transient: true},
	idl.ErrNetworkFailure:         {refresh: true, transient: true},
	idl.ErrHandlerNotFound:        {notExecuted: true},
	idl.ErrInvalidData:            {notExecuted: true},
	idl.ErrInvalidParameters:      {notExecuted: true},
	idl.ErrOperationDisabled:      {notExecuted: true},
	idl.ErrACLDeny:                {notExecuted: true},
	idl.ErrUnauthenticated:        {notExecuted: true},
	idl.ErrDiskInsufficient:       {notExecuted: true},
}

// fateOf judges a failed attempt. The code is ERR_UNKNOWN when err carries none.
func fateOf(err error) (idl.ErrorCode, fate) {
	code := CodeOf(err)
	f := fates[code]
	if wire.NotSent(err) {
		f.notExecuted = true
	}
	return code, f
}
