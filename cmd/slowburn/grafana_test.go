package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	promapi "github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn-slo/slowburn/alerts/rulegen"
	"github.com/slowburn-slo/slowburn/collector"
	"github.com/slowburn-slo/slowburn/collector/aggr"
	"github.com/slowburn-slo/slowburn/collector/store"
	"github.com/slowburn-slo/slowburn/collector/synth"
	"github.com/slowburn-slo/slowburn/dashboards/api"
	"github.com/slowburn-slo/slowburn/dashboards/grafana"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// variedSLOs is the configuration whose dashboards are golden files.
const variedSLOs = "../../dashboards/grafana/testdata/slos.yaml"

// TestDashboards asks every query of every dashboard over slowburn's own API:
// none is without data.
func TestDashboards(t *testing.T) {
	config, err := loadConfig(variedSLOs)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	now := time.Now()
	fillVaried(t, filepath.Join(dir, "data"), config.Flows, now)
	yaml, err := os.ReadFile(variedSLOs)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := start(t, dir, string(yaml), "")
	// The objectives by PromQL are counted here, as by a Prometheus that answers.
	counted := []string{"gateway.example/eu-gateway-promql", "gateway.example/eu-gateway-probe"}
	eventually(t, 30*time.Second, func() error {
		for _, id := range counted {
			s.pipeline.Count(id, 990, 10)
		}
		// What burned before the start has to go on for the page to fire.
		s.pipeline.Count("shop-checkout-availability", 95, 5)
		got := instant(t, s.address(), "rate(slo_events_total[5m]) and on (sloth_id) slo:sli_error:ratio_rate5m > 0 and on (sloth_id) slo:period_burn_rate:ratio > 0", "sloth_id")
		for _, id := range counted {
			if got[id] <= 0 {
				return fmt.Errorf("%s is not counted yet: %v", id, got)
			}
		}
		if fired := instant(t, s.address(), `ALERTS{alertstate="firing", sloth_severity="page"}`, "sloth_slo"); fired["checkout-availability"] != 1 {
			return fmt.Errorf("the page of checkout does not fire yet: %v", fired)
		}
		return nil
	})

	all, err := grafana.Dashboards(config.Flows)
	if err != nil {
		t.Fatal(err)
	}
	v := newViewer(t, s.address())
	for _, d := range all {
		v.look(d)
	}
	if v.queries < 300 {
		t.Errorf("%d queries were asked, want those of all dashboards", v.queries)
	}
	for name, want := range map[string]string{"Pages": "SlowburnBudgetBurnPage", "Deploys": "2.0.0"} {
		if !strings.Contains(strings.Join(v.annotations[name], "\n"), want) {
			t.Errorf("annotation %s marks %q, want %s among them", name, v.annotations[name], want)
		}
	}
	// What has happened is told with its time, in milliseconds.
	for _, at := range v.deployed {
		if ago := now.Sub(time.UnixMilli(int64(at))); ago < 24*time.Hour || ago > 72*time.Hour {
			t.Errorf("a deploy is marked %s ago", ago)
		}
	}
	// One dashboard, as somebody sees it: the flow that burns.
	for title, want := range map[string]func(float64) bool{
		"99.9% succeed":    func(x float64) bool { return x > 0.99 && x < 0.9995 },
		"Burn rate now":    func(x float64) bool { return x > 20 && x < 100 },
		"Failing requests": func(x float64) bool { return x > 0.02 && x < 0.1 },
		"Latency":          func(x float64) bool { return x > 0.1 && x < 0.13 }, // p50 of a median of 120 ms
	} {
		if got, ok := v.first["shop / checkout"][title]; !ok || !want(got) {
			t.Errorf("checkout: %s is %g", title, got)
		}
	}
}

// TestDashboardsOverRules does the same over a Prometheus that has the counters
// of two collectors, or the metrics of a gateway, and the rules that generate
// writes, and nothing else.
func TestDashboardsOverRules(t *testing.T) {
	config, err := loadConfig(variedSLOs)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	now := time.Now()
	st, err := store.Open(store.Options{Dir: filepath.Join(dir, "tsdb")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	began := now.Add(-90 * time.Minute)
	scraped := &scraping{store: st, t: t}
	h := variedHistory(filepath.Join(dir, "ledger"), config.Flows, began, now)
	events := h.Events
	next := began
	groups, _, err := rulegen.Record(config.Flows, rulegen.RecordOptions{Version: version})
	if err != nil {
		t.Fatal(err)
	}
	recording := newRecording(t, st, groups)
	h.Step = func(time.Time) time.Duration { return 15 * time.Second }
	h.Events = func(from, to time.Time) []aggr.Event {
		// All before `from` is there: the rules that are due can be evaluated.
		scraped.commit()
		for ; next.Before(from); next = next.Add(time.Minute) {
			recording.at(next)
		}
		gateway(scraped, to.Sub(began), to)
		runtimeMetrics(scraped, began, to)
		return events(from, to)
	}
	if err := h.Write(scraped); err != nil {
		t.Fatal(err)
	}
	scraped.commit()
	recording.at(now)

	srv := apiOver(t, st)
	all, err := grafana.Dashboards(config.Flows)
	if err != nil {
		t.Fatal(err)
	}
	v := newViewer(t, srv)
	for _, d := range all {
		v.look(d)
	}
	if !strings.Contains(strings.Join(v.annotations["Deploys"], "\n"), "2.0.0") {
		t.Errorf("deploys marked are %q", v.annotations["Deploys"])
	}
}

// variedHistory is the traffic of the flows of variedSLOs that count spans: calm
// but for the last hour, in which a new version fails 5% of the checkouts. Nobody
// asks for minutes for a while, where ratios of nothing would be NaN.
func variedHistory(dir string, flows []slo.Flow, from, now time.Time) collector.History {
	m := &synth.Model{Service: "shop", Version: "1.0.0", Location: time.UTC, Seed: 7, PeakHour: float64(now.UTC().Hour())}
	for _, f := range flows {
		if f.Counted() {
			m.Flows = append(m.Flows, synth.Flow{Name: f.Name, Peak: 6, ErrorRatio: 0.002, Median: 120 * time.Millisecond, Sigma: 0.5})
		}
	}
	m.Add(synth.Incident{Flow: "checkout", From: now.Add(-time.Hour), For: 2 * time.Hour, ErrorRatio: 0.05})
	return collector.History{
		Flows: flows, Dir: dir, Version: version, From: from, To: now,
		Step: func(at time.Time) time.Duration {
			if now.Sub(at) <= time.Hour {
				return 15 * time.Second
			}
			return 5 * time.Minute
		},
		Events: func(from, to time.Time) []aggr.Event {
			var out []aggr.Event
			for i, f := range flows {
				at := slices.IndexFunc(m.Flows, func(g synth.Flow) bool { return g.Name == f.Name })
				if ago := now.Sub(from); at < 0 || f.Name == "minutes" && ago > 10*time.Minute && ago < 20*time.Minute {
					continue
				}
				for n, s := range m.Counts(m.Flows[at], from, to).Latencies {
					tenant := []byte([]string{"acme", "globex", "a.b+c"}[n%3])
					if good := s.Total - s.Bad; good > 0 {
						out = append(out, aggr.Event{Flow: int32(i), Weight: uint32(good), Latency: uint64(s.Latency), By: tenant})
					}
					if s.Bad > 0 {
						out = append(out, aggr.Event{Flow: int32(i), Weight: uint32(s.Bad), Latency: uint64(s.Latency), By: tenant, Bad: true})
					}
				}
			}
			return out
		},
	}
}

// fillVaried writes two days of history, with the metrics of Node.js processes
// beside them.
func fillVaried(t *testing.T, data string, flows []slo.Flow, now time.Time) {
	t.Helper()
	began := now.Add(-48 * time.Hour)
	h := variedHistory(filepath.Join(data, "ledger"), flows, began, now)
	err := store.Backfill(filepath.Join(data, "tsdb"), nil, func(app storage.Appender) error {
		events := h.Events
		h.Events = func(from, to time.Time) []aggr.Event {
			runtimeMetrics(app, began, to)
			return events(from, to)
		}
		return h.Write(app)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// runtimeMetrics writes what two Node.js processes of the shop send, of which
// one has started in the last minutes, and one of billing with older packages;
// and the versions that were seen.
func runtimeMetrics(app storage.Appender, began, at time.Time) {
	up := at.Sub(began).Seconds()
	put := func(job, instance, metric string, v float64, pairs ...string) {
		l := labels.FromStrings(append([]string{model.MetricNameLabel, metric, "job", job, "instance", instance}, pairs...)...)
		_, _ = app.Append(0, l, at.UnixMilli(), v) // a fault is found as a panel without data
	}
	for i, p := range []struct{ job, instance string }{{"web/shop", "a-1"}, {"web/shop", "b-2"}, {"billing", "c-3"}} {
		busy := 0.2 + 0.1*float64(i)
		if p.job == "billing" {
			put(p.job, p.instance, "nodejs_eventloop_utilization_ratio", busy)
			put(p.job, p.instance, "v8js_memory_heap_limit_bytes", 60e6, "v8js_heap_space_name", "old_space")
		} else {
			put(p.job, p.instance, "v8js_memory_heap_max_bytes", 2e9)
		}
		put(p.job, p.instance, "nodejs_eventloop_time_seconds_total", busy*up, "nodejs_eventloop_state", "active")
		put(p.job, p.instance, "nodejs_eventloop_time_seconds_total", (1-busy)*up, "nodejs_eventloop_state", "idle")
		put(p.job, p.instance, "nodejs_eventloop_delay_p50_seconds", 0.0101)
		put(p.job, p.instance, "nodejs_eventloop_delay_p99_seconds", 0.02)
		put(p.job, p.instance, "v8js_gc_duration_seconds_sum", 0.01*up, "v8js_gc_type", "minor")
		put(p.job, p.instance, "v8js_memory_heap_used_bytes", 40e6, "v8js_heap_space_name", "old_space")
		put(p.job, p.instance, "process_cpu_time_seconds_total", 0.3*up, "process_cpu_state", "user")
		put(p.job, p.instance, "process_memory_usage_bytes", 120e6)
	}
	for _, service := range []string{"shop", "billing"} {
		seen := labels.FromStrings(model.MetricNameLabel, "slowburn_service_version_first_seen_timestamp_seconds",
			series.Service, service, "service_version", "2.0.0")
		_, _ = app.Append(0, seen, at.UnixMilli(), float64(began.Unix()))
	}
}

// gateway writes the metrics that the objectives by PromQL are computed from.
func gateway(app storage.Appender, up time.Duration, at time.Time) {
	for code, rate := range map[string]float64{"200": 99, "503": 1} {
		l := labels.FromStrings(model.MetricNameLabel, "http_requests_total", "job", "gateway", "code", code)
		_, _ = app.Append(0, l, at.UnixMilli(), rate*up.Seconds())
	}
	_, _ = app.Append(0, labels.FromStrings(model.MetricNameLabel, "probe_failed"), at.UnixMilli(), 0.01)
}

// scraping writes what a collector sends with --remote-write-series counters,
// and nothing that rules record.
type scraping struct {
	storage.Appender // of what is not committed yet; nil: of nothing
	store            *store.Store
	t                *testing.T
}

func (s *scraping) commit() {
	if s.Appender == nil {
		return
	}
	if err := s.Appender.Commit(); err != nil {
		s.t.Error(err)
	}
	s.Appender = nil
}

// sent returns a series as it is sent; ok is false of one that is not.
func (s *scraping) sent(l labels.Labels) (_ labels.Labels, ok bool) {
	if s.Appender == nil {
		s.Appender = s.store.Appender(s.t.Context())
	}
	name := l.Get(model.MetricNameLabel)
	if strings.HasPrefix(name, "slo:") {
		return l, false
	}
	if strings.HasPrefix(name, "slo") {
		return series.Of(l, name, "collector", "web-1"), true
	}
	return l, true
}

func (s *scraping) Append(_ storage.SeriesRef, l labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	if l, ok := s.sent(l); ok {
		return s.Appender.Append(0, l, t, v)
	}
	return 0, nil
}

func (s *scraping) AppendHistogram(_ storage.SeriesRef, l labels.Labels, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) (storage.SeriesRef, error) {
	if l, ok := s.sent(l); ok {
		return s.Appender.AppendHistogram(0, l, t, h, fh)
	}
	return 0, nil
}

// recording evaluates the rules that are written for somebody else's Prometheus.
type recording struct {
	t      *testing.T
	groups []*rules.Group
}

func newRecording(t *testing.T, st *store.Store, groups []rulefmt.RuleGroup) *recording {
	t.Helper()
	out := &recording{t: t}
	for _, g := range groups {
		var list []rules.Rule
		for _, r := range g.Rules {
			if r.Record == "" {
				continue
			}
			expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, rules.NewRecordingRule(r.Record, expr, labels.FromMap(r.Labels)))
		}
		out.groups = append(out.groups, rules.NewGroup(rules.GroupOptions{
			Name: g.Name, Interval: time.Duration(g.Interval), Rules: list,
			Opts: &rules.ManagerOptions{
				QueryFunc: rules.EngineQueryFunc(st.RulesEngine(), st), Appendable: st, Queryable: st, Context: t.Context(), ExternalURL: &url.URL{},
			},
		}))
	}
	return out
}

// at evaluates the groups whose turn it is in a minute.
func (r *recording) at(now time.Time) {
	for _, g := range r.groups {
		if now.Unix()/60%int64(g.Interval()/time.Minute) != 0 {
			continue
		}
		g.Eval(r.t.Context(), now)
		for _, rule := range g.Rules() {
			if err := rule.LastError(); err != nil {
				r.t.Fatalf("%s at %s: %v", rule.Name(), now, err)
			}
		}
	}
}

// apiOver serves the query API over a store.
func apiOver(t *testing.T, st *store.Store) string {
	t.Helper()
	h, err := api.New(api.Options{Engine: st.Engine(), Queryable: st, Exemplars: st})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", h))
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.URL
}

// viewer looks at dashboards as Grafana does: it fills in the variables and asks
// every query of every panel.
type viewer struct {
	t   *testing.T
	api prometheus.API
	now time.Time

	queries     int
	annotations map[string][]string           // what was marked, by the annotation's name
	deployed    []float64                     // when, in milliseconds
	first       map[string]map[string]float64 // by dashboard and panel, the newest value of the first query
}

func newViewer(t *testing.T, address string) *viewer {
	t.Helper()
	client, err := promapi.NewClient(promapi.Config{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	return &viewer{
		// What began within this step is seen at the next one, up to 15 s later.
		t: t, api: prometheus.NewAPI(client), now: time.Now().Add(15 * time.Second),
		annotations: map[string][]string{}, first: map[string]map[string]float64{},
	}
}

// viewed is what a viewer reads of a dashboard.
type viewed struct {
	Title      string
	Templating struct {
		List []struct {
			Type, Name, Regex, AllValue string
			IncludeAll                  bool
			Query                       any
		}
	}
	Annotations struct {
		List []struct {
			Name, Expr      string
			UseValueForTime bool
		}
	}
	Panels []viewedPanel
}

type viewedPanel struct {
	Type, Title, Description, TimeFrom string
	MaxDataPoints                      float64
	Targets                            []struct {
		RefID, Expr string
		Instant     bool
	}
	FieldConfig struct{ Defaults struct{ Unit string } }
}

// look asks everything twice: with all values of each variable, and with its
// first one.
func (v *viewer) look(d grafana.Dashboard) {
	v.t.Helper()
	var read viewed
	if err := json.Unmarshal(d.JSON, &read); err != nil {
		v.t.Fatal(err)
	}
	v.first[read.Title] = map[string]float64{}
	for _, all := range []bool{true, false} {
		values := v.choose(read, all)
		for _, p := range read.Panels {
			if p.Type == "row" {
				continue
			}
			if p.Description == "" || p.FieldConfig.Defaults.Unit == "" {
				v.t.Errorf("%s: %s has description %q and unit %q", read.Title, p.Title, p.Description, p.FieldConfig.Defaults.Unit)
			}
			v.panel(read.Title, p, values)
		}
		for _, a := range read.Annotations.List {
			for _, s := range v.ask(a.Expr, values, v.now.Add(-time.Minute), v.now, time.Second) {
				v.annotations[a.Name] = append(v.annotations[a.Name], s.Metric.String())
				if a.UseValueForTime {
					v.deployed = append(v.deployed, float64(s.Values[0].Value))
				}
			}
		}
	}
}

// choose returns what each variable stands for: all its values, or one.
func (v *viewer) choose(d viewed, all bool) map[string]string {
	v.t.Helper()
	values := map[string]string{}
	for _, variable := range d.Templating.List {
		if variable.Type != "query" {
			continue
		}
		text := fmt.Sprint(variable.Query.(map[string]any)["query"])
		m := regexp.MustCompile(`^label_values\((.+), ([a-z_]+)\)$`).FindStringSubmatch(text)
		if m == nil {
			v.t.Fatalf("%s: variable %s asks %q", d.Title, variable.Name, text)
		}
		found, _, err := v.api.LabelValues(v.t.Context(), m[2], []string{substituted(m[1], values, time.Minute)}, v.now.Add(-6*time.Hour), v.now)
		if err != nil || len(found) == 0 {
			v.t.Errorf("%s: variable %s: %s has no values: %v", d.Title, variable.Name, text, err)
			continue
		}
		one := string(found[len(found)-1])
		if variable.Regex != "" {
			m := regexp.MustCompile("^" + strings.ReplaceAll(strings.Trim(variable.Regex, "/"), `\/`, "/") + "$").FindStringSubmatch(one)
			if m == nil {
				v.t.Fatalf("%s: variable %s: %q does not match %q", d.Title, variable.Name, one, variable.Regex)
			}
			one = m[1]
		}
		values[variable.Name] = one
		if variable.IncludeAll {
			// Of several values, Grafana escapes the one that is chosen.
			values[variable.Name] = strings.ReplaceAll(regexp.QuoteMeta(one), `\`, `\\`)
			if all {
				values[variable.Name] = variable.AllValue
			}
		}
	}
	return values
}

// substituted puts values in the place of variables.
func substituted(expr string, values map[string]string, step time.Duration) string {
	expr = strings.NewReplacer("$__rate_interval", slo.Duration(max(time.Minute, step+15*time.Second)), "$__interval", slo.Duration(step)).Replace(expr)
	// A name may begin another.
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(values))) {
		expr = strings.ReplaceAll(expr, "$"+name, values[name])
	}
	return expr
}

// ask asks for a range of time, which begins and ends at whole steps, as
// Grafana's does.
func (v *viewer) ask(expr string, values map[string]string, from, to time.Time, step time.Duration) model.Matrix {
	v.t.Helper()
	v.queries++
	got, _, err := v.api.QueryRange(v.t.Context(), substituted(expr, values, step), prometheus.Range{Start: from.Truncate(step), End: to.Truncate(step), Step: step})
	if err != nil {
		v.t.Errorf("%s: %v", substituted(expr, values, step), err)
		return nil
	}
	return got.(model.Matrix)
}

// steps are those that Grafana takes.
var steps = []time.Duration{
	15 * time.Second, 20 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute,
	20 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// panel asks the queries of a panel and judges what they return.
func (v *viewer) panel(dashboard string, p viewedPanel, values map[string]string) {
	v.t.Helper()
	from, to := v.now.Add(-30*time.Minute), v.now
	if p.TimeFrom != "" {
		text, ahead := strings.CutPrefix(p.TimeFrom, "+")
		length, err := model.ParseDuration(text)
		if err != nil {
			v.t.Fatal(err)
		}
		from, to = v.now.Add(-time.Duration(length)), v.now
		if ahead {
			from, to = v.now, v.now.Add(time.Duration(length))
		}
	}
	points := p.MaxDataPoints
	if points == 0 {
		points = 600 // as wide as a third of a screen
	}
	want := time.Duration(float64(to.Sub(from)) / points)
	step := steps[min(len(steps)-1, slices.IndexFunc(steps, func(s time.Duration) bool { return s >= want }))]
	for i, q := range p.Targets {
		place := fmt.Sprintf("%s: %s, query %s with %v", dashboard, p.Title, q.RefID, values)
		var found []float64
		if q.Instant {
			v.queries++
			got, _, err := v.api.Query(v.t.Context(), substituted(q.Expr, values, time.Minute), v.now)
			if err != nil {
				v.t.Errorf("%s: %v\n%s", place, err, substituted(q.Expr, values, time.Minute))
				continue
			}
			for _, s := range got.(model.Vector) {
				found = append(found, float64(s.Value))
			}
		} else {
			for _, s := range v.ask(q.Expr, values, from, to, step) {
				for _, x := range s.Values {
					found = append(found, float64(x.Value))
				}
				for _, h := range s.Histograms {
					found = append(found, float64(h.Histogram.Count))
				}
			}
		}
		if len(found) == 0 {
			v.t.Errorf("%s: no data\n%s", place, substituted(q.Expr, values, step))
			continue
		}
		if _, known := v.first[dashboard][p.Title]; i == 0 && !known {
			v.first[dashboard][p.Title] = found[len(found)-1]
		}
		low, high := 0.0, math.MaxFloat64
		switch unit := p.FieldConfig.Defaults.Unit; {
		case strings.HasPrefix(p.Title, "Budget"), strings.HasPrefix(p.Title, "Lowest budget"):
			low, high = -100, 1e10
		case p.Type == "table":
			low, high = -100, 1e10
		case unit == "percentunit":
			high = 1
		case unit == "s":
			high = 10
		case unit == "reqps", unit == "cps":
			high = 1000
		case unit == "bytes":
			low, high = 1e6, 1e11
		case unit == "none":
			high = 100
		}
		for _, x := range found {
			if math.IsNaN(x) || x < low || x > high {
				v.t.Errorf("%s: %g is not from %g to %g\n%s", place, x, low, high, substituted(q.Expr, values, step))
				break
			}
		}
	}
}
