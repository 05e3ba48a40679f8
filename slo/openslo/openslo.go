// Package openslo reads OpenSLO v1 and v1alpha, and writes v1.
//
// Each SLO becomes a flow with one PromQL objective for each of its objectives.
// What it measures must come from Prometheus as a ratio of good or bad events to
// all, or as a raw ratio; time slices and calendar windows are kept. Objects
// that an SLO of v1 refers to (SLI, DataSource) may stand in any file of the
// configuration. Policies for alerts are left out with a warning: slowburn's
// own burn-rate alerts take their place.
package openslo

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/OpenSLO/oslo/pkg/manifest"
	v1 "github.com/OpenSLO/oslo/pkg/manifest/v1"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/foreign"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// APIVersion and APIVersionAlpha are what documents begin with.
const (
	APIVersion      = v1.APIVersion
	APIVersionAlpha = "openslo/v1alpha"
)

// object is what all objects of v1 have.
type object struct {
	manifest.ObjectHeader `yaml:",inline"`
	Kind                  string      `yaml:"kind"`
	Metadata              v1.Metadata `yaml:"metadata"`
}

// The types below are those of the official package with what the specification
// has and they lack.

type sloObject struct {
	object `yaml:",inline"`
	Spec   sloSpec `yaml:"spec"`
}

type sloSpec struct {
	v1.SLOSpec    `yaml:",inline"`
	Indicator     *inlineSLI   `yaml:"indicator"`
	TimeWindow    []timeWindow `yaml:"timeWindow"`
	Objectives    []objective  `yaml:"objectives"`
	AlertPolicies []any        `yaml:"alertPolicies"` // names, references and policies
}

type timeWindow struct {
	v1.TimeWindow `yaml:",inline"`
	IsRolling     *bool `yaml:"isRolling"`
}

type objective struct {
	v1.Objective    `yaml:",inline"`
	Target          *float64 `yaml:"target"`
	TargetPercent   *float64 `yaml:"targetPercent"`
	TimeSliceTarget *float64 `yaml:"timeSliceTarget"`
	Indicator       any      `yaml:"indicator"`
	IndicatorRef    any      `yaml:"indicatorRef"`
	CompositeWeight any      `yaml:"compositeWeight"`
}

type inlineSLI struct {
	Metadata v1.Metadata `yaml:"metadata"`
	Spec     sliSpec     `yaml:"spec"`
}

type sliObject struct {
	object `yaml:",inline"`
	Spec   sliSpec `yaml:"spec"`
}

type sliSpec struct {
	Description     string       `yaml:"description"`
	ThresholdMetric any          `yaml:"thresholdMetric"`
	RatioMetric     *ratioMetric `yaml:"ratioMetric"`
}

type ratioMetric struct {
	v1.RatioMetric `yaml:",inline"`
	Raw            *v1.MetricSourceHolder `yaml:"raw"`
	RawType        string                 `yaml:"rawType"`
}

type sourceObject struct {
	object `yaml:",inline"`
	Spec   struct {
		Description       string `yaml:"description"`
		Type              string `yaml:"type"`
		ConnectionDetails any    `yaml:"connectionDetails"`
	} `yaml:"spec"`
}

type serviceObject struct {
	object `yaml:",inline"`
	Spec   v1.ServiceSpec `yaml:"spec"`
}

// Set is the objects of a configuration in OpenSLO v1, which refer to one
// another by name. The zero Set is empty.
type Set struct {
	slis    map[string]definition[sliSpec]
	sources map[string]definition[string] // their types, by name
	slos    []unresolved
}

type definition[T any] struct {
	at   source.Value
	what T
	used bool
}

// unresolved is an SLO whose flow lacks what it measures.
type unresolved struct {
	at   source.Value // its spec
	spec sloSpec
	flow slo.Pos
}

// Read reads a document of openslo/v1 and reports its faults. What the flows
// measure is left to Resolve.
func (s *Set) Read(doc source.Value) []slo.Flow {
	kind := foreign.At(doc, "kind")
	switch kind.Text {
	case v1.KindSLO:
		var object sloObject
		if foreign.Decode(doc, &object, "yaml") {
			return s.readSLO(doc, object)
		}
	case v1.KindSLI:
		var object sliObject
		if foreign.Decode(doc, &object, "yaml") {
			define(&s.slis, doc, object.Metadata.Name, object.Spec)
		}
	case v1.KindDataSource:
		var object sourceObject
		if !foreign.Decode(doc, &object, "yaml") {
			return nil
		}
		define(&s.sources, doc, object.Metadata.Name, object.Spec.Type)
		if object.Spec.ConnectionDetails != nil || foreign.At(doc, "spec").Has("connectionDetails") {
			foreign.Warn(foreign.At(doc, "spec", "connectionDetails"), "how to reach a source is left out",
				"want slowburn told where its Prometheus is")
		}
	case v1.KindService:
		var object serviceObject
		if foreign.Decode(doc, &object, "yaml") {
			foreign.Name(foreign.At(doc, "metadata", "name"), object.Metadata.Name)
		}
	case v1.KindAlertPolicy, v1.KindAlertCondition, v1.KindAlertNotificationTarget:
		foreign.Warn(kind, "is left out: slowburn's own burn-rate alerts take its place", "want alerts: in slowburn's own language where they do not suit")
	default:
		foreign.Unknown(doc, "kind", "want SLO, SLI, DataSource, Service, AlertPolicy, AlertCondition or AlertNotificationTarget")
	}
	return nil
}

// define adds an object to those that others refer to.
func define[T any](to *map[string]definition[T], doc source.Value, name string, what T) {
	at := foreign.At(doc, "metadata", "name")
	if foreign.Lacks(at, "want a name") {
		return
	}
	if first, twice := (*to)[name]; twice {
		at.Fault(fmt.Sprintf("%s has this name at %s already", foreign.At(doc, "kind").Text, first.at.Pos), "want another name")
		return
	}
	if *to == nil {
		*to = map[string]definition[T]{}
	}
	(*to)[name] = definition[T]{at: foreign.At(doc, "spec"), what: what}
}

func (s *Set) readSLO(doc source.Value, object sloObject) []slo.Flow {
	meta, spec := foreign.At(doc, "metadata"), foreign.At(doc, "spec")
	name := object.Metadata.Name
	named := foreign.Name(foreign.At(meta, "name"), name)
	foreign.Name(foreign.At(spec, "service"), object.Spec.Service)
	if len(object.Metadata.Annotations) > 0 {
		foreign.Warn(foreign.At(meta, "annotations"), "annotations are left out", "want labels, or description: of the SLO")
	}
	if len(object.Spec.AlertPolicies) > 0 {
		foreign.Warn(foreign.At(spec, "alertPolicies"), "policies are left out: slowburn's own burn-rate alerts take their place",
			"want alerts: in slowburn's own language where they do not suit")
	}
	flow := slo.Flow{
		Name:        foreign.Slug(name),
		Service:     object.Spec.Service,
		Description: foreign.Description(object.Spec.Description, object.Metadata.DisplayName),
		Labels:      joined(foreign.At(meta, "labels"), object.Metadata.Labels),
		Pos:         doc.Pos,
	}
	window, calendar := windows(foreign.At(spec, "timeWindow"), object.Spec.TimeWindow)
	sliced := method(foreign.At(spec, "budgetingMethod"))
	objectives := foreign.At(spec, "objectives")
	if len(object.Spec.Objectives) == 0 && !foreign.Lacks(objectives, "want a list of at least one") {
		objectives.Fault("is empty", "want a list of at least one")
	}
	for i, given := range object.Spec.Objectives {
		at := foreign.At(objectives, i)
		o := slo.Objective{ID: name, Window: window, Calendar: calendar, Pos: at.Pos}
		if i > 0 { // as Sloth numbers those of v1alpha, but for the first
			o.ID += "-" + strconv.Itoa(i)
			named = named && foreign.Name(at, o.ID)
		}
		o.Name = foreign.Slug(o.ID)
		o.Target = target(at, given.Target, given.TargetPercent)
		operator(foreign.At(at, "op"), given.Op)
		timeSlices(at, given, sliced, &o)
		for _, key := range []string{"indicator", "indicatorRef", "compositeWeight"} {
			if v := foreign.At(at, key); v.Kind != source.Null {
				v.Fault("composes an SLO of several", "want an SLO for each indicator")
			}
		}
		flow.Objectives = append(flow.Objectives, o)
	}
	s.slos = append(s.slos, unresolved{spec, object.Spec, flow.Pos})
	return []slo.Flow{flow}
}

// joined returns labels; several values of one are joined by commas.
func joined(v source.Value, labels v1.Labels) map[string]string {
	out := make(map[string]string, len(labels))
	for name, values := range labels {
		out[name] = strings.Join(values, ",")
	}
	return foreign.Labels(v, out)
}

// target reads a target, which is a ratio or a percentage.
func target(v source.Value, ratio, percent *float64) float64 {
	const want = "want a ratio such as 0.999"
	switch {
	case ratio != nil && percent != nil:
		foreign.At(v, "targetPercent").Fault("target is here as well", "want one of them")
	case percent != nil:
		return foreign.Target(foreign.At(v, "targetPercent"), *percent)
	case ratio == nil:
		foreign.Lacks(foreign.At(v, "target"), want)
	case *ratio > 1 && *ratio < 100:
		foreign.At(v, "target").Fault(fmt.Sprintf("%g is a percentage", *ratio), fmt.Sprintf("want it as a ratio, or as targetPercent: %g", *ratio))
	default:
		return foreign.Ratio(foreign.At(v, "target"), *ratio)
	}
	return 0
}

// operator refuses what turns a ratio round. The others change nothing of one.
func operator(v source.Value, op string) {
	switch op {
	case "", "gte", "gt":
	case "lte", "lt":
		v.Fault("inverted op: "+op+" asks for a value that stays low, and cannot be carried over", "want a ratioMetric of good or bad events, without op")
	default:
		v.Refuse("want a ratioMetric without op")
	}
}

// method reports whether an SLO counts slices of time.
func method(v source.Value) bool {
	const want = "want Occurrences or Timeslices"
	switch v.Text {
	case "Timeslices":
		return true
	case "Occurrences":
	case "RatioTimeslices":
		v.Fault("RatioTimeslices averages the ratios of slices, and cannot be carried over", want)
	default:
		if !foreign.Lacks(v, want) {
			v.Refuse(want)
		}
	}
	return false
}

// timeSlices reads what makes a slice of time good.
func timeSlices(v source.Value, given objective, sliced bool, o *slo.Objective) {
	share, length := foreign.At(v, "timeSliceTarget"), foreign.At(v, "timeSliceWindow")
	if !sliced {
		for _, at := range []source.Value{share, length} {
			if at.Kind != source.Null {
				foreign.Warn(at, "says nothing where the budgetingMethod is Occurrences", "want Timeslices, or it removed")
			}
		}
		return
	}
	if !foreign.Lacks(share, "want the share of good events that makes a slice good, such as 0.95") {
		if o.SliceTarget = *given.TimeSliceTarget; o.SliceTarget <= 0 || o.SliceTarget > 1 {
			share.Refuse("want a ratio above 0, at most 1")
		}
	}
	const want = "want whole minutes that divide an hour, such as 1m or 5m"
	if foreign.Lacks(length, want) {
		return
	}
	text := given.TimeSliceWindow
	if length.Kind == source.Number {
		text += "m" // by the specification
	}
	s, ok := parseSpan(text)
	if o.Slice = s.length(); !ok || o.Slice%time.Minute != 0 || o.Slice > time.Hour || time.Hour%o.Slice != 0 {
		length.Refuse(want)
		o.Slice = 0
	}
}

// Resolve gives the flows that Read returned what they measure, and reports
// what is wrong with it. flows may hold others. It is called once, when all
// documents are read.
func (s *Set) Resolve(flows []slo.Flow) {
	byPos := make(map[slo.Pos]*slo.Flow, len(s.slos))
	for i := range flows {
		byPos[flows[i].Pos] = &flows[i]
	}
	for _, u := range s.slos {
		f := byPos[u.flow]
		query := s.indicator(u)
		for i := range f.Objectives {
			o := &f.Objectives[i]
			o.Query = query
			*o = foreign.Objective(*o, true, true)
		}
	}
	for _, d := range s.slis {
		if !d.used {
			foreign.Warn(d.at, "is the SLI of no SLO", "want an SLO with its name as indicatorRef")
		}
	}
}

// indicator returns what an SLO measures.
func (s *Set) indicator(u unresolved) slo.Query {
	const want = "want an indicator, or the name of an SLI as indicatorRef"
	inline, ref := foreign.At(u.at, "indicator"), foreign.At(u.at, "indicatorRef")
	switch {
	case u.spec.Indicator != nil && u.spec.IndicatorRef != nil:
		ref.Fault("indicator is here as well", "want one of them")
	case u.spec.Indicator != nil:
		return s.query(foreign.At(inline, "spec"), u.spec.Indicator.Spec)
	case u.spec.IndicatorRef != nil:
		name := *u.spec.IndicatorRef
		d, ok := s.slis[name]
		if !ok {
			ref.Fault("there is no SLI "+source.Quote(name), want)
			return slo.Query{}
		}
		d.used = true
		s.slis[name] = d
		return s.query(d.at, d.what)
	default:
		foreign.Lacks(inline, want)
	}
	return slo.Query{}
}

// query returns the queries of an SLI, whose spec stands at v.
func (s *Set) query(v source.Value, sli sliSpec) (q slo.Query) {
	const want = "want ratioMetric with good or bad and total"
	if at := foreign.At(v, "thresholdMetric"); at.Kind != source.Null {
		at.Fault("compares a value with a threshold, which counts no events, and cannot be carried over", want)
		return q
	}
	v = foreign.At(v, "ratioMetric")
	if foreign.Lacks(v, want) || sli.RatioMetric == nil {
		return q
	}
	m := *sli.RatioMetric
	var part, all foreign.Expr // the good or bad events, and all
	before := v.Faults.Len()
	switch {
	case m.Raw != nil:
		at := foreign.At(v, "raw")
		if m.Good != nil || m.Bad != nil || v.Has("total") {
			at.Fault("good, bad or total is here as well", "want raw alone, or the others")
		}
		q.Ratio = s.expression(at, m.Raw.MetricSource, "avg_over_time").Text
		switch kind := foreign.At(v, "rawType"); m.RawType {
		case "failure":
		case "success":
			q.Ratio = "1 - (" + q.Ratio + ")"
		default:
			if !foreign.Lacks(kind, "want success or failure") {
				kind.Refuse("want success or failure")
			}
		}
		return q
	case m.Good != nil && m.Bad != nil:
		v.Fault("has both good and bad", "want one of them, with total")
		return q
	case m.Good != nil:
		part = s.expression(foreign.At(v, "good"), m.Good.MetricSource, counted(m.Counter))
	case m.Bad != nil:
		part = s.expression(foreign.At(v, "bad"), m.Bad.MetricSource, counted(m.Counter))
	default:
		foreign.Lacks(foreign.At(v, "bad"), want) // unless it is misspelt
	}
	total := foreign.At(v, "total")
	if !foreign.Lacks(total, "want the source of all events") {
		all = s.expression(total, m.Total.MetricSource, counted(m.Counter))
	}
	switch {
	case v.Faults.Len() > before:
		return q
	case part.Text == all.Text:
		total.Fault("is the same as the other query", "want the query of all events")
		return q
	case m.Good != nil:
		return foreign.Good(v, part, all)
	default:
		return foreign.Bad(v, part, all)
	}
}

// counted returns the function that makes a count over time of a selector.
func counted(counter bool) string {
	if counter {
		return "increase"
	}
	return ""
}

// expression returns the query of a source, which stands at v; see rangedQuery.
func (s *Set) expression(v source.Value, m v1.MetricSource, function string) foreign.Expr {
	v = foreign.At(v, "metricSource")
	kind, ref := foreign.At(v, "type"), foreign.At(v, "metricSourceRef")
	is := m.Type
	if is == "" && m.MetricSourceRef != "" {
		d, ok := s.sources[m.MetricSourceRef]
		if !ok {
			ref.Fault("there is no DataSource "+source.Quote(m.MetricSourceRef), "want one, or type: Prometheus")
			return foreign.Expr{}
		}
		is, kind = d.what, foreign.At(d.at, "type")
	}
	if foreign.Lacks(kind, "want Prometheus") {
		return foreign.Expr{}
	}
	if !strings.EqualFold(is, "Prometheus") {
		kind.Fault(source.Quote(is)+" is a source that slowburn cannot ask", "want Prometheus")
		return foreign.Expr{}
	}
	spec := foreign.At(v, "spec")
	at := foreign.At(spec, "query")
	if spec.Has("promql") && !spec.Has("query") {
		at = foreign.At(spec, "promql")
	}
	at.Faults = v.Faults // the keys of a source are free, so no misspelling is reported
	for _, f := range spec.Fields {
		if f.Value != at.Node {
			foreign.Warn(foreign.At(spec, f.Key), "is left out", "want query: alone")
		}
	}
	return rangedQuery(at, function)
}

// rangedQuery returns the query at v. One that is nothing but a selector, as
// those of counters often are, is read over $window by function, if there is
// one.
func rangedQuery(v source.Value, function string) foreign.Expr {
	selector, ok := bare(v.Text)
	switch {
	case !ok:
		return foreign.Query(v, v.Text)
	case function == "":
		v.Fault("reads one instant, which counts nothing", "want counter: true if it is one, or a range [$window]")
		return foreign.Expr{}
	}
	text := function + "(" + selector + "[" + slo.QueryWindow + "])"
	if function == "increase" {
		text = "sum(" + text + ")"
	}
	return foreign.Query(v, text)
}

// bare returns the selector of a query that is nothing but one, or a sum of
// one.
func bare(text string) (selector string, ok bool) {
	if len(text) > foreign.MaxQuery {
		return "", false
	}
	p := parser.NewParser(parser.Options{})
	expr, err := p.ParseExpr(text)
	for err == nil {
		switch e := expr.(type) {
		case *parser.VectorSelector:
			return e.String(), e.OriginalOffset == 0 && e.Timestamp == nil && e.StartOrEnd == 0
		case *parser.ParenExpr:
			expr = e.Expr
		case *parser.AggregateExpr:
			if e.Op != parser.SUM {
				return "", false
			}
			expr = e.Expr
		default:
			return "", false
		}
	}
	return "", false
}
