package probe

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"

	"github.com/slowburn-slo/slowburn/collector/store"
	"github.com/slowburn-slo/slowburn/slo"
)

// pod is a series of requests of the test's shop.
type pod struct {
	code, name string
	values     []float64
}

// shop is what a Prometheus has scraped of two pods, seven seconds past each
// minute and 37. One pod restarts half way.
type shop struct {
	times []time.Time
	pods  []pod
}

func newShop(end time.Time, minutes int) *shop {
	s := &shop{}
	rng := rand.New(rand.NewPCG(1, 2))
	for at := end.Add(-time.Duration(minutes+3) * time.Minute); at.Before(end.Add(time.Minute)); at = at.Add(30 * time.Second) {
		s.times = append(s.times, at.Add(7*time.Second))
	}
	for _, name := range []string{"a", "b"} {
		for _, code := range []string{"200", "503"} {
			p := pod{code: code, name: name}
			v := 1e6 + float64(rng.IntN(1000))
			for range s.times {
				p.values = append(p.values, v)
				v += float64(rng.IntN(40))
			}
			s.pods = append(s.pods, p)
		}
	}
	return s
}

// truth returns bad of all requests between the scrapes that minutes share, of
// the minutes after begin up to end.
func (s *shop) truth(begin, end time.Time) string {
	var bad, all float64
	for _, p := range s.pods {
		n := p.last(s, end) - p.last(s, begin)
		all += n
		if p.code == "503" {
			bad += n
		}
	}
	return fmt.Sprintf("%.0f of %.0f", bad, all)
}

func (p pod) last(s *shop, end time.Time) float64 {
	for i := len(s.times) - 1; i >= 0; i-- {
		if !s.times[i].After(end) {
			return p.values[i]
		}
	}
	return 0
}

// queries are ways to say the same, and one that weighs minutes alike.
var queries = map[string]slo.Query{
	"increase": {Bad: `sum(increase(http_requests_total{code="503"}[$window]))`, Total: `sum(increase(http_requests_total[$window]))`},
	"rate":     {Bad: `sum(rate(http_requests_total{code="503"}[$window]))`, Total: `sum(rate(http_requests_total[$window]))`},
	"good":     {Good: `sum(rate(http_requests_total{code!="503"}[$window]))`, Total: `sum(rate(http_requests_total[$window]))`},
	"mixed":    {Bad: `sum(rate(http_requests_total{code="503"}[$window]))`, Total: `sum(increase(http_requests_total[$window]))`},
	"pods":     {Bad: `sum by () (increase(http_requests_total{code="503"}[$window]))`, Total: `sum(sum by (pod) (increase(http_requests_total[$window])))`},
	"samples":  {Bad: `sum(sum_over_time(up[$window]))`, Total: `sum(count_over_time(http_requests_total[$window]))`},
	"half":     {Ratio: `sum(rate(http_requests_total{code="503"}[$window])) / (2 * sum(rate(http_requests_total{code="503"}[$window])))`},
}

// checkQueries counts nine minutes of the shop at once and compares.
func checkQueries(t *testing.T, ask rules.QueryFunc, s *shop, end time.Time) {
	t.Helper()
	const minutes = 9
	var flows []slo.Flow
	for name, q := range queries {
		flows = append(flows, counted(name, q))
	}
	var log bytes.Buffer
	l := newLedger()
	p, err := New(Options{Flows: flows, Query: ask, Count: l.count, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	begin := end.Add(-minutes * time.Minute)
	for _, c := range p.counters {
		c.account.Until = begin
	}
	p.round(t.Context(), end)
	if f := p.Failing(); f.Err != nil {
		t.Fatalf("%s: %v", f.SLO, f.Err)
	}
	truth := s.truth(begin, end)
	for name, want := range map[string]string{
		"increase": truth, "rate": truth, "good": truth, "mixed": truth, "pods": truth,
		"samples": fmt.Sprintf("0 of %d", minutes*2*len(s.pods)),
		"half":    "4500 of 9000",
	} {
		if got := l.of("shop-" + name + "-good"); got != want {
			t.Errorf("%s: counted %s, want %s", name, got, want)
		}
	}
	if log.Len() > 0 {
		t.Errorf("the log says:\n%s", &log)
	}
	t.Logf("%s in %d minutes", truth, minutes)
}

// TestEmbedded counts what stands in the embedded store.
func TestEmbedded(t *testing.T) {
	st, err := store.Open(store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	end := time.Now().Truncate(time.Minute)
	s := newShop(end, 12)
	app := st.Appender(t.Context())
	for i, at := range s.times {
		for _, p := range s.pods {
			series := labels.FromStrings("__name__", "http_requests_total", "code", p.code, "pod", p.name)
			if _, err := app.Append(0, series, at.UnixMilli(), p.values[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	checkQueries(t, rules.EngineQueryFunc(st.RulesEngine(), st), s, end)
}

// TestPrometheus counts what stands in a real Prometheus.
func TestPrometheus(t *testing.T) {
	for _, tool := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is not installed; want it where CI=true", tool)
			}
			t.Skipf("%s is not installed (Debian package prometheus): no real Prometheus is asked", tool)
		}
	}
	dir := t.TempDir()
	end := time.Now().Truncate(time.Minute)
	s := newShop(end, 12)
	var text strings.Builder
	text.WriteString("# TYPE http_requests counter\n")
	for _, p := range s.pods {
		for i, at := range s.times {
			fmt.Fprintf(&text, "http_requests_total{code=%q,pod=%q} %g %d\n", p.code, p.name, p.values[i], at.Unix())
		}
	}
	text.WriteString("# EOF\n")
	for name, data := range map[string]string{"shop.om": text.String(), "prometheus.yml": "global: {scrape_interval: 30s}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("promtool", "tsdb", "create-blocks-from", "openmetrics", filepath.Join(dir, "shop.om"), filepath.Join(dir, "data")).CombinedOutput()
	if err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	listener.Close()
	var log bytes.Buffer
	cmd := exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+addr, "--web.route-prefix=/prom", "--web.external-url=http://"+addr+"/prom")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()

	server, err := NewServer(ServerOptions{URL: "http://" + addr + "/prom"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	ready := time.Now().Add(30 * time.Second)
	for {
		v, err := server.Query(t.Context(), "vector(42)", end)
		if err == nil && len(v) == 1 && v[0].F == 42 {
			break
		}
		if time.Now().After(ready) {
			t.Fatalf("Prometheus does not answer: %v\n%s", err, &log)
		}
		time.Sleep(100 * time.Millisecond)
	}
	checkQueries(t, server.Query, s, end)

	for expr, want := range map[string]string{
		"sum(":                "parse error",
		"http_requests_total": "", // four series are for the counter to refuse
		`"text"`:              `unexpected value type "string"`,
		"scalar(vector(7))":   "",
	} {
		v, err := server.Query(t.Context(), expr, s.times[len(s.times)-1])
		if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("Query(%s) = %v, %v; want an error with %q", expr, v, err, want)
		}
	}
	// The error of PromQL itself reaches the log.
	if _, err := server.Query(t.Context(), "http_requests_total * on(code) http_requests_total", s.times[len(s.times)-1]); err == nil || !strings.Contains(err.Error(), "many-to-many") {
		t.Errorf("Query of a wrong join: %v, want the server's reason", err)
	}
}

// TestServer is how another server is asked, and what is made of odd answers.
func TestServer(t *testing.T) {
	const one = `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"5"]}]}}`
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed: %s %s with Authorization %q", r.Method, r.URL, r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	for _, tc := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
		err    string
	}{
		{name: "a number", answer: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, one) }, want: "{} => 5 @[1000]"},
		{name: "nothing", answer: func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
		}, want: ""},
		{name: "only by GET", answer: func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				http.Error(w, "no", http.StatusMethodNotAllowed)
				return
			}
			io.WriteString(w, one)
		}, want: "{} => 5 @[1000]"},
		{name: "wrong token", answer: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "who are you?", http.StatusUnauthorized)
		}, err: "401"},
		{name: "redirect", answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, err: "307"},
		{name: "page of a proxy", answer: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>"+strings.Repeat("x", 1000), http.StatusBadGateway)
		}, err: `server error: 502: "<html>xxx`},
		{name: "another service", answer: func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "<html>welcome</html>")
		}, err: "bad_response"},
		{name: "matrix", answer: func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"status":"success","data":{"resultType":"matrix","result":[]}}`)
		}, err: "the query gives a matrix; want a number: up"},
		{name: "histogram", answer: func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"1","sum":"1","buckets":[]}]}]}}`)
		}, err: "the query gives a histogram; want a number"},
		{name: "without end", answer: func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat(" ", 1<<12)); err != nil {
					return
				}
			}
		}, err: "the answer is longer than 64 KiB"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var auth, path, agent string
			var form url.Values
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				auth, path, agent, form = r.Header.Get("Authorization"), r.URL.Path, r.UserAgent(), r.Form
				tc.answer(w, r)
			}))
			defer srv.Close()
			token := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(token, []byte("first\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := NewServer(ServerOptions{URL: srv.URL + "/prom/", TokenFile: token})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			got, err := s.Query(t.Context(), "up", time.Unix(90, 0))
			if tc.err == "" && (err != nil || fmt.Sprint(got) != tc.want) {
				t.Errorf("Query = %v, %v; want %s", got, err, tc.want)
			}
			if tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("Query: %v, want an error with %q", err, tc.err)
			}
			if auth != "Bearer first" || path != "/prom/api/v1/query" || agent != "slowburn" || form.Get("query") != "up" || form.Get("time") != "90" {
				t.Errorf("asked %s as %s with %q for %v", path, agent, auth, form)
			}
			if err := os.WriteFile(token, []byte("second"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _ = s.Query(t.Context(), "up", time.Unix(90, 0)); auth != "Bearer second" {
				t.Errorf("after the token changed: %q, want the new one", auth)
			}
		})
	}
}

func TestServerOptions(t *testing.T) {
	for _, address := range []string{"", "prometheus:9090", "ftp://prometheus", "http://", "://"} {
		if _, err := NewServer(ServerOptions{URL: address}); err == nil || !strings.Contains(err.Error(), "want one such as") {
			t.Errorf("NewServer(%q) = %v, want what is wanted", address, err)
		}
	}
	s, err := NewServer(ServerOptions{URL: "http://me:secret@127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Query(context.Background(), "up", time.Now()); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("Query where nobody listens: %v, want an error without the password", err)
	}
	missing, err := NewServer(ServerOptions{URL: "http://127.0.0.1:1", TokenFile: filepath.Join(t.TempDir(), "none")})
	if err != nil {
		t.Fatal(err)
	}
	defer missing.Close()
	if _, err := missing.Query(context.Background(), "up", time.Now()); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("Query without the token's file: %v, want an error that names it", err)
	}
}
