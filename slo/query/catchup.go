package query

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn-slo/slowburn/slo"
)

// CatchUp returns the query as PerMinute does, but counters are compared with
// what they were a minute ago, or, where nothing was scraped then, with the
// last that was within a day; a counter without a past counts whole. So nothing
// is lost when a counter is born with its first event, or while nothing was
// scraped. A counter that comes back after more than a day is counted whole
// again.
//
// Queries without rate or increase are returned as by PerMinute. Errors are
// those of PerMinute, and a counter read with offset or @.
func CatchUp(text string, scrape time.Duration) (string, error) {
	if _, err := PerMinute(text, scrape); err != nil {
		return "", err
	}
	source := strings.ReplaceAll(text, slo.QueryWindow, slo.Duration(marker))
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(source)
	if err != nil {
		return "", err
	}
	type edit struct {
		start, end int
		text       string
	}
	var edits []edit
	var fault error
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		call, ok := n.(*parser.Call)
		if !ok || call.Func.Name != "rate" && call.Func.Name != "irate" && call.Func.Name != "increase" {
			return nil
		}
		matrix, ok := call.Args[0].(*parser.MatrixSelector)
		if !ok || matrix.Range != marker {
			return nil
		}
		v := matrix.VectorSelector.(*parser.VectorSelector)
		if v.OriginalOffset != 0 || v.Timestamp != nil || v.StartOrEnd != 0 {
			fault = errors.New("reads a counter with offset or @, which cannot be caught up; want it without")
			return nil
		}
		at := call.PositionRange()
		edits = append(edits, edit{int(at.Start), int(at.End), gained(v.String(), scrape)})
		return nil
	})
	if fault != nil {
		return "", fault
	}
	if len(edits) == 0 {
		return PerMinute(text, scrape)
	}
	slices.SortFunc(edits, func(a, b edit) int { return b.start - a.start })
	for _, e := range edits {
		source = source[:e.start] + e.text + source[e.end:]
	}
	out, err := parser.NewParser(parser.Options{}).ParseExpr(source)
	if err != nil {
		return "", fmt.Errorf("cannot be caught up: %w", err)
	}
	return "(" + out.String() + ")", nil
}

// gained writes what a counter gained in the last minute: what it is now less
// what it was, unless it began anew in between; then what increase, which knows
// of resets, says of the same samples; and without a value a minute ago, what
// it is now less what it last was, or all of it.
func gained(v string, scrape time.Duration) string {
	window := Step + scrape
	return fmt.Sprintf("(%[1]s - (%[1]s offset %[2]s) and resets(%[1]s[%[3]s]) == 0"+
		" or increase(%[1]s[%[3]s]) * (%[4]g / %[5]g) and (%[1]s offset %[2]s)"+
		" or (%[1]s - last_over_time(%[1]s[1d] offset %[2]s)) >= 0 or %[1]s)",
		v, slo.Duration(Step), slo.Duration(window), Step.Seconds(), window.Seconds())
}
