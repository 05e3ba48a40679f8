package spec

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/query"
	"github.com/slowburn-slo/slowburn/slo/source"
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
		checkout("match: /x", "slos:", "- fresh every 26h", "- 99.5% of minutes with 95% under 300ms", "- {succeed: 100%, time_slice: {target: 99%, length: 5m}}", "- {fresh: 1h, for: 95%}"),
		checkout("slos:", "- {promql: {bad: 'sum(rate(a{b=\"c\"}[{{.window}}]))', total: 'sum(rate(d[$window]))'}, target: 99%, id: A.b}", "- {promql: {ratio: 'x[$window'}, target: 9%}"),
		checkout("match: /x", "window: quarter", "timezone: America/New_York", "slos: [9% succeed, {succeed: 9%, window: 7d, name: x}]", "alerts: {name: A, page: off, ticket: {slack: '#t', labels: {severity: x}, annotations: {a: '{{ $value }}'}}}"),
		"service: a\ndefaults: {timezone: Europe/Zurich, labels: {b: c}, bad_when: {status: error}, alerts: off}\nflows: {d: {match: /, slos: [9% succeed]}}\n" +
			"exclude:\n- {from: 2026-10-25 02:30, to: 2026-10-25T03:00+01:00, flows: [d], why: e}\n- {every: [sunday, friday], at: 2:05, for: 1h, from: 2026-01-01, until: 2027-01-01}\n" +
			"- {every: month, on: 31, at: '23:55', for: 5m, timezone: UTC}\n",
		checkout("match: /x", "where: [service.version, kind]", "slos: [9% succeed]", "alerts: {outage: true, spent: [50%, 100%], runs_out: on, tiers: off}"),
		excluding("- {from: 2026-03-29 02:30, for: 2h, timezone: Europe/Zurich}", "- {every: day, at: 24:00, for: 23h}"),
		"slack: #shop\nflows:\n  a: &b [*b]\n  <<: !!str |\n    x\n? {y: [}\n",
		"\ufeff---\r\nservice: \"\\u0000\\x41\"\r\nflows: {a: {page: #b}}\r\n...\r\n",
		"service: a\nservice: ~\nflows:\n- 0x1f\n-\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		config, err := Parse("f.yaml", data)
		if err != nil {
			checkFaults(t, err)
			return
		}
		if len(config.Flows) == 0 {
			t.Error("no flows and no fault")
		}
		ids := map[string]bool{}
		for i := range config.Flows {
			checkFlow(t, &config.Flows[i])
			for _, s := range config.Flows[i].SLOs() {
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
	var faults source.Faults
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
	if len(f.Match) == 0 && f.Counted() {
		t.Errorf("flow %q matches every span", f.Name)
	}
	for _, c := range append(append(slo.Selector{}, f.Match...), f.BadWhen...) {
		if c.Key == "" || len(c.Any) == 0 || c.Pos.Line < 1 || older[c.Key] != "" {
			t.Errorf("condition %+v", c)
		}
	}
	keys := map[string]bool{}
	for _, key := range f.Where {
		if key == "" || older[key] != "" || keys[key] || len(f.Where) > slo.MaxWhere || strings.ContainsFunc(key, source.NotInName) {
			t.Errorf("flow %q compares %q", f.Name, f.Where)
		}
		keys[key] = true
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
		checkObjective(t, o)
	}
	for _, e := range f.Exclude {
		checkExclusion(t, e)
	}
}

func checkObjective(t *testing.T, o slo.Objective) {
	t.Helper()
	if o.Target <= 0 || o.Target >= 1 || o.Budget() <= 0 || o.Window < minWindow || o.Window > maxWindow ||
		o.MinEvents < 1 || !slug.MatchString(o.Name) || o.ID != "" && !idName.MatchString(o.ID) || o.Pos.Line < 1 || o.Pos.Column < 1 {
		t.Errorf("objective %+v", o)
	}
	if o.Calendar.Unit != slo.Rolling && o.Window != o.Calendar.Unit.Nominal() || o.Calendar.Unit == slo.Rolling && o.Calendar.Zone != nil {
		t.Errorf("calendar %v of a window of %v", o.Calendar, o.Window)
	}
	if (o.Kind == slo.FasterThan || o.Kind == slo.Fresh) != (o.Threshold > 0) {
		t.Errorf("objective of kind %d has the threshold %v", o.Kind, o.Threshold)
	}
	switch sliced := o.SliceTarget > 0; {
	case o.Kind == slo.Fresh && (sliced || o.Slice != time.Minute):
		t.Errorf("a fresh objective has slices of %v with %v", o.Slice, o.SliceTarget)
	case o.Kind != slo.Fresh && (sliced != (o.Slice > 0) || o.SliceTarget > 1):
		t.Errorf("slices of %v with %v", o.Slice, o.SliceTarget)
	case o.Slice > 0 && (o.Slice%slot != 0 || time.Hour%o.Slice != 0):
		t.Errorf("slices of %v", o.Slice)
	}
	for _, tier := range o.Tiers {
		if tier.Factor <= 0 || tier.Factor*o.Budget() >= 1 || tier.Short < slot || tier.Short >= tier.Long || tier.Long > o.Window ||
			tier.Severity != slo.Page && tier.Severity != slo.Ticket {
			t.Errorf("tier %+v of a target of %v over %v", tier, o.Target, o.Window)
		}
	}
	if o.Outage && tooSlow(o) != "" {
		t.Errorf("objective %+v is to page on outages", o)
	}
	for i, share := range o.Spent {
		if share < leastShare || share > 1 || i > 0 && (share <= o.Spent[i-1] || slo.Percent(share) == slo.Percent(o.Spent[i-1])) {
			t.Errorf("shares %v of a budget", o.Spent)
		}
	}
	if d, bad := lookback(slo.Duration(o.Window)); bad != nil || d != o.Window {
		t.Errorf("window %v reads back as %v, %v", o.Window, d, bad)
	}
	if o.Kind == slo.PromQL {
		checkQuery(t, o.Query)
		return
	}
	if o.Query != (slo.Query{}) {
		t.Errorf("objective of kind %d has the query %+v", o.Kind, o.Query)
	}
	// What we write ourselves, we read.
	again, bad := sentence(o.Sentence())
	if bad != nil || again.Kind != o.Kind || again.Threshold != o.Threshold || slo.Percent(again.Target) != slo.Percent(o.Target) ||
		again.Slice != o.Slice || slo.Percent(again.SliceTarget) != slo.Percent(o.SliceTarget) {
		t.Errorf("sentence %q reads back as %+v, %v", o.Sentence(), again, bad)
	}
}

// checkQuery: a ratio, or all events and one of bad and good; each is what
// package query takes.
func checkQuery(t *testing.T, q slo.Query) {
	t.Helper()
	counts := q.Total != "" && q.Ratio == "" && (q.Bad == "") != (q.Good == "")
	if !counts && (q.Ratio == "" || q != slo.Query{Ratio: q.Ratio}) {
		t.Errorf("query %+v", q)
	}
	for _, expr := range []string{q.Bad, q.Good, q.Total, q.Ratio} {
		if expr != "" {
			if err := query.Check(expr); err != nil {
				t.Errorf("query %q: %v", expr, err)
			}
		}
	}
}

func checkExclusion(t *testing.T, e slo.Exclusion) {
	t.Helper()
	whole := func(at time.Time) bool {
		return at.IsZero() || at.Unix()%300 == 0 && at.Year() > 1998 && at.Year() < 2201
	}
	if e.For <= 0 || e.For > maxWindow || e.For%slo.ExclusionStep != 0 || e.At < 0 || e.At >= day || e.At%slo.ExclusionStep != 0 ||
		!whole(e.From) || !whole(e.Until) || e.Pos.Line < 1 || e.Pos.Column < 1 || e.Zone == time.UTC {
		t.Errorf("exclusion %+v", e)
	}
	if !e.Until.IsZero() && !e.Until.After(e.From) {
		t.Errorf("exclusion from %v until %v", e.From, e.Until)
	}
	once := !e.From.IsZero() && len(e.Days) == 0 && e.Day == 0 && e.At == 0 && e.Until.IsZero()
	if e.Every == slo.Once && !once || (e.Every == slo.Weekly) != (len(e.Days) > 0) || (e.Every == slo.Monthly) != (e.Day > 0) {
		t.Errorf("exclusion %+v", e)
	}
	// Intervals of one exclusion never meet.
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var last time.Time
	for i := range e.Between(from, from.AddDate(1, 0, 0)) {
		if i.Start.Before(last) || !i.End.After(i.Start) || i.Start.Unix()%300 != 0 {
			t.Errorf("interval %v after %v of %+v", i, last, e)
		}
		last = i.End
	}
}
