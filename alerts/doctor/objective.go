package doctor

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/query"
	"github.com/slowburn-slo/slowburn/slo/source"
)

const (
	// manySeries is how many series the rules of one SLO read every minute
	// before it is worth a word.
	manySeries = 10_000

	// manySamples is how many samples a look at the last day may read.
	manySamples = 20_000_000

	day = 24 * time.Hour
)

// objective looks at what a PromQL objective reads.
func (d *doctor) objective(ctx context.Context, s *sheet, o slo.SLO) {
	ps, err := parts(o.Objective.Query)
	if err != nil {
		s.fault("query", "promtool check rules rules.yaml", "the query is not PromQL: %v", err)
		return
	}
	var total float64
	there := true
	seen := map[string]float64{}
	for _, p := range ps {
		for _, r := range p.readings() {
			r.known = metrics(ps)
			n, ok := d.reading(ctx, s, r)
			if _, twice := seen[r.selector()]; !twice {
				seen[r.selector()] = n
				total += n
			}
			there = there && ok && (n > 0 || r.mayBeEmpty())
		}
		d.bothGenerations(ctx, s, p)
		d.groupings(ctx, s, p)
	}
	switch {
	case total > manySeries:
		s.warn("cardinality", promtool(d.url, fmt.Sprintf("topk(10, count by (__name__, job) ({__name__=~%q}))", strings.Join(metrics(ps), "|"))),
			"the rules read %s series every minute; more than %s are slow", words.Number(total, 0), words.Count(manySeries))
	case total > 0:
		s.ok("cardinality", "its queries read %s series", words.Number(total, 0))
	}
	// What is compared or counted from here on would only repeat a fault.
	if !there || !d.pairs(s, ps) {
		return
	}
	if groups, ok := d.consistent(ctx, s, ps); ok && s.count(Fault) == 0 {
		d.events(ctx, s, o, ps, total, groups)
	}
}

// metrics returns the names of the metrics that parts read.
func metrics(ps []*part) []string {
	var out []string
	for _, p := range ps {
		for _, r := range p.readings() {
			if r.name != "" && !slices.Contains(out, r.name) {
				out = append(out, r.name)
			}
		}
	}
	return out
}

// reading examines one selector and returns how many series it has, buckets
// aside. ok is false where the server did not answer.
func (d *doctor) reading(ctx context.Context, s *sheet, r reading) (series float64, ok bool) {
	series, ok = d.exists(ctx, s, r)
	if series > 0 {
		before := len(s.list)
		d.buckets(ctx, s, r)
		d.counts(ctx, s, r)
		for _, f := range s.list[before:] {
			if f.Check == "bucket" && f.Severity == Fault && len(r.label(labels.BucketLabel)) > 0 {
				return 0, ok // there is nothing to judge by
			}
		}
	}
	return series, ok
}

// groupings looks for labels to split by that no series has.
func (d *doctor) groupings(ctx context.Context, s *sheet, p *part) {
	for _, r := range p.readings() {
		for _, n := range r.path {
			a, ok := n.(*parser.AggregateExpr)
			if !ok || a.Without {
				continue
			}
			for _, label := range a.Grouping {
				with := append(slices.Clone(r.v.LabelMatchers), labels.MustNewMatcher(labels.MatchNotEqual, label, ""))
				all, ok := d.series(ctx, r.v.LabelMatchers)
				some, ok2 := d.series(ctx, with)
				if !ok || !ok2 || all == 0 || some > 0 {
					continue
				}
				names := d.labelNames(ctx, r.selector())
				fix := promtool(d.url, "topk(1, "+r.selector()+")")
				if near, ok := source.Nearest(label, names); ok {
					was := slices.Clone(a.Grouping)
					a.Grouping[slices.Index(a.Grouping, label)] = near
					fix = p.line(p.expr.String())
					copy(a.Grouping, was)
				}
				s.warn("label", fix, "%s: it is split by %s, which no series of %s has; there are %s", p.name, label, r.name, list(names))
			}
		}
	}
}

// pairs compares what the bad or good part selects with what the total does,
// and reports whether their series pair up.
func (d *doctor) pairs(s *sheet, ps []*part) bool {
	if len(ps) != 2 {
		return true
	}
	some, all := ps[0], ps[1]
	for _, a := range some.readings() {
		for _, m := range a.v.LabelMatchers {
			if m.Type != labels.MatchEqual || m.Name == model.MetricNameLabel || m.Name == labels.BucketLabel {
				continue
			}
			misses, wants := 0, ""
			readings := all.readings()
			for _, b := range readings {
				for _, n := range b.label(m.Name) {
					if (a.name == b.name || slices.Contains(owners, m.Name)) && !n.Matches(m.Value) {
						misses++
						wants = n.Value
					}
				}
			}
			if misses == len(readings) {
				for _, own := range a.v.LabelMatchers {
					if own == m {
						s.fault("label", some.with(a.v, replace(m, m.Name, wants)),
							"%s counts %s where total counts %s=%q: its events are not among the total's", some.name, m, m.Name, wants)
					}
				}
			}
		}
	}
	x, y := outermost(some.expr), outermost(all.expr)
	if x == nil || y == nil || x.Without || y.Without {
		return true
	}
	if a, b := sorted(x.Grouping), sorted(y.Grouping); !slices.Equal(a, b) {
		was := x.Grouping
		x.Grouping = y.Grouping
		fix := some.line(some.expr.String())
		x.Grouping = was
		s.fault("label", fix, "%s is split by (%s), total by (%s): their series do not pair up",
			some.name, strings.Join(a, ", "), strings.Join(b, ", "))
		return false
	}
	return true
}

func sorted(in []string) []string { return slices.Sorted(slices.Values(in)) }

// consistent evaluates the parts over the last hour and compares them. It
// returns how many series they give; ok is false where that cannot be told.
func (d *doctor) consistent(ctx context.Context, s *sheet, ps []*part) (groups int, ok bool) {
	const past = time.Hour
	got := map[string]model.Vector{}
	for _, p := range ps {
		expr, err := query.At(p.text, past)
		if err != nil {
			s.fault("query", p.line(p.text), "%s %v", p.name, err)
			return 0, false
		}
		v, err := d.query(ctx, expr)
		if err != nil {
			if ctx.Err() != nil {
				d.fail(expr, err)
			} else {
				s.fault("query", promtool(d.url, expr), "%s: the server cannot answer: %v", p.name, err)
			}
			return 0, false
		}
		for _, sample := range v {
			if sample.Histogram != nil {
				s.fault("query", p.line("histogram_count("+p.expr.String()+")"), "%s: gives a histogram, not a number", p.name)
				return 0, false
			}
		}
		got[p.name] = v
		groups = max(groups, len(v))
		if len(v) > 1 {
			if a := outermost(p.expr); a == nil || slices.Contains(a.Grouping, labels.BucketLabel) {
				s.fault("series", p.line("sum("+p.expr.String()+")"), "%s: gives %d series where one is wanted: nothing sums them up", p.name, len(v))
				return groups, false
			}
		}
	}
	if ratio, ok := got["ratio"]; ok {
		d.ratio(s, ps[0], ratio)
		return groups, true
	}
	total := got["total"]
	some := ps[0] // bad or good
	if len(total) == 0 {
		s.fault("series", promtool(d.url, must(query.At(ps[1].text, past))), "total: gives nothing over the last hour, though there are series")
		return groups, false
	}
	for _, v := range got[some.name] {
		of := slices.IndexFunc(total, func(t *model.Sample) bool { return identity(t).Equal(identity(v)) })
		if of < 0 {
			s.fault("label", promtool(d.url, must(query.At(ps[1].text, past))),
				"%s: gives a series %s that total does not have; total has %s", some.name, identity(v), first(total))
			continue
		}
		// Rates of series that were born within the hour are guesses at its edges.
		const guess = 1.05
		t := float64(total[of].Value)
		switch x := float64(v.Value); {
		case x < 0 || t < 0:
			s.fault("consistency", promtool(d.url, must(query.At(some.text, past))), "%s is %.3g and total %.3g over the last hour; counts are not negative", some.name, x, t)
		case x > t*guess:
			s.fault("consistency", promtool(d.url, fmt.Sprintf("(%s) / (%s)", must(query.At(some.text, past)), must(query.At(ps[1].text, past)))),
				"%s is %s of total over the last hour (%.3g against %.3g): total must count every event that %s does",
				some.name, share(x/t), x, t, some.name)
		case some.name == "bad" && t > 0 && x > 0.9*t:
			s.warn("consistency", "good: "+strings.TrimPrefix(some.line(some.expr.String()), "bad: "),
				"bad is %s of total over the last hour: is it the good events that it counts?", share(x/t))
		}
	}
	return groups, true
}

// first returns the labels of the sample that comes first in order.
func first(v model.Vector) string {
	var out []string
	for _, s := range v {
		out = append(out, identity(s).String())
	}
	return slices.Min(out)
}

// identity returns a sample's labels without its metric.
func identity(s *model.Sample) model.Metric {
	m := s.Metric.Clone()
	delete(m, model.MetricNameLabel)
	return m
}

// must is of a query that was read before.
func must(expr string, _ error) string { return expr }

// ratio looks at a share of bad events.
func (d *doctor) ratio(s *sheet, p *part, v model.Vector) {
	for _, sample := range v {
		switch x := float64(sample.Value); {
		case x < 0 || x > 1.0001:
			fix := p.line("(" + p.expr.String() + ") / 100")
			if x < 0 {
				fix = p.line("clamp_min(" + p.expr.String() + ", 0)")
			}
			s.fault("consistency", fix, "ratio is %.4g over the last hour; want a share from 0 to 1", x)
		case math.IsNaN(x):
			s.ok("consistency", "ratio is 0/0 over the last hour: there were no events")
		case x > 0.9:
			s.warn("consistency", p.line("1 - ("+p.expr.String()+")"), "ratio is %s over the last hour: it has to be the share of bad events, and looks like that of good ones", share(x))
		}
	}
	if len(v) == 0 {
		s.fault("series", promtool(d.url, must(query.At(p.text, time.Hour))), "ratio: gives nothing over the last hour, though there are series")
	}
}

// events says how the SLO has been doing, where the data allow it.
func (d *doctor) events(ctx context.Context, s *sheet, o slo.SLO, ps []*part, series float64, groups int) {
	past, name := day, "the last day"
	if series*day.Seconds()/d.Scrape.Seconds() > manySamples {
		past, name = time.Hour, "the last hour"
	}
	sum := func(p *part) (float64, bool) {
		expr := must(query.At(p.text, past))
		if p.expr.Type() == parser.ValueTypeScalar {
			expr = "vector(" + expr + ")"
		}
		op := "sum"
		if p.name == "ratio" {
			op = "avg"
		}
		n, found, ok := d.number(ctx, op+"("+expr+")")
		return n, ok && (found || p.name == "bad")
	}
	split := ""
	if groups > 1 {
		// Sloth's names and the helpers: what one group of an SLO makes.
		const made = 25
		split = fmt.Sprintf(", split into %d parts, about %s series made by rules", groups, words.Count(uint64(made*groups)))
	}
	if ps[0].name == "ratio" {
		if ratio, ok := sum(ps[0]); ok && !math.IsNaN(ratio) {
			s.ok("budget", "%s bad on average over %s%s%s", share(ratio), name, split, d.left(o, ratio))
		}
		return
	}
	part, ok1 := sum(ps[0])
	total, ok2 := sum(ps[1])
	switch {
	case !ok1 || !ok2:
	case !(total > 0):
		s.warn("consistency", promtool(d.url, must(query.At(ps[1].text, past))), "no events in %s%s", name, split)
	default:
		bad := part / total
		if ps[0].name == "good" {
			bad = 1 - bad
		}
		count := total
		if ps[1].perSecond() {
			count *= past.Seconds()
		}
		s.ok("budget", "%s events in %s, %s bad%s%s", words.Number(count, 0), name, share(max(0, bad)), split, d.left(o, bad))
	}
}

// left says what a share of bad events means for a budget, and what is left of
// it where rules tell.
func (d *doctor) left(o slo.SLO, bad float64) string {
	burn := slo.BurnRate(max(0, bad), o.Objective.Target)
	text := fmt.Sprintf("; the budget of %s burns at %s×", o.Objective.Words(), strconv.FormatFloat(roundTo(burn, 2), 'f', -1, 64))
	if left, ok := d.recorded.left[o.ID()]; ok {
		text += fmt.Sprintf(", %s of it is left", share(left))
	}
	return text
}

// perSecond reports whether a part gives events per second.
func (p *part) perSecond() bool {
	return slices.ContainsFunc(p.readings(), func(r reading) bool {
		return r.function == "rate" || r.function == "irate" || r.function == "deriv"
	})
}

// share writes a ratio as percent with three digits.
func share(x float64) string {
	return strconv.FormatFloat(roundTo(x*100, 3), 'f', -1, 64) + "%"
}

// roundTo rounds to significant digits.
func roundTo(x float64, digits int) float64 {
	y, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'g', digits, 64), 64)
	return y
}
