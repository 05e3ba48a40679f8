package spec

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// finest is the smallest error budget, and the smallest target, that is told
// from nothing. One bad event in a billion is beyond what any service counts.
const finest = 1e-9

// flaw is something wrong with a text whose place the caller knows.
func flaw(fact, want string) *source.Flaw { return &source.Flaw{Fact: fact, Want: want} }

// percent reads a target as people write it, 99.9%, and returns it as the
// ratio 0.999, exactly the float64 that is nearest to it. All of the events may
// be wanted of a slice of time: other slices may miss it.
func percent(s string, all bool) (float64, *source.Flaw) {
	ratio, n, bad := percentage(s, "99.9%")
	switch {
	case bad != nil:
		return 0, bad
	case n == 100 && all:
		return 1, nil
	case n == 100:
		return 0, flaw("100% leaves no error budget", "want less than 100%")
	case n > 100:
		return 0, flaw(source.Brief(s)+" is more than all events", "want less than 100%")
	case n == 0:
		return 0, flaw("0% promises nothing", "want more than 0%")
	}
	if ratio < finest || slo.Budget(ratio) < finest {
		return 0, flaw(source.Brief(s)+" is finer than one event in a billion", "want 0.0000001% to 99.9999999%")
	}
	return ratio, nil
}

// percentage reads digits with a percent sign, of which example is one: as a
// ratio, and the number that is written.
func percentage(s, example string) (ratio, n float64, bad *source.Flaw) {
	digits, hasSign := strings.CutSuffix(s, "%")
	digits = strings.TrimSpace(digits)
	n, isNumber := decimal(digits)
	switch {
	case !isNumber:
		return 0, 0, flaw(source.Quote(s)+" is not a percentage", "want one such as "+example)
	case !hasSign:
		meant := example
		if n > 0 && n < 1 {
			meant = slo.Percent(n)
		} else if n > 1 && n < 100 {
			meant = source.Brief(digits) + "%"
		}
		return 0, 0, flaw(source.Brief(digits)+" has no unit", "want a percentage such as "+meant)
	}
	// Not n/100: 99.9/100 may miss the float64 that 0.999 is.
	ratio, _ = strconv.ParseFloat(digits+"e-2", 64)
	return ratio, n, nil
}

// leastShare is the smallest share of a budget that is worth telling.
const leastShare = 0.001

// share reads a share of an error budget, up to all of it.
func share(s string) (float64, *source.Flaw) {
	ratio, n, bad := percentage(s, "75%")
	switch {
	case bad != nil:
		return 0, bad
	case n > 100:
		return 0, flaw(source.Brief(s)+" is more than the whole budget", "want at most 100%")
	case ratio < leastShare:
		return 0, flaw(source.Brief(s)+" of a budget is nothing to tell of", "want at least "+slo.Percent(leastShare))
	}
	return ratio, nil
}

// decimal reads digits with at most one point between them: no sign, no
// exponent, no hexadecimal.
func decimal(s string) (float64, bool) {
	whole, part, point := strings.Cut(s, ".")
	if !digits(whole) || point && !digits(part) {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

const day = 24 * time.Hour

// units are those of slo.Duration, and weeks.
var units = map[string]time.Duration{
	"ns": time.Nanosecond, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second,
	"m": time.Minute, "h": time.Hour, "d": day, "w": 7 * day,
}

// apart are two numbers without a unit between them.
var apart = regexp.MustCompile(`[0-9.] +[0-9.]`)

// duration reads a length of time as people write it: 300ms, 1.5s, 1h30m, 30d.
// The result is above 0.
func duration(s string) (time.Duration, *source.Flaw) {
	const figures = "0123456789."
	if apart.MatchString(s) {
		return 0, flaw(source.Quote(s)+" is not a duration", "want one such as 300ms or 30d")
	}
	total := 0.0 // ns
	for rest := strings.ReplaceAll(s, " ", ""); ; {
		unit := strings.TrimLeft(rest, figures)
		n, ok := decimal(rest[:len(rest)-len(unit)])
		if !ok {
			return 0, flaw(source.Quote(s)+" is not a duration", "want one such as 300ms or 30d")
		}
		if unit == "" {
			return 0, flaw(source.Quote(s)+" has no unit", "want a duration such as 300ms or 30d")
		}
		rest = ""
		if i := strings.IndexAny(unit, figures); i >= 0 {
			unit, rest = unit[:i], unit[i:]
		}
		size, known := units[unit]
		if !known {
			return 0, flaw(fmt.Sprintf("%s has the unknown unit %s", source.Quote(s), source.Quote(unit)), "want ms, s, m, h, d or w")
		}
		total += n * float64(size)
		if rest == "" {
			break
		}
	}
	if total >= math.MaxInt64 {
		return 0, flaw(source.Quote(s)+" is longer than 292 years", "want less")
	}
	d := time.Duration(math.Round(total))
	if d == 0 {
		return 0, flaw(source.Quote(s)+" is no time at all", "want more than 0")
	}
	return d, nil
}

// slot is the finest time the ledger tells apart.
const slot = 10 * time.Second

// lookback reads the length of a window that an error ratio is kept over.
// Counts are kept in slots of slot or longer.
func lookback(s string) (time.Duration, *source.Flaw) {
	d, bad := duration(s)
	if bad == nil && d%slot != 0 {
		return 0, flaw(slo.Duration(d)+" is not a multiple of "+slo.Duration(slot), "want one such as 30s, 5m or 30d")
	}
	return d, bad
}

// The rolling windows an SLO may have.
const (
	// The fastest alert looks back over an hour; a shorter period would have
	// no alert.
	minWindow = time.Hour
	// A year and a month: beyond that, memory buys figures nobody acts on.
	maxWindow = 400 * day
)

// calendarUnits are the windows of the calendar.
var calendarUnits = map[string]slo.Unit{"week": slo.Week, "month": slo.Month, "quarter": slo.Quarter}

// window reads the period of an SLO: its length, nominal in the calendar, and
// its unit there. ok is false when it is neither.
func window(v source.Value) (length time.Duration, unit slo.Unit, ok bool) {
	s, ok := v.Line("want a rolling window such as 30d, or week, month or quarter")
	if !ok {
		return slo.DefaultWindow, slo.Rolling, false
	}
	if unit, ok := calendarUnits[s]; ok {
		return unit.Nominal(), unit, true
	}
	d, bad := period(s)
	if v.Flawed(bad) {
		return slo.DefaultWindow, slo.Rolling, false // no tier is to be refused for it
	}
	return d, slo.Rolling, true
}

// period reads the length of a rolling window.
func period(s string) (time.Duration, *source.Flaw) {
	if !strings.ContainsAny(s, "0123456789") {
		want := "want a rolling window such as 30d, or week, month or quarter"
		if near, ok := source.Nearest(s, []string{"week", "month", "quarter"}); ok {
			want = "want " + near
		}
		return 0, flaw(source.Quote(s)+" is not a window", want)
	}
	d, bad := lookback(s)
	switch {
	case bad != nil:
		return 0, bad
	case d < minWindow:
		return 0, flaw(slo.Duration(d)+" is shorter than the window of the fastest alert", "want at least 1h")
	case d > maxWindow:
		return 0, flaw(slo.Duration(d)+" is more than a year and a month", "want at most 400d")
	}
	return d, nil
}

// age reads how old the last success may be. Time is judged minute by minute.
func age(s string) (time.Duration, *source.Flaw) {
	d, bad := duration(s)
	switch {
	case bad != nil:
		return 0, bad
	case d < time.Minute:
		return 0, flaw(slo.Duration(d)+" is less than the minute by which freshness is judged", "want at least 1m")
	case d > maxWindow:
		return 0, flaw(slo.Duration(d)+" is more than a year and a month", "want at most 400d")
	}
	return d, nil
}

// sliceLength reads the length of slices of time.
func sliceLength(s string) (time.Duration, *source.Flaw) {
	d, bad := duration(s)
	if bad == nil && (d%slot != 0 || d > time.Hour || time.Hour%d != 0) {
		bad = flaw(slo.Duration(d)+" is not a multiple of "+slo.Duration(slot)+" that divides an hour", "want one such as 1m, 5m or 1h")
	}
	return d, bad
}
