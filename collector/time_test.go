package collector

import (
	"context"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata" // the same clocks on every machine

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// board is a store that keeps the newest value of each series, without those
// that ended.
type board struct {
	mu     sync.Mutex
	values map[string]float64
}

func (b *board) Appender(context.Context) storage.Appender { return boardAppender{board: b} }

// get returns the value of a metric of an SLO, NaN where there is none.
func (b *board) get(metric, sloName string) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v, ok := b.values[metric+" "+sloName]; ok {
		return v
	}
	return math.NaN()
}

type boardAppender struct {
	storage.Appender
	board *board
}

func (a boardAppender) Append(_ storage.SeriesRef, l labels.Labels, _ int64, v float64) (storage.SeriesRef, error) {
	a.board.mu.Lock()
	defer a.board.mu.Unlock()
	if a.board.values == nil {
		a.board.values = map[string]float64{}
	}
	key := l.Get("__name__") + " " + l.Get(series.SLOName) + l.Get(series.FlowName)
	if value.IsStaleNaN(v) {
		delete(a.board.values, key)
	} else {
		a.board.values[key] = v
	}
	return 0, nil
}

func (a boardAppender) AppendHistogram(storage.SeriesRef, labels.Labels, int64, *histogram.Histogram, *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return 0, nil
}

func (a boardAppender) AppendExemplar(storage.SeriesRef, labels.Labels, exemplar.Exemplar) (storage.SeriesRef, error) {
	return 0, nil
}
func (a boardAppender) Commit() error   { return nil }
func (a boardAppender) Rollback() error { return nil }

// search returns the flow search with one objective.
func search(o slo.Objective, exclude ...slo.Exclusion) []slo.Flow {
	f := shop()[1]
	if o.Window == 0 {
		o.Window = month
	}
	f.Objectives, f.Exclude = []slo.Objective{o}, exclude
	return []slo.Flow{f}
}

// live is a pipeline that runs.
type live struct {
	*Pipeline
	t    *testing.T
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, o Options) *live {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	l := &live{p, t, stop, make(chan error, 1)}
	go func() { l.done <- p.Run(ctx) }()
	return l
}

func (l *live) end() {
	l.t.Helper()
	l.stop()
	if err := <-l.done; err != nil {
		l.t.Errorf("Run: %v", err)
	}
}

// send counts requests of search, n good and bad ones.
func (l *live) send(good, bad int) {
	l.t.Helper()
	var reqs []req
	for i := range good + bad {
		reqs = append(reqs, req{route: "/api/search", failed: i < bad})
	}
	if _, err := l.Traces(body(l.t, reqs...)); err != nil {
		l.t.Error(err)
	}
}

// sleepUntil sleeps until a moment of the bubble's year 2000.
func sleepUntil(t *testing.T, moment string) {
	t.Helper()
	at, err := time.Parse("01-02 15:04:05", moment)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(at.AddDate(2000, 0, 0)))
	synctest.Wait()
}

func wantValue(t *testing.T, b *board, when, metric, name string, want float64) {
	t.Helper()
	if got := b.get(metric, name); !(math.Abs(got-want) <= 1e-9 || math.IsNaN(got) && math.IsNaN(want)) {
		t.Errorf("%s: %s of %s = %g, want %g", when, metric, name, got, want)
	}
}

func TestMonthBoundaryGivesBackTheBudget(t *testing.T) {
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		sleepUntil(t, "01-31 22:00:00")
		b := &board{}
		p := start(t, Options{
			Flows: search(slo.Objective{Name: "availability", Target: 0.9, Calendar: slo.Calendar{Unit: slo.Month, Zone: zurich}}),
			Dir:   t.TempDir(), Store: b,
		})
		defer p.end()
		const name = "search-availability"
		p.send(80, 20)
		sleepUntil(t, "01-31 22:59:58")
		wantValue(t, b, "in January", series.BudgetRemaining, name, -1)
		wantValue(t, b, "in January", series.PeriodBurnRate, name, 2)
		wantValue(t, b, "in January", series.PeriodDays, name, 31)

		sleepUntil(t, "01-31 23:00:20") // 00:00:20 in Zurich
		wantValue(t, b, "in February, idle", series.BudgetRemaining, name, math.NaN())
		wantValue(t, b, "in February, idle", series.PeriodBurnRate, name, math.NaN())
		wantValue(t, b, "in February", series.PeriodDays, name, 29)
		p.send(99, 1)
		sleepUntil(t, "01-31 23:00:40")
		wantValue(t, b, "in February", series.BudgetRemaining, name, 0.9)
		wantValue(t, b, "in February", series.ErrorRatio(month), name, 0.105)
		wantValue(t, b, "in February", series.Events, name, 200)
	})
}

func TestExclusionAddedLaterRestoresTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &board{}
		o := slo.Objective{Name: "availability", Target: 0.9}
		p := start(t, Options{Flows: search(o), Dir: t.TempDir(), Store: b})
		defer p.end()
		const name = "search-availability"
		p.send(100, 0)
		sleepUntil(t, "01-01 02:01:00")
		p.send(0, 100)
		sleepUntil(t, "01-01 05:00:00")
		wantValue(t, b, "after an outage", series.BudgetRemaining, name, -4)

		midnight := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		if err := p.Apply(search(o, slo.Exclusion{From: midnight.Add(2 * time.Hour), For: time.Hour, Why: "not ours"})); err != nil {
			t.Fatal(err)
		}
		sleepUntil(t, "01-01 05:00:20")
		wantValue(t, b, "the outage excluded", series.BudgetRemaining, name, 1)
		wantValue(t, b, "the outage excluded", series.ErrorRatio(month), name, 0)
		wantValue(t, b, "the outage excluded", series.Errors, name, 100)

		if err := p.Apply(search(o, slo.Exclusion{Every: slo.Daily, At: 5 * time.Hour, For: time.Hour})); err != nil {
			t.Fatal(err)
		}
		p.send(0, 50)
		sleepUntil(t, "01-01 05:00:40")
		wantValue(t, b, "while excluded", series.BudgetRemaining, name, -4)
		wantValue(t, b, "while excluded", series.Errors, name, 100)
		if s, _ := p.Ledger().State("shop-" + name); !s.Excluded || !s.ExcludedUntil.Equal(midnight.Add(6*time.Hour)) {
			t.Errorf("excluded is %t until %v, want until 06:00", s.Excluded, s.ExcludedUntil)
		}
	})
}

// TestSlicesThroughARestart judges minutes; half a minute into one, the process
// is stopped, or killed, and starts again ten seconds or an hour later.
func TestSlicesThroughARestart(t *testing.T) {
	for _, tc := range []struct {
		name       string
		kill       bool
		away       string // until
		bad, total float64
	}{
		{name: "stopped for ten seconds", away: "01-01 00:02:40", bad: 1, total: 5},
		{name: "killed for ten seconds", kill: true, away: "01-01 00:02:40", bad: 1, total: 5},
		{name: "stopped for most of an hour", away: "01-01 00:59:30", bad: 1, total: 5},
		{name: "killed for most of an hour", kill: true, away: "01-01 00:59:30", bad: 1, total: 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, o := &board{}, Options{
					Flows: search(slo.Objective{Name: "minutes", Target: 0.9, Slice: time.Minute, SliceTarget: 0.95}),
					Dir:   t.TempDir(),
				}
				o.Store = b
				const name = "search-minutes"
				p := start(t, o)
				sleepUntil(t, "01-01 00:00:30")
				p.send(100, 1)
				sleepUntil(t, "01-01 00:02:15")
				p.send(1, 1)
				sleepUntil(t, "01-01 00:02:28")
				wantValue(t, b, "before", series.Events, name, 2)
				if tc.kill {
					if err := p.journal.close(); err != nil {
						t.Fatal(err)
					}
					p.stop()
					<-p.done // its last flush finds no journal
				} else {
					p.end()
				}
				sleepUntil(t, tc.away)
				p = start(t, o)
				defer p.end()
				// Two whole minutes more, after that in which it started.
				now := time.Now()
				time.Sleep(now.Truncate(time.Minute).Add(3*time.Minute + 5*time.Second).Sub(now))
				synctest.Wait()
				wantValue(t, b, "after", series.Events, name, tc.total)
				wantValue(t, b, "after", series.Errors, name, tc.bad)
				wantValue(t, b, "after", series.BudgetRemaining, name, 1-tc.bad/tc.total/0.1)
			})
		})
	}
}

// TestFreshThroughARestart: the age of the last success goes on after a restart,
// without the time nothing ran.
func TestFreshThroughARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, o := &board{}, Options{
			Flows: search(slo.Objective{Name: "fresh", Kind: slo.Fresh, Target: 0.5, Threshold: 10 * time.Minute}),
			Dir:   t.TempDir(),
		}
		o.Store = b
		const name = "search-fresh"
		p := start(t, o)
		sleepUntil(t, "01-01 00:01:29")
		p.send(1, 0)
		sleepUntil(t, "01-01 00:06:02")
		p.send(0, 1) // a failure makes nothing fresh
		p.end()
		sleepUntil(t, "01-01 03:00:00")
		p = start(t, o)
		defer p.end()
		sleepUntil(t, "01-01 03:10:02")
		// Six minutes before, that of the stop as it holds an event, and ten since.
		// The success was four and a half minutes old at the stop, so five and a half
		// later it is too old.
		wantValue(t, b, "ten minutes on", series.Events, name, 17)
		wantValue(t, b, "ten minutes on", series.Errors, name, 5)
		p.send(1, 0)
		sleepUntil(t, "01-01 03:11:02")
		wantValue(t, b, "after a success", series.Events, name, 18)
		wantValue(t, b, "after a success", series.Errors, name, 5)
	})
}

// promql returns a flow whose events are counted by queries.
func promql() slo.Flow {
	return slo.Flow{
		Name: "imports", Service: "shop", Match: shop()[1].Match,
		Objectives: []slo.Objective{{Name: "good", Kind: slo.PromQL, Target: 0.9, Window: month}},
	}
}

// TestCount: events of a query reach the counters as those of spans do, once,
// also over a crash; its flow takes no spans.
func TestCount(t *testing.T) {
	b, dir := &board{}, t.TempDir()
	o := Options{Flows: append(shop()[1:], promql()), Dir: dir, Store: b}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	const id, name = "shop-imports-good", "imports-good"
	p.Count(id, 7, 1)
	p.Count(id, 1, 1)
	p.Count("shop-imports-gone", 5, 5)
	if _, err := p.Traces(body(t, req{route: "/api/search"})); err != nil {
		t.Fatal(err)
	}
	if err := p.flush(time.Now()); err != nil {
		t.Fatal(err)
	}
	wantValue(t, b, "a flush on", series.Events, name, 10)
	wantValue(t, b, "a flush on", series.Errors, name, 2)
	wantValue(t, b, "a flush on", series.Events, "search-availability", 1)
	wantValue(t, b, "a flush on", series.FlowRequests, "imports", math.NaN())
	crash(t, p.journal)

	if p, err = New(o); err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if s, _ := p.ledger.State(id); s.Events != 10 || s.Errors != 2 {
		t.Errorf("after a crash: %d of %d, want 2 of 10", s.Errors, s.Events)
	}
	if ids := strings.Join(p.ledger.IDs(), " "); ids != "shop-imports-good shop-search-availability" {
		t.Errorf("the ledger knows %s, want the two SLOs", ids)
	}
}

// TestCountWhileFlowsChange: nothing of an SLO that stays is lost.
func TestCountWhileFlowsChange(t *testing.T) {
	p, err := New(Options{Flows: []slo.Flow{promql()}, Dir: t.TempDir(), Store: &board{}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	const goroutines, each = 4, 1000
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				p.Count("shop-imports-good", 1, 1)
			}
		})
	}
	for i := range 20 {
		flows := []slo.Flow{promql()}
		if i%2 == 0 {
			flows = append(shop()[1:], flows...)
		}
		if err := p.Apply(flows); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if err := p.flush(time.Now()); err != nil {
		t.Fatal(err)
	}
	if s, _ := p.ledger.State("shop-imports-good"); s.Events != 2*goroutines*each {
		t.Errorf("%d events, want %d", s.Events, 2*goroutines*each)
	}
}
