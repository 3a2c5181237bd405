// SPDX-License-Identifier: Apache-2.0

package step

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pegasus-ops/pegasus-ops/inventory"
	"github.com/pegasus-ops/pegasus-ops/ops/host"
)

// started remembers the processes that this run has started. A server that
// listens is not yet a server that stays: it may end while it loads its
// replicas. Whoever waits for the cluster looks at these processes too, for a
// dead one keeps it waiting for nothing.
type started struct {
	mu      sync.Mutex
	servers map[string]startedServer // by Instance.ID
}

// sameStart is how far apart two readings of one start may be: the kernel's time
// of boot, which they count from, moves when the clock is set right.
const sameStart = 5 * time.Second

type startedServer struct {
	on      *inventory.Instance
	process host.Process
}

func (s *started) note(i *inventory.Instance, p host.Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.servers == nil {
		s.servers = map[string]startedServer{}
	}
	s.servers[i.ID()] = startedServer{i, p}
}

// forget is for a server that is about to be stopped.
func (s *started) forget(i *inventory.Instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.servers, i.ID())
}

func (s *started) list() []startedServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.servers), func(a, b startedServer) int { return cmp.Compare(a.on.ID(), b.on.ID()) })
}

// allAlive is an error with the last words of the first server that was started
// and runs no more. A process that was started since by somebody else is not the
// one we started: ours has ended. A host that does not answer says nothing about
// its servers; the wait goes on.
func (e *Env) allAlive(ctx context.Context) error {
	for _, s := range e.started.list() {
		h := e.Hosts[s.on.Host.Name]
		p, err := e.Find(ctx, s.on)
		if err != nil || ctx.Err() != nil {
			continue
		}
		if p == nil || p.PID != s.process.PID || p.Since.Sub(s.process.Since).Abs() > sameStart {
			return fmt.Errorf("%s ended soon after its start (process %d)%s", s.on.ID(), s.process.PID, lastWords(ctx, h, s.on))
		}
	}
	return nil
}
