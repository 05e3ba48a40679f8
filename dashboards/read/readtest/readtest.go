// Package readtest fills stores with scripted flows, for the tests of what is
// read from them.
package readtest

import (
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// flush is the interval at which the scripted series are written.
const flush = 10 * time.Second

// NewStore opens a store of Prometheus' own and an engine for it.
func NewStore(tb testing.TB) (*tsdb.DB, *promql.Engine) {
	tb.Helper()
	db, err := tsdb.Open(tb.TempDir(), slog.New(slog.DiscardHandler), nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 1e7,
		Timeout:    10 * time.Second,
		Parser:     parser.NewParser(parser.Options{}),
	})
	tb.Cleanup(func() {
		if err := engine.Close(); err != nil {
			tb.Error(err)
		}
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db, engine
}

// Script is what happens to one flow in the hour before a moment.
type Script struct {
	Flow      slo.Flow
	PerFlush  float64                         // requests; 0 writes no series of the flow
	Bad       func(ago time.Duration) float64 // share of the requests, nil for none
	Stop      time.Duration                   // before the end, no requests from then on
	Latencies map[time.Duration]uint64        // requests per flush by their latency
	SLOs      map[string]map[string]float64   // objective → metric → last value

	// Change tells what a metric of an objective was before, nil for the same.
	Change func(metric string, last float64, ago time.Duration) float64

	// Also are further series, while they have a value.
	Also map[string]func(ago time.Duration) (v float64, ok bool)
}

// Play writes the scripts of an hour and some minutes up to end.
func Play(tb testing.TB, db *tsdb.DB, end time.Time, scripts ...Script) {
	tb.Helper()
	PlayOver(tb, db, end, time.Hour+5*time.Minute, flush, scripts...)
}

// PlayOver writes the scripts of a length of time up to end.
func PlayOver(tb testing.TB, db *tsdb.DB, end time.Time, length, flush time.Duration, scripts ...Script) {
	tb.Helper()
	type running struct{ good, bad float64 }
	counts := make([]running, len(scripts))
	hists := make([]*histogram.Histogram, len(scripts))
	for ago := length; ago >= 0; ago -= flush {
		app := db.Appender(tb.Context())
		at := end.Add(-ago).UnixMilli()
		put := func(l labels.Labels, v float64) {
			if _, err := app.Append(0, l, at, v); err != nil {
				tb.Fatal(err)
			}
		}
		for i, s := range scripts {
			for name, values := range s.SLOs {
				for _, one := range s.Flow.SLOs() {
					if one.Objective.Name != name {
						continue
					}
					for metric, v := range values {
						if s.Change != nil {
							v = s.Change(metric, v, ago)
						}
						put(series.Of(series.SLO(one), metric), v)
					}
				}
			}
			for name, value := range s.Also {
				if v, ok := value(ago); ok {
					l, err := parser.NewParser(parser.Options{}).ParseMetric(name)
					if err != nil {
						tb.Fatal(err)
					}
					put(l, v)
				}
			}
			if s.PerFlush == 0 {
				continue
			}
			if ago >= s.Stop {
				bad := 0.0
				if s.Bad != nil {
					bad = s.Bad(ago)
				}
				counts[i].bad += bad * s.PerFlush
				counts[i].good += (1 - bad) * s.PerFlush
				hists[i] = observed(hists[i], s.Latencies)
			}
			id := labels.FromStrings(series.Service, s.Flow.Service, series.FlowName, s.Flow.Name)
			put(series.Of(id, series.FlowRequests, series.Outcome, series.Good), counts[i].good)
			put(series.Of(id, series.FlowRequests, series.Outcome, series.Bad), counts[i].bad)
			if hists[i] != nil {
				if _, err := app.AppendHistogram(0, series.Of(id, series.FlowDuration), at, hists[i], nil); err != nil {
					tb.Fatal(err)
				}
			}
		}
		if err := app.Commit(); err != nil {
			tb.Fatal(err)
		}
	}
}

// observed returns old with the latencies counted in, in buckets that are
// 2 % wide, so that a quantile is its latency.
func observed(old *histogram.Histogram, latencies map[time.Duration]uint64) *histogram.Histogram {
	const schema = 5
	counts := map[int]int64{}
	h := &histogram.Histogram{Schema: schema, ZeroThreshold: 1e-9}
	if old != nil {
		h.Sum, h.Count = old.Sum, old.Count
		for it := old.PositiveBucketIterator(); it.Next(); {
			counts[int(it.At().Index)] += int64(it.At().Count)
		}
	}
	for d, n := range latencies {
		counts[int(math.Ceil(math.Log2(d.Seconds())*(1<<schema)))] += int64(n)
		h.Sum += d.Seconds() * float64(n)
		h.Count += n
	}
	var last int64
	prev := 0
	for i := -40 << schema; i < 10<<schema; i++ {
		n := counts[i]
		if n == 0 {
			continue
		}
		offset := i - prev
		h.PositiveSpans = append(h.PositiveSpans, histogram.Span{Offset: int32(offset), Length: 1})
		h.PositiveBuckets = append(h.PositiveBuckets, n-last)
		last, prev = n, i+1
	}
	return h
}

// FlowOf makes a flow with its objectives: a latency objective where faster is
// above 0.
func FlowOf(service, name string, target float64, faster time.Duration) slo.Flow {
	f := slo.Flow{
		Name:    name,
		Service: service,
		Match: slo.Selector{
			{Key: slo.KeyMethod, Any: []slo.Pattern{{Text: "POST"}}},
			{Key: slo.KeyRoute, Any: []slo.Pattern{{Text: "/api/" + name}}},
		},
		Pos: slo.Pos{File: "slos.yaml", Line: 4, Column: 3},
		Objectives: []slo.Objective{{
			Name: "availability", Target: target, Window: slo.DefaultWindow,
			MinEvents: slo.DefaultMinEvents, Tiers: slo.Tiers(target, slo.DefaultWindow),
			Pos: slo.Pos{File: "slos.yaml", Line: 7, Column: 9},
		}},
	}
	if faster > 0 {
		f.Objectives = append(f.Objectives, slo.Objective{
			Name: "latency", Kind: slo.FasterThan, Threshold: faster, Target: 0.95, Window: slo.DefaultWindow,
			Tiers: slo.Tiers(0.95, slo.DefaultWindow), Pos: slo.Pos{File: "slos.yaml", Line: 8, Column: 9},
		})
	}
	return f
}

// Figures are the recorded series of one objective at its end: its budget left
// and the share of bad events over 5 minutes, an hour and the period.
func Figures(target, left, bad5m, bad1h float64) map[string]float64 {
	period := (1 - left) * slo.Budget(target)
	out := map[string]float64{
		series.BudgetRemaining: left,
		series.CurrentBurnRate: slo.BurnRate(bad5m, target),
		series.Events:          812_345,
		series.Errors:          math.Round(812_345 * period),
	}
	for _, w := range (slo.Objective{Window: slo.DefaultWindow, Target: target}).Windows() {
		switch {
		case w <= 5*time.Minute:
			out[series.ErrorRatio(w)] = bad5m
		case w <= time.Hour:
			out[series.ErrorRatio(w)] = bad1h
		default:
			out[series.ErrorRatio(w)] = period
		}
	}
	return out
}

// Shop is a morning with one incident: checkout burns, search spends, refund
// has spent its budget, browse and login are calm, report is idle and invoice
// was never used.
func Shop() []Script {
	quick := map[time.Duration]uint64{80 * time.Millisecond: 360, 230 * time.Millisecond: 40, 600 * time.Millisecond: 18}
	checkout := FlowOf("shop", "checkout", 0.999, 300*time.Millisecond)
	checkout.Owner, checkout.Runbook = "payments", "https://wiki.example/checkout"
	return []Script{
		{
			Flow: FlowOf("shop", "browse", 0.995, 0), PerFlush: 1270,
			Bad:       func(ago time.Duration) float64 { return 0.0002 * float64(int(ago/time.Minute)%3) },
			Latencies: map[time.Duration]uint64{12 * time.Millisecond: 1200, 45 * time.Millisecond: 60, 120 * time.Millisecond: 10},
			SLOs:      map[string]map[string]float64{"availability": Figures(0.995, 0.91, 0.0002, 0.0002)},
		},
		{
			Flow: checkout, PerFlush: 418,
			Bad: func(ago time.Duration) float64 {
				if ago < 12*time.Minute {
					return 0.031
				}
				return 0.0004
			},
			Latencies: quick,
			SLOs: map[string]map[string]float64{
				"availability": Figures(0.999, 0.31, 0.031, 0.0065),
				"latency":      Figures(0.95, 0.52, 0.059, 0.04),
			},
		},
		{
			Flow: FlowOf("shop", "search", 0.995, 500*time.Millisecond), PerFlush: 620,
			Bad:       func(ago time.Duration) float64 { return 0.004 + 0.006*math.Abs(math.Sin(ago.Minutes()/9)) },
			Latencies: quick,
			SLOs: map[string]map[string]float64{
				"availability": Figures(0.995, 0.64, 0.0091, 0.0078),
				"latency":      Figures(0.95, 0.88, 0.02, 0.02),
			},
		},
		{
			Flow: FlowOf("billing", "refund", 0.99, 0), PerFlush: 0.4,
			Latencies: map[time.Duration]uint64{1400 * time.Millisecond: 1},
			SLOs:      map[string]map[string]float64{"availability": Figures(0.99, -0.12, 0, 0)},
		},
		{
			Flow: FlowOf("accounts", "login", 0.999, 0), PerFlush: 93,
			Latencies: map[time.Duration]uint64{95 * time.Millisecond: 88, 310 * time.Millisecond: 5},
			SLOs:      map[string]map[string]float64{"availability": Figures(0.999, 0.974, 0, 0)},
		},
		{
			Flow: FlowOf("billing", "report", 0.99, 0), PerFlush: 3, Stop: 25 * time.Minute,
			Latencies: map[time.Duration]uint64{2400 * time.Millisecond: 3},
			SLOs:      map[string]map[string]float64{"availability": Figures(0.99, 1, 0, 0)},
		},
		{Flow: FlowOf("billing", "invoice", 0.99, 0)},
	}
}

// FlowsOf returns the flows of scripts.
func FlowsOf(scripts []Script) []slo.Flow {
	out := make([]slo.Flow, len(scripts))
	for i := range scripts {
		out[i] = scripts[i].Flow
	}
	return out
}
