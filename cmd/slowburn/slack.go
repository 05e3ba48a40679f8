package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"

	"github.com/slowburn-slo/slowburn/alerts/slack"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/ledger"
)

// slackStuck is for how long Slack may be out of reach before slowburn says it
// is not ready: a restart of either takes less.
const slackStuck = 5 * time.Minute

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

// messages is who is told of alerts: Slack or, where no webhook is given, the
// log.
type messages struct {
	webhook *slack.Webhook // nil without one
	logger  *slog.Logger
}

func (s *server) newMessages() (*messages, error) {
	m := &messages{logger: s.logger.With("component", "slack")}
	if s.config.slackURL.Empty() {
		return m, nil
	}
	var err error
	m.webhook, err = slack.New(slack.Options{
		URL: s.config.slackURL, Facts: s.facts, ExternalURL: s.external,
		Logger: m.logger, Registerer: s.telemetry.registry,
	})
	return m, err
}

func (m *messages) notifier(channel string) notify.Notifier {
	if m.webhook == nil {
		return logged{m.logger}
	}
	return m.webhook.Channel(channel)
}

// stuck says when messages have not gone out for too long.
func (m *messages) stuck(now time.Time) []string {
	if m.webhook == nil {
		return nil
	}
	since := m.webhook.FailingSince()
	if since.IsZero() || now.Sub(since) < slackStuck {
		return nil
	}
	return []string{"Slack has taken no message since " + since.UTC().Format(time.RFC3339)}
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
// firedAt.
func (s *server) facts(id string, firedAt time.Time) (slack.Facts, bool) {
	for _, o := range slo.All(*s.flows.Load()) {
		if o.ID() == id {
			return factsOf(s.pipeline.Ledger(), o, firedAt)
		}
	}
	return slack.Facts{}, false
}

func factsOf(l *ledger.Ledger, o slo.SLO, firedAt time.Time) (slack.Facts, bool) {
	state, ok := l.State(o.ID())
	if !ok {
		return slack.Facts{}, false
	}
	target := o.Objective.Target
	f := slack.Facts{
		Objective: o.Objective,
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
