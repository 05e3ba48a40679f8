package web

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/slowburn-slo/slowburn/dashboards/read/readtest"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// kinds is a shop with an objective of every kind: of a calendar month, of good
// minutes, fresh, by PromQL, and one that is excluded at the time given.
func kinds(tb testing.TB, now time.Time) fixture {
	tb.Helper()
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		tb.Fatal(err)
	}
	pos := func(line int) slo.Pos { return slo.Pos{File: "slos.yaml", Line: line, Column: 9} }
	with := func(f slo.Flow, objectives ...slo.Objective) slo.Flow {
		f.Objectives = nil
		for i, o := range objectives {
			o.Window, o.Pos = slo.DefaultWindow, pos(7+i)
			o.Tiers = slo.Tiers(o.Target, o.Window)
			f.Objectives = append(f.Objectives, o)
		}
		return f
	}
	counted := func(f map[string]float64, events float64, period float64) map[string]float64 {
		f[series.Errors] = f[series.Errors] * events / f[series.Events]
		f[series.Events] = events
		f[series.PeriodBurnRate] = period
		return f
	}
	checkout := with(readtest.FlowOf("shop", "checkout", 0.999, 0),
		slo.Objective{Name: "monthly", Target: 0.999, Calendar: slo.Calendar{Unit: slo.Month, Zone: zurich}},
		slo.Objective{Name: "minutes", Kind: slo.FasterThan, Threshold: 300 * time.Millisecond, Slice: time.Minute, SliceTarget: 0.95, Target: 0.995},
	)
	nightly := with(readtest.FlowOf("billing", "settle-orders", 0.99, 0), slo.Objective{Name: "fresh", Kind: slo.Fresh, Slice: time.Minute, Threshold: 26 * time.Hour, Target: 0.99})
	nightly.Match = slo.Selector{{Key: slo.KeyName, Any: []slo.Pattern{{Text: "settle *"}}}}
	gateway := with(readtest.FlowOf("gateway", "requests", 0.99, 0),
		slo.Objective{
			Name: "availability", ID: "requests-availability", Kind: slo.PromQL, Target: 0.99,
			Query: slo.Query{
				Bad:   `sum(rate(http_requests_total{job="gateway",code=~"5.."}[$window]))`,
				Total: `sum(rate(http_requests_total{job="gateway"}[$window]))`,
			},
		},
		slo.Objective{Name: "ratio", Kind: slo.PromQL, Target: 0.95, Query: slo.Query{Ratio: `1 - avg_over_time(probe_success{job="gateway"}[$window])`}},
	)
	gateway.Match = nil
	search := readtest.FlowOf("shop", "search", 0.995, 0)
	search.Exclude = []slo.Exclusion{{From: now.Add(-time.Hour), For: 3 * time.Hour, Why: "database upgrade"}}
	login := readtest.FlowOf("shop", "login", 0.999, 0)
	login.Exclude = []slo.Exclusion{{From: now.Add(72 * time.Hour), For: time.Hour, Why: "backups"}}
	silent := readtest.FlowOf("shop", "browse", 0.99, 0)
	silent.Objectives[0].Tiers = nil

	quick := map[time.Duration]uint64{80 * time.Millisecond: 360, 230 * time.Millisecond: 40, 600 * time.Millisecond: 18}
	return fixture{
		scripts: []readtest.Script{
			{Flow: checkout, PerFlush: 418, Latencies: quick, SLOs: map[string]map[string]float64{
				"monthly": counted(readtest.Figures(0.999, 0.31, 0.0004, 0.0004), 812_345, 0.69),
				"minutes": counted(readtest.Figures(0.995, 0.8, 0.25, 0.02), 43_200, 0.2),
			}},
			// Nothing for a day is what this one is about: it is not idle.
			{Flow: nightly, SLOs: map[string]map[string]float64{"fresh": counted(readtest.Figures(0.99, 0.5, 1, 1), 43_200, 0.5)}},
			{Flow: gateway, SLOs: map[string]map[string]float64{
				"availability": counted(readtest.Figures(0.99, 0.93, 0.002, 0.002), 1_234_567, 0.07),
				"ratio":        counted(readtest.Figures(0.95, 0.4, 0.03, 0.03), 43_200_000, 0.6),
			}},
			{Flow: search, PerFlush: 62, Latencies: quick, SLOs: map[string]map[string]float64{"availability": readtest.Figures(0.995, 0.64, 0.2, 0.2)}},
			{Flow: login, PerFlush: 93, Latencies: quick, SLOs: map[string]map[string]float64{"availability": readtest.Figures(0.999, 0.97, 0, 0)}},
			{Flow: silent, PerFlush: 93, Latencies: quick, SLOs: map[string]map[string]float64{"availability": readtest.Figures(0.99, 0.97, 0, 0)}},
		},
		alerts: []Alert{
			{SLO: "billing-settle-orders-fresh", Severity: slo.Page, Since: now.Add(-11 * time.Minute), Summary: "no success for over 26 h"},
		},
	}
}

// TestKinds holds what the first page says of each kind of objective.
func TestKinds(t *testing.T) {
	now := time.Now()
	shop := kinds(t, now)
	_, doc := get(t, newSite(t, shop.options(t)), "/")
	zurich := shop.scripts[0].Flow.Objectives[0].Calendar
	_, end := zurich.Bounds(now)
	until := words.Clock(now.Add(2*time.Hour), now)
	want := []string{
		"settle-orders billing · burning 99% fresh every 26h 0.0% 50% gone in 3 h 100× – – – 0/s –",
		"checkout shop · spending 99.9% succeed · " + words.Period(zurich, now) + " 99.96% 31% lasts to " + end.Add(-time.Second).Format("2 Jan") +
			" 0.4× 80 ms 234 ms 605 ms 42/s 0% 99.5% of minutes with 95% under 300ms 75.0% 80% gone in 11 h 50×",
		"browse shop · calm 99% succeed 100% 97% lasts 0× 80 ms 234 ms 605 ms 9.3/s 0%",
		"login shop · calm 99.9% succeed 100% 97% lasts 0× 80 ms 234 ms 605 ms 9.3/s 0%",
		"requests gateway · calm 99% good 99.80% 93% lasts 0.2× counted by PromQL 95% good 97.0% 40% lasts 0.6×",
		"search shop · excluded excluded until " + until + ": database upgrade 99.5% succeed 80.0% 64% 40× 80 ms 234 ms 605 ms 6.2/s 0%",
	}
	if rows := texts(all(doc, tag("tbody"))); !slices.Equal(rows, want) {
		t.Errorf("rows:\n%s\nwant:\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"))
	}
}

// TestKindPages holds what the page of a flow says of each kind.
func TestKindPages(t *testing.T) {
	now := time.Now()
	shop := kinds(t, now)
	h := newSite(t, shop.options(t))
	month := words.Period(shop.scripts[0].Flow.Objectives[0].Calendar, now)
	for _, tc := range []struct {
		path      string
		want, not []string // to be found, and not to be
	}{
		{
			path: "/flows/shop/checkout",
			want: []string{
				"99.9% succeed per month (Europe/Zurich) calm 0.4 of every 1,000 requests fail; 1 may. Since counting began: 561 of 812,345 requests.",
				month + "'s budget: 31% left lasts to",
				"30d 0.07% 0.7× " + month + " 0.07% 0.7×",
				"99.5% of minutes with 95% under 300ms over 30d spending 250 of every 1,000 minutes have fewer than 95% under 300ms; 5 may. " +
					"Since counting began: 43 of 43,200 minutes.",
			},
		},
		{
			path: "/flows/billing/settle-orders",
			want: []string{
				"name settle * on billing", "rate 0/s errors – p50 –",
				"100 of every 100 minutes have no success in the 26 h before; 1 may. Since counting began: 216 of 43,200 minutes.",
			},
		},
		{
			path: "/flows/gateway/requests",
			want: []string{
				"requests counted by PromQL on gateway", "slowburn counts no requests of this flow.",
				"0.2 of every 100 events are bad; 1 may be. Since counting began: 865 of 1,234,567 events.",
				`bad sum(rate(http_requests_total{job="gateway",code=~"5.."}[$window])) total sum(rate(http_requests_total{job="gateway"}[$window]))`,
				"3.0% is bad; 5.0% may be. 40% left", "share of bad 1 - avg_over_time(",
			},
			not: []string{"p50", "43,200,000", "every request"},
		},
		{
			path: "/flows/shop/search",
			want: []string{"excluded until " + words.Clock(now.Add(2*time.Hour), now) + ": database upgrade; what happens then does not count"},
			not:  []string{"spending"},
		},
		{
			path: "/flows/shop/login",
			want: []string{"excluded next from " + words.Clock(now.Add(72*time.Hour), now) + " for 1 h: backups; what happens then does not count"},
		},
		{path: "/flows/shop/browse", want: []string{"no alerts"}, not: []string{"page above"}},
	} {
		_, doc := get(t, h, tc.path)
		got := text(all(doc, tag("main"))[0])
		for _, want := range tc.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s lacks %q:\n%s", tc.path, want, got)
			}
		}
		for _, no := range tc.not {
			if strings.Contains(got, no) {
				t.Errorf("%s says %q:\n%s", tc.path, no, got)
			}
		}
	}
}

// TestExcludedHasNoPace: what happens while a flow is excluded spends nothing,
// so that no chart says when the budget will be gone.
func TestExcludedHasNoPace(t *testing.T) {
	h := newSite(t, kinds(t, time.Now()).options(t))
	for path, want := range map[string]bool{"/flows/shop/search/data": false, "/flows/shop/login/data": true} {
		_, charts := getData(t, h, path)
		if got := charts["budget-0"].Ahead != nil; got != want {
			t.Errorf("GET %s has a pace: %t, want %t", path, got, want)
		}
	}
}

// TestNothingCountedYet: a shop that has only PromQL objectives is not told to
// send traces.
func TestNothingCountedYet(t *testing.T) {
	every := kinds(t, time.Now()).scripts
	queries := fixture{scripts: []readtest.Script{{Flow: every[2].Flow}}}
	_, doc := get(t, newSite(t, queries.options(t)), "/")
	got := text(all(doc, tag("main"))[0])
	if want := "Nothing has been counted yet"; only(t, doc, tag("h1")) != want || strings.Contains(got, "OTEL_") || !strings.Contains(got, "waits for its query") {
		t.Errorf("page = %s\nwant %q, what it waits for, and nothing of exporters", got, want)
	}
	both := fixture{scripts: []readtest.Script{{Flow: every[2].Flow}, {Flow: every[0].Flow}}}
	_, doc = get(t, newSite(t, both.options(t)), "/")
	if got := text(all(doc, tag("main"))[0]); !strings.Contains(got, "export OTEL_SERVICE_NAME=shop ") {
		t.Errorf("page = %s\nwant the service of the flow that waits for traces", got)
	}
}

// TestNotices: what slowburn has to say of itself stands on every page.
func TestNotices(t *testing.T) {
	opt := incident().options(t)
	opt.Notices = func() []Notice { return []Notice{{What: "An SLO was renamed.", Detail: "<old> is <new>"}} }
	h := newSite(t, opt)
	for _, path := range []string{"/", "/flows/shop/checkout"} {
		_, doc := get(t, h, path)
		if got := texts(all(doc, class("notice"))); len(got) != 2 || got[1] != "An SLO was renamed. <old> is <new>" {
			t.Errorf("%s: notices = %q, want the one", path, got)
		}
	}
}

// TestSpentMonth: a calendar budget that is spent says when there is a new one.
func TestSpentMonth(t *testing.T) {
	f := kinds(t, time.Now())
	f.scripts, f.alerts = f.scripts[:1], nil
	f.scripts[0].SLOs["monthly"][series.BudgetRemaining] = -0.5
	_, doc := get(t, newSite(t, f.options(t)), "/")
	_, end := f.scripts[0].Flow.Objectives[0].Calendar.Bounds(time.Now())
	want := fmt.Sprintf("spent 50%% over until %s", end.Format("2 Jan"))
	if got := text(all(doc, func(n *html.Node) bool { return n.Data == "tbody" })[0]); !strings.Contains(got, want) {
		t.Errorf("row = %q, want %q in it", got, want)
	}
}
