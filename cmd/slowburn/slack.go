package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/spf13/pflag"

	"github.com/slowburn-slo/slowburn/alerts/slack"
	"github.com/slowburn-slo/slowburn/alerts/slack/chart"
	"github.com/slowburn-slo/slowburn/collector"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/ledger"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// slackStuck is for how long Slack may be out of reach before slowburn says it
// is not ready: a restart of either takes less.
const slackStuck = 5 * time.Minute

// slackConfig is what serve is told about Slack besides the webhook.
type slackConfig struct {
	tokenFile string
	token     slack.Secret // from the file or SLACK_BOT_TOKEN
	appFile   string
	appToken  slack.Secret // from the file or SLACK_APP_TOKEN
	apiURL    string       // of Slack; tests have their own
	channel   string
	traceURL  string

	templateFile string
	template     *slack.Template // from the file; nil without one
}

func (c *slackConfig) flags(f *pflag.FlagSet) {
	f.StringVar(&c.tokenFile, "slack-bot-token-file", "", "file with a Slack bot token (or set SLACK_BOT_TOKEN): one message per incident, edited in place, with a chart and a thread")
	f.StringVar(&c.appFile, "slack-app-token-file", "", "file with an app-level token of the bot's app (or set SLACK_APP_TOKEN): its messages have buttons to acknowledge, snooze and silence")
	f.StringVar(&c.channel, "slack-channel", "", "channel of alerts whose flow names none, e.g. #alerts; needed with a bot token only")
	f.StringVar(&c.templateFile, "slack-template", "", "file with your own wording of messages, a Go template (docs/slack.md); try it with slowburn alerts preview")
	f.StringVar(&c.traceURL, "trace-url", "", "address of a trace with {trace_id} in it, for links in messages, e.g. https://grafana.example/explore?trace={trace_id}")
}

// read reads the tokens, where there are some, from their files or the
// environment. webhook says that one is there too.
func (c *slackConfig) read(webhook bool) (err error) {
	c.token = slack.NewSecret(os.Getenv("SLACK_BOT_TOKEN"))
	if c.tokenFile != "" {
		if c.token, err = slack.ReadSecret(c.tokenFile); err != nil {
			return fmt.Errorf("--slack-bot-token-file: %w", err)
		}
	}
	c.appToken = slack.NewSecret(os.Getenv("SLACK_APP_TOKEN"))
	if c.appFile != "" {
		if c.appToken, err = slack.ReadSecret(c.appFile); err != nil {
			return fmt.Errorf("--slack-app-token-file: %w", err)
		}
	}
	if c.templateFile != "" {
		if c.template, err = slack.ParseTemplate(c.templateFile); err != nil {
			return fmt.Errorf("--slack-template: %w", err)
		}
	}
	switch {
	case !c.token.Empty() && webhook:
		return errors.New("there are both a Slack webhook and a bot token; want one of them: a bot says all that a webhook does")
	case !c.appToken.Empty() && c.token.Empty():
		return errors.New("there is a Slack app token and no bot token; want both: buttons are on a bot's messages")
	}
	return nil
}

// slackSecret reads the webhook's address from a file, or from the environment.
// It is empty when there is neither.
func slackSecret(file string) (slack.Secret, error) {
	if file == "" {
		return slack.NewSecret(os.Getenv("SLACK_WEBHOOK_URL")), nil
	}
	s, err := slack.ReadSecret(file)
	if err != nil {
		return s, fmt.Errorf("--slack-webhook-url-file: %w", err)
	}
	return s, nil
}

// messages is who is told of alerts: Slack or, where neither a webhook nor a
// bot token is given, the log.
type messages struct {
	slack  sender // nil without one
	logger *slog.Logger
}

// sender is a slack.Webhook or a slack.Bot.
type sender interface {
	Channel(name string) notify.Notifier
	FailingSince() time.Time
	Retry()
}

// newMessages tells as a bot where there is a token, else through the webhook.
func (s *server) newMessages() (m *messages, err error) {
	c := s.config.slack
	m = &messages{logger: s.logger.With("component", "slack")}
	switch {
	case !c.token.Empty():
		m.slack, err = slack.NewBot(slack.BotOptions{
			Token: c.token, Channel: c.channel, File: filepath.Join(s.config.dataDir, "slack-messages.json"),
			Buttons: !c.appToken.Empty(), APIURL: c.apiURL,
			Facts: s.factsWithChart, ExternalURL: s.external, TraceURL: c.traceURL, Template: c.template,
			Logger: m.logger, Registerer: s.telemetry.registry,
		})
	case !s.config.slackURL.Empty():
		m.slack, err = slack.New(slack.Options{
			URL: s.config.slackURL, Facts: s.facts, ExternalURL: s.external, TraceURL: c.traceURL, Template: c.template,
			Logger: m.logger, Registerer: s.telemetry.registry,
		})
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (m *messages) notifier(channel string) notify.Notifier {
	if m.slack == nil {
		return logged{m.logger}
	}
	return slack.Gather(m.slack.Channel(channel))
}

// stuck says when messages have not gone out for that long.
func (m *messages) stuck(now time.Time, patience time.Duration) []string {
	if m.slack == nil {
		return nil
	}
	since := m.slack.FailingSince()
	if since.IsZero() || now.Sub(since) < patience {
		return nil
	}
	return []string{"Slack has taken no message since " + since.UTC().Format(time.RFC3339)}
}

// retry tries again what Slack refused, which somebody may have mended.
func (m *messages) retry() {
	if m.slack != nil {
		m.slack.Retry()
	}
}

// logged tells the log.
type logged struct{ logger *slog.Logger }

// Notify implements notify.Notifier.
func (l logged) Notify(_ context.Context, alerts ...*alert.Alert) (bool, error) {
	for _, a := range alerts {
		l.logger.Warn("alert "+string(a.Status()), "alert", a.Name(), "summary", string(a.Annotations["summary"]))
	}
	return false, nil
}

// facts tells a message what the ledger knows of an SLO whose alert fired at
// firedAt, or of the traffic of a flow, as service/flow.
func (s *server) facts(id string, firedAt time.Time) (slack.Facts, bool) {
	for _, o := range slo.All(*s.flows.Load()) {
		if o.ID() == id {
			f, ok := factsOf(s.pipeline.Ledger(), o, firedAt)
			if ok {
				now := time.Now()
				if v, ok := s.pipeline.Verdict(id); ok {
					state, _ := s.pipeline.Ledger().State(id)
					judged(&f, v, state, now)
				}
				f.Where = s.culprits(o, f.Since, now)
				f.Traces = tracesOf(o.Objective, s.pipeline.Samples(o.Flow.Service, o.Flow.Name), f.Since)
			}
			return f, ok
		}
	}
	return s.trafficFacts(id)
}

// badTraces is how many bad requests a message names: enough to see whether they
// have something in common.
const badTraces = 3

// tracesOf picks requests to look at: bad ones of the incident, and a typical
// one to compare them with where there are some.
func tracesOf(o slo.Objective, samples []collector.Sample, since time.Time) []slack.Trace {
	var bad, typical []slack.Trace
	for _, x := range samples {
		t := slack.Trace{ID: x.TraceID, At: x.At, Duration: x.Duration}
		switch {
		case x.Why == collector.Typical:
			t.Typical = true
			typical = append(typical, t)
		case x.At.Before(since) || len(bad) == badTraces:
		case o.Kind == slo.FasterThan && x.Why == collector.Slowest && x.Duration > o.Threshold,
			o.Kind == slo.Succeed && x.Why == collector.Failed:
			t.Bad = true
			bad = append(bad, t)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return append(bad, typical...)
}

// deploysOf returns the versions of a service that were first seen in a time.
func (s *server) deploysOf(service string, from, to time.Time) []chart.Deploy {
	var out []chart.Deploy
	for _, x := range s.pipeline.Arrivals().Services {
		for _, v := range x.Versions {
			if x.Name == service && v.First.After(from) && v.First.Before(to) {
				out = append(out, chart.Deploy{At: v.First, Name: v.Value})
			}
		}
	}
	slices.SortFunc(out, func(a, b chart.Deploy) int { return a.At.Compare(b.At) })
	return out
}

// factsWithChart adds what the store knows of the incident's course.
func (s *server) factsWithChart(id string, firedAt time.Time) (slack.Facts, bool) {
	f, ok := s.facts(id, firedAt)
	if !ok {
		return f, false
	}
	for _, o := range slo.All(*s.flows.Load()) {
		if o.ID() != id {
			continue
		}
		c := chartOf(o, f.Since, time.Now())
		ctx, cancel := context.WithTimeout(context.Background(), chartPatience)
		defer cancel()
		var err error
		if c.Points, err = course(ctx, s.store, o, c.From, c.To); err != nil || len(c.Points) < 2 {
			s.logger.Debug("a message goes without a chart", "slo", id, "points", len(c.Points), "err", err)
			return f, true
		}
		c.Deploys = s.deploysOf(o.Flow.Service, c.From, c.To)
		f.Chart = c
	}
	return f, true
}

const (
	// chartPatience is how long the store may take: a page is not to wait.
	chartPatience = 2 * time.Second

	// chartPoints are as many as a chart shows apart.
	chartPoints = 360
)

// course returns the share of bad events over the SLO's shortest window, the
// worst of each step, with a NaN where there was none for three steps.
func course(ctx context.Context, from storage.Queryable, o slo.SLO, begin, end time.Time) ([]chart.Point, error) {
	step := max(end.Sub(begin)/chartPoints, 15*time.Second).Milliseconds()
	q, err := from.Querier(begin.UnixMilli(), end.UnixMilli())
	if err != nil {
		return nil, err
	}
	defer q.Close()
	set := q.Select(ctx, true, &storage.SelectHints{Start: begin.UnixMilli(), End: end.UnixMilli()},
		labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, series.ErrorRatio(o.Objective.Windows()[0])),
		labels.MustNewMatcher(labels.MatchEqual, series.ID, o.ID()))
	worst := map[int64]float64{}
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			at, share := it.At()
			if old, ok := worst[at/step]; !math.IsNaN(share) && (!ok || share > old) {
				worst[at/step] = share
			}
		}
		if err := it.Err(); err != nil {
			return nil, err
		}
	}
	var out []chart.Point
	last := int64(0)
	for _, n := range slices.Sorted(maps.Keys(worst)) {
		if len(out) > 0 && n-last > 3 {
			out = append(out, chart.Point{At: time.UnixMilli((last + 2) * step), Share: math.NaN()})
		}
		out = append(out, chart.Point{At: time.UnixMilli(min((n+1)*step, end.UnixMilli())), Share: worst[n]})
		last = n
	}
	return out, set.Err()
}

func factsOf(l *ledger.Ledger, o slo.SLO, firedAt time.Time) (slack.Facts, bool) {
	state, ok := l.State(o.ID())
	if !ok {
		return slack.Facts{}, false
	}
	target := o.Objective.Target
	f := slack.Facts{
		Objective: o.Objective,
		Place:     placeOf(o.Objective.Pos),
		Burns:     make(map[time.Duration]float64, len(state.Windows)),
		Since:     l.BurnStart(o.ID(), firedAt, o.Objective.Budget()),
	}
	for _, w := range state.Windows {
		if ratio, ok := w.Ratio(); ok {
			f.Burns[w.Length] = slo.BurnRate(ratio, target)
		}
	}
	f.Bad, f.Total = l.Since(o.ID(), f.Since)
	period := state.Period()
	before := ledger.Window{Bad: period.Bad - float64(f.Bad), Total: period.Total - float64(f.Total)}
	left := func(w ledger.Window) float64 {
		ratio, ok := w.Ratio()
		if !ok {
			return 1
		}
		return slo.BudgetLeft(max(ratio, 0), target)
	}
	f.BudgetLeft, f.BudgetBefore = left(period), left(before)
	if state.Excluded {
		x, _, _ := o.Flow.Excluded(l.Now())
		f.Excluded, f.ExcludedUntil = x.Why, state.ExcludedUntil
	}
	return f, true
}
