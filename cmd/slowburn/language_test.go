package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn-slo/slowburn/collector"
	"github.com/slowburn-slo/slowburn/collector/aggr"
	"github.com/slowburn-slo/slowburn/collector/store"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// logBook is a log that can be read while it is written.
type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// page returns what a page of the server says.
func page(t *testing.T, s *server, path string) string {
	t.Helper()
	resp, err := http.Get(s.address() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", path, resp.Status, err)
	}
	return string(b)
}

// everyKind is a configuration with an objective of every kind. The exclusion
// of search covers all its errors.
const everyKind = `
service: shop
defaults: {timezone: Europe/Zurich}
flows:
  checkout:
    match: POST /api/checkout
    alerts: {name: CheckoutBurns, labels: {severity: critical}}
    slos:
      - 99%% succeed
      - 95%% under 300ms
      - 99%% of 10s with 95%% succeed
      - {succeed: 99%%, window: month, name: monthly}
      - 99%% fresh every 26h
      - {promql: {bad: 'sum(increase(slowburn_flow_requests_total{flow="checkout",outcome="bad"}[$window]))',
                  total: 'sum(increase(slowburn_flow_requests_total{flow="checkout"}[$window]))'}, target: 99%%, name: asked}
      - {promql: {ratio: 'sum(rate(slowburn_flow_requests_total{flow="checkout",outcome="bad"}[$window])) / sum(rate(slowburn_flow_requests_total{flow="checkout"}[$window]))'},
         target: 90%%, name: ratio}
  search:
    match: GET /api/search
    slos: [99%% succeed]
    alerts: off
`

const excludeSearch = `exclude:
  - {from: %q, for: 40m, flows: [search], why: database upgrade}
`

// TestEveryKind runs a configuration with every kind of objective over an hour
// of history and live requests, and compares what the API says with what was
// sent.
//
// Ten requests a second came for an hour; of ten minutes of it, one in five
// failed.
func TestEveryKind(t *testing.T) {
	// Which minutes are caught up must not change between here and the start.
	for s := time.Now().Second(); s >= 12 && s < 22; s = time.Now().Second() {
		time.Sleep(time.Second)
	}
	dir := t.TempDir()
	now := time.Now().Truncate(10 * time.Second)
	from, broke, mended := now.Add(-time.Hour), now.Truncate(time.Minute).Add(-30*time.Minute), now.Truncate(time.Minute).Add(-20*time.Minute)
	excluded := fmt.Sprintf(excludeSearch, now.Add(-45*time.Minute).Truncate(5*time.Minute).UTC().Format(time.RFC3339))
	everyKind := strings.ReplaceAll(everyKind, "%%", "%")
	slos := filepath.Join(dir, "slos.yaml")
	if err := os.WriteFile(slos, []byte(everyKind+excluded), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, _, err := load([]string{slos})
	if err != nil {
		t.Fatal(err)
	}
	flows := loaded.Flows
	month, _ := flows[0].Objectives[3].Calendar.Bounds(now)
	var all, bad, monthAll, monthBad float64 // of each flow
	h := collector.History{
		Flows: flows, Dir: filepath.Join(dir, "data", "ledger"), From: from, To: now,
		Step: func(time.Time) time.Duration { return 10 * time.Second },
		Events: func(from, to time.Time) []aggr.Event {
			failed := uint32(0)
			if !from.Before(broke) && from.Before(mended) {
				failed = 20
			}
			all, bad = all+100, bad+float64(failed)
			if !to.Before(month) {
				monthAll, monthBad = monthAll+100, monthBad+float64(failed)
			}
			var out []aggr.Event
			for flow := range int32(2) {
				out = append(out, aggr.Event{Flow: flow, Weight: 100 - failed, Latency: 1e7})
				if failed > 0 {
					out = append(out, aggr.Event{Flow: flow, Weight: failed, Latency: 1e9, Bad: true})
				}
			}
			return out
		},
	}
	if err := store.Backfill(filepath.Join(dir, "data", "tsdb"), nil, func(app storage.Appender) error { return h.Write(app) }); err != nil {
		t.Fatal(err)
	}
	// The process before counted by PromQL until eight minutes ago.
	const missed = 8
	until := time.Now().Add(-20 * time.Second).Truncate(time.Minute).Add(-missed * time.Minute)
	minutes, err := json.Marshal(map[string]any{
		"shop-checkout-asked": map[string]any{"until": until},
		"shop-checkout-ratio": map[string]any{"until": until},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "data", "probe"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "probe", "minutes.json"), minutes, 0o600); err != nil {
		t.Fatal(err)
	}

	var logs logBook
	s, _ := startWith(t, dir, "", logs.logger(), func(*config) {})
	checkout, search := send(t, exporters(t, s)["grpc"], "shop", 700)
	bad += float64(checkout.errors)
	all += float64(checkout.requests)
	monthBad, monthAll = monthBad+float64(checkout.errors), monthAll+float64(checkout.requests)
	slow := 60*20 + checkout.over300ms

	want := map[string][2]int{ // events, errors
		"checkout-availability":  {int(all), int(bad)},
		"checkout-latency-300ms": {int(all), slow},
		"checkout-monthly":       {int(all), int(bad)},
		"checkout-asked":         {missed * 600, 0}, // of the minutes caught up
		"checkout-ratio":         {missed * 1000, 0},
	}
	eventually(t, 10*time.Second, func() error {
		events, errs := instant(t, s.address(), "slo_events_total", "sloth_slo"), instant(t, s.address(), "slo_errors_total", "sloth_slo")
		for id, w := range want {
			if int(events[id]) != w[0] || int(errs[id]) != w[1] {
				return fmt.Errorf("%s: %g errors of %g events, want %d of %d\n%s", id, errs[id], events[id], w[1], w[0], &logs)
			}
		}
		// Each 10 s of the ten bad minutes; the hour has 360. A slice that ended
		// since the start may be bad as well, by the errors just sent.
		n, slices := errs["checkout-availability-slices"], events["checkout-availability-slices"]
		if since := max(0, slices-360); n < 60 || n > 60+since || slices < 359 {
			return fmt.Errorf("slices: %g bad of %g, want 60 of about 360 and at most %g since; of all %v", n, slices, since, events)
		}
		if n := errs["checkout-fresh-26h"]; n != 0 || events["checkout-fresh-26h"] < 59 {
			return fmt.Errorf("fresh: %g stale of %g minutes, want none of about 60", n, events["checkout-fresh-26h"])
		}
		if n := errs["search-availability"]; n != 0 || events["search-availability"] < 700+20*600 {
			return fmt.Errorf("search: %g errors of %g requests, want none but those that are excluded", n, events["search-availability"])
		}
		return nil
	})

	left := func(want map[string]float64) func() error {
		return func() error {
			got := instant(t, s.address(), "slo:period_error_budget_remaining:ratio", "sloth_slo")
			for id, w := range want {
				if math.Abs(got[id]-w) > 1e-9 {
					return fmt.Errorf("budget left of %s = %g, want %g", id, got[id], w)
				}
			}
			return nil
		}
	}
	eventually(t, 15*time.Second, left(map[string]float64{
		"checkout-availability": 1 - bad/all/0.01,
		"checkout-monthly":      1 - monthBad/monthAll/0.01,
		"checkout-asked":        1,
		"checkout-ratio":        1,
		"checkout-fresh-26h":    1,
		"search-availability":   1,
	}))

	// Taking the exclusion back recomputes the budget, and nothing else.
	began := time.Now()
	if err := os.WriteFile(slos, []byte(everyKind), 0o600); err != nil {
		t.Fatal(err)
	}
	hadBad := 60 * 20.0
	eventually(t, 5*time.Second, left(map[string]float64{
		"search-availability":   1 - hadBad/(3600*10+float64(search.requests))/0.01,
		"checkout-availability": 1 - bad/all/0.01,
	}))
	t.Logf("an exclusion taken back is out of the budget after %s", time.Since(began).Round(100*time.Millisecond))

	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct {
					Name   string
					Labels map[string]string
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(page(t, s, "/api/v1/rules")), &rules); err != nil {
		t.Fatal(err)
	}
	missing := 0 // rules of traffic that does not come, which are of a flow
	for _, g := range rules.Data.Groups {
		for _, r := range g.Rules {
			if r.Name == series.AlertNoTraffic {
				missing++
				continue
			}
			if r.Name != "CheckoutBurns" || r.Labels["severity"] != "critical" || r.Labels["sloth_severity"] == "" {
				t.Errorf("rule %+v, want those of checkout under the name and label it was given", r)
			}
		}
	}
	if n := len(rules.Data.Groups); n != 8 || missing != 1 {
		t.Errorf("%d groups of rules, %d of them of missing traffic; want one for each objective of checkout, one of its traffic and none for search", n, missing)
	}
	text := page(t, s, "/flows/shop/checkout")
	for _, part := range []string{
		"99% of 10s with 95% succeed over 30d", "99% succeed per month (Europe/Zurich)", month.Month().String() + "&#39;s budget",
		"99% fresh every 26h", "0 of 4,800 events", "share of bad",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the page of checkout does not say %q", part)
		}
	}
	if !strings.Contains(page(t, s, "/metrics"), `slowburn_promql_failing`) {
		t.Error("/metrics does not say whether PromQL objectives fail")
	}
	if strings.Contains(logs.String(), "level=ERROR") {
		t.Errorf("the log has errors:\n%s", &logs)
	}
}

// TestEditWhileRunning edits and renames SLOs of a running server: what changes
// is in force within five seconds, what stays keeps its history, and what is
// renamed says how to keep it.
func TestEditWhileRunning(t *testing.T) {
	dir := t.TempDir()
	var logs logBook
	s, _ := startWith(t, dir, shopYAML, logs.logger(), func(*config) {})
	send(t, exporters(t, s)["grpc"], "shop", 100)
	counts := func(want map[string]float64) func() error {
		return func() error {
			if got := instant(t, s.address(), "slo_events_total and on (sloth_id) slo:objective:ratio", "sloth_slo"); !maps.Equal(got, want) {
				return fmt.Errorf("events are %v, want %v\n%s", got, want, &logs)
			}
			return nil
		}
	}
	eventually(t, 15*time.Second, counts(map[string]float64{
		"checkout-availability": 100, "checkout-latency-300ms": 100, "search-availability": 100, "search-latency-1s": 100,
	}))
	edit := func(what string, old, changed string, within func() error) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, "slos.yaml"))
		if err != nil || !strings.Contains(string(data), old) {
			t.Fatalf("slos.yaml has no %q: %v", old, err)
		}
		began := time.Now()
		if err := os.WriteFile(filepath.Join(dir, "slos.yaml"), []byte(strings.Replace(string(data), old, changed, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, within)
		t.Logf("%s: in force after %s", what, time.Since(began).Round(100*time.Millisecond))
	}
	objective := func(want float64) func() error {
		return func() error {
			if got := instant(t, s.address(), "slo:objective:ratio", "sloth_slo")["checkout-availability"]; got != want {
				return fmt.Errorf("objective of checkout is %g, want %g\n%s", got, want, &logs)
			}
			return nil
		}
	}
	said := func(parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(logs.String(), part) {
				t.Errorf("the log does not say %q:\n%s", part, &logs)
			}
		}
	}

	edit("another target", "99.9% succeed", "99.5% succeed", objective(0.995))
	if strings.Contains(logs.String(), "renamed") || strings.Contains(logs.String(), "SLOs are") {
		t.Errorf("the log speaks of SLOs that came or went with another target:\n%s", &logs)
	}

	edit("another name", "  search:\n", "  find:\n", func() error {
		if text := page(t, s, "/"); !strings.Contains(text, "SLOs seem to have been renamed.") {
			return fmt.Errorf("no note on the page")
		}
		return nil
	})
	said(
		`msg="an SLO seems to have been renamed" history="shop-search-availability is shop-find-availability now and begins anew.`,
		`write id: search-availability on the objective at `+filepath.Join(dir, "slos.yaml")+`:10:9.`,
		`shop-search-latency-1s is shop-find-latency-1s now`,
		`msg="SLOs are gone; their budgets are kept aside for 7 days, their series as long as any" count=2 slos="shop-search-availability, shop-search-latency-1s"`,
		`msg="SLOs are new; their history begins now" count=2 slos="shop-find-availability, shop-find-latency-1s"`,
	)
	send(t, exporters(t, s)["grpc"], "shop", 10)
	eventually(t, 15*time.Second, func() error {
		got := instant(t, s.address(), "slo_events_total", "sloth_slo")
		if got["checkout-availability"] != 110 || got["find-availability"] != 10 {
			return fmt.Errorf("events are %v, want 110 of checkout, which stayed, and 10 of find, which is new", got)
		}
		return nil
	})

	edit("the old id", "{succeed: 99.5%, window: 7d}", "{succeed: 99.5%, window: 7d, id: search-availability}", func() error {
		state, ok := s.pipeline.Ledger().State("shop-search-availability")
		if !ok || state.Events != 100 {
			return fmt.Errorf("search-availability has %d events, want the 100 of before", state.Events)
		}
		if text := page(t, s, "/"); strings.Contains(text, "shop-search-availability is") || !strings.Contains(text, "shop-search-latency-1s is") {
			return fmt.Errorf("the page's note is not of the other objective alone")
		}
		return nil
	})
	said(`msg="SLOs are back and go on with the history kept for them" count=1 slos=shop-search-availability`)
}

// TestSeveralPaths runs files and directories as one configuration, and takes
// up a change in any of them.
func TestSeveralPaths(t *testing.T) {
	dir := t.TempDir()
	team := filepath.Join(dir, "team")
	if err := os.Mkdir(team, 0o700); err != nil {
		t.Fatal(err)
	}
	login := filepath.Join(team, "login.yaml")
	write := func(target string) {
		if err := os.WriteFile(login, []byte("service: accounts\nflows:\n  login:\n    match: POST /api/login\n    slos: ["+target+"]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("99% succeed")
	var logs logBook
	s, _ := startWith(t, dir, shopYAML, logs.logger(), func(c *config) { c.slos = append(c.slos, team) })
	slos := func(want ...string) func() error {
		return func() error {
			got := slices.Sorted(maps.Keys(instant(t, s.address(), "slo_events_total", "sloth_id")))
			if !slices.Equal(got, want) {
				return fmt.Errorf("SLOs are %v, want %v\n%s", got, want, &logs)
			}
			return nil
		}
	}
	shop := []string{"shop-checkout-availability", "shop-checkout-latency-300ms", "shop-search-availability", "shop-search-latency-1s"}
	eventually(t, 5*time.Second, slos(append([]string{"accounts-login-availability"}, shop...)...))
	write("95% under 1s")
	eventually(t, 5*time.Second, func() error {
		if got := instant(t, s.address(), "sloth_slo_info", "sloth_id"); got["accounts-login-latency-1s"] != 1 {
			return fmt.Errorf("SLOs are %v, want the new one of the second path", got)
		}
		return nil
	})
}

// TestWarnings: what is legal but can hardly be meant is logged at the start
// and with each reload.
func TestWarnings(t *testing.T) {
	dir := t.TempDir()
	overlapping := shopYAML + "  everything:\n    match: {http.route: /api/*}\n    slos: [99% succeed]\n"
	loaded, _, err := load(writeFiles(t, dir, overlapping))
	if err != nil || len(loaded.Warnings) == 0 {
		t.Fatalf("two flows that overlap: warnings %v, error %v; want a warning", loaded.Warnings, err)
	}
	var logs logBook
	startWith(t, dir, overlapping, logs.logger(), func(*config) {})
	want := loaded.Warnings[0].String()
	if got := strings.Count(logs.String(), want); got != 1 {
		t.Errorf("after the start the log says %q %d times, want once:\n%s", want, got, &logs)
	}
	writeFiles(t, dir, strings.Replace(overlapping, "99.9%", "99.8%", 1))
	eventually(t, 5*time.Second, func() error {
		if got := strings.Count(logs.String(), want); got != 2 {
			return fmt.Errorf("after a reload the log says %q %d times, want twice:\n%s", want, got, &logs)
		}
		return nil
	})
}

func writeFiles(t *testing.T, dir, yaml string) []string {
	t.Helper()
	slos := filepath.Join(dir, "slos.yaml")
	if err := os.WriteFile(slos, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{slos}
}

// TestPrometheusElsewhere counts by a server that is given, says on the pages
// that it does not answer, and stays ready.
func TestPrometheusElsewhere(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.FormValue("query")+" by "+r.Header.Get("Authorization"))
		value := "120"
		if strings.Contains(r.FormValue("query"), "bad") {
			value = "3"
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,%q]}]}}`, value)
	}))
	defer srv.Close()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	const yaml = "service: shop\nflows:\n  gateway:\n    slos:\n      - {promql: {bad: 'sum(rate(bad[$window]))', total: 'sum(rate(all[$window]))'}, target: 99%, name: good}\n"
	ago := func(minutes int) {
		until := time.Now().Add(-20 * time.Second).Truncate(time.Minute).Add(time.Duration(-minutes) * time.Minute)
		data := fmt.Sprintf(`{"shop-gateway-good": {"until": %q}}`, until.UTC().Format(time.RFC3339))
		if err := os.MkdirAll(filepath.Join(dir, "data", "probe"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "data", "probe", "minutes.json"), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ago(5)
	var logs logBook
	edit := func(c *config) {
		c.prometheusURL, c.prometheusToken, c.prometheusEvery = srv.URL, token, time.Minute
	}
	s, stop := startWith(t, dir, yaml, logs.logger(), edit)
	eventually(t, 10*time.Second, func() error {
		events, errs := instant(t, s.address(), "slo_events_total", "sloth_slo")["gateway-good"], instant(t, s.address(), "slo_errors_total", "sloth_slo")["gateway-good"]
		if events < 5*120 || errs*40 != events {
			return fmt.Errorf("%g bad of %g events, want 3 of 120 in each of five minutes\n%s", errs, events, &logs)
		}
		return nil
	})
	mu.Lock()
	if len(asked) == 0 || asked[0] != "(sum(rate(all[2m]))) * 60 by Bearer secret" {
		t.Errorf("asked %q, want the rate over a minute and a scrape, with the token", asked)
	}
	mu.Unlock()
	stop()

	srv.Close()
	ago(3)
	s, _ = startWith(t, dir, yaml, logs.logger(), edit)
	eventually(t, 10*time.Second, func() error {
		if text := page(t, s, "/"); !strings.Contains(text, "shop-gateway-good cannot be counted since ") || !strings.Contains(text, "connection refused") {
			return fmt.Errorf("the page does not say that the Prometheus does not answer")
		}
		return nil
	})
	if text := page(t, s, "/metrics"); !strings.Contains(text, "\nslowburn_promql_failing 1\n") {
		t.Error("/metrics does not say slowburn_promql_failing 1")
	}
	eventually(t, 12*time.Second, func() error {
		resp, err := http.Get(s.address() + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			b, _ := io.ReadAll(resp.Body)
			return fmt.Errorf("readyz: %s: %s", resp.Status, b)
		}
		return nil
	})
	if strings.Contains(logs.String(), "secret") {
		t.Error("the log shows the token")
	}
}
