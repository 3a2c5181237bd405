// SPDX-License-Identifier: Apache-2.0

package pacifica

// A Replay turns the records of a private log into the state of a replica. It follows the rule
// the log was written by: a record voids all earlier ones with the same or a higher decree.
type Replay struct {
	list      list
	applied   int64
	watermark int64
}

// NewReplay starts with an engine that has applied everything up to the decree applied.
func NewReplay(applied int64) *Replay {
	p := &Replay{applied: applied}
	p.list.reset(applied + 1)
	return p
}

// Add takes the next record of the log, in the order written. It returns the mutations that are
// now known to be committed, to be applied in order at once. data is kept: it must not be reused.
//
// Records behind a hole are ignored: a checkpoint was being put in place of what the log held.
func (p *Replay) Add(data []byte) (apply []*Mutation, err error) {
	m, err := DecodeMutation(data)
	if err != nil {
		return nil, err
	}
	p.list.cut(max(m.Decree-1, p.applied))
	if m.Decree != p.list.next {
		return nil, nil
	}
	p.list.push(m)
	// The writer had agreed with its primary on everything below m when it wrote m, so what m
	// says to be committed is what stands in the list now.
	p.watermark = max(p.watermark, m.Committed)
	for p.applied < min(p.watermark, p.list.last()) {
		p.applied++
		apply = append(apply, p.list.at(p.applied))
		p.list.drop()
	}
	return apply, nil
}

// Restored returns the state for New; everything Add returned has been applied. ballot is the
// stored one (Ready.Ballot).
func (p *Replay) Restored(ballot int64) Restored {
	r := Restored{Ballot: ballot, Committed: p.applied}
	if p.list.last() > p.applied {
		r.Log = append(r.Log, p.list.from(p.applied+1, p.list.last())...)
	}
	return r
}
