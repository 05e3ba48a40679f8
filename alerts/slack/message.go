package slack

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// Facts are what a message says of an SLO beyond what its alert carries.
type Facts struct {
	Objective slo.Objective

	// Burns are burn rates by window, as far as windows are not idle.
	Burns map[time.Duration]float64

	// Bad and Total are the events from Since, when the incident began, until
	// now.
	Since      time.Time
	Bad, Total uint64

	// BudgetLeft is the share of the period's budget that is left: 1 is
	// untouched, 0 is spent, below 0 is overspent. BudgetBefore is what was
	// left at Since; where it is not above BudgetLeft it is not mentioned.
	BudgetLeft, BudgetBefore float64

	// ExcludedUntil is set while what happens does not count; Excluded says
	// why.
	ExcludedUntil time.Time
	Excluded      string
}

// Annotations of the alerts, as the rules write them.
const (
	summary     = "summary"
	description = "description"
	objective   = "objective"  // 99.9% succeed over 30d
	burnLong    = "burn_long"  // a number: burn rate over the long window
	burnShort   = "burn_short" // a number: burn rate over the short window
	limit       = "limit"      // a number: the burn rate that alerts
	limits      = "limits"     // all limits of the alert, in words
	longWindow  = "long_window"
	shortWindow = "short_window"
	owner       = "owner"
	runbook     = "runbook"
)

const (
	red   = "#d92d20" // a page fires
	amber = "#f79009" // a ticket fires
	green = "#12b76a" // all is well again

	maxAlerts   = 20   // of one message; the rest is counted
	maxHeadline = 1024 // characters
	maxText     = 3000 // characters

	// maxDatum is how much of one name or text is shown, in characters; five
	// times as many when each has to be escaped.
	maxDatum = 150
)

// message is the payload of a webhook. The headline stands in text, which is
// what a phone shows; the attachment gives the colour.
type message struct {
	Channel     string       `json:"channel,omitempty"`
	Text        string       `json:"text"`
	UnfurlLinks bool         `json:"unfurl_links"`
	UnfurlMedia bool         `json:"unfurl_media"`
	Attachments []attachment `json:"attachments"`
}

type attachment struct {
	Color    string   `json:"color"`
	Fallback string   `json:"fallback"`
	Text     string   `json:"text"`
	MrkdwnIn []string `json:"mrkdwn_in"`
	Footer   string   `json:"footer,omitempty"`
	TS       int64    `json:"ts,omitempty"`
}

// message writes the payload for the alerts of one group, of which there is at
// least one. again says that nothing has changed since the last message.
func (c *channel) message(alerts []*alert.Alert, again bool) ([]byte, error) {
	alerts = slices.Clone(alerts)
	slices.SortStableFunc(alerts, func(a, b *alert.Alert) int { return cmp.Compare(rank(a), rank(b)) })
	shown := make([]story, 0, min(len(alerts), maxAlerts))
	for _, a := range alerts[:min(len(alerts), maxAlerts)] {
		shown = append(shown, c.webhook.story(a, again))
	}
	first := shown[0]
	headline := first.headline
	if len(alerts) > 1 {
		headline += fmt.Sprintf(" · and %d more", len(alerts)-1)
	}
	lines := first.details
	for _, s := range shown[1:] {
		lines = append(lines, "• "+s.headline)
	}
	if n := len(alerts) - len(shown); n > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", n))
	}
	headline = cut(headline, maxHeadline)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(message{
		Channel: c.name,
		Text:    headline,
		Attachments: []attachment{{
			Color:    first.color,
			Fallback: headline,
			Text:     fit(lines, maxText),
			MrkdwnIn: []string{"text"},
			Footer:   first.footer,
			TS:       first.at.Unix(),
		}},
	})
	return b.Bytes(), err
}

// rank orders alerts by how much they matter.
func rank(a *alert.Alert) int {
	switch {
	case a.Resolved():
		return 2
	case a.Labels[series.Severity] == model.LabelValue(slo.Page):
		return 0
	default:
		return 1
	}
}

// story is what there is to say of one alert, ready for Slack.
type story struct {
	color    string
	headline string
	details  []string
	footer   string
	at       time.Time
}

func (w *Webhook) story(a *alert.Alert, again bool) story {
	id := string(a.Labels[series.ID])
	if id == "" {
		return foreign(a)
	}
	facts, known := w.facts(id, a.StartsAt)
	s := told{alert: a, facts: facts, known: known, again: again}
	out := story{footer: s.footer(), at: a.StartsAt, color: amber}
	switch {
	case a.Resolved():
		out.color, out.at = green, a.EndsAt
		out.headline, out.details = s.recovered()
	case s.page():
		out.color = red
		fallthrough
	default:
		out.headline, out.details = s.burning()
	}
	if links := s.links(w.external); links != "" {
		out.details = append(out.details, links)
	}
	return out
}

// foreign tells an alert that is not ours but came through the API.
func foreign(a *alert.Alert) story {
	name := cmp.Or(datum(a.Annotations[summary]), datum(a.Labels[model.AlertNameLabel]), "An alert")
	s := story{color: amber, headline: "🟠 " + name, at: a.StartsAt}
	switch {
	case a.Resolved():
		s.color, s.headline, s.at = green, "🟢 "+name+" · resolved", a.EndsAt
	case a.Labels[series.Severity] == model.LabelValue(slo.Page):
		s.color, s.headline = red, "🔴 "+name
	}
	if d := datum(a.Annotations[description]); d != "" {
		s.details = append(s.details, d)
	}
	return s
}

// told is one of our alerts with what is known of its SLO.
type told struct {
	alert *alert.Alert
	facts Facts
	known bool // facts are
	again bool
}

func (s told) label(name string) string { return datum(s.alert.Labels[model.LabelName(name)]) }

func (s told) note(name string) string { return datum(s.alert.Annotations[model.LabelName(name)]) }

// number returns an annotation that is a number; ok is false when it is not.
func (s told) number(name string) (n float64, ok bool) {
	n, err := strconv.ParseFloat(string(s.alert.Annotations[model.LabelName(name)]), 64)
	return n, err == nil && n == n
}

func (s told) page() bool {
	return s.alert.Labels[series.Severity] == model.LabelValue(slo.Page)
}

// ails says how a flow that breaks its objective is: failing, slow or stale.
func (s told) ails() string {
	kind := s.facts.Objective.Kind
	if s.facts.Objective.Window == 0 { // not known: the sentence tells
		switch promise := s.note(objective); {
		case strings.Contains(promise, " under "):
			kind = slo.FasterThan
		case strings.Contains(promise, " fresh every "):
			kind = slo.Fresh
		}
	}
	switch kind {
	case slo.FasterThan:
		return "slow"
	case slo.Fresh:
		return "stale"
	default:
		return "failing"
	}
}

// requests reports whether the objective counts single requests, rather than
// minutes or what a query gives.
func (s told) requests() bool {
	o := s.facts.Objective
	return o.Slice == 0 && (o.Kind == slo.Succeed || o.Kind == slo.FasterThan)
}

// bad says what a share of the events is: 46 % errors, 3 % over 300ms, 20 % of
// minutes bad.
func (s told) bad(share float64) string {
	switch o := s.facts.Objective; {
	case o.Kind == slo.Fresh:
		return "no success for over " + words.Span(o.Threshold)
	case !s.requests() && o.Slice > 0:
		return percent(share) + " of " + o.Unit() + " bad"
	case !s.requests():
		return percent(share) + " bad"
	case o.Kind == slo.FasterThan:
		return percent(share) + " over " + slo.Duration(o.Threshold)
	default:
		return percent(share) + " errors"
	}
}

// cost says what the incident hit: 412 requests failed, 1 minute was stale.
func (s told) cost() string {
	were := " were "
	if s.facts.Bad == 1 {
		were = " was "
	}
	switch {
	case s.facts.Objective.Kind == slo.Fresh:
		were += "stale"
	case !s.requests():
		were += "bad"
	case s.facts.Objective.Kind == slo.FasterThan:
		were += "slow"
	default:
		were = " failed"
	}
	return words.Units(s.facts.Bad, s.facts.Objective.Unit()) + were
}

// counted reports whether single events are known, not only their share.
func (s told) counted() bool { return s.facts.Objective.Query.Ratio == "" }

// flow returns the flow's name as a sentence begins.
func (s told) flow() string {
	name := cmp.Or(s.label(series.SLOFlow), s.label(series.SLOName), s.label(series.ID))
	first, size := utf8.DecodeRuneInString(name)
	return string(unicode.ToUpper(first)) + name[size:]
}

// objective returns the promise in words.
func (s told) objective() string {
	if s.facts.Objective.Window > 0 {
		return s.facts.Objective.Words()
	}
	return s.note(objective)
}

// tier returns the tier that alerts: the first of its severity that both of its
// windows exceed. Some time after the alert fired, that may be none; then it is
// the first. ok is false without facts.
func (s told) tier() (t slo.Tier, ok bool) {
	severity := slo.Severity(s.alert.Labels[series.Severity])
	for _, tier := range s.facts.Objective.Tiers {
		if tier.Severity != severity {
			continue
		}
		if s.facts.Burns[tier.Long] > tier.Factor && s.facts.Burns[tier.Short] > tier.Factor {
			return tier, true
		}
		if !ok {
			t, ok = tier, true
		}
	}
	return t, ok
}

// burning says that the budget burns, how fast, and what was hit.
func (s told) burning() (headline string, details []string) {
	tier, known := s.tier()
	pace, share, paced := s.pace(tier)
	over := !s.page() && paced && pace <= 1

	still := ""
	if s.again {
		still = "still "
	}
	sign, what := "🔴 ", "is "+still+s.ails()
	switch {
	case over:
		sign, what = "🟠 ", "spent its error budget too fast"
	case !s.page():
		sign, what = "🟠 ", still+"spends its error budget too fast"
	}
	head := []string{sign + s.flow() + " " + what}
	switch {
	case over:
		head = append(head, s.left())
	case known && paced:
		head = append(head, s.bad(share), ends(s.facts.Objective, s.facts.BudgetLeft, pace, time.Now()))
	}

	line := []string{s.objective()}
	if known {
		line = append(line, s.rates(tier), s.limit(times(tier.Factor)))
	} else {
		line = append(line, s.notedRates(), s.notedLimit())
	}
	details = append(details, join(line))
	if s.known {
		details = append(details, join([]string{s.hit(), s.budget()}))
	}
	if until := s.facts.ExcludedUntil; !until.IsZero() {
		details = append(details, join([]string{"Excluded until " + clock(until) + ": what happens does not count", datum(s.facts.Excluded)}))
	}
	return join(head), details
}

// pace returns how fast the budget burns at this time and the share of bad
// events behind it. A page goes by the incident since it began: its first
// minute weighs little in any window. A ticket goes by its short window, or by
// one that is shorter still and calmer, for hours after an incident it fires
// although nothing burns any more. ok is false when nothing is known.
func (s told) pace(t slo.Tier) (burn, share float64, ok bool) {
	if s.page() && s.facts.Total > 0 {
		share = float64(s.facts.Bad) / float64(s.facts.Total)
		return slo.BurnRate(share, s.facts.Objective.Target), share, true
	}
	for w, b := range s.facts.Burns {
		if w <= t.Short && (!ok || b < burn) {
			burn, ok = b, true
		}
	}
	return burn, min(burn*s.facts.Objective.Budget(), 1), ok
}

// left says what is left of the budget.
func (s told) left() string {
	if s.facts.BudgetLeft > 0 {
		return percent(s.facts.BudgetLeft) + " of " + cmp.Or(s.account(), "the budget") + " left"
	}
	if account := s.account(); account != "" {
		return "nothing left of " + account
	}
	return "no budget left"
}

// account names the budget of a calendar period: November's budget. It is empty
// while the window rolls.
func (s told) account() string {
	period := words.Period(s.facts.Objective.Calendar, time.Now())
	if period == "" {
		return ""
	}
	return period + "'s budget"
}

// recovered says that it is over and what it cost.
func (s told) recovered() (headline string, details []string) {
	head := []string{"🟢 " + s.flow() + " recovered", words.Span(s.alert.EndsAt.Sub(s.alert.StartsAt))}
	line := []string{s.objective()}
	line = append(line, "alerted "+clock(s.alert.StartsAt)+" to "+clock(s.alert.EndsAt))
	if s.known {
		if s.counted() {
			head = append(head, s.cost())
		}
		head = append(head, s.left())
		if cost := s.facts.BudgetBefore - s.facts.BudgetLeft; cost > 0 {
			line = append(line, "it cost "+percent(cost)+" of "+cmp.Or(s.account(), "the budget"))
		}
	}
	return join(head), []string{join(line)}
}

// rates writes the burn rates of a tier: burning 31× (5m) and 22× (1h).
func (s told) rates(t slo.Tier) string {
	var out []string
	for _, w := range []time.Duration{t.Short, t.Long} {
		if burn, ok := s.facts.Burns[w]; ok {
			out = append(out, times(burn)+" ("+slo.Duration(w)+")")
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "burning " + strings.Join(out, " and ")
}

// notedRates does so from what the alert carries.
func (s told) notedRates() string {
	var out []string
	for _, w := range []struct{ burn, window string }{{burnShort, shortWindow}, {burnLong, longWindow}} {
		burn, ok := s.number(w.burn)
		if !ok {
			continue
		}
		text := times(burn)
		if window := s.note(w.window); window != "" {
			text += " (" + window + ")"
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return ""
	}
	return "burning " + strings.Join(out, " and ")
}

func (s told) limit(at string) string {
	if s.page() {
		return "pages at " + at
	}
	return "ticket at " + at
}

func (s told) notedLimit() string {
	if n, ok := s.number(limit); ok {
		return s.limit(times(n))
	}
	if text := s.note(limits); text != "" {
		return s.limit(text)
	}
	return ""
}

// hit writes what the incident did: 412 of 13,300 requests since 14:02.
func (s told) hit() string {
	switch {
	case s.facts.Total == 0:
		return ""
	case !s.counted():
		return fmt.Sprintf("Bad: %s since %s", percent(float64(s.facts.Bad)/float64(s.facts.Total)), clock(s.facts.Since))
	}
	return fmt.Sprintf("Hit: %s of %s since %s", words.Count(s.facts.Bad), words.Units(s.facts.Total, s.facts.Objective.Unit()), clock(s.facts.Since))
}

// budget writes what is left, and what was before: budget left 61 % → 46 %.
func (s told) budget() string {
	before, left := remaining(s.facts.BudgetBefore), remaining(s.facts.BudgetLeft)
	account := cmp.Or(s.account(), "budget")
	if s.facts.BudgetBefore > s.facts.BudgetLeft && before != left {
		return account + " left " + before + " → " + left
	}
	return account + " left " + left
}

func (s told) footer() string {
	return join([]string{s.label(series.SLOServ), s.note(owner)})
}

// links writes the links of the message's last line.
func (s told) links(external *url.URL) string {
	var out []string
	if external != nil {
		page := external.JoinPath("flows",
			url.PathEscape(string(s.alert.Labels[series.SLOServ])),
			url.PathEscape(string(s.alert.Labels[series.SLOFlow])))
		out = append(out, link(page, "Dashboard"))
	}
	if u, err := url.Parse(string(s.alert.Annotations[runbook])); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
		out = append(out, link(u, "Runbook"))
	}
	return join(out)
}
