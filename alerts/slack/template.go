package slack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

const (
	// maxTemplate is how much a template's file, or what one writes or makes
	// with a function, may hold, in bytes.
	maxTemplate = 64 << 10

	// templateFor cuts a template that does not end.
	templateFor = time.Second
)

// Template is a user's own wording of messages. It may be used from several
// goroutines.
//
// What its file writes stands in the place of our lines, in Slack's markup, up
// to 3,000 characters; a template named headline in it stands in the place of
// our headline. Links, chart and colour stay ours. Both get a [TemplateData].
type Template struct {
	file   string
	parsed *template.Template
}

// TemplateData is what there is to say of a message. Text is ready for Slack:
// on one line and without active markup. It is never read as a template.
type TemplateData struct {
	Headline string            // ours
	Lines    []string          // ours, in Slack's markup
	Links    map[string]string // addresses by name: Dashboard, Traces, Runbook, Silence, Alerts

	Severity string // page or ticket: that of the worst alert
	Resolved bool   // all alerts are over
	Again    bool   // nothing has changed since the last message

	Alerts []TemplateAlert // the worst first, 20 at most
	More   int             // alerts beyond these
}

// TemplateAlert is one alert of a message.
type TemplateAlert struct {
	Name, Severity                   string
	Service, Flow, SLO, Owner, Place string // empty where an alert has none
	Objective                        string // the promise: 99.9% succeed over 30d
	Summary, Description             string
	Resolved                         bool
	StartsAt, EndsAt                 time.Time

	// Known says that there are figures. Burns are burn rates by window, such
	// as 5m; of the events from Since on, Bad of Total are bad. Budgets are
	// shares: 1 is untouched, below 0 is overspent.
	Known                    bool
	Burns                    map[string]float64
	Since                    time.Time
	Bad, Total               uint64
	BudgetLeft, BudgetBefore float64
}

// ParseTemplate reads a template from a file, with the syntax of Go's package
// text/template and the functions percent, which writes a share, clock and
// moment, which write times in the reader's own zone, and span, which writes how
// long it is from one time to another. An error names the file, the line and
// what is wrong with it, also where a name is unknown.
func ParseTemplate(file string) (*Template, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("slack template: %w", err)
	}
	if len(source) > maxTemplate {
		return nil, fmt.Errorf("slack template: %s: %d bytes; want at most %d", file, len(source), maxTemplate)
	}
	parsed, err := template.New(filepath.Base(file)).Funcs(functions(time.Time{})).Parse(string(source))
	if err != nil {
		return nil, fmt.Errorf("slack template: %s: %w", file, err)
	}
	watch := template.Must(template.New("").Funcs(functions(time.Time{})).Parse("{{watch}}")).Root.Nodes[0]
	for _, t := range parsed.Templates() {
		if t.Tree != nil {
			watched(t.Root, watch, true)
		}
	}
	out := &Template{file: file, parsed: parsed}
	for _, over := range []bool{false, true} {
		sample := TemplateData{
			Headline: "🔴 Checkout is failing", Lines: []string{"99.9% succeed over 30d"}, Links: map[string]string{},
			Severity: string(slo.Page), Resolved: over, Alerts: []TemplateAlert{{Known: true, Burns: map[string]float64{"5m": 31, "1h": 22}, Total: 1}},
		}
		if _, err := out.tell(story{}, sample); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// functions are those of a template that has to end by then.
func functions(deadline time.Time) template.FuncMap {
	small := func(f func(...any) string) func(...any) (string, error) {
		return func(args ...any) (string, error) {
			out := f(args...)
			if len(out) > maxTemplate {
				return "", errTooLong
			}
			return out, nil
		}
	}
	return template.FuncMap{
		"percent": percent,
		"clock":   clock,
		"moment":  moment,
		"span":    func(from, to time.Time) string { return words.Span(to.Sub(from)) },
		"watch": func() (string, error) {
			if time.Now().After(deadline) {
				return "", errTooSlow
			}
			return "", nil
		},
		"print":    small(fmt.Sprint),
		"println":  small(fmt.Sprintln),
		"html":     small(template.HTMLEscaper),
		"js":       small(template.JSEscaper),
		"urlquery": small(template.URLQueryEscaper),
		"printf": func(format string, args ...any) (string, error) {
			return small(func(args ...any) string { return fmt.Sprintf(format, args...) })(args...)
		},
	}
}

var (
	errTooLong = fmt.Errorf("it writes more than %d bytes", maxTemplate)
	errTooSlow = fmt.Errorf("it takes longer than %v", templateFor)
)

// watched puts a look at the clock where a template can go round: at the
// beginning of each template and of what is repeated.
func watched(n parse.Node, watch parse.Node, begins bool) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return
		}
		for _, child := range n.Nodes {
			watched(child, watch, false)
		}
		if begins {
			n.Nodes = append([]parse.Node{watch.Copy()}, n.Nodes...)
		}
	case *parse.RangeNode:
		watched(n.List, watch, true)
		watched(n.ElseList, watch, false)
	case *parse.IfNode:
		watched(n.List, watch, false)
		watched(n.ElseList, watch, false)
	case *parse.WithNode:
		watched(n.List, watch, false)
		watched(n.ElseList, watch, false)
	}
}

// write returns what the template says; the headline is empty where it has none
// of its own.
func (t *Template) write(data TemplateData) (headline, text string, err error) {
	run, err := t.parsed.Clone()
	if err != nil {
		return "", "", fmt.Errorf("slack template: %s: %w", t.file, err)
	}
	run.Funcs(functions(time.Now().Add(templateFor)))
	var body, head narrow
	err = run.Execute(&body, data)
	if own := run.Lookup("headline"); err == nil && own != nil {
		err = own.Execute(&head, data)
	}
	if err != nil {
		return "", "", fmt.Errorf("slack template: %s: %w", t.file, err)
	}
	return strings.Join(strings.Fields(head.String()), " "), strings.TrimSpace(body.String()), nil
}

// narrow is a buffer that takes only so much.
type narrow struct{ bytes.Buffer }

func (n *narrow) Write(p []byte) (int, error) {
	if n.Len()+len(p) > maxTemplate {
		return 0, errTooLong
	}
	return n.Buffer.Write(p)
}

// tell puts the template's words in a story's place.
func (t *Template) tell(s story, data TemplateData) (story, error) {
	headline, text, err := t.write(data)
	switch {
	case err != nil:
		return s, err
	case headline == "" && text == "":
		return s, fmt.Errorf("slack template: %s: %w", t.file, errors.New("it writes nothing"))
	}
	if headline != "" {
		s.headline = headline
	}
	if text == "" {
		return s, nil
	}
	s.lines, s.reasons, s.more = nil, nil, nil
	for l := range strings.Lines(text) {
		s.lines = append(s.lines, line{text: cutMarkup(strings.TrimRight(l, "\r\n"), maxSection/2)})
	}
	return s, nil
}

// data returns what a template is given of a message whose story is ours.
func (v *voice) data(ours story, alerts []*alert.Alert, again bool) TemplateData {
	out := TemplateData{
		Headline: ours.headline, Links: map[string]string{}, Severity: string(slo.Ticket), Resolved: true, Again: again,
		More: max(0, len(alerts)-maxAlerts),
	}
	for _, lines := range [][]line{ours.lines, ours.reasons, ours.more} {
		out.Lines = append(out.Lines, written(lines)...)
	}
	for _, l := range ours.links {
		out.Links[l.name] = urlSafe.Replace(l.url)
	}
	for _, a := range alerts {
		if a.Labels[series.Severity] == model.LabelValue(slo.Page) {
			out.Severity = string(slo.Page)
		}
		out.Resolved = out.Resolved && a.Resolved()
	}
	for _, a := range alerts[:min(len(alerts), maxAlerts)] {
		s := told{alert: a}
		if subjectOf(a) != other {
			s = v.look(a, again)
		}
		one := TemplateAlert{
			Name: s.label("alertname"), Severity: s.label(series.Severity), Service: s.label(series.SLOServ), Flow: s.label(series.SLOFlow),
			SLO: s.label(series.SLOName), Owner: s.note(owner), Place: datum(s.facts.Place), Objective: s.objective(),
			Summary: s.note(summary), Description: s.note(description),
			Resolved: a.Resolved(), StartsAt: a.StartsAt, EndsAt: a.EndsAt,
			Known: s.known, Burns: map[string]float64{}, Since: s.facts.Since, Bad: s.facts.Bad, Total: s.facts.Total,
			BudgetLeft: s.facts.BudgetLeft, BudgetBefore: s.facts.BudgetBefore,
		}
		for w, rate := range s.facts.Burns {
			one.Burns[slo.Duration(w)] = rate
		}
		out.Alerts = append(out.Alerts, one)
	}
	return out
}
