// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"container/list"
	"math/rand/v2"
	"sync"
	"time"
)

// scanLife is how long an open scan waits for its client to fetch the next page.
const scanLife = 5 * time.Minute

// scanTable holds the open scans of a DB by context id. All scans live equally long, so their
// order of arrival is the order in which they die; the dead are removed when a new one comes.
//
// A context id is 31 random bits, drawn when the DB is opened, over a counter: an id from before
// a restart meets no other scan, and ids are never negative.
type scanTable struct {
	max int

	mu   sync.Mutex
	next int64
	byID map[int64]*list.Element
	age  *list.List // of *openScan, oldest in front
}

type openScan struct {
	id   int64
	dies time.Time
	*scanContext
}

func (t *scanTable) init(limit int) {
	t.max = limit
	t.next = int64(rand.Uint32()>>1)<<32 | 1
	t.byID = make(map[int64]*list.Element)
	t.age = list.New()
}

// add remembers a scan and returns its id. When there are too many the oldest is forgotten.
func (t *scanTable) add(c *scanContext, now time.Time) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.age.Front(); e != nil; e = t.age.Front() {
		if len(t.byID) < t.max && now.Before(e.Value.(*openScan).dies) {
			break
		}
		t.remove(e)
	}
	id := t.next
	t.next++
	t.byID[id] = t.age.PushBack(&openScan{id, now.Add(scanLife), c})
	return id
}

// take removes a scan and returns it, or nil when there is none or it has died.
func (t *scanTable) take(id int64, now time.Time) *scanContext {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byID[id]
	if e == nil {
		return nil
	}
	t.remove(e)
	if s := e.Value.(*openScan); now.Before(s.dies) {
		return s.scanContext
	}
	return nil
}

// remove forgets a scan. t.mu must be held.
func (t *scanTable) remove(e *list.Element) {
	delete(t.byID, e.Value.(*openScan).id)
	t.age.Remove(e)
}

func (t *scanTable) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.byID)
	t.age.Init()
}

func (t *scanTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}
