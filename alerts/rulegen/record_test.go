package rulegen

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/slo"
)

// varied is a set of SLOs of all kinds, windows and sources.
func varied() []slo.Flow {
	at := func(line int) slo.Pos { return slo.Pos{File: "slos.yaml", Line: line} }
	objective := func(o slo.Objective) slo.Objective {
		if o.Window == 0 {
			o.Window = month
		}
		if o.MinEvents == 0 {
			o.MinEvents = 3
		}
		if o.Tiers == nil {
			o.Tiers = slo.Tiers(o.Target, o.Window)
		}
		o.Pos = at(2)
		return o
	}
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		panic(err)
	}
	flows := shop()
	week := 7 * 24 * time.Hour
	flows = append(flows,
		slo.Flow{Name: "pay", Service: "pay", Labels: map[string]string{"team": "pay"}, Objectives: []slo.Objective{
			objective(slo.Objective{Name: "availability", Target: 0.9995, Window: 28 * 24 * time.Hour}),
			objective(slo.Objective{Name: "latency-1s", Kind: slo.FasterThan, Threshold: time.Second, Target: 0.99, Window: 28 * 24 * time.Hour}),
			objective(slo.Objective{Name: "week", Target: 0.99, Window: week}),
			objective(slo.Objective{Name: "month", Target: 0.99, Calendar: slo.Calendar{Unit: slo.Month, Zone: zurich}}),
			objective(slo.Objective{Name: "minutes", Target: 0.995, Slice: time.Minute, SliceTarget: 0.95, MinEvents: 1}),
			objective(slo.Objective{Name: "fresh-26h", Kind: slo.Fresh, Threshold: 26 * time.Hour, Slice: time.Minute, Target: 0.99, MinEvents: 1}),
			objective(slo.Objective{Name: "quarter", Target: 0.99, Window: 90 * 24 * time.Hour, Calendar: slo.Calendar{Unit: slo.Quarter}}),
		}},
		slo.Flow{
			Name: "requests", Service: "myservice", Labels: map[string]string{"owner": "myteam"},
			Exclude: []slo.Exclusion{
				{From: time.Date(2026, 12, 1, 2, 0, 0, 0, time.UTC), For: 2 * time.Hour, Why: "upgrade", Pos: at(9)},
				{Every: slo.Weekly, Days: []time.Weekday{time.Sunday, time.Wednesday}, At: 2 * time.Hour, For: time.Hour, Pos: at(10)},
				{Every: slo.Daily, At: 23*time.Hour + 30*time.Minute, For: time.Hour, Until: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), Pos: at(11)},
				{Every: slo.Daily, At: time.Hour, For: time.Hour, Zone: zurich, Pos: at(12)},
			},
			Objectives: []slo.Objective{
				objective(slo.Objective{Name: "availability", ID: "requests-availability", Kind: slo.PromQL, Target: 0.999, Query: slo.Query{
					Bad: `sum(rate(http_requests_total{job="myservice",code=~"5.."}[$window]))`, Total: `sum(rate(http_requests_total{job="myservice"}[$window]))`,
				}}),
				objective(slo.Objective{Name: "grouped", Kind: slo.PromQL, Target: 0.99, Query: slo.Query{
					Bad: `sum by (tenant) (increase(http_requests_total{code=~"5.."}[$window]))`, Total: `sum by (tenant) (increase(http_requests_total[$window]))`,
				}}),
				objective(slo.Objective{Name: "latency", Kind: slo.PromQL, Target: 0.95, Query: slo.Query{
					Good: `sum(rate(http_duration_seconds_bucket{le="0.3"}[$window]))`, Total: `sum(rate(http_duration_seconds_count[$window]))`,
				}}),
				objective(slo.Objective{Name: "ratio", Kind: slo.PromQL, Target: 0.95, Query: slo.Query{
					Ratio: `1 - avg(avg_over_time(satisfaction_ratio[$window]))`,
				}}),
				objective(slo.Objective{Name: "native", Kind: slo.PromQL, Target: 0.9, Window: week, Query: slo.Query{
					Bad:   `sum((1 - histogram_fraction(0, 0.2, rate(duration_seconds[$window]))) * histogram_count(rate(duration_seconds[$window])))`,
					Total: `sum(histogram_count(rate(duration_seconds[$window])))`,
				}}),
				objective(slo.Objective{Name: "minutes", Kind: slo.PromQL, Target: 0.99, Slice: time.Minute, SliceTarget: 0.9, Query: slo.Query{
					Bad: `sum(rate(errors_total[$window]))`, Total: `sum(rate(events_total[$window]))`,
				}}),
			},
		})
	return flows
}

func TestRecordGolden(t *testing.T) {
	for _, tc := range []struct {
		name string
		opts RecordOptions
	}{
		{"record", RecordOptions{Version: "v1"}},
		{"record-catchup", RecordOptions{Version: "v1", CatchUp: true, Scrape: 15 * time.Second}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			groups, notes, err := Record(varied(), tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			out, err := Marshal(groups)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range notes {
				out = fmt.Appendf(out, "# %s\n", n)
			}
			golden(t, tc.name, out)
		})
	}
}

// TestPrometheusEvaluatesRecordedRules loads all kinds of rules, with and
// without catching up, into a real Prometheus.
func TestPrometheusEvaluatesRecordedRules(t *testing.T) {
	for _, opts := range []RecordOptions{{}, {CatchUp: true}} {
		groups, _, err := Record(varied(), opts)
		if err != nil {
			t.Fatal(err)
		}
		for i := range groups {
			groups[i].Interval = model.Duration(time.Second) // five minutes would be long to wait for
		}
		out, err := Marshal(groups)
		if err != nil {
			t.Fatal(err)
		}
		evaluate(t, out, len(groups))
	}
}

func TestPromtoolReadsRecordedRules(t *testing.T) {
	need(t, "promtool")
	promtool(t, "check", "rules", filepath.Join("testdata", "record.golden"), filepath.Join("testdata", "record-catchup.golden"))
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; go test ./alerts/rulegen -update rewrites it\ngot:\n%s", path, got)
	}
}
