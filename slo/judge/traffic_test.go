package judge_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/judge"
	"github.com/slowburn-slo/slowburn/slo/ledger"
)

// TestTrafficMissing lets traffic come and go, read once a minute. Times are
// since the traffic began, at noon.
func TestTrafficMissing(t *testing.T) {
	const day = 24 * time.Hour
	always := func(perMinute uint64) func(time.Duration) uint64 {
		return func(time.Duration) uint64 { return perMinute }
	}
	nights := func(at time.Duration) uint64 { // from 02:00 until 03:00, give or take a few minutes
		late := time.Duration(at/day) * 2 * time.Minute
		if h := (at + 12*time.Hour) % day; h >= 2*time.Hour+late && h < 3*time.Hour+late {
			return 60
		}
		return 0
	}
	except := func(usual func(time.Duration) uint64, from, to time.Duration, perMinute uint64) func(time.Duration) uint64 {
		return func(at time.Duration) uint64 {
			if at > from && at <= to {
				return perMinute
			}
			return usual(at)
		}
	}
	for _, tc := range []struct {
		name     string
		traffic  func(at time.Duration) uint64 // events in the minute until then
		length   time.Duration
		exclude  slo.Exclusion
		down     [2]time.Duration // slowburn does not run
		restart  time.Duration
		window   time.Duration // 0: 30 days
		want     [2]time.Duration
		expected uint64
	}{
		{name: "steady", traffic: always(60), length: 9 * day},
		{name: "never had any", traffic: always(0), length: 9 * day},
		{name: "gone", traffic: except(always(60), 8*day, 8*day+2*time.Hour, 0), length: 9 * day, want: [2]time.Duration{8*day + 15*time.Minute, 8*day + 125*time.Minute}, expected: 900},
		{name: "gone, with a day of history", traffic: except(always(60), 2*day, 2*day+2*time.Hour, 0), length: 3 * day, want: [2]time.Duration{2*day + 15*time.Minute, 2*day + 125*time.Minute}, expected: 900},
		{name: "gone, with a week's window", window: 7 * day, traffic: except(always(60), 9*day, 9*day+2*time.Hour, 0), length: 10 * day, want: [2]time.Duration{9*day + 15*time.Minute, 9*day + 125*time.Minute}, expected: 900},
		{name: "gone on the first day", traffic: except(always(60), 20*time.Hour, day, 0), length: day},
		{name: "gone but for a health check", traffic: except(always(600), 8*day, 8*day+2*time.Hour, 1), length: 9 * day, want: [2]time.Duration{8*day + 15*time.Minute, 8*day + 125*time.Minute}, expected: 9000},
		{name: "a tenth is left", traffic: except(always(600), 8*day, 8*day+2*time.Hour, 60), length: 9 * day},
		{name: "one a minute is too little to miss", traffic: except(always(1), 8*day, 8*day+2*time.Hour, 0), length: 9 * day},
		{name: "nights only", traffic: nights, length: 9 * day},
		{name: "a night is missed", traffic: except(nights, 8*day, 9*day, 0), length: 10 * day, want: [2]time.Duration{8*day + 14*time.Hour + 30*time.Minute, 9*day + 14*time.Hour + 23*time.Minute}, expected: 180},
		{name: "gone while it is excluded", traffic: except(always(60), 8*day, 8*day+time.Hour, 0), length: 9 * day, exclude: slo.Exclusion{From: noon.Add(8 * day), For: 65 * time.Minute}},
		{name: "slowburn is down", traffic: always(60), length: 9 * day, down: [2]time.Duration{8 * day, 8*day + time.Hour}},
		{name: "a restart", traffic: except(always(60), 8*day, 8*day+2*time.Hour, 0), length: 9 * day, restart: 8*day + time.Hour, want: [2]time.Duration{8*day + 15*time.Minute, 8*day + 125*time.Minute}, expected: 900},
		{name: "gone for good", traffic: except(always(60), 8*day, 19*day, 0), length: 8*day + 25*time.Hour, want: [2]time.Duration{8*day + 15*time.Minute, 9*day + 15*time.Minute}, expected: 900},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := scenario{Window: span(tc.window)}
			s := c.slo()
			def := ledger.Def{ID: s.ID(), Windows: s.Objective.Windows()}
			if tc.exclude.For > 0 {
				def.Exclude = []slo.Exclusion{tc.exclude}
			}
			l := ledger.New(noon)
			l.Define([]ledger.Def{def})
			j := &judge.Traffic{}
			var got [2]time.Duration
			var expected uint64
			changes := 0
			for at := time.Minute; at <= tc.length; at += time.Minute {
				if at > tc.down[0] && at <= tc.down[1] {
					continue
				}
				if at == tc.restart {
					b, err := json.Marshal(j.Save())
					if err != nil {
						t.Fatal(err)
					}
					var saved judge.SavedTraffic
					if err := json.Unmarshal(b, &saved); err != nil {
						t.Fatal(err)
					}
					j = &judge.Traffic{}
					j.Restore(saved)
				}
				now := noon.Add(at)
				l.Add(now, []ledger.Entry{{ID: s.ID(), Good: tc.traffic(at)}})
				state, _ := l.State(s.ID())
				v := j.Step(now, l, s.ID(), state.Excluded)
				if !v.Changed {
					continue
				}
				changes++
				if v.Missing && got[0] == 0 {
					got[0], expected = at, v.Expected
				} else if !v.Missing {
					got[1] = at
				}
			}
			t.Logf("want %v, got %v", tc.want, got)
			for i := range got {
				if got[i] < tc.want[i] || got[i] > tc.want[i]+time.Minute {
					t.Errorf("missing from and to: got %v, want %v", got, tc.want)
				}
			}
			if expected != tc.expected {
				t.Errorf("expected traffic: got %d, want %d", expected, tc.expected)
			}
			if changes > 2 {
				t.Errorf("it changed %d times, want two at most", changes)
			}
		})
	}
}

func TestTrafficOf(t *testing.T) {
	f := slo.Flow{Name: "checkout", Service: "shop", Objectives: []slo.Objective{
		{Name: "fresh", Kind: slo.Fresh}, {Name: "minutes", Slice: time.Minute}, {Name: "fast", Kind: slo.FasterThan},
	}}
	if s, ok := judge.TrafficOf(&f); !ok || s.Objective.Name != "fast" {
		t.Errorf("TrafficOf = %q, %v, want the objective that counts requests", s.Objective.Name, ok)
	}
	f.Objectives = f.Objectives[:2]
	if s, ok := judge.TrafficOf(&f); ok {
		t.Errorf("TrafficOf = %q, want none: it has nothing but slices", fmt.Sprint(s.Objective.Name))
	}
}
