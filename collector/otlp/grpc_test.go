package otlp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// sentAs is a codec that sends bytes as they are, and as what grpc-encoding
// says when they were packed by the test itself.
type sentAs struct{}

func (sentAs) Name() string { return "proto" }

func (sentAs) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (sentAs) Unmarshal(data mem.BufferSlice, v any) error {
	return proto.Unmarshal(data.Materialize(), v.(proto.Message))
}

// rawCompressor names a compressor that sends what the test has packed, or broken.
type rawCompressor struct{ name string }

func (c rawCompressor) Name() string                                 { return c.name }
func (c rawCompressor) Compress(w io.Writer) (io.WriteCloser, error) { return nopCloser{w}, nil }
func (c rawCompressor) Do(w io.Writer, p []byte) error               { _, err := w.Write(p); return err }
func (c rawCompressor) Type() string                                 { return c.name }
func (c rawCompressor) Decompress(r io.Reader) (io.Reader, error)    { return r, nil }

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// export sends body, already packed as encoding says; "" is not packed.
func export(t *testing.T, s *Server, encoding string, body []byte) (*collectortrace.ExportTraceServiceResponse, error) {
	t.Helper()
	var resp collectortrace.ExportTraceServiceResponse
	err := dialRaw(t, s, encoding).Invoke(t.Context(), exportMethod, body, &resp)
	return &resp, err
}

// dialRaw returns a connection that sends bytes as they are and says they are
// packed as encoding.
func dialRaw(tb testing.TB, s *Server, encoding string) *grpc.ClientConn {
	tb.Helper()
	opts := []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.ForceCodecV2(sentAs{}))}
	if encoding != "" {
		//lint:ignore SA1019 the one compressor that is not registered for the whole process
		opts = append(opts, grpc.WithCompressor(rawCompressor{encoding}))
	}
	return dial(tb, s, opts...)
}

// TestGRPC is OTLP/gRPC's conformance table.
func TestGRPC(t *testing.T) {
	const limit = 100_000
	one := marshal(t, sample(1))
	large := bytes.Repeat([]byte{0x0a, 0x00}, limit/2+1)
	for _, tc := range []struct {
		name     string
		encoding string
		body     []byte
		sink     Sink
		code     codes.Code
		message  string
		rejected int64
		retry    time.Duration
	}{
		{name: "plain", body: one},
		{name: "empty"},
		{name: "gzip", encoding: "gzip", body: packed(t, gzipped, one)},
		{name: "zstd", encoding: "zstd", body: packed(t, zstandard, one)},
		{name: "exactly the limit", body: large[:limit]},
		{name: "exactly the limit in gzip", encoding: "gzip", body: packed(t, gzipped, large[:limit])},
		{name: "exactly the limit in zstd", encoding: "zstd", body: packed(t, zstandard, large[:limit])},
		{
			name: "partial success", rejected: 3, message: "3 spans too old",
			sink: func([]byte) (Rejected, error) { return Rejected{Spans: 3, Why: "3 spans too old"}, nil },
		},
		{
			name: "partial success in gzip", encoding: "gzip", body: packed(t, gzipped, one), rejected: 3, message: "3 spans too old",
			sink: func([]byte) (Rejected, error) { return Rejected{Spans: 3, Why: "3 spans too old"}, nil },
		},
		{name: "malformed", body: []byte{0x0a, 0x7f}, code: codes.InvalidArgument, message: "proto"},
		{name: "a tag of field 0", body: []byte{0x00, 0x01}, code: codes.InvalidArgument, message: "proto"},
		{name: "a forged seal", body: []byte(sealGzip + "xyz"), code: codes.InvalidArgument, message: "gzip"},
		{name: "corrupt gzip", encoding: "gzip", body: []byte("not gzip at all"), code: codes.InvalidArgument, message: "gzip"},
		{name: "cut gzip", encoding: "gzip", body: packed(t, gzipped, one)[:80], code: codes.InvalidArgument, message: "gzip"},
		{name: "corrupt zstd", encoding: "zstd", body: []byte("not zstd at all"), code: codes.InvalidArgument, message: "zstd"},
		{name: "512 MiB zstd window", encoding: "zstd", body: wideZstd(), code: codes.InvalidArgument, message: "zstd"},
		{name: "other encoding", encoding: "br", body: one, code: codes.Unimplemented, message: "br"},
		{name: "over the limit", body: large, code: codes.ResourceExhausted, message: "limit"},
		{name: "far over the limit", body: append(large, large...), code: codes.ResourceExhausted, message: "larger than max"},
		{name: "over the limit in gzip", encoding: "gzip", body: packed(t, gzipped, large), code: codes.ResourceExhausted, message: "limit"},
		{name: "over the limit in zstd", encoding: "zstd", body: packed(t, zstandard, large), code: codes.ResourceExhausted, message: "limit"},
		{
			name: "sink finds it too large", code: codes.ResourceExhausted, message: "100,001 spans",
			sink: func([]byte) (Rejected, error) { return Rejected{}, TooLarge{Why: "100,001 spans"} },
		},
		{
			name: "overload", code: codes.Unavailable, message: "disk", retry: 2500 * time.Millisecond,
			sink: func([]byte) (Rejected, error) {
				return Rejected{}, Overload{RetryAfter: 2500 * time.Millisecond, Why: "disk"}
			},
		},
		{
			name: "refused", code: codes.InvalidArgument, message: "bad � field",
			sink: func([]byte) (Rejected, error) { return Rejected{}, errors.New("bad \xff field") },
		},
		{
			name: "panic", code: codes.Internal, message: "internal error",
			sink: func([]byte) (Rejected, error) { panic("boom") },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.sink == nil {
				tc.sink = func(body []byte) (Rejected, error) {
					return Rejected{}, proto.Unmarshal(body, new(collectortrace.ExportTraceServiceRequest))
				}
			}
			s := start(t, Options{Sink: tc.sink, MaxBytes: limit})
			resp, err := export(t, s, tc.encoding, tc.body)
			st := status.Convert(err)
			if st.Code() != tc.code {
				t.Errorf("code = %v, want %v; %v", st.Code(), tc.code, err)
			}
			if err != nil && !strings.Contains(st.Message(), tc.message) {
				t.Errorf("message = %q, want %q in it", st.Message(), tc.message)
			}
			if got := retryDelay(st); got != tc.retry {
				t.Errorf("RetryInfo = %v, want %v", got, tc.retry)
			}
			var want collectortrace.ExportTraceServiceResponse
			if tc.rejected > 0 {
				want.PartialSuccess = &collectortrace.ExportTracePartialSuccess{RejectedSpans: tc.rejected, ErrorMessage: tc.message}
			}
			if err == nil && !proto.Equal(resp, &want) {
				t.Errorf("response = %v, want %v", resp, &want)
			}
			if got := s.mem.left.Load(); got != 2*defaultMaxBytes {
				t.Errorf("memory left after the call = %d, want all %d", got, 2*defaultMaxBytes)
			}
		})
	}
}

// retryDelay returns the delay of the status' RetryInfo, 0 without one.
func retryDelay(st *status.Status) time.Duration {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return info.RetryDelay.AsDuration()
		}
	}
	return 0
}

func TestGRPCOtherSignals(t *testing.T) {
	s := start(t, Options{Sink: (&tally{}).sink})
	_, err := collectormetrics.NewMetricsServiceClient(dial(t, s)).Export(t.Context(), &collectormetrics.ExportMetricsServiceRequest{})
	if got := status.Code(err); got != codes.Unimplemented {
		t.Errorf("metrics: code = %v, want Unimplemented", got)
	}
	if err := dial(t, s).Invoke(t.Context(), "/"+traceService+"/Import", &collectortrace.ExportTraceServiceRequest{}, &collectortrace.ExportTraceServiceResponse{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("another method: %v, want Unimplemented", err)
	}
}

func TestGRPCOverBudget(t *testing.T) {
	inside, leave := make(chan bool), make(chan bool)
	s := start(t, Options{MaxBytes: 1 << 20, MaxInFlight: 2 << 20, Sink: func([]byte) (Rejected, error) {
		inside <- true
		<-leave
		return Rejected{}, nil
	}})
	body := make([]byte, 900<<10)
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := export(t, s, "", body)
			ended <- err
		}()
		<-inside
	}
	for _, encoding := range []string{"", "gzip", "zstd"} {
		sent := body
		if encoding != "" {
			sent = packed(t, map[string]compression{"gzip": gzipped, "zstd": zstandard}[encoding], body)
		}
		_, err := export(t, s, encoding, sent)
		if got := status.Code(err); got != codes.Unavailable {
			t.Errorf("%s: code with the budget spent = %v, want Unavailable", encoding, got)
		}
		if got := retryDelay(status.Convert(err)); got < time.Second || got > 30*time.Second {
			t.Errorf("%s: RetryInfo = %v, want 1 to 30 s", encoding, got)
		}
	}
	close(leave)
	for range 2 {
		if err := <-ended; err != nil {
			t.Errorf("within the budget: %v", err)
		}
	}
}

// TestGRPCHalfMessage leaves a message unfinished.
func TestGRPCHalfMessage(t *testing.T) {
	s := start(t, Options{Sink: (&tally{}).sink}, func(s *Server) {
		if s.grpcReadTimeout != 30*time.Second {
			t.Errorf("a call may take %v, want 30s", s.grpcReadTimeout)
		}
		s.grpcReadTimeout = 100 * time.Millisecond
	})
	stream, err := dial(t, s).NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, exportMethod)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(new(collectortrace.ExportTraceServiceResponse)); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a call without its message: %v, want DeadlineExceeded", err)
	}
}

// TestGRPCHalfHandshake connects and says nothing.
func TestGRPCHalfHandshake(t *testing.T) {
	s := start(t, Options{Sink: (&tally{}).sink}, func(s *Server) {
		if s.grpcHandshakeTimeout != 5*time.Second {
			t.Errorf("a handshake may take %v, want 5s", s.grpcHandshakeTimeout)
		}
		s.grpcHandshakeTimeout = 100 * time.Millisecond
		s.grpc = s.newGRPC()
	})
	conn, err := net.Dial("tcp", s.GRPCAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(6 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the connection is still open: %v", err)
	}
}

// TestCompressors holds the compressors clients of this process get against
// themselves and against ours: they must stay what they are elsewhere.
func TestCompressors(t *testing.T) {
	for name, how := range map[string]compression{"gzip": gzipped, "zstd": zstandard} {
		for _, size := range []int{0, 1, 1000, 4 << 20} {
			c := encoding.GetCompressor(name)
			want := bytes.Repeat([]byte("slowburn"), size/8+1)[:size]
			for range 2 { // the second time with what the first gave back
				var wire bytes.Buffer
				w, err := c.Compress(&wire)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write(want); err != nil {
					t.Fatal(err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				for from, wire := range map[string][]byte{"its own": wire.Bytes(), "another's": packed(t, how, want)} {
					r, err := c.Decompress(bytes.NewReader(wire))
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(r)
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s of %d bytes, %s: %d bytes, %v, want the same back", name, size, from, len(got), err)
					}
					if closer, ok := r.(io.Closer); ok {
						closer.Close()
					}
				}
			}
		}
	}
}

// TestCompressedAnswers calls as generated clients do, which get the answer
// packed as the request was.
func TestCompressedAnswers(t *testing.T) {
	s := start(t, Options{Sink: func(body []byte) (Rejected, error) { return Rejected{Spans: int64(len(body)), Why: "no"}, nil }})
	request := sample(20)
	for _, name := range []string{"gzip", "zstd"} {
		resp, err := collectortrace.NewTraceServiceClient(dial(t, s)).Export(t.Context(), request, grpc.UseCompressor(name))
		if got, want := resp.GetPartialSuccess().GetRejectedSpans(), int64(proto.Size(request)); err != nil || got != want {
			t.Errorf("%s: rejected = %d, %v, want %d", name, got, err, want)
		}
	}
}

// TestZstdSealed is what a client gets for a message no client takes: bytes
// that are no protobuf.
func TestZstdSealed(t *testing.T) {
	for name, wire := range map[string][]byte{"corrupt": []byte("not zstd"), "too large": bomb(t, zstandard, 4<<20+1)} {
		r, err := encoding.GetCompressor("zstd").Decompress(bytes.NewReader(wire))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(got, new(collectortrace.ExportTraceServiceResponse)); err == nil {
			t.Errorf("%s: %x is taken for protobuf; want it refused", name, got)
		}
	}
}

// TestDrain stops the server while requests are inside.
func TestDrain(t *testing.T) {
	inside, leave := make(chan bool), make(chan bool)
	s, err := New(Options{GRPCListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", Sink: func([]byte) (Rejected, error) {
		inside <- true
		<-leave
		return Rejected{}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended, answers := make(chan error, 1), make(chan error, 2)
	go func() { ended <- s.Run(ctx) }()
	go func() {
		_, err := export(t, s, "", nil)
		answers <- err
	}()
	go func() {
		if resp := post(t, s, "POST", "/v1/traces", "application/x-protobuf", nil, nil, false); resp.StatusCode != 200 {
			answers <- errors.New(resp.Status)
			return
		}
		answers <- nil
	}()
	<-inside
	<-inside
	stop()
	for _, addr := range []net.Addr{s.GRPCAddr(), s.HTTPAddr()} {
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				break
			}
			conn.Close()
			if time.Now().After(end) {
				t.Fatalf("%v still takes connections", addr)
			}
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("Run returned %v with requests inside", err)
	default:
	}
	close(leave)
	for range 2 {
		if err := <-answers; err != nil {
			t.Errorf("a request in flight at the end: %v, want it answered", err)
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close after Run = %v, want nil", err)
	}
}

// TestDrainCutOff stops the server while a request stays inside for good.
func TestDrainCutOff(t *testing.T) {
	inside, leave := make(chan bool), make(chan bool)
	s, err := New(Options{GRPCListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", Sink: func([]byte) (Rejected, error) {
		inside <- true
		<-leave
		return Rejected{}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.drainTimeout = 50 * time.Millisecond
	ctx, stop := context.WithCancel(context.Background())
	ended, answer := make(chan error, 1), make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	go func() {
		_, err := export(t, s, "", nil)
		answer <- err
	}()
	<-inside
	stop()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("Run = %v, want requests cut off", err)
	}
	if got := status.Code(<-answer); got != codes.Unavailable {
		t.Errorf("the request: %v, want Unavailable, to be sent again", got)
	}
	close(leave) // and goleak sees everything end
}

// TestTelemetry counts what a handful of requests leave behind.
func TestTelemetry(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	s := start(t, Options{
		MaxBytes: 1000,
		Meter:    sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("test"),
		Sink: func(body []byte) (Rejected, error) {
			if len(body) == 1 {
				return Rejected{Spans: 1}, nil
			}
			if len(body) == 2 {
				return Rejected{}, Overload{Why: "full"}
			}
			return Rejected{}, nil
		},
	})
	const pb = "application/x-protobuf"
	gz := packed(t, gzipped, make([]byte, 10))
	for range 2 {
		post(t, s, "POST", "/v1/traces", pb, nil, make([]byte, 10), false)
	}
	post(t, s, "POST", "/v1/traces", pb, []string{"gzip"}, gz, false)
	post(t, s, "POST", "/v1/traces", pb, nil, make([]byte, 1), false)
	post(t, s, "POST", "/v1/traces", pb, nil, make([]byte, 2), false)
	post(t, s, "POST", "/v1/traces", pb, []string{"gzip"}, make([]byte, 10), false)
	post(t, s, "POST", "/v1/logs", pb, nil, nil, false)
	post(t, s, "BREW", "/v1/traces", pb, nil, nil, false)
	post(t, s, "POST", "/x", pb, nil, nil, false)
	_, _ = export(t, s, "", make([]byte, 10))
	_, _ = export(t, s, "", make([]byte, 1))
	_, _ = export(t, s, "", make([]byte, 2))
	_, _ = export(t, s, "gzip", gz)
	_, _ = export(t, s, "gzip", make([]byte, 10))
	_, _ = export(t, s, "", make([]byte, 1001))
	_, _ = export(t, s, "", make([]byte, 5000)) // refused by grpc-go
	_, _ = export(t, s, "br", make([]byte, 10))
	_, _ = collectormetrics.NewMetricsServiceClient(dial(t, s)).Export(t.Context(), &collectormetrics.ExportMetricsServiceRequest{})

	want := map[string]int64{
		"requests http ok": 3, "requests http partial": 1, "requests http overloaded": 1, "requests http refused": 4,
		"refused http overloaded": 1, "refused http compression": 1, "refused http signal": 1, "refused http method": 1, "refused http path": 1,
		"received_bytes http": int64(10 + 10 + len(gz) + 1 + 2 + 10),
		"requests grpc ok":    2, "requests grpc partial": 1, "requests grpc overloaded": 1, "requests grpc refused": 4,
		"refused grpc overloaded": 1, "refused grpc compression": 1, "refused grpc too_large": 2, "refused grpc encoding": 1, "refused grpc signal": 1,
		"received_bytes grpc": int64(10 + 1 + 2 + len(gz) + 10 + 1001),
	}
	var got map[string]int64
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && !maps.Equal(got, want); time.Sleep(time.Millisecond) {
		got = make(map[string]int64) // a call is counted just after its answer
		var all metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		for _, m := range all.ScopeMetrics[0].Metrics {
			for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
				name := strings.TrimPrefix(m.Name, "slowburn.otlp.")
				for _, label := range []attribute.Key{"transport", "outcome", "reason"} {
					if v, ok := p.Attributes.Value(label); ok {
						name += " " + v.AsString()
					}
				}
				got[name] = p.Value
			}
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("counted\n%v, want\n%v", got, want)
	}
}
