// Package rulegen turns flows into Prometheus rules: Groups into the alert rules
// of the embedded rule manager, over what the judge records; Build into rules for
// somebody else's Prometheus. It is pure: the same flows give the same bytes.
package rulegen

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/slok/sloth/pkg/common/conventions"
	"go.yaml.in/yaml/v3"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// Options say how rules are written.
type Options struct {
	// Interval is how often the rules are evaluated; at least 1 s. The zero
	// value is DefaultInterval.
	Interval time.Duration
}

// DefaultInterval is short because a total outage passes the 14.4x threshold
// over one hour after 51.8 s: evaluating every 5 s keeps the page within 60 s.
// The expressions read recorded series only and cost next to nothing.
const DefaultInterval = 5 * time.Second

// Groups returns the alert rules over what slowburn's judge records: a group per
// SLO, in order, with one alert per severity the SLO has tiers for and those of
// its budget that it asks for, and a group per flow that has alerts at all, for
// traffic that is missing. An error is a rule that Prometheus would refuse, such
// as one with a label whose template does not parse; it names the SLO.
func Groups(flows []slo.Flow, opts Options) ([]rulefmt.RuleGroup, error) {
	if opts.Interval == 0 {
		opts.Interval = DefaultInterval
	}
	p := parser.NewParser(parser.Options{})
	var groups []rulefmt.RuleGroup
	var faults []error
	add := func(at slo.Pos, what, name string, rules []rulefmt.Rule) {
		for _, r := range rules {
			for _, err := range r.Validate(rulefmt.RuleNode{}, model.UTF8Validation, p) {
				faults = append(faults, fmt.Errorf("%s: %s, %s alert: %w", at, what, r.Labels[series.Severity], err.Unwrap()))
			}
		}
		if len(rules) > 0 {
			groups = append(groups, rulefmt.RuleGroup{
				Name:     conventions.PromRuleGroupNameSLOAlertsPrefix + name,
				Interval: model.Duration(opts.Interval),
				Rules:    rules,
			})
		}
	}
	for i := range flows {
		f := &flows[i]
		alerting := false
		for _, s := range f.SLOs() {
			rules := judged(s)
			add(s.Objective.Pos, "SLO "+s.ID(), s.ID(), rules)
			alerting = alerting || len(rules) > 0
		}
		if alerting && f.Counted() {
			add(f.Pos, "flow "+f.Service+"/"+f.Name, "traffic-"+f.Service+"-"+f.Name, []rulefmt.Rule{noTraffic(f)})
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return groups, nil
}

// judged returns the rules of an SLO over the judge's series.
func judged(s slo.SLO) (rules []rulefmt.Rule) {
	of := func(metric string) string { return metric + "{" + series.ID + "=" + strconv.Quote(s.ID()) + "}" }
	for _, severity := range []slo.Severity{slo.Page, slo.Ticket} {
		var outage []string
		if severity == slo.Page && s.Objective.Outage {
			outage = []string{"(nearly) everything failing"}
		}
		if rule, ok := alert(s, severity, outage...); ok {
			rule.Expr = of(series.AlertBurnRate(severity))
			rules = append(rules, rule)
		}
	}
	where := s.Flow.Name + " on " + literal(s.Flow.Service)
	for _, share := range s.Objective.Spent {
		rule := ofBudget(s, series.AlertSpent, fmt.Sprintf("%s: %s of the error budget of %s is spent", where, slo.Percent(share), literal(s.Objective.Words())))
		rule.Labels[series.Share] = number(share * 100)
		rule.Expr = of(series.BudgetSpent) + " == " + number(share)
		rules = append(rules, rule)
	}
	if s.Objective.RunsOut {
		rule := ofBudget(s, series.AlertRunsOut, fmt.Sprintf("%s: the error budget of %s is gone in {{ $value | humanizeDuration }} if it burns on as it does", where, literal(s.Objective.Words())))
		rule.Expr = of(series.BudgetRunsOut)
		rules = append(rules, rule)
	}
	return rules
}

// ofBudget returns a ticket of an SLO that tells of its budget.
func ofBudget(s slo.SLO, name, summary string) rulefmt.Rule {
	labels, annotations := about(s.Flow)
	annotations["summary"] = summary
	annotations["objective"] = literal(s.Objective.Words())
	asWritten(s, slo.Ticket, labels, annotations)
	return rulefmt.Rule{Alert: name, Labels: labels, Annotations: annotations}
}

// asWritten adds the labels and annotations that the user wrote for the SLO's
// alerts of a severity, as the templates of Prometheus that they are, and the
// severity itself.
func asWritten(s slo.SLO, severity slo.Severity, labels, annotations map[string]string) {
	text := s.Objective.Alert
	maps.Copy(labels, text.Labels)
	maps.Copy(annotations, text.Annotations)
	if severity == slo.Page {
		maps.Copy(labels, text.PageLabels)
		maps.Copy(annotations, text.PageAnnotations)
	} else {
		maps.Copy(labels, text.TicketLabels)
		maps.Copy(annotations, text.TicketAnnotations)
	}
	for _, own := range reserved {
		delete(labels, own)
	}
	labels[series.Severity] = string(severity)
}

// noTraffic returns the ticket of a flow whose traffic does not come.
func noTraffic(f *slo.Flow) rulefmt.Rule {
	labels, annotations := about(f)
	labels[series.Severity] = string(slo.Ticket)
	annotations["summary"] = fmt.Sprintf("%s on %s: (nearly) no traffic for 15 minutes, where {{ printf \"%%.0f\" $value }} requests come at this time of the week", f.Name, literal(f.Service))
	annotations["expected"] = `{{ printf "%.0f" $value }}`
	return rulefmt.Rule{
		Alert:  series.AlertNoTraffic,
		Expr:   fmt.Sprintf("%s{%s=%s,%s=%s}", series.TrafficMissing, series.SLOServ, strconv.Quote(f.Service), series.SLOFlow, strconv.Quote(f.Name)),
		Labels: labels, Annotations: annotations,
	}
}

// about returns the labels of a flow's alerts, but for those that say which SLO
// they are of, and its annotations, as literal text.
func about(f *slo.Flow) (labels, annotations map[string]string) {
	labels, annotations = map[string]string{}, map[string]string{}
	for k, v := range f.Labels {
		labels[k] = literal(v)
	}
	for _, own := range reserved {
		delete(labels, own)
	}
	for k, v := range map[string]string{"description": f.Description, "runbook": f.Runbook, "owner": f.Owner} {
		if v != "" {
			annotations[k] = literal(v)
		}
	}
	return labels, annotations
}

// Marshal writes groups as a Prometheus rule file.
func Marshal(groups []rulefmt.RuleGroup) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Written by slowburn; changes are lost when it is written again.\n")
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(rulefmt.RuleGroups{Groups: groups}); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// alert returns the rule of one severity but for its expression; ok is false when
// the SLO has no tier of it and there are no more limits than those. The
// expression's value is the burn rate over the long window of the first tier that
// fires, and its labels are the SLO's.
//
// What the user wrote for alerts as such is passed on as a template of
// Prometheus, the way other generators do; all else is literal text.
func alert(s slo.SLO, severity slo.Severity, more ...string) (rule rulefmt.Rule, ok bool) {
	var limits []string
	for _, t := range s.Objective.Tiers {
		if t.Severity == severity {
			limits = append(limits, fmt.Sprintf("%s× over %s and %s", number(t.Factor), slo.Duration(t.Long), slo.Duration(t.Short)))
		}
	}
	limits = append(limits, more...)
	if len(limits) == 0 {
		return rulefmt.Rule{}, false
	}
	labels, annotations := about(s.Flow)
	annotations["summary"] = fmt.Sprintf("%s on %s: the error budget of %s burns {{ printf \"%%.3g\" $value }} times too fast",
		s.Flow.Name, literal(s.Flow.Service), literal(s.Objective.Words()))
	annotations["objective"] = literal(s.Objective.Words())
	annotations["burn_long"] = `{{ printf "%.3g" $value }}`
	annotations["limits"] = strings.Join(limits, ", or ")
	asWritten(s, severity, labels, annotations)
	return rulefmt.Rule{
		Alert:       cmp.Or(s.Objective.Alert.Name, series.Alert(severity)),
		Labels:      labels,
		Annotations: annotations,
	}, true
}

// reserved are the labels that say which SLO an alert is of: alerts are routed,
// grouped and told by them, so nobody else sets them.
var reserved = []string{model.AlertNameLabel, series.ID, series.SLOServ, series.SLOName, series.SLOFlow, series.Severity}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 12, 64) }

// literal makes text safe in labels and annotations, which Prometheus reads as
// templates.
func literal(text string) string { return strings.ReplaceAll(text, "{{", `{{"{{"}}`) }
