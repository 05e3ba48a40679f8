package spec

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo/source"
)

// TestWarnings holds every warning against its exact words, and what is close
// to it and fine against silence.
func TestWarnings(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   string
		want []string // without the name of the file, which is f.yaml
	}{
		// Budgets that cannot be spent in parts.
		{"five nines in a month", promise("99.999% succeed"), nil},
		{"eight nines in a month", promise("99.999999% succeed"), []string{
			`5:16: flows.checkout.slos[0]: no traffic below 38.6 requests a second can measure 99.999999% over 30d: one bad request spends the whole budget; want a lower target or a longer window, unless the flow has that much`,
		}},
		{"four nines in an hour", promise("{succeed: 99.99%, window: 1h}"), []string{
			`5:16: flows.checkout.slos[0]: no traffic below 2.8 requests a second can measure 99.99% over 1h: one bad request spends the whole budget; want a lower target or a longer window, unless the flow has that much`,
		}},
		{"a request a second is enough", promise("{faster_than: 1s, for: 99.99%, window: 3h}"), nil},

		{"less than a minute", promise("99.999% of minutes with 95% under 300ms"), []string{
			`5:16: flows.checkout.slos[0]: one bad minute spends 2.3 budgets of 30d: 99.999% of its 43200 minutes leaves 0.43 of one; want at most 99.9976% or a longer window`,
		}},
		{"less than a slice", promise("{succeed: 95%, time_slice: {target: 99.5%, length: 1h}, window: week}"), []string{
			`5:16: flows.checkout.slos[0]: one bad slice of 1h spends 1.2 budgets of a week: 99.5% of its 168 slices leaves 0.84 of one; want at most 99.4%, a longer window or shorter slices`,
		}},
		{"less than a minute stale", promise("{fresh: 26h, for: 99.9999%, window: month}"), []string{
			`5:16: flows.checkout.slos[0]: one bad minute spends 23.1 budgets of a month: 99.9999% of its 43200 minutes leaves 0.043 of one; want at most 99.9976% or a longer window`,
		}},
		{"a slice is enough", promise("{succeed: 95%, time_slice: {target: 99%, length: 1h}, window: week}"), nil},

		// Alerts that come too late or hardly ever.
		{"nearly everything must be bad", promise("{faster_than: 1s, for: 94%, alerts: {tiers: [{severity: page, burn_rate: 15.5, long: 1h, short: 5m}]}}"), []string{
			`5:16: flows.checkout.slos[0]: the page alert of burn rate 15.5 over 1h fires only when more than 93% of all requests are bad; want at most 8.333333, which half of them reaches`,
		}},
		{"three in four must be bad", promise("{faster_than: 1s, for: 95%, alerts: {tiers: [{severity: page, burn_rate: 15, long: 1h, short: 5m}]}}"), nil},
		{"usual alerts of a low target", promise("94% succeed"), nil},
		{"usual alerts that a target cannot reach", promise("90% succeed"), []string{
			`5:16: flows.checkout.slos[0]: the usual page alert of burn rate 14.4 can never fire: 90% burns at 10 when everything is bad; it fires at 5 instead; want alerts: {tiers: …} if that is not meant`,
		}},
		{"usual tickets that a target cannot reach", promise("{succeed: 60%, alerts: {page: off}}"), []string{
			`5:16: flows.checkout.slos[0]: the usual ticket alert of burn rate 3 can never fire: 60% burns at 2.5 when everything is bad; it fires at 1.25 instead; want alerts: {tiers: …} if that is not meant`,
		}},
		{"chosen alerts of a low target", promise("{succeed: 90%, alerts: {tiers: [{severity: page, burn_rate: 5, long: 1h, short: 5m}]}}"), nil},
		{"no alerts of a low target", promise("{succeed: 9%, alerts: off}"), nil},
		{"the budget is gone", promise("{succeed: 99.9%, alerts: {tiers: [{severity: ticket, burn_rate: 14.4, long: 3d, short: 6h}]}}"), []string{
			`5:16: flows.checkout.slos[0]: the ticket alert of burn rate 14.4 over 3d fires when 144% of the budget of 30d is spent; want less than 10`,
		}},
		{"more bad minutes than there are", promise("{succeed: 95%, time_slice: 99%, min_events: 61}"), []string{
			`5:16: flows.checkout.slos[0]: the page alert of burn rate 14.4 over 1h can never fire: it waits for 61 bad minutes, and 1h holds 60; want min_events: 60 or less`,
		}},
		{"as many bad minutes as there are", promise("{succeed: 95%, time_slice: 99%, min_events: 60}"), nil},
		{"usual alerts of the shortest window", promise("{succeed: 99%, window: 1h}"), nil},

		// Promises that another implies.
		{"a slower threshold for fewer", checkout("match: /x", "slos:", "  - 99% under 300ms", "  - 95% under 500ms"), []string{
			`7:9: flows.checkout.slos[1]: "95% under 500ms" is kept whenever "99% under 300ms" on line 6 is, and never alerts before it; want one of them, or a promise that neither implies`,
		}},
		{"a slower threshold for as many", checkout("match: /x", "slos:", "  - 95% under 500ms", "  - 95% under 300ms"), []string{
			`6:9: flows.checkout.slos[0]: "95% under 500ms" is kept whenever "95% under 300ms" on line 7 is, and never alerts before it; want one of them, or a promise that neither implies`,
		}},
		{"a slower threshold for more", checkout("match: /x", "slos:", "  - 95% under 300ms", "  - 99% under 1s"), nil},
		{"worse minutes", checkout("match: /x", "slos:", "  - 99% of minutes with 95% under 300ms", "  - {faster_than: 400ms, for: 95%, time_slice: 98%, name: weak}"), []string{
			`7:9: flows.checkout.slos[1]: "98% of minutes with 95% under 400ms" is kept whenever "99% of minutes with 95% under 300ms" on line 6 is, and never alerts before it; want one of them, or a promise that neither implies`,
		}},
		{"minutes and requests", checkout("match: /x", "slos:", "  - 99% of minutes with 95% under 300ms", "  - 95% under 500ms"), nil},
		{"older data", checkout("match: /x", "slos:", "  - fresh every 24h", "  - fresh every 26h"), []string{
			`7:9: flows.checkout.slos[1]: "99% fresh every 26h" is kept whenever "99% fresh every 1d" on line 6 is, and never alerts before it; want one of them, or a promise that neither implies`,
		}},
		{"months of two zones", checkout("match: /x", "window: month", "slos:", "  - {succeed: 99%, name: utc}", "  - {succeed: 99.5%, name: zurich, timezone: Europe/Zurich}"), nil},
		{"another window", checkout("match: /x", "slos:", "  - {faster_than: 300ms, for: 99%, window: 7d}", "  - 95% under 500ms"), nil},
		{"another kind", checkout("match: /x", "slos:", "  - 99.9% succeed", "  - 99% under 500ms"), nil},
		{"more patience before it alerts", checkout("match: /x", "slos:", "  - {faster_than: 300ms, for: 99%, min_events: 50}", "  - 95% under 500ms"), nil},
		{"alerts of its own", checkout("match: /x", "slos:",
			"  - 99% under 300ms", "  - {faster_than: 500ms, for: 95%, alerts: {tiers: [{severity: page, burn_rate: 5, long: 10m, short: 1m}]}}"), nil},
		{"an outage of its own", checkout("match: /x", "slos:", "  - 99% under 300ms", "  - {faster_than: 500ms, for: 95%, alerts: {outage: true}}"), nil},
		{"a forecast of its own", checkout("match: /x", "slos:", "  - 99% under 300ms", "  - {faster_than: 500ms, for: 95%, alerts: {runs_out: true}}"), nil},
		{"an earlier share of its own", checkout("match: /x", "slos:",
			"  - {faster_than: 300ms, for: 99%, alerts: {spent: 100%}}", "  - {faster_than: 500ms, for: 95%, alerts: {spent: 50%}}"), nil},
		{"a later share", checkout("match: /x", "slos:",
			"  - {faster_than: 300ms, for: 99%, alerts: {spent: 50%, outage: true}}", "  - {faster_than: 500ms, for: 95%, alerts: {spent: 75%, outage: true}}"), []string{
			`7:9: flows.checkout.slos[1]: "95% under 500ms" is kept whenever "99% under 300ms" on line 6 is, and never alerts before it; want one of them, or a promise that neither implies`,
		}},
		{"two targets of one kind", checkout("match: /x", "slos:", "  - {succeed: 99%, name: promised}", "  - {succeed: 99.9%, name: wanted}"), []string{
			`6:9: flows.checkout.slos[0]: "99% succeed" is kept whenever "99.9% succeed" on line 7 is, and never alerts before it; want one of them, or a promise that neither implies`,
		}},

		// Attributes that no span carries.
		{"a name of no convention", checkout("match: {http.path: /x}", "slos: [99% succeed]"), []string{
			`4:13: flows.checkout.match.http.path: is no attribute of OpenTelemetry's conventions; want url.path, unless your spans carry it`,
		}},
		{"one letter too few", checkout("match: {http.rout: /x}", "slos: [99% succeed]"), []string{
			`4:13: flows.checkout.match.http.rout: is no attribute of OpenTelemetry's conventions; want http.route, unless your spans carry it`,
		}},
		{"two letters swapped", checkout("match: /x", "bad_when: {http.repsonse.status_code: 500}", "slos: [99% succeed]"), []string{
			`5:16: flows.checkout.bad_when.http.repsonse.status_code: is no attribute of OpenTelemetry's conventions; want http.response.status_code, unless your spans carry it`,
		}},
		{"other separators", checkout("match: {messaging.destination_name: orders}", "slos: [99% succeed]"), []string{
			`4:13: flows.checkout.match.messaging.destination_name: is no attribute of OpenTelemetry's conventions; want messaging.destination.name, unless your spans carry it`,
		}},
		{"a misspelling of an older name", checkout("match: {http.statuscode: 500}", "slos: [99% succeed]"), []string{
			`4:13: flows.checkout.match.http.statuscode: is no attribute of OpenTelemetry's conventions; want http.response.status_code, unless your spans carry it`,
		}},
		{"the kind by another name", checkout("match: {span.kind: server}", "slos: [99% succeed]"), []string{
			`4:13: flows.checkout.match.span.kind: is no attribute of OpenTelemetry's conventions; want kind, unless your spans carry it`,
		}},
		{"split by a misspelling", checkout("match: /x", "by: user.idd", "slos: [99% succeed]"), []string{
			`3:3: flows.checkout.by: user.idd is no attribute of OpenTelemetry's conventions; want user.id, unless your spans carry it`,
		}},
		{"a misspelling to compare by, told once", "service: shop\ndefaults: {where: [service.versoin, plan]}\n" +
			"flows:\n  a: {match: /a, slos: [99% succeed]}\n  b: {match: /b, slos: [99% succeed]}\n", []string{
			`2:20: defaults.where[0]: "service.versoin" is no attribute of OpenTelemetry's conventions; want service.version, unless your spans carry it`,
		}},
		{"attributes of one's own", checkout("match: {tenant.id: acme, shop.cart.items: \">3\", tier: gold, http.request.header.x-tier: gold}", "by: plan", "slos: [99% succeed]"), nil},
		{"both generations", checkout("match: {http.method: GET, http.response.status_code: {not: 404}, net.host.name: shop.example}", "slos: [99% succeed]"), nil},
		{"a target with its query", checkout("match: {http.target: /x}", "slos: [99% succeed]"), []string{
			`4:13: flows.checkout.match.http.target: holds the path with its query, and is sent by older instrumentations only; want url.path, which is read from spans of either generation`,
		}},
		{"a whole URL", checkout("match: {url.full: \"https://shop.example/x\"}", "slos: [99% succeed]"), []string{
			`4:13: flows.checkout.match.url.full: is not sent on server spans, which carry url.path; want url.path, which is read from spans of either generation`,
		}},
		{"a whole URL of a client", checkout("match: {kind: client, url.full: \"https://shop.example/*\"}", "slos: [99% succeed]"), nil},

		// Routes that no span has.
		{"a route with a host", checkout("match: {http.route: \"https://shop.example/x\"}", "slos: [99% succeed]"), []string{
			`4:13: flows.checkout.match: "https://shop.example/x" has a scheme and a host, which paths and routes have not; want /x`,
		}},
		{"a path with a query", checkout("match: {url.path: \"/x?page=2\"}", "slos: [99% succeed]"), []string{
			`4:13: flows.checkout.match: "/x?page=2" has a query, which paths and routes have not; want /x`,
		}},
		{"an optional parameter", checkout("match: /x/:id?", "slos: [99% succeed]"), nil},
		{"any framework", checkout("match: {http.route: [\"/x/{id}\", \"/x/:id\", /x/<id>]}", "slos: [99% succeed]"), nil},
		{"Express with braces", checkout("framework: express", "match: GET /x/{id}", "slos: [99% succeed]"), []string{
			`5:12: flows.checkout.match: Express writes the parameters of a route as :id; want /x/:id`,
		}},
		{"Express", checkout("framework: express", "match: GET /x/:id", "slos: [99% succeed]"), nil},
		{"Go with colons", checkout("framework: go-http", "match: GET /x/:name/y", "slos: [99% succeed]"), []string{
			`5:12: flows.checkout.match: Go's net/http writes the parameters of a route as {id}; want /x/{name}/y`,
		}},
		{"Go", checkout("framework: go-http", "match: {name: \"GET /x/{name}/y\", http.route: \"/x/{name}/y\"}", "slos: [99% succeed]"), nil},
		{"Fastify with colons", checkout("framework: fastify", "match: GET /x/:name", "slos: [99% succeed]"), []string{
			`5:12: flows.checkout.match: Fastify sends no http.route on server spans; slowburn falls back to the path, with numbers, UUIDs and long hexadecimal ids as {id}; want /x/{id}, or * where the parameter is none of these`,
		}},
		{"Fastify with a name", checkout("framework: fastify", "match: {name: GET /x/:name}", "slos: [99% succeed]"), []string{
			`5:13: flows.checkout.match: Fastify names its server spans GET, without a route; want match: GET /x/{id}`,
		}},
		{"Fastify as slowburn reads it", checkout("framework: fastify", "match: GET /x/{id}/y/*", "slos: [99% succeed]"), nil},
		{"Fastify with both", checkout("framework: fastify", "match: {http.route: [\"/x/:id\", \"/x/{id}\"]}", "slos: [99% succeed]"), nil},
		{"Node's http module", checkout("framework: node-http", "match: /x/{name}", "slos: [99% succeed]"), []string{
			`5:12: flows.checkout.match: Node's http module sends no http.route on server spans; slowburn falls back to the path, with numbers, UUIDs and long hexadecimal ids as {id}; want /x/{id}, or * where the parameter is none of these`,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config, err := Parse("f.yaml", []byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			var want strings.Builder
			for _, w := range tc.want {
				fmt.Fprintf(&want, "f.yaml:%s\n", w)
			}
			got := config.Warnings.Error()
			if got != "" {
				got += "\n"
			}
			if got != want.String() {
				t.Errorf("warnings:\n%swant:\n%s", got, want.String())
			}
		})
	}
}

// TestOverlapWarnings lists the matches of the flows of one service, a, b, c…,
// one a line from line 3, and what is said of them.
func TestOverlapWarnings(t *testing.T) {
	const want = "want one of them narrowed, as with {not: …}, unless that is meant"
	for _, tc := range []struct {
		name    string
		matches []string
		want    []string
	}{
		{"apart", []string{"GET /a", "POST /a", "GET /a/:id", "GET /a/b/*", "{http.route: [/c, /d]}", "{kind: consumer}"}, nil},
		{"a glob and a route", []string{"GET /a/*", "GET /a/b", "POST /a/c"}, []string{
			"4:14: flows.b.match: overlaps with flow a at f.yaml:3:3: GET /a/b counts for b and for a; " + want,
		}},
		{"a glob and many routes", []string{"GET /a/*", "GET /a/b", "GET /a/c", "/a/d"}, []string{
			"3:14: flows.a.match: overlaps with flow b at f.yaml:4:3 and 2 more: GET /a/b counts for a and for b; " + want,
		}},
		{"a glob that leaves the route out", []string{`{http.request.method: GET, http.route: /a/*, url.path: {not: /a/b}}`, "GET /a/b"}, nil},
		{"a list", []string{"{http.route: [/a, /b]}", "GET /b", "{http.route: [/c, /b/*]}"}, []string{
			"4:14: flows.b.match: overlaps with flow a at f.yaml:3:3: GET /b counts for b and for a; " + want,
		}},
		{"a tenant and a route", []string{"/a", "{tenant.id: acme}"}, []string{
			"4:15: flows.b.match: overlaps with flow a at f.yaml:3:3: /a with tenant.id acme counts for b and for a; " + want,
		}},
		{"two tenants on a route", []string{"{http.route: /a, tenant.id: acme}", "{http.route: /a, tenant.id: {not: acme}}"}, nil},
		{"requests and messages", []string{"/a", "{kind: consumer, messaging.destination.name: orders}", "{messaging.destination.name: bills}", "{rpc.method: Pay}"}, nil},
		{"two queues", []string{"{messaging.destination.name: orders*}", "{messaging.destination.name: orders-eu}"}, []string{
			"4:15: flows.b.match: overlaps with flow a at f.yaml:3:3: a span with messaging.destination.name orders-eu counts for b and for a; " + want,
		}},
		{"a job by its name", []string{"/a", "{name: nightly-import}", "{messaging.destination.name: orders}"}, nil},
		{"a request by its name", []string{"GET /a", `{name: "GET /a"}`, `{name: "GET /b"}`}, []string{
			"4:15: flows.b.match: overlaps with flow a at f.yaml:3:3: GET /a with name GET /a counts for b and for a; " + want,
		}},
		{"a request by its path", []string{"/a/:id", `{url.path: /a/*}`, `{url.path: /b}`}, []string{
			"4:15: flows.b.match: overlaps with flow a at f.yaml:3:3: /a/:id counts for b and for a; " + want,
		}},
		{"slow ones", []string{`{shop.items: ">10"}`, `{shop.items: "<=10"}`, `{shop.items: {not: "*"}}`}, nil},
		{"everything", []string{`{kind: server}`, "GET /a"}, []string{
			"4:14: flows.b.match: overlaps with flow a at f.yaml:3:3: GET /a with kind server counts for b and for a; " + want,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var file strings.Builder
			file.WriteString("service: shop\nflows:\n")
			for i, m := range tc.matches {
				fmt.Fprintf(&file, "  %c: {match: %s, slos: [99%% succeed]}\n", 'a'+i, m)
			}
			config, err := Parse("f.yaml", []byte(file.String()))
			if err != nil {
				t.Fatalf("%v\n%s", err, file.String())
			}
			var got []string
			for _, w := range config.Warnings {
				got = append(got, strings.TrimPrefix(w.String(), "f.yaml:"))
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tc.want) {
				t.Errorf("warnings:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}

// TestConventions holds the names that are compared with to silence.
func TestConventions(t *testing.T) {
	for _, key := range conventions {
		if now := meant(key); now != "" {
			t.Errorf("meant(%q) = %q, want nothing", key, now)
		}
	}
	for key, now := range misnomers {
		if slices.Contains(conventions, key) {
			t.Errorf("%s is a name of the conventions, want no hint at %s", key, now)
		}
	}
}

// TestFramework refuses a framework that nothing is known of.
func TestFramework(t *testing.T) {
	_, err := Parse("f.yaml", []byte(checkout("framework: nest", "match: /x", "slos: [99% succeed]")))
	want := `f.yaml:4:16: flows.checkout.framework: "nest" is a framework whose spans slowburn does not know; want one of express, fastify, go-http, node-http, or no framework: at all`
	if err == nil || err.Error() != want {
		t.Errorf("Parse = %v, want %s", err, want)
	}
	config, err := Parse("f.yaml", []byte("service: shop\ndefaults: {framework: express}\nflows: {a: {match: /a, slos: [99% succeed]}, b: {framework: fastify, match: /b, slos: [99% succeed]}}"))
	if err != nil || config.Flows[0].Framework != "express" || config.Flows[1].Framework != "fastify" {
		t.Errorf("Parse = %+v, %v, want express and fastify", config.Flows, err)
	}
}

// TestSameSpans refuses what the matcher would.
func TestSameSpans(t *testing.T) {
	_, err := Parse("f.yaml", []byte(`service: shop
flows:
  a: {match: GET /a, slos: [99% succeed]}
  b: {match: {http.route: /a, http.request.method: GET}, slos: [99% succeed]}
`))
	want := "f.yaml:4:15: flows.b.match: picks the same spans as flow a at f.yaml:3:3; want one of them narrowed, or one flow with the objectives of both"
	if err == nil || err.Error() != want {
		t.Errorf("Parse = %v, want %s", err, want)
	}
}

// TestNoWarnings holds the examples that people copy to silence.
func TestNoWarnings(t *testing.T) {
	for _, name := range []string{"../../deploy/example/slos.yaml", "../../cmd/slowburn/demo.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		config, err := Parse(name, data)
		if err != nil || len(config.Warnings) > 0 {
			t.Errorf("Parse: %v, warnings:\n%v", err, config.Warnings.Error())
		}
	}
}

// TestHostileOverlaps bounds the time for patterns that nobody means.
func TestHostileOverlaps(t *testing.T) {
	list := func(format string) string {
		var b strings.Builder
		for i := range 2000 {
			fmt.Fprintf(&b, format, i)
		}
		return "[" + strings.TrimSuffix(b.String(), ", ") + "]"
	}
	stars := strings.Repeat("*a*b", 50)
	for _, tc := range []struct {
		name, match string
		flows       int
	}{
		{"long lists of globs", "{http.route: " + list(`"*%d*", `) + ", n: f%d}", 12},
		{"long lists of numbers", "{size: " + list(`">%d", `) + ", n: f%d}", 12},
		{"many stars with exceptions", `{http.route: "` + stars + `/%d*", n: {not: "` + stars + `"}, url.path: {not: "` + stars + `*a*"}}`, 100},
		{"exceptions that leave nothing short", `{n: ["a*%d*c*d*", "*e*f*"], m: {not: ["*a", "*b"]}, http.route: {not: ["*x*y*", "*y*x*"]}}`, 300},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var file strings.Builder
			file.WriteString("service: shop\nflows:\n")
			for i := range tc.flows {
				fmt.Fprintf(&file, "  f%d: {match: "+tc.match+", slos: [99%% succeed]}\n", i, i)
			}
			config, err := Parse("f.yaml", []byte(file.String()))
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			warnOverlaps(config.Flows, &source.Collector{})
			took := time.Since(began)
			t.Log(took)
			if took > 10*time.Second {
				t.Errorf("warnOverlaps takes %v, want about half a second", took)
			}
		})
	}
}

// TestManyOverlaps bounds what a service of 500 flows costs and says: with
// routes of their own, with globs that are apart, and with globs that are not.
func TestManyOverlaps(t *testing.T) {
	for _, tc := range []struct {
		name, match string
		low, high   int // warnings
	}{
		{"routes", "GET /api/%[1]d/things", 0, 0},
		{"globs", "GET /api/%[1]d/*", 0, 0},
		{"globs with other ends", "GET /api/*/%04[1]d", 0, 0},
		{"globs all alike", "GET /api/*/%[1]d/*", 10, maxOverlaps + 1},
		{"attributes", "{a%[1]d.x: y}", 10, maxOverlaps + 1},
		{"globs with exceptions", "{http.route: /api/*/x%[1]d/*, url.path: {not: /api/*/*/internal/*}}", 1, maxOverlaps + 1},
		{"lists", "{http.route: [/a/%[1]d, /b/%[1]d, /c/%[1]d/*], tenant.id: {not: [a, b]}}", 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var file strings.Builder
			file.WriteString("service: shop\nflows:\n")
			for i := range 500 {
				fmt.Fprintf(&file, "  f%d: {match: "+tc.match+", slos: [99%% succeed]}\n", i)
			}
			config, err := Parse("f.yaml", []byte(file.String()))
			if err != nil {
				t.Fatal(err)
			}
			if n := len(config.Warnings); n < tc.low || n > tc.high {
				t.Errorf("%d warnings, want %d to %d:\n%s", n, tc.low, tc.high, config.Warnings.Error())
			}
			began := time.Now()
			warnOverlaps(config.Flows, &source.Collector{})
			// Less than 100 ms on a machine that does nothing else.
			took := time.Since(began)
			t.Log(took)
			if took > 5*time.Second {
				t.Errorf("warnOverlaps takes %v, want less than 100 ms", took)
			}
		})
	}
}
