package web

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
)

// gone says when the budget of an objective ends if it goes on burning as now.
// left is the share of it that is left. It is empty when the budget lasts or is
// spent already.
func gone(o slo.Objective, left, burn float64, now time.Time) string {
	if !(left > 0) || !(burn > 1) {
		return ""
	}
	in, ends := o.BudgetLasts(left, burn, now)
	if !ends {
		return lasts(o, now)
	}
	return words.Gone(in, now)
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
	return strings.TrimSuffix(fmt.Sprintf("excluded until %s: %s", words.Clock(until, now), x.Why), ": ")
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
	return strings.TrimSuffix(fmt.Sprintf("excluded next from %s for %s: %s", words.Clock(next.Start, now), words.Span(next.End.Sub(next.Start)), why), ": ")
}

// outOf says what an objective allows and what happens now: "31 of every
// 1,000 requests fail; 1 may."
func outOf(o slo.Objective, ratio float64) string {
	if o.Query.Ratio != "" {
		if math.IsNaN(ratio) {
			return words.Share(o.Budget()) + " may be bad."
		}
		return words.Share(ratio) + " is bad; " + words.Share(o.Budget()) + " may be."
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

// judged says what keeps an objective from being judged by its burn rates alone.
// firing says that an alert of it fires.
func judged(o slo.Objective, j Judgement, firing bool, now time.Time) (out []string) {
	if !j.DataMissingSince.IsZero() {
		text := "Data missing since " + words.Clock(j.DataMissingSince, now)
		if firing {
			text += ", the alert is held"
		}
		out = append(out, text+".")
	}
	if !j.TrafficMissingSince.IsZero() {
		out = append(out, fmt.Sprintf("Traffic missing since %s: %s in 15 min would be usual.",
			words.Clock(j.TrafficMissingSince, now), words.Units(j.Expected, o.Unit())))
	}
	if j.TooLittle {
		text := "Too little traffic to judge"
		if j.Total > 0 {
			does := "were bad"
			if o.Kind == slo.Succeed && o.Slice == 0 {
				does = "failed"
			}
			text += fmt.Sprintf(": %s of %s %s", words.Count(j.Bad), words.Count(j.Total), does)
		}
		out = append(out, text+".")
	}
	if j.Learning {
		text := "Learning: it is too young to be judged"
		if len(o.Tiers) > 0 {
			text = "Learning: it is younger than the " + slo.Duration(o.Tiers[0].Long) + " that its first alert looks back over"
		}
		out = append(out, text+".")
	}
	if firing && !j.QuietSince.IsZero() {
		out = append(out, fmt.Sprintf("Quiet since %s; the alert is kept until %s, should it come back.", words.Clock(j.QuietSince, now), words.Clock(j.KeptUntil, now)))
	}
	return out
}
