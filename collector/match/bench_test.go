package match

import (
	"fmt"
	"math/bits"
	"testing"

	"github.com/slowburn-slo/slowburn/collector/span"
	"github.com/slowburn-slo/slowburn/collector/span/spantest"
	"github.com/slowburn-slo/slowburn/slo"
)

const benchSpans = 50_000

func corpus(tb testing.TB, order spantest.Order) [][]byte {
	tb.Helper()
	requests, err := spantest.Corpus(spantest.Options{Spans: benchSpans, Order: order, Seed: 1})
	if err != nil {
		tb.Fatal(err)
	}
	return requests
}

// shop returns n flows as a real configuration has them: those the corpus
// exercises, one of them split, and others of the same service.
func shop(n int) []slo.Flow {
	like := func(key string, texts ...string) slo.Condition {
		c := slo.Condition{Key: key}
		for _, t := range texts {
			c.Any = append(c.Any, slo.Pattern{Text: t})
		}
		return c
	}
	flows := []slo.Flow{
		{Name: "checkout", Match: slo.Selector{like(slo.KeyMethod, "POST"), like(slo.KeyRoute, "/api/checkout")}, By: "tenant.id"},
		{Name: "product", Match: slo.Selector{like(slo.KeyMethod, "GET"), like(slo.KeyRoute, "/api/products", "/api/products/{id}")}},
		{Name: "cart", Match: slo.Selector{like(slo.KeyRoute, "/api/cart*")}},
		{Name: "search", Match: slo.Selector{like(slo.KeyMethod, "GET"), like(slo.KeyRoute, "/api/search")}},
		{Name: "login", Match: slo.Selector{like(slo.KeyRoute, "/api/login")}, BadWhen: slo.Selector{
			{Key: slo.KeyStatusCode, Any: []slo.Pattern{{Op: slo.AtLeast, Number: 500}}},
		}},
	}
	for i := len(flows); i < n; i++ {
		flows = append(flows, slo.Flow{
			Name:  fmt.Sprintf("flow-%d", i),
			Match: slo.Selector{like(slo.KeyMethod, "GET"), like(slo.KeyRoute, fmt.Sprintf("/api/v%d/things/{id}", i))},
		})
	}
	for i := range flows {
		flows[i].Service = "shop"
	}
	return flows
}

// tally stands in for the aggregator: per flow a count and a histogram with two
// buckets for each power of two, and the requests of a body counted when it was
// read to its end.
type tally struct {
	d      *span.Decoder
	m      *Matcher
	flows  []int32
	events []event
	kept   []byte
	good   []uint64
	bad    []uint64
	bucket [][128]uint64
	visit  func(*span.Span)
}

type event struct {
	flow    int32
	bad     bool
	latency uint64
	by      []byte
}

func newTally(tb testing.TB, flows []slo.Flow) *tally {
	tb.Helper()
	p, err := Compile(flows)
	if err != nil {
		tb.Fatal(err)
	}
	t := &tally{
		d: span.New(p.Keys(), span.Limits{}), m: p.Matcher(),
		good: make([]uint64, len(flows)), bad: make([]uint64, len(flows)), bucket: make([][128]uint64, len(flows)),
	}
	t.visit = func(sp *span.Span) {
		t.flows = t.m.Match(sp, t.flows[:0])
		for _, f := range t.flows {
			e := event{flow: f, bad: t.m.Bad(f, sp), latency: sp.Latency()}
			e.by, t.kept = t.m.By(f, sp, t.kept)
			t.events = append(t.events, e)
		}
	}
	return t
}

func (t *tally) consume(request []byte) error {
	t.events = t.events[:0]
	t.kept = t.kept[:0]
	if _, err := t.d.Decode(request, t.visit); err != nil {
		return err
	}
	for i := range t.events {
		e := &t.events[i]
		if e.bad {
			t.bad[e.flow]++
		} else {
			t.good[e.flow]++
		}
		n := bits.Len64(e.latency)
		t.bucket[e.flow][2*n+int(e.latency>>(max(n, 2)-2)&1)]++
	}
	return nil
}

func forOrders(b *testing.B, run func(b *testing.B, requests [][]byte)) {
	for _, order := range []spantest.Order{spantest.Ascending, spantest.Descending, spantest.Permuted} {
		b.Run("order="+order.String(), func(b *testing.B) {
			requests := corpus(b, order)
			b.ReportAllocs()
			b.ResetTimer()
			run(b, requests)
		})
	}
}

// BenchmarkDecodeMatch is decode and match, with a stand-in for the aggregate;
// package collector measures the whole.
func BenchmarkDecodeMatch(b *testing.B) {
	for _, flows := range []int{10, 1000} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			t := newTally(b, shop(flows))
			forOrders(b, func(b *testing.B, requests [][]byte) {
				for b.Loop() {
					for _, r := range requests {
						if err := t.consume(r); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchSpans, "ns/span")
			})
		})
	}
}
