// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// stored is what a write finds under a key.
type stored struct {
	exist    bool // and not expired
	expireTS uint32
	value    [2]int // bounds of the value in applier.values
}

// read looks a data key up as the writes before this one left it. The value is copied to
// a.values.
func (a *applier) read(key []byte) (s stored, err error) {
	var v []byte
	var closer io.Closer
	if a.indexed {
		v, closer, err = a.batch.Get(key)
	} else {
		v, closer, err = a.pdb.Get(key)
	}
	if errors.Is(err, pebble.ErrNotFound) {
		return stored{}, nil
	}
	if err != nil {
		return stored{}, classify(a.dir, err)
	}
	if expireTS, data, ok := splitValue(v); ok && !expired(expireTS, a.now) {
		start := len(a.values)
		a.values = append(a.values, data...)
		s = stored{exist: true, expireTS: expireTS, value: [2]int{start, len(a.values)}}
	}
	return s, closer.Close()
}

func (a *applier) valueOf(s stored) []byte { return a.values[s.value[0]:s.value[1]] }

// executeIncr adds to a number kept as decimal text. What does not exist or is empty counts as 0.
func (a *applier) executeIncr(w Write) (result, error) {
	q := &a.incr
	if _, err := q.Decode(w.Arg); err != nil || !validRawKey(q.Key) {
		return invalid(w.Code), nil
	}
	a.keyBuf = appendRawKey(a.keyBuf[:0], q.Key)
	old, err := a.read(a.keyBuf)
	if err != nil {
		return result{}, err
	}
	var n int64
	if v := a.valueOf(old); len(v) > 0 {
		var ok bool
		if n, ok = parseInt(v); !ok {
			return invalid(w.Code), nil
		}
	}
	sum, ok := addInt(n, q.Increment)
	if !ok {
		return result{code: w.Code, status: idl.StatusInvalidArgument, n: n}, nil
	}
	expireTS := old.expireTS
	switch {
	case q.ExpireTsSeconds > 0:
		expireTS = uint32(q.ExpireTsSeconds)
	case q.ExpireTsSeconds < 0:
		expireTS = 0
	}
	var text [20]byte
	return result{code: w.Code, n: sum},
		a.setRaw(q.Key, strconv.AppendInt(text[:0], sum, 10), a.expiry(int32(expireTS)))
}

// executeCheckAndSet writes one record if the check on another, or the same, passes.
func (a *applier) executeCheckAndSet(w Write) (result, error) {
	q := &a.cas
	if _, err := q.Decode(w.Arg); err != nil || !validCheck(q.CheckType) || len(q.HashKey) > maxHashKey {
		return invalid(w.Code), nil
	}
	r, err := a.runCheck(w.Code, q.HashKey, q.CheckSortKey, q.CheckType, q.CheckOperand, q.ReturnCheckValue)
	if err != nil || r.status != idl.StatusOK {
		return r, err
	}
	sortKey := q.CheckSortKey
	if q.SetDiffSortKey {
		sortKey = q.SetSortKey
	}
	return r, a.set(q.HashKey, sortKey, q.SetValue, a.expiry(q.SetExpireTsSeconds))
}

// executeCheckAndMutate applies a list of puts and deletes if the check passes.
func (a *applier) executeCheckAndMutate(w Write) (result, error) {
	q := &a.mutate
	if _, err := q.Decode(w.Arg); err != nil || !validCheck(q.CheckType) || len(q.HashKey) > maxHashKey ||
		len(q.MutateList) == 0 {
		return invalid(w.Code), nil
	}
	for i := range q.MutateList {
		if op := q.MutateList[i].Operation; op != idl.MoPut && op != idl.MoDelete {
			return invalid(w.Code), nil
		}
	}
	r, err := a.runCheck(w.Code, q.HashKey, q.CheckSortKey, q.CheckType, q.CheckOperand, q.ReturnCheckValue)
	if err != nil || r.status != idl.StatusOK {
		return r, err
	}
	for i := range q.MutateList {
		m := &q.MutateList[i]
		if m.Operation == idl.MoPut {
			err = a.set(q.HashKey, m.SortKey, m.Value, a.expiry(m.SetExpireTsSeconds))
		} else {
			err = a.delete(q.HashKey, m.SortKey)
		}
		if err != nil {
			return result{}, err
		}
	}
	return r, nil
}

func validCheck(t idl.CasCheckType) bool { return t >= idl.CtNoCheck && t <= idl.CtValueIntGreater }

// runCheck reads the record and judges it. The result says whether the writes may follow
// (StatusOK) and carries the value when it is wanted.
func (a *applier) runCheck(code WriteCode, hashKey, sortKey []byte, t idl.CasCheckType, operand []byte, wanted bool) (result, error) {
	a.keyBuf = appendKey(a.keyBuf[:0], hashKey, sortKey)
	s, err := a.read(a.keyBuf)
	if err != nil {
		return result{}, err
	}
	r := result{code: code, status: checkValue(t, operand, s.exist, a.valueOf(s))}
	if wanted {
		r.returned, r.exist, r.check = true, s.exist, s.value
	}
	return r, nil
}

// checkValue judges a value: StatusOK when the check passes, StatusTryAgain when it does not,
// StatusInvalidArgument when integers were to be compared and one is none. What does not exist
// passes no comparison, whatever the operand.
func checkValue(t idl.CasCheckType, operand []byte, exist bool, value []byte) int32 {
	pass := false
	switch t {
	case idl.CtNoCheck:
		pass = true
	case idl.CtValueNotExist:
		pass = !exist
	case idl.CtValueNotExistOrEmpty:
		pass = !exist || len(value) == 0
	case idl.CtValueExist:
		pass = exist
	case idl.CtValueNotEmpty:
		pass = exist && len(value) > 0
	case idl.CtValueMatchAnywhere, idl.CtValueMatchPrefix, idl.CtValueMatchPostfix:
		pass = exist && matches(idl.FilterType(t-idl.CtValueMatchAnywhere)+idl.FtMatchAnywhere, operand, value)
	case idl.CtValueBytesLess, idl.CtValueBytesLessOrEqual, idl.CtValueBytesEqual,
		idl.CtValueBytesGreaterOrEqual, idl.CtValueBytesGreater:
		pass = exist && ordered(t-idl.CtValueBytesLess, bytes.Compare(value, operand))
	case idl.CtValueIntLess, idl.CtValueIntLessOrEqual, idl.CtValueIntEqual,
		idl.CtValueIntGreaterOrEqual, idl.CtValueIntGreater:
		if !exist {
			break
		}
		v, ok1 := parseInt(value)
		o, ok2 := parseInt(operand)
		if !ok1 || !ok2 {
			return idl.StatusInvalidArgument
		}
		pass = ordered(t-idl.CtValueIntLess, compareInt(v, o))
	}
	if pass {
		return idl.StatusOK
	}
	return idl.StatusTryAgain
}

func compareInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// ordered reports whether a comparison result satisfies the relation numbered from 0: less,
// less or equal, equal, greater or equal, greater.
func ordered(relation idl.CasCheckType, c int) bool {
	switch relation {
	case 0:
		return c < 0
	case 1:
		return c <= 0
	case 2:
		return c == 0
	case 3:
		return c >= 0
	}
	return c > 0
}

// matches reports whether s passes a filter. An empty pattern matches everything.
func matches(t idl.FilterType, pattern, s []byte) bool {
	switch {
	case len(pattern) == 0 || t == idl.FtNoFilter:
		return true
	case t == idl.FtMatchAnywhere:
		return bytes.Contains(s, pattern)
	case t == idl.FtMatchPrefix:
		return bytes.HasPrefix(s, pattern)
	case t == idl.FtMatchPostfix:
		return bytes.HasSuffix(s, pattern)
	}
	return false
}

func validFilter(t idl.FilterType) bool { return t >= idl.FtNoFilter && t <= idl.FtMatchPostfix }
