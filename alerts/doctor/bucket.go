package doctor

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn-slo/slowburn/internal/words"
)

// bound is one boundary of a histogram's buckets.
type bound struct {
	text   string // as the label le has it
	value  float64
	series float64
}

// buckets looks at how a histogram's buckets are read: a boundary that does not
// exist matches nothing, and nobody complains.
func (d *doctor) buckets(ctx context.Context, s *sheet, r reading) {
	if !strings.HasSuffix(r.name, "_bucket") {
		return
	}
	les := r.label(labels.BucketLabel)
	if len(les) == 0 {
		if r.function != "" && !r.quantile() && !r.keeps(labels.BucketLabel) {
			base, _, _ := histogram(r.name)
			s.fault("bucket", r.part.with(r.v, rename(base+"_count")),
				"%s: %s without le counts a request once for every bucket it fits; %s_count counts it once", r.part.name, r.name, base)
		}
		return
	}
	v, ok := d.vector(ctx, fmt.Sprintf("count by (le) (%s)", selector(others(r.v.LabelMatchers, labels.BucketLabel))))
	if !ok || len(v) == 0 {
		return
	}
	var bounds []bound
	for _, sample := range v {
		b := bound{text: string(sample.Metric[labels.BucketLabel]), series: float64(sample.Value)}
		var err error
		if b.value, err = strconv.ParseFloat(b.text, 64); err == nil {
			bounds = append(bounds, b)
		}
	}
	slices.SortFunc(bounds, func(a, b bound) int { return cmp.Or(cmp.Compare(a.value, b.value), cmp.Compare(a.text, b.text)) })
	for _, le := range les {
		if le.Type == labels.MatchEqual || le.Type == labels.MatchRegexp {
			d.boundary(s, r, le, bounds)
		}
	}
	d.unit(s, r, bounds)
}

// boundary looks for what a matcher of le wants.
func (d *doctor) boundary(s *sheet, r reading, le *labels.Matcher, bounds []bound) {
	var hit, alike []bound
	wanted := wantedBounds(le)
	for _, b := range bounds {
		switch {
		case le.Matches(b.text):
			hit = append(hit, b)
		case slices.Contains(wanted, b.value):
			alike = append(alike, b)
		}
	}
	distinct := slices.CompactFunc(slices.Clone(hit), func(a, b bound) bool { return a.value == b.value })
	var full float64 // series of the last bucket, which every histogram has
	for _, b := range bounds {
		if math.IsInf(b.value, 1) {
			full += b.series
		}
	}
	var found float64
	for _, b := range hit {
		found += b.series
	}
	switch {
	case len(hit) == 0 && len(alike) > 0:
		s.fault("bucket", r.part.with(r.v, anySpelling(le, alike[0].value)),
			"%s: no bucket of %s has %s, as the server spells it le=%q", r.part.name, r.name, le, alike[0].text)
	case len(hit) == 0:
		d.noBoundary(s, r, le, wanted, bounds)
	case len(distinct) > 1:
		s.fault("bucket", r.part.with(r.v, replace(le, labels.BucketLabel, distinct[len(distinct)-1].text)),
			"%s: %s picks %d buckets of %s, each of which holds the ones below: requests count more than once", r.part.name, le, len(distinct), r.name)
	case len(alike) > 0:
		s.fault("bucket", r.part.with(r.v, anySpelling(le, alike[0].value)),
			"%s: %s misses %s series of %s, which spell it le=%q", r.part.name, le, words.Number(alike[0].series, 0), r.name, alike[0].text)
	case found < full:
		s.warn("bucket", promtool(d.url, fmt.Sprintf("count by (job, instance) (%s)", selector(others(r.v.LabelMatchers, labels.BucketLabel)))),
			"%s: only %s of %s series of %s have a bucket %s: the others' requests are not counted", r.part.name,
			words.Number(found, 0), words.Number(full, 0), r.name, le)
	case le.Type == labels.MatchEqual && d.major() == 2 && !strings.ContainsAny(le.Value, ".e+"):
		s.warn("bucket", r.part.with(r.v, anySpelling(le, hit[0].value)),
			"%s: from Prometheus 3 on the bucket is called le=\"%s.0\", and %s matches nothing", r.part.name, le.Value, le)
	}
}

// wantedBounds returns the numbers that a matcher of le spells out.
func wantedBounds(le *labels.Matcher) []float64 {
	texts := []string{le.Value}
	if le.Type == labels.MatchRegexp {
		texts = le.SetMatches()
		if len(texts) == 0 {
			texts = []string{strings.NewReplacer(`\`, "", "(.0)?", "").Replace(le.Value)}
		}
	}
	var out []float64
	for _, t := range texts {
		if f, err := strconv.ParseFloat(t, 64); err == nil {
			out = append(out, f)
		}
	}
	return out
}

// anySpelling matches a bound however it is written: 1 or 1.0.
func anySpelling(le *labels.Matcher, value float64) func(*parser.VectorSelector) {
	number := strconv.FormatFloat(value, 'f', -1, 64)
	text := strings.ReplaceAll(number, ".", `\.`)
	if !strings.Contains(number, ".") {
		text += `(\.0)?`
	}
	return func(v *parser.VectorSelector) {
		for i, m := range v.LabelMatchers {
			if m == le {
				v.LabelMatchers[i] = labels.MustNewMatcher(labels.MatchRegexp, labels.BucketLabel, text)
			}
		}
	}
}

// noBoundary says which boundaries are nearest to one that does not exist, in
// another unit if that is what was meant.
func (d *doctor) noBoundary(s *sheet, r reading, le *labels.Matcher, wanted []float64, bounds []bound) {
	finite := slices.DeleteFunc(slices.Clone(bounds), func(b bound) bool { return math.IsInf(b.value, 0) || b.value <= 0 })
	if len(wanted) == 0 || len(finite) == 0 {
		s.fault("bucket", promtool(d.url, fmt.Sprintf("count by (le) (%s)", selector(others(r.v.LabelMatchers, labels.BucketLabel)))),
			"%s: no bucket of %s has %s", r.part.name, r.name, le)
		return
	}
	want := wanted[0]
	least, most := finite[0].value, finite[len(finite)-1].value
	spread := fmt.Sprintf("the %d boundaries reach from %s to %s", len(finite), finite[0].text, finite[len(finite)-1].text)
	within := func(x float64) bool { return least <= x && x <= most }
	for _, unit := range []struct {
		factor   float64
		is, them string
	}{{1e-3, "milliseconds", "seconds"}, {1e3, "seconds", "milliseconds"}} {
		if meant := want * unit.factor; !within(want) && within(meant) {
			low, high := around(finite, meant)
			s.fault("unit", choice(r, le, low, high), "%s: no bucket of %s has %s: %s, so %s is in %s where the metric is in %s",
				r.part.name, r.name, le, spread, le, unit.is, unit.them)
			return
		}
	}
	low, high := around(finite, want)
	near := cmp.Or(low, high).text + " is"
	if low.text != "" && high.text != "" && low != high {
		near = low.text + " and " + high.text + " are"
	}
	s.fault("bucket", choice(r, le, low, high), "%s: no bucket of %s has %s, so nothing is counted; %s nearest (%s)",
		r.part.name, r.name, le, near, spread)
}

// around returns the boundaries on both sides of a number; the zero bound where
// there is none.
func around(finite []bound, x float64) (low, high bound) {
	for _, b := range finite {
		if b.value <= x {
			low = b
		}
		if b.value >= x && high.text == "" {
			high = b
		}
	}
	return low, high
}

// choice writes the part with the stricter of two boundaries, and names the
// other.
func choice(r reading, le *labels.Matcher, low, high bound) string {
	best := cmp.Or(low, high)
	line := r.part.with(r.v, replace(le, labels.BucketLabel, best.text))
	if high.text != "" && high != best {
		line += fmt.Sprintf(" # or le=%q", high.text)
	}
	return line
}

// unit looks for a histogram in milliseconds under a name in seconds.
func (d *doctor) unit(s *sheet, r reading, bounds []bound) {
	if !slices.Contains(tokens(r.name), "seconds") {
		return
	}
	// The bounds that OpenTelemetry's SDKs have for milliseconds.
	for _, x := range []float64{5, 250, 2500, 10000} {
		if !slices.ContainsFunc(bounds, func(b bound) bool { return b.value == x }) {
			return
		}
	}
	s.warn("unit", promtool(d.url, meanOf(r)),
		"%s: %s says seconds, but its boundaries (5, 250, … 10000) are those of milliseconds: whoever reads the name sets le a thousand times too low",
		r.part.name, r.name)
}

// meanOf writes the query for the mean of what a histogram measures.
func meanOf(r reading) string {
	base, _, _ := histogram(r.name)
	with := func(part string) string {
		v := parser.VectorSelector{LabelMatchers: others(r.v.LabelMatchers, labels.BucketLabel)}
		rename(base + part)(&v)
		return selector(v.LabelMatchers)
	}
	return fmt.Sprintf("sum(rate(%s[5m])) / sum(rate(%s[5m]))", with("_sum"), with("_count"))
}

// keeps reports whether the aggregations around a selector keep a label.
func (r reading) keeps(label string) bool {
	any := false
	for _, n := range r.path {
		a, ok := n.(*parser.AggregateExpr)
		if !ok {
			continue
		}
		any = true
		if slices.Contains(a.Grouping, label) == a.Without {
			return false
		}
	}
	return any
}
