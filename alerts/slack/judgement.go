package slack

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
)

func (s told) sign() string {
	if s.page() {
		return "🔴 "
	}
	return "🟠 "
}

// does says what the flow does: is failing, is slow and stale, was failing. over
// says that a ticket's budget burns no more.
func (s told) does(over bool) string {
	still, budget := "", "error budget"
	if s.again {
		still = "still "
	}
	if len(s.besides) > 0 {
		budget += "s"
	}
	ails := s.ails()
	all := slices.Compact(slices.Sorted(slices.Values(append([]string{ails}, s.besides...)))) // failing, slow, stale
	switch {
	case !s.page() && (over || s.doubt() != ""):
		return "spent its " + budget + " too fast"
	case !s.page():
		return still + "spends its " + budget + " too fast"
	case s.doubt() != "":
		return "was " + enumerate(all)
	case s.facts.Outage.Total > 0 && ails == "failing":
		return "is " + still + "down"
	case s.facts.Recurrence.Times > 1 && !s.again:
		return "is " + enumerate(all) + " again"
	default:
		return "is " + still + enumerate(all)
	}
}

// enumerate writes a list: failing, slow and stale.
func enumerate(all []string) string {
	if len(all) == 1 {
		return all[0]
	}
	return strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]
}

// doubt says in a headline that it burns no more, or that nobody knows. It is
// empty of what burns.
func (s told) doubt() string {
	switch held, quiet := s.facts.Held.Since, s.facts.Quiet.Since; {
	case !held.IsZero():
		return "no data for " + words.Span(time.Since(held))
	case !quiet.IsZero():
		return "quiet for " + words.Span(time.Since(quiet))
	default:
		return ""
	}
}

// outage says in a headline that everything fails.
func (s told) outage() string {
	o := s.facts.Outage
	of := words.Count(o.Bad) + " of " + words.Units(o.Total, s.facts.Objective.Unit())
	if o.Bad == o.Total {
		of = "all " + words.Units(o.Total, s.facts.Objective.Unit())
	}
	return of + " " + s.went(o.Bad) + " in " + words.Span(o.In)
}

// judgement says on what the verdict rests and what it waits for.
func (s told) judgement() []line {
	var out []line
	add := func(label, format string, args ...any) { out = append(out, line{label, fmt.Sprintf(format, args...)}) }
	f := &s.facts
	if o := f.Outage; o.Total > 0 {
		all := "everything"
		if o.Bad < o.Total {
			all = "nearly everything"
		}
		fails := "is bad"
		switch {
		case f.Objective.Kind == slo.Succeed && s.requests():
			fails = "fails"
		case s.requests():
			fails = "is slow"
		}
		add("Outage", "%s %s: %s of %s in %s", all, fails, words.Count(o.Bad), words.Units(o.Total, f.Objective.Unit()), words.Span(o.In))
	}
	if e := f.Evidence; e.Total > 0 {
		add("Evidence", "%s of %s %s, %s sure it is over the limit", words.Count(e.Bad), words.Count(e.Total), s.went(e.Bad), confidence(e.Sure))
	}
	if h := f.Held; !h.Since.IsZero() {
		add("Held", "no data since %s: telemetry is lost or the service is down; this alert is kept until good data has come for %s", clock(h.Since), words.Span(h.Good))
	}
	if q := f.Quiet; !q.Since.IsZero() && f.Held.Since.IsZero() {
		add("Quiet", "since %s; closes at %s if it stays so", clock(q.Since), clock(q.Closes))
	}
	if r := f.Recurrence; r.Times > 1 {
		add("Again", "the %s time in %s", ordinal(r.Times), lapse(r.In))
	}
	if !f.Reopened.IsZero() {
		add("Reopened", "it was taken for over at %s", clock(f.Reopened))
	}
	if f.Learning > 0 {
		add("Learning", "watched for %s only; what longer windows say is of that time", words.Span(f.Learning))
	}
	return out
}

// confidence writes a probability, rounded down: 99 %, 99.9 %, never 100 %.
func confidence(p float64) string {
	p = math.Floor(min(max(p, 0), 0.999)*1000+1e-9) / 10
	return strconv.FormatFloat(p, 'f', -1, 64) + " %"
}

// ordinal writes 1st, 2nd, 3rd, 4th, 11th.
func ordinal(n int) string {
	end := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			end = "st"
		case 2:
			end = "nd"
		case 3:
			end = "rd"
		}
	}
	return strconv.Itoa(n) + end
}

// lapse writes a time in a sentence: an hour, a day, 6 h.
func lapse(d time.Duration) string {
	switch d {
	case time.Hour:
		return "an hour"
	case 24 * time.Hour:
		return "a day"
	default:
		return words.Span(d)
	}
}
