// Package series is the one place that spells metric, label and rule names.
//
// Recorded series follow Sloth's convention, so that dashboards and tools made
// for Sloth read them unchanged. Names are constants of Sloth's own package.
package series

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/slok/sloth/pkg/common/conventions"

	"github.com/slowburn-slo/slowburn/slo"
)

// Metrics of a flow and of an SLO's counters.
const (
	FlowRequests = "slowburn_flow_requests_total"   // counter {service,flow,outcome}
	FlowDuration = "slowburn_flow_duration_seconds" // native histogram {service,flow}

	Events = "slo_events_total" // counter per SLO, never reset
	Errors = "slo_errors_total" // counter per SLO, never reset

	// Of a flow whose traffic is missing: the events that come in 15 minutes at
	// this time of the week. Absent while it comes. Gauge {sloth_service,slowburn_flow}.
	TrafficMissing = "slowburn_flow_traffic_missing"

	// When a version of a service was first seen, or seen again after the
	// service ran without it: gauge {service,service_version}, Unix seconds.
	VersionFirstSeen = "slowburn_service_version_first_seen_timestamp_seconds"
)

// Recorded series of an SLO, Sloth's names.
const (
	Objective       = conventions.PromMetaSLOObjectiveRatioMetric
	ErrorBudget     = conventions.PromMetaSLOErrorBudgetRatioMetric
	PeriodDays      = conventions.PromMetaSLOTimePeriodDaysMetric
	CurrentBurnRate = conventions.PromMetaSLOCurrentBurnRateRatioMetric
	PeriodBurnRate  = conventions.PromMetaSLOPeriodBurnRateRatioMetric
	BudgetRemaining = conventions.PromMetaSLOPeriodErrorBudgetRemainingRatioMetric
	Info            = conventions.PromMetaSLOInfoMetric
)

// What the judge says of an SLO, see package judge; each is absent while it says
// nothing of the kind.
const (
	PageBurnRate   = "slo:alert_burn_rate:page"   // of an SLO that pages, over the long window that shows it
	TicketBurnRate = "slo:alert_burn_rate:ticket" // of one that makes a ticket
	BudgetSpent    = "slo:budget_spent:ratio"     // the greatest of the objective's shares that is spent
	BudgetRunsOut  = "slo:budget_runs_out:seconds"
)

// Labels.
const (
	Service  = "service"
	FlowName = "flow"
	Outcome  = "outcome"
	By       = "by" // the value a flow is split by

	ServiceVersion = "service_version"
	TraceID        = "trace_id" // of an exemplar

	ID        = conventions.PromSLOIDLabelName
	SLOName   = conventions.PromSLONameLabelName
	SLOServ   = conventions.PromSLOServiceLabelName
	Window    = conventions.PromSLOWindowLabelName
	Severity  = conventions.PromSLOSeverityLabelName
	Goal      = conventions.PromSLOObjectiveLabelName
	Spec      = conventions.PromSLOSpecLabelName
	Mode      = conventions.PromSLOModeLabelName
	Version   = conventions.PromSLOVersionLabelName
	SLOFlow   = "slowburn_flow"
	AlertPage = "SlowburnBudgetBurnPage"
	AlertTick = "SlowburnBudgetBurnTicket"

	// Further alerts of an SLO, tickets: a share of its budget is spent (label
	// Share, in percent), and it will be gone before its period ends.
	AlertSpent   = "SlowburnBudgetSpent"
	AlertRunsOut = "SlowburnBudgetRunsOut"
	Share        = "slowburn_spent"

	// Of a flow, a ticket: the traffic that comes at this time of the week
	// does not come.
	AlertNoTraffic = "SlowburnTrafficMissing"
)

// Values of Outcome.
const (
	Good = "good"
	Bad  = "bad"
)

// ErrorRatio returns the name of the recorded error ratio over a window, e.g.
// slo:sli_error:ratio_rate5m.
func ErrorRatio(window time.Duration) string { return conventions.GetSLIErrorMetric(window) }

// WindowName returns a window as it stands in names and in the label
// sloth_window: as Prometheus writes durations, so that 7 days are 1w.
func WindowName(window time.Duration) string {
	return strings.TrimPrefix(ErrorRatio(window), conventions.PromSLIErrorMetric)
}

// Alert returns the name of the alert of a severity.
func Alert(s slo.Severity) string {
	if s == slo.Page {
		return AlertPage
	}
	return AlertTick
}

// AlertBurnRate returns the name of the series on which the alert of a severity
// fires.
func AlertBurnRate(s slo.Severity) string {
	if s == slo.Page {
		return PageBurnRate
	}
	return TicketBurnRate
}

// SLO returns the labels that identify an SLO on all its series.
func SLO(s slo.SLO) labels.Labels {
	return labels.FromStrings(
		ID, s.ID(),
		SLOServ, s.Flow.Service,
		SLOName, s.Name(),
		SLOFlow, s.Flow.Name,
	)
}

// Of returns base with the metric's name and further label pairs added.
func Of(base labels.Labels, metric string, pairs ...string) labels.Labels {
	b := labels.NewBuilder(base).Set(model.MetricNameLabel, metric)
	for i := 0; i+1 < len(pairs); i += 2 {
		b.Set(pairs[i], pairs[i+1])
	}
	return b.Labels()
}

// InfoLabels returns the labels of the series sloth_slo_info, whose value is 1:
// slowburn's own and those of the flow whose names are not taken by them.
func InfoLabels(s slo.SLO, version string) labels.Labels {
	own := Of(SLO(s), Info,
		Mode, "slowburn",
		Version, version,
		Spec, "slowburn/v1",
		Goal, strconv.FormatFloat(s.Objective.Target*100, 'g', 12, 64),
	)
	b := labels.NewBuilder(own)
	for name, value := range s.Flow.Labels {
		if !own.Has(name) {
			b.Set(name, value)
		}
	}
	return b.Labels()
}
