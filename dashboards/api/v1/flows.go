package v1

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grafana/regexp"
	"github.com/prometheus/prometheus/promql"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

const (
	// keepReading is for how long one reading of the store serves everybody, so
	// that many clients cost little.
	keepReading = time.Second

	// staleAfter is the age from which data is stale: three flushes of ten
	// seconds, so that one late flush alarms nobody.
	staleAfter = 30 * time.Second

	// Budgets over time: about 300 points unless another step is asked for,
	// 2,000 at most, no closer than data is written.
	budgetRange    = 30 * 24 * time.Hour
	maxBudgetRange = 400 * 24 * time.Hour
	budgetPoints   = 300
	maxPoints      = 2000
	minStep        = 10 * time.Second
)

// reading is all flows as of one look at the store.
type reading struct {
	at, dataAt, asOf time.Time // asOf: dataAt, or at where there is no data
	slos             map[string]slo.SLO
	config           []slo.Flow
	numbers          numbers
	alerts           []Alert
	answer           Flows
	encoded          []byte // answer, once somebody wanted all of it
}

// look returns the current reading, made now unless one is fresh enough.
func (a *api) look(ctx context.Context) *reading {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if a.last != nil && now.Before(a.until) {
		return a.last
	}
	p := &reading{at: now, dataAt: a.opt.DataAt(), config: a.opt.Flows(), alerts: a.opt.Alerts(), slos: map[string]slo.SLO{}}
	for _, s := range slo.All(p.config) {
		p.slos[s.ID()] = s
	}
	if p.asOf = p.dataAt; p.asOf.IsZero() {
		p.asOf = now
	}
	if a.last != nil && a.last.asOf.Equal(p.asOf) && len(a.last.numbers.faults) == 0 {
		p.numbers = a.last.numbers // nothing was written since
	} else {
		// Others may wait for this: it goes on when its first reader leaves.
		p.numbers = a.numbers(context.WithoutCancel(ctx), p.config, p.asOf)
	}
	p.answer.Reading = Reading{
		At: moment(now), DataAt: moment(p.dataAt), Notices: append([]string{}, a.faults(p.numbers.faults)...),
		Stale: !p.dataAt.IsZero() && now.Sub(p.dataAt) >= staleAfter,
	}
	p.answer.Notices = append(p.answer.Notices, a.opt.Notices()...)
	p.assess()
	a.last, a.until = p, now.Add(keepReading)
	return p
}

// faults tells what cannot be read, and logs what is new. The caller holds
// a.mu.
func (a *api) faults(now map[string]error) []string {
	var out []string
	for _, part := range []string{partBudgets, partRates, partLatency, partHour} {
		err := now[part]
		if err != nil {
			out = append(out, fmt.Sprintf("%s cannot be read: %v.", part, err))
			if !a.failing[part] {
				a.opt.Logger.Warn("answers are incomplete", "missing", part, "err", err)
			}
		}
		a.failing[part] = err != nil
	}
	return out
}

// moment is a time as the API writes it.
func moment(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}

// known returns v to nine digits, which is more than is ever counted in a
// window, or nil when it is no number.
func known(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	v = rounded(v, 9)
	return &v
}

// rounded returns v to some digits.
func rounded(v float64, digits int) float64 {
	out, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', digits, 64), 64)
	return out
}

// seconds returns d in seconds, or nil when it is 0.
func seconds(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	s := d.Seconds()
	return &s
}

// assess makes the flows of the answer from what was read.
func (p *reading) assess() {
	firing := map[string]State{}
	for _, a := range p.alerts {
		s := Spending
		if a.Severity == slo.Page {
			s = Burning
		}
		if firing[a.SLO] != Burning {
			firing[a.SLO] = s
		}
	}
	flows := make([]Flow, len(p.config))
	for i := range p.config {
		flows[i] = p.flow(&p.config[i], firing)
	}
	// Worst first. Among equals the least budget, which moves slowly; calm flows
	// by name.
	slices.SortStableFunc(flows, func(x, y Flow) int {
		order := cmp.Compare(x.State.badness(), y.State.badness())
		if x.State.badness() <= Spent.badness() {
			order = cmp.Or(order, cmp.Compare(x.least, y.least))
		}
		return cmp.Or(order, cmp.Compare(x.Name, y.Name), cmp.Compare(x.Service, y.Service))
	})
	p.answer.Flows = flows
}

// flow assesses one flow.
func (p *reading) flow(f *slo.Flow, firing map[string]State) Flow {
	key := flowKey{f.Service, f.Name}
	now := p.numbers.rates[key] // none is as good as zero
	_, unread := p.numbers.faults[partRates]
	quiet := !unread && now.total() == 0
	out := Flow{
		Service: f.Service, Name: f.Name, State: NoData, Objectives: []Objective{},
		Owner: f.Owner, Description: f.Description, Runbook: f.Runbook,
		least: math.Inf(1),
	}
	x, until, excluded := f.Excluded(p.at)
	if excluded {
		out.Excluded = &Exclusion{EndsAt: moment(until), Why: x.Why}
	}
	for _, s := range f.SLOs() {
		o := p.objective(s, firing[s.ID()], quiet, excluded)
		out.Objectives = append(out.Objectives, o)
		if o.State.badness() < out.State.badness() {
			out.State = o.State
		}
		if o.BudgetLeftRatio != nil {
			out.least = min(out.least, *o.BudgetLeftRatio)
		}
	}
	if f.Counted() && !unread && out.State != NoData {
		out.RequestsPerSecond, out.ErrorRatio = known(now.total()), known(now.badShare())
	}
	if l, ok := p.numbers.latency[key]; ok {
		out.P50Seconds, out.P95Seconds, out.P99Seconds = known(l[0]), known(l[1]), known(l[2])
	}
	if steps := p.numbers.hour[key]; slices.ContainsFunc(steps, func(r rates) bool { return r.total() > 0 }) {
		out.LastHour = &Hour{StartsAt: moment(p.asOf.Add(-hour)), StepSeconds: hourStep.Seconds()}
		for _, r := range steps {
			// No more than a small chart can show: the answer is half as long.
			out.LastHour.RequestsPerSecond = append(out.LastHour.RequestsPerSecond, rounded(r.total(), 4))
			out.LastHour.ErrorsPerSecond = append(out.LastHour.ErrorsPerSecond, rounded(r.bad, 4))
		}
	}
	return out
}

var kinds = map[slo.Kind]string{slo.Succeed: "succeed", slo.FasterThan: "faster_than", slo.Fresh: "fresh", slo.PromQL: "promql"}

// objective assesses one objective. firing is the state that its alerts put it
// in, if any; quiet says that the flow had no request lately, paused that what
// happens now does not count.
func (p *reading) objective(s slo.SLO, firing State, quiet, paused bool) Objective {
	o := s.Objective
	n := p.numbers.slos[s.ID()]
	left, burn, hourBad := n.get(series.BudgetRemaining), n.get(series.CurrentBurnRate), n.get(series.ErrorRatio(hour))
	window := nowWindow(o)
	bad := n.get(series.ErrorRatio(window))
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
	out := Objective{
		SLO: s.ID(), Name: o.Name, Objective: o.Sentence(),
		Kind: kinds[o.Kind], TargetRatio: o.Target, ThresholdSeconds: seconds(o.Threshold),
		SliceSeconds: seconds(o.Slice), Unit: o.Unit(), WindowSeconds: o.Window.Seconds(),
		GoodRatio: known(1 - bad), NowWindowSeconds: window.Seconds(),
		BurnRate: known(burn), BudgetLeftRatio: known(left),
	}
	if o.SliceTarget > 0 {
		out.SliceTargetRatio = known(o.SliceTarget)
	}
	if o.Calendar.Unit != slo.Rolling {
		start, end := o.Calendar.Bounds(p.at)
		out.Period, out.PeriodStartsAt, out.PeriodEndsAt = words.Period(o.Calendar, p.at), moment(start), moment(end)
	}
	_, unread := p.numbers.faults[partBudgets]
	switch {
	case firing != "":
		out.State = firing
	case unread:
		out.State = Unknown
	case !(n.get(series.Events) > 0):
		out.State = NoData
	case paused && !(left <= 0):
		out.State = Excluded
	case !paused && burn > 1 && !(slo.BurnRate(hourBad, o.Target) <= 1):
		// Over the hour as well where there is one, so that a short blip does
		// not call for attention.
		out.State = Spending
	case left <= 0:
		out.State = Spent
	case quiet:
		out.State = Idle
	default:
		out.State = Calm
	}
	if left > 0 && out.State.badness() <= Spending.badness() {
		if in, ends := o.BudgetLasts(left, burn, p.at); ends {
			out.BudgetEndsAt = moment(p.at.Add(in))
		}
	}
	return out
}

// nowWindow returns the shortest window that always holds some events while
// there are any: five minutes, or the length of a slice.
func nowWindow(o slo.Objective) time.Duration {
	for _, w := range o.Windows() {
		if w >= o.Slice {
			return w
		}
	}
	return o.Window
}

// flows answers with all flows, or those of a service or in a state.
func (a *api) flows(w http.ResponseWriter, r *http.Request) error {
	params := r.URL.Query()
	services, wanted := params["service"], params["state"]
	for _, s := range wanted {
		if !slices.Contains(States, State(s)) {
			return &fault{http.StatusBadRequest, fmt.Sprintf("state: %q is not a state; want %s", s, strings.Join(stateNames(), ", ")), "state"}
		}
	}
	p := a.look(r.Context())
	if len(services) == 0 && len(wanted) == 0 {
		body, err := a.all(p)
		if err == nil {
			send(w, http.StatusOK, body)
		}
		return err
	}
	out := Flows{Reading: p.answer.Reading, Flows: []Flow{}}
	for _, f := range p.answer.Flows {
		if (len(services) == 0 || slices.Contains(services, f.Service)) && (len(wanted) == 0 || slices.Contains(wanted, string(f.State))) {
			out.Flows = append(out.Flows, f)
		}
	}
	return answer(w, http.StatusOK, out)
}

func stateNames() []string {
	out := make([]string, len(States))
	for i, s := range States {
		out[i] = string(s)
	}
	return out
}

// all returns the answer with all flows, written once a reading.
func (a *api) all(p *reading) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.encoded == nil {
		b, err := encode(p.answer)
		if err != nil {
			return nil, err
		}
		p.encoded = b
	}
	return p.encoded, nil
}

// find returns the flow that the path names.
func (p *reading) find(r *http.Request) (*slo.Flow, Flow, error) {
	service, name := r.PathValue("service"), r.PathValue("flow")
	for i := range p.config {
		if p.config[i].Service != service || p.config[i].Name != name {
			continue
		}
		for _, f := range p.answer.Flows {
			if f.Service == service && f.Name == name {
				return &p.config[i], f, nil
			}
		}
	}
	return nil, Flow{}, &fault{http.StatusNotFound, fmt.Sprintf("there is no flow %q of %q; it may have been renamed or removed from the configuration", name, service), "flow"}
}

// flow answers with one flow, its windows and tiers.
func (a *api) flow(w http.ResponseWriter, r *http.Request) error {
	p := a.look(r.Context())
	config, f, err := p.find(r)
	if err != nil {
		return err
	}
	f.Objectives = slices.Clone(f.Objectives) // the reading is everybody's
	ctx, cancel := context.WithTimeout(r.Context(), queryTimeout)
	defer cancel()
	for i, s := range config.SLOs() {
		out := &f.Objectives[i]
		n, err := a.readWindows(ctx, s, p.asOf)
		if err != nil {
			return &fault{status: http.StatusServiceUnavailable, message: "the windows cannot be read: " + err.Error()}
		}
		// A ratio has parts of minutes instead of events, which tell nobody
		// anything.
		if events := n.get(series.Events); events > 0 && s.Objective.Query.Ratio == "" {
			bad := n.get(series.Errors)
			if math.IsNaN(bad) {
				bad = 0 // absent while nothing was bad
			}
			out.EventsTotal, out.BadEventsTotal = &events, &bad
		}
		for _, window := range s.Objective.Windows() {
			bad := n.get(series.ErrorRatio(window))
			out.Windows = append(out.Windows, Window{window.Seconds(), known(bad), known(slo.BurnRate(bad, s.Objective.Target))})
		}
		for _, t := range s.Objective.Tiers {
			out.Tiers = append(out.Tiers, Tier{t.Severity, t.Factor, t.Long.Seconds(), t.Short.Seconds()})
		}
	}
	return answer(w, http.StatusOK, OneFlow{p.answer.Reading, f})
}

// budget answers with what was left of each budget of a flow over time.
func (a *api) budget(w http.ResponseWriter, r *http.Request) error {
	length, err := duration(r, "range", budgetRange, time.Minute, maxBudgetRange)
	if err != nil {
		return err
	}
	step, err := duration(r, "step", max(minStep, (length/budgetPoints).Round(time.Second)), minStep, length)
	if err != nil {
		return err
	}
	if points := length / step; points > maxPoints {
		return &fault{http.StatusBadRequest, fmt.Sprintf("step: %s over %s are %d points; want at most %d, a step of %s or more",
			slo.Duration(step), slo.Duration(length), points, maxPoints, slo.Duration((length / maxPoints).Round(time.Second))), "step"}
	}
	p := a.look(r.Context())
	config, _, err := p.find(r)
	if err != nil {
		return err
	}
	slos := config.SLOs()
	out := Budgets{StartsAt: moment(p.asOf.Add(-length)), EndsAt: moment(p.asOf), StepSeconds: step.Seconds()}
	ids := make([]string, len(slos))
	at := map[string]int{}
	for i, s := range slos {
		ids[i], at[s.ID()] = regexp.QuoteMeta(s.ID()), i
		out.Objectives = append(out.Objectives, BudgetHistory{s.ID(), s.Objective.Name, s.Objective.Sentence(), []BudgetPoint{}})
	}
	// A flow that was renamed has two series of one identity.
	query := fmt.Sprintf("max by (%s) (%s{%s=~%s})", series.ID, series.BudgetRemaining, series.ID, strconv.Quote(strings.Join(ids, "|")))
	ctx, cancel := context.WithTimeout(r.Context(), queryTimeout)
	defer cancel()
	err = a.overTime(ctx, query, p.asOf.Add(-length), p.asOf, step, func(line promql.Series) {
		i, ok := at[line.Metric.Get(series.ID)]
		if !ok {
			return
		}
		for _, v := range line.Floats {
			if left := known(v.F); left != nil {
				out.Objectives[i].Points = append(out.Objectives[i].Points, BudgetPoint{moment(time.UnixMilli(v.T)), *left})
			}
		}
	})
	if err != nil {
		return &fault{status: http.StatusServiceUnavailable, message: "the budgets cannot be read: " + err.Error()}
	}
	return answer(w, http.StatusOK, out)
}
