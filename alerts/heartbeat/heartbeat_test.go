package heartbeat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/slowburn-slo/slowburn/alerts/slack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "c4n4ry"

// watcher hears beats, in the process so that a bubble's clock governs it.
type watcher struct {
	began  time.Time
	answer func(*http.Request) (*http.Response, error)

	mu    sync.Mutex
	beats []time.Duration
}

func (w *watcher) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.beats = append(w.beats, time.Since(w.began))
	w.mu.Unlock()
	return w.answer(r)
}

func (w *watcher) heard() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprint(w.beats)
}

func says(status int, body io.Reader) (*http.Response, error) {
	return &http.Response{
		StatusCode: status, Body: io.NopCloser(body),
		Header: http.Header{"Location": {"https://elsewhere.invalid/"}},
	}, nil
}

// TestHeart: it beats while all is well, and is missing within two minutes when
// it is not.
func TestHeart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		w := &watcher{began: began, answer: func(*http.Request) (*http.Response, error) { return says(200, strings.NewReader("OK")) }}
		var log bytes.Buffer
		registry := prometheus.NewRegistry()
		h, err := New(Options{
			URL: slack.NewSecret("https://beat.invalid/" + canary), Client: &http.Client{Transport: w},
			Healthy: func(now time.Time) []string {
				if at := now.Sub(began); at >= 100*time.Second && at < 10*time.Minute {
					return []string{"the disk is full", "Slack is away"}
				}
				return nil
			},
			Logger: slog.New(slog.NewTextHandler(&log, nil)), Registerer: registry,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		time.Sleep(11*time.Minute + time.Second)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want that it was canceled", err)
		}
		if got, want := w.heard(), "[0s 30s 1m0s 1m30s 10m0s 10m30s 11m0s]"; got != want {
			t.Errorf("beats at %s, want %s", got, want)
		}
		want := `
# HELP slowburn_heartbeats_total Heartbeats: heard, failed, or withheld because slowburn is not well.
# TYPE slowburn_heartbeats_total counter
slowburn_heartbeats_total{outcome="failed"} 0
slowburn_heartbeats_total{outcome="heard"} 7
slowburn_heartbeats_total{outcome="withheld"} 16
`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "slowburn_heartbeats_total"); err != nil {
			t.Error(err)
		}
		for _, part := range []string{"the disk is full; Slack is away", "goes on"} {
			if strings.Count(log.String(), part) != 1 {
				t.Errorf("log = %s, want %q once", &log, part)
			}
		}
	})
}

// endless is an answer that never ends.
type endless struct{ read *int }

func (e endless) Read(p []byte) (int, error) {
	*e.read += len(p)
	return len(p), nil
}

// TestBadWatcher: whatever the other side does, the heart goes on, and nobody
// learns the address.
func TestBadWatcher(t *testing.T) {
	read := 0
	for _, tc := range []struct {
		name   string
		answer func(*http.Request) (*http.Response, error)
		fault  string
	}{
		{"away", func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }, "connection refused"},
		{"names the address", func(r *http.Request) (*http.Response, error) { return nil, errors.New("no way to " + r.URL.String()) }, "no way to <secret>"},
		{"unknown", func(*http.Request) (*http.Response, error) { return says(404, strings.NewReader("")) }, "status 404"},
		{"redirects", func(r *http.Request) (*http.Response, error) {
			if r.URL.Host != "beat.invalid" {
				return nil, errors.New("the redirect was followed")
			}
			return says(302, strings.NewReader(""))
		}, "status 302"},
		{"hangs", func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, "deadline exceeded"},
		{"endless", func(*http.Request) (*http.Response, error) { return says(500, endless{&read}) }, "status 500"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				w := &watcher{began: began}
				w.answer = func(r *http.Request) (*http.Response, error) {
					if time.Since(began) >= 2*time.Minute {
						return says(204, strings.NewReader(""))
					}
					return tc.answer(r)
				}
				var log bytes.Buffer
				h, err := New(Options{
					URL: slack.NewSecret("https://beat.invalid/" + canary), Client: &http.Client{Transport: w},
					Healthy: func(time.Time) []string { return nil }, Interval: 20 * time.Second,
					Logger: slog.New(slog.NewTextHandler(&log, nil)), Registerer: prometheus.NewRegistry(),
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute-time.Second)
				defer cancel()
				_ = h.Run(ctx) // as ctx ends
				if got, want := w.heard(), "[0s 20s 40s 1m0s 1m20s 1m40s 2m0s 2m20s 2m40s]"; got != want {
					t.Errorf("beats at %s, want %s", got, want)
				}
				for _, part := range []string{tc.fault, "heard again"} {
					if strings.Count(log.String(), part) != 1 {
						t.Errorf("log = %s, want %q once", &log, part)
					}
				}
				if strings.Contains(log.String(), canary) {
					t.Errorf("the address is in the log: %s", &log)
				}
			})
		})
	}
	if read == 0 || read > 6*maxAnswer+6*(32<<10) {
		t.Errorf("%d bytes read of six endless answers, want %d each at most", read, maxAnswer)
	}
}

// TestConnection beats over a real one.
func TestConnection(t *testing.T) {
	heard := make(chan string, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case heard <- r.Method + " " + r.URL.Path:
		default:
		}
	}))
	defer srv.Close()
	h, err := New(Options{
		URL: slack.NewSecret(srv.URL + "/ping/1\n"), Healthy: func(time.Time) []string { return nil }, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	if got, want := <-heard, "GET /ping/1"; got != want {
		t.Errorf("request = %s, want %s", got, want)
	}
	cancel()
	<-done
}

func TestNewFaults(t *testing.T) {
	well := func(time.Time) []string { return nil }
	for _, tc := range []struct {
		name, want string
		o          Options
	}{
		{"nothing", "is missing", Options{}},
		{"nobody to ask", "is missing", Options{URL: slack.NewSecret("https://h/" + canary)}},
		{"a path", "is no URL", Options{URL: slack.NewSecret("/" + canary), Healthy: well}},
		{"ftp", "is no URL", Options{URL: slack.NewSecret("ftp://h/" + canary), Healthy: well}},
		{"garbage", "is no URL", Options{URL: slack.NewSecret("https://h/%zz" + canary), Healthy: well}},
		{"rarely", "want 1m0s at most", Options{URL: slack.NewSecret("https://h/" + canary), Healthy: well, Interval: time.Hour}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := New(tc.o); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("New = %v, want %q and no address", err, tc.want)
			}
		})
	}
}
