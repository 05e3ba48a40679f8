package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/openslo"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

// everything says most of what the language can.
const everything = `service: shop
defaults: {slack: "#shop", window: 30d, min_events: 3, labels: {team: shop}, runbook: "https://wiki.example/{flow}"}
flows:
  checkout:
    match: {http.request.method: POST, http.route: /api/checkout, x: {not: [a, "5*"]}}
    bad_when: {http.response.status_code: ">=500"}
    by: {attribute: tenant.id, limit: 7}
    owner: payments
    description: What a customer pays with.
    window: 7d
    slos:
      - 99.9% succeed
      - 95% under 300ms
      - 99.5% of minutes with 95% under 1s
      - {succeed: 99%, name: slices, time_slice: {target: 99.5%, length: 5m}, min_events: 2}
      - {succeed: 98%, name: monthly, window: month, timezone: Europe/Zurich, alerts: {page: off, ticket: {labels: {a: b}}}}
      - {faster_than: 2s, for: 99%, alerts: {tiers: [{severity: page, burn_rate: 10, long: 1h, short: 5m}]}}
    alerts: {page: "#oncall", ticket: "#shop"}
  nightly:
    match: {kind: consumer, messaging.destination.name: orders}
    slos: [fresh every 26h, 99.5% fresh every 1h, {fresh: 7d, for: 90%, window: quarter, id: nightly}]
  queue:
    slos:
      - {promql: {bad: "sum(rate(a[$window]))", total: "sum(rate(b[$window]))"}, target: 99%, id: Queue.1, alerts: {name: Q}}
      - {promql: {ratio: "avg_over_time(c[$window])"}, target: 90%, name: ratio, time_slice: 95%, alerts: off}
exclude:
  - {from: "2026-12-01 02:00", for: 2h, flows: [checkout], why: upgrade}
  - {every: [sunday, friday], at: "02:00", for: 1h, timezone: America/New_York}
  - {every: month, on: 31, at: "23:55", for: 5m, flows: [nightly], until: "2027-01-01"}
`

// TestWhatLoadsIsExplainedAndConverted changes words of files that are right at
// random and holds commands to the law of the loader: of what it accepts,
// explain prints every SLO, and convert writes what loads to the same SLOs.
func TestWhatLoadsIsExplainedAndConverted(t *testing.T) {
	const tries, enough = 800, 150
	words := regexp.MustCompile(`[A-Za-z0-9#"][^\s\[\]{},:]*`)
	others := []string{
		"0.0000001%", "1%", "50%", "93%", "99.99%", "99.9999999%", "100%", "10s", "5m", "1m", "1h", "1ns", "36h", "28d", "400d", "292d3h",
		"week", "month", "quarter", "day", "monday", "UTC", "Pacific/Apia", "Asia/Kathmandu", "0", "1", "3", "31", "1000000", "0.5", "1e3",
		"off", "page", "ticket", "true", `"#x"`, `"it's: #1"`, `"a\nb"`, "ä", "alerts", "window", "bad", "good", "total", "ratio", "fresh", "succeed",
	}
	seeds := []string{everything}
	for _, path := range []string{"demo.yaml", "../../deploy/example/slos.yaml"} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, string(data))
	}
	r := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for range tries {
		text := seeds[r.IntN(len(seeds))]
		for range r.IntN(3) {
			all := words.FindAllStringIndex(text, -1)
			at := all[r.IntN(len(all))]
			text = text[:at[0]] + others[r.IntN(len(others))] + text[at[1]:]
		}
		config, err := spec.Parse("f.yaml", []byte(text))
		if err != nil {
			continue
		}
		accepted++
		checkExplained(t, text, config.Flows, r)
		checkConverted(t, text, config.Flows)
		if t.Failed() {
			return
		}
	}
	if accepted < enough {
		t.Errorf("%d of %d files load, want at least %d", accepted, tries, enough)
	}
}

var nonsense = regexp.MustCompile(`NaN|\bInf\b|%!|[ (]-\d|0001-01-01`)

// checkExplained explains flows, at some moment and with some traffic.
func checkExplained(t *testing.T, text string, flows []slo.Flow, r *rand.Rand) {
	t.Helper()
	var rates []string
	if r.IntN(2) == 0 {
		rates = []string{fmt.Sprintf("%d/min", 1+r.IntN(100_000))}
	}
	traffic, err := parseTraffic(rates, flows)
	if err != nil {
		t.Fatal(err)
	}
	e := explainer{at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(r.Int64N(int64(400 * 24 * time.Hour)))), traffic: traffic}
	for i := range flows {
		e.flow(&flows[i])
	}
	for _, s := range slo.All(flows) {
		if !strings.Contains(e.String(), "("+s.ID()+")") {
			t.Errorf("explain says nothing of %s in\n%s", s.ID(), text)
		}
	}
	if found := nonsense.FindString(e.String()); found != "" {
		t.Errorf("explain says %q:\n%s\nof\n%s", found, e.String(), text)
	}
}

var openSLOName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`)

// checkConverted converts flows both ways and reads the result.
func checkConverted(t *testing.T, text string, flows []slo.Flow) {
	t.Helper()
	ids := func(flows []slo.Flow) map[string]string {
		out := map[string]string{}
		for _, s := range slo.All(flows) {
			out[s.ID()] = fmt.Sprint(s.Objective.Target, s.Objective.Window, s.Objective.Calendar)
		}
		return out
	}
	want := ids(flows)
	files, err := spec.Marshal(flows)
	if err != nil {
		t.Errorf("%v, of\n%s", err, text)
		return
	}
	got := map[string]string{}
	for _, f := range files {
		config, err := spec.Parse(f.Name, f.Data)
		if err != nil {
			t.Errorf("%v, of\n%s", err, f.Data)
		}
		maps.Copy(got, ids(config.Flows))
	}
	if !maps.Equal(got, want) {
		t.Errorf("as slowburn's %v, want %v, of\n%s", got, want, text)
	}
	if slices.ContainsFunc(flows, func(f slo.Flow) bool { return !openSLOName.MatchString(f.Service) }) {
		return // OpenSLO has names of its own for services
	}
	data, _, err := openslo.Write(flows)
	if err != nil {
		t.Errorf("%v, of\n%s", err, text)
		return
	}
	config, err := spec.Parse("openslo.yaml", data)
	if err != nil {
		t.Errorf("what is written as OpenSLO: %v\n%s\nof\n%s", err, text, data)
		return
	}
	if got := slices.Sorted(maps.Keys(ids(config.Flows))); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Errorf("as OpenSLO %v, want %v, of\n%s", got, want, text)
	}
}
