package words

import (
	"math"
	"testing"
	"time"
)

func TestFigures(t *testing.T) {
	nan := math.NaN()
	for _, tc := range []struct {
		name  string
		write func(float64) string
		want  map[string]float64 // what is written → the value
	}{
		{"Share", Share, map[string]float64{"–": nan, "0%": 0, "<0.01%": 0.00001, "0.02%": 0.0002, "0.99%": 0.0099, "1.0%": 0.00999, "3.0%": 0.03, "9.9%": 0.0992, "31%": 0.31, "100%": 1, "1,200%": 12}},
		{"GoodShare", GoodShare, map[string]float64{"–": nan, "100%": 0, ">99.99%": 0.00001, "99.98%": 0.0002, "97.0%": 0.03, "69.0%": 0.31, "0.0%": 1}},
		{"Times", Times, map[string]float64{"–": nan, "0×": 0, "<0.1×": 0.01, "0.2×": 0.2, "1.2×": 1.2, "10×": 9.96, "31×": 31.2, "1,000×": 1000}},
		{"Latency", Latency, map[string]float64{"–": nan, "0.25 ms": 0.00025, "8.2 ms": 0.0082, "82 ms": 0.0824, "610 ms": 0.61, "1.0 s": 0.9999, "2.4 s": 2.44, "60 s": 60}},
		{"Rate", Rate, map[string]float64{"–": nan, "0/s": 0, "2/h": 2.0 / 3600, "3/min": 0.05, "9.3/s": 9.3, "42/s": 42, "12,000/s": 12000}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for want, v := range tc.want {
				if got := tc.write(v); got != want {
					t.Errorf("%s(%g) = %q, want %q", tc.name, v, got, want)
				}
			}
		})
	}
}

func TestClock(t *testing.T) {
	now := time.Date(2026, 11, 23, 0, 5, 0, 0, time.FixedZone("CET", 3600))
	for _, tc := range []struct {
		at   time.Time
		want string
	}{
		{time.Date(2026, 11, 22, 23, 2, 0, 0, time.UTC), "00:02 CET"},
		{time.Date(2026, 11, 22, 22, 2, 0, 0, time.UTC), "22 Nov 23:02 CET"},
	} {
		if got := Clock(tc.at, now); got != tc.want {
			t.Errorf("Clock(%s) = %q, want %q", tc.at, got, tc.want)
		}
	}
}
