package rulegen

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn-slo/slowburn/slo"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const month = 30 * 24 * time.Hour

func shop() []slo.Flow {
	checkout := slo.Flow{
		Name: "checkout", Service: "shop",
		Owner: "payments", Runbook: "https://wiki.example/checkout",
		Description: `braces {{ "stay" }} braces`,
		Labels:      map[string]string{"team": "payments"},
		Objectives: []slo.Objective{
			{Name: "availability", Target: 0.999, Window: month, MinEvents: 3, Tiers: slo.Tiers(0.999, month), Outage: true, Spent: []float64{0.5, 0.75}, RunsOut: true},
			{Name: "latency-300ms", Kind: slo.FasterThan, Threshold: 300 * time.Millisecond, Target: 0.95, Window: month, MinEvents: 3, Tiers: slo.Tiers(0.95, month)},
		},
	}
	quiet := slo.Flow{
		Name: "search", Service: `sh"op`,
		Objectives: []slo.Objective{
			{Name: "availability", Target: 0.99, Window: month, Tiers: slo.Tiers(0.99, month)[2:]},
			{Name: "unalerted", Target: 0.99, Window: month},
		},
	}
	return []slo.Flow{checkout, quiet}
}

func generate(t *testing.T, flows []slo.Flow) []byte {
	t.Helper()
	groups, err := Groups(flows, Options{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := Marshal(groups)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGolden(t *testing.T) {
	got := generate(t, shop())
	path := filepath.Join("testdata", "shop.golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; go test ./alerts/rulegen -update rewrites it\ngot:\n%s", path, got)
	}
	if again := generate(t, shop()); !bytes.Equal(again, got) {
		t.Error("the same flows gave other bytes the second time")
	}
}

// need skips the test where a program is not installed, and fails it where
// CI=true.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed: %v", program, err)
		}
		t.Skipf("%s is not installed (Debian package prometheus)", program)
	}
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	need(t, "promtool")
	if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
		t.Fatalf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPromtoolReadsTheRules(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, generate(t, shop()), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}

// TestPrometheusLoadsTheRules starts a real Prometheus on the rules and asks it
// what it loaded.
func TestPrometheusLoadsTheRules(t *testing.T) {
	evaluate(t, generate(t, shop()), 5)
}

// evaluate starts a real Prometheus on the rules and waits until all of them
// have been evaluated and are healthy.
func evaluate(t *testing.T, ruleFile []byte, groups int) {
	t.Helper()
	need(t, "prometheus")
	dir := t.TempDir()
	for name, text := range map[string][]byte{
		"prometheus.yml": []byte("global: {evaluation_interval: 1s}\nrule_files: [rules.yaml]\n"),
		"rules.yaml":     ruleFile,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
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
	cmd := exec.CommandContext(t.Context(), "prometheus", "--config.file", filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", addr)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()

	var answer struct {
		Data struct {
			Groups []struct {
				Name  string
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	// A group is healthy once it was evaluated, 5 s after the start at most.
	healthy := func() bool {
		resp, err := http.Get("http://" + addr + "/api/v1/rules")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		answer.Data.Groups = nil
		if json.NewDecoder(resp.Body).Decode(&answer) != nil || len(answer.Data.Groups) != groups {
			return false
		}
		for _, g := range answer.Data.Groups {
			for _, r := range g.Rules {
				if r.Health != "ok" {
					return false
				}
			}
		}
		return true
	}
	for end := time.Now().Add(30 * time.Second); !healthy(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after 30 s Prometheus says %+v; want %d healthy groups\n%s", answer, groups, log.String())
		}
	}
}

// TestPromtoolReadsTheVerdicts holds the alerts to what the judge records: each
// fires on its own series, for as long as there is one, and says what it is of.
func TestPromtoolReadsTheVerdicts(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), generate(t, shop()[:1]), 0o644); err != nil {
		t.Fatal(err)
	}
	const (
		ofFlow = `sloth_service="shop",slowburn_flow="checkout"`
		labels = `sloth_id="shop-checkout-availability",sloth_slo="checkout-availability",` + ofFlow
		told   = "owner: payments\n              runbook: https://wiki.example/checkout\n              description: 'braces {{ \"stay\" }} braces'"
	)
	asYAML := func(labels string) string {
		return strings.ReplaceAll(strings.ReplaceAll(labels, `="`, `: "`), ",", ", ")
	}
	alerts := []struct{ name, series, labels, annotations string }{
		{"SlowburnBudgetBurnPage", "slo:alert_burn_rate:page{" + labels + "} 20", "sloth_severity: page, " + asYAML(labels), `
              summary: 'checkout on shop: the error budget of 99.9% succeed over 30d burns 20 times too fast'
              objective: 99.9% succeed over 30d
              burn_long: "20"
              limits: '14.4× over 1h and 5m, or 6× over 6h and 30m, or (nearly) everything failing'`},
		{"SlowburnBudgetBurnTicket", "slo:alert_burn_rate:ticket{" + labels + "} 2.25", "sloth_severity: ticket, " + asYAML(labels), `
              summary: 'checkout on shop: the error budget of 99.9% succeed over 30d burns 2.25 times too fast'
              objective: 99.9% succeed over 30d
              burn_long: "2.25"
              limits: '3× over 1d and 2h, or 1× over 3d and 6h'`},
		{"SlowburnBudgetSpent", "slo:budget_spent:ratio{" + labels + "} 0.75", `sloth_severity: ticket, slowburn_spent: "75", ` + asYAML(labels), `
              summary: 'checkout on shop: 75% of the error budget of 99.9% succeed over 30d is spent'
              objective: 99.9% succeed over 30d`},
		{"SlowburnBudgetRunsOut", "slo:budget_runs_out:seconds{" + labels + "} 97200", "sloth_severity: ticket, " + asYAML(labels), `
              summary: 'checkout on shop: the error budget of 99.9% succeed over 30d is gone in 1d 3h 0m 0s if it burns on as it does'
              objective: 99.9% succeed over 30d`},
		{"SlowburnTrafficMissing", "slowburn_flow_traffic_missing{" + ofFlow + "} 340.4", "sloth_severity: ticket, " + asYAML(ofFlow), `
              summary: 'checkout on shop: (nearly) no traffic for 15 minutes, where 340 requests come at this time of the week'
              expected: "340"`},
	}
	var doc strings.Builder
	doc.WriteString("rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n")
	for _, speaks := range alerts {
		metric, value, _ := strings.Cut(speaks.series, "} ")
		fmt.Fprintf(&doc, "  - name: %s\n    interval: 1m\n    input_series:\n      - series: '%s}'\n        values: '_x4 %sx9 stale'\n    alert_rule_test:\n",
			speaks.name, metric, value)
		for _, a := range alerts {
			for _, at := range []string{"3m", "4m", "13m", "14m"} {
				fmt.Fprintf(&doc, "      - eval_time: %s\n        alertname: %s\n        exp_alerts:\n", at, a.name)
				if a.name == speaks.name && (at == "4m" || at == "13m") {
					fmt.Fprintf(&doc, "          - exp_labels: {team: payments, %s}\n            exp_annotations:%s\n              %s\n", a.labels, a.annotations, told)
				}
			}
		}
	}
	path := filepath.Join(dir, "test.yaml")
	if err := os.WriteFile(path, []byte(doc.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", path)
}

func TestGroupsParse(t *testing.T) {
	groups, err := Groups(shop(), Options{Interval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) != 5 {
		t.Fatalf("%d groups; want 5: of the three SLOs that have alerts, and of the two flows", len(groups))
	}
	p := parser.NewParser(parser.Options{})
	for _, g := range groups {
		for _, r := range g.Rules {
			if _, err := p.ParseExpr(r.Expr); err != nil {
				t.Errorf("%s: %v", g.Name, err)
			}
		}
	}
}
