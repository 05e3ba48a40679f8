package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/slowburn-slo/slowburn/collector/store"
	"github.com/slowburn-slo/slowburn/dashboards/api"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

// explain runs the command over a file of the given text.
func explain(t *testing.T, text string, args ...string) (stdout string, err error) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(testWriter{t})
	root.SetIn(strings.NewReader(text))
	root.SetArgs(append([]string{"explain", "-"}, args...))
	err = root.ExecuteContext(t.Context())
	return out.String(), err
}

// counts is a server with the query API over a database in which counters grew
// until at, one sample a minute.
func counts(t *testing.T, at time.Time, grow map[string]struct {
	labels    []string
	perMinute float64
	since     time.Duration
},
) string {
	t.Helper()
	db, err := store.Open(store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	const longest = 7 * 24 * 60
	app := db.Appender(t.Context())
	for minute := -longest; minute <= 0; minute++ {
		for metric, g := range grow {
			age := float64(minute) + g.since.Minutes()
			if age < 0 {
				continue
			}
			name, _, _ := strings.Cut(metric, " ")
			l := labels.FromStrings(append([]string{model.MetricNameLabel, name}, g.labels...)...)
			if _, err := app.Append(0, l, at.Add(time.Duration(minute)*time.Minute).UnixMilli(), age*g.perMinute); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	queries, err := api.New(api.Options{Engine: db.Engine(), Queryable: db, Exemplars: db})
	if err != nil {
		t.Fatal(err)
	}
	r := chi.NewRouter()
	r.Mount("/api/v1", queries)
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestExplainCountedTraffic asks a real query API over real counters: of a
// flow that is a week old, one that is two hours old, and an SLO in PromQL.
func TestExplainCountedTraffic(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	url := counts(t, at, map[string]struct {
		labels    []string
		perMinute float64
		since     time.Duration
	}{
		series.FlowRequests + " good": {[]string{series.Service, "shop", series.FlowName, "checkout", series.Outcome, series.Good}, 1140, 7 * 24 * time.Hour},
		series.FlowRequests + " bad":  {[]string{series.Service, "shop", series.FlowName, "checkout", series.Outcome, series.Bad}, 60, 7 * 24 * time.Hour},
		series.FlowRequests + " new":  {[]string{series.Service, "shop", series.FlowName, "search", series.Outcome, series.Good}, 3, 2 * time.Hour},
		series.Events + " ":           {[]string{series.ID, "shop-queue-promql"}, 0.1, 24 * time.Hour},
	})
	out, err := explain(t, `
service: shop
flows:
  checkout: {match: /checkout, slos: [99.9% succeed]}
  search: {match: /search, slos: [99.9% succeed]}
  login: {match: /login, slos: [99.9% succeed]}
  queue: {slos: [{promql: {bad: 'rate(b[$window])', total: 'rate(t[$window])'}, target: 90%}]}
`, "--url", url, "--at", at.Format(time.RFC3339), "--traffic", "login=2/s")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.SplitSeq(out, "\n") {
		if strings.Contains(line, "/s ") || strings.Contains(line, "/min ") || strings.Contains(line, "/h ") {
			got = append(got, strings.Join(strings.Fields(line), " "))
		}
	}
	want := []string{
		"20/s in the last 7 d 51,840,000 51,840 1,728 52 s",
		"3/min in the last 2 h 129,600 130 4.3 1 min",
		"2/s 5,184,000 5,184 173 52 s",
		"6/h in the last 1 d 4,320 432 14 30 min",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("explain says\n%s\nwant\n%s\nin\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), out)
	}
}

// TestExplainAlerts shows the alerts besides those by burn rate, and which of
// these are lowered.
func TestExplainAlerts(t *testing.T) {
	out, err := explain(t, `
service: shop
defaults: {alerts: {outage: true, spent: [50%, 75%, 100%], runs_out: true}}
flows:
  checkout:
    match: /checkout
    slos:
      - 99.9% succeed
      - {faster_than: 1s, for: 90%, window: month, alerts: {spent: 80%}}
      - {succeed: 99%, window: 7d, name: week, alerts: {tiers: off, runs_out: false}}
      - 40% of minutes with 95% succeed
  search:
    match: /search
    where: [tenant.id, region]
    alerts: off
    slos: [99% succeed, {succeed: 98%, window: 7d, name: week, alerts: {outage: true}}]
  login: {match: /login, where: off, alerts: off, slos: [99% succeed]}
  queue: {slos: [{promql: {ratio: 'avg_over_time(r[$window])'}, target: 95%}]}
`, "--traffic", "2/s", "--traffic", "search=30/min")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	keep := false
	for line := range strings.SplitSeq(out, "\n") {
		begins := func(labels ...string) bool {
			return slices.ContainsFunc(labels, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(line), l+" ") })
		}
		switch {
		case strings.HasPrefix(line, "How to read"):
			keep = false
		case strings.HasSuffix(line, ")") && strings.Contains(line, "   ("):
			got, keep = append(got, strings.Fields(line)[len(strings.Fields(line))-1]), false
		case begins("Where", "Outage", "Spent", "Runs", "Lowered:", "2/s", "30/min"), begins("Alerts") && !begins("Alerts   each"):
			got, keep = append(got, line), true
		case strings.TrimSpace(line) == "", begins("Counts", "Failed", "In"):
			keep = false
		case keep:
			got = append(got, line)
		}
	}
	const want = `(-:5:3)
  Where    what bad requests have in common is sought in service.version, http.route,
           http.response.status_code, error.type, deployment.environment.name,
           service.instance.id, host.name, cloud.region, peer.service, server.address,
           tenant.id
  Alerts   pages to the channel of the webhook, tickets to the channel of the webhook
(shop-checkout-availability)
      2/s             5,184,000        5,184        173                       20 s
    Outage   pages within 20 s when nearly all requests fail: nine in ten, of one a second
             at least.
    Spent    a ticket when what is spent of the budget reaches 50%, 75% or 100%.
    Runs out a ticket when the budget, burning on as it does, will be gone within 7d12h, a
             quarter of its window.
(shop-checkout-latency-1s)
      2/s                    5,184,000      518,400     17,280                       20 s
      Lowered: 14.4 to 5, 6 to 5. When everything is bad 90% burns at 10, so that 50% being
      bad is enough.
    Outage   pages within 20 s when nearly all requests take longer than 1s: nine in ten, of
             one a second at least.
    Spent    a ticket when what is spent of the budget reaches 80%.
    Runs out a ticket when the budget, burning on as it does, will be gone before the month
             is over.
(shop-checkout-week)
      2/s            1,209,600       12,096      1,728                       20 s
    Alerts   none by burn rate
    Outage   pages within 20 s when nearly all requests fail: nine in ten, of one a second
             at least.
    Spent    a ticket when what is spent of the budget reaches 50%, 75% or 100%.
(shop-checkout-availability-slices)
      Lowered: 14.4 to 1, 6 to 1, 3 to 1. When everything is bad 40% burns at 1.7, so that
      60% being bad is enough.
    Spent    a ticket when what is spent of the budget reaches 50%, 75% or 100%.
    Runs out a ticket when the budget, burning on as it does, will be gone within 7d12h, a
             quarter of its window.
(-:12:3)
  Where    what bad requests have in common is sought in tenant.id, region
  Alerts   pages to the channel of the webhook, tickets to the channel of the webhook
(shop-search-availability)
      30/min          1,296,000       12,960        432                       none
    Alerts   off
(shop-search-week)
      30/min           302,400        6,048        864                       none
    Alerts   none by burn rate
    Outage   pages within 20 s when nearly all requests fail: nine in ten, of one a second
             at least.
(-:17:3)
  Where    off: what bad requests have in common is not sought
(shop-login-availability)
      2/s             5,184,000       51,840      1,728                       none
    Alerts   off
(-:18:3)
  Alerts   pages to the channel of the webhook, tickets to the channel of the webhook
(shop-queue-promql)
      Lowered: 14.4 to 10. When everything is bad 95% burns at 20, so that 50% being bad is
      enough.
    Spent    a ticket when what is spent of the budget reaches 50%, 75% or 100%.
    Runs out a ticket when the budget, burning on as it does, will be gone within 7d12h, a
             quarter of its window.
`
	if s := strings.Join(got, "\n"); s != strings.TrimSpace(want) {
		t.Errorf("explain says\n%s\nwant\n%s", s, want)
	}
}

// TestExplainNoTraffic asks what cannot be asked.
func TestExplainNoTraffic(t *testing.T) {
	const text = "service: shop\nflows: {checkout: {match: /checkout, slos: [99.9% succeed]}}\n"
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	_, err := explain(t, text, "--url", srv.URL)
	if err == nil || !strings.HasPrefix(err.Error(), "--url: ") {
		t.Errorf("explain = %v, want an error of --url", err)
	}
	empty := counts(t, time.Now(), nil)
	out, err := explain(t, text, "--url", empty)
	if err != nil || !strings.Contains(out, "\n      100/s ") {
		t.Errorf("explain = %v, want the usual rates where nothing was counted, got\n%s", err, out)
	}
}

// FuzzExplain holds explain to every configuration that can be loaded: it names
// each SLO, and writes no number that is none.
func FuzzExplain(f *testing.F) {
	doc, err := os.ReadFile(languageDoc)
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range block.FindAllSubmatch(doc, -1) {
		if wrap := wraps[string(m[1])]; wrap != nil {
			f.Add(wrap(string(m[2])))
		}
	}
	at := time.Date(2026, 3, 28, 23, 30, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		config, err := spec.Parse("f.yaml", []byte(text))
		if err != nil {
			return
		}
		e := explainer{at: at}
		for i := range config.Flows {
			e.flow(&config.Flows[i])
		}
		for _, s := range slo.All(config.Flows) {
			if !strings.Contains(e.String(), "("+s.ID()+")") {
				t.Errorf("explain does not name %s:\n%s", s.ID(), e.String())
			}
		}
		for _, bad := range []string{"NaN", "Inf", "%!"} {
			if strings.Contains(e.String(), bad) && !strings.Contains(text, bad) {
				t.Errorf("explain writes %s:\n%s", bad, e.String())
			}
		}
	})
}
