package ledger

import "time"

// Open returns how many events the open slice of an SLO that counts slices of
// time holds so far: requests, not slices. Of any other it is 0.
func (l *Ledger) Open(id string) (events uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.accounts[id]; a != nil {
		events = a.slice.good + a.slice.bad
	}
	return events
}

// Slots fills dst with the events of an SLO in slots of five minutes, of which
// the first holds from, whether they are excluded or not. ok is false when
// the SLO is younger or they are not kept any more.
func (l *Ledger) Slots(id string, from time.Time, dst []uint64) (ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[id]
	if a == nil || from.UnixMilli() < a.created {
		return false
	}
	r := &a.rings[coarse]
	if len(r.slots) == 0 {
		return false
	}
	first := from.UnixMilli() / r.res
	for i := range dst {
		n := first + int64(i)
		if !r.has(n) {
			return false
		}
		dst[i] = uint64(r.slot(n).total)
	}
	return true
}
