package spec

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/query"
	"github.com/slowburn-slo/slowburn/slo/source"
)

var queryKeys = []string{"bad", "good", "total", "ratio"}

// sli reads the SLI of a PromQL objective.
func sli(v source.Value) (q slo.Query) {
	const want = "want {bad: …, total: …}, {good: …, total: …} or {ratio: …}"
	keys, ok := v.Keys(want, queryKeys)
	if !ok {
		return q
	}
	before := v.Faults.Len()
	for i, to := range []*string{&q.Bad, &q.Good, &q.Total, &q.Ratio} {
		if v, ok := keys[queryKeys[i]]; ok {
			*to = expression(v)
			if queryKeys[i] != "ratio" && *to != "" && v.Faults.Len() == before {
				v.Flawed(countable(*to))
			}
		}
	}
	lacks := func(key string) bool { return v.Lacks(key, queryKeys) }
	switch {
	case v.Has("ratio") && (v.Has("bad") || v.Has("good") || v.Has("total")):
		v.Fault("has ratio: and counts", "want ratio: alone, or total: with one of bad: and good:")
	case v.Has("bad") && v.Has("good"):
		v.Fault("has both bad: and good:", "want one of them, with total:")
	case v.Has("bad") || v.Has("good"):
		if lacks("total") {
			v.Missing("total", "want the count of all events")
		}
	case v.Has("total"):
		if lacks("bad") && lacks("good") {
			v.Fault("has total: alone", "want bad: or good: with it")
		}
	case lacks("bad") && lacks("good") && lacks("total") && lacks("ratio"):
		v.Fault("asks for nothing", want)
	}
	return q
}

// countable reports why a query does not count events, if it does not.
func countable(text string) *source.Flaw {
	if _, err := query.PerMinute(text, query.DefaultScrape); err != nil {
		fact, want, _ := strings.Cut(err.Error(), "; ")
		return &source.Flaw{Fact: foreignWords(fact), Want: want}
	}
	return nil
}

// Bounds of an expression. The parser's time grows with the square of how many
// terms it has: at this many it takes a millisecond.
const (
	maxQuery = 16 << 10 // bytes
	maxWords = 1000     // names, numbers, operators and brackets
)

var (
	// anyWindow is $window, or as Sloth writes it.
	anyWindow = regexp.MustCompile(`\$window\b|\{\{[ \t]*\.window[ \t]*\}\}`)

	// windowRange is where it stands as a range, or as that of a subquery.
	windowRange = regexp.MustCompile(`\[\s*(` + anyWindow.String() + `)`)
)

// expression reads PromQL over the range $window.
func expression(v source.Value) string {
	const want = "want PromQL such as sum(rate(http_requests_total[$window]))"
	s, ok := v.Prose(want)
	if !ok {
		return ""
	}
	s = strings.TrimSpace(s)
	if len(s) > maxQuery {
		v.Fault(fmt.Sprintf("is longer than %d bytes", maxQuery), want)
		return ""
	}
	// 5m and spaces: what follows keeps its place for PromQL's messages.
	ranges := 0
	probe := windowRange.ReplaceAllStringFunc(s, func(r string) string {
		ranges++
		return anyWindow.ReplaceAllStringFunc(r, func(w string) string { return fmt.Sprintf("%-*s", len(w), "5m") })
	})
	if at := anyWindow.FindStringIndex(probe); at != nil {
		v.Fault("$window stands "+within(s, at[0])+", where it is no range", "want it as a range only: rate(http_requests_total[$window])")
		return ""
	}
	if tooManyWords(probe) {
		v.Fault(fmt.Sprintf("has more than %d words and signs", maxWords), "want part of it in a recording rule")
		return ""
	}
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(probe)
	switch {
	case err != nil:
		var faults parser.ParseErrors
		message := err.Error()
		if errors.As(err, &faults) && len(faults) > 0 {
			message = within(s, int(faults[0].PositionRange.Start)) + ", " + faults[0].Err.Error()
		}
		v.Fault("is not PromQL: "+foreignWords(message), want)
	case expr.Type() != parser.ValueTypeVector && expr.Type() != parser.ValueTypeScalar:
		v.Fault("is a "+parser.DocumentedType(expr.Type()), want)
	case ranges == 0:
		v.Fault("has no range $window, so it counts the same over every window", want)
	}
	return anyWindow.ReplaceAllLiteralString(s, slo.QueryWindow)
}

// tooManyWords reports whether PromQL has more than maxWords words and signs
// before its first fault.
func tooManyWords(s string) bool {
	lexer := parser.Lex(s)
	var item parser.Item
	for range maxWords {
		if lexer.NextItem(&item); item.Typ == parser.EOF || item.Typ == parser.ERROR {
			return false
		}
	}
	return true
}

// within names a place in a text.
func within(s string, offset int) string {
	before := s[:min(max(offset, 0), len(s))]
	line := strings.Count(before, "\n")
	column := len([]rune(before[strings.LastIndexByte(before, '\n')+1:])) + 1
	if line == 0 && !strings.Contains(s, "\n") {
		return fmt.Sprintf("at its column %d", column)
	}
	return fmt.Sprintf("at its line %d, column %d", line+1, column)
}

// foreignWords returns a message of a library on one line, cut where it is too
// long to read.
func foreignWords(s string) string {
	const readable = 200
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > readable {
		s = string(r[:readable]) + "…"
	}
	return s
}
