package span_test

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/slowburn-slo/slowburn/collector/span"
	"github.com/slowburn-slo/slowburn/collector/span/spantest"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

var orders = []spantest.Order{spantest.Ascending, spantest.Descending, spantest.Permuted}

// seen is what a visitor sees of a span, as text that can be compared.
type seen []string

// keyNames are the attributes the tests ask for.
var keyNames = []string{
	"service.name", "http.route", "http.request.method", "http.response.status_code", "a", "b",
	// Keys that agree in length, end and middle, and one of more than 64 bytes.
	"xx0", "yx0", "k123456789012345678901234567890123456789012345678901234567890123456789",
}

var keys = span.NewKeys(keyNames)

// ours returns what the decoder shows of a request.
func ours(d *span.Decoder, body []byte) (seen, span.Stats, error) {
	var out seen
	stats, err := d.Decode(body, func(sp *span.Span) {
		line := fmt.Sprintf("%v %v root=%t %d-%d %q %x %x %q", int32(sp.Kind), int32(sp.Status), sp.Root,
			sp.Start, sp.End, sp.Name, sp.TraceID, sp.SpanID, sp.TraceState)
		for slot, name := range keyNames {
			line += valueLine(name, sp.Attr(slot)) + valueLine("resource "+name, sp.Resource(slot))
		}
		out = append(out, line)
	})
	return out, stats, err
}

func valueLine(name string, v span.Value) string {
	switch v.Type {
	case span.String:
		return fmt.Sprintf(" %s=%q", name, v.Bytes())
	case span.Int:
		return fmt.Sprintf(" %s=%d", name, v.Int())
	case span.Bool:
		return fmt.Sprintf(" %s=%t", name, v.Bool())
	case span.Double:
		return fmt.Sprintf(" %s=%x", name, math.Float64bits(v.Double()))
	case span.Other:
		return fmt.Sprintf(" %s=other", name)
	default:
		return ""
	}
}

// official returns the same by way of the official decoder's structs.
func official(req *collectorpb.ExportTraceServiceRequest) (seen, span.Stats) {
	var out seen
	var stats span.Stats
	for _, rs := range req.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, sp := range ss.Spans {
				stats.Spans++
				root := len(sp.ParentSpanId) == 0
				if sp.Kind != tracepb.Span_SPAN_KIND_SERVER && sp.Kind != tracepb.Span_SPAN_KIND_CONSUMER && !root {
					continue
				}
				stats.Entry++
				line := fmt.Sprintf("%v %v root=%t %d-%d %q %x %x %q", int32(sp.Kind), int32(sp.Status.GetCode()), root,
					sp.StartTimeUnixNano, sp.EndTimeUnixNano, cut(sp.Name), sp.TraceId, sp.SpanId, cut(sp.TraceState))
				for _, name := range keyNames {
					own, resource := lookup(sp.Attributes, name), lookup(rs.Resource.GetAttributes(), name)
					if own == "" {
						own = resource
					}
					if own != "" {
						line += " " + name + own
					}
					if resource != "" {
						line += " resource " + name + resource
					}
				}
				out = append(out, line)
			}
		}
	}
	return out, stats
}

func cut(s string) string { return s[:min(len(s), span.MaxValue)] }

// lookup returns the first value of an attribute that has one.
func lookup(attrs []*commonpb.KeyValue, key string) string {
	for _, kv := range attrs {
		if kv.Key != key {
			continue
		}
		switch v := kv.Value.GetValue().(type) {
		case nil:
		case *commonpb.AnyValue_StringValue:
			return fmt.Sprintf("=%q", cut(v.StringValue))
		case *commonpb.AnyValue_IntValue:
			return fmt.Sprintf("=%d", v.IntValue)
		case *commonpb.AnyValue_BoolValue:
			return fmt.Sprintf("=%t", v.BoolValue)
		case *commonpb.AnyValue_DoubleValue:
			return fmt.Sprintf("=%x", math.Float64bits(v.DoubleValue))
		default:
			return "=other"
		}
	}
	return ""
}

// depth returns how many AnyValues lie in one another at most.
func depth(req *collectorpb.ExportTraceServiceRequest) int {
	deepest := 0
	var attrs func(kvs []*commonpb.KeyValue, level int)
	var value func(v *commonpb.AnyValue, level int)
	value = func(v *commonpb.AnyValue, level int) {
		if v == nil {
			return
		}
		deepest = max(deepest, level)
		for _, e := range v.GetArrayValue().GetValues() {
			value(e, level+1)
		}
		attrs(v.GetKvlistValue().GetValues(), level+1)
	}
	attrs = func(kvs []*commonpb.KeyValue, level int) {
		for _, kv := range kvs {
			value(kv.Value, level)
		}
	}
	for _, rs := range req.ResourceSpans {
		attrs(rs.Resource.GetAttributes(), 1)
		for _, ss := range rs.ScopeSpans {
			attrs(ss.Scope.GetAttributes(), 1)
			for _, sp := range ss.Spans {
				attrs(sp.Attributes, 1)
				for _, e := range sp.Events {
					attrs(e.Attributes, 1)
				}
				for _, l := range sp.Links {
					attrs(l.Attributes, 1)
				}
			}
		}
	}
	return deepest
}

// encode writes a request with its fields in the given order.
func encode(tb testing.TB, req *collectorpb.ExportTraceServiceRequest, o spantest.Order) []byte {
	tb.Helper()
	b, err := proto.Marshal(req)
	if err != nil {
		tb.Fatal(err)
	}
	b, err = spantest.Reorder(b, req.ProtoReflect().Descriptor(), o, 7)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// agree fails the test unless both decoders see the same in body.
func agree(tb testing.TB, body []byte, req *collectorpb.ExportTraceServiceRequest) {
	tb.Helper()
	got, gotStats, err := ours(span.New(keys, span.Limits{}), body)
	if err != nil {
		tb.Fatalf("Decode: %v, want what the official decoder reads\n%x", err, body)
	}
	want, wantStats := official(req)
	if gotStats != wantStats {
		tb.Errorf("Decode counts %+v, want %+v\n%x", gotStats, wantStats, body)
	}
	if !slices.Equal(got, want) {
		tb.Errorf("Decode visits\n%q, want\n%q\n%x", got, want, bytes.Clone(body))
	}
}
