package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/slowburn-slo/slowburn/alerts/slack"
	"github.com/slowburn-slo/slowburn/collector/store"
	"github.com/slowburn-slo/slowburn/internal/fakeslack"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"slowburn": main})
}

var update = flag.Bool("update", false, "rewrite what the scripts compare with")

// TestCLI runs the commands as people do.
func TestCLI(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", UpdateScripts: *update})
}

const shopYAML = `
service: shop
flows:
  checkout:
    match: POST /api/checkout
    slos: [99.9% succeed, 95% under 300ms]
  search:
    match: {http.request.method: GET, http.route: /api/search}
    slos:
      - {succeed: 99.5%, window: 7d}
      - {faster_than: 1s, for: 99%}
`

// start runs a server on free ports over the flows, in dir, until the test ends
// or stop is called, which waits for it to end.
func start(t *testing.T, dir, yaml, slackURL string) (s *server, stop func()) {
	t.Helper()
	logs := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return startWith(t, dir, yaml, logs, func(c *config) { c.slackURL = slack.NewSecret(slackURL) })
}

// startWith is start with a log and configuration of the test's own.
func startWith(t *testing.T, dir, yaml string, logs *slog.Logger, edit func(*config)) (s *server, stop func()) {
	t.Helper()
	slos := filepath.Join(dir, "slos.yaml")
	if yaml != "" {
		if err := os.WriteFile(slos, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := config{
		slos: []string{slos}, dataDir: filepath.Join(dir, "data"),
		listen: "127.0.0.1:0", otlpGRPC: "127.0.0.1:0", otlpHTTP: "127.0.0.1:0",
		retention: store.DefaultRetention, flush: 200 * time.Millisecond,
		maxBytes: 64 << 20, maxSpans: 100_000, maxSeries: 10_000,
	}
	edit(&c)
	s, err := newServer(t.Context(), c, logs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func (s *server) address() string { return "http://" + s.listener.Addr().String() }

// instant returns the value of each series of an instant query, by its label.
func instant(t *testing.T, base, expr, label string) map[string]float64 {
	t.Helper()
	resp, err := http.Get(base + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("query %s: %v %s", expr, err, answer.Error)
	}
	out := map[string]float64{}
	for _, r := range answer.Data.Result {
		v, err := strconv.ParseFloat(r.Value[1].(string), 64)
		if err != nil {
			t.Fatal(err)
		}
		out[r.Metric[label]] = v
	}
	return out
}

// eventually waits until check returns nil.
func eventually(t *testing.T, limit time.Duration, check func() error) {
	t.Helper()
	end := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s: %v", limit, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// tally is what a sender sent.
type tally struct{ requests, errors, over300ms, over1s int }

func (y *tally) add(o tally) {
	y.requests += o.requests
	y.errors += o.errors
	y.over300ms += o.over300ms
	y.over1s += o.over1s
}

// exporters are the real SDK's, over every transport the server speaks.
func exporters(t *testing.T, s *server) map[string]sdktrace.SpanExporter {
	t.Helper()
	ctx := t.Context()
	grpc, http := s.otlp.GRPCAddr().String(), s.otlp.HTTPAddr().String()
	out := map[string]sdktrace.SpanExporter{}
	keep := func(name string, e sdktrace.SpanExporter, err error) {
		if err != nil {
			t.Fatal(err)
		}
		out[name] = e
	}
	e, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(grpc), otlptracegrpc.WithInsecure())
	keep("grpc", e, err)
	e, err = otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(grpc), otlptracegrpc.WithInsecure(), otlptracegrpc.WithCompressor("gzip"))
	keep("grpc gzip", e, err)
	e, err = otlptracehttp.New(ctx, otlptracehttp.WithEndpoint(http), otlptracehttp.WithInsecure())
	keep("http", e, err)
	e, err = otlptracehttp.New(ctx, otlptracehttp.WithEndpoint(http), otlptracehttp.WithInsecure(), otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	keep("http gzip", e, err)
	return out
}

// request is one request of the shop as the SDK reports it: a SERVER span with
// an INTERNAL child, which must not be counted.
func request(tr trace.Tracer, i int, method, route string, latency time.Duration, failed bool) {
	end := time.Now().Add(-time.Duration(i%1000) * time.Millisecond)
	begin := end.Add(-latency)
	status := 200
	if failed {
		status = 503
	}
	ctx, sp := tr.Start(context.Background(), method+" "+route, trace.WithTimestamp(begin), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(
			attribute.String("http.request.method", method), attribute.String("http.route", route),
			attribute.String("url.path", route), attribute.Int("http.response.status_code", status)))
	_, child := tr.Start(ctx, "router - "+route, trace.WithTimestamp(begin), trace.WithAttributes(attribute.String("http.route", route)))
	child.End(trace.WithTimestamp(end))
	if failed {
		sp.SetStatus(codes.Error, "")
	}
	sp.End(trace.WithTimestamp(end))
}

// send sends n requests of checkout and n of search through an exporter.
func send(t *testing.T, e sdktrace.SpanExporter, service string, n int) (checkout, search tally) {
	t.Helper()
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(e, sdktrace.WithMaxQueueSize(8*n), sdktrace.WithBlocking()),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", service))))
	tr := p.Tracer("test")
	for i := range n {
		failed, latency := i%7 == 0, time.Duration(i%13)*100*time.Millisecond
		request(tr, i, "POST", "/api/checkout", latency, failed)
		request(tr, i, "GET", "/api/search", latency, false)
		one := tally{requests: 1}
		if latency > 300*time.Millisecond {
			one.over300ms++
		}
		if latency > time.Second {
			one.over1s++
		}
		search.add(one)
		if failed {
			one.errors++
		}
		checkout.add(one)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Fatalf("the exporter could not deliver: %v", err)
	}
	return checkout, search
}

// TestCountsEqualTheSendersTally sends a known number of requests over every
// transport and reads the counters back through the query API.
func TestCountsEqualTheSendersTally(t *testing.T) {
	s, _ := start(t, t.TempDir(), shopYAML, "")
	var checkout, search tally
	for name, e := range exporters(t, s) {
		c, q := send(t, e, "shop", 1500)
		checkout.add(c)
		search.add(q)
		t.Logf("%s: sent %+v", name, c)
		_, _ = c, q
	}
	// The same routes of another service are nobody's checkout.
	e, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpoint(s.otlp.HTTPAddr().String()), otlptracehttp.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	send(t, e, "payments", 100)

	// JSON by hand: ids in hex, times as text, a status code as a number.
	now := time.Now()
	var spans []string
	for i := range 200 {
		latency, status := time.Duration(i%5)*100*time.Millisecond, 200
		one := tally{requests: 1}
		if i%4 == 0 {
			status, one.errors = 500, 1
		}
		if latency > 300*time.Millisecond {
			one.over300ms = 1
		}
		checkout.add(one)
		spans = append(spans, fmt.Sprintf(`{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"%016x","name":"POST","kind":2,
			"startTimeUnixNano":"%d","endTimeUnixNano":"%d","attributes":[
			{"key":"http.method","value":{"stringValue":"POST"}},{"key":"http.route","value":{"stringValue":"/api/checkout"}},
			{"key":"http.status_code","value":{"intValue":%d}}],"status":{}}`,
			i+1, now.Add(-latency).UnixNano(), now.UnixNano(), status))
	}
	body := `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeSpans":[{"spans":[` +
		strings.Join(spans, ",") + `]}]}]}`
	resp, err := http.Post("http://"+s.otlp.HTTPAddr().String()+"/v1/traces", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatalf("JSON: %s %s", resp.Status, answer)
	}

	want := map[string][2]int{ // events, errors
		"shop-checkout-availability":  {checkout.requests, checkout.errors},
		"shop-checkout-latency-300ms": {checkout.requests, checkout.over300ms},
		"shop-search-availability":    {search.requests, search.errors},
		"shop-search-latency-1s":      {search.requests, search.over1s},
	}
	eventually(t, 5*time.Second, func() error {
		events := instant(t, s.address(), "slo_events_total", "sloth_id")
		errs := instant(t, s.address(), "slo_errors_total", "sloth_id")
		for id, w := range want {
			if int(events[id]) != w[0] || int(errs[id]) != w[1] {
				return fmt.Errorf("%s: %g errors of %g events, want %d of %d", id, errs[id], events[id], w[1], w[0])
			}
		}
		if len(events) != len(want) {
			return fmt.Errorf("%d SLOs have counters: %v, want %d", len(events), events, len(want))
		}
		return nil
	})
	eventually(t, 15*time.Second, func() error {
		good := instant(t, s.address(), `sum by (outcome) (slowburn_flow_requests_total{flow="checkout"})`, "outcome")
		if int(good["good"]) != checkout.requests-checkout.errors || int(good["bad"]) != checkout.errors {
			return fmt.Errorf("slowburn_flow_requests_total = %v, want %d bad of %d", good, checkout.errors, checkout.requests)
		}
		return nil
	})
	ratio := float64(checkout.errors) / float64(checkout.requests)
	if got := instant(t, s.address(), `slo:sli_error:ratio_rate5m{sloth_slo="checkout-availability"}`, "sloth_slo")["checkout-availability"]; got != ratio {
		t.Errorf("slo:sli_error:ratio_rate5m = %g, want %g", got, ratio)
	}

	t.Run("promtool", func(t *testing.T) { promtoolQueries(t, s.address()) })
	t.Run("health", func(t *testing.T) {
		for _, path := range []string{"/healthz", "/readyz", "/", "/metrics", "/flows/shop/checkout"} {
			eventually(t, 12*time.Second, func() error {
				resp, err := http.Get(s.address() + path)
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				if resp.StatusCode != 200 {
					b, _ := io.ReadAll(resp.Body)
					return fmt.Errorf("GET %s: %s: %s", path, resp.Status, b)
				}
				return nil
			})
		}
	})
}

// promtoolQueries asks a running instance with Prometheus' own tool.
func promtoolQueries(t *testing.T, base string) {
	if _, err := exec.LookPath("promtool"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("promtool is not installed: %v", err)
		}
		t.Skip("promtool is not installed (Debian package prometheus)")
	}
	for _, name := range []string{
		"slo:sli_error:ratio_rate5m", "slo:sli_error:ratio_rate30m", "slo:sli_error:ratio_rate1h", "slo:sli_error:ratio_rate2h",
		"slo:sli_error:ratio_rate6h", "slo:sli_error:ratio_rate1d", "slo:sli_error:ratio_rate3d", "slo:sli_error:ratio_rate30d",
		"slo:objective:ratio", "slo:error_budget:ratio", "slo:time_period:days", "slo:current_burn_rate:ratio",
		"slo:period_burn_rate:ratio", "slo:period_error_budget_remaining:ratio", "sloth_slo_info", "slo_events_total", "slo_errors_total",
	} {
		out, err := exec.Command("promtool", "query", "instant", base, name+`{sloth_id="shop-checkout-availability"}`).CombinedOutput()
		if err != nil || !strings.Contains(string(out), `sloth_slo="checkout-availability"`) {
			t.Errorf("promtool query instant %s: %v\n%s", name, err, out)
		}
	}
}

// hasty pages within seconds, so that a test can wait for it.
const hasty = `
service: shop
flows:
  checkout:
    match: POST /api/checkout
    runbook: https://wiki.example/checkout
    slos: [99% succeed]
    alerts:
      tiers:
        - {severity: page, burn_rate: 10, long: 20s, short: 10s}
        - {severity: ticket, burn_rate: 5, long: 20s, short: 10s}
`

// shopper sends n checkouts a call over OTLP/HTTP.
func shopper(t *testing.T, s *server) func(n int, failed bool) {
	t.Helper()
	e, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpoint(s.otlp.HTTPAddr().String()), otlptracehttp.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithSyncer(e),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "shop"))))
	tr := p.Tracer("test")
	return func(n int, failed bool) {
		for range n {
			request(tr, 0, "POST", "/api/checkout", 10*time.Millisecond, failed)
		}
	}
}

// TestPageAndResolvedReachSlack breaks the checkout and mends it again.
func TestPageAndResolvedReachSlack(t *testing.T) {
	inbox := fakeslack.New(fakeslack.Options{})
	srv := httptest.NewServer(inbox)
	defer srv.Close()
	s, _ := start(t, t.TempDir(), hasty, srv.URL+"/services/T0/B0/canary")
	checkout := shopper(t, s)

	checkout(50, false)
	wait := func(what string, failed bool) string {
		t.Helper()
		before := len(inbox.Messages())
		var text string
		eventually(t, 90*time.Second, func() error {
			checkout(3, failed)
			all := inbox.Messages()
			if len(all) == before {
				return fmt.Errorf("no %s message", what)
			}
			text = all[len(all)-1].Text + "\n" + string(all[len(all)-1].Raw)
			return nil
		})
		return text
	}
	page := wait("firing", true)
	for _, part := range []string{"heckout", "99% succeed", "https://wiki.example/checkout", s.address()} {
		if !strings.Contains(page, part) {
			t.Errorf("the page does not say %q:\n%s", part, page)
		}
	}
	resolved := wait("resolved", false)
	if !strings.Contains(resolved, "recovered") {
		t.Errorf("the second message does not say recovered:\n%s", resolved)
	}
	if n := len(inbox.Messages()); n != 2 {
		t.Errorf("%d messages, want 2: the page (its ticket inhibited) and its end", n)
	}
}

// TestRestartKeepsEverything stops cleanly and starts again: counters and
// budgets are identical.
func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	others := goleak.IgnoreCurrent()
	s, stop := start(t, dir, shopYAML, "")
	e, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpoint(s.otlp.GRPCAddr().String()), otlptracegrpc.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	send(t, e, "shop", 700)
	stop() // at once: what was accepted must not need another flush
	if err := goleak.Find(others); err != nil {
		t.Errorf("a stopped server leaves goroutines: %v", err)
	}
	id := "shop-checkout-availability"
	before, _ := s.pipeline.Ledger().State(id)
	if before.Events != 700 {
		t.Fatalf("events after the stop = %d, want 700", before.Events)
	}

	s, _ = start(t, dir, "", "")
	after, _ := s.pipeline.Ledger().State(id)
	if after.Events != before.Events || after.Errors != before.Errors || after.Period() != before.Period() {
		t.Errorf("restarted: %+v\nwant: %+v", after, before)
	}
	eventually(t, 5*time.Second, func() error {
		if got := instant(t, s.address(), "slo_errors_total", "sloth_id")[id]; got != 100 {
			return fmt.Errorf("slo_errors_total = %g, want 100", got)
		}
		return nil
	})
}

// TestReload edits the file of a running server, well and badly.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	s, _ := start(t, dir, shopYAML, "")
	send(t, exporters(t, s)["grpc"], "shop", 100)
	edit := func(yaml string) {
		if err := os.WriteFile(filepath.Join(dir, "slos.yaml"), []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	loaded := func() float64 {
		resp, err := http.Get(s.address() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "slowburn_config_last_reload_successful "); ok {
				v, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
				return v
			}
		}
		t.Fatal("no slowburn_config_last_reload_successful")
		return 0
	}

	edit(strings.Replace(shopYAML, "99.9% succeed", "0.999 succeed", 1))
	eventually(t, 5*time.Second, func() error {
		if loaded() != 0 {
			return fmt.Errorf("the bad file was not refused yet")
		}
		return nil
	})
	if n := len(*s.flows.Load()); n != 2 {
		t.Errorf("%d flows after a bad file, want the 2 from before", n)
	}

	edit(shopYAML + "  login:\n    match: POST /api/login\n    slos: [99% succeed]\n")
	eventually(t, 5*time.Second, func() error {
		if got := instant(t, s.address(), "slo_events_total", "sloth_id"); len(got) != 5 || got["shop-checkout-availability"] != 100 {
			return fmt.Errorf("counters after a good file: %v", got)
		}
		return nil
	})
	eventually(t, time.Second, func() error {
		if loaded() != 1 {
			return fmt.Errorf("slowburn_config_last_reload_successful = 0 after a good file, want 1")
		}
		return nil
	})
}

// TestWebhookURLIsNowhere plants a webhook address and looks for it on every
// page and in what the API says, while Slack refuses all messages.
func TestWebhookURLIsNowhere(t *testing.T) {
	const canary = "CANARY0123456789"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "invalid_token", http.StatusForbidden) }))
	defer srv.Close()
	var logs bytes.Buffer
	dir := t.TempDir()
	slos := filepath.Join(dir, "slos.yaml")
	if err := os.WriteFile(slos, []byte(hasty), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := newServer(t.Context(), config{
		slos: []string{slos}, dataDir: filepath.Join(dir, "data"), listen: "127.0.0.1:0", otlpGRPC: "127.0.0.1:0", otlpHTTP: "127.0.0.1:0",
		slackURL: slack.NewSecret(srv.URL + "/services/" + canary), retention: store.DefaultRetention, flush: 200 * time.Millisecond,
		maxBytes: 64 << 20, maxSpans: 1000, maxSeries: 100,
	}, slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	checkout := shopper(t, s)
	eventually(t, 30*time.Second, func() error {
		checkout(10, true)
		if s.messages.slack.FailingSince().IsZero() {
			return fmt.Errorf("no message was refused yet")
		}
		return nil
	})
	var seen bytes.Buffer
	for _, path := range []string{"/", "/flows/shop/checkout", "/metrics", "/readyz", "/api/v1/rules", "/api/v1/alerts", "/api/v1/status/buildinfo"} {
		resp, err := http.Get(s.address() + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(&seen, resp.Body)
		resp.Body.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.Contains(logs.String(), "403") {
		t.Errorf("the log does not say that Slack refused:\n%s", logs.String())
	}
	for name, text := range map[string]string{"the log": logs.String(), "a page": seen.String(), "the configuration printed": fmt.Sprintf("%v %+v %#v", s.config, s.config, s.config)} {
		if strings.Contains(text, canary) {
			t.Errorf("%s shows the webhook's address", name)
		}
	}
}

// TestSecondProcessIsRefused: a data directory has one process, and the other
// hears so in one line while the first goes on.
func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	first, _ := start(t, dir, shopYAML, "")
	c := first.config
	_, err := newServer(t.Context(), c, slog.New(slog.DiscardHandler))
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "locked by another process") {
		t.Errorf("a second server on the same directory: %v, want one line that says it is locked", err)
	}
	send(t, exporters(t, first)["grpc"], "shop", 10)
	eventually(t, 5*time.Second, func() error {
		if got := instant(t, first.address(), "slo_events_total", "sloth_id")["shop-checkout-availability"]; got != 10 {
			return fmt.Errorf("the first server counts %g events, want 10", got)
		}
		return nil
	})
}

// TestPortInUse: the error names the flag.
func TestPortInUse(t *testing.T) {
	dir := t.TempDir()
	first, _ := start(t, dir, shopYAML, "")
	c := first.config
	c.dataDir, c.listen = t.TempDir(), first.listener.Addr().String()
	if _, err := newServer(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), "--listen: ") {
		t.Errorf("a second server on the same port: %v, want an error that begins with --listen", err)
	}
}
