package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	stale "github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// receiver takes remote write as Prometheus 2.42 was seen to: a sample that is
// older than the newest of its series, or another at the same time, refuses the
// whole request with 400; the same sample again is taken.
type receiver struct {
	*httptest.Server

	mu       sync.Mutex
	answer   func(w http.ResponseWriter, r *http.Request, n int) bool // true: answered; n counts requests
	requests []time.Time
	newest   map[string]string // of each series
	got      map[string]bool   // samples
	headers  http.Header       // of the newest request
	refused  []string
}

func receive(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{newest: map[string]string{}, got: map[string]bool{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.requests = append(r.requests, time.Now())
	r.headers = req.Header
	answer, n := r.answer, len(r.requests)
	r.mu.Unlock()
	lost := false
	if answer != nil {
		if answer(w, req, n) {
			return
		}
		lost = w.Header().Get("Lose") != ""
	}
	if err := r.take(body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if lost { // taken, but the sender never hears of it
		panic(http.ErrAbortHandler)
	}
}

func (r *receiver) take(body []byte) error {
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return err
	}
	var req prompb.WriteRequest
	if err := req.Unmarshal(raw); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	newest, got := map[string]string{}, []string{}
	for _, ts := range req.Timeseries {
		var b labels.ScratchBuilder
		for _, l := range ts.Labels {
			b.Add(l.Name, l.Value)
		}
		name := b.Labels().String()
		for _, s := range samplesOf(ts) {
			if old := r.newest[name]; s < old && s[:13] != old[:13] || s != old && old != "" && s[:13] == old[:13] {
				r.refused = append(r.refused, name+" "+s)
				return fmt.Errorf("out of order: %s %s after %s", name, s, old)
			}
			newest[name] = s
			got = append(got, name+" "+s)
		}
	}
	maps.Copy(r.newest, newest)
	for _, s := range got {
		r.got[s] = true
	}
	return nil
}

// samplesOf writes the samples of a series: time in ms, and the value to the
// last bit.
func samplesOf(ts prompb.TimeSeries) (out []string) {
	for _, s := range ts.Samples {
		out = append(out, fmt.Sprintf("%d %x", s.Timestamp, math.Float64bits(s.Value)))
	}
	for _, h := range ts.Histograms {
		if h.IsFloatHistogram() {
			out = append(out, fmt.Sprintf("%d %s", h.Timestamp, h.ToFloatHistogram()))
		} else {
			out = append(out, fmt.Sprintf("%d %s", h.Timestamp, h.ToIntHistogram()))
		}
	}
	return out
}

func (r *receiver) samples() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.got))
}

// held returns what the store holds, as a receiver is to have it.
func held(t *testing.T, s *Store, collector string) (out []string) {
	t.Helper()
	q, err := s.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchNotEqual, model.MetricNameLabel, ""))
	for set.Next() {
		name := labels.NewBuilder(set.At().Labels()).Set(CollectorLabel, collector).Labels().String()
		it := set.At().Iterator(nil)
		for v := it.Next(); v != chunkenc.ValNone; v = it.Next() {
			switch v {
			case chunkenc.ValFloat:
				at, f := it.At()
				out = append(out, fmt.Sprintf("%s %d %x", name, at, math.Float64bits(f)))
			case chunkenc.ValHistogram:
				at, h := it.AtHistogram(nil)
				out = append(out, fmt.Sprintf("%s %d %s", name, at, h))
			case chunkenc.ValFloatHistogram:
				at, h := it.AtFloatHistogram(nil)
				out = append(out, fmt.Sprintf("%s %d %s", name, at, h))
			}
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	slices.Sort(out)
	return out
}

// same fails unless got is want, and shows what is amiss.
func same(t *testing.T, got, want []string) {
	t.Helper()
	if len(want) == 0 {
		t.Error("nothing is wanted; the test would prove nothing")
	}
	missing, extra := 0, 0
	for _, w := range want {
		if _, ok := slices.BinarySearch(got, w); !ok {
			if missing++; missing < 4 {
				t.Errorf("missing: %s", w)
			}
		}
	}
	for _, g := range got {
		if _, ok := slices.BinarySearch(want, g); !ok {
			if extra++; extra < 4 {
				t.Errorf("not in the store: %s", g)
			}
		}
	}
	if missing+extra > 0 {
		t.Errorf("%d of %d samples are missing, %d were not in the store", missing, len(want), extra)
	}
}

// logs keeps what is logged.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// remoteTo returns a Remote that is as quick as a test wants it.
func remoteTo(t *testing.T, s *Store, dir, address string, set ...func(*RemoteOptions)) (*Remote, *logs) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l := &logs{}
	o := RemoteOptions{URL: u, Dir: filepath.Join(dir, "remote"), Collector: "a", Logger: slog.New(slog.NewTextHandler(l, nil))}
	for _, f := range set {
		f(&o)
	}
	r, err := NewRemote(s, o)
	if err != nil {
		t.Fatalf("NewRemote(%q): %v", address, err)
	}
	r.every, r.minBackoff, r.maxBackoff, r.budget = 20*time.Millisecond, 10*time.Millisecond, 50*time.Millisecond, 200*time.Millisecond
	return r, l
}

// traffic appends n times all kinds of samples, 100 ms apart, that end at last,
// and between them those of rules.
func traffic(t *testing.T, s *Store, last time.Time, n int) {
	t.Helper()
	float := labels.FromStrings(model.MetricNameLabel, "float_seconds")
	idle := labels.FromStrings(model.MetricNameLabel, "idle")
	for i := range n {
		at := last.Add(time.Duration(i-n+1) * 100 * time.Millisecond)
		put(t, s, at, uint64(i+1))
		app := s.Appender(t.Context())
		v := float64(i)
		if i%5 == 4 {
			v = math.Float64frombits(stale.StaleNaN)
		}
		_, err := app.Append(0, idle, at.UnixMilli(), v)
		_, err2 := app.AppendHistogram(0, float, at.UnixMilli(), nil, latencies(uint64(i)).ToFloat(nil))
		for rule := range 3 {
			l := labels.FromStrings(model.MetricNameLabel, "ALERTS", "rule", fmt.Sprint(rule))
			_, e := app.Append(0, l, at.UnixMilli()+int64(20*rule+i%3), 1)
			err = errors.Join(err, e)
		}
		if err := errors.Join(err, err2, app.Commit()); err != nil {
			t.Fatal(err)
		}
	}
}

// running runs r until stop.
func running(r *Remote) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still waiting for %s after 10 s", what)
		}
	}
}

// TestRemoteEndsUpWithEverySample breaks the endpoint in every way that can be
// mended while samples wait. In the end it has what the store has, to the last
// bit, and nothing came in a wrong order.
func TestRemoteEndsUpWithEverySample(t *testing.T) {
	status := func(code, until int) func(http.ResponseWriter, *http.Request, int) bool {
		return func(w http.ResponseWriter, _ *http.Request, n int) bool {
			if n > until {
				return false
			}
			http.Error(w, "not now", code)
			return true
		}
	}
	for _, tc := range []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request, n int) bool
		log    string // that says why
	}{
		{name: "all is well"},
		{name: "503 for a while", answer: status(503, 5), log: "HTTP status 503 Service Unavailable: not now"},
		{name: "500 for a while", answer: status(500, 5), log: "HTTP status 500"},
		{name: "the receiver is not enabled yet", answer: status(404, 5), log: "HTTP status 404 Not Found: not now"},
		{name: "a wrong token, mended later", answer: status(401, 5), log: `HTTP status 401 Unauthorized"`},
		{name: "forbidden, mended later", answer: status(403, 5), log: `HTTP status 403 Forbidden"`},
		{name: "too many requests", answer: func(w http.ResponseWriter, _ *http.Request, n int) bool {
			if n == 1 {
				w.Header().Set("Retry-After", "1")
				http.Error(w, "slower", http.StatusTooManyRequests)
			}
			return n == 1
		}, log: "HTTP status 429"},
		{name: "no answer", answer: func(_ http.ResponseWriter, r *http.Request, n int) bool {
			if n <= 2 {
				<-r.Context().Done()
			}
			return n <= 2
		}, log: "no answer within 200ms"},
		{name: "cut before it was taken", answer: func(_ http.ResponseWriter, _ *http.Request, n int) bool {
			if n%3 == 1 {
				panic(http.ErrAbortHandler)
			}
			return false
		}, log: "EOF"},
		{name: "cut after it was taken", answer: func(w http.ResponseWriter, _ *http.Request, n int) bool {
			if n%3 == 1 {
				w.Header().Set("Lose", "answer")
			}
			return false
		}, log: "EOF"},
		{name: "an endless answer", answer: func(w http.ResponseWriter, _ *http.Request, n int) bool {
			if n > 1 {
				return false
			}
			w.WriteHeader(http.StatusInternalServerError)
			for {
				if _, err := w.Write(bytes.Repeat([]byte("no "), 10<<10)); err != nil {
					return true // hung up on
				}
			}
		}, log: "HTTP status 500 Internal Server Error: no no"},
		{name: "moved elsewhere", answer: func(w http.ResponseWriter, r *http.Request, n int) bool {
			if r.URL.Path != "/api/v1/write" {
				t.Errorf("request to %s: a redirect was followed", r.URL.Path)
			}
			if n <= 2 {
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			}
			return n <= 2
		}, log: "HTTP status 307"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, Options{Dir: filepath.Join(dir, "tsdb")})
			defer shut(t, s)
			end := receive(t)
			end.answer = tc.answer
			r, log := remoteTo(t, s, dir, end.URL+"/api/v1/write?token=s3cret")
			stop := running(r)
			traffic(t, s, time.Now(), 20)
			await(t, "all samples", func() bool { return len(end.samples()) >= 7*20 })
			if err := stop(); err != nil {
				t.Errorf("Run: %v", err)
			}
			same(t, end.samples(), held(t, s, "a"))
			if len(end.refused) > 0 {
				t.Errorf("refused: %s", end.refused)
			}
			down, up := strings.Count(log.String(), "does not take series"), strings.Count(log.String(), "takes series again")
			if outages := tc.log != ""; outages != (down > 0) || down != up {
				t.Errorf("log says %d times that the endpoint is away and %d times that it is back\n%s", down, up, log)
			}
			if !strings.Contains(log.String(), tc.log) {
				t.Errorf("log does not say %q:\n%s", tc.log, log)
			}
			if strings.Contains(log.String(), "s3cret") {
				t.Errorf("log shows the token:\n%s", log)
			}
			if tc.name == "too many requests" {
				if waited := end.requests[1].Sub(end.requests[0]); waited < time.Second || waited > 2*time.Second {
					t.Errorf("next request after %v, want the second it asked for", waited)
				}
			}
		})
	}
}

// TestRemoteOverRestarts ends the sender at random moments, with answers lost and
// without a last word, while the endpoint is away half of the time. The next one goes
// on where the endpoint's answers ended: nothing is missing, nothing comes twice
// in a wrong order.
func TestRemoteOverRestarts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	end := receive(t)
	begin := time.Now().Add(-time.Minute)
	for round := range 30 {
		s := open(t, Options{Dir: filepath.Join(dir, "tsdb")})
		r, _ := remoteTo(t, s, dir, end.URL)
		left, away := 1+rng.IntN(12), round%2 == 0
		r.batch = 1 + rng.IntN(8)
		ctx, kill := context.WithCancel(t.Context())
		end.mu.Lock()
		end.answer = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
			if left--; left > 0 {
				return false
			}
			if left == 0 {
				kill()
			}
			if away {
				http.Error(w, "away", http.StatusBadGateway)
			} else {
				w.Header().Set("Lose", "answer")
			}
			return away
		}
		end.mu.Unlock()
		traffic(t, s, begin.Add(time.Duration(round+1)*1900*time.Millisecond), 10)
		_ = r.pass(ctx) // no drain: what a kill leaves undone
		kill()
		_ = r.Close()
		r.client.CloseIdleConnections()
		shut(t, s)
	}
	s := open(t, Options{Dir: filepath.Join(dir, "tsdb")})
	defer shut(t, s)
	end.mu.Lock()
	end.answer = nil
	end.mu.Unlock()
	r, _ := remoteTo(t, s, dir, end.URL)
	if err := running(r)(); err != nil {
		t.Errorf("Run: %v", err)
	}
	same(t, end.samples(), held(t, s, "a"))
	if len(end.refused) > 0 {
		t.Errorf("refused: %s", end.refused)
	}
}

func TestRemoteBeginsWithWhatIsNew(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: filepath.Join(dir, "tsdb")})
	now := time.Now()
	traffic(t, s, now.Add(-time.Minute), 10)
	end := receive(t)
	r, _ := remoteTo(t, s, dir, end.URL)
	old := held(t, s, "a")
	if err := r.pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := end.samples(); len(got) > 0 {
		t.Errorf("%d samples were sent that were in the store before; want none", len(got))
	}
	traffic(t, s, now, 10)
	if err := r.pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, end.samples(), slices.DeleteFunc(held(t, s, "a"), func(s string) bool {
		_, ok := slices.BinarySearch(old, s)
		return ok
	}))
	_ = r.Close()
	r.client.CloseIdleConnections()
	shut(t, s)
}

// TestRemoteLongOutage sends three hours that waited, of which the store has made a
// block meanwhile.
func TestRemoteLongOutage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: filepath.Join(dir, "tsdb")})
	defer shut(t, s)
	end := receive(t)
	r, _ := remoteTo(t, s, dir, end.URL)
	r.most = 100
	now := time.Now()
	for at := now.Add(-4 * time.Hour); at.Before(now); at = at.Add(10 * time.Second) {
		put(t, s, at, uint64(at.Unix()))
	}
	if err := s.db.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.db.Blocks()) == 0 {
		t.Error("the store made no block; the test wants one")
	}
	if err := running(r)(); err != nil {
		t.Errorf("Run: %v", err)
	}
	want := held(t, s, "a")
	if len(want) != 2*4*360 {
		t.Errorf("%d samples in the store, want %d", len(want), 2*4*360)
	}
	same(t, end.samples(), want)
	if n := cap(r.samples); n > 200 {
		t.Errorf("room for %d samples at once; want not much more than %d", n, r.most)
	}
}

// TestRemoteLateSamples commits a rule's sample after newer ones of other series
// were sent.
func TestRemoteLateSamples(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: filepath.Join(dir, "tsdb")})
	defer shut(t, s)
	end := receive(t)
	r, _ := remoteTo(t, s, dir, end.URL)
	defer r.client.CloseIdleConnections()
	defer r.Close()
	now := time.Now()
	rule := labels.FromStrings(model.MetricNameLabel, "ALERTS", "alertname", "Late")
	late := func(at time.Time) {
		app := s.Appender(t.Context())
		if _, err := app.Append(0, rule, at.UnixMilli(), 1); err != nil {
			t.Fatal(err)
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := r.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, now, 1)
	if err := r.pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	late(now.Add(-90 * time.Second))
	put(t, s, now.Add(time.Second), 2)
	late(now.Add(-80 * time.Second))
	want := held(t, s, "a")
	if len(want) != 6 {
		t.Errorf("%d samples in the store, want 6", len(want))
	}
	same(t, end.samples(), want)
}

// TestRemoteRefusals drops what the endpoint will never take, counts it, and goes
// on.
func TestRemoteRefusals(t *testing.T) {
	for _, tc := range []struct {
		name            string
		answer          func(r *receiver) func(w http.ResponseWriter, r *http.Request, n int) bool
		want            func(sample string) bool // is taken
		failed, failedH float64
		log             string
	}{
		{
			name: "too old",
			answer: func(*receiver) func(http.ResponseWriter, *http.Request, int) bool {
				return func(w http.ResponseWriter, _ *http.Request, n int) bool {
					if n == 1 {
						http.Error(w, "out of bounds", http.StatusBadRequest)
					}
					return n == 1
				}
			},
			want:   nil, // all but what came in the first request, of a tenth of a second
			failed: 5, log: "the endpoint refused samples",
		},
		{
			name: "native histograms disabled",
			answer: func(*receiver) func(http.ResponseWriter, *http.Request, int) bool {
				return func(w http.ResponseWriter, r *http.Request, _ int) bool {
					if r.Header.Get("Test-Histograms") == "" {
						return false
					}
					http.Error(w, "native histograms are disabled", http.StatusInternalServerError)
					return true
				}
			},
			want:    func(s string) bool { return !strings.Contains(s, "seconds") },
			failedH: 40, log: "takes no native histograms",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, Options{Dir: filepath.Join(dir, "tsdb")})
			defer shut(t, s)
			end := receive(t)
			end.answer = tc.answer(end)
			reg := prometheus.NewRegistry()
			r, log := remoteTo(t, s, dir, end.URL, func(o *RemoteOptions) { o.Registerer = reg })
			r.client.Transport = marksHistograms{r}
			traffic(t, s, time.Now(), 20)
			want := held(t, s, "a")
			if tc.want != nil {
				want = slices.DeleteFunc(want, func(s string) bool { return !tc.want(s) })
			} else {
				first := s.db.Head().MinTime()
				want = slices.DeleteFunc(want, func(s string) bool {
					var at int64
					_, _ = fmt.Sscan(s[strings.Index(s, "} ")+2:], &at)
					return at < first+100 && !strings.Contains(s, "seconds")
				})
			}
			if err := running(r)(); err != nil {
				t.Errorf("Run: %v", err)
			}
			same(t, end.samples(), want)
			if got := testutil.ToFloat64(r.metrics.samplesFailed); got != tc.failed {
				t.Errorf("samples failed = %g, want %g", got, tc.failed)
			}
			if got := testutil.ToFloat64(r.metrics.histogramsFailed); got != tc.failedH {
				t.Errorf("histograms failed = %g, want %g", got, tc.failedH)
			}
			if got := testutil.ToFloat64(r.metrics.samplesWait) + testutil.ToFloat64(r.metrics.histogramsWait) + r.delay(); got != 0 {
				t.Errorf("what waits and for how long = %g, want 0", got)
			}
			if n := strings.Count(log.String(), tc.log); n != 1 {
				t.Errorf("log says %q %d times, want once:\n%s", tc.log, n, log)
			}
		})
	}
}

// marksHistograms marks requests that hold native histograms, as the test's
// endpoint tells them apart before it decodes them.
type marksHistograms struct{ r *Remote }

func (m marksHistograms) RoundTrip(req *http.Request) (*http.Response, error) {
	if m.r.samples[slices.IndexFunc(m.r.samples, func(s remoteSample) bool { return s.t > s.series.sent })].isHistogram() {
		req = req.Clone(req.Context())
		req.Header.Set("Test-Histograms", "true")
	}
	return http.DefaultTransport.RoundTrip(req)
}

// CloseIdleConnections is called by http.Client.
func (m marksHistograms) CloseIdleConnections() { http.DefaultClient.CloseIdleConnections() }

// TestRemoteTooLarge halves what is too large until it is taken.
func TestRemoteTooLarge(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: filepath.Join(dir, "tsdb")})
	defer shut(t, s)
	end := receive(t)
	end.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.ContentLength > 400 {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return true
		}
		return false
	}
	r, _ := remoteTo(t, s, dir, end.URL)
	app := s.Appender(t.Context())
	for i := range 2 * remoteBatch {
		if _, err := app.Append(0, labels.FromStrings(model.MetricNameLabel, "wide", "i", fmt.Sprint(i)), 1e12, float64(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := r.pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, end.samples(), held(t, s, "a"))
	_ = r.Close()
	r.client.CloseIdleConnections()
}

func TestRemoteCountersOnly(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: filepath.Join(dir, "tsdb")})
	defer shut(t, s)
	end := receive(t)
	r, _ := remoteTo(t, s, dir, end.URL, func(o *RemoteOptions) { o.CountersOnly = true })
	app := s.Appender(t.Context())
	for _, name := range []string{
		"slo_events_total", "slo_errors_total", "slowburn_flow_requests_total", "sloth_slo_info",
		"slo:sli_error:ratio_rate5m", "slo:objective:ratio", "ALERTS", "my_slo_events_total",
	} {
		if _, err := app.Append(0, labels.FromStrings(model.MetricNameLabel, name), 1e12, 1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := app.AppendHistogram(0, labels.FromStrings(model.MetricNameLabel, "slowburn_flow_duration_seconds"), 1e12, latencies(1), nil); err != nil {
		t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := running(r)(); err != nil {
		t.Errorf("Run: %v", err)
	}
	want := slices.DeleteFunc(held(t, s, "a"), func(s string) bool {
		return strings.Contains(s, ":ratio") || strings.Contains(s, "ALERTS") || strings.Contains(s, "my_")
	})
	if len(want) != 5 {
		t.Errorf("%d samples wanted, want 5", len(want))
	}
	same(t, end.samples(), want)
}

// TestRemoteStops ends within its time, whatever the endpoint does, and the store takes
// samples all the while.
func TestRemoteStops(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: filepath.Join(dir, "tsdb")})
	defer shut(t, s)
	end := receive(t)
	end.answer = func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		<-r.Context().Done()
		return true
	}
	r, log := remoteTo(t, s, dir, end.URL)
	r.budget, r.drain = time.Minute, 300*time.Millisecond
	stop := running(r)
	traffic(t, s, time.Now(), 1)
	await(t, "a request", func() bool { end.mu.Lock(); defer end.mu.Unlock(); return len(end.requests) > 0 })
	traffic(t, s, time.Now().Add(time.Second), 5)
	if d := r.delay(); d <= 0 || d > 10 {
		t.Errorf("delay = %g s, want the age of the first sample", d)
	}
	began := time.Now()
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %v to stop, want the drain of 300 ms", took)
	}
	if !strings.Contains(log.String(), "are sent after the next start") {
		t.Errorf("log does not say what becomes of the series:\n%s", log)
	}
	if err := r.Close(); err != nil {
		t.Errorf("Close after Run: %v", err)
	}
}

// TestRemoteAuthenticates sends a header, a token and a password as the library
// does, from files that may change.
func TestRemoteAuthenticates(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	write := func(text string) {
		if err := os.WriteFile(secret, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name        string
		http        config.HTTPClientConfig
		want, later string
	}{
		{name: "token", http: config.HTTPClientConfig{Authorization: &config.Authorization{Type: "Bearer", CredentialsFile: secret}}, want: "Bearer one", later: "Bearer two"},
		{name: "password", http: config.HTTPClientConfig{BasicAuth: &config.BasicAuth{Username: "me", PasswordFile: secret}}, want: "Basic bWU6b25l", later: "Basic bWU6dHdv"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			write("one\n")
			dir := t.TempDir()
			s := open(t, Options{Dir: filepath.Join(dir, "tsdb")})
			defer shut(t, s)
			end := receive(t)
			tc.http.HTTPHeaders = &config.Headers{Headers: map[string]config.Header{"X-Scope-Orgid": {Secrets: []config.Secret{"team"}}}}
			r, _ := remoteTo(t, s, dir, end.URL, func(o *RemoteOptions) { o.HTTP = tc.http })
			for i, want := range []string{tc.want, tc.later} {
				put(t, s, time.Now().Add(time.Duration(i)*time.Second), 1)
				if err := r.pass(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := end.headers.Get("Authorization"); got != want {
					t.Errorf("Authorization = %q, want %q", got, want)
				}
				if got := end.headers.Get("X-Scope-Orgid"); got != "team" {
					t.Errorf("X-Scope-OrgID = %q, want team", got)
				}
				write("two\n")
			}
			_ = r.Close()
			r.client.CloseIdleConnections()
		})
	}
}

func TestRemoteRefusesOptions(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: filepath.Join(dir, "tsdb")})
	defer shut(t, s)
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "sent"), []byte("yesterday\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := func(u string) *url.URL {
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	for _, tc := range []struct {
		name, want string
		o          RemoteOptions
	}{
		{"no endpoint", "no endpoint", RemoteOptions{Dir: dir}},
		{"not HTTP", "no endpoint", RemoteOptions{Dir: dir, URL: at("ftp://host/x")}},
		{"password in the address", "want it apart", RemoteOptions{Dir: dir, URL: at("http://me:s3cret@host/x")}},
		{"damaged position", "not a time in milliseconds", RemoteOptions{Dir: damaged, URL: at("http://host/x")}},
		{"CA that is none", "unable to use specified CA cert", RemoteOptions{Dir: dir, URL: at("https://host/x"), HTTP: config.HTTPClientConfig{TLSConfig: config.TLSConfig{CAFile: filepath.Join(damaged, "sent")}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := NewRemote(s, tc.o)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("NewRemote: %v, want an error that says %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("NewRemote: %v shows the password", err)
			}
		})
	}
}

// TestCollectorName keeps its name with the disk: on another host too.
func TestCollectorName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "remote")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	first, err := collectorName(dir)
	if err != nil || !strings.HasPrefix(first, host+"-") || len(first) != len(host)+7 {
		t.Errorf("collectorName = %q, %v, want %s- and six characters", first, err, host)
	}
	if again, err := collectorName(dir); err != nil || again != first {
		t.Errorf("collectorName again = %q, %v, want %q", again, err, first)
	}
	if other, err := collectorName(t.TempDir()); err != nil || other == first {
		t.Errorf("collectorName on another disk = %q, %v, want another name", other, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("directory holds %v, %v, want the name alone", entries, err)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "-3": 0, "86400": remoteRetryAfter, "99999999999999": remoteRetryAfter, "soon": 0,
		"Mon, 23 Nov 2026 12:00:30 GMT": 30 * time.Second,
		"Mon, 23 Nov 2026 11:00:30 GMT": 0,
		"Mon, 23 Nov 2027 12:00:30 GMT": remoteRetryAfter,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", text, got, want)
		}
	}
}

// BenchmarkRemote sends what SLOs write in five seconds: seven series at each of
// two flushes, eleven more at one, and the reading of what was sent before.
func BenchmarkRemote(b *testing.B) {
	for _, slos := range []int{10, 1000} {
		b.Run(fmt.Sprintf("slos=%d", slos), func(b *testing.B) {
			s, err := Open(Options{Dir: filepath.Join(b.TempDir(), "tsdb")})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			end := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
			defer end.Close()
			u, err := url.Parse(end.URL)
			if err != nil {
				b.Fatal(err)
			}
			r, err := NewRemote(s, RemoteOptions{URL: u, Dir: b.TempDir(), Collector: "a"})
			if err != nil {
				b.Fatal(err)
			}
			defer r.client.CloseIdleConnections()
			defer r.Close()
			all := make([]labels.Labels, 18*slos)
			for i := range all {
				all[i] = labels.FromStrings(model.MetricNameLabel, fmt.Sprintf("slo:sli_error:ratio_rate%d", i%18),
					"sloth_id", fmt.Sprintf("shop-checkout-%d-availability", i/18), "sloth_service", "shop",
					"sloth_slo", fmt.Sprintf("checkout-%d-availability", i/18), "slowburn_flow", fmt.Sprintf("checkout-%d", i/18))
			}
			at, sent := time.Now().Add(-time.Minute), 0
			flush := func(all []labels.Labels, every int) {
				at = at.Add(2500 * time.Millisecond)
				app := s.Appender(b.Context())
				for i := 0; i < len(all); i++ {
					if i%18 >= every {
						continue
					}
					if _, err := app.Append(0, all[i], at.UnixMilli(), rand.Float64()); err != nil {
						b.Fatal(err)
					}
					sent++
				}
				if err := app.Commit(); err != nil {
					b.Fatal(err)
				}
			}
			for range 24 { // what a reading visits again
				flush(all, 7)
			}
			if err := r.pass(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			sent = 0
			for b.Loop() {
				b.StopTimer()
				flush(all, 7)
				flush(all, 18)
				b.StartTimer()
				if err := r.pass(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}

// TestRemoteTellsWhatWasNeverSent goes on, and says what it lost, when the store has
// dropped what the endpoint was away for.
func TestRemoteTellsWhatWasNeverSent(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: filepath.Join(dir, "tsdb")})
	defer shut(t, s)
	end := receive(t)
	r, log := remoteTo(t, s, dir, end.URL)
	traffic(t, s, time.Now(), 10)
	first := s.oldest()
	r.had, r.from = first-3000, first-2000 // as after an outage longer than the retention
	if err := running(r)(); err != nil {
		t.Errorf("Run: %v", err)
	}
	same(t, end.samples(), held(t, s, "a"))
	if n := strings.Count(log.String(), "series were never sent"); n != 1 {
		t.Errorf("log says %d times that series were never sent, want once:\n%s", n, log)
	}
}
