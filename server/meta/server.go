// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pegasus-ops/pegasus-ops/server/idl"
	"github.com/pegasus-ops/pegasus-ops/server/meta/store"
)

// storeRetry is the pause after a failed access to the metadata store.
const storeRetry = time.Second

// A Server is one running meta server. It runs for leader from Start to Stop.
type Server struct {
	o        Options
	log      *slog.Logger
	store    store.Store
	election store.Election
	owned    bool // the store was opened here

	ctx    context.Context // ends with Stop
	cancel context.CancelFunc
	wg     sync.WaitGroup // loop, campaign, writers

	mail  mailbox
	snap  atomic.Pointer[snapshot]
	knobs knobs

	answers []func() // to be given after the next snapshot; owned by the loop
	leader  *leader  // owned by the loop; nil while another one leads or the state is being read
}

// Start opens the store, registers RPCs, HTTP paths and remote commands and begins to run for
// leader. It does not wait for the outcome: until then requests are answered with
// ERR_FORWARD_TO_OTHERS or ERR_SERVICE_NOT_ACTIVE. ctx bounds the start only.
func Start(ctx context.Context, o Options) (*Server, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &Server{o: o, log: o.Log, store: o.Store, election: o.Election}
	if o.Store == nil {
		dir := path.Join(o.Dir, "store")
		local, err := store.OpenLocal(store.LocalOptions{FS: o.FS, Dir: dir, Self: o.Self, Log: o.Log})
		if err != nil {
			return nil, err
		}
		s.store, s.election, s.owned = local, local, true
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mail.wake = make(chan struct{}, 1)
	s.snap.Store(&snapshot{role: idl.ErrForwardToOthers})
	s.knobs.reset(&o)
	s.handleRPCs()
	s.handleHTTP()
	s.handleCommands()
	s.wg.Go(s.loop)
	s.wg.Go(s.campaign)
	return s, nil
}

// Stop ends the leadership and all work, waits for store writes under way, and closes the store
// if Start opened it. The RPCs stay registered and answer ERR_SERVICE_NOT_ACTIVE.
func (s *Server) Stop(ctx context.Context) error {
	s.cancel()
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("stop the meta server: %w", ctx.Err())
	}
	s.snap.Store(&snapshot{role: idl.ErrServiceNotActive})
	s.registerLeaderCommands(false)
	if s.owned {
		return s.store.Close()
	}
	return nil
}

// campaign runs for leader, and again whenever the leadership has ended.
func (s *Server) campaign() {
	for s.ctx.Err() == nil {
		term, err := s.election.Campaign(s.ctx)
		if err != nil {
			if s.ctx.Err() == nil {
				s.log.Error("running for leader failed, trying again", "err", err)
				s.pause(storeRetry)
			}
			continue
		}
		s.log.Info("this meta server leads", "epoch", term.Epoch)
		s.mail.tell(func() { s.publishRole(idl.ErrServiceNotActive) })
		if l := s.takeOver(term); l != nil {
			s.mail.tell(func() { s.lead(l) })
			select {
			case <-term.Lost:
				s.log.Warn("the leadership was lost", "epoch", term.Epoch)
			case <-l.quit:
			case <-s.ctx.Done():
			}
		}
		s.mail.tell(s.follow)
	}
}

// takeOver reads the state until that succeeds. It returns nil when the term ends before.
func (s *Server) takeOver(term store.Term) *leader {
	for pause := storeRetry; ; pause = min(2*pause, 16*storeRetry) {
		l, err := load(s.ctx, s, term)
		switch {
		case err == nil:
			return l
		case s.ctx.Err() != nil || errors.Is(err, store.ErrFenced):
			return nil
		}
		s.log.Error("the metadata cannot be read; no request is served until it can", "err", err, "retry_in", pause)
		select {
		case <-term.Lost:
			return nil
		case <-s.ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func (s *Server) pause(d time.Duration) {
	select {
	case <-s.ctx.Done():
	case <-time.After(d):
	}
}

// lead begins to act on a state that was read. Runs on the loop.
func (s *Server) lead(l *leader) {
	if !l.holds() {
		close(l.quit) // over already
		return
	}
	s.leader = l
	s.knobs.resetCure(&s.o)
	s.registerLeaderCommands(true)
	l.begin()
}

// follow forgets everything. Runs on the loop.
func (s *Server) follow() {
	s.leader = nil
	s.registerLeaderCommands(false)
	s.publishRole(idl.ErrForwardToOthers)
}

// checkLease stops to act as leader when the clock says so, which may be before the end of the
// leadership is noticed otherwise: after this process was stopped for a while, the first thing
// it sees is the requests that have gathered. Runs on the loop.
func (s *Server) checkLease() {
	if s.leader != nil && !s.leader.holds() {
		s.log.Warn("the lease of the leadership is over", "epoch", s.leader.epoch)
		close(s.leader.quit)
		s.follow()
	}
}

func (s *Server) publishRole(role idl.ErrorCode) { s.snap.Store(&snapshot{role: role}) }

// logger adds the keys of a partition.
func (p *partition) logger(log *slog.Logger) *slog.Logger {
	return log.With("gpid", p.cfg.Pid.String(), "ballot", p.cfg.Ballot)
}
