package slo

import (
	"math/rand/v2"
	"testing"
	"time"
	_ "time/tzdata" // the same clocks on every machine
)

const (
	zurich  = "Europe/Zurich"    // UTC+1, in summer +2; clocks change at 01:00 UTC
	newYork = "America/New_York" // UTC-5, in summer -4; clocks change at 02:00 of what they showed
)

// utc reads an instant such as 2026-03-29T01:00Z.
func utc(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02T15:04Z", s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	l, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestBounds holds periods against instants worked out by hand.
func TestBounds(t *testing.T) {
	for _, tc := range []struct {
		name           string
		unit           Unit
		zone           string // empty: none given
		at, start, end string
	}{
		// Month ends and leap days.
		{"last minute of January", Month, "", "2026-01-31T23:59Z", "2026-01-01T00:00Z", "2026-02-01T00:00Z"},
		{"first instant of February", Month, "", "2026-02-01T00:00Z", "2026-02-01T00:00Z", "2026-03-01T00:00Z"},
		{"December", Month, "", "2026-12-31T23:59Z", "2026-12-01T00:00Z", "2027-01-01T00:00Z"},
		{"leap day", Month, "", "2028-02-29T23:59Z", "2028-02-01T00:00Z", "2028-03-01T00:00Z"},
		{"week of a leap day", Week, "", "2028-02-29T12:00Z", "2028-02-28T00:00Z", "2028-03-06T00:00Z"},
		{"quarter of a leap day", Quarter, "", "2028-02-29T12:00Z", "2028-01-01T00:00Z", "2028-04-01T00:00Z"},
		{"2100 has no leap day", Month, "", "2100-02-28T23:59Z", "2100-02-01T00:00Z", "2100-03-01T00:00Z"},
		{"the day after it has", Month, "", "2100-03-01T00:00Z", "2100-03-01T00:00Z", "2100-04-01T00:00Z"},
		{"week at the end of February 2100", Week, "", "2100-02-28T23:59Z", "2100-02-22T00:00Z", "2100-03-01T00:00Z"},
		{"leap day of Zurich before UTC's", Month, zurich, "2028-01-31T23:30Z", "2028-01-31T23:00Z", "2028-02-29T23:00Z"},
		{"leap day of New York", Month, newYork, "2028-03-01T04:59Z", "2028-02-01T05:00Z", "2028-03-01T05:00Z"},

		// Months in which clocks change.
		{"Zurich, last minute of January", Month, zurich, "2026-01-31T22:59Z", "2025-12-31T23:00Z", "2026-01-31T23:00Z"},
		{"Zurich, March 2026", Month, zurich, "2026-03-29T01:00Z", "2026-02-28T23:00Z", "2026-03-31T22:00Z"},
		{"Zurich, October 2026", Month, zurich, "2026-10-25T00:30Z", "2026-09-30T22:00Z", "2026-10-31T23:00Z"},
		{"Zurich, March 2027", Month, zurich, "2027-03-31T21:59Z", "2027-02-28T23:00Z", "2027-03-31T22:00Z"},
		{"Zurich, October 2027, which ends on that day", Month, zurich, "2027-10-31T22:59Z", "2027-09-30T22:00Z", "2027-10-31T23:00Z"},
		{"New York, March 2026", Month, newYork, "2026-03-08T07:00Z", "2026-03-01T05:00Z", "2026-04-01T04:00Z"},
		{"New York, October 2026", Month, newYork, "2026-11-01T03:59Z", "2026-10-01T04:00Z", "2026-11-01T04:00Z"},
		{"New York, November 2026, which begins on that day", Month, newYork, "2026-11-01T06:30Z", "2026-11-01T04:00Z", "2026-12-01T05:00Z"},
		{"New York, March 2027", Month, newYork, "2027-03-14T06:59Z", "2027-03-01T05:00Z", "2027-04-01T04:00Z"},
		{"New York, November 2027", Month, newYork, "2027-11-07T06:00Z", "2027-11-01T04:00Z", "2027-12-01T05:00Z"},

		{"New York, the end of a leap year", Month, newYork, "2028-12-31T12:00Z", "2028-12-01T05:00Z", "2029-01-01T05:00Z"},
		{"Zurich, the end of a leap year far ahead", Week, zurich, "2060-12-31T22:59Z", "2060-12-26T23:00Z", "2061-01-02T23:00Z"},

		// Quarters.
		{"Zurich, first quarter of 2026", Quarter, zurich, "2026-03-31T21:59Z", "2025-12-31T23:00Z", "2026-03-31T22:00Z"},
		{"Zurich, second quarter of 2026", Quarter, zurich, "2026-03-31T22:00Z", "2026-03-31T22:00Z", "2026-06-30T22:00Z"},
		{"Zurich, third quarter of 2026", Quarter, zurich, "2026-08-15T12:00Z", "2026-06-30T22:00Z", "2026-09-30T22:00Z"},
		{"Zurich, fourth quarter of 2026", Quarter, zurich, "2026-12-31T22:59Z", "2026-09-30T22:00Z", "2026-12-31T23:00Z"},
		{"New York, fourth quarter of 2027", Quarter, newYork, "2027-12-01T00:00Z", "2027-10-01T04:00Z", "2028-01-01T05:00Z"},
		{"New York, first quarter of 2028", Quarter, newYork, "2028-04-01T03:59Z", "2028-01-01T05:00Z", "2028-04-01T04:00Z"},

		// Weeks.
		{"Zurich, the week clocks go forward in 2026", Week, zurich, "2026-03-29T21:59Z", "2026-03-22T23:00Z", "2026-03-29T22:00Z"},
		{"Zurich, the week clocks go back in 2026", Week, zurich, "2026-10-25T01:30Z", "2026-10-18T22:00Z", "2026-10-25T23:00Z"},
		{"New York, the week clocks go forward in 2027", Week, newYork, "2027-03-14T12:00Z", "2027-03-08T05:00Z", "2027-03-15T04:00Z"},
		{"New York, the week clocks go back in 2027", Week, newYork, "2027-11-08T04:59Z", "2027-11-01T04:00Z", "2027-11-08T05:00Z"},
		{"year end, from the old year", Week, zurich, "2026-12-31T12:00Z", "2026-12-27T23:00Z", "2027-01-03T23:00Z"},
		{"year end, from the new year", Week, zurich, "2027-01-03T22:59Z", "2026-12-27T23:00Z", "2027-01-03T23:00Z"},
		{"Monday", Week, "", "2027-01-04T00:00Z", "2027-01-04T00:00Z", "2027-01-11T00:00Z"},

		// Nights on which midnight is not once.
		{"Asuncion, no midnight on 1 October 2017", Month, "America/Asuncion", "2017-10-01T04:00Z", "2017-10-01T04:00Z", "2017-11-01T03:00Z"},
		{"Asuncion, the month before", Month, "America/Asuncion", "2017-10-01T03:59Z", "2017-09-01T04:00Z", "2017-10-01T04:00Z"},
		{"Asuncion, the quarter of that night", Quarter, "America/Asuncion", "2017-12-24T00:00Z", "2017-10-01T04:00Z", "2018-01-01T03:00Z"},
		{"Havana, midnight twice on 1 November 2026", Month, "America/Havana", "2026-11-01T05:00Z", "2026-11-01T04:00Z", "2026-12-01T05:00Z"},
		{"St John's, 31 October 2009 shown again after midnight", Month, "America/St_Johns", "2009-11-01T02:45Z", "2009-11-01T02:30Z", "2009-12-01T03:30Z"},
		{"St John's, before that midnight", Month, "America/St_Johns", "2009-11-01T02:29Z", "2009-10-01T02:30Z", "2009-11-01T02:30Z"},
		{"Apia, a month without its 30th", Month, "Pacific/Apia", "2011-12-30T10:00Z", "2011-12-01T10:00Z", "2011-12-31T10:00Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Calendar{Unit: tc.unit}
			if tc.zone != "" {
				c.Zone = zone(t, tc.zone)
			}
			start, end := c.Bounds(utc(t, tc.at))
			if want := utc(t, tc.start); !start.Equal(want) {
				t.Errorf("Bounds(%s) starts at %v, want %v", tc.at, start.UTC(), want)
			}
			if want := utc(t, tc.end); !end.Equal(want) {
				t.Errorf("Bounds(%s) ends at %v, want %v", tc.at, end.UTC(), want)
			}
		})
	}
}

// zones change clocks by an hour and by half an hour, at midnight and at other
// times, north and south, skip a day, or do not change them.
var zones = []string{
	"UTC", zurich, newYork, "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "America/Havana",
	"America/Asuncion", "Asia/Beirut", "Atlantic/Azores", "Pacific/Apia", "Pacific/Chatham", "Africa/Casablanca",
}

// anyTime returns a time of 1990 … 2060, which is often near a change of clocks.
func anyTime(r *rand.Rand, l *time.Location) time.Time {
	from := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	t := from.Add(time.Duration(r.Int64N(70 * 365 * int64(day))))
	if _, end := t.In(l).ZoneBounds(); r.IntN(2) == 0 && !end.IsZero() {
		t = end.Add(time.Duration(r.Int64N(int64(3*day))) - 36*time.Hour)
	}
	return t
}

// TestPeriodsFollowOneAnother: every instant lies in exactly one period.
func TestPeriodsFollowOneAnother(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	for range 20_000 {
		c := Calendar{Unit: []Unit{Week, Month, Quarter}[r.IntN(3)], Zone: zone(t, zones[r.IntN(len(zones))])}
		at := anyTime(r, c.Zone)
		start, end := c.Bounds(at)
		if at.Before(start) || !at.Before(end) {
			t.Fatalf("%v: Bounds(%v) = %v … %v, which does not hold it", c, at, start, end)
		}
		for _, in := range []time.Time{start, end.Add(-1)} {
			if s, e := c.Bounds(in); !s.Equal(start) || !e.Equal(end) {
				t.Fatalf("%v: Bounds(%v) = %v … %v, want %v … %v as of %v", c, in, s, e, start, end, at)
			}
		}
		if next, _ := c.Bounds(end); !next.Equal(end) {
			t.Fatalf("%v: Bounds(%v) starts at %v, want the end of the period before", c, end, next)
		}
		if start.UnixMilli()%ExclusionStep.Milliseconds() != 0 {
			t.Fatalf("%v: a period starts at %v, want a multiple of %v", c, start, ExclusionStep)
		}
	}
}

// TestWallTime holds firstAt against a walk, minute by minute, through the days
// around: the first instant at which clocks have reached the time.
func TestWallTime(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 13))
	for range 500 {
		l := zone(t, zones[r.IntN(len(zones))])
		wall := wallOf(anyTime(r, l), l).Truncate(time.Minute)
		want := wall.Add(-day)
		for wallOf(want, l).Before(wall) {
			want = want.Add(time.Minute)
		}
		if got := firstAt(wall, l); !got.Equal(want) {
			t.Errorf("%v: clocks first show %s at %v, want %v", l, wall.Format(time.DateTime), got, want)
		}
	}
}
