// Package pyrra reads Pyrra's ServiceLevelObjective.
//
// Each becomes a flow with one PromQL objective. Pyrra knows no services: the
// flow's is the label pyrra.dev/service, or else the namespace, or else the
// object's name. Alerts keep the name, the severities and the labels that
// Pyrra gives them, so that routes made for them still match. One budget is
// kept over all values of a grouping.
package pyrra

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/foreign"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// APIVersion and Kind are what an object begins with.
const (
	APIVersion = "pyrra.dev/v1alpha1"
	Kind       = "ServiceLevelObjective"
)

// objective is the object as Pyrra's API has it. Importing that would bring in
// a Kubernetes controller.
type objective struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Spec       spec     `json:"spec"`
	Status     any      `json:"status"`
}

// metadata is that of any Kubernetes object.
type metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`

	// Written by Kubernetes itself.
	CreationTimestamp any `json:"creationTimestamp"`
	Finalizers        any `json:"finalizers"`
	Generation        any `json:"generation"`
	ManagedFields     any `json:"managedFields"`
	OwnerReferences   any `json:"ownerReferences"`
	ResourceVersion   any `json:"resourceVersion"`
	UID               any `json:"uid"`
}

type spec struct {
	Description string    `json:"description"`
	Target      string    `json:"target"`
	Window      string    `json:"window"`
	Indicator   indicator `json:"indicator"`
	Alerting    alerting  `json:"alerting"`

	// How Pyrra spreads its own rules.
	PartialResponseStrategy any `json:"partial_response_strategy"`
	PerformanceOverAccuracy any `json:"performanceOverAccuracy"`
	RuleOutput              any `json:"ruleOutput"`
}

type indicator struct {
	Ratio *struct {
		Errors   metric   `json:"errors"`
		Total    metric   `json:"total"`
		Grouping []string `json:"grouping"`
	} `json:"ratio"`
	Latency *struct {
		Success  metric   `json:"success"`
		Total    metric   `json:"total"`
		Grouping []string `json:"grouping"`
	} `json:"latency"`
	LatencyNative *struct {
		Latency  string   `json:"latency"`
		Total    metric   `json:"total"`
		Grouping []string `json:"grouping"`
	} `json:"latencyNative"`
	BoolGauge *struct {
		metric   `json:",inline"`
		Grouping []string `json:"grouping"`
	} `json:"bool_gauge"`
}

type metric struct {
	Metric string `json:"metric"`
}

type alerting struct {
	Disabled   *bool  `json:"disabled"`
	Burnrates  *bool  `json:"burnrates"`
	Absent     *bool  `json:"absent"`
	Name       string `json:"name"`
	AbsentName string `json:"absentName"`
	Severities struct {
		Absent       string `json:"absent"`
		FastBurn     string `json:"fastBurn"`
		MediumBurn   string `json:"mediumBurn"`
		SlowBurn     string `json:"slowBurn"`
		LongTermBurn string `json:"longTermBurn"`
	} `json:"severities"`
}

// prefix marks the labels and annotations of an object that Pyrra hands on to
// its rules, without it.
const prefix = "pyrra.dev/"

// Read reads a ServiceLevelObjective and reports its faults.
func Read(doc source.Value) []slo.Flow {
	var object objective
	if !foreign.Decode(doc, &object, "json") {
		return nil
	}
	meta, spec := foreign.At(doc, "metadata"), foreign.At(doc, "spec")
	name := object.Metadata.Name
	foreign.Name(foreign.At(meta, "name"), name)

	handed := prefixed(foreign.At(meta, "labels"), object.Metadata.Labels, foreign.Labels)
	if at := foreign.At(meta, "namespace"); at.Kind != source.Null {
		foreign.Name(at, object.Metadata.Namespace)
		handed = foreign.Merge(map[string]string{"namespace": object.Metadata.Namespace}, handed)
	}
	service := cmp.Or(object.Metadata.Namespace, name)
	if own := foreign.At(meta, "labels", prefix+"service"); own.Kind != source.Null {
		service = own.Text
		foreign.Name(own, service)
	}

	o := slo.Objective{Name: foreign.Slug(name), ID: name, Pos: foreign.At(spec, "target").Pos}
	o.Target = target(foreign.At(spec, "target"), object.Spec.Target)
	o.Window = window(foreign.At(spec, "window"), object.Spec.Window)
	var carried map[string]string
	o.Query, carried = query(foreign.At(spec, "indicator"), object.Spec.Indicator)
	var alerts bool
	o.Alert, alerts = alert(foreign.At(spec, "alerting"), object.Spec.Alerting)
	o.Alert.Labels = foreign.Merge(carried, map[string]string{"slo": name})
	o.Alert.Annotations = prefixed(foreign.At(meta, "annotations"), object.Metadata.Annotations, foreign.Annotations)
	return []slo.Flow{{
		Name:        foreign.Slug(name),
		Service:     service,
		Description: foreign.Description(object.Spec.Description),
		Labels:      handed,
		Objectives:  []slo.Objective{foreign.Objective(o, alerts, alerts)},
		Pos:         doc.Pos,
	}}
}

// prefixed returns what of labels or annotations Pyrra hands on, under the
// names it gives them.
func prefixed(v source.Value, pairs map[string]string, read func(source.Value, map[string]string) map[string]string) map[string]string {
	ours := map[string]string{}
	node := *v.Node
	node.Fields = nil
	for _, f := range v.Fields {
		if short, ok := strings.CutPrefix(f.Key, prefix); ok {
			ours[short] = pairs[f.Key]
			f.Key = short
			node.Fields = append(node.Fields, f)
		}
	}
	return read(source.Value{Node: &node, Path: v.Path, Faults: v.Faults}, ours)
}

// target reads a percentage without its sign.
func target(v source.Value, s string) float64 {
	const want = `want a percentage such as "99.9"`
	if foreign.Lacks(v, want) {
		return 0
	}
	percent, err := strconv.ParseFloat(s, 64)
	if err != nil || percent-percent != 0 { // NaN or infinite
		v.Refuse(want)
		return 0
	}
	return foreign.Target(v, percent)
}

// window reads a duration of Prometheus.
func window(v source.Value, s string) time.Duration {
	const want = "want a period such as 4w"
	if foreign.Lacks(v, want) {
		return slo.DefaultWindow
	}
	d, err := model.ParseDuration(s)
	if err != nil {
		v.Refuse(want)
		return slo.DefaultWindow
	}
	foreign.Window(v, time.Duration(d))
	return time.Duration(d)
}

// alert reads what an object says of its alerts; ok is false when it has none.
func alert(v source.Value, a alerting) (text slo.AlertText, ok bool) {
	off := a.Disabled != nil && *a.Disabled
	if !off && (a.Absent == nil || *a.Absent) {
		at, want := v, "want alerting: {absent: false}, and an alert on absent() where it matters"
		if a.Absent != nil {
			at = foreign.At(v, "absent")
		}
		foreign.Warn(at, "the alert "+source.Quote(cmp.Or(a.AbsentName, "SLOMetricAbsent"))+
			" for a metric that is absent is left out", want)
	}
	severities := foreign.At(v, "severities")
	for _, pair := range []struct{ first, second, names string }{
		{a.Severities.FastBurn, a.Severities.MediumBurn, "fastBurn and mediumBurn"},
		{a.Severities.SlowBurn, a.Severities.LongTermBurn, "slowBurn and longTermBurn"},
	} {
		if pair.first != pair.second {
			foreign.Warn(severities, pair.names+" differ, but make one alert", "want them the same; the first is used")
		}
	}
	return slo.AlertText{
		Name:         cmp.Or(foreign.AlertName(foreign.At(v, "name")), "ErrorBudgetBurn"),
		PageLabels:   severity(foreign.At(severities, "fastBurn"), "critical"),
		TicketLabels: severity(foreign.At(severities, "slowBurn"), "warning"),
	}, !off && (a.Burnrates == nil || *a.Burnrates)
}

// severity returns the label severity, whose value stands at v unless it is the
// usual one.
func severity(v source.Value, usual string) map[string]string {
	if v.Kind == source.Null {
		return map[string]string{"severity": usual}
	}
	value, _ := v.Line("want a severity such as " + usual)
	foreign.Template(v, value)
	return map[string]string{"severity": value}
}

// query reads what an object measures, and the labels that Pyrra takes from it
// for its alerts: those that all its events have the same.
func query(v source.Value, i indicator) (slo.Query, map[string]string) {
	const want = "want one of ratio, latency, latencyNative and bool_gauge"
	var kinds []string
	for _, kind := range []string{"ratio", "latency", "latencyNative", "bool_gauge"} {
		if v.Has(kind) && foreign.At(v, kind).Kind != source.Null {
			kinds = append(kinds, kind)
		}
	}
	switch {
	case foreign.Lacks(v, want):
		return slo.Query{}, nil
	case len(kinds) == 0:
		if !foreign.Holds(v) {
			v.Fault("measures nothing", want)
		}
		return slo.Query{}, nil
	case len(kinds) > 1:
		v.Fault("has "+strings.Join(kinds, " and "), want)
		return slo.Query{}, nil
	}
	v = foreign.At(v, kinds[0])
	var part, all foreign.Expr // the bad or good events, and all
	var total source.Value     // the selector of all
	var grouping []string
	before := v.Faults.Len()
	switch {
	case i.Ratio != nil:
		total, grouping = foreign.At(v, "total", "metric"), i.Ratio.Grouping
		part = over("sum(rate(%s))", foreign.At(v, "errors", "metric"), i.Ratio.Errors.Metric)
		all = over("sum(rate(%s))", total, i.Ratio.Total.Metric)
	case i.Latency != nil:
		total, grouping = foreign.At(v, "total", "metric"), i.Latency.Grouping
		part = over("sum(rate(%s))", foreign.At(v, "success", "metric"), i.Latency.Success.Metric)
		all = over("sum(rate(%s))", total, i.Latency.Total.Metric)
	case i.LatencyNative != nil:
		total, grouping = foreign.At(v, "total", "metric"), i.LatencyNative.Grouping
		seconds := latency(foreign.At(v, "latency"), i.LatencyNative.Latency)
		all = over("histogram_count(sum(rate(%s)))", total, i.LatencyNative.Total.Metric)
		part = over("histogram_fraction(0, "+seconds+", sum(rate(%[1]s))) * histogram_count(sum(rate(%[1]s)))",
			total, i.LatencyNative.Total.Metric)
	case i.BoolGauge != nil:
		total, grouping = foreign.At(v, "metric"), i.BoolGauge.Grouping
		part = over("sum(sum_over_time(%s))", total, i.BoolGauge.Metric)
		all = over("sum(count_over_time(%s))", total, i.BoolGauge.Metric)
	}
	if v.Faults.Len() > before {
		return slo.Query{}, nil
	}
	if part.Text == all.Text {
		total.Fault("counts what the other metric counts", "want that of all events")
	}
	if len(grouping) > 0 {
		foreign.Warn(foreign.At(v, "grouping"), "one budget is kept over all values of "+strings.Join(grouping, ", "),
			"want an SLO for each value that has its own budget")
	}
	if i.Ratio != nil {
		return foreign.Bad(v, part, all), equal(total.Text, grouping)
	}
	return foreign.Good(v, part, all), equal(total.Text, grouping)
}

// over returns an expression of a metric over the range $window. Pyrra takes
// plain selectors only.
func over(expr string, v source.Value, selector string) foreign.Expr {
	const want = `want a metric such as http_requests_total{job="api"}`
	if foreign.Lacks(v, want) {
		return foreign.Expr{}
	}
	selector = strings.TrimSpace(selector)
	if _, err := matchers(selector); err != nil {
		v.Fault(source.Quote(selector)+" is not a selector of a metric", want)
		return foreign.Expr{}
	}
	return foreign.Query(v, fmt.Sprintf(expr, selector+"["+slo.QueryWindow+"]"))
}

// equal returns the labels that the selector of all events fixes, without those
// that are grouped by and those that slowburn sets.
func equal(selector string, grouping []string) map[string]string {
	ms, _ := matchers(strings.TrimSpace(selector)) // over has checked it
	out := map[string]string{}
	for _, m := range ms {
		if m.Type == labels.MatchEqual && !slices.Contains(grouping, m.Name) && foreign.Plain(m.Name, m.Value) {
			out[m.Name] = m.Value
		}
	}
	return out
}

func matchers(selector string) ([]*labels.Matcher, error) {
	return parser.NewParser(parser.Options{}).ParseMetricSelector(selector)
}

// latency returns a duration of Prometheus in seconds.
func latency(v source.Value, s string) string {
	const want = "want a duration such as 200ms"
	if foreign.Lacks(v, want) {
		return "1"
	}
	d, err := model.ParseDuration(s)
	if err != nil || d <= 0 {
		v.Refuse(want)
		return "1"
	}
	return strconv.FormatFloat(time.Duration(d).Seconds(), 'g', -1, 64)
}
