package spec

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/slowburn-slo/slowburn/slo"
)

// FuzzParse holds Parse to its word for any file: faults have a place and one
// line each, and flows are such that nothing further on has to doubt them.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		checkout("match: POST /api/checkout", "slos:", "- 99.9% succeed", "- p95 < 300ms"),
		checkout("match: {http.method: [GET, 'P*'], status: {not: error}, x: '>=5'}", "by: {attribute: tenant.id, limit: 7}", "slos: [1% succeed]"),
		promise("{succeed: 99%, window: 7d, name: x, alerts: {tiers: [{severity: page, burn_rate: 10, long: 1h, short: 5m}]}}"),
		promise("{faster_than: 1h30m, for: 99.999%, min_events: 50, window: month, timezone: Europe/Zurich}"),
		"defaults: {window: 4w, slack: \"#shop\", owner: a, runbook: \"https://wiki.example/{flow}\", min_events: 2}\nflows: {a: {service: b, match: /, slos: [9% succeed], labels: {c: d}}}\n",
		"slack: #shop\nflows:\n  a: &b [*b]\n  <<: !!str |\n    x\n? {y: [}\n",
		"\ufeff---\r\nservice: \"\\u0000\\x41\"\r\nflows: {a: {page: #b}}\r\n...\r\n",
		"service: a\nservice: ~\nflows:\n- 0x1f\n-\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		flows, err := Parse("f.yaml", data)
		if err != nil {
			checkFaults(t, err)
			return
		}
		if len(flows) == 0 {
			t.Error("no flows and no fault")
		}
		ids := map[string]bool{}
		for i := range flows {
			checkFlow(t, &flows[i])
			for _, s := range flows[i].SLOs() {
				if ids[s.ID()] {
					t.Errorf("two SLOs have the id %q", s.ID())
				}
				ids[s.ID()] = true
			}
		}
	})
}

func checkFaults(t *testing.T, err error) {
	t.Helper()
	var faults Faults
	if !errors.As(err, &faults) || len(faults) == 0 {
		t.Fatalf("the error is %T, want Faults", err)
	}
	for i, f := range faults {
		if f.Pos.Line < 1 || f.Pos.Column < 1 || f.Pos.File != "f.yaml" || f.Fact == "" || f.Want == "" {
			t.Errorf("fault without a place or words: %+v", f)
		}
		if strings.ContainsFunc(f.String(), unicode.IsControl) || !utf8.ValidString(f.String()) {
			t.Errorf("fault of more than one line: %q", f)
		}
		if i > 0 && f.Pos.Line < faults[i-1].Pos.Line {
			t.Errorf("%s comes after %s", f.Pos, faults[i-1].Pos)
		}
	}
}

func checkFlow(t *testing.T, f *slo.Flow) {
	t.Helper()
	if !slug.MatchString(f.Name) || f.Service == "" || f.Pos.Line < 1 || f.Pos.Column < 1 {
		t.Errorf("flow %q of service %q at %v", f.Name, f.Service, f.Pos)
	}
	if len(f.Match) == 0 {
		t.Errorf("flow %q matches every span", f.Name)
	}
	for _, c := range append(append(slo.Selector{}, f.Match...), f.BadWhen...) {
		if c.Key == "" || len(c.Any) == 0 || c.Pos.Line < 1 || older[c.Key] != "" {
			t.Errorf("condition %+v", c)
		}
	}
	if f.By != "" && f.ByLimit < 1 {
		t.Errorf("by %q keeps %d values", f.By, f.ByLimit)
	}
	if u, err := url.Parse(f.Runbook); f.Runbook != "" && (err != nil || u.Host == "") {
		t.Errorf("runbook %q", f.Runbook)
	}
	if len(f.Objectives) == 0 {
		t.Errorf("flow %q has no objective", f.Name)
	}
	for _, o := range f.Objectives {
		if o.Target <= 0 || o.Target >= 1 || o.Budget() <= 0 || o.Window < minWindow || o.Window > maxWindow ||
			o.MinEvents < 1 || !slug.MatchString(o.Name) || o.Pos.Line < 1 || o.Pos.Column < 1 {
			t.Errorf("objective %+v", o)
		}
		if (o.Kind == slo.FasterThan) != (o.Threshold > 0) {
			t.Errorf("objective of kind %d has the threshold %v", o.Kind, o.Threshold)
		}
		if len(o.Tiers) == 0 {
			t.Errorf("objective %q never alerts", o.Name)
		}
		for _, tier := range o.Tiers {
			if tier.Factor <= 0 || tier.Factor*o.Budget() >= 1 || tier.Short < slot || tier.Short >= tier.Long || tier.Long > o.Window ||
				tier.Severity != slo.Page && tier.Severity != slo.Ticket {
				t.Errorf("tier %+v of a target of %v over %v", tier, o.Target, o.Window)
			}
		}
		// What we write ourselves, we read.
		again, bad := sentence(o.Sentence())
		if bad != nil || again.Kind != o.Kind || again.Threshold != o.Threshold || slo.Percent(again.Target) != slo.Percent(o.Target) {
			t.Errorf("sentence %q reads back as %+v, %v", o.Sentence(), again, bad)
		}
		if d, bad := lookback(slo.Duration(o.Window)); bad != nil || d != o.Window {
			t.Errorf("window %v reads back as %v, %v", o.Window, d, bad)
		}
	}
}
