package match

import (
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/slowburn-slo/slowburn/collector/span"
	"github.com/slowburn-slo/slowburn/collector/span/spantest"
	"github.com/slowburn-slo/slowburn/slo"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// attrs writes attributes: "key=text", with a number, a truth or nothing for a
// text where the key ends in #, ? or !.
func attrs(pairs ...string) []*commonpb.KeyValue {
	var out []*commonpb.KeyValue
	for _, p := range pairs {
		key, text, _ := strings.Cut(p, "=")
		v := &commonpb.AnyValue{}
		switch {
		case strings.HasSuffix(key, "#") && strings.Contains(text, "."):
			f, _ := strconv.ParseFloat(text, 64)
			v.Value = &commonpb.AnyValue_DoubleValue{DoubleValue: f}
		case strings.HasSuffix(key, "#"):
			n, _ := strconv.ParseInt(text, 10, 64)
			v.Value = &commonpb.AnyValue_IntValue{IntValue: n}
		case strings.HasSuffix(key, "?"):
			v.Value = &commonpb.AnyValue_BoolValue{BoolValue: text == "true"}
		case strings.HasSuffix(key, "[]"):
			v.Value = &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{}}
		case strings.HasSuffix(key, "!"):
		default:
			v.Value = &commonpb.AnyValue_StringValue{StringValue: text}
		}
		out = append(out, &commonpb.KeyValue{Key: strings.TrimRight(key, "#?![]"), Value: v})
	}
	return out
}

// entry returns a SERVER span with a parent.
func entry(name string, attributes ...string) *tracepb.Span {
	return &tracepb.Span{Kind: tracepb.Span_SPAN_KIND_SERVER, ParentSpanId: []byte("parentid"), Name: name, Attributes: attrs(attributes...)}
}

// of wraps spans in a request of the service.
func of(resource []*commonpb.KeyValue, spans ...*tracepb.Span) *collectorpb.ExportTraceServiceRequest {
	return &collectorpb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource:   &resourcepb.Resource{Attributes: resource},
		ScopeSpans: []*tracepb.ScopeSpans{{Spans: spans}},
	}}}
}

// visit decodes a request for a Matcher and visits its spans.
func visit(tb testing.TB, p *Program, req *collectorpb.ExportTraceServiceRequest, f func(m *Matcher, sp *span.Span)) {
	tb.Helper()
	b, err := proto.Marshal(req)
	if err != nil {
		tb.Fatal(err)
	}
	m := p.Matcher()
	if _, err := span.New(p.Keys(), span.Limits{}).Decode(b, func(sp *span.Span) { f(m, sp) }); err != nil {
		tb.Fatal(err)
	}
}

// sel reads a selector: conditions such as "kind=server", "http.route!=/a|/b".
func sel(tb testing.TB, conds ...string) slo.Selector {
	tb.Helper()
	var out slo.Selector
	for _, s := range conds {
		key, patterns, ok := strings.Cut(s, "=")
		if !ok {
			tb.Fatalf("%q is no condition", s)
		}
		c := slo.Condition{Key: strings.TrimSuffix(key, "!"), Not: strings.HasSuffix(key, "!")}
		for text := range strings.SplitSeq(patterns, "|") {
			p, err := slo.ParsePattern(text)
			if err != nil {
				tb.Fatal(err)
			}
			c.Any = append(c.Any, p)
		}
		out = append(out, c)
	}
	return out
}

func compile(tb testing.TB, flows ...slo.Flow) *Program {
	tb.Helper()
	p, err := Compile(flows)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestMatch(t *testing.T) {
	shop := attrs("service.name=shop", "deployment.environment.name=prod")
	for _, tc := range []struct {
		name  string
		match []string
		span  *tracepb.Span
		want  bool
	}{
		{"current method and route", []string{"http.request.method=POST", "http.route=/api/checkout"}, entry("POST /api/checkout", "http.request.method=POST", "http.route=/api/checkout"), true},
		{"older method and route", []string{"http.request.method=POST", "http.route=/api/checkout"}, entry("POST /api/checkout", "http.method=POST", "http.route=/api/checkout"), true},
		{"another method", []string{"http.request.method=POST", "http.route=/api/checkout"}, entry("", "http.method=GET", "http.route=/api/checkout"), false},
		{"another route", []string{"http.request.method=POST", "http.route=/api/checkout"}, entry("", "http.method=POST", "http.route=/api/checkouts"), false},
		{"one of several routes", []string{"http.route=/a|/b"}, entry("", "http.route=/b"), true},
		{"glob", []string{"http.route=/api/*/items"}, entry("", "http.route=/api/cart/7/items"), true},
		{"glob or literal", []string{"http.route=/api/*|/b"}, entry("", "http.route=/b"), true},
		{"route from the name", []string{"http.route=/stock/{id}"}, entry("GET /stock/{id}"), true},
		{"route from the template", []string{"http.route=/stock/{id}"}, entry("GET", "url.template=/stock/{id}"), true},
		{"route made from the path", []string{"http.route=/stock/{id}"}, entry("GET", "url.path=/stock/17"), true},
		{"raw path for a literal", []string{"http.route=/stock/17"}, entry("GET", "http.target=/stock/17?x=1"), true},
		{"raw path among literals", []string{"http.route=/a|/stock/17", "http.request.method=GET"}, entry("GET", "http.target=/stock/17?x=1", "http.method=GET"), true},
		{"raw path for a denied literal", []string{"http.route!=/stock/17"}, entry("GET", "url.path=/stock/17"), false},
		{"raw path for no glob", []string{"http.route=/stock/1*"}, entry("GET", "url.path=/stock/17"), false},
		{"raw path with a route", []string{"http.route=/stock/17"}, entry("GET", "url.path=/stock/17", "http.route=/stock/:id"), false},
		{"home page", []string{"http.route=/"}, entry("GET /", "http.route=/", "http.target=/?utm=1"), true},
		{"home page by path", []string{"http.route=/"}, entry("GET", "url.path=/"), true},
		{"unknown path that claims to be home", []string{"http.route=/"}, entry("GET /", "http.route=/", "http.target=/wp-login.php"), false},
		{"status as a number", []string{"http.response.status_code=>=400"}, entry("", "http.response.status_code#=404"), true},
		{"status as a text", []string{"http.response.status_code=404"}, entry("", "http.status_code=404"), true},
		{"status as a number, by text", []string{"http.response.status_code=4*"}, entry("", "http.status_code#=404"), true},
		{"no number", []string{"size=>1"}, entry("", "size=large"), false},
		{"a number with a fraction", []string{"size=<=1.5"}, entry("", "size#=1.5"), true},
		{"truth", []string{"cached=true"}, entry("", "cached?=true"), true},
		{"kind", []string{"kind=server"}, entry(""), true},
		{"kind that is not", []string{"kind!=server"}, entry(""), false},
		{"name", []string{"name=GET *"}, entry("GET /a"), true},
		{"status", []string{"status=error"}, entry(""), false},
		{"path", []string{"url.path=/a"}, entry("", "http.target=/a#top"), true},
		{"attribute of the resource", []string{"deployment.environment.name=prod"}, entry(""), true},
		{"attribute of the span wins", []string{"deployment.environment.name=prod"}, entry("", "deployment.environment.name=test"), false},
		{"missing attribute", []string{"tenant=*"}, entry(""), false},
		{"missing attribute denied", []string{"tenant!=acme"}, entry(""), true},
		{"attribute without a value", []string{"tenant=*"}, entry("", "tenant!="), false},
		{"array exists", []string{"tags=*"}, entry("", "tags[]="), true},
		{"array has no text", []string{"tags=a*"}, entry("", "tags[]="), false},
		{"all of several", []string{"kind=server", "a=1", "b=2"}, entry("", "a=1", "b=3"), false},
		{"no condition", nil, entry(""), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			flow := slo.Flow{Name: "flow", Service: "shop", Match: sel(t, tc.match...)}
			visit(t, compile(t, flow), of(shop, tc.span), func(m *Matcher, sp *span.Span) {
				if got := len(m.Match(sp, nil)) == 1; got != tc.want {
					t.Errorf("Match = %t, want %t", got, tc.want)
				}
			})
		})
	}
}

func TestMatchService(t *testing.T) {
	p := compile(
		t,
		slo.Flow{Name: "shop", Service: "shop"},
		slo.Flow{Name: "shops", Service: "shop*"},
		slo.Flow{Name: "all", Service: "*"},
		slo.Flow{Name: "payment", Service: "payment"},
	)
	for _, tc := range []struct {
		service string
		want    []int32
	}{
		{"service.name=shop", []int32{0, 1, 2}},
		{"service.name=shop-eu", []int32{1, 2}},
		{"service.name=payment", []int32{2, 3}},
		{"service.name=other", []int32{2}},
		{"host.name=shop", []int32{2}}, // no service
		{"service.name=shop", []int32{0, 1, 2}},
	} {
		// A span cannot choose its service: only the resource does.
		visit(t, p, of(attrs(tc.service), entry("", "service.name=payment")), func(m *Matcher, sp *span.Span) {
			got := m.Match(sp, nil)
			slices.Sort(got)
			if !slices.Equal(got, tc.want) {
				t.Errorf("Match(%s) = %v, want %v", tc.service, got, tc.want)
			}
		})
	}
}

func TestBad(t *testing.T) {
	failed := func(sp *tracepb.Span) *tracepb.Span {
		sp.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR}
		return sp
	}
	for _, tc := range []struct {
		name string
		when []string
		span *tracepb.Span
		want bool
	}{
		{"fine", nil, entry("", "http.response.status_code#=200"), false},
		{"nothing said", nil, entry(""), false},
		{"status", nil, failed(entry("")), true},
		{"status with a good code", nil, failed(entry("", "http.response.status_code#=200")), true},
		{"code", nil, entry("", "http.response.status_code#=500"), true},
		{"older code", nil, entry("", "http.status_code#=503"), true},
		{"code as text", nil, entry("", "http.status_code=503"), true},
		{"client's fault", nil, entry("", "http.status_code#=499"), false},
		{"of one's own", []string{"http.response.status_code=>=400"}, entry("", "http.status_code#=404"), true},
		{"of one's own, else fine", []string{"http.response.status_code=>=400"}, failed(entry("")), false},
		{"two conditions", []string{"http.response.status_code=>=400", "http.route!=/a"}, entry("GET /a", "http.status_code#=404"), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := compile(t, slo.Flow{Name: "flow", Service: "*", BadWhen: sel(t, tc.when...)})
			visit(t, p, of(nil, tc.span), func(m *Matcher, sp *span.Span) {
				if got := m.Bad(0, sp); got != tc.want {
					t.Errorf("Bad = %t, want %t", got, tc.want)
				}
			})
		})
	}
}

func TestBy(t *testing.T) {
	for _, tc := range []struct {
		name, by string
		span     *tracepb.Span
		want     string
	}{
		{"text", "tenant", entry("", "tenant=acme"), "acme"},
		{"number", "tenant", entry("", "tenant#=-42"), "-42"},
		{"fraction", "tenant", entry("", "tenant#=1.25"), "1.25"},
		{"truth", "tenant", entry("", "tenant?=true"), "true"},
		{"missing", "tenant", entry(""), ""},
		{"of the resource", "region", entry(""), "eu"},
		{"method", slo.KeyMethod, entry("", "http.method=GET"), "GET"},
		{"route", slo.KeyRoute, entry("", "url.path=/stock/17"), "/stock/{id}"},
		{"kind", slo.KeyKind, entry(""), "server"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := compile(t, slo.Flow{Name: "flow", Service: "*", By: tc.by})
			visit(t, p, of(attrs("region=eu"), tc.span), func(m *Matcher, sp *span.Span) {
				got, _ := m.By(0, sp, nil)
				if got == nil || string(got) != tc.want {
					t.Errorf("By = %q, want %q", got, tc.want)
				}
			})
		})
	}
	t.Run("not split", func(t *testing.T) {
		visit(t, compile(t, slo.Flow{Name: "flow", Service: "*"}), of(nil, entry("")), func(m *Matcher, sp *span.Span) {
			if got, _ := m.By(0, sp, nil); got != nil {
				t.Errorf("By = %q, want nil", got)
			}
		})
	})
	t.Run("values last", func(t *testing.T) {
		// Values given out earlier stay what they were while kept grows.
		p := compile(t, slo.Flow{Name: "flow", Service: "*", By: "n"})
		var spans []*tracepb.Span
		for i := range 1_000 {
			spans = append(spans, entry("", fmt.Sprintf("n#=%d", i)))
		}
		var got [][]byte
		var kept, by []byte
		visit(t, p, of(nil, spans...), func(m *Matcher, sp *span.Span) {
			by, kept = m.By(0, sp, kept)
			got = append(got, by)
		})
		for i, b := range got {
			if string(b) != strconv.Itoa(i) {
				t.Errorf("value %d reads %q", i, b)
			}
		}
	})
	t.Run("invalid UTF-8", func(t *testing.T) {
		// The official encoder refuses such a text; senders do not.
		p := compile(t, slo.Flow{Name: "flow", Service: "*", By: "tenant"})
		b, err := proto.Marshal(of(nil, entry("", "tenant=a??b")))
		if err != nil {
			t.Fatal(err)
		}
		b = []byte(strings.Replace(string(b), "a??b", "a\xff\xfeb", 1))
		m := p.Matcher()
		if _, err := span.New(p.Keys(), span.Limits{}).Decode(b, func(sp *span.Span) {
			if got, _ := m.By(0, sp, nil); string(got) != "a\uFFFD\uFFFDb" {
				t.Errorf("By = %q, want a\uFFFD\uFFFDb", got)
			}
		}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRoute(t *testing.T) {
	p := compile(t)
	for _, tc := range []struct {
		name string
		span *tracepb.Span
		want string
	}{
		{"route", entry("GET /other", "http.route=/stock/:id", "url.template=/t", "url.path=/stock/1"), "/stock/:id"},
		{"empty route", entry("GET", "http.route=", "url.path=/stock/1"), "/stock/{id}"},
		{"template", entry("GET /other", "url.template=/t", "url.path=/stock/1"), "/t"},
		{"name", entry("GET /stock/{id}", "url.path=/stock/1"), "/stock/{id}"},
		{"bare name", entry("GET"), ""},
		{"name without a path", entry("GET stock"), ""},
		{"name of more words", entry("GET /stock http receive"), ""},
		{"name that is a path", entry("/stock"), ""},
		{"name in lower case", entry("get /stock"), ""},
		{"space first", entry(" /stock"), ""},
		{"numbers", entry("GET", "url.path=/a/1/b/22/c3"), "/a/{id}/b/{id}/c3"},
		{"UUID", entry("GET", "url.path=/a/0AF76519-16cd-43dd-8448-eb211c80319c"), "/a/{id}"},
		{"UUID with its dashes elsewhere", entry("GET", "url.path=/a/0af7651916-cd-43dd-8448-eb211c80319c"), "/a/0af7651916-cd-43dd-8448-eb211c80319c"},
		{"long hexadecimal", entry("GET", "url.path=/a/507f1f77bcf86cd799439011/"), "/a/{id}/"},
		{"short hexadecimal", entry("GET", "url.path=/a/deadbeef"), "/a/deadbeef"},
		{"slashes", entry("GET", "url.path=//7//"), "//{id}//"},
		{"target", entry("GET", "http.target=/stock/7?q=/8#/9"), "/stock/{id}"},
		{"path wins over target", entry("GET", "url.path=/new", "http.target=/old"), "/new"},
		{"a lie", entry("GET /", "http.route=/", "http.target=/wp-login.php"), "/wp-login.php"},
		{"home", entry("GET /", "http.route=/", "http.target=/?q"), "/"},
		{"home without a path", entry("GET /", "http.route=/"), "/"},
		{"huge path", entry("GET", "url.path="+strings.Repeat("/1", 1000)), strings.Repeat("/{id}", 51) + "/"},
		{"no HTTP", entry("orders process"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			visit(t, p, of(nil, tc.span), func(m *Matcher, sp *span.Span) {
				if got := string(m.Route(sp)); got != tc.want {
					t.Errorf("Route = %q, want %q", got, tc.want)
				}
			})
		})
	}
}

func TestCompileConflicts(t *testing.T) {
	at := func(line int, name, service string, conds ...string) slo.Flow {
		return slo.Flow{Name: name, Service: service, Match: sel(t, conds...), Pos: slo.Pos{File: "shop.yaml", Line: line, Column: 3}}
	}
	_, err := Compile([]slo.Flow{
		at(4, "checkout", "shop", "http.request.method=POST", "http.route=/a|/b"),
		at(12, "refund", "shop", "http.route=/b|/a|/b", "http.request.method=POST"),
		at(20, "elsewhere", "payment", "http.request.method=POST", "http.route=/a|/b"),
		at(28, "denied", "shop", "http.request.method=POST", "http.route!=/a|/b"),
		at(36, "wider", "shop", "http.route=/a|/b"),
		at(44, "stars", "shop", "name=a*"),
		at(52, "more-stars", "shop", "name=a***"),
		at(60, "again", "shop", "http.request.method=POST", "http.route=/a|/b", "http.request.method=POST"),
	})
	want := `shop.yaml:12:3: flow refund matches the same spans as flow checkout at shop.yaml:4:3; want one of them narrowed
shop.yaml:52:3: flow more-stars matches the same spans as flow stars at shop.yaml:44:3; want one of them narrowed
shop.yaml:60:3: flow again matches the same spans as flow checkout at shop.yaml:4:3; want one of them narrowed`
	if got := fmt.Sprint(err); got != want {
		t.Errorf("Compile:\n%s\nwant\n%s", got, want)
	}
}

// TestMatchNotCounted: a flow whose objectives are queries takes no span, and
// stands in no other flow's way.
func TestMatchNotCounted(t *testing.T) {
	queried := slo.Flow{Name: "queried", Service: "shop", Objectives: []slo.Objective{{Kind: slo.PromQL}}}
	both := slo.Flow{Name: "both", Service: "shop", Objectives: []slo.Objective{{Kind: slo.PromQL}, {Kind: slo.Succeed}}}
	again := queried
	again.Name = "again"
	p := compile(t, queried, both, again)
	visit(t, p, of(attrs("service.name=shop"), entry("GET /")), func(m *Matcher, sp *span.Span) {
		if got := m.Match(sp, nil); !slices.Equal(got, []int32{1}) {
			t.Errorf("Match = %v, want flow 1 alone", got)
		}
	})
}

func TestCompared(t *testing.T) {
	where := []string{slo.KeyRoute, slo.KeyStatusCode, "deployment.environment.name", "host.name", "tenant.id", slo.KeyStatus}
	for _, tc := range []struct {
		name           string
		resource, span []string
		want           string
	}{
		{
			name:     "current names, of span and resource",
			resource: []string{"service.name=shop", "deployment.environment.name=prod", "host.name=a"},
			span:     []string{"http.route=/a", "http.response.status_code#=503", "tenant.id=t1"},
			want:     "/a 503 prod a t1 unset",
		},
		{
			name:     "older names",
			resource: []string{"service.name=shop", "deployment.environment=prod"},
			span:     []string{"http.target=/a/17?x", "http.status_code#=200"},
			want:     "/a/{id} 200 prod   unset",
		},
		{
			name:     "the span's own comes before its resource's",
			resource: []string{"service.name=shop", "host.name=a"},
			span:     []string{"host.name=b"},
			want:     "   b  unset",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := compile(t, slo.Flow{Name: "other", Service: "x"}, slo.Flow{Name: "all", Service: "shop", Where: where})
			got := make([]string, len(where))
			visit(t, p, of(attrs(tc.resource...), entry("", tc.span...)), func(m *Matcher, sp *span.Span) {
				m.Compared(1, sp, func(i int, text []byte) { got[i] = string(text) })
			})
			if s := strings.Join(got, " "); s != tc.want {
				t.Errorf("Compared = %q, want %q", s, tc.want)
			}
		})
	}
}

// TestMatchAllocates pins that a span costs no memory, whatever is asked of it.
func TestMatchAllocates(t *testing.T) {
	flows := shop(1000)
	flows[1].By = slo.KeyStatusCode
	flows[2].By = slo.KeyRoute
	for _, o := range []spantest.Order{spantest.Ascending, spantest.Descending, spantest.Permuted} {
		requests, err := spantest.Corpus(spantest.Options{Spans: 1_000, PerRequest: 1_000, Order: o})
		if err != nil {
			t.Fatal(err)
		}
		tally := newTally(t, flows)
		allocs := testing.AllocsPerRun(10, func() {
			if err := tally.consume(requests[0]); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 || tally.good[0] == 0 || tally.good[1] == 0 {
			t.Errorf("%s: 1,000 spans allocate %g times, want 0; counted %d and %d", o, allocs, tally.good[0], tally.good[1])
		}
	}
}

// FuzzMatch holds the compiled matcher against slo's reference on random flows
// and spans made from seed.
func FuzzMatch(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		flows := make([]slo.Flow, 1+r.IntN(30))
		for i := range flows {
			flows[i] = slo.Flow{Name: strconv.Itoa(i), Service: pick(r, "shop", "pay", "s*", "*", ""), Match: randomSelector(r), BadWhen: randomSelector(r)}
		}
		p, err := Compile(flows)
		if err != nil { // conflicts, which random flows run into at times
			return
		}
		resource := randomAttrs(r)
		if r.IntN(5) > 0 {
			resource = append(resource, attrs("service.name="+pick(r, "shop", "pay", "sea", "x"))...)
		}
		var spans []*tracepb.Span
		for range 20 {
			spans = append(spans, &tracepb.Span{
				Name:       pick(r, texts...),
				Kind:       tracepb.Span_SpanKind(r.IntN(8) - 1),
				Status:     &tracepb.Status{Code: tracepb.Status_StatusCode(r.IntN(5) - 1)},
				Attributes: randomAttrs(r),
			})
		}
		next := 0
		visit(t, p, of(resource, spans...), func(m *Matcher, sp *span.Span) {
			ref := reference{spans[next], resource}
			next++
			var want []int32
			for i := range flows {
				if ref.counts(&flows[i]) {
					want = append(want, int32(i))
				}
			}
			got := m.Match(sp, nil)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("Match = %v, want %v\nspan %v\nflows %+v", got, want, ref.span, flows)
			}
			for i := range flows {
				if got, want := m.Bad(int32(i), sp), ref.bad(&flows[i]); got != want {
					t.Errorf("Bad = %t, want %t\nspan %v\nflow %+v", got, want, ref.span, flows[i])
				}
			}
		})
		if next != len(spans) {
			t.Errorf("visited %d spans, want %d", next, len(spans))
		}
	})
}

var (
	texts = []string{
		"", "GET", "POST", "/", "/a", "/a/1", "/a/{id}", "/a/1?x", "GET /a", "GET /a/{id}", "GET /", "400", "500", "503.5", "1e3", "+Inf", "nan", "true",
		"server", "internal", "error", "x",
	}
	fieldKeys = []string{slo.KeyKind, slo.KeyName, slo.KeyStatus}
	attrKeys  = []string{
		slo.KeyMethod, oldMethod, slo.KeyRoute, keyTemplate, slo.KeyStatusCode, oldStatusCode, keyPath, oldTarget, keyService, "tenant", "x",
	}
)

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }

func randomAttrs(r *rand.Rand) []*commonpb.KeyValue {
	var out []*commonpb.KeyValue
	for range r.IntN(6) {
		key := pick(r, attrKeys...)
		if key == keyService {
			continue // a resource has one
		}
		switch r.IntN(8) {
		case 0:
			out = append(out, attrs(fmt.Sprintf("%s#=%d", key, r.IntN(8)*100))...)
		case 1:
			out = append(out, attrs(fmt.Sprintf("%s#=%g.5", key, float64(r.IntN(800))))...)
		case 2:
			out = append(out, attrs(key+pick(r, "?=true", "[]=", "!="))...)
		default:
			out = append(out, attrs(key+"="+pick(r, texts...))...)
		}
	}
	return out
}

func randomSelector(r *rand.Rand) slo.Selector {
	var out slo.Selector
	for range r.IntN(3) {
		c := slo.Condition{Key: pick(r, slices.Concat(fieldKeys, attrKeys, []string{slo.KeyRoute, slo.KeyRoute})...), Not: r.IntN(4) == 0}
		for range r.IntN(4) {
			switch r.IntN(8) {
			case 0:
				c.Any = append(c.Any, slo.Pattern{Op: slo.AtLeast + slo.Op(r.IntN(4)), Number: float64(r.IntN(8)) * 100})
			case 1, 2:
				c.Any = append(c.Any, slo.Pattern{Text: pick(r, "*", "/*", "*a*", "GET*", "*0", "/a/*", "s*r")})
			default:
				c.Any = append(c.Any, slo.Pattern{Text: pick(r, texts...)})
			}
		}
		if r.IntN(10) == 0 { // enough literals for a set
			for i := range 12 {
				c.Any = append(c.Any, slo.Pattern{Text: fmt.Sprintf("/%d", i)})
			}
		}
		out = append(out, c)
	}
	return out
}

// reference evaluates selectors the slow and plain way.
type reference struct {
	span     *tracepb.Span
	resource []*commonpb.KeyValue
}

func (ref reference) counts(f *slo.Flow) bool {
	service, _ := attribute("service.name", ref.resource)
	return slo.Pattern{Text: f.Service}.Fits(service) && ref.holds(f.Match)
}

func (ref reference) bad(f *slo.Flow) bool {
	if len(f.BadWhen) > 0 {
		return ref.holds(f.BadWhen)
	}
	return ref.span.Status.Code == tracepb.Status_STATUS_CODE_ERROR ||
		ref.holds(slo.Selector{{Key: slo.KeyStatusCode, Any: []slo.Pattern{{Op: slo.AtLeast, Number: 500}}}})
}

func (ref reference) holds(sel slo.Selector) bool {
	for _, c := range sel {
		text, present := ref.text(c.Key)
		holds := c.Fits(text, present)
		if path, _ := ref.text(keyPath); c.Key == slo.KeyRoute && ref.declared() == "" && path != "" {
			// The raw path, but for literals only.
			for _, p := range c.Any {
				if p.Literal() && p.Text == path {
					holds = !c.Not
				}
			}
		}
		if !holds {
			return false
		}
	}
	return true
}

func (ref reference) text(key string) (string, bool) {
	first := func(keys ...string) (string, bool) {
		for _, k := range keys {
			if s, ok := attribute(k, ref.span.Attributes, ref.resource); ok {
				return s, true
			}
		}
		return "", false
	}
	switch key {
	case slo.KeyKind:
		if name, ok := map[int32]string{2: "server", 3: "client", 4: "producer", 5: "consumer"}[int32(ref.span.Kind)]; ok {
			return name, true
		}
		return "internal", true
	case slo.KeyName:
		return ref.span.Name, true
	case slo.KeyStatus:
		if name, ok := map[int32]string{1: "ok", 2: "error"}[int32(ref.span.Status.Code)]; ok {
			return name, true
		}
		return "unset", true
	case slo.KeyMethod:
		return first(slo.KeyMethod, oldMethod)
	case slo.KeyStatusCode:
		return first(slo.KeyStatusCode, oldStatusCode)
	case keyPath:
		path := ref.words(keyPath)
		if path == "" {
			path = ref.words(oldTarget)
		}
		path, _, _ = strings.Cut(path, "?")
		return path, path != ""
	case slo.KeyRoute:
		if route := ref.declared(); route != "" {
			return route, true
		}
		path, ok := ref.text(keyPath)
		return regexp.MustCompile(`(^|/)[0-9]+(/|$)`).ReplaceAllString(path, "$1{id}$2"), ok
	default:
		return first(key)
	}
}

// declared returns the route a span names.
func (ref reference) declared() string {
	path, _ := ref.text(keyPath)
	for _, route := range []string{ref.words(slo.KeyRoute), ref.words(keyTemplate), strings.TrimPrefix(regexp.MustCompile(`^[A-Z]+ /\S*$`).FindString(ref.span.Name), "GET ")} {
		if route != "" && (route != "/" || path == "" || path == "/") {
			return route
		}
	}
	return ""
}

// words returns an attribute that is a string.
func (ref reference) words(key string) string {
	for _, kvs := range [][]*commonpb.KeyValue{ref.span.Attributes, ref.resource} {
		if _, ok := attribute(key, kvs); ok {
			i := slices.IndexFunc(kvs, func(kv *commonpb.KeyValue) bool { return kv.Key == key && kv.Value.Value != nil })
			return kvs[i].Value.GetStringValue()
		}
	}
	return ""
}

// attribute returns the text of the first value the attribute has.
func attribute(key string, lists ...[]*commonpb.KeyValue) (string, bool) {
	for _, kvs := range lists {
		for _, kv := range kvs {
			if kv.Key != key {
				continue
			}
			switch v := kv.Value.Value.(type) {
			case nil:
			case *commonpb.AnyValue_StringValue:
				return v.StringValue, true
			case *commonpb.AnyValue_IntValue:
				return strconv.FormatInt(v.IntValue, 10), true
			case *commonpb.AnyValue_BoolValue:
				return strconv.FormatBool(v.BoolValue), true
			case *commonpb.AnyValue_DoubleValue:
				if math.IsNaN(v.DoubleValue) {
					return "NaN", true
				}
				return strconv.FormatFloat(v.DoubleValue, 'g', -1, 64), true
			default:
				return "", true
			}
		}
	}
	return "", false
}
