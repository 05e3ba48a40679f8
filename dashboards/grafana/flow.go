package grafana

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// flow lays out the dashboard of one flow: how its objectives stand, its traffic,
// and each objective's budget and alerts.
func flow(f *slo.Flow) *sheet {
	selector := is(series.SLOServ, f.Service, series.SLOFlow, f.Name)
	s := &sheet{
		uid: FlowUID(f.Service, f.Name), title: f.Service + " / " + f.Name, about: aboutFlow(f), tags: []string{flowTag},
		annotations: firing(selector, *f),
		links: []dashboard.DashboardLink{
			to("Overview", "/d/"+overviewUID+"?${datasource:queryparam}", "All flows, worst first"),
			toDashboards("Flows", flowTag),
			to("Node.js runtime", "/d/"+runtimeUID+"?${datasource:queryparam}&var-service="+url.QueryEscape(f.Service),
				"Event loop, memory and processes of "+f.Service),
		},
	}
	if f.Runbook != "" {
		l := to("Runbook", f.Runbook, "What to do when "+f.Name+" burns")
		l.Icon, l.KeepTime, l.TargetBlank = "doc", false, true
		s.links = append(s.links, l)
	}

	if len(f.Objectives) > 0 {
		s.row("Objectives")
	}
	for _, o := range f.SLOs() {
		s.line(4, standing(o)...)
	}
	if f.Counted() {
		s.annotations = append(s.annotations, deploys(is(series.Service, f.Service)))
		s.traffic(f)
	} else {
		s.row("Events")
		for _, o := range f.SLOs() {
			s.line(8, counted(o)...)
		}
	}
	for _, o := range f.SLOs() {
		s.row(o.Objective.Words())
		s.line(8, burndown(o), ahead(o))
		s.lines(7, 4, tiers(o)...)
	}
	return s
}

func aboutFlow(f *slo.Flow) string {
	var parts []string
	if f.Description != "" {
		parts = append(parts, f.Description)
	}
	var objectives []string
	for _, o := range f.Objectives {
		objectives = append(objectives, o.Words())
	}
	if len(objectives) > 0 {
		parts = append(parts, "Objectives: "+strings.Join(objectives, "; ")+".")
	}
	if f.Owner != "" {
		parts = append(parts, "Owner: "+f.Owner+".")
	}
	return strings.Join(append(parts, "Written by slowburn; changes are lost when it is written again."), " ")
}

// standing are the figures of one objective, now.
func standing(s slo.SLO) []dashboard.Panel {
	o := s.Objective
	left, burn := recorded(s, series.BudgetRemaining), recorded(s, series.CurrentBurnRate)
	good := scale{unit: goodShare.unit, decimals: new(digits(o.Target) + 2)}
	panels := []dashboard.Panel{
		figure{
			title: o.Sentence(),
			about: fmt.Sprintf("The share of %s that were good, of all %s. The target is %s; below it the objective is missed.",
				o.Unit(), period(o), slo.Percent(o.Target)),
			scale: good, query: now(fmt.Sprintf("1 - %s * %s", recorded(s, series.PeriodBurnRate), number(o.Budget()))),
			limits:  limits(neutral, step{far, alarm}, step{o.Target, calm}),
			noValue: "no " + o.Unit() + " yet",
		}.panel(),
		figure{
			title: "Budget left",
			about: fmt.Sprintf("The error budget is the %s of %s that may be bad %s. 100%% is untouched, 0%% is used up, below 0%% the objective is missed.",
				slo.Percent(o.Budget()), o.Unit(), period(o)),
			scale: budget, query: now(left), limits: budgetLimits(), noValue: "no " + o.Unit() + " yet",
		}.panel(),
		figure{
			title: "Burn rate now",
			about: fmt.Sprintf("How fast the budget is used over the last %s: at 1 it lasts exactly %s, at 10 a tenth of that.",
				slo.Duration(o.Windows()[0]), slo.Duration(o.Window)),
			scale: burns, query: now(burn), limits: burnLimits(o), noValue: "no " + o.Unit() + " now",
		}.panel(),
	}
	if o.Calendar.Unit == slo.Rolling {
		panels = append(panels, figure{
			title: "Budget lasts",
			about: "How long until the budget is used up if it goes on burning as it does now, with as much traffic.",
			scale: scale{unit: seconds.unit, decimals: new(1.0)},
			query: now(lasts(left, burn, number(o.Window.Seconds()))), limits: lastsLimits(),
			mappings: lastsWords(), noValue: "no " + o.Unit() + " yet",
		}.panel())
	}
	return panels
}

// period says over what an objective is judged.
func period(o slo.Objective) string {
	if o.Calendar.Unit != slo.Rolling {
		return "in the " + o.Calendar.String() + " so far"
	}
	return "in the last " + slo.Duration(o.Window)
}

// digits is how many decimals a ratio has when written in percent.
func digits(ratio float64) float64 {
	_, fraction, _ := strings.Cut(strings.TrimSuffix(slo.Percent(ratio), "%"), ".")
	return float64(len(fraction))
}

// budgetLimits colour what is left of a budget.
func budgetLimits() *dashboard.ThresholdsConfig {
	return limits(neutral, step{far, alarm}, step{0, warning}, step{0.25, calm})
}

// burnLimits colour a burn rate: from 1 on the budget is used faster than it is
// earned, and from the lowest factor that pages on it is urgent.
func burnLimits(o slo.Objective) *dashboard.ThresholdsConfig {
	steps := []step{{far, calm}, {1, warning}}
	for _, t := range o.Tiers {
		if t.Severity == slo.Page && (len(steps) == 2 || t.Factor < steps[2].from) && t.Factor > 1 {
			steps = append(steps[:2], step{t.Factor, alarm})
		}
	}
	return limits(neutral, steps...)
}

// lastsLimits and lastsWords show what lasts returns: hours are urgent, days are
// not.
func lastsLimits() *dashboard.ThresholdsConfig {
	return limits(neutral, step{far, alarm}, step{(24 * time.Hour).Seconds(), warning}, step{forever, calm})
}

func lastsWords() []dashboard.ValueMapping {
	return []dashboard.ValueMapping{text("0", "used up", alarm), from(forever, "lasts", calm)}
}

// traffic shows the requests of a flow that slowburn counts, and their latency.
func (s *sheet) traffic(f *slo.Flow) {
	selector, part := is(series.Service, f.Service, series.FlowName, f.Name), "Counted are all requests of the flow."
	if f.By != "" {
		name := "by_" + label(f.By)
		s.variables = append(s.variables, choice{
			name: name, label: f.By, about: "Shows the traffic of some values only. Objectives always count the whole flow.",
			query: fmt.Sprintf("label_values(%s%s, %s)", series.FlowRequests, selector, series.By),
			all:   true, allValue: ".*",
		}.variable())
		selector = of(selector, like(series.By, "$"+name))
		part = "Counted are the requests whose " + f.By + " is chosen above."
	}

	s.row("Traffic")
	s.line(8,
		chart{
			title: "Requests", about: "How many requests a second came in. " + part, scale: rates,
			queries: []query{
				{expr: "sum(" + requests(of(selector, is(series.Outcome, series.Good)), interval) + ")", legend: "succeeded", color: usual},
				{expr: "sum(" + requests(of(selector, is(series.Outcome, series.Bad)), interval) + ")", legend: "failed", color: alarm},
			},
		}.panel(),
		failures(f, selector, part),
		durations(f, selector, part),
	)
	s.line(9, latencies("How long requests take",
		"Each column is a moment, each cell a latency: the stronger its colour, the more requests took so long. "+
			"Two bands are two kinds of requests, such as cache hits and misses. Dots are single requests that have a trace. "+part,
		fmt.Sprintf("sum(rate(%s%s[%s]))", series.FlowDuration, selector, interval)))

	if f.By != "" {
		each := by(series.By)
		legend := "{{" + series.By + "}}"
		s.row("By " + f.By)
		s.line(8,
			chart{
				title: "Requests by " + f.By, about: "The ten values of " + f.By + " with the most requests.", scale: rates,
				queries: []query{{expr: top(10, "sum"+each+" ("+requests(selector, interval)+")"), legend: legend}},
			}.panel(),
			chart{
				title: "Failing by " + f.By, about: "The ten values of " + f.By + " with the highest share of failed requests.", scale: share,
				queries: []query{{expr: top(10, failing(selector, interval, each)), legend: legend}}, noValue: "no requests",
			}.panel(),
			chart{
				title: "p95 by " + f.By, about: "The ten values of " + f.By + " whose slowest 5% of requests take longest: 95% are faster than this.", scale: seconds,
				queries: []query{{expr: top(10, quantile(0.95, selector, interval, each)), legend: legend}}, noValue: "no requests",
			}.panel(),
		)
	}
}

// label writes an attribute as a name that Grafana takes for a variable.
func label(attribute string) string {
	return strings.Trim(strings.ReplaceAll(notInUID.ReplaceAllString(strings.ToLower(attribute), "_"), "__", "_"), "_")
}

// failures shows the share of failed requests against what is allowed.
func failures(f *slo.Flow, selector, part string) dashboard.Panel {
	c := chart{
		title: "Failing requests", scale: share, noValue: "no requests",
		about:   "The share of requests that fail. Above a dashed line the budget of that objective is used faster than it is earned. " + part,
		queries: []query{{expr: failing(selector, interval, ""), legend: "failing", color: alarm}},
	}
	for _, s := range f.SLOs() {
		o := s.Objective
		if o.Kind != slo.Succeed {
			continue
		}
		allowed, expr := o.Budget(), recorded(s, series.ErrorBudget)
		if o.Slice > 0 {
			allowed = slo.Budget(o.SliceTarget)
			expr = "vector(" + number(allowed) + ")"
		}
		c.queries = append(c.queries, query{expr: expr, legend: o.Sentence(), color: neutral, dashed: true})
		c.softMax = max(c.softMax, 2*allowed)
	}
	return c.panel()
}

// durations shows the usual quantiles and those of objectives, against their
// thresholds.
func durations(f *slo.Flow, selector, part string) dashboard.Panel {
	c := chart{
		title: "Latency", scale: seconds, noValue: "no requests",
		about: "How long requests take: p95 means that 95% of them are faster. Dashed lines are the objectives. Dots are single requests that have a trace. " + part,
	}
	shares := []float64{0.5, 0.95, 0.99}
	var wanted []query
	for _, o := range f.Objectives {
		if o.Kind != slo.FasterThan {
			continue
		}
		shares = append(shares, cmp.Or(o.SliceTarget, o.Target))
		wanted = append(wanted, query{expr: "vector(" + number(o.Threshold.Seconds()) + ")", legend: o.Sentence(), color: neutral, dashed: true})
		c.softMax = max(c.softMax, 1.2*o.Threshold.Seconds())
	}
	slices.Sort(shares)
	for _, q := range slices.Compact(shares) {
		color := map[float64]string{0.5: pale, 0.95: usual, 0.99: "purple"}[q]
		c.queries = append(c.queries, query{
			expr: quantile(q, selector, interval, ""), legend: "p" + strings.TrimSuffix(slo.Percent(q), "%"), color: color,
			exemplars: q == 0.95, // one query is enough, as they do not depend on the share
		})
	}
	c.queries = append(c.queries, wanted...)
	return c.panel()
}

// counted shows the events of an objective whose flow slowburn does not count.
func counted(s slo.SLO) []dashboard.Panel {
	o := s.Objective
	bad := chart{
		title: "Bad " + o.Unit() + ": " + s.Name(), scale: share, noValue: "no " + o.Unit(), softMax: 2 * o.Budget(),
		about: fmt.Sprintf("The share of %s that were bad in the last %s, by the query of the objective. Above the dashed line the budget is used faster than it is earned.",
			o.Unit(), slo.Duration(o.Windows()[0])),
		queries: []query{
			{expr: errorRatio(s, o.Windows()[0]), legend: "bad", color: alarm},
			{expr: recorded(s, series.ErrorBudget), legend: o.Sentence(), color: neutral, dashed: true},
		},
	}.panel()
	if o.Query.Ratio != "" || o.Slice > 0 {
		return []dashboard.Panel{bad} // nobody knows how many there were
	}
	return []dashboard.Panel{
		chart{
			title: "Events: " + s.Name(), scale: events, noValue: "no events",
			about: "How many events a second the query of the objective counts, over five minutes: it is asked once a minute.",
			queries: []query{{
				expr: fmt.Sprintf("sum(rate(%s%s[%s])) or sum(%s%s) / 60",
					series.Events, is(series.ID, s.ID()), lately, series.EventsPerMinute, is(series.ID, s.ID())),
				legend: "events", color: usual,
			}},
		}.panel(), bad,
	}
}

// burndown shows the budget over the objective's window.
func burndown(s slo.SLO) dashboard.Panel {
	o := s.Objective
	return chart{
		title: "Budget left", scale: budget, over: ago(o.Window), limits: limits(neutral, step{0, alarm}), noValue: "no " + o.Unit() + " yet",
		about: fmt.Sprintf("What was left of the error budget at each moment of the last %s. Downwards it is used, upwards old errors are forgotten%s; below the line at 0%% the objective is missed.",
			slo.Duration(o.Window), anew(o)),
		queries: []query{{expr: history(s), legend: "budget left", color: usual}},
	}.panel()
}

// ahead shows where the budget is going, until the window of now has passed.
func ahead(s slo.SLO) dashboard.Panel {
	o := s.Objective
	end := "for the next " + slo.Duration(o.Window)
	if o.Calendar.Unit != slo.Rolling {
		end = "until the end of the " + o.Calendar.Unit.String()
	}
	p := chart{
		title: "Budget ahead", scale: budget, over: "+" + ago(o.Window), limits: limits(neutral, step{0, alarm}), noValue: "no " + o.Unit() + " yet",
		about: fmt.Sprintf("What will be left of the error budget %s if it goes on as it did in the last %s. Where the line meets 0%%, the budget is used up; it is cut at -100%%.",
			end, slo.Duration(trend(o.Window))),
		queries: []query{{expr: projection(s), legend: "if it goes on", color: usual, dashed: true}},
	}.panel()
	p.MaxDataPoints = new(100.0) // its steps are shorter than the margin of projection
	return p
}

func anew(o slo.Objective) string {
	if o.Calendar.Unit == slo.Rolling {
		return ""
	}
	return ", and it begins anew with each " + o.Calendar.Unit.String()
}

// ago writes a length of time in the one unit that Grafana reads.
func ago(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d%u.unit == 0 {
			return fmt.Sprintf("%d%s", d/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%ds", (d+time.Second-1)/time.Second)
}

// tiers shows the burn rates that alerts of an objective judge, each pair against
// its limit; all burn rates where it has no alerts.
func tiers(s slo.SLO) []dashboard.Panel {
	o := s.Objective
	var out []dashboard.Panel
	for _, t := range o.Tiers {
		what, color := "wakes somebody", alarm
		if t.Severity == slo.Ticket {
			what, color = "waits for office hours", warning
		}
		long, short := slo.Duration(t.Long), slo.Duration(t.Short)
		out = append(out, chart{
			title: fmt.Sprintf("Burn rate over %s and %s: %s", long, short, t.Severity), scale: burns, noValue: "no " + o.Unit(),
			about: fmt.Sprintf("How many times too fast the budget is used. While both lines are above %s an alert fires that %s; the line over %s lets it end soon after the trouble does.",
				number(t.Factor), what, short),
			limits: limits(neutral, step{t.Factor, color}), softMax: 1.2 * t.Factor,
			queries: []query{
				{expr: burnRate(s, t.Long), legend: long, color: usual},
				{expr: burnRate(s, t.Short), legend: short, color: pale},
			},
		}.panel())
	}
	if out != nil {
		return out
	}
	c := chart{
		title: "Burn rates", scale: burns, noValue: "no " + o.Unit(), limits: limits(neutral, step{1, warning}), softMax: 1.2,
		about: fmt.Sprintf("How many times too fast the budget is used, over windows of several lengths: at 1 it lasts exactly %s. This objective has no alerts.", slo.Duration(o.Window)),
	}
	for _, w := range o.Windows() {
		c.queries = append(c.queries, query{expr: burnRate(s, w), legend: slo.Duration(w)})
	}
	return []dashboard.Panel{c.panel()}
}
