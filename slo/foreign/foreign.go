// Package foreign holds what the readers of other tools' formats share: packages
// sloth, openslo and pyrra. They turn an SLO of theirs into a flow with PromQL
// objectives, and say what was lost on the way.
//
// Its functions report to the Collector of the value they are given; none may be
// called from several goroutines with the same one.
package foreign

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/query"
	"github.com/slowburn-slo/slowburn/slo/source"
)

var (
	name       = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)
	labelName  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	notInLabel = regexp.MustCompile(`[^a-zA-Z0-9_]`)
	notInSlug  = regexp.MustCompile(`[^a-z0-9_-]`)
	goWindow   = regexp.MustCompile(`\{\{\s*\.window\s*\}\}`)
)

// maxName is how long Sloth lets names of SLOs be.
const maxName = 128

// Name checks the name of a service or an SLO, of which identities are made, and
// returns whether it is one.
func Name(v source.Value, s string) bool {
	const want = "want at most 128 letters, digits, -, _ and . with a letter or digit at both ends"
	if Lacks(v, want) {
		return false
	}
	ok := name.MatchString(s) && len(s) <= maxName
	if !ok {
		v.Fault(source.Quote(s)+" is not a name", want)
	}
	return ok
}

// AlertName returns the name of an alert, empty where v has none, and reports one
// that is blank or of several lines.
func AlertName(v source.Value) string {
	if v.Kind == source.Null {
		return ""
	}
	s, _ := v.Line("want the name of the alert, such as CheckoutFails")
	return s
}

// Description returns a text of any number of lines, or of several the first
// that is not blank.
func Description(texts ...string) string {
	for _, s := range texts {
		if strings.TrimSpace(s) != "" {
			return s
		}
	}
	return ""
}

// Slug returns the name of a flow for a Name: in lower case, with - for what
// a flow's name cannot hold, and cut so that long names stay apart.
func Slug(name string) string {
	const longest = 64
	s := notInSlug.ReplaceAllString(strings.ToLower(name), "-")
	if len(s) > longest {
		h := fnv.New32a()
		h.Write([]byte(name))
		s = fmt.Sprintf("%s-%08x", s[:longest-9], h.Sum32())
	}
	return s
}

// finest is the smallest budget and target: one event in a billion, as in
// slowburn's own language.
const finest = 1e-9

// Target returns percent as a ratio, exactly the float64 that is nearest to it,
// and reports one that leaves no budget or promises nothing.
func Target(v source.Value, percent float64) float64 {
	// Not percent/100: 99.9/100 may miss the float64 that 0.999 is.
	digits := strconv.FormatFloat(percent, 'f', -1, 64)
	ratio, _ := strconv.ParseFloat(digits+"e-2", 64)
	if budgeted(v, ratio, digits+"%", "100") && percent < 1 {
		Warn(v, digits+" is read as "+digits+"%", "want "+strings.TrimSuffix(slo.Percent(percent), "%")+" if that is meant")
	}
	return ratio
}

// Ratio returns a target that is a ratio, and reports one as Target does.
func Ratio(v source.Value, ratio float64) float64 {
	budgeted(v, ratio, strconv.FormatFloat(ratio, 'f', -1, 64), "1")
	return ratio
}

// budgeted reports a target that cannot be, and whether it can. all is how its
// format writes all events.
func budgeted(v source.Value, ratio float64, text, all string) bool {
	switch {
	case ratio == 1:
		v.Fault(text+" leaves no error budget", "want less than "+all)
	case ratio > 1:
		v.Fault(text+" is more than all events", "want less than "+all)
	case ratio <= 0:
		v.Fault(text+" promises nothing", "want more than 0")
	case ratio < finest || slo.Budget(ratio) < finest:
		v.Fault(text+" is finer than one event in a billion", "want one that can be measured")
	default:
		return true
	}
	return false
}

// The rolling windows an SLO may have, as in slowburn's own language.
const (
	minWindow = time.Hour
	maxWindow = 400 * 24 * time.Hour
)

// Window reports a period that an SLO cannot have.
func Window(v source.Value, d time.Duration) {
	switch {
	case d < minWindow:
		v.Fault(slo.Duration(d)+" is shorter than the window of the fastest alert", "want at least 1h")
	case d > maxWindow:
		v.Fault(slo.Duration(d)+" is more than a year and a month", "want at most 400d")
	case d%Slot != 0:
		v.Fault(slo.Duration(d)+" is not a multiple of "+slo.Duration(Slot), "want one such as 30d")
	}
}

// Slot is the finest time the ledger tells apart.
const Slot = 10 * time.Second

// MaxQuery bounds a query, in bytes: the parser's memory grows with how deep its
// brackets lie in one another.
const MaxQuery = 16 << 10

// Expr is PromQL over the range $window.
type Expr struct {
	Text string

	uncounted string // why no count of events can be told of it
}

// Query returns a query with $window for its range, and reports one that
// Prometheus does not parse or that has no such range.
func Query(v source.Value, text string) Expr {
	const want = "want PromQL over a range, such as sum(rate(http_requests_total[$window]))"
	if Lacks(v, want) {
		return Expr{}
	}
	text = strings.TrimSpace(goWindow.ReplaceAllLiteralString(text, slo.QueryWindow))
	if len(text) > MaxQuery {
		v.Fault("is longer than 16 KiB", "want a recorded series instead")
		return Expr{}
	}
	_, err := query.PerMinute(text, query.DefaultScrape)
	if err == nil {
		return Expr{Text: text}
	}
	if fault := query.Check(text); fault != nil {
		fact, instead, told := strings.Cut(oneLine(fault.Error()), "; want ")
		if told {
			v.Fault(fact, "want "+instead)
		} else {
			v.Fault("is not PromQL: "+source.Brief(fact), want)
		}
		return Expr{}
	}
	fact, _, _ := strings.Cut(oneLine(err.Error()), "; want ")
	return Expr{text, fact}
}

// Bad returns the SLI of which one expression counts the bad events and the
// other all. If no count can be told of them they make a ratio, and a warning
// at the place of v.
func Bad(v source.Value, bad, total Expr) slo.Query {
	if ratio, ok := uncounted(v, bad, total); ok {
		return slo.Query{Ratio: ratio}
	}
	return slo.Query{Bad: bad.Text, Total: total.Text}
}

// Good is Bad for an expression that counts the good events.
func Good(v source.Value, good, total Expr) slo.Query {
	if ratio, ok := uncounted(v, good, total); ok {
		return slo.Query{Ratio: "1 - " + ratio}
	}
	return slo.Query{Good: good.Text, Total: total.Text}
}

func uncounted(v source.Value, part, total Expr) (ratio string, ok bool) {
	why := cmp.Or(part.uncounted, total.uncounted)
	if why == "" {
		return "", false
	}
	Warn(v, "counts no events: "+why, "want rate or increase of counters; its ratio is used, and time counts instead of events")
	if strings.Contains(part.Text+total.Text, "#") { // a comment ends with its line
		return "(" + part.Text + "\n) / (" + total.Text + "\n)", true
	}
	return "(" + part.Text + ") / (" + total.Text + ")", true
}

// Objective completes a PromQL objective that has its target, window, slices
// and query: with the least number of bad events that alerts and the default
// tiers, those of the severities that are wanted.
func Objective(o slo.Objective, page, ticket bool) slo.Objective {
	o.Kind, o.MinEvents = slo.PromQL, slo.DefaultMinEvents
	if o.Query.Ratio != "" || o.Slice > 0 {
		o.MinEvents = 1
	}
	for _, t := range slo.Tiers(o.Target, o.Window) {
		if t.Severity == slo.Page && page || t.Severity == slo.Ticket && ticket {
			o.Tiers = append(o.Tiers, t)
		}
	}
	return o
}

// Labels returns the labels of a flow, whose places are below v. Characters that
// no label of Prometheus has become _, with a warning; labels that slowburn sets
// and values that are empty or of several lines are reported.
func Labels(v source.Value, labels map[string]string) map[string]string {
	return named(v, labels, checkLabel)
}

// AlertLabels returns labels of alerts, whose values are templates, as Labels
// does those of a flow.
func AlertLabels(v source.Value, labels map[string]string) map[string]string {
	return named(v, labels, func(at source.Value, key source.Field, name, value string) {
		checkLabel(at, key, name, value)
		Template(at, value)
	})
}

// Annotations returns annotations of alerts, whose values are templates of any
// number of lines.
func Annotations(v source.Value, annotations map[string]string) map[string]string {
	return named(v, annotations, func(at source.Value, _ source.Field, _, value string) { Template(at, value) })
}

func checkLabel(at source.Value, key source.Field, name, value string) {
	switch {
	case reserved(name):
		at.FaultAt(key.Pos, at.Path, "this label is set by slowburn", "want another name")
	case strings.ContainsFunc(value, unicode.IsControl):
		at.Fault(source.Quote(value)+" holds a line break or another control character", "want a text of one line")
	}
}

// Template reports a text that is not a template as Prometheus expands
// them in the labels and annotations of alerts.
func Template(at source.Value, text string) {
	if !strings.Contains(text, "{{") {
		return
	}
	// What Prometheus puts before each, so that $labels and $value are known.
	const known = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"
	data := template.AlertTemplateData(nil, nil, "", promql.Sample{})
	err := template.NewTemplateExpander(context.Background(), known+text, "text", data, 0, nil, nil, nil).ParseTest()
	if err != nil {
		at.Fault("is not a template of Prometheus: "+source.Brief(oneLine(strings.TrimPrefix(err.Error(), "template: text:"))),
			"want one such as {{ $value }}, or {{ $labels.sloth_slo }}")
	}
}

func named(v source.Value, pairs map[string]string, check func(at source.Value, key source.Field, name, value string)) map[string]string {
	if len(pairs) == 0 {
		return nil
	}
	out := make(map[string]string, len(pairs))
	for _, f := range v.Fields { // in the file's order
		value, ok := pairs[f.Key]
		if !ok {
			continue
		}
		at, name := At(v, f.Key), f.Key
		if !labelName.MatchString(name) {
			name = notInLabel.ReplaceAllString(name, "_")
			if name == "" || name[0] >= '0' && name[0] <= '9' {
				name = "_" + name
			}
			warnAt(at, f.Pos, "is not the name of a label in Prometheus", "want "+name+", which it becomes")
		}
		if _, twice := out[name]; twice {
			at.FaultAt(f.Pos, at.Path, "becomes "+name+", which is here already", "want another name")
		}
		switch {
		case Lacks(at, "want a text"):
		case strings.TrimSpace(value) == "":
			at.Refuse("want a text")
		default:
			check(at, f, name, value)
		}
		out[name] = value
	}
	return out
}

// Plain reports whether a label can be on alerts as it stands: its name is one of
// Prometheus' that slowburn does not set, and its value is no template and of
// one line.
func Plain(name, value string) bool {
	return labelName.MatchString(name) && !reserved(name) && strings.TrimSpace(value) != "" &&
		!strings.Contains(value, "{{") && !strings.ContainsFunc(value, unicode.IsControl)
}

// reserved reports whether slowburn sets the label itself.
func reserved(label string) bool {
	return label == "alertname" || strings.HasPrefix(label, "__") ||
		strings.HasPrefix(label, "sloth_") || strings.HasPrefix(label, "slowburn_")
}

// Merge returns the labels of both; those of the second win.
func Merge(a, b map[string]string) map[string]string {
	if len(a) == 0 {
		return b
	}
	out := make(map[string]string, len(a)+len(b))
	for _, m := range []map[string]string{a, b} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// Warn reports what is legal but wrong, or lost on the way.
func Warn(v source.Value, fact, want string) { warnAt(v, v.Pos, fact, want) }

func warnAt(v source.Value, pos slo.Pos, fact, want string) {
	v.Faults.Warn(source.Fault{Pos: pos, Path: v.Path, Fact: fact, Want: want})
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}
