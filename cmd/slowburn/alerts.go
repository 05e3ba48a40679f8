package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"

	"github.com/slowburn-slo/slowburn/alerts/slack"
	"github.com/slowburn-slo/slowburn/alerts/slack/chart"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

func newAlerts() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "alerts",
		Short: "Look at messages before there is anything to tell",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPreview())
	return cmd
}

type previewConfig struct {
	slos     []string
	flow     string
	slo      string
	kind     string
	format   string
	out      string
	bot      bool
	external string
	traceURL string
	template string
}

// incidentKinds are the messages of an incident, in its order; previewKinds are
// all that can be shown.
var (
	incidentKinds = []string{"ticket", "page", "resolved"}
	previewKinds  = append(incidentKinds[:3:3], "latency", "outage", "held", "several", "storm", "traffic", "spent", "runs_out")
)

func newPreview() *cobra.Command {
	var c previewConfig
	cmd := &cobra.Command{
		Use:   "preview --slos PATH",
		Short: "Show what Slack would be told of your objectives, from made-up figures",
		Long: `Show the messages that the objectives in PATH would send: as a ticket, as a page
and once it is over. The figures are made up, such as fit the objective; flows,
owners, channels, runbooks and links are yours. Nothing is sent.

  text  for this terminal
  json  as Slack takes it: through a webhook or, with --bot, through a bot
  png   the chart that a bot adds to the message

An incident begins as a ticket while the budget burns slowly; it is a page where
it burns fast. Other kinds are shown when they are asked for:

  latency   the page of an objective on latency
  outage    the page when everything fails, before a burn rate can tell
  held      a page whose data has stopped
  several   the page of a flow whose objectives all burn
  storm     the one message for many flows that fail together
  traffic   a ticket: requests that usually come do not
  spent     a ticket: most of a budget is spent
  runs_out  a ticket: a budget will be gone before its period ends`,
		Example: `  slowburn alerts preview --slos slos.yaml
  slowburn alerts preview --slos slos.yaml --flow checkout --kind page
  slowburn alerts preview --slos slos.yaml --flow checkout --objective availability --kind page --format png --out page.png
  slowburn alerts preview --slos slos.yaml --flow checkout --objective availability --kind page --format json |
    curl -d @- -H 'Content-Type: application/json' "$SLACK_WEBHOOK_URL"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return preview(c, time.Now(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&c.slos, "slos", nil, "file or directory of flows and objectives; may be given several times (required)")
	f.StringVar(&c.flow, "flow", "", "only this flow, as checkout or shop/checkout (default all)")
	f.StringVar(&c.slo, "objective", "", "only this objective, by its name, as availability or latency-300ms (default all)")
	f.StringVar(&c.kind, "kind", "", "one of "+strings.Join(previewKinds, ", ")+" (default ticket, page and resolved)")
	f.StringVar(&c.format, "format", "text", "text, json or png")
	f.StringVar(&c.out, "out", "", "file to write to (default standard output)")
	f.BoolVar(&c.bot, "bot", false, "json: as a bot sends it, rather than a webhook")
	f.StringVar(&c.external, "external-url", "http://localhost:9595", "where people reach slowburn, for the links")
	f.StringVar(&c.template, "slack-template", "", "file with your own wording of messages, a Go template (docs/slack.md)")
	f.StringVar(&c.traceURL, "trace-url", "", "address of a trace with {trace_id} in it, for the links, e.g. https://grafana.example/explore?trace={trace_id}")
	return cmd
}

// preview writes the messages that c asks for.
func preview(c previewConfig, now time.Time, stdout, stderr io.Writer) error {
	if len(c.slos) == 0 {
		return errors.New("--slos is missing; want the file or directory of your flows")
	}
	if !slices.Contains([]string{"text", "json", "png"}, c.format) {
		return fmt.Errorf("--format: %q is not a choice; want text, json or png", c.format)
	}
	if c.kind != "" && !slices.Contains(previewKinds, c.kind) {
		return fmt.Errorf("--kind: %q is not a choice; want one of %s", c.kind, strings.Join(previewKinds, ", "))
	}
	if c.bot && c.format != "json" {
		return fmt.Errorf("--bot is there with --format %s; want json", c.format)
	}
	external, err := url.Parse(c.external)
	if err != nil || external.Host == "" {
		return fmt.Errorf("--external-url: %q is not an address; want one such as https://slowburn.example", c.external)
	}
	config, err := loadConfig(c.slos...)
	if err != nil {
		return err
	}
	for _, w := range config.Warnings {
		fmt.Fprintln(stderr, "warning:", w)
	}
	shown, err := c.messages(config.Flows, now)
	if err != nil {
		return err
	}
	if c.format == "png" && len(shown) > 1 {
		return fmt.Errorf("--format png is one picture, and %d messages are meant; want --flow, --objective and --kind that leave one", len(shown))
	}
	var wording *slack.Template
	if c.template != "" {
		if wording, err = slack.ParseTemplate(c.template); err != nil {
			return fmt.Errorf("--slack-template: %w", err)
		}
	}
	var out bytes.Buffer
	for i, p := range shown {
		r, err := slack.Render(slack.RenderOptions{
			Channel: p.channel, ExternalURL: external, TraceURL: c.traceURL, Template: wording,
			Facts: func(id string, _ time.Time) (slack.Facts, bool) { f, ok := p.facts[id]; return f, ok },
		}, p.alerts...)
		if err != nil {
			return err
		}
		switch c.format {
		case "png":
			out.Write(r.Chart)
		case "json":
			body := r.Webhook
			if c.bot {
				body = r.Bot
			}
			if err := json.Indent(&out, body, "", "  "); err != nil {
				return err
			}
		default:
			if i > 0 {
				out.WriteByte('\n')
			}
			to := cmp.Or(p.channel, "the webhook's channel")
			fmt.Fprintf(&out, "── %s, to %s ──\n%s", p.kind, to, r.Text)
		}
	}
	if c.out != "" {
		return os.WriteFile(c.out, out.Bytes(), 0o644)
	}
	if f, ok := stdout.(*os.File); ok && c.format == "png" {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return errors.New("--out is missing; want a file for the picture rather than this terminal")
		}
	}
	_, err = stdout.Write(out.Bytes())
	return err
}

// previewed is one message and what it is made of.
type previewed struct {
	kind    string
	channel string
	alerts  []*alert.Alert
	facts   map[string]slack.Facts
}

// messages makes up the incidents that c asks for.
func (c previewConfig) messages(flows []slo.Flow, now time.Time) ([]previewed, error) {
	var all []slo.SLO
	for _, o := range slo.All(flows) {
		if c.flow == "" || o.Flow.Name == c.flow || o.Flow.Service+"/"+o.Flow.Name == c.flow {
			all = append(all, o)
		}
	}
	if len(all) == 0 && c.flow != "" {
		var names []string
		for i := range flows {
			names = append(names, flows[i].Name)
		}
		return nil, fmt.Errorf("--flow: there is no flow %s; want one of %s", c.flow, strings.Join(names, ", "))
	}
	if c.slo != "" {
		var names []string
		for _, o := range all {
			names = append(names, o.Objective.Name)
		}
		slices.Sort(names)
		names = slices.Compact(names)
		all = slices.DeleteFunc(all, func(o slo.SLO) bool { return o.Objective.Name != c.slo })
		if len(all) == 0 {
			return nil, fmt.Errorf("--objective: there is no objective %s; want one of %s", c.slo, strings.Join(names, ", "))
		}
	}
	var out []previewed
	kinds := incidentKinds
	if c.kind != "" {
		kinds = []string{c.kind}
	}
	for _, o := range all {
		for _, kind := range kinds {
			m, ok := messageOf(o, kind, now)
			if !ok {
				continue
			}
			switch last := len(out) - 1; {
			case last < 0 || !joins(kind, out[last].alerts[0], m.alerts[0]):
				out = append(out, m)
			case kind != "traffic": // which is the flow's, not the objective's
				out[last].alerts = append(out[last].alerts, m.alerts...)
				maps.Copy(out[last].facts, m.facts)
			}
		}
	}
	if c.kind == "several" {
		out = slices.DeleteFunc(out, func(m previewed) bool { return len(m.alerts) < 2 })
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no objective has such a message: %d have been looked at; want others with --flow, --objective or --kind", len(all))
	}
	return out, nil
}

// joins reports whether an alert is part of the message of another.
func joins(kind string, first, a *alert.Alert) bool {
	same := first.Labels[series.SLOServ] == a.Labels[series.SLOServ] && first.Labels[series.SLOFlow] == a.Labels[series.SLOFlow]
	return kind == "storm" || same && (kind == "several" || kind == "traffic")
}

// messageOf makes up the message of a kind; ok is false when the objective has
// none.
func messageOf(o slo.SLO, kind string, now time.Time) (m previewed, ok bool) {
	severity := slo.Page
	if slices.Contains([]string{"ticket", "traffic", "spent", "runs_out"}, kind) {
		severity = slo.Ticket
	}
	a, f, ok := madeUp(o, severity, kind == "resolved", now)
	requests := o.Objective.Slice == 0 && (o.Objective.Kind == slo.Succeed || o.Objective.Kind == slo.FasterThan)
	if !ok || (kind == "latency" && o.Objective.Kind != slo.FasterThan) || (kind == "outage" && !requests) || (kind == "traffic" && !o.Flow.Counted()) {
		return m, false
	}
	id := o.ID()
	switch kind {
	case "outage":
		f.Outage = slack.Outage{Bad: 40, Total: 40, In: 12 * time.Second}
		f.Since, f.Bad, f.Total, a.StartsAt = now.Add(-12*time.Second), 40, 40, now
		f.BudgetLeft = f.BudgetBefore
		for w := range f.Burns {
			f.Burns[w] = max(0.3, float64(f.Outage.In)/float64(w)/o.Objective.Budget())
		}
		f.Where, f.Hints, f.Chart = nil, nil, nil
	case "held":
		f.Held = slack.Held{Since: now.Add(-4 * time.Minute), Good: 5 * time.Minute}
	case "traffic":
		id = o.Flow.Service + "/" + o.Flow.Name
		a.Labels[model.AlertNameLabel] = series.AlertNoTraffic
		delete(a.Labels, series.ID)
		delete(a.Labels, series.SLOName)
		a.StartsAt = now
		f = slack.Facts{Traffic: slack.Traffic{Since: now.Add(-15 * time.Minute), Usual: 340, In: 15 * time.Minute}}
	case "spent", "runs_out":
		a.Labels[model.AlertNameLabel] = series.AlertRunsOut
		if kind == "spent" {
			a.Labels[model.AlertNameLabel], a.Labels[series.Share] = series.AlertSpent, "75"
		}
		f.Where, f.Traces, f.Chart, f.Bad, f.Total = nil, nil, nil, 0, 0
		f.BudgetLeft, f.BudgetBefore = 0.25, 0.25
		for w := range f.Burns {
			f.Burns[w] = 2.5 * min(1, 0.3*float64(o.Objective.Window)/float64(w)) // three quarters over the whole window
		}
	}
	m = previewed{kind, o.Flow.PageChannel, []*alert.Alert{a}, map[string]slack.Facts{id: f}}
	if severity == slo.Ticket {
		m.channel = o.Flow.TicketChannel
	}
	return m, true
}

// madeUp is an incident of the severity that fits the objective; ok is false
// when the objective has no such alert. It began as long ago as it takes to
// alert, and burns a little more than twice as fast as has to be.
func madeUp(o slo.SLO, severity slo.Severity, over bool, now time.Time) (a *alert.Alert, f slack.Facts, ok bool) {
	tiers := o.Objective.Tiers
	i := slices.IndexFunc(tiers, func(t slo.Tier) bool { return t.Severity == severity })
	if i < 0 && over && len(tiers) > 0 {
		i = 0
	}
	if i < 0 {
		return nil, f, false
	}
	tier, budget := tiers[i], o.Objective.Budget()
	share := min(2.2*tier.Factor*budget, (1+tier.Factor*budget)/2)
	if o.Objective.Kind == slo.Fresh { // every minute is bad until there is a success
		share = 1
	}
	burn := share / budget
	fired, _ := tier.Detection(burn)
	fired = fired.Round(time.Minute)
	lasted := fired + 4*time.Minute
	end := now.Truncate(time.Minute)
	if over {
		lasted += 30 * time.Minute
		end = end.Add(-10 * time.Minute)
	}
	began := end.Add(-lasted)

	const calm, perMinute = 0.3, 600
	f = slack.Facts{
		Objective: o.Objective, Since: began, Place: placeOf(o.Objective.Pos),
		Burns: map[time.Duration]float64{},
		Total: uint64(perMinute * lasted.Minutes()), BudgetBefore: 0.61,
	}
	if o.Objective.Slice > 0 {
		f.Total = max(1, uint64(lasted/o.Objective.Slice))
	}
	f.Bad = uint64(math.Round(float64(f.Total) * share))
	f.BudgetLeft = f.BudgetBefore - burn*float64(lasted)/float64(o.Objective.Window)
	for _, w := range o.Objective.Windows() {
		in := min(w, lasted)
		f.Burns[w] = (burn*float64(in) + calm*float64(w-in)) / float64(w)
	}
	if o.Objective.Kind == slo.Succeed || o.Objective.Kind == slo.FasterThan {
		f.Where = []slack.Culprit{{Attribute: "service.version", Value: "1.42.0", Bad: 0.94, Normal: 0.31, Since: began.Add(-4 * time.Minute)}}
		slow := max(o.Objective.Threshold, 100*time.Millisecond)
		status := "500"
		if o.Objective.Kind == slo.FasterThan {
			status = ""
		}
		for i, id := range []string{"7f3a9c20", "91bc4e11", "a04d07aa"} {
			f.Traces = append(f.Traces, slack.Trace{
				ID: strings.Repeat(id, 4), Bad: true, Status: status, Duration: slow * time.Duration(17-4*i) / 3, At: end,
			})
		}
		f.Traces = append(f.Traces, slack.Trace{ID: strings.Repeat("22e1b3d4", 4), Typical: true, Duration: slow * 7 / 15, At: end})
	}
	f.Chart = chartOf(o, began, now)
	if over {
		f.Chart.Ended = end
	}
	if len(f.Where) > 0 {
		f.Chart.Deploys = []chart.Deploy{{At: began.Add(-4 * time.Minute), Name: "1.42.0"}}
	}
	step := max(f.Chart.To.Sub(f.Chart.From)/360, time.Second)
	for t := f.Chart.From; !t.After(f.Chart.To); t = t.Add(step) {
		x := float64(t.Unix()) / step.Seconds()
		wave := 1 + 0.5*math.Sin(x/7) + 0.3*math.Sin(x/2.3)
		s := calm * budget * wave
		if t.After(began) && !t.After(end) {
			s = share * (1 + 0.03*wave) * min(1, float64(t.Sub(began))/float64(4*step))
		}
		f.Chart.Points = append(f.Chart.Points, chart.Point{At: t, Share: min(s, 1)})
	}

	a = &alert.Alert{Alert: model.Alert{
		Labels: model.LabelSet{
			model.AlertNameLabel: model.LabelValue(series.Alert(severity)),
			series.ID:            model.LabelValue(o.ID()),
			series.SLOServ:       model.LabelValue(o.Flow.Service),
			series.SLOName:       model.LabelValue(o.Name()),
			series.SLOFlow:       model.LabelValue(o.Flow.Name),
			series.Severity:      model.LabelValue(tier.Severity),
		},
		Annotations: model.LabelSet{
			"objective": model.LabelValue(o.Objective.Words()), "owner": model.LabelValue(o.Flow.Owner), "runbook": model.LabelValue(o.Flow.Runbook),
		},
		StartsAt: began.Add(fired), EndsAt: now.Add(time.Hour),
	}}
	if over {
		a.EndsAt = end
	}
	return a, f, true
}

// placeOf names where an objective is written: its file and line.
func placeOf(p slo.Pos) string {
	if p.Line == 0 {
		return ""
	}
	return slo.Pos{File: filepath.Base(p.File), Line: p.Line}.String()
}

// chartOf is the chart of an incident that began then, without its points: it
// shows about five times as much as the incident, and six hours at least.
func chartOf(o slo.SLO, began, now time.Time) *chart.Data {
	d := &chart.Data{Title: chartTitle(o), To: now, From: began.Add(-max(5*time.Hour, 4*now.Sub(began))), Objective: o.Objective.Budget(), Began: began}
	for _, t := range o.Objective.Tiers {
		d.Limits = append(d.Limits, chart.Limit{Share: min(t.Factor*d.Objective, 1), Word: string(t.Severity)})
	}
	// One line for each severity: of two, the one that alerts first.
	slices.SortStableFunc(d.Limits, func(a, b chart.Limit) int { return cmp.Compare(b.Share, a.Share) })
	seen := map[string]bool{}
	d.Limits = slices.DeleteFunc(d.Limits, func(l chart.Limit) bool {
		drop := seen[l.Word]
		seen[l.Word] = true
		return drop
	})
	return d
}

// chartTitle says what a chart's line is.
func chartTitle(o slo.SLO) string {
	what := o.Objective.Unit() + " that are bad"
	switch {
	case o.Objective.Kind == slo.Fresh:
		what = "minutes without a success"
	case o.Objective.Slice > 0:
	case o.Objective.Kind == slo.FasterThan:
		what = "requests over " + slo.Duration(o.Objective.Threshold)
	case o.Objective.Kind == slo.Succeed:
		what = "requests that fail"
	}
	first, size := utf8.DecodeRuneInString(o.Flow.Name)
	return string(unicode.ToUpper(first)) + o.Flow.Name[size:] + ": " + what
}
