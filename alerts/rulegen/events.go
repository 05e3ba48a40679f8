package rulegen

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/query"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// events are counters by which an SLO's good and bad events are made.
type events struct {
	counters []counter
	reads    [][]*labels.Matcher // what the SLO reads of metrics
	first    float64             // value the counters of metrics begin with
}

// counter is one series and what it gains by one event.
type counter struct {
	labels    labels.Labels
	good, bad float64

	// Of two collectors, one can be away: then it shows nothing, and the other
	// counts for both.
	stays, goes bool
}

// collectors returns the counters of two collectors that share an SLO's events.
func collectors(s slo.SLO) *events {
	e := &events{}
	for _, name := range []string{"a", "b"} {
		for _, c := range []counter{
			{labels: series.Of(series.SLO(s), series.Events, "collector", name), good: 0.5, bad: 0.5},
			{labels: series.Of(series.SLO(s), series.Errors, "collector", name), bad: 0.5},
		} {
			c.stays, c.goes = name == "a", name == "b"
			e.counters = append(e.counters, c)
		}
	}
	return e
}

// most returns the most that a counter gains by an event.
func (e *events) most() float64 {
	out := 0.0
	for _, c := range e.counters {
		out = max(out, c.good, c.bad)
	}
	return out
}

// meets reports whether others read counters of e or e reads theirs.
func (e *events) meets(others []*events) bool {
	reads := func(a, b *events) bool {
		for _, matchers := range a.reads {
			for _, c := range b.counters {
				if matches(matchers, c.labels) {
					return true
				}
			}
		}
		return false
	}
	return slices.ContainsFunc(others, func(o *events) bool { return reads(e, o) || reads(o, e) })
}

func matches(matchers []*labels.Matcher, l labels.Labels) bool {
	for _, m := range matchers {
		if !m.Matches(l.Get(m.Name)) {
			return false
		}
	}
	return true
}

// write returns the counters through phases, a value a minute, as promtool
// reads them.
func (e *events) write(start time.Duration, phases []phase) []inputSeries {
	var out []inputSeries
	for _, c := range e.counters {
		v := e.first
		var values []string
		if n := start / query.Step; n > 0 {
			values = append(values, fmt.Sprintf("_x%d", n))
		}
		// The value that the first minute is compared with.
		if c.goes && phases[0].away {
			values = append(values, "_")
		} else {
			values = append(values, decimal(v))
		}
		for _, p := range phases {
			n := int(p.length / query.Step)
			gain := c.good*p.good + c.bad*p.bad
			switch {
			case p.away && c.goes:
				values = append(values, fmt.Sprintf("_x%d", n))
				continue
			case p.away && c.stays:
				gain *= 2
			case p.reset && !c.goes && !c.stays:
				v = 0
			}
			if n == 1 {
				values = append(values, decimal(v+gain))
			} else {
				values = append(values, fmt.Sprintf("%s+%sx%d", decimal(v+gain), decimal(gain), n-1))
			}
			v += gain * float64(n)
		}
		out = append(out, inputSeries{Series: notation(c.labels), Values: strings.Join(values, " ")})
	}
	return out
}

// notation writes a series as promtool reads it.
func notation(l labels.Labels) string {
	var b strings.Builder
	b.WriteString(l.Get(model.MetricNameLabel) + "{")
	sep := ""
	l.Range(func(l labels.Label) {
		if l.Name != model.MetricNameLabel {
			fmt.Fprintf(&b, "%s%s=%q", sep, l.Name, l.Value)
			sep = ","
		}
	})
	return b.String() + "}"
}

// window stands for $window while a query's selectors are looked through: a
// range nobody writes.
const window = 777_777_777 * time.Millisecond

// metrics returns counters that make the good and the bad events of a query, or
// why there are none. They are found by trying: candidates are series that the
// query's selectors read, or nearly read, and a set of them that rises makes
// what the query then counts.
func metrics(q slo.Query, scrape time.Duration) (e *events, why string) {
	if q.Ratio != "" {
		return nil, "a ratio counts no events"
	}
	part := q.Bad
	if q.Good != "" {
		part = q.Good
	}
	e = &events{}
	var candidates []labels.Labels
	for _, text := range []string{q.Total, part} {
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(strings.ReplaceAll(text, slo.QueryWindow, slo.Duration(window)))
		if err != nil {
			return nil, err.Error()
		}
		parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
			switch n := n.(type) {
			case *parser.VectorSelector:
				if n.OriginalOffset != 0 || n.Timestamp != nil || n.StartOrEnd != 0 {
					why = "it reads metrics of another time"
				}
				e.reads = append(e.reads, n.LabelMatchers)
				candidates = append(candidates, examples(n.LabelMatchers)...)
			case *parser.MatrixSelector:
				if n.Range != window {
					why = "it reads a range that is not $window"
				}
			case *parser.SubqueryExpr:
				why = "it has a subquery"
			}
			return nil
		})
	}
	if why != "" {
		return nil, why
	}
	slices.SortFunc(candidates, labels.Compare)
	candidates = slices.CompactFunc(candidates, labels.Equal)
	const most = 16 // 696 sets of up to three
	candidates = candidates[:min(len(candidates), most)]

	t, err := newTrial(q.Total, part, q.Good != "", scrape)
	if err != nil {
		return nil, err.Error()
	}
	defer t.engine.Close()
	var good, bad []rising
	for _, set := range sets(len(candidates), 3) {
		r := rising{}
		for _, i := range set {
			r.series = append(r.series, candidates[i])
		}
		b, total, err := t.count(r.series, r.each(unit))
		switch {
		case err != nil || total <= 0:
		case near(b, 0):
			r.events = total / unit
			good = append(good, r)
		case near(b, total):
			r.events = total / unit
			bad = append(bad, r)
		}
	}
	// Both together must count what they count alone.
	for _, b := range bad {
		for _, g := range good {
			e.counters = combine(g, b)
			all := make([]labels.Labels, len(e.counters))
			for i, c := range e.counters {
				all[i] = c.labels
			}
			if slices.ContainsFunc([][2]float64{{48, 12}, {0, 30}, {30, 0}, {1, 700}}, func(n [2]float64) bool {
				gains := make([]float64, len(e.counters))
				for i, c := range e.counters {
					gains[i] = c.good*n[0] + c.bad*n[1]
				}
				counted, total, err := t.count(all, gains)
				return err != nil || !near(counted, n[1]) || !near(total, n[0]+n[1])
			}) {
				continue
			}
			return e, ""
		}
	}
	return nil, "no counters were found that make its good and bad events"
}

// unit is how much a series rises a minute while sets are tried.
const unit = 60.0

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*math.Max(1, math.Abs(b)) }

// rising is a set of series that count so many events when each rises by one.
type rising struct {
	series []labels.Labels
	events float64
}

func (r rising) each(gain float64) []float64 { return slices.Repeat([]float64{gain}, len(r.series)) }

func combine(good, bad rising) []counter {
	var out []counter
	add := func(l labels.Labels) *counter {
		for i := range out {
			if labels.Equal(out[i].labels, l) {
				return &out[i]
			}
		}
		out = append(out, counter{labels: l})
		return &out[len(out)-1]
	}
	for _, l := range good.series {
		add(l).good = 1 / good.events
	}
	for _, l := range bad.series {
		add(l).bad = 1 / bad.events
	}
	return out
}

// sets returns the sets of up to size of n things, the small ones first.
func sets(n, size int) [][]int {
	out := [][]int{nil}
	for from, k := 0, 0; k < size; k++ {
		to := len(out)
		for _, s := range out[from:to] {
			next := 0
			if len(s) > 0 {
				next = s[len(s)-1] + 1
			}
			for ; next < n; next++ {
				out = append(out, append(slices.Clone(s), next))
			}
		}
		from = to
	}
	return out[1:]
}

// examples returns series that matchers match, and some that all but one match.
func examples(matchers []*labels.Matcher) []labels.Labels {
	by := map[string][]*labels.Matcher{}
	var names []string
	for _, m := range matchers {
		if by[m.Name] == nil {
			names = append(names, m.Name)
		}
		by[m.Name] = append(by[m.Name], m)
	}
	base := labels.NewBuilder(labels.EmptyLabels())
	for _, name := range names {
		v, ok := example(by[name], true)
		if !ok {
			return nil
		}
		base.Set(name, v)
	}
	out := []labels.Labels{base.Labels()}
	for _, name := range names {
		if v, ok := example(by[name], false); ok && name != model.MetricNameLabel {
			out = append(out, labels.NewBuilder(out[0]).Set(name, v).Labels())
		}
	}
	return out
}

// example returns a value that all matchers of a label match, or one that not
// all do.
func example(matchers []*labels.Matcher, wanted bool) (string, bool) {
	var values []string
	for _, m := range matchers {
		switch m.Type {
		case labels.MatchEqual, labels.MatchNotEqual:
			values = append(values, m.Value)
		default:
			if re, err := syntax.Parse(m.Value, syntax.Perl); err == nil {
				values = append(values, text(re))
			}
		}
	}
	for _, v := range append(values, "", "200", "x") {
		if all := !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(v) }); all == wanted {
			return v, true
		}
	}
	return "", false
}

// text returns a text that an expression matches, if it is one that labels are
// matched with: without boundaries inside.
func text(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		if len(re.Rune) > 0 {
			return string(re.Rune[0])
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "0"
	case syntax.OpCapture, syntax.OpPlus, syntax.OpAlternate:
		return text(re.Sub[0])
	case syntax.OpRepeat:
		return strings.Repeat(text(re.Sub[0]), re.Min)
	case syntax.OpConcat:
		var b strings.Builder
		for _, sub := range re.Sub {
			b.WriteString(text(sub))
		}
		return b.String()
	}
	return ""
}

// trial evaluates a query over series that rise evenly.
type trial struct {
	engine      *promql.Engine
	total, part string
	isGood      bool
}

func newTrial(total, part string, isGood bool, scrape time.Duration) (*trial, error) {
	t := &trial{isGood: isGood}
	var err error
	if t.total, err = query.PerMinute(total, scrape); err != nil {
		return nil, err
	}
	if t.part, err = query.PerMinute(part, scrape); err != nil {
		return nil, err
	}
	t.engine = promql.NewEngine(promql.EngineOpts{
		MaxSamples: 100_000, Timeout: 10 * time.Second, LookbackDelta: 5 * time.Minute, EnableAtModifier: true, EnableNegativeOffset: true,
	})
	return t, nil
}

// count returns the events of a minute in which each series gains so much.
func (t *trial) count(all []labels.Labels, gains []float64) (bad, total float64, err error) {
	const minutes = 20
	var set memory
	for i, l := range all {
		s := promql.Series{Metric: l}
		for m := range minutes + 1 {
			s.Floats = append(s.Floats, promql.FPoint{T: int64(m) * query.Step.Milliseconds(), F: 1e6 + gains[i]*float64(m)})
		}
		set = append(set, s)
	}
	value := func(expr string) (float64, error) {
		q, err := t.engine.NewInstantQuery(context.Background(), set, nil, expr, time.UnixMilli(0).Add(minutes*query.Step))
		if err != nil {
			return 0, err
		}
		defer q.Close()
		res := q.Exec(context.Background())
		if res.Err != nil {
			return 0, res.Err
		}
		switch v := res.Value.(type) {
		case promql.Scalar:
			return v.V, nil
		case promql.Vector:
			switch {
			case len(v) == 0:
				return 0, nil
			case len(v) == 1 && v[0].H == nil && !math.IsNaN(v[0].F):
				return v[0].F, nil
			}
		}
		return 0, errors.New("is not one number")
	}
	total, err = value(t.total)
	if err != nil {
		return 0, 0, err
	}
	bad, err = value(t.part)
	if t.isGood {
		bad = total - bad
	}
	return bad, total, err
}

// memory is series that a query reads. It is its own storage.Queryable.
type memory []promql.Series

func (m memory) Querier(_, _ int64) (storage.Querier, error) {
	return querier{storage.NoopQuerier(), m}, nil
}

type querier struct {
	storage.Querier // knows no labels
	all             memory
}

func (q querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	s := &selected{}
	for _, one := range q.all {
		if matches(matchers, one.Metric) {
			s.rest = append(s.rest, one)
		}
	}
	slices.SortFunc(s.rest, func(a, b promql.Series) int { return labels.Compare(a.Metric, b.Metric) })
	return s
}

type selected struct {
	at   storage.Series
	rest memory
}

func (s *selected) Next() bool {
	if len(s.rest) == 0 {
		return false
	}
	s.at, s.rest = promql.NewStorageSeries(s.rest[0]), s.rest[1:]
	return true
}

func (s *selected) At() storage.Series                { return s.at }
func (s *selected) Err() error                        { return nil }
func (s *selected) Warnings() annotations.Annotations { return nil }

// decimal writes a number without an exponent, whose sign would be read as the
// next value's.
func decimal(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
