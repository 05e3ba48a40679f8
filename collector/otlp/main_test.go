package otlp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

// start runs a server on free ports until the test ends, and fails the test
// if it does not drain.
func start(tb testing.TB, o Options, change ...func(*Server)) *Server {
	tb.Helper()
	o.GRPCListen, o.HTTPListen = "127.0.0.1:0", "127.0.0.1:0"
	s, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	for _, c := range change {
		c(s)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			tb.Errorf("Run: %v", err)
		}
	})
	return s
}

// dial returns a gRPC connection that lives as long as the test.
func dial(tb testing.TB, s *Server, o ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	conn, err := grpc.NewClient(s.GRPCAddr().String(), append(o, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	return conn
}

// tally is a sink that reads every request with the official decoder.
type tally struct {
	mu       sync.Mutex
	requests int
	spans    map[string]int // by name
}

func (y *tally) sink(body []byte) (Rejected, error) {
	var r collectortrace.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &r); err != nil {
		return Rejected{}, err
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.requests++
	if y.spans == nil {
		y.spans = make(map[string]int)
	}
	for _, rs := range r.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, sp := range ss.Spans {
				y.spans[sp.Name]++
			}
		}
	}
	return Rejected{}, nil
}

func (y *tally) String() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	return fmt.Sprint(y.requests, " requests, ", y.spans)
}

// sample returns a request of n spans of about 380 bytes.
func sample(n int) *collectortrace.ExportTraceServiceRequest {
	str := func(k, v string) *common.KeyValue {
		return &common.KeyValue{Key: k, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: v}}}
	}
	spans := make([]*trace.Span, n)
	for i := range spans {
		at := uint64(time.Date(2026, 11, 23, 12, 0, 0, i, time.UTC).UnixNano())
		spans[i] = &trace.Span{
			TraceId: fmt.Appendf(nil, "trace-%010d", i), SpanId: fmt.Appendf(nil, "%08d", i), Name: "POST /api/checkout",
			Kind: trace.Span_SPAN_KIND_SERVER, StartTimeUnixNano: at, EndTimeUnixNano: at + 250e6, Flags: 257,
			Attributes: []*common.KeyValue{
				str("http.request.method", "POST"), str("http.route", "/api/checkout"), str("url.path", "/api/checkout"),
				str("server.address", "shop.example"), str("user_agent.original", fmt.Sprintf("Mozilla/5.0 (X11; Linux x86_64) %d", i)),
				{Key: "http.response.status_code", Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: 200}}},
			},
			Status: &trace.Status{},
		}
	}
	return &collectortrace.ExportTraceServiceRequest{ResourceSpans: []*trace.ResourceSpans{{
		Resource:   &resourcepb.Resource{Attributes: []*common.KeyValue{str("service.name", "shop")}},
		ScopeSpans: []*trace.ScopeSpans{{Scope: &common.InstrumentationScope{Name: "test"}, Spans: spans}},
	}}}
}

func marshal(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// emptySpans returns a request of n spans without a field, two bytes each.
func emptySpans(n int) []byte {
	spans := bytes.Repeat(protowire.AppendTag(nil, 2, protowire.BytesType), n)
	out := make([]byte, 0, 2*len(spans)+32)
	for i := range spans {
		out = append(out, spans[i], 0)
	}
	out = wrap(2, out) // ResourceSpans.scope_spans
	return wrap(1, out)
}

func wrap(num protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), b)
}

// pack compresses what write writes.
func pack(tb testing.TB, how compression, write func(io.Writer) error) []byte {
	tb.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	if how == gzipped {
		w, err = gzip.NewWriterLevel(&out, gzip.BestCompression)
	} else {
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	}
	if err = errors.Join(err, write(w), w.Close()); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func packed(tb testing.TB, how compression, b []byte) []byte {
	tb.Helper()
	if how == identity {
		return b
	}
	return pack(tb, how, func(w io.Writer) error { _, err := w.Write(b); return err })
}

// bomb packs size zeros, in pieces one after the other: both formats allow it.
func bomb(tb testing.TB, how compression, size int) []byte {
	tb.Helper()
	piece := min(size, 16<<20)
	out := bytes.Repeat(packed(tb, how, make([]byte, piece)), size/piece)
	return append(out, packed(tb, how, make([]byte, size%piece))...)
}
