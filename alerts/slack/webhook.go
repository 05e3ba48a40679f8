// Package slack tells people about burning error budgets: what a message says,
// and how it gets to Slack, through an incoming webhook or a bot token.
package slack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// spacing is the least time between two requests: Slack allows a webhook
	// one message a second.
	spacing = time.Second

	// tryFor cuts a try that hangs, answer included.
	tryFor = 10 * time.Second

	// firstPause and lastPause bound the pause after a try that failed. It
	// doubles from the one to the other and is stretched at random by up to
	// half, so that instances do not come back in step: 27 s at most. Even when
	// the last try hung and with one message a second, 20 messages are then told
	// within 57 s of Slack's return, and ten minutes without Slack take 37 tries
	// at most.
	firstPause = time.Second
	lastPause  = 18 * time.Second

	// limitedPause follows an answer 429 that does not say how long to wait:
	// what Slack usually asks for.
	limitedPause = 30 * time.Second

	// longestPause bounds what an answer can make us wait, so that a nonsense
	// Retry-After does not silence pages for days.
	longestPause = time.Hour

	// refusedPause follows an answer that more tries will not change: a revoked
	// webhook, a missing channel, a message Slack does not accept.
	refusedPause = 5 * time.Minute

	// maxAnswer is how much of an answer is read, in bytes. Slack's are a word.
	maxAnswer = 64 << 10
)

// Options are what a Webhook needs. Only URL is required.
type Options struct {
	// URL is the incoming webhook's, http or https.
	URL Secret

	// Facts returns what the ledger knows of an SLO now. firedAt is when its
	// alert fired. ok is false when it knows nothing; the message then says
	// what the alert itself carries. Without Facts it always does.
	Facts func(sloID string, firedAt time.Time) (f Facts, ok bool)

	// ExternalURL is where people reach slowburn. Without it messages have no
	// link to the flow.
	ExternalURL *url.URL

	// TraceURL is the address of a trace, with {trace_id} where its id goes.
	// Without it traces have no links.
	TraceURL string

	// Template is the user's own wording; nil for ours.
	Template *Template

	// StandIn says that the webhook is not Slack's but takes the same messages,
	// as those of Mattermost, Rocket.Chat, Zulip or Discord do, for when Slack
	// is away: every answer of status 2xx is a yes, and no channel is named.
	StandIn bool

	// Client sends the messages. Redirects are not followed whatever it says.
	// The default is a client of its own that honours the proxy variables.
	Client *http.Client

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Webhook sends messages to one Slack incoming webhook: one at a time, one a
// second at most, and none while Slack asked for a pause. Its methods may be
// called from several goroutines.
type Webhook struct {
	url     Secret
	path    Secret // of url
	client  *http.Client
	voice   voice
	standIn bool
	*pace
}

// New checks the options and returns a Webhook. It sends nothing. No error
// shows the URL.
func New(o Options) (*Webhook, error) {
	u, err := url.Parse(o.URL.reveal())
	switch {
	case o.URL.Empty():
		return nil, errors.New("slack: no webhook URL")
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return nil, errors.New("slack: the webhook URL is no URL; want https://hooks.slack.com/services/…")
	}
	if err := checkTraceURL(o.TraceURL); err != nil {
		return nil, fmt.Errorf("slack: trace URL: %w", err)
	}
	if o.Client == nil {
		o.Client = newClient()
	}
	if o.Facts == nil {
		o.Facts = func(string, time.Time) (Facts, bool) { return Facts{}, false }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	client := *o.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	w := &Webhook{
		url:    o.URL,
		path:   NewSecret(strings.Trim(u.RequestURI(), "/")),
		client: &client, standIn: o.StandIn,
		voice: voice{facts: o.Facts, external: o.ExternalURL, traceURL: o.TraceURL, template: o.Template, logger: o.Logger},
		pace:  newPace(o.Logger, o.Registerer, o.StandIn),
	}
	return w, nil
}

// newClient returns a client that honours the proxy variables.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		ForceAttemptHTTP2: true,
		IdleConnTimeout:   90 * time.Second,
	}}
}

// Channel returns the notifier of a channel, such as "#shop"; "" is the
// webhook's own. All of them share the webhook's pace.
func (w *Webhook) Channel(name string) notify.Notifier {
	return &channel{webhook: w, name: name, holds: newHolds(w.pace)}
}

// channel sends to one channel of a webhook.
type channel struct {
	webhook *Webhook
	name    string
	holds   holds
}

// Notify implements notify.Notifier: it waits for its turn and makes one try,
// which is finished even when ctx ends meanwhile, so that nobody has to guess
// whether the message went out. Every failure may be retried at once; the next
// Notify waits as long as has to be waited.
func (c *channel) Notify(ctx context.Context, alerts ...*alert.Alert) (retry bool, err error) {
	w := c.webhook
	group, _ := notify.GroupKey(ctx)
	if err := sleepUntil(ctx, c.holds.held(group)); err != nil {
		return true, fmt.Errorf("slack refused this message; the next try waits: %w", err)
	}
	done, err := w.take(ctx)
	if err != nil {
		return true, err
	}
	defer done()
	reason, _ := notify.NotificationReason(ctx)
	body, err := c.message(alerts, reason == notify.ReasonRepeatIntervalElapsed)
	if err != nil {
		return true, err
	}
	a := w.send(context.WithoutCancel(ctx), body)
	w.settle(a)
	if a.outcome == refused {
		all := a.status != http.StatusBadRequest && a.status != http.StatusRequestEntityTooLarge
		c.holds.hold(group, all)
	}
	return true, a.err
}

// send makes one try.
func (w *Webhook) send(ctx context.Context, body []byte) answer {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url.reveal(), bytes.NewReader(body))
	if err != nil {
		return answer{outcome: failed, err: w.redact(err)}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "slowburn")
	resp, err := w.client.Do(req)
	if err != nil {
		return answer{outcome: failed, err: w.redact(err)}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	pause, asked := retryAfter(resp.Header, time.Now())
	a := answer{status: resp.StatusCode, pause: pause}
	switch said := w.word(text); {
	case a.status == http.StatusTooManyRequests:
		a.outcome, a.err = limited, fmt.Errorf("slack limits the rate: status 429%s", said)
		if !asked {
			a.pause = limitedPause
		}
	case a.status >= 300 && a.status < 500 && a.status != http.StatusRequestTimeout:
		a.outcome, a.err = refused, fmt.Errorf("slack refuses the message: status %d%s", a.status, said)
	case w.standIn && a.status/100 == 2:
	case a.status != http.StatusOK:
		a.outcome, a.err = failed, fmt.Errorf("slack is out of order: status %d%s", a.status, said)
	case err != nil:
		a.outcome, a.err = failed, w.redact(err)
	case string(bytes.TrimSpace(text)) != "ok":
		a.outcome, a.err = failed, fmt.Errorf("slack does not say ok: status 200%s", said)
	}
	return a
}

// retryAfter reads the header of that name, seconds or a date. The result is
// not negative; ok is false when there is nothing to be read.
func retryAfter(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Duration(min(max(n, 0), int64(longestPause/time.Second))) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		// A date is cut to the second; waiting one more is never too early.
		return max(at.Sub(now)+time.Second, 0), true
	}
	return 0, false
}

var slackWord = regexp.MustCompile(`^[a-z][a-z0-9_]{0,60}$`)

// word returns Slack's word for what is wrong, such as invalid_payload, as
// " (invalid_payload)". Anything else is left out: a proxy's page may repeat
// the URL, or a part of it.
func (w *Webhook) word(text []byte) string {
	if text = bytes.TrimSpace(text); slackWord.Match(text) && !strings.Contains(w.url.reveal(), string(text)) {
		return " (" + string(text) + ")"
	}
	return ""
}

// redact returns err as a text without the URL. The original is not kept:
// whoever unwraps it would find the URL.
func (w *Webhook) redact(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	text := strings.ReplaceAll(err.Error(), w.url.reveal(), hidden)
	if !w.path.Empty() {
		text = strings.ReplaceAll(text, w.path.reveal(), hidden)
	}
	return fmt.Errorf("post to the webhook: %s", text)
}
