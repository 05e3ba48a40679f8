package spec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/source"
)

const wantMatch = "want one such as POST /api/checkout, or a map of attributes"

// match reads which spans a flow counts: METHOD /route, or a selector.
func match(v source.Value) slo.Selector {
	if v.Kind == source.Table {
		return selector(v, wantMatch)
	}
	s, ok := v.Line(wantMatch)
	if !ok {
		return nil
	}
	words := strings.Fields(s)
	route := words[len(words)-1]
	if len(words) > 2 || !strings.HasPrefix(route, "/") && (route != "*" || len(words) == 1) {
		v.Fault(source.Quote(s)+" is not a method and a route", wantMatch)
		return nil
	}
	var out slo.Selector
	is := func(key, glob string) {
		out = append(out, slo.Condition{Key: key, Any: []slo.Pattern{{Text: glob}}, Pos: v.Pos})
	}
	if len(words) == 2 {
		if v.Flawed(method(words[0])) {
			return nil
		}
		is(slo.KeyMethod, words[0])
	}
	if route != "*" { // a request without a route is one of POST * as well
		is(slo.KeyRoute, route)
	}
	return out
}

// methods are those that OpenTelemetry's instrumentations know; they report
// others as _OTHER.
var methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY", "_OTHER"}

func method(s string) *source.Flaw {
	switch {
	case slices.Contains(methods, s):
		return nil
	case slices.Contains(methods, strings.ToUpper(s)):
		return flaw(source.Quote(s)+" is not in upper case, as methods are", "want "+strings.ToUpper(s))
	}
	return flaw(source.Quote(s)+" is not an HTTP method", source.Suggest(s, methods))
}

// older are the HTTP attributes of the generation before, and their names now.
// The matcher reads a span of either under the current name.
var older = map[string]string{
	"http.method":      slo.KeyMethod,
	"http.status_code": slo.KeyStatusCode,
}

// current returns the current name of an attribute.
func current(key string) string {
	if now, ok := older[key]; ok {
		return now
	}
	return key
}

// wantValue says which values an attribute may have whose values are known. A
// pattern that fits none of them would never match.
func wantValue(key string, values []string) string {
	if key == slo.KeyStatusCode {
		return `want a status code such as 503, "5*" or ">=500"`
	}
	return "want one of " + strings.Join(values, ", ")
}

// selector reads conditions: a map from attribute to value, list of values or
// {not: …}.
func selector(v source.Value, want string) slo.Selector {
	entries, _ := v.Entries(want)
	var out slo.Selector
	lines := map[string]int{}
	for _, e := range entries {
		c := slo.Condition{Key: current(e.Key), Pos: e.Pos}
		switch line, twice := lines[c.Key]; {
		case twice: // under its older and its current name
			e.FaultAt(e.Pos, e.Path, fmt.Sprintf("is %s, which is on line %d already", c.Key, line), "want it once")
			continue
		case c.Key == "" || strings.ContainsFunc(c.Key, source.NotInName):
			e.FaultAt(e.Pos, e.Path, "is not the name of an attribute", "want one such as http.route")
			continue
		case c.Key == "service.name":
			e.FaultAt(e.Pos, e.Path, "the service is not part of a match", "want service: in the flow or at the top of the file")
			continue
		}
		lines[c.Key] = e.Pos.Line
		c.Any, c.Not = alternatives(e.Value, c.Key)
		if len(c.Any) > 0 {
			out = append(out, c)
		}
	}
	return out
}

// alternatives reads what an attribute is compared with.
func alternatives(v source.Value, key string) (fits []slo.Pattern, not bool) {
	const want = "want a value, a list of values, or {not: value}"
	if v.Kind == source.Table {
		keys, _ := v.Keys(want, []string{"not"})
		excluded, ok := keys["not"]
		if !ok {
			return nil, false
		}
		v, not = excluded, true
	}
	items := []source.Value{v}
	if v.Kind == source.List {
		items, _ = v.Elements(want)
	}
	values := slo.Vocabulary(key)
	for _, item := range items {
		s, ok := item.Line(want)
		if !ok {
			continue
		}
		// Spans carry 500 and 0.5; 0x1f4, 1_000 or 5.0e-1 would fit none.
		if item.Kind == source.Number {
			if n, err := strconv.ParseFloat(s, 64); err != nil || strconv.FormatFloat(n, 'f', -1, 64) != s {
				item.Fault(source.Brief(s)+" is not a plain decimal number", "want one, or quotes to compare it as text")
				continue
			}
		}
		p, err := slo.ParsePattern(s)
		if err != nil {
			fact, wanted, _ := strings.Cut(err.Error(), "; ")
			item.Fault(source.Brief(fact), source.Brief(wanted))
			continue
		}
		switch {
		case key == slo.KeyMethod && p.Literal() && item.Flawed(method(s)):
		case values != nil && !slices.ContainsFunc(values, p.Fits):
			item.Fault(source.Quote(s)+" fits no "+key, wantValue(key, values))
		default:
			fits = append(fits, p)
		}
	}
	return fits, not
}
