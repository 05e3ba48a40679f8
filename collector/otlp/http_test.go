package otlp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// TestHTTP is OTLP/HTTP's conformance table: what a sender gets for what it
// sends, code, content type and body.
func TestHTTP(t *testing.T) {
	const limit = 100_000
	const pb, js = "application/x-protobuf", "application/json"
	one := marshal(t, sample(1))
	oneJSON := []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5B8EFFF798038103d269b633813fc60c","name":"x","kind":2}]}]}]}`)
	large := bytes.Repeat([]byte{0x0a, 0x00}, limit/2+1) // 100,002 bytes of empty ResourceSpans

	accept := func([]byte) (Rejected, error) { return Rejected{}, nil }
	sinks := map[string]Sink{
		"":        (&tally{}).sink,
		"partial": func([]byte) (Rejected, error) { return Rejected{Spans: 3, Why: "3 spans too old"}, nil },
		"warning": func([]byte) (Rejected, error) { return Rejected{Why: "no service.name"}, nil },
		"overloaded": func([]byte) (Rejected, error) {
			return Rejected{}, Overload{RetryAfter: 2500 * time.Millisecond, Why: "disk"}
		},
		"hurried":   func([]byte) (Rejected, error) { return Rejected{}, fmt.Errorf("sink: %w", Overload{Why: "disk"}) },
		"too large": func([]byte) (Rejected, error) { return Rejected{}, TooLarge{Why: "100,001 spans"} },
		"refuses":   func([]byte) (Rejected, error) { return Rejected{}, errors.New("spans: bad \xff field") },
		"panics":    func([]byte) (Rejected, error) { panic("boom") },
		"accepts":   accept,
	}
	for _, tc := range []struct {
		name   string
		method string // default POST
		path   string // default /v1/traces
		media  string // Content-Type; default pb
		enc    []string
		body   []byte
		sink   string

		code     int
		wantType string // default: media
		message  string // of the Status, or of the partial success
		rejected int64
		status   codes.Code
		retry    string
	}{
		{name: "protobuf", body: one, code: 200},
		{name: "protobuf with parameters", media: pb + "; charset=utf-8", body: one, code: 200, wantType: pb},
		{name: "upper case type", media: "Application/X-Protobuf", body: one, code: 200, wantType: pb},
		{name: "json", media: js, body: oneJSON, code: 200},
		{name: "json with parameters", media: js + ";charset=UTF-8", body: oneJSON, code: 200, wantType: js},
		{name: "empty protobuf", code: 200},
		{name: "empty json", media: js, body: []byte(` {} `), code: 200},
		{name: "gzip", enc: []string{"gzip"}, body: packed(t, gzipped, one), code: 200},
		{name: "zstd", enc: []string{"zstd"}, body: packed(t, zstandard, one), code: 200},
		{name: "identity", enc: []string{"identity"}, body: one, code: 200},
		{name: "upper case encoding", enc: []string{"GZIP"}, body: packed(t, gzipped, one), code: 200},
		{name: "gzip json", media: js, enc: []string{"gzip"}, body: packed(t, gzipped, oneJSON), code: 200},
		{name: "zstd json", media: js, enc: []string{"zstd"}, body: packed(t, zstandard, oneJSON), code: 200},
		{name: "two gzip members", enc: []string{"gzip"}, body: append(packed(t, gzipped, one), packed(t, gzipped, one)...), code: 200},
		{name: "exactly the limit", body: large[:limit], sink: "accepts", code: 200},
		{name: "exactly the limit in gzip", enc: []string{"gzip"}, body: packed(t, gzipped, large[:limit]), sink: "accepts", code: 200},

		{name: "partial success", sink: "partial", code: 200, rejected: 3, message: "3 spans too old"},
		{name: "partial success json", media: js, body: []byte(`{}`), sink: "partial", code: 200, rejected: 3, message: "3 spans too old"},
		{name: "warning", sink: "warning", code: 200, message: "no service.name"},

		{name: "no type", media: "-", body: one, code: 415, wantType: js, status: codes.InvalidArgument, message: "Content-Type"},
		{name: "other type", media: "text/plain", body: oneJSON, code: 415, wantType: js, status: codes.InvalidArgument, message: "Content-Type"},
		{name: "broken type", media: "application/json;;=", body: oneJSON, code: 415, wantType: js, status: codes.InvalidArgument, message: "Content-Type"},
		{name: "other encoding", enc: []string{"br"}, body: one, code: 415, status: codes.InvalidArgument, message: "encoding"},
		{name: "stacked encodings", enc: []string{"gzip, gzip"}, body: one, code: 415, status: codes.InvalidArgument, message: "encoding"},
		{name: "stacked encoding headers", media: js, enc: []string{"gzip", "zstd"}, body: one, code: 415, status: codes.InvalidArgument, message: "encodings"},

		{name: "malformed protobuf", body: []byte{0x0a, 0x7f}, code: 400, status: codes.InvalidArgument, message: "proto"},
		{name: "malformed json", media: js, body: []byte(`{"resourceSpans":[`), code: 400, status: codes.InvalidArgument, message: "JSON"},
		{name: "no json", media: js, code: 400, status: codes.InvalidArgument, message: "JSON"},
		{name: "garbage after json", media: js, body: []byte(`{}{}`), code: 400, status: codes.InvalidArgument, message: "JSON"},
		{name: "invalid utf-8", media: js, body: []byte("{\"x\":\"\xff\"}"), code: 400, status: codes.InvalidArgument, message: "UTF-8"},
		{name: "100,000 deep json", media: js, body: deepJSON(20_000)[:limit], code: 400, status: codes.InvalidArgument, message: "deep"},
		{name: "corrupt gzip", enc: []string{"gzip"}, body: []byte("not gzip at all"), code: 400, status: codes.InvalidArgument, message: "gzip"},
		{name: "cut gzip", enc: []string{"gzip"}, body: packed(t, gzipped, one)[:80], code: 400, status: codes.InvalidArgument, message: "gzip"},
		{name: "no gzip", enc: []string{"gzip"}, code: 400, status: codes.InvalidArgument, message: "gzip"},
		{name: "garbage after gzip", enc: []string{"gzip"}, body: append(packed(t, gzipped, one), "more"...), code: 400, status: codes.InvalidArgument, message: "gzip"},
		{name: "corrupt zstd", enc: []string{"zstd"}, body: []byte("not zstd at all"), code: 400, status: codes.InvalidArgument, message: "zstd"},
		{name: "corrupt gzip json", media: js, enc: []string{"gzip"}, body: []byte("not gzip at all"), code: 400, status: codes.InvalidArgument, message: "gzip"},
		{name: "512 MiB zstd window", enc: []string{"zstd"}, body: wideZstd(), code: 400, status: codes.InvalidArgument, message: "zstd"},
		{name: "sink refuses", sink: "refuses", code: 400, status: codes.InvalidArgument, message: "spans: bad � field"},

		{name: "over the limit", body: large, sink: "accepts", code: 413, status: codes.ResourceExhausted, message: "100000 bytes"},
		{name: "over the limit in gzip", enc: []string{"gzip"}, body: packed(t, gzipped, large), sink: "accepts", code: 413, status: codes.ResourceExhausted, message: "limit"},
		{name: "over the limit in zstd", enc: []string{"zstd"}, body: packed(t, zstandard, large), sink: "accepts", code: 413, status: codes.ResourceExhausted, message: "limit"},
		{name: "over the limit in json", media: js, body: append(bytes.Repeat([]byte(" "), limit), "{}"...), sink: "accepts", code: 413, status: codes.ResourceExhausted, message: "limit"},
		{name: "sink finds it too large", sink: "too large", code: 413, status: codes.ResourceExhausted, message: "100,001 spans"},

		{name: "overload", sink: "overloaded", code: 503, status: codes.Unavailable, message: "disk", retry: "3"},
		{name: "overload json", media: js, body: []byte(`{}`), sink: "hurried", code: 503, status: codes.Unavailable, message: "disk", retry: "1"},

		{name: "panic", sink: "panics", code: 500, status: codes.Internal, message: "internal error"},

		{name: "get", method: "GET", code: 405, status: codes.Unimplemented, message: "want POST"},
		{name: "put json", method: "PUT", media: js, body: []byte(`{}`), code: 405, status: codes.Unimplemented, message: "want POST"},
		{name: "unknown method", method: "BREW", code: 405, status: codes.Unimplemented, message: "want POST"},
		{name: "metrics", path: "/v1/metrics", body: one, code: 404, status: codes.Unimplemented, message: "unimplemented"},
		{name: "metrics json", path: "/v1/metrics", media: js, body: []byte(`{}`), code: 404, status: codes.Unimplemented, message: "unimplemented"},
		{name: "logs", path: "/v1/logs", body: one, code: 404, status: codes.Unimplemented, message: "unimplemented"},
		{name: "profiles", path: "/v1development/profiles", body: one, code: 404, status: codes.Unimplemented, message: "unimplemented"},
		{name: "unknown path", path: "/", body: one, code: 404, status: codes.NotFound, message: "/v1/traces"},
		{name: "path with more", path: "/v1/traces/", body: one, code: 404, status: codes.NotFound, message: "/v1/traces"},
		{name: "path to be cleaned", path: "//v1/traces", body: one, code: 404, status: codes.NotFound, message: "/v1/traces"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := start(t, Options{Sink: sinks[tc.sink], MaxBytes: limit})
			if tc.method == "" {
				tc.method = "POST"
			}
			if tc.path == "" {
				tc.path = "/v1/traces"
			}
			if tc.media == "" {
				tc.media = pb
			}
			if tc.wantType == "" {
				tc.wantType = tc.media
			}
			for _, chunked := range []bool{false, true} {
				resp := post(t, s, tc.method, tc.path, tc.media, tc.enc, tc.body, chunked)
				if resp.StatusCode != tc.code {
					t.Errorf("chunked=%t: code = %d, want %d; %q", chunked, resp.StatusCode, tc.code, resp.body)
				}
				if got := resp.Header.Get("Content-Type"); got != tc.wantType {
					t.Fatalf("chunked=%t: Content-Type = %q, want %q", chunked, got, tc.wantType)
				}
				if got := resp.Header.Get("Retry-After"); got != tc.retry {
					t.Errorf("chunked=%t: Retry-After = %q, want %q", chunked, got, tc.retry)
				}
				if tc.code == 405 && resp.Header.Get("Allow") != "POST" {
					t.Errorf("chunked=%t: Allow = %q, want POST", chunked, resp.Header.Get("Allow"))
				}
				if tc.code != 200 {
					var st spb.Status
					resp.decode(t, &st)
					if codes.Code(st.Code) != tc.status || !strings.Contains(st.Message, tc.message) {
						t.Errorf("chunked=%t: status = %v %q, want %v with %q", chunked, codes.Code(st.Code), st.Message, tc.status, tc.message)
					}
					wantDetails := map[int]string{400: "type.googleapis.com/google.rpc.BadRequest", 503: "type.googleapis.com/google.rpc.RetryInfo"}[tc.code]
					if got := details(&st); got != wantDetails {
						t.Errorf("chunked=%t: details = %q, want %q", chunked, got, wantDetails)
					}
					continue
				}
				var got, want collectortrace.ExportTraceServiceResponse
				resp.decode(t, &got)
				if tc.rejected != 0 || tc.message != "" {
					want.PartialSuccess = &collectortrace.ExportTracePartialSuccess{RejectedSpans: tc.rejected, ErrorMessage: tc.message}
				}
				if !proto.Equal(&got, &want) {
					t.Errorf("chunked=%t: response = %v, want %v", chunked, &got, &want)
				}
			}
			if got := s.mem.left.Load(); got != 2*defaultMaxBytes {
				t.Errorf("memory left after the requests = %d, want all %d", got, 2*defaultMaxBytes)
			}
		})
	}
}

func details(st *spb.Status) string {
	var urls []string
	for _, d := range st.Details {
		urls = append(urls, d.TypeUrl)
	}
	return strings.Join(urls, " ")
}

// wideZstd is a zstd frame that asks for a window of 512 MiB.
func wideZstd() []byte {
	b, err := hex.DecodeString("28b52ffd" + "00" + "98" + "010000") // magic, descriptor, window 2^(10+19), an empty last block
	if err != nil {
		panic(err)
	}
	return b
}

type answer struct {
	*http.Response
	body []byte
}

func (r answer) decode(t *testing.T, m proto.Message) {
	t.Helper()
	var err error
	if r.Header.Get("Content-Type") == string(mediaJSON) {
		err = protojson.Unmarshal(r.body, m)
	} else {
		err = proto.Unmarshal(r.body, m)
	}
	if err != nil {
		t.Fatalf("body %q: %v", r.body, err)
	}
}

// post sends a request on a connection of its own. media "-" sends none.
func post(t *testing.T, s *Server, method, path, media string, enc []string, body []byte, chunked bool) answer {
	t.Helper()
	var from io.Reader = bytes.NewReader(body)
	if chunked {
		from = io.MultiReader(from) // of a length net/http does not know
	}
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+s.HTTPAddr().String()+path, from)
	if err != nil {
		t.Fatal(err)
	}
	if media != "-" {
		req.Header.Set("Content-Type", media)
	}
	req.Header["Content-Encoding"] = enc
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp, b}
}

func TestHTTPOverBudget(t *testing.T) {
	inside, leave := make(chan bool), make(chan bool)
	s := start(t, Options{MaxBytes: 1 << 20, MaxInFlight: 2 << 20, Sink: func([]byte) (Rejected, error) {
		inside <- true
		<-leave
		return Rejected{}, nil
	}})
	body := make([]byte, 900<<10) // a buffer of 1 MiB each, of which two fit
	codes := make(chan int, 2)
	for range 2 {
		go func() {
			codes <- post(t, s, "POST", "/v1/traces", "application/x-protobuf", nil, body, false).StatusCode
		}()
		<-inside
	}

	resp := post(t, s, "POST", "/v1/traces", "application/x-protobuf", nil, body, false)
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("code with the budget spent = %d, want 503", resp.StatusCode)
	}
	if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || after < 1 || after > 30 {
		t.Errorf("Retry-After = %q, want 1 to 30 s", resp.Header.Get("Retry-After"))
	}
	close(leave)
	for range 2 {
		if got := <-codes; got != http.StatusOK {
			t.Errorf("code within the budget = %d, want 200", got)
		}
	}
	go func() { <-inside }()
	if got := post(t, s, "POST", "/v1/traces", "application/x-protobuf", nil, body, false).StatusCode; got != http.StatusOK {
		t.Errorf("code with the budget free again = %d, want 200", got)
	}
}

// TestHTTPRefusedBeforeTheBody sends all of a body that nobody wants to senders
// who read the answer only afterwards: they must find it, not a broken
// connection.
func TestHTTPRefusedBeforeTheBody(t *testing.T) {
	s := start(t, Options{Sink: (&tally{}).sink, MaxBytes: 1000})
	const size = 16 << 20
	for _, tc := range []struct {
		name, header string
		code         int
	}{
		{name: "too large", header: "POST /v1/traces HTTP/1.1\r\nContent-Type: application/x-protobuf", code: 413},
		{name: "other type", header: "POST /v1/traces HTTP/1.1\r\nContent-Type: text/plain", code: 415},
		{name: "other path", header: "POST /v1/metrics HTTP/1.1\r\nContent-Type: application/x-protobuf", code: 404},
		{name: "asked first", header: "POST /v1/traces HTTP/1.1\r\nExpect: 100-continue\r\nContent-Type: application/x-protobuf", code: 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", s.HTTPAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := fmt.Fprintf(conn, "%s\r\nHost: x\r\nContent-Length: %d\r\n\r\n", tc.header, size); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(tc.header, "Expect") {
				if _, err := conn.Write(make([]byte, size)); err != nil {
					t.Fatalf("sending: %v", err)
				}
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("the answer: %v", err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tc.code {
				t.Errorf("code = %d, want %d", resp.StatusCode, tc.code)
			}
		})
	}
}

// TestHTTPSlowSenders holds half a header and half a body open.
func TestHTTPSlowSenders(t *testing.T) {
	s := start(t, Options{Sink: (&tally{}).sink}, func(s *Server) {
		if s.http.ReadHeaderTimeout != 5*time.Second || s.http.ReadTimeout != 30*time.Second || s.http.WriteTimeout != 60*time.Second || s.http.IdleTimeout != 60*time.Second {
			t.Errorf("timeouts = %v %v %v %v, want 5s 30s 1m 1m", s.http.ReadHeaderTimeout, s.http.ReadTimeout, s.http.WriteTimeout, s.http.IdleTimeout)
		}
		s.http.ReadHeaderTimeout = 100 * time.Millisecond
		s.http.ReadTimeout = 200 * time.Millisecond
		s.http.IdleTimeout = 100 * time.Millisecond
	})
	whole := "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 10\r\n\r\n"
	for _, tc := range []struct {
		name, send, want string
	}{
		{name: "nothing", want: ""},
		{name: "half a header", send: whole[:40], want: "HTTP/1.1 400"},
		{name: "half a body", send: whole + "\x0a\x08\x0a", want: "HTTP/1.1 400"},
		{name: "idle", send: strings.Replace(whole, "10", "0", 1), want: "HTTP/1.1 200"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", s.HTTPAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, tc.send); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if err != nil {
				t.Errorf("the connection is still open: %v", err)
			}
			if !strings.HasPrefix(string(got), tc.want) || tc.want == "" && len(got) > 0 {
				t.Errorf("answer = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestConnectionLimits(t *testing.T) {
	s := start(t, Options{Sink: (&tally{}).sink, MaxConns: 3, MaxConnsPerIP: 2})
	open := func(addr string) net.Conn {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	closed := func(conn net.Conn) bool {
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, err := io.Copy(io.Discard, conn)
		var timeout net.Error
		return !errors.As(err, &timeout) || !timeout.Timeout()
	}
	first, second := open(s.HTTPAddr().String()), open(s.HTTPAddr().String())
	if closed(first) || closed(second) {
		t.Error("a connection within the limit was closed")
	}
	if !closed(open(s.HTTPAddr().String())) || !closed(open(s.GRPCAddr().String())) {
		t.Error("a third connection from one address stays open; want it closed")
	}
	first.Close()
	for end := time.Now().Add(5 * time.Second); closed(open(s.HTTPAddr().String())); {
		if time.Now().After(end) {
			t.Fatal("no connection is taken after another has left")
		}
	}
}
