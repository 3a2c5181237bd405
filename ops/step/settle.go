// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pegasus-ops/pegasus-ops/ops/cluster"
)

// settling closes a gap in which a cluster only looks healthy. A replica server
// that was stopped and started within the grace period of failure detection is
// for the meta server still a member of all its partitions, until the new
// process makes itself known; asked in that moment, the meta server counts
// replicas that are gone. Whoever takes the next server then takes a second
// copy.
//
// A restarted server leaves its partitions and learns them again, and each of
// these changes raises the ballot. So before a start the ballots of the
// server's partitions are noted, and the cluster counts as settled when each of
// them has grown.
type settling struct {
	mu      sync.Mutex
	servers map[string]*restarted // by address
}

type restarted struct {
	ballots map[partitionID]int64
	until   time.Time // then it is let go: some versions keep a ballot
}

type partitionID struct {
	table int32
	index int
}

// noteLimit bounds the look at the cluster before a start; a cluster that does
// not answer has nothing to settle.
const noteLimit = 2 * time.Second

// begin notes the ballots of a server that is about to be started.
func (s *settling) begin(ctx context.Context, e *Env, address string) {
	ctx, cancel := context.WithTimeout(ctx, noteLimit)
	defer cancel()
	f, err := e.Admin.Facts(ctx)
	if err != nil {
		return
	}
	noted := &restarted{ballots: map[partitionID]int64{}, until: time.Now().Add(e.Times.Settle)}
	eachPartition(f, func(id partitionID, p *cluster.Partition) {
		if member(p, address) {
			noted.ballots[id] = p.Ballot
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.servers == nil {
		s.servers = map[string]*restarted{}
	}
	s.servers[address] = noted
}

// open says what has not settled yet.
func (s *settling) open(f cluster.Facts) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var reasons []string
	for address, noted := range s.servers {
		eachPartition(f, func(id partitionID, p *cluster.Partition) {
			if old, ok := noted.ballots[id]; ok && (p.Ballot > old || !member(p, address)) {
				delete(noted.ballots, id)
			}
		})
		if len(noted.ballots) == 0 || time.Now().After(noted.until) {
			delete(s.servers, address)
			continue
		}
		reasons = append(reasons, fmt.Sprintf("the meta server has not noticed the restart of %s yet (partitions that count it as before: %d)", address, len(noted.ballots)))
	}
	slices.Sort(reasons)
	return reasons
}

func eachPartition(f cluster.Facts, visit func(id partitionID, p *cluster.Partition)) {
	for t := range f.Tables {
		for n := range f.Tables[t].Partitions {
			p := &f.Tables[t].Partitions[n]
			visit(partitionID{f.Tables[t].ID, p.Index}, p)
		}
	}
}

func member(p *cluster.Partition, address string) bool {
	return p.Primary == address || slices.Contains(p.Secondaries, address)
}
