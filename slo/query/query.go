// Package query turns the PromQL of an objective, written over a range $window,
// into the count of events of one minute, from which every longer window is
// summed up.
//
// It is pure and its functions may be called from several goroutines.
package query

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn-slo/slowburn/slo"
)

// Step is the time whose events PerMinute counts.
const Step = time.Minute

// DefaultScrape is how often counters are assumed to be scraped.
const DefaultScrape = 30 * time.Second

// marker stands for $window while a query is looked through: a range nobody
// writes, 9 days and some milliseconds.
const marker = 777_777_777 * time.Millisecond

// functions say what a range function returns of the events in its range.
var functions = map[string]unit{
	"rate": perSecond, "irate": perSecond, "deriv": perSecond,
	"increase": perRange, "delta": perRange,
	"sum_over_time": perSample, "count_over_time": perSample,
	"changes": perStep, "resets": perStep,
}

type unit uint8

const (
	unknown unit = iota
	perSecond
	perRange  // extrapolated to the whole range
	perSample // of the samples inside the range
	perStep   // of the steps from sample to sample inside the range
)

// Check reports what is wrong with a query: it is not PromQL, or it has no
// range $window.
func Check(text string) error {
	_, _, err := parse(text)
	return err
}

// PerMinute returns the query as the count of events in the minute before it is
// evaluated. scrape is how often its counters are scraped.
//
// A counter is read over a minute and one scrape, which holds as many scrapes
// as fit: neighbouring minutes then share the sample on their border, nothing
// is extrapolated and nothing is lost between them. Events that are samples
// themselves are read over the minute.
//
// An error is a query that mixes units, such as rate and increase, or whose
// ranges are read by functions that do not count.
func PerMinute(text string, scrape time.Duration) (string, error) {
	expr, found, err := parse(text)
	if err != nil {
		return "", err
	}
	kind, name := unknown, ""
	for _, r := range found {
		u := functions[r.function]
		switch {
		case u == unknown:
			return "", fmt.Errorf("reads $window by %s, which counts nothing; want rate, increase, sum_over_time or count_over_time",
				cmp.Or(r.function, "no function"))
		case kind != unknown && u != kind:
			return "", fmt.Errorf("reads $window by %s and by %s, whose units differ; want one of them", name, r.function)
		}
		kind, name = u, r.function
	}
	length, factor := Step+scrape, ""
	switch kind {
	case perSecond:
		factor = " * 60"
	case perRange:
		factor = fmt.Sprintf(" * (60 / %g)", length.Seconds())
	case perSample:
		length = Step
	}
	return "(" + write(expr, found, length) + ")" + factor, nil
}

// At returns the query over a range of the given length. Errors are those of
// Check.
func At(text string, length time.Duration) (string, error) {
	expr, found, err := parse(text)
	if err != nil {
		return "", err
	}
	return write(expr, found, length), nil
}

// place is where a query reads $window.
type place struct {
	function string         // the innermost around it
	length   *time.Duration // in the expression
}

func write(expr parser.Expr, places []place, length time.Duration) string {
	for _, p := range places {
		*p.length = length
	}
	return expr.String()
}

// parse returns the expression of a query and the places in it that read
// $window.
func parse(text string) (parser.Expr, []place, error) {
	p := parser.NewParser(parser.Options{})
	expr, err := p.ParseExpr(strings.ReplaceAll(text, slo.QueryWindow, slo.Duration(marker)))
	if err != nil {
		return nil, nil, err
	}
	if t := expr.Type(); t != parser.ValueTypeVector && t != parser.ValueTypeScalar {
		return nil, nil, fmt.Errorf("is a %s; want a vector or a number", parser.DocumentedType(t))
	}
	var out []place
	parser.Inspect(expr, func(n parser.Node, path []parser.Node) error {
		var length *time.Duration
		switch n := n.(type) {
		case *parser.MatrixSelector:
			length = &n.Range
		case *parser.SubqueryExpr:
			length = &n.Range
		default:
			return nil
		}
		if *length == marker {
			out = append(out, place{reader(path), length})
		}
		return nil
	})
	if len(out) == 0 {
		return nil, nil, errors.New("has no range $window; want one such as rate(http_requests_total[$window])")
	}
	if left := write(expr, out, Step); strings.Contains(left, slo.Duration(marker)) {
		return nil, nil, errors.New("has $window where no range stands; want it in square brackets only")
	}
	return expr, out, nil
}

// reader returns the innermost function around a range.
func reader(path []parser.Node) string {
	for i := len(path) - 1; i >= 0; i-- {
		if call, ok := path[i].(*parser.Call); ok {
			return call.Func.Name
		}
	}
	return ""
}
