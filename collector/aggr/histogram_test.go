package aggr

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser/posrange"

	"github.com/slowburn-slo/slowburn/slo"
)

// observe returns the histogram of a flow whose requests took these
// nanoseconds, by way of Commit and Flush.
func observe(t *testing.T, latencies ...uint64) *histogram.Histogram {
	t.Helper()
	a := newAggregator(t, Options{}, slo.Flow{Service: "shop", Name: "checkout"})
	events := make([]Event, len(latencies))
	for i, ns := range latencies {
		events[i].Latency = ns
	}
	a.Commit(events)
	h := flush(a)[0].hist
	if err := h.Validate(); err != nil {
		t.Errorf("histogram: %v", err)
	}
	return h
}

// prometheusBucket returns where Prometheus' rule, lower < v <= upper, puts a latency:
// the number of the bucket, found with Prometheus' own bounds.
func prometheusBucket(t *testing.T, bounds []histogram.Bucket[uint64], ns uint64) int32 {
	t.Helper()
	v := float64(ns) / 1e9
	i := slices.IndexFunc(bounds, func(b histogram.Bucket[uint64]) bool { return b.Lower < v && v <= b.Upper })
	if i < 0 {
		t.Fatalf("no bucket of Prometheus holds %d ns", ns)
	}
	return bounds[i].Index
}

// prometheusBounds returns all buckets of our range with Prometheus' bounds.
func prometheusBounds() []histogram.Bucket[uint64] {
	h := &histogram.Histogram{
		Schema:          schema,
		PositiveSpans:   []histogram.Span{{Offset: firstIndex, Length: numBuckets}},
		PositiveBuckets: make([]int64, numBuckets),
	}
	var out []histogram.Bucket[uint64]
	for it := h.PositiveBucketIterator(); it.Next(); {
		out = append(out, it.At())
	}
	return out
}

func TestBucketsArePrometheus(t *testing.T) {
	bounds := prometheusBounds()
	if got, want := bounds[0].Lower, zeroThreshold; got != want {
		t.Errorf("lowest bound = %g s, want the zero threshold %g", got, want)
	}
	if got, want := bounds[numBuckets-1].Upper, math.Ldexp(1, maxExp); got != want {
		t.Errorf("highest bound = %g s, want %g", got, want)
	}

	var values []uint64
	for _, b := range bounds {
		// The exact boundary where nanoseconds can hold it, and its neighbours.
		ns := uint64(b.Upper * 1e9)
		values = append(values, ns-1, ns, ns+1)
	}
	values[len(values)-1]-- // one past the last bound is another test's
	for exp := -9; exp <= 17; exp++ {
		values = append(values, uint64(math.Ldexp(1e9, exp))) // powers of two, exact
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		values = append(values, uint64(1e9*math.Exp2(minExp+rng.Float64()*(maxExp-minExp)))+1)
	}
	for _, ns := range values {
		if ns <= zeroNanos {
			continue
		}
		if got, want := int32(firstIndex+bucketOf(ns)), prometheusBucket(t, bounds, ns); got != want {
			t.Errorf("bucket of %d ns = %d, want %d", ns, got, want)
		}
	}
}

func TestHistogramEdges(t *testing.T) {
	const second = uint64(time.Second)
	for _, tc := range []struct {
		name      string
		latencies []uint64
		zero      uint64
		buckets   map[int32]uint64 // by Prometheus' number
		sum       float64
	}{
		{name: "none", buckets: map[int32]uint64{}},
		{name: "no time at all", latencies: []uint64{0}, zero: 1, buckets: map[int32]uint64{}},
		{name: "zero threshold", latencies: []uint64{61_035}, zero: 1, buckets: map[int32]uint64{}, sum: 61_035e-9},
		{name: "just above it", latencies: []uint64{61_036}, buckets: map[int32]uint64{-447: 1}, sum: 61_036e-9},
		{name: "powers of two are inclusive", latencies: []uint64{second / 2, second, 2 * second}, buckets: map[int32]uint64{-32: 1, 0: 1, 32: 1}, sum: 3.5},
		{name: "a nanosecond more is the next bucket", latencies: []uint64{second, second + 1}, buckets: map[int32]uint64{0: 1, 1: 1}, sum: 2.000000001},
		{name: "largest bound", latencies: []uint64{131_072 * second}, buckets: map[int32]uint64{544: 1}, sum: 131_072},
		{name: "beyond it the sum stays true", latencies: []uint64{131_072*second + 1, 1_000_000 * second}, buckets: map[int32]uint64{544: 2}, sum: 1_131_072.000000001},
		{name: "sum past 64 bits", latencies: []uint64{math.MaxUint64, math.MaxUint64, math.MaxUint64}, buckets: map[int32]uint64{544: 3}, sum: 3 * float64(math.MaxUint64) / 1e9},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := observe(t, tc.latencies...)
			if got, want := h.Count, uint64(len(tc.latencies)); got != want {
				t.Errorf("count = %d, want %d", got, want)
			}
			if h.ZeroCount != tc.zero {
				t.Errorf("zero count = %d, want %d", h.ZeroCount, tc.zero)
			}
			if !near(h.Sum, tc.sum) {
				t.Errorf("sum = %.12g, want %.12g", h.Sum, tc.sum)
			}
			got := map[int32]uint64{}
			for it := h.PositiveBucketIterator(); it.Next(); {
				if b := it.At(); b.Count > 0 {
					got[b.Index] = b.Count
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(tc.buckets) {
				t.Errorf("buckets = %v, want %v", got, tc.buckets)
			}
		})
	}
}

func near(a, b float64) bool { return a == b || math.Abs(a-b) <= 1e-12*math.Abs(b) }

// TestHistogramCounts holds random latencies, spread so that there are gaps of
// all sizes between buckets, against counting one by one.
func TestHistogramCounts(t *testing.T) {
	bounds := prometheusBounds()
	rng := rand.New(rand.NewPCG(3, 4))
	var latencies []uint64
	want := map[int32]uint64{}
	for range 500 {
		ns := uint64(1e9*math.Exp2(-13+rng.Float64()*20)) + 1
		latencies = append(latencies, ns)
		want[prometheusBucket(t, bounds, ns)]++
	}
	got := map[int32]uint64{}
	for it := observe(t, latencies...).PositiveBucketIterator(); it.Next(); {
		if b := it.At(); b.Count > 0 {
			got[b.Index] = b.Count
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("buckets = %v, want %v", got, want)
	}
}

// TestBucketPastUint32 is what happens when nobody flushes for very long.
func TestBucketPastUint32(t *testing.T) {
	a := newAggregator(t, Options{}, slo.Flow{Service: "shop", Name: "checkout"})
	e := Event{Latency: uint64(time.Second), Weight: math.MaxUint32}
	a.Commit([]Event{e, e, e})
	want := uint64(3 * math.MaxUint32)
	for _, name := range []string{"first flush", "second flush"} {
		got := flush(a)[0]
		if got.hist.Count != want || got.total.Good != want || !near(got.hist.Sum, float64(want)) {
			t.Errorf("%s: histogram of %d events with sum %g, total %d; want %d", name, got.hist.Count, got.hist.Sum, got.total.Good, want)
		}
		a.Commit([]Event{{Latency: uint64(time.Second)}})
		want++
	}
}

// TestQuantiles asks Prometheus for quantiles of lognormal latencies.
func TestQuantiles(t *testing.T) {
	for _, tc := range []struct {
		median time.Duration
		sigma  float64
	}{
		{2 * time.Millisecond, 0.2},
		{5 * time.Millisecond, 0.5},
		{20 * time.Millisecond, 1},
		{120 * time.Millisecond, 0.45},
		{300 * time.Millisecond, 1.2},
		{2 * time.Second, 0.8},
		{30 * time.Second, 0.2},
	} {
		t.Run(fmt.Sprintf("median=%v sigma=%g", tc.median, tc.sigma), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(5, uint64(tc.median)))
			latencies := make([]uint64, 100_000)
			for i := range latencies {
				ns := float64(tc.median) * math.Exp(tc.sigma*rng.NormFloat64())
				latencies[i] = uint64(min(max(ns, 1e6), 60e9))
			}
			h := observe(t, latencies...).ToFloat(nil)
			slices.Sort(latencies)
			for _, q := range []float64{0.5, 0.95, 0.99} {
				got, _ := promql.HistogramQuantile(q, h, "", posrange.PositionRange{})
				want := float64(latencies[int(q*float64(len(latencies)))-1]) / 1e9
				if off := math.Abs(got/want - 1); !(off <= 0.01) {
					t.Errorf("p%g = %g s, want %g within 1%%, off by %.2f%%", q*100, got, want, off*100)
				} else {
					t.Logf("p%g off by %.3f%%", q*100, off*100)
				}
			}
		})
	}
}
