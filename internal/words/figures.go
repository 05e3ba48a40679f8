package words

import (
	"fmt"
	"math"
	"time"
)

// Unknown stands where a figure is not known, such as the latency of a
// flow without requests.
const Unknown = "–"

// Share writes a ratio in percent with as many digits as tell it apart from
// its neighbours: 31%, 3.0%, 0.02%. A ratio above 0 is never written as 0%;
// NaN is unknown. ratio is at least 0.
func Share(ratio float64) string {
	pct := ratio * 100
	switch {
	case math.IsNaN(pct):
		return Unknown
	case pct == 0:
		return "0%"
	case pct >= 9.95:
		return Number(pct, 0) + "%"
	case pct >= 0.995:
		return Number(pct, 1) + "%"
	case pct >= 0.01:
		return Number(pct, 2) + "%"
	default:
		return "<0.01%"
	}
}

// GoodShare writes the share of good events whose share of bad ones is bad.
// It has the digits the bad share needs, and is 100% only when nothing was
// bad. NaN is unknown.
func GoodShare(bad float64) string {
	switch {
	case math.IsNaN(bad):
		return Unknown
	case bad == 0:
		return "100%"
	case bad >= 0.01:
		return Number(100-bad*100, 1) + "%"
	case bad >= 0.0001:
		return Number(100-bad*100, 2) + "%"
	default:
		return ">99.99%"
	}
}

// Times writes a burn rate: 31×, 1.2×, 0.2×. NaN is unknown.
func Times(burn float64) string {
	switch {
	case math.IsNaN(burn):
		return Unknown
	case burn == 0:
		return "0×"
	case burn >= 9.95:
		return Number(burn, 0) + "×"
	case burn >= 0.05:
		return Number(burn, 1) + "×"
	default:
		return "<0.1×"
	}
}

// Latency writes seconds with two or three figures and the unit that suits.
// NaN, which a flow without requests has, is unknown.
func Latency(seconds float64) string {
	ms := seconds * 1000
	switch {
	case math.IsNaN(ms):
		return Unknown
	case ms < 1:
		return Number(ms, 2) + " ms"
	case ms < 9.95:
		return Number(ms, 1) + " ms"
	case ms < 999.5:
		return Number(ms, 0) + " ms"
	case seconds < 9.95:
		return Number(seconds, 1) + " s"
	default:
		return Number(seconds, 0) + " s"
	}
}

// Rate writes requests per second in the unit that gives at least 1: 42/s,
// 3/min, 2/h. NaN is unknown.
func Rate(perSecond float64) string {
	switch {
	case math.IsNaN(perSecond):
		return Unknown
	case perSecond == 0:
		return "0/s"
	case perSecond >= 9.95:
		return Number(perSecond, 0) + "/s"
	case perSecond >= 1:
		return Number(perSecond, 1) + "/s"
	case perSecond >= 1.0/60:
		return Number(perSecond*60, 0) + "/min"
	default:
		return Number(perSecond*3600, 0) + "/h"
	}
}

// Clock writes a moment as people say it, in the zone of now: 14:02 UTC, with
// the date when it was another day.
func Clock(t, now time.Time) string {
	t = t.In(now.Location())
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04 MST")
	}
	return t.Format("2 Jan 15:04 MST")
}

// Gone says that something ends in that time: in 43 min, on Thursday.
func Gone(in time.Duration, now time.Time) string {
	switch {
	case in < 90*time.Minute:
		return fmt.Sprintf("gone in %d min", max(1, in/time.Minute))
	case in < 48*time.Hour:
		return fmt.Sprintf("gone in %d h", in/time.Hour)
	case in < 6*24*time.Hour:
		return "gone on " + now.Add(in).Format("Monday")
	default:
		return "gone on " + now.Add(in).Format("2 Jan")
	}
}
