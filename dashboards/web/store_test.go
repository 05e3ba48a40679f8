package web

import (
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/dashboards/read"
	"github.com/slowburn-slo/slowburn/dashboards/read/readtest"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

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
		s.PerFlush *= 3
		if s.Flow.Name != "checkout" {
			continue
		}
		s.Flow.Exclude = []slo.Exclusion{{From: now.Add(-5 * time.Hour), For: 30 * time.Minute, Why: "database upgrade"}}
		s.Bad = func(ago time.Duration) float64 {
			switch {
			case ago < 12*time.Minute:
				return 0.031
			case ago < 3*time.Hour && ago > 150*time.Minute:
				return 0.006
			}
			return 0.0004 + 0.0002*math.Sin(ago.Minutes()/7)
		}
		s.Change = func(metric string, last float64, ago time.Duration) float64 {
			spent := min(1, ago.Minutes()/12)
			switch {
			case metric == series.BudgetRemaining:
				return last + (0.16*spent + 0.05*min(1, max(0, ago.Minutes()-150)/30) + 0.02*ago.Hours())
			case strings.HasPrefix(metric, "slo:sli_error:ratio_rate") || metric == series.CurrentBurnRate:
				return last * (1 - 0.97*spent)
			}
			return last
		}
		s.Also = map[string]func(time.Duration) (float64, bool){
			`ALERTS{alertstate="firing",sloth_id="shop-checkout-availability",sloth_severity="page"}`:        during(11*time.Minute, 0),
			`ALERTS{alertstate="firing",sloth_id="shop-checkout-availability",sloth_severity="ticket"}`:      during(170*time.Minute, 140*time.Minute),
			`slowburn_service_version_first_seen_timestamp_seconds{service="shop",service_version="1.41.3"}`: version(4 * time.Hour),
			`slowburn_service_version_first_seen_timestamp_seconds{service="shop",service_version="1.42.0"}`: version(13 * time.Minute),
		}
	}
	db, engine := readtest.NewStore(tb)
	readtest.PlayOver(tb, db, now, length, step, f.scripts...)
	flows := readtest.FlowsOf(f.scripts)
	return Options{
		Flows: func() []slo.Flow { return flows }, Engine: engine, Queryable: db,
		Alerts: func() []Alert { return f.alerts }, DataAt: func() time.Time { return now },
		Samples: func(string, string) []Sample {
			return []Sample{
				{TraceID: "7f3a9c0d5e6b41f2a8b7c6d5e4f30112", At: now.Add(-20 * time.Second), Duration: 5200 * time.Millisecond, Bad: true},
				{TraceID: "91bc22e1a04d7f3a9c0d5e6b41f2a8b7", At: now.Add(-70 * time.Second), Duration: 140 * time.Millisecond},
			}
		},
		Where: func(string, string) []Culprit {
			return []Culprit{
				{Values: []read.Value{{Attribute: "service.version", Text: "1.42.0"}}, Bad: 0.94, Normal: 0.31, BadCount: 387, GoodCount: 5120},
				{Values: []read.Value{{Attribute: "cloud.region", Text: "eu-central-1"}, {Attribute: "peer.service", Text: "payments"}}, Bad: 0.71, Normal: 0.22, BadCount: 292, GoodCount: 3004},
				{Values: []read.Value{{Attribute: "http.response.status_code", Text: "503"}}, Symptom: true, Bad: 0.98, BadCount: 403},
			}
		},
		Judgement: func(id string) Judgement {
			if id != "shop-checkout-latency" {
				return Judgement{}
			}
			return Judgement{TooLittle: true, Bad: 3, Total: 21, Learning: true, DataMissingSince: now.Add(-4 * time.Minute), TrafficMissingSince: now.Add(-20 * time.Minute), Expected: 12840}
		},
		TraceURL: "https://traces.example/trace/{trace_id}",
		Version:  "0.1.0",
		Logger:   slog.New(slog.DiscardHandler),
	}
}
