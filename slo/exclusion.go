package slo

import (
	"iter"
	"slices"
	"time"
)

// Exclusion is time whose events do not count: maintenance that was announced,
// or an incident that was somebody else's. It is one interval, or one that
// comes again.
type Exclusion struct {
	// From is when a single exclusion begins. Of one that comes again it is the
	// earliest instant an interval may begin, zero for no limit.
	From time.Time

	// For is how long an interval lasts, in elapsed time: two hours are two
	// hours while clocks change. From, At and For are multiples of ExclusionStep.
	For time.Duration

	Every Recurrence
	Days  []time.Weekday // Weekly: at least one
	Day   int            // Monthly: 1 … 31; a month without that day is left out
	At    time.Duration  // Daily, Weekly, Monthly: on the wall clock, since midnight; in [0, 24 h)
	Until time.Time      // no interval begins at or after it; zero for no limit

	// Zone is where At is read; nil: UTC. A time that does not exist because
	// clocks go forward is the instant they do; one that exists twice is the
	// first.
	Zone *time.Location

	Why string
	Pos Pos
}

// Recurrence is how often an exclusion comes again.
type Recurrence uint8

// The recurrences.
const (
	Once Recurrence = iota
	Daily
	Weekly
	Monthly
)

// ExclusionStep is what exclusions are multiples of: the resolution in which
// the ledger keeps the past, so that excluding time afterwards recomputes the
// budget exactly.
const ExclusionStep = 5 * time.Minute

// Interval is the time from Start until before End.
type Interval struct{ Start, End time.Time }

// Between yields the exclusion's intervals that overlap with [from, to), whole
// and in order of their starts.
func (e Exclusion) Between(from, to time.Time) iter.Seq[Interval] {
	return func(yield func(Interval) bool) {
		if e.Every == Once {
			if i := (Interval{e.From, e.From.Add(e.For)}); i.overlaps(from, to) {
				yield(i)
			}
			return
		}
		zone := e.Zone
		if zone == nil {
			zone = time.UTC
		}
		begin := from.Add(-e.For) // no interval that begins before reaches from
		if begin.Before(e.From) {
			begin = e.From
		}
		// A zone that changes the side of the date line skips or repeats a day: two
		// days more at both ends see to that.
		y, m, d := wallOf(begin, zone).Date()
		last := wallOf(to, zone).AddDate(0, 0, 2)
		for date := time.Date(y, m, d-2, 0, 0, 0, 0, time.UTC); date.Before(last); date = date.AddDate(0, 0, 1) {
			if !e.on(date) {
				continue
			}
			start := firstAt(date.Add(e.At), zone)
			if start.Before(e.From) || !e.Until.IsZero() && !start.Before(e.Until) {
				continue
			}
			if i := (Interval{start, start.Add(e.For)}); i.overlaps(from, to) && !yield(i) {
				return
			}
		}
	}
}

// on reports whether an interval begins on a day of the calendar.
func (e Exclusion) on(date time.Time) bool {
	switch e.Every {
	case Weekly:
		return slices.Contains(e.Days, date.Weekday())
	case Monthly:
		return date.Day() == e.Day
	default:
		return true
	}
}

func (i Interval) overlaps(from, to time.Time) bool {
	return i.Start.Before(to) && i.End.After(from) && from.Before(to)
}

// Excluded returns which exclusion holds at t and when it ends, the one that
// ends last of several; ok is false where none does.
func (f *Flow) Excluded(t time.Time) (e Exclusion, until time.Time, ok bool) {
	for _, x := range f.Exclude {
		for i := range x.Between(t, t.Add(1)) {
			if !ok || i.End.After(until) {
				e, until, ok = x, i.End, true
			}
		}
	}
	return e, until, ok
}
