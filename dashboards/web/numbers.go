package web

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
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser/posrange"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

const (
	// rateWindow is the "now" of rates and latencies: the short window of the
	// fastest page, so that the page shows what the alerts judge.
	rateWindow = 5 * time.Minute

	// The errors of the last hour are drawn in steps of two minutes: thirty
	// bars, each of a dozen flushes.
	hour     = time.Hour
	hourStep = 2 * time.Minute

	// keepHour is for how long the bars serve. They take half of the time that
	// a reading of many flows does, and move by less than a pixel meanwhile.
	keepHour = 30 * time.Second

	// queryTimeout bounds all queries of a page together. A page that took
	// longer is of no use to the person waiting for it.
	queryTimeout = 5 * time.Second
)

// flowKey identifies a flow in series.
type flowKey struct{ service, flow string }

// numbers is everything the pages show that comes from the store, as of one
// moment. What could not be read is missing from it, and its fault says why.
type numbers struct {
	rates   map[flowKey]rates      // requests per second over rateWindow
	latency map[flowKey][3]float64 // p50, p95, p99 in seconds
	hour    map[flowKey][]rates    // the last hour, oldest first
	hourAt  time.Time              // when that ended
	slos    map[string]sloNumbers  // by SLO identity
	faults  map[part]error         // what could not be read
}

// rates are requests per second by outcome. Both are 0 where there were none.
type rates struct{ good, bad float64 }

func (r rates) total() float64 { return r.good + r.bad }

// badShare is in [0, 1], NaN when there were no requests.
func (r rates) badShare() float64 { return r.bad / r.total() }

// sloNumbers are the last values of an SLO's series by metric name.
type sloNumbers map[string]float64

// get returns the value of a metric, or NaN where it is absent.
func (s sloNumbers) get(metric string) float64 {
	if v, ok := s[metric]; ok {
		return v
	}
	return math.NaN()
}

// now returns the share of bad events over the shortest window that always
// holds some while there are any: five minutes, or the length of a slice.
func (s sloNumbers) now(o slo.Objective) float64 {
	for _, w := range o.Windows() {
		if w >= o.Slice {
			return s.get(series.ErrorRatio(w))
		}
	}
	return math.NaN()
}

// part names a query by what the page loses without it.
type part string

// The parts of a page that fail apart from one another.
const (
	partRates   part = "Rates and error shares"
	partLatency part = "Latencies"
	partBudgets part = "Budgets and burn rates"
	partHour    part = "The errors of the last hour"
)

// parts are in the order people hear of them.
var parts = []part{partBudgets, partRates, partLatency, partHour}

// read asks for the numbers of all flows as of a moment, with one query a part
// however many flows there are; or for those of only one, and then for what its
// own page has besides. before is the reading before this one.
func (s *site) read(ctx context.Context, flows []slo.Flow, only *slo.Flow, at time.Time, before numbers) numbers {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	n := numbers{
		rates:   map[flowKey]rates{},
		latency: map[flowKey][3]float64{},
		hour:    map[flowKey][]rates{},
		slos:    map[string]sloNumbers{},
		faults:  map[part]error{},
		hourAt:  at,
	}
	_, unread := before.faults[partHour]
	kept := !unread && before.hour != nil && !at.Before(before.hourAt) && at.Sub(before.hourAt) < keepHour
	if kept {
		n.hour, n.hourAt = before.hour, before.hourAt
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // guards n.faults; each part fills a map of its own
	for p, read := range map[part]func() error{
		partRates:   func() error { return s.readRates(ctx, only, at, n) },
		partLatency: func() error { return s.readLatency(ctx, only, at, n) },
		partHour: func() error {
			if kept {
				return nil
			}
			return s.readHour(ctx, only, at, n)
		},
		partBudgets: func() error { return s.readSLOs(ctx, flows, only, at, n) },
	} {
		wg.Go(func() {
			if err := read(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				n.faults[p] = err
			}
		})
	}
	wg.Wait()
	return n
}

// selector picks the series of a flow, those of all when there is none.
func selector(only *slo.Flow) string {
	if only == nil {
		return ""
	}
	return fmt.Sprintf("{%s=%q,%s=%q}", series.Service, only.Service, series.FlowName, only.Name)
}

func (s *site) readRates(ctx context.Context, only *slo.Flow, at time.Time, n numbers) error {
	return s.instant(ctx, at, fmt.Sprintf("sum by (%s, %s, %s) (rate(%s%s[%s]))",
		series.Service, series.FlowName, series.Outcome, series.FlowRequests, selector(only), slo.Duration(rateWindow)),
		func(v promql.Sample) {
			key := flowKey{v.Metric.Get(series.Service), v.Metric.Get(series.FlowName)}
			n.rates[key] = n.rates[key].plus(v.Metric.Get(series.Outcome), v.F)
		})
}

// plus adds a rate to that of its outcome. Outcomes the page does not know
// count for nothing.
func (r rates) plus(outcome string, perSecond float64) rates {
	switch outcome {
	case series.Good:
		r.good += perSecond
	case series.Bad:
		r.bad += perSecond
	}
	return r
}

func (s *site) readLatency(ctx context.Context, only *slo.Flow, at time.Time, n numbers) error {
	return s.instant(ctx, at, fmt.Sprintf("sum by (%s, %s) (rate(%s%s[%s]))",
		series.Service, series.FlowName, series.FlowDuration, selector(only), slo.Duration(rateWindow)),
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
			n.latency[flowKey{v.Metric.Get(series.Service), v.Metric.Get(series.FlowName)}] = q
		})
}

func (s *site) readSLOs(ctx context.Context, flows []slo.Flow, only *slo.Flow, at time.Time, n numbers) error {
	// The first page shows two windows of each SLO: reading all of them takes
	// most of the time that it has.
	names := []string{series.BudgetRemaining, series.CurrentBurnRate, series.Events, series.ErrorRatio(hour)}
	need := func(metric string) {
		if !slices.Contains(names, metric) {
			names = append(names, metric)
		}
	}
	all, ids := slo.All(flows), ""
	if only != nil {
		all = only.SLOs()
		quoted := make([]string, len(all))
		for i, o := range all {
			quoted[i] = regexp.QuoteMeta(o.ID())
		}
		ids = fmt.Sprintf(",%s=~%q", series.ID, strings.Join(quoted, "|"))
		need(series.PeriodBurnRate)
		need(series.Errors)
	}
	for _, o := range all {
		for _, w := range o.Objective.Windows() {
			if only != nil || w >= o.Objective.Slice {
				need(series.ErrorRatio(w))
			}
			if only == nil && w >= o.Objective.Slice {
				break
			}
		}
	}
	return s.instant(ctx, at, fmt.Sprintf(`{__name__=~"%s"%s}`, strings.Join(names, "|"), ids),
		func(v promql.Sample) {
			id := v.Metric.Get(series.ID)
			if n.slos[id] == nil {
				n.slos[id] = sloNumbers{}
			}
			n.slos[id][v.Metric.Get(model.MetricNameLabel)] = v.F
		})
}

func (s *site) readHour(ctx context.Context, only *slo.Flow, at time.Time, n numbers) error {
	first := at.Add(hourStep - hour)
	q, err := s.opt.Engine.NewRangeQuery(ctx, s.opt.Queryable, nil, fmt.Sprintf("sum by (%s, %s, %s) (rate(%s%s[%s]))",
		series.Service, series.FlowName, series.Outcome, series.FlowRequests, selector(only), slo.Duration(hourStep)),
		first, at, hourStep)
	if err != nil {
		return err
	}
	defer q.Close()
	res := q.Exec(ctx)
	matrix, err := res.Matrix()
	if err != nil {
		return err
	}
	for _, line := range matrix {
		key := flowKey{line.Metric.Get(series.Service), line.Metric.Get(series.FlowName)}
		if n.hour[key] == nil {
			n.hour[key] = make([]rates, hour/hourStep)
		}
		for _, p := range line.Floats {
			step := &n.hour[key][(p.T-first.UnixMilli())/hourStep.Milliseconds()]
			*step = step.plus(line.Metric.Get(series.Outcome), p.F)
		}
	}
	return nil
}

// instant runs a query at a moment and visits each sample of its vector. The
// samples belong to the engine again when instant returns.
func (s *site) instant(ctx context.Context, at time.Time, query string, visit func(promql.Sample)) error {
	q, err := s.opt.Engine.NewInstantQuery(ctx, s.opt.Queryable, nil, query, at)
	if err != nil {
		return err
	}
	defer q.Close()
	res := q.Exec(ctx)
	vector, err := res.Vector()
	if err != nil {
		return err
	}
	for _, v := range vector {
		visit(v)
	}
	return nil
}
