package doctor

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"

	"github.com/slowburn-slo/slowburn/slo"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// fakeNow is when a fake server is asked, in seconds.
const fakeNow = 7200

// fakeServer answers as Prometheus does, from a promqltest script whose samples
// are 30 s apart; answers are given instead, by path, and "404" is an answer of
// that status.
func fakeServer(t *testing.T, version, script string, answers map[string]string) string {
	t.Helper()
	st := promqltest.LoadedStorage(t, "load 30s"+strings.TrimRight("\n"+strings.TrimLeft(script, "\n"), "\n")+"\n")
	engine := promqltest.NewTestEngine(t, false, 0, 1_000_000)
	reply := func(w http.ResponseWriter, data any) {
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": data})
	}
	refuse := func(w http.ResponseWriter, err error) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "error", "errorType": "execution", "error": err.Error()})
	}
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	at := time.Unix(fakeNow, 0)
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/query", func(w http.ResponseWriter, r *http.Request) {
		q, err := engine.NewInstantQuery(r.Context(), st, nil, r.FormValue("query"), at)
		if err != nil {
			refuse(w, err)
			return
		}
		defer q.Close()
		result := q.Exec(r.Context())
		if result.Err != nil {
			refuse(w, result.Err)
			return
		}
		var out []any
		switch v := result.Value.(type) {
		case promql.Vector:
			for _, s := range v {
				if s.H != nil {
					out = append(out, map[string]any{"metric": s.Metric, "histogram": []any{fakeNow, map[string]any{"count": "1", "sum": "1"}}})
					continue
				}
				out = append(out, map[string]any{"metric": s.Metric, "value": []any{fakeNow, number(s.F)}})
			}
		case promql.Matrix:
			for _, s := range v {
				var values []any
				for _, p := range s.Floats {
					values = append(values, []any{float64(p.T) / 1000, number(p.F)})
				}
				out = append(out, map[string]any{"metric": s.Metric, "values": values})
			}
		case promql.Scalar:
			reply(w, map[string]any{"resultType": "scalar", "result": []any{fakeNow, number(v.V)}})
			return
		}
		if out == nil {
			out = []any{}
		}
		reply(w, map[string]any{"resultType": result.Value.Type(), "result": out})
	})
	mux.HandleFunc("/api/v1/query_range", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"resultType": "matrix", "result": []any{}})
	})
	names := func(w http.ResponseWriter, r *http.Request, label string) {
		_ = r.ParseForm()
		expr := `{__name__!=""}`
		if m := r.Form["match[]"]; len(m) > 0 {
			expr = m[0]
		}
		q, err := engine.NewInstantQuery(r.Context(), st, nil, expr, at)
		if err != nil {
			refuse(w, err)
			return
		}
		defer q.Close()
		v, err := q.Exec(r.Context()).Vector()
		if err != nil {
			refuse(w, err)
			return
		}
		set := map[string]bool{}
		for _, s := range v {
			for k, v := range s.Metric.Map() {
				if label == "" {
					set[k] = true
				} else if k == label {
					set[v] = true
				}
			}
		}
		out := []string{}
		for k := range set {
			out = append(out, k)
		}
		slices.Sort(out)
		reply(w, out)
	}
	mux.HandleFunc("/api/v1/labels", func(w http.ResponseWriter, r *http.Request) { names(w, r, "") })
	mux.HandleFunc("/api/v1/label/{name}/values", func(w http.ResponseWriter, r *http.Request) { names(w, r, r.PathValue("name")) })
	for path, data := range map[string]any{
		"status/buildinfo": map[string]any{"version": version},
		"status/tsdb":      map[string]any{"headStats": map[string]any{"numSeries": 12}},
		"alertmanagers":    map[string]any{"activeAlertManagers": []any{map[string]any{"url": "http://am:9093"}}},
		"rules":            map[string]any{"groups": []any{}},
		"metadata":         map[string]any{},
		"targets":          map[string]any{"activeTargets": []any{}},
	} {
		mux.HandleFunc("/api/v1/"+path, func(w http.ResponseWriter, _ *http.Request) { reply(w, data) })
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch answer, ok := answers[strings.TrimPrefix(r.URL.Path, "/api/v1/")]; {
		case !ok:
			mux.ServeHTTP(w, r)
		case answer == "404":
			http.NotFound(w, r)
		default:
			fmt.Fprint(w, answer)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// look runs the doctor, and returns its findings as lines without those of
// rules, which no fake server has loaded.
func look(t *testing.T, o Options) []string {
	t.Helper()
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range r.Findings {
		if f.Check != "rules" && f.Check != "cardinality" && f.Check != "alertmanager" {
			out = append(out, fmt.Sprintf("%s %s: %s: %s => %s", f.Severity, f.Check, f.Subject, f.Seen, strings.ReplaceAll(f.Fix, o.URL, "URL")))
		}
	}
	return out
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, w) }) {
			t.Errorf("no finding is\n%s\ngot\n%s", w, strings.Join(got, "\n"))
		}
	}
}

// TestPrometheus3 is what is different there: bounds are written as floats, and
// histograms may be native.
func TestPrometheus3(t *testing.T) {
	url := fakeServer(t, "3.5.0", `
  up{job="shop"} 1x240
  latency_seconds_bucket{job="shop",le="1.0"} 0+1x240
  latency_seconds_bucket{job="shop",le="+Inf"} 0+2x240
  latency_seconds_count{job="shop"} 0+2x240
  native_seconds{job="shop"} {{schema:0 count:10 sum:10 buckets:[10]}}+{{schema:0 count:10 sum:10 buckets:[10]}}x240
  http_server_request_duration_seconds_bucket{job="shop",http_response_status_code="200",le="0.25"} 0+1x240
  http_server_request_duration_seconds_bucket{job="shop",http_response_status_code="200",le="+Inf"} 0+2x240
  http_server_request_duration_seconds_count{job="shop",http_response_status_code="200"} 0+2x240
`, nil)
	for _, tc := range []struct {
		name  string
		query slo.Query
		want  string
	}{
		{
			"the old spelling",
			slo.Query{Good: `sum(rate(latency_seconds_bucket{le="1"}[$window]))`, Total: `sum(rate(latency_seconds_count[$window]))`},
			`fault bucket: shop-x: good: no bucket of latency_seconds_bucket has le="1", as the server spells it le="1.0" => good: 'sum(rate(latency_seconds_bucket{le=~"1(\\.0)?"}[$window]))'`,
		},
		{
			"any spelling",
			slo.Query{Good: `sum(rate(latency_seconds_bucket{le=~"1(\\.0)?"}[$window]))`, Total: `sum(rate(latency_seconds_count[$window]))`},
			`ok budget: shop-x: 480 events in the last day, 50% bad`,
		},
		{
			"a native histogram's count",
			slo.Query{Bad: `sum(rate(latency_seconds_count[$window]))`, Total: `sum(rate(native_seconds_count{job="shop"}[$window]))`},
			`fault metric: shop-x: total: there is no metric native_seconds_count, but native_seconds, a native histogram => total: 'histogram_count(sum(rate(native_seconds{job="shop"}[$window])))'`,
		},
		{
			"a native histogram's bucket",
			slo.Query{Good: `sum(rate(native_seconds_bucket{job="shop",le="0.3"}[$window]))`, Total: `sum(rate(latency_seconds_count[$window]))`},
			`fault metric: shop-x: good: there is no metric native_seconds_bucket, but native_seconds, a native histogram => good: 'histogram_fraction(0, 0.3, sum(rate(native_seconds{job="shop"}[$window]))) * histogram_count(sum(rate(native_seconds{job="shop"}[$window])))'`,
		},
		{
			"a histogram for a number",
			slo.Query{Bad: `sum(rate(native_seconds[$window]))`, Total: `sum(rate(latency_seconds_count[$window]))`},
			`fault query: shop-x: bad: gives a histogram, not a number => bad: 'histogram_count(sum(rate(native_seconds[$window])))'`,
		},
		{
			"the old generation",
			slo.Query{Good: `sum(rate(http_server_duration_milliseconds_bucket{http_status_code="200",le="250"}[$window]))`, Total: `sum(rate(latency_seconds_count[$window]))`},
			`fault metric: shop-x: good: there is no metric http_server_duration_milliseconds_bucket; http_server_request_duration_seconds_bucket comes nearest => good: 'sum(rate(http_server_request_duration_seconds_bucket{http_response_status_code="200",le="0.25"}[$window]))'`,
		},
		{
			"a scalar",
			slo.Query{Ratio: `scalar(sum(rate(latency_seconds_count[$window])) * 0)`},
			`ok budget: shop-x: 0% bad on average over the last day; the budget of 99.9% good over 30d burns at 0×`,
		},
		{
			"no events",
			slo.Query{Bad: `sum(rate(up[$window]))`, Total: `sum(rate(up[$window]))`},
			`warning consistency: shop-x: no events in the last day => promtool query instant 'URL' 'sum(rate(up[1d]))'`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want(t, look(t, Options{URL: url, Flows: []slo.Flow{promqlFlow("x", tc.query)}}), tc.want)
		})
	}
}

// TestGroups: an SLO that is split, with parts of it missing from the total.
func TestGroups(t *testing.T) {
	url := fakeServer(t, "3.5.0", `
  requests_total{job="shop",tenant="a"} 0+100x240
  requests_total{job="shop",tenant="b"} 0+100x240
  errors_total{job="shop",tenant="a"} 0+1x240
  errors_total{job="shop",tenant="c"} 0+1x240
`, nil)
	flow := func(bad string) []slo.Flow {
		return []slo.Flow{promqlFlow("x", slo.Query{Bad: bad, Total: `sum by (tenant) (rate(requests_total[$window]))`})}
	}
	want(t, look(t, Options{URL: url, Flows: flow(`sum by (tenant) (rate(errors_total{tenant="a"}[$window]))`)}),
		"ok budget: shop-x: 48,000 events in the last day, 0.5% bad, split into 2 parts, about 50 series made by rules; the budget")
	want(t, look(t, Options{URL: url, Flows: flow(`sum by (tenant) (rate(errors_total[$window]))`)}),
		`fault label: shop-x: bad: gives a series {tenant="c"} that total does not have; total has {tenant="a"}`)
	// What was written without being scraped has no up.
	want(t, look(t, Options{URL: url, Scrape: 10 * time.Second, Flows: flow(`sum by (tenant) (rate(errors_total{tenant="a"}[$window]))`)}),
		"fault scrape: job shop: a sample comes every 30 s, and the rules count on one every 10 s")
}

// TestSplitFlow is a flow of slowburn's own that an attribute splits.
func TestSplitFlow(t *testing.T) {
	flow := slo.Flow{Name: "checkout", Service: "shop", By: "tenant.id", ByLimit: 2, Objectives: []slo.Objective{{Name: "availability", Target: 0.999, Window: slo.DefaultWindow}}}
	script := `
  slo_events_total{sloth_id="shop-checkout-availability"} 0+1x240
  slo:period_error_budget_remaining:ratio{sloth_id="shop-checkout-availability"} 0.75x240
  slowburn_flow_requests_total{service="shop",flow="checkout",by="a"} 0+1x240
  slowburn_flow_requests_total{service="shop",flow="checkout",by="b"} 0+1x240
`
	got := look(t, Options{URL: fakeServer(t, "3.5.0", script, nil), Flows: []slo.Flow{flow}})
	want(t, got, "ok collector: shop-checkout-availability: counted by 1 collector, the last sample is 0 s old",
		"ok budget: shop-checkout-availability: 240 requests in the last day, 0% bad; the budget of 99.9% succeed over 30d burns at 0×, 75% of it is left")
	r, err := Run(t.Context(), Options{URL: fakeServer(t, "3.5.0", script+`  slowburn_flow_requests_total{service="shop",flow="checkout",by="__overflow__"} 0+1x240
`, nil), Flows: []slo.Flow{flow}})
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Check == "cardinality" && f.Severity == Warning }); i < 0 ||
		r.Findings[i].Seen != "it is split by tenant.id into 2 values, and the rest is counted together as __overflow__" || r.Findings[i].Fix != "by: {attribute: tenant.id, limit: 6}" {
		t.Errorf("findings %+v; want a warning of the overflow", r.Findings)
	}
}

// TestSlowRules: a group that takes longer than its interval.
func TestSlowRules(t *testing.T) {
	rules := func(seconds string) map[string]string {
		return map[string]string{"rules": `{"status":"success","data":{"groups":[{"name":"g","file":"r.yaml","interval":60,"rules":[
			{"type":"recording","name":"slo:objective:ratio","query":"vector(0.9)","labels":{"sloth_id":"x"},"health":"ok","evaluationTime":` + seconds + `}]}]}}`}
	}
	for seconds, want := range map[string]string{
		"1":  "",
		"40": "warning: group g takes 40s of the 1m until its next evaluation",
		"70": "fault: group g takes 1m10s and is to be evaluated every 1m: it leaves instants out",
	} {
		r, err := Run(t.Context(), Options{URL: fakeServer(t, "2.42.0", "", rules(seconds))})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, f := range r.Findings {
			if f.Severity != OK {
				got = f.Severity.String() + ": " + f.Seen
			}
		}
		if got != want {
			t.Errorf("an evaluation of %s s: %q, want %q", seconds, got, want)
		}
	}
}

// TestOtherServers: Mimir, Thanos and VictoriaMetrics lack some endpoints.
func TestOtherServers(t *testing.T) {
	url := fakeServer(t, "", `
  requests_total{job="shop"} 0+100x240
  up{job="shop"} 1x240
`, map[string]string{
		"status/buildinfo": "404", "status/tsdb": "404", "alertmanagers": "404", "metadata": "404", "targets": "404", "rules": "404",
	})
	r, err := Run(t.Context(), Options{URL: url, Flows: []slo.Flow{promqlFlow("x", slo.Query{Bad: `sum(rate(requests_total[$window])) * 0`, Total: `sum(rate(requests_total[$window]))`})}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Count(Fault) != 0 || r.Count(Warning) != 1 || !strings.Contains(r.Findings[0].Seen, "this server does not tell its rules") || r.Version != "" {
		t.Errorf("report %+v; want one warning of the rules, and no version", r)
	}
}

func TestNoServer(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/locked/api/v1/query":
			http.Error(w, "who are you?", http.StatusUnauthorized)
		case "/away/api/v1/query":
			http.Redirect(w, r, "http://elsewhere.invalid/", http.StatusFound)
		default:
			fmt.Fprint(w, "<html>")
		}
	}))
	defer page.Close()
	for _, tc := range []struct{ name, url, want string }{
		{"not a URL", "prometheus:9090", "not the address of a server; want one such as http://prometheus:9090"},
		{"nobody there", "http://name:secret@127.0.0.1:1", "http://name:xxxxx@127.0.0.1:1 does not answer as Prometheus does: "},
		{"a page", page.URL, "does not answer as Prometheus does: bad_response: "},
		{"locked", page.URL + "/locked", `client_error: client error: 401: "who are you?`},
		{"elsewhere", page.URL + "/away", "bad response code 302"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Run(t.Context(), Options{URL: tc.url})
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("Run(%q): %v, want an error with %q", tc.url, err, tc.want)
			}
		})
	}
	if _, err := Run(t.Context(), Options{URL: page.URL, Timeout: -1}); err == nil {
		t.Error("a negative timeout was taken")
	}
}

// TestTimeIsBounded: a server that hangs costs no more than the timeout, and
// what was not asked is said.
func TestTimeIsBounded(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/query") && r.FormValue("query") == "time()" {
			fmt.Fprint(w, `{"status":"success","data":{"resultType":"scalar","result":[7200,"7200"]}}`)
			return
		}
		<-r.Context().Done()
	}))
	defer srv.Close()
	began := time.Now()
	got := look(t, Options{URL: srv.URL, Timeout: 300 * time.Millisecond, Flows: []slo.Flow{promqlFlow("x", slo.Query{Bad: "rate(a[$window])", Total: "rate(b[$window])"})}})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s with a timeout of 300 ms", took)
	}
	if i := slices.IndexFunc(got, func(s string) bool {
		return strings.HasPrefix(s, "warning unanswered: server: 300ms were over before ")
	}); i < 0 {
		t.Errorf("nothing says that the time was over:\n%s", strings.Join(got, "\n"))
	}
}

// TestToken: the token goes to the server it is for and is read from a file.
func TestToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var refused atomic.Int32
	inner := fakeServer(t, "2.42.0", "", nil)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer s3cret" {
			refused.Add(1)
		}
		_ = r.ParseForm()
		resp, err := http.PostForm(inner+r.URL.Path, r.Form)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		var b bytes.Buffer
		_, _ = b.ReadFrom(resp.Body)
		_, _ = w.Write(b.Bytes())
	}))
	defer srv.Close()
	r, err := Run(t.Context(), Options{URL: srv.URL, TokenFile: file})
	if err != nil || refused.Load() > 0 || r.Queries < 5 {
		t.Errorf("Run with a token: %v, %d of %d requests without it", err, refused.Load(), r.Queries)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestReadings(t *testing.T) {
	for _, tc := range []struct{ name, part, text, want string }{
		{"rate", "bad", `sum(rate(a{x="y"}[$window]))`, `a{x="y"} rate empty`},
		{"a quotient", "ratio", `sum(rate(a[$window])) / sum(rate(b[$window]))`, `a rate empty; b rate`},
		{"a fallback", "rule", `sum(increase(a[5m])) or vector(0)`, `a increase empty`},
		{"good", "good", `sum(rate(a[$window])) or vector(0)`, `a rate`},
		{"an offset", "total", `sum(rate(a[$window] offset 5m))`, `a rate`},
		{"a subquery", "total", `sum_over_time(sum(a)[$window:1m])`, `a `},
		{"by name", "total", `sum(rate({__name__=~"a|b"}[$window]))`, `{__name__=~"a|b"} rate`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := newPart(tc.part, tc.part, tc.text)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range p.readings() {
				s := r.selector() + " " + r.function
				if r.mayBeEmpty() {
					s += " empty"
				}
				got = append(got, s)
			}
			if s := strings.Join(got, "; "); s != tc.want {
				t.Errorf("readings of %s = %s, want %s", tc.text, s, tc.want)
			}
			if back := p.line(p.expr.String()); strings.Contains(tc.text, "$window") != strings.Contains(back, "$window") {
				t.Errorf("%s is written as %s", tc.text, back)
			}
		})
	}
}

func TestAdded(t *testing.T) {
	for text, want := range map[string]bool{
		`a + b`:                   true,
		`sum(a) + sum(b)`:         true,
		`sum(a or b)`:             true,
		`sum(a) or sum(b)`:        false,
		`a / b`:                   false,
		`sum(a) / (sum(b) + c)`:   false,
		`x * (sum(a) + sum(b))`:   true,
		`sum(rate(a[5m]) or (b))`: true,
	} {
		p, err := newPart("total", "total", text)
		if err != nil {
			t.Fatal(err)
		}
		by := map[string]reading{}
		for _, r := range p.readings() {
			by[r.name] = r
		}
		if got := added(by["a"], by["b"]); got != want {
			t.Errorf("added in %s = %t, want %t", text, got, want)
		}
	}
}

func TestNearMetrics(t *testing.T) {
	names := []string{
		"http_requests_total", "http_request_duration_seconds_bucket", "http_request_duration_seconds_count", "grpc_server_handled_total",
		"http_server_request_duration_seconds_bucket", "process_cpu_seconds_total",
	}
	for name, want := range map[string]string{
		"http_request_total":                       "http_requests_total",
		"http_requests":                            "http_requests_total",
		"http_server_duration_milliseconds_bucket": "http_server_request_duration_seconds_bucket",
		"http_request_duration_bucket":             "http_request_duration_seconds_bucket",
		"grpc_server_handled":                      "grpc_server_handled_total",
		"zebra":                                    "",
	} {
		got := ""
		if all := nearMetrics(name, names); len(all) > 0 {
			got = all[0]
		}
		if got != want {
			t.Errorf("nearMetrics(%s) begins with %q, want %q", name, got, want)
		}
	}
}

func TestDifference(t *testing.T) {
	long := strings.Repeat("sum(rate(x[5m])) + ", 10)
	for _, tc := range []struct{ is, wants, want string }{
		{"vector(0.99)", "vector(0.999)", "vector(0.99) where it should have vector(0.999)"},
		{long + "a" + long, long + "b" + long, "…"},
		{"a", "", "a where it should have "},
	} {
		got := difference(tc.is, tc.wants)
		if !strings.HasPrefix(got, tc.want) || len(got) > 250 {
			t.Errorf("difference(%s, %s) = %s, want %s…", tc.is, tc.wants, got, tc.want)
		}
	}
}

// report is one of every kind, with a label that plays with the terminal.
func report() *Report {
	pos := slo.Pos{File: "slos.yaml", Line: 9, Column: 7}
	return &Report{URL: "http://prometheus:9090", Version: "2.42.0", SLOs: 2, Queries: 31, Findings: []Finding{
		{Fault, "bucket", "shop-checkout-latency", pos, `good: no bucket of http_request_duration_seconds_bucket has le="0.3", so nothing is counted; 0.25 and 0.5 are nearest (the 14 boundaries reach from 0.005 to 10)`, `good: 'sum(rate(http_request_duration_seconds_bucket{le="0.25"}[$window]))' # or le="0.5"`},
		{OK, "rules", "shop-checkout-latency", pos, "all of its 28 rules are loaded in this version", ""},
		{Warning, "alertmanager", Server, slo.Pos{}, "no Alertmanager is known here", "alerting: {}"},
		{OK, "value", "shop-search", slo.Pos{File: "slos.yaml", Line: 12}, "there is a\x1b[2J", ""},
	}}
}

func TestWriteText(t *testing.T) {
	var b bytes.Buffer
	if err := report().WriteText(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "report.golden")
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s differs; go test ./alerts/doctor -update rewrites it\ngot:\n%s", path, b.String())
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("a label's control characters reach the terminal")
	}
}

func TestJSON(t *testing.T) {
	out, err := json.Marshal(report())
	if err != nil {
		t.Fatal(err)
	}
	const first = `{"url":"http://prometheus:9090","version":"2.42.0","slos":2,"queries":31,"findings":[{"severity":"fault","check":"bucket","subject":"shop-checkout-latency","file":"slos.yaml","line":9,"column":7,"seen":"good: no bucket`
	if !strings.HasPrefix(string(out), first) {
		t.Errorf("JSON is %s, want %s…", out, first)
	}
}
