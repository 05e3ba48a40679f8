package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// recorded is what the server holds of SLOs, by their ids.
type recorded struct {
	objectives map[string]float64 // series of the objective
	services   map[string]string
	left       map[string]float64 // of the budget

	// Of slowburn's own counters.
	collectors map[string]float64
	age        map[string]float64 // seconds since the last sample
	resets     map[string]float64
	events     map[string]float64 // in the last day
	errors     map[string]float64
}

func (d *doctor) loadRecorded(ctx context.Context) {
	by := func(format string, args ...any) map[string]float64 {
		return d.byLabel(ctx, series.ID, fmt.Sprintf(format, args...))
	}
	d.recorded = recorded{
		objectives: by("count by (%s) (%s)", series.ID, series.Objective),
		services:   map[string]string{},
		left:       by("min by (%s) (%s)", series.ID, series.BudgetRemaining),
		collectors: by("count by (%s) (last_over_time(%s[1h]))", series.ID, series.Events),
	}
	v, _ := d.vector(ctx, fmt.Sprintf("count by (%s, %s) (%s)", series.ID, series.SLOServ, series.Objective))
	for _, sample := range v {
		d.recorded.services[string(sample.Metric[series.ID])] = string(sample.Metric[series.SLOServ])
	}
	for _, r := range d.rules.all {
		if service := r.labels[series.SLOServ]; r.id != "" && service != "" {
			d.recorded.services[r.id] = service
		}
	}
	if len(d.recorded.collectors) == 0 {
		return
	}
	d.recorded.age = by("time() - max by (%s) (max_over_time(timestamp(%s)[1h:1m]) or timestamp(%[2]s))", series.ID, series.Events)
	d.recorded.resets = by("max by (%s) (resets(%s[6h]))", series.ID, series.Events)
	d.recorded.events = by("sum by (%s) (increase(%s[1d]))", series.ID, series.Events)
	d.recorded.errors = by("sum by (%s) (increase(%s[1d]))", series.ID, series.Errors)
}

// counters looks at what slowburn's collectors send of an SLO.
func (d *doctor) counters(ctx context.Context, s *sheet, o slo.SLO) {
	id, r := o.ID(), d.recorded
	n := r.collectors[id]
	if n == 0 {
		s.fault("collector", fmt.Sprintf("slowburn serve %s --remote-write %s", d.slosFlags(), shell(d.url+"/api/v1/write")),
			"no collector has sent %s{%s=%q} for an hour: the flow is not counted here", series.Events, series.ID, id)
		return
	}
	ask := promtool(d.url, fmt.Sprintf("time() - timestamp(%s{%s=%q})", series.Events, series.ID, id))
	// A flush takes seconds, and a remote write may wait for a minute.
	const late = 2 * time.Minute
	age := time.Duration(r.age[id] * float64(time.Second))
	if age > late {
		s.fault("collector", ask, "the last sample of %s is %s old: its collector has stopped, or cannot write here", series.Events, words.Span(age))
	}
	if r.resets[id] > 0 {
		s.fault("collector", fmt.Sprintf("external_labels: {instance: %s} # one of its own for every collector", shell("$HOSTNAME")),
			"%s fell back %s times in the last 6 h, which it never does: two collectors send under the same labels", series.Events, words.Number(r.resets[id], 0))
	}
	if s.count(Fault) == 0 {
		s.ok("collector", "counted by %s, the last sample is %s old", plural(int(n), "collector"), words.Span(age))
		if bad := r.errors[id] / r.events[id]; r.events[id] > 0 {
			s.ok("budget", "%s %s in the last day, %s bad%s", words.Number(r.events[id], 0), o.Objective.Unit(), share(bad), d.left(o, bad))
		} else {
			s.ok("budget", "no %s in the last day", o.Objective.Unit())
		}
	}
	d.split(ctx, s, o)
}

// split looks at what an attribute splits the flow into.
func (d *doctor) split(ctx context.Context, s *sheet, o slo.SLO) {
	f := o.Flow
	if f.By == "" {
		return
	}
	flow := fmt.Sprintf("%s{%s=%q,%s=%q}", series.FlowRequests, series.Service, f.Service, series.FlowName, f.Name)
	v, ok := d.vector(ctx, fmt.Sprintf("count by (%s) (%s)", series.By, flow))
	if !ok || len(v) == 0 {
		return
	}
	over := slices.ContainsFunc(v, func(x *model.Sample) bool { return string(x.Metric[series.By]) == slo.Overflow })
	if over {
		s.warn("cardinality", fmt.Sprintf("by: {attribute: %s, limit: %d}", f.By, 2*max(f.ByLimit, len(v))),
			"it is split by %s into %d values, and the rest is counted together as %s", f.By, len(v)-1, slo.Overflow)
		return
	}
	s.ok("cardinality", "it is split by %s into %d values of at most %d", f.By, len(v), f.ByLimit)
}

// discover returns the ids of the SLOs that the server shows.
func (d *doctor) discover() []string {
	ids := map[string]bool{}
	for id := range d.recorded.objectives {
		ids[id] = true
	}
	for id := range d.recorded.collectors {
		ids[id] = true
	}
	for id := range d.rules.own {
		ids[id] = true
	}
	return slices.Sorted(maps.Keys(ids))
}

// examineRecorded looks at an SLO that the server shows.
func (d *doctor) examineRecorded(ctx context.Context, id string) {
	s := &sheet{subject: id}
	defer d.keep(s)
	service := d.recorded.services[id]
	mine := d.rules.of(id, service)
	seen := map[string]bool{}
	for _, l := range mine {
		d.queries(ctx, s, l, seen)
	}
	d.health(s, mine)
	d.duplicates(s, id, service)
	switch {
	case len(mine) == 0 && d.ruled:
		s.ok("rules", "its series are written to this server from outside: no rule here is its own")
	case len(mine) > 0:
		s.ok("rules", "%s in %s", plural(len(mine), "rule"), filesOf(mine))
	}
	if left, ok := d.recorded.left[id]; ok {
		s.ok("budget", "%s of its error budget is left", share(left))
	}
}

// queries looks at what a loaded rule reads of metrics that no rule records;
// what was seen is not looked at again, as an SLO reads it over many windows.
func (d *doctor) queries(ctx context.Context, s *sheet, l *rule, seen map[string]bool) {
	if l.expr == nil {
		return
	}
	p := &part{name: "rule " + l.name, key: "expr", text: l.text, expr: l.expr}
	for _, r := range p.readings() {
		key := r.selector() + " " + r.function
		if isRecorded(r.name) || seen[key] || strings.HasPrefix(r.name, "slo_e") {
			continue
		}
		seen[key] = true
		r.known = metrics([]*part{p})
		d.reading(ctx, s, r)
	}
	key := strconv.Quote(strings.Join(metrics([]*part{p}), "|"))
	if !seen[key] {
		seen[key] = true
		d.bothGenerations(ctx, s, p)
	}
}

// otherRules looks at the rules that are for no SLO: their buckets and their
// health.
func (d *doctor) otherRules(ctx context.Context) {
	ids := d.discover()
	s := &sheet{subject: "other rules"}
	defer d.keep(s)
	seen := map[string]bool{}
	n := 0
	for _, l := range d.rules.all {
		if l.id != "" || slices.ContainsFunc(ids, func(id string) bool { return l.of(id, d.recorded.services[id]) }) {
			continue
		}
		n++
		d.health(s, []*rule{l})
		if l.expr == nil {
			continue
		}
		p := &part{name: "rule " + l.name, key: "expr", text: l.text, expr: l.expr}
		for _, r := range p.readings() {
			if !seen[r.selector()] {
				seen[r.selector()] = true
				d.buckets(ctx, s, r)
			}
		}
	}
	if n > 0 {
		s.ok("rules", "%s for no SLO; their buckets and their health were looked at", plural(n, "rule"))
	}
}

// head tells how large the server is.
func (d *doctor) head(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	d.count()
	answer, err := d.api.TSDB(ctx)
	switch {
	case absent(err):
	case err != nil:
		d.fail("the state of the head", plain(err))
	default:
		d.general.ok("cardinality", "%s series are in its head", words.Count(uint64(answer.HeadStats.NumSeries)))
	}
}

// alertmanagers looks for somebody who takes the alerts.
func (d *doctor) alertmanagers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	d.count()
	answer, err := d.api.AlertManagers(ctx)
	switch {
	case absent(err):
		d.general.ok("alertmanager", "this server does not tell its Alertmanagers (404)")
	case err != nil:
		d.fail("the Alertmanagers", plain(err))
	case len(answer.Active) == 0:
		alerts := 0
		for _, l := range d.rules.all {
			if l.alert {
				alerts++
			}
		}
		severity := Warning
		if alerts > 0 {
			severity = Fault
		}
		d.general.add(severity, "alertmanager", `alerting: {alertmanagers: [{static_configs: [{targets: ["localhost:9093"]}]}]} # in prometheus.yml`,
			"no Alertmanager is known here: the alerts of %d rules go nowhere", alerts)
	default:
		d.general.ok("alertmanager", "alerts go to %s", plural(len(answer.Active), "Alertmanager"))
	}
}

// unanswered says what could not be asked.
func (d *doctor) unanswered(ctx context.Context) {
	if len(d.failed) == 0 {
		return
	}
	first := d.failed[0]
	if ctx.Err() != nil {
		d.general.warn("unanswered", fmt.Sprintf("slowburn doctor --prometheus %s --timeout %s", shell(d.url), slo.Duration(4*d.Timeout)),
			"%s were over before %s were answered, the first of them %s", slo.Duration(d.Timeout), plural(len(d.failed), "question"), first.question)
		return
	}
	d.general.warn("unanswered", promtool(d.url, first.question), "%s without an answer, the first of them %s: %v", plural(len(d.failed), "question"), first.question, first.err)
}
