package slack

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/common/model"
	api "github.com/slack-go/slack"

	"github.com/slowburn-slo/slowburn/alerts/slack/chart"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// Facts are what a message says of an SLO beyond what its alert carries. All
// but Objective is optional: what is not known is not mentioned.
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

	// Forecast is when the budget is gone if it goes on burning. When it is
	// zero, it follows from BudgetLeft and the pace of the incident.
	Forecast time.Time

	// ExcludedUntil is set while what happens does not count; Excluded says
	// why.
	ExcludedUntil time.Time
	Excluded      string

	// What the judge says of the verdict. Each is about an alert that fires,
	// and zero where it does not apply.
	Evidence   Evidence
	Held       Held
	Quiet      Quiet
	Outage     Outage
	Recurrence Recurrence

	// Reopened is when the incident was taken for over before it went on.
	Reopened time.Time

	// Learning is for how long the objective has been watched, as long as that
	// is less than the long window of its alert.
	Learning time.Duration

	// Traffic is what comes of the flow, for the alert that it does not come.
	Traffic Traffic

	// Where are the attributes that set bad events apart from good ones, the
	// most telling first.
	Where []Culprit

	// Traces are requests to look at: bad ones, the worst first, and typical
	// ones to compare them with.
	Traces []Trace

	// Hints are what else moved, such as an event loop that lags or a
	// dependency that fails, the most telling first.
	Hints []Hint

	// Place is where the objective is written: file:line.
	Place string

	// Chart is the share of bad events over the incident and before it.
	Chart *chart.Data
}

// Culprit is an attribute whose value, or a pair of attributes whose values
// together, are more frequent among bad events than among others.
type Culprit struct {
	Attribute, Value         string
	WithAttribute, WithValue string // the other of a pair; empty otherwise

	Bad, Normal float64   // the share of bad, and of other, events with that value, in [0, 1]
	Since       time.Time // when the value was first seen; zero: it always was there

	// Symptom is what failing looks like, such as a status code, rather than
	// where it happens.
	Symptom bool
}

// Hint is something else that moved.
type Hint struct {
	Text string    // a clause, such as "the event loop of web-3 lags 840 ms (normally 12 ms)"
	At   time.Time // when it began; zero when that is not known
}

// Trace is one request to look at.
type Trace struct {
	ID       string // hexadecimal, as in its span
	At       time.Time
	Duration time.Duration
	Status   string // how it ended, such as 500; empty when that says nothing
	Bad      bool
	Typical  bool // one to compare bad ones with
}

// Evidence is what a verdict on little traffic rests on: Bad of Total events,
// and the probability, in (0, 1), that they are more than the limit allows.
type Evidence struct {
	Bad, Total uint64
	Sure       float64
}

// Held is an alert that is kept although nobody knows whether it still burns.
type Held struct {
	Since time.Time     // no data came since
	Good  time.Duration // of good data have to come before it can end
}

// Quiet is an alert that burns no more and is kept for a while, so that an
// incident that comes and goes is one.
type Quiet struct {
	Since  time.Time
	Closes time.Time // when it ends if it stays quiet
}

// Outage is that (nearly) everything fails: Bad of the Total events in the
// time In.
type Outage struct {
	Bad, Total uint64
	In         time.Duration
}

// Recurrence is how often the SLO burned lately, this time included.
type Recurrence struct {
	Times int
	In    time.Duration
}

// Traffic is how many requests of a flow came in the time In, and how many
// usually come at this time of the week.
type Traffic struct {
	Since      time.Time // when they stopped
	Got, Usual uint64
	In         time.Duration
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

	// Of one message. A fourth culprit or trace is one nobody reads at night.
	maxCulprits = 3
	maxSymptoms = 2
	maxBad      = 3
	maxTypical  = 1
	maxHints    = 3

	// before and after an incident are on the page its link leads to.
	before = time.Hour
	after  = 30 * time.Minute
)

// voice knows what there is to say of alerts.
type voice struct {
	facts    func(string, time.Time) (Facts, bool)
	external *url.URL
	traceURL string // with traceID in it; empty: traces have no links

	template *Template    // nil: our words
	logger   *slog.Logger // of a template that fails
}

// traceID stands for the trace in the address of a trace.
const traceID = "{trace_id}"

// checkTraceURL returns what is wrong with the address of traces.
func checkTraceURL(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(strings.ReplaceAll(address, traceID, "0"))
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || !strings.Contains(address, traceID) {
		return fmt.Errorf("%q is not the address of a trace; want one such as https://grafana.example/explore?trace=%s", address, traceID)
	}
	return nil
}

// story is what there is to say of one or several alerts, in Slack's markup:
// one model for blocks, attachments and terminals.
type story struct {
	color    string
	headline string
	lines    []line // the burn and what it did
	reasons  []line // where to look
	more     []line // other alerts
	links    []target
	actions  *api.ActionBlock // buttons that do something; nil without
	footer   string
	chart    *chart.Data
	marks    []mark // what its thread tells once
}

// line is one fact, with a label or without.
type line struct{ label, text string }

// target is where a button leads.
type target struct {
	name string
	url  string
}

// tell returns the story of the alerts of one message, of which there is at
// least one: in the words of the user's template or, where there is none or it
// fails, in ours. again says that nothing has changed since it was last told.
func (v *voice) tell(alerts []*alert.Alert, again bool) story {
	alerts = worstFirst(alerts)
	ours := v.ours(alerts, again)
	ours.late(alerts)
	if v.template == nil {
		return ours
	}
	theirs, err := v.template.tell(ours, v.data(ours, alerts, again))
	if err != nil {
		v.logger.Warn("a Slack message goes in slowburn's own words", "err", err)
	}
	return theirs
}

// ours is the story of one SLO, of several SLOs of a flow, or of many flows, in
// our words. The worst alert is the first.
func (v *voice) ours(alerts []*alert.Alert, again bool) story {
	switch flows := byFlow(alerts); {
	case len(alerts) == 1:
		return v.story(alerts[0], again)
	case len(flows) == 1:
		return v.several(alerts, again)
	default:
		return v.storm(flows, again)
	}
}

// story tells one alert.
func (v *voice) story(a *alert.Alert, again bool) story {
	if subjectOf(a) == other {
		return foreign(a)
	}
	return v.look(a, again).story(v)
}

// look asks what is known of an alert of ours.
func (v *voice) look(a *alert.Alert, again bool) told {
	s := told{alert: a, again: again}
	id := string(a.Labels[series.ID])
	if subjectOf(a) == traffic {
		id = string(a.Labels[series.SLOServ] + "/" + a.Labels[series.SLOFlow])
	}
	s.facts, s.known = v.facts(id, a.StartsAt)
	return s
}

func (s told) story(v *voice) story {
	out := story{footer: s.footer(), color: amber, chart: s.facts.Chart}
	switch {
	case s.alert.Resolved():
		out.color = green
		if out.chart != nil {
			over := *out.chart
			over.Ended = s.alert.EndsAt
			out.chart = &over
		}
	case s.page():
		out.color = red
	}
	switch subjectOf(s.alert) {
	case traffic:
		out.headline, out.lines = s.traffic()
	case spent:
		out.headline, out.lines = s.spent()
	case runsOut:
		out.headline, out.lines = s.runsOut()
	default:
		if s.alert.Resolved() {
			out.headline, out.lines = s.recovered()
		} else {
			out.headline, out.lines = s.burning()
		}
	}
	traces, worst := s.traces(v.traceURL)
	for _, l := range []line{{"Where", s.where(false)}, {"Symptoms", s.where(true)}, {"Also", s.hints()}, {"Traces", traces}} {
		if l.text != "" {
			out.reasons = append(out.reasons, l)
		}
	}
	out.links = s.links(v.external, worst)
	out.marks = s.marks()
	return out
}

// foreign tells an alert that is not ours but came through the API.
func foreign(a *alert.Alert) story {
	name := cmp.Or(datum(a.Annotations[summary]), datum(a.Labels[model.AlertNameLabel]), "An alert")
	s := story{color: amber, headline: "🟠 " + name}
	switch {
	case a.Resolved():
		s.color, s.headline = green, "🟢 "+name+" · resolved"
	case a.Labels[series.Severity] == model.LabelValue(slo.Page):
		s.color, s.headline = red, "🔴 "+name
	}
	if d := datum(a.Annotations[description]); d != "" {
		s.lines = append(s.lines, line{text: d})
	}
	return s
}

// told is one of our alerts with what is known of its SLO.
type told struct {
	alert *alert.Alert
	facts Facts
	known bool // facts are
	again bool

	// besides is how else the flow ails: what other objectives of it say.
	besides []string
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
	return words.Units(s.facts.Bad, s.facts.Objective.Unit()) + " " + s.went(s.facts.Bad)
}

// went says what became of n bad events: failed, were slow, was stale.
func (s told) went(n uint64) string {
	were := "were "
	if n == 1 {
		were = "was "
	}
	switch {
	case s.facts.Objective.Kind == slo.Fresh:
		return were + "stale"
	case !s.requests():
		return were + "bad"
	case s.facts.Objective.Kind == slo.FasterThan:
		return were + "slow"
	default:
		return "failed"
	}
}

// counted reports whether single events are known, not only their share.
func (s told) counted() bool { return s.facts.Objective.Query.Ratio == "" }

// flow returns the flow's name as a sentence begins.
func (s told) flow() string {
	return upper(s.name())
}

// name returns the flow's name as it is written.
func (s told) name() string {
	return cmp.Or(s.label(series.SLOFlow), s.label(series.SLOName), s.label(series.ID))
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
func (s told) burning() (headline string, details []line) {
	tier, known := s.tier()
	pace, share, paced := s.pace(tier)
	over := !s.page() && paced && pace <= 1
	rest := []string{}
	switch {
	case s.doubt() != "":
		if known && paced && s.facts.Quiet.Since.IsZero() {
			rest = append(rest, s.bad(share))
		}
		rest = append(rest, s.doubt())
	case s.facts.Outage.Total > 0:
		rest = append(rest, s.outage())
	case over:
		rest = append(rest, s.left())
	case known && paced:
		rest = append(rest, s.bad(share), ends(s.facts.Objective, s.facts.BudgetLeft, pace, time.Now()))
	}
	head := append([]string{s.sign() + s.flow() + " " + s.does(over)}, rest...)

	promise := []string{s.objective()}
	switch {
	case known && s.facts.Outage.Total > 0: // it pages before a burn rate does
		promise = append(promise, s.rates(tier))
	case known:
		promise = append(promise, s.rates(tier), s.limit(times(tier.Factor)))
	default:
		promise = append(promise, s.notedRates(), s.notedLimit())
	}
	add := func(label string, parts ...string) {
		if text := join(parts); text != "" {
			details = append(details, line{label, text})
		}
	}
	add("", promise...)
	if s.known {
		add(s.hit())
		add("Budget", s.budget(), s.forecast(pace, paced && !over && s.doubt() == ""))
	}
	for _, l := range s.judgement() {
		add(l.label, l.text)
	}
	if until := s.facts.ExcludedUntil; !until.IsZero() {
		add("Excluded", "what happens until "+clock(until)+" does not count", datum(s.facts.Excluded))
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
func (s told) recovered() (headline string, details []line) {
	head := []string{"🟢 " + s.flow() + " recovered", words.Span(s.alert.EndsAt.Sub(s.alert.StartsAt))}
	parts := []string{s.objective()}
	parts = append(parts, "alerted "+clock(s.alert.StartsAt)+" to "+clock(s.alert.EndsAt))
	if s.known {
		if s.counted() {
			head = append(head, s.cost())
		}
		head = append(head, s.left())
		if cost := s.facts.BudgetBefore - s.facts.BudgetLeft; cost > 0 {
			parts = append(parts, "it cost "+percent(cost)+" of "+cmp.Or(s.account(), "the budget"))
		}
	}
	return join(head), []line{{text: join(parts)}}
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

// hit writes what the incident did: Hit: 412 of 13,300 requests since 14:02.
func (s told) hit() (label, text string) {
	switch {
	case s.facts.Total == 0:
		return "", ""
	case !s.counted():
		return "Bad", fmt.Sprintf("%s since %s", percent(float64(s.facts.Bad)/float64(s.facts.Total)), clock(s.facts.Since))
	}
	return "Hit", fmt.Sprintf("%s of %s since %s", words.Count(s.facts.Bad), words.Units(s.facts.Total, s.facts.Objective.Unit()), clock(s.facts.Since))
}

// budget writes what is left, and what was before: 61 % → 46 % left.
func (s told) budget() string {
	was, left := remaining(s.facts.BudgetBefore), remaining(s.facts.BudgetLeft)
	if s.facts.BudgetLeft > 0 {
		left += " left"
	}
	if account := s.account(); account != "" {
		left += " of " + account
	}
	if s.facts.BudgetBefore > s.facts.BudgetLeft && was != remaining(s.facts.BudgetLeft) {
		return was + " → " + left
	}
	return left
}

// forecast says when the budget is gone, unless that is not known, has happened
// or is not to be.
func (s told) forecast(pace float64, paced bool) string {
	at := s.facts.Forecast
	if at.IsZero() && paced && s.facts.Objective.Window > 0 {
		if d, ok := s.facts.Objective.BudgetLasts(s.facts.BudgetLeft, pace, time.Now()); ok {
			at = time.Now().Add(d)
		}
	}
	if at.IsZero() || s.facts.BudgetLeft <= 0 {
		return ""
	}
	return "at this pace gone " + moment(at)
}

// where names the attributes that set bad events apart: 94 % on
// service.version 1.42.0 (normally 31 %), since 13:58; or what they look like:
// 98 % have http.response.status_code 503.
func (s told) where(symptoms bool) string {
	most, verb := maxCulprits, "on"
	if symptoms {
		most, verb = maxSymptoms, "have"
	}
	var out []string
	for _, c := range s.facts.Where {
		if c.Symptom != symptoms || len(out) == most {
			continue
		}
		text := fmt.Sprintf("%s %s %s", percent(c.Bad), verb, c.what())
		if !symptoms || c.Normal >= 0.00005 {
			text += fmt.Sprintf(" (normally %s)", percent(c.Normal))
		}
		if !c.Since.IsZero() {
			text += ", since " + clock(c.Since)
		}
		out = append(out, text)
	}
	return join(out)
}

// what names the attribute and its value, or both of a pair.
func (c Culprit) what() string {
	text := short(c.Attribute) + " " + short(c.Value)
	if c.WithAttribute != "" {
		text += " with " + short(c.WithAttribute) + " " + short(c.WithValue)
	}
	return text
}

// hints writes what else moved, and how long before the incident.
func (s told) hints() string {
	var out []string
	for _, h := range s.facts.Hints[:min(len(s.facts.Hints), maxHints)] {
		text := datum(h.Text)
		switch before := s.facts.Since.Sub(h.At); {
		case h.At.IsZero():
		case s.facts.Since.IsZero() || before < 0:
			text += ", since " + clock(h.At)
		default:
			text += ", " + words.Span(before) + " before"
		}
		out = append(out, text)
	}
	return join(out)
}

var hexadecimal = regexp.MustCompile(`^[0-9a-fA-F]{16,32}$`)

// traces writes the requests to look at: 7f3a… 5.2 s · 91bc… 500 · typical:
// 22e1… 140 ms. worst is the address of the first, if traces have addresses.
func (s told) traces(address string) (text, worst string) {
	write := func(want func(Trace) bool, most int) (out []string) {
		for _, t := range s.facts.Traces {
			if !want(t) || len(out) == most {
				continue
			}
			name := short(t.ID)
			if hexadecimal.MatchString(t.ID) {
				name = t.ID[:4] + "…"
				if address != "" {
					to := strings.ReplaceAll(address, traceID, t.ID)
					name = "<" + urlSafe.Replace(to) + "|" + name + ">"
					worst = cmp.Or(worst, to)
				}
			}
			how := short(t.Status)
			if how == "" && t.Duration > 0 {
				how = latency(t.Duration)
			}
			out = append(out, strings.TrimSpace(name+" "+how))
		}
		return out
	}
	out := write(func(t Trace) bool { return t.Bad && !t.Typical }, maxBad)
	if typical := write(func(t Trace) bool { return t.Typical }, maxTypical); len(typical) > 0 {
		out = append(out, "typical: "+join(typical))
	}
	return join(out), worst
}

func (s told) footer() string {
	return join([]string{s.label(series.SLOServ), s.note(owner), datum(s.facts.Place)})
}

// links returns where the message's buttons lead.
func (s told) links(external *url.URL, trace string) []target {
	var out []target
	service, flow := string(s.alert.Labels[series.SLOServ]), string(s.alert.Labels[series.SLOFlow])
	add := func(name, address string) {
		if len(address) <= maxURL {
			out = append(out, target{name, address})
		}
	}
	if external != nil {
		page := external.JoinPath("flows", url.PathEscape(service), url.PathEscape(flow))
		since := s.facts.Since
		if since.IsZero() {
			since = s.alert.StartsAt
		}
		q := url.Values{"from": {strconv.FormatInt(since.Add(-before).UnixMilli(), 10)}}
		if s.alert.Resolved() {
			q.Set("to", strconv.FormatInt(s.alert.EndsAt.Add(after).UnixMilli(), 10))
		}
		page.RawQuery = q.Encode()
		add("Dashboard", page.String())
	}
	if trace != "" {
		add("Traces", trace)
	}
	if u, err := url.Parse(string(s.alert.Annotations[runbook])); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
		add("Runbook", u.String())
	}
	if external != nil && !s.alert.Resolved() {
		form := external.JoinPath("alerts", "silence")
		form.RawQuery = url.Values{"service": {service}, "flow": {flow}}.Encode()
		add("Silence", form.String())
	}
	return out
}
