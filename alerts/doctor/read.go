package doctor

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn-slo/slowburn/slo"
)

// part is one expression of an SLI, or that of a loaded rule.
type part struct {
	name string // bad, good, total, ratio, or what the rule is called
	key  string // under which a fix writes the expression
	text string
	expr parser.Expr // $window stands in it as the range window
}

// window stands for $window while an expression is looked through: a range
// nobody writes.
const window = 7_919_001 * time.Millisecond

// dialect reads what any Prometheus may have loaded.
var dialect = parser.NewParser(parser.Options{
	EnableExperimentalFunctions: true, ExperimentalDurationExpr: true,
	EnableExtendedRangeSelectors: true, EnableBinopFillModifiers: true,
})

func newPart(name, key, text string) (*part, error) {
	expr, err := dialect.ParseExpr(strings.ReplaceAll(text, slo.QueryWindow, model.Duration(window).String()))
	if err != nil {
		return nil, err
	}
	return &part{name: name, key: key, text: text, expr: expr}, nil
}

// parts returns the expressions of an objective.
func parts(q slo.Query) (out []*part, err error) {
	for _, p := range []struct{ name, text string }{{"bad", q.Bad}, {"good", q.Good}, {"total", q.Total}, {"ratio", q.Ratio}} {
		if p.text == "" {
			continue
		}
		part, err := newPart(p.name, p.name, p.text)
		if err != nil {
			return nil, err
		}
		out = append(out, part)
	}
	return out, nil
}

// line writes an expression as a line of YAML.
func (p *part) line(expr string) string {
	expr = strings.ReplaceAll(expr, model.Duration(window).String(), slo.QueryWindow)
	return p.key + ": '" + strings.ReplaceAll(expr, "'", "''") + "'"
}

// with writes the part with one of its selectors changed.
func (p *part) with(v *parser.VectorSelector, change func(*parser.VectorSelector)) string {
	was := *v
	v.LabelMatchers = slices.Clone(v.LabelMatchers)
	change(v)
	out := p.line(p.expr.String())
	*v = was
	return out
}

// rename gives a selector another metric.
func rename(name string) func(*parser.VectorSelector) {
	return func(v *parser.VectorSelector) {
		v.Name = name
		v.LabelMatchers = append(others(v.LabelMatchers, model.MetricNameLabel), called(name)...)
	}
}

// replace puts a matcher in the place of another.
func replace(old *labels.Matcher, label, value string) func(*parser.VectorSelector) {
	return func(v *parser.VectorSelector) {
		for i, m := range v.LabelMatchers {
			if m != old {
				continue
			}
			typ := m.Type
			if value != m.Value {
				typ = labels.MatchEqual
			}
			if n, err := labels.NewMatcher(typ, label, value); err == nil {
				v.LabelMatchers[i] = n
			}
		}
	}
}

// reading is one selector of a part.
type reading struct {
	*part
	v    *parser.VectorSelector
	path []parser.Node // around it, outermost first
	name string        // the metric; empty where it is not spelled out

	// known are the metrics that the SLI reads, this one among them.
	known []string

	// function is the one that reads the selector's range; empty without one.
	function string
}

// readings returns the selectors of a part.
func (p *part) readings() []reading {
	var out []reading
	parser.Inspect(p.expr, func(n parser.Node, path []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		r := reading{part: p, v: v, path: slices.Clone(path)}
		for _, m := range v.LabelMatchers {
			if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
				r.name = m.Value
			}
		}
		if i := len(path) - 1; i > 0 {
			_, ranged := path[i].(*parser.MatrixSelector)
			if call, ok := path[i-1].(*parser.Call); ok && ranged {
				r.function = call.Func.Name
			}
		}
		out = append(out, r)
		return nil
	})
	return out
}

// mayBeEmpty reports whether the selector counts what is bad: a service that
// never failed has no series of its failures.
func (r reading) mayBeEmpty() bool {
	if r.part.name == "bad" {
		return true
	}
	for i, n := range r.path {
		b, ok := n.(*parser.BinaryExpr)
		if !ok || r.part.name == "good" {
			continue
		}
		inner := parser.Node(r.v)
		if i+1 < len(r.path) {
			inner = r.path[i+1]
		}
		// The counter of a ratio, or what has a value to fall back to.
		if (b.Op == parser.DIV || b.Op == parser.LOR) && inner == parser.Node(b.LHS) {
			return true
		}
	}
	return false
}

// quantile reports whether the buckets are read by a function made for them.
func (r reading) quantile() bool {
	return slices.ContainsFunc(r.path, func(n parser.Node) bool {
		call, ok := n.(*parser.Call)
		return ok && strings.HasPrefix(call.Func.Name, "histogram_")
	})
}

// label returns the matchers of a label.
func (r reading) label(name string) []*labels.Matcher {
	var out []*labels.Matcher
	for _, m := range r.v.LabelMatchers {
		if m.Name == name {
			out = append(out, m)
		}
	}
	return out
}

// selector returns what is selected, without offset.
func (r reading) selector() string { return selector(r.v.LabelMatchers) }

// selector writes matchers as an instant selector, the metric in front where it
// may stand there.
func selector(matchers []*labels.Matcher) string {
	v := parser.VectorSelector{LabelMatchers: matchers}
	for _, m := range matchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual && model.LegacyValidation.IsValidMetricName(m.Value) {
			v.Name = m.Value
		}
	}
	return v.String()
}

// others returns the matchers of all labels but one.
func others(matchers []*labels.Matcher, label string) []*labels.Matcher {
	var out []*labels.Matcher
	for _, m := range matchers {
		if m.Name != label {
			out = append(out, m)
		}
	}
	return out
}

// outermost returns the aggregation that makes a part's series; nil without
// one.
func outermost(e parser.Expr) *parser.AggregateExpr {
	for {
		switch n := e.(type) {
		case *parser.ParenExpr:
			e = n.Expr
		case *parser.BinaryExpr:
			// A number on one side leaves the series of the other.
			if n.RHS.Type() == parser.ValueTypeScalar {
				e = n.LHS
			} else if n.LHS.Type() == parser.ValueTypeScalar {
				e = n.RHS
			} else if n.Op == parser.LOR {
				e = n.LHS
			} else {
				return nil
			}
		case *parser.AggregateExpr:
			return n
		default:
			return nil
		}
	}
}
