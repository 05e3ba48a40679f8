package slo

import "time"

// Unit is what a calendar window is aligned to.
type Unit uint8

// The units. A week begins on Monday; all begin at midnight in their zone.
const (
	Rolling Unit = iota // not aligned to the calendar
	Week
	Month
	Quarter
)

// String returns week, month or quarter.
func (u Unit) String() string { return [...]string{"", "week", "month", "quarter"}[u] }

// Nominal returns the length of the unit that burn rates and names of series
// are computed with: 7, 30 or 90 days.
func (u Unit) Nominal() time.Duration {
	return [...]time.Duration{0, 7 * day, 30 * day, 90 * day}[u]
}

// Calendar is a window that begins anew with each week, month or quarter. The
// zero Calendar is none: the window rolls.
type Calendar struct {
	Unit Unit
	Zone *time.Location // nil: UTC
}

// String returns the unit and, unless it is UTC, the zone: "month
// (Europe/Zurich)".
func (c Calendar) String() string {
	if c.Zone == nil || c.Zone == time.UTC {
		return c.Unit.String()
	}
	return c.Unit.String() + " (" + c.Zone.String() + ")"
}

// Bounds returns the first instant of the period that holds t, and that of the
// next one, in the calendar's zone. Unit must not be Rolling.
//
// A period begins at midnight on the wall clock; see firstAt for the nights on
// which clocks change.
func (c Calendar) Bounds(t time.Time) (start, end time.Time) {
	zone := c.Zone
	if zone == nil {
		zone = time.UTC
	}
	first := c.Unit.first(wallOf(t, zone))
	next := c.Unit.next(first)
	start, end = firstAt(first, zone), firstAt(next, zone)
	if !t.Before(end) {
		// Clocks went back over midnight: the wall clock shows the last evening of
		// a period again, which is over.
		start, end = end, firstAt(c.Unit.next(next), zone)
	}
	return start, end
}

// first returns the midnight that the unit around a wall time begins with.
func (u Unit) first(wall time.Time) time.Time {
	y, m, d := wall.Date()
	switch u {
	case Week:
		d -= (int(wall.Weekday()) + 6) % 7
	case Month:
		d = 1
	case Quarter:
		m, d = m-(m-1)%3, 1
	default:
		panic("slo: a rolling window has no bounds")
	}
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// next returns the midnight after the unit that begins at first.
func (u Unit) next(first time.Time) time.Time {
	switch u {
	case Week:
		return first.AddDate(0, 0, 7)
	case Month:
		return first.AddDate(0, 1, 0)
	default:
		return first.AddDate(0, 3, 0)
	}
}

// wallOf returns what clocks in the zone show at t, written as if it were UTC.
// In this form days can be counted without clocks changing.
func wallOf(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// firstAt returns the first instant at which clocks in the zone show a wall
// time (see wallOf) or have just passed it. That is one instant for each wall
// time: where clocks go forward over it, the instant they do; where it exists
// twice, the first. time.Date promises neither.
func firstAt(wall time.Time, zone *time.Location) time.Time {
	t := wall.Add(-day).In(zone) // no zone is a day from UTC
	for {
		_, offset := t.Zone()
		at := wall.Add(-time.Duration(offset) * time.Second).In(zone)
		if at.Before(t) {
			return t // clocks have gone forward over it
		}
		until := offsetUntil(t)
		if until.IsZero() || at.Before(until) {
			return at
		}
		t = until
	}
}

// offsetUntil returns the end of a time from t on in which clocks do not change,
// zero if they never do.
func offsetUntil(t time.Time) time.Time {
	_, until := t.ZoneBounds()
	if !until.IsZero() && !until.After(t) {
		// Where package time goes by a rule, it lets a year end after 365 days.
		until = time.Date(t.UTC().Year()+1, 1, 1, 0, 0, 0, 0, time.UTC).In(t.Location())
	}
	return until
}
