package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// Names of the two SLOs of every scenario.
const (
	availability = "availability"
	latency      = "latency"
)

// identity is one of the 24 SLOs.
type identity struct {
	history *history
	name    string // availability or latency
	target  float64
}

// slug names the SLO within its service.
func (i identity) slug() string { return i.history.name + "-" + i.name }

// bad returns the bad requests scrape by scrape.
func (i identity) bad() []uint32 {
	if i.name == latency {
		return i.history.slow
	}
	return i.history.failed
}

func identities(histories []*history) []identity {
	var out []identity
	for _, h := range histories {
		out = append(out, identity{h, availability, h.availability()}, identity{h, latency, latencyTarget})
	}
	return out
}

// queries returns the SLI of an SLO over a window as other generators want it:
// bad and all events a second.
func queries(job, name, window string) (bad, total string) {
	if name == availability {
		return fmt.Sprintf(`sum(rate(http_requests_total{job=%q,code=~"5.."}[%s]))`, job, window),
			fmt.Sprintf(`sum(rate(http_requests_total{job=%q}[%s]))`, job, window)
	}
	total = fmt.Sprintf(`sum(rate(http_request_duration_seconds_count{job=%q}[%s]))`, job, window)
	return fmt.Sprintf(`(%s - sum(rate(http_request_duration_seconds_bucket{job=%q,le="0.3"}[%s])))`, total, job, window), total
}

// flows returns the SLOs as slowburn knows them: one flow a scenario, from the
// metrics of users, or counted from spans. Those of one service share rules;
// alone makes each flow a service of its own.
func flows(ids []identity, counted, alone bool) []slo.Flow {
	var out []slo.Flow
	for _, id := range ids {
		if len(out) == 0 || out[len(out)-1].Name != id.history.name {
			f := slo.Flow{Name: id.history.name, Service: "shop"}
			if alone {
				f.Service = id.history.name
			}
			out = append(out, f)
		}
		o := slo.Objective{
			Name: id.name, Kind: slo.PromQL, Target: id.target, Window: period,
			MinEvents: slo.DefaultMinEvents, Tiers: slo.Tiers(id.target, period),
		}
		switch bad, total := queries(id.history.name, id.name, slo.QueryWindow); {
		case counted && id.name == latency:
			o.Kind, o.Threshold = slo.FasterThan, 300*time.Millisecond
		case counted:
			o.Kind = slo.Succeed
		case id.name == latency:
			o.Query.Total = total
			o.Query.Good = fmt.Sprintf(`sum(rate(http_request_duration_seconds_bucket{job=%q,le="0.3"}[%s]))`, id.history.name, slo.QueryWindow)
		default:
			o.Query = slo.Query{Bad: bad, Total: total}
		}
		f := &out[len(out)-1]
		f.Objectives = append(f.Objectives, o)
	}
	return out
}

// slothSpec returns the SLOs as Sloth wants them; its rules for them are in
// testdata, written by bench/slothgen.
func slothSpec(ids []identity) string {
	var b strings.Builder
	b.WriteString("version: prometheus/v1\nservice: shop\nslos:\n")
	for _, id := range ids {
		bad, total := queries(id.history.name, id.name, "{{.window}}")
		fmt.Fprintf(&b, "  - name: %s\n    objective: %s\n    sli:\n      events:\n        error_query: %s\n        total_query: %s\n",
			id.slug(), strings.TrimSuffix(slo.Percent(id.target), "%"), bad, total)
		b.WriteString("    alerting:\n      name: Burn\n")
	}
	return b.String()
}

// pyrraRules returns rules in the shape that Pyrra documents: the increase over the
// period every 150 s, burn rates over the windows of its alerts every 30 s, and
// four alerts with `for`.
func pyrraRules(ids []identity) []rulefmt.RuleGroup {
	var out []rulefmt.RuleGroup
	minutes := func(parts time.Duration) time.Duration { return (period / parts).Round(time.Minute) }
	alerts := []struct {
		severity          string
		hold, long, short time.Duration
		factor            int
	}{
		{"critical", minutes(28 * 24 * 30), minutes(28 * 24), minutes(28 * 24 * 12), 14},
		{"critical", minutes(28 * 24 * 4), minutes(28 * 4), minutes(28 * 24 * 2), 7},
		{"warning", minutes(28 * 24), minutes(28), minutes(28 * 12), 2},
		{"warning", minutes(28 * 8), minutes(7), minutes(28 * 4), 1},
	}
	for _, id := range ids {
		job := id.history.name
		own := func(pairs ...string) map[string]string {
			l := map[string]string{"slo": id.slug(), "job": job}
			for i := 0; i < len(pairs); i += 2 {
				l[pairs[i]] = pairs[i+1]
			}
			return l
		}
		increase := rulefmt.RuleGroup{Name: id.slug() + "-increase", Interval: model.Duration(150 * time.Second)}
		over := func(metric, selector, by string, labels map[string]string) {
			base := metric
			for _, suffix := range []string{"_total", "_count", "_bucket"} {
				base = strings.TrimSuffix(base, suffix)
			}
			increase.Rules = append(increase.Rules,
				rulefmt.Rule{
					Record: base + ":increase" + model.Duration(period).String(), Labels: labels,
					Expr: fmt.Sprintf("sum%s (increase(%s{%s}[%s]))", by, metric, selector, model.Duration(period)),
				},
				rulefmt.Rule{
					Alert: "SLOMetricAbsent", Expr: fmt.Sprintf("absent(%s{%s}) == 1", metric, selector),
					For: model.Duration(minutes(28 * 24 * 30)), Labels: own("severity", "absent"),
				})
		}
		name := "http_requests"
		if id.name == availability {
			over("http_requests_total", fmt.Sprintf("job=%q", job), " by (code)", own())
		} else {
			name = "http_request_duration_seconds"
			over("http_request_duration_seconds_count", fmt.Sprintf("job=%q", job), "", own())
			over("http_request_duration_seconds_bucket", fmt.Sprintf(`job=%q,le="0.3"`, job), "", own("le", "0.3"))
		}
		burn := rulefmt.RuleGroup{Name: id.slug(), Interval: model.Duration(30 * time.Second)}
		seen := map[time.Duration]bool{}
		for _, a := range alerts {
			for _, w := range []time.Duration{a.short, a.long} {
				if seen[w] {
					continue
				}
				seen[w] = true
				bad, total := queries(job, id.name, model.Duration(w).String())
				burn.Rules = append(burn.Rules, rulefmt.Rule{
					Record: name + ":burnrate" + model.Duration(w).String(), Labels: own(), Expr: bad + " / " + total,
				})
			}
		}
		for _, a := range alerts {
			side := func(w time.Duration) string {
				return fmt.Sprintf("%s:burnrate%s{job=%q,slo=%q} > (%d * (1-%s))", name, model.Duration(w), job, id.slug(), a.factor,
					strconv.FormatFloat(id.target, 'f', -1, 64))
			}
			burn.Rules = append(burn.Rules, rulefmt.Rule{
				Alert: "ErrorBudgetBurn", Expr: side(a.short) + " and " + side(a.long), For: model.Duration(a.hold),
				Labels: own("severity", a.severity, "long", model.Duration(a.long).String(), "short", model.Duration(a.short).String()),
			})
		}
		out = append(out, increase, burn)
	}
	return out
}

// slothBudget returns the expression of the budget that is left by the name that
// Sloth gave it, and slowburn keeps.
func slothBudget(id identity) string {
	return fmt.Sprintf("%s{sloth_id=%q}", series.BudgetRemaining, "shop-"+id.slug())
}

// pyrraBudget returns the expression by which Pyrra shows the budget that is left.
func pyrraBudget(id identity) string {
	budget := fmt.Sprintf("(1 - %g)", id.target)
	if id.name == availability {
		return fmt.Sprintf(`(%[1]s - (sum(http_requests:increase30d{slo=%[2]q,code=~"5.."} or vector(0)) / sum(http_requests:increase30d{slo=%[2]q}))) / %[1]s`,
			budget, id.slug())
	}
	return fmt.Sprintf(`(%[1]s - (1 - sum(http_request_duration_seconds:increase30d{slo=%[2]q,le="0.3"} or vector(0)) / sum(http_request_duration_seconds:increase30d{slo=%[2]q,le=""}))) / %[1]s`,
		budget, id.slug())
}
