package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/slowburn-slo/slowburn/dashboards/read/readtest"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

// arriving is what a small company sends.
func arriving(now time.Time) Setup {
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	return Setup{
		HTTP: "127.0.0.1:4318", GRPC: "127.0.0.1:4317",
		Spans: 812_345, PerSecond: 118.2, Last: ago(2 * time.Second),
		Services: []Service{
			{
				Name: "shop", Spans: 800_000, PerSecond: 116, Last: ago(2 * time.Second), Language: "nodejs", SDK: "opentelemetry 2.1.0",
				Versions: []ServiceVersion{{"1.41.0", ago(72 * time.Hour)}, {"1.42.0", ago(11 * time.Minute)}},
				Routes: []Route{
					{Kind: "server", Method: "POST", Route: "/api/checkout", Requests: 13_300, PerSecond: 42, Last: ago(2 * time.Second), Flows: []string{"shop/checkout"}},
					{Kind: "server", Method: "GET", Route: "/healthz", Requests: 9_000, PerSecond: 0.1, Last: ago(4 * time.Second)},
					{Kind: "server", Method: "POST", Route: "/api/refund", Requests: 378, PerSecond: 1.2, Last: ago(3 * time.Second)},
				},
				More: 12,
			},
			{
				Name: "billing", Spans: 12_345, PerSecond: 2, Last: ago(3 * time.Second), Language: "java", SDK: "opentelemetry 1.55.0",
				Versions: []ServiceVersion{{"7", ago(90 * time.Hour)}}, Sampled: true,
				Routes: []Route{{Kind: "consumer", Route: "orders process", Requests: 812, PerSecond: 2, Last: ago(3 * time.Second), Flows: []string{"billing/gone", "billing/refund"}}},
			},
			{Name: "cron", Spans: 4, Last: ago(2 * time.Hour)},
		},
		Rejected: []Rejection{
			{Reason: "ended more than 10m ago", Spans: 1_204, Last: ago(time.Hour)},
			{Reason: "more than 1m in the future", Spans: 3, Last: ago(26 * time.Hour)},
			{Reason: "written by tomorrow's release", Spans: 1, Last: ago(time.Second)},
		},
	}
}

// settingUp is the options of a shop with what arrives.
func settingUp(tb testing.TB, in func() Setup) Options {
	opt := fixture{scripts: readtest.Shop()}.options(tb)
	opt.Setup = in
	return opt
}

func TestSetupPage(t *testing.T) {
	var now time.Time // half a second ago, so that whole seconds are those of arriving
	h := newSite(t, settingUp(t, func() Setup {
		now = time.Now().Add(-500 * time.Millisecond)
		return arriving(now)
	}))
	w, doc := get(t, h, "/setup")
	if w.Code != http.StatusOK {
		t.Fatalf("GET /setup = %d, want 200", w.Code)
	}
	if got, want := only(t, doc, tag("h1")), "Receiving from 3 services, 118 spans/s, the last 2 s ago"; got != want {
		t.Errorf("headline = %q, want %q", got, want)
	}
	if got, want := only(t, doc, class("counts")), "2 routes no flow counts"; got != want {
		t.Errorf("counts = %q, want %q", got, want)
	}
	got := rows(doc, "rejected")
	for i, want := range []string{
		"ended more than 10m ago 1,204 1 h ago A request counts when it arrives;",
		"more than 1m in the future 3 26 h ago The clock of the host that sends them is ahead",
		"written by tomorrow's release 1 1 s ago The answer to the exporter says more;",
	} {
		if len(got) != 3 || !strings.HasPrefix(got[i], want) {
			t.Errorf("rejected = %q, want line %d to begin with %q", got, i, want)
		}
	}
	got = rows(doc, "routes")
	want := []string{
		"billing Java · opentelemetry 1.55.0 · version 7 · so busy that its routes are estimates 2.0 spans/s 3 s ago",
		"orders process consumer billing/gone, refund 812 2.0/s 3 s ago",
		"cron 0 spans/s 2 h ago",
		"no requests: only spans inside of others, which count for nothing",
		"shop Node.js · opentelemetry 2.1.0 · version 1.42.0 since " + words.Clock(now.Add(-11*time.Minute), now) + ", before that 1.41.0 116 spans/s 2 s ago",
		"POST /api/refund none · make a flow 378 1.2/s 3 s ago",
		"GET /healthz none · make a flow 9,000 6/min 4 s ago",
		"POST /api/checkout checkout 13,300 42/s 2 s ago",
		"and 12 more routes, which are not kept apart",
	}
	if !slices.Equal(got, want) {
		t.Errorf("routes:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, n := range all(doc, class("unmatched")) {
		w, doc := get(t, h, attr(all(n, tag("a"))[0], "href"))
		if w.Code != http.StatusOK || len(all(doc, tag("pre"))) != 1 {
			t.Errorf("make a flow of %q = %d, want a page with its YAML", text(n), w.Code)
		}
	}
	if got := texts(all(doc, tag("h3"))); !slices.Equal(got, []string{"Node.js", "Python", "Java", "Go"}) {
		t.Errorf("exporters of %q, want four languages", got)
	}
	if strings.Contains(w.Body.String(), "curl http") {
		t.Error("page tells how to send a first span, though some have come")
	}
}

func TestSetupStates(t *testing.T) {
	now := time.Now()
	quiet := arriving(now)
	quiet.Last = now.Add(-7 * time.Minute)
	for _, tc := range []struct {
		name string
		in   *Setup
		h1   string
		curl bool
	}{
		{"nobody says", nil, "No spans yet", true},
		{"nothing", &Setup{HTTP: "127.0.0.1:4318"}, "No spans yet", true},
		{"no more", &quiet, "No spans for 7 min", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opt := settingUp(t, nil)
			if tc.in != nil {
				opt.Setup = func() Setup { return *tc.in }
			}
			_, doc := get(t, newSite(t, opt), "/setup")
			if got := only(t, doc, tag("h1")); got != tc.h1 {
				t.Errorf("headline = %q, want %q", got, tc.h1)
			}
			if got := strings.Contains(text(doc), "curl http://example.com:4318/v1/traces"); got != tc.curl {
				t.Errorf("page has the curl %t, want %t", got, tc.curl)
			}
		})
	}
}

// TestExporterAddress holds that what is to be copied names the server as the
// reader reached it, and nothing a shell would run.
func TestExporterAddress(t *testing.T) {
	for _, tc := range []struct {
		name, host, listen, want string
		warns                    bool
	}{
		{"this machine", "localhost:9595", "127.0.0.1:4318", "http://localhost:4318", false},
		{"its address", "127.0.0.1:9595", "127.0.0.1:4318", "http://127.0.0.1:4318", false},
		{"its other address", "[::1]:9595", "[::1]:4318", "http://[::1]:4318", false},
		{"another port", "localhost:9595", "127.0.0.1:14318", "http://localhost:14318", false},
		{"another machine", "slo.example", "0.0.0.0:4318", "http://slo.example:4318", false},
		{"another machine, by address", "10.0.0.7:9595", "[::]:4318", "http://10.0.0.7:4318", false},
		{"another machine, which it does not hear", "slo.example:9595", "127.0.0.1:4318", "http://slo.example:4318", true},
		{"a command", "$(reboot):9595", "127.0.0.1:4318", "http://localhost:4318", false},
		{"a quote", "a'b;c", "127.0.0.1:4318", "http://localhost:4318", false},
		{"nothing", "", "", "http://localhost:4318", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opt := settingUp(t, func() Setup { return Setup{HTTP: tc.listen} })
			r := httptest.NewRequest(http.MethodGet, "/setup", nil)
			r.Host = tc.host
			w := httptest.NewRecorder()
			newSite(t, opt).ServeHTTP(w, r)
			doc, err := html.Parse(strings.NewReader(w.Body.String()))
			if err != nil {
				t.Fatal(err)
			}
			for i, n := range all(doc, tag("pre")) {
				// The Go part has a second block, of code.
				if got := text(n); !strings.Contains(got, " "+tc.want+"/v1/traces ") && !strings.Contains(got, "OTEL_EXPORTER_OTLP_ENDPOINT="+tc.want) && !strings.Contains(got, "otlptracehttp.New") {
					t.Errorf("block %d = %q, want it to name %s", i, got, tc.want)
				}
			}
			if got := strings.Contains(text(doc), "--otlp-http-listen 0.0.0.0:"); got != tc.warns {
				t.Errorf("page warns %t, want %t", got, tc.warns)
			}
		})
	}
}

// TestExportersInShell runs what is to be copied in a shell, with a service of
// any name, and looks at the environment it makes.
func TestExportersInShell(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no sh; want a shell")
		}
		t.Skip("no sh; want a shell")
	}
	for _, service := range []string{"shop", "my shop", `it's $(echo "quoted") ` + "`x`", "-n", "мой"} {
		for _, e := range exporters(service, "http://slo.example:4318") {
			var script strings.Builder
			for line := range strings.Lines(e.Text) {
				if strings.HasPrefix(line, "export ") {
					script.WriteString(line)
				}
			}
			script.WriteString("\nprintf '%s|%s' \"$OTEL_SERVICE_NAME\" \"$OTEL_EXPORTER_OTLP_ENDPOINT\"")
			out, err := exec.Command(shell, "-c", script.String()).CombinedOutput()
			if want := service + "|http://slo.example:4318"; err != nil || string(out) != want {
				t.Errorf("%s, service %q: %q, %v; want %q", e.Language, service, out, err, want)
			}
		}
	}
	out, err := exec.Command(shell, "-c", strings.Replace(curl("http://localhost:4318"), "curl ", "printf '%s\n' ", 1)).Output()
	words := strings.SplitN(string(out), "\n", 5) // address, -H, header, -d, body
	var body struct {
		ResourceSpans []struct {
			ScopeSpans []struct {
				Spans []struct{ StartTimeUnixNano, EndTimeUnixNano, TraceID, SpanID string }
			}
		}
	}
	if err != nil || len(words) != 5 || json.Unmarshal([]byte(words[4]), &body) != nil {
		t.Fatalf("curl's words = %q, %v; want a body in JSON", words, err)
	}
	sp := body.ResourceSpans[0].ScopeSpans[0].Spans[0]
	if len(sp.StartTimeUnixNano) != 19 || len(sp.EndTimeUnixNano) != 19 || sp.EndTimeUnixNano <= sp.StartTimeUnixNano || len(sp.TraceID) != 32 || len(sp.SpanID) != 16 {
		t.Errorf("span = %+v, want times of now and IDs", sp)
	}
}

// TestMakeFlow holds that the YAML made of a route loads, and means that route.
func TestMakeFlow(t *testing.T) {
	h := newSite(t, settingUp(t, nil))
	for _, tc := range []struct {
		name    string
		service string
		route   Route
		flow    string
		match   string
		fault   bool
	}{
		{"a route", "shop", Route{Kind: "server", Method: "POST", Route: "/api/refund"}, "refund", "POST /api/refund", false},
		{"parameters", "shop", Route{Kind: "server", Method: "GET", Route: "/api/v1/orders/{id}/items/:item"}, "orders-items", "GET /api/v1/orders/{id}/items/:item", false},
		{"the root", "shop", Route{Kind: "server", Method: "GET", Route: "/"}, "home", "GET /", false},
		{"a name that is taken", "shop", Route{Kind: "server", Method: "GET", Route: "/checkout"}, "get-checkout", "GET /checkout", false},
		{"a route without slash", "shop", Route{Kind: "server", Method: "GET", Route: "api/Orders/{id}"}, "orders", "GET api/Orders/{id}", false},
		{"a glob", "shop", Route{Kind: "server", Method: "GET", Route: "/files/*"}, "files", "GET /files/*", false},
		{"no method", "shop", Route{Kind: "server", Route: "/hook"}, "hook", "/hook", false},
		{"a method of its own", "shop", Route{Kind: "server", Method: "PURGE", Route: "/cache"}, "cache", "PURGE /cache", true},
		{"no route", "shop", Route{Kind: "server", Method: "GET", Route: "GET"}, "get", "kind server, name GET", false},
		{"a queue", "billing", Route{Kind: "consumer", Route: "orders process"}, "orders-process", "kind consumer, name orders process", false},
		{"a job", "cron", Route{Kind: "internal", Route: "nightly: report #1"}, "nightly-report-1", "kind internal, name nightly: report #1", false},
		{"a service of any name", `it's "mine": # yes`, Route{Kind: "server", Method: "GET", Route: "/x"}, "x", "GET /x", false},
		{"YAML", "shop", Route{Kind: "server", Method: "GET", Route: "/a: {b}\n  evil: [c] #'\""}, "a-b-evil-c", "", true},
		{"a comparison", "shop", Route{Kind: "internal", Route: ">=5"}, "5", "", true},
		{"markup", "shop", Route{Kind: "server", Method: "GET", Route: "/<script>alert(1)</script>"}, "script-alert-1-script", "GET /<script>alert(1)</script>", false},
		{"another alphabet", "магазин", Route{Kind: "server", Method: "GET", Route: "/заказ"}, "home", "GET /заказ", false},
		{"very long", "shop", Route{Kind: "server", Method: "GET", Route: "/" + strings.Repeat("long/", 25)}, strings.TrimRight(strings.Repeat("long-", 10)[:48], "-"), "GET /" + strings.Repeat("long/", 25), false},
		{"nothing", "", Route{}, "home", "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := url.Values{"service": {tc.service}, "kind": {tc.route.Kind}, "method": {tc.route.Method}, "route": {tc.route.Route}}
			w, doc := get(t, h, "/setup/flow?"+q.Encode())
			inert(t, w.Body.String())
			blocks := all(doc, tag("pre"))
			if tc.fault {
				if len(blocks) != 0 || len(all(doc, class("fault"))) != 1 {
					t.Fatalf("page = %q, want why there is no flow", text(doc))
				}
				return
			}
			if len(blocks) != 1 {
				t.Fatalf("page = %q, want one block of YAML", text(doc))
			}
			yaml := blocks[0].FirstChild.Data // as it is copied
			c, err := spec.Parse("made.yaml", []byte(yaml))
			if err != nil {
				t.Fatalf("%s\ndoes not load: %v", yaml, err)
			}
			f := c.Flows[0]
			if len(c.Flows) != 1 || f.Service != tc.service || f.Name != tc.flow || conditions(f.Match) != tc.match {
				t.Errorf("%s\nis flow %q of %q for %q, want %q of %q for %q", yaml, f.Name, f.Service, conditions(f.Match), tc.flow, tc.service, tc.match)
			}
			for _, c := range f.Match {
				if c.Key == slo.KeyRoute && c.Any[0].Text != tc.route.Route {
					t.Errorf("route = %q, want %q", c.Any[0].Text, tc.route.Route)
				}
			}
		})
	}
}

// TestSetupIsBounded holds that whatever senders make up is text, and that
// there is not too much of it.
func TestSetupIsBounded(t *testing.T) {
	now := time.Now()
	in := Setup{HTTP: "127.0.0.1:4318", Last: now}
	names := append([]string{strings.Repeat("x", 128), "\u202eRTL", "مرحبا"}, payloads...)
	for i := range 300 {
		name := fmt.Sprint(i, names[i%len(names)])
		x := Service{Name: name, Last: now, Language: name, SDK: name, Versions: []ServiceVersion{{name, now}, {name, now}}}
		for range 10 {
			x.Routes = append(x.Routes, Route{Kind: name, Method: name, Route: name, Last: now})
		}
		in.Services = append(in.Services, x)
	}
	in.Rejected = []Rejection{{Reason: payloads[0], Spans: 1, Last: now}}
	w, doc := get(t, newSite(t, settingUp(t, func() Setup { return in })), "/setup")
	if got := len(all(doc, class("unmatched"))); got != routesShown {
		t.Errorf("%d routes, want %d", got, routesShown)
	}
	if got := text(doc); !strings.Contains(got, "1000 more routes do not fit") || !strings.Contains(got, "100 more services do not fit") {
		t.Error("page does not say what it leaves out")
	}
	if w.Body.Len() > 2_000_000 {
		t.Errorf("page has %d bytes, want fewer than 2,000,000", w.Body.Len())
	}
	inert(t, w.Body.String())
}
