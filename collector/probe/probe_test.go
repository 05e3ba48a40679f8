package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"go.uber.org/goleak"

	"github.com/slowburn-slo/slowburn/slo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counted returns a flow with one PromQL objective.
func counted(name string, q slo.Query) slo.Flow {
	return slo.Flow{Name: name, Service: "shop", Objectives: []slo.Objective{{
		Name: "good", Kind: slo.PromQL, Target: 0.99, Query: q, Window: slo.DefaultWindow,
		Pos: slo.Pos{File: "slos.yaml", Line: 7, Column: 9},
	}}}
}

// ledger adds up what is counted.
type ledger struct {
	mu   sync.Mutex
	good map[string]uint64
	bad  map[string]uint64
}

func newLedger() *ledger { return &ledger{good: map[string]uint64{}, bad: map[string]uint64{}} }

func (l *ledger) count(id string, good, bad uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.good[id] += good
	l.bad[id] += bad
}

// String returns bad of all events by SLO.
func (l *ledger) of(id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d of %d", l.bad[id], l.good[id]+l.bad[id])
}

func number(v float64) promql.Vector { return promql.Vector{{F: v}} }

var ratesQuery = slo.Query{Bad: "sum(rate(bad[$window]))", Total: "sum(rate(all[$window]))"}

// TestRunAsksForEachMinuteOnce holds when a minute is asked for, and that what
// is less than an event is counted when it has become one.
func TestRunAsksForEachMinuteOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now() // midnight in a bubble
		var asked []string
		l := newLedger()
		p, err := New(Options{
			Flows: []slo.Flow{counted("checkout", ratesQuery)},
			Query: func(_ context.Context, expr string, at time.Time) (promql.Vector, error) {
				if !strings.Contains(expr, "[1m30s]") || !strings.HasSuffix(expr, "* 60") {
					t.Errorf("asked for %s, want a rate over 1m30s as events of a minute", expr)
				}
				if strings.Contains(expr, "bad") {
					return number(0.4), nil
				}
				asked = append(asked, fmt.Sprintf("%s at %s", at.Sub(began), time.Since(began)))
				return number(10.5), nil
			},
			Count: l.count,
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Second)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(6*time.Minute + 5*time.Second)
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want that it was canceled", err)
		}
		want := "[1m0s at 1m20s 2m0s at 2m20s 3m0s at 3m20s 4m0s at 4m20s 5m0s at 5m20s 6m0s at 6m20s]"
		if got := fmt.Sprint(asked); got != want {
			t.Errorf("asked for minutes %s\nwant %s", got, want)
		}
		if got := l.of("shop-checkout-good"); got != "2 of 62" { // of 2.4 bad and 60.6 good
			t.Errorf("counted %s, want 2 of 62", got)
		}
	})
}

// TestAnswers are what a server may say of one minute.
func TestAnswers(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	one := func(v ...float64) promql.Vector {
		var out promql.Vector
		for i, f := range v {
			out = append(out, promql.Sample{F: f, Metric: labels.FromStrings("pod", fmt.Sprint(i))})
		}
		return out
	}
	bad := slo.Query{Bad: "increase(bad[$window])", Total: "increase(all[$window])"}
	good := slo.Query{Good: "increase(good[$window])", Total: "increase(all[$window])"}
	ratio := slo.Query{Ratio: "avg_over_time(ratio[$window])"}
	for _, tc := range []struct {
		name    string
		query   slo.Query
		answers map[string]promql.Vector // by metric
		want    string                   // counted
		log     string                   // part of it
		err     string
	}{
		{name: "bad and total", query: bad, answers: map[string]promql.Vector{"bad": one(3), "all": one(100)}, want: "3 of 100"},
		{name: "good and total", query: good, answers: map[string]promql.Vector{"good": one(97), "all": one(100)}, want: "3 of 100"},
		{name: "no bad series yet", query: bad, answers: map[string]promql.Vector{"all": one(100)}, want: "0 of 100"},
		{name: "no good series yet", query: good, answers: map[string]promql.Vector{"all": one(100)}, want: "100 of 100"},
		{name: "idle", query: bad, answers: map[string]promql.Vector{"bad": one(0), "all": one(0)}, want: "0 of 0"},
		{name: "nothing", query: bad, answers: map[string]promql.Vector{"bad": one(3)}, want: "0 of 0", log: "does its metric exist?"},
		{name: "samples too far apart", query: bad, answers: map[string]promql.Vector{"bad": one(3), "all 10m": one(7)}, want: "0 of 0", log: "further apart"},
		{name: "not a number", query: bad, answers: map[string]promql.Vector{"bad": one(nan), "all": one(100)}, want: "0 of 100"},
		{name: "total is not a number", query: bad, answers: map[string]promql.Vector{"bad": one(1), "all": one(nan)}, want: "0 of 0", log: "no events"},
		{name: "more bad than all", query: bad, answers: map[string]promql.Vector{"bad": one(120), "all": one(100)}, want: "100 of 100", log: "cut to the whole"},
		{name: "less than nothing bad", query: good, answers: map[string]promql.Vector{"good": one(120), "all": one(100)}, want: "0 of 100", log: "cut to the whole"},
		{name: "a hair more bad than all", query: bad, answers: map[string]promql.Vector{"bad": one(100.00000000001), "all": one(100)}, want: "100 of 100"},
		{name: "less than nothing", query: bad, answers: map[string]promql.Vector{"bad": one(0), "all": one(-5)}, want: "0 of 0"},
		{name: "ratio", query: ratio, answers: map[string]promql.Vector{"ratio": one(0.0125)}, want: "12 of 999"}, // and half a part of each
		{name: "ratio of nothing", query: ratio, answers: map[string]promql.Vector{"ratio": one(nan)}, want: "0 of 0", log: "no events"},
		{name: "ratio above one", query: ratio, answers: map[string]promql.Vector{"ratio": one(1.5)}, want: "1000 of 1000", log: "cut to the whole"},
		{
			name: "several series", query: bad, answers: map[string]promql.Vector{"bad": one(1, 2), "all": one(100)}, want: "0 of 0",
			err: `slos.yaml:7:9: SLO shop-checkout-good: promql.bad gives 2 series, such as {pod="0"} and {pod="1"}; want one number, by sum(…) around it`,
		},
		{
			name: "infinite", query: bad, answers: map[string]promql.Vector{"bad": one(1), "all": one(inf)}, want: "0 of 0",
			err: "slos.yaml:7:9: SLO shop-checkout-good: promql.total gives +Inf; want a count of events",
		},
		{
			name: "histogram", query: bad, answers: map[string]promql.Vector{"all": {{H: &histogram.FloatHistogram{}}}}, want: "0 of 0",
			err: "slos.yaml:7:9: SLO shop-checkout-good: promql.total gives a histogram; want a number, such as histogram_count(…) of it",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLedger()
			var log bytes.Buffer
			p, err := New(Options{
				Flows: []slo.Flow{counted("checkout", tc.query)},
				Query: func(_ context.Context, expr string, _ time.Time) (promql.Vector, error) {
					for _, metric := range []string{"bad", "good", "all", "ratio"} {
						if strings.Contains(expr, metric+"[10m]") {
							return tc.answers[metric+" 10m"], nil
						}
						if strings.Contains(expr, metric+"[") {
							return tc.answers[metric], nil
						}
					}
					return nil, fmt.Errorf("asked for %s", expr)
				},
				Count: l.count, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			end := time.Now().Truncate(time.Minute)
			p.round(t.Context(), end.Add(time.Minute))
			if got := l.of("shop-checkout-good"); got != tc.want {
				t.Errorf("counted %s, want %s", got, tc.want)
			}
			if f := p.Failing(); (tc.err == "") != (f.Err == nil) || (f.Err != nil && f.Err.Error() != tc.err) {
				t.Errorf("failing: %v\nwant:    %s", f.Err, tc.err)
			}
			first := strings.Count(log.String(), "\n")
			switch {
			case tc.log != "" && !strings.Contains(log.String(), tc.log):
				t.Errorf("log does not say %q:\n%s", tc.log, &log)
			case tc.log == "" && tc.err == "" && first > 0:
				t.Errorf("log says something:\n%s", &log)
			}
			p.round(t.Context(), end.Add(2*time.Minute))
			if again := strings.Count(log.String(), "\n"); again != first {
				t.Errorf("%d lines of log after the same once more, want the %d of the first time:\n%s", again, first, &log)
			}
		})
	}
}

// TestCatchUp has the server away, and then the process: minutes are caught up
// as far back as they may, each once.
func TestCatchUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "probe", "minutes.json")
	l := newLedger()
	var log bytes.Buffer
	away := false
	var mu sync.Mutex
	var asked []time.Time
	open := func() *Prober {
		p, err := New(Options{
			Flows: []slo.Flow{counted("checkout", ratesQuery), counted("search", ratesQuery)},
			Query: func(_ context.Context, expr string, at time.Time) (promql.Vector, error) {
				if away {
					return nil, errors.New("connection refused")
				}
				if strings.Contains(expr, "bad") {
					return number(1.25), nil
				}
				mu.Lock()
				defer mu.Unlock()
				asked = append(asked, at)
				return number(10), nil
			},
			Count: l.count, File: file, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	said := func(what string, n int) {
		t.Helper()
		if got := strings.Count(log.String(), what); got != n {
			t.Errorf("the log says %q %d times, want %d:\n%s", what, got, n, &log)
		}
	}
	counted := func(want string) {
		t.Helper()
		for _, id := range []string{"shop-checkout-good", "shop-search-good"} {
			if got := l.of(id); got != want {
				t.Errorf("%s: counted %s, want %s", id, got, want)
			}
		}
	}

	p := open()
	end := time.Now().Truncate(time.Minute)
	minute := func(p *Prober, n int) { p.round(t.Context(), end.Add(time.Duration(n)*time.Minute)) }
	minute(p, 1)
	minute(p, 1) // the same again
	counted("1 of 9")

	away = true
	minute(p, 2)
	minute(p, 3)
	if f := p.Failing(); f.SLOs != 2 || f.Since.IsZero() || f.Err.Error() != "connection refused" {
		t.Errorf("Failing = %+v, want both SLOs", f)
	}
	said("connection refused", 1)
	away = false
	minute(p, 4)
	if f := p.Failing(); f != (Failure{}) {
		t.Errorf("Failing = %+v, want none", f)
	}
	said("counted again", 1)
	counted("5 of 40") // 4 × 1.25

	p = open() // nothing ran for five minutes
	minute(p, 9)
	counted("11 of 89") // 9 × 1.25 is 11.25, 9 × 8.75 is 78.75

	p = open() // nothing ran for 14 minutes, of which the last ten are caught up
	minute(p, 23)
	counted("23 of 189")            // 19 × 1.25 is 23.75, 19 × 8.75 is 166.25
	said("minutes=8", 1)            // four of each
	recent := asked[len(asked)-20:] // of two objectives, side by side
	slices.SortFunc(recent, time.Time.Compare)
	if first := recent[0]; !first.Equal(end.Add(14 * time.Minute)) {
		t.Errorf("the first of the last ten minutes is %s, want %s", first, end.Add(14*time.Minute))
	}

	// The clock goes a day ahead and comes back.
	p.round(t.Context(), end.Add(24*time.Hour))
	before := l.of("shop-checkout-good")
	minute(p, 24)
	minute(p, 25)
	if l.of("shop-checkout-good") == before {
		t.Error("nothing is counted after the clock was a day ahead")
	}
}

func TestDamagedFile(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":   `{"shop-checkout-good": {"until"`,
		"null":       `{"shop-checkout-good": null}`,
		"too much":   `{"shop-checkout-good": {"until": "2026-01-01T00:00:00Z", "bad": 1e300}}`,
		"not a time": `{"shop-checkout-good": {"until": "yesterday"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "minutes.json")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			l := newLedger()
			p, err := New(Options{
				Flows: []slo.Flow{counted("checkout", ratesQuery)},
				Query: func(context.Context, string, time.Time) (promql.Vector, error) { return number(1), nil },
				Count: l.count, File: file, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(log.String(), "cannot be read") {
				t.Errorf("the log does not say that the file is damaged:\n%s", &log)
			}
			p.round(t.Context(), time.Now().Truncate(time.Minute).Add(time.Minute))
			if got := l.of("shop-checkout-good"); got != "1 of 1" {
				t.Errorf("counted %s, want 1 of 1: the minute under way", got)
			}
		})
	}
}

// TestApply changes the flows between minutes: an objective that stays keeps
// its part of an event.
func TestApply(t *testing.T) {
	l := newLedger()
	p, err := New(Options{
		Flows: []slo.Flow{counted("checkout", ratesQuery)},
		Query: func(context.Context, string, time.Time) (promql.Vector, error) { return number(0.5), nil },
		Count: l.count,
	})
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Truncate(time.Minute)
	p.round(t.Context(), end.Add(time.Minute))
	err = p.Apply([]slo.Flow{counted("checkout", slo.Query{Bad: "rate(a[$window]) + increase(a[$window])", Total: "a"})})
	want := "slos.yaml:7:9: SLO shop-checkout-good: promql.total: has no range $window"
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "promql.bad: reads $window by") {
		t.Errorf("Apply = %v, want both faults, one of them %s", err, want)
	}
	if err := p.Apply([]slo.Flow{counted("search", ratesQuery), counted("checkout", ratesQuery)}); err != nil {
		t.Fatal(err)
	}
	p.round(t.Context(), end.Add(2*time.Minute))
	if got := l.of("shop-checkout-good"); got != "1 of 1" {
		t.Errorf("checkout: counted %s, want 1 of 1: two halves", got)
	}
	if got := l.of("shop-search-good"); got != "1 of 1" { // two minutes: the one under way was long over in this test
		t.Errorf("search: counted %s, want 1 of 1", got)
	}
	if err := p.Apply(nil); err != nil {
		t.Fatal(err)
	}
	p.round(t.Context(), end.Add(3*time.Minute))
	if got := l.of("shop-checkout-good"); got != "1 of 1" {
		t.Errorf("checkout after it has gone: %s, want 1 of 1", got)
	}
}

// TestRunEndsWhileAServerHangs: nothing waits for an answer that does not come.
func TestRunEndsWhileAServerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := New(Options{
			Flows: []slo.Flow{counted("checkout", ratesQuery), counted("search", ratesQuery)},
			Query: func(ctx context.Context, _ string, _ time.Time) (promql.Vector, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
			Count: func(id string, _, _ uint64) { t.Errorf("counted %s, of which nothing is known", id) },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(2*time.Minute + 15*time.Second) // the first round has given up, the next waits
		if f := p.Failing(); f.SLOs != 2 {
			t.Errorf("Failing = %+v, want both SLOs", f)
		}
		time.Sleep(10 * time.Second)
		began := time.Now()
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) || time.Since(began) > 0 {
			t.Errorf("Run = %v after %s, want that it was canceled at once", err, time.Since(began))
		}
	})
}
