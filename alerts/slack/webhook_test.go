package slack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/slowburn-slo/slowburn/slo"
)

// fakeSlack answers requests in the process, so that a bubble's clock governs
// it. It remembers when they came.
type fakeSlack struct {
	answer func(n int, r *http.Request) (*http.Response, error) // n counts from 0

	mu     sync.Mutex
	began  time.Time
	at     []time.Duration
	bodies []string
}

func newFakeSlack(answer func(n int, r *http.Request) (*http.Response, error)) *fakeSlack {
	return &fakeSlack{answer: answer, began: time.Now()}
}

func (f *fakeSlack) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	n := len(f.at)
	f.at = append(f.at, time.Since(f.began))
	f.bodies = append(f.bodies, string(body))
	f.mu.Unlock()
	return f.answer(n, r)
}

func (f *fakeSlack) times() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.at)
}

func says(status int, body string, header ...string) (*http.Response, error) {
	r := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r, nil
}

// deliver calls Notify as Alertmanager does, over and over until it succeeds
// or ctx ends.
func deliver(ctx context.Context, n notify.Notifier, alerts ...*alert.Alert) error {
	for {
		retry, err := n.Notify(ctx, alerts...)
		if err == nil {
			return nil
		}
		if !retry {
			return fmt.Errorf("not to be retried: %w", err)
		}
		if ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond) // Alertmanager pauses longer
	}
}

func pageAlert() *alert.Alert { return checkout(slo.Page, time.Time{}) }

func TestRateLimitIsHonoured(t *testing.T) {
	for _, tc := range []struct {
		name        string
		header      func() []string
		least, most time.Duration
	}{
		{"2 s", func() []string { return []string{"Retry-After", "2"} }, 2 * time.Second, 4 * time.Second},
		{"30 s", func() []string { return []string{"Retry-After", "30"} }, 30 * time.Second, 32 * time.Second},
		{"date", func() []string {
			return []string{"Retry-After", time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat)}
		}, 20 * time.Second, 22 * time.Second},
		{"absent", func() []string { return nil }, 30 * time.Second, 32 * time.Second},
		{"garbage", func() []string { return []string{"Retry-After", "soon"} }, 30 * time.Second, 32 * time.Second},
		{"at once", func() []string { return []string{"Retry-After", "0"} }, time.Second, 2 * time.Second},
		{"in the past", func() []string { return []string{"Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT"} }, time.Second, 2 * time.Second},
		{"for ever", func() []string { return []string{"Retry-After", "99999999999"} }, time.Hour, time.Hour + 2*time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeSlack(func(n int, _ *http.Request) (*http.Response, error) {
					if n == 0 {
						return says(http.StatusTooManyRequests, "rate_limited", tc.header()...)
					}
					return says(200, "ok")
				})
				w := testWebhook(t, Options{Client: &http.Client{Transport: f}})
				if err := deliver(t.Context(), w.Channel(""), pageAlert()); err != nil {
					t.Fatal(err)
				}
				at := f.times()
				if len(at) != 2 || at[1]-at[0] < tc.least || at[1]-at[0] > tc.most {
					t.Errorf("requests at %v, want a second one %v to %v after the first", at, tc.least, tc.most)
				}
			})
		})
	}
}

// TestRateLimitOutlivesTheCall: Alertmanager gives up a call and starts a new
// one; the pause Slack asked for holds across them, and for every channel.
func TestRateLimitOutlivesTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeSlack(func(n int, _ *http.Request) (*http.Response, error) {
			if n == 0 {
				return says(http.StatusTooManyRequests, "", "Retry-After", "120")
			}
			return says(200, "ok")
		})
		w := testWebhook(t, Options{Client: &http.Client{Transport: f}})
		var wg sync.WaitGroup
		for _, name := range []string{"#a", "#b"} {
			n := w.Channel(name)
			wg.Go(func() {
				for {
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					err := deliver(ctx, n, pageAlert())
					cancel()
					if err == nil {
						return
					}
				}
			})
		}
		wg.Wait()
		at := f.times()
		if len(at) != 3 || at[1] < 120*time.Second || at[2]-at[1] < time.Second || at[2] > 123*time.Second {
			t.Errorf("requests at %v, want the second after 120 s and the third a second later", at)
		}
	})
}

// TestOutage: Slack is broken for ten minutes while 20 groups wait.
func TestOutage(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer func(*http.Request) (*http.Response, error)
	}{
		{"500", func(*http.Request) (*http.Response, error) { return says(500, "") }},
		{"503", func(*http.Request) (*http.Response, error) { return says(503, "<html>") }},
		{"408", func(*http.Request) (*http.Response, error) { return says(408, "") }},
		{"refused", func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
		}},
		{"200 without ok", func(*http.Request) (*http.Response, error) { return says(200, "invalid_token") }},
		{"endless body", func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(endless{})}, nil
		}},
		{"hangs", func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const down, groups = 10 * time.Minute, 20
				began := time.Now()
				f := newFakeSlack(func(_ int, r *http.Request) (*http.Response, error) {
					if time.Since(began) < down {
						return tc.answer(r)
					}
					return says(200, "ok")
				})
				reg := prometheus.NewRegistry()
				w := testWebhook(t, Options{Client: &http.Client{Transport: f}, Registerer: reg})
				n := w.Channel("")
				var wg sync.WaitGroup
				for range groups {
					wg.Go(func() {
						if err := deliver(t.Context(), n, pageAlert()); err != nil {
							t.Error(err)
						}
					})
				}
				time.Sleep(5 * time.Minute)
				if age := time.Since(w.FailingSince()); age < 4*time.Minute || age > 5*time.Minute {
					t.Errorf("failing for %v, want almost five minutes", age)
				}
				wg.Wait()
				at := f.times()
				tries := len(at) - groups
				if tries < 10 || tries > 40 {
					t.Errorf("%d tries in ten minutes, want 10 to 40", tries)
				}
				for i := 1; i < len(at); i++ {
					if at[i]-at[i-1] < time.Second {
						t.Errorf("requests at %v and %v, want a second between them", at[i-1], at[i])
					}
				}
				if last := at[len(at)-1]; last > down+time.Minute {
					t.Errorf("last of %d messages %v after Slack's return, want within a minute", groups, last-down)
				}
				if since := w.FailingSince(); !since.IsZero() {
					t.Errorf("failing since %v after all was delivered, want the zero time", since)
				}
				want := fmt.Sprintf(`
# HELP slowburn_notification_age_seconds How long messages have been waiting because Slack does not take them; 0 when it does.
# TYPE slowburn_notification_age_seconds gauge
slowburn_notification_age_seconds 0
# HELP slowburn_slack_requests_total Requests to Slack: delivered, limited (429), refused (other 4xx and redirects) or failed.
# TYPE slowburn_slack_requests_total counter
slowburn_slack_requests_total{outcome="delivered"} %d
slowburn_slack_requests_total{outcome="failed"} %d
slowburn_slack_requests_total{outcome="limited"} 0
slowburn_slack_requests_total{outcome="refused"} 0
`, groups, tries)
				if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// endless is an answer that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'o'
	}
	return len(p), nil
}

// TestRefused: what more tries will not mend is tried every five minutes, and
// keeps nothing back but what was refused.
func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		status int
		// Whether another group of the same channel is kept back as well.
		channel bool
	}{
		{http.StatusBadRequest, false},
		{http.StatusRequestEntityTooLarge, false},
		{http.StatusForbidden, true},
		{http.StatusNotFound, true},
		{http.StatusGone, true},
		{http.StatusFound, true},
	} {
		t.Run(http.StatusText(tc.status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mended := time.Now().Add(22 * time.Minute)
				f := newFakeSlack(nil)
				f.answer = func(n int, _ *http.Request) (*http.Response, error) {
					f.mu.Lock()
					poison := strings.Contains(f.bodies[n], "#poison")
					f.mu.Unlock()
					if poison && time.Now().Before(mended) {
						return says(tc.status, "invalid_payload", "Location", "https://elsewhere.invalid/")
					}
					return says(200, "ok")
				}
				var log bytes.Buffer
				w := testWebhook(t, Options{
					Client: &http.Client{Transport: f},
					Logger: slog.New(slog.NewTextHandler(&log, nil)),
				})
				poisoned, fine := w.Channel("#poison"), w.Channel("#fine")
				in := func(group string) context.Context { return notify.WithGroupKey(t.Context(), group) }

				if _, err := poisoned.Notify(in("a"), pageAlert()); err == nil || !strings.Contains(err.Error(), "invalid_payload") {
					t.Errorf("Notify = %v, want an error with Slack's word", err)
				}
				if !strings.Contains(log.String(), "level=ERROR") {
					t.Errorf("log = %q, want an error", &log)
				}
				began := time.Now()
				if err := deliver(in("a"), fine, pageAlert()); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("another channel waited %v, want at most 2 s", took)
				}
				ctx, cancel := context.WithTimeout(in("b"), time.Minute)
				defer cancel()
				before := len(f.times())
				_, err := poisoned.Notify(ctx, pageAlert())
				if err == nil {
					t.Error("the refused channel took a message")
				}
				if held := len(f.times()) == before; held != tc.channel {
					t.Errorf("another group of the channel is held back: %v, want %v", held, tc.channel)
				}
				if err := deliver(in("a"), poisoned, pageAlert()); err != nil {
					t.Fatal(err)
				}
				var tries []time.Duration
				for i, at := range f.times() {
					if strings.Contains(f.bodies[i], "#poison") {
						tries = append(tries, at)
					}
				}
				if n := len(tries); n < 5 || n > 7 {
					t.Errorf("tries of what was refused at %v, want one every five minutes for 22 minutes", tries)
				}
			})
		})
	}
}

// TestStopFinishesTheTry: a message under way when the process stops is
// finished, so that nobody has to guess; one that waits is given up at once.
func TestStopFinishesTheTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeSlack(func(_ int, r *http.Request) (*http.Response, error) {
			select {
			case <-time.After(3 * time.Second):
				return says(200, "ok")
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		})
		w := testWebhook(t, Options{Client: &http.Client{Transport: f}})
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, err := w.Channel("").Notify(ctx, pageAlert()); first <- err }()
		synctest.Wait()
		go func() { _, err := w.Channel("").Notify(ctx, pageAlert()); second <- err }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		select {
		case err := <-second:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("waiting message = %v, want context canceled", err)
			}
		default:
			t.Error("the waiting message still waits")
		}
		if err := <-first; err != nil {
			t.Errorf("message under way = %v, want it delivered", err)
		}
	})
}

// TestSlackServer sends over a real connection.
func TestSlackServer(t *testing.T) {
	var got message
	var path, kind string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, kind = r.URL.Path, r.Header.Get("Content-Type")
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			http.Error(w, "invalid_payload", http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, "ok")
	}))
	defer srv.Close()
	client := srv.Client()
	defer client.CloseIdleConnections()
	w := testWebhook(t, Options{URL: NewSecret(srv.URL + "/services/T0/B0/x\n"), Client: client})
	if _, err := w.Channel("#shop").Notify(t.Context(), pageAlert()); err != nil {
		t.Fatal(err)
	}
	if path != "/services/T0/B0/x" || kind != "application/json" {
		t.Errorf("request to %s with %s, want the webhook's path and JSON", path, kind)
	}
	if got.Channel != "#shop" || got.Text != "🔴 Checkout is failing" {
		t.Errorf("message = %+v, want one for #shop that checkout fails", got)
	}
}

// TestRedirectIsNotFollowed: no request, and no secret, goes elsewhere.
func TestRedirectIsNotFollowed(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the redirect was followed")
	}))
	defer elsewhere.Close()
	srv := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer srv.Close()
	client := srv.Client()
	defer client.CloseIdleConnections()
	w := testWebhook(t, Options{URL: NewSecret(srv.URL), Client: client})
	if _, err := w.Channel("").Notify(t.Context(), pageAlert()); err == nil {
		t.Error("a redirect counts as delivered")
	}
}

// TestSecretIsNotPrinted plants a canary in the URL and looks for it in every
// error and log line of every way to fail.
func TestSecretIsNotPrinted(t *testing.T) {
	const canary = "c4n4ry"
	var log bytes.Buffer
	var mu sync.Mutex
	logger := slog.New(slog.NewJSONHandler(writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(p)
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))

	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("do") {
		case "403":
			w.WriteHeader(http.StatusForbidden)
		case "404":
			http.Error(w, "Cannot POST "+r.URL.String(), http.StatusNotFound)
		case "word":
			http.Error(w, canary, http.StatusNotFound)
		case "hangup":
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, "at ", r.URL)
	}))
	defer echo.Close()
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	stuck, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()

	for _, u := range []string{
		echo.URL + "/services/" + canary,
		echo.URL + "/services/" + canary + "?do=403",
		echo.URL + "/services/" + canary + "?do=404",
		echo.URL + "/services/" + canary + "?do=word",
		echo.URL + "/services/" + canary + "?do=hangup",
		strings.Replace(echo.URL, "http:", "https:", 1) + "/services/" + canary,
		"http://" + stuck.Addr().String() + "/services/" + canary,
		"http://127.0.0.1:1/services/" + canary,
		"http://no-such-host.invalid/services/" + canary,
		"http://user:" + canary + "@127.0.0.1:1/services/" + canary,
	} {
		w := testWebhook(t, Options{URL: NewSecret(u), Client: client, Logger: logger})
		_, err := w.Channel("").Notify(t.Context(), pageAlert())
		if err == nil {
			t.Errorf("%s: delivered, want an error", u)
			continue
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			fmt.Fprintf(&log, "%v\n%+v\n%#v\n", e, e, e)
		}
		logger.Error("stopped", "err", err, "webhook", w)
		fmt.Fprintf(&log, "%v\n%+v\n%#v\n", w, w, w)
	}
	for _, u := range []string{"ftp://h/" + canary, canary, "https://h/%zz" + canary, "https://h/\x7f" + canary, "https:///" + canary} {
		if _, err := New(Options{URL: NewSecret(u)}); err == nil {
			t.Errorf("New took %q", u)
		} else {
			fmt.Fprintln(&log, err)
		}
	}
	s := NewSecret(canary)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%t", "%c"} {
		fmt.Fprintf(&log, verb+"\n", s)
		fmt.Fprintf(&log, verb+"\n", &s)
		fmt.Fprintf(&log, verb+"\n", struct{ hidden Secret }{s})
		fmt.Fprintf(&log, verb+"\n", Options{URL: s})
	}
	j, err := json.Marshal(map[string]any{"a": s, "b": &s, "c": Options{URL: s}.URL})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"a":"<secret>","b":"<secret>","c":"<secret>"}`; strings.ReplaceAll(strings.ReplaceAll(string(j), `\u003c`, "<"), `\u003e`, ">") != want {
		t.Errorf("JSON = %s, want %s", j, want)
	}
	logger.Info("secret", "value", s, "pointer", &s, "text", s.String(), "go", s.GoString(), "json", j)
	if strings.Contains(log.String(), canary) {
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, canary) {
				t.Errorf("the secret is in: %s", line)
			}
		}
	}
	if n := strings.Count(log.String(), hidden); n < 20 {
		t.Errorf("%d times %s in what was printed, want many: is the test looking at the right text?", n, hidden)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestReadSecret(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tc := range []struct {
		name, path, want, fault string
	}{
		{name: "with line end", path: file("a", "https://x/y\r\n"), want: "https://x/y"},
		{name: "empty", path: file("b", " \n"), fault: "empty; want a file that holds one secret"},
		{name: "too long", path: file("c", strings.Repeat("x", maxAnswer+1)), fault: "more than 65536 bytes"},
		{name: "missing", path: filepath.Join(dir, "d"), fault: "no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := ReadSecret(tc.path)
			if got := s.reveal(); got != tc.want {
				t.Errorf("secret = %q, want %q", got, tc.want)
			}
			if got := fmt.Sprint(err); (err != nil) != (tc.fault != "") || !strings.Contains(got, tc.fault) {
				t.Errorf("error = %v, want %q", err, tc.fault)
			}
		})
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"2", "-1", "99999999999999999999", "Thu, 01 Jan 2026 00:00:00 GMT", "1e9", ""} {
		f.Add(s)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		wait, ok := retryAfter(http.Header{"Retry-After": {s}}, now)
		if wait < 0 || (!ok && wait != 0) {
			t.Errorf("retryAfter(%q) = %v, %v", s, wait, ok)
		}
	})
}
