package main

import (
	"fmt"
	"time"

	"github.com/prometheus/alertmanager/notify"
	"github.com/spf13/pflag"

	"github.com/slowburn-slo/slowburn/alerts/heartbeat"
	"github.com/slowburn-slo/slowburn/alerts/slack"
)

// heartbeatStuck is for how long Slack may be out of reach before the heartbeat
// stops: with half a minute between beats, that shows within two minutes.
const heartbeatStuck = time.Minute

// deliveryConfig is what serve is told about who hears when Slack does not, or
// slowburn is not well.
type deliveryConfig struct {
	fallbackFile, heartbeatFile string
	fallback, heartbeat         slack.Secret // from the files; empty without one
}

func (c *deliveryConfig) flags(f *pflag.FlagSet) {
	f.StringVar(&c.fallbackFile, "slack-fallback-webhook-url-file", "", "file with the address of a second webhook that takes Slack's messages (Mattermost, Rocket.Chat, Zulip, Discord): told what Slack has not taken for five minutes")
	f.StringVar(&c.heartbeatFile, "heartbeat-url-file", "", "file with an address that is asked every 30 s while slowburn is well, e.g. https://hc-ping.com/...; let it raise the alarm when it is not asked for 2 minutes")
}

// read reads the files. hasSlack says that there is a webhook or a bot token.
func (c *deliveryConfig) read(hasSlack bool) (err error) {
	if c.fallbackFile != "" {
		if !hasSlack {
			return fmt.Errorf("--slack-fallback-webhook-url-file: there is no Slack that it could stand in for; want a webhook or a bot token as well")
		}
		if c.fallback, err = slack.ReadSecret(c.fallbackFile); err != nil {
			return fmt.Errorf("--slack-fallback-webhook-url-file: %w", err)
		}
	}
	if c.heartbeatFile != "" {
		if c.heartbeat, err = slack.ReadSecret(c.heartbeatFile); err != nil {
			return fmt.Errorf("--heartbeat-url-file: %w", err)
		}
	}
	return nil
}

// newFallback returns who stands in for Slack, nil without one.
func (s *server) newFallback() (notify.Notifier, error) {
	if s.config.delivery.fallback.Empty() {
		return nil, nil
	}
	w, err := slack.New(slack.Options{
		URL: s.config.delivery.fallback, StandIn: true, Facts: s.facts, ExternalURL: s.external, TraceURL: s.config.slack.traceURL,
		Template: s.config.slack.template,
		Logger:   s.logger.With("component", "fallback"), Registerer: s.telemetry.registry,
	})
	if err != nil {
		return nil, fmt.Errorf("--slack-fallback-webhook-url-file: %w", err)
	}
	return slack.Gather(w.Channel("")), nil
}

// newHeart returns the heartbeat, nil without one.
func (s *server) newHeart() (*heartbeat.Heart, error) {
	if s.config.delivery.heartbeat.Empty() {
		return nil, nil
	}
	h, err := heartbeat.New(heartbeat.Options{
		URL: s.config.delivery.heartbeat,
		Healthy: func(now time.Time) []string {
			return append(s.unready(now), s.messages.stuck(now, heartbeatStuck)...)
		},
		Logger: s.logger.With("component", "heartbeat"), Registerer: s.telemetry.registry,
	})
	if err != nil {
		return nil, fmt.Errorf("--heartbeat-url-file: %w", err)
	}
	return h, nil
}
