package web

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// staleAfter is the age from which data is called stale: three flushes of ten
// seconds, so that one late flush alarms nobody.
const staleAfter = 30 * time.Second

// alertsShown bounds the list of firing alerts on top of the page. When
// everything fails at once, the flows below tell more than a longer list.
const alertsShown = 10

// state is what a flow or an objective is in, better first.
type state int

const (
	noData   state = iota // never had an event
	idle                  // none in the last minutes
	excluded              // what happens now does not count
	calm                  // within what the objective earns
	unknown               // the figures that say so could not be read
	spent                 // nothing left of the budget, though not spending faster now
	spending              // the budget is spent faster than it is earned
	burning               // a page fires
)

// states are all states, worst first.
var states = []state{burning, spending, spent, unknown, calm, excluded, idle, noData}

// String returns the word people read.
func (s state) String() string {
	return [...]string{
		noData: "no data yet", idle: "idle", excluded: "excluded", calm: "calm", unknown: "unknown",
		spent: "spent", spending: "spending", burning: "burning",
	}[s]
}

// Class returns the state's name in the style sheet. States that share a
// class differ in their word.
func (s state) Class() string {
	return [...]string{
		noData: "idle", idle: "idle", excluded: "idle", calm: "calm", unknown: "idle",
		spent: "spent", spending: "spending", burning: "burning",
	}[s]
}

// Mark returns the state's shape as a character, for the title of the tab.
func (s state) Mark() string {
	return [...]string{
		noData: "–", idle: "–", excluded: "–", calm: "○", unknown: "?",
		spent: "◐", spending: "◐", burning: "●",
	}[s]
}

// frame is what every page has around its content. The view of a page embeds
// it and sets the first group; site.render fills in the rest.
type frame struct {
	Page    string // which one of the navigation is open: flows, flow, alerts, setup or config
	Title   string // of the browser's tab
	Notices []Notice
	DataAge string // "4 s ago", empty when there is no data
	Still   bool   // the page does not refresh itself: somebody writes in it

	Base    string // path prefix of all links
	Assets  string // changes when an asset does, so that browsers may keep them
	Version string
}

// around makes a view that embeds a frame something to render.
func (f *frame) around() *frame { return f }

// page is what the templates of flows show.
type page struct {
	frame

	Headline string
	State    state
	Counts   []count
	Setup    string // "flows", "data" or "queries" when those are still to come
	Service  string // of the first flow that waits for data
	Alerts   []alertView
	More     int // alerts beyond those
	Flows    []flowView
	Table    tableView // what stands around those
	Flow     *flowView // the page of one flow
}

// count is how many flows are in a state. Its link shows those alone, or all
// again when they are shown alone.
type count struct {
	N      int
	State  state
	Link   string
	Chosen bool
}

// Notice is something about slowburn itself that the reader has to know before
// believing the page.
type Notice struct {
	What   string // a sentence
	Detail string // shown as it is written; may be empty
}

type alertView struct {
	Severity slo.Severity
	State    state
	Flow     string
	Link     string // empty when the flow is no longer configured
	Summary  string
	Since    string
	For      string
}

type flowView struct {
	Service, Name, Link string
	State               state
	Objectives          []objectiveView
	P50, P95, P99       string
	Rate, Errors        string
	Spark               spark

	// Counted flows have requests; those of the others are counted elsewhere
	// and asked for.
	Counted bool

	// Match is what the flow counts. The first page shows it while there was
	// nothing to count.
	Match string

	// Excluded says until when what happens does not count, and why; on the
	// flow's own page, when that will next be so.
	Excluded string

	// For the page of the flow.
	Owner, Description  string
	Runbook, RunbookURL string // the URL only when it is http or https

	values values // to sort by
}

type objectiveView struct {
	Sentence string
	State    state
	Now      string // share of good events over the shortest window
	Budget   *budgetView
	Burn     string
	Pace     string // what the burn rate means: gone in 4 h, lasts

	// For the page of the flow.
	Words, OutOf, Counts, Place string
	Queries                     []queryView
	Means                       []string // its budget, in sentences
	Sum                         string   // the arithmetic of its first alert
	YAML                        string
	Tiers                       []tierView
	Windows                     []windowView

	left, bad, burn float64 // NaN where they are not known
}

type budgetView struct {
	Width float64 // of the bar, 0–100
	Left  string  // 31%, or spent
	Words string  // 31% left
}

type queryView struct{ Name, Text string }

type windowView struct {
	Window, Bad, Burn string
	Period            bool // the objective's own window
}

// picture is what a page is made of.
type picture struct {
	now     time.Time // what the reader's clock says
	dataAt  time.Time // zero when there never was data
	at      time.Time // what the numbers are as of
	flows   []slo.Flow
	alerts  []Alert
	numbers numbers
	faults  []Notice // of queries
	notices []Notice // of the rest of slowburn
	reload  string   // why the last configuration was refused
	base    string   // path prefix of all links
}

// overview makes the first page.
func overview(p picture) page {
	out := page{frame: frame{Page: "flows"}}
	firing := map[string]state{}
	for _, a := range p.alerts {
		firing[a.SLO] = max(firing[a.SLO], severityState(a.Severity))
	}

	arrived := false
	counts := map[state]int{}
	for i := range p.flows {
		f := p.flow(&p.flows[i], firing)
		arrived = arrived || f.State != noData
		counts[f.State]++
		out.Flows = append(out.Flows, f)
		if f.Counted && out.Service == "" {
			out.Service = f.Service
		}
	}
	// Worst first. Among equals the least budget, which moves slowly, so that
	// rows do not jump while somebody reads them; calm flows by name.
	slices.SortStableFunc(out.Flows, func(a, b flowView) int {
		order := cmp.Compare(b.State, a.State)
		if a.State >= spent {
			order = cmp.Or(order, cmp.Compare(leastKnown(a.values.left), leastKnown(b.values.left)))
		}
		return cmp.Or(order, cmp.Compare(a.Name, b.Name), cmp.Compare(a.Service, b.Service))
	})
	for _, s := range states {
		if counts[s] > 0 {
			out.Counts = append(out.Counts, count{N: counts[s], State: s})
		}
	}
	switch {
	case len(p.flows) == 0:
		out.Setup = "flows"
	case !arrived && out.Service == "":
		out.Setup = "queries"
	case !arrived:
		out.Setup = "data"
	}
	p.listAlerts(&out)
	p.tellFaults(&out.frame)
	out.Headline, out.State = p.headline(&out)
	out.Title = out.State.Mark() + " " + out.Headline
	return out
}

// leastKnown puts a budget that is not known after all others.
func leastKnown(left float64) float64 {
	if math.IsNaN(left) {
		return math.Inf(1)
	}
	return left
}

// Total is how many flows there are.
func (p *page) Total() int {
	n := 0
	for _, c := range p.Counts {
		n += c.N
	}
	return n
}

// headline answers the one question of the first page.
func (p picture) headline(out *page) (string, state) {
	var names []string
	counts := map[state]int{}
	for _, f := range out.Flows {
		counts[f.State]++
		if f.State == burning {
			names = append(names, f.Name)
		}
	}
	stale := p.stale()
	switch {
	case out.Setup == "flows":
		return "No flows yet", noData
	case len(names) == 1:
		return names[0] + " is burning its budget", burning
	case len(names) == 2 || len(names) == 3:
		last := len(names) - 1
		return strings.Join(names[:last], ", ") + " and " + names[last] + " are burning their budgets", burning
	case len(names) > 3:
		return fmt.Sprintf("%d flows are burning their budgets", len(names)), burning
	case slices.ContainsFunc(out.Alerts, func(a alertView) bool { return a.State == burning }):
		return "An alert is firing", burning
	case out.Setup == "data":
		return "Nothing has arrived yet", noData
	case out.Setup == "queries":
		return "Nothing has been counted yet", noData
	case stale > 0:
		return "No data for " + words.Span(stale), unknown
	case counts[unknown] > 0:
		return "The budgets cannot be read", unknown
	case counts[spending] == 1:
		return "One flow spends faster than it earns", spending
	case counts[spending] > 1:
		return fmt.Sprintf("%d flows spend faster than they earn", counts[spending]), spending
	case counts[spent] == 1:
		return "Nothing burns, one budget is spent", spent
	case counts[spent] > 1:
		return fmt.Sprintf("Nothing burns, %d budgets are spent", counts[spent]), spent
	case counts[calm] == 0 && counts[excluded] > 0:
		return "Nothing counts right now", excluded
	case counts[calm] == 0:
		return "No requests right now", idle
	default:
		return "All calm", calm
	}
}

// stale returns how old the data is when that is more than it should be, or 0.
func (p picture) stale() time.Duration {
	if age := p.now.Sub(p.dataAt); !p.dataAt.IsZero() && age >= staleAfter {
		return age
	}
	return 0
}

// tellFaults fills in what the reader has to know about the page itself.
func (p picture) tellFaults(out *frame) {
	if age := p.stale(); age > 0 {
		out.Notices = append(out.Notices, Notice{
			What: fmt.Sprintf("Data ends %s ago, at %s. All figures are as of then; alerts are current.", words.Span(age), clock(p.dataAt, p.now)),
		})
	}
	out.Notices = append(out.Notices, p.faults...)
	out.Notices = append(out.Notices, p.notices...)
	if p.reload != "" {
		out.Notices = append(out.Notices, Notice{
			What:   "The changed configuration was refused. The one before it goes on running.",
			Detail: p.reload,
		})
	}
	if !p.dataAt.IsZero() {
		out.DataAge = words.Span(p.now.Sub(p.dataAt)) + " ago"
	}
}

// listAlerts fills in the firing alerts: pages before tickets, then the oldest
// first.
func (p picture) listAlerts(out *page) {
	slos := map[string]slo.SLO{}
	for _, s := range slo.All(p.flows) {
		slos[s.ID()] = s
	}
	alerts := slices.Clone(p.alerts)
	slices.SortStableFunc(alerts, func(a, b Alert) int {
		return cmp.Or(
			cmp.Compare(severityState(b.Severity), severityState(a.Severity)),
			a.Since.Compare(b.Since),
			cmp.Compare(a.SLO, b.SLO),
		)
	})
	for i, a := range alerts {
		if i == alertsShown {
			out.More = len(alerts) - alertsShown
			break
		}
		v := alertView{
			Severity: a.Severity,
			State:    severityState(a.Severity),
			Flow:     a.SLO,
			Summary:  a.Summary,
			Since:    clock(a.Since, p.now),
			For:      words.Span(p.now.Sub(a.Since)),
		}
		if s, ok := slos[a.SLO]; ok {
			v.Flow, v.Link = s.Flow.Name, p.link(s.Flow)
			v.Summary = cmp.Or(a.Summary, s.Objective.Words())
		}
		out.Alerts = append(out.Alerts, v)
	}
}

// severityState is the state an SLO is in while an alert of that severity
// fires.
func severityState(s slo.Severity) state {
	if s == slo.Page {
		return burning
	}
	return spending
}

// flow makes one row of the first page.
func (p picture) flow(f *slo.Flow, firing map[string]state) flowView {
	key := flowKey{f.Service, f.Name}
	now := p.numbers.rates[key] // none is as good as zero
	_, unread := p.numbers.faults[partRates]
	quiet := !unread && now.total() == 0
	out := flowView{
		Service: f.Service,
		Name:    f.Name,
		Link:    p.link(f),
		Rate:    unknownFigure,
		Errors:  unknownFigure,
		P50:     unknownFigure,
		P95:     unknownFigure,
		P99:     unknownFigure,
		Spark:   newSpark(p.numbers.hour[key]),
		Counted: f.Counted(),
		Owner:   f.Owner,
	}
	v := &out.values
	unknown := math.NaN()
	*v = values{
		bad: unknown, left: unknown, burn: unknown, latency: [3]float64{unknown, unknown, unknown},
		rate: unknown, errors: unknown, hour: out.Spark.worst,
	}
	x, until, excluded := f.Excluded(p.now)
	if excluded {
		out.Excluded = excludedNow(x, until, p.now)
	}
	if out.Counted && !unread {
		out.Rate, out.Errors = rate(now.total()), share(now.badShare())
		v.rate, v.errors = now.total(), now.badShare()
	}
	if l, ok := p.numbers.latency[key]; ok {
		v.latency = l
		out.P50, out.P95, out.P99 = latency(l[0]), latency(l[1]), latency(l[2])
	}
	for _, s := range f.SLOs() {
		o := p.objective(s, firing[s.ID()], quiet, excluded)
		out.Objectives = append(out.Objectives, o)
		out.State = max(out.State, o.State)
		v.target = max(v.target, s.Objective.Target)
		v.bad, v.burn = worst(v.bad, o.bad, math.Max), worst(v.burn, o.burn, math.Max)
		v.left = worst(v.left, o.left, math.Min)
	}
	if out.State == noData {
		out.Rate, out.Match = unknownFigure, "its query"
		v.rate = unknown
		if out.Counted {
			out.Match = conditions(f.Match)
		}
	}
	return out
}

// objective makes one line of a flow. quiet says that the flow had no request
// lately, paused that what happens now does not count.
func (p picture) objective(s slo.SLO, firing state, quiet, paused bool) objectiveView {
	o := s.Objective
	n := p.numbers.slos[s.ID()]
	left, burn, bad := n.get(series.BudgetRemaining), n.get(series.CurrentBurnRate), n.now(o)
	hourBad := n.get(series.ErrorRatio(hour))
	switch {
	case o.Slice > 0 || o.Kind == slo.Fresh:
		// Long slices are missing in the shortest window most of the time.
		burn, quiet = slo.BurnRate(bad, o.Target), false
	case o.Kind == slo.PromQL:
		quiet = math.IsNaN(bad)
	case quiet:
		// The last value of an idle window lingers in queries for a while.
		burn, bad = math.NaN(), math.NaN()
	}
	out := objectiveView{
		Sentence: o.Sentence(),
		Now:      goodShare(bad),
		Burn:     times(burn),
		left:     left,
		bad:      bad,
		burn:     burn,
	}
	period := words.Period(o.Calendar, p.now)
	if period != "" {
		out.Sentence += " · " + period
	}
	_, unread := p.numbers.faults[partBudgets]
	switch {
	case firing != 0:
		out.State = firing
	case unread:
		out.State = unknown
	case !(n.get(series.Events) > 0):
		out.State = noData
	case paused && !(left <= 0):
		out.State = excluded
	case !paused && burn > 1 && !(slo.BurnRate(hourBad, o.Target) <= 1):
		// Over the hour as well where there is one, so that a short blip does
		// not colour the page.
		out.State = spending
	case left <= 0:
		out.State = spent
	case quiet:
		out.State = idle
	default:
		out.State = calm
	}
	if !math.IsNaN(left) {
		out.Budget = &budgetView{Width: 100 * min(1, max(0, left)), Left: share(max(0, left)), Words: share(max(0, left)) + " left"}
		if left <= 0 {
			out.Budget.Left, out.Budget.Words = "spent", "spent"
		}
		if period != "" {
			out.Budget.Words = period + "'s budget: " + out.Budget.Words
		}
	}
	switch {
	case left < 0:
		out.Pace = share(-left) + " over"
		if period != "" {
			_, end := o.Calendar.Bounds(p.now)
			out.Pace += " until " + end.Format("2 Jan")
		}
	case out.State == burning || out.State == spending:
		out.Pace = gone(o, left, burn, p.now)
	case out.State == calm && burn <= 1:
		out.Pace = lasts(o, p.now)
	}
	return out
}

// link returns the address of a flow's page.
func (p picture) link(f *slo.Flow) string {
	return p.base + "/flows/" + url.PathEscape(f.Service) + "/" + url.PathEscape(f.Name)
}

// detail makes what the page of a flow has in common with the first page.
func detail(p picture, f *slo.Flow) page {
	one := p
	one.flows = []slo.Flow{*f}
	one.alerts = nil
	for _, s := range f.SLOs() {
		for _, a := range p.alerts {
			if a.SLO == s.ID() {
				one.alerts = append(one.alerts, a)
			}
		}
	}
	out := overview(one)
	v := &out.Flows[0]
	v.Match, v.Description = conditions(f.Match), f.Description
	if !v.Counted {
		v.Match = "counted by PromQL"
	}
	if v.Excluded == "" {
		v.Excluded = excludedNext(f, p.now)
	}
	v.Runbook = f.Runbook
	if u, err := url.Parse(f.Runbook); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		v.RunbookURL = f.Runbook
	}
	for i, s := range f.SLOs() {
		one.explain(s, &v.Objectives[i])
	}
	out.Page, out.Flow, out.Setup = "flow", v, ""
	out.State = v.State
	out.Title = v.State.Mark() + " " + f.Name
	return out
}

// explain adds to an objective what only the flow's page shows.
func (p picture) explain(s slo.SLO, out *objectiveView) {
	o := s.Objective
	n := p.numbers.slos[s.ID()]
	out.Words = o.Words()
	out.Place = o.Pos.String()
	if out.Now != unknownFigure {
		out.OutOf = outOf(o, n.now(o))
	} else {
		out.OutOf = outOf(o, math.NaN())
	}
	// A ratio has parts of minutes instead of events, which tell nobody anything.
	if events := n.get(series.Events); events > 0 && o.Query.Ratio == "" {
		bad := max(0, n.get(series.Errors)) // absent while nothing was bad
		out.Counts = fmt.Sprintf("Since counting began: %s of %s.", words.Number(bad, 0), words.Units(uint64(events), o.Unit()))
	}
	for _, q := range []queryView{{"bad", o.Query.Bad}, {"good", o.Query.Good}, {"total", o.Query.Total}, {"share of bad", o.Query.Ratio}} {
		if q.Text != "" {
			out.Queries = append(out.Queries, q)
		}
	}
	for _, w := range o.Windows() {
		bad := n.get(series.ErrorRatio(w))
		out.Windows = append(out.Windows, windowView{
			Window: slo.Duration(w),
			Bad:    share(bad),
			Burn:   times(slo.BurnRate(bad, o.Target)),
			Period: w == o.Window && o.Calendar.Unit == slo.Rolling,
		})
	}
	if period := words.Period(o.Calendar, p.now); period != "" {
		burn := n.get(series.PeriodBurnRate)
		out.Windows = append(out.Windows, windowView{Window: period, Bad: share(burn * o.Budget()), Burn: times(burn), Period: true})
	}
	perSecond := math.NaN()
	if s.Flow.Counted() {
		perSecond = p.numbers.rates[flowKey{s.Flow.Service, s.Flow.Name}].total()
	}
	meaning(o, perSecond, p.now, out)
}

// spark is the errors of the last hour as two SVG paths: a bar a step, and a
// base line where there were requests.
type spark struct {
	Bars, Base, Words string

	worst float64 // share of a step, NaN without requests
}

const (
	sparkPitch  = 3 // from bar to bar, for 30 of them in the 90 units of the template
	sparkHeight = 20

	// sparkTop is the least error share of a full bar. Without it a single
	// failed request would look like an outage.
	sparkTop = 0.01
)

// newSpark draws the steps, oldest first.
func newSpark(steps []rates) spark {
	top, worst := sparkTop, 0.0
	for _, r := range steps {
		if bad := r.badShare(); bad > worst {
			worst, top = bad, max(top, bad)
		}
	}
	var bars, base strings.Builder
	for i, r := range steps {
		if !(r.total() > 0) {
			continue
		}
		fmt.Fprintf(&base, "M%d %dh%d", i*sparkPitch, sparkHeight, sparkPitch)
		if tall := r.badShare() / top * (sparkHeight - 1); tall >= 1 { // less is dust
			fmt.Fprintf(&bars, "M%d %dv-%.1f", i*sparkPitch+1, sparkHeight, tall)
		}
	}
	if base.Len() == 0 {
		worst = math.NaN()
	}
	words := "no requests in the last hour"
	if base.Len() > 0 {
		words = "errors of the last hour, at most " + share(worst) + " within " + slo.Duration(hourStep)
	}
	return spark{Bars: bars.String(), Base: base.String(), Words: words, worst: worst}
}
