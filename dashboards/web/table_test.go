package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/slowburn-slo/slowburn/dashboards/read/readtest"
	"github.com/slowburn-slo/slowburn/slo"
)

// rowNames are the flows of the table in its order.
func rowNames(doc *html.Node) string {
	var out []string
	for _, n := range all(doc, class("name")) {
		out = append(out, text(all(n, tag("a"))[0]))
	}
	return strings.Join(out, " ")
}

// TestSelection sorts, searches and filters by the address alone, as a browser
// without scripts does.
func TestSelection(t *testing.T) {
	h := newSite(t, incident().options(t))
	for _, tc := range []struct{ query, want string }{
		{"", "checkout search refund browse login report invoice"},
		{"?sort=flow", "browse checkout invoice login refund report search"},
		{"?sort=-flow", "search report refund login invoice checkout browse"},
		{"?sort=-objective", "checkout login search browse refund report invoice"},
		{"?sort=now", "checkout search browse refund login report invoice"},
		{"?sort=-now", "refund login browse search checkout report invoice"},
		{"?sort=budget", "refund checkout search browse login report invoice"},
		{"?sort=-burn", "checkout search browse refund login report invoice"},
		{"?sort=p95", "browse checkout search login refund report invoice"},
		{"?sort=-rate", "browse search checkout login refund report invoice"},
		{"?sort=-errors", "checkout search browse refund login report invoice"},
		{"?sort=-hour", "checkout search browse refund login report invoice"},
		{"?sort=nonsense", "checkout search refund browse login report invoice"},
		{"?q=RE", "refund report"},
		{"?q=payments", "checkout"},
		{"?q=billing&sort=flow", "invoice refund report"},
		{"?service=billing", "refund report invoice"},
		{"?service=billing&state=spent", "refund"},
		{"?state=no+data+yet", "invoice"},
		{"?q=nothing", ""},
		{"?service=unknown", ""},
		{"?page=99", "checkout search refund browse login report invoice"},
		{"?page=-1&sort=%ff", "checkout search refund browse login report invoice"},
	} {
		t.Run(tc.query, func(t *testing.T) {
			w, doc := get(t, h, "/"+tc.query)
			if got := rowNames(doc); w.Code != http.StatusOK || got != tc.want {
				t.Errorf("GET /%s = %d %q, want 200 %q", tc.query, w.Code, got, tc.want)
			}
			if got, want := only(t, doc, class("counts")), "1 burning 1 spending 1 spent 2 calm 1 idle 1 no data yet"; got != want {
				t.Errorf("counts = %q, want %q: those of all flows", got, want)
			}
		})
	}
}

// TestSortLinks: a head of the table leads to what people look for first, then
// to the reverse, then back to the worst first.
func TestSortLinks(t *testing.T) {
	h := newSite(t, incident().options(t))
	for _, tc := range []struct{ query, column, sorted, link string }{
		{"?service=shop", "p95", "", "?service=shop&sort=-p95"},
		{"?service=shop&sort=-p95", "p95", "descending", "?service=shop&sort=p95"},
		{"?service=shop&sort=p95", "p95", "ascending", "?service=shop"},
		{"", "flow", "", "?sort=flow"},
		{"?sort=flow", "flow", "ascending", "?sort=-flow"},
		{"?sort=-flow", "flow", "descending", "?"},
		{"?sort=-flow&page=1&q=re", "budget left", "", "?q=re&sort=budget"},
	} {
		_, doc := get(t, h, "/"+tc.query)
		for _, n := range all(all(doc, tag("thead"))[0], tag("th")) {
			if text(n) != tc.column {
				continue
			}
			link := attr(all(n, tag("a"))[0], "href")
			if attr(n, "aria-sort") != tc.sorted || link != tc.link {
				t.Errorf("/%s: %s is sorted %q and leads to %q, want %q and %q", tc.query, tc.column, attr(n, "aria-sort"), link, tc.sorted, tc.link)
			}
		}
	}
}

// TestPaging: of many flows a page shows the worst, and leads to the rest.
func TestPaging(t *testing.T) {
	var scripts []readtest.Script
	for i := range 250 {
		scripts = append(scripts, readtest.Script{Flow: readtest.FlowOf("shop", fmt.Sprintf("flow-%03d", i), 0.99, 0)})
	}
	f := fixture{scripts: scripts, alerts: []Alert{{SLO: "shop-flow-249-availability", Severity: slo.Page}}}
	h := newSite(t, f.options(t))
	seen := map[string]bool{}
	path := "/"
	for _, want := range []string{"1–100 of 250 next", "101–200 of 250 before next", "201–250 of 250 before"} {
		_, doc := get(t, h, path)
		for _, name := range strings.Fields(rowNames(doc)) {
			seen[name] = true
		}
		if path == "/" && !strings.HasPrefix(rowNames(doc), "flow-249 flow-000 ") {
			t.Errorf("the first page begins with %.20s, want the worst", rowNames(doc))
		}
		paging := all(doc, class("paging"))[0]
		if got := text(paging); got != want {
			t.Errorf("%s: paging = %q, want %q", path, got, want)
		}
		links := all(paging, tag("a"))
		path = "/" + attr(links[len(links)-1], "href")
	}
	if len(seen) != 250 {
		t.Errorf("the pages show %d flows, want 250", len(seen))
	}
}
