package doctor

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// exists looks for the series of a selector, bounds of buckets aside, and
// returns how many there are. It says which part of the selector finds none and
// what comes nearest. ok is false where the server did not answer.
func (d *doctor) exists(ctx context.Context, s *sheet, r reading) (series float64, ok bool) {
	matchers := others(r.v.LabelMatchers, labels.BucketLabel)
	v, ok := d.vector(ctx, fmt.Sprintf("count by (job) (%s)", selector(matchers)))
	if !ok {
		return 0, false
	}
	for _, sample := range v {
		series += float64(sample.Value)
		d.reads(string(sample.Metric["job"]), s, r)
	}
	if series > 0 {
		return series, true
	}
	if r.name == "" {
		s.fault("metric", listMetrics(d.url, longest(r.selector())), "%s: no series fits %s", r.part.name, r.selector())
		return 0, true
	}
	named := called(r.name)
	n, ok := d.series(ctx, named)
	switch {
	case !ok:
	case n == 0:
		d.noMetric(ctx, s, r)
	default:
		for _, m := range matchers {
			if m.Name == model.MetricNameLabel {
				continue
			}
			if n, ok := d.series(ctx, []*labels.Matcher{named[0], m}); ok && n == 0 {
				d.noValue(ctx, s, r, m, named)
				return 0, true
			}
		}
		// Each matcher finds series, all together find none: name one without
		// which there are some.
		for _, m := range ownersLast(matchers) {
			rest := slices.DeleteFunc(slices.Clone(matchers), func(o *labels.Matcher) bool { return o == m })
			if n, ok := d.series(ctx, rest); m.Name != model.MetricNameLabel && ok && n > 0 {
				d.noValue(ctx, s, r, m, rest)
				return 0, true
			}
		}
		s.fault("value", promtool(d.url, "count by ("+strings.Join(labelsOf(matchers), ", ")+") ("+selector(named)+")"),
			"%s: no series of %s fits all of %s, though some fit each", r.part.name, r.name, selector(matchers))
	}
	return 0, true
}

// called returns the matchers of all series of a metric.
func called(metric string) []*labels.Matcher {
	return []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, metric)}
}

// series counts the series of a selector.
func (s *server) series(ctx context.Context, matchers []*labels.Matcher) (n float64, ok bool) {
	n, _, ok = s.number(ctx, fmt.Sprintf("count(%s)", selector(matchers)))
	return n, ok
}

// noMetric says that a metric has no samples now. One that counts what is bad
// may be born with the first failure.
func (d *doctor) noMetric(ctx context.Context, s *sheet, r reading) {
	severity, unless := Fault, ""
	if r.mayBeEmpty() {
		severity, unless = Warning, ", which is right if nothing has failed so far"
	}
	last, found, ok := d.number(ctx, fmt.Sprintf("max(max_over_time(timestamp(%s)[1d:5m]))", selector(called(r.name))))
	if !ok {
		return
	}
	if found {
		for job := range d.byLabel(ctx, "job", fmt.Sprintf("count by (job) (last_over_time(%s[1d]))", selector(others(r.v.LabelMatchers, labels.BucketLabel)))) {
			d.reads(job, s, r)
		}
		at := time.Unix(int64(last), 0).UTC()
		s.add(severity, "metric", promtool(d.url, fmt.Sprintf("count by (job, instance) (last_over_time(%s[1d]))", selector(called(r.name)))),
			"%s: %s has had no sample for %s, since %s%s", r.part.name, r.name, words.Span(d.now.Sub(at)), clock(at), unless)
		return
	}
	names := d.labelValues(ctx, model.MetricNameLabel, "")
	// A native histogram has no series of its own for count, sum and buckets.
	if base, part, ok := histogram(r.name); ok && slices.Contains(names, base) {
		s.fault("metric", native(r, base, part), "%s: there is no metric %s, but %s, a native histogram", r.part.name, r.name, base)
		return
	}
	near := slices.DeleteFunc(nearMetrics(r.name, names), func(n string) bool { return severity == Warning && slices.Contains(r.known, n) })
	if near := d.alive(ctx, near); near != "" {
		if _, slip := source.Nearest(r.name, []string{near}); slip {
			severity, unless = Fault, ""
		}
		s.add(severity, "metric", r.part.with(r.v, translate(r.name, near)), "%s: there is no metric %s%s; %s comes nearest", r.part.name, r.name, unless, near)
		return
	}
	s.add(severity, "metric", listMetrics(d.url, longest(r.name)), "%s: there is no metric %s, nor one with a name like it (of %s)%s",
		r.part.name, r.name, words.Count(uint64(len(names))), unless)
}

// native writes the part for a native histogram, of which the series of a
// classic one were asked.
func native(r reading, base, part string) string {
	v := parser.VectorSelector{LabelMatchers: others(r.v.LabelMatchers, labels.BucketLabel)}
	rename(base)(&v)
	all := "sum(rate(" + selector(v.LabelMatchers) + "[$window]))"
	expr := "histogram" + part + "(" + all + ")"
	if part == "_bucket" {
		bound := "0.3"
		for _, le := range r.label(labels.BucketLabel) {
			bound = le.Value
		}
		expr = fmt.Sprintf("histogram_fraction(0, %s, %s) * histogram_count(%s)", bound, all, all)
	}
	return r.part.line(expr)
}

// histogram splits the name of a classic histogram's series.
func histogram(name string) (base, part string, ok bool) {
	for _, part := range []string{"_bucket", "_count", "_sum"} {
		if base, ok := strings.CutSuffix(name, part); ok {
			return base, part, true
		}
	}
	return name, "", false
}

// newLabels are the labels of HTTP metrics that OpenTelemetry's conventions
// renamed, each with its new name.
var newLabels = map[string]string{
	"http_method":      "http_request_method",
	"http_status_code": "http_response_status_code",
	"http_scheme":      "url_scheme",
	"net_host_name":    "server_address",
	"net_host_port":    "server_port",
}

// translate gives a selector another metric, with the bound in its unit and the
// labels of its generation.
func translate(old, name string) func(*parser.VectorSelector) {
	factor := 1.0
	switch ms := "milliseconds"; {
	case slices.Contains(tokens(old), ms) && slices.Contains(tokens(name), "seconds"):
		factor = 1e-3
	case slices.Contains(tokens(old), "seconds") && slices.Contains(tokens(name), ms):
		factor = 1e3
	}
	renamed := isOld.MatchString(old) && isNew.MatchString(name)
	return func(v *parser.VectorSelector) {
		rename(name)(v)
		for i, m := range v.LabelMatchers {
			label, value := m.Name, m.Value
			if n, ok := newLabels[label]; ok && renamed {
				label = n
			}
			if bound, err := strconv.ParseFloat(value, 64); label == labels.BucketLabel && err == nil {
				value = strconv.FormatFloat(bound*factor, 'g', 12, 64)
			}
			if n, err := labels.NewMatcher(m.Type, label, value); err == nil {
				v.LabelMatchers[i] = n
			}
		}
	}
}

// owners are the labels that say whose metrics are read.
var owners = []string{"job", "service", "service_name", "namespace", "cluster", "app"}

// ownersLast returns matchers in the order in which they are likely to be
// wrong.
func ownersLast(matchers []*labels.Matcher) []*labels.Matcher {
	out := slices.Clone(matchers)
	slices.SortStableFunc(out, func(a, b *labels.Matcher) int {
		return slices.Index(owners, a.Name) - slices.Index(owners, b.Name)
	})
	return out
}

// alive returns the first of a few metrics that has samples now.
func (d *doctor) alive(ctx context.Context, names []string) string {
	for _, name := range names[:min(3, len(names))] {
		if n, ok := d.series(ctx, called(name)); ok && n > 0 {
			return name
		}
	}
	return ""
}

// noValue says that a matcher finds nothing among the series of a metric that
// fit the rest of a selector.
func (d *doctor) noValue(ctx context.Context, s *sheet, r reading, m *labels.Matcher, rest []*labels.Matcher) {
	among := selector(rest)
	values := slices.DeleteFunc(d.labelValues(ctx, m.Name, among), func(v string) bool { return v == "" })
	if len(values) == 0 {
		names := d.labelNames(ctx, among)
		if name := d.nearLabel(ctx, m, among, names); name != "" {
			s.fault("label", r.part.with(r.v, replace(m, name, m.Value)), "%s: no series of %s has a label %s; %s is there, with %s",
				r.part.name, among, m.Name, name, list(d.labelValues(ctx, name, among)))
			return
		}
		s.fault("label", promtool(d.url, "topk(1, "+among+")"), "%s: no series of %s has a label %s; there are %s",
			r.part.name, among, m.Name, list(names))
		return
	}
	severity := Fault
	if r.mayBeEmpty() {
		if codes(values) && fitsErrors(m) {
			s.ok("value", "%s: nothing has failed so far: %s has %s of %s", r.part.name, among, m.Name, list(values))
			return
		}
		severity = Warning
	}
	near := nearValue(m, values)
	fix := promtool(d.url, fmt.Sprintf("count by (%s) (%s)", m.Name, among))
	if near != "" {
		fix = r.part.with(r.v, replace(m, m.Name, near))
	}
	unless := ""
	if severity == Warning {
		unless = ", which is right if nothing has failed so far"
	}
	anchored := ""
	if m.Type == labels.MatchRegexp && near != "" {
		anchored = "; an expression has to fit the whole of a value"
	}
	s.add(severity, "value", fix, "%s: no series of %s has %s%s; there are %s%s", r.part.name, among, m, unless, list(values), anchored)
}

// nearLabel returns the label that was meant by a matcher: one that has a value
// the matcher fits, else one that is spelled alike.
func (d *doctor) nearLabel(ctx context.Context, m *labels.Matcher, among string, names []string) string {
	near, _ := source.Nearest(m.Name, names)
	if m.Type == labels.MatchEqual || m.Type == labels.MatchRegexp {
		const most = 20 // a metric with more is not looked through
		candidates := slices.DeleteFunc(slices.Clone(names[:min(most, len(names))]), func(n string) bool {
			return n == "le" || n == "instance" || n == "job"
		})
		slices.SortStableFunc(candidates, func(a, b string) int { return likeness(m.Name, b) - likeness(m.Name, a) })
		for _, n := range candidates {
			if slices.ContainsFunc(d.labelValues(ctx, n, among), func(v string) bool { return v != "" && m.Matches(v) }) {
				return n
			}
		}
	}
	return near
}

// likeness counts the words that two names share.
func likeness(a, b string) int {
	n := 0
	for _, w := range tokens(a) {
		if slices.Contains(tokens(b), w) {
			n++
		}
	}
	return n
}

// nearValue returns the value that was meant by a matcher, or nothing.
func nearValue(m *labels.Matcher, values []string) string {
	if m.Type == labels.MatchRegexp {
		loose, err := regexp.Compile("(?i)" + m.Value)
		if err != nil {
			return ""
		}
		for _, v := range values {
			if loose.MatchString(v) {
				return v
			}
		}
		return ""
	}
	for _, v := range values {
		if strings.EqualFold(v, m.Value) {
			return v
		}
	}
	near, _ := source.Nearest(m.Value, values)
	return near
}

var code = regexp.MustCompile(`^[1-5][0-9][0-9]$`)

// codes reports whether all values are HTTP status codes.
func codes(values []string) bool {
	return !slices.ContainsFunc(values, func(v string) bool { return !code.MatchString(v) })
}

// fitsErrors reports whether a matcher picks HTTP status codes of failures.
func fitsErrors(m *labels.Matcher) bool {
	return slices.ContainsFunc([]string{"500", "502", "503", "504", "400", "404", "429"}, m.Matches)
}

// nearMetrics returns the metrics whose names are like one, nearest first: a
// slip of the pen, or the same words with others added, left out or replaced,
// such as those of another generation of conventions.
func nearMetrics(name string, names []string) []string {
	type scored struct {
		name  string
		score float64
	}
	var out []scored
	if near, ok := source.Nearest(name, names); ok {
		out = append(out, scored{near, 2})
	}
	want := tokens(name)
	_, part, _ := histogram(name)
	for _, n := range names {
		have := tokens(n)
		shared := float64(likeness(name, n))
		score := shared / (float64(len(want)+len(have)) - shared)
		if _, p, _ := histogram(n); score >= 0.5 && p == part {
			out = append(out, scored{n, score})
		}
	}
	slices.SortStableFunc(out, func(a, b scored) int {
		if a.score > b.score {
			return -1
		}
		if a.score < b.score {
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	var best []string
	for _, s := range out {
		best = append(best, s.name)
	}
	return best
}

// tokens returns the words of a name.
func tokens(name string) []string {
	return strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '_' || r == ':' || r == '.' })
}

// longest returns the longest word of a name, to search by.
func longest(name string) string {
	best := ""
	for _, w := range regexp.MustCompile(`[A-Za-z]+`).FindAllString(name, -1) {
		if len(w) > len(best) {
			best = w
		}
	}
	return best
}

func labelsOf(matchers []*labels.Matcher) []string {
	var out []string
	for _, m := range matchers {
		if m.Name != model.MetricNameLabel {
			out = append(out, m.Name)
		}
	}
	return out
}

// list writes some of many words.
func list(all []string) string {
	const few = 8
	if len(all) == 0 {
		return "none"
	}
	out := make([]string, 0, few)
	for _, s := range all[:min(few, len(all))] {
		out = append(out, source.Brief(s))
	}
	text := strings.Join(out, ", ")
	if more := len(all) - few; more > 0 {
		text += fmt.Sprintf(" and %s more", words.Count(uint64(more)))
	}
	return text
}

// clock writes a time for people.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// metadata is what targets say of their metrics' types.
func (d *doctor) loadMetadata(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	d.count()
	meta, err := d.api.Metadata(ctx, "", "")
	if err != nil && !absent(err) {
		d.fail("the metrics' metadata", plain(err))
	}
	d.types = map[string]v1.MetricType{}
	for name, entries := range meta {
		for i, e := range entries {
			if i > 0 && d.types[name] != e.Type {
				e.Type = v1.MetricTypeUnknown // targets disagree
			}
			d.types[name] = e.Type
		}
	}
}

// counts looks at how counters are read.
func (d *doctor) counts(ctx context.Context, s *sheet, r reading) {
	if r.name == "" || r.function == "" {
		return
	}
	base, suffix, _ := histogram(r.name)
	kind, known := d.types[r.name]
	if !known {
		kind = d.types[base]
	}
	grows := r.function == "rate" || r.function == "irate" || r.function == "increase"
	switch {
	case grows && kind == v1.MetricTypeGauge:
		fix := promtool(d.url, "topk(3, "+r.selector()+")")
		for _, n := range nearMetrics(strings.TrimSuffix(r.name, "_total")+"_total", d.labelValues(ctx, model.MetricNameLabel, "")) {
			if d.types[n] == v1.MetricTypeCounter {
				fix = r.part.with(r.v, rename(n))
				break
			}
		}
		s.fault("counter", fix, "%s: %s(%s) counts nothing: its targets say it is a gauge, whose every fall looks like a restart",
			r.part.name, r.function, r.name)
		return
	case grows && suffix == "_sum" && (kind == v1.MetricTypeHistogram || kind == v1.MetricTypeSummary):
		s.warn("counter", r.part.with(r.v, rename(base+"_count")), "%s: %s adds up what was measured; %s_count counts events", r.part.name, r.name, base)
	case (r.function == "sum_over_time" || r.function == "count_over_time") && (kind == v1.MetricTypeCounter || kind == v1.MetricTypeHistogram):
		s.fault("counter", strings.ReplaceAll(r.part.line(r.part.expr.String()), r.function+"(", "increase("),
			"%s: %s(%s) counts scrapes, not events: it is a counter", r.part.name, r.function, r.name)
		return
	}
	if !grows {
		return
	}
	// Six restarts an hour are one every ten minutes: more than any deployment.
	const often = 6
	n, found, ok := d.number(ctx, fmt.Sprintf("max(resets(%s[1h]))", r.selector()))
	if ok && found && n >= often {
		s.fault("counter", promtool(d.url, fmt.Sprintf("topk(3, resets(%s[1h]))", r.selector())),
			"%s: %s falls back %s times in the last hour: it is a gauge, or several processes answer under one instance", r.part.name, r.name, words.Number(n, 0))
	}
}

// shell puts a text into quotes for a shell.
func shell(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// promtool writes the command that asks a query.
func promtool(url, expr string) string {
	return "promtool query instant " + shell(url) + " " + shell(expr)
}

// listMetrics writes the command that lists the metrics with a word.
func listMetrics(url, word string) string {
	return fmt.Sprintf("curl -s %s | tr , '\\n' | grep -i %s", shell(url+"/api/v1/label/__name__/values"), shell(word))
}
