package rulegen

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// world is a Prometheus whose time the test keeps: its own storage, engine and
// rule groups.
type world struct {
	t      testing.TB
	db     *tsdb.DB
	engine *promql.Engine
	groups []*rules.Group
	now    time.Time
	away   func(at time.Time) bool // whether rules are not evaluated; nil: never
	fired  map[string]time.Time    // sloth_id and severity → first time seen firing
}

// began is a Monday; a round time lets every interval fall on it.
var began = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

func newWorld(t testing.TB, groups []rulefmt.RuleGroup) *world {
	t.Helper()
	opts := tsdb.DefaultOptions()
	opts.RetentionDuration = math.MaxInt64
	opts.WALSegmentSize = -1                                               // nothing is read again
	opts.MinBlockDuration = int64(100 * 24 * time.Hour / time.Millisecond) // everything stays in the head
	opts.MaxBlockDuration = opts.MinBlockDuration
	db, err := tsdb.Open(t.TempDir(), nil, nil, opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w := &world{t: t, db: db, now: began, fired: map[string]time.Time{}}
	w.engine = promql.NewEngine(promql.EngineOpts{MaxSamples: 50_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	t.Cleanup(func() { w.engine.Close() })
	for _, g := range groups {
		var list []rules.Rule
		for _, r := range g.Rules {
			expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
			if err != nil {
				t.Fatal(err)
			}
			if r.Record != "" {
				list = append(list, rules.NewRecordingRule(r.Record, expr, labels.FromMap(r.Labels)))
				continue
			}
			list = append(list, rules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), time.Duration(r.KeepFiringFor),
				labels.FromMap(r.Labels), labels.FromMap(r.Annotations), labels.EmptyLabels(), "", true, nil))
		}
		w.groups = append(w.groups, rules.NewGroup(rules.GroupOptions{
			Name: g.Name, Interval: time.Duration(g.Interval), Rules: list,
			Opts: &rules.ManagerOptions{
				QueryFunc: rules.EngineQueryFunc(w.engine, db), Appendable: db, Queryable: db, Context: t.Context(),
				NotifyFunc: w.notify, ExternalURL: &url.URL{}, Logger: nil,
			},
		}))
	}
	return w
}

func (w *world) notify(_ context.Context, _ string, alerts ...*rules.Alert) {
	for _, a := range alerts {
		if a.State == rules.StateFiring {
			key := a.Labels.Get(series.ID) + " " + a.Labels.Get(series.Severity)
			if _, ok := w.fired[key]; !ok {
				w.fired[key] = w.now
			}
		}
	}
}

// scrape is how often the targets of a world are scraped.
const scrape = 30 * time.Second

// run lets time pass: at every scrape put is asked for the values of series,
// NaN for none, and every group is evaluated at its interval, seven seconds
// after a scrape as real ones are at some time of their own.
func (w *world) run(length time.Duration, put func(at time.Time, write func(v float64, name string, pairs ...string))) {
	w.t.Helper()
	for end := w.now.Add(length); w.now.Before(end); w.now = w.now.Add(scrape) {
		app := w.db.Appender(w.t.Context())
		put(w.now, func(v float64, name string, pairs ...string) {
			if math.IsNaN(v) {
				return
			}
			l := labels.FromStrings(append(pairs, model.MetricNameLabel, name)...)
			if _, err := app.Append(0, l, w.now.UnixMilli(), v); err != nil {
				w.t.Fatal(err)
			}
		})
		if err := app.Commit(); err != nil {
			w.t.Fatal(err)
		}
		for _, g := range w.groups {
			if w.now.Sub(began)%g.Interval() == 0 && (w.away == nil || !w.away(w.now)) {
				g.Eval(w.t.Context(), w.now.Add(7*time.Second))
			}
		}
	}
	for _, g := range w.groups {
		for _, r := range g.Rules() {
			if err := r.LastError(); err != nil {
				w.t.Fatalf("rule %s: %v", r.Name(), err)
			}
		}
	}
}

// value returns the one value of an expression at the end of what has run;
// ok is false when there is none.
func (w *world) value(expr string) (v float64, ok bool) {
	w.t.Helper()
	q, err := w.engine.NewInstantQuery(w.t.Context(), w.db, nil, expr, w.now.Add(-scrape+8*time.Second))
	if err != nil {
		w.t.Fatal(err)
	}
	defer q.Close()
	vector, err := q.Exec(w.t.Context()).Vector()
	if err != nil {
		w.t.Fatal(err)
	}
	switch len(vector) {
	case 0:
		return 0, false
	case 1:
		return vector[0].F, true
	}
	w.t.Fatalf("%s has %d values, want one", expr, len(vector))
	return 0, false
}

// period is the window of the SLOs under test: short, but long enough to be
// summed up by the slowest group.
const period = 12 * time.Hour

// oracle is a service whose requests the test counts itself.
type oracle struct {
	perScrape func(at time.Time) (good, bad int)

	good, bad float64 // counters as the target shows them
	events    []struct {
		at        time.Time
		good, bad int
	}
}

// step counts the requests since the scrape before.
func (o *oracle) step(at time.Time) {
	good, bad := o.perScrape(at)
	o.good += float64(good)
	o.bad += float64(bad)
	o.events = append(o.events, struct {
		at        time.Time
		good, bad int
	}{at, good, bad})
}

// ratio returns the exact share of bad requests in the window before at.
func (o *oracle) ratio(at time.Time, window time.Duration) float64 {
	var bad, total int
	for _, e := range o.events {
		if e.at.After(at.Add(-window)) && !e.at.After(at) {
			bad += e.bad
			total += e.good + e.bad
		}
	}
	return float64(bad) / float64(total)
}

func dayObjective(kind slo.Kind, q slo.Query) slo.Objective {
	return slo.Objective{
		Name: "availability", Kind: kind, Query: q, Target: 0.99, Window: period, MinEvents: 3, Tiers: slo.Tiers(0.99, period),
	}
}

var byCode = slo.Query{
	Bad:   `sum(rate(http_requests_total{job="shop",code=~"5.."}[$window]))`,
	Total: `sum(rate(http_requests_total{job="shop"}[$window]))`,
}

// TestRecordedBudget holds the recorded budget and error ratios against the
// exact truth in the scenarios in which other generators go wrong.
func TestRecordedBudget(t *testing.T) {
	day := func(at time.Time) float64 { // more by day than by night, 20 … 100 requests a scrape
		return 60 - 40*math.Cos(2*math.Pi*float64(at.Sub(began))/float64(24*time.Hour))
	}
	incident := func(at time.Time, from, length time.Duration) bool {
		return !at.Before(began.Add(from)) && at.Before(began.Add(from+length))
	}
	share := func(at time.Time, bad float64) (int, int) {
		n := day(at)
		return int(n * (1 - bad)), int(n * bad)
	}
	for i, tc := range []struct {
		name    string
		catchUp bool
		points  float64 // of budget the recorded one may be off
		traffic func(at time.Time) (good, bad int)
		put     func(o *oracle, at time.Time, write func(v float64, name string, pairs ...string))
	}{
		// rate() extrapolates no counter below zero: of the first errors of a
		// series, up to a quarter of a minute is lost. Catching up has none of it.
		{name: "an hour at 20 % errors", points: 0.5, traffic: func(at time.Time) (int, int) {
			if incident(at, 13*time.Hour, time.Hour) {
				return share(at, 0.2)
			}
			return share(at, 0.0)
		}},
		{name: "an hour at 20 % errors, caught up", catchUp: true, points: 0.1, traffic: func(at time.Time) (int, int) {
			if incident(at, 13*time.Hour, time.Hour) {
				return share(at, 0.2)
			}
			return share(at, 0.0)
		}},
		{name: "a traffic spike without errors", points: 0.1, traffic: func(at time.Time) (int, int) {
			good, bad := share(at, 0.02)
			if incident(at, 14*time.Hour, 2*time.Hour) {
				good, bad = 40*good, 0
			}
			return good, bad
		}},
		{name: "errors all the time", points: 0.1, traffic: func(at time.Time) (int, int) { return share(at, 0.013) }},
		{
			name: "an error series born late", catchUp: true, points: 0.1,
			traffic: func(at time.Time) (int, int) {
				if incident(at, 14*time.Hour, 10*time.Minute) {
					return share(at, 0.5)
				}
				return share(at, 0)
			},
			put: func(o *oracle, _ time.Time, write func(v float64, name string, pairs ...string)) {
				write(o.good, "http_requests_total", "job", "shop", "code", "200")
				if o.bad > 0 {
					write(o.bad, "http_requests_total", "job", "shop", "code", "503")
				}
			},
		},
		{
			name: "two hours without telemetry and an incident in them", catchUp: true, points: 0.1,
			traffic: func(at time.Time) (int, int) {
				if incident(at, 14*time.Hour, time.Hour) {
					return share(at, 0.3)
				}
				return share(at, 0.001)
			},
			put: func(o *oracle, at time.Time, write func(v float64, name string, pairs ...string)) {
				if !incident(at, 13*time.Hour+30*time.Minute, 2*time.Hour) {
					write(o.good, "http_requests_total", "job", "shop", "code", "200")
					write(o.bad, "http_requests_total", "job", "shop", "code", "503")
				}
			},
		},
		{
			name: "restarts", catchUp: true, points: 0.1,
			traffic: func(at time.Time) (int, int) { return share(at, 0.01) },
			put: func(o *oracle, at time.Time, write func(v float64, name string, pairs ...string)) {
				write(o.good, "http_requests_total", "job", "shop", "code", "200")
				write(o.bad, "http_requests_total", "job", "shop", "code", "503")
				if at.Sub(began)%(2*time.Hour) == 0 {
					o.good, o.bad = 0, 0 // a process that begins anew counts from zero
				}
			},
		},
	} {
		if testing.Short() && i > 0 {
			break // the race detector learns nothing from the others
		}
		t.Run(tc.name, func(t *testing.T) {
			flows := []slo.Flow{{Name: "checkout", Service: "shop", Objectives: []slo.Objective{dayObjective(slo.PromQL, byCode)}}}
			groups, _, err := Record(flows, RecordOptions{CatchUp: tc.catchUp})
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, groups)
			o := &oracle{perScrape: tc.traffic}
			w.run(18*time.Hour, func(at time.Time, write func(v float64, name string, pairs ...string)) {
				o.step(at)
				if tc.put != nil {
					tc.put(o, at, write)
					return
				}
				write(o.good, "http_requests_total", "job", "shop", "code", "200")
				write(o.bad, "http_requests_total", "job", "shop", "code", "503")
			})
			// What is recorded of a day is up to five minutes old.
			at := w.now.Add(-scrape)
			got, ok := w.value(series.BudgetRemaining)
			want := slo.BudgetLeft(o.ratio(at, period), 0.99)
			if !ok || math.Abs(got-want)*100 > tc.points+drift(o, at, 0.99) {
				t.Errorf("budget left = %.3f %%, want %.3f %% within %.1f points", got*100, want*100, tc.points)
			}
			at = at.Truncate(time.Minute) // of the last evaluation
			for _, window := range []time.Duration{5 * time.Minute, time.Hour, 6 * time.Hour} {
				got, _ := w.value(series.ErrorRatio(window))
				if want := o.ratio(at, window); math.Abs(got-want) > 1e-5+want*tc.points*0.01 {
					t.Errorf("%s = %g, want %g", series.ErrorRatio(window), got, want)
				}
			}
		})
	}
}

// drift returns how far, in points, the budget itself moved in the seven
// minutes that the recorded one may be old.
func drift(o *oracle, at time.Time, target float64) float64 {
	most := 0.0
	for back := time.Duration(0); back <= 7*time.Minute; back += scrape {
		d := slo.BudgetLeft(o.ratio(at.Add(-back), period), target) - slo.BudgetLeft(o.ratio(at, period), target)
		most = math.Max(most, math.Abs(d)*100)
	}
	return most
}

// TestCollectorsAreSummed runs the rules over the counters of three collectors,
// one of which is young and one of which goes.
func TestCollectorsAreSummed(t *testing.T) {
	flows := []slo.Flow{{Name: "checkout", Service: "shop", Objectives: []slo.Objective{dayObjective(slo.Succeed, slo.Query{})}}}
	groups, _, err := Record(flows, RecordOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, groups)
	rng := rand.New(rand.NewPCG(1, 2))
	o := &oracle{perScrape: func(time.Time) (int, int) { return 90 + rng.IntN(20), rng.IntN(3) }}
	counters := map[string]*[2]float64{"a": {}, "b": {}, "c": {}} // events, errors
	id := func(collector string) []string {
		return []string{
			series.ID, "shop-checkout-availability", series.SLOServ, "shop", series.SLOName, "checkout-availability",
			series.SLOFlow, "checkout", "collector", collector,
		}
	}
	alive := func(name string, at time.Time) bool {
		switch name {
		case "b":
			return at.Before(began.Add(13 * time.Hour)) // is taken away
		case "c":
			return !at.Before(began.Add(9 * time.Hour)) // comes later
		}
		return true
	}
	w.run(17*time.Hour, func(at time.Time, write func(v float64, name string, pairs ...string)) {
		o.step(at)
		e := o.events[len(o.events)-1]
		// Each request goes to one of those that are there.
		var there []string
		for _, name := range []string{"a", "b", "c"} {
			if alive(name, at) {
				there = append(there, name)
			}
		}
		for i := range e.good + e.bad {
			c := counters[there[rng.IntN(len(there))]]
			c[0]++
			if i < e.bad {
				c[1]++
			}
		}
		for _, name := range there {
			write(counters[name][0], series.Events, id(name)...)
			write(counters[name][1], series.Errors, id(name)...)
		}
	})
	at := w.now.Add(-scrape)
	got, _ := w.value(series.BudgetRemaining)
	if want := slo.BudgetLeft(o.ratio(at, period), 0.99); math.Abs(got-want)*100 > 0.1+drift(o, at, 0.99) {
		t.Errorf("budget left = %.3f %%, want %.3f %% within 0.1 points", got*100, want*100)
	}
	at = at.Truncate(time.Minute) // of the last evaluation
	for _, window := range []time.Duration{5 * time.Minute, time.Hour, 6 * time.Hour} {
		got, _ := w.value(series.ErrorRatio(window))
		if want := o.ratio(at, window); math.Abs(got-want) > 1e-9 {
			t.Errorf("%s = %.12g, want %.12g", series.ErrorRatio(window), got, want)
		}
	}
}

// TestPrometheusAway has Prometheus away for ten minutes, while the collector
// keeps what it counts and sends it afterwards: neither then nor when the edge
// of a window passes over that time is anything counted twice.
func TestPrometheusAway(t *testing.T) {
	flows := []slo.Flow{{Name: "checkout", Service: "shop", Objectives: []slo.Objective{dayObjective(slo.Succeed, slo.Query{})}}}
	groups, _, err := Record(flows, RecordOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, groups)
	o := &oracle{perScrape: func(at time.Time) (int, int) {
		if at.Before(began.Add(20 * time.Minute)) {
			return 90, 10 // an old incident, which must not come back
		}
		return 100, 0
	}}
	w.away = func(at time.Time) bool {
		return !at.Before(began.Add(40*time.Minute)) && at.Before(began.Add(50*time.Minute))
	}
	for minutes := 0; minutes < 180; minutes++ {
		w.run(time.Minute, func(at time.Time, write func(v float64, name string, pairs ...string)) {
			o.step(at)
			for name, v := range map[string]float64{series.Events: o.good + o.bad, series.Errors: o.bad} {
				write(v, name, series.ID, "shop-checkout-availability", series.SLOServ, "shop", "collector", "a")
			}
		})
		at := w.now.Add(-scrape).Truncate(time.Minute)
		if minutes < 10 || w.away(at) {
			continue
		}
		for _, window := range []time.Duration{5 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour} {
			got, ok := w.value(series.ErrorRatio(window))
			if want := o.ratio(at, window); !ok || math.Abs(got-want) > 1e-9 {
				t.Errorf("after %d min %s = %g, %t, want %g", minutes, series.ErrorRatio(window), got, ok, want)
			}
		}
	}
}

// TestMixedService records, in one service, an objective from metrics and one
// from counters.
func TestMixedService(t *testing.T) {
	flows := []slo.Flow{{Name: "checkout", Service: "shop", Objectives: []slo.Objective{
		dayObjective(slo.Succeed, slo.Query{}),
		func() slo.Objective {
			o := dayObjective(slo.PromQL, byCode)
			o.Name = "edge"
			o.Window = 7 * 24 * time.Hour
			return o
		}(),
	}}}
	groups, _, err := Record(flows, RecordOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, groups)
	o := &oracle{perScrape: func(time.Time) (int, int) { return 98, 2 }}
	w.run(8*time.Hour, func(at time.Time, write func(v float64, name string, pairs ...string)) {
		o.step(at)
		write(o.good, "http_requests_total", "job", "shop", "code", "200")
		write(o.bad, "http_requests_total", "job", "shop", "code", "503")
		write(o.good+o.bad, series.Events, series.ID, "shop-checkout-availability", series.SLOServ, "shop")
		write(o.bad, series.Errors, series.ID, "shop-checkout-availability", series.SLOServ, "shop")
	})
	for _, id := range []string{"shop-checkout-availability", "shop-checkout-edge"} {
		for _, window := range []time.Duration{5 * time.Minute, time.Hour, 6 * time.Hour} {
			got, ok := w.value(fmt.Sprintf("%s{%s=%q}", series.ErrorRatio(window), series.ID, id))
			if !ok || math.Abs(got-0.02) > 1e-6 {
				t.Errorf("%s of %s = %g, %t, want 0.02", series.ErrorRatio(window), id, got, ok)
			}
		}
		if got, ok := w.value(fmt.Sprintf("%s{%s=%q}", series.BudgetRemaining, series.ID, id)); !ok || math.Abs(got+1) > 1e-4 {
			t.Errorf("budget left of %s = %g, %t, want -1", id, got, ok)
		}
	}
}
