// Package rulegen turns flows into Prometheus alert rules. The embedded rule
// manager evaluates exactly the text that is written for somebody else's
// Prometheus. It is pure: the same flows give the same bytes.
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

// Groups returns one rule group per SLO, in order, with one alert per severity
// the SLO has tiers for. An error is a rule that Prometheus would refuse, such
// as one with a label whose template does not parse; it names the SLO.
func Groups(flows []slo.Flow, opts Options) ([]rulefmt.RuleGroup, error) {
	if opts.Interval == 0 {
		opts.Interval = DefaultInterval
	}
	p := parser.NewParser(parser.Options{})
	var groups []rulefmt.RuleGroup
	var faults []error
	for _, s := range slo.All(flows) {
		g := rulefmt.RuleGroup{
			Name:     conventions.PromRuleGroupNameSLOAlertsPrefix + s.ID(),
			Interval: model.Duration(opts.Interval),
		}
		for _, severity := range []slo.Severity{slo.Page, slo.Ticket} {
			rule, ok := alert(s, severity)
			if !ok {
				continue
			}
			for _, err := range rule.Validate(rulefmt.RuleNode{}, model.UTF8Validation, p) {
				faults = append(faults, fmt.Errorf("%s: SLO %s, %s alert: %w", s.Objective.Pos, s.ID(), severity, err.Unwrap()))
			}
			g.Rules = append(g.Rules, rule)
		}
		if len(g.Rules) > 0 {
			groups = append(groups, g)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return groups, nil
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

// alert returns the rule of one severity; ok is false when the SLO has no tier
// of it. Its value is the burn rate over the long window of the first tier that
// fires, and its labels are the SLO's.
//
// What the user wrote for alerts as such is passed on as a template of
// Prometheus, the way other generators do; all else is literal text.
func alert(s slo.SLO, severity slo.Severity) (rule rulefmt.Rule, ok bool) {
	var tiers, limits []string
	for _, t := range s.Objective.Tiers {
		if t.Severity == severity {
			tiers = append(tiers, tier(s, t))
			limits = append(limits, fmt.Sprintf("%s× over %s and %s", number(t.Factor), slo.Duration(t.Long), slo.Duration(t.Short)))
		}
	}
	if len(tiers) == 0 {
		return rulefmt.Rule{}, false
	}
	text := s.Objective.Alert
	labels, annotations := map[string]string{}, map[string]string{
		"summary": fmt.Sprintf("%s on %s: the error budget of %s burns {{ printf \"%%.3g\" $value }} times too fast",
			s.Flow.Name, literal(s.Flow.Service), literal(s.Objective.Words())),
		"objective": literal(s.Objective.Words()),
		"burn_long": `{{ printf "%.3g" $value }}`,
		"limits":    strings.Join(limits, ", or "),
	}
	for k, v := range map[string]string{
		"description": s.Flow.Description,
		"runbook":     s.Flow.Runbook,
		"owner":       s.Flow.Owner,
	} {
		if v != "" {
			annotations[k] = literal(v)
		}
	}
	for k, v := range s.Flow.Labels {
		labels[k] = literal(v)
	}
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
	return rulefmt.Rule{
		Alert:       cmp.Or(text.Name, series.Alert(severity)),
		Expr:        strings.Join(tiers, "\nor\n"),
		Labels:      labels,
		Annotations: annotations,
	}, true
}

// reserved are the labels that say which SLO an alert is of: alerts are routed,
// grouped and told by them, so nobody else sets them.
var reserved = []string{model.AlertNameLabel, series.ID, series.SLOServ, series.SLOName, series.SLOFlow, series.Severity}

// tier writes the expression of one tier: both windows burn faster than the
// factor, and the long one holds enough bad events to judge by. Their count is
// recorded: no counter needs to be looked up in the past, which would open old
// blocks at every evaluation.
func tier(s slo.SLO, t slo.Tier) string {
	id := "{" + series.ID + "=" + strconv.Quote(s.ID()) + "}"
	budget, factor := number(s.Objective.Budget()), number(t.Factor)
	burns := func(window time.Duration) string {
		return fmt.Sprintf("%s%s / %s > %s", series.ErrorRatio(window), id, budget, factor)
	}
	return fmt.Sprintf(`max without (%s) (
    %s
  and ignoring (%s)
    %s
  and ignoring (%s)
    %s%s >= %d
)`,
		series.Window,
		burns(t.Long),
		series.Window,
		burns(t.Short),
		series.Window,
		series.ErrorsOver(t.Long), id, max(1, s.Objective.MinEvents))
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 12, 64) }

// literal makes text safe in labels and annotations, which Prometheus reads as
// templates.
func literal(text string) string { return strings.ReplaceAll(text, "{{", `{{"{{"}}`) }
