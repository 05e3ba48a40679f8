package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/rules"
	"github.com/spf13/pflag"

	"github.com/slowburn-slo/slowburn/alerts/alertmanager"
	"github.com/slowburn-slo/slowburn/alerts/slack"
	"github.com/slowburn-slo/slowburn/slo"
)

const (
	// maxPosted bounds a request to Alertmanager's API, in bytes: a batch of 256
	// alerts, as Prometheus sends them, is 300 kB.
	maxPosted = 4 << 20

	// elsewhereStuck is for how long no Alertmanager may take alerts before
	// slowburn says it is not ready: as long as Slack.
	elsewhereStuck = slackStuck
)

// receiversConfig is what serve is told about who hears of alerts, where that
// are not the Slack channels of the flows.
type receiversConfig struct {
	file string   // in Alertmanager's own format
	urls []string // of Alertmanagers elsewhere
	http string   // a file with what those want of a client
}

func (c *receiversConfig) flags(f *pflag.FlagSet) {
	f.StringVar(&c.file, "alertmanager-config", "", "file in Alertmanager's own format, alertmanager.yml, whose routes and receivers tell of alerts")
	f.StringSliceVar(&c.urls, "alertmanager-url", nil, "address of an Alertmanager that alerts are sent to, which then tells of them; give each of a cluster")
	f.StringVar(&c.http, "alertmanager-http-config", "", "file with what it wants of a client, as Prometheus' http_config: basic_auth, authorization, tls_config")
}

// check returns what cannot be wanted together. slack says that there are a
// webhook or a bot token.
func (c *receiversConfig) check(slack bool) error {
	switch {
	case c.file != "" && len(c.urls) > 0:
		return errors.New("there are both --alertmanager-config and --alertmanager-url; want one of them: the other Alertmanager has a file of its own")
	case c.http != "" && len(c.urls) == 0:
		return errors.New("--alertmanager-http-config: there is no --alertmanager-url that it is for")
	case len(c.urls) > 0 && slack:
		return errors.New("there are both --alertmanager-url and a Slack webhook or bot token; want one of them: that Alertmanager tells Slack")
	}
	return nil
}

// native reads the file, and checks it against whether slowburn itself can tell
// Slack. It returns nil where there is no file.
func (s *server) native() (*alertmanager.Native, error) {
	file := s.config.receivers.file
	if file == "" {
		return nil, nil
	}
	n, err := alertmanager.ReadNative(file, alertmanager.NativeOptions{
		ExternalURL: s.external, Logger: quiet(s.logger, "alertmanager"),
	})
	switch ours := s.messages.slack != nil; {
	case err != nil:
		return nil, fmt.Errorf("--alertmanager-config: %w", err)
	case ours && !n.Slack():
		return nil, fmt.Errorf("--alertmanager-config: %s: no route leads to a receiver %q, and there is a Slack webhook or bot token for it; want that receiver, without settings, or no webhook and token", file, alertmanager.OwnReceiver)
	case !ours && n.Slack():
		return nil, fmt.Errorf("--alertmanager-config: %s: a route leads to the receiver %q, which is slowburn's own messages; want a Slack webhook or a bot token for it", file, alertmanager.OwnReceiver)
	}
	return n, nil
}

// newAlerts prepares who tells of alerts: the Alertmanager in this process, or
// others.
func (s *server) newAlerts(flows []slo.Flow) (err error) {
	c := s.config.receivers
	if err := c.check(s.messages.slack != nil); err != nil {
		return err
	}
	if len(c.urls) > 0 {
		s.elsewhere, err = alertmanager.NewExternal(alertmanager.ExternalOptions{
			URLs: c.urls, HTTPConfig: c.http, ExternalURL: s.external,
			Logger: quiet(s.logger, "alertmanager"), Registerer: s.telemetry.registry,
		})
		if err != nil {
			return fmt.Errorf("--alertmanager-url: %w", err)
		}
		return nil
	}
	native, err := s.native()
	if err != nil {
		return err
	}
	fallback, err := s.newFallback()
	if err != nil {
		return err
	}
	s.alerts, err = alertmanager.New(alertmanager.Options{
		Dir: filepath.Join(s.config.dataDir, "alertmanager"), ExternalURL: s.external, Flows: flows, Native: native,
		Notifier: s.messages.notifier, Fallback: fallback,
		Logger: quiet(s.logger, "alertmanager"), Registerer: s.telemetry.registry,
	})
	if err != nil {
		return err
	}
	return s.newButtons()
}

// newButtons prepares the hearing of buttons, which silence alerts.
func (s *server) newButtons() (err error) {
	bot, ok := s.messages.slack.(*slack.Bot)
	c := s.config.slack
	if !ok || c.appToken.Empty() {
		return nil
	}
	s.buttons, err = slack.NewSocket(slack.SocketOptions{
		Token: c.appToken, Bot: bot, APIURL: c.apiURL,
		Silence: func(ctx context.Context, labels map[string]string, until time.Time, by, why string) error {
			_, err := s.alerts.Silence(ctx, alertmanager.Silence{Labels: labels, Until: until, By: by, Why: why})
			return err
		},
		Logger: s.logger.With("component", "slack"), Registerer: s.telemetry.registry,
	})
	return err
}

// notify is who the rule manager tells.
func (s *server) notify() rules.NotifyFunc {
	if s.elsewhere != nil {
		return s.elsewhere.Notify
	}
	return s.alerts.Notify
}

// applyRoutes puts the routes of the flows, or those of the file, in force.
func (s *server) applyRoutes(flows []slo.Flow, native *alertmanager.Native) error {
	switch {
	case s.elsewhere != nil:
		return nil // it has its own
	case native != nil:
		return s.alerts.ApplyNative(native)
	default:
		return s.alerts.Apply(flows)
	}
}

// files are what is watched for changes.
func (c *config) files() []string {
	if c.receivers.file == "" {
		return c.slos
	}
	return append(slices.Clone(c.slos), c.receivers.file)
}

// alertmanagerAPI serves the API of the Alertmanager in this process, for amtool
// and everything else that speaks it. Pages of other sites cannot change
// anything.
func (s *server) alertmanagerAPI() http.Handler {
	cross := http.NewCrossOriginProtection()
	// A proxy may have changed the host on the way.
	_ = cross.AddTrustedOrigin(s.external.Scheme + "://" + s.external.Host) // which has been checked
	return cross.Handler(http.MaxBytesHandler(s.alerts.Handler(), maxPosted))
}

// tells says who is told of alerts, for people.
func (s *server) tells() string {
	c := s.config
	switch {
	case s.elsewhere != nil:
		hosts := make([]string, len(c.receivers.urls))
		for i, u := range c.receivers.urls {
			hosts[i] = host(u)
		}
		return "the Alertmanager at " + strings.Join(hosts, ", ")
	case c.receivers.file != "":
		return "receivers of " + c.receivers.file
	case !c.slack.token.Empty():
		return "a Slack bot, with a token"
	case !c.slackURL.Empty():
		return "a Slack webhook"
	default:
		return "nobody: alerts are shown on the pages only"
	}
}

// unheard says when no Alertmanager elsewhere has taken alerts for too long.
func (s *server) unheard(now time.Time) []string {
	if s.elsewhere == nil {
		return nil
	}
	since := s.elsewhere.FailingSince()
	if since.IsZero() || now.Sub(since) < elsewhereStuck {
		return nil
	}
	return []string{"no Alertmanager has taken alerts since " + since.UTC().Format(time.RFC3339)}
}
