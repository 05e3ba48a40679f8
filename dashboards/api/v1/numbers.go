package v1

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
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
	// rateWindow is the "now" of rates and latencies: the short window of the
	// fastest page, so that the figures are those the alerts judge.
	rateWindow = 5 * time.Minute

	// The last hour comes in steps of two minutes, each of a dozen flushes.
	hour     = time.Hour
	hourStep = 2 * time.Minute

	// queryTimeout bounds all queries of an answer together.
	queryTimeout = 5 * time.Second
)

// flowKey identifies a flow in series.
type flowKey struct{ service, flow string }

// numbers is everything about all flows that comes from the store, as of one
// moment. What could not be read is missing from it, and its fault says why.
type numbers struct {
	rates   map[flowKey]rates      // requests per second over rateWindow
	latency map[flowKey][3]float64 // p50, p95, p99 in seconds
	hour    map[flowKey][]rates    // the last hour, oldest first
	slos    map[string]lastValues  // by SLO identity
	faults  map[string]error       // by part
}

// The parts of an answer that fail apart from one another, by what is lost.
const (
	partBudgets = "Budgets and burn rates"
	partRates   = "Rates and error shares"
	partLatency = "Latencies"
	partHour    = "The errors of the last hour"
)

// rates are requests per second by outcome. Both are 0 where there were none.
type rates struct{ good, bad float64 }

func (r rates) total() float64 { return r.good + r.bad }

// badShare is in [0, 1], NaN when there were no requests.
func (r rates) badShare() float64 { return r.bad / r.total() }

// plus adds a rate to that of its outcome.
func (r rates) plus(outcome string, perSecond float64) rates {
	switch outcome {
	case series.Good:
		r.good += perSecond
	case series.Bad:
		r.bad += perSecond
	}
	return r
}

// lastValues are the last values of an SLO's series by metric name.
type lastValues map[string]float64

// get returns the value of a metric, or NaN where it is absent.
func (s lastValues) get(metric string) float64 {
	if v, ok := s[metric]; ok {
		return v
	}
	return math.NaN()
}

// numbers reads all flows as of a moment, with one query a part however many
// flows there are.
func (a *api) numbers(ctx context.Context, flows []slo.Flow, at time.Time) numbers {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	n := numbers{
		rates:   map[flowKey]rates{},
		latency: map[flowKey][3]float64{},
		hour:    map[flowKey][]rates{},
		slos:    map[string]lastValues{},
		faults:  map[string]error{},
	}
	// Beside one another: each fills a map of its own.
	var wg sync.WaitGroup
	var mu sync.Mutex
	for part, read := range map[string]func() error{
		partBudgets: func() error { return a.readSLOs(ctx, flows, at, n) },
		partRates:   func() error { return a.readRates(ctx, at, n) },
		partLatency: func() error { return a.readLatency(ctx, at, n) },
		partHour:    func() error { return a.readHour(ctx, at, n) },
	} {
		wg.Go(func() {
			if err := read(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				n.faults[part] = err
			}
		})
	}
	wg.Wait()
	return n
}

func (a *api) readSLOs(ctx context.Context, flows []slo.Flow, at time.Time, n numbers) error {
	names := []string{series.BudgetRemaining, series.CurrentBurnRate, series.Events, series.ErrorRatio(hour)}
	for _, s := range slo.All(flows) {
		if name := series.ErrorRatio(nowWindow(s.Objective)); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return a.instant(ctx, at, fmt.Sprintf(`{__name__=~"%s"}`, strings.Join(names, "|")), func(v promql.Sample) {
		id := v.Metric.Get(series.ID)
		if n.slos[id] == nil {
			n.slos[id] = lastValues{}
		}
		n.slos[id][v.Metric.Get(model.MetricNameLabel)] = v.F
	})
}

// readWindows reads of one SLO what only the answer for its flow has: counts,
// and the error ratios over all its windows.
func (a *api) readWindows(ctx context.Context, s slo.SLO, at time.Time) (lastValues, error) {
	names := []string{series.Events, series.Errors}
	for _, w := range s.Objective.Windows() {
		names = append(names, series.ErrorRatio(w))
	}
	out := lastValues{}
	query := fmt.Sprintf(`{__name__=~"%s",%s=%s}`, strings.Join(names, "|"), series.ID, strconv.Quote(s.ID()))
	err := a.instant(ctx, at, query, func(v promql.Sample) { out[v.Metric.Get(model.MetricNameLabel)] = v.F })
	return out, err
}

func (a *api) readRates(ctx context.Context, at time.Time, n numbers) error {
	query := fmt.Sprintf("sum by (%s, %s, %s) (rate(%s[%s]))",
		series.Service, series.FlowName, series.Outcome, series.FlowRequests, slo.Duration(rateWindow))
	return a.instant(ctx, at, query, func(v promql.Sample) {
		key := flowKey{v.Metric.Get(series.Service), v.Metric.Get(series.FlowName)}
		n.rates[key] = n.rates[key].plus(v.Metric.Get(series.Outcome), v.F)
	})
}

func (a *api) readLatency(ctx context.Context, at time.Time, n numbers) error {
	query := fmt.Sprintf("sum by (%s, %s) (rate(%s[%s]))", series.Service, series.FlowName, series.FlowDuration, slo.Duration(rateWindow))
	return a.instant(ctx, at, query, func(v promql.Sample) {
		if v.H == nil {
			return
		}
		// One query for the histogram and the quantiles from it, instead of one
		// query a quantile: the rate is what costs.
		var q [3]float64
		for i, share := range [...]float64{0.5, 0.95, 0.99} {
			q[i], _ = promql.HistogramQuantile(share, v.H, series.FlowDuration, posrange.PositionRange{})
		}
		n.latency[flowKey{v.Metric.Get(series.Service), v.Metric.Get(series.FlowName)}] = q
	})
}

// readHour reads the samples themselves and not rates of them, which would read
// each of them as often as steps overlap and cost five times as much.
func (a *api) readHour(ctx context.Context, at time.Time, n numbers) error {
	first := at.Add(-hour)
	from := first.Add(-staleAfter) // for the sample before the first
	q, err := a.opt.Queryable.Querier(from.UnixMilli(), at.UnixMilli())
	if err != nil {
		return err
	}
	defer q.Close() // read only: nothing is lost
	set := q.Select(ctx, false, &storage.SelectHints{Start: from.UnixMilli(), End: at.UnixMilli()},
		labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, series.FlowRequests))
	var it chunkenc.Iterator
	for set.Next() {
		s := set.At()
		l := s.Labels()
		key, outcome := flowKey{l.Get(series.Service), l.Get(series.FlowName)}, l.Get(series.Outcome)
		if n.hour[key] == nil {
			n.hour[key] = make([]rates, hour/hourStep)
		}
		steps := n.hour[key]
		it = s.Iterator(it)
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
				i := (since - 1) / hourStep.Milliseconds()
				steps[i] = steps[i].plus(outcome, more/hourStep.Seconds())
			}
		}
		if err := it.Err(); err != nil {
			return err
		}
	}
	return set.Err()
}

// instant runs a query at a moment and visits each sample of its vector. The
// samples belong to the engine again when instant returns.
func (a *api) instant(ctx context.Context, at time.Time, query string, visit func(promql.Sample)) error {
	q, err := a.opt.Engine.NewInstantQuery(ctx, a.opt.Queryable, nil, query, at)
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

// overTime runs a query over a time and visits each series of its matrix. The
// series belong to the engine again when overTime returns.
func (a *api) overTime(ctx context.Context, query string, from, to time.Time, step time.Duration, visit func(promql.Series)) error {
	q, err := a.opt.Engine.NewRangeQuery(ctx, a.opt.Queryable, nil, query, from, to, step)
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
