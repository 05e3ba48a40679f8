package read

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser/posrange"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

const (
	// RateWindow is the "now" of rates and latencies: the short window of the
	// fastest page, so that the figures are those the alerts judge.
	RateWindow = 5 * time.Minute

	// The last hour comes in steps of two minutes: thirty of them, each of a
	// dozen flushes.
	Hour     = time.Hour
	HourStep = 2 * time.Minute

	// StaleAfter is the age from which data is stale: three flushes of ten
	// seconds, so that one late flush alarms nobody.
	StaleAfter = 30 * time.Second

	// Timeout bounds all queries of an answer together. One that took longer
	// is of no use to the person waiting for it.
	Timeout = 5 * time.Second
)

// Store is where the figures are. It may be used from several goroutines.
type Store struct {
	Engine    promql.QueryEngine
	Queryable storage.Queryable
}

// Key identifies a flow in series.
type Key struct{ Service, Flow string }

// KeyOf returns the key of a flow.
func KeyOf(f *slo.Flow) Key { return Key{f.Service, f.Name} }

// Numbers is what comes from the store about flows, as of one moment. What
// could not be read is missing from it, and its fault says why. Nobody changes
// it after it was read.
type Numbers struct {
	Rates   map[Key]Rates      // requests per second over RateWindow
	Latency map[Key][3]float64 // p50, p95, p99 in seconds
	Hour    map[Key][]Rates    // the last hour, oldest first
	SLOs    map[string]Values  // by SLO identity
	Faults  map[Part]error     // what could not be read
}

// Rates are requests per second by outcome. Both are 0 where there were none.
type Rates struct{ Good, Bad float64 }

// Total is all requests per second.
func (r Rates) Total() float64 { return r.Good + r.Bad }

// BadShare is in [0, 1], NaN when there were no requests.
func (r Rates) BadShare() float64 { return r.Bad / r.Total() }

// Plus adds a rate to that of its outcome. Outcomes that nobody knows count
// for nothing.
func (r Rates) Plus(outcome string, perSecond float64) Rates {
	switch outcome {
	case series.Good:
		r.Good += perSecond
	case series.Bad:
		r.Bad += perSecond
	}
	return r
}

// Values are the last values of an SLO's series by metric name.
type Values map[string]float64

// Get returns the value of a metric, or NaN where it is absent.
func (v Values) Get(metric string) float64 {
	if f, ok := v[metric]; ok {
		return f
	}
	return math.NaN()
}

// Part names what fails apart from the rest by what is lost without it.
type Part string

// The parts of the numbers.
const (
	PartBudgets Part = "Budgets and burn rates"
	PartRates   Part = "Rates and error shares"
	PartLatency Part = "Latencies"
	PartHour    Part = "The errors of the last hour"
)

// Parts are in the order people hear of them.
var Parts = []Part{PartBudgets, PartRates, PartLatency, PartHour}

// Numbers reads the numbers of all flows as of a moment, with one query a part
// however many flows there are; or those of only one, and then all its windows.
func (s Store) Numbers(ctx context.Context, flows []slo.Flow, only *slo.Flow, at time.Time) Numbers {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	n := Numbers{
		Rates:   map[Key]Rates{},
		Latency: map[Key][3]float64{},
		Hour:    map[Key][]Rates{},
		SLOs:    map[string]Values{},
		Faults:  map[Part]error{},
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // guards n.Faults; each part fills a map of its own
	for p, read := range map[Part]func() error{
		PartRates:   func() error { return s.readRates(ctx, only, at, n) },
		PartLatency: func() error { return s.readLatency(ctx, only, at, n) },
		PartHour:    func() error { return s.readHour(ctx, only, at, n) },
		PartBudgets: func() error {
			if only == nil {
				return s.readNow(ctx, flows, at, n)
			}
			return s.Windows(ctx, only, at, n.SLOs)
		},
	} {
		wg.Go(func() {
			if err := read(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				n.Faults[p] = err
			}
		})
	}
	wg.Wait()
	return n
}

// Selector picks the series of a flow, those of all when there is none.
func Selector(only *slo.Flow) string {
	if only == nil {
		return ""
	}
	return fmt.Sprintf("{%s=%q,%s=%q}", series.Service, only.Service, series.FlowName, only.Name)
}

func (s Store) readRates(ctx context.Context, only *slo.Flow, at time.Time, n Numbers) error {
	return s.Instant(ctx, at, fmt.Sprintf("sum by (%s, %s, %s) (rate(%s%s[%s]))",
		series.Service, series.FlowName, series.Outcome, series.FlowRequests, Selector(only), slo.Duration(RateWindow)),
		func(v promql.Sample) {
			key := Key{v.Metric.Get(series.Service), v.Metric.Get(series.FlowName)}
			n.Rates[key] = n.Rates[key].Plus(v.Metric.Get(series.Outcome), v.F)
		})
}

func (s Store) readLatency(ctx context.Context, only *slo.Flow, at time.Time, n Numbers) error {
	return s.Instant(ctx, at, fmt.Sprintf("sum by (%s, %s) (rate(%s%s[%s]))",
		series.Service, series.FlowName, series.FlowDuration, Selector(only), slo.Duration(RateWindow)),
		func(v promql.Sample) {
			if v.H == nil {
				return
			}
			// One query for the histogram and the quantiles from it, instead
			// of one query a quantile: the rate is what costs.
			var q [3]float64
			for i, share := range [...]float64{0.5, 0.95, 0.99} {
				q[i], _ = promql.HistogramQuantile(share, v.H, series.FlowDuration, posrange.PositionRange{})
			}
			n.Latency[Key{v.Metric.Get(series.Service), v.Metric.Get(series.FlowName)}] = q
		})
}

// readNow reads of each SLO what a list of them shows: two of its windows.
// Reading all of them would take most of the time that there is.
func (s Store) readNow(ctx context.Context, flows []slo.Flow, at time.Time, n Numbers) error {
	names := []string{series.BudgetRemaining, series.CurrentBurnRate, series.Events, series.ErrorRatio(Hour)}
	seen := map[time.Duration]bool{Hour: true}
	for _, f := range flows {
		for _, o := range f.Objectives {
			if w := NowWindow(o); !seen[w] {
				seen[w] = true
				names = append(names, series.ErrorRatio(w))
			}
		}
	}
	return s.values(ctx, at, names, "", n.SLOs)
}

// Windows reads into values, by SLO identity, all that is recorded of the SLOs
// of a flow: over each of their windows, and since counting began.
func (s Store) Windows(ctx context.Context, f *slo.Flow, at time.Time, values map[string]Values) error {
	names := []string{series.BudgetRemaining, series.CurrentBurnRate, series.PeriodBurnRate, series.Events, series.Errors}
	var ids []string
	for _, one := range f.SLOs() {
		ids = append(ids, regexp.QuoteMeta(one.ID()))
		for _, w := range append(one.Objective.Windows(), Hour) {
			if name := series.ErrorRatio(w); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return s.values(ctx, at, names, fmt.Sprintf(",%s=~%q", series.ID, strings.Join(ids, "|")), values)
}

func (s Store) values(ctx context.Context, at time.Time, names []string, matcher string, into map[string]Values) error {
	return s.Instant(ctx, at, fmt.Sprintf(`{__name__=~"%s"%s}`, strings.Join(names, "|"), matcher),
		func(v promql.Sample) {
			id := v.Metric.Get(series.ID)
			if into[id] == nil {
				into[id] = Values{}
			}
			into[id][v.Metric.Get(model.MetricNameLabel)] = v.F
		})
}

// readHour reads the samples themselves and not rates of them, which would read
// each of them as often as steps overlap and cost five times as much.
func (s Store) readHour(ctx context.Context, only *slo.Flow, at time.Time, n Numbers) error {
	first := at.Add(-Hour)
	from := first.Add(-StaleAfter) // for the sample before the first
	q, err := s.Queryable.Querier(from.UnixMilli(), at.UnixMilli())
	if err != nil {
		return err
	}
	defer q.Close() // read only: nothing is lost
	matchers := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, series.FlowRequests)}
	if only != nil {
		matchers = append(matchers, labels.MustNewMatcher(labels.MatchEqual, series.Service, only.Service),
			labels.MustNewMatcher(labels.MatchEqual, series.FlowName, only.Name))
	}
	set := q.Select(ctx, false, &storage.SelectHints{Start: from.UnixMilli(), End: at.UnixMilli()}, matchers...)
	var it chunkenc.Iterator
	for set.Next() {
		one := set.At()
		l := one.Labels()
		key, outcome := Key{l.Get(series.Service), l.Get(series.FlowName)}, l.Get(series.Outcome)
		if n.Hour[key] == nil {
			n.Hour[key] = make([]Rates, Hour/HourStep)
		}
		steps := n.Hour[key]
		it = one.Iterator(it)
		before := math.NaN()
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			if kind != chunkenc.ValFloat {
				continue
			}
			t, v := it.At()
			if math.IsNaN(v) {
				continue // the marker of an end
			}
			more := v - before // NaN for the first
			if v < before {
				more = v // counted from 0 again
			}
			before = v
			if since := t - first.UnixMilli(); since > 0 && more > 0 {
				i := (since - 1) / HourStep.Milliseconds()
				steps[i] = steps[i].Plus(outcome, more/HourStep.Seconds())
			}
		}
		if err := it.Err(); err != nil {
			return err
		}
	}
	return set.Err()
}

// Instant runs a query at a moment and visits each sample of its vector. The
// samples belong to the engine again when Instant returns.
func (s Store) Instant(ctx context.Context, at time.Time, query string, visit func(promql.Sample)) error {
	q, err := s.Engine.NewInstantQuery(ctx, s.Queryable, nil, query, at)
	if err != nil {
		return err
	}
	defer q.Close()
	vector, err := q.Exec(ctx).Vector()
	if err != nil {
		return err
	}
	for _, v := range vector {
		visit(v)
	}
	return nil
}

// Steps runs a query at moments from one to another and visits each series of
// its matrix. The series belong to the engine again when Steps returns.
func (s Store) Steps(ctx context.Context, query string, from, to time.Time, step time.Duration, visit func(promql.Series)) error {
	q, err := s.Engine.NewRangeQuery(ctx, s.Queryable, nil, query, from, to, step)
	if err != nil {
		return err
	}
	defer q.Close()
	matrix, err := q.Exec(ctx).Matrix()
	if err != nil {
		return err
	}
	for _, line := range matrix {
		visit(line)
	}
	return nil
}
