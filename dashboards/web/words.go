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

// gone says when the budget of an objective ends if it goes on burning as now.
// left is the share of it that is left. It is empty when the budget lasts or is
// spent already.
func gone(o slo.Objective, left, burn float64, now time.Time) string {
	if !(left > 0) || !(burn > 1) {
		return ""
	}
	in, ends := o.BudgetLasts(left, burn, now)
	switch {
	case !ends:
		return lasts(o, now)
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

// lasts says that a budget lasts; that of a calendar period to its last day.
func lasts(o slo.Objective, now time.Time) string {
	if o.Calendar.Unit == slo.Rolling {
		return "lasts"
	}
	_, end := o.Calendar.Bounds(now)
	return "lasts to " + end.Add(-time.Second).Format("2 Jan")
}

// excludedNow says until when what happens does not count, and why.
func excludedNow(x slo.Exclusion, until, now time.Time) string {
	return strings.TrimSuffix(fmt.Sprintf("excluded until %s: %s", clock(until, now), x.Why), ": ")
}

// excludedNext says when within a week the flow is excluded next. It is empty
// when it is not.
func excludedNext(f *slo.Flow, now time.Time) string {
	var next slo.Interval
	var why string
	for _, x := range f.Exclude {
		for i := range x.Between(now, now.AddDate(0, 0, 7)) {
			if next.Start.IsZero() || i.Start.Before(next.Start) {
				next, why = i, x.Why
			}
			break
		}
	}
	if next.Start.IsZero() {
		return ""
	}
	return strings.TrimSuffix(fmt.Sprintf("excluded next from %s for %s: %s", clock(next.Start, now), words.Span(next.End.Sub(next.Start)), why), ": ")
}

// outOf says what an objective allows and what happens now: "31 of every
// 1,000 requests fail; 1 may."
func outOf(o slo.Objective, ratio float64) string {
	if o.Query.Ratio != "" {
		if math.IsNaN(ratio) {
			return share(o.Budget()) + " may be bad."
		}
		return share(ratio) + " is bad; " + share(o.Budget()) + " may be."
	}
	every := 100.0
	for every*o.Budget() < 0.999999 {
		every *= 10
	}
	// What one does, what many do, what they may do.
	does, do, may := "fails", "fail", "may fail"
	switch {
	case o.Kind == slo.Fresh:
		rest := " no success in the " + words.Span(o.Threshold) + " before"
		does, do, may = "has"+rest, "have"+rest, "may have"+rest
	case o.Slice > 0:
		rest := " fewer than " + slo.Percent(o.SliceTarget)
		switch o.Kind {
		case slo.FasterThan:
			rest += " under " + slo.Duration(o.Threshold)
		case slo.PromQL:
			rest += " good"
		default:
			rest += " that succeed"
		}
		does, do, may = "has"+rest, "have"+rest, "may have"+rest
	case o.Kind == slo.FasterThan:
		rest := " longer than " + slo.Duration(o.Threshold)
		does, do, may = "takes"+rest, "take"+rest, "may take"+rest
	case o.Kind == slo.PromQL:
		does, do, may = "is bad", "are bad", "may be bad"
	}
	all := words.Number(every, 0) + " " + o.Unit()
	if math.IsNaN(ratio) {
		return fmt.Sprintf("%s of every %s %s.", few(o.Budget()*every), all, may)
	}
	now := few(ratio * every)
	if now == "1" {
		do = does
	}
	allowed := "may"
	if o.Kind == slo.PromQL && o.Slice == 0 {
		allowed = "may be"
	}
	return fmt.Sprintf("%s of every %s %s; %s %s.", now, all, do, few(o.Budget()*every), allowed)
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
