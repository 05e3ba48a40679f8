package collector

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlpresource "go.opentelemetry.io/proto/otlp/resource/v1"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/slowburn-slo/slowburn/collector/aggr"
	"github.com/slowburn-slo/slowburn/collector/span"
	"github.com/slowburn-slo/slowburn/collector/store"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const month = 30 * 24 * time.Hour

// shop returns a checkout with both kinds of objectives, split by tenant, and a
// search.
func shop() []slo.Flow {
	is := func(key, text string) slo.Condition {
		return slo.Condition{Key: key, Any: []slo.Pattern{{Text: text}}}
	}
	return []slo.Flow{
		{
			Name: "checkout", Service: "shop", By: "tenant.id", ByLimit: 2,
			Match: slo.Selector{is(slo.KeyMethod, "POST"), is(slo.KeyRoute, "/api/checkout")},
			Objectives: []slo.Objective{
				{Name: "availability", Target: 0.999, Window: month, Tiers: slo.Tiers(0.999, month)},
				{Name: "latency-300ms", Kind: slo.FasterThan, Threshold: 300 * time.Millisecond, Target: 0.95, Window: month, Tiers: slo.Tiers(0.95, month)},
			},
		},
		{
			Name: "search", Service: "shop",
			Match:      slo.Selector{is(slo.KeyRoute, "/api/search")},
			Objectives: []slo.Objective{{Name: "availability", Target: 0.99, Window: month, Tiers: slo.Tiers(0.99, month)}},
		},
	}
}

type req struct {
	route   string
	tenant  string
	latency time.Duration
	end     time.Time // zero: now
	failed  bool
}

func body(t testing.TB, reqs ...req) []byte {
	t.Helper()
	str := func(k, v string) *common.KeyValue {
		return &common.KeyValue{Key: k, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: v}}}
	}
	var spans []*otlptrace.Span
	for _, r := range reqs {
		if r.end.IsZero() {
			r.end = time.Now()
		}
		s := &otlptrace.Span{
			TraceId: make([]byte, 16), SpanId: make([]byte, 8), Kind: otlptrace.Span_SPAN_KIND_SERVER, Name: "POST " + r.route,
			StartTimeUnixNano: uint64(r.end.Add(-r.latency).UnixNano()), EndTimeUnixNano: uint64(r.end.UnixNano()),
			Attributes: []*common.KeyValue{str("http.request.method", "POST"), str("http.route", r.route), str("tenant.id", r.tenant)},
		}
		if r.failed {
			s.Status = &otlptrace.Status{Code: otlptrace.Status_STATUS_CODE_ERROR}
		}
		spans = append(spans, s)
	}
	b, err := proto.Marshal(&coltrace.ExportTraceServiceRequest{ResourceSpans: []*otlptrace.ResourceSpans{{
		Resource:   &otlpresource.Resource{Attributes: []*common.KeyValue{str("service.name", "shop")}},
		ScopeSpans: []*otlptrace.ScopeSpans{{Spans: spans}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openStore(t testing.TB, dir string) *store.Store {
	t.Helper()
	st, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func newTest(t testing.TB, st storage.Appendable, dir string) *Pipeline {
	t.Helper()
	p, err := New(Options{Flows: shop(), Dir: dir, Store: st, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newest returns the newest value of each series of a metric, by its other
// labels.
func newest(t testing.TB, st *store.Store, metric string) map[string]float64 {
	t.Helper()
	q, err := st.Querier(0, time.Now().Add(time.Hour).UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	out := map[string]float64{}
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", metric))
	for set.Next() {
		s := set.At()
		key := labels.NewBuilder(s.Labels()).Del("__name__").Labels().String()
		it := s.Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			switch kind {
			case chunkenc.ValFloat:
				_, out[key] = it.At()
			default:
				_, h := it.AtFloatHistogram(nil)
				out[key] = h.Count
			}
		}
	}
	if err := set.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTracesAreCountedExactly(t *testing.T) {
	st := openStore(t, t.TempDir())
	defer st.Close()
	p := newTest(t, st, t.TempDir())
	defer p.Close()
	for _, r := range []req{
		{route: "/api/checkout", tenant: "a", latency: 300 * time.Millisecond},
		{route: "/api/checkout", tenant: "b", latency: 300*time.Millisecond + 1},
		{route: "/api/checkout", tenant: "c", latency: time.Second, failed: true},
		{route: "/api/checkout", tenant: "d", failed: true},
		{route: "/api/search", latency: time.Second},
		{route: "/healthz"},
	} {
		if rejected, err := p.Traces(body(t, r)); err != nil || rejected.Spans != 0 {
			t.Fatalf("Traces(%+v) = %+v, %v", r, rejected, err)
		}
	}
	if err := p.flush(time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ metric, labels, want string }{
		{metric: series.Events, want: "map[availability:4 latency-300ms:4 search:1]"},
		{metric: series.Errors, want: "map[availability:2 latency-300ms:2 search:0]"},
	} {
		got := map[string]float64{}
		for k, v := range newest(t, st, tc.metric) {
			switch {
			case strings.Contains(k, "search"):
				got["search"] = v
			case strings.Contains(k, "latency-300ms"):
				got["latency-300ms"] = v
			default:
				got["availability"] = v
			}
		}
		if fmt.Sprint(got) != tc.want {
			t.Errorf("%s = %v, want %s", tc.metric, got, tc.want)
		}
	}
	want := map[string]float64{
		`{by="a", flow="checkout", outcome="bad", service="shop"}`:             0,
		`{by="a", flow="checkout", outcome="good", service="shop"}`:            1,
		`{by="b", flow="checkout", outcome="bad", service="shop"}`:             0,
		`{by="b", flow="checkout", outcome="good", service="shop"}`:            1,
		`{by="__overflow__", flow="checkout", outcome="bad", service="shop"}`:  2,
		`{by="__overflow__", flow="checkout", outcome="good", service="shop"}`: 0,
		`{flow="search", outcome="bad", service="shop"}`:                       0,
		`{flow="search", outcome="good", service="shop"}`:                      1,
	}
	if got := newest(t, st, series.FlowRequests); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s = %v\nwant %v", series.FlowRequests, got, want)
	}
	if got := newest(t, st, series.FlowDuration)[`{flow="search", service="shop"}`]; got != 1 {
		t.Errorf("%s of search counts %g, want 1", series.FlowDuration, got)
	}
}

func TestSpansOutOfTimeAreRejected(t *testing.T) {
	st := openStore(t, t.TempDir())
	defer st.Close()
	p := newTest(t, st, t.TempDir())
	defer p.Close()
	now := time.Now()
	for _, tc := range []struct {
		name string
		req  req
		want string
	}{
		{name: "a minute old", req: req{end: now.Add(-time.Minute)}},
		{name: "nine minutes old", req: req{end: now.Add(-9 * time.Minute)}},
		{name: "eleven minutes old", req: req{end: now.Add(-11 * time.Minute)}, want: "spans not counted: 1 ended more than 10m ago"},
		{name: "1970", req: req{end: time.Unix(1, 0)}, want: "spans not counted: 1 ended more than 10m ago"},
		{name: "a clock ten seconds ahead", req: req{end: now.Add(10 * time.Second)}},
		{name: "a minute ahead", req: req{end: now.Add(time.Minute)}, want: "spans not counted: 1 more than 30s in the future"},
		{name: "year 2262 and on", req: req{end: time.Unix(0, -1)}, want: "spans not counted: 1 more than 30s in the future"},
		{name: "negative", req: req{latency: -time.Second}, want: "spans not counted: 1 ending before their start"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.req.route = "/api/search"
			got, err := p.Traces(body(t, tc.req))
			if err != nil || got.Why != tc.want || (got.Spans != 0) != (tc.want != "") {
				t.Errorf("Traces = %+v, %v, want %q", got, err, tc.want)
			}
		})
	}
}

// TestMalformedRequestsLeaveNoTrace: a request that goes wrong after its first
// spans were read is not counted at all.
func TestMalformedRequestsLeaveNoTrace(t *testing.T) {
	st := openStore(t, t.TempDir())
	defer st.Close()
	p := newTest(t, st, t.TempDir())
	defer p.Close()
	good := body(t, req{route: "/api/search"}, req{route: "/api/search"})
	for cut := 1; cut < len(good); cut++ {
		if _, err := p.Traces(good[:cut]); !errors.Is(err, span.ErrMalformed) {
			t.Fatalf("Traces of the first %d of %d bytes: %v, want ErrMalformed", cut, len(good), err)
		}
	}
	if _, err := p.Traces(append(good, 0x0a, 0x7f)); !errors.Is(err, span.ErrMalformed) {
		t.Errorf("Traces with a broken tail: %v, want ErrMalformed", err)
	}
	if err := p.flush(time.Now()); err != nil {
		t.Fatal(err)
	}
	if s, _ := p.ledger.State("shop-search-availability"); s.Events != 0 {
		t.Errorf("%d events were counted of malformed requests, want 0", s.Events)
	}
}

// TestApplyLosesNothing reloads flows, the same and others, while requests come
// in: every one of a flow that stays is counted.
func TestApplyLosesNothing(t *testing.T) {
	st := openStore(t, t.TempDir())
	defer st.Close()
	p := newTest(t, st, t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()

	const senders, each = 4, 300
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for range each {
				if _, err := p.Traces(body(t, req{route: "/api/checkout", tenant: "a"})); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 40 {
		flows := shop()
		if i%2 == 0 {
			flows = flows[:1]
		}
		if i%3 == 0 {
			flows[0].ByLimit++
		}
		if err := p.Apply(flows); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	for _, id := range []string{"shop-checkout-availability", "shop-checkout-latency-300ms"} {
		if s, _ := p.ledger.State(id); s.Events != senders*each {
			t.Errorf("%s has %d events, want %d", id, s.Events, senders*each)
		}
	}
}

func TestApplyRefusesConflicts(t *testing.T) {
	st := openStore(t, t.TempDir())
	defer st.Close()
	p := newTest(t, st, t.TempDir())
	defer p.Close()
	flows := append(shop(), slo.Flow{Name: "buy", Service: "shop", Match: shop()[0].Match, Pos: slo.Pos{File: "b.yaml", Line: 7, Column: 3}})
	flows[0].Pos = slo.Pos{File: "a.yaml", Line: 4, Column: 3}
	err := p.Apply(flows)
	if err == nil || !strings.Contains(err.Error(), "a.yaml:4:3") || !strings.Contains(err.Error(), "b.yaml:7:3") {
		t.Errorf("Apply of two flows that match the same: %v, want both places", err)
	}
	if _, err := p.Traces(body(t, req{route: "/api/search"})); err != nil {
		t.Errorf("the flows of before do not go on: %v", err)
	}
}

// TestApplyWithoutADisk: flows that cannot be written down are in force all the
// same, as Apply says, and are written as soon as that is possible.
func TestApplyWithoutADisk(t *testing.T) {
	st := openStore(t, t.TempDir())
	defer st.Close()
	dir := filepath.Join(t.TempDir(), "ledger")
	p := newTest(t, st, dir)
	defer p.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	flows := shop()[1:]
	flows[0].Name = "find"
	if err := p.Apply(flows); err != nil {
		t.Errorf("Apply: %v, want the flows in force", err)
	}
	if _, err := p.Traces(body(t, req{route: "/api/search"})); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := p.flush(time.Now()); err == nil {
		t.Error("the flush does not say that the old journal is gone")
	}
	if s, _ := p.ledger.State("shop-find-availability"); s.Events != 1 {
		t.Errorf("the new flow counts %d events, want 1", s.Events)
	}
	data, err := os.ReadFile(filepath.Join(dir, "snapshot"))
	if err != nil {
		t.Fatal(err)
	}
	if _, l, err := decodeSnapshot(data); err != nil {
		t.Errorf("the snapshot written afterwards: %v", err)
	} else if l.Define(defsOf(flows)); !slices.Contains(l.IDs(), "shop-find-availability") {
		t.Errorf("the snapshot holds %v, want the new flow's SLO", l.IDs())
	} else if s, _ := l.State("shop-find-availability"); s.Events != 1 {
		t.Errorf("the snapshot holds %d events of the new flow, want 1", s.Events)
	}
}

// TestDowntimeIsBridged starts again an hour later: the counters are flat over
// the gap, with a sample at least every five minutes, and go on from there.
func TestDowntimeIsBridged(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	to := time.Now().Add(-time.Hour)
	from := to.Add(-2 * time.Hour)
	h := History{
		Flows: shop()[1:], Dir: dir, From: from, To: to,
		Step: func(time.Time) time.Duration { return time.Minute },
		Events: func(_, _ time.Time) []aggr.Event {
			return []aggr.Event{{Weight: 9, Latency: 1e6}, {Weight: 1, Latency: 1e6, Bad: true}}
		},
	}
	if err := store.Backfill(data, nil, func(app storage.Appender) error { return h.Write(app) }); err != nil {
		t.Fatal(err)
	}
	st := openStore(t, data)
	defer st.Close()
	p := newTest(t, st, dir)
	defer p.Close()

	q, err := st.Querier(from.UnixMilli(), time.Now().UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", series.Events),
		labels.MustNewMatcher(labels.MatchEqual, series.SLOFlow, "search"))
	if !set.Next() {
		t.Fatal("no counter of search")
	}
	var last, value float64
	var lastAt int64
	for it := set.At().Iterator(nil); it.Next() != chunkenc.ValNone; {
		at, v := it.At()
		if v < last {
			t.Errorf("the counter falls from %g to %g at %v", last, v, time.UnixMilli(at))
		}
		if lastAt != 0 && at-lastAt >= (5*time.Minute).Milliseconds() {
			t.Errorf("no sample between %v and %v", time.UnixMilli(lastAt), time.UnixMilli(at))
		}
		last, lastAt, value = v, at, v
	}
	if value != 1200 {
		t.Errorf("the counter ends at %g, want 1200", value)
	}
	if age := time.Since(time.UnixMilli(lastAt)); age > time.Minute {
		t.Errorf("the newest sample is %s old, want one at the start", age)
	}
	if got := time.Duration(p.telemetry.gap.Load()); got < 59*time.Minute || got > 61*time.Minute {
		t.Errorf("the gap told is %s, want an hour", got)
	}
}

// TestStoreFailureKeepsCounting: while the store refuses, counts stay in the
// ledger and the pipeline says so; when it takes again, nothing is missing.
func TestStoreFailureKeepsCounting(t *testing.T) {
	st := openStore(t, t.TempDir())
	defer st.Close()
	moody := &moodyStore{Appendable: st}
	dir := t.TempDir()
	p := newTest(t, moody, dir)
	moody.refuse = true
	if _, err := p.Traces(body(t, req{route: "/api/search", failed: true})); err != nil {
		t.Fatal(err)
	}
	at, _ := p.LastFlush()
	if err := p.flush(time.Now()); err == nil {
		t.Fatal("a flush into a store that refuses returned no error")
	}
	if now, err := p.LastFlush(); err == nil || !now.Equal(at) {
		t.Errorf("LastFlush = %v, %v, want the time before and the error", now, err)
	}
	moody.refuse = false
	if err := p.flush(time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := newest(t, st, series.Errors); got[`{sloth_id="shop-search-availability", sloth_service="shop", sloth_slo="search-availability", slowburn_flow="search"}`] != 1 {
		t.Errorf("errors after the store is back: %v, want 1 of search", got)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// moodyStore refuses commits on demand.
type moodyStore struct {
	storage.Appendable
	refuse bool
}

func (m *moodyStore) Appender(ctx context.Context) storage.Appender {
	return &moodyAppender{m.Appendable.Appender(ctx), m.refuse}
}

type moodyAppender struct {
	storage.Appender
	refuse bool
}

func (a *moodyAppender) Commit() error {
	if a.refuse {
		return errors.Join(errors.New("no space left on device"), a.Rollback())
	}
	return a.Appender.Commit()
}
