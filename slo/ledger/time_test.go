package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

func at(t testing.TB, s string) time.Time {
	t.Helper()
	out, err := time.Parse("2006-01-02T15:04:05Z", s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func add(l *Ledger, t time.Time, good, bad uint64) {
	l.Add(t, []Entry{{ID: "checkout", Good: good, Bad: bad}})
}

// short returns the figures of a state that tests compare: bad of total over the
// period, and the counters.
func short(s State) string {
	p := s.Period()
	return fmt.Sprintf("period %g of %g, ever %d of %d", p.Bad, p.Total, s.Errors, s.Events)
}

// TestCalendarPeriodBeginsAnew spends budget before and after a month's end in
// Zurich, in which clocks went back.
func TestCalendarPeriodBeginsAnew(t *testing.T) {
	zurich := zones[1]
	l := New(at(t, "2026-09-30T21:00:00Z"))
	def := Def{ID: "checkout", Windows: windows, Calendar: slo.Calendar{Unit: slo.Month, Zone: zurich}}
	l.Define([]Def{def})
	for _, step := range []struct {
		at, want, start string
		days            time.Duration // of 24 h, less or more what clocks change
	}{
		{"2026-09-30T21:59:59Z", "period 1 of 10, ever 1 of 10", "2026-08-31T22:00:00Z", 720 * time.Hour},
		{"2026-09-30T22:00:00Z", "period 1 of 10, ever 2 of 20", "2026-09-30T22:00:00Z", 745 * time.Hour},
		{"2026-10-25T00:30:00Z", "period 2 of 20, ever 3 of 30", "2026-09-30T22:00:00Z", 745 * time.Hour},
		{"2026-10-31T22:59:59Z", "period 3 of 30, ever 4 of 40", "2026-09-30T22:00:00Z", 745 * time.Hour},
		{"2026-10-31T23:00:00Z", "period 1 of 10, ever 5 of 50", "2026-10-31T23:00:00Z", 720 * time.Hour},
		{"2027-02-01T00:00:00Z", "period 1 of 10, ever 6 of 60", "2027-01-31T23:00:00Z", 672 * time.Hour},
	} {
		add(l, at(t, step.at), 9, 1)
		s := state(t, l, "checkout")
		if got := short(s); got != step.want {
			t.Errorf("at %s: %s, want %s", step.at, got, step.want)
		}
		if !s.PeriodStart.Equal(at(t, step.start)) || s.PeriodEnd.Sub(s.PeriodStart) != step.days || s.Period().Length != step.days {
			t.Errorf("at %s: the period is %v … %v, want %s and %v", step.at, s.PeriodStart.UTC(), s.PeriodEnd.UTC(), step.start, step.days)
		}
	}
	// The other way of looking at it is there at once: nothing was forgotten.
	def.Calendar.Unit = slo.Quarter
	l.Define([]Def{def})
	l.Define([]Def{{ID: "checkout", Windows: windows}})
	s := state(t, l, "checkout")
	if got, want := short(s), "period 1 of 10, ever 6 of 60"; got != want {
		t.Errorf("rolling again: %s, want %s", got, want)
	}
	if !s.PeriodEnd.Equal(l.Now()) || s.PeriodEnd.Sub(s.PeriodStart) != month {
		t.Errorf("the rolling period is %v … %v, want 30 days until now", s.PeriodStart, s.PeriodEnd)
	}
}

// TestQuarterIsWhole keeps events of the first day of a quarter until its last.
func TestQuarterIsWhole(t *testing.T) {
	l := New(at(t, "2026-07-01T00:00:00Z"))
	l.Define([]Def{{ID: "checkout", Windows: []time.Duration{time.Hour, 90 * 24 * time.Hour}, Calendar: slo.Calendar{Unit: slo.Quarter}}})
	add(l, at(t, "2026-07-01T00:00:00Z"), 0, 1)
	l.Advance(at(t, "2026-09-30T23:59:59Z"))
	s := state(t, l, "checkout")
	if got := short(s); got != "period 1 of 1, ever 1 of 1" {
		t.Errorf("on day 92: %s, want the event of day 1", got)
	}
	if w := s.Windows[1]; w.Total != 0 {
		t.Errorf("on day 92 the window of 90 days holds %g, want nothing", w.Total)
	}
	l.Advance(at(t, "2026-10-01T00:00:00Z"))
	if got := short(state(t, l, "checkout")); got != "period 0 of 0, ever 1 of 1" {
		t.Errorf("in the next quarter: %s, want nothing", got)
	}
}

// TestExclusionsRecompute excludes an outage before, while and after it happens.
func TestExclusionsRecompute(t *testing.T) {
	start := at(t, "2026-03-01T00:00:00Z")
	outage := start.Add(2 * time.Hour)
	exclude := []slo.Exclusion{{From: outage, For: time.Hour}}
	for _, tc := range []struct {
		name  string
		from  time.Duration // when the exclusion is defined, since start
		after string
	}{
		{name: "announced", from: 0, after: "period 0 of 4320"},
		{name: "while it goes on", from: 2*time.Hour + 30*time.Minute, after: "period 0 of 4320"},
		{name: "two days later", from: 48 * time.Hour, after: "period 0 of 4320"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := New(start)
			def := Def{ID: "checkout", Windows: windows}
			l.Define([]Def{def})
			for now := start; now.Before(start.Add(49 * time.Hour)); now = now.Add(10 * time.Second) {
				if now.Sub(start) == tc.from {
					def.Exclude = exclude
					l.Define([]Def{def})
				}
				switch s := now.Sub(outage); {
				case s >= 0 && s < time.Hour:
					add(l, now, 0, 1)
				case now.Sub(start) < 13*time.Hour:
					add(l, now, 1, 0)
				default:
					l.Advance(now)
				}
			}
			p := state(t, l, "checkout").Period()
			if got := fmt.Sprintf("period %g of %g", p.Bad, p.Total); got != tc.after {
				t.Errorf("excluded: %s, want %s", got, tc.after)
			}
			def.Exclude = nil
			l.Define([]Def{def})
			if p := state(t, l, "checkout").Period(); p.Bad != 360 || p.Total != 4680 {
				t.Errorf("no longer excluded: %g of %g, want all 360 of 4680 back", p.Bad, p.Total)
			}
		})
	}
}

// TestCountersGoByWhatWasKnown: what arrives in an exclusion in force is not in
// the counters, ever; what is excluded later stays.
func TestCountersGoByWhatWasKnown(t *testing.T) {
	l := New(at(t, "2026-03-01T00:00:00Z"))
	def := Def{ID: "checkout", Windows: windows, Exclude: []slo.Exclusion{
		{From: at(t, "2026-03-01T02:00:00Z"), For: time.Hour},
		{From: at(t, "2026-03-01T03:00:00Z"), For: 5 * time.Minute},
	}}
	l.Define([]Def{def})
	for _, step := range []struct {
		at, want string
		excluded string // until
	}{
		{at: "2026-03-01T01:59:59Z", want: "period 1 of 1, ever 1 of 1"},
		{at: "2026-03-01T02:00:00Z", want: "period 1 of 1, ever 1 of 1", excluded: "2026-03-01T03:05:00Z"},
		{at: "2026-03-01T03:04:59Z", want: "period 1 of 1, ever 1 of 1", excluded: "2026-03-01T03:05:00Z"},
		{at: "2026-03-01T03:05:00Z", want: "period 2 of 2, ever 2 of 2"},
	} {
		add(l, at(t, step.at), 0, 1)
		s := state(t, l, "checkout")
		if got := short(s); got != step.want {
			t.Errorf("at %s: %s, want %s", step.at, got, step.want)
		}
		if s.Excluded != (step.excluded != "") || s.Excluded && !s.ExcludedUntil.Equal(at(t, step.excluded)) {
			t.Errorf("at %s: excluded is %t until %v, want until %q", step.at, s.Excluded, s.ExcludedUntil.UTC(), step.excluded)
		}
	}
	def.Exclude = nil
	l.Define([]Def{def})
	if got, want := short(state(t, l, "checkout")), "period 4 of 4, ever 2 of 2"; got != want {
		t.Errorf("no longer excluded: %s, want %s", got, want)
	}
}

// TestExclusionsForEver: one that comes again every day does so after more than a year, and
// one of 100 days ago still counts in a quarter.
func TestExclusionsForEver(t *testing.T) {
	l := New(at(t, "2026-01-01T00:00:00Z"))
	l.Define([]Def{
		{ID: "checkout", Windows: windows, Exclude: []slo.Exclusion{{Every: slo.Daily, At: 2 * time.Hour, For: time.Hour}}},
		{ID: "search", Windows: []time.Duration{time.Hour, 120 * 24 * time.Hour}, Exclude: []slo.Exclusion{{From: at(t, "2026-01-01T02:00:00Z"), For: time.Hour}}},
	})
	for now := l.Now(); now.Before(at(t, "2027-07-01T00:00:00Z")); now = now.Add(30 * time.Minute) {
		l.Add(now, []Entry{{ID: "checkout", Good: 1}, {ID: "search", Good: 1}})
		if now.Equal(at(t, "2026-04-11T00:00:00Z")) {
			if s, want := state(t, l, "search"), 100*48-2+1; s.Period().Total != float64(want) {
				t.Errorf("after 100 days: %g events, want %d", s.Period().Total, want)
			}
		}
	}
	s := state(t, l, "checkout")
	if got, want := s.Period().Total, 30*46+1.0; got != want {
		t.Errorf("the last 30 days hold %g events, want %g: 46 a day, and that at the far edge", got, want)
	}
	if want := uint64(546 * 46); s.Events != want {
		t.Errorf("%d events ever, want %d", s.Events, want)
	}
}

// TestSlices plays what happens, by seconds since a full hour, and says what was
// counted then.
func TestSlices(t *testing.T) {
	type step struct {
		at        int // s
		good, bad uint64
		want      string // bad of total slices
	}
	minute := Slice{Length: time.Minute, Target: 0.95}
	for _, tc := range []struct {
		name    string
		slice   Slice
		fresh   time.Duration
		exclude []slo.Exclusion
		start   int
		steps   []step
	}{
		{name: "a slice counts when it has ended", slice: minute, steps: []step{
			{at: 20, good: 19, bad: 1, want: "0 of 0"},
			{at: 59, want: "0 of 0"},
			{at: 60, want: "0 of 1"},
			{at: 61, good: 18, bad: 1, want: "0 of 1"},
			{at: 120, good: 1000, want: "1 of 2"},
			{at: 180, want: "1 of 3"},
		}},
		{name: "7 of 100 keep 7%", slice: Slice{Length: time.Minute, Target: 0.07}, steps: []step{
			{at: 1, good: 7, bad: 93, want: "0 of 0"}, {at: 61, good: 6, bad: 94, want: "0 of 1"}, {at: 121, want: "1 of 2"},
		}},
		{name: "idle slices are good", slice: minute, steps: []step{{at: 60, want: "0 of 1"}, {at: 120, want: "0 of 2"}, {at: 180, want: "0 of 3"}}},
		{name: "a minute without a word is watched", slice: minute, steps: []step{
			{at: 30, want: "0 of 0"}, {at: 90, want: "0 of 1"}, {at: 150, want: "0 of 2"},
		}},
		{name: "a second more is not, and neither are slices cut by it", slice: minute, steps: []step{
			{at: 30, want: "0 of 0"}, {at: 91, want: "0 of 0"}, {at: 121, want: "0 of 0"}, {at: 180, want: "0 of 1"},
		}},
		{name: "cut slices that hold events", slice: minute, steps: []step{
			{at: 30, bad: 1, want: "0 of 0"}, {at: 500, good: 1, want: "1 of 1"}, {at: 540, want: "1 of 2"},
		}},
		{name: "down from one full minute to another", slice: minute, steps: []step{
			{at: 60, want: "0 of 1"}, {at: 240, want: "0 of 1"}, {at: 300, want: "0 of 2"},
		}},
		{name: "born in the middle", slice: minute, start: 30, steps: []step{{at: 60, want: "0 of 0"}, {at: 120, want: "0 of 1"}}},
		{name: "born in the middle, with events", slice: minute, start: 30, steps: []step{{at: 40, bad: 1, want: "0 of 0"}, {at: 60, want: "1 of 1"}}},
		{name: "long slices set the limit", slice: Slice{Length: 10 * time.Minute, Target: 1}, steps: []step{
			{at: 10, bad: 1, want: "0 of 0"}, {at: 610, want: "1 of 1"}, {at: 1211, want: "1 of 1"}, {at: 1800, want: "1 of 1"}, {at: 2400, want: "1 of 2"},
		}},
		{name: "short ones do not", slice: Slice{Length: 10 * time.Second, Target: 1}, steps: []step{{at: 5, bad: 1, want: "0 of 0"}, {at: 65, want: "1 of 6"}}},
		{
			name: "excluded by the last instant", slice: Slice{Length: 10 * time.Minute, Target: 1},
			exclude: []slo.Exclusion{{From: time.Unix(5*60, 0), For: 5 * time.Minute}},
			steps:   []step{{at: 250, bad: 1, want: "0 of 0"}, {at: 600, want: "0 of 0"}, {at: 1200, want: "0 of 1"}},
		},
		{
			name: "judged by what is after an exclusion", slice: Slice{Length: 10 * time.Minute, Target: 1},
			exclude: []slo.Exclusion{{From: time.Unix(0, 0), For: 5 * time.Minute}},
			steps:   []step{{at: 250, bad: 1, want: "0 of 0"}, {at: 310, good: 1, want: "0 of 0"}, {at: 600, want: "0 of 1"}},
		},

		{name: "fresh: a success of exactly the age", fresh: 2 * time.Minute, steps: []step{
			{at: 60, good: 1, want: "0 of 1"},
			{at: 120, want: "0 of 2"},
			{at: 180, want: "0 of 3"},
			{at: 240, want: "1 of 4"},
			{at: 250, bad: 1, want: "1 of 4"},
			{at: 299, good: 1, bad: 5, want: "1 of 4"},
			{at: 300, want: "1 of 5"},
		}},
		{name: "fresh: before the first success", fresh: time.Minute, steps: []step{
			{at: 60, want: "0 of 1"}, {at: 120, want: "1 of 2"}, {at: 180, want: "2 of 3"},
		}},
		{name: "fresh: time nobody watched does not age", fresh: 2 * time.Minute, steps: []step{
			{at: 60, good: 1, want: "0 of 1"}, {at: 120, want: "0 of 2"}, {at: 3600, want: "0 of 2"}, {at: 3660, want: "0 of 3"}, {at: 3720, want: "1 of 4"},
		}},
		{
			name: "fresh: excluded minutes do not count, and age", fresh: 2 * time.Minute,
			exclude: []slo.Exclusion{{From: time.Unix(300, 0), For: 5 * time.Minute}},
			steps: []step{
				{at: 60, want: "0 of 1"},
				{at: 120, want: "0 of 2"},
				{at: 180, want: "1 of 3"},
				{at: 240, want: "2 of 4"},
				{at: 300, want: "3 of 5"},
				{at: 360, want: "3 of 5"},
				{at: 420, want: "3 of 5"},
				{at: 480, want: "3 of 5"},
				{at: 540, want: "3 of 5"},
				{at: 600, want: "3 of 5"},
				{at: 660, want: "4 of 6"},
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hour := at(t, "2026-03-01T10:00:00Z")
			for i := range tc.exclude {
				tc.exclude[i].From = hour.Add(time.Duration(tc.exclude[i].From.Unix()) * time.Second)
			}
			l := New(hour.Add(time.Duration(tc.start) * time.Second))
			def := Def{ID: "checkout", Windows: windows, Slice: tc.slice, Fresh: tc.fresh, Exclude: tc.exclude}
			l.Define([]Def{def})
			for _, s := range tc.steps {
				add(l, hour.Add(time.Duration(s.at)*time.Second), s.good, s.bad)
				got := state(t, l, "checkout")
				if fmt.Sprintf("%d of %d", got.Errors, got.Events) != s.want || fmt.Sprintf("%g of %g", got.Period().Bad, got.Period().Total) != s.want {
					t.Errorf("at %d s: %s, want %s", s.at, short(got), s.want)
				}
				var err error
				if l, err = Restore(l.Snapshot(nil)); err != nil {
					t.Fatal(err)
				}
				l.Define([]Def{def})
			}
		})
	}
}

func TestAnotherUnitBeginsAfresh(t *testing.T) {
	l := New(at(t, "2026-03-01T10:00:00Z"))
	events := Def{ID: "checkout", Windows: windows}
	minutes := Def{ID: "checkout", Windows: windows, Slice: Slice{Length: time.Minute, Target: 0.9}}
	stricter := Def{ID: "checkout", Windows: windows, Slice: Slice{Length: time.Minute, Target: 0.99}}
	long := Def{ID: "checkout", Windows: windows, Slice: Slice{Length: 5 * time.Minute, Target: 0.99}}
	fresh := Def{ID: "checkout", Windows: windows, Fresh: time.Hour}
	fresher := Def{ID: "checkout", Windows: windows, Fresh: time.Minute}
	l.Define([]Def{events})
	add(l, l.Now(), 9, 1)
	for _, tc := range []struct {
		name string
		def  Def
		want bool
	}{
		{"the same", events, false},
		{"minutes", minutes, true},
		{"minutes judged in another way", stricter, false},
		{"five minutes", long, true},
		{"freshness", fresh, true},
		{"freshness of another age", fresher, false},
		{"minutes instead of freshness", minutes, true},
		{"events again", events, true},
	} {
		before := state(t, l, "checkout")
		afresh := l.Define([]Def{tc.def})
		s := state(t, l, "checkout")
		if got := slices.Equal(afresh, []string{"checkout"}); got != tc.want || len(afresh) > 1 {
			t.Errorf("%s: Define begins %v afresh, want %t", tc.name, afresh, tc.want)
		}
		if total := s.Period().Total; (total == 0) != tc.want {
			t.Errorf("%s: the period holds %g, before %g", tc.name, total, before.Period().Total)
		}
		if s.Events != before.Events || s.Errors != before.Errors {
			t.Errorf("%s: counters are %d of %d, want them to go on from %d of %d", tc.name, s.Errors, s.Events, before.Errors, before.Events)
		}
		for range 11 { // something to lose: two slices of five minutes
			add(l, l.Now().Add(time.Minute), 9, 1)
		}
	}
	// Away for a while, nobody watches.
	l.Define([]Def{minutes})
	l.Define(nil)
	for range 60 {
		add(l, l.Now().Add(time.Minute), 1, 0)
	}
	l.Define([]Def{minutes})
	l.Advance(l.Now().Add(time.Second))
	if total := state(t, l, "checkout").Period().Total; total != 0 {
		t.Errorf("%g minutes count of an hour away, want none", total)
	}
}

// TestBurnStartAndSinceWithSlicesAndExclusions: a burn in slices begins with the
// first bad slice, and what is excluded is no burn.
func TestBurnStartAndSinceWithSlicesAndExclusions(t *testing.T) {
	start := at(t, "2026-03-01T10:00:00Z")
	for _, tc := range []struct {
		name       string
		def        Def
		from       time.Duration // the outage, since start; to the hour's end
		want       time.Duration
		bad, total uint64
	}{
		{name: "events", from: 40 * time.Minute, want: 40 * time.Minute, bad: 120, total: 120},
		{name: "minutes", def: Def{Slice: Slice{Length: time.Minute, Target: 0.9}}, from: 40 * time.Minute, want: 40 * time.Minute, bad: 20, total: 20},
		{name: "five minutes", def: Def{Slice: Slice{Length: 5 * time.Minute, Target: 0.9}}, from: 40 * time.Minute, want: 40 * time.Minute, bad: 4, total: 4},
		{
			name: "excluded at first", def: Def{Exclude: []slo.Exclusion{{From: start.Add(40 * time.Minute), For: 10 * time.Minute}}},
			from: 40 * time.Minute, want: 50 * time.Minute, bad: 60, total: 60,
		},
		{
			name: "minutes excluded at first", def: Def{Slice: Slice{Length: time.Minute, Target: 0.9}, Exclude: []slo.Exclusion{{From: start.Add(40 * time.Minute), For: 10 * time.Minute}}},
			from: 40 * time.Minute, want: 50 * time.Minute, bad: 10, total: 10,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.def.ID, tc.def.Windows = "checkout", windows
			l := New(start)
			l.Define([]Def{tc.def})
			for s := time.Duration(0); s < time.Hour; s += 10 * time.Second {
				if s < tc.from {
					add(l, start.Add(s), 1, 0)
				} else {
					add(l, start.Add(s), 0, 1)
				}
			}
			now := start.Add(time.Hour)
			l.Advance(now)
			got := l.BurnStart("checkout", now.Add(-time.Second), 0.001)
			if want := start.Add(tc.want); !got.Equal(want) {
				t.Errorf("BurnStart = %v, want %v", got.UTC(), want)
			}
			if bad, total := l.Since("checkout", got); bad != tc.bad || total != tc.total {
				t.Errorf("Since = %d of %d, want %d of %d", bad, total, tc.bad, tc.total)
			}
		})
	}
}

// TestVersion1IsRead restores what the first release wrote.
func TestVersion1IsRead(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "v1.snapshot"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Restore(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Replay(AppendRecord(nil, l.Now(), []Entry{{ID: "checkout", Good: 1}})); err != nil {
		t.Fatal(err)
	}
	ws := []time.Duration{5 * time.Minute, time.Hour, 24 * time.Hour, month}
	if afresh := l.Define([]Def{{ID: "checkout", Windows: ws}, {ID: "search", Windows: ws}}); len(afresh) > 0 {
		t.Errorf("Define begins %v afresh, want nothing", afresh)
	}
	want := []Window{{ws[0], 1, 201}, {ws[1], 1, 399}, {ws[2], 39, 7060}, {ws[3], 199, 20100}}
	if s := state(t, l, "checkout"); !slices.Equal(s.Windows, want) || s.Events != 20100 || s.Errors != 199 {
		t.Errorf("checkout is %+v, want %+v", s, want)
	}
	if s := state(t, l, "search"); s.Events != 200 {
		t.Errorf("search, which was not defined, has %d events, want 200", s.Events)
	}
}

// TestVersion2IsRead restores what was written before six hours moved by the
// minute: ten hours of an entry every 20 s, 7 events and in the last hour 20, and
// the same time in slices of a minute.
func TestVersion2IsRead(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "v2.snapshot"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Restore(data)
	if err != nil {
		t.Fatal(err)
	}
	out := slo.Exclusion{Every: slo.Once, From: t0.Add(3 * time.Hour).Truncate(slo.ExclusionStep), For: 10 * time.Minute}
	l.Define([]Def{
		{ID: "checkout", Windows: windows, Exclude: []slo.Exclusion{out}},
		{ID: "nightly", Windows: windows, Slice: Slice{Length: time.Minute, Target: 0.9}},
	})
	for _, step := range []struct {
		after                                time.Duration
		checkout1h, checkout6h, nightly6h, d string
	}{
		// As it was, then without the calm hours: minutes are kept where two hours
		// of 10 s were, and an hour that begins within one has its share of it.
		{0, "2521.0 of 3607.0", "3421.0 of 9907.0", "359.7 of 359.7", "4110.0 of 14730.0"},
		{5 * time.Hour, "0.0 of 0.0", "2516.7 of 3602.7", "60.7 of 60.7", "4110.0 of 14730.0"},
		{61 * time.Minute, "0.0 of 0.0", "0.0 of 0.0", "0.0 of 0.0", "4110.0 of 14730.0"},
	} {
		l.Advance(l.Now().Add(step.after))
		checkout, nightly := state(t, l, "checkout"), state(t, l, "nightly")
		show := func(s State, length time.Duration) string {
			w, _ := s.Window(length)
			return fmt.Sprintf("%.1f of %.1f", w.Bad, w.Total)
		}
		for _, c := range []struct{ name, got, want string }{
			{"checkout over 1h", show(checkout, time.Hour), step.checkout1h},
			{"checkout over 6h", show(checkout, 6*time.Hour), step.checkout6h},
			{"nightly over 6h", show(nightly, 6*time.Hour), step.nightly6h},
			{"checkout over a day", show(checkout, 24*time.Hour), step.d},
		} {
			if c.got != c.want {
				t.Errorf("after %v more, %s is %s, want %s", step.after, c.name, c.got, c.want)
			}
		}
	}
}

// TestSpread makes minutes of what 10 s and five minutes hold: none lost, none
// bad that is not there, and each where it was as far as that is known.
func TestSpread(t *testing.T) {
	now := t0.UnixMilli()
	rng := rand.New(rand.NewPCG(5, 6))
	f, want, c := newRing(fineSlot, now, fineSpan, nil), newRing(middleSlot, now, middleSpan, nil), newRing(coarseSlot, now, middleSpan, nil)
	for range 4000 {
		at := now - rng.Int64N(middleSpan-coarseSlot)
		total := 1 + rng.Uint64N(4)
		bad := rng.Uint64N(total + 1)
		for _, r := range []*ring{&f, &want, &c} {
			r.add(at/r.res, bad, total, false)
		}
	}
	got := newRing(middleSlot, now, middleSpan, nil)
	got.spread(&f, &c)
	sum := func(r *ring) (out counts) {
		for _, s := range r.slots {
			out.bad += s.bad
			out.total += s.total
		}
		return out
	}
	if sum(&got) != sum(&want) {
		t.Errorf("minutes hold %+v, want %+v", sum(&got), sum(&want))
	}
	known := got.head - (fineSpan-coarseSlot)/middleSlot
	for n := got.head; got.has(n); n-- {
		if s := got.at(n, nil); s.bad > s.total {
			t.Errorf("minute %d has %d bad of %d", n-got.head, s.bad, s.total)
		}
		if n > known && got.at(n, nil) != want.at(n, nil) {
			t.Errorf("minute %d is %+v, want %+v", n-got.head, got.at(n, nil), want.at(n, nil))
		}
	}
}

// FuzzRestore: what is restored can go on, and is written as it was.
func FuzzRestore(f *testing.F) {
	l := New(t0)
	l.Define([]Def{
		{ID: "a", Windows: windows, Slice: Slice{Length: time.Minute, Target: 0.9}, Exclude: []slo.Exclusion{{Every: slo.Daily, For: time.Hour}}},
		{ID: "b", Windows: windows[:3], Fresh: time.Hour, Calendar: slo.Calendar{Unit: slo.Week}},
	})
	l.Add(t0.Add(time.Minute), []Entry{{ID: "a", Good: 1, Bad: 1}, {ID: "b", Good: 1}})
	snap := l.Snapshot(nil)
	f.Add(snap[:len(snap)-4])
	for _, name := range []string{"v1.snapshot", "v2.snapshot"} {
		old, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(old[:len(old)-4])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		l, err := Restore(binary.LittleEndian.AppendUint32(slices.Clone(body), crc32.Checksum(body, castagnoli)))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("Restore: %v, want ErrCorrupt", err)
			}
			return
		}
		l.Advance(l.Now().Add(90 * time.Second))
		once := l.Snapshot(nil)
		again, err := Restore(once)
		if err != nil {
			t.Fatalf("restored, gone on and written: %v", err)
		}
		if twice := again.Snapshot(nil); !slices.Equal(once, twice) {
			t.Errorf("written again: %x, want %x", twice, once)
		}
	})
}

// hard is what costs most: a calendar, exclusions that come again, and slices.
func hard(id string) Def {
	return Def{
		ID: id, Windows: windows, Calendar: slo.Calendar{Unit: slo.Month, Zone: zones[1]},
		Exclude: []slo.Exclusion{{Every: slo.Daily, At: 2 * time.Hour, For: time.Hour, Zone: zones[1]}},
		Slice:   Slice{Length: time.Minute, Target: 0.95},
	}
}

// TestAddDoesNotAllocate pins it, but for the one time a day at which cuts are
// worked out.
func TestAddDoesNotAllocate(t *testing.T) {
	l := New(at(t, "2026-03-01T10:00:00Z"))
	l.Define([]Def{hard("checkout"), {ID: "search", Windows: windows, Exclude: hard("").Exclude}})
	entries := []Entry{{ID: "checkout", Good: 9, Bad: 1}, {ID: "search", Good: 9}}
	now := l.Now()
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(40 * time.Second)
		l.Add(now, entries)
	}); n != 0 {
		t.Errorf("Add allocates %g times, want 0", n)
	}
}
