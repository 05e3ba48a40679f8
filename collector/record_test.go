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

// TestCountsOfBadEvents: what alerts judge by is there while a window holds a
// bad event, in whole events, for the windows that they judge by only.
func TestCountsOfBadEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &board{}
		o := slo.Objective{Name: "availability", Target: 0.99, Tiers: slo.Tiers(0.99, month)}
		p := start(t, Options{Flows: search(o), Dir: t.TempDir(), Store: b})
		defer p.end()
		want := func(when string, hour, sixHours, day, threeDays float64) {
			t.Helper()
			for window, n := range map[time.Duration]float64{
				5 * time.Minute: math.NaN(), 30 * time.Minute: math.NaN(), time.Hour: hour, 2 * time.Hour: math.NaN(),
				6 * time.Hour: sixHours, 24 * time.Hour: day, 72 * time.Hour: threeDays, month: math.NaN(),
			} {
				wantValue(t, b, when, series.ErrorsOver(window), "search-availability", n)
			}
		}
		none := math.NaN()
		p.send(100, 0)
		sleepUntil(t, "01-01 00:10:03")
		want("nothing bad", none, none, none, none)
		p.send(97, 2)
		sleepUntil(t, "01-01 00:10:05")
		want("within a flush", 2, none, none, none) // long windows are not due
		sleepUntil(t, "01-01 00:10:21")
		p.send(0, 1)
		sleepUntil(t, "01-01 00:10:41")
		want("three", 3, 3, 3, 3)

		// The far edge of the hour cuts the slot 00:10:00 – 00:10:10.
		sleepUntil(t, "01-01 01:10:05")
		want("1.2 and one", 3, 3, 3, 3)
		sleepUntil(t, "01-01 01:10:07")
		want("0.8 and one", 2, 3, 3, 3)
		sleepUntil(t, "01-01 01:10:13")
		want("two of three gone", 1, 3, 3, 3)
		sleepUntil(t, "01-01 01:10:33")
		want("an hour on", none, 3, 3, 3)
		// The far edge of six hours cuts the minute 00:10.
		sleepUntil(t, "01-01 06:10:21")
		want("over two of six hours", none, 3, 3, 3)
		sleepUntil(t, "01-01 06:10:41")
		want("over one of six hours", none, 2, 3, 3)
		sleepUntil(t, "01-01 06:11:01")
		want("less than one of six hours", none, 1, 3, 3)
		sleepUntil(t, "01-01 06:11:21")
		want("six hours on", none, none, 3, 3)
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
