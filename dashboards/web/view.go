package web

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/dashboards/read"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// alertsShown bounds the list of firing alerts on top of the page. When
// everything fails at once, the flows below tell more than a longer list.
const alertsShown = 10

// state is a read.State as people see it.
type state read.State

const (
	noData   = state(read.NoData)
	idle     = state(read.Idle)
	excluded = state(read.Excluded)
	calm     = state(read.Calm)
	unknown  = state(read.Unknown)
	spent    = state(read.Spent)
	spending = state(read.Spending)
	burning  = state(read.Burning)
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
	Judged                      []string // what keeps it from being judged by its burn rates alone
	Queries                     []queryView
	Means                       []string // its budget, in sentences
	Sum                         string   // the arithmetic of its first alert
	YAML                        string
	Tiers                       []tierView
	Windows                     []windowView
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
	numbers read.Numbers
	faults  []Notice // of queries
	notices []Notice // of the rest of slowburn
	reload  string   // why the last configuration was refused
	base    string   // path prefix of all links
}

// overview makes the first page.
func overview(p picture) page {
	out := page{frame: frame{Page: "flows"}}
	firing := read.Firing(p.alerts)
	all := make([]read.Flow, len(p.flows))
	for i := range p.flows {
		all[i] = p.numbers.Flow(&p.flows[i], firing, p.now)
	}
	slices.SortStableFunc(all, read.Flow.Compare)

	arrived := false
	counts := map[state]int{}
	for _, one := range all {
		f := p.flow(one)
		arrived = arrived || f.State != noData
		counts[f.State]++
		out.Flows = append(out.Flows, f)
		if f.Counted && out.Service == "" {
			out.Service = f.Service
		}
	}
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
	if age := p.now.Sub(p.dataAt); !p.dataAt.IsZero() && age >= read.StaleAfter {
		return age
	}
	return 0
}

// tellFaults fills in what the reader has to know about the page itself.
func (p picture) tellFaults(out *frame) {
	if age := p.stale(); age > 0 {
		out.Notices = append(out.Notices, Notice{
			What: fmt.Sprintf("Data ends %s ago, at %s. All figures are as of then; alerts are current.", words.Span(age), words.Clock(p.dataAt, p.now)),
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
	alerts := slices.SortedStableFunc(slices.Values(p.alerts), Alert.Compare)
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
			Since:    words.Clock(a.Since, p.now),
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
func severityState(s slo.Severity) state { return state(read.StateOf(s)) }

// flow makes one row of the first page.
func (p picture) flow(f read.Flow) flowView {
	out := flowView{
		Service: f.Service,
		Name:    f.Name,
		Link:    p.link(f.Flow),
		State:   state(f.State),
		Rate:    words.Rate(f.Rate),
		Errors:  words.Share(f.Errors),
		P50:     words.Latency(f.Latency[0]),
		P95:     words.Latency(f.Latency[1]),
		P99:     words.Latency(f.Latency[2]),
		Spark:   newSpark(f.Hour),
		Counted: f.Counted(),
		Owner:   f.Owner,
	}
	v, nan := &out.values, math.NaN()
	*v = values{bad: nan, left: nan, burn: nan, latency: f.Latency, rate: f.Rate, errors: f.Errors, hour: out.Spark.worst}
	if f.Exclusion != nil {
		out.Excluded = excludedNow(*f.Exclusion, f.Until, p.now)
	}
	for _, o := range f.Objectives {
		out.Objectives = append(out.Objectives, p.objective(o))
		v.target = max(v.target, o.Objective.Target)
		v.bad, v.burn = worst(v.bad, o.Bad, math.Max), worst(v.burn, o.Burn, math.Max)
		v.left = worst(v.left, o.Left, math.Min)
	}
	if out.State == noData {
		out.Match = "its query"
		if out.Counted {
			out.Match = conditions(f.Match)
		}
	}
	return out
}

// objective makes one line of a flow.
func (p picture) objective(is read.Objective) objectiveView {
	o, left := is.Objective, is.Left
	out := objectiveView{
		Sentence: o.Sentence(),
		State:    state(is.State),
		Now:      words.GoodShare(is.Bad),
		Burn:     words.Times(is.Burn),
	}
	period := words.Period(o.Calendar, p.now)
	if period != "" {
		out.Sentence += " · " + period
	}
	if !math.IsNaN(left) {
		out.Budget = &budgetView{Width: 100 * min(1, max(0, left)), Left: words.Share(max(0, left)), Words: words.Share(max(0, left)) + " left"}
		if left <= 0 {
			out.Budget.Left, out.Budget.Words = "spent", "spent"
		}
		if period != "" {
			out.Budget.Words = period + "'s budget: " + out.Budget.Words
		}
	}
	switch {
	case left < 0:
		out.Pace = words.Share(-left) + " over"
		if period != "" {
			_, end := o.Calendar.Bounds(p.now)
			out.Pace += " until " + end.Format("2 Jan")
		}
	case out.State == burning || out.State == spending:
		out.Pace = gone(o, left, is.Burn, p.now)
	case out.State == calm && is.Burn <= 1:
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
	n := p.numbers.SLOs[s.ID()]
	out.Words = o.Words()
	out.Place = o.Pos.String()
	if out.Now != words.Unknown {
		out.OutOf = outOf(o, n.Get(series.ErrorRatio(read.NowWindow(o))))
	} else {
		out.OutOf = outOf(o, math.NaN())
	}
	// A ratio has parts of minutes instead of events, which tell nobody anything.
	if events := n.Get(series.Events); events > 0 && o.Query.Ratio == "" {
		bad := max(0, n.Get(series.Errors)) // absent while nothing was bad
		out.Counts = fmt.Sprintf("Since counting began: %s of %s.", words.Number(bad, 0), words.Units(uint64(events), o.Unit()))
	}
	for _, q := range []queryView{{"bad", o.Query.Bad}, {"good", o.Query.Good}, {"total", o.Query.Total}, {"share of bad", o.Query.Ratio}} {
		if q.Text != "" {
			out.Queries = append(out.Queries, q)
		}
	}
	for _, w := range o.Windows() {
		bad := n.Get(series.ErrorRatio(w))
		out.Windows = append(out.Windows, windowView{
			Window: slo.Duration(w),
			Bad:    words.Share(bad),
			Burn:   words.Times(slo.BurnRate(bad, o.Target)),
			Period: w == o.Window && o.Calendar.Unit == slo.Rolling,
		})
	}
	if period := words.Period(o.Calendar, p.now); period != "" {
		burn := n.Get(series.PeriodBurnRate)
		out.Windows = append(out.Windows, windowView{Window: period, Bad: words.Share(burn * o.Budget()), Burn: words.Times(burn), Period: true})
	}
	perSecond := math.NaN()
	if s.Flow.Counted() {
		perSecond = p.numbers.Rates[read.KeyOf(s.Flow)].Total()
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
func newSpark(steps []read.Rates) spark {
	top, worst := sparkTop, 0.0
	for _, r := range steps {
		if bad := r.BadShare(); bad > worst {
			worst, top = bad, max(top, bad)
		}
	}
	var bars, base strings.Builder
	for i, r := range steps {
		if !(r.Total() > 0) {
			continue
		}
		fmt.Fprintf(&base, "M%d %dh%d", i*sparkPitch, sparkHeight, sparkPitch)
		if tall := r.BadShare() / top * (sparkHeight - 1); tall >= 1 { // less is dust
			fmt.Fprintf(&bars, "M%d %dv-%.1f", i*sparkPitch+1, sparkHeight, tall)
		}
	}
	if base.Len() == 0 {
		worst = math.NaN()
	}
	text := "no requests in the last hour"
	if base.Len() > 0 {
		text = "errors of the last hour, at most " + words.Share(worst) + " within " + slo.Duration(read.HourStep)
	}
	return spark{Bars: bars.String(), Base: base.String(), Words: text, worst: worst}
}
