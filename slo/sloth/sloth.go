// Package sloth reads Sloth's formats: its own prometheus/v1, the Kubernetes
// object PrometheusServiceLevel, and AlertWindows.
//
// Each SLO becomes a flow with one PromQL objective over 30 days under the same
// sloth_id, with Sloth's labels, alert names and annotations. What a Go plugin
// measures cannot be known and is refused; plugins that change generated rules
// are left out with a warning.
package sloth

import (
	"fmt"
	"time"

	k8sv1 "github.com/slok/sloth/pkg/kubernetes/api/sloth/v1"
	windowsv1 "github.com/slok/sloth/pkg/prometheus/alertwindows/v1"
	prometheusv1 "github.com/slok/sloth/pkg/prometheus/api/v1"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/foreign"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// Version and APIVersion are what documents in Sloth's formats begin with.
const (
	Version    = prometheusv1.Version
	APIVersion = "sloth.slok.dev/v1"

	KindServiceLevel = "PrometheusServiceLevel"
	KindWindows      = windowsv1.Kind
)

// spelling is how one of the formats spells its keys.
type spelling struct{ plugins, errors, total, ratio, page, ticket string }

var (
	snake = spelling{"slo_plugins", "error_query", "total_query", "error_ratio_query", "page_alert", "ticket_alert"}
	camel = spelling{"sloPlugins", "errorQuery", "totalQuery", "errorRatioQuery", "pageAlert", "ticketAlert"}
)

// Read reads a document of version prometheus/v1 and reports its faults.
func Read(doc source.Value) []slo.Flow {
	var spec prometheusv1.Spec
	if !foreign.Decode(doc, &spec, "json") {
		return nil
	}
	return flows(doc, spec, snake)
}

// ReadServiceLevel reads a PrometheusServiceLevel and reports its faults.
func ReadServiceLevel(doc source.Value) []slo.Flow {
	var object k8sv1.PrometheusServiceLevel
	if !foreign.Decode(doc, &object, "json") {
		return nil
	}
	spec := prometheusv1.Spec{Service: object.Spec.Service, Labels: object.Spec.Labels, SLOPlugins: plugins(object.Spec.SLOPlugins)}
	for _, s := range object.Spec.SLOs {
		spec.SLOs = append(spec.SLOs, prometheusv1.SLO{
			Name:        s.Name,
			Description: s.Description,
			Objective:   s.Objective,
			Plugins:     plugins(s.Plugins),
			Labels:      s.Labels,
			SLI: prometheusv1.SLI{
				Raw:    (*prometheusv1.SLIRaw)(s.SLI.Raw),
				Events: (*prometheusv1.SLIEvents)(s.SLI.Events),
				Plugin: (*prometheusv1.SLIPlugin)(s.SLI.Plugin),
			},
			Alerting: prometheusv1.Alerting{
				Name:        s.Alerting.Name,
				Labels:      s.Alerting.Labels,
				Annotations: s.Alerting.Annotations,
				PageAlert:   prometheusv1.Alert(s.Alerting.PageAlert),
				TicketAlert: prometheusv1.Alert(s.Alerting.TicketAlert),
			},
		})
	}
	return flows(foreign.At(doc, "spec"), spec, camel)
}

func plugins(p *k8sv1.SLOPlugins) (out prometheusv1.SLOPlugins) {
	if p == nil {
		return out
	}
	for _, link := range p.Chain {
		out.Chain = append(out.Chain, prometheusv1.SLOPlugin(link))
	}
	return out
}

// flows turns a specification, which stands at v, into one flow per SLO.
func flows(v source.Value, spec prometheusv1.Spec, keys spelling) []slo.Flow {
	foreign.Name(foreign.At(v, "service"), spec.Service)
	labels := foreign.Labels(foreign.At(v, "labels"), spec.Labels)
	unplugged(foreign.At(v, keys.plugins), spec.SLOPlugins)
	if at := foreign.At(v, "slos"); len(spec.SLOs) == 0 && !foreign.Lacks(at, wantSLOs) {
		at.Fault("is empty", wantSLOs)
	}
	out := make([]slo.Flow, len(spec.SLOs))
	for i, s := range spec.SLOs {
		at := foreign.At(v, "slos", i)
		foreign.Name(foreign.At(at, "name"), s.Name)
		unplugged(foreign.At(at, "plugins"), s.Plugins)
		out[i] = slo.Flow{
			Name:        foreign.Slug(s.Name),
			Service:     spec.Service,
			Description: foreign.Description(s.Description),
			Labels:      foreign.Merge(labels, foreign.Labels(foreign.At(at, "labels"), s.Labels)),
			Objectives:  []slo.Objective{objective(at, s, keys)},
			Pos:         at.Pos,
		}
	}
	return out
}

const wantSLOs = "want a list of at least one SLO"

func objective(v source.Value, s prometheusv1.SLO, keys spelling) slo.Objective {
	o := slo.Objective{
		Name:   foreign.Slug(s.Name),
		ID:     s.Name,
		Window: slo.DefaultWindow,
		Query:  sli(foreign.At(v, "sli"), s.SLI, keys),
	}
	target := foreign.At(v, "objective")
	if !foreign.Lacks(target, "want a percentage such as 99.9") {
		o.Target = foreign.Target(target, s.Objective)
	}
	o.Pos = target.Pos

	alerting := foreign.At(v, "alerting")
	page, ticket := foreign.At(alerting, keys.page), foreign.At(alerting, keys.ticket)
	o.Alert = slo.AlertText{
		Name:              foreign.AlertName(foreign.At(alerting, "name")),
		Labels:            foreign.AlertLabels(foreign.At(alerting, "labels"), s.Alerting.Labels),
		Annotations:       foreign.Annotations(foreign.At(alerting, "annotations"), s.Alerting.Annotations),
		PageLabels:        foreign.AlertLabels(foreign.At(page, "labels"), s.Alerting.PageAlert.Labels),
		PageAnnotations:   foreign.Annotations(foreign.At(page, "annotations"), s.Alerting.PageAlert.Annotations),
		TicketLabels:      foreign.AlertLabels(foreign.At(ticket, "labels"), s.Alerting.TicketAlert.Labels),
		TicketAnnotations: foreign.Annotations(foreign.At(ticket, "annotations"), s.Alerting.TicketAlert.Annotations),
	}
	return foreign.Objective(o, !s.Alerting.PageAlert.Disable, !s.Alerting.TicketAlert.Disable)
}

// sli reads what an SLO measures.
func sli(v source.Value, s prometheusv1.SLI, keys spelling) (q slo.Query) {
	const want = "want one of sli.events and sli.raw"
	switch {
	case s.Plugin != nil:
		at := foreign.At(v, "plugin")
		at.Fault("is the Go plugin "+source.Quote(s.Plugin.ID)+", which cannot be carried over", "want sli.events or sli.raw")
	case s.Events != nil && s.Raw != nil:
		v.Fault("has both events and raw", want)
	case s.Events != nil:
		errors, total := foreign.At(v, "events", keys.errors), foreign.At(v, "events", keys.total)
		before := v.Faults.Len()
		bad, all := foreign.Query(errors, s.Events.ErrorQuery), foreign.Query(total, s.Events.TotalQuery)
		if v.Faults.Len() > before {
			return q
		}
		if bad.Text == all.Text {
			total.Fault("is the same as "+keys.errors, "want the query of all events")
		}
		return foreign.Bad(errors, bad, all)
	case s.Raw != nil:
		q.Ratio = foreign.Query(foreign.At(v, "raw", keys.ratio), s.Raw.ErrorRatioQuery).Text
	case !foreign.Lacks(v, want) && !foreign.Holds(v):
		v.Fault("measures nothing", want)
	}
	return q
}

// unplugged warns of plugins that would change what Sloth generates.
func unplugged(v source.Value, p prometheusv1.SLOPlugins) {
	if len(p.Chain) > 0 {
		foreign.Warn(v, "Sloth's plugins change the rules it generates and are left out", "want them removed, and what they change checked")
	}
}

// Windows are the alerts of all objectives of one period that choose none.
type Windows struct {
	Period time.Duration
	Tiers  []slo.Tier // with the factors as they are written, whatever a target can reach
	Pos    slo.Pos    // of the period
}

// ReadWindows reads an AlertWindows and reports its faults.
func ReadWindows(doc source.Value) (Windows, bool) {
	var object windowsv1.AlertWindows
	before := doc.Faults.Len()
	if !foreign.Decode(doc, &object, "yaml") {
		return Windows{}, false
	}
	spec := foreign.At(doc, "spec")
	period := foreign.At(spec, "sloPeriod")
	out := Windows{Period: time.Duration(object.Spec.SLOPeriod), Pos: period.Pos}
	if !foreign.Lacks(period, "want a period such as 30d") {
		foreign.Window(period, out.Period)
	}
	for _, w := range []struct {
		severity slo.Severity
		speed    string
		windowsv1.Window
	}{
		{slo.Page, "quick", object.Spec.Page.Quick},
		{slo.Page, "slow", object.Spec.Page.Slow},
		{slo.Ticket, "quick", object.Spec.Ticket.Quick},
		{slo.Ticket, "slow", object.Spec.Ticket.Slow},
	} {
		out.Tiers = append(out.Tiers, tier(foreign.At(spec, string(w.severity), w.speed), w.severity, w.Window, out.Period))
	}
	return out, doc.Faults.Len() == before
}

func tier(v source.Value, severity slo.Severity, w windowsv1.Window, period time.Duration) slo.Tier {
	t := slo.Tier{Severity: severity, Long: time.Duration(w.LongWindow), Short: time.Duration(w.ShortWindow)}
	long, short, share := foreign.At(v, "longWindow"), foreign.At(v, "shortWindow"), foreign.At(v, "errorBudgetPercent")
	if foreign.Lacks(v, "want errorBudgetPercent, shortWindow and longWindow") ||
		foreign.Lacks(share, "want the percentage of the budget, such as 2") ||
		foreign.Lacks(long, "want a duration such as 1h") || foreign.Lacks(short, "want a duration such as 5m") {
		return t
	}
	for _, at := range []struct {
		source.Value
		time.Duration
	}{{short, t.Short}, {long, t.Long}} {
		if at.Duration <= 0 || at.Duration%foreign.Slot != 0 {
			at.Fault(slo.Duration(at.Duration)+" is not a multiple of "+slo.Duration(foreign.Slot), "want one such as 5m")
		}
	}
	switch {
	case w.ErrorBudgetPercent <= 0 || w.ErrorBudgetPercent > 100:
		share.Fault(fmt.Sprintf("%g is no share of a budget", w.ErrorBudgetPercent), "want more than 0 and at most 100")
	case t.Short >= t.Long:
		short.Fault(fmt.Sprintf("%s is not shorter than longWindow: %s", slo.Duration(t.Short), slo.Duration(t.Long)),
			"want less than "+slo.Duration(t.Long))
	case t.Long > period && period > 0:
		long.Fault(fmt.Sprintf("%s is longer than sloPeriod: %s", slo.Duration(t.Long), slo.Duration(period)),
			"want at most "+slo.Duration(period))
	default:
		t.Factor = w.ErrorBudgetPercent / 100 * float64(period) / float64(t.Long)
	}
	return t
}
