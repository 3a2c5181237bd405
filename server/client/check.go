// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// A Check is the condition of CheckAndSet and CheckAndMutate: it looks at one record of the hash
// key. Type says how, with the zero value passing always; Operand is what the value is compared
// to. A record that does not exist passes only the types that ask for that.
type Check struct {
	SortKey []byte
	Type    idl.CasCheckType
	Operand []byte
	// Return asks for the value that was looked at.
	Return bool
}

// A CheckResult says how a conditional write went.
type CheckResult struct {
	Written bool // the check passed and the write was done
	// The value that was looked at, if Check.Return was set: whether there was one, and it.
	Exist bool
	Value []byte
}

// CheckAndSet stores value under sortKey if check passes, atomically. ttl is as for Set. That
// the check did not pass is no error. A comparison of integers with a value that is none fails
// with ErrInvalidArgument.
func (t *Table) CheckAndSet(ctx context.Context, hashKey []byte, check Check, sortKey, value []byte, ttl time.Duration) (CheckResult, error) {
	const name = "check_and_set"
	at, err := expiry(ttl)
	if err == nil {
		err = checkHashKey(hashKey)
	}
	if err != nil {
		return CheckResult{}, t.badArgument(name, err)
	}
	req := idl.CheckAndSetRequest{
		HashKey: hashKey, CheckSortKey: check.SortKey, CheckType: check.Type, CheckOperand: check.Operand,
		SetDiffSortKey: string(sortKey) != string(check.SortKey), SetSortKey: sortKey,
		SetValue: value, SetExpireTsSeconds: at, ReturnCheckValue: check.Return,
	}
	var resp idl.CheckAndSetResponse
	if _, err := t.do(ctx, op{name: name, rpc: idl.RPCCheckAndSet, hash: multiHash(hashKey)}, &req, &resp); err != nil {
		return CheckResult{}, err
	}
	err = t.settle(ctx, name, resp.Error, resp.AppID, resp.PartitionIndex, resp.Decree, resp.Server)
	return checkResult(resp.Error, resp.CheckValueExist, resp.CheckValue, err)
}

// A Mutation is one of the writes of CheckAndMutate.
type Mutation struct {
	Delete         bool // remove the record; Value and TTL do not count
	SortKey, Value []byte
	TTL            time.Duration // as for Set
}

// CheckAndMutate does all mutations, in order and atomically, if check passes. It fails with
// ErrInvalidArgument when there are none, and otherwise is like CheckAndSet.
func (t *Table) CheckAndMutate(ctx context.Context, hashKey []byte, check Check, mutations []Mutation) (CheckResult, error) {
	const name = "check_and_mutate"
	if err := checkHashKey(hashKey); err != nil {
		return CheckResult{}, t.badArgument(name, err)
	}
	req := idl.CheckAndMutateRequest{
		HashKey: hashKey, CheckSortKey: check.SortKey, CheckType: check.Type, CheckOperand: check.Operand,
		MutateList: make([]idl.Mutate, len(mutations)), ReturnCheckValue: check.Return,
	}
	for i, m := range mutations {
		at, err := expiry(m.TTL)
		if err != nil {
			return CheckResult{}, t.badArgument(name, err)
		}
		req.MutateList[i] = idl.Mutate{Operation: idl.MoPut, SortKey: m.SortKey, Value: m.Value, SetExpireTsSeconds: at}
		if m.Delete {
			req.MutateList[i] = idl.Mutate{Operation: idl.MoDelete, SortKey: m.SortKey}
		}
	}
	var resp idl.CheckAndMutateResponse
	if _, err := t.do(ctx, op{name: name, rpc: idl.RPCCheckAndMutate, hash: multiHash(hashKey)}, &req, &resp); err != nil {
		return CheckResult{}, err
	}
	err := t.settle(ctx, name, resp.Error, resp.AppID, resp.PartitionIndex, resp.Decree, resp.Server)
	return checkResult(resp.Error, resp.CheckValueExist, resp.CheckValue, err)
}

func checkResult(status int32, exist bool, value []byte, err error) (CheckResult, error) {
	r := CheckResult{Written: status == 0, Exist: exist, Value: value}
	if Status(status) == StatusTryAgain {
		err = nil
	}
	return r, err
}
