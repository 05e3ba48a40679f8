package slack

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// subject is what an alert is about.
type subject int

// Subjects, the most urgent first.
const (
	burn    subject = iota // a budget burns too fast
	traffic                // what comes usually does not come
	runsOut                // a budget will be gone before its period ends
	spent                  // a share of a budget is spent
	other                  // it is not ours
)

// subjectOf tells alerts apart: users may give those about burning budgets names
// of their own.
func subjectOf(a *alert.Alert) subject {
	switch name := a.Labels[model.AlertNameLabel]; {
	case name == series.AlertNoTraffic && a.Labels[series.SLOFlow] != "":
		return traffic
	case a.Labels[series.ID] == "":
		return other
	case a.Labels[series.Share] != "":
		return spent
	case name == series.AlertRunsOut:
		return runsOut
	default:
		return burn
	}
}

// budgetOf names a budget in a sentence: the budget of checkout, November's
// budget of checkout.
func (s told) budgetOf() string {
	return cmp.Or(s.account(), "the budget") + " of " + s.name()
}

// spent says that a share of the budget is spent.
func (s told) spent() (headline string, details []line) {
	share := s.label(series.Share) + " %"
	which := share + " of " + s.budgetOf()
	if s.alert.Resolved() {
		return join([]string{"🟢 Less than " + which + " is spent again", s.rest()}), s.alerted()
	}
	head := "🟠 " + which + " is spent"
	if share == "100 %" {
		head = "🟠 " + upper(s.budgetOf()) + " is spent"
	}
	if c := s.facts.Objective.Calendar; c.Unit != slo.Rolling {
		const day = 24 * time.Hour
		now := time.Now()
		start, end := c.Bounds(now)
		head += fmt.Sprintf(", %d days into %.0f", now.Sub(start)/day, math.Round(float64(end.Sub(start))/float64(day)))
	}
	return head, s.balance()
}

// runsOut says that the budget will be gone, and when.
func (s told) runsOut() (headline string, details []line) {
	if s.alert.Resolved() {
		return join([]string{"🟢 " + upper(s.budgetOf()) + " lasts again", s.rest()}), s.alerted()
	}
	head, at := "🟠 "+upper(s.budgetOf())+" will be gone", s.gone()
	c := s.facts.Objective.Calendar
	switch {
	case s.known && s.facts.BudgetLeft <= 0:
		head = "🟠 " + upper(s.budgetOf()) + " is spent"
	case at.IsZero():
		head += " before its period ends"
	case c.Unit == slo.Rolling:
		head += " " + soon(at, time.UTC) + " · " + s.rest()
	default:
		zone := c.Zone
		if zone == nil {
			zone = time.UTC
		}
		head += " " + soon(at, zone)
		if _, end := c.Bounds(time.Now()); end.After(at) {
			head += fmt.Sprintf(", %s before the %s ends", days(end.Sub(at)), c.Unit)
		}
	}
	return head, s.balance()
}

// gone returns when the budget is gone: as the facts say, or at the pace of the
// longest window. It is zero when that is not known.
func (s told) gone() time.Time {
	if !s.facts.Forecast.IsZero() || !s.known {
		return s.facts.Forecast
	}
	if d, ok := s.facts.Objective.BudgetLasts(s.facts.BudgetLeft, s.slow(), time.Now()); ok {
		return time.Now().Add(d)
	}
	return time.Time{}
}

// slow returns the burn rate over the longest window that is shorter than the
// period, which holds what is spent rather than a pace; 0 when none is known.
func (s told) slow() float64 {
	var longest time.Duration
	for w := range s.facts.Burns {
		if w < s.facts.Objective.Window {
			longest = max(longest, w)
		}
	}
	return s.facts.Burns[longest]
}

// balance says of a budget what is left and how fast it burns.
func (s told) balance() []line {
	var rates []string // over the longest two windows within the period
	for _, w := range slices.Backward(s.facts.Objective.Windows()) {
		if rate, ok := s.facts.Burns[w]; ok && len(rates) < 2 && w < s.facts.Objective.Window {
			rates = append(rates, times(rate)+" ("+slo.Duration(w)+")")
		}
	}
	promise := s.objective()
	if len(rates) > 0 {
		slices.Reverse(rates)
		promise += " · burning " + enumerate(rates)
	}
	if !s.known {
		return []line{{text: promise}}
	}
	budget := []string{s.budget()}
	if at := s.gone(); !at.IsZero() && s.facts.BudgetLeft > 0 {
		budget = append(budget, "at this pace gone "+moment(at))
	}
	out := []line{{text: promise}, {"Budget", join(budget)}}
	return append(out, s.judgement()...)
}

// alerted says what was promised, and when the alert fired.
func (s told) alerted() []line {
	return []line{{text: join([]string{s.objective(), "alerted " + clock(s.alert.StartsAt) + " to " + clock(s.alert.EndsAt)})}}
}

// rest says what is left of a budget that was named before.
func (s told) rest() string {
	switch {
	case !s.known:
		return ""
	case s.facts.BudgetLeft > 0:
		return percent(s.facts.BudgetLeft) + " left"
	default:
		return "nothing left"
	}
}

// soon writes a day to come in a headline, which cannot show a reader's own
// zone: within the hour, in 9 h, on Friday, on 27 November.
func soon(at time.Time, zone *time.Location) string {
	switch d := time.Until(at); {
	case d < time.Hour:
		return "within the hour"
	case d < 24*time.Hour:
		return fmt.Sprintf("in %d h", d/time.Hour)
	case d < 6*24*time.Hour:
		return "on " + at.In(zone).Weekday().String()
	default:
		return "on " + at.In(zone).Format("2 January")
	}
}

// days writes a time in words, in hours below two days.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return words.Units(uint64(max(d, 0)/time.Hour), "hours")
	}
	return words.Units(uint64(d/(24*time.Hour)), "days")
}

// traffic says that no requests come.
func (s told) traffic() (headline string, details []line) {
	t := s.facts.Traffic
	if s.alert.Resolved() {
		head := "🟢 " + s.flow() + " traffic is back"
		return join([]string{head, "missing for " + words.Span(s.alert.EndsAt.Sub(s.alert.StartsAt)+s.alert.StartsAt.Sub(s.missing()))}),
			[]line{{text: "alerted " + clock(s.alert.StartsAt) + " to " + clock(s.alert.EndsAt)}}
	}
	lack, came, usual := "No ", "none since "+clock(s.missing()), ""
	if t.Got > 0 {
		lack = "Hardly any "
		came = fmt.Sprintf("hardly any since %s: %s in %s", clock(s.missing()), words.Units(t.Got, "requests"), words.Span(t.In))
	}
	if t.Usual > 0 {
		usual = fmt.Sprintf("usually %s in %s at this time of the week", words.Units(t.Usual, "requests"), words.Span(t.In))
		came += "; " + usual
	}
	head := "🟠 " + lack + s.name() + " traffic for " + words.Span(time.Since(s.missing()))
	details = []line{
		{"Traffic", came},
		{text: "What does not come is neither good nor bad: objectives and budgets stay as they are."},
	}
	return join([]string{head, usual}), details
}

// missing returns since when no requests come.
func (s told) missing() time.Time {
	if since := s.facts.Traffic.Since; !since.IsZero() {
		return since
	}
	return s.alert.StartsAt
}
