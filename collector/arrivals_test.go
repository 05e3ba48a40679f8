package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlpresource "go.opentelemetry.io/proto/otlp/resource/v1"
	otlptracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/slowburn-slo/slowburn/collector/span"
	"github.com/slowburn-slo/slowburn/slo"
)

// export is the SDK's way into a pipeline, without a network.
type export struct{ p *Pipeline }

func (export) Start(context.Context) error { return nil }
func (export) Stop(context.Context) error  { return nil }

func (e export) UploadTraces(_ context.Context, spans []*otlptracepb.ResourceSpans) error {
	b, err := proto.Marshal(&coltrace.ExportTraceServiceRequest{ResourceSpans: spans})
	if err != nil {
		return err
	}
	_, err = e.p.Traces(b)
	return err
}

// from returns the spans of a service, each a SERVER span with a route, as
// requests are written.
func from(service, version string, routes ...string) *otlptracepb.ResourceSpans {
	attrs := func(pairs ...string) (out []*common.KeyValue) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, &common.KeyValue{Key: pairs[i], Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: pairs[i+1]}}})
		}
		return out
	}
	now := uint64(time.Now().UnixNano())
	var spans []*otlptracepb.Span
	for _, r := range routes {
		spans = append(spans, &otlptracepb.Span{
			Kind: otlptracepb.Span_SPAN_KIND_SERVER, Name: "GET " + r, StartTimeUnixNano: now, EndTimeUnixNano: now,
			Attributes: attrs("http.request.method", "GET", "http.route", r),
		})
	}
	res := attrs("service.name", service)
	if version != "" {
		res = append(res, attrs("service.version", version)...)
	}
	return &otlptracepb.ResourceSpans{
		Resource:   &otlpresource.Resource{Attributes: res},
		ScopeSpans: []*otlptracepb.ScopeSpans{{Spans: spans}},
	}
}

func sendAll(t testing.TB, p *Pipeline, spans ...*otlptracepb.ResourceSpans) {
	t.Helper()
	if err := (export{p}).UploadTraces(t.Context(), spans); err != nil {
		t.Fatal(err)
	}
}

// describe writes arrivals for people, without times.
func describe(a Arrivals) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d spans\n", a.Spans)
	for _, s := range a.Services {
		fmt.Fprintf(&b, "%s: %d spans, %s", s.Name, s.Spans, strings.TrimSpace(s.Language+" "+s.SDK))
		for _, v := range s.Versions {
			fmt.Fprintf(&b, ", version %s", v.Value)
		}
		b.WriteString("\n")
		for _, r := range s.Routes {
			fmt.Fprintf(&b, "  %s %s: %d %v\n", strings.TrimSpace(r.Kind+" "+r.Method), r.Route, r.Requests, r.Flows)
		}
	}
	for _, r := range a.Rejected {
		fmt.Fprintf(&b, "rejected %d: %s\n", r.Spans, r.Reason)
	}
	return b.String()
}

func (a Arrivals) of(service string) ServiceArrival {
	for _, s := range a.Services {
		if s.Name == service {
			return s
		}
	}
	return ServiceArrival{}
}

// TestArrivalsFromTheSDK is a newcomer's first trace: everything about it is seen.
func TestArrivalsFromTheSDK(t *testing.T) {
	st := openStore(t, t.TempDir())
	defer st.Close()
	p := newTest(t, st, t.TempDir())
	defer p.Close()
	exporter, err := otlptrace.New(t.Context(), export{p})
	if err != nil {
		t.Fatal(err)
	}
	res, err := resource.New(t.Context(), resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "shop"), attribute.String("service.version", "1.42.0")))
	if err != nil {
		t.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res))
	tracer := provider.Tracer("test")
	http := func(method, route string, flow ...attribute.KeyValue) trace.SpanStartOption {
		return trace.WithAttributes(append(flow, attribute.String("http.request.method", method), attribute.String("http.route", route))...)
	}
	before := time.Now()
	for range 2 {
		ctx, checkout := tracer.Start(t.Context(), "POST /api/checkout", trace.WithSpanKind(trace.SpanKindServer), http("POST", "/api/checkout"))
		_, child := tracer.Start(ctx, "charge", trace.WithSpanKind(trace.SpanKindClient))
		child.End()
		checkout.End()
	}
	for name, o := range map[string][]trace.SpanStartOption{
		"GET /api/refund": {trace.WithSpanKind(trace.SpanKindServer), http("GET", "/api/refund")},
		"orders process":  {trace.WithSpanKind(trace.SpanKindConsumer)},
		"nightly":         nil,
	} {
		_, s := tracer.Start(t.Context(), name, o...)
		s.End()
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := p.Arrivals()
	sdk := res.Set()
	sdkVersion, _ := sdk.Value("telemetry.sdk.version")
	want := `7 spans
shop: 7 spans, go opentelemetry ` + sdkVersion.AsString() + `, version 1.42.0
  server POST /api/checkout: 2 [shop/checkout]
  server GET /api/refund: 1 []
  internal nightly: 1 []
  consumer orders process: 1 []
`
	if got := describe(a); got != want {
		t.Errorf("arrivals:\n%s\nwant:\n%s", got, want)
	}
	s := a.of("shop")
	if a.Last.Before(before) || s.Last.Before(before) || s.Routes[0].Last.Before(before) || s.Versions[0].First.Before(before) {
		t.Errorf("times are %v, %v, %v, %v; want them after %v", a.Last, s.Last, s.Routes[0].Last, s.Versions[0].First, before)
	}
	if a.PerSecond <= 0 || a.PerSecond > 7 || s.Sampled {
		t.Errorf("%g spans a second, sampled: %t; want more than 0, at most 7, and false", a.PerSecond, s.Sampled)
	}
}

func TestArrivalsOfBodies(t *testing.T) {
	client := from("worker", "")
	client.ScopeSpans[0].Spans = []*otlptracepb.Span{{Kind: otlptracepb.Span_SPAN_KIND_CLIENT, ParentSpanId: make([]byte, 8)}}
	old := from("shop", "", "/api/search")
	old.ScopeSpans[0].Spans[0].EndTimeUnixNano = 1
	old.ScopeSpans[0].Spans[0].StartTimeUnixNano = 1
	nameless := from("", "", "/x")
	nameless.Resource = nil
	invalid := from("sh~~~op", "", "/~~~"+strings.Repeat("ä", 100))
	for _, tc := range []struct {
		name  string
		spans []*otlptracepb.ResourceSpans
		want  string
	}{
		{name: "nothing", want: "0 spans\n"},
		{name: "no entry spans", spans: []*otlptracepb.ResourceSpans{client}, want: "1 spans\nworker: 1 spans, \n"},
		{name: "empty resources", spans: []*otlptracepb.ResourceSpans{from("a", "1"), from("b", "1", "/x"), from("c", "1")}, want: "1 spans\nb: 1 spans, , version 1\n  server GET /x: 1 []\n"},
		{name: "several services and versions", spans: []*otlptracepb.ResourceSpans{from("b", "2", "/x"), from("a", "1", "/x", "/y"), from("b", "3", "/x")}, want: `4 spans
a: 2 spans, , version 1
  server GET /x: 1 []
  server GET /y: 1 []
b: 2 spans, , version 2, version 3
  server GET /x: 2 []
`},
		{name: "no service name", spans: []*otlptracepb.ResourceSpans{nameless}, want: "1 spans\n: 1 spans, \n  server GET /x: 1 []\n"},
		{name: "out of time", spans: []*otlptracepb.ResourceSpans{old, old}, want: "2 spans\nshop: 2 spans, \n  server GET /api/search: 2 [shop/search]\nrejected 2: ended more than 10m ago\n"},
		{name: "cut and mended", spans: []*otlptracepb.ResourceSpans{invalid}, want: "1 spans\nsh\uFFFD\uFFFD\uFFFDop: 1 spans, \n  server GET /\uFFFD\uFFFD\uFFFD" + strings.Repeat("ä", 59) + ": 1 []\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := New(Options{Flows: shop(), Dir: t.TempDir(), Store: &board{}})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if _, err := p.Traces(request(t, tc.spans)); err != nil {
				t.Fatal(err)
			}
			if got := describe(p.Arrivals()); got != tc.want {
				t.Errorf("arrivals:\n%s\nwant:\n%s", got, tc.want)
			}
		})
	}
}

// request writes spans as a request. Where they say ~~~ it holds bytes that are
// no UTF-8, which the encoder would refuse.
func request(t testing.TB, spans []*otlptracepb.ResourceSpans) []byte {
	t.Helper()
	b, err := proto.Marshal(&coltrace.ExportTraceServiceRequest{ResourceSpans: spans})
	if err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(b, []byte("~~~"), []byte("\xff\xff\xff"))
}

func TestMalformedRequestsDoNotArrive(t *testing.T) {
	p, err := New(Options{Flows: shop(), Dir: t.TempDir(), Store: &board{}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	good := body(t, req{route: "/api/search"}, req{route: "/api/search"})
	for cut := 1; cut < len(good); cut++ {
		if _, err := p.Traces(good[:cut]); !errors.Is(err, span.ErrMalformed) {
			t.Fatalf("Traces of the first %d of %d bytes: %v, want ErrMalformed", cut, len(good), err)
		}
	}
	if got := describe(p.Arrivals()); got != "0 spans\n" {
		t.Errorf("arrivals of malformed requests: %s, want none", got)
	}
}

// TestArrivalsAreBounded: a sender makes names up; those in use stay, and what
// is silent makes room.
func TestArrivalsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := New(Options{Flows: shop(), Dir: t.TempDir(), Store: &board{}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		sendAll(t, p, from("till", "", "/pay"))
		for i := range 2 * maxServices {
			sendAll(t, p, from(fmt.Sprintf("made-up-%d", i), "", "/x"))
		}
		a := p.Arrivals()
		if len(a.Services) != maxServices || a.of("till").Spans != 1 {
			t.Errorf("%d services, till with %d spans; want %d and 1", len(a.Services), a.of("till").Spans, maxServices)
		}
		if a.More < 80 || a.More > 120 || a.Spans != 201 {
			t.Errorf("about %d more, %d spans; want about 101, and 201", a.More, a.Spans)
		}

		// One that a flow names needs no silence of others: whoever was silent
		// for longest goes at once, and that is not the till.
		time.Sleep(time.Second)
		sendAll(t, p, from("till", "", "/pay"))
		for i := range maxRoutes + 50 {
			sendAll(t, p, from("shop", "", fmt.Sprintf("/%d", i)))
		}
		s := p.Arrivals().of("shop")
		if len(s.Routes) != maxRoutes || s.More < 40 || s.More > 60 {
			t.Errorf("%d routes and about %d more; want %d and about 50", len(s.Routes), s.More, maxRoutes)
		}

		time.Sleep(idle / 2)
		sendAll(t, p, from("till", "", "/pay"))
		time.Sleep(idle / 2)
		sendAll(t, p, from("newcomer", "", "/x"), from("shop", "", "/api/search"))
		a = p.Arrivals()
		if a.of("newcomer").Spans != 1 || a.of("till").Spans != 3 || len(a.Services) != maxServices {
			t.Errorf("after a minute: newcomer %d spans, till %d, %d services; want 1, 3 and %d",
				a.of("newcomer").Spans, a.of("till").Spans, len(a.Services), maxServices)
		}
		found := false
		for _, r := range a.of("shop").Routes {
			found = found || r.Route == "/api/search"
		}
		if !found || len(a.of("shop").Routes) != maxRoutes {
			t.Errorf("after a minute: the new route among %d: %t; want %d with it", len(a.of("shop").Routes), found, maxRoutes)
		}
	})
}

// TestBusyServicesAreSampled: figures of routes stay about right while only a
// part of the requests is looked at, and a small service beside is seen whole.
func TestBusyServicesAreSampled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := New(Options{Flows: shop(), Dir: t.TempDir(), Store: &board{}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		var routes []string
		for i := range 500 {
			if i%10 == 0 {
				routes = append(routes, "/api/checkout")
			} else {
				routes = append(routes, "/api/search")
			}
		}
		w := p.plan.workers.Get().(*worker)
		looked := 0
		const seconds, each = 20, 40
		for range seconds {
			for range each {
				b := request(t, []*otlptracepb.ResourceSpans{from("shop", "", routes...)})
				before := p.arrivals.services["shop"]
				was := uint64(0)
				if before != nil {
					was = before.looked
				}
				if _, err := p.count(w, b, time.Now()); err != nil {
					t.Fatal(err)
				}
				if now := p.arrivals.services["shop"].looked; now > was {
					looked += int(now - was)
				}
				time.Sleep(time.Second / each)
			}
			sendAll(t, p, from("till", "", "/pay"))
		}
		a := p.Arrivals()
		s := a.of("shop")
		if s.Spans != seconds*each*500 || !s.Sampled || math.Abs(s.PerSecond/(each*500)-1) > 0.1 {
			t.Errorf("shop has %d spans, %g a second, sampled: %t; want %d, %d, true", s.Spans, s.PerSecond, s.Sampled, seconds*each*500, each*500)
		}
		for route, want := range map[string]float64{"/api/search": seconds * each * 450, "/api/checkout": seconds * each * 50} {
			for _, r := range s.Routes {
				if r.Route == route && math.Abs(float64(r.Requests)/want-1) > 0.25 {
					t.Errorf("%s has about %d requests, want about %g", route, r.Requests, want)
				}
			}
		}
		if len(s.Routes) != 2 {
			t.Errorf("shop has %d routes, want 2", len(s.Routes))
		}
		if most := (seconds + 4) * looks * 2; looked > most || looked < seconds*looks/2 {
			t.Errorf("%d requests were looked at, want at most %d and at least %d", looked, most, seconds*looks/2)
		}
		if till := a.of("till"); till.Routes[0].Requests != seconds || till.Sampled {
			t.Errorf("till has %d requests, sampled: %t; want %d, false", till.Routes[0].Requests, till.Sampled, seconds)
		}
	})
}

// TestArrivalsAfterApply: a route keeps its flows until it is seen again, but
// not those that are gone.
func TestArrivalsAfterApply(t *testing.T) {
	p, err := New(Options{Flows: shop(), Dir: t.TempDir(), Store: &board{}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	sendAll(t, p, from("shop", "", "/api/search"))
	flows := func() []string { return p.Arrivals().of("shop").Routes[0].Flows }
	all := shop()[1]
	all.Name, all.Match = "all", nil
	for _, step := range []struct {
		name         string
		flows        []slo.Flow
		before, then string
	}{
		{name: "one more", flows: append(shop(), all), before: "[shop/search]", then: "[shop/search shop/all]"},
		{name: "one less", flows: []slo.Flow{shop()[0], all}, before: "[shop/all]", then: "[shop/all]"},
		{name: "none", flows: shop()[:1], before: "[]", then: "[]"},
	} {
		if err := p.Apply(step.flows); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(flows()); got != step.before {
			t.Errorf("%s: flows are %s, want %s", step.name, got, step.before)
		}
		sendAll(t, p, from("shop", "", "/api/search"))
		if got := fmt.Sprint(flows()); got != step.then {
			t.Errorf("%s, seen again: flows are %s, want %s", step.name, got, step.then)
		}
	}
}

// TestLookingOnWhileRequestsComeIn is for the race detector.
func TestLookingOnWhileRequestsComeIn(t *testing.T) {
	st := openStore(t, t.TempDir())
	defer st.Close()
	p := newTest(t, st, t.TempDir())
	defer p.Close()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := range 100 {
				sendAll(t, p, from("shop", fmt.Sprint(i%3), "/api/search", "/x"))
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			p.Arrivals()
			p.Samples("shop", "search")
		}
	})
	wg.Go(func() {
		for range 10 {
			if err := errors.Join(p.Apply(shop()), p.flush(time.Now())); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if got := p.Arrivals().of("shop").Spans; got != 600 {
		t.Errorf("%d spans arrived, want 600", got)
	}
}

func TestPace(t *testing.T) {
	var c tally
	at := func(s float64) int64 { return int64(s * 1e9) }
	c.add(5, at(1000))
	for _, tc := range []struct {
		name      string
		add       uint64
		at, want  float64
		wantTotal uint64
	}{
		{name: "at once", at: 1000, want: 5, wantTotal: 5},
		{name: "half a second on", at: 1000.5, want: 5, wantTotal: 5},
		{name: "five seconds on", at: 1005, want: 1, wantTotal: 5},
		{name: "more", add: 95, at: 1019, want: 100. / 19, wantTotal: 100},
		{name: "the first ten seconds are past", at: 1021, want: 95. / 11, wantTotal: 100},
		{name: "all is past", at: 1030, want: 0, wantTotal: 100},
		{name: "a clock that goes back", add: 1, at: 900, want: 101, wantTotal: 101},
	} {
		if tc.add > 0 {
			c.add(tc.add, at(tc.at))
		}
		got := c.perSecond(at(tc.at))
		if tc.at < 1000 { // any sensible figure
			if math.IsNaN(got) || got < 0 || got > tc.want {
				t.Errorf("%s: %g a second, want between 0 and %g", tc.name, got, tc.want)
			}
		} else if math.Abs(got-tc.want) > 1e-9 {
			t.Errorf("%s: %g a second, want %g", tc.name, got, tc.want)
		}
		if c.total != tc.wantTotal {
			t.Errorf("%s: %d in all, want %d", tc.name, c.total, tc.wantTotal)
		}
	}
}
