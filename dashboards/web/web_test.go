package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"go.uber.org/goleak"
	"golang.org/x/net/html"

	"github.com/slowburn-slo/slowburn/dashboards/read"
	"github.com/slowburn-slo/slowburn/dashboards/read/readtest"
	"github.com/slowburn-slo/slowburn/slo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a site over scripts whose data ended age ago, with its alerts.
type fixture struct {
	scripts []readtest.Script
	alerts  []Alert
	age     time.Duration // of the data
	fault   string
	prefix  string
}

// options plays the fixture into a new store.
func (f fixture) options(tb testing.TB) Options {
	tb.Helper()
	db, engine := readtest.NewStore(tb)
	end := time.Now().Add(-f.age)
	readtest.Play(tb, db, end, f.scripts...)
	flows := readtest.FlowsOf(f.scripts)
	return Options{
		Flows:       func() []slo.Flow { return flows },
		Engine:      engine,
		Queryable:   db,
		Alerts:      func() []Alert { return f.alerts },
		DataAt:      func() time.Time { return end },
		ConfigFault: func() string { return f.fault },
		Version:     "0.1.0",
		ExternalURL: f.prefix,
		Logger:      slog.New(slog.DiscardHandler),
	}
}

// incident is shop with the alerts of its incident.
func incident() fixture {
	now := time.Now()
	return fixture{
		scripts: readtest.Shop(),
		alerts: []Alert{
			{SLO: "shop-search-availability", Severity: slo.Ticket, Since: now.Add(-3 * time.Hour), Summary: "burning 1.8× over 2h and 1.6× over 1d"},
			{SLO: "shop-checkout-availability", Severity: slo.Page, Since: now.Add(-11 * time.Minute), Summary: "3.1% errors, burning 31× over 5m and 22× over 1h"},
		},
	}
}

func newSite(tb testing.TB, opt Options) http.Handler {
	tb.Helper()
	h, err := New(opt)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// get returns the answer to a request and, where it is a page, its document.
func get(tb testing.TB, h http.Handler, path string) (*httptest.ResponseRecorder, *html.Node) {
	tb.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	doc, err := html.Parse(strings.NewReader(w.Body.String()))
	if err != nil {
		tb.Fatal(err)
	}
	return w, doc
}

// all returns the elements for which want holds, in order.
func all(doc *html.Node, want func(*html.Node) bool) []*html.Node {
	var out []*html.Node
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && want(n) {
			out = append(out, n)
		}
	}
	return out
}

// class picks elements that have a class; tag picks those of a name.
func class(name string) func(*html.Node) bool {
	return func(n *html.Node) bool { return slices.Contains(strings.Fields(attr(n, "class")), name) }
}

func tag(name string) func(*html.Node) bool {
	return func(n *html.Node) bool { return n.Data == name }
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// text returns what a person reads of an element, with single spaces.
func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.Data != "title" {
			b.WriteString(d.Data)
		}
		if d.Type == html.ElementNode {
			b.WriteByte(' ')
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func texts(nodes []*html.Node) []string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = text(n)
	}
	return out
}

func only(tb testing.TB, doc *html.Node, want func(*html.Node) bool) string {
	tb.Helper()
	found := all(doc, want)
	if len(found) != 1 {
		tb.Fatalf("found %d elements, want 1: %q", len(found), texts(found))
	}
	return text(found[0])
}

func TestOverview(t *testing.T) {
	w, doc := get(t, newSite(t, incident().options(t)), "/")
	if w.Code != http.StatusOK {
		t.Fatalf("GET / = %d, want 200", w.Code)
	}
	if got, want := only(t, doc, tag("h1")), "checkout is burning its budget"; got != want {
		t.Errorf("headline = %q, want %q", got, want)
	}
	if got, want := only(t, doc, class("counts")), "1 burning 1 spending 1 spent 2 calm 1 idle 1 no data yet"; got != want {
		t.Errorf("counts = %q, want %q", got, want)
	}

	alerts := all(all(doc, class("alerts"))[0], tag("li"))
	for i, want := range []string{
		"page checkout 3.1% errors, burning 31× over 5m and 22× over 1h for 11 min, since ",
		"ticket search burning 1.8× over 2h and 1.6× over 1d for 3 h, since ",
	} {
		if got := text(alerts[i]); !strings.HasPrefix(got, want) {
			t.Errorf("alert %d = %q, want it to begin with %q", i, got, want)
		}
	}

	rows := texts(all(doc, tag("tbody")))
	want := []string{
		"checkout shop · burning 99.9% succeed 96.9% 31% gone in 7 h 31× 80 ms 234 ms 605 ms 42/s 3.1% 95% under 300ms 94.1% 52% 1.2×",
		"search shop · spending 99.5% succeed 99.09% 64% " + gone(slo.Objective{Window: slo.DefaultWindow}, 0.64, 0.0091/0.005, time.Now()) + " 1.8× 80 ms 234 ms 605 ms 62/s 0.55% 95% under 500ms 98.0% 88% lasts 0.4×",
		"refund billing · spent 99% succeed 100% spent 12% over 0× 1.4 s 1.4 s 1.4 s 2/min 0%",
		"browse shop · calm 99.5% succeed 99.98% 91% lasts <0.1× 12 ms 44 ms 45 ms 127/s 0.02%",
		"login accounts · calm 99.9% succeed 100% 97% lasts 0× 95 ms 304 ms 309 ms 9.3/s 0%",
		"report billing · idle 99% succeed – 100% – – – – 0/s –",
		"invoice billing · no data yet waits for POST /api/invoice 99% succeed – – – – – – – –",
	}
	if !slices.Equal(rows, want) {
		t.Errorf("rows:\n%s\nwant:\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"))
	}
	if got := len(all(doc, class("setup"))) + len(all(doc, class("notice"))); got != 1 { // the hidden one
		t.Errorf("%d notices on a page that lacks nothing, want the hidden one only", got)
	}

	marks := map[string]int{}
	for _, n := range all(doc, class("mark")) {
		marks[attr(n, "class")]++
	}
	if marks["mark burning"] < 2 || marks["mark calm"] < 2 || marks["mark idle"] < 2 {
		t.Errorf("marks = %v, want a shape beside each state", marks)
	}
	bars := all(all(doc, class("spark"))[0], class("bars"))
	if got := strings.Count(attr(bars[0], "d"), "M"); got != 6 {
		t.Errorf("bars of checkout's last hour = %d, want 6 for 12 minutes of errors", got)
	}
}

func TestFlowPage(t *testing.T) {
	w, doc := get(t, newSite(t, incident().options(t)), "/flows/shop/checkout")
	if w.Code != http.StatusOK {
		t.Fatalf("GET /flows/shop/checkout = %d, want 200", w.Code)
	}
	got := text(all(doc, tag("main"))[0])
	for _, want := range []string{
		"checkout POST /api/checkout on shop · owner payments · runbook",
		"page checkout 3.1% errors",
		"rate 42/s errors 3.1% p50 80 ms",
		"99.9% succeed over 30d burning 31 of every 1,000 requests fail; 1 may. Since counting began: 561 of 812,345 requests. 31% left gone in 7 h",
		"5m 3.1% 31×", "1h 0.65% 6.5×", "30d 0.07% 0.7×",
		"page 14.4× 1h and 5m 1.44% 2% 51.8 s 4 min 56 s",
		"to burn at 14.4×, 14.4 × 0.1% = 1.44% must be bad. 1h of that spend 14.4 × 1h / 30d = 2% of the budget.",
		"If everything is bad, the whole budget is spent in 43 min 12 s.",
		"written in slos.yaml:7:9, in full: succeed: 99.9%",
		"Alerts of the last 30 days",
		"95% under 300ms over 30d calm 5.9 of every 100 requests take longer than 300ms; 5 may.",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("page of checkout lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "search") {
		t.Errorf("page of checkout speaks of search:\n%s", got)
	}

	w, doc = get(t, newSite(t, incident().options(t)), "/flows/shop/nothing")
	if got := only(t, doc, tag("h1")); w.Code != http.StatusNotFound || got != "There is no such flow" {
		t.Errorf("page of an unknown flow = %d %q, want 404 and words", w.Code, got)
	}
}

func TestStates(t *testing.T) {
	checkout := readtest.FlowOf("shop", "checkout", 0.999, 0)
	steady := func(left, bad5m, bad1h float64) []readtest.Script {
		return []readtest.Script{{Flow: checkout, PerFlush: 100, SLOs: map[string]map[string]float64{"availability": readtest.Figures(0.999, left, bad5m, bad1h)}}}
	}
	for _, tc := range []struct {
		name     string
		site     fixture
		headline string
		title    string
		page     string // to be found on it
	}{
		{
			name: "nothing configured", headline: "No flows yet", title: "– No flows yet · slowburn",
			page: "slowburn serve --slos slos.yaml",
		},
		{
			name: "nothing arriving", site: fixture{scripts: []readtest.Script{{Flow: checkout}}},
			headline: "Nothing has arrived yet", title: "– Nothing has arrived yet · slowburn",
			page: "export OTEL_SERVICE_NAME=shop export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 export OTEL_TRACES_EXPORTER=otlp " +
				"node --require @opentelemetry/auto-instrumentations-node/register app.js",
		},
		{
			name: "calm", site: fixture{scripts: steady(0.9, 0, 0.0001)},
			headline: "All calm", title: "○ All calm · slowburn", page: "90% lasts",
		},
		{
			name: "a blip", site: fixture{scripts: steady(0.9, 0.002, 0.0001)},
			headline: "All calm", title: "○ All calm · slowburn", page: "90% 2.0×",
		},
		{
			name: "spending", site: fixture{scripts: steady(0.9, 0.002, 0.002)},
			headline: "One flow spends faster than it earns", title: "◐ One flow spends faster than it earns · slowburn", page: "90% gone on",
		},
		{
			name: "burning without a page", site: fixture{scripts: steady(0.9, 0.5, 0.5)},
			headline: "One flow spends faster than it earns", title: "◐ One flow spends faster than it earns · slowburn", page: "90% gone in 77 min 500×",
		},
		{
			name: "burning", site: fixture{scripts: steady(0.9, 0.5, 0.5), alerts: []Alert{{SLO: "shop-checkout-availability", Severity: slo.Page, Since: time.Now()}}},
			headline: "checkout is burning its budget", title: "● checkout is burning its budget · slowburn",
			page: "page checkout 99.9% succeed over 30d for ",
		},
		{
			name: "spent", site: fixture{scripts: steady(-2, 0, 0)},
			headline: "Nothing burns, one budget is spent", title: "◐ Nothing burns, one budget is spent · slowburn", page: "spent 200% over",
		},
		{
			name: "stale", site: fixture{scripts: steady(0.9, 0, 0), age: 12*time.Minute + 30*time.Second},
			headline: "No data for 12 min", title: "? No data for 12 min · slowburn",
			page: "Data ends 12 min ago, at ",
		},
		{
			name:     "burning and stale",
			site:     fixture{scripts: steady(0.9, 0.5, 0.5), age: 12*time.Minute + 30*time.Second, alerts: []Alert{{SLO: "shop-checkout-availability", Severity: slo.Page, Since: time.Now()}}},
			headline: "checkout is burning its budget", title: "● checkout is burning its budget · slowburn",
			page: "Data ends 12 min ago, at ",
		},
		{
			name: "refused configuration", site: fixture{scripts: steady(0.9, 0, 0), fault: "slos.yaml:4: 0.999 is not a percentage"},
			headline: "All calm", title: "○ All calm · slowburn",
			page: "The changed configuration was refused. The one before it goes on running. slos.yaml:4: 0.999 is not a percentage",
		},
		{
			name: "alert of a removed flow", site: fixture{scripts: steady(0.9, 0, 0), alerts: []Alert{{SLO: "old-flow", Severity: slo.Page, Since: time.Now(), Summary: "gone"}}},
			headline: "An alert is firing", title: "● An alert is firing · slowburn", page: "page old-flow gone for ",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, doc := get(t, newSite(t, tc.site.options(t)), "/")
			if got := only(t, doc, tag("h1")); got != tc.headline {
				t.Errorf("headline = %q, want %q", got, tc.headline)
			}
			title := all(doc, func(n *html.Node) bool { return n.Data == "title" && n.Parent.Data == "head" })
			if got := title[0].FirstChild.Data; got != tc.title {
				t.Errorf("title = %q, want %q", got, tc.title)
			}
			if got := text(all(doc, tag("main"))[0]); !strings.Contains(got, tc.page) {
				t.Errorf("page lacks %q:\n%s", tc.page, got)
			}
		})
	}
}

// broken is an engine that answers nothing about one metric.
type broken struct {
	promql.QueryEngine
	metric string
	asked  *atomic.Int64
}

func (b broken) NewInstantQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, ts time.Time) (promql.Query, error) {
	b.asked.Add(1)
	if strings.Contains(qs, b.metric) {
		return nil, errors.New("query timed out in <engine>")
	}
	return b.QueryEngine.NewInstantQuery(ctx, q, opts, qs, ts)
}

// brokenRange is an engine that answers nothing about one metric over time.
type brokenRange struct {
	promql.QueryEngine
	metric string
}

func (b brokenRange) NewRangeQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, start, end time.Time, step time.Duration) (promql.Query, error) {
	if strings.Contains(qs, b.metric) {
		return nil, errors.New("query timed out in <engine>")
	}
	return b.QueryEngine.NewRangeQuery(ctx, q, opts, qs, start, end, step)
}

// TestFaults breaks one query at a time: the page says what is missing and
// since when, and shows the rest.
func TestFaults(t *testing.T) {
	for _, tc := range []struct{ name, metric, notice, row, headline string }{
		{
			name: "latencies", metric: "slowburn_flow_duration_seconds", headline: "checkout is burning its budget",
			notice: "Latencies cannot be read since ",
			row:    "checkout shop · burning 99.9% succeed 96.9% 31% gone in 7 h 31× – – – 42/s 3.1%",
		},
		{
			name: "rates", metric: "slowburn_flow_requests_total", headline: "checkout is burning its budget",
			notice: "Rates and error shares cannot be read since ",
			row:    "checkout shop · burning 99.9% succeed 96.9% 31% gone in 7 h 31× 80 ms 234 ms 605 ms – –",
		},
		{
			name: "budgets", metric: "slo:", headline: "checkout is burning its budget",
			notice: "Budgets and burn rates cannot be read since ",
			row:    "checkout shop · burning 99.9% succeed – – – 80 ms 234 ms 605 ms 42/s 3.1%",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opt := incident().options(t)
			opt.Engine = broken{opt.Engine, tc.metric, new(atomic.Int64)}
			_, doc := get(t, newSite(t, opt), "/")
			if got := only(t, doc, tag("h1")); got != tc.headline {
				t.Errorf("headline = %q, want %q", got, tc.headline)
			}
			notices := texts(all(doc, class("notice")))
			if len(notices) != 2 || !strings.HasPrefix(notices[1], tc.notice) || !strings.HasSuffix(notices[1], "query timed out in <engine>") {
				t.Errorf("notices = %q, want %q and the reason", notices, tc.notice)
			}
			if got := text(all(doc, tag("tbody"))[0]); !strings.HasPrefix(got, tc.row) {
				t.Errorf("first row = %q, want %q", got, tc.row)
			}
		})
	}

	t.Run("nobody knows", func(t *testing.T) {
		site := incident()
		site.alerts = nil
		opt := site.options(t)
		opt.Engine = broken{opt.Engine, "slo:", new(atomic.Int64)}
		_, doc := get(t, newSite(t, opt), "/")
		if got, want := only(t, doc, tag("h1")), "The budgets cannot be read"; got != want {
			t.Errorf("headline = %q, want %q: silence is not calm", got, want)
		}
	})
}

// none is a store without a single series.
type none struct{}

func (none) Querier(int64, int64) (storage.Querier, error) { return storage.NoopQuerier(), nil }

// TestReadingIsShared holds that viewers cost one reading a flush, or one a
// second while a query goes wrong, of each page they look at, and that a fault keeps the time it began.
func TestReadingIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Second})
		defer engine.Close()
		var asked atomic.Int64
		flushed := time.Now()
		ask := broken{engine, "nothing", &asked}
		flows := []slo.Flow{readtest.FlowOf("shop", "checkout", 0.999, 0)}
		opt := Options{
			Flows:     func() []slo.Flow { return flows },
			Engine:    &ask,
			Queryable: none{},
			DataAt:    func() time.Time { return flushed },
			Logger:    slog.New(slog.DiscardHandler),
		}
		h := newSite(t, opt)
		look := func(viewers, want int) *html.Node {
			t.Helper()
			var doc *html.Node
			for range viewers {
				_, doc = get(t, h, "/")
				get(t, h, "/flows/shop/checkout")
			}
			if got := asked.Load(); got != int64(want) {
				t.Errorf("at %s: %d instant queries so far, want %d", time.Now().Format("05s"), got, want)
			}
			return doc
		}
		look(50, 6)
		time.Sleep(5 * time.Second)
		look(50, 6)
		flushed = time.Now()
		time.Sleep(time.Second)
		look(50, 12)

		ask.metric = "slowburn_flow_duration_seconds"
		flushed = flushed.Add(time.Second)
		time.Sleep(time.Second)
		look(50, 18)
		time.Sleep(53 * time.Second)
		notice := texts(all(look(50, 24), class("notice")))
		if want := "Latencies cannot be read since 00:00 UTC (53 s)."; len(notice) != 3 || !strings.HasPrefix(notice[2], want) {
			t.Errorf("notices = %q, want the last to begin with %q", notice, want)
		}
		ask.metric = "nothing"
		time.Sleep(time.Second)
		if notice := texts(all(look(50, 30), class("notice"))); len(notice) != 2 {
			t.Errorf("notices after the query works again = %q, want that of the data's age", notice)
		}
	})
}

// payloads try to leave the place a text is put in.
var payloads = []string{
	`<script>alert(1)</script>`, `<img src=x onerror=alert(1)>`, `"><svg onload=alert(1)>`, `' onmouseover='alert(1)`,
	`</title><script>alert(1)</script>`, `</tbody></table><iframe src=javascript:alert(1)>`, `{{.ExternalURL}}{{range .}}`,
	`<a href="javascript:alert(1)">x</a>`, "line\u2028separator", "\u202emirror", `<!--`, `]]>`, `<base href=//evil.example>`,
	`<main hx-get="https://evil.example" hx-trigger="load">`, `<style>*{display:none}</style>`, `&lt;script&gt;`, `../../..`, `%2e%2e%2f`,
	`<meta http-equiv=refresh content="0;url=//evil.example">`, `<form action=//evil.example>`, "\x00nul", `<math><mi//xlink:href="data:x,<script>alert(1)</script>">`,
}

// TestInert puts hostile texts wherever a text can come from and holds that
// the page has the elements and attributes of a page with harmless ones.
func TestInert(t *testing.T) {
	shape := func(doc *html.Node) string {
		var b strings.Builder
		for _, n := range all(doc, func(*html.Node) bool { return true }) {
			b.WriteString(n.Data)
			for _, a := range n.Attr {
				b.WriteString(" " + a.Key)
			}
			b.WriteByte('\n')
		}
		return b.String()
	}
	render := func(text string) (first, detail *html.Node) {
		f := readtest.FlowOf("shop"+text, "checkout"+text, 0.999, 0)
		f.Owner, f.Description, f.Runbook = "owner"+text, "description"+text, "javascript:alert(1)//"+text
		f.Match = slo.Selector{{Key: "key" + text, Any: []slo.Pattern{{Text: "value" + text}}}}
		f.Pos.File = "file" + text
		f.Objectives[0].Pos.File = "file" + text
		s := fixture{
			scripts: []readtest.Script{{Flow: f, PerFlush: 100, SLOs: map[string]map[string]float64{"availability": readtest.Figures(0.999, 0.5, 0.1, 0.1)}}},
			alerts: []Alert{
				{SLO: f.SLOs()[0].ID(), Severity: slo.Page, Since: time.Now(), Summary: "summary" + text},
				{SLO: "unknown" + text, Severity: slo.Severity("ticket" + text), Since: time.Now(), Summary: text},
			},
			fault: "fault" + text,
		}
		opt := s.options(t)
		opt.Version = "version" + text
		opt.Where = func(string, string) []Culprit {
			return []Culprit{{Values: []read.Value{{Attribute: "attribute" + text, Text: "value" + text}}, Bad: 1}}
		}
		h := newSite(t, opt)
		_, first = get(t, h, "/")
		links := all(first, func(n *html.Node) bool { return n.Data == "a" && strings.HasPrefix(attr(n, "href"), "/flows/") })
		if len(links) == 0 {
			t.Fatalf("%q: no link to the flow", text)
		}
		w, detail := get(t, h, attr(links[0], "href"))
		if w.Code != http.StatusOK {
			t.Errorf("%q: page of the flow under its own link = %d, want 200", text, w.Code)
		}
		return first, detail
	}
	wantFirst, wantDetail := render("harmless")
	for _, payload := range payloads {
		first, detail := render(payload)
		if got, want := shape(first), shape(wantFirst); got != want {
			t.Errorf("%q changes the first page:\n%s\nwant:\n%s", payload, got, want)
		}
		if got, want := shape(detail), shape(wantDetail); got != want {
			t.Errorf("%q changes the flow's page:\n%s\nwant:\n%s", payload, got, want)
		}
		for _, doc := range []*html.Node{first, detail} {
			for _, n := range all(doc, tag("a")) {
				if href := attr(n, "href"); !strings.HasPrefix(href, "/") && !strings.HasPrefix(href, "?") || strings.HasPrefix(href, "//") {
					t.Errorf("%q: link to %q, want a path of ours", payload, href)
				}
			}
		}
	}
}

func TestRunbookLinks(t *testing.T) {
	for _, tc := range []struct {
		runbook string
		link    bool
	}{
		{"https://wiki.example/checkout", true},
		{"http://wiki.example/checkout?a=b&c=d", true},
		{"javascript:alert(1)", false},
		{"JAVASCRIPT:alert(1)", false},
		{"data:text/html,<script>alert(1)</script>", false},
		{"//evil.example", false},
		{"vbscript:x", false},
		{"ask Ann", false},
	} {
		t.Run(tc.runbook, func(t *testing.T) {
			f := readtest.FlowOf("shop", "checkout", 0.999, 0)
			f.Runbook = tc.runbook
			_, doc := get(t, newSite(t, fixture{scripts: []readtest.Script{{Flow: f}}}.options(t)), "/flows/shop/checkout")
			links := all(doc, func(n *html.Node) bool { return n.Data == "a" && attr(n, "rel") == "noreferrer" })
			if got := len(links) == 1 && attr(links[0], "href") == tc.runbook; got != tc.link {
				t.Errorf("runbook %q is a link: %t, want %t", tc.runbook, got, tc.link)
			}
			if got := text(all(doc, class("sub"))[0]); !tc.link && !strings.Contains(got, tc.runbook) {
				t.Errorf("runbook as text = %q, want it to show %q", got, tc.runbook)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	h := newSite(t, incident().options(t))
	for _, path := range []string{"/", "/flows/shop/checkout", "/flows/x/y", "/assets/app.css", "/assets/htmx.min.js", "/assets/nothing", "/nothing"} {
		req := httptest.NewRequest(http.MethodGet, path, nil)
		req.Header.Set("Origin", "https://evil.example")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'self'; script-src 'self'; style-src 'self'; object-src 'none'; " +
				"frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
			"X-Content-Type-Options":      "nosniff",
			"Referrer-Policy":             "no-referrer",
			"Access-Control-Allow-Origin": "",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("GET %s: %s = %q, want %q", path, name, got, want)
			}
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s / = %d, want 405", method, w.Code)
		}
	}
	for _, path := range []string{"/assets/", "/assets/README.md", "/assets/..%2ftemplates%2flayout.html", "/templates/layout.html"} {
		if w, _ := get(t, h, path); w.Code == http.StatusOK {
			t.Errorf("GET %s = 200, want an error", path)
		}
	}
}

// TestAssets holds that everything a page refers to is served, may be kept by
// browsers, and comes from slowburn itself, under a prefix as well.
func TestAssets(t *testing.T) {
	site := incident()
	site.prefix = "https://ops.example/slow%20burn/"
	h := newSite(t, site.options(t))
	_, doc := get(t, h, "/")
	var refs []string
	for _, n := range all(doc, func(*html.Node) bool { return true }) {
		for _, a := range n.Attr {
			switch a.Key {
			case "href", "src":
				refs = append(refs, a.Val)
			case "style":
				t.Errorf("<%s> has a style attribute, which the policy forbids", n.Data)
			}
			if strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Key, "hx-on") {
				t.Errorf("<%s> has the script attribute %s", n.Data, a.Key)
			}
		}
		if (n.Data == "script" || n.Data == "style") && n.FirstChild != nil {
			t.Errorf("<%s> has content, which the policy forbids", n.Data)
		}
	}
	if len(refs) < 8 {
		t.Fatalf("references = %q, want assets and flows", refs)
	}
	for _, ref := range refs {
		path, ok := strings.CutPrefix(ref, "/slow%20burn")
		if strings.HasPrefix(ref, "?") { // of the page itself
			path, ok = "/"+ref, true
		}
		if !ok {
			t.Errorf("reference %q lacks the prefix of the external URL", ref)
			continue
		}
		w, _ := get(t, h, path)
		if w.Code != http.StatusOK {
			t.Errorf("GET %s = %d, want 200", path, w.Code)
		}
		if kept := strings.Contains(w.Header().Get("Cache-Control"), "immutable"); kept != strings.HasPrefix(path, "/assets/") {
			t.Errorf("GET %s: Cache-Control = %q", path, w.Header().Get("Cache-Control"))
		}
	}
}

func TestNewWantsItsSources(t *testing.T) {
	full := fixture{}.options(t)
	for _, tc := range []struct {
		name string
		cut  func(*Options)
	}{
		{"no flows", func(o *Options) { o.Flows = nil }},
		{"no engine", func(o *Options) { o.Engine = nil }},
		{"no storage", func(o *Options) { o.Queryable = nil }},
		{"bad external URL", func(o *Options) { o.ExternalURL = "http://[::1" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opt := full
			tc.cut(&opt)
			if h, err := New(opt); err == nil {
				t.Errorf("New = %v, nil; want an error", h)
			}
		})
	}
}

// thousand is a site over a store with 1,000 flows of two objectives each.
func thousand(b *testing.B) (Options, []slo.Flow) {
	b.Helper()
	var scripts []readtest.Script
	for i := range 1000 {
		s := readtest.Shop()[i%6]
		s.Flow = readtest.FlowOf(fmt.Sprintf("service-%d", i/20), fmt.Sprintf("%s-%d", s.Flow.Name, i), 0.999, 300*time.Millisecond)
		s.SLOs = map[string]map[string]float64{"availability": readtest.Figures(0.999, 0.31, 0.031, 0.0065), "latency": readtest.Figures(0.95, 0.52, 0.059, 0.04)}
		scripts = append(scripts, s)
	}
	opt := fixture{scripts: scripts}.options(b)
	return opt, opt.Flows()
}

// visit measures what a page of a site costs: of a new site, which reads the
// store as after each flush, or of one that keeps its readings. It reports the
// size of the page as well.
func visit(b *testing.B, opt Options, path string, fresh bool) {
	h := newSite(b, opt)
	var w *httptest.ResponseRecorder
	for b.Loop() {
		if fresh {
			b.StopTimer()
			h = newSite(b, opt)
			b.StartTimer()
		}
		w = httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	}
	if w.Code != http.StatusOK {
		b.Fatalf("GET %s = %d, want 200", path, w.Code)
	}
	b.ReportMetric(float64(w.Body.Len()), "B/page")
	w = httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept-Encoding", "gzip")
	h.ServeHTTP(w, r)
	b.ReportMetric(float64(w.Body.Len()), "B/zipped")
}

// BenchmarkOverview measures the first page of 1,000 flows.
func BenchmarkOverview(b *testing.B) {
	opt, flows := thousand(b)
	store := read.Store{Engine: opt.Engine, Queryable: opt.Queryable}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			store.Numbers(b.Context(), flows, nil, opt.DataAt())
		}
	})
	b.Run("fresh", func(b *testing.B) { visit(b, opt, "/", true) })
	b.Run("kept", func(b *testing.B) { visit(b, opt, "/", false) })
	b.Run("searched", func(b *testing.B) { visit(b, opt, "/?q=checkout&sort=-p95", true) })
}

// BenchmarkFlow measures the page of one of 1,000 flows and what its charts
// show.
func BenchmarkFlow(b *testing.B) {
	opt, flows := thousand(b)
	path := "/flows/" + flows[1].Service + "/" + flows[1].Name
	b.Run("fresh", func(b *testing.B) { visit(b, opt, path, true) })
	b.Run("kept", func(b *testing.B) { visit(b, opt, path, false) })
	for _, r := range []string{"1h", "6h", "30d"} {
		b.Run("data "+r, func(b *testing.B) { visit(b, opt, path+"/data?range="+r, true) })
	}
}
