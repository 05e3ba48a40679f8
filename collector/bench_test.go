package collector

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/collector/span/spantest"
	"github.com/slowburn-slo/slowburn/slo"
)

const benchSpans = 50_000

var orders = []spantest.Order{spantest.Ascending, spantest.Descending, spantest.Permuted}

// benchPipeline returns a pipeline with n flows, those the corpus exercises
// among them, each with two objectives.
func benchPipeline(tb testing.TB, n int) *Pipeline {
	tb.Helper()
	st := openStore(tb, tb.TempDir())
	tb.Cleanup(func() { st.Close() })
	flow := func(name, method, route string) slo.Flow {
		f := slo.Flow{Name: name, Service: "shop", Objectives: shop()[0].Objectives}
		for _, c := range [][2]string{{slo.KeyMethod, method}, {slo.KeyRoute, route}} {
			f.Match = append(f.Match, slo.Condition{Key: c[0], Any: []slo.Pattern{{Text: c[1]}}})
		}
		return f
	}
	flows := []slo.Flow{
		flow("checkout", "POST", "/api/checkout"), flow("product", "GET", "/api/products/{id}"),
		flow("search", "GET", "/api/search"), flow("cart", "*", "/api/cart*"), flow("login", "POST", "/api/login"),
	}
	flows[0].By = "tenant.id"
	for i := len(flows); i < n; i++ {
		flows = append(flows, flow(fmt.Sprintf("flow-%d", i), "GET", fmt.Sprintf("/api/v%d/things/{id}", i)))
	}
	p, err := New(Options{Flows: flows, Dir: tb.TempDir(), Store: st})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	return p
}

func corpus(tb testing.TB, order spantest.Order) (requests [][]byte, now time.Time) {
	tb.Helper()
	requests, err := spantest.Corpus(spantest.Options{Spans: benchSpans, Order: order, Seed: 1})
	if err != nil {
		tb.Fatal(err)
	}
	return requests, spantest.Epoch
}

// BenchmarkTraces is decode, match and aggregate of whole requests.
func BenchmarkTraces(b *testing.B) {
	for _, flows := range []int{10, 1000} {
		for _, order := range orders {
			b.Run(fmt.Sprintf("flows=%d/order=%s", flows, order), func(b *testing.B) {
				p := benchPipeline(b, flows)
				requests, now := corpus(b, order)
				for _, r := range requests { // series exist from here on
					if rejected, err := p.traces(r, now); err != nil || rejected.Spans > 0 {
						b.Fatal(rejected, err)
					}
				}
				b.ReportAllocs()
				for b.Loop() {
					for _, r := range requests {
						if _, err := p.traces(r, now); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchSpans, "ns/span")
			})
		}
	}
}

// BenchmarkHandWalk is the yardstick: every field read by hand, nothing done.
func BenchmarkHandWalk(b *testing.B) {
	for _, order := range orders {
		b.Run("order="+order.String(), func(b *testing.B) {
			requests, _ := corpus(b, order)
			for b.Loop() {
				for _, r := range requests {
					if _, err := spantest.Walk(r); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchSpans, "ns/span")
		})
	}
}

// BenchmarkRatio holds decode, match and aggregate, with 1,000 flows, against a
// plain walk by hand over the same bytes, and the field orders against each
// other. Request by request they are measured in turn and the median of the
// ratios is reported, so that other work on the machine hits all alike.
func BenchmarkRatio(b *testing.B) {
	p := benchPipeline(b, 1000)
	requests := make([][][]byte, len(orders))
	var now time.Time
	for i, order := range orders {
		requests[i], now = corpus(b, order)
	}
	toWalk := make([][]float64, len(orders))
	toAscending := make([][]float64, len(orders))
	for b.Loop() {
		for r := range requests[0] {
			var ascending float64
			for i := range orders {
				body := requests[i][r]
				start := time.Now()
				if _, err := spantest.Walk(body); err != nil {
					b.Fatal(err)
				}
				walked := time.Now()
				if _, err := p.traces(body, now); err != nil {
					b.Fatal(err)
				}
				ours := float64(time.Since(walked))
				if i == 0 {
					ascending = ours
				}
				toWalk[i] = append(toWalk[i], ours/float64(walked.Sub(start)))
				toAscending[i] = append(toAscending[i], ours/ascending)
			}
		}
	}
	for i, order := range orders {
		b.ReportMetric(median(toWalk[i]), order.String()+"/walk")
		if i > 0 {
			b.ReportMetric(median(toAscending[i]), order.String()+"/ascending")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkWhere holds decode, match and aggregate with the attributes that
// flows compare by default against the same with none, at 100,000 spans a second.
// Request by request they are measured in turn. Reported are the median of
// the ratios and the ratio of the sums, which what is done at times is part of.
func BenchmarkWhere(b *testing.B) {
	with := benchPipeline(b, 1000)
	without := benchPipeline(b, 1000)
	flows := slices.Clone(without.opts.Flows)
	for i := range flows {
		flows[i].Where = []string{}
	}
	if err := without.Apply(flows); err != nil {
		b.Fatal(err)
	}
	for _, order := range orders {
		b.Run("order="+order.String(), func(b *testing.B) {
			requests, now := corpus(b, order)
			var ratios []float64
			var sums [2]float64
			n := 0
			for b.Loop() {
				for _, body := range requests {
					// Spans may be ten minutes old.
					at := now.Add(time.Duration(n) * 512 * 10 * time.Microsecond % (9 * time.Minute))
					var took [2]float64
					for i := range took {
						which := (i + n) % 2
						p := []*Pipeline{without, with}[which]
						start := time.Now()
						if _, err := p.traces(body, at); err != nil {
							b.Fatal(err)
						}
						took[which] = float64(time.Since(start))
						sums[which] += took[which]
					}
					ratios = append(ratios, took[1]/took[0])
					n++
				}
			}
			b.ReportMetric(median(ratios), "with/without")
			b.ReportMetric(sums[1]/sums[0], "with/without-sum")
			b.ReportMetric(sums[1]/float64(n)/512, "ns/span")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// TestTracesDoNotAllocate pins the hot path: once its worker and its series
// exist, a request allocates nothing, whatever it holds.
func TestTracesDoNotAllocate(t *testing.T) {
	p := benchPipeline(t, 100)
	w := p.plan.workers.Get().(*worker)
	for _, order := range orders {
		requests, now := corpus(t, order)
		run := func() {
			for _, r := range requests[:20] {
				if _, err := p.count(w, r, now); err != nil {
					t.Fatal(err)
				}
			}
		}
		run()
		if n := testing.AllocsPerRun(20, run); n != 0 {
			t.Errorf("%s: 20 requests of 512 spans allocate %g times, want 0", order, n)
		}
	}
}
