package collector

import (
	"errors"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn-slo/slowburn/collector/aggr"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/ledger"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// one is a series the recorder writes. It remembers the storage's reference, so
// that only the first sample of it is looked up by its labels.
type one struct {
	labels labels.Labels
	ref    storage.SeriesRef
	live   bool // the newest sample is a value
}

func (s *one) write(app storage.Appender, t int64, v float64) error {
	ref, err := app.Append(s.ref, s.labels, t, v)
	s.ref, s.live = ref, err == nil
	return err
}

// end writes, once, that the series has no value any more, so that an idle
// window is absent at once rather than after the lookback of five minutes.
func (s *one) end(app storage.Appender, t int64) error {
	if !s.live {
		return nil
	}
	err := s.write(app, t, math.Float64frombits(value.StaleNaN))
	s.live = false
	return err
}

// recorder writes the series of all flows and SLOs, under the names of package
// series. It belongs to one goroutine.
type recorder struct {
	flows []flowSeries
	slos  []sloSeries
}

type flowSeries struct {
	base             labels.Labels
	split            bool
	good, bad, times one
	values           map[string]*valueSeries
}

type valueSeries struct{ good, bad, times one }

type sloSeries struct {
	slo            slo.SLO
	id             string
	events, errors one

	ratios []one // as Objective.Windows

	objective, budget, days, current, period, remaining, info one
}

func newRecorder(flows []slo.Flow, version string) *recorder {
	r := &recorder{}
	for i := range flows {
		f := &flows[i]
		base := labels.FromStrings(series.Service, f.Service, series.FlowName, f.Name)
		fs := flowSeries{base: base, split: f.By != "", values: map[string]*valueSeries{}}
		v := newValueSeries(base)
		fs.good, fs.bad, fs.times = v.good, v.bad, v.times
		r.flows = append(r.flows, fs)
	}
	for _, s := range slo.All(flows) {
		base := series.SLO(s)
		of := func(metric string, pairs ...string) one { return one{labels: series.Of(base, metric, pairs...)} }
		rec := sloSeries{
			slo: s, id: s.ID(),
			events: of(series.Events), errors: of(series.Errors),
			objective: of(series.Objective), budget: of(series.ErrorBudget), days: of(series.PeriodDays),
			current: of(series.CurrentBurnRate), period: of(series.PeriodBurnRate), remaining: of(series.BudgetRemaining),
			info: one{labels: series.InfoLabels(s, version)},
		}
		for _, w := range s.Objective.Windows() {
			rec.ratios = append(rec.ratios, of(series.ErrorRatio(w), series.Window, series.WindowName(w)))
		}
		r.slos = append(r.slos, rec)
	}
	return r
}

func newValueSeries(base labels.Labels) *valueSeries {
	return &valueSeries{
		good:  one{labels: series.Of(base, series.FlowRequests, series.Outcome, series.Good)},
		bad:   one{labels: series.Of(base, series.FlowRequests, series.Outcome, series.Bad)},
		times: one{labels: series.Of(base, series.FlowDuration)},
	}
}

// flow writes a flow's requests and latencies at t (ms). A flow that is split
// is written by value only, so that a sum over all is the flow's count.
func (r *recorder) flow(app storage.Appender, t int64, d aggr.FlowDelta) error {
	fs := &r.flows[d.Index]
	if !fs.split {
		return writeCounts(app, t, d.Counts, &fs.good, &fs.bad, &fs.times)
	}
	var errs []error
	for _, v := range d.Values {
		vs := fs.values[v.Value]
		if vs == nil {
			vs = newValueSeries(series.Of(fs.base, "", series.By, v.Value))
			fs.values[v.Value] = vs
		}
		errs = append(errs, writeCounts(app, t, v.Counts, &vs.good, &vs.bad, &vs.times))
	}
	return errors.Join(errs...)
}

func writeCounts(app storage.Appender, t int64, c aggr.Counts, good, bad, times *one) error {
	ref, err := app.AppendHistogram(times.ref, times.labels, t, c.Histogram(), nil)
	times.ref = ref
	return errors.Join(err,
		good.write(app, t, float64(c.Total.Good)),
		bad.write(app, t, float64(c.Total.Bad)))
}

// fast are the windows written at every flush: those that page soonest.
const fast = time.Hour

// slo writes the series of SLO i at t (ms): the counters, the short windows,
// and what is shown of now at every flush, the rest when all is set.
func (r *recorder) slo(app storage.Appender, t int64, i int, s ledger.State, all bool) error {
	rec := &r.slos[i]
	o := rec.slo.Objective
	var errs []error
	put := func(to *one, v float64, has bool) {
		if has {
			errs = append(errs, to.write(app, t, v))
		} else {
			errs = append(errs, to.end(app, t))
		}
	}
	put(&rec.events, float64(s.Events), true)
	put(&rec.errors, float64(s.Errors), true)
	for i, w := range s.Windows {
		if all || w.Length <= fast {
			ratio, has := w.Ratio()
			put(&rec.ratios[i], ratio, has)
		}
	}
	now, has := s.Windows[0].Ratio()
	put(&rec.current, slo.BurnRate(now, o.Target), has)
	period, has := s.Period().Ratio()
	put(&rec.remaining, slo.BudgetLeft(period, o.Target), has)
	if all {
		put(&rec.period, slo.BurnRate(period, o.Target), has)
		put(&rec.objective, o.Target, true)
		put(&rec.budget, o.Budget(), true)
		put(&rec.days, daysOf(o, s), true)
		put(&rec.info, 1, true)
	}
	return errors.Join(errs...)
}

// daysOf returns the length of the period in force. A month in which clocks
// change has as many days as any.
func daysOf(o slo.Objective, s ledger.State) float64 {
	days := s.Period().Length.Hours() / 24
	if o.Calendar.Unit != slo.Rolling {
		days = math.Round(days)
	}
	return days
}

// flat writes the SLOs' counters, unchanged, at t (ms): what bridges a time in
// which nothing was recorded, so that a counter looked up in the past is there.
func (r *recorder) flat(app storage.Appender, t int64, i int, s ledger.State) error {
	rec := &r.slos[i]
	return errors.Join(
		rec.events.write(app, t, float64(s.Events)),
		rec.errors.write(app, t, float64(s.Errors)))
}
