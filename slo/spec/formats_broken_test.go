package spec

import (
	"strings"
	"testing"
)

// slothFile is a Sloth file whose SLO begins on line 4 with its name; the lines
// that follow begin on line 5, column 5.
func slothFile(lines ...string) string {
	return "version: prometheus/v1\nservice: shop\nslos:\n  - name: requests\n    " + strings.Join(lines, "\n    ") + "\n"
}

const (
	slothSLI    = `sli: {events: {error_query: 'sum(rate(e[{{.window}}]))', total_query: 'sum(rate(t[{{.window}}]))'}}`
	slothQuiet  = `alerting: {page_alert: {disable: true}, ticket_alert: {disable: true}}`
	windowsFile = "apiVersion: sloth.slok.dev/v1\nkind: AlertWindows\nspec:\n  sloPeriod: 30d\n" +
		"  page: {quick: {errorBudgetPercent: 2, shortWindow: 5m, longWindow: 1h}, slow: {errorBudgetPercent: 5, shortWindow: 30m, longWindow: 6h}}\n" +
		"  ticket: {quick: {errorBudgetPercent: 10, shortWindow: 2h, longWindow: 1d}, slow: {errorBudgetPercent: 10, shortWindow: 6h, longWindow: 3d}}\n"
)

// openSLO is an OpenSLO v1 file; its spec's service is on line 6, and the lines
// that follow begin on line 7, column 3.
func openSLO(lines ...string) string {
	return "apiVersion: openslo/v1\nkind: SLO\nmetadata:\n  name: requests\nspec:\n  service: shop\n  " + strings.Join(lines, "\n  ") + "\n"
}

const (
	ratioIndicator = `indicator: {metadata: {name: i}, spec: {ratioMetric: {counter: true, bad: {metricSource: {type: Prometheus, spec: {query: 'e'}}}, total: {metricSource: {type: Prometheus, spec: {query: 't'}}}}}}`
	occurrences    = `budgetingMethod: Occurrences`
	objective99    = `objectives: [{target: 0.99}]`
)

// pyrraFile is a Pyrra file; the lines of its spec begin on line 6, column 3.
func pyrraFile(lines ...string) string {
	return "apiVersion: pyrra.dev/v1alpha1\nkind: ServiceLevelObjective\nmetadata:\n  name: requests\nspec:\n  " +
		strings.Join(append(lines, "alerting: {absent: false}"), "\n  ") + "\n"
}

const pyrraRatio = `indicator: {ratio: {errors: {metric: 'e{code="500"}'}, total: {metric: 'e'}}}`

// TestBrokenForeign holds every message people may meet in others' formats
// against its exact words.
func TestBrokenForeign(t *testing.T) {
	const openMethods = `want Occurrences or Timeslices`
	for _, tc := range []struct {
		name string
		in   string
		want []string // without the name of the file, which is f.yaml
	}{
		// Which format it is.
		{"another API", "apiVersion: v1\nkind: ConfigMap\n", []string{`1:13: apiVersion: is the text "v1"; want openslo/v1, openslo/v1alpha, pyrra.dev/v1alpha1, sloth.slok.dev/v1, or version: prometheus/v1`}},
		{"another version", "version: prometheus/v2\nservice: shop\n", []string{`1:10: version: is the text "prometheus/v2"; want prometheus/v1`}},
		{"no API", "kind: SLO\n", []string{`1:1: apiVersion: is missing; want openslo/v1, openslo/v1alpha, pyrra.dev/v1alpha1, sloth.slok.dev/v1, or version: prometheus/v1`}},
		{"a misspelt apiVersion", "apiversion: openslo/v1\nkind: SLO\n", []string{`1:1: apiVersion: is missing; want openslo/v1, openslo/v1alpha, pyrra.dev/v1alpha1, sloth.slok.dev/v1, or version: prometheus/v1`}},
		{"a misspelt kind", "apiVersion: openslo/v1\nkinds: SLO\n", []string{`1:1: kind: is missing; want SLO, SLI, DataSource, Service, AlertPolicy, AlertCondition or AlertNotificationTarget`}},
		{"a misspelt kind of Pyrra's", "apiVersion: pyrra.dev/v1alpha1\nKind: ServiceLevelObjective\n", []string{`1:1: kind: is missing; want ServiceLevelObjective`}},
		{"another kind of Sloth's", "apiVersion: sloth.slok.dev/v1\nkind: Sloth\n", []string{`2:7: kind: is the text "Sloth"; want PrometheusServiceLevel or AlertWindows`}},
		{"another kind of Pyrra's", "apiVersion: pyrra.dev/v1alpha1\nkind: SLO\n", []string{`2:7: kind: is the text "SLO"; want ServiceLevelObjective`}},
		{"another kind of OpenSLO's", "apiVersion: openslo/v1\nkind: Budget\n", []string{`2:7: kind: is the text "Budget"; want SLO, SLI, DataSource, Service, AlertPolicy, AlertCondition or AlertNotificationTarget`}},
		{"another kind of v1alpha", "apiVersion: openslo/v1alpha\nkind: SLI\n", []string{`2:7: kind: is the text "SLI"; want SLO or Service`}},
		{"a document of our own among them", "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: shop}\n---\nservice: shop\nflows: {}\n", []string{
			`5:1: apiVersion: is missing; want openslo/v1, openslo/v1alpha, pyrra.dev/v1alpha1, sloth.slok.dev/v1, or version: prometheus/v1`,
		}},
		{"a list among them", "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: shop}\n---\n- 1\n", []string{`5:1: document: is a list; want a map with apiVersion: and kind:`}},
		{"definitions alone", "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: shop}\n", []string{`1:1: no SLO; want one beside what is defined here`}},
		{"alert windows alone", windowsFile, []string{`1:1: no SLO; want one beside what is defined here`}},

		// Sloth.
		{"unknown key", slothFile("objectve: 99.9", slothSLI), []string{`5:5: slos[0].objectve: unknown key; want objective`}},
		{"a key twice", slothFile("objective: 99.9", "objective: 99", slothSLI), []string{`6:5: slos[0].objective: is here and on line 5; want it once`}},
		{"no objective", slothFile(slothSLI), []string{`4:5: slos[0].objective: is missing; want a percentage such as 99.9`}},
		{"objective in quotes", slothFile(`objective: "99.9"`, slothSLI), []string{`5:16: slos[0].objective: is the text "99.9"; want a number`}},
		{"objective of 100", slothFile("objective: 100", slothSLI), []string{`5:16: slos[0].objective: 100% leaves no error budget; want less than 100`}},
		{"objective of 0", slothFile("objective: 0", slothSLI), []string{`5:16: slos[0].objective: 0% promises nothing; want more than 0`}},
		{"objective above 100", slothFile("objective: 999", slothSLI), []string{`5:16: slos[0].objective: 999% is more than all events; want less than 100`}},
		{"no SLI", slothFile("objective: 99"), []string{`4:5: slos[0].sli: is missing; want one of sli.events and sli.raw`}},
		{"empty SLI", slothFile("objective: 99", "sli: {}"), []string{`6:10: slos[0].sli: measures nothing; want one of sli.events and sli.raw`}},
		{"two SLIs", slothFile("objective: 99", "sli: {raw: {error_ratio_query: 'a[$window]'}, events: {}}"), []string{`6:10: slos[0].sli: has both events and raw; want one of sli.events and sli.raw`}},
		{"a Go plugin", slothFile("objective: 99", "sli: {plugin: {id: my/plugin}}"), []string{`6:19: slos[0].sli.plugin: is the Go plugin "my/plugin", which cannot be carried over; want sli.events or sli.raw`}},
		{"no PromQL", slothFile("objective: 99", "sli: {raw: {error_ratio_query: 'sum('}}"), []string{
			`6:36: slos[0].sli.raw.error_ratio_query: is not PromQL: 1:5: parse error: unclosed left parenthesis; want PromQL over a range, such as sum(rate(http_requests_total[$window]))`,
		}},
		{"no window", slothFile("objective: 99", "sli: {raw: {error_ratio_query: 'rate(a[5m])'}}"), []string{
			`6:36: slos[0].sli.raw.error_ratio_query: has no range $window; want one such as rate(http_requests_total[$window])`,
		}},
		{"errors that are all", slothFile("objective: 99", "sli: {events: {error_query: 'rate(a[{{ .window }}])', total_query: 'rate(a[{{.window}}])'}}"), []string{
			`6:72: slos[0].sli.events.total_query: is the same as error_query; want the query of all events`,
		}},
		{"no SLOs", "version: prometheus/v1\nservice: shop\nslos: []\n", []string{`3:7: slos: is empty; want a list of at least one SLO`}},
		{"no service", "version: prometheus/v1\nslos:\n  - {name: a, objective: 99, " + slothSLI + "}\n", []string{`1:1: service: is missing; want at most 128 letters, digits, -, _ and . with a letter or digit at both ends`}},
		{"a name with a space", "version: prometheus/v1\nservice: my shop\nslos:\n  - {name: a, objective: 99, " + slothSLI + "}\n", []string{
			`2:10: service: "my shop" is not a name; want at most 128 letters, digits, -, _ and . with a letter or digit at both ends`,
		}},
		{"a channel lost to a comment", slothFile("objective: 99", slothSLI, "alerting: {name: A}", "labels:", "  slack: #shop"), []string{
			`9:7: slos[0].labels.slack: is empty; "#" starts a comment in YAML, so quote it: slack: "#shop"`,
		}},
		{"a label of ours", slothFile("objective: 99", slothSLI, "labels: {sloth_id: x}"), []string{`7:14: slos[0].labels.sloth_id: this label is set by slowburn; want another name`}},
		{"an empty label", slothFile("objective: 99", slothSLI, "labels: {team: ''}"), []string{`7:20: slos[0].labels.team: is empty; want a text`}},
		{"labels that become one", slothFile("objective: 99", slothSLI, "labels: {a-b: x, a.b: y}"), []string{`7:22: slos[0].labels.a.b: becomes a_b, which is here already; want another name`}},
		{"a label that is a list", slothFile("objective: 99", slothSLI, "labels: {team: [a]}"), []string{`7:20: slos[0].labels.team: is a list; want a text`}},
		{"no template", slothFile("objective: 99", slothSLI, "alerting: {annotations: {summary: '{{ $labls.x }}'}}"), []string{
			`7:39: slos[0].alerting.annotations.summary: is not a template of Prometheus: 1: undefined variable "$labls"; want one such as {{ $value }}, or {{ $labels.sloth_slo }}`,
		}},
		{"snake case in Kubernetes", "apiVersion: sloth.slok.dev/v1\nkind: PrometheusServiceLevel\nmetadata: {name: a}\nspec:\n  service: shop\n  slos:\n    - {name: a, objective: 99, sli: {events: {error_query: x, totalQuery: 'sum(rate(t[$window]))'}}}\n", []string{
			`7:47: spec.slos[0].sli.events.error_query: unknown key; want errorQuery`,
		}},
		{"the same SLO twice", slothFile("objective: 99", slothSLI) + "  - {name: requests, objective: 98, " + slothSLI + "}\n", []string{
			`7:5: flows.requests: service "shop" has this flow at f.yaml:4:5 already; want another name, or one flow with the objectives of both`,
		}},

		// Alert windows.
		{"an odd period", strings.Replace(windowsFile, "30d", "a month", 1), []string{`4:14: spec.sloPeriod: is the text "a month"; want a duration such as 30d`}},
		{"no period", strings.Replace(windowsFile, "  sloPeriod: 30d\n", "", 1), []string{`4:3: spec.sloPeriod: is missing; want a period such as 30d`}},
		{"long window beyond the period", strings.Replace(windowsFile, "30d", "2d", 1), []string{`6:138: spec.ticket.slow.longWindow: 3d is longer than sloPeriod: 2d; want at most 2d`}},
		{"short window as long as the long one", strings.Replace(windowsFile, "shortWindow: 5m", "shortWindow: 1h", 1), []string{`5:54: spec.page.quick.shortWindow: 1h is not shorter than longWindow: 1h; want less than 1h`}},
		{"a short window between slots", strings.Replace(windowsFile, "shortWindow: 5m", "shortWindow: 5s", 1), []string{`5:54: spec.page.quick.shortWindow: 5s is not a multiple of 10s; want one such as 5m`}},
		{"more than the budget", strings.Replace(windowsFile, "errorBudgetPercent: 2", "errorBudgetPercent: 200", 1), []string{`5:38: spec.page.quick.errorBudgetPercent: 200 is no share of a budget; want more than 0 and at most 100`}},
		{"no slow ticket", strings.Replace(windowsFile, ", slow: {errorBudgetPercent: 10, shortWindow: 6h, longWindow: 3d}", "", 1), []string{`6:11: spec.ticket.slow: is missing; want errorBudgetPercent, shortWindow and longWindow`}},
		{"windows twice", windowsFile + "---\n" + windowsFile, []string{`11:14: spec.sloPeriod: there are alert windows for 30d at f.yaml:4:14 already; want one of them`}},

		// OpenSLO.
		{"a threshold", openSLO(`indicator: {metadata: {name: i}, spec: {thresholdMetric: {metricSource: {type: Prometheus, spec: {query: x}}}}}`, occurrences, `objectives: [{op: lte, value: 1, target: 0.99}]`), []string{
			`7:60: spec.indicator.spec.thresholdMetric: compares a value with a threshold, which counts no events, and cannot be carried over; want ratioMetric with good or bad and total`,
			`9:21: spec.objectives[0].op: inverted op: lte asks for a value that stays low, and cannot be carried over; want a ratioMetric of good or bad events, without op`,
		}},
		{"target as a percentage", openSLO(ratioIndicator, occurrences, "objectives: [{target: 99.9}]"), []string{`9:25: spec.objectives[0].target: 99.9 is a percentage; want it as a ratio, or as targetPercent: 99.9`}},
		{"target of 1", openSLO(ratioIndicator, occurrences, "objectives: [{target: 1}]"), []string{`9:25: spec.objectives[0].target: 1 leaves no error budget; want less than 1`}},
		{"two targets", openSLO(ratioIndicator, occurrences, "objectives: [{target: 0.9, targetPercent: 90}]"), []string{`9:45: spec.objectives[0].targetPercent: target is here as well; want one of them`}},
		{"no target", openSLO(ratioIndicator, occurrences, "objectives: [{displayName: Good}]"), []string{`9:16: spec.objectives[0].target: is missing; want a ratio such as 0.999`}},
		{"a composite", openSLO(ratioIndicator, occurrences, "objectives: [{target: 0.9, indicatorRef: x}]"), []string{`9:44: spec.objectives[0].indicatorRef: composes an SLO of several; want an SLO for each indicator`}},
		{"ratio time slices", openSLO(ratioIndicator, "budgetingMethod: RatioTimeslices", objective99), []string{`8:20: spec.budgetingMethod: RatioTimeslices averages the ratios of slices, and cannot be carried over; ` + openMethods}},
		{"an unknown method", openSLO(ratioIndicator, "budgetingMethod: Timeslice", objective99), []string{`8:20: spec.budgetingMethod: is the text "Timeslice"; ` + openMethods}},
		{"a slice of 7 minutes", openSLO(ratioIndicator, "budgetingMethod: Timeslices", "objectives: [{target: 0.9, timeSliceTarget: 0.9, timeSliceWindow: 7m}]"), []string{
			`9:69: spec.objectives[0].timeSliceWindow: is the text "7m"; want whole minutes that divide an hour, such as 1m or 5m`,
		}},
		{"a slice of all and more", openSLO(ratioIndicator, "budgetingMethod: Timeslices", "objectives: [{target: 0.9, timeSliceTarget: 1.1, timeSliceWindow: 1}]"), []string{
			`9:47: spec.objectives[0].timeSliceTarget: is 1.1; want a ratio above 0, at most 1`,
		}},
		{"slices without a share", openSLO(ratioIndicator, "budgetingMethod: Timeslices", objective99), []string{
			`9:16: spec.objectives[0].timeSliceTarget: is missing; want the share of good events that makes a slice good, such as 0.95`,
			`9:16: spec.objectives[0].timeSliceWindow: is missing; want whole minutes that divide an hour, such as 1m or 5m`,
		}},
		{"a minute for a month", openSLO(ratioIndicator, occurrences, objective99, "timeWindow: [{duration: 1m, isRolling: false, calendar: {startTime: 2024-01-01 00:00:00, timeZone: UTC}}]"), []string{
			`10:27: spec.timeWindow[0].duration: 1m is one minute in OpenSLO; want 1M if months are meant`,
		}},
		{"two windows", openSLO(ratioIndicator, occurrences, objective99, "timeWindow: [{duration: 1w, isRolling: true}, {duration: 4w, isRolling: true}]"), []string{
			`10:49: spec.timeWindow[1]: is a second time window; want one, and an SLO for each other`,
		}},
		{"a window of words", openSLO(ratioIndicator, occurrences, objective99, "timeWindow: [{duration: month}]"), []string{
			`10:27: spec.timeWindow[0].duration: is the text "month"; want one such as 28d for a rolling window, or 1w, 1M or 1Q for one of the calendar`,
		}},
		{"a rolling window too long", openSLO(ratioIndicator, occurrences, objective99, "timeWindow: [{duration: 99999999Y, isRolling: true}]"), []string{
			`10:27: spec.timeWindow[0].duration: 106751d23h47m16s854ms775us807ns is more than a year and a month; want at most 400d`,
		}},
		{"no calendar", openSLO(ratioIndicator, occurrences, objective99, "timeWindow: [{duration: 1M, isRolling: false}]"), []string{
			`10:16: spec.timeWindow[0].calendar: is missing; want timeZone and startTime, or isRolling: true`,
		}},
		{"a fortnight of the calendar", openSLO(ratioIndicator, occurrences, objective99, "timeWindow: [{duration: 2w, calendar: {timeZone: UTC}}]"), []string{
			`10:27: spec.timeWindow[0].duration: is not a window of the calendar that slowburn has; want 1w, 1M or 1Q`,
		}},
		{"a wrong time zone", openSLO(ratioIndicator, occurrences, objective99, "timeWindow: [{duration: 1M, calendar: {timeZone: Europe/Zürich}}]"), []string{
			`10:52: spec.timeWindow[0].calendar.timeZone: "Europe/Zürich" is not a time zone; want one such as Europe/Zurich`,
		}},
		{"a month from the 15th", openSLO(ratioIndicator, occurrences, objective99, "timeWindow: [{duration: 1M, calendar: {startTime: 2024-01-15 00:00:00, timeZone: UTC}}]"), []string{
			`10:53: spec.timeWindow[0].calendar.startTime: 2024-01-15 is not the first day of a month, on which slowburn's months begin; want 2024-01-01`,
		}},
		{"a quarter from February", openSLO(ratioIndicator, occurrences, objective99, "timeWindow: [{duration: 3M, calendar: {startTime: 2024-02-01, timeZone: UTC}}]"), []string{
			`10:53: spec.timeWindow[0].calendar.startTime: 2024-02-01 is not the first day of a quarter, on which slowburn's begin; want one such as 2024-01-01`,
		}},
		{"another source", openSLO(strings.ReplaceAll(ratioIndicator, "type: Prometheus, spec: {query: 't'}", "type: Datadog, spec: {query: 't'}"), occurrences, objective99), []string{
			`7:162: spec.indicator.spec.ratioMetric.total.metricSource.type: "Datadog" is a source that slowburn cannot ask; want Prometheus`,
		}},
		{"a misspelt query", openSLO(strings.Replace(ratioIndicator, "query: 'e'", "qeury: 'e'", 1), occurrences, objective99), []string{
			`7:117: spec.indicator.spec.ratioMetric.bad.metricSource.spec.query: is missing; want PromQL over a range, such as sum(rate(http_requests_total[$window]))`,
		}},
		{"a gauge", openSLO(strings.ReplaceAll(ratioIndicator, "counter: true", "counter: false"), occurrences, objective99), []string{
			`7:126: spec.indicator.spec.ratioMetric.bad.metricSource.spec.query: reads one instant, which counts nothing; want counter: true if it is one, or a range [$window]`,
			`7:189: spec.indicator.spec.ratioMetric.total.metricSource.spec.query: reads one instant, which counts nothing; want counter: true if it is one, or a range [$window]`,
		}},
		{"good and bad", openSLO(strings.ReplaceAll(ratioIndicator, "counter: true", "good: {metricSource: {type: Prometheus, spec: {query: 'g'}}}"), occurrences, objective99), []string{
			`7:56: spec.indicator.spec.ratioMetric: has both good and bad; want one of them, with total`,
		}},
		{"neither good nor bad", openSLO(strings.ReplaceAll(ratioIndicator, "bad: {metricSource: {type: Prometheus, spec: {query: 'e'}}}, ", ""), occurrences, objective99), []string{
			`7:56: spec.indicator.spec.ratioMetric.bad: is missing; want ratioMetric with good or bad and total`,
		}},
		{"no such SLI", openSLO("indicatorRef: errors", occurrences, objective99), []string{`7:17: spec.indicatorRef: there is no SLI "errors"; want an indicator, or the name of an SLI as indicatorRef`}},
		{"no such source", openSLO(strings.ReplaceAll(ratioIndicator, "type: Prometheus, spec: {query: 't'}", "metricSourceRef: mine, spec: {query: 't'}"), occurrences, objective99), []string{
			`7:173: spec.indicator.spec.ratioMetric.total.metricSource.metricSourceRef: there is no DataSource "mine"; want one, or type: Prometheus`,
		}},
		{"an SLI twice", "apiVersion: openslo/v1\nkind: SLI\nmetadata: {name: a}\nspec: {}\n---\napiVersion: openslo/v1\nkind: SLI\nmetadata: {name: a}\nspec: {}\n", []string{
			`8:18: metadata.name: SLI has this name at f.yaml:4:7 already; want another name`,
		}},
		{"a v1alpha threshold", "apiVersion: openslo/v1alpha\nkind: SLO\nmetadata: {name: a}\nspec:\n  service: shop\n  budgetingMethod: Occurrences\n  indicator: {thresholdMetric: {source: prometheus, queryType: promql, query: x}}\n  objectives: [{target: 0.9}]\n", []string{
			`7:14: spec.indicator: compares a value with a threshold, which counts no events, and cannot be carried over; want ratioMetrics in each objective`,
			`8:16: spec.objectives[0].ratioMetrics: is missing; want good and total`,
		}},

		// Pyrra.
		{"a target that is no number", pyrraFile(`target: "three nines"`, "window: 4w", pyrraRatio), []string{`6:11: spec.target: is the text "three nines"; want a percentage such as "99.9"`}},
		{"no target of Pyrra's", pyrraFile("window: 4w", pyrraRatio), []string{`6:3: spec.target: is missing; want a percentage such as "99.9"`}},
		{"a target of 100", pyrraFile(`target: "100"`, "window: 4w", pyrraRatio), []string{`6:11: spec.target: 100% leaves no error budget; want less than 100`}},
		{"no window of Pyrra's", pyrraFile(`target: "99"`, pyrraRatio), []string{`6:3: spec.window: is missing; want a period such as 4w`}},
		{"a window of minutes", pyrraFile(`target: "99"`, "window: 30m", pyrraRatio), []string{`7:11: spec.window: 30m is shorter than the window of the fastest alert; want at least 1h`}},
		{"a window of words for Pyrra", pyrraFile(`target: "99"`, "window: a month", pyrraRatio), []string{`7:11: spec.window: is the text "a month"; want a period such as 4w`}},
		{"no indicator", pyrraFile(`target: "99"`, "window: 4w", "indicator: {}"), []string{`8:14: spec.indicator: measures nothing; want one of ratio, latency, latencyNative and bool_gauge`}},
		{"two indicators", pyrraFile(`target: "99"`, "window: 4w", "indicator: {bool_gauge: {metric: up}, ratio: {errors: {metric: a}, total: {metric: b}}}"), []string{
			`8:14: spec.indicator: has ratio and bool_gauge; want one of ratio, latency, latencyNative and bool_gauge`,
		}},
		{"an expression for a metric", pyrraFile(`target: "99"`, "window: 4w", "indicator: {bool_gauge: {metric: 'sum(up)'}}"), []string{
			`8:36: spec.indicator.bool_gauge.metric: "sum(up)" is not a selector of a metric; want a metric such as http_requests_total{job="api"}`,
		}},
		{"an odd latency", pyrraFile(`target: "99"`, "window: 4w", "indicator: {latencyNative: {latency: fast, total: {metric: m}}}"), []string{
			`8:40: spec.indicator.latencyNative.latency: is the text "fast"; want a duration such as 200ms`,
		}},
		{"success that is all", pyrraFile(`target: "99"`, "window: 4w", "indicator: {latency: {success: {metric: m}, total: {metric: m}}}"), []string{
			`8:63: spec.indicator.latency.total.metric: counts what the other metric counts; want that of all events`,
		}},
		{"a misspelt indicator", pyrraFile(`target: "99"`, "window: 4w", "indicator: {boolGauge: {metric: up}}"), []string{`8:15: spec.indicator.boolGauge: unknown key; want bool_gauge`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(tc.in))
			want := "f.yaml:" + strings.Join(tc.want, "\nf.yaml:")
			if err == nil || err.Error() != want {
				t.Errorf("Parse of\n%s\ngot\n%v\nwant\n%s", tc.in, err, want)
			}
		})
	}
}
