package openslo

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/foreign"
	"github.com/slowburn-slo/slowburn/slo/source"
)

const day = 24 * time.Hour

// span is a length of time as OpenSLO writes it: a number and a unit.
type span struct {
	n    int
	unit byte // s, m, h, d, w, M, Q or Y
}

// mostUnits bounds the number of a span: no window is that long.
const mostUnits = 99_999_999

var shorthand = regexp.MustCompile(`^([1-9][0-9]{0,7})([smhdwMQY])$`)

func parseSpan(s string) (span, bool) {
	m := shorthand.FindStringSubmatch(s)
	if m == nil {
		return span{}, false
	}
	n, _ := strconv.Atoi(m[1]) // eight digits
	return span{n, m[2][0]}, true
}

var lengths = map[byte]time.Duration{
	's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': day, 'w': 7 * day, 'M': 30 * day, 'Q': 90 * day, 'Y': 365 * day,
}

// length returns the span's length, of months, quarters and years a nominal one,
// and of more than 292 years that.
func (s span) length() time.Duration {
	unit := lengths[s.unit]
	if unit > 0 && time.Duration(s.n) > math.MaxInt64/unit {
		return math.MaxInt64
	}
	return time.Duration(s.n) * unit
}

func (s span) nominal() bool { return strings.IndexByte("MQY", s.unit) >= 0 }

// calendar returns the calendar unit that a span is, or Rolling when it is none.
func (s span) calendar() slo.Unit {
	switch s {
	case span{1, 'w'}, span{7, 'd'}:
		return slo.Week
	case span{1, 'M'}:
		return slo.Month
	case span{1, 'Q'}, span{3, 'M'}:
		return slo.Quarter
	default:
		return slo.Rolling
	}
}

const wantWindow = "want one such as 28d for a rolling window, or 1w, 1M or 1Q for one of the calendar"

// windows reads the period of an SLO of v1; none is 30 days.
func windows(v source.Value, given []timeWindow) (time.Duration, slo.Calendar) {
	switch {
	case len(given) == 0:
		return slo.DefaultWindow, slo.Calendar{}
	case len(given) > 1:
		foreign.At(v, 1).Fault("is a second time window", "want one, and an SLO for each other")
		return slo.DefaultWindow, slo.Calendar{}
	}
	v = foreign.At(v, 0)
	w := given[0]
	at := foreign.At(v, "duration")
	if foreign.Lacks(at, wantWindow) {
		return slo.DefaultWindow, slo.Calendar{}
	}
	s, ok := parseSpan(w.Duration)
	switch {
	case !ok:
		at.Refuse(wantWindow)
		return slo.DefaultWindow, slo.Calendar{}
	case s.unit == 'm' && s.length() < time.Hour:
		at.Fault(fmt.Sprintf("%dm is %s in OpenSLO", s.n, minutes(s.n)), fmt.Sprintf("want %dM if months are meant", s.n))
		return slo.DefaultWindow, slo.Calendar{}
	}
	var start, zone string
	if w.Calendar != nil {
		start, zone = w.Calendar.StartTime, w.Calendar.TimeZone
	}
	rolling := w.Calendar == nil
	if w.IsRolling != nil {
		rolling = *w.IsRolling
	}
	return period(v, at, s, rolling, start, zone)
}

func minutes(n int) string {
	if n == 1 {
		return "one minute"
	}
	return strconv.Itoa(n) + " minutes"
}

// period returns a window of the given span, which stands at length within v.
func period(v, length source.Value, s span, rolling bool, start, zone string) (time.Duration, slo.Calendar) {
	if rolling {
		foreign.Window(length, s.length())
		if s.nominal() {
			foreign.Warn(length, "has no length of its own while it rolls", "want "+slo.Duration(s.length())+", which is used")
		}
		return s.length(), slo.Calendar{}
	}
	calendar := foreign.At(v, "calendar")
	if foreign.Lacks(calendar, "want timeZone and startTime, or isRolling: true") {
		return slo.DefaultWindow, slo.Calendar{}
	}
	c := slo.Calendar{Unit: s.calendar()}
	if c.Unit == slo.Rolling {
		length.Fault("is not a window of the calendar that slowburn has", "want 1w, 1M or 1Q")
		return slo.DefaultWindow, slo.Calendar{}
	}
	c.Zone = timeZone(foreign.At(calendar, "timeZone"), zone)
	aligned(foreign.At(calendar, "startTime"), start, c.Unit)
	return c.Unit.Nominal(), c
}

func timeZone(v source.Value, name string) *time.Location {
	const want = "want one such as Europe/Zurich"
	if foreign.Lacks(v, want) {
		return time.UTC
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		v.Fault(source.Quote(name)+" is not a time zone", want)
		return time.UTC
	}
	return zone
}

// aligned checks that windows which are counted from a start begin where
// slowburn's do: on Mondays, or on the first day of a month or quarter. On
// another day the budget would be another; another hour of that day is close,
// and a warning.
func aligned(v source.Value, start string, unit slo.Unit) {
	if start == "" {
		return
	}
	var t time.Time
	var err error
	for _, layout := range []string{time.DateTime, "2006-01-02T15:04:05", time.RFC3339, time.DateOnly} {
		if t, err = time.Parse(layout, start); err == nil {
			break
		}
	}
	if err != nil {
		v.Refuse("want one such as 2024-01-01 00:00:00")
		return
	}
	date, first := t.Format(time.DateOnly), t.Day() == 1
	switch {
	case unit == slo.Week && t.Weekday() != time.Monday:
		v.Fault(fmt.Sprintf("%s is a %s, and slowburn's weeks begin on Monday", date, t.Weekday()), "want a Monday")
	case unit == slo.Month && !first:
		v.Fault(date+" is not the first day of a month, on which slowburn's months begin", "want "+t.Format("2006-01")+"-01")
	case unit == slo.Quarter && (!first || t.Month()%3 != 1):
		v.Fault(date+" is not the first day of a quarter, on which slowburn's begin", "want one such as "+t.Format("2006")+"-01-01")
	case t.Sub(t.Truncate(day)) > 0:
		foreign.Warn(v, t.Format(time.TimeOnly)+" is not midnight, when slowburn's windows begin", "want 00:00:00")
	}
}
