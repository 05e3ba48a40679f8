package openslo

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	v1alpha "github.com/OpenSLO/oslo/pkg/manifest/v1alpha"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/foreign"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// alphaObject is an SLO of v1alpha, with what the specification has and the
// official types lack.
type alphaObject struct {
	v1alpha.ObjectHeader `yaml:",inline"`
	Spec                 struct {
		v1alpha.SLOSpec `yaml:",inline"`
		Indicator       any              `yaml:"indicator"`
		Objectives      []alphaObjective `yaml:"objectives"`
		AlertPolicies   []any            `yaml:"alertPolicies"`
	} `yaml:"spec"`
}

type alphaObjective struct {
	v1alpha.Objective `yaml:",inline"`
	TimeSliceWindow   string `yaml:"timeSliceWindow"`
}

// ReadAlpha reads a document of openslo/v1alpha and reports its faults. The
// objectives of an SLO are numbered from 0, as Sloth numbers them.
func ReadAlpha(doc source.Value) []slo.Flow {
	switch foreign.At(doc, "kind").Text {
	case v1alpha.KindSLO:
	case v1alpha.KindService:
		var service v1alpha.Service
		if foreign.Decode(doc, &service, "yaml") {
			foreign.Name(foreign.At(doc, "metadata", "name"), service.Metadata.Name)
		}
		return nil
	default:
		foreign.Unknown(doc, "kind", "want SLO or Service")
		return nil
	}
	var object alphaObject
	if !foreign.Decode(doc, &object, "yaml") {
		return nil
	}
	spec := foreign.At(doc, "spec")
	name := object.Metadata.Name
	named := foreign.Name(foreign.At(doc, "metadata", "name"), name)
	foreign.Name(foreign.At(spec, "service"), object.Spec.Service)
	if at := foreign.At(spec, "indicator"); at.Kind != source.Null {
		at.Fault("compares a value with a threshold, which counts no events, and cannot be carried over", "want ratioMetrics in each objective")
	}
	if len(object.Spec.AlertPolicies) > 0 {
		foreign.Warn(foreign.At(spec, "alertPolicies"), "policies are left out: slowburn's own burn-rate alerts take their place",
			"want alerts: in slowburn's own language where they do not suit")
	}
	flow := slo.Flow{
		Name:        foreign.Slug(name),
		Service:     object.Spec.Service,
		Description: foreign.Description(object.Spec.Description, object.Metadata.DisplayName),
		Pos:         doc.Pos,
	}
	var base slo.Objective
	base.Window, base.Calendar = alphaWindow(foreign.At(spec, "timeWindows"), object.Spec.TimeWindows)
	sliced := method(foreign.At(spec, "budgetingMethod"))
	objectives := foreign.At(spec, "objectives")
	if len(object.Spec.Objectives) == 0 && !foreign.Lacks(objectives, "want a list of at least one") {
		objectives.Fault("is empty", "want a list of at least one")
	}
	for i, given := range object.Spec.Objectives {
		at := foreign.At(objectives, i)
		o := base
		o.ID, o.Pos = name+"-"+strconv.Itoa(i), at.Pos
		named = named && foreign.Name(at, o.ID)
		o.Name = foreign.Slug(o.ID)
		o.Target = target(at, given.BudgetTarget, nil)
		if given.Operator != nil {
			operator(foreign.At(at, "op"), *given.Operator)
		}
		var slice objective
		slice.TimeSliceTarget, slice.TimeSliceWindow = given.TimeSliceTarget, given.TimeSliceWindow
		timeSlices(at, slice, sliced, &o)
		o.Query = alphaQuery(foreign.At(at, "ratioMetrics"), given.RatioMetrics)
		flow.Objectives = append(flow.Objectives, foreign.Objective(o, true, true))
	}
	return []slo.Flow{flow}
}

func alphaQuery(v source.Value, m *v1alpha.RatioMetrics) (q slo.Query) {
	if foreign.Lacks(v, "want good and total") || m == nil {
		return q
	}
	before := v.Faults.Len()
	total := foreign.At(v, "total")
	good := alphaExpression(foreign.At(v, "good"), m.Good, counted(m.Counter))
	all := alphaExpression(total, m.Total, counted(m.Counter))
	if v.Faults.Len() > before {
		return q
	}
	if good.Text == all.Text {
		total.Fault("is the same as good", "want the query of all events")
	}
	return foreign.Good(v, good, all)
}

func alphaExpression(v source.Value, m v1alpha.MetricSourceSpec, function string) foreign.Expr {
	if foreign.Lacks(v, "want source: prometheus, queryType: promql and query") {
		return foreign.Expr{}
	}
	before := v.Faults.Len()
	for _, part := range []struct{ key, got, want string }{{"source", m.Source, "prometheus"}, {"queryType", m.QueryType, "promql"}} {
		at := foreign.At(v, part.key)
		// Sloth reads both sources alike.
		if !foreign.Lacks(at, "want "+part.want) && part.got != part.want && part.got != "sloth" {
			at.Fault(source.Quote(part.got)+" is nothing that slowburn can ask", "want "+part.want)
		}
	}
	if v.Faults.Len() > before {
		return foreign.Expr{}
	}
	return rangedQuery(foreign.At(v, "query"), function)
}

// alphaUnits are the units of v1alpha, as v1 writes them.
var alphaUnits = map[string]byte{"Second": 's', "Day": 'd', "Week": 'w', "Month": 'M', "Quarter": 'Q'}

// alphaWindow reads the period of an SLO of v1alpha; none is 30 days. Without a
// calendar it rolls, as with Sloth.
func alphaWindow(v source.Value, given []v1alpha.TimeWindow) (time.Duration, slo.Calendar) {
	switch {
	case len(given) == 0:
		return slo.DefaultWindow, slo.Calendar{}
	case len(given) > 1:
		foreign.At(v, 1).Fault("is a second time window", "want one, and an SLO for each other")
		return slo.DefaultWindow, slo.Calendar{}
	}
	v = foreign.At(v, 0)
	w := given[0]
	unit, count := foreign.At(v, "unit"), foreign.At(v, "count")
	if foreign.Lacks(unit, "want Second, Day, Week, Month or Quarter") || foreign.Lacks(count, "want a number of units") {
		return slo.DefaultWindow, slo.Calendar{}
	}
	letter, ok := alphaUnits[w.Unit]
	if !ok {
		for name := range alphaUnits {
			if strings.EqualFold(name, w.Unit) { // as Sloth reads it
				letter, ok = alphaUnits[name], true
			}
		}
	}
	if !ok {
		unit.Refuse("want Second, Day, Week, Month or Quarter")
		return slo.DefaultWindow, slo.Calendar{}
	}
	if w.Count < 1 || w.Count > mostUnits {
		count.Refuse(fmt.Sprintf("want a whole number from 1 to %d", mostUnits))
		return slo.DefaultWindow, slo.Calendar{}
	}
	var start, zone string
	if w.Calendar != nil {
		start, zone = w.Calendar.StartTime, w.Calendar.TimeZone
	}
	rolling := w.Calendar == nil || w.IsRolling
	return period(v, count, span{w.Count, letter}, rolling, start, zone)
}
