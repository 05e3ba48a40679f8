package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/api"
	client "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/tsdb"
	"go.uber.org/goleak"

	"github.com/slowburn-slo/slowburn/slo/series"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// t0 is when the recorded samples were: 2026-01-01 00:00:00 UTC.
var t0 = time.Unix(1767225600, 0).UTC()

const traceID = "0af7651916cd43dd8448eb211c80319c"

// recorded is a server with an API mounted as the program mounts it, over a
// database with one SLO's series, a native histogram, an exemplar and a firing
// alert.
func recorded(t *testing.T) *httptest.Server {
	t.Helper()
	opts := tsdb.DefaultOptions()
	opts.EnableExemplarStorage, opts.MaxExemplars = true, 10
	db, err := tsdb.Open(t.TempDir(), nil, nil, opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})

	of := func(name string, pairs ...string) labels.Labels {
		return labels.FromStrings(append([]string{model.MetricNameLabel, name}, pairs...)...)
	}
	app := db.Appender(t.Context())
	for i := range 3 {
		ts := t0.Add(time.Duration(i-2) * time.Minute).UnixMilli()
		for _, s := range []struct {
			l labels.Labels
			v float64
		}{
			{of(series.ErrorRatio(5*time.Minute), "sloth_id", "shop-checkout-availability"), 0.02},
			{of(series.Events, "sloth_id", "shop-checkout-availability"), float64(100 * (i + 1))},
			{of("odd", "a/b", "slash"), 1},
		} {
			ref, err := app.Append(0, s.l, ts, s.v)
			if err != nil {
				t.Fatal(err)
			}
			if name := s.l.Get(model.MetricNameLabel); name == series.Events && i == 2 {
				e := exemplar.Exemplar{Labels: labels.FromStrings("trace_id", traceID), Value: 1, Ts: ts, HasTs: true}
				if _, err := app.AppendExemplar(ref, s.l, e); err != nil {
					t.Fatal(err)
				}
			}
		}
		h := &histogram.Histogram{
			Count: 5, Sum: 12, PositiveSpans: []histogram.Span{{Offset: 1, Length: 2}}, PositiveBuckets: []int64{2, 1}, // 2 in (1, 2], 3 in (2, 4]
		}
		if _, err := app.AppendHistogram(0, of(series.FlowDuration, "flow", "checkout"), ts, h, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}

	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 100, Timeout: 10 * time.Second})
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(series.ErrorRatio(5*time.Minute) + " > 0.01")
	if err != nil {
		t.Fatal(err)
	}
	alert := rules.NewAlertingRule(series.AlertPage, expr, 0, 0,
		labels.FromStrings("sloth_severity", "page"), labels.FromStrings("summary", "checkout fails"), labels.EmptyLabels(), "", true, nil)
	query := rules.EngineQueryFunc(engine, db)
	if _, err := alert.Eval(t.Context(), 0, t0, query, &url.URL{}, 0); err != nil {
		t.Fatal(err)
	}
	alert.SetEvaluationTimestamp(t0)
	group := rules.NewGroup(rules.GroupOptions{
		Name: "shop-checkout", File: "slowburn", Interval: 5 * time.Second, Rules: []rules.Rule{alert},
		Opts: &rules.ManagerOptions{Context: t.Context(), Appendable: db, QueryFunc: query},
	})
	return serve(t, "/api/v1", Options{
		Engine: engine, Queryable: db, Exemplars: db, Version: "0.1.0",
		Rules: oneGroup{group},
	})
}

type oneGroup struct{ *rules.Group }

func (g oneGroup) RuleGroups() []*rules.Group           { return []*rules.Group{g.Group} }
func (g oneGroup) AlertingRules() []*rules.AlertingRule { return g.Group.AlertingRules() }

func serve(t *testing.T, at string, o Options) *httptest.Server {
	t.Helper()
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r := chi.NewRouter()
	r.Mount(at, h)
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	return srv
}

// do sends a request: a form makes it a POST, as Grafana sends its queries.
func do(t *testing.T, srv *httptest.Server, method, path string, form url.Values) (*http.Response, string) {
	t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("Origin", "https://evil.example")
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, strings.TrimSpace(string(text))
}

func TestAnswers(t *testing.T) {
	srv := recorded(t)
	const (
		ratio  = `{"__name__":"slo:sli_error:ratio_rate5m","sloth_id":"shop-checkout-availability"}`
		events = `{"__name__":"slo_events_total","sloth_id":"shop-checkout-availability"}`
		at     = "1767225600"
	)
	ok := func(data string) string { return `{"status":"success","data":` + data + `}` }
	bad := func(text string) string {
		return `{"status":"error","errorType":"bad_data","error":"` + text + `"}`
	}
	for _, tc := range []struct {
		name   string
		path   string
		params url.Values // sent in the URL, and as a form where post is set
		post   bool
		status int // 200 when 0
		want   string
	}{
		{
			name: "instant query", path: "/query", post: true,
			params: url.Values{"query": {"slo:sli_error:ratio_rate5m"}, "time": {at}},
			want:   ok(`{"resultType":"vector","result":[{"metric":` + ratio + `,"value":[1767225600,"0.02"]}]}`),
		},
		{
			name: "native histogram", path: "/query", post: true,
			params: url.Values{"query": {"slowburn_flow_duration_seconds"}, "time": {at}},
			want: ok(`{"resultType":"vector","result":[{"metric":{"__name__":"slowburn_flow_duration_seconds","flow":"checkout"},` +
				`"histogram":[1767225600,{"count":"5","sum":"12","buckets":[[0,"1","2","2"],[0,"2","4","3"]]}]}]}`),
		},
		{
			name: "range query", path: "/query_range", post: true,
			params: url.Values{"query": {"slo_events_total"}, "start": {"1767225540"}, "end": {at}, "step": {"60"}},
			want:   ok(`{"resultType":"matrix","result":[{"metric":` + events + `,"values":[[1767225540,"200"],[1767225600,"300"]]}]}`),
		},
		{
			name: "subquery without a step", path: "/query",
			params: url.Values{"query": {"count_over_time(slo_events_total[3m:1m])"}, "time": {at}},
			want:   ok(`{"resultType":"vector","result":[{"metric":{"sloth_id":"shop-checkout-availability"},"value":[1767225600,"3"]}]}`),
		},
		{
			name: "exemplars", path: "/query_exemplars", post: true,
			params: url.Values{"query": {"rate(slo_events_total[5m])"}, "start": {"1767225000"}, "end": {at}},
			want:   ok(`[{"seriesLabels":` + events + `,"exemplars":[{"labels":{"trace_id":"` + traceID + `"},"value":"1","timestamp":1767225600}]}]`),
		},
		{
			name: "no exemplars", path: "/query_exemplars",
			params: url.Values{"query": {"odd"}, "start": {"1767225000"}, "end": {at}},
			want:   ok(`[]`),
		},
		{name: "labels", path: "/labels", post: true, want: ok(`["__name__","a/b","flow","sloth_id"]`)},
		{name: "labels of a series", path: "/labels", post: true, params: url.Values{"match[]": {"slo_events_total"}}, want: ok(`["__name__","sloth_id"]`)},
		{name: "metric names", path: "/label/__name__/values", want: ok(`["odd","slo:sli_error:ratio_rate5m","slo_events_total","slowburn_flow_duration_seconds"]`)},
		{name: "label values of a series", path: "/label/sloth_id/values", params: url.Values{"match[]": {"slo_events_total"}}, want: ok(`["shop-checkout-availability"]`)},
		{name: "label with a slash", path: "/label/a%2Fb/values", want: ok(`["slash"]`)},
		{name: "label with a slash, as Prometheus escapes it", path: "/label/U__a_2f_b/values", want: ok(`["slash"]`)},
		{name: "series", path: "/series", post: true, params: url.Values{"match[]": {`{sloth_id=~"shop-.*"}`}}, want: ok(`[` + ratio + `,` + events + `]`)},
		{name: "metadata of a metric", path: "/metadata", params: url.Values{"metric": {"slo_events_total"}}, want: ok(`{"slo_events_total":[{"type":"counter","unit":"","help":"Events an SLO has judged since it was made; never reset."}]}`)},
		{name: "metadata of no metric of ours", path: "/metadata", params: url.Values{"metric": {"up"}}, want: ok(`{}`)},
		{name: "metadata, none", path: "/metadata", params: url.Values{"limit": {"0"}}, want: ok(`{}`)},
		{name: "formatted query", path: "/format_query", post: true, params: url.Values{"query": {"sum( up)by(job)"}}, want: ok(`"sum by (job) (up)"`)},
		{name: "parsed query", path: "/parse_query", post: true, params: url.Values{"query": {"1"}}, want: ok(`{"type":"numberLiteral","val":"1"}`)},
		{
			name: "alerts", path: "/alerts",
			want: ok(`{"alerts":[{"labels":{"alertname":"SlowburnBudgetBurnPage","sloth_id":"shop-checkout-availability","sloth_severity":"page"},` +
				`"annotations":{"summary":"checkout fails"},"state":"firing","activeAt":"2026-01-01T00:00:00Z","value":"2e-02"}]}`),
		},

		{name: "no query", path: "/query", post: true, status: 400, want: bad(`invalid parameter \"query\": unknown position: parse error: no expression found in input`)},
		{name: "broken query", path: "/query_range", post: true, params: url.Values{"query": {"up{"}, "start": {at}, "end": {at}, "step": {"1"}}, status: 400, want: bad(`invalid parameter \"query\": 1:4: parse error: unexpected end of input inside braces`)},
		{name: "backwards range", path: "/query_range", post: true, params: url.Values{"query": {"up"}, "start": {at}, "end": {"1"}, "step": {"1"}}, status: 400, want: bad(`invalid parameter \"end\": end timestamp must not be before start time`)},
		{name: "series of what", path: "/series", post: true, status: 400, want: bad("no match[] parameter provided")},
		{name: "metadata, how many", path: "/metadata", params: url.Values{"limit": {"few"}}, status: 400, want: bad("limit must be a number")},
		{name: "rules of no type", path: "/rules", params: url.Values{"type": {"x"}}, status: 400, want: bad(`invalid parameter \"type\": not supported value \"x\"`)},
		{
			name: "too many samples", path: "/query", post: true, status: 422,
			params: url.Values{"query": {"count_over_time(slo_events_total[1d:1s])"}, "time": {at}},
			want:   `{"status":"error","errorType":"execution","error":"query processing would load too many samples into memory in query execution"}`,
		},
	} {
		check := func(method, path string, form url.Values) {
			t.Helper()
			res, got := do(t, srv, method, "/api/v1"+path, form)
			if want := max(tc.status, 200); res.StatusCode != want {
				t.Errorf("%s %s: status %d, want %d", method, path, res.StatusCode, want)
			}
			if got != tc.want {
				t.Errorf("%s %s:\n got %s\nwant %s", method, path, got, tc.want)
			}
			if kind := res.Header.Get("Content-Type"); kind != "application/json" {
				t.Errorf("%s %s: content type %q, want application/json", method, path, kind)
			}
			for name := range res.Header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s: header %s, want no CORS headers", method, path, name)
				}
			}
		}
		t.Run(tc.name, func(t *testing.T) {
			check("GET", tc.path+"?"+tc.params.Encode(), nil)
			if tc.post {
				form := tc.params
				if form == nil {
					form = url.Values{}
				}
				check("POST", tc.path, form)
			}
		})
	}
}

// TestClient reads every endpoint with the official client, which refuses what
// it does not understand.
func TestClient(t *testing.T) {
	srv := recorded(t)
	c, err := api.NewClient(api.Config{Address: srv.URL, RoundTripper: srv.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	prom, ctx := client.NewAPI(c), t.Context()

	value, warnings, err := prom.Query(ctx, "slowburn_flow_duration_seconds", t0)
	vector, ok := value.(model.Vector)
	if err != nil || len(warnings) > 0 || !ok || len(vector) != 1 || vector[0].Histogram == nil || vector[0].Histogram.Count != 5 {
		t.Errorf("Query = %v, %v, %v; want one histogram of 5", value, warnings, err)
	}
	value, _, err = prom.QueryRange(ctx, "slo_events_total", client.Range{Start: t0.Add(-time.Minute), End: t0, Step: time.Minute})
	if matrix, ok := value.(model.Matrix); err != nil || !ok || len(matrix) != 1 || len(matrix[0].Values) != 2 {
		t.Errorf("QueryRange = %v, %v; want one series of two samples", value, err)
	}
	exemplars, err := prom.QueryExemplars(ctx, "slo_events_total", t0.Add(-time.Hour), t0)
	if err != nil || len(exemplars) != 1 || exemplars[0].Exemplars[0].Labels["trace_id"] != traceID {
		t.Errorf("QueryExemplars = %v, %v; want one of trace %s", exemplars, err, traceID)
	}
	names, _, err := prom.LabelNames(ctx, nil, time.Time{}, time.Time{})
	if err != nil || len(names) != 4 {
		t.Errorf("LabelNames = %v, %v; want 4", names, err)
	}
	values, _, err := prom.LabelValues(ctx, "flow", nil, t0.Add(-time.Hour), t0)
	if err != nil || len(values) != 1 || values[0] != "checkout" {
		t.Errorf("LabelValues = %v, %v; want checkout", values, err)
	}
	sets, _, err := prom.Series(ctx, []string{"slo_events_total"}, t0.Add(-time.Hour), t0)
	if err != nil || len(sets) != 1 {
		t.Errorf("Series = %v, %v; want 1", sets, err)
	}
	known, err := prom.Metadata(ctx, "", "")
	if err != nil || len(known[series.FlowDuration]) != 1 || known[series.FlowDuration][0].Type != client.MetricTypeHistogram {
		t.Errorf("Metadata = %v, %v; want %s to be a histogram", known, err, series.FlowDuration)
	}
	groups, err := prom.Rules(ctx, nil)
	if err != nil || len(groups.Groups) != 1 || len(groups.Groups[0].Rules) != 1 {
		t.Fatalf("Rules = %v, %v; want one", groups, err)
	}
	if rule, ok := groups.Groups[0].Rules[0].(client.AlertingRule); !ok || rule.State != "firing" || len(rule.Alerts) != 1 {
		t.Errorf("rule = %+v, want it firing with one alert", groups.Groups[0].Rules[0])
	}
	alerts, err := prom.Alerts(ctx)
	if err != nil || len(alerts.Alerts) != 1 {
		t.Errorf("Alerts = %v, %v; want one", alerts, err)
	}
	build, err := prom.Buildinfo(ctx)
	if err != nil || build.Version != apiVersion || build.Branch != "slowburn" || build.Revision != "0.1.0" {
		t.Errorf("Buildinfo = %+v, %v; want version %s of slowburn 0.1.0", build, err, apiVersion)
	}
}

// The module is v0.X.Y where Prometheus is 3.(X-300).Y; from v0.300 on X has
// three digits of which the first is the 3.
func TestVersionIsThatOfTheModule(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`github.com/prometheus/prometheus v0\.3([0-9]{2})\.([0-9]+)`).FindSubmatch(mod)
	if m == nil {
		t.Fatal("go.mod: no github.com/prometheus/prometheus v0.3XX; want this test to learn the new scheme")
	}
	if want := "3." + strings.TrimPrefix(string(m[1]), "0") + "." + string(m[2]); apiVersion != want {
		t.Errorf("apiVersion = %s, want %s as in go.mod", apiVersion, want)
	}
}

// TestNothingElse holds the API to its list: what Prometheus has besides is
// missing, not merely refused.
func TestNothingElse(t *testing.T) {
	srv := recorded(t)
	for _, path := range []string{
		"", "/", "/nothing", "/query/", "/query/x", "/label/x",
		"/admin/tsdb/delete_series", "/admin/tsdb/clean_tombstones", "/admin/tsdb/snapshot",
		"/write", "/read", "/otlp/v1/metrics",
		"/status/config", "/status/flags", "/status/runtimeinfo", "/status/tsdb", "/status/tsdb/blocks", "/status/walreplay", "/status/self_metrics",
		"/targets", "/targets/metadata", "/targets/relabel_steps", "/scrape_pools", "/scrape_pools/config", "/alertmanagers",
		"/notifications", "/notifications/live", "/features", "/openapi.yaml",
		"/search/metric_names", "/search/label_names", "/search/label_values",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			if res, _ := do(t, srv, method, "/api/v1"+path, nil); res.StatusCode != http.StatusNotFound {
				t.Errorf("%s %s: status %d, want 404", method, path, res.StatusCode)
			}
		}
	}
	for path, methods := range map[string][]string{
		"/query":    {"PUT", "DELETE", "OPTIONS"},
		"/metadata": {"POST", "OPTIONS"},
		"/rules":    {"POST", "DELETE"},
		"/alerts":   {"POST", "DELETE"},
	} {
		for _, method := range methods {
			if res, _ := do(t, srv, method, "/api/v1"+path, nil); res.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: status %d, want 405", method, path, res.StatusCode)
			}
		}
	}
}

// Without rules, and with nothing stored, every endpoint still answers.
func TestEmptyAnswers(t *testing.T) {
	db, err := tsdb.Open(t.TempDir(), nil, nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1000, Timeout: 10 * time.Second})
	// A path in front, as behind a proxy.
	srv := serve(t, "/slowburn/api/v1", Options{Engine: engine, Queryable: db, Exemplars: db})
	for path, want := range map[string]string{
		"/query?query=up": `{"resultType":"vector","result":[]}`,
		"/query_range?query=up&start=1&end=2&step=1": `{"resultType":"matrix","result":[]}`,
		"/query_exemplars?query=up":                  `[]`,
		"/labels":                                    `[]`,
		"/label/flow/values":                         `[]`,
		"/series?match[]=up":                         `[]`,
		"/rules":                                     `{"groups":[]}`,
		"/alerts":                                    `{"alerts":[]}`,
	} {
		res, got := do(t, srv, "GET", "/slowburn/api/v1"+path, nil)
		if want := `{"status":"success","data":` + want + `}`; res.StatusCode != 200 || got != want {
			t.Errorf("GET %s = %d %s, want 200 %s", path, res.StatusCode, got, want)
		}
	}
	// Exemplars of an expression without a series: nothing to look for.
	if res, _ := do(t, srv, "GET", "/slowburn/api/v1/query_exemplars?query=1", nil); res.StatusCode != http.StatusNoContent {
		t.Errorf("exemplars of a number: status %d, want 204", res.StatusCode)
	}
}

func TestNotReady(t *testing.T) {
	down := errors.New("replaying the write-ahead log")
	h, err := New(Options{
		Engine: promql.NewEngine(promql.EngineOpts{}), Queryable: &tsdb.DB{}, Exemplars: &tsdb.DB{},
		Ready: func() error { return down },
	})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/query?query=up", nil))
	want := `{"status":"error","errorType":"unavailable","error":"replaying the write-ahead log"}`
	if got := strings.TrimSpace(w.Body.String()); w.Code != 503 || got != want {
		t.Errorf("GET /query = %d %s, want 503 %s", w.Code, got, want)
	}
}

func TestBodies(t *testing.T) {
	srv := recorded(t)
	long := url.Values{"query": {strings.Repeat("x", maxForm)}}
	res, got := do(t, srv, "POST", "/api/v1/query", long)
	if want := `{"status":"error","errorType":"bad_data","error":"parameters: http: request body too large"}`; res.StatusCode != 413 || got != want {
		t.Errorf("form of over 1 MiB = %d %s, want 413 %s", res.StatusCode, got, want)
	}
	if res, got := do(t, srv, "GET", "/api/v1/query?query=%zz", nil); res.StatusCode != 400 || !strings.Contains(got, `"errorType":"bad_data"`) {
		t.Errorf("broken escape = %d %s, want 400 bad_data", res.StatusCode, got)
	}

	req := httptest.NewRequest("GET", srv.URL+"/api/v1/query?query=1", nil)
	req.RequestURI = ""
	req.Header.Set("Accept-Encoding", "gzip")
	zipped, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer zipped.Body.Close()
	body, err := gzip.NewReader(zipped.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Status string }
	if err := json.NewDecoder(body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Errorf("gzip answer = %+v, %v; want success", answer, err)
	}
}

func TestNewWantsItsParts(t *testing.T) {
	if _, err := New(Options{}); err == nil || err.Error() != "api: no engine, queryable or exemplars; want all three" {
		t.Errorf("New of nothing: error %v, want one", err)
	}
}

func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("promtool is missing; want it in PATH (Debian: apt install prometheus)")
		}
		t.Skip("promtool is missing")
	}
	srv := recorded(t)
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{
			name: "instant", args: []string{"query", "instant", "--time=1767225600", srv.URL, "slo:sli_error:ratio_rate5m"},
			want: `slo:sli_error:ratio_rate5m{sloth_id="shop-checkout-availability"} => 0.02 @[1767225600]`,
		},
		{
			name: "range", args: []string{"query", "range", "--start=1767225540", "--end=1767225600", "--step=1m", srv.URL, "slo_events_total"},
			want: "slo_events_total{sloth_id=\"shop-checkout-availability\"} =>\n200 @[1767225540]\n300 @[1767225600]",
		},
		{
			name: "series", args: []string{"query", "series", "--match=slo_events_total", "--start=1767225540", "--end=1767225600", srv.URL},
			want: `{__name__="slo_events_total", sloth_id="shop-checkout-availability"}`,
		},
		{
			name: "labels", args: []string{"query", "labels", "--start=1767225540", "--end=1767225600", srv.URL, "flow"},
			want: `checkout`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out, complaints bytes.Buffer
			cmd := exec.CommandContext(t.Context(), promtool, tc.args...)
			cmd.Stdout, cmd.Stderr = &out, &complaints
			if err := cmd.Run(); err != nil {
				t.Fatalf("promtool %s: %v\n%s", strings.Join(tc.args, " "), err, &complaints)
			}
			if got := strings.TrimSpace(out.String()); got != tc.want {
				t.Errorf("promtool %s:\n got %s\nwant %s", strings.Join(tc.args, " "), got, tc.want)
			}
		})
	}
}
