package spec

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// TestMarshal compares what is written, for people to read: sentences where
// they say all, once what all say alike, and nothing that is the default.
func TestMarshal(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{
			name: "the long form of what has a short one",
			in: `
flows:
  checkout:
    service: shop
    match: {http.method: POST, http.route: "/api/{id}"}
    by: {attribute: tenant.id, limit: 100}
    slos:
      - {succeed: 99.90%, window: 720h, min_events: 3, name: availability, id: checkout-availability}
      - {faster_than: 0.3s, for: 95%, alerts: {tiers: [
          {severity: page, burn_rate: 10, long: 1h, short: 5m}, {severity: page, burn_rate: 6, long: 6h, short: 30m},
          {severity: ticket, burn_rate: 3, long: 1d, short: 2h}, {severity: ticket, burn_rate: 1, long: 3d, short: 6h}]}}
      - {fresh: 26h}
      - {succeed: 95%, name: m, time_slice: {target: 99.5%, length: 1m}}
      - {succeed: 100%, time_slice: {target: 99.5%, length: 300s}}
    alerts: {page: "#shop", ticket: "#shop"}
`,
			want: `-- shop.yaml --
service: shop
slack: "#shop"
flows:
  checkout:
    match: POST /api/{id}
    by: tenant.id
    slos:
      - 99.9% succeed
      - 95% under 300ms
      - 99% fresh every 26h
      - {succeed: 95%, time_slice: {target: 99.5%, length: 1m}, name: m}
      - 99.5% of 5m with 100% succeed
`,
		},
		{
			name: "outages, budgets and where",
			in: `
service: shop
defaults: {where: [service.version, tenant.id], alerts: {spent: [50%, 100%]}}
flows:
  a: {match: /a, slos: [99% succeed, {succeed: 98%, name: b, alerts: {page: off, outage: true}}]}
  c: {match: /c, slos: [99% succeed], alerts: {page: {labels: {severity: critical}}, outage: true}}
  d: {match: /d, slos: [{succeed: 99%, alerts: {page: off, outage: true}}], alerts: {page: {labels: {severity: critical}}, runs_out: true}}
`,
			want: `-- shop.yaml --
service: shop
defaults: {where: [service.version, tenant.id]}
flows:
  a:
    match: /a
    slos:
      - {succeed: 99%, alerts: {spent: [50%, 100%]}}
      - {succeed: 98%, name: b, alerts: {page: off, outage: true, spent: [50%, 100%]}}
  c:
    match: /c
    slos:
      - succeed: 99%
        alerts: {page: {labels: {severity: critical}}, outage: true, spent: [50%, 100%]}
  d:
    match: /d
    slos:
      - succeed: 99%
        alerts:
          page: {labels: {severity: critical}}
          tiers:
            - {severity: ticket, burn_rate: 3, long: 1d, short: 2h}
            - {severity: ticket, burn_rate: 1, long: 3d, short: 6h}
          outage: true
          spent: [50%, 100%]
          runs_out: true
`,
		},
		{
			name: "what all flows say",
			in: `
service: shop
defaults: {window: 7d, min_events: 5, owner: team-shop, labels: {area: web}, alerts: {page: "#oncall", ticket: "#shop"}}
flows:
  a: {match: /a, slos: [99% succeed, {succeed: 98%, name: b, alerts: off}]}
  c: {match: /c, slos: [99% succeed], bad_when: {status: error}}
`,
			want: `-- shop.yaml --
service: shop
defaults:
  window: 7d
  alerts: {page: "#oncall", ticket: "#shop"}
  min_events: 5
  owner: team-shop
  labels: {area: web}
flows:
  a:
    match: /a
    slos:
      - 99% succeed
      - {succeed: 98%, name: b, alerts: off}
  c:
    match: /c
    bad_when: {status: error}
    slos:
      - 99% succeed
`,
		},
		{
			name: "what a flow's objectives say",
			in: `
service: shop
flows:
  a: {match: /a, slos: [99% succeed]}
  b:
    match: {not.http: x}
    window: month
    timezone: Europe/Zurich
    min_events: 9
    alerts: {ticket: off, page: {labels: {team: "#x"}}}
    slos: [99% succeed, 95% under 1s]
`,
			want: `-- shop.yaml --
service: shop
flows:
  a:
    match: /a
    slos:
      - 99% succeed
  b:
    match: {not.http: x}
    slos:
      - 99% succeed
      - 95% under 1s
    window: month
    timezone: Europe/Zurich
    alerts: {page: {labels: {team: "#x"}}, ticket: off}
    min_events: 9
`,
		},
		{
			name: "a file for each service",
			in: `
flows:
  a: {service: Web Shop, match: /a, slos: [99% succeed]}
  b: {service: web-shop, match: /a, slos: [99% succeed]}
  c: {service: ../etc/passwd, match: /a, slos: [99% succeed]}
  d: {service: "ÄÖ", match: /a, slos: [99% succeed]}
  e: {service: "1", match: /a, slos: [99% succeed]}
`,
			want: `-- 1.yaml --
service: "1"
flows:
  e:
    match: /a
    slos:
      - 99% succeed
-- etc-passwd.yaml --
service: "../etc/passwd"
flows:
  c:
    match: /a
    slos:
      - 99% succeed
-- service.yaml --
service: ÄÖ
flows:
  d:
    match: /a
    slos:
      - 99% succeed
-- web-shop-2.yaml --
service: web-shop
flows:
  b:
    match: /a
    slos:
      - 99% succeed
-- web-shop.yaml --
service: Web Shop
flows:
  a:
    match: /a
    slos:
      - 99% succeed
`,
		},
		{
			name: "time that does not count",
			in: `
service: shop
defaults: {timezone: Europe/Zurich, window: week}
flows: {a: {match: /a, slos: [99% succeed]}, b: {match: /b, slos: [99% succeed]}}
exclude:
  - {from: 2026-12-01, to: 2026-12-01 02:00, why: "upgrade: the database"}
  - {every: sunday, at: 2:00, for: 60m, flows: [b]}
  - {every: month, on: 15, at: 00:05, for: 1h, flows: [a, b]}
`,
			want: `-- shop.yaml --
service: shop
defaults: {window: week}
flows:
  a:
    match: /a
    slos:
      - {succeed: 99%, timezone: Europe/Zurich}
  b:
    match: /b
    slos:
      - {succeed: 99%, timezone: Europe/Zurich}
exclude:
  - {from: "2026-12-01 00:00", for: 2h, timezone: Europe/Zurich, why: "upgrade: the database"}
  - {every: sunday, at: "02:00", for: 1h, timezone: Europe/Zurich, flows: [b]}
  - {every: month, on: 15, at: "00:05", for: 1h, timezone: Europe/Zurich}
`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config, err := Parse("f.yaml", []byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			files, err := Marshal(config.Flows)
			if err != nil {
				t.Fatal(err)
			}
			if got := join(files); got != tc.want {
				t.Errorf("Marshal writes\n%s\nwant\n%s", got, tc.want)
			}
			checkRoundTrip(t, config.Flows)
		})
	}
}

// TestMarshalRefuses names what the language cannot say.
func TestMarshalRefuses(t *testing.T) {
	good := func() slo.Flow {
		config, err := Parse("f.yaml", []byte(checkout("match: /x", "slos: [99% succeed]")))
		if err != nil {
			t.Fatal(err)
		}
		return config.Flows[0]
	}
	for _, tc := range []struct {
		name   string
		change func(*slo.Flow)
		want   string
	}{
		{
			"a name that is no slug", func(f *slo.Flow) { f.Name = "Check out" },
			`service "shop" cannot be written: written:7:3: flows."Check out": the flow's name is not a slug; want 1 to 64 of a-z, 0-9, - and _, such as checkout`,
		},
		{
			"no objective", func(f *slo.Flow) { f.Objectives = nil },
			`service "shop" cannot be written: written:9:11: flows.checkout.slos: is an empty list; want a list of at least one, such as [99.9% succeed]`,
		},
		{
			"a target of all", func(f *slo.Flow) { f.Objectives[0].Target = 1 },
			`service "shop" cannot be written: written:10:19: flows.checkout.slos[0].succeed: 100% leaves no error budget; want less than 100%`,
		},
		{
			"a threshold that means nothing", func(f *slo.Flow) { f.Objectives[0].Threshold = 1 },
			`service "shop" cannot be written: flow "checkout" reads back as another: `,
		},
		{
			"the same requests as another", func(f *slo.Flow) { f.Match = slo.Selector{{Key: slo.KeyRoute, Any: []slo.Pattern{{Text: "/y"}}}} },
			`service "shop" cannot be written: written:8:12: flows.checkout.match: picks the same spans as flow other`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := good()
			tc.change(&f)
			other := good()
			other.Name = "other"
			other.Match = slo.Selector{{Key: slo.KeyRoute, Any: []slo.Pattern{{Text: "/y"}}}}
			files, err := Marshal([]slo.Flow{other, f})
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) || files != nil {
				t.Errorf("Marshal = %v, %v\nwant %s", files, err, tc.want)
			}
		})
	}
}

// TestMarshalLarge writes more than one file may hold.
func TestMarshalLarge(t *testing.T) {
	const n, each = 500, 4 << 10
	config, err := Parse("f.yaml", []byte(checkout("match: /x", "slos: [99.9% succeed, 95% under 300ms]")))
	if err != nil {
		t.Fatal(err)
	}
	flows := make([]slo.Flow, n)
	for i := range flows {
		flows[i] = config.Flows[0]
		flows[i].Name = fmt.Sprintf("flow-%d", i)
		flows[i].Match = slo.Selector{{Key: slo.KeyRoute, Any: []slo.Pattern{{Text: fmt.Sprintf("/x/%d", i)}}}}
		flows[i].Description = strings.Repeat("x", each)
	}
	files, err := Marshal(flows)
	if err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{}
	for _, f := range files {
		fsys[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	config, err = Load(fsys, ".")
	if err != nil || len(config.Flows) != n || len(files) < n*each/source.MaxBytes {
		t.Errorf("Marshal writes %d flows in %d files, %.300v, want %d in several", len(config.Flows), len(files), err, n)
	}

	flows[0].Description = strings.Repeat("x", source.MaxBytes)
	if _, err := Marshal(flows[:1]); err == nil || !strings.Contains(err.Error(), "is larger than 1 MiB") {
		t.Errorf("Marshal of a flow that is too large: %.300v, want that", err)
	}
}

// TestLongForm shows an objective with all that was left open.
func TestLongForm(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"a sentence", "99.9% succeed", `succeed: 99.9%
name: availability
window: 30d
min_events: 3
alerts:
  tiers:
    - {severity: page, burn_rate: 14.4, long: 1h, short: 5m}
    - {severity: page, burn_rate: 6, long: 6h, short: 30m}
    - {severity: ticket, burn_rate: 3, long: 1d, short: 2h}
    - {severity: ticket, burn_rate: 1, long: 3d, short: 6h}
  outage: false
  spent: off
  runs_out: false
`},
		{"everything that alerts", "{faster_than: 1s, for: 99%, alerts: {tiers: off, outage: true, spent: [50%, 100%], runs_out: true}}", `faster_than: 1s
for: 99%
name: latency-1s
window: 30d
min_events: 3
alerts: {tiers: off, outage: true, spent: [50%, 100%], runs_out: true}
`},
		{"a calendar window", "{fresh: 26h, window: month, alerts: off, id: x}", `fresh: 26h
for: 99%
name: fresh-26h
id: x
window: month
timezone: UTC
min_events: 1
alerts: off
`},
		{"a ratio", "{promql: {ratio: 'avg_over_time(a[$window])'}, target: 99%, time_slice: 95%, window: 7d, alerts: {tiers: [{severity: page, burn_rate: 2, long: 1h, short: 5m}]}}", `promql: {ratio: "avg_over_time(a[$window])"}
target: 99%
time_slice: {target: 95%, length: 1m}
name: promql-slices
window: 7d
alerts:
  tiers: [{severity: page, burn_rate: 2, long: 1h, short: 5m}]
  spent: off
  runs_out: false
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config, err := Parse("f.yaml", []byte(promise(tc.in)))
			if err != nil {
				t.Fatal(err)
			}
			o := config.Flows[0].Objectives[0]
			got := LongForm(o)
			if got != tc.want {
				t.Errorf("LongForm =\n%s\nwant\n%s", got, tc.want)
			}
			// It says the same as what it was made of.
			again, err := Parse("f.yaml", []byte(checkout("match: /x", "slos:", "- "+strings.ReplaceAll(strings.TrimSpace(got), "\n", "\n      "))))
			if err != nil {
				t.Fatalf("%v\n%s", err, got)
			}
			was, is := bare(config.Flows[0]), bare(again.Flows[0])
			if fmt.Sprintf("%+v", is) != fmt.Sprintf("%+v", was) {
				t.Errorf("the long form is read as\n%+v\nwant\n%+v", is, was)
			}
		})
	}
}

// BenchmarkMarshal writes 10 and 1,000 flows of two objectives.
func BenchmarkMarshal(b *testing.B) {
	for _, n := range []int{10, 1000} {
		config, err := Parse("f.yaml", []byte(checkout("match: /x", "slos: [99.9% succeed, 95% under 300ms]")))
		if err != nil {
			b.Fatal(err)
		}
		flows := make([]slo.Flow, n)
		for i := range flows {
			flows[i] = config.Flows[0]
			flows[i].Name = fmt.Sprintf("flow-%d", i)
			flows[i].Match = slo.Selector{{Key: slo.KeyRoute, Any: []slo.Pattern{{Text: fmt.Sprintf("/x/%d", i)}}}}
		}
		b.Run(fmt.Sprintf("flows=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Marshal(flows); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "flows/s")
		})
	}
}
