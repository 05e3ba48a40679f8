package alertmanager

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/config"
	amcommon "github.com/prometheus/alertmanager/config/common"
	"github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/common/model"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// timing says when a group of alerts is told.
type timing struct {
	wait     time.Duration // before the first message
	interval time.Duration // between looks at what changed since the last one
	repeat   time.Duration // before an unchanged group is told again
}

// timings holds those of each severity.
//
// A page goes out at once; whether anything about it changed is looked at every
// 10 s, so that "recovered" comes promptly. Looking often sends nothing more:
// only a change does. A ticket waits for the page that may come with it and
// inhibits it.
var timings = map[slo.Severity]timing{
	slo.Page:   {wait: 0, interval: 10 * time.Second, repeat: 4 * time.Hour},
	slo.Ticket: {wait: 30 * time.Second, interval: time.Minute, repeat: 24 * time.Hour},
}

// integration is the receivers' only one, and part of the key under which the
// notification log remembers what was told.
const integration = "slack"

// receiverName returns the receiver of a channel, "" being the webhook's own.
func receiverName(channel string) string { return strings.TrimSpace(integration + " " + channel) }

// configure returns the routes of the flows: by severity, and below that by
// flow where it has a channel of its own. What fires of one flow at one severity
// is one group: objectives that burn together are one incident. A route's
// matchers are part of the key under which it is remembered what was told, so
// they name one flow only and stay the same whatever other flows come and go.
func configure(flows []slo.Flow) (cfg *config.Config, channels []string) {
	global := config.DefaultGlobalConfig()
	root := timed(timings[slo.Ticket])
	root.Receiver = receiverName("")
	root.GroupByStr = []string{series.SLOServ, series.SLOFlow, series.Severity}
	for _, l := range root.GroupByStr {
		root.GroupBy = append(root.GroupBy, model.LabelName(l))
	}

	channels = []string{""}
	for _, severity := range []slo.Severity{slo.Page, slo.Ticket} {
		branch := timed(timings[severity], equal(series.Severity, string(severity)))
		for i := range flows {
			f := &flows[i]
			channel := f.PageChannel
			if severity == slo.Ticket {
				channel = f.TicketChannel
			}
			if channel == "" {
				continue
			}
			leaf := &config.Route{
				Receiver: receiverName(channel),
				Matchers: amcommon.Matchers{equal(series.SLOFlow, f.Name), equal(series.SLOServ, f.Service)},
			}
			branch.Routes = append(branch.Routes, leaf)
			if !slices.Contains(channels, channel) {
				channels = append(channels, channel)
			}
		}
		root.Routes = append(root.Routes, branch)
	}
	ours := matcher(labels.MatchNotEqual, series.SLOFlow, "") // others' alerts have no flow in common
	cfg = &config.Config{
		Global: &global,
		Route:  root,
		InhibitRules: []amcommon.InhibitRule{{
			Name:           "a page of a flow says what its tickets would",
			SourceMatchers: amcommon.Matchers{equal(series.Severity, string(slo.Page)), ours},
			TargetMatchers: amcommon.Matchers{equal(series.Severity, string(slo.Ticket)), ours},
			Equal:          []string{series.SLOServ, series.SLOFlow},
		}},
	}
	for _, c := range channels {
		cfg.Receivers = append(cfg.Receivers, config.Receiver{Name: receiverName(c)})
	}
	return cfg, channels
}

// timed returns a route with the given matchers and timing.
func timed(t timing, matchers ...*labels.Matcher) *config.Route {
	wait, interval, repeat := model.Duration(t.wait), model.Duration(t.interval), model.Duration(t.repeat)
	return &config.Route{
		Matchers:       matchers,
		GroupWait:      &wait,
		GroupInterval:  &interval,
		RepeatInterval: &repeat,
	}
}

func equal(name, value string) *labels.Matcher {
	return matcher(labels.MatchEqual, name, value)
}

func matcher(t labels.MatchType, name, value string) *labels.Matcher {
	m, err := labels.NewMatcher(t, name, value)
	if err != nil {
		panic(fmt.Sprintf("a matcher without a pattern has nothing to fault: %v", err))
	}
	return m
}
