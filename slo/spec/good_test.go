package spec

import (
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/source"
)

// TestGood reads files that are right and compares everything that was read.
func TestGood(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{
			name: "outages and budgets",
			in: `
service: shop
defaults: {alerts: {outage: true, spent: [50%, 75%, 100%], runs_out: on, page: {labels: {severity: critical}}}}
flows:
  a:
    match: /a
    slos:
      - 99.9% succeed
      - 99.9% of minutes with 95% under 300ms
      - fresh every 26h
      - {promql: {ratio: 'avg_over_time(a[$window])'}, target: 99%}
      - {succeed: 99%, name: b, alerts: {outage: off, spent: 80%, runs_out: false}}
      - {succeed: 98%, name: c, alerts: {page: off}}
      - {succeed: 97%, name: d, alerts: {page: off, outage: true, ticket: off, spent: [99.5%, 100%]}}
      - {succeed: 96%, name: e, alerts: off}
      - {succeed: 95%, name: f, alerts: {tiers: off}}
  b: {match: /b, slos: [99% succeed], alerts: {ticket: off, outage: "on"}}
  c: {match: /c, slos: [99% succeed, {succeed: 98%, name: d, alerts: {runs_out: true}}], alerts: off}
`,
			want: `
f.yaml:5:3 shop/a
  f.yaml:6:12 http.route is /a
  f.yaml:8:9 availability: 99.9% succeed over 30d, min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h, page of outages, ticket at 50%, ticket at 75%, ticket at 100%, ticket before it runs out
    "" map[] map[] page map[severity:critical] map[] ticket map[] map[]
  f.yaml:9:9 latency-300ms-slices: 99.9% of minutes with 95% under 300ms over 30d, min 1
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h, ticket at 50%, ticket at 75%, ticket at 100%, ticket before it runs out
    "" map[] map[] page map[severity:critical] map[] ticket map[] map[]
  f.yaml:10:9 fresh-26h: 99% fresh every 26h over 30d, min 1
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h, ticket at 50%, ticket at 75%, ticket at 100%, ticket before it runs out
    "" map[] map[] page map[severity:critical] map[] ticket map[] map[]
  f.yaml:11:9 promql: 99% good over 30d, min 1
    ratio avg_over_time(a[$window])
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h, ticket at 50%, ticket at 75%, ticket at 100%, ticket before it runs out
    "" map[] map[] page map[severity:critical] map[] ticket map[] map[]
  f.yaml:12:9 b: 99% succeed over 30d, min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h, ticket at 80%
    "" map[] map[] page map[severity:critical] map[] ticket map[] map[]
  f.yaml:13:9 c: 98% succeed over 30d, min 3
    ticket 3x 1d/2h, ticket 1x 3d/6h, ticket at 50%, ticket at 75%, ticket at 100%, ticket before it runs out
    "" map[] map[] page map[severity:critical] map[] ticket map[] map[]
  f.yaml:14:9 d: 97% succeed over 30d, min 3
    no tiers, page of outages, ticket at 99.5%, ticket at 100%
    "" map[] map[] page map[severity:critical] map[] ticket map[] map[]
  f.yaml:15:9 e: 96% succeed over 30d, min 3
    no tiers
    "" map[] map[] page map[severity:critical] map[] ticket map[] map[]
  f.yaml:16:9 f: 95% succeed over 30d, min 3
    no tiers, page of outages, ticket at 50%, ticket at 75%, ticket at 100%, ticket before it runs out
    "" map[] map[] page map[severity:critical] map[] ticket map[] map[]
f.yaml:17:3 shop/b
  f.yaml:17:14 http.route is /b
  f.yaml:17:25 availability: 99% succeed over 30d, min 3
    page 14.4x 1h/5m, page 6x 6h/30m, page of outages
    "" map[] map[] page map[severity:critical] map[] ticket map[] map[]
f.yaml:18:3 shop/c
  f.yaml:18:14 http.route is /c
  f.yaml:18:25 availability: 99% succeed over 30d, min 3
    no tiers
    "" map[] map[] page map[severity:critical] map[] ticket map[] map[]
  f.yaml:18:38 d: 98% succeed over 30d, min 3
    no tiers, ticket before it runs out
    "" map[] map[] page map[severity:critical] map[] ticket map[] map[]
`,
		},
		{
			name: "where",
			in: `
service: shop
defaults: {where: [service.version, http.method, region]}
flows:
  a: {match: /a, slos: [99% succeed]}
  b: {match: /b, slos: [99% succeed], where: off}
  c: {match: /c, slos: [99% succeed], where: tenant.id}
`,
			want: `
f.yaml:5:3 shop/a where=[service.version http.request.method region]
  f.yaml:5:14 http.route is /a
  f.yaml:5:25 availability: 99% succeed over 30d, min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
f.yaml:6:3 shop/b where=[]
  f.yaml:6:14 http.route is /b
  f.yaml:6:25 availability: 99% succeed over 30d, min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
f.yaml:7:3 shop/c where=[tenant.id]
  f.yaml:7:14 http.route is /c
  f.yaml:7:25 availability: 99% succeed over 30d, min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
`,
		},
		{
			name: "two lines a promise",
			in: `
service: shop
slack: "#shop"
flows:
  checkout:
    match: POST /api/checkout
    slos:
      - 99.9% succeed
      - 95% under 300ms
`,
			want: `
f.yaml:5:3 shop/checkout page=#shop ticket=#shop
  f.yaml:6:12 http.request.method is POST
  f.yaml:6:12 http.route is /api/checkout
  f.yaml:8:9 availability: 99.9% succeed over 30d, min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
  f.yaml:9:9 latency-300ms: 95% under 300ms over 30d, min 3
    page 10x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
`,
		},
		{
			name: "the long form",
			in: `
defaults: {window: 30d, slack: "#shop", runbook: "https://wiki.example/{flow}"}
flows:
  checkout:
    service: shop
    match: {http.request.method: POST, http.route: /api/checkout}
    by: tenant.id
    bad_when: {http.response.status_code: ">=500"}
    slos:
      - {succeed: 99.9%, window: 7d}
      - {faster_than: 300ms, for: 95%, min_events: 50}
    alerts: {page: "#oncall", ticket: "#shop"}
  settle-orders: {service: shop, match: {kind: consumer, messaging.destination.name: orders}, slos: [99% succeed, 99% under 30s]}
`,
			want: `
f.yaml:4:3 shop/checkout page=#oncall ticket=#shop runbook=https://wiki.example/checkout by=tenant.id/100
  f.yaml:6:13 http.request.method is POST
  f.yaml:6:40 http.route is /api/checkout
  f.yaml:8:16 bad when http.response.status_code is >=500
  f.yaml:10:9 availability: 99.9% succeed over 7d, min 3
    page 13.44x 1h/5m, page 3.5x 6h/30m, ticket 1.4x 1d/2h, ticket 1x 3d/6h
  f.yaml:11:9 latency-300ms: 95% under 300ms over 30d, min 50
    page 10x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
f.yaml:13:3 shop/settle-orders page=#shop ticket=#shop runbook=https://wiki.example/settle-orders
  f.yaml:13:42 kind is consumer
  f.yaml:13:58 messaging.destination.name is orders
  f.yaml:13:102 availability: 99% succeed over 30d, min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
  f.yaml:13:115 latency-30s: 99% under 30s over 30d, min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
`,
		},
		{
			name: "everything else a flow may say",
			in: `
service: shop
slack: C024BE91L
defaults: {owner: team-shop, min_events: 5, alerts: {ticket: "@anna"}}
flows:
  search:
    match:
      http.method: [GET, HEAD]
      http.route: {not: [/internal/*, /health]}
      shop.cart.items: ">10"
      shop.beta: true
      status: {not: error}
    bad_when: {http.status_code: [429, "5*"]}
    by: {attribute: tenant.id, limit: 7}
    description: |
      What a customer
      types, and what comes back.
    labels: {tier: 1, area: front of house}
    runbook: https://wiki.example/{service}/{flow}#slo
    owner: team-search
    min_events: 9
    slos:
      - succeed: 99%
        name: answers
        alerts:
          tiers:
            - {severity: page, burn_rate: 10, long: 1h, short: 5m}
            - severity: ticket
              burn_rate: 1.5
              long: 3d
              short: 6h
      - p99.9<1.5 s
`,
			want: `
f.yaml:6:3 shop/search page=C024BE91L ticket=@anna runbook=https://wiki.example/shop/search#slo owner=team-search by=tenant.id/7 area="front of house" tier="1" description="What a customer\ntypes, and what comes back."
  f.yaml:8:7 http.request.method is GET|HEAD
  f.yaml:9:7 http.route is not /internal/*|/health
  f.yaml:10:7 shop.cart.items is >10
  f.yaml:11:7 shop.beta is true
  f.yaml:12:7 status is not error
  f.yaml:13:16 bad when http.response.status_code is 429|5*
  f.yaml:23:9 answers: 99% succeed over 30d, min 9
    page 10x 1h/5m, ticket 1.5x 3d/6h
  f.yaml:32:9 latency-1s500ms: 99.9% under 1s500ms over 30d, min 9
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
`,
		},
		{
			name: "shorthands of match",
			in: `
service: shop
flows:
  a: {match: /, slos: [9% succeed]}
  b: {match: GET *, slos: [9% succeed]}
  c: {match: PUT /a/*/b, slos: [9% succeed]}
`,
			want: `
f.yaml:4:3 shop/a
  f.yaml:4:14 http.route is /
  f.yaml:4:24 availability: 9% succeed over 30d, min 3
    page 1x 1h/5m, page 1x 6h/30m, ticket 1x 1d/2h, ticket 1x 3d/6h
f.yaml:5:3 shop/b
  f.yaml:5:14 http.request.method is GET
  f.yaml:5:28 availability: 9% succeed over 30d, min 3
    page 1x 1h/5m, page 1x 6h/30m, ticket 1x 1d/2h, ticket 1x 3d/6h
f.yaml:6:3 shop/c
  f.yaml:6:14 http.request.method is PUT
  f.yaml:6:14 http.route is /a/*/b
  f.yaml:6:33 availability: 9% succeed over 30d, min 3
    page 1x 1h/5m, page 1x 6h/30m, ticket 1x 1d/2h, ticket 1x 3d/6h
`,
		},
		{
			name: "windows line ends, byte order mark and document marks",
			in:   "\ufeff---\r\nservice: shop\r\nflows:\r\n  a:\r\n    match: /a\r\n    slos:\r\n    - 99 %  succeed\r\n...\r\n",
			want: `
f.yaml:4:3 shop/a
  f.yaml:5:12 http.route is /a
  f.yaml:7:7 availability: 99% succeed over 30d, min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
`,
		},
		{
			name: "a flow's slack outranks the defaults' alerts",
			in: `
service: shop
defaults: {slack: "#all", alerts: {page: "#oncall"}}
flows:
  a: {match: /a, slos: [99% succeed], slack: "#a"}
  b: {match: /b, slos: [99% succeed], alerts: {page: "#b"}}
`,
			want: `
f.yaml:5:3 shop/a page=#a ticket=#a
  f.yaml:5:14 http.route is /a
  f.yaml:5:25 availability: 99% succeed over 30d, min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
f.yaml:6:3 shop/b page=#b ticket=#all
  f.yaml:6:14 http.route is /b
  f.yaml:6:25 availability: 99% succeed over 30d, min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
`,
		},
		{
			name: "one hour leaves one tier",
			in:   "service: s\nflows: {a: {match: /a, slos: [{succeed: 99%, window: 1h}, {succeed: 90%, window: 52w, name: year}]}}",
			want: `
f.yaml:2:9 s/a
  f.yaml:2:20 http.route is /a
  f.yaml:2:31 availability: 99% succeed over 1h, min 3
    page 1x 1h/5m
  f.yaml:2:59 year: 90% succeed over 364d, min 3
    page 5x 1h/5m, page 5x 6h/30m, ticket 5x 1d/2h, ticket 5x 3d/6h
`,
		},
		{
			name: "time: freshness and slices, in words and in full",
			in: `
service: shop
defaults: {min_events: 9}
flows:
  a:
    match: /a
    slos:
      - fresh every 26h
      - 99.5%fresh  every 1d 2h 30m
      - {fresh: 2d, for: 95%, min_events: 2}
      - 99.5% of minutes with 95% under 300ms
      - p95 < 300ms
      - 99% of 5m with 100% succeed
      - {succeed: 90%, time_slice: 99%, name: minutes}
      - {faster_than: 1s, for: 90%, time_slice: {target: 99.9%, length: 1h}}
      - 99%  of 10 s with p50<1ms
`,
			want: `
f.yaml:5:3 shop/a
  f.yaml:6:12 http.route is /a
  f.yaml:8:9 fresh-26h: 99% fresh every 26h over 30d, min 1
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
  f.yaml:9:9 fresh-26h30m: 99.5% fresh every 26h30m over 30d, min 1
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
  f.yaml:10:9 fresh-2d: 95% fresh every 2d over 30d, min 2
    page 10x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
  f.yaml:11:9 latency-300ms-slices: 99.5% of minutes with 95% under 300ms over 30d, min 1
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
  f.yaml:12:9 latency-300ms: 95% under 300ms over 30d, min 9
    page 10x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
  f.yaml:13:9 availability-slices: 99% of 5m with 100% succeed over 30d, min 1
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
  f.yaml:14:9 minutes: 99% of minutes with 90% succeed over 30d, min 1
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
  f.yaml:15:9 latency-1s-slices: 99.9% of 1h with 90% under 1s over 30d, min 1
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
  f.yaml:16:9 latency-1ms-slices: 99% of 10s with 50% under 1ms over 30d, min 1
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
`,
		},
		{
			name: "calendar windows, each in its zone",
			in: `
service: shop
defaults: {window: month, timezone: Europe/Zurich}
flows:
  a:
    match: /a
    slos:
      - 99% succeed
      - {succeed: 99%, window: 7d, name: rolling}
      - {succeed: 99%, window: week, timezone: America/New_York, name: week}
      - {succeed: 99%, timezone: UTC, name: utc}
  b: {match: /b, window: quarter, slos: [99% succeed, {succeed: 99%, window: 90d, name: rolling}]}
  c: {match: /c, window: 28d, slos: [99% succeed]}
  d: {match: /d, timezone: Asia/Kathmandu, slos: [99% succeed]}
`,
			want: `
f.yaml:5:3 shop/a
  f.yaml:6:12 http.route is /a
  f.yaml:8:9 availability: 99% succeed per month (Europe/Zurich), min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
  f.yaml:9:9 rolling: 99% succeed over 7d, min 3
    page 13.44x 1h/5m, page 3.5x 6h/30m, ticket 1.4x 1d/2h, ticket 1x 3d/6h
  f.yaml:10:9 week: 99% succeed per week (America/New_York), min 3
    page 13.44x 1h/5m, page 3.5x 6h/30m, ticket 1.4x 1d/2h, ticket 1x 3d/6h
  f.yaml:11:9 utc: 99% succeed per month, min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
f.yaml:12:3 shop/b
  f.yaml:12:14 http.route is /b
  f.yaml:12:42 availability: 99% succeed per quarter (Europe/Zurich), min 3
    page 43.2x 1h/5m, page 18x 6h/30m, ticket 9x 1d/2h, ticket 3x 3d/6h
  f.yaml:12:55 rolling: 99% succeed over 90d, min 3
    page 43.2x 1h/5m, page 18x 6h/30m, ticket 9x 1d/2h, ticket 3x 3d/6h
f.yaml:13:3 shop/c
  f.yaml:13:14 http.route is /c
  f.yaml:13:38 availability: 99% succeed over 28d, min 3
    page 13.44x 1h/5m, page 5.6x 6h/30m, ticket 2.8x 1d/2h, ticket 1x 3d/6h
f.yaml:14:3 shop/d
  f.yaml:14:14 http.route is /d
  f.yaml:14:51 availability: 99% succeed per month (Asia/Kathmandu), min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
`,
		},
		{
			name: "PromQL, with Sloth's window too",
			in: `
service: shop
flows:
  queue:
    slos:
      - promql: {bad: 'sum(rate(m{code=~"5.."}[{{ .window }}]))', total: 'sum(rate(m[$window]))'}
        target: 99%
      - promql:
          good: |
            sum(increase(ok[ $window ]))
          total: sum(increase(all[{{.window}}]))
        target: 95%
        min_events: 20
        id: Queue.Age_1
      - {promql: {ratio: 'max_over_time((a > bool 5)[$window:1m])'}, target: 99.9%, name: depth}
      - {promql: {ratio: 'avg_over_time(b[$window])'}, target: 95%, time_slice: 99%, name: slices}
  both: {match: /b, slos: [99% succeed, {promql: {ratio: 'avg_over_time(b[$window])'}, target: 95%}]}
`,
			want: `
f.yaml:4:3 shop/queue
  f.yaml:6:9 promql: 99% good over 30d, min 3
    bad sum(rate(m{code=~"5.."}[$window]))
    total sum(rate(m[$window]))
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
  f.yaml:8:9 queue-age_1: 95% good over 30d, min 20, id Queue.Age_1
    good sum(increase(ok[ $window ]))
    total sum(increase(all[$window]))
    page 10x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
  f.yaml:15:9 depth: 99.9% good over 30d, min 1
    ratio max_over_time((a > bool 5)[$window:1m])
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
  f.yaml:16:9 slices: 99% of minutes with 95% good over 30d, min 1
    ratio avg_over_time(b[$window])
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
f.yaml:17:3 shop/both
  f.yaml:17:17 http.route is /b
  f.yaml:17:28 availability: 99% succeed over 30d, min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
  f.yaml:17:41 promql: 95% good over 30d, min 1
    ratio avg_over_time(b[$window])
    page 10x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
`,
		},
		{
			name: "alerts on each level, the inner one first",
			in: `
service: shop
defaults:
  labels: {team: shop, tier: 1}
  bad_when: {status: error}
  alerts:
    page: {slack: "#oncall", labels: {severity: page}}
    labels: {area: web}
    annotations: {dashboard: "https://grafana.example/d/{{ $labels.sloth_slo }}"}
flows:
  a:
    match: /a
    labels: {tier: 2}
    alerts: {name: Checkout, page: {annotations: {wake: up}}, ticket: {slack: "@anna", labels: {severity: slack}}, labels: {area: app, x: y}}
    slos:
      - 99% succeed
      - {faster_than: 1s, for: 99%, alerts: {page: off, name: Slow, labels: {x: z}}}
      - {faster_than: 2s, for: 99%, alerts: off}
  b:
    match: /b
    bad_when: {status: ok}
    alerts: {page: off}
    slos:
      - 99% succeed
      - {faster_than: 1s, for: 99%, alerts: {tiers: [{severity: page, burn_rate: 2, long: 1h, short: 5m}]}}
      - {faster_than: 2s, for: 99%, alerts: {ticket: false}}
  c: {match: /c, alerts: off, slos: [99% succeed, {faster_than: 1s, for: 99%, alerts: {page: {labels: {a: b}}}}]}
`,
			want: `
f.yaml:11:3 shop/a page=#oncall ticket=@anna team="shop" tier="2"
  f.yaml:12:12 http.route is /a
  f.yaml:5:14 bad when status is error
  f.yaml:16:9 availability: 99% succeed over 30d, min 3
    page 14.4x 1h/5m, page 6x 6h/30m, ticket 3x 1d/2h, ticket 1x 3d/6h
    "Checkout" map[area:app x:y] map[dashboard:https://grafana.example/d/{{ $labels.sloth_slo }}] page map[severity:page] map[wake:up] ticket map[severity:slack] map[]
  f.yaml:17:9 latency-1s: 99% under 1s over 30d, min 3
    ticket 3x 1d/2h, ticket 1x 3d/6h
    "Slow" map[area:app x:z] map[dashboard:https://grafana.example/d/{{ $labels.sloth_slo }}] page map[severity:page] map[wake:up] ticket map[severity:slack] map[]
  f.yaml:18:9 latency-2s: 99% under 2s over 30d, min 3
    no tiers
    "Checkout" map[area:app x:y] map[dashboard:https://grafana.example/d/{{ $labels.sloth_slo }}] page map[severity:page] map[wake:up] ticket map[severity:slack] map[]
f.yaml:19:3 shop/b page=#oncall team="shop" tier="1"
  f.yaml:20:12 http.route is /b
  f.yaml:21:16 bad when status is ok
  f.yaml:24:9 availability: 99% succeed over 30d, min 3
    ticket 3x 1d/2h, ticket 1x 3d/6h
    "" map[area:web] map[dashboard:https://grafana.example/d/{{ $labels.sloth_slo }}] page map[severity:page] map[] ticket map[] map[]
  f.yaml:25:9 latency-1s: 99% under 1s over 30d, min 3
    page 2x 1h/5m
    "" map[area:web] map[dashboard:https://grafana.example/d/{{ $labels.sloth_slo }}] page map[severity:page] map[] ticket map[] map[]
  f.yaml:26:9 latency-2s: 99% under 2s over 30d, min 3
    no tiers
    "" map[area:web] map[dashboard:https://grafana.example/d/{{ $labels.sloth_slo }}] page map[severity:page] map[] ticket map[] map[]
f.yaml:27:3 shop/c page=#oncall team="shop" tier="1"
  f.yaml:27:14 http.route is /c
  f.yaml:5:14 bad when status is error
  f.yaml:27:38 availability: 99% succeed over 30d, min 3
    no tiers
    "" map[area:web] map[dashboard:https://grafana.example/d/{{ $labels.sloth_slo }}] page map[severity:page] map[] ticket map[] map[]
  f.yaml:27:51 latency-1s: 99% under 1s over 30d, min 3
    page 14.4x 1h/5m, page 6x 6h/30m
    "" map[area:web] map[dashboard:https://grafana.example/d/{{ $labels.sloth_slo }}] page map[a:b severity:page] map[] ticket map[] map[]
`,
		},
		{
			name: "excludes of all flows and of some",
			in: `
service: shop
defaults: {timezone: Europe/Zurich}
flows:
  a: {match: /a, slos: [99% succeed], alerts: off}
  b: {match: /b, slos: [99% succeed], alerts: off}
exclude:
  - {from: "2026-12-01 02:00", for: 2h, flows: [a], why: database upgrade, timezone: America/New_York}
  - {from: 2026-12-24, to: 2026-12-27}
  - {from: 2026-12-01T02:00:00+05:45, to: 2026-12-01 00:00, flows: [b]}
  - {every: sunday, at: 2:00, for: 1h, why: backups}
  - {every: [Monday, thursday], at: "23:55", for: 5m, from: 2026-01-01, until: 2026-06-01 12:00, flows: [a]}
  - {every: month, on: 31, at: 12:00, for: 30m, timezone: UTC}
  - {every: day, at: 05:00, for: 10m}
  - {from: 2026-10-25 02:30, for: 5m}
`,
			want: `
f.yaml:5:3 shop/a
  f.yaml:5:14 http.route is /a
  f.yaml:5:25 availability: 99% succeed over 30d, min 3
    no tiers
  f.yaml:8:5 left out: from 2026-12-01T02:00:00-05:00 for 2h in America/New_York database upgrade
  f.yaml:9:5 left out: from 2026-12-24T00:00:00+01:00 for 3d in Europe/Zurich 
  f.yaml:11:5 left out: every [Sunday] at 2h for 1h in Europe/Zurich backups
  f.yaml:12:5 left out: from 2026-01-01T00:00:00+01:00 every [Monday Thursday] at 23h55m for 5m until 2026-06-01T12:00:00+02:00 in Europe/Zurich 
  f.yaml:13:5 left out: every month on 31 at 12h for 30m 
  f.yaml:14:5 left out: every day at 5h for 10m in Europe/Zurich 
  f.yaml:15:5 left out: from 2026-10-25T02:30:00+02:00 for 5m in Europe/Zurich 
f.yaml:6:3 shop/b
  f.yaml:6:14 http.route is /b
  f.yaml:6:25 availability: 99% succeed over 30d, min 3
    no tiers
  f.yaml:9:5 left out: from 2026-12-24T00:00:00+01:00 for 3d in Europe/Zurich 
  f.yaml:10:5 left out: from 2026-11-30T21:15:00+01:00 for 2h45m in Europe/Zurich 
  f.yaml:11:5 left out: every [Sunday] at 2h for 1h in Europe/Zurich backups
  f.yaml:13:5 left out: every month on 31 at 12h for 30m 
  f.yaml:14:5 left out: every day at 5h for 10m in Europe/Zurich 
  f.yaml:15:5 left out: from 2026-10-25T02:30:00+02:00 for 5m in Europe/Zurich 
`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config, err := Parse("f.yaml", []byte(tc.in))
			if err != nil {
				t.Fatalf("Parse: %v", err)
			}
			if got := "\n" + dump(config.Flows); got != tc.want {
				t.Errorf("Parse reads%swant%s", got, tc.want)
			}
		})
	}
}

// TestDefaultWhere: the attributes that are compared unless a flow says others
// can be written as its own, without a fault or warning.
func TestDefaultWhere(t *testing.T) {
	config, err := Parse("f.yaml", []byte(checkout("match: /x", "slos: [99% succeed]", "where: ["+strings.Join(slo.DefaultWhere, ", ")+"]")))
	if err != nil || len(config.Warnings) > 0 {
		t.Fatalf("Parse: %v, warnings %v", err, config.Warnings)
	}
	if got := config.Flows[0].Where; !slices.Equal(got, slo.DefaultWhere) {
		t.Errorf("where: %v, want %v", got, slo.DefaultWhere)
	}
}

// dump writes all that flows hold.
func dump(flows []slo.Flow) string {
	var b strings.Builder
	for _, f := range flows {
		fmt.Fprintf(&b, "%s %s/%s", f.Pos, f.Service, f.Name)
		for _, part := range []struct{ name, text string }{
			{"page", f.PageChannel}, {"ticket", f.TicketChannel}, {"runbook", f.Runbook}, {"owner", f.Owner},
		} {
			if part.text != "" {
				fmt.Fprintf(&b, " %s=%s", part.name, part.text)
			}
		}
		if f.By != "" {
			fmt.Fprintf(&b, " by=%s/%d", f.By, f.ByLimit)
		}
		if f.Where != nil {
			fmt.Fprintf(&b, " where=%v", f.Where)
		}
		for _, name := range slices.Sorted(maps.Keys(f.Labels)) {
			fmt.Fprintf(&b, " %s=%q", name, f.Labels[name])
		}
		if f.Description != "" {
			fmt.Fprintf(&b, " description=%q", f.Description)
		}
		b.WriteByte('\n')
		conditions := func(s slo.Selector, prefix string) {
			for _, c := range s {
				var fits []string
				for _, p := range c.Any {
					fits = append(fits, p.String())
				}
				is := "is"
				if c.Not {
					is = "is not"
				}
				fmt.Fprintf(&b, "  %s %s%s %s %s\n", c.Pos, prefix, c.Key, is, strings.Join(fits, "|"))
			}
		}
		conditions(f.Match, "")
		conditions(f.BadWhen, "bad when ")
		for _, o := range f.Objectives {
			fmt.Fprintf(&b, "  %s %s: %s, min %d", o.Pos, o.Name, o.Words(), o.MinEvents)
			if o.ID != "" {
				fmt.Fprintf(&b, ", id %s", o.ID)
			}
			b.WriteByte('\n')
			for _, q := range []struct{ name, text string }{
				{"bad", o.Query.Bad}, {"good", o.Query.Good}, {"total", o.Query.Total}, {"ratio", o.Query.Ratio},
			} {
				if q.text != "" {
					fmt.Fprintf(&b, "    %s %s\n", q.name, q.text)
				}
			}
			tiers := []string{"no tiers"}
			for _, t := range o.Tiers {
				tiers = append(tiers, fmt.Sprintf("%s %gx %s/%s", t.Severity, t.Factor, slo.Duration(t.Long), slo.Duration(t.Short)))
			}
			if len(tiers) > 1 {
				tiers = tiers[1:]
			}
			if o.Outage {
				tiers = append(tiers, "page of outages")
			}
			for _, share := range o.Spent {
				tiers = append(tiers, "ticket at "+slo.Percent(share))
			}
			if o.RunsOut {
				tiers = append(tiers, "ticket before it runs out")
			}
			fmt.Fprintf(&b, "    %s\n", strings.Join(tiers, ", "))
			if a := o.Alert; !reflect.DeepEqual(a, slo.AlertText{}) {
				fmt.Fprintf(&b, "    %q %v %v page %v %v ticket %v %v\n",
					a.Name, a.Labels, a.Annotations, a.PageLabels, a.PageAnnotations, a.TicketLabels, a.TicketAnnotations)
			}
		}
		for _, e := range f.Exclude {
			fmt.Fprintf(&b, "  %s left out:", e.Pos)
			if !e.From.IsZero() {
				fmt.Fprintf(&b, " from %s", e.From.Format(time.RFC3339))
			}
			switch e.Every {
			case slo.Daily:
				b.WriteString(" every day at " + slo.Duration(e.At))
			case slo.Weekly:
				fmt.Fprintf(&b, " every %v at %s", e.Days, slo.Duration(e.At))
			case slo.Monthly:
				fmt.Fprintf(&b, " every month on %d at %s", e.Day, slo.Duration(e.At))
			}
			fmt.Fprintf(&b, " for %s", slo.Duration(e.For))
			if !e.Until.IsZero() {
				fmt.Fprintf(&b, " until %s", e.Until.Format(time.RFC3339))
			}
			if e.Zone != nil {
				fmt.Fprintf(&b, " in %s", e.Zone)
			}
			fmt.Fprintf(&b, " %s\n", e.Why)
		}
	}
	return b.String()
}

func TestPercent(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want float64
	}{
		{"99.9%", 0.999},
		{"99.99%", 0.9999},
		{"95 %", 0.95},
		{"29%", 0.29},
		{"0.5%", 0.005},
		{"099.50%", 0.995},
		{"99.9999999%", 0.999999999},
	} {
		t.Run(tc.in, func(t *testing.T) {
			// To the bit: 0.999 must be what Go's 0.999 is.
			if got, bad := percent(tc.in, false); bad != nil || math.Float64bits(got) != math.Float64bits(tc.want) {
				t.Errorf("percent(%q) = %v, %v, want %v", tc.in, got, bad, tc.want)
			}
		})
	}
}

func TestPercentInSlice(t *testing.T) {
	if got, bad := percent("100%", true); bad != nil || got != 1 {
		t.Errorf("percent(100%%) in a slice = %v, %v, want 1", got, bad)
	}
}

func TestDuration(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want time.Duration
	}{
		{"300ms", 300 * time.Millisecond},
		{"1.5s", 1500 * time.Millisecond},
		{"1h30m", 90 * time.Minute},
		{"1h 30m", 90 * time.Minute},
		{"5 m", 5 * time.Minute},
		{"30d", 30 * day},
		{"4w", 28 * day},
		{"250us", 250 * time.Microsecond},
	} {
		t.Run(tc.in, func(t *testing.T) {
			if got, bad := duration(tc.in); bad != nil || got != tc.want {
				t.Errorf("duration(%q) = %v, %v, want %v", tc.in, got, bad, tc.want)
			}
		})
	}
}

// TestInstants compares what clocks show with instants known from the dates of
// the clock changes.
func TestInstants(t *testing.T) {
	for _, tc := range []struct {
		name, zone, wall string
		want             []string
		exists           bool
	}{
		{"winter", "Europe/Zurich", "2026-01-31 12:00", []string{"2026-01-31T11:00:00Z"}, true},
		{"before they go forward", "Europe/Zurich", "2026-03-29 01:55", []string{"2026-03-29T00:55:00Z"}, true},
		{"the first that is skipped", "Europe/Zurich", "2026-03-29 02:00", []string{"2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"}, false},
		{"the last that is skipped", "Europe/Zurich", "2026-03-29 02:59", []string{"2026-03-29T00:59:00Z", "2026-03-29T01:59:00Z"}, false},
		{"after they go forward", "Europe/Zurich", "2026-03-29 03:00", []string{"2026-03-29T01:00:00Z"}, true},
		{"before they go back", "Europe/Zurich", "2026-10-25 01:59", []string{"2026-10-24T23:59:00Z"}, true},
		{"the first that comes twice", "Europe/Zurich", "2026-10-25 02:00", []string{"2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"}, true},
		{"the last that comes twice", "Europe/Zurich", "2026-10-25 02:59", []string{"2026-10-25T00:59:00Z", "2026-10-25T01:59:00Z"}, true},
		{"after they go back", "Europe/Zurich", "2026-10-25 03:00", []string{"2026-10-25T02:00:00Z"}, true},
		{"New York, skipped", "America/New_York", "2026-03-08 02:30", []string{"2026-03-08T06:30:00Z", "2026-03-08T07:30:00Z"}, false},
		{"New York, twice", "America/New_York", "2026-11-01 01:30", []string{"2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"}, true},
		{"half an hour, skipped", "Australia/Lord_Howe", "2026-10-04 02:15", []string{"2026-10-03T15:15:00Z", "2026-10-03T15:45:00Z"}, false},
		{"midnight, skipped", "Africa/Cairo", "2026-04-24 00:00", []string{"2026-04-23T21:00:00Z", "2026-04-23T22:00:00Z"}, false},
		{"a day that is left out", "Pacific/Apia", "2011-12-30 12:00", []string{"2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z"}, false},
		{"no changes", "UTC", "2026-03-29 02:30", []string{"2026-03-29T02:30:00Z"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			zone, err := time.LoadLocation(tc.zone)
			if err != nil {
				t.Fatal(err)
			}
			wall, err := time.Parse("2006-01-02 15:04", tc.wall)
			if err != nil {
				t.Fatal(err)
			}
			at, exists := instants(wall, zone)
			var got []string
			for _, i := range at {
				got = append(got, i.UTC().Format(time.RFC3339))
			}
			if !slices.Equal(got, tc.want) || exists != tc.exists {
				t.Errorf("instants(%s, %s) = %v, %t, want %v, %t", tc.wall, tc.zone, got, exists, tc.want, tc.exists)
			}
		})
	}
}

// TestWarnsOfTimesThatComeTwice: an exclude in the hour that clocks repeat
// takes the first, and says so.
func TestWarnsOfTimesThatComeTwice(t *testing.T) {
	config, err := Parse("f.yaml", []byte(excluding("- {from: 2026-10-25 02:30, for: 5m, timezone: Europe/Zurich}")))
	if err != nil {
		t.Fatal(err)
	}
	want := `f.yaml:4:10: exclude[0].from: "2026-10-25 02:30" comes twice in Europe/Zurich, where clocks go back; the first is taken; ` +
		"want 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00"
	if !slices.ContainsFunc(config.Warnings, func(f source.Fault) bool { return f.String() == want }) {
		t.Errorf("warnings are %v, want %s among them", config.Warnings, want)
	}
}

// TestZonesAreShared: a configuration loads each zone once, whatever the file.
func TestZonesAreShared(t *testing.T) {
	fsys := fstest.MapFS{}
	for _, service := range []string{"a", "b"} {
		fsys[service+".yaml"] = &fstest.MapFile{Data: []byte("service: " + service +
			"\ndefaults: {window: month, timezone: Europe/Zurich}\nflows: {f: {match: /x, slos: [9% succeed]}}\nexclude: [{every: day, at: 02:00, for: 1h}]\n")}
	}
	config, err := Load(fsys, ".")
	if err != nil {
		t.Fatal(err)
	}
	a, b := config.Flows[0], config.Flows[1]
	zone := a.Objectives[0].Calendar.Zone
	if zone == nil || zone != b.Objectives[0].Calendar.Zone || zone != a.Exclude[0].Zone || zone != b.Exclude[0].Zone {
		t.Errorf("zones are %p, %p, %p and %p, want one", zone, b.Objectives[0].Calendar.Zone, a.Exclude[0].Zone, b.Exclude[0].Zone)
	}
}

const one = "service: shop\nflows: {%[1]s: {match: /%[1]s, slos: [99%% succeed]}}\n"

func file(flow string) *fstest.MapFile {
	return &fstest.MapFile{Data: fmt.Appendf(nil, one, flow)}
}

func TestLoad(t *testing.T) {
	broken := &fstest.MapFile{Data: []byte("servce: shop\n")}
	for _, tc := range []struct {
		name string
		fsys fstest.MapFS
		path string // several with spaces between them
		want string // names of the flows, or faults
	}{
		{"one file", fstest.MapFS{"a.yaml": file("a"), "b.yaml": file("b")}, "a.yaml", "a"},
		{"a file of another extension", fstest.MapFS{"slos.conf": file("a")}, "slos.conf", "a"},
		{
			"a directory, sorted",
			fstest.MapFS{"b.yml": file("b"), "a.yaml": file("a"), "sub/c.yaml": file("c"), "README.md": broken},
			".", "a b c",
		},
		{
			"files and directories in the order given, each once",
			fstest.MapFS{"z.yaml": file("z"), "sub/c.yaml": file("c"), "sub/b.yaml": file("b"), "a.yaml": file("a")},
			"z.yaml sub sub/c.yaml a.yaml", "z b c a",
		},
		{
			"hidden files and Kubernetes' mounts",
			fstest.MapFS{"a.yaml": file("a"), ".b.yaml": broken, "..data/a.yaml": broken, ".git/c.yaml": broken},
			".", "a",
		},
		{"a hidden directory when it is asked for", fstest.MapFS{".slos/a.yaml": file("a")}, ".slos", "a"},
		{"nothing", fstest.MapFS{"slos/README.md": broken}, "slos", "slos: holds no .yaml or .yml file; want at least one"},
		{"missing", fstest.MapFS{}, "slos.yaml", "slos.yaml: file does not exist; want a YAML file or a directory of them"},
		{
			"a pipe",
			fstest.MapFS{"a.yaml": &fstest.MapFile{Mode: fs.ModeNamedPipe}},
			".",
			"a.yaml: is not a regular file; want a YAML file or a directory of them",
		},
		{
			"faults of all files",
			fstest.MapFS{"b.yaml": broken, "a.yaml": broken, "c.yaml": file("c")},
			".",
			"a.yaml:1:1: servce: unknown key; want service\n" +
				"a.yaml:1:1: flows: is missing; want a map of at least one flow\n" +
				"b.yaml:1:1: servce: unknown key; want service\n" +
				"b.yaml:1:1: flows: is missing; want a map of at least one flow",
		},
		{
			"faults of a file beside one that is not YAML",
			fstest.MapFS{"a.yaml": {Data: []byte("service: \"shop\nflows: [\n")}, "b.yaml": broken, "c.yaml": file("c")},
			".",
			"a.yaml:1:10: a quote that is not closed; want the closing quote\n" +
				"b.yaml:1:1: servce: unknown key; want service\n" +
				"b.yaml:1:1: flows: is missing; want a map of at least one flow",
		},
		{
			"a flow in two files",
			fstest.MapFS{"a.yaml": file("x"), "b.yaml": file("x")},
			".",
			`b.yaml:2:9: flows.x: service "shop" has this flow at a.yaml:2:9 already; want another name, or one flow with the objectives of both`,
		},
		{
			"an id made twice",
			fstest.MapFS{
				"a.yaml": file("x-y"),
				"b.yaml": {Data: []byte("service: shop\nflows: {x: {match: /x, slos: [{succeed: 9%, name: y-availability}]}}")},
			},
			".",
			`b.yaml:2:31: flows.x.slos[0]: has the id "shop-x-y-availability", as has the objective at a.yaml:2:35; want name: or id: on one of them`,
		},
		{
			"the same flow of two services", fstest.MapFS{
				"a.yaml": file("x"),
				"b.yaml": {Data: []byte("service: pay\nflows: {x: {match: /x, slos: [9% succeed]}}")},
			}, ".", "x x",
		},
		{
			"defaults hold for their file", fstest.MapFS{
				"a.yaml": {Data: []byte("service: a\ndefaults: {owner: me}\nflows: {x: {match: /x, slos: [9% succeed]}}")},
				"b.yaml": {Data: []byte("flows: {x: {match: /x, slos: [9% succeed]}}")},
			}, ".", "b.yaml:1:9: flows.x.service: is missing; want it in the flow or at the top of the file",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config, err := Load(tc.fsys, strings.Fields(tc.path)...)
			var names []string
			for _, f := range config.Flows {
				names = append(names, f.Name)
			}
			got := strings.Join(names, " ")
			if err != nil {
				got += err.Error()
			}
			if got != tc.want {
				t.Errorf("Load(%q) = %s\nwant %s", tc.path, got, tc.want)
			}
		})
	}
}

// TestLoadMounted reads a directory as Kubernetes mounts a ConfigMap: links
// into a hidden directory that is swapped as a whole.
func TestLoadMounted(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "..2026_01"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "..2026_01", "a.yaml"), file("a").Data, 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"..data": "..2026_01", "a.yaml": "..data/a.yaml"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	config, err := Load(os.DirFS(dir), ".")
	if err != nil || len(config.Flows) != 1 || config.Flows[0].Pos.File != "a.yaml" {
		t.Errorf("Load = %v, %v, want the one flow of a.yaml", config.Flows, err)
	}
}
