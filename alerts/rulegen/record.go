package rulegen

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/query"
	"github.com/slowburn-slo/slowburn/slo/series"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// RecordOptions say how recording rules are written. The zero value is a good
// choice.
type RecordOptions struct {
	// Scrape is how often the metrics of PromQL objectives are scraped. The
	// zero value is query.DefaultScrape.
	Scrape time.Duration

	// CatchUp also counts the first value of a counter that is born late, and
	// what a counter gained while nothing was scraped, up to a day. It costs
	// about five times as much, and a counter that comes back after more than a day
	// is counted whole.
	CatchUp bool

	// Version is shown in sloth_slo_info.
	Version string
}

const (
	// The fast group records what pages; its interval is the minute that
	// events are counted in.
	fastInterval = query.Step
	// The slow group repeats what the slowest records, often enough for a
	// lookback of five minutes.
	slowInterval = 2 * time.Minute
	// The slowest group sums up days.
	slowestInterval = 5 * time.Minute

	// fastWindow is the longest window recorded every minute.
	fastWindow = 6 * time.Hour

	// hold is how far back a counter is looked for after its collector has
	// gone: longer than a restart of Prometheus takes.
	hold = time.Hour
)

// Record returns the rules that compute, in a Prometheus that has no slowburn
// writing them, every series that dashboards and alerts read: for PromQL
// objectives from the user's own metrics, for all others from the counters that
// one or more slowburn collectors send there. Alerts are part of the groups, so
// that they are judged on what was recorded at the same instant.
//
// Notes are what PromQL cannot carry, at the place in the configuration. An
// error is an expression that cannot be built; it names the SLO.
func Record(flows []slo.Flow, o RecordOptions) (groups []rulefmt.RuleGroup, notes source.Faults, err error) {
	o.Scrape = cmp.Or(o.Scrape, query.DefaultScrape)
	w := &writer{opts: o, parser: parser.NewParser(parser.Options{})}
	for _, p := range profiles(flows) {
		w.profile(p)
	}
	return w.groups, w.notes.Warnings(), errors.Join(w.faults...)
}

// profile is the SLOs of a service that are recorded by the same rules.
type profile struct {
	service string
	counted bool // from slowburn's counters, else from the user's metrics
	mixed   bool // the service has both
	windows []time.Duration
	slos    []slo.SLO
}

func profiles(flows []slo.Flow) []*profile {
	type key struct {
		service string
		counted bool
	}
	var out []*profile
	index := map[key]*profile{}
	for _, s := range slo.All(flows) {
		k := key{s.Flow.Service, s.Objective.Kind != slo.PromQL}
		p := index[k]
		if p == nil {
			p = &profile{service: k.service, counted: k.counted}
			index[k] = p
			out = append(out, p)
		}
		p.slos = append(p.slos, s)
		for _, w := range s.Objective.Windows() {
			if !slices.Contains(p.windows, w) {
				p.windows = append(p.windows, w)
			}
		}
	}
	for _, p := range out {
		slices.Sort(p.windows)
		p.mixed = index[key{p.service, !p.counted}] != nil
	}
	return out
}

// source names where the profile's events come from.
func (p *profile) source() string {
	if p.counted {
		return "counters"
	}
	return "metrics"
}

// name returns a name for the profile's groups, unique among services.
func (p *profile) name() string {
	if p.mixed {
		return p.service + "-" + p.source()
	}
	return p.service
}

// selector returns the matchers that pick the profile's series, in braces. A
// collector also counts what it asks PromQL for, so that in a mixed service
// only the identities tell.
func (p *profile) selector() string {
	if !p.mixed {
		return "{" + series.SLOServ + "=" + strconv.Quote(p.service) + "}"
	}
	ids := make([]string, len(p.slos))
	for i, s := range p.slos {
		ids[i] = regexp.QuoteMeta(s.ID())
	}
	return "{" + series.ID + "=~" + strconv.Quote(strings.Join(ids, "|")) + "}"
}

// periods returns the lengths of the SLOs' periods, ascending.
func (p *profile) periods() []time.Duration {
	var out []time.Duration
	for _, s := range p.slos {
		if !slices.Contains(out, s.Objective.Window) {
			out = append(out, s.Objective.Window)
		}
	}
	slices.Sort(out)
	return out
}

// record returns a rule for all SLOs of the profile. Its labels are theirs, or
// tell the profile from another of the same service; two rules of one name and
// the same labels look like a mistake to promtool.
func (p *profile) record(name, expr string, window time.Duration) rulefmt.Rule {
	labels := map[string]string{series.SLOServ: p.service}
	if p.mixed {
		labels[series.Source] = p.source()
	}
	if window > 0 {
		labels[series.Window] = series.WindowName(window)
	}
	return rulefmt.Rule{Record: name, Expr: expr, Labels: labels}
}

// ignoring says that what has been recorded may be matched with what has not.
func (p *profile) ignoring() string {
	if p.mixed {
		return " ignoring (" + series.Source + ")"
	}
	return ""
}

// writer gathers groups, notes and faults.
type writer struct {
	opts   RecordOptions
	parser parser.Parser
	groups []rulefmt.RuleGroup
	notes  source.Collector
	faults []error
}

// profile writes the three groups of a profile.
func (w *writer) profile(p *profile) {
	group := func(speed string, interval time.Duration, rules []rulefmt.Rule) {
		if len(rules) > 0 {
			w.groups = append(w.groups, rulefmt.RuleGroup{
				Name: "slowburn-" + p.name() + "-" + speed, Interval: model.Duration(interval), Rules: rules,
			})
		}
	}
	var fast, slow, slowest []rulefmt.Rule
	if p.counted {
		fast = append(fast, w.held(p)...)
	} else {
		for _, s := range p.slos {
			fast = append(fast, w.minute(s)...)
		}
		slowest = append(slowest,
			p.record(series.ErrorsPer5m, fmt.Sprintf("sum_over_time(%s%s[5m])", series.ErrorsPerMinute, p.selector()), 0),
			p.record(series.EventsPer5m, fmt.Sprintf("sum_over_time(%s%s[5m])", series.EventsPerMinute, p.selector()), 0))
	}
	for _, window := range p.windows {
		name := series.ErrorRatio(window)
		if window > fastWindow {
			name = series.Slow(window)
			slow = append(slow, p.record(series.ErrorRatio(window), fmt.Sprintf("last_over_time(%s%s[15m])", name, p.selector()), window))
			slowest = append(slowest, w.window(p, name, window)...)
		} else {
			fast = append(fast, w.window(p, name, window)...)
		}
	}
	burn := func(window time.Duration) string {
		return fmt.Sprintf("max without (%s) (%s%s / on (%s) group_left () %s%s)", series.Window,
			series.ErrorRatio(window), p.selector(), series.ID, series.ErrorBudget, p.selector())
	}
	fast = append(fast, p.record(series.CurrentBurnRate, burn(p.windows[0]), 0))
	var period []string
	for _, length := range p.periods() {
		b := burn(length)
		if len(p.periods()) > 1 {
			b = fmt.Sprintf("(%s and on (%s) %s%s == %s)", b, series.ID, series.PeriodDays, p.selector(), number(length.Hours()/24))
		}
		period = append(period, b)
	}
	for _, s := range p.slos {
		slow = append(slow, w.facts(s)...)
	}
	slow = append(slow,
		p.record(series.PeriodBurnRate, strings.Join(period, "\nor\n"), 0),
		p.record(series.BudgetRemaining, "1 - "+series.PeriodBurnRate+p.selector(), 0))
	for _, s := range p.slos {
		w.note(s)
		if rule, ok := w.alert(s, slo.Page); ok {
			fast = append(fast, rule)
		}
		// Tickets wait for hours, and read what is recorded every five minutes.
		if rule, ok := w.alert(s, slo.Ticket); ok {
			slow = append(slow, rule)
		}
	}
	w.prove(p, fast, slow, slowest)
	group("fast", fastInterval, fast)
	group("slow", slowInterval, slow)
	group("slowest", slowestInterval, slowest)
}

// window writes the error ratio over a window and, where an alert judges by
// it, its count of bad events.
//
// The count is recorded for the ratio as well, so that nothing is read twice.
func (w *writer) window(p *profile, name string, length time.Duration) []rulefmt.Rule {
	var bad, total string
	switch {
	case p.counted:
		bad, total = difference(series.ErrorsHeld, series.Errors, p, length), difference(series.EventsHeld, series.Events, p, length)
	case length > fastWindow:
		bad = fmt.Sprintf("sum_over_time(%s%s[%s])", series.ErrorsPer5m, p.selector(), slo.Duration(length))
		total = fmt.Sprintf("sum_over_time(%s%s[%s])", series.EventsPer5m, p.selector(), slo.Duration(length))
	default:
		// The samples stand exactly a minute apart in this very group. Half a
		// step less than the window holds its number of them however a
		// Prometheus treats a sample on the border: 2 counts it, 3 does not.
		span := slo.Duration(length - fastInterval/2)
		bad = fmt.Sprintf("sum_over_time(%s%s[%s])", series.ErrorsPerMinute, p.selector(), span)
		total = fmt.Sprintf("sum_over_time(%s%s[%s])", series.EventsPerMinute, p.selector(), span)
	}
	var out []rulefmt.Rule
	judged := slices.ContainsFunc(p.slos, func(s slo.SLO) bool {
		return slices.ContainsFunc(s.Objective.Tiers, func(t slo.Tier) bool { return t.Long == length })
	})
	if judged {
		out = append(out, p.record(series.ErrorsOver(length), bad, 0))
		bad = series.ErrorsOver(length) + p.selector()
	}
	// > 0 leaves an idle window without a ratio: one NaN would poison every
	// longer one.
	return append(out, p.record(name, fmt.Sprintf("%s\n/%s\n(%s > 0)", bad, p.ignoring(), total), length))
}

// identity are the labels of an SLO's series once collectors are summed up.
var identity = strings.Join([]string{series.ID, series.SLOServ, series.SLOName, series.SLOFlow}, ", ")

// difference writes what counters gained over a window, summed over the
// collectors: the counter now less the counter then, or less nothing where the
// collector is younger. What was held then is looked up where the counter
// itself is not there, because its collector had gone; further back than the
// lookback, because no rule was evaluated while Prometheus was away.
func difference(held, counter string, p *profile, window time.Duration) string {
	x, ignoring := held+p.selector(), p.ignoring()
	then := fmt.Sprintf("%s%s offset %s or%s last_over_time(%s[%s] offset %s) or%s 0 * %s",
		counter, p.selector(), slo.Duration(window), ignoring, x, slo.Duration(hold), slo.Duration(window), ignoring, x)
	return fmt.Sprintf("sum by (%s) (%s -%s (%s))", identity, x, ignoring, then)
}

// held writes slowburn's counters so that each stays when its collector goes:
// what it counted is still in the windows. It is dropped when a whole period
// has gone by without an event.
func (w *writer) held(p *profile) []rulefmt.Rule {
	out := make([]rulefmt.Rule, 0, 2)
	for _, c := range []struct{ held, counter string }{{series.EventsHeld, series.Events}, {series.ErrorsHeld, series.Errors}} {
		before := fmt.Sprintf("last_over_time(%s%s[%s])", c.held, p.selector(), slo.Duration(hold))
		events := fmt.Sprintf("last_over_time(%s%s[%s])", series.EventsHeld, p.selector(), slo.Duration(hold))
		idle := fmt.Sprintf("%s == (%s%s offset %s)", events, series.EventsHeld, p.selector(), slo.Duration(p.windows[len(p.windows)-1]))
		out = append(out, p.record(c.held, fmt.Sprintf("%s%s\nor%s\n(%s unless (%s))", c.counter, p.selector(), p.ignoring(), before, idle), 0))
	}
	return out
}

// minute writes the events of one minute of a PromQL objective, good and bad.
func (w *writer) minute(s slo.SLO) []rulefmt.Rule {
	bad, total, err := w.counts(s.Objective)
	if err != nil {
		w.faults = append(w.faults, fmt.Errorf("%s: SLO %s: %w", s.Objective.Pos, s.ID(), err))
		return nil
	}
	if out := w.excluded(s); out != "" {
		bad = fmt.Sprintf("(%s)\nunless on () (%s)", bad, out)
		total = fmt.Sprintf("(%s)\nunless on () (%s)", total, out)
	}
	labels := sloLabels(s)
	return []rulefmt.Rule{
		{Record: series.EventsPerMinute, Expr: total, Labels: labels},
		{Record: series.ErrorsPerMinute, Expr: bad, Labels: labels},
	}
}

// sloLabels are the labels of an SLO and its flow's own, as a map.
func sloLabels(s slo.SLO) map[string]string {
	out := map[string]string{}
	for k, v := range s.Flow.Labels {
		out[k] = v
	}
	for k, v := range series.SLO(s).Map() {
		out[k] = v
	}
	return out
}

// counts writes the bad events and all events of one minute.
func (w *writer) counts(o slo.Objective) (bad, total string, err error) {
	perMinute := func(text string) string {
		if err != nil {
			return ""
		}
		var out string
		if w.opts.CatchUp {
			out, err = query.CatchUp(text, w.opts.Scrape)
		} else {
			out, err = query.PerMinute(text, w.opts.Scrape)
		}
		return out
	}
	if o.Query.Ratio != "" {
		ratio, err := query.At(o.Query.Ratio, query.Step+w.opts.Scrape)
		if err != nil {
			return "", "", err
		}
		bad, total = fmt.Sprintf("clamp(%s, 0, 1)", ratio), fmt.Sprintf("0 * (%s) + 1", ratio)
	} else {
		total = perMinute(o.Query.Total)
		if o.Query.Good != "" {
			bad = fmt.Sprintf("clamp_min(%s - (%s or 0 * %s), 0)", total, perMinute(o.Query.Good), total)
		} else {
			// A service that never failed has no series of errors.
			none := "0 * " + total
			if single(o.Query.Bad) && single(o.Query.Total) {
				none = "vector(0)"
			}
			bad = fmt.Sprintf("%s or %s", perMinute(o.Query.Bad), none)
		}
	}
	if o.Slice > 0 && err == nil {
		// A minute is bad when more of its events are than may be.
		bad = fmt.Sprintf("((%s) > bool %s * (%s)) or vector(0)", bad, number(slo.Budget(o.SliceTarget)), total)
		total = "vector(1)"
	}
	return bad, total, err
}

// single reports whether a query yields one series without labels.
func single(text string) bool {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(strings.ReplaceAll(text, slo.QueryWindow, "5m"))
	for err == nil {
		switch e := expr.(type) {
		case *parser.ParenExpr:
			expr = e.Expr
			continue
		case *parser.AggregateExpr:
			return len(e.Grouping) == 0 && !e.Without
		case *parser.BinaryExpr:
			return single(e.LHS.String()) && single(e.RHS.String())
		case *parser.Call:
			return e.Func.Name == "vector"
		}
		return false
	}
	return false
}

// excluded writes when events do not count, or nothing. The minute before an
// instant is excluded at it.
func (w *writer) excluded(s slo.SLO) string {
	var out []string
	for _, e := range s.Flow.Exclude {
		var when string
		length := e.For.Seconds()
		switch {
		case e.Every == slo.Once:
			when = fmt.Sprintf("vector(time()) > %d <= %d", e.From.Unix(), e.From.Add(e.For).Unix())
		case e.Zone != nil && e.Zone != time.UTC, e.Every == slo.Monthly:
			w.notes.Warn(source.Fault{
				Pos: e.Pos, Path: "exclude", Fact: "does not come again evenly, which PromQL cannot follow: exported rules count its events",
				Want: "want slowburn serve, or a time in UTC on days of the week",
			})
			continue
		case e.Every == slo.Daily:
			when = within(e.At, 24*time.Hour, length)
		default:
			for _, d := range e.Days {
				// 1970-01-01 was a Thursday.
				start := time.Duration((int(d)+7-int(time.Thursday))%7)*24*time.Hour + e.At
				out = append(out, limited(e, within(start, 7*24*time.Hour, length)))
			}
			continue
		}
		out = append(out, limited(e, when))
	}
	return strings.Join(out, "\n  or ")
}

func within(start, every time.Duration, seconds float64) string {
	return fmt.Sprintf("(vector(time() - %d) %% %d) > 0 <= %s", int64(start.Seconds()), int64(every.Seconds()), number(seconds))
}

// limited adds the first and the last instant of what comes again.
func limited(e slo.Exclusion, when string) string {
	if e.Every != slo.Once && !e.From.IsZero() {
		when += fmt.Sprintf(" and vector(time()) > %d", e.From.Unix())
	}
	if !e.Until.IsZero() {
		when += fmt.Sprintf(" and vector(time()) <= %d", e.Until.Unix())
	}
	return when
}

// facts writes what never changes of an SLO, as Sloth does.
func (w *writer) facts(s slo.SLO) []rulefmt.Rule {
	o, labels := s.Objective, sloLabels(s)
	info := series.InfoLabels(s, w.opts.Version).Map()
	delete(info, model.MetricNameLabel)
	constant := func(name string, v float64) rulefmt.Rule {
		return rulefmt.Rule{Record: name, Expr: "vector(" + number(v) + ")", Labels: labels}
	}
	return []rulefmt.Rule{
		constant(series.Objective, o.Target),
		constant(series.ErrorBudget, o.Budget()),
		constant(series.PeriodDays, o.Window.Hours()/24),
		{Record: series.Info, Expr: "vector(1)", Labels: info},
	}
}

// note says what of an SLO exported rules cannot do.
func (w *writer) note(s slo.SLO) {
	o := s.Objective
	add := func(fact, want string) {
		w.notes.Warn(source.Fault{Pos: o.Pos, Path: s.ID(), Fact: fact, Want: want})
	}
	if o.Calendar.Unit != slo.Rolling {
		add(fmt.Sprintf("PromQL knows no %s: the budget of exported rules rolls over %s", o.Calendar, slo.Duration(o.Window)),
			"want slowburn serve for the calendar's budget")
	}
	if o.Outage || len(o.Spent) > 0 || o.RunsOut {
		add("exported rules alert by burn rates only: not on an outage at once, nor when budget is spent or will run out",
			"want slowburn serve for these")
	}
	if o.Kind == slo.Fresh {
		add("every collector judges freshness by what it saw itself", "want the job's spans sent to one collector")
	} else if o.Slice > 0 && o.Kind != slo.PromQL {
		add("every collector judges its own share of a slice's events", "want the flow's spans sent to one collector")
	}
	if o.Kind == slo.PromQL && o.Slice > 0 && o.Slice != time.Minute {
		add("exported rules judge minutes, not slices of "+slo.Duration(o.Slice), "want slices of 1m")
	}
}

// alert writes an alert over what the groups record.
func (w *writer) alert(s slo.SLO, severity slo.Severity) (rulefmt.Rule, bool) {
	rule, ok := alert(s, severity)
	if !ok {
		return rule, false
	}
	rule.Labels[series.ID] = s.ID()
	id := "{" + series.ID + "=" + strconv.Quote(s.ID()) + "}"
	var tiers []string
	for _, t := range s.Objective.Tiers {
		if t.Severity != severity {
			continue
		}
		// A ratio has no count of events to judge by. Counts are sums of
		// fractions, so that three events may be 2.999.
		evidence := ""
		if s.Objective.Query.Ratio == "" {
			count := series.ErrorsOver(t.Long) + id
			if t.Long > fastWindow {
				count = "last_over_time(" + count + "[15m])"
			}
			evidence = fmt.Sprintf("\n  and ignoring (%s)\n    %s > %s", series.Window, count,
				number(math.Max(1, float64(s.Objective.MinEvents))-0.5))
		}
		tiers = append(tiers, fmt.Sprintf("max without (%s) (\n    %s\n  and ignoring (%s)\n    %s%s\n)",
			series.Window, burns(s, t.Long, t.Factor), series.Window, burns(s, t.Short, t.Factor), evidence))
	}
	rule.Expr = strings.Join(tiers, "\nor\n")
	return rule, true
}

// prove parses every expression of a profile.
func (w *writer) prove(p *profile, groups ...[]rulefmt.Rule) {
	for _, rules := range groups {
		for _, r := range rules {
			if _, err := w.parser.ParseExpr(r.Expr); err != nil {
				w.faults = append(w.faults, fmt.Errorf("%s: service %s, rule %s: %w",
					p.slos[0].Objective.Pos, p.service, cmp.Or(r.Record, r.Alert), err))
			}
		}
	}
}

// burns writes that an SLO's budget burns faster than factor over a window.
func burns(s slo.SLO, window time.Duration, factor float64) string {
	return fmt.Sprintf("%s{%s=%s} / %s > %s", series.ErrorRatio(window), series.ID, strconv.Quote(s.ID()),
		number(s.Objective.Budget()), number(factor))
}
