package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/alerts/doctor"
)

// TestDoctor examines a real Prometheus from the command line: the exit code,
// both formats, and places in the file that was given.
func TestDoctor(t *testing.T) {
	if _, err := exec.LookPath("prometheus"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("prometheus is not installed: %v", err)
		}
		t.Skip("prometheus is not installed (Debian package prometheus)")
	}
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := time.Now().UnixMilli() % 1_000_000_000
		fmt.Fprintf(w, "# TYPE latency_seconds histogram\nlatency_seconds_bucket{le=\"0.25\"} %[1]d\nlatency_seconds_bucket{le=\"0.5\"} %[1]d\n"+
			"latency_seconds_bucket{le=\"+Inf\"} %[1]d\nlatency_seconds_sum 1\nlatency_seconds_count %[1]d\n", n)
	}))
	defer target.Close()
	dir := t.TempDir()
	slos := filepath.Join(dir, "slos.yaml")
	for name, text := range map[string]string{
		"prometheus.yml": "global: {scrape_interval: 1s}\nscrape_configs: [{job_name: shop, static_configs: [{targets: ['" + strings.TrimPrefix(target.URL, "http://") + "']}]}]\n",
		"slos.yaml": `service: shop
flows:
  checkout:
    slos:
      - target: 99%
        promql:
          good: sum(rate(latency_seconds_bucket{le="0.3"}[$window]))
          total: sum(rate(latency_seconds_count[$window]))
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	var log bytes.Buffer
	prometheus := exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr)
	prometheus.Stdout, prometheus.Stderr = &log, &log
	if err := prometheus.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = prometheus.Process.Kill()
		_ = prometheus.Wait()
	}()
	run := func(args ...string) (stdout, stderr string, err error) {
		root := newRoot()
		var out, errs bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&errs)
		root.SetArgs(append([]string{"doctor", "--prometheus", "http://" + addr}, args...))
		err = root.ExecuteContext(t.Context())
		return out.String(), errs.String(), err
	}

	var text, progress string
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		text, progress, err = run("--slos", slos)
		if strings.Contains(text, "FAULT    good: no bucket") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the bucket is not missed: %v\n%s\n%s\n%s", err, text, progress, log.String())
		}
	}
	if err == nil || err.Error() != "2 faults" {
		t.Errorf("error %v, want 2 faults: the bucket, and rules that are not loaded", err)
	}
	for _, want := range []string{
		": 2 faults, 1 warning in 1 SLO\n",
		"\nshop-checkout-promql  " + slos + ":5:9\n",
		`good: 'sum(rate(latency_seconds_bucket{le="0.25"}[$window]))' # or le="0.5"`,
		"rules is loaded: nothing is recorded and nobody is alerted",
		"slowburn generate --slos '" + slos + "' --to prometheus",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	if !strings.Contains(progress, "slowburn: examining 1 SLO\n") {
		t.Errorf("progress is %q, want what is being done", progress)
	}

	out, _, err := run("--slos", slos, "--format", "json")
	var r struct {
		URL      string
		SLOs     int
		Findings []struct {
			Severity, Check, Subject, File, Seen, Fix string
			Line, Column                              int
		}
	}
	if e := json.Unmarshal([]byte(out), &r); e != nil || err == nil {
		t.Fatalf("JSON: %v, exit with %v\n%s", e, err, out)
	}
	if f := r.Findings[0]; r.SLOs != 1 || f.Severity != doctor.Fault.String() || f.Subject != "shop-checkout-promql" || f.File != slos || f.Line != 5 || f.Column != 9 || f.Fix == "" {
		t.Errorf("JSON: %d SLOs and first %+v; want 1 and a fault of shop-checkout-promql at %s:5:9 with a fix", r.SLOs, f, slos)
	}

	// Without SLOs there is nothing wrong: it only lacks an Alertmanager.
	if text, _, err := run(); err != nil || !strings.Contains(text, ": 0 faults, 1 warning in 0 SLOs\n") {
		t.Errorf("without SLOs: %v, want no error and one warning:\n%s", err, text)
	}
}
