package otlp

import (
	"context"
	"fmt"
	"testing"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// TestSDK sends spans with the OpenTelemetry SDK's own exporters and counts
// what arrives.
func TestSDK(t *testing.T) {
	for _, tc := range []struct {
		name   string
		client func(*Server) otlptrace.Client
	}{
		{name: "grpc", client: func(s *Server) otlptrace.Client {
			return otlptracegrpc.NewClient(otlptracegrpc.WithInsecure(), otlptracegrpc.WithEndpoint(s.GRPCAddr().String()))
		}},
		{name: "grpc gzip", client: func(s *Server) otlptrace.Client {
			return otlptracegrpc.NewClient(otlptracegrpc.WithInsecure(), otlptracegrpc.WithEndpoint(s.GRPCAddr().String()), otlptracegrpc.WithCompressor("gzip"))
		}},
		{name: "http", client: func(s *Server) otlptrace.Client {
			return otlptracehttp.NewClient(otlptracehttp.WithInsecure(), otlptracehttp.WithEndpoint(s.HTTPAddr().String()))
		}},
		{name: "http gzip", client: func(s *Server) otlptrace.Client {
			return otlptracehttp.NewClient(otlptracehttp.WithInsecure(), otlptracehttp.WithEndpoint(s.HTTPAddr().String()), otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got tally
			s := start(t, Options{Sink: got.sink})
			exporter, err := otlptrace.New(t.Context(), tc.client(s))
			if err != nil {
				t.Fatal(err)
			}
			provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter, sdktrace.WithMaxExportBatchSize(100), sdktrace.WithBlocking()))
			tracer := provider.Tracer("test")
			for i := range 1000 {
				_, sp := tracer.Start(context.Background(), fmt.Sprintf("flow-%d", i%3))
				sp.End()
			}
			if err := provider.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			if want := "10 requests, map[flow-0:334 flow-1:333 flow-2:333]"; got.String() != want {
				t.Errorf("arrived: %v, want %s", &got, want)
			}
		})
	}
}
