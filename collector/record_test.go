package collector

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// TestVerdictsAreRecorded: what the judge says becomes series for as long as it
// says so, and a process that ends amid a page takes it up again when it is back,
// without a word in between.
func TestVerdictsAreRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &board{}
		o := slo.Objective{
			Name: "availability", Target: 0.99, Tiers: slo.Tiers(0.99, month), MinEvents: 3, Spent: []float64{0.5}, RunsOut: true,
		}
		opts := Options{Flows: search(o), Dir: t.TempDir(), Store: b}
		p := start(t, opts)
		of := func(when, metric string, want float64) {
			t.Helper()
			wantValue(t, b, when, metric, "search-availability", want)
		}
		missing := func() float64 { return b.get(series.TrafficMissing, "") }
		traffic := func(d time.Duration, good, bad int) {
			t.Helper()
			for end := time.Now().Add(d); time.Now().Before(end); {
				p.send(good, bad)
				time.Sleep(30 * time.Second)
			}
			synctest.Wait()
		}
		none := math.NaN()
		traffic(26*time.Hour, 10, 0)
		of("all is well", series.PageBurnRate, none)
		of("all is well", series.TicketBurnRate, none)
		of("all is well", series.BudgetSpent, none)

		traffic(30*time.Minute, 0, 10)
		if rate := b.get(series.PageBurnRate, "search-availability"); !(rate > 14.4) {
			t.Errorf("half an hour without a success: the burn rate that pages is %v, want more than 14.4", rate)
		}
		v, ok := p.Verdict("shop-search-availability")
		if !ok || !v.Page.Firing || v.Page.Tier.Long != time.Hour {
			t.Errorf("verdict = %+v, %v; want a page of the hour's tier", v, ok)
		}
		since := v.Page.Since
		p.end()

		time.Sleep(3 * time.Minute)
		b = &board{}
		opts.Store = b
		p = start(t, opts)
		traffic(2*time.Minute, 0, 10)
		if v, _ := p.Verdict("shop-search-availability"); !v.Page.Firing || !v.Page.Since.Equal(since) {
			t.Errorf("after a restart: %+v; want the page of %v", v.Page, since)
		}
		if rate := b.get(series.PageBurnRate, "search-availability"); !(rate > 14.4) {
			t.Errorf("after a restart: the burn rate that pages is %v, want more than 14.4", rate)
		}
		traffic(16*time.Minute, 10, 0)
		of("a quarter of an hour of successes", series.PageBurnRate, none)
		if got := missing(); !math.IsNaN(got) {
			t.Errorf("%s = %v while there is traffic, want none", series.TrafficMissing, got)
		}

		time.Sleep(16 * time.Minute)
		synctest.Wait()
		if got := missing(); got != 300 {
			t.Errorf("%s = %v after 16 minutes of silence, want the 300 of a day ago", series.TrafficMissing, got)
		}
		if v, ok := p.TrafficVerdict("shop", "search"); !ok || !v.Missing {
			t.Errorf("traffic: %+v, %v; want it to be missing", v, ok)
		}
		traffic(6*time.Minute, 10, 0)
		if got := missing(); !math.IsNaN(got) {
			t.Errorf("%s = %v when traffic is back, want none", series.TrafficMissing, got)
		}
		p.end()
	})
}

// TestWhatDoesNotChangeIsWrittenNowAndThen: often enough for the lookback of
// five minutes, and at once when it is new.
func TestWhatDoesNotChangeIsWrittenNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &tape{samples: map[string][]sampleAt{}}
		o := slo.Objective{Name: "availability", Target: 0.9, Tiers: slo.Tiers(0.9, month)}
		p := start(t, Options{Flows: search(o), Dir: t.TempDir(), Store: store})
		defer p.end()
		began := time.Now()
		names := []string{series.Objective, series.ErrorBudget, series.PeriodDays, series.Info}
		time.Sleep(time.Hour)
		synctest.Wait()
		for _, name := range names {
			got := store.take(name)
			if len(got) < 25 || len(got) > 31 {
				t.Errorf("%s was written %d times in an hour, want some 28", name, len(got))
			}
			last := began
			for _, s := range got {
				if gap := s.at.Sub(last); gap > steady+slow {
					t.Errorf("%s at %v: %v after the one before, want at most %v", name, s.at, gap, steady+slow)
				}
				last = s.at
			}
		}
		if n := len(store.take(series.Events)); n < 1700 {
			t.Errorf("%s was written %d times in an hour, want some 1800", series.Events, n)
		}

		o.Target = 0.95
		applied := time.Now()
		if err := p.Apply(search(o)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(DefaultFlush + time.Second)
		synctest.Wait()
		for name, want := range map[string]float64{series.Objective: 0.95, series.ErrorBudget: 0.05, series.PeriodDays: 30, series.Info: 1} {
			got := store.take(name)
			if len(got) != 1 || math.Abs(got[0].v-want) > 1e-9 || got[0].at.Sub(applied) > DefaultFlush+time.Second {
				t.Errorf("%s after another objective: %v, want %g once, within a flush of %v", name, got, want, applied)
			}
		}
	})
}

// tape is a store that keeps what is appended, by the metric's name.
type tape struct {
	board
	mu      sync.Mutex
	samples map[string][]sampleAt
}

type sampleAt struct {
	at time.Time
	v  float64
}

// take returns the samples of a metric that nobody took.
func (s *tape) take(metric string) []sampleAt {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.samples[metric]
	delete(s.samples, metric)
	return out
}

func (s *tape) Appender(context.Context) storage.Appender {
	return tapeAppender{boardAppender{board: &s.board}, s}
}

type tapeAppender struct {
	boardAppender
	tape *tape
}

func (a tapeAppender) Append(_ storage.SeriesRef, l labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	a.tape.mu.Lock()
	defer a.tape.mu.Unlock()
	name := l.Get("__name__")
	a.tape.samples[name] = append(a.tape.samples[name], sampleAt{time.UnixMilli(t), v})
	return 0, nil
}
