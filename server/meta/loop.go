// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"sync"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/wire"
)

// maxMail bounds how many requests wait for the loop; more are answered with ERR_BUSY.
const maxMail = 16384

// mailbox carries functions to the loop. The loop itself and callbacks it triggers may post, so
// posting never blocks; only requests from outside are refused when the box is full.
type mailbox struct {
	wake chan struct{}

	mu    sync.Mutex
	queue []func()
}

// tell posts f for the loop.
func (m *mailbox) tell(f func()) { m.post(f, false) }

// ask posts f unless too much is waiting.
func (m *mailbox) ask(f func()) bool { return m.post(f, true) }

func (m *mailbox) post(f func(), bounded bool) bool {
	m.mu.Lock()
	if bounded && len(m.queue) >= maxMail {
		m.mu.Unlock()
		return false
	}
	m.queue = append(m.queue, f)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return true
}

// take returns what was posted and leaves buf for what comes.
func (m *mailbox) take(buf []func()) []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.queue
	m.queue = buf[:0]
	return q
}

// answer sends the answer to a request once what it speaks of is published. Only the loop calls
// it.
func (s *Server) answer(r *wire.Request, v idl.Value) {
	s.answers = append(s.answers, func() { r.Reply(v) })
}

// loop is the goroutine that owns the state. After each batch of events it publishes a snapshot,
// answers, and cures the partitions concerned, so that a burst costs one of each.
func (s *Server) loop() {
	check := time.NewTicker(s.o.FDCheckInterval)
	defer check.Stop()
	retry := time.NewTicker(max(s.o.ProposalRetry/4, time.Millisecond))
	defer retry.Stop()
	cure := time.NewTimer(s.o.CureInterval)
	defer cure.Stop()
	var batch []func()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.mail.wake:
			s.checkLease()
			batch = s.mail.take(batch)
			for i, f := range batch {
				f()
				batch[i] = nil
			}
		case <-check.C:
			s.checkLease()
			if s.leader != nil {
				s.leader.checkNodes(time.Now())
			}
		case <-retry.C:
			if s.leader != nil {
				s.leader.resend(time.Now())
			}
		case <-cure.C:
			if s.leader != nil {
				s.leader.cureAll()
			}
		}
		if l := s.leader; l != nil {
			l.noteFreeze(time.Now())
			l.publish()
		}
		// Whoever gets an answer finds it confirmed by what he asks next.
		for i, f := range s.answers {
			f()
			s.answers[i] = nil
		}
		s.answers = s.answers[:0]
		if l := s.leader; l != nil {
			l.cureDirty()
			l.publish()
			cure.Reset(max(time.Until(l.nextCure), 0))
		} else {
			cure.Reset(s.o.CureInterval)
		}
	}
}
