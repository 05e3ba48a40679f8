package spec

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/source"
)

const wantSentence = "want 99.9% succeed, 95% under 300ms, p95 < 300ms, fresh every 26h or 99.5% of minutes with 95% under 300ms"

var (
	objectiveKeys = []string{
		"succeed", "faster_than", "for", "fresh", "promql", "target", "time_slice",
		"window", "timezone", "min_events", "name", "id", "alerts",
	}
	promiseKeys = []string{"succeed", "faster_than", "fresh", "promql"}
	sliceKeys   = []string{"target", "length"}
)

// objectives reads the promises of a flow.
func objectives(v source.Value, l level) []slo.Objective {
	items, _ := v.Elements("want a list of at least one, such as [99.9% succeed]")
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
			same := other.Kind != slo.PromQL && other.Words() == o.Words()
			switch {
			case same && other.ID == o.ID:
				item.Fault(fmt.Sprintf("promises the same as line %d", other.Pos.Line), "want it once")
			case o.Kind == slo.PromQL:
				item.Fault(fmt.Sprintf("has the name %s, as has the objective on line %d", source.Quote(o.Name), other.Pos.Line),
					"want a name: of its own, such as name: queue-age")
			default:
				item.Fault(fmt.Sprintf("has the name %s, as has the objective on line %d", source.Quote(o.Name), other.Pos.Line),
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
func objective(v source.Value, l level) (slo.Objective, bool) {
	before := v.Faults.Len()
	var o slo.Objective
	outer := l.zone
	if v.Kind == source.Table {
		o = longForm(v, &l)
	} else if s, ok := v.Line(wantSentence); ok {
		var bad *source.Flaw
		o, bad = sentence(s)
		v.Flawed(bad)
	}
	if l.calendar != slo.Rolling {
		o.Calendar = slo.Calendar{Unit: l.calendar, Zone: l.zone.location()}
	}
	if l.zone != outer {
		l.zone.unused()
	}
	if v.Faults.Len() > before {
		if l.alerts.outage != nil {
			l.alerts.outage.used = true // by whatever objective is meant
		}
		return o, false
	}
	o.Pos, o.Window = v.Pos, l.window
	if o.Name == "" {
		o.Name = defaultName(o)
	}
	if o.MinEvents == 0 {
		o.MinEvents = defaultMinEvents(o, l.minEvents)
	}
	o.Tiers, o.Alert = l.alerts.of(o.Target, o.Window), l.alerts.text
	o.Outage, o.Spent, o.RunsOut = l.alerts.outage.of(o), l.alerts.spent, l.alerts.runsOut
	if l.alerts.tiers == nil {
		warnLowered(v, o)
	}
	return o, true
}

// defaultName returns the name of an objective that says none.
func defaultName(o slo.Objective) string {
	var name string
	switch o.Kind {
	case slo.FasterThan:
		name = "latency-" + slo.Duration(o.Threshold)
	case slo.Fresh:
		return "fresh-" + slo.Duration(o.Threshold)
	case slo.PromQL:
		name = "promql"
		if o.ID != "" {
			name = slugOf(o.ID)
		}
	default:
		name = "availability"
	}
	if o.Slice > 0 {
		name += "-slices"
	}
	return name[:min(len(name), maxSlug)]
}

// defaultMinEvents returns how many bad events an alert of an objective needs
// that says nothing of it. requests is what its flow or file says, which is
// meant for requests and events: neither slices of time nor a ratio have any.
func defaultMinEvents(o slo.Objective, requests int) int {
	if o.Slice > 0 || o.Query.Ratio != "" {
		return 1
	}
	return requests
}

// spacing makes "p95<300ms" and "99.9 % succeed" the words they seem to be.
var spacing = strings.NewReplacer("<", " < ", "%", "% ", " %", "% ")

// sentence reads a promise in words.
func sentence(s string) (slo.Objective, *source.Flaw) {
	words := strings.Fields(spacing.Replace(strings.Join(strings.Fields(s), " ")))
	if o, bad, ok := sliced(words); ok {
		return o, bad
	}
	if o, bad, ok := plainPromise(words, false); ok {
		return o, bad
	}
	if o, bad, ok := freshness(words); ok {
		return o, bad
	}
	return slo.Objective{}, flaw(source.Quote(s)+" is not a sentence", wantSentence)
}

// plainPromise reads "99.9% succeed", "95% under 300ms" and "p95 < 300ms". ok
// is false when words begin like none of them. In a slice all may be wanted.
func plainPromise(words []string, inSlice bool) (o slo.Objective, bad *source.Flaw, ok bool) {
	if len(words) < 2 {
		return o, nil, false
	}
	target := words[0]
	switch verb := words[1]; {
	case verb == "succeed" && len(words) == 2:
		o.Target, bad = percent(target, inSlice)
		return o, bad, true
	case verb == "under" && len(words) > 2:
	case verb == "<" && len(words) > 2 && target[0] == 'p':
		target = target[1:] + "%"
	default:
		return o, nil, false
	}
	o.Kind = slo.FasterThan
	if o.Target, bad = percent(target, inSlice); bad == nil {
		o.Threshold, bad = duration(strings.Join(words[2:], " "))
	}
	return o, bad, true
}

// freshness reads "fresh every 26h" and "99% fresh every 26h".
func freshness(words []string) (o slo.Objective, bad *source.Flaw, ok bool) {
	o = slo.Objective{Kind: slo.Fresh, Target: slo.DefaultFreshTarget, Slice: time.Minute}
	if len(words) > 0 && words[0] != "fresh" {
		if o.Target, bad = percent(words[0], false); bad == nil || len(words) > 1 && words[1] == "fresh" {
			words = words[1:]
		}
	}
	if len(words) < 3 || words[0] != "fresh" || words[1] != "every" {
		return o, nil, false
	}
	if bad == nil {
		o.Threshold, bad = age(strings.Join(words[2:], " "))
	}
	return o, bad, true
}

// sliced reads "99.5% of minutes with 95% under 300ms".
func sliced(words []string) (o slo.Objective, bad *source.Flaw, ok bool) {
	with := -1
	for i, w := range words {
		if w == "with" {
			with = i
			break
		}
	}
	if with < 3 || words[1] != "of" {
		return o, nil, false
	}
	length := strings.Join(words[2:with], " ")
	o, bad, ok = plainPromise(words[with+1:], true)
	if !ok {
		return o, flaw(source.Quote(strings.Join(words[with+1:], " "))+" is not what a slice of time can promise",
			"want 95% succeed or 95% under 300ms after with"), true
	}
	o.SliceTarget = o.Target
	if bad == nil {
		o.Target, bad = percent(words[0], false)
	}
	if bad != nil {
		return o, bad, true
	}
	if length == "minutes" {
		o.Slice = time.Minute
		return o, nil, true
	}
	o.Slice, bad = sliceLength(length)
	return o, bad, true
}

// longForm reads a promise with its settings; those of a level go to l.
func longForm(v source.Value, l *level) (o slo.Objective) {
	keys, ok := v.Keys("want a map such as {succeed: 99.9%, window: 30d}", objectiveKeys)
	if !ok {
		return o
	}
	if v, ok := keys["name"]; ok {
		o.Name, ok = v.Line(wantSlug)
		if ok && !slug.MatchString(o.Name) {
			v.Fault(source.Quote(o.Name)+" is not a slug", wantSlug)
		}
	}
	if v, ok := keys["id"]; ok {
		const want = "want letters, digits, _, - and ., at most 128, such as checkout-availability"
		o.ID, ok = v.Line(want)
		if ok && !idName.MatchString(o.ID) {
			v.Fault(source.Quote(o.ID)+" is not an id", want)
		}
	}
	l.readWindow(keys)
	if v, ok := keys["min_events"]; ok {
		o.MinEvents = minEvents(v)
	}
	around := l.alerts.outage
	if v, ok := keys["alerts"]; ok {
		l.alerts.read(v, true)
	}
	var has []string
	misspelled := false
	for _, key := range promiseKeys {
		if v.Has(key) {
			has = append(has, key+":")
		} else if !v.Lacks(key, objectiveKeys) {
			misspelled = true
		}
	}
	switch {
	case len(has) > 1:
		v.Fault("has both "+has[0]+" and "+has[1], "want an objective for each")
		return o
	case len(has) == 0 && !misspelled:
		v.Fault("promises nothing", "want succeed: 99.9%, faster_than: 300ms with for: 95%, fresh: 26h, or promql: with target: 99%")
		return o
	case len(has) == 0:
		return o // the misspelled key has been reported
	}
	readPromise(v, keys, &o)
	if a := l.alerts.outage; a != nil && a != around {
		if why := tooSlow(o); why != "" {
			a.at.Fault(why, wantOutage)
		}
	}
	return o
}

// readPromise reads what exactly one of promiseKeys promises.
func readPromise(v source.Value, keys map[string]source.Value, o *slo.Objective) {
	slice, inSlice := keys["time_slice"]
	share := "" // the key that holds the share of good events
	switch {
	case v.Has("succeed"):
		o.Kind, share = slo.Succeed, "succeed"
	case v.Has("faster_than"):
		o.Kind, share = slo.FasterThan, "for"
		o.Threshold = lengthOf(keys, "faster_than", duration)
		if v.Lacks("for", objectiveKeys) {
			v.Missing("for", "want the share of requests, such as 95%")
		}
	case v.Has("fresh"):
		o.Kind, share = slo.Fresh, "for"
		o.Threshold = lengthOf(keys, "fresh", age)
		o.Target, o.Slice = slo.DefaultFreshTarget, time.Minute
		if inSlice {
			slice.Fault("is not for fresh:, which judges each minute already", "want it left out")
		}
	default:
		o.Kind, share = slo.PromQL, "target"
		if v, ok := keys["promql"]; ok {
			o.Query = sli(v)
		}
		if v.Lacks("target", objectiveKeys) {
			v.Missing("target", "want the share of good events, such as 99%")
		}
		if v, ok := keys["min_events"]; ok && o.Query.Ratio != "" {
			v.Fault("a ratio holds no events to count", "want it left out, or total: with bad:")
		}
	}
	if v, ok := keys[share]; ok {
		o.Target = target(v, inSlice && o.Kind != slo.Fresh)
	}
	if v, ok := keys["for"]; ok && share != "for" {
		v.Fault("goes with faster_than: and fresh:", "want it left out")
	}
	if v, ok := keys["target"]; ok && share != "target" {
		wanted := "want it as for: 95%"
		if share == "succeed" {
			wanted = "want it as succeed: 99.9%"
		}
		v.Fault("goes with promql:", wanted)
	}
	if inSlice && o.Kind != slo.Fresh {
		o.SliceTarget = o.Target
		o.Target, o.Slice = timeSlice(slice)
	}
}

// timeSlice reads the share of good slices, and how long each is.
func timeSlice(v source.Value) (share float64, length time.Duration) {
	length = time.Minute
	if v.Kind != source.Table {
		return target(v, false), length
	}
	keys, _ := v.Keys("want the share of good minutes such as 99.5%, or {target: 99.5%, length: 5m}", sliceKeys)
	if v.Has("length") {
		length = lengthOf(keys, "length", sliceLength)
	}
	if of, ok := keys["target"]; ok {
		share = target(of, false)
	} else if v.Lacks("target", sliceKeys) {
		v.Missing("target", "want the share of good slices, such as 99.5%")
	}
	return share, length
}

// lengthOf reads a length of time, if there is one that is no fault already.
func lengthOf(keys map[string]source.Value, key string, read func(string) (time.Duration, *source.Flaw)) time.Duration {
	v, ok := keys[key]
	if !ok {
		return 0
	}
	s, ok := v.Line("want a duration such as 300ms or 1h")
	if !ok {
		return 0
	}
	d, bad := read(s)
	v.Flawed(bad)
	return d
}

// target reads the share of good events, or in a slice of time that of those
// wanted, which may be all.
func target(v source.Value, inSlice bool) float64 {
	s, ok := v.Line("want a percentage such as 99.9%")
	if !ok {
		return 0
	}
	ratio, bad := percent(s, inSlice)
	v.Flawed(bad)
	return ratio
}

// idName is what names an SLO in the label sloth_slo.
var idName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
