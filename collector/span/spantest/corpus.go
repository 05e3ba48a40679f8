// Package spantest makes OTLP requests for tests and benchmarks: spans as
// Node.js services write them, in any field order.
package spantest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Options describe a corpus. Equal options give equal bytes.
type Options struct {
	Spans      int // in all
	PerRequest int // 0 means 512, an SDK's batch
	Order      Order
	Seed       uint64
}

// epoch is when the corpus begins, in nanoseconds since the Unix epoch.
const epoch = 1_790_000_000_000_000_000

// Epoch is when the corpus begins.
var Epoch = time.Unix(0, epoch)

// Corpus returns requests of a shop whose services run on Node.js. One span in
// five is a SERVER span; the others are the INTERNAL spans of its middleware and
// CLIENT spans. A span takes about 381 bytes. Half of the processes write the
// current HTTP attributes, the others the older generation.
func Corpus(o Options) ([][]byte, error) {
	if o.PerRequest == 0 {
		o.PerRequest = 512
	}
	g := &generator{Rand: rand.New(rand.NewPCG(o.Seed, 1)), now: epoch}
	var requests [][]byte
	for left := o.Spans; left > 0; left -= o.PerRequest {
		req := g.request(min(left, o.PerRequest), len(requests)%2 == 0)
		b, err := proto.Marshal(req)
		if err != nil {
			return nil, err
		}
		b, err = Reorder(b, req.ProtoReflect().Descriptor(), o.Order, o.Seed+uint64(len(requests)))
		if err != nil {
			return nil, err
		}
		requests = append(requests, b)
	}
	return requests, nil
}

type generator struct {
	*rand.Rand
	now uint64
}

func (g *generator) request(spans int, current bool) *collectorpb.ExportTraceServiceRequest {
	scopes := []*tracepb.ScopeSpans{
		{Scope: &commonpb.InstrumentationScope{Name: "@opentelemetry/instrumentation-http", Version: "0.212.0"}},
		{Scope: &commonpb.InstrumentationScope{Name: "@opentelemetry/instrumentation-express", Version: "0.60.0"}},
		{Scope: &commonpb.InstrumentationScope{Name: "@opentelemetry/instrumentation-pg", Version: "0.64.0"}},
	}
	for i := 0; i < spans; i += 5 {
		trace := g.bytes(16)
		rt := routes[g.IntN(len(routes))]
		server := g.span(trace, nil, tracepb.Span_SPAN_KIND_SERVER, rt.method+" "+rt.route)
		if i%2 == 0 {
			server.ParentSpanId = g.bytes(8) // the shop behind a gateway that traces too
		}
		code := 200
		if g.IntN(100) == 0 {
			code = 500
			server.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR}
		}
		path := rt.route
		if rt.id {
			path = path[:len(path)-len("{id}")] + strconv.Itoa(g.IntN(100_000))
			server.Name = rt.method + " " + rt.route
		}
		if current {
			server.Attributes = []*commonpb.KeyValue{
				str("http.request.method", rt.method),
				str("url.scheme", "https"),
				str("url.path", path),
				str("server.address", "shop.example.com"),
				num("server.port", 443),
				str("client.address", "203.0.113.77"),
				str("user_agent.original", userAgents[g.IntN(len(userAgents))]),
				str("network.protocol.version", "1.1"),
				str("network.peer.address", "10.42.7.19"),
				num("network.peer.port", 30_000+int64(g.IntN(30_000))),
				str("tenant.id", "tenant-"+strconv.Itoa(g.IntN(40))),
				num("http.response.status_code", int64(code)),
				str("http.route", rt.route),
			}
		} else {
			server.Attributes = []*commonpb.KeyValue{
				str("http.url", "https://shop.example.com"+path),
				str("http.host", "shop.example.com"),
				str("net.host.name", "shop.example.com"),
				str("http.method", rt.method),
				str("http.scheme", "https"),
				str("http.client_ip", "203.0.113.77"),
				str("http.target", path),
				str("http.user_agent", userAgents[g.IntN(len(userAgents))]),
				str("http.flavor", "1.1"),
				str("net.transport", "ip_tcp"),
				str("net.host.ip", "10.42.7.18"),
				num("net.host.port", 8080),
				str("net.peer.ip", "10.42.7.19"),
				num("net.peer.port", 30_000+int64(g.IntN(30_000))),
				num("http.status_code", int64(code)),
				str("http.status_text", "OK"),
				str("http.route", rt.route),
			}
		}
		scopes[0].Spans = append(scopes[0].Spans, server)
		for j := i + 1; j < min(i+5, spans); j++ {
			switch (j - i) % 4 {
			case 0:
				client := g.span(trace, server.SpanId, tracepb.Span_SPAN_KIND_CLIENT, "pg.query:SELECT shop")
				client.Attributes = []*commonpb.KeyValue{
					str("db.system", "postgresql"),
					str("db.name", "shop"),
					str("db.user", "shop"),
					str("net.peer.name", "postgres.shop.svc.cluster.local"),
					num("net.peer.port", 5432),
					str("db.connection_string", "postgresql://postgres.shop.svc.cluster.local:5432/shop"),
					str("db.statement", "SELECT o.id, o.state, o.total, c.name, c.email FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id = $1 AND o.tenant = $2"),
				}
				scopes[2].Spans = append(scopes[2].Spans, client)
			default:
				name := middleware[g.IntN(len(middleware))]
				internal := g.span(trace, server.SpanId, tracepb.Span_SPAN_KIND_INTERNAL, "middleware - "+name)
				internal.Attributes = []*commonpb.KeyValue{
					str("http.route", rt.route),
					str("express.name", name),
					str("express.type", "middleware"),
					str("code.function.name", "handle"),
					str("code.file.path", "/srv/shop/node_modules/express/lib/router/layer.js"),
				}
				scopes[1].Spans = append(scopes[1].Spans, internal)
			}
		}
	}
	return &collectorpb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{
			str("service.name", "shop"),
			str("service.version", "2026.9.1"),
			str("service.instance.id", fmt.Sprintf("%x", g.bytes(8))),
			str("telemetry.sdk.language", "nodejs"),
			str("telemetry.sdk.name", "opentelemetry"),
			str("telemetry.sdk.version", "2.5.0"),
			num("process.pid", 17),
			str("process.executable.name", "node"),
			{Key: "process.command_args", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{
				Values: []*commonpb.AnyValue{str("", "/usr/local/bin/node").Value, str("", "/srv/shop/server.js").Value},
			}}}},
			str("host.name", "shop-7d9f6c5b8-xkq2p"),
			{Key: "process.owner", Value: &commonpb.AnyValue{}},
		}},
		ScopeSpans: scopes,
	}}}
}

func (g *generator) span(trace, parent []byte, kind tracepb.Span_SpanKind, name string) *tracepb.Span {
	g.now += uint64(g.IntN(1_000_000))
	return &tracepb.Span{
		TraceId:           trace,
		SpanId:            g.bytes(8),
		ParentSpanId:      parent,
		Name:              name,
		Kind:              kind,
		StartTimeUnixNano: g.now,
		EndTimeUnixNano:   g.now + uint64(1_000_000+g.ExpFloat64()*50_000_000),
		Status:            &tracepb.Status{},
		Flags:             257,
	}
}

func (g *generator) bytes(n int) []byte {
	b := make([]byte, (n+7)/8*8)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], g.Uint64())
	}
	return b[:n]
}

func str(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

func num(key string, value int64) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: value}}}
}

var routes = []struct {
	method, route string
	id            bool // the route ends in {id}
}{
	{"POST", "/api/checkout", false},
	{"GET", "/api/products", false},
	{"GET", "/api/products/{id}", true},
	{"GET", "/api/cart", false},
	{"POST", "/api/cart/items", false},
	{"GET", "/api/search", false},
	{"GET", "/healthz", false},
	{"POST", "/api/login", false},
}

var middleware = []string{"query", "expressInit", "jsonParser", "corsMiddleware", "session", "authenticate"}

var userAgents = []string{
	"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.3 Safari/605.1.15",
	"okhttp/4.12.0",
	"node",
}
