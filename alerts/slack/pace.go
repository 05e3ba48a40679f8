package slack

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// pace lets one request out at a time, as often as Slack takes them. Its
// methods may be called from several goroutines.
type pace struct {
	logger   *slog.Logger
	requests *prometheus.CounterVec
	retried  atomic.Int64 // how often Retry was called

	// turn holds a token while nobody sends. Whoever has it owns the fields
	// below.
	turn  chan struct{}
	next  time.Time // no request before
	fails int       // tries that failed since the last success

	mu      sync.Mutex
	failing time.Time // the first of them; zero when the last try succeeded
}

// newPace returns the pace of requests to Slack or, for standIn, to the receiver
// that stands in for it, which counts by names of its own.
func newPace(logger *slog.Logger, registerer prometheus.Registerer, standIn bool) *pace {
	who, requests, age := "Slack", "slowburn_slack_requests_total", "slowburn_notification_age_seconds"
	if standIn {
		who, requests, age = "the fallback", "slowburn_fallback_requests_total", "slowburn_fallback_age_seconds"
	}
	p := &pace{
		logger: logger,
		turn:   make(chan struct{}, 1),
		requests: promauto.With(registerer).NewCounterVec(prometheus.CounterOpts{
			Name: requests,
			Help: "Requests to " + who + ": delivered, limited (429), refused (other 4xx and redirects) or failed.",
		}, []string{"outcome"}),
	}
	for o := range outcomeCount {
		p.requests.WithLabelValues(o.String())
	}
	promauto.With(registerer).NewGaugeFunc(prometheus.GaugeOpts{
		Name: age,
		Help: "How long messages have been waiting because " + who + " does not take them; 0 when it does.",
	}, func() float64 {
		if since := p.FailingSince(); !since.IsZero() {
			return time.Since(since).Seconds()
		}
		return 0
	})
	p.turn <- struct{}{}
	return p
}

// FailingSince returns when messages began to be refused or lost, or the zero
// time when the last one was delivered.
func (p *pace) FailingSince() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failing
}

// Retry lets what was refused be tried again at once, for when somebody may have
// mended it. What is being held back then goes out within a minute.
func (p *pace) Retry() { p.retried.Add(1) }

// take waits for the turn to send, and until the next request may go out. Who
// has it calls done.
func (p *pace) take(ctx context.Context) (done func(), err error) {
	select {
	case <-p.turn:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the turn to send: %w", ctx.Err())
	}
	done = func() { p.turn <- struct{}{} }
	if err := sleepUntil(ctx, p.next); err != nil {
		done()
		return nil, fmt.Errorf("wait for the next try: %w", err)
	}
	return done, nil
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
	word    string        // a bot's answer: Slack's for what is wrong
	free    bool          // it was no message, of which there may be one a second
	err     error         // nil when delivered; never shows the URL
}

// settle sets when the next request may go out and keeps the count of
// failures. The caller has the turn.
func (p *pace) settle(a answer) {
	now := time.Now()
	p.requests.WithLabelValues(a.outcome.String()).Inc()
	p.mu.Lock()
	since := p.failing
	if a.err == nil {
		p.failing = time.Time{}
	} else if since.IsZero() {
		p.failing = now
	}
	p.mu.Unlock()

	pause := spacing
	if a.free {
		pause = 0
	}
	switch a.outcome {
	case delivered:
		if !since.IsZero() {
			p.logger.Info("slack takes messages again", "failing_since", since, "tries", p.fails+1)
		}
		p.fails = 0
	case refused:
		p.logger.Error("slack refuses a message; check the app and the channel", "err", a.err, "next_try_in", refusedPause)
	case limited:
		p.logger.Warn("slack limits the rate; messages wait as long as it asks", "err", a.err, "wait", a.pause)
	default:
		if since.IsZero() {
			p.logger.Warn("slack does not take messages; they will be delivered when it does", "err", a.err)
		}
		pause = min(firstPause<<min(p.fails, 10), lastPause)
		pause += rand.N(pause / 2)
		p.fails++
	}
	p.next = now.Add(min(max(pause, a.pause), longestPause))
}

// holds are messages of a channel that Slack refused.
type holds struct {
	pace *pace

	mu    sync.Mutex
	tried int64                // pace.retried at the last look
	until map[string]time.Time // by group, "" for all: no try before
}

func newHolds(p *pace) holds { return holds{pace: p, until: map[string]time.Time{}} }

// held returns until when a group of the channel has to wait.
func (h *holds) held(group string) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.pace.retried.Load(); n != h.tried {
		h.tried = n
		clear(h.until)
	}
	all, one := h.until[""], h.until[group]
	if all.After(one) {
		return all
	}
	return one
}

// hold keeps what was refused from being sent over and over: the message where
// Slack faults the message, else all of the channel.
func (h *holds) hold(group string, all bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for g, until := range h.until {
		if until.Before(now) {
			delete(h.until, g)
		}
	}
	if all {
		group = ""
	}
	h.until[group] = now.Add(refusedPause)
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
