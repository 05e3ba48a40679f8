package otlp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

const childEnv = "SLOWBURN_OTLP_TEST_CHILD"

// child is the process whose memory TestHostileMemory watches: a server and a
// sink that counts spans without decoding them, until stdin ends.
func child() {
	s, err := New(Options{GRPCListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", Sink: countSpans})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.GRPCAddr(), s.HTTPAddr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if err := s.Run(context.Background()); err != nil {
		os.Exit(1)
	}
}

// countSpans refuses more than 100,000 spans, as a decoder would.
func countSpans(body []byte) (Rejected, error) {
	spans := 0
	var count func(b []byte, path ...protowire.Number) error
	count = func(b []byte, path ...protowire.Number) error {
		for len(b) > 0 {
			num, typ, n := protowire.ConsumeTag(b)
			if n < 0 {
				return protowire.ParseError(n)
			}
			b = b[n:]
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return protowire.ParseError(n)
			}
			if num == path[0] && typ == protowire.BytesType {
				if len(path) == 1 {
					if spans++; spans > 100_000 {
						return errors.New("more than 100,000 spans")
					}
				} else {
					inner, _ := protowire.ConsumeBytes(b)
					if err := count(inner, path[1:]...); err != nil {
						return err
					}
				}
			}
			b = b[n:]
		}
		return nil
	}
	return Rejected{}, count(body, 1, 2, 2)
}

// process is a child and where it listens.
type process struct {
	pid int
	*Server
}

// spawn runs a child until the test ends.
func spawn(t *testing.T) process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server's process: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	grpcAddr, httpAddr, _ := strings.Cut(strings.TrimSpace(line), " ")
	return process{pid: cmd.Process.Pid, Server: &Server{grpcLis: fixedAddr{addr: grpcAddr}, httpLis: fixedAddr{addr: httpAddr}}}
}

// fixedAddr stands for a listener of another process.
type fixedAddr struct {
	net.Listener
	addr string
}

func (f fixedAddr) Addr() net.Addr { return f }
func (fixedAddr) Network() string  { return "tcp" }
func (f fixedAddr) String() string { return f.addr }

// peak begins a measurement: mib returns how far the resident memory has been
// above where it is now.
func (p process) peak(t *testing.T) (mib func() float64) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	before := p.field(t, "VmRSS:")
	return func() float64 { return float64(p.field(t, "VmHWM:")-before) / 1024 }
}

func (p process) field(t *testing.T, name string) (kib int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), name)
	if kib, err = strconv.Atoi(strings.Fields(rest)[0]); err != nil {
		t.Fatal(err)
	}
	return kib
}

// TestHostileMemory sends bodies that would grow past all bounds, to a server
// in a process of its own, and measures what it costs.
func TestHostileMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads the resident memory from Linux' /proc")
	}
	if raceDetector {
		t.Skip("the race detector's own memory is several times the program's")
	}
	const gib = 1 << 30
	gzipBomb, zstdBomb := bomb(t, gzipped, gib), bomb(t, zstandard, gib)
	spans := emptySpans(9_400_000)
	nestedGzip := packed(t, gzipped, gzipBomb)
	jsonSpans := packed(t, gzipped, []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[`+strings.Repeat(`{},`, 5_500_000)+`{}]}]}]}`))
	jsonAttrs := packed(t, gzipped, []byte(inSpan(`"attributes":[`+strings.Repeat(`{"value":{}},`, 1_200_000)+`{}]`)))
	jsonBomb := packed(t, gzipped, []byte(strings.Repeat(" ", 17<<20)))

	const pb, js = "application/x-protobuf", "application/json"
	for _, tc := range []struct {
		name, media, enc string
		body             []byte
		grpc             codes.Code // OK: HTTP only
		http             int
		times            int
		mib              float64
	}{
		{name: "1 GiB of zeros in gzip", media: pb, enc: "gzip", body: gzipBomb, http: 413, grpc: codes.ResourceExhausted, times: 1, mib: 64},
		{name: "1 GiB of zeros in zstd", media: pb, enc: "zstd", body: zstdBomb, http: 413, grpc: codes.ResourceExhausted, times: 1, mib: 64},
		{name: "1 GiB of zeros in gzip in gzip", media: pb, enc: "gzip", body: nestedGzip, http: 400, grpc: codes.InvalidArgument, times: 1, mib: 64},
		{name: "9.4 million empty spans in gzip", media: pb, enc: "gzip", body: packed(t, gzipped, spans), http: 400, grpc: codes.InvalidArgument, times: 1, mib: 64},
		{name: "9.4 million empty spans in zstd", media: pb, enc: "zstd", body: packed(t, zstandard, spans), http: 400, grpc: codes.InvalidArgument, times: 1, mib: 64},
		{name: "a zstd window of 512 MiB", media: pb, enc: "zstd", body: wideZstd(), http: 400, grpc: codes.InvalidArgument, times: 1, mib: 8},
		{name: "5.5 million empty spans in JSON", media: js, enc: "gzip", body: jsonSpans, http: 400, times: 1, mib: 64},
		{name: "1.2 million attributes in JSON", media: js, enc: "gzip", body: jsonAttrs, http: 200, times: 1, mib: 64},
		{name: "too much JSON", media: js, enc: "gzip", body: jsonBomb, http: 413, times: 1, mib: 64},
		{name: "JSON 1.5 million deep", media: js, enc: "gzip", body: packed(t, gzipped, deepJSON(500_000)), http: 400, times: 1, mib: 64},
		{name: "100 times 1 GiB in gzip", media: pb, enc: "gzip", body: gzipBomb, http: 413, grpc: codes.ResourceExhausted, times: 100, mib: 256},
	} {
		for transport, send := range map[string]func(p process) error{
			"http": func(p process) error {
				resp := post(t, p.Server, "POST", "/v1/traces", tc.media, []string{tc.enc}, tc.body, false)
				if resp.StatusCode != tc.http && (tc.times == 1 || resp.StatusCode != http.StatusServiceUnavailable) {
					return fmt.Errorf("code %d, want %d", resp.StatusCode, tc.http)
				}
				return nil
			},
			"grpc": func(p process) error {
				_, err := export(t, p.Server, tc.enc, tc.body)
				if got := status.Code(err); got != tc.grpc && (tc.times == 1 || got != codes.Unavailable) {
					return fmt.Errorf("%w, want %v", err, tc.grpc)
				}
				return nil
			},
		} {
			if transport == "grpc" && tc.grpc == codes.OK || tc.times > 1 && testing.Short() {
				continue
			}
			t.Run(tc.name+" over "+transport, func(t *testing.T) {
				p := spawn(t)
				// A good request first: what it takes is no growth.
				post(t, p.Server, "POST", "/v1/traces", pb, nil, nil, false)
				if _, err := export(t, p.Server, "", nil); err != nil {
					t.Fatal(err)
				}
				grown, began := p.peak(t), time.Now()
				var wg sync.WaitGroup
				for range tc.times {
					wg.Go(func() {
						if err := send(p); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				t.Logf("%d bytes: resident memory grew by %.1f MiB, %v", len(tc.body), grown(), time.Since(began).Round(time.Millisecond))
				if got := grown(); got > tc.mib {
					t.Errorf("resident memory grew by %.1f MiB, want at most %.0f", got, tc.mib)
				}
				if resp := post(t, p.Server, "POST", "/v1/traces", pb, nil, nil, false); resp.StatusCode != 200 {
					t.Errorf("a good request afterwards: %s", resp.Status)
				}
			})
		}
	}
}

// TestHostileZstd sends small messages that unzip to all a client may get, over
// many calls at once.
func TestHostileZstd(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads the resident memory from Linux' /proc")
	}
	if raceDetector {
		t.Skip("the race detector's own memory is several times the program's")
	}
	body := bomb(t, zstandard, zstdUnsealed-100)
	p := spawn(t)
	var all sync.WaitGroup
	for range 10 {
		conn := dialRaw(t, p.Server, "zstd")
		for range 100 {
			all.Go(func() {
				err := conn.Invoke(t.Context(), exportMethod, body, new(collectortrace.ExportTraceServiceResponse))
				if code := status.Code(err); code != codes.InvalidArgument && code != codes.Unavailable {
					t.Errorf("zeros: %v, want InvalidArgument or Unavailable", err)
				}
			})
		}
	}
	all.Wait()
	peak := p.field(t, "VmHWM:") >> 10
	t.Logf("1,000 times %d bytes: resident memory reached %d MiB", len(body), peak)
	if peak > 512 {
		t.Errorf("resident memory reached %d MiB, want at most 512", peak)
	}
}
