package slack

import (
	"bytes"
	"fmt"
	"net/url"
	"time"

	"github.com/prometheus/alertmanager/alert"

	"github.com/slowburn-slo/slowburn/alerts/slack/chart"
)

// RenderOptions say what a rendered message knows and where it leads. They are
// those of a Webhook and a Bot.
type RenderOptions struct {
	Channel     string
	Facts       func(sloID string, firedAt time.Time) (f Facts, ok bool) // required
	ExternalURL *url.URL
	TraceURL    string

	// Template is the user's own wording; nil for ours.
	Template *Template

	// Again says that nothing has changed since the alerts were last told.
	Again bool
}

// Rendered is a message in all its forms, none of which was sent.
type Rendered struct {
	Text    string // for a terminal, as lines
	Webhook []byte // what an incoming webhook takes: JSON
	Bot     []byte // what chat.postMessage takes: JSON; without the chart, which needs an upload
	Chart   []byte // PNG; nil where there is nothing to draw
}

// Render returns the message for alerts that fire or end together, of which
// there is at least one.
func Render(o RenderOptions, alerts ...*alert.Alert) (r Rendered, err error) {
	if len(alerts) == 0 {
		return r, fmt.Errorf("slack: no alert to tell of")
	}
	if err := checkTraceURL(o.TraceURL); err != nil {
		return r, fmt.Errorf("slack: trace URL: %w", err)
	}
	v := voice{facts: o.Facts, external: o.ExternalURL, traceURL: o.TraceURL}
	alerts = worstFirst(alerts)
	s := v.ours(alerts, o.Again)
	if o.Template != nil {
		if s, err = o.Template.tell(s, v.data(s, alerts, o.Again)); err != nil {
			return r, err
		}
	}
	r.Text = s.text()
	if r.Webhook, err = encode(s.message(o.Channel)); err != nil {
		return r, err
	}
	if r.Bot, err = encode(s.posting(o.Channel, "")); err != nil {
		return r, err
	}
	if s.chart != nil {
		var b bytes.Buffer
		if err := chart.Draw(&b, *s.chart); err != nil {
			return r, err
		}
		r.Chart = b.Bytes()
	}
	return r, nil
}
