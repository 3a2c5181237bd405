// SPDX-License-Identifier: Apache-2.0

package pacifica

// A list holds consecutive mutations: all that are prepared and not committed, and in front of
// them the committed ones still cached for learners.
type list struct {
	next  int64 // decree of the mutation to be pushed next
	items []*Mutation
	head  int // items[:head] are dropped
	bytes int
}

func (l *list) last() int64  { return l.next - 1 }
func (l *list) first() int64 { return l.next - int64(len(l.items)-l.head) }

// at returns the mutation with a decree, or nil if it is not held.
func (l *list) at(decree int64) *Mutation {
	if decree < l.first() || decree >= l.next {
		return nil
	}
	return l.items[len(l.items)-int(l.next-decree)]
}

// from returns the mutations first..last, which must be held. The slice is shared.
func (l *list) from(first, last int64) []*Mutation {
	end := len(l.items) - int(l.last()-last)
	return l.items[end-int(last-first)-1 : end]
}

// push appends m, whose decree must be next.
func (l *list) push(m *Mutation) {
	if l.head > 32 && l.head > len(l.items)/2 {
		n := copy(l.items, l.items[l.head:])
		clear(l.items[n:])
		l.items, l.head = l.items[:n], 0
	}
	l.items = append(l.items, m)
	l.bytes += len(m.Encoded)
	l.next++
}

// cut drops everything behind a decree.
func (l *list) cut(decree int64) {
	for l.last() > decree && len(l.items) > l.head {
		n := len(l.items) - 1
		l.bytes -= len(l.items[n].Encoded)
		l.items[n] = nil
		l.items = l.items[:n]
		l.next--
	}
}

// drop drops the first mutation.
func (l *list) drop() {
	l.bytes -= len(l.items[l.head].Encoded)
	l.items[l.head] = nil
	l.head++
}

// reset empties the list; next becomes the decree expected next.
func (l *list) reset(next int64) { *l = list{next: next, items: l.items[:0]} }
