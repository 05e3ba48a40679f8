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
	"github.com/prometheus/prometheus/promql/promqltest"

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
			{Name: "availability", Target: 0.999, Window: month, MinEvents: 3, Tiers: slo.Tiers(0.999, month)},
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
	evaluate(t, generate(t, shop()), 3)
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

// TestPromtoolJudgesTheAlerts runs the checkout rules over hand-written series:
// what pages, what makes a ticket, and what stays silent.
func TestPromtoolJudgesTheAlerts(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), generate(t, shop()[:1]), 0o644); err != nil {
		t.Fatal(err)
	}
	const labels = `sloth_id="shop-checkout-availability",sloth_service="shop",sloth_slo="checkout-availability",slowburn_flow="checkout"`
	series := func(window string, ratio float64) string {
		return fmt.Sprintf("      - series: 'slo:sli_error:ratio_rate%s{%s,sloth_window=\"%s\"}'\n        values: '%gx90'\n", window, labels, window, ratio)
	}
	// bad are the counts of bad events over the long windows, which are absent
	// while there are none.
	test := func(name string, ratios map[string]float64, bad map[string]string, page, ticket string) string {
		var b strings.Builder
		fmt.Fprintf(&b, "  - name: %s\n    interval: 1m\n    input_series:\n", name)
		for _, w := range []string{"5m", "30m", "1h", "2h", "6h", "1d", "3d"} {
			if r, ok := ratios[w]; ok {
				b.WriteString(series(w, r))
			}
		}
		for _, w := range []string{"1h", "6h", "1d", "3d"} {
			fmt.Fprintf(&b, "      - series: 'slo:events_error:count%s{%s}'\n        values: '%s'\n", w, labels, bad[w])
		}
		b.WriteString("    alert_rule_test:\n")
		for alert, burn := range map[string]string{"SlowburnBudgetBurnPage": page, "SlowburnBudgetBurnTicket": ticket} {
			fmt.Fprintf(&b, "      - eval_time: 80m\n        alertname: %s\n        exp_alerts:\n", alert)
			if burn == "" {
				continue
			}
			severity, limits := "page", "14.4× over 1h and 5m, or 6× over 6h and 30m"
			if alert == "SlowburnBudgetBurnTicket" {
				severity, limits = "ticket", "3× over 1d and 2h, or 1× over 3d and 6h"
			}
			fmt.Fprintf(&b, `          - exp_labels: {sloth_severity: %s, team: payments, %s}
            exp_annotations:
              summary: 'checkout on shop: the error budget of 99.9%% succeed over 30d burns %s times too fast'
              objective: 99.9%% succeed over 30d
              burn_long: "%s"
              limits: '%s'
              owner: payments
              runbook: https://wiki.example/checkout
              description: 'braces {{ "stay" }} braces'
`, severity, strings.ReplaceAll(strings.ReplaceAll(labels, `="`, `: "`), ",", ", "), burn, burn, limits)
		}
		return b.String()
	}
	all := func(r float64) map[string]float64 {
		return map[string]float64{"5m": r, "30m": r, "1h": r, "2h": r, "6h": r, "1d": r, "3d": r}
	}
	in := func(values string) map[string]string {
		return map[string]string{"1h": values, "6h": values, "1d": values, "3d": values}
	}
	old := in("100x90")
	old["1h"] = "100x59 stale"
	doc := "rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n" +
		test("calm", all(0.0005), in("_ 1+1x89"), "", "") +
		test("20x pages and makes a ticket", all(0.02), in("_ 20+20x89"), "20", "20") +
		test("only the long window burns", map[string]float64{"5m": 0, "1h": 0.02}, in("_ 20+20x89"), "", "") +
		test("6x over 6h pages", map[string]float64{"30m": 0.007, "6h": 0.0065}, in("_ 20+20x89"), "6.5", "") +
		test("2x is a ticket", all(0.002), in("_ 2+2x89"), "", "2") +
		test("two errors are too few to judge by", all(0.5), in("_x50 2x39"), "", "") +
		test("three errors of a young SLO are enough", all(0.5), in("_x70 3x19"), "500", "500") +
		test("three errors are enough while they are in the window", all(0.5), in("3x79 2"), "", "") +
		test("no error any more", all(0.5), in("100x79 stale"), "", "") +
		test("old errors do not count", map[string]float64{"5m": 0.5, "1h": 0.5}, old, "", "") +
		test("idle is silent", nil, in("5x90"), "", "")
	path := filepath.Join(dir, "test.yaml")
	if err := os.WriteFile(path, []byte(doc), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", path)
}

// TestOneSetOfLabelsForAllTiers: when a second tier takes over from the first,
// the alert keeps its labels, so that nobody is told of a new one.
func TestOneSetOfLabelsForAllTiers(t *testing.T) {
	groups, err := Groups(shop()[:1], Options{})
	if err != nil {
		t.Fatal(err)
	}
	const id = `sloth_id="shop-checkout-availability"`
	engine := promqltest.NewTestEngine(t, false, 0, 1000)
	for _, tc := range []struct{ name, burning string }{
		{name: "fast tier", burning: "5m 1h"},
		{name: "slow tier", burning: "30m 6h"},
		{name: "both", burning: "5m 1h 30m 6h"},
	} {
		var load strings.Builder
		load.WriteString("load 1m\n  slo:events_error:count1h{" + id + "} 100+100x90\n  slo:events_error:count6h{" + id + "} 100+100x90\n")
		for w := range strings.FieldsSeq(tc.burning) {
			fmt.Fprintf(&load, "  slo:sli_error:ratio_rate%s{%s,sloth_window=\"%s\"} 0.02x90\n", w, id, w)
		}
		st := promqltest.LoadedStorage(t, load.String())
		q, err := engine.NewInstantQuery(t.Context(), st, nil, groups[0].Rules[0].Expr, time.Unix(80*60, 0))
		if err != nil {
			t.Fatal(err)
		}
		got, err := q.Exec(t.Context()).Vector()
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0].Metric.String() != "{"+id+"}" || got[0].F < 19.99 || got[0].F > 20.01 {
			t.Errorf("%s: %v; want one sample {%s} of 20", tc.name, got, id)
		}
		q.Close()
	}
}

func TestGroupsParse(t *testing.T) {
	groups, err := Groups(shop(), Options{Interval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) != 3 {
		t.Fatalf("%d groups; want 3, as one SLO has no alerts", len(groups))
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
