// Package ledger keeps the exact account of every SLO: how many events were
// good and bad over each of its rolling windows and over its period, in memory,
// and in total since the SLO was created. Time that is excluded does not count.
//
// Time is what callers pass in; nothing here reads a clock, a file or the
// network. A Ledger may be used from several goroutines.
package ledger

import (
	"slices"
	"sync"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

const (
	// fineSlot resolves the windows that page first (5m, 1h): at steady traffic
	// the far edge of a window is exact, and an incident leaves it within 10 s.
	fineSlot = 10_000

	// fineSpan is the longest window kept in fine slots: 720 slots, 6 KB an
	// SLO.
	fineSpan = 2 * 3600_000

	// middleSlot resolves the other windows that page (6h): they move every
	// minute, as those of exported rules do, so that both page at the same time.
	middleSlot = 60_000

	// middleSpan is the longest window kept in middle slots: 360 slots, 3 KB an
	// SLO.
	middleSpan = 6 * 3600_000

	// coarseSlot resolves the longer windows: a 30-day period is 8,640 slots
	// or 69 KB an SLO. An incident rolls out of the period over five minutes
	// rather than at once; nothing else is inexact. Calendar periods begin with a
	// slot in every time zone, and exclusions are made of whole ones: it is
	// slo.ExclusionStep.
	coarseSlot = 5 * 60_000

	// dormant is how long the account of an SLO that is no longer defined is
	// kept, so that a configuration that loses it by mistake and gets it back
	// has lost no history.
	dormant = 7 * 24 * 3600_000
)

// Def defines an SLO to the ledger.
type Def struct {
	ID      string
	Windows []time.Duration // ascending; the last one is the SLO's period, unless Calendar is set

	// Calendar makes the period the week, month or quarter in force.
	Calendar slo.Calendar

	// Exclude is the time whose events do not count. The past is kept as it
	// was: time excluded afterwards, or no longer, is left out of the windows
	// and the period, or is back in them, exactly. The counters Events and
	// Errors go by what was known at the time.
	Exclude []slo.Exclusion

	// Slice counts slices of time instead of events. Fresh counts minutes, and
	// one is good while the last success is no older than that; Slice is not
	// read then.
	Slice Slice
	Fresh time.Duration
}

// Slice is a stretch of time judged as a whole: it is good while at least a
// share of Target of its events are, or there are none. Slices are aligned to
// the hour. The zero Slice is none.
//
// A slice is one event at its last instant. It does not count if nobody watched
// it: there was no Add for longer than a minute and a slice. One watched in part
// counts if it holds events; one that an exclusion ends in is judged by the
// events after that.
type Slice struct {
	Length time.Duration
	Target float64 // in (0, 1]
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

// State is the account of one SLO at the time of the last Advance. Of an SLO
// that counts slices of time, events are slices.
type State struct {
	Created time.Time // first defined
	Events  uint64    // since Created, never reset
	Errors  uint64    // since Created, never reset
	Windows []Window  // as defined

	// The period in force: of a rolling one, it ends now.
	PeriodStart, PeriodEnd time.Time
	calendar               Window // the period's count, where it is not the last window's

	// Excluded says that events do not count now, and until when.
	Excluded      bool
	ExcludedUntil time.Time
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

// Period returns the count over the SLO's period: of a calendar period, from its
// start until now; its Length is that of the whole period, which clock changes
// make an hour longer or shorter.
func (s State) Period() Window {
	if s.calendar.Length > 0 {
		return s.calendar
	}
	return s.Windows[len(s.Windows)-1]
}

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
	rings          [3]ring // of fine, middle and coarse slots; empty until shaped
	span           int64   // ms; what the coarse one reaches back over, kept while dormant

	// The period in force, ms; the end of a rolling one never comes. Its count
	// is the last window of the coarse ring.
	calendar               slo.Calendar
	periodStart, periodEnd int64

	exclude []slo.Exclusion
	cuts    cuts  // of the time the rings hold, and ahead
	cutAnew int64 // ms; when cuts are worked out again

	live  bool // defined when the ledger last heard of definitions, before or after it was restored
	slice slicer
}

// New returns an empty ledger at the given time.
func New(now time.Time) *Ledger {
	return &Ledger{now: now.UnixMilli(), accounts: map[string]*account{}}
}

// Define sets which SLOs there are. Those known keep their history, also when
// their windows, calendar or exclusions change; those missing from defs are kept
// aside for a week and taken up again when they come back.
//
// An SLO that was counted in another unit (in events and now in slices, or in
// slices of another length) begins anew, but for its counters; afresh names
// them.
func (l *Ledger) Define(defs []Def) (afresh []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.accounts {
		a.lengths, a.live = nil, false
	}
	for _, d := range defs {
		slice := newSlicer(d, l.now)
		a := l.accounts[d.ID]
		switch {
		case a == nil:
			a = &account{created: l.now, slice: slice}
			l.accounts[d.ID] = a
		case !a.slice.like(&slice):
			a.rings, a.slice = [3]ring{}, slice
			afresh = append(afresh, d.ID)
		default:
			a.slice.judgeBy(d)
		}
		a.define(l.now, d)
		a.seen, a.live = l.now, true
	}
	for id, a := range l.accounts {
		if a.lengths == nil && l.now-a.seen > dormant {
			delete(l.accounts, id)
		}
	}
	return afresh
}

// define gives the account its windows, period and exclusions.
func (a *account) define(now int64, d Def) {
	a.lengths = make([]int64, len(d.Windows))
	for i, w := range d.Windows {
		a.lengths[i] = w.Milliseconds()
	}
	a.calendar, a.periodEnd = d.Calendar, never
	a.exclude = d.Exclude
	// The rings of shorter slots reach back this far whatever the windows are,
	// for Since and BurnStart.
	span := max(a.lengths[len(a.lengths)-1], middleSpan, longest(d.Calendar.Unit).Milliseconds())
	a.cut(now, span)
	a.shape(now, span)
}

// longest returns a time that no period of the unit is longer than.
func longest(u slo.Unit) time.Duration {
	// A day for clocks that change, and zones that change the side of the date
	// line.
	const day = 24 * time.Hour
	return [...]time.Duration{slo.Rolling: 0, slo.Week: 8 * day, slo.Month: 32 * day, slo.Quarter: 93 * day}[u]
}

// cut works out the cuts of the last span (ms) and of the time ahead.
func (a *account) cut(now, span int64) {
	a.cuts, a.cutAnew = nil, never
	if len(a.exclude) > 0 {
		a.cuts = cutsOf(a.exclude, now-span-3*coarseSlot, now+ahead)
		a.cutAnew = now + anew
	}
}

// The rings of an account.
const (
	fine = iota
	middle
	coarse
)

// ringOf returns the ring that keeps windows of the given length (ms).
func ringOf(length int64) int {
	switch {
	case length <= fineSpan:
		return fine
	case length <= middleSpan:
		return middle
	}
	return coarse
}

// shape gives the account rings for its windows, carrying over what the old
// rings hold.
func (a *account) shape(now, span int64) {
	var lengths [3][]int64
	for _, w := range a.lengths {
		lengths[ringOf(w)] = append(lengths[ringOf(w)], w)
	}
	old := a.rings
	a.span = span
	a.rings = [3]ring{
		fine:   newRing(fineSlot, now, fineSpan, lengths[fine]),
		middle: newRing(middleSlot, now, middleSpan, lengths[middle]),
		coarse: newRing(coarseSlot, now, span, lengths[coarse]),
	}
	for i := range a.rings {
		a.rings[i].fill(&old[i], a.cuts)
	}
	if a.calendar.Unit != slo.Rolling {
		a.rings[coarse].windows = append(a.rings[coarse].windows, window{})
		a.turn(now)
	}
}

// turn begins the calendar period that holds now.
func (a *account) turn(now int64) {
	start, end := a.calendar.Bounds(time.UnixMilli(now))
	a.periodStart, a.periodEnd = start.UnixMilli(), end.UnixMilli()
	r := &a.rings[coarse]
	r.from(len(r.windows)-1, a.periodStart/coarseSlot, a.cuts)
}

// Add counts entries at time t and moves every window's end there. A t before
// the newest time seen counts at that time: the ledger never goes back.
// Entries of SLOs that are not defined are ignored.
func (l *Ledger) Add(t time.Time, entries []Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(t.UnixMilli())
	for _, e := range entries {
		if a := l.accounts[e.ID]; a != nil && a.live {
			a.add(l.now, e.Bad, e.Good+e.Bad)
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
		a.advance(l.now)
	}
}

func (a *account) advance(now int64) {
	for i := range a.rings {
		a.rings[i].advance(now, a.cuts)
	}
	if now >= a.cutAnew {
		a.cut(now, a.span)
	}
	if now >= a.periodEnd {
		a.turn(now)
	}
	if a.live && a.slice.length > 0 {
		a.watch(now)
	}
}

// add counts events at now, to which the account was advanced.
func (a *account) add(now int64, bad, total uint64) {
	s := &a.slice
	if s.length == 0 {
		a.count(now, bad, total)
		return
	}
	if bad < total {
		s.last = now
	}
	// What is excluded does not judge a slice that counts.
	if !a.cuts.hold(now) || a.cuts.hold(s.end()-1) {
		s.bad += bad
		s.good += total - bad
	}
}

// count adds events at the time at, which is not after now, to all counts.
func (a *account) count(at int64, bad, total uint64) {
	out := a.cuts.hold(at)
	if !out {
		a.errors += bad
		a.events += total
	}
	for i := range a.rings {
		r := &a.rings[i]
		r.add(at/r.res, bad, total, out)
	}
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
	var next [3]int // window of each ring
	for _, length := range a.lengths {
		w, r := Window{Length: time.Duration(length) * time.Millisecond}, ringOf(length)
		w.Bad, w.Total = a.rings[r].read(next[r], l.now, a.cuts)
		next[r]++
		s.Windows = append(s.Windows, w)
	}
	s.PeriodStart, s.PeriodEnd = time.UnixMilli(l.now-a.lengths[len(a.lengths)-1]), time.UnixMilli(l.now)
	if a.calendar.Unit != slo.Rolling {
		s.PeriodStart, s.PeriodEnd = time.UnixMilli(a.periodStart), time.UnixMilli(a.periodEnd)
		s.calendar.Length = s.PeriodEnd.Sub(s.PeriodStart)
		s.calendar.Bad, s.calendar.Total = a.rings[coarse].read(next[coarse], l.now, a.cuts)
	}
	if c, ok := a.cuts.at(l.now); ok {
		s.Excluded, s.ExcludedUntil = true, time.UnixMilli(c.until)
	}
	return s, true
}

// Since returns the events of an SLO from a moment until now, counting the
// whole slot (10 s up to two hours back, 1 min up to six, 5 min beyond) the
// moment lies in, without what is excluded. It reaches back as far as the SLO's period.
func (l *Ledger) Since(id string, from time.Time) (bad, total uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[id]
	if a == nil {
		return 0, 0
	}
	r := &a.rings[ringOf(l.now-from.UnixMilli())]
	for n := max(from.UnixMilli()/r.res, r.head-int64(len(r.slots))+1); n <= r.head; n++ {
		c := r.at(n, a.cuts)
		bad += uint64(c.bad)
		total += uint64(c.total)
	}
	return bad, total
}

// BurnStart returns when the burn that goes on at the time at began: going
// back from at in steps of 10 s, the start of the earliest slot that overspent
// the budget before a quiet minute, or a quiet slice. What is excluded is quiet.
// It looks back two hours at most and returns at when nothing was overspent.
func (l *Ledger) BurnStart(id string, at time.Time, budget float64) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[id]
	if a == nil {
		return at
	}
	r := &a.rings[fine]
	quiet := max(60_000, a.slice.length) / fineSlot
	start := at
	calm := int64(0)
	for n := min(at.UnixMilli()/r.res, r.head); r.has(n) && calm < quiet; n-- {
		c := r.at(n, a.cuts)
		if float64(c.bad) <= budget*float64(c.total) {
			calm++
			continue
		}
		start, calm = time.UnixMilli(n*r.res), 0
		if a.slice.length > 0 { // it ends with the slot
			start = time.UnixMilli((n+1)*r.res - a.slice.length)
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
