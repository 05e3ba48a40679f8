package spec

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/openslo"
	promql "github.com/slowburn-slo/slowburn/slo/query"
)

// TestMixedDirectory reads one directory of all formats, whose objects refer to
// one another across files.
func TestMixedDirectory(t *testing.T) {
	config, err := Load(fstest.MapFS{
		"slos/a-own.yaml": {Data: []byte(`service: shop
flows:
  checkout: {match: /checkout, slos: [99.9% succeed, {faster_than: 1s, for: 99%, name: mine, alerts: {tiers: [{severity: page, burn_rate: 9, long: 1h, short: 5m}]}}]}
  search: {match: /search, slos: [99% succeed], alerts: {page: off}}
`)},
		"slos/b-openslo.yaml": {Data: []byte(`apiVersion: openslo/v1
kind: SLO
metadata: {name: referring, labels: {team: [a, b], cost-centre: x}, annotations: {a/b: c}}
spec:
  service: bank
  indicatorRef: errors
  budgetingMethod: Timeslices
  timeWindow: [{duration: 1M, calendar: {startTime: 2022-01-01 12:00:00, timeZone: Europe/Zurich}}]
  objectives:
    - {target: 0.99, timeSliceTarget: 0.95, timeSliceWindow: 5}
    - {targetPercent: 99.9, timeSliceTarget: 1, timeSliceWindow: 1m}
  alertPolicies: [fast-burn]
`)},
		"slos/c-sli.yaml": {Data: []byte(`apiVersion: openslo/v1
kind: SLI
metadata: {name: errors}
spec: {ratioMetric: {counter: true, good: {metricSource: {metricSourceRef: mine, spec: {query: 'sum(good{a="b"})'}}}, total: {metricSource: {metricSourceRef: mine, spec: {query: all}}}}}
---
apiVersion: openslo/v1
kind: SLI
metadata: {name: unused}
spec: {ratioMetric: {rawType: success, raw: {metricSource: {type: prometheus, spec: {query: ratio}}}}}
---
apiVersion: openslo/v1
kind: DataSource
metadata: {name: mine}
spec: {type: Prometheus, connectionDetails: {url: http://prometheus.example}}
---
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: fast-burn}
spec: {}
---
apiVersion: openslo/v1
kind: Service
metadata: {name: bank}
`)},
		"slos/d-pyrra.yaml": {Data: []byte(`apiVersion: pyrra.dev/v1alpha1
kind: ServiceLevelObjective
metadata:
  name: API_Errors
  namespace: prod
  labels: {pyrra.dev/service: api, pyrra.dev/cost.centre: x, release: stable}
  annotations: {pyrra.dev/dashboard: "https://grafana.example/{{ $labels.slo }}", other: y}
spec:
  target: "99"
  window: 4w
  indicator: {ratio: {errors: {metric: 'http_requests_total{job="api",code=~"5.."}'}, total: {metric: 'http_requests_total{job="api"}'}}}
  alerting: {name: ApiErrors, severities: {fastBurn: high, mediumBurn: high, slowBurn: low, longTermBurn: none}}
status: {type: PrometheusRule}
`)},
		"slos/e-sloth.yaml": {Data: []byte(slothFile("objective: 0.5", "sli: {events: {error_query: 'avg_over_time(e[{{.window}}])', total_query: 'avg_over_time(t[{{.window}}])'}}", slothQuiet))},
		"slos/f-windows.yaml": {Data: []byte(strings.Replace(windowsFile, "errorBudgetPercent: 2,", "errorBudgetPercent: 1,", 1) + "---\n" +
			strings.Replace(windowsFile, "30d", "90d", 1))},
	}, "slos")
	if err != nil {
		t.Fatal(err)
	}
	want := `flow checkout of shop at slos/a-own.yaml:3:3
  slo shop-checkout-availability at slos/a-own.yaml:3:39: 99.9% succeed over 30d, min 3
    page at 7.2 over 1h and 5m
    page at 6 over 6h and 30m
    ticket at 3 over 1d and 2h
    ticket at 1 over 3d and 6h
  slo shop-checkout-mine at slos/a-own.yaml:3:54: 99% under 1s over 30d, min 3
    page at 9 over 1h and 5m
flow search of shop at slos/a-own.yaml:4:3
  slo shop-search-availability at slos/a-own.yaml:4:35: 99% succeed over 30d, min 3
    ticket at 3 over 1d and 2h
    ticket at 1 over 3d and 6h
flow referring of bank at slos/b-openslo.yaml:1:1
  label cost_centre: x
  label team: a,b
  slo bank-referring at slos/b-openslo.yaml:10:7: 99% of 5m with 95% good per month (Europe/Zurich), min 1
    good  sum(increase(good{a="b"}[$window]))
    total sum(increase(all[$window]))
    page at 7.2 over 1h and 5m
    page at 6 over 6h and 30m
    ticket at 3 over 1d and 2h
    ticket at 1 over 3d and 6h
  slo bank-referring-1 at slos/b-openslo.yaml:11:7: 99.9% of minutes with 100% good per month (Europe/Zurich), min 1
    good  sum(increase(good{a="b"}[$window]))
    total sum(increase(all[$window]))
    page at 7.2 over 1h and 5m
    page at 6 over 6h and 30m
    ticket at 3 over 1d and 2h
    ticket at 1 over 3d and 6h
flow api_errors of api at slos/d-pyrra.yaml:1:1
  label cost_centre: x
  label namespace: prod
  label service: api
  slo api-API_Errors at slos/d-pyrra.yaml:9:11: 99% good over 28d, min 3
    bad   sum(rate(http_requests_total{job="api",code=~"5.."}[$window]))
    total sum(rate(http_requests_total{job="api"}[$window]))
    page at 13.44 over 1h and 5m
    page at 5.6 over 6h and 30m
    ticket at 2.8 over 1d and 2h
    ticket at 1 over 3d and 6h
    alert ApiErrors
    alert label job: api
    alert label slo: API_Errors
    alert annotation dashboard: https://grafana.example/{{ $labels.slo }}
    page label severity: high
    ticket label severity: low
flow requests of shop at slos/e-sloth.yaml:4:5
  slo shop-requests at slos/e-sloth.yaml:5:16: 0.5% good over 30d, min 1
    ratio (avg_over_time(e[$window])) / (avg_over_time(t[$window]))
warning slos/b-openslo.yaml:3:52: metadata.labels.cost-centre: is not the name of a label in Prometheus; want cost_centre, which it becomes
warning slos/b-openslo.yaml:3:82: metadata.annotations: annotations are left out; want labels, or description: of the SLO
warning slos/b-openslo.yaml:8:53: spec.timeWindow[0].calendar.startTime: 12:00:00 is not midnight, when slowburn's windows begin; want 00:00:00
warning slos/b-openslo.yaml:12:18: spec.alertPolicies: policies are left out: slowburn's own burn-rate alerts take their place; want alerts: in slowburn's own language where they do not suit
warning slos/c-sli.yaml:9:7: spec: is the SLI of no SLO; want an SLO with its name as indicatorRef
warning slos/c-sli.yaml:14:45: spec.connectionDetails: how to reach a source is left out; want slowburn told where its Prometheus is
warning slos/c-sli.yaml:17:7: kind: is left out: slowburn's own burn-rate alerts take its place; want alerts: in slowburn's own language where they do not suit
warning slos/d-pyrra.yaml:6:36: metadata.labels.cost.centre: is not the name of a label in Prometheus; want cost_centre, which it becomes
warning slos/d-pyrra.yaml:12:13: spec.alerting: the alert "SLOMetricAbsent" for a metric that is absent is left out; want alerting: {absent: false}, and an alert on absent() where it matters
warning slos/d-pyrra.yaml:12:43: spec.alerting.severities: slowBurn and longTermBurn differ, but make one alert; want them the same; the first is used
warning slos/e-sloth.yaml:5:16: slos[0].objective: 0.5 is read as 0.5%; want 50 if that is meant
warning slos/e-sloth.yaml:6:33: slos[0].sli.events.error_query: counts no events: reads $window by avg_over_time, which counts nothing; want rate or increase of counters; its ratio is used, and time counts instead of events
warning slos/f-windows.yaml:11:14: spec.sloPeriod: no objective has a period of 90d; want one that has, or these alert windows removed
`
	if got := story(config, nil); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	checkRoundTrip(t, config.Flows)
}

// TestForeignGood reads what the corpus has none of.
func TestForeignGood(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{
			"names that are no slugs",
			"version: prometheus/v1\nservice: My.Shop\nslos:\n  - {name: Check.Out_1, objective: 99.95, " + slothSLI + ", " + slothQuiet + "}\n",
			"flow check-out_1 of My.Shop at f.yaml:4:5\n  slo My.Shop-Check.Out_1 at f.yaml:4:36: 99.95% good over 30d, min 3\n    bad   sum(rate(e[$window]))\n    total sum(rate(t[$window]))\n",
		},
		{
			"a rolling month and a raw ratio",
			openSLO(strings.Replace(ratioIndicator, "counter: true, bad: {metricSource: {type: Prometheus, spec: {query: 'e'}}}, total: {metricSource: {type: Prometheus, spec: {query: 't'}}}",
				"rawType: success, raw: {metricSource: {type: Prometheus, spec: {promql: 'r', step: 1}}}", 1), occurrences, objective99, "timeWindow: [{duration: 1M, isRolling: true}]"),
			"flow requests of shop at f.yaml:1:1\n  slo shop-requests at f.yaml:9:16: 99% good over 30d, min 1\n    ratio 1 - (avg_over_time(r[$window]))\n" + usualTiers +
				"warning f.yaml:7:140: spec.indicator.spec.ratioMetric.raw.metricSource.spec.step: is left out; want query: alone\n" +
				"warning f.yaml:10:27: spec.timeWindow[0].duration: has no length of its own while it rolls; want 30d, which is used\n",
		},
		{
			"a week of the calendar, said as seven days",
			openSLO(ratioIndicator, occurrences, "objectives: [{op: gte, target: 0.99, timeSliceTarget: 0.9}]", "timeWindow: [{duration: 7d, isRolling: false, calendar: {startTime: 2024-01-01T00:00:00Z, timeZone: UTC}}]"),
			"flow requests of shop at f.yaml:1:1\n  slo shop-requests at f.yaml:9:16: 99% good per week, min 3\n    bad   sum(increase(e[$window]))\n    total sum(increase(t[$window]))\n" +
				"    page at 13.44 over 1h and 5m\n    page at 3.5 over 6h and 30m\n    ticket at 1.4 over 1d and 2h\n    ticket at 1 over 3d and 6h\n" +
				"warning f.yaml:9:57: spec.objectives[0].timeSliceTarget: says nothing where the budgetingMethod is Occurrences; want Timeslices, or it removed\n",
		},
		{
			"a quarter of v1alpha",
			"apiVersion: openslo/v1alpha\nkind: SLO\nmetadata: {name: a, displayName: All}\nspec:\n  service: shop\n  budgetingMethod: Occurrences\n" +
				"  timeWindows: [{unit: Quarter, count: 1, calendar: {startTime: 2024-04-01 00:00:00, timeZone: UTC}}]\n" +
				"  objectives: [{target: 0.99, ratioMetrics: {counter: true, good: {source: prometheus, queryType: promql, query: g}, total: {source: sloth, queryType: promql, query: 'sum(rate(t[{{ .window }}]))'}}}]\n",
			"flow a of shop at f.yaml:1:1\n  description All\n  slo shop-a-0 at f.yaml:8:16: 99% good per quarter, min 3\n    good  sum(increase(g[$window]))\n    total sum(rate(t[$window]))\n" +
				"    page at 43.2 over 1h and 5m\n    page at 18 over 6h and 30m\n    ticket at 9 over 1d and 2h\n    ticket at 3 over 3d and 6h\n",
		},
		{
			"alerting that is disabled",
			strings.Replace(pyrraFile(`target: "99.5"`, "window: 30d", "indicator: {latencyNative: {latency: 1m30s, total: {metric: 'd{a=\"b\",c!=\"d\"}'}}}"), "absent: false", "disabled: true", 1),
			"flow requests of requests at f.yaml:1:1\n  slo requests-requests at f.yaml:6:11: 99.5% good over 30d, min 3\n" +
				"    good  histogram_fraction(0, 90, sum(rate(d{a=\"b\",c!=\"d\"}[$window]))) * histogram_count(sum(rate(d{a=\"b\",c!=\"d\"}[$window])))\n" +
				"    total histogram_count(sum(rate(d{a=\"b\",c!=\"d\"}[$window])))\n" +
				"    alert ErrorBudgetBurn\n    alert label a: b\n    alert label slo: requests\n    page label severity: critical\n    ticket label severity: warning\n",
		},
		{
			"burn rates that are off",
			strings.Replace(pyrraFile(`target: "99.5"`, "window: 30d", pyrraRatio), "absent: false", "burnrates: false, absent: true, absentName: Gone", 1),
			"flow requests of requests at f.yaml:1:1\n  slo requests-requests at f.yaml:6:11: 99.5% good over 30d, min 3\n    bad   sum(rate(e{code=\"500\"}[$window]))\n    total sum(rate(e[$window]))\n" +
				"    alert ErrorBudgetBurn\n    alert label slo: requests\n    page label severity: critical\n    ticket label severity: warning\n" +
				"warning f.yaml:9:40: spec.alerting.absent: the alert \"Gone\" for a metric that is absent is left out; want alerting: {absent: false}, and an alert on absent() where it matters\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config, err := Parse("f.yaml", []byte(tc.in))
			if got := story(config, err); got != tc.want {
				t.Errorf("Parse of\n%s\ngot\n%s\nwant\n%s", tc.in, got, tc.want)
			}
			checkRoundTrip(t, config.Flows)
		})
	}
}

const usualTiers = "    page at 14.4 over 1h and 5m\n    page at 6 over 6h and 30m\n    ticket at 3 over 1d and 2h\n    ticket at 1 over 3d and 6h\n"

// TestLongNamesStayApart reads two SLOs whose names differ past what a flow's
// name can hold.
func TestLongNamesStayApart(t *testing.T) {
	long := strings.Repeat("very-long-", 12)
	config, err := Parse("f.yaml", []byte(fmt.Sprintf("version: prometheus/v1\nservice: shop\nslos:\n  - {name: %sa, objective: 99, %s}\n  - {name: %sb, objective: 99, %s}\n",
		long, slothSLI, long, slothSLI)))
	if err != nil {
		t.Fatal(err)
	}
	a, b := config.Flows[0], config.Flows[1]
	if a.Name == b.Name || !slug.MatchString(a.Name) || !slug.MatchString(b.Name) {
		t.Errorf("the flows are %q and %q, want two slugs", a.Name, b.Name)
	}
	if id := b.SLOs()[0].ID(); id != "shop-"+long+"b" {
		t.Errorf("the id is %q, want shop-%sb", id, long)
	}
}

// checkForeign holds the readers to their word for any file: what they refuse is
// refused with a place, and what they accept passes the checks that our own
// flows pass.
func checkForeign(t *testing.T, data []byte) {
	t.Helper()
	config, err := Parse("f.yaml", data)
	if err != nil {
		checkFaults(t, err)
		return
	}
	if len(config.Flows) == 0 {
		t.Error("no flows and no fault")
	}
	ids := map[string]bool{}
	for _, s := range slo.All(config.Flows) {
		o := s.Objective
		if ids[s.ID()] || !idName.MatchString(o.ID) || !slug.MatchString(o.Name) || !slug.MatchString(s.Flow.Name) || s.Flow.Service == "" {
			t.Errorf("SLO %q, objective %q, flow %q", s.ID(), o.Name, s.Flow.Name)
		}
		ids[s.ID()] = true
		if o.Kind != slo.PromQL || o.Target <= 0 || o.Target >= 1 || o.Budget() < 1e-9 || o.Window < minWindow || o.Window > maxWindow || o.MinEvents < 1 {
			t.Errorf("objective %+v", o)
		}
		if o.Pos.Line < 1 || o.Pos.Column < 1 || s.Flow.Pos.Line < 1 {
			t.Errorf("SLO %q is at %s of %s", s.ID(), o.Pos, s.Flow.Pos)
		}
		if o.Slice < 0 || o.Slice > 0 && (o.SliceTarget <= 0 || o.SliceTarget > 1) {
			t.Errorf("SLO %q has slices of %s with %v", s.ID(), o.Slice, o.SliceTarget)
		}
		if counts := o.Query.Total != "" && (o.Query.Bad == "") != (o.Query.Good == ""); counts == (o.Query.Ratio != "") {
			t.Errorf("SLO %q asks %+v", s.ID(), o.Query)
		}
		for _, text := range []string{o.Query.Bad, o.Query.Good, o.Query.Total, o.Query.Ratio} {
			if err := promql.Check(text); text != "" && err != nil {
				t.Errorf("SLO %q asks %q: %v", s.ID(), text, err)
			}
		}
		for _, tier := range o.Tiers {
			if tier.Factor <= 0 || tier.Factor*o.Budget() >= 1 || tier.Short < slot || tier.Short >= tier.Long || tier.Long > o.Window {
				t.Errorf("SLO %q has the tier %+v", s.ID(), tier)
			}
		}
	}
	if len(data) <= 64<<10 {
		checkRoundTrip(t, config.Flows)
		checkOpenSLO(t, config.Flows)
	}
}

// checkOpenSLO writes flows as OpenSLO and reads them back: identities, targets,
// periods, slices and queries are the same.
func checkOpenSLO(t *testing.T, flows []slo.Flow) {
	t.Helper()
	data, _, err := openslo.Write(flows)
	if err != nil {
		t.Fatal(err)
	}
	config, err := Parse("f.yaml", data)
	if err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	got, want := slo.All(config.Flows), slo.All(flows)
	if len(got) != len(want) {
		t.Fatalf("%d SLOs, want %d, of\n%s", len(got), len(want), data)
	}
	for i, w := range want {
		a, b := got[i].Objective, w.Objective
		if got[i].ID() != w.ID() || a.Words() != b.Words() || a.Query != b.Query || !maps.Equal(got[i].Flow.Labels, w.Flow.Labels) {
			t.Errorf("%s: %s, %+v, %v, want %s: %s, %+v, %v", got[i].ID(), a.Words(), a.Query, got[i].Flow.Labels, w.ID(), b.Words(), b.Query, w.Flow.Labels)
		}
	}
}

// fuzzForeign gives the reader of a format, whose documents begin with head, any
// document.
func fuzzForeign(f *testing.F, head string, seeds []string) {
	for _, seed := range seeds {
		f.Add([]byte(strings.TrimPrefix(seed, head)))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkForeign(t, append([]byte(head), data...)) })
}

var (
	slothSeeds = []string{
		slothFile("objective: 99.9", slothSLI, slothQuiet),
		slothFile("objective: 95", "sli: {raw: {error_ratio_query: 'avg_over_time(a[{{.window}}])'}}",
			"alerting: {name: A, labels: {a: b}, annotations: {c: '{{ $value }}'}, page_alert: {labels: {severity: x}}}", "labels: {a-b: 1}"),
		slothFile("objective: 95", slothSLI) + "---\n" + windowsFile,
	}
	openSLOSeeds = []string{
		openSLO(ratioIndicator, occurrences, objective99),
		openSLO("indicatorRef: a", "budgetingMethod: Timeslices", "timeWindow: [{duration: 1M, calendar: {startTime: 2024-01-01 00:00:00, timeZone: Europe/Zurich}}]",
			"objectives: [{targetPercent: 99, timeSliceTarget: 0.9, timeSliceWindow: 5}, {target: 0.9, timeSliceTarget: 1, timeSliceWindow: 1h}]") +
			"---\napiVersion: openslo/v1\nkind: SLI\nmetadata: {name: a}\nspec: {ratioMetric: {raw: {metricSource: {metricSourceRef: b, spec: {query: r}}}, rawType: failure}}\n" +
			"---\napiVersion: openslo/v1\nkind: DataSource\nmetadata: {name: b}\nspec: {type: prometheus}\n",
		"apiVersion: openslo/v1\nkind: Service\nmetadata: {name: shop}\n---\napiVersion: openslo/v1alpha\nkind: SLO\nmetadata: {name: a}\nspec:\n  service: shop\n  budgetingMethod: Occurrences\n" +
			"  timeWindows: [{unit: Day, count: 30}]\n  objectives: [{target: 0.99, ratioMetrics: {good: {source: prometheus, queryType: promql, query: 'rate(g[$window])'}, total: {source: prometheus, queryType: promql, query: 'rate(t[$window])'}}}]\n",
	}
	pyrraSeeds = []string{
		pyrraFile(`target: "99.9"`, "window: 4w", pyrraRatio),
		pyrraFile(`target: "90"`, "window: 2w", `indicator: {latency: {success: {metric: 'b{le="0.1",job="x"}'}, total: {metric: 'c{job="x"}'}, grouping: [job]}}`),
		pyrraFile(`target: "99"`, "window: 1y", "indicator: {latencyNative: {latency: 200ms, total: {metric: h}}}", "description: d"),
		pyrraFile(`target: "99"`, "window: 7d", "indicator: {bool_gauge: {metric: up}}"),
	}
)

func FuzzSloth(f *testing.F)   { fuzzForeign(f, "version: prometheus/v1\n", slothSeeds) }
func FuzzOpenSLO(f *testing.F) { fuzzForeign(f, "apiVersion: openslo/v1\n", openSLOSeeds) }
func FuzzPyrra(f *testing.F) {
	fuzzForeign(f, "apiVersion: pyrra.dev/v1alpha1\nkind: ServiceLevelObjective\n", pyrraSeeds)
}

// TestForeignMutated puts each of a list of odd values in the place of each
// value of a file, and each key in the place of its neighbour: the readers keep
// their word.
func TestForeignMutated(t *testing.T) {
	odd := []string{
		"", "~", "[]", "{}", "' '", "-1", "1.5", "1e308", ".nan", "true", "1m", "99999999Y", "x", "#x", "[~]", "[x]", "{x: ~}",
		"'{{ $value }}'", "'avg_over_time(t[$window]) # c'", "Timeslices", "'" + strings.Repeat("(", 3000) + "'", "'" + strings.Repeat("a", 20000) + "'",
	}
	value := regexp.MustCompile(`: *('[^']*'|"[^"]*"|[^\s,{}\[\]'"]+|[\[{])`)
	key := regexp.MustCompile(`[A-Za-z_]+:`)
	for _, seed := range slices.Concat(slothSeeds, openSLOSeeds, pyrraSeeds) {
		for _, at := range value.FindAllStringIndex(seed, -1) {
			for _, v := range odd {
				checkForeign(t, []byte(seed[:at[0]]+": "+v+seed[at[1]:]))
			}
		}
		places := key.FindAllStringIndex(seed, -1)
		for i, at := range places {
			checkForeign(t, []byte(seed[:at[0]]+"x:"+seed[at[1]:]))
			checkForeign(t, []byte(seed[:at[0]]+"x"+seed[at[0]:])) // misspelt
			if i > 0 {
				before := places[i-1]
				checkForeign(t, []byte(seed[:at[0]]+seed[before[0]:before[1]]+seed[at[1]:]))
			}
		}
		for _, line := range strings.SplitAfter(seed, "\n") {
			if line != "" {
				checkForeign(t, []byte(strings.Replace(seed, line, "", 1)))
				checkForeign(t, []byte(strings.Replace(seed, line, line+line, 1)))
			}
		}
	}
}

// TestForeignWarningsAreStable reads a file twice: warnings come in the same
// order, though Go's maps do not.
func TestForeignWarningsAreStable(t *testing.T) {
	in := []byte(slothFile("objective: 50", slothSLI, "labels: {a-b: 1, c-d: 2, e-f: 3, g-h: 4}"))
	first, err := Parse("f.yaml", in)
	if err != nil || len(first.Warnings) < 4 {
		t.Fatalf("%d warnings, %v; want at least 4", len(first.Warnings), err)
	}
	for range 20 {
		again, err := Parse("f.yaml", in)
		if err != nil || !slices.Equal(again.Warnings, first.Warnings) {
			t.Fatalf("%v, %v, want %v", again.Warnings, err, first.Warnings)
		}
	}
}
