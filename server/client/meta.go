// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// leaderTrust is how long a server that answered as leader is believed to lead when something is
// to be changed. It is below the time in which the loss of a leader can be noticed and replaced.
const leaderTrust = 3 * time.Second

// metaList knows the meta servers and guesses which of them leads.
type metaList struct {
	mu     sync.Mutex
	addrs  []idl.RPCAddress
	cur    int       // index of the guess
	proven time.Time // when the guess last answered as leader
}

func (m *metaList) all() []idl.RPCAddress {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.addrs)
}

func (m *metaList) guess() (addr idl.RPCAddress, trusted bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.addrs[m.cur], !m.proven.IsZero() && time.Since(m.proven) < leaderTrust
}

func (m *metaList) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.addrs)
}

// leads records that addr answered as the leader does.
func (m *metaList) leads(addr idl.RPCAddress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.addrs, addr); i >= 0 {
		m.cur, m.proven = i, time.Now()
	}
}

// pass records that addr does not lead: forward does if it is set, else the next one is guessed,
// unless another goroutine has moved the guess on already.
func (m *metaList) pass(addr, forward idl.RPCAddress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.addrs[m.cur] != addr {
		return
	}
	m.proven = time.Time{}
	if forward.IsZero() || forward == addr {
		m.cur = (m.cur + 1) % len(m.addrs)
		return
	}
	i := slices.Index(m.addrs, forward)
	if i < 0 {
		i = len(m.addrs)
		m.addrs = append(m.addrs, forward)
	}
	m.cur = i
}

// A metaCall is one request to the meta leader.
type metaCall struct {
	op     string // in words, for errors
	table  string
	rpc    string
	arg    idl.Value
	result idl.Decoder
	// verdict reads the error and the explanation out of the decoded result.
	verdict func() (idl.ErrorCode, string)
	// repeatable says that executing the call twice does no harm.
	repeatable bool
	// trouble, when set, is told of each attempt that came to nothing, for those who give up
	// before the call does, and nil once the leader answers.
	trouble func(*metaTrouble)
}

// A metaTrouble is why a meta server was asked in vain.
type metaTrouble struct {
	server idl.RPCAddress
	code   idl.ErrorCode
	err    error // nil when the server answered
}

// Error reads like "meta server 10.0.0.1:34601: connection refused".
func (m *metaTrouble) Error() string {
	var why string
	var errno syscall.Errno
	switch {
	case errors.As(m.err, &errno):
		why = errno.Error()
	case m.code == idl.ErrTimeout:
		why = "no answer"
	case m.code == idl.ErrForwardToOthers:
		why = "it does not lead"
	case m.code == idl.ErrServiceNotActive:
		why = "it does not serve yet"
	case m.err != nil:
		why = m.err.Error()
	default:
		why = string(m.code)
	}
	return fmt.Sprintf("meta server %s: %s", m.server, why)
}

func (m *metaTrouble) Unwrap() error { return m.err }

// fail makes the error of a meta call.
func (mc *metaCall) fail(server idl.RPCAddress, code idl.ErrorCode, attempts int, err error) *Error {
	e := &Error{Op: mc.op, Table: mc.table, Code: code, Attempts: attempts, Err: err}
	if !server.IsZero() {
		e.Server = server.String()
	}
	return e
}

// meta sends mc to the leader, looking for it as long as there is time. A call that is not
// repeatable is sent only to a server that has just answered as leader, and is given all the
// time that is left; a repeatable one wanders on when a server does not answer.
func (c *Cluster) meta(ctx context.Context, mc *metaCall) error {
	var (
		deadline = c.deadline(ctx)
		pace     backoff
		patience = c.opts.MetaTimeout
		last     *Error
		asked    int  // since the last pause
		probe    bool // ask the follower that answered where the leader is
	)
	for attempt := 1; ; attempt++ {
		if err := context.Cause(ctx); err != nil {
			return c.metaGaveUp(mc, last, attempt-1, err)
		}
		if !time.Now().Before(deadline) {
			return c.metaGaveUp(mc, last, attempt-1, context.DeadlineExceeded)
		}
		addr, trusted := c.metas.guess()
		call, once := mc, false
		switch {
		case probe || !mc.repeatable && !trusted:
			call, probe = probeCall(), false
		case !mc.repeatable:
			once = true
		}
		limit := deadline
		if !once {
			limit = earlier(deadline, time.Now().Add(patience))
		}
		err := c.peers.Call(&until{ctx, limit}, addr, wire.Call{Name: call.rpc, Arg: call.arg, Result: call.result})
		code, hint := idl.ErrOK, ""
		var forward idl.RPCAddress
		if err == nil {
			code, hint = call.verdict()
			forward = forwardAddress(code, call.result)
		} else {
			code = CodeOf(err)
		}
		switch {
		case mc.trouble == nil:
		case err == nil && leaderAnswer(code):
			mc.trouble(nil)
		default:
			mc.trouble(&metaTrouble{addr, code, err})
		}
		switch {
		case err == nil && call != mc && leaderAnswer(code):
			c.metas.leads(addr)
			asked = 0
			continue // now the call itself
		case err == nil && leaderAnswer(code):
			c.metas.leads(addr)
			if code.OK() {
				return nil
			}
			last = mc.fail(addr, code, attempt, nil)
			last.Attempts, last.Hint = 0, hint
			return last
		case err == nil && code == idl.ErrForwardToOthers:
			last = mc.fail(addr, code, attempt, nil)
			if call.rpc != idl.RPCQueryConfig {
				probe = true // only that answer has room for the leader's address
				continue
			}
			c.metas.pass(addr, forward)
		case err == nil: // it leads and does not serve yet
			last = mc.fail(addr, code, attempt, nil)
			asked = c.metas.count()
		case once && !wire.NotSent(err) && (code == idl.ErrTimeout || code == idl.ErrNetworkFailure):
			c.metas.pass(addr, 0)
			last = mc.fail(addr, code, attempt, err)
			last.Ambiguous = true
			return last
		case code == idl.ErrTimeout || code == idl.ErrNetworkFailure || code == idl.ErrForwardToOthers:
			last = mc.fail(addr, code, attempt, err)
			c.metas.pass(addr, 0)
		default: // refused by name, or an answer that makes no sense
			return mc.fail(addr, code, 0, err)
		}
		if asked++; asked >= c.metas.count() {
			asked = 0
			patience = min(2*patience, c.opts.Timeout)
			if !pace.wait(ctx, deadline) {
				return c.metaGaveUp(mc, last, attempt, context.Cause(ctx))
			}
		}
	}
}

func (c *Cluster) metaGaveUp(mc *metaCall, last *Error, attempts int, cause error) error {
	if last == nil {
		code := idl.ErrorCode("")
		if cause == context.DeadlineExceeded {
			code = idl.ErrTimeout
		}
		return mc.fail(0, code, 0, cause)
	}
	last.Attempts = attempts
	if last.Code == idl.ErrForwardToOthers && last.Err == nil {
		last.Err = fmt.Errorf("none of the meta servers %v leads", c.metas.all())
	}
	if cause != nil && last.Err == nil {
		last.Err = cause
	}
	return last
}

// leaderAnswer reports whether a body error comes from a leader that is at work, so that it is
// the answer to the question and not a reason to ask elsewhere.
func leaderAnswer(code idl.ErrorCode) bool {
	return code != idl.ErrForwardToOthers && code != idl.ErrServiceNotActive
}

// forwardAddress is the leader a query_cfg answer of a follower points to.
func forwardAddress(code idl.ErrorCode, result idl.Decoder) idl.RPCAddress {
	cfg, ok := result.(*idl.QueryCfgResponse)
	if !ok || code != idl.ErrForwardToOthers || len(cfg.Partitions) == 0 {
		return 0
	}
	return cfg.Partitions[0].Primary
}

// probeCall asks for the configuration of a table that cannot exist. Only a leader says so; a
// follower names the leader.
func probeCall() *metaCall {
	var resp idl.QueryCfgResponse
	return &metaCall{
		rpc: idl.RPCQueryConfig, arg: &idl.QueryCfgRequest{}, result: &resp,
		verdict: func() (idl.ErrorCode, string) { return resp.Err, "" },
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
