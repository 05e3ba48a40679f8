package span_test

import (
	"fmt"
	"testing"

	"github.com/slowburn-slo/slowburn/collector/span"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// TestDecodeTellsOfResources: each of them, before its spans, whether it has any.
func TestDecodeTellsOfResources(t *testing.T) {
	req := &collectorpb.ExportTraceServiceRequest{}
	for i, spans := range []int{2, 0, 1} {
		rs := &tracepb.ResourceSpans{
			Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{{
				Key: "service.name", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: fmt.Sprint("s", i)}},
			}}},
			ScopeSpans: []*tracepb.ScopeSpans{{}},
		}
		for j := range spans { // a root and a child
			s := &tracepb.Span{Kind: tracepb.Span_SPAN_KIND_CLIENT, ParentSpanId: make([]byte, 8*j)}
			rs.ScopeSpans[0].Spans = append(rs.ScopeSpans[0].Spans, s)
		}
		req.ResourceSpans = append(req.ResourceSpans, rs)
	}
	req.ResourceSpans = append(req.ResourceSpans, &tracepb.ResourceSpans{}) // no resource
	for _, o := range orders {
		d := span.New(span.NewKeys([]string{"service.name"}), span.Limits{})
		got := ""
		d.EachResource(func(sp *span.Span, before span.Stats) {
			got += fmt.Sprintf("%q after %d/%d, ", sp.Resource(0).Bytes(), before.Entry, before.Spans)
		})
		stats, err := d.Decode(encode(t, req, o), func(sp *span.Span) { got += fmt.Sprintf("span of %s, ", sp.Resource(0).Bytes()) })
		if err != nil {
			t.Fatal(err)
		}
		got += fmt.Sprintf("%d/%d", stats.Entry, stats.Spans)
		want := `"s0" after 0/0, span of s0, "s1" after 1/2, "s2" after 1/2, span of s2, "" after 2/3, 2/3`
		if got != want {
			t.Errorf("%s: %s\nwant %s", o, got, want)
		}
	}
}
