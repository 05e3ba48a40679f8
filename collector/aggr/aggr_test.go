package aggr

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/histogram"
	"go.uber.org/goleak"

	"github.com/slowburn-slo/slowburn/slo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = uint64(time.Millisecond)

var (
	succeed  = slo.Objective{Name: "availability", Kind: slo.Succeed, Target: 0.999}
	under300 = slo.Objective{Name: "latency-300ms", Kind: slo.FasterThan, Target: 0.95, Threshold: 300 * time.Millisecond}
	under1s  = slo.Objective{Name: "latency-1s", Kind: slo.FasterThan, Target: 0.99, Threshold: time.Second}
)

func newAggregator(t testing.TB, o Options, flows ...slo.Flow) *Aggregator {
	t.Helper()
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	a.Apply(flows)
	return a
}

// flushed is a copy of a FlowDelta.
type flushed struct {
	name       string
	total, new Tally
	slos       []Tally
	hist       *histogram.Histogram
	values     []flushed
}

func flush(a *Aggregator) (out []flushed) {
	keep := func(name string, c Counts) flushed {
		return flushed{name: name, total: c.Total, new: c.New, slos: slices.Clone(c.SLOs), hist: c.Histogram()}
	}
	a.Flush(func(d FlowDelta) {
		f := keep(d.Flow.Name, d.Counts)
		for _, v := range d.Values {
			f.values = append(f.values, keep(v.Value, v.Counts))
		}
		out = append(out, f)
	})
	return out
}

func (f flushed) String() string {
	s := fmt.Sprintf("%s %v new %v slos %v", f.name, f.total, f.new, f.slos)
	for _, v := range f.values {
		s += fmt.Sprintf(" [%v]", v)
	}
	return s
}

// checkSplit reports by values that do not add up to their flow.
func checkSplit(t *testing.T, f flushed) {
	t.Helper()
	var total, fresh Tally
	slos := make([]Tally, len(f.slos))
	var observations uint64
	for _, v := range f.values {
		total.add(v.total)
		fresh.add(v.new)
		for i := range slos {
			slos[i].add(v.slos[i])
		}
		observations += v.hist.Count
	}
	got := fmt.Sprintf("total %v new %v slos %v latencies %d", total, fresh, slos, observations)
	want := fmt.Sprintf("total %v new %v slos %v latencies %d", f.total, f.new, f.slos, f.hist.Count)
	if got != want {
		t.Errorf("flow %s: sum over by values: %s, want the flow's: %s", f.name, got, want)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    Options
		want string
	}{
		{name: "max series", o: Options{MaxSeries: -1}, want: "aggr: max series is -1; want 0 for the default of 10000, or more"},
		{name: "shards", o: Options{Shards: -2}, want: "aggr: shards is -2; want 0 for one per CPU, or more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := New(tc.o); err == nil || err.Error() != tc.want {
				t.Errorf("New(%+v) = %v, want %q", tc.o, err, tc.want)
			}
		})
	}
}

func TestFlush(t *testing.T) {
	a := newAggregator(t, Options{},
		slo.Flow{Service: "shop", Name: "checkout", Objectives: []slo.Objective{succeed, under300, under1s}},
		slo.Flow{Service: "shop", Name: "search", Objectives: []slo.Objective{succeed}},
	)
	for _, tc := range []struct {
		name   string
		events []Event
		want   []string
	}{
		{
			name: "nothing yet",
			want: []string{"checkout {0 0} new {0 0} slos [{0 0} {0 0} {0 0}]", "search {0 0} new {0 0} slos [{0 0}]"},
		},
		{
			name: "a request of exactly the threshold is good",
			events: []Event{
				{Latency: 300 * ms},
				{Latency: 300*ms + 1},
				{Latency: 1000*ms + 1},
				{Latency: 10 * ms, Bad: true},
			},
			want: []string{"checkout {3 1} new {3 1} slos [{3 1} {2 2} {3 1}]", "search {0 0} new {0 0} slos [{0 0}]"},
		},
		{
			name:   "totals go on, increments do not",
			events: []Event{{Flow: 1, Bad: true}, {Flow: 1, Weight: 1}, {Latency: 2000 * ms, Bad: true}},
			want:   []string{"checkout {3 2} new {0 1} slos [{0 1} {0 1} {0 1}]", "search {1 1} new {1 1} slos [{1 1}]"},
		},
		{
			name:   "one event for many",
			events: []Event{{Flow: 1, Weight: 1000}, {Flow: 1, Weight: 5, Bad: true}},
			want:   []string{"checkout {3 2} new {0 0} slos [{0 0} {0 0} {0 0}]", "search {1001 6} new {1000 5} slos [{1000 5}]"},
		},
		{
			name:   "no such flow",
			events: []Event{{Flow: 2}, {Flow: -1}},
			want:   []string{"checkout {3 2} new {0 0} slos [{0 0} {0 0} {0 0}]", "search {1001 6} new {0 0} slos [{0 0}]"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a.Commit(tc.events)
			if got := fmt.Sprint(flush(a)); got != fmt.Sprint(tc.want) {
				t.Errorf("flushed %s, want %s", got, tc.want)
			}
		})
	}
}

func TestByValues(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, tc := range []struct {
		name   string
		o      Options
		limit  int
		values []string
		want   string // value=count
	}{
		{name: "none", want: "[]"},
		{name: "in order of first sight", values: []string{"b", "a", "b"}, want: "[b=2 a=1]"},
		{name: "no attribute", values: []string{"", "a"}, want: "[=1 a=1]"},
		{name: "limit", limit: 2, values: []string{"a", "b", "c", "a", "d"}, want: "[a=2 b=1 __overflow__=2]"},
		{name: "limit just reached", limit: 2, values: []string{"a", "b", "b"}, want: "[a=1 b=2]"},
		{name: "named like the overflow", values: []string{slo.Overflow, "a", slo.Overflow}, want: "[a=1 __overflow__=2]"},
		{name: "all series, flow and overflow included", o: Options{MaxSeries: 3}, values: []string{"a", "b", "a"}, want: "[a=2 __overflow__=1]"},
		{name: "fewer series than flows", o: Options{MaxSeries: 1}, values: []string{"a", "b"}, want: "[__overflow__=2]"},
		{name: "invalid UTF-8", values: []string{"a\xff", "a\xfe", "a\ufffd"}, want: "[a\ufffd=3]"},
		{name: "long", values: []string{long, long + "y", long[:256], long[:255]}, want: "[" + long[:256] + "=3 " + long[:255] + "=1]"},
		{name: "cut at a rune", values: []string{long[:255] + "é"}, want: "[" + long[:255] + "=1]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, shards := range []int{1, 2} {
				tc.o.Shards = shards
				a := newAggregator(t, tc.o, slo.Flow{Service: "shop", Name: "checkout", By: "tenant.id", ByLimit: tc.limit})
				for i, v := range tc.values {
					// In turn in each shard, as if the others were busy.
					s := a.shards[i%shards]
					s.mu.Lock()
					s.commit([]Event{{By: []byte(v)}})
					s.mu.Unlock()
				}
				f := flush(a)[0]
				checkSplit(t, f)
				got := []string{}
				for _, v := range f.values {
					got = append(got, fmt.Sprintf("%s=%d", v.name, v.total.Good))
				}
				if fmt.Sprint(got) != tc.want {
					t.Errorf("%d shards: values = %v, want %s", shards, got, tc.want)
				}
			}
		})
	}
}

// TestByIsAView changes the buffer a value was in, as a decoder does.
func TestByIsAView(t *testing.T) {
	a := newAggregator(t, Options{}, slo.Flow{Service: "shop", Name: "checkout", By: "tenant.id"})
	buf := []byte("acme")
	a.Commit([]Event{{By: buf}})
	copy(buf, "zzzz")
	a.Commit([]Event{{By: []byte("acme")}})
	if got, want := fmt.Sprint(flush(a)), "[checkout {2 0} new {2 0} slos [] [acme {2 0} new {2 0} slos []]]"; got != want {
		t.Errorf("flushed %s, want %s", got, want)
	}
}

func FuzzSanitise(f *testing.F) {
	f.Add([]byte("acme"))
	f.Add([]byte("a\xffb"))
	f.Add(bytes.Repeat([]byte("\xff"), 300))
	f.Add(bytes.Repeat([]byte("é"), 200))
	f.Fuzz(func(t *testing.T, in []byte) {
		got := sanitise(nil, in)
		if !utf8.Valid(got) || len(got) > maxValue {
			t.Errorf("sanitise(%q) = %q of %d bytes, want valid UTF-8 of at most %d", in, got, len(got), maxValue)
		}
		if utf8.Valid(in) && len(in) <= maxValue && !bytes.Equal(got, in) {
			t.Errorf("sanitise(%q) = %q, want it unchanged", in, got)
		}
		if again := sanitise(nil, got); !bytes.Equal(again, got) {
			t.Errorf("sanitise(%q) = %q, want what is clean unchanged", got, again)
		}
	})
}

// TestFlood sends 100,000 values of the by attribute from many goroutines,
// flushing meanwhile: values seen before are unharmed, totals exact, memory
// bounded.
func TestFlood(t *testing.T) {
	const (
		senders  = 8
		distinct = 100_000
		regulars = 10
		limit    = 100
	)
	a := newAggregator(t, Options{Shards: 4},
		slo.Flow{Service: "shop", Name: "checkout", By: "tenant.id", ByLimit: limit, Objectives: []slo.Objective{succeed, under300}},
		slo.Flow{Service: "shop", Name: "search", By: "tenant.id", ByLimit: 1_000_000},
	)
	for i := range regulars {
		a.Commit([]Event{{By: fmt.Appendf(nil, "tenant-%d", i)}})
	}
	before := heap()

	var done atomic.Bool
	flusher := make(chan struct{})
	var increments [2]Tally
	count := func(d FlowDelta) { increments[d.Index].add(d.New) }
	go func() {
		defer close(flusher)
		for !done.Load() {
			a.Flush(count)
			time.Sleep(time.Millisecond)
		}
	}()
	var wg sync.WaitGroup
	var bad, slow atomic.Uint64
	for w := range senders {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(w)))
			events := make([]Event, 0, 4)
			var value []byte
			for i := range distinct / senders {
				value = fmt.Appendf(value[:0], "%x-%d-%d", rng.Uint64(), w, i)
				regular := fmt.Appendf(nil, "tenant-%d", i%regulars)
				e := Event{Latency: rng.Uint64N(600 * ms), Bad: rng.IntN(10) == 0, By: value}
				if e.Bad {
					bad.Add(1)
				}
				if e.Latency > 300*ms {
					slow.Add(1)
				}
				events = append(events[:0], e, Event{By: regular}, Event{Flow: 1, By: value})
				a.Commit(events)
			}
		})
	}
	wg.Wait()
	done.Store(true)
	<-flusher
	a.Flush(count)
	grown := int64(heap()) - int64(before)

	all := flush(a)
	checkout, search := all[0], all[1]
	checkSplit(t, checkout)
	checkSplit(t, search)
	if want := (Tally{Good: regulars + 2*distinct - bad.Load(), Bad: bad.Load()}); checkout.total != want || increments[0] != want {
		t.Errorf("checkout: total %v, increments %v, want %v", checkout.total, increments[0], want)
	}
	if want := (Tally{Good: distinct}); search.total != want || increments[1] != want {
		t.Errorf("search: total %v, increments %v, want %v", search.total, increments[1], want)
	}
	if got, want := len(checkout.values), limit+1; got != want {
		t.Errorf("checkout keeps %d values, want %d with the overflow", got, want)
	}
	if got, want := len(checkout.values)+len(search.values), DefaultMaxSeries-2; got != want {
		t.Errorf("%d values in all, want %d", got, want)
	}
	for i, v := range checkout.values[:regulars] {
		if want := fmt.Sprintf("tenant-%d", i); v.name != want || v.total.Good != 1+distinct/regulars {
			t.Errorf("value %d: %s with %d events, want %s with %d", i, v.name, v.total.Good, want, 1+distinct/regulars)
		}
	}
	if most := int64(64 << 20); grown > most {
		t.Errorf("heap grew by %d KiB, want at most %d", grown>>10, most>>10)
	}
	t.Logf("heap grew by %d KiB for %d series", grown>>10, DefaultMaxSeries)
	runtime.KeepAlive(a)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestApply(t *testing.T) {
	by := func(name, attribute string, limit int, o ...slo.Objective) slo.Flow {
		return slo.Flow{Service: "shop", Name: name, By: attribute, ByLimit: limit, Objectives: o}
	}
	flow := func(name string, o ...slo.Objective) slo.Flow { return by(name, "", 0, o...) }
	slow, failed := Event{Latency: 400 * ms}, Event{Bad: true}

	for _, tc := range []struct {
		name          string
		before, after []slo.Flow
		flushed       []Event // told of before Apply
		pending       []Event // not told of yet
		late          []Event // after Apply
		want          string
	}{
		{
			name:   "the same again",
			before: []slo.Flow{flow("checkout", succeed, under300)}, after: []slo.Flow{flow("checkout", succeed, under300)},
			flushed: []Event{slow}, pending: []Event{slow, failed}, late: []Event{failed},
			want: "[checkout {2 2} new {1 2} slos [{1 2} {2 1}]]",
		},
		{
			name:   "another place",
			before: []slo.Flow{flow("checkout"), flow("search")}, after: []slo.Flow{flow("login"), flow("search"), flow("checkout")},
			flushed: []Event{{Flow: 1}}, pending: []Event{slow, {Flow: 1}}, late: []Event{{Flow: 0}, {Flow: 2}},
			want: "[login {1 0} new {1 0} slos [] search {2 0} new {1 0} slos [] checkout {2 0} new {2 0} slos []]",
		},
		{
			name:   "the same name on another service is another flow",
			before: []slo.Flow{flow("checkout")}, after: []slo.Flow{{Service: "till", Name: "checkout"}},
			pending: []Event{slow}, want: "[checkout {0 0} new {0 0} slos []]",
		},
		{
			name:   "gone",
			before: []slo.Flow{flow("checkout")}, pending: []Event{slow}, late: []Event{slow}, want: "[]",
		},
		{
			name:   "objectives moved, added and dropped",
			before: []slo.Flow{flow("checkout", succeed, under300)}, after: []slo.Flow{flow("checkout", under1s, under300)},
			pending: []Event{slow, failed}, late: []Event{slow},
			want: "[checkout {2 1} new {2 1} slos [{1 0} {1 2}]]",
		},
		{
			name:   "values go on",
			before: []slo.Flow{by("checkout", "tenant", 1, succeed)}, after: []slo.Flow{by("checkout", "tenant", 3, succeed)},
			flushed: []Event{{By: []byte("a")}, {By: []byte("b")}}, pending: []Event{{By: []byte("b")}}, late: []Event{{By: []byte("b")}, {By: []byte("a")}},
			want: "[checkout {5 0} new {3 0} slos [{3 0}] [a {2 0} new {1 0} slos [{1 0}]] [b {1 0} new {1 0} slos [{1 0}]] [__overflow__ {2 0} new {1 0} slos [{1 0}]]]",
		},
		{
			name:   "fewer values",
			before: []slo.Flow{by("checkout", "tenant", 3)}, after: []slo.Flow{by("checkout", "tenant", 1)},
			flushed: []Event{{By: []byte("a")}, {By: []byte("b")}, {By: []byte("c")}}, late: []Event{{By: []byte("b")}, {By: []byte("a")}},
			want: "[checkout {5 0} new {2 0} slos [] [a {2 0} new {1 0} slos []] [__overflow__ {3 0} new {1 0} slos []]]",
		},
		{
			name:   "another attribute",
			before: []slo.Flow{by("checkout", "tenant", 3)}, after: []slo.Flow{by("checkout", "region", 3)},
			flushed: []Event{{By: []byte("a")}}, pending: []Event{{By: []byte("b")}}, late: []Event{{By: []byte("eu")}},
			want: "[checkout {3 0} new {2 0} slos [] [eu {1 0} new {1 0} slos []] [__overflow__ {2 0} new {1 0} slos []]]",
		},
		{
			name:   "split at last",
			before: []slo.Flow{flow("checkout")}, after: []slo.Flow{by("checkout", "tenant", 3)},
			pending: []Event{slow}, late: []Event{{By: []byte("a")}},
			want: "[checkout {2 0} new {2 0} slos [] [a {1 0} new {1 0} slos []] [__overflow__ {1 0} new {1 0} slos []]]",
		},
		{
			name:   "no longer split",
			before: []slo.Flow{by("checkout", "tenant", 3)}, after: []slo.Flow{flow("checkout")},
			flushed: []Event{{By: []byte("a")}}, pending: []Event{{By: []byte("b")}}, late: []Event{slow},
			want: "[checkout {3 0} new {2 0} slos []]",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAggregator(t, Options{}, tc.before...)
			a.Commit(tc.flushed)
			a.Flush(func(FlowDelta) {})
			a.Commit(tc.pending)
			a.Apply(tc.after)
			a.Commit(tc.late)
			all := flush(a)
			if got := fmt.Sprint(all); got != tc.want {
				t.Errorf("flushed %s, want %s", got, tc.want)
			}
			for _, f := range all {
				if got, want := f.hist.Count, f.total.Events(); got != want {
					t.Errorf("%s: histogram of %d events, want %d", f.name, got, want)
				}
				if f.values != nil {
					checkSplit(t, f)
				}
			}
		})
	}
}

// TestApplyWhileCommitting reloads the same flows under load: not one event is
// lost or counted twice.
func TestApplyWhileCommitting(t *testing.T) {
	flows := []slo.Flow{
		{Service: "shop", Name: "checkout", Objectives: []slo.Objective{succeed}},
		{Service: "shop", Name: "search", By: "tenant.id"},
	}
	a := newAggregator(t, Options{Shards: 3}, flows...)
	const senders, batches = 4, 5_000
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			events := []Event{{Latency: 5 * ms}, {Flow: 1, By: []byte("acme"), Bad: true}}
			for range batches {
				a.Commit(events)
			}
		})
	}
	var told [2]Tally
	count := func(d FlowDelta) { told[d.Index].add(d.New) }
	for range 100 {
		a.Apply(flows)
		a.Flush(count)
	}
	wg.Wait()
	a.Flush(count)
	if want := [2]Tally{{Good: senders * batches}, {Bad: senders * batches}}; told != want {
		t.Errorf("increments add up to %v, want %v", told, want)
	}
	for i, f := range flush(a) {
		if f.total != told[i] {
			t.Errorf("%s: total %v, want the sum of its increments, %v", f.name, f.total, told[i])
		}
	}
}

// TestCommitPrefersTheFirstFreeShard is why a quiet process needs the memory of
// one shard only.
func TestCommitPrefersTheFirstFreeShard(t *testing.T) {
	a := newAggregator(t, Options{Shards: 2}, slo.Flow{Service: "shop", Name: "checkout"})
	a.Commit(make([]Event, 3))
	a.shards[0].mu.Lock()
	a.Commit(make([]Event, 2))
	a.shards[0].mu.Unlock()
	for i, want := range []Tally{{Good: 3}, {Good: 2}} {
		if got := a.shards[i].places[0].cell.total; got != want {
			t.Errorf("shard %d counted %v, want %v", i, got, want)
		}
	}
}

func TestCommitDoesNotAllocate(t *testing.T) {
	a := newAggregator(t, Options{},
		slo.Flow{Service: "shop", Name: "checkout", Objectives: []slo.Objective{succeed, under300}},
		slo.Flow{Service: "shop", Name: "search", By: "tenant.id", ByLimit: 2},
	)
	long := bytes.Repeat([]byte("\xff"), 1000)
	var events []Event
	for i := range 64 {
		events = append(events,
			Event{Latency: uint64(i) * 20 * ms},
			Event{Flow: 1, Latency: uint64(i) * ms, By: []byte("acme")},
			Event{Flow: 1, By: long},
			Event{Flow: 1, By: fmt.Appendf(nil, "flood-%d", i)},
		)
	}
	a.Commit(events)
	a.Flush(func(FlowDelta) {})
	if got := testing.AllocsPerRun(100, func() { a.Commit(events) }); got != 0 {
		t.Errorf("Commit allocates %g times, want 0", got)
	}
	if got := testing.AllocsPerRun(100, func() {
		a.Commit(events)
		a.Flush(func(FlowDelta) {})
	}); got != 0 {
		t.Errorf("Commit and Flush allocate %g times, want 0", got)
	}
}

// corpus returns flows, and a batch of events as a request of 500 spans brings
// them: over random flows, latencies lognormal.
func corpus(flows int) ([]slo.Flow, []Event) {
	table := make([]slo.Flow, flows)
	for i := range table {
		table[i] = slo.Flow{Service: "shop", Name: fmt.Sprintf("flow-%d", i), Objectives: []slo.Objective{succeed, under300}}
	}
	rng := rand.New(rand.NewPCG(9, 9))
	events := make([]Event, 500)
	for i := range events {
		events[i] = Event{
			Flow:    int32(rng.IntN(flows)),
			Latency: uint64(float64(100*ms) * (0.2 + rng.ExpFloat64())),
			Bad:     rng.IntN(100) == 0,
		}
	}
	return table, events
}

func BenchmarkCommit(b *testing.B) {
	for _, flows := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			table, events := corpus(flows)
			a := newAggregator(b, Options{}, table...)
			b.ReportAllocs()
			for b.Loop() {
				a.Commit(events)
			}
			report(b, len(events))
		})
	}
	b.Run("by", func(b *testing.B) {
		_, events := corpus(1)
		for i := range events {
			events[i].By = fmt.Appendf(nil, "tenant-%d", i%80)
		}
		a := newAggregator(b, Options{}, slo.Flow{Service: "shop", Name: "checkout", By: "tenant.id", Objectives: []slo.Objective{succeed, under300}})
		b.ReportAllocs()
		for b.Loop() {
			a.Commit(events)
		}
		report(b, len(events))
	})
}

func BenchmarkCommitParallel(b *testing.B) {
	table, events := corpus(100)
	a := newAggregator(b, Options{}, table...)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			a.Commit(events)
		}
	})
	report(b, len(events))
}

func report(b *testing.B, events int) {
	b.ReportMetric(float64(b.N)*float64(events)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkFlush makes all histograms, as writing them does.
func BenchmarkFlush(b *testing.B) {
	for _, flows := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			table, events := corpus(flows)
			a := newAggregator(b, Options{}, table...)
			b.ReportAllocs()
			for b.Loop() {
				a.Commit(events)
				a.Flush(func(d FlowDelta) { d.Histogram() })
			}
			b.ReportMetric(float64(b.N)*float64(flows)/b.Elapsed().Seconds(), "flows/s")
		})
	}
}
