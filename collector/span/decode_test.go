package span_test

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/slowburn-slo/slowburn/collector/span"
	"github.com/slowburn-slo/slowburn/collector/span/spantest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// TestDecodeAgrees holds the decoder against the official one on requests as
// SDKs and Collectors write them.
func TestDecodeAgrees(t *testing.T) {
	requests, err := spantest.Corpus(spantest.Options{Spans: 2_000, Seed: 2})
	if err != nil {
		t.Fatal(err)
	}
	reqs := seeds()
	for _, b := range requests {
		req := &collectorpb.ExportTraceServiceRequest{}
		if err := proto.Unmarshal(b, req); err != nil {
			t.Fatal(err)
		}
		reqs = append(reqs, req)
	}
	for i, req := range reqs {
		for _, o := range orders {
			t.Run(fmt.Sprintf("request=%d/%s", i, o), func(t *testing.T) {
				agree(t, encode(t, req, o), req)
			})
		}
		t.Run(fmt.Sprintf("request=%d/pdata", i), func(t *testing.T) {
			// pdata drops what it does not know, such as invalid ids, so its own
			// bytes are the truth.
			p := ptraceotlp.NewExportRequest()
			if err := p.UnmarshalProto(encode(t, req, spantest.Ascending)); err != nil {
				t.Fatal(err)
			}
			b, err := p.MarshalProto()
			if err != nil {
				t.Fatal(err)
			}
			var back collectorpb.ExportTraceServiceRequest
			if err := proto.Unmarshal(b, &back); err != nil {
				t.Fatal(err)
			}
			agree(t, b, &back)
		})
	}
}

// TestDecodeOdd holds the decoder against the official one on bytes no encoder
// writes, where both read the whole span.
func TestDecodeOdd(t *testing.T) {
	for i, b := range oddBytes() {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			var req collectorpb.ExportTraceServiceRequest
			wantErr := proto.Unmarshal(b, &req)
			_, _, err := ours(span.New(keys, span.Limits{}), b)
			switch {
			case strings.Contains(string(b), "never looked at"):
				if err != nil || wantErr == nil {
					t.Errorf("Decode: %v, official: %v; want the end of a skipped span overlooked", err, wantErr)
				}
			case depth(&req) > span.MaxDepth:
				if !errors.Is(err, span.ErrTooDeep) {
					t.Errorf("Decode: %v, want %v", err, span.ErrTooDeep)
				}
			case wantErr != nil:
				if !errors.Is(err, span.ErrMalformed) {
					t.Errorf("Decode: %v, want %v as the official decoder says %v", err, span.ErrMalformed, wantErr)
				}
			default:
				agree(t, b, &req)
			}
		})
	}
}

func TestDecodeNamesTheFault(t *testing.T) {
	body := request([]byte{6 << 3, 2, 5<<3 | 2, 0x7f, 'x'})
	_, err := span.New(keys, span.Limits{}).Decode(body, func(*span.Span) {})
	if got, want := fmt.Sprint(err), "malformed protobuf: Span: length runs past the end at byte 8"; got != want {
		t.Errorf("Decode: %s, want %s", got, want)
	}
}

func TestDecodeLimitsSpans(t *testing.T) {
	const spans = 9_437_184
	empty := make([]byte, 2*spans)
	for i := 0; i < len(empty); i += 2 {
		empty[i] = 2<<3 | 2
	}
	body := protowire.AppendBytes([]byte{2<<3 | 2}, empty)
	body = protowire.AppendBytes([]byte{1<<3 | 2}, body)
	for _, tc := range []struct {
		name  string
		limit int
		want  string
	}{
		{name: "default", want: "too many spans: 9437184 spans in one request; the limit is 100000"},
		{name: "one less", limit: spans - 1, want: "too many spans: 9437184 spans in one request; the limit is 9437183"},
		{name: "just enough", limit: spans, want: "<nil>"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			visits := 0
			stats, err := span.New(keys, span.Limits{MaxSpans: tc.limit}).Decode(body, func(*span.Span) { visits++ })
			if got := fmt.Sprint(err); got != tc.want {
				t.Errorf("Decode: %s, want %s", got, tc.want)
			}
			if tc.want == "<nil>" {
				if stats.Spans != spans || visits != spans {
					t.Errorf("Decode counts %d spans and visits %d, want %d", stats.Spans, visits, spans)
				}
				return
			}
			if !errors.Is(err, span.ErrTooManySpans) || visits > 0 {
				t.Errorf("Decode: %v after %d visits, want %v before any", err, visits, span.ErrTooManySpans)
			}
		})
	}
}

// TestDecodeLimitsDepth nests values in every place that has attributes.
func TestDecodeLimitsDepth(t *testing.T) {
	field := func(num protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), b)
	}
	server, internal := []byte{6 << 3, 2}, append([]byte{6 << 3, 1}, field(4, []byte("parentid"))...)
	places := map[string]func(attr []byte) []byte{
		"span":     func(attr []byte) []byte { return request(append(server, field(9, attr)...)) },
		"event":    func(attr []byte) []byte { return request(append(server, field(11, field(3, attr))...)) },
		"link":     func(attr []byte) []byte { return request(append(server, field(13, field(4, attr))...)) },
		"resource": func(attr []byte) []byte { return field(1, field(1, field(1, attr))) },
		"scope":    func(attr []byte) []byte { return field(1, field(2, field(1, field(3, attr)))) },
		"skipped span over 1 KiB": func(attr []byte) []byte {
			return request(append(append(internal, field(5, make([]byte, 1024))...), field(9, attr)...))
		},
	}
	for name, place := range places {
		for _, tc := range []struct {
			levels int
			want   error
		}{{1, nil}, {63, nil}, {64, nil}, {65, span.ErrTooDeep}, {66, span.ErrTooDeep}, {1_000, span.ErrTooDeep}, {1_500_000, span.ErrTooDeep}} {
			t.Run(fmt.Sprintf("%s/levels=%d", name, tc.levels), func(t *testing.T) {
				body := place(attribute(tc.levels))
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err := span.New(keys, span.Limits{}).Decode(body, func(*span.Span) {})
				runtime.ReadMemStats(&after)
				if !errors.Is(err, tc.want) || (tc.want == nil) != (err == nil) {
					t.Errorf("Decode: %v, want %v", err, tc.want)
				}
				if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
					t.Errorf("Decode took %d bytes of memory, want next to nothing", took)
				}
			})
		}
	}
}

func TestDecodeLimitsGroups(t *testing.T) {
	for _, tc := range []struct {
		levels int
		want   error
	}{{1, nil}, {64, nil}, {65, span.ErrTooDeep}, {1_000_000, span.ErrTooDeep}} {
		b := []byte{6 << 3, 2}
		b = append(b, strings.Repeat("\x7b", tc.levels)...)
		b = append(b, strings.Repeat("\x7c", tc.levels)...)
		_, err := span.New(keys, span.Limits{}).Decode(request(b), func(*span.Span) {})
		if !errors.Is(err, tc.want) || (tc.want == nil) != (err == nil) {
			t.Errorf("%d levels of groups: Decode: %v, want %v", tc.levels, err, tc.want)
		}
	}
}

// TestDecodeForgets makes sure that nothing of one request shows in the next.
func TestDecodeForgets(t *testing.T) {
	d := span.New(keys, span.Limits{})
	full := encode(t, seeds()[2], spantest.Ascending)
	if _, _, err := ours(d, full); err != nil {
		t.Fatal(err)
	}
	got, _, err := ours(d, request(nil))
	if err != nil {
		t.Fatal(err)
	}
	if want := `0 0 root=true 0-0 ""   ""`; len(got) != 1 || got[0] != want {
		t.Errorf("an empty span after a full one reads %q, want %q", got, want)
	}
}

func TestDecodeAllocates(t *testing.T) {
	for _, o := range orders {
		requests, err := spantest.Corpus(spantest.Options{Spans: 1_000, PerRequest: 1_000, Order: o})
		if err != nil {
			t.Fatal(err)
		}
		d := span.New(keys, span.Limits{})
		var sum uint64
		visit := func(sp *span.Span) { sum += sp.Latency() + uint64(len(sp.Attr(0).Bytes())) }
		allocs := testing.AllocsPerRun(10, func() {
			if _, err := d.Decode(requests[0], visit); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 || sum == 0 {
			t.Errorf("%s: Decode allocates %g times for 1,000 spans, want 0", o, allocs)
		}
	}
}

// TestDecodeCounts holds the counts of a whole corpus against pdata's.
func TestDecodeCounts(t *testing.T) {
	for _, o := range orders {
		requests, err := spantest.Corpus(spantest.Options{Spans: 5_000, PerRequest: 700, Order: o, Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		d := span.New(keys, span.Limits{})
		for _, body := range requests {
			p := ptraceotlp.NewExportRequest()
			if err := p.UnmarshalProto(body); err != nil {
				t.Fatal(err)
			}
			want := span.Stats{Spans: p.Traces().SpanCount()}
			for _, rs := range p.Traces().ResourceSpans().All() {
				for _, ss := range rs.ScopeSpans().All() {
					for _, sp := range ss.Spans().All() {
						if sp.Kind() == ptrace.SpanKindServer || sp.Kind() == ptrace.SpanKindConsumer || sp.ParentSpanID().IsEmpty() {
							want.Entry++
						}
					}
				}
			}
			if got, err := d.Decode(body, func(*span.Span) {}); err != nil || got != want {
				t.Errorf("%s: Decode = %+v, %v, want %+v", o, got, err, want)
			}
		}
	}
}

func TestLatency(t *testing.T) {
	for _, tc := range []struct {
		name             string
		start, end, want uint64
	}{
		{name: "forward", start: 5, end: 12, want: 7},
		{name: "none", start: 5, end: 5, want: 0},
		{name: "backward", start: 5, end: 4, want: 0},
		{name: "no start", end: math.MaxUint64, want: math.MaxUint64},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sp := span.Span{Start: tc.start, End: tc.end}
			if got := sp.Latency(); got != tc.want {
				t.Errorf("Latency() = %d, want %d", got, tc.want)
			}
		})
	}
}

// TestKeys asks for many keys that are much alike, each with a value of its own.
func TestKeys(t *testing.T) {
	var names []string
	var kvs []byte
	for i := range 3_000 {
		name := fmt.Sprintf("app.attribute.%d.name", i)
		if i%2 == 0 {
			names = append(names, name)
		}
		kv := protowire.AppendString([]byte{1<<3 | 2}, name)
		kv = protowire.AppendBytes(append(kv, 2<<3|2), protowire.AppendVarint([]byte{3 << 3}, uint64(i)))
		kvs = protowire.AppendBytes(append(kvs, 9<<3|2), kv)
	}
	names = append(names, "", strings.Repeat("x", span.MaxKey+1), names[0])
	visits := 0
	_, err := span.New(span.NewKeys(names), span.Limits{}).Decode(request(kvs), func(sp *span.Span) {
		visits++
		for slot := range 1_500 {
			if got, want := sp.Attr(slot).Int(), int64(2*slot); got != want {
				t.Errorf("Attr(%d) = %d, want %d", slot, got, want)
			}
		}
		for slot := 1_500; slot < len(names); slot++ {
			if got := sp.Attr(slot).Type; got != span.Empty {
				t.Errorf("Attr(%d) has type %d, want none", slot, got)
			}
		}
	})
	if err != nil || visits != 1 {
		t.Errorf("Decode: %v after %d visits, want 1", err, visits)
	}
}
