// SPDX-License-Identifier: Apache-2.0

package link

import (
	"sync"
	"time"
)

// patience is a time limit that does not run while the operator is asked something.
type patience struct {
	mu     sync.Mutex
	timer  *time.Timer
	left   time.Duration
	since  time.Time
	paused int
	ended  bool
}

// newPatience calls spent when limit has passed.
func newPatience(limit time.Duration, spent func()) *patience {
	return &patience{timer: time.AfterFunc(limit, spent), left: limit, since: time.Now()}
}

func (p *patience) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused++; p.paused == 1 && p.timer.Stop() {
		p.left -= time.Since(p.since)
	}
}

func (p *patience) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused--; p.paused == 0 && !p.ended {
		p.since = time.Now()
		p.timer.Reset(max(p.left, 0))
	}
}

// end stops the clock for good.
func (p *patience) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.timer.Stop()
}
