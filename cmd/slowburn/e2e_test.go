//go:build e2e

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/storage"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlpresource "go.opentelemetry.io/proto/otlp/resource/v1"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/slowburn-slo/slowburn/alerts/slack"
	"github.com/slowburn-slo/slowburn/collector"
	"github.com/slowburn-slo/slowburn/collector/aggr"
	"github.com/slowburn-slo/slowburn/collector/store"
	"github.com/slowburn-slo/slowburn/internal/fakeslack"
)

// checkouts returns n finished checkouts as an OTLP request.
func checkouts(t *testing.T, n int, failed bool) []byte {
	t.Helper()
	str := func(k, v string) *common.KeyValue {
		return &common.KeyValue{Key: k, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: v}}}
	}
	now := uint64(time.Now().UnixNano())
	spans := make([]*otlptrace.Span, n)
	for i := range spans {
		spans[i] = &otlptrace.Span{
			TraceId: make([]byte, 16), SpanId: make([]byte, 8), Name: "POST /api/checkout", Kind: otlptrace.Span_SPAN_KIND_SERVER,
			StartTimeUnixNano: now - 1e7, EndTimeUnixNano: now,
			Attributes: []*common.KeyValue{str("http.request.method", "POST"), str("http.route", "/api/checkout")},
			Status:     &otlptrace.Status{},
		}
		if failed {
			spans[i].Status.Code = otlptrace.Status_STATUS_CODE_ERROR
		}
	}
	body, err := proto.Marshal(&coltrace.ExportTraceServiceRequest{ResourceSpans: []*otlptrace.ResourceSpans{{
		Resource:   &otlpresource.Resource{Attributes: []*common.KeyValue{str("service.name", "shop")}},
		ScopeSpans: []*otlptrace.ScopeSpans{{Spans: spans}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// history fills dir with eight hours of clean, steady traffic that ends now: on a
// younger history the 6x tier over six hours would page first.
func history(t *testing.T, dir string, rate int) {
	t.Helper()
	slos := filepath.Join(dir, "slos.yaml")
	loaded, err := loadConfig(slos)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	h := collector.History{
		Flows: loaded.Flows, Dir: filepath.Join(dir, "data", "ledger"), From: now.Add(-8 * time.Hour), To: now,
		Step: func(time.Time) time.Duration { return 10 * time.Second },
		Events: func(from, to time.Time) []aggr.Event {
			return []aggr.Event{{Weight: uint32(float64(rate) * to.Sub(from).Seconds()), Latency: 1e7}}
		},
	}
	if err := store.Backfill(filepath.Join(dir, "data", "tsdb"), nil, func(app storage.Appender) error { return h.Write(app) }); err != nil {
		t.Fatal(err)
	}
}

// TestE2ETotalOutagePagesWithinAMinute runs the usual alerts in real time:
// steady traffic on clean history, then every request fails.
func TestE2ETotalOutagePagesWithinAMinute(t *testing.T) {
	const rate = 50
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "slos.yaml"), []byte("service: shop\nflows:\n  checkout:\n    match: POST /api/checkout\n    slos: [99.9% succeed]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	history(t, dir, rate)
	inbox := fakeslack.New(fakeslack.Options{})
	srv := httptest.NewServer(inbox)
	defer srv.Close()
	logs := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := newServer(t.Context(), config{
		slos: []string{filepath.Join(dir, "slos.yaml")}, dataDir: filepath.Join(dir, "data"),
		listen: "127.0.0.1:0", otlpGRPC: "127.0.0.1:0", otlpHTTP: "127.0.0.1:0",
		slackURL: slack.NewSecret(srv.URL + "/services/T0/B0/x"), retention: store.DefaultRetention, flush: collector.DefaultFlush,
		maxBytes: 64 << 20, maxSpans: 100_000, maxSeries: 10_000,
	}, logs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	endpoint := "http://" + s.otlp.HTTPAddr().String() + "/v1/traces"
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	begin := time.Now()
	var broken time.Time
	for len(inbox.Messages()) == 0 {
		<-tick.C
		failed := time.Since(begin) > 10*time.Second
		if failed && broken.IsZero() {
			broken = time.Now()
		}
		post(t, endpoint, checkouts(t, rate/10, failed))
		if !broken.IsZero() && time.Since(broken) > 90*time.Second {
			t.Fatal("no page 90 s into a total outage")
		}
	}
	took := time.Since(broken)
	t.Logf("the page was at Slack %.1f s after the first error", took.Seconds())
	if took > time.Minute {
		t.Errorf("the page took %.1f s, want 60 at most", took.Seconds())
	}
	// Any sooner and it would not be the alert that the text says it is.
	if took < 45*time.Second {
		t.Errorf("the page took %.1f s; 14.4x over 1 h cannot burn before 51.8 s less a flush", took.Seconds())
	}
}

func post(t *testing.T, endpoint string, body []byte) {
	t.Helper()
	resp, err := http.Post(endpoint, "application/x-protobuf", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
		t.Fatalf("%s: %s", resp.Status, b)
	}
}

// ack is a request the server has answered with success.
type ack struct {
	at time.Time
	n  int
}

// TestE2EKilledTwentyTimes kills the process with signal 9 at random moments
// while requests come in and an alert burns. Per kill: what was accepted before the last flush is
// there, nothing is counted twice, and the budget has not improved. Slack is away for
// the first kills; the alert that still fires is delivered once it is back.
func TestE2EKilledTwentyTimes(t *testing.T) {
	const kills = 20
	dir := t.TempDir()
	bin := filepath.Join(dir, "slowburn")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	slos := filepath.Join(dir, "slos.yaml")
	if err := os.WriteFile(slos, []byte(hasty), 0o600); err != nil {
		t.Fatal(err)
	}
	inbox := fakeslack.New(fakeslack.Options{})
	away := true
	var mu sync.Mutex
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		down := away
		mu.Unlock()
		if down {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		inbox.ServeHTTP(w, r)
	}))
	defer srv.Close()

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	listen, grpc, otlp := freePort(t), freePort(t), freePort(t)
	base, endpoint := "http://"+listen, "http://"+otlp+"/v1/traces"
	const id = "shop-checkout-availability"
	flush := 2 * time.Second

	var log bytes.Buffer
	run := func() *exec.Cmd {
		cmd := exec.Command(bin, "serve", "--slos", slos, "--data-dir", filepath.Join(dir, "data"),
			"--listen", listen, "--otlp-grpc-listen", grpc, "--otlp-http-listen", otlp, "--flush-interval", flush.String())
		cmd.Env = append(os.Environ(), "SLACK_WEBHOOK_URL="+srv.URL+"/services/T0/B0/x")
		cmd.Stdout, cmd.Stderr = &log, &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, func() error {
			resp, err := http.Get(base + "/healthz")
			if err == nil {
				resp.Body.Close()
			}
			return err
		})
		return cmd
	}
	counted := func() (events, errs, budget float64) {
		return instant(t, base, "slo_events_total", "sloth_id")[id], instant(t, base, "slo_errors_total", "sloth_id")[id],
			instant(t, base, "slo:period_error_budget_remaining:ratio", "sloth_id")[id]
	}

	cmd := run()
	for range 20 {
		post(t, endpoint, checkouts(t, 500, false))
	}
	eventually(t, 10*time.Second, func() error {
		if e, _, _ := counted(); e != 10_000 {
			return fmt.Errorf("%g events, want 10000", e)
		}
		return nil
	})

	for kill := range kills {
		if kill == kills-3 {
			mu.Lock()
			away = false
			mu.Unlock()
		}
		before, _, _ := counted()
		var acks []ack
		sent := 0
		stop, sending := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(sending)
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				n := 1 + rng.IntN(20)
				body := checkouts(t, n, true)
				sent += n
				resp, err := http.Post(endpoint, "application/x-protobuf", bytes.NewReader(body))
				if err != nil {
					continue // killed meanwhile: not acknowledged
				}
				if resp.StatusCode == 200 {
					acks = append(acks, ack{time.Now(), n})
				}
				resp.Body.Close()
			}
		}()
		time.Sleep(time.Duration(500+rand.IntN(4500)) * time.Millisecond)
		_, _, budget := counted()
		killed := time.Now()
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		close(stop)
		<-sending

		cmd = run()
		var after, left float64
		eventually(t, 10*time.Second, func() error {
			after, _, left = counted()
			if left == 0 {
				return fmt.Errorf("no budget yet")
			}
			return nil
		})
		acked, recent := 0, 0
		for _, a := range acks {
			acked += a.n
			// A flush comes every interval, and takes a moment.
			if a.at.After(killed.Add(-flush - 250*time.Millisecond)) {
				recent += a.n
			}
		}
		lost := float64(acked) - (after - before)
		t.Logf("kill %2d after %5.0f ms: %5d acknowledged, %4.0f lost (at most %4d), budget %.4f -> %.4f",
			kill+1, killed.Sub(acksBegin(acks, killed)).Seconds()*1000, acked, lost, recent, budget, left)
		if lost > float64(recent) {
			t.Errorf("kill %d: %g of %d acknowledged requests were lost, want at most the last flush's %d", kill+1, lost, acked, recent)
		}
		if after-before > float64(sent) {
			t.Errorf("kill %d: %g requests counted, only %d were sent", kill+1, after-before, sent)
		}
		if left > budget+1e-12 {
			t.Errorf("kill %d: budget improved from %g to %g", kill+1, budget, left)
		}
	}

	eventually(t, 2*time.Minute, func() error {
		post(t, endpoint, checkouts(t, 20, true))
		for _, m := range inbox.Messages() {
			if strings.Contains(m.Text, "heckout") {
				return nil
			}
		}
		return fmt.Errorf("the alert that still fires was not delivered")
	})
	eventually(t, 3*time.Minute, func() error {
		post(t, endpoint, checkouts(t, 20, false))
		for _, m := range inbox.Messages() {
			if strings.Contains(m.Text, "recovered") {
				return nil
			}
		}
		return fmt.Errorf("no message says that the checkout recovered")
	})
	firing := 0
	for _, m := range inbox.Messages() {
		if !strings.Contains(m.Text, "recovered") {
			firing++
		}
	}
	t.Logf("messages: %d firing, %d in all", firing, len(inbox.Messages()))

	// A clean stop at the end: exit code 0, within ten seconds.
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("SIGTERM: %v\n%s", err, tail(log.String()))
		}
	case <-time.After(15 * time.Second):
		_ = cmd.Process.Kill()
		t.Errorf("still running 15 s after SIGTERM\n%s", tail(log.String()))
	}
	if strings.Contains(log.String(), "panic") {
		t.Errorf("the log shows a panic:\n%s", tail(log.String()))
	}
}

func acksBegin(acks []ack, or time.Time) time.Time {
	if len(acks) == 0 {
		return or
	}
	return acks[0].at
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestE2EHostileInput sends what attackers and broken senders do to the real
// binary: each is refused, costs at most 64 MiB of resident memory, and disturbs
// nothing else.
func TestE2EHostileInput(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "slowburn")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	slos := filepath.Join(dir, "slos.yaml")
	if err := os.WriteFile(slos, []byte(shopYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	listen, grpc, otlp := freePort(t), freePort(t), freePort(t)
	var log bytes.Buffer
	cmd := exec.Command(bin, "serve", "--slos", slos, "--data-dir", filepath.Join(dir, "data"),
		"--listen", listen, "--otlp-grpc-listen", grpc, "--otlp-http-listen", otlp)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	base, endpoint := "http://"+listen, "http://"+otlp+"/v1/traces"
	eventually(t, 30*time.Second, func() error {
		resp, err := http.Get(base + "/healthz")
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
	post(t, endpoint, checkouts(t, 1000, false))

	memory := func(what string) int { // MiB
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, what+":"); ok {
				var kib int
				fmt.Sscan(rest, &kib)
				return kib >> 10
			}
		}
		t.Fatalf("no %s of the process", what)
		return 0
	}
	// nested wraps an AnyValue in arrays, depth deep, as the attribute of a SERVER span.
	nested := func(depth int) []byte {
		field := func(tag byte, b []byte) []byte {
			return append(binary.AppendUvarint([]byte{tag}, uint64(len(b))), b...)
		}
		size := 0 // of the value, built inside out from its lengths alone
		var heads [][]byte
		for range depth {
			inner := binary.AppendUvarint([]byte{0x0a}, uint64(size))            // ArrayValue.values
			outer := binary.AppendUvarint([]byte{0x2a}, uint64(size+len(inner))) // AnyValue.array_value
			heads = append(heads, append(outer, inner...))
			size += len(inner) + len(outer)
		}
		value := make([]byte, 0, size)
		for i := len(heads) - 1; i >= 0; i-- {
			value = append(value, heads[i]...)
		}
		attribute := append(field(0x0a, []byte("k")), field(0x12, value)...)
		return field(0x0a, field(0x12, field(0x12, append([]byte{0x30, 2}, field(0x4a, attribute)...))))
	}
	zip := func(write func(io.Writer)) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		write(w)
		w.Close()
		return b.Bytes()
	}
	empty := func(spans int) []byte { // spans without a field: 2 bytes each
		all := bytes.Repeat([]byte{0x12, 0x00}, spans)
		scope := append(binary.AppendUvarint([]byte{0x12}, uint64(len(all))), all...)
		return append(binary.AppendUvarint([]byte{0x0a}, uint64(len(scope))), scope...)
	}
	for _, tc := range []struct {
		name, kind, encoding string
		body                 []byte
		want                 int
	}{
		{name: "not protobuf", kind: "application/x-protobuf", body: []byte("hello"), want: 400},
		{name: "not JSON", kind: "application/json", body: []byte(`{"resourceSpans":[}`), want: 400},
		{name: "not gzip", kind: "application/x-protobuf", encoding: "gzip", body: []byte("hello"), want: 400},
		{name: "63 deep", kind: "application/x-protobuf", body: nested(63), want: 200},
		{name: "65 deep", kind: "application/x-protobuf", body: nested(65), want: 400},
		{name: "a million deep", kind: "application/x-protobuf", body: nested(1_000_000), want: 400},
		{name: "JSON a million deep", kind: "application/json", body: bytes.Repeat([]byte(`{"resourceSpans":[`), 1_000_000/18), want: 400},
		{name: "100,000 spans", kind: "application/x-protobuf", body: empty(100_000), want: 200},
		{name: "100,001 spans", kind: "application/x-protobuf", body: empty(100_001), want: 400},
		{
			name: "9 million empty spans in gzip", kind: "application/x-protobuf", encoding: "gzip",
			body: zip(func(w io.Writer) { _, _ = w.Write(empty(9_000_000)) }), want: 400,
		},
		{name: "gzip bomb of 4 GiB", kind: "application/x-protobuf", encoding: "gzip", body: zip(func(w io.Writer) {
			zeros := make([]byte, 1<<20)
			for range 4 << 10 {
				_, _ = w.Write(zeros)
			}
		}), want: 413},
	} {
		// From here on VmHWM is the peak of this request.
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", cmd.Process.Pid), []byte("5"), 0); err != nil {
			t.Fatal(err)
		}
		before := memory("VmRSS")
		req, err := http.NewRequest(http.MethodPost, endpoint, bytes.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", tc.kind)
		if tc.encoding != "" {
			req.Header.Set("Content-Encoding", tc.encoding)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		answer, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		more := memory("VmHWM") - before
		t.Logf("%-30s %9d bytes: %s, +%d MiB: %.90q", tc.name, len(tc.body), resp.Status, more, answer)
		if resp.StatusCode != tc.want {
			t.Errorf("%s: %s, want %d", tc.name, resp.Status, tc.want)
		}
		if more > 64 {
			t.Errorf("%s: %d MiB more resident memory, want 64 at most", tc.name, more)
		}
	}
	post(t, endpoint, checkouts(t, 500, false))
	eventually(t, 10*time.Second, func() error {
		if got := instant(t, base, "slo_events_total", "sloth_id")["shop-checkout-availability"]; got != 1500 {
			return fmt.Errorf("%g checkouts counted, want the 1500 good ones", got)
		}
		return nil
	})
	resp, err := http.Get(base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	refused := 0
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "slowburn_otlp_refused_total") {
			t.Logf("%s", strings.TrimSpace(line))
			refused++
		}
	}
	if refused < 3 {
		t.Errorf("%d reasons are counted on /metrics, want the refusals by reason", refused)
	}
	if strings.Contains(log.String(), "panic") {
		t.Errorf("the log shows a panic:\n%s", tail(log.String()))
	}
}

// TestE2EDemo runs the demo as a newcomer does: it tells the whole story, ends
// by itself and leaves nothing behind.
func TestE2EDemo(t *testing.T) {
	tmp := t.TempDir()
	bin := filepath.Join(tmp, "slowburn")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	left := filepath.Join(tmp, "left")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "demo", "--for", "3m")
	cmd.Env = append(os.Environ(), "TMPDIR="+left)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("slowburn demo: %v", err)
	}
	rest := string(out)
	for _, step := range []string{
		"30 days of history filled in", "pages    http://", "DEPLOY", "Checkout is failing", "requests since",
		"ROLLBACK", "Checkout recovered", "that was the whole story", "stopping; nothing is left behind",
	} {
		_, after, found := strings.Cut(rest, step)
		if !found {
			t.Fatalf("the story does not go on with %q", step)
		}
		rest = after
	}
	if files, err := os.ReadDir(left); err != nil || len(files) > 0 {
		t.Errorf("the demo left %v behind (%v)", files, err)
	}
}
