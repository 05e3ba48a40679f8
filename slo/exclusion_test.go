package slo

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestBetween holds intervals against instants worked out by hand.
func TestBetween(t *testing.T) {
	const hour = time.Hour
	for _, tc := range []struct {
		name            string
		e               Exclusion
		zone            string
		earliest, until string // Exclusion.From and Until
		from, to        string
		want            []string // starts
	}{
		{
			name: "one-off", e: Exclusion{For: 2 * hour}, earliest: "2026-12-01T01:00Z",
			from: "2026-11-01T00:00Z", to: "2027-01-01T00:00Z", want: []string{"2026-12-01T01:00Z"},
		},
		{
			name: "one-off that begins before the range", e: Exclusion{For: 2 * hour}, earliest: "2026-12-01T01:00Z",
			from: "2026-12-01T02:55Z", to: "2026-12-02T00:00Z", want: []string{"2026-12-01T01:00Z"},
		},
		{
			name: "one-off that ends as the range begins", e: Exclusion{For: 2 * hour}, earliest: "2026-12-01T01:00Z",
			from: "2026-12-01T03:00Z", to: "2026-12-02T00:00Z",
		},
		{
			name: "one-off that begins as the range ends", e: Exclusion{For: 2 * hour}, earliest: "2026-12-01T01:00Z",
			from: "2026-11-01T00:00Z", to: "2026-12-01T01:00Z",
		},
		{
			name: "one-off across clocks that go forward", e: Exclusion{For: 3 * hour}, earliest: "2026-03-29T00:00Z", zone: zurich,
			from: "2026-03-29T02:55Z", to: "2026-03-29T03:00Z", want: []string{"2026-03-29T00:00Z"},
		},
		{name: "no range", e: Exclusion{Every: Daily, For: 24 * hour}, from: "2026-12-01T01:00Z", to: "2026-12-01T01:00Z"},

		// 02:30 does not exist on 29 March 2026 and 28 March 2027 in Zurich, nor on
		// 8 March 2026 and 14 March 2027 in New York; it exists twice on 25 October
		// 2026 and 31 October 2027 in Zurich, and so does 01:30 on 1 November 2026
		// and 7 November 2027 in New York.
		{
			name: "Zurich, daily, forward 2026", e: Exclusion{Every: Daily, At: 2*hour + 30*time.Minute, For: hour}, zone: zurich,
			from: "2026-03-28T00:00Z", to: "2026-03-31T00:00Z",
			want: []string{"2026-03-28T01:30Z", "2026-03-29T01:00Z", "2026-03-30T00:30Z"},
		},
		{
			name: "Zurich, daily, back 2026", e: Exclusion{Every: Daily, At: 2*hour + 30*time.Minute, For: hour}, zone: zurich,
			from: "2026-10-24T00:00Z", to: "2026-10-27T00:00Z",
			want: []string{"2026-10-24T00:30Z", "2026-10-25T00:30Z", "2026-10-26T01:30Z"},
		},
		{
			name: "Zurich, Sundays, forward 2027", e: Exclusion{Every: Weekly, Days: []time.Weekday{time.Sunday}, At: 2*hour + 30*time.Minute, For: hour}, zone: zurich,
			from: "2027-03-20T00:00Z", to: "2027-04-05T00:00Z",
			want: []string{"2027-03-21T01:30Z", "2027-03-28T01:00Z", "2027-04-04T00:30Z"},
		},
		{
			name: "Zurich, Sundays, back 2027", e: Exclusion{Every: Weekly, Days: []time.Weekday{time.Sunday}, At: 2*hour + 30*time.Minute, For: hour}, zone: zurich,
			from: "2027-10-23T00:00Z", to: "2027-11-08T00:00Z",
			want: []string{"2027-10-24T00:30Z", "2027-10-31T00:30Z", "2027-11-07T01:30Z"},
		},
		{
			name: "New York, daily, forward 2026", e: Exclusion{Every: Daily, At: 2*hour + 30*time.Minute, For: hour}, zone: newYork,
			from: "2026-03-07T00:00Z", to: "2026-03-10T00:00Z",
			want: []string{"2026-03-07T07:30Z", "2026-03-08T07:00Z", "2026-03-09T06:30Z"},
		},
		{
			name: "New York, daily, back 2026", e: Exclusion{Every: Daily, At: 2*hour + 30*time.Minute, For: hour}, zone: newYork,
			from: "2026-10-31T00:00Z", to: "2026-11-03T00:00Z",
			want: []string{"2026-10-31T06:30Z", "2026-11-01T07:30Z", "2026-11-02T07:30Z"},
		},
		{
			name: "New York, daily at 01:30, back 2026", e: Exclusion{Every: Daily, At: hour + 30*time.Minute, For: hour}, zone: newYork,
			from: "2026-10-31T00:00Z", to: "2026-11-03T00:00Z",
			want: []string{"2026-10-31T05:30Z", "2026-11-01T05:30Z", "2026-11-02T06:30Z"},
		},
		{
			name: "New York, Sundays, forward 2027", e: Exclusion{Every: Weekly, Days: []time.Weekday{time.Sunday}, At: 2*hour + 30*time.Minute, For: hour}, zone: newYork,
			from: "2027-03-07T00:00Z", to: "2027-03-22T00:00Z",
			want: []string{"2027-03-07T07:30Z", "2027-03-14T07:00Z", "2027-03-21T06:30Z"},
		},
		{
			name: "New York, Sundays at 01:30, back 2027", e: Exclusion{Every: Weekly, Days: []time.Weekday{time.Sunday}, At: hour + 30*time.Minute, For: hour}, zone: newYork,
			from: "2027-11-06T00:00Z", to: "2027-11-15T00:00Z",
			want: []string{"2027-11-07T05:30Z", "2027-11-14T06:30Z"},
		},
		{
			name: "Apia, daily over a day that was left out", e: Exclusion{Every: Daily, At: 2 * hour, For: hour}, zone: "Pacific/Apia",
			from: "2011-12-29T00:00Z", to: "2011-12-31T14:00Z",
			want: []string{"2011-12-29T12:00Z", "2011-12-30T10:00Z", "2011-12-30T12:00Z", "2011-12-31T12:00Z"},
		},

		{
			name: "two days a week", e: Exclusion{Every: Weekly, Days: []time.Weekday{time.Friday, time.Monday}, For: hour},
			from: "2026-12-30T00:00Z", to: "2027-01-12T00:00Z",
			want: []string{"2027-01-01T00:00Z", "2027-01-04T00:00Z", "2027-01-08T00:00Z", "2027-01-11T00:00Z"},
		},
		{
			name: "a day before UTC's", e: Exclusion{Every: Weekly, Days: []time.Weekday{time.Monday}, At: 30 * time.Minute, For: hour}, zone: zurich,
			from: "2026-07-01T00:00Z", to: "2026-07-07T00:00Z", want: []string{"2026-07-05T22:30Z"},
		},

		{
			name: "monthly on the 31st", e: Exclusion{Every: Monthly, Day: 31, For: hour},
			from: "2026-01-01T00:00Z", to: "2027-01-01T00:00Z",
			want: []string{
				"2026-01-31T00:00Z", "2026-03-31T00:00Z", "2026-05-31T00:00Z", "2026-07-31T00:00Z",
				"2026-08-31T00:00Z", "2026-10-31T00:00Z", "2026-12-31T00:00Z",
			},
		},
		{
			name: "monthly on the 30th", e: Exclusion{Every: Monthly, Day: 30, For: hour},
			from: "2028-01-01T00:00Z", to: "2028-05-01T00:00Z",
			want: []string{"2028-01-30T00:00Z", "2028-03-30T00:00Z", "2028-04-30T00:00Z"},
		},
		{
			name: "monthly on the 29th, 2027", e: Exclusion{Every: Monthly, Day: 29, For: hour},
			from: "2027-01-30T00:00Z", to: "2027-04-01T00:00Z", want: []string{"2027-03-29T00:00Z"},
		},
		{
			name: "monthly on the 29th, 2028", e: Exclusion{Every: Monthly, Day: 29, For: hour},
			from: "2028-01-30T00:00Z", to: "2028-04-01T00:00Z", want: []string{"2028-02-29T00:00Z", "2028-03-29T00:00Z"},
		},
		{
			name: "monthly on the 29th, 2100", e: Exclusion{Every: Monthly, Day: 29, For: hour},
			from: "2100-01-30T00:00Z", to: "2100-04-01T00:00Z", want: []string{"2100-03-29T00:00Z"},
		},

		{
			name: "not before From", e: Exclusion{Every: Daily, At: 2 * hour, For: hour}, earliest: "2026-05-03T02:00Z",
			from: "2026-05-01T00:00Z", to: "2026-05-06T00:00Z",
			want: []string{"2026-05-03T02:00Z", "2026-05-04T02:00Z", "2026-05-05T02:00Z"},
		},
		{
			name: "one that begins before From is left out whole", e: Exclusion{Every: Daily, At: 2 * hour, For: hour}, earliest: "2026-05-03T02:05Z",
			from: "2026-05-01T00:00Z", to: "2026-05-05T00:00Z", want: []string{"2026-05-04T02:00Z"},
		},
		{
			name: "not from Until on, though one goes on past it", e: Exclusion{Every: Daily, At: 23 * hour, For: 2 * hour}, until: "2026-05-03T23:00Z",
			from: "2026-05-03T00:30Z", to: "2026-05-06T00:00Z", want: []string{"2026-05-02T23:00Z"},
		},
		{
			name: "longer than what it comes again in", e: Exclusion{Every: Daily, For: 60 * hour},
			from: "2026-05-10T11:55Z", to: "2026-05-11T00:00Z",
			want: []string{"2026-05-08T00:00Z", "2026-05-09T00:00Z", "2026-05-10T00:00Z"},
		},
		{name: "no days", e: Exclusion{Every: Weekly, For: hour}, from: "2026-05-01T00:00Z", to: "2026-08-01T00:00Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.zone != "" {
				tc.e.Zone = zone(t, tc.zone)
			}
			if tc.earliest != "" {
				tc.e.From = utc(t, tc.earliest)
			}
			if tc.until != "" {
				tc.e.Until = utc(t, tc.until)
			}
			var got []string
			for i := range tc.e.Between(utc(t, tc.from), utc(t, tc.to)) {
				got = append(got, i.Start.UTC().Format("2006-01-02T15:04Z"))
				if length := i.End.Sub(i.Start); length != tc.e.For {
					t.Errorf("the interval of %s takes %v, want %v", got[len(got)-1], length, tc.e.For)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("Between(%s, %s) start at\n%v, want\n%v", tc.from, tc.to, got, tc.want)
			}
		})
	}
}

func anyExclusion(t testing.TB, r *rand.Rand, near time.Time) Exclusion {
	e := Exclusion{
		Every: Recurrence(r.IntN(4)),
		For:   time.Duration(1+r.IntN(12*30)) * ExclusionStep,
		Zone:  zone(t, zones[r.IntN(len(zones))]),
		At:    time.Duration(r.IntN(288)) * ExclusionStep,
		Day:   1 + r.IntN(31),
	}
	for range 1 + r.IntN(3) {
		e.Days = append(e.Days, time.Weekday(r.IntN(7)))
	}
	if e.Every == Once || r.IntN(3) == 0 {
		e.From = near.Add(time.Duration(r.Int64N(int64(20*day))) - 10*day).Truncate(ExclusionStep)
	}
	if e.Every != Once && r.IntN(3) == 0 {
		e.Until = near.Add(time.Duration(r.Int64N(int64(20*day))) - 10*day).Truncate(ExclusionStep)
	}
	return e
}

// TestBetweenWhicheverWayItIsCut: intervals are in order, overlap with the range,
// and are the same whether one asks for a range at once or in parts.
func TestBetweenWhicheverWayItIsCut(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 34))
	found := 0
	for range 5000 {
		from := anyTime(r, zone(t, zones[r.IntN(len(zones))]))
		to := from.Add(time.Duration(r.Int64N(int64(40 * day))))
		cut := from.Add(time.Duration(r.Int64N(int64(to.Sub(from)) + 1)))
		e := anyExclusion(t, r, from)
		whole := slices.Collect(e.Between(from, to))
		found += len(whole)
		for i, in := range whole {
			if !in.Start.Before(to) || !in.End.After(from) {
				t.Fatalf("%+v between %v and %v: %v … %v does not overlap", e, from, to, in.Start, in.End)
			}
			if i > 0 && in.Start.Before(whole[i-1].Start) {
				t.Fatalf("%+v between %v and %v: %v comes after %v", e, from, to, in.Start, whole[i-1].Start)
			}
		}
		parts := slices.Collect(e.Between(from, cut))
		for in := range e.Between(cut, to) {
			if !slices.Contains(parts, in) || !in.Start.Before(cut) {
				parts = append(parts, in)
			}
		}
		slices.SortStableFunc(parts, func(a, b Interval) int { return a.Start.Compare(b.Start) })
		if !slices.Equal(parts, whole) {
			t.Fatalf("%+v between %v and %v, cut at %v:\n%v, want\n%v", e, from, to, cut, parts, whole)
		}
	}
	if found < 5000 {
		t.Errorf("only %d intervals were looked at", found)
	}
}
