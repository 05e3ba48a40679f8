// Package ledger keeps the exact account of every SLO: how many events were
// good and bad over each of its rolling windows, in memory, and in total since
// the SLO was created.
//
// Time is what callers pass in; nothing here reads a clock, a file or the
// network. A Ledger may be used from several goroutines.
package ledger

import (
	"slices"
	"sync"
	"time"
)

const (
	// fineSlot resolves the windows that page (5m, 1h): at steady traffic the
	// far edge of a window is exact, and an incident leaves it within 10 s.
	fineSlot = 10_000

	// fineSpan is the longest window kept in fine slots: 720 slots, 6 KB an
	// SLO.
	fineSpan = 2 * 3600_000

	// coarseSlot resolves the longer windows: a 30-day period is 8,640 slots
	// or 69 KB an SLO. An incident rolls out of the period over five minutes
	// rather than at once; nothing else is inexact.
	coarseSlot = 5 * 60_000

	// dormant is how long the account of an SLO that is no longer defined is
	// kept, so that a configuration that loses it by mistake and gets it back
	// has lost no history.
	dormant = 7 * 24 * 3600_000
)

// Def defines an SLO to the ledger.
type Def struct {
	ID      string
	Windows []time.Duration // ascending; the last one is the SLO's period
}

// Entry is what happened to one SLO since the entry before.
type Entry struct {
	ID        string
	Good, Bad uint64
}

// Window is the count of events over one rolling window. Counts are fractions
// of an event where the far edge cuts through a slot.
type Window struct {
	Length     time.Duration
	Bad, Total float64
}

// Ratio returns the share of bad events in [0, 1]. ok is false for an idle
// window, which has no ratio.
func (w Window) Ratio() (ratio float64, ok bool) {
	if w.Total <= 0 {
		return 0, false
	}
	return min(w.Bad/w.Total, 1), true
}

// State is the account of one SLO at the time of the last Advance.
type State struct {
	Created time.Time // first defined
	Events  uint64    // since Created, never reset
	Errors  uint64    // since Created, never reset
	Windows []Window  // as defined
}

// Window returns the count over a window of the given length; ok is false when
// the SLO does not keep it.
func (s State) Window(length time.Duration) (w Window, ok bool) {
	for _, w := range s.Windows {
		if w.Length == length {
			return w, true
		}
	}
	return Window{}, false
}

// Period returns the count over the SLO's period.
func (s State) Period() Window { return s.Windows[len(s.Windows)-1] }

// Ledger is the account of all SLOs.
type Ledger struct {
	mu       sync.Mutex
	now      int64 // ms; the newest time seen, never goes back
	accounts map[string]*account
}

type account struct {
	created        int64 // ms
	seen           int64 // ms; last time it was defined
	events, errors uint64
	lengths        []int64 // ms, as defined; empty while dormant
	fine, coarse   *ring
	period         int64 // ms; sizes coarse, kept while dormant
}

// New returns an empty ledger at the given time.
func New(now time.Time) *Ledger {
	return &Ledger{now: now.UnixMilli(), accounts: map[string]*account{}}
}

// Define sets which SLOs there are. Those known keep their history, also when
// their windows change; those missing from defs are kept aside for a week
// and taken up again when they come back.
func (l *Ledger) Define(defs []Def) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.accounts {
		a.lengths = nil
	}
	for _, d := range defs {
		a := l.accounts[d.ID]
		if a == nil {
			a = &account{created: l.now}
			l.accounts[d.ID] = a
		}
		lengths := make([]int64, len(d.Windows))
		for i, w := range d.Windows {
			lengths[i] = w.Milliseconds()
		}
		a.shape(l.now, lengths)
		a.seen = l.now
	}
	for id, a := range l.accounts {
		if a.lengths == nil && l.now-a.seen > dormant {
			delete(l.accounts, id)
		}
	}
}

// shape gives the account rings for the windows, carrying over what the old
// rings hold.
func (a *account) shape(now int64, lengths []int64) {
	a.lengths = lengths
	a.period = lengths[len(lengths)-1]
	var fine, coarse []int64
	for _, w := range lengths {
		if w <= fineSpan {
			fine = append(fine, w)
		} else {
			coarse = append(coarse, w)
		}
	}
	// Since and BurnStart look back over the whole span.
	old := *a
	a.fine = newRing(fineSlot, now, append(fine, fineSpan))
	a.coarse = newRing(coarseSlot, now, append(coarse, max(a.period, fineSpan)))
	a.fine.fill(old.fine, now)
	a.coarse.fill(old.coarse, now)
}

func (r *ring) fill(old *ring, now int64) {
	if old == nil {
		return
	}
	old.advance(now)
	for n := max(0, old.head-int64(len(old.slots))+1); n <= old.head; n++ {
		r.put(n, *old.slot(n))
	}
}

// Add counts entries at time t and moves every window's end there. A t before
// the newest time seen counts at that time: the ledger never goes back.
// Entries of SLOs that are not known are ignored.
func (l *Ledger) Add(t time.Time, entries []Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(t.UnixMilli())
	for _, e := range entries {
		if a := l.accounts[e.ID]; a != nil {
			a.add(e.Bad, e.Good+e.Bad)
		}
	}
}

// Advance moves every window's end to now.
func (l *Ledger) Advance(now time.Time) { l.Add(now, nil) }

// Now returns the newest time the ledger has seen.
func (l *Ledger) Now() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.UnixMilli(l.now)
}

func (l *Ledger) advance(now int64) {
	l.now = max(l.now, now)
	for _, a := range l.accounts {
		a.fine.advance(l.now)
		a.coarse.advance(l.now)
	}
}

func (a *account) add(bad, total uint64) {
	a.errors += bad
	a.events += total
	a.fine.add(bad, total)
	a.coarse.add(bad, total)
}

// State returns the account of an SLO; ok is false when it is not defined.
func (l *Ledger) State(id string) (s State, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[id]
	if a == nil || a.lengths == nil {
		return State{}, false
	}
	s = State{
		Created: time.UnixMilli(a.created),
		Events:  a.events,
		Errors:  a.errors,
		Windows: make([]Window, 0, len(a.lengths)),
	}
	var fine, coarse int
	for _, length := range a.lengths {
		w := Window{Length: time.Duration(length) * time.Millisecond}
		if length <= fineSpan {
			w.Bad, w.Total = a.fine.read(fine, l.now)
			fine++
		} else {
			w.Bad, w.Total = a.coarse.read(coarse, l.now)
			coarse++
		}
		s.Windows = append(s.Windows, w)
	}
	return s, true
}

// Since returns the events of an SLO from a moment until now, counting the
// whole slot (10 s up to two hours back, 5 min beyond) the moment lies in. It
// reaches back as far as the SLO's period.
func (l *Ledger) Since(id string, from time.Time) (bad, total uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[id]
	if a == nil {
		return 0, 0
	}
	r := a.fine
	if l.now-from.UnixMilli() > fineSpan {
		r = a.coarse
	}
	for n := max(from.UnixMilli()/r.res, r.head-int64(len(r.slots))+1); n <= r.head; n++ {
		c := r.slot(n)
		bad += uint64(c.bad)
		total += uint64(c.total)
	}
	return bad, total
}

// BurnStart returns when the burn that goes on at the time at began: going
// back from at in steps of 10 s, the start of the earliest slot that overspent
// the budget before a quiet minute. It looks back two hours at most and returns
// at when nothing was overspent.
func (l *Ledger) BurnStart(id string, at time.Time, budget float64) time.Time {
	const quiet = 60_000 / fineSlot
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[id]
	if a == nil {
		return at
	}
	r := a.fine
	start := at
	calm := 0
	n := min(at.UnixMilli()/r.res, r.head)
	for ; n > r.head-int64(len(r.slots)) && n >= 0 && calm < quiet; n-- {
		if c := r.slot(n); float64(c.bad) > budget*float64(c.total) {
			start, calm = time.UnixMilli(n*r.res), 0
		} else {
			calm++
		}
	}
	return start
}

// IDs returns the defined SLOs, sorted.
func (l *Ledger) IDs() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := make([]string, 0, len(l.accounts))
	for id, a := range l.accounts {
		if a.lengths != nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
