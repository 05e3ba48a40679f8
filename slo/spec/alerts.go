package spec

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// alerts are what defaults, a flow and an objective say of the alerts.
type alerts struct {
	page, ticket string // Slack channels
	off          map[slo.Severity]bool
	text         slo.AlertText
	tiers        []tier // nil: slo.Tiers

	outage  *outage // nil: no such alert
	spent   []float64
	runsOut bool
}

// outage is that outages are to page, and for unused where that was written.
type outage struct {
	at   source.Value
	used bool
}

var (
	alertsKeys   = []string{"page", "ticket", "outage", "spent", "runs_out", "name", "labels", "annotations", "tiers"}
	severityKeys = []string{"slack", "labels", "annotations"}
	tierKeys     = []string{"severity", "burn_rate", "long", "short"}
)

// read takes over what v says; what it does not say stays. Off silences what
// levels around have asked for, not what the same map does. An objective has no
// channel of its own.
func (a *alerts) read(v source.Value, ofObjective bool) {
	a.off = maps.Clone(a.off)
	if a.off == nil {
		a.off = map[slo.Severity]bool{}
	}
	if isOff(v) {
		a.silence(slo.Page)
		a.silence(slo.Ticket)
		return
	}
	want := `want off, or a map such as {page: "#oncall", ticket: "#shop"}`
	if ofObjective {
		want = "want off, or a map such as {page: off}"
	}
	keys, _ := v.Keys(want, alertsKeys)
	if v, ok := keys["name"]; ok {
		a.text.Name, _ = v.Line("want the name of the alert, such as CheckoutFails")
	}
	if v, ok := keys["labels"]; ok {
		a.text.Labels = merged(a.text.Labels, alertLabels(v))
	}
	if v, ok := keys["annotations"]; ok {
		a.text.Annotations = merged(a.text.Annotations, annotations(v))
	}
	if v, ok := keys["tiers"]; ok {
		a.tiers = []tier{}
		if !isOff(v) {
			a.tiers = tiers(v)
		}
		for _, t := range a.tiers {
			a.off[t.Severity] = false // whoever asks for them wants to hear of them
		}
	}
	for _, s := range []struct {
		severity            slo.Severity
		channel             *string
		labels, annotations *map[string]string
	}{
		{slo.Page, &a.page, &a.text.PageLabels, &a.text.PageAnnotations},
		{slo.Ticket, &a.ticket, &a.text.TicketLabels, &a.text.TicketAnnotations},
	} {
		v, ok := keys[string(s.severity)]
		if !ok {
			continue
		}
		if isOff(v) {
			a.silence(s.severity)
			continue
		}
		a.off[s.severity] = false
		keys := map[string]source.Value{"slack": v}
		if v.Kind == source.Table {
			keys, _ = v.Keys(`want off, a Slack channel, or a map such as {slack: "#oncall", labels: {team: shop}}`, severityKeys)
		}
		if v, ok := keys["slack"]; ok {
			*s.channel = channel(v)
			if ofObjective {
				v.Fault("the channel is the whole flow's", "want it in alerts: of the flow")
			}
		}
		if v, ok := keys["labels"]; ok {
			*s.labels = merged(*s.labels, alertLabels(v))
		}
		if v, ok := keys["annotations"]; ok {
			*s.annotations = merged(*s.annotations, annotations(v))
		}
	}
	if v, ok := keys["outage"]; ok {
		a.outage = nil
		if yes(v) {
			a.outage = &outage{at: v}
		}
	}
	if v, ok := keys["spent"]; ok {
		a.spent = spent(v)
	}
	if v, ok := keys["runs_out"]; ok {
		a.runsOut = yes(v)
	}
}

// silence turns all alerts of a severity off.
func (a *alerts) silence(s slo.Severity) {
	a.off[s] = true
	if s == slo.Page {
		a.outage = nil
	} else {
		a.spent, a.runsOut = nil, false
	}
}

// yes reads true or false, or as YAML 1.1 has it, on or off.
func yes(v source.Value) bool {
	if v.Kind == source.Boolean && v.Text == "true" || v.Kind == source.Text && v.Text == "on" {
		return true
	}
	if !isOff(v) {
		v.Refuse("want true or false")
	}
	return false
}

// maxSpent is how many shares of a budget may make a ticket: one in ten.
const maxSpent = 10

// spent reads the shares of the budget whose spending makes a ticket.
func spent(v source.Value) []float64 {
	const want = "want shares of the budget such as [50%, 75%, 100%], or off"
	if isOff(v) {
		return nil
	}
	items := []source.Value{v}
	if v.Kind == source.List {
		items, _ = v.Elements(want)
	}
	if len(items) > maxSpent {
		v.Fault(fmt.Sprintf("has %d shares", len(items)), fmt.Sprintf("want at most %d", maxSpent))
		items = items[:maxSpent]
	}
	var out []float64
	for _, item := range items {
		s, ok := item.Line(want)
		if !ok {
			continue
		}
		share, bad := share(s)
		if item.Flawed(bad) {
			continue
		}
		if n := len(out); n > 0 && (share < out[n-1] || slo.Percent(share) == slo.Percent(out[n-1])) {
			item.Fault(source.Brief(s)+" comes after "+slo.Percent(out[n-1]), "want them ascending, each once")
			continue
		}
		out = append(out, share)
	}
	return out
}

// tooSlow says why an outage cannot be seen within seconds by what an objective
// counts, or nothing.
func tooSlow(o slo.Objective) string {
	switch {
	case o.Kind == slo.PromQL:
		return "PromQL is counted once a minute, too late to page within seconds"
	case o.Kind == slo.Fresh:
		return "freshness is judged once a minute, too late to page within seconds"
	case o.Slice > 0:
		return "slices are judged when they end, too late to page within seconds"
	default:
		return ""
	}
}

const wantOutage = "want it on an objective of requests, such as 99.9% succeed"

// of reports whether outages of an objective page: where that is asked for, of
// the objectives that can.
func (a *outage) of(o slo.Objective) bool {
	if a == nil || tooSlow(o) != "" {
		return false
	}
	a.used = true
	return true
}

// unused reports that outages are to page and no objective can tell of them.
func (a *outage) unused() {
	if a != nil && !a.used {
		a.at.Fault("none of these objectives can tell of an outage within seconds", wantOutage)
	}
}

// isOff reads off, for which YAML 1.1, as some tools still write it, has false.
func isOff(v source.Value) bool {
	return v.Kind == source.Text && v.Text == "off" || v.Kind == source.Boolean && v.Text == "false"
}

// of returns the tiers of an objective of the given target and window.
func (a *alerts) of(target float64, window time.Duration) []slo.Tier {
	var all []slo.Tier
	if a.tiers == nil {
		all = slo.Tiers(target, window)
	} else {
		all = suit(a.tiers, target, window)
	}
	all = slices.DeleteFunc(all, func(t slo.Tier) bool { return a.off[t.Severity] })
	if len(all) == 0 {
		all = nil
	}
	return all
}

// merged returns the entries of both maps, those of inner where both have one.
func merged(outer, inner map[string]string) map[string]string {
	if len(outer) == 0 {
		return inner
	}
	out := maps.Clone(outer)
	maps.Copy(out, inner)
	return out
}

var slackID = regexp.MustCompile(`^[CDGUW][A-Z0-9]{7,}$`)

// channel reads where in Slack a message goes.
func channel(v source.Value) string {
	const want = `want "#channel", "@person" or an ID such as C024BE91L`
	s, ok := v.Line(want)
	named := len(s) > 1 && (s[0] == '#' || s[0] == '@') && !strings.ContainsAny(s, " ,")
	if ok && !named && !slackID.MatchString(s) {
		v.Fault(source.Quote(s)+" is not a Slack channel", want)
	}
	return s
}

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// labels reads labels that are added to alerts.
func labels(v source.Value) map[string]string {
	entries, _ := v.Entries("want a map such as {team: shop}")
	out := make(map[string]string, len(entries))
	for _, e := range entries {
		switch {
		case !labelName.MatchString(e.Key):
			e.FaultAt(e.Pos, e.Path, "is not a label name", "want letters, digits and _, such as team")
		case e.Key == model.AlertNameLabel, strings.HasPrefix(e.Key, "__"),
			strings.HasPrefix(e.Key, "sloth_"), strings.HasPrefix(e.Key, "slowburn_"):
			e.FaultAt(e.Pos, e.Path, "this label is set by slowburn", "want another name")
		default:
			out[e.Key], _ = e.Line("want a text")
		}
	}
	return out
}

// alertLabels reads labels of alerts only, whose values are templates.
func alertLabels(v source.Value) map[string]string {
	out := labels(v)
	for _, f := range v.Fields {
		checkTemplate(source.Value{Node: f.Value, Path: source.Join(v.Path, f.Key), Faults: v.Faults}, out[f.Key])
	}
	return out
}

// annotations reads annotations that are added to alerts, as templates.
func annotations(v source.Value) map[string]string {
	entries, _ := v.Entries("want a map such as {dashboard: https://grafana.example/d/shop}")
	out := make(map[string]string, len(entries))
	for _, e := range entries {
		if !labelName.MatchString(e.Key) {
			e.FaultAt(e.Pos, e.Path, "is not the name of an annotation", "want letters, digits and _, such as dashboard")
			continue
		}
		out[e.Key], _ = e.Prose("want a text")
		checkTemplate(e.Value, out[e.Key])
	}
	return out
}

// templatePlace begins the errors of the library.
var templatePlace = regexp.MustCompile(`^template: [^ ]* `)

// checkTemplate reports a text that is not a template as Prometheus expands
// them in the labels and annotations of alerts.
func checkTemplate(v source.Value, text string) {
	if !strings.Contains(text, "{{") {
		return
	}
	// What Prometheus puts before each, so that $labels and $value are known.
	const defined = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"
	data := template.AlertTemplateData(nil, nil, "", promql.Sample{})
	err := template.NewTemplateExpander(context.Background(), defined+text, "text", data, 0, nil, nil, nil).ParseTest()
	if err != nil {
		v.Fault("is not a template of Prometheus: "+foreignWords(templatePlace.ReplaceAllLiteralString(err.Error(), "")),
			"want one such as {{ $value }}, or {{ $labels.sloth_slo }}")
	}
}

// minEvents reads how many bad events an alert needs at least.
func minEvents(v source.Value) int {
	n, _ := v.Whole(1, 1_000_000)
	return n
}

// tier is an alert tier and, for suit, where parts of it were written.
type tier struct {
	slo.Tier
	factor, long source.Value
}

// tiers reads the alerts of objectives. What depends on the objective, such as
// whether its target can burn that fast, is checked by suit.
func tiers(v source.Value) []tier {
	const want = "want a list of tiers such as {severity: page, burn_rate: 14.4, long: 1h, short: 5m}"
	items, _ := v.Elements(want)
	out := []tier{}
	for _, item := range items {
		before := v.Faults.Len()
		keys, ok := item.Keys(want, tierKeys)
		if !ok {
			continue
		}
		for _, key := range tierKeys {
			if item.Lacks(key, tierKeys) {
				item.Missing(key, want)
			}
		}
		t := tier{factor: keys["burn_rate"], long: keys["long"]}
		if v, ok := keys["severity"]; ok {
			s, _ := v.Line("want page or ticket")
			t.Severity = slo.Severity(s)
			if s != "" && t.Severity != slo.Page && t.Severity != slo.Ticket {
				v.Fault(source.Quote(s)+" is not a severity", "want page or ticket")
			}
		}
		if v, ok := keys["burn_rate"]; ok {
			t.Factor, ok = decimal(v.Text)
			if !ok || t.Factor == 0 {
				v.Refuse("want a number above 0 such as 14.4")
			}
		}
		t.Long = lookbackOf(keys["long"])
		t.Short = lookbackOf(keys["short"])
		if t.Long > 0 && t.Short >= t.Long {
			keys["short"].Fault(fmt.Sprintf("%s is not shorter than long: %s", slo.Duration(t.Short), slo.Duration(t.Long)),
				"want less than "+slo.Duration(t.Long))
		}
		if v.Faults.Len() == before {
			out = append(out, t)
		}
	}
	return out
}

func lookbackOf(v source.Value) time.Duration {
	if v.Node == nil {
		return 0
	}
	s, ok := v.Line("want a duration such as 1h")
	if !ok {
		return 0
	}
	d, bad := lookback(s)
	v.Flawed(bad)
	return d
}

// suit returns the tiers for an objective of the given target and window, and
// reports those that do not suit it.
func suit(tiers []tier, target float64, window time.Duration) []slo.Tier {
	out := make([]slo.Tier, len(tiers))
	for i, t := range tiers {
		out[i] = t.Tier
		if t.Long > window {
			t.long.Fault(fmt.Sprintf("%s is longer than the window of %s", slo.Duration(t.Long), slo.Duration(window)),
				"want at most "+slo.Duration(window))
		}
		// An alert fires above its burn rate, so the highest burn itself, with
		// every event bad, is out of reach.
		if budget := slo.Budget(target); t.Factor*budget >= 1 {
			highest := fmt.Sprintf("%.6g", 1/budget)
			t.factor.Fault(fmt.Sprintf("%s can never be reached: with every event bad, %s burns at %s",
				source.Brief(t.factor.Text), slo.Percent(target), highest), "want less than "+highest)
		}
	}
	return out
}
