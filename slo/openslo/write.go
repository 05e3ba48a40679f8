package openslo

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	v1 "github.com/OpenSLO/oslo/pkg/manifest/v1"
	"go.yaml.in/yaml/v3"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// Write returns an OpenSLO v1 document for each SLO, and what OpenSLO cannot
// say of it, in words that begin with the SLO's id.
//
// What slowburn counts itself is written as a ratio of its own counters, which
// hold slices of time where the SLO promises those. Read back, an SLO has the
// same id, target and period.
func Write(flows []slo.Flow) (data []byte, lost []string, err error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	for _, s := range slo.All(flows) {
		w := writer{slo: s}
		if err := enc.Encode(w.document()); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", s.ID(), err)
		}
		for _, what := range w.lost {
			lost = append(lost, s.ID()+": "+what)
		}
	}
	if err := enc.Close(); err != nil {
		return nil, nil, err
	}
	return b.Bytes(), lost, nil
}

// The shapes below are those of the specification, in its order and without the
// empty parts that the official types write.

type outSLO struct {
	APIVersion string  `yaml:"apiVersion"`
	Kind       string  `yaml:"kind"`
	Metadata   outMeta `yaml:"metadata"`
	Spec       outSpec `yaml:"spec"`
}

type outMeta struct {
	Name   string                `yaml:"name"`
	Labels map[string]*yaml.Node `yaml:"labels,omitempty"`
}

type outSpec struct {
	Description     *yaml.Node     `yaml:"description,omitempty"`
	Service         string         `yaml:"service"`
	Indicator       outIndicator   `yaml:"indicator"`
	TimeWindow      []outWindow    `yaml:"timeWindow"`
	BudgetingMethod string         `yaml:"budgetingMethod"`
	Objectives      []outObjective `yaml:"objectives"`
}

type outIndicator struct {
	Metadata outMeta `yaml:"metadata"`
	Spec     struct {
		RatioMetric outRatio `yaml:"ratioMetric"`
	} `yaml:"spec"`
}

type outRatio struct {
	Counter bool       `yaml:"counter"`
	Good    *outSource `yaml:"good,omitempty"`
	Bad     *outSource `yaml:"bad,omitempty"`
	Total   *outSource `yaml:"total,omitempty"`
	RawType string     `yaml:"rawType,omitempty"`
	Raw     *outSource `yaml:"raw,omitempty"`
}

type outSource struct {
	MetricSource struct {
		Type string `yaml:"type"`
		Spec struct {
			Query *yaml.Node `yaml:"query"`
		} `yaml:"spec"`
	} `yaml:"metricSource"`
}

type outWindow struct {
	Duration  string       `yaml:"duration"`
	IsRolling bool         `yaml:"isRolling"`
	Calendar  *outCalendar `yaml:"calendar,omitempty"`
}

type outCalendar struct {
	StartTime *yaml.Node `yaml:"startTime"`
	TimeZone  string     `yaml:"timeZone"`
}

type outObjective struct {
	DisplayName     string     `yaml:"displayName"`
	Target          *yaml.Node `yaml:"target"`
	TimeSliceTarget *yaml.Node `yaml:"timeSliceTarget,omitempty"`
	TimeSliceWindow string     `yaml:"timeSliceWindow,omitempty"`
}

// writer writes one SLO and gathers what is lost of it.
type writer struct {
	slo  slo.SLO
	lost []string
}

func (w *writer) lose(format string, args ...any) {
	w.lost = append(w.lost, fmt.Sprintf(format, args...))
}

func (w *writer) document() outSLO {
	s := w.slo
	doc := outSLO{APIVersion: APIVersion, Kind: v1.KindSLO, Metadata: outMeta{Name: s.Name()}}
	for _, name := range []string{s.Name(), s.Flow.Service} {
		if !dnsLabel.MatchString(name) {
			w.lose("not every tool takes the name %q: OpenSLO promises up to 63 lower-case letters, digits and -", name)
		}
	}
	if len(s.Flow.Labels) > 0 {
		doc.Metadata.Labels = make(map[string]*yaml.Node, len(s.Flow.Labels))
		for k, v := range s.Flow.Labels {
			doc.Metadata.Labels[k] = text(v)
		}
	}
	doc.Spec = outSpec{Service: s.Flow.Service, TimeWindow: []outWindow{w.window()}}
	if s.Flow.Description != "" {
		doc.Spec.Description = text(s.Flow.Description)
	}
	doc.Spec.Indicator.Metadata.Name = s.Name()
	doc.Spec.Indicator.Spec.RatioMetric = w.ratio()
	w.objective(&doc.Spec)
	w.rest()
	return doc
}

// dnsLabel is a name that every implementation of OpenSLO takes.
var dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func (w *writer) ratio() outRatio {
	o := w.slo.Objective
	if o.Kind != slo.PromQL {
		w.lose("match: and bad_when: are left out: the queries read the counters that slowburn writes")
		of := fmt.Sprintf("{%s=%q}", series.ID, w.slo.ID())
		return outRatio{Counter: true, Bad: ask(series.Errors + of), Total: ask(series.Events + of)}
	}
	w.lose("$window in its queries is slowburn's: other tools want their own range there")
	if o.Query.Ratio != "" {
		w.lose("its ratio is written as raw:, which the specification has and the official Go types lack")
		return outRatio{RawType: "failure", Raw: ask(o.Query.Ratio)}
	}
	out := outRatio{Total: ask(o.Query.Total)}
	if o.Query.Bad != "" {
		out.Bad = ask(o.Query.Bad)
	} else {
		out.Good = ask(o.Query.Good)
	}
	return out
}

func ask(query string) *outSource {
	var s outSource
	s.MetricSource.Type = "Prometheus"
	s.MetricSource.Spec.Query = text(query)
	return &s
}

func (w *writer) window() outWindow {
	o := w.slo.Objective
	if o.Calendar.Unit == slo.Rolling {
		return outWindow{Duration: w.span(o.Window), IsRolling: true}
	}
	zone := "UTC"
	if o.Calendar.Zone != nil {
		zone = o.Calendar.Zone.String()
	}
	return outWindow{
		Duration: map[slo.Unit]string{slo.Week: "1w", slo.Month: "1M", slo.Quarter: "1Q"}[o.Calendar.Unit],
		Calendar: &outCalendar{
			// A Monday that is the first day of a month and a quarter.
			StartTime: &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!timestamp", Value: "2024-01-01 00:00:00"},
			TimeZone:  zone,
		},
	}
}

// span writes a duration with one number and one unit.
func (w *writer) span(d time.Duration) string {
	for _, u := range []byte{'d', 'h', 'm'} {
		if d%lengths[u] == 0 {
			return fmt.Sprintf("%d%c", d/lengths[u], u)
		}
	}
	w.lose("its window of %s needs seconds, which the specification lacks", slo.Duration(d))
	return fmt.Sprintf("%ds", d/time.Second)
}

func (w *writer) objective(spec *outSpec) {
	o := w.slo.Objective
	out := outObjective{DisplayName: o.Sentence(), Target: number(o.Target)}
	spec.BudgetingMethod = "Occurrences"
	switch {
	case o.Slice > 0 && o.Slice%time.Minute == 0:
		spec.BudgetingMethod = "Timeslices"
		out.TimeSliceTarget, out.TimeSliceWindow = number(o.SliceTarget), w.span(o.Slice)
		if o.Kind == slo.Fresh {
			out.TimeSliceTarget = number(1)
		}
	case o.Slice > 0:
		w.lose("slices of %s are written as events, for OpenSLO has none below a minute", slo.Duration(o.Slice))
	}
	spec.Objectives = []outObjective{out}
}

// rest names what has no place in OpenSLO at all.
func (w *writer) rest() {
	f, o := w.slo.Flow, w.slo.Objective
	var keys []string
	for _, key := range []struct {
		name string
		set  bool
	}{
		{"by:", f.By != ""},
		{"where:", f.Where != nil},
		{"slack:", f.PageChannel+f.TicketChannel != ""},
		{"owner:", f.Owner != ""},
		{"runbook:", f.Runbook != ""},
		{"exclude:", len(f.Exclude) > 0},
	} {
		if key.set {
			keys = append(keys, key.name)
		}
	}
	if len(keys) > 0 {
		w.lose("left out: %s", strings.Join(keys, ", "))
	}
	if o.Alerts(slo.Page) || o.Alerts(slo.Ticket) {
		w.lose("its alerts are left out: OpenSLO has none over two windows")
	} else {
		w.lose("that it never alerts is left out")
	}
}

// number returns a number without exponent, which not every reader of YAML takes
// for one.
func number(x float64) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: strconv.FormatFloat(x, 'f', -1, 64)}
	if !strings.Contains(n.Value, ".") {
		n.Tag = "!!int"
	}
	return n
}

// text returns a text such that Parse of package source reads it: tabs and
// leading spaces in quotes.
func text(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	switch {
	case strings.ContainsRune(s, '\t'), strings.HasPrefix(s, " "), strings.HasPrefix(s, "\n"):
		n.Style = yaml.DoubleQuotedStyle
	case strings.ContainsRune(s, '\n'):
		n.Style = yaml.LiteralStyle
	}
	return n
}
