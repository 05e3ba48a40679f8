package synth

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	tracecollector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// BatchOptions says what is in a Batch.
type BatchOptions struct {
	Seed     uint64
	Requests int // how many

	// Start is when the first request ends, and every later one ends Every
	// after the one before. Receivers refuse what ends in the future.
	Start time.Time
	Every time.Duration

	// Inner is the number of INTERNAL spans within each request, which must
	// not be counted. Auto-instrumentation of Express makes about 5, and they
	// carry http.route as the entry span does.
	Inner int

	// OldNames selects the former HTTP attributes, http.method,
	// http.status_code and http.target.
	OldNames bool
}

// Batch returns requests as the protobuf bytes of an OTLP
// ExportTraceServiceRequest, and by flow what is in them: each request is one
// SERVER span. Flows are mixed as busy as they are in the model. The same model
// and options give the same bytes.
func (m *Model) Batch(o BatchOptions) (body []byte, tally map[string]Counts, err error) {
	if o.Requests < 0 || o.Inner < 0 {
		return nil, nil, fmt.Errorf("synth: a batch of %d requests with %d spans inside; want 0 or more of both", o.Requests, o.Inner)
	}
	rng := rand.New(rand.NewPCG(m.Seed, o.Seed))
	tally = make(map[string]Counts)
	out := &tracecollector.ExportTraceServiceRequest{}
	byVersion := make(map[string]*trace.ScopeSpans)
	for i := range o.Requests {
		end := o.Start.Add(time.Duration(i) * o.Every)
		f, _ := m.pick(rng, end)
		r := m.request(rng, f, end)
		r.Start = end.Add(-r.Latency)

		s := Sample{Latency: r.Latency, Total: 1}
		if r.Failed {
			s.Bad = 1
		}
		c := tally[r.Flow]
		c.add(Counts{Total: 1, Bad: s.Bad, Latencies: []Sample{s}})
		tally[r.Flow] = c

		scope := byVersion[r.Version]
		if scope == nil {
			rs := m.resource(r.Version)
			out.ResourceSpans = append(out.ResourceSpans, rs)
			scope = rs.ScopeSpans[0]
			byVersion[r.Version] = scope
		}
		scope.Spans = append(scope.Spans, spans(rng, r, o)...)
	}
	body, err = proto.Marshal(out)
	if err != nil {
		return nil, nil, fmt.Errorf("synth: encode batch: %w", err)
	}
	return body, tally, nil
}

// resource returns the model's service in one version, without spans.
func (m *Model) resource(version string) *trace.ResourceSpans {
	return &trace.ResourceSpans{
		Resource: &resource.Resource{Attributes: []*common.KeyValue{
			text("service.name", m.Service),
			text("service.version", version),
			text("service.instance.id", m.Service+"-7d9c5b6f4-x2x7k"),
			text("telemetry.sdk.language", "nodejs"),
			text("telemetry.sdk.name", "opentelemetry"),
			text("telemetry.sdk.version", "2.8.0"),
			number("process.pid", 7),
		}},
		ScopeSpans: []*trace.ScopeSpans{{
			Scope: &common.InstrumentationScope{Name: "@opentelemetry/instrumentation-http", Version: "0.219.0"},
		}},
	}
}

// spans returns the spans of one request, inner ones first, as they end first.
func spans(rng *rand.Rand, r Request, o BatchOptions) []*trace.Span {
	id := func(size int) []byte {
		b := make([]byte, 0, size)
		for len(b) < size {
			b = binary.LittleEndian.AppendUint64(b, rng.Uint64()|1) // an id of zeros is invalid
		}
		return b
	}
	entry := &trace.Span{
		TraceId:           id(16),
		SpanId:            id(8),
		Flags:             1, // sampled
		Name:              r.Method + " " + r.Route,
		Kind:              trace.Span_SPAN_KIND_SERVER,
		StartTimeUnixNano: uint64(r.Start.UnixNano()),
		EndTimeUnixNano:   uint64(r.End().UnixNano()),
		Status:            &trace.Status{},
	}
	if r.Failed {
		entry.Status.Code = trace.Status_STATUS_CODE_ERROR
	}
	if o.OldNames {
		entry.Attributes = []*common.KeyValue{
			text("http.url", "http://shop.example"+r.Path),
			text("http.host", "shop.example"),
			text("http.method", r.Method),
			text("http.target", r.Path),
			text("http.flavor", "1.1"),
			number("http.status_code", r.Status),
			text("http.route", r.Route),
		}
	} else {
		entry.Attributes = []*common.KeyValue{
			text("http.request.method", r.Method),
			text("url.scheme", "http"),
			text("server.address", "shop.example"),
			text("network.protocol.version", "1.1"),
			text("url.path", r.Path),
			number("http.response.status_code", r.Status),
			text("http.route", r.Route),
		}
	}
	out := make([]*trace.Span, 0, o.Inner+1)
	for range o.Inner {
		out = append(out, &trace.Span{
			TraceId:           entry.TraceId,
			SpanId:            id(8),
			ParentSpanId:      entry.SpanId,
			Flags:             1,
			Name:              "request handler - " + r.Route,
			Kind:              trace.Span_SPAN_KIND_INTERNAL,
			StartTimeUnixNano: entry.StartTimeUnixNano,
			EndTimeUnixNano:   entry.EndTimeUnixNano,
			Attributes: []*common.KeyValue{
				text("http.route", r.Route),
				text("express.name", r.Route),
				text("express.type", "request_handler"),
			},
			Status: &trace.Status{},
		})
	}
	return append(out, entry)
}

func text(key, value string) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}

func number(key string, value int) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: int64(value)}}}
}
