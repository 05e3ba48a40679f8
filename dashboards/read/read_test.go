package read_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"

	"github.com/slowburn-slo/slowburn/dashboards/read"
	"github.com/slowburn-slo/slowburn/dashboards/read/readtest"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestHourCounts holds the steps to the counter: over a restart, which counts
// from 0 again, over a gap, and with the first sample, which tells nothing.
func TestHourCounts(t *testing.T) {
	db, engine := readtest.NewStore(t)
	at := time.Date(2026, 11, 23, 14, 14, 0, 0, time.UTC)
	app := db.Appender(t.Context())
	for _, s := range []struct {
		ago time.Duration
		v   float64
	}{
		{59 * time.Minute, 1000},
		{58*time.Minute + 30*time.Second, 1012}, // 12 in the first step
		{58 * time.Minute, 1024},                // 12 more, at its very end
		{57 * time.Minute, 6},                   // restarted: 6 in the second
		{10 * time.Minute, 18},                  // 12 after a gap
		{0, 42},                                 // 24 in the last
	} {
		l := labels.FromStrings("__name__", series.FlowRequests, series.Service, "shop", series.FlowName, "checkout", series.Outcome, series.Bad)
		if _, err := app.Append(0, l, at.Add(-s.ago).UnixMilli(), s.v); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	want := make([]read.Rates, 30)
	want[0].Bad, want[1].Bad, want[24].Bad, want[29].Bad = 0.2, 0.05, 0.1, 0.2
	flows := []slo.Flow{readtest.FlowOf("shop", "checkout", 0.999, 0), readtest.FlowOf("shop", "search", 0.999, 0)}
	store := read.Store{Engine: engine, Queryable: db}
	for name, only := range map[string]*slo.Flow{"of all": nil, "alone": &flows[0], "of another": &flows[1]} {
		n := store.Numbers(t.Context(), flows, only, at)
		if len(n.Faults) > 0 {
			t.Fatalf("%s: %v", name, n.Faults)
		}
		wanted := want
		if only == &flows[1] {
			wanted = nil
		}
		if got := n.Hour[read.KeyOf(&flows[0])]; !slices.Equal(got, wanted) {
			t.Errorf("%s: the last hour of checkout = %v, want %v", name, got, wanted)
		}
	}
}

// TestOneFlowIsAsAmongAll: a flow that is read alone is judged as among all.
func TestOneFlowIsAsAmongAll(t *testing.T) {
	db, engine := readtest.NewStore(t)
	at := time.Date(2026, 11, 23, 14, 14, 0, 0, time.UTC)
	scripts := readtest.Shop()
	readtest.Play(t, db, at, scripts...)
	flows := readtest.FlowsOf(scripts)
	store := read.Store{Engine: engine, Queryable: db}
	all := store.Numbers(t.Context(), flows, nil, at)
	firing := read.Firing([]read.Alert{{SLO: "shop-checkout-availability", Severity: slo.Ticket}, {SLO: "shop-checkout-availability", Severity: slo.Page}})
	want := map[string]read.State{
		"browse": read.Calm, "checkout": read.Burning, "search": read.Spending, "refund": read.Spent,
		"login": read.Calm, "report": read.Idle, "invoice": read.NoData,
	}
	for i := range flows {
		f := &flows[i]
		alone := store.Numbers(t.Context(), flows, f, at)
		one, among := alone.Flow(f, firing, at), all.Flow(f, firing, at)
		if one.State != want[f.Name] || among.State != want[f.Name] {
			t.Errorf("%s alone is %s, among all %s; want %s", f.Name, one.State, among.State, want[f.Name])
		}
		same := func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
		if !same(one.Rate, among.Rate) || !same(one.Errors, among.Errors) || !same(one.Latency[1], among.Latency[1]) || !slices.Equal(one.Hour, among.Hour) {
			t.Errorf("%s alone has %g/s, %g errors, p95 %g; among all %g/s, %g, %g", f.Name, one.Rate, one.Errors, one.Latency[1], among.Rate, among.Errors, among.Latency[1])
		}
		for j, o := range one.Objectives {
			if p := among.Objectives[j]; o.State != p.State || !same(o.Bad, p.Bad) || !same(o.Left, p.Left) || !same(o.Burn, p.Burn) {
				t.Errorf("%s of %s alone = %s, %g bad, %g left, burning %g; among all %s, %g, %g, %g",
					o.Objective.Name, f.Name, o.State, o.Bad, o.Left, o.Burn, p.State, p.Bad, p.Left, p.Burn)
			}
		}
	}
}
