package web

import (
	"log/slog"
	"math"
	"strings"
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

// newStore opens a store of Prometheus' own and an engine for it.
func newStore(tb testing.TB) (*tsdb.DB, *promql.Engine) {
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

// script is what happens to one flow in the hour before a moment.
type script struct {
	flow      slo.Flow
	perFlush  float64                         // requests; 0 writes no series of the flow
	bad       func(ago time.Duration) float64 // share of the requests, nil for none
	stop      time.Duration                   // before the end, no requests from then on
	latencies map[time.Duration]uint64        // requests per flush by their latency
	slos      map[string]map[string]float64   // objective → metric → last value

	// change tells what a metric of an objective was before, nil for the same.
	change func(metric string, last float64, ago time.Duration) float64

	// also are further series, while they have a value.
	also map[string]func(ago time.Duration) (v float64, ok bool)
}

// play writes the scripts of an hour and some minutes up to end.
func play(tb testing.TB, db *tsdb.DB, end time.Time, scripts ...script) {
	tb.Helper()
	playOver(tb, db, end, time.Hour+5*time.Minute, flush, scripts...)
}

// playOver writes the scripts of a length of time up to end.
func playOver(tb testing.TB, db *tsdb.DB, end time.Time, length, flush time.Duration, scripts ...script) {
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
			for name, values := range s.slos {
				for _, one := range s.flow.SLOs() {
					if one.Objective.Name != name {
						continue
					}
					for metric, v := range values {
						if s.change != nil {
							v = s.change(metric, v, ago)
						}
						put(series.Of(series.SLO(one), metric), v)
					}
				}
			}
			for name, value := range s.also {
				if v, ok := value(ago); ok {
					l, err := parser.NewParser(parser.Options{}).ParseMetric(name)
					if err != nil {
						tb.Fatal(err)
					}
					put(l, v)
				}
			}
			if s.perFlush == 0 {
				continue
			}
			if ago >= s.stop {
				bad := 0.0
				if s.bad != nil {
					bad = s.bad(ago)
				}
				counts[i].bad += bad * s.perFlush
				counts[i].good += (1 - bad) * s.perFlush
				hists[i] = observed(hists[i], s.latencies)
			}
			id := labels.FromStrings(series.Service, s.flow.Service, series.FlowName, s.flow.Name)
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

// flowOf makes a flow with its objectives: a latency objective where faster is
// above 0.
func flowOf(service, name string, target float64, faster time.Duration) slo.Flow {
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

// figures are the recorded series of one objective at its end: its budget left
// and the share of bad events over 5 minutes, an hour and the period.
func figures(target, left, bad5m, bad1h float64) map[string]float64 {
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

// shop is a morning with one incident: checkout burns, search spends, refund
// has spent its budget, browse and login are calm, report is idle and invoice
// was never used.
func shop() []script {
	quick := map[time.Duration]uint64{80 * time.Millisecond: 360, 230 * time.Millisecond: 40, 600 * time.Millisecond: 18}
	checkout := flowOf("shop", "checkout", 0.999, 300*time.Millisecond)
	checkout.Owner, checkout.Runbook = "payments", "https://wiki.example/checkout"
	return []script{
		{
			flow: flowOf("shop", "browse", 0.995, 0), perFlush: 1270,
			bad:       func(ago time.Duration) float64 { return 0.0002 * float64(int(ago/time.Minute)%3) },
			latencies: map[time.Duration]uint64{12 * time.Millisecond: 1200, 45 * time.Millisecond: 60, 120 * time.Millisecond: 10},
			slos:      map[string]map[string]float64{"availability": figures(0.995, 0.91, 0.0002, 0.0002)},
		},
		{
			flow: checkout, perFlush: 418,
			bad: func(ago time.Duration) float64 {
				if ago < 12*time.Minute {
					return 0.031
				}
				return 0.0004
			},
			latencies: quick,
			slos: map[string]map[string]float64{
				"availability": figures(0.999, 0.31, 0.031, 0.0065),
				"latency":      figures(0.95, 0.52, 0.059, 0.04),
			},
		},
		{
			flow: flowOf("shop", "search", 0.995, 500*time.Millisecond), perFlush: 620,
			bad:       func(ago time.Duration) float64 { return 0.004 + 0.006*math.Abs(math.Sin(ago.Minutes()/9)) },
			latencies: quick,
			slos: map[string]map[string]float64{
				"availability": figures(0.995, 0.64, 0.0091, 0.0078),
				"latency":      figures(0.95, 0.88, 0.02, 0.02),
			},
		},
		{
			flow: flowOf("billing", "refund", 0.99, 0), perFlush: 0.4,
			latencies: map[time.Duration]uint64{1400 * time.Millisecond: 1},
			slos:      map[string]map[string]float64{"availability": figures(0.99, -0.12, 0, 0)},
		},
		{
			flow: flowOf("accounts", "login", 0.999, 0), perFlush: 93,
			latencies: map[time.Duration]uint64{95 * time.Millisecond: 88, 310 * time.Millisecond: 5},
			slos:      map[string]map[string]float64{"availability": figures(0.999, 0.974, 0, 0)},
		},
		{
			flow: flowOf("billing", "report", 0.99, 0), perFlush: 3, stop: 25 * time.Minute,
			latencies: map[time.Duration]uint64{2400 * time.Millisecond: 3},
			slos:      map[string]map[string]float64{"availability": figures(0.99, 1, 0, 0)},
		},
		{flow: flowOf("billing", "invoice", 0.99, 0)},
	}
}

// flowsOf returns the flows of scripts.
func flowsOf(scripts []script) []slo.Flow {
	out := make([]slo.Flow, len(scripts))
	for i := range scripts {
		out[i] = scripts[i].flow
	}
	return out
}

// night is shop over six hours and a half, with the alerts of its incident, a
// deploy before it, an exclusion and an earlier ticket: what charts can show.
func night(tb testing.TB) Options {
	tb.Helper()
	f := incident()
	now := time.Now()
	const length, step = 6*time.Hour + 30*time.Minute, 30 * time.Second
	during := func(from, to time.Duration) func(time.Duration) (float64, bool) {
		return func(ago time.Duration) (float64, bool) { return 1, ago < from && ago >= to }
	}
	version := func(seen time.Duration) func(time.Duration) (float64, bool) {
		return func(ago time.Duration) (float64, bool) { return float64(now.Add(-seen).Unix()), ago <= seen }
	}
	for i := range f.scripts {
		s := &f.scripts[i]
		s.perFlush *= 3
		if s.flow.Name != "checkout" {
			continue
		}
		s.flow.Exclude = []slo.Exclusion{{From: now.Add(-5 * time.Hour), For: 30 * time.Minute, Why: "database upgrade"}}
		s.bad = func(ago time.Duration) float64 {
			switch {
			case ago < 12*time.Minute:
				return 0.031
			case ago < 3*time.Hour && ago > 150*time.Minute:
				return 0.006
			}
			return 0.0004 + 0.0002*math.Sin(ago.Minutes()/7)
		}
		s.change = func(metric string, last float64, ago time.Duration) float64 {
			spent := min(1, ago.Minutes()/12)
			switch {
			case metric == series.BudgetRemaining:
				return last + (0.16*spent + 0.05*min(1, max(0, ago.Minutes()-150)/30) + 0.02*ago.Hours())
			case strings.HasPrefix(metric, "slo:sli_error:ratio_rate") || metric == series.CurrentBurnRate:
				return last * (1 - 0.97*spent)
			}
			return last
		}
		s.also = map[string]func(time.Duration) (float64, bool){
			`ALERTS{alertstate="firing",sloth_id="shop-checkout-availability",sloth_severity="page"}`:        during(11*time.Minute, 0),
			`ALERTS{alertstate="firing",sloth_id="shop-checkout-availability",sloth_severity="ticket"}`:      during(170*time.Minute, 140*time.Minute),
			`slowburn_service_version_first_seen_timestamp_seconds{service="shop",service_version="1.41.3"}`: version(4 * time.Hour),
			`slowburn_service_version_first_seen_timestamp_seconds{service="shop",service_version="1.42.0"}`: version(13 * time.Minute),
		}
	}
	db, engine := newStore(tb)
	playOver(tb, db, now, length, step, f.scripts...)
	flows := flowsOf(f.scripts)
	return Options{
		Flows: func() []slo.Flow { return flows }, Engine: engine, Queryable: db,
		Alerts: func() []Alert { return f.alerts }, DataAt: func() time.Time { return now },
		Samples: func(string, string) []Sample {
			return []Sample{
				{TraceID: "7f3a9c0d5e6b41f2a8b7c6d5e4f30112", At: now.Add(-20 * time.Second), Duration: 5200 * time.Millisecond, Bad: true},
				{TraceID: "91bc22e1a04d7f3a9c0d5e6b41f2a8b7", At: now.Add(-70 * time.Second), Duration: 140 * time.Millisecond},
			}
		},
		TraceURL: "https://traces.example/trace/{trace_id}",
		Version:  "0.1.0",
		Logger:   slog.New(slog.DiscardHandler),
	}
}
