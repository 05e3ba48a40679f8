// Package heartbeat tells somebody else that slowburn is well, for as long as it
// is: a dead-man's switch. Who hears nothing for two minutes raises the alarm
// that slowburn itself cannot raise.
package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/slowburn-slo/slowburn/alerts/slack"
)

const (
	// DefaultInterval is that of beats. With it and MaxInterval, trouble that
	// Healthy sees shows within two minutes: the last beat goes out before it,
	// and the next but one is missing.
	DefaultInterval = 30 * time.Second

	// MaxInterval bounds what Options may ask for.
	MaxInterval = time.Minute

	// tryFor cuts a beat that hangs, answer included.
	tryFor = 10 * time.Second

	// maxAnswer is how much of an answer is read, in bytes.
	maxAnswer = 64 << 10
)

// Options are what a Heart needs. URL and Healthy are required.
type Options struct {
	// URL is asked with GET at each beat, http or https. Who knows it can keep
	// the alarm from being raised.
	URL slack.Secret

	// Healthy returns what is wrong with slowburn at a time; while that is
	// anything, the heart does not beat.
	Healthy func(now time.Time) (faults []string)

	// Interval is the time between beats, in (0, MaxInterval]; zero is
	// DefaultInterval.
	Interval time.Duration

	// Client sends the beats. Redirects are not followed whatever it says. The
	// default is a client of its own that honours the proxy variables.
	Client *http.Client

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Heart beats while slowburn is healthy.
type Heart struct {
	o     Options
	url   string
	beats *prometheus.CounterVec
	last  prometheus.Gauge

	// Of Run only.
	still bool // something was wrong at the last beat
	fails bool // the last beat was not heard
}

// New checks the options and returns a Heart that does not beat until Run. No
// error shows the URL.
func New(o Options) (*Heart, error) {
	text := o.URL.Reveal()
	u, err := url.Parse(text)
	switch {
	case o.URL.Empty() || o.Healthy == nil:
		return nil, errors.New("heartbeat: Options.URL or Options.Healthy is missing; want both")
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return nil, errors.New("heartbeat: the URL is no URL; want one such as https://hc-ping.com/…")
	case o.Interval < 0 || o.Interval > MaxInterval:
		return nil, fmt.Errorf("heartbeat: an interval of %s; want %s at most, or two minutes would pass unnoticed", o.Interval, MaxInterval)
	}
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	client := &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second,
	}}
	if o.Client != nil {
		own := *o.Client
		client = &own
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	o.Client = client
	h := &Heart{
		o: o, url: text,
		beats: promauto.With(o.Registerer).NewCounterVec(prometheus.CounterOpts{
			Name: "slowburn_heartbeats_total",
			Help: "Heartbeats: heard, failed, or withheld because slowburn is not well.",
		}, []string{"outcome"}),
		last: promauto.With(o.Registerer).NewGauge(prometheus.GaugeOpts{
			Name: "slowburn_heartbeat_last_success_timestamp_seconds",
			Help: "When a heartbeat was last heard, in seconds since 1970; 0 before the first.",
		}),
	}
	for _, outcome := range []string{"heard", "failed", "withheld"} {
		h.beats.WithLabelValues(outcome)
	}
	return h, nil
}

// Run beats at once and then at each interval until ctx ends, and returns its
// error. It can be called once.
func (h *Heart) Run(ctx context.Context) error {
	defer h.o.Client.CloseIdleConnections()
	tick := time.NewTicker(h.o.Interval)
	defer tick.Stop()
	for {
		h.beat(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// beat beats once if all is well.
func (h *Heart) beat(ctx context.Context) {
	if faults := h.o.Healthy(time.Now()); len(faults) > 0 {
		h.beats.WithLabelValues("withheld").Inc()
		if !h.still {
			h.o.Logger.Error("the heartbeat stops until this is mended", "faults", strings.Join(faults, "; "))
		}
		h.still = true
		return
	}
	if h.still {
		h.still = false
		h.o.Logger.Info("the heartbeat goes on")
	}
	err := h.send(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		h.beats.WithLabelValues("failed").Inc()
		if !h.fails {
			h.o.Logger.Warn("nobody hears the heartbeat", "err", err)
		}
		h.fails = true
		return
	}
	if h.fails {
		h.fails = false
		h.o.Logger.Info("the heartbeat is heard again")
	}
	h.beats.WithLabelValues("heard").Inc()
	h.last.SetToCurrentTime()
}

// send asks the URL. Its error does not show it.
func (h *Heart) send(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url, nil)
	if err != nil {
		return h.redact(err)
	}
	req.Header.Set("User-Agent", "slowburn")
	resp, err := h.o.Client.Do(req)
	if err != nil {
		return h.redact(err)
	}
	defer resp.Body.Close()
	// So that the connection can be used again. The status is the answer.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("heartbeat: status %d; want 2xx", resp.StatusCode)
	}
	return nil
}

// redact returns err as a text without the URL.
func (h *Heart) redact(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("heartbeat: %s", strings.ReplaceAll(err.Error(), h.url, "<secret>"))
}
