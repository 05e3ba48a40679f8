// Package slack tells people about burning error budgets: what a message says,
// and how it gets to a Slack incoming webhook.
package slack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const (
	// spacing is the least time between two requests: Slack allows a webhook
	// one message a second.
	spacing = time.Second

	// tryFor cuts a try that hangs, answer included.
	tryFor = 10 * time.Second

	// firstPause and lastPause bound the pause after a try that failed. It
	// doubles from the one to the other and is stretched at random by up to
	// half, so that instances do not come back in step: 36 s at most. With one
	// message a second, 20 alerts are then told within a minute of Slack's
	// return, and ten minutes without Slack take about 25 tries.
	firstPause = time.Second
	lastPause  = 24 * time.Second

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
	url      Secret
	path     Secret // of url
	client   *http.Client
	facts    func(string, time.Time) (Facts, bool)
	external *url.URL
	logger   *slog.Logger
	requests *prometheus.CounterVec

	// turn holds a token while nobody sends. Whoever has it owns the fields
	// below.
	turn  chan struct{}
	next  time.Time // no request before
	fails int       // tries that failed since the last success

	mu      sync.Mutex
	failing time.Time // the first of them; zero when the last try succeeded
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
	if o.Client == nil {
		o.Client = &http.Client{Transport: &http.Transport{
			Proxy:             http.ProxyFromEnvironment,
			ForceAttemptHTTP2: true,
			IdleConnTimeout:   90 * time.Second,
		}}
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
		url:      o.URL,
		path:     NewSecret(strings.Trim(u.RequestURI(), "/")),
		client:   &client,
		facts:    o.Facts,
		external: o.ExternalURL,
		logger:   o.Logger,
		turn:     make(chan struct{}, 1),
		requests: promauto.With(o.Registerer).NewCounterVec(prometheus.CounterOpts{
			Name: "slowburn_slack_requests_total",
			Help: "Requests to the Slack webhook: delivered, limited (429), refused (other 4xx and redirects) or failed.",
		}, []string{"outcome"}),
	}
	for o := range outcomeCount {
		w.requests.WithLabelValues(o.String())
	}
	promauto.With(o.Registerer).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "slowburn_notification_age_seconds",
		Help: "How long messages have been waiting because Slack does not take them; 0 when it does.",
	}, func() float64 {
		if since := w.FailingSince(); !since.IsZero() {
			return time.Since(since).Seconds()
		}
		return 0
	})
	w.turn <- struct{}{}
	return w, nil
}

// FailingSince returns when messages began to be refused or lost, or the zero
// time when the last one was delivered.
func (w *Webhook) FailingSince() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failing
}

// Channel returns the notifier of a channel, such as "#shop"; "" is the
// webhook's own. All of them share the webhook's pace.
func (w *Webhook) Channel(name string) notify.Notifier {
	return &channel{webhook: w, name: name, holds: map[string]time.Time{}}
}

// channel sends to one channel of a webhook.
type channel struct {
	webhook *Webhook
	name    string

	mu    sync.Mutex
	holds map[string]time.Time // by group, "" for all: no try before
}

// Notify implements notify.Notifier: it waits for its turn and makes one try,
// which is finished even when ctx ends meanwhile, so that nobody has to guess
// whether the message went out. Every failure may be retried at once; the next
// Notify waits as long as has to be waited.
func (c *channel) Notify(ctx context.Context, alerts ...*alert.Alert) (retry bool, err error) {
	w := c.webhook
	group, _ := notify.GroupKey(ctx)
	if err := sleepUntil(ctx, c.held(group)); err != nil {
		return true, fmt.Errorf("slack refused this message; the next try waits: %w", err)
	}
	select {
	case <-w.turn:
		defer func() { w.turn <- struct{}{} }()
	case <-ctx.Done():
		return true, fmt.Errorf("wait for the turn to send: %w", ctx.Err())
	}
	if err := sleepUntil(ctx, w.next); err != nil {
		return true, fmt.Errorf("wait for the next try: %w", err)
	}
	reason, _ := notify.NotificationReason(ctx)
	body, err := c.message(alerts, reason == notify.ReasonRepeatIntervalElapsed)
	if err != nil {
		return true, err
	}
	a := w.send(context.WithoutCancel(ctx), body)
	w.settle(a)
	if a.outcome == refused {
		c.hold(group, a)
	}
	return true, a.err
}

// held returns until when a group of this channel has to wait.
func (c *channel) held(group string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	all, one := c.holds[""], c.holds[group]
	if all.After(one) {
		return all
	}
	return one
}

// hold keeps what was refused from being sent over and over: the message where
// Slack faults the message, else all of this channel.
func (c *channel) hold(group string, a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for g, until := range c.holds {
		if until.Before(now) {
			delete(c.holds, g)
		}
	}
	if a.status != http.StatusBadRequest && a.status != http.StatusRequestEntityTooLarge {
		group = ""
	}
	c.holds[group] = now.Add(refusedPause)
}

func sleepUntil(ctx context.Context, at time.Time) error {
	wait := time.Until(at)
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// outcome is what became of a try.
type outcome int

const (
	delivered outcome = iota
	limited
	refused
	failed
	outcomeCount
)

func (o outcome) String() string {
	return [...]string{delivered: "delivered", limited: "limited", refused: "refused", failed: "failed"}[o]
}

// answer is how a try ended.
type answer struct {
	outcome outcome
	status  int           // HTTP; 0 without an answer
	pause   time.Duration // asked for by the other side
	err     error         // nil when delivered; never shows the URL
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
	case a.status != http.StatusOK:
		a.outcome, a.err = failed, fmt.Errorf("slack is out of order: status %d%s", a.status, said)
	case err != nil:
		a.outcome, a.err = failed, w.redact(err)
	case string(bytes.TrimSpace(text)) != "ok":
		a.outcome, a.err = failed, fmt.Errorf("slack does not say ok: status 200%s", said)
	}
	return a
}

// settle sets when the next request may go out and keeps the count of
// failures. The caller has the turn.
func (w *Webhook) settle(a answer) {
	now := time.Now()
	w.requests.WithLabelValues(a.outcome.String()).Inc()
	w.mu.Lock()
	since := w.failing
	if a.err == nil {
		w.failing = time.Time{}
	} else if since.IsZero() {
		w.failing = now
	}
	w.mu.Unlock()

	pause := spacing
	switch a.outcome {
	case delivered:
		if !since.IsZero() {
			w.logger.Info("slack takes messages again", "failing_since", since, "tries", w.fails+1)
		}
		w.fails = 0
	case refused:
		w.logger.Error("slack refuses a message; check the webhook and the channel", "err", a.err, "next_try_in", refusedPause)
	case limited:
		w.logger.Warn("slack limits the rate; messages wait as long as it asks", "err", a.err, "wait", a.pause)
	default:
		if since.IsZero() {
			w.logger.Warn("slack does not take messages; they will be delivered when it does", "err", a.err)
		}
		pause = min(firstPause<<min(w.fails, 10), lastPause)
		pause += rand.N(pause / 2)
		w.fails++
	}
	w.next = now.Add(min(max(pause, a.pause), longestPause))
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
