package web

import (
	"flag"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slowburn-slo/slowburn/dashboards/read/readtest"
	"github.com/slowburn-slo/slowburn/slo"
	"github.com/slowburn-slo/slowburn/slo/series"
)

var screenshots = flag.String("screenshots", "", "folder to keep screenshots of the pages in")

// drawn holds once the charts of a page, where it has any, are there.
const drawn = `[...document.querySelectorAll(".plot")].every((p) => p.childElementCount > 0)`

// everySize looks at a page in all the sizes and both colour schemes that
// people have: nothing to complain of in the browser, no scrolling sideways, no
// serious fault that axe finds. thorough has axe look at every one of them, which
// takes as long as all the rest; otherwise at three, which differ the most to it.
func everySize(t *testing.T, b *browser, h http.Handler, name, path string, thorough bool) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		page := b.open(t, h, path, 375, 900, false)
		for _, width := range []int{375, 1280, 1920} {
			for _, dark := range []bool{false, true} {
				page.check(name, width, dark, thorough || width < 1920 && !(width == 375 && dark))
			}
		}
	})
}

func oneSize(t *testing.T, b *browser, h http.Handler, name, path string, width int, dark bool) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		page := b.open(t, h, path, width, 900, dark)
		if strings.HasPrefix(name, "no such") {
			page.allowed = "404"
		}
		page.check(name, width, dark, true)
	})
}

// check looks at a page in one size and colour scheme.
func (t *tab) check(name string, width int, dark, axe bool) {
	t.tb.Helper()
	t.resize(width, 900, dark)
	t.wait(`typeof htmx === "object" && innerWidth === ` + strconv.Itoa(width))
	t.wait(drawn)
	t.wait(`[...document.querySelectorAll(".plot > .uplot")].every((u) => Math.abs(u.clientWidth - u.parentElement.clientWidth) < 2)`)
	t.fits()
	if axe {
		t.accessible()
	}
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	t.shoot(fmt.Sprintf("%s-%d-%s", name, width, scheme))
}

// TestChromium looks at the pages in a real browser. Run it with
// -screenshots to see what a person sees.
func TestChromium(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	nightSite := newSite(t, night(t))
	everySize(t, b, nightSite, "flows", "/", false)
	everySize(t, b, nightSite, "flow", "/flows/shop/checkout?range=6h", false)
	everySize(t, b, nightSite, "night alerts", "/alerts", false)
	everySize(t, b, nightSite, "night setup", "/setup", false)
	everySize(t, b, nightSite, "night config", "/config", false)

	quiet := incident()
	quiet.alerts, quiet.scripts = nil, quiet.scripts[4:5]
	stale := incident()
	stale.age, stale.fault = 12*time.Minute, "slos.yaml:4:9: 0.999 is not a percentage; write 99.9%"
	hostile := incident()
	for _, payload := range payloads {
		f := readtest.FlowOf("shop"+payload, payload+"checkout", 0.999, 0)
		f.Runbook = "javascript:alert(1)"
		hostile.scripts = append(hostile.scripts, readtest.Script{Flow: f, PerFlush: 1, SLOs: map[string]map[string]float64{"availability": readtest.Figures(0.999, 0.5, 0.1, 0.1)}})
		hostile.alerts = append(hostile.alerts, Alert{SLO: f.SLOs()[0].ID(), Severity: slo.Page, Since: time.Now(), Summary: payload})
	}
	hostileSite := newSite(t, hostile.options(t))
	kindsSite := newSite(t, kinds(t, time.Now()).options(t))
	overspent := kinds(t, time.Now())
	overspent.scripts[0].SLOs["monthly"][series.BudgetRemaining] = -12.5
	for _, tc := range []struct {
		name  string
		h     http.Handler
		path  string
		width int
		dark  bool
		more  bool // for the eye: only with -screenshots
	}{
		{
			name: "incident", h: nightSite, width: 375, dark: true, more: true,
			path: fmt.Sprintf("/flows/shop/checkout?from=%d&to=%d", time.Now().Add(-200*time.Minute).UnixMilli(), time.Now().Add(-130*time.Minute).UnixMilli()),
		},
		{name: "no such time", h: nightSite, path: "/flows/shop/checkout?from=yesterday", width: 1280, more: true},
		{name: "tablet", h: nightSite, path: "/", width: 820, more: true},
		{name: "calm", h: newSite(t, quiet.options(t)), path: "/", width: 1280, more: true},
		{name: "stale", h: newSite(t, stale.options(t)), path: "/", width: 1280},
		{name: "nothing configured", h: newSite(t, fixture{}.options(t)), path: "/", width: 1280, more: true},
		{name: "nothing arriving", h: newSite(t, fixture{scripts: readtest.Shop()[6:]}.options(t)), path: "/", width: 375},
		{name: "flow without data", h: newSite(t, fixture{scripts: readtest.Shop()[6:]}.options(t)), path: "/flows/billing/invoice", width: 1280, more: true},
		{name: "no such flow", h: nightSite, path: "/flows/shop/nothing", width: 375},
		{name: "none found", h: nightSite, path: "/?q=nothing+like+this", width: 375, dark: true},
		{name: "kinds narrow", h: newSite(t, overspent.options(t)), path: "/", width: 1221, more: true},
		{name: "kinds phone", h: kindsSite, path: "/", width: 375, more: true},
		{name: "calendar and minutes", h: kindsSite, path: "/flows/shop/checkout?range=window", width: 1280},
		{name: "fresh", h: kindsSite, path: "/flows/billing/settle-orders", width: 1280, more: true},
		{name: "promql phone", h: kindsSite, path: "/flows/gateway/requests", width: 375},
		{name: "excluded", h: kindsSite, path: "/flows/shop/search?range=1h", width: 820, dark: true, more: true},
		{name: "hostile", h: hostileSite, path: "/", width: 1280, more: true},
		{name: "hostile phone", h: hostileSite, path: "/", width: 375},
	} {
		if tc.more && *screenshots == "" {
			continue
		}
		oneSize(t, b, tc.h, tc.name, tc.path, tc.width, tc.dark)
	}
}

// names are the flows of the table as it stands there.
const names = `[...document.querySelectorAll(".flows .name a")].map((a) => a.textContent).join(" ")`

// TestChromiumTable sorts, filters and searches the flows by mouse and
// keyboard: the address follows, and what is on the page stays through a refresh.
func TestChromiumTable(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	var asked atomic.Int64
	site := newSite(t, incident().options(t))
	page := b.open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			asked.Add(1)
		}
		site.ServeHTTP(w, r)
	}), "/", 1280, 900, false)
	page.wait(`typeof htmx === "object"`)
	page.wait(names + ` === "checkout search refund browse login report invoice"`)
	page.eval(`window.same = 1; 0`, nil) // is gone when the page is loaded anew

	page.click(`thead a[href="?sort=-p95"]`)
	page.wait(names + ` === "report refund login checkout search browse invoice" || ` + names + ` === "refund login checkout search browse report invoice"`)
	page.wait(`location.search === "?sort=-p95" && document.querySelector("[aria-sort]").getAttribute("aria-sort") === "descending"`)

	page.eval(`document.querySelector('thead a[href="?sort=flow"]').focus()`, nil)
	page.press("Enter")
	page.wait(names + ` === "browse checkout invoice login refund report search"`)
	page.wait(`location.search === "?sort=flow" && document.querySelector("[aria-sort]").getAttribute("aria-sort") === "ascending"`)
	page.wait(`document.activeElement.textContent === "flow"`) // the focus stays

	page.eval(`document.getElementById("q").focus()`, nil)
	page.text("re")
	page.wait(names + ` === "refund report"`)
	page.wait(`location.search.includes("q=re") && location.search.includes("sort=flow")`)

	before := asked.Load()
	for deadline := time.Now().Add(browserPatience); asked.Load() == before && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	if asked.Load() == before {
		t.Errorf("the page asked for nothing within %s, want a refresh every 5 s", browserPatience)
	}
	page.wait(names + ` === "refund report" && document.getElementById("q").value === "re" && document.activeElement.id === "q"`)

	page.eval(`(() => { const q = document.getElementById("q"); q.value = ""; q.dispatchEvent(new Event("input", {bubbles: true})); })()`, nil)
	page.wait(names + ` === "browse checkout invoice login refund report search"`)
	page.eval(`(() => { const s = document.getElementById("service"); s.value = "billing"; s.dispatchEvent(new Event("change", {bubbles: true})); })()`, nil)
	page.wait(names + ` === "invoice refund report"`)
	page.wait(`location.search.includes("service=billing")`)
	page.click(`.counts li:nth-child(3) a`)
	page.wait(names + ` === "refund"`)
	page.eval(`if (window.same !== 1) throw new Error("the page was loaded anew"); 0`, nil)

	page.eval(`history.back()`, nil)
	page.wait(names + ` === "invoice refund report"`)
	page.eval(`location.reload()`, nil)
	page.wait(`window.same !== 1 && ` + names + ` === "invoice refund report" && document.getElementById("service").value === "billing"`)
}

// TestChromiumCharts changes the time of the charts, points at one and moves
// along by keyboard; a refresh of the page leaves them alone.
func TestChromiumCharts(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	page := b.open(t, newSite(t, night(t)), "/flows/shop/checkout", 1280, 900, false)
	page.wait(drawn)
	page.eval(`window.kept = document.querySelector("#plot-latency .uplot"); 0`, nil)
	page.wait(`document.querySelector("#legend-latency").textContent.includes("p95 234 ms")`)

	page.point("#plot-latency .u-over")
	page.wait(`["latency", "errors", "rate", "burn-0"].every((id) => document.getElementById("legend-" + id).textContent.includes("at "))`)

	const at = `document.getElementById("legend-errors").lastChild.textContent`
	page.point("h1")
	page.wait(at + ` === ""`)
	page.eval(`document.getElementById("grid").focus({preventScroll: true})`, nil)
	page.press("ArrowLeft")
	page.wait(at + `.startsWith("at ")`)
	var first string
	page.eval(at, &first)
	page.press("ArrowLeft")
	page.wait(at + `.startsWith("at ") && ` + at + ` !== ` + strconv.Quote(first))
	page.press("Escape")
	page.wait(at + ` === ""`)

	page.eval(`htmx.trigger("#page", "visibilitychange"); 0`, nil)
	page.click(`.over a[href="?range=1h"]`)
	page.wait(`location.search === "?range=1h" && document.querySelector(".over [aria-current]").textContent === "1 h"`)
	page.wait(`document.querySelector("#plot-latency .uplot") !== window.kept && ` + drawn)
	page.wait(`document.getElementById("charts-state").textContent === ""`)
}

// TestChromiumRefreshes holds that an open page refreshes by itself, and says
// so when slowburn stops answering.
func TestChromiumRefreshes(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	opt := incident().options(t)
	var down atomic.Bool
	h := newSite(t, opt)
	calm := incident()
	calm.alerts, calm.scripts = nil, calm.scripts[4:5]
	later := newSite(t, calm.options(t))
	var over atomic.Bool
	page := b.open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case down.Load():
			http.Error(w, "down", http.StatusServiceUnavailable)
		case over.Load():
			later.ServeHTTP(w, r)
		default:
			h.ServeHTTP(w, r)
		}
	}), "/", 1280, 900, false)
	page.allowed = "503" // is what this is about
	page.wait(`document.querySelector("h1").textContent.includes("checkout is burning")`)
	over.Store(true)
	page.wait(`document.querySelector("h1").textContent.includes("All calm") && document.title.includes("All calm")`)
	down.Store(true)
	page.wait(`!document.getElementById("lost").hidden && document.getElementById("lost").textContent.includes("has not answered for")`)
	page.wait(`document.querySelectorAll("main").length === 1 && document.querySelector("h1").textContent.includes("All calm")`)
	down.Store(false)
	page.wait(`document.getElementById("lost").hidden`)
}
