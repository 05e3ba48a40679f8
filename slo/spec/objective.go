package spec

import (
	"fmt"
	"strings"

	"github.com/slowburn-slo/slowburn/slo"
)

const wantSentence = "want 99.9% succeed, 95% under 300ms or p95 < 300ms"

var (
	objectiveKeys = []string{"succeed", "faster_than", "for", "window", "min_events", "name", "alerts"}

	laterInObjective = map[string]string{
		"promql":     "want succeed: or faster_than:, counted from traces",
		"fresh":      "want succeed: on the flow of the job's own spans",
		"time_slice": "want succeed: or faster_than:, which count requests",
		"target":     "want it as succeed: 99.9%, or as for: 95% with faster_than:",
		"timezone":   "want a rolling window such as window: 30d",
	}
)

// objectives reads the promises of a flow.
func objectives(v value, l level) []slo.Objective {
	items, _ := v.elements("want a list of at least one, such as [99.9% succeed]")
	var out []slo.Objective
	for _, item := range items {
		o, ok := objective(item, l)
		if !ok {
			continue
		}
		for _, other := range out {
			if other.Name != o.Name {
				continue
			}
			if other.Sentence() == o.Sentence() && other.Window == o.Window {
				item.fault(fmt.Sprintf("promises the same as line %d", other.Pos.Line), "want it once")
			} else {
				item.fault(fmt.Sprintf("has the name %s, as has the objective on line %d", quote(o.Name), other.Pos.Line),
					"want a name: of its own, such as {succeed: 99%, window: 7d, name: availability-7d}")
			}
			break
		}
		out = append(out, o)
	}
	return out
}

// objective reads one promise: a sentence or its long form. l says what the
// promise itself leaves open.
func objective(v value, l level) (slo.Objective, bool) {
	before := len(v.faults.list)
	var o slo.Objective
	if v.kind == table {
		o = longForm(v, &l)
	} else if s, ok := v.line(wantSentence); ok {
		var bad *flaw
		o, bad = sentence(s)
		v.flawed(bad)
	}
	if len(v.faults.list) > before {
		return o, false
	}
	o.Pos, o.Window, o.MinEvents = v.pos, l.window, l.minEvents
	switch {
	case o.Name != "":
	case o.Kind == slo.FasterThan:
		o.Name = "latency-" + slo.Duration(o.Threshold)
	default:
		o.Name = "availability"
	}
	if l.tiers == nil {
		o.Tiers = slo.Tiers(o.Target, o.Window)
	} else {
		o.Tiers = suit(l.tiers, o.Target, o.Window)
	}
	return o, true
}

// spacing makes "p95<300ms" and "99.9 % succeed" the words they seem to be.
var spacing = strings.NewReplacer("<", " < ", "%", "% ", " %", "% ")

// sentence reads a promise in words.
func sentence(s string) (o slo.Objective, bad *flaw) {
	words := strings.Fields(spacing.Replace(strings.Join(strings.Fields(s), " ")))
	var verb string
	if len(words) > 1 {
		verb = words[1]
	}
	switch {
	case verb == "succeed" && len(words) == 2:
		o.Kind = slo.Succeed
		o.Target, bad = percent(words[0])
		return o, bad
	case verb == "under" && len(words) > 2:
		o.Target, bad = percent(words[0])
	case verb == "<" && len(words) > 2 && words[0][0] == 'p':
		o.Target, bad = percent(words[0][1:] + "%")
	case len(words) > 0 && words[0] == "fresh":
		return o, &flaw{quote(s) + " is not supported yet", laterInObjective["fresh"]}
	default:
		return o, &flaw{quote(s) + " is not a sentence", wantSentence}
	}
	if bad != nil {
		return o, bad
	}
	o.Kind = slo.FasterThan
	o.Threshold, bad = duration(strings.Join(words[2:], ""))
	return o, bad
}

// longForm reads a promise with its settings; those of a level go to l.
func longForm(v value, l *level) (o slo.Objective) {
	keys, ok := v.keys("want a map such as {succeed: 99.9%, window: 30d}", objectiveKeys, laterInObjective)
	if !ok || v.has("promql") || v.has("fresh") || v.has("time_slice") {
		return o // what it promises has been refused
	}
	if v, ok := keys["name"]; ok {
		o.Name, ok = v.line(wantSlug)
		if ok && !slug.MatchString(o.Name) {
			v.fault(quote(o.Name)+" is not a slug", wantSlug)
		}
	}
	if v, ok := keys["window"]; ok {
		l.window = window(v)
	}
	if v, ok := keys["min_events"]; ok {
		l.minEvents = minEvents(v)
	}
	if v, ok := keys["alerts"]; ok {
		alerts, _ := v.keys("want a map with tiers:", []string{"tiers"}, map[string]string{
			"page":   "want it in alerts: of the flow",
			"ticket": "want it in alerts: of the flow",
		})
		if v, ok := alerts["tiers"]; ok {
			l.tiers = tiers(v)
		}
	}
	switch {
	case v.has("succeed") && v.has("faster_than"):
		v.fault("has both succeed: and faster_than:", "want an objective for each")
	case v.has("succeed"):
		if v, ok := keys["for"]; ok {
			v.fault("goes with faster_than:, not with succeed:", "want succeed: alone")
		}
		o.Kind, o.Target = slo.Succeed, target(keys["succeed"])
	case v.has("faster_than"):
		o.Kind = slo.FasterThan
		if s, ok := keys["faster_than"].line("want a duration such as 300ms"); ok {
			threshold, bad := duration(s)
			keys["faster_than"].flawed(bad)
			o.Threshold = threshold
		}
		if v, ok := keys["for"]; ok {
			o.Target = target(v)
		}
		if v.lacks("for", objectiveKeys) {
			v.missing("for", "want the share of requests, such as 95%")
		}
	case v.lacks("succeed", objectiveKeys) && v.lacks("faster_than", objectiveKeys):
		v.fault("promises nothing", "want succeed: 99.9%, or faster_than: 300ms with for: 95%")
	}
	return o
}

// target reads the share of good events.
func target(v value) float64 {
	s, ok := v.line("want a percentage such as 99.9%")
	if !ok {
		return 0
	}
	ratio, bad := percent(s)
	v.flawed(bad)
	return ratio
}
