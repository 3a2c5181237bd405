// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/pegasus-ops/pegasus-ops/server/client"
	"github.com/pegasus-ops/pegasus-ops/server/idl"
)

// What a client did to one record. Every record is checked by itself: linearizability is local.
type input struct {
	key  int
	op   opKind
	arg  string // what to write
	want string // for cas: what must be there
}

type opKind uint8

const (
	opGet opKind = iota
	opSet
	opDel
	opIncr
	opCas
)

// output is what the client was told. An unknown outcome may have happened at any later time,
// or never.
type output struct {
	unknown bool
	value   string // read, or the new value of incr; "" means no record
	done    bool   // for cas: the check passed
}

// model is a register that may be empty.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[int][]porcupine.Operation{}
		for _, op := range history {
			k := op.Input.(input).key
			byKey[k] = append(byKey[k], op)
		}
		var out [][]porcupine.Operation
		for _, ops := range byKey {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		s, i, o := state.(string), in.(input), out.(output)
		switch i.op {
		case opGet:
			return o.unknown || o.value == s, s
		case opSet:
			return true, i.arg
		case opDel:
			return true, ""
		case opIncr:
			n, _ := strconv.Atoi(s)
			next := strconv.Itoa(n + 1)
			return o.unknown || o.value == next, next
		case opCas:
			if s != i.want {
				return o.unknown || !o.done, s
			}
			return o.unknown || o.done, i.arg
		}
		return false, s
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(in, out any) string {
		i, o := in.(input), out.(output)
		name := [...]string{"get", "set", "del", "incr", "cas"}[i.op]
		return fmt.Sprintf("%s(%d, %q if %q) = %+v", name, i.key, i.arg, i.want, o)
	},
}

// A recorder collects what all clients did.
type recorder struct {
	mu    sync.Mutex
	ops   []porcupine.Operation
	start time.Time
	known int // operations with a known outcome
}

const never = int64(1) << 62

func (r *recorder) add(client int, in input, out output, call time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ret := int64(time.Since(r.start))
	if out.unknown {
		if in.op == opGet {
			return // says nothing
		}
		ret = never
	} else {
		r.known++
	}
	r.ops = append(r.ops, porcupine.Operation{
		ClientId: client, Input: in, Output: out,
		Call: int64(call.Sub(r.start)), Return: ret,
	})
}

const keys = 24 // of which every third is only counted up

// workload runs one client until ctx ends.
func (r *recorder) workload(ctx context.Context, id int, t *client.Table, rng *rand.Rand) {
	for n := 0; ctx.Err() == nil; n++ {
		k := rng.IntN(keys)
		in := input{key: k}
		hash, sort := fmt.Appendf(nil, "key-%d", k), []byte("s")
		one, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		call := time.Now()
		var out output
		var err error
		mine := fmt.Sprintf("%d-%d", id, n)
		kind := rng.IntN(10)
		switch {
		case kind < 4:
			in.op = opGet
			out.value, err = get(one, t, hash, sort)
		case k%3 == 0:
			in.op = opIncr
			var v int64
			v, err = t.Incr(one, hash, sort, 1, 0)
			out.value = strconv.FormatInt(v, 10)
		case kind < 8:
			in.op, in.arg = opSet, mine
			err = t.Set(one, hash, sort, []byte(mine), 0)
		case kind < 9:
			in.op = opDel
			err = t.Del(one, hash, sort)
		default:
			// Swap what was there a moment ago.
			in.op, in.arg = opCas, mine
			if in.want, err = get(one, t, hash, sort); err != nil || in.want == "" {
				cancel()
				continue
			}
			call = time.Now()
			var res client.CheckResult
			res, err = t.CheckAndSet(one, hash, client.Check{SortKey: sort, Type: idl.CtValueBytesEqual, Operand: []byte(in.want)}, sort, []byte(mine), 0)
			out.done = res.Written
		}
		cancel()
		out.unknown = err != nil
		r.add(id, in, out, call)
		time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
	}
}

func get(ctx context.Context, t *client.Table, hash, sort []byte) (string, error) {
	b, err := t.Get(ctx, hash, sort)
	if errors.Is(err, client.ErrNotFound) {
		return "", nil
	}
	return string(b), err
}
