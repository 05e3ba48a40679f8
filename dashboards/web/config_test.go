package web

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/dashboards/read/readtest"
	"github.com/slowburn-slo/slowburn/internal/words"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/spec"
)

// configuredWith is the options of a site with flows of two files.
func configuredWith(tb testing.TB, c Config) Options {
	tb.Helper()
	var flows []slo.Flow
	for _, file := range []struct{ name, text string }{
		{"slos/shop.yaml", `service: shop
flows:
  checkout:
    match: POST /api/checkout
    slos:
      - 99.9% succeed
      - {faster_than: 300ms, for: 95%, window: month, timezone: Europe/Zurich}
  search:
    match: GET /api/search
    slos: [99% succeed]
    alerts: off
`},
		{"slos/billing.yaml", "service: billing\nflows:\n  refund:\n    match: POST /refund\n    slos: [99% succeed]\n"},
	} {
		read, err := spec.Parse(file.name, []byte(file.text))
		if err != nil {
			tb.Fatal(err)
		}
		flows = append(flows, read.Flows...)
	}
	opt := fixture{}.options(tb)
	opt.Flows = func() []slo.Flow { return flows }
	opt.Config = func() Config { return c }
	return opt
}

func TestConfigPage(t *testing.T) {
	loaded := time.Now().Add(-20 * time.Minute)
	opt := configuredWith(t, Config{
		Loaded: loaded, Cause: "file change",
		Changes:  []string{"refund on billing is new: 99% succeed over 30d"},
		Warnings: []Finding{{"slos/shop.yaml:7:9", "flows.checkout.slos[1]: pages can never fire; want a higher target"}},
		Settings: []Setting{{"--listen", "127.0.0.1:9595", "pages and API"}},
	})
	w, doc := get(t, newSite(t, opt), "/config")
	if w.Code != http.StatusOK {
		t.Fatalf("GET /config = %d, want 200", w.Code)
	}
	if got, want := only(t, doc, tag("h1")), "In force, with one warning"; got != want {
		t.Errorf("headline = %q, want %q", got, want)
	}
	for _, want := range []string{
		"Read at " + words.Clock(loaded, time.Now()) + ", 20 min ago (file change).",
		"What the last change did refund on billing is new: 99% succeed over 30d",
		"slos/shop.yaml:7:9 flows.checkout.slos[1]: pages can never fire; want a higher target",
		"4 objectives of 3 flows",
		"--listen 127.0.0.1:9595 pages and API",
	} {
		if got := text(doc); !strings.Contains(got, want) {
			t.Errorf("page = %q, want it to say %q", got, want)
		}
	}
	if got := texts(all(doc, tag("caption"))); !slices.Equal(got, []string{"slos/billing.yaml", "slos/shop.yaml"}) {
		t.Errorf("files = %q, want both", got)
	}
	want := []string{
		"refund billing 99% succeed 30d page at 14.4× and 6×, ticket at 3× and 1× 5",
		"checkout shop 99.9% succeed 30d page at 14.4× and 6×, ticket at 3× and 1× 6",
		"checkout shop 95% under 300ms month (Europe/Zurich) page at 10× and 6×, ticket at 3× and 1× 7",
		"search shop 99% succeed 30d none 10",
	}
	if got := rows(doc, "objectives"); !slices.Equal(got, want) {
		t.Errorf("objectives:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestConfigStates(t *testing.T) {
	refused := time.Now().Add(-2 * time.Minute)
	for _, tc := range []struct {
		name  string
		c     Config
		fault string // as all pages tell it
		h1    string
		want  string
	}{
		{"nothing known", Config{}, "", "In force, nothing wrong", "4 objectives of 3 flows"},
		{"two warnings", Config{Warnings: make([]Finding, 2)}, "", "In force, with 2 warnings", "Legal, but it can hardly have been meant."},
		{
			"refused",
			Config{Refused: refused, Faults: []Finding{{"slos/shop.yaml:6:9", "0.999 is not a percentage; write 99.9%"}}},
			"slos/shop.yaml:6:9: 0.999 …",
			"The changed configuration was refused", "Refused at " + words.Clock(refused, time.Now()) + ", 2 min ago The configuration before it goes on running. Mend this and save; slowburn looks every second. slos/shop.yaml:6:9 0.999 is not a percentage; write 99.9%",
		},
		{"refused without places", Config{}, "slos is gone", "The changed configuration was refused", "slos is gone"},
		{"many", Config{Warnings: make([]Finding, findingsShown+7)}, "", "In force, with 107 warnings", "and 7 more; slowburn validate shows them all"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opt := configuredWith(t, tc.c)
			opt.ConfigFault = func() string { return tc.fault }
			_, doc := get(t, newSite(t, opt), "/config")
			if got := only(t, doc, tag("h1")); got != tc.h1 {
				t.Errorf("headline = %q, want %q", got, tc.h1)
			}
			if got := text(doc); strings.Count(got, tc.want) != 1 {
				t.Errorf("page = %q, want %q once", got, tc.want)
			}
		})
	}
}

// TestConfigIsBounded holds that many objectives are shown a page at a time, and
// that whatever is written in files is text.
func TestConfigIsBounded(t *testing.T) {
	flows := make([]slo.Flow, 700)
	for i := range flows {
		flows[i] = readtest.FlowOf("shop", fmt.Sprintf("flow-%d", i), 0.99, 0)
		flows[i].Objectives[0].Pos = slo.Pos{File: "big.yaml", Line: i + 1}
	}
	opt := configuredWith(t, Config{})
	opt.Flows = func() []slo.Flow { return flows }
	h := newSite(t, opt)
	objectives := len(slo.All(flows))
	w, doc := get(t, h, "/config")
	if got := len(rows(doc, "objectives")); got != objectivesShown {
		t.Errorf("%d objectives, want %d", got, objectivesShown)
	}
	if w.Body.Len() > 500_000 {
		t.Errorf("page has %d bytes, want fewer than 500,000", w.Body.Len())
	}
	links := all(all(doc, class("pager"))[0], tag("a"))
	if len(links) != 1 || text(links[0]) != "after" {
		t.Fatalf("pager = %q, want a way on", texts(links))
	}
	_, doc = get(t, h, attr(links[0], "href"))
	if got, want := len(rows(doc, "objectives")), min(objectivesShown, objectives-objectivesShown); got != want {
		t.Errorf("%d objectives on the second page, want %d", got, want)
	}

	for _, payload := range payloads {
		f := readtest.FlowOf(payload, payload, 0.99, 0)
		f.Objectives[0].Pos = slo.Pos{File: payload, Line: 1}
		found := []Finding{{payload, payload}}
		opt := configuredWith(t, Config{
			Loaded: time.Now(), Cause: payload, Changes: []string{payload}, Refused: time.Now(), Faults: found, Warnings: found,
			Settings: []Setting{{payload, payload, payload}},
		})
		opt.Flows = func() []slo.Flow { return []slo.Flow{f} }
		w, _ := get(t, newSite(t, opt), "/config")
		inert(t, w.Body.String())
	}
}
