package main

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/alerts/slack"
)

func TestRemoteFlags(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token, none := file("token", "s3cret\n"), file("none", "\n")
	const endpoint = "http://prometheus:9090/api/v1/write"
	for _, tc := range []struct {
		name string
		args []string
		want string // the error, or none
	}{
		{name: "off", args: nil},
		{name: "on", args: []string{"--remote-write", endpoint}},
		{name: "everything", args: []string{
			"--remote-write", "https://mimir/api/v1/push", "--remote-write-series", "counters", "--collector-name", "eu-1", "--remote-write-username", "me",
			"--remote-write-password-file", token, "--remote-write-ca-file", token, "--remote-write-header", "X-Scope-OrgID=team", "--remote-write-header", "X-Other=a=b",
		}},
		{name: "no address", args: []string{"--remote-write", "prometheus:9090"}, want: "--remote-write: not an address; want one such as http://prometheus:9090/api/v1/write"},
		{name: "not HTTP", args: []string{"--remote-write", "ftp://prometheus/x"}, want: "--remote-write: not an address; want one such as http://prometheus:9090/api/v1/write"},
		{name: "broken address", args: []string{"--remote-write", "http://me:s3cret@pro metheus/x"}, want: "--remote-write: not an address; want one such as http://prometheus:9090/api/v1/write"},
		{name: "no path", args: []string{"--remote-write", "http://prometheus:9090"}, want: "--remote-write: http://prometheus:9090 has no path; want /api/v1/write for Prometheus and VictoriaMetrics, /api/v1/push for Mimir, /api/v1/receive for Thanos"},
		{name: "password in the address", args: []string{"--remote-write", "http://me:s3cret@prometheus/x"}, want: "--remote-write: a password in the address shows in logs; want --remote-write-username and --remote-write-password-file"},
		{name: "unknown series", args: []string{"--remote-write", endpoint, "--remote-write-series", "some"}, want: `--remote-write-series: "some" is not a choice; want all or counters`},
		{name: "odd name", args: []string{"--remote-write", endpoint, "--collector-name", "a\nb"}, want: `--collector-name: "a\nb" is not a name; want 128 bytes of text at most`},
		{name: "endpoint missing", args: []string{"--remote-write-bearer-token-file", token}, want: "--remote-write is missing; want the endpoint that the other --remote-write flags are for"},
		{name: "two ways to authenticate", args: []string{"--remote-write", endpoint, "--remote-write-bearer-token-file", token, "--remote-write-username", "me", "--remote-write-password-file", token}, want: "--remote-write-bearer-token-file and --remote-write-username exclude each other; want one of them"},
		{name: "half a password", args: []string{"--remote-write", endpoint, "--remote-write-username", "me"}, want: "--remote-write-username and --remote-write-password-file belong together; want both"},
		{name: "no such file", args: []string{"--remote-write", endpoint, "--remote-write-bearer-token-file", filepath.Join(dir, "missing")}, want: "--remote-write-bearer-token-file: open " + filepath.Join(dir, "missing") + ": no such file or directory"},
		{name: "empty file", args: []string{"--remote-write", endpoint, "--remote-write-bearer-token-file", none}, want: "--remote-write-bearer-token-file: " + none + " is empty"},
		{name: "no header", args: []string{"--remote-write", endpoint, "--remote-write-header", "s3cret"}, want: "--remote-write-header: number 1 is not a header; want NAME=VALUE, e.g. X-Scope-OrgID=team"},
		{name: "two lines", args: []string{"--remote-write", endpoint, "--remote-write-header", "A=s3cret\r\nB: x"}, want: "--remote-write-header: number 1 is not a header; want NAME=VALUE, e.g. X-Scope-OrgID=team"},
		{name: "secret header", args: []string{"--remote-write", endpoint, "--remote-write-header", "authorization=Bearer s3cret"}, want: "--remote-write-header: Authorization is a secret; want --remote-write-bearer-token-file"},
		{name: "header of the protocol", args: []string{"--remote-write", endpoint, "--remote-write-header", "content-type=x"}, want: "--remote-write-header: Content-Type is set by remote write itself; want another"},
		{name: "every fault at once", args: []string{"--remote-write", "nowhere", "--remote-write-series", "some"}, want: "--remote-write: not an address; want one such as http://prometheus:9090/api/v1/write\n--remote-write-series: \"some\" is not a choice; want all or counters"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var c remoteConfig
			cmd := newServe()
			cmd.ResetFlags()
			c.flags(cmd.Flags())
			if err := cmd.ParseFlags(tc.args); err != nil {
				t.Fatal(err)
			}
			o, err := c.options(dir)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("options(%q): %s, want %s", tc.args, got, tc.want)
			}
			if strings.Contains(got, "s3cret") {
				t.Errorf("the error shows the secret: %s", got)
			}
			if on := tc.want == "" && len(tc.args) > 0; on != (o != nil) {
				t.Errorf("options(%q) = %v, want some: %v", tc.args, o, on)
			}
		})
	}
}

// TestRemoteWriteAwayIsNotUnready: a server whose endpoint is away, refuses or hangs up
// is ready all the same, says so in log and metrics, and shows no secret.
func TestRemoteWriteAwayIsNotUnready(t *testing.T) {
	const canary = "CANARY0123456789"
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	status, authorized := http.StatusUnauthorized, false
	endpoint := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		authorized = authorized || r.Header.Get("Authorization") == "Bearer "+canary && r.Header.Get("X-Key") == canary
		// A gateway may repeat what it was sent.
		http.Error(w, r.Header.Get("Authorization"), status)
	}))
	defer endpoint.Close()
	endpoint.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: endpoint.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	var logs lockedBuffer
	s, stop := startWith(t, dir, hasty, slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})), func(c *config) {
		c.slackURL = slack.NewSecret("")
		c.remote = remoteConfig{
			url: endpoint.URL + "/api/v1/write?key=" + canary, series: "all", histograms: true, collector: "a",
			tokenFile: secret, caFile: ca, headers: &[]string{"X-Key=" + canary},
		}
	})
	checkout := shopper(t, s)
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get(s.address() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	eventually(t, 30*time.Second, func() error {
		checkout(10, false)
		if !strings.Contains(logs.String(), "does not take series") {
			return fmt.Errorf("the log does not say that the endpoint takes nothing")
		}
		return nil
	})
	eventually(t, 30*time.Second, func() error {
		if code, text := get("/readyz"); code != 200 {
			return fmt.Errorf("/readyz: %d %s", code, text)
		}
		return nil
	})
	_, metrics := get("/metrics")
	for _, want := range []string{
		`prometheus_remote_storage_samples_total{remote_name="slowburn",url="` + endpoint.URL + `/api/v1/write"} 0`,
		`prometheus_remote_storage_samples_pending{remote_name="slowburn",url="` + endpoint.URL + `/api/v1/write"} `,
		"slowburn_remote_write_delay_seconds ",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics does not show %s", want)
		}
	}
	if strings.Contains(metrics, "slowburn_remote_write_delay_seconds 0\n") {
		t.Error("the delay is 0 while samples wait")
	}
	_, page := get("/")
	began := time.Now()
	stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v to stop, want 10 s at most", took)
	}
	if !authorized {
		t.Error("requests came without the token and the header")
	}
	printed := s.config
	printed.remote.url = "" // a flag's value, which is not printed anywhere
	for name, text := range map[string]string{
		"the log": logs.String(), "/metrics": metrics, "a page": page, "the configuration printed": fmt.Sprintf("%v %+v %#v", printed, printed, printed),
	} {
		if strings.Contains(text, canary) {
			t.Errorf("%s shows a secret", name)
		}
	}
	if _, err := tls.Dial("tcp", endpoint.Listener.Addr().String(), &tls.Config{}); err == nil {
		t.Error("the endpoint's certificate is trusted without --remote-write-ca-file; the test would prove nothing")
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
