package spec

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// FuzzRoundTrip holds Marshal to its word: whatever Parse accepts, in whatever
// format, is written such that it loads to the same flows.
func FuzzRoundTrip(f *testing.F) {
	for _, tc := range roundTrips {
		f.Add([]byte(tc.in))
	}
	for _, text := range testFiles(f) { // foreignSeeds among them
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// What a small file says by defaults may be long in full; see Marshal.
		if len(data) > 64<<10 {
			return
		}
		config, err := Parse("f.yaml", data)
		if err != nil {
			return
		}
		checkRoundTrip(t, config.Flows)
	})
}

// TestRoundTripChanged changes words of files that are right, which bytes
// changed at random seldom leave so, and holds what Parse accepts to the laws of
// FuzzRoundTrip and FuzzSchema.
func TestRoundTripChanged(t *testing.T) {
	const tries, enough = 3000, 200
	words := regexp.MustCompile(`[A-Za-z0-9#"'$][^\s\[\]{},:]*`)
	others := []string{
		"0.0000001%", "93%", "99.9999999%", "100%", "1ns", "10s", "1m", "5m", "1h", "36h", "28d", "104.3d1.7ns", "400d",
		"week", "month", "quarter", "day", "monday", "31", "02:30", "UTC", "Europe/Zurich", "Pacific/Apia", "Africa/Casablanca",
		"2026-10-25 02:30", "2026-03-29T01:00:00Z", "2026-11-01T01:30:00-05:00", "2000-01-01",
		"50%", "75%", "service.version", "outage", "spent", "where",
		"0", "1", "0.5", "1e3", "14.4", "0777", "1_000", "-1", "off", "true", "no", "page", "ticket", "a", "b",
		`" x "`, `"\u2028"`, `"~"`, `"0x1"`, `"-"`, `"? a"`, `"a: b"`, `"a #b"`, `"'"`, `"\""`, `"\\"`, `"[a]"`, `"{a}"`, `"|"`, `"%a"`, `"!a"`,
		`"a*"`, `">5"`, `"<=0.1"`, `"a,b"`, `"="`, `"<<"`, `"1:20"`, `"2026-01-01"`, `"yes"`, `"---"`, `"\ufeffx"`, `"a\tb"`, `"a\n\nb"`, `"\n"`,
		`" a\nb"`, `"a \nb"`, `"#a\nb"`, `"a\r\nb"`,
	}
	var seeds []string
	files := testFiles(t)
	for _, pos := range slices.Sorted(maps.Keys(files)) {
		seeds = append(seeds, files[pos])
	}
	schema := compileSchema(t)
	r := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for range tries {
		text := seeds[r.IntN(len(seeds))]
		for range 1 + r.IntN(3) {
			all := words.FindAllStringIndex(text, -1)
			at, with := all[r.IntN(len(all))], others[r.IntN(len(others))]
			if r.IntN(4) == 0 {
				from := all[r.IntN(len(all))]
				with = text[from[0]:from[1]]
			}
			text = text[:at[0]] + with + text[at[1]:]
		}
		config, err := Parse("f.yaml", []byte(text))
		if err != nil {
			continue
		}
		accepted++
		checkRoundTrip(t, config.Flows)
		checkSchema(t, schema, []byte(text))
		if t.Failed() {
			t.Fatal(text)
		}
	}
	if accepted < enough {
		t.Errorf("%d of %d files load, want at least %d", accepted, tries, enough)
	}
}

// checkRoundTrip writes flows, loads them and compares; then writes them again,
// which must change nothing.
func checkRoundTrip(t *testing.T, flows []slo.Flow) {
	t.Helper()
	files, err := Marshal(flows)
	if err != nil {
		t.Fatalf("Marshal: %v", err)
	}
	services := map[string]bool{}
	for _, f := range flows {
		services[f.Service] = true
	}
	if len(files) != len(services) {
		t.Errorf("Marshal writes %d files for %d services:\n%s", len(files), len(services), join(files))
	}
	fsys := fstest.MapFS{}
	for _, file := range files {
		fsys[file.Name] = &fstest.MapFile{Data: file.Data}
	}
	if len(fsys) != len(files) {
		t.Fatalf("Marshal gives %d files %d names", len(files), len(fsys))
	}
	config, err := Load(fsys, ".")
	if err != nil {
		t.Fatalf("Load of what Marshal writes: %v\n%s", err, join(files))
	}
	got, want := byIdentity(config.Flows), byIdentity(flows)
	if len(got) != len(want) {
		t.Fatalf("%d flows become %d:\n%s", len(want), len(got), join(files))
	}
	for i := range want {
		if !reflect.DeepEqual(bare(got[i]), bare(want[i])) {
			t.Errorf("flow %+v\nbecomes %+v\nby\n%s", bare(want[i]), bare(got[i]), join(files))
		}
	}
	again, err := Marshal(config.Flows)
	if err != nil || !reflect.DeepEqual(again, files) {
		t.Errorf("Marshal writes\n%sand then, %v,\n%s", join(files), err, join(again))
	}
}

// byIdentity returns flows in the order of their services, and each service's
// as they come.
func byIdentity(flows []slo.Flow) []slo.Flow {
	return slices.SortedStableFunc(slices.Values(flows), func(a, b slo.Flow) int { return strings.Compare(a.Service, b.Service) })
}

func join(files []File) string {
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, "-- %s --\n%s", f.Name, f.Data)
	}
	return b.String()
}

// roundTrips are files that say between them everything the language can; see
// TestRoundTripsSayAll.
var roundTrips = []struct{ name, in string }{
	{"two lines a promise", checkout("match: POST /api/checkout", "slos:", "- 99.9% succeed", "- p95 < 300ms")},
	{"sentences", checkout("match: POST *", "slos:", "- fresh every 26h", "- 99.5% fresh every 1d", "- 99.5% of minutes with 95% under 300ms", "- 99.5% of 5m with 100% succeed")},
	{"match", checkout(
		"match: {http.method: [GET, 'P*'], status: {not: error}, kind: server, name: a b, x: '>=5', y: {not: ['a: b', ', ']}}",
		"by: {attribute: tenant.id, limit: 7}", "bad_when: {http.status_code: [429, '5*']}", "slos: [1% succeed]",
	)},
	{"texts YAML has other ideas of", checkout(
		"match: {a: '0x10', b: 500, c: '1_000', d: 'off', e: '#x', f: [', ', 'a: b'], h: \"\\u2028\\xff\\u00a0\", i: ' x ', j: '~', k: 0.5, l: '08', m: '2026-12-01'}",
		"slos: [1% succeed]",
	)},
	{"numbers", checkout("match: {a: '>1e300', b: '<-0', c: '<=+Inf', d: '<1e-9'}", "slos: [1% succeed]")},
	{"texts", checkout(
		"match: '/a/{id}'", "description: |", "  Two", "    lines: \"and\" 'quotes' #", "", "  more", "slos: [9% succeed]",
		"labels: {a: \"\\\\\", b: 'x  y', c: 1, d: \"true\", e: '~', f: \"it's\"}", "owner: \"o: '#'\"", "framework: express",
		"runbook: https://wiki.example/{service}/{flow}?a=b#c",
	)},
	{"a text that ends a line", checkout("match: /a", "description: \"\\ta\\n\\0b\\n\"", "slos: [9% succeed]")},
	{"figures", promise("99.123456789012345% under 104d1h1ns")},
	{"tiers", promise("{succeed: 99%, window: 7d, name: x, alerts: {tiers: [{severity: page, burn_rate: 10, long: 1h, short: 5m}]}}")},
	{"slices", promise("{succeed: 99.9%, time_slice: {target: 99%, length: 5m}, min_events: 7}, {faster_than: 1s, for: 100%, time_slice: 99%}")},
	{"fresh", promise("{fresh: 1h30m, for: 99.999%, min_events: 50, window: month, timezone: Europe/Zurich}")},
	{"promql", "service: s\nflows: {a: {slos: [{promql: {bad: 'rate(a{b=\"c\"}[$window])', total: 'rate(b[{{.window}}])'}, target: 99%, id: A.b}, " +
		"{promql: {good: 'rate(a[$window])', total: 'rate(b[$window])'}, target: 99%, time_slice: 90%}, {promql: {ratio: 'avg_over_time(a[$window])'}, target: 99%, name: r}]}}\n"},
	{"promql over lines", checkout("slos:", "- promql:", "    ratio: |", "      1 -", "        avg_over_time(up[$window])", "  target: 99%")},
	{"an identity that is the usual one", promise("{succeed: 99%, id: checkout-availability}")},
	{"alerts", "service: s\ndefaults: {alerts: {name: N, labels: {a: b}, annotations: {c: \"d\\ne\"}, page: {slack: '#p', labels: {severity: x}, annotations: {g: h}}, ticket: off}}\n" +
		"flows:\n  a: {match: /a, slos: [9% succeed], alerts: off}\n  b: {match: /b, slos: [9% succeed, {succeed: 8%, name: c, alerts: {page: off, ticket: {labels: {i: j}}}}]}\n"},
	{"outages and budgets", "service: s\ndefaults: {alerts: {outage: true, page: {labels: {a: b}}, ticket: {annotations: {c: d}}}}\nflows:\n" +
		"  a: {match: /a, slos: [9% succeed, 9% of minutes with 9% succeed, 9% fresh every 1h]}\n" +
		"  b: {match: /b, slos: [{succeed: 9%, alerts: {outage: false, spent: [50%, 99.123456789%, 100%], runs_out: true}}, {succeed: 8%, name: c, alerts: {page: off}}]}\n" +
		"  c: {match: /c, slos: [{succeed: 9%, alerts: {page: off, outage: true}}, {succeed: 8%, name: d, alerts: {ticket: off, spent: 75%}}]}\n" +
		"  d: {match: /d, slos: [{succeed: 9%, alerts: {tiers: off, name: N}}, {succeed: 8%, name: e, alerts: {page: off, ticket: off, runs_out: on}}]}\n"},
	{"outages and budgets without texts", promise("{succeed: 9%, alerts: {page: off, outage: true}}, {succeed: 8%, name: a, alerts: {ticket: off, spent: 75%}}, " +
		"{succeed: 7%, name: b, alerts: {tiers: off, outage: true}}, {succeed: 6%, name: c, alerts: {tiers: [{severity: page, burn_rate: 1.01, long: 1h, short: 5m}], ticket: off, runs_out: true}}")},
	{"where", "service: s\nflows:\n  a: {match: /a, slos: [9% succeed], where: [http.status_code, '500', kind, 'a,b']}\n  b: {match: /b, slos: [9% succeed], where: off}\n  c: {match: /c, slos: [9% succeed]}\n"},
	{"where of all", "service: s\ndefaults: {where: tenant.id}\nflows:\n  a: {match: /a, slos: [9% succeed]}\n  b: {match: /b, slos: [9% succeed]}\n"},
	{"defaults", "slack: \"#shop\"\ndefaults: {window: 4w, owner: a, runbook: \"https://wiki.example/{flow}\", min_events: 2, labels: {k: v}, bad_when: {status: error}, framework: express}\n" +
		"flows: {a: {service: b, match: /, slos: [9% succeed], labels: {c: d}}, e: {service: f, match: GET *, slos: [{succeed: 9%, min_events: 3}, 9% of minutes with 99% succeed]}}\n"},
	{"defaults of defaults", "service: s\ndefaults: {slack: '#x', min_events: 9, window: week, timezone: America/New_York}\n" +
		"flows: {a: {match: /, slos: [9% succeed]}, b: {match: /b, slos: [9% of minutes with 99% succeed]}, c: {match: /c, window: 7d, slos: [9% succeed]}}\n"},
	{"channels", "service: ../etc/Passwd\ndefaults: {alerts: {page: '#a', ticket: '@b'}}\n" +
		"flows:\n  a: {match: /a, slos: [9% succeed]}\n  b: {match: /b, slos: [9% succeed], slack: C024BE91L}\n  c: {match: /c, slos: [9% succeed], alerts: {ticket: '#d'}}\n"},
	{"excludes", "service: s\ndefaults: {window: quarter, timezone: Europe/Zurich}\nflows: {a: {match: /, slos: [9% succeed]}, b: {match: /b, slos: [9% succeed]}}\nexclude:\n" +
		"- {from: 2026-12-01 02:00, for: 2h, flows: [a], why: \"upgrade: 'db'\", timezone: America/New_York}\n" +
		"- {from: 2026-10-25 02:30, to: 2026-10-25 03:30, flows: [b]}\n- {from: '2027-10-31T02:30:00+01:00', for: 1h}\n" +
		"- {every: day, at: \"23:55\", for: 5m, flows: [a]}\n- {every: [Monday, friday], at: \"02:00\", for: 1h, from: 2026-01-01, until: 2026-12-31 00:00, flows: [b]}\n"},
	{"excludes that come again", checkout("match: /x", "slos: [9% succeed]") + "exclude: [{every: month, 'on': 31, at: '00:00', for: 2h, timezone: Asia/Kathmandu}, {every: sunday, at: '3:30', for: 1h, timezone: Asia/Kathmandu}]\n"},
}

// TestRoundTripRefuses holds files to being refused that could not be written
// again.
func TestRoundTripRefuses(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{
			"a placeholder of a placeholder", checkout("match: /a", "slos: [9% succeed]", "runbook: 'https://wiki.example/{{flow}}'"),
			`f.yaml:6:14: flows.checkout.runbook: unknown placeholder "{"; want {flow} or {service}`,
		},
		{
			"a part of a second", checkout("match: /a", "slos: [9% succeed]") + "exclude: [{from: '2026-12-01 02:00:00.5Z', for: 1h}]\n",
			`f.yaml:6:18: exclude[0].from: "2026-12-01 02:00:00.5Z" is not a date and time; want a date and time such as "2026-12-01 02:00"`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := Parse("f.yaml", []byte(tc.in)); fmt.Sprint(err) != tc.want {
				t.Errorf("Parse reports %v\nwant %s", err, tc.want)
			}
		})
	}
}

// TestRoundTrip reads files, writes what they hold and reads it again.
func TestRoundTrip(t *testing.T) {
	for _, tc := range roundTrips {
		t.Run(tc.name, func(t *testing.T) {
			config, err := Parse("f.yaml", []byte(tc.in))
			if err != nil {
				t.Fatalf("Parse: %v\n%s", err, tc.in)
			}
			checkRoundTrip(t, config.Flows)
		})
	}
}

// TestAlertsOfTwoLevels reads every pair of alerts of a flow and of an objective
// in it: what the objective asks for it gets, what it turns off is off but for
// that, what it does not speak of is as the flow has it, and all is written such
// that it reads back.
func TestAlertsOfTwoLevels(t *testing.T) {
	schema := compileSchema(t)
	says := []string{
		"off", "{page: off}", "{ticket: off}", "{page: off, ticket: off}", "{tiers: off}",
		"{outage: true}", "{outage: off}", "{spent: [50%, 100%]}", "{spent: off}", "{runs_out: true}", "{runs_out: false}",
		"{page: off, outage: true}", "{ticket: off, spent: 75%}", "{ticket: off, runs_out: on}", "{page: off, ticket: off, outage: true, runs_out: true}",
		"{tiers: off, outage: true, spent: 1%}", "{tiers: [{severity: ticket, burn_rate: 2, long: 1h, short: 5m}], outage: true}",
		"{page: {labels: {a: b}}}", "{ticket: {annotations: {c: d}}}", "{page: {labels: {a: b}}, outage: true}", "{tiers: off, ticket: {labels: {e: f}}, runs_out: true}",
	}
	for _, around := range says {
		for _, own := range says {
			text := checkout("match: /x", "alerts: "+around, "slos: [{succeed: 99%, alerts: "+own+"}, {succeed: 98%, name: flow}]")
			config, err := Parse("f.yaml", []byte(text))
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			o, flow := config.Flows[0].Objectives[0], config.Flows[0].Objectives[1]
			asks := func(part string) bool { return strings.Contains(own, part) }
			for _, tc := range []struct {
				name            string
				got, flow       bool
				asked, silenced bool
			}{
				{"outage", o.Outage, flow.Outage, asks("outage: true"), own == "off" || asks("page: off") || asks("outage: off")},
				{"spent", len(o.Spent) > 0, len(flow.Spent) > 0, asks("%"), own == "off" || asks("ticket: off") || asks("spent: off")},
				{"runs_out", o.RunsOut, flow.RunsOut, asks("runs_out: true") || asks("runs_out: on"), own == "off" || asks("ticket: off") || asks("runs_out: false")},
			} {
				if want := tc.asked || tc.flow && !tc.silenced; tc.got != want {
					t.Errorf("%s in a flow of %s: %s is %t, want %t", own, around, tc.name, tc.got, want)
				}
			}
			checkRoundTrip(t, config.Flows)
			checkSchema(t, schema, []byte(text))
		}
	}
}

// TestRoundTripsSayAll holds roundTrips to every key of the language.
func TestRoundTripsSayAll(t *testing.T) {
	said := map[string]bool{}
	var walk func(n *source.Node)
	walk = func(n *source.Node) {
		for _, f := range n.Fields {
			said[f.Key] = true
			walk(f.Value)
		}
		for _, item := range n.Items {
			walk(item)
		}
	}
	for _, tc := range roundTrips {
		for _, doc := range source.Parse("f.yaml", []byte(tc.in), &source.Collector{}) {
			walk(doc)
		}
	}
	for _, keys := range [][]string{
		fileKeys, defaultsKeys, flowKeys, byKeys, objectiveKeys, sliceKeys, queryKeys, alertsKeys, severityKeys, tierKeys, excludeKeys,
	} {
		for _, key := range keys {
			if !said[key] {
				t.Errorf("no file of roundTrips says %s", key)
			}
		}
	}
}

// foreignSeeds are files in other tools' formats.
var foreignSeeds = []string{
	`version: prometheus/v1
service: s
labels: {owner: o}
slos:
  - name: Requests.1
    objective: 99.9
    description: d
    labels: {tier: "2"}
    sli:
      events:
        error_query: sum(rate(a{code=~"(5..|429)"}[{{.window}}]))
        total_query: sum(rate(a[{{.window}}]))
    alerting:
      name: A
      labels: {c: d}
      annotations: {summary: "{{ $value }}"}
      page_alert: {labels: {severity: p}}
      ticket_alert: {disable: true}
  - {name: raw, objective: 99, sli: {raw: {error_ratio_query: "avg_over_time(a[{{.window}}])"}}, alerting: {page_alert: {disable: true}, ticket_alert: {disable: true}}}
`, `apiVersion: sloth.slok.dev/v1
kind: PrometheusServiceLevel
metadata: {name: m, namespace: n}
spec:
  service: s
  slos:
    - {name: a, objective: 95, sli: {events: {errorQuery: "sum(rate(a[{{.window}}]))", totalQuery: "sum(rate(b[{{.window}}]))"}}, alerting: {name: N}}
---
apiVersion: sloth.slok.dev/v1
kind: AlertWindows
spec:
  sloPeriod: 30d
  page: {quick: {errorBudgetPercent: 1, shortWindow: 2m, longWindow: 30m}, slow: {errorBudgetPercent: 3, shortWindow: 15m, longWindow: 3h}}
  ticket: {quick: {errorBudgetPercent: 5, shortWindow: 1h, longWindow: 12h}, slow: {errorBudgetPercent: 20, shortWindow: 6h, longWindow: 3d}}
`, `apiVersion: openslo/v1
kind: SLO
metadata: {name: a}
spec:
  service: s
  indicator:
    metadata: {name: b}
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {type: Prometheus, spec: {query: "sum(rate(a[$window]))"}}}
        total: {metricSource: {type: Prometheus, spec: {query: "sum(rate(b[$window]))"}}}
  timeWindow: [{duration: 1M, isRolling: false, calendar: {startTime: "2026-01-01 00:00:00", timeZone: Europe/Zurich}}]
  budgetingMethod: Timeslices
  objectives: [{displayName: x, target: 0.99, timeSliceTarget: 0.95, timeSliceWindow: 5m}]
`, `apiVersion: openslo/v1alpha
kind: SLO
metadata: {name: a, displayName: b}
spec:
  service: s
  budgetingMethod: Occurrences
  timeWindows: [{unit: Day, count: 7, isRolling: true}]
  objectives:
    - {ratioMetrics: {counter: true, good: {source: prometheus, queryType: promql, query: "sum(rate(a[{{.window}}]))"}, total: {source: prometheus, queryType: promql, query: "sum(rate(b[{{.window}}]))"}}, target: 0.99}
`, `apiVersion: pyrra.dev/v1alpha1
kind: ServiceLevelObjective
metadata: {name: a, namespace: n, labels: {pyrra.dev/team: t}}
spec:
  target: '99.9'
  window: 2w
  description: d
  indicator: {ratio: {errors: {metric: 'a{b="c"}'}, total: {metric: a}, grouping: [d]}}
---
apiVersion: pyrra.dev/v1alpha1
kind: ServiceLevelObjective
metadata: {name: b, namespace: n}
spec: {target: '90', window: 4w, indicator: {latency: {success: {metric: 'a_bucket{le="1"}'}, total: {metric: a_count}}}}
`,
}

// TestForeignSeeds holds the seeds to being right: a wrong one seeds nothing.
func TestForeignSeeds(t *testing.T) {
	for i, seed := range foreignSeeds {
		config, err := Parse("f.yaml", []byte(seed))
		if err != nil {
			t.Errorf("seed %d: %v", i, err)
			continue
		}
		checkRoundTrip(t, config.Flows)
	}
}
