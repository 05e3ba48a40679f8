//go:build e2e

package main

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/alerts/rulegen"
	"github.com/slowburn-slo/slowburn/collector/synth"
	"github.com/slowburn-slo/slowburn/internal/fakeslack"
)

var outage = flag.Duration("outage", 20*time.Second, "how long TestE2ERemoteWriteTwoCollectors takes its Prometheus down")

// installed returns the path of a program of another project.
func installed(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed; want it where CI=true", name)
		}
		t.Skipf("%s is not installed: nothing receives what is sent", name)
	}
	return path
}

// daemon is a program under test, which may be ended and started again.
type daemon struct {
	t    *testing.T
	path string
	args []string
	base string // http://host:port of its API
	cmd  *exec.Cmd
	log  lockedBuffer
}

func (d *daemon) start() {
	d.t.Helper()
	d.cmd = exec.Command(d.path, d.args...)
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
}

// up starts it and waits until it answers on path.
func (d *daemon) up(path string) *daemon {
	d.t.Helper()
	d.start()
	cmd := d.cmd
	d.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if d.t.Failed() {
			d.t.Logf("%s:\n%s", filepath.Base(d.path), tail(d.log.String()))
		}
	})
	eventually(d.t, 30*time.Second, func() error {
		resp, err := http.Get(d.base + path)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 {
			return fmt.Errorf("%s: %s", path, resp.Status)
		}
		return nil
	})
	return d
}

func (d *daemon) end(s syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
	_ = d.cmd.Wait()
}

// realPrometheus runs a real Prometheus that takes remote write.
func realPrometheus(t *testing.T, dir, config string, flags ...string) *daemon {
	t.Helper()
	path := installed(t, "prometheus")
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	listen := freePort(t)
	d := &daemon{t: t, path: path, base: "http://" + listen, args: append([]string{
		"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(dir, "prometheus"),
		"--web.listen-address=" + listen, "--web.enable-remote-write-receiver",
	}, flags...)}
	return d.up("/-/ready")
}

// testCollector is a slowburn that sends its series to Prometheus.
type testCollector struct {
	*daemon
	otlp string
}

func startCollector(t *testing.T, bin, slos, dir, endpoint string, flags ...string) testCollector {
	t.Helper()
	listen, grpc, otlp := freePort(t), freePort(t), freePort(t)
	d := &daemon{t: t, path: bin, base: "http://" + listen, args: append([]string{
		"serve", "--slos", slos, "--data-dir", dir, "--listen", listen, "--otlp-grpc-listen", grpc, "--otlp-http-listen", otlp,
		"--remote-write", endpoint,
	}, flags...)}
	d.up("/readyz")
	return testCollector{d, "http://" + otlp + "/v1/traces"}
}

func buildSlowburn(t *testing.T, dir string) string {
	t.Helper()
	bin := filepath.Join(dir, "slowburn")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

const scaleOutYAML = `
service: shop
flows:
  checkout:
    match: POST /api/checkout
    slos: [99.9% succeed]
  search:
    match: {http.request.method: GET, http.route: /api/search}
    slos: [99.5% succeed]
`

// TestE2ERemoteWriteTwoCollectors shares the spans of a shop between two slowburns,
// which send what they count to a real Prometheus with the exported rules, a
// real Alertmanager behind it, and a look-alike of Slack. One collector is killed
// twice while Prometheus is away. Afterwards Prometheus has every sample that
// the collectors wrote, the counters add up to what was sent, and the page arrives.
func TestE2ERemoteWriteTwoCollectors(t *testing.T) {
	dir := t.TempDir()
	bin := buildSlowburn(t, dir)
	slos := filepath.Join(dir, "slos.yaml")
	if err := os.WriteFile(slos, []byte(scaleOutYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := loadConfig(slos)
	if err != nil {
		t.Fatal(err)
	}
	groups, _, err := rulegen.Record(config.Flows, rulegen.RecordOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := rulegen.Marshal(groups)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), rules, 0o600); err != nil {
		t.Fatal(err)
	}

	inbox := fakeslack.New(fakeslack.Options{})
	slack := httptest.NewServer(inbox)
	defer slack.Close()
	amConfig := filepath.Join(dir, "alertmanager.yml")
	if err := os.WriteFile(amConfig, fmt.Appendf(nil, `
route: {receiver: shop, group_by: [sloth_id, sloth_severity], group_wait: 1s, group_interval: 10s}
receivers:
  - name: shop
    slack_configs:
      - {api_url: "%s/services/T0/B0/x", channel: "#shop", send_resolved: true, text: '{{ range .Alerts }}{{ .Annotations.summary }}{{ end }}'}
`, slack.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	amListen := freePort(t)
	(&daemon{t: t, path: installed(t, "prometheus-alertmanager"), base: "http://" + amListen, args: []string{
		"--config.file=" + amConfig, "--storage.path=" + filepath.Join(dir, "alertmanager"),
		"--web.listen-address=" + amListen, "--cluster.listen-address=",
	}}).up("/-/ready")
	prom := realPrometheus(t, dir, fmt.Sprintf(`
rule_files: [rules.yaml]
alerting: {alertmanagers: [{static_configs: [{targets: ["%s"]}]}]}
`, amListen), "--enable-feature=native-histograms")

	endpoint := prom.base + "/api/v1/write"
	// One has a name, the other makes itself one.
	first := startCollector(t, bin, slos, filepath.Join(dir, "first"), endpoint, "--collector-name", "first", "--remote-write-series", "counters")
	second := startCollector(t, bin, slos, filepath.Join(dir, "second"), endpoint, "--remote-write-series", "counters")
	both := []testCollector{first, second}

	shop := &synth.Model{Service: "shop", Version: synth.GoodVersion, PeakHour: 14, Seed: 1, Flows: []synth.Flow{
		{Name: "checkout", Method: "POST", Route: "/api/checkout", Peak: 8, ErrorRatio: 0.0003, Median: 120 * time.Millisecond, Sigma: 0.45},
		{Name: "search", Method: "GET", Route: "/api/search", Peak: 15, ErrorRatio: 0.0006, Median: 80 * time.Millisecond, Sigma: 0.6},
	}}
	sent := map[string]synth.Counts{}
	seed := uint64(0)
	// traffic sends ten batches a second for a time, to each collector in turn.
	traffic := func(length time.Duration, to ...testCollector) {
		t.Helper()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(length); time.Now().Before(end); <-tick.C {
			seed++
			body, tally, err := shop.Batch(synth.BatchOptions{
				Seed: seed, Requests: 25, Inner: 2, Start: time.Now().Add(-time.Second), Every: time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			post(t, to[int(seed)%len(to)].otlp, body)
			for flow, c := range tally {
				all := sent[flow]
				all.Total, all.Bad = all.Total+c.Total, all.Bad+c.Bad
				sent[flow] = all
			}
		}
	}
	// settle waits for counts to reach the disk: kill -9 may lose one flush.
	settle := func() { time.Sleep(3 * time.Second) }

	traffic(10*time.Second, both...)
	t.Logf("Prometheus is away for %s; the first collector is killed at the begin and in the middle of it", *outage)
	settle()
	prom.end(syscall.SIGKILL)
	away := time.Now()
	first.end(syscall.SIGKILL)
	traffic(*outage/4, second)
	first.up("/readyz") // ready without Prometheus
	traffic(*outage/4, both...)
	settle()
	first.end(syscall.SIGKILL)
	traffic(*outage/4, second)
	first.up("/readyz")
	traffic(time.Until(away.Add(*outage)), both...)
	prom.up("/-/ready")
	back := time.Now()

	const (
		events = `sum by (sloth_id) (slo_events_total)`
		errors = `sum by (sloth_id) (slo_errors_total)`
	)
	equal := func() error {
		gotEvents, gotErrors := instant(t, prom.base, events, "sloth_id"), instant(t, prom.base, errors, "sloth_id")
		for flow, c := range sent {
			id := "shop-" + flow + "-availability"
			if gotEvents[id] != float64(c.Total) || gotErrors[id] != float64(c.Bad) {
				return fmt.Errorf("%s: %g events and %g errors, %d and %d were sent", id, gotEvents[id], gotErrors[id], c.Total, c.Bad)
			}
		}
		return nil
	}
	eventually(t, 30*time.Second, equal)
	t.Logf("%.1f s after Prometheus is back it has all that was sent: %d checkouts, %d searches",
		time.Since(back).Seconds(), sent["checkout"].Total, sent["search"].Total)

	// Nothing changed but the delay: the same samples as at the collectors.
	collectors := instant(t, prom.base, `count by (collector) (slo_events_total)`, "collector")
	if len(collectors) != 2 || collectors["first"] != 2 {
		t.Fatalf("series by collector = %v, want two of first and two of another", collectors)
	}
	at := fmt.Sprintf(" @ %d", time.Now().Unix()-10)
	for name := range collectors {
		from := second
		if name == "first" {
			from = first
		}
		for _, metric := range []string{"slo_events_total", "slo_errors_total", "sloth_slo_info"} {
			there := instant(t, prom.base, fmt.Sprintf(`count_over_time(%s{collector=%q}[1h]%s)`, metric, name, at), "sloth_id")
			here := instant(t, from.base, fmt.Sprintf(`count_over_time(%s[1h]%s)`, metric, at), "sloth_id")
			if len(here) != 2 {
				t.Errorf("%s at collector %s: %v, want two SLOs", metric, name, here)
			}
			for id, n := range here {
				if there[id] != n {
					t.Errorf("samples of %s{collector=%q,sloth_id=%q} = %g, want the collector's %g", metric, name, id, there[id], n)
				}
			}
		}
		for id, n := range instant(t, prom.base, fmt.Sprintf(`resets(slo_events_total{collector=%q}[1h])`, name), "sloth_id") {
			if n != 0 {
				t.Errorf("slo_events_total{collector=%q,sloth_id=%q} went back %g times, want never", name, id, n)
			}
		}
		// These begin at 0 with each process, and are written every ten seconds.
		eventually(t, 30*time.Second, func() error {
			traffic(time.Second, both...)
			requests := instant(t, prom.base, fmt.Sprintf(`sum(slowburn_flow_requests_total{collector=%q})`, name), "")[""]
			timed := instant(t, prom.base, fmt.Sprintf(`sum(histogram_count(slowburn_flow_duration_seconds{collector=%q}))`, name), "")[""]
			if requests == 0 || timed != requests {
				return fmt.Errorf("collector %s: %g latencies of %g requests", name, timed, requests)
			}
			return nil
		})
	}
	for _, c := range both {
		if log := c.log.String(); strings.Contains(log, "refused samples") || strings.Contains(log, "never sent") || strings.Contains(log, "panic") {
			t.Errorf("log of a collector tells of a loss:\n%s", tail(log))
		}
	}
	// The other did not live through all of the outage.
	if log := second.log.String(); strings.Count(log, "does not take series") != 1 || strings.Count(log, "takes series again") != 1 {
		t.Errorf("log of the second collector does not say once that the endpoint was away, and once that it is back:\n%s", tail(log))
	}

	// The rules' ratios are those of what was sent.
	eventually(t, 3*time.Minute, func() error {
		traffic(time.Second, both...)
		if ratio, ok := instant(t, prom.base, `slo:sli_error:ratio_rate1h`, "sloth_id")["shop-checkout-availability"]; !ok || ratio > 0.01 {
			return fmt.Errorf("error ratio of the checkout = %g, want one below 0.01", ratio)
		}
		return nil
	})
	if n := len(inbox.Messages()); n > 0 {
		t.Errorf("%d messages before anything went wrong, want none: %s", n, inbox.Messages()[0].Text)
	}

	broken := time.Now()
	shop.Add(synth.Incident{Flow: "checkout", From: broken.Add(-time.Minute), ErrorRatio: 0.5})
	eventually(t, 5*time.Minute, func() error {
		traffic(time.Second, both...)
		for _, m := range inbox.Messages() {
			if strings.Contains(m.Text, "SlowburnBudgetBurnPage") && strings.Contains(strings.ToLower(m.Text), "checkout") {
				t.Logf("the page was at Slack %.0f s after half of the checkouts began to fail:\n%s", time.Since(broken).Seconds(), m.Text)
				return nil
			}
		}
		return fmt.Errorf("no page for the checkout among %d messages", len(inbox.Messages()))
	})
	eventually(t, 30*time.Second, equal)
	for _, rule := range []string{"fast", "slow", "slowest"} {
		for group, n := range instant(t, prom.base, fmt.Sprintf(`prometheus_rule_evaluation_failures_total{rule_group=~".*%s"}`, rule), "rule_group") {
			if n > 0 {
				t.Errorf("rule group %s failed %g times", group, n)
			}
		}
	}
	first.end(syscall.SIGTERM)
	if code := first.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code after SIGTERM = %d, want 0", code)
	}
}

// TestE2ERemoteWriteNativeHistograms sends everything to a Prometheus 2 with and
// without its support of native histograms: without, all the rest is there.
func TestE2ERemoteWriteNativeHistograms(t *testing.T) {
	bin := buildSlowburn(t, t.TempDir())
	for _, tc := range []struct {
		name  string
		flags []string
		want  float64
	}{
		{name: "on", flags: []string{"--enable-feature=native-histograms"}, want: 1},
		{name: "off"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			slos := filepath.Join(dir, "slos.yaml")
			if err := os.WriteFile(slos, []byte(scaleOutYAML), 0o600); err != nil {
				t.Fatal(err)
			}
			prom := realPrometheus(t, dir, "global: {}\n", tc.flags...)
			c := startCollector(t, bin, slos, filepath.Join(dir, "data"), prom.base+"/api/v1/write")
			for range 3 {
				post(t, c.otlp, checkouts(t, 100, false))
				post(t, c.otlp, checkouts(t, 1, true))
			}
			eventually(t, 30*time.Second, func() error {
				if n := instant(t, prom.base, `slo_events_total{sloth_id="shop-checkout-availability"}`, "sloth_id")["shop-checkout-availability"]; n != 303 {
					return fmt.Errorf("%g events, want 303", n)
				}
				return nil
			})
			eventually(t, 30*time.Second, func() error {
				for _, metric := range []string{"slo:sli_error:ratio_rate5m", "slo:period_error_budget_remaining:ratio", "slo:objective:ratio", "sloth_slo_info"} {
					if _, ok := instant(t, prom.base, metric, "sloth_id")["shop-checkout-availability"]; !ok {
						return fmt.Errorf("%s is not there", metric)
					}
				}
				if n := float64(len(instant(t, prom.base, `histogram_count(slowburn_flow_duration_seconds{flow="checkout"})`, "flow"))); n != tc.want {
					return fmt.Errorf("%g histograms of the checkout, want %g", n, tc.want)
				}
				return nil
			})
			if off := strings.Contains(c.log.String(), "takes no native histograms"); off != (tc.want == 0) {
				t.Errorf("log says that native histograms are not taken: %v\n%s", off, tail(c.log.String()))
			}
			c.end(syscall.SIGTERM)
			if code := c.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("exit code after SIGTERM = %d, want 0", code)
			}
		})
	}
}
