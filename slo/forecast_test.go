package slo

import (
	"math"
	"testing"
	"time"
)

func TestBudgetLasts(t *testing.T) {
	rolling := Objective{Window: 30 * day}
	november := Objective{Window: 30 * day, Calendar: Calendar{Unit: Month}}
	at := func(d int) time.Time { return time.Date(2026, 11, d, 0, 0, 0, 0, time.UTC) }
	for _, tc := range []struct {
		name       string
		o          Objective
		left, burn float64
		now        time.Time
		want       time.Duration
		ok         bool
	}{
		{name: "rolling", o: rolling, left: 0.5, burn: 10, want: 36 * time.Hour, ok: true},
		{name: "rolling at its pace", o: rolling, left: 0.5, burn: 1},
		{name: "spent", o: rolling, left: -0.1, burn: 0, ok: true},
		{name: "unknown burn", o: rolling, left: 0.5, burn: math.NaN()},
		// Ten days with half of their budget spent: five days' worth. At a burn
		// of 6 each day spends six and earns one: one day makes 11 of 11.
		{name: "month", o: november, left: 0.5, burn: 6, now: at(11), want: day, ok: true},
		{name: "month that ends before", o: november, left: 0.5, burn: 1.2, now: at(11), want: 25 * day},
		{name: "month at its pace", o: november, left: 0.5, burn: 1, now: at(11)},
		{name: "first instant of a month", o: november, left: 1, burn: 2, now: at(1), ok: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := tc.o.BudgetLasts(tc.left, tc.burn, tc.now)
			if ok != tc.ok || (got-tc.want).Abs() > time.Millisecond {
				t.Errorf("BudgetLasts(%g, %g, %s) = %s, %t; want %s, %t", tc.left, tc.burn, tc.now, got, ok, tc.want, tc.ok)
			}
		})
	}
}

func TestExcluded(t *testing.T) {
	at := time.Date(2026, 12, 1, 3, 0, 0, 0, time.UTC)
	f := Flow{Exclude: []Exclusion{
		{From: at.Add(-time.Hour), For: 2 * time.Hour, Why: "upgrade"},
		{Every: Daily, At: 2*time.Hour + 30*time.Minute, For: time.Hour, Why: "backups"},
	}}
	for _, tc := range []struct {
		name  string
		t     time.Time
		why   string
		until time.Duration // after at
	}{
		{name: "before", t: at.Add(-time.Hour - 1)},
		{name: "first instant", t: at.Add(-time.Hour), why: "upgrade", until: time.Hour},
		{name: "both", t: at, why: "upgrade", until: time.Hour},
		{name: "end", t: at.Add(time.Hour)},
		{name: "next day", t: at.Add(24 * time.Hour), why: "backups", until: 24*time.Hour + 30*time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, until, ok := f.Excluded(tc.t)
			if ok != (tc.why != "") || e.Why != tc.why || (ok && !until.Equal(at.Add(tc.until))) {
				t.Errorf("Excluded(%s) = %q until %s, %t; want %q until %s", tc.t, e.Why, until, ok, tc.why, at.Add(tc.until))
			}
		})
	}
}
