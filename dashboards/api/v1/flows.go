package v1

import (
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

	"github.com/slowburn-slo/slowburn/dashboards/read"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

const (
	// keepReading is for how long one reading of the store serves everybody, so
	// that many clients cost little.
	keepReading = time.Second

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
	numbers          read.Numbers
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
	if a.last != nil && a.last.asOf.Equal(p.asOf) && len(a.last.numbers.Faults) == 0 {
		p.numbers = a.last.numbers // nothing was written since
	} else {
		// Others may wait for this: it goes on when its first reader leaves.
		p.numbers = a.store.Numbers(context.WithoutCancel(ctx), p.config, nil, p.asOf)
	}
	p.answer.Reading = Reading{
		At: moment(now), DataAt: moment(p.dataAt), Notices: append([]string{}, a.faults(p.numbers.Faults)...),
		Stale: !p.dataAt.IsZero() && now.Sub(p.dataAt) >= read.StaleAfter,
	}
	p.answer.Notices = append(p.answer.Notices, a.opt.Notices()...)
	p.assess()
	a.last, a.until = p, now.Add(keepReading)
	return p
}

// faults tells what cannot be read, and logs what is new. The caller holds
// a.mu.
func (a *api) faults(now map[read.Part]error) []string {
	var out []string
	for _, part := range read.Parts {
		err := now[part]
		if err != nil {
			out = append(out, fmt.Sprintf("%s cannot be read: %v.", part, err))
			if !a.failing[part] {
				a.opt.Logger.Warn("answers are incomplete", "missing", string(part), "err", err)
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
	firing := read.Firing(p.alerts)
	flows := make([]read.Flow, len(p.config))
	for i := range p.config {
		flows[i] = p.numbers.Flow(&p.config[i], firing, p.at)
	}
	slices.SortStableFunc(flows, read.Flow.Compare)
	p.answer.Flows = make([]Flow, len(flows))
	for i, f := range flows {
		p.answer.Flows[i] = p.flow(f)
	}
}

// flow tells of one flow.
func (p *reading) flow(f read.Flow) Flow {
	out := Flow{
		Service: f.Service, Name: f.Name, State: State(f.State.String()), Objectives: []Objective{},
		RequestsPerSecond: known(f.Rate), ErrorRatio: known(f.Errors),
		P50Seconds: known(f.Latency[0]), P95Seconds: known(f.Latency[1]), P99Seconds: known(f.Latency[2]),
		Owner: f.Owner, Description: f.Description, Runbook: f.Runbook,
	}
	if f.Exclusion != nil {
		out.Excluded = &Exclusion{EndsAt: moment(f.Until), Why: f.Exclusion.Why}
	}
	for _, o := range f.Objectives {
		out.Objectives = append(out.Objectives, p.objective(o))
	}
	if slices.ContainsFunc(f.Hour, func(r read.Rates) bool { return r.Total() > 0 }) {
		out.LastHour = &Hour{StartsAt: moment(p.asOf.Add(-read.Hour)), StepSeconds: read.HourStep.Seconds()}
		for _, r := range f.Hour {
			// No more than a small chart can show: the answer is half as long.
			out.LastHour.RequestsPerSecond = append(out.LastHour.RequestsPerSecond, rounded(r.Total(), 4))
			out.LastHour.ErrorsPerSecond = append(out.LastHour.ErrorsPerSecond, rounded(r.Bad, 4))
		}
	}
	return out
}

var kinds = map[slo.Kind]string{slo.Succeed: "succeed", slo.FasterThan: "faster_than", slo.Fresh: "fresh", slo.PromQL: "promql"}

// objective tells of one objective.
func (p *reading) objective(is read.Objective) Objective {
	o := is.Objective
	out := Objective{
		SLO: is.ID(), Name: o.Name, Objective: o.Sentence(), State: State(is.State.String()),
		Kind: kinds[o.Kind], TargetRatio: o.Target, ThresholdSeconds: seconds(o.Threshold),
		SliceSeconds: seconds(o.Slice), Unit: o.Unit(), WindowSeconds: o.Window.Seconds(),
		GoodRatio: known(1 - is.Bad), NowWindowSeconds: read.NowWindow(o).Seconds(),
		BurnRate: known(is.Burn), BudgetLeftRatio: known(is.Left),
	}
	if o.SliceTarget > 0 {
		out.SliceTargetRatio = known(o.SliceTarget)
	}
	if o.Calendar.Unit != slo.Rolling {
		start, end := o.Calendar.Bounds(p.at)
		out.Period, out.PeriodStartsAt, out.PeriodEndsAt = words.Period(o.Calendar, p.at), moment(start), moment(end)
	}
	if is.Left > 0 && is.State >= read.Spending {
		if in, ends := o.BudgetLasts(is.Left, is.Burn, p.at); ends {
			out.BudgetEndsAt = moment(p.at.Add(in))
		}
	}
	return out
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
	if config := read.Find(p.config, read.Key{Service: service, Flow: name}); config != nil {
		for _, f := range p.answer.Flows {
			if f.Service == service && f.Name == name {
				return config, f, nil
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
	ctx, cancel := context.WithTimeout(r.Context(), read.Timeout)
	defer cancel()
	values := map[string]read.Values{}
	if err := a.store.Windows(ctx, config, p.asOf, values); err != nil {
		return &fault{status: http.StatusServiceUnavailable, message: "the windows cannot be read: " + err.Error()}
	}
	for i, s := range config.SLOs() {
		out, n := &f.Objectives[i], values[s.ID()]
		if a.opt.Judgement != nil {
			j := a.opt.Judgement(s.ID())
			out.Judged = &Judged{
				TooLittle: j.TooLittle, BadCount: j.Bad, EventCount: j.Total, Learning: j.Learning,
				DataMissingSince: moment(j.DataMissingSince), TrafficMissingSince: moment(j.TrafficMissingSince), ExpectedCount: j.Expected,
				QuietSince: moment(j.QuietSince), KeptUntil: moment(j.KeptUntil),
			}
		}
		// A ratio has parts of minutes instead of events, which tell nobody
		// anything.
		if events := n.Get(series.Events); events > 0 && s.Objective.Query.Ratio == "" {
			bad := n.Get(series.Errors)
			if math.IsNaN(bad) {
				bad = 0 // absent while nothing was bad
			}
			out.EventsTotal, out.BadEventsTotal = &events, &bad
		}
		for _, window := range s.Objective.Windows() {
			bad := n.Get(series.ErrorRatio(window))
			out.Windows = append(out.Windows, Window{window.Seconds(), known(bad), known(slo.BurnRate(bad, s.Objective.Target))})
		}
		for _, t := range s.Objective.Tiers {
			out.Tiers = append(out.Tiers, Tier{t.Severity, t.Factor, t.Long.Seconds(), t.Short.Seconds()})
		}
	}
	if a.opt.Where != nil {
		for _, c := range a.opt.Where(config.Service, config.Name) {
			where := Where{Symptom: c.Symptom, BadRatio: rounded(c.Bad, 9), NormalRatio: rounded(c.Normal, 9), BadCount: c.BadCount, GoodCount: c.GoodCount}
			for _, v := range c.Values {
				where.Values = append(where.Values, Value{v.Attribute, v.Text})
			}
			f.Where = append(f.Where, where)
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
	ctx, cancel := context.WithTimeout(r.Context(), read.Timeout)
	defer cancel()
	err = a.store.Steps(ctx, query, p.asOf.Add(-length), p.asOf, step, func(line promql.Series) {
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
