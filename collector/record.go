package collector

import (
	"cmp"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn-slo/slowburn/collector/aggr"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/judge"
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
	flows    []flowSeries
	slos     []sloSeries
	versions map[[2]string]*versionSeries // by service and version
	missing  map[[2]string]*one           // the traffic of a service and flow

	turn int // index of the flow that got exemplars last
}

type flowSeries struct {
	base             labels.Labels
	split            bool
	good, bad, times one
	values           map[string]*valueSeries

	slowest, failed pick // for exemplars
}

// pick is a request that becomes an exemplar.
type pick struct {
	aggr.Sample
	at int64 // ms
}

type versionSeries struct {
	one
	gone bool
}

type valueSeries struct{ good, bad, times one }

type sloSeries struct {
	slo            slo.SLO
	id             string
	events, errors one

	windows []one // as Objective.Windows

	current, period, remaining one

	// What the judge says.
	page, ticket, spent, runsOut one

	// What follows from the configuration, see steady.
	objective, budget, days, info one

	steadied int64   // ms; when it was written
	length   float64 // the days that were written, which a calendar changes
}

func newRecorder(flows []slo.Flow, version string) *recorder {
	r := &recorder{versions: map[[2]string]*versionSeries{}, missing: map[[2]string]*one{}}
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
			page: of(series.PageBurnRate), ticket: of(series.TicketBurnRate), spent: of(series.BudgetSpent), runsOut: of(series.BudgetRunsOut),
			current: of(series.CurrentBurnRate), period: of(series.PeriodBurnRate), remaining: of(series.BudgetRemaining),
			info: one{labels: series.InfoLabels(s, version)},
		}
		for _, w := range s.Objective.Windows() {
			rec.windows = append(rec.windows, of(series.ErrorRatio(w), series.Window, series.WindowName(w)))
		}
		r.slos = append(r.slos, rec)
	}
	return r
}

// sample keeps, for exemplars, the slowest and the newest failed request of a
// flow since its last ones were written.
func (r *recorder) sample(t int64, d aggr.FlowDelta) {
	fs := &r.flows[d.Index]
	if s := d.Samples.Slowest; s.Known() && (!fs.slowest.Known() || s.Latency > fs.slowest.Latency) {
		fs.slowest = pick{s, t}
	}
	if s := d.Samples.Bad; s.Known() {
		fs.failed = pick{s, t}
	}
}

// maxExemplars is how many flows get exemplars at a time, two each: the store
// keeps 10,000, and with one time every ten seconds these are the last hour's.
// Where more flows have some, they take turns.
const maxExemplars = 14

// exemplars writes the requests that sample kept to the histograms of their flows,
// which have a sample of now.
func (r *recorder) exemplars(app storage.Appender) error {
	var errs []error
	for i, left := 0, maxExemplars; i < len(r.flows) && left > 0; i++ {
		r.turn = (r.turn + 1) % len(r.flows)
		fs := &r.flows[r.turn]
		if !fs.slowest.Known() {
			continue
		}
		left--
		// Exemplars of a series go forward in time, and in value where the time
		// is the same.
		picks := []pick{fs.slowest}
		if fs.failed.Known() && fs.failed.Trace != fs.slowest.Trace {
			picks = append(picks, fs.failed)
		}
		slices.SortFunc(picks, func(a, b pick) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.Latency, b.Latency))
		})
		for _, p := range picks {
			errs = append(errs, fs.exemplar(app, p))
		}
		fs.slowest, fs.failed = pick{}, pick{}
	}
	return errors.Join(errs...)
}

func (fs *flowSeries) exemplar(app storage.Appender, p pick) error {
	times := &fs.times
	if fs.split {
		v := fs.values[p.Value]
		if v == nil {
			return nil
		}
		times = &v.times
	}
	_, err := app.AppendExemplar(times.ref, times.labels, exemplar.Exemplar{
		Labels: labels.FromStrings(series.TraceID, hex.EncodeToString(p.Trace[:])),
		Value:  time.Duration(p.Latency).Seconds(),
		Ts:     p.at, HasTs: true,
	})
	if errors.Is(err, storage.ErrOutOfOrderExemplar) {
		return nil // of a flow before Apply: one more dot on a chart is not worth a failure
	}
	return err
}

// deploys writes when the versions of services were first seen.
func (r *recorder) deploys(app storage.Appender, t int64, a *arrivals) error {
	var errs []error
	for _, v := range r.versions {
		v.gone = true
	}
	a.deploys(func(service string, v Version) {
		key := [2]string{service, v.Value}
		s := r.versions[key]
		if s == nil {
			s = &versionSeries{one: one{labels: series.Of(labels.EmptyLabels(), series.VersionFirstSeen,
				series.Service, service, series.ServiceVersion, v.Value)}}
			r.versions[key] = s
		}
		s.gone = false
		errs = append(errs, s.write(app, t, float64(v.First.UnixMilli())/1000))
	})
	for key, v := range r.versions {
		if v.gone {
			errs = append(errs, v.end(app, t))
			delete(r.versions, key)
		}
	}
	return errors.Join(errs...)
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

const (
	// fast are the windows written at every flush: those that page soonest.
	fast = time.Hour

	// steady is how often what does not change is written: with one of it
	// missed, it is still within the lookback of five minutes.
	steady = 2 * time.Minute
)

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
		if !all && w.Length > fast {
			continue
		}
		ratio, has := w.Ratio()
		put(&rec.windows[i], ratio, has)
	}
	now, has := s.Windows[0].Ratio()
	put(&rec.current, slo.BurnRate(now, o.Target), has)
	period, has := s.Period().Ratio()
	put(&rec.remaining, slo.BudgetLeft(period, o.Target), has)
	if all {
		put(&rec.period, slo.BurnRate(period, o.Target), has)
		if days := daysOf(o, s); t-rec.steadied >= steady.Milliseconds() || days != rec.length {
			put(&rec.objective, o.Target, true)
			put(&rec.budget, o.Budget(), true)
			put(&rec.days, days, true)
			put(&rec.info, 1, true)
			rec.steadied, rec.length = t, days
		}
	}
	return errors.Join(errs...)
}

// verdict writes what the judge says of SLO i at t (ms).
func (r *recorder) verdict(app storage.Appender, t int64, i int, v judge.Verdict) error {
	rec := &r.slos[i]
	var errs []error
	put := func(to *one, x float64, has bool) {
		if has {
			errs = append(errs, to.write(app, t, x))
		} else {
			errs = append(errs, to.end(app, t))
		}
	}
	put(&rec.page, v.Page.Burn, v.Page.Firing)
	put(&rec.ticket, v.Ticket.Burn, v.Ticket.Firing)
	put(&rec.spent, v.Spent, v.Spent > 0)
	put(&rec.runsOut, max(0, v.RunsOutAt.Sub(time.UnixMilli(t)).Seconds()), v.RunsOut)
	return errors.Join(errs...)
}

// traffic writes which flows miss theirs at t (ms).
func (r *recorder) traffic(app storage.Appender, t int64, b *bench) error {
	var errs []error
	for key, v := range b.absent {
		s := r.missing[key]
		switch {
		case v.Missing && s == nil:
			s = &one{labels: series.Of(labels.EmptyLabels(), series.TrafficMissing, series.SLOServ, key[0], series.SLOFlow, key[1])}
			r.missing[key] = s
			fallthrough
		case v.Missing:
			errs = append(errs, s.write(app, t, float64(v.Expected)))
		case s != nil:
			errs = append(errs, s.end(app, t))
			delete(r.missing, key)
		}
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
