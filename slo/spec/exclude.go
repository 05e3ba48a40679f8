package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// How many excludes a file may have. Each flow holds those that concern it, and
// each two that come again are compared over more than a year.
const (
	maxExcludes  = 200
	maxRecurring = 50
)

var (
	excludeKeys = []string{"from", "to", "for", "every", "on", "at", "until", "flows", "why", "timezone"}

	// recurringKeys go with every: only, and onceKeys without it.
	recurringKeys = []string{"on", "at", "until"}
	onceKeys      = []string{"to"}
)

// exclude is an exclusion and what it is for.
type exclude struct {
	slo.Exclusion
	item  source.Value
	flows []string // nil: all of the file
	set   map[string]bool
}

// concerns reports whether the exclude is for a flow.
func (e *exclude) concerns(flow string) bool { return e.flows == nil || e.set[flow] }

// readExcludes reads the time that does not count for the flows of a file into
// them.
func readExcludes(v source.Value, flows []slo.Flow, l level) {
	names := make(map[string]bool, len(flows))
	for i := range flows {
		names[flows[i].Name] = true
	}
	items, _ := v.Elements(`want a list such as [{from: "2026-12-01 02:00", for: 2h}]`)
	if len(items) > maxExcludes {
		v.Fault(fmt.Sprintf("has more than %d excludes", maxExcludes), "want those left out that are over")
		return
	}
	var out []exclude
	recurring := 0
	for _, item := range items {
		before := item.Faults.Len()
		e := readExclude(item, names, l)
		if item.Faults.Len() > before {
			continue
		}
		if e.Every != slo.Once {
			recurring++
		}
		out = append(out, e)
	}
	if recurring > maxRecurring {
		v.Fault(fmt.Sprintf("has more than %d excludes that come again", maxRecurring), "want fewer, each for several flows or days")
		return
	}
	overlaps(out)
	shared := map[string][]slo.Exclusion{} // most flows have the same
	for i := range flows {
		var mine []slo.Exclusion
		var key strings.Builder
		for n := range out {
			if out[n].concerns(flows[i].Name) {
				mine = append(mine, out[n].Exclusion)
				key.WriteByte(byte(n)) // less than maxExcludes
			}
		}
		if known, ok := shared[key.String()]; ok {
			mine = known
		}
		shared[key.String()] = mine
		flows[i].Exclude = mine
	}
}

// readExclude reads one exclude.
func readExclude(v source.Value, flows map[string]bool, l level) exclude {
	e := exclude{item: v}
	e.Pos = v.Pos
	keys, ok := v.Keys(`want a map such as {from: "2026-12-01 02:00", for: 2h}`, excludeKeys)
	if !ok {
		return e
	}
	if v, ok := keys["timezone"]; ok {
		l.zone = l.zones.read(v)
	}
	e.Zone = l.zone.location()
	if v, ok := keys["why"]; ok {
		e.Why, _ = v.Line("want a text")
	}
	if v, ok := keys["flows"]; ok {
		e.choose(v, flows)
	}
	if v, ok := keys["from"]; ok {
		e.From = moment(v, e.Zone)
	}
	if v, ok := keys["for"]; ok {
		e.For = step(v)
	}
	switch {
	case v.Has("every"):
		e.recurring(v, keys)
	case v.Lacks("every", excludeKeys):
		e.once(v, keys)
	}
	return e
}

// once reads what an exclude that does not come again has besides.
func (e *exclude) once(v source.Value, keys map[string]source.Value) {
	for _, key := range recurringKeys {
		if v, ok := keys[key]; ok {
			v.Fault("goes with every:", "want from: with for: or to:, or every: beside it")
		}
	}
	if v.Lacks("from", excludeKeys) {
		v.Missing("from", `want when it begins, such as "2026-12-01 02:00", or every: for one that comes again`)
	}
	to, ok := keys["to"]
	switch {
	case ok && v.Has("for"):
		to.Fault("has for: beside it", "want one of them")
	case ok:
		end := moment(to, e.Zone)
		if !end.IsZero() && !e.From.IsZero() {
			e.For = end.Sub(e.From)
			e.checkOrder(to, end)
		}
	case v.Lacks("for", excludeKeys) && v.Lacks("to", excludeKeys):
		v.Missing("for", "want how long it lasts, such as 2h, or to: with its end")
	}
	if e.For > maxWindow {
		v.Fault(slo.Duration(e.For)+" is longer than any window", "want at most "+slo.Duration(maxWindow))
	}
}

// checkOrder reports an end that is not after the beginning.
func (e *exclude) checkOrder(v source.Value, end time.Time) {
	if !end.After(e.From) {
		v.Fault(stamp(end)+" is not after from: "+stamp(e.From.In(end.Location())), "want a later time")
	}
}

var weekdays = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"} // as time.Weekday

// recurring reads what an exclude that comes again has besides.
func (e *exclude) recurring(v source.Value, keys map[string]source.Value) {
	for _, key := range onceKeys {
		if v, ok := keys[key]; ok {
			v.Fault("goes with from:, not with every:", "want for:")
		}
	}
	if v, ok := keys["every"]; ok {
		e.readEvery(v)
	}
	if at, ok := keys["at"]; ok {
		e.At = timeOfDay(at)
	} else if v.Lacks("at", excludeKeys) {
		v.Missing("at", `want the time of day it begins, such as "02:00"`)
	}
	if v.Lacks("for", excludeKeys) {
		v.Missing("for", "want how long it lasts, such as 2h")
	}
	if v, ok := keys["until"]; ok {
		e.Until = moment(v, e.Zone)
		if !e.Until.IsZero() && !e.From.IsZero() {
			e.checkOrder(v, e.Until)
		}
	}
	switch on, ok := keys["on"]; {
	case e.Every == slo.Monthly && ok:
		e.Day, _ = on.Whole(1, 31)
	case e.Every == slo.Monthly && v.Lacks("on", excludeKeys):
		v.Missing("on", "want a day of the month, such as 15")
	case e.Every != slo.Monthly && e.Every != slo.Once && ok:
		on.Fault("goes with every: month", "want it left out")
	}
	if longest := e.gap() - time.Hour; e.Every != slo.Once && e.For > longest {
		keys["for"].Fault(slo.Duration(e.For)+" reaches the next time it comes, when clocks change if not before", "want at most "+slo.Duration(longest))
	}
}

// readEvery reads when an exclude comes again.
func (e *exclude) readEvery(v source.Value) {
	want, is := "want day, a weekday such as sunday, a list of weekdays, or month", " is not a day or month"
	items := []source.Value{v}
	if v.Kind == source.List {
		want, is = "want weekdays such as [monday, thursday]", " is not a weekday"
		items, _ = v.Elements(want)
	}
	for _, item := range items {
		s, ok := item.Line(want)
		day := slices.Index(weekdays, strings.ToLower(s))
		switch {
		case !ok:
		case day >= 0 && slices.Contains(e.Days, time.Weekday(day)):
			item.Fault(s+" is in the list twice", "want it once")
		case day >= 0:
			e.Every = slo.Weekly
			e.Days = append(e.Days, time.Weekday(day))
		case s == "day" && v.Kind != source.List:
			e.Every = slo.Daily
		case s == "month" && v.Kind != source.List:
			e.Every = slo.Monthly
		default:
			wanted := want
			if near, ok := source.Nearest(s, append([]string{"month"}, weekdays...)); ok {
				wanted = "want " + near
			}
			item.Fault(source.Quote(s)+is, wanted)
		}
	}
}

// gap returns the least time from one beginning to the next, clock changes
// aside.
func (e *exclude) gap() time.Duration {
	switch e.Every {
	case slo.Daily:
		return day
	case slo.Monthly:
		return 28 * day
	}
	least := 7
	for _, a := range e.Days {
		for _, b := range e.Days {
			if d := int(b-a+7) % 7; d > 0 {
				least = min(least, d)
			}
		}
	}
	return time.Duration(least) * day
}

// choose reads the flows an exclude is for.
func (e *exclude) choose(v source.Value, flows map[string]bool) {
	const want = "want a list of flows such as [checkout]"
	items, _ := v.Elements(want)
	e.set = make(map[string]bool, len(items))
	for _, item := range items {
		s, ok := item.Line(want)
		if !ok {
			continue
		}
		switch {
		case e.set[s]:
			item.Fault(source.Quote(s)+" is in the list twice", "want it once")
		case !flows[s] && len(flows) > 0 && !item.Faults.Full():
			wanted := "want one that is"
			if near, ok := source.Nearest(s, slices.Sorted(maps.Keys(flows))); ok {
				wanted = "want " + near
			}
			item.Fault(source.Quote(s)+" is not a flow of this file", wanted)
		}
		e.flows = append(e.flows, s)
		e.set[s] = true
	}
}

// step reads the length of an exclude.
func step(v source.Value) time.Duration {
	s, ok := v.Line("want a duration such as 2h")
	if !ok {
		return 0
	}
	d, bad := duration(s)
	if bad == nil && d%slo.ExclusionStep != 0 {
		bad = flaw(slo.Duration(d)+" is not a multiple of "+slo.Duration(slo.ExclusionStep), "want one such as 5m or 2h")
	}
	v.Flawed(bad)
	return d
}

// timeOfDay reads a time on the clock, as the time since midnight.
func timeOfDay(v source.Value) time.Duration {
	const want = `want a time of day such as "02:00"`
	s, ok := v.Line(want)
	if !ok {
		return 0
	}
	t, err := time.Parse("15:04", s)
	if err != nil {
		v.Fault(source.Quote(s)+" is not a time of day", want)
		return 0
	}
	d := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	if d%slo.ExclusionStep != 0 {
		v.Fault(source.Quote(s)+" is not a multiple of "+slo.Duration(slo.ExclusionStep), `want one such as "02:05"`)
	}
	return d
}

// The years in which an exclude may lie. What lies further off is a slip of the
// finger, and in earlier years zones differed by odd seconds.
const (
	minYear = 2000
	maxYear = 2199
)

// moment reads an instant: a date, a date and time on the clocks of a zone
// (nil: UTC), or one with its own distance from UTC. The zero time is a fault.
func moment(v source.Value, zone *time.Location) time.Time {
	const want = `want a date and time such as "2026-12-01 02:00"`
	if zone == nil {
		zone = time.UTC
	}
	s, ok := v.Line(want)
	if !ok {
		return time.Time{}
	}
	t, own, ok := parseMoment(s)
	switch {
	case !ok:
		v.Fault(source.Quote(s)+" is not a date and time", want)
		return time.Time{}
	case t.Year() < minYear || t.Year() > maxYear:
		v.Fault(fmt.Sprintf("%s is in the year %d", source.Quote(s), t.Year()), fmt.Sprintf("want %d to %d", minYear, maxYear))
		return time.Time{}
	}
	if !own {
		at, exists := instants(t, zone)
		if !exists {
			v.Fault(fmt.Sprintf("%s does not exist in %s: clocks go forward over it", source.Quote(s), zone),
				fmt.Sprintf("want %s or %s", stamp(at[0]), stamp(at[1])))
			return time.Time{}
		}
		if t = at[0]; len(at) == 2 {
			v.Faults.Warn(source.Fault{
				Pos: v.Pos, Path: v.Path,
				Fact: fmt.Sprintf("%s comes twice in %s, where clocks go back; the first is taken", source.Quote(s), zone),
				Want: fmt.Sprintf("want %s or %s", at[0].Format(time.RFC3339), at[1].Format(time.RFC3339)),
			})
		}
	}
	if t.Unix()%int64(slo.ExclusionStep/time.Second) != 0 {
		v.Fault(source.Quote(s)+" is not a multiple of "+slo.Duration(slo.ExclusionStep), `want one such as "2026-12-01 02:05"`)
		return time.Time{}
	}
	return t.In(zone)
}

// parseMoment reads a date and time; own is whether it has its own distance
// from UTC.
func parseMoment(s string) (t time.Time, own, ok bool) {
	if strings.ContainsAny(s, ".,") {
		return time.Time{}, false, false // Parse reads fractions of a second unasked
	}
	s = strings.Replace(s, "T", " ", 1)
	for _, layout := range []string{"2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, false, true
		}
		if t, err := time.Parse(layout+"Z07:00", s); err == nil && layout != "2006-01-02" {
			return t, true, true
		}
	}
	return time.Time{}, false, false
}

// stamp writes an instant on the clocks of its zone, as moment reads it.
func stamp(t time.Time) string { return t.Format("2006-01-02 15:04") }

// overlaps reports excludes of one flow that overlap: two single ones, or two
// that come again. One of each may: a release in the hours of a backup.
func overlaps(all []exclude) {
	for i := range all {
		for j := range i {
			a, b := &all[j], &all[i]
			flow, shared := sharedFlow(a, b)
			if !shared || (a.Every == slo.Once) != (b.Every == slo.Once) {
				continue
			}
			if at, ok := meet(a.Exclusion, b.Exclusion); ok {
				b.item.Fault(fmt.Sprintf("overlaps with the exclude at %s: both leave out %s%s", a.Pos, at.Format("2006-01-02 15:04 MST"), flow), "want one exclude, or times apart")
			}
		}
	}
}

// sharedFlow returns a flow that both excludes are for, as the end of a
// message.
func sharedFlow(a, b *exclude) (flow string, ok bool) {
	switch {
	case a.flows == nil && b.flows == nil:
		return "", true
	case a.flows == nil || b.flows != nil && len(b.flows) < len(a.flows):
		a, b = b, a
	}
	i := slices.IndexFunc(a.flows, b.concerns)
	if i < 0 {
		return "", false
	}
	return " of " + a.flows[i], true
}

// meet returns when two exclusions first overlap. Of those that come again it
// looks at the first year in which both do.
func meet(a, b slo.Exclusion) (at time.Time, ok bool) {
	from := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC) // a leap year, for those without a beginning
	for _, e := range []slo.Exclusion{a, b} {
		if e.From.After(from) {
			from = e.From
		}
	}
	to := from.Add(maxWindow)
	var other []slo.Interval
	for i := range b.Between(from, to) {
		other = append(other, i)
	}
	for i := range a.Between(from, to) {
		for len(other) > 0 && !other[0].End.After(i.Start) {
			other = other[1:]
		}
		if len(other) > 0 && other[0].Start.Before(i.End) {
			at = i.Start
			if other[0].Start.After(at) {
				at = other[0].Start
			}
			return at, true
		}
	}
	return time.Time{}, false
}
