package rulegen

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

// kinds returns a flow with an objective of every kind and every way to alert.
func kinds() []slo.Flow {
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		panic(err)
	}
	tiers := slo.Tiers(0.99, month)
	return []slo.Flow{{
		Name: "checkout", Service: "shop", Labels: map[string]string{"team": "payments", "severity": "ours"},
		Description: "of the flow",
		Objectives: []slo.Objective{
			{Name: "monthly", Target: 0.99, Window: month, Calendar: slo.Calendar{Unit: slo.Month, Zone: zurich}, Tiers: tiers[:1]},
			{Name: "minutes", Target: 0.995, Slice: time.Minute, SliceTarget: 0.95, Window: month, MinEvents: 1, Tiers: tiers[3:]},
			{Name: "nightly", Kind: slo.Fresh, Slice: time.Minute, Target: 0.99, Threshold: 26 * time.Hour, Window: month, MinEvents: 1, Tiers: tiers[:1]},
			{Name: "silent", Target: 0.99, Window: month},
			{
				Name: "imported", ID: "requests-availability", Kind: slo.PromQL, Target: 0.99, Window: month, Tiers: tiers[1:3],
				Query: slo.Query{Bad: "sum(rate(a[$window]))", Total: "sum(rate(b[$window]))"},
				Alert: slo.AlertText{
					Name:              "ShopErrors",
					Labels:            map[string]string{"category": "availability", "severity": "theirs", series.ID: "mine", series.Severity: "none", "alertname": "other"},
					Annotations:       map[string]string{"summary": "errors on {{ $labels.sloth_service }}", "description": "of both"},
					PageLabels:        map[string]string{"severity": "pageteam", "routing_key": "shop"},
					TicketLabels:      map[string]string{"severity": "slack"},
					PageAnnotations:   map[string]string{"description": "of the page"},
					TicketAnnotations: map[string]string{"dashboard": "https://grafana.example/d/1"},
				},
			},
		},
	}}
}

// TestKinds holds the rules of every kind of objective and way to alert.
func TestKinds(t *testing.T) {
	golden(t, "kinds", generate(t, kinds()))
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, generate(t, kinds()), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}

// TestAlertText holds what a user's own name, labels and annotations make of
// alerts: theirs win, of the severity before those of both, and none of them
// changes which SLO an alert is of.
func TestAlertText(t *testing.T) {
	groups, err := Groups(kinds(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	rules := groups[len(groups)-2].Rules // the last one is of the flow's traffic
	if len(rules) != 2 {
		t.Fatalf("%d rules, want a page and a ticket", len(rules))
	}
	for i, want := range []map[string]string{
		{
			"name": "ShopErrors", "sloth_severity": "page", "severity": "pageteam", "category": "availability", "team": "payments",
			"routing_key": "shop", "sloth_id": "", "alertname": "", "description": "of the page", "dashboard": "",
			"summary": "errors on {{ $labels.sloth_service }}", "objective": "99% good over 30d",
		},
		{
			"name": "ShopErrors", "sloth_severity": "ticket", "severity": "slack", "category": "availability", "team": "payments",
			"routing_key": "", "sloth_id": "", "alertname": "", "description": "of both", "dashboard": "https://grafana.example/d/1",
		},
	} {
		for key, value := range want {
			got := rules[i].Labels[key] + rules[i].Annotations[key]
			if key == "name" {
				got = rules[i].Alert
			}
			if got != value {
				t.Errorf("rule %d: %s = %q, want %q", i, key, got, value)
			}
		}
		if !strings.Contains(rules[i].Expr, `{sloth_id="shop-requests-availability"}`) {
			t.Errorf("rule %d does not read the SLO's own series:\n%s", i, rules[i].Expr)
		}
	}
}

// TestBadAlertText: a text that Prometheus would refuse is refused with its
// place, before it is in force.
func TestBadAlertText(t *testing.T) {
	flows := kinds()
	o := &flows[0].Objectives[4]
	o.Pos = slo.Pos{File: "slos.yaml", Line: 12, Column: 5}
	o.Alert.PageAnnotations = map[string]string{"summary": "{{ $labels.sloth_service "}
	o.Alert.TicketLabels = map[string]string{"": "empty"}
	_, err := Groups(flows, Options{})
	for _, want := range []string{
		`slos.yaml:12:5: SLO shop-requests-availability, page alert: annotation "summary": template: `,
		"slos.yaml:12:5: SLO shop-requests-availability, ticket alert: invalid label name: ",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Groups = %v\nwant %s", err, want)
		}
	}
}
