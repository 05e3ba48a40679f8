package spec

import (
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/slowburn-slo/slowburn/slo"
)

// TestGood reads files that are right and compares everything that was read.
func TestGood(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
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
	} {
		t.Run(tc.name, func(t *testing.T) {
			flows, err := Parse("f.yaml", []byte(tc.in))
			if err != nil {
				t.Fatalf("Parse: %v", err)
			}
			if got := "\n" + dump(flows); got != tc.want {
				t.Errorf("Parse reads%swant%s", got, tc.want)
			}
		})
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
			fmt.Fprintf(&b, "  %s %s: %s, min %d\n", o.Pos, o.Name, o.Words(), o.MinEvents)
			var tiers []string
			for _, t := range o.Tiers {
				tiers = append(tiers, fmt.Sprintf("%s %gx %s/%s", t.Severity, t.Factor, slo.Duration(t.Long), slo.Duration(t.Short)))
			}
			fmt.Fprintf(&b, "    %s\n", strings.Join(tiers, ", "))
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
			if got, bad := percent(tc.in); bad != nil || math.Float64bits(got) != math.Float64bits(tc.want) {
				t.Errorf("percent(%q) = %v, %v, want %v", tc.in, got, bad, tc.want)
			}
		})
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

func TestSuggest(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"a letter out", "mtch", "want match"},
		{"a letter too many", "matchs", "want match"},
		{"two swapped", "solos", "want slos"},
		{"capitals", "OWNER", "want owner"},
		{"dash for underscore", "bad-when", "want bad_when"},
		{"nothing near", "tags", "want one of " + strings.Join(flowKeys, ", ")},
		{"too short to guess", "xy", "want one of " + strings.Join(flowKeys, ", ")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := suggest(tc.in, flowKeys); got != tc.want {
				t.Errorf("suggest(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

const one = "service: shop\nflows: {%s: {match: /x, slos: [99%% succeed]}}\n"

func file(flow string) *fstest.MapFile {
	return &fstest.MapFile{Data: fmt.Appendf(nil, one, flow)}
}

func TestLoad(t *testing.T) {
	broken := &fstest.MapFile{Data: []byte("servce: shop\n")}
	for _, tc := range []struct {
		name string
		fsys fstest.MapFS
		path string
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
			`b.yaml:2:31: flows.x.slos[0]: has the id "shop-x-y-availability", as has the objective at a.yaml:2:33; want name: on one of them`,
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
			flows, err := Load(tc.fsys, tc.path)
			var names []string
			for _, f := range flows {
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
	flows, err := Load(os.DirFS(dir), ".")
	if err != nil || len(flows) != 1 || flows[0].Pos.File != "a.yaml" {
		t.Errorf("Load = %v, %v, want the one flow of a.yaml", flows, err)
	}
}
