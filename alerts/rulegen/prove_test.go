package rulegen

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// proof writes the rules of flows and their tests, the rules changed by mutate,
// and has promtool judge them. It returns what promtool says, "" if it is
// content, and how many SLOs are tested.
func proof(t *testing.T, flows []slo.Flow, o RecordOptions, mutate func(expr string) string) (said string, tested int) {
	t.Helper()
	need(t, "promtool")
	groups, _, err := Record(flows, o)
	if err != nil {
		t.Fatal(err)
	}
	f := File{Name: "slowburn.yaml", Groups: groups}
	tests, notes, err := Tests(f, flows, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range notes {
		t.Log("note:", n)
	}
	changed := mutate == nil
	for i := range f.Groups {
		for j := range f.Groups[i].Rules {
			r := &f.Groups[i].Rules[j]
			if mutate != nil {
				expr := mutate(r.Expr)
				changed = changed || expr != r.Expr
				r.Expr = expr
			}
		}
	}
	if !changed {
		t.Fatal("the mutation changes no rule")
	}
	text, err := f.Marshal(MarshalOptions{Format: Prometheus})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "tests"), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name string, text []byte) string {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.WriteFile(p, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	write(f.Name, text)
	args := []string{"test", "rules"}
	all := ""
	for _, test := range tests {
		args = append(args, write(test.Name, test.Text))
		all += string(test.Text)
	}
	for _, s := range slo.All(flows) {
		if strings.Contains(all, fmt.Sprintf("=%q", s.ID())) {
			tested++
		}
	}
	if len(args) == 2 {
		return "", tested
	}
	began := time.Now()
	out, err := exec.Command("promtool", args...).CombinedOutput()
	t.Logf("%d SLOs, %d of them tested, %d bytes of tests, promtool took %s", len(slo.All(flows)), tested, len(all), time.Since(began).Round(time.Millisecond))
	if err == nil {
		return "", tested
	}
	return string(out), tested
}

// TestBrokenRulesFail breaks rules and expects their tests to fail: a test that
// cannot fail proves nothing.
func TestBrokenRulesFail(t *testing.T) {
	flow := func(kind slo.Kind, q slo.Query) []slo.Flow {
		o := dayObjective(kind, q)
		o.Window, o.Tiers = month, slo.Tiers(0.99, month)
		return []slo.Flow{{Name: "checkout", Service: "shop", Objectives: []slo.Objective{o}}}
	}
	counters, metrics := flow(slo.Succeed, slo.Query{}), flow(slo.PromQL, byCode)
	for _, flows := range [][]slo.Flow{counters, metrics} {
		if said, tested := proof(t, flows, RecordOptions{}, nil); said != "" || tested != 1 {
			t.Fatalf("of whole rules, promtool says of %d SLOs:\n%s", tested, said)
		}
	}
	for i, tc := range []struct {
		name     string
		flows    []slo.Flow
		from, to string
	}{
		{"a page's factor doubled", counters, ` / 0.01 > 14.4`, ` / 0.01 > 28.8`},
		{"a ticket's factor doubled", counters, ` / 0.01 > 1\n`, " / 0.01 > 2\n"},
		{"idle is not left out", counters, ` > 0\)`, ")"},
		{"a page judges a longer window", metrics, `ratio_rate1h\{sloth_id`, "ratio_rate6h{sloth_id"},
		{"a page judges a shorter window", counters, `ratio_rate1h\{sloth_id`, "ratio_rate5m{sloth_id"},
		{"a ticket judges a shorter window", metrics, `ratio_rate(1d|3d)\{sloth_id`, "ratio_rate2h{sloth_id"},
		{"no evidence is asked for", metrics, `and ignoring \(sloth_window\)\s+(last_over_time\()?slo:events_error:count[^>]+> 2.5`, ""},
		{"errors of collectors count twice", counters, `^slo_errors_total`, "2 * slo_errors_total"},
		{"errors of metrics count twice", metrics, `sum\(rate\(http_requests_total\{code`, "2 * sum(rate(http_requests_total{code"},
		{"a collector that is gone is forgotten", counters, `last_over_time\(slo:(errors|events):held(\S+)\[1h\]\) unless`, "nothing$2 unless"},
		{"resets are losses", metrics, `rate\(http`, "idelta(http"},
		{"a page fires in place of a ticket", counters, ` / 0.01 > 6\n`, " / 0.01 > 3\n"},
		{"the ticket is gone", counters, ` / 0.01 > (3|1)\n`, " / 0.01 > 1000\n"},
	} {
		if testing.Short() && i > 0 {
			break // it is promtool that works here
		}
		t.Run(tc.name, func(t *testing.T) {
			from := regexp.MustCompile(tc.from)
			said, _ := proof(t, tc.flows, RecordOptions{}, func(expr string) string { return from.ReplaceAllString(expr, tc.to) })
			if !strings.Contains(said, "got:") {
				t.Errorf("promtool does not mind; it says:\n%s", said)
			}
		})
	}
}
