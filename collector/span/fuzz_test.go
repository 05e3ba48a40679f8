package span_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/slowburn-slo/slowburn/collector/span"
	"github.com/slowburn-slo/slowburn/collector/span/spantest"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// FuzzDecode holds the decoder against the official one: what that accepts, it
// accepts too, but for its documented limits, and of what that writes, in any
// order of fields, it sees the same. On bytes of any kind it does not panic.
func FuzzDecode(f *testing.F) {
	for _, req := range seeds() {
		for _, o := range orders {
			f.Add(encode(f, req, o))
		}
	}
	for _, b := range oddBytes() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _, err := ours(span.New(keys, span.Limits{}), body)
		var req collectorpb.ExportTraceServiceRequest
		if proto.Unmarshal(body, &req) != nil {
			return
		}
		deep := depth(&req) > span.MaxDepth
		switch {
		case err == nil:
		case errors.Is(err, span.ErrTooDeep) && (deep || groupDepth(body) > span.MaxDepth):
		case errors.Is(err, span.ErrTooManySpans) && spans(&req) > span.DefaultMaxSpans:
		default:
			t.Fatalf("Decode: %v, but the official decoder accepts %x", err, body)
		}
		if deep || err != nil {
			return
		}
		plain, err := proto.Marshal(&req)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range orders {
			b, err := spantest.Reorder(plain, req.ProtoReflect().Descriptor(), o, uint64(len(body)))
			if err != nil {
				t.Fatal(err)
			}
			agree(t, b, &req)
		}
	})
}

func spans(req *collectorpb.ExportTraceServiceRequest) int {
	_, stats := official(req)
	return stats.Spans
}

// groupDepth returns a bound on how deep groups lie in one another in any bytes
// of b that may be read as groups: every byte that can open one does.
func groupDepth(b []byte) int {
	n := 0
	for _, c := range b {
		if c&7 == 3 {
			n++
		}
	}
	return n
}

// seeds are requests that exercise every field.
func seeds() []*collectorpb.ExportTraceServiceRequest {
	str := func(key, value string) *commonpb.KeyValue {
		return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
	}
	num := func(key string, value int64) *commonpb.KeyValue {
		return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: value}}}
	}
	trace, id, parent := make([]byte, 16), []byte("span--id"), []byte("parentid")
	binary.BigEndian.PutUint64(trace, 0x0af7651916cd43dd)
	long := make([]byte, 5000)
	for i := range long {
		long[i] = 'a' + byte(i%26)
	}
	request := func(spans ...*tracepb.Span) *collectorpb.ExportTraceServiceRequest {
		return &collectorpb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
			Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{str("service.name", "shop"), str("a", "of the resource")}},
			ScopeSpans: []*tracepb.ScopeSpans{{
				Scope:     &commonpb.InstrumentationScope{Name: "http", Attributes: []*commonpb.KeyValue{str("a", "of the scope")}},
				Spans:     spans,
				SchemaUrl: "https://opentelemetry.io/schemas/1.38.0",
			}},
		}}}
	}
	server := &tracepb.Span{
		TraceId: trace, SpanId: id, ParentSpanId: parent, Name: "GET /stock/{id}", Kind: tracepb.Span_SPAN_KIND_SERVER,
		StartTimeUnixNano: 1_790_000_000_000_000_000, EndTimeUnixNano: 1_790_000_000_123_456_789, TraceState: "ot=th:c", Flags: 257,
		Attributes: []*commonpb.KeyValue{
			str("http.request.method", "GET"), num("http.response.status_code", 200), str("http.route", "/stock/{id}"), str("other", "x"),
			{Key: "a", Value: &commonpb.AnyValue{}},
			{Key: "b", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: -0.5}}},
			{Key: "xx0", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: true}}},
			{Key: "yx0", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{Values: []*commonpb.AnyValue{{}}}}}},
			str(keyNames[8], "long key"),
			str("zx0", "not asked for"),
		},
		Status: &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: "boom"},
		Events: []*tracepb.Span_Event{{Name: "exception", Attributes: []*commonpb.KeyValue{str("exception.message", string(long[:300]))}}},
		Links:  []*tracepb.Span_Link{{TraceId: trace, SpanId: id, Attributes: []*commonpb.KeyValue{str("a", "of a link")}}},
	}
	client := proto.CloneOf(server)
	client.Kind = tracepb.Span_SPAN_KIND_CLIENT
	root := proto.CloneOf(client)
	root.ParentSpanId = nil
	consumer := &tracepb.Span{Kind: tracepb.Span_SPAN_KIND_CONSUMER, ParentSpanId: parent, SpanId: id, Attributes: []*commonpb.KeyValue{
		num("http.response.status_code", -1), str("a", string(long)), str("a", "second"), str("", "no key"), str(string(long[:300]), "long key"),
		{Key: "b", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_BytesValue{BytesValue: []byte("x")}}},
		{Key: "xx0", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: &commonpb.KeyValueList{Values: []*commonpb.KeyValue{num("n", 1)}}}}},
	}}
	odd := &tracepb.Span{Kind: 77, ParentSpanId: parent, Name: string(long), TraceState: string(long)}
	negative := &tracepb.Span{Kind: -3, Name: "negative", Status: &tracepb.Status{Code: -1}}
	lists := request(server, consumer)
	lists.ResourceSpans[0].ScopeSpans[0].Scope.Attributes = append(lists.ResourceSpans[0].ScopeSpans[0].Scope.Attributes, str("long", string(long)))
	many := request(client, client, server)
	many.ResourceSpans = append(many.ResourceSpans, &tracepb.ResourceSpans{}, request(root, odd).ResourceSpans[0],
		&tracepb.ResourceSpans{ScopeSpans: []*tracepb.ScopeSpans{{}, {Spans: []*tracepb.Span{{}, negative, client}}}})
	// Enough entry spans in a row that the next is expected to be one too.
	streak := slices.Concat(slices.Repeat([]*tracepb.Span{server}, 12), []*tracepb.Span{client, consumer, client})
	return []*collectorpb.ExportTraceServiceRequest{{}, request(), request(server), request(streak...), request(client, root, consumer), request(odd, negative), lists, many}
}

// oddBytes are requests that no encoder writes, well formed and not.
func oddBytes() [][]byte {
	msg := func(num protowire.Number, parts ...[]byte) []byte {
		var inner []byte
		for _, p := range parts {
			inner = append(inner, p...)
		}
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), inner)
	}
	text := func(num protowire.Number, s string) []byte { return msg(num, []byte(s)) }
	number := func(num protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
	}
	group := func(num protowire.Number, inner ...byte) []byte {
		b := append(protowire.AppendTag(nil, num, protowire.StartGroupType), inner...)
		return protowire.AppendTag(b, num, protowire.EndGroupType)
	}
	in := func(span ...[]byte) []byte { return msg(1, msg(2, msg(2, span...))) }
	kind, parent := number(6, 2), text(4, "parentid")
	longTag := []byte{0xb0, 0x80, 0x80, 0x00, 2} // field 6, written longer than need be

	return [][]byte{
		in(number(6, 3), kind, parent),                                // the last kind counts
		in(kind, number(6, 3), parent),                                // the same
		in(kind, text(4, ""), parent, text(5, "one"), text(5, "two")), // so does the last name
		in(kind, text(15, "\x18\x02"), text(15, "\x12\x01x")),         // a status in two parts
		in(kind, msg(9, text(1, "b"), text(1, "a"), msg(2, text(1, "x")), msg(2, number(3, 5)))),
		in(kind, msg(9, msg(2, text(1, "x"), msg(5, msg(1))), text(1, "a"), msg(2))),
		in(kind, msg(9, text(1, "a"))),
		in(kind, msg(9, msg(2, text(1, "no key")))),
		in(longTag, parent),
		in(number(6, 1<<32+2), parent), // an int32 of 2
		in(text(6, "kind of another wire type"), number(4, 1), number(9, 1)),
		in(group(99, number(1, 7)...), kind, group(2, group(3)...), parent),
		in(number(6, 3), group(99, text(3, "long enough")...), parent, []byte("never looked at \xff\xff")),
		in(kind, []byte{3<<3 | 4}),                     // the end of no group
		in(kind, group(5)[:1]),                         // a group without an end
		in(kind, []byte{0x02, 0x00}),                   // field number 0
		in(kind, []byte{0x0e}), in(kind, []byte{0x0f}), // wire types that are none
		in(kind, []byte{5<<3 | 2, 0x7f}), // a length that lies
		in(kind, []byte{5<<3 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}),
		in(kind, []byte{0x78, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}),
		in(kind, []byte{7<<3 | 1, 1, 2, 3}),
		in(kind, []byte{16<<3&0x7f | 0x80 | 5, 1, 2, 3, 4, 5}),
		in([]byte{0x30}), in([]byte{0xb0}),
		{0x0a},
		{0x0a, 0x05, 0x12},
		{0x0a, 0x02, 0x12, 0x05},
		{0x0a, 0x04, 0x12, 0x02, 0x12, 0x05},
		append(in(kind), 0x0b),
		msg(1, msg(1, msg(1, text(1, "service.name"), msg(2, text(1, "one")))), msg(2, msg(2, kind)), msg(1, msg(1, text(1, "a"), msg(2, number(2, 1))))),
		nestedIn(1, 64), nestedIn(1, 65),
	}
}

// nestedIn returns a request whose only span has the kind and an attribute in
// which values lie in one another, levels of them.
func nestedIn(kind byte, levels int) []byte {
	attr := attribute(levels)
	span := append([]byte{6 << 3, kind}, protowire.AppendBytes(protowire.AppendTag(nil, 9, protowire.BytesType), attr)...)
	return request(span)
}

// request wraps a span.
func request(span []byte) []byte {
	for _, num := range []protowire.Number{2, 2, 1} {
		span = protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), span)
	}
	return span
}

// attribute returns a KeyValue in whose value values lie in one another. It is
// written from its end, as its length is not known before.
func attribute(levels int) []byte {
	b := make([]byte, 16*levels+16)
	at := len(b)
	wrap := func(tag byte) {
		head := protowire.AppendVarint([]byte{tag}, uint64(len(b)-at))
		at -= len(head)
		copy(b[at:], head)
	}
	for range levels - 1 {
		wrap(1<<3 | 2) // ArrayValue.values
		wrap(5<<3 | 2) // AnyValue.array_value
	}
	wrap(2<<3 | 2) // KeyValue.value
	return b[at:]
}
