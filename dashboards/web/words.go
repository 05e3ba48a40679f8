package web

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
)

// unknownFigure stands where a figure is not known, such as the latency of a
// flow without requests.
const unknownFigure = "–"

// share writes a ratio in percent with as many digits as tell it apart from
// its neighbours: 31%, 3.0%, 0.02%. A ratio above 0 is never written as 0%;
// NaN is unknown. ratio is at least 0.
func share(ratio float64) string {
	pct := ratio * 100
	switch {
	case math.IsNaN(pct):
		return unknownFigure
	case pct == 0:
		return "0%"
	case pct >= 9.95:
		return words.Number(pct, 0) + "%"
	case pct >= 0.995:
		return words.Number(pct, 1) + "%"
	case pct >= 0.01:
		return words.Number(pct, 2) + "%"
	default:
		return "<0.01%"
	}
}

// goodShare writes the share of good events whose share of bad ones is bad.
// It has the digits the bad share needs, and is 100% only when nothing was
// bad. NaN is unknown.
func goodShare(bad float64) string {
	switch {
	case math.IsNaN(bad):
		return unknownFigure
	case bad == 0:
		return "100%"
	case bad >= 0.01:
		return words.Number(100-bad*100, 1) + "%"
	case bad >= 0.0001:
		return words.Number(100-bad*100, 2) + "%"
	default:
		return ">99.99%"
	}
}

// times writes a burn rate: 31×, 1.2×, 0.2×. NaN is unknown.
func times(burn float64) string {
	switch {
	case math.IsNaN(burn):
		return unknownFigure
	case burn == 0:
		return "0×"
	case burn >= 9.95:
		return words.Number(burn, 0) + "×"
	case burn >= 0.05:
		return words.Number(burn, 1) + "×"
	default:
		return "<0.1×"
	}
}

// latency writes seconds with two or three figures and the unit that suits.
// NaN, which a flow without requests has, is unknown.
func latency(seconds float64) string {
	ms := seconds * 1000
	switch {
	case math.IsNaN(ms):
		return unknownFigure
	case ms < 1:
		return words.Number(ms, 2) + " ms"
	case ms < 9.95:
		return words.Number(ms, 1) + " ms"
	case ms < 999.5:
		return words.Number(ms, 0) + " ms"
	case seconds < 9.95:
		return words.Number(seconds, 1) + " s"
	default:
		return words.Number(seconds, 0) + " s"
	}
}

// rate writes requests per second in the unit that gives at least 1: 42/s,
// 3/min, 2/h. NaN is unknown.
func rate(perSecond float64) string {
	switch {
	case math.IsNaN(perSecond):
		return unknownFigure
	case perSecond == 0:
		return "0/s"
	case perSecond >= 9.95:
		return words.Number(perSecond, 0) + "/s"
	case perSecond >= 1:
		return words.Number(perSecond, 1) + "/s"
	case perSecond >= 1.0/60:
		return words.Number(perSecond*60, 0) + "/min"
	default:
		return words.Number(perSecond*3600, 0) + "/h"
	}
}

// clock writes a moment as people say it, in the zone of now: 14:02 UTC, with
// the date when it was another day.
func clock(t, now time.Time) string {
	t = t.In(now.Location())
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04 MST")
	}
	return t.Format("2 Jan 15:04 MST")
}

// gone says when a budget ends if it goes on burning as now. left is the share
// of the period's budget that is left; window is the period. It is empty when
// the budget lasts or is spent already. What rolls out of the period meanwhile
// is not counted.
func gone(left, burn float64, window time.Duration, now time.Time) string {
	if !(left > 0) || !(burn > 1) {
		return ""
	}
	in := time.Duration(left / burn * float64(window))
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

// outOf says what an objective allows and what happens now: "31 of every
// 1,000 requests fail; 1 may."
func outOf(o slo.Objective, ratio float64) string {
	every := 100.0
	for every*o.Budget() < 0.999999 {
		every *= 10
	}
	verb := "fail"
	if o.Kind == slo.FasterThan {
		verb = "take longer than " + slo.Duration(o.Threshold)
	}
	if math.IsNaN(ratio) {
		return fmt.Sprintf("%s of every %s requests may %s.", few(o.Budget()*every), words.Number(every, 0), verb)
	}
	if few(ratio*every) == "1" {
		verb = strings.Replace(strings.Replace(verb, "fail", "fails", 1), "take", "takes", 1)
	}
	return fmt.Sprintf("%s of every %s requests %s; %s may.", few(ratio*every), words.Number(every, 0), verb, few(o.Budget()*every))
}

// few writes a small count: with one decimal when it is not whole and below
// ten.
func few(v float64) string {
	if v < 10 && math.Abs(v-math.Round(v)) >= 0.05 {
		return words.Number(v, 1)
	}
	if v > 0 && v < 0.05 {
		return "fewer than 0.1"
	}
	return words.Number(v, 0)
}

// conditions writes a selector in words. "POST /api/checkout" stands for the
// usual pair of method and route.
func conditions(sel slo.Selector) string {
	var method, route string
	var rest []string
	for _, c := range sel {
		patterns := make([]string, len(c.Any))
		for i, p := range c.Any {
			patterns[i] = p.String()
		}
		words := strings.Join(patterns, " or ")
		switch {
		case c.Key == slo.KeyMethod && !c.Not && len(c.Any) == 1:
			method = words
		case c.Key == slo.KeyRoute && !c.Not && len(c.Any) == 1:
			route = words
		case c.Not:
			rest = append(rest, c.Key+" not "+words)
		default:
			rest = append(rest, c.Key+" "+words)
		}
	}
	if line := strings.TrimSpace(method + " " + route); line != "" {
		rest = append([]string{line}, rest...)
	}
	if len(rest) == 0 {
		return "every request"
	}
	return strings.Join(rest, ", ")
}
