package otlp

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
)

// BenchmarkReceive takes requests over either transport, from a client in the
// same process to a sink that does nothing: all but the work on spans.
func BenchmarkReceive(b *testing.B) {
	for _, spans := range []int{10, 500} {
		body := marshal(b, sample(spans))
		s := start(b, Options{Sink: func([]byte) (Rejected, error) { return Rejected{}, nil }})
		report := func(b *testing.B, send func() error) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if err := send(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*spans)/b.Elapsed().Seconds(), "spans/s")
		}
		for _, how := range []compression{identity, gzipped, zstandard} {
			wire := packed(b, how, body)
			b.Run(fmt.Sprintf("http/%s/spans=%d", how, spans), func(b *testing.B) {
				client := http.Client{Transport: &http.Transport{}}
				defer client.CloseIdleConnections()
				report(b, func() error {
					req, err := http.NewRequestWithContext(b.Context(), "POST", "http://"+s.HTTPAddr().String()+"/v1/traces", bytes.NewReader(wire))
					if err != nil {
						return err
					}
					req.Header.Set("Content-Type", "application/x-protobuf")
					req.Header.Set("Content-Encoding", how.String())
					resp, err := client.Do(req)
					if err != nil {
						return err
					}
					defer resp.Body.Close()
					if _, err = io.Copy(io.Discard, resp.Body); resp.StatusCode != 200 {
						return fmt.Errorf("%s", resp.Status)
					}
					return err
				})
			})
			b.Run(fmt.Sprintf("grpc/%s/spans=%d", how, spans), func(b *testing.B) {
				encoding := how.String()
				if how == identity {
					encoding = ""
				}
				conn := dialRaw(b, s, encoding)
				var resp collectortrace.ExportTraceServiceResponse
				report(b, func() error { return conn.Invoke(b.Context(), exportMethod, wire, &resp) })
			})
		}
	}
}

// BenchmarkJSON turns JSON into protobuf, ours and by way of the Collector's
// library.
func BenchmarkJSON(b *testing.B) {
	request := ptraceotlp.NewExportRequest()
	if err := request.UnmarshalProto(marshal(b, sample(500))); err != nil {
		b.Fatal(err)
	}
	body, err := request.MarshalJSON()
	if err != nil {
		b.Fatal(err)
	}
	empty := []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[` + string(bytes.Repeat([]byte(`{},`), 300_000)) + `{}]}]}]}`)
	for name, body := range map[string][]byte{"spans=500": body, "empty": empty} {
		b.Run("ours/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			var dst []byte
			for b.Loop() {
				if dst, err = appendRequest(dst[:0], body); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("pdata/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				r := ptraceotlp.NewExportRequest()
				if err := r.UnmarshalJSON(body); err != nil {
					b.Fatal(err)
				}
				if _, err := r.MarshalProto(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
