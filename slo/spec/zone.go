package spec

import (
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones on a machine without zone files

	"github.com/slowburn-slo/slowburn/slo/source"
)

// zones are the time zones of one configuration, each loaded once; nil for a
// name that is none.
type zones map[string]*time.Location

// zone is a time zone that holds for a level.
type zone struct {
	loc *time.Location // nil: UTC
	at  source.Value

	// used is whether something is read in it. One that nothing is read in was
	// meant for something else.
	used bool
}

// zoneName is what names in the zone database look like, without those of its
// variants with leap seconds (right/…) and of its other files.
var zoneName = regexp.MustCompile(`^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$`)

// read reads the name of a time zone.
func (z zones) read(v source.Value) *zone {
	const want = "want a name such as Europe/Zurich"
	out := &zone{at: v}
	s, ok := v.Line(want)
	if !ok {
		out.used = true // as far as can be known
		return out
	}
	loc, known := z[s]
	if !known {
		if zoneName.MatchString(s) && s != "Local" {
			loc, _ = time.LoadLocation(s)
		}
		z[s] = loc
	}
	switch {
	case s == "Local":
		v.Fault("Local is another zone on each machine", want)
	case loc == nil:
		v.Fault(source.Quote(s)+" is not a time zone", suggestZone(s))
	}
	out.used = loc == nil
	if loc != time.UTC {
		out.loc = loc
	}
	return out
}

// unused reports a zone in which nothing is read.
func (z *zone) unused() {
	if z != nil && !z.used {
		z.at.Fault("no calendar window is read in it", "want window: week, month or quarter, or no timezone:")
	}
}

// location returns the zone for use, nil for UTC.
func (z *zone) location() *time.Location {
	if z == nil {
		return nil
	}
	z.used = true
	return z.loc
}

// common are zones to suggest: one for most places where many people live.
var common = []string{
	"UTC", "Africa/Cairo", "Africa/Johannesburg", "Africa/Lagos", "Africa/Nairobi", "America/Argentina/Buenos_Aires",
	"America/Bogota", "America/Chicago", "America/Denver", "America/Halifax", "America/Lima", "America/Los_Angeles",
	"America/Mexico_City", "America/New_York", "America/Phoenix", "America/Santiago", "America/Sao_Paulo", "America/Toronto",
	"America/Vancouver", "Asia/Bangkok", "Asia/Dhaka", "Asia/Dubai", "Asia/Hong_Kong", "Asia/Istanbul", "Asia/Jakarta",
	"Asia/Jerusalem", "Asia/Karachi", "Asia/Kathmandu", "Asia/Kolkata", "Asia/Manila", "Asia/Riyadh", "Asia/Seoul",
	"Asia/Shanghai", "Asia/Singapore", "Asia/Taipei", "Asia/Tehran", "Asia/Tokyo", "Australia/Adelaide", "Australia/Brisbane",
	"Australia/Melbourne", "Australia/Perth", "Australia/Sydney", "Europe/Amsterdam", "Europe/Athens", "Europe/Berlin",
	"Europe/Brussels", "Europe/Bucharest", "Europe/Budapest", "Europe/Copenhagen", "Europe/Dublin", "Europe/Helsinki",
	"Europe/Istanbul", "Europe/Kyiv", "Europe/Lisbon", "Europe/London", "Europe/Madrid", "Europe/Moscow", "Europe/Oslo",
	"Europe/Paris", "Europe/Prague", "Europe/Rome", "Europe/Sofia", "Europe/Stockholm", "Europe/Vienna", "Europe/Warsaw",
	"Europe/Zurich", "Pacific/Auckland", "Pacific/Honolulu",
}

// suggestZone names the common zone that is nearest to a wrong name, by its
// whole name or by its city.
func suggestZone(s string) string {
	if best, ok := source.Nearest(s, common); ok {
		return "want " + best
	}
	cities := make([]string, len(common))
	for i, name := range common {
		cities[i] = name[strings.LastIndexByte(name, '/')+1:]
	}
	city := strings.ReplaceAll(s[strings.LastIndexByte(s, '/')+1:], " ", "_")
	if best, ok := source.Nearest(city, cities); ok {
		return "want " + common[slices.Index(cities, best)]
	}
	return "want a name such as Europe/Zurich"
}

// instants returns the instants at which the clocks of a zone show a date and
// time, given as of UTC, in order: one, or two where clocks go back. Where they
// go forward over it, so that none shows it, exists is false and the two are
// those as far before and after.
func instants(wall time.Time, loc *time.Location) (at []time.Time, exists bool) {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, loc)
	ahead := onClock(t).Sub(wall)
	switch {
	case ahead > 0:
		return []time.Time{t.Add(-ahead), t}, false
	case ahead < 0:
		return []time.Time{t, t.Add(-ahead)}, false
	}
	start, end := t.ZoneBounds()
	if !start.IsZero() {
		if back := onClock(start.Add(-time.Second)).Add(time.Second).Sub(onClock(start)); back > 0 && t.Sub(start) < back {
			return []time.Time{t.Add(-back), t}, true
		}
	}
	if !end.IsZero() {
		if back := onClock(end.Add(-time.Second)).Add(time.Second).Sub(onClock(end)); back > 0 && end.Sub(t) <= back {
			return []time.Time{t, t.Add(back)}, true
		}
	}
	return []time.Time{t}, true
}

// onClock returns what the clocks of t's zone show at t, as of UTC.
func onClock(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.Add(time.Duration(offset) * time.Second).UTC()
}
